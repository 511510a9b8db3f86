"""Reads a memory and its trail, while both go on, and compares them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..archive.manifest import deleted_in
from ..archive.missing import Missing
from ..core.errors import AuditConfigError
from ..core.time import to_microseconds
from ..events.model import AuditEvent
from ..events.query import Query
from ..integrations.axon.stored import StoredEntry, StoredMemory
from ..privacy.entry_ids import is_encrypted
from ..privacy.policy import PrivacyPolicy
from ..privacy.private_ids import is_hash, is_hidden
from ..privacy.pseudonyms import is_pseudonym
from ..privacy.readable import recorded
from .reconciliation import Copy, Limits, OnRecord, Reconciliation, compare

if TYPE_CHECKING:
    from ..trail.trail import Trail

__all__ = ["Reading", "reconcile"]

#: Gives the events that answer a query, oldest first.
Events = Callable[[Query], Iterable[AuditEvent]]
#: Told what is read, and how much of it.
Progress = Callable[[str, int], None]

_PAUSE_S = 0.25  # in which an operation that has changed the store ends, and is recorded
_PATIENCE_S = 5.0  # that operations of this process may take
_ROUNDS = 5
_OVERLAP = timedelta(minutes=1)  # an event is recorded later than its time says
#: Operations that change a store for a while before they are recorded.
_LONG = ("IMPORT", "SYNC", "COMPACT", "TRANSACTION", "BULK_STORE", "FORGET")
_OWNERS = 4_096  # whose keys are in memory at a time
_STEP = 500  # entries or events between two reports of progress


async def reconcile(trail: Trail, memory: Any) -> Reconciliation:
    """Compare *memory* with *trail*, of this process; see `AuditLogger.reconcile`.

    Raises:
        AuditConfigError: If *memory* is none, or the ids on record are hashed otherwise.
    """
    missing = Missing()
    reading = Reading(
        StoredMemory(memory),
        trail.policy,
        lambda query: trail.reader.search_all(query, missing, oldest_first=True),
        trail.settings.auto_export_path,
        running=lambda: trail.metrics.running(_LONG),
    )
    return await reading.result(missing)


class Reading:
    """One reading of a store and of its trail.

    Args:
        stored: The store.
        policy: The one of the trail.
        events: The trail.
        directory: Of its archive; None without one.
        progress: See `Progress`.
        running: How many operations run in this process that may change the store.
    """

    def __init__(
        self,
        stored: StoredMemory,
        policy: PrivacyPolicy,
        events: Events,
        directory: Path | None,
        progress: Progress = lambda what, number: None,
        running: Callable[[], int] = lambda: 0,
    ) -> None:
        self._stored = stored
        self._policy = policy
        self._events = events
        self._directory = directory
        self._progress = progress
        self._running = running
        self._store: dict[str, list[Copy]] = {}
        self._record = OnRecord()
        self._forms: dict[str, tuple[str, ...]] = {}  # under which an owner may be on record
        self._makers: dict[str | None, Callable[[Any], tuple[str, ...]]] = {}  # of fingerprints
        self._began = datetime.now(timezone.utc)
        self._recent: set[str] = set()  # events that may be read again
        self._has_read = False
        self._reader = policy  # knows the entries of the store, once they are read
        self._is_hidden = False  # ids of entries in the store are hidden on record

    async def result(self, missing: Missing) -> Reconciliation:
        """Store and trail, compared; *missing* takes what of the trail cannot be read.

        Raises:
            AuditConfigError: If the ids on record are hashed, and the secret is not theirs.
            ArchiveError: If there is no trail.
            Exception: Of a storage adapter that gives nothing at all.
        """
        async for entry in self._stored.entries():
            self._put(entry)
        self._reader = self._policy.with_entries(self._store)
        await asyncio.to_thread(self._read_trail)
        self._check_secret()
        self._check_entries()
        found = await self._settled()
        if self._is_hidden:
            found.named = self._policy.entry_names.namer(self._owner_on_record)
        found.unlisted = {tier: n for tier, n in self._stored.unlisted.items() if n}
        for tier, _ in self._stored.unreadable:
            found.unreadable[tier] = found.unreadable.get(tier, 0) + 1
        if erased := sum(map(is_encrypted, self._record.stored)):
            words = "private ids of erased persons: what is unrecorded may be theirs"
            found.lacking.append(f"{erased} entries on record have {words}")
        found.lacking += missing.lines()
        return found

    def _owner_on_record(self, key: str) -> str | None:
        """The owner of an entry, as events name him."""
        owner = self._record.entries.owner(key)
        return None if owner is None else self._policy.learned(owner)

    # --- reading -----------------------------------------------------------------------------

    def _put(self, entry: StoredEntry) -> None:
        owner = entry.owner
        hidden = None if owner is None else self._policy.hidden("user_id", owner)
        if hidden is not None and owner is not None and hidden not in self._forms:
            self._forms[hidden] = tuple(self._policy.forms(owner))
        if owner not in self._makers:
            if len(self._makers) >= _OWNERS:
                self._makers.clear()
            self._makers[owner] = self._policy.possible_fingerprints(owner)
        prints = self._makers[owner](entry.text)
        copy = Copy(entry.tier, hidden, prints, entry.sources, entry.created)
        self._store.setdefault(entry.key, []).append(copy)
        if len(self._store) % _STEP == 0:
            self._progress("entries", len(self._store))

    def _read_trail(self) -> set[str]:
        """Take in the events that are new; returns the entries that they stored or deleted."""
        since = self._began - _OVERLAP
        first = to_microseconds(since) if self._has_read else None
        touched: set[str] = set()
        for number, event in enumerate(self._events(Query(start_us=first, with_start=True)), 1):
            if event.event_id in self._recent:
                continue
            if event.timestamp >= since:
                self._recent.add(event.event_id)
            read = self._reader.with_names(event)
            hidden = read is not event or any(map(is_encrypted, recorded(event).entry_ids))
            self._is_hidden = self._is_hidden or hidden
            touched.update(self._record.add(read))
            if number % _STEP == 0:
                self._progress("events", number)
        self._has_read = True
        return touched

    def _check_secret(self) -> None:
        """Refuse to compare with another secret: every entry would seem altered."""
        persons = self._record.persons
        if not persons or not self._forms:
            return
        known = 0
        for key, copies in self._store.items():
            owner = self._record.entries.owner(key)
            if owner is None or not is_pseudonym(owner):
                continue
            if any(owner in self._forms.get(copy.owner or "", ()) for copy in copies):
                return
            known += 1
        hashes = any(len(forms) > 1 for forms in self._forms.values())
        if known or not hashes:
            with_it = "with the secret given, none is that of an owner in the store"
            lacks = "the secret is needed (pseudonymize)"
            raise AuditConfigError(f"the ids on record are hashed: {with_it if hashes else lacks}")

    def _check_entries(self) -> None:
        """Refuse to compare with hashed ids of entries that cannot be told: every entry would seem
        unrecorded, and missing.

        Raises:
            AuditConfigError: If all that is on record are such ids.
        """
        stored = self._record.stored
        if stored and self._store and all(map(is_hash, stored)):
            why = "with the secret given, none is in the store"
            if not self._policy.entry_names.are_hidden:
                why = "the secret is needed (pseudonymize)"
            raise AuditConfigError(f"the ids of entries on record are hashed: {why}")

    # --- comparing -----------------------------------------------------------------------------

    def _compare(self) -> Reconciliation:
        deleted = None if self._directory is None else deleted_in(self._directory)[1]
        limits = Limits(deleted, self._began, self._stored.lifetimes, self._stored.tiers_of)
        unread = {key for _, key in self._stored.unreadable}
        found = compare(self._store, self._record, limits, unread)
        if unsure := {key for key in found.suspects() if is_hidden(key) and self._is_unsure(key)}:
            found.set_aside(unsure)
        return found

    def _is_unsure(self, key: str) -> bool:
        """True if the entry of a hashed id may be in the store, where it cannot be looked for."""
        if is_encrypted(key):  # its owner was erased
            return True
        told = self._record.stored.get(key)
        is_new = told is not None and told.time >= self._began  # after the store was listed
        return is_new or any(self._stored.unlisted.values())

    async def _settled(self) -> Reconciliation:
        """The comparison, after everything suspicious was looked at again.

        Store and trail are read one after the other: what changed between, or has changed the
        store and is not recorded yet, is no finding.
        """
        found = await asyncio.to_thread(self._compare)
        again = found.suspects()
        if any(self._stored.unlisted.values()):
            again.update(self._record.gone)  # it may be there, unlisted
        if again:
            await self._let_operations_end()
        for _ in range(_ROUNDS):
            if not again:
                break
            for number, key in enumerate(again, 1):
                await self._look(key)
                if number % _STEP == 0:
                    self._progress("entries again", number)
            changed = await asyncio.to_thread(self._read_trail)
            found = await asyncio.to_thread(self._compare)
            again = found.suspects() & changed
        if again:
            found.set_aside(again)
        if (again or found.suspects()) and (running := self._running()):
            found.lacking.append(f"{running} operations that change the store were running")
        return found

    async def _let_operations_end(self) -> None:
        await asyncio.sleep(_PAUSE_S)
        waited = _PAUSE_S
        while self._running() and waited < _PATIENCE_S:
            await asyncio.sleep(_PAUSE_S)
            waited += _PAUSE_S

    async def _look(self, key: str) -> None:
        """Look at one entry again, in all tiers."""
        before = {copy.tier for copy in self._store.pop(key, ())}
        for entry in await self._stored.look(key):
            self._put(entry)
            if entry.tier not in before and self._stored.unlisted.get(entry.tier):
                self._stored.unlisted[entry.tier] -= 1
