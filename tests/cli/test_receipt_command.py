"""`axon-audit receipt`: exit code 0, nothing remains; 1, a person must look; 2, there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from axon import Filter
from conftest import Cli, Make, MakeSystem
from proof_script import load

from axon_audit_otel import AuditLogger, audit_context
from axon_audit_otel.archive.checkpoints import new_key

KEY = new_key("auditor")


class Desk:
    """An archive with erasures, and the command."""

    def __init__(self, cli: Cli, audit: AuditLogger, path: Path, key: Path) -> None:
        self._cli = cli
        self._key = key
        self.audit = audit
        self.path = path
        self.erased = self.kept = ""

    def __call__(self, event: str, *options: object, code: int, signed: bool = True) -> str:
        key = ("--signing-key", self._key) if signed else ()
        done = self._cli("receipt", event, self.path, *key, *options, code=code)
        self.said = " ".join(done.stderr.split())
        return done.stdout


@pytest.fixture(name="desk")
async def _desk(cli: Cli, make_audit: Make, make_system: MakeSystem, tmp_path: Path) -> Desk:
    key = tmp_path / "auditor.key"
    key.write_text(f"{KEY.line()}\n")
    key.chmod(0o600)
    path = tmp_path / "archive"
    audit = make_audit(auto_export_path=path, signing_key=KEY, erasable=True)
    desk = Desk(cli, audit, path, key)
    memory = make_system(audit_logger=audit)
    for user in ("bob", "alice", "carol"):
        await memory.store("tea", user_id=user)
    with audit_context(user_id="officer"):
        await memory.forget(filter=Filter(user_id="bob"))
    desk.erased = audit.query_events(operation="FORGET")[0].event_id
    await memory.export()
    await memory.forget(everything=True)
    desk.kept = audit.query_events(operation="FORGET")[0].event_id
    audit.close()
    return desk


def test_json(desk: Desk) -> None:
    """One object, which the script verifies, and the same as `AuditLogger.receipt` makes."""
    receipt = json.loads(desk(desk.erased, "--json", code=0))
    assert load().check(receipt, str(KEY.verifying))
    assert receipt["proof"] == desk.audit.receipt(desk.erased)["proof"]
    assert "officer" not in json.dumps(receipt)
    assert desk.said == ""


def test_text(desk: Desk) -> None:
    """In 80 columns; with --decrypt it says who asked, with --subject whom it is for."""
    text = desk(desk.erased, "--subject", "bob", "--decrypt", code=0)
    assert max(map(len, text.splitlines())) <= 80
    assert "for bob on" in text
    assert "It was done by officer." in text


def test_something_to_do(desk: Desk) -> None:
    """What needs a person is named on standard error."""
    desk(desk.kept, code=1)
    assert desk.said.endswith("needs a person: exports")
    desk(desk.erased, code=1, signed=False)
    assert desk.said == "needs a person: not signed"


def test_page(desk: Desk, tmp_path: Path) -> None:
    """A new file, never one that exists; with --json both."""
    page = tmp_path / "receipt.html"
    assert desk(desk.erased, "--html", page, code=0).startswith("receipt written to ")
    assert "<h1>Receipt of an erasure</h1>" in page.read_text()
    desk(desk.erased, "--html", page, code=2)
    assert "exists" in desk.said
    other = tmp_path / "other.html"
    assert json.loads(desk(desk.erased, "--html", other, "--json", code=0))
    assert other.exists()
    (tmp_path / "file").touch()
    assert desk(desk.erased, "--html", tmp_path / "file" / "page.html", code=2) == ""


@pytest.mark.parametrize("event", ["evt_1", "", "evt_" + "0" * 32])
def test_no_such_event(desk: Desk, event: str) -> None:
    assert desk(event, code=2) == ""
    assert desk.said.startswith("Error: no event")


def test_not_made(desk: Desk, cli: Cli, tmp_path: Path) -> None:
    """Another operation, another person, another key, no archive, no argument."""
    (event,) = desk.audit.query_events(operation="EXPORT")
    desk(event.event_id, code=2)
    assert "operation 'EXPORT'" in desk.said
    desk(desk.erased, "--subject", "alice", code=2)
    assert "is not about 'alice'" in desk.said
    other = tmp_path / "other.key"
    other.write_text(f"{new_key('somebody').line()}\n")
    other.chmod(0o600)
    desk(desk.erased, "--signing-key", other, code=2)
    assert "'somebody' did not sign" in desk.said
    cli("receipt", desk.erased, tmp_path / "nowhere", code=2)
    cli("receipt", desk.erased, code=2)


def test_without_keys(desk: Desk) -> None:
    """What is encrypted then is said to be unknown."""
    keys = desk.path.with_name("archive.keys")
    keys.rename(desk.path.with_name("elsewhere"))
    desk(desk.erased, code=1)
    assert "facts unreadable" in desk.said
    desk(desk.erased, "--keys", desk.path.with_name("elsewhere"), code=0)


def test_several_persons(desk: Desk) -> None:
    """Whoever makes a receipt that names several persons is told to look whom to give it to."""
    desk(desk.kept, code=1)
    assert desk.said.startswith("this receipt names 2 persons, as its proof does")
    desk(desk.erased, code=0)
    assert desk.said == ""


@pytest.mark.slow
@pytest.mark.parametrize("where", [">/dev/full", ">&-", "--json >/dev/full"])
def test_an_answer_that_cannot_be_written(desk: Desk, where: str) -> None:
    """Exit code 2: a receipt that nobody got is none."""
    line = f"{sys.executable} -m axon_audit_otel receipt {desk.erased} {desk.path} {where}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ")
