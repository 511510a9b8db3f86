"""One reader for an archive: the events in its files that answer a query, in their order.

A writer's events are in its sealed files, as its manifest lists them, and then in its journal;
several writers are merged by time. Only files whose time range can match are opened, and only
lines that contain what is asked for are decoded: a value stands in a line as the very bytes it
is encoded to, so that looking for these misses nothing (and what else contains them is sorted
out after decoding). Memory holds a block of a file, or what is found in a compressed one.

What cannot be read, or is not there though a manifest lists it, ends no answer: it is told to a
`Missing`, as far as it could have answered.
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

from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import DECODE_ERRORS, LINE_LIMIT, listed, open_regular
from ..events.model import AuditEvent, age, decode
from ..events.query import Query
from .format import (
    GZ,
    GZIPPED,
    HEAD,
    JOURNAL,
    files_of,
    last_line,
    open_events_file,
    other_events,
    sealed_in,
)
from .line_filter import Sieve
from .manifest import MANIFEST, DeleteRecord, SealRecord, read_manifest
from .missing import Missing
from .writer_lock import has_begun

__all__ = ["OtherWriters", "events_in", "search", "search_by_writer"]

_BLOCK = 1 << 18  # larger ones are slower: they leave the cache


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
    sieve, newest = Sieve(query), not oldest_first
    missing = Missing(strict=True) if missing is None else missing
    with ExitStack() as stack:
        runs = _found_at(path, sieve, stack, missing, recent is None)
        streams: list[Iterator[AuditEvent]] = []
        for run in runs:
            own = bool(writer) and run.writer == writer
            found = run.events(query, sieve, missing, newest, before if own else None)
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
    sieve = Sieve(query)
    with ExitStack() as stack:
        streams = [
            zip(repeat(run.name), run.events(query, sieve, missing, newest=False, before=None))
            for run in _found_at(path, sieve, stack, missing)
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
    file = _File(path, ours=False, asked=asked)
    return _events(file, query, Sieve(query), False, missing)


class OtherWriters:
    """Whether others write to a directory; it is listed only when names in it have changed."""

    def __init__(self) -> None:
        self._listed: tuple[int, list[Path]] = (0, [])  # at which of its times

    def have_written(self, directory: Path, writer: str, start_us: int | None) -> bool:
        """Whether another than *writer* has an event there, of that time or later (None: any).

        What cannot be read says no.
        """
        with suppress(OSError):
            changed = directory.stat().st_mtime_ns
            if changed != self._listed[0]:
                self._listed = (
                    changed,
                    [
                        *listed(directory, f"*{MANIFEST}"),
                        *listed(directory, f"*{JOURNAL}"),
                    ],
                )
            for path in self._listed[1]:
                if path.stem == writer:
                    continue
                with suppress(FileNotFoundError):
                    status = path.stat()
                    late = start_us is None or status.st_mtime_ns // 1000 >= start_us
                    if late and status.st_size > len(HEAD):
                        return True
        return False


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


class _Listed:
    """The files that one manifest lists, and what it says of them when it is asked again."""

    def __init__(self, manifest: Path, missing: Missing) -> None:
        self._manifest = manifest
        self._size = -1
        self.seals: dict[str, SealRecord | None] = {}  # None: deleted
        self._read(missing)

    def _read(self, missing: Missing) -> None:
        def damaged() -> None:
            missing.add(self._manifest, _DAMAGED)

        with missing.caught(self._manifest), suppress(FileNotFoundError):
            self._size = self._manifest.stat().st_size
            for _, record in read_manifest(self._manifest, damaged):
                if isinstance(record, SealRecord):
                    self.seals[record.file] = record
                elif isinstance(record, DeleteRecord):
                    self.seals[record.file] = None

    def is_deleted(self, name: str) -> bool:
        """Whether a file that is not there was deleted by now, as the manifest says."""
        with suppress(OSError):
            if self._manifest.stat().st_size != self._size:
                self._read(Missing())  # what it lacks is told
        return self.seals.get(name) is None


_DAMAGED = "it has a line that is no record: it may have listed a file"


@dataclass
class _File:
    path: Path
    first: int = 0  # numbers of its first and last event; 0: not known
    last: int = 0
    opened: BinaryIO | None = None
    listed: _Listed | None = None  # by which manifest, under
    name: str = ""  # this name
    ours: bool = True  # else it may be another program's, which is an error
    asked: bool = False  # only where it was asked for by name

    def is_absent(self) -> str:
        """Why it is missing, which is not there; "" if nothing is missing for that."""
        if self.listed is None or self.listed.is_deleted(self.name):
            return ""
        if os.path.lexists(self.path.with_name(self.name + GZ)):
            return GZIPPED
        return f"it is gone, with events {self.first} to {self.last}"

    def has(self, event: AuditEvent) -> bool:
        """Whether that is one of its own."""
        return self.listed is None or self.first <= event.sequence <= self.last


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
        self, query: Query, sieve: Sieve, missing: Missing, newest: bool, before: int | None
    ) -> Iterator[AuditEvent]:
        """Those that answer *query* and are numbered below *before*."""
        for file in reversed(self.files) if newest else self.files:
            if before is not None and file.first >= before:
                continue
            found = _events(file, query, sieve, newest, missing)
            if not self.ordered:
                found = iter(sorted(found, key=age, reverse=newest))
            for event in found:
                if not file.has(event):
                    missing.add(file.path, "it holds events of another file")
                elif before is None or event.sequence < before:
                    yield event


class _Closing(msgspec.Struct):
    """What the last line of a sealed file says."""

    exported_at: str = ""
    trail: str = ""
    first_sequence: int = 0
    last_sequence: int = 0
    root: str = ""


_closing_in = msgspec.json.Decoder(_Closing).decode


def _found_at(
    path: Path, sieve: Sieve, stack: ExitStack, missing: Missing, needed: bool = True
) -> list[_Run]:
    with archive_errors(path) if needed else missing.caught(path):
        runs = _runs_at(path, sieve, stack, missing)
        if needed and not (runs or missing or has_begun(path)):
            files_of(path)  # says so, if there is nothing
        return runs
    return []


def _runs_at(path: Path, sieve: Sieve, stack: ExitStack, missing: Missing) -> list[_Run]:
    if path.is_dir():
        return _runs_in(path, sieve, stack, missing)
    if not path.exists():
        return []
    trail = path.stem if path.suffix == JOURNAL else _closing_of(path).trail
    return [_Run([_File(path, ours=False, asked=True)], ordered=bool(trail), trail=trail)]


def _runs_in(directory: Path, sieve: Sieve, stack: ExitStack, missing: Missing) -> list[_Run]:
    """The runs in a directory, while their writers may be at work.

    Journals are opened first: what is sealed after that is in them as well, and what was
    sealed before is listed.
    """
    journals = _open_journals(directory, stack, missing)
    sealed = sealed_in(directory)
    runs = {writer: _Run([], writer) for writer in journals}
    known: dict[str, _File] = {}  # what manifests list, by the root of its events
    names: set[str] = set()  # likewise
    for manifest in sorted(listed(directory, f"*{MANIFEST}")):
        files = _recorded(_Listed(manifest, missing), sealed, directory, names, known)
        run = runs.setdefault(manifest.stem, _Run([], manifest.stem))
        run.files = [file for file, seal in files if sieve.can_be_within(*_times(seal))]
    others = _take_others(sealed, journals, known)
    for path in listed(directory, f"audit_*.json{GZ}"):
        if path.name.removesuffix(GZ) not in names | sealed.keys():
            missing.add(path, GZIPPED)
    for writer, journal in journals.items():
        run = runs[writer]
        if journal.first:  # what was sealed meanwhile is left to the journal
            run.files = [file for file in run.files if file.first < journal.first]
        run.files.append(journal)
    return [run for run in [*runs.values(), *others] if run.files]


def _open_journals(directory: Path, stack: ExitStack, missing: Missing) -> dict[str, _File]:
    """The journals that have events, by their writers."""
    journals: dict[str, _File] = {}
    for path in sorted(listed(directory, f"*{JOURNAL}")):
        with missing.caught(path), suppress(FileNotFoundError):
            file = stack.enter_context(open_regular(path))
            if (first := _first_number(file)) is not None:
                journals[path.stem] = _File(path, first, opened=file)
    return journals


def _recorded(
    manifest: _Listed,
    sealed: dict[str, Path],
    directory: Path,
    names: set[str],
    known: dict[str, _File],
) -> Iterator[tuple[_File, SealRecord]]:
    """The files that *manifest* lists, and whether they are there or not; takes them out of
    *sealed*, and into *names* and *known*."""
    for name, seal in manifest.seals.items():
        path = sealed.pop(name, None)
        if seal is None or name in names:  # deleted, or another manifest lists it, too
            continue
        names.add(name)
        place = directory / name if path is None else path
        file = _File(place, seal.first_sequence, seal.last_sequence, listed=manifest, name=name)
        known[seal.root] = file
        yield file, seal


def _times(seal: SealRecord) -> tuple[str, str]:
    return seal.first_time, seal.last_time


def _take_others(
    sealed: dict[str, Path], journals: dict[str, _File], known: dict[str, _File]
) -> list[_Run]:
    """Runs of files that no manifest lists: exports, what was sealed this moment, archives
    without manifests.

    Files of one trail follow on each other by their numbers, unless these begin anew. A copy
    of a file that is *known* is passed over; where that is gone, it was renamed to this.
    """
    runs: list[tuple[str, _Run]] = []
    closings = [(_closing_of(path), path) for path in sealed.values() if not _is_empty(path)]
    for closing, path in sorted(closings, key=lambda pair: pair[0].exported_at):
        writer = closing.trail
        if writer in journals and _is_same(path, journals[writer]):
            continue  # sealed since that was opened
        if closing.root in known:
            if not os.path.lexists(known[closing.root].path):
                known[closing.root].path = path
            continue
        file = _File(path, closing.first_sequence, closing.last_sequence, ours=bool(writer))
        if closing.root:
            known[closing.root] = file
        for name, run in runs:
            if writer and name == writer and run.files[-1].last < file.first:
                run.files.append(file)
                break
        else:
            runs.append((writer, _Run([file], ordered=bool(writer), trail=writer)))
    return [run for _, run in runs]


def _is_empty(path: Path) -> bool:
    """Whether it is a name that was taken this moment."""
    with suppress(OSError):  # compressed meanwhile; a loop of links
        return not path.stat().st_size
    return False


def _is_same(path: Path, file: _File) -> bool:
    assert file.opened is not None
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(file.opened.fileno()))
    return False


def _first_number(file: BinaryIO) -> int | None:
    """The number of a journal's first event; None if it has none yet, 0 if all is damaged."""
    number = None
    file.readline()
    while (line := file.readline()).endswith(b"\n"):
        number = 0
        with suppress(InvalidEventError):
            return decode(line[1:-1]).sequence
    return number


def _closing_of(path: Path) -> _Closing:
    """What the last line of a file says; nothing if it is none of ours."""
    line = last_line(path)
    if line.startswith(b"],"):
        with suppress(*DECODE_ERRORS):
            return _closing_in(b"{" + line[2:])
    return _Closing()


# --- what is in them --------------------------------------------------------------------------


def _events(
    file: _File, query: Query, sieve: Sieve, newest: bool, missing: Missing
) -> Iterator[AuditEvent]:
    """The events of one file that answer *query*, as far as they can be read."""
    path = file.path
    try:
        with file.opened or open_events_file(path) as opened:
            if opened.seekable():
                opened.seek(0)
            head = opened.readline()
            if head == HEAD or _is_ours(opened, head, missing, path):
                file.ours = True
                lines = _Lines(opened, path, sieve, missing)
                found = lines.backwards() if newest else lines.forwards()
                yield from query.passing(_decoded(found, path, missing))
            elif path.suffix != JOURNAL or not HEAD.startswith(head):
                others = query.passing(other_events(path, missing))
                yield from sorted(others, key=age, reverse=newest)
    except ArchiveError:
        raise
    except FileNotFoundError:
        if why := file.is_absent():
            missing.add(path, why)
    except (OSError, InvalidEventError) as exc:
        if file.ours:
            missing.add(path, exc)
        elif file.asked:
            with archive_errors(path, InvalidEventError):
                raise
        else:
            missing.judge(path, exc)


def _is_ours(file: BinaryIO, head: bytes, missing: Missing, path: Path) -> bool:
    """Whether a file is laid out as ours, but for its first line."""
    if not file.seekable():
        return False
    second = file.readline()
    file.seek(len(head))
    if not second.startswith(_FIRST):
        return False
    missing.line(path)
    return True


_FIRST = b' {"event_id":'


def _decoded(lines: Iterable[bytes], path: Path, missing: Missing) -> Iterator[AuditEvent]:
    for line in lines:
        try:
            event = decode(line)
        except InvalidEventError:
            missing.line(path)
        else:
            yield event


class _Lines:
    """What passes a sieve of a file whose first line has been read."""

    def __init__(self, file: BinaryIO, path: Path, sieve: Sieve, missing: Missing) -> None:
        self._file = file
        self._path = path
        self._sieve = sieve
        self._missing = missing

    def forwards(self) -> Iterator[bytes]:
        """The oldest first."""
        for block in self._blocks():
            yield from self._sieve.lines(block)

    def backwards(self) -> Iterator[bytes]:
        """The newest first."""
        if self._file.seekable():
            for block in self._blocks_from_the_end():
                yield from reversed(self._sieve.lines(block))
            return
        found = []
        with self._missing.caught(self._path):  # what came before the damage is read
            for block in self._blocks():
                found.append(self._sieve.lines(block))  # noqa: PERF401 - as far as it goes
        while found:
            yield from reversed(found.pop())

    def _end(self, block: bytes, torn: bool) -> None:
        """A file ends with that, and with a line that has no end if *torn*."""
        last = block[block.rfind(b"\n", 0, -1) + 1 :]
        if self._path.suffix != JOURNAL and (torn or not last.startswith(b"],")):
            self._missing.add(self._path, "its end is missing")

    def _blocks(self) -> Iterator[bytes]:
        """The rest of the file in blocks of whole lines, without a torn last one."""
        block = b""
        rest: list[bytes] = []  # the beginning of a line that ends further on
        while data := self._file.read(_BLOCK):
            whole, newline, after = data.rpartition(b"\n")
            if newline:
                block = b"".join((*rest, whole, newline))
                rest = [after]
                yield block
            else:
                rest.append(data)
        self._end(block, any(rest))

    def _blocks_from_the_end(self) -> Iterator[bytes]:
        """The same, the last block first."""
        begin = self._file.tell()
        end = self._file.seek(0, os.SEEK_END)
        rest: list[bytes] | None = None  # the end of a line that begins further ahead, backwards
        while end > begin:
            start = max(begin, end - _BLOCK)
            self._file.seek(start)
            data = self._file.read(end - start)
            end = start
            if rest is None:  # the writer may be in the middle of the last line
                whole = data.rfind(b"\n") + 1
                if not whole:
                    continue
                self._end(data[:whole], whole < len(data))
                data, rest = data[:whole], []
            cut = data.find(b"\n") + 1
            if start == begin:
                cut = 0
            elif not cut:
                if len(rest) * _BLOCK > LINE_LIMIT:
                    raise InvalidEventError(f"it has a line of more than {LINE_LIMIT >> 20} MiB")
                rest.append(data)
                continue
            if lines := data[cut:] + b"".join(reversed(rest)):
                yield lines
            rest = [data[:cut]]
        if rest is None:
            self._end(b"", torn=True)
