"""Finds the lines that can answer a query by bytes that they must contain.

A string always has the same encoded bytes, and a quote inside a string has a backslash before it.
So ``"user_id":"alice"`` is in every event of that user, and in other events only as a key in the
metadata.
"""

from __future__ import annotations

import msgspec

from ..core.semconv import ERASABLE_ENTRY_PREFIX
from ..core.time import format_time
from ..events.identifiers import digest_of
from ..events.lineage import DERIVED_REMAIN
from ..events.query import Query

__all__ = ["LineFilter"]

#: The fields to look for; those with the fewest hits first.
_FIELDS = (
    *("trace_id", "session_id", "on_behalf_of", "user_id", "subject_id"),
    *("purpose", "agent_id", "action", "store", "system", "status", "operation"),
)
_MANY = 16  # with more entry ids than this, they are not looked for
_TIME = b'"timestamp":"'
_TIME_LENGTH = len("2025-01-15T10:30:45.123456Z")

_encode = msgspec.json.Encoder().encode
_ENCRYPTED = _encode(ERASABLE_ENTRY_PREFIX)[:-1]  # the beginning of an encrypted id of an entry
#: A line has one of these if its event tells of derived entries.
_DERIVED = [b'"derived_from":[', b'"derived_remaining":', _encode(DERIVED_REMAIN)]


class LineFilter:
    """Selects lines that can answer a query: all that do, and few others.

    A block with a NUL byte is damaged, so all its lines are selected.

    Args:
        query: The query.
    """

    def __init__(self, query: Query) -> None:
        low, high = query.start_us, query.end_us
        self._low = None if low is None else format_time(low)
        self._high = None if high is None else format_time(high)
        #: A line must contain one item of each group; lines are found by the first group.
        self._groups: list[list[bytes]] = [_DERIVED] if query.derives else []
        if query.entry_ids is not None:
            needles = set(map(_encode, query.entry_ids))
            if query.any_encrypted or len(needles) > _MANY:
                encrypted = {key for key in needles if key.startswith(_ENCRYPTED)}
                if encrypted or query.any_encrypted:
                    needles = needles - encrypted | {_ENCRYPTED}
            if len(needles) <= _MANY:
                self._groups.append(sorted(needles))
        if query.facts:
            self._groups.append([_encode(name) + b":" for name in query.facts])
        for name in _FIELDS:
            if name in query.keys:
                values = list(map(_encode, query.keys[name]))
                group = [b'"%b":%b' % (name.encode(), value) for value in values]
                if name == "subject_id":  # or among the subjects, or a digest after these
                    group += [b'"subjects":[%b' % value for value in values]
                    values += [_encode(digest_of(key)) for key in query.keys[name]]
                    group += [b",%b" % value for value in values]
                self._groups.append(group)

    def can_be_within(self, first_time: str, last_time: str) -> bool:
        """Return True if a file with events from *first_time* to *last_time* can have answers."""
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
            found.pop()  # empty: after the last newline
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
