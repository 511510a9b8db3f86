"""What is known of memory entries: whose they are, what they were made of, if they are gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Any, Literal, NamedTuple

from ..core.time import to_microseconds
from .changes import Changes
from .lineage import derivations
from .model import AuditEvent, EventStatus, OperationType

__all__ = ["Derived", "Entries", "gone_in", "stored_in"]

#: Of so many entries the owners and states are kept, the newest.
MOST_KNOWN = 65_536
_MOST_CHANGED = 4_096
_MOST_DERIVED = 65_536
_MOST_SOURCES = 1_000_000  # of all of these

#: The owner of an entry (None: it is nobody's; False: it is not known whose); its state; the store
#: where it was seen; when it changed, in microseconds.
_Known = tuple["str | Literal[False] | None", "str | int | None", int, int]
_NOTHING: _Known = (False, None, 0, 0)


class Derived(NamedTuple):
    """A derived entry: the entries that it was made of, and the owners of all of them."""

    sources: tuple[str, ...]
    owners: tuple[str, ...]


class Entries:
    """The entries that a trail, or its files, know.

    An entry lives, with the newest fingerprint that was recorded ("": none was), or is gone, since
    a moment of `time.perf_counter_ns` (0: before this process). Two stores may have entries of one
    id: what is known of each is kept as long as this process sees both; else the newest counts.

    Args:
        most: Of so many the owners and states are kept.
        named: Whom a subject of an event is, for other events; None: it is not known.
    """

    def __init__(
        self,
        most: int = MOST_KNOWN,
        named: Callable[[str], str | None] = lambda subject: subject,
    ) -> None:
        self._named = named
        self._half = max(1, most // 2)
        self.newer: dict[str, _Known] = {}
        self._older: dict[str, _Known] = {}  # dropped when the newer ones are many
        self._elsewhere: dict[str, dict[int, _Known]] = {}  # those of other stores, by id
        self._copies: dict[str, int] = {}  # in how many stores an entry is, if not in one
        self._variants: dict[str, set[str]] = {}  # contents of copies besides the newest
        self.changes = Changes()
        self._derived: dict[str, Derived] = {}
        self._made: dict[str, list[str]] = {}  # of an entry: those made of it
        self._sources = 0  # how many the derived entries have
        self._is_whole = False  # has what the files say of derived entries

    def _past(self) -> Entries | None:
        """What is asked about entries that these do not know."""
        return None

    def find(self, key: str, store: int = 0) -> _Known:
        """What is known of an entry, if it is known that of *store*."""
        known = self.newer.get(key) or self._older.get(key)
        if known is None:
            past = self._past()
            return _NOTHING if past is None else past.find(key)
        if store and known[2] != store and key in self._elsewhere:
            return self._elsewhere[key].get(store, known)
        return known

    def here(self, key: str) -> _Known:
        """What is known of an entry without a look into files."""
        return self.newer.get(key) or self._older.get(key) or _NOTHING

    def put(
        self,
        key: str,
        owner: str | Literal[False] | None,
        state: str | int | None,
        store: int = 0,
        moment: int = 0,
    ) -> None:
        """Keep what is known of an entry now."""
        newer = self.newer
        before = self.here(key)
        if before[2] != store and before[2] and store:
            self._elsewhere.setdefault(key, {})[before[2]] = before
            if len(self._elsewhere) > _MOST_CHANGED:
                _shorten(self._elsewhere)
        newer[key] = owner, state, store, moment
        if len(newer) > self._half:
            self._older, self.newer = newer, {}

    # --- owners --------------------------------------------------------------------------

    def owner(self, key: str) -> str | None:
        """The owner of an entry; None where it has none, or none is known."""
        return self.find(key)[0] or None

    def knows(self, key: str) -> bool:
        """True if it is known whose an entry is, or that it is nobody's."""
        return self.find(key)[0] is not False

    # --- states --------------------------------------------------------------------------

    def state(self, key: str) -> str | int | None:
        """The fingerprint of a living entry, or when it went; None: it is not known."""
        return self.find(key)[1]

    def lives(self, key: str) -> bool:
        """True if an entry was saved or seen, and is not gone, as far as is known."""
        return isinstance(self.state(key), str)

    # --- copies --------------------------------------------------------------------------

    def copies(self, key: str) -> int:
        """In how many stores a living entry is, as far as is known."""
        if key in self._copies:
            return self._copies[key]
        past = self._past()
        return 1 if past is None else past.copies(key)

    def set_copies(self, key: str, number: int) -> None:
        """A living entry is in *number* stores."""
        if number != self.copies(key):
            self._copies[key] = number
            if len(self._copies) > _MOST_CHANGED:
                _shorten(self._copies)

    def vary(self, key: str, before: str | int | None, after: str) -> None:
        """An entry gets another content; its copies may still have the one of *before*."""
        if self.copies(key) == 1:
            self._variants.pop(key, None)
        elif isinstance(before, str) and before not in ("", after):
            self._variants.setdefault(key, set()).add(before)
            if len(self._variants) > _MOST_CHANGED:
                _shorten(self._variants)

    def also(self, key: str, fingerprint: str) -> None:
        """An entry may as well be read with that content: its store changes it."""
        self._variants.setdefault(key, set()).add(fingerprint)
        if len(self._variants) > _MOST_CHANGED:
            _shorten(self._variants)

    def is_variant(self, key: str, fingerprint: str) -> bool:
        """True if a copy of an entry may have that content."""
        if fingerprint in self._variants.get(key, ()):
            return True
        past = self._past()
        return past is not None and past.is_variant(key, fingerprint)

    def forget_elsewhere(self, key: str) -> None:
        """An entry is where it was seen last, or nowhere: two stores may be one server."""
        self._elsewhere.pop(key, None)

    def leave(self, key: str, store: int, now: int) -> None:
        """An entry is gone from one of its stores, and is in others."""
        others = self._elsewhere.setdefault(key, {})
        owner, state, *_ = self.find(key, store)
        if self.find(key)[2] in (0, store):
            living = [one for at, one in others.items() if at != store and type(one[1]) is str]
            self.newer[key] = living[0] if living else (owner, state, 0, now_us())
        others[store] = owner, now, store, now_us()

    def end(self, key: str, now: int) -> None:
        """An entry is gone, and all its copies are."""
        if self.copies(key) > 1:
            owner = self.find(key)[0]
            self._elsewhere.pop(key, None)
            self.set_copies(key, 1)
            self.newer[key] = owner, now, 0, now_us()

    def stores_with(self, key: str) -> set[int]:
        """The stores in which an entry is known to live: of this process, by their numbers."""
        known = (self.here(key), *self._elsewhere.get(key, {}).values())
        return {one[2] for one in known if one[2] and type(one[1]) is str}

    # --- lineage -------------------------------------------------------------------------

    def derive(self, key: str, sources: Iterable[str], owners: Iterable[str]) -> None:
        """The entry *key* is made of *sources*, which belong to *owners*."""
        while self._derived and (
            len(self._derived) >= _MOST_DERIVED or self._sources >= _MOST_SOURCES
        ):
            self._underive(next(iter(self._derived)))
        self._underive(key)
        one = Derived(tuple(islice(sources, _MOST_SOURCES)), tuple(dict.fromkeys(owners)))
        self._derived[key] = one
        self._sources += len(one.sources)
        for source in one.sources:
            self._made.setdefault(source, []).append(key)

    def learn(self, key: str, sources: Sequence[str]) -> None:
        """The entry *key* is made of *sources*, and of the persons whose these are."""
        if key not in self.derived and tuple(sources) != (key,):
            self.derive(key, sources, self.whose(sources))

    def _underive(self, key: str) -> None:
        """Forget what an entry was made of."""
        one = self._derived.pop(key, None)
        if one is not None:
            self._sources -= len(one.sources)
            for source in one.sources:
                made = self._made.get(source, [])
                made.remove(key)
                if not made:
                    del self._made[source]

    @property
    def derived(self) -> Mapping[str, Derived]:
        """Every entry that was made of others."""
        past = None if self._is_whole else self._past()
        if past is not None:
            self._is_whole = True
            newer, self._derived, self._made, self._sources = self._derived, {}, {}, 0
            for key, one in {**past.derived, **newer}.items():
                self.derive(key, *one)
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
        """The entries made of these, and those made of them, each once; also those of these that
        were made of others of them."""
        if not self.derived:
            return []
        found, new = dict[str, None](), list(keys)
        while new:
            made = [key for source in new for key in self._made.get(source, ())]
            new = [key for key in dict.fromkeys(made) if key not in found]
            found.update(dict.fromkeys(new))
        return list(found)

    def derived_of(self, owner: Iterable[str]) -> list[str]:
        """The entries made of entries of somebody, by all his names."""
        names = set(owner)
        return [key for key, one in self.derived.items() if not names.isdisjoint(one.owners)]

    def disown(self, names: Iterable[str]) -> None:
        """Forget whose the entries of somebody are, who was erased."""
        erased, past = set(names), self._past()
        mappings: list[dict[Any, _Known]] = [self.newer, self._older, *self._elsewhere.values()]
        for known in mappings:
            theirs = [key for key, one in known.items() if one[0] in erased]
            known.update({key: (False, *known[key][1:]) for key in theirs})
        for key in self.derived_of(erased):
            sources, owners = self.derived[key]
            self._derived[key] = Derived(sources, tuple(o for o in owners if o not in erased))
        if past is not None:
            past.disown(erased)

    def rename(self, names: Mapping[str, str]) -> None:
        """Know entries by these *names* from now on, each in place of its id."""
        known: list[dict[str, Any]] = [self.newer, self._older, self._elsewhere]
        for some in (*known, self._copies, self._variants):
            for key in names.keys() & some.keys():
                some[names[key]] = some.pop(key)
        derived, self._derived, self._made, self._sources = self._derived, {}, {}, 0
        for key, one in derived.items():
            sources = [names.get(source, source) for source in one.sources]
            self.derive(names.get(key, key), sources, one.owners)

    # --- from events ---------------------------------------------------------------------

    def give(self, owners: Mapping[str, str]) -> None:
        """Entries are from now on those of these *owners*, by their ids."""
        for key, owner in owners.items():
            _, state, store, moment = self.find(key)
            self.put(key, owner, state, store, moment)

    def apply(self, event: AuditEvent, now: int = 0) -> None:
        """Take in what *event* says, unless more is known; *now*: since when what it deleted is
        gone, by `time.perf_counter_ns`."""
        operation, ids = event.operation, event.entry_ids
        if operation is OperationType.AUDIT or not ids:
            return
        subjects = [self._named(subject) for subject in event.subjects]
        owners, gone, facts = self._owners_in(event, subjects), set(gone_in(event)), event.metadata
        prints, copies = event.fingerprints or {}, facts.get("copies")
        if type(copies) is int:  # of all
            copies = dict.fromkeys(ids, copies)
        copies = copies if isinstance(copies, dict) else {}
        wrong = {*_listed(facts, "altered"), *_listed(facts, "resurrected")}
        stores = operation in _STORING
        moment = to_microseconds(event.timestamp)
        for key in ids:
            owner, state, _, changed = self.find(key)
            if changed > moment:
                continue
            if type(copies.get(key)) is int:
                self.set_copies(key, copies[key])
            elif key in gone:
                self.set_copies(key, 1)
            if key in gone:
                state = state if key in copies else now
            elif key not in wrong:
                state = self._state_after(key, state, prints.get(key, ""), stores)
            self.put(key, owners.get(key, owner), state, 0, moment)
        self.apply_derived(event, subjects)

    def apply_derived(self, event: AuditEvent, subjects: Sequence[str | None]) -> None:
        """Take in what *event*, which touched data of *subjects*, says of derived entries."""
        for key, sources in derivations(event).items():
            if key not in self._derived and sources != (key,):
                owners = self._owners_of(key, sources, event, subjects)
                self.derive(key, sources, [owner for owner in owners if owner is not None])

    def _state_after(
        self, key: str, state: str | int | None, found: str, stores: bool
    ) -> str | int | None:
        """The state of an entry that was stored, or else read, with the fingerprint *found*."""
        if stores:
            self.vary(key, state, found)
            return found or (state if isinstance(state, str) else "")
        if isinstance(state, int) or not found:
            return state
        return state if state and comparable(state, found) else found

    def _owners_of(
        self, key: str, sources: tuple[str, ...], event: AuditEvent, subjects: Sequence[str | None]
    ) -> list[str | None]:
        """The owners of the *sources* of a new entry."""
        told = event.metadata.get("derived_subjects")
        places = told.get(key) if isinstance(told, dict) else None
        if isinstance(places, list):
            known = range(len(subjects))
            return [subjects[at] for at in places if type(at) is int and at in known]
        if event.operation is OperationType.COMPACT:  # else it would tell
            return list(subjects)
        whole = all(map(self.knows, sources))
        return [*self.whose(sources), *(() if whole else subjects)]

    def _owners_in(
        self, event: AuditEvent, subjects: Sequence[str | None]
    ) -> dict[str, str | Literal[False] | None]:
        """Whose the entries of *event* are, as far as it tells: it names persons, not pairs."""
        ids, stores = event.entry_ids, event.operation in _STORING
        if not subjects:
            return dict.fromkeys(ids) if stores and event.system is not None else {}
        if (len(subjects) > 1 and event.operation in _GIVING) or subjects == [None]:
            return dict.fromkeys(ids, _only_owner(event, subjects))
        if len(subjects) > 1 or not (stores or len(ids) == 1):
            return {}
        if event.operation in _REPLACING:
            return dict.fromkeys(ids, subjects[0])
        return {key: subjects[0] for key in ids if len(ids) == 1 or not self.knows(key)}


def now_us() -> int:
    """The time in microseconds."""
    return time.time_ns() // 1000


def _only_owner(event: AuditEvent, subjects: Sequence[str | None]) -> str | Literal[False]:
    """Whose the one new entry of an event is, if the others are those of its sources."""
    told, ids = event.metadata.get("derived_subjects"), event.entry_ids
    places = told.get(ids[0]) if isinstance(told, dict) and len(ids) == 1 else None
    if not isinstance(places, list):
        return False
    rest = [one for at, one in enumerate(subjects) if at not in places]
    return (rest[0] or False) if len(rest) == 1 else False


def _listed(facts: Mapping[str, Any], name: str) -> list[Any]:
    """The texts in a fact that is a list; [] if it is none."""
    found = facts.get(name)
    return [one for one in found if isinstance(one, str)] if isinstance(found, list) else []


def _shorten(some: dict[Any, Any]) -> None:
    """Drop the older half."""
    for key in list(islice(some, len(some) // 2)):
        some.pop(key, None)


#: Operations after which an entry may be somebody else's.
_REPLACING = frozenset((OperationType.IMPORT, OperationType.BULK_STORE, OperationType.TRANSACTION))
#: Of several persons: the one who had an entry, and the one who has it now.
_GIVING = _REPLACING | {OperationType.STORE}
_STORING = frozenset(
    (*(OperationType.STORE, OperationType.SYNC, OperationType.COMPACT, *_REPLACING),)
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
