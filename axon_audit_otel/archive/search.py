"""Yields the events of an archive that answer a query, in order.

Several writers are merged by time. Only files whose time range can match are opened. Only lines
that contain the encoded values of the query are decoded: no match is missed, and false hits are
removed after decoding. An index only says which lines need not be looked at. Memory holds a block
of a file, or the matches in a compressed one.

Files that cannot be read, or are in a manifest but gone, are reported to a `Missing` if they could
have matches.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice, repeat
from pathlib import Path
from typing import BinaryIO

from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import named
from ..events.model import AuditEvent, age
from ..events.query import Query
from .directory import Directory, EventFile, files_of
from .foreign_files import other_events
from .format import HEAD, JOURNAL, Closing
from .index.finding import Chosen, Indexes
from .index.notes import keys_of_user
from .line_filter import LineFilter
from .missing import CHANGED, OF_ANOTHER, Missing
from .reader import LineReader, closing_of, first_number
from .writer_lock import has_begun

__all__ = ["events_in", "search", "search_by_writer"]


def search(
    path: Path,
    query: Query,
    *,
    oldest_first: bool = False,
    recent: Iterable[AuditEvent] | None = None,
    writer: str = "",
    before: int | None = None,
    missing: Missing | None = None,
    index_keys: Sequence[bytes] | None = None,
) -> Iterator[AuditEvent]:
    """Yield the events at *path* that answer *query*, newest first, up to its limit.

    Args:
        path: A file, or a directory.
        query: The query.
        oldest_first: Yield the oldest first.
        recent: Events from memory that answer *query*, in that order: the newest of *writer*.
            With them, *path* need not exist.
        writer: A writer whose files are read only below event number *before*.
        before: See *writer*.
        missing: Takes what the answer lacks. Default: that raises an error.
        index_keys: Of the indexes to believe. Default: that of the user, if there is one.

    Raises:
        ArchiveError: If nothing is at *path*; without *missing*, if a file cannot be read.
    """
    wanted, newest = LineFilter(query), not oldest_first
    missing = Missing(strict=True) if missing is None else missing
    with ExitStack() as stack:
        runs = _found_at(path, query, wanted, stack, missing, recent is None, index_keys)
        streams: list[Iterator[AuditEvent]] = []
        for run in runs:
            is_ours = run.is_writer and run.name == writer
            found = run.events(query, wanted, missing, newest, before if is_ours else None)
            if is_ours and recent is not None:
                found, recent = chain(recent, found) if newest else chain(found, recent), None
            streams.append(found)
        if recent is not None:
            streams.append(iter(recent))
        if len(streams) == 1:
            (merged,) = streams
        else:
            merged = filter(_Distinct(), heapq.merge(*streams, key=_time_of, reverse=newest))
        yield from islice(merged, query.limit)


def search_by_writer(
    path: Path, query: Query, missing: Missing
) -> Iterator[tuple[str, AuditEvent]]:
    """Yield the events at *path* that answer *query* with their writers, oldest first, no limit.

    The writer is "" if its file does not name it.

    Args:
        path: A file, or a directory.
        query: The query.
        missing: Takes what the answer lacks.

    Raises:
        ArchiveError: If nothing is at *path*.
    """
    wanted = LineFilter(query)
    with ExitStack() as stack:
        streams = [
            zip(repeat(run.name), run.events(query, wanted, missing, newest=False, before=None))
            for run in _found_at(path, query, wanted, stack, missing)
        ]
        is_new = _Distinct()
        for writer, event in heapq.merge(*streams, key=lambda found: found[1].timestamp):
            if is_new(event):
                yield writer, event


def events_in(path: Path, missing: Missing, is_named: bool) -> Iterator[AuditEvent]:
    """Yield the readable events of one file, oldest first.

    Args:
        path: The file; a file that is gone is not reported.
        missing: Takes what the answer lacks.
        is_named: True if the user named it; False if it was found in a directory.

    Raises:
        ArchiveError: If the user named it, and it is a foreign file.
    """
    query = Query()
    file = EventFile(path.name, path)
    return _events(file, None, None, query, LineFilter(query), False, missing, is_named)


def _time_of(event: AuditEvent) -> datetime:
    return event.timestamp


class _Distinct:
    """Lets each event pass once: an export may be beside the files that it was made from.

    Another event that says that it has the id and the number of the first passes too: else it
    could hide that one.
    """

    def __init__(self) -> None:
        self._moment: datetime | None = None
        self._seen: dict[tuple[str, int], list[AuditEvent]] = {}

    def __call__(self, event: AuditEvent) -> bool:
        if event.timestamp != self._moment:
            self._moment, self._seen = event.timestamp, {}
        seen = self._seen.setdefault((event.event_id, event.sequence), [])
        if event in seen:
            return False
        seen.append(event)
        return True


# --- which files ------------------------------------------------------------------------------


@dataclass
class _Run:
    """Files with consecutive events, oldest first."""

    files: list[EventFile]
    name: str = ""  # of the writer; "" if not known
    is_writer: bool = False  # True if the manifest or journal proves the name
    directory: Directory | None = None  # of the files; None: the user named the file
    indexes: Indexes | None = None  # of that directory

    def events(
        self, query: Query, wanted: LineFilter, missing: Missing, newest: bool, before: int | None
    ) -> Iterator[AuditEvent]:
        """Yield the events that answer *query* and are numbered below *before*."""
        for file in reversed(self.files) if newest else self.files:
            if before is not None and file.first >= before:
                continue
            found = _events(file, self.directory, self.indexes, query, wanted, newest, missing)
            if not self.name:  # not in the order of a trail
                found = iter(sorted(found, key=age, reverse=newest))
            for event in found:
                if not file.may_hold(event.sequence):
                    missing.add(file.path, OF_ANOTHER)
                elif before is None or event.sequence < before:
                    yield event


def _found_at(
    path: Path,
    query: Query,
    wanted: LineFilter,
    stack: ExitStack,
    missing: Missing,
    needed: bool = True,
    index_keys: Sequence[bytes] | None = None,
) -> list[_Run]:
    path = named(path)
    with archive_errors(path) if needed else missing.caught(path):
        if path.is_dir():
            runs = _runs_in(stack.enter_context(Directory(path, missing)), wanted, missing)
            indexes = Indexes(path, query, keys_of_user() if index_keys is None else index_keys)
            for run in runs:
                run.indexes = indexes
        else:
            runs = [_named(path)] if path.exists() else []
        if needed and not (runs or missing or has_begun(path)):
            files_of(path)  # raises if there is nothing
        return runs
    return []


def _named(path: Path) -> _Run:
    closing = closing_of(path, exact=False) or Closing()
    trail = path.stem if path.suffix == JOURNAL else closing.trail
    return _Run([EventFile(path.name, path)], trail)


def _runs_in(directory: Directory, wanted: LineFilter, missing: Missing) -> list[_Run]:
    """The runs in a directory, without files outside the query's time range."""
    runs: dict[str, _Run] = {}
    for name in directory.journals:
        runs[name] = _Run([], name, True, directory)
    for name, writer in directory.writers.items():
        run = runs.setdefault(name, _Run([], name, True, directory))
        run.files = [
            file
            for file in writer.files
            if file.seal is not None
            and file.state != "deleted"
            and wanted.can_be_within(file.seal.first_time, file.seal.last_time)
        ]
    for name, journal in directory.journals.items():
        first = None
        with missing.caught(journal.path):
            first = first_number(journal.open())
        if first:  # a file sealed meanwhile is read as the journal
            runs[name].files = [file for file in runs[name].files if file.first < first]
        if first is not None:
            journal.first = first
            runs[name].files.append(journal)
    return [run for run in [*runs.values(), *_unlisted_runs(directory)] if run.files]


def _unlisted_runs(directory: Directory) -> list[_Run]:
    """The unlisted files: those of one trail form a run as long as their numbers increase."""
    runs: list[_Run] = []
    for file in directory.unlisted:
        trail = file.closing.trail
        for run in runs:
            if trail and run.name == trail and run.files[-1].last < file.first:
                run.files.append(file)
                break
        else:
            runs.append(_Run([file], trail, directory=directory))
    return runs


# --- what is in them --------------------------------------------------------------------------


def _events(
    file: EventFile,
    directory: Directory | None,
    indexes: Indexes | None,
    query: Query,
    wanted: LineFilter,
    newest: bool,
    missing: Missing,
    is_named: bool = True,
) -> Iterator[AuditEvent]:
    """Yield the readable events of one file that answer *query*."""
    is_ours = file.is_ours
    chosen = None
    if indexes is not None and file.seal is not None:
        chosen = indexes.chosen(file.seal, file.path)
        if chosen is not None and not chosen.lines:
            return
    try:
        with file.open() if directory is None else directory.open(file) as opened:
            reader = LineReader(opened, file.path, missing)
            if reader.is_ours():
                is_ours = True
                if chosen is not None and opened.seekable():
                    lines = _lines_at(chosen, opened, file, wanted, newest, missing)
                else:
                    size = 0 if file.seal is None else file.seal.bytes
                    lines = reader.passing(wanted.lines, newest, size)
                yield from query.passing(reader.decoded(lines))
            elif file.path.suffix != JOURNAL or not HEAD.startswith(reader.head or reader.torn):
                others = query.passing(other_events(file.path, missing))
                yield from sorted(others, key=age, reverse=newest)
    except ArchiveError:
        raise
    except FileNotFoundError:
        if why := file.why_absent():
            missing.add(file.path, why)
    except (OSError, InvalidEventError) as exc:
        if is_ours:
            missing.add(file.path, exc)
        elif directory is None and is_named:
            with archive_errors(file.path, InvalidEventError):
                raise
        else:
            missing.judge(file.path, exc)


def _lines_at(
    chosen: Chosen,
    opened: BinaryIO,
    file: EventFile,
    wanted: LineFilter,
    newest: bool,
    missing: Missing,
) -> Iterator[bytes]:
    """Yield those of the *chosen* lines of a file that can answer."""
    for block in chosen.blocks(opened, newest):
        if not chosen.are_as_indexed(block):
            missing.add(file.path, CHANGED)
        lines = wanted.lines(block)
        yield from reversed(lines) if newest else lines
