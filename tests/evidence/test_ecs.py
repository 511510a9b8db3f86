"""Events in the Elastic Common Schema, held against its list of fields."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import product
from typing import Any

import pytest
from amounts import examples
from hypothesis import given, settings
from siem_events import (
    BARE,
    FULL,
    NAMES,
    NOWHERE,
    ORIGIN,
    RECORDS,
    STATUSES,
    as_json,
    event,
    hostile_events,
    one_line,
    origins,
    paths,
    record,
    targets,
)

from axon_audit_otel import AuditEvent
from axon_audit_otel.evidence.siem.ecs import ROWS, ecs, ecs_line
from axon_audit_otel.evidence.siem.origin import Origin

#: The type of each field of ECS that we fill, from ``generated/csv/fields.csv`` of
#: github.com/elastic/ecs, version 9.4; "[]" for those with the normalization ``array``.
ECS = {
    "@timestamp": "date",
    "ecs.version": "keyword",
    "message": "match_only_text",
    "log.level": "keyword",
    "event.kind": "keyword",
    "event.category": "keyword[]",
    "event.type": "keyword[]",
    "event.action": "keyword",
    "event.outcome": "keyword",
    "event.severity": "long",
    "event.duration": "long",
    "event.reason": "keyword",
    "event.id": "keyword",
    "event.sequence": "long",
    "event.hash": "keyword",
    "event.module": "keyword",
    "event.dataset": "keyword",
    "event.provider": "keyword",
    "user.id": "keyword",
    "user.hash": "keyword",
    "user.target.id": "keyword",
    "user.target.hash": "keyword",
    "related.user": "keyword[]",
    "related.hosts": "keyword[]",
    "gen_ai.agent.id": "keyword",
    "service.name": "keyword",
    "host.hostname": "keyword",
    "process.pid": "long",
    "process.name": "keyword",
    "error.type": "keyword",
    "error.message": "match_only_text",
    "trace.id": "keyword",
    "span.id": "keyword",
}
#: The allowed values of its fields for categories; of types, those expected for databases.
ALLOWED = {
    "event.kind": {"alert", "asset", "enrichment", "event", "metric", "state", "signal"},
    "event.category": {"database"},
    "event.type": {"access", "change", "info", "error"},
    "event.outcome": {"success", "failure", "unknown"},
}
#: The types of our own fields; they never change from event to event.
OURS = {
    **dict.fromkeys(("subjects", "entry_ids", "derived_from"), "keyword[]"),
    "truncated": "boolean",
}
_LONGS = range(-(1 << 63), 1 << 63)
_LONGEST_TERM = 32_766  # bytes that Lucene indexes


def faults(made: dict[str, Any]) -> list[str]:
    """What is wrong with an event in ECS."""
    found = []
    for path, value in paths(made):
        kind = ECS.get(path) or OURS.get(path.removeprefix("axon."), "keyword")
        if path not in ECS and not path.startswith("axon."):
            found.append(f"{path}: not in ECS")
        if not _fits(kind, value):
            found.append(f"{path}: {value!r} is no {kind}")
        values = value if isinstance(value, list) else [value]
        if not ALLOWED.get(path, set(values)).issuperset(values):
            found.append(f"{path}: {value!r} is not allowed")
    return found


def _fits(kind: str, value: Any) -> bool:
    if kind.endswith("[]"):
        return isinstance(value, list) and all(_fits(kind[:-2], one) for one in value)
    if kind == "long":
        return type(value) is int and value in _LONGS
    if kind == "boolean":
        return isinstance(value, bool)
    if kind == "date":
        return datetime.fromisoformat(value.replace("Z", "+00:00")).tzinfo is not None
    return isinstance(value, str) and len(value.encode()) <= _LONGEST_TERM


@pytest.mark.parametrize("origin", [ORIGIN, NOWHERE], ids=["known", "unknown"])
@pytest.mark.parametrize("fields", [FULL, BARE], ids=["full", "bare"])
def test_every_operation_and_outcome(fields: dict[str, Any], origin: Origin) -> None:
    """Its fields are those of ECS, of their types, or below ``axon``; also of other operations."""
    for operation, status in product(NAMES, STATUSES):
        made = ecs(event(operation, status.value, **fields), origin)
        assert faults(made) == [], (operation, status)
        assert made["axon"]["operation"] == operation
        assert ("error" in made["event"]["type"]) is (status == "FAILURE")


def test_every_field_is_filled() -> None:
    """Nothing is in the table that no event has."""
    users = ("alice", "erasable:a:b")
    made = [ecs(event(**{**FULL, "user_id": u, "subject_id": u}), ORIGIN) for u in users]
    made.append(ecs(RECORDS[0], ORIGIN))
    filled = {path for one in made for path, _ in paths(one)}
    named = {path.partition("[]")[0] for path in filled}
    assert named == targets(ROWS)
    assert set(ECS) <= named


def test_what_it_tells() -> None:
    """Who, what, when, where, of whom, with which outcome, and its place in the trail."""
    told = event("RECALL", "PARTIAL", **FULL)
    made = ecs(told, ORIGIN)
    assert made["@timestamp"] == "2026-11-29T05:50:13.717563Z"
    assert made["event"] == {
        "kind": "event",
        "category": ["database"],
        "type": ["access"],
        "action": "recall",
        "outcome": "unknown",
        "severity": 4,
        "duration": 12_250_000,
        "reason": "billing",
        "id": told.event_id,
        "sequence": 7,
        "hash": told.hash,
        "module": "axon",
        "dataset": "axon.audit",
        "provider": "axon-audit-otel",
    }
    assert made["user"] == {"id": "alice", "target": {"id": "bob"}}
    assert made["related"] == {"user": ["alice", "dave", "bob", "carol"], "hosts": ["host-1"]}
    assert made["trace"] == {"id": told.trace_id}
    assert made["error"] == {"type": "ValueError", "message": "no such entry"}
    assert as_json(made["axon"]["metadata"]) == told.metadata
    assert made["axon"]["previous_hash"] == told.previous_hash


@pytest.mark.parametrize("user", ["hmac-sha256:00ff", "erasable:aa:bb"])
def test_what_stands_for_a_user(user: str) -> None:
    """A hashed or encrypted id is the field of ECS for those, as it is in OpenTelemetry."""
    made = ecs(event(user_id=user, subject_id=user), ORIGIN)
    assert made["user"] == {"hash": user, "target": {"hash": user}}


@pytest.mark.parametrize("told", RECORDS, ids=lambda told: str(told.metadata["record"])[:12])
def test_what_a_trail_says_of_itself(told: AuditEvent) -> None:
    made = ecs(told, ORIGIN)
    assert faults(made) == []
    assert made["event"]["kind"] == ("alert" if told.metadata["record"] == "alert" else "event")


@pytest.mark.parametrize(
    ("took", "nanoseconds"),
    [(0.0, 0), (0.057, 57_000), (-1.0, None), (1e300, None), (9.2e12, 9_200_000_000_000_000_000)],
)
def test_durations(took: float, nanoseconds: int | None) -> None:
    """Whole nanoseconds, if they are a time and fit."""
    assert ecs(event(duration_ms=took), ORIGIN)["event"].get("duration") == nanoseconds


@settings(max_examples=examples(100), deadline=None)
@given(told=hostile_events, origin=origins)
def test_hostile_values(told: AuditEvent, origin: Origin) -> None:
    """Whatever the values are: the same fields of the same types, on one line."""
    made = json.loads(one_line(ecs_line(told, origin)))
    assert faults(made) == []
    of_fingerprints = (f"axon.fingerprints[].{one}" for one in ("entry_id", "fingerprint"))
    assert {path for path, _ in paths(made)} <= targets(ROWS, *of_fingerprints, "axon.truncated")


def test_bounds() -> None:
    """Nothing is longer than what an index takes; what is cut says so."""
    told = event(
        metadata={f"k{n}": "\U0001f600" * 100 for n in range(5_000)},
        entry_ids=[f"entry-{n}" for n in range(50_000)],
        purpose="\U0001f600" * 100_000,
    )
    made = ecs(told, ORIGIN)
    assert faults(made) == []
    assert made["axon"]["truncated"] is True
    assert len(ecs_line(told, ORIGIN)) < 150_000
    assert "truncated" not in ecs(record("start"), ORIGIN)["axon"]
