"""Finds jumps of the system's clock: when it is set, or when a virtual machine is restored.

Deletion by age uses this clock, and cannot be undone. So jumps are found by comparing it with
clocks that cannot be set, and the time is *settled* after a day of running without a jump.
All other durations (the age of a journal, the interval of checkpoints) are measured by the
monotonic clock.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

import msgspec

from ..core.time import format_time, parse_time, to_microseconds

__all__ = ["DAY_S", "TOLERANCE_S", "Jump", "WallClock", "behind", "to_time"]

DAY_S = 86_400.0
TOLERANCE_S = 5.0  # less is not a jump: an NTP step, a leap second, overlapping operations
_DRIFT = 0.001  # part of the time passed by which a clock may drift, or be slewed
_MOST = 10  # records of jumps per hour; the last one sums up the others
_HOUR_S = 3600.0


class Jump(msgspec.Struct, frozen=True):
    """A jump of the clock, or several that are recorded as one.

    Attributes:
        start: The time that was expected, in microseconds.
        end: The time that the clock had.
        count: Number of jumps.
    """

    start: int
    end: int
    count: int = 1

    @property
    def facts(self) -> dict[str, Any]:
        """The metadata of the audit event about it."""
        return {
            "record": "clock",
            "direction": "backward" if self.end < self.start else "forward",
            "seconds": abs(self.end - self.start) / 1e6,
            "from": format_time(self.start),
            "to": format_time(self.end),
            "jumps": self.count,
        }


class WallClock:
    """The system's clock, watched since this was made. Not thread-safe: the trail holds a lock.

    Attributes:
        jumped: True if it jumped, or was before the archive's newest time at the start.
        unreported: Jumps without an audit event yet.
    """

    def __init__(self) -> None:
        self.jumped = False
        self._moved = 0.0  # since the last `take_moved`
        self.unreported: list[Jump] = []
        self._wall, self._passed = _read()
        self._off = 0.0  # seconds that it differed, too few for a jump
        self._since = time.monotonic()  # the start, or the last jump
        self._hour, self._reported = self._since, 0

    def look(self) -> int:
        """Notice a jump since the last look; returns the time, in microseconds.

        A jump is more than `TOLERANCE_S`, and more than 0.1 % of the time between. Sleep of
        the machine is not a jump: one of the clocks that cannot be set counts it, one does not.
        """
        wall, passed = _read()
        spans = [new - old for new, old in zip(passed, self._passed, strict=True)]
        went = (wall - self._wall) / 1e6
        self._wall, self._passed = wall, passed
        off = self._off + min((went - span for span in spans), key=abs)
        room = _DRIFT * max(0.0, *spans)
        self._off = max(off - room, 0.0) if off > 0 else min(off + room, 0.0)
        if abs(self._off) > TOLERANCE_S:
            self._jump(wall - int(self._off * 1e6))
        return wall

    def start_after(self, newest: str) -> None:
        """Notice a jump if the clock is before *newest*, the newest time in the archive."""
        if (earlier := behind(format_time(self._wall), newest)) > TOLERANCE_S:
            self._jump(self._wall + int(earlier * 1e6))

    def settled(self, seconds: float) -> bool:
        """Return True after a day without a jump, or after *seconds* if that is shorter.

        Files from before the start are then older than that, whatever their times say.
        """
        return time.monotonic() - self._since >= min(DAY_S, seconds)

    def take(self) -> list[Jump]:
        """Take the jumps that are to be recorded now."""
        now = time.monotonic()
        if now - self._hour >= _HOUR_S:
            self._hour, self._reported = now, 0
        room = _MOST - self._reported
        due, self.unreported = self.unreported[:room], self.unreported[room:]
        self._reported += len(due)
        return due

    def take_moved(self) -> float:
        """Take the sum of the jumps since the last call, in seconds (negative: back)."""
        moved, self._moved = self._moved, 0.0
        return moved

    def _jump(self, start: int) -> None:
        jump = Jump(start, self._wall)
        self.jumped = True
        self._moved += (jump.end - start) / 1e6
        self._off, self._since = 0.0, time.monotonic()
        if self.unreported and len(self.unreported) + self._reported >= _MOST:
            before = self.unreported.pop()
            jump = Jump(before.start, jump.end, before.count + 1)
        self.unreported.append(jump)


def _read() -> tuple[int, tuple[float, ...]]:
    """The system's time in microseconds, and the seconds of the clocks that cannot be set."""
    for _ in range(3):  # else a process that is stopped in between would see a jump
        before = time.monotonic()
        wall, slept = time.time_ns() // 1000, _with_sleep()
        passed = time.monotonic()
        if passed - before < TOLERANCE_S / 10:
            break
    return wall, (passed, passed if slept is None else slept)


def _with_sleep() -> float | None:
    """Seconds since the machine started, with its sleep; None where no clock counts that."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)  # Linux; elsewhere `monotonic` counts sleep
    if clock is not None:
        with suppress(OSError):
            return time.clock_gettime(clock)
    return None


def to_time(text: str) -> int | None:
    """The microseconds of a time as it is written in events; None if *text* is not a time."""
    moment = parse_time(text)
    return None if moment is None else to_microseconds(moment)


def behind(text: str, other: str) -> float:
    """Seconds by which *text* is before *other*; 0.0 if it is not, or one is not a time."""
    early, late = to_time(text), to_time(other)
    return 0.0 if early is None or late is None else max(0.0, (late - early) / 1e6)
