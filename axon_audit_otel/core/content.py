"""The whole content of a small file: of a key, a note, a certificate."""

from __future__ import annotations

import errno
import os
import select
import stat
from io import FileIO
from pathlib import Path
from typing import BinaryIO

from .files import READ, check_owner, open_regular
from .log import logger

__all__ = ["content_of", "read_key"]

_PATIENCE_S = 10
_MIB = 1 << 20
_readable_keys: set[Path] = set()  # that were warned of


def content_of(path: Path, most: int, anywhere: bool = False) -> bytes:
    """The content of a file of at most *most* bytes.

    Args:
        path: The file.
        most: Number of bytes.
        anywhere: Our user chose *path*: it may be a link or a pipe.

    Raises:
        OSError: If it cannot be read, or is larger; if nothing comes out of a pipe for ten seconds.
    """
    if not anywhere:
        with open_regular(path) as regular:
            return _bounded(regular, path, most)
    with FileIO(os.open(path, READ)) as file:
        is_pipe = not stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        return _bounded(_Arriving(file) if is_pipe else file, path, most)


def _bounded(file: BinaryIO | FileIO | _Arriving, path: Path, most: int) -> bytes:
    content = b""
    size = os.fstat(file.fileno()).st_size
    while size <= most and (block := file.read(_MIB)):
        content += block
        size = max(size, len(content))
    if size > most:
        raise OSError(errno.EFBIG, f"too large: more than {most >> 20} MiB", str(path))
    return content


class _Arriving:
    """A pipe that is read as something comes out of it."""

    def __init__(self, file: FileIO) -> None:
        self._file = file
        self.fileno = file.fileno

    def read(self, size: int) -> bytes | None:
        if not select.select([self._file], [], [], _PATIENCE_S)[0]:
            raise TimeoutError(errno.ETIMEDOUT, f"nothing came out of it for {_PATIENCE_S} s")
        return self._file.read(size)


def read_key(path: Path) -> bytes:
    """The content of a file that holds a key or a secret, also of a link or a pipe.

    Warns in the log, once a file, if others can read it (as Kubernetes mounts secrets).

    Raises:
        OSError: As `content_of`, or if others can write it.
    """
    content = content_of(path, _MIB, anywhere=True)
    status = path.stat()
    if hasattr(os, "geteuid") and stat.S_ISREG(status.st_mode):
        _check_rights(path, status)
    return content


def _check_rights(path: Path, status: os.stat_result) -> None:
    if status.st_mode & stat.S_IWOTH:
        words = "every user can write it: chmod o-w it"
        raise PermissionError(errno.EACCES, words, str(path))
    check_owner(path, status)
    if status.st_mode & stat.S_IROTH and path not in _readable_keys:
        _readable_keys.add(path)
        logger.warning("the key file %r is readable by every user: chmod 600 it", str(path))
