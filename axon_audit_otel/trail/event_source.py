"""Gives the events of a trail to shipping."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .archive_keeper import ArchiveKeeper
from .buffer import Buffer
from .outlet import Outlet
from .trail_lock import Lock

__all__ = ["TrailSource"]


class TrailSource:
    """The events of a trail, as the `EventSource` that shipping asks; see there."""

    def __init__(
        self,
        name: str,
        buffer: Buffer,
        lock: Lock,
        keeper: ArchiveKeeper | None,
        outlet: Outlet,
    ) -> None:
        self.name = name
        self.stream = ""
        self._buffer = buffer
        self._lock = lock
        self._keeper = keeper
        self._outlet = outlet

    @property
    def provider(self) -> Any:
        return self._outlet.provider

    @property
    def archives(self) -> bool:
        return self._keeper is not None

    @property
    def location(self) -> tuple[Path, str] | None:
        writer = None if self._keeper is None else self._keeper.writer
        return None if writer is None else (writer.directory, writer.name)

    @property
    def durable(self) -> int | None:
        storage = None if self._keeper is None else self._keeper.storage
        return None if storage is None else storage.durable

    @property
    def newest(self) -> int:
        return self._buffer.next - 1

    def after(self, number: int, count: int) -> tuple[int, list[bytes]]:
        with self._lock:
            first = max(self._buffer.first, number + 1)
            return first, self._buffer.lines(range(first, min(first + count, self._buffer.next)))
