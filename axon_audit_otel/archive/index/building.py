"""Makes the indexes of sealed files: behind an application, and for `axon-audit index`."""

from __future__ import annotations

import errno
import hashlib
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ...core.errors import InvalidEventError
from ...core.files import is_there, open_regular, write_file
from ...core.fsync import sync_file
from ..format import HEAD, ZST
from ..manifest import SealRecord
from ..reader import LineReader, open_events_file
from .layout import BadIndexError, Content, OpenIndex, Words
from .notes import Notes, State, index_path, state_of

__all__ = ["content_in", "index_steps", "is_indexed", "path_of", "step_of"]

#: Two of the longest steps of the clock that files have; of file systems that keep whole seconds.
_STEP_NS, _COARSE_STEP_NS = 20_000_000, 2_000_000_000


def is_indexed(
    directory: Path, seal: SealRecord, path: Path, notes: Notes, whole: bool = False
) -> bool:
    """Return True if the sealed file at *path* has an index that *notes* know, under every key.

    Args:
        directory: The archive.
        seal: The file's line in a manifest.
        path: Where it is.
        notes: The notes.
        whole: Read all of the index, not its beginning only: a later part may be damaged.

    Raises:
        ArchiveError: If a note under a further key cannot be added.
    """
    state = state_of(path)
    root = None if state is None else notes.root(seal, path, state)
    if root is None or state is None:
        return False
    with suppress(OSError, BadIndexError), open_regular(index_path(directory, seal.file)) as file:
        index = OpenIndex(file, root)
        if whole:
            index.check()
        notes.add(seal, root, state)
        return True
    return False


def index_steps(directory: Path, seal: SealRecord, path: Path, notes: Notes) -> Iterator[None]:
    """Make the index of the sealed file at *path*, and note it; step by step.

    Args:
        directory: The archive.
        seal: The file's line in a manifest.
        path: Where it is.
        notes: Take the root of the index.

    Yields:
        After every few events.

    Raises:
        InvalidEventError: If its content is not the one that was sealed, or it is too large.
        BlockingIOError: If it was changed, or compressed, meanwhile.
        OSError: If it cannot be read.
        ArchiveError: If the index cannot be written.
    """
    words, sha256 = Words(), hashlib.sha256()
    with open_events_file(path) as file:
        # Of the open file: while it is read, another one may stand at its path.
        state = _settled(file.fileno())
        _write_back(file.fileno())
        reader = LineReader(file, path, digest=sha256)
        begin, after = 0, b""
        for lines in reader.batches():
            begin = begin or len(reader.head)
            events = reader.decoded(line[1:-1] for line in lines)
            begin = words.add(events, map(len, lines), begin)
            yield
        sha256.update(reader.closing)
        size = reader.size + len(reader.closing)
        for block in reader.rest():
            sha256.update(block)
            size += len(block)
            after = after or block
    if sha256.hexdigest() != seal.sha256:
        raise InvalidEventError("its content is not the one that was sealed")
    if reader.head != HEAD or not reader.closing or after:  # other lines count for other readers
        raise InvalidEventError("it was not written by a trail")
    parts, root = words.made(sha256.digest(), size, begin or len(reader.head))
    yield
    if state is None or state_of(path) != state:
        raise OSError(errno.EAGAIN, "it changes meanwhile", str(path))  # compressed, most likely
    write_file(parts, index_path(directory, seal.file))
    notes.add(seal, root, state)


def path_of(directory: Path, file: str) -> Path:
    """Where the sealed file of that name is now, or would be: it may have been compressed."""
    path = directory / file
    return path if is_there(path) else path.with_name(file + ZST)


def _settled(file: int) -> State | None:
    """The state of an open file, which no change from now on leaves as it is.

    The system's clock for files goes in steps: a change right after the last one may have its time.
    """
    state = state_of(file)
    if state is not None and (left := max(state[1:3]) + step_of(state) - time.time_ns()) > 0:
        time.sleep(min(left, step_of(state)) / 1e9)
    return state_of(file)


def step_of(state: State) -> int:
    """How long after a change of a file another one may have its time, in nanoseconds."""
    return _STEP_NS if state[2] % 1_000_000_000 else _COARSE_STEP_NS


def _write_back(file: int) -> None:
    """Have what a process wrote to an open file in its memory (`mmap`) written back.

    Until then, that process can go on there without changing the state of the file. (Where files
    are in memory only, it always can.)
    """
    # On Windows, only files that are open for writing can be; there, states tell less anyway.
    with suppress(OSError):
        sync_file(file)


def content_in(path: Path) -> Content:
    """What the index at *path* is about; all of it is read.

    Raises:
        BadIndexError: If it is damaged.
        OSError: If it cannot be read.
    """
    with open_regular(path) as file:
        index = OpenIndex(file)
        index.check()
        return index.content
