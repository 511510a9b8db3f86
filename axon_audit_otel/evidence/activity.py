"""Who did what in a period: counted exactly, in bounded memory."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import groupby
from operator import attrgetter
from typing import Any

from ..core.semconv import ERASABLE_PREFIX, PSEUDONYM_PREFIX
from ..core.time import format_time, to_microseconds
from ..events.findings import FINDINGS, findings, has_findings
from ..events.model import AuditEvent, OperationType, deleted_entries, success_rate, totals
from ..events.query import is_start
from .period import Period
from .tally import Spool, Tally

__all__ = ["Activity", "Row", "Table"]

Row = dict[str, Any]
#: The names of columns, and the rows.
Table = tuple[Sequence[str], Iterable[Iterable[object]]]

#: Of a long list, how many are in the report's JSON; all are in a table.
_TOP = 100
_STATUSES = ("SUCCESS", "PARTIAL", "FAILURE")
_outcome = attrgetter("operation._value_", "status._value_")
_by_actor = attrgetter("user_id", "operation._value_", "status._value_")
_PLACES = ("agent_id", "on_behalf_of", "system", "store", "purpose", "action")
_by_place = attrgetter(*_PLACES)
_EXPORT = OperationType.EXPORT
_DELETING = {"FORGET", "SYNC", "COMPACT"}


class Activity:
    """Counts the events of a period.

    Args:
        period: The period.
        stack: Removes temporary files.
    """

    def __init__(self, period: Period, stack: ExitStack) -> None:
        self._period = period
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._days: defaultdict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
        self._actors, self._places = Tally(stack), Tally(stack)
        self._subjects = Tally(stack)
        self._found: Counter[str] = Counter()
        self._deleted = 0
        self.starts = 0
        self.exports = Spool(stack)

    def take(self, writer: str, events: list[AuditEvent]) -> None:
        """Count *events*, all of the period, of one trail."""
        outcomes = Counter(map(_outcome, events))
        if any(operation == "AUDIT" for operation, _ in outcomes):
            kept = [event for event in events if not is_start(event)]
            self.starts += len(events) - len(kept)
            events, outcomes = kept, Counter(map(_outcome, kept))
        if not events:
            return
        self._outcomes.update(outcomes)
        self._count_days(events, outcomes)
        self._actors.add(map(_by_actor, events))
        self._places.add(map(_by_place, events))
        self._subjects.add(
            (name, event.operation._value_)
            for event in events
            if event.subject_id is not None or event.subjects
            for name in {event.subject_id, *event.subjects}
            if name is not None
        )
        operations = {operation for operation, _ in outcomes}
        if not operations.isdisjoint(_DELETING):
            self._deleted += sum(map(deleted_entries, events))
        if "EXPORT" in operations:
            self._note_exports(writer, events)
        for event in events:
            if has_findings(event.metadata):
                for kind, one in findings(event.metadata).items():
                    self._found[kind] += one.number

    def _count_days(self, events: list[AuditEvent], outcomes: Counter[tuple[str, str]]) -> None:
        times = [event.timestamp for event in events]
        day, last = self._period.day_of(min(times)), self._period.day_of(max(times))
        if day == last:
            self._days[day].update(outcomes)
            return
        for event in events:
            self._days[self._period.day_of(event.timestamp)][_outcome(event)] += 1

    def _note_exports(self, writer: str, events: list[AuditEvent]) -> None:
        for event in events:
            if event.operation is _EXPORT:
                self.exports.add(
                    {
                        "trail": writer,
                        "sequence": event.sequence,
                        "event_id": event.event_id,
                        "timestamp": format_time(to_microseconds(event.timestamp)),
                        "status": event.status.value,
                        "user_id": event.user_id,
                        "agent_id": event.agent_id,
                        "on_behalf_of": event.on_behalf_of,
                        "purpose": event.purpose,
                        "subject_id": event.subject_id,
                        "subjects": len(event.subjects),
                        "entries": _entries(event),
                        "action": event.action,
                        "system": event.system,
                        "store": event.store,
                    }
                )

    # --- the tables ----------------------------------------------------------------------------

    def actors(self) -> Iterator[Row]:
        """Yield each user who acted, in the order of the ids: ``events``, by status, by operation."""
        grouped = groupby(self._actors.items(), key=lambda item: item[0][0])
        for user, several in grouped:
            counted = {(key[1], key[2]): number for key, number in several}
            yield {"user_id": user, **_outcomes(counted)}

    def subjects(self) -> Iterator[Row]:
        """Yield each person whose data was touched, with how often by each operation."""
        for name, several in groupby(self._subjects.items(), key=lambda item: item[0][0]):
            operations = {key[1]: number for key, number in several}
            yield {
                "subject_id": name,
                "events": sum(operations.values()),
                "by_operation": operations,
            }

    def tables(self) -> dict[str, Table]:
        """The lists in full, as tables by name."""
        operations = sorted(totals(self._outcomes)[0])
        counts = ["events", *(name.lower() for name in _STATUSES), *operations]
        exported = (
            "trail",
            "sequence",
            "event_id",
            "timestamp",
            "status",
            "user_id",
            "agent_id",
            "on_behalf_of",
            "purpose",
            "subject_id",
            "subjects",
            "entries",
            "action",
            "system",
            "store",
        )
        return {
            "actors": (("user_id", *counts), _flat(self.actors(), ("user_id", *counts))),
            "subjects": (
                ("subject_id", "events", *operations),
                _flat(self.subjects(), ("subject_id", "events", *operations)),
            ),
            "exports": (exported, _flat(self.exports, exported)),
        }

    def facts(self) -> dict[str, Any]:
        """The counts, as JSON types; of long lists the longest part, with how many there are."""
        operations, statuses = totals(self._outcomes)
        return {
            "events": sum(operations.values()),
            "start_records": self.starts,
            "by_status": {name: statuses[name] for name in sorted(statuses)},
            "success_rate": round(success_rate(self._outcomes), 6),
            "deleted_entries": self._deleted,
            "findings": {kind: self._found[kind] for kind in FINDINGS},
            "by_operation": [
                {"operation": name, "events": operations[name], **_statuses(self._outcomes, name)}
                for name in sorted(operations)
            ],
            "by_day": [{"day": day, **_outcomes(self._days[day])} for day in sorted(self._days)],
            "by_actor": _top(self.actors()),
            "by_subject": _top(self.subjects()),
            "ids": self._kinds(),
            **self._by_place(),
            "exports": _first(self.exports),
        }

    def _kinds(self) -> dict[str, int]:
        """How many events have an actor's id in clear, hashed, encrypted, or none."""
        found: Counter[str] = Counter()
        for (user, *_), number in self._actors.items():
            found[_kind(user)] += number
        return {kind: found[kind] for kind in ("clear", "hashed", "encrypted", "none")}

    def by_method(self) -> Counter[str | None]:
        """How many events each method has."""
        found: Counter[str | None] = Counter()
        for key, number in self._places.items():
            found[key[-1]] += number
        return found

    def _by_place(self) -> dict[str, Any]:
        """How many events each agent, system and store, purpose and method has."""
        found: dict[str, Counter[Any]] = {name: Counter() for name in (*_PLACES, "system_store")}
        for key, number in self._places.items():
            row = dict(zip(_PLACES, key))
            for name, value in row.items():
                found[name][value] += number
            found["system_store"][row["system"], row["store"]] += number
        places = found["system_store"]
        return {
            "by_agent": _listed(found["agent_id"], "agent_id"),
            "by_on_behalf_of": _listed(found["on_behalf_of"], "on_behalf_of"),
            "by_store": [
                {"system": system, "store": store, "events": places[system, store]}
                for system, store in sorted(places, key=_nones_first)
            ],
            "by_purpose": _listed(found["purpose"], "purpose"),
            "by_method": _listed(found["action"], "method"),
        }


def _kind(name: str | None) -> str:
    """How an id is recorded."""
    if name is None:
        return "none"
    if name.startswith(ERASABLE_PREFIX):
        return "encrypted"
    return "hashed" if name.startswith(PSEUDONYM_PREFIX) else "clear"


def _flat(rows: Iterable[Row], columns: Sequence[str]) -> Iterator[list[Any]]:
    """The cells of *rows*; numbers by operation are columns of their own."""
    for row in rows:
        cells = {**row.get("by_operation", {}), **row}
        yield [cells.get(name, 0 if name.isupper() else None) for name in columns]


def _nones_first(key: Iterable[Any]) -> list[tuple[bool, str]]:
    return [(part is not None, part or "") for part in key]


def _statuses(outcomes: Mapping[tuple[str, str], int], operation: str) -> dict[str, int]:
    return {name.lower(): outcomes.get((operation, name), 0) for name in _STATUSES}


def _outcomes(counted: Mapping[tuple[str, str], int]) -> Row:
    operations, statuses = totals(counted)
    by_status = {name.lower(): statuses[name] for name in _STATUSES}
    by_operation = {name: operations[name] for name in sorted(operations)}
    return {"events": sum(operations.values()), **by_status, "by_operation": by_operation}


def _listed(counted: Counter[Any], name: str) -> dict[str, Any]:
    rows = (
        {name: key, "events": counted[key]}
        for key in sorted(counted, key=lambda k: (k is not None, k or ""))
    )
    return _top(rows)


def _top(rows: Iterable[Row]) -> dict[str, Any]:
    """The rows with the most events, and how many there are."""
    number = itertools.count()
    top = heapq.nlargest(_TOP, (row for row, _ in zip(rows, number)), key=lambda row: row["events"])
    return {"number": next(number), "top": top}


def _first(rows: Spool) -> dict[str, Any]:
    """The first rows, and how many there are."""
    return {"number": rows.count, "first": list(itertools.islice(rows, _TOP))}


def _entries(event: AuditEvent) -> int:
    total = event.metadata.get("entry_ids_total")
    return total if type(total) is int else len(event.entry_ids)
