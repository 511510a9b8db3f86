"""The figures that are published are those that were measured; a ratio that doubled is told."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_what_is_published_was_measured() -> None:
    """The table and the chart are made from results.json."""
    done = _run("benchmarks.publish", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_guard_tells_a_ratio_that_doubled(tmp_path: Path) -> None:
    """It passes where ratios were ten times as high, and names those that were a tenth."""
    measured = tmp_path / "measured.json"
    once = ["benchmarks", "--quick", "--rounds", "1", "--only", "files"]
    assert _run(*once, "--json", str(measured)).returncode == 0
    content: dict[str, Any] = json.loads(measured.read_text())
    ratios = {line["name"]: line["median"] for line in content["lines"]}
    for factor in (10, 0.1):
        for line in content["lines"]:
            line["median"] = factor * ratios[line["name"]]
        reference = tmp_path / f"{factor}.json"
        reference.write_text(json.dumps(content))
        done = _run(*once, "--guard", str(reference))
        told = [name for name in ratios if f"{reference}: {name} |" in done.stdout]
        assert (done.returncode, told) == ((0, []) if factor > 1 else (1, list(ratios)))
