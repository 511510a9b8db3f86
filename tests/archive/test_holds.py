"""A hold is in force until its release is on record, whatever becomes of its file."""

from __future__ import annotations

import gc
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, archived

from axon_audit_otel import ArchiveError, AuditLogger, verify

SIZE: dict[str, Any] = {"max_archive_bytes": 1}  # of the sealed files only the newest is kept


async def seal(audit: AuditLogger) -> None:
    """Record an event, and seal it in a file of its own."""
    gc.collect()  # the trails of commands have ended
    await audit.log_event("STORE", user_id="alice")
    audit.seal()


def files(archive: Path) -> list[Path]:
    """The sealed files."""
    return list(archive.glob("audit_*"))


def trail(archive: Path) -> dict[Path, bytes]:
    """The manifests and journals of the trails `hold`, with their content."""
    return {path: path.read_bytes() for path in archive.glob("hold*.[mj]*")}


def back_to(archive: Path, earlier: dict[Path, bytes]) -> None:
    """Bring back an earlier state of these trails, and remove the file of the hold."""
    for path in [*trail(archive), archive / "legal.hold"]:
        path.unlink()
    for path, text in earlier.items():
        path.write_bytes(text)


def content(archive: Path) -> bytes:
    """All that is in the files of the archive."""
    return b"".join(path.read_bytes() for path in archive.iterdir())


def missing(archive: Path) -> list[str]:
    """The names of the holds whose missing files are on record."""
    facts = [event.metadata for event in archived(archive) if event.operation == "AUDIT"]
    return [str(told["hold"]) for told in facts if told.get("state") == "missing"]


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


class TestFileRemoved:
    @pytest.mark.parametrize("restarts", [False, True])
    async def test_nothing_is_deleted(
        self, make_audit: Make, cli: Cli, archive: Path, restarts: bool
    ) -> None:
        """Without its file, the hold stops retention all the same, in the running writer and in
        one that starts; that the file is gone is recorded; a release ends it."""
        audit = make_audit(auto_export_path=archive, **SIZE)
        await seal(audit)
        cli("hold", archive, "--reason", "Doe v. Acme")
        (archive / "legal.hold").unlink()
        if restarts:
            audit.close()
            audit = make_audit(auto_export_path=archive, **SIZE)
        before = len(files(archive))
        await seal(audit)
        await seal(audit)
        assert len(files(archive)) == before + 2
        assert set(missing(archive)) == {"legal"}
        assert len(missing(archive)) == 1
        held = cli("hold", archive)
        assert "held by 'legal': Doe v. Acme; placed 20" in held.stdout
        assert "its file is gone" in held.stderr
        cli("hold", archive, "--release")
        assert "no hold" in cli("hold", archive).stdout
        await seal(audit)
        assert len(files(archive)) == 1

    async def test_placed_again(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """The hold can be placed again: one release ends it."""
        audit = make_audit(auto_export_path=archive, **SIZE)
        await seal(audit)
        cli("hold", archive, "--reason", "Doe v. Acme")
        (archive / "legal.hold").unlink()
        cli("hold", archive, "--reason", "Doe v. Acme")
        await seal(audit)
        assert len(files(archive)) > 2
        cli("hold", archive, "--release")
        await seal(audit)
        assert len(files(archive)) == 1
        assert verify(archive).ok

    @pytest.mark.parametrize("kept", [0, 2])
    async def test_with_its_record(
        self, make_audit: Make, cli: Cli, archive: Path, kept: int
    ) -> None:
        """A running writer that has seen the record believes no older state of it."""
        audit = make_audit(auto_export_path=archive, **SIZE)
        await seal(audit)
        for _ in range(kept):
            cli("hold", archive, "--reason", "another")
            cli("hold", archive, "--release")
        earlier = trail(archive)
        cli("hold", archive, "--reason", "Doe v. Acme")
        await seal(audit)
        back_to(archive, earlier)
        before = len(files(archive))
        await seal(audit)
        assert len(files(archive)) == before + 1

    def test_nobody_is_erased(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Nor is anybody erased, by the application or the command."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        cli("hold", archive, "--reason", "Doe v. Acme")
        (archive / "legal.hold").unlink()
        with pytest.raises(ArchiveError, match=r"on hold \(legal\)"):
            audit.erase_user("alice")

    async def test_encrypted(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Of an encrypted archive the record of a hold tells the same without the keys; the
        reason and who placed it are encrypted."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await seal(audit)
        audit.close()
        cli("hold", archive, "--reason", "Doe v. Acme")
        (archive / "legal.hold").unlink()
        keys = archive.with_name("archive.keys")
        shown = cli("query", archive, "--operation", "AUDIT").stdout
        assert "hold 'legal' placed: Doe v. Acme" in shown
        keys.rename(archive.with_name("elsewhere"))
        told = [e for e in archived(archive) if e.metadata.get("record") == "hold"]
        assert [(e.metadata["hold"], e.metadata["state"]) for e in told] == [("legal", "placed")]
        assert set(told[0].metadata) == {"record", "hold", "state", "erasable"}
        assert b"Doe v. Acme" not in content(archive)
        assert [finding.file for finding in verify(archive).findings] == ["legal.hold"]


class TestHostileFiles:
    def test_link(self, make_audit: Make, cli: Cli, archive: Path, tmp_path: Path) -> None:
        """A link is a hold, and what it leads to is not read."""
        make_audit(auto_export_path=archive).close()
        (tmp_path / "secret").write_text("root:x:0")
        (archive / "mine.hold").symlink_to(tmp_path / "secret")
        shown = cli("hold", archive).stdout
        assert "held by 'mine': no reason is given" in shown

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
    def test_pipe_and_size(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """A pipe is a hold, and so is a file without end."""
        make_audit(auto_export_path=archive).close()
        os.mkfifo(archive / "pipe.hold")
        with (archive / "large.hold").open("wb") as file:
            file.write(b"x" * 100)
            file.truncate(1 << 40)
        assert json.loads(cli("hold", archive, "--json").stdout)["holds"].keys() == {
            "large",
            "pipe",
        }

    async def test_garbage_in_the_trail(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """What is no record in the trail `hold` is passed over; those beside it are read."""
        audit = make_audit(auto_export_path=archive, **SIZE)
        cli("hold", archive, "--reason", "Doe v. Acme")
        (archive / "legal.hold").unlink()
        (archive / "hold.journal").write_bytes(b'{"events":[\n \xff\x00{{{\n')
        (archive / "hold-7.manifest").write_bytes(b"\x00garbage\n")
        shutil.copy(archive / "hold-7.manifest", archive / "hold-8.journal")
        await seal(audit)
        await seal(audit)
        assert len(files(archive)) == 3
