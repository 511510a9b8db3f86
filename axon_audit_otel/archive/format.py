"""The layout of journals, sealed files and exports, and their names.

All have the specification's export format with one event a line. So a sealed file is its journal
and one more line, and the same code reads them all::

    {"events":[
     {"event_id": ...}
    ,{"event_id": ...}
    ],"total_events":2,"exported_at":"2025-01-15T11:00:00.000000Z"}

A sealed file may be compressed: then only its own name ends with ``.zst``, and it has the old
name everywhere else. This module opens no files: see `reader` and `publishing`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

import msgspec

from ..core.files import DECODE_ERRORS
from ..core.time import format_time
from ..events.model import LAST_NUMBER

__all__ = [
    "Closing",
    "Position",
    "file_order",
    "is_writer",
    "laid_out",
    "name_parts",
    "parse_closing",
    "position_of",
    "sealed_name",
    "tail",
]

GZ = ".gz"
HEAD = b'{"events":[\n'
JOURNAL = ".journal"
SEALED = "audit_*.json"
ZST = ".zst"


_WRITER, _LONGEST_NAME = r"[^./\\\x00-\x1f][^/\\\x00-\x1f]*", 200

#: The number of an event.
Number = Annotated[int, msgspec.Meta(gt=0, le=LAST_NUMBER)]
#: A number of bytes or events, as a file says it.
Count = Annotated[int, msgspec.Meta(ge=0, le=LAST_NUMBER)]
#: A text that is not empty.
Text = Annotated[str, msgspec.Meta(min_length=1)]
#: The id of a trail.
TrailId = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{16}\Z")]
#: The name of a sealed file, and nothing that leads elsewhere.
FileName = Annotated[str, msgspec.Meta(pattern=r"\Aaudit_[^/\\\x00-\x1f]*\.json\Z", max_length=255)]
#: The name of a writer, or "".
WriterName = Annotated[str, msgspec.Meta(pattern=rf"\A(?:{_WRITER})?\Z", max_length=_LONGEST_NAME)]


_is_writer = re.compile(_WRITER).fullmatch


class Position(msgspec.Struct, gc=False):
    """The position of an event in its chain.

    Attributes:
        sequence: Its number.
        timestamp: Its time, as text.
        operation: Its operation, as text.
        previous_hash: The hash of the event before, hex; None for the first event.
    """

    sequence: Number
    timestamp: str
    operation: str
    previous_hash: str | None = None


#: Returns the `Position` in an event's line, which is without separators; raises `DECODE_ERRORS`.
position_of = msgspec.json.Decoder(Position).decode


class Closing(msgspec.Struct, kw_only=True):
    """The last line of a sealed file; that of an export has the first two fields only."""

    total_events: Count = 0
    exported_at: str = ""
    trail: WriterName = ""
    first_sequence: Count = 0
    last_sequence: Count = 0
    root: str = ""
    previous_seal: str | None = None


_closing_in = msgspec.json.Decoder(Closing).decode


def parse_closing(line: bytes, exact: bool = True) -> Closing | None:
    """The content of the last line of a file; None if *line* is not such a line.

    Args:
        line: The line, with its newline.
        exact: Accept only a sealed file's line, and only byte by byte as it was written.
    """
    if not line.startswith(b"],"):
        return None
    try:
        closing = _closing_in(b"{" + line[2:])
    except DECODE_ERRORS:
        return None
    written = b"]," + msgspec.json.encode(closing)[1:] + b"\n"
    return closing if line == written or not exact else None


def tail(count: int, **proof: Any) -> bytes:
    """The last line of a file of *count* events; *proof* follows the specification's keys."""
    now = format_time(time.time_ns() // 1000)
    fields = {"total_events": count, "exported_at": now, **proof}
    return b"]," + msgspec.json.encode(fields)[1:] + b"\n"


def laid_out(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Yield encoded events in the export format."""
    count = 0
    yield HEAD
    for line in lines:
        yield (b"," if count else b" ") + line + b"\n"
        count += 1
    yield tail(count)


def is_writer(name: str) -> bool:
    """Return True if a writer may have that name."""
    return len(name) <= _LONGEST_NAME and _is_writer(name) is not None


def sealed_name(path: Path) -> str:
    """The name of a sealed file in its manifest: without ``.zst``."""
    return path.name.removesuffix(ZST)


def file_order(path: Path) -> tuple[bool, str, int]:
    """A sort key: journals last; ``..._2.json`` after the file without a number."""
    return path.suffix == JOURNAL, *name_parts(sealed_name(path))


def name_parts(name: str) -> tuple[str, int]:
    """The name without a number (``audit_2025_01_15_103045``), and the number; 1 without one."""
    stem = name.removesuffix(".json")
    head, _, last = stem.rpartition("_")
    return (head, int(last)) if stem.count("_") == 5 and last.isdecimal() else (stem, 1)
