"""The load and the Prometheus that scrapes it, each a process of our own."""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Prometheus", "load"]

DASHBOARDS = Path(__file__).resolve().parent.parent


def _free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens, below those of outgoing connections."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


@contextmanager
def _running(command: list[str], ready: str, log: Path, **more: str) -> Iterator[None]:
    """A process of our own, from when *ready* answers to the end of the block.

    Raises:
        RuntimeError: If it ends before it answers; with what it said.
    """
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **more}
        )
        try:
            deadline = time.monotonic() + 60
            while not _answers(ready):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise RuntimeError(f"{' '.join(command)} said:\n{log.read_text()[-3000:]}")
                time.sleep(0.1)
            yield
        finally:
            process.terminate()
            process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url):
            return True
    except OSError:
        return False


@contextmanager
def load(directory: Path, otlp: str, seconds: float, *more: str, **settings: str) -> Iterator[str]:
    """The support desk of `dashboards.preview.desk`.

    Args:
        directory: Where its files go.
        otlp: Where it sends spans and metrics, and ships its archive.
        seconds: Length of its day.
        more: More arguments.
        settings: More environment variables.

    Yields:
        ``host:port`` of its metrics.
    """
    directory.mkdir()
    address = f"127.0.0.1:{_free_port()}"
    command = [sys.executable, "-W", "ignore", "-m", "dashboards.preview.desk", *more]
    command += ["--port", address.rpartition(":")[2], "--output", str(directory / "archive")]
    command += ["--seconds", str(seconds)]
    settings |= {"OTEL_EXPORTER_OTLP_ENDPOINT": otlp, "OTEL_LOGS_EXPORTER": "none"}
    settings |= {"PYTHONPATH": str(DASHBOARDS.parent)}
    ready, log = f"http://{address}/metrics", directory / "desk.log"
    with _running(command, ready, log, AXON_AUDIT_SHIP_TO=otlp, **settings):
        yield address


class Prometheus:
    """A Prometheus of our own, with the dashboards' rules.

    Attributes:
        url: Where it answers.
    """

    def __init__(self, url: str, interval: int, targets: Path) -> None:
        self.url = url
        self._interval = interval
        self._targets = targets

    @classmethod
    @contextmanager
    def run(cls, directory: Path, interval: int) -> Iterator[Prometheus]:
        """Start one that scrapes every *interval* seconds, without targets."""
        targets = directory / "targets.json"
        targets.write_text("[]")
        config = {
            "global": {"scrape_interval": f"{interval}s", "evaluation_interval": f"{interval}s"},
            "rule_files": [str(DASHBOARDS / "rules" / "*.yaml")],
            "scrape_configs": [
                {
                    "job_name": "agents",
                    "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "1s"}],
                }
            ],
        }
        file = directory / "prometheus.yml"
        file.write_text(json.dumps(config))  # JSON is YAML
        address = f"127.0.0.1:{_free_port()}"
        command = ["prometheus", f"--config.file={file}", f"--storage.tsdb.path={directory}/tsdb"]
        command += [f"--web.listen-address={address}", "--enable-feature=exemplar-storage"]
        with _running(command, f"http://{address}/-/ready", directory / "prometheus.log"):
            yield cls(f"http://{address}", interval, targets)

    def scrape(self, targets: list[str]) -> None:
        """Scrape these from now on."""
        draft = self._targets.with_suffix(".tmp")
        draft.write_text(json.dumps([{"targets": targets}]))
        draft.replace(self._targets)

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The vector that *expression* is now."""
        parameters = urllib.parse.urlencode({"query": expression})
        with urllib.request.urlopen(f"{self.url}/api/v1/query?{parameters}") as answer:
            vector: list[dict[str, Any]] = json.load(answer)["data"]["result"]
            return vector

    def wait(self, target: str, scrapes: int) -> None:
        """Wait until *target* was scraped that often.

        Raises:
            RuntimeError: If that takes minutes longer than it should.
        """
        deadline = time.monotonic() + scrapes * self._interval + 120
        while not self.query(f'count_over_time(up{{instance="{target}"}}[1d]) >= {scrapes}'):
            if time.monotonic() > deadline:
                raise RuntimeError(f"{target} was not scraped {scrapes} times")
            time.sleep(0.2)
