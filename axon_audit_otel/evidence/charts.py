"""The shapes of a chart: columns of stacked parts, in percent of its width and height.

The macro `chart` of `templates/macros.html` draws them as SVG, and puts the numbers below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

__all__ = ["Chart", "stacked"]

_LABELS = 6  # of columns, at most
_COLOURS = 6  # that the style sheet has
_GAP = 0.2  # of the width of a column


class Part(NamedTuple):
    """A part of a column: the place of its series among the colours, and where it is."""

    series: int
    name: str
    number: int
    y: float
    height: float


class Column(NamedTuple):
    """A column: its parts from the bottom up; *tick* is the label below it, or empty; where there
    is little room, *minor* ones are not shown."""

    label: str
    tick: str
    minor: bool
    x: float
    width: float
    parts: list[Part]

    @property
    def middle(self) -> float:
        return round(self.x + self.width / 2, 3)


class Chart(NamedTuple):
    """Columns, the names of their parts, and lines across: (y, number)."""

    columns: list[Column]
    names: list[str]
    lines: list[tuple[float, int]]

    def header(self, unit: str) -> list[tuple[str, str]]:
        """The headings of `rows`, and the kinds of what is below them."""
        return [(unit, "text"), *((name, "number") for name in self.names)]

    def rows(self) -> list[list[str | int]]:
        """The numbers, as rows of a table: a label, and a number for each name; none where all
        of them are 0."""
        rows = ((one.label, [part.number for part in one.parts]) for one in self.columns)
        return [[label, *numbers] for label, numbers in rows if any(numbers)]


def stacked(
    labels: Sequence[str], series: Mapping[str, Sequence[int]], ticks: Sequence[str] | None = None
) -> Chart:
    """A chart with a column for each of *labels*.

    Args:
        labels: What the columns are, such as days.
        series: For each name a number (0 or more) for each label. Of more names than there are
            colours the last become ``other``.
        ticks: Short forms of *labels*, for the axis.
    """
    series = _joined(series)
    names = list(series)
    totals = [sum(numbers) for numbers in zip(*series.values())] or [0] * len(labels)
    top = _above(max(totals, default=0))
    step = 100 / (len(labels) or 1)
    every = -(-len(labels) // _LABELS) or 1
    columns = []
    for at, label in enumerate(labels):
        tick = (ticks or labels)[at] if at % every == 0 else ""
        x, width = at * step + step * _GAP / 2, step * (1 - _GAP)
        parts = _parts([(name, series[name][at]) for name in names], top)
        columns.append(
            Column(label, tick, at // every % 2 == 1, round(x, 3), round(width, 3), parts)
        )
    return Chart(columns, names, [(0.0, top), (50.0, top // 2), (100.0, 0)])


def _joined(series: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    if len(series) <= _COLOURS:
        return dict(series)
    names = list(series)
    kept = {name: series[name] for name in names[: _COLOURS - 1]}
    rest = [sum(numbers) for numbers in zip(*(series[name] for name in names[_COLOURS - 1 :]))]
    return {**kept, "other": rest}


def _above(number: int) -> int:
    """The first of 2, 4, 6, 8, 10, 20, 40, ... that is not below *number*."""
    power = 1
    while True:
        for digit in (2, 4, 6, 8, 10):
            if digit * power >= number:
                return digit * power
        power *= 10


def _parts(numbers: list[tuple[str, int]], top: int) -> list[Part]:
    parts, bottom = [], 100.0
    for at, (name, number) in enumerate(numbers):
        height = 100 * number / top
        bottom -= height
        parts.append(Part(at + 1, name, number, round(bottom, 3), round(height, 3)))
    return parts
