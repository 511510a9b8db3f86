"""Quantiles of very many numbers in little memory: counts by logarithm."""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import ceil, exp, floor, log

__all__ = ["RELATIVE_ERROR", "Sketch"]

#: What a quantile is off by at most, as a share of its exact value.
RELATIVE_ERROR = 0.01
_WIDTH = 0.0198  # of a bucket, in logarithms: its middle is 0.995 % off at most
_LEAST, _MOST = 1e-6, floor(log(1e15) / _WIDTH)
_ZERO = floor(log(_LEAST) / _WIDTH) - 1


class Sketch:
    """Counts numbers of about the same size together; not thread-safe.

    A number falls into a bucket by its logarithm, as in DDSketch (Masson, Rim, Lee; 2019):
    from 0.000001 to 1e15 these are 2,443 buckets, and only those that hold something take
    memory. Smaller numbers count as 0, and none is taken for more than the greatest.
    """

    __slots__ = ("_buckets", "_greatest", "_least", "total")

    def __init__(self) -> None:
        self.total = 0.0
        self._buckets: dict[int, int] = {}
        self._least, self._greatest = float("inf"), 0.0

    @property
    def count(self) -> int:
        """How many were counted: in one place, so that a signal handler's exception between two
        steps of `add` leaves nothing that does not fit together."""
        return sum(self._buckets.values())

    def add(self, number: float) -> None:
        """Count *number*, which is 0 or more."""
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
        """For each of *shares* (0 to 1) a number that so many are not above, and no more than
        must be: off by `RELATIVE_ERROR` at most. 0 without numbers."""
        places = sorted(self._buckets)
        upto = list(accumulate(self._buckets[place] for place in places))
        if not places:
            return [0.0] * len(shares)
        ranks = [max(1, ceil(share * upto[-1])) for share in shares]
        return [self._about(places[bisect_left(upto, rank)]) for rank in ranks]

    def _about(self, place: int) -> float:
        """The value that stands for the numbers of a bucket."""
        middle = 0.0 if place == _ZERO else exp((place + 0.5) * _WIDTH)
        return min(max(middle, self._least), self._greatest)
