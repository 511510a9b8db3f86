"""Answers of OTLP receivers, and of other servers in their place."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import pytest
import receiver as receivers
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)

from axon_audit_otel import AuditConfigError
from axon_audit_otel.otlp.client import Answer, Endpoint, connect

PROTOBUF = {"Content-Type": "application/x-protobuf"}
#: Answers one request, in whatever way.
Behaviour = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture(name="ask")
def _ask() -> Iterator[Callable[..., Answer]]:
    """Sends a request to an HTTP server that behaves as it is told; returns the answer."""
    found: list[ThreadingHTTPServer] = []

    def ask(behave: Behaviour, timeout: str = "10") -> Answer:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                with suppress(OSError):  # nobody listens any more
                    behave(self)

            def log_message(self, format: str, *args: Any) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        found.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        environ = {"OTEL_EXPORTER_OTLP_TIMEOUT": timeout}
        client = connect(Endpoint.resolve(url, "http/protobuf", environ=environ))
        answer = client.send(b"")
        client.close()
        return answer

    yield ask
    for server in found:
        server.shutdown()
        server.server_close()


def _says(status: int, headers: dict[str, str], body: bytes = b"") -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return behave


def _partial(words: str, rejected: int = 2) -> bytes:
    partial = ExportLogsPartialSuccess(rejected_log_records=rejected, error_message=words)
    return bytes(ExportLogsServiceResponse(partial_success=partial).SerializeToString())


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, PROTOBUF),
        (200, {"Content-Type": "application/x-protobuf; charset=utf-8"}),
        (200, {}),
        (204, {}),  # Loki
    ],
)
def test_accepted(ask: Callable[..., Answer], status: int, headers: dict[str, str]) -> None:
    """An empty body is an OTLP answer, also where nobody says what it is."""
    assert ask(_says(status, headers)) == Answer("accepted")


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/html"}, b"<html>Welcome to your proxy</html>"),
        ({"Content-Type": "text/html"}, b""),
        ({"Content-Type": "application/json"}, b"{}"),
        ({"Content-Type": "application/json"}, b'{"partialSuccess":{}}'),
        ({"Content-Type": "application/octet-stream"}, b""),
        (PROTOBUF, b"<html>Welcome to your proxy</html>"),
        (PROTOBUF, b"{}"),
        ({}, b"OK"),
        (PROTOBUF, _partial("cut off")[:-2]),
    ],
)
def test_no_receiver(ask: Callable[..., Answer], headers: dict[str, str], body: bytes) -> None:
    """Status 200 of somebody who does not speak OTLP acknowledges nothing."""
    answer = ask(_says(200, headers, body))
    assert answer.kind == "later"
    assert "no OTLP" in answer.why


def test_partial_success(ask: Callable[..., Answer]) -> None:
    """Of a request that was taken, some records may be lost."""
    assert ask(_says(200, PROTOBUF, _partial("no room"))) == Answer("accepted", "no room", 2)
    assert ask(_says(200, PROTOBUF, _partial("", -3))) == Answer("accepted")


def test_strangers_words(ask: Callable[..., Answer]) -> None:
    """The text of a receiver comes as one line, without control characters, and not endless."""
    words = "\x1b[31mno\nroom\r\n\x00\u2028" + "x" * 5000
    answer = ask(_says(200, PROTOBUF, _partial(words)))
    assert answer.why.startswith("[31mno room x")
    assert answer.why.isprintable()
    assert len(answer.why) <= 300
    answer = ask(_says(200, {"Content-Type": "text/\x1b[31m" + "x" * 5000}))
    assert answer.why.isprintable()
    assert len(answer.why) <= 400


def test_reason_phrases(ask: Callable[..., Answer]) -> None:
    """Also those of the status line."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 503 \x1b[31m" + b"busy" * 500 + b"\r\n\r\n")

    answer = ask(behave)
    assert answer.why.startswith("HTTP 503 [31mbusy")
    assert answer.why.isprintable()
    assert len(answer.why) <= 400


def test_words_over_grpc() -> None:
    """And those of gRPC."""
    found = receivers.over_grpc()
    partial = ExportLogsPartialSuccess(rejected_log_records=1, error_message="a\nb\x1b")
    found.answer = lambda request: ExportLogsServiceResponse(partial_success=partial)
    client = connect(Endpoint.resolve(found.url, "grpc", environ={}))
    assert client.send(b"") == Answer("accepted", "a b", 1)
    client.close()
    found.close()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_redirects(ask: Callable[..., Answer], status: int) -> None:
    """Nobody sends events wherever an answer says; the reason names it."""
    elsewhere = receivers.over_http()
    answer = ask(_says(status, {"Location": f"{elsewhere.url}/v1/logs"}))
    assert answer.kind == "later"
    assert "redirects are not followed" in answer.why
    assert elsewhere.requests == []
    elsewhere.close()


def test_gzip(ask: Callable[..., Answer]) -> None:
    """An answer may be compressed; one that is cut off, or none, is no answer."""
    packed, headers = gzip.compress(_partial("no room")), {**PROTOBUF, "Content-Encoding": "gzip"}
    assert ask(_says(200, headers, packed)) == Answer("accepted", "no room", 2)
    assert ask(_says(200, headers, packed[:-9])).kind == "later"
    assert ask(_says(200, headers, _partial("no room"))).kind == "later"


@pytest.mark.slow
def test_huge_answers(ask: Callable[..., Answer]) -> None:
    """They are not read to their end, compressed or not."""
    large = _partial("x" * 200_000)
    assert "too long" in ask(_says(200, PROTOBUF, large)).why
    packed = gzip.compress(_partial("x" * 50_000_000))
    assert len(packed) < 65_536
    answer = ask(_says(200, {**PROTOBUF, "Content-Encoding": "gzip"}, packed))
    assert answer.kind == "later"
    assert "too long" in answer.why


def test_endless_answers(ask: Callable[..., Answer]) -> None:
    """Nor is one that goes on for ever, a byte at a time, each of them in time."""
    gone = threading.Event()

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        while not gone.wait(0.05):
            handler.wfile.write(b"\n")

    answer = ask(behave, timeout="0.4")
    gone.set()
    assert answer.kind == "later"
    assert "in time" in answer.why


@pytest.mark.parametrize("again", [b"HTTP/1.1 100 Continue\r\n\r\n", b"H"])
@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200 OK\r\nX-Long: "])
def test_answers_that_never_begin(ask: Callable[..., Answer], begin: bytes, again: bytes) -> None:
    """Nor is one whose headers have no end, or that is announced again and again."""
    gone = threading.Event()

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(begin)
        while not gone.wait(0.05):
            handler.wfile.write(again)

    answer = ask(behave, timeout="0.4")
    gone.set()
    assert answer.kind == "later"
    assert answer.why


def test_no_answer(ask: Callable[..., Answer]) -> None:
    """A receiver that says nothing, or hangs up, is tried again."""
    over = threading.Event()
    answer = ask(lambda handler: over.wait(60) and None, timeout="0.2")
    over.set()
    assert (answer.kind, answer.rejected) == ("later", 0)
    assert answer.why
    assert ask(lambda handler: handler.connection.close()).kind == "later"


@pytest.mark.parametrize(
    ("status", "kind"), [(400, "refused"), (413, "refused"), (401, "later"), (503, "later")]
)
def test_refusals(ask: Callable[..., Answer], status: int, kind: str) -> None:
    """Some answers are about the content; `Retry-After` is understood, up to five minutes."""
    assert ask(_says(status, {"Retry-After": "7"})).kind == kind
    assert ask(_says(status, {"Retry-After": "7"})).wait == 7
    assert ask(_says(status, {"Retry-After": "1e9"})).wait == 300
    assert ask(_says(status, {"Retry-After": "-1"})).wait == 0
    assert ask(_says(status, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"})).wait == 0
    assert ask(_says(status, {"Retry-After": "nan"})).wait == 0


class TestSecrets:
    """Headers and passwords are sent, and not shown."""

    def test_login_of_a_url(self) -> None:
        """User and password of a URL are a header, for both protocols."""
        for protocol in ("http/protobuf", "grpc"):
            endpoint = Endpoint.resolve("https://ada:p%40ss@host:4317", protocol, environ={})
            assert endpoint.headers["authorization"] == "Basic YWRhOnBAc3M="
            assert endpoint.url.startswith("https://host:4317")
            assert "YWRh" not in repr(endpoint)

    def test_malformed_headers(self, caplog: pytest.LogCaptureFixture) -> None:
        """A part of the variable that is no header is logged by its number alone."""
        environ = {"OTEL_EXPORTER_OTLP_HEADERS": "A=one%20two,quetzal-secret, b = 2 ,"}
        endpoint = Endpoint.resolve(environ=environ)
        assert dict(endpoint.headers) == {"a": "one two", "b": "2"}
        assert "part 2 is not name=value" in caplog.text
        assert "quetzal" not in caplog.text

    @pytest.mark.parametrize("value", ["quetzal%0D%0AX: 1", "quetzal%00", "quetzal\u20ac"])
    def test_value_that_cannot_be_sent(self, value: str) -> None:
        """It is refused at once: a library would show it in an error."""
        with pytest.raises(AuditConfigError, match="header 'key': its value") as said:
            Endpoint.resolve(environ={"OTEL_EXPORTER_OTLP_HEADERS": f"key={value}"})
        assert "quetzal" not in str(said.value)

    def test_repeated_by_the_receiver(self) -> None:
        """What a receiver says of our headers goes without their values."""
        endpoint = Endpoint.resolve(headers={"authorization": "Bearer quetzal-1"}, environ={})
        assert endpoint.without_secrets("no such token: quetzal-1") == "no such token: (a secret)"

    def test_repeated_and_cut(self) -> None:
        """A long answer may end within a value; that has no begin of it."""
        endpoint = Endpoint.resolve(headers={"x-key": "quetzal-0123456789"}, environ={})
        for size in range(4, 18):
            cut = "no such key: quetzal-0123456789"[: 13 + size]
            assert endpoint.without_secrets(cut) == "no such key: (a secret)"
        assert endpoint.without_secrets("a quick answer") == "a quick answer"


def test_a_wish_that_cannot_be_read() -> None:
    """A gRPC receiver's time to wait may be anything: it is unavailable, and nothing worse."""

    def handle(request: Any, context: Any) -> bytes:
        context.set_trailing_metadata((("google.rpc.retryinfo-bin", b"\xff\xff no message"),))
        context.abort(grpc.StatusCode.UNAVAILABLE, "later")
        return b""

    method = grpc.unary_unary_rpc_method_handler(handle)
    service = "opentelemetry.proto.collector.logs.v1.LogsService"
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(service, {"Export": method})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    client = connect(Endpoint.resolve(f"grpc://127.0.0.1:{port}", environ={}))
    try:
        assert client.send(b"") == Answer("later", "gRPC UNAVAILABLE: later")
    finally:
        client.close()
        server.stop(None).wait()
