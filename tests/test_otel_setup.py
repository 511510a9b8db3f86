"""`configure` sets OpenTelemetry up from its standard variables, once, if there is none.

Providers are global to a process, so each test runs in a process of its own and exports to a
real receiver in this one.
"""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conftest import Run
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

_REQUESTS = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
}


class Receiver:
    """An OTLP receiver over HTTP, which decodes requests as a collector does."""

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.headers: list[dict[str, str]] = []
        requests, headers = self.requests, self.headers

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                data = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    data = gzip.decompress(data)
                requests.append(_REQUESTS[self.path].FromString(data))  # type: ignore[attr-defined]
                headers.append({name.lower(): value for name, value in self.headers.items()})
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def spans(self) -> list[Any]:
        return [
            span
            for request in self.requests
            if isinstance(request, ExportTraceServiceRequest)
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def logs(self) -> list[Any]:
        return [
            record
            for request in self.requests
            if isinstance(request, ExportLogsServiceRequest)
            for resource in request.resource_logs
            for scope in resource.scope_logs
            for record in scope.log_records
        ]

    @property
    def metrics(self) -> dict[str, Any]:
        return {
            metric.name: metric
            for request in self.requests
            if isinstance(request, ExportMetricsServiceRequest)
            for resource in request.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    @property
    def resources(self) -> list[dict[str, Any]]:
        """The attributes of every resource that was sent."""
        found: list[Any] = []
        for request in self.requests:
            _, ((_, groups), *_) = request, request.ListFields()
            found += [group.resource for group in groups]
        return [attributes(resource.attributes) for resource in found]


def attributes(pairs: Any) -> dict[str, Any]:
    """OTLP attributes as Python values."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


_APPLICATION = """
    import asyncio
    from axon import MemorySystem
    from axon.core.config import MemoryConfig
    from axon.core.policies.persistent import PersistentPolicy
    from axon_audit_otel import AxonInstrumentor, configure
    providers = configure("shop")
    instrumentor = AxonInstrumentor()
    instrumentor.instrument()
    memory = MemorySystem(MemoryConfig(
        persistent=PersistentPolicy(adapter_type="memory", compaction_threshold=10_000),
        default_tier="persistent",
    ))
    async def main():
        await memory.store("the tea", user_id="alice", session_id="s1")
        try:
            await memory.store("")
        except ValueError:
            pass
    asyncio.run(main())
    for event in reversed(instrumentor.audit_logger.query_events()):
        print(event.to_json().decode())
"""


class TestExport:
    @pytest.mark.slow
    def test_all_three_signals(self, run_script: Run, receiver: Receiver) -> None:
        """One call, and spans, log records and metrics of a real system arrive over OTLP:
        the log record's body is the event, byte for byte."""
        printed = run_script(
            _APPLICATION + "    providers.shutdown()",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )
        events = printed.splitlines()
        assert len(events) == 2
        assert [record.body.string_value for record in receiver.logs] == events
        assert {record.event_name for record in receiver.logs} == {"axon.memory.audit"}
        stored, failed = map(json.loads, events)
        sent = attributes(receiver.logs[0].attributes)
        assert sent["log.record.uid"] == stored["event_id"]
        assert sent["audit.sequence.number"] == 1
        assert sent["user.id"] == "alice"
        assert receiver.logs[0].severity_text == "INFO"
        assert receiver.logs[1].severity_text == "ERROR"
        assert attributes(receiver.logs[1].attributes)["error.type"] == "ValueError"
        assert failed["status"] == "FAILURE"
        assert [span.name for span in receiver.spans] == ["create_memory", "create_memory"]
        assert receiver.spans[0].trace_id == receiver.logs[0].trace_id
        assert receiver.spans[0].trace_id.hex() == stored["trace_id"]
        assert attributes(receiver.spans[0].attributes)["gen_ai.operation.name"] == "create_memory"
        duration = receiver.metrics["gen_ai.client.operation.duration"]
        assert duration.unit == "s"
        assert sum(point.count for point in duration.histogram.data_points) == 2
        assert {resource["service.name"] for resource in receiver.resources} == {"shop"}
        assert b"the tea" not in b"".join(r.SerializeToString() for r in receiver.requests)

    @pytest.mark.slow
    def test_at_exit(self, run_script: Run, receiver: Receiver) -> None:
        """Without a call of `shutdown`, waiting data is sent at the end of the program."""
        run_script(_APPLICATION, OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint)
        assert len(receiver.logs) == len(receiver.spans) == 2
        assert "gen_ai.client.operation.duration" in receiver.metrics

    @pytest.mark.slow
    def test_flush(self, run_script: Run, receiver: Receiver) -> None:
        """`flush` sends waiting data at once."""
        run_script(
            _APPLICATION
            + """
    providers.flush()
    import os
    os._exit(0)
""",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )
        assert len(receiver.logs) == len(receiver.spans) == 2
        assert "gen_ai.client.operation.duration" in receiver.metrics

    @pytest.mark.slow
    def test_standard_variables(self, run_script: Run, receiver: Receiver) -> None:
        """Variables for headers, compression, resource, service name and sampler work; the
        service name of the environment has priority over the argument."""
        run_script(
            _APPLICATION,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_EXPORTER_OTLP_HEADERS="api-key=secret",
            OTEL_EXPORTER_OTLP_COMPRESSION="gzip",
            OTEL_RESOURCE_ATTRIBUTES="deployment.environment.name=test",
            OTEL_SERVICE_NAME="from-env",
            OTEL_TRACES_SAMPLER="always_off",
        )
        assert receiver.spans == []
        assert len(receiver.logs) == 2
        assert {headers["api-key"] for headers in receiver.headers} == {"secret"}
        assert {headers["content-encoding"] for headers in receiver.headers} == {"gzip"}
        for resource in receiver.resources:
            assert resource["service.name"] == "from-env"
            assert resource["deployment.environment.name"] == "test"

    @pytest.mark.slow
    def test_name_in_resource_attributes(self, run_script: Run, receiver: Receiver) -> None:
        """A service name in the resource attributes has priority over the argument, too."""
        run_script(
            _APPLICATION,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_RESOURCE_ATTRIBUTES="service.name=listed,team=red",
        )
        assert {resource["service.name"] for resource in receiver.resources} == {"listed"}

    @pytest.mark.slow
    def test_one_endpoint_per_signal(self, run_script: Run, receiver: Receiver) -> None:
        """A signal may have its own endpoint, and others none at all."""
        run_script(
            _APPLICATION,
            OTEL_EXPORTER_OTLP_LOGS_ENDPOINT=f"{receiver.endpoint}/v1/logs",
            OTEL_TRACES_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
        )
        assert len(receiver.logs) == 2
        assert receiver.spans == []
        assert receiver.metrics == {}

    @pytest.mark.slow
    def test_dead_collector(self, run_script: Run) -> None:
        """A collector that does not answer causes a log line only: the trail is complete, and
        the program ends normally."""
        printed = run_script(
            _APPLICATION,
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        )
        assert [json.loads(line)["status"] for line in printed.splitlines()] == [
            "SUCCESS",
            "FAILURE",
        ]

    @pytest.mark.slow
    def test_disabled(self, run_script: Run, receiver: Receiver) -> None:
        """`OTEL_SDK_DISABLED=true` exports nothing and records everything."""
        printed = run_script(
            _APPLICATION,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
            OTEL_SDK_DISABLED="true",
        )
        assert len(printed.splitlines()) == 2
        assert receiver.spans == []
        assert receiver.logs == []

    @pytest.mark.slow
    def test_zero_code(self, run_script: Run) -> None:
        """The entry point for `opentelemetry-instrument` loads the instrumentor."""
        printed = run_script(
            """
            from importlib.metadata import entry_points
            (entry,) = entry_points(group="opentelemetry_instrumentor", name="axon")
            from axon_audit_otel import AxonInstrumentor
            print(entry.load() is AxonInstrumentor)
            """
        )
        assert printed == "True\n"


class TestProviders:
    def test_never_replaces(self, run_script: Run) -> None:
        """Existing providers stay, `shutdown` does not touch them, and they get no exporter."""
        printed = run_script(
            """
            from opentelemetry import _logs, metrics, trace
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.trace import TracerProvider
            from axon_audit_otel import configure
            theirs = TracerProvider(), MeterProvider(), LoggerProvider()
            trace.set_tracer_provider(theirs[0])
            metrics.set_meter_provider(theirs[1])
            _logs.set_logger_provider(theirs[2])
            providers = configure()
            ours = providers.tracer_provider, providers.meter_provider, providers.logger_provider
            print([a is b for a, b in zip(ours, theirs)], set(providers.created))
            print([len(p._active_span_processor._span_processors) for p in theirs[:1]])
            providers.shutdown()
            with theirs[0].get_tracer("t").start_as_current_span("s") as span:
                print(span.is_recording())
            """,
            OTEL_TRACES_EXPORTER="no-such-exporter",  # not read
        )
        assert printed.splitlines() == ["[True, True, True] set()", "[0]", "True"]

    @pytest.mark.slow
    @pytest.mark.parametrize("signal", ["traces", "metrics", "logs"])
    def test_only_what_is_missing(self, run_script: Run, signal: str) -> None:
        """One existing provider stays, the other two are made."""
        printed = run_script(
            """
            import sys
            from opentelemetry import _logs, metrics, trace
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk.metrics import MeterProvider
            from opentelemetry.sdk.trace import TracerProvider
            from axon_audit_otel import configure
            signal = sys.argv[1]
            if signal == "traces":
                theirs = TracerProvider(); trace.set_tracer_provider(theirs)
            elif signal == "metrics":
                theirs = MeterProvider(); metrics.set_meter_provider(theirs)
            else:
                theirs = LoggerProvider(); _logs.set_logger_provider(theirs)
            p = configure()
            print(*sorted(p.created), theirs in (p.tracer_provider, p.meter_provider,
                                                 p.logger_provider))
            """,
            signal,
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
            OTEL_EXPORTER_OTLP_TIMEOUT="1",
        )
        others = sorted({"traces", "metrics", "logs"} - {signal})
        assert printed.split() == [*others, "True"]

    def test_once(self, run_script: Run, receiver: Receiver) -> None:
        """A second call, also in another thread at the same time, changes nothing: no data is
        exported twice."""
        run_script(
            """
            import threading
            from opentelemetry import trace
            from axon_audit_otel import configure
            results = []
            threads = [threading.Thread(target=lambda: results.append(configure())) for _ in "1234"]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            assert sorted(len(r.created) for r in results) == [0, 0, 0, 3]
            assert len({id(r.tracer_provider) for r in results}) == 1
            assert configure().tracer_provider is trace.get_tracer_provider()
            with trace.get_tracer("t").start_as_current_span("one"):
                pass
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )
        assert [span.name for span in receiver.spans] == ["one"]

    @pytest.mark.slow
    def test_several_exporters(self, run_script: Run, receiver: Receiver) -> None:
        """Several exporters may be named with commas; blanks do not matter."""
        printed = run_script(
            """
            from opentelemetry import trace
            from axon_audit_otel import configure
            configure()
            with trace.get_tracer("t").start_as_current_span("one"):
                pass
            """,
            OTEL_TRACES_EXPORTER=" otlp, console ",
            OTEL_LOGS_EXPORTER="none",
            OTEL_METRICS_EXPORTER="none",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )
        assert [span.name for span in receiver.spans] == ["one"]
        assert json.loads(printed)["name"] == "one"

    @pytest.mark.slow
    def test_arguments(self, run_script: Run, receiver: Receiver) -> None:
        """The name and more resource attributes may be given as arguments."""
        run_script(
            """
            from opentelemetry import trace
            from axon_audit_otel import configure
            configure("shop", {"team": "red"})
            with trace.get_tracer("t").start_as_current_span("one"):
                pass
            """,
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )
        (resource, *_) = receiver.resources
        assert (resource["service.name"], resource["team"]) == ("shop", "red")
        assert resource["telemetry.sdk.language"] == "python"


class TestBadVariables:
    @pytest.mark.parametrize(
        ("variable", "value", "shown"),
        [
            ("OTEL_METRICS_EXPORTER", "otlp,nope", "OTEL_METRICS_EXPORTER='nope'"),
            *(
                pytest.param(*case, marks=pytest.mark.slow)
                for case in [
                    ("OTEL_TRACES_EXPORTER", "zipkinn", "OTEL_TRACES_EXPORTER='zipkinn'"),
                    ("OTEL_LOGS_EXPORTER", "nope", "OTEL_LOGS_EXPORTER='nope'"),
                    ("OTEL_EXPORTER_OTLP_PROTOCOL", "soap", "OTEL_EXPORTER_OTLP_PROTOCOL='soap'"),
                    (
                        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL",
                        "http/json",
                        "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL='http/json'",
                    ),
                ]
            ),
        ],
    )
    def test_refused(self, run_script: Run, variable: str, value: str, shown: str) -> None:
        """For an exporter that is not installed, the error names the variable, the value and
        the installed ones; no provider is set up."""
        printed = run_script(
            """
            from opentelemetry import _logs, metrics, trace
            from axon_audit_otel import AuditConfigError, configure
            try:
                configure()
            except AuditConfigError as exc:
                print(exc)
            print(hasattr(trace.get_tracer_provider(), "add_span_processor"),
                  hasattr(_logs.get_logger_provider(), "add_log_record_processor"),
                  hasattr(metrics.get_meter_provider(), "force_flush"))
            """,
            **{variable: value},
        )
        message, state = printed.splitlines()
        assert shown in message
        assert "none" in message or "grpc" in message
        assert state == "False False False"

    @pytest.mark.slow
    def test_bad_then_good(self, run_script: Run, receiver: Receiver) -> None:
        """When the error is corrected, the same process can be configured."""
        run_script(
            """
            import os
            from opentelemetry import trace
            from axon_audit_otel import AuditConfigError, configure
            try:
                configure()
            except AuditConfigError:
                os.environ["OTEL_LOGS_EXPORTER"] = "otlp"
            assert configure().created == {"traces", "metrics", "logs"}
            with trace.get_tracer("t").start_as_current_span("one"):
                pass
            """,
            OTEL_LOGS_EXPORTER="nope",
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )
        assert [span.name for span in receiver.spans] == ["one"]

    @pytest.mark.slow
    @pytest.mark.parametrize("value", ["", " ", "otlp"])
    def test_empty_is_unset(self, run_script: Run, receiver: Receiver, value: str) -> None:
        """An empty variable counts as unset, as OpenTelemetry specifies."""
        run_script(
            """
            from opentelemetry import trace
            from axon_audit_otel import configure
            configure()
            with trace.get_tracer("t").start_as_current_span("one"):
                pass
            """,
            OTEL_TRACES_EXPORTER=value,
            OTEL_EXPORTER_OTLP_PROTOCOL=value.replace("otlp", "http/protobuf").strip(),
            OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        )
        assert [span.name for span in receiver.spans] == ["one"]

    @pytest.mark.slow
    def test_grpc(self, run_script: Run) -> None:
        """`grpc` is an installed protocol."""
        printed = run_script(
            """
            from axon_audit_otel import configure
            import os
            print(*sorted(configure().created), flush=True)
            os._exit(0)   # nobody listens
            """,
            OTEL_EXPORTER_OTLP_PROTOCOL="grpc",
            OTEL_EXPORTER_OTLP_ENDPOINT="http://127.0.0.1:1",
        )
        assert printed.split() == ["logs", "metrics", "traces"]
