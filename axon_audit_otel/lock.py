"""The names of writers in a directory: whoever holds the lock of a name is its writer."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from .files import JOURNAL, is_there
from .manifest import MANIFEST, Manifest
from .owned import open_owned

try:
    import fcntl
except ImportError:  # Windows: no advisory locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["LOCK", "MAX_WRITERS", "claim", "name_of_the_gone"]

LOCK = ".lock"
MAX_WRITERS = 4096


def claim(directory: Path, trail: str, fresh: bool, most: int = MAX_WRITERS) -> tuple[str, int]:
    """The first of *most* names for *trail* that no other writer has, and the lock on it."""
    for number in range(1, most + 1):
        writer = trail if number == 1 else f"{trail}-{number}"
        lock = open_owned(directory / f".{writer}{LOCK}", os.O_RDWR | os.O_CREAT)
        used = [directory / f"{writer}{suffix}" for suffix in (MANIFEST, JOURNAL)]
        with contextlib.suppress(OSError):
            if fcntl is not None:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not (fresh and any(map(is_there, used))):
                return writer, lock
        os.close(lock)
    raise OSError(errno.EBUSY, f"{most:,} writers are at work in it")


@contextlib.contextmanager
def name_of_the_gone(directory: Path, writer: str) -> Iterator[Manifest | None]:
    """Take the name of a writer for a moment; gives its manifest, None while it runs.

    None, too, where its lock belongs to another user of the machine.
    """
    try:
        lock = open_owned(directory / f".{writer}{LOCK}", os.O_RDWR | os.O_CREAT)
    except PermissionError:
        yield None
        return
    try:
        if fcntl is not None:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        free = fcntl is not None
    except OSError:
        free = False
    try:
        yield Manifest(directory / f"{writer}{MANIFEST}") if free else None
    finally:
        os.close(lock)
