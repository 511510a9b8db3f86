"""The influence of an entry: who read it, what was stored afterwards in the same trace or session,
what was made of it; and the same of those entries.

One pass over the events, oldest first: influence goes forward in time only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any, Literal

import msgspec

from .entries import gone_in
from .lineage import derivations
from .model import AuditEvent, EventStatus, OperationType

__all__ = ["Influence", "Influenced", "Reading", "influence"]

#: Of so many readings, and of so many entries, an answer tells.
MOST = 100_000

_READS = frozenset((OperationType.RECALL, OperationType.EXPORT))
_STORES = frozenset(
    (
        *(OperationType.STORE, OperationType.IMPORT),
        *(OperationType.BULK_STORE, OperationType.COMPACT),
    )
)


class _Step(msgspec.Struct, frozen=True, kw_only=True):
    """An event, as far as an answer tells of it; see `AuditEvent`."""

    event_id: str
    timestamp: datetime
    operation: str
    user_id: str | None
    agent_id: str | None
    on_behalf_of: str | None
    purpose: str | None
    trace_id: str | None
    session_id: str | None


class Reading(_Step, frozen=True, kw_only=True):
    """An event that read the entry, or entries that it has influenced.

    Attributes:
        entry_ids: Which of these.
    """

    entry_ids: list[str]


class Influenced(_Step, frozen=True, kw_only=True):
    """An entry that may carry on what another one said, and the event that stored it.

    Attributes:
        entry_id: Its id.
        source_id: That other entry.
        because: ``derived``: it was made of that; ``trace`` or ``session``: it was stored after
            that had been read in the same.
        steps: How many such steps lead to it, from 1.
    """

    entry_id: str
    source_id: str
    because: Literal["derived", "trace", "session"]
    steps: int


class Influence(msgspec.Struct, kw_only=True):
    """Who read an entry, and which others it may have influenced.

    Attributes:
        entry_id: The entry.
        is_named: True if any event names it; False may mean that the id is wrong.
        is_whole: True if the answer tells of all that was found; it has a limit.
        readings: The events that read it, or an entry that it influenced; oldest first.
        influenced: These entries; oldest first, each once.
        traces: The traces in which it was read, or an entry that it influenced.
        sessions: The sessions in which it was.
        readings_without_place: How many of the readings name neither trace nor session: what was
            stored after these is not known.
        stores_without_place: How many events stored something after the first reading and name
            neither: they cannot be assigned.
        events_cut_short: How many readings and stores touched more entries than they name.
    """

    entry_id: str
    is_named: bool = False
    is_whole: bool = True
    readings: list[Reading] = []
    influenced: list[Influenced] = []
    traces: list[str] = []
    sessions: list[str] = []
    readings_without_place: int = 0
    stores_without_place: int = 0
    events_cut_short: int = 0

    def __bool__(self) -> bool:
        """True if it was read, or something was made of it."""
        return bool(self.readings or self.influenced)


def influence(entry_id: str, events: Iterable[AuditEvent], most: int = MOST) -> Influence:
    """The influence of the entry *entry_id* in *events*, which come oldest first.

    Failed operations neither read nor store. Memory is bounded by the answer.

    Args:
        entry_id: The entry.
        events: The events.
        most: Of so many readings, and of so many entries, it tells; of none that follow these.
    """
    found = _Followed(entry_id, most)
    for event in events:
        found.follow(event)
    answer = found.answer
    answer.traces = [name for kind, name in found.places if kind == "trace"]
    answer.sessions = [name for kind, name in found.places if kind == "session"]
    return answer


_Place = tuple[Literal["trace", "session"], str]
_Cause = tuple[Literal["derived", "trace", "session"], str]  # and the source


class _Followed:
    """What an entry has influenced, event by event."""

    def __init__(self, entry_id: str, most: int) -> None:
        self.answer = Influence(entry_id=entry_id)
        self._most = most
        self._steps = {entry_id: 0}  # of each entry that it influenced
        #: Where entries were read, and of those read there the one with the fewest steps.
        self.places: dict[_Place, str] = {}

    def follow(self, event: AuditEvent) -> None:
        """Take in the next event."""
        answer = self.answer
        if not answer.is_named:
            named = answer.entry_id
            answer.is_named = named in event.entry_ids or named in event.derived_from
        if event.status is EventStatus.FAILURE:
            return
        reads, stores = event.operation in _READS, event.operation in _STORES
        if (reads or stores) and "entry_ids_total" in event.metadata:
            answer.events_cut_short += 1
        if reads:
            self._read(event)
            return
        if stores and answer.readings and not _places_of(event):
            answer.stores_without_place += 1
        for key, cause in self._causes(event, stores):
            self._add(event, key, cause)

    def _read(self, event: AuditEvent) -> None:
        read = [key for key in event.entry_ids if key in self._steps]
        if not read:
            return
        answer, places = self.answer, _places_of(event)
        if len(answer.readings) >= self._most:
            answer.is_whole = False
            return
        answer.readings.append(Reading(entry_ids=list(dict.fromkeys(read)), **_step(event)))
        answer.readings_without_place += not places
        nearest = min(read, key=self._steps.__getitem__)
        for place in places:
            known = self.places.setdefault(place, nearest)
            if self._steps[nearest] < self._steps[known]:
                self.places[place] = nearest

    def _causes(self, event: AuditEvent, stores: bool) -> Iterator[tuple[str, _Cause]]:
        """The entries that *event* stored under influence, with the reasons; the best first."""
        for key, sources in derivations(event).items():
            known = [source for source in sources if source in self._steps]
            if known:
                yield key, ("derived", min(known, key=self._steps.__getitem__))
        if not stores:
            return
        for place in _places_of(event):
            source = self.places.get(place)
            if source is not None:
                for key in _stored(event):
                    yield key, (place[0], source)

    def _add(self, event: AuditEvent, key: str, cause: _Cause) -> None:
        if key in self._steps:
            return
        if len(self.answer.influenced) >= self._most:
            self.answer.is_whole = False
            return
        because, source = cause
        self._steps[key] = steps = self._steps[source] + 1
        self.answer.influenced.append(
            Influenced(entry_id=key, source_id=source, because=because, steps=steps, **_step(event))
        )


def _places_of(event: AuditEvent) -> list[_Place]:
    """The trace and the session of *event*, as far as it names them."""
    places: list[_Place] = []
    if event.trace_id is not None:
        places.append(("trace", event.trace_id))
    if event.session_id is not None:
        places.append(("session", event.session_id))
    return places


def _stored(event: AuditEvent) -> Iterable[str]:
    """The entries that *event* stored; a compaction names those that it deleted besides."""
    if event.operation is not OperationType.COMPACT:
        return event.entry_ids
    others = {*gone_in(event), *event.derived_from}
    return (key for key in event.entry_ids if key not in others)


def _step(event: AuditEvent) -> dict[str, Any]:
    fields = {name: getattr(event, name) for name in _Step.__struct_fields__}
    return {**fields, "operation": event.operation.value}
