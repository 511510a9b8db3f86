"""Retention: what is deleted and what is not, what proves it afterwards, and what stops it."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, Run, archived, events_in, only, sealed_files, until

from axon_audit_otel import AuditConfigError, AuditEvent, AuditLogger, verify
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.core.os_user import os_user

pytestmark = pytest.mark.usefixtures("without_start_record")

DaysAgo = Callable[[float], Any]

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
_IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(name="days_ago")
def _days_ago(monkeypatch: pytest.MonkeyPatch) -> DaysAgo:
    """For a while, it is so many days before now, by every clock of the machine."""
    real, passed = time.time_ns, time.monotonic

    @contextmanager
    def back(days: float) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr("time.time_ns", lambda: real() - int(days * 86_400e9))
            patch.setattr("time.monotonic", lambda: passed() - days * 86_400)
            yield

    return back


async def _log(audit: AuditLogger, count: int) -> list[AuditEvent]:
    return [await audit.log_event("STORE") for _ in range(count)]


async def _file(audit: AuditLogger, count: int = 2) -> Path:
    """A sealed file of that many events."""
    await _log(audit, count)
    sealed = audit.seal()
    assert sealed is not None
    return sealed


def _files(directory: Path) -> list[str]:
    """The names of the sealed files, compressed or not."""
    return sorted(path.name for path in directory.glob("audit_*"))


def _size(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("audit_*"))


def _deletions(directory: Path, writer: str = "default") -> list[dict[str, Any]]:
    """The deletions in a manifest."""
    lines = map(json.loads, (directory / f"{writer}.manifest").read_bytes().splitlines())
    return [line for line in lines if line["kind"] == "delete"]


class _Program:
    """An application that ends and starts again."""

    def __init__(self, make_audit: Make, directory: Path, **options: Any) -> None:
        self._make, self._directory = make_audit, directory
        self.audit = make_audit(auto_export_path=directory, **options)

    def restart(self, days_ago: DaysAgo, **options: Any) -> None:
        """End, start again with these settings, and look after the files a day later."""
        self.audit.close()
        del self.audit
        gc.collect()
        self.audit = self._make(auto_export_path=self._directory, **options)
        with days_ago(-1):
            self.audit.trail.tick()


# --- by age ------------------------------------------------------------------------------------


class TestAge:
    async def test_old_files_go(self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path) -> None:
        """A file goes when its newest event is too old; younger ones stay, and are found."""
        with days_ago(41):
            audit = make_audit(auto_export_path=tmp_path, retention=timedelta(days=30))
        for days in (40, 31, 29, 0):
            with days_ago(days):
                await _file(audit)
        audit.trail.tick()
        assert [events_in(file)[0]["sequence"] for file in sealed_files(tmp_path)] == [5, 7]
        await audit.clear()
        found = audit.query_events(archived=True)
        assert [event.sequence for event in found] == [8, 7, 6, 5]

    async def test_the_last_file_goes(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path, cli: Cli
    ) -> None:
        """A later query reports that events were deleted; it is no error."""
        with days_ago(40):
            audit = make_audit(auto_export_path=tmp_path, retention="30d")
            await _file(audit)
        audit.trail.tick()
        assert _files(tmp_path) == []
        for command in ("query", "stats", "alerts"):
            assert "deleted by retention: 2 events" in cli(command, tmp_path).stderr
        cli("tail", tmp_path)

    async def test_nothing_in_it_is_too_young(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path
    ) -> None:
        """One event that must be kept keeps its file, whatever else is in it and in whatever
        order."""
        with days_ago(31.1):
            audit = make_audit(auto_export_path=tmp_path, retention="30d", max_events=3)
        for days in (31, 29, 30.5):
            with days_ago(days):
                await _log(audit, 1)
        audit.trail.tick()
        assert len(_files(tmp_path)) == 1
        assert _deletions(tmp_path) == []

    @pytest.mark.parametrize(
        ("preset", "days", "source"),
        [
            ("hipaa", 6 * 365 + 2, "six years, 45 CFR 164.316(b)(2)(i) (HIPAA)"),
            ("eu-ai-act", 184, "six months, Regulation (EU) 2024/1689 Art. 19(1), 26(6)"),
        ],
    )
    async def test_presets(
        self,
        make_audit: Make,
        days_ago: DaysAgo,
        tmp_path: Path,
        preset: str,
        days: int,
        source: str,
    ) -> None:
        """The time that a law demands, never shorter however the years fall; the manifest names
        the law."""
        with days_ago(days + 0.01):
            audit = make_audit(auto_export_path=tmp_path, retention=preset)
            old = await _file(audit)
        with days_ago(days - 0.01):
            young = await _file(audit)
        newest = await _file(audit)
        assert _files(tmp_path) == [young.name, newest.name]
        (deletion,) = _deletions(tmp_path)
        assert (deletion["file"], deletion["reason"]) == (old.name, f"retention: {source}")

    @pytest.mark.slow
    @pytest.mark.parametrize("sealed", [False, True])
    async def test_though_nothing_happens(
        self, make_audit: Make, tmp_path: Path, sealed: bool
    ) -> None:
        """Events go when their time is over, although nobody logs, seals or closes anything:
        a journal is sealed after a tenth of that time."""
        audit = make_audit(auto_export_path=tmp_path, retention=0.2)
        await _log(audit, 3)
        if sealed:
            audit.seal()
        left = {".default.lock", "default.manifest"}
        await until(lambda: {path.name for path in tmp_path.iterdir()} == left)
        assert len(_deletions(tmp_path)) >= 1
        assert verify(tmp_path).ok

    async def test_compressed_files(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path
    ) -> None:
        """Compressed files are deleted like others, under the name that they were sealed by."""
        with days_ago(0.5):
            audit = make_audit(auto_export_path=tmp_path, retention="1d", compress=True)
            old = await _file(audit)
        assert _files(tmp_path) == [f"{old.name}.zst"]
        with days_ago(-1):
            await _file(audit)
        assert old.name not in {name.removesuffix(".zst") for name in _files(tmp_path)}
        assert [deletion["file"] for deletion in _deletions(tmp_path)] == [old.name]
        assert verify(tmp_path).ok

    @pytest.mark.parametrize("value", ["hippa", " ", "forever", 0, -1, True, "0d", timedelta(0)])
    def test_times_that_cannot_be(self, make_audit: Make, value: Any) -> None:
        """The message shows what was given, and which names there are."""
        with pytest.raises(AuditConfigError, match=r"retention=.*hipaa or eu-ai-act"):
            make_audit(retention=value)

    def test_a_law_and_a_limit(self, make_audit: Make, tmp_path: Path) -> None:
        """A size limit would delete what the law wants kept: the two are refused together."""
        for preset in ("hipaa", "eu-ai-act"):
            with pytest.raises(AuditConfigError, match="max_archive_bytes"):
                make_audit(auto_export_path=tmp_path, retention=preset, max_archive_bytes="1GB")
        make_audit(auto_export_path=tmp_path, retention="180d", max_archive_bytes="1GB")


# --- by size -----------------------------------------------------------------------------------


class TestRenamed:
    """A file is what its lines say, whatever its name is."""

    @pytest.mark.parametrize("compress", [False, True])
    async def test_goes(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path, compress: bool
    ) -> None:
        """A renamed file goes when its time has come, and is not damage then."""
        program = _Program(make_audit, tmp_path, compress=compress)
        with days_ago(40):
            renamed = await _file(program.audit)
        await _file(program.audit)
        program.audit.trail.tick()
        suffix = ".json.zst" if compress else ".json"
        other = tmp_path / f"audit_2999{suffix}"
        only(tmp_path, f"{renamed.stem}{suffix}").rename(other)
        program.restart(days_ago, retention="30d", compress=compress)
        assert other.name not in _files(tmp_path)
        assert [record["file"] for record in _deletions(tmp_path)] == [renamed.name]
        assert verify(tmp_path).ok

    @pytest.mark.parametrize("exchanged", [True, False])
    async def test_its_name_is_taken(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path, exchanged: bool
    ) -> None:
        """A younger file that has the name of an old one stays, and the old one goes if it is
        there."""
        program = _Program(make_audit, tmp_path)
        with days_ago(40):
            old = await _file(program.audit)
        new = await _file(program.audit)
        old.rename(tmp_path / "aside")
        new.rename(old)
        if exchanged:
            (tmp_path / "aside").rename(new)
        program.restart(days_ago, retention="30d")
        assert [_numbers(file) for file in sealed_files(tmp_path)] == [[3, 4]]
        assert len(_deletions(tmp_path)) == exchanged


class TestSize:
    async def test_the_oldest_go(self, make_audit: Make, tmp_path: Path) -> None:
        """The files are never larger together than allowed once they were looked after; the
        newest are the ones that stay, and all of them that have room."""
        audit = make_audit(5, tmp_path, max_archive_bytes=5_000)
        for _ in range(20):
            await _log(audit, 5)
            audit.trail.tick()
            assert _size(tmp_path) <= 5_000
        files = sealed_files(tmp_path)
        newest = [number for file in files for number in _numbers(file)]
        assert newest == list(range(101 - len(newest), 101))
        assert _size(tmp_path) + files[0].stat().st_size > 5_000
        assert {deletion["reason"] for deletion in _deletions(tmp_path)} == {
            "max_archive_bytes: 5000"
        }

    async def test_one_is_kept(self, make_audit: Make, tmp_path: Path) -> None:
        """A file that is too large by itself stays until there is a newer one."""
        audit = make_audit(auto_export_path=tmp_path, max_archive_bytes=100)
        for _ in range(3):
            newest = await _file(audit)
            audit.trail.tick()
            assert _files(tmp_path) == [newest.name]

    async def test_both_rules(self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path) -> None:
        """Of two rules each deletes what is due by it, and is named for it."""
        with days_ago(3):
            program = _Program(make_audit, tmp_path)
            await _file(program.audit)
        for _ in range(3):
            newest = await _file(program.audit)
        size = newest.stat().st_size
        program.restart(days_ago, retention="2d", max_archive_bytes=size + size // 2)
        assert [deletion["reason"] for deletion in _deletions(tmp_path)] == [
            "retention: 2 days",
            *[f"max_archive_bytes: {size + size // 2}"] * 2,
        ]
        assert _files(tmp_path) == [newest.name]


def _numbers(file: Path) -> list[int]:
    return [event["sequence"] for event in events_in(file)]


# --- what proves it ------------------------------------------------------------------------------


class TestProof:
    async def test_recorded(self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path) -> None:
        """Before a file goes the manifest says so: which, its digest, by which rule and when.
        What its seal said of it stays."""
        with days_ago(31):
            audit = make_audit(auto_export_path=tmp_path, retention="30d")
            await _file(audit)
        await _file(audit)
        lines = map(json.loads, only(tmp_path, "*.manifest").read_bytes().splitlines())
        _, seal, _, deletion = lines
        assert (seal["first_sequence"], seal["last_sequence"]) == (1, 2)
        assert deletion["file"] == seal["file"]
        assert deletion["sha256"] == seal["sha256"]
        assert deletion["reason"] == "retention: 30 days"
        assert deletion["deleted_at"] > seal["last_time"]

    async def test_verified(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path, cli: Cli
    ) -> None:
        """Files that retention deleted are no damage: the report says which events went and why,
        and that a signed checkpoint covers it."""
        notes: list[str] = []
        told = {"signing_key": KEY, "checkpoint_to": notes.append}
        with days_ago(51):
            audit = make_audit(auto_export_path=tmp_path, retention="30d", **told)
        for days in (50, 40, 0):
            with days_ago(days):
                await _file(audit)
        audit.trail.tick()
        report = verify(tmp_path, [PUBLIC], notes)
        assert report.ok
        (writer,) = report.writers
        assert writer.deleted_files == 2
        (deletion,) = writer.deletions
        assert (deletion.first, deletion.last, deletion.rule) == (1, 4, "retention: 30 days")
        assert deletion.proved
        assert (writer.first_sequence, writer.proved_until) == (5, 6)
        assert "deleted: events 1 to 4, 2 files (retention: 30 days)" in (
            cli("verify", tmp_path, "--key", PUBLIC).stdout
        )

    async def test_by_hand(self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path) -> None:
        """One file more than retention deleted is damage, named with the first of its events;
        whichever file it is."""
        with days_ago(41):
            audit = make_audit(auto_export_path=tmp_path, retention="30d")
        for days in (40, 2, 1, 0):
            with days_ago(days):
                await _file(audit)
        audit.close()
        assert verify(tmp_path).ok
        for file in sealed_files(tmp_path):
            with_it = file.read_bytes()
            first = _numbers(file)[0]
            file.unlink()
            (finding,) = verify(tmp_path).findings
            assert (finding.file, finding.sequence, finding.kind) == (file.name, first, "removed")
            file.write_bytes(with_it)

    async def test_in_the_name_of_retention(self, make_audit: Make, tmp_path: Path) -> None:
        """An attacker who removes a file, and writes to the manifest that retention did, cannot
        sign that; and if the writer starts anew and signs a checkpoint over it, that is no
        excuse."""
        audit = make_audit(auto_export_path=tmp_path, signing_key=KEY)
        removed = await _file(audit)
        await _file(audit)
        del audit
        gc.collect()
        manifest = only(tmp_path, "*.manifest")
        lines = manifest.read_bytes().splitlines(keepends=True)
        seal = json.loads(lines[1])
        forged = {
            "kind": "delete",
            "file": removed.name,
            "sha256": seal["sha256"],
            "reason": "retention: 30 days",
            "deleted_at": seal["sealed_at"],
            "previous": _leaf(lines[-1]),
        }
        with manifest.open("ab") as file:
            file.write(json.dumps(forged, separators=(",", ":")).encode() + b"\n")
        removed.unlink()
        (deletion,) = verify(tmp_path).writers[0].deletions
        assert not deletion.proved  # nobody asked for a signature
        (finding,) = verify(tmp_path, [PUBLIC]).findings
        assert (finding.file, finding.sequence, finding.kind) == (removed.name, 1, "removed")
        await _file(make_audit(auto_export_path=tmp_path, signing_key=KEY))
        found, refused = verify(tmp_path, [PUBLIC]).findings
        assert found == finding
        assert (refused.file, refused.kind) == ("default.manifest", "adopted")

    @pytest.mark.slow
    async def test_without_the_key(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path
    ) -> None:
        """A signed archive is not deleted unsigned by a process that has no key: it says so, and
        deletes what is not."""
        with days_ago(40):
            signed = make_audit(auto_export_path=tmp_path, name="signed", signing_key=KEY)
            file = await _file(signed)
            del signed
            gc.collect()
            plain = make_audit(auto_export_path=tmp_path, name="plain")
            other = await _file(plain)
            del plain
            gc.collect()
        options = {"checkpoint_to": [].append, "retention": "30d"}  # unsigned
        keyless = make_audit(auto_export_path=tmp_path, name="keyless", **options)
        with days_ago(-1):
            await until(lambda: not other.exists())
        assert file.exists()
        assert keyless.get_statistics()["failures"] == {"retention": 1}
        keyed = make_audit(auto_export_path=tmp_path, name="x", retention="30d", signing_key=KEY)
        with days_ago(-1):
            keyed.trail.tick()
        assert not file.exists()

    @pytest.mark.slow
    async def test_of_one_that_runs(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path
    ) -> None:
        """Nor are those of a process that runs: it does so itself."""
        with days_ago(40):
            signed = make_audit(auto_export_path=tmp_path, name="signed", signing_key=KEY)
            file = await _file(signed)
            plain = make_audit(auto_export_path=tmp_path, name="plain")
            other = await _file(plain)
            del plain
            gc.collect()
        keyless = make_audit(auto_export_path=tmp_path, name="keyless", retention="30d")
        with days_ago(-1):
            await until(lambda: not other.exists())
        assert file.exists()
        assert keyless.get_statistics()["failures"] == {}

    def test_proofs_of_what_is_left(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path, cli: Cli
    ) -> None:
        """An event that is still there is proved as before; one that was deleted is not there."""
        with days_ago(40):
            audit = make_audit(auto_export_path=tmp_path, retention="30d", signing_key=KEY)
            gone = asyncio.run(_log(audit, 2))[0]
            audit.seal()
        kept = asyncio.run(_log(audit, 2))[0]
        audit.seal()
        proof = tmp_path / "proof.json"
        cli("prove", kept.event_id, tmp_path, "--output", proof)
        script = tmp_path / "verify_proof.py"
        script.write_text(cli("prove", "--script").stdout)
        command = [sys.executable, str(script), str(proof), PUBLIC]
        assert subprocess.run(command, capture_output=True, check=False).returncode == 0
        cli("prove", gone.event_id, tmp_path, code=1)


def _leaf(line: bytes) -> str:
    """RFC 6962's hash of a line."""
    return hashlib.sha256(b"\0" + line.rstrip(b"\n")).hexdigest()


# --- holds ---------------------------------------------------------------------------------------


class TestHold:
    async def test_nothing_is_deleted(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path, cli: Cli
    ) -> None:
        """While there is a hold neither age nor size deletes anything, also after a restart;
        when it is released, what is due goes."""
        options: dict[str, Any] = {"retention": "30d", "max_archive_bytes": 1_000}
        with days_ago(51):
            program = _Program(make_audit, tmp_path, **options)
            cli("hold", tmp_path, "--reason", "Doe v. Acme")
        for days in (50, 40, 0):
            with days_ago(days):
                await _file(program.audit, 5)
        program.restart(days_ago, **options)
        assert len(_files(tmp_path)) == 4  # one of them tells of the hold
        assert _deletions(tmp_path) == []
        cli("hold", tmp_path, "--release")
        program.restart(days_ago, **options)
        assert len(_files(tmp_path)) == 1

    async def test_placed_while_it_runs(self, make_audit: Make, tmp_path: Path, cli: Cli) -> None:
        """A hold counts from the moment on when its file is there, whoever made it; what was
        sealed under it is deleted when the last of several holds is released."""
        audit = make_audit(auto_export_path=tmp_path, max_archive_bytes=1)
        for _ in range(2):
            await _file(audit)
        assert len(_files(tmp_path)) == 1
        (tmp_path / "mine.hold").touch()
        cli("hold", tmp_path, "--reason", "Roe v. Acme", "--name", "roe")
        for count in (3, 4):  # one of them tells of the hold
            await _file(audit)
            assert len(_files(tmp_path)) == count
        cli("hold", tmp_path, "--release", "--name", "mine")
        await _file(audit)
        assert len(_files(tmp_path)) == 6
        cli("hold", tmp_path, "--release", "--name", "roe")
        await _file(audit)
        assert len(_files(tmp_path)) == 1
        assert verify(tmp_path).ok

    def test_on_the_record(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, cli: Cli
    ) -> None:
        """Placing and releasing a hold, with user and reason, are an event each, in a trail of its
        own."""
        make_audit(auto_export_path=tmp_path).close()
        monkeypatch.setenv("SUDO_USER", "mallory")
        cli("hold", tmp_path, "--reason", "Doe v. Acme")
        cli("hold", tmp_path, "--release")
        placed, released = archived(tmp_path)
        assert placed.operation == "AUDIT"
        assert placed.user_id not in (None, "mallory")  # the environment is not believed
        ids = {"uid": os.getuid(), "gid": os.getgid(), "effective_uid": os.geteuid()}
        facts = {"record": "hold", "hold": "legal", "state": "placed", "reason": "Doe v. Acme"}
        assert placed.metadata.items() >= (facts | ids).items()
        facts = {"record": "hold", "hold": "legal", "state": "released"}
        assert released.metadata.items() >= (facts | ids).items()
        assert verify(tmp_path).ok

    async def test_signed(self, make_audit: Make, tmp_path: Path, cli: Cli) -> None:
        """Where checkpoints are signed, so must be the record of a hold: without a key, none is
        placed; with one of its own, `verify` finds nothing."""
        ours, theirs = new_key("application"), new_key("counsel")
        archive, key = tmp_path / "archive", tmp_path / "counsel.key"
        key.write_text(theirs.line())
        with make_audit(auto_export_path=archive, signing_key=ours) as audit:
            await _file(audit)
        before = sorted(archive.iterdir())
        assert "--signing-key" in cli("hold", archive, "--reason", "Doe", code=2).stderr
        assert sorted(archive.iterdir()) == before
        cli("hold", archive, "--reason", "Doe", "--signing-key", key)
        assert verify(archive, [ours.verifying, theirs.verifying]).ok

    @pytest.mark.skipif(not _IS_ROOT, reason="only root can give a file away")
    def test_placed_by_root(self, make_audit: Make, tmp_path: Path, cli: Cli) -> None:
        """A file that root writes belongs to the owner of the directory, except what others
        share."""
        other = tmp_path / "other"
        other.touch()
        archive = tmp_path / "archive"
        make_audit(auto_export_path=archive).close()
        os.link(other, archive / "link")
        os.chown(archive, 65534, 65534)
        cli("hold", archive, "--reason", "Doe v. Acme")
        names = {path.name for path in archive.iterdir() if path.stat().st_uid == 65534}
        assert names == {path.name for path in archive.iterdir()} - {"link"}
        assert other.stat().st_uid == 0

    def test_listed(self, make_audit: Make, tmp_path: Path, cli: Cli) -> None:
        """Each hold is listed with its reason, and when and by whom it was placed; --json has a
        field for each, empty where somebody made the file himself."""
        make_audit(auto_export_path=tmp_path).close()
        assert "no hold" in cli("hold", tmp_path).stdout
        assert json.loads(cli("hold", tmp_path, "--json").stdout) == {"held": False, "holds": {}}
        placed = cli("hold", tmp_path, "--reason", "Doe v. Acme").stdout
        assert "held by 'legal': Doe v. Acme; placed 20" in placed
        (tmp_path / "empty.hold").touch()
        (tmp_path / "mine.hold").write_text("placed with care\nby me\n")
        listed = json.loads(
            cli("hold", tmp_path, "--reason", "tax\naudit", "--name", "2026", "--json").stdout
        )
        assert listed["held"] is True
        assert list(listed["holds"]) == ["2026", "empty", "legal", "mine"]
        of_2026 = listed["holds"]["2026"]
        assert (of_2026["reason"], of_2026["placed_by"]) == ("tax\naudit", os_user().name)
        placed_at = datetime.fromisoformat(of_2026["placed_at"].replace("Z", "+00:00"))
        assert abs(datetime.now(timezone.utc) - placed_at) < timedelta(hours=1)
        unsaid = {"placed_at": None, "placed_by": None}
        assert listed["holds"]["empty"] == {"reason": None, **unsaid}
        assert listed["holds"]["mine"] == {"reason": "placed with care\nby me", **unsaid}
        assert "Doe" in cli("hold", tmp_path).stdout

    def test_a_reason_from_elsewhere(self, tmp_path: Path, cli: Cli) -> None:
        """A hold without text, with text that is none, or that is no file, holds all the same;
        its text does not reach the terminal raw."""
        (tmp_path / "empty.hold").touch()
        (tmp_path / "raw.hold").write_bytes(b"\x1b[31mred\xff\x00")
        (tmp_path / "directory.hold").mkdir()
        listed = cli("hold", tmp_path).stdout
        assert listed.count("held by") == 3
        assert "\x1b" not in listed
        assert listed.count("no reason is given") == 2

    @pytest.mark.parametrize(
        "options",
        [
            ("--reason", " "),
            ("--reason", "x", "--release"),
            ("--reason", "x", "--name", "../x"),
            ("--reason", "x", "--name", ""),
            ("--release",),
        ],
    )
    def test_mistakes(
        self, make_audit: Make, tmp_path: Path, cli: Cli, options: tuple[str, ...]
    ) -> None:
        """An invalid request is refused, and nothing is placed."""
        make_audit(auto_export_path=tmp_path).close()
        before = list(tmp_path.iterdir())
        code = 2 if options in {("--reason", " "), ("--reason", "x", "--release")} else 1
        assert cli("hold", tmp_path, *options, code=code).stderr
        assert list(tmp_path.iterdir()) == before

    def test_no_name_twice(self, make_audit: Make, tmp_path: Path, cli: Cli) -> None:
        """A second hold does not take the place of the first."""
        make_audit(auto_export_path=tmp_path).close()
        cli("hold", tmp_path, "--reason", "first")
        cli("hold", tmp_path, "--reason", "second", code=1)
        assert "first" in cli("hold", tmp_path).stdout

    @pytest.mark.parametrize("options", [("--reason", "x"), ("--release",)])
    def test_no_archive(
        self, make_audit: Make, tmp_path: Path, cli: Cli, options: tuple[str, ...]
    ) -> None:
        """A hold on nothing would hold nothing: it is refused where no audit files are, in the
        archive's parent as well, and nothing is created there."""
        (tmp_path / "logs" / "empty").mkdir(parents=True)
        make_audit(auto_export_path=tmp_path / "logs" / "archive").close()
        before = sorted(tmp_path.rglob("*"))
        for place in ("logs", "logs/empty"):
            assert "no audit files" in cli("hold", tmp_path / place, *options, code=1).stderr
        said = cli("hold", tmp_path / "missing", *options, code=2).stderr
        assert "no such file or directory" in said
        assert "missing" in said
        assert sorted(tmp_path.rglob("*")) == before

    async def test_nothing_left(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path, cli: Cli
    ) -> None:
        """An archive whose files were all deleted can be held."""
        archive = tmp_path / "archive"
        with days_ago(40):
            await _file(make_audit(auto_export_path=archive))
        audit = make_audit(auto_export_path=archive, retention="30d")
        with days_ago(-1):
            audit.close()
        copy = tmp_path / "copy"
        shutil.copytree(archive, copy, ignore=shutil.ignore_patterns(".*"))
        assert _files(copy) == []
        cli("hold", copy, "--reason", "Doe v. Acme")
        assert (copy / "legal.hold").exists()


# --- restarts, kills, several writers ----------------------------------------------------------


class TestRestarts:
    async def test_switched_on_later(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path
    ) -> None:
        """Retention applies to what was sealed before it was switched on."""
        with days_ago(40):
            program = _Program(make_audit, tmp_path)
        for days in (40, 0):
            with days_ago(days):
                await _file(program.audit)
        program.audit.trail.tick()
        assert len(_files(tmp_path)) == 2
        program.restart(days_ago, retention="30d")
        assert len(_files(tmp_path)) == 1
        event = await program.audit.log_event("STORE")
        assert event.sequence == 5
        program.audit.close()
        assert verify(tmp_path).ok

    async def test_all_deleted(self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path) -> None:
        """Numbers and chain go on, also where no file is left to go on from."""
        with days_ago(31):
            program = _Program(make_audit, tmp_path, retention="30d")
            await _file(program.audit, 3)
        program.restart(days_ago, retention="30d")
        assert _files(tmp_path) == []
        assert verify(tmp_path).ok
        program.restart(days_ago, retention="30d")
        event = await program.audit.log_event("STORE")
        assert event.sequence == 4
        assert event.previous_hash is not None
        program.audit.close()
        report = verify(tmp_path)
        assert report.ok
        assert report.writers[0].first_sequence == 4

    async def test_killed_before_the_file_was_gone(
        self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path
    ) -> None:
        """A file that is deleted in the manifest, and still there, is deleted by the next start;
        another file that has its name by now is not."""
        program = _Program(make_audit, tmp_path, max_archive_bytes=1)
        first = await _file(program.audit)
        content = first.read_bytes()
        second = await _file(program.audit)
        other = second.read_bytes()
        await _file(program.audit)
        first.write_bytes(content)
        second.write_bytes(other + b"\n")
        program.restart(days_ago, max_archive_bytes=1)
        assert not first.exists()
        assert second.exists()

    @pytest.mark.skipif(shutil.which("chattr") is None, reason="needs chattr")
    def test_a_file_that_cannot_be_deleted(
        self, make_audit: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A file that does not go is a failure, counted; it goes when it can."""
        audit = make_audit(auto_export_path=tmp_path, max_archive_bytes=1)
        stuck = asyncio.run(_file(audit))
        command = ["chattr", "+i", str(stuck)]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            reason = "needs a file system with immutable files, and root"
            pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
        try:
            asyncio.run(_file(audit))
            assert audit.get_statistics()["failures"]["retention"] == 1
            assert "retention failed" in caplog.text
            assert verify(tmp_path).ok
        finally:
            subprocess.run(["chattr", "-i", str(stuck)], check=True)
        asyncio.run(_file(audit))
        assert not stuck.exists()
        assert len(_files(tmp_path)) == 1


class TestWriters:
    async def test_of_the_gone(self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path) -> None:
        """Files of a writer that is gone are deleted by whoever is there; its own manifest says
        so, and a writer of that name goes on from it."""
        with days_ago(40):
            gone = make_audit(auto_export_path=tmp_path, name="gone")
            await _file(gone)
        gone.close()
        del gone
        gc.collect()
        with days_ago(1):
            audit = make_audit(auto_export_path=tmp_path, name="here", retention="30d")
        await _file(audit)
        assert len(_deletions(tmp_path, "gone")) == 1
        assert _deletions(tmp_path, "here") == []
        assert verify(tmp_path).ok
        again = make_audit(auto_export_path=tmp_path, name="gone")
        event = await again.log_event("STORE")
        assert event.sequence == 3
        again.close()
        assert verify(tmp_path).ok

    async def test_of_the_living(self, make_audit: Make, days_ago: DaysAgo, tmp_path: Path) -> None:
        """Files of a writer that is at work are its own business, whatever its settings are."""
        with days_ago(40):
            other = make_audit(auto_export_path=tmp_path, name="other")
            theirs = await _file(other)
            audit = make_audit(auto_export_path=tmp_path, name="here", retention="30d")
            await _file(audit)
        newest = await _file(audit)
        assert _files(tmp_path) == [theirs.name, newest.name]

    def test_damaged_manifest(self, make_audit: Make, tmp_path: Path) -> None:
        """A manifest that cannot be read stops nobody's retention; what it may list is kept."""
        (tmp_path / "gone.manifest").write_bytes(b"no manifest\n")
        (tmp_path / "audit_2020_01_01_000000.json").write_bytes(b"{}")
        audit = make_audit(auto_export_path=tmp_path, max_archive_bytes=1)
        asyncio.run(_file(audit))
        asyncio.run(_file(audit))
        assert len(_files(tmp_path)) == 2
        assert audit.get_statistics()["failures"] == {}

    @pytest.mark.slow
    def test_many_at_once(self, run_script: Run, tmp_path: Path) -> None:
        """Four processes that write, delete, end and start again in one directory: what is left
        is not larger than allowed, the newest of each, and verify finds nothing."""
        run_script(
            """
            import asyncio, os, sys
            from prometheus_client import CollectorRegistry
            from axon_audit_otel import AuditLogger
            def work(seed):
                for turn in range(6):
                    audit = AuditLogger(
                        3, sys.argv[1], max_archive_bytes=20_000, registry=CollectorRegistry()
                    )
                    async def log():
                        for _ in range(50):
                            await audit.log_event("STORE", f"{seed}-{turn}")
                            audit.trail.tick()
                    asyncio.run(log())
                    if (seed + turn) % 3 == 0:
                        os._exit(0) if turn > 3 else None
                    audit.close()
                    del audit
            children = []
            for seed in range(4):
                child = os.fork()
                if not child:
                    work(seed)
                    os._exit(0)
                children.append(child)
            for child in children:
                assert os.waitpid(child, 0)[1] == 0
            audit = AuditLogger(3, sys.argv[1], max_archive_bytes=20_000)
            asyncio.run(audit.log_event("STORE"))
            audit.close()
            """,
            tmp_path,
        )
        report = verify(tmp_path)
        assert report.findings == []
        assert sum(writer.deleted_files for writer in report.writers) > 50
        assert _size(tmp_path) <= 20_000
