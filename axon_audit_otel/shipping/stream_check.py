"""What arrived of one trail: its records, in any order, and what is missing between them."""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from ..archive.cursor import Cursor
from ..archive.format import position_of
from ..archive.origin import Source
from ..core import semconv
from ..core.errors import InvalidEventError
from ..core.merkle import leaf_hash
from ..core.time import parse_time
from ..events.model import decode
from ..otlp.encoding import record_of
from ..otlp.json_reader import LogRecord
from ..verification.checkpoint_files import Statement
from ..verification.findings import Findings
from ..verification.hash_chain import disjoint, outside
from ..verification.report import Gap, numbers
from ..verification.trail_facts import TrailFacts
from .unordered_chain import Place, Sequence

__all__ = ["StreamCheck", "StreamReport"]

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


class StreamCheck:
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
            return claimed, "its body is not an audit event"
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
            ("trace flags", (record.trace_flags, expected.flags)),
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
        lost = disjoint((gap.first, gap.last) for gap in report.gaps)
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
