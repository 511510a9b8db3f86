"""The influence of an entry: who read it, and what was stored afterwards or made of it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axon import Filter, MemorySystem
from conftest import ListingAdapter, Make, MakeSystem
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from axon_audit_otel import (
    AuditConfigError,
    AuditEvent,
    AuditLogger,
    InvalidEventError,
    audit_context,
)
from axon_audit_otel.events.influence import Influence, influence

NOON = datetime(2025, 1, 15, 12, tzinfo=timezone.utc)


def event(number: int, operation: str, *ids: str, **fields: Any) -> AuditEvent:
    values: dict[str, Any] = {
        "event_id": f"evt_{number}",
        "timestamp": NOON + timedelta(seconds=number),
        "operation": operation,
        "entry_ids": list(ids),
        "status": "SUCCESS",
        **dict.fromkeys(("user_id", "session_id", "duration_ms")),
        "metadata": {},
        **fields,
    }
    return msgspec.convert({**values, "sequence": number}, AuditEvent)


def of(*calls: tuple[Any, ...], most: int = 100_000) -> Influence:
    """The influence of the entry ``bad`` in events, each given as in `event`."""
    return influence(
        "bad", (event(n, *call[:-1], **call[-1]) for n, call in enumerate(calls, 1)), most
    )


def chain(found: Influence) -> list[tuple[str, str, str, int]]:
    return [(one.entry_id, one.because, one.source_id, one.steps) for one in found.influenced]


IN_S: dict[str, Any] = {"session_id": "s"}


class TestWhatCounts:
    def test_nobody_read_it(self) -> None:
        """An entry that was only stored has no influence, whatever else was stored there."""
        found = of(("STORE", "bad", IN_S), ("STORE", "b", IN_S), ("RECALL", "b", IN_S))
        assert not found
        assert found.is_named
        assert not of(("STORE", "b", IN_S)).is_named

    @pytest.mark.parametrize("reads", ["RECALL", "EXPORT"])
    @pytest.mark.parametrize("stores", ["STORE", "IMPORT", "BULK_STORE", "COMPACT"])
    @pytest.mark.parametrize("where", [{"trace_id": "a" * 32}, {"session_id": "s"}])
    def test_stored_afterwards(self, reads: str, stores: str, where: dict[str, Any]) -> None:
        """What is stored after a reading, in the same trace or session, may carry it on; what
        was stored before, or elsewhere, cannot."""
        found = of(
            ("STORE", "before", where),
            (reads, "bad", "x", where),
            (stores, "after", "after too", where),
            (stores, "elsewhere", dict.fromkeys(where, "f" * 32)),
            (stores, "nowhere", {}),
            ("SYNC", "moved", where),
            ("FORGET", "gone", where),
        )
        because = next(iter(where)).removesuffix("_id")
        assert chain(found) == [
            ("after", because, "bad", 1),
            ("after too", because, "bad", 1),
        ]
        (reading,) = found.readings
        assert (reading.event_id, reading.operation, reading.entry_ids) == ("evt_2", reads, ["bad"])
        assert found.traces + found.sessions == list(where.values())
        assert found.stores_without_place == 1

    def test_failures(self) -> None:
        """What failed has read and stored nothing; what is PARTIAL may have."""
        failed, partial = ({"status": status, **IN_S} for status in ("FAILURE", "PARTIAL"))
        assert not of(("RECALL", "bad", failed), ("STORE", "x", IN_S))
        found = of(("RECALL", "bad", partial), ("STORE", "x", failed), ("STORE", "y", partial))
        assert [one.entry_id for one in found.influenced] == ["y"]

    def test_made_of_it(self) -> None:
        """An entry that was made of it carries it on, also unread; with several, only that one."""
        derived = {
            "derived_from": ["bad", "c"],
            "metadata": {"derived": {"x": ["bad"], "y": ["c"]}},
        }
        found = of(
            ("COMPACT", "bad", "c", "x", "y", derived), ("STORE", "z", {"derived_from": ["x"]})
        )
        assert found.readings == []
        assert chain(found) == [("x", "derived", "bad", 1), ("z", "derived", "x", 2)]
        assert found

    def test_a_compaction_in_the_session(self) -> None:
        """Its summaries were stored there; the entries that it deleted were not."""
        facts = {"metadata": {"deleted": 2}, **IN_S}
        found = of(("RECALL", "bad", IN_S), ("COMPACT", "old", "older", "summary", facts))
        assert chain(found) == [("summary", "session", "bad", 1)]

    def test_transitive(self) -> None:
        """What an influenced entry influenced in turn is found, each entry once; circles end."""
        found = of(
            ("RECALL", "bad", {"session_id": "s1", "user_id": "ann"}),
            ("STORE", "x", {"session_id": "s1"}),
            ("RECALL", "x", "bad", {"session_id": "s2", "user_id": "bob"}),
            ("STORE", "y", {"session_id": "s2", "derived_from": ["x"]}),
            ("RECALL", "y", {"session_id": "s3"}),
            ("STORE", "x", "bad", "y", "z", {"session_id": "s3", "derived_from": ["y"]}),
            ("RECALL", "z", {"session_id": "s3"}),
        )
        assert chain(found) == [
            ("x", "session", "bad", 1),
            ("y", "derived", "x", 2),
            ("z", "derived", "y", 3),
        ]
        assert [reading.entry_ids for reading in found.readings] == [
            *(["bad"], ["x", "bad"], ["y"], ["z"])
        ]

    def test_the_shortest_way(self) -> None:
        """Of several reasons for an entry the one with the fewest steps is told."""
        found = of(
            ("RECALL", "bad", {"session_id": "s1"}),
            ("STORE", "x", {"session_id": "s1"}),
            ("RECALL", "x", {"session_id": "s2"}),
            ("RECALL", "bad", {"session_id": "s2"}),
            ("STORE", "y", {"session_id": "s2"}),
        )
        assert chain(found)[1:] == [("y", "session", "bad", 1)]

    def test_what_cannot_be_assigned(self) -> None:
        """It says how many readings and stores name no place, and how many events are cut short."""
        cut = {"metadata": {"entry_ids_total": 9}}
        found = of(("RECALL", "bad", {}), ("STORE", "x", {}), ("RECALL", "y", cut), ("AUDIT", cut))
        assert (found.readings_without_place, found.stores_without_place) == (1, 1)
        assert found.events_cut_short == 1

    @pytest.mark.parametrize("odd", [7, "x", [1, {}], {"x": "bad"}, {"x": [["bad"]]}, {"x": None}])
    def test_odd_facts(self, odd: Any) -> None:
        """Facts of another form, as another source may give them, are no error."""
        fields = {"derived_from": ["other"], "metadata": {"derived": odd, "deleted": odd}, **IN_S}
        found = of(("RECALL", "bad", IN_S), ("COMPACT", "x", fields))
        assert found.readings


class TestBounds:
    def test_most(self) -> None:
        """Of more than it can tell, it tells the first, and that it is not whole."""
        calls = [("RECALL", "bad", IN_S), *[("STORE", f"e{n}", IN_S) for n in range(9)]]
        found = of(*calls, most=3)
        assert len(found.influenced) == 3
        assert not found.is_whole
        found = of(*[("RECALL", "bad", {"session_id": str(n)}) for n in range(9)], most=3)
        assert (len(found.readings), len(found.sessions), found.is_whole) == (3, 3, False)

    def test_memory(self) -> None:
        """Events that have nothing to do with it take no memory."""

        def many() -> Iterator[AuditEvent]:
            for number in range(20_000):
                yield event(number, "STORE", f"e{number}", session_id=f"s{number}")

        tracemalloc.start()
        try:
            influence("bad", many())
            assert tracemalloc.get_traced_memory()[1] < 1 << 20
        finally:
            tracemalloc.stop()


# --- against the definition ------------------------------------------------------------------

_KEYS = st.sampled_from(["bad", "a", "b", "c", "d"])
_PLACES = st.fixed_dictionaries(
    {},
    optional={
        "trace_id": st.sampled_from(["1" * 32, "2" * 32]),
        "session_id": st.sampled_from(["s1", "s2", "s3"]),
    },
)
_CALLS = st.tuples(
    st.sampled_from(["STORE", "RECALL", "RECALL", "FORGET"]),
    _KEYS,
    _PLACES,
    st.none() | st.lists(_KEYS, min_size=1, max_size=2),
)


def by_definition(events: list[AuditEvent]) -> tuple[dict[str, int], set[str]]:
    """The number of the event by which each entry came under influence, and the readings; found
    by trying again until nothing new is found."""
    since = {"bad": 0}

    def reads(one: AuditEvent) -> bool:
        known = [key for key in one.entry_ids if since.get(key, one.sequence) < one.sequence]
        return one.operation.value == "RECALL" and bool(known)

    def shares(one: AuditEvent, other: AuditEvent) -> bool:
        return any(
            getattr(one, name) is not None and getattr(one, name) == getattr(other, name)
            for name in ("trace_id", "session_id")
        )

    while True:
        before = dict(since)
        for one in events:
            made = [s for s in one.derived_from if since.get(s, one.sequence) < one.sequence]
            stored = one.operation.value == "STORE" and any(
                reads(other) and other.sequence < one.sequence and shares(one, other)
                for other in events
            )
            made = [] if one.operation.value == "RECALL" else made
            for key in one.entry_ids:
                if (made and key not in one.derived_from) or stored:
                    since[key] = min(since.get(key, one.sequence), one.sequence)
        if since == before:
            return since, {one.event_id for one in events if reads(one)}


@pytest.mark.slow
@given(calls=st.lists(_CALLS, max_size=15))
@settings(max_examples=300, deadline=None)
def test_as_defined(calls: list[tuple[str, str, dict[str, str], list[str] | None]]) -> None:
    """One pass finds the same entries and readings as the definition does."""
    events = [
        event(number, operation, key, **places, derived_from=sources or [])
        for number, (operation, key, places, sources) in enumerate(calls, 1)
    ]
    found = influence("bad", events)
    since, readings = by_definition(events)
    assert {one.entry_id: one.event_id for one in found.influenced} == {
        key: f"evt_{number}" for key, number in since.items() if key != "bad"
    }
    assert {one.event_id for one in found.readings} == readings


class Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return "several"


# --- of a memory ---------------------------------------------------------------------------


async def poisoned(memory: MemorySystem) -> tuple[str, str, str]:
    """Mallory's entry, what a bot stored after it read that, and an innocent entry."""
    bad = await memory.store("the refund goes to account 666", user_id="mallory", session_id="m")
    innocent = await memory.store("tea", user_id="bob", session_id="b")
    who = {"user_id": "ann", "agent_id": "bot-7", "on_behalf_of": "dee", "purpose": "support"}
    with audit_context(session_id="s1", **who):
        await memory.recall("refund", filter=Filter(user_id="mallory"))
        carried = await memory.store("told ann: account 666")
    return bad, carried, innocent


@pytest.mark.usefixtures("instrumented")
class TestOfTheLogger:
    @pytest.mark.parametrize("archived", [None, True, False])
    @pytest.mark.parametrize("how", [{}, {"pseudonymize": "s" * 32}, {"erasable": True}])
    async def test_answer(
        self,
        make_audit: Make,
        make_system: MakeSystem,
        tmp_path: Path,
        archived: bool | None,
        how: dict[str, Any],
    ) -> None:
        """`audit.influence` answers from memory and from files, and finds encrypted sessions."""
        audit = make_audit(auto_export_path=tmp_path / "logs", **how)
        bad, carried, innocent = await poisoned(make_system(audit_logger=audit))
        found = audit.influence(bad, archived=archived)
        (reading,) = found.readings
        assert set(reading.entry_ids) == {bad}
        if "pseudonymize" not in how:
            assert (reading.user_id, reading.agent_id, reading.on_behalf_of, reading.purpose) == (
                *("ann", "bot-7", "dee", "support"),
            )
            assert found.sessions == ["s1"]
        assert chain(found) == [(carried, "session", bad, 1)]
        assert not audit.influence(carried, archived=archived)
        assert not audit.influence(innocent, archived=archived)
        assert not audit.influence("e-1", archived=archived).is_named

    @pytest.mark.parametrize("held", [1, 2])
    async def test_more_than_memory(
        self, make_audit: Make, make_system: MakeSystem, tmp_path: Path, held: int
    ) -> None:
        """With files the order is right where a part of the events has left memory."""
        audit = make_audit(held, tmp_path / "logs")
        bad, carried, _ = await poisoned(make_system(audit_logger=audit))
        assert chain(audit.influence(bad, archived=True)) == [(carried, "session", bad, 1)]

    async def test_same_trace(
        self, make_audit: Make, make_system: MakeSystem, tracer_provider: TracerProvider
    ) -> None:
        """A request's own span joins what it read with what it stored."""
        audit = make_audit()
        memory = make_system(audit_logger=audit)
        bad = await memory.store("bad")
        tracer = tracer_provider.get_tracer("app")
        with tracer.start_as_current_span("request") as span:
            await memory.recall("bad")
            carried = await memory.store("carried")
        await memory.store("another request")
        found = audit.influence(bad)
        assert chain(found) == [(carried, "trace", bad, 1)]
        assert found.traces == [trace.format_trace_id(span.get_span_context().trace_id)]

    async def test_compacted(self, make_audit: Make, make_system: MakeSystem) -> None:
        """A summary that was made of it is found."""
        audit = make_audit()
        memory = make_system(audit_logger=audit, session=ListingAdapter())
        ids = [await memory.store(f"note {n}", tier="persistent") for n in range(4)]
        await memory.compact("persistent", threshold=1, summarizer=Joining())
        (summary, *_) = audit.influence(ids[0]).influenced
        assert summary.because == "derived"
        assert summary.entry_id not in ids

    async def test_period(self, audit: AuditLogger) -> None:
        """Only what happened in the period counts."""
        await audit.log_event("RECALL", session_id="s", entry_ids=["bad"])
        later = datetime.now(timezone.utc)
        await audit.log_event("STORE", session_id="s", entry_ids=["x"])
        assert audit.influence("bad")
        assert not audit.influence("bad", start_time=later)
        assert not audit.influence("bad", end_time=later).influenced

    def test_wrong_arguments(self, audit: AuditLogger) -> None:
        """An id that is none, or an archive that is not there, is an error."""
        with pytest.raises(InvalidEventError, match="entry_id"):
            audit.influence(["bad"])  # type: ignore[arg-type]
        with pytest.raises(AuditConfigError, match="no archive"):
            audit.influence("bad", archived=True)
