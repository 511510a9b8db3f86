"""Audit events as OTLP log records: protobuf for the wire, JSON for files.

Both have the same fields, made from the event's bytes. The bytes themselves are the record's
body, so that the event can be verified with the record alone. The protobuf is written field
by field: the generated classes take five times as long.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec

from ..archive.origin import Source
from ..core import semconv
from ..core.errors import InvalidEventError
from ..core.files import DECODE_ERRORS
from ..core.merkle import leaf_hash
from ..core.time import to_microseconds
from ..events.log_attributes import SEVERITY, add_place, attributes_of
from ..version import __version__

__all__ = ["Envelope", "Record", "record_of"]

_Moment = Annotated[datetime, msgspec.Meta(tz=True)]
_NS = 1000  # nanoseconds in a microsecond
_LAST_NS = (1 << 64) - 1  # the year 2554


class _Required(TypedDict):
    event_id: str
    timestamp: _Moment
    operation: str
    user_id: str | None
    session_id: str | None
    entry_ids: list[str]
    status: Literal["SUCCESS", "FAILURE", "PARTIAL"]
    duration_ms: float | None


class _Fields(_Required, total=False):
    error_type: str
    subject_id: str
    trace_id: str
    span_id: str
    trace_flags: str
    action: str
    system: str
    store: str
    subjects: list[str]
    agent_id: str
    on_behalf_of: str
    purpose: str
    derived_from: list[str]
    sequence: int
    previous_hash: str


_fields_of = msgspec.json.Decoder(_Fields).decode


class Record(NamedTuple):
    """The log record of one event, or of a checkpoint.

    Attributes:
        time_ns: Time of the event: Unix time in nanoseconds, limited to 64 bits.
        severity: Number and text.
        trace_id: 32 hex digits, or "".
        span_id: 16 hex digits, or "".
        flags: W3C trace flags of the span, 0 to 255; odd where it is sampled.
        attributes: By name: text, int or float.
        body: The event's canonical JSON.
        event_name: Name of the kind of record: an event, or a checkpoint.
    """

    time_ns: int
    severity: tuple[int, str]
    trace_id: str
    span_id: str
    attributes: dict[str, Any]
    body: bytes
    event_name: str = semconv.EVENT_NAME
    flags: int = 0


def record_of(line: bytes, source: Source) -> Record:
    """The log record of the event in *line*.

    Raises:
        InvalidEventError: If *line* is not the JSON of an event.
    """
    try:
        event = _fields_of(line)
    except DECODE_ERRORS as exc:
        raise InvalidEventError(f"not an audit event: {exc} in {line[:80]!r}") from exc
    facts: Mapping[str, Any] = event
    attributes = attributes_of(facts, source.trail)
    if not source.trail:
        del attributes[semconv.AXON_AUDIT_TRAIL]
    own_hash = leaf_hash(line).hex()
    previous = event.get("previous_hash")
    add_place(attributes, event.get("sequence", 0), previous, own_hash, source.stream)
    return Record(
        min(max(to_microseconds(event["timestamp"]) * _NS, 0), _LAST_NS),
        SEVERITY[event["status"]],
        _id(event.get("trace_id"), 32),
        _id(event.get("span_id"), 16),
        attributes,
        line,
        flags=_flags(event.get("trace_flags")),
    )


def _id(text: str | None, digits: int) -> str:
    """*text* in lower case if it is a trace or span id of so many hex *digits*, else ""."""
    if text is None or len(text) != digits:
        return ""
    try:
        return text.lower() if any(bytes.fromhex(text)) and " " not in text else ""
    except ValueError:
        return ""


def _flags(text: str | None) -> int:
    """The flags in *text*, 2 hex digits; 0 if it is anything else."""
    return int(text, 16) if text is not None and _FLAGS.fullmatch(text) else 0


_FLAGS = re.compile("[0-9A-Fa-f]{2}")


class Envelope:
    """Makes requests (``ExportLogsServiceRequest``) from records of one resource.

    Args:
        resource: The attributes of the resource: ``service.name`` and others.
    """

    def __init__(self, resource: Mapping[str, Any]) -> None:
        attributes = b"".join(_key_value(b"\x0a", *pair) for pair in resource.items())
        self._resource = _field(b"\x0a", attributes)
        scope = _text(b"\x0a", semconv.SCOPE_NAME) + _text(b"\x12", __version__)
        self._scope = _field(b"\x0a", scope)
        self._head = {"attributes": _json_attributes(resource)}

    def protobuf(self, records: Iterable[bytes]) -> bytes:
        """A request with *records*, which are results of `encode`."""
        scope_logs = _field(b"\x12", self._scope + b"".join(records))
        return _field(b"\x0a", self._resource + scope_logs)

    def json(self, records: Iterable[Record]) -> bytes:
        """A request with *records*, in OTLP's JSON, without a newline."""
        scope = {"name": semconv.SCOPE_NAME, "version": __version__}
        logs = {"scope": scope, "logRecords": list(map(_json_record, records))}
        return msgspec.json.encode(
            {"resourceLogs": [{"resource": self._head, "scopeLogs": [logs]}]}
        )

    def json_lines(self, records: Iterable[Record]) -> Iterator[bytes]:
        """Yield requests as lines of about `_LINE` bytes at most, since readers have limits."""
        batch: list[Record] = []
        size = 0
        for record in records:
            length = 2 * len(record.body) + 1024
            if batch and size + length > _LINE:
                yield self.json(batch) + b"\n"
                batch, size = [], 0
            batch.append(record)
            size += length
        if batch:
            yield self.json(batch) + b"\n"


_LINE = 1 << 18  # bytes; the collector's file receiver reads lines up to 1 MiB


# --- protobuf (the wire format of opentelemetry-proto, logs/v1/logs.proto) -----------------------


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


_VARINTS = tuple(map(_varint, range(1 << 12)))
_fixed32 = struct.Struct("<I").pack
_fixed64 = struct.Struct("<Q").pack
_double = struct.Struct("<d").pack


def _field(tag: bytes, data: bytes) -> bytes:
    """A field: *tag*, the length of *data*, *data*."""
    length = len(data)
    return tag + (_VARINTS[length] if length < 4096 else _varint(length)) + data


def _text(tag: bytes, text: str) -> bytes:
    return _field(tag, text.encode("utf-8", "replace"))


def _any_value(value: Any) -> bytes:
    """The content of an ``AnyValue``."""
    if isinstance(value, str):
        return _text(b"\x0a", value)
    if isinstance(value, bool):
        return b"\x10\x01" if value else b"\x10\x00"
    if isinstance(value, int):
        return b"\x18" + _varint(value & (1 << 64) - 1)
    if isinstance(value, float):
        return b"\x21" + _double(value)
    if isinstance(value, (list, tuple)):
        items = (_field(b"\x0a", _any_value(item)) for item in value)
        return _field(b"\x2a", b"".join(items))
    return _text(b"\x0a", str(value))


def _key_value(tag: bytes, key: str, value: Any) -> bytes:
    known = _KEYS.get(key)
    if known is None:
        known = _text(b"\x0a", key)
        if len(_KEYS) < 256:
            _KEYS[key] = known
    return _field(tag, known + _field(b"\x12", _any_value(value)))


_KEYS: dict[str, bytes] = {}
_SHORT = 126  # bytes; a shorter text has a length of one byte, also with its tag and length
_EVENT_NAMES = {
    name: _text(b"\x62", name) for name in (semconv.EVENT_NAME, semconv.CHECKPOINT_EVENT_NAME)
}
_SEVERITIES = {
    (number, text): b"\x10" + _varint(number) + _text(b"\x1a", text)
    for number, text in SEVERITY.values()
}


def encode(record: Record) -> bytes:
    """*record* as a field ``log_records`` of ``ScopeLogs``."""
    time = _fixed64(record.time_ns)
    ids = b""
    if record.trace_id:
        ids = _field(b"\x4a", bytes.fromhex(record.trace_id))
    if record.span_id:
        ids += _field(b"\x52", bytes.fromhex(record.span_id))
    if record.flags:
        ids += b"\x45" + _fixed32(record.flags)
    body = _field(b"\x2a", _field(b"\x0a", record.body))
    parts = [b"\x09", time, _SEVERITIES[record.severity], body]
    for key, value in record.attributes.items():
        text = value.encode() if type(value) is str else b""
        if text and len(text) < _SHORT and key in _KEYS:  # as nearly all are
            known, length = _KEYS[key], len(text)
            sizes = (_VARINTS[len(known) + length + 4], _VARINTS[length + 2], _VARINTS[length])
            parts.append(b"\x32%b%b\x12%b\x0a%b%b" % (sizes[0], known, *sizes[1:], text))
        else:
            parts.append(_key_value(b"\x32", key, value))
    # The observed time is the time of recording, which is the event's own.
    parts += (ids, b"\x59", time, _EVENT_NAMES[record.event_name])
    return _field(b"\x12", b"".join(parts))


# --- JSON (the JSON Protobuf encoding of the OTLP specification) -------------------------------


def _json_value(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        return {"stringValue": value}
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    if isinstance(value, float):
        return {"doubleValue": value}
    if isinstance(value, (list, tuple)):
        return {"arrayValue": {"values": list(map(_json_value, value))}}
    return {"stringValue": str(value)}


def _json_attributes(attributes: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _json_value(value)} for key, value in attributes.items()]


def _json_record(record: Record) -> dict[str, Any]:
    number, text = record.severity
    fields = {
        "timeUnixNano": str(record.time_ns),
        "observedTimeUnixNano": str(record.time_ns),
        "severityNumber": number,
        "severityText": text,
        "eventName": record.event_name,
        "body": {"stringValue": record.body.decode()},
        "attributes": _json_attributes(record.attributes),
    }
    if record.trace_id:
        fields["traceId"] = record.trace_id
    if record.span_id:
        fields["spanId"] = record.span_id
    if record.flags:
        fields["flags"] = record.flags
    return fields
