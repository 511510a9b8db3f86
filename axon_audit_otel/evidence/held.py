"""The memory entries of one person, as the events of an archive leave them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from ..core.time import format_time, to_microseconds
from ..events.entries import Entries, gone_in, stored_in
from ..events.lineage import derivations
from ..events.model import AuditEvent, EventStatus, OperationType
from .person import Person

__all__ = ["Entry", "Held"]

_MOST_ENTRIES = 1 << 20
_MOST_STATES = 1 << 18  # entries of which more is kept than the dossier says

_STORING = frozenset((OperationType.STORE, OperationType.IMPORT, OperationType.BULK_STORE))
_READING = frozenset((OperationType.RECALL, OperationType.EXPORT))


@dataclass(slots=True)
class Entry:
    """A memory entry of the person, or made of his data.

    Attributes:
        since: When it was stored; None: that is not on record.
        source: By which operation.
        event_id: By which event.
        seen: When an event first named it.
        gone: When it was deleted; None: it was not, as far as is on record.
        gone_by: By which operation.
        seen_again: When it was last found after that.
        consulted: How many events read it.
        made_of: The entries of the person that it was made of, of those that are known.
        of_others: True if it holds data of others too.
    """

    since: str | None = None
    source: str | None = None
    event_id: str | None = None
    seen: str | None = None
    gone: str | None = None
    gone_by: str | None = None
    seen_again: str | None = None
    consulted: int = 0
    made_of: list[str] = field(default_factory=list)
    of_others: bool = False


class Held:
    """The entries of a person. Takes the events of an archive in their order.

    Attributes:
        own: The person's entries by id, also deleted ones; not those that are another's now.
        derived: Entries made of the person's, by id; none of them is in `own`.
        is_cut: True if the person has more entries than are followed.
    """

    def __init__(self, person: Person) -> None:
        self._person = person
        self._states = Entries(_MOST_STATES, self._named)
        self._others = _Newest(_MOST_STATES)
        self.own: dict[str, Entry] = {}
        self.derived: dict[str, Entry] = {}
        self.is_cut = False

    def __contains__(self, key: str) -> bool:
        return key in self.own or key in self.derived

    def is_in(self, keys: Iterable[str]) -> bool:
        """True if one of these entries is the person's, or made of his."""
        return not (self.own.keys().isdisjoint(keys) and self.derived.keys().isdisjoint(keys))

    def of_others(self, keys: Iterable[str]) -> int:
        """How many of these entries are known to be others' alone."""
        return sum(key in self._others for key in keys if key not in self.own)

    def take_other(self, event: AuditEvent) -> None:
        """Take in an event that is not known to be about the person."""
        if len(event.subjects) < 2 and event.operation in _STORING:
            self._others.add(event.entry_ids)

    def owners_in(self, event: AuditEvent) -> tuple[str, ...]:
        """Whose entries a readable event tells of. Where it does not name the owners, whoever it
        names stored his own; of what it read, or deleted, that is not said."""
        if event.subjects:
            return tuple(map(self._named, event.subjects))
        if event.operation not in _STORING:
            return ()
        if event.subject_id is not None:
            return (self._named(event.subject_id),)
        if event.user_id is not None and event.system is None:  # of the first edition, or by hand
            return (self._named(event.user_id),)
        return ()

    def _named(self, name: str) -> str:
        return self._person.id if self._person.has_name(name) else name

    def take(self, event: AuditEvent, owners: tuple[str, ...]) -> None:
        """Take in what *event* says of entries."""
        time, is_reading = _time(event), event.operation in _READING
        own = not owners or owners == (self._person.id,)
        if not (is_reading and own and all(key in self.own for key in event.entry_ids)):
            self._learn(event, owners, time)
        if is_reading:
            for key in dict.fromkeys(event.entry_ids):
                entry = self._known(key)
                if entry is not None:
                    entry.consulted += 1
                    entry.seen_again = time if entry.gone is not None else None

    def _learn(self, event: AuditEvent, owners: tuple[str, ...], time: str) -> None:
        """Take in what is new of entries: whose they are, and if they are gone."""
        event = msgspec.structs.replace(event, subjects=owners)
        self._states.apply(event)
        if event.operation in _STORING and len(owners) == 1 and owners[0] != self._person.id:
            self._others.add(event.entry_ids)
        if len(self.own) + len(self.derived) >= _MOST_ENTRIES:
            self.is_cut = True
        stored, gone = set(stored_in(event)), set(gone_in(event))
        if event.status is EventStatus.FAILURE:
            stored.clear()
        for key in derivations(event):
            self._derive(key)
        for key in dict.fromkeys(event.entry_ids):
            self._own(key, key in stored)
            entry = self._known(key)
            if entry is None:
                continue
            entry.seen = entry.seen or time
            if key in stored and (entry.since is None or entry.gone is not None):
                entry.since, entry.source = time, event.operation.listed.value
                entry.event_id, entry.gone, entry.gone_by = event.event_id, None, None
            elif key in gone and isinstance(self._states.state(key), int):
                entry.gone, entry.gone_by = time, event.operation.listed.value
                entry.seen_again = None

    def _known(self, key: str) -> Entry | None:
        """What is known of an entry of the person, or made of his."""
        return self.own.get(key) or self.derived.get(key)

    def _own(self, key: str, is_stored: bool) -> None:
        """Add an entry that is known to be the person's; drop one that became another's."""
        owner = self._states.here(key)[0]
        if owner == self._person.id:
            is_new = key not in self and not self.is_cut
            if is_new and (is_stored or key not in self._others):
                self.own[key] = Entry()
        elif isinstance(owner, str):
            self.own.pop(key, None)

    def _derive(self, key: str) -> None:
        """An entry was made of others: perhaps of the person's."""
        made = self._states.derived.get(key)
        if made is None or self._person.id not in made.owners or self.is_cut:
            return
        entry = self._known(key)
        if entry is None:
            entry = self.derived[key] = Entry()
        known = (one for one in made.sources if one in self and one != key)
        entry.made_of = list(dict.fromkeys((*entry.made_of, *known)))
        entry.of_others = entry.of_others or any(o != self._person.id for o in made.owners)


class _Newest:
    """The newest of many ids."""

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self._newer: set[str] = set()
        self._older: set[str] = set()

    def add(self, ids: list[str]) -> None:
        self._newer.update(ids)
        if len(self._newer) > self._half:
            self._older, self._newer = self._newer, set()

    def __contains__(self, key: str) -> bool:
        return key in self._newer or key in self._older


def _time(event: AuditEvent) -> str:
    return format_time(to_microseconds(event.timestamp))
