"""Several processes read an archive, and the report is that of one; where none can, one does."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Make, Run
from every_way import by_digest, facts

from axon_audit_otel import AuditConfigError, verify
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.verification import processes
from axon_audit_otel.verification.event_ids import IdCollector
from axon_audit_otel.verification.file_reading import Job, read_sealed
from axon_audit_otel.verification.key_check import KeyCheck
from axon_audit_otel.verification.processes import FileReader

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
FILES, PER_FILE = 20, 20


def _record(make_audit: Make, path: Path, **settings: Any) -> None:
    audit = make_audit(PER_FILE, path, **settings)
    for number in range(FILES * PER_FILE // 2 + 7):
        with audit.operation("STORE", user_id=f"user-{number % 3}") as said:
            said.entry_ids = [f"entry-{number}"]
    audit.close()


@pytest.fixture(name="archive")
def _archive(make_audit: Make, tmp_path: Path) -> Path:
    """An archive of two writers."""
    for name in ("default", "other"):
        _record(make_audit, tmp_path / "logs", name=name, signing_key=KEY, checkpoint_events=7)
    return tmp_path / "logs"


@pytest.fixture(name="_worth", autouse=True)
def _is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small archives are worth several processes, which are waited for."""
    monkeypatch.setattr(processes, "_WORTH", 1)
    monkeypatch.setattr(processes, "_START_S", 600.0)


def children() -> list[int]:
    """The processes that this one started and that run."""
    found = []
    for task in Path("/proc/self/task").iterdir():
        found += map(int, (task / "children").read_text("ascii").split())
    return found


def files_in(archive: Path) -> list[Path]:
    return sorted(archive.glob("audit_*"))


def _flip(archive: Path) -> None:
    file = files_in(archive)[7]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _cut(archive: Path) -> None:
    file = files_in(archive)[4]
    file.write_bytes(file.read_bytes()[:-300])


def _swap(archive: Path) -> None:
    lines = (file := files_in(archive)[5]).read_bytes().splitlines(keepends=True)
    lines[3], lines[4] = lines[4], lines[3]
    file.write_bytes(b"".join(lines))


def _remove(archive: Path) -> None:
    files_in(archive)[9].unlink()


def _exchange(archive: Path) -> None:
    one, two = files_in(archive)[2:4]
    kept = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(kept)


def _manifest(archive: Path) -> None:
    path = archive / "default.manifest"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:5], *lines[6:]]))


def _unreadable(archive: Path) -> None:
    files_in(archive)[6].unlink()
    files_in(archive)[6].with_name("audit_2020_01_01_000000.json").mkdir()


def _nothing(archive: Path) -> None:
    pass


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "jobs"),
    [
        *((damage, 2) for damage in (_nothing, _flip, _cut, _swap, _remove, _exchange)),
        *((damage, 3) for damage in (_nothing, _manifest, _unreadable)),
    ],
)
def test_same_report(archive: Path, damage: Callable[[Path], None], jobs: int) -> None:
    """Of one process and of several, by digests and by lines, with a key and without."""
    damage(archive)
    for keys in ([PUBLIC], []):
        wanted = verify(archive, keys, jobs=1, full=True)
        assert facts(verify(archive, keys, jobs=jobs, full=True)) == facts(wanted)
        several, one = (verify(archive, keys, jobs=count) for count in (jobs, 1))
        assert facts(several) == facts(wanted)
        assert by_digest(several) == by_digest(one)
    assert children() == []


@pytest.mark.parametrize("settings", [{"compress": True}, {"erasable": True}])
@pytest.mark.slow
def test_kinds(make_audit: Make, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Compressed and encrypted ones, whose keys are elsewhere and gone, are read as well."""
    _record(make_audit, tmp_path / "logs", **settings)
    if (keys := tmp_path / "logs.keys").exists():
        shutil.move(keys, tmp_path / "elsewhere")
    for erasable in (None, tmp_path / "elsewhere"):
        wanted = facts(verify(tmp_path / "logs", jobs=1, erasable=erasable))
        assert facts(verify(tmp_path / "logs", jobs=2, erasable=erasable)) == wanted


@pytest.mark.slow
@pytest.mark.parametrize("most", [1, 2])
def test_killed(archive: Path, most: int) -> None:
    """If processes are killed, the others go on, or this one does."""
    wanted = verify(archive, [PUBLIC], jobs=1)
    killed: list[int] = []

    def kill(_: int) -> None:
        if not killed:
            killed.extend(children()[:most])
            for pid in killed:
                os.kill(pid, signal.SIGKILL)

    assert verify(archive, [PUBLIC], progress=kill, jobs=2) == wanted
    assert len(killed) == most


@pytest.mark.slow
def test_progress(archive: Path) -> None:
    """Every byte is told once, in this process."""
    told: list[int] = []
    verify(archive, [PUBLIC], progress=told.append, jobs=2)
    assert sum(told) == sum(file.stat().st_size for file in files_in(archive))


@pytest.mark.slow
def test_left(archive: Path) -> None:
    """If the caller's function raises, no process is left."""

    def stop(_: int) -> None:
        assert children()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        verify(archive, [PUBLIC], progress=stop, jobs=2)
    assert children() == []


def _programs(path: Path) -> Iterator[str]:
    """What may be in the place of Python."""
    for name, script in {
        "ends": "exit 3",
        "talks": "echo hello",
        "answers": 'echo hello >&"$5"',
    }.items():
        (path / name).mkdir()
        program = path / name / "python"
        program.write_text(f"#!/bin/sh\n{script}\n", "ascii")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        yield str(program)
    yield str(path / "python")  # is not there
    yield str(path)  # may not be executed
    yield ""
    yield "/usr/sbin/uwsgi"


def test_no_process(archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where none can be started, or what starts is no Python, this one reads everything."""
    wanted = verify(archive, [PUBLIC], jobs=1)
    for program in _programs(tmp_path):
        monkeypatch.setattr(sys, "executable", program)
        assert verify(archive, [PUBLIC], jobs=2) == wanted
        assert children() == []


@pytest.mark.slow
def test_too_many_files_open(archive: Path, run_script: Run) -> None:
    """Where no more files may be opened than one process needs."""
    said = run_script(
        f"""
        import os, resource
        from axon_audit_otel import verify
        from axon_audit_otel.verification import processes

        processes._WORTH, processes._START_S = 1, 600.0
        verify({str(archive)!r}, jobs=1)
        for most in range(len(os.listdir("/proc/self/fd")) + 4, 40, 4):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, 40))
            print(verify({str(archive)!r}, jobs=3).ok)
        """
    )
    assert set(said.split()) == {"True"}


def test_small(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a small archive none is started, however many are asked for."""
    monkeypatch.undo()

    def look(_: int) -> None:
        assert children() == []

    assert verify(archive, [PUBLIC], progress=look, jobs=8).ok


@pytest.mark.slow
def test_name_that_is_no_text(archive: Path) -> None:
    """Of files that cannot be named to another process, this one reads as much."""
    other = Path(os.fsdecode(os.fsencode(archive) + b"\xff"))
    archive.rename(other)
    one, two = (verify(other, [PUBLIC], jobs=jobs) for jobs in (1, 2))
    assert one == two
    assert by_digest(two)


@pytest.mark.slow
@pytest.mark.parametrize("part", [b"/x", 3, Path("/tmp"), "a\0b"])
def test_odd_places(archive: Path, monkeypatch: pytest.MonkeyPatch, part: Any) -> None:
    """In `sys.path` may be anything: Python passes over what is no text."""
    monkeypatch.setattr(sys, "path", [*sys.path, part])
    assert verify(archive, [PUBLIC], jobs=2) == verify(archive, [PUBLIC], jobs=1)


def test_frozen(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An application in one file is no Python, whatever its name is: it would begin again."""
    monkeypatch.setattr(sys, "frozen", True, raising=False)

    def look(_: int) -> None:
        assert children() == []

    assert verify(archive, [PUBLIC], progress=look, jobs=2).ok


@pytest.mark.parametrize("jobs", [0, -1, "2", 1.5])
def test_wrong_number(archive: Path, jobs: Any) -> None:
    with pytest.raises(AuditConfigError, match=str(jobs)):
        verify(archive, jobs=jobs)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["without a guard", "daemon", "thread", "fork"])
def test_anywhere(archive: Path, run_script: Run, how: str) -> None:
    """In a script that guards nothing, a daemonic process, a thread and a forked child."""
    run = {
        "without a guard": "work()",
        "daemon": """
            import multiprocessing
            context = multiprocessing.get_context("fork")
            process = context.Process(target=work, daemon=True)
            process.start()
            process.join()
        """,
        "thread": """
            import threading
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
        """,
        "fork": """
            import os
            if (pid := os.fork()) == 0:
                work()
                os._exit(0)
            os.waitpid(pid, 0)
        """,
    }[how]
    script = f"""
        from axon_audit_otel import verify
        from axon_audit_otel.verification import processes

        processes._WORTH, processes._START_S = 1, 600.0

        def work():
            report = verify({str(archive)!r}, [{PUBLIC!r}], jobs=2)
            print(report.verdict, sum(writer.by_digest for writer in report.writers), flush=True)
        """
    said = run_script(textwrap.dedent(script) + textwrap.dedent(run))
    wanted = verify(archive, [PUBLIC], jobs=1)
    assert said.split() == ["ok", str(by_digest(wanted))]


@pytest.mark.slow
def test_ctrl_c(archive: Path, tmp_path: Path) -> None:
    """Ctrl-C reaches all processes of the terminal: it ends the command, and no process is left."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import signal, sys
            from pathlib import Path
            from axon_audit_otel import verify
            from axon_audit_otel.verification import processes

            processes._WORTH, processes._START_S = 1, 600.0

            def told(size):
                print(Path("/proc/self/task/").joinpath(str(__import__("os").getpid()), "children")
                    .read_text(), flush=True)
                signal.pause()

            verify({str(archive)!r}, progress=told, jobs=2)
            """
        ),
        "utf-8",
    )
    with subprocess.Popen(
        [sys.executable, script],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        workers = process.stdout.readline().split()
        os.killpg(process.pid, signal.SIGINT)
        _, complaint = process.communicate()
    assert len(workers) == 2
    assert complaint.count("KeyboardInterrupt") == 1
    assert process.returncode == -signal.SIGINT
    assert [pid for pid in workers if Path("/proc", pid).exists()] == []


class TestBounds:
    """Memory does not grow with the archive."""

    def test_files_ahead(self, archive: Path) -> None:
        """Few files are read before their turn."""
        taken: list[int] = []

        def jobs() -> Iterator[Job | None]:
            for number in range(1000):
                taken.append(number)
                yield None

        with FileReader(archive, None, 1 << 20, 2) as reader:
            for done, _ in enumerate(reader.read(jobs())):
                assert len(taken) - done <= 4 * processes._AHEAD + 1

    def test_ids(self) -> None:
        """Of ids that ascend, few are kept; too many others are not handed over."""
        ids, others = IdCollector(), IdCollector()
        for number in range(2000):
            lines = [b'{"event_id":"evt_%032x",' % (100 * number + at) for at in range(100)]
            ids.add(lines)
            others.add(lines[::-1])
        result = ids.result()
        assert (len(result.batches), result.count, ids.is_too_large) == (64, 2000, False)
        assert others.is_too_large

    def test_many_other_ids(
        self, archive: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """A file with too many of them is read where its trail is known."""
        from axon_audit_otel.archive.manifest import SealRecord, read_manifest
        from axon_audit_otel.verification import event_ids

        records = [record for _, record in read_manifest(archive / "default.manifest")]
        record = next(record for record in records if isinstance(record, SealRecord))
        job = Job(str(archive / record.file), record, "default", [], False)
        keys = KeyCheck(archive)
        assert read_sealed(job, keys) is not None
        monkeypatch.setattr(event_ids, "_MOST_OF_FILE", 10)
        assert read_sealed(job, keys) is None
        report = verify(archive, [PUBLIC], jobs=1)
        assert (report.verdict, by_digest(report)) == ("ok", 0)
