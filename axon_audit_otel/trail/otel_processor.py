"""From a log record to an event of the trail: the only writer of a trail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from enum import Enum
from operator import attrgetter
from typing import Any

import msgspec
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LogRecordLimits, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.trace import get_current_span

from ..core import semconv
from ..core.errors import AuditConfigError, shown
from ..core.files import DECODE_ERRORS
from ..events.draft import Draft, Later, draft, flags_text
from ..events.identifiers import ID_TYPES, identifier, identifiers
from ..events.identity import named_or_current
from ..events.log_attributes import ATTRIBUTES, add_place, attributes_of
from ..events.model import AuditEvent, EventStatus, OperationType, operation_named
from .trail import Trail

__all__ = ["AuditLogRecordProcessor"]


class AuditLogRecordProcessor(LogRecordProcessor):
    """Captures every log record named ``axon.memory.audit`` into an audit trail.

    A record that was meant for another trail is left alone, and one that names none is
    captured by every trail that sees it. After the capture the record's body is the event's
    canonical JSON, and its attributes say its place in the chain, so that the processors
    after this one ship what was recorded.

    A record of another source that names no user, session, agent, person for whom it was done, or
    purpose has that of `audit_context`.
    It is SUCCESS only if it says so in a known word ("ok", "succeeded") and nothing in it says
    otherwise; FAILURE if an outcome, an error or the severity says so; else PARTIAL, also where
    no outcome is stated. An operation that is none of ours keeps its name; a record that names
    none is OTHER.

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
                        self.trail.record(body)
                    _enrich(log_record, body, self.trail)
            elif self._takes(record):
                self.trail.record(_from_record(record, self.trail))
        except Exception as exc:
            self.trail.fault("record", exc)

    def _takes(self, record: LogRecord) -> bool:
        """True if a record from another source is for this trail, and new to it."""
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
    told: Mapping[str, Any] = event
    if trail.policy.encrypts:
        told = msgspec.json.decode(event.encoded)
    attributes = attributes_of(told, trail.name)
    add_place(attributes, event.sequence, event.previous_hash, event.hash, trail.source.stream)
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
#: Where a record may say how it ended: in its body, then in its attributes.
_STATED = ("status", "outcome", "success")
_STATED_BY_ATTRIBUTE = (semconv.AXON_STATUS, semconv.AUDIT_OUTCOME, "event.outcome", *_STATED)
#: The words, in any case, that say SUCCESS and FAILURE. Every other word is PARTIAL.
_SUCCESS = frozenset(
    ("success", "succeeded", "successful", "ok", "completed", "complete", "done", "true")
)
_FAILURE = frozenset(
    (
        *("failure", "failed", "fail", "error", "errored", "exception", "fatal", "critical"),
        *("denied", "permission_denied", "forbidden", "unauthorized", "unauthenticated"),
        *("refused", "rejected", "blocked", "timeout", "timed_out", "deadline_exceeded"),
        *("cancelled", "canceled", "aborted", "crashed", "unavailable", "false"),
    )
)
#: What says that something went wrong, if there is anything in it.
_ERRORS = ("error", "error_type", "error_message", "error.message", semconv.ERROR_TYPE, "exception")
_ERROR = 17  # the lowest severity number of its kind
_ERROR_TEXTS = frozenset(("ERROR", "FATAL", "CRITICAL"))


def _from_record(record: LogRecord, trail: Trail) -> Draft:
    """An event from a record of another source: its body's fields, else what is said under
    the names of attributes."""
    fields = _fields(record.body)
    attributes: dict[str, Any] = dict(record.attributes or {})
    said = {**fields, **attributes}

    def first(field: str, *names: str) -> Any:
        values = (fields.get(field), *map(said.get, names))
        return next((value for value in values if not _is_nothing(value)), None)

    def text(field: str, *names: str) -> str | None:
        value = first(field, *names)
        return None if value is None else identifier(value)

    message = first("error_message")
    later = _later(first)
    duration = first("duration_ms")
    named = first("operation", semconv.AXON_OPERATION, semconv.AUDIT_ACTION)
    operation, own_name = _operation(named, said.get(semconv.GEN_AI_OPERATION_NAME))
    user, session, acting = named_or_current(  # a record is processed where it is emitted
        first("user_id", semconv.USER_ID, semconv.USER_HASH, semconv.AUDIT_ACTOR_ID),
        first("session_id", semconv.SESSION_ID),
    )
    given_id = text("event_id", semconv.AUDIT_RECORD_ID, semconv.LOG_RECORD_UID)
    ids, private, namer = _entry_ids(said), None, None
    if trail.settings.private_ids:
        subject, by = text("subject_id", semconv.AXON_SUBJECT_ID), {**acting, **later}
        who = (subject, user, by.get("on_behalf_of"), by.get("agent_id"))
        learned = trail.policy.learned  # an id may be a pseudonym already
        namer = trail.entries.namer(*(one and learned(one) for one in who))
        private = {key: namer(key) for key in ids}
        ids = list(private.values())
    metadata = _metadata(fields, attributes, own_name, later)
    if given_id is not None and not trail.takes_id(given_id):
        metadata["given_event_id"], given_id = given_id, None
    event = draft(
        operation,
        _status(record, fields, attributes),
        user_id=user,
        session_id=session,
        entry_ids=ids,
        metadata=metadata,
        duration_ms=duration_or_none(duration),
        event_id=given_id,
        time_ns=record.timestamp or record.observed_timestamp,
        trail=trail,
        error_message=None if message is None else str(message),
        error_type=text("error_type", semconv.ERROR_TYPE, semconv.EXCEPTION_TYPE),
        subject_id=text("subject_id", semconv.AXON_SUBJECT_ID),
        **{**acting, **later, **_trace(record)},
    )
    event.private, event.namer = private, namer
    trail.policy.event(event, foreign=True)
    span = get_current_span(record.context)
    if span.get_span_context().span_id == record.span_id:
        trail.metrics.choose_exemplar(event, span)
    return event


def _trace(record: LogRecord) -> dict[str, Any]:
    """The fields of an event that say to which span *record* belongs."""
    if not record.trace_id:
        return {}
    return {
        "trace_id": f"{record.trace_id:032x}",
        "span_id": f"{record.span_id:016x}" if record.span_id else None,
        "trace_flags": flags_text(record.trace_flags or 0),
    }


def _fields(body: Any) -> dict[str, Any]:
    """The fields that a record's body has: of a mapping, or of its JSON."""
    if isinstance(body, (str, bytes)):
        with suppress(*DECODE_ERRORS):
            decoded = msgspec.json.decode(body)
            body = decoded if isinstance(decoded, dict) else body
    if isinstance(body, Mapping):
        return dict(body)
    return {} if body is None else {"body": body}


def _is_nothing(value: Any) -> bool:
    """True for None and for blank text, such as the id of a user who is not signed in."""
    return value is None or (isinstance(value, str) and not value.strip())


def _entry_ids(said: Mapping[str, Any]) -> list[str]:
    """The entries that a record names, each once."""
    given = map(said.get, ("entry_ids", semconv.AUDIT_TARGET_ID, semconv.GEN_AI_MEMORY_RECORD_ID))
    return list(dict.fromkeys(key for value in given for key in identifiers(value)))


#: The fields of the second edition.
_LATER = ("action", "system", "store", "subjects", *Later.__annotations__)


def _later(first: Callable[..., Any]) -> dict[str, Any]:
    """The fields of the second edition that a record says, in a form that they can have."""
    found: dict[str, Any] = {}
    for name in _LATER:
        value = first(name, *([ATTRIBUTES[name]] if name in ATTRIBUTES else ()))
        if name in ("subjects", "derived_from"):
            if isinstance(value, (list, tuple)):
                found[name] = identifiers(list(value))
        elif name == "fingerprints":
            if isinstance(value, Mapping) and all(type(one) is str for one in value.values()):
                found[name] = {identifier(key): identifier(one) for key, one in value.items()}
        elif isinstance(value, ID_TYPES) and not isinstance(value, bool):
            found[name] = str(value) if name == "purpose" else identifier(value)
    return found


def _metadata(
    fields: Mapping[str, Any],
    attributes: Mapping[str, Any],
    own_name: Any,
    later: Mapping[str, Any],
) -> dict[str, Any]:
    """The facts of a record beyond an event's fields, and its own name for the operation."""
    given = fields.get("metadata")
    metadata = dict(given) if isinstance(given, Mapping) else {}
    if given is not None and not isinstance(given, Mapping):
        metadata["metadata"] = given
    known = _MAPPED.union(_FIRST, later)
    metadata.update((name, value) for name, value in fields.items() if name not in known)
    metadata.update((name, value) for name, value in attributes.items() if name not in _MAPPED)
    if own_name is not None:
        metadata.setdefault("operation", own_name)
    return metadata


def duration_or_none(value: Any) -> float | None:
    """A duration in milliseconds, or None where *value* cannot be one."""
    if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e15:
        return float(value)
    return None


def _operation(named: Any, gen_ai: Any) -> tuple[str, Any]:
    """The name of an operation, and what the record says of it besides."""
    known = _BY_GEN_AI_NAME.get(gen_ai) if isinstance(gen_ai, str) else None
    name = next(filter(_is_name, (named, gen_ai)), None)
    kind = OperationType.OTHER if name is None else operation_named(identifier(name))
    if known is not None and (name is not named or kind.listed is not kind):
        return known.value, named
    # What a trail says of itself, and `verify` believes, comes from nowhere else.
    if kind is OperationType.AUDIT:
        return OperationType.OTHER.value, kind.value
    if name is None and named is None:
        return kind.value, gen_ai
    return kind.value, None if name is named else named


def _is_name(value: Any) -> bool:
    text = value.value if isinstance(value, Enum) else value
    return isinstance(text, str) and not _is_nothing(text)


def _status(record: LogRecord, fields: Mapping[str, Any], attributes: Mapping[str, Any]) -> str:
    """The status of a record: SUCCESS only if all of it says so, PARTIAL if it is unknown."""
    stated = (*map(fields.get, _STATED), *map(attributes.get, _STATED_BY_ATTRIBUTE))
    words = {_word(value) for value in stated if value is not None}
    if words & _FAILURE:
        return EventStatus.FAILURE.value
    if "partial" in words:
        return EventStatus.PARTIAL.value
    if _is_severe(record) or _has_error(fields) or _has_error(attributes):
        return EventStatus.FAILURE.value
    if words and words <= _SUCCESS:
        return EventStatus.SUCCESS.value
    return EventStatus.PARTIAL.value


def _word(value: Any) -> str:
    """An outcome in the form of `_SUCCESS` and `_FAILURE`."""
    text = str(value.value if isinstance(value, Enum) else value)
    return text.strip().lower().replace("-", "_").replace(" ", "_")


def _is_severe(record: LogRecord) -> bool:
    """True if the severity is ERROR or worse; its text counts where it has no number."""
    number: Any = getattr(record.severity_number, "value", record.severity_number)
    if number:
        return int(number) >= _ERROR
    return (record.severity_text or "").upper() in _ERROR_TEXTS


def _has_error(facts: Mapping[str, Any]) -> bool:
    """True if there is an error, its class, its message or an exception in *facts*."""
    return any(facts.get(name) for name in _ERRORS) or any(
        value and str(name).startswith("exception.") for name, value in facts.items()
    )


_FIRST = tuple(name for name in AuditEvent.__struct_fields__ if name not in _LATER)
#: Names that have a field of the event; all others become its metadata.
_MAPPED = frozenset(
    value
    for name, value in vars(semconv).items()
    if name.startswith(("AUDIT_", "AXON_"))
    or name in ("USER_ID", "USER_HASH", "SESSION_ID", "ERROR_TYPE", "LOG_RECORD_UID")
    or name in ("GEN_AI_MEMORY_RECORD_ID", "GEN_AI_MEMORY_STORE_ID", "GEN_AI_AGENT_ID")
)
