"""``axon-audit export`` in the formats for SIEMs."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from conftest import Cli, Make, archived
from siem_events import cef_fields, ocsf_faults, one_line

from axon_audit_otel.cli.main import main

FORMATS = ("ocsf", "ecs", "cef")
DATA = Path(__file__).resolve().parent.parent / "data" / "first_edition"


@pytest.fixture(name="demo", scope="module")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the demo."""
    directory = tmp_path_factory.mktemp("demo") / "archive"
    assert CliRunner().invoke(main, ["demo", "--output", str(directory), "--json"]).exit_code == 0
    return directory


def read(line: bytes, form: str) -> dict[str, Any]:
    """The id, the number and the hash that a line tells of, which is valid, and who acted."""
    if form == "cef":
        _, made = cef_fields(line)
        keys: tuple[str, ...] = (
            "externalId",
            "cn1",
            "cs6",
            "suser",
            "dvchost",
            "sourceServiceName",
        )
        values: list[Any] = list(map(made.get, keys))
        values[1] = int(values[1])
    elif form == "ecs":
        made = json.loads(one_line(line))
        user = made.get("user", {})
        values = [made["event"][name] for name in ("id", "sequence", "hash")]
        values += [user.get("id") or user.get("hash"), made.get("host", {}).get("hostname")]
        values.append(made["service"]["name"])
    else:
        made = json.loads(one_line(line))
        assert ocsf_faults(made) == []
        values = [made["metadata"]["uid"], made["metadata"]["sequence"], made["unmapped"]["hash"]]
        values += [made["actor"].get("user", {}).get("uid"), made["src_endpoint"].get("hostname")]
        values.append(made["src_endpoint"]["svc_name"])
    return dict(zip(("id", "number", "hash", "user", "host", "service"), values))


def exported(cli: Cli, path: Path, form: str, *options: str, **environment: str) -> list[Any]:
    """What an export tells of each event."""
    out = cli("export", path, "-", "--format", form, *options, **environment).stdout
    return [read(line, form) for line in out.encode().splitlines(keepends=True)]


@pytest.mark.parametrize("form", FORMATS)
def test_the_demo(demo: Path, cli: Cli, form: str) -> None:
    """Every event of the archive, oldest first, with hash, host and no gap in its numbers."""
    told = exported(cli, demo, form)
    events = {event.event_id: event for event in archived(demo)}
    assert len(told) == len(events) + 1 > 90  # and the record `start`
    numbers = [one["number"] for one in told]
    assert sorted(numbers) == list(range(1, len(told) + 1))
    assert {one["host"] for one in told} == {os.uname().nodename}
    assert {one["service"] for one in told} == {"demo"}
    for one in told[1:]:
        assert (one["hash"], one["user"]) == (events[one["id"]].hash, events[one["id"]].user_id)


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("archive", sorted(path.name for path in DATA.iterdir() if path.is_dir()))
def test_archives_of_the_first_edition(cli: Cli, form: str, archive: str, tmp_path: Path) -> None:
    """They are told as they were recorded, with the hash of what was recorded."""
    logs = DATA / archive / "logs"
    out = cli("export", logs, "-", "--format", form, code=None).stdout.encode()
    told = [read(line, form) for line in out.splitlines(keepends=True)]
    events = {event.event_id: event for event in archived(logs)}
    assert {one["id"]: one["hash"] for one in told} == {
        name: event.hash for name, event in events.items()
    }
    assert {one["user"] for one in told} == {event.user_id for event in events.values()}


@pytest.mark.parametrize("form", FORMATS)
async def test_personal_data_is_told_as_recorded(
    make_audit: Make, cli: Cli, tmp_path: Path, form: str
) -> None:
    """Decrypted on request only; the hash is always that of what was recorded."""
    with make_audit(auto_export_path=tmp_path / "logs", erasable=True) as audit:
        await audit.log_event("STORE", user_id="alice", metadata={"note": "tea"})
    (recorded,) = archived(tmp_path / "logs")
    (plain,) = exported(cli, tmp_path / "logs", form, "--user", "alice")
    (shown,) = exported(cli, tmp_path / "logs", form, "--user", "alice", "--decrypt")
    assert plain["user"].startswith("erasable:")
    assert shown["user"] == "alice"
    assert plain["hash"] == shown["hash"] == recorded.hash
    assert exported(cli, tmp_path / "logs", form, "--user", "bob") == []


@pytest.mark.parametrize("form", FORMATS)
def test_filters_and_limits(demo: Path, cli: Cli, form: str) -> None:
    """They are those of all formats; the host is known though the record of it is filtered out."""
    told = exported(cli, demo, form, "--user", "alice", "--operation", "STORE", "--limit", "3")
    wanted = [e for e in archived(demo) if (e.user_id, e.operation) == ("alice", "STORE")]
    assert [one["id"] for one in told] == [event.event_id for event in wanted[-3:]]
    assert {one["host"] for one in told} == {os.uname().nodename}


@pytest.mark.parametrize("form", FORMATS)
async def test_a_trail_that_went_on_elsewhere(
    cli: Cli, make_audit: Make, tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An event is of the host whose record `start` is the newest before it in its own trail."""
    for name, host in (("shop", "h1"), ("desk", "h2"), ("shop", "h3")):
        monkeypatch.setattr(socket, "gethostname", lambda host=host: host)
        with make_audit(auto_export_path=tmp_path / "logs", name=name) as audit:
            await audit.log_event("STORE", user_id=f"{name} {host}")
    for options in ((), ("--operation", "STORE")):
        told = [one for one in exported(cli, tmp_path / "logs", form, *options) if one["user"]]
        assert [one["user"] for one in told] == ["shop h1", "desk h2", "shop h3"]
        assert all(one["user"] == f"{one['service']} {one['host']}" for one in told)


@pytest.mark.parametrize("form", FORMATS)
def test_the_source_is_named(demo: Path, cli: Cli, form: str) -> None:
    """OpenTelemetry's variables name the application; else it is the trail."""
    (one, *_) = exported(cli, demo, form, OTEL_SERVICE_NAME="shop|=\n")
    assert one["service"].startswith("shop|=")
    (one, *_) = exported(cli, demo, form, OTEL_SERVICE_NAME="s\udcff")  # no Unicode
    assert one["service"] == "s\\udcff"


@pytest.mark.parametrize(
    ("name", "form"),
    [
        *((f"out.{form}", form) for form in FORMATS),
        *(("out.ocsf.jsonl", "ocsf"), ("out.ecs.ndjson", "ecs"), ("OUT.OCSF.JSON", "ocsf")),
        *(("out.cef.jsonl", "cef"), ("out.jsonl", "jsonl"), ("ocsf", "json"), ("a.b.json", "json")),
        *((".ocsf", "json"), ("out.csv.json", "json"), ("out.NDJSON", "jsonl")),
    ],
)
def test_endings(demo: Path, cli: Cli, tmp_path: Path, name: str, form: str) -> None:
    """The ending of the file says which format is meant, unless an option does."""
    told = json.loads(cli("export", demo, tmp_path / name, "--json").stdout)
    assert told["format"] == form
    told = json.loads(
        cli("export", demo, tmp_path / name, "--json", "--force", "--format", "CSV").stdout
    )
    assert told["format"] == "csv"


@pytest.mark.parametrize("name", ["out.xml", "out.ocsf.txt", "out.json.gz"])
def test_unknown_endings(demo: Path, cli: Cli, tmp_path: Path, name: str) -> None:
    """An ending that is no format is refused with those that are; `--format` decides then."""
    said = cli("export", demo, tmp_path / name, code=2).stderr
    assert "is no format that can be written: use .json, .jsonl, .csv, " in said
    assert not (tmp_path / name).exists()
    cli("export", demo, tmp_path / name, "--format", "cef")


def test_unknown_formats_are_refused(demo: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("export", demo, tmp_path / "out", "--format", "leef", code=2)
    assert "'leef' is not one of" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", FORMATS)
def test_nothing_is_replaced_unasked(demo: Path, cli: Cli, tmp_path: Path, form: str) -> None:
    out = tmp_path / f"out.{form}"
    cli("export", demo, out)
    before = out.read_bytes()
    cli("export", demo, out, code=1)
    assert out.read_bytes() == before
    cli("export", demo, out, "--force", "--limit", "1")
    assert out.read_bytes() == before.splitlines(keepends=True)[-1] != before


@pytest.mark.slow
def test_whole_or_not_at_all(demo: Path, tmp_path: Path) -> None:
    """A write that fails leaves what was there, and nothing else."""
    out = tmp_path / "out.cef"
    out.write_text("before")
    command = [sys.executable, "-m", "axon_audit_otel", "export", "--force", str(demo), str(out)]
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", *command],  # 8 KiB, or 16
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "too large" in done.stderr
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


@pytest.mark.parametrize("form", FORMATS)
def test_no_events(demo: Path, cli: Cli, tmp_path: Path, form: str) -> None:
    """An empty answer is an empty file."""
    cli("export", demo, tmp_path / "out", "--format", form, "--user", "nobody")
    assert (tmp_path / "out").read_bytes() == b""


def test_the_commands_of_the_page(demo: Path, cli: Cli, tmp_path: Path) -> None:
    """The first block of docs/siem.md does what it says."""
    text = (DATA.parents[2] / "docs" / "siem.md").read_text(encoding="utf-8")
    block = text.partition("```console\n")[2].partition("```")[0]
    commands = [line.partition("#")[0].split()[2:] for line in block.splitlines()]
    assert [words[0] for words in commands] == ["export"] * 3
    for (_, directory, name, *options), form in zip(commands, FORMATS):
        assert directory == "audit_logs"
        asked = ("export", demo, tmp_path / name, *options, "--json")
        assert json.loads(cli(*asked).stdout)["format"] == form
