"""Reading an archive while it grows: one writer's events in their order, or those of all files."""

from __future__ import annotations

import heapq
import os
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO

from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import open_regular
from ..core.merkle import leaf_hash
from ..events.model import AuditEvent, age, decode_recorded
from .directory import Directory, EventFile, WriterFiles, files_of
from .format import HEAD, JOURNAL, position_of
from .manifest import MANIFEST, read_listing
from .missing import Missing
from .reader import LineReader, first_line
from .search import events_in

__all__ = ["Cursor", "Follower", "hash_at", "newest"]

_PASSES = 10  # looks in one call, while files get other names


class Cursor:
    """A position in the events of one writer, which moves on as they are read.

    Args:
        directory: The archive.
        writer: Its name.
        after: Number of the newest event that is not wanted.
        unlisted: Sealed files of the writer that no manifest lists.

    Attributes:
        position: Number of the newest event that was read, or is gone.
        lost: Events that were not read, by reason: ``deleted`` before; ``missing``, of files that
            are not there, are cut off, or cannot be read; ``unreadable``, lines that are no event.
        patience: How often a sealed file may fail to be read before it is passed over.
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
        self._sealed: deque[EventFile] = deque()
        self.position = after
        self.lost: Counter[str] = Counter()
        self._opened: BinaryIO | None = None
        self._reader: LineReader
        self._lines: Iterator[bytes]
        self._sealed_file: EventFile | None = None  # that is being read; None: the journal is
        self._damaged = 0  # its lines that were no event, since one that was
        self._failures = 0  # of that file
        self._has_moved = False  # whether what is read was the journal, and is no longer

    def read(self, events: int, size: int) -> list[bytes]:
        """The next events, without separators: so many, or of so many bytes; [] at the end.

        Raises:
            OSError: If a file cannot be read; a sealed one, *patience* times.
        """
        lines: list[bytes] = []
        total = 0
        while len(lines) < events and total < size and (line := self._next()) is not None:
            lines.append(line)
            total += len(line)
        return lines

    def close(self) -> None:
        """Let go of the file that is being read."""
        if self._opened is not None:
            self._opened.close()
            self._opened = None
        self._sealed_file, self._damaged, self._has_moved = None, 0, False

    # --- lines -----------------------------------------------------------------------------

    def _next(self) -> bytes | None:
        while self._opened is not None or self._open():
            file = self._sealed_file
            try:
                for line in self._lines:
                    event = line[1:-1]
                    try:
                        number = decode_recorded(event).sequence
                    except InvalidEventError:
                        self.lost["unreadable"] += 1
                        self._damaged += 1
                        continue
                    if number > self.position and (file is None or file.may_hold(number)):
                        self.position = number
                        self._damaged = 0
                        return event
            except OSError as exc:
                self._failed(exc)
                continue
            if self._waits():
                return None
        return None

    def _failed(self, exc: OSError) -> None:
        """A file could not be read: raise that, or pass the file over."""
        file = self._sealed_file
        self.close()
        if file is None:
            raise exc
        self._failures += 1
        if self._failures <= self.patience:
            self._sealed.appendleft(file)
            raise exc
        self._sealed_file = file
        self._end()

    def _end(self) -> None:
        """Nothing more comes from the file that is being read: what it should have is missing."""
        file = self._sealed_file
        if file is not None:
            rest = file.last - max(file.first - 1, self.position) - self._damaged
            if rest > 0:
                self.lost["missing"] += rest
            self.position = max(file.last, self.position)
        self._failures = 0
        self.close()

    def _waits(self) -> bool:
        """After the last line that there is: whether more is to come in this file."""
        if self._sealed_file is not None or self._has_moved:
            self._end()
            return False
        # It gets its name this moment, or its writer died, where it has its last line and is
        # there. Where it is not, it was sealed, perhaps with events that were not there yet.
        self._has_moved = not self._is_journal()
        self._lines = self._reader.lines()
        return not self._has_moved

    def _is_journal(self) -> bool:
        """Whether the file that is being read is the writer's journal."""
        with suppress(OSError):
            if self._opened is not None:
                return os.path.samestat(self._journal.stat(), os.fstat(self._opened.fileno()))
        return False

    # --- files -----------------------------------------------------------------------------

    def _open(self) -> bool:
        """Open the file that the next event is in; False if there is none yet."""
        with ExitStack() as stack:
            journal = None
            with suppress(FileNotFoundError):
                # Before the manifest: what is sealed meanwhile is in this as well.
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
                    self._take(self._found(file))
                    return True
                except FileNotFoundError:
                    if not self._list():  # else it was deleted, perhaps
                        self._end()
                except OSError as exc:
                    self._failed(exc)
            self._sealed_file = None
            if journal is None:
                return False
            self._take(journal)
            stack.pop_all()
            return True

    def _take(self, file: BinaryIO) -> None:
        self._opened, self._reader = file, LineReader(file)
        self._lines = self._reader.lines()

    def _found(self, file: EventFile) -> BinaryIO:
        with suppress(FileNotFoundError):
            return file.open()
        with Directory(self._directory, Missing()) as directory:
            return directory.open(file)

    def _list(self) -> bool:
        """Take the sealed files from the manifest, if it has changed; says whether it has."""
        has_changed = self._listed.look(Missing())  # what cannot be read there is read below
        if has_changed or self._is_new:
            files = sorted([*self._listed.files, *self._unlisted], key=lambda file: file.first)
            self._sealed = deque(file for file in files if file.last > self.position)
            self._is_new = False
        return has_changed


def hash_at(
    directory: Path, writer: str, number: int, unlisted: Iterable[EventFile] = ()
) -> str | None:
    """The hash of event *number* of *writer*: "" if that was deleted, None if there is none.

    Raises:
        OSError: If a file cannot be read.
    """
    with suppress(OSError):
        seals = read_listing(directory / f"{writer}{MANIFEST}", Missing())
        for seal in [*seals.seals.values(), *(seal for seal, _ in seals.deleted)]:
            if seal.last_sequence == number:
                return seal.head
    cursor = Cursor(directory, writer, number - 1, unlisted)
    try:
        lines = cursor.read(1, 1)
    finally:
        cursor.close()
    if lines and position_of(lines[0]).sequence == number:
        return leaf_hash(lines[0]).hex()
    return "" if cursor.lost["deleted"] or cursor.lost["missing"] else None


def newest(events: Iterable[AuditEvent], limit: int) -> list[AuditEvent]:
    """The newest of *events*, the newest first; memory holds so many and no more."""
    if limit == 0:  # they are read all the same
        deque(events, maxlen=0)
        return []
    return heapq.nlargest(limit, events, key=age)


class Follower:
    """The events of a file, or of a directory's files, each of them once.

    Files are known by their inode: a journal that is sealed keeps it and gets another name.
    A file that comes when another has gone may be that, compressed, or put back by its writer:
    it is known by its first event.

    What cannot be read is told once, and looked at again when it has changed.

    Args:
        path: A file or a directory. An empty directory may get files later.

    Raises:
        ArchiveError: If there is nothing at *path*.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[tuple[int, int], _Growing] = {}
        self._unreadable: dict[tuple[int, int], tuple[int, int]] = {}  # and when that was seen
        self._polled = False
        #: Files that are there no more: by their first event, the number of the last one.
        self._gone: dict[bytes, int] = {}
        if not path.exists():
            files_of(path)  # says so

    def poll(self, missing: Missing) -> Iterator[AuditEvent]:
        """The events that were written since the last call.

        Args:
            missing: Takes what they lack.

        Raises:
            ArchiveError: If there is nothing any more.
        """
        for left in reversed(range(_PASSES)):
            # Who asks once gets everything; who follows gets the rest in order, by the next call.
            if (yield from self._pass(left > 0 or self._polled, missing)):
                break
        self._polled = True

    def _pass(self, patient: bool, missing: Missing) -> Generator[AuditEvent, None, bool]:
        """One look at every file; ends with False where, if *patient*, one got another name."""
        here = self._here(patient)
        if here is None:
            return False
        for key, known in list(self._files.items()):
            if key not in here or known.was_replaced(here[key][1]):
                with missing.caught(known.path):
                    yield from known.read(missing)  # what came before it was removed
                known.close()
                del self._files[key]
                if known.first:
                    self._gone[known.first] = known.last
        for key, (path, status) in here.items():
            state = status.st_size, status.st_mtime_ns
            if self._unreadable.get(key) == state:
                continue
            try:
                if key not in self._files:
                    first = self._first_event(path)
                    found = _Growing(path, path == self._path, first, self._last_read(first))
                    if found.key != key:  # sealed: this is the journal after it
                        found.close()
                        if patient:
                            return False
                        continue
                    self._files[key] = found
                    if first in self._gone and path.suffix != JOURNAL:
                        found.close()
                yield from self._files[key].read(missing)
            except FileNotFoundError:
                if patient:  # what follows it comes after it
                    return False
            except ArchiveError:
                raise
            except OSError as exc:
                self._unreadable[key] = state
                if path == self._path:
                    with archive_errors(path):
                        raise
                missing.judge(path, exc)
        return True

    def _here(self, patient: bool) -> dict[tuple[int, int], tuple[Path, os.stat_result]] | None:
        """Every file by its inode; None where, if *patient*, one got another name."""
        here = {}
        listed = self._listed()
        for path in listed:
            try:
                status = path.stat()
            except FileNotFoundError:
                if patient and not path.is_symlink():
                    return None
                continue
            except OSError:  # a loop of links
                continue
            here[status.st_dev, status.st_ino] = path, status
        # What has the name of a journal now may be the one after it.
        return here if not patient or self._listed() == listed else None

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _first_event(self, path: Path) -> bytes:
        """By which a file is known that was read before, or a copy; b"" if it is to be read."""
        return b"" if path == self._path and path.suffix != JOURNAL else first_line(path)

    def _last_read(self, first: bytes) -> int:
        """The number of the last event that was read of files that begin with *first*; 0: none."""
        copies = (file.last for file in self._files.values() if first and file.first == first)
        return max(copies, default=self._gone.get(first, 0) if first else 0)

    def _listed(self) -> list[Path]:
        try:
            return files_of(self._path)
        except ArchiveError:
            if self._path.is_dir():
                return []
            raise


class _Growing:
    """A file that its writer appends to, until its last line closes it.

    Args:
        path: The file.
        asked: It was named, and not only found in a directory.
        first: Its first event, as far as that is known.
        after: Number of the last event that was read before its writer put it back; 0: none.
    """

    def __init__(self, path: Path, asked: bool, first: bytes, after: int) -> None:
        self._first = first
        self.last = self._after = after
        self.path = path
        self._is_asked = asked
        # Held open: another file cannot get this inode.
        self._file: BinaryIO | None = open_regular(path)
        status = os.fstat(self._file.fileno())
        self.key = status.st_dev, status.st_ino
        self._reader = LineReader(self._file, path)
        self._has_begun = False
        self._end: tuple[int, int] | None = None

    @property
    def first(self) -> bytes:
        """Its first event, when that has been read."""
        return self._first or self._reader.first[1:-1]

    def was_replaced(self, status: os.stat_result) -> bool:
        """Whether this, which was read to its end, is now another file."""
        return self._end not in (None, (status.st_size, status.st_mtime_ns))

    def read(self, missing: Missing) -> Iterator[AuditEvent]:
        """The events of the lines that are complete by now and were not yet read."""
        if self._file is None:
            return
        self._reader.missing = missing
        for event in self._events(missing):
            if not self._after or event.sequence > self._after:
                self.last = event.sequence
                yield event
        if self._reader.closing:
            self.close()

    def _events(self, missing: Missing) -> Iterator[AuditEvent]:
        reader = self._reader
        if not self._has_begun and (reader.start() or reader.torn):
            head = reader.head or reader.torn
            self._has_begun = bool(reader.head)
            if not HEAD.startswith(head):
                if self.path.suffix != JOURNAL:  # not one event a line: nobody appends to it
                    self.close()
                    return events_in(self.path, missing, self._is_asked)
                self._has_begun = True
                missing.line(self.path)
        return reader.events()

    def close(self) -> None:
        """Nothing more is expected of it."""
        if self._file is not None:
            status = os.fstat(self._file.fileno())
            self._end = status.st_size, status.st_mtime_ns
            self._file.close()
            self._file = None
