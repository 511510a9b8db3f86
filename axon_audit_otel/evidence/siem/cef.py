"""Events in the Common Event Format of ArcSight: one line each, ``CEF:0|...``."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from ...events.model import AuditEvent
from .mapping import (
    LEVELS,
    Row,
    as_json,
    at_milliseconds,
    field,
    record_name,
    severity,
    told_fingerprints,
)
from .origin import Origin

__all__ = ["LABELS", "LENGTHS", "ROWS", "cef_line"]

_PRODUCT = "axon-audit-otel"
_LONGEST = 1_023  # characters of a text that LENGTHS does not name
#: Characters that the dictionary of the format allows; of our own fields, that we do.
LENGTHS = {
    "act": 63,
    "outcome": 63,
    "externalId": 40,
    "dvchost": 100,
    "deviceExternalId": 255,
    **{f"cs{number}": 4_000 for number in range(1, 7)},
    "axonMetadata": 4_000,
}
_MOST_HEADER = 255


def cef_line(event: AuditEvent, origin: Origin) -> bytes:
    """*event* as one line. Of long texts it has the beginning, and three dots. Lists are JSON.

    Line breaks are ``\\n`` and ``\\r``, as the format asks. It has no words for other characters
    that are not seen: they become the text of their JSON escapes, which breaks no line.
    """
    header = ("CEF:0", _PRODUCT, _PRODUCT, origin.version, event.operation.value, _name(event))
    parts = [*(_in_header(part) for part in header), str(LEVELS[severity(event)])]
    fields = []
    for target, _, value_of in ROWS:
        if text := _in_extension(target, value_of(event, origin)):
            fields.append(f"{target}={text}")
            if target in LABELS:
                fields.append(f"{target}Label={LABELS[target]}")
    return f"{'|'.join(parts)}|{' '.join(fields)}\n".encode()


def _name(event: AuditEvent) -> str:
    """What happened, for people: ``Memory bulk store``, ``Audit trail start``."""
    if event.operation == "AUDIT":
        return f"Audit trail {record_name(event) or 'record'}".replace("_", " ")
    return f"Memory {event.operation.value.lower()}".replace("_", " ")


def _in_header(text: str) -> str:
    shown = _cut("".join(map(_seen, text[: _MOST_HEADER + 1])), _MOST_HEADER).strip() or "unknown"
    return shown.replace("\\", "\\\\").replace("|", "\\|")


def _in_extension(target: str, value: Any) -> str:
    if value is None:
        return ""
    most = LENGTHS.get(target, _LONGEST)
    if isinstance(value, list):
        value = _listed(value, most)
    if not isinstance(value, str):
        return str(value)
    if value.isprintable():
        shown = _cut(value, most)
    else:
        shown = _cut("".join(c if c in _ENDS else _seen(c) for c in value[: most + 1]), most)
    return _SPECIAL.sub(lambda found: _ESCAPES[found[0]], shown)


_ENDS = "\r\n"
_ESCAPES = {"\\": "\\\\", "=": "\\=", "\n": "\\n", "\r": "\\r"}
_SPECIAL = re.compile(r"[\\=\r\n]")


def _seen(one: str) -> str:
    """A character, or the text of its JSON escape if it is not seen."""
    if one.isprintable():
        return one
    return json.dumps(one)[1:-1] if one != "\x7f" else "\\u007f"


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _listed(values: list[Any], most: int) -> str:
    """A list as JSON, since an item may hold any character; of a long one, its beginning."""
    kept: list[Any] = []
    room = most - len('["[dropped: 1000000 more]"]')
    for one in values:
        room -= len(msgspec.json.encode(one).decode()) + 1
        if room < 0:
            kept.append(f"[dropped: {len(values) - len(kept)} more]")
            break
        kept.append(one)
    return msgspec.json.encode(kept).decode() if kept else ""


#: What is in the fields that have no meaning of their own; beside each is one with its label.
LABELS = {
    "cn1": "sequence",
    "cn2": "entries",
    "cfp1": "durationMs",
    "cs1": "sessionId",
    "cs2": "entryIds",
    "cs3": "subjects",
    "cs4": "purpose",
    "cs5": "agentId",
    "cs6": "hash",
}
#: Every field of the extension, in its order.
ROWS: tuple[Row, ...] = (
    Row("rt", "timestamp", lambda e, o: at_milliseconds(e)),
    field("externalId", "event_id"),
    Row("cat", "operation", lambda e, o: "audit trail" if e.operation == "AUDIT" else "memory"),
    Row("act", "action, else operation", lambda e, o: e.action or e.operation.value),
    Row("outcome", "status", lambda e, o: e.status.value),
    field("reason", "error_type"),
    field("msg", "error_message"),
    field("suser", "user_id"),
    field("duser", "subject_id"),
    Row("sourceServiceName", "`service.name`, else the trail", lambda e, o: o.application),
    Row("dvchost", "host in `start`", lambda e, o: o.host),
    Row("deviceProcessName", "process in `start`", lambda e, o: o.process),
    Row("dvcpid", "pid in `start`", lambda e, o: o.pid),
    Row("deviceExternalId", "name of the trail", lambda e, o: o.trail or None),
    Row("cn1", "sequence", lambda e, o: e.sequence or None),
    Row("cn2", "number of entry_ids", lambda e, o: len(e.entry_ids)),
    field("cfp1", "duration_ms"),
    field("cs1", "session_id"),
    field("cs2", "entry_ids"),
    field("cs3", "subjects"),
    field("cs4", "purpose"),
    field("cs5", "agent_id"),
    field("cs6", "hash"),
    Row("axonRecord", "metadata `record`", lambda e, o: record_name(e)),
    field("axonOnBehalfOf", "on_behalf_of"),
    field("axonSystem", "system"),
    field("axonStore", "store"),
    field("axonTraceId", "trace_id"),
    field("axonSpanId", "span_id"),
    field("axonTraceFlags", "trace_flags"),
    field("axonDerivedFrom", "derived_from"),
    Row("axonFingerprints", "fingerprints", lambda e, o: told_fingerprints(e)),
    Row("axonTrailId", "id of the chain", lambda e, o: o.stream or None),
    field("axonPreviousHash", "previous_hash"),
    Row("axonMetadata", "metadata, as JSON", lambda e, o: as_json(e.metadata)),
)
