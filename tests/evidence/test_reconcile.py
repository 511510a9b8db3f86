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
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, only_event

from axon_audit_otel import AuditConfigError, AuditLogger, EventStatus

FINDINGS = ("unrecorded", "missing", "altered", "forgotten_present", "derived_orphaned")


def found(result: Any) -> dict[str, list[str]]:
    """The ids of the findings, by kind; kinds without any are left out."""
    return {kind: [one["entry_id"] for one in some] for kind, some in result.findings.items() if some}


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
    kept, lost, changed, back = await store(system, "a", "b", "c", "d", user_id="bob")
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
