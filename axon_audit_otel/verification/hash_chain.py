"""Follows a chain of events through its files, and reports where and how it is broken.

Each event has its number and the hash of the event before. While these match, only the newest
number and hash are kept. At a mismatch, lines are held back until two of them match again. The
lines in between are then judged: each is altered, moved, inserted or missing.
"""

from __future__ import annotations

from bisect import bisect
from collections.abc import Callable, Iterable, Iterator, Sequence
from heapq import heappop, heappush
from itertools import pairwise
from typing import Final, NamedTuple, TypeVar

from ..core.merkle import leaf_hash
from .findings import Kind
from .report import numbers

__all__ = ["ANY", "Chain", "Link", "disjoint", "outside", "within"]

T = TypeVar("T")
N = TypeVar("N", int, tuple[str, int])

_WINDOW = 512  # lines held back at most
_KEPT = 10_000  # lines of a file that may turn out to be moved
#: The head if the event before is not known: any `previous_hash` matches. Compared by identity:
#: no line can contain it.
ANY: Final = "any hash"


class Link(NamedTuple):
    """One line of a file.

    Attributes:
        sequence: The number in the event; None if the line is not an event.
        previous: Its `previous_hash`.
        hash: Its own, hex.
        line: The event, without separators.
        number: The number of the line in its file, from 1.
    """

    sequence: int | None
    previous: str | None
    hash: str
    line: bytes
    number: int


class Chain:
    """The chain of one writer's events.

    Args:
        found: Takes damage: file, sequence, kind, text.
        missing: Takes a range of numbers without events: file, first, last, True if the file
            is truncated there. Later events may explain it.
    """

    def __init__(
        self,
        found: Callable[[str, int | None, Kind, str], None],
        missing: Callable[[str, int, int, bool], None],
    ) -> None:
        self._found = found
        self._missing = missing
        self.sequence = 0  # the newest event in its place
        self.head: str | None = None
        self.waiting: list[Link] = []
        self._file = ""
        self._entered = (0, "")  # the newest event of the file before, and that file
        self._attested = 0  # an event whose hash is not only known from its line
        self._removed: list[tuple[int, int, bool]] = []
        self._strays: dict[int, Link] = {}

    def enter(self, file: str) -> None:
        """Begin a file."""
        self._entered = (self.sequence, self._file)
        self._file = file

    def jump(self, sequence: int, head: str | None, file: str = "") -> None:
        """Continue after event *sequence*, whose hash is known without its line."""
        self.sequence, self.head, self._file, self._attested = sequence, head, file, sequence

    def is_next(self, sequence: int, previous: str | None) -> bool:
        """Return True if that event comes next, and no line waits for its place."""
        fits = self.head is ANY or previous == self.head
        return not self.waiting and sequence == self.sequence + 1 and fits

    def extend(self, numbers: list[int], previous: list[str | None], leaves: list[bytes]) -> bool:
        """Take lines of the file that continue the chain.

        Args:
            numbers: The number of each event.
            previous: The `previous_hash` of each.
            leaves: The hash of each, 32 bytes.

        Returns:
            False, with no line taken, if they don't continue it.
        """
        if (
            self.waiting
            or numbers != list(range(self.sequence + 1, self.sequence + 1 + len(numbers)))
            or previous[0] != self.head
            # One comparison is faster than one for each line.
            or "\n".join(map(str, previous[1:])) != b"".join(leaves[:-1]).hex("\n", 32)
        ):
            return False
        self.sequence, self.head = numbers[-1], leaves[-1].hex()
        return True

    def meet(self, link: Link) -> None:
        """Take the next line of the file."""
        if self._fits(link):
            for stray in self.waiting:
                self._stray(stray)
            self.waiting.clear()
            self._accept(link)
            return
        before = self.waiting[-1] if self.waiting else None
        if before is not None and self._holds(before, link):
            del self.waiting[-1]
            self._judge(before)
            self._accept(before)
            self._accept(link)
            return
        self.waiting.append(link)
        if len(self.waiting) > _WINDOW:
            self._settle()

    def not_as_recorded(self, sequence: int) -> None:
        """A line of the file has that event, but is not the one encoding of it."""
        words = f"event {sequence} is not written as it was recorded (not canonical)"
        self._found(self._file, sequence, "altered", words)

    def leave(self, last: int | None = None, head: str | None = ANY, cut: bool = False) -> None:
        """End the file.

        Args:
            last: Number of its last event, if known.
            head: The hash of its last event.
            cut: True if its end is missing.
        """
        if last is None:
            if self.waiting:
                self._settle()
            self._take_moved()
        else:
            if self.sequence > last:
                for number in range(last + 1, min(self.sequence, last + 1000) + 1):
                    self._add_finding(number, "inserted", f"event {number} is after the sealed end")
            self._judge(Link(last + 1, head, "", b"", 0), cut)
            self.jump(last, head, self._file)
        self._pair()

    # --- places ----------------------------------------------------------------------------

    def _fits(self, link: Link) -> bool:
        return link.sequence == self.sequence + 1 and (
            self.head is ANY or link.previous == self.head
        )

    def _holds(self, before: Link, link: Link) -> bool:
        """Return True if *link* continues *before*, and both can continue the chain."""
        return (
            before.sequence is not None
            and before.sequence > self.sequence
            and before.previous != self.head  # else its number is wrong
            and link.sequence == before.sequence + 1
            and link.previous == before.hash
        )

    def _accept(self, link: Link) -> None:
        assert link.sequence is not None
        self.sequence, self.head = link.sequence, link.hash

    def _settle(self) -> None:
        """Judge the lines held back, although no two of them match."""
        placed = self._judge(None)
        if placed:
            self.sequence = max(placed)
            self.head = placed[self.sequence].hash

    # --- judgement -------------------------------------------------------------------------

    def _judge(self, after: Link | None, cut: bool = False) -> dict[int, Link]:
        """Judge the lines held back, which are between the newest event and *after*.

        Args:
            after: The next line in its place; None if there is none.
            cut: True if the file's end is missing.

        Returns:
            The lines in their places, by number.
        """
        lines, self.waiting = self.waiting, []
        placed: dict[int, Link] = {}
        strays: list[tuple[int, bool, Link]] = []
        end = None if after is None else after.sequence
        at, head = self.sequence, self.head
        for link in lines:
            number = link.sequence
            # A line that continues the event before it is in its place, even with a wrong number.
            renumbered = link.previous == head and number != at + 1
            if (
                number is None
                or number in placed
                or renumbered
                or not self.sequence < number < (end or number + 1)
            ):
                strays.append((at, renumbered, link))
                continue
            placed[number] = link
            if number < at:
                self._out_of_place(link)
            else:
                at, head = number, link.hash
        altered: set[int] = set()
        for position, renumbered, link in strays:
            at_end = after is None and not renumbered and link.sequence is not None
            if at_end or not self._seat(position, link, placed, altered, after):
                self._stray(link)
        if end is None:
            end = max(placed, default=self.sequence) + 1
        self._find_missing(end, placed, altered, cut)
        self._check(placed, altered, after)
        return placed

    def _seat(
        self,
        at: int,
        link: Link,
        placed: dict[int, Link],
        altered: set[int],
        after: Link | None,
    ) -> bool:
        """Take a line with an unexpected number as an altered event; False if it is not one."""
        number = at + 1
        if number not in placed and (after is None or number < (after.sequence or 0)):
            placed[number] = link
            altered.add(number)
            if link.sequence is None:
                words = f"what stands in the place of event {number} is no event any more"
            else:
                words = f"the event in the place of number {number} says {link.sequence}"
            self._add_finding(number, "altered", words)
            return True
        if after is not None and link.sequence == self.sequence and link.hash == after.previous:
            # The next line continues this one: the line before it is foreign.
            self._add_finding(
                self.sequence, "inserted", f"a foreign event {self.sequence} stands here"
            )
            self.head = link.hash
            return True
        # It may be another piece of the same line.
        return link.sequence is None and number in altered

    def _find_missing(
        self, end: int, placed: dict[int, Link], altered: set[int], cut: bool
    ) -> None:
        """Find the numbers that no line has."""
        for before, number in pairwise([self.sequence, *sorted(placed), end]):
            if number - before < 2:
                continue
            first, last = before + 1, number - 1
            at_end = cut and number == end
            if before in altered and placed[before].sequence is None and not at_end:
                words = f"{numbers(first, last)} can no longer be read, or missing"
                self._add_finding(first, "altered", words)
            elif len(self._removed) < _KEPT:
                self._removed.append((first, last, at_end))
            else:
                self._missing(self._file, first, last, at_end)

    def _check(self, placed: dict[int, Link], altered: set[int], after: Link | None) -> None:
        """Compare each line with the next one; report which of two that do not match is altered."""
        row = [(self.sequence, Link(self.sequence, None, self.head or "", b"", 0))]
        row += sorted(placed.items())
        if after is not None and after.sequence is not None:
            row.append((after.sequence, after))
        for index, ((number, link), (next_number, follower)) in enumerate(pairwise(row)):
            known = self.head if index == 0 else link.hash
            if (
                next_number != number + 1
                or number in altered
                or next_number in altered
                or known == follower.previous
                or known is ANY
                or follower.previous is ANY
            ):
                continue
            claim = None  # the follower's hash by the line after it
            if index + 2 < len(row) and row[index + 2][0] == next_number + 1:
                claim = row[index + 2][1].previous
            sound = follower is after
            if number == self._attested and index == 0 and follower.line:
                guilty, words = next_number, f"event {next_number} does not continue event {number}"
            elif not sound and claim == _repaired(follower, known):
                guilty, words = next_number, f"the previous_hash of event {next_number} was changed"
            elif not follower.line:
                guilty, words = number, f"event {number} is not the one that was sealed"
            elif sound or claim is not None:
                guilty = number
                words = f"event {number} is not the one that event {next_number} continues"
            else:
                guilty = number
                words = f"event {number} was altered, or event {next_number}, which follows it"
            altered.add(guilty)
            self._add_finding(guilty, "altered", words)

    # --- findings --------------------------------------------------------------------------

    def _add_finding(self, number: int | None, kind: Kind, words: str) -> None:
        entered, file = self._entered
        self._found(file if number == entered and file else self._file, number, kind, words)

    def _stray(self, link: Link) -> None:
        """Take an extra line; its place may be elsewhere in the file."""
        if link.sequence is None:
            self._add_finding(None, "inserted", f"line {link.number} is no event")
        elif link.sequence in self._strays or len(self._strays) >= _KEPT:
            self._inserted(link)
        else:
            self._strays[link.sequence] = link

    def _inserted(self, link: Link) -> None:
        words = f"line {link.number}, an event with number {link.sequence}, does not belong there"
        self._found(self._file, link.sequence, "inserted", words)

    def _out_of_place(self, link: Link) -> None:
        words = f"event {link.sequence} is out of its place, on line {link.number}"
        self._found(self._file, link.sequence, "reordered", words)

    def _pair(self) -> None:
        """At a file's end, find moved lines: extra in one place, missing in another."""
        for first, last, cut in self._removed:
            moved = sorted(number for number in self._strays if first <= number <= last)
            for number in moved:
                self._out_of_place(self._strays.pop(number))
            for low, high in outside(first, last, [(number, number) for number in moved]):
                self._missing(self._file, low, high, cut)
        for link in self._strays.values():
            self._inserted(link)
        self._removed, self._strays = [], {}

    def _take_moved(self) -> None:
        """Take lines that were moved from the end to an earlier place."""
        while (link := self._strays.get(self.sequence + 1)) is not None and self._fits(link):
            del self._strays[self.sequence + 1]
            self._out_of_place(link)
            self._accept(link)


def _repaired(link: Link, previous: str | None) -> str:
    """The hash of the line with *previous* as its `previous_hash`."""
    suffix = f',"sequence":{link.sequence},"previous_hash":"{previous}"}}'.encode()
    return leaf_hash(link.line[: -len(suffix)] + suffix).hex()


def disjoint(ranges: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """The numbers in *ranges* as ascending ranges that don't overlap."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if found and low <= found[-1][1] + 1:
            found[-1] = found[-1][0], max(high, found[-1][1])
        else:
            found.append((low, high))
    return found


def outside(first: int, last: int, ranges: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Yield the parts of a range that are outside the `disjoint` *ranges*."""
    for at in range(max(0, bisect(ranges, (first, first)) - 1), len(ranges)):
        low, high = ranges[at]
        if low > last:
            break
        if high < first:
            continue
        if low > first:
            yield first, low - 1
        first = max(first, high + 1)
    if first <= last:
        yield first, last


def within(numbers: Iterable[N], ranges: Sequence[tuple[N, N, T]]) -> Iterator[tuple[N, T]]:
    """Yield each of *numbers* that is in one of the *ranges* (first, last, of what), with the
    first of these. There may be many of both."""
    begins = sorted(range(len(ranges)), key=lambda at: ranges[at][0], reverse=True)
    begun: list[int] = []  # a heap
    for number in sorted(numbers):
        while begins and ranges[begins[-1]][0] <= number:
            heappush(begun, begins.pop())
        while begun and ranges[begun[0]][1] < number:
            heappop(begun)
        if begun:
            yield number, ranges[begun[0]][2]
