"""The names of writers in a directory: whoever holds the lock of a name is its writer."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ..core.files import (
    HAS_LOCKS,
    UNSUPPORTED,
    is_there,
    listed,
    lock,
    open_owned,
    open_regular,
)
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
    "name_of_the_gone",
]

LOCK = ".lock"
MAX_WRITERS = 4096
_LAST_TO_CONTINUE = 1 << 62  # no trail gets so far: somebody wrote that number
_NO_LOCKS = UNSUPPORTED | {errno.ENOLCK}


class BusyError(OSError):
    """Other writers have all the names that were tried."""


def has_begun(directory: Path) -> bool:
    """Whether a writer has ever begun in *directory*: it may have no event yet, or no more.

    Raises:
        OSError: If that is not known.
    """
    return any(listed(directory, pattern) for pattern in (f"*{MANIFEST}", f".*{LOCK}"))


class WriterLock:
    """The name of a writer in a directory, and the lock on it that we hold.

    The lock's file is empty, except from `mark_running` to `mark_ended`: a writer that finds it
    otherwise knows that the one before did not end well.

    Args:
        directory: The archive.
        writer: The name.
        file: The descriptor of the locked file; closed by `release`.
    """

    def __init__(self, directory: Path, writer: str, file: int) -> None:
        self.directory = directory
        self.writer = writer
        self.file = file
        self.is_running = False

    def path(self, suffix: str) -> Path:
        """A file of this writer."""
        return self.directory / f"{self.writer}{suffix}"

    @property
    def ended_well(self) -> bool:
        """Whether the file says that no writer of this name runs, or was killed."""
        return os.fstat(self.file).st_size == 0

    def is_held(self) -> bool:
        """Whether the lock's name still stands for our file: nobody removed or moved it.

        Its number says so. Where that changes by itself, what is written in it does.

        Raises:
            OSError: If that is not known.
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
        """Write down that this writer runs.

        Raises:
            OSError: If that failed.
        """
        os.pwrite(self.file, b"%d\n" % os.getpid(), 0)
        self.is_running = True

    def mark_ended(self) -> None:
        """Write down that this writer ended well.

        Raises:
            OSError: If that failed.
        """
        os.ftruncate(self.file, 0)
        self.is_running = False

    def release(self) -> None:
        """Let the name go; what the file says stays."""
        if self.file >= 0:
            with contextlib.suppress(OSError):
                os.close(self.file)
        self.file = -1


def claim(directory: Path, trail: str, fresh: bool = False, most: int = MAX_WRITERS) -> WriterLock:
    """The lock on the first of *most* names for *trail* that no other writer has.

    Args:
        directory: The archive.
        trail: The first name; the others have a number behind it.
        fresh: Pass over names that have files already.
        most: How many names to try.

    Raises:
        BusyError: If other writers have all of them.
        OSError: If the file system cannot tell.
    """
    for number in range(1, most + 1):
        writer = trail if number == 1 else f"{trail}-{number}"
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
    """Take the lock on *file*; False if somebody has it.

    Raises:
        OSError: If that is not known: another name would not help.
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


#: What a name or a descriptor answers whose file is no longer there.
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.ESTALE, errno.EBADF, errno.EINVAL, errno.EISDIR}


def _shows_a_mark(path: Path, held: int, size: int) -> bool:
    """Whether what is written to *held* for a moment can be read at *path*."""
    mark = secrets.token_bytes(16)
    os.pwrite(held, mark, size)
    try:
        with open_regular(path) as file:
            return file.read(size + len(mark) + 1)[size:] == mark
    finally:
        os.ftruncate(held, size)


@contextlib.contextmanager
def name_of_the_gone(directory: Path, writer: str) -> Iterator[Manifest | None]:
    """Take the name of a writer for a moment; gives its manifest, None while it runs.

    None, too, where its lock belongs to another user of the machine.
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
