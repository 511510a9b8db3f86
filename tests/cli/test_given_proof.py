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


@pytest.mark.parametrize("content", ["{", "{}", '{"old": 1}', "[]", '{"events":[\n', ""])
def test_no_proof(cli: Cli, tmp_path: Path, content: str) -> None:
    """Other files are files of archives, or nothing."""
    (tmp_path / "some.json").write_text(content, "utf-8")
    said = cli("verify", tmp_path / "some.json", "--key", PUBLIC, code=None)
    assert said.exit_code == 2 or "PROVED" not in said.stdout
