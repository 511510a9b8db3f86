"""Each signed manifest lists the other writers: none of them can vanish, or be rolled back."""

from __future__ import annotations

import asyncio
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Make, Run
from every_way import verify

from axon_audit_otel import AuditLogger, VerifyReport
from axon_audit_otel.archive.checkpoints import new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)


def records_in(archive: Path, writer: str) -> list[dict[str, Any]]:
    lines = (archive / f"{writer}.manifest").read_bytes().splitlines()
    return [json.loads(line) for line in lines]


def listed(archive: Path, writer: str) -> list[tuple[str, int]]:
    """The names and numbers that a writer's manifest lists of other writers, in order."""
    records = records_in(archive, writer)
    others = [other for record in records for other in record.get("writers", [])]
    return [(other["writer"], other["events"]) for other in others]


def found(report: VerifyReport) -> list[tuple[str, str]]:
    return [(finding.file, finding.kind) for finding in report.findings]


async def record(audit: AuditLogger, count: int, user: str = "alice") -> None:
    for number in range(count):
        await audit.log_event("STORE", user, entry_ids=[f"entry-{number}"])


def remove(archive: Path, writer: str) -> None:
    """Remove everything of a writer."""
    for line in records_in(archive, writer):
        (archive / line.get("file", "none")).unlink(missing_ok=True)
    for file in [*archive.glob(f"{writer}.*"), *archive.glob(f".{writer}.*")]:
        file.unlink()


class Office:
    """Makes writers of one directory, which sign."""

    def __init__(self, make_audit: Make, archive: Path) -> None:
        self._make = make_audit
        self.archive = archive

    def open(self, name: str, **settings: Any) -> AuditLogger:
        given = {"signing_key": KEY, "checkpoint_interval": 1e-9, **settings}
        return self._make(5, self.archive, name=name, **given)

    async def closed(self, name: str, count: int = 7, **settings: Any) -> None:
        audit = self.open(name, **settings)
        await record(audit, count)
        audit.close()


@pytest.fixture(name="office")
def _office(make_audit: Make, tmp_path: Path) -> Office:
    return Office(make_audit, tmp_path / "archive")


class TestListed:
    async def test_at_a_checkpoint(self, office: Office) -> None:
        """Name, id, newest event and its hash, as the other's newest checkpoint says."""
        await office.closed("first")
        await office.closed("second")
        other = next(r for r in records_in(office.archive, "second") if "writers" in r)["writers"][
            0
        ]
        *_, seal = records_in(office.archive, "first")
        assert other == {
            "writer": "first",
            "id": records_in(office.archive, "first")[0]["id"],
            "events": 7,
            "head": seal["head"],
        }
        assert listed(office.archive, "second") == [("first", 7)]
        assert listed(office.archive, "first") == []

    async def test_only_news(self, office: Office) -> None:
        """What grew is listed again, what did not is not."""
        await office.closed("first")
        second = office.open("second")
        await record(second, 5)
        await office.closed("first", 10)
        second.close()
        assert listed(office.archive, "second") == [("first", 7), ("first", 17)]

    async def test_one_that_came_later(self, office: Office) -> None:
        """The close of a writer lists another that came after its last seal."""
        first = office.open("first")
        await record(first, 5)
        await office.closed("second")
        first.close()
        assert listed(office.archive, "first") == [("second", 7)]
        assert verify(office.archive, [PUBLIC]).ok

    async def test_a_journal_alone(self, office: Office) -> None:
        """Its first event is known before it seals anything."""
        second = office.open("second", checkpoint_interval=None)
        await record(second, 2)
        await office.closed("first")
        assert listed(office.archive, "first") == [("second", 1)]
        copy = Path(shutil.copytree(office.archive, office.archive.with_name("copy")))
        assert verify(copy).ok
        (copy / "second.journal").unlink()
        assert ("second.manifest", "removed") in found(verify(copy))

    async def test_one_without_an_event(self, office: Office) -> None:
        """It has nothing that could be lost."""
        office.open("second")
        await office.closed("first")
        assert listed(office.archive, "first") == []

    @pytest.mark.parametrize("count", [2, 7])
    async def test_of_another_key(self, office: Office, count: int) -> None:
        """Nobody without the key adds to what is signed."""
        for name, key in (("second", new_key("auditor")), ("third", None)):
            audit = office.open(name, signing_key=key, checkpoint_interval=None)
            await record(audit, count)
            await office.closed("first")
            audit.close()
        await office.closed("first")
        assert listed(office.archive, "first") == []

    async def test_a_checkpoint_of_another_writer(self, office: Office) -> None:
        """Its file under another name is not that writer."""
        await office.closed("second")
        for file in office.archive.glob("second.*"):
            shutil.copy(file, file.with_stem("third"))
        await office.closed("first")
        assert listed(office.archive, "first") == [("second", 7)]

    async def test_unsigned(self, office: Office, tmp_path: Path) -> None:
        """Without a key, checkpoints are taken as they are."""
        given: dict[str, Any] = {"signing_key": None, "checkpoint_to": tmp_path / "notes"}
        await office.closed("second", **given)
        await office.closed("first", **given)
        assert listed(office.archive, "first") == [("second", 7)]

    async def test_without_checkpoints(self, office: Office) -> None:
        await office.closed("first", signing_key=None)
        await office.closed("second", signing_key=None)
        assert [line["kind"] for line in records_in(office.archive, "second")] == [
            "trail",
            "seal",
            "seal",
        ]

    async def test_many(self, office: Office) -> None:
        """All new ones are listed, and of those that grew a few at a time."""
        names = [f"other-{number}" for number in range(8)]
        for _ in range(2):
            for name in names:
                await office.closed(name, 1)
            await office.closed("first", 5)
        lines = [
            line["writers"] for line in records_in(office.archive, "first") if "writers" in line
        ]
        assert [other["writer"] for other in lines[0]] == names
        assert {len(line) for line in lines[1:]} == {4}


class TestVanished:
    @pytest.fixture(name="archive")
    def _archive(self, office: Office) -> Path:
        for name in ("worker", "main"):
            asyncio.run(office.closed(name))
        return office.archive

    def test_removed(self, archive: Path) -> None:
        """Everything of it is gone, its checkpoints too."""
        assert verify(archive, [PUBLIC]).ok
        remove(archive, "worker")
        for keys in ([PUBLIC], []):
            assert found(verify(archive, keys)) == [("worker.manifest", "removed")]

    def test_begun_anew(self, archive: Path, office: Office) -> None:
        """Another trail has its name."""
        remove(archive, "worker")
        asyncio.run(office.closed("worker", 20))
        assert found(verify(archive, [PUBLIC])) == [("worker.manifest", "removed")]

    async def test_rolled_back(self, office: Office) -> None:
        """An older copy of its files, with the checkpoints of that time, is in their place."""
        await office.closed("worker")
        old = Path(shutil.copytree(office.archive, office.archive.with_name("old")))
        await office.closed("worker", 10)
        await office.closed("main")
        remove(office.archive, "worker")
        shutil.copytree(old, office.archive, dirs_exist_ok=True)
        assert "truncated" in [kind for _, kind in found(verify(office.archive, [PUBLIC]))]

    async def test_another_history(self, office: Office) -> None:
        """It begins with the same event, is as long, and went another way from there."""
        worker = office.open("worker")
        await record(worker, 1)
        old = Path(shutil.copytree(office.archive, office.archive.with_name("old")))
        await record(worker, 9)
        worker.close()
        await office.closed("main")
        other = Office(office._make, old)
        await other.closed("worker", 9)
        remove(office.archive, "worker")
        shutil.copytree(old, office.archive, dirs_exist_ok=True)
        assert "altered" in [kind for _, kind in found(verify(office.archive, [PUBLIC]))]

    def test_one_file(self, archive: Path) -> None:
        """Who verifies one file does not ask for the others."""
        remove(archive, "worker")
        newest = records_in(archive, "main")[-1]["file"]
        assert verify(archive / newest, [PUBLIC]).ok

    def test_one_that_begins_meanwhile(self, office: Office) -> None:
        """A writer that is listed after the names were read is there: no false alarm."""
        main = office.open("main")
        asyncio.run(record(main, 6))

        def meanwhile(_: int) -> None:
            if not (office.archive / "late.manifest").exists():
                asyncio.run(office.closed("late"))
                main.close()

        assert verify(office.archive, [PUBLIC], progress=meanwhile).ok
        assert verify(office.archive, [PUBLIC]).ok


@pytest.mark.slow
def test_forked(run_script: Run, tmp_path: Path) -> None:
    """Children of a pre-fork server, one of which was killed: no false alarm; none can vanish."""
    run_script(
        """
        import asyncio, os, sys
        from axon_audit_otel import AuditLogger
        audit = AuditLogger(4, sys.argv[1], name="server", signing_key=sys.argv[2])
        asyncio.run(audit.log_event("STORE"))
        for number in range(3):
            child = os.fork()
            if child == 0:
                for _ in range(10):
                    asyncio.run(audit.log_event("STORE", user_id=str(number)))
                if number:
                    audit.close()
                os._exit(0)
            os.waitpid(child, 0)
        audit.close()
        """,
        tmp_path,
        KEY.line(),
    )
    assert verify(tmp_path, [PUBLIC]).ok
    writers = [writer.writer for writer in verify(tmp_path).writers]
    assert len(writers) > 1
    for writer in writers:
        copy = Path(shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-{writer}")))
        if (copy / f"{writer}.manifest").exists():
            remove(copy, writer)
        assert (f"{writer}.manifest", "removed") in found(verify(copy, [PUBLIC]))
