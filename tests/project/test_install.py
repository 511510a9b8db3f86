"""The README's first commands, in a fresh copy of the repository and an empty environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from receiver import over_grpc

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _fresh_copy(target: Path) -> None:
    """The files of a clone: those that Git tracks."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, target / name)


def _shell(lines: list[str], directory: Path, **environment: str) -> str:
    """Run the commands in one shell; the output of both streams."""
    inherited = {n: v for n, v in os.environ.items() if n not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        ["sh", "-ec", "\n".join(lines)],
        cwd=directory,
        env={**inherited, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def _commands(block: str) -> list[str]:
    return [line.removeprefix("$ ") for line in block.splitlines()]


@pytest.mark.slow
def test_first_commands(tmp_path: Path) -> None:
    """They install what the first program needs, and that prints what the page says; those for
    "no code at all" install what exports the events to a collector, and before them
    a warning says what is missing."""
    blocks = _BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    (_, install), (_, program), (_, expected), (_, commands), (_, no_code) = blocks[:5]
    _fresh_copy(tmp_path)
    printed = _shell(_commands(install), tmp_path)
    (tmp_path / "app.py").write_text(program)
    enter = ". env/bin/activate"
    printed = _shell([enter, "python app.py"], tmp_path)
    pattern = re.escape(expected).replace(r"\.\.\.", ".*")
    assert re.search(pattern + r"\Z", printed)  # the SDK logs on stderr
    *asked, report = _commands(commands)
    report = f"{report} || test $? = 1"  # without a key, nothing is proved
    said = _shell([enter, *asked, report, "axon-audit assets -o assets"], tmp_path)
    assert "No damage was found." in said
    assert (tmp_path / "report.zip").is_file()
    rules = (tmp_path / "assets/prometheus/alerts.yaml").read_text(encoding="utf-8")
    assert rules == (ROOT / "dashboards/rules/alerts.yaml").read_text(encoding="utf-8")

    add_distro, run = _commands(no_code)
    receiver = over_grpc()
    try:
        others = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"), "none")
        target = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url, **others}
        without = _shell([enter, run], tmp_path, **target)
        assert "pip install opentelemetry-distro" in without
        assert receiver.numbers == []
        _shell([enter, add_distro, run], tmp_path, **target)
        assert sorted(receiver.numbers) == [7, 8, 9]  # those of the third run
    finally:
        receiver.close()
