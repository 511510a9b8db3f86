"""Events in the Open Cybersecurity Schema Framework: Datastore Activity, class 6005."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ...events.model import AuditEvent
from .mapping import (
    Row,
    Table,
    as_json,
    at_milliseconds,
    field,
    fixed,
    id_kind,
    json_line,
    message,
    milliseconds,
    record_name,
    severity,
    told_fingerprints,
    written_time,
)
from .origin import Origin

__all__ = ["ACTIVITIES", "ROWS", "VERSION", "ocsf", "ocsf_line"]

#: The version of the schema.
VERSION = "1.8.0"
_CLASS = 6005
#: Activity of each operation. Any other is 99, Other, and its own name.
ACTIVITIES = {
    "STORE": (6, "Create"),
    "BULK_STORE": (5, "Write"),
    "IMPORT": (5, "Write"),
    "RECALL": (1, "Read"),
    "EXPORT": (1, "Read"),
    "FORGET": (7, "Delete"),
    "COMPACT": (2, "Update"),
    "SYNC": (2, "Update"),
    "REINDEX": (2, "Update"),
}
_SEVERITIES = ((1, "Informational"), (2, "Low"), (3, "Medium"), (4, "High"))
_STATUSES = {"SUCCESS": (1, "Success"), "FAILURE": (2, "Failure"), "PARTIAL": (99, "PARTIAL")}
_UNKNOWN = (0, "Unknown")
# Kinds of observables that every version of the schema has: 1.4 added one for ids of users.
_USER, _RESOURCE, _HOST = (4, "User Name"), (10, "Resource UID"), (1, "Hostname")


def ocsf(event: AuditEvent, origin: Origin) -> dict[str, Any]:
    """*event* as an OCSF event of the class Datastore Activity; JSON types.

    Of very long texts and lists it has the beginning, and says so (``metadata.is_truncated``).
    """
    made, was_cut = _TABLE.made_of(event, origin)
    if was_cut:
        made["metadata"] |= {"is_truncated": True, "untruncated_size": len(event.to_json())}
    return made


def ocsf_line(event: AuditEvent, origin: Origin) -> bytes:
    """The same as JSON, on one line."""
    return json_line(ocsf(event, origin))


def _activity(event: AuditEvent) -> tuple[int, str]:
    name = event.operation.value
    return ACTIVITIES.get(name) or (99, name)


def _user_type(event: AuditEvent) -> tuple[int, str] | tuple[None, None]:
    """Whether the id is a real one; of which kind its owner is nobody told."""
    if event.user_id is None:
        return None, None
    kind = id_kind(event.user_id)
    return _UNKNOWN if kind is None else (99, kind)


def _database(event: AuditEvent, origin: Origin) -> tuple[str, str]:
    """Its name and kind: the memory; of a record of the trail about itself, the trail."""
    if event.operation == "AUDIT":
        return origin.trail or "unknown", "Audit trail"
    return event.system or "unknown", "Agent memory"


def _process_name(origin: Origin) -> str | None:
    """Only with its number, which the schema requires."""
    return None if origin.pid is None else origin.process


def _observables(event: AuditEvent, origin: Origin) -> list[dict[str, Any]]:
    return [
        {"name": name, "type": caption, "type_id": number, "value": value}
        for name, (number, caption), values in _observed(event, origin)
        for value in values
        if value is not None
    ]


def _observed(event: AuditEvent, origin: Origin) -> Iterator[tuple[str, tuple[int, str], Any]]:
    yield "actor.user.uid", _USER, (event.user_id,)
    yield "unmapped.on_behalf_of", _USER, (event.on_behalf_of,)
    yield "unmapped.subject_id", _USER, (event.subject_id,)
    yield "unmapped.subjects[]", _USER, event.subjects
    yield "unmapped.entry_ids[]", _RESOURCE, event.entry_ids
    yield "src_endpoint.hostname", _HOST, (origin.host,)


#: Every field, in the order of the JSON.
ROWS: tuple[Row, ...] = (
    fixed("class_uid", _CLASS),
    fixed("class_name", "Datastore Activity"),
    fixed("category_uid", 6),
    fixed("category_name", "Application Activity"),
    Row("activity_id", "operation", lambda e, o: _activity(e)[0]),
    Row("activity_name", "operation", lambda e, o: _activity(e)[1]),
    Row("type_uid", "operation", lambda e, o: _CLASS * 100 + _activity(e)[0]),
    Row(
        "type_name",
        "operation",
        lambda e, o: f"Datastore Activity: {'Other' if _activity(e)[0] == 99 else _activity(e)[1]}",
    ),
    Row("severity_id", "status", lambda e, o: _SEVERITIES[severity(e)][0]),
    Row("severity", "status", lambda e, o: _SEVERITIES[severity(e)][1]),
    Row("status_id", "status", lambda e, o: _STATUSES[e.status.value][0]),
    Row("status", "status", lambda e, o: _STATUSES[e.status.value][1]),
    field("status_code", "error_type"),
    field("status_detail", "error_message"),
    Row("message", "operation, metadata `record`, status", lambda e, o: message(e)),
    Row("time", "timestamp", lambda e, o: at_milliseconds(e)),
    Row("duration", "duration_ms", lambda e, o: milliseconds(e)),
    fixed("metadata.version", VERSION),
    fixed("metadata.product.name", "axon-audit-otel"),
    fixed("metadata.product.vendor_name", "axon-audit-otel"),
    Row("metadata.product.version", "version in `start`", lambda e, o: o.version),
    fixed("metadata.log_provider", "axon-audit-otel"),
    Row("metadata.log_name", "name of the trail", lambda e, o: o.trail or None),
    field("metadata.uid", "event_id"),
    Row("metadata.event_code", "operation", lambda e, o: e.operation.value),
    Row("metadata.sequence", "sequence", lambda e, o: e.sequence or None),
    field("metadata.correlation_uid", "trace_id"),
    Row("metadata.original_time", "timestamp", lambda e, o: written_time(e)),
    field("actor.user.uid", "user_id"),
    Row("actor.user.type_id", "user_id", lambda e, o: _user_type(e)[0]),
    Row("actor.user.type", "user_id", lambda e, o: _user_type(e)[1]),
    field("actor.session.uid", "session_id"),
    Row("actor.app_name", "`service.name`, else the trail", lambda e, o: o.application),
    field("actor.app_uid", "agent_id"),
    Row("actor.process.pid", "pid in `start`", lambda e, o: o.pid),
    Row("actor.process.name", "process in `start`", lambda e, o: _process_name(o)),
    Row("src_endpoint.hostname", "host in `start`", lambda e, o: o.host),
    Row("src_endpoint.svc_name", "`service.name`, else the trail", lambda e, o: o.application),
    fixed("type_id", 1),
    fixed("type", "Database"),
    Row("database.name", "system", lambda e, o: _database(e, o)[0]),
    field("database.uid", "store"),
    fixed("database.type_id", 99),
    Row("database.type", "operation", lambda e, o: _database(e, o)[1]),
    Row("observables", "ids of persons and entries, host", _observables),
    Row("unmapped.trail_id", "id of the chain", lambda e, o: o.stream or None),
    field("unmapped.hash", "hash"),
    field("unmapped.previous_hash", "previous_hash"),
    field("unmapped.action", "action"),
    Row("unmapped.record", "metadata `record`", lambda e, o: record_name(e)),
    field("unmapped.subject_id", "subject_id"),
    field("unmapped.subjects", "subjects"),
    field("unmapped.on_behalf_of", "on_behalf_of"),
    field("unmapped.purpose", "purpose"),
    field("unmapped.entry_ids", "entry_ids"),
    field("unmapped.derived_from", "derived_from"),
    Row("unmapped.fingerprints", "fingerprints", lambda e, o: told_fingerprints(e)),
    field("unmapped.duration_ms", "duration_ms"),
    field("unmapped.span_id", "span_id"),
    field("unmapped.trace_flags", "trace_flags"),
    Row("unmapped.metadata", "metadata, as JSON text", lambda e, o: as_json(e.metadata)),
)
_TABLE = Table(ROWS)
