"""From a log record to an event of the trail: the only writer of a trail."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from operator import attrgetter
from typing import Any

import msgspec
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LogRecordLimits, LogRecordProcessor, ReadWriteLogRecord

from . import semconv
from .errors import AuditConfigError, shown
from .event import AuditEvent, Draft, EventStatus, OperationType, draft
from .privacy import identifier, identifiers
from .reading import DECODE_ERRORS
from .record import add_place, attributes_of
from .trail import Trail

__all__ = ["AuditLogRecordProcessor"]


class AuditLogRecordProcessor(LogRecordProcessor):
    """Captures every log record named ``axon.memory.audit`` into an audit trail.

    A record that was meant for another trail is left alone, and one that names none is
    captured by every trail that sees it. After the capture the record's body is the event's
    canonical JSON, and its attributes say its place in the chain, so that the processors
    after this one ship what was recorded.

    An `AuditLogger` adds its own processor to the logger provider it uses. Add one by hand
    only to a provider that it does not use.

    Args:
        audit_logger: The `AuditLogger` whose trail it writes.

    Raises:
        AuditConfigError: If it is none.
    """

    def __init__(self, audit_logger: Any) -> None:
        self.trail: Trail = getattr(audit_logger, "trail", audit_logger)
        if not isinstance(self.trail, Trail):
            msg = f"AuditLogRecordProcessor needs an AuditLogger, got {shown(audit_logger)}"
            raise AuditConfigError(msg)

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        """Capture the record, if it is one of ours. Never raises."""
        record = log_record.log_record
        if record.event_name != semconv.EVENT_NAME:
            return
        try:
            body = record.body
            if isinstance(body, Draft):
                if body.trail is self.trail:
                    if body.encoded is None:
                        self.capture(body)
                    _enrich(log_record, body, self.trail)
            elif self._takes(record):
                self.capture(_from_record(record, self.trail))
        except Exception as exc:
            self.trail.fault("record", exc)

    def capture(self, event: Draft) -> None:
        """Write *event* to the trail and count it.

        `AuditLogger` calls this itself where OpenTelemetry did not deliver the record.
        """
        event.encoded = self.trail.append(event)
        self.trail.metrics.observe(event)
        for observe in self.trail.observers:
            observe(event)

    def _takes(self, record: LogRecord) -> bool:
        """Whether a record from another source is for this trail, and new to it."""
        attributes = record.attributes or {}
        if attributes.get(semconv.AXON_AUDIT_TRAIL, self.trail.name) != self.trail.name:
            return False
        seen: set[int] = record.__dict__.setdefault(_SEEN, set())
        if id(self.trail) in seen or _OURS in seen:
            return False
        seen.add(id(self.trail))
        return True

    def shutdown(self) -> None:
        """Seal what is in the journal; later records are still captured."""
        self.trail.end()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """True: every captured event is where its durability says already."""
        return True


_SEEN = "_axon_audit_seen"  # which trails have captured a record
_OURS = 0  # one that `AuditLogger` emitted: captured by its trail, and by no other
_BY_US = {_OURS}


def _enrich(log_record: ReadWriteLogRecord, event: Draft, trail: Trail) -> None:
    """Let the processors after this one see what was recorded."""
    assert event.encoded is not None
    record = log_record.log_record
    record.__dict__[_SEEN] = _BY_US
    record.body = event.encoded.decode()
    told: Mapping[str, Any] = event if trail.erasure is None else msgspec.json.decode(event.encoded)
    attributes = attributes_of(told, trail.name)
    add_place(attributes, event.sequence, event.previous_hash, event.hash, trail.stream)
    most, longest = _limits_of(log_record.limits)
    if longest is None and (most is None or most >= _MANY):
        record.attributes = attributes  # clean, and few enough: OpenTelemetry need not copy them
    else:
        record.attributes.update(attributes)  # type: ignore[union-attr]


_MANY = 32  # more than a record of ours has
_LIMITS = "max_log_record_attributes", "max_log_record_attribute_length"
if not hasattr(LogRecordLimits(0, 0), _LIMITS[0]):  # before OpenTelemetry 1.44
    _LIMITS = "max_attributes", "max_attribute_length"
_limits_of = attrgetter(*_LIMITS)


_BY_GEN_AI_NAME = {
    semconv.CREATE_MEMORY: OperationType.STORE,
    semconv.UPDATE_MEMORY: OperationType.STORE,
    semconv.UPSERT_MEMORY: OperationType.STORE,
    semconv.SEARCH_MEMORY: OperationType.RECALL,
    semconv.DELETE_MEMORY: OperationType.FORGET,
}
_BY_OUTCOME = {"success": EventStatus.SUCCESS, "failure": EventStatus.FAILURE}


def _from_record(record: LogRecord, trail: Trail) -> Draft:
    """An event from a record of another source: its body's fields, else its attributes."""
    fields = _fields(record.body)
    attributes: dict[str, Any] = dict(record.attributes or {})

    def first(field: str, *names: str) -> Any:
        values = (fields.get(field), *(attributes.get(name) for name in names))
        return next((value for value in values if value is not None), None)

    def text(field: str, *names: str) -> str | None:
        value = first(field, *names)
        return None if value is None else identifier(value)

    message = first("error_message")
    duration = first("duration_ms")
    event = draft(
        _operation(first("operation", semconv.AXON_OPERATION, semconv.AUDIT_ACTION), attributes),
        _status(first("status", semconv.AXON_STATUS), attributes),
        user_id=text("user_id", semconv.USER_ID, semconv.USER_HASH, semconv.AUDIT_ACTOR_ID),
        session_id=text("session_id", semconv.SESSION_ID),
        entry_ids=identifiers(first("entry_ids", semconv.AUDIT_TARGET_ID)),
        metadata=trail.privacy.metadata(_metadata(fields, attributes)),
        duration_ms=duration_or_none(duration),
        event_id=text("event_id", semconv.AUDIT_RECORD_ID, semconv.LOG_RECORD_UID),
        time_ns=record.timestamp or record.observed_timestamp,
        trail=trail,
        error_message=None if message is None else trail.privacy.text(str(message)),
        error_type=text("error_type", semconv.ERROR_TYPE),
        subject_id=text("subject_id", semconv.AXON_SUBJECT_ID),
        trace_id=f"{record.trace_id:032x}" if record.trace_id else None,
        span_id=f"{record.span_id:016x}" if record.span_id else None,
    )
    if trail.pseudonyms is not None:
        trail.pseudonyms.apply(event, foreign=True)
    event.sampled = bool(record.trace_id and record.trace_flags and record.trace_flags & 1)
    return event


def _fields(body: Any) -> dict[str, Any]:
    """The fields that a record's body has: of a mapping, or of its JSON."""
    if isinstance(body, (str, bytes)):
        with suppress(*DECODE_ERRORS):
            decoded = msgspec.json.decode(body)
            body = decoded if isinstance(decoded, dict) else body
    if isinstance(body, Mapping):
        return dict(body)
    return {} if body is None else {"body": body}


def _metadata(fields: Mapping[str, Any], attributes: Mapping[str, Any]) -> dict[str, Any]:
    """What a record says beyond the fields of an event."""
    given = fields.get("metadata")
    metadata = dict(given) if isinstance(given, Mapping) else {}
    if given is not None and not isinstance(given, Mapping):
        metadata["metadata"] = given
    known = AuditEvent.__struct_fields__
    metadata.update((name, value) for name, value in fields.items() if name not in known)
    metadata.update((name, value) for name, value in attributes.items() if name not in _MAPPED)
    return metadata


def duration_or_none(value: Any) -> float | None:
    """A duration in milliseconds, or None where *value* cannot be one."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15:
        return float(value)
    return None


def _operation(named: Any, attributes: Mapping[str, Any]) -> str:
    try:
        kind = OperationType(named)
        # What a trail says of itself, and `verify` believes, comes from nowhere else.
        return OperationType.OTHER.value if kind is OperationType.AUDIT else kind.value
    except ValueError:
        name = attributes.get(semconv.GEN_AI_OPERATION_NAME)
        known = _BY_GEN_AI_NAME.get(name) if isinstance(name, str) else None
        return (known or OperationType.OTHER).value


def _status(named: Any, attributes: Mapping[str, Any]) -> str:
    try:
        return EventStatus(named).value
    except ValueError:
        if semconv.ERROR_TYPE in attributes:
            return EventStatus.FAILURE.value
        outcome = attributes.get(semconv.AUDIT_OUTCOME, "success")
        return _BY_OUTCOME.get(outcome, EventStatus.PARTIAL).value


#: Attributes that have a field of the event; all others become its metadata.
_MAPPED = frozenset(
    value
    for name, value in vars(semconv).items()
    if name.startswith(("AUDIT_", "AXON_"))
    or name in ("USER_ID", "USER_HASH", "SESSION_ID", "ERROR_TYPE", "LOG_RECORD_UID")
)
