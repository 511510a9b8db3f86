"""The local clock: which moments a time means that a reader writes, and how moments are shown.

Where clocks change, a day has 23 or 25 hours, and its midnight may not exist or come twice.
"""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone, tzinfo
from datetime import time as time_of_day

from ..core.time import aware

__all__ = ["earliest", "latest", "local", "shown", "usual_offset"]

_MICROSECOND = timedelta(microseconds=1)
_DAY = timedelta(days=1)
#: The days of a week as `date.weekday` counts them, and two more.
_NAMED_DAYS = (
    *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"),
    *("today", "yesterday"),
)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
#: What the calendar, or the system's clock, cannot do.
_OUT_OF_RANGE = (ValueError, OverflowError, OSError)


# --- from what is written to moments ----------------------------------------------------------


def earliest(text: str, zone: tzinfo | None = None) -> datetime:
    """The first moment that *text* means: a day's first one, or a time's where it comes twice.

    Args:
        text: ``2025-01-31``, ``2025-01`` (each with an offset after it, or not), ``today``,
            ``yesterday``, ``monday`` (the newest one, also today), ``2025-01-31T10:30``,
            ``10:30`` (today), or ``15m``, ``24h``, ``7d`` (that long ago).
        zone: Where that is read without an offset. Default: local.

    Raises:
        ValueError, OverflowError: If it means none.
    """
    period = _period(text, zone)
    if period is not None:
        return _first(datetime.combine(period[0], time_of_day.min), period[2])
    moment = _moment(text, zone)
    return moment if moment.tzinfo else _first(moment, zone)


def latest(text: str, zone: tzinfo | None = None) -> datetime:
    """The last moment that *text* means; see `earliest`.

    A day ends right before `earliest` of the next one: whatever the clocks do meanwhile, every
    moment is in one day, and in one only.
    """
    period = _period(text, zone)
    if period is None:
        moment = _moment(text, zone)
        return moment if moment.tzinfo else _last(moment, zone)
    _, following, zone = period
    if following is None:
        return datetime.max.replace(tzinfo=timezone.utc)
    return _first(datetime.combine(following, time_of_day.min), zone) - _MICROSECOND


def _period(text: str, zone: tzinfo | None) -> tuple[date, date | None, tzinfo | None] | None:
    """The first day of a day or a month, the one after it (None: after 9999), and their zone."""
    if text in _NAMED_DAYS:
        first = datetime.now(zone).date()
        if text == "yesterday":
            first -= _DAY
        elif text != "today":
            first -= (first.weekday() - _NAMED_DAYS.index(text)) % 7 * _DAY
        return first, first + _DAY, zone
    parts = re.fullmatch(r"(\d{4}-\d\d)(-\d\d)?(Z|[+-]\d\d:\d\d)?", text)
    if parts is None:
        return None
    is_month = parts[2] is None
    first = date.fromisoformat(parts[1] + (parts[2] or "-01"))
    zone = datetime.strptime(parts[3], "%z").tzinfo if parts[3] else zone
    try:
        return first, (first + 31 * _DAY).replace(day=1) if is_month else first + _DAY, zone
    except OverflowError:
        return first, None, zone


def _moment(text: str, zone: tzinfo | None) -> datetime:
    """A time; one without an offset is naive."""
    if ago := re.fullmatch(r"(\d+)\s*([smhdw])", text):
        return datetime.now(timezone.utc) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    text = re.sub(r"[zZ]$", "+00:00", text)
    if re.match(r"\d\d:\d\d", text):
        hour = time_of_day.fromisoformat(text)
        return datetime.combine(datetime.now(hour.tzinfo or zone).date(), hour)
    if not re.match(r"\d{4}-\d\d-\d\d.\d\d", text):  # a week, or a day without dashes
        raise ValueError(text)
    return datetime.fromisoformat(text)


# --- the clock --------------------------------------------------------------------------------


def _first(wall: datetime, zone: tzinfo | None) -> datetime:
    """The first moment at which the clock shows *wall*; where it skips that, the one after."""
    moments = _moments(wall, zone)
    return moments[0] if moments else _jump(wall, zone)


def _last(wall: datetime, zone: tzinfo | None) -> datetime:
    """The last moment at which the clock shows *wall*; where it skips that, the one before."""
    moments = _moments(wall, zone)
    return moments[-1] if moments else _jump(wall, zone) - _MICROSECOND


def _moments(wall: datetime, zone: tzinfo | None) -> list[datetime]:
    """The moments at which the clock of *zone* shows *wall*: one, two or none."""
    first, last = _at(wall, zone), _at(wall.replace(fold=1), zone)
    if first == last:  # also at the ends of the calendar
        return [first]
    return [first, last] if first < last else []  # as PEP 495 has it


def _at(wall: datetime, zone: tzinfo | None) -> datetime:
    """The moment of *wall*, as UTC: in a zone, Python compares and subtracts the clock's faces."""
    if zone is None:
        return aware(wall)
    try:
        return wall.replace(tzinfo=zone).astimezone(timezone.utc)
    except OverflowError:  # the first or last day of the calendar
        return wall.replace(tzinfo=timezone.utc)


def _jump(wall: datetime, zone: tzinfo | None) -> datetime:
    """The moment at which the clock jumps over *wall*."""
    before, after = _at(wall.replace(fold=1), zone), _at(wall, zone)
    while after - before > _MICROSECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            after = middle
    return after


# --- from moments to what is shown ------------------------------------------------------------


def shown(moment: datetime) -> tuple[str, str]:
    """*moment* as the local clock shows it, and the clock's offset then: ``+02:00``."""
    try:
        moment = moment.astimezone()
    except _OUT_OF_RANGE:
        moment = aware(moment)
    text = moment.isoformat(" ", "seconds")
    return text[:19], text[19:]


def local(moment: datetime | None) -> str:
    """A time as the reader's clock shows it, with its offset: ``2025-01-31 10:30:00+02:00``."""
    return "-" if moment is None else "".join(shown(moment))


def usual_offset() -> str | None:
    """The offset of the local clock, if it is the same a year before and after now."""
    now = datetime.now(timezone.utc)
    offsets = {shown(now + week * 7 * _DAY)[1] for week in range(-53, 54)}
    return offsets.pop() if len(offsets) == 1 else None
