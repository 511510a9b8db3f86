"""A real ClickHouse with our schema, filled by a real collector with its own exporter."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import hostile_events
import pytest
from clickhouse_server import ClickHouse, ClickHouseError
from collector import Collector, binary, wait
from conftest import Cli, Make
from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from prometheus_client import CollectorRegistry

from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.archive.origin import Source
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.events.model import deleted_entries
from axon_audit_otel.otlp.encoding import record_of

pytestmark = pytest.mark.component  # chdb, the collector

CONFIGS = "all-in-one.yaml", "overlays/clickhouse.yaml"
DATA = Path(__file__).resolve().parents[1] / "data"
Row = dict[str, Any]


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse"), password="not 'easy'")
    server.prepare()
    yield server
    server.stop()


@pytest.fixture(name="aged")
def _aged(store: ClickHouse) -> Iterator[ClickHouse]:
    """The same, with a database where age deletes."""
    store.database = "aged"
    store.prepare("retention.sql")
    yield store
    store.database = "otel"


@pytest.fixture(name="unmerged")
def _unmerged(store: ClickHouse) -> Iterator[None]:
    """Copies stay copies."""
    store.send("SYSTEM STOP MERGES audit_events_stored")
    yield
    store.send("SYSTEM START MERGES audit_events_stored")


@pytest.fixture(name="collector", scope="module")
def _collector(store: ClickHouse, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collector]:
    data = tmp_path_factory.mktemp("collector")
    running = Collector(binary(), data, *CONFIGS, environment=store.collector)
    yield running
    running.kill()


_numbers = itertools.count(1)


@pytest.fixture(name="trail")
def _trail() -> str:
    """A name that no other test's trail has."""
    return f"trail-{next(_numbers)}"


# --- what was recorded, and what is there ----------------------------------------------------


def recorded(directory: Path) -> list[bytes]:
    """The bytes of every event in an archive, what a trail says of itself too."""
    return [
        line[1:]
        for pattern in ("*.journal", "audit_*.json")
        for file in sorted(directory.glob(pattern))
        for line in file.read_bytes().split(b"\n")
        if line[1:].startswith(b'{"event_id"')
    ]


def of(store: ClickHouse, view: str, trail: str, what: str = "*") -> list[Row]:
    return store.query(f"SELECT {what} FROM {view} WHERE trail = {{trail:String}}", trail=trail)


def copies(store: ClickHouse, trail: str) -> int:
    """How many rows there are, copies of one event counted each."""
    return int(of(store, "audit_events_stored", trail, "count() AS number")[0]["number"])


def arrived(store: ClickHouse, trail: str, number: int) -> list[Row]:
    """The events of a trail, as soon as there are so many."""
    wait(lambda: len(of(store, "audit_events", trail, "hash")) >= number)
    return of(store, "audit_events", trail)


def findings(store: ClickHouse, trail: str) -> list[tuple[int, str]]:
    """The numbers of the events that do not fit, and why."""
    rows = of(store, "audit_chain", trail)
    return sorted((row["sequence"], row["finding"]) for row in rows if row["finding"])


def gaps(store: ClickHouse, trail: str) -> list[tuple[int, int, int]]:
    rows = of(store, "audit_gaps", trail)
    return sorted((row["first"], row["last"], row["told"]) for row in rows)


def insert(store: ClickHouse, trail: str, *bodies: bytes, **claims: str) -> None:
    """Insert records as the exporter does, in one request; *claims* are attributes that they have
    instead of their own."""
    rows = []
    for body in bodies:
        record = record_of(body, Source(trail, sha256(trail.encode()).hexdigest()[:16]))
        said = {name: value for name, value in record.attributes.items() if type(value) is str}
        said["audit.sequence.number"] = str(record.attributes["audit.sequence.number"])
        said |= {name.replace("__", "."): value for name, value in claims.items()}
        rows.append({"Body": body.decode(), "LogAttributes": said, "ServiceName": "shop"})
    data = "\n".join(map(json.dumps, rows)).encode()
    store.send("INSERT INTO audit_records FORMAT JSONEachRow", data)


async def chain(make_audit: Make, directory: Path, count: int = 8) -> list[bytes]:
    """Some events that follow on each other."""
    with make_audit(auto_export_path=directory) as audit:
        for number in range(count):
            await audit.log_event("STORE", f"user {number % 2}", entry_ids=[f"e{number}"])
    return recorded(directory)


class TestFromTheCollector:
    """What an application recorded is there, as it was recorded."""

    @pytest.mark.usefixtures("unmerged")
    async def test_everything_arrives(
        self,
        store: ClickHouse,
        collector: Collector,
        make_audit: Make,
        trail: str,
        tmp_path: Path,
        cli: Cli,
    ) -> None:
        """Each event with its very bytes, and columns that say what these say; sent twice, it is
        there once, also before copies are merged."""
        logs = tmp_path / "logs"
        with make_audit(name=trail, auto_export_path=logs, ship_to=collector.http) as audit:
            await hostile_events.record(audit)
        lines = recorded(logs)
        rows = arrived(store, trail, len(lines))
        assert sorted(row["body"].encode() for row in rows) == sorted(lines)
        for row in rows:
            assert_says_what_its_body_says(row)
        assert not any(row["contradicts"] or row["claimed_hash"] or row["masked"] for row in rows)

        counted = of(store, "audit_activity", trail)
        assert_counts_as_the_events(counted, rows)
        cli("replay", logs, "--endpoint", collector.http, "--all")
        wait(lambda: copies(store, trail) == 2 * len(lines))
        again = of(store, "audit_events", trail)
        assert by_id(again) == by_id(rows)  # also the process that recorded it
        assert by_text(of(store, "audit_activity", trail)) == by_text(counted)
        assert (findings(store, trail), gaps(store, trail)) == ([], [])
        (sums,) = of(store, "audit_trails", trail)
        assert (sums["events"], sums["first_sequence"], sums["last_sequence"]) == (
            *(len(lines), 1, len(lines)),
        )
        store.send("SYSTEM START MERGES audit_events_stored")
        store.send("OPTIMIZE TABLE audit_events_stored FINAL")
        assert copies(store, trail) == len(lines)
        assert by_id(of(store, "audit_events", trail)) == by_id(rows)

    async def test_checkpoints_and_others(
        self, store: ClickHouse, collector: Collector, make_audit: Make, trail: str, tmp_path: Path
    ) -> None:
        """Checkpoints have a place, and are compared with the events; what is neither is kept."""
        settings: dict[str, Any] = {"ship_to": collector.http, "checkpoint_to": "otlp"}
        settings |= {"signing_key": new_key("auditor"), "auto_export_path": tmp_path / "logs"}
        with make_audit(name=trail, max_events=5, checkpoint_interval=1e-9, **settings) as audit:
            for _ in range(12):
                await audit.log_event("STORE", "alice")
        lines = recorded(tmp_path / "logs")
        arrived(store, trail, len(lines))
        notes = wait(lambda: of(store, "audit_checkpoints", trail))
        newest = max(notes, key=lambda note: int(note["events"]))
        assert newest["head"] == leaf_hash(lines[newest["events"] - 1]).hex()
        assert newest["is_signed"]
        assert {row["finding"] for row in of(store, "audit_checkpoint_check", trail)} == {""}

        provider = LoggerProvider(shutdown_on_exit=False)
        exporter = OTLPLogExporter(f"{collector.http}/v1/logs")
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        for event_name, body in ((EVENT, '{"not":"one"}'), (EVENT, None), ("order", "shop")):
            attributes = {"user.id": "eve"}
            provider.get_logger("shop").emit(
                LogRecord(body=body, attributes=attributes, event_name=event_name)
            )
        kept = wait(lambda: len(rows := store.query("SELECT * FROM audit_others")) == 2 and rows)
        assert {row["body"] for row in kept} == {'{"not":"one"}', ""}
        assert {row["attributes"]["user.id"] for row in kept} == {"eve"}
        wait(lambda: store.query("SELECT * FROM otel_logs WHERE Body = 'shop'"))

    async def test_no_loss(
        self, make_audit: Make, tmp_path: Path, start_collector: Any, registry: CollectorRegistry
    ) -> None:
        """ClickHouse is down when the collector starts, and is killed later: all is there."""
        store = ClickHouse(tmp_path / "clickhouse")
        store.prepare()
        store.kill()
        there = start_collector(*CONFIGS, **store.collector, CLICKHOUSE_CREATE_SCHEMA="false")
        settings: dict[str, Any] = {"auto_export_path": tmp_path / "logs", "ship_to": there.http}
        with make_audit(name="down", **settings) as audit:
            for number in range(50):
                await audit.log_event("STORE", f"user {number}")
            acknowledged(registry, 50)
            store.start()
            arrived(store, "down", 50)
            store.kill()
            for number in range(50):
                await audit.log_event("FORGET", f"user {number}")
            acknowledged(registry, 100)
            there.kill()
            there.start()
            store.start()
        rows = arrived(store, "down", len(recorded(tmp_path / "logs")))
        store.stop()
        assert sorted(row["body"].encode() for row in rows) == sorted(recorded(tmp_path / "logs"))


class TestDamage:
    """What was altered, removed, invented or sent twice shows in the views, and where."""

    async def test_copies(
        self, store: ClickHouse, make_audit: Make, trail: str, tmp_path: Path
    ) -> None:
        """The same record twice is one event, and no damage; in one request, and in two."""
        lines = await chain(make_audit, tmp_path)
        insert(store, trail, *lines, *lines[2:4])
        insert(store, trail, *lines[::-1])
        assert len(of(store, "audit_events", trail)) == len(lines)
        assert (findings(store, trail), gaps(store, trail)) == ([], [])

    async def test_an_altered_body(
        self, store: ClickHouse, make_audit: Make, trail: str, tmp_path: Path
    ) -> None:
        """In ClickHouse, and on the way there, with its hash and without."""
        lines = await chain(make_audit, tmp_path)
        insert(store, trail, *lines)
        store.send(
            "ALTER TABLE audit_events_stored UPDATE body = replace(body, 'e3', 'e9')"
            f" WHERE trail = '{trail}' AND sequence = 5",
            mutations_sync=2,
        )
        assert findings(store, trail) == [(5, "altered here")]

        forged = [line.replace(b'"e3"', b'"e9"') for line in lines]
        insert(store, f"{trail}-a", *forged)  # hash and attributes fit
        assert findings(store, f"{trail}-a") == [(6, "does not continue the event before")]
        hashed = {"axon__audit__hash": leaf_hash(lines[4]).hex()}
        insert(store, f"{trail}-bb", *lines[:4], *lines[5:])
        insert(store, f"{trail}-bb", forged[4], **hashed)
        assert findings(store, f"{trail}-bb") == [(5, "altered before it came")]

    async def test_removed_events(
        self, store: ClickHouse, make_audit: Make, trail: str, tmp_path: Path
    ) -> None:
        """In the middle, at the beginning, and at the end, if a checkpoint knows of it."""
        lines = await chain(make_audit, tmp_path)
        insert(store, trail, *lines[2:4], *lines[6:])
        assert gaps(store, trail) == [(1, 2, 0), (5, 6, 0)]
        assert findings(store, trail) == []
        (sums,) = of(store, "audit_trails", trail)
        assert sums["missing_between"] == 2

    async def test_a_gap_that_the_trail_tells_of(
        self, store: ClickHouse, trail: str, tmp_path: Path
    ) -> None:
        """The vector: events 3 and 4 were lost with a journal."""
        lines = recorded(DATA.parent / "vectors" / "gap" / "archive")
        insert(store, trail, *lines)
        ((first, last, told),) = gaps(store, trail)
        assert told
        assert any(b'"first":%d,"last":%d' % (first, last) in line for line in lines)

    async def test_two_events_of_one_number(
        self, store: ClickHouse, make_audit: Make, trail: str, tmp_path: Path
    ) -> None:
        """An invented event is found beside the true one, whichever is first."""
        lines = await chain(make_audit, tmp_path)
        insert(store, trail, *lines, lines[3].replace(b'"e2"', b'"e9"'))
        assert findings(store, trail) == [(4, "another event has its number")]
        doubled = store.query("SELECT * FROM audit_doubled_ids")
        places = [place for row in doubled for place in row["places"] if place[0] == trail]
        assert [place[2] for place in places] == [4, 4]

    async def test_a_first_event_that_continues_another(
        self, store: ClickHouse, make_audit: Make, trail: str, tmp_path: Path
    ) -> None:
        lines = await chain(make_audit, tmp_path)
        insert(store, trail, lines[1].replace(b'"sequence":2', b'"sequence":1'))
        assert findings(store, trail) == [(1, "does not continue the event before")]

    async def test_attributes_that_contradict_the_body(
        self, store: ClickHouse, make_audit: Make, trail: str, tmp_path: Path
    ) -> None:
        """The body counts, and the contradiction is kept."""
        (line, *_) = await chain(make_audit, tmp_path)
        insert(store, trail, line, axon__operation="FORGET", user__id="mallory")
        (row,) = of(store, "audit_events", trail)
        assert (row["operation"], row["user_id"]) == ("AUDIT", "")
        assert sorted(row["contradicts"]) == ["axon.operation", "user.id"]

    @pytest.mark.parametrize("kind", ["plain", "erasable", "pseudonymized", "signed"])
    def test_first_edition(self, store: ClickHouse, trail: str, kind: str) -> None:
        """Archives of the first edition: each event is there and fits."""
        logs = DATA / "first_edition" / kind / "logs"
        for file in sorted(logs.glob("*.manifest")):
            name = f"{trail}-{file.stem}"
            lines = recorded(logs)
            insert(store, name, *lines)
            assert len(of(store, "audit_events", name)) == len(lines) > 5
            assert (findings(store, name), gaps(store, name)) == ([], [])

    def test_whatever_comes(self, store: ClickHouse, trail: str) -> None:
        """No record is refused, since that would end the queue: each is in some table."""
        odd = [
            *(
                '{"event_id":"e","timestamp":"0001-01-01T00:00:00Z","operation":"X","status":"SUCCESS"}',
            ),
            *(
                '{"event_id":"e","timestamp":"9999-12-31T23:59:59.999999Z","operation":"X",'
                '"status":"SUCCESS","sequence":18446744073709551616,"previous_hash":"zz"}',
            ),
            *('{"event_id":1,"timestamp":[],"operation":{},"status":null}', "{", "[]", "", "\x00"),
            *("axon-audit/x/1\n2\n", "axon-audit/x/1\n1\n" + "A" * 44 + "\nevents 0\ntime x\n"),
            *(
                '{"event_id":"e","timestamp":"2025-01-15T10:00:00Z","operation":"FORGET","status":"PARTIAL",'
                '"metadata":{"deleted":9223372036854775808}}',
            ),
        ]
        rows = [
            {
                "Body": body,
                "LogAttributes": {"axon.audit.trail": trail, "axon.audit.hash": "%" * 99},
            }
            for body in odd
        ]
        store.send(
            "INSERT INTO audit_records FORMAT JSONEachRow",
            "\n".join(map(json.dumps, rows)).encode(),
        )
        events = of(store, "audit_events", trail)
        others = store.query(
            f"SELECT body FROM audit_others WHERE attributes['axon.audit.trail'] = '{trail}'"
        )
        notes = of(store, "audit_checkpoints", "x")
        assert sorted(
            [*(row["body"] for row in (*events, *others)), *(row["note"] for row in notes)]
        ) == sorted(odd)
        assert [row["timestamp"][:4] for row in by_body(events)] == ["1970", "2025", "2105"]
        assert len(findings(store, trail)) == 3


class TestRetention:
    """Age deletes events, but none that is under a hold."""

    async def test_holds(self, aged: ClickHouse, trail: str) -> None:
        held = [old("alice", 1), old("bob", 2, subjects=["alice"]), old("carol", 3, year=2019)]
        gone = [old("bob", 4), old("carol", 5, year=2021)]
        place(aged, "case", user_id="alice")
        place(aged, "all of 2019", since="2019-01-01 00:00:00", until="2019-12-31 23:59:59")
        insert(aged, trail, *held, *gone)
        new = old("bob", 6, year=2050)
        insert(aged, trail, new)
        expire(aged)
        assert bodies(aged, trail) == sorted([*held, new])
        place(aged, "case", user_id="alice", released=True)
        expire(aged)
        assert bodies(aged, trail) == sorted([held[2], new])
        insert(aged, trail, *held)  # sent again: the age is still that of the event
        expire(aged)
        assert bodies(aged, trail) == sorted([held[2], new])
        in_force = aged.query("SELECT * FROM audit_holds_in_force")
        assert [row["name"] for row in in_force] == ["all of 2019"]

    async def test_a_trail_under_hold(self, aged: ClickHouse, trail: str) -> None:
        kept, gone = old("dora", 1), old("dora", 2)
        place(aged, f"trail {trail}", trail=trail)
        insert(aged, trail, kept)
        insert(aged, f"{trail}-other", gone)
        expire(aged)
        assert (bodies(aged, trail), bodies(aged, f"{trail}-other")) == ([kept], [])

    async def test_holds_that_cannot_be_read(self, store: ClickHouse, trail: str) -> None:
        """ClickHouse then refuses, and says why: records wait in the collector's queue."""
        store.database = "unread"
        try:
            store.prepare("retention.sql")
            store.send("DROP VIEW audit_holds_in_force", check_table_dependencies=0)
            with pytest.raises(ClickHouseError, match="audit_holds_in_force"):
                store.send("SYSTEM RELOAD DICTIONARY audit_holds_ranges")
            with pytest.raises(ClickHouseError, match="audit_holds_in_force"):
                insert(store, trail, old("dora", 1))
        finally:
            store.send("DROP DATABASE IF EXISTS unread SYNC", database="default")
            store.database = "otel"


def by_body(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: str(row["timestamp"]))


def old(user: str, number: int, year: int = 2020, subjects: list[str] | None = None) -> bytes:
    """An event of long ago."""
    event = {
        "event_id": f"evt_{number}",
        "timestamp": f"{year}-06-01T00:00:00.000000Z",
        "operation": "RECALL",
        "user_id": user,
        "session_id": None,
        "entry_ids": [],
        "metadata": {},
        "status": "SUCCESS",
        "duration_ms": None,
        **({"subjects": subjects} if subjects else {}),
        "sequence": number,
    }
    return json.dumps(event, separators=(",", ":")).encode()


def place(store: ClickHouse, name: str, **hold: Any) -> None:
    """Place a hold, or release it, as docs/clickhouse.md says."""
    row = json.dumps({"name": name, "reason": "a case", **hold}).encode()
    store.send("INSERT INTO audit_holds FORMAT JSONEachRow", row)
    store.send("SYSTEM RELOAD DICTIONARY audit_holds_ranges")


def expire(store: ClickHouse) -> None:
    """Let ClickHouse do now what it does within hours."""
    store.send("ALTER TABLE audit_events_stored MATERIALIZE TTL", mutations_sync=2)


def bodies(store: ClickHouse, trail: str) -> list[bytes]:
    return sorted(row["body"].encode() for row in of(store, "audit_events", trail))


EVENT = "axon.memory.audit"


def acknowledged(registry: CollectorRegistry, number: int) -> None:
    """Wait until the collector has acknowledged so many events."""
    name, labels = "axon_audit_shipped_events_total", {"trail": "down"}
    wait(lambda: (registry.get_sample_value(name, labels) or 0) >= number)


def by_id(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: str(row["event_id"]))


def by_text(rows: list[Row]) -> list[str]:
    return sorted(map(str, rows))


def assert_counts_as_the_events(activity: list[Row], rows: list[Row]) -> None:
    """What each person did, and how many entries that deleted."""
    expected: Counter[tuple[str, str, str]] = Counter()
    deleted: Counter[str] = Counter()
    for event in (json.loads(row["body"]) for row in rows):
        if event["operation"] != "AUDIT":
            user = event["user_id"] or ""
            expected[user, event["operation"], event["status"]] += 1
            deleted[user] += deleted_entries(event)
    found: Counter[tuple[str, str, str]] = Counter()
    gone: Counter[str] = Counter()
    for row in activity:
        found[row["user_id"], row["operation"], row["status"]] += row["events"]
        gone[row["user_id"]] += row["entries_deleted"]
    assert found == expected
    assert +gone == +deleted


_TEXTS = ["user_id", "session_id", "subject_id", "agent_id", "on_behalf_of", "purpose", "system"]
_TEXTS += ["store", "action", "error_type", "error_message", "trace_id", "span_id"]


def assert_says_what_its_body_says(row: Row) -> None:
    event = json.loads(row["body"])
    assert row["hash"] == leaf_hash(row["body"].encode()).hex()
    for name in ("event_id", "operation", "status", "sequence", "entry_ids"):
        assert row[name] == event[name]
    for name in _TEXTS:
        assert row[name] == (event.get(name) or "")
    for name in ("subjects", "derived_from"):
        assert row[name] == event.get(name, [])
    assert row["previous_hash"] == event.get("previous_hash", "")
    assert f"{row['timestamp'].replace(' ', 'T')}Z" == event["timestamp"]
    assert json.loads(row["metadata"]) == event["metadata"]
    assert row["deleted"] == deleted_entries(event)
    if event["duration_ms"] is None:
        assert row["duration_ms"] is None
    else:
        assert row["duration_ms"] == pytest.approx(event["duration_ms"])
