"""Reads log records from OTLP JSON lines, as a collector's file exporter writes them.

64-bit numbers may be text or numbers, fields have the names of the JSON Protobuf encoding, and
unknown fields are ignored: https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import msgspec

from ..core import semconv
from ..core.files import DECODE_ERRORS

__all__ = ["LogRecord", "Requests"]


class _Array(msgspec.Struct):
    values: list[_Value] = []


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | str | None = None
    double_value: float | str | None = None
    array_value: _Array | None = None

    @property
    def plain(self) -> Any:
        """The value; None if it is neither a scalar nor a list of scalars."""
        if self.string_value is not None:
            return self.string_value
        if self.bool_value is not None:
            return self.bool_value
        if self.double_value is not None:
            return _number(self.double_value, float)
        if self.array_value is not None:
            return [value.plain for value in self.array_value.values if value.array_value is None]
        return _number(self.int_value, int)


def _number(value: Any, kind: type[int] | type[float]) -> int | float | None:
    try:
        return None if value is None else kind(value)
    except ValueError:
        return None


class _KeyValue(msgspec.Struct):
    key: str = ""
    value: _Value | None = None


def _by_name(pairs: list[_KeyValue]) -> dict[str, Any]:
    return {pair.key: None if pair.value is None else pair.value.plain for pair in pairs}


class LogRecord(msgspec.Struct, rename="camel"):
    """One log record, with the fields that audit records use."""

    time_unix_nano: int | str = 0
    severity_number: int | str = 0
    severity_text: str = ""
    body: _Value | None = None
    attributes: list[_KeyValue] = []
    trace_id: str = ""
    span_id: str = ""
    flags: int | str = 0
    event_name: str = ""

    @property
    def time_ns(self) -> int:
        """Time of the record: Unix time in nanoseconds; 0 without one."""
        return int(_number(self.time_unix_nano, int) or 0)

    @property
    def trace_flags(self) -> int:
        """W3C trace flags, 0 without any; the other bits of ``flags`` are reserved."""
        return int(_number(self.flags, int) or 0) & 0xFF

    @property
    def text(self) -> str | None:
        """The body; None if it is not text."""
        return None if self.body is None else self.body.string_value

    def named(self) -> dict[str, Any]:
        """The attributes by name; the value is None if it is neither a scalar nor a
        list of scalars."""
        return _by_name(self.attributes)


class _Resource(msgspec.Struct):
    attributes: list[_KeyValue] = []


class _ScopeLogs(msgspec.Struct, rename="camel"):
    log_records: list[LogRecord] = []


class _ResourceLogs(msgspec.Struct, rename="camel"):
    resource: _Resource | None = None
    scope_logs: list[_ScopeLogs] = []


class _Request(msgspec.Struct, rename="camel"):
    resource_logs: list[_ResourceLogs] = []


_request_of = msgspec.json.Decoder(_Request).decode
_begins = re.compile(rb'\{"resource(?:Logs|Spans|Metrics|Profiles)"').finditer


class Requests:
    """The requests in a file, one a line.

    Args:
        file: The file.
        progress: Called with the number of bytes read since the last call.

    Attributes:
        lines: Number of lines that could be read.
        torn: Number of lines that their writer did not finish: the last one, or lines that
            contain the next one.
        unreadable: Numbers of the lines that are not OTLP's JSON.
    """

    def __init__(self, file: BinaryIO, progress: Callable[[int], None] | None = None) -> None:
        self._file = file
        self._progress = progress
        self.lines = self.torn = 0
        self.unreadable: list[int] = []

    def __iter__(self) -> Iterator[tuple[str, LogRecord]]:
        """Yield every log record after the ``service.instance.id`` of its resource, or ""."""
        for number, line in enumerate(self._file, 1):
            if self._progress is not None:
                self._progress(len(line))
            request = self._parse(number, line)
            for logs in request.resource_logs if request else ():
                attributes = _by_name(logs.resource.attributes) if logs.resource else {}
                instance = str(attributes.get(semconv.SERVICE_INSTANCE_ID) or "")
                for scope_logs in logs.scope_logs:
                    for record in scope_logs.log_records:
                        yield instance, record

    def _parse(self, number: int, line: bytes) -> _Request | None:
        if not line.strip():
            return None
        try:
            request = _request_of(line)
            self.lines += 1
            return request
        except DECODE_ERRORS:
            pass
        # After a writer was killed in the middle of a line, the next one appends to that line.
        begins = max((found.start() for found in _begins(line)), default=0)
        try:
            whole = _request_of(line[begins:]) if begins else None
        except DECODE_ERRORS:
            whole = None
        if whole is not None or not line.endswith(b"\n"):
            self.torn += 1
        else:
            self.unreadable.append(number)
        return whole
