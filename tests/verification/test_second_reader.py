"""The second reader, in Go, finds in every test vector what `expected.json` says."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import go_programs
import pytest

pytestmark = pytest.mark.component  # Go

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
ARCHIVES = sorted(path.parent.name for path in VECTORS.glob("*/archive"))


def read(archive: Path, *options: str | Path) -> dict[str, Any]:
    """What the second reader prints of an archive."""
    command = [go_programs.second_verifier(), "read", *options, archive]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    said: dict[str, Any] = json.loads(done.stdout)
    return said


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive(name: str) -> None:
    """Events, hashes, writers and the verdict."""
    expected = json.loads((VECTORS / name / "expected.json").read_bytes())
    said = read(VECTORS / name / "archive")
    writers = [{key: one[key] for key in expected["writers"][0]} for one in said["writers"]]
    assert (said["ok"], writers) == (expected["ok"], expected["writers"]), said["problems"]
    assert said["events"] == expected["events"]
