"""Real Prometheus servers and Alertmanagers for tests, and Grafana's queries to them."""

from __future__ import annotations

import json
import math
import re
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import go_programs
import yaml
from collector import free_port, program, wait

DASHBOARDS = Path(__file__).resolve().parent.parent / "dashboards"


class _Server:
    """A server program of the tests' own, on a free port, stopped by its process id."""

    def __init__(self, directory: Path, command: Callable[[int], list[str]]) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        with (directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                command(self.port), stdout=log, stderr=log, cwd=directory
            )
        try:
            wait(lambda: self._ready(directory / "log"))
        except BaseException:
            self.stop()
            raise

    def _ready(self, log: Path) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"it did not start:\n{log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def get(self, path: str, **arguments: Any) -> Any:
        """An answer of its HTTP API."""
        given = {name: str(value) for name, value in arguments.items()}
        try:
            url = f"{self.url}{path}?{urllib.parse.urlencode(given)}"
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as exc:
            raise AssertionError(f"{path} {arguments}: {exc.read().decode()}") from None

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.wait()


#: Prometheus that is installed (Debian has 2.42), and the newest, built from its source.
VERSIONS = ["2", "3"]


def program_of(version: str) -> str:
    """That of `VERSIONS`."""
    if version == "3":
        return str(go_programs.prometheus_3())
    return program("prometheus", "prometheus")


class Prometheus(_Server):
    """Scrapes *targets* (``host:port`` by instance name) as job ``agent``, twice a second; and
    besides, as a job of that name, by each of *protocols* alone. Without *targets* as the file
    ``prometheus.yml`` in *directory* says."""

    def __init__(
        self,
        directory: Path,
        targets: dict[str, str] | None = None,
        rules: dict[str, str] | None = None,
        alertmanager: str | None = None,
        version: str = "2",
        protocols: Sequence[str] = (),
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        for name, content in (rules or {}).items():
            (directory / name).write_text(content)
        alerting = {"alertmanagers": [{"static_configs": [{"targets": [alertmanager]}]}]}
        static = [
            {"targets": [address], "labels": {"instance": instance}}
            for instance, address in (targets or {}).items()
        ]
        config = {
            "global": {"scrape_interval": "500ms", "evaluation_interval": "1s"},
            "rule_files": list(rules or {}),
            "alerting": alerting if alertmanager else {},
            "scrape_configs": [
                {"job_name": "agent", "static_configs": static},
                *(
                    {"job_name": one, "static_configs": static, "scrape_protocols": [one]}
                    for one in protocols
                ),
            ],
        }
        if targets is not None:
            (directory / "prometheus.yml").write_text(yaml.safe_dump(config))
        server = program_of(version)
        super().__init__(
            directory,
            lambda port: [
                server,
                "--config.file=prometheus.yml",
                f"--storage.tsdb.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--enable-feature=exemplar-storage",
            ],
        )

    def instant(self, expression: str) -> list[dict[str, Any]]:
        """The current value of *expression*."""
        found = self.get("/api/v1/query", query=expression)["data"]["result"]
        return [series for series in found if not math.isnan(float(series["value"][1]))]

    def over_time(self, expression: str, seconds: int = 30) -> list[dict[str, Any]]:
        """The series of *expression*, without points that are no numbers."""
        now = time.time()
        found = self.get(
            "/api/v1/query_range", query=expression, start=now - seconds, end=now, step=1
        )["data"]["result"]
        for series in found:
            series["values"] = [v for v in series["values"] if not math.isnan(float(v[1]))]
        return [series for series in found if series["values"]]

    def exemplars(self, expression: str, seconds: int = 120) -> list[dict[str, Any]]:
        """The exemplars of the series that *expression* selects."""
        now = time.time()
        found = self.get(
            "/api/v1/query_exemplars", query=expression, start=now - seconds, end=now + 1
        )["data"]
        return [exemplar for series in found for exemplar in series["exemplars"]]

    def rules(self) -> list[dict[str, Any]]:
        """All rules and their state."""
        groups = self.get("/api/v1/rules")["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self, name: str) -> list[dict[str, Any]]:
        """The alerts of that name that fire."""
        alerts = self.get("/api/v1/alerts")["data"]["alerts"]
        return [
            alert
            for alert in alerts
            if alert["labels"]["alertname"] == name and alert["state"] == "firing"
        ]

    def series(self) -> int:
        """The number of series in its memory."""
        return int(self.get("/api/v1/status/tsdb")["data"]["headStats"]["numSeries"])


class Alertmanager(_Server):
    """An Alertmanager with that configuration."""

    def __init__(self, directory: Path, config: dict[str, Any]) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "alertmanager.yaml").write_text(yaml.safe_dump(config))
        server = program("prometheus-alertmanager", "prometheus-alertmanager")
        super().__init__(
            directory,
            lambda port: [
                server,
                "--config.file=alertmanager.yaml",
                f"--storage.path={directory / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--cluster.listen-address=",  # no gossip port
            ],
        )

    def alert(self, *labels: dict[str, str]) -> None:
        """Report firing alerts with these labels, as a Prometheus does."""
        request = urllib.request.Request(
            f"{self.url}/api/v2/alerts",
            json.dumps([{"labels": one} for one in labels]).encode(),
            {"Content-Type": "application/json"},
        )
        urllib.request.urlopen(request, timeout=60).close()


# --- Grafana's queries -----------------------------------------------------------------------


def boards() -> dict[str, dict[str, Any]]:
    """The committed dashboards, by uid."""
    paths = sorted([*DASHBOARDS.glob("*.json"), *DASHBOARDS.glob("victorialogs/*.json")])
    found = [json.loads(path.read_text()) for path in paths]
    return {board["uid"]: board for board in found}


def panels(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The panels of a dashboard, without rows."""
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries(board: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every PromQL query with its panel."""
    for panel in panels(board):
        for target in panel["targets"]:
            if target["datasource"]["type"] == "prometheus":
                yield panel, target


def replaced(expression: str, board: dict[str, Any]) -> str:
    """The query as Grafana sends it, with everything selected, for half a minute."""
    values = {
        variable["name"]: variable["allValue"]
        for variable in board["templating"]["list"]
        if "allValue" in variable
    }
    values |= {"__rate_interval": "10s", "__range": "30s"}
    return re.sub(r"\$(\w+)", lambda match: values[match[1]], expression)


# --- names in a query --------------------------------------------------------------------------

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


def selectors(expression: str) -> list[str]:
    """The selectors of *expression*: metrics with their matchers."""
    bare = _GROUPING.sub(" ", expression)
    bare = re.sub(r"\[[^\]]*\]|\boffset\s+\w+", " ", bare)
    bare = re.sub(r',\s*"[^"]*"', " ", bare)  # texts that are arguments
    found = []
    for match in re.finditer(r'([A-Za-z_:][\w:]*)\s*(\{(?:"(?:[^"\\]|\\.)*"|[^"}])*\}|\()?', bare):
        name, follows = match[1], match[2] or ""
        inside = bare[: match.start()].count("{") > bare[: match.start()].count("}")
        if follows != "(" and not inside and name.lower() not in _WORDS:
            found.append(name + follows)
    return found


def labels(expression: str) -> set[str]:
    """The labels that *expression* names, in matchers and groupings."""
    plain = _STRING.sub('""', expression)
    found = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"\"", plain))
    for group in _GROUPING.findall(plain):
        found |= {name.strip() for name in group.split(",") if name.strip()}
    return found
