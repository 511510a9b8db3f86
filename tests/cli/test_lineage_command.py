"""The command ``axon-audit lineage``: a tree, JSON, and exit codes that say what was found."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, only

from axon_audit_otel import AuditLogger
from axon_audit_otel.archive.manifest import DeleteRecord, Manifest

ODD = "[red]x[/red]\x1b[31m\r\n\u202eé"
SPELT = "[red]x[/red]\\x1b[31m\\r\\n\\u202eé"
LATER = "2030-01-15T11:00:00.000000Z"
FIRST_EDITION = Path(__file__).parents[1] / "data" / "first_edition"


async def _record(audit: AuditLogger, **last: Any) -> None:
    log = audit.log_event
    await log("STORE", "alice", entry_ids=["a"], subjects=["alice"])
    await log("STORE", "bob", entry_ids=[ODD], subjects=["bob"])
    await log(
        "COMPACT",
        entry_ids=["a", ODD, "s"],
        subjects=["alice", "bob"],
        derived_from=["a", ODD],
        metadata={"deleted": 2, "summary_ids": ["s"]},
    )
    if last:
        await log(**last)


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    """A trail of a summary of two entries."""
    with AuditLogger(auto_export_path=tmp_path / "trail", name="lineage") as audit:
        asyncio.run(_record(audit))
    return tmp_path / "trail"


def forget(path: Path, *ids: str, **settings: Any) -> None:
    """Record a FORGET of entries in the trail at *path*."""
    with AuditLogger(auto_export_path=path, name="lineage", **settings) as audit:
        asyncio.run(audit.log_event("FORGET", "dpo", entry_ids=list(ids), metadata={"deleted": 1}))


def test_a_tree(cli: Cli, path: Path) -> None:
    """An entry is a line: owners, whether it lives, the events that made and deleted it."""
    lines = cli("lineage", "s", path).stdout.splitlines()
    assert lines[0].startswith("s, of alice, bob: lives; made by COMPACT 20")
    assert lines[0].endswith(", of 2 entries")
    assert lines[1:3] == ["", "made of:"]
    assert lines[3].startswith("  a, of alice: gone by COMPACT 20")
    assert "; made by STORE 20" in lines[3]
    assert lines[4].startswith(f"  {SPELT}, of bob: gone by COMPACT 20")
    assert lines[5:] == ["", "made into: nothing on record"]


def test_json(cli: Cli, path: Path) -> None:
    """`--json` is one object, as `AuditLogger.lineage` gives it, with ids as recorded."""
    said = json.loads(cli("lineage", ODD, path, "--json").stdout)
    assert [said["entry"]["entry_id"], said["entry"]["state"]] == [ODD, "gone"]
    (summary,) = said["descendants"]
    assert [summary["entry_id"], summary["sources"]] == ["s", ["a", ODD]]
    assert said["derived_remaining"] == []
    with AuditLogger(auto_export_path=path, name="lineage") as audit:
        found = audit.lineage(ODD, archived=True)
    assert found is not None
    assert found.to_dict() == said


@pytest.mark.parametrize("entry", ["a", "s"])
def test_a_forgotten_source(cli: Cli, path: Path, entry: str) -> None:
    """A living entry made of a forgotten one needs a person: exit code 1; once it is gone, none."""
    cli("lineage", entry, path)
    forget(path, "a")
    said = cli("lineage", entry, path, code=1).stdout
    assert "forgotten by FORGET" in said or "gone by FORGET" in said
    assert said.splitlines()[-1] == "1 entry lives, made of a forgotten one: s"
    assert json.loads(cli("lineage", entry, path, "--json", code=1).stdout)["derived_remaining"]
    forget(path, "s")
    assert "forgotten one:" not in cli("lineage", entry, path).stdout


def test_unknown(cli: Cli, path: Path) -> None:
    """An entry that no event names has no answer: exit code 2, and nothing is printed."""
    result = cli("lineage", "x\x1b", path, code=2)
    assert result.stdout == ""
    assert result.stderr == f"Error: no event in {str(path)!r} names the entry 'x\\x1b'\n"


@pytest.mark.parametrize("arguments", [(), ("s",), ("s", "nowhere"), ("s", "--keys", "nowhere")])
def test_wrong(cli: Cli, arguments: tuple[str, ...], path: Path) -> None:
    """What cannot be answered ends with 2, and says why."""
    if "--keys" in arguments:
        arguments = (*arguments, str(path))
    assert "Error: " in cli("lineage", *arguments, code=2).stderr


@pytest.mark.parametrize("entry", ["s", "x"])
def test_damaged(cli: Cli, path: Path, entry: str) -> None:
    """What the files lack is told once; the rest is shown, and the exit code is not 0."""
    forget(path, "nothing")
    file = max(path.glob("audit_*.json"))
    file.write_bytes(file.read_bytes()[:-300])
    result = cli("lineage", entry, path, code=1 if entry == "s" else 2)
    assert result.stderr.count(f"Error: cannot read {str(file)!r}") == 1
    assert ("made of:" in result.stdout) == (entry == "s")


def test_keys(cli: Cli, tmp_path: Path) -> None:
    """With the keys the owners are readable; without them it is told what is not known."""
    path, keys = tmp_path / "trail", tmp_path / "trail.keys"
    with AuditLogger(auto_export_path=path, erasable=True, name="lineage") as audit:
        asyncio.run(_record(audit))
    assert "s, of alice, bob: lives;" in cli("lineage", "s", path).stdout
    keys.rename(tmp_path / "elsewhere")
    shown = cli("lineage", "s", path, "--keys", tmp_path / "elsewhere").stdout
    assert "a, of alice: gone by COMPACT" in shown
    result = cli("lineage", "s", path, "--json")
    assert "no key opens the facts of" in result.stderr
    assert result.stderr.count("the keys (keyring") == 1
    assert json.loads(result.stdout)["entry"]["owners"][0].startswith("erasable:")


def test_more_sources_than_fit(cli: Cli, tmp_path: Path) -> None:
    """Where sources had no room in their event, that is told."""
    with AuditLogger(auto_export_path=tmp_path, name="lineage") as audit:
        many = [f"e{number}" for number in range(1_200)]
        asyncio.run(audit.log_event("STORE", entry_ids=["s"], derived_from=many))
    result = cli("lineage", "e7", tmp_path)
    assert "200 sources of derived entries had no room in their events" in result.stderr
    assert "\nmade into:\n  s, of" in result.stdout


@pytest.mark.parametrize("entry", ["s", "x"])
def test_after_retention(cli: Cli, path: Path, entry: str) -> None:
    """What retention has deleted is told: the lineage may have been in it."""
    file, manifest = only(path, "audit_*.json"), Manifest(only(path, "*.manifest"))
    sha256 = manifest.seals[file.name].sha256
    gone = DeleteRecord(file=file.name, sha256=sha256, reason="retention: 1d", deleted_at=LATER)
    manifest.add(gone)
    file.unlink()
    forget(path, "nothing")
    result = cli("lineage", entry, path, code=2)
    assert "deleted by retention: " in result.stderr


def test_one_file(cli: Cli, path: Path) -> None:
    """PATH may be one file."""
    (file,) = path.glob("audit_*.json")
    assert "a, of alice" in cli("lineage", "s", file).stdout


@pytest.mark.parametrize("name", ["plain", "signed", "compressed", "two_writers"])
def test_first_edition(cli: Cli, name: str) -> None:
    """An older archive tells of an entry as much as it knows: no relatives."""
    path = FIRST_EDITION / name / "logs"
    stored = cli("query", path, "--operation", "STORE", "--json", code=None).stdout
    entries = [key for line in stored.splitlines() for key in json.loads(line)["entry_ids"]]
    said = json.loads(cli("lineage", entries[0], path, "--json", code=None).stdout)
    assert [said["ancestors"], said["descendants"]] == [[], []]
    assert said["entry"]["made"]["operation"] == "STORE"


@pytest.mark.slow
@pytest.mark.parametrize("columns", [20, 80])
def test_a_terminal(path: Path, columns: int) -> None:
    """On a terminal, lines are wrapped between words; nothing is cut."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    command = [sys.executable, "-m", "axon_audit_otel", "lineage", "s", str(path)]
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "xterm"}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as run:
        os.close(slave)
        said = b""
        with suppress(OSError):  # Linux says so that the other end is closed
            while block := os.read(master, 4096):
                said += block
    os.close(master)
    assert run.returncode == 0
    lines = re.sub(r"\x1b\[\d*m", "", said.decode()).splitlines()
    if columns == 80:
        assert max(map(len, lines)) <= columns
    assert "of alice, bob: lives; made by COMPACT" in " ".join(" ".join(lines).split())


@pytest.mark.slow
@pytest.mark.parametrize("form", [[], ["--json"]])
def test_unwritable(path: Path, form: list[str]) -> None:
    """An answer that cannot be written has exit code 2: 1 would be an answer."""
    command = [sys.executable, "-m", "axon_audit_otel", "lineage", "s", str(path), *form]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 2
    assert b"No space left" in done.stderr
