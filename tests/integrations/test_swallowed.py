"""Errors that the SDK swallows are reported with type and place: PARTIAL or FAILURE if they
concern the caller. Those of its housekeeping are counted separately, and raise no alert."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from axon import Filter, MemoryEntry, MemorySystem
from axon.adapters.memory import InMemoryAdapter
from axon.core.adapter_registry import AdapterRegistry
from axon.core.router import Router
from axon.core.summarizer import Summarizer
from axon.models.filter import DateRange
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, history, only_event
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, AxonInstrumentor, EventStatus

pytestmark = pytest.mark.usefixtures("instrumented")

SUCCESS, FAILURE, PARTIAL = EventStatus.SUCCESS, EventStatus.FAILURE, EventStatus.PARTIAL
NOW = datetime.now(timezone.utc)
TODAY = DateRange(start=NOW - timedelta(days=1), end=NOW + timedelta(days=1))


class Broken(Filter):
    """A filter of the user's own that fails."""

    def matches(self, entry: MemoryEntry) -> bool:
        raise LookupError("no such rule")


#: Filters that cannot be compared with what the SDK stores, and what they raise.
UNCOMPARABLE: dict[str, tuple[Filter, str]] = {
    "range": (Filter(user_id="ada", date_range=TODAY), "TypeError"),
    "age": (Filter(older_than_days=0, tags=[]), "TypeError"),
    "an own filter": (Broken(user_id="ada"), "LookupError"),
}


def samples(registry: CollectorRegistry, name: str) -> list[Any]:
    return [s for metric in registry.collect() for s in metric.samples if s.name == name]


def faults(registry: CollectorRegistry) -> dict[str, float]:
    """The counter of swallowed errors, by stage."""
    counted = samples(registry, "axon_audit_sdk_faults_total")
    return {s.labels["stage"]: s.value for s in counted if s.value}


def deletions(registry: CollectorRegistry) -> float:
    """Entries that were counted as deleted."""
    counted = samples(registry, "axon_memory_entries_total")
    return sum(s.value for s in counted if s.labels["operation"] == "FORGET")


class TestExport:
    @pytest.mark.parametrize("adapter", [InMemoryAdapter, ListingAdapter])
    @pytest.mark.parametrize("kind", UNCOMPARABLE)
    async def test_nothing_came_out(
        self,
        make_system: MakeSystem,
        audit: AuditLogger,
        registry: CollectorRegistry,
        kind: str,
        adapter: Any,
    ) -> None:
        """An export whose filter failed gives nothing: FAILURE, with the error's type and place,
        also without captured content."""
        memory = make_system(persistent=adapter())
        await memory.store("tea", {"user_id": "ada"})
        chosen, error = UNCOMPARABLE[kind]
        assert (await memory.export(filter=chosen))["entries"] == []
        event = only_event(audit, operation="EXPORT")
        assert (event.status, event.error_type) == (FAILURE, error)
        assert event.metadata["stage"] == "filter"
        assert event.error_message is None
        assert faults(registry)["filter"] == 1

    @pytest.mark.parametrize("kind", UNCOMPARABLE)
    async def test_part_came_out(
        self, make_system: MakeSystem, audit: AuditLogger, kind: str
    ) -> None:
        """It lists until the first that cannot be compared: PARTIAL."""

        class Half(Broken):
            def matches(self, entry: MemoryEntry) -> bool:
                return entry.id == "a" or super().matches(entry)

        chosen, error = UNCOMPARABLE[kind]
        chosen = Half() if error == "LookupError" else chosen
        store = InMemoryAdapter()
        memory = make_system(persistent=store)
        first = MemoryEntry(id="a", text="tea")  # aware
        first.metadata.user_id = "ada"
        await store.save(first)
        await memory.store("coffee", {"user_id": "ada"})
        assert len((await memory.export(filter=chosen))["entries"]) == 1
        event = only_event(audit, operation="EXPORT")
        assert (event.status, event.error_type, event.entry_ids) == (PARTIAL, error, ["a"])
        assert event.metadata["stage"] == "filter"

    @pytest.mark.parametrize("broken", ["session", "persistent"])
    @pytest.mark.parametrize("methods", [("query", "list_ids"), ("list_ids",), ("query", "get")])
    async def test_one_of_two_tiers(
        self, make_system: MakeSystem, audit: AuditLogger, broken: str, methods: tuple[str, ...]
    ) -> None:
        """One tier fails and the other does not, whichever comes first: PARTIAL."""

        class Unsearchable(FaultyAdapter):
            async def query(self, vector: Any, k: int = 5, filter: Any = None) -> Any:
                self._fault("query")
                return await InMemoryAdapter.query(self, vector, k, filter)

        tiers = {"session": Unsearchable(), "persistent": Unsearchable()}
        memory = make_system(**tiers)
        ids = {tier: await memory.store("tea", tier=tier) for tier in tiers}
        tiers[broken].faults = dict.fromkeys(methods, OSError("down"))
        if "get" in methods:
            tiers[broken].only = {ids[broken], None}  # type: ignore[arg-type]
        data = await memory.export()
        (kept,) = ids.keys() - {broken}
        assert [entry["id"] for entry in data["entries"]] == [ids[kept]]
        event = only_event(audit, operation="EXPORT")
        assert (event.status, event.error_type) == (PARTIAL, "OSError")
        assert event.metadata["stage"] in ("query", "list", "get")

    async def test_nothing_was_there(self, memory: Any, audit: AuditLogger) -> None:
        """An empty store exports nothing, and nothing failed: SUCCESS."""
        await memory.export(filter=Filter(user_id="ada", date_range=TODAY))
        event = only_event(audit)
        assert (event.status, "stage" in event.metadata) == (SUCCESS, False)


class TestRecall:
    @pytest.mark.parametrize("kind", UNCOMPARABLE)
    async def test_no_tier_answered(
        self, memory: Any, audit: AuditLogger, registry: CollectorRegistry, kind: str
    ) -> None:
        """The router passes over every tier: nothing was searched, FAILURE."""
        await memory.store("tea", {"user_id": "ada"})
        chosen, error = UNCOMPARABLE[kind]
        assert await memory.recall("tea", filter=chosen) == []
        event = only_event(audit, operation="RECALL")
        assert (event.status, event.error_type) == (FAILURE, error)
        assert event.metadata["stage"] == "filter"
        assert faults(registry) == {"filter": 1}

    @pytest.mark.parametrize(
        ("broken", "stage"),
        [({"query": OSError("down")}, "query"), ({"initialize": OSError()}, "open")],
    )
    async def test_one_tier(
        self, make_system: MakeSystem, audit: AuditLogger, broken: Any, stage: str
    ) -> None:
        """One tier answers, one does not: PARTIAL, and where it failed."""
        memory = make_system(session=FaultyAdapter(**broken))
        await memory.store("tea", tier="persistent")
        assert len(await memory.recall("tea")) == 1
        event = only_event(audit, operation="RECALL")
        assert (event.status, event.metadata["stage"]) == (PARTIAL, stage)

    async def test_tier_that_nobody_registered(
        self, tiered_config: Any, audit: AuditLogger
    ) -> None:
        """A tier of the configuration without an adapter is passed over: PARTIAL."""
        registry = AdapterRegistry()
        registry.register("persistent", "memory", adapter_instance=ListingAdapter())
        memory = MemorySystem(tiered_config, registry=registry)
        await memory.store("tea", tier="persistent")
        assert len(await memory.recall("tea")) == 1
        assert len(await memory.recall("tea", tiers=["persistent"])) == 1
        everywhere, there = history(audit, operation="RECALL")
        assert (everywhere.status, everywhere.error_type) == (PARTIAL, "KeyError")
        assert everywhere.metadata["stage"] == "open"
        assert there.status is SUCCESS


def exported(*ids: str, **changes: Any) -> dict[str, Any]:
    dated = {"created_at": "2025-01-15T10:30:45+00:00"}
    entries = [{"id": key, "text": "tea", "metadata": dated, **changes} for key in ids]
    return {"version": "1.0", "entries": [{"tier": "persistent", **entry} for entry in entries]}


class Mute(Summarizer):
    async def summarize(self, *args: Any, **kwargs: Any) -> str:
        raise ConnectionError("the model is away")


class Words(Summarizer):
    async def summarize(self, *args: Any, **kwargs: Any) -> str:
        return "words"


class Blind:
    async def embed(self, text: str) -> list[float]:
        raise TimeoutError("no embedding")


class Stubborn(ListingAdapter):
    """Answers that it does not delete."""

    async def delete(self, id: str) -> bool:
        return False


class TestChanges:
    @pytest.mark.parametrize(
        ("data", "told"),
        [
            (exported("a", metadata={}), ("entry_not_imported", "entry")),
            (exported("a", tier="nowhere"), ("entry_not_imported", "entry")),
            (exported("fails"), ("OSError", "save")),
        ],
    )
    async def test_import(
        self, make_system: MakeSystem, audit: AuditLogger, data: Any, told: Any
    ) -> None:
        """Errors that `import_from` only counts have a type and a place."""
        store = FaultyAdapter(save=OSError("full"))
        store.only = {"fails"}
        await make_system(persistent=store).import_from(data)
        event = only_event(audit)
        assert (event.status, (event.error_type, event.metadata["stage"])) == (PARTIAL, told)

    @pytest.mark.parametrize("stage", ["save", "delete", "compare"])
    async def test_sync(self, make_system: MakeSystem, audit: AuditLogger, stage: str) -> None:
        """So has what `sync` counts as skipped, or not at all."""
        source, target = FaultyAdapter(), FaultyAdapter()
        memory = make_system(session=source, persistent=target)
        if stage == "compare":
            naive = {"created_at": "2025-01-15T10:30:45"}
            await memory.import_from(exported("a", metadata=naive))
        await memory.import_from(exported("a", tier="session"))
        {"save": target, "delete": source, "compare": target}[stage].faults[stage] = OSError()
        await memory.sync("session", "persistent", delete_source=True)
        event = only_event(audit, operation="SYNC")
        error = "TypeError" if stage == "compare" else "OSError"
        assert (event.status, event.error_type) == (PARTIAL, error)
        assert (event.metadata["stage"], event.metadata["deleted"]) == (stage, 0)

    async def test_sync_that_leaves_the_source(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """`sync` counts a source entry as deleted whatever `delete` answered: not so the event."""
        memory = make_system(session=Stubborn())
        await memory.import_from(exported("a", tier="session"))
        result = await memory.sync("session", "persistent", delete_source=True)
        assert result["deleted"] == 1
        event = only_event(audit, operation="SYNC")
        assert (event.status, event.error_type) == (PARTIAL, "entry_still_present")
        assert (event.metadata["deleted"], event.metadata["remaining"]) == (0, 1)

    async def test_compact_that_leaves_the_sources(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """Nor does `compact` look: the originals are there, beside their summary."""
        memory = make_system(persistent=Stubborn())
        await memory.import_from(exported("a", "b"))
        result = await memory.compact("persistent", threshold=1, summarizer=Words())
        assert result["entries_after"] == 3
        event = only_event(audit, operation="COMPACT")
        told = event.error_type, event.metadata["stage"], event.metadata["remaining"]
        assert (event.status, told) == (PARTIAL, ("entry_still_present", "delete", 2))

    async def test_what_an_adapter_does_not_delete_for_itself(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """An adapter that deletes for itself what is not there has failed nobody."""

        class Tidy(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                await self.delete("old")
                return await super().save(entry)

        memory = make_system(session=ListingAdapter(), persistent=Tidy())
        await memory.import_from(exported("a", tier="session"))
        await memory.sync("session", "persistent", delete_source=True)
        event = only_event(audit, operation="SYNC")
        assert (event.status, event.metadata["deleted"]) == (SUCCESS, 1)

    @pytest.mark.parametrize(
        ("parts", "told"),
        [
            ({"summarizer": Mute()}, ("ConnectionError", "summary")),
            ({"summarizer": Words(), "embedder": Blind()}, ("TimeoutError", "embedding")),
        ],
    )
    async def test_compact(
        self, make_system: MakeSystem, audit: AuditLogger, parts: Any, told: Any
    ) -> None:
        """So has a group that could not be summarized."""
        memory = make_system()
        await memory.import_from(exported("a", "b"))
        await memory.compact("persistent", threshold=1, **parts)
        event = only_event(audit, operation="COMPACT")
        assert (event.status, (event.error_type, event.metadata["stage"])) == (PARTIAL, told)
        assert event.metadata["failed_groups"] == 1

    async def test_compact_with_the_systems_embedder(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """The system's own embedder is seen as well."""
        memory = make_system(embedder=Blind())
        await memory.import_from(exported("a", "b"))
        await memory.compact("persistent", threshold=1, summarizer=Words())
        assert only_event(audit, operation="COMPACT").error_type == "TimeoutError"

    async def test_transaction(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A commit raises without its cause: that is told beside what was raised."""
        memory = make_system(persistent=FaultyAdapter(save=PermissionError("no")))
        manager = memory.transaction()
        coordinator: Any = memory._transaction_coordinator
        coordinator.adapters["persistent"] = await memory.registry.get_adapter("persistent")

        async def work() -> None:
            async with manager as key:
                entry = MemoryEntry(text="tea")
                await coordinator.add_operation(key, "save", "persistent", entry=entry)

        with pytest.raises(RuntimeError, match="failed to commit"):
            await work()
        event = only_event(audit)
        assert (event.status, event.error_type) == (FAILURE, "RuntimeError")
        told = event.metadata["stage"], event.metadata["error_type"]
        assert told == ("save", "PermissionError")

    async def test_what_is_raised_is_not_swallowed(
        self, make_system: MakeSystem, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """An exception that reaches the caller is the event's, and is counted nowhere else."""
        memory = make_system(persistent=FaultyAdapter(save=OSError("full")), embedder=Blind())
        with pytest.raises(TimeoutError):
            await memory.store("tea")
        memory.router.embedder = memory.embedder = None
        with pytest.raises(OSError, match="full"):
            await memory.store("tea")
        assert ["stage" in event.metadata for event in history(audit)] == [False, False]
        assert faults(registry) == {}

    async def test_more_than_one(
        self, make_system: MakeSystem, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """Of several, the first is the event's; all are named and counted."""
        memory = make_system(
            session=FaultyAdapter(query=OSError("down")),
            ephemeral=FaultyAdapter(initialize=OSError("away")),
        )
        await memory.recall("tea")
        event = only_event(audit)
        assert event.metadata["swallowed"] == {"query": "OSError", "open": "RuntimeError"}
        assert event.metadata["stage"] in event.metadata["swallowed"]
        assert faults(registry) == {"query": 1, "open": 1}


class Patient(Mute):
    """Gets over what its base class raises."""

    async def summarize(self, *args: Any, **kwargs: Any) -> str:
        with suppress(ConnectionError):
            return await super().summarize(*args, **kwargs)
        return "words"


class Lenient(Broken):
    def matches(self, entry: MemoryEntry) -> bool:
        with suppress(LookupError):
            return super().matches(entry)
        return True


class Fallback:
    """Has another embedder of its own, and gets over what that raises."""

    def __init__(self) -> None:
        self.first = Blind()

    async def embed(self, text: str) -> list[float]:
        with suppress(TimeoutError):
            return await self.first.embed(text)
        return [1.0] * 384


class TestWhatIsNoFailure:
    """An error that a part handles itself is no failure, though its class failed before."""

    async def test_filter(self, memory: Any, audit: AuditLogger) -> None:
        """A filter that gets over what its base class raises."""
        await memory.store("tea")
        await memory.export(filter=Broken(user_id="ada"))
        await memory.export(filter=Lenient(user_id="ada"))
        failed, fine = history(audit, operation="EXPORT")
        assert (failed.status, fine.status, len(fine.entry_ids)) == (FAILURE, SUCCESS, 1)

    async def test_compact(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A summarizer and an embedder that try again."""
        memory = make_system()
        for summarizer, embedder in ((Mute(), Blind()), (Patient(), Fallback())):
            await memory.import_from(exported("a", "b"), overwrite=True)
            await memory.compact(
                "persistent", threshold=1, summarizer=summarizer, embedder=embedder
            )
        failed, fine = history(audit, operation="COMPACT")
        assert (failed.status, fine.status) == (PARTIAL, SUCCESS)
        assert "stage" not in fine.metadata


class TestHousekeeping:
    async def test_promotion(
        self, make_system: MakeSystem, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """The SDK cannot move what is often read: the caller got the right answer, and the recall
        is a SUCCESS that says what failed besides."""
        memory = make_system(session=ListingAdapter())
        entry_id = await memory.store("tea", tier="session")
        for _ in range(20):
            assert entry_id in [entry.id for entry in await memory.recall("tea")]
        events = history(audit, operation="RECALL")
        assert {event.status for event in events} == {SUCCESS}
        assert {event.error_type for event in events} == {None}
        told = [e.metadata["error_type"] for e in events if e.metadata.get("stage") == "promotion"]
        assert "stage" not in events[0].metadata
        assert len(told) > 5
        assert told == ["TypeError"] * len(told)
        assert faults(registry) == {"promotion": len(told)}
        assert [event.entry_ids for event in events] == [[entry_id]] * 20

    async def test_demotion(
        self, make_system: MakeSystem, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """So for a demotion, as a router of the user's own may try one."""
        memory: Any = make_system(session=ListingAdapter())
        route = memory.router.route_recall

        async def demoting(*args: Any, **kwargs: Any) -> Any:
            found = await route(*args, **kwargs)
            for entry in found:
                with pytest.raises(TypeError):
                    await memory.router._demote_entry(entry, "persistent", "session")
            return found

        memory.router.route_recall = demoting
        await memory.store("tea", tier="persistent")
        await memory.recall("tea")
        event = only_event(audit, operation="RECALL")
        assert (event.status, event.metadata["stage"]) == (SUCCESS, "demotion")
        assert faults(registry) == {"demotion": 1}

    async def test_promotion_of_a_routers_own(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A router that promotes in its own way by the SDK's: the same."""

        class Own(Router):
            async def _promote_entry(self, *args: Any) -> None:
                await super()._promote_entry(*args)

        memory = make_system(session=ListingAdapter())
        memory.router = Own(memory.config, memory.registry, memory.policy_engine)
        await memory.store("tea", importance=1.0, tier="session")
        for _ in range(3):
            await memory.recall("tea")
        event = audit.query_events(limit=1)[0]
        assert (event.status, event.metadata["stage"]) == (SUCCESS, "promotion")

    async def test_beside_a_failure(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A tier that fails makes the recall PARTIAL, whatever the housekeeping does."""
        memory = make_system(
            session=ListingAdapter(), ephemeral=FaultyAdapter(query=OSError("down"))
        )
        await memory.store("tea", importance=1.0, tier="session")
        for _ in range(3):
            await memory.recall("tea")
        event = audit.query_events(limit=1)[0]
        assert (event.status, event.error_type, event.metadata["stage"]) == (
            PARTIAL,
            "OSError",
            "query",
        )
        assert event.metadata["swallowed"] == {"query": "OSError", "promotion": "TypeError"}

    async def test_that_reaches_the_caller(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A router that lets it through: the call failed."""
        memory: Any = make_system(session=ListingAdapter())

        async def eager(*args: Any, **kwargs: Any) -> Any:
            await memory.router._promote_entry(MemoryEntry(text="tea"), "session", "persistent")

        memory.router.route_recall = eager
        with pytest.raises(TypeError, match="entry_id"):
            await memory.recall("tea")
        event = only_event(audit)
        assert event.status is not SUCCESS
        assert (event.error_type, "stage" in event.metadata) == ("TypeError", False)


async def test_every_stage_is_there_from_the_start(
    make_audit: Make, registry: CollectorRegistry
) -> None:
    """Every stage has its series at 0 before anything failed."""
    make_audit(name="other")
    counted = samples(registry, "axon_audit_sdk_faults_total")
    stages = {s.labels["stage"] for s in counted if s.labels["trail"] == "other"}
    assert {"promotion", "demotion", "query", "filter", "open", "delete"} <= stages
    assert faults(registry) == {}


async def test_uninstrumented(instrumented: AxonInstrumentor, config: Any) -> None:
    """Afterwards a filter's comparison is the SDK's own again."""
    before = vars(Filter)["matches"]
    memory = MemorySystem(config)
    await memory.export(filter=Filter(user_id="ada"))
    assert vars(Filter)["matches"] is not before
    instrumented.uninstrument()
    assert vars(Filter)["matches"] is before


class TestDeleted:
    """Every FORGET has the number of entries that are gone because of it; so has any other
    operation that deletes."""

    @pytest.mark.parametrize("how", ["forget", "route_forget", "delete"])
    async def test_nothing_found(
        self, memory: Any, audit: AuditLogger, registry: CollectorRegistry, how: str
    ) -> None:
        """A missing entry is reported as missing, and counted as a deletion nowhere."""
        adapter = await memory.registry.get_adapter("persistent")
        calls = {
            "forget": memory.forget,
            "route_forget": memory.router.route_forget,
            "delete": adapter.delete,
        }
        await calls[how]("nothing")
        event = only_event(audit)
        assert (event.status, event.entry_ids) == (SUCCESS, ["nothing"])
        assert (event.metadata["deleted"], event.metadata["found"]) == (0, 0)
        assert deletions(registry) == 0

    async def test_clear_of_nothing(self, memory: Any, audit: AuditLogger) -> None:
        """So is a `clear` of an empty store, but of none that cannot be looked into."""
        store = await memory.registry.get_adapter("persistent")
        store.clear()
        assert only_event(audit).metadata["found"] == 0
        blind = FaultyAdapter(list_ids=OSError("no list"))
        memory.registry.register("persistent", "memory", adapter_instance=blind)
        blind.clear()
        assert "found" not in history(audit)[-1].metadata

    @pytest.mark.parametrize(
        "failing", ["forget", "route_forget", "delete", "clear", "refused", "unlisted clear"]
    )
    async def test_failed(
        self, make_system: MakeSystem, audit: AuditLogger, registry: CollectorRegistry, failing: str
    ) -> None:
        """A deletion that fails has deleted 0."""

        class Full(FaultyAdapter):
            def clear(self) -> None:
                raise OSError("read only")

        store = Full()
        memory: Any = make_system(persistent=store)
        entry_id = await memory.store("tea")
        store.faults = {"delete": OSError("down")}
        if failing == "unlisted clear":
            store.faults["list_ids"] = OSError("down")
        calls: dict[str, Any] = {
            "forget": lambda: memory.forget(entry_id),
            "route_forget": lambda: memory.router.route_forget(entry_id),
            "delete": lambda: store.delete(entry_id),
            "refused": lambda: memory.forget(),
        }
        with suppress(OSError, ValueError):
            await calls[failing]() if failing in calls else store.clear()
        event = only_event(audit, operation="FORGET")
        assert event.status is FAILURE
        assert event.metadata["deleted"] == 0
        assert isinstance(event.metadata["deleted"], int)
        assert deletions(registry) == 0

    async def test_clear_that_cannot_name_them(
        self, make_system: MakeSystem, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """A `clear` of what cannot be listed still says how many there were."""
        store = FaultyAdapter()
        memory = make_system(persistent=store)
        for text in ("tea", "coffee"):
            await memory.store(text)
        store.faults = {"list_ids": OSError("no list")}
        store.clear()
        event = only_event(audit, operation="FORGET")
        assert event.metadata["entry_ids_unknown"] is True
        assert (event.metadata["deleted"], event.entry_ids) == (2, [])
        assert deletions(registry) == 2

    @pytest.mark.parametrize("operation", ["SYNC", "COMPACT", "STORE", "EXPORT"])
    async def test_other_operations(
        self, make_system: MakeSystem, audit: AuditLogger, operation: str
    ) -> None:
        """Deletions of another operation are counted in its event."""

        class Small(ListingAdapter):
            """Deletes what is old, when it is used."""

            async def save(self, entry: MemoryEntry) -> str:
                await self.expire()
                return await super().save(entry)

            async def query(self, vector: Any, k: int = 5, filter: Any = None) -> Any:
                await self.expire()
                return await super().query(vector, k, filter)

            async def expire(self) -> None:
                for key in [key for key in self._storage if key.startswith("old")]:
                    await self.delete(key)

        store = Small() if operation in ("STORE", "EXPORT") else ListingAdapter()
        memory = make_system(session=store)
        names = ("old1", "old2")
        for key in names:
            store._storage[key] = MemoryEntry(id=key, text="tea")
        calls: dict[str, Any] = {
            "SYNC": lambda: memory.sync("session", "persistent", delete_source=True),
            "COMPACT": lambda: memory.compact("session", threshold=1, summarizer=Words()),
            "STORE": lambda: memory.store("new", tier="session"),
            "EXPORT": lambda: memory.export(tier="session"),
        }
        await calls[operation]()
        event = only_event(audit)
        assert (event.operation.value, event.metadata["deleted"]) == (operation, 2)
        assert set(names) <= set(event.entry_ids)
