"""The wall clock: what happens when it jumps, stands wrong at a start, or runs backwards."""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, Run, archived, sealed_files, until

from axon_audit_otel import AuditEvent, AuditLogger, verify
from axon_audit_otel.archive.checkpoints import new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

DAY, YEAR = 86_400.0, 365 * 86_400.0


class Machine:
    """The clocks of a machine, as they are patched."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        wall, monotonic, other = time.time_ns, time.monotonic, time.clock_gettime
        self.set_by = 0.0  # seconds that somebody set the clock ahead
        self.ran = 0.0  # seconds that passed
        self.slept = 0.0  # those of which monotonic time knows nothing

        def with_sleep(clock: int) -> float:
            return other(clock) + self.ran + self.slept

        def now() -> int:
            return wall() + int((self.set_by + self.ran + self.slept) * 1e9)

        monkeypatch.setattr("time.time_ns", now)
        monkeypatch.setattr("time.monotonic", lambda: monotonic() + self.ran)
        monkeypatch.setattr("time.clock_gettime", with_sleep)

    @contextmanager
    def wrong_by(self, seconds: float) -> Iterator[None]:
        """For a while, the clock is wrong."""
        self.set_by += seconds
        yield
        self.set_by -= seconds


@pytest.fixture(name="machine")
def _machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


async def _file(audit: AuditLogger, count: int = 2) -> Path:
    for _ in range(count):
        await audit.log_event("STORE")
    sealed = audit.seal()
    assert sealed is not None
    return sealed


def _told(events: list[AuditEvent]) -> list[tuple[str, float]]:
    """The jumps that are on the record: where to, and by how much."""
    facts = [event.metadata for event in events if event.metadata.get("record") == "clock"]
    return [(fact["direction"], round(fact["seconds"])) for fact in facts]


def _newest(directory: Path) -> str:
    """The name of the newest sealed file."""
    return sealed_files(directory)[-1].name


def _looked_after(audit: AuditLogger, machine: Machine) -> None:
    """A minute passes, in which the files are looked after."""
    machine.ran += 61
    audit.trail.tick()


class TestRetention:
    @pytest.mark.parametrize("jump", [7 * YEAR, 40 * DAY, 1.5 * DAY, -7 * YEAR, -40 * DAY])
    @pytest.mark.parametrize("lasts", [3.0, 0.9 * DAY])
    async def test_a_glitch(
        self, make_audit: Make, machine: Machine, tmp_path: Path, jump: float, lasts: float
    ) -> None:
        """While a clock is wrong, and when it is right again, nothing is deleted, whatever was
        recorded before, meanwhile and after."""
        audit = make_audit(auto_export_path=tmp_path, retention="1d")
        files = [await _file(audit)]
        machine.ran += 2
        audit.trail.tick()
        with machine.wrong_by(jump):
            files.append(await _file(audit))
            machine.ran += lasts
            audit.trail.tick()
        files.append(await _file(audit))
        _looked_after(audit, machine)
        assert all(file.exists() for file in files)

    async def test_corrected_for_good(
        self, make_audit: Make, machine: Machine, tmp_path: Path
    ) -> None:
        """A clock that is set right, and stays so: after a day what is too old goes, not before;
        what is young stays."""
        audit = make_audit(auto_export_path=tmp_path, retention="30d")
        old = await _file(audit)
        machine.ran += 31 * DAY - 3600
        machine.set_by += 3600
        young = await _file(audit)
        _looked_after(audit, machine)
        machine.ran += 0.9 * DAY
        _looked_after(audit, machine)
        assert old.exists()
        machine.ran += 0.1 * DAY
        _looked_after(audit, machine)
        assert not old.exists()
        assert young.exists()
        assert verify(tmp_path).ok

    @pytest.mark.parametrize("behind", [56 * YEAR, 26 * YEAR, 2 * YEAR])
    @pytest.mark.parametrize("restarted", [False, True])
    async def test_a_clock_without_a_battery(
        self, make_audit: Make, machine: Machine, tmp_path: Path, behind: float, restarted: bool
    ) -> None:
        """An event recorded before the clock was set is not years old: it stays, and goes when it
        is as old as that, counted from when the clock was set."""
        machine.set_by -= behind
        audit = make_audit(auto_export_path=tmp_path, retention="180d")
        file = await _file(audit)
        machine.set_by += behind
        await _file(audit)
        if restarted:
            audit.close()
            del audit
            gc.collect()
            audit = make_audit(auto_export_path=tmp_path, retention="180d")
        machine.ran += 2 * DAY
        audit.trail.tick()
        assert file.exists()
        machine.ran += 177 * DAY
        audit.trail.tick()
        assert file.exists()
        machine.ran += 2 * DAY
        audit.trail.tick()
        assert not file.exists()

    async def test_jumps_again(self, make_audit: Make, machine: Machine, tmp_path: Path) -> None:
        """A seal made after a jump is no evidence of the time that the next one leads to."""
        with make_audit(auto_export_path=tmp_path, name="gone") as gone:
            file = await _file(gone)
        del gone
        gc.collect()
        audit = make_audit(auto_export_path=tmp_path, retention="180d")
        for jump in (7 * YEAR, 2 * DAY):
            machine.set_by += jump
            await _file(audit)
        assert file.exists()

    @pytest.mark.parametrize(("behind", "first"), [(2 * YEAR, False), (56 * YEAR, True)])
    async def test_a_clock_that_starts_behind(
        self, make_audit: Make, machine: Machine, tmp_path: Path, behind: float, first: bool
    ) -> None:
        """Nor is what was recorded by a process that was gone before the clock was set: what was
        sealed before is older, and there was no such thing in 1970."""
        if not first:
            audit = make_audit(auto_export_path=tmp_path, retention="180d")
            await _file(audit)
            audit.close()
            del audit
            gc.collect()
        with machine.wrong_by(-behind):
            audit = make_audit(auto_export_path=tmp_path, retention="180d")
            file = await _file(audit)
            audit.close()
            del audit
            gc.collect()
        audit = make_audit(auto_export_path=tmp_path, retention="180d")
        machine.ran += 2 * DAY
        audit.trail.tick()
        assert file.exists()

    @pytest.mark.slow
    def test_killed_and_started_again(self, run_script: Run, tmp_path: Path) -> None:
        """Processes that start while the clock is ten years ahead, and are killed, delete
        nothing, however often; nor does the one that starts when it is right again."""
        script = """
            import asyncio, os, sys, time
            real, ahead = time.time_ns, int(float(sys.argv[2]) * 1e9)
            time.time_ns = lambda: real() + ahead
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(2, sys.argv[1], retention="180d")
            for _ in range(5):
                asyncio.run(audit.log_event("STORE"))
            audit.trail.tick()
            os.kill(os.getpid(), 9)
        """
        for ahead in (0, 10 * YEAR, 10 * YEAR, 10 * YEAR + 3600, 0):
            run_script(script, tmp_path, ahead, code=-9)
        stored = [event for event in archived(tmp_path) if event.operation == "STORE"]
        assert len(stored) == 25
        report = verify(tmp_path)
        assert report.ok
        assert report.writers[0].deletions == []

    @pytest.mark.slow
    @pytest.mark.parametrize("every", [DAY, 7 * DAY, 31 * DAY])
    async def test_short_programs(
        self, make_audit: Make, machine: Machine, tmp_path: Path, every: float
    ) -> None:
        """An archive that nothing writes to for long is looked after as well: what was too old
        when the program ran the last time goes."""
        files = []
        for _ in range(8):
            audit = make_audit(auto_export_path=tmp_path, retention=2.5 * every)
            files.append(await _file(audit))
            audit.close()
            del audit
            gc.collect()
            machine.ran += every
        there = [file.exists() for file in files]
        assert there == [False] * 4 + [True] * 4
        assert verify(tmp_path).ok

    async def test_size_needs_no_clock(
        self, make_audit: Make, machine: Machine, tmp_path: Path
    ) -> None:
        """Files above the size limit are deleted whatever the clock says."""
        audit = make_audit(auto_export_path=tmp_path, max_archive_bytes=1)
        await _file(audit)
        machine.set_by += 7 * YEAR
        newest = await _file(audit)
        assert sealed_files(tmp_path) == [newest]

    async def test_short_retention(
        self, make_audit: Make, machine: Machine, tmp_path: Path
    ) -> None:
        """Of less than a day the whole must have passed: by then everything is that old."""
        audit = make_audit(auto_export_path=tmp_path, retention="1h", enable_rotation=False)
        file = await _file(audit)
        machine.set_by += DAY
        machine.ran += 3500
        audit.trail.tick()  # it jumped now, as far as one can know
        machine.ran += 3500
        audit.trail.tick()
        assert file.exists()
        _looked_after(audit, machine)
        machine.ran += 100
        audit.trail.tick()
        assert not file.exists()


class TestOnTheRecord:
    async def test_once_a_jump(self, make_audit: Make, machine: Machine, tmp_path: Path) -> None:
        """Each jump is one AUDIT event, with its direction, its size, and the times before and
        after; however often is looked."""
        audit = make_audit(auto_export_path=tmp_path, retention="1d")
        await audit.log_event("STORE")
        with machine.wrong_by(7 * YEAR):
            for _ in range(3):
                audit.trail.tick()
        for _ in range(3):
            audit.trail.tick()
        audit.close()
        events = archived(tmp_path)
        assert [event.operation for event in events] == ["STORE", "AUDIT", "AUDIT"]
        assert _told(events) == [("forward", 7 * YEAR), ("backward", 7 * YEAR)]
        facts = events[1].metadata
        assert facts["from"][:4] == events[0].to_dict()["timestamp"][:4]
        assert int(facts["to"][:4]) - int(facts["from"][:4]) in (6, 7)
        assert facts["jumps"] == 1

    @pytest.mark.parametrize("seconds", [6, -6, 3600, -3600])
    async def test_without_anything_timed(
        self, make_audit: Make, machine: Machine, tmp_path: Path, seconds: float
    ) -> None:
        """An archive that nobody looks after meanwhile: the next seal tells."""
        audit = make_audit(auto_export_path=tmp_path)
        await audit.log_event("STORE")
        machine.set_by += seconds
        audit.close()
        direction = "forward" if seconds > 0 else "backward"
        assert _told(archived(tmp_path)) == [(direction, abs(seconds))]

    @pytest.mark.slow
    async def test_noticed_by_a_full_journal(
        self, make_audit: Make, machine: Machine, tmp_path: Path
    ) -> None:
        """Also the seal of a journal that is full; nothing more need happen, and the clock may
        be right again by then."""
        audit = make_audit(2, tmp_path)
        await audit.log_event("STORE")
        with machine.wrong_by(3600):
            await audit.log_event("STORE")
        await audit.log_event("STORE")
        await until(lambda: len(_told(archived(tmp_path))) == 2)
        assert _told(archived(tmp_path)) == [("forward", 3600), ("backward", 3600)]

    async def test_a_clock_that_flaps(
        self, make_audit: Make, machine: Machine, tmp_path: Path
    ) -> None:
        """At most ten records an hour; what comes between is summed up, and no jump is missed."""
        audit = make_audit(auto_export_path=tmp_path, retention="1d")
        for _ in range(100):
            machine.set_by = 3600 - machine.set_by
            audit.trail.tick()
        machine.set_by = 7200
        audit.trail.tick()
        assert len(_told(audit.query_events())) == 10
        machine.ran += 3601
        audit.trail.tick()
        events = audit.query_events(operation="AUDIT")
        assert len(events) == 11
        assert sum(event.metadata["jumps"] for event in events) == 101

    async def test_before_the_newest_event(
        self, make_audit: Make, machine: Machine, tmp_path: Path
    ) -> None:
        """A process that starts before the newest time in its archive says so, once."""
        for wrong in (7 * YEAR, 0, 0):
            with machine.wrong_by(wrong):
                audit = make_audit(auto_export_path=tmp_path)
                await audit.log_event("STORE")
                audit.close()
                del audit
                gc.collect()
        ((direction, seconds),) = _told(archived(tmp_path))
        assert direction == "backward"
        assert 0 <= 7 * YEAR - seconds < DAY  # less what a start takes

    @pytest.mark.parametrize("kind", ["sleep", "drift", "step", "idle"])
    async def test_what_is_no_jump(
        self, make_audit: Make, machine: Machine, tmp_path: Path, kind: str
    ) -> None:
        """A machine that slept, a clock that drifts or is set by a second, and time in which
        nothing happened, are nothing to tell of, and delay nothing."""
        if kind == "sleep" and not hasattr(time, "CLOCK_BOOTTIME"):
            pytest.skip("here monotonic time counts sleep")
        audit = make_audit(auto_export_path=tmp_path, retention="30d")
        file = await _file(audit)
        for day in range(31):
            machine.ran += DAY
            if kind == "sleep":
                machine.slept += DAY / 3
            elif kind == "drift":
                machine.set_by += 40
            elif kind == "step":
                machine.set_by += 1 if day % 2 else -1
            if kind != "idle" or day == 30:
                audit.trail.tick()
        assert not file.exists()
        assert _told(audit.query_events()) == []


class TestRotation:
    @pytest.mark.parametrize("jump", [7 * YEAR, -7 * YEAR])
    async def test_by_age(
        self, make_audit: Make, machine: Machine, tmp_path: Path, jump: float
    ) -> None:
        """A journal's age is not what the clock says: after a jump it is sealed neither at once,
        nor again and again, nor never."""
        audit = make_audit(auto_export_path=tmp_path, max_file_age="1h")
        await audit.log_event("STORE")
        machine.set_by += jump
        for _ in range(3):
            audit.trail.tick()
            await audit.log_event("STORE")
        assert sealed_files(tmp_path) == []
        machine.ran += 3600
        audit.trail.tick()
        await audit.log_event("STORE")
        audit.trail.tick()
        assert len(sealed_files(tmp_path)) == 1

    @pytest.mark.parametrize("jump", [7 * YEAR, -7 * YEAR])
    async def test_checkpoints(
        self, make_audit: Make, machine: Machine, tmp_path: Path, jump: float
    ) -> None:
        """Nor is a checkpoint made earlier, or later, because the clock jumped."""
        notes: list[str] = []
        audit = make_audit(
            auto_export_path=tmp_path, signing_key=new_key("k"), checkpoint_to=notes.append
        )
        await audit.log_event("STORE")
        audit.trail.tick()
        machine.set_by += jump
        audit.trail.tick()
        audit.trail.tick()
        assert len(notes) == 1
        machine.ran += audit.settings.checkpoint_interval or 0
        audit.trail.tick()
        assert len(notes) == 2

    async def test_names_of_another_century(
        self, make_audit: Make, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Files are read in the order of their events, whatever year their names say."""
        audit = make_audit(auto_export_path=tmp_path)
        real = time.gmtime
        for year in (2026, 1970, 2033, 2000):
            monkeypatch.setattr("time.gmtime", lambda *at: real(*at or [(year - 1970) * YEAR]))  # noqa: B023
            machine.set_by = (year - 2026) * YEAR
            await _file(audit)
        events = [event.sequence for event in archived(tmp_path)]
        assert events == list(range(1, len(events) + 1))
        assert [event.sequence for event in audit.query_events(archived=True)] == events[::-1]
        assert verify(tmp_path).ok


class TestIntents:
    @pytest.mark.slow
    def test_set_back_meanwhile(self, run_script: Run, tmp_path: Path) -> None:
        """An operation that ended after the clock was set back, in a process killed then, is not
        told as unfinished; what had not ended is."""
        run_script(
            """
            import asyncio, os, sys, time
            real, ahead = time.time_ns, [7 * 365 * 86_400 * 10**9]
            time.time_ns = lambda: real() + ahead[0]
            from axon import MemorySystem
            from axon.adapters.memory import InMemoryAdapter
            from axon.core.config import MemoryConfig
            from axon.core.policies.persistent import PersistentPolicy
            from axon_audit_otel import AuditLogger
            save, saves = InMemoryAdapter.save, []
            async def slow(self, entry):
                saves.append(entry)
                if len(saves) == 1:
                    await asyncio.sleep(1e6)
                ahead[0] = 0
                return await save(self, entry)
            InMemoryAdapter.save = slow
            async def main():
                audit = AuditLogger(auto_export_path=sys.argv[1], on_failure="block")
                policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
                config = MemoryConfig(persistent=policy, default_tier="persistent")
                memory = MemorySystem(config, audit_logger=audit)
                first = asyncio.create_task(memory.store("one", user_id="first"))
                while not saves:
                    await asyncio.sleep(0)
                await memory.store("two", user_id="second")
                os.kill(os.getpid(), 9)
            asyncio.run(main())
            """,
            tmp_path,
            code=-9,
        )
        AuditLogger(auto_export_path=tmp_path).close()
        told = [event.metadata for event in archived(tmp_path) if event.operation == "AUDIT"]
        unfinished = [facts["user_id"] for facts in told if facts["record"] == "unfinished"]
        assert unfinished == ["first"]


class TestVerify:
    async def _backwards(self, machine: Machine, audit: AuditLogger, seconds: float) -> None:
        await audit.log_event("STORE")
        machine.set_by -= seconds
        await audit.log_event("STORE")

    @pytest.mark.parametrize("seconds", [10, 3600, 400 * DAY])
    @pytest.mark.parametrize("where", ["journal", "file", "next file"])
    async def test_time_runs_backwards(
        self,
        make_audit: Make,
        machine: Machine,
        tmp_path: Path,
        cli: Cli,
        seconds: float,
        where: str,
    ) -> None:
        """It says where and by how much; that is no damage."""
        audit = make_audit(1 if where == "next file" else 10, tmp_path)
        await self._backwards(machine, audit, seconds)
        if where == "file":
            audit.seal()
        report = verify(tmp_path)
        assert report.ok
        (step,) = report.writers[0].steps_back
        assert step.sequence == 2
        assert abs(step.seconds - seconds) < 5
        assert step.file == ("default.journal" if where == "journal" else _newest(tmp_path))
        said = " ".join(cli("verify", tmp_path).stdout.split())
        assert "time runs backwards: event 2 is dated " in said
        assert step.file in said

    @pytest.mark.parametrize("seconds", [0, 1, 4])
    async def test_operations_that_overtake(
        self, make_audit: Make, machine: Machine, tmp_path: Path, cli: Cli, seconds: float
    ) -> None:
        """A few seconds are no finding: nothing is said of them."""
        audit = make_audit(auto_export_path=tmp_path)
        await self._backwards(machine, audit, seconds)
        assert verify(tmp_path).writers[0].steps_back == []
        assert "time" not in cli("verify", tmp_path).stdout

    async def test_again_and_again(
        self, make_audit: Make, machine: Machine, tmp_path: Path, cli: Cli
    ) -> None:
        """A hundred are listed, the others counted; a terminal gets the first ones."""
        audit = make_audit(auto_export_path=tmp_path, max_events=50)
        for _ in range(130):
            await self._backwards(machine, audit, 60)
        (writer,) = verify(tmp_path).writers
        assert (len(writer.steps_back), writer.more_steps_back) == (100, 30)
        said = cli("verify", tmp_path).stdout
        assert said.count("time runs backwards: event") == 5
        assert "time runs backwards 125 more times" in said

    async def test_set_back_while_it_seals(
        self, make_audit: Make, machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """The order in which a file was closed and listed need not show in their times."""
        audit = make_audit(auto_export_path=tmp_path)
        await audit.log_event("STORE")
        link: Callable[..., None] = os.link

        def late(*args: Any, **kwargs: Any) -> None:
            machine.set_by -= 3600
            link(*args, **kwargs)

        monkeypatch.setattr("os.link", late)
        audit.seal()
        assert verify(tmp_path).findings == []

    @pytest.mark.slow
    def test_set_back_and_killed(self, run_script: Run, tmp_path: Path) -> None:
        """A file that was sealed after the clock went back, by a writer that was killed before it
        could list it, is listed by the next."""
        run_script(
            """
            import asyncio, os, sys, time
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1])
            for turn in range(2):
                asyncio.run(audit.log_event("STORE"))
                if turn:
                    link = os.link
                    def last(*args):
                        link(*args)
                        os.unlink(args[0])
                        os.utime(args[1], (0, 0))
                        os.kill(os.getpid(), 9)
                    os.link = last
                audit.seal()
            """,
            tmp_path,
            code=-9,
        )
        with AuditLogger(auto_export_path=tmp_path):
            pass
        report = verify(tmp_path)
        assert report.ok
        stored = [event.sequence for event in archived(tmp_path) if event.operation == "STORE"]
        assert stored == [1, 2]
