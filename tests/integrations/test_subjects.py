"""Every event names the people whose entries it stored, returned, moved or deleted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from axon import MemoryEntry, MemorySystem
from conftest import FaultyAdapter, ListingAdapter, MakeSystem

from axon_audit_otel import AuditLogger

pytestmark = pytest.mark.usefixtures("instrumented", "without_start_record")


def entry_of(user: str | None, entry_id: str, text: str = "tea") -> MemoryEntry:
    return MemoryEntry(id=entry_id, text=text, metadata={"user_id": user})


def last(audit: AuditLogger) -> Any:
    return audit.query_events(limit=1)[0]


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


async def test_number_of_the_request(make_system: MakeSystem, audit: AuditLogger) -> None:
    """A `forget` notes the number of the request that it is for."""
    memory: Any = make_system(persistent=ListingAdapter())
    entry = await memory.store("tea", {"user_id": "bob"})
    await memory.forget(entry, request_id="DSR-17")
    assert last(audit).metadata["request_id"] == "DSR-17"
