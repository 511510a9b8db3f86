"""The index of the viewer, held against a plain list of the same events."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from random import Random
from typing import Any

import pytest

from axon_audit_otel import AuditEvent
from axon_audit_otel.archive.places import Place
from axon_audit_otel.core.time import to_microseconds
from axon_audit_otel.events.identifiers import digest_of
from axon_audit_otel.events.model import EventStatus, OperationType
from axon_audit_otel.events.query import Query
from axon_audit_otel.viewer.index import Index, Key
from axon_audit_otel.viewer.timeline import timeline

BEGIN = datetime(2025, 1, 15, tzinfo=timezone.utc)
SOURCES = ("one", "two", "/export.json")
_NAMES = ("alice", "bob", "", "ü")
_SOME = (None, *_NAMES)
_FIELDS: dict[str, Any] = {
    "operation": (OperationType.STORE, OperationType.RECALL, OperationType.AUDIT),
    "status": tuple(EventStatus),
    "user_id": _SOME,
    "session_id": _SOME,
    "subject_id": _SOME,
    "agent_id": _SOME,
    "on_behalf_of": _SOME,
    "purpose": _SOME,
    "trace_id": (None, "a" * 32, "b" * 32),
    "system": _SOME,
}
_SUBJECTS = (*_NAMES, *map(digest_of, _NAMES))


def _history(chance: Random) -> list[tuple[str, AuditEvent]]:
    """Events of several sources, in the order of each; clocks may be set back."""
    numbers = dict.fromkeys(SOURCES, 0)
    found = []
    for _ in range(chance.randrange(40)):
        source = chance.choice(SOURCES)
        numbers[source] += 1
        event = AuditEvent(
            event_id=f"evt_{len(found)}",
            timestamp=BEGIN + timedelta(seconds=chance.randrange(10)),
            entry_ids=chance.sample(_NAMES, chance.randrange(3)),
            subjects=tuple(chance.sample(_SUBJECTS, chance.randrange(4))),
            metadata=chance.choice(({"record": "start"}, {})),
            duration_ms=None,
            sequence=numbers[source],
            **{name: chance.choice(values) for name, values in _FIELDS.items()},
        )
        found.append((source, event))
    return found


def _query(chance: Random) -> Query:
    fields = {**_FIELDS, "entry_ids": _SOME}
    asked = {name: chance.choice(fields[name]) for name in chance.sample(list(fields), 2)}
    times = sorted(BEGIN + timedelta(seconds=chance.randrange(10)) for _ in range(2))
    moments = dict(zip(("start_time", "end_time"), times))
    kept = chance.sample(list(moments), chance.choice((0, 0, 1, 2)))
    return Query.of(**asked, **{name: moments[name] for name in kept})


@pytest.mark.parametrize("seed", range(200))
def test_it_finds_what_a_list_has(seed: int) -> None:
    """Whatever is recorded and asked: the same events, each once, newest first, page by page in
    both directions; their number; and a timeline that adds up."""
    chance = Random(seed)
    history, query, size = _history(chance), _query(chance), chance.randrange(1, 7)
    index = Index()
    for source, event in history:
        index.add(source, event)
    index.settle()
    expected = {
        (source, event.sequence)
        for source, event in history
        if any(True for _ in query.passing([event]))
    }
    answer = index.ask(query)
    assert answer.count == len(expected)
    whole = answer.places(1000)
    assert {(place.source, place.number) for _, place in whole} == expected
    assert len(whole) == len(expected)
    keys = [key for key, _ in whole]
    assert keys == sorted(keys, reverse=True)
    pages, before = [], None
    while page := answer.places(size, before):
        pages += page
        before = page[-1][0]
    assert pages == whole
    back: list[tuple[Key, Place]] = []
    after = Key(-(1 << 62), 0, "")
    while page := answer.after(size, after):
        back = page + back
        after = page[0][0]
    assert back == whole
    line = timeline(answer, query.start_us, query.end_us)
    assert sum(bar.total for bar in line.bars) == len(expected) if line else not expected


@pytest.mark.parametrize("seed", range(20))
def test_it_finds_events_by_their_id(seed: int) -> None:
    """Also after what came in no order was sorted."""
    history = _history(Random(seed))
    index = Index()
    for source, event in history:
        index.add(source, event)
    index.settle()
    for source, event in history:
        place = Place(source, event.sequence, to_microseconds(event.timestamp))
        assert index.with_id(event.event_id) == [place]
    assert index.with_id("evt_none") == []


def _event(number: int, at: datetime = BEGIN) -> AuditEvent:
    return AuditEvent(
        event_id=f"evt_{number}",
        timestamp=at,
        operation=OperationType.STORE,
        status=EventStatus.SUCCESS,
        user_id=None,
        session_id=None,
        entry_ids=[],
        metadata={},
        duration_ms=None,
        sequence=number,
    )


def test_an_answer_stays_as_it_was() -> None:
    """Events that come after it was asked do not change it: pages of one answer agree."""
    index = Index()
    for number in range(1, 11):
        index.add("one", _event(number))
    answer = index.ask(Query())
    index.add("one", _event(11))
    assert (answer.count, len(answer.places(100))) == (10, 10)
    assert index.ask(Query()).count == 11


def test_bars_of_days_begin_as_the_local_clock_has_them(zone: Any) -> None:
    """Where clocks change, a day has 23 or 25 hours; each bar is one day all the same."""
    zone("Africa/Cairo")
    index = Index()
    for day in range(60):
        index.add("one", _event(day + 1, datetime(2025, 4, 1, 12).astimezone() + timedelta(day)))
    line = timeline(index.ask(Query()), None, None)
    assert line is not None
    starts = [datetime.fromisoformat(bar.start).astimezone() for bar in line.bars]
    hours = {start.hour for start in starts}
    assert hours <= {0, 1}  # midnight, which one day of the year lacks there
    assert all(bar.total in (1, 2) for bar in line.bars)


FIRST = datetime(1, 1, 1, tzinfo=timezone.utc)
LAST = datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=timezone.utc)


@pytest.mark.parametrize("where", ["UTC", "Pacific/Apia", "Pacific/Pago_Pago", "Europe/Berlin"])
@pytest.mark.parametrize(
    "times",
    [
        [FIRST, LAST],
        [BEGIN, LAST],
        [FIRST, BEGIN],
        [FIRST, FIRST + timedelta(hours=1)],
        [LAST - timedelta(hours=1), LAST],
        [FIRST, FIRST + timedelta(days=90)],
        [LAST - timedelta(days=900), LAST],
    ],
)
def test_bars_of_the_first_and_the_last_times(times: list[datetime], where: str, zone: Any) -> None:
    """What a damaged or a hostile file may say: each event is in a bar, and there are few."""
    zone(where)
    index = Index()
    for number, at in enumerate(times):
        index.add("one", _event(number + 1, at))
    line = timeline(index.ask(Query()), None, None)
    assert line is not None
    assert sum(bar.total for bar in line.bars) == len(times)
    assert len(line.bars) <= 62
