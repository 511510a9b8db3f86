"""Finds encrypted events whose keys are gone, though no erasure of their users is on record."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import msgspec

from ..core.errors import ArchiveError
from ..core.semconv import ERASABLE_PREFIX
from ..events.model import AuditEvent
from ..privacy.encryption import Erasure
from ..privacy.erased_tokens import keys_of
from .hold_check import Erased
from .report import LostKeys

__all__ = ["KeyCheck", "KeyFacts"]

_MARK = b'"%b' % ERASABLE_PREFIX.encode()
#: What stands for a user in an event: the token, and the id, encrypted.
_NAME = rf"{ERASABLE_PREFIX}[0-9a-f]{{32}}:[\w=-]+"
_is_name = re.compile(_NAME, re.ASCII).fullmatch
_quoted_in = re.compile(f'"({_NAME})"'.encode()).findall
_TOKEN = slice(len(ERASABLE_PREFIX), len(ERASABLE_PREFIX) + 32)
_KEPT = 100_000  # users whose keys are there, in memory


class KeyFacts(msgspec.Struct):
    """What was found in some events.

    Attributes:
        is_encrypted: True if one of them has encrypted names.
        lost: Tokens that no key opens, and the number of events with exactly these.
    """

    is_encrypted: bool
    lost: list[tuple[list[str], int]]


class KeyCheck:
    """Looks at each encrypted event of an archive once.

    Args:
        archive: The archive.
        place: The directory of its keys. Default: beside it.
    """

    def __init__(self, archive: Path, place: Path | None = None) -> None:
        #: True if their place was given.
        self.is_asked_for = place is not None
        self._why = ""
        self._is_encrypted = False
        self._known: set[str | None] = set()  # names whose key is there, and what is no name
        self._lost: set[str] = set()
        self._events: Counter[frozenset[str]] = Counter()  # by the tokens without a key
        self._erasure: Erasure | None = None
        try:
            self._erasure = Erasure.for_reading(archive, place or keys_of(archive))
        except ArchiveError as exc:
            self._why = str(exc)

    def look(self, lines: list[bytes], events: list[AuditEvent] | None) -> None:
        """Take some events.

        Args:
            lines: Their lines.
            events: The same events, decoded; None if one of them is damaged.
        """
        data = b"\n".join(lines)
        if _MARK not in data:
            return
        self._is_encrypted = self._is_encrypted or bool(_names_in(data))
        if self._erasure is None or not self._is_encrypted:
            return
        found: set[str | None] = set()
        if events is None:
            found.update(_names_in(data))
        else:  # faster
            found.update([event.user_id for event in events])
            found.update([event.subject_id for event in events])
            found.update([event.agent_id for event in events])
            found.update([event.on_behalf_of for event in events])
            found.update(*{event.subjects for event in events})
        for name in found - self._known - self._lost:
            self._look_up(name)
        if not found.isdisjoint(self._lost):
            for line in lines:
                if lost := _names_in(line) & self._lost:
                    self._events[frozenset(name[_TOKEN] for name in lost)] += 1

    @staticmethod
    def concerns(data: bytes) -> bool:
        """Return False if `look` finds nothing in these lines."""
        return _MARK in data

    def handed_over(self) -> KeyFacts:
        """What was found since the last call, for `add` of the one that has the result."""
        facts = KeyFacts(self._is_encrypted, [(sorted(k), n) for k, n in self._events.items()])
        self._events.clear()
        return facts

    def add(self, facts: KeyFacts) -> None:
        """Take what was found elsewhere."""
        self._is_encrypted = self._is_encrypted or facts.is_encrypted
        for tokens, events in facts.lost:
            self._events[frozenset(tokens)] += events

    def _look_up(self, name: str | None) -> None:
        """Look for the key that opens a name."""
        assert self._erasure is not None
        if name and _is_name(name) and self._erasure.keys.by_name(name) is None:
            self._lost.add(name)
        elif len(self._known) < _KEPT:
            self._known.add(name)

    def lost(self, erasures: Iterable[Erased]) -> LostKeys | None:
        """The result, when all events were looked at; None if there is nothing to tell.

        Args:
            erasures: The erasures on record.
        """
        if not self._is_encrypted:
            return None
        if self._erasure is None:
            return LostKeys(0, 0, self._why)
        erased = {token for erasure in erasures for token in erasure.tokens}
        lost = {tokens - erased: 0 for tokens in self._events}
        for tokens, events in self._events.items():
            lost[tokens - erased] += events
        lost.pop(frozenset(), None)
        return LostKeys(sum(lost.values()), len(frozenset().union(*lost))) if lost else None


def _names_in(line: bytes) -> set[str]:
    return {name.decode() for name in _quoted_in(line)}
