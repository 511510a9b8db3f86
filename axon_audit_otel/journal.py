"""A journal: the events of one writer since its last sealed file, one a line, as they happen."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from contextlib import suppress
from pathlib import Path

import msgspec

from .files import HEAD
from .merkle import Tree, leaf_hash
from .owned import open_owned
from .reading import DECODE_ERRORS, open_regular

__all__ = ["Journal", "JournalRemovedError", "load", "set_damage_aside"]


class JournalRemovedError(FileNotFoundError):
    """Somebody deleted the journal: what it held is in no file any more."""


class _Place(msgspec.Struct):
    """What a journal's line tells its seal."""

    sequence: int
    timestamp: str


_place_of = msgspec.json.Decoder(_Place).decode


class Journal:
    """An open journal, and what its seal will say."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self.began = time.monotonic()
        self.end = 0  # its size without a torn write
        self._torn = False  # whether there is one
        self.count = 0
        self.first = self.last = 0  # sequence numbers
        self.first_time = self.last_time = ""
        self.first_hash = self.head = ""
        self.digest = hashlib.sha256()
        self.tree = Tree()

    def put(self, data: bytes) -> None:
        """Append *data*, whole or not at all."""
        if self._torn:
            self._cut()
        try:
            if os.write(self.file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            self._torn = True
            with suppress(OSError):  # else the next one does it
                self._cut()
            raise
        self.digest.update(data)
        self.end += len(data)

    def _cut(self) -> None:
        os.ftruncate(self.file, self.end)
        self._torn = False

    def take_back(self, count: int, digest: hashlib._Hash) -> None:
        """Cut off the last bytes again; *digest* was that of the rest."""
        self.end -= count
        self.digest = digest
        self._torn = True
        with suppress(OSError):  # else `put` does it
            self._cut()

    def took(self, leaf: bytes, sequence: int, timestamp: str) -> None:
        """Count an event that was put."""
        if not self.count:
            self.first, self.first_hash = sequence, leaf.hex()
            self.first_time = self.last_time = timestamp
        elif timestamp < self.first_time:
            self.first_time = timestamp
        elif timestamp > self.last_time:
            self.last_time = timestamp
        self.count += 1
        self.last = sequence
        self.head = leaf.hex()
        self.tree.add(leaf)


def set_damage_aside(path: Path) -> int:
    """Move the lines of a journal that can no longer be read into a file beside it."""
    with open_regular(path) as file:
        damaged = [line for line in file if line.endswith(b"\n") and not _is_readable(line)]
        if not damaged:
            return 0
        file.seek(0)
        repaired = path.with_suffix(".repaired")
        with open(open_owned(repaired, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), "wb") as whole:
            whole.writelines(line for line in file if _is_readable(line))
    aside = path.with_suffix(".damaged")
    with open(open_owned(aside, os.O_WRONLY | os.O_CREAT | os.O_APPEND), "ab") as rest:
        rest.writelines(damaged)
    os.replace(repaired, path)
    return len(damaged)


def _is_readable(line: bytes) -> bool:
    if line == HEAD or line.startswith(b"],") or not line.endswith(b"\n"):
        return True
    try:
        _place_of(line[1:-1])
    except DECODE_ERRORS:
        return False
    return True


def load(path: Path) -> tuple[Journal, bool]:
    """A journal that was left behind, without a torn last line; and whether it is closed."""
    journal = Journal(path, open_owned(path, os.O_RDWR | os.O_APPEND))
    closed = False
    with open_regular(path) as file:
        for line in file:
            if not line.endswith(b"\n"):
                break
            if line.startswith(b"],"):
                closed = True
            elif line != HEAD:
                place = _place_of(line[1:-1])
                journal.took(leaf_hash(line[1:-1]), place.sequence, place.timestamp)
            journal.digest.update(line)
            journal.end += len(line)
            if closed:
                break
    os.ftruncate(journal.file, journal.end)
    return journal, closed
