"""Events as an Apache Parquet file, with a type for each column. Needs pyarrow."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ..core.merkle import leaf_hash
from ..core.time import to_microseconds
from ..events.model import AuditEvent
from ..privacy.readable import decrypted, recorded
from ..version import __version__

__all__ = ["COLUMNS", "parquet_file"]

_TEXT = pa.string()
_NAME = pa.dictionary(pa.int32(), pa.string())  # of few different values
_TEXT_BY_NAME = pa.map_(_TEXT, pa.field("value", pa.string(), nullable=False))
_TEXTS = pa.list_(pa.field("element", pa.string(), nullable=False))

#: The columns in their order, with their type and what they hold: the fields of an event, who
#: recorded it, and its hash.
COLUMNS: dict[str, tuple[Any, str]] = {
    "event_id": (_TEXT, "evt_ and a UUIDv7: sorts by time"),
    "timestamp": (pa.timestamp("us", "UTC"), "when it ended"),
    "operation": (_NAME, "what was done"),
    "user_id": (_TEXT, "who did it"),
    "session_id": (_TEXT, "in which session"),
    "entry_ids": (_TEXTS, "the memory entries that it touched"),
    "metadata": (_TEXT, "facts of the operation: a JSON object"),
    "status": (_NAME, "SUCCESS, FAILURE or PARTIAL"),
    "duration_ms": (pa.float64(), "how long it took, in milliseconds"),
    "error_message": (_TEXT, "what went wrong, in words"),
    "error_type": (_NAME, "the exception's name"),
    "subject_id": (_TEXT, "whose data it was, where the actor is known as well"),
    "trace_id": (_TEXT, "W3C trace id, 32 hex digits"),
    "span_id": (_TEXT, "W3C span id, 16 hex digits"),
    "trace_flags": (_TEXT, "W3C trace flags, 2 hex digits: odd where it is sampled"),
    "action": (_NAME, "the method that did it"),
    "system": (_NAME, "the memory's library"),
    "store": (_NAME, "which store of that"),
    "subjects": (_TEXTS, "every person whose data it touched"),
    "agent_id": (_TEXT, "the agent that did it"),
    "on_behalf_of": (_TEXT, "for whom it was done"),
    "purpose": (_TEXT, "why, in words"),
    "fingerprints": (_TEXT_BY_NAME, "keyed hashes of entries' content, by entry id"),
    "derived_from": (_TEXTS, "the entries that a new entry was made of"),
    "sequence": (pa.int64(), "its number in its trail; null: not numbered"),
    "previous_hash": (_TEXT, "the hash of the event before it in its trail"),
    "writer": (_NAME, "the trail's name; null: not known"),
    "hash": (
        _TEXT,
        "SHA-256 of a zero byte and the recorded line, hex: the previous_hash of the next event;"
        " null: not known",
    ),
}

_ROWS = 1 << 16  # of a row group
_BATCH_ROWS, _BATCH_BYTES = 1 << 12, 8 << 20  # that become columns at once
_GROUP_BYTES = 64 << 20


def parquet_file(found: Iterable[tuple[str, AuditEvent]], decrypt: bool) -> Iterator[bytes]:
    """Yield the bytes of a file with a row for each event; memory holds one row group.

    Args:
        found: Writers ("" if not known) and their events.
        decrypt: Personal data that was made readable stays so; `hash` is as recorded.
    """
    sink = _Sink()
    with pq.ParquetWriter(sink, _schema(), compression="zstd") as writer:
        for group in _row_groups(found, decrypt):
            writer.write_table(group)
            yield sink.taken()
    yield sink.taken()


class _Sink(io.RawIOBase):
    """Takes what is written, until it is taken from here."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        pieces, self._pieces = self._pieces, []
        return b"".join(pieces)


def _schema() -> Any:
    fields = [pa.field(name, kind) for name, (kind, _) in COLUMNS.items()]
    meanings = {name: meaning for name, (_, meaning) in COLUMNS.items()}
    said = {
        "axon_audit_otel.version": __version__,
        "axon_audit_otel.columns": msgspec.json.encode(meanings).decode(),
    }
    return pa.schema(fields, metadata=said)


def _row_groups(found: Iterable[tuple[str, AuditEvent]], decrypt: bool) -> Iterator[Any]:
    batches: list[Any] = []
    rows = size = 0
    for batch in _batches(found, decrypt):
        batches.append(batch)
        rows, size = rows + batch.num_rows, size + batch.nbytes
        if rows >= _ROWS or size >= _GROUP_BYTES:
            yield pa.Table.from_batches(batches)
            batches, rows, size = [], 0, 0
    if batches:
        yield pa.Table.from_batches(batches)


def _batches(found: Iterable[tuple[str, AuditEvent]], decrypt: bool) -> Iterator[Any]:
    """The events as columns; so many of them at once that memory is bounded."""
    schema = _schema()
    rows: list[tuple[Any, ...]] = []
    size = 0

    def batch() -> Any:
        columns = [pa.array(values, field.type) for values, field in zip(zip(*rows), schema)]
        return pa.record_batch(columns, schema=schema)

    for writer, event in found:
        line = event.to_json()  # of a decrypted one, too, as recorded
        rows.append(_row(writer, decrypted(event) if decrypt else recorded(event), line))
        size += len(line)
        if len(rows) >= _BATCH_ROWS or size >= _BATCH_BYTES:
            yield batch()
            rows, size = [], 0
    if rows:
        yield batch()


def _row(writer: str, event: AuditEvent, line: bytes) -> tuple[Any, ...]:
    """The values of `COLUMNS`."""
    fields = msgspec.structs.asdict(event)
    fields["timestamp"] = to_microseconds(event.timestamp)
    fields["operation"], fields["status"] = event.operation.value, event.status.value
    fields["metadata"] = msgspec.json.encode(event.metadata).decode()
    fields["fingerprints"] = event.fingerprints and list(event.fingerprints.items())
    fields["sequence"] = event.sequence or None
    # Of events that lost their facts, there are two encodings (see `is_canonical`).
    is_known = event.sequence and "dropped" not in event.metadata
    return *fields.values(), writer or None, leaf_hash(line).hex() if is_known else None
