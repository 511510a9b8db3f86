"""Storage adapters of others: with locks, slow, that change what they save."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from axon import Filter, InMemoryAdapter, MemoryEntry
from conftest import ListingAdapter, Make, MakeSystem

from axon_audit_otel import AuditLogger

pytestmark = pytest.mark.usefixtures("instrumented", "without_start_record")


def facts(audit: AuditLogger) -> dict[str, Any]:
    """What the newest event says of entries that are not as they should be."""
    found = audit.query_events(limit=1)[0].metadata
    return {key: found[key] for key in ("altered", "resurrected") if key in found}


class Locked(ListingAdapter):
    """Its methods exclude each other."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = asyncio.Lock()

    async def get(self, id: str) -> Any:
        async with self._lock:
            return await super().get(id)

    async def delete(self, id: str) -> bool:
        async with self._lock:
            return bool(await super().delete(id))


async def test_lock(make_system: MakeSystem, audit: AuditLogger) -> None:
    """Nothing is read while an adapter may hold a lock of its own."""
    adapter = Locked()
    make_system(persistent=adapter)
    for key in ("there", "missing"):
        if key == "there":
            adapter._storage[key] = MemoryEntry(id=key, text="tea", metadata={"user_id": "bob"})
        await asyncio.wait_for(adapter.delete(key), 10)
    events = audit.query_events(operation="FORGET")
    assert [(event.entry_ids, event.subjects) for event in reversed(events)] == [
        (["there"], ("bob",)),
        (["missing"], ()),
    ]


class Stuck(ListingAdapter):
    """Its `get` never answers."""

    async def get(self, id: str) -> Any:
        await asyncio.Event().wait()


async def test_cancelled(make_system: MakeSystem, audit: AuditLogger) -> None:
    """A call that is cancelled while something is read for it is recorded, and what follows."""
    stuck, memory = Stuck(), make_system()
    make_system(persistent=stuck)
    entry = await memory.store("tea", {"user_id": "bob"})
    adapter = await memory.registry.get_adapter("persistent")
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(stuck.bulk_save([adapter._storage[entry]]), 0.05)
    await memory.store("coffee", {"user_id": "carl"})
    events = [event.operation.value for event in audit.query_events()]
    assert events == ["STORE", "BULK_STORE", "STORE"]


class Masking(InMemoryAdapter):
    """Saves another text than it is given."""

    async def save(self, entry: MemoryEntry) -> str:
        return str(await super().save(entry.model_copy(update={"text": "***"})))


class Sealing(InMemoryAdapter):
    """Saves a text so that nobody reads it, and gives it back as it was."""

    async def save(self, entry: MemoryEntry) -> str:
        return str(await super().save(entry.model_copy(update={"text": entry.text[::-1]})))

    async def query(self, vector: Any, k: int = 5, filter: Any = None) -> list[MemoryEntry]:
        found = list(self._storage.values())[:k]
        return [entry.model_copy(update={"text": entry.text[::-1]}) for entry in found]


@pytest.mark.parametrize("kind", [Masking, Sealing])
async def test_changes_the_text(
    make_system: MakeSystem, audit: AuditLogger, kind: type[InMemoryAdapter]
) -> None:
    """What an adapter itself does to a text is no alteration; what is done behind it, is."""
    adapter = kind()
    memory = make_system(persistent=adapter)
    entry = await memory.store("green tea", {"user_id": "bob"})
    await memory.recall("***", k=3)
    assert facts(audit) == {}
    adapter._storage[entry].text = "*** poison"
    await memory.recall("***", k=3)
    assert facts(audit) == {"altered": [entry]}


@pytest.mark.parametrize("odd", [[{"field": "name"}], [["a"]], "yes", {"a": 1}, [1, None]])
async def test_facts_of_an_application(
    make_audit: Make, make_system: MakeSystem, tmp_path: Path, odd: Any
) -> None:
    """An application may have facts of its own under our names: nothing fails after a start."""
    before = make_audit(100, tmp_path / "logs")
    for name in ("altered", "resurrected", "derived", "copies", "remaining_ids"):
        metadata = {name: odd, "deleted": 1}
        await before.log_event("FORGET", entry_ids=["r1"], metadata=metadata, derived_from=["r0"])
    before.close()
    audit = make_audit(100, tmp_path / "logs")
    memory = make_system(audit_logger=audit)
    entry = await memory.store("tea", {"user_id": "bob"})
    await memory.recall("tea")
    assert await memory.forget(entry) == 1
    assert await memory.forget("r1") == 0
    assert [event.status.value for event in audit.query_events()] == ["SUCCESS"] * 4


async def test_written_by_another_before_the_first_look(
    make_audit: Make, make_system: MakeSystem, tmp_path: Path
) -> None:
    """What another process does between our first operation and our first read is known."""
    first, second = (make_audit(100, tmp_path / "logs") for _ in range(2))
    one, other = ListingAdapter(), ListingAdapter()
    other._storage = one._storage
    ours = make_system(audit_logger=first, persistent=one)
    theirs = make_system(audit_logger=second, persistent=other)
    entry = await ours.store("green tea", {"user_id": "bob"})
    data = await theirs.export()
    data["entries"][0]["text"] = "black tea"
    await theirs.import_from(data, overwrite=True)
    await ours.recall("tea")
    assert (facts(first), entry) == ({}, data["entries"][0]["id"])


class Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return "all kinds of tea"


async def test_derived_in_another_memory(make_system: MakeSystem, audit: AuditLogger) -> None:
    """What another memory of this process has made of copies of an entry, remains."""
    ours, theirs = make_system(), make_system()
    for number in range(3):
        await ours.store(f"tea {number}", {"user_id": "bob"})
    await theirs.import_from(await ours.export())
    await theirs.compact("persistent", threshold=1, summarizer=Joining())
    adapter = await theirs.registry.get_adapter("persistent")
    (summary,) = adapter._storage
    await ours.forget(filter=Filter(user_id="bob"))
    event = audit.query_events(limit=1)[0]
    assert (event.status, event.metadata["derived_remaining"]) == ("PARTIAL", [summary])
    await adapter.delete(summary)
    await ours.forget(filter=Filter(user_id="bob"))
    assert audit.query_events(limit=1)[0].status == "SUCCESS"


async def test_copy_in_another_memory(make_system: MakeSystem, audit: AuditLogger) -> None:
    """A copy that another memory has imported is not back when the original is forgotten."""
    ours = make_system()
    theirs = make_system(session=ListingAdapter())
    entry = await ours.store("green tea", {"user_id": "bob"})
    await theirs.import_from(await ours.export())
    await ours.forget(entry)
    await theirs.recall("tea")
    assert facts(audit) == {}
