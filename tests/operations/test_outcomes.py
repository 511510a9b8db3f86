"""Every audited method, with every way it can end, as the trail tells it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from axon import MemoryEntry, MemorySystem
from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.core.compaction_strategies import CountCompactionStrategy
from axon.core.router import Router
from axon.core.summarizer import Summarizer
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, history, only_event

from axon_audit_otel import AuditLogger, AxonInstrumentor, EventStatus, OperationType

pytestmark = pytest.mark.usefixtures("instrumented")

SUCCESS, FAILURE, PARTIAL = EventStatus.SUCCESS, EventStatus.FAILURE, EventStatus.PARTIAL


def exported(*ids: str, **changes: Any) -> dict[str, Any]:
    """The dict that `export` would return for these entries."""
    entries = [
        {
            "id": entry_id,
            "text": f"text of {entry_id}",
            "metadata": {"created_at": "2025-01-15T10:30:45+00:00"},
            "tier": "persistent",
            **changes,
        }
        for entry_id in ids
    ]
    return {"version": "1.0", "entries": entries}


class TestStore:
    async def test_success(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A store is a STORE event with the new entry's id and the call's facts."""
        entry_id = await memory.store("tea", importance=0.8, tags=["verified"], tier="persistent")

        event = only_event(audit)
        assert event.operation is OperationType.STORE
        assert event.status is SUCCESS
        assert event.entry_ids == [entry_id]
        assert event.metadata == {
            "importance": 0.8,
            "tags": ["verified"],
            "tier": "persistent",
            "privacy_level": "public",
            "has_embedding": False,
        }
        assert event.error_type is None
        assert event.duration_ms is not None
        assert event.duration_ms > 0

    async def test_personal_data_is_told_by_kind(
        self, memory: MemorySystem, audit: AuditLogger
    ) -> None:
        """The event has the kinds of personal data that the SDK found, never the text."""
        await memory.store("write to ada@example.org")

        event = only_event(audit)
        assert event.metadata["pii_detected"] is True
        assert event.metadata["pii_types"] == ["email"]
        assert event.metadata["privacy_level"] == "internal"
        assert b"ada@" not in event.to_json()

    async def test_refused(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A store that the SDK refuses is a FAILURE without entries."""
        with pytest.raises(ValueError, match="content cannot be empty"):
            await memory.store("  ", importance=0.3)

        event = only_event(audit)
        assert event.status is FAILURE
        assert event.error_type == "ValueError"
        assert event.error_message is None
        assert event.entry_ids == []
        assert event.metadata["importance"] == 0.3

    async def test_failing_adapter(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A store whose adapter raises is a FAILURE of that exception's type."""
        memory = make_system(persistent=FaultyAdapter(save=ConnectionResetError("lost")))
        with pytest.raises(ConnectionResetError):
            await memory.store("tea")

        event = only_event(audit)
        assert (event.status, event.error_type) == (FAILURE, "ConnectionResetError")
        assert event.entry_ids == []

    @pytest.mark.parametrize(
        "how", [{"metadata": {"privacy_level": "internal"}}, {"detection": False}]
    )
    async def test_saved_and_then_raised(
        self, config: Any, audit: AuditLogger, how: dict[str, Any]
    ) -> None:
        """The SDK's own audit code fails a store that was saved: PARTIAL, with the entry."""
        detection = how.pop("detection", True)
        memory = MemorySystem(config, audit_logger=SdkAuditLogger(), enable_pii_detection=detection)
        with pytest.raises(AttributeError, match="value"):
            await memory.store("tea", **how)

        adapter = await memory.registry.get_adapter("persistent")
        event = only_event(audit)
        assert (event.status, event.error_type) == (PARTIAL, "AttributeError")
        assert event.entry_ids == adapter.list_ids() != []

    async def test_saved_by_the_base_class_and_then_raised(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """An adapter that saves by `super` and then raises: PARTIAL, with the entry."""

        class Indexing(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                await super().save(entry)
                raise OSError("index is full")

        adapter = Indexing()
        with pytest.raises(OSError, match="index is full"):
            await make_system(persistent=adapter).store("tea")
        event = only_event(audit)
        assert (event.status, event.error_type) == (PARTIAL, "OSError")
        assert event.entry_ids == adapter.list_ids() != []

    async def test_retried_inside_the_adapter(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A failure that the adapter itself got over is none of the operation's."""

        class Retrying(ListingAdapter):
            def __init__(self) -> None:
                super().__init__()
                self.primary = FaultyAdapter(save=OSError("busy"), query=OSError("busy"))

            async def save(self, entry: MemoryEntry) -> str:
                try:
                    return await self.primary.save(entry)
                except OSError:
                    return await super().save(entry)

            async def query(self, vector: Any, k: int = 5, filter: Any = None) -> Any:
                try:
                    return await self.primary.query(vector, k, filter)
                except OSError:
                    return await super().query(vector, k, filter)

        memory = make_system(persistent=Retrying())
        await memory.store("tea")
        assert len(await memory.recall("tea")) == 1
        assert [(e.status, e.error_type) for e in history(audit)] == [(SUCCESS, None)] * 2

    async def test_an_entry_that_had_to_go(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """An adapter that makes room on save: the entry it deleted is in the STORE event."""

        class Small(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                for old in self.list_ids():
                    await self.delete(old)
                return await super().save(entry)

        memory = make_system(persistent=Small())
        first, second = await memory.store("one"), await memory.store("two")
        events = history(audit)
        assert len(events) == 2
        assert set(events[1].entry_ids) == {first, second}


class TestRecall:
    async def test_success(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A recall names the entries it returned and counts them."""
        entry_id = await memory.store("green tea")
        await memory.store("coffee")
        found = await memory.recall("tea", k=3, min_importance=0.1, tiers=["persistent"])

        event = only_event(audit, operation="RECALL")
        assert event.status is SUCCESS
        assert event.entry_ids == [entry.id for entry in found] == [entry_id]
        assert event.metadata == {
            "k": 3,
            "tiers": ["persistent"],
            "min_importance": 0.1,
            "has_filter": False,
            "result_count": 1,
        }

    async def test_nothing_found(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A recall without results is a SUCCESS without entries."""
        assert await memory.recall("nothing") == []
        event = only_event(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, [])
        assert event.metadata["tiers"] == ["all"]
        assert event.metadata["result_count"] == 0

    async def test_refused(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A recall that the SDK refuses is a FAILURE; its query is not recorded."""
        with pytest.raises(ValueError, match="k must be greater"):
            await memory.recall("secret words", k=0)
        event = only_event(audit)
        assert (event.status, event.error_type) == (FAILURE, "ValueError")
        assert b"secret" not in event.to_json()

    async def test_one_failing_tier(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """The SDK skips a tier that raises: PARTIAL, with what the others returned."""
        memory = make_system(session=FaultyAdapter(query=ConnectionRefusedError("down")))
        entry_id = await memory.store("tea", tier="persistent")
        assert [entry.id for entry in await memory.recall("tea")] == [entry_id]

        event = only_event(audit, operation="RECALL")
        assert (event.status, event.error_type) == (PARTIAL, "ConnectionRefusedError")
        assert event.entry_ids == [entry_id]

    async def test_one_tier_without_adapter(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """The SDK also skips a tier whose adapter cannot be had: PARTIAL as well."""
        memory = make_system(session=FaultyAdapter(initialize=ConnectionRefusedError("down")))
        entry_id = await memory.store("tea", tier="persistent")
        assert [entry.id for entry in await memory.recall("tea")] == [entry_id]
        assert only_event(audit, operation="RECALL").status is PARTIAL

    async def test_router_that_stops_early(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A router of the user's own that needs only one tier: nothing failed."""

        class FirstTier(Router):
            async def route_recall(self, *args: Any, **kwargs: Any) -> list[MemoryEntry]:
                kwargs["tiers"] = list(self.config.tiers)[:1]
                return await super().route_recall(*args, **kwargs)

        memory = make_system(session=ListingAdapter())
        memory.router = FirstTier(memory.config, memory.registry)
        await memory.recall("tea")
        assert only_event(audit).status is SUCCESS


class TestExport:
    async def test_success(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """An export names every entry that left, and how many from which tier."""
        memory = make_system(session=ListingAdapter())
        ids = [
            await memory.store("a", tier="session"),
            await memory.store("b", tier="persistent"),
        ]
        data = await memory.export(include_embeddings=False)

        event = only_event(audit, operation="EXPORT")
        assert event.status is SUCCESS
        assert event.entry_ids == [entry["id"] for entry in data["entries"]]
        assert sorted(event.entry_ids) == sorted(ids)
        assert event.metadata == {
            "tier": "all",
            "include_embeddings": False,
            "has_filter": False,
            "total_entries": 2,
            "by_tier": {"session": 1, "persistent": 1},
        }

    async def test_refused(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """An export of a tier that does not exist is a FAILURE (the SDK records nothing)."""
        with pytest.raises(ValueError, match="nowhere"):
            await memory.export(tier="nowhere")
        event = only_event(audit)
        assert (event.operation, event.status) == (OperationType.EXPORT, FAILURE)
        assert event.metadata["tier"] == "nowhere"

    async def test_failing_tier(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """The SDK exports a failing tier as an empty one: PARTIAL."""
        broken = FaultyAdapter()
        memory = make_system(session=broken)
        await memory.store("a", tier="session")
        entry_id = await memory.store("b", tier="persistent")
        broken.faults = {"query": OSError("down"), "list_ids": OSError("down")}
        data = await memory.export()

        assert data["statistics"]["by_tier"] == {"session": 0, "persistent": 1}
        event = only_event(audit, operation="EXPORT")
        assert (event.status, event.error_type) == (PARTIAL, "OSError")
        assert event.entry_ids == [entry_id]

    async def test_an_entry_that_cannot_be_read(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """One unreadable entry ends the SDK's listing of its tier: PARTIAL."""
        adapter = FaultyAdapter(query=OSError("no search"))
        memory = make_system(persistent=adapter)
        first, second = await memory.store("a"), await memory.store("b")
        adapter.faults["get"], adapter.only = OSError("corrupt"), {second, None}  # type: ignore[arg-type]
        await memory.export()

        event = only_event(audit, operation="EXPORT")
        assert (event.status, event.entry_ids) == (PARTIAL, [first])

    async def test_no_search_is_no_failure(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """After a failed search the SDK lists all entries: nothing was lost, SUCCESS."""
        memory = make_system(persistent=FaultyAdapter(query=NotImplementedError()))
        entry_id = await memory.store("a")
        await memory.export()
        event = only_event(audit, operation="EXPORT")
        assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])
        assert event.error_type is None

    async def test_an_entry_that_expired(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """An entry that an adapter deletes while it lists them is in the EXPORT event."""

        class Expiring(ListingAdapter):
            async def query(self, vector: Any, k: int = 5, filter: Any = None) -> Any:
                for key in [k for k, e in self._storage.items() if e.text == "old"]:
                    await self.delete(key)
                return await super().query(vector, k, filter)

        memory = make_system(persistent=Expiring())
        old, new = await memory.store("old"), await memory.store("new")
        await memory.export()
        assert set(only_event(audit, operation="EXPORT").entry_ids) == {old, new}


class TestImport:
    async def test_success(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """An import names the entries it saved; the SDK itself records none."""
        stats = await memory.import_from(exported("a", "b"), tier_mapping={"x": "persistent"})

        assert stats["imported"] == 2
        event = only_event(audit)
        assert (event.operation, event.status) == (OperationType.IMPORT, SUCCESS)
        assert event.entry_ids == ["a", "b"]
        assert event.metadata == {
            "overwrite": False,
            "tier_mapping": {"x": "persistent"},
            "total_entries": 2,
            "imported": 2,
            "skipped": 0,
            "errors": 0,
            "by_tier": {"persistent": 2},
        }

    async def test_what_was_there_already(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Entries skipped because they exist are no failure, and were not touched."""
        await memory.import_from(exported("a"))
        await memory.import_from(exported("a", "b"))
        event = history(audit)[-1]
        assert (event.status, event.entry_ids) == (SUCCESS, ["b"])
        assert (event.metadata["imported"], event.metadata["skipped"]) == (1, 1)

    async def test_refused(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Data of the wrong shape is a FAILURE."""
        with pytest.raises(ValueError, match="version"):
            await memory.import_from({"entries": []})
        assert only_event(audit).status is FAILURE

    async def test_bad_entries(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """The SDK counts bad entries and says nothing: PARTIAL, with those that were saved."""
        data = exported("good", "undated", "nowhere")
        data["entries"][1]["metadata"] = {}
        data["entries"][2]["tier"] = "nowhere"
        stats = await memory.import_from(data)

        assert stats["errors"] == 2
        event = only_event(audit)
        assert (event.status, event.entry_ids) == (PARTIAL, ["good"])
        assert event.metadata["errors"] == 2

    async def test_failing_adapter(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """An import whose adapter fails for one entry is PARTIAL, of that error's type."""
        adapter = FaultyAdapter(save=OSError("full"))
        adapter.only = {"b"}
        await make_system(persistent=adapter).import_from(exported("a", "b"))
        event = only_event(audit)
        assert (event.status, event.error_type) == (PARTIAL, "OSError")
        assert event.entry_ids == ["a"]


class TestImportData:
    async def test_texts(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Plain texts are imported as one event, and belong to who acted."""
        stats = await memory.import_data(["tea", "coffee"], user_id="ada", session_id="s1")

        assert stats["imported"] == 2
        event = only_event(audit)
        assert (event.operation, event.status) == (OperationType.IMPORT, SUCCESS)
        assert (event.user_id, event.session_id) == ("ada", "s1")
        adapter = await memory.registry.get_adapter("persistent")
        assert event.entry_ids == adapter.list_ids()
        owners = {(await adapter.get(key)).metadata.user_id for key in event.entry_ids}
        assert owners == {"ada"}

    async def test_what_export_gave(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """An export's data, and `MemoryEntry` objects, are taken as well."""
        await memory.import_data(exported("a"))
        await memory.import_data([MemoryEntry(id="b", text="tea")])
        assert [(e.operation, e.status, e.entry_ids) for e in history(audit)] == [
            (OperationType.IMPORT, SUCCESS, ["a"]),
            (OperationType.IMPORT, SUCCESS, ["b"]),
        ]

    async def test_bad_entry(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """One bad entry among good ones is PARTIAL."""
        entries = exported("a", "b")["entries"]
        entries[1]["metadata"] = {}
        await memory.import_data(entries)
        event = only_event(audit)
        assert (event.status, event.entry_ids) == (PARTIAL, ["a"])

    async def test_no_data(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Something that holds no entries is refused, and that is a FAILURE."""
        with pytest.raises(TypeError):
            await memory.import_data(3)
        assert only_event(audit).status is FAILURE

    @pytest.mark.parametrize("data", ["some text", b"some text", bytearray(b"text"), ""])
    async def test_one_text(self, memory: MemorySystem, audit: AuditLogger, data: Any) -> None:
        """A text is no list of texts: it is refused before anything is stored."""
        with pytest.raises(ValueError, match="in a list"):
            await memory.import_data(data)
        event = only_event(audit)
        assert (event.status, event.error_type, event.entry_ids) == (FAILURE, "ValueError", [])
        assert (await memory.registry.get_adapter("persistent")).list_ids() == []

    async def test_owner_without_a_trail(
        self, config: Any, make_audit: Make, instrumented: AxonInstrumentor
    ) -> None:
        """Plain texts belong to `user_id` also in a system that no trail records."""
        instrumented.uninstrument()
        recorded = make_audit()  # wraps the SDK, for its own systems
        memory = MemorySystem(config)
        await memory.import_data(["tea"], user_id="ada")
        (entry,) = await memory.recall("tea")
        assert entry.metadata.user_id == "ada"
        assert recorded.event_count == 0


class TestSync:
    async def test_copy(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A sync that copies names the entries it wrote; nothing was deleted."""
        memory = make_system(session=ListingAdapter())
        entry_id = await memory.store("tea", tier="session")
        result = await memory.sync("session", "persistent")

        assert result["synced"] == 1
        event = only_event(audit, operation="SYNC")
        assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])
        assert event.metadata == {
            "source_tier": "session",
            "target_tier": "persistent",
            "delete_source": False,
            "conflict_resolution": "newer",
            "has_filter": False,
            "synced": 1,
            "skipped": 0,
            "conflicts": 0,
            "deleted": 0,
            "copies": 2,
        }

    async def test_move(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A sync that moves says what it deleted, in its one event."""
        memory = make_system(session=ListingAdapter())
        entry_id = await memory.store("tea", tier="session")
        await memory.sync("session", "persistent", delete_source=True)

        event = only_event(audit, operation="SYNC")
        assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])
        assert event.metadata["deleted"] == 1
        assert audit.query_events(operation="FORGET") == []

    async def test_target_wins(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """Entries left alone because the caller wanted that are no failure."""
        memory = make_system(session=ListingAdapter())
        await memory.import_from(exported("a", tier="session"))
        await memory.import_from(exported("a"))
        result = await memory.sync("session", "persistent", conflict_resolution="target")
        assert result["skipped"] == 1
        assert only_event(audit, operation="SYNC").status is SUCCESS

    async def test_target_is_newer(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """Entries skipped because the target's are newer are no failure."""
        memory = make_system(session=ListingAdapter())
        await memory.import_from(exported("a", tier="session"))
        newer = {"created_at": "2025-06-01T00:00:00+00:00"}
        await memory.import_from(exported("a", metadata=newer))
        result = await memory.sync("session", "persistent")
        assert result["skipped"] == 1
        event = only_event(audit, operation="SYNC")
        assert event.status is SUCCESS
        assert "errors" not in event.metadata

    async def test_refused(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A sync of a tier with itself is a FAILURE."""
        with pytest.raises(ValueError, match="must be different"):
            await memory.sync("persistent", "persistent")
        event = only_event(audit)
        assert (event.operation, event.status) == (OperationType.SYNC, FAILURE)

    async def test_failing_entry(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """The SDK counts an entry that cannot be saved as skipped: PARTIAL."""
        target = FaultyAdapter(save=OSError("full"))
        target.only = {"b"}
        memory = make_system(session=ListingAdapter(), persistent=target)
        await memory.import_from(exported("a", "b", tier="session"))
        result = await memory.sync("session", "persistent", delete_source=True)

        assert (result["synced"], result["skipped"]) == (1, 1)
        event = only_event(audit, operation="SYNC")
        assert (event.status, event.error_type) == (PARTIAL, "OSError")
        assert event.entry_ids == ["a"]
        assert event.metadata["errors"] == 1

    async def test_dates_that_cannot_be_compared(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """One naive and one aware date: the SDK skips the entry in silence; PARTIAL."""
        memory = make_system(session=ListingAdapter())
        naive = {"created_at": "2025-01-15T10:30:45"}
        await memory.import_from(exported("a", tier="session", metadata=naive))
        await memory.import_from(exported("a"))
        await memory.import_from(exported("b", tier="session"))
        result = await memory.sync("session", "persistent")

        assert (result["synced"], result["skipped"]) == (1, 1)
        event = only_event(audit, operation="SYNC")
        assert (event.status, event.entry_ids) == (PARTIAL, ["b"])
        assert event.metadata["errors"] == 1

    async def test_delete_that_fails(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A source entry that cannot be deleted stays: PARTIAL, and not counted as deleted."""
        source = FaultyAdapter(delete=PermissionError("read only"))
        memory = make_system(session=source)
        await memory.import_from(exported("a", tier="session"))
        await memory.sync("session", "persistent", delete_source=True)
        event = only_event(audit, operation="SYNC")
        assert (event.status, event.error_type) == (PARTIAL, "PermissionError")
        assert event.metadata["deleted"] == 0


class Words(Summarizer):
    """Summarises without a language model; fails where an entry's text says so."""

    async def summarize(
        self,
        entries: list[MemoryEntry],
        context: str | None = None,
        max_length: int | None = None,
    ) -> str:
        if any("unspeakable" in entry.text for entry in entries):
            raise RuntimeError("the model refused")
        return f"{len(entries)} entries"


async def fill(
    memory: MemorySystem, count: int = 2, last: str = "tea", **changes: Any
) -> list[str]:
    """Import entries; the SDK compacts them by the hundred, the important ones last."""
    data = exported(*(f"e{number:03}" for number in range(count)), **changes)
    data["entries"][-1]["text"] = last
    data["entries"][-1]["metadata"] = {**data["entries"][-1]["metadata"], "importance": 0.9}
    await memory.import_from(data)
    return [entry["id"] for entry in data["entries"]]


class TestCompact:
    async def test_success(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A compaction names the entries it deleted and the summaries it wrote."""
        memory = make_system()
        old = await fill(memory, 102)
        await memory.compact("persistent", threshold=1, summarizer=Words())

        adapter = await memory.registry.get_adapter("persistent")
        new = adapter.list_ids()
        event = only_event(audit, operation="COMPACT")
        assert event.status is SUCCESS
        assert event.entry_ids == [*old, *new]
        assert event.metadata == {
            "tier": "persistent",
            "strategy": "count",
            "threshold": 1,
            "dry_run": False,
            "entries_before": 102,
            "entries_after": 2,
            "summaries_created": 2,
            "groups_compacted": 2,
            "deleted": 102,
            "summary_ids": new,
            "derived": {new[0]: old[:100], new[1]: old[100:]},
        }
        assert event.derived_from == tuple(old)
        assert audit.query_events(operation="FORGET") == []

    async def test_dry_run(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A dry run touches no entry."""
        memory = make_system()
        await fill(memory)
        await memory.compact("persistent", threshold=1, dry_run=True)
        event = only_event(audit, operation="COMPACT")
        assert (event.status, event.entry_ids) == (SUCCESS, [])
        assert event.metadata["dry_run"] is True

    async def test_nothing_to_do(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Tiers below their threshold: SUCCESS, with the SDK's reason."""
        await memory.compact()
        event = only_event(audit)
        assert (event.status, event.metadata["tier"]) == (SUCCESS, "all")
        assert "below threshold" in event.metadata["reason"]

    async def test_refused(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A compaction of a tier that does not exist is a FAILURE."""
        with pytest.raises(ValueError, match="nowhere"):
            await memory.compact("nowhere")
        event = only_event(audit)
        assert (event.operation, event.status) == (OperationType.COMPACT, FAILURE)

    async def test_failing_summariser(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """One group of two fails: PARTIAL. The SDK deletes its originals too; that is told."""
        memory = make_system()
        old = await fill(memory, 102, last="unspeakable")
        await memory.compact("persistent", threshold=1, summarizer=Words())

        adapter = await memory.registry.get_adapter("persistent")
        assert len(adapter.list_ids()) == 1
        event = only_event(audit, operation="COMPACT")
        assert event.status is PARTIAL
        assert event.entry_ids == [*old, *adapter.list_ids()]
        assert (event.metadata["deleted"], event.metadata["failed_groups"]) == (102, 1)

    async def test_strategy_object(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """Given a strategy object the SDK fails in every group, in silence: PARTIAL."""
        memory = make_system()
        await fill(memory)
        strategy = CountCompactionStrategy()
        result = await memory.compact("persistent", strategy, threshold=1, summarizer=Words())
        assert result["summaries_created"] == 0
        event = only_event(audit, operation="COMPACT")
        assert (event.status, event.entry_ids) == (PARTIAL, [])
        assert event.metadata["strategy"] == "count"

    async def test_summary_that_cannot_be_saved(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """The SDK loses memories whose summary cannot be saved: PARTIAL, with their ids."""
        adapter = FaultyAdapter()
        memory = make_system(persistent=adapter)
        old = await fill(memory)
        adapter.faults["save"] = OSError("full")
        await memory.compact("persistent", threshold=1, summarizer=Words())
        assert adapter.list_ids() == []
        event = only_event(audit, operation="COMPACT")
        assert (event.status, event.error_type) == (PARTIAL, "OSError")
        assert event.entry_ids == old

    async def test_raises_half_way(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A compaction that raises in its second tier has changed the first: PARTIAL."""
        broken = FaultyAdapter()
        memory = make_system(session=ListingAdapter(), persistent=broken)
        old = await fill(memory, tier="session")
        await memory.import_from(exported("a", "b"))
        broken.faults["query"] = OSError("down")
        memory.policy_engine.should_compact = lambda tier, count: (True, {})
        with pytest.raises(OSError, match="down"):
            await memory.compact(threshold=1, summarizer=Words())
        event = only_event(audit, operation="COMPACT")
        assert (event.status, event.error_type) == (PARTIAL, "OSError")
        assert event.entry_ids[:-1] == old


class TestTransaction:
    async def test_committed(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A transaction is an event of its own, after those of its block."""
        async with memory.transaction() as transaction_id:
            entry_id = await memory.store("tea")
        stored, event = history(audit)
        assert (stored.operation, stored.entry_ids) == (OperationType.STORE, [entry_id])
        assert (event.operation, event.status) == (OperationType.TRANSACTION, SUCCESS)
        assert event.metadata == {
            "isolation_level": "read_committed",
            "transaction_id": transaction_id,
            "outcome": "committed",
        }

    async def test_rolled_back(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A block that raises: FAILURE of that type, and the block's own object is raised."""
        error = KeyError("mine")
        with pytest.raises(KeyError) as caught:
            async with memory.transaction():
                raise error
        assert caught.value is error
        event = only_event(audit)
        assert (event.status, event.error_type) == (FAILURE, "KeyError")
        assert event.metadata["outcome"] == "rolled_back"

    async def test_cancelled(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A block that is cancelled: FAILURE, rolled back."""
        entered = asyncio.Event()

        async def work() -> None:
            async with memory.transaction(user_id="ada"):
                entered.set()
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        event = only_event(audit)
        assert (event.status, event.error_type) == (FAILURE, "asyncio.CancelledError")
        assert (event.user_id, event.metadata["outcome"]) == ("ada", "rolled_back")

    async def test_deletes_in_the_commit(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """Deletions of a commit are in the transaction's event, not in one of their own."""
        memory = make_system()
        entry_id = await memory.store("tea")
        manager = memory.transaction()
        coordinator = memory._transaction_coordinator
        coordinator.adapters["persistent"] = await memory.registry.get_adapter("persistent")
        async with manager as transaction_id:
            await coordinator.add_operation(
                transaction_id, "delete", "persistent", entry_id=entry_id
            )
        event = only_event(audit, operation="TRANSACTION")
        assert (event.status, event.entry_ids) == (SUCCESS, [entry_id])
        assert audit.query_events(operation="FORGET") == []

    async def test_half_committed(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """One tier committed, one not: the SDK raises, memory has changed; PARTIAL."""
        memory = make_system(session=ListingAdapter(), persistent=FaultyAdapter(save=OSError()))
        manager = memory.transaction()
        coordinator = memory._transaction_coordinator
        for tier in ("session", "persistent"):
            coordinator.adapters[tier] = await memory.registry.get_adapter(tier)
        entry = MemoryEntry(id="a", text="tea")

        async def work() -> None:
            async with manager as transaction_id:
                for tier in ("session", "persistent"):
                    await coordinator.add_operation(transaction_id, "save", tier, entry=entry)

        with pytest.raises(RuntimeError, match="failed to commit"):
            await work()
        event = only_event(audit)
        assert (event.status, event.error_type) == (PARTIAL, "RuntimeError")
        assert event.entry_ids == ["a"]

    async def test_as_a_decorator(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """The SDK's transaction can decorate a coroutine function; still so, and recorded."""

        @memory.transaction()
        async def work() -> str:
            return await memory.store("tea")

        await work()
        assert [e.operation.value for e in history(audit)] == ["STORE", "TRANSACTION"]

    async def test_each_in_its_own_task(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Transactions that overlap are recorded each with its own identity."""

        async def work(user: str) -> None:
            async with memory.transaction(user_id=user):
                await asyncio.sleep(0)
                await memory.store("tea", user_id=user)

        await asyncio.gather(*(work(f"u{n}") for n in range(8)))
        for n in range(8):
            events = audit.query_events(user_id=f"u{n}")
            assert sorted(e.operation.value for e in events) == ["STORE", "TRANSACTION"]
