"""Work that one thread does at a time, and for which no other waits for long."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Turn"]


class Turn:
    """Whose turn it is.

    What is done meanwhile may be foreign code, or take long: whoever waited for its end without
    a limit could be what that code waits for.
    """

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Nobody's; in a forked child as well, where the thread that had it is gone."""
        self._lock = threading.RLock()
        self._is_ours = self._lock._is_owned  # type: ignore[attr-defined]

    @contextmanager
    def take(self, seconds: float) -> Iterator[bool]:
        """Gives whether it is this thread's turn, after *seconds* at most; not if it has it
        already (a finalizer, or what is done calls us)."""
        is_ours_already = self._is_ours()
        try:  # also around the taking: a signal handler may raise when it is taken
            yield not is_ours_already and self._lock.acquire(timeout=seconds)
        finally:
            if self._is_ours() and not is_ours_already:
                self._lock.release()
