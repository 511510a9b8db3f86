"""Proofs that a trail only grew between two checkpoints: made by `prove_consistency`, checked by
the script that we ship, by the text of RFC 6962 and by Go's `tlog`."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from importlib import resources
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import Any

import forgery
import go_programs
import proof_script
import pytest
from conftest import Cli, Make
from prometheus_client import CollectorRegistry

import axon_audit_otel
from axon_audit_otel import ArchiveError, InvalidEventError
from axon_audit_otel.archive.checkpoints import Checkpoint, new_key
from axon_audit_otel.core.merkle import inclusion_path, leaf_hash
from axon_audit_otel.verification.consistency_proof import prove_consistency

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
SCRIPT = Path(str(resources.files(axon_audit_otel).joinpath("cli/data/verify_proof.py")))


@pytest.fixture(name="notes")
async def _notes(make_audit: Make, tmp_path: Path) -> list[str]:
    """The checkpoints of an archive of 23 events in files of three."""
    notes: list[str] = []
    directory = tmp_path / "archive"
    audit = make_audit(3, directory, signing_key=KEY, checkpoint_to=notes.append, name="default")
    for _ in range(23):
        await audit.log_event("STORE", "zoë")
        audit.trail.tick()  # sends what waits
    audit.close()
    found = [note for note in notes if Checkpoint.parse(note).size]
    assert len(found) >= 7
    return found


@pytest.fixture(name="script", scope="module")
def _script() -> ModuleType:
    """The shipped script as a module."""
    return proof_script.load()


class TestProofs:
    def test_every_two_checkpoints(
        self, notes: list[str], script: ModuleType, tmp_path: Path
    ) -> None:
        """Each older one is proved to be the beginning of each newer one, and of itself."""
        for place, old in enumerate(notes):
            for new in notes[place:]:
                proof = json.loads(json.dumps(prove_consistency(tmp_path / "archive", old, new)))
                said = script.check(proof, PUBLIC)
                checkpoint = Checkpoint.parse(old)
                assert said.startswith(f"the trail {checkpoint.origin} had the events up to")
                assert f"up to {checkpoint.events}, signed at {checkpoint.time}" in said

    def test_the_newest(self, notes: list[str], tmp_path: Path) -> None:
        """Of a file of checkpoints the newest counts; without a newer one, the newest beside the
        archive."""
        proof = prove_consistency(tmp_path / "archive", "".join(notes[:4]))
        assert (proof["old"], proof["new"]) == (notes[3], notes[-1])
        assert prove_consistency(tmp_path / "archive", notes[-1])["path"] == []


@pytest.mark.component  # Go
def test_by_another_library(notes: list[str], tmp_path: Path) -> None:
    """Go's `tlog` accepts the proofs, and refuses them for other checkpoints."""
    second, file = go_programs.second_verifier(), tmp_path / "proof.json"

    def accepts(proof: dict[str, Any]) -> bool:
        file.write_text(json.dumps(proof))
        command = [str(second), "proof", str(file), PUBLIC]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    for old, other in pairwise(notes):
        proof = prove_consistency(tmp_path / "archive", old)
        assert accepts(proof)
        assert not accepts({**proof, "old": other})
        assert not accepts({**proof, "path": ["00" * 32, *proof["path"][1:]]})


class TestWithoutProof:
    def test_the_wrong_order(self, notes: list[str], tmp_path: Path) -> None:
        """The newer checkpoint in place of the older."""
        with pytest.raises(ArchiveError, match="is the older one"):
            prove_consistency(tmp_path / "archive", notes[4], notes[1])

    def test_no_signed_checkpoint(self, notes: list[str], tmp_path: Path) -> None:
        """What is no checkpoint, or is not signed."""
        with pytest.raises(InvalidEventError, match="no signed checkpoint"):
            prove_consistency(tmp_path / "archive", "nonsense")
        with pytest.raises(InvalidEventError, match="no signed checkpoint"):
            prove_consistency(tmp_path / "archive", notes[0].partition("\n\n")[0] + "\n\n")

    async def test_two_trails(self, notes: list[str], make_audit: Make, tmp_path: Path) -> None:
        """Checkpoints of two trails prove nothing of each other."""
        audit = make_audit(
            2, tmp_path / "archive", name="other", signing_key=KEY, registry=CollectorRegistry()
        )
        for _ in range(4):
            await audit.log_event("STORE")
        other = (tmp_path / "archive" / "other.checkpoint").read_text()
        with pytest.raises(ArchiveError, match="of two trails"):
            prove_consistency(tmp_path / "archive", notes[0], other)
        with pytest.raises(InvalidEventError, match="of several trails"):
            prove_consistency(tmp_path / "archive", notes[0] + other)

    def test_another_history(self, notes: list[str], tmp_path: Path) -> None:
        """An archive that was rewritten, also one that fits together, does not begin as signed."""
        manifest = tmp_path / "archive" / "default.manifest"
        records = [json.loads(line) for line in manifest.read_bytes().splitlines()]
        records[1]["root"] = "0" * 64
        forgery.write_manifest(manifest, records, reseal=False)
        with pytest.raises(ArchiveError, match=r"is not as the checkpoint of \S+ signed it"):
            prove_consistency(tmp_path / "archive", notes[3], notes[-1])
        manifest.write_bytes(b"")
        with pytest.raises(ArchiveError, match=r"is not as the checkpoint of \S+ signed it"):
            prove_consistency(tmp_path / "archive", notes[3], notes[-1])

    def test_two_tails(self, notes: list[str], tmp_path: Path) -> None:
        """Events that no line of the signed tree states are proved by no tree: of two such tails,
        one root could be signed."""
        known = Checkpoint.parse(notes[3])
        for head in ("a" * 64, "b" * 64):
            note = KEY.sign(replace(known, events=known.events + 1, head=head).text())
            with pytest.raises(ArchiveError, match="no line of the manifest states event"):
                prove_consistency(tmp_path / "archive", note, notes[-1])


Change = Callable[[dict[str, Any]], object]


class TestScript:
    @pytest.fixture(name="proof")
    def _proof(self, notes: list[str], tmp_path: Path) -> dict[str, Any]:
        found: dict[str, Any] = prove_consistency(tmp_path / "archive", notes[2])
        return found

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda p: p.update(old=p["new"], new=p["old"]), "the larger one"),
            (lambda p: p["path"].pop(), "too short"),
            (lambda p: p["path"].append("00" * 32), "too long"),
            (lambda p: p["path"].__setitem__(0, "00" * 32), "does not begin as it was signed"),
            (lambda p: p["path"].clear(), "too short"),
            (
                lambda p: p.update(old=p["old"].replace("events ", "events 1")),
                "not what was signed",
            ),
            (lambda p: p.update(line=p["line"].replace('"kind"', '"kind" ')), "not in the older"),
            (lambda p: p["in_old"].update(size=9), "of another size"),
            (lambda p: p.pop("line"), "cannot be read"),
            (lambda p: p.update(new=KEY.sign("another\n" * 5)), "of two trails"),
        ],
    )
    def test_changed(
        self,
        proof: dict[str, Any],
        script: ModuleType,
        tmp_path: Path,
        change: Change,
        reason: str,
    ) -> None:
        """Any part changed: it says why it is not proved."""
        change(proof)
        file = tmp_path / "proof.json"
        file.write_text(json.dumps(proof))
        said = script.main(str(file), PUBLIC)
        assert said.startswith("NOT PROVED: ")
        assert reason in said

    def test_another_line(
        self, proof: dict[str, Any], notes: list[str], script: ModuleType, tmp_path: Path
    ) -> None:
        """A line of the older tree that states another event does not bind the newest."""
        other = prove_consistency(tmp_path / "archive", notes[1])["line"].encode()
        manifest = (tmp_path / "archive" / "default.manifest").read_bytes().splitlines()
        index, size = manifest.index(other), proof["in_old"]["size"]
        path = inclusion_path([leaf_hash(line) for line in manifest[:size]], index)
        place = {"index": index, "size": size, "path": [step.hex() for step in path]}
        with pytest.raises(AssertionError, match="no line states the newest event"):
            script.check({**proof, "line": other.decode(), "in_old": place}, PUBLIC)


class TestCommand:
    """`axon-audit prove --consistency`."""

    def test_printed_and_written(
        self, cli: Cli, notes: list[str], script: ModuleType, tmp_path: Path
    ) -> None:
        """With and without the newer checkpoint, on stdout and in a file."""
        archive, old, new = tmp_path / "archive", tmp_path / "old", tmp_path / "new"
        old.write_text(notes[1])
        new.write_text(notes[4])
        for more, expected in (((), notes[-1]), (("newest",), notes[-1]), ((new,), notes[4])):
            printed = json.loads(cli("prove", "--consistency", old, *more, archive).stdout)
            assert (printed["old"], printed["new"]) == (notes[1], expected)
        file = tmp_path / "proof.json"
        said = cli("prove", "--consistency", old, archive, "--output", file, "--json").stdout
        assert json.loads(said) == {"path": str(file), "old": str(old)}
        assert script.main(str(file), PUBLIC).startswith("PROVED: the trail axon-audit/default/")

    def test_usage(self, cli: Cli, notes: list[str], tmp_path: Path) -> None:
        """A missing file, or arguments that say nothing, are refused."""
        archive, old = tmp_path / "archive", tmp_path / "old"
        old.write_text(notes[1])
        assert "cannot read" in cli("prove", "--consistency", "none", archive, code=1).stderr
        assert "OLD is a file" in cli("prove", "--consistency", "newest", archive, code=2).stderr
        assert "OLD [NEW] PATH" in cli("prove", "--consistency", archive, code=2).stderr
        assert "one EVENT_ID" in cli("prove", archive, code=2).stderr
