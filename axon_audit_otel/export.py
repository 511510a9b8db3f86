"""Events as files in other formats than the archive's own."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from .event import AuditEvent
from .files import write_events, write_file

__all__ = ["FORMATS", "export_events"]

FORMATS = ("json", "jsonl", "csv")

# What a spreadsheet takes for a formula (OWASP, "CSV Injection"), and the mark against it,
# so that whoever strips one apostrophe has the value back.
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def export_events(events: Iterable[AuditEvent], path: Path, form: str = "json") -> int:
    """Write *events* to *path* in their order, as ``json``, ``jsonl`` or ``csv``.

    Returns:
        How many.

    Raises:
        ArchiveError: If it cannot be written.
    """
    if form == "json":
        return write_events((event.to_json() for event in events), path)
    count = 0

    def counted() -> Iterator[AuditEvent]:
        nonlocal count
        for event in events:
            count += 1
            yield event

    write_file((_json_lines if form == "jsonl" else _csv_lines)(counted()), path)
    return count


def _json_lines(events: Iterable[AuditEvent]) -> Iterator[bytes]:
    for event in events:
        yield event.to_json() + b"\n"


def _csv_lines(events: Iterable[AuditEvent]) -> Iterator[bytes]:
    line = io.StringIO()
    rows = csv.writer(line)
    rows.writerow(AuditEvent.__struct_fields__)
    for event in events:
        rows.writerow(map(_cell, event.to_dict().values()))
        yield line.getvalue().encode("utf-8", "backslashreplace")
        line.seek(0)
        line.truncate()
    yield line.getvalue().encode()  # the header, where there was no event


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        value = msgspec.json.encode(value).decode()
    text = str(value)
    return f"'{text}" if text.startswith(_DANGEROUS) else text
