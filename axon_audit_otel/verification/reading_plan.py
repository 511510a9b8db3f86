"""Which sealed files can be read ahead, and which of them a signature proves as they are."""

from __future__ import annotations

import hashlib
from bisect import bisect, bisect_left
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

from ..archive.manifest import SealRecord
from ..archive.reader import LineReader, open_events_file
from ..core.errors import InvalidEventError
from ..events.model import decode_recorded
from ..events.query import is_start
from .file_reading import Job
from .file_scan import Content, finish
from .segments import Segment

__all__ = ["jobs_of"]


def jobs_of(
    segments: Iterable[Segment], writer: str, wanted: Iterable[int], proved: int | None
) -> Iterator[Job | None]:
    """Yield for each file what is to be read of it; None for one that needs the whole trail.

    A file is read by its digest alone only if nothing else could be found in it:

    - a checkpoint that is signed by a given key covers its seal,
    - its writer recorded all of it itself (nothing in it is adopted), and
    - it is of the edition that signs nothing else: the record `start` is here, in this file or in
      one before. An older edition sealed and signed whatever a killed process left behind.

    Args:
        segments: The files, in order.
        writer: The name of their writer.
        wanted: Numbers of events whose hashes are wanted.
        proved: Number of lines of the manifest that such checkpoints cover; None: every line of
            each file is to be proved.
    """
    numbers = sorted(wanted)
    has_start = False
    for segment in segments:
        if segment.path is None or segment.seal is None or not segment.trusted:
            yield None
            continue
        record = segment.seal.record
        by_digest = segment.seal.line.number <= (proved or 0) and _is_recorded(record)
        if by_digest and not has_start:
            by_digest = has_start = _begins_with_start(segment.path, record)
        begin = bisect_left(numbers, record.first_sequence)
        inside = numbers[begin : bisect(numbers, record.last_sequence)]
        yield Job(str(segment.path), record, writer, inside, by_digest)


def _is_recorded(record: SealRecord) -> bool:
    """Whether its writer recorded all of a file itself, each number once."""
    events = record.last_sequence - record.first_sequence + 1
    return record.adopted is msgspec.UNSET and record.events == events


def _begins_with_start(path: Path, record: SealRecord) -> bool:
    """Whether the first event of a file is the record that a writer begins with, as was sealed."""
    with suppress(OSError, InvalidEventError), open_events_file(path) as file:
        sha256, content = hashlib.sha256(), Content()
        reader = LineReader(file, digest=sha256)
        first = next(reader.lines(), b"")[1:-1]
        if not is_start(decode_recorded(first)):
            return False
        deque(reader.batches(), maxlen=0)
        finish(reader, sha256, content, 0)
        return content.sha256 == record.sha256
    return False
