"""The events of an archive that answer a query, in their order.

Several writers are merged by time. Only files whose time range can match are opened, and only
lines that contain what is asked for are decoded: a value stands in a line as the very bytes it
is encoded to, so that looking for these misses nothing (and what else contains them is sorted
out after decoding). Memory holds a block of a file, or what is found in a compressed one.

What cannot be read, or is not there though a manifest lists it, ends no answer: it is told to a
`Missing`, as far as it could have answered.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice, repeat
from pathlib import Path

from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..events.model import AuditEvent, age
from ..events.query import Query
from .directory import Directory, EventFile, files_of
from .foreign_files import other_events
from .format import HEAD, JOURNAL, Closing
from .line_filter import LineFilter
from .missing import Missing
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
) -> Iterator[AuditEvent]:
    """The events at *path* that answer *query*, newest first, up to its limit.

    Args:
        path: A file, or a directory.
        query: What is asked for.
        oldest_first: The other way round.
        recent: Events from memory that answer *query*, newest first: the newest of *writer*.
            With them, there need not be anything at *path*.
        writer: Whose events numbered *before* and above are not taken from its files.
        before: See *writer*.
        missing: Takes what the answer lacks. Default: that is an error.

    Raises:
        ArchiveError: If nothing is at *path*; without *missing*, if a file cannot be read.
    """
    wanted, newest = LineFilter(query), not oldest_first
    missing = Missing(strict=True) if missing is None else missing
    with ExitStack() as stack:
        runs = _found_at(path, wanted, stack, missing, recent is None)
        streams: list[Iterator[AuditEvent]] = []
        for run in runs:
            own = run.is_writer and run.name == writer
            found = run.events(query, wanted, missing, newest, before if own else None)
            if own and recent is not None:
                found, recent = chain(recent, found), None
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
    """Writers and their events at *path* that answer *query*, oldest first, without its limit.

    A writer is "" where a file does not name it.

    Args:
        path: A file, or a directory.
        query: What is asked for.
        missing: Takes what the answer lacks.

    Raises:
        ArchiveError: If nothing is at *path*.
    """
    wanted = LineFilter(query)
    with ExitStack() as stack:
        streams = [
            zip(repeat(run.name), run.events(query, wanted, missing, newest=False, before=None))
            for run in _found_at(path, wanted, stack, missing)
        ]
        is_new = _Distinct()
        for writer, event in heapq.merge(*streams, key=lambda found: found[1].timestamp):
            if is_new(event):
                yield writer, event


def events_in(path: Path, missing: Missing, asked: bool) -> Iterator[AuditEvent]:
    """The events of one file, oldest first, as far as they can be read.

    Args:
        path: The file; that it is gone is not told.
        missing: Takes what they lack.
        asked: It was named, and not only found.

    Raises:
        ArchiveError: If it was named, and is another program's.
    """
    query = Query()
    file = EventFile(path.name, path)
    return _events(file, None, query, LineFilter(query), False, missing, asked)


def _time_of(event: AuditEvent) -> datetime:
    return event.timestamp


class _Distinct:
    """Lets each event pass once: an export may lie beside the files that it was made from."""

    def __init__(self) -> None:
        self._moment: datetime | None = None
        self._seen: set[tuple[str, int]] = set()

    def __call__(self, event: AuditEvent) -> bool:
        if event.timestamp != self._moment:
            self._moment, self._seen = event.timestamp, set()
        key = event.event_id, event.sequence
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


# --- which files ------------------------------------------------------------------------------


@dataclass
class _Run:
    """Files that follow on each other, oldest first."""

    files: list[EventFile]
    name: str = ""  # of the writer; "" if that is not known
    is_writer: bool = False  # they are the writer's, and not only say so
    directory: Directory | None = None  # in which they were found; None: the file was named

    def events(
        self, query: Query, wanted: LineFilter, missing: Missing, newest: bool, before: int | None
    ) -> Iterator[AuditEvent]:
        """Those that answer *query* and are numbered below *before*."""
        for file in reversed(self.files) if newest else self.files:
            if before is not None and file.first >= before:
                continue
            found = _events(file, self.directory, query, wanted, newest, missing)
            if not self.name:  # in no order of a trail
                found = iter(sorted(found, key=age, reverse=newest))
            for event in found:
                if not file.may_hold(event.sequence):
                    missing.add(file.path, "it holds events of another file")
                elif before is None or event.sequence < before:
                    yield event


def _found_at(
    path: Path, wanted: LineFilter, stack: ExitStack, missing: Missing, needed: bool = True
) -> list[_Run]:
    with archive_errors(path) if needed else missing.caught(path):
        if path.is_dir():
            runs = _runs_in(stack.enter_context(Directory(path, missing)), wanted, missing)
        else:
            runs = [_named(path)] if path.exists() else []
        if needed and not (runs or missing or has_begun(path)):
            files_of(path)  # says so, if there is nothing
        return runs
    return []


def _named(path: Path) -> _Run:
    said = closing_of(path, exact=False) or Closing()
    trail = path.stem if path.suffix == JOURNAL else said.trail
    return _Run([EventFile(path.name, path)], trail)


def _runs_in(directory: Directory, wanted: LineFilter, missing: Missing) -> list[_Run]:
    """The runs in a directory, without files of another time."""
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
        if first:  # what was sealed meanwhile is left to the journal
            runs[name].files = [file for file in runs[name].files if file.first < first]
        if first is not None:
            journal.first = first
            runs[name].files.append(journal)
    return [run for run in [*runs.values(), *_unlisted_runs(directory)] if run.files]


def _unlisted_runs(directory: Directory) -> list[_Run]:
    """Files of one trail follow on each other by their numbers, unless these begin anew."""
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
    query: Query,
    wanted: LineFilter,
    newest: bool,
    missing: Missing,
    asked: bool = True,
) -> Iterator[AuditEvent]:
    """The events of one file that answer *query*, as far as they can be read."""
    is_ours = file.is_ours
    try:
        with file.open() if directory is None else directory.open(file) as opened:
            reader = LineReader(opened, file.path, missing)
            if reader.is_ours():
                is_ours = True
                found = reader.decoded(reader.passing(wanted.lines, newest))
                yield from query.passing(found)
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
        elif directory is None and asked:
            with archive_errors(file.path, InvalidEventError):
                raise
        else:
            missing.judge(file.path, exc)
