"""Opens files safely; replaces them and appends to them.

Files may come from others: only regular files are read, links are not followed, and the length
of a line is limited. A file should belong to the owner of its directory, to root or to our user;
of another one the log warns, and nothing is written to it where every user can make files.

Files in an archive are made for the owner of the directory, and only that user can read them: a
process that runs as root may write to the archive of a service that does not.
"""

from __future__ import annotations

import errno
import fnmatch
import itertools
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from .errors import ArchiveError, InvalidEventError
from .fsync import CLOEXEC, sync_file
from .log import logger

__all__ = [
    "DECODE_ERRORS",
    "LINE_LIMIT",
    "READ",
    "LineLimit",
    "append",
    "check_owner",
    "give_back",
    "is_there",
    "listed",
    "make_directory",
    "named",
    "open_owned",
    "open_regular",
    "refuse_writable_by_all",
    "renewed",
    "replacement",
    "write_file",
]

# Opening a FIFO without a process at its other end would wait for ever.
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)
_numbers = itertools.count(1)

# --- opened for reading ----------------------------------------------------------------------

#: Errors of decoding: not JSON, or another type; not UTF-8; nested too deeply.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
READ = os.O_RDONLY | CLOEXEC | getattr(os, "O_BINARY", 0) | _AT_ONCE
_IS_LINK = {errno.ELOOP, errno.EMLINK}  # of opening a link without following it


#: Bytes of a line. Events are shorter, and a reader holds a whole line in memory.
LINE_LIMIT = 64 << 20

_READ_BUFFER = 1 << 16
_newline_in = re.compile(b"\n").search


class LineLimit:
    """Refuses a line without end while a file is read, block by block."""

    def __init__(self) -> None:
        self._length = 0  # of the blocks since the last newline

    def pass_on(self, block: Any, size: int) -> int:
        """Check *size* bytes that were read into *block*; return *size*.

        Raises:
            OSError: If their line is longer than `LINE_LIMIT`.
        """
        self._length = 0 if _newline_in(block, 0, size) else self._length + size
        if self._length > LINE_LIMIT:
            raise OSError(errno.EFBIG, f"it has a line of more than {LINE_LIMIT >> 20} MiB")
        return size


class _Lines(FileIO):
    """A file with a `LineLimit`, which starts again after each `seek`."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._limit = LineLimit()

    def readinto(self, buffer: Any) -> int:
        return self._limit.pass_on(buffer, super().readinto(buffer))

    def seek(self, *place: int) -> int:
        self._limit = LineLimit()
        return super().seek(*place)


def open_regular(path: Path) -> BufferedReader:
    """Open *path* for reading.

    Raises:
        OSError: If that failed, or it is a link, or not a regular file: a FIFO, a device, a
            directory. While reading: if it has a line of more than `LINE_LIMIT`.
    """
    descriptor = _opened(path, READ)
    try:
        return BufferedReader(_Lines(descriptor), _READ_BUFFER)
    except BaseException:
        os.close(descriptor)
        raise


def _opened(path: Path, flags: int) -> int:
    """The descriptor of a regular file that is no link.

    Raises:
        OSError: If that failed, or it is none.
    """
    try:
        file = os.open(path, flags | _NO_LINK, 0o600)
    except OSError as exc:
        if exc.errno not in _IS_LINK:
            raise
        raise OSError(exc.errno, "symbolic links are not followed", str(path)) from None
    try:
        status = os.fstat(file)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file", str(path))
        check_owner(path, status, writes=flags & (os.O_WRONLY | os.O_RDWR) != 0)
    except BaseException:
        os.close(file)
        raise
    return file


def check_owner(path: Path, status: os.stat_result, writes: bool = False) -> None:
    """Warn of a file that belongs to a stranger, once a directory.

    Raises:
        PermissionError: If it *writes*, and every user can make files in the directory.
    """
    if not hasattr(os, "geteuid") or status.st_uid in (0, os.geteuid()):
        return
    directory = path.parent.stat()
    if status.st_uid == directory.st_uid:
        return
    words = f"it belongs to another user (uid {status.st_uid}) than its directory"
    if writes and directory.st_mode & stat.S_IWOTH:
        raise PermissionError(errno.EACCES, words, str(path))
    if path.parent not in _with_strangers:
        _with_strangers.add(path.parent)
        logger.warning("%r: %s", str(path), words)


_with_strangers: set[Path] = set()  # directories that were warned of


def named(path: Path) -> Path:
    """The file that *path* leads to: who names a file may name a link to it."""
    return Path(os.path.realpath(path)) if path.is_symlink() and not path.is_dir() else path


# --- made for their owner ---------------------------------------------------------------------


def open_owned(path: Path, flags: int) -> int:
    """Open the file *path* with *flags* for `os.open`; return its descriptor.

    If we are root, the owner of the directory gets the file.

    Raises:
        OSError: If that failed, or it is a link, or not a regular file.
    """
    file = _opened(path, flags | CLOEXEC | getattr(os, "O_BINARY", 0) | _AT_ONCE)
    try:
        status = os.fstat(file)
        if status.st_uid == 0:
            _give(file, status, path.parent)
    except BaseException:
        os.close(file)
        raise
    return file


def make_directory(path: Path, like: Path | None = None) -> None:
    """Make a directory that only its owner can use, and its parents, if they are missing.

    Args:
        path: The directory.
        like: A path. If we are root, its owner gets the directory. Default: the parent.

    Raises:
        OSError: If that failed.
    """
    if not path.parent.exists():
        make_directory(path.parent)
    try:
        path.mkdir(0o700)
    except FileExistsError:
        if not path.is_dir():
            raise
        return
    if _is_root():
        file = os.open(path, os.O_DIRECTORY | READ | _NO_LINK)
        try:
            _give(file, os.fstat(file), like or path.parent)
        finally:
            os.close(file)


def refuse_writable_by_all(directory: Path) -> None:
    """Raise if every user can put files of others' names into *directory*.

    Raises:
        OSError: If so, or if that cannot be told.
    """
    mode = directory.stat().st_mode
    if hasattr(os, "geteuid") and mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        words = "every user can write to the directory: chmod o-w it"
        raise PermissionError(errno.EACCES, words, str(directory))


def give_back(directory: Path) -> None:
    """Give root's files in *directory* to its owner: older versions left such files."""
    if not _is_root() or directory.stat().st_uid == 0:
        return
    for path in directory.iterdir():
        with suppress(OSError):  # not a file, or gone
            os.close(open_owned(path, os.O_RDONLY))


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _give(file: int, status: os.stat_result, like: Path) -> None:
    """Give root's file to the owner of *like*, or of its nearest parent that exists."""
    if not _is_root():
        return
    with suppress(OSError):  # not every file system has owners
        owner = next(path for path in (like, *like.parents) if path.exists()).stat()
        # With a second name, it may be a file of another user.
        alone = status.st_nlink == 1 or stat.S_ISDIR(status.st_mode)
        if owner.st_uid != 0 and alone:
            os.fchown(file, owner.st_uid, owner.st_gid)


# --- written and synced -----------------------------------------------------------------------


def write_file(content: Iterable[bytes], path: Path) -> None:
    """Write *path* so that it appears whole or not at all, readable by its owner only.

    Raises:
        ArchiveError: If it cannot be written.
    """
    try:
        if path.exists() and not path.is_file():  # /dev/null would become a file
            raise OSError(errno.EINVAL, "it is not a regular file")
        temporary = path.with_name(f".{path.name[:64]}.{os.getpid()}.{next(_numbers)}.tmp")
        make_directory(path.parent)
        with replacement(path, temporary) as file:
            file.writelines(content)
    except (ArchiveError, InvalidEventError):
        raise  # from the source of the content
    except (OSError, ValueError) as exc:  # ValueError: not a possible file name
        msg = f"cannot write {str(path)!r}: {getattr(exc, 'strerror', None) or exc}"
        raise ArchiveError(msg) from exc


@contextmanager
def replacement(path: Path, temporary: Path) -> Iterator[BinaryIO]:
    """Yield a new file, which replaces *path* when the block ends, whole and synced.

    Args:
        path: The file; it is unchanged if the block raises, or the replacement fails.
        temporary: Name of the new file until then. An old file of that name is removed.

    Raises:
        OSError: If that failed.
    """
    temporary.unlink(missing_ok=True)  # it may be a link
    try:
        with open(open_owned(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL), "wb") as file:
            yield file
            file.flush()
            sync_file(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def append(path: Path, data: bytes, sync: bool = False, anywhere: bool = False) -> None:
    """Append *data* to a file that only its owner can read, whole or not at all.

    Args:
        path: The file; made if it is missing.
        data: The bytes.
        sync: Force it to stable storage.
        anywhere: Our user chose *path*: it may be a link or a device.

    Raises:
        OSError: If that failed.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    file = _open_anywhere(path, flags) if anywhere else open_owned(path, flags)
    try:
        size = os.fstat(file).st_size
        try:
            if os.write(file, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                sync_file(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, size)
            raise
    finally:
        os.close(file)


def _open_anywhere(path: Path, flags: int) -> int:
    with suppress(FileExistsError):  # a new file belongs to the directory's owner
        return open_owned(path, flags | os.O_EXCL)
    return os.open(path, flags | CLOEXEC | _AT_ONCE, 0o600)


def renewed(path: Path, file: int) -> int:
    """Replace *path* by a new file of the same content, synced except for its name.

    For use after a failed sync: the device may have dropped data, and reports that only once.

    Args:
        path: A file that is appended to.
        file: Its descriptor; closed if all went well.

    Returns:
        The descriptor of the new file.

    Raises:
        OSError: If that failed; *path* is as before.
    """
    temporary = path.with_name(f"{path.name}.renewed")
    new = open_owned(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND)
    try:
        with open_regular(path) as source, open(new, "wb", closefd=False) as target:
            shutil.copyfileobj(source, target)
        sync_file(new)
        os.replace(temporary, path)
    except OSError:
        os.close(new)
        raise
    with suppress(OSError):
        os.close(file)
    return new


# --- looked for -------------------------------------------------------------------------------


def is_there(path: Path) -> bool:
    """Return True if there is anything at *path*, also a link that leads nowhere.

    Raises:
        OSError: If that cannot be found out (`Path.exists` returns False then, in newer Pythons).
    """
    try:
        path.lstat()
    except FileNotFoundError:
        return False
    return True


def listed(directory: Path, pattern: str) -> list[Path]:
    """The files in *directory* whose names match *pattern*; none if it is not a directory.

    Raises:
        OSError: If it cannot be read (`Path.glob` finds nothing then, in newer Pythons).
    """
    try:
        names = os.listdir(directory)  # noqa: PTH208 - raises at once
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [directory / name for name in fnmatch.filter(names, pattern)]
