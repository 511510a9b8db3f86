"""How much of a test the default run does; a run of slow tests does all of it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

_SHARE = 5
_runs_all = False


def pytest_configure(config: pytest.Config) -> None:
    """Find out what this run is."""
    global _runs_all
    _runs_all = "not slow" not in config.option.markexpr


def examples(count: int) -> int:
    """The number of random examples, out of *count*, that this run tries."""
    return count if _runs_all else max(1, count // _SHARE)


def slow(*values: Any) -> Any:
    """A parameter of a test for the slow run only."""
    return pytest.param(*values, marks=pytest.mark.slow)


def thinned(values: Iterable[Any], every: int) -> list[Any]:
    """Parameters of a test, of which each *every*-th is not slow; tuples are several values."""
    return [
        value if not index % every else slow(*(value if isinstance(value, tuple) else (value,)))
        for index, value in enumerate(values)
    ]
