"""Rules of a `SecurityMonitor`, which count events or entries in a sliding window."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec

from ..core.content import content_of
from ..core.errors import AuditConfigError, shown
from ..core.units import seconds
from ..events.findings import FINDINGS
from ..events.model import EventStatus, OperationType

__all__ = ["DEFAULT_RULES", "Rule", "checked_rules"]

SEVERITIES = ("info", "warning", "critical")
_MOST = 1_000_000  # a window keeps one time more
_WAYS = "events", "deleted", *FINDINGS


@dataclass(frozen=True, init=False)
class Rule:
    """More than *over* events, or entries, in *window* are an alert.

    Args:
        name: Name of the alert: letters, digits, ``_``, ``-`` and ``.``.
        over: The highest number without an alert; one more is an alert. 0 to 1,000,000.
        window: Length of the window: a `timedelta`, seconds, or ``"15m"``, ``"24h"``.
        operations: Names of the operations to count; none: all.
        statuses: Names of the statuses to count; none: all.
        system: The memory system whose events count, as they name it (``mem0``); None: all.
        counting: ``events``, or ``deleted``: the entries that these events deleted, so that one
            FORGET of 5,000 entries counts 5,000, and one that found nothing counts 0. Or the
            entries that events have in their metadata as ``altered`` (the content is not the
            newest recorded), ``resurrected`` (seen after they were deleted, or again without
            being stored) or ``derived_remaining`` (living ones, made of what a FORGET deleted):
            the alert names them; if *over* is 0, it fires again for entries that it has not
            named. Default: ``deleted`` if *operations* is FORGET alone and *statuses* has no
            FAILURE, else ``events``.
        per_user: Count each user's events separately (events without a user are left out).
        severity: ``info``, ``warning`` or ``critical``.
        summary: The meaning of the alert, in one sentence.
        keep_firing_for: Time that the alert goes on after the numbers are normal again.

    Raises:
        AuditConfigError: If an argument cannot work.
    """

    name: str
    over: int
    window: timedelta
    operations: frozenset[OperationType]
    statuses: frozenset[EventStatus]
    system: str | None
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
        system: str | None = None,
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


# --- parsers: from an argument to the value of a field -------------------------------------


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
    """A parser of the names of one or several members of an enum."""

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
    raise ValueError(f"must be {', '.join(_WAYS[:-1])} or {_WAYS[-1]}")


def _system(value: Any) -> str | None:
    if value is None or (isinstance(value, str) and value.strip()):
        return value
    raise ValueError("must be the name of a memory system, or None")


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
    "system": _system,
    "counting": _way,
    "per_user": _flag,
    "severity": _severity,
    "summary": _text,
    "keep_firing_for": _duration_or_none,
}

# --- the defaults ------------------------------------------------------------------------------


def _both(name: str, summary: str, **counted: Any) -> tuple[Rule, Rule]:
    """A rule over all events and one per user, with the same numbers."""
    counted["keep_firing_for"] = "5m"  # so that a rate near the limit is one alert, not many
    return (
        Rule(name, summary=f"{summary}.", **counted),
        Rule(f"{name}_by_user", summary=f"{summary} by one user.", per_user=True, **counted),
    )


def _any(name: str, summary: str, counting: str, severity: str) -> Rule:
    """A rule that fires at the first entry of a kind."""
    return Rule(name, over=0, window="1h", counting=counting, severity=severity, summary=summary)


#: The security example of the specification, and what no entry should be; the alerts in
#: ``dashboards/`` use these numbers.
DEFAULT_RULES: tuple[Rule, ...] = (
    *_both("excessive_deletions", "Many deletions", operations="FORGET", over=100, window="1h"),
    *_both(
        "repeated_failures", "Many failed operations", statuses="FAILURE", over=10, window="15m"
    ),
    *_both("unusual_exports", "Many exports", operations="EXPORT", over=5, window="24h"),
    _any("altered_entry", "Altered entries were read.", "altered", "critical"),
    _any("forgotten_entry_seen", "Forgotten entries were seen.", "resurrected", "critical"),
    _any("incomplete_forget", "A FORGET left derived entries.", "derived_remaining", "warning"),
)

# --- several rules, also in a file ---------------------------------------------------------------

_LARGEST_FILE = 1 << 20
_DEFAULT = "default"  # in a file: all of DEFAULT_RULES


def checked_rules(rules: Any) -> tuple[Rule, ...]:
    """Several rules, each with a name of its own.

    Args:
        rules: Rules; or the path of a JSON file: a list of objects with the arguments of `Rule`,
            and ``"default"`` for all of `DEFAULT_RULES`.

    Raises:
        AuditConfigError: If they are none, or the file cannot be read.
    """
    if isinstance(rules, (str, os.PathLike)):
        path = Path(rules)
        rules, where = _rules_in(path), shown(str(path))
    elif isinstance(rules, Rule) or not isinstance(rules, Iterable):
        msg = f"rules={shown(rules)}: must be several Rule, or the path of a JSON file"
        raise AuditConfigError(msg)
    else:
        where = "rules"
    found: dict[str, Rule] = {}
    for rule in rules:
        if not isinstance(rule, Rule):
            raise AuditConfigError(f"{where}: {shown(rule)} is no Rule")
        if rule.name in found:
            raise AuditConfigError(f"{where}: {rule.name!r} is there twice: rename one")
        found[rule.name] = rule
    return tuple(found.values())


def _rules_in(path: Path) -> Iterator[Rule]:
    where = shown(str(path))
    try:
        items = msgspec.json.decode(content_of(path, _LARGEST_FILE, anywhere=True))
    except OSError as exc:
        raise AuditConfigError(f"{where}: cannot be read: {exc.strerror or exc}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise AuditConfigError(f"{where}: is not JSON: {exc}") from None
    if not isinstance(items, list):
        raise AuditConfigError(f"{where}: must be a list of rules: [{{...}}, ...]")
    for number, item in enumerate(items, 1):
        if item == _DEFAULT:
            yield from DEFAULT_RULES
            continue
        try:
            yield _rule_of(item)
        except AuditConfigError as exc:
            raise AuditConfigError(f"{where}, item {number}: {exc}") from None


def _rule_of(item: Any) -> Rule:
    if not isinstance(item, dict):
        msg = f'{shown(item)}: must be a rule ({{"name": ...}}), or "{_DEFAULT}"'
        raise AuditConfigError(msg)
    if unknown := [field for field in item if field not in _PARSERS]:
        msg = f"no such field: {shown(unknown[0])}; a rule has {', '.join(_PARSERS)}"
        raise AuditConfigError(msg)
    if lacking := [field for field in _NEEDED if field not in item]:
        raise AuditConfigError(f"the field {lacking[0]!r} is missing")
    return Rule(**item)


_NEEDED = ("name", "over", "window")
