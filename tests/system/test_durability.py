"""The archive survives kills, full disks, missing descriptors; refusal; checkpoints."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from axon import MemorySystem
from axon.core.config import MemoryConfig
from conftest import ListingAdapter, Make, archived

from axon_audit_otel import ArchiveError, AuditUnavailableError, verify
from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey, VerifyingKey, new_key

pytestmark = pytest.mark.usefixtures("without_start_record")


def journals(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.journal"))


def own_records(directory: Path, record: str) -> list[dict[str, Any]]:
    """The trail's events about itself."""
    found = [event.metadata for event in archived(directory) if event.operation.value == "AUDIT"]
    return [facts for facts in found if facts["record"] == record]


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """No file grows beyond *size* bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_memory_mode_writes_at_the_end(make_audit: Make, tmp_path: Path) -> None:
    """Events are held back, and `close` writes them all."""
    audit = make_audit(auto_export_path=tmp_path, durability="memory")
    for _ in range(5):
        await audit.log_event("STORE")
    assert journals(tmp_path) == []
    audit.close()
    assert [event.sequence for event in archived(tmp_path)] == [1, 2, 3, 4, 5]


async def test_disk_mode_commits_together(make_audit: Make, tmp_path: Path) -> None:
    """Callers that wait at once share a commit, and every event is there for each of them."""
    audit = make_audit(auto_export_path=tmp_path, durability="disk", max_events=1_000)
    events = await asyncio.gather(*(audit.log_event("STORE") for _ in range(200)))
    (journal,) = journals(tmp_path)
    text = journal.read_text()
    assert all(event.event_id in text for event in events)


# --- a disk that is full ---------------------------------------------------------------------


def fill(disk: Path) -> Path:
    """Use up the space of *disk*; the file that takes it is returned."""
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while file.write(b"\0" * 1024):
                pass
        except OSError:
            pass
    return ballast


async def refusal(operation: Any) -> AuditUnavailableError | None:
    """The error that refused *operation*; None if it was not refused."""
    try:
        await operation
    except AuditUnavailableError as exc:
        return exc
    return None


@pytest.mark.component
class TestFullDisk:
    async def test_degrade(self, make_audit: Make, config: MemoryConfig, small_disk: Path) -> None:
        """Events that memory lost meanwhile are recorded as a *gap*, with numbers and reason,
        and the rest is written when there is room."""
        audit = make_audit(max_events=20, auto_export_path=small_disk / "logs")
        memory: Any = MemorySystem(config, audit_logger=audit)
        await memory.store("before")
        ballast = fill(small_disk)
        for number in range(60):
            await memory.store(f"meanwhile {number}")
        assert audit.get_statistics()["failures"]["journal"] >= 1
        ballast.unlink()
        audit.seal()
        await memory.store("after")
        audit.close()
        events = archived(small_disk / "logs")
        (gap,) = own_records(small_disk / "logs", "gap")
        assert gap["events"] == gap["last"] - gap["first"] + 1 > 0
        assert "No space left" in gap["reason"]
        numbers = {event.sequence for event in events} | set(range(gap["first"], gap["last"] + 1))
        assert numbers == set(range(1, max(numbers) + 1))

    async def test_block(self, make_audit: Make, config: MemoryConfig, small_disk: Path) -> None:
        """An operation that could not be recorded does not touch memory; each that did is in
        the archive; it goes on when there is room."""
        audit = make_audit(auto_export_path=small_disk / "logs", on_failure="block")
        memory: Any = MemorySystem(config, audit_logger=audit)
        await memory.store("before")
        ballast = fill(small_disk)
        stored = 1
        while await refusal(memory.store("tea")) is None:
            stored += 1
            assert stored < 5_000
        adapter = await memory.registry.get_adapter("persistent")
        assert len(adapter.list_ids()) == stored
        ballast.unlink()
        entry_id = await memory.store("after")
        audit.close()
        kept = [e for e in archived(small_disk / "logs") if e.status.value == "SUCCESS"]
        assert len(kept) == stored + 1
        assert kept[-1].entry_ids == [entry_id]


class TestBlock:
    async def test_directory_in_the_way(
        self, make_audit: Make, config: MemoryConfig, tmp_path: Path
    ) -> None:
        """Refused while a file stands where the directory was: also a delete on the adapter."""
        directory = tmp_path / "logs"
        audit = make_audit(auto_export_path=directory, on_failure="block")
        memory: Any = MemorySystem(config, audit_logger=audit)
        entry_id = await memory.store("tea")
        audit.seal()
        directory.rename(tmp_path / "away")
        directory.write_text("in the way")
        adapter = await memory.registry.get_adapter("persistent")
        for refused in (memory.store("x"), memory.forget(entry_id), adapter.delete(entry_id)):
            with pytest.raises(AuditUnavailableError):
                await refused
        assert adapter.list_ids() == [entry_id]
        with pytest.raises(AuditUnavailableError):
            await audit.log_event("EXPORT")
        directory.unlink()
        assert await memory.forget(entry_id) == 1

    async def test_degrade_is_the_default(
        self, make_audit: Make, config: MemoryConfig, tmp_path: Path
    ) -> None:
        """Without ``on_failure="block"`` the same operations go on."""
        directory = tmp_path / "logs"
        audit = make_audit(auto_export_path=directory)
        memory: Any = MemorySystem(config, audit_logger=audit)
        directory.rename(tmp_path / "away")
        directory.write_text("in the way")
        await memory.forget(await memory.store("x"))
        assert audit.event_count == 2

    @pytest.mark.slow
    def test_unfinished_operation_is_named(self, make_audit: Make, tmp_path: Path) -> None:
        """An operation that was running when its process was killed is on the record."""
        script = """
            import asyncio, os, sys
            from axon import MemorySystem
            from axon.core.config import MemoryConfig
            from axon.core.policies.persistent import PersistentPolicy
            from axon.adapters.memory import InMemoryAdapter
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(
                auto_export_path=sys.argv[1], on_failure="block", name="killed"
            )
            policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
            memory = MemorySystem(
                MemoryConfig(persistent=policy, default_tier="persistent"), audit_logger=audit
            )
            async def work():
                await memory.store("done", user_id="ada")
                async def save(self, entry): os._exit(9)
                InMemoryAdapter.save = save
                await memory.store("never done", user_id="eve")
            asyncio.run(work())
        """
        command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
        assert subprocess.run(command, capture_output=True).returncode == 9
        make_audit(auto_export_path=tmp_path, name="killed").close()
        (unfinished,) = own_records(tmp_path, "unfinished")
        assert (unfinished["operation"], unfinished["user_id"]) == ("STORE", "eve")
        make_audit(auto_export_path=tmp_path, name="killed").close()
        assert len(own_records(tmp_path, "unfinished")) == 1


async def test_no_descriptors_left(make_audit: Make, tmp_path: Path) -> None:
    """Without a descriptor to open the journal, events wait in memory, and follow."""
    resource = pytest.importorskip("resource")
    audit = make_audit(auto_export_path=tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # whatever is closed meanwhile
    try:
        await audit.log_event("STORE")
        assert audit.event_count == 1
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    audit.close()
    assert [event.sequence for event in archived(tmp_path)] == [1]
    assert audit.get_statistics()["failures"]["journal"] == 1


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="needs /proc")
def test_one_descriptor_left(make_audit: Make, tmp_path: Path) -> None:
    """Where a sync needs two and there is one, that is given back: none leaks by trying."""
    resource = pytest.importorskip("resource")
    key = new_key("auditor")
    audit = make_audit(auto_export_path=tmp_path, durability="disk", signing_key=key)
    audit.record("STORE")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = {int(link.name) for link in Path("/proc/self/fd").iterdir()}
    taken: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(used) + 8, hard))
    try:
        with suppress(OSError):
            while True:
                taken.append(os.dup(0))
        os.close(taken.pop())
        for _ in range(3):
            audit.record("STORE")
            os.close(os.dup(0))  # there is one still
    finally:
        for file in taken:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    audit.close()
    assert audit.get_statistics()["failures"]["commit"] >= 1
    assert verify(tmp_path).findings == []


# --- checkpoints -------------------------------------------------------------------------------


@pytest.fixture(name="key", scope="module")
def _key() -> SigningKey:
    return new_key("auditor")


class TestCheckpoints:
    async def test_at_every_seal(self, make_audit: Make, tmp_path: Path, key: SigningKey) -> None:
        """Each seal makes a signed checkpoint, in the archive and in the second place."""
        notes: list[str] = []
        audit = make_audit(
            max_events=3, auto_export_path=tmp_path, signing_key=key, checkpoint_to=notes.append
        )
        for _ in range(7):
            last = await audit.log_event("STORE")
        audit.close()
        assert len(notes) == 3
        assert (tmp_path / "default.checkpoints").read_text() == "".join(notes)
        assert (tmp_path / "default.checkpoint").read_text() == notes[-1]
        public = VerifyingKey.parse(str(key.verifying))
        newest = Checkpoint.parse(notes[-1], [public])
        assert (newest.events, newest.head) == (7, last.hash)
        manifest = (tmp_path / "default.manifest").read_text().splitlines()
        assert newest.size == len(manifest) == 4
        assert json.loads(manifest[-1])["root"]

    @pytest.mark.slow
    async def test_when_nothing_happens(
        self, make_audit: Make, tmp_path: Path, key: SigningKey
    ) -> None:
        """In idle periods they are made as well: that nothing happened can be proved."""
        loop, made = asyncio.get_running_loop(), asyncio.Event()
        notes: list[str] = []

        def sink(note: str) -> None:
            notes.append(note)
            if len(notes) == 2:
                loop.call_soon_threadsafe(made.set)

        audit = make_audit(
            auto_export_path=tmp_path,
            signing_key=key.line(),
            checkpoint_to=sink,
            checkpoint_interval=0.05,
        )
        event = await audit.log_event("STORE")
        await asyncio.wait_for(made.wait(), 60)
        first, second = (Checkpoint.parse(note, [key.verifying]) for note in notes[:2])
        assert (first.events, first.head) == (second.events, second.head) == (1, event.hash)
        assert first.time < second.time

    @pytest.mark.slow
    async def test_before_anything_happens(self, make_audit: Make, tmp_path: Path) -> None:
        """So they are by a program that recorded nothing yet."""
        with make_audit(auto_export_path=tmp_path, name="before") as before:
            event = await before.log_event("STORE")
        del before
        gc.collect()
        loop, made = asyncio.get_running_loop(), asyncio.Event()
        notes: list[str] = []

        def sink(note: str) -> None:
            notes.append(note)
            loop.call_soon_threadsafe(made.set)

        audit = make_audit(auto_export_path=tmp_path, name="before", checkpoint_to=sink)
        await asyncio.wait_for(made.wait(), 60)
        assert audit.total_events_logged == 0
        assert Checkpoint.parse(notes[0]).head == event.hash

    @pytest.mark.slow
    async def test_torn_by_a_kill(self, make_audit: Make, tmp_path: Path, key: SigningKey) -> None:
        """A checkpoint cut off by a kill, here and elsewhere, spoils no other."""
        sink, kept = tmp_path / "notes", tmp_path / "logs" / "default.checkpoints"
        options = {"signing_key": key, "checkpoint_to": sink}
        with make_audit(auto_export_path=tmp_path / "logs", **options) as audit:
            await audit.log_event("STORE")
            audit.seal()
            await audit.log_event("STORE")
        whole = kept.read_bytes()
        last = whole.rindex(b"axon-audit/")
        lines = [at + 1 for at in range(last, len(whole) - 1) if whole[at] == ord("\n")]
        for size in sorted({*range(last + 1, len(whole), 5), *lines}):
            for goes_on in (False, True):
                if goes_on and size == lines[-1]:
                    continue  # it is as one that somebody took the signature from
                kept.write_bytes(whole[:size])
                sink.write_bytes(whole[:size])
                if goes_on:
                    await audit.log_event("STORE")
                    audit.close()
                given = sink.read_text(errors="replace")
                report = verify(tmp_path / "logs", [str(key.verifying)], [given])
                assert report.findings == [], whole[last:size]

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
    async def test_a_pipe_that_nobody_reads(self, make_audit: Make, tmp_path: Path) -> None:
        """It is waited for by nobody; who reads it in the end gets the checkpoint."""
        pipe = tmp_path / "pipe"
        os.mkfifo(pipe)
        audit = make_audit(auto_export_path=tmp_path / "logs", checkpoint_to=pipe)
        await audit.log_event("STORE")
        closing = threading.Thread(target=audit.close, daemon=True)
        closing.start()
        closing.join(60)  # only so that a failure ends
        assert not closing.is_alive()
        assert audit.get_statistics()["failures"]["checkpoint"] >= 1
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        audit.close()
        note = os.read(reader, 65_536)
        os.close(reader)
        assert note == (tmp_path / "logs" / "default.checkpoints").read_bytes()

    async def test_losses_are_told_before(
        self, make_audit: Make, tmp_path: Path, key: SigningKey
    ) -> None:
        """No checkpoint is made while a loss is in no file, also in an outage that flaps: it
        would know what it is told of later."""
        options = {"signing_key": key, "checkpoint_interval": 1e-9}
        audit = make_audit(10, tmp_path, enable_rotation=False, **options)
        for _ in range(5):
            await audit.log_event("STORE")
        (journal,) = journals(tmp_path)
        full = journal.stat().st_size
        with at_most(full):
            for _ in range(20):
                await audit.log_event("STORE")
        with at_most(full + 1_000):  # some go into the file, not all
            with pytest.raises(ArchiveError):
                audit.seal()
            audit.trail.tick()
        audit.close()
        report = verify(tmp_path, [str(key.verifying)])
        assert report.findings == []
        assert [(gap.first, gap.last) for gap in report.writers[0].gaps] == [(6, 15)]

    @pytest.mark.parametrize("ticks", [0, 1])
    async def test_losses_of_memory_mode(
        self, make_audit: Make, tmp_path: Path, key: SigningKey, ticks: int
    ) -> None:
        """Events that left memory unwritten are recorded as lost in a file, though others wait."""
        audit = make_audit(auto_export_path=tmp_path, durability="memory", signing_key=key)
        for _ in range(5):
            await audit.log_event("STORE")
        await audit.clear()
        await audit.log_event("STORE")
        for _ in range(ticks):
            audit.trail.tick()
        audit.close()
        report = verify(tmp_path, [str(key.verifying)])
        assert report.findings == []
        assert [(gap.first, gap.last) for gap in report.writers[0].gaps] == [(1, 5)]

    async def test_sink_that_fails(self, make_audit: Make, tmp_path: Path, key: SigningKey) -> None:
        """A second place that fails costs nothing, and gets every checkpoint later."""
        notes: list[str] = []
        down = True

        def sink(note: str) -> None:
            if down:
                raise ConnectionError("down")
            notes.append(note)

        audit = make_audit(
            max_events=1, auto_export_path=tmp_path, signing_key=key, checkpoint_to=sink
        )
        await audit.log_event("STORE")
        audit.close()
        assert audit.get_statistics()["failures"]["checkpoint"] >= 1
        down = False
        await audit.log_event("STORE")
        audit.close()
        assert len(notes) == 2

    async def test_file(self, make_audit: Make, tmp_path: Path, key: SigningKey) -> None:
        """The key and the second place may be files."""
        (tmp_path / "key").write_text(key.line())
        audit = make_audit(
            max_events=1,
            auto_export_path=tmp_path / "logs",
            signing_key=tmp_path / "key",
            checkpoint_to=tmp_path / "elsewhere",
        )
        await audit.log_event("STORE")
        audit.close()
        assert Checkpoint.parse((tmp_path / "elsewhere").read_text(), [key.verifying]).events == 1


async def test_instrumented_operation_waits_for_the_disk(
    make_audit: Make, make_system: Any, tmp_path: Path
) -> None:
    """With ``durability="disk"`` an operation of a real system is on the record when it returns."""
    audit = make_audit(auto_export_path=tmp_path, durability="disk")
    memory = make_system(audit_logger=audit, persistent=ListingAdapter())
    entry_id = await memory.store("tea")
    (journal,) = journals(tmp_path)
    assert entry_id in journal.read_text()
