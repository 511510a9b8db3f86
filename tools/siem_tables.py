"""The tables and examples of docs/siem.md, made from the formats themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import Any

import msgspec

from axon_audit_otel.events.model import AuditEvent, EventStatus, OperationType
from axon_audit_otel.evidence.siem import cef, ecs, ocsf
from axon_audit_otel.evidence.siem.mapping import Row
from axon_audit_otel.evidence.siem.origin import Origin

__all__ = ["IN_SIEM"]

# --- formats for SIEMs -------------------------------------------------------------------------

_ORIGIN = Origin("default", "c1979ac67c4f9535", "shop", "host-1", "app.py", 4711, "0.1.0")


def _event(operation: str, status: str = "SUCCESS", **fields: Any) -> AuditEvent:
    given: dict[str, Any] = {
        "event_id": "evt_01a225da9cd57903a3a6c698ce98afb1",
        "timestamp": datetime(2026, 11, 29, 5, 50, 13, 717563, timezone.utc),
        **dict.fromkeys(("user_id", "session_id", "duration_ms")),
        "entry_ids": [],
        "metadata": {},
        **fields,
    }
    return AuditEvent(operation=OperationType(operation), status=EventStatus(status), **given)


def _fields(rows: Iterable[Row], title: str) -> str:
    """The fields of a format, and what each is made of; those of the same source together."""
    by_source: dict[str, list[str]] = {}
    for row in rows:
        label = cef.LABELS.get(row.target)
        named = f"`{row.target}`" + (f" (label `{label}`)" if label else "")
        by_source.setdefault(row.source, []).append(named)
    lines = [f"| {title} | from |", "| --- | --- |"]
    lines += [
        f"| {', '.join(targets)} | {_code(source)} |" for source, targets in by_source.items()
    ]
    return "\n".join(lines) + "\n"


def _code(source: str) -> str:
    """The source of a field; names of the event's fields, and values, as code."""
    if source[0] in "'[" or source.isdigit():
        return f"`{source}`"
    names = "|".join((*AuditEvent.__struct_fields__, "hash"))
    return re.sub(rf"(?<!`)\b({names})\b(?!`)", r"`\1`", source)


def operations() -> str:
    """What each operation is in each format."""
    rows = [
        "| operation | OCSF activity | ECS `event.type` | CEF name |",
        "| --- | --- | --- | --- |",
    ]
    for operation in OperationType:
        told = _event(operation.value)
        one, other = ocsf.ocsf(told, _ORIGIN), ecs.ecs(told, _ORIGIN)
        named = one["type_name"].removeprefix("Datastore Activity: ")
        activity = f"{one['activity_id']} {named}"
        kinds = ", ".join(other["event"]["type"])
        name = cef.cef_line(told, _ORIGIN).decode().split("|")[5]
        rows.append(f"| {operation.value} | {activity} | {kinds} | {name} |")
    return "\n".join(rows) + "\n"


def severities() -> str:
    """How severe each outcome is in each format."""
    alert = {"record": "alert", "state": "firing"}
    told = {status.value: _event("STORE", status.value) for status in EventStatus}
    told["FAILURE of the trail itself"] = _event("AUDIT", "FAILURE", metadata={"record": "gap"})
    for one in ("info", "warning", "critical"):
        facts = {**alert, "severity": one}
        told[f"alert of a rule of severity `{one}`"] = _event("AUDIT", metadata=facts)
    rows = ["| event | OCSF | ECS `log.level` | ECS `event.severity`, CEF |", f"|{' --- |' * 4}"]
    for name, event in told.items():
        as_ocsf, as_ecs = ocsf.ocsf(event, _ORIGIN), ecs.ecs(event, _ORIGIN)
        level, severity = as_ecs["log"]["level"], as_ecs["event"]["severity"]
        words = f"{as_ocsf['severity_id']} {as_ocsf['severity']}"
        rows.append(f"| {name} | {words} | {level} | {severity} |")
    return "\n".join(rows) + "\n"


def examples() -> str:
    """One event in each format."""
    told = _event(
        "RECALL",
        "FAILURE",
        user_id="alice",
        session_id="s-1",
        entry_ids=["e-1"],
        metadata={"k": 3},
        duration_ms=12.25,
        error_type="TimeoutError",
        action="MemorySystem.recall",
        system="axon",
        subjects=("bob",),
        purpose="support",
        sequence=2,
        previous_hash="c1979ac67c4f95353c3dda351bdca1afa341cc3382205c4022bbd86984bdb489",
    )
    made = (ocsf.ocsf(told, _ORIGIN), ecs.ecs(told, _ORIGIN))
    objects = [msgspec.json.format(msgspec.json.encode(one), indent=2).decode() for one in made]
    line = cef.cef_line(told, _ORIGIN).decode().rstrip()
    blocks = [*(f"```json\n{one}\n```" for one in objects), f"```text\n{line}\n```"]
    return "\n\n".join(blocks) + "\n"


IN_SIEM = {
    "operations": operations,
    "severities": severities,
    "ocsf": lambda: _fields(ocsf.ROWS, "OCSF"),
    "ecs": lambda: _fields(ecs.ROWS, "ECS"),
    "cef": lambda: _fields(cef.ROWS, "CEF"),
    "examples": examples,
}
