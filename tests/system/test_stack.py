"""The local stack of ``collector-config/compose.yaml``: whatever it mounts is valid and fits."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from collector import CONFIG, ROOT, Collector, binary, program, wait
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from prometheus import VERSIONS, Alertmanager, Prometheus
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, serve_metrics

pytestmark = pytest.mark.usefixtures("without_start_record")

STACK: dict[str, Any] = yaml.safe_load((CONFIG / "compose.yaml").read_text())
DASHBOARDS = sorted((ROOT / "dashboards").glob("*.json"))
PROVISIONING = ROOT / "dashboards" / "provisioning"
SERVICES: dict[str, Any] = STACK["services"]

_PROMETHEUS = "/etc/prometheus/prometheus.yaml"
_ALERTMANAGER = "/etc/alertmanager/alertmanager.yaml"

#: What listens where, inside of the stack.
PORTS = {
    "alertmanager": {9093},
    "collector": {4317, 4318, 8888, 8889},
    "demo": {9464},
    "loki": {3100},
    "prometheus": {9090},
    "tempo": {3200, 4317},
}


def check(*command: str | Path, **environment: str) -> None:
    """The command must end well."""
    done = subprocess.run(
        [str(part) for part in command],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def mounts(service: str) -> dict[str, Path]:
    """Files and directories of this repository, by their place in the container."""
    found = {}
    for volume in SERVICES[service].get("volumes", []):
        source, target, *_ = volume.split(":")
        if source.startswith("."):
            found[target] = (CONFIG / source).resolve()
        else:
            assert source in STACK["volumes"]
    return found


def in_container(service: str, path: str) -> Path:
    """The file of this repository that a container sees there."""
    for target, source in mounts(service).items():
        if path == target or path.startswith(f"{target}/"):
            return source / path[len(target) + 1 :] if path != target else source
    pytest.fail(f"{service} sees no {path}")


def test_every_mounted_file_is_there_and_a_test_knows_it() -> None:
    """A file that nothing here checks would be the one with the mistake."""
    known = {
        *(CONFIG / "stack").glob("*.yaml"),
        *(CONFIG / "gateway.yaml", CONFIG / "overlays"),
        *DASHBOARDS,
        ROOT / "dashboards" / "rules",
        *PROVISIONING.iterdir(),
    }
    mounted = [path for service in SERVICES for path in mounts(service).values()]
    assert [path for path in mounted if not path.exists() or path not in known] == []
    assert set((CONFIG / "stack").glob("*.yaml")) <= set(mounted)
    for service in SERVICES.values():
        if "build" in service:
            context = (CONFIG / service["build"]["context"]).resolve()
            dockerfile = context / service["build"]["dockerfile"]
            for sources in re.findall(
                r"^COPY (?!--from)(.+) \S+$", dockerfile.read_text(), re.MULTILINE
            ):
                assert all((context / source).exists() for source in sources.split())


def test_ports_are_open_to_this_machine_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_every_address_is_one_that_listens() -> None:
    """In the collector's environment, Prometheus' targets and Grafana's data sources."""
    said = [str(value) for value in SERVICES["collector"]["environment"].values()]
    said += [str(value) for value in SERVICES["demo"]["environment"].values()]
    prometheus = yaml.safe_load((CONFIG / "stack" / "prometheus.yaml").read_text())
    said += re.findall(r"'targets': \['([^']+)'", str(prometheus))
    grafana = yaml.safe_load((PROVISIONING / "datasources" / "axon.yaml").read_text())
    said += [source["url"] for source in grafana["datasources"]]
    addresses = [urlsplit(text if "//" in text else f"//{text}") for text in said if ":" in text]
    assert len(addresses) == 11
    for address in addresses:
        assert address.port in PORTS[address.hostname or ""]


@pytest.mark.component
def test_collector() -> None:
    """With its environment and its command line."""
    collector = SERVICES["collector"]
    command = [part.partition("=")[2] for part in collector["command"]]
    files = [in_container("collector", path) for path in command]
    options = [part for file in files for part in ("--config", file)]
    check(binary(), "validate", *options, **collector["environment"])
    text = "".join(file.read_text() for file in files)
    assert set(collector["environment"]) <= set(re.findall(r"env:(\w+)", text))


@pytest.mark.component
def test_prometheus_and_its_rules(tmp_path: Path) -> None:
    promtool = program("promtool", "prometheus")
    assert f"--config.file={_PROMETHEUS}" in SERVICES["prometheus"]["command"]
    config = shutil.copy(in_container("prometheus", _PROMETHEUS), tmp_path)
    rules = in_container("prometheus", "/etc/prometheus/rules")
    shutil.copytree(rules, tmp_path / "rules")
    assert list(rules.glob("*.yaml"))
    check(promtool, "check", "config", config)


@pytest.mark.component
def test_alertmanager() -> None:
    amtool = program("amtool", "prometheus-alertmanager")
    assert f"--config.file={_ALERTMANAGER}" in SERVICES["alertmanager"]["command"]
    check(amtool, "check-config", in_container("alertmanager", _ALERTMANAGER))


@pytest.mark.component
def test_collector_starts(start_collector: Callable[..., Collector]) -> None:
    """With the command's files and its environment, but for where it listens and sends: what comes
    in leaves for Loki and Tempo."""
    files = [part.partition("=")[2] for part in SERVICES["collector"]["command"]]
    far = start_collector("all-in-one.yaml", COLLECTOR_DECISION_WAIT="1s")
    places = {"LOKI_ENDPOINT": far.http, "TEMPO_ENDPOINT": far.grpc.removeprefix("http://")}
    there = start_collector(
        *(str(in_container("collector", file)) for file in files),
        **{**SERVICES["collector"]["environment"], **places, "COLLECTOR_DECISION_WAIT": "1s"},
    )
    spans = TracerProvider(shutdown_on_exit=False)
    spans.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{there.http}/v1/traces")))
    with spans.get_tracer("shop").start_as_current_span("an order"):
        pass
    records = LoggerProvider(shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"{there.http}/v1/logs")
    records.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    records.get_logger("shop").emit(LogRecord(body="{}", event_name="axon.memory.audit"))
    wait(lambda: [span["name"] for span in far.spans()] == ["an order"])
    wait(lambda: [record["eventName"] for record in far.audit()] == ["axon.memory.audit"])


@pytest.mark.component
@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_prometheus_and_alertmanager_start(tmp_path: Path, version: str) -> None:
    """With these files, but for the addresses: the demo's place is scraped, all rules are
    evaluated, and the Alertmanager is known."""
    manager = Alertmanager(
        tmp_path / "manager",
        yaml.safe_load(in_container("alertmanager", _ALERTMANAGER).read_text()),
    )
    registry = CollectorRegistry()
    audit = AuditLogger(registry=registry)
    with audit, serve_metrics(0, registry=registry) as target:
        served = {"demo:9464": f"127.0.0.1:{target.port}", "alertmanager:9093": manager.url[7:]}
        text = in_container("prometheus", _PROMETHEUS).read_text()
        for name, address in served.items():
            assert name in text
            text = text.replace(name, address)
        shutil.copytree(in_container("prometheus", "/etc/prometheus/rules"), tmp_path / "rules")
        (tmp_path / "prometheus.yml").write_text(text)
        server = Prometheus(tmp_path, version=version)
        try:
            wait(lambda: server.instant('up{job="axon-memory"} == 1'))
            wait(lambda: {rule["health"] for rule in server.rules()} == {"ok"})
            found = server.get("/api/v1/targets")["data"]["activeTargets"]
            assert {one["labels"]["job"] for one in found} == {"axon-memory", "spans", "collector"}
            (told,) = server.get("/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
            assert told["url"] == f"{manager.url}/api/v2/alerts"
        finally:
            server.stop()
            manager.stop()


def hours(text: str) -> int:
    """Of a duration in hours."""
    assert text.endswith("h")
    return int(text[:-1])


@pytest.mark.parametrize("service", ["loki", "tempo"])
def test_loki_and_tempo(service: str) -> None:
    """The features that this stack relies on; the programs themselves are in no package to ask."""
    place = f"/etc/{service}/{service}.yaml"
    assert SERVICES[service]["command"] == [f"-config.file={place}"]
    config = yaml.safe_load(in_container(service, place).read_text())
    assert config["server"]["http_listen_port"] in PORTS[service]
    directories = {volume.split(":")[1] for volume in SERVICES[service]["volumes"]}
    for path in re.findall(r"'(/[^']+)'", str(config)):
        assert any(path == top or path.startswith(f"{top}/") for top in directories)
    if service == "tempo":
        receiver = config["distributor"]["receivers"]["otlp"]["protocols"]["grpc"]["endpoint"]
        assert receiver == "0.0.0.0:4317"  # in the container
    else:
        limits = config["limits_config"]
        assert limits["allow_structured_metadata"] is True
        # As old as what is kept; behind its stream, a record may be half of that age.
        oldest = hours(limits["retention_period"])
        assert hours(limits["reject_old_samples_max_age"]) == oldest
        assert hours(config["ingester"]["max_chunk_age"]) / 2 == oldest
        assert config["querier"]["query_ingesters_within"] == "0s"  # all that is in memory
        assert config["schema_config"]["configs"][-1]["schema"] == "v13"


def test_grafana_provisioning() -> None:
    """Data sources that refer to each other, dashboards where the provider looks for them."""
    sources = "/etc/grafana/provisioning/datasources/axon.yaml"
    text = in_container("grafana", sources).read_text()
    content = yaml.safe_load(text)
    kinds = {source["uid"]: source["type"] for source in content["datasources"]}
    assert kinds == {"prometheus": "prometheus", "loki": "loki", "tempo": "tempo"}
    assert set(re.findall(r"datasourceUid: (\w+)", text)) <= set(kinds)
    dashboards = "/etc/grafana/provisioning/dashboards/axon.yaml"
    (provider,) = yaml.safe_load(in_container("grafana", dashboards).read_text())["providers"]
    directory = provider["options"]["path"]
    # Grafana takes every JSON file that it finds there, or further down, for a dashboard.
    mounted = [path for at, path in mounts("grafana").items() if at.startswith(f"{directory}/")]
    assert sorted(mounted) == DASHBOARDS
    assert directory not in mounts("grafana")
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert in_container("grafana", home).is_file()


def test_links_to_traces_open_for_whoever_looks() -> None:
    """They lead to Explore, which a viewer sees only if Grafana lets viewers edit."""
    settings = SERVICES["grafana"]["environment"]
    role = settings["GF_AUTH_ANONYMOUS_ORG_ROLE"]
    assert role == "Editor" or settings["GF_USERS_VIEWERS_CAN_EDIT"] == "true"


def test_prometheus_reaches_programs_of_this_machine() -> None:
    """By the name that its file and the page name, also where Docker does not know it itself."""
    (name,) = (host.partition(":")[0] for host in SERVICES["prometheus"]["extra_hosts"])
    for file in ("compose.yaml", "stack/prometheus.yaml"):
        assert f"{name}:9464" in (CONFIG / file).read_text()
