"""The command `influence`: the blast radius of an entry, as text and as JSON, and exit codes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from conftest import Cli, Make, archived, only, retire, sealed_files

from axon_audit_otel import audit_context

HOSTILE = "[red]x[/red]\x1b[31m\r\n\u202ejosé"
WHO = {"user_id": "ann", "agent_id": "bot-7", "on_behalf_of": "dee", "purpose": "support"}


async def _recorded(logs: Path, make_audit: Make, **settings: object) -> None:
    """Mallory's entry ``bad``, two readings, an entry that carries it on, and a summary of that."""
    with make_audit(auto_export_path=logs, **settings) as audit:
        await audit.log_event("STORE", user_id="mallory", session_id="m", entry_ids=["bad"])
        await audit.log_event("STORE", user_id="bob", session_id="b", entry_ids=["good"])
        for _ in range(2):
            with audit_context(session_id="s1", **WHO):
                await audit.log_event("RECALL", entry_ids=["bad", "x"])
        await audit.log_event("STORE", user_id="ann", session_id="s1", entry_ids=["carried"])
        await audit.log_event("EXPORT", user_id="eve", session_id="s2", entry_ids=["carried"])
        await audit.log_event("STORE", user_id="eve", session_id="s2", entry_ids=["further"])


@pytest.fixture(name="logs")
async def _logs(make_audit: Make, tmp_path: Path) -> Path:
    await _recorded(tmp_path / "logs", make_audit)
    return tmp_path / "logs"


def test_text(cli: Cli, logs: Path) -> None:
    """A tree: each entry with its readings, and below it what came of it; and how much it is."""
    said = cli("influence", "bad", logs, code=1).stdout.splitlines()
    shown = [line.partition(", 20")[0] for line in said]
    assert shown == [
        "bad",
        "  read 2 times by ann (agent bot-7, for dee, support) in session s1",
        "  carried: stored after that in the same session, by ann",
        "    exported by eve in session s2",
        "    further: stored after that in the same session, by eve",
        "",
        "3 readings in 0 traces and 2 sessions",
        "2 other entries may carry on what bad said",
    ]


async def test_many_of_one_event(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """Entries of one event share a line, but for one from which something goes on."""
    with make_audit(auto_export_path=tmp_path / "logs") as audit, audit_context(session_id="s"):
        await audit.log_event("STORE", user_id="mallory", entry_ids=["bad"])
        await audit.log_event("RECALL", user_id="ann", entry_ids=["bad"])
        many = [f"e{number}" for number in range(10)]
        await audit.log_event("BULK_STORE", user_id="ann", entry_ids=many)
        with audit_context(session_id="t"):
            await audit.log_event("RECALL", user_id="eve", entry_ids=["e5"])
    said = cli("influence", "bad", tmp_path / "logs", code=1).stdout.splitlines()
    shown = [line.partition(", 20")[0] for line in said]
    assert shown[2:5] == [
        "  e0, e1, e2 and 6 more (--json): stored after that in the same session, by ann",
        "  e5: stored after that in the same session, by ann",
        "    read by eve in session t",
    ]


def test_json(cli: Cli, logs: Path) -> None:
    """One object, with the events, all ids as recorded."""
    said = json.loads(cli("influence", "bad", logs, "--json", code=1).stdout)
    assert (said["has_influence"], said["is_named"], said["is_whole"]) == (True, True, True)
    assert said["sessions"] == ["s1", "s2"]
    assert {name: said["readings"][0][name] for name in WHO} == WHO
    ids = {event.event_id: event.entry_ids for event in archived(logs)}
    for one in said["influenced"]:
        assert ids[one["event_id"]] == [one["entry_id"]]
    assert [(one["entry_id"], one["steps"]) for one in said["influenced"]] == [
        *(("carried", 1), ("further", 2)),
    ]


def test_nothing(cli: Cli, logs: Path) -> None:
    """An entry that nobody read has exit code 0."""
    said = cli("influence", "good", logs)
    assert said.stdout.splitlines()[-1] == "nobody read good, and nothing was made of it"
    assert json.loads(cli("influence", "good", logs, "--json").stdout)["has_influence"] is False


@pytest.mark.parametrize("entry", ["ba", "bad ", "", "\x1b[31m[red]ba\nd"])
def test_unknown(cli: Cli, logs: Path, entry: str) -> None:
    """A wrong id is not taken for an entry without influence."""
    said = cli("influence", entry, logs, code=2)
    assert said.stdout == ""
    assert "names an entry" in said.stderr
    assert "\x1b" not in said.stderr
    assert len(said.stderr.splitlines()) == 1
    said = cli("influence", "--json", "--", entry, logs, code=2)
    assert json.loads(said.stdout)["is_named"] is False


def test_period(cli: Cli, logs: Path) -> None:
    """Only what happened in the period counts; an entry from before it is no unknown one."""
    tomorrow = (datetime.now(timezone.utc) + timedelta(days=2)).date().isoformat()
    assert "nobody read bad" in cli("influence", "bad", logs, "--since", tomorrow).stdout
    assert "names an entry" in cli("influence", "ba", logs, "--since", tomorrow, code=2).stderr
    assert cli("influence", "bad", logs, "--since", "1h", code=1).stdout.startswith("bad\n")
    cli("influence", "bad", logs, "--since", "x", code=2)
    cli("influence", "bad", logs, "--since", "2025-02", "--until", "2025-01", code=2)


def test_no_archive(cli: Cli, tmp_path: Path) -> None:
    """Without an archive there is no answer: exit code 2, not 1."""
    said = cli("influence", "bad", tmp_path / "none", code=2)
    assert said.stderr.count("\n") == 1
    cli("influence", "bad", code=2)


def test_damaged(cli: Cli, logs: Path) -> None:
    """What of the archive cannot be read is said; nothing found in the rest is no answer."""
    (file,) = sealed_files(logs)
    content = file.read_bytes()
    for entry, code in (("bad", 1), ("good", 2)):
        at = content.index(b"further") if entry == "bad" else content.index(b'"EXPORT"')
        file.write_bytes(content[:at] + b"\0\xff" + content[at + 2 :])
        said = cli("influence", entry, logs, "--json", code=code)
        assert json.loads(said.stdout)["is_whole"] is False
        assert file.name in said.stderr
    assert "the answer is not whole" in cli("influence", "bad", logs, code=1).stdout


def test_deleted(cli: Cli, logs: Path) -> None:
    """That retention has deleted events is said."""
    retire(only(logs, "audit_*.json"))
    assert "deleted by retention" in cli("influence", "bad", logs, code=2).stderr


async def test_encrypted(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """With the keys, sessions are known; without, the answer says what it does not know."""
    logs, keys = tmp_path / "logs", tmp_path / "elsewhere"
    await _recorded(logs, make_audit, erasable=keys)
    said = json.loads(cli("influence", "bad", logs, "--keys", keys, "--json", code=1).stdout)
    assert len(said["influenced"]) == 2
    assert said["readings"][0]["user_id"] == "ann"
    without = cli("influence", "bad", logs, "--json", code=1)
    assert "personal data stays encrypted" in without.stderr
    said = json.loads(without.stdout)
    assert said["readings"][0]["user_id"].startswith("erasable:")
    assert (len(said["influenced"]), said["readings_without_place"]) == (0, 2)
    shown = cli("influence", "bad", logs, code=1).stdout
    assert "2 readings without trace or session: what was stored after that is not known" in shown


async def test_hashed(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """Hashed ids are shown as recorded, and sessions are still told apart."""
    await _recorded(tmp_path / "logs", make_audit, pseudonymize="s" * 32)
    said = cli("influence", "bad", tmp_path / "logs", code=1).stdout
    assert "by hmac-sha256:" in said
    assert "2 other entries may carry on" in said


@pytest.mark.parametrize("kind", ["plain", "compressed", "pseudonymized", "two_writers"])
def test_first_edition(cli: Cli, kind: str) -> None:
    """An archive of the first edition answers as well."""
    logs = Path(__file__).parents[1] / "data" / "first_edition" / kind / "logs"
    read = next(e for e in archived(logs) if e.operation == "RECALL" and e.entry_ids)
    said = json.loads(cli("influence", read.entry_ids[0], logs, "--json", code=1).stdout)
    assert read.event_id in {one["event_id"] for one in said["readings"]}


@pytest.fixture(name="hostile")
async def _hostile(make_audit: Make, tmp_path: Path) -> Path:
    """A long chain of entries, with long and hostile ids."""
    user = "customer-with-a-long-identifier-of-more-than-sixty-characters-0815"
    with make_audit(auto_export_path=tmp_path / "logs") as audit:
        key = "bad"
        for number in range(30):
            with audit_context(user_id=user, session_id=f"s{number}", purpose=HOSTILE):
                await audit.log_event("RECALL", entry_ids=[key])
                key = f"{HOSTILE}{number}"
                await audit.log_event("STORE", entry_ids=[key])
    return tmp_path / "logs"


def test_terminal(hostile: Path) -> None:
    """On a terminal every line fits, also of long and hostile ids, and nothing is cut."""
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "axon_audit_otel", "influence", "bad", str(hostile)]
    environment = {**os.environ, "COLUMNS": "80", "TERM": "xterm", "LC_ALL": "C.UTF-8"}
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        said = b""
        while chunk := _read(master):
            said += chunk
    assert process.returncode == 1
    lines = said.decode().split("\r\n")
    assert max(map(len, lines)) <= 80
    assert b"\x1b[31m" not in said
    assert b"\\x1b[31m" in said
    assert "30 other entries may carry on" in said.decode()


def _read(master: int) -> bytes:
    try:
        return os.read(master, 1 << 16)
    except OSError:  # the other side is closed
        return b""


@pytest.mark.slow
def test_unwritable(logs: Path) -> None:
    """An answer that cannot be written has exit code 2: 1 would be an answer."""
    command = [sys.executable, "-m", "axon_audit_otel", "influence", "good", str(logs)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"No space left" in done.stderr
