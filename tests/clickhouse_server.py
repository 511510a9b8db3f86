"""A ClickHouse of the tests' own: chdb, which is ClickHouse, behind ClickHouse's HTTP interface.

``python tests/clickhouse_server.py --data DIR --port PORT`` is the server. It speaks as much of
the interface as its clients need: statements in the body or in ``?query=``, ``database``,
``default_format``, ``param_*``, settings, user and password, data of any format behind an INSERT,
the codes of errors, and the greeting of ClickHouse's client for Go, which the collector uses.
Answers and requests are not compressed: the collector's endpoint needs ``?compress=none``.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import importlib.util
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_FILES = Path(__file__).resolve().parent.parent / "collector-config" / "clickhouse"

__all__ = ["ClickHouse", "ClickHouseError", "statements"]


class ClickHouseError(AssertionError):
    """The server refused a statement.

    Attributes:
        code: ClickHouse's number of the error; 0 if there is none.
    """

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class ClickHouse:
    """A ClickHouse on a free port that keeps its data in *directory*.

    Args:
        directory: For its data and its log.
        password: Of the user ``default``; "": every user may do everything.
        port: The port; None: a free one.

    Attributes:
        url: Its address.
        port: Its port.
        database: That statements are for, unless they say another one.
        collector: The environment that makes the collector's overlay use it.
    """

    def __init__(self, directory: Path, password: str = "", port: int | None = None) -> None:
        from collector import free_port  # not above: the server's own process needs no pytest

        self._directory = directory
        self._password = password
        self.database = "otel"
        directory.mkdir(parents=True, exist_ok=True)
        _need_chdb()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.collector = {
            "CLICKHOUSE_ENDPOINT": f"{self.url}?compress=none",
            "CLICKHOUSE_PASSWORD": password,
        }
        self.start()

    def start(self) -> None:
        """Start it with the data that it has, and return when it answers."""
        from collector import wait

        log = self._directory / "log"
        with log.open("ab") as to:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, __file__, "--data", str(self._directory / "data")),
                    *("--port", str(self.port)),
                ],
                stdout=to,
                stderr=to,
                env={**os.environ, "CLICKHOUSE_PASSWORD": self._password},
            )
        try:
            wait(lambda: self._ready(log))
        except BaseException:
            self.kill()
            raise

    def _ready(self, log: Path) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"ClickHouse did not start:\n{log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(f"{self.url}/ping", timeout=5) as answer:
                return bool(answer.read() == b"Ok.\n")
        except (urllib.error.URLError, OSError):
            return False

    def send(self, sql: str, data: bytes = b"", **arguments: Any) -> bytes:
        """The answer to one statement, as the server gives it.

        Args:
            sql: The statement.
            data: What an INSERT inserts.
            arguments: More of the URL's query: ``database``, ``param_name``, settings.

        Raises:
            ClickHouseError: If it is refused.
        """
        given = {"database": self.database, **arguments}
        if data:
            given["query"] = sql
        request = urllib.request.Request(
            f"{self.url}/?{urllib.parse.urlencode(given)}",
            data or sql.encode(),
            {"X-ClickHouse-User": "default", "X-ClickHouse-Key": self._password},
        )
        try:
            with urllib.request.urlopen(request, timeout=600) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as exc:
            code = int(exc.headers.get("X-ClickHouse-Exception-Code") or 0)
            raise ClickHouseError(f"{exc.read().decode()} in {sql}", code) from None

    def query(self, sql: str, **parameters: Any) -> list[dict[str, Any]]:
        """The rows of a query, JSON types; *parameters* are its ``{name:Type}``."""
        named = {f"param_{name}": value for name, value in parameters.items()}
        numbers = {"output_format_json_quote_64bit_integers": 0}
        found = self.send(sql, default_format="JSONEachRow", **numbers, **named)
        return [json.loads(line) for line in found.decode().split("\n") if line]

    def run(self, sql: str) -> None:
        """Run statements, which end with ``;`` at the end of a line."""
        for statement in statements(sql):
            self.send(statement)

    def insert_otlp(self, file: Path) -> int:
        """Insert the records in a file of OTLP JSON lines, as the collector's exporter does, but
        without a collector; returns their number."""
        from collector import log_records

        rows = []
        for record in log_records([file]):
            said = {name: _attribute(value) for name, value in record["attributes"].items()}
            resource = {name: _attribute(value) for name, value in record["resource"].items()}
            rows.append(
                {
                    "Timestamp": int(record["timeUnixNano"]) / 1e9,
                    "Body": record["body"]["stringValue"],
                    "EventName": record.get("eventName", ""),
                    "ServiceName": resource.get("service.name", ""),
                    "LogAttributes": said,
                    "ResourceAttributes": resource,
                }
            )
        data = "\n".join(map(json.dumps, rows)).encode()
        self.send("INSERT INTO audit_records FORMAT JSONEachRow", data)
        return len(rows)

    def prepare(self, *files: str) -> None:
        """Make the database with our tables and views, by the documented command.

        Args:
            files: More files of ``collector-config/clickhouse``: ``retention.sql``.
        """
        names = ["schema.sql", "views.sql", *files]
        command = [sys.executable, "apply.py", self.url, *names]
        environment = {**os.environ, "CLICKHOUSE_PASSWORD": self._password}
        environment["CLICKHOUSE_DATABASE"] = self.database
        subprocess.run(command, cwd=_FILES, env=environment, check=True, stdout=subprocess.PIPE)

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._process.pid

    def stop(self) -> None:
        """Stop it as an operator does."""
        self._process.terminate()
        self._process.wait()

    def kill(self) -> None:
        """Kill it: what it has acknowledged must be there after the next start."""
        self._process.kill()
        self._process.wait()


def _attribute(value: Any) -> str:
    """A value as the exporter writes it: lists are JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def statements(sql: str) -> list[str]:
    """The statements of a file, without comments that stand on lines of their own."""
    lines = [line for line in sql.split("\n") if not line.lstrip().startswith("--")]
    parts = re.split(r";[ \t]*(?:--[^\n]*)?(?:\n|$)", "\n".join(lines))
    return [part.strip() for part in parts if part.strip()]


def _need_chdb() -> None:
    if importlib.util.find_spec("chdb") is None:
        import pytest

        if os.environ.get("CI") == "true":
            pytest.fail("chdb is not installed (pip install chdb); in CI that is no reason to skip")
        pytest.skip("chdb is not installed (pip install chdb)")


# --- the server ----------------------------------------------------------------------------------

_GREETING = "SELECT displayName(), version(), revision(), timezone()"
#: Of the URL's query, what is no setting.
_NO_SETTINGS = {
    *("query", "database", "default_format", "client_protocol_version", "query_id", "quota_key"),
    *("user", "password", "compress", "decompress", "session_id", "client_info_product"),
}
_INSERT = re.compile(r"(INSERT\s+INTO\s.+?)\s+FORMAT\s+(\w+)\s*;?\s*", re.IGNORECASE | re.DOTALL)
_INTO = re.compile(r"INSERT\s+INTO\s+(?:TABLE\s+)?([^\s(]+)\s*(.*)", re.IGNORECASE | re.DOTALL)
_BINARY = {"native", "rowbinary", "parquet", "arrow", "arrowstream", "avro", "orc"}
#: Formats of which a long answer is sent while it is made: they have no head and no end.
_STREAMED = {"jsoneachrow", "native", "rowbinary", "tabseparated", "tsv", "csv", "rawblob"}
_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*(?:SETTINGS\b[^;]*)?;?\s*$", re.IGNORECASE)


class _RefusedError(Exception):
    """An answer other than 200: its status, ClickHouse's code, its text."""

    def __init__(self, status: int, code: int, text: str) -> None:
        super().__init__(text)
        self.status, self.code = status, code


class _Engine:
    """chdb with its data: one statement at a time."""

    def __init__(self, data: Path) -> None:
        self._session: Any = importlib.import_module("chdb.session").Session(str(data))
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def _prepared(self, database: str, settings: dict[str, str]) -> Iterator[Any]:
        """The session, for one statement, with its database and settings."""
        with self._lock:
            try:
                self._session.query(f"USE {_name(database)}")
                for name, value in settings.items():
                    self._session.query(f"SET {_name(name)} = {_literal(value)}")
                yield self._session
            finally:
                for name in settings:
                    with contextlib.suppress(RuntimeError):  # unknown: that was the answer
                        self._session.query(f"SET {_name(name)} = DEFAULT")

    def answer(
        self, sql: str, data: bytes, kind: str, database: str, arguments: dict[str, str]
    ) -> Iterator[bytes]:
        """What the server answers, in pieces."""
        settings = {name: value for name, value in arguments.items() if name[:6] != "param_"}
        named = {name[6:]: value for name, value in arguments.items() if name[:6] == "param_"}
        with self._prepared(database, settings) as session:
            inserted = _INSERT.fullmatch(sql)
            if inserted and data and inserted[2].lower() in _BINARY:
                yield self._insert(inserted[1], inserted[2], data)
                return
            text = f"{sql}\n{data.decode()}" if data else sql
            asked = _FORMAT.search(text)
            streams = (asked[1] if asked else kind).lower() in _STREAMED
            if streams and not named and re.match(r"\s*(SELECT|WITH)\b", text, re.IGNORECASE):
                with session.send_query(text, kind) as pieces:
                    for piece in pieces:
                        yield piece.bytes()
                return
            yield session.query(text, kind, params=named or None).bytes()

    def _insert(self, into: str, kind: str, data: bytes) -> bytes:
        with tempfile.NamedTemporaryFile(suffix=".inserted") as file:
            file.write(data)
            file.flush()
            head = re.fullmatch(
                r"INSERT\s+INTO\s+(?:TABLE\s+)?([^\s(]+)\s*(.*)", into, re.IGNORECASE | re.DOTALL
            )
            assert head, into
            columns = head[2].strip().strip("()") or "*"
            source = f"file({_literal(file.name)}, {_literal(kind)}"
            if kind.lower() == "rowbinary":
                source += f", {_literal(self._structure(head[1], columns))}"
            found = self._session.query(f"{into} SELECT {columns} FROM {source})")
            return bytes(found.bytes())

    def _structure(self, table: str, columns: str) -> str:
        rows = str(self._session.query(f"DESCRIBE TABLE {table}", "JSONEachRow")).splitlines()
        types = {row["name"]: row for row in map(json.loads, rows)}
        names = [name.strip(' \n`"') for name in columns.split(",")]
        if columns == "*":
            hidden = ("MATERIALIZED", "ALIAS")
            names = [name for name, row in types.items() if row["default_type"] not in hidden]
        return ", ".join(f"{_name(name)} {types[name]['type']}" for name in names)


def _name(text: str) -> str:
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _greeting(engine: _Engine) -> bytes:
    """The answer to ClickHouse's client for Go, in the format of its own protocol's version.

    It says that this server is of revision 0: the client reads all other answers in the format
    that chdb writes.
    """
    found = b"".join(
        engine.answer("SELECT version(), timezone()", b"", "JSONEachRow", "system", {})
    )
    row = json.loads(found)
    columns = [
        (b"name", b"String", _text(b"chdb")),
        (b"version", b"String", _text(row["version()"].encode())),
        (b"revision", b"UInt32", bytes(4)),
        (b"timezone", b"String", _text(row["timezone()"].encode())),
    ]
    block = b"\x01\x00\x02\xff\xff\xff\xff\x00" + bytes([len(columns), 1])
    return block + b"".join(_text(n) + _text(kind) + b"\x00" + value for n, kind, value in columns)


def _text(text: bytes) -> bytes:
    assert len(text) < 128
    return bytes([len(text)]) + text


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    engine: _Engine
    password: str

    def do_GET(self) -> None:
        if urllib.parse.urlsplit(self.path).path == "/ping" or self.path == "/":
            self._whole(200, b"Ok.\n")
        else:
            self._statement(b"")

    def do_POST(self) -> None:
        self._statement(self._body())

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        pieces = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(pieces)

    def _statement(self, body: bytes) -> None:
        try:
            url = urllib.parse.urlsplit(self.path)
            given = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True))
            self._admit(given)
            sql, data = (given["query"], body) if "query" in given else (body.decode(), b"")
            arguments = {name: value for name, value in given.items() if name not in _NO_SETTINGS}
            if sql.startswith(_GREETING):
                self._whole(200, _greeting(self.engine))
                return
            kind = given.get("default_format") or self.headers.get("X-ClickHouse-Format")
            database = given.get("database") or self.headers.get("X-ClickHouse-Database")
            self._stream(
                self.engine.answer(
                    sql, data, kind or "TabSeparated", database or "default", arguments
                )
            )
        except _RefusedError as exc:
            self._whole(exc.status, f"{exc}\n".encode(), exc.code)
        except Exception as exc:
            text = str(exc)
            found = re.search(r"Code: (\d+)", text)
            code = int(found[1]) if found else 0
            self._whole(
                404 if code in (60, 81) else 500 if code in (0, 241) else 400, text.encode(), code
            )

    def _admit(self, given: dict[str, str]) -> None:
        """Refuse who does not know the password."""
        key = given.get("password") or self.headers.get("X-ClickHouse-Key") or ""
        user = given.get("user") or self.headers.get("X-ClickHouse-User") or ""
        basic = self.headers.get("Authorization", "")
        if basic.startswith("Basic "):
            user, _, key = base64.b64decode(basic[6:]).decode().partition(":")
        if self.password and (key != self.password or (user or "default") != "default"):
            text = (
                f"Code: 516. DB::Exception: {user}: Authentication failed. (AUTHENTICATION_FAILED)"
            )
            raise _RefusedError(403, 516, text)

    def _stream(self, pieces: Iterator[bytes]) -> None:
        first = next(pieces, b"")  # what is wrong with a statement shows here
        second = next(pieces, None)
        if second is None:
            self._whole(200, first)
            return
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        with contextlib.closing(pieces):  # type: ignore[type-var]
            for piece in itertools.chain((first, second), pieces):
                self._piece(piece)
        self.wfile.write(b"0\r\n\r\n")

    def _piece(self, piece: bytes) -> None:
        if piece:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))

    def _whole(self, status: int, answer: bytes, code: int = 0) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-ClickHouse-Exception-Code", str(code))
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        print(self.address_string(), format % args, file=sys.stderr, flush=True)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    options = parser.parse_args()
    _Handler.engine = _Engine(options.data)
    _Handler.password = os.environ.get("CLICKHOUSE_PASSWORD", "")
    _Server(("127.0.0.1", options.port), _Handler).serve_forever()


if __name__ == "__main__":
    main()
