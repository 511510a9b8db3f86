"""Finds encrypted events whose keys are gone, though no erasure of their users is on record."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ..core.errors import ArchiveError
from ..core.semconv import ERASABLE_PREFIX
from ..privacy.encryption import Erasure, keys_of
from .hold_check import Erased
from .report import LostKeys

__all__ = ["KeyCheck"]

#: What stands for a user in an event, in quotes: prefix, token, and the id, encrypted.
_PREFIX = ERASABLE_PREFIX.encode()
_NAMES = re.compile(rb'"(%b[0-9a-f]{32}:[\w=-]+)"' % _PREFIX)
_TOKEN = slice(len(ERASABLE_PREFIX), len(ERASABLE_PREFIX) + 32)
_KEPT = 100_000  # users whose keys are there, in memory


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
        self._known: set[bytes] = set()  # names whose key is there
        self._lost: set[bytes] = set()
        self._events: Counter[frozenset[str]] = Counter()  # by the tokens without a key
        self._erasure: Erasure | None = None
        try:
            self._erasure = Erasure.for_reading(archive, place or keys_of(archive))
        except ArchiveError as exc:
            self._why = str(exc)

    def look(self, lines: list[bytes]) -> None:
        """Take some lines, each an event."""
        data = b"\n".join(lines)
        if _PREFIX not in data:  # faster
            return
        found = set(_NAMES.findall(data))
        if not found:
            return
        self._is_encrypted = True
        if self._erasure is None:
            return
        for name in found - self._known - self._lost:
            if self._erasure.keys.by_name(name.decode()) is None:
                self._lost.add(name)
            elif len(self._known) < _KEPT:
                self._known.add(name)
        if not found.isdisjoint(self._lost):
            for line in lines:
                lost = self._lost.intersection(_NAMES.findall(line))
                if lost:
                    self._events[frozenset(name[_TOKEN].decode() for name in lost)] += 1

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
