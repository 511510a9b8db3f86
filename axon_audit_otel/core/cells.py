"""Cells of a CSV table, in which no spreadsheet reads a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

__all__ = ["cell", "csv_lines"]

# What a spreadsheet takes for a formula (OWASP, "CSV Injection"), and the mark against it,
# so that whoever strips one apostrophe has the value back.
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def cell(value: object) -> str:
    """*value* as the text of a cell; lists and objects as JSON, None as nothing."""
    if value is None:
        return ""
    if isinstance(value, (list, dict)):
        value = msgspec.json.encode(value).decode()
    text = str(value)
    return f"'{text}" if text.startswith(_DANGEROUS) else text


def csv_lines(rows: Iterable[Iterable[object]]) -> Iterator[bytes]:
    """The *rows* of a table in CSV (RFC 4180), each with its line end."""
    line = io.StringIO()
    table = csv.writer(line)
    for row in rows:
        table.writerow(map(cell, row))
        yield line.getvalue().encode("utf-8", "backslashreplace")
        line.seek(0)
        line.truncate()
