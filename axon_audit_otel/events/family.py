"""The lineage of an entry: what it was made of, and what was made of it, as events say."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from itertools import chain
from typing import Any, Literal, NamedTuple

import msgspec

from .entries import gone_in, stored_in
from .identifiers import is_digest
from .lineage import derivations
from .model import AuditEvent, EventStatus, OperationType
from .query import Query

__all__ = ["Lineage", "Mention", "Relative", "lineage_of"]

#: Relatives are nested so deep. Those further away are listed at the last level, by distance.
DEEPEST = 32
_MOST_UNNAMED = 1 << 32  # sources of one event: records may say anything

Search = Callable[[Query], Iterable[AuditEvent]]
State = Literal["living", "gone", "unknown"]


class Mention(msgspec.Struct, frozen=True):
    """An event, in short.

    Attributes:
        event_id: Its id.
        timestamp: When it ended; UTC.
        operation: What was done.
        user_id: Who did it.
        sequence: Its place in its trail.
    """

    event_id: str
    timestamp: datetime
    operation: str
    user_id: str | None
    sequence: int


class Relative(msgspec.Struct, frozen=True):
    """An entry, as far as the trail says.

    Attributes:
        entry_id: Its id.
        owners: Whose data is in it, of a derived entry also the owners of its sources; sorted.
        state: ``living``, ``gone``, or ``unknown`` if it is only named as a source.
        made: The first event that stored it; None if that is not in the trail.
        gone: The event that deleted it; None unless it is gone.
        forgotten: The newest FORGET of it, also if it was stored again since.
        sources: The entries that it was made of.
        distance: Steps from the entry that was asked for.
        relatives: Further ancestors of an ancestor, further descendants of a descendant. Each
            entry is in a tree once, at its shortest distance.
    """

    entry_id: str
    owners: tuple[str, ...]
    state: State
    made: Mention | None
    gone: Mention | None
    forgotten: Mention | None
    sources: tuple[str, ...]
    distance: int
    relatives: tuple[Relative, ...] = ()


class Lineage(msgspec.Struct, frozen=True):
    """What an entry was made of, and what was made of it.

    Attributes:
        entry: The entry.
        ancestors: Its sources, each with its own as `relatives`: 32 levels, and at the last of
            them all that are further away.
        descendants: The entries made of it, each with those made of that; likewise.
        derived_remaining: The living ones of all these that are made of an entry which was
            forgotten.
        unreadable: How many events of them have facts that no key opens: what these say of
            deletions is not known.
        unnamed: How many sources of derived entries the trail does not name, since there were
            too many for one event: any entry may be one of them.
    """

    entry: Relative
    ancestors: tuple[Relative, ...]
    descendants: tuple[Relative, ...]
    derived_remaining: tuple[str, ...]
    unreadable: int
    unnamed: int

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as JSON types."""
        fields: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(self))
        return fields


def lineage_of(entry_id: str, search: Search) -> Lineage | None:
    """The lineage of an entry; None if no event names it.

    Reads twice: all events that tell of derived entries, then all of the entries that matter.

    Args:
        entry_id: The entry.
        search: Yields the events that answer a query, in any order.
    """
    family = _Family()
    for event in search(Query(derives=True)):
        family.relate(event)
    shown = {*family.near(entry_id, family.sources), *family.near(entry_id, family.derived)}
    around = set(shown)  # and whatever else the derived ones are made of
    for key in shown:
        family.near(key, family.sources, around)
    for event in search(Query(entry_ids=frozenset(around))):
        family.take(event, around)
    return family.lineage(entry_id, shown, around) if family.names(entry_id) else None


class _Derivation(NamedTuple):
    """Entries that one event made of the same sources."""

    mention: Mention
    sources: tuple[str, ...]
    made: tuple[str, ...]
    subjects: tuple[str, ...]  # of the event
    is_alone: bool  # the event made nothing else


class _Known:
    """What events say of one entry."""

    __slots__ = ("asked", "forgot", "gone", "is_touched", "made", "owners", "seen")

    def __init__(self) -> None:
        self.owners: set[str] = set()
        self.is_touched = False  # an event found it
        self.made: Mention | None = None  # the first of these events
        self.seen: Mention | None = None  # the newest event after which it lived
        self.gone: Mention | None = None  # the newest that deleted it
        self.forgot: Mention | None = None  # the newest FORGET that did
        self.asked: Mention | None = None  # the newest FORGET that named it

    @property
    def is_gone(self) -> bool:
        return self.gone is not None and _newest(self.seen, self.gone) is self.gone

    @property
    def forgotten(self) -> Mention | None:
        """The newest FORGET after which it was gone, whatever had deleted it."""
        return _newest(self.forgot, self.asked) if self.is_gone else self.forgot


class _Family:
    """Entries by id, with what they are made of, folded from events in any order."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}
        self._makings: dict[str, list[_Derivation]] = {}  # by what was made
        self._uses: dict[str, list[_Derivation]] = {}  # by source
        self._remaining: set[str] = set()  # what a FORGET has left
        self._owners: dict[int, frozenset[str]] = {}  # of what a derivation made, by its `id`
        self._unreadable = self._unnamed = 0

    # --- from events ---------------------------------------------------------------------

    def relate(self, event: AuditEvent) -> None:
        """Take in what *event* says of derived entries."""
        self._remaining.update(_listed(event, "derived_remaining"))
        found = self._whole(event)
        groups: dict[tuple[str, ...], list[str]] = {}
        for key, sources in found.items():
            groups.setdefault(sources, []).append(key)
        mention, subjects = _mention(event), _subjects(event)
        for sources, made in groups.items():
            one = _Derivation(mention, sources, tuple(made), subjects, len(found) == 1)
            for key in made:
                self._makings.setdefault(key, []).append(one)
            for key in dict.fromkeys(sources):
                self._uses.setdefault(key, []).append(one)

    def _whole(self, event: AuditEvent) -> dict[str, tuple[str, ...]]:
        """The `derivations` of *event*. Where it could not name all sources of a compaction, any
        entry that this deleted counts as one."""
        found, total = derivations(event), event.metadata.get("derived_from_total")
        if type(total) is not int:
            return found
        sources = event.derived_from
        if event.operation is OperationType.COMPACT and "derived" not in event.metadata:
            sources = tuple(dict.fromkeys((*sources, *gone_in(event))))
            found = dict.fromkeys(found, sources)
        self._unnamed += max(0, min(total, _MOST_UNNAMED) - len(sources))
        return found

    def take(self, event: AuditEvent, wanted: set[str]) -> None:
        """Take in what *event* says of the entries *wanted*."""
        said, named = _mention(event), wanted.intersection(event.entry_ids)
        gone = wanted.intersection(gone_in(event))
        stored = wanted.intersection(stored_in(event))
        left = named.intersection(
            (*_listed(event, "remaining_ids"), *_listed(event, "resurrected"))
        )
        is_forget = event.operation is OperationType.FORGET
        is_done = is_forget and event.status is not EventStatus.FAILURE
        owners = _owners_in(event, bool(stored))
        self._unreadable += "erasable" in event.metadata
        for key in named:
            known = self._of(key)
            known.owners.update(owners)
            known.is_touched |= key in gone or not (is_done and not gone)
            if key in stored:
                known.made = _oldest(known.made, said)
            if key in stored or key in left:
                known.seen = _newest(known.seen, said)
            if key in gone:
                known.gone = _newest(known.gone, said)
            if is_done and key not in left:
                known.asked = _newest(known.asked, said)
                known.forgot = _newest(known.forgot, said) if key in gone else known.forgot

    def _of(self, key: str) -> _Known:
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = _Known()
        return known

    # --- what is related ------------------------------------------------------------------

    def names(self, key: str) -> bool:
        """True if an event names this entry."""
        return any(
            key in some for some in (self._known, self._makings, self._uses, self._remaining)
        )

    def sources(self, key: str) -> list[str]:
        """What an entry was made of."""
        makings = _in_order(self._makings.get(key))
        return [one for one in dict.fromkeys(chain(*(m.sources for m in makings))) if one != key]

    def derived(self, key: str) -> list[str]:
        """What was made of an entry."""
        uses = _in_order(self._uses.get(key))
        return [one for one in dict.fromkeys(chain(*(use.made for use in uses))) if one != key]

    @staticmethod
    def near(key: str, step: Callable[[str], list[str]], found: set[str] | None = None) -> set[str]:
        """All that steps lead to from *key*, and itself; added to *found*, where one stops."""
        found = set() if found is None else found
        new = [key]
        found.add(key)
        while new:
            for one in step(new.pop()):
                if one not in found:
                    found.add(one)
                    new.append(one)
        return found

    # --- the answer ----------------------------------------------------------------------

    def lineage(self, key: str, shown: set[str], around: set[str]) -> Lineage:
        """The lineage of an entry, of the entries *shown*; *around*: also their other sources."""
        left = self._left(shown, around)
        return Lineage(
            entry=self._relative(key, 0, ()),
            ancestors=self._tree(key, self.sources),
            descendants=self._tree(key, self.derived),
            derived_remaining=tuple(sorted(left)),
            unreadable=self._unreadable,
            unnamed=self._unnamed,
        )

    def _left(self, shown: set[str], around: set[str]) -> set[str]:
        """The living entries made of forgotten ones, or named as such by a FORGET, of *shown*."""
        made: set[str] = set()
        for key in around:
            known = self._of(key)
            forgotten = known.forgotten
            for one in self._uses.get(key, ()) if forgotten is not None else ():
                if known.is_gone or _newest(one.mention, forgotten) is forgotten:
                    for each in one.made:
                        if each not in made:
                            self.near(each, self.derived, made)
        left = shown & (made | self._remaining)
        return {key for key in left if self._state(key) == "living"}

    def _state(self, key: str) -> State:
        known = self._of(key)
        if known.is_gone:
            return "gone"
        return "living" if known.is_touched or key in self._makings else "unknown"

    def _relative(self, key: str, distance: int, relatives: tuple[Relative, ...]) -> Relative:
        known = self._of(key)
        makings = self._makings.get(key, ())
        made = known.made
        for one in makings:
            made = _oldest(made, one.mention)
        owners = known.owners.union(*map(self._owners_of, makings))
        return Relative(
            entry_id=key,
            owners=tuple(sorted(owners)),
            state=self._state(key),
            made=made,
            gone=known.gone if known.is_gone else None,
            forgotten=known.forgotten,
            sources=tuple(self.sources(key)),
            distance=distance,
            relatives=relatives,
        )

    def _owners_of(self, making: _Derivation) -> frozenset[str]:
        """The owners of what a derivation made: of its sources, and whom else its event names."""
        found = self._owners.get(id(making))
        if found is None:
            known = [self._own(key) for key in making.sources]
            whose = making.subjects if making.is_alone or not all(known) else ()
            found = self._owners[id(making)] = frozenset(whose).union(*known)
        return found

    def _own(self, key: str) -> set[str]:
        """The owners of an entry that events name with it."""
        makings = self._makings.get(key, ())
        return self._of(key).owners.union(*(one.subjects for one in makings if one.is_alone))

    def _tree(self, root: str, step: Callable[[str], list[str]]) -> tuple[Relative, ...]:
        """The entries that steps from *root* lead to, nested, each once; without recursion."""
        depth, host, order = {root: 0}, {root: root}, [root]
        inside: dict[str, list[Relative]] = {root: []}
        for key in order:
            for one in step(key):
                if one not in depth:
                    depth[one] = depth[key] + 1
                    host[one] = key if depth[key] < DEEPEST else host[key]
                    inside[one] = []
                    order.append(one)
        for key in reversed(order[1:]):
            relatives = tuple(reversed(inside.pop(key)))
            inside[host[key]].append(self._relative(key, depth[key], relatives))
        return tuple(reversed(inside[root]))


def _mention(event: AuditEvent) -> Mention:
    return Mention(
        event_id=event.event_id,
        timestamp=event.timestamp,
        operation=event.operation.value,
        user_id=event.user_id,
        sequence=event.sequence,
    )


def _in_order(found: list[_Derivation] | None) -> list[_Derivation]:
    """The oldest first."""
    if found is None or len(found) < 2:
        return found or []
    return sorted(found, key=lambda one: _age(one.mention))


def _age(mention: Mention) -> tuple[datetime, int]:
    return mention.timestamp, mention.sequence


def _oldest(one: Mention | None, other: Mention) -> Mention:
    return other if one is None else min(one, other, key=_age)


def _newest(one: Mention | None, other: Mention | None) -> Mention | None:
    """The newer one; *other* if they are of one age."""
    if one is None or other is None:
        return one or other
    return max(other, one, key=_age)


def _listed(event: AuditEvent, fact: str) -> list[str]:
    """The entries that a fact of *event* lists."""
    found = event.metadata.get(fact)
    return list(map(str, found)) if isinstance(found, list) else []


def _subjects(event: AuditEvent) -> tuple[str, ...]:
    whose = event.subjects or (() if event.subject_id is None else (event.subject_id,))
    return tuple(name for name in whose if not is_digest(name))


def _owners_in(event: AuditEvent, stores: bool) -> tuple[str, ...]:
    """The owners of each entry of *event*; none where several may own one or the other."""
    subjects = _subjects(event)
    is_clear = len(event.entry_ids) == 1 or (stores and len(subjects) == 1)
    return subjects if is_clear else ()
