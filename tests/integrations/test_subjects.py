"""Every event names the people whose entries it stored, returned, moved or deleted."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from amounts import examples
from axon import Filter, MemoryEntry, MemorySystem
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, history
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axon_audit_otel import AuditLogger, audit_context

pytestmark = pytest.mark.usefixtures("instrumented", "without_start_record")

USERS = ("ann", "bob", "cyd", None)
TIERS = ("session", "persistent")


def entry_of(user: str | None, entry_id: str, text: str = "tea") -> MemoryEntry:
    return MemoryEntry(id=entry_id, text=text, metadata={"user_id": user})


def last(audit: AuditLogger) -> Any:
    return audit.query_events(limit=1)[0]


class Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return "several"


class World:
    """A memory of two tiers, and whose entries each call must have touched."""

    def __init__(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        self.adapters = {tier: ListingAdapter() for tier in TIERS}
        self.memory: Any = make_system(audit_logger=audit, **self.adapters)
        self.audit = audit
        self.expected: list[set[str]] = []
        self.backup: Any = None

    def held(self) -> dict[tuple[str, str], str | None]:
        """The owner of each entry, by tier and id."""
        return {
            (tier, key): entry.metadata.user_id
            for tier, adapter in self.adapters.items()
            for key, entry in adapter._storage.items()
        }

    async def do(self, name: str, user: str | None, tier: str, number: int) -> None:
        """Do one thing, and see whom its event names."""
        memory, adapter, before = self.memory, self.adapters[tier], self.held()
        ids = sorted(adapter._storage) or ["nothing"]
        key = ids[number % len(ids)]
        chosen = Filter(user_id=user) if user else None
        named: set[str | None] = set()
        if name == "store":
            await memory.store("tea", {"user_id": user}, tier=tier)
        elif name == "recall":
            found = await memory.recall("tea", k=2, filter=chosen, tiers=[tier])
            named = {entry.metadata.user_id for entry in found}
        elif name == "export":
            self.backup = await memory.export(tier, filter=chosen)
            named = {entry["metadata"]["user_id"] for entry in self.backup["entries"]}
        elif name == "import":
            if self.backup is None:
                return
            data = {**self.backup, "entries": [dict(entry) for entry in self.backup["entries"]]}
            for entry in data["entries"][:1]:  # it has another owner now
                entry["metadata"] = {**entry["metadata"], "user_id": user}
            done = await memory.import_from(data, overwrite=True)
            named = {entry["metadata"]["user_id"] for entry in data["entries"]}
            named |= {before.get((e["tier"], e["id"])) for e in data["entries"]}
            assert done["errors"] == 0
        elif name == "forget":
            await memory.forget(key)
            named = {before.get((some, key)) for some in TIERS}
        elif name == "forget by filter":
            await memory.forget(**({"filter": chosen} if chosen else {"everything": True}))
        elif name == "delete":
            await adapter.delete(key)
            named = {before.get((tier, key))}
        elif name == "clear":
            adapter.clear()
        elif name == "sync":
            source = TIERS[tier == TIERS[0]]
            await memory.sync(source, tier, delete_source=bool(number % 2))
            saved = last(self.audit).entry_ids
            named = {before.get((some, one)) for one in saved for some in TIERS}
        else:
            await memory.compact(tier, threshold=2, summarizer=Joining())
        after = self.held()
        changed = before.keys() ^ after.keys()
        named |= {before.get(one, after.get(one)) for one in changed}
        self.expected.append({user for user in named if user is not None})
        assert set(last(self.audit).subjects) == self.expected[-1], name

    def check(self) -> None:
        """Each user's events are found, in memory and in files."""
        events = history(self.audit)
        for user in ("ann", "bob", "cyd"):
            wanted = {
                event.event_id
                for event, who in zip(events, self.expected)
                if user in who or event.subject_id == user
            }
            for archived in (False, True):
                found = self.audit.query_events(subject_id=user, archived=archived)
                assert {event.event_id for event in found} == wanted
                assert len(found) == len(wanted)


STEPS = st.tuples(
    st.sampled_from(
        (
            *("store", "store", "store", "recall", "export", "import", "forget"),
            *("forget by filter", "delete", "clear", "sync", "compact"),
        )
    ),
    st.sampled_from(USERS),
    st.sampled_from(TIERS),
    st.integers(0, 9),
)


@settings(
    max_examples=examples(40),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(STEPS, min_size=5, max_size=25), acting=st.sampled_from(("root", None)))
def test_any_sequence(
    make_audit: Make,
    make_system: MakeSystem,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[Any],
    acting: str | None,
) -> None:
    """Whatever is called, by whom, each event names the owners, and is found by each of them."""
    audit = make_audit(100, tmp_path_factory.mktemp("some") / "logs")
    world = World(make_system, audit)

    async def run() -> None:
        for step in steps:
            await world.do(*step)

    if acting is None:
        asyncio.run(run())
    else:
        with audit_context(user_id=acting):
            asyncio.run(run())
    assert len(world.expected) == len(history(audit))
    world.check()
    audit.close()


class TestDeletedUnread:
    """The owner of an entry that is deleted by its id is known from before."""

    @pytest.mark.parametrize("how", ["save", "get", "query"])
    async def test_seen_by_the_adapter_alone(
        self, make_system: MakeSystem, audit: AuditLogger, how: str
    ) -> None:
        """Calls on an adapter, outside of any operation, are seen."""
        adapter = ListingAdapter()
        memory: MemorySystem = make_system(persistent=adapter)
        entry = entry_of("bob", "e1")
        if how == "save":
            await adapter.save(entry)
        else:
            adapter._storage["e1"] = entry
            await (adapter.get("e1") if how == "get" else adapter.query("tea"))
        await adapter.delete("e1")
        assert last(audit).subjects == ("bob",)
        assert memory is not None

    async def test_never_seen(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """An entry that was never seen is read first; if that fails, nobody is named."""
        broken, adapter = FaultyAdapter(get=OSError("read")), ListingAdapter()
        make_system(persistent=broken)
        make_system(persistent=adapter)
        for one, owners in ((broken, ()), (adapter, ("bob",))):
            one._storage["e1"] = entry_of("bob", "e1")
            await one.delete("e1")
            event = last(audit)
            assert (event.entry_ids, event.subjects, event.status) == (["e1"], owners, "SUCCESS")

    async def test_in_another_memory(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """Two memories may have an entry of the same id."""
        one, other = ListingAdapter(), ListingAdapter()
        systems = [make_system(persistent=one), make_system(persistent=other)]
        await one.save(entry_of("ann", "e1"))
        await other.save(entry_of("bob", "e1"))
        for adapter, owner in ((one, "ann"), (other, "bob")):
            await adapter.delete("e1")
            assert last(audit).subjects == (owner,)
        assert len(systems) == 2


class TestOddities:
    async def test_entries_of_another_shape(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """An adapter may give anything: the call works, and nothing of ours fails."""

        class Odd(ListingAdapter):
            async def query(self, *args: Any, **kwargs: Any) -> Any:
                return (one for one in await super().query(*args, **kwargs))

        memory: Any = make_system(persistent=Odd())
        await memory.store("tea", {"user_id": "bob"})
        assert len(await memory.recall("tea")) == 1
        assert sum(audit.get_statistics()["failures"].values()) == 0

    async def test_failures_name_nobody(
        self, make_system: MakeSystem, audit: AuditLogger, tmp_path: Path
    ) -> None:
        """What was not stored is nobody's."""
        memory: Any = make_system(persistent=FaultyAdapter(save=OSError("full")))
        with pytest.raises(OSError, match="full"):
            await memory.store("tea", {"user_id": "bob"})
        assert (last(audit).user_id, last(audit).subjects) == ("bob", ())
