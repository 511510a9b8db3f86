"""Events in the Common Event Format, read back by its standard and by another project's parser."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from amounts import examples
from hypothesis import given, settings
from siem_events import (
    BARE,
    FULL,
    HOSTILE,
    NAMES,
    NOWHERE,
    ORIGIN,
    RECORDS,
    STATUSES,
    as_json,
    cef_fields,
    event,
    hostile_events,
    origins,
    record,
    targets,
)

from axon_audit_otel import AuditEvent
from axon_audit_otel.evidence.siem.cef import LABELS, ROWS, cef_line
from axon_audit_otel.evidence.siem.origin import Origin

#: Type, or the most characters, of each field of the standard that we fill: *Implementing ArcSight
#: Common Event Format*, version 25, "ArcSight Extension Dictionary".
DICTIONARY: dict[str, Any] = {
    **dict.fromkeys(("rt", "cn1", "cn2", "dvcpid"), int),
    "cfp1": float,
    "act": 63,
    "outcome": 63,
    "externalId": 40,
    "dvchost": 100,
    "deviceExternalId": 255,
    **dict.fromkeys(("cat", "reason", "msg", "suser", "duser"), 1023),
    **dict.fromkeys(("sourceServiceName", "deviceProcessName"), 1023),
    **{f"cs{n}": 4000 for n in range(1, 7)},
    **{f"{name}Label": 1023 for name in ("cn1", "cn2", "cfp1", *(f"cs{n}" for n in range(1, 7)))},
}


def seen(text: str) -> str:
    """A text as CEF can carry it: what is not seen is the text of its JSON escape."""
    return "".join(
        c if c.isprintable() or c in "\r\n" else json.dumps(c)[1:-1].replace("\x7f", "\\u007f")
        for c in text
    )


def checked(line: bytes) -> tuple[list[str], dict[str, str]]:
    """Header and fields of a line, which has what the standard asks for."""
    header, fields = cef_fields(line)
    assert header[:3] == ["CEF:0", "axon-audit-otel", "axon-audit-otel"]
    assert all(header)
    assert 0 <= int(header[6]) <= 10
    assert set(fields) <= targets(ROWS, *(f"{name}Label" for name in LABELS))
    for key, value in fields.items():
        allowed = DICTIONARY.get(key, 4000)
        assert key in DICTIONARY or key.startswith("axon"), key
        if isinstance(allowed, int):
            assert len(value) <= allowed, key
        else:
            allowed(value)
    for key in fields:
        if key.startswith(("cs", "cn", "cfp")) and not key.endswith("Label"):
            assert f"{key}Label" in fields
    return header, fields


@pytest.mark.parametrize("origin", [ORIGIN, NOWHERE], ids=["known", "unknown"])
@pytest.mark.parametrize("fields", [FULL, BARE], ids=["full", "bare"])
def test_every_operation_and_outcome(fields: dict[str, Any], origin: Origin) -> None:
    """One line with the fields of the dictionary, also for operations that nobody knows."""
    for operation, status in product(NAMES, STATUSES):
        header, read = checked(cef_line(event(operation, status.value, **fields), origin))
        assert header[4] == seen(operation).replace("\n", "\\n")
        assert read["outcome"] == status


def test_what_it_tells() -> None:
    """Who, what, when, where, of whom, with which outcome, and its place in the trail."""
    told = event("BULK_STORE", "PARTIAL", **FULL)
    header, read = checked(cef_line(told, ORIGIN))
    assert header[3:] == ["0.1.0", "BULK_STORE", "Memory bulk store", "4"]
    labels = {read[f"{key}Label"]: read[key] for key in read if f"{key}Label" in read}
    assert labels == {
        "sequence": "7",
        "entries": "2",
        "durationMs": "12.25",
        "sessionId": "morning",
        "entryIds": '["e1","e2"]',
        "subjects": '["bob","carol"]',
        "purpose": "billing",
        "agentId": "planner",
        "hash": told.hash,
    }
    assert (read["rt"], read["externalId"]) == ("1795931413717", told.event_id)
    assert (read["suser"], read["duser"]) == ("alice", "bob")
    assert (read["reason"], read["msg"]) == ("ValueError", "no such entry")
    assert (read["dvchost"], read["dvcpid"]) == ("host-1", "4711")
    assert as_json(read["axonMetadata"]) == told.metadata
    assert read["axonPreviousHash"] == told.previous_hash


@pytest.mark.parametrize("told", RECORDS, ids=lambda told: str(told.metadata["record"])[:12])
def test_what_a_trail_says_of_itself(told: AuditEvent) -> None:
    header, read = checked(cef_line(told, ORIGIN))
    assert header[5].startswith("Audit trail ")
    assert read["cat"] == "audit trail"


@pytest.mark.parametrize(
    ("told", "severity"),
    [
        (event("STORE"), "1"),
        (event("FORGET", "PARTIAL"), "4"),
        (event("RECALL", "FAILURE"), "6"),
        (record("alert", severity="critical", state="firing"), "8"),
        (record("gap", "FAILURE"), "8"),
    ],
)
def test_severities(told: AuditEvent, severity: str) -> None:
    assert checked(cef_line(told, ORIGIN))[0][6] == severity


@pytest.mark.parametrize("text", [one for one in HOSTILE if len(one) < 60], ids=ascii)
def test_every_character_comes_back(text: str) -> None:
    """In the header and in the extension, whatever a person is called."""
    told = event(f"OP{text}", user_id=f"u{text}u", purpose=f"p{text}p", session_id="s")
    header, read = checked(cef_line(told, ORIGIN))
    assert header[4] == seen(f"OP{text}").replace("\n", "\\n").replace("\r", "\\r").strip()
    assert read["suser"] == seen(f"u{text}u")
    assert read["cs4"] == seen(f"p{text}p")
    assert read["cs1"] == "s"


@settings(max_examples=examples(100), deadline=None)
@given(told=hostile_events, origin=origins)
def test_hostile_values(told: AuditEvent, origin: Origin) -> None:
    """Whatever the values are: one line, the same fields, none made up, none overwritten."""
    _, read = checked(cef_line(told, origin))
    assert read["cs6"] == told.hash
    assert read["outcome"] == told.status
    for key, value in (("suser", told.user_id), ("duser", told.subject_id)):
        if value is not None and len(seen(value)) < 1000:
            assert read.get(key, "") == seen(value)
    if told.entry_ids and "dropped" not in read["cs2"]:
        assert as_json(read["cs2"]) == told.entry_ids


def test_bounds() -> None:
    """Fields have the dictionary's lengths; a list that is cut is still one, and says so."""
    told = event(
        metadata={f"k{n}": "v" * 100 for n in range(5_000)},
        entry_ids=[f"entry-{n}" for n in range(50_000)],
        subjects=tuple(f"user-{n}" for n in range(50_000)),
        user_id="u" * 100_000,
        event_id="e" * 100,
        error_message="m" * 100_000,
    )
    line = cef_line(told, ORIGIN)
    _, read = checked(line)
    assert len(line) < 30_000
    listed = as_json(read["cs2"])
    assert listed[0] == "entry-0"
    assert listed[-1] == f"[dropped: {50_000 - len(listed) + 1} more]"
    assert read["suser"].endswith("...")


def test_another_parser() -> None:
    """pycef, which knows nothing of us, finds the same fields."""
    pycef = pytest.importorskip("pycef")
    for told in (event("STORE", **FULL), event("FORGET", "PARTIAL", **BARE), *RECORDS):
        line = cef_line(told, ORIGIN).decode().rstrip("\n")
        header, read = cef_fields(cef_line(told, ORIGIN))
        found = pycef.parse(line)
        assert found["DeviceVendor"] == header[1]
        assert found["DeviceEventClassID"] == header[4]
        assert found["Severity"] == header[6]
        for key, value in read.items():
            if not key.endswith("Label"):
                name = read.get(f"{key}Label", key)
                assert found[name].replace("\\=", "=").replace("\\\\", "\\") == value, key
