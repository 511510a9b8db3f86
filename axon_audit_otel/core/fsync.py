"""Forces files and their names to stable storage, where the file system can do that."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

__all__ = ["CLOEXEC", "UNSUPPORTED", "duplicated", "sync_data", "sync_directory", "sync_file"]

CLOEXEC = getattr(os, "O_CLOEXEC", 0)
#: Errors of a file system that does not support a function.
UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}


def sync_file(file: int) -> bool:
    """Force an open file to stable storage; False if its file system cannot.

    Raises:
        OSError: If it can, and that failed.
    """
    return _synced(os.fsync, file)


def sync_data(file: int) -> bool:
    """Force the content of an open file to stable storage; False if its file system cannot.

    Raises:
        OSError: If it can, and that failed.
    """
    has_it = hasattr(os, "fdatasync")  # not on macOS
    return (has_it and _synced(os.fdatasync, file)) or sync_file(file)


def _synced(sync: Callable[[int], None], file: int) -> bool:
    try:
        sync(file)
    except OSError as exc:
        if exc.errno not in UNSUPPORTED:
            raise
        return False
    return True


def duplicated(files: Iterable[int]) -> list[int]:
    """New descriptors of open *files*, for who syncs and closes them: of all or of none.

    Raises:
        OSError: If there are no more descriptors.
    """
    with ExitStack() as undo:
        made: list[int] = []
        for file in files:
            made.append(os.dup(file))
            undo.callback(os.close, made[-1])
        undo.pop_all()
    return made


def sync_directory(directory: Path) -> None:
    """Force the names in a directory to stable storage, if its file system can.

    SMB shares and some FUSE file systems cannot: there, only the files are forced.

    Raises:
        OSError: If it can, and that failed.
    """
    file = os.open(directory, os.O_RDONLY | CLOEXEC)
    try:
        sync_file(file)
    finally:
        os.close(file)
