"""A histogram whose numbers are counted here: to observe by prometheus_client takes locks and
checks for each number."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable

from prometheus_client import Histogram, Metric
from prometheus_client.samples import Exemplar, Sample

__all__ = ["CountedHistogram", "Observed"]


class Observed:
    """What was observed in one series. Not thread-safe."""

    __slots__ = ("_bounds", "counts", "exemplars", "sum")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.exemplars: list[tuple[str, float, float] | None] = [None] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, number: float, trace_id: str | None, at: float) -> None:
        """One more *number*, *at* that Unix time; its exemplar names that trace."""
        place = bisect_left(self._bounds, number)
        self.counts[place] += 1
        self.sum += number
        if trace_id is not None:
            self.exemplars[place] = trace_id, number, at


class CountedHistogram:
    """Shows what a histogram of prometheus_client shows, with the numbers counted here.

    Args:
        histogram: It has labels, and is in no registry. Nothing is observed in it.
        labels: Names of its labels.
        bounds: Those of its buckets, but the last, which has none.
    """

    def __init__(
        self, histogram: Histogram, labels: tuple[str, ...], bounds: tuple[float, ...]
    ) -> None:
        self._histogram = histogram
        self._names = labels
        self._bounds = bounds
        self._series: dict[tuple[str, ...], Observed] = {}

    def labels(self, *values: str) -> Observed:
        """The series with these labels."""
        self._histogram.labels(*values)
        return self._series.setdefault(values, Observed(self._bounds))

    def describe(self) -> Iterable[Metric]:
        """Its name."""
        found: Iterable[Metric] = self._histogram.describe()
        return found

    def collect(self) -> Iterable[Metric]:
        """The samples for a scrape, as they are now."""
        found: list[Metric] = list(self._histogram.collect())
        for metric in found:
            metric.samples = list(map(self._counted, metric.samples))
        return found

    def _counted(self, sample: Sample) -> Sample:
        """*sample*, which is 0 there, as it is here."""
        one = self._series[tuple(map(sample.labels.__getitem__, self._names))]
        if sample.name.endswith("_bucket"):
            place = bisect_left(self._bounds, float(sample.labels["le"]))
            upto, last = float(sum(one.counts[: place + 1])), one.exemplars[place]
            exemplar = None if last is None else Exemplar({"trace_id": last[0]}, *last[1:])
            return sample._replace(value=upto, exemplar=exemplar)
        if sample.name.endswith("_count"):
            return sample._replace(value=float(sum(one.counts)))
        return sample._replace(value=one.sum) if sample.name.endswith("_sum") else sample
