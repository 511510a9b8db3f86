"""`axon-audit verify`: exit code 0 is proved as asked, 1 is damage, 2 is not proved."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, Run

from axon_audit_otel import AuditConfigError, AuditLogger, verify
from axon_audit_otel.archive.checkpoints import new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
FOREIGN = str(new_key("somebody").verifying)


class Desk:
    """An archive, and the command that verifies it."""

    def __init__(self, cli: Cli, make_audit: Make, place: Path) -> None:
        self._cli = cli
        self._make = make_audit
        self._open: list[AuditLogger] = []
        self.place = place
        self.path = place / "archive"
        self.outside = place / "outside.ckpt"

    def record(
        self, name: str = "default", count: int = 7, closes: bool = True, **given: Any
    ) -> None:
        settings = {"signing_key": KEY, "checkpoint_to": self.outside, "name": name, **given}
        audit = self._make(5, self.path, **settings)

        async def work() -> None:
            for number in range(count):
                await audit.log_event("STORE", "alice", entry_ids=[f"entry-{number}"])

        asyncio.run(work())
        if closes:
            audit.close()
        else:
            self._open.append(audit)

    def tick(self) -> None:
        """Have the writers that are open do what is due."""
        for audit in self._open:
            audit.trail.tick()

    def verify(self, *options: object, code: int, path: Path | None = None) -> str:
        """What it prints, in one line; with --json the same verdict."""
        arguments = ("verify", path or self.path, *options)
        verdict = {0: "ok", 1: "damage", 2: "not proved"}[code]
        report = json.loads(self._cli(*arguments, "--json", code=code).stdout)
        assert (report["exit"], report["verdict"]) == (code, verdict)
        said = self._cli(*arguments, code=code)
        return " ".join((said.stdout + said.stderr).split())

    def origin(self, name: str = "default") -> str:
        line = (self.path / f"{name}.manifest").read_bytes().splitlines()[0]
        return f"axon-audit/{name}/{json.loads(line)['id']}"


@pytest.fixture(name="desk")
def _desk(cli: Cli, make_audit: Make, tmp_path: Path) -> Desk:
    return Desk(cli, make_audit, tmp_path)


class TestKey:
    """With --key, each trail must be covered by a signed checkpoint."""

    def test_proved(self, desk: Desk) -> None:
        desk.record()
        assert "No damage was found." in desk.verify("--key", PUBLIC, code=0)

    def test_another_key(self, desk: Desk) -> None:
        """Everything is whole, but nothing is signed by that key."""
        desk.record()
        said = desk.verify("--key", FOREIGN, code=2)
        assert "no checkpoint that somebody signed covers default" in said
        assert "No damage" not in said
        desk.verify("--key", FOREIGN, "--key", PUBLIC, code=0)

    def test_a_note_of_another_key_among_good_ones(self, desk: Desk) -> None:
        """Who has the key did not write it."""
        desk.record()
        text = (desk.path / "default.checkpoint").read_text().split("\n\n")[0]
        with (desk.path / "default.checkpoints").open("a") as file:
            file.write(new_key("auditor").sign(f"{text}\n"))
        desk.verify("--key", PUBLIC, code=1)

    def test_a_reader_with_a_key_of_its_own(self, desk: Desk) -> None:
        """With the application's key alone it is not proved, and the message says what to do."""
        desk.record()
        reader = new_key("reader")
        desk.record(name="access", signing_key=reader)
        said = desk.verify("--key", PUBLIC, code=2)
        assert "not signed by auditor: if another key signs here too" in said
        assert "give both, --key twice" in said
        desk.verify("--key", PUBLIC, "--key", reader.verifying, code=0)

    def test_unsigned(self, desk: Desk) -> None:
        desk.record(signing_key=None, checkpoint_to=None)
        assert "No damage" not in desk.verify("--key", PUBLIC, code=2)
        desk.verify(code=0)

    def test_checkpoints_removed(self, desk: Desk) -> None:
        desk.record()
        for file in desk.path.glob("*.checkpoint*"):
            file.unlink()
        desk.verify("--key", PUBLIC, code=2)
        desk.verify("--key", PUBLIC, "--checkpoint", desk.outside, code=0)

    def test_a_journal_alone(self, desk: Desk) -> None:
        """Nothing is sealed or signed yet."""
        desk.record(count=3, closes=False)
        assert "covers default" in desk.verify("--key", PUBLIC, code=2)
        desk.verify(code=0)

    def test_a_journal_beside_a_proved_trail(self, desk: Desk) -> None:
        desk.record()
        desk.record("worker", count=3, closes=False)
        said = desk.verify("--key", PUBLIC, code=2)
        assert "covers worker" in said
        assert "covers default" not in said

    def test_a_file_alone(self, desk: Desk) -> None:
        """It was sent without the rest of its archive."""
        desk.record()
        alone = desk.place / "sent.json"
        shutil.copy(next(desk.path.glob("audit_*.json")), alone)
        desk.verify("--key", PUBLIC, code=2, path=alone)
        desk.verify(code=0, path=alone)

    def test_nothing_recorded(self, desk: Desk) -> None:
        """A journal that was begun, and has no event: nothing that could be proved."""
        desk.path.mkdir()
        (desk.path / "default.journal").write_bytes(b'{"events":[\n')
        desk.verify("--key", PUBLIC, code=2)

    @pytest.mark.parametrize("content", [b"", b"\n \n", b"\xff\xfe\0", b"a+b", b"{}"])
    def test_a_file_that_has_no_key(self, desk: Desk, cli: Cli, content: bytes) -> None:
        desk.record()
        file = desk.place / "auditor.pub"
        file.write_bytes(content)
        assert "Error: " in cli("verify", desk.path, "--key", file, code=2).stderr
        assert "Error: " in cli("verify", desk.path, "--key", "", code=2).stderr

    def test_damage(self, desk: Desk) -> None:
        """It is damage, whatever else is not proved."""
        desk.record()
        next(desk.path.glob("audit_*.json")).unlink()
        for key in (PUBLIC, FOREIGN):
            desk.verify("--key", key, code=1)


class TestRequiredCheckpoint:
    """With --require-checkpoint, those beside the archive are not enough."""

    def test_covered(self, desk: Desk) -> None:
        desk.record()
        desk.verify("--require-checkpoint", "--checkpoint", desk.outside, code=0)
        given = ("--key", PUBLIC, "--require-checkpoint", "--checkpoint", desk.outside)
        said = desk.verify(*given, code=0)
        assert "could be missing" not in said
        assert "covered up to event 7 by a checkpoint given" in said

    def test_none_given(self, desk: Desk) -> None:
        desk.record()
        said = desk.verify("--key", PUBLIC, "--require-checkpoint", code=2)
        assert "no checkpoint from elsewhere (--checkpoint) covers default" in said

    def test_a_newer_one_of_the_same_state(self, desk: Desk) -> None:
        """Beside the archive is a later checkpoint of the same events."""
        desk.record(count=5, closes=False, checkpoint_interval=1e-9)
        for _ in range(2):
            desk.tick()
        oldest = f"axon-audit/{desk.outside.read_text().split('axon-audit/')[1]}"
        assert (desk.path / "default.checkpoint").read_text() != oldest
        kept = desk.place / "kept.ckpt"
        kept.write_text(oldest)
        desk.verify("--key", PUBLIC, "--require-checkpoint", "--checkpoint", kept, code=0)

    def test_one_of_two(self, desk: Desk) -> None:
        desk.record()
        desk.record("worker", checkpoint_to=desk.place / "other.ckpt")
        given = ("--require-checkpoint", "--checkpoint", desk.outside)
        said = desk.verify(*given, code=2)
        assert "covers worker" in said
        assert "covers default" not in said
        desk.verify(*given, "--checkpoint", desk.place / "other.ckpt", code=0)

    def test_of_another_key(self, desk: Desk) -> None:
        """The checkpoint given is not signed by the key that was asked for."""
        desk.record()
        note = new_key("auditor").sign(desk.outside.read_text().split("\n\n")[0] + "\n")
        desk.outside.write_text(note)
        given = ("--key", PUBLIC, "--require-checkpoint", "--checkpoint", desk.outside)
        desk.verify(*given, code=2)

    def test_what_could_be_missing(self, desk: Desk) -> None:
        """Without one, it is said that nobody could notice it."""
        desk.record()
        said = desk.verify("--key", PUBLIC, code=0)
        assert "A whole trail, or the whole archive, could be missing: give a checkpoint" in said

    def test_no_checkpoint_in_it(self, desk: Desk, cli: Cli) -> None:
        desk.record()
        desk.outside.write_text("nonsense\n")
        report = cli("verify", desk.path, "--checkpoint", desk.outside, "--json", code=2)
        assert json.loads(report.stdout)["exit"] == 2
        assert "Error: " in report.stderr
        cli("verify", desk.path, "--checkpoint", desk.place / "nowhere", code=2)


class TestOrigin:
    """With --origin, those trails must be there, and no other."""

    def test_printed(self, desk: Desk) -> None:
        desk.record()
        assert f"origin: {desk.origin()}" in desk.verify(code=0)

    def test_of_a_journal(self, desk: Desk) -> None:
        """It is the same before and after the first seal."""
        desk.record(count=3, closes=False)
        (writer,) = verify(desk.path).writers
        assert writer.origin is not None
        desk.verify("--origin", writer.origin, code=0)

    def test_all_there(self, desk: Desk) -> None:
        desk.record()
        desk.record("worker")
        given = ("--origin", desk.origin(), "--origin", desk.origin("worker"))
        desk.verify(*given, "--key", PUBLIC, code=0)
        assert "not asked for" in desk.verify(*given[:2], code=1)

    def test_exchanged(self, desk: Desk) -> None:
        """Another archive of that key and name is in its place."""
        desk.record()
        origin = desk.origin()
        shutil.rmtree(desk.path)
        desk.record()
        said = desk.verify("--origin", origin, "--key", PUBLIC, code=1)
        assert f"the trail {origin} is not here" in said

    @pytest.mark.parametrize("origin", ["", "default", "axon-audit/default", "axon-audit/a/b/c"])
    def test_none(self, desk: Desk, cli: Cli, origin: str) -> None:
        desk.record()
        assert "is not an origin" in cli("verify", desk.path, "--origin", origin, code=2).stderr
        with pytest.raises(AuditConfigError):
            verify(desk.path, origins=[origin])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up its rights")
@pytest.mark.slow
def test_not_allowed_to_read(run_script: Run, desk: Desk) -> None:
    """What this user may not read is not verified, and is no damage."""
    desk.record()
    with tempfile.TemporaryDirectory() as place:  # pytest's own are root's alone
        archive = Path(shutil.copytree(desk.path, Path(place, "archive")))
        for path in (archive.parent, archive, *archive.iterdir()):
            path.chmod(0o755)
        max(archive.glob("audit_*.json")).chmod(0o600)
        run_script(
            """
            import os, sys
            from axon_audit_otel import verify
            os.setgid(65534)
            os.setuid(65534)
            report = verify(sys.argv[1])
            assert [found.kind for found in report.findings] == ["denied"], report.findings
            assert report.verdict == "not proved"
            """,
            archive,
            loaded=True,
        )
