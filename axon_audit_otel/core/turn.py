"""A lock for long work: one thread works, and no other waits for it without a limit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["Turn"]

_Item = TypeVar("_Item")


class Turn:
    """The right of one thread at a time to do some work.

    The work may take long, or call foreign code, which may itself wait for another thread of
    ours. So waiting for a turn always has a limit.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Give the turn to no thread; also in a forked child, which lacks the other threads."""
        self._lock = lock = threading.RLock()
        #: Returns True if this thread has the turn.
        self.is_ours: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]

    def wait(self, seconds: float) -> bool:
        """Wait at most *seconds* for the turn; return True if this thread has it."""
        return self._lock.acquire(timeout=seconds)

    def leave(self) -> None:
        """Give the turn up, if this thread has it."""
        if self.is_ours():
            self._lock.release()

    @contextmanager
    def take(self, seconds: float) -> Iterator[bool]:
        """Take the turn for the block; yield True if that worked within *seconds*.

        Yields False if this thread has it already: a finalizer, or the work itself, calls us.
        """
        is_ours_already = self.is_ours()
        try:  # the wait is inside: a signal handler may raise just after it
            yield not is_ours_already and self.wait(seconds)
        finally:
            if not is_ours_already:
                self.leave()

    def each(self, waiting: deque[_Item], do: Callable[[_Item], object]) -> None:
        """Call *do* with each *waiting* item, unless another thread is doing that.

        That thread then also does the items that were added before this call; nobody waits.
        """
        if self.is_ours():
            return  # the loop below runs in this thread already
        try:
            while waiting and self._lock.acquire(blocking=False):
                while waiting:
                    item = waiting.popleft()
                    try:
                        do(item)
                    except (RecursionError, MemoryError):  # no room here: for who comes next
                        waiting.appendleft(item)
                        raise
                self._lock.release()
        finally:
            if self.is_ours():  # no call of `leave`: there may be no room for one more
                self._lock.release()
