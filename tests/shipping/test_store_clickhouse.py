"""A ClickHouse is compared with the archive: our own tables, and those of the exporter."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_server import ClickHouse
from conftest import Cli, Make
from receiver import Receiver

from axon_audit_otel.archive.cursor import Cursor
from axon_audit_otel.archive.origin import source_of
from axon_audit_otel.otlp.encoding import record_of

pytestmark = [pytest.mark.component, pytest.mark.usefixtures("without_start_record")]  # chdb

_EXPORTERS = (
    "CREATE TABLE otel.exported (Timestamp DateTime64(9), Body String, EventName String,"
    " LogAttributes Map(LowCardinality(String), String)) ENGINE = MergeTree ORDER BY Timestamp"
)
_PASSWORD = "pass-word-of-the-test"


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse"), _PASSWORD)
    server.prepare()
    server.send(_EXPORTERS)
    yield server
    server.stop()


class _Asked:
    """The commands, on one archive and one table."""

    def __init__(self, cli: Cli, archive: Path, server: ClickHouse, into: str, table: str) -> None:
        self._cli, self._archive, self._server, self._into = cli, archive, server, into
        address = server.url.partition("://")[2]
        self.url = f"clickhouse+http://default:{_PASSWORD}@{address}/otel?table={table}"

    def insert(self, numbers: range, **changed: Any) -> None:
        """Insert some events, as the collector's exporter does, perhaps changed."""
        cursor, source = Cursor(self._archive, "default", numbers.start - 1), None
        source = source_of(self._archive, "default")
        rows = []
        for line in cursor.read(len(numbers), 1 << 30):
            record = record_of(line, source)
            attributes = {**record.attributes, **changed}
            body = changed.pop("body", lambda body: body)(line)
            row = {
                "Timestamp": f"{record.time_ns // 10**9}.{record.time_ns % 10**9:09}",
                "Body": body.decode(),
                "EventName": record.event_name,
                "LogAttributes": {k: str(v) for k, v in attributes.items() if k != "body"},
            }
            rows.append(json.dumps(row))
        cursor.close()
        self._server.send(f"INSERT INTO {self._into} FORMAT JSONEachRow", "\n".join(rows).encode())

    def compare(self, *options: object, code: int = 0) -> dict[str, Any]:
        """Compare; the report."""
        asked = ("verify", self._archive, "--store", self.url, "--json", *options)
        report: dict[str, Any] = json.loads(self._cli(*asked, code=code).stdout)
        return report


@pytest.fixture(
    name="asked",
    params=[("audit_records", "audit_events_stored"), ("exported", "exported")],
    ids=["ours", "exporter's"],
)
async def _asked(
    request: pytest.FixtureRequest,
    server: Any,
    make_audit: Make,
    tmp_path: Path,
    cli: Cli,
    http: Receiver,
) -> _Asked:
    """An archive of 5,000 events, acknowledged by another receiver; none is in the store."""
    audit = make_audit(auto_export_path=tmp_path / "logs")
    for number in range(5000):
        await audit.log_event("STORE", user_id="alice", metadata={"number": number})
    audit.close()
    cli("replay", tmp_path / "logs", "--endpoint", http.url)
    return _Asked(cli, tmp_path / "logs", server, *request.param)


def test_missing_and_mended(asked: _Asked) -> None:
    """What is missing is named; when it is there, nothing is."""
    asked.insert(range(1, 4001))
    asked.insert(range(4003, 5000))
    found = asked.compare(code=1)["findings"]
    assert [one["explanation"] for one in found] == [
        "events 4001 to 4002 did not arrive",
        "event 5000 did not arrive",
    ]
    asked.insert(range(4001, 4003))
    asked.insert(range(5000, 5001))
    for options in ((), ("--full",)):
        report = asked.compare(*options)
        assert report["verdict"] == "ok"
        assert (report["events"], report["streams"][0]["duplicates"]) == (5000, 0)


def test_twice_and_altered(asked: _Asked) -> None:
    """Twice is told; a body that was altered is found, by our own tables without --full."""
    asked.insert(range(1, 5001))
    asked.insert(range(10, 12))
    report = asked.compare()
    assert report["streams"][0]["duplicates"] in (0, 2)  # ClickHouse may have merged them
    asked.insert(range(77, 78), body=lambda body: body.replace(b"alice", b"mallo"))
    found = asked.compare("--full", code=1)["findings"]
    assert [(one["kind"], one["sequence"]) for one in found] == [("altered", 77)]
    assert _PASSWORD not in json.dumps(found)


def test_no_secret_is_shown(asked: _Asked, cli: Cli, tmp_path: Path) -> None:
    """A wrong password and a table that is not there: exit code 2, without secrets."""
    for url, words in (
        (asked.url.replace(_PASSWORD, "wrong-secret"), "HTTP 403"),
        (asked.url.partition("?")[0] + "?table=nothing", "a table with audit events in otel"),
        (asked.url.partition("?")[0] + "?table=a;b", "cannot be meant"),
    ):
        done = cli("verify", tmp_path / "logs", "--store", url, code=2)
        assert words in done.stderr
        assert "secret" not in done.stderr
        assert _PASSWORD not in done.stderr


async def test_what_retention_deleted_there(
    make_audit: Make, tmp_path: Path, cli: Cli, http: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rule of retention.sql, which spares what is held, says how long events are kept: what it
    has deleted is not called lost, and not sent again to be deleted again."""
    now, archive = time.time_ns(), tmp_path / "logs"
    monkeypatch.setattr(time, "time_ns", lambda: now - 500 * 86_400 * 10**9)
    await _filled(make_audit, archive, 30)
    monkeypatch.undo()
    await _filled(make_audit, archive, 10)
    cli("replay", archive, "--endpoint", http.url)
    server = ClickHouse(tmp_path / "clickhouse")
    try:
        server.prepare("retention.sql")
        server.send(
            "INSERT INTO audit_holds (name, until) VALUES ('case-17', now() - INTERVAL 450 DAY)"
        )
        server.send("SYSTEM RELOAD DICTIONARY audit_holds_ranges")
        asked = _Asked(cli, archive, server, "audit_records", "audit_events_stored")
        asked.insert(range(1, 41))
        server.send("ALTER TABLE audit_events_stored MATERIALIZE TTL", mutations_sync=2)
        assert asked.compare()["told"] == []  # all are held
        server.send("INSERT INTO audit_holds (name, released) VALUES ('case-17', true)")
        server.send("SYSTEM RELOAD DICTIONARY audit_holds_ranges")
        server.send("ALTER TABLE audit_events_stored MATERIALIZE TTL", mutations_sync=2)
        (told,) = asked.compare()["told"]
        assert told.startswith("default: 30 events from before ")
        assert told.endswith("are no longer in the store, which keeps none that old")
        mended = cli("replay", archive, "--endpoint", http.url, "--store", asked.url, "--json")
        done = json.loads(mended.stdout)
        assert (done["sent"], done["too_old"], done["before"]) == (0, 30, 10)
    finally:
        server.stop()


async def _filled(make_audit: Make, archive: Path, number: int) -> None:
    audit = make_audit(auto_export_path=archive)
    for _ in range(number):
        await audit.log_event("STORE", user_id="alice")
    audit.close()
