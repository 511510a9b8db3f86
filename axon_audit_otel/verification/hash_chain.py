"""Follows a chain of events through its files, and says where it breaks and how.

Each event carries its number and the hash of the event before. While that holds, nothing is
remembered but the newest number and hash. Where it does not, lines are held back until two of
them hold together again; what lies between is then judged: whether a line is another than
the one that its successor continues, stands at another place, is one too many, or is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from ..core.merkle import leaf_hash
from .report import Kind, numbers

__all__ = ["ANY", "Chain", "Link", "outside"]

_WINDOW = 512  # lines held back at most
_KEPT = 10_000  # strays of a file that may turn out to be reordered
#: The head where the event before is not known: any `previous_hash` will do. Compared by
#: identity: no line can contain it.
ANY: Final = "any hash"


class Link(NamedTuple):
    """One line of a file.

    Attributes:
        sequence: The number it says it has; None where no event can be read from it.
        previous: Its `previous_hash`.
        hash: Its own, hex.
        line: The event, without separators.
        number: Which line of its file it is, from 1.
    """

    sequence: int | None
    previous: str | None
    hash: str
    line: bytes
    number: int


class Chain:
    """The chain of one writer's events.

    Args:
        found: Takes a damage: file, sequence, kind, words.
        missing: Takes a range of numbers that no event has: file, first, last, whether the
            file ends there too early. Later events may explain it.
    """

    def __init__(
        self,
        found: Callable[[str, int | None, Kind, str], None],
        missing: Callable[[str, int, int, bool], None],
    ) -> None:
        self._found = found
        self._missing = missing
        self.sequence = 0  # the newest event that is in its place
        self.head: str | None = None
        self.waiting: list[Link] = []
        self._file = ""
        self._entered = (0, "")  # the newest event of the file before, and that file
        self._attested = 0  # an event whose hash is known otherwise than from its line
        self._removed: list[tuple[int, int, bool]] = []
        self._strays: dict[int, Link] = {}

    def enter(self, file: str) -> None:
        """A file begins."""
        self._entered = (self.sequence, self._file)
        self._file = file

    def jump(self, sequence: int, head: str | None, file: str = "") -> None:
        """Go on after event *sequence*, whose hash is known without its line."""
        self.sequence, self.head, self._file, self._attested = sequence, head, file, sequence

    def meet(self, link: Link) -> None:
        """Take the next line of the file, whatever it is."""
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
        """The file ends.

        Args:
            last: Number of its last event, where that is known.
            head: The hash of that.
            cut: Whether its end is missing.
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
        """Whether two lines hold together, and can be where the chain goes on."""
        return (
            before.sequence is not None
            and before.sequence > self.sequence
            and link.sequence == before.sequence + 1
            and link.previous == before.hash
        )

    def _accept(self, link: Link) -> None:
        assert link.sequence is not None
        self.sequence, self.head = link.sequence, link.hash

    def _settle(self) -> None:
        """Judge what is held back, although nothing in it holds together."""
        placed = self._judge(None)
        if placed:
            self.sequence = max(placed)
            self.head = placed[self.sequence].hash

    # --- judgement -------------------------------------------------------------------------

    def _judge(self, after: Link | None, cut: bool = False) -> dict[int, Link]:
        """Judge the lines held back, which lie between the newest event and *after*.

        Args:
            after: A line that is in its place; None where there is none.
            cut: Whether lines are missing since the file's end is.
        """
        lines, self.waiting = self.waiting, []
        placed: dict[int, Link] = {}
        strays: list[tuple[int, bool, Link]] = []
        end = None if after is None else after.sequence
        at, head = self.sequence, self.head
        for link in lines:
            number = link.sequence
            # What continues the event before it stands in its place, whatever its number.
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
        """A line whose number is not expected here: an event altered? False if not."""
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
            # It is this one that is continued: the line that came before it is foreign.
            self._add_finding(
                self.sequence, "inserted", f"a foreign event {self.sequence} stands here"
            )
            self.head = link.hash
            return True
        # Or another piece of the same line.
        return link.sequence is None and number in altered

    def _find_missing(
        self, end: int, placed: dict[int, Link], altered: set[int], cut: bool
    ) -> None:
        """Numbers that no line has."""
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
        """Whether lines that follow each other hold together; if not, whose fault it is."""
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
            claim = None  # what is said of the follower's hash
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
        """A line too many; or one whose place is elsewhere in the file."""
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
        """At a file's end: a line too many that is missing elsewhere was moved."""
        for first, last, cut in self._removed:
            moved = sorted(number for number in self._strays if first <= number <= last)
            for number in moved:
                self._out_of_place(self._strays.pop(number))
            for low, high in outside(first, last, ((number, number) for number in moved)):
                self._missing(self._file, low, high, cut)
        for link in self._strays.values():
            self._inserted(link)
        self._removed, self._strays = [], {}

    def _take_moved(self) -> None:
        """Lines that stood too early and belong at the end."""
        while (link := self._strays.get(self.sequence + 1)) is not None and self._fits(link):
            del self._strays[self.sequence + 1]
            self._out_of_place(link)
            self._accept(link)


def _repaired(link: Link, previous: str | None) -> str:
    """The hash that the line would have if it continued *previous*."""
    suffix = f',"sequence":{link.sequence},"previous_hash":"{previous}"}}'.encode()
    return leaf_hash(link.line[: -len(suffix)] + suffix).hex()


def outside(first: int, last: int, ranges: Iterable[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """What is left of a range without the (ascending) *ranges*."""
    for low, high in ranges:
        if high < first or low > last:
            continue
        if low > first:
            yield first, low - 1
        first = max(first, high + 1)
    if first <= last:
        yield first, last
