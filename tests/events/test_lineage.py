"""What an event says of new entries and of what they were made."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import pytest
from msgspec.structs import replace

from axon_audit_otel import AuditEvent, EventStatus, OperationType
from axon_audit_otel.events.entries import gone_in
from axon_audit_otel.events.lineage import derivations
from axon_audit_otel.events.query import Query


def event(operation: str, ids: str = "", sources: str = "", **facts: Any) -> AuditEvent:
    """An event of the entries *ids*, made of *sources*; both with spaces between."""
    return AuditEvent(
        event_id="evt_1",
        timestamp=datetime(2026, 1, 1, tzinfo=timezone.utc),
        operation=OperationType(operation),
        user_id=None,
        session_id=None,
        entry_ids=ids.split(),
        metadata=facts,
        status=EventStatus.SUCCESS,
        duration_ms=None,
        derived_from=tuple(sources.split()),
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (event("STORE", "new"), {}),
        (event("STORE", "new", "a b"), {"new": ("a", "b")}),
        (event("STORE", "a new b", "a b"), {"new": ("a", "b")}),
        (event("IMPORT", "a", "a"), {}),
        (event("COMPACT", "a b s", "a b"), {"s": ("a", "b")}),
        (event("COMPACT", "a b other s", "a b", summary_ids=["s"]), {"s": ("a", "b")}),
        (event("COMPACT", "a b s", "a b", summary_ids="s"), {"s": ("a", "b")}),
        (event("STORE", "n", "a b", summary_ids=["m"]), {"n": ("a", "b")}),
        (
            event("COMPACT", "a b c s t", "a b c", derived={"s": ["a", "b"], "t": ["c"]}),
            {"s": ("a", "b"), "t": ("c",)},
        ),
        (event("STORE", "n", "a", derived={"n": ["a", 7], "m": "a", "k": None}), {"n": ("a", "7")}),
        (event("STORE", "n", "a", derived=["n"]), {"n": ("a",)}),
        (event("STORE", "n", derived={"n": ["a"]}), {}),
    ],
)
def test_derivations(given: AuditEvent, expected: dict[str, Any]) -> None:
    """The new entries of an event have the sources that it names for them, and no others."""
    assert derivations(given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (event("FORGET", "a b", deleted=2), ["a", "b"]),
        (event("FORGET", "a b", deleted=1, remaining_ids=["b"]), ["a"]),
        (event("FORGET", "a b", remaining_ids=[{"b": 1}, ["b"], None, "a"]), ["b"]),
        (event("FORGET", "a", deleted=0), []),
        (event("COMPACT", "a b s", deleted=2), ["a", "b"]),
        (event("COMPACT", "a b s", deleted=-1), []),
        (event("COMPACT", "a b s", deleted=True), []),
        (event("SYNC", "a", deleted=1), []),
    ],
)
def test_gone(given: AuditEvent, expected: list[str]) -> None:
    """What is gone is told from what is left, also where the facts are odd."""
    assert gone_in(given) == expected


def test_which_events_tell_of_derived_entries() -> None:
    """A query for these has no others, so that whoever keeps them needs little memory."""
    events = [
        event("STORE", "a"),
        event("STORE", "s", "a"),
        event("FORGET", "a", deleted=1),
        event("FORGET", "a", derived_remaining=["s"]),
        replace(event("FORGET", "a"), error_type="derived_entries_remain"),
    ]
    assert list(Query(derives=True).passing(events)) == [events[1], *events[3:]]
