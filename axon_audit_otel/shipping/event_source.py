"""The interface through which shipping reads a trail."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

__all__ = ["EventSource"]


class EventSource(Protocol):
    """The events of a trail, of which the newest are in memory."""

    @property
    def name(self) -> str:
        """The trail's name."""

    @property
    def stream(self) -> str:
        """An id that no other trail has; "" before the first event."""

    @property
    def provider(self) -> Any:
        """The logger provider that the trail's records go through; None: none."""

    @property
    def archives(self) -> bool:
        """True if it has an archive."""

    @property
    def location(self) -> tuple[Path, str] | None:
        """The directory and the writer of its archive; None where that is not open."""

    @property
    def durable(self) -> int | None:
        """The number of the newest event that may be sent; None: all may."""

    @property
    def newest(self) -> int:
        """The number of the newest event."""

    def after(self, number: int, count: int) -> tuple[int, list[bytes]]:
        """The next events in memory after event *number*, at most *count*, and the first's number.

        It is higher than *number* + 1 where those between have left memory.
        """
