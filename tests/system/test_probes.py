"""Mistakes found in other audit packages for Python: one test for each."""

from __future__ import annotations

import asyncio
import hashlib
import json
from pathlib import Path

import pytest
from conftest import Make, Run, assert_chained, only, sealed_files
from forgery import rewrite
from prometheus_client import CollectorRegistry, generate_latest

from axon_audit_otel import (
    ArchiveError,
    AuditEvent,
    AuditLogger,
    InvalidEventError,
    VerifyReport,
    verify,
)
from axon_audit_otel.archive.checkpoints import Checkpoint, new_key
from axon_audit_otel.events.draft import draft

pytestmark = pytest.mark.usefixtures("without_start_record")

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)


async def _log(audit: AuditLogger, count: int) -> list[AuditEvent]:
    return [await audit.log_event("STORE", f"user{number % 5}") for number in range(count)]


def _paths(directory: Path, pattern: str) -> list[Path]:
    return sorted(directory.glob(pattern))


def _kinds(report: VerifyReport) -> set[str]:
    return {finding.kind for finding in report.findings}


class TestTruncatedTail:
    """Eight of nine took a log without its end for whole, by default."""

    async def test_by_default(self, make_audit: Make, tmp_path: Path) -> None:
        """A file without its end, a missing newest file: found without any option. What could
        be cut off unnoticed is said; nobody is told that all is proved."""
        audit = make_audit(5, tmp_path)
        await _log(audit, 20)
        audit.close()
        newest = sealed_files(tmp_path)[-1]
        content = newest.read_bytes()
        newest.write_bytes(content[: len(content) // 2])
        assert "truncated" in _kinds(verify(tmp_path))
        newest.unlink()
        assert _kinds(verify(tmp_path)) == {"removed"}
        newest.write_bytes(content)
        report = verify(tmp_path)
        assert report.ok
        assert "could not be noticed" in report.writers[0].uncovered

    async def test_with_a_checkpoint(self, make_audit: Make, tmp_path: Path) -> None:
        """With a checkpoint kept elsewhere, a tail that was cut off with all that speaks of it
        is found, also after the trail went on."""
        notes: list[str] = []
        audit = make_audit(5, tmp_path, signing_key=KEY, checkpoint_to=notes.append)
        await _log(audit, 20)
        audit.close()
        sealed_files(tmp_path)[-1].unlink()
        for path in _paths(tmp_path, "*.checkpoint*"):
            path.unlink()
        manifest = only(tmp_path, "*.manifest")
        lines = manifest.read_bytes().splitlines(keepends=True)
        manifest.write_bytes(b"".join(lines[:-1]))
        assert verify(tmp_path).ok
        assert _kinds(verify(tmp_path, [PUBLIC], notes)) == {"truncated"}


async def test_empty_log(make_audit: Make, tmp_path: Path) -> None:
    """Nothing is not OK: an empty directory, an archive whose files are all gone."""
    with pytest.raises(ArchiveError):
        verify(tmp_path)
    audit = make_audit(5, tmp_path)
    await _log(audit, 10)
    audit.close()
    for file in sealed_files(tmp_path):
        file.unlink()
    assert _kinds(verify(tmp_path)) == {"removed"}
    for path in _paths(tmp_path, "*.manifest"):
        path.unlink()
    with pytest.raises(ArchiveError):
        verify(tmp_path)


async def test_signatures_stripped_and_content_forged(make_audit: Make, tmp_path: Path) -> None:
    """A forged history that fits together, without signatures, is not verified by a key that it
    is not signed with: unsigned is not skipped."""
    audit = make_audit(5, tmp_path, signing_key=KEY)
    await _log(audit, 20)
    await audit.log_event("STORE")  # for the journal
    assert verify(tmp_path, [PUBLIC]).ok
    rewrite(tmp_path, lambda event: event.update(user_id="mallory"))
    for path in _paths(tmp_path, "*.checkpoint*"):
        kept = [line for line in path.read_text().splitlines() if not line.startswith("—")]
        path.write_text("\n".join(kept) + "\n")
    assert not verify(tmp_path, [PUBLIC]).ok
    for path in _paths(tmp_path, "*.checkpoint*"):
        path.unlink()
    assert _kinds(verify(tmp_path, [PUBLIC])) == {"wrong_key"}


async def test_checkpoint_of_nothing(make_audit: Make, tmp_path: Path) -> None:
    """A checkpoint before the first event would be true of any trail: none is made, and one
    proves nothing."""
    audit = make_audit(auto_export_path=tmp_path / "new", signing_key=KEY)
    audit.trail.tick()
    assert _paths(tmp_path / "new", "*.checkpoint") == []
    forged = make_audit(5, tmp_path / "forged", name="forged")
    await _log(forged, 5)
    now = "2026-01-01T00:00:00.000000Z"
    root = hashlib.sha256(b"").digest()
    nothing = Checkpoint("axon-audit/forged/new", 0, root, 0, "", now).text()
    (tmp_path / "forged" / "forged.checkpoint").write_text(KEY.sign(nothing))
    assert _kinds(verify(tmp_path / "forged", [PUBLIC])) == {"wrong_key"}


def _forge_deletion(directory: Path, first: int, last: int, head: str) -> None:
    """Lines of a manifest: a file with those events was sealed, and retention deleted it."""
    now, name = "2026-01-01T00:00:00.000000Z", "audit_2026_01_01_000000.json"
    manifest = only(directory, "*.manifest")
    seal = {"kind": "seal", "file": name, "first_sequence": first, "last_sequence": last}
    seal |= {"events": 1, "first_time": now, "last_time": now, "head": head, "root": "0" * 64}
    seal |= {"sealed_at": now, "bytes": 1, "sha256": "0" * 64}
    gone = {"kind": "delete", "file": name, "sha256": "0" * 64, "reason": "retention: 1d"}
    for record in (seal, {**gone, "deleted_at": now}):
        above = hashlib.sha256(b"\0" + manifest.read_bytes().splitlines()[-1]).hexdigest()
        line = json.dumps({**record, "previous": above}, separators=(",", ":"))
        with manifest.open("a") as file:
            file.write(f"{line}\n")


def _gap_after(newest: bytes, first: int, last: int) -> bytes:
    """A line that follows *newest* and says that those events were lost."""
    entry = newest[1:-1]
    event = json.loads(entry)
    event |= {"event_id": "evt_0", "operation": "AUDIT", "status": "FAILURE"}
    event["metadata"] = {"record": "gap", "first": first, "last": last, "reason": "disk full"}
    event["sequence"] += 1
    event["previous_hash"] = hashlib.sha256(b"\0" + entry).hexdigest()
    return b"," + json.dumps(event, separators=(",", ":")).encode() + b"\n"


@pytest.mark.parametrize("how", ["tail deleted", "middle deleted", "tail lost", "middle lost"])
async def test_explained_by_a_forger(make_audit: Make, tmp_path: Path, how: str) -> None:
    """Events that a checkpoint knew are not explained by what only later lines say of them:
    that their file was deleted, or that they were lost."""
    notes: list[str] = []
    audit = make_audit(
        10, tmp_path, signing_key=KEY, checkpoint_to=notes.append, checkpoint_interval=1e-9
    )
    await _log(audit, 28)
    audit.trail.tick()  # a checkpoint of event 28
    journal = only(tmp_path, "*.journal")
    head, *lines = journal.read_bytes().splitlines(keepends=True)
    previous = json.loads(lines[-1][1:])["previous_hash"]
    if how == "tail deleted":
        journal.unlink()
        _forge_deletion(tmp_path, 29, 30, "a" * 64)
    elif how == "middle deleted":
        journal.write_bytes(head + b" " + lines[-1][1:])
        _forge_deletion(tmp_path, 29, 27, previous)
    elif how == "tail lost":
        journal.write_bytes(b"".join([head, *lines[:2], _gap_after(lines[-1], 23, 28)]))
    else:
        gap = _gap_after(lines[-1], 23, 27)
        journal.write_bytes(b"".join([head, *lines[:2], lines[-1], gap]))
    assert not verify(tmp_path, [PUBLIC], notes).ok
    assert not verify(tmp_path, [], notes[-1:]).ok


async def test_gap_told_in_advance(make_audit: Make, tmp_path: Path) -> None:
    """Nothing but the trail itself tells of a gap, and of none before it was: else whoever can
    record could have what is deleted later explained."""
    notes: list[str] = []
    audit = make_audit(auto_export_path=tmp_path, signing_key=KEY, checkpoint_to=notes.append)
    told = {"record": "gap", "first": 1, "last": 10**9, "reason": "disk full"}
    with pytest.raises(InvalidEventError, match="record"):
        await audit.log_event("AUDIT", metadata=told)
    audit.emit(draft("AUDIT", "FAILURE", metadata=told, trail=audit.trail))
    await _log(audit, 20)
    journal = only(tmp_path, "*.journal")
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:2] + lines[-1:]))
    (finding,) = verify(tmp_path).findings
    assert (finding.sequence, finding.kind) == (2, "removed")
    assert "events 2 to 20" in finding.explanation


@pytest.mark.parametrize("field", ["metadata", "user_id", "status", "timestamp", "duration_ms"])
async def test_every_field_is_hashed(make_audit: Make, tmp_path: Path, field: str) -> None:
    """Any field of an event rewritten is found, also far behind the first thousand events."""
    audit = make_audit(1_500, tmp_path)
    await _log(audit, 1_450)
    await audit.log_event("STORE", "ada", metadata={"a": 1}, duration_ms=1.0)
    await _log(audit, 49)
    (file,) = sealed_files(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    event = json.loads(lines[1451][1:])
    event[field] = {
        "metadata": {"a": 2},
        "user_id": "eve",
        "status": "FAILURE",
        "timestamp": event["timestamp"][:-2] + "xZ",
        "duration_ms": 2.0,
    }[field]
    changed = json.dumps(event, separators=(",", ":")).encode()
    lines[1451] = lines[1451][:1] + changed + b"\n"
    file.write_bytes(b"".join(lines))
    (finding,) = verify(tmp_path).findings
    assert (finding.kind, finding.sequence) == ("altered", 1451)


@pytest.mark.slow
def test_three_processes_append(run_script: Run, tmp_path: Path) -> None:
    """900 events of three processes at once: all there, each trail one chain, verified."""
    run_script(
        """
        import asyncio, os, sys
        from axon_audit_otel import AuditLogger
        children = []
        for _ in range(3):
            child = os.fork()
            if not child:
                audit = AuditLogger(50, sys.argv[1])
                async def log():
                    for _ in range(300): await audit.log_event("STORE")
                asyncio.run(log())
                audit.close()
                os._exit(0)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        """,
        tmp_path,
    )
    report = verify(tmp_path)
    assert report.findings == []
    assert report.events == 900
    assert sum(writer.events for writer in report.writers) == 900


async def test_two_writers(make_audit: Make, tmp_path: Path) -> None:
    """Two writers on one directory: nothing is overwritten, all is readable and verified."""
    one, two = make_audit(auto_export_path=tmp_path), make_audit(auto_export_path=tmp_path)
    for audit in (one, two, two, one):
        await _log(audit, 3)
    assert len(one.query_events(archived=True)) == 12
    report = verify(tmp_path)
    assert (report.findings, report.events) == ([], 12)


async def test_torn_last_line(make_audit: Make, tmp_path: Path) -> None:
    """A line that was cut off in the middle stops nobody: the next start says how many bytes it
    cut away, and goes on."""
    aside = tmp_path / "aside"
    audit = make_audit(auto_export_path=tmp_path / "logs")
    events = await _log(audit, 3)
    aside.mkdir()
    for name in ("default.journal", ".default.lock"):
        (aside / name).write_bytes((tmp_path / "logs" / name).read_bytes())
    with (aside / "default.journal").open("ab") as journal:
        journal.write(b',{"event_id":"evt_cut')
    after = make_audit(auto_export_path=aside)
    (told,) = after.query_events(operation="AUDIT")
    assert told.metadata["torn_bytes"] == 21
    await after.log_event("STORE")
    after.close()
    found = after.query_events(archived=True)[::-1]
    assert found[:3] == events
    assert_chained(found)
    assert verify(aside).ok


@pytest.mark.slow
def test_lock_of_a_killed_process(run_script: Run, make_audit: Make, tmp_path: Path) -> None:
    """The lock of a killed process is free: the next one has its name at once, and appends."""
    run_script(
        """
        import asyncio, os, signal, sys
        from axon_audit_otel import AuditLogger
        audit = AuditLogger(auto_export_path=sys.argv[1], name="same")
        asyncio.run(audit.log_event("STORE"))
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        tmp_path,
        code=-9,
    )
    assert (tmp_path / ".same.lock").exists()
    audit = make_audit(auto_export_path=tmp_path, name="same")
    event = asyncio.run(audit.log_event("STORE"))
    audit.close()
    assert event.sequence == 3  # after the one before, and the record of its end
    assert [writer.writer for writer in verify(tmp_path).writers] == ["same"]


async def test_write_errors_leave_a_trace(make_audit: Make, tmp_path: Path) -> None:
    """Events that were lost to a fault are on the record as a gap with its reason; verify
    tells of it; none is missing silently."""
    directory = tmp_path / "logs"
    audit = make_audit(7, directory, name="same")
    await _log(audit, 10)
    audit.seal()
    directory.rename(tmp_path / "aside")
    directory.write_text("in the way")
    await _log(audit, 20)
    directory.unlink()
    (tmp_path / "aside").rename(directory)
    audit.seal()
    await _log(audit, 1)
    audit.close()
    report = verify(directory)
    assert report.findings == []
    (writer,) = report.writers
    (gap,) = writer.gaps
    assert "File exists" in gap.reason
    assert writer.events + gap.last - gap.first + 1 == writer.last_sequence


@pytest.mark.slow
@pytest.mark.parametrize("disabled", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_sampling_drops_nothing(run_script: Run, tmp_path: Path, disabled: bool) -> None:
    """300 operations under a head sampler of 10 %, and with the SDK disabled: 300 events."""
    run_script(
        """
        import asyncio, sys
        from axon import MemorySystem
        from axon.core.config import MemoryConfig
        from axon.core.policies.persistent import PersistentPolicy
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.sampling import TraceIdRatioBased
        from axon_audit_otel import AuditLogger
        trace.set_tracer_provider(TracerProvider(sampler=TraceIdRatioBased(0.1)))
        audit = AuditLogger(auto_export_path=sys.argv[1])
        policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
        memory = MemorySystem(
            MemoryConfig(persistent=policy, default_tier="persistent"), audit_logger=audit
        )
        async def work():
            for number in range(300): await memory.store(f"tea {number}")
        asyncio.run(work())
        """,
        tmp_path,
        OTEL_SDK_DISABLED=str(disabled).lower(),
    )
    report = verify(tmp_path)
    assert (report.findings, report.events) == ([], 300)


async def test_eviction(make_audit: Make, tmp_path: Path) -> None:
    """An event that leaves memory is still in the archive; without one, it is counted."""
    audit = make_audit(50, tmp_path)
    await _log(audit, 120)
    assert audit.event_count == 50
    assert audit.get_statistics()["evicted_events"] == 0
    assert len(audit.query_events(archived=True)) == verify(tmp_path).events == 120
    forgetful = make_audit(50)
    await _log(forgetful, 120)
    assert forgetful.get_statistics()["evicted_events"] == 70


async def test_labels(make_audit: Make, tmp_path: Path) -> None:
    """However many users and tenants there are, metrics have no series for them."""
    registry = CollectorRegistry()
    audit = make_audit(auto_export_path=tmp_path, registry=registry)
    await audit.log_event("STORE")
    before = len(generate_latest(registry).splitlines())
    for number in range(200):
        await audit.log_event("STORE", f"user{number}", metadata={"tenant_id": f"t{number}"})
    assert len(generate_latest(registry).splitlines()) == before
