"""What a memory of two tiers holds and held, and what each event about it must therefore say."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch

from axon import Filter, MemoryEntry
from axon.core.compaction_strategies import CompactionStrategy
from conftest import ListingAdapter, Make, MakeSystem, history

USERS = ("ann", "bob", "cyd", None)
TIERS = ("session", "persistent")

#: The place of an entry: its tier and its id.
Place = tuple[str, str]


class Content(NamedTuple):
    """What is fingerprinted of an entry."""

    owner: str | None
    text: str


class Adapter(ListingAdapter):
    """Deletes also as `Router.route_forget` asks for it."""

    async def delete(self, id: str = "", *, entry_id: str = "", filter: Any = None) -> bool:
        return await super().delete(id or entry_id)


class Pairs(CompactionStrategy):
    """Everything, by twos."""

    name = "pairs"

    def select_entries_to_compact(self, entries: Any, threshold: int, **_: Any) -> Any:
        return list(entries)

    def group_entries(self, entries: Any, batch_size: int = 100, **_: Any) -> Any:
        return [entries[at : at + 2] for at in range(0, len(entries), 2)]


class Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return "tea for several"


def entry_of(user: str | None, entry_id: str, text: str = "tea") -> MemoryEntry:
    return MemoryEntry(id=entry_id, text=text, metadata={"user_id": user})


class Said(NamedTuple):
    """What an event must say."""

    touched: set[str]  # subjects
    altered: frozenset[str] | set[str] = frozenset()
    back: frozenset[str] | set[str] = frozenset()  # resurrected
    remaining: frozenset[str] | set[str] = frozenset()  # derived_remaining
    maybe_back: frozenset[str] = frozenset()
    maybe: frozenset[str | None] = frozenset()  # subjects that it may name


class World:
    """Does things with a memory, and knows the truth about it.

    Args:
        make_system: The fixture.
        make_audit: The fixture.
        directory: Of the archive.
        settings: Of the audit logger.
    """

    def __init__(
        self, make_system: MakeSystem, make_audit: Make, directory: Path, **settings: Any
    ) -> None:
        self._make_system = make_system
        self._make_audit = lambda: make_audit(100, directory, **settings)
        self.erasable = settings.get("erasable", False)
        self.prints = settings.get("fingerprints", True)
        self.secret: bytes | None = settings.get("pseudonymize")
        self.adapters = {tier: Adapter() for tier in TIERS}
        self.audit = self._make_audit()
        self.memory: Any = make_system(audit_logger=self.audit, **self.adapters)
        self.named: dict[str, set[str]] = {}  # by event id: whom each event concerns
        self.backup: list[dict[str, Any]] = []
        self.number = 0
        self.recorded: dict[Place, Content] = {}  # the newest on record
        self.contents: dict[str, set[Content]] = {}  # all on record, by id: copies may differ
        self.gone: set[Place] = set()  # deleted on record, and not stored since
        self.moved: set[Place] = set()  # of these, by a sync
        self.ids_told: set[str] = set()  # of entries that events name
        self.unsure: set[str] = set()  # copied behind the trail's back
        self.removed: list[tuple[str, MemoryEntry]] = []  # what was deleted
        self.owners: dict[str, str | None] = {}  # the last that the trail saw, by id
        self.seen: dict[Place, str | None] = {}  # the last that this process saw
        self.sources: dict[str, tuple[str, ...]] = {}
        self.behind: dict[str, set[str]] = {}  # the owners of all sources of an entry
        self.restarted = False  # then files tell whose an entry was only if they name one person

    def told(self, user: str | None) -> str | None:
        """A user as events name him."""
        if self.secret is None or user is None:
            return user
        digest = hmac.digest(self.secret, b"user:" + user.encode(), "sha256")
        return f"hmac-sha256:{digest[:16].hex()}"

    # --- the truth -----------------------------------------------------------------------

    def held(self) -> dict[Place, Content]:
        """What each tier holds."""
        return {
            (tier, key): Content(entry.metadata.user_id, entry.text)
            for tier, adapter in self.adapters.items()
            for key, entry in adapter._storage.items()
        }

    def ids(self, tier: str) -> list[str]:
        return sorted(self.adapters[tier]._storage)

    def living(self, key: str) -> bool:
        return any(key in adapter._storage for adapter in self.adapters.values())

    def descendants(self, keys: Iterable[str]) -> set[str]:
        found: set[str] = set()
        new = set(keys)
        while new:
            new = {k for k, some in self.sources.items() if new & set(some)} - found
            found |= new
        return found

    def whose(self, places: Iterable[Place], *more: dict[Place, Content]) -> set[str]:
        """The owners of entries, now and in *more*, and of what they were made of."""
        states = (self.held(), *more)
        found = {s[one].owner for one in places for s in states if one in s}
        for _, key in places:
            found |= self.behind.get(key, set())
        return {owner for owner in found if owner is not None}

    def is_unread(self, place: Place) -> bool:
        """True if an entry is read before it is deleted."""
        return place not in self.seen or place in self.gone or place not in self.recorded

    def is_altered(self, place: Place, content: Content) -> bool:
        if not self.prints or place not in self.recorded or place in self.gone:
            return False
        return content not in self.contents[place[1]]

    def reads(self, places: Iterable[Place], held: dict[Place, Content]) -> None:
        """An operation that records what it reads has read entries."""
        for place in places:
            if place not in self.gone and place not in self.recorded:
                self.recorded[place] = held[place]
                self.contents.setdefault(place[1], set()).add(held[place])
        self.sees(places, held)

    def sees(self, places: Iterable[Place], held: dict[Place, Content]) -> None:
        for place in places:
            self.owners[place[1]] = self.seen[place] = held[place].owner

    def records(self, place: Place, content: Content) -> None:
        """An entry was saved, on record."""
        self.recorded[place] = content
        self.contents.setdefault(place[1], set()).add(content)
        self.gone.discard(place)
        self.moved.discard(place)
        # Elsewhere it may be back without a record, but it is on record again.
        self.moved.update(one for one in self.gone if one[1] == place[1])
        self.sees([place], {place: content})

    def deletes(self, places: Iterable[Place], before: dict[Place, MemoryEntry]) -> None:
        for place in places:
            self.gone.add(place)
            self.recorded.pop(place, None)
            if place in before:
                self.removed.append((place[0], before[place]))

    def said(
        self, touched: set[str], places: Iterable[Place], before: dict[Place, Content], **more: Any
    ) -> Said:
        """What an event says that has read the entries at *places*."""
        back = {key for tier, key in places if (tier, key) in self.gone - self.moved}
        maybe = frozenset(key for tier, key in places if (tier, key) in self.moved)
        altered = {one[1] for one in places if self.is_altered(one, before[one])}
        return Said(touched, **{"altered": altered, "back": back, "maybe_back": maybe, **more})

    # --- doing ---------------------------------------------------------------------------

    async def do(self, name: str, user: str | None, tier: str, number: int) -> None:
        """Do one thing, and see what its event says."""
        self.number += 1
        said = await getattr(self, f"_{name}")(user, tier, number)
        newest = self.audit.query_events(limit=1)
        event = newest[0] if newest and newest[0].event_id not in self.named else None
        if said is None:
            assert event is None, (name, event)
            return
        assert event is not None, name
        self.named[event.event_id] = set(event.subjects)
        self.ids_told.update(event.entry_ids)
        facts = event.metadata
        remaining = set(facts.get("derived_remaining", ()))
        touched, maybe = set(map(self.told, said.touched)), set(map(self.told, said.maybe))
        assert touched <= set(event.subjects) <= touched | maybe, name
        found = set(facts.get("resurrected", ()))
        unsure = self.unsure & set(event.entry_ids)
        assert set(facts.get("altered", ())) - unsure == said.altered - unsure, name
        assert said.back - unsure <= found <= said.back | said.maybe_back | unsure, name
        assert remaining - self.unsure == said.remaining - self.unsure, name
        assert not (remaining and event.status == "SUCCESS"), name

    def _entries(self) -> dict[Place, MemoryEntry]:
        return {
            (tier, key): entry
            for tier, adapter in self.adapters.items()
            for key, entry in adapter._storage.items()
        }

    def _pick(self, tier: str, number: int) -> str:
        ids = self.ids(tier) or ["nothing"]
        return ids[number % len(ids)]

    async def _store(self, user: str | None, tier: str, number: int) -> Said:
        key = await self.memory.store(f"tea {self.number}", {"user_id": user}, tier=tier)
        self.records((tier, key), Content(user, f"tea {self.number}"))
        return Said({user} - {None})

    async def _recall(self, user: str | None, tier: str, number: int) -> Said:
        before = self.held()
        tiers = [tier] if number % 3 else list(TIERS)
        chosen = Filter(user_id=user) if user else None
        found = await self.memory.recall(
            "tea", k=2 if number % 2 else 90, filter=chosen, tiers=tiers
        )
        ids = {entry.id for entry in found}
        places = [p for p in before if p[0] in tiers and p[1] in ids]
        if len(tiers) > 1:  # each tier was read as far as the filter and the limit go
            places = [p for p in places if not user or before[p].owner == user]
        returned = {next(p for p in ((t, key) for t in tiers) if p in places) for key in ids}
        said = self.said(self.whose(places, before), places, before)
        said = said._replace(
            touched=self.whose(returned, before),
            altered={p[1] for p in returned if self.is_altered(p, before[p])},
        )
        self.reads(places, before)
        for place in self.held().keys() - before.keys():  # promoted
            self._copied(next(p for p in returned if p[1] == place[1]), place)
        for place in before.keys() - self.held().keys():
            self._dropped(place)
        return said

    async def _export(self, user: str | None, tier: str, number: int) -> Said:
        before = self.held()
        tiers = [tier] if number % 3 else list(TIERS)
        chosen = Filter(user_id=user) if user else None
        data = await self.memory.export(tier if number % 3 else None, filter=chosen)
        self.backup = data["entries"]
        places = [(entry["tier"], entry["id"]) for entry in self.backup]
        assert {p for p in before if p[0] in tiers and user in (None, before[p].owner)} == set(
            places
        )
        said = self.said(self.whose(places, before), places, before)
        self.reads(places, before)
        empty = [t for t in tiers if t not in {at for at, _ in places}]  # the SDK reads all there
        self.sees([p for p in before if p[0] in empty], before)
        return said

    def _to_import(self, user: str | None, tier: str, number: int) -> list[dict[str, Any]]:
        entries = [{**e, "metadata": dict(e["metadata"])} for e in self.backup]
        if number == 0 or not entries:  # of another memory
            moment = "2025-01-15T10:30:45+00:00"
            facts = {"user_id": user, "created_at": moment}
            return [
                {"id": f"other {self.number} {n}", "text": "tea", "metadata": facts, "tier": tier}
                for n in range(2)
            ]
        if number % 4 == 1:
            entries[0]["metadata"]["user_id"] = user
        elif number % 4 == 2:
            entries[0]["text"] = f"other tea {self.number}"
        elif number % 4 == 3:
            entries = [{**e, "tier": tier} for e in entries]
        return list({(e["tier"], e["id"]): e for e in entries}.values())

    async def _import(self, user: str | None, tier: str, number: int) -> Said:
        before, entries = self.held(), self._to_import(user, tier, number)
        overwrite = number != 9
        done = await self.memory.import_from(
            {"version": "1.0", "entries": entries}, overwrite=overwrite
        )
        assert done["errors"] == 0
        saved = [e for e in entries if overwrite or (e["tier"], e["id"]) not in before]
        places = [(e["tier"], e["id"]) for e in saved]
        self.sees([p for p in ((e["tier"], e["id"]) for e in entries) if p in before], before)
        held = self.held()
        for place in places:
            self.records(place, held[place])
        # A copy in another tier is not touched, but an id there is the same person's.
        return Said(self.whose(places, before))

    async def _forget(self, user: str | None, tier: str, number: int) -> Said:
        key = self._pick(tier, number)
        if number == 8 and self.removed:  # once more
            key = self.removed[-1][1].id
        elif number == 7 and self.sources:  # the source of something
            key = next(iter(self.sources.values()))[0]
        return await self._forgotten([key], lambda: self.memory.forget(key))

    async def _route_forget(self, user: str | None, tier: str, number: int) -> Said:
        key = self._pick(tier, number)
        return await self._forgotten([key], lambda: self.memory.router.route_forget(key))

    async def _forget_filter(self, user: str | None, tier: str, number: int) -> Said:
        if user is None:
            every = [key for _, key in self.held()]
            return await self._forgotten(every, lambda: self.memory.forget(everything=True))
        owned = [p[1] for p, content in self.held().items() if content.owner == user]
        places = [p for p, content in self.held().items() if content.owner == user]
        chosen = Filter(user_id=user)
        return await self._forgotten(
            owned, lambda: self.memory.forget(filter=chosen), user, places=places
        )

    async def _forget_derived(self, user: str | None, tier: str, number: int) -> Said:
        key = self._pick(tier, number)
        if number % 2 and self.sources:
            key = next(reversed(self.sources.values()))[0]
        also = {one for one in self.descendants([key]) if self.living(one)}
        said = await self._forgotten(
            [key, *also], lambda: self.memory.forget(key, derived="delete"), asked=[key]
        )
        event = self.audit.query_events(limit=1)[0]
        assert set(event.metadata.get("derived_deleted", ())) == also - {key}
        meant = {self.owners.get(key)}
        of_others = {one for one in also - {key} if not self.behind[one] <= meant}
        if not self.restarted:  # else whose a source was may be unknown
            assert set(event.metadata.get("derived_of_others", ())) == of_others
        return said

    async def _forgotten(
        self,
        keys: list[str],
        forget: Callable[[], Any],
        person: str | None = None,
        asked: list[str] | None = None,
        places: list[Place] | None = None,
    ) -> Said:
        before, entries = self.held(), self._entries()
        if places is None:
            places = [(t, key) for t in TIERS for key in dict.fromkeys(keys) if (t, key) in before]
        missing = set(keys) - {key for _, key in places}
        touched = self.whose(places, before)
        past = {self.owners[key] for key in missing if self.owners.get(key) is not None}
        maybe = frozenset(USERS if self.restarted and missing else ())  # files tell it in part
        ids = {key for _, key in places}  # an id may be in two tiers, and of two persons
        maybe |= {content.owner for place, content in before.items() if place[1] in ids} - touched
        touched |= past - maybe
        for key in missing:
            touched |= self.behind.get(key, set())
        said = self.said(touched, places, before, altered=set())
        self.sees(places if person is None else before, before)
        await forget()
        gone = [p for p in places if p not in self.held()]
        assert gone == places
        self.deletes(gone, entries)
        made = self.descendants(asked or keys)
        if person is not None:
            made |= {key for key, whose in self.behind.items() if person in whose}
        left = {key for key in made if self.living(key)}
        for key in left:  # each was looked for, tier by tier
            held = self.held()
            self.sees([next((t, key) for t in TIERS if (t, key) in held)], held)
        if person is not None and left:
            said.touched.add(person)
        return said._replace(remaining=left, maybe=maybe)

    async def _delete(self, user: str | None, tier: str, number: int) -> Said:
        key, before, entries = self._pick(tier, number), self.held(), self._entries()
        place = (tier, key)
        if place in before and self.is_unread(place):
            self.sees([place], before)
            said = self.said(set(), [place], before, altered=set())
        else:
            said = Said(set())
        await self.adapters[tier].delete(key)
        return self._deleted_directly(said, [place] if place in before else [], key, entries)

    async def _clear(self, user: str | None, tier: str, number: int) -> Said:
        before, entries = self.held(), self._entries()
        places = [p for p in before if p[0] == tier]
        unseen = [p for p in places if self.is_unread(p)]
        self.sees(unseen, before)
        said = self.said(set(), unseen, before, altered=set())
        self.adapters[tier].clear()
        return self._deleted_directly(said, places, None, entries)

    def _deleted_directly(
        self, said: Said, places: list[Place], key: str | None, entries: dict[Place, MemoryEntry]
    ) -> Said:
        keys = [k for _, k in places] or ([key] if key else [])
        owners = {self.seen.get(p) for p in places} or {self.owners.get(k) for k in keys}
        maybe = frozenset(USERS if self.restarted and not places else ())
        if not self.prints:  # then what was only read is read once more
            maybe |= {entries[p].metadata.user_id for p in places}
        touched = {owner for owner in owners if owner is not None} - maybe
        for one in keys:
            touched |= self.behind.get(one, set())
        self.deletes(places, entries)
        gone = [k for _, k in places]
        left = {
            k
            for k in self.descendants(gone)
            if any((t, k) in self.recorded and (t, k) not in self.gone for t in TIERS)
        }
        return said._replace(touched=touched, remaining=left, maybe=maybe)

    async def _get(self, user: str | None, tier: str, number: int) -> None:
        key = self._pick(tier, number)
        if (tier, key) in self.held():
            await self.adapters[tier].get(key)
            self.sees([(tier, key)], self.held())

    async def _sync(self, user: str | None, tier: str, number: int) -> Said:
        source, before, entries = TIERS[tier == TIERS[0]], self.held(), self._entries()
        rule = "source" if number % 2 else "target"
        moves = number > 6
        chosen = Filter(user_id=user) if user else None
        await self.memory.sync(
            source, tier, filter=chosen, delete_source=moves, conflict_resolution=rule
        )
        read = [p for p in before if p[0] == source and user in (None, before[p].owner)]
        saved = [p for p in read if rule == "source" or (tier, p[1]) not in before]
        others = [(tier, p[1]) for p in read if (tier, p[1]) in before]
        touched_places = [*saved, *(p for p in others if (source, p[1]) in saved)]
        said = self.said(self.whose(touched_places, before), touched_places, before)
        said = said._replace(altered={p[1] for p in saved if self.is_altered(p, before[p])})
        self.sees([*read, *others], before)
        for place in saved:
            self._copied(place, (tier, place[1]), before[place])
        if moves:
            for place in saved:
                self._dropped(place, entries.get(place))
        return said

    def _copied(self, place: Place, target: Place, content: Content | None = None) -> None:
        """The SDK copied an entry: what was wrong with it stays wrong."""
        content = content or self.held()[target]
        if place in self.gone:
            self.unsure.add(target[1])
            if target not in self.recorded:
                self.gone.add(target)
                if place in self.moved:
                    self.moved.add(target)
            self.sees([target], {target: content})
        elif self.is_altered(place, content):
            self.recorded.setdefault(target, self.recorded[place])
            self.gone.discard(target)
            self.sees([target], {target: content})
        else:
            self.records(target, content)
            self.recorded[place] = content

    def _dropped(self, place: Place, entry: MemoryEntry | None = None) -> None:
        was_gone = place in self.gone - self.moved
        self.deletes([place], {} if entry is None else {place: entry})
        if not was_gone:
            self.moved.add(place)

    async def _compact(self, user: str | None, tier: str, number: int) -> Said:
        before, entries = self.held(), self._entries()
        # A summary's provenance takes the name of a strategy only.
        with patch("axon.core.compaction_strategies.CountCompactionStrategy", Pairs):
            done = await self.memory.compact(tier, threshold=2, summarizer=Joining())
        assert done["summaries_created"] == done["groups_compacted"]
        after = self.held()
        places = [p for p in before if p[0] == tier and p not in after]
        said = self.said(self.whose(places, before), places, before)
        self.sees(places, before)
        for place in after.keys() - before.keys():
            step = self.adapters[tier]._storage[place[1]].metadata.provenance[0]
            some = self.sources[place[1]] = tuple(step.metadata["summarized_ids"].split(","))
            self.behind[place[1]] = self.whose([(tier, key) for key in some], before)
            self.records(place, after[place])
        self.deletes(places, entries)
        return said

    async def _transaction(self, user: str | None, tier: str, number: int) -> Said:
        before, entries = self.held(), self._entries()
        key = self._pick(tier, number)
        saved = (tier, key if number % 2 and key != "nothing" else f"saved {self.number}")
        doomed = (TIERS[tier == TIERS[0]], self._pick(TIERS[tier == TIERS[0]], number))
        entry = entry_of(user, saved[1], f"tea in one {self.number}")
        async with self.memory.transaction() as transaction:
            coordinator = self.memory._transaction_coordinator
            coordinator.adapters = dict(self.adapters)
            await coordinator.add_operation(transaction, "save", tier, entry=entry)
            await coordinator.add_operation(transaction, "delete", doomed[0], entry_id=doomed[1])
        if doomed in before and self.is_unread(doomed):
            self.sees([doomed], before)
            said = self.said(set(), [doomed], before, altered=set())
        else:
            said = Said(set())
        touched = {user} | self.behind.get(saved[1], set())
        if saved in before and saved[1] in self.owners:
            if self.is_unread(saved):  # then it is read
                self.seen.pop(saved, None)
            touched.add(self.seen.get(saved, before[saved].owner))
        if doomed in before:
            touched |= {self.seen[doomed]} | self.behind.get(doomed[1], set())
        self.records(saved, Content(user, entry.text))
        if doomed in before:
            self.deletes([doomed], entries)
        if saved[1] == doomed[1]:  # it is stored in one tier
            said = said._replace(back=set(), maybe_back=frozenset({saved[1]}))
        return said._replace(touched=touched - {None})

    # --- what leaves no event ------------------------------------------------------------

    async def _restart(self, user: str | None, tier: str, number: int) -> None:
        self.audit.close()
        self.audit = self._make_audit()
        self.restarted = True
        self.owners = {k: user for k, user in self.owners.items() if k in self.ids_told}
        self._renew()

    async def _renew_memory(self, user: str | None, tier: str, number: int) -> None:
        self._renew()

    def _renew(self) -> None:
        for name, adapter in self.adapters.items():
            self.adapters[name] = Adapter()
            self.adapters[name]._storage = adapter._storage
        self.memory = self._make_system(audit_logger=self.audit, **self.adapters)
        self.seen.clear()

    async def _change(self, user: str | None, tier: str, number: int) -> None:
        self._behind_its_back(tier, number, {"text": f"changed tea {self.number}"})

    async def _change_owner(self, user: str | None, tier: str, number: int) -> None:
        self._behind_its_back(tier, number, {}, user)

    def _behind_its_back(
        self, tier: str, number: int, update: dict[str, Any], *owner: str | None
    ) -> None:
        storage = self.adapters[tier]._storage
        if storage:
            key = self._pick(tier, number)
            changed = storage[key].model_copy(update=update, deep=True)
            for user in owner:
                changed.metadata.user_id = user
                if self.erasable:  # another key: noticed only while it is known whose it was
                    self.unsure.add(key)
            storage[key] = changed

    async def _insert(self, user: str | None, tier: str, number: int) -> None:
        key = f"inserted {self.number}"
        self.adapters[tier]._storage[key] = entry_of(user, key, f"inserted tea {self.number}")

    async def _put_back(self, user: str | None, tier: str, number: int) -> None:
        if self.removed:
            tier, entry = self.removed.pop(-1 - number % len(self.removed))
            if self.living(entry.id):
                self.unsure.add(entry.id)
            if entry.id not in self.adapters[tier]._storage:
                self.adapters[tier]._storage[entry.id] = entry.model_copy(deep=True)

    # --- afterwards ----------------------------------------------------------------------

    def check(self) -> None:
        """Each user's events are found, in memory and in files, and no others."""
        recent = {event.event_id for event in history(self.audit)}
        whole = self.audit.query_events(archived=True)
        assert {event.event_id for event in whole} == self.named.keys()
        asked = {event.event_id: event.subject_id for event in whole}
        for user in ("ann", "bob", "cyd"):
            name = self.told(user)
            wanted = {e for e, who in self.named.items() if name in who or asked[e] == name}
            for archived in (False, True):
                found = self.audit.query_events(subject_id=user, archived=archived)
                ids = [event.event_id for event in found]
                assert set(ids) == (wanted if archived else wanted & recent)
                assert len(ids) == len(set(ids))
        self.audit.close()


_OFTEN = ("store", "store", "store", "recall", "recall", "import", "compact", "sync", "export")
_SELDOM = (
    *("forget", "route_forget", "forget_filter", "forget_derived", "delete", "clear", "get"),
    *("transaction", "restart", "renew_memory", "change", "change_owner", "insert", "put_back"),
)
NAMES = (*_OFTEN, *_SELDOM)
