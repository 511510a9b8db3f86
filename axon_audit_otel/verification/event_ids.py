"""Finds events that have the id of another one, in a few MiB of memory."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import gt, itemgetter
from pathlib import Path

from ..archive.reader import LineReader, open_events_file

__all__ = ["EventIds", "twice_in"]

_SIZE = len('evt_"') + 32  # of the id of a trail's event, with the quote after it
_BEGIN = len('{"event_id":"')
_begin_of: Callable[[bytes], bytes] = itemgetter(slice(_BEGIN, _BEGIN + _SIZE))
_is_made_here = re.compile(rb'evt_[0-9a-f]{32}"').fullmatch
_id_of = re.compile(rb'\{"event_id":"((?:[^"\\]|\\.)*)"').match
_ids_in = re.compile(rb'^.\{"event_id":"(evt_[0-9a-f]{32}")', re.MULTILINE).findall
_WINDOW = 64  # lists of events: some 8,000 events
_MOST = 1_000_000  # ids in memory


class EventIds:
    """The ids of a writer's events, in their order.

    The ids that a trail makes begin with the time, so nearly all of them ascend. One that does
    not is looked for among the newest, and remembered.

    Attributes:
        late: Ids that came later than newer ones: they may be those of events long before.
    """

    def __init__(self) -> None:
        self._newest = b""
        self._window: deque[list[bytes] | set[bytes]] = deque(maxlen=_WINDOW)
        self._others: set[bytes] = set()  # made by other programs
        self.late: set[bytes] = set()

    def again(self, events: list[bytes]) -> list[int]:
        """Take the next *events*, encoded; return the indexes of those whose id came before."""
        ids = list(map(_begin_of, events))
        ascend = bool(ids) and ids[0] > self._newest and all(map(gt, ids[1:], ids))
        if ascend and b"".join(ids)[_SIZE - 1 :: _SIZE] == b'"' * len(ids) and _are_ours(ids):
            self._newest = ids[-1]
            self._window.append(ids)
            return []
        new: set[bytes] = set()
        self._window = deque((*map(_as_set, self._window), new), maxlen=_WINDOW)
        return [index for index, key in enumerate(ids) if self._is_known(key, events[index], new)]

    def _is_known(self, key: bytes, event: bytes, new: set[bytes]) -> bool:
        if not _is_made_here(key):
            found = _id_of(event)
            key, known = b"" if found is None else found[1], self._others
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


def _are_ours(ids: list[bytes]) -> bool:
    """Return True if ids that ascend are those of a trail, by the first and the last."""
    return bool(_is_made_here(ids[0]) and _is_made_here(ids[-1]))


def _as_set(ids: list[bytes] | set[bytes]) -> set[bytes]:
    return ids if isinstance(ids, set) else set(ids)


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
