"""Reads a growing archive: the events of one writer in order, or the events of all files."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import BinaryIO

from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import named, open_regular
from ..core.merkle import leaf_hash
from ..events.model import AuditEvent, decode_recorded
from .directory import Directory, EventFile, WriterFiles, files_of
from .format import HEAD, JOURNAL, position_of
from .manifest import MANIFEST, read_listing
from .missing import Missing
from .reader import LineReader, first_line
from .search import events_in

__all__ = ["Cursor", "Follower", "hash_at"]

_PASSES = 10  # tries in one call, while files are renamed


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
        while len(lines) < events and total < size and (line := self._next()) is not None:
            lines.append(line)
            total += len(line)
        return lines

    def close(self) -> None:
        """Close the file that is being read."""
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
        self._end()

    def _end(self) -> None:
        """End the file that is being read; its events that were not read are lost."""
        file = self._sealed_file
        if file is not None:
            rest = file.last - max(file.first - 1, self.position) - self._damaged
            if rest > 0:
                self.lost["missing"] += rest
            self.position = max(file.last, self.position)
        self._failures = 0
        self.close()

    def _waits(self) -> bool:
        """Return True if this file, read to its last line, can still grow."""
        if self._sealed_file is not None or self._has_moved:
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
                    self._take(self._found(file))
                    return True
                except FileNotFoundError:
                    if not self._list():  # else retention may have deleted it
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
        """Read the sealed files from the manifest, if it has changed; return True if it has."""
        has_changed = self._listed.look(Missing())
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


class Follower:
    """Yields the events of a file, or of the files in a directory, each event once.

    Files are identified by inode: a journal that is sealed keeps its inode and gets another name.
    A new file may be a file that was seen before, now compressed or written again by its writer:
    so it is also identified by its first event.

    A file that cannot be read is reported once, and read again when it has changed.

    Args:
        path: A file or a directory. An empty directory may get files later.

    Raises:
        ArchiveError: If there is nothing at *path*.
    """

    def __init__(self, path: Path) -> None:
        self._path = path = named(path)
        self._files: dict[tuple[int, int], _Growing] = {}
        self._unreadable: dict[tuple[int, int], tuple[int, int]] = {}  # size and time then
        self._polled = False
        #: Files that are gone: the number of their last event, by their first event.
        self._gone: dict[bytes, int] = {}
        if not path.exists():
            files_of(path)  # raises

    def poll(self, missing: Missing) -> Iterator[AuditEvent]:
        """Yield the events that were written since the last call.

        Args:
            missing: Takes lines and files that cannot be read.

        Raises:
            ArchiveError: If there is nothing at the path any more.
        """
        for left in reversed(range(_PASSES)):
            # The first call must yield everything; later calls leave the rest to the next one.
            if (yield from self._pass(left > 0 or self._polled, missing)):
                break
        self._polled = True

    def _pass(self, patient: bool, missing: Missing) -> Generator[AuditEvent, None, bool]:
        """Read every file once; with *patient*, return False as soon as a file was renamed."""
        here = self._here(patient)
        if here is None:
            return False
        for key, known in list(self._files.items()):
            if key not in here or known.was_replaced(here[key][1]):
                with missing.caught(known.path):
                    yield from known.read(missing)  # lines from before it was removed
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
                if patient:  # later files have later events
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
        """The files by inode; None, with *patient*, if a file was renamed meanwhile."""
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
        # A journal of the same name may be a new one.
        return here if not patient or self._listed() == listed else None

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

    def _first_event(self, path: Path) -> bytes:
        """The first event of a file, by which a copy is found; b"" if it is read in any case."""
        return b"" if path == self._path and path.suffix != JOURNAL else first_line(path)

    def _last_read(self, first: bytes) -> int:
        """The number of the last event read from a file that begins with *first*; 0: none."""
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
        is_named: True if the user named it; False if it was found in a directory.
        first: Its first event; b"" if not known yet.
        after: Number of its last event that was read under another inode; 0: none.
    """

    def __init__(self, path: Path, is_named: bool, first: bytes, after: int) -> None:
        self._first = first
        self.last = self._after = after
        self.path = path
        self._is_named = is_named
        # Held open: another file cannot get this inode.
        self._file: BinaryIO | None = open_regular(path)
        status = os.fstat(self._file.fileno())
        self.key = status.st_dev, status.st_ino
        self._reader = LineReader(self._file, path)
        self._has_begun = False
        self._end: tuple[int, int] | None = None

    @property
    def first(self) -> bytes:
        """Its first event; b"" before that was read."""
        return self._first or self._reader.first[1:-1]

    def was_replaced(self, status: os.stat_result) -> bool:
        """Return True if it was read to its end, and has changed since."""
        return self._end not in (None, (status.st_size, status.st_mtime_ns))

    def read(self, missing: Missing) -> Iterator[AuditEvent]:
        """Yield the events of lines that are complete by now and were not read yet."""
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
                if self.path.suffix != JOURNAL:  # not one event a line: it does not grow
                    self.close()
                    return events_in(self.path, missing, self._is_named)
                self._has_begun = True
                missing.line(self.path)
        return reader.events()

    def close(self) -> None:
        """Close it: it will not grow."""
        if self._file is not None:
            status = os.fstat(self._file.fileno())
            self._end = status.st_size, status.st_mtime_ns
            self._file.close()
            self._file = None
