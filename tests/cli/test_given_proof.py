"""`axon-audit verify` checks a proof, too."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from conftest import Cli, Make

from axon_audit_otel.archive.checkpoints import new_key

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)


@pytest.fixture(name="proof")
def _proof(make_audit: Make, cli: Cli, tmp_path: Path) -> Path:
    audit = make_audit(5, tmp_path / "logs", signing_key=KEY)
    for _ in range(7):
        asyncio.run(audit.log_event("STORE", "alice"))
    event_id = audit.query_events()[0].event_id
    audit.close()
    cli("prove", event_id, tmp_path / "logs", "--output", tmp_path / "proof.json")
    return tmp_path / "proof.json"


def test_proved(cli: Cli, proof: Path) -> None:
    """By one of the keys that are given."""
    other = str(new_key("somebody").verifying)
    assert cli("verify", proof, "--key", PUBLIC).stdout.startswith("PROVED: event ")
    said = json.loads(cli("verify", proof, "--key", other, "--key", PUBLIC, "--json").stdout)
    assert (said["ok"], said["verdict"]) == (True, "ok")


def test_not_proved(cli: Cli, proof: Path) -> None:
    """By another key, or if it was changed; and never without a key."""
    other = str(new_key("auditor").verifying)
    assert "not signed" in cli("verify", proof, "--key", other, code=2).stdout
    assert "--key" in cli("verify", proof, code=2).stderr
    proof.write_text(proof.read_text("utf-8").replace("alice", "mallory"), "utf-8")
    assert "NOT PROVED" in cli("verify", proof, "--key", PUBLIC, code=2).stdout


def test_key_of_another(
    cli: Cli, proof: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that has the key's line as its name, where the command runs."""
    wanted = new_key("owner")
    while "/" in str(wanted.verifying):
        wanted = new_key("owner")
    (tmp_path / "owner.pub").write_text(str(wanted.verifying), "utf-8")
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / str(wanted.verifying)).write_text(PUBLIC, "utf-8")
    monkeypatch.chdir(tmp_path / "here")
    assert "not signed" in cli("verify", proof, "--key", tmp_path / "owner.pub", code=2).stdout


@pytest.mark.parametrize("name", ["logs", "default.journal", "audit_2025_01_15_103045.json"])
def test_in_the_place_of_an_archive(cli: Cli, proof: Path, tmp_path: Path, name: str) -> None:
    """Who can write to an archive puts a proof of one event in its place, or of one file."""
    place = tmp_path / "other" / name
    place.parent.mkdir()
    place.write_bytes(proof.read_bytes())
    said = cli("verify", place, "--key", PUBLIC, code=None)
    assert said.exit_code in (1, 2)
    assert "PROVED" not in said.stdout


@pytest.mark.parametrize(
    "asked",
    [
        ["--require-checkpoint"],
        ["--origin", "axon-audit/default/0123456789abcdef"],
        ["--checkpoint", "kept.checkpoint"],
        ["--full"],
    ],
)
def test_more_is_asked_for(cli: Cli, proof: Path, tmp_path: Path, asked: list[str]) -> None:
    """What a proof cannot answer is no success."""
    kept = tmp_path / "logs" / "default.checkpoint"
    asked = [str(kept) if one == "kept.checkpoint" else one for one in asked]
    assert "is a proof" in cli("verify", proof, "--key", PUBLIC, *asked, code=2).stderr


@pytest.mark.parametrize("content", ["{", "{}", '{"old": 1}', "[]", '{"events":[\n', ""])
def test_no_proof(cli: Cli, tmp_path: Path, content: str) -> None:
    """Other files are files of archives, or nothing."""
    (tmp_path / "some.json").write_text(content, "utf-8")
    said = cli("verify", tmp_path / "some.json", "--key", PUBLIC, code=None)
    assert said.exit_code == 2 or "PROVED" not in said.stdout
