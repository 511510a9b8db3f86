"""Remembers the events of an archive that no receiver took, one by one (``default.unsent``).

They do not hold up the others, whose acknowledgement goes beyond them, and a later `replay` sends
them: to another receiver, or with a higher limit. Only who has the lock of the acknowledgements
changes the file.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import accumulate
from pathlib import Path
from typing import Literal

import msgspec

from ..archive.cursor import Cursor
from ..archive.directory import EventFile
from ..core.content import content_of
from ..core.files import DECODE_ERRORS, append, replacement
from ..core.merkle import leaf_hash
from ..core.time import format_time

__all__ = ["UNSENT", "SetAside", "Unsent", "Why"]

UNSENT = ".unsent"
_MOST = 10_000  # events in the file; the others are only counted
_BYTES = 1 << 24  # of the file

#: Why an event was not sent: longer than the setting, or refused by a receiver for good.
Why = Literal["too_large", "rejected"]


class SetAside(msgspec.Struct, frozen=True):
    """An event that was not sent.

    Attributes:
        number: Of the event.
        hash: Its hash, in hex.
        event_id: Its id.
        bytes: The size of its log record.
        why: The reason.
        said: The receiver's words.
        stream: The id of its trail.
        at: When that was.
    """

    number: int
    hash: str
    event_id: str
    bytes: int
    why: Why
    said: str = ""
    stream: str = ""
    at: str = ""


_entry_in = msgspec.json.Decoder(SetAside).decode


class Unsent:
    """The events of one writer that were set aside.

    Args:
        directory: The archive.
        writer: Its name.
        stream: The id of its trail: events of another count for nothing.
    """

    def __init__(self, directory: Path, writer: str, stream: str) -> None:
        self._directory, self._writer, self._stream = directory, writer, stream
        self._path = directory / f"{writer}{UNSENT}"

    def entries(self) -> dict[int, SetAside]:
        """Those in the file, by number; {} where it cannot be read."""
        with suppress(OSError):
            return self._entries_in(self._content())
        return {}

    def _content(self) -> bytes:
        with suppress(FileNotFoundError):
            return content_of(self._path, _BYTES)
        return b""

    def _entries_in(self, content: bytes) -> dict[int, SetAside]:
        found: dict[int, SetAside] = {}
        for line in content.splitlines():
            with suppress(*DECODE_ERRORS):
                entry = _entry_in(line)
                if entry.stream == self._stream:
                    found[entry.number] = entry
        return found

    def add(self, entries: Iterable[SetAside]) -> None:
        """Remember *entries* too.

        Raises:
            OSError: If they cannot be written down.
        """
        content = self._content()
        known = self._entries_in(content)
        now = format_time(time.time_ns() // 1000)
        lines = [
            msgspec.json.encode(
                msgspec.structs.replace(entry, stream=self._stream, at=now, said=entry.said[:200])
            )
            for entry in entries
            if (before := known.get(entry.number)) is None or before.hash != entry.hash
        ]
        # A power loss may have cut the last line: what comes now is no part of it.
        cut = b"\n" if content[-1:] not in (b"", b"\n") else b""
        lines = lines[: max(0, _MOST - len(known))]
        ends = accumulate(len(line) + 1 for line in lines)
        fit = bisect_right([*ends], _BYTES - len(content) - len(cut))
        if fit:
            append(self._path, cut + b"\n".join(lines[:fit]) + b"\n")

    def remove(self, sent: Iterable[int]) -> None:
        """Forget the events of these numbers: a receiver has them.

        Raises:
            OSError: If the file cannot be read or written.
        """
        left = self._entries_in(self._content())
        for number in sent:
            left.pop(number, None)
        if not left:
            self._path.unlink(missing_ok=True)
            return
        with replacement(self._path, self._path.with_suffix(f"{UNSENT}.tmp")) as file:
            for entry in left.values():
                file.write(msgspec.json.encode(entry) + b"\n")

    def lines(self, unlisted: Iterable[EventFile] = ()) -> Iterator[bytes]:
        """Yield the lines of the events that the archive still has, with the hash that they had.

        Raises:
            OSError: If the archive cannot be read.
        """
        entries = self.entries()
        cursor: Cursor | None = None
        try:
            for number in sorted(entries):
                if cursor is None or not cursor.position < number <= cursor.position + 1000:
                    if cursor is not None:
                        cursor.close()
                    cursor = Cursor(self._directory, self._writer, number - 1, unlisted)
                while cursor.position < number:
                    if not (read := cursor.read(1, 1)):
                        return  # the archive has none that is newer
                    ours = cursor.position == number
                    if ours and leaf_hash(read[0]).hex() == entries[number].hash:
                        yield read[0]
        finally:
            if cursor is not None:
                cursor.close()
