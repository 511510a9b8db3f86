"""Answers of stores that break off, repeat themselves, or are of strangers' records."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

import pytest

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
