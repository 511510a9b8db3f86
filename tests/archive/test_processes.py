"""Processes that are killed, forked or ended, that start again, or share a directory."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archive_files import (
    all_files,
    chain_in,
    journals,
    log,
    names_in,
    recorded_in,
    sealed_numbers,
    sealed_users,
    users_in,
)
from conftest import Make, Run, assert_chained, only, sealed_files

from axon_audit_otel import ArchiveError, verify
from axon_audit_otel.archive.format import HEAD

pytestmark = pytest.mark.usefixtures("without_start_record")


@pytest.fixture(name="same_name")
def _same_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every process and logger of the test has the same trail name, and only they have it."""
    monkeypatch.setenv("AXON_AUDIT_NAME", f"trail-{tmp_path.name[-40:].replace('_', '-')}")


_WRITER = """
    import asyncio, os, sys
    from axon_audit_otel import AuditLogger
    audit = AuditLogger(auto_export_path=sys.argv[1], max_events=int(sys.argv[3]))
    async def log():
        for number in range(int(sys.argv[2])):
            await audit.log_event("STORE", user_id=f"w{number:03}")
    asyncio.run(log())
    print("written", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(name="writer")
def _writer() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes that write so many events, say so, and then wait."""
    started: list[subprocess.Popen[str]] = []

    def start(directory: Path, count: int, max_events: int = 1000) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", textwrap.dedent(_WRITER)),
                *map(str, (directory, count, max_events)),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(name="_killed", scope="module")
def _killed_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a killed process: a journal of four events, and its lock."""
    directory = tmp_path_factory.mktemp("killed")
    script = textwrap.dedent(_WRITER).replace("sys.stdin.read()", "os._exit(9)")
    subprocess.run(
        [sys.executable, "-c", script, str(directory), "4", "100"],
        env={**os.environ, "AXON_AUDIT_NAME": "left-behind"},
        check=False,
        stdout=subprocess.DEVNULL,
    )
    assert len(journals(directory)) == 1
    return directory


@pytest.fixture(name="left_behind")
def _left_behind(_killed: Path, tmp_path: Path) -> Path:
    """A copy of it, for one test."""
    return shutil.copytree(_killed, tmp_path / "archive")


class TestRecovery:
    @pytest.mark.slow
    def test_killed(
        self, writer: Callable[..., subprocess.Popen[str]], make_audit: Make, tmp_path: Path
    ) -> None:
        """The journal of a killed process is sealed by the next start: no event is lost."""
        process = writer(tmp_path, 25, 10)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert len(sealed_files(tmp_path)) == 2
        assert len(journals(tmp_path)) == 1
        make_audit(auto_export_path=tmp_path)
        assert sealed_users(tmp_path) == [f"w{n:03}" for n in range(25)]

    @pytest.mark.slow
    def test_living_writers_are_left_alone(
        self, writer: Callable[..., subprocess.Popen[str]], make_audit: Make, tmp_path: Path
    ) -> None:
        """A journal whose writer lives is not touched, and both go on."""
        process = writer(tmp_path, 5)
        (theirs,) = journals(tmp_path)
        before = theirs.read_bytes()
        audit = make_audit(auto_export_path=tmp_path, name="second")
        asyncio.run(log(audit, 2, user_id="me"))
        assert theirs.read_bytes() == before
        audit.close()
        assert theirs.exists()
        process.communicate()  # ends its input: it exits by itself
        assert process.returncode == 0
        assert journals(tmp_path) == []
        assert recorded_in(tmp_path) == ["me", "me", *(f"w{n:03}" for n in range(5))]
        assert len(sealed_files(tmp_path)) == 2

    @pytest.mark.parametrize("torn", [1, 10, 60])
    @pytest.mark.slow
    def test_torn_last_line(self, left_behind: Path, make_audit: Make, torn: int) -> None:
        """A last line that was cut off (power loss) is cut away; all whole ones are kept."""
        (journal,) = journals(left_behind)
        os.truncate(journal, journal.stat().st_size - torn)
        make_audit(auto_export_path=left_behind).close()
        assert sealed_users(left_behind) == ["w000", "w001", "w002"]

    async def test_beside_the_living(self, left_behind: Path, make_audit: Make) -> None:
        """The files of a killed writer are reported by the writer that seals them, also where
        another writer of that name is at work; nobody takes a name that is not his own."""
        for name in (".left-behind.lock", "left-behind.journal"):
            (left_behind / name).rename(left_behind / name.replace("behind", "behind-3"))
        journal = (left_behind / "left-behind-3.journal").rename(left_behind / "aside")
        first = make_audit(auto_export_path=left_behind, name="left-behind")
        await first.log_event("STORE")
        journal.rename(left_behind / "left-behind-3.journal")
        audit = make_audit(auto_export_path=left_behind, name="other")
        (told,) = audit.query_events(operation="AUDIT")
        assert (told.metadata["writer"], told.metadata["events"]) == ("left-behind-3", 4)
        locks = {file.name for file in all_files(left_behind) if file.suffix == ".lock"}
        assert locks == {".left-behind.lock", ".left-behind-3.lock", ".other.lock"}

    @pytest.mark.parametrize("size", [0, 3, 12])
    def test_nothing_but_a_beginning(self, left_behind: Path, make_audit: Make, size: int) -> None:
        """A journal that holds no event yet makes no file, and goes away."""
        (journal,) = journals(left_behind)
        os.truncate(journal, size)
        make_audit(auto_export_path=left_behind).close()
        assert not journal.exists()
        assert sealed_users(left_behind) == []

    @pytest.mark.parametrize("torn", [0, 1, 30])
    def test_killed_while_sealing(self, left_behind: Path, make_audit: Make, torn: int) -> None:
        """A journal whose last line (the end of a sealed file) was written, or half
        written, is sealed as it should have been."""
        (journal,) = journals(left_behind)
        tail = b'],"total_events":4,"exported_at":"2025-01-15T11:00:00.000000Z"}\n'
        journal.write_bytes(journal.read_bytes() + tail[: len(tail) - torn])
        make_audit(auto_export_path=left_behind).close()
        assert journals(left_behind) == []
        assert sealed_users(left_behind) == ["w000", "w001", "w002", "w003"]

    @pytest.mark.parametrize(
        ("before", "aside"),
        [
            (0, b"nonsense\n"),
            (2, b",garbage\n"),
            (2, b"\n"),
            (3, b"\0" * 50 + b"\n"),
            (3, b',{"a":\n'),
            (4, b',{"event_id":"evt_1"}\n,\0\xff\n'),
            (3, HEAD),
            (6, b',garbage\n,{"sequence":5,"timestamp":"","operation":"STORE"}\n'),
        ],
        ids=[
            "first",
            "no JSON",
            "empty",
            "zeros",
            "half",
            "no event",
            "first again",
            "after the end",
        ],
    )
    @pytest.mark.parametrize("name", ["left-behind", "another"])
    def test_damaged_lines(
        self, left_behind: Path, make_audit: Make, before: int, aside: bytes, name: str
    ) -> None:
        """Lines that are no events (a failing disk) are moved aside and counted, wherever they are;
        all events are sealed, whoever starts next."""
        (journal,) = journals(left_behind)
        lines = journal.read_bytes().splitlines(keepends=True)
        if before > len(lines):
            lines.append(b'],"total_events":4,"exported_at":"2025-01-15T11:00:00.000000Z"}\n')
        lines[before : 1 if before == 0 else before] = [aside]
        journal.write_bytes(b"".join(lines))
        audit = make_audit(auto_export_path=left_behind, name=name)
        (told,) = audit.query_events(operation="AUDIT")
        assert (told.metadata["events"], told.metadata["damaged"]) == (4, aside.count(b"\n"))
        asyncio.run(log(audit, 1, user_id="next"))
        audit.close()
        assert sealed_users(left_behind) == ["next", "w000", "w001", "w002", "w003"]
        assert only(left_behind, "*.damaged").read_bytes() == aside

    @pytest.mark.usefixtures("same_name")
    @pytest.mark.parametrize("name", [None, "another"])
    @pytest.mark.slow
    def test_killed_between_naming_and_removing(
        self, run_script: Run, make_audit: Make, tmp_path: Path, name: str | None
    ) -> None:
        """A sealed file whose journal still has its old name as well is one file: its
        events do not get into a second one, whoever starts next."""
        run_script(
            """
            import asyncio, os, sys
            from pathlib import Path
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1])
            for user in "abc": asyncio.run(audit.log_event("STORE", user_id=user))
            (journal,) = Path(sys.argv[1]).glob("*.journal")
            os.link(audit.seal(), journal)   # as it is between the two steps of sealing
            os._exit(9)
            """,
            tmp_path,
            code=9,
        )
        audit = make_audit(auto_export_path=tmp_path, name=name)
        asyncio.run(log(audit, 1, user_id="next"))
        audit.close()
        assert journals(tmp_path) == []
        assert sealed_users(tmp_path) == ["a", "b", "c", "next"]

    @pytest.mark.parametrize("content", ["dear diary\ntoday\n", "{}\n", "\n\n\n"])
    def test_foreign_journal(self, make_audit: Make, tmp_path: Path, content: str) -> None:
        """A file of that ending that is not ours is left as it is."""
        foreign = tmp_path / "diary.journal"
        foreign.write_text(content)
        make_audit(auto_export_path=tmp_path)
        assert foreign.read_text() == content
        assert names_in(tmp_path) == [foreign.name]

    @pytest.mark.slow
    @pytest.mark.usefixtures("same_name")
    def test_killed_again_and_again(self, make_audit: Make, tmp_path: Path) -> None:
        """A program that is killed at any moment, again and again, while it writes and seals
        as fast as it can: every event whose call had returned is in exactly one file, and
        all of them are one chain."""
        script = textwrap.dedent(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1], max_events=3)
            async def log():
                for number in range(1_000_000):
                    name = f"{sys.argv[2]}-{number}"
                    await audit.log_event("STORE", user_id=name)
                    os.write(1, f"{name}\\n".encode())
            asyncio.run(log())
            """
        )
        chance = random.Random(7)
        returned: set[str] = set()
        for turn in range(25):
            command = [sys.executable, "-c", script, str(tmp_path), str(turn)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                for _ in range(chance.randrange(1, 400)):
                    returned.add(process.stdout.readline().strip())
                process.kill()
                returned.update(process.stdout.read().splitlines())
        make_audit(auto_export_path=tmp_path).close()
        recorded = sealed_users(tmp_path)
        assert recorded_in(tmp_path) == recorded
        assert len(recorded) == len(set(recorded))
        assert returned <= set(recorded)
        assert len(recorded) <= len(returned) + 25  # what was written when the kill came
        assert_chained(chain_in(tmp_path))

    def test_manifest_that_cannot_be_read(
        self, run_script: Run, make_audit: Make, tmp_path: Path
    ) -> None:
        """A start that fails leaves nothing open: the next has the name, and the journal."""
        run_script(
            """
            import os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1])
            audit.record("STORE", user_id="sealed")
            audit.close()
            audit.record("STORE", user_id="left")
            os._exit(0)
            """,
            tmp_path,
        )
        (manifest,) = tmp_path.glob("*.manifest")
        before, kept = len(list(Path("/proc/self/fd").iterdir())), []
        aside = manifest.rename(tmp_path / "aside")
        manifest.mkdir()
        for _ in range(3):
            with pytest.raises(ArchiveError) as failed:
                make_audit(auto_export_path=tmp_path)
            kept.append(failed.value)  # with its traceback
        assert len(list(Path("/proc/self/fd").iterdir())) == before
        manifest.rmdir()
        aside.rename(manifest)
        make_audit(auto_export_path=tmp_path).close()
        assert list(tmp_path.glob("*.manifest")) == [manifest]
        assert sealed_users(tmp_path) == ["left", "sealed"]

    def test_recovery_that_fails(self, make_audit: Make, tmp_path: Path) -> None:
        """A leftover that cannot be read does not stop a new trail."""
        (tmp_path / "default-1-1-1.journal").mkdir()
        audit = make_audit(auto_export_path=tmp_path)
        asyncio.run(log(audit, 1))
        audit.close()
        assert sealed_numbers(tmp_path) == [1]


@pytest.mark.usefixtures("same_name")
class TestRestart:
    @pytest.mark.slow
    def test_sequence_and_chain_go_on(
        self, run_script: Run, make_audit: Make, tmp_path: Path
    ) -> None:
        """A program that starts again goes on where it ended: with the next number and the
        last hash, after a good end and after a bad one."""
        for ending, code in (("sys.exit(0)", 0), ("os._exit(9)", 9), ("audit.close()", 0)):
            script = _WRITER.replace("sys.stdin.read()", ending)
            run_script(script, tmp_path, 5, 3, code=code)
        audit = make_audit(auto_export_path=tmp_path)
        asyncio.run(log(audit, 2, user_id="next"))
        assert audit.query_events()[-1].previous_hash is not None
        audit.close()
        assert len(sealed_users(tmp_path)) == 17
        assert_chained(chain_in(tmp_path))

    @pytest.mark.slow
    async def test_counts_begin_anew(
        self, run_script: Run, make_audit: Make, tmp_path: Path
    ) -> None:
        """Counts and statistics are of this run, although the numbers go on."""
        run_script(_WRITER.replace("sys.stdin.read()", ""), tmp_path, 5, 3)
        audit = make_audit(auto_export_path=tmp_path)
        assert (audit.event_count, audit.total_events_logged) == (0, 0)
        event = await audit.log_event("STORE")
        assert event.sequence == 6
        assert audit.get_statistics()["total_events"] == audit.total_events_logged == 1
        assert audit.query_events() == [event]


class TestEnds:
    """However a process ends, what was recorded is in files."""

    @pytest.mark.parametrize(
        ("ending", "code"),
        [
            ("", 0),
            ("raise RuntimeError('application bug')", 1),
            *(
                pytest.param(*case, marks=pytest.mark.slow)
                for case in [
                    ("sys.exit(3)", 3),
                    ("raise SystemExit(4)", 4),
                    ("import gc; del audit; gc.collect()", 0),
                    ("from opentelemetry.sdk._logs import LoggerProvider; LoggerProvider()", 0),
                ]
            ),
        ],
    )
    def test_exit_without_close(
        self, run_script: Run, tmp_path: Path, ending: str, code: int
    ) -> None:
        """When the program ends by itself, with an exception or without, everything is in a
        sealed file, also without `close`; what is logged after that is in the journal."""
        run_script(
            f"""
            import asyncio, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1])
            async def main():
                for _ in range(3): await audit.log_event("STORE")
            asyncio.run(main())
            {ending}
            """,
            tmp_path,
            code=code,
        )
        assert sealed_numbers(tmp_path) == [1, 2, 3]
        assert journals(tmp_path) == []

    @pytest.mark.slow
    def test_hard_exit(self, run_script: Run, make_audit: Make, tmp_path: Path) -> None:
        """After `os._exit` the journal is there for the next start."""
        run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1])
            asyncio.run(audit.log_event("STORE", user_id="u"))
            os._exit(7)
            """,
            tmp_path,
            code=7,
        )
        assert len(journals(tmp_path)) == 1
        make_audit(auto_export_path=tmp_path).close()
        assert sealed_users(tmp_path) == ["u"]

    @pytest.mark.slow
    @pytest.mark.parametrize("durability", ["memory", "process", "disk"])
    def test_logging_at_exit(
        self, run_script: Run, make_audit: Make, tmp_path: Path, durability: str
    ) -> None:
        """An event logged while the interpreter ends (an exit handler) is in a file as well."""
        run_script(
            """
            import asyncio, atexit, sys
            from axon_audit_otel import AuditLogger
            def last():
                asyncio.run(audit.log_event("EXPORT", user_id="last"))
            atexit.register(last)   # runs after everything that is registered later
            audit = AuditLogger(auto_export_path=sys.argv[1], durability=sys.argv[2])
            asyncio.run(audit.log_event("STORE", user_id="first"))
            """,
            tmp_path,
            durability,
        )
        make_audit(auto_export_path=tmp_path).close()
        assert sealed_users(tmp_path) == ["first", "last"]

    @pytest.mark.slow
    @pytest.mark.parametrize("durability", ["memory", "process", "disk"])
    @pytest.mark.parametrize("threads", [0, 3])
    def test_finalizer_at_exit(
        self, run_script: Run, make_audit: Make, tmp_path: Path, durability: str, threads: int
    ) -> None:
        """A finalizer that records when the interpreter ends waits for no thread of ours, and for
        no lock of one that stopped there: the program ends, and its event is in a file."""
        (tmp_path / "recording.py").write_text(
            textwrap.dedent(
                """
                import threading
                def begin(audit, threads):
                    begun = threading.Barrier(threads + 1)
                    def run():
                        begun.wait()
                        while True:
                            audit.record("RECALL", metadata={"long": "y" * 100_000})
                    for _ in range(threads):
                        threading.Thread(target=run, daemon=True).start()
                    begun.wait()
                """
            )
        )
        printed = run_script(
            """
            import os, sys
            sys.path.insert(0, sys.argv[1])
            import recording
            from axon_audit_otel import AuditLogger
            class Last:
                def __init__(self):
                    self.record, self.write = audit.record, os.write
                def __del__(self):
                    self.record("EXPORT", user_id="last")
                    self.write(1, b"recorded")
            audit = AuditLogger(
                auto_export_path=sys.argv[1] + "/logs", durability=sys.argv[2], max_events=100
            )
            last = Last()
            audit.record("STORE", user_id="first")
            recording.begin(audit, int(sys.argv[3]))
            """,
            tmp_path,
            durability,
            threads,
        )
        assert printed == "recorded"
        make_audit(auto_export_path=tmp_path / "logs").close()
        users = [user for user in sealed_users(tmp_path / "logs") if user]
        assert users == ["first", "last"]
        assert verify(tmp_path / "logs").findings == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
class TestFork:
    @pytest.mark.slow
    def test_child_has_its_own_trail(
        self, run_script: Run, make_audit: Make, tmp_path: Path
    ) -> None:
        """A forked child records its own events in a trail and a file of its own; its
        parent's are neither repeated nor disturbed."""
        printed = run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1])
            async def log(user, n):
                for _ in range(n): await audit.log_event("STORE", user_id=user)
            asyncio.run(log("parent", 3))
            children = []
            logged, tell = os.pipe()
            wait, end = os.pipe()
            for name in ("child-1", "child-2"):
                pid = os.fork()
                if not pid:
                    os.close(end)
                    asyncio.run(log(name, 2))
                    users = [event.user_id for event in audit.query_events()]
                    os.write(1, f"{name} {users}\\n".encode())
                    os.write(tell, b".")
                    os.read(wait, 1)  # or the other one would recover what this one left
                    os._exit(0)
                children.append(pid)
            asyncio.run(log("parent", 2))
            assert len(os.read(logged, 1) + os.read(logged, 1)) == 2
            os.close(end)
            for pid in children:
                assert os.waitpid(pid, 0)[1] == 0
            print("parent", [event.sequence for event in audit.query_events()])
            """,
            tmp_path,
        )
        assert sorted(printed.splitlines()) == [
            "child-1 ['child-1', 'child-1']",
            "child-2 ['child-2', 'child-2']",
            "parent [5, 4, 3, 2, 1]",
        ]
        make_audit(auto_export_path=tmp_path).close()  # the children left by os._exit
        assert journals(tmp_path) == []
        assert sealed_users(tmp_path) == ["child-1"] * 2 + ["child-2"] * 2 + ["parent"] * 5
        assert len({event.event_id for event in chain_in(tmp_path)}) == len(chain_in(tmp_path))
        for file in sealed_files(tmp_path):
            assert len(set(users_in(file))) <= 1

    @pytest.mark.slow
    @pytest.mark.parametrize("on_failure", ["degrade", "block"])
    def test_inside_of_an_operation(
        self, run_script: Run, make_audit: Make, tmp_path: Path, on_failure: str
    ) -> None:
        """What a child does that was forked inside of an operation is its own, and not a part of
        one that goes on in its parent; so is the end of that, if the child leaves its block."""
        run_script(
            """
            import os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1], on_failure=sys.argv[2])
            with audit.operation("COMPACT", owner="both"):
                pid = os.fork()
                if not pid:
                    for _ in range(2):
                        with audit.operation("STORE", owner="child"):
                            pass
            audit.close()
            if not pid:
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            """,
            tmp_path,
            on_failure,
        )
        assert sealed_users(tmp_path) == ["both", "both", "child", "child"]
        assert verify(tmp_path).findings == []

    @pytest.mark.slow
    def test_statistics_of_a_child(self, run_script: Run) -> None:
        """A child's statistics are of its own events, like its memory."""
        printed = run_script(
            """
            import asyncio, os
            from axon_audit_otel import AuditLogger
            audit = AuditLogger()
            asyncio.run(audit.log_event("STORE"))
            pid = os.fork()
            if not pid:
                asyncio.run(audit.log_event("RECALL"))
                print(audit.get_statistics()["total_events"], audit.total_events_logged, flush=True)
                os._exit(0)
            assert os.waitpid(pid, 0)[1] == 0
            """
        )
        assert printed.split() == ["1", "1"]

    @pytest.mark.slow
    def test_fork_while_another_thread_logs(self, run_script: Run, tmp_path: Path) -> None:
        """A child never hangs on a lock that another thread held when it was made."""
        run_script(
            """
            import asyncio, os, sys, threading, warnings
            from axon_audit_otel import AuditLogger
            warnings.simplefilter("ignore")   # newer Pythons warn of threads and fork
            audit = AuditLogger(auto_export_path=sys.argv[1])
            stop = threading.Event()
            async def log():
                while not stop.is_set(): await audit.log_event("STORE")
            thread = threading.Thread(target=lambda: asyncio.run(log()))
            thread.start()
            for _ in range(30):
                pid = os.fork()
                if not pid:
                    audit.query_events()
                    os._exit(0 if audit.event_count == 0 else 1)
                assert os.waitpid(pid, 0)[1] == 0
            stop.set()
            thread.join()
            """,
            tmp_path,
        )


@pytest.mark.slow
def test_two_processes_on_one_directory(
    writer: Callable[..., subprocess.Popen[str]], make_audit: Make, tmp_path: Path
) -> None:
    """Two processes may share a directory: every event is in exactly one file."""
    processes = [writer(tmp_path, 40, 3) for _ in range(2)]
    for process in processes:
        process.communicate()
        assert process.returncode == 0
    assert journals(tmp_path) == []
    assert recorded_in(tmp_path) == sorted([f"w{n:03}" for n in range(40)] * 2)
    assert sealed_numbers(tmp_path) == sorted([*range(1, 41)] * 2)
