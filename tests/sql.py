"""The SQL of docs/sql.md, and the engines that run it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

_PAGE = Path(__file__).resolve().parents[1] / "docs" / "sql.md"
_BLOCK = re.compile(r"^## (.+?)$|^```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks() -> dict[str, list[str]]:
    """The SQL blocks of the page, by section."""
    found: dict[str, list[str]] = {}
    section = ""
    for heading, block in _BLOCK.findall(_PAGE.read_text(encoding="utf-8")):
        section = heading or section
        found.setdefault(section, [])
        if block:
            found[section].append(block)
    return found


class Engine(Protocol):
    """Runs SQL."""

    def ask(self, sql: str) -> list[dict[str, Any]]:
        """The rows that *sql*, one statement or several, ends with; JSON types."""


class DuckDB:
    """DuckDB in this process, in memory."""

    name = "DuckDB"

    def __init__(self) -> None:
        import duckdb

        self._connection = duckdb.connect()

    def ask(self, sql: str) -> list[dict[str, Any]]:
        done = self._connection.execute(sql)
        names = [column[0] for column in done.description or ()]
        return [dict(zip(names, row)) for row in done.fetchall()]

    def close(self) -> None:
        self._connection.close()


_SERVE = """
import json, sys
from chdb.session import Session
session = Session()
for line in sys.stdin:
    try:
        for statement in json.loads(line):
            found = str(session.query(statement, "JSONEachRow"))
        answer = {"rows": found}
    except Exception as exc:
        answer = {"error": str(exc)}
    print(json.dumps(answer), flush=True)
"""


class ClickHouse:
    """ClickHouse in a process of its own: chdb keeps state in its process."""

    name = "ClickHouse"

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )

    def ask(self, sql: str) -> list[dict[str, Any]]:
        assert self._process.stdin
        assert self._process.stdout
        statements = [part for part in sql.split(";\n") if part.strip()]
        self._process.stdin.write(json.dumps(statements) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return [json.loads(line) for line in answer["rows"].split("\n") if line]

    def close(self) -> None:
        with self._process as process:  # closes its pipes, and waits
            assert process.stdin


def load(engine: DuckDB | ClickHouse, directory: Path) -> None:
    """Run the recipe of *engine* over *directory*."""
    (recipe,) = blocks()[engine.name]
    engine.ask(recipe.replace("audit_logs", str(directory)))


def question(heading: str, **replaced: str) -> str:
    """The SQL of the question that begins so."""
    text = _PAGE.read_text(encoding="utf-8")
    at = text.index(f"\n{heading}")
    sql = re.compile(r"```sql\n(.*?)^```$", re.MULTILINE | re.DOTALL).search(text, at)
    assert sql
    found = sql[1]
    for old, new in replaced.items():
        assert old.replace("_", "-") in found
        found = found.replace(old.replace("_", "-"), new)
    return found


__all__: Sequence[str] = ["ClickHouse", "DuckDB", "blocks", "load", "question"]
