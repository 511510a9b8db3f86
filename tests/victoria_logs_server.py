"""A real VictoriaLogs of the tests' own."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import go_programs
from collector import free_port, wait


class VictoriaLogs:
    """A VictoriaLogs on a free port that keeps its data in *directory*.

    Attributes:
        url: Its address.
        otlp: Where OTLP log records are sent to, over HTTP: a base URL, without ``/v1/logs``.
    """

    def __init__(self, directory: Path, *flags: str) -> None:
        self._directory = directory
        self._flags = flags
        directory.mkdir(parents=True, exist_ok=True)
        self._program = str(go_programs.victoria_logs())
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.otlp = f"{self.url}/insert/opentelemetry"
        self.start()

    def start(self) -> None:
        """Start it with the data that it has, and return when it answers."""
        log = self._directory / "log"
        with log.open("ab") as to:
            self._process = subprocess.Popen(
                [
                    self._program,
                    f"-storageDataPath={self._directory / 'data'}",
                    f"-httpListenAddr=127.0.0.1:{self.port}",
                    "-retentionPeriod=100y",  # a test may send old events
                    *self._flags,
                ],
                stdout=to,
                stderr=to,
            )
        try:
            wait(lambda: self._ready(log))
        except BaseException:
            self.kill()
            raise

    def _ready(self, log: Path) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"VictoriaLogs did not start:\n{log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def query(self, logsql: str, **arguments: Any) -> list[dict[str, Any]]:
        """The log records, or rows, that a query in LogsQL finds."""
        return [json.loads(line) for line in self.ask("query", logsql, **arguments).splitlines()]

    def ask(self, path: str, logsql: str, **arguments: Any) -> str:
        """The answer of its HTTP API below `/select/logsql`: `stats_query`, `field_values`, ..."""
        given = urllib.parse.urlencode({"query": logsql, **arguments}).encode()
        try:
            with urllib.request.urlopen(f"{self.url}/select/logsql/{path}", given, 60) as answer:
                return str(answer.read().decode())
        except urllib.error.HTTPError as exc:
            raise AssertionError(f"{logsql}: {exc.read().decode()}") from None

    def flush(self) -> None:
        """Make what was inserted visible to queries."""
        urllib.request.urlopen(f"{self.url}/internal/force_flush", timeout=60).close()

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def stop(self) -> None:
        """Stop it as an operator does."""
        self._process.terminate()
        self._process.wait()

    close = stop

    def kill(self) -> None:
        """Kill it: what it had only in memory is lost."""
        self._process.kill()
        self._process.wait()
