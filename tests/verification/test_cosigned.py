"""`verify` with witnesses: up to where enough of them have cosigned a trail."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import Cli, Make
from cosigner import Cosigner
from every_way import verify

from axon_audit_otel import AuditConfigError
from axon_audit_otel.archive.checkpoints import Checkpoint, new_key
from axon_audit_otel.archive.cosignatures import Quorum, WitnessKey

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)


@pytest.fixture(name="cosigners")
def _cosigners() -> Iterator[list[Cosigner]]:
    """Three witnesses."""
    found = [Cosigner(f"witness.example/w{number}") for number in (1, 2, 3)]
    yield found
    for one in found:
        one.close()


@pytest.fixture(name="archive")
async def _archive(make_audit: Make, tmp_path: Path, cosigners: list[Cosigner]) -> Path:
    """Four events that all three witnesses cosigned, four that only the first did, and two that
    none did."""
    lines = [one.line for one in cosigners]
    logs = tmp_path / "logs"
    audit = make_audit(100, logs, signing_key=KEY, witnesses=lines, start_record=False)
    for last in (4, 8, 10):
        while len(audit.query_events()) < last:
            await audit.log_event("STORE", "zoë")
        if last == 8:
            for one in cosigners[1:]:
                one.answer = lambda body: (403, "")
        if last == 10:
            cosigners[0].answer = lambda body: (403, "")
        audit.trail.seal()
        audit.trail.end()  # waits for the witnesses
    audit.close()
    return logs


def quorum(cosigners: list[Cosigner], needed: int) -> Quorum:
    return Quorum(tuple(WitnessKey.parse(one.public) for one in cosigners), needed)


class TestReport:
    @pytest.mark.parametrize(("needed", "until"), [(1, 8), (2, 4), (3, 4)])
    def test_until(self, archive: Path, cosigners: list[Cosigner], needed: int, until: int) -> None:
        """The newest checkpoint that enough of them cosigned, who did, and when."""
        report = verify(archive, [PUBLIC], quorum=quorum(cosigners, needed))
        (writer,) = report.writers
        assert report.verdict == "ok"
        assert (writer.cosigned_until, writer.proved_until) == (until, 10)
        by = {one.name for one in (cosigners if until == 4 else cosigners[:1])}
        assert set(writer.cosigned_by) == by
        assert writer.cosigned_at is not None
        assert abs(datetime.now(timezone.utc) - writer.cosigned_at) < timedelta(minutes=5)

    def test_not_enough(self, archive: Path, cosigners: list[Cosigner]) -> None:
        """A witness that cosigned nothing, alone or with others."""
        stranger = Cosigner("witness.example/w1")  # of the same name, with another key
        stranger.close()
        for some in ([stranger], [stranger, *cosigners[1:]]):
            report = verify(archive, [PUBLIC], quorum=quorum(some, len(some)))
            assert report.ok
            assert report.verdict == "not proved"
            assert len(report.unproved) == 1
            assert report.writers[0].cosigned_until is None

    def test_without_the_key(self, archive: Path, cosigners: list[Cosigner]) -> None:
        """Cosignatures prove without the trail's key too: nobody else could make them."""
        assert verify(archive).writers[0].proved_until is None
        report = verify(archive, quorum=quorum(cosigners, 2))
        assert report.writers[0].proved_until == 4

    async def test_another_history(
        self, archive: Path, cosigners: list[Cosigner], tmp_path: Path, make_audit: Make
    ) -> None:
        """A history that was rewritten as a whole, by who has the key, with the cosignatures of
        the true one beside it, or in the auditor's hands."""
        (archive / "default.cosigned").rename(tmp_path / "kept")
        (tmp_path / "other").mkdir()
        kept = (tmp_path / "kept").read_text()
        report = verify(archive, [PUBLIC], [kept], quorum=quorum(cosigners, 3))
        assert report.verdict == "ok"
        shutil.rmtree(archive)
        audit = make_audit(2, archive, signing_key=KEY, name="default", start_record=False)
        for _ in range(10):
            await audit.log_event("STORE", "eve")
        audit.close()
        for given in ([], [kept]):
            report = verify(archive, [PUBLIC], given, quorum=quorum(cosigners, 1))
            assert report.verdict == ("damage" if given else "not proved")
            assert report.writers[0].cosigned_until is None

    def test_cut_off(self, archive: Path, cosigners: list[Cosigner]) -> None:
        """A cosigned tail that is cut off is damage, as with any checkpoint."""
        for file in archive.glob("default.checkpoint*"):
            file.unlink()
        newest = max(archive.glob("audit_*.json"))
        manifest = archive / "default.manifest"
        lines = manifest.read_bytes().splitlines(keepends=True)
        for name in sorted(archive.glob("audit_*.json"))[1:]:
            name.unlink()
        assert not newest.exists()
        manifest.write_bytes(b"".join(lines[:2]))
        assert not verify(archive, [PUBLIC], quorum=quorum(cosigners, 1)).ok
        assert not verify(archive, [PUBLIC]).ok

    async def test_a_tail_that_no_line_states(
        self, archive: Path, cosigners: list[Cosigner], make_audit: Make
    ) -> None:
        """Who has the key can have two tails cosigned over one tree, if no line of the manifest
        states them: they do not count as cosigned."""
        audit = make_audit(100, archive, name="default", start_record=False)
        event = await audit.log_event("STORE", "zoë")
        known = Checkpoint.parse((archive / "default.checkpoint").read_text())
        text = replace(known, events=11, head=event.hash).text()
        note = KEY.sign(text) + cosigners[0].cosignature(text)
        report = verify(archive, [PUBLIC], [note], quorum=quorum(cosigners, 1))
        assert report.ok
        assert report.writers[0].proved_until == 11
        assert report.writers[0].cosigned_until == 10

    def test_time_of_a_cosignature(self, archive: Path, cosigners: list[Cosigner]) -> None:
        """Of several cosignatures of one state the newest time counts, by which enough had
        signed; a time that was changed is none."""
        file = archive / "default.cosigned"
        note = "axon-audit/" + file.read_text().split("axon-audit/")[1]
        text, _, signatures = note.partition("\n\n")
        newer = replace(Checkpoint.parse(note), time="2031-01-01T00:00:00.000000Z").text()
        signed = KEY.sign(newer)
        for moment, one in ((1_900_000_001, cosigners[0]), (1_900_000_002, cosigners[1])):
            signed += one.cosignature(newer, moment)
        forged = cosigners[2].cosignature(newer, 1_900_000_003)
        head, _, data = forged.rstrip("\n").rpartition(" ")
        signed += f"{head} {data[:8]}B{data[9:]}\n"
        file.write_text(f"{text}\n\n{signatures}{signed}")
        report = verify(archive, [PUBLIC], quorum=quorum(cosigners, 2))
        moment_at = report.writers[0].cosigned_at
        assert moment_at is not None
        assert moment_at.timestamp() == 1_900_000_001
        report = verify(archive, [PUBLIC], quorum=quorum(cosigners, 3))
        moment_at = report.writers[0].cosigned_at
        assert moment_at is not None
        assert moment_at.timestamp() < 1_900_000_000


class TestQuorum:
    @pytest.mark.parametrize("needed", [0, -1, 4])
    def test_that_cannot_be(self, cosigners: list[Cosigner], needed: int) -> None:
        """None of some, or more than there are."""
        with pytest.raises(AuditConfigError, match="there are 3 witnesses"):
            quorum(cosigners, needed)

    def test_one_key_twice(self, cosigners: list[Cosigner]) -> None:
        """Under two names a key is still one witness."""
        first = cosigners[0].public
        cosigners[0].name = "another"
        keys = WitnessKey.parse(first), WitnessKey.parse(cosigners[0].public)
        with pytest.raises(AuditConfigError, match="the same key"):
            Quorum(keys, 2)


class TestCommand:
    def test_shown(
        self, cli: Cli, archive: Path, cosigners: list[Cosigner], tmp_path: Path
    ) -> None:
        """The newest cosigned checkpoint, and what lies beyond; exit code 2 if there is none."""
        file = tmp_path / "witnesses"
        file.write_text("".join(f"{one.line}\n" for one in cosigners[:2]) + "# a comment\n")
        args = "verify", archive, "--key", PUBLIC
        said = cli(*args, "--witness", file).stdout
        assert "cosigned up to event 4, by witness.example/w1, witness.example/w2" in said
        assert "events 5 to 10: not cosigned" in said
        said = cli(*args, "--witness", file, "--witness-quorum", 1).stdout
        assert "cosigned up to event 8, by witness.example/w1, at" in said
        stranger = Cosigner("stranger")
        stranger.close()
        both = "--witness", cosigners[0].public, "--witness", stranger.public
        done = cli(*args, *both, code=2)
        assert "no checkpoint of default is cosigned by 2 of witness.example/w1, stranger" in (
            " ".join(done.stdout.split())
        )
        told = json.loads(cli(*args, *both, "--json", code=2).stdout)
        assert told["writers"][0]["cosigned_until"] is None
        assert told["quorum"] == "2 of witness.example/w1, stranger"

    def test_usage(self, cli: Cli, archive: Path, cosigners: list[Cosigner]) -> None:
        """A key of another kind, a quorum that cannot be."""
        witness = "--witness", cosigners[0].public
        for args, words in (
            (("--witness", PUBLIC), "no Ed25519 key of a witness"),
            (("--witness-quorum", 1), "there are 0 witnesses"),
            ((*witness, "--witness-quorum", 2), "there are 1 witnesses"),
            ((*witness, *witness), "the same key"),
            ((*witness, "--otlp-json"), "are for archives"),
        ):
            assert words in " ".join(cli("verify", archive, *args, code=2).stderr.split())
