"""The application signs only what it recorded itself, whatever it finds in the directory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from amounts import examples
from by_definition import by_definition
from conftest import Cli, Make, Run
from every_way import verify
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import ArchiveError, AuditLogger, VerifyReport
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.core.files import append
from axon_audit_otel.verification.inclusion_proof import prove

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
HEAD = b'{"events":[\n'

pytestmark = pytest.mark.usefixtures("without_start_record")


def leaf(line: bytes) -> str:
    return hashlib.sha256(b"\0" + line).hexdigest()


def invented(first: int, previous: str | None, count: int, user: str = "mallory") -> list[bytes]:
    """The lines of events that no application recorded, each with the hash of the one before."""
    lines = []
    for number in range(first, first + count):
        event = {
            "event_id": f"evt_{number:032x}",
            "timestamp": "2025-01-01T00:00:00.000000Z",
            "operation": "FORGET",
            "user_id": user,
            "session_id": None,
            "entry_ids": [],
            "metadata": {},
            "status": "SUCCESS",
            "duration_ms": None,
            "sequence": number,
        }
        if previous is not None:
            event["previous_hash"] = previous
        lines.append(compact(event))
        previous = leaf(lines[-1])
    return lines


def compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def framed(lines: list[bytes]) -> bytes:
    return HEAD + b"".join(b"%b%b\n" % (b"," if i else b" ", x) for i, x in enumerate(lines))


def sealed(lines: list[bytes], trail: str = "default", previous: str | None = None) -> bytes:
    first = json.loads(lines[0])["sequence"]
    closing = {
        "total_events": len(lines),
        "exported_at": "2025-01-01T00:00:00.000000Z",
        "trail": trail,
        "first_sequence": first,
        "last_sequence": first + len(lines) - 1,
        "root": by_definition(lines).hex(),
        "previous_seal": previous,
    }
    return framed(lines) + b"]," + compact(closing)[1:] + b"\n"


def seal_line(file: Path, lines: list[bytes], previous: str | None) -> bytes:
    first, content = json.loads(lines[0])["sequence"], file.read_bytes()
    time = "2025-01-01T00:00:00.000000Z"
    return compact(
        {
            "kind": "seal",
            "file": file.name,
            "first_sequence": first,
            "last_sequence": first + len(lines) - 1,
            "events": len(lines),
            "first_time": time,
            "last_time": time,
            "head": leaf(lines[-1]),
            "root": by_definition(lines).hex(),
            "sealed_at": time,
            "bytes": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            "previous": previous,
        }
    )


def lines_in(file: Path) -> list[bytes]:
    lines = file.read_bytes().splitlines() if file.is_file() else []
    return [line[1:] for line in lines[1:] if not line.startswith(b"],")]


def last_of(directory: Path, writer: str = "default") -> tuple[int, str | None]:
    """The number and the hash of the newest event."""
    number, head = 0, None
    with suppress(FileNotFoundError):
        for line in (directory / f"{writer}.manifest").read_bytes().splitlines():
            record = json.loads(line)
            if record["kind"] == "seal":
                number, head = record["last_sequence"], record["head"]
    for line in lines_in(directory / f"{writer}.journal"):
        with suppress(ValueError, KeyError):
            number, head = json.loads(line)["sequence"], leaf(line)
    return number, head


Start = Callable[..., AuditLogger]


@pytest.fixture(name="start")
def _start(make_audit: Make, tmp_path: Path) -> Start:
    """Starts the application on the archive; it signs."""

    def start(directory: Path = tmp_path / "archive", **options: Any) -> AuditLogger:
        chosen = {"max_events": 100, "signing_key": KEY, "name": "default", **options}
        return make_audit(auto_export_path=directory, **chosen)

    return start


def log(audit: AuditLogger, count: int, user: str = "ann") -> None:
    async def work() -> None:
        for _ in range(count):
            await audit.log_event("STORE", user)

    asyncio.run(work())


def killed(audit: AuditLogger, directory: Path) -> Path:
    """The archive as a kill of the process leaves it now: a copy of its directory."""
    shutil.copytree(audit.settings.auto_export_path or "", directory)
    return directory


def found(report: VerifyReport) -> list[tuple[str, str, int | None]]:
    return [(finding.kind, finding.file, finding.sequence) for finding in report.findings]


class TestJournal:
    def test_killed(self, start: Start, tmp_path: Path) -> None:
        """What a killed process recorded is attested to the last event, without a checkpoint."""
        audit = start()
        log(audit, 10)
        after = killed(audit, tmp_path / "after")
        start(after).close()
        report = verify(after, [PUBLIC])
        assert (report.findings, report.writers[0].proved_until) == ([], 11)
        assert report.writers[0].adopted == []

    @pytest.mark.parametrize("ended", [True, False], ids=["closed", "killed"])
    def test_with_invented_events(
        self,
        start: Start,
        tmp_path: Path,
        cli: Cli,
        caplog: pytest.LogCaptureFixture,
        ended: bool,
    ) -> None:
        """Events that somebody wrote after the newest are adopted: sealed, told, never proved."""
        audit = start()
        log(audit, 10)
        if ended:
            audit.close()
        archive = killed(audit, tmp_path / "after")
        number, head = last_of(archive)
        lines = invented(number + 1, head, 3)
        journal = archive / "default.journal"
        before = lines_in(journal)
        journal.write_bytes(framed([*before, *lines]))
        with caplog.at_level(logging.WARNING, "axon_audit_otel"), start(archive) as again:
            log(again, 2)
            (told,) = [e for e in again.query_events() if e.metadata.get("record") == "adopted"]
        facts = {"writer": "default", "first": 11, "last": 13, "file": "default.journal"}
        assert told.metadata.items() >= facts.items()
        assert "nothing attests events 11 to 13 in default.journal" in caplog.text
        report = verify(archive, [PUBLIC])
        ((kind, file, sequence),) = found(report)
        assert (kind, sequence) == ("adopted", 11)
        adopted = report.writers[0].adopted
        assert [(a.first, a.last, a.file) for a in adopted] == [(11, 13, file)]
        assert verify(archive).ok  # nobody asked for a signature
        said = cli("verify", archive).stdout
        assert f"adopted: events 11 to 13, in {file}" in " ".join(said.split())
        with pytest.raises(ArchiveError, match="is adopted"):
            prove(archive, json.loads(lines[1])["event_id"])

    def test_the_script_knows(self, start: Start, tmp_path: Path, cli: Cli) -> None:
        """Whoever makes a proof of an adopted event all the same proves nothing."""
        audit = start()
        log(audit, 3)
        archive = killed(audit, tmp_path / "after")
        lines = invented(4, last_of(archive)[1], 1)
        journal = archive / "default.journal"
        journal.write_bytes(framed([*lines_in(journal), *lines]))
        start(archive).close()
        leaves = lines_in(min(archive.glob("audit_*.json")))
        proof = prove(archive, json.loads(leaves[0])["event_id"])
        proof["event"] = leaves[3].decode()
        proof["in_file"] |= {"index": 3, "path": _path_to_last(leaves)}
        (tmp_path / "proof.json").write_bytes(compact(proof))
        (tmp_path / "check.py").write_text(cli("prove", "--script").stdout)
        done = subprocess.run(
            [sys.executable, tmp_path / "check.py", tmp_path / "proof.json", PUBLIC],
            capture_output=True,
            text=True,
        )
        assert (done.returncode, "NOT PROVED: the event is adopted" in done.stdout) == (1, True)

    def test_cut_off(self, start: Start, tmp_path: Path) -> None:
        """Events that were recorded and are gone are told as lost; no number is given twice."""
        audit = start()
        log(audit, 10)
        archive = killed(audit, tmp_path / "after")
        journal = archive / "default.journal"
        journal.write_bytes(framed(lines_in(journal)[:6]))
        with start(archive) as again:
            log(again, 1)
            numbers = [event.sequence for event in again.query_events()]
        assert min(numbers) == 10  # the newest two may be one that was not written any more
        (gap,) = verify(archive, [PUBLIC]).writers[0].gaps
        assert (gap.first, gap.last) == (7, 9)

    def test_rewritten(self, start: Start, tmp_path: Path) -> None:
        """Files in which an event is another than the one that was recorded are left alone."""
        audit = start()
        log(audit, 10)
        archive = killed(audit, tmp_path / "after")
        journal = archive / "default.journal"
        kept = lines_in(journal)[:5]
        journal.write_bytes(framed([*kept, *invented(6, leaf(kept[-1]), 5)]))
        changed = journal.read_bytes()
        with start(archive) as again:
            log(again, 1)
            assert again.query_events(operation="AUDIT")[0].metadata["record"] == "refused"
        assert journal.read_bytes() == changed
        assert ("adopted", "default.manifest", None) in found(verify(archive, [PUBLIC]))
        assert list(archive.glob("default-2.manifest"))

    def test_cut_off_before_a_checkpoint(self, start: Start, tmp_path: Path) -> None:
        """No file goes on from before the newest checkpoint."""
        audit = start(max_events=5)
        log(audit, 8)
        audit.seal()
        audit.close()
        archive = killed(audit, tmp_path / "after")
        newest = max(archive.glob("audit_*.json"))
        manifest = archive / "default.manifest"
        manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(True)[:-1]))
        newest.unlink()
        with start(archive) as again:
            log(again, 1)
        refused = found(verify(archive, [PUBLIC]))
        assert ("adopted", "default.manifest", None) in refused
        assert last_of(archive, "default-2")[0] == 2  # the record, and the event

    @pytest.mark.parametrize("other", ["changed", "inserted", "low", "renumbered"])
    def test_changed_before_the_newest(self, start: Start, tmp_path: Path, other: str) -> None:
        """The newest event attests those before it by their hashes only: none of them is changed,
        added or numbered otherwise."""
        with start(max_events=5) as audit:
            log(audit, 5)
            log(audit, 4)
            archive = killed(audit, tmp_path / "after")
        journal = archive / "default.journal"
        lines = lines_in(journal)
        (forged,) = invented(7, leaf(lines[0]), 1)
        if other == "changed":
            lines[1] = forged
        elif other == "inserted":
            lines.insert(1, forged)
        elif other == "low":
            lines.insert(0, invented(2, None, 1)[0])
        else:
            lines.append(invented(3, leaf(lines[-1]), 1)[0])
        journal.write_bytes(framed(lines))
        with start(archive) as again:
            log(again, 1)
        assert ("adopted", "default.manifest", None) in found(verify(archive, [PUBLIC]))
        for line in lines:
            if b"mallory" in line:
                with pytest.raises(ArchiveError):
                    prove(archive, json.loads(line)["event_id"])


@pytest.mark.slow
def test_intents(start: Start, tmp_path: Path, run_script: Run) -> None:
    """Of an operation that its process did not survive the next start tells; one that somebody
    wrote into the file of intents is told as adopted."""
    archive = tmp_path / "archive"
    run_script(
        """
        import asyncio, os, signal, sys
        from axon import MemorySystem
        from axon.adapters.memory import InMemoryAdapter
        from axon.core.config import MemoryConfig
        from axon.core.policies.persistent import PersistentPolicy
        from axon_audit_otel import AuditLogger

        async def die(self, entry):
            os.kill(os.getpid(), signal.SIGKILL)

        InMemoryAdapter.save = die
        audit = AuditLogger(
            auto_export_path=sys.argv[1], signing_key=sys.argv[2], on_failure="block"
        )
        policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
        config = MemoryConfig(persistent=policy, default_tier="persistent")
        memory = MemorySystem(config, audit_logger=audit)
        asyncio.run(memory.store("x", user_id="ann"))
        """,
        archive,
        KEY,
        code=-9,
    )
    intents = archive / "default.intents"
    own = json.loads(intents.read_bytes())
    forged = {**own, "event_id": "evt_forged", "user_id": "mallory"}
    intents.write_bytes(intents.read_bytes() + compact(forged) + b"\n")
    with start(archive) as again:
        told = [e.metadata for e in again.query_events() if e.metadata["record"] == "unfinished"]
    assert {(facts["event_id"], facts.get("adopted")) for facts in told} == {
        (own["event_id"], None),
        ("evt_forged", True),
    }


class TestFiles:
    def test_invented_file(self, start: Start, tmp_path: Path) -> None:
        """A sealed file that somebody dropped beside the others is adopted, not attested."""
        with start(max_events=5) as audit:
            log(audit, 5)
        archive = killed(audit, tmp_path / "after")
        number, head = last_of(archive)
        lines = invented(number + 1, head, 4)
        (archive / "audit_2999_01_01_000000.json").write_bytes(sealed(lines))
        with start(archive) as again:
            log(again, 1)
        report = verify(archive, [PUBLIC])
        assert found(report) == [("adopted", "audit_2999_01_01_000000.json", 6)]
        with pytest.raises(ArchiveError, match="is adopted"):
            prove(archive, json.loads(lines[0])["event_id"])

    def test_beside_a_journal(self, start: Start, tmp_path: Path) -> None:
        """Such a file beside the journal of a killed process, and that with invented events too:
        the file is no file of the trail, and what the journal has of the process is attested."""
        with start(max_events=5) as audit:
            log(audit, 5)
            log(audit, 3)
            archive = killed(audit, tmp_path / "after")
        journal = archive / "default.journal"
        own = lines_in(journal)
        dropped = sealed(invented(6, last_of(archive)[1], 4))
        (archive / "audit_2999_01_01_000000.json").write_bytes(dropped)
        journal.write_bytes(framed([*own, *invented(9, leaf(own[-1]), 2)]))
        with start(archive) as again:
            log(again, 1)
        report = verify(archive, [PUBLIC])
        kinds = {(finding.kind, finding.sequence) for finding in report.findings}
        assert kinds == {("adopted", 9), ("unlisted", None)}
        assert [(a.first, a.last) for a in report.writers[0].adopted] == [(9, 10)]

    @pytest.mark.parametrize("keeps", [True, False], ids=["checkpoints", "nothing"])
    def test_invented_trail(self, start: Start, tmp_path: Path, keeps: bool) -> None:
        """A whole trail that no key attests is left alone: nothing of it is ever signed."""
        with start() as audit:
            log(audit, 3)
        archive = killed(audit, tmp_path / "after")
        for file in archive.iterdir():
            if not (keeps and ".checkpoint" in file.name):
                file.unlink()
        lines = invented(1, None, 6)
        file = archive / "audit_2025_01_01_000000.json"
        file.write_bytes(sealed(lines))
        first = compact(
            {
                "kind": "trail",
                "writer": "default",
                "id": leaf(lines[0])[:16],
                "created_at": "2025-01-01T00:00:00.000000Z",
                "previous": None,
            }
        )
        manifest = archive / "default.manifest"
        manifest.write_bytes(first + b"\n" + seal_line(file, lines, leaf(first)) + b"\n")
        with start(archive) as again:
            log(again, 1)
        report = verify(archive, [PUBLIC])
        assert ("adopted", "default.manifest", None) in found(report)
        assert {w.writer: w.proved_until for w in report.writers}["default"] is None
        for line in lines:
            with pytest.raises(ArchiveError):
                prove(archive, json.loads(line)["event_id"])

    def test_unsigned_deletion(self, start: Start, tmp_path: Path) -> None:
        """A line that says that retention deleted a file counts only with the key's signature:
        the file stays, and the trail goes on elsewhere."""
        with start(max_events=3) as audit:
            log(audit, 6)
        archive = killed(audit, tmp_path / "after")
        manifest = archive / "default.manifest"
        lines = manifest.read_bytes().splitlines()
        seal = json.loads(lines[1])
        forged = {
            "kind": "delete",
            "file": seal["file"],
            "sha256": seal["sha256"],
            "reason": "retention: 1 day",
            "deleted_at": seal["sealed_at"],
            "previous": leaf(lines[-1]),
        }
        manifest.write_bytes(manifest.read_bytes() + compact(forged) + b"\n")
        with start(archive, max_events=3, max_archive_bytes=1_000_000) as again:
            log(again, 1)
        assert (archive / seal["file"]).exists()
        assert ("adopted", "default.manifest", None) in found(verify(archive, [PUBLIC]))

    def test_another_writer(self, start: Start, tmp_path: Path) -> None:
        """What a start finds of other writers is signed by the same rule."""
        with start() as audit:
            log(audit, 3)
        archive = killed(audit, tmp_path / "after")
        (archive / "worker.journal").write_bytes(framed(invented(1, None, 4)))
        (archive / ".worker.lock").write_bytes(b"1\n")
        with start(archive) as again:
            (told,) = [e for e in again.query_events() if e.metadata.get("record") == "refused"]
        assert told.metadata["writer"] == "worker"
        assert (archive / "worker.journal").exists()
        assert not (archive / "worker.checkpoint").exists()


class TestCopy:
    """Checkpoints that `checkpoint_to` keeps elsewhere know what was rolled back."""

    @pytest.mark.parametrize("older", [True, False], ids=["older", "nothing"])
    def test_rolled_back(self, start: Start, tmp_path: Path, older: bool) -> None:
        """A start on an older state, or on none, is recorded, and no number is given twice."""
        copy, archive = tmp_path / "elsewhere", tmp_path / "archive"
        for count in (5, 7):
            with start(archive, checkpoint_to=copy) as audit:
                log(audit, count)
            archive = killed(audit, tmp_path / f"next-{count}")
            killed(audit, tmp_path / f"after-{count}")
        archive = tmp_path / ("after-5" if older else "new")
        with start(archive, checkpoint_to=copy) as again:
            log(again, 3)
            (told,) = [e for e in again.query_events() if e.metadata.get("record") == "refused"]
        assert ("12" if not older else "knew") in told.metadata["why"]
        report = verify(archive, [PUBLIC])
        assert ("adopted", "default.manifest", None) in found(report)
        writers = {writer.writer for writer in report.writers}
        assert writers == ({"default", "default-2"} if older else {"default"})

    def test_untouched(self, start: Start, tmp_path: Path) -> None:
        """An archive that nobody touched has nothing to tell, start after start."""
        copy, archive = tmp_path / "elsewhere", tmp_path / "archive"
        for number in range(4):
            with start(archive, checkpoint_to=copy, max_events=3) as audit:
                log(audit, 5)
            archive = killed(audit, tmp_path / f"after-{number}")
        report = verify(archive, [PUBLIC], [copy.read_text()])
        assert (report.findings, [w.writer for w in report.writers]) == ([], ["default"])
        assert report.writers[0].last_sequence == report.writers[0].proved_until == 20


def _path_to_last(leaves: list[bytes]) -> list[str]:
    """The audit path (RFC 6962) of the last of four leaves."""
    first, second, third, _ = leaves
    pair = hashlib.sha256(b"\1" + bytes.fromhex(leaf(first)) + bytes.fromhex(leaf(second)))
    return [leaf(third), pair.hexdigest()]


# --- whatever is done without the key ------------------------------------------------------------


class Intruder:
    """Somebody who may write to the directory, and who has no key."""

    def __init__(self, directory: Path, snapshots: list[Path]) -> None:
        self.directory = directory
        self.snapshots = snapshots
        self.invented: dict[str, str] = {}  # hashes and ids of the events it made

    def _make(self, number: int, head: str | None, count: int) -> list[bytes]:
        lines = invented(number + 1, head, count, f"mallory-{len(self.invented)}")
        self.invented |= {leaf(line): json.loads(line)["event_id"] for line in lines}
        return lines

    def extend_journal(self, pick: int) -> None:
        journal = self.directory / "default.journal"
        lines = self._make(*last_of(self.directory), 1 + pick % 3)
        journal.write_bytes(framed([*lines_in(journal), *lines]))

    def rewrite_journal(self, pick: int) -> None:
        journal = self.directory / "default.journal"
        kept = lines_in(journal)
        if kept:
            kept = kept[: pick % len(kept)] or kept[:1]
            number = json.loads(kept[-1])["sequence"]
            journal.write_bytes(framed([*kept, *self._make(number, leaf(kept[-1]), 2)]))

    def drop_file(self, pick: int) -> None:
        number, head = last_of(self.directory)
        lines = self._make(number, head, 2)
        name = f"audit_20{25 + pick % 9}_01_01_00000{pick % 10}.json"
        (self.directory / name).write_bytes(sealed(lines))

    def list_file(self, pick: int) -> None:
        self.drop_file(pick)
        file = max(self.directory.glob("audit_*.json"), key=lambda file: file.stat().st_mtime_ns)
        manifest = self.directory / "default.manifest"
        lines = manifest.read_bytes().splitlines() if manifest.exists() else []
        new = seal_line(file, lines_in(file), leaf(lines[-1]) if lines else None)
        manifest.write_bytes(b"".join(line + b"\n" for line in [*lines, new]))

    def delete_line(self, pick: int) -> None:
        manifest = self.directory / "default.manifest"
        lines = manifest.read_bytes().splitlines() if manifest.exists() else []
        seals = [json.loads(line) for line in lines if b'"seal"' in line]
        if seals:
            seal = seals[pick % len(seals)]
            forged = {
                "kind": "delete",
                "file": seal["file"],
                "sha256": seal["sha256"],
                "reason": "retention: 1 day",
                "deleted_at": seal["sealed_at"],
                "previous": leaf(lines[-1]),
            }
            manifest.write_bytes(b"".join(x + b"\n" for x in [*lines, compact(forged)]))
            (self.directory / seal["file"]).unlink(missing_ok=True)

    def cut_manifest(self, pick: int) -> None:
        manifest = self.directory / "default.manifest"
        lines = manifest.read_bytes().splitlines(True) if manifest.exists() else []
        if lines:
            manifest.write_bytes(b"".join(lines[: pick % len(lines)]))

    def remove(self, pick: int) -> None:
        files = sorted(self.directory.iterdir())
        if files:
            files[pick % len(files)].unlink()

    def roll_back(self, pick: int) -> None:
        """One file, or all, as they were before."""
        snapshot = self.snapshots[pick % len(self.snapshots)]
        files = sorted(snapshot.iterdir())
        if pick % 2 and files:
            shutil.copy(files[pick % len(files)], self.directory)
        else:
            shutil.rmtree(self.directory)
            shutil.copytree(snapshot, self.directory)

    def change_journal(self, pick: int) -> None:
        """Another event in the place of one, or between two."""
        journal = self.directory / "default.journal"
        lines = lines_in(journal)
        if lines:
            at = pick % len(lines)
            before = json.loads(lines[at])
            number = before["sequence"] - (pick % 5 == 0)
            new = self._make(max(number - 1, 0), before.get("previous_hash"), 1)
            lines[at : at + pick % 2] = new
            journal.write_bytes(framed(lines))

    def rename(self, pick: int) -> None:
        """The files of one writer as another's."""
        for file in list(self.directory.glob("default.*")):
            file.rename(self.directory / file.name.replace("default", f"default-{2 + pick % 2}"))

    ACTIONS = (
        *(extend_journal, rewrite_journal, drop_file, list_file, delete_line, cut_manifest),
        *(remove, roll_back, rename, change_journal),
    )


def _run(directory: Path, notes: Path, count: int, closes: bool, record: bool) -> None:
    """A process that records some events, and ends well or not."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests
        child = os.fork()
    if child:
        assert os.waitpid(child, 0)[1] == 0
        return
    with suppress(BaseException):
        logging.disable()
        audit = AuditLogger(
            4,
            directory,
            name="default",
            signing_key=KEY,
            checkpoint_to=lambda note: append(notes, note.encode(), anywhere=True),
            start_record=record,
            registry=CollectorRegistry(),
            logger_provider=LoggerProvider(shutdown_on_exit=False),
        )
        log(audit, count)
        if closes:
            audit.close()
        os._exit(0)
    os._exit(1)


def _unproved(report: VerifyReport, directory: Path, made: dict[str, str]) -> Iterator[str]:
    """The invented events that a report calls proved."""
    damaged = {finding.file for finding in report.findings}
    for writer in report.writers:
        if f"{writer.writer}.manifest" in damaged:
            continue
        adopted = {n for a in writer.adopted for n in range(a.first, a.last + 1)}
        manifest = directory / f"{writer.writer}.manifest"
        lines = manifest.read_bytes().splitlines() if manifest.exists() else []
        names = {json.loads(line).get("file") for line in lines}
        for file in [*directory.glob("audit_*.json"), directory / f"{writer.writer}.journal"]:
            if file.name in damaged or (file.name not in names and file.suffix == ".json"):
                continue
            for line in lines_in(file):
                number = json.loads(line)["sequence"]
                is_proved = number <= (writer.proved_until or 0) and number not in adopted
                if leaf(line) in made and is_proved:
                    yield f"{file.name}: {number}"


_steps = st.lists(
    st.tuples(st.sampled_from(Intruder.ACTIONS), st.integers(0, 99)), min_size=1, max_size=4
)
_closes = st.lists(st.booleans(), min_size=3, max_size=3)


def _attack(rounds: list[list[Any]], closes: list[bool], record: bool) -> None:
    with tempfile.TemporaryDirectory() as place:
        here, notes = Path(place, "archive"), Path(place, "notes")
        _run(here, notes, 6, True, record)
        snapshots = [Path(shutil.copytree(here, Path(place, "first")))]
        intruder = Intruder(here, snapshots)
        for number, (steps, ends_well) in enumerate(zip(rounds, closes)):
            _run(here, notes, 3, ends_well, record)
            snapshots.append(Path(shutil.copytree(here, Path(place, f"after{number}"))))
            for action, pick in steps:
                with suppress(FileNotFoundError):
                    action(intruder, pick)
            _run(here, notes, 2, True, record)
        report = verify(here, [PUBLIC], [notes.read_text()])
        assert list(_unproved(report, here, intruder.invented)) == []
        for event_id in set(intruder.invented.values()):
            with suppress(ArchiveError):
                proof = prove(here, event_id)
                assert leaf(proof["event"].encode()) not in intruder.invented


@settings(deadline=None, max_examples=examples(15))
@given(st.lists(_steps, min_size=1, max_size=2), _closes, st.booleans())
@pytest.mark.slow
def test_whatever_is_done(rounds: list[list[Any]], closes: list[bool], record: bool) -> None:
    """Whatever is done without the key: no event that the application did not record is ever
    called proved."""
    _attack(rounds, closes, record)


@pytest.mark.nightly  # four minutes
@settings(deadline=None, max_examples=200)
@given(st.lists(_steps, min_size=1, max_size=3), _closes, st.booleans())
def test_whatever_is_done_more(rounds: list[list[Any]], closes: list[bool], record: bool) -> None:
    """The same, many times."""
    _attack(rounds, closes, record)
