"""Reads a journal or a sealed file once, from beginning to end, for its verification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, BinaryIO

import msgspec

from ..archive.clock import TOLERANCE_S, behind
from ..archive.format import HEAD, Position, position_of, recorded_positions
from ..archive.holds import HoldRecord
from ..archive.reader import LineReader
from ..core.files import DECODE_ERRORS
from ..core.merkle import Tree
from .event_ids import EventIds
from .hash_chain import Chain, Link
from .hold_check import Erased
from .key_check import KeyCheck
from .report import Gap, Refusal, StepBack, UncleanEnd

__all__ = ["Content", "TrailFacts", "scan"]

_STEPS = 100  # steps back in time, and events with known ids, that are kept
_sha256 = hashlib.sha256


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
    """

    def __init__(self, wanted: set[int], writer: str = "", keys: KeyCheck | None = None) -> None:
        self.wanted = wanted
        self.writer = writer
        self.keys = keys
        self.holds: list[HoldRecord] = []
        self.erasures: list[Erased] = []
        self.file = ""  # being read
        self.ids = EventIds()
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

    def has_known_id(self, position: Position | None) -> None:
        """Record that an event has the id of an earlier one."""
        if len(self.doubled) < _STEPS:
            self.doubled.append((self.file, None if position is None else position.sequence))

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
    digest, tree, wanted = _sha256(), Tree(), facts.wanted
    reader = LineReader(file, digest=digest)
    if reader.start() or reader.torn:
        content.framed = reader.head == HEAD
    number = int(0 < len(reader.head) <= len(HEAD))  # a longer one is among the lines
    add, events, reported = tree.add, 0, 0
    separator = ord(" ")
    head = ""
    before = facts.time
    for lines in reader.batches():
        progress(reader.size - reported)
        reported = reader.size
        bodies = [line[1:-1] for line in lines]
        if facts.keys is not None:
            facts.keys.look(bodies)
        positions = recorded_positions(bodies)
        for index in facts.ids.again(bodies):
            facts.has_known_id(positions[index])
        for line, body, position in zip(lines, bodies, positions):
            number += 1
            if position is None:
                try:
                    position = position_of(body)
                except DECODE_ERRORS:
                    chain.meet(Link(None, None, "", body, number))
                    continue
                chain.not_as_recorded(position.sequence)
            sequence, previous = position.sequence, position.previous_hash
            timestamp = position.timestamp
            leaf = _sha256(b"\0" + body).digest()
            add(leaf)
            head = leaf.hex()
            if sequence == chain.sequence + 1 and previous == chain.head and not chain.waiting:
                chain.sequence, chain.head = sequence, head
            else:
                chain.meet(Link(sequence, previous, head, body, number))
            if not events:
                content.first_sequence = sequence
                content.oldest_time = timestamp
                content.first_time = content.last_time = timestamp
                if timestamp < before:
                    facts.earlier(sequence, timestamp, before)
            elif timestamp < before:
                content.first_time = min(content.first_time, timestamp)
                facts.earlier(sequence, timestamp, before)
            elif timestamp > content.last_time:
                content.last_time = timestamp
            before = timestamp
            events += 1
            if line[0] != separator and content.misframed is None:
                content.misframed = sequence
            separator = 0x2C  # a comma
            if sequence in wanted:
                facts.found.setdefault(sequence, []).append((head, timestamp, facts.file))
            if position.operation == "AUDIT":
                facts.internal_event(body, sequence, timestamp)
    if events:
        content.last_sequence, content.head = sequence, head
        content.newest_time = facts.time = before
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
    content.lines, content.events = number + bool(reader.closing) + bool(after), events
    content.sha256, content.root = digest.hexdigest(), tree.root().hex()
    progress(content.bytes - reported)
