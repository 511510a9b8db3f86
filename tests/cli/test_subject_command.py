"""`axon-audit subject`: exit code 0, it is whole; 1, a person must look; 2, there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make
from month import archive

from axon_audit_otel import AuditLogger

PROGRAM = (sys.executable, "-m", "axon_audit_otel")


@pytest.fixture(name="path")
async def _path(make_audit: Make, tmp_path: Path) -> Path:
    """An archive of ann's and bob's data."""
    path = tmp_path / "archive"
    audit: AuditLogger = make_audit(auto_export_path=path)
    for user in ("ann", "bob"):
        await audit.log_event("STORE", user_id=user, entry_ids=[f"{user}-1"])
        await audit.log_event("RECALL", user_id="desk", subject_id=user, entry_ids=[f"{user}-1"])
    audit.close()
    return path


@pytest.mark.parametrize(
    ("name", "options", "begins"),
    [
        ("ann.html", (), "<!DOCTYPE html>"),
        ("ann.json", (), '{\n  "format": "axon-audit dossier 1"'),
        ("ann.csv", (), "part,time,operation"),
        ("ann", (), "<!DOCTYPE html>"),
        ("ann.txt", ("--format", "csv"), "part,time,operation"),
    ],
)
def test_formats(
    cli: Cli, path: Path, tmp_path: Path, name: str, options: tuple[str, ...], begins: str
) -> None:
    """By the ending of the file, or as it is asked for; readable by its owner only."""
    out = tmp_path / "new" / name
    done = cli("subject", "ann", path, "--output", out, *options)
    assert "dossier of ann, of 2 events, written to" in done.stdout
    assert done.stderr == ""
    assert out.read_text(encoding="utf-8").startswith(begins)
    assert out.stat().st_mode & 0o77 == 0


def test_printed(cli: Cli, path: Path) -> None:
    """The name - prints it, and nothing else."""
    made = json.loads(cli("subject", "ann", path, "--output", "-", "--format", "json").stdout)
    assert made["person"]["id"] == "ann"


def test_told_to_a_program(cli: Cli, path: Path, tmp_path: Path) -> None:
    """With --json, what was written; beside a dossier that is printed, on standard error."""
    out = tmp_path / "ann.csv"
    told = json.loads(cli("subject", "ann", path, "--output", out, "--json").stdout)
    assert (told["path"], told["format"], told["needs_a_person"]) == (str(out), "csv", [])
    assert told["numbers"]["consultations"] == 1
    done = cli("subject", "ann", path, "--output", "-", "--format", "json", "--json")
    assert json.loads(done.stderr)["person"] == json.loads(done.stdout)["person"]


def test_times(cli: Cli, path: Path) -> None:
    """Shown as the clock of a zone shows them, which is named; UTC in JSON."""
    arguments = ("subject", "ann", path, "--output", "-", "--timezone", "Asia/Kathmandu")
    assert "+05:45" in cli(*arguments, "--format", "csv").stdout
    assert "Asia/Kathmandu" in cli(*arguments).stdout
    assert "+05:45" not in cli(*arguments, "--format", "json").stdout
    assert "not a time zone" in cli(*arguments[:-1], "Mars/Base", code=2).stderr


def test_months_in_json_are_utc(cli: Cli, tmp_path: Path) -> None:
    """As its times are, wherever it is made."""
    path = archive(tmp_path / "edge", ["2025-10-31T23:30:00"], key=None)
    arguments = ("subject", "alice", path, "--output", "-", "--format", "json")
    made = json.loads(cli(*arguments, "--timezone", "Asia/Tokyo").stdout)
    assert made["entries"][0]["since"] == "2025-10-31T23:30:00.000000Z"
    assert [one["month"] for one in made["summary"]["by_month"]] == ["2025-10"]


def test_unknown_person(cli: Cli, path: Path) -> None:
    """Nothing on record is an answer."""
    done = cli("subject", "nobody", path, "--output", "-")
    assert "nothing that could be read is on record" in done.stderr
    assert "Nothing is on record about you" in done.stdout


def test_needs_a_person(cli: Cli, path: Path, tmp_path: Path) -> None:
    """What could not be known is on standard error; the dossier is there, and says it too."""
    (sealed,) = path.glob("audit_*.json")
    sealed.unlink()
    done = cli("subject", "ann", path, "--output", tmp_path / "ann.html", code=1)
    assert "needs a person: The trail is not as it was recorded" in " ".join(done.stderr.split())
    assert "not complete" in (tmp_path / "ann.html").read_text()


def test_refused(cli: Cli, path: Path, tmp_path: Path) -> None:
    """No file is replaced unasked, and none is written into the archive or beside its keys."""
    out = tmp_path / "ann.html"
    out.write_text("mine")
    assert "--force" in cli("subject", "ann", path, "--output", out, code=2).stderr
    assert out.read_text() == "mine"
    cli("subject", "ann", path, "--output", out, "--force")
    assert out.read_text() != "mine"
    link = tmp_path / "link"
    link.symlink_to(path)
    for place in (path / "ann.html", link / "ann.html", tmp_path / "archive.keys" / "ann.html"):
        assert "inside" in cli("subject", "ann", path, "--output", place, code=2).stderr
        assert not place.exists()
    for arguments in (("ann", tmp_path / "nothing"), ("ann", out), ("", path)):
        cli("subject", *arguments, "--output", tmp_path / "new.html", code=2)
        assert not (tmp_path / "new.html").exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["html", "json", "csv"])
@pytest.mark.parametrize("where", [">/dev/full", ">&-"])
def test_full(path: Path, form: str, where: str) -> None:
    """What cannot be printed is no dossier."""
    command = (*PROGRAM, "subject", "ann", path, "--output", "-", "--format", form)
    done = subprocess.run(["sh", "-c", f'"$@" {where}', "sh", *map(str, command)], check=False)
    assert done.returncode == 2


_LIMITED = """
import resource, runpy, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
room = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))
runpy.run_module("axon_audit_otel", run_name="__main__")
"""


def _limited(room: int, *arguments: object) -> str:
    """What the command says that may write files of *room* bytes only; it ends with 2."""
    command: list[Any] = [sys.executable, "-c", _LIMITED, room, "subject", *arguments]
    done = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    assert done.returncode == 2, done.stderr
    return done.stderr.decode()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["html", "json", "csv"])
def test_no_room(path: Path, tmp_path: Path, form: str) -> None:
    """Where there is no room for the file, it is not there, and an older one is as it was."""
    out = tmp_path / "place" / f"ann.{form}"
    out.parent.mkdir()
    out.write_text("older")
    done = _limited(2_000, "ann", path, "--force", "--output", out)
    assert "cannot write" in done
    assert [each.name for each in out.parent.iterdir()] == [out.name]
    assert out.read_text() == "older"


@pytest.mark.slow
async def test_no_room_for_rows(make_audit: Make, tmp_path: Path) -> None:
    """Nor is there a file where the rows have no room meanwhile; that is no damage."""
    path, out = tmp_path / "archive", tmp_path / "ann.html"
    audit = make_audit(auto_export_path=path)
    for number in range(100):
        await audit.log_event("STORE", user_id="ann", entry_ids=[f"a{number}"])
    audit.close()
    assert "File too large" in _limited(9_000, "ann", path, "--output", out)
    assert not out.exists()
