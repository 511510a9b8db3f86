"""Locks on open files, between processes."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from contextlib import contextmanager

try:
    import fcntl
except ImportError:  # Windows: no advisory locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["HAS_LOCKS", "lock", "locked"]

#: False on Windows, which has no such locks: there, every `lock` succeeds.
HAS_LOCKS = fcntl is not None

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.0001, 0.02


def lock(file: int) -> None:
    """Take the lock on an open file, until its descriptor is closed, also in forked children.

    Raises:
        BlockingIOError: If another process has it.
        OSError: If the file system has no locks.
    """
    if fcntl is not None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


@contextmanager
def locked(file: int, wait_s: float = 1.0) -> Iterator[None]:
    """Wait for the lock on an open file, and hold it for the block.

    Who can open a file can lock it, and keep it so: a process that was stopped does. So nobody
    waits for ever.

    Args:
        file: Its descriptor.
        wait_s: How long to wait.

    Raises:
        TimeoutError: If another process has it all that time.
        OSError: If the file system has no locks.
    """
    try:  # also around the taking: a signal handler may raise when it is taken
        _wait_for(file, wait_s)
        yield
    finally:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_UN)


def _wait_for(file: int, wait_s: float) -> None:
    end, pause = time.monotonic() + wait_s, _FIRST_PAUSE_S
    while True:
        try:
            lock(file)
        except BlockingIOError:
            if time.monotonic() >= end:
                words = f"another process has kept it locked for {wait_s:g} s"
                raise TimeoutError(errno.ETIMEDOUT, words) from None
        else:
            return
        time.sleep(pause)
        pause = min(pause * 2, _LONGEST_PAUSE_S)
