"""The alerts of a period: those on record, and those that the default rules find."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

from ..alerts.alert import Alert
from ..alerts.detector import Detector
from ..alerts.rules import DEFAULT_RULES
from ..alerts.warm_up import is_alert
from ..core.time import format_time, to_microseconds
from ..events.findings import FINDINGS, Finding, findings
from ..events.model import AuditEvent, EventStatus, OperationType, deleted_entries
from ..privacy.policy import PrivacyPolicy
from ..privacy.readable import recorded
from .period import Period
from .tally import Spool
from .trail_period import event_facts

__all__ = ["WARM_UP_US", "Alarms"]

#: An alert may be about events of that long before it: the longest window of a rule.
WARM_UP_US = max(rule.window + rule.keep_firing_for for rule in DEFAULT_RULES) // timedelta(
    microseconds=1
)
_USERS = 100_000  # for whom a rule by user keeps a window; see `Detector`
_LISTED = 200  # in the report's JSON; all are in a table
_AUDIT = OperationType.AUDIT
_FAILURE, _FORGET, _EXPORT = EventStatus.FAILURE, OperationType.FORGET, OperationType.EXPORT
_has_no_findings = frozenset(FINDINGS).isdisjoint
_RECORDED = ("rule", "state", "severity", "count", "since", "event_id", "entry_ids")
_COLUMNS = (
    *("source", "rule", "severity", "state", "user_id", "count", "over", "window_s", "since"),
    *("resolved_at", "event_id", "entry_ids", "trail", "sequence", "timestamp"),
)


class Alarms:
    """Collects what the rules look at, and the records of alerts.

    Args:
        period: The period.
        policy: Makes facts readable.
        decrypt: Show ids in clear, as far as there are keys.
        stack: Removes temporary files.
    """

    def __init__(
        self, period: Period, policy: PrivacyPolicy, decrypt: bool, stack: ExitStack
    ) -> None:
        self._period = period
        self._policy = policy
        self._decrypt = decrypt
        self._stack = stack
        self._watched: dict[str, Spool] = {}  # by trail
        self._on_record = Spool(stack)
        self._found = Spool(stack)
        self._is_done = False

    def take(self, writer: str, events: list[AuditEvent]) -> None:
        """Take events of one trail, of the period and of `WARM_UP_US` before it."""
        watched = [
            event
            for event in events
            if event.status is _FAILURE
            or event.operation is _FORGET
            or event.operation is _EXPORT
            or event.operation is _AUDIT
            or not _has_no_findings(event.metadata)
        ]
        for event in watched:
            self._take(writer, self._policy.reveal(event))

    def _take(self, writer: str, event: AuditEvent) -> None:
        shown = event if self._decrypt else recorded(event)
        if event.operation is _AUDIT and is_alert(event.metadata):
            if event.timestamp in self._period:
                self._record(writer, event, shown)
            return
        if writer not in self._watched:
            self._watched[writer] = Spool(self._stack)
        self._watched[writer].add(
            [
                to_microseconds(event.timestamp),
                shown.user_id,
                event.event_id,
                event.operation.value,
                event.status.value,
                deleted_entries(event),
                findings(event.metadata),
            ]
        )

    def _record(self, writer: str, event: AuditEvent, shown: AuditEvent) -> None:
        facts = {name: event.metadata.get(name) for name in _RECORDED}
        self._on_record.add(
            {"trail": writer, **event_facts(event), "user_id": shown.subject_id, "alert": facts}
        )

    # --- the answers -----------------------------------------------------------------------------

    def facts(self) -> dict[str, Any]:
        """The part ``alerts``, as JSON types."""
        self._detect()
        by_rule: dict[str, int] = {rule.name: 0 for rule in DEFAULT_RULES}
        for alert in self._found:
            by_rule[alert["rule"]] += 1
        return {
            "recorded": {"number": self._on_record.count, "first": _first(self._on_record)},
            "found": {
                "number": self._found.count,
                "by_rule": by_rule,
                "first": _first(self._found),
            },
            "rules": [
                {
                    "name": rule.name,
                    "summary": rule.summary,
                    "severity": rule.severity,
                    "over": rule.over,
                    "window_s": rule.window.total_seconds(),
                }
                for rule in DEFAULT_RULES
            ],
        }

    def table(self) -> tuple[tuple[str, ...], Iterator[list[Any]]]:
        """All alerts: the names of the columns, and the rows."""
        return _COLUMNS, self._rows()

    def _rows(self) -> Iterator[list[Any]]:
        self._detect()
        for row in self._on_record:
            told = {**row["alert"], **{key: row[key] for key in ("trail", "sequence", "timestamp")}}
            cells = {**told, "source": "recorded", "user_id": row["user_id"]}
            yield [cells.get(name) for name in _COLUMNS]
        for row in self._found:
            cells = {**row, "source": "found"}
            yield [cells.get(name) for name in _COLUMNS]

    def _detect(self) -> None:
        """Apply the rules, once."""
        if self._is_done:
            return
        self._is_done = True
        found = [alert for alert in self._alerts() if alert.since in self._period]
        for alert in sorted(found, key=_order):
            self._found.add(alert.facts())

    def _alerts(self) -> Iterator[Alert]:
        """Yield every alert in its last state at the end of the period."""
        detector = Detector(DEFAULT_RULES, max_users=_USERS)
        spools = [self._watched[writer] for writer in sorted(self._watched)]
        for row in heapq.merge(*spools, key=lambda row: row[0]):
            moment, user, event_id, operation, status, deleted, found = row
            seen = {kind: Finding(*one) for kind, one in found.items()}
            trackers = detector.concerned(operation, status, seen)
            if trackers is not None:
                changes = detector.add(
                    trackers, user, moment, event_id, deleted=deleted, found=seen
                )
                yield from (alert for alert in changes if alert.resolved_at is not None)
        yield from detector.advance(self._period.end_us)
        yield from detector.active


def _order(alert: Alert) -> tuple[str, str, str, str]:
    since = format_time(to_microseconds(alert.since))
    return since, alert.rule.name, alert.user_id or "", alert.event_id or ""


def _first(rows: Spool) -> list[Any]:
    return list(itertools.islice(rows, _LISTED))
