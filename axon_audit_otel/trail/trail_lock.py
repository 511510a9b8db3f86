"""The lock of a trail."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

__all__ = ["Lock", "new_lock", "ownership", "renew_after_fork", "require_free"]

Lock = AbstractContextManager[bool]  # with what `threading.RLock` has besides


def new_lock() -> Lock:
    """A lock that is reentrant: a signal handler or a finalizer may log in the middle of a call."""
    return threading.RLock()


def ownership(lock: Lock) -> Callable[[], bool]:
    """A function that returns True if this thread holds *lock*: an interrupted call must end
    first."""
    held: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]
    return held


def require_free(lock: Lock) -> None:
    """Check that this thread does not hold *lock*.

    Raises:
        OSError: If it does: a signal handler or a finalizer calls, in the middle of a change.
    """
    if ownership(lock)():
        raise OSError(errno.EDEADLK, "called in the middle of another call")


def renew_after_fork(lock: Lock) -> None:
    """Make *lock* free in a forked child: whoever held it is not there."""
    lock._at_fork_reinit()  # type: ignore[attr-defined]
