"""Events as files in other formats than the archive's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..archive.format import laid_out
from ..archive.origin import Source, source_of
from ..core.files import write_file
from ..core.spreadsheet import csv_lines
from ..events.model import AuditEvent
from ..otlp.encoding import Envelope, Record, record_of

__all__ = ["FORMATS", "export_events", "export_otlp"]

FORMATS = ("json", "jsonl", "csv", "otlp")


def export_events(events: Iterable[AuditEvent], out: Path | BinaryIO, form: str = "json") -> int:
    """Write *events* to *out* in their order, as ``json``, ``jsonl`` or ``csv``.

    Returns:
        How many.

    Raises:
        ArchiveError: If it cannot be written.
    """
    number = itertools.count()
    _write(_LAYOUTS[form](event for event, _ in zip(events, number)), out)
    return next(number)


def export_otlp(
    found: Iterable[tuple[str, AuditEvent]], directory: Path, out: Path | BinaryIO, resource: Any
) -> int:
    """Write events as OTLP JSON lines, which the collector's otlp_json_file receiver reads.

    Args:
        found: Writers and their events.
        directory: Of the archive that these are of.
        out: Where to.
        resource: The attributes of the resource: ``service.name`` and others.

    Returns:
        How many.

    Raises:
        ArchiveError: If it cannot be written.
    """
    count = 0
    sources: dict[str, Source] = {}

    def records() -> Iterator[Record]:
        nonlocal count
        for writer, event in found:
            if writer not in sources:
                sources[writer] = source_of(directory, writer) if writer else Source("")
            count += 1
            yield record_of(event.to_json(), sources[writer])

    _write(Envelope(resource).json_lines(records()), out)
    return count


def _write(content: Iterable[bytes], out: Path | BinaryIO) -> None:
    """To a file, which appears whole or not at all, or to one that is open."""
    if isinstance(out, Path):
        write_file(content, out)
    else:
        out.writelines(content)
        out.flush()


def _document(events: Iterable[AuditEvent]) -> Iterator[bytes]:
    return laid_out(event.to_json() for event in events)


def _json_lines(events: Iterable[AuditEvent]) -> Iterator[bytes]:
    for event in events:
        yield event.to_json() + b"\n"


def _csv_lines(events: Iterable[AuditEvent]) -> Iterator[bytes]:
    return csv_lines(AuditEvent.__struct_fields__, (e.to_dict().values() for e in events))


_LAYOUTS = {"json": _document, "jsonl": _json_lines, "csv": _csv_lines}
