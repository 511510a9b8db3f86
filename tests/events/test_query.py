"""Queries: every filter, alone and together, and an index that stays right as events leave."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta, timezone
from itertools import combinations
from typing import Any

import pytest
from amounts import examples
from axon.models.audit import EventStatus as SdkStatus
from axon.models.audit import OperationType as SdkOperation
from conftest import Make, history
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import (
    AuditEvent,
    AuditLogger,
    AxonAuditError,
    EventStatus,
    InvalidEventError,
    OperationType,
)

UTC = timezone.utc
NOON = datetime(2025, 1, 15, 12, 0, tzinfo=UTC)


def record_at(provider: LoggerProvider, moment: datetime, **fields: Any) -> None:
    """An event of a chosen time, as a record of another source carries it."""
    microseconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    provider.get_logger("test").emit(
        LogRecord(
            timestamp=microseconds * 1000,
            event_name="axon.memory.audit",
            body={"operation": "STORE", **fields},
        )
    )


#: Every combination of two users, two sessions, ... with an entry in common.
EVENTS: list[dict[str, Any]] = [
    {
        "operation": operation,
        "status": status,
        "user_id": user,
        "session_id": session,
        "subject_id": subject,
        "entry_ids": [f"{user}-{operation}", "common"],
    }
    for operation in ("STORE", "RECALL")
    for status in ("SUCCESS", "FAILURE")
    for user in ("alice", "bob")
    for session in ("s1", "s2")
    for subject in ("alice", "carol")
]
FILTERS: dict[str, Any] = {
    "operation": "STORE",
    "status": "FAILURE",
    "user_id": "alice",
    "session_id": "s2",
    "subject_id": "carol",
    "entry_ids": ["bob-RECALL", "alice-STORE", "unknown"],
}


def _passes(event: dict[str, Any], filters: dict[str, Any]) -> bool:
    chosen = dict(filters)
    ids = chosen.pop("entry_ids", None)
    if ids is not None and not set(ids) & set(event["entry_ids"]):
        return False
    return all(event[name] == value for name, value in chosen.items())


class TestFilters:
    @pytest.mark.parametrize(
        "names",
        [names for size in range(7) for names in combinations(FILTERS, size)],
        ids=lambda names: "+".join(names) or "none",
    )
    async def test_every_combination(self, audit: AuditLogger, names: tuple[str, ...]) -> None:
        """Each filter alone, and all of them together in every combination: an event is
        found if it passes all, and the newest comes first."""
        for fields in EVENTS:
            await audit.log_event(**fields)
        filters = {name: FILTERS[name] for name in names}
        expected = [number for number, event in enumerate(EVENTS, 1) if _passes(event, filters)]
        assert [event.sequence for event in audit.query_events(**filters)] == expected[::-1]
        assert expected

    @pytest.mark.parametrize(
        "operation", ["FORGET", "forget", "Forget", OperationType.FORGET, SdkOperation.FORGET]
    )
    async def test_operation(self, audit: AuditLogger, operation: Any) -> None:
        """An operation may be ours, the SDK's, or a name in any case."""
        await audit.log_event("STORE")
        wanted = await audit.log_event("FORGET")
        assert audit.query_events(operation=operation) == [wanted]
        assert await audit.get_events(operation) == [wanted]

    @pytest.mark.parametrize(
        "status", ["PARTIAL", "partial", "Partial", EventStatus.PARTIAL, SdkStatus.PARTIAL]
    )
    async def test_status(self, audit: AuditLogger, status: Any) -> None:
        """A status may be ours, the SDK's, or a name in any case."""
        await audit.log_event("STORE")
        wanted = await audit.log_event("STORE", status="PARTIAL")
        assert audit.query_events(status=status) == [wanted]
        assert await audit.get_events(status=status) == [wanted]

    @pytest.mark.parametrize("operation", list(SdkOperation))
    def test_operation_that_never_was(self, audit: AuditLogger, operation: Any) -> None:
        """Asking for what did not happen finds nothing, and is no error."""
        assert audit.query_events(operation=operation) == []

    async def test_ids_match_whole(self, audit: AuditLogger) -> None:
        """Ids are compared whole and with their case."""
        await audit.log_event("STORE", user_id="alice", session_id="s1", entry_ids=["entry_1"])
        for near in ("alic", "alice2", "Alice", "", " alice"):
            assert audit.query_events(user_id=near) == []
        assert audit.query_events(session_id="s") == []
        assert audit.query_events(entry_ids=["entry_"]) == []

    async def test_entry_ids(self, audit: AuditLogger) -> None:
        """Entry ids find every event that touches any of them, each once; one alone may be
        given as text."""
        one = await audit.log_event("STORE", entry_ids=["e1"])
        both = await audit.log_event("RECALL", entry_ids=["e1", "e2", "e2"])
        two = await audit.log_event("FORGET", entry_ids=["e2"])
        await audit.log_event("STORE", entry_ids=["e3"])
        assert audit.query_events(entry_ids=["e1", "e2"]) == [two, both, one]
        assert audit.query_events(entry_ids="e1") == [both, one]
        assert audit.query_events(entry_ids=iter(["e2", "nowhere"])) == [two, both]
        assert audit.query_events(entry_ids=["e1"], operation="RECALL") == [both]
        assert audit.query_events(entry_ids=[]) == []

    async def test_ids_of_other_types(self, audit: AuditLogger) -> None:
        """An id is found by the value it was logged with."""
        event = await audit.log_event("STORE", user_id=7, entry_ids=[8])  # type: ignore[arg-type,list-item]
        assert audit.query_events(user_id=7) == [event]  # type: ignore[arg-type]
        assert audit.query_events(user_id="7", entry_ids=[8]) == [event]  # type: ignore[list-item]

    async def test_positional(self, audit: AuditLogger) -> None:
        """The first argument is the user, as the specification's examples have it."""
        event = await audit.log_event("STORE", user_id="alice")
        assert audit.query_events("alice", "STORE", "SUCCESS") == [event]


class TestLimit:
    async def test_newest_are_kept(self, audit: AuditLogger) -> None:
        """A limit keeps the newest; 0 keeps none; more than there are is no error."""
        for _ in range(600):
            await audit.log_event("STORE", user_id="alice")
        assert audit.query_events(limit=0) == []
        assert [event.sequence for event in audit.query_events(limit=1)] == [600]
        found = [event.sequence for event in audit.query_events("alice", limit=300)]
        assert found == list(range(600, 300, -1))
        assert len(audit.query_events(limit=10_000)) == 600

    async def test_limit_counts_what_matches(self, audit: AuditLogger) -> None:
        """The limit is of the events found, not of the events looked at."""
        wanted = await audit.log_event("STORE", user_id="alice", session_id="s1")
        for _ in range(5):
            await audit.log_event("STORE", user_id="alice", session_id="s2")
            await audit.log_event("STORE", user_id="bob", session_id="s1")
        assert audit.query_events("alice", session_id="s1", limit=1) == [wanted]

    @pytest.mark.parametrize("limit", [-1, 1.5, "3", True, float("inf")])
    async def test_impossible(self, audit: AuditLogger, limit: Any) -> None:
        """A limit that cannot be meant is an error that shows it."""
        with pytest.raises(InvalidEventError, match=rf"limit=.*{limit}"):
            audit.query_events(limit=limit)
        with pytest.raises(InvalidEventError, match=rf"limit=.*{limit}"):
            await audit.get_events(limit=limit)


@pytest.fixture(name="tokyo")
def _tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Local time is nine hours ahead of UTC."""
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


class TestTimes:
    def _hours(self, events: list[AuditEvent]) -> list[int]:
        return [event.timestamp.hour for event in events]

    def test_both_ends_are_included(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """An event at exactly the start or the end is found, one a microsecond off is not."""
        step = timedelta(microseconds=1)
        for moment in (NOON - step, NOON, NOON + step):
            record_at(logger_provider, moment)
        assert [event.timestamp for event in audit.query_events(start_time=NOON)] == [
            NOON + step,
            NOON,
        ]
        assert [event.timestamp for event in audit.query_events(end_time=NOON)] == [
            NOON,
            NOON - step,
        ]
        (only,) = audit.query_events(start_time=NOON, end_time=NOON)
        assert only.timestamp == NOON

    def test_with_other_filters(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """A time range is combined with the other filters and the limit."""
        for hour in range(10, 16):
            user = "alice" if hour % 2 else "bob"
            record_at(logger_provider, NOON.replace(hour=hour), user_id=user, entry_ids=["e"])
        day = {"start_time": NOON.replace(hour=11), "end_time": NOON.replace(hour=14)}
        assert self._hours(audit.query_events(**day)) == [14, 13, 12, 11]
        assert self._hours(audit.query_events("alice", **day)) == [13, 11]
        assert self._hours(audit.query_events(entry_ids="e", limit=3, **day)) == [14, 13, 12]
        assert audit.query_events("alice", operation="RECALL", **day) == []

    def test_out_of_order(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """Records that arrive late are found by their own time; the newest in the trail
        still comes first."""
        for hour in (12, 15, 9, 13):
            record_at(logger_provider, NOON.replace(hour=hour), user_id="alice")
        found = audit.query_events(start_time=NOON, end_time=NOON.replace(hour=14))
        assert self._hours(found) == [13, 12]
        assert self._hours(audit.query_events(end_time=NOON)) == [9, 12]
        assert self._hours(audit.query_events("alice", start_time=NOON)) == [13, 15, 12]
        assert self._hours(history(audit)) == [12, 15, 9, 13]

    @pytest.mark.usefixtures("tokyo")
    def test_naive_is_local(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """A naive time is local time in `query_events`, as everywhere in Python."""
        record_at(logger_provider, NOON)
        assert len(audit.query_events(start_time=datetime(2025, 1, 15, 21))) == 1
        assert audit.query_events(start_time=datetime(2025, 1, 15, 21, 0, 1)) == []
        assert len(audit.query_events(end_time=datetime(2025, 1, 15, 21))) == 1
        assert audit.query_events(end_time=datetime(2025, 1, 15, 20, 59)) == []

    @pytest.mark.usefixtures("tokyo")
    async def test_naive_is_utc_for_the_sdk(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """A naive time is UTC in `get_events`, as in the SDK."""
        record_at(logger_provider, NOON)
        assert len(await audit.get_events(start_time=datetime(2025, 1, 15, 12))) == 1
        assert await audit.get_events(start_time=datetime(2025, 1, 15, 12, 0, 1)) == []
        assert await audit.get_events(end_time=datetime(2025, 1, 15, 11, 59)) == []

    @pytest.mark.usefixtures("tokyo")
    async def test_aware_is_taken_as_it_is(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """An aware time means the same moment in either, whatever its zone."""
        record_at(logger_provider, NOON)
        for zone in (UTC, timezone(timedelta(hours=-5)), timezone(timedelta(hours=5, minutes=30))):
            moment = NOON.astimezone(zone)
            later = moment + timedelta(seconds=1)
            assert len(audit.query_events(start_time=moment, end_time=moment)) == 1
            assert audit.query_events(start_time=later) == []
            assert len(await audit.get_events(start_time=moment, end_time=moment)) == 1
            assert await audit.get_events(start_time=later) == []

    async def test_an_hour_ago(self, audit: AuditLogger) -> None:
        """The specification's `datetime.now() - timedelta(hours=1)` finds what just was."""
        event = await audit.log_event("STORE")
        assert audit.query_events(start_time=datetime.now() - timedelta(hours=1)) == [event]
        assert audit.query_events(end_time=datetime.now() - timedelta(hours=1)) == []

    @pytest.mark.parametrize("zone", [None, UTC])
    async def test_beginning_and_end_of_time(
        self, audit: AuditLogger, zone: timezone | None
    ) -> None:
        """`datetime.min` and `datetime.max` mean no limit, in any time zone."""
        event = await audit.log_event("STORE")
        ever = {
            "start_time": datetime.min.replace(tzinfo=zone),
            "end_time": datetime.max.replace(tzinfo=zone),
        }
        assert audit.query_events(**ever) == [event]
        assert await audit.get_events(**ever) == [event]

    @pytest.mark.usefixtures("tokyo")
    def test_beginning_of_time_in_the_east(self, audit: AuditLogger) -> None:
        """East of UTC, `datetime.min` lies before the year 1."""
        assert audit.query_events(start_time=datetime.min) == []

    async def test_start_after_end(self, audit: AuditLogger) -> None:
        """A range that ends before it begins is an error that shows both."""
        with pytest.raises(InvalidEventError, match=r"2025-01-15 13.*2025-01-15 12"):
            audit.query_events(start_time=NOON + timedelta(hours=1), end_time=NOON)
        with pytest.raises(InvalidEventError):
            await audit.get_events(start_time=NOON + timedelta(hours=1), end_time=NOON)
        assert audit.query_events(start_time=NOON, end_time=NOON) == []

    @pytest.mark.parametrize("value", ["2025-01-15", 1736942400, date(2025, 1, 15), 1736942400.5])
    def test_no_datetime(self, audit: AuditLogger, value: Any) -> None:
        """Only datetimes are times; anything else is an error that shows it."""
        with pytest.raises(InvalidEventError, match=r"start_time=.*datetime"):
            audit.query_events(start_time=value)


class TestImpossible:
    @pytest.mark.parametrize(
        ("filters", "shown"),
        [
            ({"operation": "VACUUM"}, "VACUUM"),
            ({"operation": ""}, "''"),
            ({"operation": 5}, "5"),
            ({"status": "OK"}, "OK"),
            ({"status": b"SUCCESS"}, "SUCCESS"),
        ],
    )
    async def test_filter(self, audit: AuditLogger, filters: dict[str, Any], shown: str) -> None:
        """A filter that no event can have is an error, not an empty answer."""
        with pytest.raises(InvalidEventError, match=shown):
            audit.query_events(**filters)
        with pytest.raises(AxonAuditError, match=shown):
            await audit.get_events(**filters)


class TestEviction:
    async def test_only_the_newest(self, make_audit: Make) -> None:
        """Only the newest `max_events` are found, by whatever filter."""
        audit = make_audit(max_events=10)
        for number in range(1, 36):
            await audit.log_event(
                "STORE" if number % 2 else "RECALL",
                user_id=f"u{number % 3}",
                session_id="s",
                entry_ids=[f"e{number}", f"m{number % 5}", "common"],
                status="FAILURE" if number % 4 == 0 else "SUCCESS",
            )
        held = range(35, 25, -1)
        assert [event.sequence for event in audit.query_events()] == list(held)

        def numbers(**filters: Any) -> list[int]:
            return [event.sequence for event in audit.query_events(**filters)]

        assert numbers(session_id="s") == list(held)
        assert numbers(operation="RECALL") == [n for n in held if n % 2 == 0]
        assert numbers(status="FAILURE") == [n for n in held if n % 4 == 0]
        assert numbers(entry_ids=["common"]) == list(held)
        for user in range(3):
            assert numbers(user_id=f"u{user}") == [n for n in held if n % 3 == user]
        for entry in range(5):
            assert numbers(entry_ids=[f"m{entry}"]) == [n for n in held if n % 5 == entry]
        for number in range(1, 36):
            expected = [number] if number in held else []
            assert numbers(entry_ids=[f"e{number}"]) == expected

    async def test_one_event(self, make_audit: Make) -> None:
        """A memory of one event holds the newest one."""
        audit = make_audit(max_events=1)
        await audit.log_event("STORE", user_id="alice", entry_ids=["e1"])
        newest = await audit.log_event("RECALL", user_id="bob", entry_ids=["e1"])
        assert audit.query_events() == audit.query_events(entry_ids="e1") == [newest]
        assert audit.query_events("alice") == audit.query_events(operation="STORE") == []

    async def test_by_time_after_the_ring_went_round(
        self, make_audit: Make, logger_provider: LoggerProvider
    ) -> None:
        """A time range finds the right events when the buffer has wrapped around."""
        audit = make_audit(max_events=7)
        for minute in range(20):
            record_at(logger_provider, NOON + timedelta(minutes=minute))
        found = audit.query_events(
            start_time=NOON + timedelta(minutes=10), end_time=NOON + timedelta(minutes=16)
        )
        assert [event.timestamp.minute for event in found] == [16, 15, 14, 13]

    @pytest.mark.usefixtures("busy_threads")
    async def test_while_events_leave(self, make_audit: Make) -> None:
        """A query that runs while other threads push events out gives only whole, matching
        events, newest first."""
        audit = make_audit(max_events=50)

        async def write() -> None:
            for number in range(1_000):
                await audit.log_event("STORE", user_id=f"u{number % 2}", entry_ids=["e"])

        writer = asyncio.create_task(asyncio.to_thread(asyncio.run, write()))
        rounds = 0
        while not writer.done() or not rounds:
            for filters in ({"user_id": "u1"}, {"entry_ids": ["e"]}, {}):
                found = audit.query_events(**filters)  # type: ignore[arg-type]
                numbers = [event.sequence for event in found]
                assert numbers == sorted(set(numbers), reverse=True)
                assert all(event.user_id == "u1" for event in found if "user_id" in filters)
            rounds += 1
            await asyncio.sleep(0)
        await writer
        assert audit.event_count == 50


# --- against a plain list ------------------------------------------------------------------

_users = st.sampled_from([None, "alice", "bob", "ü\U0001f600"])
_sessions = st.sampled_from([None, "s1", "s2"])
_operations = st.sampled_from(["STORE", "RECALL", "FORGET"])
_statuses = st.sampled_from(["SUCCESS", "FAILURE", "PARTIAL"])
_ids = st.lists(st.sampled_from(["e1", "e2", "e3", "e4"]), max_size=3)
_minutes = st.integers(0, 12)

_logged = st.fixed_dictionaries(
    {
        "operation": _operations,
        "status": _statuses,
        "user_id": _users,
        "session_id": _sessions,
        "entry_ids": _ids,
        "minute": _minutes,
    }
)
_asked = st.fixed_dictionaries(
    {},
    optional={
        "operation": _operations,
        "status": _statuses,
        "user_id": _users.filter(bool),
        "session_id": _sessions.filter(bool),
        "entry_ids": _ids,
        "start": _minutes,
        "end": _minutes,
        "limit": st.integers(0, 6),
    },
)
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("log"), _logged),
        st.tuples(st.just("log"), _logged),
        st.tuples(st.just("query"), _asked),
        st.tuples(st.just("clear"), st.none()),
    ),
    max_size=60,
)


class _Model:
    """A model of the buffer: a list and a loop."""

    def __init__(self, max_events: int) -> None:
        self._max = max_events
        self._events: list[dict[str, Any]] = []
        self._next = 1

    def log(self, fields: dict[str, Any]) -> None:
        self._events = [*self._events, {**fields, "sequence": self._next}][-self._max :]
        self._next += 1

    def clear(self) -> None:
        self._events = []

    def query(self, asked: dict[str, Any]) -> list[int]:
        filters = dict(asked)
        limit, start, end = (filters.pop(name, None) for name in ("limit", "start", "end"))
        found = [
            event["sequence"]
            for event in reversed(self._events)
            if _passes(event, filters)
            and (start is None or start <= event["minute"])
            and (end is None or event["minute"] <= end)
        ]
        return found[:limit]


@settings(max_examples=examples(200), deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(max_events=st.integers(1, 20), ordered=st.booleans(), steps=_steps)
def test_like_a_plain_list(max_events: int, ordered: bool, steps: list[Any]) -> None:
    """Any sequence of records, clears and queries answers as a plain list would, with times
    in order (found by bisection) and without."""
    provider = LoggerProvider(shutdown_on_exit=False)
    audit = AuditLogger(max_events, registry=CollectorRegistry(), logger_provider=provider)
    model = _Model(max_events)
    latest = 0
    for step, argument in steps:
        if step == "log":
            latest = max(latest, argument["minute"]) if ordered else argument["minute"]
            fields = {**argument, "minute": latest}
            model.log(fields)
            record_at(provider, NOON + timedelta(minutes=fields.pop("minute")), **fields)
        elif step == "clear":
            asyncio.run(audit.clear())
            model.clear()
        else:
            asked = dict(argument)
            start, end = asked.get("start"), asked.get("end")
            if start is not None and end is not None and start > end:
                asked["start"], asked["end"] = end, start
            expected = model.query(asked)
            times = {
                f"{name}_time": NOON + timedelta(minutes=asked.pop(name))
                for name in ("start", "end")
                if name in asked
            }
            found = audit.query_events(**asked, **times)
            assert [event.sequence for event in found] == expected
    assert [event.sequence for event in audit.query_events()] == model.query({})
    for name in ("e1", "e2", "e3", "e4"):
        wanted = model.query({"entry_ids": [name]})
        assert [event.sequence for event in audit.query_events(entry_ids=[name])] == wanted


async def test_nobody_is_not_called_none(audit: AuditLogger) -> None:
    """An event of nobody known is not that of a user with the name None."""
    await audit.log_event("STORE", session_id="s1")
    assert audit.query_events(user_id="None", session_id="s1") == []
