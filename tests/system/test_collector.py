"""Shipping to real collectors: the files of ``collector-config`` do what they say."""

from __future__ import annotations

import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from itertools import product
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml
from collector import CONFIG, ROOT, Collector, binary, free_port, log_records, program, wait
from conftest import Cli, Make, Run, archived, events_in, sealed_files
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Status, StatusCode, Tracer

pytestmark = [pytest.mark.component, pytest.mark.usefixtures("without_start_record")]

BASES = ["gateway.yaml", "all-in-one.yaml"]
OVERLAYS = sorted(str(path.relative_to(CONFIG)) for path in CONFIG.glob("overlays/*.yaml"))
FILES = ["agent.yaml", *BASES, *OVERLAYS]
NO_FILE = "overlays/no-audit-file.yaml"
REQUIRED = {
    "GATEWAY_HOST": "localhost",
    "S3_BUCKET": "bucket",
    **dict.fromkeys(("TLS_CERT", "TLS_KEY", "TLS_CLIENT_CA"), "/some.pem"),
}

Start = Callable[..., Collector]


# --- the files -------------------------------------------------------------------------------


def collector(*arguments: str, code: int = 0) -> str:
    """The output of the collector, which must end with *code*."""
    done = subprocess.run(
        [str(binary()), *arguments],
        env={**os.environ, **REQUIRED},
        cwd=CONFIG,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr if code else done.stdout


@pytest.mark.parametrize(
    "configs",
    [[name] for name in ["agent.yaml", *BASES]]
    + [[base, overlay] for base, overlay in product(BASES, OVERLAYS) if overlay != NO_FILE]
    + [[base, *OVERLAYS] for base in BASES],
    ids=lambda names: "+".join(Path(name).stem for name in names[:3]) + "..." * (len(names) > 3),
)
def test_every_file_is_valid_alone_and_together(configs: list[str]) -> None:
    """The collector itself says so; overlays go with each other."""
    collector("validate", *(part for name in configs for part in ("--config", name)))


@pytest.mark.parametrize("base", BASES)
def test_without_a_file_there_must_be_a_store(base: str) -> None:
    """Without audit.jsonl and without a store, records would be acknowledged and gone: the
    collector does not start. Each store will do, whichever overlay comes first."""
    alone = ("validate", "--config", base, "--config", NO_FILE)
    stores = ("clickhouse", "kafka", "loki", "object-storage", "victorialogs")
    for others in ((), ("--config", "overlays/tempo.yaml")):
        assert 'connector "forward/audit" used as exporter' in collector(*alone, *others, code=1)
    for store in stores:
        overlay = ("--config", f"overlays/{store}.yaml")
        collector(*alone, *overlay)
        collector("validate", "--config", base, *overlay, "--config", NO_FILE)


def test_the_manifest_has_what_the_files_use_and_nothing_else() -> None:
    """Component by component, as the collector lists itself."""
    built = yaml.safe_load(collector("components"))
    kinds = ["receivers", "processors", "exporters", "connectors", "extensions"]
    used: dict[str, set[str]] = {kind: set() for kind in kinds}
    for name in FILES:
        content = yaml.safe_load((CONFIG / name).read_text())
        for kind in kinds:
            used[kind] |= {key.partition("/")[0] for key in content.get(kind) or {}}
    # They read what the archive exports, and what overlays/kafka.yaml wrote.
    used["receivers"] |= {"otlp_json_file", "kafka"}
    assert {kind: {part["name"] for part in built[kind]} for kind in kinds} == used


@pytest.mark.parametrize("name", FILES)
def test_every_file_opens_with_what_it_does_needs_and_loses(name: str) -> None:
    head = (CONFIG / name).read_text().partition("\n\n")[0] + "\n"
    comment = "".join(line for line in head.splitlines(True) if line.startswith("#"))
    assert head.startswith("# ")
    assert re.findall(r"^# (Does|Needs|Loses): +\S", comment, re.MULTILINE) == [
        *("Does", "Needs", "Loses"),
    ]
    variables = set(re.findall(r"\$\{env:(\w+)", (CONFIG / name).read_text()))
    assert variables <= set(re.findall(r"\b[A-Z0-9_]{4,}\b", comment))


# --- from an application to a file -----------------------------------------------------------


def demo(directory: Path, endpoint: str, **environment: str) -> tuple[dict[str, Any], list[Any]]:
    """Runs the real demo against a collector: its report, and the events of its files."""
    done = subprocess.run(
        [
            *(sys.executable, "-m", "axon_audit_otel", "demo", "--otlp", "--json"),
            *("--output", str(directory)),
        ],
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    events = [event for file in sealed_files(directory) for event in events_in(file)]
    return json.loads(done.stdout), events


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_the_demo_arrives_whole(
    start_collector: Start, cli: Cli, tmp_path: Path, protocol: str
) -> None:
    """Every event, the bytes that were hashed, and what a store sorts, filters and joins by."""
    there = start_collector("all-in-one.yaml", COLLECTOR_DECISION_WAIT="1s")
    endpoint = there.grpc if protocol == "grpc" else there.http
    report, events = demo(tmp_path / "demo", endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
    assert report["otlp"] == f"shipped to {endpoint}"
    there.stop()  # decides about the traces it has
    verified = json.loads(cli("verify", "--otlp-json", "--json", *there.files("audit")).stdout)
    assert verified["ok"]
    (stream,) = (stream for stream in verified["streams"] if stream["trail"] == "demo")
    assert (stream["events"], stream["duplicates"]) == (len(events), 0)
    arrived = {
        record["attributes"]["log.record.uid"]: record
        for record in there.audit()
        if record["attributes"]["axon.audit.trail"] == "demo"
    }
    assert len(arrived) == len(events) > 50
    spans = {span["spanId"]: span for span in there.spans()}
    severity = {"SUCCESS": (9, "INFO"), "PARTIAL": (13, "WARN"), "FAILURE": (17, "ERROR")}
    for event in events:
        record = arrived[event["event_id"]]
        attributes = record["attributes"]
        assert json.loads(record["body"]["stringValue"]) == event
        assert record["eventName"] == "axon.memory.audit"
        assert (record["severityNumber"], record["severityText"]) == severity[event["status"]]
        assert abs(int(record["timeUnixNano"]) / 1e9 - timestamp(event)) < 1e-5
        assert record["resource"]["service.name"] == "axon-audit-demo"
        assert attributes["audit.sequence.number"] == event["sequence"]
        assert attributes["axon.operation"] == event["operation"]
        assert attributes.get("user.id") == event["user_id"]
        assert record.get("traceId", "") == event.get("trace_id", "")
        assert record.get("flags", 0) == int(event.get("trace_flags", "00"), 16)
        if "trace_id" in event:
            span = spans[event["span_id"]]
            assert span["traceId"] == event["trace_id"]
            assert record["flags"] % 2 == 1  # it is sampled: its span is there
            assert (span["status"].get("code") == 2) == (event["status"] == "FAILURE")


def test_the_collector_reads_what_the_archive_exports(
    start_collector: Start, cli: Cli, tmp_path: Path
) -> None:
    """OTLP JSON lines, by its own receiver for such files; it arrives as if it was shipped."""
    _, events = demo(tmp_path / "demo", "http://127.0.0.1:9", OTEL_SDK_DISABLED="true")
    cli("export", tmp_path / "demo", tmp_path / "export.jsonl", "--format", "otlp")
    there = start_collector(
        "all-in-one.yaml",
        f"yaml:receivers::otlp_json_file::include: ['{tmp_path}/export.jsonl']",
        "yaml:receivers::otlp_json_file::start_at: beginning",
        "yaml:service::pipelines::logs/in::receivers: [otlp_json_file]",
    )
    wait(lambda: len(there.audit()) >= len(events))
    verified = json.loads(cli("verify", "--otlp-json", "--json", *there.files("audit")).stdout)
    assert (verified["ok"], verified["events"]) == (True, len(events))
    for record, event in zip(there.audit(), events):
        assert json.loads(record["body"]["stringValue"]) == event
        assert record["attributes"]["log.record.uid"] == event["event_id"]


def timestamp(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["timestamp"].replace("Z", "+00:00")).timestamp()


# --- what becomes of a record in the gateway -------------------------------------------------


class Application:
    """OpenTelemetry's own SDK, as any program uses it, sending each record at once."""

    def __init__(self, there: Collector) -> None:
        self.logs = LoggerProvider(shutdown_on_exit=False)
        exporter = OTLPLogExporter(f"{there.http}/v1/logs")
        self.logs.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        self._spans = TracerProvider(shutdown_on_exit=False)
        spans = OTLPSpanExporter(f"{there.http}/v1/traces")
        self._spans.add_span_processor(SimpleSpanProcessor(spans))
        self.tracer: Tracer = self._spans.get_tracer("shop")

    def log(self, body: str, event_name: str | None = None, **attributes: Any) -> None:
        named = {name.replace("_", "."): value for name, value in attributes.items()}
        self.logs.get_logger("shop").emit(
            LogRecord(
                severity_number=SeverityNumber.INFO,
                body=body,
                attributes=named,
                event_name=event_name,
            )
        )


def test_log_records_go_their_own_way(start_collector: Start) -> None:
    """By their event name alone, also when one request has both kinds."""
    there = start_collector("all-in-one.yaml")
    application = Application(there)
    application.log("an order", user_id="alice")
    application.log('{"operation":"STORE"}', "axon.memory.audit", user_id="alice")
    application.log("like one", "axon.memory.audited")
    application.log("axon.memory.audit", event_name="")
    assert [record["body"] for record in there.audit()] == [
        {"stringValue": '{"operation":"STORE"}'}
    ]
    there.stop()
    assert {record["body"]["stringValue"] for record in there.logs()} == {
        *("an order", "like one", "axon.memory.audit"),
    }


SECRETS = [
    "bob.jones+tea@mail.example.org",
    "4111 1111 1111 1111",
    "4111111111111111",
    "3782-822463-10005",
    "078-05-1120",
    "AKIAIOSFODNN7EXAMPLE",
    "ghp_0123456789abcdefghijABCDEFGHIJ012345",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmN",
    "Bearer abcdef0123456789abcdef",
    "password=hunter2",
    "postgres://shop:hunter2@localhost",
    "authorization: Basic c2hvcDpodW50ZXIy",
    '{"client_secret": "hunter2"}',
    "{'ACCESS_TOKEN': 'hunter2'}",
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2==",
    "xapp-1-" + "A0123456789-1234567890123-a1b2c3d4e5f6",
    "hooks.slack" + ".com/services/T0A1B2C3D/B0A1B2C3D/a1B2c3D4e5F6g7H8i9J0k1L2",
    "SG." + "a1B2c3D4e5F6g7H8i9J0k1." + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V",
    "whsec_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6",
    "dapi" + "a1b2c3d4e5f6a7b8" * 2,
]

#: Secrets for no reason but their names; all have "hunter" in them.
NAMED = {
    "password": 'hunter "2"\\',
    "api_key": "hunter-0123456789",
    "apiKey": "[hunter",
    "DB_PASSWORD": "hunter{2}",
    "authorization": "Basic hunter",
    "client_secret": ["hunter", "hunter2"],
    "GITHUB_TOKEN": "hunter,",
    "access-token": "hunter\n2",
    "token": "hunter 2",
    "refresh_token": "hunter",
    "AWS_SECRET_ACCESS_KEY": "hunter/2",
    "secretKey": ["hunter-2"],
}


@pytest.mark.parametrize("base", BASES)
def test_the_second_fence(start_collector: Start, base: str) -> None:
    """Data that an application forgot to mask arrives masked, in every signal; ids arrive."""
    there = start_collector(base, COLLECTOR_DECISION_WAIT="1s", COLLECTOR_SAMPLE_PERCENT="100")
    application = Application(there)
    said = f"they said: {', '.join(SECRETS)}."
    application.log(said, note=said, list=["tea", *SECRETS], user_id="bob@example.org")
    event = {"user_id": "bob@example.org", "metadata": {"note": said, "user_id": "x@example.org"}}
    application.log(json.dumps(event), "axon.memory.audit", user_id="bob@example.org", note=said)
    with application.tracer.start_as_current_span("order", attributes={"note": said}) as span:
        span.add_event("said", {"note": said})
        span.set_status(Status(StatusCode.ERROR, said))
    there.stop()
    (audited,) = there.audit()
    body = json.loads(audited["body"]["stringValue"])
    assert body["user_id"] == audited["attributes"]["user.id"] == "bob@example.org"
    assert audited["attributes"]["redaction.body.masked.count"] == 1
    assert body["metadata"]["note"].startswith("they said: ****, ")
    files = [file for file in there.data.glob("*.jsonl") if file.stat().st_size]
    assert len(files) == {"gateway.yaml": 1, "all-in-one.yaml": 3}[base]
    for file in files:
        text = file.read_text()
        assert "they said: ****, " in text
        assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("base", BASES)
def test_secrets_by_their_names(start_collector: Start, base: str) -> None:
    """A value named as a secret is masked, in attributes and in JSON, which stays JSON."""
    there = start_collector(base, COLLECTOR_DECISION_WAIT="1s", COLLECTOR_SAMPLE_PERCENT="100")
    application = Application(there)
    other = {
        "max_token": 3,
        "tokens": "tea",
        "secretary": "bob",
        "password_set": "no",
        "api_key": None,
    }
    body = json.dumps({"a": {**NAMED, "b": [other, NAMED]}})
    text = json.dumps({"text": json.dumps({"password": "hunter2", "n": 1}), "n": 1})
    for event_name, sent in product(["axon.memory.audit", "other"], [body, text, body[:-2]]):
        application.logs.get_logger("shop").emit(
            LogRecord(
                body=sent, attributes={**NAMED, "db.password": "hunter"}, event_name=event_name
            )
        )
    with application.tracer.start_as_current_span("order", attributes=NAMED):
        pass
    there.stop()
    for records in [there.audit(), there.logs()][: len(list(there.data.glob("*.jsonl")))]:
        masked, inner, _ = (record["body"]["stringValue"] for record in records)
        names = dict.fromkeys(NAMED, "****")
        assert json.loads(masked) == {"a": {**names, "b": [other, names]}}
        assert json.loads(inner)["n"] == 1
        assert {record["attributes"]["db.password"] for record in records} == {"****"}
    for file in there.data.glob("*.jsonl"):
        assert "hunter" not in file.read_text()


async def test_the_fence_leaves_what_the_application_masked(
    start_collector: Start, cli: Cli, make_audit: Make
) -> None:
    """An application that redacts by itself keeps its hashes, whatever it was given."""
    there = start_collector("gateway.yaml")
    audit = make_audit(logger_provider=Application(there).logs)
    for note in [*SECRETS, "postgres://shop:hunter2@db.example.org"]:
        await audit.log_event("STORE", user_id="bob@x.org", metadata={"a note": note})
    text = json.dumps(
        {name: NAMED[name] for name in NAMED.keys() - {"authorization", "GITHUB_TOKEN"}}
    )
    await audit.log_event("STORE", metadata={**NAMED, "in": [NAMED], "text": text})
    report = json.loads(cli("verify", "--otlp-json", "--json", *there.files("audit")).stdout)
    assert (report["ok"], report["events"]) == (True, len(SECRETS) + 2)


@pytest.mark.parametrize("secret", [{"note": "bob@example.org"}, {"password": "tea"}])
async def test_what_the_fence_masked_is_named(
    start_collector: Start, cli: Cli, make_audit: Make, secret: Any
) -> None:
    """Its hash cannot hold any more; verification says which event, and why."""
    there = start_collector("gateway.yaml")
    audit = make_audit(logger_provider=Application(there).logs, redact_pii=False)
    for metadata in ({"note": "tea"}, secret, {"note": "more tea"}):
        await audit.log_event("STORE", user_id="alice@example.org", metadata=metadata)
    report = json.loads(
        cli("verify", "--otlp-json", "--json", *there.files("audit"), code=1).stdout
    )
    (finding,) = report["findings"]
    assert (finding["kind"], finding["sequence"]) == ("altered", 2)
    assert "a collector masked something in it" in finding["explanation"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"stringValue": ""},
        {"stringValue": "\x01\x02\x00 $1 ${1} $$ \\ \ud83d\ude00"},
        {"boolValue": True},
        {"intValue": "4111111111111111111"},
        {"doubleValue": 0.5},
        {"bytesValue": "AAEC"},
        {"arrayValue": {"values": [{"stringValue": "a"}, {}]}},
        {"kvlistValue": {"values": [{"key": "user_id", "value": {"stringValue": "a"}}]}},
    ],
    ids=lambda body: next(iter(body), "none") + str(len(str(body))),
)
def test_no_record_stops_the_others(start_collector: Start, body: dict[str, Any]) -> None:
    """Whatever its body is: it arrives, with the one after it."""
    there = start_collector("gateway.yaml")
    odd = {"eventName": "axon.memory.audit", "body": body, "traceId": "", "attributes": []}
    logs = {"scopeLogs": [{"logRecords": [odd, {**odd, "body": {"stringValue": "the next"}}]}]}
    request = urllib.request.Request(
        f"{there.http}/v1/logs",
        json.dumps({"resourceLogs": [logs]}).encode(),
        {"Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    first, second = there.audit()
    assert second["body"] == {"stringValue": "the next"}
    if "\x01" not in str(body.get("stringValue")):
        assert first["body"] == body


def test_the_fence_alters_nothing_else(start_collector: Start) -> None:
    """Numbers, times, ids and hashes that look like a card or an address, byte by byte."""
    there = start_collector("gateway.yaml")
    application = Application(there)
    body = json.dumps(
        {
            "event_id": "evt_01a2061964027807b7d49ac84ad3786e",
            "timestamp": "2026-11-23T01:50:57.026501Z",
            "user_id": "alice@example.org",
            "session_id": "s@1@2",
            "entry_ids": ["41111111-1111-4111-8111-111111111111"],
            "metadata": {"score": 0.4111111111111111, "ns": 1795398657026501000, "k": "\x7f@"},
            "duration_ms": 5.4111111111111116,
            "subject_id": "älice@example.org",
            "previous_hash": "4111111111111111" * 4,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
    application.log(body, "axon.memory.audit", session_id="4111111111111111", importance=0.41)
    (record,) = there.audit()
    assert record["body"] == {"stringValue": body}
    assert record["attributes"] == {"session.id": "4111111111111111", "importance": 0.41}


def test_traces_of_what_failed_are_kept(start_collector: Start) -> None:
    """With nothing sampled at random: failed and partial operations, whole; metrics of all."""
    there = start_collector(
        "all-in-one.yaml", COLLECTOR_DECISION_WAIT="1s", COLLECTOR_SAMPLE_PERCENT="0"
    )
    application = Application(there)
    for number in range(40):
        with application.tracer.start_as_current_span(f"request-{number}"):
            status = {7: "FAILURE", 8: "PARTIAL"}.get(number, "SUCCESS")
            attributes = {"axon.operation": "STORE", "axon.status": status}
            with (
                application.tracer.start_as_current_span("create_memory", attributes=attributes),
                application.tracer.start_as_current_span("redis SET") as span,
            ):
                if number == 9:
                    span.set_status(StatusCode.ERROR)
    wait(lambda: len(there.spans()) >= 9)
    kept: dict[str, set[str]] = {}
    for span in there.spans():
        kept.setdefault(span["traceId"], set()).add(span["name"])
    assert sorted(map(sorted, kept.values())) == [
        ["create_memory", "redis SET", f"request-{number}"] for number in (7, 8, 9)
    ]
    wait(lambda: "traces_span_metrics_calls_total{" in there.metrics())
    wait(lambda: sum(calls(there, 'span_name="create_memory"').values()) == 40)
    assert list(calls(there, 'axon_status="FAILURE"', 'axon_operation="STORE"').values()) == [1]


@pytest.mark.slow
def test_the_trace_of_what_fails_late_is_kept(start_collector: Start) -> None:
    """Whole, though a part of it had long ended by then."""
    there = start_collector("all-in-one.yaml", COLLECTOR_SAMPLE_PERCENT="0")
    tracer = Application(there).tracer
    with tracer.start_as_current_span("request"), tracer.start_as_current_span("compact") as span:
        with tracer.start_as_current_span("chat"):
            pass
        time.sleep(13)  # that is the case
        span.set_status(StatusCode.ERROR)
    wait(there.spans)
    assert {span["name"] for span in there.spans()} == {"request", "compact", "chat"}


def calls(there: Collector, *labels: str) -> dict[str, float]:
    """The number of spans, by the labels of the metric."""
    found: dict[str, float] = {}
    for line in there.metrics().splitlines():
        series, _, value = line.partition(" # ")[0].rpartition(" ")
        counted = series.startswith("traces_span_metrics_calls_total{")
        if counted and all(label in series for label in labels):
            found[series] = float(value)
    return found


@pytest.mark.slow
def test_the_commands_of_the_docs(start_collector: Start, tmp_path: Path) -> None:
    """Shipping, as written; the collector has other ports here, and nothing runs in Docker."""
    text = (ROOT / "docs/shipping.md").read_text(encoding="utf-8")
    block = text.partition("## With a collector, step by step")[2].partition("```console\n")[2]
    build, serve, *commands, compose = block.partition("```")[0].splitlines()
    found = f"{build.removeprefix('$ ')}\ncommand -v axon-otelcol"
    assert subprocess.check_output(found, shell=True, cwd=ROOT, text=True) == f"{binary()}\n"
    data, config = re.fullmatch(
        r"\$ COLLECTOR_DATA=(\w+) axon-otelcol --config (.+)", serve
    ).groups()
    assert (ROOT / config).is_file()
    assert (ROOT / compose.split()[4]).is_file()
    there = start_collector(str(Path(config).name))
    (tmp_path / data).symlink_to(there.data)
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    said = [
        subprocess.run(
            command.removeprefix("$ ").replace("http://localhost:4318", there.http),
            shell=True,
            cwd=tmp_path,
            env={**os.environ, "PATH": path},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        ).stdout
        for command in commands
    ]
    assert len(said) == 4
    assert "Nothing is missing up to the newest event, and nothing was altered." in said[2]
    arrived = [record["attributes"]["log.record.uid"] for record in there.audit()]
    exported = log_records([tmp_path / "export.jsonl"])
    assert {record["attributes"]["log.record.uid"] for record in exported} <= set(arrived)
    assert len(arrived) == len(set(arrived)) > 50


# --- from agents through gateways ------------------------------------------------------------


def test_an_agent_keeps_what_it_took(start_collector: Start) -> None:
    """It is killed, and started again, while no gateway is there: all of it arrives."""
    gateway = start_collector("gateway.yaml")
    gateway.kill()
    agent = start_collector("agent.yaml", GATEWAY_HOST="127.0.0.1", GATEWAY_PORT=str(gateway.port))
    application = Application(agent)
    for number in range(50):
        application.log(f"{number}", "axon.memory.audit")
    with application.tracer.start_as_current_span("order"):
        pass
    agent.kill()
    agent.start()
    for number in range(50, 60):
        application.log(f"{number}", "axon.memory.audit")
    gateway.start()
    everything = {str(number) for number in range(60)}
    wait(lambda: {r["body"]["stringValue"] for r in gateway.audit()} >= everything)
    wait(lambda: sum(calls(gateway, 'span_name="order"').values()) == 1)


def test_a_trace_stays_together_among_gateways(start_collector: Start) -> None:
    """Whichever request brings a span: tail sampling sees the whole trace, on one of them."""
    gateways = [start_collector("all-in-one.yaml", COLLECTOR_DECISION_WAIT="1s") for _ in range(2)]
    hosts = [gateway.grpc[7:] for gateway in gateways]
    agent = start_collector(
        "agent.yaml",
        # No name resolves to two ports; what chooses between them is the same.
        f"yaml:exporters::load_balancing::resolver: {{dns: null, static: {{hostnames: {hosts}}}}}",
        GATEWAY_HOST="127.0.0.1",
    )
    application = Application(agent)
    for _ in range(20):
        with application.tracer.start_as_current_span("request"):
            for _ in range(3):  # each is a request of its own
                application.tracer.start_span("part").end()
    wait(lambda: sum(len(gateway.spans()) for gateway in gateways) == 80)
    traces = [Counter(span["traceId"] for span in gateway.spans()) for gateway in gateways]
    assert traces[0].keys().isdisjoint(traces[1])
    assert {*traces[0].values(), *traces[1].values()} == {4}


def test_metrics_of_a_process_stay_together_among_gateways(start_collector: Start) -> None:
    """Of two gateways that took turns, one would show old values for ever."""
    gateways = [start_collector("gateway.yaml") for _ in range(2)]
    hosts = [gateway.grpc[7:] for gateway in gateways]
    agent = start_collector(
        "agent.yaml",
        "yaml:exporters::load_balancing/metrics::resolver: "
        f"{{dns: null, static: {{hostnames: {hosts}}}}}",
        GATEWAY_HOST="127.0.0.1",
    )
    for number in range(20):
        resource = Resource({"service.name": "shop", "service.instance.id": f"i{number}"})
        provider = MeterProvider(
            [reader := InMemoryMetricReader()], resource, shutdown_on_exit=False
        )
        orders = provider.get_meter("shop").create_counter("orders")
        exporter = OTLPMetricExporter(f"{agent.http}/v1/metrics")
        for _ in range(3):
            orders.add(1)
            exporter.export(reader.get_metrics_data())

    def shown(gateway: Collector) -> list[str]:
        found = re.findall(
            r'^orders_total{.*instance="(i\d+)".* (\S+)$', gateway.metrics(), re.MULTILINE
        )
        return [instance for instance, value in found if float(value) == 3]

    wait(lambda: sum(len(shown(gateway)) for gateway in gateways) == 20)
    assert sum(gateway.metrics().count("\norders_total{") for gateway in gateways) == 20
    assert all(shown(gateway) for gateway in gateways)


def test_a_gateway_takes_records_only_from_whom_it_knows(
    start_collector: Start, certificates: dict[str, str]
) -> None:
    """TLS in both directions: an agent with a certificate ships, a stranger is refused."""
    known = certificates
    gateway = start_collector(
        *("gateway.yaml", "overlays/tls.yaml"),
        TLS_CERT=known["gateway.pem"],
        TLS_KEY=known["gateway.key"],
        TLS_CLIENT_CA=known["ca.pem"],
    )
    with socket.create_connection(("127.0.0.1", gateway.port)) as plain:
        plain.settimeout(60)
        with suppress(ConnectionResetError):
            plain.sendall(b"POST /v1/logs HTTP/1.1\r\n\r\n")
            assert b"200" not in plain.recv(100)
    common = {
        "GATEWAY_HOST": "127.0.0.1",
        "GATEWAY_PORT": str(gateway.port),
        "GATEWAY_INSECURE": "false",
        "GATEWAY_CA": known["ca.pem"],
    }
    stranger = start_collector("agent.yaml", **common)
    friend = start_collector(
        "agent.yaml", **common, AGENT_CERT=known["agent.pem"], AGENT_KEY=known["agent.key"]
    )
    Application(stranger).log("of a stranger", "axon.memory.audit")
    Application(friend).log("of a friend", "axon.memory.audit")
    wait(lambda: gateway.audit() and "certificate required" in stranger.log())
    assert [record["body"] for record in gateway.audit()] == [{"stringValue": "of a friend"}]


@pytest.fixture(name="certificates")
def _certificates(tmp_path: Path) -> dict[str, str]:
    """Certificates of a gateway and an agent, and of the authority that signed them."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    now = datetime.now(timezone.utc)
    authority = ec.generate_private_key(ec.SECP256R1())
    issuer = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "ca")])
    for who in ("ca", "gateway", "agent"):
        key = authority if who == "ca" else ec.generate_private_key(ec.SECP256R1())
        address = x509.IPAddress(ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, who)]))
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(who == "ca", None), critical=True)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .sign(authority, hashes.SHA256())
        )
        (tmp_path / f"{who}.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{who}.key").write_bytes(plain)
    return {path.name: str(path) for path in tmp_path.glob("*.*")}


def test_overlays_ship_to_what_speaks_otlp(start_collector: Start) -> None:
    """Loki and Tempo take OTLP: audit records and logs, and the traces, each at its address."""
    store = start_collector(
        "all-in-one.yaml",
        # Loki's path
        "yaml:receivers::otlp::protocols::http::logs_url_path: /otlp/v1/logs",
        COLLECTOR_DECISION_WAIT="1s",
    )
    gateway = start_collector(
        *("gateway.yaml", "overlays/loki.yaml", "overlays/tempo.yaml"),
        LOKI_ENDPOINT=f"{store.http}/otlp",
        TEMPO_ENDPOINT=store.grpc[7:],
        TEMPO_INSECURE="true",
        COLLECTOR_DECISION_WAIT="1s",
    )
    application = Application(gateway)
    application.log("kept", "axon.memory.audit")
    application.log("an order")
    with application.tracer.start_as_current_span("order") as span:
        span.set_status(StatusCode.ERROR)
    wait(lambda: store.audit() and store.logs() and store.spans())
    (audited,) = store.audit()
    assert audited["body"] == {"stringValue": "kept"}
    # Loki drops the event's name, and makes a label of what describes the start of a process.
    instance = audited["attributes"].pop("service.instance.id")
    assert audited["attributes"] == {"event.name": "axon.memory.audit"}
    texts = [path.read_text() for path in store.files("audit")]
    resource = json.loads(texts[0].splitlines()[0])["resourceLogs"][0]["resource"]
    assert instance
    assert instance not in json.dumps(resource)
    assert [record["body"] for record in store.logs()] == [{"stringValue": "an order"}]
    assert [span["name"] for span in store.spans()] == ["order"]


def test_without_a_file_the_queue_has_it(start_collector: Start) -> None:
    """Acknowledged while the store is away, and the gateway then killed: the store gets it."""
    store = start_collector("all-in-one.yaml")
    store.kill()
    gateway = start_collector(
        *("gateway.yaml", "overlays/victorialogs.yaml", NO_FILE),
        "yaml:exporters::otlp_http/victorialogs-audit::logs_endpoint: " + f"{store.http}/v1/logs",
    )
    Application(gateway).log("kept", "axon.memory.audit")  # it was answered
    gateway.kill()
    gateway.start()
    store.start()
    wait(store.audit)
    assert [record["body"] for record in store.audit()] == [{"stringValue": "kept"}]
    assert gateway.files("audit") == []


def test_the_queue_of_an_overlay_is_full(start_collector: Start) -> None:
    """The sender is refused, so that it keeps the record, and the metrics say how full it is."""
    gateway = start_collector(
        *("gateway.yaml", "overlays/loki.yaml"),
        "yaml:exporters::otlp_http/loki-audit::sending_queue::queue_size: 400000",
        LOKI_ENDPOINT=f"http://127.0.0.1:{free_port()}/otlp",
    )

    def send() -> bool:
        record = {"eventName": "axon.memory.audit", "body": {"stringValue": "x" * 100_000}}
        body = json.dumps({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]})
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{gateway.http}/v1/logs", body.encode(), headers)
        try:
            urllib.request.urlopen(request).close()
        except urllib.error.HTTPError as exc:
            return exc.code in (429, 503)  # such as are sent again
        return False

    wait(send)
    size, capacity = (
        re.search(rf"^otelcol_exporter_queue_{name}{{.*loki-audit.*}} (\S+)$", text, re.MULTILINE)
        for text in [gateway.telemetry()]
        for name in ("size", "capacity")
    )
    assert size is not None
    assert capacity is not None
    assert float(capacity[1]) == 400_000
    assert 300_000 <= float(size[1]) <= 400_000


def test_overlay_object_storage(start_collector: Start, cli: Cli, tmp_path: Path) -> None:
    """Objects of OTLP/JSON, compressed, that can be verified."""
    import boto3
    from moto.server import ThreadedMotoServer

    credentials = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "something"}
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        named = {name.lower(): value for name, value in credentials.items()}
        store = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **named)
        store.create_bucket(Bucket="bucket")
        gateway = start_collector(
            *("gateway.yaml", "overlays/object-storage.yaml"),
            S3_BUCKET="bucket",
            S3_ENDPOINT=url,
            S3_PATH_STYLE="true",
            S3_INTERVAL="100ms",
            **credentials,
        )
        _, events = demo(tmp_path / "demo", gateway.http)

        def objects() -> list[Path]:
            files = []
            for number, item in enumerate(store.list_objects(Bucket="bucket").get("Contents", [])):
                assert re.fullmatch(r"audit/year=\d{4}/month=.*/axon_.*\.json\.gz", item["Key"])
                files.append(tmp_path / f"{number}.jsonl")
                content = store.get_object(Bucket="bucket", Key=item["Key"])["Body"].read()
                files[-1].write_bytes(gzip.decompress(content))
            return files

        wait(lambda: len(list(log_records(objects()))) > len(events))
        verified = json.loads(cli("verify", "--otlp-json", "--json", *objects()).stdout)
        assert verified["ok"]
        assert verified["events"] == len(events) + 1  # the demo has a second trail
    finally:
        server.stop()


def test_overlay_prometheus_remote_write(start_collector: Start, tmp_path: Path) -> None:
    """A real Prometheus has the calls, with the names that it would have scraped."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    (tmp_path / "prometheus.yaml").write_text("global: {}\n")
    with (tmp_path / "prometheus.log").open("wb") as log:
        prometheus = subprocess.Popen(
            [
                program("prometheus", "prometheus"),
                *("--web.enable-remote-write-receiver", f"--web.listen-address=127.0.0.1:{port}"),
                f"--config.file={tmp_path}/prometheus.yaml",
                f"--storage.tsdb.path={tmp_path}/tsdb",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        gateway = start_collector(
            *("gateway.yaml", "overlays/prometheus-remote-write.yaml"),
            REMOTE_WRITE_ENDPOINT=f"{url}/api/v1/write",
        )
        application = Application(gateway)
        attributes = {"axon.operation": "STORE", "axon.status": "SUCCESS"}
        for _ in range(3):
            application.tracer.start_span("create_memory", attributes=attributes).end()
        query = 'traces_span_metrics_calls_total{axon_operation="STORE"}'

        def counted() -> bool:
            try:
                with urllib.request.urlopen(f"{url}/api/v1/query?query={quote(query)}") as answer:
                    result = json.load(answer)["data"]["result"]
            except urllib.error.URLError:
                return False  # it starts
            return [series["value"][1] for series in result] == ["3"]

        wait(counted)
    finally:
        prometheus.terminate()
        prometheus.wait()


# --- many applications, and collectors that do not answer ------------------------------------


@pytest.mark.slow
def test_fifty_processes_ship_through_one_gateway(
    start_collector: Start, cli: Cli, run_script: Run, tmp_path: Path
) -> None:
    """They share an archive; every event of each of them arrives, in fifty chains."""
    gateway = start_collector("gateway.yaml")
    run_script(
        """
        import asyncio, os, sys
        import opentelemetry.exporter.otlp.proto.http._log_exporter  # once, for all of them
        from axon_audit_otel import AuditLogger
        from axon_audit_otel.shipping import shipper as ship

        async def work(number):
            archive, endpoint = sys.argv[1:]
            options = dict(auto_export_path=archive, ship_to=endpoint, name=f"worker-{number}")
            with AuditLogger(**options) as audit:
                for _ in range(100):
                    await audit.log_event("STORE", user_id=f"user-{number}")

        children = []
        for number in range(50):
            child = os.fork()
            if not child:
                asyncio.run(work(number))
                os._exit(0)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0] * 50
        """,
        tmp_path / "archive",
        gateway.http,
    )
    cli("replay", tmp_path / "archive", "--endpoint", gateway.http)
    verified = json.loads(cli("verify", "--otlp-json", "--json", *gateway.files("audit")).stdout)
    assert verified["ok"]
    assert [stream["events"] for stream in verified["streams"]] == [100] * 50


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("behaviour", ["hangs", "refuses", "hangs up"])
def test_a_collector_that_does_not_answer_stops_nobody(
    run_script: Run, tmp_path: Path, behaviour: str, protocol: str
) -> None:
    """Every call returns, and its event is in the archive, while no answer ever comes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        if behaviour == "refuses":
            server.close()
        held: list[socket.socket] = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    if behaviour == "hangs up":
                        connection.close()
                    held.append(connection)

        threading.Thread(target=accept, daemon=True).start()
        said = run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger, configure

            async def work():
                audit = AuditLogger(auto_export_path=sys.argv[1], ship_to="otlp")
                for _ in range(5000):  # more than any queue of OpenTelemetry holds
                    await audit.log_event("STORE", user_id="alice")
                print(audit.get_statistics()["total_events"])

            configure()  # OpenTelemetry's own way as well
            asyncio.run(work())
            sys.stdout.flush()
            os._exit(0)  # the way out is another test's
            """,
            tmp_path / "archive",
            OTEL_EXPORTER_OTLP_ENDPOINT=endpoint,
            OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
            OTEL_EXPORTER_OTLP_TIMEOUT="3600" if protocol == "grpc" else "3600000",
        )
        assert said == "5000\n"
        for connection in held:
            connection.close()
    assert len(archived(tmp_path / "archive")) == 5000
