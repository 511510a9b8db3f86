"""How a command begins: nobody who ends it at once sees its insides."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from conftest import Cli

# Ctrl-C while the command is loaded: when Python looks for the module that is named.
_INTERRUPTED = """
import runpy, signal, sys
class Finder:
    def find_spec(self, name, path, target=None):
        if name == wanted:
            signal.raise_signal(signal.SIGINT)
wanted, sys.argv = sys.argv[1], ["axon-audit", "query", "."]
sys.meta_path.insert(0, Finder())
runpy.run_module("axon_audit_otel", run_name="__main__")
"""


@pytest.mark.parametrize(
    "module", ["axon_audit_otel.cli.main", "click", "axon_audit_otel.archive.follow", "rich.box"]
)
def test_interrupted_while_it_loads(module: str, tmp_path: Path) -> None:
    """Ctrl-C in the first moment ends it as it does later."""
    command = [sys.executable, "-c", _INTERRUPTED, module]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "")


@pytest.mark.parametrize(
    "words",
    [
        "query PATH",
        "stats PATH",
        "tail PATH",
        "export PATH out.json",
        "verify PATH",
        "alerts PATH",
        "view PATH --no-open",
        "report PATH --month 2026-11 --output out",
        "receipt 0123 PATH",
        "lineage e1 PATH",
        "influence e1 PATH",
        "hold PATH",
    ],
)
def test_nothing_is_there(words: str, cli: Cli, tmp_path: Path) -> None:
    """Every command ends with 2 if there is nothing at its path, and makes nothing there."""
    missing = tmp_path / "missing"
    given = [missing if word == "PATH" else word for word in words.split()]
    assert "no such file or directory" in cli(*given, code=2).stderr
    assert not missing.exists()
