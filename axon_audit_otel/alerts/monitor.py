"""`SecurityMonitor`: alerts inside the process, for those who have no Prometheus."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from contextvars import Context
from datetime import timedelta
from functools import partial
from itertools import takewhile
from time import time_ns
from typing import Any
from weakref import WeakMethod, ref

from ..archive.missing import Missing
from ..core.errors import ArchiveError, AuditConfigError, AuditUnavailableError, shown
from ..core.log import logger
from ..core.time import format_time, to_microseconds
from ..core.worker import Worker
from ..events.draft import Draft, draft
from ..events.findings import findings, has_findings
from ..events.model import deleted_entries
from ..trail.audit_logger import AuditLogger
from .alert import Alert, AlertKey
from .detector import Detector
from .rules import DEFAULT_RULES, Rule, checked_rules
from .warm_up import count_past, is_alert, past_alerts
from .windows import Tracker

__all__ = ["SecurityMonitor"]


_WAIT_S = (0.01, 60.0)  # between two looks at what is over: at least, and at most
_LATE_US = 60_000_000  # how much later than the warm-up an event may come that it has read
_TRACE = ("trace_id", "span_id", "trace_flags")  # of the event that an alert is about
_Callback = Callable[[Alert], Any]


class SecurityMonitor:
    """Watches a trail, and reports when a rule holds.

    Every event is counted as it is recorded, whoever records it; nothing is searched. When a
    rule begins to hold, one alert fires: it is recorded in the trail itself (operation AUDIT,
    metadata ``record: alert``), and *on_alert* is called; an alert that names entries fires again
    when it finds others (see `Rule`). When the rule no longer holds, the alert is recorded as
    resolved. Long-running alerts are re-recorded once per window (the longest of all rules), so
    that a restart remembers them; it reads back over two such windows. Events count by their own
    time; one that comes later than its rule's window is not counted. What alerts record is never
    counted.

    Each process watches its own events: a forked child begins with none.

    Args:
        audit_logger: Whose events. The monitor lasts as long as it does, or until `close`.
        rules: What to look for: rules, or a JSON file of them. Default: `DEFAULT_RULES`.
        on_alert: Called with every `Alert` that fires, in the thread that recorded the event,
            before that returns; it must not block. What it returns is awaited in the event
            loop that runs there, else in the one that ran where the monitor was made, else
            there and then. What it raises is logged once, counted in
            ``axon_audit_failures_total``, and goes no further. Default: a warning is logged.
        on_resolved: Called in the same way with every alert that is over.
        warm_up: Count what is in memory and in the archive already (of all processes that
            write to it): a restart forgets nothing, and an alert that fires on is not repeated.
        max_users: Of how many users each rule per user keeps count: those active last. Takes
            at most *max_users* times ``8 * over + 1000`` bytes a rule, and the ids of the entries
            that alerts name.

    Raises:
        AuditConfigError: If an argument cannot work.
    """

    _home: asyncio.AbstractEventLoop | None
    _waiting: list[Draft] | None

    def __init__(
        self,
        audit_logger: AuditLogger,
        rules: Iterable[Rule] | str | os.PathLike[str] = DEFAULT_RULES,
        on_alert: _Callback | None = None,
        *,
        on_resolved: _Callback | None = None,
        warm_up: bool = True,
        max_users: int = 10_000,
    ) -> None:
        if not isinstance(audit_logger, AuditLogger):
            msg = f"audit_logger={shown(audit_logger)}: must be an axon_audit_otel.AuditLogger"
            raise AuditConfigError(msg)
        self._audit = ref(audit_logger)  # the trail keeps us; we must not keep the trail
        self._fault = partial(audit_logger.trail.fault, "monitor")
        self.rules = checked_rules(rules)
        longest = max((rule.window for rule in self.rules), default=timedelta(0))
        self._again_us = longest // timedelta(microseconds=1)
        self._on_alert = _checked("on_alert", on_alert) or _log
        self._on_resolved = _checked("on_resolved", on_resolved)
        if isinstance(max_users, bool) or not isinstance(max_users, int) or max_users < 1:
            msg = f"max_users={shown(max_users)}: must be a whole number of at least 1"
            raise AuditConfigError(msg)
        self._max_users = max_users
        self._begin()
        with suppress(RuntimeError):
            self._home = asyncio.get_running_loop()
        if hasattr(os, "register_at_fork"):
            forked = WeakMethod(self._begin)
            os.register_at_fork(after_in_child=lambda: (f := forked()) and f())
        if warm_up:
            self._waiting = []
        audit_logger.trail.watch(self._see)
        if warm_up:
            self._warm_up(audit_logger)

    def _begin(self) -> None:
        """With nothing counted; in a forked child as well."""
        # Reentrant: a finalizer may record something while we count.
        self._lock = threading.RLock()
        self._detector = Detector(self.rules, self._max_users)
        self._seen = 0  # the system's time when the newest event came
        self._waiting = None  # what came during the warm-up
        self._counted: set[tuple[str, str]] = set()  # what the warm-up counted: event and rule
        self._counted_until = time_ns() // 1000 + _LATE_US
        self._worker = Worker("axon-audit-monitor", self._tick, self._fault)
        self._home = None
        self._tasks: set[asyncio.Future[None]] = set()
        self._recorded: dict[AlertKey, int] = {}  # alerts that fire: when last; oldest first

    def __repr__(self) -> str:
        return f"SecurityMonitor(rules={len(self.rules)}, active={len(self.active)})"

    @property
    def active(self) -> list[Alert]:
        """The alerts that fire now, the oldest first."""
        with self._lock:
            return self._detector.active

    @property
    def late_events(self) -> int:
        """Number of times that an event came too late for a rule to count."""
        return self._detector.late

    def close(self) -> None:
        """Stop watching. Alerts that fire are neither resolved nor repeated by the next one."""
        audit = self._audit()
        if audit is not None:
            audit.trail.unwatch(self._see)
        self._worker.close()

    def __enter__(self) -> SecurityMonitor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    # --- what is recorded now ------------------------------------------------------------------

    def _see(self, draft: Draft) -> None:
        """Count one event that was recorded. Never raises."""
        try:
            operation, facts = draft["operation"], draft["metadata"]
            found = findings(facts) if has_findings(facts) else {}
            trackers = self._detector.concerned(
                operation, draft["status"], found, draft.get("system")
            )
            if trackers is None or (operation == "AUDIT" and is_alert(facts)):
                return
            with self._lock:
                if self._waiting is not None:
                    self._waiting.append(draft)
                    return
                self._seen = now = time_ns() // 1000
                if self._counted:
                    trackers = self._uncounted(draft["event_id"], trackers, now)
                changes = self._detector.add(
                    trackers,
                    draft["user_id"],
                    draft.time_us,
                    draft["event_id"],
                    now,
                    deleted_entries(draft),
                    found,
                )
            if changes:
                self._report(changes, draft)
        except Exception as exc:  # the instrumented call
            self._fault(exc)

    def _uncounted(
        self, event_id: str, trackers: tuple[Tracker, ...], now: int
    ) -> tuple[Tracker, ...]:
        """The *trackers* that have not counted the event in the warm-up, which may have read an
        event that its thread shows us only now."""
        if now > self._counted_until:
            self._counted.clear()
        return tuple(t for t in trackers if (event_id, t.rule.name) not in self._counted)

    # --- what is over although nothing happens ---------------------------------------------------

    def _tick(self) -> float | None:
        """End what is over; returns in how many seconds to look again, None: not at all."""
        with self._lock:
            now = self._detector.clock + max(0, time_ns() // 1000 - self._seen)
            over = self._detector.advance(now)
            due = self._detector.due
        self._report(over)
        again = self._write_again()
        if due is None:
            return None
        return min(max(min((due - now) / 1e6, again), _WAIT_S[0]), _WAIT_S[1])

    # --- alerts --------------------------------------------------------------------------------

    def _report(self, changes: Iterable[Alert], cause: Draft | None = None) -> None:
        """Record what changed and call back; without the lock."""
        for alert in changes:
            audit = self._audit()
            if audit is None:
                return
            self._write(audit, alert, alert.state, cause)
            callback = self._on_alert if alert.resolved_at is None else self._on_resolved
            if callback is not None:
                # Not in the context of the operation that caused it: what the callback does
                # to a memory is an operation of its own, and nobody's.
                Context().run(self._call, callback, alert)
            self._worker.wake()  # as long as an alert fires, there is a thread

    def _write(
        self, audit: AuditLogger, alert: Alert, state: str, cause: Draft | None = None
    ) -> None:
        with self._lock:
            now, known = time_ns() // 1000, self._recorded.get(alert.key)
            if state == "ongoing" and (known is None or known > now - self._again_us):
                return  # it has ended meanwhile, or another thread has written it
            self._recorded.pop(alert.key, None)
            if alert.resolved_at is None:
                self._recorded[alert.key] = now
        try:
            audit.emit(_record(alert, state, audit, cause))
        except AuditUnavailableError as exc:
            self._fault(exc)

    def _write_again(self) -> float:
        """Record the alerts that go on for long; returns in how many seconds to do it again."""
        audit, now, every = self._audit(), time_ns() // 1000, self._again_us
        with self._lock:
            old = set(takewhile(lambda key: self._recorded[key] <= now - every, self._recorded))
            alerts = [alert for alert in self._detector.active if alert.key in old] if old else []
        for alert in alerts:
            if audit is not None:
                self._write(audit, alert, "ongoing")
        with self._lock:
            return (next(iter(self._recorded.values()), now) + every - now) / 1e6

    def _call(self, callback: _Callback, alert: Alert) -> None:
        try:
            result = callback(alert)
            if inspect.isawaitable(result):
                self._await(self._finish(result))
        except (Exception, asyncio.CancelledError) as exc:
            self._fault(exc)

    def _await(self, callback: Any) -> None:
        """Run a coroutine: in this thread's loop, else in that of our maker, else here."""
        try:
            task: asyncio.Future[None] = asyncio.get_running_loop().create_task(callback)
        except RuntimeError:
            home = self._home
            if home is None or not home.is_running():
                asyncio.run(callback)
                return
            asyncio.run_coroutine_threadsafe(callback, home)
            return
        self._tasks.add(task)  # a loop does not keep its tasks
        task.add_done_callback(self._tasks.discard)

    async def _finish(self, result: Awaitable[Any]) -> None:
        try:
            await result
        except Exception as exc:  # the application's callback
            self._fault(exc)

    # --- what was recorded before ----------------------------------------------------------------

    def _warm_up(self, audit: AuditLogger) -> None:
        """Count what is recorded already, then what came meanwhile."""
        known: dict[AlertKey, tuple[Alert, int]] = {}
        missing = Missing()
        fault: OSError | None = None
        try:
            count_past(self._detector, audit.trail, self._counted, missing)
        except OSError as exc:  # the keys cannot be read: we begin with what could be counted
            fault = exc
        try:
            known = past_alerts(self._detector, audit.trail, missing)
        except OSError as exc:
            fault = exc
        if missing:
            fault = ArchiveError(str(missing))
        if fault is not None:
            self._fault(fault)
        with self._lock:
            self._seen = max(self._detector.clock, 0)
            self._recorded = {key: at for key, (_, at) in reversed(known.items())}
            fired = {key: alert for key, (alert, _) in known.items()}
            changes = self._detector.settle(fired, time_ns() // 1000)
            waiting, self._waiting = self._waiting or [], None
        self._report(changes)
        self._write_again()
        for recorded in waiting:
            self._see(recorded)


def _record(alert: Alert, state: str, audit: AuditLogger, cause: Draft | None) -> Draft:
    """The event that records *alert*."""
    rule = alert.rule
    facts = {
        "record": "alert",
        "rule": rule.name,
        "state": state,
        "severity": rule.severity,
        "count": alert.count,
        "over": rule.over,
        "window_s": rule.window.total_seconds(),
        "summary": rule.summary,
        "since": format_time(to_microseconds(alert.since)),
    }
    if alert.event_id is not None:
        facts["event_id"] = alert.event_id
    if alert.resolved_at is not None:
        facts["resolved_at"] = format_time(to_microseconds(alert.resolved_at))
    if alert.entry_ids:
        facts["entry_ids"] = list(alert.entry_ids)
    trace: dict[str, Any] = {} if cause is None else {name: cause.get(name) for name in _TRACE}
    return draft(
        "AUDIT", "SUCCESS", metadata=facts, subject_id=alert.user_id, trail=audit.trail, **trace
    )


def _log(alert: Alert) -> None:
    logger.warning("%s", alert)


def _checked(name: str, function: Any) -> Any:
    if function is None or callable(function):
        return function
    msg = f"{name}={shown(function)}: must be a function of an Alert"
    raise AuditConfigError(msg)
