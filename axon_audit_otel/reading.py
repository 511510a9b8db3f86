"""Reading files that may be anybody's: what is no file, and what is no JSON of ours."""

from __future__ import annotations

import errno
import os
import re
import stat
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any

import msgspec

__all__ = ["DECODE_ERRORS", "LINE_LIMIT", "LineLimit", "open_regular", "read_key"]

#: What decoding raises: no JSON, or of another shape; no UTF-8; nested too deeply.
DECODE_ERRORS = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
# A FIFO that nobody writes to would let us wait for ever.
_FLAGS |= getattr(os, "O_NONBLOCK", 0)


#: Bytes of a line. No event is as long, and who reads lines holds one in memory.
LINE_LIMIT = 64 << 20

_BUFFER = 1 << 16
_newline_in = re.compile(b"\n").search


class LineLimit:
    """Tells of a line without end while a file is read, block by block."""

    def __init__(self) -> None:
        self._length = 0  # of the blocks since one that had a newline

    def pass_on(self, block: Any, size: int) -> int:
        """*size*, of what was read into *block*.

        Raises:
            OSError: If the line that it is part of is longer than `LINE_LIMIT`.
        """
        self._length = 0 if _newline_in(block, 0, size) else self._length + size
        if self._length > LINE_LIMIT:
            raise OSError(errno.EFBIG, f"it has a line of more than {LINE_LIMIT >> 20} MiB")
        return size


class _Lines(FileIO):
    """A file with a `LineLimit`, from wherever one reads on."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor)
        self._limit = LineLimit()

    def readinto(self, buffer: Any) -> int:
        return self._limit.pass_on(buffer, super().readinto(buffer))

    def seek(self, *place: int) -> int:
        self._limit = LineLimit()
        return super().seek(*place)


def open_regular(path: Path) -> BufferedReader:
    """*path* opened for reading.

    Raises:
        OSError: If that failed, or it is no regular file: a FIFO, a device, a directory.
            While reading: if it has a line of more than `LINE_LIMIT`.
    """
    descriptor = os.open(path, _FLAGS)
    try:
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is no regular file", str(path))
        return BufferedReader(_Lines(descriptor), _BUFFER)
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
