"""Compares a memory with its trail: what lies in the store, and what is on record of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from ..events.entries import Entries, comparable, gone_in, stored_in
from ..events.findings import findings
from ..events.model import AuditEvent, EventStatus, OperationType
from ..privacy.pseudonyms import is_pseudonym

__all__ = ["FINDINGS", "UNKNOWN", "Copy", "Limits", "OnRecord", "Reconciliation", "compare"]

#: What can be found; each is a list of entries.
FINDINGS = ("unrecorded", "missing", "altered", "forgotten_present", "derived_orphaned")
#: Of which entries it cannot be known whether something is wrong.
UNKNOWN = ("unknown_before", "unnamed", "may_have_expired", "unsettled")

_READING = (OperationType.RECALL, OperationType.EXPORT)
_LOST = ("gap", "unfinished")  # records of operations that have no event


class Copy(NamedTuple):
    """An entry of one tier.

    Attributes:
        tier: The tier's name.
        owner: Whose it is, as events name them.
        prints: The fingerprints that this text can have on record; none: it has none.
        sources: What it was made of, as it says itself.
        created: When it was made, as it says itself.
    """

    tier: str
    owner: str | None = None
    prints: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    created: datetime | None = None


class Told(NamedTuple):
    """An event that stored or deleted an entry."""

    event_id: str
    operation: str
    time: datetime
    facts: Mapping[str, Any]  # where it was stored


class OnRecord:
    """What a trail says of entries. Takes its events in their order, each once.

    Attributes:
        entries: Owners, newest fingerprints and lineage.
        began: The time of the first event.
        stored: Entries that were stored and not deleted since, by id.
        gone: Entries that were deleted, by id.
        left_tier: Entries that were deleted in one tier alone: by id, by tier.
        doubtful: Entries of which only operations tell that failed, or cannot be read.
        remaining: Entries that a FORGET named as made of what it deleted: by id, that event.
        unnamed_stored: The time of the last event that stored entries it does not name.
        unnamed_deleted: The same, of those that were deleted.
        persons: The pseudonyms of persons.
    """

    def __init__(self) -> None:
        self.entries = Entries(most=sys.maxsize)
        self.began: datetime | None = None
        self.stored: dict[str, Told] = {}
        self.gone: dict[str, Told] = {}
        self.left_tier: dict[str, dict[str, Told]] = {}
        self.doubtful: set[str] = set()
        self.remaining: dict[str, Told] = {}
        self.unnamed_stored: datetime | None = None
        self.unnamed_deleted: datetime | None = None
        self.persons: set[str] = set()
        self._older: dict[str, set[str]] = {}  # fingerprints before the newest

    def add(self, event: AuditEvent) -> list[str]:
        """Take in what *event* says; returns the entries that it stored or deleted."""
        self.began = self.began or event.timestamp
        if event.operation is OperationType.AUDIT:
            if event.metadata.get("record") in _LOST:
                self.unnamed_stored = self.unnamed_deleted = event.timestamp
            return []
        names = (event.user_id, event.subject_id, *event.subjects)
        self.persons.update(name for name in names if name and is_pseudonym(name))
        for key in event.fingerprints or ():
            before = self.entries.state(key)
            if isinstance(before, str) and before:
                self._older.setdefault(key, set()).add(before)
        told = Told(event.event_id, event.operation.value, event.timestamp, _where(event))
        gone = gone_in(event)
        tier = told.facts.get("tier")
        if event.operation is OperationType.FORGET and isinstance(tier, str):
            for key in gone:
                self.left_tier.setdefault(key, {})[tier] = told
        else:
            self.entries.apply(event)
            self._delete(gone, told)
        self._note_unnamed(event)
        left = findings(event.metadata).get("derived_remaining")
        self.remaining.update((key, told) for key in (left.entry_ids if left else ()))
        stored = stored_in(event)
        self._store(stored, _is_doubtful(event), told)
        return [*gone, *stored]

    def _delete(self, keys: Iterable[str], told: Told) -> None:
        for key in keys:
            self.gone[key] = told
            self.stored.pop(key, None)
            self.doubtful.discard(key)

    def _store(self, keys: Iterable[str], doubtful: bool, told: Told) -> None:
        for key in keys:
            if doubtful:
                self.doubtful.add(key)
                continue
            self.stored[key] = told
            self.doubtful.discard(key)
            for known in (self.gone, self.left_tier, self.remaining):
                known.pop(key, None)

    def _note_unnamed(self, event: AuditEvent) -> None:
        """Note whether *event* touched entries that it does not name: too many, or unknown."""
        facts, named = event.metadata, len(event.entry_ids)
        more = max(_number(facts, "entry_ids_total"), named) > named
        if event.operation in _READING:
            return
        if event.operation is OperationType.FORGET:
            more = more or _number(facts, "deleted") > named or "entry_ids_unknown" in facts
        elif more:
            self.unnamed_stored = event.timestamp
            more = _number(facts, "deleted") > 0
        if more:
            self.unnamed_deleted = event.timestamp

    def knows(self, key: str) -> bool:
        """True if it is on record how an entry came, if only by an operation that failed."""
        return key in self.stored or key in self.doubtful or key in self.left_tier

    def versions(self, key: str) -> set[str]:
        """The fingerprints that an entry had before the newest."""
        return self._older.get(key, set())


def _number(facts: Mapping[str, Any], name: str) -> int:
    value = facts.get(name)
    return value if isinstance(value, int) else 0


def _where(event: AuditEvent) -> dict[str, Any]:
    """The facts of *event* that say in which tier entries are."""
    wanted = ("tier", "target_tier", "by_tier", "importance")
    return {name: event.metadata[name] for name in wanted if event.metadata.get(name) is not None}


def _is_doubtful(event: AuditEvent) -> bool:
    """True if entries that *event* names may be in the store, or not: it failed, was rolled back,
    or does not say which of them it deleted, since that is encrypted."""
    facts, operation = event.metadata, event.operation
    if event.status is EventStatus.FAILURE or facts.get("outcome") == "rolled_back":
        return True
    deletes = operation in (OperationType.COMPACT, OperationType.TRANSACTION)
    return deletes and "erasable" in facts and "deleted" not in facts


# --- the result ----------------------------------------------------------------------------


@dataclass
class Reconciliation:
    """What a comparison of a store with its trail found.

    Attributes:
        findings: The entries by kind of finding (`FINDINGS`): each a dict with ``entry_id``, and
            ``tiers``, ``owner``, ``event_id`` (the event that says otherwise), ``operation``,
            ``time``, ``sources``, ``owners`` where they apply.
        unknown: The ids of which something cannot be known, by reason (`UNKNOWN`).
        by_tier: Entries in the store, by tier.
        in_store: Entries in the store, each id once.
        on_record: Entries that should be there.
        matching: Entries whose content is the newest on record.
        not_comparable: Entries without a fingerprint on record, or with one of another key.
        unlisted: Entries that a tier counts and does not list, by tier.
        unreadable: Entries that cannot be read, by tier.
        lacking: What of the trail could not be read, in words.
        named: Gives the id of an entry as it is to be recorded.
    """

    findings: dict[str, list[dict[str, Any]]] = field(
        default_factory=lambda: {kind: [] for kind in FINDINGS}
    )
    unknown: dict[str, list[str]] = field(
        default_factory=lambda: {reason: [] for reason in UNKNOWN}
    )
    by_tier: dict[str, int] = field(default_factory=dict)
    in_store: int = 0
    on_record: int = 0
    matching: int = 0
    not_comparable: int = 0
    unlisted: dict[str, int] = field(default_factory=dict)
    unreadable: dict[str, int] = field(default_factory=dict)
    lacking: list[str] = field(default_factory=list)
    named: Callable[[str], str] = field(default=str, repr=False, compare=False)

    @property
    def is_all_read(self) -> bool:
        """True if store and trail could be read, all of them."""
        unread = (*self.unlisted.values(), *self.unreadable.values())
        return not (self.lacking or self.unknown["unsettled"] or any(unread))

    @property
    def whole(self) -> bool:
        """True if in addition, of all that is in the store, it can be known whether it is on
        record."""
        doubts = self.unknown["unknown_before"] or self.unknown["unnamed"]
        return self.is_all_read and not doubts

    @property
    def finds_nothing(self) -> bool:
        """True if there is no finding."""
        return not any(self.findings.values())

    @property
    def agrees(self) -> bool:
        """True if store and trail agree, and the answer is whole."""
        return self.whole and self.finds_nothing

    def add(self, kind: str, key: str, **facts: Any) -> None:
        """Add a finding; facts that are None are left out."""
        told = {name: value for name, value in facts.items() if value is not None}
        self.findings[kind].append({"entry_id": key, **told})

    def suspects(self) -> set[str]:
        """The entries of all findings, and of what may be there although it was not listed."""
        found = {one["entry_id"] for some in self.findings.values() for one in some}
        return found.union(self.unknown["unnamed"], self.unknown["may_have_expired"])

    def set_aside(self, keys: set[str]) -> None:
        """Nothing is said of these entries: they are changing."""
        for some in self.findings.values():
            some[:] = [one for one in some if one["entry_id"] not in keys]
        self.unknown["unsettled"] = sorted(keys.union(self.unknown["unsettled"]))

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        numbers = ("in_store", "on_record", "matching", "not_comparable", "by_tier")
        return {
            "agrees": self.agrees,
            "whole": self.whole,
            **{name: getattr(self, name) for name in numbers},
            **self.findings,
            **self.unknown,
            "unlisted": self.unlisted,
            "unreadable": self.unreadable,
            "lacking": self.lacking,
        }

    def facts(self) -> dict[str, Any]:
        """The facts of the AUDIT event about it: counts, and the first ids of each finding."""
        found = {kind: some for kind, some in self.findings.items() if some}
        doubts = {reason: ids for reason, ids in self.unknown.items() if ids}
        first = {
            kind: [self.named(one["entry_id"]) for one in some[:_NAMED]]
            for kind, some in found.items()
        }
        return {
            "record": "reconcile",
            "in_store": self.in_store,
            "on_record": self.on_record,
            "matching": self.matching,
            "not_comparable": self.not_comparable,
            "by_tier": self.by_tier,
            "found": {name: len(some) for name, some in found.items()},
            "unknown": {reason: len(ids) for reason, ids in doubts.items()},
            "whole": self.whole,
            **({"first": first} if first else {}),
        }


_NAMED = 20  # ids of each kind of finding in the event


# --- comparing -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Limits:
    """What is known of store and trail besides entries and events.

    Attributes:
        before: What was stored before may have been on record: retention has deleted that.
        now: When the store was read.
        lifetimes: After how many seconds a tier lets entries expire; None: never.
        tiers_of: The tiers in which an event with these facts may have put an entry.
    """

    before: datetime | None
    now: datetime
    lifetimes: Mapping[str, float | None] = field(default_factory=dict)
    tiers_of: Callable[[Mapping[str, Any]], Iterable[str]] = lambda facts: ()

    def has_expired(self, told: Told) -> bool:
        """True if an entry stored by that event may have expired by now."""
        spans = (self.lifetimes.get(tier) for tier in self.tiers_of(told.facts))
        age = (self.now - told.time).total_seconds()
        return any(span is not None and age >= span for span in spans)


def compare(
    store: Mapping[str, list[Copy]], record: OnRecord, limits: Limits, unread: set[str]
) -> Reconciliation:
    """Hold *store*, its entries by id, against what is on *record*.

    Args:
        store: The copies of each entry, by id.
        record: What is on record.
        limits: What is known besides.
        unread: Entries that are there and cannot be read.
    """
    result = Reconciliation(in_store=len(store), on_record=len(record.stored))
    for key, copies in store.items():
        for copy in copies:
            result.by_tier[copy.tier] = result.by_tier.get(copy.tier, 0) + 1
        if not _is_back(key, copies, record, result):
            if not record.knows(key):
                _judge_unrecorded(key, copies, record, limits, result)
            _compare_content(key, copies, record, result)
        _judge_sources(key, copies, store, record, result)
    for key, told in record.stored.items():
        if key in store or key in unread or key in record.left_tier:
            continue
        if record.unnamed_deleted is not None and told.time <= record.unnamed_deleted:
            result.unknown["unnamed"].append(key)
        elif limits.has_expired(told):
            result.unknown["may_have_expired"].append(key)
        else:
            result.add("missing", key, owner=record.entries.owner(key), **_of(told))
    return result


def _of(told: Told) -> dict[str, Any]:
    time = told.time.isoformat().replace("+00:00", "Z")
    return {"event_id": told.event_id, "operation": told.operation, "time": time}


def _tiers(copies: list[Copy]) -> list[str]:
    return [copy.tier for copy in copies]


def _is_back(key: str, copies: list[Copy], record: OnRecord, result: Reconciliation) -> bool:
    """Add the entry if it was deleted and is there; returns whether it is such a one."""
    told = record.gone.get(key)
    left = record.left_tier.get(key, {})
    where = [tier for tier in _tiers(copies) if told is not None or tier in left]
    told = told or next((left[tier] for tier in where), None)
    if told is None:
        return False
    result.add("forgotten_present", key, tiers=where, owner=copies[0].owner, **_of(told))
    return True


def _judge_unrecorded(
    key: str, copies: list[Copy], record: OnRecord, limits: Limits, result: Reconciliation
) -> None:
    created = min((copy.created for copy in copies if copy.created), default=None)
    known = [moment for moment in (record.began, limits.before) if moment is not None]
    unnamed = record.unnamed_stored
    if unnamed is not None and (created is None or created <= unnamed):
        result.unknown["unnamed"].append(key)
    elif not known or (created is not None and created < max(known)):
        result.unknown["unknown_before"].append(key)
    else:
        time = None if created is None else created.isoformat().replace("+00:00", "Z")
        result.add("unrecorded", key, tiers=_tiers(copies), owner=copies[0].owner, created=time)


def _compare_content(
    key: str, copies: list[Copy], record: OnRecord, result: Reconciliation
) -> None:
    newest = record.entries.state(key)
    if not isinstance(newest, str) or not newest:
        result.not_comparable += record.knows(key)
        return
    same = [newest in copy.prints for copy in copies]
    # A copy in another tier may be an older one; also one that a failed operation left.
    allowed = record.versions(key) if any(same) or key in record.doubtful else set()
    other = [
        copy
        for copy, is_same in zip(copies, same)
        if not is_same and allowed.isdisjoint(copy.prints)
    ]
    altered = [c for c in other if any(comparable(newest, one) for one in c.prints)]
    if altered:
        told = record.stored.get(key)
        about = {} if told is None else _of(told)
        result.add("altered", key, tiers=_tiers(altered), owner=altered[0].owner, **about)
    elif other:
        result.not_comparable += 1
    else:
        result.matching += 1


def _judge_sources(
    key: str,
    copies: list[Copy],
    store: Mapping[str, list[Copy]],
    record: OnRecord,
    result: Reconciliation,
) -> None:
    """Add the entry if something that it was made of is gone by a FORGET."""
    known = record.entries.derived.get(key)
    told_by_itself = [one for copy in copies for one in copy.sources]
    sources = list(dict.fromkeys((*(known.sources if known else ()), *told_by_itself)))
    gone = (_forgotten(one, store, record) for one in _ancestors(key, sources, record))
    told = record.remaining.get(key) or next(filter(None, gone), None)
    if told is not None:
        owners = list(known.owners) if known else None
        about = {"tiers": _tiers(copies), "owners": owners, "sources": sources}
        result.add("derived_orphaned", key, **about, **_of(told))


def _ancestors(key: str, sources: Iterable[str], record: OnRecord) -> Iterator[str]:
    """What an entry was made of, and what that was made of, each once."""
    seen, new = {key}, list(sources)
    while new:
        one = new.pop()
        if one not in seen:
            seen.add(one)
            yield one
            made = record.entries.derived.get(one)
            new += made.sources if made else ()


def _forgotten(key: str, store: Mapping[str, Any], record: OnRecord) -> Told | None:
    """The FORGET by which an entry is gone; None if it is not gone by one."""
    told = record.gone.get(key)
    if told is None and key not in store:
        told = next(iter(record.left_tier.get(key, {}).values()), None)
    return told if told is not None and told.operation == OperationType.FORGET.value else None
