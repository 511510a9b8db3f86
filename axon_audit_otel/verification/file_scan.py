"""Reads a journal or a sealed file once, from beginning to end, for its verification."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from typing import BinaryIO

from ..archive.format import HEAD, position_of
from ..archive.reader import LineReader
from ..core.errors import InvalidEventError
from ..core.files import DECODE_ERRORS
from ..core.merkle import Tree, leaf_hashes
from ..core.time import format_time, to_microseconds
from ..events.model import AuditEvent, OperationType, all_canonical, decode, decode_recorded
from .hash_chain import Chain, Link
from .trail_facts import Observer, TrailFacts

__all__ = ["Content", "finish", "scan"]

_AUDIT = OperationType.AUDIT
_SPACE, _COMMA = b" ,"  # what is before the first event, and before each other


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

    def take(self, lines: list[bytes], data: bytes) -> None:
        """Take the next lines, with their separators; *data*: all of them."""
        bodies = [line[1:-1] for line in lines]
        self._facts.take_ids(bodies)
        leaves = leaf_hashes(bodies)
        events = all_canonical(bodies)
        if self._facts.keys is not None and self._facts.keys.concerns(data):
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
        taken.take(lines, reader.data)
    taken.end()
    finish(reader, digest, content, taken.number)
    progress(content.bytes - reported)


def finish(reader: LineReader, digest: hashlib._Hash, content: Content, lines: int) -> None:
    """Complete the facts after the last event, of which *lines* were read before.

    Raises:
        OSError: If the file cannot be read.
    """
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
    content.lines = lines + bool(reader.closing) + bool(after)
    content.sha256 = digest.hexdigest()
