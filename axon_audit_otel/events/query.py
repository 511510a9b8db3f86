"""A query: its filters, checked once, and the events that pass them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from itertools import filterfalse
from typing import Any, Protocol

from ..core.errors import InvalidEventError, shown
from ..core.semconv import ERASABLE_ENTRY_PREFIX
from ..core.time import to_microseconds
from .identifiers import checked_text, digest_of, identifier, identifiers, is_digest
from .lineage import tells_of_derived
from .model import AuditEvent, EventStatus, OperationType, success_rate, totals

__all__ = ["ACCESS", "START", "Query", "is_aside", "is_start"]

#: metadata["record"] of the AUDIT event that each writer begins with.
START = "start"
#: metadata["record"] of the AUDIT event that says who read the trail.
ACCESS = "access"
_AUDIT = OperationType.AUDIT  # looked up once: that is slow

#: Fields with ids of persons and sessions, which may be recorded in another form; and all that
#: are compared as they are.
_NAMES = ("user_id", "session_id", "subject_id", "agent_id", "on_behalf_of")
_EXACT = ("operation", "status", "system", "store", "action", *_NAMES, "purpose", "trace_id")
_is_trace = re.compile("[0-9a-f]{32}").fullmatch


class Aliases(Protocol):
    """Knows the other forms under which an id may have been recorded."""

    def aliases(self, field: str, value: str) -> tuple[str, ...]:
        """The texts that may stand for *value* in that field of an event."""


@dataclass(frozen=True)
class Query:
    """Filters that an event must all pass; None lets every event pass.

    The records `start` and `access` say who wrote, and who read the trail, not what was done in
    the memory: they pass only if the operation AUDIT is asked for, or with *with_start*.
    """

    operation: OperationType | None = None
    status: EventStatus | None = None
    user_id: str | None = None
    session_id: str | None = None
    subject_id: str | None = None
    agent_id: str | None = None
    on_behalf_of: str | None = None
    purpose: str | None = None
    trace_id: str | None = None
    system: str | None = None
    store: str | None = None
    action: str | None = None
    entry_ids: frozenset[str] | None = None
    facts: tuple[str, ...] = ()  # names, of which its metadata must have one
    start_us: int | None = None
    end_us: int | None = None
    limit: int | None = None
    #: What stands for the value of a field, besides that value.
    aliases: tuple[tuple[str, tuple[str, ...]], ...] = ()
    with_start: bool = False
    #: Only events that tell of derived entries.
    derives: bool = False
    #: Events with any encrypted id of an entry pass `entry_ids`: whoever asks has a look at them.
    any_encrypted: bool = False

    @classmethod
    def of(
        cls,
        operation: Any = None,
        status: Any = None,
        user_id: str | None = None,
        session_id: str | None = None,
        subject_id: str | None = None,
        entry_ids: Iterable[str] | str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        limit: int | None = None,
        naive: timezone | None = None,
        agent_id: str | None = None,
        on_behalf_of: str | None = None,
        purpose: str | None = None,
        trace_id: str | None = None,
        system: str | None = None,
        store: str | None = None,
        action: str | None = None,
    ) -> Query:
        """A query from the arguments of `AuditLogger.query_events`.

        Raises:
            InvalidEventError: If an argument cannot be meant: an unknown operation or
                status, no datetime, *start_time* after *end_time*, a negative *limit*, a
                *purpose* or name that is no text, a *trace_id* without 32 hex digits.
        """
        try:
            ids = None if entry_ids is None else frozenset(identifiers(entry_ids))
        except Exception as exc:  # an argument that raises when one looks at it
            msg = f"entry_ids={shown(entry_ids)}: cannot be read"
            raise InvalidEventError(msg) from exc
        start_us = _moment("start_time", start_time, naive)
        end_us = _moment("end_time", end_time, naive)
        if start_us is not None and end_us is not None and start_us > end_us:
            msg = f"start_time {start_time} is after end_time {end_time}: swap them"
            raise InvalidEventError(msg)
        if limit is not None and (
            isinstance(limit, bool) or not isinstance(limit, int) or limit < 0
        ):
            msg = f"limit={shown(limit)}: must be a whole number of at least 0"
            raise InvalidEventError(msg)
        return cls(
            operation=None if operation is None else OperationType.parse(operation),
            status=None if status is None else EventStatus.parse(status),
            user_id=None if user_id is None else identifier(user_id),
            session_id=None if session_id is None else identifier(session_id),
            subject_id=None if subject_id is None else identifier(subject_id),
            agent_id=None if agent_id is None else identifier(agent_id),
            on_behalf_of=None if on_behalf_of is None else identifier(on_behalf_of),
            purpose=None if purpose is None else checked_text("purpose", purpose),
            trace_id=None if trace_id is None else _trace(trace_id),
            system=None if system is None else checked_text("system", system),
            store=None if store is None else checked_text("store", store),
            action=None if action is None else checked_text("action", action),
            entry_ids=ids,
            start_us=start_us,
            end_us=end_us,
            limit=limit,
        )

    def under(self, pseudonyms: Aliases | None) -> Query:
        """This query, answered as well by events in which pseudonyms stand for its ids."""
        if pseudonyms is None:
            return self
        named = [(field, getattr(self, field)) for field in _NAMES]
        added = [(f, pseudonyms.aliases(f, real)) for f, real in named if real is not None]
        ids = self.entry_ids
        if ids:
            hashed = (also for key in ids for also in pseudonyms.aliases("entry_ids", key))
            ids = ids.union(hashed)
        return replace(self, aliases=self.aliases + tuple(added), entry_ids=ids)

    @cached_property
    def keys(self) -> dict[str, tuple[str, ...]]:
        """The values that indexed fields must have: one of each."""
        return {
            name: (str(value), *(also for f, more in self.aliases if f == name for also in more))
            for name in _EXACT
            if (value := getattr(self, name)) is not None
        }

    def has_facts(self, event: AuditEvent) -> bool:
        """True if *event* passes the filter of `facts`."""
        return not self.facts or not event.metadata.keys().isdisjoint(self.facts)

    def passing(self, events: Iterable[AuditEvent]) -> Iterator[AuditEvent]:
        """The *events* that pass every filter (times include both ends), in their order.

        `limit` is not looked at.
        """
        for name, values in self.keys.items():
            events = _having(events, name, values)
        if self.operation is None and not self.with_start:
            events = filterfalse(is_aside, events)
        if self.derives:
            events = filter(tells_of_derived, events)
        if self.entry_ids is not None:
            events = _touching(events, self.entry_ids, self.any_encrypted)
        if self.facts:
            events = filter(self.has_facts, events)
        if self.start_us is not None or self.end_us is not None:
            events = _within(events, self.start_us, self.end_us)
        return iter(events)


def is_start(event: AuditEvent) -> bool:
    """Whether *event* is the record that a writer begins with."""
    return event.operation is _AUDIT and event.metadata.get("record") == START


def is_aside(event: AuditEvent) -> bool:
    """Whether *event* says who wrote or read the trail, and nothing of the memory."""
    return event.operation is _AUDIT and event.metadata.get("record") in (START, ACCESS)


def has(event: AuditEvent, name: str, values: tuple[str, ...]) -> bool:
    """True if the field *name* is one of *values*; for ``subject_id``, also any subject."""
    if getattr(event, name) in values:
        return True
    subjects = event.subjects
    if name != "subject_id" or not subjects:
        return False
    if not set(values).isdisjoint(subjects):
        return True
    return is_digest(subjects[-1]) and not set(map(digest_of, values)).isdisjoint(subjects)


def _having(
    events: Iterable[AuditEvent], name: str, values: tuple[str, ...]
) -> Iterator[AuditEvent]:
    if name == "subject_id":
        return (event for event in events if has(event, name, values))
    return (event for event in events if getattr(event, name) in values)


def _touching(
    events: Iterable[AuditEvent], ids: frozenset[str], any_encrypted: bool
) -> Iterator[AuditEvent]:
    if not any_encrypted:
        return (event for event in events if not ids.isdisjoint(event.entry_ids))
    return (
        event
        for event in events
        if not ids.isdisjoint(event.entry_ids)
        or any(key.startswith(ERASABLE_ENTRY_PREFIX) for key in event.entry_ids)
    )


def _within(
    events: Iterable[AuditEvent], start: int | None, end: int | None
) -> Iterator[AuditEvent]:
    for event in events:
        moment = to_microseconds(event.timestamp)
        if (start is None or start <= moment) and (end is None or moment <= end):
            yield event


def _trace(value: Any) -> str:
    """A trace id as it is recorded, in lower case."""
    if isinstance(value, str) and _is_trace(text := value.lower()):
        return text
    msg = f"trace_id={shown(value)}: must be 32 hex digits"
    raise InvalidEventError(msg)


def _moment(name: str, value: datetime | None, naive: timezone | None) -> int | None:
    if value is None:
        return None
    if not isinstance(value, datetime):
        msg = f"{name}={shown(value)}: must be a datetime"
        raise InvalidEventError(msg)
    return to_microseconds(value, naive)


def activity(events: Iterable[AuditEvent]) -> dict[str, Any]:
    """Statistics of a set of events: counts, success rate, average, first and last.

    Returns:
        ``total_operations``, ``by_operation``, ``by_status``, ``success_rate`` (0 to 1; see
        `event.success_rate`), ``avg_duration_ms``, ``first_activity``, ``last_activity``
        (aware datetimes or None) and ``most_common_operation`` (a name or None).
    """
    outcomes: Counter[tuple[str, str]] = Counter()
    duration, timed = 0.0, 0
    total = 0
    first: datetime | None = None
    last: datetime | None = None
    for event in events:
        outcomes[event.operation.value, event.status.value] += 1
        total += 1
        first = event.timestamp if first is None else min(first, event.timestamp)
        last = event.timestamp if last is None else max(last, event.timestamp)
        if event.duration_ms is not None:
            duration += event.duration_ms
            timed += 1
    operations, statuses = totals(outcomes)
    return {
        "total_operations": total,
        "by_operation": dict(operations.most_common()),
        "by_status": dict(statuses.most_common()),
        "success_rate": success_rate(outcomes),
        "avg_duration_ms": duration / timed if timed else 0.0,
        "first_activity": first,
        "last_activity": last,
        "most_common_operation": min(
            operations, key=lambda op: (-operations[op], op), default=None
        ),
    }
