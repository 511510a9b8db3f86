"""The generated tables are those of the code, and leave out no method of the SDK."""

from __future__ import annotations

import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
from axon import MemorySystem, StorageAdapter
from axon.core.router import Router

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(name="tables", scope="module")
def _tables() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tables", ROOT / "tools" / "tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_is_up_to_date(tables: ModuleType) -> None:
    """Running tools/tables.py would change nothing."""
    text = tables.REFERENCE.read_text(encoding="utf-8")
    assert tables.rendered(text) == text


def test_wings_are_up_to_date(tables: ModuleType) -> None:
    """So is docs/architecture.md, and it leaves out no wing."""
    text = tables.HOUSE.read_text(encoding="utf-8")
    assert tables.rendered(text, tables.IN_HOUSE) == text
    there = {path.parent.name for path in tables.PACKAGE.glob("*/__init__.py")}
    assert there == set(tables.WINGS) - {""}


def test_formats_for_siems_are_up_to_date(tables: ModuleType) -> None:
    """So is docs/siem.md: every field of each format, and an event in each."""
    text = tables.SIEM.read_text(encoding="utf-8")
    assert tables.rendered(text, tables.IN_SIEM) == text


@pytest.mark.parametrize("owner", [MemorySystem, Router, StorageAdapter])
def test_every_public_method_is_in_the_table(tables: ModuleType, owner: type) -> None:
    """The coverage table names every public method of the SDK's classes."""
    public = {
        name
        for name, _ in inspect.getmembers(owner, inspect.isfunction)
        if not name.startswith("_")
    }
    named: set[str] = set()
    for cell in re.findall(rf"`{owner.__name__}\.([^`]+)`", tables.coverage()):
        named.update(part.strip() for part in cell.split(","))
    assert public <= named
