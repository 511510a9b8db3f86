"""Nothing deletes unseen: `forget`, and every delete that reaches a storage adapter."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import inspect
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from axon import Filter, MemoryEntry, MemorySystem
from axon.adapters.base import StorageAdapter
from axon.adapters.memory import InMemoryAdapter
from axon.core.adapter_registry import AdapterRegistry
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, history, only_event

from axon_audit_otel import AuditLogger, AxonInstrumentor, EventStatus, OperationType

pytestmark = pytest.mark.usefixtures("instrumented")

SUCCESS, FAILURE, PARTIAL = EventStatus.SUCCESS, EventStatus.FAILURE, EventStatus.PARTIAL


async def store_owned(memory: Any, user: str, *texts: str, tier: str = "persistent") -> list[str]:
    return [await memory.store(text, {"user_id": user}, tier=tier) for text in texts]


async def adapter_of(memory: MemorySystem, tier: str = "persistent") -> Any:
    return await memory.registry.get_adapter(tier)


def forgotten(audit: AuditLogger) -> Any:
    return only_event(audit, operation="FORGET")


class LyingAdapter(ListingAdapter):
    """Says that it deleted, and did not."""

    async def delete(self, id: str) -> bool:
        return True


class CappedAdapter(FaultyAdapter):
    """Lists and finds a hundred entries unless told to give more, as the SDK's Pinecone
    adapter does; `most` is what it gives at all."""

    most = 10_000

    async def query(self, embedding: Any, filter: Any = None, limit: int = 10) -> Any:  # type: ignore[override]
        self._fault("query")
        if limit > 10_000:
            raise ValueError("top_k")
        chosen = [e for e in self._storage.values() if filter is None or filter.matches(e)]
        return chosen[: min(limit, self.most)]

    async def list_ids_async(self, limit: int = 100) -> list[str]:
        return list(self._storage)[: min(limit, self.most)]

    async def count_async(self) -> int:
        return len(self._storage)

    async def clear_async(self) -> None:
        self._storage.clear()


class TestListingWithAnEnd:
    """Adapters that list no more than so many entries."""

    @pytest.mark.parametrize("most", [10_000, 50])
    @pytest.mark.parametrize("faults", [{}, {"query": TypeError("no such query")}])
    async def test_all_that_a_filter_selects(
        self, make_system: MakeSystem, audit: AuditLogger, most: int, faults: Any
    ) -> None:
        """All are deleted, whatever the default of the list is, and however often it has to
        be asked."""
        adapter = CappedAdapter()
        memory: Any = make_system(persistent=adapter)
        ids = await store_owned(memory, "ada", *map(str, range(120)))
        adapter.most, adapter.faults = most, faults
        assert await memory.forget(filter=Filter(user_id="ada")) == 120
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, ids)
        assert adapter.count() == 0

    async def test_some_behind_its_end(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """Entries of others fill the list, and nobody knows the rest: PARTIAL."""
        adapter = CappedAdapter()
        memory: Any = make_system(persistent=adapter)
        await store_owned(memory, "bob", *map(str, range(60)))
        await store_owned(memory, "ada", "tea")
        adapter.most, adapter.faults = 50, {"query": TypeError("no such query")}
        for call in (memory.forget, memory.router.route_forget):
            assert await call(filter=Filter(user_id="ada")) == 0
            event = audit.query_events(operation="FORGET")[0]
            assert (event.status, event.error_type) == (PARTIAL, "entries_not_listed")
            assert (event.metadata["deleted"], event.metadata["unlisted"]) == (0, 11)

    async def test_clear(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A `clear` names all; those that it cannot name it counts."""
        adapter = CappedAdapter()
        memory: Any = make_system(persistent=adapter)
        for most, unlisted in ((10_000, None), (50, 70)):
            ids = await store_owned(memory, "ada", *map(str, range(120)))
            adapter.most = most
            await adapter.clear_async()
            event = audit.query_events(operation="FORGET")[0]
            assert (event.status, event.entry_ids) == (SUCCESS, ids[:most])
            assert (event.metadata["deleted"], event.metadata.get("unlisted")) == (120, unlisted)

    async def test_clear_that_does_not_wait(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A synchronous `clear` is recorded, too."""

        class Short(ListingAdapter):
            def list_ids(self, limit: int = 1) -> list[str]:
                return super().list_ids()[: min(limit, 2)]

        memory: Any = make_system(persistent=Short())
        ids = await store_owned(memory, "ada", "tea", "coffee", "milk")
        (await adapter_of(memory)).clear()
        event = forgotten(audit)
        assert event.entry_ids == ids[:2]
        assert (event.metadata["deleted"], event.metadata["unlisted"]) == (3, 1)

    async def test_adapter_that_cannot_count(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """Without a number to compare with, what is listed is all there is."""

        class Uncounted(ListingAdapter):
            def count(self) -> int:
                raise NotImplementedError

        memory: Any = make_system(persistent=Uncounted())
        await store_owned(memory, "ada", "tea")
        assert await memory.forget(filter=Filter(user_id="ada")) == 1
        (await adapter_of(memory)).clear()
        assert {event.status for event in audit.query_events(operation="FORGET")} == {SUCCESS}


class TestForget:
    async def test_by_id(self, memory: Any, audit: AuditLogger) -> None:
        """The entry is gone, and the event says so."""
        entry_id, other = await memory.store("tea"), await memory.store("coffee")
        assert await memory.forget(entry_id) == 1
        assert (await adapter_of(memory)).list_ids() == [other]
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])
        assert event.metadata == {"has_filter": False, "deleted": 1, "remaining": 0}

    async def test_statistics_of_the_sdk(self, memory: Any) -> None:
        """The SDK's own counters know of it."""
        await memory.forget(await memory.store("tea"))
        assert memory.get_statistics()["total_operations"]["forgets"] == 1

    async def test_what_is_not_there(self, memory: Any, audit: AuditLogger) -> None:
        """Forgetting what was never there succeeds, and deletes nothing."""
        assert await memory.forget("nothing") == 0
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, ["nothing"])
        assert event.metadata["deleted"] == 0

    async def test_by_filter(self, memory: Any, audit: AuditLogger) -> None:
        """All that the filter selects are gone, in one event; others stay."""
        ids = await store_owned(memory, "ada", "tea", "coffee")
        (other,) = await store_owned(memory, "bob", "milk")
        assert await memory.forget(filter=Filter(user_id="ada")) == 2
        assert (await adapter_of(memory)).list_ids() == [other]
        event = forgotten(audit)
        assert (event.status, event.entry_ids, event.user_id) == (SUCCESS, ids, "ada")
        assert event.metadata == {"has_filter": True, "deleted": 2, "remaining": 0}

    async def test_filter_that_matches_nothing(self, memory: Any, audit: AuditLogger) -> None:
        """A filter without matches deletes nothing and succeeds."""
        entry_id = await memory.store("tea")
        assert await memory.forget(filter=Filter(user_id="nobody")) == 0
        assert (await adapter_of(memory)).list_ids() == [entry_id]
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, [])

    async def test_every_tier(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """Without `tier` every tier is searched, and copies in several tiers all go."""
        memory: Any = make_system(session=ListingAdapter())
        (entry_id,) = await store_owned(memory, "ada", "tea", tier="session")
        await memory.sync("session", "persistent")
        assert await memory.forget(entry_id) == 1
        assert (
            (await adapter_of(memory)).count() == (await adapter_of(memory, "session")).count() == 0
        )
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])

    async def test_one_tier(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """With `tier` the others are left alone."""
        memory: Any = make_system(session=ListingAdapter())
        (entry_id,) = await store_owned(memory, "ada", "tea", tier="session")
        await memory.sync("session", "persistent")
        assert await memory.forget(entry_id, tier="session") == 1
        assert (await adapter_of(memory)).list_ids() == [entry_id]
        assert forgotten(audit).metadata["tier"] == "session"

    @pytest.mark.parametrize(
        "arguments", [{}, {"entry_id": "a", "filter": Filter()}, {"entry_id": "a", "tier": "x"}]
    )
    async def test_refused(
        self, memory: Any, audit: AuditLogger, arguments: dict[str, Any]
    ) -> None:
        """Neither, both, or a tier that does not exist: refused, and that is a FAILURE."""
        with pytest.raises(ValueError):  # noqa: PT011 - three messages
            await memory.forget(**arguments)
        assert forgotten(audit).status is FAILURE

    async def test_concurrent(self, memory: Any, audit: AuditLogger) -> None:
        """Two that forget the same entry: it goes once, both are recorded."""
        entry_id = await memory.store("tea")
        await asyncio.gather(memory.forget(entry_id), memory.forget(entry_id))
        events = history(audit, operation="FORGET")
        assert [event.metadata["deleted"] for event in events].count(1) >= 1
        assert len(events) == 2


class TestForgetTellsTheTruth:
    async def test_adapter_that_lies(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """`delete` said True, the entry is still there: FAILURE, and 0 deleted."""
        memory: Any = make_system(persistent=LyingAdapter())
        entry_id = await memory.store("tea")
        assert await memory.forget(entry_id) == 0
        event = forgotten(audit)
        assert (event.status, event.error_type) == (FAILURE, "entry_still_present")
        assert event.entry_ids == [entry_id]
        assert event.metadata == {"has_filter": False, "deleted": 0, "remaining": 1}

    async def test_some_remain(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """One of two is still there: PARTIAL, and it says which."""

        class Half(ListingAdapter):
            async def delete(self, id: str) -> bool:
                return id == stubborn or await super().delete(id)

        memory: Any = make_system(persistent=Half())
        stubborn, easy = await store_owned(memory, "ada", "tea", "coffee")
        assert await memory.forget(filter=Filter(user_id="ada")) == 1
        event = forgotten(audit)
        assert (event.status, event.error_type) == (PARTIAL, "entry_still_present")
        assert event.entry_ids == [stubborn, easy]
        assert event.metadata["remaining_ids"] == [stubborn]
        assert (event.metadata["deleted"], event.metadata["remaining"]) == (1, 1)

    async def test_answer_that_does_not_count(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """`delete` said False, the entry is gone: it was deleted."""

        class Modest(ListingAdapter):
            async def delete(self, id: str) -> bool:
                await super().delete(id)
                return False

        class Opaque(ListingAdapter):  # without super()
            async def delete(self, id: str) -> bool:
                self._storage.pop(id, None)
                return False

        for adapter in (Modest(), Opaque()):
            memory: Any = make_system(persistent=adapter)
            entry_id = await memory.store("tea")
            assert await memory.forget(entry_id) == 1
            event = history(audit, operation="FORGET")[-1]
            assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])
            assert event.metadata["deleted"] == 1

    async def test_adapter_that_raises(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """`delete` raises: that very exception, FAILURE, and the entry is said to remain."""
        error = ConnectionResetError("lost")
        memory: Any = make_system(persistent=FaultyAdapter(delete=error))
        entry_id = await memory.store("tea")
        with pytest.raises(ConnectionResetError) as caught:
            await memory.forget(entry_id)
        assert caught.value is error
        event = forgotten(audit)
        assert (event.status, event.error_type) == (FAILURE, "ConnectionResetError")
        assert event.entry_ids == [entry_id]
        assert (event.metadata["deleted"], event.metadata["remaining"]) == (0, 1)

    async def test_deleted_and_then_raised(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A connection lost after the delete: the entry is gone, and is not said to remain."""

        class Lossy(ListingAdapter):
            async def delete(self, id: str) -> bool:
                self._storage.pop(id, None)
                raise ConnectionResetError("lost")

        memory: Any = make_system(persistent=Lossy())
        entry_id = await memory.store("tea")
        with pytest.raises(ConnectionResetError):
            await memory.forget(entry_id)
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (PARTIAL, [entry_id])
        assert (event.metadata["deleted"], event.metadata["remaining"]) == (1, 0)

    async def test_one_of_two_tiers_raises(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """The other tier is still tried; memory has changed: PARTIAL, 1 remains, and it raises."""
        error = OSError("down")
        broken = FaultyAdapter(delete=error)
        memory: Any = make_system(session=broken, persistent=ListingAdapter())
        (entry_id,) = await store_owned(memory, "ada", "tea", tier="session")
        await memory.sync("session", "persistent")
        with pytest.raises(OSError, match="down") as caught:
            await memory.forget(entry_id)
        assert caught.value is error
        assert (await adapter_of(memory)).list_ids() == []
        event = forgotten(audit)
        assert (event.status, event.error_type) == (PARTIAL, "OSError")
        assert event.entry_ids == [entry_id]
        assert event.metadata["remaining"] == 1

    async def test_one_tier_lies_and_one_raises(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """Nothing was deleted anywhere, whatever `delete` said: FAILURE, not PARTIAL."""
        memory: Any = make_system(
            session=LyingAdapter(), persistent=FaultyAdapter(delete=OSError("down"))
        )
        (entry_id,) = await store_owned(memory, "ada", "tea", tier="session")
        await memory.sync("session", "persistent")
        with pytest.raises(OSError, match="down"):
            await memory.forget(entry_id)
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (FAILURE, [entry_id])

    async def test_cannot_look(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A tier that cannot be asked is no success: its exception is raised."""
        memory: Any = make_system(persistent=FaultyAdapter(get=OSError("down")))
        with pytest.raises(OSError, match="down"):
            await memory.forget("a")
        assert forgotten(audit).status is FAILURE

    async def test_hidden_by_the_listing(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """An entry that only `query` finds is selected by a filter too.

        (The SDK's Redis adapter lists an id that has a colon in it by its last part.)
        """

        class Cutting(ListingAdapter):
            def list_ids(self) -> list[str]:
                return [key.split(":")[-1] for key in super().list_ids()]

        memory: Any = make_system(persistent=Cutting())
        owned = {"created_at": "2025-01-15T10:30:45", "user_id": "ada"}
        entry = {"id": "ada:1", "text": "tea", "metadata": owned}
        await memory.import_from({"version": "1.0", "entries": [entry]})
        assert await memory.forget(filter=Filter(user_id="ada")) == 1
        assert (await adapter_of(memory)).count() == 0

    async def test_server_that_lists_nothing(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A store that is down and lists nothing (the SDK's Qdrant adapter): it raises."""

        class Qdrantish(FaultyAdapter):
            async def list_ids_async(self) -> list[str]:
                return [] if "query" in self.faults else super().list_ids()

        adapter = Qdrantish()
        memory: Any = make_system(persistent=adapter)
        await store_owned(memory, "ada", "tea")
        adapter.faults["query"] = ConnectionResetError("down")
        with pytest.raises(ConnectionResetError):
            await memory.forget(filter=Filter(user_id="ada"))
        assert forgotten(audit).status is FAILURE


class TestRouteForget:
    """The SDK's own `Router.route_forget` deletes nothing, says 0 and raises nothing."""

    async def test_entry_that_is_there(self, memory: Any, audit: AuditLogger) -> None:
        """It is still there afterwards: FAILURE."""
        entry_id = await memory.store("tea")
        assert await memory.router.route_forget(entry_id) == 0
        event = forgotten(audit)
        assert (event.status, event.error_type) == (FAILURE, "entry_still_present")
        assert (event.entry_ids, event.metadata["remaining"]) == ([entry_id], 1)

    async def test_entry_that_is_not_there(self, memory: Any, audit: AuditLogger) -> None:
        """Nothing was there, nothing is: SUCCESS."""
        assert await memory.router.route_forget("nothing") == 0
        event = forgotten(audit)
        assert (event.status, event.error_type) == (SUCCESS, None)
        assert event.metadata["deleted"] == 0

    async def test_by_filter(self, memory: Any, audit: AuditLogger) -> None:
        """All that the filter selects are still there: FAILURE, with their ids."""
        ids = await store_owned(memory, "ada", "tea", "coffee")
        await memory.router.route_forget(filter=Filter(user_id="ada"))
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (FAILURE, ids)

    async def test_refused(self, memory: Any, audit: AuditLogger) -> None:
        """Neither id nor filter: the SDK's ValueError, FAILURE."""
        with pytest.raises(ValueError, match="entry_id or filter"):
            await memory.router.route_forget()
        assert forgotten(audit).status is FAILURE

    async def test_adapter_that_it_works_with(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """An adapter with the signature that it calls: deleted, with the ids as far as known."""

        class Matching(ListingAdapter):
            async def delete(self, entry_id: Any = None, filter: Any = None) -> Any:
                entries = list(self._storage.values())
                ids = [entry_id] if filter is None else [e.id for e in entries if filter.matches(e)]
                return sum(self._storage.pop(key, None) is not None for key in ids)

        memory: Any = make_system(persistent=Matching())
        first, *_ = await store_owned(memory, "ada", "tea", "coffee", "milk")
        assert await memory.router.route_forget(first) == 1
        assert await memory.router.route_forget(filter=Filter(user_id="ada")) == 2
        by_id, by_filter = history(audit, operation="FORGET")
        assert (by_id.status, by_id.entry_ids) == (SUCCESS, [first])
        assert by_id.metadata["deleted"] == 1
        assert by_filter.status is SUCCESS
        assert not any(key.startswith("[") for key in by_filter.entry_ids)
        assert by_filter.metadata["deleted"] == 2

    async def test_tier_that_is_down(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """It swallows every error; when nothing could be looked at, that is a FAILURE."""
        down = OSError("down")
        memory: Any = make_system(persistent=FaultyAdapter(delete=down, get=down, query=down))
        assert await memory.router.route_forget("a") == 0
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (FAILURE, ["a"])

    async def test_adapter_that_cannot_be_had(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A tier whose adapter does not start is reported, too."""
        memory: Any = make_system(persistent=FaultyAdapter(initialize=OSError("down")))
        assert await memory.router.route_forget("a") == 0
        assert forgotten(audit).status is FAILURE


# --- deletes from anywhere else ---------------------------------------------------------


class EarlyAdapter(StorageAdapter):
    """Defined before `instrument`; shares no code with the SDK's adapters."""

    def __init__(self) -> None:
        self.kept: dict[str, MemoryEntry] = {}

    async def save(self, entry: MemoryEntry) -> str:
        self.kept[entry.id] = entry
        return entry.id

    async def query(self, vector: Any, k: int = 5, filter: Any = None) -> list[MemoryEntry]:
        return list(self.kept.values())[:k]

    async def get(self, id: str) -> MemoryEntry:
        return self.kept[id]

    async def delete(self, id: str) -> bool:
        return self.kept.pop(id, None) is not None

    async def bulk_save(self, entries: list[MemoryEntry]) -> list[str]:
        return [await self.save(entry) for entry in entries]

    async def reindex(self) -> None:
        pass


class Chained(ListingAdapter):
    async def delete(self, id: str) -> bool:
        return await super().delete(id)


class TwiceChained(Chained):
    async def delete(self, id: str) -> bool:
        return await super().delete(id)


def timed(method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A decorator that many have: a plain function that returns the awaitable."""

    @functools.wraps(method)
    def wrapper(*args: Any, **kwargs: Any) -> Awaitable[Any]:
        return method(*args, **kwargs)

    return wrapper


class Decorated(ListingAdapter):
    @timed
    async def delete(self, id: str) -> bool:
        return self._storage.pop(id, None) is not None


class Delegating(EarlyAdapter):
    """Hands everything on to another adapter; its `delete` is no coroutine function."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = ListingAdapter()

    async def save(self, entry: MemoryEntry) -> str:
        return await self.inner.save(entry)

    def delete(self, id: str) -> Awaitable[bool]:  # type: ignore[override]
        return self.inner.delete(id)


@dataclass
class Unhashable(ListingAdapter):
    """A dataclass compares by value, and so has no hash."""

    size: int = 0

    def __post_init__(self) -> None:
        super().__init__()


def late() -> StorageAdapter:
    class LateAdapter(EarlyAdapter):
        """Defined after `instrument`, with a `delete` of its own."""

        async def delete(self, id: str) -> bool:
            return self.kept.pop(id, None) is not None

    return LateAdapter()


ADAPTERS: dict[str, Callable[[], StorageAdapter]] = {
    "the SDK's": InMemoryAdapter,
    "early": EarlyAdapter,
    "late": late,
    "chained": Chained,
    "twice chained": TwiceChained,
    "decorated": Decorated,
    "delegating": Delegating,
    "unhashable": Unhashable,
}


class TestDirectDelete:
    @pytest.mark.parametrize("kind", ADAPTERS)
    async def test_one_event(self, make_system: MakeSystem, audit: AuditLogger, kind: str) -> None:
        """A delete past the system is one FORGET event, on any adapter that a system uses."""
        memory = make_system(persistent=ADAPTERS[kind]())
        entry_id = await memory.store("tea")
        adapter = await adapter_of(memory)
        assert await adapter.delete(entry_id) is True
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])
        assert event.metadata == {"deleted": 1, "source": "adapter"}

    @pytest.mark.parametrize("kind", ADAPTERS)
    async def test_without_a_system(self, audit: AuditLogger, kind: str) -> None:
        """It is recorded on an adapter that no system has used yet, too."""
        adapter = ADAPTERS[kind]()
        await adapter.save(MemoryEntry(id="a", text="tea"))
        assert await adapter.delete("a") is True
        assert forgotten(audit).entry_ids == ["a"]

    async def test_by_keyword(self, memory: Any, audit: AuditLogger) -> None:
        """The id is found by keyword as well."""
        entry_id = await memory.store("tea")
        await (await adapter_of(memory)).delete(id=entry_id)
        assert forgotten(audit).entry_ids == [entry_id]

    @pytest.mark.parametrize("kind", ADAPTERS)
    async def test_nothing_there(
        self, make_system: MakeSystem, audit: AuditLogger, kind: str
    ) -> None:
        """The attempt is recorded; nothing was deleted."""
        adapter = await adapter_of(make_system(persistent=ADAPTERS[kind]()))
        assert await adapter.delete("nothing") is False
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, ["nothing"])
        assert event.metadata["deleted"] == 0

    async def test_failure(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A delete that raises is a FAILURE that names the entry; the same object is raised."""
        error = OSError("down")
        memory = make_system(persistent=FaultyAdapter(delete=error))
        adapter = await adapter_of(memory)
        with pytest.raises(OSError, match="down") as caught:
            await adapter.delete("a")
        assert caught.value is error
        event = forgotten(audit)
        assert (event.status, event.error_type) == (FAILURE, "OSError")
        assert event.entry_ids == ["a"]

    def test_synchronous(self, memory: Any, audit: AuditLogger) -> None:
        """`delete_sync` is one event too."""
        entry_id = asyncio.run(memory.store("tea"))
        adapter = asyncio.run(adapter_of(memory))
        assert adapter.delete_sync(entry_id) is True
        assert forgotten(audit).entry_ids == [entry_id]

    async def test_clear(self, memory: Any, audit: AuditLogger) -> None:
        """`clear` is one event with every entry that it deleted."""
        ids = [await memory.store("tea"), await memory.store("coffee")]
        (await adapter_of(memory)).clear()
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, ids)
        assert event.metadata == {"deleted": 2, "cleared": True, "source": "adapter"}

    async def test_failed_clear(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A `clear` that raises is a FAILURE that claims no deletion."""

        class Full(ListingAdapter):
            def clear(self) -> None:
                raise PermissionError("read only")

        memory = make_system(persistent=Full())
        entry_id = await memory.store("tea")
        adapter = await adapter_of(memory)
        with pytest.raises(PermissionError):
            adapter.clear()
        event = forgotten(audit)
        assert (event.status, event.entry_ids) == (FAILURE, [entry_id])
        assert event.metadata.get("deleted", 0) == 0

    async def test_bulk_save(self, memory: Any, audit: AuditLogger) -> None:
        """Entries saved past the system are one BULK_STORE event."""
        entries = [MemoryEntry(id=key, text="tea") for key in "ab"]
        await (await adapter_of(memory)).bulk_save(entries)
        event = only_event(audit)
        assert (event.operation, event.entry_ids) == (OperationType.BULK_STORE, ["a", "b"])

    async def test_reindex(self, memory: Any, audit: AuditLogger) -> None:
        """A reindexing is a REINDEX event."""
        await (await adapter_of(memory)).reindex()
        assert only_event(audit).operation is OperationType.REINDEX

    async def test_reads_and_single_saves(self, memory: Any, audit: AuditLogger) -> None:
        """Reading from an adapter, and saving one entry, are no events."""
        adapter = await adapter_of(memory)
        await adapter.save(MemoryEntry(id="a", text="tea"))
        await adapter.get("a")
        await adapter.query("tea")
        adapter.list_ids()
        assert audit.event_count == 0

    async def test_subclass_with_a_forget_of_its_own(self, config: Any, audit: AuditLogger) -> None:
        """A system that brings its own `forget` is left alone; its deletes are seen."""

        class Own(MemorySystem):
            async def forget(self, key: str) -> str:
                await (await self.registry.get_adapter("persistent")).delete(key)
                return "done"

        memory = Own(config)
        entry_id = await memory.store("tea")
        assert await memory.forget(entry_id) == "done"
        assert forgotten(audit).entry_ids == [entry_id]

    async def test_registered_later(self, config: Any, audit: AuditLogger) -> None:
        """An adapter that is registered after the system was made is watched."""
        registry = AdapterRegistry()
        registry.register("persistent", "memory", adapter_instance=InMemoryAdapter())
        memory = MemorySystem(config, registry=registry)
        replacement = late()
        registry.register("persistent", "memory", adapter_instance=replacement)
        entry_id = await memory.store("tea")
        await replacement.delete(entry_id)
        assert forgotten(audit).entry_ids == [entry_id]

    async def test_duck_typed(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """An adapter that derives from nothing is watched once a system has it."""

        class Duck:
            def __init__(self) -> None:
                self.kept: dict[str, MemoryEntry] = {}

            async def save(self, entry: MemoryEntry) -> str:
                self.kept[entry.id] = entry
                return entry.id

            async def delete(self, id: str) -> bool:
                return self.kept.pop(id, None) is not None

        duck = Duck()
        entry_id = await make_system(persistent=duck).store("tea")
        await duck.delete(entry_id)
        assert forgotten(audit).entry_ids == [entry_id]


class TestLeavesAdaptersAsTheyAre:
    """An adapter's class works as before when it is watched."""

    async def test_plain_functions(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A method that is no coroutine function returns its result, not something to await."""

        class Plain(ListingAdapter):
            def reindex(self) -> int:
                return 7

            def delete(self, id: str) -> bool:
                return self._storage.pop(id, None) is not None

        adapter = Plain()
        memory = make_system(persistent=adapter)
        entry_id = await memory.store("tea")
        results = [adapter.reindex(), adapter.delete(entry_id)]
        for result in results:
            if inspect.iscoroutine(result):
                result.close()  # Python would warn, in another test
        assert results == [7, True]
        assert [(e.operation.value, e.entry_ids) for e in history(audit)[1:]] == [
            ("REINDEX", []),
            ("FORGET", [entry_id]),
        ]

    async def test_task(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A method that returns a task returns that task; what it does is seen when it is done."""
        tasks: list[asyncio.Task[bool]] = []

        class Eager(ListingAdapter):
            def delete(self, id: str) -> asyncio.Task[bool]:
                tasks.append(asyncio.create_task(super().delete(id)))
                return tasks[-1]

        adapter = Eager()
        memory: Any = make_system(persistent=adapter)
        first, second = await memory.store("one"), await memory.store("two")
        returned: Any = adapter.delete(first)  # and is never awaited
        assert await tasks[0] is True
        same = returned is tasks[0]
        if inspect.iscoroutine(returned):
            returned.close()  # Python would warn, in another test
        assert same
        assert await memory.forget(second) == 1
        assert [e.entry_ids for e in history(audit, operation="FORGET")] == [[first], [second]]

    def test_subclass_hooks(self) -> None:
        """`__init_subclass__` of an adapter's other bases is called, with its arguments."""
        seen: dict[str, str] = {}

        class Named:
            def __init_subclass__(cls, /, label: str = "", **kwargs: Any) -> None:
                super().__init_subclass__(**kwargs)
                seen[cls.__name__] = label

        class First(EarlyAdapter, Named, label="one"):
            pass

        class Second(StorageAdapter, Named, label="two"):
            pass

        class Third(First, label="three"):
            pass

        assert seen == {"First": "one", "Second": "two", "Third": "three"}

    async def test_stand_in(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """An adapter behind an object that passes everything on works and is seen."""

        class StandIn:
            def __init__(self, adapter: Any) -> None:
                self._adapter = adapter

            def __getattr__(self, name: str) -> Any:
                return getattr(self._adapter, name)

        memory: Any = make_system(persistent=StandIn(ListingAdapter()))
        entry_id = await memory.store("tea")
        await memory.recall("tea")
        await memory.forget(entry_id)
        assert [(e.status, e.entry_ids) for e in history(audit)] == [(SUCCESS, [entry_id])] * 3

    async def test_made_before(
        self, make_system: MakeSystem, instrumented: AxonInstrumentor, audit: AuditLogger
    ) -> None:
        """A system made and used before `instrument`, on an adapter that derives from nothing."""
        instrumented.uninstrument()

        class Duck:
            async def query(self, vector: Any, k: int = 5, filter: Any = None) -> list[Any]:
                return []

        memory = make_system(persistent=Duck())
        await memory.recall("tea")
        instrumented.instrument(audit_logger=audit)
        await memory.recall("tea")
        assert only_event(audit).status is SUCCESS


class TestWhoseTrail:
    async def test_the_systems_own(
        self, make_system: MakeSystem, make_audit: Make, audit: AuditLogger
    ) -> None:
        """A delete on an adapter goes to the trail of the system that the adapter belongs to."""
        own = make_audit(name="own")
        memory = make_system(audit_logger=own)
        entry_id = await memory.store("tea")
        await (await adapter_of(memory)).delete(entry_id)
        assert [e.operation.value for e in history(own)] == ["STORE", "FORGET"]
        assert audit.event_count == 0

    async def test_route_forget(
        self, make_system: MakeSystem, make_audit: Make, audit: AuditLogger
    ) -> None:
        """So does `Router.route_forget`."""
        own = make_audit(name="own")
        memory = make_system(audit_logger=own)
        await memory.router.route_forget("nothing")
        assert (own.event_count, audit.event_count) == (1, 0)

    async def test_unhashable(
        self, make_system: MakeSystem, make_audit: Make, audit: AuditLogger
    ) -> None:
        """Also where the adapter has no hash."""
        own = make_audit(name="own")
        memory = make_system(audit_logger=own, persistent=Unhashable())
        entry_id = await memory.store("tea")
        await (await adapter_of(memory)).delete(entry_id)
        assert (own.event_count, audit.event_count) == (2, 0)

    async def test_without_instrument(
        self,
        make_system: MakeSystem,
        make_audit: Make,
        instrumented: AxonInstrumentor,
    ) -> None:
        """`MemorySystem(audit_logger=...)` alone sees the deletes on its adapters."""
        instrumented.uninstrument()
        own = make_audit(name="own")
        memory = make_system(audit_logger=own)
        entry_id = await memory.store("tea")
        await (await adapter_of(memory)).delete(entry_id)
        assert forgotten(own).entry_ids == [entry_id]


def _identities(cls: type) -> dict[str, int]:
    """The attributes of a class by identity, since a wrapper is equal to its function."""
    return {name: id(value) for name, value in vars(cls).items() if not name.startswith("_abc")}


class TestUninstrument:
    def test_restores_every_adapter_class(self, instrumented: AxonInstrumentor) -> None:
        """Every class is as it was, member by member (a wrapper is equal to what it wraps)."""
        classes = [StorageAdapter, InMemoryAdapter, EarlyAdapter, Chained, TwiceChained, Decorated]
        wrapped = [vars(cls)["delete"] for cls in classes[1:]]
        instrumented.uninstrument()
        before = [dict(vars(cls)) for cls in classes]
        assert not any(was is now["delete"] for was, now in zip(wrapped, before[1:]))
        instrumented.instrument()
        instrumented.uninstrument()
        for cls, members in zip(classes, before):
            assert vars(cls).keys() == members.keys()
            assert [name for name in members if vars(cls)[name] is not members[name]] == []

    async def test_silences_taken_references(
        self, memory: Any, audit: AuditLogger, instrumented: AxonInstrumentor
    ) -> None:
        """A bound `delete` taken earlier deletes, and is recorded no more."""
        entry_id = await memory.store("tea")
        delete = (await adapter_of(memory)).delete
        instrumented.uninstrument()
        assert await delete(entry_id) is True
        assert audit.query_events(operation="FORGET") == []


# --- the SDK's vector stores, where they are installed ----------------------------------


def require(module: str) -> None:
    """Skip without *module*; in CI that is a failure."""
    if importlib.util.find_spec(module) is None:
        reason = f"{module} is not installed: python3 dev.py all installs it"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)


class OneHot:
    """Embeds a text as one of eight axes."""

    async def embed(self, text: str) -> list[float]:
        return [float(number == len(text) % 8) for number in range(8)]


@pytest.mark.component
@pytest.mark.filterwarnings("ignore", "default::pytest.PytestUnhandledThreadExceptionWarning")
async def test_qdrant(make_system: MakeSystem, audit: AuditLogger) -> None:
    """The SDK's Qdrant adapter, on Qdrant's own in-memory mode."""
    require("qdrant_client")
    from axon.adapters.qdrant import QdrantAdapter
    from qdrant_client import AsyncQdrantClient

    adapter = QdrantAdapter(collection_name="test")
    await adapter.client.close()
    adapter.client = AsyncQdrantClient(":memory:")
    memory: Any = make_system(persistent=adapter, embedder=OneHot())
    entry_id = await memory.store("tea")
    assert await memory.forget(entry_id) == 1
    event = forgotten(audit)
    assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])


@pytest.mark.component
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["forget", "route_forget", "delete", "clear_async"])
async def test_qdrant_that_is_down(make_system: MakeSystem, audit: AuditLogger, how: str) -> None:
    """The SDK's Qdrant adapter answers "not there" when its server is down: nobody knows, so
    that is a FAILURE; a server without the collection has nothing: SUCCESS."""
    require("qdrant_client")
    from axon.adapters.qdrant import QdrantAdapter
    from qdrant_client import AsyncQdrantClient

    there = AsyncQdrantClient(":memory:")
    for client in (AsyncQdrantClient("http://127.0.0.1:1", check_compatibility=False), there):
        adapter = QdrantAdapter(collection_name="test", check_compatibility=False)
        adapter.client = client
        memory: Any = make_system(persistent=adapter, embedder=OneHot())
        calls: dict[str, Callable[[], Any]] = {
            "forget": lambda m=memory: m.forget("00000000-0000-4000-8000-000000000000"),
            "route_forget": lambda m=memory: m.router.route_forget(
                "00000000-0000-4000-8000-000000000000"
            ),
            "delete": lambda a=adapter: a.delete("00000000-0000-4000-8000-000000000000"),
            "clear_async": adapter.clear_async,
        }
        with suppress(Exception):
            await calls[how]()
    down, empty = history(audit, operation="FORGET")
    assert (down.status, down.metadata["deleted"]) == (FAILURE, 0)
    assert "found" not in down.metadata
    assert "ResponseHandlingException" in str(down.error_type)
    assert (empty.status, empty.metadata["deleted"]) == (SUCCESS, 0)


@pytest.mark.component
@pytest.mark.filterwarnings("ignore")
async def test_reconcile_on_qdrant(make_system: MakeSystem, audit: AuditLogger) -> None:
    """A text that is changed, an entry that is deleted and one that is inserted by another client
    are found; reading makes no collection, and a server that is down is an error."""
    require("qdrant_client")
    from axon.adapters.qdrant import QdrantAdapter
    from qdrant_client import AsyncQdrantClient, models

    adapter = QdrantAdapter(collection_name="test", check_compatibility=False)
    await adapter.client.close()
    client = adapter.client = AsyncQdrantClient(":memory:")
    memory: Any = make_system(persistent=adapter, embedder=OneHot())
    assert (await audit.reconcile(memory)).in_store == 0
    assert (await client.get_collections()).collections == []
    lost, changed, _ = [await memory.store(text, {"user_id": "bob"}) for text in "abc"]
    assert (await audit.reconcile(memory)).agrees
    (point,) = await client.retrieve("test", [lost], with_vectors=True)
    await client.delete("test", points_selector=models.PointIdsList(points=[lost]))
    await client.set_payload("test", payload={"text": "evil"}, points=[changed])
    new = "00000000-0000-4000-8000-000000000000"
    fake = models.PointStruct(id=new, vector=point.vector, payload=point.payload)
    await client.upsert("test", [fake])
    findings = (await audit.reconcile(memory)).findings
    ids = {kind: [one["entry_id"] for one in some] for kind, some in findings.items() if some}
    assert ids == {"unrecorded": [new], "missing": [lost], "altered": [changed]}
    adapter.client = AsyncQdrantClient("http://127.0.0.1:1", check_compatibility=False)
    with pytest.raises(Exception, match=r"refused|failed"):
        await audit.reconcile(memory)


@pytest.mark.component
@pytest.mark.filterwarnings("ignore")
async def test_chroma(
    make_system: MakeSystem, audit: AuditLogger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The SDK's Chroma adapter, on Chroma's ephemeral client."""
    require("chromadb")
    monkeypatch.chdir(tmp_path)  # where it puts a database
    from axon.adapters.chroma import ChromaAdapter

    memory: Any = make_system(persistent=ChromaAdapter(), embedder=OneHot())
    entry_id = await memory.store("tea")
    assert await memory.forget(entry_id) == 1
    event = forgotten(audit)
    assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])
