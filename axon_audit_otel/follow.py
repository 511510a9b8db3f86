"""Reading an archive while it grows, and the newest of what it holds."""

from __future__ import annotations

import heapq
import os
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from .errors import ArchiveError, InvalidEventError
from .event import AuditEvent, decode
from .files import HEAD, files_of, read_events

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

    Args:
        path: A file or a directory. An empty directory may get files later.

    Raises:
        ArchiveError: If there is nothing at *path*.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._files: dict[tuple[int, int], _Growing] = {}
        if not path.exists():
            files_of(path)  # says so

    def poll(self) -> Iterator[AuditEvent]:
        """The events that were written since the last call.

        Raises:
            ArchiveError: If a file cannot be read or holds no audit events.
        """
        here = set()
        for path in self._listed():
            try:
                status = path.stat()
                key = status.st_dev, status.st_ino
                here.add(key)
                known = self._files.get(key)
                if known is None or known.was_replaced(status.st_size):
                    known = self._files[key] = _Growing(path)
                yield from known.read()
            except FileNotFoundError:
                continue  # sealed this moment: the next call finds its other name
            except (OSError, InvalidEventError) as exc:
                if isinstance(exc, ArchiveError):
                    raise
                msg = f"cannot read {str(path)!r}: {exc}"
                raise ArchiveError(msg) from exc
        for key in self._files.keys() - here:
            removed = self._files.pop(key)
            yield from removed.read()  # what came before it was removed
            removed.close()

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


class _Growing:
    """A file that its writer appends to, until its last line closes it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # Held open: another file cannot get this inode.
        self._file: BinaryIO | None = path.open("rb")
        self._begun = False
        self._size = -1

    def was_replaced(self, size: int) -> bool:
        """Whether this, which was read to its end, is now another file."""
        return self._file is None and size != self._size

    def read(self) -> Iterator[AuditEvent]:
        """The events of the lines that are complete by now and were not yet read."""
        while (line := self._line()) is not None:
            if not self._begun:
                self._begun = True
                if line != HEAD:  # not one event a line: nobody appends to it
                    self.close()
                    yield from read_events(self._path)
                    return
            elif line.startswith(b"],"):
                self.close()
            else:
                yield decode(line[1:-1])

    def _line(self) -> bytes | None:
        if self._file is None:
            return None
        start = self._file.tell()
        line = self._file.readline()
        if line.endswith(b"\n"):
            return line
        if line and not self._begun and not HEAD.startswith(line):
            return line
        self._file.seek(start)
        return None

    def close(self) -> None:
        """Nothing more is expected of it."""
        if self._file is not None:
            self._size = os.fstat(self._file.fileno()).st_size
            self._file.close()
            self._file = None
