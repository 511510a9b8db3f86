"""Changes of entries that ran of late: who reads meanwhile may see what was before, or after."""

from __future__ import annotations

from itertools import islice

__all__ = ["GONE", "Changes"]

_MOST = 4_096  # entries
_MOST_PAST = 16  # periods of one entry

#: The state of an entry that is deleted.
GONE = -1


class _Period:
    """The changes of one entry that overlap, and those before them."""

    __slots__ = ("afters", "befores", "final", "past", "running")

    def __init__(self) -> None:
        self.running = 0
        self.befores: set[str | int] = set()
        self.afters: set[str | int] = set()
        self.final: frozenset[str | int] = frozenset()  # one of these is its state now
        self.past: list[tuple[frozenset[str | int], int]] = []  # states, and how long they lasted


class Changes:
    """Changes by the ids of their entries. A state is a fingerprint, or `GONE`."""

    def __init__(self) -> None:
        self._of: dict[str, _Period] = {}

    def begin(self, key: str, before: str | int | None, after: str | int) -> None:
        """An entry is about to change."""
        if len(self._of) > _MOST:
            for old in list(islice(self._of, _MOST // 2)):
                self._of.pop(old, None)
        one = self._of.setdefault(key, _Period())
        if not one.running:
            one.befores, one.afters = set(one.final), set()
        one.befores.add(GONE if before is None or isinstance(before, int) else before)
        one.afters.add(after)
        one.running += 1

    def end(self, key: str, now: int, failed: bool = False) -> None:
        """What `begin` announced is over; if it *failed*, either may be the state."""
        one = self._of.get(key)
        if one is None or not one.running:
            return
        one.running -= 1
        if failed:
            one.afters |= one.befores
        if not one.running:
            one.past = [*one.past, (frozenset(one.befores | one.afters), now)][-_MOST_PAST:]
            one.final = frozenset(one.afters)

    def is_unclear(self, key: str) -> bool:
        """True if it is open which of several changes was the last."""
        one = self._of.get(key)
        return one is not None and (one.running > 0 or len(one.final) > 1)

    def may_be(self, key: str, state: str, began: int) -> bool:
        """True if who *began* to read then may have seen an entry in that *state*."""
        one = self._of.get(key)
        if one is None:
            return False
        if (len(one.final) > 1 and state in one.final) or any(
            state in states and began <= over for states, over in one.past
        ):
            return True
        return one.running > 0 and (state in one.befores or state in one.afters)
