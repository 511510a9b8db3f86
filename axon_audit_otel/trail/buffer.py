"""The newest events in memory, found by user, session, operation, status or entry."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from struct import Struct
from typing import Any

import msgspec

from ..core.merkle import leaf_hash
from ..core.semconv import ERASABLE_ENTRY_PREFIX
from ..core.time import format_time, to_microseconds
from ..events.identifiers import digest_of, is_digest
from ..events.model import place

__all__ = ["Buffer"]

#: Fields with an index of their own: a list of events for each value. Session and entry ids,
#: which have few events each, share one of hashes.
SUBJECT = "subject_id"  # for each of the ``subjects`` as well
LISTED = ("operation", "status", "user_id", SUBJECT)

_List = tuple[str, "array[int]"]  # a value (the object that all share), and its events
#: What is indexed of an event: its number, its values of `LISTED`, subjects, session, entries.
_Indexed = tuple[Any, ...]
_Numbers = Any  # array[int] | range | list[int]: ascending sequence numbers


class _Timed(msgspec.Struct):
    """The time of an encoded event; other fields are skipped unread."""

    timestamp: datetime


_timed = msgspec.json.Decoder(_Timed).decode


class Buffer:
    """A ring of encoded events addressed by sequence number, with an index.

    Not thread-safe: its trail holds a lock around every call.

    Args:
        capacity: How many events it holds; `append` pushes out the oldest beyond that.

    Attributes:
        first: The number of the oldest event that is held.
        next: The number of the next event to come.
        start: The number of the record `start`, which nobody counts; 0 if there is none.
        head: The hash of the newest event, held or not; None before the first of the trail.
        head_hex: The same as text.
    """

    head: bytes | None
    head_hex: str | None

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.begin()

    def begin(self) -> None:
        """Hold nothing; the next event is number 1 (in a forked child as well)."""
        self.next = self._zero = 1
        self.start = 0
        self.follow(None)
        self.reset(1)

    def follow(self, head: bytes | None) -> None:
        """The event before the next one has the hash *head*."""
        self.head = head
        self.head_hex = None if head is None else head.hex()

    def reset(self, following: int) -> None:
        """Forget every event; the next one is number *following*."""
        self._zero += following - self.next  # `total` goes on
        self.first = self.next = following
        self._origin = following  # what stands in slot 0 first
        self._payloads: list[bytes] = []  # events without their place
        self._previous = bytearray()  # hashes of the events before them, parallel
        self._ordered = True  # times never went back: they can be bisected
        self._last_time = -(2**63)
        self._lists: dict[str, dict[str, _List]] = {name: {} for name in LISTED}
        # What began or went on in each block, so that the index can forget it undecoded.
        self._blocks: deque[dict[str, list[str]]] = deque()
        self._block = 0  # number of the first event of the newest block
        self._waiting: list[_Indexed] = []  # for the index: quicker together than one by one
        self._is_indexing = False
        self._ids = _HashIndex()
        self._has_digests = False  # of subjects: events are found by their hashes, as by ids

    def __len__(self) -> int:
        return self.next - self.first

    @property
    def holds_start(self) -> bool:
        """Whether the record `start` is held; it is the oldest then."""
        return self.first == self.start < self.next

    @property
    def count(self) -> int:
        """How many events are held, without the record `start`."""
        return self.next - self.first - (self.first == self.start < self.next)

    @property
    def total(self) -> int:
        """The number of events ever appended, without the record `start`."""
        return self.next - self._zero - bool(self.start)

    def append(self, payload: bytes, time_us: int, fields: Mapping[str, Any]) -> bytes:
        """Add an event as number `next`: make its line, hash that, keep and index it.

        This is all that an event costs under the trail's lock, and all in one place.

        Args:
            payload: The event as JSON without its place and last brace.
            time_us: When it was, in microseconds.
            fields: Its decoded fields.

        Returns:
            Its line; `head` is the hash of that from now on.
        """
        sequence, previous = self.next, self.head
        line = place(payload, sequence, self.head_hex)
        if sequence - self.first == self.capacity:  # the oldest leaves
            self.first += 1
            if not self.first & _IN_BLOCK:
                self._forget_block()
        slot = (sequence - self._origin) % self.capacity
        if slot == len(self._payloads):
            self._payloads.append(payload)
            self._previous += previous or _NONE
        else:
            self._payloads[slot] = payload
            _put_hash(self._previous, 32 * slot, previous or _NONE)
        self._ordered = self._ordered and time_us >= self._last_time
        self._last_time = time_us
        self.next = sequence + 1
        ids = tuple(fields["entry_ids"])
        waiting = (
            sequence,
            fields["operation"],
            fields["status"],
            fields["user_id"],
            fields.get(SUBJECT),
            fields.get("subjects"),
            fields["session_id"],
            ids,
        )
        self._waiting.append(waiting)
        # All that wait are of one block.
        if not self.next & _AT_ONCE or len(ids) > _AT_ONCE:
            self._index()
        self.head = leaf = leaf_hash(line)
        self.head_hex = leaf.hex()
        return line

    def _index(self) -> None:
        """Index the events that wait for it."""
        if self._is_indexing:  # an exception struck in the middle of that
            self.recover()
        self._is_indexing = True
        if self._waiting:
            self._index_all(self._waiting)
            self._waiting.clear()
        self._is_indexing = False

    def _index_all(self, events: list[_Indexed]) -> None:
        first = events[0][0]
        if not self._blocks or first >> _BITS != self._block >> _BITS:
            self._blocks.append({name: [] for name in LISTED})
            self._block = first
        numbers, *listed, alone, subjects, sessions, entries = zip(*events)
        for name, keys in zip(LISTED, listed):
            lists = self._lists[name]
            for number, key in zip(numbers, keys):
                if key is not None:
                    known = lists.get(key)
                    if known is None or known[1][-1] < self._block:
                        known = self._begin_list(name, key)
                    known[1].append(number)
        by_id = []
        for number, one, some, session_id, ids in zip(numbers, alone, subjects, sessions, entries):
            keys = ids if session_id is None else (session_id, *ids)
            if some or one is not None:
                keys = (*keys, *self._index_subjects(number, one, some or ()))
            for key in ids:
                if key.startswith(ERASABLE_ENTRY_PREFIX):
                    keys = (*keys, ERASABLE_ENTRY_PREFIX)
                    break
            by_id.append((number, keys))
        self._ids.add(by_id)

    def _begin_list(self, name: str, key: str) -> _List:
        """The list of *key*, which is to have an event of the newest block, its first there."""
        known = self._lists[name].setdefault(key, (key, array("Q")))
        self._blocks[-1][name].append(known[0])
        return known

    def _index_subjects(
        self, number: int, alone: str | None, subjects: Iterable[str]
    ) -> Iterable[str]:
        """List event *number* by each of its subjects, and by the one that is named *alone*;
        returns the digests among them."""
        lists, digests = self._lists[SUBJECT], []
        for key in (*(() if alone is None else (alone,)), *subjects):
            if key is not alone and key[:1] == "~" and is_digest(key):
                digests.append(key)
                continue
            known = lists.get(key)
            if known is None or known[1][-1] < self._block:
                known = self._begin_list(SUBJECT, key)
            if not known[1] or known[1][-1] != number:
                known[1].append(number)
        self._has_digests = self._has_digests or bool(digests)
        return digests

    def recover(self) -> None:
        """Index anew what is held, after an exception in the middle of `append`.

        If one strikes in the middle of this, all is as it was, and this can be done again.
        """
        anew = Buffer(self.capacity)
        anew.follow(self.head)
        anew.reset(self.first)
        for number in range(self.first, self.next):
            slot = (number - self._origin) % self.capacity
            payload, previous = self._payloads[slot], self._previous[32 * slot : 32 * slot + 32]
            fields = msgspec.json.decode(payload + b"}")
            anew.follow(bytes(previous) if any(previous) else None)
            anew.append(payload, 0, fields)  # no time: this is done when the interpreter ends, too
        anew._ordered, anew._last_time = self._ordered, self._last_time
        anew._zero = self._zero
        anew.start = self.start if self.start < self.next else 0  # it was not appended
        self.__dict__.update(anew.__dict__)

    def _forget_block(self) -> None:
        """The last event of the oldest block has left: drop what the index has of that."""
        for name, keys in self._blocks.popleft().items():
            lists = self._lists[name]
            for key in keys:
                if _spent(lists[key][1], self.first):
                    del lists[key]
        self._ids.drop_before(self.first)

    def line_of(self, sequence: int, payload: bytes) -> bytes | None:
        """The line of that event, if it has that number; else None."""
        held = self.first <= sequence < self.next
        slot = (sequence - self._origin) % self.capacity
        return self._line(sequence) if held and self._payloads[slot] == payload else None

    def lines(self, numbers: Iterable[int]) -> list[bytes]:
        """The events with those numbers, as far as they are still held."""
        return [self._line(number) for number in numbers if self.first <= number < self.next]

    def may_have_had(self, event_id: str) -> bool:
        """Return True if an event of that id is held, or any event has left memory."""
        start = b'{"event_id":"%b"' % event_id.encode()
        return self.first > 1 or any(payload.startswith(start) for payload in self._payloads)

    def _line(self, number: int) -> bytes:
        slot = (number - self._origin) % self.capacity
        previous = self._previous[32 * slot : 32 * slot + 32]
        return place(self._payloads[slot], number, previous.hex() if any(previous) else None)

    def candidates(
        self,
        keys: Mapping[str, Sequence[str]],
        entry_ids: Iterable[str] | None,
        start_us: int | None,
        end_us: int | None,
    ) -> Iterator[int]:
        """Numbers of the events that can match, newest first, from the shortest list.

        The prefix of encrypted ids of entries is among the *entry_ids* of each event that has any.
        """
        low, high = self._bounds(start_us, end_us)
        chosen: _Numbers = range(low, high)
        if self._is_indexing:  # a signal handler asks in the middle of that, or struck there
            return reversed(chosen)
        self._index()
        for name, values in keys.items():
            if name == "session_id":
                numbers: _Numbers = self._ids.find(values)
            elif name not in self._lists:
                continue  # not indexed: whoever reads looks at the event
            else:
                lists = [known[1] for value in values if (known := self._lists[name].get(value))]
                if self._has_digests and name == "subject_id":
                    lists.append(array("Q", self._ids.find([*values, *map(digest_of, values)])))
                numbers = lists[0] if len(lists) == 1 else sorted(set(chain.from_iterable(lists)))
            chosen = _shorter(chosen, numbers, low, high)
        if entry_ids is not None:
            chosen = _shorter(chosen, self._ids.find(entry_ids), low, high)
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

    def begins_after(self, start_us: int | None) -> bool:
        """True if events of that time (None: any) may have left memory, or never were in it."""
        if self.first == 1 or self.first == self.start + 1 == 2:
            return False
        return not len(self) or start_us is None or start_us < self._time(self.first)

    def proof_of(self, sequence: int) -> tuple[bytes, int, str]:
        """Leaf hash, number and timestamp of an event that is held."""
        return leaf_hash(self._line(sequence)), sequence, format_time(self._time(sequence))

    def _time(self, sequence: int) -> int:
        payload = self._payloads[(sequence - self._origin) % self.capacity]
        return to_microseconds(_timed(payload + b"}").timestamp)


class _HashIndex:
    """Finds events by an id; takes eight bytes for each id of each event.

    Events come in blocks of 1,024. A full block is one sorted array of numbers made of a hash
    of the id (54 bits) and the event's position in the block; whoever reads checks the event,
    which may have another id of that hash, or have it as an id of another kind.
    """

    def __init__(self) -> None:
        self._blocks: deque[tuple[int, array[int]]] = deque()
        self._number = 0  # of the block that is filled now
        self._open: list[int] = []

    def add(self, events: Sequence[tuple[int, Iterable[str]]]) -> None:
        """These *events*, which are of one block, have ids: the number of each, and its ids."""
        number = events[0][0] >> _BITS
        if number != self._number:
            if self._open:
                self._blocks.append((self._number, array("Q", sorted(self._open))))
            self._number, self._open = number, []
        put = self._open.append
        for sequence, ids in events:
            position = sequence & _IN_BLOCK
            for key in ids:
                put((hash(key) << _BITS & _HASH) | position)

    def drop_before(self, sequence: int) -> None:
        """Forget the blocks whose events have all left."""
        while self._blocks and self._blocks[0][0] < sequence >> _BITS:
            self._blocks.popleft()

    def find(self, ids: Iterable[str]) -> list[int]:
        """The numbers of the events that have any of *ids* (and, rarely, of others), ascending."""
        wanted = {hash(key) << _BITS & _HASH for key in ids}
        found: set[int] = set()
        for number, block in self._blocks:
            for key in wanted:
                index = bisect_left(block, key)
                while index < len(block) and block[index] & _HASH == key:
                    found.add(number << _BITS | block[index] & _IN_BLOCK)
                    index += 1
        for item in self._open:
            if item & _HASH in wanted:
                found.add(self._number << _BITS | item & _IN_BLOCK)
        return sorted(found)


_NONE = bytes(32)
_put_hash = Struct("32s").pack_into  # quicker than a slice
_AT_ONCE = 63  # events that wait for the index at most
_BITS = 10
_IN_BLOCK = (1 << _BITS) - 1
_HASH = (1 << 64) - 1 - _IN_BLOCK


def _spent(postings: array[int], first: int) -> bool:
    """True if no number from *first* on is left; also drops numbers before it, by halves."""
    if postings[-1] < first:
        return True
    middle = len(postings) >> 1
    if postings[middle] < first:
        del postings[: middle + 1]
    return False


def _shorter(chosen: _Numbers, found: _Numbers, low: int, high: int) -> _Numbers:
    """Whichever of the two has fewer numbers from *low* to below *high*."""
    part = found[bisect_left(found, low) : bisect_left(found, high)]
    return part if len(part) < len(chosen) else chosen
