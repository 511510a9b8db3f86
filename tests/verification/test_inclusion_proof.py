"""Proofs of single events: made by `prove`, checked by the script that we ship and by hand."""

from __future__ import annotations

import ast
import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from by_definition import by_definition, climb
from conftest import Cli, Make
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry
from proof_script import SCRIPT, load, run

from axon_audit_otel import ArchiveError, AuditEvent, AuditLogger, InvalidEventError
from axon_audit_otel.archive.checkpoints import Checkpoint, VerifyingKey, new_key
from axon_audit_otel.verification.inclusion_proof import prove

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)


class Trail:
    """An archive of 23 events in files of five, the last three unsealed; its checkpoints."""

    def __init__(self, path: Path, audit: AuditLogger, notes: list[str]) -> None:
        self.path = path
        self.audit = audit
        self.notes = notes  # one a seal
        self.events: list[AuditEvent] = []


@pytest.fixture(name="trail")
async def _trail(make_audit: Make, tmp_path: Path) -> Trail:
    notes: list[str] = []
    directory = tmp_path / "archive"
    # The sizes are no powers of two: each leaf's path has its own shape.
    audit = make_audit(5, directory, signing_key=KEY, checkpoint_to=notes.append, name="default")
    trail = Trail(directory, audit, notes)
    for number in range(23):
        event = await audit.log_event("STORE", "zoë", entry_ids=[f"entry-{number}"])
        trail.events.append(event)
    for note in (directory / "default.checkpoints").read_text().split("axon-audit/")[1:]:
        if f"axon-audit/{note}" not in notes:
            notes.append(f"axon-audit/{note}")
    notes.sort(key=lambda note: Checkpoint.parse(note).time)
    return trail


@pytest.fixture(name="script", scope="module")
def _script() -> ModuleType:
    """The shipped script as a module."""
    return load()


def written(proof: object, tmp_path: Path) -> Path:
    file = tmp_path / "proof.json"
    file.write_text(json.dumps(proof), encoding="utf-8")
    return file


class TestProofs:
    def test_every_sealed_event(self, trail: Trail, script: ModuleType) -> None:
        """Each is proved to the script, and its line is the event as it was recorded."""
        for event in trail.events[:20]:
            proof = json.loads(json.dumps(prove(trail.path, event.event_id)))
            assert proof["event"].encode() == event.to_json()
            said = script.check(proof, PUBLIC)
            assert event.event_id in said
            assert "axon-audit/default/" in said

    def test_by_hand(self, trail: Trail) -> None:
        """The steps lead from the event over the seal to the signed root, by the recursion of
        RFC 6962 and over all the lines of file and manifest."""
        manifest = (trail.path / "default.manifest").read_bytes().splitlines()
        for event in trail.events[:20]:
            proof = prove(trail.path, event.event_id)
            seal = json.loads(proof["seal"])
            file = (trail.path / seal["file"]).read_bytes().splitlines()
            root = by_definition([line[1:] for line in file[1:-1]])
            assert root.hex() == seal["root"]
            assert _climbed(proof["event"], proof["in_file"]) == root
            signed = by_definition(manifest)
            assert _climbed(proof["seal"], proof["in_manifest"]) == signed
            assert base64.b64encode(signed).decode() in proof["checkpoint"].splitlines()

    def test_holds_one_event_only(self, trail: Trail) -> None:
        """Nothing of other events but hashes."""
        text = json.dumps(prove(trail.path, trail.events[7].event_id))
        assert "entry-7" in text
        assert text.count("entry-") == 1

    def test_newest_checkpoint(self, trail: Trail) -> None:
        """The proof ends in the newest checkpoint beside the archive, or in the one given."""
        event = trail.events[0].event_id
        assert prove(trail.path, event)["checkpoint"] == trail.notes[-1]
        for note in trail.notes[:4]:
            proof = prove(trail.path, event, note)
            assert proof["checkpoint"] == note
            assert proof["in_manifest"]["size"] == Checkpoint.parse(note).size

    def test_file_of_checkpoints(self, trail: Trail) -> None:
        """All notes are looked through, not the newest file only."""
        (trail.path / "default.checkpoint").unlink()
        assert prove(trail.path, trail.events[9].event_id)["checkpoint"] == trail.notes[-1]

    async def test_compressed(self, make_audit: Make, tmp_path: Path, script: ModuleType) -> None:
        """Events in compressed files, and files named by themselves."""
        audit = make_audit(3, tmp_path, compress=True, signing_key=KEY)
        events = [await audit.log_event("STORE") for _ in range(6)]
        audit.trail.tick()
        seals = (tmp_path / "default.manifest").read_bytes().splitlines()[1:]
        for event, seal in zip(events[1::3], seals):
            file = tmp_path / f"{json.loads(seal)['file']}.zst"
            for path in (tmp_path, file):
                assert script.check(prove(path, event.event_id), PUBLIC)

    async def test_several_writers(
        self, trail: Trail, make_audit: Make, script: ModuleType
    ) -> None:
        """The event is found whoever wrote it, and proved by its own writer's checkpoint."""
        audit = make_audit(
            2, trail.path, name="second", signing_key=KEY, registry=CollectorRegistry()
        )
        events = [await audit.log_event("RECALL") for _ in range(4)]
        proof = prove(trail.path, events[2].event_id)
        assert "axon-audit/second/" in script.check(proof, PUBLIC)
        with pytest.raises(ArchiveError, match="not about this trail"):
            prove(trail.path, events[0].event_id, trail.notes[0])


def _climbed(entry: str, proof: dict[str, Any]) -> bytes:
    leaf = hashlib.sha256(b"\x00" + entry.encode()).digest()
    path = [bytes.fromhex(step) for step in proof["path"]]
    return climb(leaf, proof["index"], proof["size"], path)


class TestWithoutProof:
    """An event that cannot be proved is refused with a reason."""

    def test_not_sealed(self, trail: Trail) -> None:
        """An event that is still in the journal."""
        with pytest.raises(ArchiveError, match=r"in default\.journal, which is not sealed yet"):
            prove(trail.path, trail.events[22].event_id)

    @pytest.mark.parametrize(
        "event_id",
        ["7b0c6a1e-3f2d-4a53-9a5b-0b8e7c6d5e4f", "42", 'a "quote", \\ and zoë\n', "evt_1"],
    )
    def test_ids_of_other_sources(
        self,
        make_audit: Make,
        logger_provider: LoggerProvider,
        script: ModuleType,
        tmp_path: Path,
        event_id: str,
    ) -> None:
        """An event of another source has the id that this gave it, and is proved by that."""
        audit = make_audit(auto_export_path=tmp_path / "archive", signing_key=KEY)
        other = logger_provider.get_logger("other")
        for uid in ("another", event_id, "7b0c6a1e"):
            other.emit(
                LogRecord(
                    event_name="axon.memory.audit",
                    body={"operation": "STORE"},
                    attributes={"log.record.uid": uid},
                )
            )
        (event,) = (e for e in audit.query_events() if e.event_id == event_id)
        with pytest.raises(ArchiveError, match="not sealed yet"):
            prove(tmp_path / "archive", event_id)
        audit.close()
        proof = prove(tmp_path / "archive", event_id)
        assert proof["event"].encode() == event.to_json()
        assert ascii(event_id) in script.check(proof, PUBLIC)

    def test_unknown(self, trail: Trail, tmp_path: Path) -> None:
        """No such event; not an event id; no archive."""
        with pytest.raises(ArchiveError, match="no event 'evt_0"):
            prove(trail.path, "evt_" + "0" * 32)
        for other in ("evt_1", "", trail.events[0].event_id[:-1], f"{trail.events[0].event_id}0"):
            with pytest.raises(ArchiveError, match=f"no event '{other}'"):
                prove(trail.path, other)
        with pytest.raises(InvalidEventError, match="not an event id"):
            prove(trail.path, "no \udcff Unicode")
        with pytest.raises(ArchiveError, match="no such file"):
            prove(tmp_path / "nowhere", trail.events[0].event_id)

    async def test_no_checkpoints(self, make_audit: Make, tmp_path: Path) -> None:
        """An archive without a key; its checkpoints are not signed."""
        audit = make_audit(2, tmp_path, checkpoint_to=lambda note: None)
        event = await audit.log_event("STORE")
        await audit.log_event("STORE")
        assert (tmp_path / "default.checkpoint").exists()
        with pytest.raises(ArchiveError, match="no signed checkpoint"):
            prove(tmp_path, event.event_id)
        unsigned = (tmp_path / "default.checkpoint").read_text()
        with pytest.raises(ArchiveError, match="is not signed"):
            prove(tmp_path, event.event_id, unsigned)

    def test_an_older_checkpoint(self, trail: Trail) -> None:
        """One that was made before the event was sealed does not cover it."""
        with pytest.raises(ArchiveError, match="does not cover the event"):
            prove(trail.path, trail.events[19].event_id, trail.notes[0])

    def test_no_checkpoint_at_all(self, trail: Trail) -> None:
        """A given text that is not a checkpoint is refused."""
        with pytest.raises(InvalidEventError, match="not a checkpoint"):
            prove(trail.path, trail.events[0].event_id, "nonsense")

    def test_damaged(self, trail: Trail) -> None:
        """No proof is made of an archive that does not fit together."""
        event = trail.events[12]
        (file,) = [f for f in _sealed(trail) if event.event_id in f.read_text(encoding="utf-8")]
        content = file.read_bytes()
        file.write_bytes(content.replace(b'"entry-12"', b'"entry-21"'))
        with pytest.raises(ArchiveError, match="axon-audit verify"):
            prove(trail.path, event.event_id)
        file.unlink()
        with pytest.raises(ArchiveError, match="is missing"):
            prove(trail.path, event.event_id)
        file.write_bytes(content)
        manifest = trail.path / "default.manifest"
        manifest.write_bytes(manifest.read_bytes().replace(b'"events":5', b'"events":6', 1))
        with pytest.raises(ArchiveError, match="no signed checkpoint"):
            prove(trail.path, event.event_id)


def _sealed(trail: Trail) -> list[Path]:
    return list(trail.path.glob("audit_*.json"))


class TestScript:
    """``cli/data/verify_proof.py``, as a third party has it."""

    @pytest.fixture(name="proof")
    def _proof(self, trail: Trail) -> dict[str, Any]:
        """A proof of event 13, which is neither first nor last of anything."""
        return json.loads(json.dumps(prove(trail.path, trail.events[12].event_id)))

    def test_imports_nothing_of_ours(self) -> None:
        """The standard library and `cryptography`; and it has no more than 128 lines of code."""
        text = SCRIPT.read_text(encoding="utf-8")
        imported = set()
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Import):
                imported.update(name.name.partition(".")[0] for name in node.names)
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").partition(".")[0])
        assert imported - set(sys.stdlib_module_names) == {"cryptography"}
        docstrings = [
            range(node.lineno - 1, node.end_lineno or 0)
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        ]
        code = [
            line
            for number, line in enumerate(text.splitlines())
            if line and line[0] != "#" and not any(number in lines for lines in docstrings)
        ]
        assert 40 < len(code) <= 128

    def test_proved(self, proof: dict[str, Any], trail: Trail, tmp_path: Path) -> None:
        """Exit code 0, and one line that says what is proved; the key as text or as a file."""
        event = trail.events[12]
        file = written(proof, tmp_path)
        said = run(file, PUBLIC, code=0)
        assert said.startswith(f"PROVED: event '{event.event_id}' ('STORE', 'zo\\xeb', '")
        key = tmp_path / "auditor.pub"
        key.write_text(f"{PUBLIC}\n")
        assert run(file, key, code=0) == said

    def test_wrong_key(self, proof: dict[str, Any], tmp_path: Path) -> None:
        """Another key, of another name or the same; and what is none."""
        file = written(proof, tmp_path)
        assert "not signed by somebody" in run(file, new_key("somebody").verifying, code=1)
        assert "not signed by auditor" in run(file, new_key("auditor").verifying, code=1)
        other = str(VerifyingKey("auditor", new_key("auditor").verifying.public))
        stolen = f"auditor+{PUBLIC.split('+')[1]}+{other.split('+', 2)[2]}"
        assert "no Ed25519 key" in run(file, stolen, code=1)
        assert run(file, "nonsense", code=1).startswith("NOT PROVED: ")

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (lambda p: p.update(event=p["event"].replace("entry-12", "entry-21")), "the event is"),
            (lambda p: p.update(seal=p["seal"].replace('"events":5', '"events":5 ')), "the seal"),
            (lambda p: p["in_file"].update(index=1), "the event is not in the file"),
            (lambda p: p["in_file"].update(size=6), "not about a file of that many events"),
            (lambda p: p["in_file"].update(index=5), "outside"),
            (lambda p: p["in_file"].update(index=-1), "outside"),
            (lambda p: p["in_file"]["path"].pop(), "too short"),
            (lambda p: p["in_file"]["path"].append("00" * 32), "too long"),
            (lambda p: p["in_file"]["path"].reverse(), "the event is not in the file"),
            (lambda p: p["in_manifest"].update(index=1), "the seal is not in the trail"),
            (lambda p: p["in_manifest"].update(size=6), "of another size"),
            (lambda p: p["in_manifest"]["path"].pop(0), "too short"),
            (lambda p: p.update(checkpoint=p["checkpoint"].replace("\n5\n", "\n6\n")), "signed"),
            (lambda p: p.update(checkpoint=p["checkpoint"].split("\u2014")[0]), "not signed"),
            (lambda p: p.update(checkpoint=p["checkpoint"].upper()), "NOT PROVED"),
            (lambda p: p.update(checkpoint="nonsense"), "cannot be read"),
            (lambda p: p.pop("event"), "cannot be read"),
            (lambda p: p.update(in_file=None), "cannot be read"),
            (lambda p: p.update(in_file=[]), "cannot be read"),
        ],
    )
    def test_changed(
        self,
        proof: dict[str, Any],
        script: ModuleType,
        tmp_path: Path,
        change: Callable[[dict[str, Any]], object],
        reason: str,
    ) -> None:
        """Any part changed: it says why it is not proved."""
        change(proof)
        said = script.main(str(written(proof, tmp_path)), PUBLIC)
        assert said.startswith("NOT PROVED: ")
        assert reason in said

    def test_of_two_proofs(self, trail: Trail, script: ModuleType) -> None:
        """The event of one proof with the rest of another, from any file."""
        proofs = [prove(trail.path, event.event_id) for event in trail.events[:20:3]]
        for first in proofs:
            for second in proofs:
                if first is not second:
                    mixed = {**second, "event": first["event"]}
                    with pytest.raises(AssertionError, match="the event is not in"):
                        script.check(mixed, PUBLIC)

    def test_a_node_is_no_event(self, proof: dict[str, Any], script: ModuleType) -> None:
        """The hashes inside of the tree cannot be passed off as a line (RFC 6962's prefixes)."""
        node = proof["in_file"]["path"][0] + proof["in_file"]["path"][1]
        forged = {"index": 1, "size": 2, "path": proof["in_file"]["path"][2:]}
        with pytest.raises((AssertionError, ValueError)):
            script.check({**proof, "event": node, "in_file": forged}, PUBLIC)

    def test_what_it_prints_is_harmless(
        self, trail: Trail, script: ModuleType, tmp_path: Path
    ) -> None:
        """Nothing in a proof can steer the reader's terminal."""
        proof = prove(trail.path, trail.events[0].event_id)
        proof["checkpoint"] = "\x1b[2J\n\n\u2014 \x1b[2J AAAA"
        assert "\x1b" not in run(written(proof, tmp_path), PUBLIC, code=1)
        assert "\x1b" not in run(written(proof, tmp_path), "\x1b[2J", code=1)

    def test_nothing_to_read(self, tmp_path: Path) -> None:
        """A file that is missing or no JSON."""
        assert "cannot be read" in run(tmp_path / "nowhere", PUBLIC, code=1)
        file = tmp_path / "proof.json"
        file.write_text("[" * 100_000)
        assert "cannot be read" in run(file, PUBLIC, code=1)

    def test_usage(self) -> None:
        """Without arguments it explains itself, with another exit code."""
        done = subprocess.run([sys.executable, SCRIPT], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "python3 verify_proof.py PROOF KEY" in done.stdout


class TestCommand:
    """`axon-audit prove`."""

    def test_printed_and_written(self, cli: Cli, trail: Trail, tmp_path: Path) -> None:
        """A proof is equal on stdout and in a file, which is not overwritten."""
        event = trail.events[3].event_id
        printed = cli("prove", event, trail.path).stdout
        file = tmp_path / "proof.json"
        cli("prove", event, trail.path, "--output", file)
        assert json.loads(file.read_bytes()) == json.loads(printed) == prove(trail.path, event)
        assert run(file, PUBLIC, code=0).startswith("PROVED")
        assert "exists" in cli("prove", event, trail.path, "--output", file, code=1).stderr
        other = tmp_path / "other.json"
        said = cli("prove", event, trail.path, "--output", other, "--json").stdout
        assert json.loads(said) == {"path": str(other), "event_id": event}

    def test_given_checkpoint(self, cli: Cli, trail: Trail, tmp_path: Path) -> None:
        """`--checkpoint` names a file with the note to end in."""
        note = tmp_path / "note"
        note.write_text(trail.notes[1], encoding="utf-8")
        event = trail.events[3].event_id
        proof = json.loads(cli("prove", event, trail.path, "--checkpoint", note).stdout)
        assert proof["checkpoint"] == trail.notes[1]

    def test_errors(self, cli: Cli, trail: Trail) -> None:
        """One line, exit code 1, nothing on stdout."""
        for event, message in (
            (trail.events[22].event_id, "not sealed yet"),
            ("evt_" + "f" * 32, "no event 'evt_f"),
            ("nonsense", "no event 'nonsense'"),
        ):
            said = cli("prove", event, trail.path, code=1)
            assert said.stdout == ""
            assert message in said.stderr

    def test_script(self, cli: Cli) -> None:
        """`--script` prints the shipped program, byte for byte, and needs nothing else."""
        assert cli("prove", "--script").stdout == SCRIPT.read_text(encoding="utf-8")
