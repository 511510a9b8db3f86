"""Reads a growing archive: the events of one writer in order, or the events of all files."""

from __future__ import annotations

import os
from collections import Counter, deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, suppress
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import named, open_regular
from ..core.merkle import leaf_hash
from ..events.model import AuditEvent, decode_recorded
from .directory import Directory, EventFile, WriterFiles, files_of, writers_in
from .format import HEAD, JOURNAL, position_of
from .manifest import MANIFEST, read_listing
from .missing import OF_ANOTHER, Missing
from .origin import stream_of
from .reader import LineReader
from .search import events_in

__all__ = ["Cursor", "Follower", "hash_at"]


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


class Follower:
    """Yields the events of a file, or of the files in a directory, each event once.

    A `Cursor` reads the events of each writer. Other files, such as exports, are read as far as
    they are written; a copy is known by its first event.

    Args:
        path: A file or a directory. An empty directory may get files later.

    Raises:
        ArchiveError: If there is nothing at *path*.
    """

    def __init__(self, path: Path) -> None:
        self._path = path = named(path)
        self._writers: list[str] = []
        self._cursors: dict[str, Cursor] = {}
        self._streams: dict[str, str] = {}  # ids of the chains of the cursors
        self._unlisted: dict[str, list[EventFile]] = {}  # files for the cursors
        self._others: dict[Path, _OtherFile] = {}
        self._names: set[str] = set()  # in the directory
        self._known: set[str] = set()  # roots, or else names, of sealed files
        # Of the other files, by the id of the first event: the number of the last one.
        self._ends: dict[str, int] = {}
        if not path.exists():
            files_of(path)  # raises

    def poll(self, missing: Missing) -> Iterator[AuditEvent]:
        """Yield the events that were written since the last call.

        Args:
            missing: Takes lines and files that cannot be read.

        Raises:
            ArchiveError: If there is nothing at the path any more.
        """
        return (event for _, event in self.poll_by_source(missing))

    def poll_by_source(self, missing: Missing) -> Iterator[tuple[str, AuditEvent]]:
        """Yield what `poll` does, each event with its source: its writer, or, if its file names
        none, "/" and the name of the file."""
        if not self._path.is_dir():
            files_of(self._path)  # raises if there is nothing
            self._others.setdefault(self._path, _OtherFile(self._path, is_named=True))
        with missing.caught(self._path):
            if self._path.is_dir():
                self._look(missing)
                for writer in self._writers:
                    yield from zip(repeat(writer), self._cursor(writer).events(missing))
            for path, file in self._others.items():
                yield from zip(repeat(f"/{path.name}"), self._read(file, missing))

    def _look(self, missing: Missing) -> None:
        """Find the writers, and the sealed files that no manifest lists, if names are new."""
        names = set(os.listdir(self._path))  # noqa: PTH208 - fast, also for thousands of files
        if names == self._names:
            return
        self._names = names
        with Directory(self._path, missing) as here:
            for writer in here.writers.values():
                self._known.update(file.seal.root for file in writer.files if file.seal)
            new = {key: f for f in here.unlisted if (key := _key(f)) not in self._known}
            self._known.update(new)
            for name, files in here.continuing().items():
                files = [file for file in files if new.pop(_key(file), None) is not None]
                self._unlisted.setdefault(name, []).extend(files)
                if name in self._cursors:
                    self._cursors[name].add(files)
        self._writers = sorted({*writers_in(self._path), *self._unlisted})
        for file in new.values():
            self._others.setdefault(file.path, _OtherFile(file.path, is_named=False))

    def _cursor(self, writer: str) -> Cursor:
        """The cursor of *writer*: a new one after the same chain was read under another name,
        or another chain began under this name."""
        stream, known = stream_of(self._path, writer), self._streams.get(writer)
        if known is None or (stream and known and stream != known):
            if known is not None:
                self._cursors[writer].close()
            same = (name for name, other in self._streams.items() if stream == other != "")
            after = max((self._cursors[name].position for name in same), default=0)
            files = self._unlisted.get(writer, ())
            self._cursors[writer] = Cursor(self._path, writer, after, files)
            self._cursors[writer].patience = 0
        self._streams[writer] = stream or known or ""
        return self._cursors[writer]

    def _read(self, file: _OtherFile, missing: Missing) -> Iterator[AuditEvent]:
        """Yield the events of a file of no writer, but not those that were read elsewhere."""
        for event in file.events(missing):
            if not file.first:
                file.first = event.event_id
                self._ends.setdefault(file.first, self._end_of_copied(event))
            if not event.sequence or event.sequence > self._ends[file.first]:
                self._ends[file.first] = event.sequence
                yield event

    def _end_of_copied(self, event: AuditEvent) -> int:
        """The number up to which the writer of *event* was read, if there is one here; else 0."""
        own_hash = leaf_hash(event.to_json()).hex()
        for writer, cursor in self._cursors.items():
            if 0 < event.sequence <= cursor.position:
                with suppress(OSError):
                    if hash_at(self._path, writer, event.sequence) == own_hash:
                        return cursor.position
        return 0

    def close(self) -> None:
        """Close the files."""
        for cursor in self._cursors.values():
            cursor.close()
        for file in self._others.values():
            file.close()


def _key(file: EventFile) -> str:
    return file.closing.root or file.name


class _OtherFile:
    """A file that no writer here made, or one that the user named.

    Attributes:
        first: Id of its first event; "" if none was read yet.

    Args:
        path: The file.
        is_named: True if the user named it; False if it was found in a directory.
    """

    def __init__(self, path: Path, is_named: bool) -> None:
        self.first = ""
        self._path = path
        self._is_named = is_named
        self._file: BinaryIO | None = None  # open while it may grow
        self._reader: LineReader
        self._read_at: tuple[int, int] | None = None  # size and time when it was read to its end

    def events(self, missing: Missing) -> Iterator[AuditEvent]:
        """Yield the events that were written since the last call; all of them if it was replaced.

        Args:
            missing: Takes lines that cannot be read; or the file, once.

        Raises:
            ArchiveError: If the user named it, and it cannot be read.
        """
        state = None
        try:
            with suppress(FileNotFoundError):
                status = self._path.stat()
                state = status.st_size, status.st_mtime_ns
            if self._file is not None:
                yield from self._rest(missing)
                if state is not None and self._is_growing(status):
                    return
                self.close()
            if state in (None, self._read_at):
                return
            self.first, self._read_at = "", state
            yield from self._begin(missing)
            if self._file is not None and not self._is_growing(status):
                self.close()
        except ArchiveError:
            raise
        except OSError as exc:
            self.close()
            self._read_at = state
            if self._is_named:
                with archive_errors(self._path):
                    raise
            missing.judge(self._path, exc)

    def _begin(self, missing: Missing) -> Iterator[AuditEvent]:
        self._file = open_regular(self._path)
        self._reader = reader = LineReader(self._file, self._path, missing)
        reader.start()
        if self._path.suffix == JOURNAL or HEAD.startswith(reader.head or reader.torn):
            return reader.events()
        self.close()  # not one event a line: it does not grow
        return events_in(self._path, missing, self._is_named)

    def _rest(self, missing: Missing) -> Iterator[AuditEvent]:
        self._reader.missing = missing
        return self._reader.events()

    def _is_growing(self, named: os.stat_result) -> bool:
        """Return True if the open file, which has no end yet, is still the one with its name."""
        assert self._file is not None
        ours, reader = os.fstat(self._file.fileno()), self._reader
        is_here = os.path.samestat(named, ours) and ours.st_size >= reader.size > 0
        return is_here and not reader.closing

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
