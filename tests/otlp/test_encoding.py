"""Audit events as OTLP log records: protobuf and JSON say the same, and are what OTLP is."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from axon_audit_otel import AuditLogger, InvalidEventError
from axon_audit_otel.archive.origin import Source
from axon_audit_otel.otlp.encoding import Envelope, encode, record_of

pytestmark = pytest.mark.usefixtures("without_start_record")

SOURCE = Source("orders", "0123456789abcdef")
RESOURCE = {"service.name": "shop", "n": -7, "ratio": 0.5, "on": True, "zones": ["a", "b"]}


async def _line(audit: AuditLogger, **fields: Any) -> bytes:
    return (await audit.log_event(**{"operation": "STORE", **fields})).to_json()


def _as_protobuf_json(request: dict[str, Any]) -> dict[str, Any]:
    """OTLP's JSON with its ids in base64, as Protobuf's own JSON mapping has them."""
    for logs in request["resourceLogs"]:
        for scope_logs in logs["scopeLogs"]:
            for record in scope_logs["logRecords"]:
                for name in ("traceId", "spanId"):
                    if name in record:
                        record[name] = base64.b64encode(bytes.fromhex(record[name])).decode()
    return request


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user_id": "alice", "session_id": "s-1", "entry_ids": ["e1"], "duration_ms": 45.25},
        {"user_id": 'ü\u2028\U0001f600\0"\\', "metadata": {"text": "é" * 300}},
        {"user_id": "u" * 125, "session_id": "s" * 126, "subject_id": "x" * 127},
        {"user_id": "u" * 5000, "session_id": "s" * 16_500},
        {"status": "FAILURE", "error_type": "TimeoutError", "error_message": "late"},
        {"status": "PARTIAL", "operation": "IMPORT", "entry_ids": [f"e{n}" for n in range(900)]},
    ],
)
async def test_protobuf_and_json_are_the_same_message(
    audit: AuditLogger, fields: dict[str, Any]
) -> None:
    """OpenTelemetry's own classes read from the protobuf what the JSON has."""
    record = record_of(await _line(audit, **fields), SOURCE)
    envelope = Envelope(RESOURCE)
    message = ExportLogsServiceRequest.FromString(envelope.protobuf([encode(record)] * 2))
    ours = _as_protobuf_json(json.loads(envelope.json([record] * 2)))
    theirs = MessageToDict(message, use_integers_for_enums=True)
    assert theirs == ours


async def test_record_says_what_the_event_says(audit: AuditLogger) -> None:
    """Name, time, severity, trace context and typed attributes are those of the event."""
    line = (
        b'{"event_id":"evt_1","timestamp":"2025-01-15T10:30:45.123456Z","operation":"RECALL",'
        b'"user_id":"bob","session_id":"s","entry_ids":["e"],"metadata":{},"status":"FAILURE",'
        b'"duration_ms":45.2,"error_type":"KeyError","subject_id":"carol",'
        b'"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331",'
        b'"trace_flags":"03","sequence":7,"previous_hash":"' + b"ab" * 32 + b'"}'
    )
    message = ExportLogsServiceRequest.FromString(
        Envelope(RESOURCE).protobuf([encode(record_of(line, SOURCE))])
    )
    (logs,) = message.resource_logs
    (record,) = logs.scope_logs[0].log_records
    assert logs.scope_logs[0].scope.name == "axon_audit_otel"
    assert record.event_name == "axon.memory.audit"
    assert record.time_unix_nano == record.observed_time_unix_nano == 1736937045123456000
    assert (record.severity_number, record.severity_text) == (17, "ERROR")
    assert record.trace_id.hex() == "0af7651916cd43dd8448eb211c80319c"
    assert record.span_id.hex() == "b7ad6b7169203331"
    assert record.flags == 3
    assert record.body.string_value.encode() == line
    kinds = {pair.key: pair.value.WhichOneof("value") for pair in record.attributes}
    values = {pair.key: getattr(pair.value, kinds[pair.key]) for pair in record.attributes}
    digest = values.pop("axon.audit.hash")
    assert values == {
        "log.record.uid": "evt_1",
        "axon.audit.trail": "orders",
        "axon.operation": "RECALL",
        "axon.status": "FAILURE",
        "audit.record.id": "evt_1",
        "audit.action": "RECALL",
        "audit.outcome": "failure",
        "audit.actor.type": "user",
        "audit.actor.id": "bob",
        "audit.target.id": "e",
        "user.id": "bob",
        "session.id": "s",
        "axon.subject.id": "carol",
        "error.type": "KeyError",
        "axon.duration_ms": 45.2,
        "audit.sequence.number": 7,
        "audit.sequence.previous_hash": "ab" * 32,
        "audit.sequence.stream_id": "0123456789abcdef",
    }
    assert kinds["axon.duration_ms"] == "double_value"
    assert kinds["audit.sequence.number"] == "int_value"
    assert len(bytes.fromhex(digest)) == 32


@pytest.mark.parametrize("moment", ["0001-01-01T00:00:00.000000Z", "9999-12-31T23:59:59.999999Z"])
def test_times_that_otlp_cannot_hold(moment: str) -> None:
    """An event from before 1970, or long after, is a record all the same."""
    line = (
        b'{"event_id":"evt_1","timestamp":"%b","operation":"STORE","user_id":null,'
        b'"session_id":null,"entry_ids":[],"metadata":{},"status":"SUCCESS","duration_ms":null,'
        b'"sequence":1}' % moment.encode()
    )
    record = record_of(line, SOURCE)
    message = ExportLogsServiceRequest.FromString(Envelope({}).protobuf([encode(record)]))
    time = message.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano
    assert time == (0 if moment.startswith("0001") else (1 << 64) - 1)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{}",
        b"[1]",
        b'{"event_id":1}',
        b"\xff\xfe",
        b'{"event_id":"e","timestamp":"2025-01-15T10:30:45","operation":"STORE","user_id":null,'
        b'"session_id":null,"entry_ids":[],"metadata":{},"status":"SUCCESS","duration_ms":null}',
        b'{"event_id":"e","timestamp":"2025-01-15T10:30:45Z","operation":"STORE","user_id":null,'
        b'"session_id":null,"entry_ids":[],"metadata":{},"status":"NEW","duration_ms":null}',
    ],
)
def test_what_is_no_event(line: bytes) -> None:
    """A line that is no event is refused, and shown."""
    with pytest.raises(InvalidEventError, match="not an audit event"):
        record_of(line, SOURCE)


async def test_lines_stay_short(make_audit: Make) -> None:
    """A reader of OTLP JSON lines takes lines of up to 1 MiB: many events are many lines."""
    audit = make_audit()
    text = "x" * 3000
    lines = [await _line(audit, metadata={"text": text}) for _ in range(300)]
    found = list(Envelope({}).json_lines(record_of(line, SOURCE) for line in lines))
    assert max(map(len, found)) < 1 << 20
    bodies = [
        record["body"]["stringValue"].encode()
        for line in found
        for record in json.loads(line)["resourceLogs"][0]["scopeLogs"][0]["logRecords"]
    ]
    assert bodies == lines


async def test_export_and_verify(make_audit: Make, cli: Cli, tmp_path: Path) -> None:
    """`export --format otlp` of an archive, sealed and not, verifies at the far end."""
    with make_audit(max_events=4, auto_export_path=tmp_path / "logs") as audit:
        for number in range(10):
            await audit.log_event("STORE", user_id=f"u{number}", metadata={"n": number})
        out = tmp_path / "out.otlp"
        result = cli("export", tmp_path / "logs", out, "--json")
        assert json.loads(result.stdout) == {"path": str(out), "format": "otlp", "events": 10}
        report = json.loads(cli("verify", "--otlp-json", out, "--json").stdout)
    assert report["ok"]
    (stream,) = report["streams"]
    assert (stream["trail"], stream["events"], stream["last_sequence"]) == ("default", 10, 10)
    # The trail is called the same in the journal as in the files that it became.
    cli("export", tmp_path / "logs", tmp_path / "later.otlp")
    later = json.loads(cli("verify", "--otlp-json", tmp_path / "later.otlp", "--json").stdout)
    assert later["streams"][0]["stream"] == stream["stream"]


async def test_export_of_several_writers(make_audit: Make, cli: Cli, tmp_path: Path) -> None:
    """Trails in one directory stay apart, and the newest N can be chosen."""
    first = make_audit(auto_export_path=tmp_path / "logs")
    second = make_audit(auto_export_path=tmp_path / "logs")
    for number in range(6):
        await (second if number % 3 else first).log_event("STORE", user_id=f"u{number}")
    cli("export", tmp_path / "logs", tmp_path / "all.otlp")
    report = json.loads(cli("verify", "--otlp-json", tmp_path / "all.otlp", "--json").stdout)
    assert report["ok"]
    assert {s["trail"]: s["events"] for s in report["streams"]} == {"default": 2, "default-2": 4}
    cli("export", tmp_path / "logs", tmp_path / "some.otlp", "--limit", 2)
    some = cli("verify", "--otlp-json", "--partial", tmp_path / "some.otlp", "--json")
    assert json.loads(some.stdout)["events"] == 2
