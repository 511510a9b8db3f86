"""The log record processor: what it takes from others, and what it passes on."""

from __future__ import annotations

import gc
import json
from datetime import datetime, timezone
from typing import Any

import pytest
from conftest import Make, Run, assert_chained, history, only_event
from opentelemetry import baggage, context
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, AuditLogRecordProcessor, audit_context

EVENT = "axon.memory.audit"
GEN_AI = "gen_ai.operation.name"


def emit(provider: LoggerProvider, **fields: Any) -> None:
    """A record as another program's code emits it."""
    record = LogRecord(**{"event_name": EVENT, **fields})
    provider.get_logger("somebody.else").emit(record)


def shipped(exporter: InMemoryLogRecordExporter) -> list[Any]:
    """The records that reached the application's own exporter."""
    return [log.log_record for log in exporter.get_finished_logs()]


class TestRecordsOfOthers:
    def test_body_of_fields(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """A record whose body holds an event's fields becomes that event."""
        emit(
            logger_provider,
            timestamp=1_736_937_045_123_456_000,
            body={
                "event_id": "evt_theirs",
                "operation": "recall",
                "status": "partial",
                "user_id": "alice",
                "session_id": "s1",
                "subject_id": "bob",
                "entry_ids": ["e1", "e2"],
                "metadata": {"k": 5, "nested": {"x": [1]}},
                "duration_ms": 12.5,
                "error_message": "half of it",
                "error_type": "TimeoutError",
            },
        )
        event = only_event(audit)
        assert event.event_id == "evt_theirs"
        assert event.timestamp == datetime(2025, 1, 15, 10, 30, 45, 123456, tzinfo=timezone.utc)
        assert (event.operation.value, event.status.value) == ("RECALL", "PARTIAL")
        assert (event.user_id, event.session_id, event.subject_id) == ("alice", "s1", "bob")
        assert event.entry_ids == ["e1", "e2"]
        assert event.metadata == {"k": 5, "nested": {"x": [1]}}
        assert event.duration_ms == 12.5
        assert (event.error_message, event.error_type) == ("half of it", "TimeoutError")
        assert audit.query_events(user_id="alice", entry_ids="e2") == [event]

    @pytest.mark.parametrize("encode", [str, str.encode])
    async def test_body_of_json(
        self, audit: AuditLogger, logger_provider: LoggerProvider, make_audit: Make, encode: Any
    ) -> None:
        """A body may be JSON text: an event that was exported elsewhere can be sent again.
        Its place in the other trail does not count here."""
        elsewhere = make_audit(logger_provider=LoggerProvider(shutdown_on_exit=False))
        await elsewhere.log_event("STORE")
        sent = await elsewhere.log_event("FORGET", "alice", "s", ["e1"], {"k": [1]}, "failure")
        emit(
            logger_provider,
            timestamp=int(sent.timestamp.timestamp() * 1e6) * 1000,
            body=encode(sent.to_json().decode()),
        )
        event = only_event(audit)
        assert event.event_id == sent.event_id
        assert (event.sequence, event.previous_hash) == (1, None)
        for name in ("operation", "user_id", "session_id", "entry_ids", "metadata", "status"):
            assert getattr(event, name) == getattr(sent, name)

    def test_attributes_only(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """Without a body the attributes say it: ours, the audit draft's, OpenTelemetry's.
        Those that have no field become metadata."""
        emit(
            logger_provider,
            attributes={
                "axon.operation": "export",
                "axon.status": "failure",
                "user.id": "alice",
                "session.id": "s1",
                "axon.subject.id": "bob",
                "audit.target.id": "e1",
                "audit.record.id": "evt_x",
                "error.type": "PermissionError",
                "http.route": "/export",
                "retries": 3,
            },
        )
        event = only_event(audit)
        assert (event.operation.value, event.status.value) == ("EXPORT", "FAILURE")
        assert (event.user_id, event.session_id, event.subject_id) == ("alice", "s1", "bob")
        assert (event.entry_ids, event.event_id) == (["e1"], "evt_x")
        assert event.error_type == "PermissionError"
        assert event.metadata == {"http.route": "/export", "retries": 3}

    @pytest.mark.parametrize(
        ("attributes", "outcome"),
        [
            ({}, "PARTIAL"),
            ({"audit.outcome": "success"}, "SUCCESS"),
            ({"audit.outcome": "failure"}, "FAILURE"),
            ({"audit.outcome": "unknown"}, "PARTIAL"),
            ({"error.type": "ValueError"}, "FAILURE"),
            ({"axon.status": "PARTIAL", "error.type": "ValueError"}, "PARTIAL"),
            ({"audit.outcome": "Succeeded"}, "SUCCESS"),
            ({"axon.status": "OK"}, "SUCCESS"),
            ({"success": True}, "SUCCESS"),
            ({"success": False}, "FAILURE"),
            *(({"axon.status": word}, "FAILURE") for word in ("FAILED", "error", "Timed out")),
            *(({"audit.outcome": word}, "FAILURE") for word in ("DENIED", "TIMEOUT", "cancelled")),
            *(({"outcome": word}, "PARTIAL") for word in ("UNSET", "archived", "", 200)),
            ({"axon.status": "SUCCESS", "error.type": "ValueError"}, "FAILURE"),
            ({"axon.status": "mostly", "error.type": "ValueError"}, "FAILURE"),
            ({"exception.type": "ValueError"}, "FAILURE"),
            ({"exception.message": "down"}, "FAILURE"),
            ({"axon.status": "ok", "error": True}, "FAILURE"),
            ({"axon.status": "ok", "error": False}, "SUCCESS"),
            ({"axon.status": "ok", "error.message": "down"}, "FAILURE"),
            ({"axon.status": "ok", "success": False}, "FAILURE"),
            ({"axon.status": "ok", "audit.outcome": "unknown"}, "PARTIAL"),
            ({"axon.status": "ok", "event.outcome": "success"}, "SUCCESS"),
        ],
    )
    def test_outcome(
        self,
        audit: AuditLogger,
        logger_provider: LoggerProvider,
        attributes: dict[str, Any],
        outcome: str,
    ) -> None:
        """The outcome is read in our words, the audit draft's, or from an error."""
        emit(logger_provider, attributes={"audit.action": "STORE", **attributes})
        event = only_event(audit)
        assert (event.operation.value, event.status.value) == ("STORE", outcome)

    @pytest.mark.parametrize("place", ["a mapping", "text"])
    @pytest.mark.parametrize(
        ("fields", "outcome"),
        [
            ({"status": "FAILED"}, "FAILURE"),
            ({"status": "ok"}, "SUCCESS"),
            ({"status": "who knows"}, "PARTIAL"),
            ({"outcome": "denied"}, "FAILURE"),
            ({"success": False}, "FAILURE"),
            ({"error_type": "OSError"}, "FAILURE"),
            ({"error_message": "down"}, "FAILURE"),
            ({"status": "ok", "success": False}, "FAILURE"),
            ({"status": "ok", "success": True}, "SUCCESS"),
            ({"status": "ok", "outcome": "who knows"}, "PARTIAL"),
            ({"status": "ok", "error": "down"}, "FAILURE"),
            ({"status": "ok", "exception": {"type": "OSError"}}, "FAILURE"),
            ({"status": "ok", "error_type": None, "error_message": ""}, "SUCCESS"),
            ({}, "PARTIAL"),
        ],
    )
    def test_outcome_in_the_body(
        self,
        audit: AuditLogger,
        logger_provider: LoggerProvider,
        fields: dict[str, Any],
        outcome: str,
        place: str,
    ) -> None:
        """Words for an outcome count in a body too: SUCCESS only if it says so and nothing else."""
        body: Any = {"operation": "STORE", **fields}
        emit(logger_provider, body=body if place == "a mapping" else json.dumps(body))
        assert only_event(audit).status.value == outcome

    @pytest.mark.parametrize(
        ("severity", "stated", "outcome"),
        [
            ({"severity_number": SeverityNumber.ERROR}, {}, "FAILURE"),
            ({"severity_number": SeverityNumber.FATAL4}, {}, "FAILURE"),
            ({"severity_number": SeverityNumber.ERROR}, {"axon.status": "success"}, "FAILURE"),
            ({"severity_number": SeverityNumber.ERROR}, {"axon.status": "partial"}, "PARTIAL"),
            ({"severity_number": SeverityNumber.ERROR}, {"axon.status": "odd"}, "FAILURE"),
            ({"severity_text": "Critical"}, {}, "FAILURE"),
            ({"severity_number": SeverityNumber.WARN}, {}, "PARTIAL"),
            ({"severity_text": "warning"}, {}, "PARTIAL"),
            ({"severity_number": SeverityNumber.WARN}, {"axon.status": "success"}, "SUCCESS"),
            ({"severity_number": SeverityNumber.INFO}, {}, "PARTIAL"),
        ],
    )
    def test_severity(
        self,
        audit: AuditLogger,
        logger_provider: LoggerProvider,
        severity: dict[str, Any],
        stated: dict[str, Any],
        outcome: str,
    ) -> None:
        """A record of severity ERROR or FATAL is no SUCCESS, whatever it says besides."""
        emit(logger_provider, attributes={"audit.action": "STORE", **stated}, **severity)
        assert only_event(audit).status.value == outcome

    @pytest.mark.parametrize(
        ("fields", "operation", "name"),
        [
            ({"body": {"operation": "SUMMARIZE"}}, "SUMMARIZE", None),
            ({"attributes": {"axon.operation": "summarize"}}, "summarize", None),
            ({"attributes": {"audit.action": "memory.merge"}}, "memory.merge", None),
            ({"attributes": {"gen_ai.operation.name": "chat"}}, "chat", None),
            ({"body": {"gen_ai.operation.name": "chat"}}, "chat", None),
            ({"body": {"operation": "AUDIT"}}, "OTHER", "AUDIT"),
            (
                {"body": {"operation": "remember"}, "attributes": {GEN_AI: "create_memory"}},
                "STORE",
                "remember",
            ),
            ({"body": {"operation": "store"}}, "STORE", None),
            (
                {"body": {"operation": "MELT", "metadata": {"operation": "its own"}}},
                "MELT",
                "its own",
            ),
        ],
    )
    def test_its_own_name(
        self,
        audit: AuditLogger,
        logger_provider: LoggerProvider,
        fields: dict[str, Any],
        operation: str,
        name: str | None,
    ) -> None:
        """An operation that is none of ours keeps its name; what the sender calls it besides is a
        fact."""
        emit(logger_provider, **fields)
        event = only_event(audit)
        assert event.operation.value == operation
        given = fields.get("body", {}).get("metadata", {}).get("operation")
        assert event.metadata.get("operation") == (name or given)

    @pytest.mark.parametrize(
        ("fields", "entry_ids"),
        [
            ({"attributes": {"gen_ai.memory.record.id": "m1"}}, ["m1"]),
            ({"attributes": {"gen_ai.memory.record.id": ["m1", "m2"]}}, ["m1", "m2"]),
            (
                {"attributes": {"gen_ai.memory.record.id": "m1", "audit.target.id": "m1"}},
                ["m1"],
            ),
            ({"body": {"gen_ai.memory.record.id": "m1"}}, ["m1"]),
            (
                {
                    "body": {"entry_ids": ["e1"]},
                    "attributes": {"gen_ai.memory.record.id": ("m1",)},
                },
                ["e1", "m1"],
            ),
        ],
    )
    def test_record_ids_of_gen_ai(
        self,
        audit: AuditLogger,
        logger_provider: LoggerProvider,
        fields: dict[str, Any],
        entry_ids: list[str],
    ) -> None:
        """The GenAI conventions' record ids are the event's entries, one or many."""
        emit(logger_provider, **fields)
        event = only_event(audit)
        assert (event.entry_ids, event.metadata) == (entry_ids, {})
        assert audit.query_events(entry_ids=entry_ids[-1]) == [event]

    def test_audit_context(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """A record that names nobody is of who acts where it is emitted; one that does, is not."""
        with audit_context(user_id="alice", session_id="s1"):
            emit(logger_provider, body={"operation": "STORE"})
            emit(logger_provider, body={"operation": "STORE", "user_id": "bob"})
            emit(logger_provider, attributes={"user.id": "bob", "session.id": "s2"})
            emit(logger_provider, body={"operation": "STORE", "user_id": "", "session_id": " "})
        emit(logger_provider, body={"operation": "STORE"})
        assert [(e.user_id, e.session_id) for e in history(audit)] == [
            ("alice", "s1"),
            ("bob", "s1"),
            ("bob", "s2"),
            ("alice", "s1"),
            (None, None),
        ]

    def test_draft_attributes(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """The audit draft's actor and action are understood."""
        attributes = {"audit.actor.id": "alice", "audit.action": "forget"}
        emit(logger_provider, attributes=attributes)
        event = only_event(audit)
        assert (event.user_id, event.operation.value) == ("alice", "FORGET")

    @pytest.mark.parametrize(
        ("name", "operation"),
        [
            ("create_memory", "STORE"),
            ("update_memory", "STORE"),
            ("upsert_memory", "STORE"),
            ("search_memory", "RECALL"),
            ("delete_memory", "FORGET"),
            ("chat", "chat"),
        ],
    )
    def test_gen_ai_names(
        self, audit: AuditLogger, logger_provider: LoggerProvider, name: str, operation: str
    ) -> None:
        """The GenAI conventions' operation names are understood, where ours is missing."""
        emit(logger_provider, attributes={"gen_ai.operation.name": name})
        assert only_event(audit).operation.value == operation
        emit(
            logger_provider, body={"operation": "SYNC"}, attributes={"gen_ai.operation.name": name}
        )
        assert audit.query_events(limit=1)[0].operation.value == "SYNC"

    @pytest.mark.parametrize(
        "fields",
        [
            *({}, {"body": "plain words"}, {"body": {"operation": " "}}),
            *({"body": {"user_id": "u"}}, {"body": {"operation": "AUDIT"}}),
        ],
    )
    def test_no_operation(
        self, audit: AuditLogger, logger_provider: LoggerProvider, fields: dict[str, Any]
    ) -> None:
        """A record that names no operation, or that of the trail itself, is an OTHER, and is not
        lost."""
        emit(logger_provider, **fields)
        assert only_event(audit).operation.value == "OTHER"
        assert audit.get_statistics()["by_operation"]["OTHER"] == 1

    @pytest.mark.parametrize(
        ("body", "shown"), [("plain words", "plain words"), ("[1, 2]", "1"), ("42", "42")]
    )
    def test_body_of_words(
        self, audit: AuditLogger, logger_provider: LoggerProvider, body: str, shown: str
    ) -> None:
        """A body that is no event is kept in the metadata."""
        emit(logger_provider, body=body)
        assert shown in json.dumps(only_event(audit).metadata)

    def test_fields_of_a_body_that_are_not_ours(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """Facts of a body beyond an event's fields are kept in the metadata."""
        emit(logger_provider, body={"operation": "STORE", "region": "eu", "metadata": {"k": 1}})
        assert only_event(audit).metadata == {"k": 1, "region": "eu"}

    def test_trace(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """The record's trace is the event's."""
        span = SpanContext(0xABC, 0xDEF, is_remote=True, trace_flags=TraceFlags(1))
        emit(
            logger_provider,
            context=set_span_in_context(NonRecordingSpan(span)),
            body={"operation": "STORE"},
        )
        event = only_event(audit)
        assert (event.trace_id, event.span_id) == (f"{0xABC:032x}", f"{0xDEF:016x}")
        assert event.trace_flags == "01"

    def test_time(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """Without a time of its own, a record happened when it was observed, or now."""
        emit(logger_provider, observed_timestamp=1_736_937_045_000_000_000)
        before = datetime.now(timezone.utc)
        emit(logger_provider)
        observed, now = history(audit)
        assert observed.timestamp == datetime(2025, 1, 15, 10, 30, 45, tzinfo=timezone.utc)
        assert before <= now.timestamp <= datetime.now(timezone.utc)

    async def test_joins_the_chain(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """Events of others and our own are one sequence, one chain and one count."""
        await audit.log_event("STORE")
        emit(logger_provider, body={"operation": "RECALL", "duration_ms": 5})
        await audit.log_event("STORE")
        assert_chained(history(audit))
        stats = audit.get_statistics()
        assert (stats["total_events"], stats["by_operation"]["RECALL"]) == (3, 1)
        assert stats["latency_ms"]["RECALL"]["count"] == 1

    def test_body_stays_the_senders(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """The sender's body is not changed."""
        body = {"operation": "STORE", "metadata": {"mail": "bob@example.com"}, "entry_ids": ["e"]}
        before = json.dumps(body)
        emit(logger_provider, body=body)
        assert json.dumps(body) == before

    @pytest.mark.parametrize("name", [None, "", "axon.memory", "axon.memory.audit.x", "AXON"])
    def test_other_event_names(
        self,
        audit: AuditLogger,
        logger_provider: LoggerProvider,
        log_exporter: InMemoryLogRecordExporter,
        name: str | None,
    ) -> None:
        """Records of other names are none of ours, and pass unchanged."""
        emit(logger_provider, event_name=name, body={"operation": "STORE"}, attributes={"k": 1})
        assert audit.event_count == 0
        (record,) = shipped(log_exporter)
        assert (record.body, dict(record.attributes)) == ({"operation": "STORE"}, {"k": 1})


class TestDownstream:
    """The form of our own records for processors after ours, and so for every exporter."""

    async def test_success(
        self, audit: AuditLogger, log_exporter: InMemoryLogRecordExporter
    ) -> None:
        """The body is the event's canonical JSON; the attributes say who, what and where in
        the chain, with exact names and types."""
        event = await audit.log_event("STORE", "alice", "s1", ["e1"], {"k": 1}, duration_ms=5)
        (record,) = shipped(log_exporter)
        assert record.body == event.to_json().decode()
        assert record.event_name == EVENT
        assert record.severity_number is SeverityNumber.INFO
        assert record.severity_text == "INFO"
        assert record.timestamp <= record.observed_timestamp
        assert record.timestamp // 1000 == round(event.timestamp.timestamp() * 1e6)
        attributes = dict(record.attributes)
        assert attributes == {
            "log.record.uid": event.event_id,
            "axon.audit.trail": audit.name,
            "axon.operation": "STORE",
            "axon.status": "SUCCESS",
            "audit.record.id": event.event_id,
            "audit.action": "STORE",
            "audit.outcome": "success",
            "audit.actor.type": "user",
            "audit.actor.id": "alice",
            "user.id": "alice",
            "session.id": "s1",
            "audit.target.id": "e1",
            "axon.duration_ms": 5.0,
            "axon.audit.hash": event.hash,
            "audit.sequence.number": 1,
            "audit.sequence.stream_id": event.hash[:16],
        }
        assert {name: type(value) for name, value in attributes.items()} == {
            **dict.fromkeys(attributes, str),
            "audit.sequence.number": int,
            "axon.duration_ms": float,
        }

    async def test_chain(self, audit: AuditLogger, log_exporter: InMemoryLogRecordExporter) -> None:
        """Number and previous hash of the record are those of the event."""
        for _ in range(3):
            await audit.log_event("STORE")
        events, records = history(audit), shipped(log_exporter)
        assert [r.attributes["audit.sequence.number"] for r in records] == [1, 2, 3]
        assert "audit.sequence.previous_hash" not in records[0].attributes
        for event, record in zip(events[:-1], records[1:], strict=True):
            assert record.attributes["audit.sequence.previous_hash"] == event.hash
        assert [r.body for r in records] == [event.to_json().decode() for event in events]

    @pytest.mark.parametrize(
        ("status", "outcome", "severity", "text"),
        [
            ("FAILURE", "failure", SeverityNumber.ERROR, "ERROR"),
            ("PARTIAL", "unknown", SeverityNumber.WARN, "WARN"),
        ],
    )
    async def test_failure(
        self,
        audit: AuditLogger,
        log_exporter: InMemoryLogRecordExporter,
        status: str,
        outcome: str,
        severity: SeverityNumber,
        text: str,
    ) -> None:
        """The outcome is in the record's severity and attributes; nobody is the system."""
        await audit.log_event(
            "FORGET",
            entry_ids=["e1", "e2"],
            status=status,
            error_type="KeyError",
            subject_id="bob",
        )
        (record,) = shipped(log_exporter)
        assert (record.severity_number, record.severity_text) == (severity, text)
        attributes = record.attributes
        assert attributes["audit.outcome"] == outcome
        assert attributes["axon.status"] == status
        assert attributes["error.type"] == "KeyError"
        assert attributes["audit.actor.type"] == "system"
        assert attributes["axon.subject.id"] == "bob"
        assert {"user.id", "session.id", "audit.actor.id", "audit.target.id"}.isdisjoint(attributes)

    async def test_trace(
        self,
        audit: AuditLogger,
        log_exporter: InMemoryLogRecordExporter,
        tracer_provider: TracerProvider,
    ) -> None:
        """The record belongs to the span that was current, as the event does."""
        with tracer_provider.get_tracer("test").start_as_current_span("work") as span:
            event = await audit.log_event("STORE")
        (record,) = shipped(log_exporter)
        assert event.trace_flags == f"{record.trace_flags:02x}"
        assert record.trace_id == span.get_span_context().trace_id
        assert record.span_id == span.get_span_context().span_id

    async def test_ours_comes_first(self, make_audit: Make) -> None:
        """Also an exporter that was added before the logger was made sees what was recorded."""
        provider, early, late = LoggerProvider(shutdown_on_exit=False), *_exporters(2)
        provider.add_log_record_processor(SimpleLogRecordProcessor(early))
        audit = make_audit(logger_provider=provider)
        provider.add_log_record_processor(SimpleLogRecordProcessor(late))
        event = await audit.log_event("STORE")
        for exporter in (early, late):
            assert [r.body for r in shipped(exporter)] == [event.to_json().decode()]

    async def test_can_be_exported(
        self, audit: AuditLogger, log_exporter: InMemoryLogRecordExporter
    ) -> None:
        """The record is made of types that every exporter knows."""
        await audit.log_event("STORE", metadata={"deep": {"x": [None, 1.5]}})
        (log,) = log_exporter.get_finished_logs()
        assert json.loads(json.loads(log.to_json())["body"])["metadata"] == {
            "deep": {"x": [None, 1.5]}
        }

    @pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
    @pytest.mark.parametrize("count", [0, 1, 5])
    async def test_attribute_limits(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        """Limits on attributes change neither the event nor the record's body."""
        for of in ("", "LOGRECORD_"):  # the first for OpenTelemetry before 1.44
            monkeypatch.setenv(f"OTEL_{of}ATTRIBUTE_COUNT_LIMIT", str(count))
            monkeypatch.setenv(f"OTEL_{of}ATTRIBUTE_VALUE_LENGTH_LIMIT", "2")
        provider, exporter = LoggerProvider(shutdown_on_exit=False), *_exporters(1)
        provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
        audit = make_audit(logger_provider=provider)
        await audit.log_event("STORE", "alice", "s1", ["entry"], {"key": "long value"})
        event = only_event(audit)
        assert (event.user_id, event.entry_ids) == ("alice", ["entry"])
        assert event.metadata == {"key": "long value"}
        (record,) = shipped(exporter)
        assert record.body == event.to_json().decode()
        assert len(record.attributes) <= count


def _exporters(number: int) -> list[InMemoryLogRecordExporter]:
    return [InMemoryLogRecordExporter() for _ in range(number)]


class TestTwoTrails:
    async def test_never_mix(
        self,
        make_audit: Make,
        logger_provider: LoggerProvider,
        log_exporter: InMemoryLogRecordExporter,
    ) -> None:
        """Two trails on one provider each hold their own events, numbered by themselves."""
        one, two = make_audit(name="one"), make_audit(name="two")
        for number in range(3):
            await one.log_event("STORE", user_id=f"one{number}")
            await two.log_event("RECALL", user_id=f"two{number}")
        assert [event.user_id for event in history(one)] == ["one0", "one1", "one2"]
        assert [event.user_id for event in history(two)] == ["two0", "two1", "two2"]
        assert_chained(history(one))
        assert_chained(history(two))
        trails = [record.attributes["axon.audit.trail"] for record in shipped(log_exporter)]
        assert trails == ["one", "two"] * 3

    @pytest.mark.filterwarnings("ignore:Log record attributes were dropped")
    @pytest.mark.parametrize(("count", "length"), [(1, 100), (3, 100), (100, 1)])
    async def test_never_mix_under_limits(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, count: int, length: int
    ) -> None:
        """Limits that drop or cut the attribute with the trail's name do not mix them."""
        monkeypatch.setenv("OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", str(count))
        monkeypatch.setenv("OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", str(length))
        provider = LoggerProvider(shutdown_on_exit=False)
        one = make_audit(name="a", logger_provider=provider)
        two = make_audit(name="ab", logger_provider=provider)
        await one.log_event("STORE", user_id="one")
        await two.log_event("STORE", user_id="two")
        assert [event.user_id for event in history(one)] == ["one"]
        assert [event.user_id for event in history(two)] == ["two"]

    def test_record_for_all(self, make_audit: Make, logger_provider: LoggerProvider) -> None:
        """A record that names no trail is captured by every trail that sees it, once each."""
        trails = [make_audit(name=name) for name in ("one", "two")]
        emit(logger_provider, body={"operation": "STORE", "user_id": "u"})
        assert [only_event(audit).user_id for audit in trails] == ["u", "u"]

    def test_record_for_one(self, make_audit: Make, logger_provider: LoggerProvider) -> None:
        """A record that names a trail is captured by that one."""
        one, two = make_audit(name="one"), make_audit(name="two")
        emit(logger_provider, attributes={"axon.audit.trail": "two"})
        assert (one.event_count, two.event_count) == (0, 1)

    async def test_same_name(self, make_audit: Make) -> None:
        """A second trail of the same name gets another one: their series never mix."""
        one, two = make_audit(name="same"), make_audit(name="same")
        await one.log_event("STORE")
        assert one.name != two.name
        assert two.name.startswith("same")
        assert (one.event_count, two.event_count) == (1, 0)
        assert two.get_statistics()["total_events"] == 0


class TestByHand:
    async def test_second_provider(self, audit: AuditLogger) -> None:
        """A processor added by hand brings the records of another provider into the trail."""
        other = LoggerProvider(shutdown_on_exit=False)
        other.add_log_record_processor(AuditLogRecordProcessor(audit))
        emit(other, body={"operation": "EXPORT", "user_id": "theirs"})
        await audit.log_event("STORE", user_id="ours")
        assert [event.user_id for event in history(audit)] == ["theirs", "ours"]
        assert_chained(history(audit))

    async def test_twice_on_one_provider(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """Added needlessly to the logger's own provider, nothing is recorded twice."""
        logger_provider.add_log_record_processor(AuditLogRecordProcessor(audit))
        await audit.log_event("STORE")
        emit(logger_provider, body={"operation": "RECALL"})
        assert [event.operation.value for event in history(audit)] == ["STORE", "RECALL"]
        assert audit.get_statistics()["total_events"] == 2

    async def test_two_trails_of_one_processor_each(self, make_audit: Make) -> None:
        """One provider may feed two trails by hand; both take what names no trail."""
        provider = LoggerProvider(shutdown_on_exit=False)
        trails = [make_audit(name=name) for name in ("one", "two")]
        for audit in trails:
            provider.add_log_record_processor(AuditLogRecordProcessor(audit))
        emit(provider, body={"operation": "STORE"})
        assert [audit.event_count for audit in trails] == [1, 1]

    async def test_flush_and_shutdown(
        self, make_audit: Make, logger_provider: LoggerProvider, tmp_path: Any
    ) -> None:
        """Flushing is done when it is called; shutting the provider down seals the journal."""
        audit = make_audit(auto_export_path=tmp_path)
        await audit.log_event("STORE")
        assert logger_provider.force_flush()
        assert list(tmp_path.glob("audit_*.json")) == []
        logger_provider.shutdown()
        assert len(list(tmp_path.glob("audit_*.json"))) == 1

    def test_never_raises(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """Nothing in a record can make the processor raise into the sender's code."""

        class Hostile(dict[str, Any]):
            def __iter__(self) -> Any:
                raise RuntimeError("hostile on purpose")

            items = keys = values = get = __getitem__ = __iter__  # type: ignore[assignment]

        emit(logger_provider, body=Hostile(operation="STORE"))
        emit(logger_provider, body={"operation": "STORE", "metadata": Hostile(k=1)})
        stats = audit.get_statistics()
        assert stats["total_events"] + stats["failures"].get("record", 0) == 2


class TestLifetime:
    async def test_forgotten_logger_leaves_the_provider(
        self, logger_provider: LoggerProvider, log_exporter: InMemoryLogRecordExporter
    ) -> None:
        """A logger that is gone takes its processor along: the provider's others go on."""
        audit = AuditLogger(registry=CollectorRegistry(), logger_provider=logger_provider)
        await audit.log_event("STORE")
        del audit
        gc.collect()
        emit(logger_provider, body={"operation": "STORE"})
        first, second = shipped(log_exporter)
        assert "audit.sequence.number" in first.attributes
        assert not second.attributes
        assert second.body == {"operation": "STORE"}

    async def test_identity_of_a_record_of_ours(self, make_audit: Make) -> None:
        """Identity from context and baggage is in the record as in the event."""
        audit = make_audit(baggage_identity=True)
        token = context.attach(baggage.set_baggage("session.id", "carried"))
        try:
            with audit_context(user_id="alice"):
                event = await audit.log_event("STORE")
        finally:
            context.detach(token)
        assert (event.user_id, event.session_id) == ("alice", "carried")


class TestGlobalProvider:
    """Providers are global to a process: each test has one of its own."""

    def test_set_after_the_logger_was_made(self, run_script: Run) -> None:
        """A logger made before the application sets its provider joins that one later, and
        its sequence goes on."""
        printed = run_script(
            """
            import asyncio
            from opentelemetry._logs import set_logger_provider
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk._logs.export import (
                InMemoryLogRecordExporter, SimpleLogRecordProcessor)
            from axon_audit_otel import AuditLogger
            audit = AuditLogger()
            asyncio.run(audit.log_event("STORE", user_id="before"))
            exporter = InMemoryLogRecordExporter()
            provider = LoggerProvider()
            provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
            set_logger_provider(provider)
            asyncio.run(audit.log_event("STORE", user_id="after"))
            records = [log.log_record for log in exporter.get_finished_logs()]
            print([r.attributes["user.id"] for r in records])
            print([r.attributes["audit.sequence.number"] for r in records])
            print([e.user_id for e in audit.query_events()])
            print(records[0].body == audit.query_events()[0].to_json().decode())
            """
        )
        assert printed.splitlines() == ["['after']", "[2]", "['after', 'before']", "True"]

    def test_none_ever_set(self, run_script: Run) -> None:
        """Without any OpenTelemetry set-up the trail works, and the global provider is not
        ours: an application can still set its own."""
        printed = run_script(
            """
            import asyncio
            from opentelemetry import _logs
            from opentelemetry.sdk._logs import LoggerProvider
            from axon_audit_otel import AuditLogger
            audit = AuditLogger()
            asyncio.run(audit.log_event("STORE"))
            print(audit.event_count, isinstance(_logs.get_logger_provider(), LoggerProvider))
            """
        )
        assert printed.split() == ["1", "False"]

    def test_sdk_disabled(self, run_script: Run) -> None:
        """`OTEL_SDK_DISABLED=true` with an application's own provider: nothing is exported,
        everything is recorded."""
        printed = run_script(
            """
            import asyncio
            from opentelemetry._logs import set_logger_provider
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk._logs.export import (
                InMemoryLogRecordExporter, SimpleLogRecordProcessor)
            from axon_audit_otel import AuditLogger
            exporter = InMemoryLogRecordExporter()
            provider = LoggerProvider()
            provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
            set_logger_provider(provider)
            audit = AuditLogger()
            asyncio.run(audit.log_event("STORE"))
            print(audit.event_count, len(exporter.get_finished_logs()))
            """,
            OTEL_SDK_DISABLED="true",
        )
        assert printed.split() == ["1", "0"]


async def test_span_and_record_of_an_operation(
    instrumented: Any,
    memory: Any,
    audit: AuditLogger,
    span_exporter: InMemorySpanExporter,
    log_exporter: InMemoryLogRecordExporter,
) -> None:
    """An instrumented operation's record belongs to its span, and says what its event says."""
    await memory.store("tea", user_id="alice")
    (span,) = span_exporter.get_finished_spans()
    (record,) = shipped(log_exporter)
    event = only_event(audit)
    assert record.body == event.to_json().decode()
    assert span.context is not None
    assert (record.trace_id, record.span_id) == (span.context.trace_id, span.context.span_id)
    assert event.trace_id == f"{span.context.trace_id:032x}"


def test_is_a_processor(audit: AuditLogger) -> None:
    """It is a `LogRecordProcessor` of the SDK, for whoever adds it by hand."""
    assert isinstance(AuditLogRecordProcessor(audit), LogRecordProcessor)


def test_an_id_twice(audit: AuditLogger, logger_provider: LoggerProvider) -> None:
    """Of two records from elsewhere with one id the second gets an id of its own."""
    record = {"event_id": "evt-1", "operation": "STORE"}
    for _ in range(2):
        logger_provider.get_logger("x").emit(
            LogRecord(event_name="axon.memory.audit", timestamp=1, body=record)
        )
    first, second = sorted(history(audit), key=lambda event: event.sequence or 0)
    assert first.event_id == "evt-1"
    assert second.event_id != "evt-1"
    assert second.metadata["given_event_id"] == "evt-1"
