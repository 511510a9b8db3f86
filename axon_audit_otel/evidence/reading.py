"""Reads an archive once for a report: verifies it, and counts what is of the period meanwhile."""

from __future__ import annotations

from typing import Protocol

from ..core.time import FIRST_US, to_microseconds
from ..events.model import AuditEvent, OperationType
from ..privacy.policy import PrivacyPolicy
from .alarms import WARM_UP_US
from .period import Period
from .trail_period import TrailPeriod

__all__ = ["Part", "Reading"]

_AUDIT = OperationType.AUDIT


class Part(Protocol):
    """Takes the events of the period, of one trail after the other, each in its order."""

    def take(self, writer: str, events: list[AuditEvent]) -> None:
        """Take some events."""


class Reading:
    """The observer of a verification: what it reads goes to the parts of a report.

    Args:
        period: The period.
        policy: Makes events readable.
        decrypt: Give the parts events that are readable, as far as there are keys.
        parts: Take the events of the period.
        near: Take these, and the events up to `WARM_UP_US` before it.
        past: Takes what the trail says of itself (AUDIT), up to the end of the period.

    Attributes:
        trails: What each trail has of the period, by writer.
    """

    def __init__(
        self,
        period: Period,
        policy: PrivacyPolicy,
        decrypt: bool,
        parts: list[Part],
        near: list[Part],
        past: list[Part],
    ) -> None:
        self._period = period
        self._policy = policy
        self._decrypt = decrypt and policy.encrypts
        self._parts = parts
        self._near = near
        self._past = past
        self._begin = period.start_us - WARM_UP_US
        self.trails: dict[str, TrailPeriod] = {}

    def __call__(self, writer: str, events: list[AuditEvent], hashes: list[bytes]) -> None:
        """Take the next events of a trail."""
        trail = self.trails.get(writer)
        if trail is None:
            trail = self.trails[writer] = TrailPeriod(writer, self._period)
        times = [event.timestamp for event in events]
        first, last = min(times), max(times)
        found = trail.take(events, hashes, (first, last))
        low, high = to_microseconds(first), to_microseconds(last)
        if low > self._period.end_us:
            return
        told = [event for event in events if event.operation is _AUDIT]
        self._take(self._past, writer, self._between(FIRST_US, told))
        if high >= self._begin:
            is_inside = len(found) == len(events)
            near = found if is_inside else self._between(self._begin, events)
            self._take(self._near, writer, near)
        self._take(self._parts, writer, found)

    def _between(self, begin: int, events: list[AuditEvent]) -> list[AuditEvent]:
        """Those of *events* from *begin* to the end of the period."""
        end = self._period.end_us
        return [event for event in events if begin <= to_microseconds(event.timestamp) <= end]

    def _take(self, parts: list[Part], writer: str, events: list[AuditEvent]) -> None:
        if events:
            if self._decrypt:
                events = list(self._policy.readable(events))
            for part in parts:
                part.take(writer, events)
