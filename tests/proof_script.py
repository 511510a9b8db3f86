"""The program that verifies proofs, as a third party has it: run alone, without our package."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import resources
from pathlib import Path
from types import ModuleType

import axon_audit_otel

SCRIPT = Path(str(resources.files(axon_audit_otel).joinpath("cli/data/verify_proof.py")))


def load() -> ModuleType:
    """The program as a module."""
    spec = importlib.util.spec_from_file_location("verify_proof", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(proof: object, key: object, *, code: int) -> str:
    """Run the script by itself, without our package; returns the one line it prints."""
    program = (
        "import runpy, sys; sys.modules['axon_audit_otel'] = None;"
        "sys.argv = sys.argv[1:]; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(SCRIPT), str(proof), str(key)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == code, done.stdout
    (line,) = done.stdout.splitlines()
    return line
