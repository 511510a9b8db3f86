"""Reading files that may be anybody's: what is no file, and what is no JSON of ours."""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path

import msgspec

__all__ = ["DECODE_ERRORS", "open_regular", "read_key"]

#: What decoding raises: no JSON, or of another shape; no UTF-8; nested too deeply.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# A FIFO that nobody writes to would let us wait for ever.
_FLAGS |= getattr(os, "O_NONBLOCK", 0)


def open_regular(path: Path) -> BufferedReader:
    """*path* opened for reading.

    Raises:
        OSError: If that failed, or it is no regular file: a FIFO, a device, a directory.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return open(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_key(path: Path) -> bytes:
    """The content of a file that holds a key or a secret, also of a pipe.

    Raises:
        OSError: If it cannot be read, or does not end within a MiB.
    """
    with path.open("rb") as file:
        content = file.read(_MIB + 1)
    if len(content) > _MIB:
        raise OSError(errno.EFBIG, "too large to be a key", str(path))
    return content


_MIB = 1 << 20
