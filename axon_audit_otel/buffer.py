"""The newest events in memory, found by user, session, operation, status or entry."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

from .event import format_time
from .merkle import leaf_hash

__all__ = ["INDEXED", "Buffer"]

#: Fields with an index of their own; `entry_ids` has another.
INDEXED = ("operation", "status", "user_id", "session_id", "subject_id")

_Numbers = Any  # array[int] | range | list[int]: ascending sequence numbers


class Buffer:
    """A ring of encoded events addressed by sequence number, with an index.

    Not thread-safe: its trail holds a lock around every call.

    Args:
        capacity: How many events it holds; `append` pushes out the oldest beyond that.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.total = 0  # events ever appended
        self.reset(1)

    def reset(self, following: int) -> None:
        """Forget every event; the next one is number *following*."""
        self.first = self.next = following  # oldest held, and next to come
        self._lines: list[bytes] = []
        self._times = array("q")  # microseconds, parallel to _lines
        self._ordered = True  # times never went back: they can be bisected
        self._last_time = -(2**63)
        self._postings: dict[str, dict[str, array[int]]] = {name: {} for name in INDEXED}
        # By block, what began or went on in it, so that the index can forget it undecoded.
        self._blocks: deque[list[tuple[dict[str, array[int]], str]]] = deque()
        self._block = following & ~_PLACE  # where the newest begins
        self._entries = _EntryIndex()

    def __len__(self) -> int:
        return self.next - self.first

    def append(self, line: bytes, time_us: int, fields: Mapping[str, Any]) -> None:
        """Add an event as number `next`; *fields* are its decoded fields."""
        if len(self) == self.capacity:
            self._evict()
        sequence = self.next
        slot = sequence % self.capacity
        if len(self._lines) < self.capacity:
            if not self._lines:  # the ring need not begin at slot 0
                self._lines.extend([b""] * slot)
                self._times.extend([0] * slot)
            self._lines.append(line)
            self._times.append(time_us)
        else:
            self._lines[slot] = line
            self._times[slot] = time_us
        self._ordered = self._ordered and time_us >= self._last_time
        self._last_time = time_us
        self.next = sequence + 1
        self.total += 1
        self._index(sequence, fields)
        if fields["entry_ids"]:
            self._entries.add(sequence, fields["entry_ids"])

    def _index(self, sequence: int, fields: Mapping[str, Any]) -> None:
        if not sequence & _PLACE or not self._blocks:
            self._blocks.append([])
            self._block = sequence
        for name, postings in self._postings.items():
            key = fields.get(name)
            if key is not None:
                found = postings.get(key)
                if found is None:
                    postings[key] = array("Q", (sequence,))
                elif found[-1] >= self._block:
                    found.append(sequence)
                    continue
                else:
                    found.append(sequence)
                self._blocks[-1].append((postings, key))

    def _evict(self) -> None:
        """Let the oldest event go, and with the last of a block what the index has of it."""
        sequence = self.first
        self.first = sequence + 1
        if sequence & _PLACE == _PLACE:
            for postings, key in self._blocks.popleft():
                if _spent(postings[key], sequence):
                    del postings[key]
            self._entries.drop_before(self.first)

    def lines(self, numbers: Iterable[int]) -> list[bytes]:
        """The events with those numbers, as far as they are still held."""
        return [
            self._lines[number % self.capacity]
            for number in numbers
            if self.first <= number < self.next
        ]

    def candidates(
        self,
        keys: Mapping[str, Sequence[str]],
        entry_ids: Iterable[str] | None,
        start_us: int | None,
        end_us: int | None,
    ) -> Iterator[int]:
        """Numbers of the events that can match, newest first, from the shortest list."""
        low, high = self._bounds(start_us, end_us)
        chosen: _Numbers = range(low, high)
        for name, values in keys.items():
            lists = [found for value in values if (found := self._postings[name].get(value))]
            numbers = lists[0] if len(lists) == 1 else sorted(chain.from_iterable(lists))
            chosen = _shorter(chosen, numbers, low, high)
        if entry_ids is not None:
            chosen = _shorter(chosen, self._entries.find(entry_ids), low, high)
        return reversed(chosen)

    def _bounds(self, start_us: int | None, end_us: int | None) -> tuple[int, int]:
        """The range of numbers that can lie in a time range (both ends included)."""
        held = range(self.first, self.next)
        low, high = 0, len(held)
        if self._ordered:
            if start_us is not None:
                low = bisect_left(held, start_us, key=self._time)
            if end_us is not None:
                high = bisect_right(held, end_us, key=self._time)
        return self.first + low, self.first + max(low, high)

    def proof_of(self, sequence: int) -> tuple[bytes, int, str]:
        """Leaf hash, number and timestamp of an event that is held."""
        line = self._lines[sequence % self.capacity]
        return leaf_hash(line), sequence, format_time(self._time(sequence))

    def _time(self, sequence: int) -> int:
        return self._times[sequence % self.capacity]


class _EntryIndex:
    """Which events touch an entry: eight bytes for each entry of each event.

    Events come in blocks of 1,024. A full block is one sorted array of numbers made of a hash
    of the entry (54 bits) and the event's place in the block; whoever reads checks the event.
    """

    def __init__(self) -> None:
        self._blocks: deque[tuple[int, array[int]]] = deque()
        self._number = 0  # of the block that is filled now
        self._open: list[int] = []

    def add(self, sequence: int, entry_ids: Iterable[str]) -> None:
        """Event *sequence* touches *entry_ids*."""
        number = sequence >> _BITS
        if number != self._number:
            if self._open:
                self._blocks.append((self._number, array("Q", sorted(self._open))))
            self._number, self._open = number, []
        place = sequence & _PLACE
        for entry_id in entry_ids:
            self._open.append((hash(entry_id) << _BITS & _HASH) | place)

    def drop_before(self, sequence: int) -> None:
        """Forget the blocks whose events have all left."""
        while self._blocks and self._blocks[0][0] < sequence >> _BITS:
            self._blocks.popleft()

    def find(self, entry_ids: Iterable[str]) -> list[int]:
        """The numbers of the events that touch any of *entry_ids*, ascending."""
        wanted = {hash(entry_id) << _BITS & _HASH for entry_id in entry_ids}
        found: set[int] = set()
        for number, block in self._blocks:
            for key in wanted:
                index = bisect_left(block, key)
                while index < len(block) and block[index] & _HASH == key:
                    found.add(number << _BITS | block[index] & _PLACE)
                    index += 1
        for item in self._open:
            if item & _HASH in wanted:
                found.add(self._number << _BITS | item & _PLACE)
        return sorted(found)


_BITS = 10
_PLACE = (1 << _BITS) - 1
_HASH = (1 << 64) - 1 - _PLACE


def _spent(postings: array[int], sequence: int) -> bool:
    """Whether nothing after *sequence* is left; drops what is before, by halves."""
    if postings[-1] <= sequence:
        return True
    middle = len(postings) >> 1
    if postings[middle] <= sequence:
        del postings[: middle + 1]
    return False


def _shorter(chosen: _Numbers, found: _Numbers, low: int, high: int) -> _Numbers:
    """Whichever of the two has fewer numbers from *low* to below *high*."""
    part = found[bisect_left(found, low) : bisect_left(found, high)]
    return part if len(part) < len(chosen) else chosen
