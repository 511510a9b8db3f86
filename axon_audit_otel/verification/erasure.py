"""What an archive knows of one erasure: what was before it, and what came after."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from ..archive.missing import Missing
from ..archive.retention import rule_seconds
from ..archive.search import search_by_writer
from ..core.semconv import ERASABLE_PREFIX
from ..core.time import format_time, to_microseconds
from ..events.entries import Entries, gone_in
from ..events.model import AuditEvent, EventStatus, OperationType, age, deleted_entries
from ..events.query import Query, has, is_start
from ..privacy.box import BOX
from ..privacy.policy import PrivacyPolicy
from ..privacy.readable import recorded

__all__ = ["Aftermath", "TrailEvents", "is_key_erasure", "stands_for"]

_NAMED = 100  # events that are named; further ones are counted
_MOST = 1 << 20  # entries whose state is followed
#: Operations whose facts change nothing here: events of others need not be decrypted.
_PLAIN = frozenset((OperationType.STORE, OperationType.RECALL))
_STORED = frozenset((OperationType.STORE, OperationType.IMPORT, OperationType.BULK_STORE))


def is_key_erasure(event: AuditEvent) -> bool:
    """True if *event* is the record that the keys of a person were destroyed."""
    return event.operation is OperationType.AUDIT and event.metadata.get("record") == "erasure"


def stands_for(name: str) -> str:
    """The part of a recorded id that is left when the person's key is destroyed."""
    return ":".join(name.split(":")[:2]) if name.startswith(ERASABLE_PREFIX) else name


@dataclass
class TrailEvents:
    """The events of one trail that touch the erased data or name the person.

    Attributes:
        number: How many.
        first: The time of the oldest; "" without any.
        last: The time of the newest.
        rule: How long the trail keeps events, as its record `start` says; None: no limit, or not
            known.
        states_rule: True if a record `start` says it.
    """

    number: int = 0
    first: str = ""
    last: str = ""
    rule: str | None = None
    states_rule: bool = False

    def count(self, event: AuditEvent) -> None:
        """Take in one event; they come in the order of their times."""
        self.last = _time(event)
        self.first = self.first or self.last
        self.number += 1

    def take_start(self, event: AuditEvent) -> None:
        """Take in a record `start`."""
        settings = event.metadata.get("settings")
        if isinstance(settings, dict):
            rule = settings.get("retention")
            self.rule, self.states_rule = rule if isinstance(rule, str) else None, True

    def facts(self, newest: AuditEvent | None) -> dict[str, Any]:
        """What is to be said, as JSON types; *newest* is the newest of the events."""
        length = None if self.rule is None else rule_seconds(self.rule)
        until = None
        if length is not None and newest is not None:
            until = _moment(to_microseconds(newest.timestamp), length)
        facts = {"number": self.number, "first": self.first, "last": self.last}
        return {**facts, "states_rule": self.states_rule, "rule": self.rule, "until": until}


def _moment(microseconds: int, seconds: float) -> str:
    return format_time(microseconds + timedelta(seconds=seconds) // timedelta(microseconds=1))


def _time(event: AuditEvent) -> str:
    return format_time(to_microseconds(event.timestamp))


@dataclass
class _Named:
    """Events of which the first are named, and all are counted."""

    number: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)

    def add(self, trail: str, event: AuditEvent, **more: Any) -> None:
        self.number += 1
        if len(self.events) < _NAMED:
            facts = {"event_id": event.event_id, "trail": trail, "sequence": event.sequence}
            when = {"timestamp": _time(event), "operation": event.operation.value}
            self.events.append({**facts, **when, **more})

    def facts(self) -> dict[str, Any]:
        return {"number": self.number, "events": self.events}


class Aftermath:
    """What all events of an archive say of one erasure. One pass over its files.

    Args:
        erasure: The event, readable as far as there are keys.
        names: The recorded ids of the persons whose data it erased.

    Attributes:
        entries: The entries as the newest events leave them.
        trails: The events about the data, by trail.
        until: The number of the newest event that was read, by trail.
        exports: Exports before the erasure that had the entries, or may have had them.
        seen: Events after it that found erased entries, or stored them again.
        clear: The number of events about the data that are not encrypted.
        opened: The number of those that the keys at hand open.
        closed: The number of those that no key at hand opens.
        named: The number of those in which a key at hand opens the id of one of the persons.
    """

    def __init__(self, erasure: AuditEvent, names: Iterable[str]) -> None:
        self._erasure = erasure
        self._names = frozenset(names)
        self._parts = frozenset(map(stands_for, self._names))
        self._stored: dict[str, None] = {}
        self._newest: dict[str, AuditEvent] = {}
        self.erased = frozenset(_erased_in(erasure))
        self.entries = Entries(_MOST)
        self.trails: dict[str, TrailEvents] = {}
        self.until: dict[str, int] = {}
        self.exports, self.seen = _Named(), _Named()
        self.clear = self.opened = self.closed = self.named = 0

    def read(self, path: Path, policy: PrivacyPolicy, missing: Missing) -> None:
        """Take in every event at *path*.

        Raises:
            ArchiveError: If nothing is there.
        """
        for trail, event in search_by_writer(path, Query(with_start=True), missing):
            self.until[trail] = max(self.until.get(trail, 0), event.sequence)
            if is_start(event):
                self.trails.setdefault(trail, TrailEvents()).take_start(event)
            else:
                self._take(trail, event, policy)

    def _take(self, trail: str, event: AuditEvent, policy: PrivacyPolicy) -> None:
        touched = self.erased.intersection(event.entry_ids)
        is_about = bool(touched) or self._names_one(event)
        if is_about or event.derived_from or event.operation not in _PLAIN:
            event = policy.reveal(event)
        if is_about:
            self._count(trail, event)
        self.entries.apply(event)
        if event.event_id == self._erasure.event_id or event.status is EventStatus.FAILURE:
            return
        if is_about and event.operation in _STORED and len(self._stored) < _MOST:
            self._stored.update(dict.fromkeys(event.entry_ids))
        if age(event) > age(self._erasure):
            if touched and _shows(event):
                self.seen.add(trail, event, entry_ids=sorted(touched)[:_NAMED])
        elif event.operation is OperationType.EXPORT:
            is_cut = "entry_ids_total" in event.metadata
            if touched or (is_about and not self.erased) or is_cut:
                self.exports.add(trail, event, certain=bool(touched))

    def _names_one(self, event: AuditEvent) -> bool:
        """True if an event, as it was recorded, names one of the persons."""
        if any(name is not None and stands_for(name) in self._parts for name in _persons(event)):
            return True
        return bool(event.subjects) and has(event, "subject_id", tuple(self._names))

    def _is_named_in(self, event: AuditEvent) -> bool:
        """True if *event* shows the id of one of the persons, which was encrypted."""
        before, now = map(_persons, (recorded(event), event))
        return any(
            name != real and name is not None and stands_for(name) in self._parts
            for name, real in zip(before, now)
        )

    def _count(self, trail: str, event: AuditEvent) -> None:
        self.trails.setdefault(trail, TrailEvents()).count(event)
        self._newest[trail] = event
        if is_key_erasure(event):
            return  # it names nobody
        self.named += self._is_named_in(event)
        if BOX not in recorded(event).metadata:
            self.clear += 1
        elif BOX in event.metadata:
            self.closed += 1
        else:
            self.opened += 1

    # --- the answers -----------------------------------------------------------------------

    def living_entries(self) -> list[str]:
        """The entries of the person that were stored and not deleted, as far as is on record."""
        return [key for key in self._stored if self.entries.lives(key)]

    def living_derived(self) -> list[str]:
        """The entries made of erased ones that live, as far as is on record."""
        said = self._erasure.metadata.get("derived_remaining")
        known = [key for key in said if isinstance(key, str)] if isinstance(said, list) else []
        made = dict.fromkeys([*known, *self.entries.descendants(self.erased)])
        return [key for key in made if self.entries.state(key) is None or self.entries.lives(key)]

    def trail_events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield each trail that has events about the data, and what is to be said of them."""
        for trail, found in sorted(self.trails.items()):
            if found.number:
                yield trail, found.facts(self._newest.get(trail))


def _persons(event: AuditEvent) -> tuple[str | None, ...]:
    return event.user_id, event.subject_id, event.on_behalf_of, *event.subjects


def _erased_in(event: AuditEvent) -> list[str]:
    """The entries that *event* deleted, or did not find."""
    if event.operation is not OperationType.FORGET:
        return []
    if event.metadata.get("deleted") == 0 and event.metadata.get("remaining") == 0:
        return event.entry_ids
    return gone_in(event)


def _shows(event: AuditEvent) -> bool:
    """True if an event shows that an entry it names was there; a deletion of nothing does not."""
    if event.operation is OperationType.AUDIT:
        return False
    return event.operation is not OperationType.FORGET or deleted_entries(event) > 0
