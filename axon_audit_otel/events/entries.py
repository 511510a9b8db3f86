"""What is known of memory entries: whose they are, what they were made of, if they are gone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

from .lineage import derivations
from .model import AuditEvent, EventStatus, OperationType

__all__ = ["Derived", "Entries", "gone_in", "stored_in"]

_V = TypeVar("_V")

#: Of so many entries of one store their owners and states are kept, the newest.
MOST_KNOWN = 32_768
_MOST_CHANGED = 4_096
_MOST_DERIVED = 65_536


class Newest(Generic[_V]):
    """A bounded mapping: the newest half of what it can hold is there in any case."""

    def __init__(self, most: int) -> None:
        self._half = max(1, most // 2)
        self._newer: dict[str, _V] = {}
        self._older: dict[str, _V] = {}  # dropped when the newer ones are many

    def __contains__(self, key: str) -> bool:
        return key in self._newer or key in self._older

    def __bool__(self) -> bool:
        return bool(self._newer)

    def get(self, key: str) -> _V | None:
        """The value of *key*; None without one."""
        newer = self._newer
        return newer[key] if key in newer else self._older.get(key)

    def update(self, values: Mapping[str, _V]) -> None:
        """Set these *values*."""
        if len(values) > self._half:
            values = dict(islice(values.items(), len(values) - self._half, None))
        if len(self._newer) + len(values) > self._half:
            self._older, self._newer = self._newer, {}
        self._newer.update(values)

    def items(self) -> dict[str, _V]:
        """Everything that it holds."""
        return {**self._older, **self._newer}


class Derived(NamedTuple):
    """A derived entry: the entries that it was made of, and the owners of all of them."""

    sources: tuple[str, ...]
    owners: tuple[str, ...]


class Entries:
    """The entries of one store, or those of one trail, as far as they were seen.

    An entry lives, with the newest fingerprint that was recorded ("": none was), or is gone, since
    a moment of `time.perf_counter_ns` (0: before this process).

    Args:
        most: Of so many the owners and states are kept.
        trail: Those of the trail, if these are of one store of it: they are told of each change,
            and asked where these do not know.
        past: What the trail's files say of entries that it has not seen itself.
    """

    def __init__(
        self,
        most: int = MOST_KNOWN,
        trail: Entries | None = None,
        past: Callable[[], Entries | None] = lambda: None,
    ) -> None:
        self._trail = trail
        self._past = past
        self._owners: Newest[str | None] = Newest(most)
        self._states: Newest[str | int] = Newest(most)
        # The state before a change, and when the change was over: who began to read before that
        # may have seen either.
        self._changed: dict[str, tuple[str | int, int | None]] = {}
        self._derived: dict[str, Derived] = {}
        self._is_whole = False  # has what the files say of derived entries

    @property
    def _above(self) -> Entries | None:
        return self._past() if self._trail is None else self._trail

    # --- owners --------------------------------------------------------------------------

    def see(self, owners: Mapping[str, str | None]) -> None:
        """Remember these *owners*, by entry id; None: the entry is nobody's."""
        self._owners.update(owners)
        if self._trail is not None:
            self._trail.see(owners)

    def saw(self, key: str) -> bool:
        """True if an entry passed here: whose it is needs no look into the trail."""
        return key in self._owners

    def owner(self, key: str) -> str | None:
        """The owner of an entry; None where it has none, or none is known."""
        if key in self._owners:
            return self._owners.get(key)
        above = self._above
        return None if above is None else above.owner(key)

    def knows(self, key: str) -> bool:
        """True if it is known whose an entry is, or that it is nobody's."""
        if key in self._owners:
            return True
        above = self._above
        return above is not None and above.knows(key)

    # --- states --------------------------------------------------------------------------

    def state(self, key: str) -> str | int | None:
        """The fingerprint of a living entry, or when it went; None: it is not known."""
        known = self._states.get(key)
        if known is not None:
            return known
        above = self._above
        return None if above is None else above.state(key)

    def saving(self, prints: Mapping[str, str]) -> None:
        """Entries are about to be saved, with these fingerprints."""
        for key in prints:
            before = self._states.get(key)
            if before is not None and before != prints[key]:
                self._changed[key] = before, None
        self._states.update(prints)
        if self._trail is not None:
            self._trail.saving(prints)

    def saved(self, keys: Iterable[str], now: int) -> None:
        """What `saving` announced is done. Where it failed, either may be the content."""
        changed = self._changed
        if changed:
            changed.update({key: (changed[key][0], now) for key in keys if key in changed})
        if len(changed) > _MOST_CHANGED:
            for key in list(islice(changed, _MOST_CHANGED // 2)):
                changed.pop(key, None)
        if self._trail is not None:
            self._trail.saved(keys, now)

    def read(self, prints: Mapping[str, str]) -> None:
        """Living entries were read and had, as is recorded, these fingerprints."""
        self._states.update(prints)
        if self._trail is not None:
            self._trail.read(prints)

    def delete(self, keys: Iterable[str], now: int) -> None:
        """Entries are gone."""
        self._states.update(dict.fromkeys(keys, now))
        if self._trail is not None:
            self._trail.delete(keys, now)

    def revive(self, keys: Iterable[str]) -> None:
        """Entries are not gone, although their deletion seemed to work."""
        self._states.update({key: "" for key in keys if isinstance(self.state(key), int)})
        if self._trail is not None:
            self._trail.revive(keys)

    def lives(self, key: str) -> bool:
        """True if an entry was saved or seen, and is not gone, as far as is known."""
        return isinstance(self.state(key), str)

    def is_gone(self, key: str, began: int) -> bool:
        """True if whoever *began* to read then must not have seen this entry."""
        state = self.state(key)
        return isinstance(state, int) and began > state

    def agrees(self, key: str, fingerprint: str, began: int) -> bool:
        """True if an entry that was read has the newest content that was recorded.

        Also where there is nothing to compare it with: then that is the newest from now on.
        *began*: when the reading began.
        """
        state = self.state(key)
        if state == fingerprint or isinstance(state, int):
            return True
        if not state or not comparable(state, fingerprint):
            self.read({key: fingerprint})
            return True
        before, over = self._changed.get(key, (None, 0))
        return before == fingerprint and (over is None or began <= over)

    # --- lineage -------------------------------------------------------------------------

    def derive(self, key: str, sources: Iterable[str], owners: Iterable[str]) -> None:
        """The entry *key* is made of *sources*, which belong to *owners*."""
        if self._trail is not None:
            self._trail.derive(key, sources, owners)
            return
        if len(self._derived) >= _MOST_DERIVED:
            self._derived.pop(next(iter(self._derived)), None)
        self._derived[key] = Derived(tuple(sources), tuple(dict.fromkeys(owners)))

    @property
    def derived(self) -> Mapping[str, Derived]:
        """Every entry that was made of others."""
        if self._trail is not None:
            return self._trail.derived
        past = None if self._is_whole else self._past()
        if past is not None:
            self._derived = {**past.derived, **self._derived}
            self._is_whole = True
        return self._derived

    def owners_behind(self, keys: Iterable[str]) -> list[str]:
        """The owners of what these entries were made of."""
        derived = self.derived
        return [o for key in keys if key in derived for o in derived[key].owners] if derived else []

    def whose(self, keys: Iterable[str]) -> list[str]:
        """The known owners of these entries, and of what they were made of."""
        keys = list(keys)
        owners = [owner for key in keys if (owner := self.owner(key)) is not None]
        return [*owners, *self.owners_behind(keys)]

    def descendants(self, keys: Iterable[str]) -> list[str]:
        """The entries made of these, and those made of them, each once."""
        derived = self.derived
        asked = new = set(keys)
        found: dict[str, None] = {}
        while new and derived:
            made = [key for key, one in derived.items() if not new.isdisjoint(one.sources)]
            new = {key for key in made if key not in asked}
            asked = asked | new
            found.update((key, None) for key in made if key in new)
        return list(found)

    def derived_of(self, owner: str) -> list[str]:
        """The entries made of entries of *owner*."""
        return [key for key, one in self.derived.items() if owner in one.owners]

    # --- from events ---------------------------------------------------------------------

    def apply(self, event: AuditEvent) -> None:
        """Take in what *event* says; events come in their order."""
        operation, ids = event.operation, event.entry_ids
        if operation is OperationType.AUDIT or not ids:
            return
        self._apply_owners(event)
        if event.fingerprints:
            altered = event.metadata.get("altered")
            skipped = set(altered) if isinstance(altered, list) else ()
            seen = {k: fp for k, fp in event.fingerprints.items() if k not in skipped}
            if operation not in _STORING:
                seen = {k: fp for k, fp in seen.items() if not isinstance(self.state(k), int)}
            self._states.update(seen)
        self._states.update({k: "" for k in stored_in(event) if not self.lives(k)})
        self.delete(gone_in(event), 0)
        self.apply_derived(event, event.subjects)

    def apply_derived(self, event: AuditEvent, subjects: Iterable[str]) -> None:
        """Take in what *event*, which touched data of *subjects*, says of derived entries."""
        for key, sources in derivations(event).items():
            owners = self.whose(sources)
            whole = all(self.knows(source) for source in sources)
            self.derive(key, sources, owners if whole else [*owners, *subjects])

    def _apply_owners(self, event: AuditEvent) -> None:
        ids, subjects = event.entry_ids, event.subjects
        if len(subjects) == 1 and (len(ids) == 1 or event.operation in _STORING):
            self.see({key: subjects[0] for key in ids if len(ids) == 1 or not self.knows(key)})
        elif not subjects and event.system is not None and event.operation in _STORING:
            self.see(dict.fromkeys(ids))


_STORING = frozenset(
    (
        *(OperationType.STORE, OperationType.IMPORT, OperationType.BULK_STORE),
        *(OperationType.SYNC, OperationType.COMPACT, OperationType.TRANSACTION),
    )
)


def gone_in(event: AuditEvent) -> list[str]:
    """The ids of the entries that *event* deleted for good.

    A FORGET names them, and those that remained in its metadata; other operations name first as
    many as their metadata says (``deleted``), but SYNC: what that deletes is in another tier.
    """
    facts, ids = event.metadata, event.entry_ids
    deleted = facts.get("deleted")
    if event.operation is OperationType.FORGET:
        if event.status is EventStatus.FAILURE or deleted == 0:
            return []
        remaining = facts.get("remaining_ids")
        left = set(map(str, remaining)) if isinstance(remaining, list) else set()
        return [key for key in ids if key not in left]
    if type(deleted) is not int or event.operation is OperationType.SYNC:
        return []
    return ids[: max(0, deleted)]


def stored_in(event: AuditEvent) -> list[str]:
    """The ids of the entries that *event* left in memory, new or as they were."""
    if event.operation not in _STORING:
        return []
    left_out = set(gone_in(event))
    if event.operation is OperationType.COMPACT:
        left_out.update(event.derived_from)
    return [key for key in event.entry_ids if key not in left_out]


def comparable(one: str, other: str) -> bool:
    """True if two fingerprints were made with one key."""
    return one[:KEY_ID] == other[:KEY_ID]


#: Characters of a fingerprint that say with which key it was made.
KEY_ID = 3
