"""Exported spans, log records and metrics have their exact names, values and types."""

from __future__ import annotations

import json
from typing import Any

import pytest
from axon import Filter, MemorySystem
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, history, only_event
from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

import axon_audit_otel
from axon_audit_otel import AuditLogger, AxonInstrumentor, audit_context


@pytest.fixture(name="meter")
def _meter() -> InMemoryMetricReader:
    return InMemoryMetricReader()


@pytest.fixture(autouse=True)
def _instrument(
    audit: AuditLogger, tracer_provider: TracerProvider, meter: InMemoryMetricReader
) -> None:
    AxonInstrumentor().instrument(
        audit_logger=audit,
        tracer_provider=tracer_provider,
        meter_provider=MeterProvider([meter], shutdown_on_exit=False),
    )


@pytest.fixture(name="memory")
def _memory(make_system: MakeSystem) -> MemorySystem:
    return make_system(session=ListingAdapter())


def only_span(exporter: InMemorySpanExporter) -> ReadableSpan:
    spans = exporter.get_finished_spans()
    assert len(spans) == 1, [span.name for span in spans]
    return spans[0]


def exactly(actual: Any, expected: dict[str, Any]) -> None:
    """Equal, and of the same types (True is not 1, and 1 is not 1.0)."""
    assert dict(actual) == expected
    types = {name: type(value) for name, value in expected.items()}
    assert {name: type(value) for name, value in actual.items()} == types


def said(span: ReadableSpan) -> dict[str, Any]:
    """Its attributes, but for the mark of an exemplar, which as the first of its kind it has."""
    attributes = dict(span.attributes or {})
    assert attributes.pop("axon.exemplar") is True
    return attributes


class TestSpans:
    async def test_store(self, memory: MemorySystem, span_exporter: InMemorySpanExporter) -> None:
        """A store is a `create_memory` span, named by the GenAI conventions."""
        entry_id = await memory.store(
            "mail ada@example.org", importance=0.8, tier="session", user_id="ada", session_id="s1"
        )
        span = only_span(span_exporter)
        assert span.name == "create_memory"
        assert span.kind is SpanKind.INTERNAL
        assert span.status.status_code is StatusCode.UNSET
        assert span.status.description is None
        assert span.events == ()
        exactly(
            said(span),
            {
                "axon.operation": "STORE",
                "axon.system": "axon",
                "axon.status": "SUCCESS",
                "gen_ai.operation.name": "create_memory",
                "gen_ai.memory.record.id": entry_id,
                "gen_ai.memory.record.count": 1,
                "user.id": "ada",
                "session.id": "s1",
                "axon.tier": "session",
                "axon.entry.importance": 0.8,
                "axon.entry.privacy_level": "internal",
                "axon.pii.detected": True,
                "axon.pii.types": ("email",),
            },
        )

    async def test_scope(self, memory: MemorySystem, span_exporter: InMemorySpanExporter) -> None:
        """The instrumentation scope is this package in its version."""
        await memory.store("tea")
        scope = only_span(span_exporter).instrumentation_scope
        assert scope is not None
        assert scope.name == "axon_audit_otel"
        assert scope.version == axon_audit_otel.__version__

    async def test_recall(self, memory: MemorySystem, span_exporter: InMemorySpanExporter) -> None:
        """A recall is `search_memory`: how many were returned, never a record id."""
        await memory.store("tea")
        span_exporter.clear()
        await memory.recall("tea", k=3, filter=Filter(), min_importance=0.2, tiers=["session"])
        span = only_span(span_exporter)
        assert span.name == "search_memory"
        exactly(
            said(span),
            {
                "axon.operation": "RECALL",
                "axon.system": "axon",
                "axon.status": "SUCCESS",
                "gen_ai.operation.name": "search_memory",
                "gen_ai.memory.record.count": 1,
                "axon.recall.k": 3,
                "axon.tiers": ("session",),
                "axon.recall.min_importance": 0.2,
                "axon.filter.present": True,
            },
        )

    async def test_forget(self, memory: MemorySystem, span_exporter: InMemorySpanExporter) -> None:
        """A forget is `delete_memory`."""
        entry_id = await memory.store("tea")
        span_exporter.clear()
        await memory.forget(entry_id)
        span = only_span(span_exporter)
        assert span.name == "delete_memory"
        exactly(
            said(span),
            {
                "axon.operation": "FORGET",
                "axon.system": "axon",
                "axon.status": "SUCCESS",
                "gen_ai.operation.name": "delete_memory",
                "gen_ai.memory.record.id": entry_id,
                "gen_ai.memory.record.count": 1,
                "axon.filter.present": False,
                "axon.forget.deleted": 1,
                "axon.forget.remaining": 0,
            },
        )

    async def test_export(self, memory: MemorySystem, span_exporter: InMemorySpanExporter) -> None:
        """The conventions have no name for an export: no `gen_ai.*` on it."""
        await memory.export()
        span = only_span(span_exporter)
        assert span.name == "axon.export"
        exactly(
            said(span),
            {
                "axon.operation": "EXPORT",
                "axon.system": "axon",
                "axon.status": "SUCCESS",
                "axon.tier": "all",
                "axon.filter.present": False,
                "axon.export.entries": 0,
                "axon.export.include_embeddings": True,
            },
        )

    @pytest.mark.parametrize(
        ("overwrite", "name"), [(False, "create_memory"), (True, "upsert_memory")]
    )
    async def test_import(
        self,
        memory: MemorySystem,
        span_exporter: InMemorySpanExporter,
        overwrite: bool,
        name: str,
    ) -> None:
        """An import creates, or upserts when it may overwrite; it counts what was attempted."""
        dated = {"created_at": "2025-01-15T10:30:45"}
        entries = [{"id": key, "text": "tea", "metadata": dated} for key in "abc"]
        entries[2]["metadata"] = {}
        await memory.import_from({"version": "1.0", "entries": entries}, overwrite)
        span = only_span(span_exporter)
        assert span.name == name
        assert span.status.status_code is StatusCode.UNSET
        exactly(
            said(span),
            {
                "axon.operation": "IMPORT",
                "axon.system": "axon",
                "axon.status": "PARTIAL",
                "gen_ai.operation.name": name,
                "gen_ai.memory.record.count": 3,
                "axon.import.overwrite": overwrite,
                "axon.import.imported": 2,
                "axon.import.skipped": 0,
                "axon.import.errors": 1,
            },
        )

    async def test_import_of_one_of_two(
        self, memory: MemorySystem, span_exporter: InMemorySpanExporter
    ) -> None:
        """`gen_ai.memory.record.id` is for operations about one record, not one success."""
        dated = {"created_at": "2025-01-15T10:30:45"}
        good, bad = ({"id": key, "text": "tea", "metadata": dated} for key in "ab")
        bad["metadata"] = {}
        await memory.import_from({"version": "1.0", "entries": [good, bad]})
        attributes = only_span(span_exporter).attributes
        assert attributes is not None
        assert attributes["gen_ai.memory.record.count"] == 2
        assert "gen_ai.memory.record.id" not in attributes

    async def test_sync(self, memory: MemorySystem, span_exporter: InMemorySpanExporter) -> None:
        """A sync within one system is `axon.sync`."""
        await memory.sync("session", "persistent")
        span = only_span(span_exporter)
        assert span.name == "axon.sync"
        exactly(
            said(span),
            {
                "axon.operation": "SYNC",
                "axon.system": "axon",
                "axon.status": "SUCCESS",
                "axon.sync.source_tier": "session",
                "axon.sync.target_tier": "persistent",
                "axon.sync.conflict_resolution": "newer",
                "axon.sync.delete_source": False,
                "axon.sync.synced": 0,
                "axon.sync.skipped": 0,
                "axon.sync.deleted": 0,
                "axon.sync.conflicts": 0,
            },
        )

    async def test_compact(self, memory: MemorySystem, span_exporter: InMemorySpanExporter) -> None:
        """A compaction is `axon.compact`."""
        await memory.compact(dry_run=True)
        span = only_span(span_exporter)
        assert span.name == "axon.compact"
        exactly(
            said(span),
            {
                "axon.operation": "COMPACT",
                "axon.system": "axon",
                "axon.status": "SUCCESS",
                "axon.tier": "all",
                "axon.compact.strategy": "count",
                "axon.compact.dry_run": True,
                "axon.compact.entries_before": 0,
                "axon.compact.entries_after": 0,
                "axon.compact.summaries_created": 0,
                "axon.compact.groups": 0,
            },
        )

    async def test_transaction(
        self, memory: MemorySystem, span_exporter: InMemorySpanExporter
    ) -> None:
        """A transaction is `axon.transaction`."""
        async with memory.transaction() as transaction_id:
            pass
        span = only_span(span_exporter)
        assert span.name == "axon.transaction"
        exactly(
            said(span),
            {
                "axon.operation": "TRANSACTION",
                "axon.system": "axon",
                "axon.status": "SUCCESS",
                "axon.transaction.id": transaction_id,
                "axon.transaction.isolation_level": "read_committed",
                "axon.transaction.outcome": "committed",
            },
        )

    async def test_error(self, memory: MemorySystem, span_exporter: InMemorySpanExporter) -> None:
        """A failure has the error's type and nothing of its words, and no exception event."""
        with pytest.raises(ValueError, match="nowhere"):
            await memory.store("tea", tier="nowhere")
        span = only_span(span_exporter)
        assert span.status.status_code is StatusCode.ERROR
        assert span.status.description is None
        assert span.events == ()
        assert span.attributes is not None
        assert span.attributes["error.type"] == "ValueError"
        assert span.attributes["axon.status"] == "FAILURE"
        assert "valid tiers" not in span.to_json().lower()

    async def test_exception_of_a_library(
        self, make_system: MakeSystem, span_exporter: InMemorySpanExporter
    ) -> None:
        """`error.type` is the qualified name; built-in exceptions stand bare."""

        class RefusedError(Exception):
            pass

        memory = make_system(persistent=FaultyAdapter(save=RefusedError("secret")))
        with pytest.raises(RefusedError):
            await memory.store("tea")
        span = only_span(span_exporter)
        assert span.attributes is not None
        assert span.attributes["error.type"] == f"{__name__}.{RefusedError.__qualname__}"
        assert "secret" not in span.to_json()

    async def test_parents_and_children(
        self,
        make_system: MakeSystem,
        tracer_provider: TracerProvider,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """The span is a child of the caller's, and the parent of what the SDK's work traces."""
        tracer = tracer_provider.get_tracer("app")

        class Traced(ListingAdapter):
            async def save(self, entry: Any) -> str:
                with tracer.start_as_current_span("redis"):
                    return await super().save(entry)

        memory = make_system(persistent=Traced())
        with tracer.start_as_current_span("request") as request:
            await memory.store("tea")
            assert trace.get_current_span() is request
        inner, store, _ = span_exporter.get_finished_spans()
        assert inner.parent == store.context
        assert store.parent == request.get_span_context()

    async def test_transaction_is_no_parent(
        self, memory: MemorySystem, span_exporter: InMemorySpanExporter
    ) -> None:
        """Operations in a transaction's block are recorded separately, beside its span."""
        async with memory.transaction():
            await memory.store("tea")
        store, transaction = span_exporter.get_finished_spans()
        assert (store.name, transaction.name) == ("create_memory", "axon.transaction")
        assert store.parent is None

    async def test_content_is_opt_in(
        self,
        make_audit: Make,
        make_system: MakeSystem,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """With `capture_content` texts, queries and messages are on the span, redacted."""
        audit = make_audit(capture_content=True)
        memory = make_system(audit_logger=audit)
        entry_id = await memory.store("tea for ada@example.org")
        await memory.recall("tea for ada@example.org")
        with pytest.raises(ValueError, match="nowhere"):
            await memory.store("tea", tier="nowhere")
        store, recall, failed = span_exporter.get_finished_spans()
        assert store.attributes is not None
        assert recall.attributes is not None
        records = recall.attributes["gen_ai.memory.records"]
        assert isinstance(records, str)
        assert json.loads(records) == [{"id": entry_id, "content": "tea for [REDACTED:email]"}]
        assert recall.attributes["gen_ai.memory.query.text"] == "tea for [REDACTED:email]"
        stored = store.attributes["gen_ai.memory.records"]
        assert isinstance(stored, str)
        assert [item["content"] for item in json.loads(stored)] == ["tea for [REDACTED:email]"]
        assert failed.status.description is not None
        assert "nowhere" in failed.status.description


class TestRecords:
    async def test_success(
        self,
        memory: MemorySystem,
        audit: AuditLogger,
        log_exporter: InMemoryLogRecordExporter,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """One record: named, of the span, its body the event's canonical JSON."""
        with audit_context(user_id="ada", session_id="s1"):
            entry_id = await memory.store("tea", {"user_id": "owner"})

        event = only_event(audit)
        (found,) = log_exporter.get_finished_logs()
        record = found.log_record
        span = only_span(span_exporter)
        assert span.context is not None
        assert record.event_name == "axon.memory.audit"
        assert record.severity_number is SeverityNumber.INFO
        assert record.severity_text == "INFO"
        assert record.trace_id == span.context.trace_id
        assert record.span_id == span.context.span_id
        assert isinstance(record.body, str)
        assert record.body.encode() == event.to_json()
        assert record.timestamp is not None
        assert abs(record.timestamp / 1e9 - event.timestamp.timestamp()) < 1e-3
        assert found.instrumentation_scope is not None
        assert found.instrumentation_scope.name == "axon_audit_otel"
        exactly(
            record.attributes,
            {
                "log.record.uid": event.event_id,
                "axon.audit.trail": audit.name,
                "axon.operation": "STORE",
                "axon.status": "SUCCESS",
                "axon.subject.id": "owner",
                "axon.action": "MemorySystem.store",
                "axon.system": "axon",
                "axon.subject.ids": ("owner",),
                "audit.record.id": event.event_id,
                "audit.action": "STORE",
                "audit.outcome": "success",
                "audit.actor.type": "user",
                "audit.actor.id": "ada",
                "audit.target.id": entry_id,
                "audit.sequence.number": 1,
                "audit.sequence.stream_id": event.hash[:16],
                "axon.audit.hash": event.hash,
                "axon.duration_ms": event.duration_ms,
                "user.id": "ada",
                "session.id": "s1",
            },
        )

    async def test_the_chain_travels(
        self, memory: MemorySystem, audit: AuditLogger, log_exporter: InMemoryLogRecordExporter
    ) -> None:
        """Every record after the first carries the hash of the event before."""
        await memory.store("tea")
        await memory.recall("tea")
        first, _ = history(audit)
        attributes = log_exporter.get_finished_logs()[1].log_record.attributes
        assert attributes is not None
        assert attributes["audit.sequence.number"] == 2
        assert attributes["audit.sequence.previous_hash"] == first.hash

    async def test_failure(
        self, memory: MemorySystem, log_exporter: InMemoryLogRecordExporter
    ) -> None:
        """A failure is an ERROR record with the error's type; nobody is the system."""
        with pytest.raises(ValueError, match="content"):
            await memory.store("")
        (found,) = log_exporter.get_finished_logs()
        record = found.log_record
        assert (record.severity_number, record.severity_text) == (SeverityNumber.ERROR, "ERROR")
        assert record.attributes is not None
        assert record.attributes["error.type"] == "ValueError"
        assert record.attributes["audit.outcome"] == "failure"
        assert record.attributes["audit.actor.type"] == "system"
        assert "user.id" not in record.attributes
        assert "audit.target.id" not in record.attributes

    async def test_partial(
        self,
        make_system: MakeSystem,
        log_exporter: InMemoryLogRecordExporter,
    ) -> None:
        """PARTIAL is a WARN record; the audit draft has no outcome for it but "unknown"."""
        memory = make_system(session=FaultyAdapter(query=OSError()))
        await memory.recall("tea")
        (found,) = log_exporter.get_finished_logs()
        record = found.log_record
        assert (record.severity_number, record.severity_text) == (SeverityNumber.WARN, "WARN")
        assert record.attributes is not None
        assert record.attributes["audit.outcome"] == "unknown"
        assert record.attributes["axon.status"] == "PARTIAL"

    async def test_no_content(
        self, memory: MemorySystem, log_exporter: InMemoryLogRecordExporter
    ) -> None:
        """Nothing in a record holds what was stored or asked for."""
        await memory.store("my private words", tags=["t"])
        await memory.recall("private words")
        for found in log_exporter.get_finished_logs():
            assert "private" not in str(found.log_record.body)
            assert "private" not in str(dict(found.log_record.attributes or {}))


class TestMetrics:
    @staticmethod
    def sample(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    async def test_one_operation(
        self, memory: MemorySystem, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """A store counts once, is timed once, and adds one entry."""
        await memory.store("tea")
        labels = {"trail": audit.name, "system": "axon", "operation": "STORE"}
        event = only_event(audit)
        assert event.duration_ms is not None
        counted = self.sample(registry, "axon_memory_operations_total", status="SUCCESS", **labels)
        duration = "axon_memory_operation_duration_seconds"
        assert counted == 1
        assert self.sample(registry, f"{duration}_count", **labels) == 1
        total = self.sample(registry, f"{duration}_sum", **labels)
        assert total == pytest.approx(event.duration_ms / 1000)
        assert self.sample(registry, f"{duration}_bucket", le="+Inf", **labels) == 1
        assert self.sample(registry, "axon_memory_entries_total", **labels) == 1
        assert self.sample(registry, "axon_memory_operations_in_progress", **labels) == 0
        trail = {"trail": audit.name}
        assert self.sample(registry, "axon_audit_buffer_events", **trail) == 1
        assert self.sample(registry, "axon_audit_buffer_capacity", **trail) == 10_000
        assert self.sample(registry, "axon_audit_evicted_events_total", **trail) == 0
        assert self.sample(registry, "axon_audit_exported_events_total", **trail) == 0

    async def test_labels_are_a_closed_set(
        self, memory: MemorySystem, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """No user, session, entry or tier is ever a label."""
        for number in range(3):
            await memory.store("tea", user_id=f"u{number}", session_id="s1")
        allowed = {"trail", "system", "operation", "status", "stage", "kind", "reason", "le"}
        for family in registry.collect():
            for sample in family.samples:
                assert set(sample.labels) <= allowed
                assert not {"u0", "s1", "persistent"} & set(sample.labels.values())

    async def test_in_progress(
        self,
        make_system: MakeSystem,
        audit: AuditLogger,
        registry: CollectorRegistry,
    ) -> None:
        """The gauge stands at 1 while the operation runs, and returns when it fails too."""
        seen: list[float | None] = []
        labels = {"trail": audit.name, "system": "axon", "operation": "STORE"}

        class Looking(FaultyAdapter):
            async def save(self, entry: Any) -> str:
                seen.append(
                    TestMetrics.sample(registry, "axon_memory_operations_in_progress", **labels)
                )
                return await super().save(entry)

        memory = make_system(persistent=Looking(save=OSError("down")))
        with pytest.raises(OSError, match="down"):
            await memory.store("tea")
        assert seen == [1]
        assert self.sample(registry, "axon_memory_operations_in_progress", **labels) == 0

    async def test_exemplar(
        self,
        memory: MemorySystem,
        registry: CollectorRegistry,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """A bucket leads to a trace."""
        await memory.store("tea")
        context = only_span(span_exporter).context
        assert context is not None
        scraped = generate_latest(registry).decode()
        assert f'# {{trace_id="{context.trace_id:032x}"}}' in scraped

    async def test_entries(
        self, memory: MemorySystem, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """The entries counter follows what was returned, exported, deleted."""
        ids = [await memory.store("tea") for _ in range(3)]
        await memory.recall("tea", k=2)
        await memory.export()
        await memory.forget(ids[0])
        await memory.forget("nothing")
        expected = {"STORE": 3, "RECALL": 2, "EXPORT": 3, "FORGET": 1}
        for operation, count in expected.items():
            labels = {"trail": audit.name, "system": "axon", "operation": operation}
            assert self.sample(registry, "axon_memory_entries_total", **labels) == count

    async def test_otel_histogram(
        self,
        memory: MemorySystem,
        meter: InMemoryMetricReader,
        tracer_provider: TracerProvider,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """`gen_ai.client.operation.duration` is recorded for what the conventions name; its
        exemplars are spans marked for tail sampling, and none that are only around."""
        await memory.store("tea")
        with tracer_provider.get_tracer("test").start_as_current_span("around"):
            await memory.store("tea")
        with pytest.raises(ValueError, match="k must be"):
            await memory.recall("tea", k=0)
        await memory.export()
        data = meter.get_metrics_data()
        assert data is not None
        (scope,) = data.resource_metrics[0].scope_metrics
        assert scope.scope.name == "axon_audit_otel"
        (metric,) = scope.metrics
        assert (metric.name, metric.unit) == ("gen_ai.client.operation.duration", "s")
        points = {str(p.attributes["gen_ai.operation.name"]): p for p in metric.data.data_points}  # type: ignore[index]
        assert points.keys() == {"create_memory", "search_memory"}
        exactly(points["create_memory"].attributes, {"gen_ai.operation.name": "create_memory"})
        exactly(
            points["search_memory"].attributes,
            {"gen_ai.operation.name": "search_memory", "error.type": "ValueError"},
        )
        spans = span_exporter.get_finished_spans()
        marked = {s.context.span_id for s in spans if "axon.exemplar" in (s.attributes or {})}  # type: ignore[union-attr]
        named = {exemplar.span_id for point in points.values() for exemplar in point.exemplars}
        assert named
        assert named <= marked
        assert points["create_memory"].explicit_bounds[0] == 0.01  # type: ignore[union-attr]
        assert points["create_memory"].explicit_bounds[-1] == 81.92  # type: ignore[union-attr]


class TestEvents:
    async def test_all_four_agree(
        self,
        memory: MemorySystem,
        audit: AuditLogger,
        log_exporter: InMemoryLogRecordExporter,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """Event, span, record and file name the same trace."""
        await memory.store("tea")
        event, span = only_event(audit), only_span(span_exporter)
        assert span.context is not None
        assert event.trace_id == f"{span.context.trace_id:032x}"
        assert event.span_id == f"{span.context.span_id:016x}"
        (found,) = log_exporter.get_finished_logs()
        assert f"{found.log_record.trace_id:032x}" == event.trace_id

    async def test_given_provider(
        self,
        memory: MemorySystem,
        logger_provider: LoggerProvider,
        log_exporter: InMemoryLogRecordExporter,
    ) -> None:
        """`instrument(logger_provider=)` sends the records there."""
        AxonInstrumentor().uninstrument()
        audit = AuditLogger(registry=CollectorRegistry())
        AxonInstrumentor().instrument(audit_logger=audit, logger_provider=logger_provider)
        await memory.store("tea")
        assert len(log_exporter.get_finished_logs()) == 1
        assert audit.event_count == 1
