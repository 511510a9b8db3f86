"""Real OpenTelemetry Collectors for tests: the one of ``collector-config/builder.yaml``."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "collector-config"


def binary() -> Path:
    """The built collector; without it the test is skipped, and fails in CI."""
    spec = importlib.util.spec_from_file_location("build", ROOT / "tools" / "collector.py")
    assert spec is not None
    assert spec.loader is not None
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    path: Path = build.path()
    if not path.is_file():
        reason = f"no collector at {path} (python3 tools/collector.py builds it, 5 to 15 minutes)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; in CI that is no reason to skip")
        pytest.skip(reason)
    return path


def program(name: str, package: str) -> str:
    """A program that a test needs; without it the test is skipped, and fails in CI."""
    found = shutil.which(name)
    if found is None:
        reason = f"{name} is not installed (Debian, Ubuntu: apt-get install {package})"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; in CI that is no reason to skip")
        pytest.skip(reason)
    return found


def wait(done: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until *done* returns something true, and return that."""
    deadline = time.monotonic() + seconds  # only so that a failure ends
    while not (result := done()):
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.05)
    return result


def free_port() -> int:
    """A free port outside of the range for outgoing connections.

    (A client that tries a dead port again and again can get that port for its own end. It is
    then connected with itself, and no server can start there.)
    """
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


class Collector:
    """A running collector with ports and a directory of its own.

    Args:
        program: The binary.
        data: Its ``COLLECTOR_DATA``.
        configs: Files, relative to ``collector-config``, or other sources as ``yaml:...``.
        environment: Further variables.

    Attributes:
        grpc, http: The addresses for OTLP.
        prometheus: The address for the metrics of spans.
        port: The port for OTLP over gRPC.
    """

    def __init__(
        self, program: Path, data: Path, *configs: str, environment: dict[str, str] | None = None
    ) -> None:
        self.data = data
        data.mkdir(parents=True, exist_ok=True)
        self._process: subprocess.Popen[bytes] | None = None
        self._command = [str(program)]
        for config in configs:
            source = config if ":" in config else str(CONFIG / config)
            self._command += ["--config", source]
        for last in (False, False, True):
            self._environment = {**os.environ, **self._places(), **(environment or {})}
            try:
                self.start()
                return
            except RuntimeError as exc:  # somebody else took the port meanwhile
                if last or "address already in use" not in str(exc):
                    raise

    def _places(self) -> dict[str, str]:
        """The environment variables for its own ports and directory."""
        ports = [free_port() for _ in range(5)]
        self.port = ports[0]
        self.grpc, self.http, self.prometheus, self._health, _ = (
            f"http://127.0.0.1:{port}" for port in ports
        )
        return {
            "COLLECTOR_GRPC": self.grpc[7:],
            "COLLECTOR_HTTP": self.http[7:],
            "COLLECTOR_PROMETHEUS": self.prometheus[7:],
            "COLLECTOR_HEALTH": self._health[7:],
            "COLLECTOR_TELEMETRY_HOST": "127.0.0.1",
            "COLLECTOR_TELEMETRY_PORT": str(ports[4]),
            "COLLECTOR_DATA": str(self.data),
            "COLLECTOR_SPAN_METRICS_INTERVAL": "100ms",
            "GATEWAY_INSECURE": "true",
        }

    def start(self) -> None:
        """Start it, and return when its pipelines run."""
        with (self.data / "collector.log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env=self._environment, stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60  # only so that a failure ends
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError(f"the collector did not start:\n{self.log()[-4000:]}")
            time.sleep(0.02)

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(self._health, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    @property
    def pid(self) -> int:
        """The id of its process, while it runs."""
        assert self._process is not None
        return self._process.pid

    def stop(self) -> None:
        """Stop it as an operator does: it sends its queue first."""
        self._end("terminate")

    def kill(self) -> None:
        """Kill it, as the system does when memory is short."""
        self._end("kill")

    def _end(self, how: str) -> None:
        if self._process is not None:
            getattr(self._process, how)()
            self._process.wait()
            self._process = None

    def log(self) -> str:
        """The text of its log."""
        return (self.data / "collector.log").read_text(errors="replace")

    def metrics(self) -> str:
        """The metrics of spans, as Prometheus gets them."""
        with urllib.request.urlopen(f"{self.prometheus}/metrics", timeout=30) as answer:
            return str(answer.read().decode())

    def telemetry(self) -> str:
        """Its own metrics."""
        url = f"http://127.0.0.1:{self._environment['COLLECTOR_TELEMETRY_PORT']}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return str(answer.read().decode())

    def files(self, name: str) -> list[Path]:
        """Its files of that name, oldest first."""
        return sorted(self.data.glob(f"{name}*.jsonl"), key=lambda path: path.stat().st_mtime)

    def audit(self) -> list[dict[str, Any]]:
        """The audit records in its files, in the order in which they arrived."""
        return list(log_records(self.files("audit")))

    def logs(self) -> list[dict[str, Any]]:
        """The other log records in its files."""
        return list(log_records(self.files("logs")))

    def spans(self) -> list[dict[str, Any]]:
        """The spans in its files."""
        return list(records(self.files("traces"), "resourceSpans", "scopeSpans", "spans"))


def log_records(files: list[Path]) -> Iterator[dict[str, Any]]:
    """The log records in files of OTLP JSON lines."""
    return records(files, "resourceLogs", "scopeLogs", "logRecords")


def records(files: list[Path], resources: str, scopes: str, items: str) -> Iterator[dict[str, Any]]:
    """The records that the file exporter wrote, with attributes as a plain mapping.

    If the collector was killed while it wrote a line, that line was never acknowledged; the next
    record may follow on the same line.
    """
    for file in files:
        for line in file.read_text(encoding="utf-8").split("\n"):
            start = line.rfind(f'{{"{resources}":')
            if start < 0:
                continue
            try:
                content = json.loads(line[start:])
            except json.JSONDecodeError:
                continue
            for resource in content[resources]:
                for scope in resource[scopes]:
                    for item in scope[items]:
                        item["attributes"] = plain(item.get("attributes", []))
                        item["resource"] = plain(resource["resource"].get("attributes", []))
                        yield item


def plain(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """OTLP's list of keys and typed values as a mapping; 64-bit numbers are strings there."""
    return {item["key"]: _value(item["value"]) for item in attributes}


def _value(value: dict[str, Any]) -> Any:
    ((kind, content),) = value.items() or (("none", None),)
    if kind == "arrayValue":
        return [_value(item) for item in content.get("values", [])]
    return int(content) if kind == "intValue" else content
