"""Each claim of the threat model names the test that would fail if it were not true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`(tests/[^`]+)`", PAGE)


@pytest.mark.parametrize("name", NAMED)
def test_is_there(name: str) -> None:
    """The test, or the file of tests, exists."""
    file, *names = name.split("::")
    inside: ast.AST = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    for wanted in names:
        found = [
            node for node in ast.iter_child_nodes(inside) if getattr(node, "name", "") == wanted
        ]
        assert found, f"{file} has no {wanted}"
        inside = found[0]


def test_names_many() -> None:
    """The page names its tests, and they are read here."""
    assert len(NAMED) > 25
