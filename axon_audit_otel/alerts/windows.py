"""The sliding windows of a rule: one for all users, or one for each of those active last.

A window keeps the newest ``over + 1`` times only: more than *over* events lie within the
rule's window exactly when the oldest of these times does. If entries are counted, it keeps the
time of an event once for each entry.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from datetime import timedelta

from ..events.findings import FINDINGS
from ..events.model import OperationType
from .alert import Alert
from .rules import Rule

__all__ = ["Tracker", "Window"]


class Tracker:
    """The windows of one rule."""

    def __init__(self, rule: Rule, max_users: int) -> None:
        self.rule = rule
        self.span = rule.window // timedelta(microseconds=1)
        self.keep = rule.keep_firing_for // timedelta(microseconds=1)
        self.deletions = rule.counting == "deleted"
        self.finding = rule.counting if rule.counting in FINDINGS else None
        self.everybody = None if rule.per_user else Window(self, None)
        self.users: OrderedDict[str, Window] = OrderedDict()  # the last active user is last
        self._max_users = max_users

    def counts(self, operation: OperationType, status: str) -> bool:
        """Return True if the rule counts events of that operation and status."""
        rule = self.rule
        return (not rule.operations or operation.listed in rule.operations) and (
            not rule.statuses or status in rule.statuses
        )

    def counts_in(self, system: str | None) -> bool:
        """Return True if the rule counts events of that memory system."""
        return self.rule.system is None or self.rule.system == system

    def window_of(self, user_id: str | None) -> tuple[Window | None, Window | None]:
        """The window that counts a user's events, if any, and the one dropped for it."""
        if self.everybody is not None or user_id is None:
            return self.everybody, None
        window = self.users.get(user_id)
        if window is not None:
            self.users.move_to_end(user_id)
            return window, None
        forgotten = None
        if len(self.users) >= self._max_users:
            _, forgotten = self.users.popitem(last=False)
        window = self.users[user_id] = Window(self, user_id)
        return window, forgotten

    def recall(self, user_id: str | None) -> Window | None:
        """The window of a user active before all others so far; None if there is no room."""
        if self.everybody is not None or user_id is None:
            return self.everybody
        window = self.users.get(user_id)
        if window is None and len(self.users) < self._max_users:
            window = self.users[user_id] = Window(self, user_id)
            self.users.move_to_end(user_id, last=False)
        return window

    def all(self) -> list[Window]:
        return [self.everybody] if self.everybody is not None else list(self.users.values())


class Window:
    """The newest ``over + 1`` times in order, in a ring."""

    __slots__ = (
        *("_head", "_size", "_span", "_times"),
        *("alert", "found", "named", "total", "tracker", "until", "user_id"),
    )

    def __init__(self, tracker: Tracker, user_id: str | None) -> None:
        self.tracker = tracker
        self.user_id = user_id
        self.alert: Alert | None = None
        self.named: tuple[str, ...] = ()  # entries from before the start
        self.found = 0  # number of events within the rule's window when the alert fires
        self.total = 0  # number of events that the alert has counted
        self.until = 0  # time when the alert ends unless more events come
        self._size = tracker.rule.over + 1
        self._span = tracker.span
        self._times = array("q")
        self._head = 0  # index of the oldest time when the ring is full

    def push(self, time_us: int) -> bool:
        """Count the newest event; return True if more than *over* lie within the window."""
        times, head = self._times, self._head
        if len(times) == self._size:
            times[head] = time_us
            head += 1
            if head == self._size:
                head = 0
            self._head = head
        else:
            times.append(time_us)
            if len(times) < self._size:
                return False
        end = times[head] + self._span
        if end < time_us:
            return False
        self.found = self._size
        self.until = end + self.tracker.keep
        return True

    def insert(self, time_us: int, clock: int, number: int = 1) -> bool:
        """Count an event *number* times, in the order of time; return the result of `holds`."""
        times = self._times = self._times[self._head :] + self._times[: self._head]
        self._head = 0
        self.found = len(times) - bisect_left(times, clock - self._span) + number
        place = bisect_right(times, time_us)
        times[place:place] = array("q", [time_us]) * min(number, self._size)
        del times[: -self._size]
        return self.holds(clock)

    def holds(self, clock: int) -> bool:
        """Return True if more than *over* events lie within the window that ends at *clock*."""
        if len(self._times) < self._size:
            return False
        end = self._times[self._head] + self._span
        if end < clock:
            return False
        self.until = end + self.tracker.keep
        return True

    def recall(self, time_us: int, number: int) -> None:
        """Count an event from before the start *number* times; `sort` orders the times."""
        room = self._size - len(self._times)
        if room:
            self._times.extend(array("q", [time_us]) * min(number, room))

    def sort(self) -> None:
        """Order the times; call it after the last `recall`."""
        self.found = self._size  # `recall` has counted no more
        self._times = array("q", sorted(self._times))

    @property
    def newest(self) -> int:
        """The newest time; 0 without one."""
        return self._times[self._head - 1] if self._times else 0
