"""Answers of stores that break off, repeat themselves, or are of strangers' records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from conftest import Make
from receiver import Receiver

from axon_audit_otel.archive.directory import newest_number
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.replay import replay
from axon_audit_otel.shipping.store_report import verify_store
from axon_audit_otel.shipping.stores.address import open_store
from axon_audit_otel.shipping.stores.store import Store, StoredStream

Open = Callable[[str, Callable[[str], Iterator[bytes]]], Store]


@pytest.fixture(name="store")
def _store() -> Iterator[Open]:
    """Opens a store of a kind at a server whose answer to a query is what a function yields."""
    closers: list[Callable[[], None]] = []

    def opened(kind: str, answer: Callable[[str], Iterator[bytes]]) -> Store:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
                self.send_response(200)
                self.end_headers()
                try:
                    for piece in answer(parse_qs(body).get("query", [body])[0] or self.path):
                        self.wfile.write(piece)
                except OSError:
                    pass  # the client had enough

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        store = open_store(f"{kind}+http://127.0.0.1:{server.server_port}")
        closers.extend((store.close, server.shutdown, server.server_close))
        return store

    yield opened
    for close in closers:
        close()


_TABLE = b"".join(
    b'{"stream":"audit_events","name":"%b"}\n' % name for name in (b"Body", b"LogAttributes")
)


def test_an_exception_after_the_first_rows(store: Open) -> None:
    """ClickHouse can say as a row that it failed: that is no answer, and nothing is missing."""

    def answer(query: str) -> Iterator[bytes]:
        yield b'{"number":1,"known_as":"aa","records":1}\n' if "known_as" in query else _TABLE
        if "known_as" in query:
            yield b'{"exception": "Code: 241. DB::Exception: Memory limit exceeded"}\n'

    opened = store("clickhouse", answer)
    with pytest.raises(ConnectionError, match="Memory limit exceeded"):
        list(opened.records("stream", 1, 9))
    with pytest.raises(ConnectionError, match="Memory limit exceeded"):
        opened.blocks("stream", 1, 9)


def test_text_that_is_no_unicode(store: Open) -> None:
    """A stranger's record does not keep us from reading of the others."""

    def answer(query: str) -> Iterator[bytes]:
        yield b'{"trail":"\xff\xfe","stream":"s","records":"1","first":"1","last":"1"}\n'
        yield b'{"trail":"ours","stream":"t","records":"2","first":"1","last":"2"}\n'

    assert [stream.stream for stream in store("victorialogs", answer).streams()] == ["s", "t"]


def test_one_trail_of_two_names(store: Open) -> None:
    """It is one stream, with all numbers of both."""

    def answer(query: str) -> Iterator[bytes]:
        yield b'{"trail":"new","stream":"s","records":"5","first":"3","last":"9"}\n'
        yield b'{"trail":"old","stream":"s","records":"4","first":"1","last":"4"}\n'

    assert store("victorialogs", answer).streams() == [StoredStream("new", "s", 9, 1, 9)]


async def test_a_trail_whose_id_is_lost(
    store: Open, make_audit: Make, tmp_path: Path, http: Receiver
) -> None:
    """Where the archive does not say which trail it is of, nothing was compared or sent, and that
    is said."""
    audit = make_audit(auto_export_path=tmp_path, max_events=5)
    for _ in range(12):
        await audit.log_event("STORE")
    audit.close()
    manifest = tmp_path / "default.manifest"
    manifest.write_bytes(b"{" + manifest.read_bytes())
    count = newest_number(tmp_path, "default")  # and the end of the trail
    report = verify_store(tmp_path, store("victorialogs", lambda query: iter(())))
    (finding,) = report.findings
    assert (report.verdict, finding.kind, finding.file) == ("damage", "unreadable", "default")
    assert f"{count} events were not compared" in finding.explanation
    endpoint = Endpoint.resolve(http.url, "http/protobuf", environ={})
    assert replay(tmp_path, endpoint, {}).missing == count
    other = store("victorialogs", lambda query: iter(()))
    assert replay(tmp_path, endpoint, {}, store=other).missing == count


@pytest.mark.parametrize("piece", [b"\n" * 65_536, b"x\n" * 32_768])
def test_text_without_end(store: Open, piece: bytes) -> None:
    """It is not read for ever."""

    def answer(query: str) -> Iterator[bytes]:
        for _ in range(500):  # 32 MB
            yield piece

    server = store("victorialogs", answer)
    with pytest.raises(ConnectionError, match="shorter answer"):
        server._answers.text("/metrics")  # type: ignore[attr-defined]
    assert server.keeps() is None
