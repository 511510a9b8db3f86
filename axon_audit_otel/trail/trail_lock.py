"""The lock of a trail."""

from __future__ import annotations

import errno
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager

__all__ = ["Lock", "is_alone", "new_lock", "ownership", "renew_alone", "require_free"]

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


def renew_alone(lock: Lock) -> bool:
    """Make *lock* free where there is no other thread; return True if one held it, that is not
    there any more."""
    was_free: bool = lock.acquire(blocking=False)  # type: ignore[attr-defined]
    lock._at_fork_reinit()  # type: ignore[attr-defined]
    return not was_free


#: Returns True when the interpreter ends: other threads stopped where they were, and what they
#: held nobody gives back. A finalizer may record even then.
is_alone = sys.is_finalizing
