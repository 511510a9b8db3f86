"""A real OTLP receiver for logs, over HTTP or gRPC, with answers that a test chooses."""

from __future__ import annotations

import contextlib
import gzip
import json
import socket
import ssl
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import (
    LogsServiceServicer,
    add_LogsServiceServicer_to_server,
)

#: The answer to a request: None accepts it; a number is an HTTP status, a name a gRPC one;
#: a response object is sent as it is.
Behaviour = Callable[[ExportLogsServiceRequest], Any]


class Receiver:
    """Collects records; `answer` decides about each request.

    Attributes:
        requests: All requests, accepted or not.
        headers: The headers of the newest request.
        url: The address to send to.
        protocol: The OTLP protocol.
    """

    protocol = "http/protobuf"
    content_type = "application/x-protobuf"

    def __init__(self) -> None:
        self.answer: Behaviour = lambda request: None
        self.requests: list[ExportLogsServiceRequest] = []
        self.headers: dict[str, str] = {}
        self.records: list[Any] = []
        self.resources: list[dict[str, Any]] = []
        self._lock = threading.Lock()
        self.url = ""
        self._close: Callable[[], None] = lambda: None

    def take(self, request: ExportLogsServiceRequest, headers: dict[str, str]) -> Any:
        """Answer a request, and keep its records if it is accepted."""
        verdict = self.answer(request)
        with self._lock:
            self.requests.append(request)
            self.headers = headers
            if verdict is None or isinstance(verdict, ExportLogsServiceResponse):
                for logs in request.resource_logs:
                    self.resources.append(
                        {p.key: p.value.string_value for p in logs.resource.attributes}
                    )
                    for scope_logs in logs.scope_logs:
                        self.records += scope_logs.log_records
        return verdict

    @property
    def numbers(self) -> list[int]:
        """Sequence numbers of the records, in the order of arrival."""
        return [attributes(record)["audit.sequence.number"] for record in self.records]

    def close(self) -> None:
        """Stop listening."""
        self._close()


def numbers_in(request: ExportLogsServiceRequest) -> list[int]:
    """The sequence numbers of a request's records."""
    return [
        attributes(record)["audit.sequence.number"]
        for logs in request.resource_logs
        for scope_logs in logs.scope_logs
        for record in scope_logs.log_records
    ]


def attributes(record: Any) -> dict[str, Any]:
    """The attributes of a record by name."""
    return {p.key: getattr(p.value, p.value.WhichOneof("value")) for p in record.attributes}


def write_json(records: list[Any], path: Path) -> None:
    """Write records as a collector's file exporter does."""
    with path.open("w") as file:
        for record in records:
            content = MessageToDict(record, use_integers_for_enums=True)
            logs = {"scopeLogs": [{"logRecords": [content]}]}
            file.write(json.dumps({"resourceLogs": [logs]}) + "\n")


def over_http(port: int = 0, tls: tuple[Path, Path] | None = None) -> Receiver:
    """A receiver of OTLP/HTTP; over TLS with a certificate and its key."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            assert self.path == "/v1/logs"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportLogsServiceRequest.FromString(body)
            verdict = receiver.take(request, {k.lower(): v for k, v in self.headers.items()})
            status, wait = verdict if isinstance(verdict, tuple) else (verdict, None)
            content = b""
            if isinstance(status, ExportLogsServiceResponse):
                content, status = status.SerializeToString(), 200
            self.send_response(status or 200)
            if wait is not None:
                self.send_header("Retry-After", str(wait))
            self.send_header("Content-Type", receiver.content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        allow_reuse_address = True

        def process_request(self, request: Any, client_address: Any) -> None:
            connections.append(request)
            super().process_request(request, client_address)

        def handle_error(self, request: Any, client_address: Any) -> None: ...

    connections: list[socket.socket] = []
    server = Server(("127.0.0.1", port), Handler)
    if tls is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*tls)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()
        for connection in connections:  # that are kept alive
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    scheme = "http" if tls is None else "https"
    receiver.url, receiver._close = f"{scheme}://127.0.0.1:{server.server_port}", close
    return receiver


def over_grpc(port: int = 0, tls: tuple[Path, Path] | None = None) -> Receiver:
    """A receiver of OTLP/gRPC; over TLS with a certificate and its key."""
    receiver = Receiver()

    class Service(LogsServiceServicer):  # type: ignore[misc]
        def Export(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
            metadata = {item.key: item.value for item in context.invocation_metadata()}
            verdict = receiver.take(request, metadata)
            if isinstance(verdict, str):
                context.abort(grpc.StatusCode[verdict], "as the test wants it")
            return verdict or ExportLogsServiceResponse()

    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.so_reuseport", 0)])
    add_LogsServiceServicer_to_server(Service(), server)
    if tls is None:
        port = server.add_insecure_port(f"127.0.0.1:{port}")
    else:
        pair = tls[1].read_bytes(), tls[0].read_bytes()
        credentials = grpc.ssl_server_credentials([pair])
        port = server.add_secure_port(f"127.0.0.1:{port}", credentials)
    server.start()
    scheme = "http" if tls is None else "https"
    receiver.url, receiver.protocol = f"{scheme}://127.0.0.1:{port}", "grpc"
    receiver._close = lambda: server.stop(None).wait()
    return receiver


class SilentServer:
    """Accepts connections, reads what comes, and never answers."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.connected = threading.Event()
        self._open: list[socket.socket] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            self.connected.set()

    def close(self) -> None:
        """Let go of all connections."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)  # or it would accept one more
        self._socket.close()
        self._thread.join()
        for connection in self._open:
            connection.close()


class Relay:
    """Passes connections on to a receiver, and can make them silent.

    A silent connection is like one that a router on the way has forgotten: only the kernel
    accepts the data.
    """

    def __init__(self, url: str) -> None:
        self._address = "127.0.0.1", int(url.rpartition(":")[2])
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._silent: set[socket.socket] = set()
        self._open: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def forget(self) -> None:
        """Make the current connections silent; new ones work."""
        self._silent.update(self._open)

    def _run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = self._socket.accept()[0], socket.create_connection(self._address)
                self._open += near, far
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if source not in self._silent:
                    target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Close all connections."""
        self._socket.close()
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
