"""Applies rules to a stream of events: alerts that fire once and resolve."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from itertools import count

from ..events.findings import Finding
from ..events.model import EventStatus, OperationType, listed
from .alert import Alert, AlertKey
from .rules import Rule
from .windows import Tracker, Window

__all__ = ["MOST_NAMED", "Detector"]

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_US = 1_000_000
_LISTED, _OTHER = frozenset(one.value for one in OperationType), OperationType.OTHER.value
#: Of so many entries an alert has the ids; then it counts the others, and fires for them no more.
MOST_NAMED = 100
_NOTHING: Mapping[str, Finding] = {}
_NOTHING_NAMED: Sequence[str] = ()
_STEP_BACK = _US  # if the clock goes back further than this, somebody has set it


class Detector:
    """Finds alerts in a stream of events. Not thread-safe.

    Its clock is the newest time of an event. An event that is older than a rule's window at
    that time does not count; all others count, in any order.

    Args:
        rules: The rules to apply.
        max_users: The number of users for whom each rule per user keeps a window, those active
            last. Memory is limited to *max_users* times ``8 * over + 1000`` bytes a rule.
    """

    def __init__(self, rules: Iterable[Rule], max_users: int) -> None:
        self.trackers = [Tracker(rule, max_users) for rule in rules]
        self.late = 0  # number of times that an event was too old for a rule
        self.clock = -(1 << 63)
        self._shift = 0  # `clock` minus the system's time, since `clock` never goes back
        self._of_findings = [t for t in self.trackers if t.finding]
        others = [t for t in self.trackers if not t.finding]
        by_kind: dict[tuple[str, str], tuple[Tracker, ...]] = {}
        for operation in OperationType:
            for status in EventStatus:
                found = tuple(t for t in others if t.counts(operation, status))
                if found:
                    by_kind[operation.value, status.value] = found
        self._by_kind = by_kind
        self._by_system = any(t.rule.system is not None for t in self.trackers)
        self._due: list[tuple[int, int, Window]] = []  # a heap of times when alerts may end
        self._order = count()
        self._firing = 0

    def concerned(
        self,
        operation: str,
        status: str,
        found: Mapping[str, Finding] = _NOTHING,
        system: str | None = None,
    ) -> tuple[Tracker, ...] | None:
        """The trackers that count events of an operation, status and system, and what is *found*
        in their facts; None: no tracker."""
        trackers = self._by_kind.get((operation, status))
        if trackers is None and operation not in _LISTED:
            trackers = self._by_kind.get((_OTHER, status))
        if found:
            kind = listed(operation)
            more = (t for t in self._of_findings if t.finding in found and t.counts(kind, status))
            trackers = (*(trackers or ()), *more) or None
        if trackers is not None and self._by_system:
            return tuple(t for t in trackers if t.counts_in(system)) or None
        return trackers

    def add(
        self,
        trackers: tuple[Tracker, ...],
        user_id: str | None,
        time_us: int,
        event_id: str | None = None,
        now_us: int | None = None,
        deleted: int = 0,
        found: Mapping[str, Finding] = _NOTHING,
    ) -> list[Alert]:
        """Count an event; return the alerts that it ended or caused.

        Args:
            trackers: The result of `concerned`.
            user_id: The user who acted.
            time_us: Time of the event: Unix time in microseconds.
            event_id: Its id.
            now_us: The system's time. A newer event counts as of that time. If this time goes
                back (somebody has set the clock), the times in the windows move along.
            deleted: Number of entries that it deleted, for rules that count these.
            found: What was found in its facts, the same that `concerned` got.
        """
        if now_us is not None:
            time_us = self._on_clock(time_us, now_us)
        changes: list[Alert] = []
        if time_us > self.clock:
            self.clock = time_us
            if self._due:
                changes += self.advance(time_us)
        for tracker in trackers:
            number, named = (deleted if tracker.deletions else 1), _NOTHING_NAMED
            if tracker.finding is not None:
                number, named = found[tracker.finding]
            window, forgotten = tracker.window_of(user_id) if number else (None, None)
            if forgotten is not None:
                changes += self._end(forgotten, self.clock)
                self._tidy()
            if window is None:
                continue
            goes_on = window.alert is not None
            if self._breaks(window, time_us, number):
                changes.append(self._fire(window, time_us, event_id, named=named))
            elif goes_on and named and (again := self._name(window, named, event_id)) is not None:
                changes.append(again)
        return changes

    def _on_clock(self, time_us: int, now_us: int) -> int:
        """The time of an event on `clock`; see `add`."""
        if now_us + self._shift < self.clock - _STEP_BACK:
            self._shift = self.clock - now_us
        return min(time_us, now_us) + self._shift

    def _breaks(self, window: Window, time_us: int, number: int) -> bool:
        """Count an event *number* times; return True if an alert is to fire."""
        if time_us == self.clock and number == 1:
            holds = window.push(time_us)
        elif self.clock - time_us <= window.tracker.span:
            holds = window.insert(time_us, self.clock, number)
        else:
            self.late += 1
            return False
        if window.alert is not None:
            window.total += number
            return False
        return holds

    def advance(self, time_us: int) -> list[Alert]:
        """End the alerts that are over at *time_us*, and return them."""
        changes: list[Alert] = []
        while self._due and self._due[0][0] < time_us:
            window = heapq.heappop(self._due)[2]
            if window.alert is None:
                continue  # ended already, since its user was dropped
            if window.until >= time_us:
                heapq.heappush(self._due, (window.until, next(self._order), window))
            else:
                changes += self._end(window, window.until)
        return changes

    @property
    def due(self) -> int | None:
        """The time on `clock` when the next alert may end; None without an alert."""
        return self._due[0][0] if self._due else None

    @property
    def active(self) -> list[Alert]:
        """The alerts that fire now, the oldest first."""
        windows = (window for tracker in self.trackers for window in tracker.all())
        alerts = (replace(w.alert, count=w.total) for w in windows if w.alert is not None)
        return sorted(alerts, key=lambda alert: alert.since)

    # --- warm-up -------------------------------------------------------------------------------

    def recall(
        self,
        tracker: Tracker,
        user_id: str | None,
        time_us: int,
        deleted: int = 0,
        found: Mapping[str, Finding] = _NOTHING,
    ) -> None:
        """Count an event from before the start; call it for the newest event first."""
        number, named = (deleted if tracker.deletions else 1), _NOTHING_NAMED
        if tracker.finding is not None:
            number, named = found.get(tracker.finding, (0, _NOTHING_NAMED))
        window = tracker.recall(user_id) if number else None
        if window is not None:
            window.recall(time_us, number)
            if named:
                window.named = tuple(dict.fromkeys((*window.named, *named)))[:MOST_NAMED]
            self.clock = max(self.clock, time_us)

    def settle(self, fired: dict[AlertKey, Alert], now_us: int) -> list[Alert]:
        """Finish the warm-up, and return the changes since the last run.

        These are the alerts that fire at *now_us* and are not in *fired*, and the alerts of
        *fired* that are over.
        """
        changes: list[Alert] = []
        for tracker in self.trackers:
            for window in tracker.all():
                window.sort()
                earlier = fired.pop((tracker.rule.name, window.user_id), None)
                if window.holds(now_us):
                    alert = self._fire(window, window.newest, None, earlier, window.named)
                    again = None if earlier is None else self._name(window, window.named, None)
                    changes += [alert] if earlier is None else [again] if again else []
                elif earlier is not None:
                    changes.append(replace(earlier, resolved_at=self._time(now_us)))
        over = self._time(now_us)
        return [*changes, *(replace(alert, resolved_at=over) for alert in fired.values())]

    # --- changes -------------------------------------------------------------------------------

    def _fire(
        self,
        window: Window,
        time_us: int,
        event_id: str | None,
        earlier: Alert | None = None,
        named: Sequence[str] = (),
    ) -> Alert:
        window.total = window.found if earlier is None else earlier.count
        window.alert = earlier or Alert(
            window.tracker.rule,
            window.user_id,
            window.total,
            self._time(time_us),
            event_id,
            entry_ids=tuple(dict.fromkeys(named))[:MOST_NAMED],
        )
        heapq.heappush(self._due, (window.until, next(self._order), window))
        self._firing += 1
        return window.alert

    @staticmethod
    def _name(window: Window, named: Sequence[str], event_id: str | None) -> Alert | None:
        """Add entries to those that the alert of *window* names; returns it if it fires again."""
        assert window.alert is not None
        known = window.alert.entry_ids
        new = [key for key in dict.fromkeys(named) if key not in known][: MOST_NAMED - len(known)]
        if not new:
            return None
        window.alert = replace(window.alert, entry_ids=(*new, *known))
        if window.tracker.rule.over:
            return None
        return replace(window.alert, count=window.total, event_id=event_id)

    def _end(self, window: Window, time_us: int) -> Iterator[Alert]:
        if window.alert is not None:
            over = self._time(time_us)
            yield replace(window.alert, count=window.total, resolved_at=over)
            window.alert = None
            self._firing -= 1

    def _tidy(self) -> None:
        """Remove the entries of dropped users from the heap when they are many."""
        if len(self._due) > 2 * self._firing + 64:
            self._due = [entry for entry in self._due if entry[2].alert is not None]
            heapq.heapify(self._due)

    def _time(self, time_us: int) -> datetime:
        return _EPOCH + timedelta(microseconds=time_us - self._shift)
