"""Reading an archive while it grows, and the newest of what it holds."""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import open_regular
from ..events.model import AuditEvent, age, decode
from .format import HEAD, JOURNAL, files_of, open_events_file
from .missing import Missing
from .search import events_in

__all__ = ["Follower", "newest"]

_PASSES = 10  # looks in one call, while files get other names


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
                self._gone[known.first] = known.last
        for key, (path, status) in here.items():
            state = status.st_size, status.st_mtime_ns
            if self._unreadable.get(key) == state:
                continue
            try:
                if key not in self._files:
                    last = self._last_known(path)
                    found = _Growing(path, path == self._path, last or 0)
                    if found.key != key:  # sealed: this is the journal after it
                        found.close()
                        if patient:
                            return False
                        continue
                    self._files[key] = found
                    if last is not None and path.suffix != JOURNAL:
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

    def _last_known(self, path: Path) -> int | None:
        """If this is a file that was read before: the number of the last event that was."""
        if not self._gone or (path == self._path and path.suffix != JOURNAL):
            return None
        return self._gone.get(_first_event(path))

    def _listed(self) -> list[Path]:
        try:
            return files_of(self._path)
        except ArchiveError:
            if self._path.is_dir():
                return []
            raise


def _first_event(path: Path) -> bytes:
    with open_events_file(path) as file:
        file.readline()
        return file.readline()


class _Growing:
    """A file that its writer appends to, until its last line closes it.

    Args:
        path: The file.
        asked: It was named, and not only found in a directory.
        after: Number of the last event that was read before its writer put it back; 0: none.
    """

    def __init__(self, path: Path, asked: bool, after: int) -> None:
        self.first = b" "  # the line of its first event, when that has been read
        self.last = self._after = after
        self.path = path
        # Held open: another file cannot get this inode.
        self._file: BinaryIO | None = open_regular(path)
        status = os.fstat(self._file.fileno())
        self.key = status.st_dev, status.st_ino
        self._lines = 0
        self._is_half = False
        self._asked = asked
        self._end: tuple[int, int] | None = None

    def was_replaced(self, status: os.stat_result) -> bool:
        """Whether this, which was read to its end, is now another file."""
        return self._end not in (None, (status.st_size, status.st_mtime_ns))

    def read(self, missing: Missing) -> Iterator[AuditEvent]:
        """The events of the lines that are complete by now and were not yet read."""
        while (line := self._line()) is not None:
            self._lines += 1
            if self._lines == 1:
                if line != HEAD and self.path.suffix == JOURNAL:
                    missing.line(self.path)
                elif line != HEAD:  # not one event a line: nobody appends to it
                    self.close()
                    yield from events_in(self.path, missing, self._asked)
                    return
            elif line.startswith(b"],"):
                self.close()
            else:
                if self._lines == 2:
                    self.first = line
                try:
                    event = decode(line[1:-1])
                except InvalidEventError:
                    missing.line(self.path)
                else:
                    if not self._after or event.sequence > self._after:
                        self.last = event.sequence
                        yield event
        if self._file is not None and self._lines and not self._is_half:
            self._is_half = self.path.suffix != JOURNAL
            if self._is_half:
                missing.add(self.path, "its end is missing")

    def _line(self) -> bytes | None:
        if self._file is None:
            return None
        start = self._file.tell()
        line = self._file.readline()
        if line.endswith(b"\n"):
            return line
        if line and not self._lines and not HEAD.startswith(line):
            return line
        self._file.seek(start)
        return None

    def close(self) -> None:
        """Nothing more is expected of it."""
        if self._file is not None:
            status = os.fstat(self._file.fileno())
            self._end = status.st_size, status.st_mtime_ns
            self._file.close()
            self._file = None
