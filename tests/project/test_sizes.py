"""A module has one concept, and a function fits on a screen."""

from __future__ import annotations

import ast
from pathlib import Path

import axon_audit_otel

PACKAGE = Path(axon_audit_otel.__file__).parent
MOST_OF_A_MODULE = 450  # lines
MOST_OF_A_FUNCTION = 60  # with its docstring

#: What is longer still. These lists only get shorter: CONTRIBUTING.md says how.
LONG_MODULES = {}
LONG_FUNCTIONS = {
    "events/draft.draft",
    "operations/decorator.audited",
    "trail/querying.query_events",
    "trail/recording.log_event",
    "trail/recording.operation",
}


def _long_functions(path: Path) -> list[str]:
    tree = ast.parse(path.read_text("utf-8"))
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > MOST_OF_A_FUNCTION
    ]


MODULES = {
    path.relative_to(PACKAGE).with_suffix("").as_posix(): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def test_modules() -> None:
    """No module is too long but those that are named."""
    lines = {name: len(path.read_text("utf-8").splitlines()) for name, path in MODULES.items()}
    long = {name: count for name, count in lines.items() if count > MOST_OF_A_MODULE}
    assert {name: long[name] for name in long.keys() - LONG_MODULES} == {}


def test_functions() -> None:
    """Likewise functions."""
    found = {f"{name}.{one}" for name, path in MODULES.items() for one in _long_functions(path)}
    assert found - LONG_FUNCTIONS == set()


def test_names_of_test_files() -> None:
    """Each is unique: pytest imports them by it."""
    names = [path.name for path in Path(__file__).resolve().parents[1].rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()
