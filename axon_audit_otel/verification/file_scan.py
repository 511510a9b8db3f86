"""Reads a journal or a sealed file once, from beginning to end, for its verification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import Any, BinaryIO

import msgspec

from ..archive.clock import TOLERANCE_S, behind
from ..archive.format import HEAD, position_of
from ..archive.holds import HoldRecord
from ..archive.reader import LineReader
from ..core.errors import InvalidEventError
from ..core.files import DECODE_ERRORS
from ..core.merkle import Tree, leaf_hashes
from ..core.time import format_time, to_microseconds
from ..events.model import AuditEvent, OperationType, all_canonical, decode, decode_recorded
from .event_ids import EventIds
from .hash_chain import Chain, Link
from .hold_check import Erased
from .key_check import KeyCheck
from .report import Gap, Refusal, StepBack, UncleanEnd

__all__ = ["Content", "Observer", "TrailFacts", "scan"]

#: Takes a writer's name, some of its events in the order of its files, and the hash of each.
Observer = Callable[[str, list[AuditEvent], list[bytes]], object]

_STEPS = 100  # steps back in time, and events with known ids, that are kept
_AUDIT = OperationType.AUDIT
_SPACE, _COMMA = b" ,"  # what is before the first event, and before each other


class _Internal(msgspec.Struct):
    metadata: dict[str, Any]
    status: str


_internal_in = msgspec.json.Decoder(_Internal).decode


class TrailFacts:
    """The facts that a writer's events report of the trail, and the events that checkpoints name.

    Args:
        wanted: Numbers of the events that checkpoints name.
        writer: Name of the writer.
        keys: Counts the encrypted events that no key opens; None: they are not counted.
        observer: Takes every event that can be read.
    """

    def __init__(
        self,
        wanted: set[int],
        writer: str = "",
        keys: KeyCheck | None = None,
        observer: Observer | None = None,
    ) -> None:
        self.wanted = wanted
        self.observer = observer
        self.writer = writer
        self.keys = keys
        self.holds: list[HoldRecord] = []
        self.erasures: list[Erased] = []
        self.file = ""  # being read
        self.ids = EventIds()
        self.newest = b""  # the event that was read last
        self.doubled: list[tuple[str, int | None]] = []  # events that have the id of another
        self.found: dict[int, list[tuple[str, str, str]]] = {}  # hash, time, file
        self.gaps: list[Gap] = []
        self.unclean_ends: list[UncleanEnd] = []
        self.refusals: list[Refusal] = []
        self.time = ""  # of the last event before the file that is read
        self.steps_back: list[StepBack] = []
        self.more_steps_back = 0

    def earlier(self, sequence: int, time: str, before: str) -> None:
        """Record that an event has an earlier time than the event before it."""
        seconds = behind(time, before)
        if seconds <= TOLERANCE_S:
            return  # operations that ended at the same time
        if len(self.steps_back) == _STEPS:
            self.more_steps_back += 1
        else:
            self.steps_back.append(StepBack(self.file, sequence, seconds))

    def has_known_id(self, line: bytes) -> None:
        """Record that an event has the id of an earlier one."""
        number = None
        with suppress(*DECODE_ERRORS):
            number = position_of(line).sequence
        if len(self.doubled) < _STEPS:
            self.doubled.append((self.file, number))

    def find(self, sequence: int, head: str, time: str) -> None:
        """Record that the file has an event that a checkpoint names."""
        self.found.setdefault(sequence, []).append((head, time, self.file))

    def internal_event(self, line: bytes, sequence: int, time: str = "") -> None:
        """Take an event of the trail about itself."""
        try:
            event = _internal_in(line)
            facts = event.metadata
            hold = HoldRecord.of(facts, time, self.writer, sequence)
            if hold is not None:
                self.holds.append(hold)
            elif facts.get("record") == "erasure" and event.status == "SUCCESS":
                tokens = [str(token) for token in facts["tokens"]]
                self.erasures.append(Erased(time, self.file, sequence, tokens))
            elif facts.get("record") == "gap":
                first, last = int(facts["first"]), int(facts["last"])
                if not 0 < first <= last < sequence:
                    return  # a loss is reported after it
                self.gaps.append(Gap(first, last, str(facts.get("reason", "")), sequence))
            elif facts.get("record") == "unclean_end":
                events, torn = int(facts["events"]), int(facts["torn_bytes"])
                self.unclean_ends.append(UncleanEnd(str(facts["writer"]), events, torn, sequence))
            elif facts.get("record") == "refused":
                self.refusals.append(Refusal(str(facts["writer"]), str(facts["why"]), sequence))
        except (*DECODE_ERRORS, KeyError, ValueError, TypeError):
            return  # of another program or version


class Content:
    """The facts about the content of one file."""

    def __init__(self) -> None:
        # With the names of the fields of a seal.
        self.bytes = 0
        self.events = 0
        self.first_sequence = self.last_sequence = 0
        self.first_time = self.last_time = ""  # the earliest and the latest
        self.head = ""
        self.sha256 = ""
        self.root = ""
        # Further facts.
        self.lines = 0
        self.oldest_time = self.newest_time = ""  # of the first event and of the last
        self.framed = True  # False if the first line is wrong
        self.misframed: int | None = None  # the first event with a wrong separator
        self.closing: bytes | None = None  # the last line
        self.after = 0  # bytes after it
        self.torn = 0  # bytes of a line without an end


def _is_repeated(event: bytes, before: bytes) -> bool:
    """Return True if an event is the one before it once more, with another number.

    A trail that was interrupted while it recorded an event records it again.
    """
    payload, _, place = event.rpartition(b',"sequence":')
    return bool(place) and before.startswith(payload + b',"sequence":')


def _event_in(body: bytes) -> list[AuditEvent]:
    """The event in a line; [] if it is none."""
    with suppress(InvalidEventError):
        return [decode(body)]
    return []


def _text(moment: datetime) -> str:
    return format_time(to_microseconds(moment))


class _Lines:
    """Takes the lines of one file, one after the other.

    Args:
        chain: Follows the events through the files.
        facts: Gets what the events say of the trail.
        content: Gets the facts about the events of this file.
        number: The number of lines before.
    """

    def __init__(self, chain: Chain, facts: TrailFacts, content: Content, number: int) -> None:
        self._chain, self._facts, self._content = chain, facts, content
        self._head = ""
        self._time = facts.time
        self._tree = Tree()
        self.number = number

    def take(self, lines: list[bytes]) -> None:
        """Take the next lines, with their separators."""
        bodies = [line[1:-1] for line in lines]
        facts = self._facts
        for at in facts.ids.again(bodies):
            if not _is_repeated(bodies[at], bodies[at - 1] if at else facts.newest):
                facts.has_known_id(bodies[at])
        facts.newest = bodies[-1]
        leaves = leaf_hashes(bodies)
        events = all_canonical(bodies)
        if self._facts.keys is not None:
            self._facts.keys.look(bodies, events)
        if self._facts.observer is not None:
            self._show(self._facts.observer, bodies, events, leaves)
        if events is not None and self._continue(lines, bodies, events, leaves):
            self.number += len(lines)
            return
        for line, body, leaf in zip(lines, bodies, leaves):
            self.number += 1
            self._take(line[0], body, leaf)

    def _show(
        self,
        observer: Observer,
        bodies: list[bytes],
        events: list[AuditEvent] | None,
        leaves: list[bytes],
    ) -> None:
        """Show the events that can be read, whether or not they are in their place."""
        if events is None:
            known = [
                (event, leaf) for body, leaf in zip(bodies, leaves) for event in _event_in(body)
            ]
            events, leaves = [event for event, _ in known], [leaf for _, leaf in known]
        if events:
            observer(self._facts.writer, events, leaves)

    def _continue(
        self,
        lines: list[bytes],
        bodies: list[bytes],
        events: list[AuditEvent],
        leaves: list[bytes],
    ) -> bool:
        """Take lines at once, which is faster; False, with none taken, if one needs a look."""
        content, facts = self._content, self._facts
        times = [event.timestamp for event in events]
        numbers = [event.sequence for event in events]
        first_time, last_time = _text(times[0]), _text(times[-1])
        if (
            first_time < self._time
            or times != sorted(times)
            or lines[0][0] != (_COMMA if content.events else _SPACE)
            or {line[0] for line in lines[1:]} - {_COMMA}
            or not self._chain.extend(numbers, [event.previous_hash for event in events], leaves)
        ):
            return False
        self._begin(numbers[0], first_time)
        self._tree.extend(leaves)
        self._end(numbers[-1], last_time, leaves[-1].hex(), len(events))
        for number in facts.wanted.intersection(numbers):
            at = number - numbers[0]
            facts.find(number, leaves[at].hex(), _text(times[at]))
        for at in [at for at, event in enumerate(events) if event.operation is _AUDIT]:
            facts.internal_event(bodies[at], numbers[at], _text(times[at]))
        return True

    def _take(self, separator: int, body: bytes, leaf: bytes) -> None:
        chain, facts, content = self._chain, self._facts, self._content
        try:
            position = position_of(body)
        except DECODE_ERRORS:
            chain.meet(Link(None, None, "", body, self.number))
            return
        sequence, time, head = position.sequence, position.timestamp, leaf.hex()
        try:
            decode_recorded(body)
        except InvalidEventError:
            chain.not_as_recorded(sequence)
        if not chain.extend([sequence], [position.previous_hash], [leaf]):
            chain.meet(Link(sequence, position.previous_hash, head, body, self.number))
        if separator != (_COMMA if content.events else _SPACE) and content.misframed is None:
            content.misframed = sequence
        self._begin(sequence, time)
        self._tree.add(leaf)
        if time < self._time:
            content.first_time = min(content.first_time, time)
            facts.earlier(sequence, time, self._time)
        self._end(sequence, time, head)
        if sequence in facts.wanted:
            facts.find(sequence, head, time)
        if position.operation == "AUDIT":
            facts.internal_event(body, sequence, time)

    def _begin(self, sequence: int, time: str) -> None:
        """Note the first event."""
        if not self._content.events:
            self._content.first_sequence = sequence
            self._content.oldest_time = self._content.first_time = time

    def _end(self, sequence: int, time: str, head: str, events: int = 1) -> None:
        """Note the last of some events."""
        self._time, self._head = time, head
        self._content.last_sequence = sequence
        self._content.last_time = max(self._content.last_time, time)
        self._content.events += events

    def end(self) -> None:
        """Complete the facts after the last line."""
        content = self._content
        if content.events:
            content.head = self._head
            content.newest_time = self._facts.time = self._time
        content.root = self._tree.root().hex()


def scan(
    file: BinaryIO,
    chain: Chain,
    facts: TrailFacts,
    content: Content,
    progress: Callable[[int], None],
) -> None:
    """Read *file* to its end into *content*; after an error, *content* has the part before.

    Raises:
        OSError: If it cannot be read, or its compression is damaged.
    """
    digest = hashlib.sha256()
    reader = LineReader(file, digest=digest)
    if reader.start() or reader.torn:
        content.framed = reader.head == HEAD
    # A longer first line is among the lines.
    taken = _Lines(chain, facts, content, int(reader.frame != b""))
    reported = 0
    for lines in reader.batches():
        progress(reader.size - reported)
        reported = reader.size
        taken.take(lines)
    taken.end()
    content.closing = reader.closing or None
    digest.update(reader.closing)
    after = 0
    for block in reader.rest():
        digest.update(block)
        after += len(block)
    if content.closing is None:
        content.torn = after
    else:
        content.after = after
    content.bytes = reader.size + len(reader.closing) + after
    content.lines = taken.number + bool(reader.closing) + bool(after)
    content.sha256 = digest.hexdigest()
    progress(content.bytes - reported)
