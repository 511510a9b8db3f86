"""Reads the events of one writer in their order, while they are written, sealed and compressed."""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec

from ..core.files import open_regular
from ..core.merkle import leaf_hash
from .format import HEAD, JOURNAL, open_events_file
from .manifest import MANIFEST, DeleteRecord, SealRecord, read_manifest

__all__ = ["Cursor", "hash_at", "newest", "number_of", "writers"]

_PLACE = re.compile(rb',"sequence":(\d{1,18})(?:,"previous_hash":"[0-9a-f]{64}")?\}\n$')
_PLACE_SIZE = 128  # bytes at a line's end that hold it
_TAIL = 1 << 18  # bytes at a journal's end in which its last event is looked for


class Cursor:
    """A place in the events of one writer, which moves on as they are read.

    Args:
        directory: The archive.
        writer: Its name.
        after: Number of the newest event that is not wanted.
        unlisted: Sealed files of the writer that no manifest lists: number of the first and
            the last event, path.

    Attributes:
        position: Number of the newest event that was read, or is gone.
        gone: Events that were deleted before they were read.
        missing: Events of files that are not there, are cut off, or cannot be read.
        unreadable: Lines that are no event.
        patience: How often a sealed file may fail to be read before it is passed over.
    """

    patience = 5

    def __init__(
        self,
        directory: Path,
        writer: str,
        after: int = 0,
        unlisted: Iterable[tuple[int, int, Path]] = (),
    ) -> None:
        self._directory = directory
        self._writer = writer
        self._unlisted = list(unlisted)
        self.position = after
        self.gone = self.missing = self.unreadable = 0
        self._place: tuple[int, int, Path] | None = None  # of the sealed file that is being read
        self._damaged = 0  # its lines that were no event, since one that was
        self._failures = 0  # of that file
        self._file: BinaryIO | None = None
        self._is_journal = False
        self._sealed: deque[tuple[int, int, Path]] = deque()
        self._read_at: tuple[int, int] | None = None  # size and time of the manifest

    def read(self, events: int, size: int) -> list[bytes]:
        """The next events, without separators: so many, or of so many bytes; [] at the end.

        Raises:
            OSError: If a file cannot be read; a sealed one, *patience* times.
        """
        lines: list[bytes] = []
        total = 0
        while len(lines) < events and total < size:
            line = self._next()
            if line is None:
                break
            lines.append(line)
            total += len(line)
        return lines

    def close(self) -> None:
        """Let go of the file that is being read."""
        if self._file is not None:
            self._file.close()
            self._file = None
        self._place, self._damaged = None, 0

    # --- lines -----------------------------------------------------------------------------

    def _next(self) -> bytes | None:
        while self._file is not None or self._open():
            assert self._file is not None
            try:
                line = self._file.readline()
            except OSError as exc:
                self._failed(exc)
                continue
            if not line.endswith(b"\n"):
                if self._waits(len(line)):
                    return None
            elif line.startswith(b"],"):
                if self._is_there():  # it gets its name this moment, or its writer died
                    self._file.seek(-len(line), os.SEEK_CUR)
                    return None
                self._end()
            elif line != HEAD:
                found = _PLACE.search(line, max(0, len(line) - _PLACE_SIZE))
                if found is None:
                    self.unreadable += 1
                    self._damaged += 1
                elif int(found[1]) > self.position:
                    self.position = int(found[1])
                    self._damaged = 0
                    return line[1:-1]
        return None

    def _failed(self, exc: OSError) -> None:
        """A file could not be read: raise that, or pass the file over."""
        place = self._place
        self.close()
        if place is None:
            raise exc
        self._failures += 1
        if self._failures <= self.patience:
            self._sealed.appendleft(place)
            raise exc
        self._place = place
        self._end()

    def _end(self) -> None:
        """Nothing more comes from the file that is being read: what it should have is missing."""
        if self._place is not None:
            first, last, _ = self._place
            rest = last - max(first - 1, self.position) - self._damaged
            self.missing += max(0, rest)
            self.position = max(last, self.position)
        self._failures = 0
        self.close()

    def _waits(self, torn: int) -> bool:
        """At a file's end without its last line: whether more is to come in it."""
        assert self._file is not None
        if not self._is_journal:
            self._end()  # cut off
            return False
        if torn:
            self._file.seek(-torn, os.SEEK_CUR)
        if self._is_there():
            return True
        if self._file.readline().endswith(b"\n"):  # written and sealed this moment
            self._file.seek(0)
            return False
        self.close()
        return False

    def _is_there(self) -> bool:
        """Whether the file that is being read is the writer's journal."""
        if self._file is None or not self._is_journal:
            return False
        with suppress(OSError):
            path = self._directory / f"{self._writer}{JOURNAL}"
            return os.path.samestat(path.stat(), os.fstat(self._file.fileno()))
        return False

    # --- files -----------------------------------------------------------------------------

    def _open(self) -> bool:
        """Open the file that the next event is in; False if there is none yet."""
        journal = self._directory / f"{self._writer}{JOURNAL}"
        try:  # before the manifest: what is sealed meanwhile is in this as well
            file: BinaryIO | None = open_regular(journal)
        except FileNotFoundError:
            file = None
        try:
            self._list()
            while self._sealed:
                first, last, path = self._sealed[0]
                if last <= self.position:
                    self._sealed.popleft()
                    continue
                self._place = self._sealed.popleft()
                try:
                    self._file, self._is_journal = open_events_file(path), False
                    return True
                except FileNotFoundError:
                    if path == _DELETED:
                        self.gone += last - max(first - 1, self.position)
                        self.position = last
                    elif self._list():  # deleted now, perhaps
                        continue
                    self._end()
                except OSError as exc:
                    self._failed(exc)
            self._place = None
            self._file, self._is_journal, file = file, True, None
            return self._file is not None
        finally:
            if file is not None:
                file.close()

    def _list(self) -> bool:
        """Take the sealed files from the manifest, if it has changed; says whether it has."""
        manifest = self._directory / f"{self._writer}{MANIFEST}"
        try:
            status = manifest.stat()
            state = status.st_size, status.st_mtime_ns
        except FileNotFoundError:
            state = None
        if state == self._read_at and not self._unlisted:
            return False
        self._read_at = state
        found: dict[str, tuple[int, int, Path]] = {}
        for _, record in read_manifest(manifest, damaged=lambda: None):  # as far as it can be
            if isinstance(record, SealRecord):
                path = self._directory / record.file
                found[record.file] = record.first_sequence, record.last_sequence, path
            elif isinstance(record, DeleteRecord):
                found[record.file] = *found.get(record.file, (0, 0))[:2], _DELETED
        files = [*found.values(), *self._unlisted]
        self._unlisted = []
        self._sealed = deque(file for file in sorted(files) if file[1] > self.position)
        return True


_DELETED = Path("/nonexistent.deleted")


def number_of(line: bytes) -> int:
    """The number of the event in *line*, as `Cursor.read` gives it."""
    found = _PLACE.search(line + b"\n", max(0, len(line) - _PLACE_SIZE))
    return 0 if found is None else int(found[1])


def writers(directory: Path) -> list[str]:
    """The names of those that have written in *directory*, as far as it has their files."""
    found = (path.stem for suffix in (MANIFEST, JOURNAL) for path in directory.glob(f"*{suffix}"))
    return sorted(set(found))


def newest(directory: Path, writer: str) -> int:
    """The number of the newest event of *writer*; 0 if there is none."""
    number = 0
    with suppress(OSError, msgspec.DecodeError):
        for _, record in read_manifest(directory / f"{writer}{MANIFEST}"):
            if isinstance(record, SealRecord):
                number = record.last_sequence
    with suppress(OSError), open_regular(directory / f"{writer}{JOURNAL}") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - _TAIL))
        for line in file:
            if found := _PLACE.search(line):
                number = int(found[1])
    return number


def hash_at(
    directory: Path, writer: str, number: int, unlisted: Iterable[tuple[int, int, Path]] = ()
) -> str | None:
    """The hash of event *number* of *writer*: "" if that was deleted, None if there is none.

    Raises:
        OSError: If a file cannot be read.
    """
    with suppress(OSError, msgspec.DecodeError):
        for _, record in read_manifest(directory / f"{writer}{MANIFEST}"):
            if isinstance(record, SealRecord) and record.last_sequence == number:
                return record.head
    cursor = Cursor(directory, writer, number - 1, unlisted)
    try:
        lines = cursor.read(1, 1)
    finally:
        cursor.close()
    if lines and number_of(lines[0]) == number:
        return leaf_hash(lines[0]).hex()
    return "" if cursor.gone or cursor.missing else None
