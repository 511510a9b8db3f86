"""Lines of the manifest about events that are not sealed yet: they bind every event of the tail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Make
from every_way import verify
from forgery import rewrite, write_manifest

from axon_audit_otel import AuditLogger, VerifyReport
from axon_audit_otel.archive.checkpoints import Checkpoint, new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
MANIFEST, JOURNAL = "default.manifest", "default.journal"


def records_in(archive: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (archive / MANIFEST).read_bytes().splitlines()]


def kinds(archive: Path) -> list[str]:
    return [record["kind"] for record in records_in(archive)]


def found(report: VerifyReport) -> list[tuple[str, int | None, str]]:
    return [(finding.file, finding.sequence, finding.kind) for finding in report.findings]


async def record(audit: AuditLogger, count: int) -> None:
    for number in range(count):
        await audit.log_event("STORE", "alice", entry_ids=[f"entry-{number}"])


@pytest.fixture(name="archive")
async def _archive(make_audit: Make, tmp_path: Path) -> Path:
    """Ten sealed events and six in the journal; checkpoints of all but the newest two."""
    directory = tmp_path / "at-work"
    audit = make_audit(10, directory, name="default", signing_key=KEY, checkpoint_interval=1e-9)
    await record(audit, 14)
    audit.trail.tick()
    await record(audit, 2)
    return Path(shutil.copytree(directory, tmp_path / "archive"))


class TestWritten:
    async def test_before_a_checkpoint(self, make_audit: Make, tmp_path: Path) -> None:
        """A line names the newest event and its hash; the checkpoint's tree has that line."""
        notes: list[str] = []
        audit = make_audit(
            10, tmp_path, name="default", checkpoint_to=notes.append, checkpoint_interval=1e-9
        )
        await record(audit, 3)
        audit.trail.tick()
        *_, line = records_in(tmp_path)
        known = Checkpoint.parse(notes[-1])
        assert kinds(tmp_path) == ["trail", "head"]
        assert (line["number"], line["head"]) == (known.events, known.head)
        assert (known.events, known.size) == (3, 2)
        assert known.origin.endswith(records_in(tmp_path)[0]["id"])

    async def test_once_for_each_event(self, make_audit: Make, tmp_path: Path) -> None:
        """Further checkpoints of the same state, and of a state that is sealed, add no line."""
        audit = make_audit(10, tmp_path, name="default", signing_key=KEY, checkpoint_interval=1e-9)
        await record(audit, 3)
        audit.trail.tick()
        audit.trail.tick()
        audit.seal()
        audit.trail.tick()
        assert kinds(tmp_path) == ["trail", "head", "seal"]
        assert verify(tmp_path, [PUBLIC]).ok

    async def test_without_checkpoints(self, make_audit: Make, tmp_path: Path) -> None:
        """Where no checkpoint is made, there is nothing to bind."""
        audit = make_audit(10, tmp_path, name="default", checkpoint_interval=1e-9)
        await record(audit, 3)
        audit.trail.tick()
        assert not (tmp_path / MANIFEST).exists()


class TestFound:
    def test_as_written(self, archive: Path) -> None:
        report = verify(archive, [PUBLIC])
        assert report.ok, report.findings
        assert report.writers[0].proved_until == 14

    def test_another_tail_of_that_length(self, archive: Path) -> None:
        """The events of the journal are others, and fit each other: also without a checkpoint."""
        other = Path(shutil.copytree(archive, archive.with_name("other")))
        rewrite(other, lambda event: event.update(user_id="mallory"))
        for file in (*archive.glob("*.checkpoint*"), *other.glob("*.checkpoint*")):
            file.unlink()
        (archive / JOURNAL).write_bytes((other / JOURNAL).read_bytes())
        assert (JOURNAL, 14, "altered") in found(verify(archive))

    def test_a_tail_cut_off(self, archive: Path) -> None:
        """A line of the manifest knows the event, where the checkpoints are gone."""
        for file in archive.glob("*.checkpoint*"):
            file.unlink()
        journal = archive / JOURNAL
        lines = journal.read_bytes().splitlines(keepends=True)
        journal.write_bytes(b"".join(lines[:4]))
        assert found(verify(archive)) == [(JOURNAL, 14, "truncated")]
        journal.unlink()
        assert [what[1:] for what in found(verify(archive))] == [(11, "truncated")]

    @pytest.mark.parametrize("number", [3, 14, 15, 99])
    def test_a_false_line(self, archive: Path, number: int) -> None:
        """Somebody without the key adds a line that contradicts the events."""
        records = records_in(archive)
        records.append({**records[-1], "number": number, "head": "a" * 64})
        write_manifest(archive / MANIFEST, records, reseal=False)
        report = verify(archive, [PUBLIC])
        kind = {3: "inserted", 99: "truncated"}.get(number, "altered")
        assert kind in [what[2] for what in found(report)]
        assert report.writers[0].proved_until == 14

    def test_a_line_removed(self, archive: Path) -> None:
        """What a checkpoint signed does not fit any more."""
        records = [record for record in records_in(archive) if record["kind"] != "head"]
        write_manifest(archive / MANIFEST, records, reseal=False)
        report = verify(archive, [PUBLIC])
        assert found(report) == [(MANIFEST, None, "truncated")]
        assert report.writers[0].proved_until == 10

    async def test_seals_around_it(self, make_audit: Make, archive: Path) -> None:
        """After the next seal the line stays; a seal that is removed with its file is missed."""
        audit = make_audit(10, archive, name="default", signing_key=KEY)
        await record(audit, 24)
        audit.close()
        report = verify(archive, [PUBLIC])
        assert report.ok, report.findings
        records = records_in(archive)
        seals = [record for record in records if record["kind"] == "seal"]
        manifest = archive / MANIFEST
        lines = manifest.read_bytes().splitlines(keepends=True)
        del lines[records.index(seals[1])]
        manifest.write_bytes(b"".join(lines))
        (archive / seals[1]["file"]).unlink()
        assert (MANIFEST, None, "removed") in found(verify(archive))
