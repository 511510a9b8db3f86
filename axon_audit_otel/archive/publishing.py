"""Gives files their final names: seals journals, compresses sealed files, writes exports."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import time
from collections.abc import Iterable
from pathlib import Path

from ..core.files import is_there, listed, open_owned, open_regular, replacement, write_file
from ..core.fsync import UNSUPPORTED
from . import zstd
from .format import SEALED, ZST, laid_out, name_parts
from .reader import digest

__all__ = ["compress", "publish", "write_events"]


def publish(path: Path, last: str = "") -> Path:
    """Give *path* its final name, ``audit_2025_01_15_103045.json``, overwriting nothing.

    Args:
        path: The file.
        last: The name used before; it is not used again, even if it is free.

    Raises:
        OSError: If that failed; *path* is then still there.
    """
    for named in listed(path.parent, SEALED) if path.stat().st_nlink > 1 else ():
        with contextlib.suppress(FileNotFoundError):  # of another writer, and just removed
            if _is_named_twice(path, named):  # a writer died between the two steps below
                path.unlink()
                return named
    stem = time.strftime("audit_%Y_%m_%d_%H%M%S", time.gmtime())
    used, taken = name_parts(last)
    for number in itertools.count(taken + 1 if used == stem else 1):
        name = f"{stem}.json" if number == 1 else f"{stem}_{number}.json"
        target = path.with_name(name)
        if is_there(target.with_name(name + ZST)):
            continue
        try:
            os.link(path, target)  # fails where the name is taken; a rename would not
        except FileExistsError:
            continue
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            if not _reserve(target):
                continue
            try:
                os.replace(path, target)
            except OSError:
                target.unlink()
                raise
            return target
        with contextlib.suppress(OSError):  # else the next start removes this name
            path.unlink()
        return target
    raise AssertionError("unreachable")


def compress(path: Path, sha256: str) -> Path:
    """Replace a sealed file by a compressed one; return its path.

    The sealed file is removed when the compressed one is whole and has the same content.

    Args:
        path: The sealed file.
        sha256: Digest of its content, from the manifest.

    Raises:
        OSError: If that failed, or the content has changed; *path* is still there.
    """
    target = path.with_name(path.name + ZST)
    temporary = path.with_name(f".{path.name}{ZST}.tmp")
    with open_regular(path) as source, replacement(target, temporary) as file:
        zstd.compress(source, file)
        file.flush()
        if digest(temporary)[1] != sha256:
            raise OSError(5, "the content is not what was sealed", str(path))
    path.unlink()
    return target


#: Errors of file systems without hard links (exFAT, some network shares).
_NO_LINKS = UNSUPPORTED | {errno.EPERM, errno.EMLINK, errno.EXDEV}


def _is_named_twice(path: Path, named: Path) -> bool:
    one, other = path.stat(), named.stat()
    # On some network shares every inode is 0.
    return one.st_ino != 0 and os.path.samestat(one, other) and one.st_size == other.st_size


def _reserve(target: Path) -> bool:
    """Create an empty file at *target*; False if the name is taken."""
    try:
        os.close(open_owned(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def write_events(lines: Iterable[bytes], path: Path) -> int:
    """Write encoded events to *path* in the export format; return their number.

    Raises:
        ArchiveError: If it cannot be written.
    """
    number = itertools.count()
    write_file(laid_out(line for line, _ in zip(lines, number)), path)
    return next(number)
