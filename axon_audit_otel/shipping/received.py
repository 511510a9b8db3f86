"""Verification of what arrived: audit records in files that a collector wrote (OTLP JSON lines).

A record's body is its event's bytes, and the event has its number and the hash of the event
before it. So what is missing, doubled or altered shows without the archive that it came from.
Records may come in any order, and more than once. Memory holds about twelve bytes an event, and
more only where the order has holes.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from ..archive.checkpoints import VerifyingKey
from ..archive.cosignatures import Quorum
from ..archive.directory import writers_in
from ..archive.follow import Cursor
from ..archive.format import position_of
from ..archive.origin import Source, source_of
from ..archive.reader import open_events_file
from ..core import semconv
from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import named
from ..core.merkle import leaf_hash
from ..core.time import parse_time
from ..events.model import decode
from ..otlp.encoding import record_of
from ..otlp.json_reader import LogRecord, Requests
from ..verification.checkpoint_files import CheckpointSet, Statement
from ..verification.hash_chain import outside
from ..verification.report import (
    EXIT_CODES,
    Finding,
    Findings,
    Gap,
    Verdict,
    numbers,
    parsed_origins,
)
from ..verification.trail_facts import TrailFacts
from ..verification.verify import verify
from .unordered_chain import Place, Sequence

__all__ = ["ArrivalReport", "StreamReport", "verify_arrival"]

_NAMED = 1000  # duplicates that are named one by one
_LATEST = (1 << 63) - 1  # the highest number of an event


class StreamReport(msgspec.Struct, kw_only=True):
    """The events of one trail that arrived.

    Attributes:
        trail: Its name.
        stream: What tells it from every other trail (``audit.sequence.stream_id``).
        events: Different events.
        duplicates: Further copies of them, to be dropped by ``log.record.uid``.
        out_of_order: Events that came after a later one: no damage.
        first_sequence: Number of the oldest.
        last_sequence: Number of the newest. No file shows whether more were sent.
        gaps: What was lost before it was sent, as later events say.
        checkpoints: Number of different states in the checkpoints that it was compared with.
        proved_until: Number of the newest event that a signed checkpoint covers; None without one.
        proved_at: Time of that checkpoint.
        outside_until: Number of the newest event that a given checkpoint covers; None: none does.
        unbound: First and last numbers of events before a gap that no checkpoint binds.
    """

    trail: str
    stream: str
    events: int = 0
    duplicates: int = 0
    out_of_order: int = 0
    first_sequence: int | None = None
    last_sequence: int | None = None
    gaps: list[Gap] = msgspec.field(default_factory=list)
    checkpoints: int = 0
    proved_until: int | None = None
    proved_at: datetime | None = None
    outside_until: int | None = None
    unbound: list[tuple[int, int]] = msgspec.field(default_factory=list)

    @property
    def origin(self) -> str:
        """What tells the trail from every other: ``axon-audit/<trail>/<stream>``."""
        return f"axon-audit/{self.trail}/{self.stream}"


class ArrivalReport(msgspec.Struct, kw_only=True):
    """The result of `verify_arrival`.

    Attributes:
        files: What was read.
        streams: One by one.
        findings: Every damage, up to a thousand. ``removed``: events are missing.
        left_out: Further findings.
        duplicates: ``log.record.uid`` of events that came more than once, up to a thousand.
        other_records: Log records that are no audit events.
        torn_lines: Lines that their writer did not finish; a killed collector leaves them.
        keys: Names of the keys, one of which must have signed each checkpoint.
        unproved: What was asked for and could not be proved, in words.
    """

    files: list[str]
    streams: list[StreamReport]
    findings: list[Finding]
    left_out: int = 0
    duplicates: list[str] = msgspec.field(default_factory=list)
    other_records: int = 0
    torn_lines: int = 0
    keys: list[str] = msgspec.field(default_factory=list)
    unproved: list[str] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if there are events, none is missing and none was altered."""
        return bool(self.streams) and not self.findings

    @property
    def verdict(self) -> Verdict:
        """``damage``; ``not proved``: not verified as it was asked for; or ``ok``."""
        kinds = {finding.kind for finding in self.findings}
        if kinds - {"wrong_key", "denied"} or (kinds and not self.unproved):
            return "damage"
        return "not proved" if self.unproved else "ok"

    @property
    def events(self) -> int:
        """Different events that arrived."""
        return sum(stream.events for stream in self.streams)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        verdict = {"verdict": self.verdict, "exit": EXIT_CODES[self.verdict]}
        return {"ok": self.ok, **verdict, "events": self.events, **msgspec.to_builtins(self)}


def verify_arrival(
    paths: Iterable[Path | str],
    partial: bool = False,
    archive: Path | str | None = None,
    progress: Callable[[int], None] | None = None,
    keys: Iterable[VerifyingKey] = (),
    checkpoints: Iterable[str] = (),
    origins: Iterable[str] = (),
    require_checkpoint: bool = False,
) -> ArrivalReport:
    """Verify the audit records in files of a collector's file exporter.

    They are compared with the checkpoints in the same files (``checkpoint_to="otlp"``), and with
    those given. Nothing else is believed; acknowledgements are not read.

    Args:
        paths: The files, in any order; those of one trail must be verified together.
        partial: They hold only a part of the trails: what is before the oldest event in
            them is not missed.
        archive: The directory that the events were shipped from: each of them must be there. With
            *keys* it is verified as well, else it is taken as it is.
        progress: Called with the number of bytes read since the last call.
        keys: Public keys. If any are given, one of them must have signed each checkpoint, and each
            trail must be covered by one.
        checkpoints: Notes that were kept elsewhere.
        origins: The trails that must be there, and no others; each as ``axon-audit/<trail>/<id>``.
        require_checkpoint: Each trail must be covered by one of *checkpoints*.

    Returns:
        What was found. A tail that never arrived does not show in the files alone, without
        *archive* or a checkpoint of it.

    Raises:
        ArchiveError: If a file cannot be read, or has no line of OTLP JSON.
        AuditConfigError: If an origin is not valid.
        InvalidEventError: If one of *checkpoints* is not a checkpoint.
    """
    wanted = parsed_origins(origins)
    arrival = _Arrival(partial, list(keys), list(checkpoints))
    for path in map(Path, paths):
        with archive_errors(path):
            arrival.read(path, progress)
    return arrival.report(None if archive is None else Path(archive), wanted, require_checkpoint)


class _Arrival:
    """One call of `verify_arrival`."""

    def __init__(self, partial: bool, keys: list[VerifyingKey], notes: list[str]) -> None:
        self._partial = partial
        self._keys = keys
        self._notes = notes
        self._findings = Findings()
        self._checkpoints = CheckpointSet(keys, self._findings, Quorum())
        self._checkpoints.add_given(notes)
        self._streams: dict[str, _Stream] = {}
        self._report = ArrivalReport(files=[], streams=[], findings=[])
        self._doubled: dict[str, None] = {}

    def read(self, path: Path, progress: Callable[[int], None] | None) -> None:
        """The records of one file."""
        self._report.files.append(str(path))
        with open_events_file(named(path)) as file:
            requests = Requests(file, progress)
            for instance, record in requests:
                attributes = record.named()
                if record.event_name == semconv.CHECKPOINT_EVENT_NAME:
                    self._checkpoints.add_received(record.text or "", path.name)
                if _is_audit(record, attributes):
                    self._take(path.name, instance, record, attributes)
                else:
                    self._report.other_records += 1
        if requests.unreadable and not requests.lines:
            msg = f"{str(path)!r} has no line of OTLP JSON (uncompressed, one request a line)"
            raise ArchiveError(msg)
        self._report.torn_lines += requests.torn
        for number in requests.unreadable:
            self._findings.add(path.name, None, "unreadable", f"line {number} is no OTLP JSON")

    def report(
        self, archive: Path | None, origins: set[str], require_checkpoint: bool
    ) -> ArrivalReport:
        """The report of all files, compared with *archive* if there is one."""
        report = self._report
        self._end_streams()
        if origins:
            here = {of.report.origin: of.report.origin for of in self._streams.values()}
            self._findings.compare_origins(here, origins)
        if archive is not None:
            self._compare(archive)
            if self._keys:
                verified = verify(archive, self._keys, self._notes)
                report.unproved += verified.unproved
                for found in verified.findings:
                    words = f"in the archive: {found.explanation}"
                    self._findings.add(found.file, found.sequence, found.kind, words)
        self._judge_proofs(require_checkpoint)
        report.findings = list(self._findings.kept.values())
        report.left_out = self._findings.left_out
        report.streams = [stream.report for stream in self._streams.values()]
        report.duplicates = list(self._doubled)
        return report

    def _end_streams(self) -> None:
        known: list[Statement] = []
        for stream in self._streams.values():
            of = stream.report
            statements = self._checkpoints.about(of.trail, of.stream or None)
            stream.end(self._partial, statements)
            known += statements
        if self._partial or not self._streams:
            return
        for statement in self._checkpoints.others(known):
            words = f"{statement} speaks of this trail, of which nothing arrived"
            self._findings.add(statement.checkpoint.origin, None, "removed", words)

    def _judge_proofs(self, require_checkpoint: bool) -> None:
        """Say what was asked for and is not proved."""
        report, words = self._report, self._report.unproved
        report.keys = [key.name for key in self._keys]
        if not self._streams:
            words.append("there is no audit record in the files")
        signed = f"no checkpoint that {' or '.join(report.keys)} signed"
        for of in (stream.report for stream in self._streams.values() if stream.report.events):
            name = of.trail or "an unnamed trail"
            if self._keys and of.proved_until is None:
                words.append(f"{signed} covers {name}")
            elif self._keys:
                words += [f"{signed} binds {numbers(*run)} of {name}" for run in of.unbound]
            if require_checkpoint and of.outside_until is None:
                words.append(f"no checkpoint from elsewhere (--checkpoint) covers {name}")

    def _compare(self, archive: Path) -> None:
        with archive_errors(archive):
            names = writers_in(archive)
        if not names:
            msg = f"no archive (with its manifests and journals) in {str(archive)!r}"
            raise ArchiveError(msg)
        for name in names:
            stream_id = source_of(archive, name).stream
            if stream_id:
                stream = self._streams.get(stream_id)
                if stream is None:
                    stream = self._streams[stream_id] = _Stream(name, stream_id, self._findings)
                stream.compare(Cursor(archive, name))

    def _take(
        self, file: str, instance: str, record: LogRecord, attributes: dict[str, Any]
    ) -> None:
        trail = str(attributes.get(semconv.AXON_AUDIT_TRAIL) or "")
        stream_id = str(attributes.get(semconv.AUDIT_SEQUENCE_STREAM_ID) or "")
        key = stream_id or f"{trail} {instance}"
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = _Stream(trail, stream_id, self._findings)
        uid = stream.take(file, record, attributes)
        if uid is not None and len(self._doubled) < _NAMED:
            self._doubled[uid] = None


def _is_audit(record: LogRecord, attributes: dict[str, Any]) -> bool:
    """True if a trail made the record: others may use its name, and a store may lose that."""
    if record.event_name not in ("", semconv.EVENT_NAME):
        return False
    if semconv.AXON_AUDIT_HASH in attributes or semconv.AUDIT_SEQUENCE_NUMBER in attributes:
        return True
    return record.event_name != "" and (record.text or "").startswith('{"event_id":')


class _Stream:
    """The records of one trail."""

    def __init__(self, trail: str, stream: str, findings: Findings) -> None:
        self.report = StreamReport(trail=trail, stream=stream)
        self._source = Source(trail, stream)
        self._findings = findings
        self._file = ""
        self._sequence = Sequence(self._breaks)
        self._ids = _Ids()
        self._witnessed = TrailFacts(set())

    def take(self, file: str, record: LogRecord, attributes: dict[str, Any]) -> str | None:
        """One record; returns its ``log.record.uid`` if its event was there already."""
        self._file = file
        body = (record.text or "").encode("utf-8", "replace")
        place, wrong = self._judge(record, attributes, body)
        if wrong and not _MASKED.isdisjoint(attributes):
            wrong += " (a collector masked something in it)"
        uid = str(attributes.get(semconv.LOG_RECORD_UID) or "?")
        if place is None:
            self._findings.add(file, None, "altered", f"{uid}: {wrong}")
            return None
        number, sequence = place.number, self._sequence
        if sequence.known(number):
            if wrong or not sequence.is_same(place):
                words = wrong or "it is another event"
                self._report_altered(number, f"of another record of event {number}: {words}")
                return None
            self.report.duplicates += 1
            return uid
        if wrong and sequence.altered(number):
            self._report_altered(number, f"event {number}: {wrong}")
        self.report.out_of_order += number < sequence.highest
        sequence.add(place)
        if not wrong:
            self._ids.add(uid, number)
        if attributes.get(semconv.AXON_OPERATION) == "AUDIT":
            self._witnessed.internal_event(body, number)
        return None

    def _judge(
        self, record: LogRecord, attributes: dict[str, Any], body: bytes
    ) -> tuple[Place | None, str]:
        """The record's place, None if unknown, and what is wrong with it, "" if nothing is."""
        claimed = _claimed(attributes)
        try:
            event = decode(body)
            expected = record_of(body, self._source)
        except InvalidEventError:
            return claimed, "its body is no audit event"
        known = expected.attributes
        number, digest = event.sequence, known[semconv.AXON_AUDIT_HASH]
        if not 0 < number <= _LATEST:
            return claimed, f"its number is {number}"
        if claimed is not None and claimed.hash != digest:
            return claimed, "its hash is not that of its body: one of them was altered"
        place = Place(number, event.previous_hash, digest)
        if event.to_json() != body:
            return place, "its body is not as an event is recorded"
        for name in known.keys() | (attributes.keys() & _OURS):
            if name not in attributes:
                return place, f"its attribute {name} is missing"
            if attributes[name] != known.get(name):
                return place, f"its attribute {name} is not what its body says"
        for name, value in (
            ("time", (record.time_ns, expected.time_ns)),
            ("severity", (record.severity_text, expected.severity[1])),
            ("trace id", (record.trace_id.lower(), expected.trace_id)),
            ("span id", (record.span_id.lower(), expected.span_id)),
        ):
            if value[0] and value[1] and value[0] != value[1]:
                return place, f"its {name} is not what its body says"
        return place, ""

    def _breaks(self, number: int) -> None:
        words = f"event {number} does not continue event {number - 1}: one of them was altered"
        words = words if number > 1 else "event 1 continues another, and cannot"
        self._report_altered(number, words)

    def _report_altered(self, number: int, words: str) -> None:
        self._findings.add(self._file, number, "altered", words)

    def end(self, partial: bool, statements: list[Statement]) -> None:
        """Report what is missing, after all was read, and compare it with the checkpoints.

        Args:
            partial: What is before the oldest event is not missed.
            statements: The checkpoints, ordered by their newest event.
        """
        report, sequence = self.report, self._sequence
        report.events = sequence.count
        known = [statement.checkpoint.events for statement in statements]
        report.gaps = [
            gap  # a trail reports a loss before it makes a checkpoint
            for gap in sorted(self._witnessed.gaps, key=lambda gap: gap.first)
            if not any(gap.first <= number < gap.told_by for number in known)
        ]
        if not sequence.count:
            return
        for first, second in self._ids.doubled():
            words = f"event {second} has the id of event {first}: a store keeps one of them"
            self._findings.add(self._file, second, "inserted", words)
        missing = sequence.missing()
        report.first_sequence = missing[0][1] + 1 if missing and missing[0][0] == 1 else 1
        report.last_sequence = sequence.highest
        lost = [(gap.first, gap.last) for gap in report.gaps]
        for first, last in missing:
            before = first == 1
            if before and partial:
                continue
            for low, high in outside(first, last, lost):
                hint = " (if these files begin later than the trail: --partial)" if before else ""
                self._miss(low, high, hint)

        self._compare_checkpoints(statements, missing)

    def _compare_checkpoints(
        self, statements: list[Statement], missing: list[tuple[int, int]]
    ) -> None:
        report, sequence = self.report, self._sequence
        report.checkpoints = len(statements)
        bound = []
        for statement in statements:
            checkpoint = statement.checkpoint
            number = checkpoint.events
            if not sequence.known(number):
                continue
            if not sequence.is_same(Place(number, None, checkpoint.head)):
                words = f"event {number} is not the one that {statement} names: it, or what was"
                self._report_altered(number, f"{words} before it, was rewritten")
                break
            if statement.outside:
                report.outside_until = number
            if statement.proves:
                bound.append(number)
                report.proved_until = number
                report.proved_at = parse_time(checkpoint.time)
        report.unbound = _unbound(bound, missing)
        beyond = [s for s in statements if s.checkpoint.events > sequence.highest]
        if beyond:
            newest = beyond[-1].checkpoint.events
            self._miss(sequence.highest + 1, newest, f", which {beyond[-1]} knew")

    def compare(self, cursor: Cursor) -> None:
        """Report the events of the archive that are missing here, or differ."""
        first = last = 0  # of those that are missing, one after another
        cursor.patience = 0
        try:
            while lines := cursor.read(1000, 1 << 20):
                for line in lines:
                    number = position_of(line).sequence
                    known = self._sequence.known(number)
                    if known:
                        if not self._sequence.is_same(Place(number, None, leaf_hash(line).hex())):
                            self._report_altered(
                                number, f"event {number} is another one in the archive"
                            )
                        continue
                    if first and number == last + 1:
                        last = number
                        continue
                    if first:
                        self._miss(first, last)
                    first = last = number
        finally:
            cursor.close()
        if first:
            self._miss(first, last)
        if count := cursor.lost["missing"] + cursor.lost["unreadable"]:
            words = f"{count:,} events in the archive cannot be read: did they arrive?"
            self._findings.add(self.report.trail, None, "unreadable", words)

    def _miss(self, first: int, last: int, hint: str = "") -> None:
        where = " ".join(filter(None, (self.report.trail, self.report.stream))) or self._file
        self._findings.add(where, first, "removed", f"{numbers(first, last)} did not arrive{hint}")


class _Ids:
    """Finds events that have one id, by its hash: 16 bytes for each event."""

    def __init__(self) -> None:
        self._parts = [array("q") for _ in range(1 << 10)]

    def add(self, event_id: str, number: int) -> None:
        key = hash(event_id)
        self._parts[key & (1 << 10) - 1].extend((key, number))

    def doubled(self) -> Iterator[tuple[int, int]]:
        """Yield the numbers of two events with one id, the lower one first."""
        for part in self._parts:
            numbers: dict[int, int] = {}
            for key, number in sorted(zip(part[::2], part[1::2])):
                if (first := numbers.setdefault(key, number)) != number:
                    yield first, number


def _unbound(bound: list[int], missing: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The events that no hash of a later event, up to the newest in *bound*, leads to.

    Args:
        bound: Numbers of the events that checkpoints name.
        missing: The ranges of numbers that no event has: hashes lead only up to them.
    """
    found, first = [], 1
    for low, high in missing:
        if not bound or low > max(bound):
            break
        newest = max((number for number in bound if number < low), default=0)
        if max(newest + 1, first) < low:
            found.append((max(newest + 1, first), low - 1))
        first = high + 1
    return found


def _claimed(attributes: dict[str, Any]) -> Place | None:
    """The place that a record's attributes name; None if they name none."""
    number = attributes.get(semconv.AUDIT_SEQUENCE_NUMBER)
    digest = attributes.get(semconv.AXON_AUDIT_HASH)
    previous = attributes.get(semconv.AUDIT_SEQUENCE_PREVIOUS_HASH)
    if type(number) is not int or not 0 < number <= _LATEST:
        return None
    if not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        return None
    return Place(number, None if previous is None else str(previous), digest)


#: Attributes of a collector's redaction processor.
_MASKED = frozenset(("redaction.masked.count", "redaction.body.masked.count"))

#: Attributes that come from the event: none of them may be there that it does not have.
_OURS = frozenset((semconv.USER_ID, semconv.USER_HASH, semconv.SESSION_ID, semconv.ERROR_TYPE)) | {
    value for name, value in vars(semconv).items() if name.startswith("AUDIT_")
}
