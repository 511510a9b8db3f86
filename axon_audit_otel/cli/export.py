"""Events as files in other formats than the archive's own."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO

import click

from ..archive.attested import ATTESTED
from ..archive.directory import files_of
from ..archive.format import JOURNAL, laid_out
from ..archive.holds import HOLD
from ..archive.manifest import MANIFEST
from ..archive.origin import Source, source_of
from ..archive.writer_lock import LOCK
from ..core.errors import ArchiveError
from ..core.files import write_file
from ..core.spreadsheet import csv_lines
from ..events.model import AuditEvent
from ..evidence.siem.cef import cef_line
from ..evidence.siem.ecs import ecs_line
from ..evidence.siem.ocsf import ocsf_line
from ..evidence.siem.origin import Origins
from ..otlp.encoding import Envelope, Record, record_of
from ..shipping.acknowledgements import SHIPPED
from ..shipping.unsent import UNSENT
from ..verification.checkpoint_files import SUFFIXES
from .options import check_ending

__all__ = [
    *("FORMATS", "SIEM_FORMATS", "export_events", "export_otlp", "export_parquet", "export_siem"),
    *("checked_target", "format_of"),
]

#: One line an event for a SIEM, by format.
SIEM_FORMATS = {"ocsf": ocsf_line, "ecs": ecs_line, "cef": cef_line}
FORMATS = ("json", "jsonl", "csv", "otlp", "parquet", *SIEM_FORMATS)
_ENDINGS = {f".{name}": name for name in FORMATS} | {".ndjson": "jsonl"}
_LINES = (".json", ".jsonl", ".ndjson")  # may follow the name of a format with such lines


def format_of(name: str) -> str:
    """The format that the name of a file asks for: its ending, or the one before ``.jsonl``, as
    in ``audit.ocsf.jsonl``; ``json`` if it has no ending.

    Raises:
        click.UsageError: If its ending is another one.
    """
    check_ending(name, _ENDINGS, ", or --format")
    endings = Path(name.lower()).suffixes
    if len(endings) > 1 and endings[-1] in _LINES and endings[-2][1:] in SIEM_FORMATS:
        endings.pop()
    return _ENDINGS[endings[-1]] if endings else "json"


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


#: How names of an archive's files end, besides those of events.
_OURS = (MANIFEST, JOURNAL, ATTESTED, HOLD, LOCK, SHIPPED, UNSENT, *SUFFIXES)


def checked_target(out: Path, path: Path, force: bool) -> Path:
    """The file to write, checked: it is replaced only with *force*, and never if it is read.

    Raises:
        click.ClickException: If *out* cannot be used.
    """
    target, name = Path(os.path.realpath(out)), repr(str(out))
    with suppress(ArchiveError):  # no archive: the search reports it
        if str(target) in {os.path.realpath(file) for file in files_of(path)}:
            raise click.ClickException(f"{name} is one of the files to be read")
    directory = path if path.is_dir() else path.parent
    is_named_as_ours = target.name.startswith(".") or target.name.endswith(_OURS)
    if str(target.parent) == os.path.realpath(directory) and (
        target.match("audit_*.json*") or is_named_as_ours
    ):
        place = str(directory)
        raise click.ClickException(f"{name} would become part of {place!r}: use another name")
    if target.exists() and not target.is_file():
        raise click.ClickException(f"{name} is not a regular file")
    if target.exists() and not force:
        raise click.ClickException(f"{name} exists: --force replaces it")
    return target


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
