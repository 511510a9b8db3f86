"""No event calls an entry altered or back without a cause, whatever store, text and order."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from axon import Filter, MemoryEntry
from conftest import ListingAdapter, Make, MakeSystem, history

from axon_audit_otel import AuditLogger

pytestmark = pytest.mark.usefixtures("instrumented")

TEXTS = (
    *("tea", "  tea  ", "\ttea\r\n", "te\u0301a", "t\u00e9a tea", "tea \U0001f375\U0010ffff"),
    *("tea \x00 and more", "\ufefftea\u2028", "<b>tea</b> \x1b[31m", "tea " * 250_000),
)


def alarms(audit: AuditLogger) -> list[Any]:
    """The events that call an entry altered or back."""
    return [
        (event.operation, event.metadata)
        for event in audit.query_events()
        if "altered" in event.metadata or "resurrected" in event.metadata
    ]


class OneHot:
    """Embeds every text; equal lengths are near."""

    async def embed(self, text: str) -> list[float]:
        return [1.0, *(float(number == len(text) % 383) for number in range(383))]

    async def embed_batch(self, texts: list[str]) -> list[list[float]]:
        return [await self.embed(text) for text in texts]

    def get_dimension(self) -> int:
        return 384

    @property
    def model_name(self) -> str:
        return "one hot"

    @property
    def signature(self) -> str:
        return "one hot"


class Raw:
    """A store's adapters, and what somebody without the SDK does to an entry of one."""

    def __init__(self, make: Callable[[str], Any]) -> None:
        self.make = make

    async def change(self, adapter: Any, key: str) -> None:
        entry = adapter._storage[key]
        adapter._storage[key] = entry.model_copy(update={"text": "tea, changed"}, deep=True)

    async def put_back(self, adapter: Any, entry: MemoryEntry) -> None:
        adapter._storage[entry.id] = entry


class RawRedis(Raw):
    async def change(self, adapter: Any, key: str) -> None:
        await adapter.redis.hset(adapter._get_key(key), "text", "tea, changed")

    async def put_back(self, adapter: Any, entry: MemoryEntry) -> None:
        await adapter.redis.hset(adapter._get_key(entry.id), mapping=adapter._entry_to_redis(entry))


class RawQdrant(Raw):
    async def change(self, adapter: Any, key: str) -> None:
        await adapter.client.set_payload(adapter.collection_name, {"text": "changed"}, points=[key])

    async def put_back(self, adapter: Any, entry: MemoryEntry) -> None:
        point = adapter._entry_to_point(entry)
        await adapter.client.upsert(adapter.collection_name, points=[point])


class RawChroma(Raw):
    async def change(self, adapter: Any, key: str) -> None:
        vectors = adapter.collection.get(ids=[key], include=["embeddings"])["embeddings"]
        adapter.collection.update(ids=[key], embeddings=vectors, documents=["tea, changed"])

    async def put_back(self, adapter: Any, entry: MemoryEntry) -> None:
        key, embedding, metadata, text = adapter._entry_to_chroma_format(entry)
        adapter.collection.upsert(
            ids=[key], embeddings=[embedding], metadatas=[metadata], documents=[text]
        )


@pytest.fixture(
    name="store",
    params=[
        "memory",
        *(
            pytest.param(name, marks=pytest.mark.component)
            for name in ("redis", "qdrant", "chroma")
        ),
    ],
)
async def _store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Raw]:
    if request.param == "memory":
        yield Raw(lambda tier: ListingAdapter())
        return
    if request.param == "redis":
        from test_redis import start

        server = start(tmp_path)
        from axon.adapters.redis import RedisAdapter

        yield RawRedis(lambda tier: RedisAdapter(port=server.port, namespace=tier))
        server.stop()
    elif request.param == "qdrant":
        pytest.importorskip("qdrant_client")
        from axon.adapters.qdrant import QdrantAdapter
        from qdrant_client import AsyncQdrantClient

        client = AsyncQdrantClient(":memory:")

        class Fitting(QdrantAdapter):  # type: ignore[misc,unused-ignore]
            """Takes the arguments that the SDK's router gives."""

            async def query(self, vector: Any, k: int = 5, filter: Any = None) -> Any:
                return await super().query(vector, filter, k)

        def make(tier: str) -> Any:
            adapter = Fitting(collection_name=tier, check_compatibility=False)
            adapter.client = client
            return adapter

        yield RawQdrant(make)
    else:
        pytest.importorskip("chromadb")
        from axon.adapters.chroma import ChromaAdapter

        where = str(tmp_path / "chroma")
        yield RawChroma(lambda tier: ChromaAdapter(tier, where))


pytest_ignored = pytest.mark.filterwarnings("ignore")


@pytest_ignored
async def test_round_trips(
    make_system: MakeSystem, make_audit: Make, tmp_path: Path, store: Raw
) -> None:
    """Stored, read, exported, imported, synced, updated, read after a restart: no alarm, and
    then one for what was changed without us, and one for what was put back."""
    logs = tmp_path / "logs"
    audit = make_audit(1_000, logs)
    adapters = {tier: store.make(tier) for tier in ("session", "persistent")}

    def system(audit: AuditLogger, **more: Any) -> Any:
        return make_system(audit_logger=audit, embedder=OneHot(), **{**adapters, **more})

    memory = system(audit)
    ids = []
    for number, text in enumerate(TEXTS):
        tier = ("session", "persistent")[number % 2]
        ids.append(await memory.store(text, {"user_id": ("bob", "ann")[number % 2]}, tier=tier))
    for _ in range(20):  # so often that the SDK promotes what is in the session
        await memory.recall("tea", k=50)
    await memory.recall("tea", k=50, filter=Filter(user_id="bob"))
    data = await memory.export()
    await memory.import_from(data, overwrite=True)
    await memory.sync("session", "persistent", conflict_resolution="source")
    data["entries"] = [
        dict(entry, text=f"{entry['text'][:99]}, updated") for entry in data["entries"]
    ]
    await memory.import_from(data, overwrite=True)
    await memory.recall("tea", k=50)
    await memory.export()
    assert alarms(audit) == []
    audit.close()

    audit = make_audit(1_000, logs)
    memory = system(audit)
    await memory.recall("tea", k=50)
    data = await memory.export()
    assert {entry["id"] for entry in data["entries"]} == set(ids)
    assert alarms(audit) == []

    await store.change(adapters["persistent"], ids[1])
    await memory.recall("tea", k=50, tiers=["persistent"])
    assert [facts.get("altered") for _, facts in alarms(audit)] == [[ids[1]]]
    entry = await adapters["persistent"].get(ids[3])
    await memory.forget(ids[3])
    await store.put_back(adapters["persistent"], entry)
    await memory.recall("tea", k=50, tiers=["persistent"])
    assert audit.query_events(limit=1)[0].metadata["resurrected"] == [ids[3]]
    assert sum(audit.get_statistics()["failures"].values()) == 0
    await memory.close()


class Slow(ListingAdapter):
    """Lets others run between its steps."""

    async def save(self, entry: MemoryEntry) -> str:
        await asyncio.sleep(0)
        key = await super().save(entry)
        await asyncio.sleep(0)
        return key

    async def query(self, *args: Any, **kwargs: Any) -> list[MemoryEntry]:
        await asyncio.sleep(0)
        found = await super().query(*args, **kwargs)
        await asyncio.sleep(0)
        return found

    async def get(self, id: str) -> MemoryEntry:
        await asyncio.sleep(0)
        entry = await super().get(id)
        await asyncio.sleep(0)
        return entry

    async def delete(self, id: str) -> bool:
        await asyncio.sleep(0)
        done = await super().delete(id)
        await asyncio.sleep(0)
        return done


def exported(key: str, text: str) -> dict[str, Any]:
    moment = "2025-01-15T10:30:45+00:00"
    facts = {"user_id": "bob", "created_at": moment}
    return {"version": "1.0", "entries": [{"id": key, "text": text, "metadata": facts}]}


async def busy(memory: Any, number: int) -> None:
    for turn in range(6):
        key = f"e{(number + turn) % 4}"
        what = (number * 7 + turn) % 4
        if what == 0:
            await memory.import_from(exported(key, f"tea {number} {turn}"), overwrite=True)
        elif what == 1:
            await memory.recall("tea", k=9)
        elif what == 2:
            await memory.forget(key)
        else:
            await memory.export()


async def test_many_tasks(make_system: MakeSystem, audit: AuditLogger) -> None:
    """Fifty tasks that overwrite, read and forget the same entries see each other's work."""
    memory: Any = make_system(audit_logger=audit, persistent=Slow())
    await asyncio.gather(*(busy(memory, number) for number in range(50)))
    assert alarms(audit) == []


def test_many_threads(make_system: MakeSystem, audit: AuditLogger, busy_threads: None) -> None:
    """The same in threads, each with an event loop and a memory of its own on its own store."""
    systems: list[Any] = [make_system(audit_logger=audit, persistent=Slow()) for _ in range(4)]

    async def alone(memory: Any, name: str) -> None:
        for turn in range(20):
            key = f"{name} {turn % 3}"
            await memory.import_from(exported(key, f"tea {turn}"), overwrite=True)
            await memory.recall("tea", k=9)
            if turn % 3 == 0:
                await memory.forget(key)

    threads = [
        threading.Thread(target=asyncio.run, args=(alone(memory, f"thread {number}"),))
        for number, memory in enumerate(systems)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert alarms(audit) == []


async def test_a_recall_that_a_forget_overtakes(
    make_system: MakeSystem, audit: AuditLogger
) -> None:
    """A recall that began before a forget, and ends after it, may return the entry."""

    class Holding(ListingAdapter):
        held = asyncio.Event()
        read = asyncio.Event()

        async def query(self, *args: Any, **kwargs: Any) -> list[MemoryEntry]:
            found = await super().query(*args, **kwargs)
            if args and args[0] == "tea":
                self.read.set()
                await self.held.wait()
            return found

    memory: Any = make_system(audit_logger=audit, persistent=Holding())
    key = await memory.store("tea")
    recall = asyncio.create_task(memory.recall("tea"))
    await Holding.read.wait()
    await memory.forget(key)
    Holding.held.set()
    assert [entry.id for entry in await recall] == [key]
    assert history(audit)[-1].entry_ids == [key]
    assert alarms(audit) == []
