"""Verification of a store against an archive: what it lacks, has twice, or has otherwise."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

from ..archive.checkpoints import VerifyingKey
from ..archive.directory import newest_number, unlisted_in, writers_in
from ..archive.origin import Source, source_of
from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.merkle import leaf_hash
from ..events.localtime import local
from ..otlp.encoding import encode, record_of
from ..verification.findings import Findings
from ..verification.report import numbers
from .acknowledgements import confirmed
from .received import ArrivalReport, prove_archive
from .store_check import Span, WriterCheck, time_of
from .stores.store import Store, StoredStream
from .stream_check import StreamReport
from .unsent import SetAside, Unsent

__all__ = ["verify_store"]

_UNDER_WAY_S = 60.0  # for so long an event that nobody acknowledged is not missed yet


def verify_store(
    directory: Path,
    store: Store,
    keeps: float | None = None,
    bodies: bool = False,
    largest: int | None = None,
    keys: Iterable[VerifyingKey] = (),
    checkpoints: Iterable[str] = (),
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ArrivalReport:
    """Compare an archive with what a store has of it. Its writers may be at work.

    Args:
        directory: The archive.
        store: The store.
        keeps: Seconds for which the store keeps a record; None: as it says itself.
        bodies: Read every body in the store too, where it cannot look at them itself.
        largest: Bytes of a record above which shipping does not send it.
        keys: Public keys: with these, the archive is verified too.
        checkpoints: Checkpoints that were kept elsewhere.
        progress: Called with the number of events that were compared, and of all.

    Returns:
        What was found. ``removed``: missing in the store; ``altered``: it has another event, or
        its body does not have the hash; ``inserted``: only the store has it.

    Raises:
        ArchiveError: If there is no archive, or it cannot be read.
        ConnectionError: If the store does not answer.
    """
    check = _StoreCheck(directory, store, keeps, largest)
    with archive_errors(directory):
        names = sorted({*writers_in(directory), *unlisted_in(directory)})
    if not names:
        raise ArchiveError(f"no audit files (audit_*.json) in {str(directory)!r}")
    report = check.run(names, bodies, progress)
    if keys := list(keys):
        prove_archive(directory, keys, list(checkpoints), report, check.findings)
    report.keys = [key.name for key in keys]
    report.findings = list(check.findings.kept.values())
    report.left_out = check.findings.left_out
    return report


class _Missed(NamedTuple):
    """Events that are missing for one reason."""

    first: int
    last: int
    why: str


class _StoreCheck:
    """One call of `verify_store`."""

    def __init__(
        self, directory: Path, store: Store, keeps: float | None, largest: int | None
    ) -> None:
        self._directory = directory
        self._store = store
        self._largest = largest
        self._keeps = store.keeps() if keeps is None else keeps
        self.findings = Findings()
        self._report = ArrivalReport(files=[store.place], streams=[], findings=[])

    def run(
        self, names: list[str], bodies: bool, progress: Callable[[int, int], None]
    ) -> ArrivalReport:
        """Every writer in turn; without the archive's own proof."""
        files = unlisted_in(self._directory)
        # Before the store is asked: what was acknowledged by then must be there.
        acked = {name: confirmed(self._directory, name, files.get(name, ())) for name in names}
        there = {stream.stream: stream for stream in self._store.streams()}
        newest = {
            name: max(
                [newest_number(self._directory, name), *(f.last for f in files.get(name, ()))]
            )
            for name in names
        }
        done, total = 0, sum(newest.values())
        progress(done, total)
        for name in names:
            unlisted = files.get(name, [])
            source = source_of(self._directory, name, unlisted[0].path if unlisted else None)
            if not source.stream:
                if newest[name]:
                    words = f"which trail it is of: {newest[name]:,} events were not compared"
                    self.findings.add(
                        name, None, "unreadable", f"its manifest does not say {words}"
                    )
                continue
            number, trail = acked[name]
            source = Source(trail or name, source.stream)
            check = WriterCheck(self._store, self._directory, name, source, unlisted, bodies)
            of = _Missing(source, number, self._keeps, self._largest, self.findings)
            of.aside = Unsent(self._directory, name, source.stream).entries()
            known = there.pop(source.stream, None)
            for span in check.spans(known is not None, newest[name]):
                of.add(span)
                progress(done + span.last, total)
            if known is not None:
                check.beyond(known.last)
            done += newest[name]
            of.end()
            self._conclude(source, check, of, known)
        self._tell_others(there.values())
        return self._report

    def _conclude(
        self, source: Source, check: WriterCheck, of: _Missing, known: StoredStream | None
    ) -> None:
        """Add what was found of one trail to the report."""
        found, told, trail = check.found, self._report.told, source.trail
        stream = StreamReport(trail=source.trail, stream=source.stream, events=found.events)
        if known is not None:
            stream.duplicates = max(0, found.records - found.events)
            stream.first_sequence, stream.last_sequence = known.first, known.last
            if known.first < found.first:
                which = numbers(known.first, found.first - 1)
                told.append(f"{trail}: {which}: no longer in the archive, so not compared")
        self._report.streams.append(stream)
        self._report.duplicates += list(found.doubled)[: 1000 - len(self._report.duplicates)]
        for number, words in sorted(found.altered.items()):
            self.findings.add(of.place, number, "altered", words)
        for number in sorted(found.foreign):
            words = f"event {number} is in the store, and the archive never had it"
            self.findings.add(of.place, number, "inserted", words)
        if found.only_there:
            words = f"{found.only_there:,} events are in the store, and no longer in the archive"
            told.append(f"{trail}: {words}")
        if count := found.lost["missing"] + found.lost["unreadable"]:
            words = f"{count:,} events in the archive cannot be read: did they arrive?"
            self.findings.add(trail, None, "unreadable", words)
        told += of.told

    def _tell_others(self, others: Iterable[StoredStream]) -> None:
        records = [other.records for other in others]
        if records:
            words = f"{sum(records):,} records of {len(records):,} other trails are in the store"
            self._report.told.append(f"{words}, which this archive does not have: not compared")


class _Missing:
    """What the store lacks of one trail, put in words.

    Args:
        source: The trail.
        acknowledged: Number of the newest event that was acknowledged.
        keeps: Seconds for which the store keeps a record; None: unknown.
        largest: Bytes of a record above which it is not sent.
        findings: Gets what is missing.

    Attributes:
        aside: Events that were not sent, or refused, by number.
        place: What findings name.
        told: What is not there, and not missed, in words.
    """

    def __init__(
        self,
        source: Source,
        acknowledged: int,
        keeps: float | None,
        largest: int | None,
        findings: Findings,
    ) -> None:
        self._source = source
        self._acknowledged = acknowledged
        self._largest = largest
        self._findings = findings
        self._run: _Missed | None = None  # that may go on in the next span
        now = time.time()
        self._kept_since = 0.0 if keeps is None else now - keeps
        self._young_since = now - _UNDER_WAY_S
        self._under_way = self._too_old = 0
        self.aside: dict[int, SetAside] = {}
        self.place = " ".join(filter(None, source))

    def add(self, span: Span) -> None:
        """What is missing of a span, in order."""
        for number, line in span.missing.items():
            recorded = time_of(line)
            why = "" if number <= self._acknowledged else "not acknowledged yet"
            if recorded < self._kept_since:
                self._too_old += 1
                continue
            if why and recorded > self._young_since:
                self._under_way += 1
                continue
            why = self._not_taken(number, line) or why
            run = self._run
            if run is not None and run.last + 1 == number and run.why == why:
                self._run = run._replace(last=number)
            else:
                self._say()
                self._run = _Missed(number, number, why)

    def _not_taken(self, number: int, line: bytes) -> str:
        """Why an event was not sent, or not taken; "" if nothing is known of that."""
        if self._largest is not None and len(line) > self._largest // _GROWS:
            with suppress(InvalidEventError):
                size = len(encode(record_of(line, self._source)))
                if size > self._largest:
                    return f"its record has {size:,} bytes, and {self._largest:,} are sent at most"
        entry = self.aside.get(number)
        if entry is None or entry.hash != leaf_hash(line).hex():
            return ""
        size_then = f"its record has {entry.bytes:,} bytes"
        unsaid = "it was too large" if entry.why == "too_large" else "a receiver refused it"
        return f"{size_then}; {entry.said or unsaid}" if entry.bytes else ""

    def end(self) -> None:
        """All was added."""
        self._say()
        self.told: list[str] = []
        if self._too_old:
            since = local(datetime.fromtimestamp(self._kept_since).astimezone())
            words = f"{self._too_old:,} events from before {since} are no longer in the store,"
            self.told.append(f"{self._source.trail}: {words} which keeps none that old")
        if self._under_way:
            words = f"{self._under_way:,} events of the last minute are under way"
            self.told.append(f"{self._source.trail}: {words}: not acknowledged yet")

    def _say(self) -> None:
        if (run := self._run) is not None:
            words = f"{numbers(run.first, run.last)} did not arrive"
            words += f" ({run.why})" if run.why else ""
            self._findings.add(self.place, run.first, "removed", words)
        self._run = None


_GROWS = 4  # a record is at most so many times as long as its event
