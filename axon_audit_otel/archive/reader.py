"""Reads journals and sealed files: forwards, backwards, and further while they grow.

Files are read in blocks of whole lines. Damage is reported to a `Missing`, or raised: the caller
chooses.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from io import BytesIO
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from ..core.errors import InvalidEventError
from ..core.files import DECODE_ERRORS, LINE_LIMIT, open_regular
from ..events.model import AuditEvent, all_canonical, decode, is_canonical
from . import zstd
from .format import HEAD, JOURNAL, ZST, Closing, parse_closing, position_of
from .missing import Missing

__all__ = [
    "LineReader",
    "closing_of",
    "digest",
    "first_line",
    "first_number",
    "first_number_at",
    "last_number",
    "open_events_file",
]

_BLOCK = 1 << 16  # larger ones are slower: they leave the cache
_AT_ONCE = 32  # events that are decoded
_FIRST = b' {"event_id":'
_TOO_LONG = f"it has a line of more than {LINE_LIMIT >> 20} MiB"
_LAST_LINE = 4096  # bytes; the last line of a sealed file is shorter


def open_events_file(path: Path) -> BinaryIO:
    """Open an audit file for reading, uncompressed; *path* may lack the ``.zst`` of its name.

    Raises:
        OSError: If it cannot be read. While reading: if its compression is damaged.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        if path.suffix != ".json":
            raise
        file = open_regular(path.with_name(path.name + ZST))
    try:
        if file.peek(len(zstd.MAGIC)).startswith(zstd.MAGIC):
            return zstd.decompressed(file)
    except BaseException:
        file.close()
        raise
    return file


class LineReader:
    """The lines of an open file, each once.

    Args:
        file: The file, at its beginning.
        path: Its path.
        missing: Takes lines that cannot be read. Default: an error is raised.
        digest: Gets the bytes of the first line, and of the lines that `lines` yields.

    Attributes:
        missing: See above.
        head: The first line; b"" until there is one.
        first: The first line that `lines` yielded; b"" until then.
        data: The bytes of the lines that `batches` yielded last.
        closing: The line that closes a sealed file; b"" until `lines` reaches it.
        torn: The bytes after the last newline: its writer may be in the middle of a line.
        after: Number of lines after the closing one, which are no events; counted with *missing*.
        size: Bytes of the first line, and of the lines that `lines` yielded.
    """

    def __init__(
        self,
        file: BinaryIO,
        path: Path = Path(),
        missing: Missing | None = None,
        digest: hashlib._Hash | None = None,
    ) -> None:
        self._file = file
        self._path = path
        self.missing = missing
        self._digest = digest
        self._taken: Iterator[bytes] = iter(())  # the lines that were read last
        self._has_ended = self._is_judged = False
        self.head = self.first = self.data = self.closing = self.torn = self._after = b""
        self.after = self.size = 0

    @property
    def frame(self) -> bytes:
        """The first line; b"" until there is one, or if it is so long that it may be an event."""
        return self.head if len(self.head) <= len(HEAD) else b""

    # --- one line after the other ------------------------------------------------------------

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are complete by now, with their separators and newlines.

        Called again, it continues where it was, with the lines written meanwhile. The `frame`
        is left out.
        """
        yield from self._taken
        if self._has_ended and self._file.seekable():
            # The file may have grown, or its writer may have removed its last line.
            self._file.seek(self.size or len(self.head))
            self._has_ended, self.closing, self.torn = False, b"", b""
        for batch in self.batches():
            self._taken = iter(batch)
            yield from self._taken

    def batches(self) -> Iterator[list[bytes]]:
        """Yield the next lines in lists of many."""
        while not self._has_ended and self.start():
            if not self.size and not self.frame:
                data = self.head
            else:
                if not self.size:
                    self._count(self.head)
                    if self.head != HEAD and self.missing is not None:
                        self.missing.line(self._path)
                data = self._file.read(_BLOCK) + self._file.readline()
            lines = BytesIO(data).readlines()  # several times as fast as from a file
            # The last line may lack its newline: its writer may be in the middle of it. A line
            # that closes a file is the largest: "]" is above the first bytes of events.
            if data[-1:] != b"\n" or max(lines) >= b"]":
                lines = self._whole(lines)
                data = b"".join(lines)
            self._has_ended = self._has_ended or not lines
            if self._has_ended:
                self._end()
            if lines:
                self._count(data)
                self.first, self.data = self.first or lines[0], data
                yield lines
        self._has_ended = True

    def _whole(self, lines: list[bytes]) -> list[bytes]:
        """The lines before the first one that closes the file, or has no newline."""
        for index, line in enumerate(lines):
            self._has_ended = True
            if not line.endswith(b"\n"):
                self.torn = line
                return lines[:index]
            if line.startswith(b"],"):
                self.closing, self._after = line, b"".join(lines[index + 1 :])
                return lines[:index]
        self._has_ended = False
        return lines

    def _count(self, data: bytes) -> None:
        self.size += len(data)
        if self._digest is not None:
            self._digest.update(data)

    def events(self) -> Iterator[AuditEvent]:
        """Yield the events in `lines`.

        Raises:
            InvalidEventError: If a line is not an event, without *missing*.
        """
        return self.decoded(line[1:-1] for line in self.lines())

    def decoded(self, lines: Iterator[bytes]) -> Iterator[AuditEvent]:
        """Yield the events in *lines* of this file, which are without separators.

        Raises:
            InvalidEventError: If a line is not an event as it was recorded, without *missing*.
        """
        while batch := list(islice(lines, _AT_ONCE)):
            events = all_canonical(batch)
            yield from self._one_by_one(batch) if events is None else events

    def _one_by_one(self, lines: list[bytes]) -> Iterator[AuditEvent]:
        for line in lines:
            try:
                event = decode(line)
                # Another program numbers no events, and writes them as it likes.
                is_own = event.sequence or self._path.suffix == JOURNAL
                if is_own and not is_canonical(line, event):
                    raise InvalidEventError("an event is not written as it was recorded")
            except InvalidEventError:
                if self.missing is None:
                    raise
                self.missing.line(self._path)
            else:
                yield event

    def rest(self) -> Iterator[bytes]:
        """Yield the bytes after the last line, in blocks."""
        yield self._after
        yield self.torn
        while self.closing and (data := self._file.read(_BLOCK)):
            yield data

    def start(self) -> bool:
        """Read the first line; returns whether there is one."""
        if not self.head:
            line = self._file.readline()
            if not line.endswith(b"\n"):
                self.torn = line
                if self._file.seekable():
                    self._file.seek(0)
                return False
            self.head, self.torn = line, b""
        return True

    def is_ours(self) -> bool:
        """Return True if the file has our layout; its first line may be damaged."""
        if not self.start():
            return False
        if self.head != HEAD and self._file.seekable():
            second = self._file.read(len(_FIRST))
            self._file.seek(-len(second), os.SEEK_CUR)
            if second == _FIRST and self.missing is not None:
                self.missing.line(self._path)
            return second == _FIRST
        return self.head == HEAD

    # --- many lines at once ------------------------------------------------------------------

    def blocks(self, is_whole: bool = False) -> Iterator[bytes]:
        """Yield the lines after the first in blocks, up to the closing line or a torn one.

        Args:
            is_whole: The closing line is known to be the last: no other is looked for.
        """
        rest: list[bytes] = []  # the beginning of a line that ends further on
        while not self.closing and (data := self._file.read(_BLOCK)):
            whole, newline, after = data.rpartition(b"\n")
            if not newline:
                rest.append(data)
                continue
            block = b"".join((*rest, whole, newline))
            rest = [after]
            if not is_whole:
                block = self._before_closing(block)
            if block:
                yield block
        self.torn = b"".join(rest)
        if not is_whole:
            self._end()

    def _before_closing(self, block: bytes) -> bytes:
        at = 0 if block.startswith(b"],") else block.find(b"\n],") + 1
        if not at and not block.startswith(b"],"):
            return block
        end = block.index(b"\n", at) + 1
        self.closing, self._after = block[at:end], block[end:]
        return block[:at]

    def passing(
        self, keep: Callable[[bytes], list[bytes]], newest: bool, size: int = 0
    ) -> Iterator[bytes]:
        """Yield the lines after the first that pass a filter.

        Args:
            keep: The filter: returns the lines to keep of a block of whole lines.
            newest: Start at the end of the file.
            size: Its size as it was sealed; 0 if not known.
        """
        is_whole = self._file.seekable() and self._ends_well(size)
        if not newest:
            for block in self.blocks(is_whole):
                yield from keep(block)
        elif is_whole or (self._path.suffix == JOURNAL and self._file.seekable()):
            for block in self._blocks_backwards():
                yield from reversed(keep(block))
        else:
            found = []
            try:
                for block in self.blocks():
                    found.append(keep(block))  # noqa: PERF401 - kept if the rest is damaged
            except OSError as exc:  # what came before the damage is read
                if self.missing is None:
                    raise
                self.missing.add(self._path, exc)
            while found:
                yield from reversed(found.pop())

    def _ends_well(self, size: int) -> bool:
        """Return True if the file has a closing line at its end, and *size* if that is known."""
        begin = self._file.tell()
        end = self._file.seek(0, os.SEEK_END)
        self._file.seek(max(begin, end - _LAST_LINE))
        last = self._file.read()
        self._file.seek(begin)
        is_closing = last.startswith(b"],", last.rfind(b"\n", 0, -1) + 1)
        return is_closing and last.endswith(b"\n") and size in (0, end)

    def _blocks_backwards(self) -> Iterator[bytes]:
        begin = self._file.tell()
        end = self._file.seek(0, os.SEEK_END)
        rest: list[bytes] | None = None  # the end of a line that begins further ahead, backwards
        last = end
        while end > begin:
            start = max(begin, end - _BLOCK)
            self._file.seek(start)
            data = self._file.read(end - start)
            end = start
            if rest is None:  # the writer may be in the middle of the last line
                whole = data.rfind(b"\n") + 1
                if not whole:
                    if last - end > LINE_LIMIT:
                        raise InvalidEventError(_TOO_LONG)
                    continue
                data, rest = data[:whole], []
            cut = data.find(b"\n") + 1
            if start == begin:
                cut = 0
            elif not cut:
                if len(rest) * _BLOCK > LINE_LIMIT:
                    raise InvalidEventError(_TOO_LONG)
                rest.append(data)
                continue
            if lines := data[cut:] + b"".join(reversed(rest)):
                yield lines
            rest = [data[:cut]]

    def _end(self) -> None:
        """Report a missing end, or lines after it; not of a journal: its writer may be at work."""
        if self.missing is None or self._path.suffix == JOURNAL or self._is_judged:
            return
        if not self.closing:
            self.missing.add(self._path, "its end is missing")
        elif any(lines := [data.count(b"\n") for data in self.rest() if data]):
            self.after = sum(lines)
            self.missing.add(self._path, "lines follow its last one")
        self._is_judged = True


# --- a look at either end ----------------------------------------------------------------------


def first_line(path: Path) -> bytes:
    """The line of a file's first event, without separators; b"" without any event.

    Raises:
        OSError: If it cannot be read.
    """
    with open_events_file(path) as file:
        return next(LineReader(file).lines(), b"")[1:-1]


def first_number(file: BinaryIO) -> int | None:
    """The number of the first readable event in an open file; None without events, 0 if none is.

    The file is at its beginning before and, if it is seekable, after.

    Raises:
        OSError: If the file cannot be read.
    """
    number = None
    for line in LineReader(file).lines():
        number = 0
        with suppress(*DECODE_ERRORS):
            number = position_of(line[1:-1]).sequence
            break
    if file.seekable():
        file.seek(0)
    return number


def first_number_at(path: Path) -> int | None:
    """The number of the first readable event in a file, as `first_number`; 0 on an error."""
    try:
        with open_events_file(path) as file:
            return first_number(file)
    except OSError:
        return 0


def last_number(journal: Path) -> int:
    """The number of the last readable event in a journal; 0 without any.

    Raises:
        OSError: If it cannot be read.
    """
    with open_regular(journal) as file:
        reader = LineReader(file, journal)
        if reader.start():
            for line in reader.passing(_split, newest=True):
                with suppress(*DECODE_ERRORS):
                    return position_of(line[1:]).sequence
    return 0


def _split(block: bytes) -> list[bytes]:
    return block.split(b"\n")


def closing_of(path: Path, exact: bool = True) -> Closing | None:
    """The content of a file's closing line; None if there is none, or it cannot be read.

    Args:
        path: The file.
        exact: See `parse_closing`.
    """
    end = b""
    with suppress(OSError), open_events_file(path) as file:
        if file.seekable():
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_LINE))
        while block := file.read(_BLOCK):
            end = (end + block)[-_LAST_LINE:]
        return parse_closing(end[end.rfind(b"\n", 0, -1) + 1 :], exact)
    return None


def digest(path: Path) -> tuple[int, str]:
    """The size and the SHA-256 of a file's content, uncompressed.

    Raises:
        OSError: If it cannot be read, or its compression is damaged.
    """
    size, sha256 = 0, hashlib.sha256()
    with open_events_file(path) as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            size += len(block)
    return size, sha256.hexdigest()
