"""The SDK's Redis adapter on a real server, which the tests start and stop themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from axon import Filter, MemoryEntry, MemorySystem
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy
from axon.core.policies.session import SessionPolicy
from conftest import history, only_event
from redis_server import RedisServer, start

from axon_audit_otel import AuditLogger, EventStatus, OperationType

pytestmark = [pytest.mark.component, pytest.mark.usefixtures("instrumented")]

SUCCESS, FAILURE, PARTIAL = EventStatus.SUCCESS, EventStatus.FAILURE, EventStatus.PARTIAL


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = start(tmp_path_factory.mktemp("redis"))
    yield server
    server.stop()


async def system_on(port: int, audit_logger: Any = None) -> MemorySystem:
    """A system with both tiers on Redis, as the SDK makes it from its configuration."""
    # The SDK hands a policy's extra fields to the adapter; the policies here allow none.
    from axon.adapters.redis import RedisAdapter
    from axon.core.adapter_registry import AdapterRegistry

    registry = AdapterRegistry()
    for tier in ("session", "persistent"):
        adapter = RedisAdapter(port=port, namespace=tier)
        registry.register(tier, "redis", adapter_instance=adapter)
    config = MemoryConfig(
        session=SessionPolicy(adapter_type="redis", ttl_seconds=600),
        persistent=PersistentPolicy(
            adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
        ),
        default_tier="persistent",
    )
    return MemorySystem(config, registry=registry, audit_logger=audit_logger)


@pytest.fixture(name="memory")
async def _memory(server: RedisServer) -> AsyncIterator[Any]:
    server.flush()
    memory = await system_on(server.port)
    yield memory
    await memory.close()


def exported(*ids: str, tier: str = "persistent", **metadata: Any) -> dict[str, Any]:
    dated = {"created_at": "2025-01-15T10:30:45+00:00", **metadata}
    entries = [{"id": key, "text": "tea", "metadata": dated, "tier": tier} for key in ids]
    return {"version": "1.0", "entries": entries}


async def keys(memory: Any, tier: str = "persistent") -> list[str]:
    adapter = await memory.registry.get_adapter(tier)
    return sorted(key.split(":", 2)[2] for key in await adapter.redis.keys(f"{tier}:memory:*"))


async def test_a_day(memory: Any, audit: AuditLogger) -> None:
    """Store, recall, export, forget: each one event, and Redis is empty afterwards."""
    entry_id = await memory.store("tea", user_id="ada", session_id="s1", tier="session")
    (found,) = await memory.recall("tea", filter=Filter(user_id="ada"))
    assert found.id == entry_id
    data = await memory.export()
    assert await memory.forget(entry_id, user_id="ada") == 1

    assert await keys(memory, "session") == []
    assert [entry["id"] for entry in data["entries"]] == [entry_id]
    assert [(e.operation.value, e.status, e.entry_ids) for e in history(audit)] == [
        ("STORE", SUCCESS, [entry_id]),
        ("RECALL", SUCCESS, [entry_id]),
        ("EXPORT", SUCCESS, [entry_id]),
        ("FORGET", SUCCESS, [entry_id]),
    ]


async def test_forget_by_filter(memory: Any, audit: AuditLogger) -> None:
    """An erasure over both tiers deletes that person's entries and no others."""
    mine = [
        await memory.store("tea", {"user_id": "ada"}, tier="session"),
        await memory.store("coffee", {"user_id": "ada"}, tier="persistent"),
    ]
    other = await memory.store("milk", {"user_id": "bob"}, tier="persistent")
    assert await memory.forget(filter=Filter(user_id="ada"), user_id="dpo") == 2
    assert await keys(memory, "session") + await keys(memory) == [other]
    event = only_event(audit, operation="FORGET")
    assert sorted(event.entry_ids) == sorted(mine)
    assert (event.user_id, event.subject_id) == ("dpo", "ada")


async def test_forget_an_id_with_a_colon(memory: Any, audit: AuditLogger) -> None:
    """The SDK's adapter lists `user:1` as `1`; an erasure by filter finds it all the same."""
    await memory.import_from(exported("user:1", user_id="ada"), overwrite=True)
    assert await keys(memory) == ["user:1"]
    assert await memory.forget(filter=Filter(user_id="ada")) == 1
    assert await keys(memory) == []
    assert only_event(audit, operation="FORGET").entry_ids == ["user:1"]


async def test_route_forget(memory: Any, audit: AuditLogger) -> None:
    """The SDK's own way deletes nothing here either: FAILURE."""
    entry_id = await memory.store("tea", tier="persistent")
    assert await memory.router.route_forget(entry_id) == 0
    assert await keys(memory) == [entry_id]
    event = only_event(audit, operation="FORGET")
    assert (event.status, event.error_type) == (FAILURE, "entry_still_present")


async def test_import_that_imports_nothing(memory: Any, audit: AuditLogger) -> None:
    """The adapter answers None for "not there", which the SDK takes for "there": PARTIAL."""
    stats = await memory.import_from(exported("a", "b"))
    assert (stats["imported"], stats["skipped"]) == (0, 2)
    assert await keys(memory) == []
    event = only_event(audit)
    assert (event.status, event.entry_ids) == (PARTIAL, [])
    assert event.metadata["not_imported"] == 2


async def test_import_lost_and_bad(memory: Any, audit: AuditLogger) -> None:
    """Entries that were lost and entries that were bad are both counted."""
    data = exported("a")
    data["entries"] += exported("b", tier="nowhere")["entries"]
    stats = await memory.import_from(data)
    assert (stats["skipped"], stats["errors"]) == (1, 1)
    event = only_event(audit)
    assert event.status is PARTIAL
    assert (event.metadata["not_imported"], event.metadata["errors"]) == (1, 1)


async def test_import_over(memory: Any, audit: AuditLogger) -> None:
    """With `overwrite` it works, and is SUCCESS."""
    await memory.import_from(exported("a", "b"), overwrite=True)
    assert await keys(memory) == ["a", "b"]
    event = only_event(audit)
    assert (event.status, event.entry_ids) == (SUCCESS, ["a", "b"])


async def test_import_what_is_there(memory: Any, audit: AuditLogger) -> None:
    """Entries that really exist are skipped, which is no failure."""
    await memory.import_from(exported("a"), overwrite=True)
    await memory.import_from(exported("a"))
    assert [event.status for event in history(audit)] == [SUCCESS, SUCCESS]


async def test_import_data(memory: Any, audit: AuditLogger) -> None:
    """`import_data` of plain texts arrives."""
    await memory.import_data(["tea", "coffee"], user_id="ada")
    assert len(await keys(memory)) == 2
    event = only_event(audit)
    assert (event.status, sorted(event.entry_ids)) == (SUCCESS, await keys(memory))


async def test_sync(memory: Any, audit: AuditLogger) -> None:
    """A move between two Redis tiers, its deletes in its own event."""
    await memory.import_from(exported("a", "b", tier="session"), overwrite=True)
    await memory.sync("session", "persistent", delete_source=True)
    assert (await keys(memory, "session"), await keys(memory)) == ([], ["a", "b"])
    event = only_event(audit, operation="SYNC")
    assert (event.status, sorted(event.entry_ids)) == (SUCCESS, ["a", "b"])
    assert (event.metadata["synced"], event.metadata["deleted"]) == (2, 2)
    assert audit.query_events(operation="FORGET") == []


async def test_sync_of_uncomparable_dates(memory: Any, audit: AuditLogger) -> None:
    """Naive against aware dates, also after a way through Redis: PARTIAL."""
    await memory.import_from(
        exported("a", tier="session", created_at="2025-01-15T10:30:45"), overwrite=True
    )
    await memory.import_from(exported("a"), overwrite=True)
    await memory.sync("session", "persistent")
    assert only_event(audit, operation="SYNC").status is PARTIAL


async def test_compact(memory: Any, audit: AuditLogger) -> None:
    """The adapter cannot count without waiting: the SDK's exception, and a FAILURE."""
    with pytest.raises(AttributeError, match="count"):
        await memory.compact("persistent", threshold=1, dry_run=True)
    event = only_event(audit)
    assert (event.operation, event.status) == (OperationType.COMPACT, FAILURE)


async def test_deletes_past_the_system(memory: Any, audit: AuditLogger) -> None:
    """`delete`, `clear_async` and `bulk_save` on the adapter itself are events of their own."""
    adapter = await memory.registry.get_adapter("persistent")
    await adapter.bulk_save([MemoryEntry(id=key, text="tea") for key in "abc"])
    assert await adapter.delete("a") is True
    assert await adapter.delete("a") is False
    await adapter.clear_async()
    events = history(audit)
    assert [(e.operation.value, sorted(e.entry_ids)) for e in events] == [
        ("BULK_STORE", ["a", "b", "c"]),
        ("FORGET", ["a"]),
        ("FORGET", ["a"]),
        ("FORGET", ["b", "c"]),
    ]
    assert [event.metadata.get("deleted") for event in events] == [None, 1, 0, 2]


async def test_clear_names_ids_with_colons(memory: Any, audit: AuditLogger) -> None:
    """The ids in the event of a `clear` are the entries' own."""
    await memory.import_from(exported("user:1"), overwrite=True)
    await (await memory.registry.get_adapter("persistent")).clear_async()
    assert only_event(audit, operation="FORGET").entry_ids == ["user:1"]


async def test_concurrent_users(memory: Any, audit: AuditLogger) -> None:
    """Ten users at once over one connection pool: every event has its own user."""

    async def day(user: str) -> None:
        entry_id = await memory.store("tea", user_id=user, tier="session")
        await memory.recall("tea", filter=Filter(user_id=user), user_id=user)
        await memory.forget(entry_id, user_id=user)

    await asyncio.gather(*(day(f"u{number}") for number in range(5)))
    for number in range(5):
        events = history(audit, user_id=f"u{number}")
        assert [e.operation.value for e in events] == ["STORE", "RECALL", "FORGET"]
        assert len({tuple(event.entry_ids) for event in events}) == 1
    assert await keys(memory, "session") == []


class TestServerThatIsGone:
    @pytest.fixture(name="memory")
    async def _memory(self, tmp_path: Path) -> AsyncIterator[Any]:
        """A system whose server has stopped after the first store."""
        server = start(tmp_path)
        memory: Any = await system_on(server.port)
        await memory.store("tea", tier="persistent")
        server.stop()
        yield memory
        await memory.close()

    async def test_store(self, memory: Any, audit: AuditLogger) -> None:
        """A store raises redis-py's own exception, and is a FAILURE."""
        with pytest.raises(redis.ConnectionError):
            await memory.store("coffee", user_id="ada")
        event = only_event(audit, status="FAILURE")
        assert (event.error_type, event.user_id) == ("redis.exceptions.ConnectionError", "ada")

    async def test_recall(self, memory: Any, audit: AuditLogger) -> None:
        """The SDK says "nothing found"; the event says that it could not look."""
        assert await memory.recall("tea") == []
        event = only_event(audit, operation="RECALL")
        assert event.status is not SUCCESS
        assert event.error_type == "redis.exceptions.ConnectionError"

    async def test_export(self, memory: Any, audit: AuditLogger) -> None:
        """The SDK exports nothing and is content; the event is not."""
        assert (await memory.export())["entries"] == []
        assert only_event(audit, operation="EXPORT").status is not SUCCESS

    async def test_forget(self, memory: Any, audit: AuditLogger) -> None:
        """`forget` raises: nobody may believe that something was erased."""
        with pytest.raises(redis.ConnectionError):
            await memory.forget("a", user_id="dpo")
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.entry_ids) == (FAILURE, ["a"])

    async def test_forget_by_filter(self, memory: Any, audit: AuditLogger) -> None:
        """Entries can be deleted by filter, too."""
        with pytest.raises(redis.ConnectionError):
            await memory.forget(filter=Filter(user_id="ada"))
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.user_id) == (FAILURE, "ada")


async def test_reconcile(server: RedisServer, memory: Any, audit: AuditLogger) -> None:
    """A text that is changed, an entry that is deleted, and those that are inserted by another
    client are found; one that has no text cannot be read. Ids with colons are compared."""
    texts = ("a", "Größe 🫖", "c")
    lost, changed, _ = [await memory.store(t, {"user_id": "bob"}, tier="persistent") for t in texts]
    session = await memory.registry.get_adapter("session")
    await session.bulk_save([MemoryEntry(id="user:1", text="x")])
    assert (await audit.reconcile(memory)).matching == 4
    with redis.Redis(port=server.port) as client:
        client.delete(f"persistent:memory:{lost}")
        client.hset(f"persistent:memory:{changed}", "text", "evil")
        copied = client.hgetall(f"persistent:memory:{changed}")
        client.hset("session:memory:new", mapping={**copied, b"id": b"new"})
        result = await audit.reconcile(memory)
        client.hset("session:memory:half", "id", "half")
        half = await audit.reconcile(memory)
    for found in (result, half):
        ids = {kind: [one["entry_id"] for one in some] for kind, some in found.findings.items()}
        assert (ids["unrecorded"], ids["missing"]) == (["new"], [lost])
        assert (ids["altered"], found.matching) == ([changed], 2)
    assert (result.whole, half.whole, half.unlisted) == (True, False, {"session": 1})
