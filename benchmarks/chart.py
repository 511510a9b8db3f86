"""Draws the chart of ``results.json`` as SVG, readable on white and on black."""

from __future__ import annotations

from math import log10
from statistics import median
from typing import Any
from xml.sax.saxutils import escape

_WIDTH, _LABELS, _BARS, _ROW = 880, 370, 300, 20
_TEXT, _RULE = "#7d8590", "#7d859066"
_OURS, _OTHERS, _MET, _MISSED = "#2f81f7", "#9aa4b0", "#3fa45b", "#d9822b"

Bar = tuple[str, float, str, str]  # label, length, text beside it, colour


def svg(results: dict[str, Any]) -> str:
    """The targets, and the cost of recording an event in other packages."""
    parts: list[str] = []
    y = 24
    for title, bars, mark in (
        ("Targets: measured / target (the line), logarithmic", _targets(results), 1.0),
        (
            "CPU time to record one event: ours in blue; most others without index, chain, metrics",
            _peers(results),
            None,
        ),
    ):
        parts.append(_text(0, y, title, bold=True))
        drawn, y = _panel(bars, y + 10, mark)
        parts += [*drawn]
        y += 30
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y - 24}"'
        f' width="{_WIDTH}" font-family="system-ui, sans-serif" font-size="12" fill="{_TEXT}">\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _targets(results: dict[str, Any]) -> list[Bar]:
    """Every line that has a target."""
    bars = []
    aimed = [line for line in results["lines"] if line["target"]]
    names = [line["name"] for line in aimed]
    for line in aimed:
        name = line["name"]
        if names.count(name) > 1:
            name += f" / {line['versus'].partition(',')[0].partition(' (')[0]}"
        sign, number, *unit = line["target"].split()
        limit = float(number.replace(",", ""))
        value = median(line["ours"]) if unit else line["median"]
        part = limit / value if sign == ">=" else value / limit
        part = max(part, 0.01)  # where the axis begins
        words = f"{_number(value)} {unit[0] if unit else 'x'} ({sign} {number})"
        bars.append((name, part, words, _MET if line["met"] else _MISSED))
    return bars


def _peers(results: dict[str, Any]) -> list[Bar]:
    """The cost of one event in this package and in each of the others, cheapest first."""
    costs: dict[str, tuple[float, str]] = {}
    for line in results["lines"]:
        if line["name"] in ("log_event", "log_event, archived", "log_event, against a log line"):
            name = line["name"].removesuffix(", against a log line")
            costs[name] = (median(line["ours"]), _OURS)
            costs[line["versus"]] = (median(line["reference"]), _OTHERS)
    if not costs:
        return []
    ours = costs["log_event"][0]
    return [
        (name, cost, f"{_number(cost)} us, {_number(cost / ours)} x", colour)
        for name, (cost, colour) in sorted(costs.items(), key=lambda item: item[1])
    ]


def _panel(bars: list[Bar], y: int, mark: float | None) -> tuple[list[str], int]:
    """The bars below each other from *y* on, and where they end; a line at *mark*."""
    if not bars:
        return [], y
    lengths = [length for _, length, _, _ in bars] + ([mark] if mark is not None else [])
    low = log10(min(lengths)) - 0.15
    scale = _BARS / (log10(max(lengths)) - low)
    parts = []
    top = y
    for label, length, words, colour in bars:
        wide = (log10(length) - low) * scale
        parts += [
            _text(_LABELS - 8, y + 14, label, end=True),
            f'<rect x="{_LABELS}" y="{y + 4}" width="{wide:.1f}" height="{_ROW - 7}" rx="2"'
            f' fill="{colour}"/>',
            _text(_LABELS + _BARS + 12, y + 14, words),
        ]
        y += _ROW
    if mark is not None:
        x = _LABELS + (log10(mark) - low) * scale
        parts.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{y}" stroke="{_RULE}"'
            ' stroke-width="2"/>'
        )
    return parts, y


def _text(x: float, y: float, text: str, *, bold: bool = False, end: bool = False) -> str:
    extra = ' font-weight="600"' if bold else ""
    extra += ' text-anchor="end"' if end else ""
    return f'<text x="{x:.1f}" y="{y}"{extra}>{escape(text)}</text>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.3g}"
