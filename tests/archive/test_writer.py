"""Files: journal, sealed files, exports; faults of the disk."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from archive_files import (
    _numbers,
    all_files,
    chain_in,
    journals,
    log,
    names_in,
    recorded_in,
    sealed_numbers,
)
from axon import MemorySystem
from conftest import Cli, Make, Run, assert_chained, events_in, history, sealed_files
from prometheus_client import CollectorRegistry

from axon_audit_otel import (
    ArchiveError,
    AuditEvent,
    AuditLogger,
    AxonAuditError,
    AxonInstrumentor,
    InvalidEventError,
    verify,
)

pytestmark = pytest.mark.usefixtures("without_start_record")

SEALED = re.compile(r"audit_(\d{4}_\d\d_\d\d_\d{6})(_\d+)?\.json")


async def resumed(audit: AuditLogger, done: Callable[[], bool]) -> None:
    """Go on logging until the archive works again, as an application would."""
    deadline = time.monotonic() + 60  # only so that a failure ends
    while not done():
        assert time.monotonic() < deadline, "the archive did not resume by itself"
        await audit.log_event("RECALL")
        await asyncio.sleep(0.02)


class TestSealedFiles:
    async def test_rotation(self, make_audit: Make, tmp_path: Path) -> None:
        """Every `max_events` events make one file; each event is in exactly one of them,
        and `close` seals the rest."""
        audit = make_audit(max_events=5, auto_export_path=tmp_path)
        events = await log(audit, 23)
        assert [_numbers(file) for file in sealed_files(tmp_path)] == [
            list(range(first, first + 5)) for first in (1, 6, 11, 16)
        ]
        audit.close()
        assert sealed_numbers(tmp_path) == list(range(1, 24))
        assert journals(tmp_path) == []
        written = {event["event_id"] for f in sealed_files(tmp_path) for event in events_in(f)}
        assert written == {event.event_id for event in events}

    async def test_name_is_the_time_in_utc(
        self, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A file is named ``audit_YYYY_MM_DD_HHMMSS.json`` by the UTC time of its sealing,
        wherever the machine stands."""
        monkeypatch.setenv("TZ", "JST-9")
        time.tzset()
        try:
            audit = make_audit(auto_export_path=tmp_path)
            await audit.log_event("STORE")
            before = datetime.now(timezone.utc).replace(microsecond=0)
            sealed = audit.seal()
            after = datetime.now(timezone.utc)
        finally:
            monkeypatch.undo()
            time.tzset()
        assert sealed is not None
        match = SEALED.fullmatch(sealed.name)
        assert match is not None
        moment = datetime.strptime(match[1], "%Y_%m_%d_%H%M%S").replace(tzinfo=timezone.utc)
        assert before <= moment <= after

    async def test_format(self, make_audit: Make, tmp_path: Path) -> None:
        """A sealed file is the specification's JSON: every field of an event under its name."""
        audit = make_audit(max_events=1, auto_export_path=tmp_path)
        await audit.log_event(
            "STORE", "user_123", "session_abc", ["entry_1"], {"tags": ["ü"]}, duration_ms=45.2
        )
        (file,) = sealed_files(tmp_path)
        (event,) = events_in(file)
        assert event == {
            "event_id": event["event_id"],
            "timestamp": event["timestamp"],
            "operation": "STORE",
            "user_id": "user_123",
            "session_id": "session_abc",
            "entry_ids": ["entry_1"],
            "metadata": {"tags": ["ü"]},
            "status": "SUCCESS",
            "duration_ms": 45.2,
            "sequence": 1,
        }

    async def test_chain_across_files(self, make_audit: Make, tmp_path: Path) -> None:
        """The chain goes on from file to file, and every event decodes to what was recorded."""
        audit = make_audit(max_events=4, auto_export_path=tmp_path)
        logged = await log(audit, 12, metadata={"text": "é\U0001f600"})
        assert chain_in(tmp_path) == logged
        assert_chained(chain_in(tmp_path))

    async def test_many_within_one_second(self, make_audit: Make, tmp_path: Path) -> None:
        """Files sealed within the same second each have their own name."""
        audit = make_audit(max_events=1, auto_export_path=tmp_path)
        await log(audit, 40)
        files = sealed_files(tmp_path)
        assert len(files) == 40
        assert all(SEALED.fullmatch(file.name) for file in files)
        assert sealed_numbers(tmp_path) == list(range(1, 41))

    async def test_foreign_file_of_that_name(self, make_audit: Make, tmp_path: Path) -> None:
        """A file that is already there is not touched, whoever made it."""
        audit = make_audit(auto_export_path=tmp_path)
        await audit.log_event("STORE")
        now = datetime.now(timezone.utc)
        names = [now + timedelta(seconds=step) for step in range(30)]
        foreign = [tmp_path / f"{name:audit_%Y_%m_%d_%H%M%S}.json" for name in names]
        for file in foreign:
            file.write_text("mine")
        sealed = audit.seal()
        assert sealed is not None
        assert sealed not in foreign
        assert len(events_in(sealed)) == 1
        assert {file.read_text() for file in foreign} == {"mine"}

    async def test_owner_only(self, make_audit: Make, tmp_path: Path) -> None:
        """Journals, sealed files and exports can be read by their owner only, whatever the
        umask is."""
        before = os.umask(0)
        try:
            audit = make_audit(auto_export_path=tmp_path)
            await audit.log_event("STORE")
            (journal,) = journals(tmp_path)
            assert stat.S_IMODE(journal.stat().st_mode) == 0o600
            audit.close()
            audit.export_to_file(tmp_path / "export.json")
            audit.export_events(audit.query_events(), tmp_path / "events.json")
            await audit.export_to_json(tmp_path / "sdk.json")
        finally:
            os.umask(before)
        assert len(names_in(tmp_path)) == 4
        modes = {stat.S_IMODE(file.stat().st_mode) for file in all_files(tmp_path)}
        assert modes == {0o600}

    async def test_without_rotation(self, make_audit: Make, tmp_path: Path) -> None:
        """With `enable_rotation=False` the journal grows until `close`, and holds every
        event although memory does not."""
        audit = make_audit(max_events=3, auto_export_path=tmp_path, enable_rotation=False)
        await log(audit, 10, user_id="u")
        assert sealed_files(tmp_path) == []
        assert len(recorded_in(tmp_path)) == 10
        assert audit.event_count == 3
        audit.close()
        (file,) = sealed_files(tmp_path)
        assert _numbers(file) == list(range(1, 11))

    async def test_seal(self, make_audit: Make, tmp_path: Path) -> None:
        """`seal` returns the file, and None when there is nothing to seal."""
        audit = make_audit(auto_export_path=tmp_path)
        assert audit.seal() is None
        await audit.log_event("STORE")
        sealed = audit.seal()
        assert sealed is not None
        assert sealed.parent == tmp_path
        assert _numbers(sealed) == [1]
        assert audit.seal() is None
        await audit.log_event("STORE")
        following = audit.seal()
        assert following is not None
        assert following != sealed
        assert _numbers(following) == [2]

    async def test_close_is_not_the_end(self, make_audit: Make, tmp_path: Path) -> None:
        """An event logged after `close` begins a new journal; `close` may be called again."""
        with make_audit(auto_export_path=tmp_path) as audit:
            await audit.log_event("STORE")
        assert sealed_numbers(tmp_path) == [1]
        audit.close()
        assert len(sealed_files(tmp_path)) == 1
        await audit.log_event("STORE")
        assert len(journals(tmp_path)) == 1
        audit.close()
        assert sealed_numbers(tmp_path) == [1, 2]

    async def test_no_archive(self, audit: AuditLogger, tmp_path: Path) -> None:
        """Without an archive nothing is written, and sealing is no error."""
        await audit.log_event("STORE")
        assert audit.seal() is None
        audit.close()
        assert names_in(tmp_path) == []

    async def test_forgotten_logger(self, tmp_path: Path) -> None:
        """A logger that nobody holds any more seals what it wrote."""
        audit = AuditLogger(auto_export_path=tmp_path, registry=CollectorRegistry())
        await audit.log_event("STORE")
        del audit
        gc.collect()
        assert sealed_numbers(tmp_path) == [1]

    async def test_directory_is_made(self, make_audit: Make, tmp_path: Path) -> None:
        """The directory and its parents are made if they are missing."""
        audit = make_audit(auto_export_path=tmp_path / "a" / "b")
        await audit.log_event("STORE")
        audit.close()
        assert sealed_numbers(tmp_path / "a" / "b") == [1]

    async def test_two_loggers_on_one_directory(self, make_audit: Make, tmp_path: Path) -> None:
        """Two trails may share a directory: neither takes or overwrites the other's files."""
        one = make_audit(name="one", max_events=3, auto_export_path=tmp_path)
        two = make_audit(name="two", max_events=3, auto_export_path=tmp_path)
        for _ in range(5):
            await one.log_event("STORE", user_id="1")
            await two.log_event("RECALL", user_id="2")
        assert len(journals(tmp_path)) == 2
        one.close()
        two.close()
        users = [{event["user_id"] for event in events_in(f)} for f in sealed_files(tmp_path)]
        assert sorted(users, key=str) == [{"1"}, {"1"}, {"2"}, {"2"}]
        assert recorded_in(tmp_path) == ["1"] * 5 + ["2"] * 5

    async def test_threads(self, make_audit: Make, tmp_path: Path) -> None:
        """Threads that log at once lose nothing and write nothing twice."""
        audit = make_audit(max_events=7, auto_export_path=tmp_path)
        await asyncio.gather(*(asyncio.to_thread(asyncio.run, log(audit, 50)) for _ in range(4)))
        audit.close()
        assert sealed_numbers(tmp_path) == list(range(1, 201))


class TestJournal:
    async def test_written_before_the_call_returns(self, make_audit: Make, tmp_path: Path) -> None:
        """When `log_event` returns, the event is in the journal, as it stands in memory."""
        audit = make_audit(auto_export_path=tmp_path)
        for _ in range(3):
            event = await audit.log_event("STORE", metadata={"text": "é"})
            (journal,) = journals(tmp_path)
            assert journal.read_bytes().splitlines()[-1][1:] == event.to_json()

    async def test_instrumented_operation(
        self, config: Any, make_audit: Make, tmp_path: Path
    ) -> None:
        """An event is in the file when it returns, also for an operation of a real
        `MemorySystem`."""
        audit = make_audit(auto_export_path=tmp_path)
        entry_id = await MemorySystem(config, audit_logger=audit).store("tea")
        (journal,) = journals(tmp_path)
        assert json.loads(journal.read_bytes().splitlines()[-1][1:])["entry_ids"] == [entry_id]


class TestExport:
    async def test_export_to_file(self, audit: AuditLogger, tmp_path: Path) -> None:
        """All events in memory are written, oldest first; the number is returned."""
        events = await log(audit, 3, user_id="u")
        path = tmp_path / "new" / "trail.json"
        assert audit.export_to_file(path) == 3
        assert [event["event_id"] for event in events_in(path)] == [e.event_id for e in events]

    async def test_export_events(self, audit: AuditLogger, tmp_path: Path) -> None:
        """The events given are written, in their order; text is a path too."""
        await log(audit, 3, user_id="alice")
        await log(audit, 2, user_id="bob")
        found = audit.query_events(user_id="alice")
        assert audit.export_events(iter(found), str(tmp_path / "alice.json")) == 3
        exported = events_in(tmp_path / "alice.json")
        assert [event["sequence"] for event in exported] == [3, 2, 1]

    def test_nothing(self, audit: AuditLogger, tmp_path: Path) -> None:
        """No events make a valid file without events."""
        assert audit.export_to_file(tmp_path / "none.json") == 0
        assert events_in(tmp_path / "none.json") == []
        assert audit.export_events([], tmp_path / "none.json") == 0

    async def test_same_bytes_everywhere(self, make_audit: Make, tmp_path: Path) -> None:
        """An event has one encoding: the same in the journal, the sealed file, the export of
        memory, and the export of what a query returned."""
        audit = make_audit(auto_export_path=tmp_path)
        hard = {
            "f": [0.1, 1e22, -0.0, 1.0, 5e-324, 1e16],
            "n": [2**63 - 1, -(2**63), 0],
            "s": 'quote " slash / back \\ \x00\x1f\x7f\u2028 é \U0001f600 <&>',
            "d": {"z": None, "a": True, "": []},
        }
        with make_audit(max_events=1) as other:
            await other.log_event("STORE")  # another trail's numbers must not matter
        for duration in (None, 0, 0.001, 45.2, 1e9):
            await audit.log_event(
                "STORE", "ü", "s", ["e"], hard, "PARTIAL", "why", duration, subject_id="x"
            )
        (journal,) = journals(tmp_path)

        def lines(path: Path) -> list[bytes]:
            return [line[1:] for line in path.read_bytes().splitlines()[1:] if line[:1] != b"]"]

        journaled = lines(journal)
        audit.export_to_file(tmp_path / "memory.json")
        audit.export_events(history(audit), tmp_path / "query.json")
        sealed = audit.seal()
        assert sealed is not None
        assert journaled == lines(sealed) == lines(tmp_path / "memory.json")
        assert journaled == lines(tmp_path / "query.json")
        assert journaled == [event.to_json() for event in history(audit)]
        decoded = [msgspec.json.decode(line, type=AuditEvent) for line in journaled]
        assert [event.to_json() for event in decoded] == journaled

    async def test_replaces_whole(self, audit: AuditLogger, tmp_path: Path) -> None:
        """An existing file is replaced by a whole one, and nothing else is left behind."""
        path = tmp_path / "trail.json"
        path.write_text("x" * 100_000)
        await audit.log_event("STORE")
        audit.export_to_file(path)
        assert len(events_in(path)) == 1
        assert names_in(tmp_path) == [path.name]

    async def test_failure_in_the_middle(self, audit: AuditLogger, tmp_path: Path) -> None:
        """An export that fails leaves the file of before as it was, and nothing half."""
        path = tmp_path / "trail.json"
        await audit.log_event("STORE")
        audit.export_to_file(path)
        before = path.read_bytes()
        with pytest.raises(InvalidEventError, match="no event"):
            audit.export_events([*audit.query_events(), "no event"], path)  # type: ignore[list-item]

        def broken() -> Iterator[AuditEvent]:
            yield from audit.query_events()
            raise RuntimeError("the caller's own")

        with pytest.raises(RuntimeError, match="the caller's own"):
            audit.export_events(broken(), path)
        assert path.read_bytes() == before
        assert names_in(tmp_path) == [path.name]

    @pytest.mark.parametrize("where", ["file/trail.json", "directory", "file/deep/trail.json"])
    async def test_impossible_place(self, audit: AuditLogger, tmp_path: Path, where: str) -> None:
        """A directory that cannot be written is an `ArchiveError` that shows the path."""
        (tmp_path / "file").write_text("in the way")
        (tmp_path / "directory" / "full").mkdir(parents=True)
        await audit.log_event("STORE")
        path = tmp_path / where
        with pytest.raises(ArchiveError) as caught:
            audit.export_to_file(path)
        assert str(path) in str(caught.value)
        with pytest.raises(AxonAuditError):
            audit.export_events(audit.query_events(), path)
        with pytest.raises(OSError, match="cannot write"):
            await audit.export_to_json(path)
        assert names_in(tmp_path) == ["directory", "file"]

    @pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs")
    def test_what_is_no_file(self, audit: AuditLogger, tmp_path: Path) -> None:
        """A FIFO stays what it is, and so would a device: nothing takes its place."""
        path = tmp_path / "fifo"
        os.mkfifo(path)
        with pytest.raises(ArchiveError, match="not a regular file"):
            audit.export_to_file(path)
        assert path.is_fifo()

    @pytest.mark.parametrize("path", ["", "/", "a\0b", "x" * 300])
    async def test_no_path(self, audit: AuditLogger, path: str) -> None:
        """A text that names no file is an `ArchiveError` too."""
        with pytest.raises(ArchiveError):
            audit.export_to_file(path)


class TestFaults:
    """The disk fails: nobody who logs notices, nothing is lost, and it goes on by itself."""

    @pytest.mark.parametrize("where", ["file", "file/below"])
    def test_no_directory(self, make_audit: Make, tmp_path: Path, where: str) -> None:
        """An archive that can never be is refused at once, with its path."""
        (tmp_path / "file").write_text("in the way")
        with pytest.raises(ArchiveError) as caught:
            make_audit(auto_export_path=tmp_path / where)
        assert str(tmp_path / where) in str(caught.value)

    async def test_directory_vanished_before_the_first(
        self, make_audit: Make, tmp_path: Path
    ) -> None:
        """A directory that vanishes before the first event: it is made again without any fault."""
        directory = tmp_path / "logs"
        audit = make_audit(auto_export_path=directory)
        shutil.rmtree(directory)
        await log(audit, 3)
        audit.close()
        assert sealed_numbers(directory) == [1, 2, 3]
        assert audit.get_statistics()["failures"] == {}

    @pytest.mark.slow
    async def test_file_in_place_of_the_directory(self, make_audit: Make, tmp_path: Path) -> None:
        """While a file stands where the directory was, events wait in memory; when it is
        gone they are written."""
        directory = tmp_path / "logs"
        audit = make_audit(auto_export_path=directory)
        shutil.rmtree(directory)
        directory.write_text("in the way")
        events = await log(audit, 5)
        assert audit.query_events() == events[::-1]
        assert directory.read_text() == "in the way"
        directory.unlink()
        await resumed(audit, directory.is_dir)
        audit.close()
        assert sealed_numbers(directory) == list(range(1, audit.total_events_logged + 1))

    def test_end_during_a_fault(self, run_script: Run, make_audit: Make, tmp_path: Path) -> None:
        """A writer that ends with events in no file has not ended well, and the next start
        says so."""
        run_script(
            """
            import asyncio, sys
            from pathlib import Path
            from axon_audit_otel import AuditLogger
            logs = Path(sys.argv[1])
            audit = AuditLogger(5, logs)
            for number in range(8):
                if number == 5:
                    logs.rename(logs.with_name("aside"))
                    logs.write_text("in the way")
                asyncio.run(audit.log_event("STORE"))
            """,
            tmp_path / "logs",
        )
        (tmp_path / "logs").unlink()
        (tmp_path / "aside").rename(tmp_path / "logs")
        make_audit(5, tmp_path / "logs").close()
        (writer,) = verify(tmp_path / "logs").writers
        assert [end.told_by for end in writer.unclean_ends] == [6]

    async def test_losses_are_told_at_the_end(self, make_audit: Make, tmp_path: Path) -> None:
        """The loss of events that memory could not hold during a fault is on record also if nothing
        follows it."""
        directory = tmp_path / "logs"
        audit = make_audit(10, directory)
        await log(audit, 5)
        shutil.rmtree(directory)
        directory.write_text("in the way")
        await log(audit, 30)
        directory.unlink()
        audit.close()
        report = verify(directory)
        assert report.ok
        (gap,) = report.writers[0].gaps
        assert (gap.first, gap.last, gap.told_by) == (6, 25, 36)  # the first 5 were written

    async def test_change_of_the_working_directory(
        self, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A relative path means what it did when the logger was made."""
        monkeypatch.chdir(tmp_path)
        audit = make_audit(3, "./logs")
        await log(audit, 2)
        monkeypatch.chdir("/")
        await log(audit, 3)
        audit.close()
        assert sealed_numbers(tmp_path / "logs") == [1, 2, 3, 4, 5]
        assert audit.get_statistics()["failures"] == {}

    async def test_instrumented_operations(
        self, config: Any, make_audit: Make, tmp_path: Path
    ) -> None:
        """An operation of a `MemorySystem` neither fails nor is lost because the archive does."""
        directory = tmp_path / "logs"
        audit = make_audit(auto_export_path=directory)
        memory = MemorySystem(config, audit_logger=audit)
        shutil.rmtree(directory)
        directory.write_text("in the way")
        entry_id = await memory.store("tea")
        assert [entry.id for entry in await memory.recall("tea")] == [entry_id]
        await memory.forget(entry_id)  # type: ignore[attr-defined]
        names = [event.operation.value for event in history(audit)]
        assert names == ["STORE", "RECALL", "FORGET"]
        directory.unlink()
        audit.close()
        assert sealed_numbers(directory) == [1, 2, 3]

    async def test_lost_events_are_counted(self, make_audit: Make, tmp_path: Path) -> None:
        """An event that leaves memory while the archive does not work is lost, and counted; the
        rest is written once it works."""
        directory = tmp_path / "logs"
        audit = make_audit(max_events=4, auto_export_path=directory)
        shutil.rmtree(directory)
        directory.write_text("in the way")
        await log(audit, 10)
        assert audit.get_statistics()["evicted_events"] == 6
        directory.unlink()
        audit.close()
        assert sealed_numbers(directory) == [7, 8, 9, 10]
        assert audit.get_statistics()["evicted_events"] == 6

    async def test_directory_moved_away(self, make_audit: Make, tmp_path: Path) -> None:
        """A directory that was moved takes its journal along. A new one has all of its events
        as well, and nothing follows in the old one."""
        directory, moved = tmp_path / "logs", tmp_path / "moved"
        audit = make_audit(max_events=3, auto_export_path=directory)
        await log(audit, 2, user_id="before")
        directory.rename(moved)
        await log(audit, 4, user_id="after")  # the third event was to seal the journal
        audit.close()
        await log(audit, 2, user_id="later")
        audit.close()
        make_audit(auto_export_path=moved, name="recovers-moved")
        make_audit(auto_export_path=directory, name="recovers-new")
        assert sealed_numbers(moved) == [1, 2]
        assert sealed_numbers(directory) == list(range(1, 9))

    async def test_seal_fails(self, make_audit: Make, tmp_path: Path) -> None:
        """`seal` that cannot is an `ArchiveError` with the path: None would say that there
        was nothing to seal."""
        directory = tmp_path / "logs"
        audit = make_audit(auto_export_path=directory)
        await audit.log_event("STORE")
        shutil.rmtree(directory)
        directory.write_text("in the way")
        with pytest.raises(ArchiveError) as caught:
            audit.seal()
        assert str(directory) in str(caught.value)
        assert audit.event_count == 1

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "setresuid"), reason="needs Unix users")
    def test_directory_without_permission(self, run_script: Run, tmp_path: Path) -> None:
        """A directory that became read-only stops nobody; when it is writable again the
        events follow. A read-only one at the start is refused."""
        printed = run_script(
            """
            import asyncio, os, shutil, sys, tempfile
            from axon_audit_otel import ArchiveError, AuditLogger
            there = tempfile.mkdtemp()   # who is not root reaches it from the top
            os.chdir(there)
            os.chmod(".", 0o711)
            os.mkdir("logs")
            root = os.geteuid() == 0
            def make(mode):
                if root:
                    os.setresuid(0, 0, 0)
                    os.chown("logs", 65534, -1)
                os.chmod("logs", mode)
                if root:
                    os.setresuid(65534, 65534, 0)
            async def log(n):
                for _ in range(n): await audit.log_event("STORE")
            make(0o700)
            audit = AuditLogger(max_events=3, auto_export_path="logs")
            make(0o500)
            asyncio.run(log(2))     # no journal can be made
            try:
                AuditLogger(auto_export_path="logs")
            except ArchiveError as exc:
                print("refused", "logs'" in str(exc))
            make(0o700)
            audit.close()
            asyncio.run(log(2))
            make(0o500)
            asyncio.run(log(3))     # the journal cannot become a sealed file
            make(0o700)
            audit.close()
            asyncio.run(log(1))
            audit.close()
            print(audit.get_statistics()["evicted_events"])
            make(0o711)
            if root:
                os.setresuid(0, 0, 0)
            shutil.copytree("logs", sys.argv[1])
            shutil.rmtree(there)
            """,
            tmp_path / "logs",
            loaded=True,
        )
        assert printed.split() == ["refused", "True", "0"]
        assert sealed_numbers(tmp_path / "logs") == list(range(1, 9))

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a file size limit")
    @pytest.mark.slow
    def test_disk_full(self, run_script: Run, tmp_path: Path) -> None:
        """A full disk (here: a file size limit) tears no line. What did not fit waits in
        memory and follows when there is room."""
        printed = run_script(
            """
            import asyncio, resource, signal, sys
            from axon_audit_otel import AuditLogger
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            audit = AuditLogger(auto_export_path=sys.argv[1])
            async def log(n):
                for _ in range(n): await audit.log_event("STORE", metadata={"pad": "x" * 100})
            asyncio.run(log(3))
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1300, hard))
            asyncio.run(log(10))
            print(audit.event_count, audit.get_statistics()["failures"].get("journal"))
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
            audit.close()   # room for some of what waits, not for all
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            audit.close()
            asyncio.run(log(1))
            audit.close()
            """,
            tmp_path,
        )
        assert printed.split() == ["13", "1"]
        assert sealed_numbers(tmp_path) == list(range(1, 15))

    @pytest.mark.skipif(sys.platform == "win32", reason="needs a file size limit")
    @pytest.mark.slow
    def test_disk_full_at_the_seal(self, run_script: Run, tmp_path: Path) -> None:
        """A disk that is full just when a journal is to be sealed leaves it whole, and the
        next attempt seals it."""
        run_script(
            """
            import asyncio, os, resource, signal, sys
            from pathlib import Path
            from axon_audit_otel import AuditLogger
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            audit = AuditLogger(auto_export_path=sys.argv[1])
            async def log(n):
                for _ in range(n): await audit.log_event("STORE")
            asyncio.run(log(3))
            (journal,) = Path(sys.argv[1]).glob("*.journal")
            _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 20, hard))
            try:
                audit.seal()
            except OSError:
                pass
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
            asyncio.run(log(2))
            audit.close()
            asyncio.run(log(1))
            audit.close()
            """,
            tmp_path,
        )
        assert sealed_numbers(tmp_path) == list(range(1, 7))


@pytest.mark.usefixtures("fresh_name")
async def test_instrumentor_with_an_archive_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, config: Any
) -> None:
    """Zero-code instrumentation archives where the variable says."""
    monkeypatch.setenv("AXON_AUDIT_AUTO_EXPORT_PATH", str(tmp_path))
    instrumentor = AxonInstrumentor()
    instrumentor.instrument()
    try:
        await MemorySystem(config).store("tea", user_id="alice")  # type: ignore[call-arg]
        assert instrumentor.audit_logger is not None
        instrumentor.audit_logger.close()
    finally:
        instrumentor.uninstrument()
    assert recorded_in(tmp_path) == ["alice"]


def test_a_manifest_that_is_damaged(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """Nothing is recorded beside it, nor done that was to be; the error names the file."""
    with make_audit(auto_export_path=tmp_path) as audit, pytest.raises(StopIteration):
        audit.log_event("STORE").send(None)
    cli("hold", tmp_path, "--reason", "Doe v. Acme")
    manifest = tmp_path / "hold.manifest"
    manifest.write_bytes(manifest.read_bytes().replace(b"seal", b"saal", 1))
    said = cli("hold", tmp_path, "--release", code=1).stderr
    assert "hold.manifest has a line that is not a record (axon-audit verify)" in said
    assert "held by 'legal'" in cli("hold", tmp_path).stdout
