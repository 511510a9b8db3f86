"""Reads an archive for the dossier of one person: his entries, and each event about him."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Any

from ..archive.missing import Missing
from ..archive.search import search_by_writer
from ..core.time import format_time, to_microseconds
from ..events.entries import gone_in
from ..events.findings import findings, texts_left
from ..events.model import AuditEvent, EventStatus, OperationType
from ..events.query import Query, is_start
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import masked
from ..verification.erasure import TrailEvents, is_key_erasure, stands_for
from .dossier_limits import Unknown
from .held import Held
from .person import Person
from .tally import Spool

__all__ = ["PARTS", "Reading", "in_zone"]

#: The parts of a dossier that list events.
PARTS = ("consultations", "exports", "changes", "erasures", "notices", "acts")

_IDS = 100  # entries that a row names
_RECEIPTS = 5  # the newest deletions, of which it is found out if there can be a receipt
_MOST_GROUPS = 20_000  # actors, agents and purposes that are counted each
_STEP = 10_000  # events between two reports of progress

_PART_OF = {
    OperationType.EXPORT: "exports",
    OperationType.FORGET: "erasures",
    OperationType.RECALL: "consultations",
    OperationType.OTHER: "consultations",
}
_RECIPIENT = ("recipient", "destination")
#: Records of a trail about itself that may name a person.
_RECORDS = frozenset(("alert", "hold", "unfinished", "erasure", "access"))


class Reading:
    """One reading of an archive, for one person. One pass over its files.

    Args:
        person: Whom it is about.
        policy: Makes events readable, as far as it has keys.
        stack: Closes, and so removes, its temporary files.
        zone: In which months begin; None: the local one.
        progress: Told how many events are read.

    Attributes:
        rows: Of each of `PARTS`, the events.
        held: The entries of the person.
        actors: Who acted, by their ids as recorded; rows name them by their places in it.
        agents: The same of agents.
        persons: Further ids of persons that must not be shown.
        trails: The events about the person by trail, and what each trail says of itself.
        until: By trail, the first and the newest event that was read: number and time.
        months: How many rows of each part, by month.
        groups: Consultations and exports by actor, agent and purpose: number, first, last time.
        deletions: The newest events that deleted something: their ids.
        unknown: What could not be known.
    """

    def __init__(
        self,
        person: Person,
        policy: PrivacyPolicy,
        stack: ExitStack,
        zone: tzinfo | None = None,
        progress: Callable[[int], object] = lambda number: None,
    ) -> None:
        self.person = person
        self._policy = policy
        self._zone = zone
        self._progress = progress
        self.held = Held(person)
        self.rows = {part: Spool(stack) for part in PARTS}
        self.actors: dict[str, int] = {}
        self.agents: dict[str, int] = {}
        self.persons: set[str] = set()
        self.trails: dict[str, TrailEvents] = {}
        self.newest: dict[str, AuditEvent] = {}
        self.until: dict[str, dict[str, Any]] = {}
        self.collectors: dict[str, None] = {}
        self.months: dict[str, Counter[str]] = {}
        self.groups: dict[tuple[int | None, int | None, str | None], list[Any]] = {}
        self.deletions: deque[str] = deque(maxlen=_RECEIPTS)
        self.unknown = Unknown(person)

    def read(self, path: Path, missing: Missing) -> None:
        """Take in every event at *path*.

        Raises:
            ArchiveError: If nothing is there.
            OSError: If there is no room for the rows.
        """
        found = search_by_writer(path, Query(with_start=True), missing)
        for number, (trail, event) in enumerate(found, 1):
            if number % _STEP == 0:
                self._progress(number)
            until = self.until.get(trail)
            if until is None:
                until = self.until[trail] = {"first": event.sequence, "begins": _time(event)}
            until["last"], until["at"] = event.sequence, event.timestamp
            if is_start(event):
                self._take_start(trail, event)
            else:
                self._take(trail, event)
        self.unknown.entries_left_out = self.held.is_cut
        for until in self.until.values():
            until["ends"] = format_time(to_microseconds(until.pop("at")))

    # --- one event --------------------------------------------------------------------------

    def _take_start(self, trail: str, event: AuditEvent) -> None:
        self.trails.setdefault(trail, TrailEvents()).take_start(event)
        settings = event.metadata.get("settings")
        host = settings.get("ship_to") if isinstance(settings, dict) else None
        if isinstance(host, str):
            self.collectors[host] = None

    def _take(self, trail: str, event: AuditEvent) -> None:
        if is_key_erasure(event):
            self.unknown.keys_erased += 1
        person = self.person
        is_subject = person.is_subject(event)
        is_actor = person.is_actor(event)
        touched = self.held.is_in(event.entry_ids)
        if not (is_subject or is_actor or touched):
            self._take_other(event)
            return
        before, event = event, self._policy.reveal(event)
        self.trails.setdefault(trail, TrailEvents()).count(event)
        self.newest[trail] = event
        self.unknown.take(before, event)
        self.persons.update(name for name in event.subjects if not person.has_name(name))
        if event.subject_id is not None and not person.has_name(event.subject_id):
            self.persons.add(event.subject_id)
        owners = self.held.owners_in(event)
        if event.operation is OperationType.AUDIT:
            part = self._part_of_record(event, is_subject)
            self._add(part, trail, event, {"record": self._record(event)})
            return
        self.held.take(event, owners)
        if is_subject or touched or person.id in owners:
            part = _PART_OF.get(event.operation.listed, "changes")
            self._add(part, trail, event, self._data(part, event, owners))
        else:
            self._add("acts", trail, event, {})

    def _take_other(self, event: AuditEvent) -> None:
        """Take in an event that is not known to be about the person."""
        self.unknown.take_other(event)
        self.held.take_other(event)

    def _part_of_record(self, event: AuditEvent, is_subject: bool) -> str:
        if is_key_erasure(event) and is_subject:
            return "erasures"
        if event.metadata.get("record") == "access" and is_subject:
            return "consultations"
        return "notices" if is_subject else "acts"

    def _record(self, event: AuditEvent) -> str:
        name = event.metadata.get("record")
        return name if name in _RECORDS else "other"

    # --- rows -------------------------------------------------------------------------------

    def _data(self, part: str, event: AuditEvent, owners: tuple[str, ...]) -> dict[str, Any]:
        """What a row says of the person's data in *event*, and of no other's."""
        named = list(dict.fromkeys(event.entry_ids))
        theirs = [key for key in named if key in self.held]
        total = event.metadata.get("entry_ids_total")
        total = max(len(named), total if type(total) is int else 0)
        alone = bool(event.subjects) and set(owners) == {self.person.id}
        row: dict[str, Any] = {
            "entries": total if alone else len(theirs),
            "at_least": not alone and total > len(theirs) + self.held.of_others(named),
            "entry_ids": theirs[:_IDS],
        }
        if part == "erasures":
            row |= self._erased(event, alone, theirs)
            if event.status is not EventStatus.FAILURE:
                self.deletions.append(event.event_id)
        if part == "exports":
            said = (event.metadata.get(name) for name in _RECIPIENT)
            row["recipient"] = self._text(event, next((s for s in said if type(s) is str), None))
        return row

    def _erased(self, event: AuditEvent, alone: bool, theirs: list[str]) -> dict[str, Any]:
        """What a deletion says of what it deleted, and left."""
        facts = event.metadata
        found = {name: facts[name] for name in ("deleted", "remaining") if _is_count(facts, name)}
        row: dict[str, Any] = found if alone else {}
        left = findings(facts).get("derived_remaining")
        row["derived_remaining"] = 0 if left is None else left.number
        if alone and (texts := sum(texts_left(facts).values())):
            row["texts_left"] = texts
        gone = set(gone_in(event))
        row["not_deleted"] = [key for key in theirs if key not in gone][:_IDS]
        request = facts.get("request_id")
        if isinstance(request, str):
            row["request_id"] = self._text(event, request)
        return row

    def _add(self, part: str, trail: str, event: AuditEvent, more: dict[str, Any]) -> None:
        actor, agent = _place(self.actors, event.user_id), _place(self.agents, event.agent_id)
        purpose = self._text(event, event.purpose)
        row = {
            "time": _time(event),
            "operation": event.operation.listed.value,
            "outcome": event.status.value,
            "actor": actor,
            "agent": agent,
            "on_behalf_of": _place(self.actors, event.on_behalf_of),
            "purpose": purpose,
            **more,
            "event_id": event.event_id,
            "trail": trail,
            "sequence": event.sequence,
        }
        self.rows[part].add(row)
        month = in_zone(event.timestamp, self._zone).isoformat()[:7]
        self.months.setdefault(month, Counter())[part] += 1
        if part in ("consultations", "exports"):
            self._group((actor, agent, purpose), row["time"])

    def _group(self, key: tuple[int | None, int | None, str | None], time: str) -> None:
        group = self.groups.get(key)
        if group is None:
            if len(self.groups) >= _MOST_GROUPS:
                key = (None, None, None)
                self.unknown.groups_left_out += 1
            group = self.groups.setdefault(key, [0, time, time])
        group[0] += 1
        group[2] = time

    def _text(self, event: AuditEvent, text: str | None) -> str | None:
        """A text of *event* without the ids of the other persons that this names."""
        if not text:
            return None
        names = (event.user_id, event.subject_id, event.on_behalf_of, *event.subjects)
        others = {name for name in names if name is not None and not self.person.has_name(name)}
        masks = [(name, "[another person]") for name in sorted(others)]
        hidden: str = masked({"": text}, masks)[""]
        return hidden


def _place(known: dict[str, int], name: str | None) -> int | None:
    """The place of a name in a list of names, to which it is added."""
    return None if name is None else known.setdefault(stands_for(name), len(known))


def in_zone(moment: datetime, zone: tzinfo | None) -> datetime:
    """*moment* in that zone, None: the local one; as it is at the ends of the calendar."""
    try:
        return moment.astimezone(zone)
    except (ValueError, OverflowError, OSError):
        return moment


def _is_count(facts: dict[str, Any], name: str) -> bool:
    return type(facts.get(name)) is int


def _time(event: AuditEvent) -> str:
    return format_time(to_microseconds(event.timestamp))
