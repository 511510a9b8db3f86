"""The period of a report: which moments it has, and which day each of them is in."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta, timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from ..core.errors import AuditConfigError, shown
from ..core.time import format_time, to_microseconds
from ..events.localtime import earliest, latest

__all__ = ["Period", "month_named"]

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_TIME = "use 2026-11, 2026-11-30 or 2026-11-30T10:30"


@dataclass
class Period:
    """A time from its first to its last microsecond, both included.

    Attributes:
        start_us: The first one: Unix time in microseconds.
        end_us: The last one.
        zone: Where its days are; None: those of the local clock, whose zone has no name.
        zone_name: The name of the zone (``Europe/Berlin``); None where it has none.
    """

    start_us: int
    end_us: int
    zone: tzinfo | None = None
    zone_name: str | None = None
    _days: dict[str, int] = field(default_factory=dict, repr=False)  # when each begins

    @classmethod
    def of(cls, first: str, last: str | None = None, zone: str | None = None) -> Period:
        """The period from the begin of *first* to the end of *last*.

        Args:
            first: A month, a day or a moment: ``2026-11``, ``2026-11-30``, ``2026-11-30T10:30``,
                each with an offset, or not; see `localtime.earliest`.
            last: The same. Default: *first*.
            zone: The name of the time zone where that is read. Default: that of the local clock.

        Raises:
            AuditConfigError: If that is no period, or there is no such zone.
        """
        name = _local_name() if zone is None else zone
        where = None if name is None else _zone(name)
        begin, end = (
            _read(text, read, where)
            for text, read in ((first, earliest), (first if last is None else last, latest))
        )
        if begin > end:
            raise AuditConfigError(f"{shown(first)} is after {shown(last)}: swap them")
        return cls(begin, end, where, name)

    def __contains__(self, moment: datetime) -> bool:
        return self.start_us <= to_microseconds(moment) <= self.end_us

    def has(self, time: str) -> bool:
        """True if a moment of the period was written as *time*, by `format_time`."""
        return format_time(self.start_us) <= time <= format_time(self.end_us)

    def day_of(self, moment: datetime) -> str:
        """The day that *moment* is in: ``2026-11-30``. It is in one only, whatever clocks do."""
        moment_us = to_microseconds(moment)
        try:
            day = moment.astimezone(self.zone).date()
            if moment_us < self._begin(day):
                day -= _DAY
            elif moment_us >= self._begin(day + _DAY):
                day += _DAY
        except (OverflowError, ValueError, OSError):  # the ends of the calendar
            day = moment.date()
        return day.isoformat()

    def _begin(self, day: date) -> int:
        text = day.isoformat()
        if text not in self._days:
            self._days[text] = to_microseconds(earliest(text, self.zone))
        return self._days[text]

    def facts(self) -> dict[str, Any]:
        """The period as JSON types: ``first``, ``last`` (UTC), and how it was read."""
        return {
            "first": format_time(self.start_us),
            "last": format_time(self.end_us),
            "timezone": self.zone_name,
            "first_local": self._local(self.start_us),
            "last_local": self._local(self.end_us),
        }

    def _local(self, moment_us: int) -> str:
        moment = _EPOCH + timedelta(microseconds=moment_us)
        with suppress(OverflowError, ValueError, OSError):
            moment = moment.astimezone(self.zone)
        return moment.isoformat(timespec="microseconds")


def month_named(word: str, zone: str | None = None) -> str:
    """The month that ``this`` or ``last`` is now, in *zone*: ``2026-11``; other words as they are.

    Raises:
        AuditConfigError: If there is no such zone.
    """
    if word not in ("this", "last"):
        return word
    name = _local_name() if zone is None else zone
    today = datetime.now(None if name is None else _zone(name)).date()
    return f"{today.replace(day=1) - timedelta(days=word == 'last'):%Y-%m}"


def _read(text: str, read: Any, zone: tzinfo | None) -> int:
    try:
        moment: datetime = read(text.strip(), zone)
        return to_microseconds(moment)
    except (ValueError, OverflowError, OSError):
        raise AuditConfigError(f"{shown(text)} is not a time: {_TIME}") from None


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        msg = f"there is no time zone {shown(name)}: use a name such as Europe/Berlin or UTC"
        raise AuditConfigError(msg) from None


def _local_name() -> str | None:
    """The name of the local clock's zone: of the variable TZ, or of the system; None: no name."""
    said = os.environ.get("TZ")
    name = "" if said is None else said.removeprefix(":")
    if said is None:
        with suppress(OSError):
            found = re.search(r"zoneinfo/(.+)$", str(Path("/etc/localtime").resolve()))
            name = found[1] if found else ""
        if not name and not Path("/etc/localtime").exists():
            name = "UTC"
    with suppress(AuditConfigError):
        return name if name and _zone(name) else None
    return None
