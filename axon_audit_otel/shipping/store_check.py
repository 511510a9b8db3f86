"""Compares an archive with a store of log records, and finds exactly what the store lacks.

The archive is read once, from its beginning, in spans of at most `_SPAN` events. Of each span the
store says how many it has and a fingerprint of their hashes, block by block; only of blocks that
differ it is asked for each event. So equal trails cost one request for each span, and memory holds
one span, however many events there are.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..archive.cursor import Cursor
from ..archive.directory import EventFile, WriterFiles
from ..archive.format import position_of
from ..archive.missing import Missing
from ..archive.origin import Source
from ..core.files import DECODE_ERRORS
from ..core.merkle import leaf_hash
from ..core.time import to_microseconds
from .stores.store import BLOCK, Place, Store

__all__ = ["Differences", "Span", "WriterCheck", "time_of"]

_SPAN = 16 * BLOCK  # events that are compared at once,
_BYTES = 32 << 20  # or so many bytes of them


class Span(NamedTuple):
    """A part of an archive that was compared.

    Attributes:
        first: Number of the event that it begins with.
        last: Number of the event that it ends with.
        missing: The lines of the events that the store does not have, by number.
        events: How many were compared: of some numbers the archive has none any more.
    """

    first: int
    last: int
    missing: dict[int, bytes]
    events: int


class Differences:
    """What was found of one trail so far.

    Attributes:
        events: Different events that both have.
        records: Log records of them.
        altered: What is wrong, in words, by the number of an event.
        foreign: Numbers of events that only the store has, and the archive never had.
        first: Number of the oldest event in the archive; 0 without any.
        lost: How many events cannot be read in the archive, by reason, as `Cursor.lost` says.
        only_there: Events that only the store has, since the archive lost or deleted them.
        doubled: Ids of events of which the store has several records, the first thousand.
    """

    def __init__(self) -> None:
        self.events = self.records = self.only_there = self.first = 0
        self.altered: dict[int, str] = {}
        self.foreign: set[int] = set()
        self.lost: Counter[str] = Counter()
        self.doubled: dict[str, None] = {}


_NAMED = 1000  # of each kind


class WriterCheck:
    """The comparison of one writer's events with a store.

    Args:
        store: The store.
        directory: The archive. Its writer may be at work.
        writer: Its name.
        source: Its trail.
        unlisted: See `Cursor`.
        bodies: Compare the bodies too.

    Attributes:
        found: What was found so far.
        last: Number of the newest event that was compared.
    """

    def __init__(
        self,
        store: Store,
        directory: Path,
        writer: str,
        source: Source,
        unlisted: Sequence[EventFile] = (),
        bodies: bool = False,
    ) -> None:
        self._store = store
        self._stream = source.stream
        self._bodies = bodies
        self._cursor = Cursor(directory, writer, 0, unlisted)
        self._cursor.patience = 0
        self._files = WriterFiles(directory, writer)
        self._files.look(Missing())
        self.found = Differences()
        self.last = 0

    def spans(self, known: bool, upto: int) -> Iterator[Span]:
        """Compare, and yield span by span what is missing in the store.

        Args:
            known: The store has records of this trail.
            upto: Number of the newest event that is compared.

        Raises:
            ConnectionError: If the store does not answer.
            OSError: If the archive cannot be read.
        """
        with closing(self._cursor):
            while lines := self._read(upto):
                first = self.last + 1 if self.last else min(lines)
                self.found.first = self.found.first or first
                self.last = max(lines)
                missing = self._compare(first, lines) if known else lines
                yield Span(first, self.last, missing, len(lines))
            self.found.lost += self._cursor.lost

    def beyond(self, highest: int) -> None:
        """Note what the store has after the newest event, up to *highest*, which it named before
        the archive was read.

        Raises:
            ConnectionError: If the store does not answer.
        """
        if highest > self.last:
            for record in self._store.records(self._stream, self.last + 1, highest):
                self._only_there(record.number)

    def _read(self, upto: int) -> dict[int, bytes]:
        """The next lines by number; {} at the end."""
        lines: dict[int, bytes] = {}
        size = 0
        while len(lines) < _SPAN and size < _BYTES:
            left = min(1000, _SPAN - len(lines), upto - max(lines, default=self.last))
            if left <= 0 or not (read := self._cursor.read(left, 1 << 20)):
                break
            for line in read:
                lines[position_of(line).sequence] = line
                size += len(line)
        return {number: line for number, line in lines.items() if number <= upto}

    def _compare(self, first: int, lines: dict[int, bytes]) -> dict[int, bytes]:
        """The lines of events that the store does not have; notes what differs."""
        hashes = {number: leaf_hash(line).hex() for number, line in lines.items()}
        differ = self._differing(first, hashes)
        missing = {}
        for low, high in differ:
            here = {number: hashes[number] for number in range(low, high + 1) if number in hashes}
            for number in here.keys() - self._listed(low, high, here, lines):
                missing[number] = lines[number]
        return dict(sorted(missing.items()))

    def _differing(self, first: int, hashes: dict[int, str]) -> list[tuple[int, int]]:
        """The ranges of numbers that must be looked at event by event."""
        if self._bodies and not self._store.hashes_bodies:
            return [(first, self.last)]
        there = self._store.blocks(self._stream, first, self.last, self._bodies)
        ranges: list[tuple[int, int]] = []
        here: dict[int, list[Place]] = {
            block: list(places)
            for block, places in groupby(hashes.items(), lambda place: (place[0] - 1) // BLOCK)
        }
        for block in sorted(here.keys() | there.keys()):
            places, found = here.get(block, []), there.get(block)
            if found and (len(places), self._store.fingerprint(places)) == found[::2]:
                named_all = found.records == found.events or len(self.found.doubled) >= _NAMED
                if named_all:
                    self.found.events += found.events
                    self.found.records += found.records
                    continue
            low, high = max(first, block * BLOCK + 1), min(self.last, (block + 1) * BLOCK)
            if ranges and ranges[-1][1] + 1 == low:
                ranges[-1] = ranges[-1][0], high
            else:
                ranges.append((low, high))
        return ranges

    def _listed(
        self, low: int, high: int, here: dict[int, str], lines: dict[int, bytes]
    ) -> set[int]:
        """The numbers of the events *low* to *high* that the store has; notes what differs.

        Args:
            low: The lowest number.
            high: The highest.
            here: The hashes in the archive, by number.
            lines: The lines of the archive, by number.
        """
        found = self.found
        present: set[int] = set()
        extra: set[int] = set()
        for record in self._store.records(self._stream, low, high, self._bodies):
            number = record.number
            if not low <= number <= high:
                continue
            if number not in here:
                extra.add(number)
            elif record.hash != here[number]:
                self._altered(number, f"event {number} is another one in the archive")
            elif record.intact is False:
                words = "its hash is not that of its body: one of them was altered"
                self._altered(number, f"event {number}: {words}")
            else:
                found.events += number not in present
                found.records += record.copies
                if (record.copies > 1 or number in present) and len(found.doubled) < _NAMED:
                    found.doubled[_id_of(lines[number])] = None
                present.add(number)
        for number in extra:
            self._only_there(number)
        return present

    def _altered(self, number: int, words: str) -> None:
        if len(self.found.altered) < 10 * _NAMED:
            self.found.altered.setdefault(number, words)

    def _only_there(self, number: int) -> None:
        """Note an event that only the store has."""
        was_deleted = self._was_deleted(number)
        if not was_deleted and self._files.look(Missing()):  # meanwhile, perhaps
            was_deleted = self._was_deleted(number)
        if was_deleted or self._cursor.lost["missing"] or self._cursor.lost["unreadable"]:
            self.found.only_there += 1
        elif len(self.found.foreign) < 10 * _NAMED:
            self.found.foreign.add(number)

    def _was_deleted(self, number: int) -> bool:
        """Return True if retention deleted event *number*, as far as that is known."""
        deleted = (file for file in self._files.files if file.state == "deleted")
        return any(file.first <= number <= file.last for file in deleted)


def _id_of(line: bytes) -> str:
    """The id of the event in *line*, which is canonical."""
    return line[len(b'{"event_id":"') :].partition(b'"')[0].decode("utf-8", "replace")


class _Time(msgspec.Struct):
    timestamp: datetime


_time_in = msgspec.json.Decoder(_Time).decode


def time_of(line: bytes) -> float:
    """When the event in *line* was recorded: Unix time; now where it cannot be read."""
    with suppress(*DECODE_ERRORS):
        return to_microseconds(_time_in(line).timestamp) / 1e6
    return time.time()
