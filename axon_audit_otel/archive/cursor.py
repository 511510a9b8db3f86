"""A place in the events of one writer, which moves on as they are read, also while they come."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import BinaryIO

from ..core.errors import ArchiveError, InvalidEventError
from ..core.files import open_regular
from ..core.merkle import leaf_hash
from ..events.model import AuditEvent, decode_recorded
from .directory import Directory, EventFile, WriterFiles
from .format import JOURNAL, position_of
from .manifest import MANIFEST, read_listing
from .missing import OF_ANOTHER, Missing
from .reader import LineReader

__all__ = ["Cursor", "hash_at"]


class Cursor:
    """A position in the events of one writer, which moves on as they are read.

    Args:
        directory: The archive.
        writer: Its name.
        after: Number of the newest event to leave out.
        unlisted: Sealed files of the writer that no manifest lists.

    Attributes:
        position: Number of the newest event that was read or lost.
        lost: Number of events that were not read, by reason: ``deleted`` by retention;
            ``missing``: their file is gone, truncated or unreadable; ``unreadable`` lines.
        patience: How often reading a sealed file may fail before the file is skipped.
    """

    patience = 5

    def __init__(
        self, directory: Path, writer: str, after: int = 0, unlisted: Iterable[EventFile] = ()
    ) -> None:
        self._directory = directory
        self._journal = directory / f"{writer}{JOURNAL}"
        self._listed = WriterFiles(directory, writer)
        self._unlisted = list(unlisted)
        self._is_new = True
        self._missing = Missing()
        self._sealed: deque[EventFile] = deque()
        self.position = after
        self.lost: Counter[str] = Counter()
        self._opened: BinaryIO | None = None
        self._reader: LineReader
        self._lines: Iterator[bytes]
        self._sealed_file: EventFile | None = None  # being read; None: the journal is
        self._damaged = 0  # its unreadable lines since the last event
        self._failures = 0  # of that file
        self._has_moved = False  # True if the file was the journal, and has another name now

    def read(self, events: int, size: int) -> list[bytes]:
        """Return the next events, without separators; [] at the end.

        Args:
            events: The limit of their number.
            size: The limit of their bytes.

        Raises:
            OSError: If a file cannot be read; of a sealed file, `patience` times.
        """
        lines: list[bytes] = []
        total = 0
        while len(lines) < events and total < size and (found := self._next()) is not None:
            lines.append(found[0])
            total += len(found[0])
        return lines

    def events(self, missing: Missing) -> Iterator[AuditEvent]:
        """Yield the next events, to the end.

        Args:
            missing: Takes what is lost, and errors of reading.
        """
        self._missing = missing
        if self._opened is not None:
            self._reader.missing = missing
        with missing.caught(self._journal):
            while (found := self._next()) is not None:
                yield found[1]

    def add(self, unlisted: Iterable[EventFile]) -> None:
        """Read also these sealed files, which no manifest lists."""
        self._unlisted += unlisted
        self._is_new = True

    def close(self) -> None:
        """Close the file that is being read."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self._sealed_file, self._damaged, self._has_moved = None, 0, False

    # --- lines -----------------------------------------------------------------------------

    def _next(self) -> tuple[bytes, AuditEvent] | None:
        """The next event, as its line and decoded; None at the end."""
        while self._opened is not None or self._open():
            file = self._sealed_file
            try:
                for line in self._lines:
                    line = line[1:-1]
                    try:
                        event = decode_recorded(line)
                    except InvalidEventError:
                        self.lost["unreadable"] += 1
                        self._damaged += 1
                        self._missing.line(self._journal if file is None else file.path)
                        continue
                    if event.sequence <= self.position:
                        continue
                    if file is None or file.may_hold(event.sequence):
                        self.position = event.sequence
                        self._damaged = 0
                        return line, event
                    self._missing.add(file.path, OF_ANOTHER)
            except ArchiveError:  # of a strict `Missing`
                raise
            except OSError as exc:
                self._failed(exc)
                continue
            if self._waits():
                return None
        return None

    def _failed(self, exc: OSError) -> None:
        """Raise *exc*, an error in reading a file; or skip the file."""
        file = self._sealed_file
        self.close()
        if file is None:
            raise exc
        self._failures += 1
        if self._failures <= self.patience:
            self._sealed.appendleft(file)
            raise exc
        self._sealed_file = file
        self._end(exc)

    def _end(self, why: Exception | str = "") -> None:
        """End the file that is being read; its events that were not read are lost.

        Args:
            why: The reason, if it is known.
        """
        file = self._sealed_file
        if file is not None:
            first = max(file.first, self.position + 1)
            rest = file.last - first + 1 - self._damaged
            if rest > 0:
                self.lost["missing"] += rest
                self._missing.add(file.path, why or f"events {first} to {file.last} are not in it")
            self.position = max(file.last, self.position)
        self._failures = 0
        self.close()

    def _waits(self) -> bool:
        """Return True if this file, read to its last line, can still grow."""
        if self._sealed_file is not None or self._has_moved:
            if self._reader.after:
                self.lost["unreadable"] += self._reader.after
            self._end()
            return False
        # A journal in its place with a closing line is being sealed, or its writer died. One that
        # has moved was sealed, perhaps with events that were not read yet: read it once more.
        self._has_moved = not self._is_journal()
        self._lines = self._reader.lines()
        return not self._has_moved

    def _is_journal(self) -> bool:
        """Return True if the file that is being read is the writer's journal."""
        with suppress(OSError):
            if self._opened is not None:
                return os.path.samestat(self._journal.stat(), os.fstat(self._opened.fileno()))
        return False

    # --- files -----------------------------------------------------------------------------

    def _open(self) -> bool:
        """Open the file with the next event; False if there is none yet."""
        with ExitStack() as stack:
            journal = None
            with suppress(FileNotFoundError):
                # Before the manifest: a file sealed in between is open already.
                journal = stack.enter_context(open_regular(self._journal))
            self._list()
            while self._sealed:
                self._sealed_file = file = self._sealed.popleft()
                if file.last <= self.position:
                    continue
                if file.state == "deleted":
                    self.lost["deleted"] += file.last - max(file.first - 1, self.position)
                    self.position = file.last
                    continue
                try:
                    self._take(self._found(file), file.path)
                    return True
                except FileNotFoundError:
                    if not self._list():  # else retention may have deleted it
                        self._end(file.why_absent())
                except OSError as exc:
                    self._failed(exc)
            self._sealed_file = None
            if journal is None:
                return False
            self._take(journal, self._journal)
            stack.pop_all()
            return True

    def _take(self, file: BinaryIO, path: Path) -> None:
        self._opened, self._reader = file, LineReader(file, path, self._missing)
        self._lines = self._reader.lines()

    def _found(self, file: EventFile) -> BinaryIO:
        with suppress(FileNotFoundError):
            return file.open()
        with Directory(self._directory, Missing()) as directory:
            return directory.open(file)

    def _list(self) -> bool:
        """Read the sealed files from the manifest, if it has changed; return True if it has."""
        found = Missing()
        has_changed = self._listed.look(found)
        self._missing.include(found)
        if has_changed or self._is_new:
            files = sorted([*self._listed.files, *self._unlisted], key=lambda file: file.first)
            self._sealed = deque(file for file in files if file.last > self.position)
            self._is_new = False
        return has_changed


def hash_at(
    directory: Path, writer: str, number: int, unlisted: Iterable[EventFile] = ()
) -> str | None:
    """The hash of event *number* of *writer*; "" if it was deleted, None if it never was.

    Raises:
        OSError: If a file cannot be read.
    """
    with suppress(OSError):
        listing = read_listing(directory / f"{writer}{MANIFEST}", Missing())
        for seal in [*listing.seals.values(), *(seal for seal, _ in listing.deleted)]:
            if seal.last_sequence == number:
                return seal.head
    with closing(Cursor(directory, writer, number - 1, unlisted)) as cursor:
        lines = cursor.read(1, 1)
    if lines and position_of(lines[0]).sequence == number:
        return leaf_hash(lines[0]).hex()
    return "" if cursor.lost["deleted"] or cursor.lost["missing"] else None
