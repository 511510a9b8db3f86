"""What the documentation shows is right for type checkers: `mypy --strict` and pyright."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
import textwrap
from importlib.util import find_spec
from pathlib import Path

import axon
import pytest

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: mem0 and Celery have no types.
_SETTINGS = "[mypy]\nstrict = True\n[mypy-mem0.*,celery.*]\nignore_missing_imports = True\n"
_PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def _programs(target: Path) -> list[Path]:
    """A module for each page, of its blocks one after the other, and the examples."""
    made = []
    for page in _PAGES:
        blocks = _BLOCK.findall(page.read_text(encoding="utf-8"))
        if blocks:
            body = textwrap.indent("\n".join(blocks), "    ")
            path = target / f"{page.stem.replace('-', '_').lower()}_page.py"
            path.write_text(f"async def page() -> None:\n{body}", encoding="utf-8")
            made.append(path)
    return [*made, *sorted((ROOT / "examples").rglob("*.py"))]


def _checked(*command: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env={**os.environ, "MYPY_FORCE_COLOR": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.component
def test_mypy(tmp_path: Path) -> None:
    """No block and no example needs an ignore."""
    programs = _programs(tmp_path)
    assert len(programs) > 10
    settings = tmp_path / "mypy.ini"
    settings.write_text(_SETTINGS, encoding="utf-8")
    _checked("mypy", "--config-file", settings, "--cache-dir", tmp_path / "cache", *programs)


@pytest.mark.component
def test_pyright(tmp_path: Path) -> None:
    """Likewise."""
    assert find_spec("pyright")
    _checked("pyright", "--pythonpath", sys.executable, *_programs(tmp_path))


def test_face_of_the_memory_system() -> None:
    """The typed `MemorySystem` takes what the SDK's own takes, and who acts."""
    stub = ast.parse((ROOT / "axon_audit_otel/memory_system.pyi").read_text(encoding="utf-8"))
    classes = {node.name: node for node in stub.body if isinstance(node, ast.ClassDef)}
    for node in ast.walk(classes["MemorySystem"]):
        if not isinstance(node, ast.AsyncFunctionDef):
            continue
        names = [arg.arg for arg in (*node.args.args, *node.args.kwonlyargs)]
        assert {"user_id", "session_id"} <= set(names), node.name
        if node.name not in ("forget", "import_data"):  # the SDK lacks these
            own = inspect.signature(getattr(axon.MemorySystem, node.name)).parameters
            assert names == [*own, "user_id", "session_id"], node.name
    (init,) = (node for node in classes["Filter"].body if isinstance(node, ast.FunctionDef))
    assert {arg.arg for arg in init.args.kwonlyargs} == set(axon.Filter.model_fields)
