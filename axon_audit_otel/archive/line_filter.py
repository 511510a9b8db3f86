"""Which lines of a file can answer a query, by the bytes that they must contain.

A string is encoded to the same bytes whenever it is encoded, and a quote inside a string has a
backslash before it: so ``"user_id":"alice"`` stands in every event of that user, and elsewhere
only as a key of its metadata.
"""

from __future__ import annotations

import msgspec

from ..core.time import format_time
from ..events.query import Query

__all__ = ["LineFilter"]

#: The fields that are worth looking for, what tells most first.
_FIELDS = ("session_id", "user_id", "subject_id", "status", "operation")
_MANY = 16  # entry ids that are not looked for one by one any more
_TIME = b'"timestamp":"'
_TIME_LENGTH = len("2025-01-15T10:30:45.123456Z")

_encode = msgspec.json.Encoder().encode


class LineFilter:
    """Lets lines through that can answer a query: all that do, and few others.

    Of a block with a NUL, which no line of ours has, all lines: any of them may have answered.

    Args:
        query: The query.
    """

    def __init__(self, query: Query) -> None:
        low, high = query.start_us, query.end_us
        self._low = None if low is None else format_time(low)
        self._high = None if high is None else format_time(high)
        #: Each line must contain one of each group; the first is sought, the others looked at.
        self._groups: list[list[bytes]] = []
        if query.entry_ids is not None and len(query.entry_ids) <= _MANY:
            self._groups.append([_encode(entry_id) for entry_id in query.entry_ids])
        for name in _FIELDS:
            if name in query.keys:
                values = list(map(_encode, query.keys[name]))
                group = [b'"%b":%b' % (name.encode(), value) for value in values]
                if name == "subject_id":  # or among the subjects
                    group += [b'"subjects":[%b' % value for value in values]
                    group += [b",%b" % value for value in values]
                self._groups.append(group)

    def can_be_within(self, first_time: str, last_time: str) -> bool:
        """Whether events from *first_time* to *last_time* can answer."""
        return (self._low is None or last_time >= self._low) and (
            self._high is None or first_time <= self._high
        )

    def lines(self, block: bytes) -> list[bytes]:
        """The events in *block*, which holds whole lines, that can answer."""
        if self._groups and b"\0" not in block:
            found = _lines_with(block, self._groups[0])
            for group in self._groups[1:]:
                found = [line for line in found if any(needle in line for needle in group)]
        else:
            found = block.split(b"\n")
            found.pop()  # what is after the last newline: nothing
        if self._low is not None or self._high is not None:
            found = [line for line in found if self._can_be_then(line)]
        return [line[1:] for line in found if not line.startswith(b"],")]

    def _can_be_then(self, line: bytes) -> bool:
        at = line.find(_TIME) + len(_TIME)  # the first is the event's own
        time = line[at : at + _TIME_LENGTH]
        if not time.endswith(b"Z"):
            return True
        text = time.decode("ascii", "replace")
        return self.can_be_within(text, text)


def _lines_with(block: bytes, needles: list[bytes]) -> list[bytes]:
    """The lines that contain one of *needles*, in their order."""
    places: list[tuple[int, int]] = []
    for needle in needles:
        at = block.find(needle)
        while at >= 0:
            end = block.index(b"\n", at)
            places.append((block.rfind(b"\n", 0, at) + 1, end))
            at = block.find(needle, end)
    if len(needles) > 1:
        places = sorted(set(places))
    return [block[start:end] for start, end in places]
