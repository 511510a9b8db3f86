"""What one trail has of a period: which events, between which numbers, and what is not there."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ..core.time import format_time, to_microseconds
from ..events.model import AuditEvent
from .period import Period

__all__ = ["Hole", "TrailPeriod", "event_facts"]

_HOLES = 1000  # that are listed; further ones are counted


class Hole(NamedTuple):
    """Numbers of a trail without an event here, which may be of the period.

    Attributes:
        first: The first of them.
        last: The last.
    """

    first: int
    last: int


@dataclass
class TrailPeriod:
    """The events of one trail in a period, as they are read one after the other.

    Attributes:
        writer: Its name.
        period: The period.
        events: How many are in the period.
        first: The first of these; None without any.
        first_hash: What it says is the hash of the event before it.
        last: The last of these.
        last_hash: Its own hash, which binds every event before it.
        began: The earliest time of any of its events; None before the first.
        has_its_begin: True if its first event is among them.
        read: Events that were read, of any time.
        holes: Numbers without an event.
        more_holes: Of those that are not listed, how many.
    """

    writer: str
    period: Period
    events: int = 0
    first: AuditEvent | None = None
    first_hash: str | None = None
    last: AuditEvent | None = None
    last_hash: str = ""
    began: datetime | None = None
    has_its_begin: bool = False
    read: int = 0
    holes: list[Hole] = field(default_factory=list)
    more_holes: int = 0
    _read_until_first: int = 0
    _read_until_last: int = 0
    _number: int = 0  # of the event that was read last
    _moment: int | None = None  # its time

    def take(
        self, events: list[AuditEvent], hashes: list[bytes], times: tuple[datetime, datetime]
    ) -> list[AuditEvent]:
        """Take the next events of the trail; returns those of the period.

        Args:
            events: The events, as they follow each other in the files.
            hashes: Their hashes.
            times: The earliest and the latest of their times.
        """
        self.began = times[0] if self.began is None else min(self.began, times[0])
        self.has_its_begin = self.has_its_begin or events[0].sequence == 1
        low, high = map(to_microseconds, times)
        period = self.period
        self._find_holes(events)
        if period.start_us <= low and high <= period.end_us:
            self._count(events[0], events[-1], hashes[-1], len(events), 1, len(events))
            found = events
        elif high < period.start_us or low > period.end_us:
            found = []
        else:
            found = self._one_by_one(events, hashes)
        self.read += len(events)
        return found

    def _one_by_one(self, events: list[AuditEvent], hashes: list[bytes]) -> list[AuditEvent]:
        found = []
        for place, (event, hash_) in enumerate(zip(events, hashes), 1):
            if event.timestamp in self.period:
                self._count(event, event, hash_, 1, place, place)
                found.append(event)
        return found

    def _count(
        self, first: AuditEvent, last: AuditEvent, hash_: bytes, number: int, begin: int, end: int
    ) -> None:
        """Count events of the period: the first and the last, and their places in what is read."""
        if self.first is None:
            self.first, self.first_hash = first, first.previous_hash
            self._read_until_first = self.read + begin
        self.last, self.last_hash = last, hash_.hex()
        self._read_until_last = self.read + end
        self.events += number

    def _find_holes(self, events: list[AuditEvent]) -> None:
        first, last = events[0], events[-1]
        if first.sequence == self._number + 1 and last.sequence - self._number == len(events):
            self._number, self._moment = last.sequence, to_microseconds(last.timestamp)
            return
        for event in events:
            moment = to_microseconds(event.timestamp)
            if event.sequence > self._number + 1:
                is_before = moment < self.period.start_us
                is_after = self._moment is not None and self._moment > self.period.end_us
                if not (is_before or is_after):
                    self._add(Hole(self._number + 1, event.sequence - 1))
            if event.sequence > self._number:
                self._number, self._moment = event.sequence, moment

    def _add(self, hole: Hole) -> None:
        if len(self.holes) < _HOLES:
            self.holes.append(hole)
        else:
            self.more_holes += 1

    # --- what it amounts to -------------------------------------------------------------------

    @property
    def between(self) -> int:
        """Events between the first and the last of the period, which are of another time."""
        if self.first is None:
            return 0
        return self._read_until_last - self._read_until_first + 1 - self.events

    @property
    def span(self) -> tuple[int, int] | None:
        """The numbers that are of the period, or may be; None without any."""
        numbers = [(hole.first, hole.last) for hole in self.holes]
        if self.first is not None and self.last is not None:
            numbers.append((self.first.sequence, self.last.sequence))
        if not numbers:
            return None
        return min(first for first, _ in numbers), max(last for _, last in numbers)

    def touches(self, first: int, last: int) -> bool:
        """True if one of the numbers from *first* to *last* is of the period, or may be."""
        span = self.span
        return span is not None and first <= span[1] and last >= span[0]

    def told_in(self, number: int) -> bool:
        """True if what event *number* tells may have happened in the period: it, or the event
        before it, is of the period."""
        return self.touches(number - 1, number)


def event_facts(event: AuditEvent) -> dict[str, Any]:
    """Which event it is, as JSON types."""
    moment = format_time(to_microseconds(event.timestamp))
    return {"sequence": event.sequence, "event_id": event.event_id, "timestamp": moment}
