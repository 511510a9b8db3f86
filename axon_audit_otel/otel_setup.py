"""Sets up OpenTelemetry, or a metrics endpoint, for applications that have none."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import _logs, metrics, trace
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from prometheus_client import REGISTRY, CollectorRegistry, make_wsgi_app
from prometheus_client.multiprocess import MultiProcessCollector

from .core.errors import AuditConfigError
from .core.log import logger
from .core.turn import Turn

__all__ = ["MetricsServer", "Providers", "configure", "serve_metrics"]

_turn = Turn()
_PATIENCE_S = 10.0  # wait for another thread in `configure`: exporters may be slow, and call us
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_turn.begin)


class Providers:
    """The global OpenTelemetry providers after `configure`.

    Attributes:
        tracer_provider: The global tracer provider.
        meter_provider: The global meter provider.
        logger_provider: The global logger provider.
        created: Names of the ones that `configure` made: ``"traces"``, ``"metrics"``, ``"logs"``.
    """

    def __init__(self, created: frozenset[str]) -> None:
        self.tracer_provider = trace.get_tracer_provider()
        self.meter_provider = metrics.get_meter_provider()
        self.logger_provider = _logs.get_logger_provider()
        self.created = created

    def flush(self, timeout_millis: int = 5_000) -> None:
        """Send the data that waits in the created providers."""
        self._each(lambda provider: provider.force_flush(timeout_millis))

    def shutdown(self) -> None:
        """Flush and shut down the created providers, not the ones that existed before."""
        self._each(lambda provider: provider.shutdown())

    def _each(self, action: Callable[[Any], Any]) -> None:
        made = (self.logger_provider, self.meter_provider, self.tracer_provider)
        for signal, provider in zip(("logs", "metrics", "traces"), made):
            try:
                if signal in self.created:
                    action(provider)
            except Exception:  # an exporter is foreign code; the other providers must go on
                logger.warning("OpenTelemetry %s: the exporter failed", signal, exc_info=True)


def configure(
    service_name: str | None = None, resource_attributes: dict[str, str] | None = None
) -> Providers:
    """Set up OpenTelemetry from the standard ``OTEL_*`` variables, if it is not set up yet.

    Makes a tracer, a meter and a logger provider that export over OTLP, each only if the
    application has none, and sets them as the global ones. A second call changes nothing.

    ``OTEL_{TRACES,METRICS,LOGS}_EXPORTER`` may name ``otlp`` (the default), ``console``,
    ``none`` or any installed exporter, several with commas; ``OTEL_EXPORTER_OTLP_PROTOCOL``
    ``http/protobuf`` (the default) or ``grpc``. All others (endpoint, headers, sampler,
    resource, limits, ``OTEL_SDK_DISABLED``) mean what the specification says.

    Args:
        service_name: ``service.name``, unless a variable sets it.
        resource_attributes: More attributes of the resource.

    Raises:
        AuditConfigError: If a variable names an exporter or protocol that is not installed.
    """
    with _turn.take(_PATIENCE_S) as ours:
        return Providers(_configured(service_name, resource_attributes) if ours else frozenset())


def _configured(service_name: str | None, attributes: dict[str, str] | None) -> frozenset[str]:
    """Make and set the missing providers; return their names."""
    resource = _resource(service_name, attributes)
    # All exporters are made before any provider, so that a wrong name changes nothing.
    missing = {
        "traces": not hasattr(trace.get_tracer_provider(), "add_span_processor"),
        "metrics": not isinstance(metrics.get_meter_provider(), MeterProvider),
        "logs": not hasattr(_logs.get_logger_provider(), "add_log_record_processor"),
    }
    exporters = {signal: _exporters(signal) for signal, absent in missing.items() if absent}
    if "traces" in exporters:
        tracer_provider = TracerProvider(resource=resource)
        for exporter in exporters["traces"]:
            tracer_provider.add_span_processor(BatchSpanProcessor(exporter))
        trace.set_tracer_provider(tracer_provider)
    if "metrics" in exporters:
        readers = [  # a pull exporter is a reader itself
            exporter
            if isinstance(exporter, MetricReader)
            else PeriodicExportingMetricReader(exporter)
            for exporter in exporters["metrics"]
        ]
        metrics.set_meter_provider(MeterProvider(readers, resource=resource))
    if "logs" in exporters:
        logger_provider = LoggerProvider(resource=resource)
        for exporter in exporters["logs"]:
            logger_provider.add_log_record_processor(BatchLogRecordProcessor(exporter))
        _logs.set_logger_provider(logger_provider)
    return frozenset(exporters)


def _resource(service_name: str | None, attributes: dict[str, str] | None) -> Resource:
    given = dict(attributes or {})
    others = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in others
    if service_name and not named:
        given["service.name"] = service_name
    return Resource.create(given)


def _exporters(signal: str) -> list[Any]:
    """The exporters that the environment names for *signal*."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    names = list(filter(None, map(str.strip, os.environ.get(variable, "").split(",")))) or ["otlp"]
    return [_exporter(signal, name, variable) for name in names if name.lower() != "none"]


_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}


def _exporter(signal: str, name: str, variable: str) -> Any:
    group = f"opentelemetry_{signal}_exporter"
    if name == "otlp":
        variable = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
        protocol = os.environ.get(variable)
        if not protocol:
            variable = "OTEL_EXPORTER_OTLP_PROTOCOL"
            protocol = os.environ.get(variable) or "http/protobuf"
        if protocol not in _PROTOCOLS:
            msg = f"{variable}={protocol!r}: use {' or '.join(sorted(_PROTOCOLS))}"
            raise AuditConfigError(msg)
        name = _PROTOCOLS[protocol]
    found = list(entry_points(group=group, name=name))
    if not found:
        installed = ", ".join(sorted({entry.name for entry in entry_points(group=group)}))
        msg = f"{variable}={name!r}: no such exporter is installed (there are: {installed}, none)"
        raise AuditConfigError(msg)
    return found[0].load()()


# --- metrics endpoint ------------------------------------------------------------------------


class MetricsServer:
    """A running ``/metrics`` endpoint; closes itself at the end of a ``with`` block.

    Attributes:
        port: The port it listens on.
        url: The URL to scrape.
    """

    def __init__(self, server: Any, thread: threading.Thread, host: str) -> None:
        self._server = server
        self._thread = thread
        self.port: int = server.server_port
        self.url = f"http://{host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> MetricsServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def serve_metrics(
    port: int = 9464, host: str = "127.0.0.1", registry: CollectorRegistry | None = None
) -> MetricsServer:
    """Serve the metrics for Prometheus, in a daemon thread.

    OpenMetrics with exemplars, unless the client asks for the plain text format. With
    ``PROMETHEUS_MULTIPROC_DIR`` set, the sum over all processes. A connection has 10 seconds,
    and of more than 32 the oldest ends.

    Args:
        port: The port; 0 takes a free one. 9464 is OpenTelemetry's default for Prometheus.
        host: The address to listen on; ``"0.0.0.0"`` for all.
        registry: The registry to serve. Default: the default one of prometheus_client.

    Raises:
        OSError: If the port is taken.
    """
    from socketserver import ThreadingMixIn
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

    connections = _Connections()

    class Server(ThreadingMixIn, WSGIServer):
        daemon_threads = True
        request_queue_size = 128

        def process_request(self, request: Any, client_address: Any) -> None:
            connections.add(request)
            super().process_request(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            connections.remove(request)
            super().shutdown_request(request)

        def service_actions(self) -> None:
            connections.end_old()

        def handle_error(self, request: Any, client_address: Any) -> None:
            logger.debug("a request for metrics failed", exc_info=True)

    class Quiet(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            """Write no line on standard error for every scrape."""

    server = make_server(host, port, _metrics_app(registry), Server, handler_class=Quiet)
    thread = threading.Thread(
        target=server.serve_forever, args=(0.05,), name="axon-audit-metrics", daemon=True
    )
    thread.start()
    return MetricsServer(server, thread, host)


class _Connections:
    """The open connections of a metrics endpoint: few, and none for long.

    One more than these ends the oldest, so that idle ones never keep a scrape out.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._begun: dict[socket.socket, float] = {}  # the oldest first

    def add(self, connection: socket.socket) -> None:
        """Let *connection* begin."""
        with self._lock:
            if len(self._begun) >= _CONNECTIONS:
                self._end(next(iter(self._begun)))
            self._begun[connection] = time.monotonic()

    def remove(self, connection: socket.socket) -> None:
        """Forget *connection*, which has ended."""
        with self._lock:
            self._begun.pop(connection, None)

    def end_old(self) -> None:
        """End the connections that have had their time."""
        latest = time.monotonic() - _SCRAPE_S
        with self._lock:
            for connection in [one for one, begun in self._begun.items() if begun < latest]:
                self._end(connection)

    def _end(self, connection: socket.socket) -> None:
        """End a connection; its thread notices, and closes it."""
        del self._begun[connection]
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)


_CONNECTIONS = 32
_SCRAPE_S = 10.0  # for one scrape, as Prometheus has it by default
_OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def _metrics_app(registry: CollectorRegistry | None) -> Callable[[Any, Any], Any]:
    in_files = bool(os.environ.get("PROMETHEUS_MULTIPROC_DIR"))

    def app(environ: dict[str, Any], start_response: Any) -> Any:
        shown = registry or REGISTRY
        if in_files:
            shown = CollectorRegistry()
            try:
                MultiProcessCollector(shown)  # type: ignore[no-untyped-call]
            except ValueError:  # no directory now; it may come back
                start_response("503 Service Unavailable", [("Content-Type", "text/plain")])
                return [b"PROMETHEUS_MULTIPROC_DIR is not a directory"]
        accept = environ.get("HTTP_ACCEPT", "")
        if "text/plain" not in accept and "openmetrics" not in accept:
            environ["HTTP_ACCEPT"] = _OPENMETRICS
        return make_wsgi_app(shown)(environ, start_response)

    return app
