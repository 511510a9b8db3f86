"""One background thread that does one piece of work again and again."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakMethod, WeakSet

__all__ = ["Step", "Worker"]

_RETRY_S = (0.5, 15.0)  # after an exception: the first wait, and the longest

#: Does some of the work. Returns in how many seconds to call it again; None: when it is woken.
Step = Callable[[], "float | None"]

_living: WeakSet[Worker] = WeakSet()


class Worker:
    """Calls a method in a daemon thread, which runs only while there is work.

    The thread does not keep the object of the method alive, and ends with it. No exception ends
    the thread. A forked child starts its own thread when it has work.

    Args:
        name: Name of the thread.
        step: A bound method, see `Step`.
        fault: Takes exceptions; the work goes on after a while. Default: they are dropped.
        ended: Called in the thread when it ends.
    """

    def __init__(
        self,
        name: str,
        step: Step,
        fault: Callable[[BaseException], object] | None = None,
        ended: Callable[[], object] | None = None,
    ) -> None:
        self._name = name
        self._fault = fault
        self._ended = ended
        self._closed = False
        self._begin(step)
        _living.add(self)

    def _begin(self, step: Step) -> None:
        # Both are reentrant: a finalizer or a signal handler may wake us in any thread.
        self._lock = threading.RLock()
        self._wakes: SimpleQueue[Any] = SimpleQueue()
        self._is_awake = False
        self._step = WeakMethod(step, self._wakes.put)
        self._thread: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """True while there is a thread."""
        return self._thread is not None and self._thread.is_alive()

    def start(self, wait: float = 0.0) -> bool:
        """Start the thread, if there is none, to work in *wait* seconds.

        Returns:
            True if there is a thread. False if the interpreter ends, or cannot start one.
        """
        with self._lock:
            if sys.is_finalizing():  # a new thread would not come as far as to say that it runs
                self._thread = None
            elif self._thread is None and not self._closed:
                thread = threading.Thread(
                    target=self._run, args=(wait,), name=self._name, daemon=True
                )
                self._thread = thread
                try:
                    with suppress(RuntimeError):
                        thread.start()
                finally:  # also if a signal handler raised
                    if not thread.is_alive():
                        self._thread = None
            return self._thread is not None

    def wake(self) -> bool:
        """Have the thread work at once, or once more; return True if there is a thread."""
        if not self._is_awake:
            self._is_awake = True
            self._wakes.put(None)
        return (self._thread is not None and not sys.is_finalizing()) or self.start()

    def close(self) -> None:
        """End the thread after its current step; it is not started again."""
        self._closed = True
        self._wakes.put(None)

    def _run(self, wait: float | None) -> None:
        delay = 0.0
        while wait is not None or not self._is_over():
            with suppress(Empty):
                self._wakes.get(bool(wait), wait)
            self._is_awake = False  # now: a wake from here on needs another step
            step = None if self._closed else self._step()
            if step is None:
                break
            try:
                wait, delay = step(), 0.0
            except BaseException as exc:
                wait = delay = min(max(2 * delay, _RETRY_S[0]), _RETRY_S[1])
                self._report(exc)
            del step
        try:
            if self._ended is not None:
                self._ended()
        except BaseException as exc:
            self._report(exc)

    def _report(self, exc: BaseException) -> None:
        with suppress(BaseException):  # of a logging handler
            if self._fault is not None:
                self._fault(exc)

    def _is_over(self) -> bool:
        """Return True, and forget the thread, if it was not woken since its last step began."""
        with self._lock:
            thread, self._thread = self._thread, None
            if self._wakes.empty():
                return True
            self._thread = thread
            return False


def _begin_all_after_fork() -> None:
    """The parent's threads do not run in the child, and may have held the locks."""
    for worker in list(_living):
        if (step := worker._step()) is not None:
            worker._begin(step)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_after_fork)
