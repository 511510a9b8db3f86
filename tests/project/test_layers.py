"""Imports inside the package go down only, and its public names are the promised ones."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import axon_audit_otel

PACKAGE = Path(axon_audit_otel.__file__).parent

#: From the bottom up. A wing may import those before it, and no others.
WINGS = [
    "core",
    "events",
    "privacy",
    "archive",
    "otlp",
    "verification",
    "shipping",
    "trail",
    "alerts",
    "operations",
    "integrations",
    "evidence",
    "viewer",
    "cli",
]
#: The one look up: what records in a trail says of what type its operations are.
UP_FOR_TYPES = ("trail.recording", "operations.audited")
#: Modules of the package itself, which no wing but `cli` imports.
TOP = {"__init__", "__main__", "memory_system", "otel_setup", "pytest_plugin", "testing", "version"}


def _modules() -> dict[str, Path]:
    """Every module by its name inside the package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        if "data" not in parts and (len(parts) == 1 or parts[-1] != "__init__"):
            found[".".join(parts)] = path
    return found


MODULES = _modules()


@cache
def _imports(name: str) -> list[str]:
    """The modules of the package that *name* imports, wherever in it, also for types alone."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    here = name.split(".")
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = here[: len(here) - node.level]
            target = [*base, *(node.module.split(".") if node.module else [])]
            for alias in node.names:
                longer = ".".join([*target, alias.name])
                found.append(longer if longer in MODULES else ".".join(target) or "__init__")
    return [other for other in found if (name, other) != UP_FOR_TYPES]


def _wing(name: str) -> str:
    return name.partition(".")[0] if "." in name else ""


def test_imports_go_down_only() -> None:
    """A wing imports wings below it only."""
    level = {name: number for number, name in enumerate(WINGS)}
    wrong = [
        f"{name} imports {other}"
        for name in MODULES
        for other in _imports(name)
        if _wing(name) and _wing(other) and level[_wing(other)] > level[_wing(name)]
    ]
    assert wrong == []


def test_no_circles() -> None:
    """No module imports, by whatever way round, itself."""
    graph = {name: set(_imports(name)) - {name} for name in MODULES}
    TopologicalSorter(graph).prepare()


def test_every_wing_is_listed() -> None:
    """The tree has these wings and no others, and nothing is in their ``__init__``."""
    assert {_wing(name) for name in MODULES} - {""} == set(WINGS)
    assert {name for name in MODULES if not _wing(name)} == TOP
    inits = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert [path for path in inits if path.read_bytes()] == []


def test_what_observes_and_what_writes_do_not_know_each_other() -> None:
    """Between what observes a memory and what writes the trail lies OpenTelemetry."""
    writing = {"trail.otel_processor", "trail.trail"}
    for name in MODULES:
        if _wing(name) in ("operations", "integrations"):
            assert not writing & set(_imports(name))
