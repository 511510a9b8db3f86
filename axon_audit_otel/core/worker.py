"""One background thread that does one piece of work again and again."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any
from weakref import WeakMethod

__all__ = ["Step", "Worker"]

_RETRY_S = (0.5, 15.0)  # after an exception: the first wait, and the longest

#: Does some of the work. Returns in how many seconds to call it again; None: when it is woken.
Step = Callable[[], "float | None"]


class Worker:
    """Calls a method in a daemon thread, which starts when there is work and ends when there is
    none.

    The thread does not keep the object alive whose method it is, and ends with it. No exception
    ends the thread. A forked child has a thread of its own, once it has work.

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

    def _begin(self, step: Step) -> None:
        self._process = os.getpid()
        # Neither may block the thread that holds it: a finalizer or a signal handler may wake us.
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
        """Have a thread, which begins to work in *wait* seconds.

        Returns:
            Whether there is one: not when the interpreter ends, or can have no more threads.
        """
        if self._process != os.getpid() and (step := self._step()) is not None:
            self._begin(step)
        with self._lock:
            if self._thread is None and not self._closed:
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
        """Have a thread, which works at once, or once more; returns whether there is one."""
        if not self._is_awake:
            self._is_awake = True
            self._wakes.put(None)
        return (self._process == os.getpid() and self._thread is not None) or self.start()

    def close(self) -> None:
        """Let the thread end after what it does now; there is no other one."""
        self._closed = True
        self._wakes.put(None)

    def _run(self, wait: float | None) -> None:
        delay = 0.0
        while wait is not None or not self._is_over():
            with suppress(Empty):
                self._wakes.get(bool(wait), wait)
            self._is_awake = False  # now: what is asked for from here on is done once more
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
        """True, and no thread any more, if nobody woke it since its last step began."""
        with self._lock:
            thread, self._thread = self._thread, None
            if self._wakes.empty():
                return True
            self._thread = thread
            return False
