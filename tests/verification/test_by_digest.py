"""Files whose digest a given key proves need no proof of each line, where nothing can be missed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make
from every_way import by_digest, facts
from forgery import MANIFEST, lines_of, rewrite, write_manifest

from axon_audit_otel import AuditLogger, VerifyReport, verify
from axon_audit_otel.archive.checkpoints import Checkpoint, new_key
from axon_audit_otel.archive.cosignatures import Quorum
from axon_audit_otel.core.merkle import Tree, leaf_hash
from axon_audit_otel.events.model import encode_fields

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
FILES = 6


def record(audit: AuditLogger, events: int) -> None:
    for number in range(events):
        asyncio.run(
            audit.log_event("STORE", ("alice", "bob")[number % 2], entry_ids=[f"e{number}"])
        )


def archive_of(make_audit: Make, path: Path, **settings: Any) -> Path:
    """An archive of six sealed files of seven events each."""
    settings = {"signing_key": KEY, "name": "default", **settings}
    audit = make_audit(7, path, **settings)
    record(audit, 7 * FILES - 1)  # and the record of the start
    audit.close()
    return path


@pytest.fixture(name="archive")
def _archive(make_audit: Make, tmp_path: Path) -> Path:
    return archive_of(make_audit, tmp_path / "logs")


def sealed(archive: Path) -> list[Path]:
    """The sealed files, oldest first."""
    records = map(json.loads, lines_of(archive / MANIFEST))
    return [archive / record["file"] for record in records if record["kind"] == "seal"]


def full(archive: Path, *args: Any, **given: Any) -> VerifyReport:
    return verify(archive, *args, **given, full=True)


def sign(archive: Path) -> None:
    """Sign the manifest as it is, as who has the key can."""
    tree, lines = Tree(), lines_of(archive / MANIFEST)
    for line in lines:
        tree.add(leaf_hash(line[:-1]))
    seals = [found for line in lines if (found := json.loads(line))["kind"] == "seal"]
    newest, trail = seals[-1], json.loads(lines[0])["id"]
    state = newest["last_sequence"], newest["head"], "2025-01-15T11:00:00.000000Z"
    checkpoint = Checkpoint(f"axon-audit/default/{trail}", len(lines), tree.root(), *state)
    (archive / "default.checkpoint").write_text(KEY.sign(checkpoint.text()), "utf-8")
    (archive / "default.checkpoints").unlink(missing_ok=True)


class TestSound:
    """An archive that nobody touched."""

    def test_all(self, archive: Path) -> None:
        """All files are read by their digest, and the report is that of the lines."""
        report = verify(archive, [PUBLIC])
        assert (report.verdict, by_digest(report)) == ("ok", FILES)
        assert by_digest(full(archive, [PUBLIC])) == 0
        assert facts(full(archive, [PUBLIC])) == facts(report)

    def test_told(self, archive: Path, cli: Cli) -> None:
        """The command says so."""
        said = " ".join(cli("verify", archive, "--key", PUBLIC).stdout.split())
        assert "6 files checked by the digest that is signed, 0 line by line" in said
        assert "by the digest" not in cli("verify", archive, "--key", PUBLIC, "--full").stdout

    def test_progress(self, archive: Path) -> None:
        """Every byte is counted once."""
        read: list[int] = []
        verify(archive, [PUBLIC], progress=read.append)
        assert sum(read) == sum(file.stat().st_size for file in sealed(archive))

    @pytest.mark.parametrize(
        "settings",
        [
            {"compress": True},
            {"erasable": True},
            {"pseudonymize": "x" * 32},
            {"checkpoint_events": 3},
            {"checkpoint_events": 1},
        ],
    )
    def test_kinds(self, make_audit: Make, tmp_path: Path, settings: dict[str, Any]) -> None:
        """Also of archives that are compressed, encrypted, pseudonymized, checkpointed often."""
        archive = archive_of(make_audit, tmp_path / "logs", **settings)
        report = verify(archive, [PUBLIC])
        assert (report.verdict, by_digest(report)) == ("ok", FILES)
        assert facts(full(archive, [PUBLIC])) == facts(report)

    def test_lost_keys(self, make_audit: Make, tmp_path: Path) -> None:
        """Events that no key opens are counted as line by line."""
        archive = archive_of(make_audit, tmp_path / "logs", erasable=True)
        keys = tmp_path / "logs.keys"
        for path in [*keys.rglob("*")] if keys.is_dir() else [keys]:
            path.unlink() if path.is_file() else None
        report = verify(archive, [PUBLIC])
        assert by_digest(report) == FILES
        assert report.lost_keys is not None
        assert facts(full(archive, [PUBLIC])) == facts(report)


class TestOnlyWhereProved:
    """What no given key proves is proved line by line."""

    def test_no_key(self, archive: Path) -> None:
        assert by_digest(verify(archive)) == 0

    def test_another_key(self, archive: Path) -> None:
        assert by_digest(verify(archive, [str(new_key("auditor").verifying)])) == 0

    def test_one_file(self, archive: Path) -> None:
        assert by_digest(verify(sealed(archive)[2], [PUBLIC])) == 0

    def test_witness(self, archive: Path) -> None:
        """Who asks for witnesses does not trust who has the key."""
        from axon_audit_otel.archive.cosignatures import WitnessKey

        public = new_key("witness").verifying
        witness = WitnessKey(public.name, public.public)
        assert by_digest(verify(archive, [PUBLIC], quorum=Quorum((witness,), 1))) == 0

    def test_without_checkpoint(self, archive: Path) -> None:
        """A checkpoint that was kept elsewhere, without a key, says nothing about who signed it."""
        note = (archive / "default.checkpoint").read_text("utf-8")
        assert by_digest(verify(archive, checkpoints=[note])) == 0

    def test_after_the_checkpoint(self, archive: Path) -> None:
        """Seals after the newest signed checkpoint are not covered."""
        notes = (archive / "default.checkpoints").read_text("utf-8").split("axon-audit/")[1:]
        (archive / "default.checkpoint").unlink()
        (archive / "default.checkpoints").write_text(f"axon-audit/{notes[0]}", "utf-8")
        report = verify(archive, [PUBLIC])
        assert 0 < by_digest(report) < FILES
        assert facts(full(archive, [PUBLIC])) == facts(report)

    def test_without_start(
        self, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Without the record `start`, an edition may have written it that signed what it found."""
        monkeypatch.setenv("AXON_AUDIT_START_RECORD", "false")
        archive = archive_of(make_audit, tmp_path / "logs")
        assert by_digest(verify(archive, [PUBLIC])) == 0

    def test_forged_start(
        self, make_audit: Make, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who puts the record into a file that was signed without it changes that file alone."""
        start = lines_of(sealed(archive)[0])[1]
        monkeypatch.setenv("AXON_AUDIT_START_RECORD", "false")
        other = archive_of(make_audit, tmp_path / "other")
        file = sealed(other)[2]
        file.write_bytes(file.read_bytes().replace(b'"STORE"', b'"STORE" '))
        write_manifest(other / MANIFEST, [json.loads(line) for line in lines_of(other / MANIFEST)])
        sign(other)
        first = sealed(other)[0]
        lines = lines_of(first)
        first.write_bytes(b"".join([lines[0], start, *lines[2:]]))
        report = verify(other, [PUBLIC])
        assert {found.file for found in report.findings} == {first.name, file.name}
        assert by_digest(report) == 0
        assert facts(full(other, [PUBLIC])) == facts(report)

    def test_adopted(self, make_audit: Make, archive: Path) -> None:
        """A file with adopted events: somebody else may have written them."""
        lines = [json.loads(line) for line in lines_of(archive / MANIFEST)]
        seal = [line for line in lines if line["kind"] == "seal"][2]
        seal["adopted"] = seal["first_sequence"]
        write_manifest(archive / MANIFEST, lines)
        sign(archive)
        report = verify(archive, [PUBLIC])
        assert [found.kind for found in report.findings] == ["adopted"]
        assert by_digest(report) == FILES - 1
        assert facts(full(archive, [PUBLIC])) == facts(report)

    def test_first_edition(self, tmp_path: Path) -> None:
        data = Path(__file__).parents[1] / "data" / "first_edition" / "signed"
        shutil.copytree(data, tmp_path / "signed")
        key = (tmp_path / "signed" / "key.pub").read_text("utf-8").strip()
        assert by_digest(verify(tmp_path / "signed" / "logs", [key])) == 0


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _space(file: Path) -> None:
    file.write_bytes(file.read_bytes().replace(b'"STORE"', b' "STORE"', 1))


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-100])


def _more(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"x")


class TestDamage:
    """Of a damaged file the lines are read, which say what is damaged."""

    @pytest.mark.parametrize("damage", [_flip, _space, _cut, _more, os.unlink])
    @pytest.mark.parametrize("index", [0, 3, FILES - 1])
    def test_one_file(self, archive: Path, damage: Callable[[Path], None], index: int) -> None:
        damage(sealed(archive)[index])
        report = verify(archive, [PUBLIC])
        assert report.verdict == "damage"
        # Without the first file, no record `start` says which edition wrote the others.
        assert by_digest(report) == (FILES - 1 if index else 0)
        assert facts(full(archive, [PUBLIC])) == facts(report)

    def test_rewritten(self, archive: Path) -> None:
        """A history that was rewritten as a whole has no digest that is signed."""

        def blame_bob(event: dict[str, Any]) -> None:
            event["user_id"] = "bob"

        (archive / "default.journal").write_bytes(b'{"events":[\n')
        rewrite(archive, blame_bob)
        report = verify(archive, [PUBLIC])
        assert (report.verdict, by_digest(report)) == ("damage", 0)


def number_on(archive: Path, line: int) -> int:
    """The number of the event on a line of the third file."""
    return int(json.loads(lines_of(sealed(archive)[2])[line][1:])["sequence"])


class TestSigned:
    """What only who has the key can do wrong."""

    def _reseal(self, archive: Path, change: Callable[[bytes], bytes]) -> None:
        file = sealed(archive)[2]
        file.write_bytes(change(file.read_bytes()))
        write_manifest(archive / MANIFEST, [json.loads(of) for of in lines_of(archive / MANIFEST)])
        sign(archive)

    def test_full(self, archive: Path) -> None:
        """A file that is not what the rest of its seal says: only `full` finds it."""
        self._reseal(archive, lambda data: data.replace(b'"STORE"', b'"STORE" '))
        assert verify(archive, [PUBLIC]).verdict == "ok"
        assert full(archive, [PUBLIC]).verdict == "damage"

    def test_two_with_one_id(self, archive: Path) -> None:
        """Two events with one id are told in any case, in one file or in several."""
        events = [json.loads(line[1:]) for line in lines_of(sealed(archive)[2])[1:-1]]
        other = [json.loads(line[1:]) for line in lines_of(sealed(archive)[1])[1:-1]][4]
        ids = [event["event_id"].encode() for event in events]

        def change(data: bytes) -> bytes:
            return data.replace(ids[2], ids[1]).replace(ids[5], other["event_id"].encode())

        self._reseal(archive, change)
        report = verify(archive, [PUBLIC])
        assert by_digest(report) == FILES
        found = [(one.kind, one.sequence) for one in report.findings]
        assert found == [("inserted", number_on(archive, line)) for line in (3, 6)]

    @pytest.mark.parametrize("given", ["ours", "zoë", "evt_" + "0" * 32, 'a "quote"'])
    def test_ids_of_others(self, archive: Path, given: str) -> None:
        """Ids of other programs are looked at as well."""
        encoded = encode_fields({"id": given})[7:-2]
        event = json.loads(lines_of(sealed(archive)[2])[2][1:])["event_id"].encode()
        late = json.loads(lines_of(sealed(archive)[2])[5][1:])["event_id"].encode()
        self._reseal(archive, lambda data: data.replace(event, encoded).replace(late, encoded))
        report = verify(archive, [PUBLIC])
        assert by_digest(report) == FILES
        found = [(one.kind, one.sequence) for one in report.findings]
        assert found == [("inserted", number_on(archive, 5))]

    def test_steps_back(self, archive: Path) -> None:
        """Places where time runs backwards are told, inside a file and between files."""
        lines = lines_of(sealed(archive)[2])[1:-1]
        times = [json.loads(line[1:])["timestamp"].encode() for line in lines]

        def change(data: bytes) -> bytes:
            return data.replace(times[0], b"2020" + times[0][4:]).replace(
                times[4], b"2021" + times[4][4:]
            )

        self._reseal(archive, change)
        report = verify(archive, [PUBLIC])
        assert by_digest(report) == FILES
        steps = [step.sequence for step in report.writers[0].steps_back]
        assert steps == [step.sequence for step in full(archive, [PUBLIC]).writers[0].steps_back]
        assert steps == [number_on(archive, 1), number_on(archive, 5)]
