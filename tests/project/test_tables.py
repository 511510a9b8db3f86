"""The generated tables are those of the code, and leave out no method of the SDK."""

from __future__ import annotations

import importlib
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
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "tools")
        return importlib.import_module("tables")


def test_reference_is_up_to_date(tables: ModuleType) -> None:
    """Running tools/tables.py would change nothing."""
    text = tables.REFERENCE.read_text(encoding="utf-8")
    assert tables.rendered(text) == text


def test_format_is_up_to_date(tables: ModuleType) -> None:
    """So is docs/format.md: each of its examples is a test vector."""
    text = tables.FORMAT.read_text(encoding="utf-8")
    assert tables.rendered(text, tables.IN_FORMAT) == text


def test_wings_are_up_to_date(tables: ModuleType) -> None:
    """So is docs/architecture.md, and it leaves out no wing."""
    text = tables.HOUSE.read_text(encoding="utf-8")
    assert tables.rendered(text, tables.IN_HOUSE) == text
    there = {path.parent.name for path in tables.PACKAGE.glob("*/__init__.py")}
    assert there == set(tables.WINGS) - {""}


def test_columns_are_up_to_date(tables: ModuleType) -> None:
    """So is the table of columns in docs/sql.md."""
    text = tables.SQL.read_text(encoding="utf-8")
    assert tables.rendered(text, tables.IN_SQL) == text


def test_integrations_are_up_to_date(tables: ModuleType) -> None:
    """So is the table of what is recorded of each memory."""
    text = tables.MEMORIES.read_text(encoding="utf-8")
    assert tables.rendered(text, tables.IN_MEMORIES) == text


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
