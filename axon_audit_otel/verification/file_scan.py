"""Reads a journal or a sealed file once, from end to end, for its verification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..archive.clock import TOLERANCE_S, behind
from ..archive.format import HEAD, last_line
from ..core.files import DECODE_ERRORS
from ..core.merkle import Tree
from .hash_chain import Chain, Link
from .report import Gap, StepBack, UncleanEnd

__all__ = ["Closing", "Content", "Witnessed", "closing_of", "first_number", "parse_closing", "scan"]

_REPORT_BYTES = 1 << 20
_STEPS = 100  # back in time that are remembered
_sha256 = hashlib.sha256


class Closing(msgspec.Struct, kw_only=True):
    """The last line of a sealed file, without its bracket."""

    total_events: int
    exported_at: str
    trail: str
    first_sequence: int
    last_sequence: int
    root: str
    previous_seal: str | None


class _Place(msgspec.Struct):
    sequence: int
    timestamp: str
    operation: str
    previous_hash: str | None = None


class _Own(msgspec.Struct):
    metadata: dict[str, Any]


_place_of = msgspec.json.Decoder(_Place).decode
_own_of = msgspec.json.Decoder(_Own).decode
_closing_of = msgspec.json.Decoder(Closing).decode


class Witnessed:
    """What a writer's events say of the trail, and those that checkpoints speak of.

    Args:
        wanted: Numbers of events that checkpoints name.
    """

    def __init__(self, wanted: set[int]) -> None:
        self.wanted = wanted
        self.file = ""  # being read
        self.seen: dict[int, list[tuple[str, str, str]]] = {}  # hash, time, file
        self.gaps: list[Gap] = []
        self.unclean_ends: list[UncleanEnd] = []
        self.time = ""  # of the event before the file that is read
        self.steps_back: list[StepBack] = []
        self.more_steps_back = 0

    def earlier(self, sequence: int, time: str, before: str) -> None:
        """An event has a time before that of the event before it."""
        seconds = behind(time, before)
        if seconds <= TOLERANCE_S:
            return  # operations that ended at the same time
        if len(self.steps_back) == _STEPS:
            self.more_steps_back += 1
        else:
            self.steps_back.append(StepBack(self.file, sequence, seconds))

    def own_event(self, line: bytes, sequence: int) -> None:
        """An event of the trail about itself."""
        try:
            facts = _own_of(line).metadata
            if facts.get("record") == "gap":
                first, last = int(facts["first"]), int(facts["last"])
                if not 0 < first <= last < sequence:
                    return  # a loss is told of afterwards
                self.gaps.append(Gap(first, last, str(facts.get("reason", "")), sequence))
            elif facts.get("record") == "unclean_end":
                events, torn = int(facts["events"]), int(facts["torn_bytes"])
                self.unclean_ends.append(UncleanEnd(str(facts["writer"]), events, torn, sequence))
        except (*DECODE_ERRORS, KeyError, ValueError, TypeError):
            return  # somebody else's, or of another version


class Content:
    """What one file holds."""

    def __init__(self) -> None:
        # As a seal calls them.
        self.bytes = 0
        self.events = 0
        self.first_sequence = self.last_sequence = 0
        self.first_time = self.last_time = ""  # the earliest and the latest
        self.head = ""
        self.sha256 = ""
        self.root = ""
        # What else there is to know.
        self.lines = 0
        self.oldest_time = self.newest_time = ""  # of the first event and of the last
        self.framed = True  # it begins as it must
        self.misframed: int | None = None  # the first event with a wrong separator
        self.closing: bytes | None = None  # the last line
        self.after = 0  # bytes after it
        self.torn = 0  # bytes of a line without an end


def scan(
    file: BinaryIO,
    chain: Chain,
    witnessed: Witnessed,
    content: Content,
    progress: Callable[[int], None],
) -> None:
    """Read *file* to its end into *content* (what was read until then if that fails).

    Raises:
        OSError: If it cannot be read, or its compression is damaged.
    """
    digest, tree, wanted = _sha256(), Tree(), witnessed.wanted
    update, add = digest.update, tree.add
    number = size = events = 0
    report_at = _REPORT_BYTES
    separator, newline = b" \n"
    place = leaf = None
    before = witnessed.time
    for line in file:
        update(line)
        number += 1
        size += len(line)
        if content.closing is not None:
            content.after += len(line)
            continue
        if number == 1:
            content.framed = line == HEAD
            if len(line) <= len(HEAD):
                continue
        if line[-1] != newline:  # whatever it holds: the next start cuts it off
            content.torn = len(line)
            continue
        body = line[1:-1]
        try:
            place = _place_of(body)
            sequence = place.sequence
        except DECODE_ERRORS:
            if line.startswith(b"],"):
                content.closing = line
            else:
                chain.meet(Link(None, None, "", body, number))
            continue
        leaf = _sha256(b"\0" + body).digest()
        add(leaf)
        head = leaf.hex()
        previous = place.previous_hash
        if sequence == chain.sequence + 1 and previous == chain.head and not chain.waiting:
            chain.sequence, chain.head = sequence, head
        else:
            chain.meet(Link(sequence, previous, head, body, number))
        timestamp = place.timestamp
        if not events:
            content.first_sequence = sequence
            content.oldest_time = timestamp
            content.first_time = content.last_time = timestamp
            if timestamp < before:
                witnessed.earlier(sequence, timestamp, before)
        elif timestamp < before:
            content.first_time = min(content.first_time, timestamp)
            witnessed.earlier(sequence, timestamp, before)
        elif timestamp > content.last_time:
            content.last_time = timestamp
        before = timestamp
        events += 1
        if line[0] != separator and content.misframed is None:
            content.misframed = sequence
        separator = 0x2C  # a comma
        if sequence in wanted:
            witnessed.seen.setdefault(sequence, []).append((head, timestamp, witnessed.file))
        if place.operation == "AUDIT":
            witnessed.own_event(body, sequence)
        if size >= report_at:
            progress(size - report_at + _REPORT_BYTES)
            report_at = size + _REPORT_BYTES
    progress(size - report_at + _REPORT_BYTES)
    if place is not None and leaf is not None:
        content.last_sequence, content.head = place.sequence, leaf.hex()
        content.newest_time = witnessed.time = before
    content.bytes, content.lines, content.events = size, number, events
    content.sha256, content.root = digest.hexdigest(), tree.root().hex()


def closing_of(path: Path) -> Closing | None:
    """What the last line of a sealed file says; None if it is none."""
    return parse_closing(last_line(path))


def first_number(file: BinaryIO) -> int:
    """The number of a file's first event, 1 if that cannot be read."""
    try:
        file.readline()
        return _place_of(file.readline()[1:-1]).sequence
    except (OSError, *DECODE_ERRORS):
        return 1


def parse_closing(line: bytes) -> Closing | None:
    """What the last line of a sealed file says, if it is as it was written."""
    if not line.startswith(b"],"):
        return None
    try:
        closing = _closing_of(b"{" + line[2:])
    except DECODE_ERRORS:
        return None
    return closing if b"]," + msgspec.json.encode(closing)[1:] + b"\n" == line else None
