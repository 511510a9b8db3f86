"""How many events there were when: bars, each of which is a period to look into."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from typing import NamedTuple

from ..core.time import FIRST_US, LAST_US, to_microseconds
from ..events.localtime import earliest, shown
from .index import Answer

__all__ = ["Bar", "Timeline", "timeline"]

_S = 1_000_000
_DAY = 24 * 3600 * _S
#: Widths of bars, in microseconds.
_STEPS = [
    *(1_000, 10_000, 100_000, _S, 5 * _S, 15 * _S, 60 * _S, 300 * _S, 900 * _S, 3600 * _S),
    *(3 * 3600 * _S, 6 * 3600 * _S, _DAY, 2 * _DAY, 7 * _DAY, 30 * _DAY, 91 * _DAY, 365 * _DAY),
    *(3650 * _DAY, 36_500 * _DAY, 73_000 * _DAY),
]
_BARS = 60
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Bar(NamedTuple):
    """One period.

    Attributes:
        start: Its first moment, for the filter ``since``.
        end: Its last one, for ``until``.
        words: When that is, and what there is.
        total: How many events.
        parts: What each status has of the bar: where it begins, from the top, and its height, both
            in percent.
    """

    start: str
    end: str
    words: str
    total: int
    parts: list[tuple[str, float, float]]


class Timeline(NamedTuple):
    """The bars of an answer.

    Attributes:
        bars: Oldest first; also empty periods.
        step: The width of a bar in words.
        greatest: The number of events of the highest bar.
        first: The beginning of the first bar in words.
        last: The end of the last bar in words.
    """

    bars: list[Bar]
    step: str
    greatest: int
    first: str
    last: str


def timeline(answer: Answer, start_us: int | None, end_us: int | None) -> Timeline | None:
    """The bars of *answer*; None if there is no event in it.

    Args:
        answer: The events.
        start_us: The beginning of the period that was asked for, if any.
        end_us: Its end, if any.
    """
    first, last = answer.first_us, answer.last_us
    if first is None or last is None:
        return None
    first = first if start_us is None else max(start_us, first - 10 * (last - first) - _S)
    last = last if end_us is None else min(end_us, last + 10 * (last - first) + _S)
    edges = _edges(first, last)
    counts = answer.counts(edges)
    greatest = max(sum(count.by_status.values()) for count in counts)
    bars = []
    for start, end, by_status in counts:
        total = sum(by_status.values())
        height = max(2.0, round(100 * total / greatest, 2)) if total else 0.0
        parts = ", ".join(f"{number:,} {status}" for status, number in by_status.items() if number)
        words = f"{_words(start)} to {_words(end + 1)}: {parts}"
        bars.append(Bar(_text(start), _text(end), words, total, _parts(by_status, total, height)))
    step = _length(edges[1] - edges[0])
    return Timeline(bars, step, greatest, _words(edges[0]), _words(edges[-1]))


def _parts(by_status: dict[str, int], total: int, height: float) -> list[tuple[str, float, float]]:
    """The bar from its top: what failed above what did not; what is there, is seen."""
    parts, at = [], 100 - height
    for status in ("FAILURE", "PARTIAL"):
        if number := by_status[status]:
            part = min(100 - at, max(1.5, height * number / total))
            parts.append((status, round(at, 2), round(part, 2)))
            at += part
    if by_status["SUCCESS"] and at < 100:
        parts.append(("SUCCESS", round(at, 2), round(100 - at, 2)))
    return parts


def _edges(first: int, last: int) -> list[int]:
    """The bounds of bars that hold both moments; days begin as the local clock has them."""
    step = next((step for step in _STEPS if (last - first) // step < _BARS - 1), _STEPS[-1])
    near = min(max(first, FIRST_US + _DAY), LAST_US - _DAY)  # the clock has no year 0, or 10000
    offset = _moment(near).astimezone().utcoffset() or timedelta()
    shift = offset // timedelta(microseconds=1)
    if step < _DAY:
        begin_us = (first + shift) // step * step - shift
        return list(range(begin_us, last + step + 1, step))
    days = step // _DAY
    begin = min(max(_EPOCH.toordinal() + (first + shift) // _DAY, 1), date.max.toordinal())
    begin -= begin % days if days < 30 else date.fromordinal(begin).day - 1
    edges = [_midnight(begin)]
    while edges[-1] <= last:
        begin += days
        edges.append(_midnight(begin))
    return edges


def _midnight(day: int) -> int:
    """When a day begins, on the local clock; *day* is its ordinal. Around the first and the last
    day that there are, in UTC."""
    if 2 < day < date.max.toordinal() - 1:
        return to_microseconds(earliest(date.fromordinal(day).isoformat()))
    return min((day - _EPOCH.toordinal()) * _DAY, LAST_US + 1)


def _moment(time_us: int) -> datetime:
    return _EPOCH + timedelta(microseconds=min(max(time_us, FIRST_US), LAST_US))


def _text(time_us: int) -> str:
    return _moment(time_us).isoformat(timespec="microseconds")


def _words(time_us: int) -> str:
    moment = _moment(time_us)
    text = shown(moment)[0]
    if moment.microsecond:
        text += f".{moment.microsecond // 1000:03d}"
    return text.removesuffix(" 00:00:00")


def _length(step_us: int) -> str:
    for size, word in ((_DAY, "day"), (3600 * _S, "hour"), (60 * _S, "minute"), (_S, "second")):
        if step_us >= size:
            number = round(step_us / size)
            return word if number == 1 else f"{number} {word}s"
    return f"{step_us // 1000} ms"
