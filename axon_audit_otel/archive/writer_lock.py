"""The names of writers in a directory: the process that holds the lock of a name is its writer."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..core.files import is_there, listed, open_owned, open_regular
from ..core.fsync import UNSUPPORTED
from ..core.locks import HAS_LOCKS, lock
from .directory import newest_number
from .format import JOURNAL
from .manifest import MANIFEST, Manifest

__all__ = [
    "LOCK",
    "MAX_WRITERS",
    "BusyError",
    "WriterLock",
    "claim",
    "has_begun",
    "is_paused",
    "name_of_the_gone",
]

LOCK = ".lock"
_PAUSED = b"paused\n"
MAX_WRITERS = 4096
_LAST_TO_CONTINUE = 1 << 62  # no trail gets so far: somebody wrote that number
_NO_LOCKS = UNSUPPORTED | {errno.ENOLCK}


class BusyError(OSError):
    """All tried names belong to other writers."""


def has_begun(directory: Path) -> bool:
    """Return True if *directory* ever had a writer, even without any event now.

    Raises:
        OSError: If the directory cannot be read.
    """
    return any(listed(directory, pattern) for pattern in (f"*{MANIFEST}", f".*{LOCK}"))


def is_paused(lock: Path) -> bool:
    """Return True if the last writer with that *lock* left its journal to the next one.

    Raises:
        OSError: If it cannot be read.
    """
    with open_regular(lock) as file:
        return file.read(len(_PAUSED) + 1) == _PAUSED


@dataclass
class WriterLock:
    """The name of a writer in a directory, and our lock on it.

    The lock's file is empty, except from `mark_running` to `mark_ended`. A writer that finds a file
    that is not empty knows that the last writer did not end well, unless it says that this left
    its journal for the next (`mark_paused`).

    Attributes:
        directory: The archive.
        writer: The name.
        file: The descriptor of the locked file; closed by `release`.
        is_running: True from `mark_running` to `mark_ended`.
    """

    directory: Path
    writer: str
    file: int
    is_running: bool = False

    def path(self, suffix: str) -> Path:
        """A file of this writer."""
        return self.directory / f"{self.writer}{suffix}"

    @property
    def ended_well(self) -> bool:
        """True if the file is empty: no writer of this name runs or was killed."""
        return os.fstat(self.file).st_size == 0

    @property
    def is_paused(self) -> bool:
        """True if the last writer ended well, and left its journal to the next one."""
        return os.pread(self.file, len(_PAUSED) + 1, 0) == _PAUSED

    def is_held(self) -> bool:
        """Return True if our file is still at its path: it was not removed or moved.

        They are compared by inode; where inodes change by themselves, by content.

        Raises:
            OSError: If that cannot be found out.
        """
        path = self.directory / f".{self.writer}{LOCK}"
        try:
            ours, found = os.fstat(self.file), path.stat()
            if found.st_ino and os.path.samestat(ours, found):
                return True
            return _shows_a_mark(path, self.file, ours.st_size)
        except OSError as exc:
            if exc.errno in _GONE:
                return False
            raise

    def mark_running(self) -> None:
        """Mark in the file that this writer runs.

        Raises:
            OSError: If that failed.
        """
        os.pwrite(self.file, b"%d\n" % os.getpid(), 0)
        self.is_running = True

    def mark_ended(self) -> None:
        """Mark in the file that this writer ended well.

        Raises:
            OSError: If that failed.
        """
        os.ftruncate(self.file, 0)
        self.is_running = False

    def mark_paused(self) -> None:
        """Mark in the file that this writer ended well, and left its journal to the next one.

        Raises:
            OSError: If that failed.
        """
        os.ftruncate(self.file, 0)  # killed here, it only seems to have ended with a journal
        os.pwrite(self.file, _PAUSED, 0)
        self.is_running = False

    def release(self) -> None:
        """Release the lock; the content of the file stays."""
        if self.file >= 0:
            with contextlib.suppress(OSError):
                os.close(self.file)
        self.file = -1


def claim(
    directory: Path,
    trail: str,
    fresh: bool = False,
    most: int = MAX_WRITERS,
    without: Container[str] = (),
) -> WriterLock:
    """Lock the first of *most* names for *trail* that no other writer has.

    Args:
        directory: The archive.
        trail: The first name; the others have a number after it.
        fresh: Skip names that have files already.
        most: Number of names to try.
        without: Names to skip.

    Raises:
        BusyError: If other writers have all of them.
        OSError: If the file system has no locks.
    """
    for number in range(1, most + 1):
        writer = trail if number == 1 else f"{trail}-{number}"
        if writer in without:
            continue
        held = open_owned(directory / f".{writer}{LOCK}", os.O_RDWR | os.O_CREAT)
        used = [directory / f"{writer}{suffix}" for suffix in (MANIFEST, JOURNAL)]
        try:
            is_free = _lock(held) and not (fresh and any(map(is_there, used)))
            if is_free and newest_number(directory, writer) <= _LAST_TO_CONTINUE:
                return WriterLock(directory, writer, held)
        except BaseException:
            os.close(held)
            raise
        os.close(held)
    raise BusyError(errno.EBUSY, f"{most:,} writers are at work in it")


def _lock(file: int) -> bool:
    """Take the lock on *file*; False if another process has it.

    Raises:
        OSError: If the file system has no locks: another name would not help.
    """
    try:
        lock(file)
    except BlockingIOError:
        return False
    except OSError as exc:
        if exc.errno not in _NO_LOCKS:
            raise
        words = (
            f"its file system has no file locks ({os.strerror(exc.errno)}), and without them two"
            " writers could write to one file; take a local directory, or mount it with locks"
            " (NFS: option local_lock=all, SMB: option nobrl)"
        )
        raise OSError(exc.errno, words) from exc
    return True


#: Errors of a path or a descriptor whose file is gone.
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EBADF, errno.EINVAL, errno.EISDIR}


def _shows_a_mark(path: Path, held: int, size: int) -> bool:
    """Return True if a mark that is written to *held* for a moment can be read at *path*."""
    mark = secrets.token_bytes(16)
    os.pwrite(held, mark, size)
    try:
        with open_regular(path) as file:
            return file.read(size + len(mark) + 1)[size:] == mark
    finally:
        os.ftruncate(held, size)


@contextlib.contextmanager
def name_of_the_gone(directory: Path, writer: str) -> Iterator[Manifest | None]:
    """Hold the lock of another writer for the block; yield its manifest.

    Yields None if that writer runs, or its lock belongs to another user.
    """
    try:
        held = open_owned(directory / f".{writer}{LOCK}", os.O_RDWR | os.O_CREAT)
    except PermissionError:
        yield None
        return
    try:
        free = HAS_LOCKS and _lock(held)
    except OSError:
        free = False
    try:
        yield Manifest(directory / f"{writer}{MANIFEST}") if free else None
    finally:
        os.close(held)
