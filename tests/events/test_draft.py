"""Events before and after they are encoded: bounds, bytes, names that are not listed."""

from __future__ import annotations

import copy
import hashlib
import pickle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axon_audit_otel import OperationType
from axon_audit_otel.events.draft import draft
from axon_audit_otel.events.model import (
    FIELD_KINDS,
    decode,
    decode_all,
    encode,
    encode_fields,
    place,
)

_WORDS = st.text(max_size=8)
_FIELDS: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("action", "system", "store", "agent_id", "on_behalf_of"), _WORDS),
    **dict.fromkeys(("purpose", "error_message", "error_type", "subject_id"), _WORDS),
    **{name: st.lists(_WORDS, max_size=3) for name in ("subjects", "derived_from")},
    "fingerprints": st.dictionaries(_WORDS, _WORDS, max_size=3),
}


@given(
    st.text(min_size=1, max_size=9),
    st.fixed_dictionaries({}, optional=_FIELDS),
    st.sampled_from([None, "ab" * 32]),
)
def test_the_same_bytes_again(operation: str, fields: dict[str, Any], previous: str | None) -> None:
    """A decoded event is encoded to the same bytes, with any of its fields."""
    name = OperationType.__members__.get(operation.upper(), operation)
    line = place(encode_fields(draft(name, "SUCCESS", **fields))[:-1], 7, previous)
    event = decode(line)
    assert encode(event) == line
    assert decode_all([line, line]) == [event, event]
    assert event.operation.value == name
    for field, value in fields.items():
        expected = tuple(dict.fromkeys(value)) if isinstance(value, list) else value
        if value or field in ("error_message", "error_type", "subject_id"):
            assert getattr(event, field) == expected


def test_an_empty_field_is_left_out() -> None:
    """An event that says nothing of its second edition has the bytes of the first."""
    event = draft("STORE", "SUCCESS", subjects=[], fingerprints={}, agent_id=None)
    assert list(event) == list(FIELD_KINDS)[:9]


def test_more_than_an_event_can_carry() -> None:
    """Of many subjects, sources and fingerprints the first are kept, and the number of these two;
    further subjects go along."""
    many = [str(number) for number in range(1500)]
    event = draft(
        "COMPACT",
        "SUCCESS",
        subjects=many,
        derived_from=many,
        fingerprints=dict.fromkeys(many, "x"),
    )
    assert [len(event[name]) for name in ("subjects", "derived_from", "fingerprints")] == [1000] * 3
    assert event.uncarried == dict.fromkeys(("derived_from_total", "fingerprints_total"), 1500)
    assert event.further == tuple(many[1000:])


def test_entry_ids_that_are_too_many() -> None:
    """Their number and digest stand for those that are left out."""
    many = [f"entry-{number:08}" for number in range(20_000)]
    event = draft("EXPORT", "SUCCESS", entry_ids=many, most_ids=7_000)
    digest = hashlib.sha256("\n".join(many).encode()).hexdigest()
    assert (event["entry_ids"], event.entries) == (many[:7_000], 20_000)
    assert event.uncarried == {"entry_ids_total": 20_000, "entry_ids_sha256": digest}


@pytest.mark.parametrize("name", ["MELT", "merge", "memory.merge", "ünknown", ""])
def test_a_name_that_is_not_listed(name: str) -> None:
    """It is kept as it was, is an `OperationType` that copies, and counts as OTHER."""
    event = decode(encode_fields(draft(name, "SUCCESS")))
    operation = event.operation
    assert (operation.value, operation.name, str(operation), operation == name) == (
        *(name, name, name),
        True,
    )
    assert isinstance(operation, OperationType)
    assert operation.listed is OperationType.OTHER
    for again in (copy.deepcopy(event), pickle.loads(pickle.dumps(event))):
        assert again == event
        assert again.operation.value == name
    assert list(OperationType.__members__) == [one.value for one in OperationType]
    with pytest.raises(ValueError, match="is not a valid"):
        OperationType(name)


def test_listed_names_are_the_members() -> None:
    """Listed operations are the very members, in any case."""
    event = decode(encode_fields(draft("store", "SUCCESS")))
    assert event.operation is OperationType.STORE
    assert pickle.loads(pickle.dumps(event)).operation is OperationType.STORE
    assert event.operation.listed is OperationType.STORE
