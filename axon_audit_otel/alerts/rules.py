"""What looks wrong: rules that count events, or the entries that they deleted, in a sliding window;
and the default ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from ..core.errors import AuditConfigError, shown
from ..core.units import seconds
from ..events.model import EventStatus, OperationType

__all__ = ["DEFAULT_RULES", "Rule"]

SEVERITIES = ("info", "warning", "critical")
_MOST = 1_000_000  # a window keeps as many times
_WAYS = "events", "deleted"


@dataclass(frozen=True, init=False)
class Rule:
    """More than *over* events, or deleted entries, in *window* are an alert.

    Args:
        name: What the alert is called: letters, digits, ``_``, ``-`` and ``.``.
        over: As many are still well; one more is an alert. 0 to 1,000,000.
        window: How far back events count: a `timedelta`, seconds, or ``"15m"``, ``"24h"``.
        operations: Names of the operations that count; none: every one.
        statuses: Names of the statuses that count; none: every one.
        counting: ``events``, or ``deleted``: the entries that these events deleted, so that one
            FORGET of 5,000 is 5,000, and one that found nothing is none. Default: ``deleted``
            where *operations* is FORGET alone and *statuses* asks for no failures, else
            ``events``.
        per_user: Count each user's events apart (those of nobody known are left out).
        severity: ``info``, ``warning`` or ``critical``.
        summary: What it means, in one sentence.
        keep_firing_for: How long the alert goes on when it is no longer true.

    Raises:
        AuditConfigError: If an argument cannot work.
    """

    name: str
    over: int
    window: timedelta
    operations: frozenset[OperationType]
    statuses: frozenset[EventStatus]
    counting: str
    per_user: bool
    severity: str
    summary: str
    keep_firing_for: timedelta

    def __init__(
        self,
        name: str,
        *,
        over: int,
        window: timedelta | float | str,
        operations: Iterable[OperationType | str] | OperationType | str = (),
        statuses: Iterable[EventStatus | str] | EventStatus | str = (),
        counting: str | None = None,
        per_user: bool = False,
        severity: str = "warning",
        summary: str = "",
        keep_firing_for: timedelta | float | str = 0,
    ) -> None:
        given = {key: value for key, value in locals().items() if key != "self"}
        for field, parse in _PARSERS.items():
            try:
                object.__setattr__(self, field, parse(given[field]))
            except (ValueError, TypeError) as exc:
                msg = f"rule {shown(name)}: {field}={shown(given[field])}: {exc}"
                raise AuditConfigError(msg) from None
        if counting is None:
            deletions = self.operations == {OperationType.FORGET}
            failures = EventStatus.FAILURE in self.statuses
            object.__setattr__(self, "counting", _WAYS[deletions and not failures])


# --- parsers: an argument as given to a field ----------------------------------------------


def _name(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[\w.-]{1,100}", value):
        return value
    raise ValueError("must be letters, digits, '_', '-' and '.', up to 100")


def _count(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST:
        return value
    raise ValueError(f"must be a whole number from 0 to {_MOST:,}")


def _duration(value: Any) -> timedelta:
    duration = timedelta(seconds=seconds(value))
    if duration:
        return duration
    raise ValueError("must be at least a microsecond")


def _duration_or_none(value: Any) -> timedelta:
    return timedelta(0) if value in (0, timedelta(0)) else _duration(value)


def _members(kind: Any) -> Callable[[Any], frozenset[Any]]:
    """The members of an enum that a value names: one, or several."""

    def parse(value: Any) -> frozenset[Any]:
        several = isinstance(value, Iterable) and not isinstance(value, str)
        return frozenset(kind.parse(item) for item in (value if several else [value]))

    return parse


def _flag(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    raise ValueError("must be True or False")


def _way(value: Any) -> str | None:
    if value is None or value in _WAYS:
        return value  # type: ignore[no-any-return]
    raise ValueError(f"must be {' or '.join(_WAYS)}")


def _severity(value: Any) -> str:
    if value in SEVERITIES:
        return str(value)
    raise ValueError(f"must be one of {', '.join(SEVERITIES)}")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    raise ValueError("must be text")


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "name": _name,
    "over": _count,
    "window": _duration,
    "operations": _members(OperationType),
    "statuses": _members(EventStatus),
    "counting": _way,
    "per_user": _flag,
    "severity": _severity,
    "summary": _text,
    "keep_firing_for": _duration_or_none,
}

# --- the defaults ------------------------------------------------------------------------------


def _both(name: str, summary: str, **counted: Any) -> tuple[Rule, Rule]:
    """The same over all events, and for each user; a rate near the limit is one alert."""
    counted["keep_firing_for"] = "5m"
    return (
        Rule(name, summary=f"{summary}.", **counted),
        Rule(f"{name}_by_user", summary=f"{summary} by one user.", per_user=True, **counted),
    )


#: The specification's security example; the alerts in ``dashboards/`` have the same numbers.
DEFAULT_RULES: tuple[Rule, ...] = (
    *_both("excessive_deletions", "Many deletions", operations="FORGET", over=100, window="1h"),
    *_both(
        "repeated_failures", "Many failed operations", statuses="FAILURE", over=10, window="15m"
    ),
    *_both("unusual_exports", "Many exports", operations="EXPORT", over=5, window="24h"),
)
