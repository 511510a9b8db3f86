"""Exemplars lead to traces that tail sampling has kept: by a real gateway and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from collector import Collector
from conftest import Make, MakeSystem, until
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Tracer
from prometheus import VERSIONS, Prometheus
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, AxonInstrumentor, serve_metrics
from axon_audit_otel.trail.metrics import DURATION_BUCKETS

pytestmark = [
    pytest.mark.component,
    pytest.mark.slow,
    pytest.mark.usefixtures("without_start_record"),
]

OURS = "axon_memory_operation_duration_seconds_bucket"
OPENTELEMETRYS = "gen_ai_client_operation_duration_seconds_bucket"
OPERATIONS = ("STORE", "RECALL", "EXPORT", "IMPORT")
#: What the gateway forwards, in a file, as an overlay.
TO_FILE = """
exporters:
  file/traces:
    path: ${env:COLLECTOR_DATA}/traces.jsonl
    rotation: {max_megabytes: 256} # also: written at once
service:
  pipelines:
    traces/file:
      receivers: [forward/traces]
      exporters: [file/traces]
"""


def sender(there: Collector, service: str) -> TracerProvider:
    """The spans of one service, which go to that gateway."""
    resource = Resource.create({"service.name": service})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(f"{there.http}/v1/traces")
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=200))
    return provider


async def load(memory: Any, audit: AuditLogger, frontend: Tracer, most: float) -> set[str]:
    """Operations in requests of another service, in all buckets below *most* seconds; the ids of
    their traces. None is slow or fails: these would be kept anyway."""
    traces = set()

    def request() -> Any:
        return frontend.start_as_current_span("request")

    for number in range(300):
        with request() as span:
            await memory.store(f"tea {number}", user_id="alice")
            await memory.recall("tea", user_id="alice")
        traces.add(f"{span.get_span_context().trace_id:032x}")
    for seconds in (bound for bound in DURATION_BUCKETS if bound < most):
        for operation in OPERATIONS * 3:
            with request() as span:
                await audit.log_event(operation, duration_ms=seconds * 1000)
            traces.add(f"{span.get_span_context().trace_id:032x}")
    return traces


def kept(there: Collector) -> dict[str, set[str]]:
    """The services in each trace that the gateway has forwarded."""
    found: dict[str, set[str]] = {}
    for span in there.spans():
        found.setdefault(span["traceId"], set()).add(span["resource"]["service.name"])
    return found


@pytest.mark.parametrize("version", VERSIONS)
async def test_every_exemplar_is_a_trace_that_was_kept(
    version: str,
    start_collector: Callable[..., Collector],
    make_audit: Make,
    make_system: MakeSystem,
    registry: CollectorRegistry,
    tmp_path: Path,
) -> None:
    """The gateway keeps one trace in ten. Of the exemplars that Prometheus has, those of our
    endpoint and those of OpenTelemetry's metrics by the gateway, each is among them, whole."""
    (tmp_path / "to-file.yaml").write_text(TO_FILE)
    there = start_collector(
        "gateway.yaml", str(tmp_path / "to-file.yaml"), COLLECTOR_DECISION_WAIT="2s"
    )
    spans, frontend = sender(there, "agent"), sender(there, "frontend")
    exporter = OTLPMetricExporter(f"{there.http}/v1/metrics")
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=2_000)
    meters = MeterProvider([reader], shutdown_on_exit=False)
    audit = make_audit()
    AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=spans, meter_provider=meters)
    memory, tracer = make_system(), frontend.get_tracer("frontend")
    with serve_metrics(0, registry=registry) as ours:
        targets = {"agent": f"127.0.0.1:{ours.port}", "gateway": there.prometheus[7:]}
        server = Prometheus(tmp_path / "server", targets, version=version)
        try:
            await until(lambda: len(server.instant("up == 1")) == 2)
            traces = await load(memory, audit, tracer, most=0.9)

            def exemplars(name: str) -> set[str]:
                found = server.exemplars(name)
                return {exemplar["labels"]["trace_id"] for exemplar in found}

            # STORE and RECALL share a request, and most of their buckets.
            await until(lambda: len(exemplars(OURS)) >= 40)
            await until(lambda: exemplars(OPENTELEMETRYS))
            for provider in (spans, frontend):
                await asyncio.to_thread(provider.force_flush)
            named = exemplars(OURS) | exemplars(OPENTELEMETRYS)
            await until(lambda: named <= kept(there).keys())
            # As many others as chance keeps: it was on.
            await until(lambda: len(kept(there)) > len(named))
        finally:
            server.stop()
            AxonInstrumentor().uninstrument()
            for one in (meters, spans, frontend):
                await asyncio.to_thread(one.shutdown)
    assert named <= traces
    assert all("frontend" in kept(there)[trace] for trace in named)
    assert len(kept(there)) < len(traces) * 0.5
