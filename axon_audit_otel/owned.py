"""Files of an archive, however they are made: for their owner only, who owns the directory.

A process that runs as root may work in the archive of a service that does not: what it makes
there is given to the owner of the directory, or the service could not go on. And whoever owns a
directory can put links into it: no link is followed, and nothing but a file is opened.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["give_back", "make_directory", "open_owned"]

_FLAGS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# A FIFO that nobody reads would let us wait for ever.
_FLAGS |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def open_owned(path: Path, flags: int, like: Path | None = None) -> int:
    """A descriptor of the file *path*.

    Args:
        path: The file.
        flags: As `os.open` takes them; with `os.O_CREAT`, it is made if it is missing.
        like: Whose owner gets what root makes. Default: the directory's.

    Raises:
        OSError: If that failed, or it is a link, or no regular file.
    """
    file = os.open(path, flags | _FLAGS, 0o600)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        if status.st_uid == 0:
            _give(file, status, like or path.parent)
    except BaseException:
        os.close(file)
        raise
    return file


def make_directory(path: Path, like: Path | None = None, mode: int = 0o777) -> None:
    """Make a directory, if it is missing, and those that it is in.

    Args:
        path: The directory.
        like: Whose owner gets what root makes. Default: the one that it is in.
        mode: Who may do what in it.

    Raises:
        OSError: If that failed.
    """
    if not path.parent.exists():
        make_directory(path.parent)
    try:
        path.mkdir(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    if _is_root():
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | _FLAGS)
        try:
            _give(file, os.fstat(file), like or path.parent)
        finally:
            os.close(file)


def give_back(directory: Path) -> None:
    """Give what is root's in *directory* to its owner: older versions have left that there."""
    if not _is_root() or directory.stat().st_uid == 0:
        return
    for path in directory.iterdir():
        with suppress(OSError):  # no file, or gone
            os.close(open_owned(path, os.O_RDONLY))


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _give(file: int, status: os.stat_result, like: Path) -> None:
    """Give what is root's to the owner of *like*, or of what that will be made in."""
    if not _is_root():
        return
    with suppress(OSError):  # not every file system has owners
        owner = next(path for path in (like, *like.parents) if path.exists()).stat()
        # A second name may be that of somebody else's file.
        alone = status.st_nlink == 1 or stat.S_ISDIR(status.st_mode)
        if owner.st_uid != 0 and alone:
            os.fchown(file, owner.st_uid, owner.st_gid)
