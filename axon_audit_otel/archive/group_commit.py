"""Group commit: one fdatasync for all who wait (``durability="disk"``)."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from ..core.files import sync_data
from ..core.worker import Worker

__all__ = ["GroupCommit"]

_IDLE_S = 1.0  # how long the thread stays when nobody waits


class GroupCommit:
    """Forces what was written to stable storage, once for everybody who waits.

    While one sync runs, whoever comes waits for the next: the more callers, the fewer syncs
    each of them costs.

    Args:
        written: Gives the number of the newest event written, and a new descriptor of the
            file that holds it (to be closed here), or -1 where that is sealed and synced. Its
            argument is whether the sync before failed: what was to be synced is then lost to
            the device, whatever that says of the next sync.
    """

    def __init__(self, written: Callable[[bool], tuple[int, int]]) -> None:
        self._written = written
        self.reset()

    def reset(self) -> None:
        """Begin anew, without a thread and waiters (a forked child)."""
        self._condition = threading.Condition()
        self._wanted = 0
        self._synced = 0
        self._is_idle = False
        self._error: OSError | None = None  # the newest
        self._failures = 0
        self._failed = False
        self._futures: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._worker = Worker("axon-audit-commit", self._sync)

    @property
    def synced(self) -> int:
        """Number of the newest event that was forced to stable storage here."""
        return self._synced

    def ask(self, number: int) -> None:
        """Have event *number* forced there soon; after a failure whoever waits tries again."""
        with self._condition:
            if not self._failed and number > self._synced:
                self._wanted = max(self._wanted, number)
                self._worker.wake()

    def forget(self, number: int) -> None:
        """Force again what comes after event *number*: the files that held it are gone."""
        with self._condition:
            self._synced = min(self._synced, number)

    def wait_durable(self, number: int) -> None:
        """Return when event *number* is on stable storage.

        Raises:
            OSError: If the device refused.
        """
        with self._condition:
            if number <= self._synced:
                return
            self._wanted = max(self._wanted, number)
            before = self._failures
            has_thread = self._worker.wake()
        if not has_thread:  # the program ends
            self._sync()
        with self._condition:
            self._condition.wait_for(lambda: self._synced >= number or self._failures > before)
            if self._synced < number and self._error is not None:
                raise self._error

    async def wait_durable_async(self, number: int) -> None:
        """Return when event *number* is on stable storage, without blocking the event loop.

        Raises:
            OSError: If the device refused.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # another framework's, or none: nothing that we could await
            self.wait_durable(number)
            return
        if number <= self._synced:
            return
        future: asyncio.Future[None] = loop.create_future()  # by the loop, which may be anybody's
        with self._condition:
            if number <= self._synced:
                return
            self._wanted = max(self._wanted, number)
            self._futures.append((number, loop, future))
            has_thread = self._worker.wake()
        if not has_thread:
            self._sync()
        await future

    def _sync(self) -> float | None:
        """Force what is wanted; returns how long the thread shall wait, None: it shall end."""
        with self._condition:
            was_idle, self._is_idle = self._is_idle, self._wanted <= self._synced
            if self._is_idle:
                return None if was_idle else _IDLE_S
        try:
            number, file = self._written(self._failed)
            if file >= 0:
                try:
                    if not sync_data(file):
                        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
                finally:
                    os.close(file)
        except OSError as exc:
            self._failed = True
            self._finish(self._wanted, exc)
        else:
            self._failed = False
            self._finish(number, None)
        return 0.0

    def _finish(self, number: int, error: OSError | None) -> None:
        with self._condition:
            if error is None:
                self._synced = max(self._synced, number)
            else:
                self._error = error
                self._failures += 1
                self._wanted = self._synced  # the next who waits asks again
            done = [waiter for waiter in self._futures if waiter[0] <= number]
            self._futures = [waiter for waiter in self._futures if waiter[0] > number]
            self._condition.notify_all()
        for _, loop, future in done:
            with suppress(Exception):  # its loop has ended, or takes no calls from other threads
                loop.call_soon_threadsafe(_resolve, future, error)


def _resolve(future: asyncio.Future[None], error: OSError | None) -> None:
    if not future.done():
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
