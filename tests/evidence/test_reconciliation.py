"""Store against trail: `AuditLogger.reconcile`."""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from axon import Filter, MemoryEntry, MemorySystem
from axon.models import MemoryMetadata
from conftest import (
    FaultyAdapter,
    ListingAdapter,
    Make,
    MakeSystem,
    only_event,
    retire,
    sealed_files,
)

from axon_audit_otel import (
    AuditConfigError,
    AuditEvent,
    AuditLogger,
    EventStatus,
    OperationType,
    audit_context,
)
from axon_audit_otel.evidence.reconciliation import Copy, Limits, OnRecord, compare
from axon_audit_otel.integrations.axon.stored import StoredMemory


def found(result: Any) -> dict[str, list[str]]:
    """The ids of the findings, by kind; kinds without any are left out."""
    return {
        kind: [one["entry_id"] for one in some] for kind, some in result.findings.items() if some
    }


def doubts(result: Any) -> dict[str, list[str]]:
    """What cannot be known, by reason."""
    return {reason: ids for reason, ids in result.unknown.items() if ids}


def put(adapter: Any, key: str, text: str = "tea", **metadata: Any) -> None:
    """Insert an entry behind the trail's back."""
    adapter._storage[key] = MemoryEntry(id=key, text=text, metadata=MemoryMetadata(**metadata))


def change(adapter: Any, key: str, text: str) -> None:
    """Change a text behind the trail's back."""
    entry = adapter._storage[key]
    adapter._storage[key] = entry.model_copy(update={"text": text})


@pytest.fixture(name="adapter")
def _adapter() -> ListingAdapter:
    return ListingAdapter()


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    return tmp_path / "audit"


@pytest.fixture(name="logger")
def _logger(make_audit: Make, archive: Path) -> AuditLogger:
    return make_audit(auto_export_path=archive)


@pytest.fixture(name="system")
def _system(make_system: MakeSystem, logger: AuditLogger, adapter: ListingAdapter) -> MemorySystem:
    return make_system(audit_logger=logger, persistent=adapter, session=ListingAdapter())


async def store(system: Any, *texts: str, **more: Any) -> list[str]:
    return [await system.store(text, tier="persistent", **more) for text in texts]


async def test_agreeing(system: Any, logger: AuditLogger) -> None:
    """A store that the trail knows agrees: after stores, an import over them, a move, a forget."""
    keys = await store(system, "tea", "Größe 中文 🫖", "x" * 100_000, user_id="bob")
    await system.store("milk", tier="session")
    await system.import_from(await system.export(), overwrite=True)
    await system.sync("session", "persistent", delete_source=True)
    await system.forget(keys[0])
    result = await logger.reconcile(system)
    assert (result.agrees, found(result), doubts(result)) == (True, {}, {})
    assert (result.in_store, result.on_record, result.matching) == (3, 3, 3)
    assert result.by_tier == {"persistent": 3}


async def test_every_finding(system: Any, logger: AuditLogger, adapter: ListingAdapter) -> None:
    """What was inserted, removed, changed and brought back behind the trail is found, at once."""
    _, lost, changed, back = await store(system, "a", "b", "c", "d", user_id="bob")
    saved = adapter._storage[back]
    await system.forget(back)
    del adapter._storage[lost]
    change(adapter, changed, "C")
    adapter._storage[back] = saved
    put(adapter, "new", user_id="mallory")
    result = await logger.reconcile(system)
    assert found(result) == {
        "unrecorded": ["new"],
        "missing": [lost],
        "altered": [changed],
        "forgotten_present": [back],
    }
    assert (result.agrees, result.whole, result.matching) == (False, True, 1)
    (one,) = result.findings["forgotten_present"]
    (forget,) = logger.query_events(operation="FORGET")
    assert (one["event_id"], one["tiers"], one["owner"]) == (forget.event_id, ["persistent"], "bob")
    assert result.findings["unrecorded"][0]["owner"] == "mallory"


@pytest.mark.parametrize("archived", [True, False])
async def test_another_process(
    make_system: MakeSystem, make_audit: Make, archive: Path, adapter: Any, archived: bool
) -> None:
    """After a restart the archive knows what the process before has stored; without an archive
    nobody does, and that is no finding."""
    place = {"auto_export_path": archive} if archived else {}
    (kept,) = await store(make_system(audit_logger=make_audit(**place), persistent=adapter), "tea")
    second = make_audit(**place)
    result = await second.reconcile(make_system(audit_logger=second, persistent=adapter))
    assert (result.agrees, found(result)) == (archived, {})
    assert doubts(result) == ({} if archived else {"unknown_before": [kept]})


async def test_older_than_the_trail(system: Any, logger: AuditLogger, adapter: Any) -> None:
    """Of what is older than the trail nobody knows who stored it; of what is younger, that
    nobody has."""
    await store(system, "tea")
    put(adapter, "old", created_at=datetime.now(timezone.utc) - timedelta(days=3))
    put(adapter, "new", created_at=datetime.now(timezone.utc))
    result = await logger.reconcile(system)
    assert (found(result), doubts(result)) == ({"unrecorded": ["new"]}, {"unknown_before": ["old"]})
    assert (result.whole, result.agrees) == (False, False)
    await system.import_from(await system.export(), overwrite=True)
    result = await logger.reconcile(system)
    assert (result.agrees, result.matching) == (True, 3)


async def test_retention(
    make_system: MakeSystem, make_audit: Make, archive: Path, adapter: Any
) -> None:
    """Where retention has deleted the files that knew of an entry, it cannot be known."""
    first = make_audit(auto_export_path=archive)
    (old,) = await store(make_system(audit_logger=first, persistent=adapter), "tea")
    sealed = first.seal()
    (young,) = await store(make_system(audit_logger=first, persistent=adapter), "milk")
    assert sealed is not None
    retire(sealed)
    logger = make_audit(auto_export_path=archive, name="another")
    system = make_system(audit_logger=logger, persistent=adapter)
    result = await logger.reconcile(system)
    assert (found(result), doubts(result)) == ({}, {"unknown_before": [old]})
    del adapter._storage[young]
    assert found(await logger.reconcile(system)) == {"missing": [young]}


async def compacted(system: Any) -> tuple[str, list[str]]:
    """Two entries, of Alice and of Bob, in one summary: its id, and theirs."""
    sources = [
        *await store(system, "Alice likes tea", importance=0.2, user_id="alice"),
        *await store(system, "Bob likes milk", importance=0.2, user_id="bob"),
    ]
    await system.compact("persistent", strategy="count", threshold=1, summarizer=Joining())
    ((summary,),) = [(await system.registry.get_adapter("persistent"))._storage]
    return summary, sources


class Joining:
    """A summarizer without a model."""

    async def summarize(self, entries: list[MemoryEntry], *args: Any, **kwargs: Any) -> str:
        return " ".join(entry.text for entry in entries)


async def test_compaction(system: Any, logger: AuditLogger) -> None:
    """What a compaction has deleted is not missing, and its summary is on record, and no orphan."""
    await compacted(system)
    result = await logger.reconcile(system)
    assert (result.agrees, found(result), result.matching) == (True, {}, 1)


async def test_orphans(system: Any, logger: AuditLogger) -> None:
    """A summary of entries of a person who was forgotten is found, with sources and owners."""
    summary, sources = await compacted(system)
    await system.forget(filter=Filter(user_id="bob"))
    result = await logger.reconcile(system)
    assert found(result) == {"derived_orphaned": [summary]}
    (one,) = result.findings["derived_orphaned"]
    assert sorted(one["sources"]) == sorted(sources)
    assert one["owners"] == ["alice", "bob"]
    await system.forget(summary)
    assert (await logger.reconcile(system)).agrees


async def test_one_tier(system: Any, logger: AuditLogger, adapter: Any) -> None:
    """What was deleted in one tier may be in another; in that tier it may not be."""
    (key,) = await store(system, "tea")
    await system.sync("persistent", "session")
    entry = adapter._storage[key]
    await system.forget(key, tier="persistent")
    assert (await logger.reconcile(system)).agrees
    adapter._storage[key] = entry
    result = await logger.reconcile(system)
    assert found(result) == {"forgotten_present": [key]}
    assert result.findings["forgotten_present"][0]["tiers"] == ["persistent"]
    await system.forget(key)
    assert (await logger.reconcile(system)).agrees


class Busy(ListingAdapter):
    """Calls functions, one after the other, each while an entry is read."""

    def __init__(self) -> None:
        super().__init__()
        self.meanwhile: list[Any] = []

    async def get(self, id: str) -> MemoryEntry:
        entry = await super().get(id)
        calls, self.meanwhile = self.meanwhile, []
        if calls:
            await calls.pop(0)()
            self.meanwhile = calls
        return entry


async def test_meanwhile(make_system: MakeSystem, logger: AuditLogger) -> None:
    """Entries that are stored, changed or deleted between the two readings are no findings."""
    adapter = Busy()
    system: Any = make_system(audit_logger=logger, persistent=adapter)
    first, gone, changed = await store(system, "a", "b", "c")

    async def meanwhile() -> None:
        await store(system, "new")
        await system.forget(first)
        await system.forget(gone)
        export = await system.export()
        for entry in export["entries"]:
            entry["text"] += "!"
        await system.import_from(export, overwrite=True)

    adapter.meanwhile = [meanwhile]
    result = await logger.reconcile(system)
    assert (found(result), doubts(result), result.agrees) == ({}, {}, True)
    assert sorted(e.text for e in adapter._storage.values()) == ["c!", "new!"]
    assert changed in adapter._storage


@pytest.mark.parametrize("times", [1, 2, 4, 30])
async def test_changing(make_system: MakeSystem, logger: AuditLogger, times: int) -> None:
    """An entry that changes each time when it is looked at is looked at again, and in the end
    nothing is said of it."""
    adapter = Busy()
    system: Any = make_system(audit_logger=logger, persistent=adapter)
    (key,) = await store(system, "tea")

    async def change_it() -> None:
        export = await system.export()
        export["entries"][0]["text"] += "!"
        await system.import_from(export, overwrite=True)

    adapter.meanwhile = [change_it] * times
    result = await logger.reconcile(system)
    assert (found(result), result.whole) == ({}, times < 30)
    assert doubts(result) == ({} if times < 30 else {"unsettled": [key]})


async def test_an_operation_that_runs(make_system: MakeSystem, logger: AuditLogger) -> None:
    """An entry of an import that has saved it, and is not recorded yet, is no finding."""
    saved, listed = asyncio.Event(), asyncio.Event()

    class Slow(ListingAdapter):
        async def save(self, entry: MemoryEntry) -> str:
            key = await super().save(entry)
            saved.set()
            await listed.wait()
            return key

        def list_ids(self) -> list[str]:
            asyncio.get_running_loop().call_later(0.4, listed.set)
            return super().list_ids()

    system: Any = make_system(audit_logger=logger, persistent=Slow())
    await logger.log_event("STORE", entry_ids=[])
    task = asyncio.create_task(system.import_data(["tea"]))
    await saved.wait()
    result = await logger.reconcile(system)
    assert (result.agrees, result.in_store) == (True, 1)
    await task


async def test_reading_changes_nothing(system: Any, logger: AuditLogger, adapter: Any) -> None:
    """Reading is no recall and no export, and leaves the entries as they are."""
    await store(system, "tea", user_id="bob")
    before = [entry.model_dump() for entry in adapter._storage.values()]
    await logger.reconcile(system)
    assert [entry.model_dump() for entry in adapter._storage.values()] == before
    assert [e.operation.value for e in logger.query_events()] == ["AUDIT", "STORE"]


async def test_the_record(system: Any, logger: AuditLogger, adapter: Any) -> None:
    """Each run is an AUDIT event: who ran it, the counts, the first ids of what was found."""
    await store(system, "tea", user_id="bob")
    for number in range(30):
        put(adapter, f"new-{number}", user_id="mallory")
    with audit_context(user_id="dpo"):
        await logger.reconcile(system)
    event = only_event(logger, operation="AUDIT", user_id="dpo")
    facts = event.metadata
    assert (event.status, facts["record"]) == (EventStatus.PARTIAL, "reconcile")
    assert (facts["in_store"], facts["on_record"], facts["matching"]) == (31, 1, 1)
    assert (facts["found"], len(facts["first"]["unrecorded"])) == ({"unrecorded": 30}, 20)
    assert "mallory" not in str(facts)


HOSTILE = ["a\nb", "\x1b[31mred", "<b>&", "x" * 600, "ü\ud800", "a:b", " ", "../etc"]


async def test_hostile_ids(system: Any, logger: AuditLogger, adapter: Any) -> None:
    """Ids of any kind are compared, also those that events have in another form."""
    entries = [MemoryEntry(id=key, text=f"text of {number}") for number, key in enumerate(HOSTILE)]
    await adapter.bulk_save(entries)
    result = await logger.reconcile(system)
    assert (result.agrees, result.matching) == (True, len(HOSTILE)), result.findings
    for key in HOSTILE:
        change(adapter, key, "evil")
    assert len(found(await logger.reconcile(system))["altered"]) == len(HOSTILE)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"pseudonymize": b"a long enough secret, is it not"}, {}])
@pytest.mark.parametrize("erasable", [True, False])
async def test_hidden_owners(
    make_system: MakeSystem, make_audit: Make, archive: Path, how: Any, erasable: bool
) -> None:
    """Texts are compared where owners are hashed or encrypted; of one who was erased they cannot
    be, and no key is made for anybody."""
    adapter = ListingAdapter()
    logger = make_audit(auto_export_path=archive, erasable=erasable, **how)
    system: Any = make_system(audit_logger=logger, persistent=adapter)
    bobs, alices = [(await store(system, "tea", user_id=user))[0] for user in ("bob", "alice")]
    assert (await logger.reconcile(system)).matching == 2
    change(adapter, bobs, "evil")
    result = await logger.reconcile(system)
    assert found(result) == {"altered": [bobs]}
    assert result.findings["altered"][0]["owner"] == logger.trail.policy.hidden("user_id", "bob")
    if erasable:
        keys = archive.with_name("audit.keys")
        logger.erase_user("bob")
        put(adapter, "new", user_id="nobody has seen me")
        before = {file: file.read_bytes() for file in keys.iterdir()}
        result = await logger.reconcile(system)
        assert found(result) == {"unrecorded": ["new"]}
        assert (result.matching, result.not_comparable) == (1, 1)
        assert {file: file.read_bytes() for file in keys.iterdir()} == before
        assert alices in adapter._storage


async def test_settings_that_changed(
    make_system: MakeSystem, make_audit: Make, archive: Path
) -> None:
    """What was recorded before ids were hashed is compared as well, and what was with a secret of
    before; another secret for fingerprints can only say that it does not know."""
    adapter = ListingAdapter()
    old, new = b"the secret of last year ", b"the secret of this year"
    for number, how in enumerate(({}, {"pseudonymize": old}, {"pseudonymize": [new, old]})):
        logger = make_audit(auto_export_path=archive, **how)
        system: Any = make_system(audit_logger=logger, persistent=adapter)
        await store(system, f"text {number}", user_id="bob")
        result = await logger.reconcile(system)
        assert (result.agrees, result.matching) == (True, number + 1)
        logger.close()
    logger = make_audit(auto_export_path=archive, pseudonymize=[new, old], fingerprints=b"else")
    system = make_system(audit_logger=logger, persistent=adapter)
    result = await logger.reconcile(system)
    assert (result.agrees, result.matching, result.not_comparable) == (True, 0, 3)


async def test_another_secret(make_system: MakeSystem, make_audit: Make, archive: Path) -> None:
    """With another secret every text would seem altered: that is refused."""
    adapter = ListingAdapter()
    first = make_audit(auto_export_path=archive, pseudonymize=b"the secret of the application")
    await store(make_system(audit_logger=first, persistent=adapter), "tea", user_id="bob")
    first.close()
    for how in ({}, {"pseudonymize": b"another secret of somebody"}):
        logger = make_audit(auto_export_path=archive, **how)
        with pytest.raises(AuditConfigError, match=r"ids on record are hashed: .* secret"):
            await logger.reconcile(make_system(audit_logger=logger, persistent=adapter))


async def test_without_fingerprints(make_system: MakeSystem, make_audit: Make) -> None:
    """Without fingerprints entries are compared by their ids alone."""
    logger, adapter = make_audit(fingerprints=False), ListingAdapter()
    system: Any = make_system(audit_logger=logger, persistent=adapter)
    (key,) = await store(system, "tea")
    change(adapter, key, "evil")
    result = await logger.reconcile(system)
    assert (found(result), result.matching, result.not_comparable) == ({}, 0, 1)


async def test_adapters_that_fail(make_system: MakeSystem, logger: AuditLogger) -> None:
    """An entry that cannot be read is said to be there; a store that gives nothing is an error."""
    adapter = FaultyAdapter()
    system: Any = make_system(audit_logger=logger, persistent=adapter)
    keys = await store(system, "a", "b")
    adapter.faults, adapter.only = {"get": OSError("damaged"), "query": OSError("no")}, {keys[0]}
    adapter.only = {keys[0], None}  # type: ignore[arg-type]
    result = await logger.reconcile(system)
    assert (found(result), result.unreadable, result.whole) == ({}, {"persistent": 1}, False)
    adapter.faults["list_ids"], adapter.only = OSError("down"), None
    with pytest.raises(OSError, match="down"):
        await logger.reconcile(system)


async def test_lists_that_are_cut(make_system: MakeSystem, logger: AuditLogger) -> None:
    """What a store does not list is looked up by the ids on record; what is left is said."""

    class Cut(ListingAdapter):
        def list_ids(self) -> list[str]:
            return super().list_ids()[:2]

        async def query(self, *args: Any, **kwargs: Any) -> list[MemoryEntry]:
            return (await super().query(*args, **kwargs))[:2]

    adapter = Cut()
    system: Any = make_system(audit_logger=logger, persistent=adapter)
    keys = await store(system, "a", "b", "c", "d", "e")
    saved = adapter._storage[keys[4]]
    await system.forget(keys[4])
    result = await logger.reconcile(system)
    assert (result.agrees, result.in_store, result.unlisted) == (True, 4, {})
    adapter._storage[keys[4]] = saved
    put(adapter, "new")
    result = await logger.reconcile(system)
    assert found(result) == {"forgotten_present": [keys[4]]}
    assert (result.unlisted, result.whole) == ({"persistent": 1}, False)


async def test_more_than_an_event_names(make_system: MakeSystem, make_audit: Make) -> None:
    """Entries of an import that is too large to name them all may be theirs: that is no finding."""
    logger, adapter = make_audit(max_event_bytes=16_384), ListingAdapter()
    system: Any = make_system(audit_logger=logger, persistent=adapter)
    await system.import_data([f"text {number}" for number in range(600)])
    event = only_event(logger, operation="IMPORT")
    assert len(event.entry_ids) < 600
    result = await logger.reconcile(system)
    assert (found(result), result.in_store) == ({}, 600)
    assert len(result.unknown["unnamed"]) == 600 - len(event.entry_ids)
    put(adapter, "new", created_at=datetime.now(timezone.utc))
    assert found(await logger.reconcile(system)) == {"unrecorded": ["new"]}


async def test_by_hand(system: Any, logger: AuditLogger, adapter: Any) -> None:
    """An operation that failed may have left an entry, or not: neither is a finding."""
    for key in ("there", "not there"):
        await logger.log_event("STORE", entry_ids=[key], status="FAILURE")
    put(adapter, "there")
    assert found(await logger.reconcile(system)) == {}


@pytest.mark.parametrize("memory", [None, "memory", 7, object()])
async def test_no_memory(logger: AuditLogger, memory: Any) -> None:
    """What is no memory is refused."""
    with pytest.raises(AuditConfigError, match=r"must be an axon\.MemorySystem"):
        await logger.reconcile(memory)


async def test_lost_events(
    make_system: MakeSystem, make_audit: Make, archive: Path, adapter: Any
) -> None:
    """A file that is gone makes the answer incomplete, and says so."""
    with make_audit(auto_export_path=archive) as first:
        await store(make_system(audit_logger=first, persistent=adapter), "tea")
    (sealed,) = sealed_files(archive)
    sealed.unlink()
    logger = make_audit(auto_export_path=archive)
    result = await logger.reconcile(make_system(audit_logger=logger, persistent=adapter))
    assert not result.whole
    assert sealed.name in str(result.lacking)


# --- the comparison alone -----------------------------------------------------------------------


NOW = datetime(2026, 6, 1, tzinfo=timezone.utc)


def told(operation: str, *ids: str, hours: float = 1, **fields: Any) -> AuditEvent:
    """An event of some *hours* ago."""
    given = {"user_id": None, "session_id": None, "metadata": {}, "duration_ms": None, **fields}
    return AuditEvent(
        event_id=f"evt_{operation}_{'_'.join(ids)}_{hours}",
        timestamp=NOW - timedelta(hours=hours),
        operation=OperationType(operation),
        entry_ids=list(ids),
        status=EventStatus(given.pop("status", "SUCCESS")),
        **given,
    )


def compared(events: list[AuditEvent], store: dict[str, list[Copy]], **limits: Any) -> Any:
    record = OnRecord()
    for event in events:
        record.add(event)
    return compare(store, record, Limits(None, NOW, **limits), set())


LIFETIMES = {"ephemeral": 60, "session": 5400, "persistent": None}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"tier": "ephemeral"}, "may_have_expired"),
        ({"tier": "session"}, "missing"),
        ({"tier": "persistent"}, "missing"),
        ({"importance": 0.1}, "may_have_expired"),
        ({"importance": 0.5}, "missing"),
        ({"importance": 1}, "missing"),
        ({"by_tier": {"persistent": 1}}, "missing"),
        ({"by_tier": {"ephemeral": 1, "persistent": 1}}, "may_have_expired"),
        ({"target_tier": "ephemeral"}, "may_have_expired"),
        ({"importance": True, "by_tier": ["persistent"], "tier": 7}, "may_have_expired"),
        ({"importance": float("nan")}, "may_have_expired"),
        ({"tier": "another"}, "may_have_expired"),
        ({}, "may_have_expired"),
    ],
)
def test_expiry(make_system: MakeSystem, facts: Any, expected: str) -> None:
    """What a tier lets expire is not missing once that time is over; the tier is the one that the
    event names, or that its importance stands for, or any."""
    tiers = dict.fromkeys(LIFETIMES, ListingAdapter())
    stored = StoredMemory(make_system(**tiers))
    limits = {"lifetimes": LIFETIMES, "tiers_of": stored.tiers_of}
    result = compared([told("STORE", "a", metadata=facts)], {}, **limits)
    assert {**found(result), **doubts(result)} == {expected: ["a"]}


def test_chains() -> None:
    """What was made of a summary of what is forgotten is an orphan as well; what was made of
    entries that a compaction has replaced is none."""
    events = [
        told("STORE", "a", "b", hours=9),
        told("BULK_STORE", "s", hours=8, derived_from=("a",)),
        told("BULK_STORE", "t", hours=7, derived_from=("s",)),
        told("COMPACT", "b", "u", hours=6, derived_from=("b",), metadata={"deleted": 1}),
        told("FORGET", "a", hours=5),
    ]
    store = {key: [Copy("persistent")] for key in "stu"}
    result = compared(events, store)
    assert found(result) == {"derived_orphaned": ["s", "t"]}
    again = told("STORE", "a", hours=1)
    assert found(compared([*events, again], {**store, "a": [Copy("persistent")]})) == {}


def test_circles() -> None:
    """Entries that say of each other that they were made of them are looked at once."""
    events = [
        told("BULK_STORE", "a", derived_from=("b",)),
        told("BULK_STORE", "b", derived_from=("a",)),
    ]
    assert found(compared(events, {key: [Copy("x")] for key in "ab"})) == {}


@pytest.mark.parametrize(
    ("prints", "expected"),
    [
        ({"a": ["kkk1"]}, {"altered": ["a"]}),
        ({"a": ["kkk2"]}, {}),
        ({"a": ["kkk2"], "b": ["kkk1"]}, {}),
        ({"a": ["kkk2"], "b": ["kkk3"]}, {"altered": ["a"]}),
        ({"a": ["kkk1"], "b": ["kkk1"]}, {"altered": ["a"]}),
        ({"a": ["other"]}, {}),
        ({"a": []}, {}),
        ({"a": ["other", "kkk2"]}, {}),
        ({"a": ["other", "kkk1"]}, {"altered": ["a"]}),
    ],
)
def test_versions(prints: dict[str, list[str]], expected: Any) -> None:
    """A text of before is altered, but in a second tier beside the newest; a fingerprint with
    another key says nothing."""
    events = [
        told("STORE", "a", hours=2, fingerprints={"a": "kkk1"}),
        told("IMPORT", "a", hours=1, fingerprints={"a": "kkk2"}),
    ]
    copies = [Copy(tier, None, tuple(some)) for tier, some in prints.items()]
    assert found(compared(events, {"a": copies})) == expected


def test_odd_facts() -> None:
    """Facts of any type, as another program may have recorded them, end no answer."""
    odd = {"deleted": "many", "derived_remaining": 7, "entry_ids_total": [], "tier": {}}
    for name in ("STORE", "FORGET", "COMPACT", "IMPORT", "SYNC", "RECALL"):
        event = told(name, "a", metadata={**odd, "altered": "a", "derived": [1], "outcome": 3})
        assert found(compared([told("STORE", "a", hours=2), event], {"a": [Copy("x")]})) == (
            {"forgotten_present": ["a"]} if name == "FORGET" else {}
        )


@pytest.mark.parametrize("lost", ["gap", "unfinished"])
def test_events_that_were_lost(lost: str) -> None:
    """Where the trail says that it has lost events, entries from before may be theirs."""
    events = [told("STORE", "a", hours=9), told("AUDIT", hours=3, metadata={"record": lost})]
    old, new = NOW - timedelta(hours=4), NOW - timedelta(hours=2)
    store = {"old": [Copy("x", created=old)], "new": [Copy("x", created=new)]}
    result = compared(events, store)
    assert found(result) == {"unrecorded": ["new"]}
    assert doubts(result) == {"unnamed": ["old", "a"]}


def test_what_was_rolled_back() -> None:
    """Entries of a transaction that was rolled back need not be there, and may."""
    event = told("TRANSACTION", "a", "b", metadata={"outcome": "rolled_back"}, status="PARTIAL")
    assert found(compared([event], {"a": [Copy("x")]})) == {}


@pytest.mark.slow
async def test_ten_thousand(system: Any, logger: AuditLogger, adapter: Any) -> None:
    """Ten thousand entries, each of which is compared."""
    for number in range(10_000):
        await system.store(f"text {number}", {"user_id": f"user-{number % 100}"}, tier="persistent")
    began = time.perf_counter()
    result = await logger.reconcile(system)
    assert (result.agrees, result.matching) == (True, 10_000)
    print(f"10,000 entries: {time.perf_counter() - began:.2f} s")
