"""A chain whose events come in any order: which are there, and do they fit."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import NamedTuple

__all__ = ["Place", "Sequence"]

_BITS = 6  # of the numbers of events whose hashes are held together: 64
_ALTERED = 10_000  # events known to be altered that are remembered


class Place(NamedTuple):
    """An event's place in its chain.

    Attributes:
        number: From 1.
        previous: Hash of the event before, hex; None on the first.
        hash: Its own, hex.
    """

    number: int
    previous: str | None
    hash: str


class _Run(NamedTuple):
    """Events that follow on each other."""

    first: Place
    last: Place


class Sequence:
    """The events of one chain.

    Args:
        breaks: Called with the number of an event that does not continue the one before it.
    """

    def __init__(self, breaks: Callable[[int], None]) -> None:
        self._breaks = breaks
        self._hashes: dict[int, array[int]] = {}  # the first 64 bits of each event's
        self._begins: dict[int, _Run] = {}  # runs by the number of their first event
        self._ends: dict[int, _Run] = {}  # and of their last
        self._altered: set[int] = set()
        self.count = 0
        self.highest = 0

    def known(self, number: int) -> int:
        """The first 64 bits of the hash of event *number*; 0 if it is not there."""
        block = self._hashes.get(number >> _BITS)
        return 0 if block is None else block[number & (1 << _BITS) - 1]

    def is_same(self, place: Place) -> bool:
        """True if the event with that number is the one at *place*."""
        return self.known(place.number) == _short(place.hash)

    def altered(self, number: int) -> bool:
        """Remember that event *number* is altered; returns True if that is new."""
        if number in self._altered:
            return False
        if len(self._altered) < _ALTERED:
            self._altered.add(number)
        return True

    def add(self, place: Place) -> None:
        """Add an event that was not there."""
        number = place.number
        self._remember(place)
        run = _Run(place, place)
        before = self._ends.pop(number - 1, None)
        if before is not None:
            del self._begins[before.first.number]
            self._check(before.last, place)
            run = _Run(before.first, place)
        after = self._begins.pop(number + 1, None)
        if after is not None:
            del self._ends[after.last.number]
            self._check(place, after.first)
            run = _Run(run.first, after.last)
        if number == 1 and place.previous is not None and self.altered(1):
            self._breaks(1)
        self._begins[run.first.number] = self._ends[run.last.number] = run

    def _remember(self, place: Place) -> None:
        block = self._hashes.get(place.number >> _BITS)
        if block is None:
            block = self._hashes[place.number >> _BITS] = array("Q", bytes(8 << _BITS))
        block[place.number & (1 << _BITS) - 1] = _short(place.hash)
        self.count += 1
        self.highest = max(self.highest, place.number)

    def _check(self, before: Place, after: Place) -> None:
        fits = after.previous == before.hash
        if not fits and before.number not in self._altered and self.altered(after.number):
            self._breaks(after.number)

    def missing(self) -> list[tuple[int, int]]:
        """The ranges of numbers, from 1 to the highest, that no event has."""
        holes, expected = [], 1
        for first in sorted(self._begins):
            if first > expected:
                holes.append((expected, first - 1))
            expected = self._begins[first].last.number + 1
        return holes


def _short(digest: str) -> int:
    return int(digest[:16], 16) or 1
