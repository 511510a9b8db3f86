"""Follows an archive, or a file, that grows: its events, each once, as they come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

from ..core.errors import ArchiveError, archive_errors
from ..core.files import named, open_regular
from ..core.merkle import leaf_hash
from ..events.model import AuditEvent
from .cursor import Cursor, hash_at
from .directory import Directory, EventFile, files_of, writers_in
from .format import HEAD, JOURNAL
from .missing import Missing
from .origin import stream_of
from .reader import LineReader
from .search import events_in

__all__ = ["Follower"]


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
