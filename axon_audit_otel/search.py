"""One reader for an archive: the events in its files that answer a query, in their order.

A writer's events are in its sealed files, as its manifest lists them, and then in its journal;
several writers are merged by time. Only files whose time range can match are opened, and only
lines that contain what is asked for are decoded: a value stands in a line as the very bytes it
is encoded to, so that looking for these misses nothing (and what else contains them is sorted
out after decoding). Memory holds a block of a file, or what is found in a compressed one.
"""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, islice, repeat
from pathlib import Path
from typing import BinaryIO

import msgspec

from .errors import InvalidEventError, archive_errors
from .event import AuditEvent, age, decode
from .files import HEAD, JOURNAL, files_of, last_line, open_events_file, read_events, sealed_in
from .manifest import MANIFEST, DeleteRecord, SealRecord, read_manifest
from .query import Query
from .reading import DECODE_ERRORS, LINE_LIMIT, open_regular
from .sieve import Sieve

__all__ = ["search", "search_by_writer"]

_BLOCK = 1 << 18  # larger ones are slower: they leave the cache


def search(
    path: Path,
    query: Query,
    *,
    oldest_first: bool = False,
    recent: Iterable[AuditEvent] | None = None,
    writer: str = "",
    before: int | None = None,
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

    Raises:
        ArchiveError: If nothing is at *path*, or a file cannot be read.
    """
    sieve, newest = Sieve(query), not oldest_first
    with ExitStack() as stack:
        runs = _found_at(path, sieve, stack, recent is None)
        streams: list[Iterator[AuditEvent]] = []
        for run in runs:
            own = bool(writer) and run.writer == writer
            found = run.events(query, sieve, newest, before if own else None)
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


def search_by_writer(path: Path, query: Query) -> Iterator[tuple[str, AuditEvent]]:
    """Writers and their events at *path* that answer *query*, oldest first, without its limit.

    A writer is "" where a file does not name it.

    Raises:
        ArchiveError: If nothing is at *path*, or a file cannot be read.
    """
    sieve = Sieve(query)
    with ExitStack() as stack:
        streams = [
            zip(repeat(run.name), run.events(query, sieve, newest=False, before=None))
            for run in _found_at(path, sieve, stack)
        ]
        is_new = _Distinct()
        for writer, event in heapq.merge(*streams, key=lambda found: found[1].timestamp):
            if is_new(event):
                yield writer, event


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
class _File:
    path: Path
    first: int = 0  # numbers of its first and last event; 0: not known
    last: int = 0
    opened: BinaryIO | None = None


@dataclass
class _Run:
    """Files that follow on each other, oldest first."""

    files: list[_File]
    writer: str = ""  # whose manifest lists them
    ordered: bool = True  # in the order of a trail; else to be sorted by time
    trail: str = ""  # what the files say where no manifest lists them

    @property
    def name(self) -> str:
        """Of the writer; "" if that is not known."""
        return self.writer or self.trail

    def events(
        self, query: Query, sieve: Sieve, newest: bool, before: int | None
    ) -> Iterator[AuditEvent]:
        """Those that answer *query* and are numbered below *before*."""
        for file in reversed(self.files) if newest else self.files:
            if before is not None and file.first >= before:
                continue
            found = _events(file, query, sieve, newest)
            if not self.ordered:
                found = iter(sorted(found, key=age, reverse=newest))
            for event in found:
                if before is None or event.sequence < before:
                    yield event


class _Closing(msgspec.Struct):
    """What the last line of a sealed file says."""

    exported_at: str = ""
    trail: str = ""
    first_sequence: int = 0
    last_sequence: int = 0


_closing_in = msgspec.json.Decoder(_Closing).decode


def _found_at(path: Path, sieve: Sieve, stack: ExitStack, needed: bool = True) -> list[_Run]:
    with archive_errors(path):
        runs = _runs_at(path, sieve, stack)
        if not runs and needed:
            files_of(path)  # says so, if there is nothing
    return runs


def _runs_at(path: Path, sieve: Sieve, stack: ExitStack) -> list[_Run]:
    if path.is_dir():
        return _runs_in(path, sieve, stack)
    if not path.exists():
        return []
    trail = path.stem if path.suffix == JOURNAL else _closing_of(path).trail
    return [_Run([_File(path)], ordered=bool(trail), trail=trail)]


def _runs_in(directory: Path, sieve: Sieve, stack: ExitStack) -> list[_Run]:
    """The runs in a directory, while their writers may be at work.

    Journals are opened first: what is sealed after that is in them as well, and what was
    sealed before is listed.
    """
    journals: dict[str, _File] = {}
    for path in sorted(directory.glob(f"*{JOURNAL}")):
        with suppress(FileNotFoundError):
            file = stack.enter_context(open_regular(path))
            if (first := _first_number(file)) is not None:
                journals[path.stem] = _File(path, first, opened=file)
    sealed = sealed_in(directory)
    runs = {writer: _Run([], writer) for writer in journals}
    for manifest in sorted(directory.glob(f"*{MANIFEST}")):
        run = runs.setdefault(manifest.stem, _Run([], manifest.stem))
        run.files = _take_recorded(manifest, sealed, sieve)
    others = _take_others(sealed, journals)
    for writer, journal in journals.items():
        run = runs[writer]
        if journal.first:  # what was sealed meanwhile is left to the journal
            run.files = [file for file in run.files if file.first < journal.first]
        run.files.append(journal)
    return [run for run in [*runs.values(), *others] if run.files]


def _take_recorded(manifest: Path, sealed: dict[str, Path], sieve: Sieve) -> list[_File]:
    """Take the files that *manifest* lists out of *sealed*; those of them that can match."""
    seals: dict[str, SealRecord | None] = {}
    with suppress(OSError, msgspec.DecodeError):  # what it does not list is read all the same
        for _, record in read_manifest(manifest):
            if isinstance(record, SealRecord):
                seals[record.file] = record
            elif isinstance(record, DeleteRecord):
                seals[record.file] = None
    files = []
    for name, seal in seals.items():
        path = sealed.pop(name, None)
        if path and seal and sieve.can_be_within(seal.first_time, seal.last_time):
            files.append(_File(path, seal.first_sequence, seal.last_sequence))
    return files


def _take_others(sealed: dict[str, Path], journals: dict[str, _File]) -> list[_Run]:
    """Runs of files that no manifest lists: copies, exports, what was sealed this moment.

    Files of one trail follow on each other by their numbers, unless these begin anew.
    """
    runs: list[tuple[str, _Run]] = []
    closings = [(_closing_of(path), path) for path in sealed.values() if not _is_empty(path)]
    for closing, path in sorted(closings, key=lambda pair: pair[0].exported_at):
        writer = closing.trail
        if writer in journals and _is_same(path, journals[writer]):
            continue  # sealed since that was opened
        file = _File(path, closing.first_sequence, closing.last_sequence)
        for name, run in runs:
            if writer and name == writer and run.files[-1].last < file.first:
                run.files.append(file)
                break
        else:
            runs.append((writer, _Run([file], ordered=bool(writer), trail=writer)))
    return [run for _, run in runs]


def _is_empty(path: Path) -> bool:
    """Whether it is a name that was taken this moment."""
    with suppress(FileNotFoundError):  # compressed meanwhile
        return not path.stat().st_size
    return False


def _is_same(path: Path, file: _File) -> bool:
    assert file.opened is not None
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(file.opened.fileno()))
    return False


def _first_number(file: BinaryIO) -> int | None:
    """The number of a journal's first event; None if it has none yet, 0 if that is damaged."""
    file.readline()
    line = file.readline()
    if not line.endswith(b"\n"):
        return None
    with suppress(InvalidEventError):
        return decode(line[1:-1]).sequence
    return 0


def _closing_of(path: Path) -> _Closing:
    """What the last line of a file says; nothing if it is none of ours."""
    line = last_line(path)
    if line.startswith(b"],"):
        with suppress(*DECODE_ERRORS):
            return _closing_in(b"{" + line[2:])
    return _Closing()


# --- what is in them --------------------------------------------------------------------------


def _events(file: _File, query: Query, sieve: Sieve, newest: bool) -> Iterator[AuditEvent]:
    """The events of one file that answer *query*."""
    with (
        archive_errors(file.path, InvalidEventError),
        suppress(FileNotFoundError),  # deleted since it was listed
        file.opened or open_events_file(file.path) as opened,
    ):
        if opened.seekable():
            opened.seek(0)
        head = opened.readline()
        if head == HEAD:
            yield from query.passing(map(decode, _lines(opened, sieve, newest)))
        elif file.path.suffix != JOURNAL or not HEAD.startswith(head):
            found = query.passing(read_events(file.path))
            yield from sorted(found, key=age, reverse=newest)


def _lines(file: BinaryIO, sieve: Sieve, newest: bool) -> Iterator[bytes]:
    """What passes *sieve* of a file whose first line has been read."""
    if not newest:
        for block in _blocks(file):
            yield from sieve.lines(block)
    elif file.seekable():
        for block in _blocks_from_the_end(file):
            yield from reversed(sieve.lines(block))
    else:
        found = [sieve.lines(block) for block in _blocks(file)]
        while found:
            yield from reversed(found.pop())


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file in blocks of whole lines, without a torn last one.

    Raises:
        InvalidEventError: If it is compressed, and has no last line.
    """
    block = b""
    rest: list[bytes] = []  # the beginning of a line that ends further on
    while data := file.read(_BLOCK):
        whole, newline, after = data.rpartition(b"\n")
        if newline:
            block = b"".join((*rest, whole, newline))
            rest = [after]
            yield block
        else:
            rest.append(data)
    last = block[block.rfind(b"\n", 0, -1) + 1 :]
    if not file.seekable() and (any(rest) or not last.startswith(b"],")):
        raise InvalidEventError("its end is missing")


def _blocks_from_the_end(file: BinaryIO) -> Iterator[bytes]:
    """The same, the last block first."""
    end = file.seek(0, os.SEEK_END)
    rest: list[bytes] | None = None  # the end of a line that begins further ahead, backwards
    while end > len(HEAD):
        start = max(len(HEAD), end - _BLOCK)
        file.seek(start)
        data = file.read(end - start)
        end = start
        if rest is None:  # the writer may be in the middle of the last line
            whole = data.rfind(b"\n") + 1
            if not whole:
                continue
            data, rest = data[:whole], []
        cut = data.find(b"\n") + 1
        if start == len(HEAD):
            cut = 0
        elif not cut:
            if len(rest) * _BLOCK > LINE_LIMIT:
                raise InvalidEventError(f"it has a line of more than {LINE_LIMIT >> 20} MiB")
            rest.append(data)
            continue
        if lines := data[cut:] + b"".join(reversed(rest)):
            yield lines
        rest = [data[:cut]]
