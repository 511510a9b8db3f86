"""Finds by indexes which lines of a sealed file a query has to look at."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import msgspec

from ...core.errors import InvalidEventError
from ...core.files import open_regular
from ...events.identifiers import digest_of
from ...events.model import decode
from ...events.query import Query
from ..manifest import SealRecord
from .layout import BadIndexError, OpenIndex, hash_of, ids_of
from .notes import Notes, index_path

__all__ = ["Chosen", "Indexes"]

#: The fields whose values an index knows.
_FIELDS = ("trace_id", "session_id", "on_behalf_of", "user_id", "subject_id", "agent_id")
_MANY = 16  # with more entry ids than this, they are not looked for
_GAP = 1 << 14  # bytes between two lines that are read at once
_AT_ONCE = 64  # lines

_encode = msgspec.json.Encoder().encode


@dataclass
class Chosen:
    """The lines of one file that a query has to look at.

    Attributes:
        lines: Where each begins and ends, in their order.
        values: The event of each has one of these ids.
    """

    lines: list[tuple[int, int]] = field(default_factory=list)
    values: list[str] = field(default_factory=list)

    def are_as_indexed(self, block: bytes) -> bool:
        """Return True if the lines in *block* have the ids that the index says."""
        words = list(map(_encode, self.values))
        lines = block.split(b"\n")[:-1]
        others = [line for line in lines if not any(word in line for word in words)]
        return all(map(self._is_alike, others))

    def _is_alike(self, line: bytes) -> bool:
        """Return True if the event in *line* has an id of the same hash."""
        with suppress(InvalidEventError):
            wanted = set(map(hash_of, self.values))
            return not wanted.isdisjoint(map(hash_of, ids_of(decode(line[1:]))))
        return False

    def blocks(self, file: BinaryIO, newest: bool) -> Iterator[bytes]:
        """Yield blocks of these lines, of the open file that they are in."""
        lines = self.lines[::-1] if newest else self.lines
        for at in range(0, len(lines), _AT_ONCE):
            some = lines[at : at + _AT_ONCE]
            yield b"".join(_read(file, sorted(some)))


def _read(file: BinaryIO, lines: list[tuple[int, int]]) -> Iterator[bytes]:
    begin, data = 0, b""
    for number, (start, end) in enumerate(lines):
        if not begin <= start < end <= begin + len(data):
            last = end
            for _, further in lines[number + 1 :]:
                if further - last > _GAP:
                    break
                last = further
            begin = file.seek(start)
            data = file.read(last - start)
        yield data[start - begin : end - begin]


class Indexes:
    """The indexes of an archive that a reader may believe, for one query.

    Args:
        directory: The archive.
        query: The query.
        keys: The keys of the reader; without any, it believes none.
    """

    def __init__(self, directory: Path, query: Query, keys: Sequence[bytes]) -> None:
        self._directory = directory
        self._groups = list(_groups(query))
        self._notes = Notes(directory, keys) if keys and self._groups else None

    def chosen(self, seal: SealRecord, path: Path) -> Chosen | None:
        """The lines of the sealed file at *path* that can answer; None if all are to be read.

        A damaged, foreign or outdated index is left aside.
        """
        root = None if self._notes is None else self._notes.root(seal, path)
        if root is None:
            return None
        index = index_path(self._directory, seal.file)
        with suppress(OSError, BadIndexError), open_regular(index) as file:
            return self._chosen_by(OpenIndex(file, root))
        return None

    def _chosen_by(self, index: OpenIndex) -> Chosen | None:
        places: set[int] | None = None
        named: list[str] = []
        for values in self._groups:
            found = _places_of(index, values)
            if found is None:
                continue
            if not found:
                return Chosen()
            places = found if places is None else places & found
            named = named or values
        if places is None:
            return None
        return Chosen(list(index.lines(sorted(places))), named)


def _places_of(index: OpenIndex, values: list[str]) -> set[int] | None:
    """The places of the events with one of *values*; None if those of one are not named."""
    found: set[int] = set()
    for value in values:
        places = index.places(value)
        if places is None:
            return None
        found |= places
    return found


def _groups(query: Query) -> Iterator[list[str]]:
    """Yield lists of ids: an event that answers has one of each."""
    for name in _FIELDS:
        if name in query.keys:
            values = list(query.keys[name])
            if name == "subject_id":  # as `query.has`
                values += map(digest_of, query.keys[name])
            yield values
    ids = query.entry_ids
    if ids is not None and len(ids) <= _MANY and not query.any_encrypted:  # that finds others, too
        yield list(ids)
