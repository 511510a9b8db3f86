"""Events that have the id of another one are told, by whatever program the id was made."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make
from every_way import verify
from forgery import rewrite

pytestmark = pytest.mark.usefixtures("without_start_record")


def _archive(make_audit: Make, path: Path, count: int, events: int = 5) -> Path:
    """An archive of *count* events, *events* in a file."""
    audit = make_audit(events, path.with_name("running"))
    for _ in range(count):
        asyncio.run(audit.log_event("STORE"))
    shutil.copytree(path.with_name("running"), path)
    return path


def _give(archive: Path, **ids: str) -> None:
    """Give the events of these numbers other ids; one like ``_3`` is that of event 3."""
    known: dict[str, str] = {}

    def change(event: dict[str, Any]) -> None:
        known[f"_{event['sequence']}"] = event["event_id"]
        wanted = ids.get(f"n{event['sequence']}", event["event_id"])
        event["event_id"] = known.get(wanted, wanted)

    rewrite(archive, change)


def _doubled(archive: Path) -> list[tuple[str, int | None]]:
    report = verify(archive)
    assert {finding.kind for finding in report.findings} <= {"inserted"}
    return [(finding.explanation, finding.sequence) for finding in report.findings]


@pytest.mark.parametrize(
    ("ids", "found"),
    [
        ({}, []),
        ({"n4": "_3"}, [4]),
        ({"n5": "_4", "n6": "_4"}, [5, 6]),
        ({"n12": "_1"}, [12]),
        ({"n3": "theirs", "n12": "theirs"}, [12]),
        ({"n3": "z", "n4": "zz", "n5": "", "n6": 'a "quote"', "n7": "evt_1"}, []),
        ({"n3": 'a "quote"', "n4": "zoë", "n8": 'a "quote"', "n9": "zoë"}, [8, 9]),
        ({"n3": "evt_" + "0" * 32, "n4": "evt_" + "f" * 32, "n9": "evt_" + "0" * 32}, [9]),
        ({"n2": "f" * 36, "n3": "7" * 36, "n8": "f" * 36, "n9": "7" * 36, "n10": "_6"}, [8, 9, 10]),
        ({"n2": "evt_" + "f" * 33, "n3": "evt_" + "f" * 34, "n9": "evt_" + "f" * 34}, [9]),
    ],
)
def test_in_files(make_audit: Make, tmp_path: Path, ids: dict[str, str], found: list[int]) -> None:
    """Of two events in a file or in several, the second is told."""
    _give(_archive(make_audit, tmp_path / "archive", 12), **ids)
    assert [number for _, number in _doubled(tmp_path / "archive")] == found


def test_recorded_again(make_audit: Make, tmp_path: Path) -> None:
    """An event that is the one before it once more is none: its recording was interrupted."""
    archive = _archive(make_audit, tmp_path / "archive", 12)
    known: dict[int, dict[str, Any]] = {}

    def change(event: dict[str, Any]) -> None:
        number = event["sequence"]
        if number in (3, 12):  # the first after its like, the second not
            before = known[1 if number == 12 else number - 1]
            event |= {name: before[name] for name in ("event_id", "timestamp")}
        known[number] = dict(event)

    rewrite(archive, change)
    assert [number for _, number in _doubled(archive)] == [12]


def test_far_away(make_audit: Make, tmp_path: Path) -> None:
    """Many files later it is told too; an old id that no other event has is none."""
    archive = _archive(make_audit, tmp_path / "archive", 151, events=2)
    _give(archive, n148="_3", n149="evt_" + "0" * 32)
    ((words, number),) = _doubled(archive)
    assert number is None
    assert words.startswith("another event has the id evt_")


def test_what_arrived(make_audit: Make, cli: Cli, tmp_path: Path) -> None:
    """So it is among the records that a collector wrote."""
    archive = _archive(make_audit, tmp_path / "archive", 12)
    out = tmp_path / "arrived.jsonl"
    cli("export", archive, out, "--format", "otlp")
    assert cli("verify", "--otlp-json", out).exit_code == 0
    _give(archive, n5="_4", n9="_1")
    cli("export", archive, out, "--format", "otlp", "--force")
    said = " ".join(cli("verify", "--otlp-json", out, code=1).stdout.split())
    assert "event 5 has the id of event 4" in said
    assert "event 9 has the id of event 1" in said
