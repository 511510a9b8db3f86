"""The one encoding of an event, of many lines at once and of one."""

from __future__ import annotations

import json
from typing import Any

from amounts import examples
from conftest import Make, only_event
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from axon_audit_otel.core.errors import InvalidEventError
from axon_audit_otel.core.time import format_time
from axon_audit_otel.events.model import all_canonical, decode, encode, is_canonical

_LETTERS = 'aZ0é"\\/\x01\x7f\n\t \u2028\U0001f600\ud800'
_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63)
    | st.floats()
    | st.text(_LETTERS, max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(_LETTERS, max_size=4), inner)
    ),
    max_leaves=4,
)
_FIELDS = {
    "event_id": st.text(_LETTERS, max_size=9),
    "timestamp": st.integers(0, 2**51).map(format_time) | st.just("2026-01-01T00:00:01.000000Z"),
    "operation": st.sampled_from(["STORE", "AUDIT", "recall", "REWIND"]),
    "user_id": st.none() | st.text(_LETTERS, max_size=9),
    "session_id": st.none() | st.text(_LETTERS, max_size=9),
    "entry_ids": st.lists(st.text(_LETTERS, max_size=9), max_size=3),
    "metadata": st.dictionaries(st.text(_LETTERS, max_size=4), _JSON, max_size=3),
    "status": st.sampled_from(["SUCCESS", "PARTIAL", "failure"]),
    "duration_ms": st.none() | st.floats() | st.integers(0, 99),
}
_MORE = {
    "purpose": st.none() | st.text(_LETTERS, max_size=5),
    "subjects": st.lists(st.text(_LETTERS, max_size=5), max_size=2),
    "fingerprints": st.none()
    | st.dictionaries(st.text(_LETTERS, max_size=4), st.text(_LETTERS, max_size=4)),
    "sequence": st.integers(-1, 2**64),
    "previous_hash": st.none() | st.text("0123456789abcdef", max_size=64),
    "note": st.text(_LETTERS, max_size=5),
}


@st.composite
def _lines(draw: st.DrawFn) -> bytes:
    """An event's line, as it is recorded, as others write it, or with changed bytes."""
    fields: dict[str, Any] = draw(st.fixed_dictionaries(_FIELDS, optional=_MORE))
    line = json.dumps(
        fields,
        ensure_ascii=draw(st.booleans()),
        separators=draw(st.sampled_from([(",", ":"), (", ", ": ")])),
    ).encode("utf-8", "surrogatepass")
    try:
        line = encode(decode(line)) if draw(st.booleans()) else line
    except (InvalidEventError, ValueError):
        return line
    if draw(st.booleans()):
        start = draw(st.integers(0, len(line)))
        size = draw(st.integers(0, 3))
        line = line[:start] + draw(st.binary(max_size=3)) + line[start + size :]
    if draw(st.booleans()):
        found = draw(st.sampled_from([b",", b":", b'"', b"1", b"}", b"]", b"n"]))
        more = draw(st.sampled_from([b" ", b"\t", b"0", b'"a":1,', b"\\u0061", b"[]"]))
        line = line.replace(found, found + more, 1)
    return line.replace(b"\n", b" ")


def _recorded_so(line: bytes) -> bool:
    try:
        return is_canonical(line, decode(line))
    except InvalidEventError:
        return False


_LINE = (
    b'{"event_id":"evt_x","timestamp":"2026-01-01T00:00:01.500000Z","operation":"RECALL",'
    b'"user_id":"ann","session_id":null,"entry_ids":["e"],"metadata":{"k":1},'
    b'"status":"SUCCESS","duration_ms":1.5,"sequence":7}'
)


@settings(deadline=None, max_examples=examples(60), suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(_lines(), max_size=3))
@example([_LINE.replace(b'{"k":1}', b'{"k":1,"k":1}')])
@example([_LINE[:50], _LINE[50:]])
@example([_LINE + _LINE])
@example([_LINE, b""])
def test_many_lines_at_once(changed: list[bytes]) -> None:
    """Lines that pass at once each pass, and give the same events."""
    lines = [_LINE, *changed, _LINE]
    events = all_canonical(lines)
    if events is not None:
        assert all(map(_recorded_so, lines))
        assert events == list(map(decode, lines))


def test_lines_as_recorded() -> None:
    """Lines that a trail records pass at once."""
    lines = [_LINE, _LINE.replace(b'"ann"', '"\\u0001\\n\\"\\\\é"'.encode()), _LINE]
    assert all_canonical(lines) == list(map(decode, lines))


def test_as_a_line(make_audit: Make) -> None:
    """It says how many entries there were, also where not all ids fit."""
    audit = make_audit()
    audit.record("RECALL", entry_ids=[f"entry-{number}" for number in range(50_000)])
    assert str(only_event(audit)).endswith("RECALL SUCCESS: 50000 entries")


def test_ids_in_a_line(make_audit: Make) -> None:
    """An id in which one could not see where it ends is in quotes."""
    audit = make_audit()
    subjects = ["bob", "O'Neil", "a, b"]
    audit.record("RECALL", user_id="Alice Smith", subjects=subjects)
    assert str(only_event(audit)).endswith(
        """ by 'Alice Smith', data of bob, "O'Neil", 'a, b': 0 entries"""
    )
    audit = make_audit()
    audit.record("RECALL", user_id="alice@example.com", subjects=["org:7/bob"])
    assert str(only_event(audit)).endswith(" by alice@example.com, data of org:7/bob: 0 entries")
