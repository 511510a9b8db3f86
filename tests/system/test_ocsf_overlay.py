"""The overlay ``ocsf.yaml`` of the real collector: events as an export in OCSF has them."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable, Iterable
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from collector import Collector, log_records, wait
from conftest import archived
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
