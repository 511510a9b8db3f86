"""What other processes record in an archive counts here too: each logger is a writer of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import ListingAdapter, Make, MakeSystem

from axon_audit_otel import AuditLogger

pytestmark = pytest.mark.usefixtures("instrumented", "without_start_record")


class Process:
    """A process with its own logger and memory over the one store."""

    def __init__(
        self, make_audit: Make, make_system: MakeSystem, logs: Path, store: dict[str, Any]
    ) -> None:
        self.audit: AuditLogger = make_audit(100, logs)
        self.adapter = ListingAdapter()
        self.adapter._storage = store
        self.memory: Any = make_system(audit_logger=self.audit, persistent=self.adapter)

    def facts(self) -> dict[str, Any]:
        """What its newest event says of entries that are not as they should be."""
        facts = self.audit.query_events(limit=1)[0].metadata
        return {key: facts[key] for key in ("altered", "resurrected") if key in facts}


@pytest.fixture
def processes(make_audit: Make, make_system: MakeSystem, tmp_path: Path) -> list[Process]:
    store: dict[str, Any] = {}
    return [Process(make_audit, make_system, tmp_path / "logs", store) for _ in range(2)]


async def test_changed_by_another(processes: list[Process]) -> None:
    """What another process has changed and recorded is no alteration."""
    one, other = processes
    entry = await one.memory.store("green tea", user_id="ann")
    await other.memory.recall("tea")
    data = await one.memory.export()
    data["entries"][0]["text"] = "black tea"
    await one.memory.import_from(data, overwrite=True)
    await other.memory.recall("tea")
    assert other.facts() == {}
    one.adapter._storage[entry].text = "white tea"
    for process in processes:
        await process.memory.recall("tea")
        assert process.facts() == {"altered": [entry]}


async def test_deleted_by_another(processes: list[Process]) -> None:
    """What another process has forgotten and somebody has put back, is back here too."""
    one, other = processes
    entry = await one.memory.store("green tea", user_id="ann")
    await other.memory.recall("tea")
    kept = one.adapter._storage[entry]
    await one.memory.forget(entry)
    one.adapter._storage[entry] = kept
    assert other.audit.trail.entries.look(at_once=True)
    await other.memory.recall("tea")
    assert other.facts() == {"resurrected": [entry]}


async def test_brought_back_by_another(processes: list[Process]) -> None:
    """What one process has forgotten and another has imported again, may be there."""
    one, other = processes
    entry = await one.memory.store("green tea", user_id="ann")
    data = await one.memory.export()
    await one.memory.forget(entry)
    await other.memory.import_from(data)
    await one.memory.recall("tea")
    assert one.facts() == {}


async def test_after_a_start(
    processes: list[Process], make_audit: Make, make_system: MakeSystem, tmp_path: Path
) -> None:
    """A process that starts later knows from the files what was recorded, also by how many."""
    one, other = processes
    changed = await one.memory.store("green tea", user_id="ann")
    gone = await other.memory.store("black tea", user_id="bob")
    kept = one.adapter._storage[gone]
    await one.memory.forget(gone)
    one.adapter._storage[gone] = kept
    one.adapter._storage[changed].text = "white tea"
    later = Process(make_audit, make_system, tmp_path / "logs", one.adapter._storage)
    await later.memory.recall("tea")
    assert later.facts() == {"altered": [changed], "resurrected": [gone]}
    assert later.audit.query_events(limit=1)[0].subjects == ("ann", "bob")
