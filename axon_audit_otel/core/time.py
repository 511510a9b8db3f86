"""Converts moments between microseconds, text and datetimes."""

from __future__ import annotations

import time
from datetime import datetime, timedelta, timezone

import msgspec

__all__ = ["FIRST_US", "LAST_US", "aware", "format_time", "parse_time", "to_microseconds"]

#: Microseconds of the years 1 to 9999, the range of a datetime.
FIRST_US, LAST_US = -62_135_596_800_000_000, 253_402_300_799_999_999

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_second: tuple[int, str] = (-1, "")


def format_time(microseconds: int) -> str:
    """Unix time in microseconds as ``2025-01-15T10:30:45.123456Z``."""
    global _second
    if not FIRST_US <= microseconds <= LAST_US:
        microseconds = min(max(microseconds, FIRST_US), LAST_US)
    second, fraction = divmod(microseconds, 1_000_000)
    last, text = _second  # one tuple, so that threads read a matching pair
    if last != second:
        year, month, day, hour, minute, left = time.gmtime(second)[:6]
        text = f"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{left:02}"
        _second = (second, text)
    return f"{text}.{str(1_000_000 + fraction)[1:]}Z"  # quicker than by ``:06d``


def parse_time(text: str) -> datetime | None:
    """The moment that `format_time` wrote as *text*; None if *text* is not a time."""
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None


def aware(moment: datetime, naive: timezone | None = None) -> datetime:
    """*moment* with a zone; a naive one is in the zone *naive*, else local (`fold`: PEP 495)."""
    if moment.tzinfo is not None:
        return moment
    if naive is not None:
        return moment.replace(tzinfo=naive)
    try:
        # Not astimezone(): when clocks jump, it differs from PEP 495.
        second = int(moment.replace(microsecond=0).timestamp())
        return _EPOCH + timedelta(seconds=second, microseconds=moment.microsecond)
    except (ValueError, OverflowError, OSError):  # the first or last day of the calendar
        return moment.replace(tzinfo=timezone.utc)


def to_microseconds(moment: datetime, naive: timezone | None = None) -> int:
    """The exact Unix time of *moment* in microseconds; a naive one is read as by `aware`."""
    if moment.tzinfo is None:
        moment = aware(moment, naive)
    return (moment - _EPOCH) // _MICROSECOND
