"""Dashboards and rules on real Prometheus and Alertmanager servers."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from axon import Filter, MemorySystem
from collector import free_port, program, wait
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, until
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus import (
    DASHBOARDS,
    VERSIONS,
    Alertmanager,
    Prometheus,
    boards,
    queries,
    replaced,
    selectors,
)
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, AxonInstrumentor, OperationType, serve_metrics
from axon_audit_otel.events.draft import draft
from axon_audit_otel.events.findings import FINDINGS
from axon_audit_otel.events.model import EventStatus
from axon_audit_otel.privacy.personal_data import PII_KINDS
from axon_audit_otel.trail.metrics import (
    DURATION_BUCKETS,
    MAX_SYSTEMS,
    SDK_STAGES,
    SHIPPING_DROPS,
    STAGES,
)
from dashboards import rules
from dashboards.objectives import OBJECTIVES
from dashboards.recording import Names

pytestmark = [
    pytest.mark.component,
    pytest.mark.slow,
    pytest.mark.usefixtures("without_start_record"),
]


#: Five minutes are three seconds: from the generator of the real rules.
FAST = OBJECTIVES.scaled(1 / 100)


class TestRuleFiles:
    def test_promtool_accepts_them(self) -> None:
        """promtool, which reads them as Prometheus does, accepts the metrics."""
        files = sorted(map(str, (DASHBOARDS / "rules").glob("*.yaml")))
        promtool = program("promtool", "prometheus")
        done = subprocess.run(
            [promtool, "check", "rules", "--lint-fatal", *files],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("SUCCESS") == len(files) == 2

    @pytest.mark.parametrize(
        "file", sorted((DASHBOARDS / "rules" / "tests").glob("*.yaml")), ids=lambda p: p.stem
    )
    def test_promtool_cases(self, file: Path) -> None:
        """Every alert fires where it should, and not where it should not."""
        command = [program("promtool", "prometheus"), "test", "rules", file.name]
        done = subprocess.run(command, cwd=file.parent, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "SUCCESS" in done.stdout

    def test_scaled_rules_are_the_same_rules(self) -> None:
        """Only windows differ between the committed rules and those of these tests."""

        def shape(files: dict[str, str]) -> list[tuple[str, str]]:
            groups = [group for file in files.values() for group in yaml.safe_load(file)["groups"]]
            every = [rule for group in groups for rule in group["rules"]]
            return [
                (rule.get("alert", ""), str(rule.get("labels", {}).get("severity")))
                for rule in every
            ]

        assert shape(rules.files(FAST)) == shape(rules.files())


# --- the demo's load ---------------------------------------------------------------------------


@pytest.fixture(name="demo", scope="module")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """``axon-audit demo --serve`` as a process: where it can be scraped."""
    program("prometheus", "prometheus")
    output = tmp_path_factory.mktemp("demo")
    log = output / "log"
    command = [sys.executable, "-m", "axon_audit_otel", "demo", "--serve", "--port", "0"]
    with log.open("w") as out:
        process = subprocess.Popen(
            [*command, "--output", str(output / "archive"), "--json"], stdout=out, stderr=out
        )

    def url() -> str | None:
        said = log.read_text()
        assert process.poll() is None, said
        return json.loads(said)["metrics_url"] if said.rstrip().endswith("}") else None

    try:
        yield wait(url)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


@pytest.fixture(name="prometheus", scope="module", params=VERSIONS)
def _prometheus(
    demo: str, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Prometheus]:
    """A Prometheus that scrapes it, with the rules, until the slowest of them has a value."""
    directory = tmp_path_factory.mktemp("prometheus")
    address = demo.removeprefix("http://").removesuffix("/metrics")
    server = Prometheus(directory, {"a": address}, rules.files(FAST), version=request.param)
    try:
        wait(lambda: server.instant(Names(FAST).budget_left))
        wait(lambda: server.instant(f"count_over_time({Names(FAST).rate('slow')}[20s]) > 5"))
        yield server
    finally:
        server.stop()


PANELS = [
    pytest.param(board, target, id=f"{board['uid']}-{panel['title']}-{target['refId']}")
    for board in boards().values()
    for panel, target in queries(board)
]


class TestDemo:
    @pytest.mark.parametrize(("board", "target"), PANELS)
    def test_every_panel_has_data(
        self, prometheus: Prometheus, board: dict[str, Any], target: dict[str, Any]
    ) -> None:
        """Every query of every panel returns something, asked as Grafana asks."""
        expression = replaced(target["expr"], board)
        expression = expression.replace(Names(OBJECTIVES).budget_left, Names(FAST).budget_left)
        ask = prometheus.instant if target["instant"] else prometheus.over_time
        # Awaited: with a scrape that came too late, nothing is now until the next.
        assert wait(lambda: ask(expression)), expression

    def test_every_rule_is_healthy(self, prometheus: Prometheus) -> None:
        """Every rule was evaluated without an error, and every recorded series is there."""
        found = prometheus.rules()
        assert len(found) == 46
        wait(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()))
        assert [rule["lastError"] for rule in prometheus.rules() if "lastError" in rule] == []
        for rule in found:
            if rule["type"] == "recording":
                assert wait(lambda rule=rule: prometheus.instant(rule["name"])), rule["name"]

    def test_every_selector_of_every_rule_has_data(self, prometheus: Prometheus) -> None:
        """An alert that asks for what no scrape has would be silent for ever."""
        asked = {selector for rule in prometheus.rules() for selector in selectors(rule["query"])}
        assert len(asked) > 30
        empty = [one for one in asked if not prometheus.instant(f"last_over_time({one}[30s])")]
        assert empty == []

    def test_variables(self, prometheus: Prometheus) -> None:
        """The values of a dashboard's variables exist."""
        found = prometheus.get("/api/v1/series", **{"match[]": "axon_audit_buffer_capacity"})[
            "data"
        ]
        chosen = [(s["job"], s["instance"], s["trail"]) for s in found]
        assert chosen == [("agent", "a", "demo")]

    def test_the_demo_fires_what_it_should(self, prometheus: Prometheus) -> None:
        """A load of which a twelfth fails burns its budget; its trail is well."""
        assert wait(lambda: prometheus.firing("AxonMemoryErrorBudgetBurn"))
        others = ("AxonAudit", "AxonTarget", "AxonNo")

        def is_well() -> bool:
            alerts = prometheus.get("/api/v1/alerts")["data"]["alerts"]
            firing = {a["labels"]["alertname"] for a in alerts if a["state"] == "firing"}
            return not any(name.startswith(others) for name in firing)

        assert wait(is_well)


class TestNow:
    async def test_what_stopped_is_not_shown(
        self, make_audit: Make, registry: CollectorRegistry, tmp_path: Path
    ) -> None:
        """A rest in traffic is no latency that is not a number; of what died, nothing is now."""
        audit = make_audit(auto_export_path=tmp_path / "archive")
        await audit.log_event("RECALL", duration_ms=5)
        board = boards()["axon-memory-overview"]
        asked = {
            panel["title"]: re.sub(r"\[\d+s\]", "[3s]", replaced(target["expr"], board))
            for panel, target in queries(board)
            if panel["title"] in ("Latency p95", "Slowest instances", "Processes", "In progress")
        }
        with serve_metrics(0, registry=registry) as target:
            server = Prometheus(tmp_path / "server", {"a": f"127.0.0.1:{target.port}"})

            def shown() -> dict[str, list[str]]:
                answers = {
                    title: server.get("/api/v1/query", query=expression)["data"]["result"]
                    for title, expression in asked.items()
                }
                return {title: [s["value"][1] for s in answers[title]] for title in answers}

            try:
                growth = "increase(axon_memory_operation_duration_seconds_count[3s])"
                await until(lambda: server.instant(f"{growth} == 0"))
                found = wait(lambda: (now := shown())["Processes"] and now)
                assert (found["Processes"], found["Latency p95"]) == (["1"], [])
                assert found["Slowest instances"] == []
                target.close()
                await until(lambda: server.instant("up == 0"))
                assert not any(shown().values())
            finally:
                server.stop()


# --- what a scrape is told -----------------------------------------------------------------------

#: Every text form that Prometheus 3 may ask for; 2.42 asks for one of two itself.
PROTOCOLS = ["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0"]
PROTOCOLS += ["PrometheusText0.0.4"]


class TestScrapes:
    @pytest.mark.parametrize("in_files", [False, True])
    def test_every_protocol(self, tmp_path: Path, in_files: bool) -> None:
        """Prometheus 3 takes an answer only if it says what it is, and is that: each text form, of
        one process and of several. A bucket of a whole second has the label that queries name."""
        place = {"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if in_files else {}
        source = """
            import asyncio, sys
            from axon_audit_otel import AuditLogger, serve_metrics
            audit = AuditLogger(name="trail-1")
            asyncio.run(audit.log_event("STORE", duration_ms=1))
            server = serve_metrics(0)
            print(server.port, flush=True)
            sys.stdin.read()
        """
        target = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(source)],
            env={**os.environ, **place},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert target.stdout is not None
        address = f"127.0.0.1:{target.stdout.readline().strip()}"
        server = Prometheus(tmp_path / "server", {"a": address}, version="3", protocols=PROTOCOLS)
        try:
            wait(lambda: len(server.instant("up == 1")) == 1 + len(PROTOCOLS))
            of_trail = '{trail="trail-1",operation="STORE"'
            counts = f'axon_memory_operations_total{of_trail},status="SUCCESS"}} == 1'
            assert len(wait(lambda: server.instant(counts))) == 1 + len(PROTOCOLS)
            buckets = f'axon_memory_operation_duration_seconds_bucket{of_trail},le="1.0"}} == 1'
            assert len(wait(lambda: server.instant(buckets))) == 1 + len(PROTOCOLS)
        finally:
            server.stop()
            target.communicate("")


# --- exemplars -----------------------------------------------------------------------------------


class TestExemplars:
    @pytest.mark.parametrize("version", VERSIONS)
    async def test_lead_to_real_spans(
        self,
        version: str,
        make_system: Any,
        instrumented: AxonInstrumentor,
        registry: CollectorRegistry,
        span_exporter: InMemorySpanExporter,
        tmp_path: Path,
    ) -> None:
        """The trace ids that Prometheus has are those of spans of these very operations."""
        memory, place = make_system(), tmp_path / "server"
        with serve_metrics(0, registry=registry) as target:
            server = Prometheus(place, {"a": f"127.0.0.1:{target.port}"}, version=version)
            try:

                async def found() -> list[dict[str, Any]]:
                    await memory.store("tea")
                    await memory.recall("tea")
                    (panel,) = (
                        (board, query)
                        for board in boards().values()
                        for shown, query in queries(board)
                        if shown["title"] == "Latency p99 by operation"
                    )
                    expression = replaced(panel[1]["expr"], panel[0])
                    return await asyncio.to_thread(server.exemplars, expression)

                exemplars: list[dict[str, Any]] = []
                while len(exemplars) < 2:
                    exemplars = await found()
                    await asyncio.sleep(0.2)
            finally:
                server.stop()
        spans = {f"{s.context.trace_id:032x}": s.name for s in span_exporter.get_finished_spans()}
        names = {spans[exemplar["labels"]["trace_id"]] for exemplar in exemplars}
        assert names == {"create_memory", "search_memory"}


# --- from a failing backend to a webhook ---------------------------------------------------------


class _Webhook:
    """Takes what an Alertmanager sends; or, as a collector, refuses what holds an event."""

    def __init__(self, refuse: bytes | None = None) -> None:
        self.received: list[tuple[str, dict[str, Any]]] = []
        received = self.received

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if refuse is None:
                    received.append((self.path, json.loads(body)))
                self.send_response(400 if refuse and refuse in body else 200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def alerts(self, path: str, name: str, status: str) -> list[dict[str, Any]]:
        """The messages to *path* about that alert in that state."""
        return [
            alert
            for at, message in list(self.received)
            for alert in message["alerts"]
            if at == path and alert["status"] == status and alert["labels"]["alertname"] == name
        ]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def quick(address: str) -> dict[str, Any]:
    """The committed configuration, with its waits shortened and its receivers at *address*."""
    config: dict[str, Any] = yaml.safe_load((DASHBOARDS / "alertmanager.yaml").read_text())
    for route in (config["route"], *config["route"]["routes"]):
        route |= {"group_wait": "1s", "group_interval": "1s"}
    for receiver in config["receivers"]:
        for hook in receiver["webhook_configs"]:
            hook["url"] = f"{address}/{receiver['name']}"
    return config


class TestAlertmanager:
    def test_routes(self) -> None:
        """The receiver of each alert, as Alertmanager itself reads the file."""
        amtool = program("amtool", "prometheus-alertmanager")
        file = str(DASHBOARDS / "alertmanager.yaml")
        for labels, receiver in (
            (["severity=critical", "alertname=AxonAuditFailures"], "pager"),
            (["severity=warning", "alertname=AxonNoTraffic"], "tickets"),
            (["severity=warning", "category=security"], "security"),
            (["severity=info", "alertname=AxonAuditEventsEvicted"], "chat"),
        ):
            command = [amtool, "config", "routes", "test", "--config.file", file, *labels]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            assert done.stdout.split() == [receiver]

    def test_who_was_woken_needs_no_ticket(self, tmp_path: Path) -> None:
        """About the same: another stage that fails, or another trail, is still told."""
        manager = Alertmanager(tmp_path, quick("http://127.0.0.1:9"))
        stages = ("critical", "journal"), ("warning", "journal"), ("warning", "checkpoint")
        common = {"alertname": "AxonAuditFailures", "job": "agent", "trail": "default"}
        failures = [{**common, "severity": how, "stage": stage} for how, stage in stages]
        failures.append({**failures[1], "trail": "other"})

        def told() -> dict[tuple[str, ...], str]:
            return {
                tuple(alert["labels"][name] for name in ("severity", "stage", "trail")): alert[
                    "status"
                ]["state"]
                for alert in manager.get("/api/v2/alerts")
            }

        try:
            manager.alert(*failures)
            wait(lambda: len(told()) == 4 and "unprocessed" not in told().values())
            assert told() == {
                ("critical", "journal", "default"): "active",
                ("warning", "journal", "default"): "suppressed",
                ("warning", "checkpoint", "default"): "active",
                ("warning", "journal", "other"): "active",
            }
        finally:
            manager.stop()

    async def test_failing_backend(
        self,
        make_system: Any,
        make_audit: Make,
        registry: CollectorRegistry,
        tmp_path: Path,
    ) -> None:
        """It fails: the pager rings, with the value and the runbook. It recovers: resolved."""
        program("prometheus", "prometheus")
        name = "AxonMemoryErrorBudgetBurn"
        adapter = FaultyAdapter()
        memory: MemorySystem = make_system(audit_logger=make_audit(), persistent=adapter)
        webhook = _Webhook()
        with serve_metrics(0, registry=registry) as target:
            manager = Alertmanager(tmp_path / "alertmanager", quick(webhook.url))
            server = Prometheus(
                tmp_path / "prometheus",
                {"a": f"127.0.0.1:{target.port}"},
                rules.files(FAST),
                alertmanager=manager.url.removeprefix("http://"),
            )
            load = asyncio.create_task(keep_storing(memory))
            try:
                healthy = f"{Names(FAST).ratio('failed', FAST.unit)} == 0"
                await until(lambda: server.instant(healthy))
                assert server.firing(name) == []

                adapter.faults["save"] = ConnectionError("the store does not answer")
                await until(lambda: webhook.alerts("/pager", name, "firing"))
                alert = webhook.alerts("/pager", name, "firing")[0]
                assert alert["labels"]["job"] == "agent"
                assert "%" in alert["annotations"]["description"]
                assert alert["annotations"]["runbook_url"].endswith(f"#{name.lower()}")

                adapter.faults.clear()
                await until(lambda: webhook.alerts("/pager", name, "resolved"))
            finally:
                load.cancel()
                server.stop()
                manager.stop()
                webhook.close()

    async def test_target_that_dies(self, registry: CollectorRegistry, tmp_path: Path) -> None:
        """The pager rings. No ticket about the same, and none that there is no trail either."""
        program("prometheus", "prometheus")
        webhook = _Webhook()
        target = serve_metrics(0, registry=registry)
        audit = AuditLogger(registry=registry)
        await audit.log_event("STORE")
        manager = Alertmanager(tmp_path / "alertmanager", quick(webhook.url))
        server = Prometheus(
            tmp_path / "prometheus",
            {"a": f"127.0.0.1:{target.port}"},
            rules.files(FAST),
            alertmanager=manager.url.removeprefix("http://"),
        )
        try:
            await until(lambda: server.instant("axon_audit_buffer_capacity"))
            target.close()
            await until(lambda: webhook.alerts("/pager", "AxonTargetDown", "firing"))
            await until(lambda: server.firing("AxonAuditAbsent"))

            def states() -> list[str]:
                found = manager.get("/api/v2/alerts", filter="alertname=AxonAuditAbsent")
                return [alert["status"]["state"] for alert in found]

            await until(lambda: states() == ["suppressed"])
            assert [path for path, _ in webhook.received if path != "/pager"] == []
        finally:
            server.stop()
            manager.stop()
            webhook.close()


async def keep_storing(memory: MemorySystem) -> None:
    """A load that does not mind failures."""
    while True:
        with contextlib.suppress(ConnectionError):
            await memory.store("tea")
        await asyncio.sleep(0.02)


class _Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return "several"


async def alter_resurrect_and_leave(make_system: MakeSystem, audit: AuditLogger) -> None:
    """Change the text of an entry in its store, bring one back after its FORGET, and delete a
    person's data but for the summary that was made of it."""
    adapter = ListingAdapter()
    memory: Any = make_system(audit_logger=audit, persistent=adapter)
    for number in range(4):
        await memory.store(f"tea {number}", {"user_id": "bob" if number % 2 else "alice"})
    await memory.compact("persistent", threshold=2, summarizer=_Joining())
    await memory.forget(filter=Filter(user_id="bob"))
    key = await memory.store("coffee")
    entry = await adapter.get(key)
    adapter._storage[key] = entry.model_copy(update={"text": "poison"})
    await memory.recall("poison")
    await memory.forget(key)
    adapter._storage[key] = entry
    await memory.recall("coffee")
    assert audit.get_statistics()["findings"].keys() == set(FINDINGS)


class TestEveryAlert:
    @pytest.mark.parametrize("version", VERSIONS)
    async def test_fires_on_the_real_thing(
        self,
        version: str,
        make_audit: Make,
        make_system: MakeSystem,
        registry: CollectorRegistry,
        tmp_path: Path,
    ) -> None:
        """Each kind of trouble, made with a trail of its own, fires its alert, and no other
        trail's; those of errors and of targets are above."""
        objectives = replace(FAST, seal_overdue=timedelta(seconds=3))
        dead, collector = f"http://127.0.0.1:{free_port()}", _Webhook(refuse=b"evt_")
        quiet = make_audit(name="quiet", auto_export_path=tmp_path / "quiet")
        broken = make_audit(name="broken", auto_export_path=tmp_path / "broken", max_events=10)
        late = make_audit(name="late", auto_export_path=tmp_path / "late")
        cut_off = make_audit(name="cut-off", ship_to=dead, auto_export_path=tmp_path / "cut-off")
        refused = make_audit(name="refused", ship_to=collector.url)
        forgetful = make_audit(name="forgetful", max_events=10)
        slow = make_audit(name="slow")
        failing = make_audit(name="failing")
        early = make_audit(name="early")
        await early.log_event("RECALL", metadata={"altered": ["e1"]})  # nobody scrapes yet
        (tmp_path / "broken").rename(tmp_path / "elsewhere")
        (tmp_path / "broken").touch()

        async def trouble() -> None:
            while True:
                await broken.log_event("STORE")
                await forgetful.log_event("STORE")
                await refused.log_event("STORE")
                await slow.log_event("RECALL", duration_ms=5_000)
                await failing.log_event("RECALL", status="FAILURE")
                await asyncio.sleep(0.05)

        expected = {
            ("AxonExcessiveDeletions", "warning", "quiet"),
            ("AxonRepeatedFailures", "warning", "quiet"),
            ("AxonUnusualExports", "warning", "quiet"),
            ("AxonAlteredEntry", "critical", "quiet"),
            ("AxonForgottenEntrySeen", "critical", "quiet"),
            ("AxonIncompleteForget", "warning", "quiet"),
            ("AxonAlteredEntry", "critical", "early"),
            ("AxonMemoryErrorBudgetBurn", "critical", "failing"),
            ("AxonNoTraffic", "warning", "quiet"),
            ("AxonMemoryLatencyBudgetBurn", "critical", "slow"),
            ("AxonAuditFailures", "warning", "broken"),
            ("AxonAuditFailures", "critical", "broken"),
            ("AxonAuditEventsEvicted", "critical", "broken"),
            ("AxonAuditEventsEvicted", "info", "forgetful"),
            ("AxonAuditShippingDropped", "warning", "refused"),
            ("AxonAuditSealOverdue", "warning", "late"),
            ("AxonAuditShippingStalled", "warning", "cut-off"),
            ("AxonAuditSealOverdue", "warning", "cut-off"),
        }
        fired: set[tuple[str, str, str]] = set()
        with serve_metrics(0, registry=registry) as target:
            address = f"127.0.0.1:{target.port}"
            server = Prometheus(
                tmp_path / "server", {"a": address}, rules.files(objectives), version=version
            )
            load = asyncio.create_task(trouble())
            try:
                await until(lambda: server.instant("axon_audit_buffer_capacity"))
                for number in range(101):
                    await quiet.log_event("FORGET")
                    if number % 9 == 0:
                        await quiet.log_event("EXPORT", status="FAILURE")
                await alter_resurrect_and_leave(make_system, quiet)
                quiet.seal()
                await late.log_event("STORE")
                await cut_off.log_event("STORE")

                def all_fired() -> bool:
                    for alert in server.get("/api/v1/alerts")["data"]["alerts"]:
                        if alert["state"] == "firing":
                            found = alert["labels"]
                            fired.add(
                                (found["alertname"], found["severity"], found.get("trail", ""))
                            )
                    return expected <= fired

                with contextlib.suppress(AssertionError):  # which ones is better told below
                    await until(all_fired)
            finally:
                load.cancel()
                await asyncio.to_thread(server.stop)
                collector.close()
        assert expected - fired == set()
        well = {name for name, _, trail in fired if trail in ("quiet", "slow", "failing")}
        assert not {name for name in well if name.startswith("AxonAudit")}


# --- cardinality ---------------------------------------------------------------------------------


# Counters and histograms have a ``_created`` beside each.
_COUNTERS = (
    len(OperationType) * len(EventStatus)
    + len(OperationType)  # entries
    + len(STAGES)
    + len(PII_KINDS)
    + len(SHIPPING_DROPS)
    + len(SDK_STAGES)
    + len(FINDINGS)
    + 3  # evicted, exported, shipped
)
_HISTOGRAM = len(DURATION_BUCKETS) + 4  # +Inf, count, sum, created
_GAUGES = 4  # buffer, capacity, last seal, shipping lag; no archive, nothing in progress
_OF_A_SYSTEM = len(OperationType) * (2 * len(EventStatus) + 2 + _HISTOGRAM)
SERIES_OF_A_TRAIL = 2 * _COUNTERS + len(OperationType) * _HISTOGRAM + _GAUGES


class TestCardinality:
    async def test_users_and_entries_make_no_series(
        self, make_audit: Make, registry: CollectorRegistry, tmp_path: Path
    ) -> None:
        """The number of series of a trail does not depend on users, entries or events; and that
        of memory systems is bounded."""
        audit = make_audit(max_events=10)
        for operation in OperationType:
            await audit.log_event(operation, duration_ms=1)
        with serve_metrics(0, registry=registry) as target:
            server = Prometheus(tmp_path / "server", {"a": f"127.0.0.1:{target.port}"})
            try:
                mine = '{__name__=~"axon_.+"}'
                before = wait(lambda: server.instant(f"count({mine})"))[0]["value"][1]
                for user in range(1_000):
                    ids = [f"{user}-{entry}" for entry in range(1_000)]
                    await audit.log_event(
                        "STORE", user_id=f"user-{user}", session_id=ids[0], entry_ids=ids
                    )
                one = draft("RECALL", "SUCCESS", duration_ms=1, trail=audit.trail)
                for user in range(1_000_000):
                    one["user_id"] = f"user-{user}"
                    audit.trail.metrics.observe(one)
                stored = 'axon_memory_entries_total{operation="STORE"}'
                recalls = 'axon_memory_operations_total{operation="RECALL",status="SUCCESS"}'
                wait(lambda: server.instant(f"{stored} + on(trail) {recalls} >= 2000001"))
                after = wait(lambda: server.instant(f"count({mine})"))[0]["value"][1]
                assert before == after
                assert int(after) == SERIES_OF_A_TRAIL
                for number in range(1_000):
                    for operation in OperationType:
                        one["system"], one["operation"] = f"tenant-{number}", operation.value
                        audit.trail.metrics.observe(one)
                every = f"sum(axon_memory_operations_total) >= {1_001_012 + 12_000}"
                wait(lambda: server.instant(every))
                most = SERIES_OF_A_TRAIL + (MAX_SYSTEMS + 1) * _OF_A_SYSTEM
                assert int(server.instant(f"count({mine})")[0]["value"][1]) == most
            finally:
                server.stop()
