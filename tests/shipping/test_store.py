"""A store is compared with the archive, and gets exactly what it lost: a real VictoriaLogs."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, archived, retire, sealed_files
from receiver import Receiver
from victoria_logs_server import VictoriaLogs

from axon_audit_otel import AuditLogger

pytestmark = [pytest.mark.component, pytest.mark.usefixtures("without_start_record")]  # Go

Start = Callable[..., VictoriaLogs]


@pytest.fixture(name="start")
def _start(tmp_path: Path) -> Iterator[Start]:
    """Starts servers; their flags are arguments."""
    running: list[VictoriaLogs] = []

    def start(*flags: str) -> VictoriaLogs:
        running.append(VictoriaLogs(tmp_path / f"victoria-logs-{len(running)}", *flags))
        return running[-1]

    yield start
    for server in running:
        server.kill()


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    return tmp_path / "logs"


async def _fill(make: Make, archive: Path, count: int = 50, **given: Any) -> AuditLogger:
    audit = make(auto_export_path=archive, **given)
    for number in range(count):
        await audit.log_event("STORE", user_id="alice", metadata={"number": number})
    audit.close()
    return audit


class _Asked:
    """The commands, on one archive and one store."""

    def __init__(self, cli: Cli, archive: Path, server: VictoriaLogs) -> None:
        self._cli, self._archive, self._server = cli, archive, server
        self.url = f"victorialogs+{server.url}"

    def replay(self, *options: object, code: int = 0) -> dict[str, Any]:
        """Replay to the server; the report."""
        target = ("--endpoint", self._server.otlp, "--protocol", "http/protobuf")
        done = self._cli("replay", self._archive, *target, "--json", *options, code=code)
        self._server.flush()
        report: dict[str, Any] = json.loads(done.stdout)
        return report

    def mend(self, code: int = 0) -> dict[str, Any]:
        """Replay what the store lacks."""
        return self.replay("--store", self.url, code=code)

    def compare(self, *options: object, code: int = 0) -> dict[str, Any]:
        """Compare; the report."""
        asked = ("verify", self._archive, "--store", self.url, "--json", *options)
        report: dict[str, Any] = json.loads(self._cli(*asked, code=code).stdout)
        return report

    def findings(self, *options: object) -> list[tuple[str, int | None, str]]:
        """What a comparison finds that is not clean."""
        found = self.compare(*options, code=1)["findings"]
        return [(one["kind"], one["sequence"], one["explanation"]) for one in found]

    def stored(self) -> list[int]:
        """The numbers of all records in the store, sorted."""
        rows = self._server.query("axon.audit.trail:*", limit=100_000)
        return sorted(int(row["audit.sequence.number"]) for row in rows)


async def test_a_store_that_lost_what_it_acknowledged(
    make_audit: Make, archive: Path, start: Start, cli: Cli
) -> None:
    """Killed right after it acknowledged, it has lost the events: the comparison says which, a
    replay sends these, and none of them twice."""
    server = start()
    asked = _Asked(cli, archive, server)
    await _fill(make_audit, archive, 300)
    assert asked.replay()["sent"] == 300
    server.stop()  # as one does, so that these stay
    server.start()
    await _fill(make_audit, archive, 200)
    target = ("--endpoint", server.otlp, "--protocol", "http/protobuf")
    cli("replay", archive, *target)
    server.kill()
    server.start()
    assert asked.stored() == list(range(1, 301))
    assert asked.findings() == [("removed", 301, "events 301 to 500 did not arrive")]
    assert asked.replay()["sent"] == 0  # they were acknowledged
    done = asked.mend()
    assert (done["sent"], done["before"]) == (200, 300)
    assert asked.compare()["verdict"] == "ok"
    assert asked.compare("--full")["verdict"] == "ok"
    assert asked.stored() == list(range(1, 501))
    assert asked.mend()["sent"] == 0
    assert asked.stored() == list(range(1, 501))


async def test_an_empty_store(make_audit: Make, archive: Path, start: Start, cli: Cli) -> None:
    """It lacks everything; the words say so, also without JSON."""
    server = start()
    asked = _Asked(cli, archive, server)
    await _fill(make_audit, archive)
    asked.replay()
    server.kill()
    server.start()
    assert asked.stored() == []
    said = cli("verify", archive, "--store", asked.url, code=1).stdout
    assert "events 1 to 50 did not arrive" in said
    assert asked.mend()["sent"] == 50
    said = cli("verify", archive, "--store", asked.url).stdout
    assert "Nothing is missing of the archive, and nothing was altered." in said


async def test_blocks_that_differ(
    make_audit: Make,
    archive: Path,
    start: Start,
    cli: Cli,
    http: Receiver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Holes of any place and size are found and filled, over many blocks and spans."""
    from axon_audit_otel.shipping import store_check

    monkeypatch.setattr(store_check, "_SPAN", 5000)  # no multiple of a block
    server = start()
    asked = _Asked(cli, archive, server)
    await _fill(make_audit, archive, 14_000)
    cli("replay", archive, "--endpoint", http.url)  # acknowledged, elsewhere
    for first, last in ((2, 4095), (4098, 4999), (5002, 8192), (8193, 12_288), (12_290, 13_999)):
        _send_only(archive, server, range(first, last + 1))
    holes = [(1, 1), (4096, 4097), (5000, 5001), (12_289, 12_289), (14_000, 14_000)]
    found = asked.findings()
    assert [sequence for _, sequence, _ in found] == [first for first, _ in holes]
    assert found[1][2] == "events 4096 to 4097 did not arrive"
    assert asked.mend()["sent"] == 7
    assert asked.stored() == list(range(1, 14_001))
    assert asked.compare()["streams"][0]["events"] == 14_000


def _send_only(archive: Path, server: VictoriaLogs, numbers: range, **changed: Any) -> None:
    """Send some events, with *changed* attributes or another ``body``."""
    from axon_audit_otel.archive.cursor import Cursor
    from axon_audit_otel.archive.origin import source_of
    from axon_audit_otel.otlp.client import Endpoint
    from axon_audit_otel.otlp.encoding import encode, record_of
    from axon_audit_otel.shipping.delivery import Sender

    cursor = Cursor(archive, "default", numbers.start - 1)
    source = source_of(archive, "default")
    sender = Sender(Endpoint.resolve(server.otlp, "http/protobuf", environ={}), {})
    left = len(numbers)
    while left and (lines := cursor.read(min(left, 1000), 1 << 30)):
        records = [record_of(line, source) for line in lines]
        for record in records:
            record.attributes.update({k: v for k, v in changed.items() if k != "body"})
        if "body" in changed:
            records = [record._replace(body=changed["body"](record.body)) for record in records]
        assert sender.send([encode(record) for record in records]).sent == len(records)
        left -= len(lines)
    cursor.close()
    sender.close()
    server.flush()


async def test_twice(make_audit: Make, archive: Path, start: Start, cli: Cli) -> None:
    """What is there twice is named by its id, and is no damage."""
    server = start()
    asked = _Asked(cli, archive, server)
    await _fill(make_audit, archive)
    asked.replay()
    _send_only(archive, server, range(7, 9))
    report = asked.compare()
    ids = [event.event_id for event in archived(archive) if event.sequence in (7, 8)]
    assert sorted(report["duplicates"]) == ids
    assert report["streams"][0]["duplicates"] == 2
    assert report["streams"][0]["events"] == 50


async def test_altered(
    make_audit: Make, archive: Path, start: Start, cli: Cli, http: Receiver
) -> None:
    """Another hash is found at once; another body with --full, which the words say."""
    server = start()
    asked = _Asked(cli, archive, server)
    await _fill(make_audit, archive, 20)
    cli("replay", archive, "--endpoint", http.url)  # acknowledged, elsewhere
    _send_only(archive, server, range(1, 5))
    _send_only(archive, server, range(5, 6), **{"axon.audit.hash": "ab" * 32})
    _send_only(archive, server, range(6, 7), body=lambda body: body.replace(b"alice", b"mallo"))
    _send_only(archive, server, range(7, 21))
    other = ("altered", 5, "event 5 is another one in the archive")
    missing = ("removed", 5, "event 5 did not arrive")
    assert asked.findings() == [missing, other]
    words = "event 6: its hash is not that of its body: one of them was altered"
    assert ("altered", 6, words) in asked.findings("--full")
    said = cli("verify", archive, "--store", asked.url, code=1).stdout
    assert "with --full, bodies too" in said


async def test_not_of_this_archive(
    make_audit: Make, archive: Path, tmp_path: Path, start: Start, cli: Cli
) -> None:
    """Other trails in the store are told and not compared; events that this one never had are
    damage."""
    server = start()
    asked = _Asked(cli, archive, server)
    await _fill(make_audit, archive, 20)
    await _fill(make_audit, tmp_path / "other", 30)
    _Asked(cli, tmp_path / "other", server).replay()
    asked.replay()
    told = asked.compare()["told"]
    assert [words.partition(",")[0] for words in told] == [
        "30 records of 1 other trails are in the store"
    ]
    _send_only(archive, server, range(20, 21), **{"audit.sequence.number": 21})
    words = "event 21 is in the store, and the archive never had it"
    assert asked.findings() == [("inserted", 21, words)]


async def test_an_archive_with_a_gap(
    make_audit: Make, archive: Path, start: Start, cli: Cli
) -> None:
    """What the archive lost is missing there, and nobody says that the store has it."""
    server = start()
    asked = _Asked(cli, archive, server)
    audit = make_audit(auto_export_path=archive, max_events=10)
    for _ in range(45):
        await audit.log_event("STORE")
    audit.close()
    sealed_files(archive)[1].unlink()
    done = asked.mend(code=1)
    assert (done["sent"], done["before"], done["missing"]) == (35, 0, 10)
    done = asked.mend(code=1)
    assert (done["sent"], done["before"], done["missing"]) == (0, 35, 10)


@pytest.mark.parametrize("number", ["none", "5KB", "3s", "-5", "2.5", "1e400", "NaN", "9" * 30])
async def test_numbers_that_are_none(
    make_audit: Make, archive: Path, start: Start, cli: Cli, number: str
) -> None:
    """Whoever may send to the store cannot keep us from comparing: with records of no trail, or of
    ours."""
    server = start()
    asked = _Asked(cli, archive, server)
    await _fill(make_audit, archive, 20)
    asked.replay()
    odd = {"audit.sequence.number": number}
    _send_only(archive, server, range(1, 2), **odd, **{"audit.sequence.stream_id": "other"})
    assert asked.compare()["verdict"] == "ok"
    _send_only(archive, server, range(2, 3), **odd)
    assert asked.compare("--full")["verdict"] == "ok"
    report = asked.compare()
    stream = report["streams"][0]
    assert (report["verdict"], stream["events"], stream["last_sequence"]) == ("ok", 20, 20)
    assert asked.mend()["sent"] == 0


async def test_what_retention_deleted_here(
    make_audit: Make, archive: Path, start: Start, cli: Cli
) -> None:
    """What retention deleted from the archive is not compared, and not foreign."""
    server = start()
    asked = _Asked(cli, archive, server)
    audit = make_audit(auto_export_path=archive, max_events=100, max_archive_bytes=70_000)
    for _ in range(2):
        for _ in range(190):
            await audit.log_event("STORE")
        asked.replay()
        audit.trail.tick()
    audit.close()
    first = min(event.sequence for event in archived(archive))
    assert first > 1
    report = asked.compare()
    assert report["told"] == [
        f"default: events 1 to {first - 1}: no longer in the archive, so not compared"
    ]


async def test_what_retention_deletes_meanwhile(
    make_audit: Make, archive: Path, start: Start, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files that go while the archive is compared are no damage: the archive had their events."""
    from axon_audit_otel.shipping import store_check
    from axon_audit_otel.shipping.store_report import verify_store
    from axon_audit_otel.shipping.stores.address import open_store

    monkeypatch.setattr(store_check, "_SPAN", 5)
    server = start()
    asked = _Asked(cli, archive, server)
    await _fill(make_audit, archive, 45, max_events=10)
    asked.replay()
    files = sealed_files(archive)[:2]

    def delete(done: int, total: int) -> None:
        if done == 5:
            retire(*files)

    store = open_store(asked.url)
    report = verify_store(archive, store, progress=delete)
    store.close()
    assert not files[1].exists()
    assert (report.verdict, report.findings) == ("ok", [])
    assert "10 events are in the store, and no longer in the archive" in report.told[0]


async def test_what_the_store_no_longer_keeps(
    make_audit: Make, archive: Path, start: Start, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store says how long it keeps records: what is older is not called lost, and what is
    younger is."""
    import time

    day = 86_400
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 20 * day * 10**9)
    await _fill(make_audit, archive, 30)
    monkeypatch.undo()
    await _fill(make_audit, archive, 10)
    server = start("-retentionPeriod=7d")
    asked = _Asked(cli, archive, server)
    asked.replay()
    assert asked.stored() == list(range(31, 41))
    (told,) = asked.compare()["told"]
    assert told.startswith("default: 30 events from before ")
    assert told.endswith("are no longer in the store, which keeps none that old")
    done = asked.mend()
    assert (done["sent"], done["too_old"], done["before"]) == (0, 30, 10)
    report = asked.compare("--store-keeps", "30d", code=1)
    assert report["findings"][0]["explanation"] == "events 1 to 30 did not arrive"


async def test_too_large(make_audit: Make, archive: Path, start: Start, cli: Cli) -> None:
    """An event that is too large to be sent is named as such, by replay and by the comparison;
    with a higher limit it is sent, and the archive no longer has it on its list."""
    server = start()
    asked = _Asked(cli, archive, server)
    audit = make_audit(auto_export_path=archive)
    for number in range(10):
        await audit.log_event("STORE", metadata={"text": "x" * (7000 if number == 4 else 10)})
    audit.close()
    done = asked.replay("--event-bytes", "4096", code=1)
    assert (done["sent"], done["too_large"]) == (9, 1)
    assert (archive / "default.unsent").exists()
    limit = {"AXON_AUDIT_SHIP_EVENT_BYTES": "4096"}
    said = cli("verify", archive, "--store", asked.url, code=1, columns=200, **limit).stdout
    assert re.search(r"event 5 did not arrive \(its record has 7,\d{3} bytes, and 4,096 are", said)
    assert asked.replay("--event-bytes", "4096", code=1)["too_large"] == 1  # it is not forgotten
    done = asked.replay()
    assert (done["sent"], done["again"], done["too_large"]) == (1, 1, 0)
    assert not (archive / "default.unsent").exists()
    assert asked.compare()["verdict"] == "ok"


@pytest.mark.parametrize("operation", ["FORGET", "RECALL", "EXPORT"])
async def test_many_ids(
    make_audit: Make, archive: Path, start: Start, cli: Cli, operation: str
) -> None:
    """An operation on 60,000 entries is an event that the store takes: it has as many ids as fit,
    their number, and a digest of all."""
    server = start()
    asked = _Asked(cli, archive, server)
    audit = make_audit(auto_export_path=archive)
    await audit.log_event(operation, entry_ids=[f"{number:036}" for number in range(60_000)])
    audit.close()
    assert asked.replay()["sent"] == 1
    assert asked.compare("--full")["verdict"] == "ok"
    (event,) = archived(archive)
    assert event.metadata["entry_ids_total"] == 60_000
    assert 1000 < len(event.entry_ids) < 60_000


async def test_no_store(make_audit: Make, archive: Path, start: Start, cli: Cli) -> None:
    """A store that is away, something else in its place, and a URL that is none: exit code 2, and
    no secret is shown."""
    await _fill(make_audit, archive, 1)
    server = start()
    for url, words in (
        ("victorialogs+http://u:secret@127.0.0.1:9", "127.0.0.1:9: "),
        (f"victorialogs+{server.url}/nothing", "HTTP 400"),
        ("http://u:secret@127.0.0.1:9", "use victorialogs+http://HOST:PORT"),
        ("victorialogs+ftp://u:secret@h", "use victorialogs+http://HOST:PORT"),
    ):
        done = cli("verify", archive, "--store", url, code=2)
        assert words in done.stderr
        assert "secret" not in done.stderr
    away = "victorialogs+http://u:secret@127.0.0.1:9"
    said = cli("replay", archive, "--store", away, "--endpoint", server.otlp, code=1).stderr
    assert said.startswith("Error: http://127.0.0.1:9: ")  # and not: the archive cannot be read
    assert "secret" not in said
