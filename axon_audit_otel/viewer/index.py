"""Finds the events of an archive that answer a query, without reading files: columns in memory.

The index is never believed: it says where events are, and whoever shows one reads it there.
Values are kept as their hashes: about 80 bytes an event. A query is a mask for each source, a
byte for each event, made by loops that run in C: a million events take some 50 ms for each filter.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from heapq import merge
from itertools import compress, count, islice, pairwise
from operator import attrgetter
from typing import NamedTuple

from ..archive.places import Place
from ..core.time import to_microseconds
from ..events.identifiers import digest_of, is_digest
from ..events.model import AuditEvent, EventStatus
from ..events.query import Query, is_aside

__all__ = ["Answer", "Counts", "Index", "Key"]

STATUSES = tuple(EventStatus.__members__)
#: Fields with one value, and with several.
_FIELDS = (
    *("operation", "user_id", "session_id", "agent_id", "on_behalf_of"),
    *("purpose", "trace_id", "system", "store", "action", "event_id"),
)
_SEVERAL = ("subject_id", "entry_ids")
_DIGEST = "digest"  # what a name among many subjects may be
_values_of = attrgetter("operation.value", *_FIELDS[1:])
_CODES = {status: code for code, status in enumerate(EventStatus)}


class Key(NamedTuple):
    """The place of an event in the order of pages, which new events do not change.

    Attributes:
        order_us: Its time; where a clock was set back, the latest time before it in its source.
        number: Its number; in a file that names no writer, its place in that.
        source: See `Place`.
    """

    order_us: int
    number: int
    source: str


class Counts(NamedTuple):
    """How many events of each status there are from *start_us* to *end_us*, both included."""

    start_us: int
    end_us: int
    by_status: dict[str, int]


class Index:
    """Takes events, in the order of each source; one thread may add while others ask."""

    def __init__(self) -> None:
        self._sources: dict[str, _Rows] = {}

    def __len__(self) -> int:
        return sum(rows.size for rows in list(self._sources.values()))

    def add(self, source: str, event: AuditEvent) -> None:
        """Add the next event of *source*."""
        rows = self._sources.get(source)
        if rows is None:
            rows = self._sources[source] = _Rows()
        rows.add(event)

    def settle(self) -> None:
        """Sort what came from files that name no writer: their events may be in any order."""
        for source, rows in list(self._sources.items()):
            if source.startswith("/") and not rows.is_ordered:
                self._sources[source] = rows.sorted()

    def ask(self, query: Query) -> Answer:
        """The events that answer *query* (its `facts`, `derives` and `limit` are not looked at)."""
        return Answer({name: rows.ask(query) for name, rows in list(self._sources.items())})

    def with_id(self, event_id: str) -> list[Place]:
        """The places of the events with that id."""
        found = []
        for source, rows in list(self._sources.items()):
            mask = rows.having("event_id", {hash(event_id)})
            found += [rows.place(source, row) for row in compress(range(len(mask)), mask)]
        return found


class Answer:
    """The events that answer one query, as the index was when it was asked.

    Attributes:
        count: How many.
    """

    def __init__(self, sources: dict[str, _Chosen]) -> None:
        self._sources = {name: chosen for name, chosen in sources.items() if chosen.count}
        self.count = sum(chosen.count for chosen in sources.values())

    @property
    def first_us(self) -> int | None:
        """The time of the oldest; None without any."""
        return min((chosen.ends[0] for chosen in self._sources.values()), default=None)

    @property
    def last_us(self) -> int | None:
        """The time of the newest; None without any."""
        return max((chosen.ends[1] for chosen in self._sources.values()), default=None)

    def places(self, limit: int, before: Key | None = None) -> list[tuple[Key, Place]]:
        """The newest *limit* of them, of those before *before*, with their keys, newest first."""
        parts = [chosen.newest(name, before) for name, chosen in self._sources.items()]
        return list(islice(merge(*parts, reverse=True), limit))

    def after(self, limit: int, key: Key) -> list[tuple[Key, Place]]:
        """The oldest *limit* of those after *key*, newest first."""
        parts = [chosen.oldest(name, key) for name, chosen in self._sources.items()]
        return list(islice(merge(*parts), limit))[::-1]

    def counts(self, edges: Sequence[int]) -> list[Counts]:
        """How many there are from each of *edges* up to right before the next one."""
        totals = [dict.fromkeys(STATUSES, 0) for _ in edges[1:]]
        for chosen in self._sources.values():
            for total, status, number in chosen.counts(edges):
                totals[total][status] += number
        return [
            Counts(start, end - 1, total) for start, end, total in zip(edges, edges[1:], totals)
        ]


class _Rows:
    """The events of one source, in its order.

    Attributes:
        size: How many there are; rows beyond are being added.
        times: Of each, in microseconds.
        numbers: Of each.
    """

    def __init__(self) -> None:
        self.size = 0
        self.times = array("q")
        self.numbers = array("q")
        self.statuses = bytearray()
        self.is_ordered = True  # time never runs backwards
        self.order = self.times  # the latest time so far, of each
        self._aside = array("I")
        self._words = {name: _Words() for name in (*_FIELDS, *_SEVERAL)}
        self._add = [words.add for words in self._words.values()]

    def add(self, event: AuditEvent) -> None:
        row, time_us = self.size, to_microseconds(event.timestamp)
        for value, add in zip(_values_of(event), self._add):
            if value is not None:
                add(row, value)
        for name in event.entry_ids:
            self._words["entry_ids"].add(row, name)
        if event.subjects or event.subject_id is not None:
            for subject in {event.subject_id, *event.subjects} - {None}:
                self._words["subject_id"].add(row, subject)
        if event.subjects and is_digest(event.subjects[-1]):
            for subject in event.subjects:
                self._words["subject_id"].add(row, (_DIGEST, subject))
        if is_aside(event):
            self._aside.append(row)
        if self.is_ordered and row and time_us < self.times[-1]:
            self.order = self.times[:]
            self.is_ordered = False
        if not self.is_ordered:
            self.order.append(max(self.order[-1], time_us))
        self.times.append(time_us)
        self.numbers.append(event.sequence)
        self.statuses.append(_CODES[event.status])
        self.size = row + 1

    def sorted(self) -> _Rows:
        """The same, by time."""
        order = sorted(range(self.size), key=lambda row: (self.times[row], self.numbers[row]))
        places = array("I", bytes(4 * self.size))
        for place, row in enumerate(order):
            places[row] = place
        new = _Rows()
        new.size = self.size
        new.times = new.order = array("q", map(self.times.__getitem__, order))
        new.numbers = array("q", map(self.numbers.__getitem__, order))
        new.statuses = bytearray(map(self.statuses.__getitem__, order))
        new._aside = array("I", map(places.__getitem__, self._aside))
        for name, words in self._words.items():
            new._words[name].take(words, places)
        return new

    def place(self, source: str, row: int) -> Place:
        first, at = row, (self.numbers[row], self.times[row])
        while first and (self.numbers[first - 1], self.times[first - 1]) == at:
            first -= 1
        return Place(source, *at, row - first)

    def having(self, field: str, wanted: set[int], size: int | None = None) -> bytearray:
        """A mask of the rows in which the hash of a value is one of *wanted*."""
        size = self.size if size is None else size
        mask = bytearray(size)
        for row in filter(size.__gt__, self._words[field].rows_of(wanted)):
            mask[row] = 1
        return mask

    def ask(self, query: Query) -> _Chosen:
        size = self.size
        mask = int.from_bytes(b"\1" * size, "big")
        for name, values in query.keys.items():
            if name == "status":
                codes = bytes(value in values for value in STATUSES).ljust(256, b"\0")
                found: bytes | bytearray = self.statuses[:size].translate(codes)
            else:
                words: set[object] = set(values)
                if name == "subject_id":  # as `query.has`
                    words |= {(_DIGEST, digest_of(value)) for value in values}
                found = self.having(name, set(map(hash, words)), size)
            mask &= int.from_bytes(found, "big")
        if query.entry_ids is not None:
            found = self.having("entry_ids", set(map(hash, query.entry_ids)), size)
            mask &= int.from_bytes(found, "big")
        if query.start_us is not None or query.end_us is not None:
            mask &= int.from_bytes(self._within(query.start_us, query.end_us, size), "big")
        chosen = bytearray(mask.to_bytes(size, "big"))
        if query.operation is None and not query.with_start:
            for row in filter(size.__gt__, self._aside):
                chosen[row] = 0
        return _Chosen(self, bytes(chosen))

    def _within(self, start_us: int | None, end_us: int | None, size: int) -> bytes:
        if not self.is_ordered:
            low = float("-inf") if start_us is None else start_us
            high = float("inf") if end_us is None else end_us
            return bytes(low <= time <= high for time in islice(self.times, size))
        low_row = 0 if start_us is None else bisect_left(self.times, start_us, 0, size)
        high_row = size if end_us is None else bisect_right(self.times, end_us, 0, size)
        return b"\0" * low_row + b"\1" * max(0, high_row - low_row) + b"\0" * (size - high_row)


class _Words:
    """The rows that have a value in one field, and its hash."""

    def __init__(self) -> None:
        self._hashes = array("q")
        self._rows = array("I")
        self._is_dense = True  # each row has one value so far: their numbers are not kept

    def add(self, row: int, value: object) -> None:
        if self._is_dense and row != len(self._hashes):
            self._rows.extend(range(len(self._hashes)))
            self._is_dense = False
        if not self._is_dense:
            self._rows.append(row)  # first: the other one is what is looked through
        self._hashes.append(hash(value))

    def take(self, others: _Words, places: Sequence[int]) -> None:
        """Add what *others* have, by the new places of their rows."""
        rows = range(len(others._hashes)) if others._is_dense else others._rows
        self._rows.extend(map(places.__getitem__, rows))
        self._hashes.extend(others._hashes)
        self._is_dense = False

    def rows_of(self, wanted: set[int]) -> Iterator[int]:
        """Yield the rows in which the hash of a value is one of *wanted*."""
        found = map(wanted.__contains__, self._hashes)
        return compress(count() if self._is_dense else self._rows, found)


class _Chosen:
    """The rows of one source that answer a query."""

    def __init__(self, rows: _Rows, mask: bytes) -> None:
        self._rows, self._mask = rows, mask
        self.count = mask.count(1)

    @property
    def ends(self) -> tuple[int, int]:
        """The times of the oldest and of the newest."""
        if self._rows.is_ordered:
            return self._rows.times[self._mask.find(1)], self._rows.times[self._mask.rfind(1)]
        times = list(compress(self._rows.times, self._mask))
        return min(times), max(times)

    def newest(self, source: str, before: Key | None) -> Iterator[tuple[Key, Place]]:
        row = len(self._mask) if before is None else self._first_at(before, source)
        while (row := self._mask.rfind(1, 0, row)) >= 0:
            yield self._key(source, row), self._rows.place(source, row)

    def oldest(self, source: str, after: Key) -> Iterator[tuple[Key, Place]]:
        row = self._first_at(after, source) - 1
        while (row := self._mask.find(1, row + 1)) >= 0:
            if (key := self._key(source, row)) > after:
                yield key, self._rows.place(source, row)

    def _key(self, source: str, row: int) -> Key:
        number = row + 1 if source.startswith("/") else self._rows.numbers[row]
        name = source.encode(errors="backslashreplace").decode()  # of a file: any bytes
        return Key(self._rows.order[row], number, name)

    def _first_at(self, key: Key, source: str) -> int:
        """The first row whose key is not below *key*."""
        size, order = len(self._mask), self._rows.order
        row = bisect_left(order, key.order_us, 0, size)
        while row < size and self._key(source, row) < key:
            row += 1
        return row

    def counts(self, edges: Sequence[int]) -> Iterator[tuple[int, str, int]]:
        """Yield how many there are, by period and status, where there are any."""
        rows, size = self._rows, len(self._mask)
        if not rows.is_ordered:
            yield from self._counted(edges)
            return
        bounds = [bisect_left(rows.times, edge, 0, size) for edge in edges]
        codes = bytes(code + 1 for code in range(len(STATUSES))).ljust(256, b"\0")
        coded = rows.statuses[:size].translate(codes)
        kept = int.from_bytes(coded, "big") & (int.from_bytes(self._mask, "big") * 0xFF)
        chosen = kept.to_bytes(size, "big")
        for period, (low, high) in enumerate(pairwise(bounds)):
            for code, status in enumerate(STATUSES, 1):
                if high > low and (number := chosen.count(code, low, high)):
                    yield period, status, number

    def _counted(self, edges: Sequence[int]) -> Iterator[tuple[int, str, int]]:
        for row in compress(range(len(self._mask)), self._mask):
            period = bisect_right(edges, self._rows.times[row]) - 1
            if 0 <= period < len(edges) - 1:
                yield period, STATUSES[self._rows.statuses[row]], 1
