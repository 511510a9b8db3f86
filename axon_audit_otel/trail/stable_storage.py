"""Waiting for stable storage (``durability="disk"``)."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import Protocol

from ..archive.group_commit import GroupCommit
from ..archive.journal import JournalChangedError
from ..archive.writer import ArchiveWriter
from .trail_lock import Lock, require_free

__all__ = ["StableStorage"]


class _Keeper(Protocol):
    """The archive's keeper, as far as waiting for it goes."""

    writer: ArchiveWriter | None
    why: str
    archived: int

    @property
    def newest(self) -> int: ...

    @property
    def waits(self) -> bool: ...


class StableStorage:
    """Forces what is in files to stable storage, for whoever waits for that.

    Every wait raises `OSError` if the device refused, and in the middle of a change of the trail
    (by a signal handler or a finalizer).

    Args:
        keeper: Has the events in files; owns this.
        lock: Guards these.
        intents: True if operations wait for their intents as well.
    """

    def __init__(self, keeper: _Keeper, lock: Lock, intents: bool) -> None:
        self._keeper = keeper
        self._lock = lock
        self._events = GroupCommit(self._events_files)
        self._intents = GroupCommit(self._intents_files) if intents else None

    def begin(self) -> None:
        """Begin anew, without waiters (a forked child)."""
        self._events.reset()
        if self._intents is not None:
            self._intents.reset()

    @property
    def durable(self) -> int:
        """The number of the newest event that is on stable storage.

        What nobody waits for (an event about the trail itself) is forced there from here.
        """
        writer, archived = self._keeper.writer, self._keeper.archived
        number = max(self._events.synced, 0 if writer is None else writer.sealed.through)
        if number < archived:
            self._events.ask(archived)
        return number

    def forget(self, number: int) -> None:
        """Force events after *number* again: their old bytes on the device are gone."""
        self._events.forget(number)

    async def wait(self) -> None:
        """Wait for every event so far."""
        require_free(self._lock)
        await self._events.wait_durable_async(self._keeper.newest)

    def wait_now(self) -> None:
        """Wait for every event so far, without an event loop."""
        require_free(self._lock)
        self._events.wait_durable(self._keeper.newest)

    async def wait_intents(self) -> None:
        """Wait for every intent so far, if operations wait for intents."""
        if self._intents is not None and self._keeper.writer is not None:
            require_free(self._lock)
            await self._intents.wait_durable_async(self._keeper.writer.intents.count)

    def wait_intents_now(self) -> None:
        """Wait for every intent so far, without an event loop."""
        if self._intents is not None and self._keeper.writer is not None:
            require_free(self._lock)
            self._intents.wait_durable(self._keeper.writer.intents.count)

    def _writer(self) -> ArchiveWriter:
        if self._keeper.writer is None:
            raise OSError(errno.EIO, self._keeper.why or "the archive is not open")
        return self._keeper.writer

    def _events_files(self, failed: bool) -> tuple[int, list[int]]:
        """For the group commit: the newest event in a file, and what is to be forced."""
        with self._lock:
            writer = self._writer()
            if self._keeper.waits:
                raise OSError(errno.EIO, self._keeper.why)
            if failed:
                writer.renew()
            return self._keeper.archived, writer.duplicates()

    def _intents_files(self, failed: bool) -> tuple[int, list[int]]:
        """For the group commit: the newest intent, and its file."""
        with self._lock:
            writer = self._writer()
            if failed:
                with suppress(JournalChangedError):  # the next event finds that out
                    writer.renew()
            file = writer.intents.duplicate()
            return writer.intents.count, [] if file < 0 else [file]
