"""What events say of altered, resurrected and remaining entries: how many, and which."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from conftest import Make

from axon_audit_otel.events.draft import draft, shorten
from axon_audit_otel.events.findings import FINDINGS, Finding, findings

every_kind = pytest.mark.parametrize("kind", FINDINGS)


@every_kind
def test_a_list_of_text(kind: str) -> None:
    """A finding has its number and its ids; what else the event says is none."""
    facts = {"result_count": 3, kind: ["e1", "e2"], f"{kind}_deleted": ["e9"]}
    assert findings(facts) == {kind: Finding(2, ["e1", "e2"])}


@every_kind
@pytest.mark.parametrize(
    "value", ["yes", "", True, 7, None, [], {"e1": "e2"}, ["e1", 2], [["e1"]], [None]]
)
def test_a_fact_of_the_application(kind: str, value: Any) -> None:
    """Anything but a list of text is none."""
    assert findings({kind: value}) == {}


@every_kind
async def test_more_than_are_recorded(make_audit: Make, kind: str) -> None:
    """A list that redaction has cut keeps its number, without another id."""
    audit = make_audit()
    event = await audit.log_event("RECALL", metadata={kind: [f"e{n}" for n in range(5_000)]})
    found = findings(event.metadata)[kind]
    assert found.number == 5_000
    assert found.entry_ids == [f"e{n}" for n in range(1_000)]


def test_of_what_is_shortened() -> None:
    """An event that must be short keeps the number of each, and the first ids."""
    many = [f"entry-{number:04}" for number in range(900)]
    event = draft("RECALL", "SUCCESS", metadata={"k": 9, **dict.fromkeys(FINDINGS, many)})
    shorten(event, 4096)
    assert len(msgspec.json.encode(event)) <= 4096
    found = findings(event["metadata"])
    assert [one.number for one in found.values()] == [900] * 3
    for one in found.values():
        assert one.entry_ids
        assert one.entry_ids == many[: len(one.entry_ids)]
    assert event["metadata"]["k"] == 9


def test_of_an_application_in_what_is_shortened() -> None:
    """Its facts under these names are left alone, as far as they fit."""
    facts = {"altered": "yes", "resurrected": ["e1"], "derived_remaining": 5, "text": "x" * 9_000}
    event = draft("STORE", "SUCCESS", metadata=dict(facts))
    shorten(event, 4096)
    del facts["text"]
    assert event["metadata"].pop("truncated")
    assert event["metadata"] == facts
