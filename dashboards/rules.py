"""The rules as Prometheus reads them."""

from __future__ import annotations

from typing import Any

import yaml

from . import alerts, recording
from .objectives import OBJECTIVES, Objectives

_HEADER = "# Made by `python -m dashboards`: change the numbers in dashboards/objectives.py.\n"


class _Dumper(yaml.SafeDumper):
    """Text of several lines stays readable."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)


def _file(groups: list[dict[str, Any]]) -> str:
    text: str = yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=10_000)
    return _HEADER + text


def files(objectives: Objectives = OBJECTIVES) -> dict[str, str]:
    """The rule files, by name."""
    return {
        "recording.yaml": _file(recording.groups(objectives)),
        "alerts.yaml": _file(alerts.groups(objectives)),
    }
