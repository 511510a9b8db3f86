"""Quantiles of very many numbers in little memory: counts by logarithm."""

from __future__ import annotations

from collections.abc import Callable
from itertools import accumulate
from math import exp, floor, log

__all__ = ["Sketch", "between_ranks"]

#: What a quantile is off by at most, as a share of its exact value.
RELATIVE_ERROR = 0.01
_WIDTH = 0.0198  # of a bucket, in logarithms: its middle is 0.995 % off at most
_LEAST, _MOST = 1e-6, floor(log(1e15) / _WIDTH)
_ZERO = floor(log(_LEAST) / _WIDTH) - 1


class Sketch:
    """How often numbers of about the same size came; not thread-safe.

    A number falls into a bucket by its logarithm, as in DDSketch (Masson, Rim, Lee; 2019):
    from 0.000001 to 1e15 these are 2,443 buckets, and only those that hold something take
    memory. Smaller numbers count as 0, and none is taken for more than the greatest.
    """

    __slots__ = ("_buckets", "_greatest", "_least", "count", "total")

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._buckets: dict[int, int] = {}
        self._least, self._greatest = float("inf"), 0.0

    def add(self, number: float) -> None:
        """Count *number*, which is 0 or more."""
        self.count += 1
        self.total += number
        if number < self._least:
            self._least = number
        if number > self._greatest:
            self._greatest = number
        place = floor(log(number) / _WIDTH) if number >= _LEAST else _ZERO
        buckets = self._buckets
        try:
            buckets[place] += 1
        except KeyError:
            place = min(place, _MOST)
            buckets[place] = buckets.get(place, 0) + 1

    def quantiles(self, *shares: float) -> list[float]:
        """The quantiles of *shares* (0 to 1), each within `RELATIVE_ERROR` of the exact one,
        which is linear between the two nearest ranks; 0 without numbers."""
        places = sorted(self._buckets)
        upto = list(accumulate(self._buckets[place] for place in places))

        def at(rank: int) -> float:
            place = next(p for p, count in zip(places, upto) if count > rank)
            middle = 0.0 if place == _ZERO else exp((place + 0.5) * _WIDTH)
            return min(max(middle, self._least), self._greatest)

        return [between_ranks(at, self.count, share) if upto else 0.0 for share in shares]


def between_ranks(at: Callable[[int], float], count: int, share: float) -> float:
    """The quantile *share* of *count* numbers, of which *at* gives the one of a rank (from 0):
    linear between the two nearest ranks."""
    place = share * (count - 1)
    rank = int(place)
    below, above = at(rank), at(min(rank + 1, count - 1))
    return below + (above - below) * (place - rank)
