"""Who did what in a period: counted exactly, in bounded memory."""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from operator import attrgetter
from typing import Any

from ..core.semconv import ERASABLE_PREFIX, PSEUDONYM_PREFIX
from ..core.time import format_time, to_microseconds
from ..events.findings import FINDINGS, findings
from ..events.model import AuditEvent, deleted_entries, listed, success_rate, totals
from ..events.query import is_start
from ..privacy.box import BOX
from .period import Period
from .tally import Spool, Tally

__all__ = ["Activity", "Row", "Table"]

Row = dict[str, Any]
#: The names of columns, and the rows.
Table = tuple[Sequence[str], Iterable[Iterable[object]]]
_Outcome = tuple[str, str]

#: Of a long list, how many are in the report's JSON; all are in a table.
_TOP = 100
_STATUSES = ("SUCCESS", "PARTIAL", "FAILURE")
_outcome = attrgetter("operation._value_", "status._value_")
#: What is counted besides, by the names of its parts and of its rows.
_NAMES = {
    "agent_id": ("by_agent", "agent_id"),
    "on_behalf_of": ("by_on_behalf_of", "on_behalf_of"),
    "purpose": ("by_purpose", "purpose"),
    "action": ("by_method", "method"),
}
#: Their tables.
_TABLES = {
    "agents": "agent_id",
    "on_behalf_of": "on_behalf_of",
    "purposes": "purpose",
    "methods": "action",
}
_said = attrgetter(*_NAMES, "system", "store")
_has_no_findings = frozenset(FINDINGS).isdisjoint
_DELETING = frozenset(("FORGET", "SYNC", "COMPACT"))
_EXPORTED = (
    *("trail", "sequence", "event_id", "timestamp", "status", "user_id", "agent_id"),
    *("on_behalf_of", "purpose", "subject_id", "subjects", "entries", "action", "system", "store"),
)


class Activity:
    """Counts the events of a period.

    Args:
        period: The period.
        stack: Removes temporary files.
    """

    def __init__(self, period: Period, stack: ExitStack) -> None:
        self._period = period
        self._stack = stack
        self._outcomes: Counter[_Outcome] = Counter()
        self._days: defaultdict[str, Counter[_Outcome]] = defaultdict(Counter)
        self._places: Counter[tuple[str | None, str | None]] = Counter()
        self._actors, self._subjects, self._names = Tally(stack), Tally(stack), Tally(stack)
        self._found: Counter[str] = Counter()
        self._deleted = self._closed = 0
        self._starts = 0
        self._exports = Spool(stack)

    def take(self, writer: str, events: list[AuditEvent]) -> None:
        """Count *events*, all of the period, of one trail."""
        groups: defaultdict[_Outcome, list[AuditEvent]] = defaultdict(list)
        for event in events:
            groups[_outcome(event)].append(event)
        for operation, status in [outcome for outcome in groups if outcome[0] == "AUDIT"]:
            told = groups.pop((operation, status))
            events = [event for event in events if not is_start(event)]
            if kept := [event for event in told if not is_start(event)]:
                groups[operation, status] = kept
            self._starts += len(told) - len(kept)
        for (operation, status), some in groups.items():
            self._count(writer, listed(operation).value, status, some)
        if not events:
            return
        self._closed += sum(BOX in event.metadata for event in events)
        self._count_days(events, groups)
        for (*names, system, store), number in Counter(map(_said, events)).items():
            self._places[system, store] += number
            for kind, name in zip(_NAMES, names):
                self._names.count(kind, name, number)
        for event in [event for event in events if not _has_no_findings(event.metadata)]:
            for kind, one in findings(event.metadata).items():
                self._found[kind] += one.number
        for tally in (self._actors, self._subjects, self._names):
            tally.limit()

    def _count(self, writer: str, operation: str, status: str, events: list[AuditEvent]) -> None:
        """Count events of one outcome."""
        self._outcomes[operation, status] += len(events)
        self._actors.add(f"{operation} {status}", [event.user_id for event in events])
        named: list[str | None] = [name for event in events for name in event.subjects]
        named += [
            event.subject_id
            for event in events
            if event.subject_id is not None and event.subject_id not in event.subjects
        ]
        if named:
            self._subjects.add(operation, named)
        if operation in _DELETING:
            self._deleted += sum(map(deleted_entries, events))
        elif operation == "EXPORT":
            for event in events:
                self._exports.add(_exported(writer, event))

    def _count_days(
        self, events: list[AuditEvent], groups: Mapping[_Outcome, list[AuditEvent]]
    ) -> None:
        times = [event.timestamp for event in events]
        day, last = self._period.day_of(min(times)), self._period.day_of(max(times))
        for (operation, status), some in groups.items():
            key = listed(operation).value, status
            if day == last:
                self._days[day][key] += len(some)
                continue
            for event in some:
                self._days[self._period.day_of(event.timestamp)][key] += 1

    # --- the answers ---------------------------------------------------------------------------

    @cached_property
    def _lists(self) -> tuple[_List, _List]:
        """The actors, and the persons whose data was touched."""
        actors = _List(self._stack)
        for name, numbers in self._actors.items():
            counted = {(key.split(" ")[0], key.split(" ")[1]): n for key, n in numbers.items()}
            actors.add({"user_id": name, **_outcomes(counted)}, _kind(name))
        subjects = _List(self._stack)
        for name, numbers in self._subjects.items():
            events = sum(numbers.values())
            subjects.add({"subject_id": name, "events": events, "by_operation": numbers})
        return actors, subjects

    def facts(self) -> dict[str, Any]:
        """The counts, as JSON types; of long lists the longest part, with how many there are."""
        operations, statuses = totals(self._outcomes)
        actors, subjects = self._lists
        return {
            "events": sum(operations.values()),
            "start_records": self._starts,
            "by_status": {name: statuses[name] for name in sorted(statuses)},
            "success_rate": round(success_rate(self._outcomes), 6),
            "deleted_entries": self._deleted,
            "findings": {kind: self._found[kind] for kind in FINDINGS},
            "facts_encrypted": self._closed,
            "by_operation": [
                {"operation": name, "events": operations[name], **_statuses(self._outcomes, name)}
                for name in sorted(operations)
            ],
            "by_day": [{"day": day, **_outcomes(self._days[day])} for day in sorted(self._days)],
            "by_actor": actors.facts(),
            "by_subject": subjects.facts(),
            "ids": {kind: actors.kinds[kind] for kind in ("clear", "hashed", "encrypted", "none")},
            **{_NAMES[name][0]: found.facts() for name, found in self._named.items()},
            "by_store": [
                {"system": system, "store": store, "events": self._places[system, store]}
                for system, store in sorted(self._places, key=lambda key: list(map(_order, key)))
            ],
            "exports": {
                "number": self._exports.count,
                "first": list(itertools.islice(self._exports, _TOP)),
            },
        }

    @cached_property
    def _named(self) -> dict[str, _List]:
        """How many events each agent, purpose and method has, and each person they were for."""
        lists = {name: _List(self._stack) for name in _NAMES}
        for value, numbers in self._names.items():
            for name, number in numbers.items():
                lists[name].add({_NAMES[name][1]: value, "events": number})
        return lists

    def by_method(self) -> Counter[str | None]:
        """How many events each method has."""
        found: Counter[str | None] = Counter()
        for value, numbers in self._names.items():
            if "action" in numbers:
                found[value] = numbers["action"]
        return found

    def tables(self) -> dict[str, Table]:
        """The lists in full, as tables by name."""
        actors, subjects = self._lists
        operations = sorted(totals(self._outcomes)[0])
        counts = ["events", *(name.lower() for name in _STATUSES), *operations]
        of_actors, of_subjects = ("user_id", *counts), ("subject_id", "events", *operations)
        return {
            "actors": (of_actors, actors.cells(of_actors)),
            "subjects": (of_subjects, subjects.cells(of_subjects)),
            **{
                name: (columns, self._named[field].cells(columns))
                for name, field in _TABLES.items()
                for columns in [(_NAMES[field][1], "events")]
            },
            "exports": (_EXPORTED, ([row[name] for name in _EXPORTED] for row in self._exports)),
        }


class _List:
    """Rows with numbers of events: those with the most, and all of them in a file."""

    def __init__(self, stack: ExitStack) -> None:
        self._rows = Spool(stack)
        self._top: list[tuple[int, int, Row]] = []
        self.kinds: Counter[str] = Counter()

    def add(self, row: Row, kind: str = "") -> None:
        """Add a row, and count its events for *kind*."""
        item = row["events"], -self._rows.count, row
        if len(self._top) < _TOP:
            heapq.heappush(self._top, item)
        else:
            heapq.heappushpop(self._top, item)
        self._rows.add(row)
        self.kinds[kind] += row["events"]

    def facts(self) -> dict[str, Any]:
        """How many rows there are, and those with the most events."""
        return {"number": self._rows.count, "top": [row for _, _, row in sorted(self._top)[::-1]]}

    def cells(self, columns: Sequence[str]) -> Iterator[list[Any]]:
        """Yield the cells of all rows; numbers by operation are columns of their own."""
        for row in self._rows:
            cells = {**row.get("by_operation", {}), **row}
            yield [cells.get(name, 0) for name in columns]


def _exported(writer: str, event: AuditEvent) -> Row:
    total = event.metadata.get("entry_ids_total")
    return {
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
        "entries": total if type(total) is int else len(event.entry_ids),
        "action": event.action,
        "system": event.system,
        "store": event.store,
    }


def _kind(name: str | None) -> str:
    """How an id is recorded."""
    if name is None:
        return "none"
    if name.startswith(ERASABLE_PREFIX):
        return "encrypted"
    return "hashed" if name.startswith(PSEUDONYM_PREFIX) else "clear"


def _order(name: str | None) -> tuple[bool, str]:
    return name is not None, name or ""


def _statuses(outcomes: Mapping[_Outcome, int], operation: str) -> dict[str, int]:
    return {name.lower(): outcomes.get((operation, name), 0) for name in _STATUSES}


def _outcomes(counted: Mapping[_Outcome, int]) -> Row:
    operations, statuses = totals(counted)
    by_status = {name.lower(): statuses[name] for name in _STATUSES}
    by_operation = {name: operations[name] for name in sorted(operations)}
    return {"events": sum(operations.values()), **by_status, "by_operation": by_operation}
