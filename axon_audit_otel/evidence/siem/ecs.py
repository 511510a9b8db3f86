"""Events in the Elastic Common Schema, as JSON lines."""

from __future__ import annotations

from typing import Any

from ...events.model import AuditEvent
from .mapping import (
    LEVELS,
    Row,
    Table,
    as_json,
    field,
    fixed,
    id_kind,
    json_line,
    message,
    persons,
    record_name,
    severity,
    told_fingerprints,
    written_time,
)
from .origin import Origin

__all__ = ["ROWS", "VERSION", "ecs", "ecs_line"]

#: The version of the schema.
VERSION = "9.4.0"
_OUTCOMES = {"SUCCESS": "success", "FAILURE": "failure", "PARTIAL": "unknown"}
#: Operations that read; all others that are listed change something, but for those that tell.
_READING, _TELLING = ("RECALL", "EXPORT"), ("AUDIT", "OTHER")
_LEVELS = ("info", "warn", "error", "critical")
_LONGEST_NS = (1 << 63) - 1


def ecs(event: AuditEvent, origin: Origin) -> dict[str, Any]:
    """*event* with the fields of ECS, and those of ours under ``axon``; JSON types.

    Of very long texts and lists it has the beginning, and says so (``axon.truncated``).
    """
    made, was_cut = _TABLE.made_of(event, origin)
    if was_cut:
        made["axon"]["truncated"] = True
    return made


def ecs_line(event: AuditEvent, origin: Origin) -> bytes:
    """The same as JSON, on one line."""
    return json_line(ecs(event, origin))


def _types(event: AuditEvent) -> list[str]:
    """Of those that ECS expects for databases."""
    operation = event.operation.listed.value
    kind = "access" if operation in _READING else "info" if operation in _TELLING else "change"
    return [kind, "error"] if event.status == "FAILURE" else [kind]


def _plain(name: str | None) -> str | None:
    """An id, if it is a real one."""
    return None if name is None or id_kind(name) else name


def _hidden(name: str | None) -> str | None:
    """What stands for an id."""
    return name if name is not None and id_kind(name) else None


def _nanoseconds(event: AuditEvent) -> int | None:
    took = event.duration_ms
    if took is None or not 0 <= took * 1e6 < _LONGEST_NS:
        return None
    return round(took * 1e6)


#: Every field, in the order of the JSON.
ROWS: tuple[Row, ...] = (
    Row("@timestamp", "timestamp", lambda e, o: written_time(e)),
    fixed("ecs.version", VERSION),
    Row("message", "operation, metadata `record`, status", lambda e, o: message(e)),
    Row("log.level", "status", lambda e, o: _LEVELS[severity(e)]),
    Row(
        "event.kind",
        "metadata `record`",
        lambda e, o: "alert" if record_name(e) == "alert" else "event",
    ),
    fixed("event.category", ["database"]),
    Row("event.type", "operation, status", lambda e, o: _types(e)),
    Row("event.action", "operation", lambda e, o: e.operation.value.lower()),
    Row("event.outcome", "status", lambda e, o: _OUTCOMES[e.status.value]),
    Row("event.severity", "status", lambda e, o: LEVELS[severity(e)]),
    Row("event.duration", "duration_ms, in nanoseconds", lambda e, o: _nanoseconds(e)),
    Row("event.reason", "purpose", lambda e, o: e.purpose),
    field("event.id", "event_id"),
    Row("event.sequence", "sequence", lambda e, o: e.sequence or None),
    field("event.hash", "hash"),
    fixed("event.module", "axon"),
    fixed("event.dataset", "axon.audit"),
    fixed("event.provider", "axon-audit-otel"),
    Row("user.id", "user_id", lambda e, o: _plain(e.user_id)),
    Row("user.hash", "user_id, hashed or encrypted", lambda e, o: _hidden(e.user_id)),
    Row("user.target.id", "subject_id", lambda e, o: _plain(e.subject_id)),
    Row("user.target.hash", "subject_id, hashed or encrypted", lambda e, o: _hidden(e.subject_id)),
    Row("related.user", "user_id, on_behalf_of, subject_id, subjects", lambda e, o: persons(e)),
    Row("related.hosts", "host in `start`", lambda e, o: [] if o.host is None else [o.host]),
    field("gen_ai.agent.id", "agent_id"),
    Row("service.name", "`service.name`, else the trail", lambda e, o: o.application),
    Row("host.hostname", "host in `start`", lambda e, o: o.host),
    Row("process.pid", "pid in `start`", lambda e, o: o.pid),
    Row("process.name", "process in `start`", lambda e, o: o.process),
    field("error.type", "error_type"),
    field("error.message", "error_message"),
    field("trace.id", "trace_id"),
    field("span.id", "span_id"),
    Row("axon.operation", "operation", lambda e, o: e.operation.value),
    Row("axon.status", "status", lambda e, o: e.status.value),
    Row("axon.record", "metadata `record`", lambda e, o: record_name(e)),
    field("axon.trace_flags", "trace_flags"),
    field("axon.action", "action"),
    field("axon.system", "system"),
    field("axon.store", "store"),
    field("axon.session_id", "session_id"),
    field("axon.on_behalf_of", "on_behalf_of"),
    field("axon.subjects", "subjects"),
    field("axon.entry_ids", "entry_ids"),
    field("axon.derived_from", "derived_from"),
    Row("axon.fingerprints", "fingerprints", lambda e, o: told_fingerprints(e)),
    Row("axon.trail", "name of the trail", lambda e, o: o.trail or None),
    Row("axon.trail_id", "id of the chain", lambda e, o: o.stream or None),
    field("axon.previous_hash", "previous_hash"),
    Row("axon.version", "version in `start`", lambda e, o: o.version),
    Row("axon.metadata", "metadata, as JSON text", lambda e, o: as_json(e.metadata)),
)
_TABLE = Table(ROWS)
