"""Faults of an archive's directory, each with ``on_failure="degrade"`` and "block"."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from amounts import slow
from axon import MemorySystem
from conftest import ListingAdapter, Make, Run, archived, file_in_place, until

from axon_audit_otel import (
    ArchiveError,
    AuditUnavailableError,
    AxonInstrumentor,
    verify,
)

pytestmark = pytest.mark.usefixtures("without_start_record")

Fault = Callable[[Path], AbstractContextManager[None]]


# --- what is wrong while the block runs, in a directory of that disk ---------------------------


@contextmanager
def full(directory: Path) -> Iterator[None]:
    """No byte is left."""
    ballast = directory.parent / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while file.write(b"\0" * 1024):
            pass
    yield
    ballast.unlink()


@contextmanager
def read_only(directory: Path) -> Iterator[None]:
    """The file system can only be read, also by root."""
    remount = ["mount", "-o", "remount,bind,ro", str(directory)]
    subprocess.run(["mount", "--bind", str(directory), str(directory)], check=True)
    subprocess.run(remount, check=True)
    yield
    subprocess.run(["umount", "-l", str(directory)], check=True)


@contextmanager
def removed(directory: Path) -> Iterator[None]:
    """The directory is gone, and cannot be made."""
    shutil.rmtree(directory)
    with file_in_place(directory.parent, directory.parent.with_name("aside")):
        yield


@contextmanager
def no_descriptors(directory: Path) -> Iterator[None]:
    """No file can be opened."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))  # whatever is closed meanwhile
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


FAULTS = [
    pytest.param(full, marks=pytest.mark.component),
    pytest.param(read_only, marks=pytest.mark.component),
    removed,
    file_in_place,
    no_descriptors,
]


class Application:
    """A real memory system whose operations are recorded in files."""

    def __init__(self, make_audit: Make, make_system: Any, directory: Path, **options: Any) -> None:
        self.directory = directory
        self.audit = make_audit(100, directory, **options)
        self.adapter = ListingAdapter()
        self.memory: MemorySystem = make_system(audit_logger=self.audit, persistent=self.adapter)

    async def store(self) -> bool:
        """Return True if a store was let through."""
        before = len(self.adapter.list_ids())
        try:
            await self.memory.store("tea")
        except AuditUnavailableError:
            assert len(self.adapter.list_ids()) == before
            return False
        assert len(self.adapter.list_ids()) == before + 1
        return True

    def told(self, caplog: pytest.LogCaptureFixture, words: str) -> int:
        """The number of log lines about its trail with *words*."""
        trail = f"audit trail {self.audit.name!r}: "
        return sum(words in r.message for r in caplog.records if r.message.startswith(trail))

    @property
    def failures(self) -> int:
        failures: dict[str, int] = self.audit.get_statistics()["failures"]
        return sum(failures.values())


@pytest.fixture(name="start")
def _start(make_audit: Make, make_system: Any) -> Callable[..., Application]:
    def start(directory: Path, **options: Any) -> Application:
        return Application(make_audit, make_system, directory, **options)

    return start


@pytest.fixture(name="where")
def _where(request: pytest.FixtureRequest, tmp_path: Path, fault: Fault) -> Path:
    """The directory of the archive; on a disk of its own where the fault needs that."""
    if fault in (full, read_only):
        small_disk: Path = request.getfixturevalue("small_disk")
        return small_disk / "logs"
    return tmp_path / "disk" / "logs"


@pytest.mark.parametrize("fault", FAULTS)
class TestEveryFault:
    async def test_degrade(
        self,
        start: Callable[..., Application],
        where: Path,
        fault: Fault,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Operations go on; the fault is counted, and logged once; when it is over, what memory
        holds is written by itself."""
        app = start(where)
        assert await app.store()
        app.audit.seal()
        with fault(where):
            for _ in range(60):
                assert await app.store()
            assert app.failures >= 1
            assert app.told(caplog, "journal failed") == 1
        await until(lambda: app.told(caplog, "works again"))
        assert app.told(caplog, "failed") == 1
        app.audit.close()
        # Also one that was sealed, and removed with the directory.
        assert [event.sequence for event in archived(where)] == list(range(1, 62))
        assert verify(where).findings == []

    async def test_block(
        self, start: Callable[..., Application], where: Path, fault: Fault
    ) -> None:
        """Operations are refused before they touch memory (`AuditUnavailableError`); every one
        that was let through is in the archive; when the fault is over, the next goes through."""
        app = start(where, on_failure="block")
        assert await app.store()
        app.audit.seal()
        with fault(where):
            let_through = 0
            while await app.store():
                let_through += 1
                assert let_through < 1_000
            for _ in range(3):
                assert not await app.store()
            with pytest.raises(AuditUnavailableError):
                await app.audit.log_event("EXPORT")
            assert app.failures >= 1
        assert await app.store()
        app.audit.close()
        events = [event for event in archived(where) if event.operation.value == "STORE"]
        stored = {entry for event in events for entry in event.entry_ids}
        assert len(stored) == let_through + 2  # also one that was sealed, and removed
        assert stored <= set(app.adapter.list_ids())
        assert verify(where).findings == []

    async def test_twice(
        self,
        start: Callable[..., Application],
        where: Path,
        fault: Fault,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """A fault that comes again is logged again."""
        app = start(where)
        for count in (1, 2):
            app.audit.seal()
            with fault(where):
                for _ in range(30):
                    await app.store()
            app.audit.close()
            assert app.told(caplog, "journal failed") == count
            assert app.told(caplog, "works again") == count


# --- a full disk, at every byte ---------------------------------------------------------------


@pytest.mark.component
@pytest.mark.parametrize("on_failure", ["degrade", "block"])
async def test_any_room_left(
    start: Callable[..., Application], small_disk: Path, on_failure: str
) -> None:
    """However little room there is when journals are sealed and listed, and wherever it ends:
    no event is lost, and verify finds nothing."""
    ballast = small_disk / "ballast"
    for pages in range(12):
        directory = small_disk / f"logs{pages}"
        app = start(directory, on_failure=on_failure)
        assert await app.store()
        with full(directory):
            with ballast.open("r+b") as file:
                file.truncate(max(0, ballast.stat().st_size - pages * 4096))
            for _ in range(8):
                await app.store()
                with suppress(Exception):
                    app.audit.seal()
        assert await app.store()
        app.audit.close()
        report = verify(directory)
        assert report.findings == []
        stored = {entry for event in archived(directory) for entry in event.entry_ids}
        assert stored == set(app.adapter.list_ids())
        shutil.rmtree(directory)


@pytest.mark.component
async def test_reserve_in_part(start: Callable[..., Application], small_disk: Path) -> None:
    """Space that could be held back in part only does not count: nothing is let through then, and
    what is let through can be recorded."""
    app = start(small_disk / "logs", on_failure="block")
    directory = app.directory
    with full(directory):
        ballast = small_disk / "ballast"
        for freed in (100_000, 8_192, 8_192):
            with ballast.open("r+b") as file:
                file.truncate(ballast.stat().st_size - freed)
            assert not await app.store()
    assert await app.store()
    app.audit.close()
    assert len(archived(directory)) >= 1
    assert not list(directory.glob("*.reserve"))


def test_many_run_at_once(start: Callable[..., Application], tmp_path: Path) -> None:
    """The more operations run, the more space is held back for their outcomes."""
    app = start(tmp_path, on_failure="block")
    for number in range(300):
        app.audit.trail.record_intent({"event_id": str(number)})
    (reserve,) = tmp_path.glob("*.reserve")
    assert reserve.stat().st_size >= 300 * 4096
    for number in range(300):
        app.audit.trail.intent_done(str(number))


# --- two processes ------------------------------------------------------------------------------


@pytest.mark.parametrize("on_failure", ["degrade", slow("block")])
async def test_two_on_one_archive(
    start: Callable[..., Application],
    run_script: Run,
    tmp_path: Path,
    on_failure: str,
) -> None:
    """A second process on an archive writes a trail of its own in it; both are queried and
    verified together."""
    app = start(tmp_path, on_failure=on_failure, name="shared")
    assert await app.store()
    run_script(
        """
        import asyncio, sys
        from axon_audit_otel import AuditLogger
        audit = AuditLogger(auto_export_path=sys.argv[1], on_failure=sys.argv[2], name="shared")
        asyncio.run(audit.log_event("EXPORT"))
        audit.close()
        """,
        tmp_path,
        on_failure,
    )
    assert await app.store()
    found = app.audit.query_events(archived=True)
    assert [event.operation.value for event in found] == ["STORE", "EXPORT", "STORE"]
    app.audit.close()
    report = verify(tmp_path)
    assert report.findings == []
    assert {writer.writer: writer.events for writer in report.writers} == {
        "shared": 2,
        "shared-2": 1,
    }


@pytest.mark.usefixtures("fresh_name")
async def test_no_archive_from_the_start(
    make_system: Any, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``opentelemetry-instrument`` goes on when an instrumentor fails: with "block", operations
    are refused even then, until there is a trail."""
    (tmp_path / "logs").touch()
    monkeypatch.setenv("AXON_AUDIT_AUTO_EXPORT_PATH", str(tmp_path / "logs"))
    monkeypatch.setenv("AXON_AUDIT_ON_FAILURE", "block")
    with pytest.raises(ArchiveError, match="logs"):
        AxonInstrumentor().instrument()
    adapter = ListingAdapter()
    memory: Any = make_system(persistent=adapter)
    with pytest.raises(AuditUnavailableError, match="no trail: cannot archive to"):
        await memory.store("tea")
    assert adapter._storage == {}
    monkeypatch.undo()
    audit = make_audit(auto_export_path=tmp_path / "elsewhere")
    AxonInstrumentor().instrument(audit_logger=audit)
    await memory.store("tea")
    AxonInstrumentor().uninstrument()
    await memory.store("tea")
    assert (len(adapter._storage), audit.event_count) == (2, 1)
