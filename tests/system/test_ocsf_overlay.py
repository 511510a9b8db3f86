"""The overlay ``ocsf.yaml`` of the real collector: events as an export in OCSF has them."""

from __future__ import annotations

import gzip
import json
import re
import urllib.request
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from collector import ROOT, Collector, free_port, log_records, wait
from conftest import archived
from receiver import Receiver
from siem_events import BARE, FULL, HOSTILE, NAMES, RECORDS, STATUSES, event, ocsf_faults

from axon_audit_otel import AuditEvent
from axon_audit_otel.archive.origin import Source
from axon_audit_otel.cli.main import main
from axon_audit_otel.evidence.siem.ocsf import ocsf
from axon_audit_otel.evidence.siem.origin import Origin
from axon_audit_otel.otlp.encoding import Envelope, record_of

pytestmark = pytest.mark.component

Start = Callable[..., Collector]

SOURCE = Source("demo", "c1979ac67c4f9535")
#: The same place, as the resource tells of it and as an export does.
RESOURCE = {
    "service.name": "shop",
    "host.name": "host-1",
    "process.pid": 4711,
    "process.executable.name": "python",
}
ORIGIN = Origin(*SOURCE, service="shop", host="host-1", process="python", pid=4711)


def send(there: Collector, request: bytes) -> None:
    """Send log records to a collector, as OTLP's JSON."""
    kind = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(f"{there.http}/v1/logs", request, kind)).close()


def sent(there: Collector, events: Iterable[AuditEvent], resource: dict[str, Any]) -> None:
    """Send the log records of *events*."""
    records = [record_of(one.to_json(), SOURCE) for one in events]
    send(there, Envelope(resource).json(records))


def written(there: Collector) -> list[dict[str, Any]]:
    """The OCSF events in its file."""
    return [json.loads(one["body"]["stringValue"]) for one in log_records(there.files("ocsf"))]


def comparable(made: dict[str, Any]) -> dict[str, Any]:
    """An OCSF event without what has no order: the names in the metadata, and observables."""
    rest = made["unmapped"]
    facts = {"metadata": json.loads(rest["metadata"])} if "metadata" in rest else {}
    seen = sorted(made.get("observables", []), key=lambda one: json.dumps(one, sort_keys=True))
    prints = sorted(rest.get("fingerprints", []), key=lambda one: json.dumps(one))
    return {**made, "unmapped": {**rest, **facts, "fingerprints": prints}, "observables": seen}


def assert_same(there: Collector, events: list[AuditEvent], origin: Origin) -> None:
    """The file has what an export has of *events*, and that is valid."""
    found = written(there)
    assert len(found) == len(events)
    for made, one in zip(found, events):
        assert ocsf_faults(made) == []
        assert comparable(made) == comparable(ocsf(one, origin))


@pytest.fixture(name="demo", scope="module")
def _demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive of the demo."""
    directory = tmp_path_factory.mktemp("demo") / "archive"
    assert CliRunner().invoke(main, ["demo", "--output", str(directory), "--json"]).exit_code == 0
    return directory


@pytest.mark.parametrize("base", ["gateway.yaml", "all-in-one.yaml"])
def test_the_demo(start_collector: Start, demo: Path, base: str) -> None:
    """Every event, valid, and the same as in an export; audit.jsonl has what it had."""
    there = start_collector(base, "overlays/ocsf.yaml")
    events = archived(demo)
    sent(there, events, RESOURCE)
    wait(lambda: len(written(there)) >= len(events))
    assert_same(there, events, ORIGIN)
    bodies = [record["body"]["stringValue"] for record in there.audit()]
    assert bodies == [one.to_json().decode() for one in events]
    assert "error" not in there.log()


def test_every_kind_of_event(start_collector: Start) -> None:
    """Each operation and outcome, with all fields and without, and what a trail says of itself."""
    there = start_collector("gateway.yaml", "overlays/ocsf.yaml")
    kinds = product(NAMES, STATUSES, (FULL, BARE))
    events = [event(name, status.value, **fields) for name, status, fields in kinds]
    users = ("hmac-sha256:00ff", "erasable:aa:bb")
    events += [*RECORDS, *(event(user_id=user) for user in users), event(duration_ms=1e300)]
    sent(there, events, RESOURCE)
    wait(lambda: len(written(there)) >= len(events))
    assert_same(there, events, ORIGIN)


def test_hostile_values(start_collector: Start) -> None:
    """No value becomes a field, or part of another value, whatever it is."""
    there = start_collector("gateway.yaml", "overlays/ocsf.yaml")
    texts = [*HOSTILE, '","value":"x"},{"name":"', "$1 ${1} $$ \\1", '"', "[]", "{}", ",", "<&>"]
    names = [name for name, value in FULL.items() if isinstance(value, str) and name[-2:] != "sh"]
    events = [
        event(
            f"X{text}",
            **dict.fromkeys(names, text),
            entry_ids=[text, f"{text},", "e"],
            subjects=(text, "s"),
            derived_from=(text,),
            fingerprints={text: text, f"{text}:": "f"},
            metadata={text: [text, {text: text}]},
        )
        for text in texts
    ]
    sent(there, events, RESOURCE)
    wait(lambda: len(written(there)) >= len(events))
    assert_same(there, events, ORIGIN)


def test_an_unknown_source(start_collector: Start) -> None:
    """Without a resource it is the trail, as in an export."""
    there = start_collector("gateway.yaml", "overlays/ocsf.yaml")
    events = [event(**FULL), *RECORDS]
    sent(there, events, {"service.name": "unknown_service:python"})
    wait(lambda: len(written(there)) >= len(events))
    assert_same(there, events, Origin(*SOURCE))


@pytest.mark.parametrize(
    "body",
    [
        *({}, {"stringValue": ""}, {"stringValue": "{}"}, {"stringValue": "{not json}"}),
        *({"intValue": "3"}, {"kvlistValue": {"values": []}}, {"stringValue": "[1]"}),
        {"stringValue": '{"event_id":"e","operation":"STORE","status":"MAYBE","metadata":{}}'},
        {"stringValue": '{"event_id":1,"operation":2,"status":3,"metadata":4}'},
    ],
    ids=str,
)
def test_what_is_no_event_is_left_out(start_collector: Start, body: dict[str, Any]) -> None:
    """It is in audit.jsonl, and stops none of the others; so are checkpoints."""
    there = start_collector("gateway.yaml", "overlays/ocsf.yaml")
    (good,) = json.loads(Envelope(RESOURCE).json([record_of(event().to_json(), SOURCE)]))[
        "resourceLogs"
    ]
    (record,) = good["scopeLogs"][0]["logRecords"]
    odd = {**record, "body": body}
    checkpoint = {**record, "eventName": "axon.memory.audit.checkpoint"}
    good["scopeLogs"][0]["logRecords"] = [odd, checkpoint, record]
    send(there, json.dumps({"resourceLogs": [good]}).encode())
    wait(lambda: written(there))
    assert_same(there, [event()], ORIGIN)
    assert len(there.audit()) == 3


# --- where docs/siem.md sends them on -------------------------------------------------------------


def further(number: int) -> str:
    """A configuration of docs/siem.md, as an argument of ``--config``."""
    text = (ROOT / "docs" / "siem.md").read_text(encoding="utf-8")
    return "yaml:" + re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[number]


def test_to_a_siem_over_http(start_collector: Start, http: Receiver) -> None:
    """Each record has an OCSF event as its body, and the id to drop duplicates by."""
    there = start_collector(
        *("gateway.yaml", "overlays/ocsf.yaml", further(0)),
        SIEM_ENDPOINT=http.url,
        SIEM_AUTHORIZATION="Bearer tea",
    )
    events = [event(**FULL), *RECORDS]
    sent(there, events, RESOURCE)
    wait(lambda: len(http.records) >= len(events))
    assert http.headers["authorization"] == "Bearer tea"
    for record, one in zip(http.records, events):
        made = json.loads(record.body.string_value)
        assert ocsf_faults(made) == []
        assert comparable(made) == comparable(ocsf(one, ORIGIN))
        assert [item.value.string_value for item in record.attributes] == [one.event_id]
    assert_same(there, events, ORIGIN)


def _unpacked(body: bytes) -> bytes:
    """An object of the store: some clients give it as it is packed."""
    return gzip.decompress(body) if body.startswith(b"\x1f\x8b") else body


def test_to_object_storage(start_collector: Start) -> None:
    """Objects of OCSF events, one a line, with nothing around them."""
    import boto3
    from moto.server import ThreadedMotoServer

    credentials = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "something"}
    server = ThreadedMotoServer("127.0.0.1", free_port(), verbose=False)
    server.start()
    try:
        url = "http://{}:{}".format(*server.get_host_and_port())
        named = {name.lower(): value for name, value in credentials.items()}
        store = boto3.client("s3", endpoint_url=url, region_name="us-east-1", **named)
        store.create_bucket(Bucket="ocsf")  # of its own: servers in one process share buckets
        there = start_collector(
            *("gateway.yaml", "overlays/ocsf.yaml", further(1)),
            S3_BUCKET="ocsf",
            S3_ENDPOINT=url,
            S3_PATH_STYLE="true",
            S3_INTERVAL="100ms",
            **credentials,
        )
        events = [event(**FULL), *RECORDS]
        sent(there, events, RESOURCE)

        def lines() -> list[bytes]:
            found = store.list_objects(Bucket="ocsf").get("Contents", [])
            bodies = [store.get_object(Bucket="ocsf", Key=one["Key"])["Body"] for one in found]
            return [line for body in bodies for line in _unpacked(body.read()).splitlines()]

        wait(lambda: len(lines()) >= len(events))
        made = list(map(json.loads, lines()))
        assert [fault for one in made for fault in ocsf_faults(one)] == []
        assert [comparable(one) for one in made] == [comparable(ocsf(e, ORIGIN)) for e in events]
    finally:
        server.stop()
