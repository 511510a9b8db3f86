"""`AuditLogger`: recording by hand, the SDK's own surface, statistics."""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from axon import MemorySystem
from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.models.audit import AuditEvent as SdkAuditEvent
from axon.models.audit import EventStatus as SdkStatus
from axon.models.audit import OperationType as SdkOperation
from conftest import Make, assert_chained, history
from opentelemetry import baggage, context
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from prometheus_client import CollectorRegistry

from axon_audit_otel import (
    AuditEvent,
    AuditLogger,
    EventStatus,
    InvalidEventError,
    OperationType,
    audit_context,
)
from axon_audit_otel.trail.given_event import EventFields, all_fields


def test_fields_are_the_arguments() -> None:
    """`record` takes by name what `log_event` does: the same names, types and defaults."""
    given = inspect.signature(AuditLogger.log_event).parameters
    of_event = {name: one for name, one in given.items() if name not in ("self", "operation")}
    typed = {name: one.__forward_arg__ for name, one in EventFields.__annotations__.items()}
    assert typed == {name: one.annotation for name, one in of_event.items()}
    assert all_fields({}) == {name: one.default for name, one in of_event.items()}


def test_unknown_field(audit: AuditLogger) -> None:
    """A name that is no field of an event is an error, as everywhere in Python."""
    with pytest.raises(TypeError, match="'user'"):
        audit.record("STORE", user="ada")  # type: ignore[call-arg]
    assert audit.event_count == 0


class TestLogEvent:
    async def test_everything_given(self, audit: AuditLogger) -> None:
        """Every given field is recorded; a query finds the returned event."""
        event = await audit.log_event(
            operation=OperationType.STORE,
            user_id="user_123",
            session_id="session_abc",
            entry_ids=["entry_1", "entry_2"],
            metadata={"source": "api", "batch_size": 2, "tags": ["a"], "nested": {"x": [1.5]}},
            status=EventStatus.PARTIAL,
            error_message="one of two",
            duration_ms=45.2,
            error_type="TimeoutError",
            subject_id="user_9",
        )
        assert event == AuditEvent(
            event_id=event.event_id,
            timestamp=event.timestamp,
            operation=OperationType.STORE,
            user_id="user_123",
            session_id="session_abc",
            entry_ids=["entry_1", "entry_2"],
            metadata={"source": "api", "batch_size": 2, "tags": ["a"], "nested": {"x": [1.5]}},
            status=EventStatus.PARTIAL,
            duration_ms=45.2,
            error_message="one of two",
            error_type="TimeoutError",
            subject_id="user_9",
            sequence=1,
        )
        assert audit.query_events() == [event]

    async def test_nothing_given(self, audit: AuditLogger) -> None:
        """Only the operation is needed: a success of nobody on nothing."""
        before = datetime.now(timezone.utc)
        event = await audit.log_event("compact")
        assert before <= event.timestamp <= datetime.now(timezone.utc)
        assert event == AuditEvent(
            event_id=event.event_id,
            timestamp=event.timestamp,
            operation=OperationType.COMPACT,
            user_id=None,
            session_id=None,
            entry_ids=[],
            metadata={},
            status=EventStatus.SUCCESS,
            duration_ms=None,
            sequence=1,
        )

    async def test_json_of_an_event(self, audit: AuditLogger) -> None:
        """The encoding has the specification's fields first, in its order, and no others
        that say nothing."""
        event = await audit.log_event("STORE", "u", "s", ["e"], {"k": 1}, duration_ms=2)
        decoded = json.loads(event.to_json())
        assert list(decoded) == [
            *("event_id", "timestamp", "operation", "user_id", "session_id", "entry_ids"),
            *("metadata", "status", "duration_ms", "sequence"),
        ]
        assert re.fullmatch(r"evt_[0-9a-f]{32}", decoded["event_id"])
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", decoded["timestamp"])
        assert decoded["operation"] == "STORE"
        assert decoded["status"] == "SUCCESS"
        failed = await audit.log_event("FORGET", status="failure")
        bare = json.loads(failed.to_json())
        assert bare["user_id"] is bare["session_id"] is bare["duration_ms"] is None
        assert "error_message" not in bare

    async def test_ids_are_unique_and_sort_by_time(self, audit: AuditLogger) -> None:
        """An event id is a UUIDv7: no two are the same, and they sort by when they were made."""
        ids = [(await audit.log_event("STORE")).event_id for _ in range(200)]
        assert len(set(ids)) == 200
        parsed = [UUID(event_id.removeprefix("evt_")) for event_id in ids]
        assert {uuid.version for uuid in parsed} == {7}
        # 12 bits of fraction: a quarter of a microsecond apart; never out of order by more
        prefixes = [event_id[:16] for event_id in ids]
        assert prefixes == sorted(prefixes)

    async def test_chain(self, audit: AuditLogger) -> None:
        """Events are numbered without gaps, and each names the hash of the one before."""
        for _ in range(5):
            await audit.log_event("STORE")
        events = history(audit)
        assert_chained(events)
        assert events[0].previous_hash is None
        assert len({event.hash for event in events}) == 5

    @pytest.mark.parametrize("operation", list(OperationType))
    @pytest.mark.parametrize("spelling", [str, str.lower, str.title])
    async def test_operation_by_name(
        self, audit: AuditLogger, operation: OperationType, spelling: Callable[[str], str]
    ) -> None:
        """An operation may be named in any case; upper case comes out."""
        event = await audit.log_event(spelling(operation.value))
        assert event.operation is operation
        assert str(event.operation) == operation.name == operation.value

    @pytest.mark.parametrize("operation", list(SdkOperation))
    async def test_operation_of_the_sdk(self, audit: AuditLogger, operation: SdkOperation) -> None:
        """Every operation that the SDK knows is accepted as its own enum has it."""
        assert (await audit.log_event(operation)).operation.name == operation.name

    @pytest.mark.parametrize(
        ("given", "status"),
        [
            *((status, status.name) for status in EventStatus),
            *((status, status.name) for status in SdkStatus),
            *((name, name.upper()) for name in ("success", "Failure", "PARTIAL")),
        ],
    )
    async def test_status(self, audit: AuditLogger, given: Any, status: str) -> None:
        """A status may be ours, the SDK's, or a name in any case."""
        assert (await audit.log_event("STORE", status=given)).status.value == status

    @pytest.mark.parametrize(
        ("given", "ids"),
        [
            (("a", "b"), ["a", "b"]),
            ((name for name in "ab"), ["a", "b"]),
            ("alone", ["alone"]),
            (["x", "x"], ["x", "x"]),
            ([1, UUID(int=2)], ["1", "00000000-0000-0000-0000-000000000002"]),
            ([], []),
            (None, []),
        ],
    )
    async def test_entry_ids(self, audit: AuditLogger, given: Any, ids: list[str]) -> None:
        """Entry ids may come as any iterable, or one alone; numbers and UUIDs become text."""
        assert (await audit.log_event("STORE", entry_ids=given)).entry_ids == ids

    async def test_input_stays_the_callers(self, audit: AuditLogger) -> None:
        """The caller's arguments are not changed, and changing it later changes no event."""
        metadata = {"tags": ["a"], "query": "kept by the caller"}
        ids = ["e1"]
        await audit.log_event("STORE", entry_ids=ids, metadata=metadata)
        assert metadata == {"tags": ["a"], "query": "kept by the caller"}
        metadata["tags"].append("b")  # type: ignore[attr-defined]
        ids.append("e2")
        (event,) = audit.query_events()
        assert (event.metadata["tags"], event.entry_ids) == (["a"], ["e1"])

    async def test_what_is_returned_is_a_copy(self, audit: AuditLogger) -> None:
        """Nobody changes the trail through an event that was handed out."""
        event = await audit.log_event("STORE", entry_ids=["e1"], metadata={"k": "v"})
        with pytest.raises(AttributeError):
            event.status = EventStatus.FAILURE  # type: ignore[misc]
        event.metadata["k"] = "forged"
        event.entry_ids.clear()
        (kept,) = audit.query_events()
        assert (kept.metadata, kept.entry_ids) == ({"k": "v"}, ["e1"])

    async def test_message_of_the_sdk_is_content(self, make_audit: Make) -> None:
        """The SDK passes str(exception) beside its type: content. A message in your own
        words is none, whatever it stands beside."""
        sdk: dict[str, Any] = {
            "operation": SdkOperation.STORE,
            "status": "FAILURE",
            "metadata": {"error_type": "ValueError"},
            "error_message": "secret plans",
        }
        without = await make_audit().log_event(**sdk)
        assert (without.error_message, without.metadata) == (None, {"error_type": "ValueError"})
        captured = await make_audit(capture_content=True).log_event(**sdk)
        assert captured.error_message == "secret plans"
        facts = {"error_type": "TimeoutError", "db": "main"}
        own = await make_audit().log_event(
            "STORE", status="FAILURE", metadata=facts, error_message="connection timeout"
        )
        assert (own.error_message, own.metadata) == ("connection timeout", facts)

    async def test_query_of_the_sdk_is_content(self, make_audit: Make) -> None:
        """The raw query that the SDK passes in the metadata is recorded as content is; a fact
        of yours by that name is a fact."""
        facts = {"query": "my tea", "k": 5}
        recall: dict[str, Any] = {"operation": SdkOperation.RECALL, "metadata": facts}
        assert (await make_audit().log_event(**recall)).metadata == {"k": 5}
        captured = await make_audit(capture_content="EVENT_ONLY").log_event(**recall)
        assert captured.metadata == facts
        own = await make_audit().log_event(OperationType.RECALL, metadata=facts)
        assert own.metadata == facts


class TestIdentity:
    async def test_context(self, audit: AuditLogger) -> None:
        """`audit_context` names who acts; an inner one changes only what it gives, and an
        argument goes before both."""
        with audit_context(user_id="alice", session_id="s1"):
            with audit_context(user_id="bob"):
                inner = await audit.log_event("STORE")
                own = await audit.log_event("STORE", user_id="carol", session_id="s3")
            outer = await audit.log_event("STORE")
        after = await audit.log_event("STORE")
        assert (inner.user_id, inner.session_id) == ("bob", "s1")
        assert (own.user_id, own.session_id) == ("carol", "s3")
        assert (outer.user_id, outer.session_id) == ("alice", "s1")
        assert (after.user_id, after.session_id) == (None, None)

    async def test_context_of_tasks(self, audit: AuditLogger) -> None:
        """Concurrent tasks each keep their own identity, and inherit it where they begin."""

        async def one(name: str) -> AuditEvent:
            with audit_context(user_id=name):
                await asyncio.sleep(0)
                return await asyncio.create_task(audit.log_event("STORE"))

        events = await asyncio.gather(*(one(f"u{n}") for n in range(20)))
        assert [event.user_id for event in events] == [f"u{n}" for n in range(20)]

    async def test_baggage(self, make_audit: Make) -> None:
        """OpenTelemetry baggage is asked last, for what nobody else said, where that is wanted."""
        audit = make_audit(baggage_identity=True)
        carried = baggage.set_baggage("user.id", "from-baggage")
        carried = baggage.set_baggage("session.id", "s-baggage", carried)
        token = context.attach(carried)
        try:
            assert (await audit.log_event("STORE")).user_id == "from-baggage"
            with audit_context(user_id="alice"):
                event = await audit.log_event("STORE")
            assert (event.user_id, event.session_id) == ("alice", "s-baggage")
        finally:
            context.detach(token)

    async def test_trace(self, audit: AuditLogger, tracer_provider: TracerProvider) -> None:
        """An event logged inside a span carries its ids; without one it has none."""
        with tracer_provider.get_tracer("test").start_as_current_span("work") as span:
            event = await audit.log_event("STORE")
        assert event.trace_id == f"{span.get_span_context().trace_id:032x}"
        assert event.span_id == f"{span.get_span_context().span_id:016x}"
        assert event.trace_flags == f"{span.get_span_context().trace_flags:02x}"
        assert int(event.trace_flags, 16) & TraceFlags.SAMPLED
        assert (await audit.log_event("STORE")).trace_id is None

    async def test_unsampled_trace(self, audit: AuditLogger) -> None:
        """A span that is not sampled names the trace all the same, and says so."""
        tracer = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer("test")
        with tracer.start_as_current_span("work") as span:
            event = await audit.log_event("STORE")
        assert event.trace_id == f"{span.get_span_context().trace_id:032x}"
        assert not int(event.trace_flags or "00", 16) & TraceFlags.SAMPLED

    async def test_trace_without_flags(self, audit: AuditLogger) -> None:
        """Where no flag is set, the event has none."""
        span = NonRecordingSpan(
            SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(0))
        )
        with use_span(span):
            event = await audit.log_event("STORE")
        assert event.trace_id == f"{0xABC:032x}"
        assert b"trace_flags" not in event.to_json()


class _Colour(Enum):
    RED = 1


class TestRefused:
    """An impossible argument raises an error that shows it, and leaves no event."""

    @pytest.mark.parametrize(
        ("arguments", "shown"),
        [
            ({"operation": "VACUUM"}, r"'VACUUM'.*STORE, RECALL"),
            ({"operation": ""}, "''"),
            ({"operation": None}, "None"),
            ({"operation": 7}, "7"),
            ({"operation": _Colour.RED}, "RED"),
            ({"operation": ["STORE"]}, r"\['STORE'\]"),
            ({"status": "OK"}, r"'OK'.*SUCCESS, FAILURE, PARTIAL"),
            ({"status": None}, "None"),
            ({"status": True}, "True"),
            ({"duration_ms": -0.1}, r"-0\.1"),
            ({"duration_ms": float("inf")}, "inf"),
            ({"duration_ms": float("nan")}, "nan"),
            ({"duration_ms": True}, "True"),
            ({"duration_ms": "45.2"}, "'45.2'"),
            ({"duration_ms": timedelta(seconds=1)}, "timedelta"),
            ({"duration_ms": [1]}, r"\[1\]"),
            ({"user_id": b"bytes"}, "b'bytes'"),
            ({"user_id": 1.5}, r"1\.5"),
            ({"user_id": True}, "True"),
            ({"user_id": ["a", "b"]}, r"\['a', 'b'\]"),
            ({"user_id": []}, r"\[\]"),
            ({"session_id": {"id": 1}}, "{'id': 1}"),
            ({"session_id": object()}, "object"),
            ({"subject_id": b"bytes"}, "b'bytes'"),
            ({"error_type": b"bytes"}, "b'bytes'"),
            ({"entry_ids": ["good", None]}, "None"),
            ({"entry_ids": [b"bytes"]}, "b'bytes'"),
            ({"entry_ids": b"bytes"}, "b'bytes'"),
            ({"entry_ids": {"a": 1}}, "{'a': 1}"),
            ({"entry_ids": 1.5}, r"1\.5"),
            ({"entry_ids": [["nested"]]}, "nested"),
            ({"subjects": [None]}, "subjects: None"),
            ({"derived_from": {"a": 1}}, "derived_from={'a': 1}"),
            ({"derived_from": ["a", 1.5]}, r"derived_from: 1\.5"),
            ({"fingerprints": ["a"]}, r"fingerprints=\['a'\]"),
            ({"fingerprints": {"a": None}}, "fingerprints: None"),
        ],
    )
    async def test_argument(
        self, audit: AuditLogger, arguments: dict[str, Any], shown: str
    ) -> None:
        """The error names the value; no event, number or count is left behind."""
        with pytest.raises(InvalidEventError, match=shown):
            await audit.log_event(**{"operation": "STORE", **arguments})
        assert audit.event_count == audit.total_events_logged == 0
        assert audit.get_statistics()["total_events"] == 0
        assert (await audit.log_event("STORE")).sequence == 1

    async def test_kind_of_error(self, audit: AuditLogger) -> None:
        """The error is a `ValueError` too."""
        with pytest.raises(ValueError, match="VACUUM"):
            await audit.log_event("VACUUM")

    async def test_message_is_short(self, audit: AuditLogger) -> None:
        """A huge bad value does not make a huge message."""
        with pytest.raises(InvalidEventError) as caught:
            await audit.log_event("x" * 1_000_000)
        assert len(str(caught.value)) < 1_000


class TestSdkSurface:
    """It can be passed wherever the SDK's own audit logger can."""

    @pytest.mark.parametrize(
        "name", [name for name in vars(SdkAuditLogger) if not name.startswith("_")]
    )
    def test_has_what_the_sdk_has(self, name: str) -> None:
        """Every public name of the SDK's logger is there, of the same kind, and takes the
        same arguments in the same order."""
        theirs, ours = getattr(SdkAuditLogger, name), getattr(AuditLogger, name)
        assert isinstance(ours, property) == isinstance(theirs, property)
        if isinstance(theirs, property):
            return
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)
        wanted = list(inspect.signature(theirs).parameters)
        assert list(inspect.signature(ours).parameters)[: len(wanted)] == wanted

    def test_constructor(self) -> None:
        """The constructor takes the SDK's arguments in the SDK's order."""
        wanted = list(inspect.signature(SdkAuditLogger).parameters)
        assert list(inspect.signature(AuditLogger).parameters)[: len(wanted)] == wanted

    async def test_event_to_dict(self, audit: AuditLogger) -> None:
        """`event.to_dict()` has the SDK's keys, and JSON types only."""
        event = await audit.log_event("STORE", "u", entry_ids=["e"], metadata={"k": 1})
        theirs = SdkAuditEvent(operation=SdkOperation.STORE).to_dict()
        ours = event.to_dict()
        assert theirs.keys() <= ours.keys()
        assert json.loads(json.dumps(ours)) == ours
        assert ours["timestamp"] == json.loads(event.to_json())["timestamp"]
        assert (ours["operation"], ours["status"]) == ("STORE", "SUCCESS")

    async def test_get_events(self, audit: AuditLogger) -> None:
        """`get_events` is awaited, finds by the SDK's enums, and the newest comes first."""
        for number in range(3):
            await audit.log_event(SdkOperation.STORE, user_id="u", metadata={"n": number})
        await audit.log_event(SdkOperation.RECALL, user_id="u", session_id="s")
        stores = await audit.get_events(SdkOperation.STORE, user_id="u", limit=2)
        assert [event.metadata["n"] for event in stores] == [2, 1]
        assert len(await audit.get_events(status=SdkStatus.SUCCESS)) == 4
        assert len(await audit.get_events(session_id="s")) == 1
        assert await audit.get_events(status=SdkStatus.FAILURE) == []

    async def test_export_to_json(self, audit: AuditLogger, tmp_path: Path) -> None:
        """`export_to_json` writes a bare list and returns its length."""
        first = await audit.log_event("STORE", metadata={"name": "Zoë"})
        second = await audit.log_event("RECALL")
        path = tmp_path / "deep" / "events.json"
        assert await audit.export_to_json(path) == 2
        events = json.loads(path.read_text(encoding="utf-8"))
        assert [event["event_id"] for event in events] == [second.event_id, first.event_id]
        assert events[1]["metadata"] == {"name": "Zoë"}
        later = datetime.now(timezone.utc) + timedelta(hours=1)
        assert await audit.export_to_json(path, start_time=later) == 0
        assert json.loads(path.read_text()) == []

    async def test_counts_and_clear(self, make_audit: Make) -> None:
        """`event_count` is what memory holds, `total_events_logged` what ever was recorded."""
        audit = make_audit(max_events=3)
        assert (audit.event_count, audit.total_events_logged) == (0, 0)
        for _ in range(5):
            await audit.log_event("STORE")
        assert (audit.event_count, audit.total_events_logged) == (3, 5)
        await audit.clear()
        assert (audit.event_count, audit.total_events_logged) == (0, 5)
        assert audit.query_events() == []
        event = await audit.log_event("STORE")
        assert (event.sequence, audit.event_count, audit.total_events_logged) == (6, 1, 6)
        assert event.previous_hash is not None

    async def test_get_stats(self, make_audit: Make, tmp_path: Path) -> None:
        """`get_stats` says what the SDK's logger says, under the same keys."""
        audit = make_audit(max_events=7, auto_export_path=tmp_path, enable_rotation=False)
        await audit.log_event("STORE")
        theirs = SdkAuditLogger(max_events=7, auto_export_path=tmp_path, enable_rotation=False)
        await theirs.log_event(SdkOperation.STORE)
        assert audit.get_stats() == theirs.get_stats()

    async def test_export_audit_log(self, config: Any, audit: AuditLogger, tmp_path: Path) -> None:
        """The SDK's `export_audit_log` works on it."""
        memory = MemorySystem(config, audit_logger=audit)
        await memory.store("tea", metadata={"user_id": "alice"})
        await memory.store("milk", metadata={"user_id": "bob"})
        exported = await memory.export_audit_log(operation=SdkOperation.STORE, user_id="alice")
        assert len(exported) == 1
        assert exported[0]["user_id"] == "alice"

    async def test_repr(self, audit: AuditLogger) -> None:
        """Its text shows its trail and how much it holds."""
        await audit.log_event("STORE")
        assert repr(audit) == f"AuditLogger(name={audit.name!r}, events=1)"

    def test_always_true(self, audit: AuditLogger) -> None:
        """`if audit_logger:` is true for an empty logger as well."""
        assert audit


class TestStatistics:
    async def test_empty(self, audit: AuditLogger) -> None:
        """Without events nothing has failed, and every name is there at 0."""
        stats = audit.get_statistics()
        assert stats["total_events"] == 0
        assert stats["success_rate"] == 1.0
        assert stats["avg_duration_ms"] == 0.0
        assert stats["by_operation"] == {operation.value: 0 for operation in OperationType}
        assert stats["by_status"] == {"SUCCESS": 0, "FAILURE": 0, "PARTIAL": 0}
        assert stats["latency_ms"] == {}
        assert stats["failures"] == {}

    async def test_counts(self, audit: AuditLogger) -> None:
        """Events are counted by operation and status; PARTIAL is no success."""
        for status in ("SUCCESS", "SUCCESS", "FAILURE", "PARTIAL"):
            await audit.log_event("STORE", status=status)
        await audit.log_event("RECALL")
        stats = audit.get_statistics()
        assert stats["total_events"] == 5
        assert stats["success_rate"] == pytest.approx(3 / 5)
        assert stats["by_operation"]["STORE"] == 4
        assert stats["by_operation"]["RECALL"] == 1
        assert stats["by_status"] == {"SUCCESS": 3, "FAILURE": 1, "PARTIAL": 1}

    async def test_latency(self, audit: AuditLogger) -> None:
        """The average is exact, over the events that have a duration; quantiles are
        numbers that so many of 100 are not above."""
        for _ in range(90):
            await audit.log_event("STORE", duration_ms=2)
        for _ in range(9):
            await audit.log_event("STORE", duration_ms=40)
        await audit.log_event("STORE", duration_ms=4000)
        await audit.log_event("RECALL", duration_ms=0)
        await audit.log_event("FORGET")
        stats = audit.get_statistics()
        total = 90 * 2 + 9 * 40 + 4000
        assert stats["avg_duration_ms"] == pytest.approx(total / 101)
        store = stats["latency_ms"]["STORE"]
        assert store["count"] == 100
        assert store["avg"] == pytest.approx(total / 100)
        assert store["p50"] == pytest.approx(2, rel=0.01)
        assert store["p95"] == store["p99"] == pytest.approx(40, rel=0.01)
        assert stats["latency_ms"]["RECALL"]["count"] == 1
        assert "FORGET" not in stats["latency_ms"]

    async def test_quantile_beyond_the_last_bucket(self, audit: AuditLogger) -> None:
        """An operation that took hours is known to have, whatever the histogram's last bound."""
        await audit.log_event("COMPACT", duration_ms=1e8)
        latency = audit.get_statistics()["latency_ms"]["COMPACT"]
        assert latency["p50"] == latency["p99"] == 1e8

    async def test_memory(self, make_audit: Make) -> None:
        """Events that left memory without being in a file are counted, also by `clear`."""
        audit = make_audit(max_events=4)
        for _ in range(6):
            await audit.log_event("STORE")
        stats = audit.get_statistics()
        assert (stats["events_in_memory"], stats["max_events"]) == (4, 4)
        assert stats["evicted_events"] == 2
        await audit.clear()
        stats = audit.get_statistics()
        assert (stats["events_in_memory"], stats["evicted_events"]) == (0, 6)
        assert stats["total_events"] == 6

    async def test_files(self, make_audit: Make, tmp_path: Path) -> None:
        """An event in a file is not counted as lost when it leaves memory."""
        audit = make_audit(max_events=4, auto_export_path=tmp_path)
        for _ in range(9):
            await audit.log_event("STORE")
        stats = audit.get_statistics()
        assert (stats["exported_events"], stats["evicted_events"]) == (8, 0)
        await audit.clear()
        audit.close()
        stats = audit.get_statistics()
        assert (stats["exported_events"], stats["evicted_events"]) == (9, 0)

    async def test_is_a_copy(self, audit: AuditLogger) -> None:
        """Changing what was returned changes nothing."""
        audit.get_statistics()["by_operation"]["STORE"] = 99
        assert audit.get_statistics()["by_operation"]["STORE"] == 0


class TestUserStatistics:
    async def test_activity(self, audit: AuditLogger) -> None:
        """The statistics of one user hold nothing of the others."""
        first = await audit.log_event("STORE", user_id="alice", duration_ms=10)
        await audit.log_event("RECALL", user_id="alice", status="FAILURE", duration_ms=30)
        await audit.log_event("STORE", user_id="bob", status="FAILURE")
        await audit.log_event("FORGET")
        last = await audit.log_event("RECALL", user_id="alice")
        await audit.log_event("RECALL", user_id="alicia")
        assert audit.get_user_statistics("alice") == {
            "user_id": "alice",
            "total_operations": 3,
            "by_operation": {"RECALL": 2, "STORE": 1},
            "by_status": {"SUCCESS": 2, "FAILURE": 1},
            "success_rate": pytest.approx(2 / 3),
            "avg_duration_ms": 20.0,
            "first_activity": first.timestamp,
            "last_activity": last.timestamp,
            "most_common_operation": "RECALL",
        }

    async def test_unknown_user(self, audit: AuditLogger) -> None:
        """A user who did nothing has done nothing wrong."""
        await audit.log_event("STORE", user_id="alice")
        assert audit.get_user_statistics("nobody") == {
            "user_id": "nobody",
            "total_operations": 0,
            "by_operation": {},
            "by_status": {},
            "success_rate": 1.0,
            "avg_duration_ms": 0.0,
            "first_activity": None,
            "last_activity": None,
            "most_common_operation": None,
        }

    async def test_times_are_aware(self, audit: AuditLogger) -> None:
        """Times can be compared with aware ones, and are UTC."""
        await audit.log_event("STORE", user_id="alice")
        last = audit.get_user_statistics("alice")["last_activity"]
        assert last.utcoffset() == timedelta(0)

    async def test_nobody_is_not_everybody(self, audit: AuditLogger) -> None:
        """Asking for the statistics of None does not add up all users."""
        await audit.log_event("STORE", user_id="alice")
        await audit.log_event("STORE")
        try:
            total = audit.get_user_statistics(None)["total_operations"]  # type: ignore[arg-type]
        except InvalidEventError:
            return
        assert total == 1


class TestProviders:
    """Whatever OpenTelemetry is or is not set up, the trail has the event."""

    async def test_disabled_sdk(
        self, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """``OTEL_SDK_DISABLED=true`` switches OpenTelemetry off, not the audit trail."""
        monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
        audit = AuditLogger(registry=registry)
        event = await audit.log_event("STORE")
        assert audit.query_events() == [event]

    async def test_provider_that_was_shut_down(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """An application's shut down provider takes no events away."""
        logger_provider.shutdown()
        event = await audit.log_event("STORE")
        assert audit.query_events() == [event]

    async def test_processor_of_the_application_that_raises(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """Somebody else's broken processor neither reaches the caller nor costs an event."""

        class Broken(LogRecordProcessor):
            def on_emit(self, log_record: Any) -> None:
                raise RuntimeError("broken on purpose")

            def shutdown(self) -> None:
                pass

            def force_flush(self, timeout_millis: int = 30_000) -> bool:
                return True

        logger_provider.add_log_record_processor(Broken())
        event = await audit.log_event("STORE")
        assert audit.query_events() == [event]
        assert audit.get_statistics()["failures"] == {"emit": 1}

    async def test_provider_that_raises(self, registry: CollectorRegistry) -> None:
        """A provider raises before our processor is reached: the event is captured all the same."""

        class Broken(LoggerProvider):
            def get_logger(self, *args: Any, **kwargs: Any) -> Any:
                class Logger:
                    def emit(self, record: Any) -> None:
                        raise RuntimeError("broken on purpose")

                return Logger()

        audit = AuditLogger(registry=registry, logger_provider=Broken(shutdown_on_exit=False))
        event = await audit.log_event("STORE")
        assert audit.query_events() == [event]

    async def test_use(self, audit: AuditLogger, log_exporter: InMemoryLogRecordExporter) -> None:
        """`use` sends the records elsewhere from then on, and the trail goes on."""
        await audit.log_event("STORE")
        audit.use(LoggerProvider(shutdown_on_exit=False))
        await audit.log_event("RECALL")
        assert len(log_exporter.get_finished_logs()) == 1
        assert_chained(history(audit))
        assert audit.event_count == 2


async def test_threads(audit: AuditLogger) -> None:
    """Threads with loops of their own share one trail: no number twice, none missing, and
    the chain holds."""
    together = threading.Barrier(8)

    async def many(name: str) -> None:
        for number in range(100):
            await audit.log_event("STORE", user_id=name, metadata={"n": number})

    def thread(name: str) -> None:
        together.wait()
        asyncio.run(many(name))

    threads = [threading.Thread(target=thread, args=(f"t{n}",)) for n in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert_chained(history(audit))
    for number in range(8):
        mine = history(audit, user_id=f"t{number}")
        assert [event.metadata["n"] for event in mine] == list(range(100))
    assert audit.get_statistics()["total_events"] == 800
