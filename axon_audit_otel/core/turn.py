"""Work that one thread does at a time, and for which no other waits for long."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["Turn"]

_Item = TypeVar("_Item")


class Turn:
    """Whose turn it is.

    What is done meanwhile may be foreign code, or take long: whoever waited for its end without
    a limit could be what that code waits for.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Nobody's; in a forked child as well, where the thread that had it is gone."""
        self._lock = lock = threading.RLock()
        #: Whether it is this thread's.
        self.is_ours: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]

    def wait(self, seconds: float) -> bool:
        """Make it this thread's, if it is free in so many seconds; returns whether it is."""
        return self._lock.acquire(timeout=seconds)

    def leave(self) -> None:
        """Not this thread's any more, if it was."""
        if self.is_ours():
            self._lock.release()

    @contextmanager
    def take(self, seconds: float) -> Iterator[bool]:
        """Gives whether it is this thread's turn, after *seconds* at most; not if it has it
        already (a finalizer, or what is done calls us)."""
        is_ours_already = self.is_ours()
        try:  # also around the taking: a signal handler may raise when it is taken
            yield not is_ours_already and self.wait(seconds)
        finally:
            if not is_ours_already:
                self.leave()

    def each(self, waiting: deque[_Item], do: Callable[[_Item], object]) -> None:
        """*do* what is *waiting*, put down by whomever, unless some thread is at it already.

        That one does it then, if it is put down before this is called: nobody waits.
        """
        if self.is_ours():
            return  # further down in this very thread
        try:
            while waiting and self.wait(0.0):
                while waiting:
                    do(waiting.popleft())
                self.leave()
        finally:
            self.leave()
