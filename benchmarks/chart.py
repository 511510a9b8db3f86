"""Draws the chart of ``results.json`` as SVG, readable in light and in dark."""

from __future__ import annotations

from math import log10
from typing import Any
from xml.sax.saxutils import escape

from .report import ratio

_WIDTH, _LABELS, _BARS, _ROW = 880, 270, 470, 24
_STYLE = """<style>
text { fill: #424a53 } .rule { stroke: #424a53 } .ours { fill: #0969da } .other { fill: #98a2ad }
@media (prefers-color-scheme: dark) {
  text { fill: #c9d1d9 } .rule { stroke: #c9d1d9 } .ours { fill: #58a6ff } .other { fill: #6e7681 }
}
</style>"""

#: By title: which of our lines, and how ours is called in the chart.
PANELS = {
    "One event, kept in memory": ("log_event", "axon-audit-otel: log_event"),
    "One event, in a file when the call returns": (
        "log_event, archived",
        "axon-audit-otel: log_event, archived",
    ),
    "One write to a memory, audited, in a file": (
        "audited store, archived",
        "axon-audit-otel: everything on, archived",
    ),
}

Bar = tuple[str, float, str]  # label, times as much CPU as ours, class


def svg(results: dict[str, Any]) -> str:
    """What recording an event costs in other packages, in costs of ours."""
    panels = {title: _bars(results, *ours) for title, ours in PANELS.items()}
    most = max((bar[1] for bars in panels.values() for bar in bars), default=10)
    least = min((bar[1] for bars in panels.values() for bar in bars), default=0.1)
    low, high = log10(min(least, 1)) - 0.15, log10(max(most, 10))
    parts: list[str] = []
    y = 18
    for title, bars in panels.items():
        if len(bars) < 2:
            continue
        parts.append(_text(0, y, f"{title}: CPU time, this package = 1 x", weight=600))
        y += 8
        top = y
        for label, times, kind in bars:
            wide = (log10(times) - low) / (high - low) * _BARS
            parts += [
                _text(_LABELS - 8, y + 16, label, anchor="end"),
                f'<rect x="{_LABELS}" y="{y + 4}" width="{wide:.1f}" height="{_ROW - 8}" rx="2"'
                f' class="{kind}"/>',
                _text(_LABELS + wide + 8, y + 16, f"{ratio(times)} x"),
            ]
            y += _ROW
        one = _LABELS - low / (high - low) * _BARS
        parts.append(
            f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{top}" y2="{y}" class="rule"'
            ' stroke-dasharray="2 3"/>'
        )
        y += 30
    parts.append(_text(0, y - 8, "Logarithmic; shorter is cheaper. benchmarks/README.md says how."))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {y}" width="{_WIDTH}"'
        ' font-family="system-ui, sans-serif" font-size="13">\n'
        + "\n".join([_STYLE, *parts])
        + "\n</svg>\n"
    )


def _bars(results: dict[str, Any], name: str, called: str) -> list[Bar]:
    """Ours and the others, cheapest first."""
    others = [
        (line["versus"], 1 / line["median"], "other")
        for line in results["lines"]
        if line["part"] == "peers" and line["name"] == name and line["versus"] not in _NOT_DRAWN
    ]
    return sorted([(called, 1.0, "ours"), *others], key=lambda bar: bar[1])


_NOT_DRAWN = ("log_event",)  # ours against ours


def _text(x: float, y: float, text: str, weight: int = 400, anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y}" font-weight="{weight}" text-anchor="{anchor}">'
        f"{escape(text)}</text>"
    )
