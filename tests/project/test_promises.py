"""The promises of docs/promises.md are the words of the tests that prove them."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_ROW = re.compile(r"\| ([^|]+) \| ([^|]+) \| \[(test_\w+)\]\(\.\./(tests/\w+/test_\w+\.py)\) \|")


def _rows() -> list[tuple[str, str, str, str]]:
    page = (ROOT / "docs/promises.md").read_text(encoding="utf-8")
    table = page.partition("<!-- promises")[2].partition("<!-- end -->")[0]
    lines = table.splitlines()[3:]  # after the comment and the table's head
    found = [match.groups() for line in lines if (match := _ROW.fullmatch(line))]
    assert len(found) == len(lines) > 0
    return found  # type: ignore[return-value]


ROWS = _rows()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[3]}::{row[2]}")
def test_words(row: tuple[str, str, str, str]) -> None:
    """Each is the docstring of a test that there is, and that nothing skips always."""
    _, promise, name, file = row
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    tests = [node for node in ast.walk(tree) if isinstance(node, functions) and node.name == name]
    words = {" ".join((ast.get_docstring(test) or "").split()) for test in tests}
    assert promise in words
    assert not any("skip" in ast.unparse(mark) for test in tests for mark in test.decorator_list)


def test_every_mode() -> None:
    """Every durability and every way to fail has a promise."""
    settings = " ".join(of for of, _, _, _ in ROWS)
    for mode in ("memory", "process", "disk", "degrade", "block"):
        assert f'"{mode}"' in settings
