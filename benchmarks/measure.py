"""Runs rounds of interleaved batches, and computes the ratios within them."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

from .cases import Comparison, Group, Scale, Times


@dataclass
class Line:
    """One comparison and its rounds."""

    comparison: Comparison
    ours: list[float]
    reference: list[float]

    @property
    def key(self) -> str:
        """The identity of the line."""
        return f"{self.comparison.name} | {self.comparison.versus}"

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.reference)
        if self.comparison.faster:
            return [reference / ours for ours, reference in pairs]
        return [ours / reference for ours, reference in pairs]

    @property
    def met(self) -> bool | None:
        comparison = self.comparison
        if comparison.limit is None:
            return None
        if comparison.faster:
            return median(self.ratios) >= comparison.limit
        return median(self.ours if comparison.absolute else self.ratios) <= comparison.limit

    @property
    def target(self) -> str:
        comparison = self.comparison
        if comparison.limit is None:
            return ""
        sign = ">=" if comparison.faster else "<="
        unit = f" {comparison.unit}" if comparison.absolute else ""
        return f"{sign} {comparison.limit:,g}{unit}"

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.comparison.name,
            "versus": self.comparison.versus,
            "unit": self.comparison.unit,
            "faster": self.comparison.faster,
            "ours": [round(value, 3) for value in self.ours],
            "reference": [round(value, 3) for value in self.reference],
            "median": round(median(self.ratios), 4),
            "min": round(min(self.ratios), 4),
            "max": round(max(self.ratios), 4),
            "target": self.target,
            "met": self.met,
        }


def lines(comparisons: list[Comparison], times: list[Times]) -> list[Line]:
    """The comparisons, with the times of every round."""
    return [
        Line(one, [one.ours(t) for t in times], [one.reference(t) for t in times])
        for one in comparisons
    ]


def timed(make: Callable[[Scale], Awaitable[Group]], scale: Scale) -> list[Line]:
    """Measure a group of batches."""
    return asyncio.run(_timed(make, scale))


async def _timed(make: Callable[[Scale], Awaitable[Group]], scale: Scale) -> list[Line]:
    group = await make(scale)
    gc.collect()
    if group.collects:
        gc.unfreeze()
    else:
        gc.freeze()  # objects that exist now are not part of any batch
    for batch in group.batches.values():
        await batch(group.size)
    turns = min(group.turns, 3) if scale.quick else group.turns
    times = [await _one_round(group, number, turns) for number in range(scale.rounds)]
    group.done()
    return lines(group.comparisons, times)


async def _one_round(group: Group, number: int, turns: int) -> Times:
    """Microseconds an operation, by batch; each batch takes its turn, in changing order."""
    seen: dict[str, list[float]] = {name: [] for name in group.batches}
    names = list(group.batches)
    for turn in range(turns):
        shift = (number + turn) % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            seconds = await group.batches[name](group.size)
            seen[name].append(1e6 * seconds / group.size)
    return {name: median(values) for name, values in seen.items()}
