"""The run of the tests itself: what is flaky is named, and what fails twice fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """
import pathlib, pytest
def fails_once(name):
    mark = pathlib.Path(__file__).with_name(name)
    first = not mark.exists()
    mark.touch()
    assert not first, "met a slow moment"
@pytest.mark.slow
def test_slow(): fails_once("slow")
@pytest.mark.component
def test_component(): fails_once("component")
@pytest.mark.slow
def test_broken(): assert False
def test_quick(): fails_once("quick")
"""


def _run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    (directory / "test_some.py").write_text(_TESTS)
    (directory / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow:\n  component:\n")
    here = str(Path(__file__).parents[1])
    plugin = ["-p", "flaky", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *plugin, "."],
        cwd=directory,
        env={**os.environ, "PYTHONPATH": here},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_second_try(tmp_path: Path) -> None:
    """Slow and component tests are tried again, and named when they pass then; others are not,
    and what fails twice is a failure."""
    done = _run(tmp_path)
    lines = done.stdout.splitlines()
    assert done.returncode == 1
    named = [line for line in lines if line.startswith("FLAKY ")]
    assert named == [f"FLAKY test_some.py::test_{name}" for name in ("slow", "component")]
    assert "met a slow moment" in done.stdout
    assert lines[-1].startswith("2 failed, 2 passed")


@pytest.mark.slow
def test_flaky_alone_does_not_fail(tmp_path: Path) -> None:
    """A run in which every test passes at its second try at the latest is green."""
    assert _run(tmp_path, "-k", "not broken and not quick").returncode == 0
