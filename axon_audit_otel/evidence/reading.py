"""Reads an archive once for a report: verifies it, and counts what is of the period meanwhile."""

from __future__ import annotations

from typing import Protocol

from ..core.time import to_microseconds
from ..events.model import AuditEvent, OperationType
from ..privacy.policy import PrivacyPolicy
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
        past: list[Part],
    ) -> None:
        self._period = period
        self._policy = policy
        self._decrypt = decrypt and policy.encrypts
        self._parts = parts
        self._past = past
        self.trails: dict[str, TrailPeriod] = {}

    def __call__(self, writer: str, events: list[AuditEvent], hashes: list[bytes]) -> None:
        """Take the next events of a trail."""
        trail = self.trails.get(writer)
        if trail is None:
            trail = self.trails[writer] = TrailPeriod(writer, self._period)
        times = [event.timestamp for event in events]
        first, last = min(times), max(times)
        found = trail.take(events, hashes, (first, last))
        if to_microseconds(first) <= self._period.end_us:
            told = [event for event in events if event.operation is _AUDIT]
            told = [e for e in told if to_microseconds(e.timestamp) <= self._period.end_us]
            if told:
                for part in self._past:
                    part.take(writer, told)
        if found:
            if self._decrypt:
                found = list(self._policy.readable(found))
            for part in self._parts:
                part.take(writer, found)
