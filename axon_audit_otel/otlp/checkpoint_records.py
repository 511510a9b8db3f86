"""Checkpoints as OpenTelemetry log records (``checkpoint_to="otlp"``)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime
from io import BytesIO
from typing import Any

import msgspec

from ..archive.checkpoints import Checkpoint
from ..archive.origin import Source
from ..core import semconv
from ..core.time import to_microseconds
from ..version import __version__
from .encoding import Record
from .json_reader import Requests

__all__ = ["emit_record", "notes_in_otlp", "statement_of"]

_INFO = 9, "INFO"


def statement_of(note: str, source: Source) -> Record:
    """The log record of the checkpoint in *note*; its uid is made from the text.

    Raises:
        InvalidEventError: If *note* is not a checkpoint.
    """
    time = msgspec.convert(Checkpoint.parse(note).time, datetime)
    body = note.encode()
    attributes = {
        semconv.LOG_RECORD_UID: f"checkpoint_{hashlib.sha256(body).hexdigest()[:32]}",
        semconv.AXON_AUDIT_TRAIL: source.trail,
        semconv.AUDIT_SEQUENCE_STREAM_ID: source.stream,
    }
    time_ns = to_microseconds(time) * 1000
    return Record(time_ns, _INFO, "", "", attributes, body, semconv.CHECKPOINT_EVENT_NAME)


def emit_record(record: Record, provider: Any) -> None:
    """Emit *record* through an OpenTelemetry logger provider.

    Raises:
        OSError: If *provider* is not of an SDK, and sends nothing.
    """
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.context import Context

    if not hasattr(provider, "add_log_record_processor"):
        raise OSError("there is neither a logger provider of an OpenTelemetry SDK nor ship_to=")
    number, text = record.severity
    provider.get_logger(semconv.SCOPE_NAME, __version__).emit(
        LogRecord(
            timestamp=record.time_ns,
            observed_timestamp=record.time_ns,
            context=Context(),
            severity_number=SeverityNumber(number),
            severity_text=text,
            body=record.body.decode(),
            attributes=record.attributes,
            event_name=record.event_name,
        )
    )


def notes_in_otlp(lines: Iterable[str]) -> list[str]:
    """The checkpoints in lines of OTLP JSON, as a collector's file exporter writes them."""
    content = "".join(lines).encode("utf-8", "replace")
    return [
        record.text
        for _, record in Requests(BytesIO(content))
        if record.event_name == semconv.CHECKPOINT_EVENT_NAME and record.text
    ]
