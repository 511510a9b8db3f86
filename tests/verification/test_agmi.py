"""The edits T1 to T9 of `agmi` (PyPI: agent-memory-integrity), by its own runner."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from agmi.check import main
from amounts import slow


@pytest.mark.parametrize("adapter", ["EditedTrail", slow("ForgedTrail")])
@pytest.mark.slow
def test_every_edit_is_reported(adapter: str, tmp_path: Path) -> None:
    """Nine of nine, also by an attacker who makes every hash fit; the runner sees to it that each
    edit landed, and that nothing is reported without one."""
    assert verdicts(adapter, tmp_path) == (0, ["REPORTED"] * 9)


@pytest.mark.slow
def test_only_the_signature_knows(tmp_path: Path) -> None:
    """What that attacker makes does fit: without a key nobody could tell."""
    assert verdicts("BelievedTrail", tmp_path) == (1, ["ACCEPTED"] * 9)


def verdicts(adapter: str, place: Path) -> tuple[int, list[str]]:
    """The runner's exit code, and what it says of each edit, T1 to T9."""
    result = place / "result.json"
    code = main(["--adapter", f"agmi_adapter:{adapter}", "--json", str(result)])
    edits = json.loads(result.read_bytes())["edits"]
    assert [edit["edit"][:2] for edit in edits] == [f"T{number}" for number in range(1, 10)]
    return code, [edit["verdict"] for edit in edits]
