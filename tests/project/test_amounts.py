"""The default run tries less than the slow one, and the slow one tries all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = """
import pytest
from amounts import examples, slow, thinned
@pytest.mark.parametrize("one", thinned("abcdef", 3))
def test_thinned(one): print(end=one)
@pytest.mark.parametrize(("one", "two"), [*thinned([("g", "h"), ("i", "j")], 2), slow("k", "l")])
def test_pairs(one, two): print(end=one + two)
def test_examples(): print(examples(20), examples(2))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("chosen", "said"), [("not slow", "adgh4 1"), ("", "abcdefghijkl20 2"), ("slow", "bcefijkl")]
)
def test_amounts(tmp_path: Path, chosen: str, said: str) -> None:
    """Each n-th parameter and a share of the examples without slow tests; all of them with."""
    (tmp_path / "test_some.py").write_text(_TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow:\n")
    options = ["-q", "-s", "-p", "amounts", "-p", "no:cacheprovider", "-m", chosen]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "."],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines()[0].replace(".", "") == said.strip()
