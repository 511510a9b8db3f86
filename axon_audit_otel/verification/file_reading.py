"""Reads one sealed file apart from the others, and only if it is exactly as it was sealed.

So files can be read in any order and in other processes. Whatever is unusual gives no result: then
the file is read where its trail is known, which finds out what is wrong.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from operator import itemgetter, le
from pathlib import Path
from typing import BinaryIO

import msgspec

from ..archive.format import HEAD, Closing, Position, parse_closing, position_of
from ..archive.manifest import SealRecord
from ..archive.reader import LineReader, first_line, open_events_file
from ..core.files import DECODE_ERRORS
from ..core.merkle import leaf_hash
from ..events.model import all_canonical
from .event_ids import FileIds, IdCollector
from .file_scan import Content, finish, scan
from .hash_chain import Chain
from .key_check import KeyCheck, KeyFacts
from .trail_facts import Told, TrailFacts

__all__ = ["FIELDS", "Job", "Reading", "describes", "read_sealed"]

#: The facts in a seal about its file, and their names in messages.
FIELDS = {
    "first_sequence": "first number",
    "last_sequence": "last number",
    "events": "number of events",
    "first_time": "earliest time",
    "last_time": "latest time",
    "head": "newest hash",
    "root": "Merkle root",
    "bytes": "size",
    "sha256": "digest",
}

# Of a line whose id a trail made: what follows the id, with the time and the operation.
_stamp_of: Callable[[bytes], bytes] = itemgetter(slice(50, 113))
_time_of: Callable[[bytes], bytes] = itemgetter(slice(65, 92))
_STAMP = b'","timestamp":"%26sZ","operation":"      ' % b""
_FIXED = [(at, _STAMP[at : at + 1]) for at in range(len(_STAMP)) if _STAMP[at] != ord(" ")]
_AUDIT = b'","operation":"AUDIT"'


class Job(msgspec.Struct):
    """A sealed file to read.

    Attributes:
        path: Its path.
        record: Its seal.
        writer: The name of its writer.
        wanted: Numbers of events of it whose hashes are wanted, ascending.
        by_digest: A signature proves its digest: its lines need not be proved again.
    """

    path: str
    record: SealRecord
    writer: str
    wanted: list[int]
    by_digest: bool


class Reading(msgspec.Struct):
    """What a file has that is exactly as it was sealed.

    Attributes:
        closing: Its last line.
        previous: What its first event continues.
        first: Its first event.
        newest: Its last event.
        oldest_time: Time of its first event.
        newest_time: Time of its last event.
        ids: The ids of its events.
        told: What its events tell of the trail.
        keys: What was found of encrypted events.
        by_digest: True if its lines were not proved one by one.
    """

    closing: bytes
    previous: str | None
    first: bytes
    newest: bytes
    oldest_time: str
    newest_time: str
    ids: FileIds
    told: Told
    keys: KeyFacts
    by_digest: bool

    def content(self, record: SealRecord) -> Content:
        """The facts about the file, whose seal is *record*."""
        content = Content()
        for name in FIELDS:
            setattr(content, name, getattr(record, name))
        content.closing = self.closing
        content.oldest_time, content.newest_time = self.oldest_time, self.newest_time
        return content


class _UnlikeError(Exception):
    """The file, or what is to be known of it, needs a closer look."""


def read_sealed(job: Job, keys: KeyCheck) -> Reading | None:
    """Read a sealed file; None unless it is exactly as it was sealed, and nothing is unusual.

    Args:
        job: The file.
        keys: Counts the encrypted events that no key opens.
    """
    keys.handed_over()  # of a file before, which was not read to its end
    path, record = Path(job.path), job.record
    facts = TrailFacts(set(job.wanted), job.writer, keys, ids=IdCollector())
    facts.file = path.name
    content = Content()
    try:
        first = first_line(path)
        position = position_of(first)
        with open_events_file(path) as file:
            if job.by_digest:
                _read_by_digest(file, job, facts, content)
            else:
                _read_lines(file, position, facts, content)
    except (OSError, _UnlikeError, ValueError, *DECODE_ERRORS):
        return None
    ids = facts.ids
    assert isinstance(ids, IdCollector)
    if ids.is_too_large or not _is_as_sealed(content, record):
        return None
    assert content.closing is not None
    return Reading(
        closing=content.closing,
        previous=position.previous_hash,
        first=first,
        newest=facts.newest,
        oldest_time=content.oldest_time,
        newest_time=content.newest_time,
        ids=ids.result(),
        told=facts.told(),
        keys=keys.handed_over(),
        by_digest=job.by_digest,
    )


def _is_as_sealed(content: Content, record: SealRecord) -> bool:
    """Whether a file has what its seal says, and a last line that says the same."""
    closing = None if content.closing is None else parse_closing(content.closing)
    return (
        content.framed
        and content.misframed is None
        and not content.after
        and content.events == record.last_sequence - record.first_sequence + 1
        and all(getattr(content, name) == getattr(record, name) for name in FIELDS)
        and closing is not None
        and describes(closing, content)
    )


def describes(closing: Closing, content: Content) -> bool:
    """Whether a file's last line sums up its events."""
    return (
        closing.root == content.root
        and closing.total_events == content.events
        and closing.first_sequence == content.first_sequence
        and closing.last_sequence == content.last_sequence
    )


def _read_lines(file: BinaryIO, first: Position, facts: TrailFacts, content: Content) -> None:
    """Read a file line by line.

    Raises:
        _UnlikeError: If its events are not one chain.
    """
    unlike: list[object] = []
    chain = Chain(lambda *found: unlike.append(found), lambda *missed: unlike.append(missed))
    chain.enter(facts.file)
    chain.jump(first.sequence - 1, first.previous_hash)
    scan(file, chain, facts, content, lambda size: None)
    if unlike or chain.waiting or chain.sequence != content.last_sequence:
        raise _UnlikeError


# --- by its digest -----------------------------------------------------------------------------


def _read_by_digest(file: BinaryIO, job: Job, facts: TrailFacts, content: Content) -> None:
    """Read a file whose digest is proved: only what its events tell of the trail.

    Raises:
        _UnlikeError: If it is not the file that was sealed.
    """
    record, digest = job.record, hashlib.sha256()
    reader = LineReader(file, digest=digest)
    content.framed = reader.start() and reader.head == HEAD
    lines = _ProvedLines(job, facts)
    for batch in reader.batches():
        lines.take(batch, reader.data)
    finish(reader, digest, content, lines.number - record.first_sequence)
    if content.sha256 != record.sha256 or lines.number != record.last_sequence + 1:
        raise _UnlikeError
    last = position_of(facts.newest)
    if last.sequence != record.last_sequence:
        raise _UnlikeError
    for name in FIELDS:  # what is proved with the digest
        setattr(content, name, getattr(record, name))
    content.oldest_time, content.newest_time = lines.oldest, last.timestamp


def _are_stamps(joined: bytes, count: int) -> bool:
    """Whether in *count* lines the time and the operation are where they usually are."""
    size = len(_STAMP)
    return len(joined) == count * size and all(
        joined[at::size] == byte * count for at, byte in _FIXED
    )


class _ProvedLines:
    """Takes the lines of a file whose digest is proved.

    Args:
        job: The file.
        facts: Gets what the events tell of the trail.

    Attributes:
        number: The number of the next event.
        oldest: The time of the first.
    """

    def __init__(self, job: Job, facts: TrailFacts) -> None:
        assert isinstance(facts.ids, IdCollector)
        self._ids = facts.ids
        self._facts = facts
        self._wanted = job.wanted[::-1]  # the next one last
        self._last = job.record.last_sequence
        self._time = ""
        self.number = job.record.first_sequence
        self.oldest = ""

    def take(self, lines: list[bytes], data: bytes) -> None:
        """Take the next *lines*, which are *data*."""
        facts, number = self._facts, self.number
        self.number += len(lines)
        if self.number > self._last + 1:
            raise _UnlikeError
        is_ours = bool(self._ids.add(lines, 1).joined)
        stamps = b"".join(map(_stamp_of, lines))
        if is_ours and _are_stamps(stamps, len(lines)):
            times = list(map(_time_of, lines))
            is_audit = _AUDIT in stamps
            told = [at for at, one in enumerate(lines) if one[92:113] == _AUDIT] if is_audit else []
        else:
            positions = [position_of(line[1:-1]) for line in lines]
            times = [position.timestamp.encode() for position in positions]
            told = [at for at, one in enumerate(positions) if one.operation == "AUDIT"]
        self._compare_times(number, times)
        for at in told:
            facts.internal_event(lines[at][1:-1], number + at, times[at].decode())
        while self._wanted and self._wanted[-1] < self.number:
            at = self._wanted.pop() - number
            self._find(lines[at][1:-1], number + at, times[at].decode())
        if facts.keys is not None and facts.keys.concerns(data):
            bodies = [line[1:-1] for line in lines]
            facts.keys.look(bodies, all_canonical(bodies))
        facts.newest = lines[-1][1:-1]

    def _compare_times(self, number: int, times: list[bytes]) -> None:
        """Find events that are dated before the one before them."""
        if not self.oldest:
            self.oldest = self._time = times[0].decode()
        if times[0].decode() < self._time or not all(map(le, times, times[1:])):
            before = self._time
            for sequence, time in enumerate(map(bytes.decode, times), number):
                if time < before:
                    self._facts.earlier(sequence, time, before)
                before = time
        self._time = times[-1].decode()

    def _find(self, event: bytes, sequence: int, time: str) -> None:
        """Take an event that a checkpoint names."""
        if position_of(event).sequence != sequence:
            raise _UnlikeError
        self._facts.find(sequence, leaf_hash(event).hex(), time)
