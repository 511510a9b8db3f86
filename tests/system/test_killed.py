"""Events survive `kill -9`, in the words of the README, at hundreds of random moments."""

from __future__ import annotations

import gc
import json
import os
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Make, Run, assert_chained

from axon_audit_otel import AuditEvent, verify
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query

pytestmark = pytest.mark.usefixtures("without_start_record")

KEY = new_key("auditor")
BATCH = 7  # max_events: what a life's journal holds, and memory holds back, at most

#: Forks a writer again and again, and kills each at some moment: while it starts and recovers
#: what the one before left, while it writes, seals, compresses, signs and syncs.
KILLER = f"""
import asyncio, json, os, random, signal, sys, time
from prometheus_client import CollectorRegistry
from axon import MemorySystem
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy
from axon_audit_otel import AuditLogger
directory, moments, durability, on_failure, key = sys.argv[1:]
chance = random.Random(durability + on_failure)

def write(report):
    audit = AuditLogger(
        {BATCH}, directory + "/logs", durability=durability, on_failure=on_failure, name="killed",
        signing_key=key, checkpoint_to=directory + "/notes", compress=True,
        registry=CollectorRegistry())
    policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
    memory = MemorySystem(
        MemoryConfig(persistent=policy, default_tier="persistent"), audit_logger=audit)
    async def work():
        while True:
            if on_failure == "block":
                name = await memory.store("tea")
            else:
                name = (await audit.log_event("STORE", "ada")).event_id
            os.write(report, name.encode() + b"\\n")
            if (event := chance.random()) < 0.05:
                audit.seal()
            elif event < 0.15:
                audit.trail.tick()  # sends checkpoints, compresses
    asyncio.run(work())

lives = []
for _ in range(int(moments)):
    read, report = os.pipe()
    wanted, spin = chance.randrange(0, 20), chance.random() * 0.004
    child = os.fork()
    if not child:
        os.close(read)
        chance.seed(os.getpid())
        try:
            write(report)
        finally:
            os._exit(1)
    os.close(report)
    with open(read, "rb") as pipe:
        lines = [pipe.readline() for _ in range(wanted)]
        until = time.perf_counter() + spin * (1 if wanted else 10)
        while time.perf_counter() < until:
            pass
        os.kill(child, signal.SIGKILL)
        lines += pipe.readlines()
    status = os.waitpid(child, 0)[1]
    assert os.WIFSIGNALED(status), (status, lines)
    lives.append([line.decode().strip() for line in lines])
print(json.dumps(lives))
"""


class Killed(NamedTuple):
    """The archive after many kills, and one start that ends well."""

    lives: list[list[str]]  # what each life acknowledged, in its order
    events: list[AuditEvent]
    own: list[dict[str, Any]]  # what the trail says of itself

    def records(self, kind: str) -> list[dict[str, Any]]:
        """The trail's records of one kind."""
        return [facts for facts in self.own if facts["record"] == kind]


@pytest.fixture(name="directory")
def _directory(tmp_path: Path) -> Iterator[Path]:
    """In memory if possible: a kill leaves what the kernel has, wherever that is, and hundreds
    of syncs of a real device would take minutes."""
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)


@pytest.fixture(name="killed")
def _killed(run_script: Run, make_audit: Make, directory: Path) -> Callable[..., Killed]:
    def run(moments: int, durability: str, on_failure: str = "degrade") -> Killed:
        said = run_script(KILLER, directory, moments, durability, on_failure, KEY.line())
        lives = json.loads(said)
        archive, notes = directory / "logs", (directory / "notes").read_text()
        before = verify(archive, [str(KEY.verifying)], [notes])
        assert before.findings == []
        make_audit(auto_export_path=archive, name="killed", signing_key=KEY).close()
        after = verify(archive, [str(KEY.verifying)], [notes])
        assert after.findings == []
        assert [writer.writer for writer in after.writers] == ["killed"]
        events = list(search(archive, Query(), oldest_first=True))
        assert_chained(events)
        own = [event.metadata for event in events if event.operation.value == "AUDIT"]
        return Killed(lives, events, own)

    return run


def check_all_are_there(killed: Killed) -> None:
    """Every acknowledged event is in the archive once, in its order."""
    archived = [event.event_id for event in killed.events]
    acknowledged = [name for life in killed.lives for name in life]
    assert len(archived) == len(set(archived))
    assert [name for name in archived if name in set(acknowledged)] == acknowledged
    assert killed.records("gap") == []
    # Killed at most once a life, and not before it wrote anything.
    writing = sum(bool(life) for life in killed.lives)
    assert writing <= len(killed.records("unclean_end")) <= len(killed.lives)


@pytest.mark.slow
@pytest.mark.parametrize("durability", ["process", "disk"])
def test_at_random_moments(killed: Callable[..., Killed], durability: str) -> None:
    """Killed (`kill -9`) at 200 random moments, it holds every event whose call had returned,
    in order, and `verify` finds nothing."""
    check_all_are_there(killed(200, durability))


def test_at_some_moments(killed: Callable[..., Killed]) -> None:
    """Kills at fewer moments, in the default run."""
    check_all_are_there(killed(4, "process"))


@pytest.mark.slow
def test_in_memory_mode(killed: Callable[..., Killed]) -> None:
    """Killed at 200 random moments, it lacks at most the newest events of each run, fewer than
    `max_events`, and `verify` finds nothing."""
    found = killed(200, "memory")
    archived = {event.event_id for event in found.events}
    for life in found.lives:
        kept = [name in archived for name in life]
        assert kept == sorted(kept, reverse=True)
        assert kept.count(False) < BATCH
    assert any(name in archived for life in found.lives for name in life)


@pytest.mark.slow
def test_operations(killed: Callable[..., Killed]) -> None:
    """Killed at 200 random moments, it holds every operation that had returned, and the next
    start names those that were running."""
    found = killed(200, "process", "block")
    stored = [event for event in found.events if event.operation.value == "STORE"]
    entries = Counter(entry for event in stored for entry in event.entry_ids)
    assert set(entries.values()) == {1}
    assert {name for life in found.lives for name in life} <= set(entries)
    unfinished = [facts["event_id"] for facts in found.records("unfinished")]
    assert 0 < len(unfinished) <= 200
    assert len(unfinished) == len(set(unfinished))
    assert not set(unfinished) & {event.event_id for event in stored}


@pytest.mark.parametrize("listed", [False, True])
async def test_between_two_names(make_audit: Make, tmp_path: Path, listed: bool) -> None:
    """Killed while its journal had the name of the sealed file as well, whether the manifest
    listed that or not: the file is listed once, and `verify` finds nothing."""
    audit = make_audit(auto_export_path=tmp_path, name="killed")
    await audit.log_event("STORE")
    audit.seal()
    await audit.log_event("STORE")
    sealed = audit.seal()
    assert sealed is not None
    audit.close()
    del audit
    gc.collect()
    (tmp_path / "killed.journal").hardlink_to(sealed)
    manifest = tmp_path / "killed.manifest"
    if not listed:
        *lines, _ = manifest.read_bytes().splitlines(keepends=True)
        manifest.write_bytes(b"".join(lines))
    (tmp_path / ".killed.lock").write_text("1\n")  # did not end well
    again = make_audit(auto_export_path=tmp_path, name="killed")
    await again.log_event("STORE")
    again.close()
    report = verify(tmp_path)
    assert (report.findings, report.events) == ([], 4)  # with the unclean end
    assert manifest.read_text().count(f'"file":"{sealed.name}"') == 1


@pytest.mark.slow
async def test_before_it_told_of_the_last_end(
    make_audit: Make, run_script: Run, tmp_path: Path
) -> None:
    """Killed when it had recovered a journal, and not yet recorded that: the next start does."""
    script = """
        import asyncio, os, signal, sys
        from axon_audit_otel import AuditLogger
        from axon_audit_otel.archive.writer import ArchiveWriter
        from pathlib import Path
        if sys.argv[2] == "log":
            audit = AuditLogger(auto_export_path=sys.argv[1], name="killed")
            asyncio.run(audit.log_event("STORE"))
        else:
            ArchiveWriter(Path(sys.argv[1]), "killed")
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run_script(script, tmp_path, "log", code=-9)
    run_script(script, tmp_path, "recover", code=-9)
    make_audit(auto_export_path=tmp_path, name="killed").close()
    events = search(tmp_path, Query(), oldest_first=True)
    told = [event.metadata.get("record") for event in events if event.operation == "AUDIT"]
    assert told == ["unclean_end"]
    assert verify(tmp_path).ok
