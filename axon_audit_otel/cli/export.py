"""Events as files in other formats than the archive's own."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from ..archive.format import laid_out
from ..archive.origin import Source, source_of
from ..core.errors import ArchiveError
from ..core.files import write_file
from ..core.spreadsheet import csv_lines
from ..events.model import AuditEvent
from ..evidence.siem.cef import cef_line
from ..evidence.siem.ecs import ecs_line
from ..evidence.siem.ocsf import ocsf_line
from ..evidence.siem.origin import Origins
from ..otlp.encoding import Envelope, Record, record_of

__all__ = [
    *("FORMATS", "SIEM_FORMATS", "export_events", "export_otlp", "export_parquet", "export_siem"),
    "format_of",
]

#: One line an event for a SIEM, by format.
SIEM_FORMATS = {"ocsf": ocsf_line, "ecs": ecs_line, "cef": cef_line}
FORMATS = ("json", "jsonl", "csv", "otlp", "parquet", *SIEM_FORMATS)
_LINES = (".json", ".jsonl", ".ndjson")  # may follow the name of a format with such lines


def format_of(name: str) -> str:
    """The format that the name of a file asks for: its ending, or the one before ``.jsonl``, as
    in ``audit.ocsf.jsonl``; else ``json``."""
    endings = Path(name.lower()).suffixes
    if len(endings) > 1 and endings[-1] in _LINES and endings[-2][1:] in SIEM_FORMATS:
        endings.pop()
    last = endings[-1][1:] if endings else ""
    return last if last in FORMATS else "json"


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


def export_parquet(
    found: Iterable[tuple[str, AuditEvent]], out: Path | BinaryIO, decrypt: bool
) -> int:
    """Write events as an Apache Parquet file, with a type for each column.

    Args:
        found: Writers and their events.
        out: Where to.
        decrypt: Personal data that was made readable stays so.

    Returns:
        How many.

    Raises:
        ArchiveError: If it cannot be written, or pyarrow is not installed.
    """
    try:
        from .parquet import parquet_file
    except ModuleNotFoundError as exc:
        if exc.name != "pyarrow":
            raise
        msg = "Parquet needs pyarrow: pip install 'axon-audit-otel[parquet]'"
        raise ArchiveError(msg) from exc
    number = itertools.count()
    _write(parquet_file((pair for pair, _ in zip(found, number)), decrypt), out)
    return next(number)


def export_siem(
    found: Iterable[tuple[str, AuditEvent]], origins: Origins, out: Path | BinaryIO, form: str
) -> int:
    """Write events in one of `SIEM_FORMATS`, one a line.

    Args:
        found: Writers and their events.
        origins: Where these are from.
        out: Where to.
        form: The name of the format.

    Returns:
        How many.

    Raises:
        ArchiveError: If it cannot be written.
    """
    count = 0
    line_of = SIEM_FORMATS[form]

    def lines() -> Iterator[bytes]:
        nonlocal count
        for writer, event in found:
            count += 1
            yield line_of(event, origins.of(writer, event))

    _write(lines(), out)
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
