"""Events in OCSF, held against its published schema."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from amounts import examples
from hypothesis import given, settings
from py_ocsf_models.events.base_event import BaseEvent
from siem_events import (
    BARE,
    FULL,
    NAMES,
    NOWHERE,
    ORIGIN,
    RECORDS,
    STATUSES,
    as_json,
    event,
    hostile_events,
    ocsf_faults,
    ocsf_schema,
    one_line,
    origins,
    paths,
    record,
    targets,
)

from axon_audit_otel import AuditEvent
from axon_audit_otel.evidence.siem.ocsf import ROWS, ocsf, ocsf_line
from axon_audit_otel.evidence.siem.origin import Origin

FIELDS = targets(
    ROWS,
    *(f"observables[].{name}" for name in ("name", "type", "type_id", "value")),
    *(f"unmapped.fingerprints[].{name}" for name in ("entry_id", "fingerprint")),
    *("metadata.is_truncated", "metadata.untruncated_size"),
)


@pytest.mark.parametrize("origin", [ORIGIN, NOWHERE], ids=["known", "unknown"])
@pytest.mark.parametrize("fields", [FULL, BARE], ids=["full", "bare"])
def test_every_operation_and_outcome(fields: dict[str, Any], origin: Origin) -> None:
    """Valid, with each field and without it, also for operations that nobody knows."""
    for operation, status in product(NAMES, STATUSES):
        made = ocsf(event(operation, status.value, **fields), origin)
        assert ocsf_faults(made) == [], (operation, status)
        assert made["metadata"]["event_code"] == operation


@pytest.mark.parametrize("left_out", FULL)
def test_without_one_field(left_out: str) -> None:
    """No field needs another one."""
    fields = {name: value for name, value in FULL.items() if name != left_out}
    assert ocsf_faults(ocsf(event("RECALL", **fields), ORIGIN)) == []


@pytest.mark.parametrize(
    ("operation", "activity"),
    [
        *(("STORE", "Create"), ("BULK_STORE", "Write"), ("IMPORT", "Write"), ("RECALL", "Read")),
        *(("EXPORT", "Read"), ("FORGET", "Delete"), ("COMPACT", "Update"), ("SYNC", "Update")),
        *(("REINDEX", "Update"), ("TRANSACTION", "TRANSACTION"), ("AUDIT", "AUDIT")),
        *(("OTHER", "OTHER"), ("MERGE", "MERGE")),
    ],
)
def test_activities(operation: str, activity: str) -> None:
    """The schema's word where it has one; else Other, and ours."""
    made = ocsf(event(operation), ORIGIN)
    known = ocsf_schema()["classes"]["datastore_activity"]["attributes"]["activity_id"]["enum"]
    named = {number: one["caption"] for number, one in known.items()}
    assert made["activity_name"] == activity
    assert named[str(made["activity_id"])] in (activity, "Other")


def test_what_it_tells() -> None:
    """Who, what, when, where, of whom, with which outcome, and its place in the trail."""
    told = event("RECALL", "PARTIAL", **FULL)
    made = ocsf(told, ORIGIN)
    assert made["actor"] == {
        "user": {"uid": "alice", "type_id": 0, "type": "Unknown"},
        "session": {"uid": "morning"},
        "app_name": "shop",
        "app_uid": "planner",
        "process": {"pid": 4711, "name": "app.py"},
    }
    assert made["src_endpoint"] == {"hostname": "host-1", "svc_name": "shop"}
    assert (made["time"], made["duration"]) == (1795931413717, 12)
    assert (made["status_id"], made["status"], made["status_code"]) == (99, "PARTIAL", "ValueError")
    assert made["database"] == {
        "name": "axon",
        "uid": "persistent",
        "type_id": 99,
        "type": "Agent memory",
    }
    seen = {(one["name"], one["value"]) for one in made["observables"]}
    assert seen == {
        ("actor.user.uid", "alice"),
        ("unmapped.on_behalf_of", "dave"),
        ("unmapped.subject_id", "bob"),
        *(("unmapped.subjects[]", one) for one in ("bob", "carol")),
        *(("unmapped.entry_ids[]", one) for one in ("e1", "e2")),
        ("src_endpoint.hostname", "host-1"),
    }
    rest = made["unmapped"]
    assert (rest["hash"], rest["previous_hash"]) == (told.hash, told.previous_hash)
    assert as_json(rest["metadata"]) == told.metadata
    assert made["metadata"]["uid"] == told.event_id
    assert made["metadata"]["sequence"] == 7
    assert made["metadata"]["correlation_uid"] == told.trace_id


def test_observables_point_to_what_is_there() -> None:
    """Their names are paths to values in the event itself."""
    made = ocsf(event("STORE", **FULL), ORIGIN)
    for one in made["observables"]:
        value: Any = made
        for name in one["name"].removesuffix("[]").split("."):
            value = value[name]
        assert one["value"] == value or one["value"] in value


@pytest.mark.parametrize(
    ("user", "kind"),
    [("hmac-sha256:00ff", "Pseudonym"), ("erasable:aa:bb", "Encrypted"), ("alice", "Unknown")],
)
def test_what_stands_for_a_user(user: str, kind: str) -> None:
    """A hashed or encrypted id stays what it is, and says so."""
    made = ocsf(event(user_id=user), ORIGIN)
    assert made["actor"]["user"]["uid"] == user
    assert made["actor"]["user"]["type"] == kind
    assert ocsf_faults(made) == []


@pytest.mark.parametrize("told", RECORDS, ids=lambda told: str(told.metadata["record"])[:12])
def test_what_a_trail_says_of_itself(told: AuditEvent) -> None:
    """The same class, so that one table has the whole chain; the store is the trail."""
    made = ocsf(told, ORIGIN)
    assert ocsf_faults(made) == []
    assert made["database"] == {"name": "demo", "type_id": 99, "type": "Audit trail"}


@pytest.mark.parametrize(
    ("told", "severity"),
    [
        (event("STORE"), "Informational"),
        (event("FORGET", "PARTIAL"), "Low"),
        (event("RECALL", "FAILURE"), "Medium"),
        (record("alert", severity="critical", state="firing"), "High"),
        (record("alert", severity="warning", state="firing"), "Medium"),
        (record("alert", severity="critical", state="resolved"), "Informational"),
        (record("gap", "FAILURE"), "High"),
        (record("start"), "Informational"),
    ],
)
def test_severities(told: AuditEvent, severity: str) -> None:
    assert ocsf(told, ORIGIN)["severity"] == severity


@settings(max_examples=examples(100), deadline=None)
@given(told=hostile_events, origin=origins)
def test_hostile_values(told: AuditEvent, origin: Origin) -> None:
    """Whatever the values are: valid, on one line, and none is the name of a field."""
    made = json.loads(one_line(ocsf_line(told, origin)))
    assert ocsf_faults(made) == []
    assert {path for path, _ in paths(made)} <= FIELDS
    assert made["unmapped"]["hash"] == told.hash


def test_bounds() -> None:
    """A large event is cut, says so, and stays valid."""
    deep: Any = "x"
    for _ in range(150):
        deep = {"a": [deep]}
    told = event(
        metadata={"deep": deep, **{f"k{n}": "v" * 100 for n in range(5_000)}},
        entry_ids=[f"entry-{n}" for n in range(50_000)],
        subjects=tuple(f"user-{n}" for n in range(50_000)),
        error_message="m" * 100_000,
    )
    line = ocsf_line(told, ORIGIN)
    made = json.loads(line)
    assert ocsf_faults(made) == []
    assert len(line) < 150_000 < len(told.to_json())
    assert made["metadata"]["is_truncated"] is True
    assert made["metadata"]["untruncated_size"] == len(told.to_json())
    assert made["unmapped"]["entry_ids"][0] == "entry-0"
    assert max(path.count(".") for path, _ in paths(made)) < 4


def test_other_models() -> None:
    """The models of another project read what all classes have in common."""
    for told in (event("STORE", **FULL), event("FORGET", "PARTIAL"), *RECORDS):
        made = ocsf(told, ORIGIN)
        read = BaseEvent.model_validate(made)
        assert read.severity == made["severity"]
        assert read.metadata.uid == told.event_id
        assert read.metadata.product.name == "axon-audit-otel"
