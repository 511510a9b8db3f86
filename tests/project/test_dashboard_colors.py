"""The colours of the dashboards: one for each name, told apart by people who see fewer."""

from __future__ import annotations

import json
import math
from itertools import combinations
from typing import Any

import pytest
from prometheus import boards, panels

from axon_audit_otel.events.model import EventStatus, OperationType
from dashboards import colors

#: Grafana's named colours that we use, on the dark and on the light theme.
_NAMED = {
    "blue": ("#5794F2", "#3274D9"),
    "super-light-blue": ("#C0D8FF", "#8AB8FF"),
    "semi-dark-orange": ("#FF780A", "#FA6400"),
    "semi-dark-yellow": ("#F2CC0C", "#E0B400"),
    "semi-dark-red": ("#E02F44", "#C4162A"),
}
#: How people without red, green or blue cones see linear RGB: Machado, Oliveira, Fernandes (2009).
_EYES = {
    "all": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "no red": (
        *((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216)),
        (-0.003882, -0.048116, 1.051998),
    ),
    "no green": (
        *((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413)),
        (-0.011820, 0.042940, 0.968881),
    ),
    "no blue": (
        *((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602)),
        (0.004733, 0.691367, 0.303900),
    ),
}
_PANEL = "#181B1F", "#FFFFFF"  # behind it, on either theme


def _linear(color: str) -> list[float]:
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]


def _seen(color: str, eyes: str) -> tuple[float, ...]:
    """Where it is in OKLab, a space of equal steps, for these eyes."""
    linear = _linear(color)
    red, green, blue = (
        min(1.0, max(0.0, sum(a * b for a, b in zip(row, linear)))) for row in _EYES[eyes]
    )
    long = (0.4122214708 * red + 0.5363325363 * green + 0.0514459929 * blue) ** (1 / 3)
    middle = (0.2119034982 * red + 0.6806995451 * green + 0.1073969566 * blue) ** (1 / 3)
    short = (0.0883024619 * red + 0.2817188376 * green + 0.6299787005 * blue) ** (1 / 3)
    return (
        0.2104542553 * long + 0.7936177850 * middle - 0.0040720468 * short,
        1.9779984951 * long - 2.4285922050 * middle + 0.4505937099 * short,
        0.0259040371 * long + 0.7827717662 * middle - 0.8086757660 * short,
    )


def _contrast(one: str, other: str) -> float:
    """As WCAG has it: 1 to 21."""
    lights = [
        sum(w * p for w, p in zip((0.2126, 0.7152, 0.0722), _linear(c))) for c in (one, other)
    ]
    return (max(lights) + 0.05) / (min(lights) + 0.05)


def _on(theme: int, color: str) -> str:
    return color if color.startswith("#") else _NAMED[color][theme]


@pytest.mark.parametrize("theme", [0, 1], ids=["dark", "light"])
@pytest.mark.parametrize(
    ("table", "least"),
    [
        (colors.STATUSES, 0.2),
        (colors.OPERATIONS, 0.075),
        (colors.QUANTILES, 0.15),
        (colors.SYSTEMS, 0.1),
    ],
    ids=["statuses", "operations", "quantiles", "systems"],
)
def test_told_apart(table: dict[str, str], least: float, theme: int) -> None:
    """By all eyes, on both themes: 0.02 is seen as different side by side, less is not."""
    grey = {"AUDIT", "OTHER", "other"}
    plain = {name: color for name, color in table.items() if name not in grey}
    for eyes in _EYES:
        for one, other in combinations(plain, 2):
            apart = math.dist(*(_seen(_on(theme, plain[name]), eyes) for name in (one, other)))
            assert apart >= least, f"{one} and {other} with eyes: {eyes}"


@pytest.mark.parametrize("theme", [0, 1], ids=["dark", "light"])
def test_seen_on_the_panel(theme: int) -> None:
    """Lines stand out from what is behind them."""
    for name, color in {**colors.OPERATIONS, **colors.STATUSES, **colors.QUANTILES}.items():
        if color != "text":
            assert _contrast(_on(theme, color), _PANEL[theme]) >= 1.7, name


def test_every_name_has_one() -> None:
    """A new operation or status gets a colour, too; none has that of another."""
    assert set(colors.OPERATIONS) == {operation.value for operation in OperationType}
    assert set(colors.STATUSES) == {status.value for status in EventStatus}
    for table in (colors.OPERATIONS, colors.STATUSES):
        assert len(set(table.values())) == len(table)


def _fixed(panel: dict[str, Any]) -> dict[str, str]:
    """Colours that a panel gives to names."""
    found = {}
    for override in panel["fieldConfig"]["overrides"]:
        for one in override["properties"]:
            if one["id"] == "color":
                found[override["matcher"]["options"]] = one["value"]["fixedColor"]
            elif one["id"] == "mappings":
                (mapping,) = one["value"]
                found |= {name: shown["color"] for name, shown in mapping["options"].items()}
    return found


def test_the_same_everywhere() -> None:
    """On every panel of every dashboard that shows operations or outcomes."""
    of_names = {**colors.OPERATIONS, **colors.STATUSES}
    shown: set[str] = set()
    for board in boards().values():
        for panel in panels(board):
            fixed = {name: color for name, color in _fixed(panel).items() if name in of_names}
            assert fixed.items() <= of_names.items(), panel["title"]
            legends = {target.get("legendFormat") for target in panel["targets"]}
            if panel["type"] == "timeseries" and "{{operation}}" in legends:
                assert fixed.keys() >= colors.OPERATIONS.keys(), panel["title"]
            if panel["type"] == "timeseries" and "{{status}}" in legends:
                assert fixed.keys() >= colors.STATUSES.keys(), panel["title"]
            shown |= fixed.keys()
    assert shown == of_names.keys()


def test_no_other_red_or_green() -> None:
    """Thresholds use the same three colours as outcomes."""
    for board in boards().values():
        for panel in panels(board):
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            used = {step["color"] for step in steps}
            assert used <= {colors.GOOD, colors.WARN, colors.BAD, colors.PLAIN}, panel["title"]
        assert '"green"' not in json.dumps(board)
