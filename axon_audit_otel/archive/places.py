"""Reads single events of an archive, by their source and number."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..core.errors import InvalidEventError
from ..core.files import DECODE_ERRORS, named
from ..core.time import to_microseconds
from ..events.model import AuditEvent
from ..events.query import Query
from .directory import Directory, EventFile
from .format import position_of
from .missing import Missing
from .reader import LineReader, first_number, open_events_file
from .search import search

__all__ = ["Found", "Place", "read_places"]


class Place(NamedTuple):
    """Where an event is.

    Attributes:
        source: Its writer, or "/" and the name of a file that names none.
        number: Its number; 0 if it has none.
        time_us: Its time, in microseconds. In a file that names no writer, numbers may be those
            of several trails: 0 finds any of them.
        which: Of the events of such a file with that number and time: 0 for the first in the file.
    """

    source: str
    number: int
    time_us: int = 0
    which: int = 0


class Found(NamedTuple):
    """An event as it was read.

    Attributes:
        event: The event.
        file: The name of its file.
    """

    event: AuditEvent
    file: str


def read_places(path: Path, places: Iterable[Place], missing: Missing) -> dict[Place, Found]:
    """The events at *places*; those that are not there, or cannot be read, are left out.

    Args:
        path: A file, or a directory.
        places: Where.
        missing: Takes files that cannot be read.
    """
    path = named(path)
    found: dict[Place, Found] = {}
    wanted: dict[str, set[Place]] = {}
    for place in places:
        wanted.setdefault(place.source, set()).add(place)
    with missing.caught(path):
        for source, of_source in wanted.items():
            if source.startswith("/") or not path.is_dir():
                file = path / source[1:] if path.is_dir() else path
                found.update(_in_other(file, of_source, missing))
            else:
                with Directory(path, missing) as here:
                    found.update(_of_writer(here, source, of_source, missing))
    return found


def _of_writer(
    here: Directory, writer: str, wanted: set[Place], missing: Missing
) -> Iterator[tuple[Place, Found]]:
    left = {place.number: place for place in wanted if place.number > 0}
    for file in _files_of(here, writer):
        if not left:
            return
        numbers = [number for number in left if file.first <= number <= (file.last or number)]
        if not numbers:
            continue
        with missing.caught(file.path), suppress(FileNotFoundError), here.open(file) as opened:
            for event in _numbered(opened, file.path, numbers, missing):
                yield left.pop(event.sequence), Found(event, file.path.name)


def _files_of(here: Directory, writer: str) -> Iterator[EventFile]:
    """The files of *writer*; those that no manifest lists are looked for last."""
    if writer in here.writers:
        yield from (file for file in here.writers[writer].files if file.state != "deleted")
    if writer in here.journals:
        journal = here.journals[writer]
        journal.first = first_number(journal.open()) or 0
        yield journal
    yield from here.unlisted_by_writer.get(writer, ())


def _in_other(path: Path, wanted: set[Place], missing: Missing) -> Iterator[tuple[Place, Found]]:
    left = {place for place in wanted if place.time_us}
    numbers = {one.number: one for one in wanted if one.number > 0 and not one.which}
    with suppress(OSError), open_events_file(path) as file:
        if numbers and LineReader(file, path).is_ours():
            for event in _numbered(file, path, list(numbers), missing):
                place = numbers[event.sequence]
                if place.time_us in (0, to_microseconds(event.timestamp)):
                    left.discard(place)
                    yield place, Found(event, path.name)
    if left:
        times = [place.time_us for place in left]
        period = Query(start_us=min(times), end_us=max(times), with_start=True)
        alike: Counter[tuple[int, int]] = Counter()
        asked = {place[1:]: place for place in left}
        for event in search(path, period, oldest_first=True, missing=missing):
            at = event.sequence, to_microseconds(event.timestamp)
            if (one := asked.get((*at, alike[at]))) is not None:
                yield one, Found(event, path.name)
            alike[at] += 1


# --- in one file ----------------------------------------------------------------------------------


def _numbered(
    file: BinaryIO, path: Path, numbers: list[int], missing: Missing
) -> Iterator[AuditEvent]:
    """Yield the events with these numbers in an open file, as far as they are there."""
    lines = []
    left = set(numbers)
    if file.seekable():
        for number in numbers:
            if line := _bisected(file, number):
                lines.append(line)
                left.discard(number)
        file.seek(0)
    reader = LineReader(file, path, missing)
    if left:  # a compressed file, or numbers that do not ascend
        needles = [b'"sequence":%d' % number for number in left]
        for block in reader.blocks():
            if any(needle in block for needle in needles):
                lines += [line[1:] for line in block.split(b"\n") if _number_of(line) in left]
    for event in reader.decoded(iter(lines)):
        if event.sequence in numbers:
            yield event


def _bisected(file: BinaryIO, number: int) -> bytes | None:
    """The line of event *number*, without separators, if the numbers in the file ascend."""
    low, high = 0, file.seek(0, os.SEEK_END)
    while low < high:
        middle = (low + high) // 2
        file.seek(middle)
        if middle:
            file.readline()  # the rest of a line
        line = file.readline()
        at = _number_of(line[:-1])
        if at == number:
            return line[1:-1]
        if (at is None and not middle) or (at is not None and at < number):
            low = middle + 1
        else:  # also at the line that closes the file, and at a damaged one
            high = middle
    return None


def _number_of(line: bytes) -> int | None:
    try:
        return position_of(line[1:]).sequence
    except (InvalidEventError, *DECODE_ERRORS):
        return None
