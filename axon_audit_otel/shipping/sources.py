"""Events to be shipped: of an archive's writer, or of a trail that is in memory only."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol
from weakref import ReferenceType

from ..archive.cursor import Cursor
from ..archive.directory import EventFile
from ..archive.origin import Source, source_of
from ..core import semconv
from ..core.errors import InvalidEventError
from ..otlp.encoding import encode, record_of
from .acknowledgements import Acknowledgements
from .event_source import EventSource
from .unsent import SetAside, Unsent

__all__ = ["BYTES", "EVENTS", "ArchiveFeed", "Feed", "Item", "MemoryFeed", "encoded"]

EVENTS = 1000  # in a batch
BYTES = 1 << 20  # of events in a batch; as a request they are about twice as large
_YIELD = 32  # events after which other threads get their turn


class Item(NamedTuple):
    """An event to be sent.

    Attributes:
        number: Of the event.
        hash: Of the event, in hex.
        record: The log record, encoded.
        event_id: Of the event.
    """

    number: int
    hash: str
    record: bytes
    event_id: str = ""


class Feed(Protocol):
    """Events in the order of their numbers, and how far they have been acknowledged.

    Attributes:
        acknowledged: Number of the newest event that a receiver has, with all before it.
        dropped: Events that could not be sent since the last look, by reason.
    """

    acknowledged: int
    dropped: dict[str, int]

    def batch(self) -> list[Item]:
        """The next events; [] for now."""

    def acknowledge(self, item: Item) -> None:
        """A receiver has everything up to *item*, but for what was set aside."""

    def set_aside(self, entries: Sequence[SetAside]) -> None:
        """Remember events that a receiver did not take.

        Raises:
            OSError: If they cannot be written down.
        """

    def close(self) -> None:
        """Let go of it."""


def encoded(
    lines: Iterable[bytes], source: Source, dropped: dict[str, int], polite: bool = True
) -> list[Item]:
    """Events to be sent; lines that are none are counted in *dropped*."""
    found = []
    for count, line in enumerate(lines, 1):
        try:
            record = record_of(line, source)
            number = record.attributes[semconv.AUDIT_SEQUENCE_NUMBER]
            own_hash = record.attributes[semconv.AXON_AUDIT_HASH]
            event_id = record.attributes[semconv.LOG_RECORD_UID]
            found.append(Item(number, own_hash, encode(record), event_id))
        except InvalidEventError:
            dropped["unreadable"] = dropped.get("unreadable", 0) + 1
        if polite and not count % _YIELD:
            time.sleep(0)  # or the application would wait milliseconds for the interpreter
    return found


class ArchiveFeed:
    """The events of one writer, from its files.

    Args:
        directory: The archive.
        writer: Its name.
        trail: Name of the trail; "" as remembered, else that of the writer.
        unlisted: See `Cursor`.
        remember: Begin after what was acknowledged, and remember what is. Else begin after
            event *after*, and remember nothing.
        after: See *remember*.

    Raises:
        BlockingIOError: If somebody else ships them (and it is to be remembered).
        FileNotFoundError: If there are none.
        OSError: If the archive cannot be read, or nothing can be remembered in it.
    """

    def __init__(
        self,
        directory: Path,
        writer: str,
        trail: str = "",
        unlisted: Sequence[EventFile] = (),
        remember: bool = True,
        after: int = 0,
    ) -> None:
        source = source_of(directory, writer, unlisted[0].path if unlisted else None)
        if not source.stream:
            raise FileNotFoundError(2, "there is no event yet", str(directory))
        self._kept: Acknowledgements | None = None
        if remember:
            self._kept = Acknowledgements(directory, writer, source.stream, trail, unlisted)
            after, trail = self._kept.number, self._kept.trail
        self._source = Source(trail or writer, source.stream)
        self._unsent = Unsent(directory, writer, source.stream)
        self._unlisted = unlisted
        self._cursor = Cursor(directory, writer, after, unlisted)
        self._polite = True
        self.acknowledged = after
        self.dropped: dict[str, int] = {}

    def hurry(self) -> None:
        """There is no application in this process that must not wait, and no second try."""
        self._polite = False
        self._cursor.patience = 0

    def batch(self) -> list[Item]:
        lines = self._cursor.read(EVENTS, BYTES)
        for reason, count in self._cursor.lost.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count
        self._cursor.lost.clear()
        return encoded(lines, self._source, self.dropped, self._polite)

    def acknowledge(self, item: Item) -> None:
        self.acknowledged = item.number
        if self._kept is not None:
            self._kept.save(item.number, item.hash)

    def set_aside(self, entries: Sequence[SetAside]) -> None:
        if self._kept is not None:
            self._unsent.add(entries)

    def aside(self) -> Generator[Item, None, None]:
        """The events that were set aside, as far as the archive still has them, one by one: they
        may be large."""
        for line in self._unsent.lines(self._unlisted):
            yield from encoded([line], self._source, self.dropped, self._polite)

    def taken(self, numbers: Iterable[int]) -> None:
        """A receiver has the events of these numbers, which were set aside.

        Raises:
            OSError: If that cannot be written down.
        """
        if self._kept is not None:
            self._unsent.remove(numbers)

    def close(self) -> None:
        self._cursor.close()
        if self._kept is not None:
            self._kept.close()


class MemoryFeed:
    """The events of a trail that has no archive: those that leave memory before they were sent
    are dropped.

    Args:
        trail: The events of the trail.

    Attributes:
        position: Number of the newest event that was read, or missed.
    """

    def __init__(self, trail: ReferenceType[EventSource]) -> None:
        self._trail = trail
        self.position = 0
        self.acknowledged = 0
        self.dropped: dict[str, int] = {}

    def batch(self) -> list[Item]:
        trail = self._trail()
        if trail is None:
            return []
        first, lines = trail.after(self.position, EVENTS)
        if first > self.position + 1:
            lost = first - 1 - self.position
            self.dropped["queue_full"] = self.dropped.get("queue_full", 0) + lost
        self.position = first + len(lines) - 1
        return encoded(lines, Source(trail.name, trail.stream), self.dropped)

    def acknowledge(self, item: Item) -> None:
        self.acknowledged = item.number

    def set_aside(self, entries: Sequence[SetAside]) -> None:
        """They are lost with memory: only the log and the metrics name them."""

    def close(self) -> None:
        """There is nothing to let go."""
