"""Tables as CSV in which a spreadsheet takes no cell for a formula."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

__all__ = ["cell", "csv_lines"]

# What a spreadsheet takes for a formula (OWASP, "CSV Injection"), and the mark against it,
# so that whoever strips one apostrophe has the value back.
_DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "'")


def csv_lines(header: Iterable[str], rows: Iterable[Iterable[object]]) -> Iterator[bytes]:
    """Yield the lines of a table as CSV, in UTF-8, each cell as `cell`."""
    line = io.StringIO()
    table = csv.writer(line)
    table.writerow(map(cell, header))
    for row in rows:
        table.writerow(map(cell, row))
        yield line.getvalue().encode("utf-8", "backslashreplace")
        line.seek(0)
        line.truncate()
    yield line.getvalue().encode()  # the header, where there was no row


def cell(value: object) -> str:
    """The text of a cell: a list or a dict is JSON; None is nothing."""
    if value is None:
        return ""
    if type(value) is int and value >= 0:
        return str(value)
    if isinstance(value, (list, dict)):
        value = msgspec.json.encode(value).decode()
    text = str(value).replace("\0", "\\x00")  # before Python 3.11, `csv` refuses it
    return f"'{text}" if text.startswith(_DANGEROUS) else text
