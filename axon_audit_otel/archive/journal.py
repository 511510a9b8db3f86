"""A journal: the events of one writer since its last sealed file, one a line."""

from __future__ import annotations

import errno
import hashlib
import os
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..core.files import (
    DECODE_ERRORS,
    append,
    is_there,
    open_owned,
    open_regular,
    renewed,
    replacement,
)
from ..core.fsync import UNSUPPORTED, sync_directory, sync_file
from ..core.merkle import Tree, leaf_hash
from .format import HEAD, position_of, tail
from .reader import LineReader

__all__ = ["Journal", "JournalChangedError", "LeftJournal", "begin", "load", "salvage", "take_up"]


class JournalChangedError(OSError):
    """The archive's files were truncated, removed, moved or replaced while their writer runs."""


class Journal:
    """An open journal, and the facts for its seal."""

    def __init__(self, path: Path, file: int) -> None:
        self.path = path
        self.file = file
        self._name = os.fspath(path)
        self._identity = _identity(path, file)
        self._trusts_sizes = True
        self.began = time.monotonic()
        self.end = 0  # its size without a torn write
        self._torn = False  # True while there is one
        self.count = 0
        self.first = self.last = 0  # sequence numbers
        self.first_time = self.last_time = ""
        self.first_hash = self.head = ""
        self.digest = hashlib.sha256()
        self.tree = Tree()
        self._hashes = bytearray()  # the first 16 bytes of that of each event

    def write(self, data: bytes) -> None:
        """Append *data*, whole or not at all."""
        if self._torn:
            self._cut()
        try:
            if os.write(self.file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError as exc:
            self._torn = True
            with suppress(OSError):  # else the next write does it
                self._cut()
            if exc.errno in _GONE:
                raise self._changed("its file is no longer open") from exc
            raise
        self.digest.update(data)
        self.end += len(data)

    def _cut(self) -> None:
        try:
            os.ftruncate(self.file, self.end)
        except OSError as exc:
            if exc.errno in UNSUPPORTED:  # a new file is needed
                raise self._changed("its torn end cannot be cut off") from exc
            raise
        self._torn = False

    def check(self) -> None:
        """Check that the file has its path and its size; done once for each event.

        Raises:
            JournalChangedError: If it has not.
        """
        try:
            found = os.fstat(self.file) if self._identity is None else os.stat(self._name)
        except OSError as exc:
            found = self._status_of_open_file(exc)
        if found.st_size != self.end or (found.st_dev, found.st_ino) != self._identity:
            self._judge(found)

    def _status_of_open_file(self, exc: OSError) -> os.stat_result:
        """The status by the descriptor, if that by the path failed with *exc* (rights)."""
        if exc.errno in (errno.ENOENT, errno.ENOTDIR):
            raise self._changed("it was removed or moved away") from exc
        try:
            return os.fstat(self.file)
        except OSError as also:
            if also.errno in _GONE:
                raise self._changed("its file is no longer open") from also
            raise

    def _judge(self, found: os.stat_result) -> None:
        """Raise if the file was changed, and not only numbered or measured in another way."""
        if self._identity is not None and (found.st_dev, found.st_ino) != self._identity:
            if not _is_the_same(found, self.file):
                raise self._changed("it was moved away, and another file is in its place")
            self._identity = None  # this file system changes the numbers of files
        if found.st_nlink == 0:
            raise self._changed("it was removed")
        longer = found.st_size - self.end
        if longer == 0 or (self._torn and longer > 0) or not self._trusts_sizes:
            return
        if os.pread(self.file, 2, self.end - 1) == b"\n":
            self._trusts_sizes = False  # it ends in the right place: the size is wrong
        elif longer < 0:
            raise self._changed("it was cut off")
        else:
            raise self._changed("somebody else wrote to it")

    def _changed(self, words: str) -> JournalChangedError:
        return JournalChangedError(errno.ESTALE, f"the journal was changed: {words}", self._name)

    def renew(self) -> None:
        """Write the content to a new file: see `renewed`.

        Raises:
            OSError: If that failed; it is as before.
        """
        self.check()
        self.file = renewed(self.path, self.file)
        self._identity = _identity(self.path, self.file)

    def closing(self, trail: str, previous_seal: str | None) -> bytes:
        """The line that makes it a sealed file."""
        return tail(
            self.count,
            trail=trail,
            first_sequence=self.first,
            last_sequence=self.last,
            root=self.tree.root().hex(),
            previous_seal=previous_seal,
        )

    def take_back(self, count: int, digest: hashlib._Hash) -> None:
        """Remove the last *count* bytes again; *digest* is that of the rest."""
        self.end -= count
        self.digest = digest
        self._torn = True
        with suppress(OSError):  # else the next write does it
            self._cut()

    def count_event(self, leaf: bytes, sequence: int, timestamp: str) -> None:
        """Add an event that was written to the facts for the seal."""
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
        self._hashes += leaf[:16]

    def has(self, index: int, leaf: bytes) -> bool:
        """Return True if that is the hash of its event at *index* (from 0)."""
        return self._hashes[16 * index : 16 * index + 16] == leaf[:16]

    def close(self) -> None:
        """Close the file."""
        with suppress(OSError):
            os.close(self.file)


#: Errors of a descriptor that other code closed, or whose file is gone (NFS).
_GONE = {errno.EBADF, errno.ESTALE}


def _identity(path: Path, file: int) -> tuple[int, int] | None:
    """Device and inode of a file; None if the file system has none (0), or changing ones."""
    with suppress(OSError):
        named, ours = path.stat(), os.fstat(file)
        if named.st_ino and os.path.samestat(named, ours):
            return named.st_dev, named.st_ino
    return None


def _is_the_same(named: os.stat_result, file: int) -> bool:
    """Return True if both are one file, judged without inodes.

    A copy has another time of its last change: that time cannot be set.
    """
    facts = ("st_size", "st_mtime_ns", "st_ctime_ns", "st_nlink")
    with suppress(OSError):
        ours = os.fstat(file)
        return ours.st_nlink > 0 and all(getattr(named, f) == getattr(ours, f) for f in facts)
    return False


def begin(path: Path, lock: int | None) -> Journal:
    """Make the file of a new journal.

    Args:
        path: It; there is nothing yet.
        lock: The open file of its writer's lock, to force both to stable storage, else power loss
            takes the whole file, even if its content is synced; None: do not.

    Raises:
        OSError: If that failed; there is no file then.
    """
    journal = Journal(path, open_owned(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND))
    try:
        journal.write(HEAD)
        if lock is not None:
            sync_file(lock)
            sync_directory(path.parent)
    except OSError:
        journal.close()
        path.unlink(missing_ok=True)
        raise
    return journal


def salvage(journal: Journal, path: Path) -> None:
    """Restore to *path* what is left of a journal that was changed from outside.

    Its descriptor still reads a file that was removed or moved away. A file at *path* that is not
    the journal is renamed (``.replaced``).

    Raises:
        OSError: If that failed; the journal is as before.
    """
    with ExitStack() as stack:
        there, ours = _opened(stack, path), _opened(stack, journal.file)
        there_left, ours_left = _left_in(there, journal), _left_in(ours, journal)
        best, left = (ours, ours_left) if ours_left > there_left else (there, there_left)
        size = 0 if there is None else there.seek(0, os.SEEK_END)
        if best is there and left == size == journal.end:
            return
        if there_left < size or (there is None and is_there(path)):
            os.replace(path, path.with_name(f"{path.name}.replaced"))
        if best is not None and left:
            with replacement(path, path.with_suffix(".repaired")) as target:
                best.seek(0)
                while left and (block := best.read(min(left, _BLOCK))):
                    left -= target.write(block)
        else:
            path.unlink(missing_ok=True)


def _opened(stack: ExitStack, file: Path | int) -> BinaryIO | None:
    """Open it for reading; None if that fails."""
    with suppress(OSError):
        if isinstance(file, int):
            return stack.enter_context(os.fdopen(os.dup(file), "rb"))
        return stack.enter_context(open_regular(file))
    return None


def _left_in(file: BinaryIO | None, journal: Journal) -> int:
    """Number of its first bytes that are the journal's; fewer if it was truncated, 0 if none."""
    if file is None:
        return 0
    with suppress(OSError):
        if _begins_with(file, journal):
            return journal.end
        file.seek(0)
        reader, left = LineReader(file), 0
        if reader.start() and reader.head == HEAD:
            for index, line in enumerate(reader.lines()):
                if not journal.has(index, leaf_hash(line[1:-1])):
                    break
                left += len(line)
        return left and len(HEAD) + left
    return 0


def _begins_with(file: BinaryIO, journal: Journal) -> bool:
    """Return True if the first bytes of *file* are all those of the journal."""
    digest, left = hashlib.sha256(), journal.end
    file.seek(0)
    while block := file.read(min(left, _BLOCK)):
        digest.update(block)
        left -= len(block)
    return digest.digest() == journal.digest.digest()


_BLOCK = 1 << 20


class LeftJournal(NamedTuple):
    """A journal that a writer left.

    Attributes:
        journal: It, loaded.
        closed: True if it has its closing line.
        torn: Bytes of an incomplete last line.
        damaged: Number of unreadable lines, now in a file of their own.
    """

    journal: Journal
    closed: bool
    torn: int
    damaged: int

    @property
    def is_whole(self) -> bool:
        """True if it has events, and nothing else."""
        return self.journal.count > 0 and not self.torn and not self.damaged


def take_up(path: Path) -> LeftJournal:
    """Load the journal at *path* to go on with it.

    Raises:
        OSError: If it cannot be read, or its damage not set aside.
    """
    damaged = _set_damage_aside(path)
    size = path.stat().st_size
    journal, closed = load(path)
    return LeftJournal(journal, closed, size - journal.end, damaged)


def _set_damage_aside(path: Path) -> int:
    """Move damaged lines of a journal to a file beside it (``.damaged``); return how many.

    These are the lines that cannot be read, and all that follow the line that closes it.
    """
    with open_regular(path) as file:
        reader = LineReader(file, path)
        damaged = [reader.frame] if reader.start() and reader.frame != HEAD else []
        damaged += [line for line in reader.lines() if not _is_event(line)]
        after, newline, torn = b"".join(reader.rest()).rpartition(b"\n")
        data = b"".join((*damaged, after, newline))
        if not data:
            return 0
        file.seek(0)
        with replacement(path, path.with_suffix(".repaired")) as whole:
            whole.write(HEAD)
            whole.writelines(filter(_is_event, LineReader(file, path).lines()))
            whole.write(reader.closing + torn)
            append(path.with_suffix(".damaged"), data)
    return data.count(b"\n")


def _is_event(line: bytes) -> bool:
    try:
        position_of(line[1:-1])
    except DECODE_ERRORS:
        return False
    return True


def load(path: Path) -> tuple[Journal, bool]:
    """Open the journal of an ended writer, and remove a torn last line; True if it is closed."""
    journal = Journal(path, open_owned(path, os.O_RDWR | os.O_APPEND))
    with ExitStack() as undo:
        undo.callback(journal.close)
        with open_regular(path) as file:
            reader = LineReader(file, path, digest=journal.digest)
            for line in reader.lines():
                position = position_of(line[1:-1])
                journal.count_event(leaf_hash(line[1:-1]), position.sequence, position.timestamp)
        journal.digest.update(reader.closing)
        journal.end = reader.size + len(reader.closing)
        if os.fstat(journal.file).st_size != journal.end:
            os.ftruncate(journal.file, journal.end)
        undo.pop_all()
    return journal, bool(reader.closing)
