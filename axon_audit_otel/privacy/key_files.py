"""The files with the records of a keyring.

Each of at most 256 files has records of 48 bytes: a name of 16, and what it stands for. A record is
in the file that is called by the last byte of its name, and found by reading that file.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from ..core.files import open_owned
from ..core.fsync import sync_directory
from ..core.locks import locked

__all__ = ["NAME_BYTES", "NUMBER_BYTES", "VALUE_BYTES", "KeyFiles", "number_and_salt", "opened"]

NAME_BYTES, VALUE_BYTES = 16, 32
NUMBER_BYTES, _SALT_BYTES = 4, 32  # of a keyring
_MAGIC = b"axon-audit keys1"
_HEADER = len(_MAGIC) + NUMBER_BYTES + _SALT_BYTES
_RECORD = NAME_BYTES + VALUE_BYTES
_FREE = bytes(_RECORD)
_MOST = 64 << 20  # bytes of a file: each of the 256 has room for 1.4 million records


class KeyFiles:
    """The records in a directory.

    Args:
        directory: Where they are.
        sync: Force new records to the device.
    """

    def __init__(self, directory: Path, sync: bool) -> None:
        self.directory = directory
        self._sync = sync

    def file_of(self, name: bytes) -> Path:
        """The file with the records named *name*."""
        # The first bytes of a token are the same for all.
        return self.directory / f"{name[-1]:02x}.keys"

    def read(self, name: bytes) -> list[bytes]:
        """The values of the records named *name*."""
        try:
            file = opened(self.file_of(name), os.O_RDONLY)
        except FileNotFoundError:
            return []
        try:
            data = _content(file)
        finally:
            os.close(file)
        return [data[at + NAME_BYTES : at + _RECORD] for at in _places(data, name)]

    def names(self) -> Iterator[bytes]:
        """The names of all records.

        Raises:
            OSError: If a file cannot be read.
        """
        for path in sorted(self.directory.glob("*.keys")):
            file = opened(path, os.O_RDONLY)
            try:
                data = _content(file)
            finally:
                os.close(file)
            for at in range(0, len(data) - _RECORD + 1, _RECORD):
                yield data[at : at + NAME_BYTES]

    def write(self, name: bytes, value: bytes) -> None:
        """Add a record, in a free place.

        Raises:
            OSError: If that failed.
        """
        path = self.file_of(name)
        is_new = self._sync and not path.exists()
        file = opened(path, os.O_RDWR | os.O_CREAT)
        try:
            with locked(file):
                data = _content(file)
                free = next(_places(data, _FREE), len(data) - len(data) % _RECORD)
                if os.pwrite(file, name + value, free) != _RECORD:
                    raise OSError(28, os.strerror(28))
            if self._sync:
                os.fsync(file)
        finally:
            os.close(file)
        if is_new:
            sync_directory(self.directory)

    def wipe(self, path: Path, is_due: Callable[[bytes, bytes], bool]) -> bool:
        """Overwrite the records that are due; returns whether there were any."""
        try:
            file = opened(path, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            with locked(file):
                data = _content(file)
                due = [
                    at
                    for at in range(0, len(data) - _RECORD + 1, _RECORD)
                    if is_due(data[at : at + NAME_BYTES], data[at + NAME_BYTES : at + _RECORD])
                ]
                for at in due:
                    os.pwrite(file, _FREE, at)
            if due:
                os.fsync(file)
        finally:
            os.close(file)
        return bool(due)


def number_and_salt(ring: int, path: Path, create: bool) -> tuple[bytes, bytes]:
    """The number and the salt of a keyring.

    Args:
        ring: The descriptor of its file.
        path: That file.
        create: Make up both, if the file is a new one.

    Raises:
        OSError: If it is not such a file, or cannot be read or written.
    """
    header = os.pread(ring, _HEADER, 0)
    if len(header) < _HEADER:  # a new one, or another process is writing it
        with locked(ring):
            header = os.pread(ring, _HEADER, 0)
            if create and len(header) < _HEADER and _MAGIC.startswith(header[: len(_MAGIC)]):
                header = _MAGIC + os.urandom(NUMBER_BYTES + _SALT_BYTES)
                os.ftruncate(ring, 0)
                os.write(ring, header)
                os.fsync(ring)
                sync_directory(path.parent)
                sync_directory(path.parent.parent)
    if len(header) < _HEADER or not header.startswith(_MAGIC):
        raise OSError(errno.EINVAL, f"{path.name!r} is not the file of a keyring")
    return header[len(_MAGIC) :][:NUMBER_BYTES], header[-_SALT_BYTES:]


def opened(path: Path, flags: int) -> int:
    """A descriptor of a file that is ours, or the directory's owner's, and nobody else's.

    Raises:
        OSError: If it is not, or cannot be opened.
    """
    file = open_owned(path, flags)
    try:
        status = os.fstat(file)
        if hasattr(os, "geteuid"):
            ours = status.st_uid in (os.geteuid(), 0)
            if status.st_mode & stat.S_IWOTH:
                words = "every user can write it: chmod o-w it"
                raise PermissionError(errno.EACCES, words, str(path))
            if not ours and status.st_uid != path.parent.stat().st_uid:
                raise PermissionError(errno.EPERM, "it belongs to another user", str(path))
    except BaseException:
        os.close(file)
        raise
    return file


def _content(file: int) -> bytes:
    size = os.fstat(file).st_size
    if size > _MOST:
        raise OSError(errno.EFBIG, f"a file of the keys has more than {_MOST >> 20} MiB")
    return os.pread(file, size, 0)


def _places(data: bytes, start: bytes) -> Iterator[int]:
    """The offsets of the records that begin with *start*."""
    at = data.find(start)
    while at >= 0:
        if at % _RECORD == 0 and at + _RECORD <= len(data):
            yield at
        at = data.find(start, at + 1)
