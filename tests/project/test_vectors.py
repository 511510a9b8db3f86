"""The test vectors of docs/format.md are what the package makes today, byte for byte."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from axon_audit_otel.archive import zstd

ROOT = Path(__file__).resolve().parents[2]


def content_of(home: Path) -> dict[str, bytes]:
    """Every file, by its path; of a compressed one what is in it."""
    found = {}
    for path in sorted(home.rglob("*")):
        if path.suffix == ".zst":
            with path.open("rb") as file, zstd.decompressed(file) as whole:
                found[path.relative_to(home).as_posix()] = whole.read()
        elif path.is_file():
            found[path.relative_to(home).as_posix()] = path.read_bytes()
    return found


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The vectors, made anew in a process of their own: its clock stands still."""
    home = tmp_path_factory.mktemp("vectors")
    command = [sys.executable, ROOT / "tools" / "vectors.py", home]
    subprocess.run(command, check=True)
    return home


@pytest.mark.slow
def test_vectors_are_up_to_date(made: Path) -> None:
    """Running tools/vectors.py would change nothing: the format is as it was."""
    now, then = content_of(made), content_of(ROOT / "tests" / "vectors")
    assert now.keys() == then.keys()
    assert {name for name in now if now[name] != then[name]} == set()
