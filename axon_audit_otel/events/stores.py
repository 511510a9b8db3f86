"""What is known of the entries in one store."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from itertools import count

from .changes import GONE
from .entries import Entries, comparable, now_us

__all__ = ["Store"]

#: Before a fingerprint: it was recorded when the entry was somebody else's, so that another key
#: does not mean that the one of its owner is new.
_OF_ANOTHER = "!"


class Store:
    """The entries of one store, which belong to those of a trail."""

    _numbers = count(1)

    def __init__(self, entries: Entries) -> None:
        self.entries = entries
        self.number = next(self._numbers)

    def saw(self, key: str) -> bool:
        """True if an entry passed here: whose it is needs no look into the trail."""
        known = self.entries.find(key, self.number)
        return known[2] == self.number

    def owner(self, key: str) -> str | None:
        """The owner of an entry; None where it has none, or none is known."""
        return self.entries.find(key, self.number)[0] or None

    def state(self, key: str) -> str | int | None:
        """As `Entries.state`."""
        return self.entries.find(key, self.number)[1]

    def see(self, owners: Mapping[str, str | None], began: int | None = None) -> list[str]:
        """Entries of these *owners*, by entry id, passed; returns those that must be gone.

        *began*: when the reading began; None where it was none.
        """
        newer, number = self.entries.newer, self.number
        back = []
        for key, owner in owners.items():
            known = newer.get(key)
            if known is None or known[2] != number:
                known = self.entries.find(key, number)
            if known[0] != owner or known[2] != number:
                state = known[1]
                if known[0] not in (False, owner) and type(state) is str and state:
                    state = _OF_ANOTHER + state.removeprefix(_OF_ANOTHER)
                self.entries.put(key, owner, state, number, known[3])
            if type(known[1]) is not int or began is None or began <= known[1]:
                continue
            if not self.entries.changes.is_unclear(key):
                back.append(key)
        return back

    def saving(self, key: str, owner: str | None, fingerprint: str, new: bool = False) -> None:
        """An entry is about to be saved; a *new* one, of an id that nobody knows yet."""
        entries = self.entries
        before = entries.here(key)[1]
        if not new:
            entries.changes.begin(key, before, fingerprint)
        entries.put(key, owner, fingerprint, self.number, now_us())
        if isinstance(before, int):
            entries.forget_elsewhere(key)

    def has(self, key: str) -> bool:
        """True if an entry is known to live here."""
        known = self.entries.find(key, self.number)
        return known[2] == self.number and type(known[1]) is str

    def copying(self, key: str, owner: str | None, source: Store) -> None:
        """An entry of *source*, with which something is wrong, is about to be saved here."""
        if not self.has(key):
            self.entries.put(key, owner, source.state(key), self.number, now_us())

    def deleting(self, key: str) -> None:
        """An entry is about to be deleted."""
        self.entries.changes.begin(key, self.entries.here(key)[1], GONE)

    def ended(self, key: str, failed: bool = False) -> None:
        """What `saving` or `deleting` announced is over."""
        self.entries.changes.end(key, time.perf_counter_ns(), failed)

    def delete(self, key: str, now: int) -> int:
        """An entry is gone from here; returns in how many other stores it is."""
        _, state, store, _ = self.entries.find(key, self.number)
        if store == self.number and type(state) is int:  # already: a method calls its base's
            return self.entries.copies(key) if self.entries.lives(key) else 0
        left = self.entries.copies(key) - 1
        if left:
            self.entries.set_copies(key, left)
            self.entries.leave(key, self.number, now)
        else:
            self.set_state((key,), now)
            self.entries.forget_elsewhere(key)
        return left

    def saved(self, keys: Iterable[str], now: int) -> None:
        """What `saving` announced is done."""
        for key in keys:
            self.entries.changes.end(key, now)

    def set_state(self, keys: Iterable[str], state: str | int) -> None:
        """Entries have that state."""
        number, moment = self.number, now_us()
        for key in keys:
            self.entries.put(key, self.entries.find(key, number)[0], state, number, moment)

    def revive(self, keys: Iterable[str]) -> None:
        """Entries are not gone, although their deletion seemed to work."""
        self.set_state((key for key in keys if isinstance(self.state(key), int)), "")

    def agrees(self, key: str, fingerprint: str, began: int) -> bool:
        """True if an entry that was read has the newest content that was recorded.

        Also where there is nothing to compare it with: then that is the newest from now on.
        *began*: when the reading began.
        """
        known = self.entries.newer.get(key)
        if known is not None and known[1] == fingerprint and known[2] == self.number:
            return True
        state = self.state(key)
        if state == fingerprint or isinstance(state, int):
            return True
        if not state or not (state[0] == _OF_ANOTHER or comparable(state, fingerprint)):
            self.set_state((key,), fingerprint)
            return True
        entries = self.entries
        newest = (entries.state(key), state.removeprefix(_OF_ANOTHER))
        if fingerprint in newest or entries.is_variant(key, fingerprint):
            self.set_state((key,), fingerprint)
            return True
        return entries.changes.may_be(key, fingerprint, began)
