"""The audit event: its fields, its one encoding, and its way back.

An event is encoded once, to one line of UTF-8 JSON without spaces, its keys in the order
of `AuditEvent`. Those bytes are what the buffer holds, what the chain hashes and what
files contain; `encode` of a decoded event gives the same bytes again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import datetime, timezone
from enum import Enum
from typing import Annotated, Any, Final, Literal

import msgspec

from ..core.errors import InvalidEventError, harmless, quoted, shown
from ..core.files import DECODE_ERRORS
from ..core.merkle import leaf_hash
from ..core.time import aware, format_time, to_microseconds

__all__ = ["AuditEvent", "EventStatus", "OperationType"]


class _UpperCase(str, Enum):
    """A string enum that takes any case, and members of other string enums."""

    @classmethod
    def _missing_(cls, value: object) -> _UpperCase | None:
        if isinstance(value, Enum):  # the SDK's own enums are lower case
            value = value.value
        if isinstance(value, str):
            return cls.__members__.get(value.upper())
        return None

    @classmethod
    def parse(cls, value: object) -> Any:
        """The member that *value* names.

        Raises:
            InvalidEventError: If no member has that name.
        """
        if type(value) is cls:
            return value
        try:
            text: Any = value.value if isinstance(value, Enum) else value
            return cls.__members__[text.upper()]
        except Exception:  # also what raises when one compares it
            names = ", ".join(cls.__members__)
            msg = f"unknown {cls.__name__} {shown(value)}: use one of {names}"
            raise InvalidEventError(msg) from None

    def __str__(self) -> str:
        return str(self.value)


class OperationType(_UpperCase):
    """The kind of an operation on the memory. Any case is accepted, upper case comes out.

    A name that is none of these, of another source or a later version, is kept when it is read:
    the event's operation is then an `OperationType` of that name and value which is not listed.
    """

    STORE = "STORE"
    RECALL = "RECALL"
    FORGET = "FORGET"
    COMPACT = "COMPACT"
    EXPORT = "EXPORT"
    IMPORT = "IMPORT"
    SYNC = "SYNC"
    TRANSACTION = "TRANSACTION"
    BULK_STORE = "BULK_STORE"
    REINDEX = "REINDEX"
    #: What the trail says of itself: a gap, an unclean end, an erasure.
    AUDIT = "AUDIT"
    #: A record from another source that names no operation of ours.
    OTHER = "OTHER"

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        return operation_named, (self.value,)

    @property
    def listed(self) -> OperationType:
        """Itself; OTHER for a name that is not listed."""
        return listed(self.value)


def listed(name: str) -> OperationType:
    """The operation of that name; OTHER for a name that is not listed."""
    return _OPERATIONS.get(name, OperationType.OTHER)


def operation_named(name: str) -> OperationType:
    """The operation of that name, in any case; of a name that is not listed, one as it is read."""
    try:
        return OperationType(name)
    except ValueError:
        unlisted = str.__new__(OperationType, name)
        unlisted._name_ = unlisted._value_ = name
        return unlisted


_OPERATIONS = dict(OperationType.__members__)


class EventStatus(_UpperCase):
    """The outcome. PARTIAL: a part of it failed, or it changed memory and then raised."""

    SUCCESS = "SUCCESS"
    FAILURE = "FAILURE"
    PARTIAL = "PARTIAL"


#: The highest number that an event of a trail can have.
LAST_NUMBER: Final = (1 << 63) - 1


class AuditEvent(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One recorded operation.

    Attributes:
        event_id: ``evt_`` and a UUIDv7 (RFC 9562) as 32 hex digits: sorts by time.
        timestamp: When it ended; UTC, microseconds.
        operation: What was done; also a name that `OperationType` does not list.
        user_id: Who did it (or whose data it was, where only that is known).
        session_id: In which session.
        entry_ids: The memory entries it touched.
        metadata: Operation-specific facts; JSON types only.
        status: How it ended.
        duration_ms: How long it took, in milliseconds.
        error_message: What went wrong, in words; only with content capture, or as passed
            to `AuditLogger.log_event`.
        error_type: The exception's qualified name.
        subject_id: Whose data it was, where the actor is known as well.
        trace_id: W3C trace id, 32 hex digits.
        span_id: W3C span id, 16 hex digits.
        trace_flags: W3C trace flags, 2 hex digits, if any is set; odd where it is sampled.
        action: The method that did it, as its library names it: ``MemorySystem.store``.
        system: The memory's library: ``axon``.
        store: Which store of that.
        subjects: Every person whose data it touched, as far as that is known; after a thousand
            names, digests (see docs/identity.md).
        agent_id: The agent that did it.
        on_behalf_of: For whom it was done.
        purpose: Why, in words.
        fingerprints: Keyed hashes of the content of entries, by entry id; None without any.
        derived_from: The entries that a new entry was made of.
        sequence: Its place in the trail, from 1, without gaps.
        previous_hash: The `hash` of the event before; None on the first.
    """

    event_id: str
    timestamp: Annotated[datetime, msgspec.Meta(tz=True)]
    operation: OperationType
    user_id: str | None
    session_id: str | None
    entry_ids: list[str]
    metadata: dict[str, Any]
    status: EventStatus
    duration_ms: float | None
    error_message: str | None = None
    error_type: str | None = None
    subject_id: str | None = None
    trace_id: str | None = None
    span_id: str | None = None
    trace_flags: str | None = None
    action: str | None = None
    system: str | None = None
    store: str | None = None
    subjects: tuple[str, ...] = ()
    agent_id: str | None = None
    on_behalf_of: str | None = None
    purpose: str | None = None
    fingerprints: dict[str, str] | None = None
    derived_from: tuple[str, ...] = ()
    sequence: Annotated[int, msgspec.Meta(ge=0, le=LAST_NUMBER)] = 0
    previous_hash: str | None = None

    def __str__(self) -> str:
        """One line for people: when, what, how it ended, by whom, whose data, how much of it."""
        moment = format_time(to_microseconds(self.timestamp, timezone.utc))
        said = f"{moment} {self.operation} {self.status}"
        if self.user_id is not None:
            said += f" by {quoted(self.user_id)}"
        if self.subjects:
            said += f", data of {', '.join(map(quoted, self.subjects[:3]))}"
            if (more := len(self.subjects) - 3) > 0:
                said += f" and {more} more"
        total = self.metadata.get("entry_ids_total")  # of more than fit
        number = total if type(total) is int else len(self.entry_ids)
        said += f": {number} {'entry' if number == 1 else 'entries'}"
        return harmless(said if self.error_type is None else f"{said}, {self.error_type}")

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON types (as the SDK's event gives them)."""
        fields = {name: getattr(self, name) for name in self.__struct_fields__}
        fields["timestamp"] = format_time(to_microseconds(self.timestamp, timezone.utc))
        fields["operation"] = self.operation.value
        fields["status"] = self.status.value
        return {k: list(v) if type(v) is tuple else v for k, v in fields.items()}

    def to_json(self) -> bytes:
        """The event's one encoding, as it stands in buffer, hash and files."""
        return encode(self)

    @property
    def hash(self) -> str:
        """The `previous_hash` of the next event: the encoding's RFC 6962 leaf hash, that
        is SHA-256 over a 0x00 byte and the encoding, in hex."""
        return leaf_hash(encode(self)).hex()


# --- what fields hold ----------------------------------------------------------------------------

#: What a field of an event holds: the id of a person, those of persons, that of a session, those of
#: entries (or what each has, by these), words of anybody, facts by name, a name that a program
#: gives; or what is nobody's (plain).
FieldKind = Literal["person", "persons", "session", "entries", "text", "facts", "name", "plain"]

#: By which the door of privacy goes (`PrivacyPolicy`).
FIELD_KINDS: dict[str, FieldKind] = {
    "event_id": "plain",
    "timestamp": "plain",
    "operation": "name",
    "user_id": "person",
    "session_id": "session",
    "entry_ids": "entries",
    "metadata": "facts",
    "status": "plain",
    "duration_ms": "plain",
    "error_message": "text",
    "error_type": "plain",
    "subject_id": "person",
    "trace_id": "plain",
    "span_id": "plain",
    "trace_flags": "plain",
    "action": "name",
    "system": "name",
    "store": "name",
    "subjects": "persons",
    "agent_id": "person",
    "on_behalf_of": "person",
    "purpose": "text",
    "fingerprints": "entries",
    "derived_from": "entries",
    "sequence": "plain",
    "previous_hash": "plain",
}


def fields_of(*kinds: FieldKind) -> tuple[str, ...]:
    """The fields of those kinds, in their order."""
    return tuple(name for name, kind in FIELD_KINDS.items() if kind in kinds)


def nameless(event: Mapping[str, Any], why: str) -> dict[str, Any]:
    """The fields of *event* without what is anybody's; its metadata says *why*."""
    said = event["metadata"]
    deleted = said.get("deleted") if type(said) is dict else None
    facts = {"dropped": why} | ({"deleted": deleted} if type(deleted) is int else {})
    required = {"user_id": None, "session_id": None, "metadata": facts}
    return {
        name: required.get(name, value)
        for name, value in event.items()
        if name in required or name not in _ANYBODYS
    }


_ANYBODYS = frozenset(fields_of("person", "persons", "session", "text", "facts"))


# --- what events amount to ---------------------------------------------------------------------

_DELETING = frozenset(("FORGET", "SYNC", "COMPACT"))


def deleted_entries(event: Mapping[str, Any] | AuditEvent) -> int:
    """The number of memory entries that *event* deleted.

    What the SDK's operations delete they say themselves (metadata ``deleted``): 0 if nothing was
    found. A FORGET that does not say it deleted the entries it names, unless it failed; if it
    succeeded and names none, it is one deletion.
    """
    fields = msgspec.structs.asdict(event) if isinstance(event, AuditEvent) else event
    operation, status, facts = fields["operation"], fields["status"], fields["metadata"]
    if operation not in _DELETING:
        return 0
    deleted = facts.get("deleted")
    if type(deleted) is int and deleted >= 0:
        return deleted
    if operation != "FORGET" or status == "FAILURE":
        return 0
    named = facts.get("entry_ids_total", len(fields["entry_ids"]))  # of more than fit
    if type(named) is int and named > 0:
        return named
    return 1 if status == "SUCCESS" else 0


def totals(outcomes: Mapping[tuple[str, str], int]) -> tuple[Counter[str], Counter[str]]:
    """The number of events of each operation, and of each status; *outcomes* counts both."""
    operations: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    for (operation, status), number in outcomes.items():
        operations[operation] += number
        statuses[status] += number
    return operations, statuses


def success_rate(outcomes: Mapping[tuple[str, str], int]) -> float:
    """The share of memory operations that ended in SUCCESS; 1 without any.

    What a trail says of itself (AUDIT) is no operation of the application's: it counts neither
    for nor against it.

    Args:
        outcomes: How many events there are of each operation and status.
    """
    total = succeeded = 0
    for (operation, status), number in outcomes.items():
        if operation != "AUDIT":
            total += number
            succeeded += number if status == "SUCCESS" else 0
    return succeeded / total if total else 1.0


#: Canonical JSON of a draft. Raises `ENCODE_ERRORS` if a value is no JSON type.
encode_fields: Callable[[Mapping[str, Any]], bytes] = msgspec.json.Encoder().encode
ENCODE_ERRORS = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
_encode = msgspec.json.Encoder().encode
_encode_lines = msgspec.json.Encoder().encode_lines
_decoder = msgspec.json.Decoder(AuditEvent)
_OPTIONAL = AuditEvent.__struct_fields__[-len(AuditEvent.__struct_defaults__) :]


def place(payload: bytes, sequence: int, previous_hash: str | None) -> bytes:
    """*payload*, a draft's JSON without its last brace, with its place in a trail: the final
    bytes of an event."""
    if previous_hash is None:
        return payload + f',"sequence":{sequence}}}'.encode()
    return payload + f',"sequence":{sequence},"previous_hash":"{previous_hash}"}}'.encode()


def encode(event: AuditEvent) -> bytes:
    """The canonical bytes of *event*: the same as when it was recorded."""
    fields = msgspec.structs.asdict(event)
    fields["timestamp"] = format_time(to_microseconds(event.timestamp, timezone.utc))
    for name in _OPTIONAL:
        if not fields[name] and fields[name] != "":
            del fields[name]
    return encode_fields(fields)


def decode(line: bytes) -> AuditEvent:
    """The event in *line*.

    Raises:
        InvalidEventError: If it is not the JSON of an event.
    """
    try:
        try:
            return _decoder.decode(line)
        except msgspec.ValidationError:  # of another source?
            return of_fields(msgspec.json.decode(line))
    except DECODE_ERRORS as exc:
        msg = f"not an audit event: {exc} in {line[:80]!r}"
        raise InvalidEventError(msg) from exc


def decode_recorded(line: bytes) -> AuditEvent:
    """The event in a *line* that a trail recorded.

    Raises:
        InvalidEventError: If it is none, or has no number, or see `is_canonical`.
    """
    event = decode(line)
    if not event.sequence or not is_canonical(line, event):
        msg = f"not as an event is recorded: {line[:80]!r}"
        raise InvalidEventError(msg)
    return event


def is_canonical(line: bytes, event: AuditEvent) -> bool:
    """Whether *line* is the one encoding of *event*, which was decoded from it.

    If not, other programs may read another event in it: it may have a key twice, for example.
    """
    # The encoder alone is faster, but writes whole seconds and unlisted operations otherwise.
    is_utc = event.timestamp.tzinfo is timezone.utc
    return (
        (is_utc and _encode(event) == line)
        or encode(event) == line
        or ("dropped" in event.metadata and _encode_dropped(event) == line)
    )


def _encode_dropped(event: AuditEvent) -> bytes:
    """As the first edition wrote an event without what was anybody's: in another order."""
    fields: dict[str, Any] = msgspec.json.decode(encode(event))
    for name in ("user_id", "session_id", "metadata", "sequence", "previous_hash"):
        if name in fields:
            fields[name] = fields.pop(name)
    return encode_fields(fields)


def all_canonical(lines: list[bytes]) -> list[AuditEvent] | None:
    """The events in *lines*, in one go; None if `is_canonical` must look at each line."""
    text = b"\n".join(lines)
    with suppress(*DECODE_ERRORS):
        events = _decoder.decode_lines(text)
        # Of whole seconds and unlisted operations, the encoder's line is not the trail's.
        if _encode_lines(events) == text + b"\n":
            return events
    return None


def decode_all(lines: Iterable[bytes]) -> list[AuditEvent]:
    """The events in *lines*, in one go; raises as `decode` does."""
    lines = list(lines)
    try:
        return _decoder.decode_lines(b"\n".join(lines))
    except DECODE_ERRORS:
        return [decode(line) for line in lines]


def of_fields(fields: Any) -> AuditEvent:
    """The event with these *fields*, as JSON types; a time without a zone is UTC, and any name
    is an operation.

    Raises:
        msgspec.ValidationError: If they are not those of an event.
    """
    if not isinstance(fields, dict):
        return msgspec.convert(fields, AuditEvent)  # raises
    fields = dict(fields)
    if "timestamp" in fields:
        moment = msgspec.convert(fields["timestamp"], datetime)
        fields["timestamp"] = aware(moment, timezone.utc)
    if isinstance(name := fields.get("operation"), str):
        fields["operation"] = operation_named(name).listed.value
    event = msgspec.convert(fields, AuditEvent)
    if event.operation is OperationType.OTHER and isinstance(name, str):
        event = msgspec.structs.replace(event, operation=operation_named(name))
    return event


def age(event: AuditEvent) -> tuple[datetime, int]:
    """A key that sorts events of any number of files by their time."""
    return event.timestamp, event.sequence
