"""Reading an archive while it grows, and the newest of what it holds."""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from .errors import ArchiveError, InvalidEventError
from .event import AuditEvent, decode
from .files import HEAD, ZST, files_of, open_events_file, read_events

__all__ = ["Follower", "age", "newest"]


def age(event: AuditEvent) -> tuple[datetime, int]:
    """A key that sorts events of any number of files by their time."""
    return event.timestamp, event.sequence


def newest(events: Iterable[AuditEvent], limit: int | None = None) -> list[AuditEvent]:
    """*events*, the newest first; with *limit*, memory holds so many and no more."""
    if limit is None:
        return sorted(events, key=age, reverse=True)
    if limit == 0:
        deque(events, maxlen=0)
        return []
    return heapq.nlargest(limit, events, key=age)


class Follower:
    """The events of a file, or of a directory's files, each of them once.

    Files are known by their inode: a journal that is sealed keeps it and gets another name.
    One that is compressed becomes another file, and is known by its first event.

    Args:
        path: A file or a directory. An empty directory may get files later.

    Raises:
        ArchiveError: If there is nothing at *path*.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[tuple[int, int], _Growing] = {}
        self._begun: set[bytes] = set()  # the first events of files that were read
        if not path.exists():
            files_of(path)  # says so

    def poll(self) -> Iterator[AuditEvent]:
        """The events that were written since the last call.

        Raises:
            ArchiveError: If a file cannot be read or holds no audit events.
        """
        here: dict[tuple[int, int], tuple[Path, int]] = {}
        for path in self._listed():
            with suppress(FileNotFoundError):  # sealed this moment: it has another name
                status = path.stat()
                here[status.st_dev, status.st_ino] = path, status.st_size
        for key in self._files.keys() - here.keys():
            removed = self._files.pop(key)
            yield from removed.read()  # what came before it was removed
            removed.close()
        for key, (path, size) in here.items():
            try:
                known = self._files.get(key)
                if known is None or known.was_replaced(size):
                    known = self._files[key] = _Growing(path, self._begun)
                    if path.suffix == ZST and _first_event(path) in self._begun:
                        known.close()
                yield from known.read()
            except FileNotFoundError:
                continue  # the next call finds its other name
            except (OSError, InvalidEventError) as exc:
                if isinstance(exc, ArchiveError):
                    raise
                msg = f"cannot read {str(path)!r}: {exc}"
                raise ArchiveError(msg) from exc

    def close(self) -> None:
        """Let go of the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()

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
        begun: Where to note its first event, when that has been read.
    """

    def __init__(self, path: Path, begun: set[bytes]) -> None:
        self._path = path
        # Held open: another file cannot get this inode.
        self._file: BinaryIO | None = path.open("rb")
        self._begun = begun
        self._lines = 0
        self._size = -1

    def was_replaced(self, size: int) -> bool:
        """Whether this, which was read to its end, is now another file."""
        return self._file is None and size != self._size

    def read(self) -> Iterator[AuditEvent]:
        """The events of the lines that are complete by now and were not yet read."""
        while (line := self._line()) is not None:
            self._lines += 1
            if self._lines == 1:
                if line != HEAD:  # not one event a line: nobody appends to it
                    self.close()
                    yield from read_events(self._path)
                    return
            elif line.startswith(b"],"):
                self.close()
            else:
                if self._lines == 2:
                    self._begun.add(line)
                yield decode(line[1:-1])

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
            self._size = os.fstat(self._file.fileno()).st_size
            self._file.close()
            self._file = None
