"""Group commit: one fdatasync for all waiting calls (``durability="disk"``)."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from contextlib import suppress

from ..core.fsync import sync_data
from ..core.worker import Worker

__all__ = ["GroupCommit"]

_IDLE_S = 1.0  # the thread ends after this time without work


class GroupCommit:
    """Forces written events to stable storage, with one sync for all waiting calls.

    Calls that come while a sync runs share the next one.

    Args:
        written: Returns the number of the newest written event, and new descriptors of the
            files to force, in that order (closed here); none if it is sealed and synced. Its
            argument is True if the last sync failed: the device may then have dropped the
            data, even if it reports success for the next sync.

    Attributes:
        synced: Number of the newest event that was forced to stable storage here.
    """

    def __init__(self, written: Callable[[bool], tuple[int, list[int]]]) -> None:
        self._written = written
        self.reset()

    def reset(self) -> None:
        """Start again without a thread and waiting calls; in a forked child."""
        self._condition = threading.Condition()
        self._wanted = 0
        self.synced = 0
        self._is_idle = False
        self._error: OSError | None = None  # the newest
        self._failures = 0
        self._failed = False
        self._futures: list[tuple[int, asyncio.AbstractEventLoop, asyncio.Future[None]]] = []
        self._worker = Worker("axon-audit-commit", self._sync)

    def ask(self, number: int) -> None:
        """Have event *number* forced there soon. After a failure only waiting calls try again."""
        with self._condition:
            if not self._failed and number > self.synced:
                self._wanted = max(self._wanted, number)
                self._worker.wake()

    def forget(self, number: int) -> None:
        """Force events after *number* again: the files that held them are gone."""
        with self._condition:
            self.synced = min(self.synced, number)

    def wait_durable(self, number: int) -> None:
        """Return when event *number* is on stable storage.

        Raises:
            OSError: If the device refused.
        """
        with self._condition:
            if number <= self.synced:
                return
            self._wanted = max(self._wanted, number)
            before = self._failures
            has_thread = self._worker.wake()
        if not has_thread:  # the interpreter ends
            self._sync()
        with self._condition:
            self._condition.wait_for(lambda: self.synced >= number or self._failures > before)
            if self.synced < number and self._error is not None:
                raise self._error

    async def wait_durable_async(self, number: int) -> None:
        """Return when event *number* is on stable storage, without blocking the event loop.

        Raises:
            OSError: If the device refused.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # not an asyncio loop: we cannot await
            self.wait_durable(number)
            return
        if number <= self.synced:
            return
        future: asyncio.Future[None] = loop.create_future()  # any implementation of a loop
        with self._condition:
            if number <= self.synced:
                return
            self._wanted = max(self._wanted, number)
            self._futures.append((number, loop, future))
            has_thread = self._worker.wake()
        if not has_thread:
            self._sync()
        await future

    def _sync(self) -> float | None:
        """Force what is wanted; return the seconds to wait for more, None: the thread can end."""
        with self._condition:
            was_idle, self._is_idle = self._is_idle, self._wanted <= self.synced
            if self._is_idle:
                return None if was_idle else _IDLE_S
        try:
            number, files = self._written(self._failed)
            try:
                if not all(map(sync_data, files)):
                    raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP))
            finally:
                for file in files:
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
                self.synced = max(self.synced, number)
            else:
                self._error = error
                self._failures += 1
                self._wanted = self.synced  # the next waiting call tries again
            done = [waiter for waiter in self._futures if waiter[0] <= number]
            self._futures = [waiter for waiter in self._futures if waiter[0] > number]
            self._condition.notify_all()
        for _, loop, future in done:
            with suppress(RuntimeError):  # its loop has ended, or takes no calls from threads
                loop.call_soon_threadsafe(_resolve, future, error)


def _resolve(future: asyncio.Future[None], error: OSError | None) -> None:
    if not future.done():
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)
