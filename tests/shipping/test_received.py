"""Verification of what a collector wrote: what is missing, doubled, out of order or altered."""

from __future__ import annotations

import base64
import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from axon import MemorySystem
from conftest import Cli, Make
from google.protobuf import json_format
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from prometheus_client import CollectorRegistry

from axon_audit_otel import ArchiveError, AuditConfigError, AuditLogger
from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey, new_key
from axon_audit_otel.archive.origin import Source
from axon_audit_otel.core import semconv
from axon_audit_otel.events.draft import draft
from axon_audit_otel.otlp.checkpoint_records import statement_of
from axon_audit_otel.otlp.encoding import Envelope, record_of
from axon_audit_otel.shipping.received import ArrivalReport, verify_arrival

pytestmark = pytest.mark.usefixtures("without_start_record")

COUNT = 40
Records = list[dict[str, Any]]


@pytest.fixture(name="records")
async def _records(audit: AuditLogger) -> Records:
    """A trail's records in OTLP's JSON."""
    span = NonRecordingSpan(SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1)))
    with use_span(span):
        for number in range(COUNT):
            await audit.log_event(
                "RECALL",
                user_id=f"user_{number}",
                session_id="s",
                entry_ids=["e"],
                duration_ms=number / 3,
            )
    lines = [event.to_json() for event in reversed(audit.query_events())]
    source = Source("default", "0123456789abcdef")
    request = json.loads(Envelope({}).json([record_of(line, source) for line in lines]))
    records: Records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    return records


def _line(*records: dict[str, Any]) -> str:
    logs = {"scope": {"name": "x"}, "logRecords": list(records)}
    return json.dumps({"resourceLogs": [{"resource": {}, "scopeLogs": [logs]}]}) + "\n"


@pytest.fixture(name="check")
def _check(tmp_path: Path) -> Callable[..., ArrivalReport]:
    """Writes records as a collector does, one request for each, and verifies them."""

    def check(records: Records, **options: Any) -> ArrivalReport:
        file = tmp_path / "audit.json"
        file.write_text("".join(map(_line, records)), encoding="utf-8")
        return verify_arrival([file], **options)

    return check


Check = Callable[..., ArrivalReport]


def test_everything_arrived(records: Records, check: Check) -> None:
    """A whole trail in its order is sound."""
    report = check(records)
    assert report.ok
    (stream,) = report.streams
    assert (stream.events, stream.first_sequence, stream.last_sequence) == (COUNT, 1, COUNT)
    assert (stream.duplicates, stream.out_of_order) == (0, 0)


def test_any_order_is_fine(records: Records, check: Check) -> None:
    """Collectors reorder; the chain is followed all the same."""
    random.Random(7).shuffle(records)
    report = check(records)
    assert report.ok
    assert report.streams[0].out_of_order > 0
    assert report.events == COUNT


def test_missing_events_are_named(records: Records, check: Check) -> None:
    """A hole is found, whatever the order in which the rest came."""
    left = records[:9] + records[12:20] + records[21:]
    random.Random(3).shuffle(left)
    report = check(left)
    assert [(f.kind, f.sequence) for f in report.findings] == [("removed", 10), ("removed", 21)]
    assert "events 10 to 12 did not arrive" in report.findings[0].explanation


def test_missing_beginning(records: Records, check: Callable[..., ArrivalReport]) -> None:
    """Events before the oldest one are missed, unless the files are known to begin later."""
    (finding,) = check(records[5:]).findings
    assert (finding.kind, finding.sequence) == ("removed", 1)
    assert check(records[5:], partial=True).ok


def test_duplicates_are_named(records: Records, check: Check) -> None:
    """Copies are no damage; who stores them drops them by their uid."""
    report = check([*records, records[3], records[3], records[20]])
    assert report.ok
    assert report.streams[0].duplicates == 3
    assert report.events == COUNT
    uids = [
        next(
            a["value"]["stringValue"] for a in record["attributes"] if a["key"] == "log.record.uid"
        )
        for record in (records[3], records[20])
    ]
    assert report.duplicates == uids


def _attribute(record: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any]
    (found,) = (pair for pair in record["attributes"] if pair["key"] == name)
    return found


def _alter_body(record: dict[str, Any]) -> None:
    record["body"]["stringValue"] = record["body"]["stringValue"].replace("user_", "mallory_")


def _renumber_body(record: dict[str, Any]) -> None:
    body = record["body"]["stringValue"]
    record["body"]["stringValue"] = body.replace('"sequence":', '"sequence":7')


def _reformat_body(record: dict[str, Any]) -> None:
    record["body"]["stringValue"] = json.dumps(json.loads(record["body"]["stringValue"]))


def _lose_body(record: dict[str, Any]) -> None:
    del record["body"]


def _parse_body(record: dict[str, Any]) -> None:
    record["body"] = {"kvlistValue": {"values": []}}


def _alter_user(record: dict[str, Any]) -> None:
    _attribute(record, "user.id")["value"] = {"stringValue": "mallory"}


def _lose_user(record: dict[str, Any]) -> None:
    record["attributes"].remove(_attribute(record, "user.id"))


def _add_error(record: dict[str, Any]) -> None:
    record["attributes"].append({"key": "error.type", "value": {"stringValue": "Oops"}})


def _alter_duration(record: dict[str, Any]) -> None:
    _attribute(record, "axon.duration_ms")["value"] = {"doubleValue": 1.5}


def _alter_number(record: dict[str, Any]) -> None:
    _attribute(record, "audit.sequence.number")["value"] = {"intValue": "1000"}


def _alter_previous(record: dict[str, Any]) -> None:
    _attribute(record, "audit.sequence.previous_hash")["value"] = {"stringValue": "ab" * 32}


def _alter_time(record: dict[str, Any]) -> None:
    record["timeUnixNano"] = str(int(record["timeUnixNano"]) + 1000)


def _alter_severity(record: dict[str, Any]) -> None:
    record["severityText"] = "ERROR"


def _alter_flags(record: dict[str, Any]) -> None:
    record["flags"] = 3 - record["flags"]


ALTERATIONS = [
    *(
        _alter_body,
        _renumber_body,
        _reformat_body,
        _lose_body,
        _parse_body,
        _alter_user,
        _lose_user,
        _add_error,
    ),
    *(_alter_duration, _alter_number, _alter_previous, _alter_time, _alter_severity, _alter_flags),
]


@pytest.mark.parametrize("alter", ALTERATIONS)
@pytest.mark.parametrize("index", [1, 16, COUNT - 1])
def test_alterations(
    records: Records, check: Check, alter: Callable[[dict[str, Any]], None], index: int
) -> None:
    """One altered record is one finding that names its event, wherever it stands."""
    alter(records[index])
    (finding,) = check(records).findings
    assert (finding.kind, finding.sequence) == ("altered", index + 1)


def test_an_event_forged_with_its_hash(records: Records, check: Check) -> None:
    """To rewrite an event and its hash is not enough: its successor has the hash too."""
    event = json.loads(records[16]["body"]["stringValue"])
    event["user_id"] = "mallory"
    line = json.dumps(event, separators=(",", ":")).encode()
    forged = record_of(line, Source("default", "0123456789abcdef"))
    request = json.loads(Envelope({}).json([forged]))
    records[16] = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
    (finding,) = check(records).findings
    assert (finding.kind, finding.sequence) == ("altered", 18)
    assert "event 18 does not continue event 17" in finding.explanation
    # A copy of the true one beside it shows which.
    (true,) = {f.sequence for f in check([*records, records[16]]).findings}
    assert true == 18


def test_two_records_of_one_number(records: Records, check: Check) -> None:
    """A second record of an event that says something else is no duplicate."""
    other = json.loads(json.dumps(records[16]))
    _alter_body(other)
    report = check([*records, other])
    (finding,) = report.findings
    assert (finding.kind, finding.sequence) == ("altered", 17)
    assert report.streams[0].duplicates == 0


def test_numbers_may_be_numbers(records: Records, check: Check) -> None:
    """64-bit integers that some tool wrote as numbers are understood."""
    for record in records:
        record["timeUnixNano"] = int(record["timeUnixNano"])
        value = _attribute(record, "audit.sequence.number")["value"]
        value["intValue"] = int(value["intValue"])
    assert check(records).ok


async def test_lost_before_it_was_sent(audit: AuditLogger, check: Check) -> None:
    """Events that the trail itself says it lost are no damage."""
    for _ in range(9):
        await audit.log_event("STORE")
    lost = {"record": "gap", "first": 3, "last": 5, "events": 3, "reason": "disk full"}
    audit.emit(draft("AUDIT", "FAILURE", metadata=lost, trail=audit.trail))
    lines = [event.to_json() for event in reversed(audit.query_events())]
    request = json.loads(Envelope({}).json([record_of(line, Source("default")) for line in lines]))
    records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    report = check(records[:2] + records[5:])
    assert report.ok
    (gap,) = report.streams[0].gaps
    assert (gap.first, gap.last, gap.reason, gap.told_by) == (3, 5, "disk full", 10)
    (finding,) = check(records[:1] + records[5:]).findings
    assert finding.explanation.startswith("event 2 did not arrive")


async def test_what_an_exporter_of_opentelemetry_sends(
    make_audit: Make,
    memory: MemorySystem,
    audit: AuditLogger,
    log_exporter: InMemoryLogRecordExporter,
    tmp_path: Path,
) -> None:
    """Records that reach an application's own exporters verify as well: of operations, of
    `log_event`, of trails with an archive and with pseudonyms, before and after a restart."""
    entry_id = await memory.store("tea", user_id="alice")
    await memory.recall("tea", user_id="bob")
    await memory.forget(entry_id)
    for _ in range(2):
        options = {"pseudonymize": "k" * 32, "name": "carols"}  # which no other test takes
        with make_audit(auto_export_path=tmp_path / "logs", **options) as other:
            await other.log_event("STORE", user_id="carol", session_id="s", duration_ms=1)
        del other  # and with it the lock of its name
    # One that ended badly: what its trail says of that is a record as well.
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / ".default.lock").write_text("1\n")
    with make_audit(auto_export_path=tmp_path / "bad") as other:
        await other.log_event("STORE")
        await other.log_event("STORE")
    message = encode_logs(log_exporter.get_finished_logs())
    request = json_format.MessageToDict(message, use_integers_for_enums=True)
    for record in request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]:
        for name in {"traceId", "spanId"} & record.keys():
            record[name] = base64.b64decode(record[name]).hex()
    (tmp_path / "audit.json").write_text(json.dumps(request))
    report = verify_arrival([tmp_path / "audit.json"])
    assert report.ok, report.findings
    assert [stream.events for stream in report.streams] == [3, 2, 3]


def test_other_records_and_torn_lines(records: Records, tmp_path: Path) -> None:
    """Spans and other logs are passed over, and a killed collector's half lines noted."""
    file = tmp_path / "audit.json"
    half = _line(*records[:2])[:300]
    other = {"body": {"stringValue": "hello"}, "eventName": "app.started"}
    foreign = {"body": {"stringValue": "{}"}, "eventName": "axon.memory.audit"}
    file.write_text(
        half
        + _line(*records[:30])
        + json.dumps({"resourceSpans": [{}]})
        + "\n\n"
        + _line(other, foreign, *records[30:])
        + _line(*records)[:200]
    )
    report = verify_arrival([file])
    assert report.ok
    assert (report.events, report.other_records, report.torn_lines) == (COUNT, 2, 2)


def test_trails_are_told_apart(records: Records, tmp_path: Path) -> None:
    """Events of two trails with the same numbers do not mix; files may hold both."""
    others = json.loads(json.dumps(records[:7]))
    for record in others:
        _attribute(record, "audit.sequence.stream_id")["value"] = {"stringValue": "f" * 16}
    (tmp_path / "1.json").write_text(_line(*records[:20], *others[4:]))
    (tmp_path / "2.json").write_text(_line(*others[:4], *records[20:]))
    report = verify_arrival([tmp_path / "2.json", tmp_path / "1.json"])
    assert report.ok
    assert sorted(stream.events for stream in report.streams) == [7, COUNT]


@pytest.mark.parametrize("content", ["hello\n", "{}x\n{\n", '{"resourceLogs":5}\n', "\0\xff\n"])
def test_what_is_no_otlp(content: str, tmp_path: Path) -> None:
    """A file of something else is refused, not found sound."""
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ArchiveError, match=r"x\.json"):
        verify_arrival([tmp_path / "x.json"])


def test_damaged_line(records: Records, tmp_path: Path) -> None:
    """A line that cannot be read is a finding, and what it held is missing."""
    file = tmp_path / "audit.json"
    file.write_text(_line(*records[:10]) + "garbage\n" + _line(*records[11:]))
    kinds = [finding.kind for finding in verify_arrival([file]).findings]
    assert kinds == ["unreadable", "removed"]


async def test_against_the_archive(tmp_path: Path, cli: Cli) -> None:
    """With the archive beside it, a tail that never arrived is found, and a trail of which
    nothing did."""
    with AuditLogger(10, tmp_path / "logs", registry=CollectorRegistry()) as audit:
        for _ in range(25):
            await audit.log_event("STORE")
        cli("export", tmp_path / "logs", tmp_path / "far.otlp")
        arguments = ("verify", "--otlp-json", tmp_path / "far.otlp", "--archive", tmp_path / "logs")
        assert "Nothing is missing of the archive" in cli(*arguments).stdout
        for _ in range(3):
            await audit.log_event("STORE")
        said = cli(*arguments, "--json", code=1).stdout
        (finding,) = json.loads(said)["findings"]
        assert (finding["kind"], finding["sequence"]) == ("removed", 26)
        assert finding["explanation"] == "events 26 to 28 did not arrive"
        other = AuditLogger(auto_export_path=tmp_path / "logs", registry=CollectorRegistry())
        await other.log_event("STORE")
        assert len(json.loads(cli(*arguments, "--json", code=1).stdout)["findings"]) == 2
    cli(*arguments[:-1], tmp_path, code=2)


class TestCheckpoints:
    """The checkpoints in the files name an event by number and hash: nobody can rewrite what is
    before it."""

    @pytest.fixture(name="key")
    def _key(self) -> SigningKey:
        return new_key("auditor")

    @staticmethod
    def _note(records: Records, number: int, key: SigningKey | None) -> str:
        head = _attribute(records[number - 1], semconv.AXON_AUDIT_HASH)["value"]["stringValue"]
        origin, time = "axon-audit/default/0123456789abcdef", "2025-01-15T11:00:00.000000Z"
        text = Checkpoint(origin, 4, bytes(32), number, head, time).text()
        return f"{text}\n" if key is None else key.sign(text)

    def _record(self, records: Records, number: int, key: SigningKey | None) -> dict[str, Any]:
        source = Source("default", "0123456789abcdef")
        record = statement_of(self._note(records, number, key), source)
        request = json.loads(Envelope({}).json([record]))
        found: dict[str, Any] = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        return found

    @staticmethod
    def _rewritten(records: Records, first: int) -> Records:
        """The same trail up to an event, and another history from there, which fits."""
        source, lines, previous = Source("default", "0123456789abcdef"), [], None
        for number, record in enumerate(records, 1):
            event = json.loads(record["body"]["stringValue"])
            if number >= first:
                event["user_id"] = "mallory"
            if previous is not None:
                event["previous_hash"] = previous
            lines.append(json.dumps(event, separators=(",", ":")).encode())
            previous = hashlib.sha256(b"\0" + lines[-1]).hexdigest()
        request = json.loads(Envelope({}).json([record_of(line, source) for line in lines]))
        found: Records = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
        return found

    def test_proved(self, records: Records, check: Check, key: SigningKey) -> None:
        """Up to the newest event that a signed one names."""
        notes = [self._record(records, number, key) for number in (30, 10)]
        report = check([notes[0], *records, notes[1]], keys=[key.verifying])
        assert report.verdict == "ok"
        assert (report.streams[0].proved_until, report.streams[0].checkpoints) == (30, 2)
        report = check([notes[0], *records, notes[1]])
        assert report.verdict == "ok"
        assert report.streams[0].proved_until is None

    def test_rewritten(self, records: Records, check: Check, key: SigningKey) -> None:
        """A history that fits in itself is found, also without the key."""
        note = self._record(records, 30, key)
        false = self._rewritten(records, 5)
        assert check(false).verdict == "ok"
        for keys in ([], [key.verifying]):
            report = check([*false, note], keys=keys)
            assert report.verdict == "damage"
            assert [(f.kind, f.sequence) for f in report.findings] == [("altered", 30)]

    def test_tail(self, records: Records, check: Check, key: SigningKey) -> None:
        """A checkpoint knows how far the trail was."""
        report = check([*records[:25], self._record(records, 30, key)], keys=[key.verifying])
        assert report.verdict == "damage"
        assert "events 26 to 30 did not arrive, which" in report.findings[0].explanation

    def test_none(self, records: Records, check: Check, key: SigningKey) -> None:
        """Nothing was altered, and nothing proves that."""
        report = check(records, keys=[key.verifying])
        assert (report.ok, report.verdict) == (True, "not proved")

    def test_given(self, records: Records, check: Check, key: SigningKey) -> None:
        """Kept elsewhere, it does as well."""
        notes = [self._note(records, 30, key)]
        report = check(records, keys=[key.verifying], checkpoints=notes)
        assert (report.verdict, report.streams[0].proved_until) == ("ok", 30)
        report = check(self._rewritten(records, 5), keys=[key.verifying], checkpoints=notes)
        assert report.verdict == "damage"

    def test_another_key(self, records: Records, check: Check, key: SigningKey) -> None:
        """Signed by somebody else, or by nobody: not proved."""
        for other in (new_key("auditor"), None):
            notes = [self._record(records, 30, other)]
            report = check([*records, *notes], keys=[key.verifying])
            assert report.verdict == "not proved"
            assert {found.kind for found in report.findings} == {"wrong_key"}
            good = self._record(records, 20, key)
            assert check([*records, *notes, good], keys=[key.verifying]).verdict == "damage"

    def test_of_another_trail(self, records: Records, check: Check, key: SigningKey) -> None:
        """A trail of which only the checkpoints are left."""
        note = self._record(records, 30, key)
        note["body"]["stringValue"] = note["body"]["stringValue"].replace(
            "0123456789abcdef", "f" * 16
        )
        assert check([*records, note]).verdict == "damage"
        assert check([*records, note], partial=True).verdict == "ok"

    def test_a_gap_told_afterwards(self, records: Records, check: Check, key: SigningKey) -> None:
        """A checkpoint knew the events: that they were lost is not believed of a later event."""
        gap = {"record": "gap", "first": 11, "last": 12, "reason": "disk full"}
        told = self._told(records[-1], gap)
        left = [*records[:10], *records[12:], told]
        report = check([*left, self._record(records, 5, key)], keys=[key.verifying])
        assert (report.ok, report.verdict) == (True, "ok")
        report = check([*left, self._record(records, 30, key)], keys=[key.verifying])
        assert [(f.kind, f.sequence) for f in report.findings] == [("removed", 11)]

    def test_before_a_gap(self, records: Records, check: Check, key: SigningKey) -> None:
        """No hash of an event after a gap leads to those before it: another checkpoint has to."""
        gap = {"record": "gap", "first": 11, "last": 12, "reason": "disk full"}
        told = self._told(records[-1], gap)
        with_told = [*records, told]
        left = [*records[:10], *records[12:], told]
        newest = self._record(with_told, COUNT + 1, key)
        for known, unbound in ((0, (1, 10)), (7, (8, 10)), (10, None)):
            older = [self._record(records, known, key)] if known else []
            report = check([*left, newest, *older], keys=[key.verifying])
            assert report.streams[0].unbound == ([unbound] if unbound else [])
            assert report.verdict == ("not proved" if unbound else "ok")
            assert report.streams[0].proved_until == COUNT + 1

    @staticmethod
    def _told(newest: dict[str, Any], facts: dict[str, Any]) -> dict[str, Any]:
        """The record of the event after *newest* that reports *facts*."""
        event = json.loads(newest["body"]["stringValue"])
        previous = hashlib.sha256(b"\0" + newest["body"]["stringValue"].encode()).hexdigest()
        event |= {"event_id": f"evt_{1:032x}", "operation": "AUDIT", "metadata": facts}
        event |= {"sequence": event["sequence"] + 1, "previous_hash": previous}
        line = json.dumps(event, separators=(",", ":")).encode()
        request = json.loads(
            Envelope({}).json([record_of(line, Source("default", "0123456789abcdef"))])
        )
        found: dict[str, Any] = request["resourceLogs"][0]["scopeLogs"][0]["logRecords"][0]
        return found

    def test_origins(self, records: Records, check: Check) -> None:
        """The files of another trail are not those that were asked for."""
        origin = "axon-audit/default/0123456789abcdef"
        assert check(records, origins=[origin]).verdict == "ok"
        other = check(records, origins=["axon-audit/default/" + "f" * 16])
        assert {found.kind for found in other.findings} == {"removed", "unlisted"}
        with pytest.raises(AuditConfigError):
            check(records, origins=["default"])

    def test_required(self, records: Records, check: Check, key: SigningKey) -> None:
        """A checkpoint among the records is not one from elsewhere."""
        note = self._record(records, 30, key)
        asked = {"keys": [key.verifying], "require_checkpoint": True}
        assert check([*records, note], **asked).verdict == "not proved"
        given = [self._note(records, 30, key)]
        assert check([*records, note], checkpoints=given, **asked).verdict == "ok"

    def test_foreign_record(self, records: Records, check: Check) -> None:
        """A record of that name that is no checkpoint is passed over."""
        note = self._record(records, 30, None)
        note["body"]["stringValue"] = "hello"
        report = check([*records, note])
        assert (report.verdict, report.other_records) == ("ok", 1)

    async def test_command(self, tmp_path: Path, cli: Cli, key: SigningKey) -> None:
        """The archive is verified as well, where its key is given."""
        public, logs, far = str(key.verifying), tmp_path / "logs", tmp_path / "far.otlp"
        kept = tmp_path / "kept"
        settings: dict[str, Any] = {"signing_key": key, "checkpoint_to": kept}
        with AuditLogger(
            10, logs, registry=CollectorRegistry(), name="default", **settings
        ) as audit:
            for _ in range(25):
                await audit.log_event("STORE")
        cli("export", logs, far)
        arguments = ("verify", "--otlp-json", far, "--archive", logs)
        assert "The archive is taken as it is" in cli(*arguments).stdout
        assert "Not proved" in cli(*arguments, "--key", public, code=2).stdout
        proved = ("--key", public, "--checkpoint", kept)
        assert "proved up to event 25" in cli(*arguments, *proved).stdout
        report = json.loads(cli(*arguments, *proved, "--json").stdout)
        assert (report["verdict"], report["exit"]) == ("ok", 0)
        for file in logs.glob("default.checkpoint*"):
            file.unlink()
        next(logs.glob("audit_*")).unlink()
        said = cli(*arguments, *proved, code=1).stdout
        assert "in the archive: it is missing" in said


def test_command(records: Records, tmp_path: Path, cli: Cli) -> None:
    """``verify --otlp-json`` prints it in words; exit codes: 1 damage, 2 nothing to verify."""
    file = tmp_path / "audit.json"
    file.write_text(_line(*records, records[0]))
    shown = cli("verify", "--otlp-json", file).stdout
    assert f"default (0123456789abcdef): {COUNT} events, 1 to {COUNT}" in shown
    assert "1 duplicate" in shown
    file.write_text(_line(*records[1:]))
    assert "event 1 did not arrive" in cli("verify", "--otlp-json", file, code=1).stdout
    assert cli("verify", "--otlp-json", "--partial", file)
    cli("verify", "--otlp-json", tmp_path / "missing.json", code=2)
    file.write_text(json.dumps({"resourceLogs": []}) + "\n")
    assert "no audit record" in cli("verify", "--otlp-json", file, code=2).stdout
    cli("verify", file, file, code=2)
    cli("verify", "--otlp-json", file, "--checkpoint", file, code=2)
