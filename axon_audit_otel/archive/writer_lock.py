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
from .format import JOURNAL
from .manifest import MANIFEST, Manifest

__all__ = ["LOCK", "MAX_WRITERS", "BusyError", "claim", "has_begun", "is_held", "name_of_the_gone"]

LOCK = ".lock"
MAX_WRITERS = 4096
_NO_LOCKS = UNSUPPORTED | {errno.ENOLCK}


class BusyError(OSError):
    """Other writers have all the names that were tried."""


def has_begun(directory: Path) -> bool:
    """Whether a writer has ever begun in *directory*: it may have no event yet, or no more.

    Raises:
        OSError: If that cannot be told.
    """
    return any(listed(directory, pattern) for pattern in (f"*{MANIFEST}", f".*{LOCK}"))


def claim(directory: Path, trail: str, fresh: bool, most: int = MAX_WRITERS) -> tuple[str, int]:
    """The first of *most* names for *trail* that no other writer has, and the lock on it.

    Raises:
        OSError: If there is none, or the file system cannot tell.
    """
    for number in range(1, most + 1):
        writer = trail if number == 1 else f"{trail}-{number}"
        held = open_owned(directory / f".{writer}{LOCK}", os.O_RDWR | os.O_CREAT)
        used = [directory / f"{writer}{suffix}" for suffix in (MANIFEST, JOURNAL)]
        try:
            if _lock(held) and not (fresh and any(map(is_there, used))):
                return writer, held
        except BaseException:
            os.close(held)
            raise
        os.close(held)
    raise BusyError(errno.EBUSY, f"{most:,} writers are at work in it")


def _lock(file: int) -> bool:
    """Take the lock on *file*; False if somebody has it.

    Raises:
        OSError: If that cannot be told: another name would not help.
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


def is_held(path: Path, held: int) -> bool:
    """Whether *path* is still the locked file *held*: nobody removed or moved it.

    Its number says so. Where that changes by itself, what is written in it does.

    Raises:
        OSError: If that cannot be told.
    """
    try:
        ours, found = os.fstat(held), path.stat()
        if found.st_ino and os.path.samestat(ours, found):
            return True
        return _shows_a_mark(path, held, ours.st_size)
    except OSError as exc:
        if exc.errno in _GONE:
            return False
        raise


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
