"""Every Python block of the documentation runs, and prints what the page says it prints."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import inspect
import io
import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from receiver import over_http

from axon_audit_otel import AuditLogger

ROOT = Path(__file__).resolve().parents[2]
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def _blocks(page: Path) -> list[tuple[str, str, int]]:
    text = page.read_text(encoding="utf-8")
    return [
        (match[1], match[2], text[: match.start()].count("\n") + 2)
        for match in _BLOCK.finditer(text)
    ]


def _run(source: str, line: int, page: Path, namespace: dict[str, Any]) -> str:
    """Run one block, as in a notebook: ``await`` is allowed at its top level; as a program,
    where there is none."""
    code = compile(
        "\n" * (line - 1) + source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    )
    printed = io.StringIO()

    async def run() -> None:
        result = eval(code, namespace)
        if result is not None:
            await result

    with contextlib.redirect_stdout(printed):
        if code.co_flags & inspect.CO_COROUTINE:
            asyncio.run(run())
        else:
            exec(code, namespace)
    return printed.getvalue()


def _pattern(expected: str) -> str:
    """``...`` in the page stands for anything."""
    return re.escape(expected.strip()).replace(r"\.\.\.", ".*?")


@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        *(f"docs/{name}.md" for name in ("alerts", "dossier", "files", "identity", "integrations")),
        *(f"docs/{name}.md" for name in ("lineage", "notebook", "opentelemetry", "privacy")),
        *(f"docs/{name}.md" for name in ("queries", "reconcile", "specification")),
        *(
            pytest.param(f"docs/{name}.md", marks=pytest.mark.component)
            for name in ("langgraph", "mcp", "mem0")
        ),
    ],
)
@pytest.mark.slow
def test_blocks_run(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks of a page run in order, in one namespace and an empty directory, and a
    ``text`` block is what the ``python`` block before it prints."""
    page = ROOT / name
    monkeypatch.chdir(tmp_path)
    _run_page(page)


def _run_page(page: Path) -> None:
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed, ran = "", 0
    for language, source, line in _blocks(page):
        if language == "python":
            printed = _run(source, line, page, namespace)
            ran += 1
        elif language == "text":
            assert re.fullmatch(_pattern(source), printed.strip(), re.DOTALL), (
                f"{page.name}:{line} says\n{source}\nbut the block prints\n{printed}"
            )
    assert ran


_APP = """
import asyncio
from axon import MemorySystem
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy

policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
memory = MemorySystem(MemoryConfig(persistent=policy, default_tier="persistent"))
asyncio.run(memory.store("tea", user_id="alice"))
"""


def _shell(commands: str, directory: Path, **environment: str) -> str:
    """Run the commands of a ``console`` block in a shell that stops at the first failure."""
    lines = [line.removeprefix("$ ") for line in commands.splitlines()]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-ec", "\n".join(lines)],
        cwd=directory,
        env={**os.environ, "PATH": path, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_shipping_example(tmp_path: Path) -> None:
    """The first example of docs/shipping.md ships, with OpenTelemetry's own distro installed,
    whose default is gRPC."""
    assert find_spec("opentelemetry.distro")
    receiver = over_http()
    (tmp_path / "app.py").write_text(_APP)
    _, example, _ = _blocks(ROOT / "docs/shipping.md")[0]
    assert "http://localhost:4318" in example
    others = dict.fromkeys(("OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER"), "none")
    try:
        _shell(example.replace("http://localhost:4318", receiver.url), tmp_path, **others)
        assert receiver.numbers == [1, 2]  # the first is the record `start`
    finally:
        receiver.close()


def test_a_memory_of_ones_own_is_short() -> None:
    """An integration of a toy memory takes fewer than 40 lines."""
    (source,) = (
        code for kind, code, _ in _blocks(ROOT / "docs/integrations.md") if kind == "python"
    )
    assert len(source.splitlines()) < 40


@pytest.mark.slow
def test_dossier_example(tmp_path: Path) -> None:
    """The commands of docs/dossier.md make a page and an object."""
    _shell(_blocks(ROOT / "docs/dossier.md")[0][1], tmp_path, COLUMNS="80")
    made = json.loads((tmp_path / "dormouse.json").read_text())
    assert made["person"] == {"id": "dormouse", "on_record": True}
    assert "What the records say about dormouse" in (tmp_path / "dormouse.html").read_text()


@pytest.mark.slow
def test_first_block_is_a_program(tmp_path: Path) -> None:
    """The first block of the README, copied into a file, runs and prints what the page says."""
    (_, source, _), (_, expected, _) = _blocks(ROOT / "README.md")[1:3]
    (tmp_path / "app.py").write_text(source)
    printed = _shell("$ python app.py", tmp_path)
    assert re.fullmatch(_pattern(expected), printed.strip(), re.DOTALL)


_COMMANDS = ROOT / "docs/command-line.md"


def _commands(page: Path, beginning: str) -> list[str]:
    """The commands of the page's block that begins so, without their comments."""
    (block,) = [s for _, s, _ in _blocks(page) if s.startswith(f"$ {beginning}")]
    return [line.partition("  #")[0] for line in block.splitlines()]


@pytest.mark.slow
def test_readme_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the README's program, its commands answer, verify, and make a report."""
    monkeypatch.chdir(tmp_path)
    _run_page(ROOT / "README.md")
    *asked, report = _commands(ROOT / "README.md", "axon-audit query")
    said = _shell("\n".join(asked), tmp_path)
    assert "RECALL" in said
    assert "No damage was found." in said
    _shell(f"{report} || test $? = 1", tmp_path)  # without a key, nothing is proved
    assert (tmp_path / "report.zip").stat().st_size > 10_000


@pytest.mark.slow
def test_tutorial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows the tutorial, line by line, has a verified archive, a report and a dossier."""
    monkeypatch.chdir(tmp_path)
    page = ROOT / "docs/tutorial.md"
    namespace: dict[str, Any] = {"__name__": "__docs__"}
    printed = said = ""
    for kind, source, line in _blocks(page)[1:]:  # after the installation
        if kind == "python":
            printed = _run(source, line, page, namespace)
        elif kind == "text":
            assert re.fullmatch(_pattern(source), printed.strip(), re.DOTALL), (line, printed)
        else:
            waits = "--serve", "axon-audit view", "-m asyncio"
            kept = [one for one in source.splitlines() if not any(x in one for x in waits)]
            said += _shell("\n".join(kept), tmp_path)
    assert said.count("No damage was found.") == 2
    assert {"report.zip", "alice.html", "monitoring"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_commands(tmp_path: Path) -> None:
    """The commands of docs/command-line.md work, but for those that go on or need a server."""
    log = "AuditLogger(auto_export_path='audit_logs').record('EXPORT', user_id='carol')"
    subprocess.run(
        [sys.executable, "-c", f"from axon_audit_otel import AuditLogger; {log}"],
        cwd=tmp_path,
        check=True,
    )
    endless = "--follow", "--serve", "http://collector", "mcp-proxy"
    commands = _commands(_COMMANDS, "axon-audit query audit_logs --user")
    ran = [line for line in commands if not any(x in line for x in endless)]
    assert len(ran) == 9
    _shell("\n".join(ran), tmp_path)


@pytest.mark.slow
def test_evidence(tmp_path: Path) -> None:
    """What is handed over is made by the page's commands, on the archive of the demo."""
    commands = _commands(_COMMANDS, "axon-audit subject")
    ran = [line for line in commands if "axon-audit view" not in line]
    _shell("\n".join(["$ axon-audit demo --output audit_logs", *ran]), tmp_path)
    made = {path.name for path in tmp_path.iterdir()}
    assert made >= {"alice.html", "report.zip", "audit.ocsf.jsonl"}


@pytest.mark.slow
async def test_readme_commands_with_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So do those that take an application with a signing key, a secret and keys of users."""
    monkeypatch.chdir(tmp_path)
    keygen, secret, export, *others = _commands(_COMMANDS, "axon-audit keygen")
    _shell(f"{keygen}\n{secret}", tmp_path)
    for name, _, value in (item.partition("=") for item in export.split()[2:]):
        monkeypatch.setenv(name, value)
    with AuditLogger(auto_export_path="audit_logs", name="signed", erasable=True) as audit:
        event = await audit.log_event("STORE", user_id="alice")
    _shell("\n".join(others).replace("evt_01a2...", event.event_id), tmp_path)
    assert audit.query_events(user_id="alice", archived=True) == []
