"""Reads the events that a trail holds already, for a monitor that starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import msgspec

from ..archive.missing import Missing
from ..core.time import to_microseconds
from ..events.findings import findings
from ..events.model import AuditEvent, OperationType, deleted_entries
from ..events.query import Query, is_aside
from ..trail.trail import Trail
from .alert import Alert, AlertKey
from .detector import MOST_NAMED, Detector
from .windows import Tracker

__all__ = ["count_past", "is_alert", "past_alerts"]

_JUST_NOW = timedelta(minutes=1)  # events that may come to the monitor as well


def is_alert(facts: Mapping[str, Any]) -> bool:
    """True if an AUDIT event with this metadata records an alert."""
    return facts.get("record") == "alert"


def count_past(
    detector: Detector, trail: Trail, counted: set[tuple[str, str]], missing: Missing
) -> None:
    """Count what *trail* holds, in memory and in files.

    Args:
        detector: Where to.
        trail: Which.
        counted: Gets the events of the last minute: their ids, and the rule that counted them.
        missing: Takes what cannot be read.
    """
    now = datetime.now(timezone.utc)
    groups: dict[Any, list[Tracker]] = {}
    for tracker in detector.trackers:
        key = tracker.rule.operations, tracker.rule.statuses, tracker.finding is None
        groups.setdefault(key, []).append(tracker)
    for (operations, statuses, _), trackers in groups.items():
        for event in _past(
            trail,
            missing,
            max(tracker.rule.window for tracker in trackers),
            tuple(tracker.finding for tracker in trackers if tracker.finding is not None),
            # An operation that is not listed counts as OTHER.
            operation=only if (only := _only(operations)) is not OperationType.OTHER else None,
            status=_only(statuses),
        ):
            if event.operation == OperationType.AUDIT and (
                is_alert(event.metadata) or is_aside(event)
            ):
                continue
            found = findings(event.metadata)
            for tracker in trackers:
                if now - event.timestamp > tracker.rule.window:
                    continue
                if tracker.finding is not None and tracker.finding not in found:
                    continue
                if not tracker.counts_in(event.system):
                    continue
                if tracker.counts(event.operation, event.status):
                    moment, deleted = to_microseconds(event.timestamp), deleted_entries(event)
                    detector.recall(tracker, event.user_id, moment, deleted, found)
                    if now - event.timestamp < _JUST_NOW:
                        counted.add((event.event_id, tracker.rule.name))


def _only(members: Iterable[Any]) -> Any:
    """The one of *members*; None where there are more or none."""
    found = list(members)
    return found[0] if len(found) == 1 else None


def past_alerts(
    detector: Detector, trail: Trail, missing: Missing
) -> dict[AlertKey, tuple[Alert, int]]:
    """The alerts that *trail* has as firing, and when that was last recorded.

    What still holds is of events within its rule's window, and while these came it was recorded
    once in the longest window of all: before two of them there is nothing to find.

    Args:
        detector: Whose rules.
        trail: Which.
        missing: Takes what cannot be read.
    """
    rules = {tracker.rule.name: tracker.rule for tracker in detector.trackers}
    newest: dict[AlertKey, tuple[Alert, int] | None] = {}
    longest = max((rule.window for rule in rules.values()), default=timedelta(0))
    for event in _past(trail, missing, 2 * longest + _JUST_NOW, (), operation=OperationType.AUDIT):
        facts = event.metadata
        rule = rules.get(str(facts.get("rule")))
        if rule is None or not is_alert(facts):
            continue
        count, cause = facts.get("count"), facts.get("event_id")
        alert = Alert(
            rule,
            event.subject_id if rule.per_user else None,
            count if isinstance(count, int) else rule.over + 1,
            _since(event),
            cause if isinstance(cause, str) else None,
            entry_ids=tuple(_listed(facts.get("entry_ids")))[:MOST_NAMED],
        )
        goes_on = facts.get("state") in ("firing", "ongoing")
        known = (alert, to_microseconds(event.timestamp)) if goes_on else None
        newest.setdefault(alert.key, known)
    return {key: known for key, known in newest.items() if known is not None}


def _listed(ids: Any) -> list[str]:
    return [key for key in ids if isinstance(key, str)] if isinstance(ids, list) else []


def _since(event: AuditEvent) -> datetime:
    """The time at which the alert fired that *event* records."""
    with suppress(msgspec.ValidationError):
        since = msgspec.convert(event.metadata.get("since"), datetime)
        if since.tzinfo is not None:
            return since
    return event.timestamp


def _past(
    trail: Trail, missing: Missing, window: timedelta, facts: tuple[str, ...], **asked: Any
) -> Iterator[AuditEvent]:
    """The events recorded in the last *window* that have one of the *facts*, newest first."""
    start = datetime.now(timezone.utc) - window
    here = Missing()
    query = replace(Query.of(start_time=start, **asked), facts=facts)
    yield from trail.reader.hiding_entries().search_all(query, here)
    missing.include(here)
