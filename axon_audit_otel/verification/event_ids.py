"""Finds events that have the id of another one, in a few MiB of memory."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import gt, itemgetter
from pathlib import Path

import msgspec

from ..archive.reader import LineReader, open_events_file

__all__ = ["EventIds", "FileIds", "IdBatch", "IdCollector", "id_batch", "is_repeated", "twice_in"]

_SIZE = len('evt_"') + 32  # of the id of a trail's event, with the quote after it
_BEGIN = len('{"event_id":"')
#: Of an event's line, by the number of bytes before it.
_begin_of: dict[int, Callable[[bytes], bytes]] = {
    before: itemgetter(slice(before + _BEGIN, before + _BEGIN + _SIZE)) for before in (0, 1)
}
_is_made_here = re.compile(rb'evt_[0-9a-f]{32}"').fullmatch
_id_of = re.compile(rb'\{"event_id":"((?:[^"\\]|\\.)*)"').match
_ids_in = re.compile(rb'^.\{"event_id":"(evt_[0-9a-f]{32}")', re.MULTILINE).findall
_FORM, _HEX = b'evt_%032d"' % 0, b"0123456789abcdef"
_WINDOW = 64  # lists of events: some 8,000 events
_MOST = 1_000_000  # ids in memory
_MOST_OF_FILE = 1 << 22  # bytes of the ids of a file of which not all ascend


def is_repeated(event: bytes, before: bytes) -> bool:
    """Whether an event is the one before it once more, with another number.

    A trail that was interrupted while it recorded an event records it again.
    """
    payload, _, place = event.rpartition(b',"sequence":')
    return bool(place) and before.startswith(payload + b',"sequence":')


class IdBatch(msgspec.Struct, gc=False):
    """The ids of some events, one after the other.

    Attributes:
        joined: All of them, if they are those that a trail makes and ascend; each with a quote.
        keys: Else each of them: with a quote if a trail made it; b"" if there is none.
        again: Indexes of events that are those before them once more (`is_repeated`).
    """

    joined: bytes = b""
    keys: list[bytes] = msgspec.field(default_factory=list)
    again: list[int] = msgspec.field(default_factory=list)

    def __len__(self) -> int:
        return len(self.joined) // _SIZE or len(self.keys)

    def all_keys(self) -> list[bytes]:
        """The ids one by one."""
        joined = self.joined
        return [joined[at : at + _SIZE] for at in range(0, len(joined), _SIZE)] or self.keys


def id_batch(lines: list[bytes], before: int = 0) -> IdBatch:
    """The ids of encoded events; *before*: bytes before each (0 or 1)."""
    ids = list(map(_begin_of[before], lines))
    if all(map(gt, ids[1:], ids)):
        joined = b"".join(ids)
        if _are_ours(joined, len(ids)):
            return IdBatch(joined)
    events = [line[before:] for line in lines]
    keys = [key if _is_made_here(key) else _foreign(event) for key, event in zip(ids, events)]
    doubled = (at for at in range(1, len(keys)) if keys[at] and keys[at] == keys[at - 1])
    again = [at for at in doubled if is_repeated(_bare(events[at]), _bare(events[at - 1]))]
    return IdBatch(keys=keys, again=again)


def _are_ours(joined: bytes, count: int) -> bool:
    """Return True if *count* ids, joined, are all such as a trail makes."""
    return (
        len(joined) == count * _SIZE
        and all(joined[at::_SIZE] == _FORM[at : at + 1] * count for at in (0, 1, 3, _SIZE - 1))
        and joined.translate(None, _HEX) == _FORM.translate(None, _HEX) * count
    )


def _foreign(event: bytes) -> bytes:
    found = _id_of(event)
    return b"" if found is None else found[1]


def _bare(event: bytes) -> bytes:
    return event.removesuffix(b"\n")


class FileIds(msgspec.Struct, gc=False):
    """The ids of the events of one file.

    Attributes:
        first: The first, if all ascend, as those that a trail makes; else b"".
        last: The newest of them.
        batches: The newest batches if all ascend, else all of them.
        count: The number of batches.
    """

    first: bytes = b""
    last: bytes = b""
    batches: list[IdBatch] = msgspec.field(default_factory=list)
    count: int = 0


class IdCollector:
    """Collects the ids of the events of one file, which another process compares with others.

    Attributes:
        is_too_large: True if they are too many to be handed on.
    """

    def __init__(self) -> None:
        self._batches: deque[IdBatch] = deque()
        self._first = self._last = self._line = b""  # the ids at the ends, and the last event
        self._do_ascend = True
        self._count = self._size = 0
        self.is_too_large = False

    def again(self, events: list[bytes]) -> list[int]:
        """Take the next *events*; none of them is judged here."""
        self.add(events)
        return []

    def add(self, lines: list[bytes], before: int = 0) -> IdBatch:
        """Take the ids of the next events; see `id_batch`."""
        batch = id_batch(lines, before)
        joined = batch.joined
        first = joined[:_SIZE] or batch.keys[0]
        if first == self._last and is_repeated(_bare(lines[0][before:]), self._line):
            batch.again.insert(0, 0)
        if self._do_ascend and not (joined and first > self._last):
            self._do_ascend = False
            self.is_too_large = self._count > len(self._batches)  # some are gone already
        self._first = self._first or first
        self._last = joined[-_SIZE:] or batch.keys[-1]
        self._line = _bare(lines[-1][before:])
        self._batches.append(batch)
        self._count += 1
        self._size += len(joined) or sum(map(len, batch.keys))
        if self._do_ascend and len(self._batches) > _WINDOW:
            self._size -= len(self._batches.popleft().joined)
        self.is_too_large = self.is_too_large or self._size > _MOST_OF_FILE
        return batch

    def result(self) -> FileIds:
        """All of them."""
        ends = (self._first, self._last) if self._do_ascend else (b"", b"")
        return FileIds(*ends, list(self._batches), self._count)


class EventIds:
    """The ids of a writer's events, in their order.

    The ids that a trail makes begin with the time, so nearly all of them ascend. One that does
    not is looked for among the newest, and remembered.

    Attributes:
        late: Ids that came later than newer ones: they may be those of events long before.
    """

    def __init__(self) -> None:
        self._newest = b""
        self._window: deque[bytes | set[bytes]] = deque(maxlen=_WINDOW)
        self._others: set[bytes] = set()  # made by other programs
        self.late: set[bytes] = set()

    def again(self, events: list[bytes]) -> list[int]:
        """Take the next *events*, encoded; return the indexes of those whose id came before."""
        return self.take(id_batch(events))

    def take(self, batch: IdBatch) -> list[int]:
        """Take the ids of the next events; return the indexes of those that came before."""
        if batch.joined[:_SIZE] > self._newest:
            self._newest = batch.joined[-_SIZE:]
            self._window.append(batch.joined)
            return []
        new: set[bytes] = set()
        self._window = deque((*map(_as_set, self._window), new), maxlen=_WINDOW)
        return [at for at, key in enumerate(batch.all_keys()) if self._is_known(key, new)]

    def can_take(self, ids: FileIds) -> bool:
        """Return True if the ids of a file are enough to know all that `take` knows of them."""
        return ids.count == len(ids.batches) or ids.first > self._newest

    def _is_known(self, key: bytes, new: set[bytes]) -> bool:
        if not _is_made_here(key):
            known = self._others
            if not key or (key not in known and len(known) >= _MOST):
                return False
            is_known = key in known
            known.add(key)
            return is_known or self._is_in_window(key + b'"')
        is_known = key <= self._newest and self._is_in_window(key)
        if is_known:
            self.late.discard(key)
        elif key < self._newest and len(self.late) < _MOST:
            self.late.add(key)
        self._newest = max(self._newest, key)
        new.add(key)
        return is_known

    def _is_in_window(self, key: bytes) -> bool:
        return any(key in ids for ids in self._window)


def _as_set(ids: bytes | set[bytes]) -> set[bytes]:
    return set(IdBatch(ids).all_keys()) if isinstance(ids, bytes) else ids


def twice_in(paths: Iterable[Path], wanted: set[bytes]) -> Iterator[str]:
    """Yield those of the *wanted* ids, as `EventIds.late`, that more than one event has.

    Raises:
        OSError: If a file cannot be read.
    """
    seen: set[bytes] = set()
    for path in paths:
        with open_events_file(path) as file:
            for block in LineReader(file).blocks():
                for key in wanted.intersection(_ids_in(block)):
                    if key in seen:
                        yield key[:-1].decode()
                    seen.add(key)
