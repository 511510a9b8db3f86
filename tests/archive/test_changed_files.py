"""Changes to an archive's files while their writer runs: logrotate, `mv`, `rm`,
a directory that is switched. It is noticed at the next event, and nothing is missing unsaid."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from amounts import slow
from conftest import Make, Run, archived, only, sealed_files

from axon_audit_otel import AuditLogger, verify
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.archive.follow import Follower
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query

pytestmark = pytest.mark.usefixtures("without_start_record")

Change = Callable[[Path], object]


@pytest.fixture(name="where")
def _where(tmp_path: Path) -> Path:
    """The archive's directory: a symlink to the real one."""
    (tmp_path / "real").mkdir()
    where = tmp_path / "logs"
    where.symlink_to("real")
    return where


def _journal(where: Path) -> Path:
    return only(where, "*.journal")


# --- what is done, in the archive's directory ---------------------------------------------------


def copytruncate(where: Path) -> None:
    """Do what logrotate does: copy the journal and empty it."""
    shutil.copy(_journal(where), where / "default.journal.1")
    os.truncate(_journal(where), 0)


def cut_in_the_middle(where: Path) -> None:
    """Half of an event is the last one."""
    os.truncate(_journal(where), _journal(where).stat().st_size // 2)


def cut_the_last_byte(where: Path) -> None:
    """Nearly nothing."""
    os.truncate(_journal(where), _journal(where).stat().st_size - 1)


def cut_and_forged(where: Path) -> None:
    """Half of the lines, and then an event that the trail never had."""
    lines = _journal(where).read_bytes().splitlines(keepends=True)
    forged_line = lines[-1].replace(b'"user_id":"before"', b'"user_id":"forged"')
    with _journal(where).open("r+b") as file:
        file.writelines(lines[: len(lines) // 2])
        file.write(forged_line)
        file.truncate()


def zeroed(where: Path) -> None:
    """A sparse file in its place: as long as before, and one byte."""
    size = _journal(where).stat().st_size
    os.truncate(_journal(where), 0)
    os.truncate(_journal(where), size + 1)


def grown(where: Path) -> None:
    """Somebody else's line, and part of one."""
    with _journal(where).open("ab") as file:
        file.write(b"Jan 15 host app: no event\nhalf a li")


def forged(where: Path) -> None:
    """An event that the trail never had."""
    line = _journal(where).read_bytes().splitlines(keepends=True)[-1]
    with _journal(where).open("ab") as file:
        file.write(line.replace(b'"user_id":"before"', b'"user_id":"forged"'))


def removed(where: Path) -> None:
    """`rm`."""
    _journal(where).unlink()


def renamed(where: Path) -> None:
    """`mv` in the same directory: logrotate with ``nocreate``."""
    _journal(where).rename(where / "default.journal.1")


def renamed_and_made(where: Path) -> None:
    """logrotate with ``create``."""
    path = _journal(where)
    renamed(where)
    path.touch()


def replaced_by_a_copy(where: Path) -> None:
    """An editor that saves, a restored backup."""
    path = _journal(where)
    shutil.copy2(path, where / "copy")
    (where / "copy").replace(path)


def replaced_by_text(where: Path) -> None:
    """Somebody else's file."""
    (where / "copy").write_text("not ours\n")
    (where / "copy").replace(_journal(where))


def replaced_by_a_directory(where: Path) -> None:
    """A directory of that name."""
    path = _journal(where)
    path.unlink()
    path.mkdir()


def replaced_by_a_pipe(where: Path) -> None:
    """A FIFO, that nobody writes to."""
    path = _journal(where)
    path.unlink()
    os.mkfifo(path)


def emptied(where: Path) -> None:
    """``rm *``, which leaves the lock."""
    for path in where.glob("[!.]*"):
        path.unlink()


def lock_removed(where: Path) -> None:
    """The hidden file alone."""
    (where / ".default.lock").unlink()
    removed(where)


def directory_renamed(where: Path) -> None:
    """`mv`, and nothing in its place."""
    where.rename(where.with_name("moved"))


def real_directory_renamed(where: Path) -> None:
    """The symlink leads nowhere for a moment, then to an empty directory."""
    where.resolve().rename(where.with_name("moved"))
    where.with_name("real").mkdir()


def directory_switched(where: Path) -> None:
    """Its symlink leads elsewhere."""
    where.with_name("other").mkdir()
    where.with_name("new").symlink_to("other")
    where.with_name("new").replace(where)


def directory_copied(where: Path) -> None:
    """Its symlink leads to a copy of it."""
    shutil.copytree(where, where.with_name("other"))
    where.with_name("new").symlink_to("other")
    where.with_name("new").replace(where)


def directory_removed(where: Path) -> None:
    """`rm -r`."""
    shutil.rmtree(where.resolve())
    where.unlink()


def directory_removed_and_made(where: Path) -> None:
    """Remove the directory, and make a new one."""
    directory_removed(where)
    where.mkdir()


KEEP = [  # the descriptor of the journal still reads all of it
    grown,
    forged,
    removed,
    renamed,
    renamed_and_made,
    replaced_by_a_copy,
    replaced_by_text,
    replaced_by_a_directory,
    replaced_by_a_pipe,
    lock_removed,
    directory_renamed,
    real_directory_renamed,
    directory_switched,
    directory_copied,
    directory_removed,
    directory_removed_and_made,
]
LOSE = [copytruncate, cut_in_the_middle, cut_the_last_byte, cut_and_forged, zeroed]


def log(audit: AuditLogger, count: int, user_id: str) -> None:
    """Record *count* events."""
    for _ in range(count):
        asyncio.run(audit.log_event("STORE", user_id=user_id))


def numbers(where: Path) -> list[int]:
    """Of the events of an archive; none is there twice."""
    return [event.sequence for event in archived(where)]


def failures(audit: AuditLogger) -> int:
    """The number of failures that were counted."""
    counted: dict[str, int] = audit.get_statistics()["failures"]
    return sum(counted.values())


@pytest.mark.parametrize("durability", ["process", slow("disk"), slow("memory")])
@pytest.mark.parametrize("change", [*KEEP, *LOSE])
def test_memory_has_all(make_audit: Make, where: Path, change: Change, durability: str) -> None:
    """The events in memory are written again: no event is missing, and the next one is in a file
    when its call returns. It is counted, once."""
    audit = make_audit(auto_export_path=where, durability=durability)
    log(audit, 10, "before")
    audit.trail.tick()  # writes what durability="memory" holds back
    change(where)
    log(audit, 1, "after")
    if durability == "memory":
        audit.trail.tick()
    assert failures(audit) == 1
    assert numbers(where) == list(range(1, audit.total_events_logged + 1))
    log(audit, 9, "after")
    audit.close()
    assert failures(audit) == 1
    assert numbers(where) == list(range(1, audit.total_events_logged + 1))
    assert verify(where).findings == []
    assert [r.gaps for r in verify(where).writers] == [[]]


@pytest.mark.parametrize("change", [*KEEP, *LOSE])
def test_memory_has_few(make_audit: Make, where: Path, change: Change) -> None:
    """Events that have left memory are still in the journal's file, or a *gap* names exactly which
    events are lost, and why."""
    audit = make_audit(4, where, enable_rotation=False)
    log(audit, 20, "before")
    change(where)
    log(audit, 3, "after")
    audit.close()
    (writer,) = verify(where).writers
    assert verify(where).findings == []
    lost = {number for gap in writer.gaps for number in range(gap.first, gap.last + 1)}
    assert lost.isdisjoint(numbers(where))
    assert sorted(lost | set(numbers(where))) == list(range(1, audit.total_events_logged + 1))
    assert bool(lost) == (change in (copytruncate, cut_in_the_middle, cut_and_forged, zeroed))
    assert audit.get_statistics()["evicted_events"] == len(lost)
    assert all("journal was changed" in gap.reason for gap in writer.gaps)
    if change in (cut_in_the_middle, cut_and_forged):  # the events before the cut are there
        assert 1 in numbers(where)


@pytest.mark.parametrize("journal", ["journal", "all sealed"])
@pytest.mark.parametrize(
    "change",
    [
        directory_renamed,
        real_directory_renamed,
        directory_switched,
        directory_removed,
        directory_removed_and_made,
    ],
)
def test_sealed_files_go_too(make_audit: Make, where: Path, change: Change, journal: str) -> None:
    """With the directory its sealed files are gone: what memory has of their events is written
    again as well, and the rest is told in a gap."""
    audit = make_audit(8, where)
    log(audit, 20 if journal == "journal" else 16, "before")
    kept = audit.total_events_logged
    assert len(sealed_files(where)) == 2
    change(where)
    log(audit, 1, "after")
    audit.close()
    (writer,) = verify(where).writers
    assert verify(where).findings == []
    (gap,) = writer.gaps
    assert gap.first == 1
    assert kept - 8 <= gap.last <= kept - 7
    assert "directory" in gap.reason or "journal" in gap.reason
    assert numbers(where) == list(range(gap.last + 1, audit.total_events_logged + 1))


def test_journal_longer_than_memory_without_its_sealed_files(make_audit: Make, where: Path) -> None:
    """The journal is written again from its descriptor; only what was sealed is lost."""
    audit = make_audit(4, where, enable_rotation=False)
    log(audit, 10, "before")
    audit.seal()
    log(audit, 10, "before")
    directory_removed(where)
    log(audit, 2, "after")
    audit.close()
    (writer,) = verify(where).writers
    assert [(gap.first, gap.last) for gap in writer.gaps] == [(1, 10)]
    assert numbers(where) == list(range(11, 24))
    assert verify(where).findings == []


def test_after_the_end_nothing_is_made_again(make_audit: Make, where: Path) -> None:
    """A directory that is removed when all is said stays removed."""
    audit = make_audit(auto_export_path=where)
    log(audit, 3, "before")
    audit.close()
    directory_removed(where)
    audit.close()
    audit.trail.tick()
    assert not where.exists()
    assert failures(audit) == 0


def test_again_and_again(make_audit: Make, where: Path) -> None:
    """A journal that is cut off after each event: at the end, what memory has is in files."""
    audit = make_audit(auto_export_path=where)
    for _ in range(30):
        log(audit, 1, "before")
        if journals := list(where.glob("*.journal")):
            os.truncate(journals[0], 0)
    assert len(list(where.glob("*.replaced"))) <= 1
    audit.close()
    assert numbers(where) == list(range(1, audit.total_events_logged + 1))
    assert verify(where).findings == []


@pytest.mark.slow
@pytest.mark.parametrize("change", [copytruncate, removed, directory_removed_and_made])
def test_killed_after_it(run_script: Run, make_audit: Make, where: Path, change: Change) -> None:
    """An event whose call has returned survives `kill -9` also right after such a change."""
    run_script(
        """
        import asyncio, os, signal, sys
        from pathlib import Path
        sys.path[:0] = [sys.argv[2], str(Path(sys.argv[2]).parent)]
        import test_changed_files
        from axon_audit_otel import AuditLogger
        where = Path(sys.argv[1])
        audit = AuditLogger(auto_export_path=where, start_record=False)
        test_changed_files.log(audit, 5, "before")
        getattr(test_changed_files, sys.argv[3])(where)
        test_changed_files.log(audit, 1, "after")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        where,
        Path(__file__).parent,
        change.__name__,
        code=-9,
    )
    make_audit(auto_export_path=where, name="default").close()
    assert numbers(where) == list(range(1, 8))  # and the record of the unclean end
    assert verify(where).findings == []


@pytest.mark.parametrize("change", [copytruncate, grown, removed])
async def test_whoever_follows(make_audit: Make, where: Path, change: Change) -> None:
    """Sees each event once, though the journal was put back."""
    audit = make_audit(auto_export_path=where)
    follower = Follower(where)
    seen = []
    for users in (["ann", "ben"], ["cat"], ["dan", "eve"]):
        for user in users:
            await audit.log_event("STORE", user_id=user)
        seen += [event.user_id for event in follower.poll(Missing())]
        change(where)
        seen += [event.user_id for event in follower.poll(Missing())]
    follower.close()
    found = [name for name in seen if name is not None]
    assert found == ["ann", "ben", "cat", "dan", "eve"]


@pytest.mark.parametrize("change", [copytruncate, removed])
def test_while_a_sync_is_waited_for(
    make_audit: Make, where: Path, monkeypatch: pytest.MonkeyPatch, change: Change
) -> None:
    """``durability="disk"``: what is written again is forced to the device again before the
    next call returns."""
    audit = make_audit(auto_export_path=where, durability="disk")
    log(audit, 5, "before")
    change(where)
    synced: list[int] = []
    real = os.fdatasync

    def sync(file: int) -> None:
        synced.append(os.fstat(file).st_ino)
        real(file)

    monkeypatch.setattr(os, "fdatasync", sync)
    log(audit, 1, "after")
    assert synced[-1] == _journal(where).stat().st_ino
    assert audit.trail.source.durable == 6


def test_what_was_on_the_device_and_is_gone(
    make_audit: Make, where: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event that is written again counts as on the device when it is there again, not before."""
    audit = make_audit(auto_export_path=where, durability="disk")
    log(audit, 5, "before")
    assert audit.trail.source.durable == 5
    copytruncate(where)
    with monkeypatch.context() as patch:

        def fail(file: int) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        patch.setattr(os, "fdatasync", fail)
        audit.trail.tick()
        assert numbers(where) == [1, 2, 3, 4, 5]
        assert audit.trail.source.durable == 0
    log(audit, 1, "after")
    assert audit.trail.source.durable == 6


def test_memory_was_cleared(make_audit: Make, where: Path) -> None:
    """Events cleared from memory and cut off from the journal are reported in a gap, also if no
    event follows."""
    audit = make_audit(auto_export_path=where)
    log(audit, 5, "before")
    asyncio.run(audit.clear())
    copytruncate(where)
    audit.close()
    (writer,) = verify(where).writers
    assert [(gap.first, gap.last) for gap in writer.gaps] == [(1, 5)]
    assert verify(where).findings == []


# --- the manifest -------------------------------------------------------------------------------


def _manifest(where: Path) -> Path:
    return only(where, "*.manifest")


def manifest_removed(where: Path) -> None:
    """`rm`."""
    _manifest(where).unlink()


def manifest_emptied(where: Path) -> None:
    """copytruncate."""
    os.truncate(_manifest(where), 0)


def manifest_cut(where: Path) -> None:
    """In the middle of a line."""
    os.truncate(_manifest(where), _manifest(where).stat().st_size - 100)


def manifest_grown(where: Path) -> None:
    """A line that is none."""
    with _manifest(where).open("ab") as file:
        file.write(b"not ours\n")


def manifest_replaced(where: Path) -> None:
    """By one that is as long."""
    content = _manifest(where).read_bytes()
    (where / "new").write_bytes(b"x" * len(content))
    (where / "new").replace(_manifest(where))


@pytest.mark.parametrize("then", ["seal", "close", "tick"])
@pytest.mark.parametrize(
    "change",
    [manifest_removed, manifest_emptied, manifest_cut, manifest_grown, manifest_replaced],
)
def test_manifest(make_audit: Make, where: Path, change: Change, then: str) -> None:
    """It is put back byte for byte at the next seal or tick, or at the end, so that checkpoints
    of before still hold; and it is counted."""
    key = new_key("auditor")
    audit = make_audit(5, where, signing_key=key, max_archive_bytes=6_000)
    for _ in range(4):
        log(audit, 5, "before")
        audit.trail.tick()  # the oldest are deleted by that rule
    log(audit, 1, "before")
    before = _manifest(where).read_bytes()
    assert b'"kind":"delete"' in before
    change(where)
    if then == "seal":
        log(audit, 5, "after")
    elif then == "close":
        audit.close()
    else:
        audit.trail.tick()
    assert _manifest(where).read_bytes().startswith(before)
    assert failures(audit) == 1
    audit.close()
    report = verify(where, [str(key.verifying)])
    assert report.findings == []


def test_all_files_removed(make_audit: Make, where: Path) -> None:
    """``rm *`` while the writer runs: the events in memory are written again, and the removed
    files are a finding."""
    audit = make_audit(4, where)
    log(audit, 10, "before")
    emptied(where)
    log(audit, 1, "after")
    audit.close()
    lacking = Missing()
    found = search(where, Query(), oldest_first=True, missing=lacking)
    assert [event.sequence for event in found] == [9, 10, 11]
    assert len(lacking.lines()) == 2
    assert {finding.kind for finding in verify(where).findings} == {"removed"}


def test_lock_alone(make_audit: Make, where: Path) -> None:
    """Without its lock a writer goes on under its name, and takes the lock again."""
    audit = make_audit(4, where)
    log(audit, 4, "before")
    (where / ".default.lock").unlink()
    log(audit, 2, "after")
    other = make_audit(4, where, name="default")
    log(other, 1, "other")
    other.close()
    audit.close()
    report = verify(where)
    assert report.findings == []
    assert [(writer.writer, writer.events) for writer in report.writers] == [
        ("default", 6),
        ("default-2", 1),
    ]


# --- intents ------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", ["removed", "emptied", "renamed"])
def test_intents(make_audit: Make, run_script: Run, where: Path, change: str) -> None:
    """Operations that run while the file of intents is changed are still named after a crash, once
    another operation has begun."""
    run_script(
        """
        import os, signal, sys
        from pathlib import Path
        from axon_audit_otel import AuditLogger
        where, change = Path(sys.argv[1]), sys.argv[2]
        audit = AuditLogger(auto_export_path=where, on_failure="block")
        moment = "2026-01-15T10:00:00.000000Z"
        def begin(name):
            audit.trail.record_intent({"event_id": name, "time": moment, "operation": "STORE"})
        begin("one")
        path = where / "default.intents"
        if change == "removed":
            path.unlink()
        elif change == "emptied":
            os.truncate(path, 0)
        else:
            path.rename(where / "aside")
        begin("two")
        os.kill(os.getpid(), signal.SIGKILL)
        """,
        where,
        change,
        code=-9,
    )
    audit = make_audit(auto_export_path=where, name="default")
    told = [event.metadata.get("event_id") for event in audit.query_events()]
    assert {"one", "two"} <= set(told)


# --- another file system over it ----------------------------------------------------------------


@pytest.mark.component
def test_mounted_over(make_audit: Make, small_disk: Path) -> None:
    """Another file system is mounted over the directory, and taken away again: each has the
    events of its time, and those that memory had when it came."""
    where = small_disk / "logs"
    audit = make_audit(auto_export_path=where)
    log(audit, 5, "before")
    subprocess.run(["mount", "-t", "tmpfs", "none", str(where)], check=True)
    try:
        log(audit, 5, "meanwhile")
        audit.seal()
        assert numbers(where) == list(range(1, 11))
        assert verify(where).findings == []
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)
    log(audit, 5, "after")
    audit.close()
    assert numbers(where) == list(range(1, 16))


@pytest.mark.component
def test_unmounted(make_audit: Make, small_disk: Path) -> None:
    """The file system is gone; the directory below it takes over."""
    audit = make_audit(auto_export_path=small_disk)
    log(audit, 5, "before")
    subprocess.run(["umount", "-l", str(small_disk)], check=True)
    log(audit, 5, "after")
    audit.close()
    assert numbers(small_disk) == list(range(1, 11))
    assert verify(small_disk).findings == []
    subprocess.run(["mount", "-t", "tmpfs", "none", str(small_disk)], check=True)
