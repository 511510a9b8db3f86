"""Prometheus metrics, by a real scrape: names, labels, exemplars, cardinality, processes."""

from __future__ import annotations

import asyncio
import gc
import http.client
import shutil
import socket
import threading
import time
import urllib.request
import weakref
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ListingAdapter, Make, MakeSystem, Run, until
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NonRecordingSpan
from prometheus_client import CollectorRegistry, Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from prometheus_client.parser import text_string_to_metric_families as parse_plain_text
from prometheus_client.samples import Sample

from axon_audit_otel import AuditLogger, AxonInstrumentor, OperationType, serve_metrics
from axon_audit_otel.events.draft import draft
from axon_audit_otel.events.findings import FINDINGS
from axon_audit_otel.privacy.personal_data import PII_KINDS
from axon_audit_otel.trail.metrics import MAX_SYSTEMS

#: Every metric of ours: its type and labels.
METRICS = {
    "axon_memory_operations": ("counter", {"trail", "system", "operation", "status"}),
    "axon_memory_operation_duration_seconds": ("histogram", {"trail", "system", "operation"}),
    "axon_memory_operations_in_progress": ("gauge", {"trail", "system", "operation"}),
    "axon_memory_entries": ("counter", {"trail", "system", "operation"}),
    "axon_memory_findings": ("counter", {"trail", "kind"}),
    "axon_audit_buffer_events": ("gauge", {"trail"}),
    "axon_audit_buffer_capacity": ("gauge", {"trail"}),
    "axon_audit_evicted_events": ("counter", {"trail"}),
    "axon_audit_exported_events": ("counter", {"trail"}),
    "axon_audit_failures": ("counter", {"trail", "stage"}),
    "axon_audit_sdk_faults": ("counter", {"trail", "stage"}),
    "axon_audit_last_seal_timestamp_seconds": ("gauge", {"trail"}),
    "axon_audit_journal_lag_events": ("gauge", {"trail"}),
    "axon_audit_journal_start_timestamp_seconds": ("gauge", {"trail"}),
    "axon_audit_pii_detections": ("counter", {"trail", "kind"}),
    "axon_audit_shipped_events": ("counter", {"trail"}),
    "axon_audit_shipping_dropped_events": ("counter", {"trail", "reason"}),
    "axon_audit_shipping_lag_events": ("gauge", {"trail"}),
}


class Scrape:
    """A scrape as Prometheus gets it, parsed by prometheus_client's own strict parser."""

    def __init__(self, registry: CollectorRegistry | None) -> None:
        with serve_metrics(0, registry=registry) as server, _get(server.url) as response:
            self.content_type = response.headers["Content-Type"]
            self.text = response.read().decode()
        self.families: dict[str, Metric] = {
            family.name: family for family in text_string_to_metric_families(self.text)
        }

    def samples(self, name: str, **labels: str) -> list[Sample]:
        return [
            sample
            for family in self.families.values()
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]

    def value(self, name: str, **labels: str) -> float:
        """The value of the one series that there must be."""
        (sample,) = self.samples(name, **labels)
        return sample.value

    def total(self, name: str, **labels: str) -> float:
        return sum(sample.value for sample in self.samples(name, **labels))


def _get(url: str, **headers: str) -> Any:
    return urllib.request.urlopen(urllib.request.Request(url, headers=headers))


async def one_of_each(audit: AuditLogger, **fields: Any) -> None:
    for operation in OperationType:
        for status in ("SUCCESS", "FAILURE", "PARTIAL"):
            await audit.log_event(
                operation, status=status, duration_ms=5, entry_ids=["a", "b"], **fields
            )


class TestScrape:
    async def test_names_types_and_labels(
        self, make_audit: Make, registry: CollectorRegistry, make_system: Any, tmp_path: Any
    ) -> None:
        """Every metric of the design is there under its exact name, with its type, help and
        exactly its labels; and no other of ours is."""
        audit = make_audit(max_events=20, auto_export_path=tmp_path)
        await make_system(audit_logger=audit).store("tea")  # its gauge begins here
        await one_of_each(audit)
        scrape = Scrape(registry)
        ours = {name: f for name, f in scrape.families.items() if name.startswith("axon_")}
        assert ours.keys() == METRICS.keys()
        for name, (kind, labels) in METRICS.items():
            family = ours[name]
            assert (name, family.type) == (name, kind)
            assert family.documentation
            found = {frozenset(s.labels) - {"le"} for s in family.samples}
            assert found == {frozenset(labels)}

    async def test_openmetrics(self, audit: AuditLogger, registry: CollectorRegistry) -> None:
        """Whoever asks for nothing special gets OpenMetrics, with its end mark."""
        await audit.log_event("STORE")
        scrape = Scrape(registry)
        assert scrape.content_type.startswith("application/openmetrics-text")
        assert scrape.text.endswith("# EOF\n")

    async def test_plain_text(self, audit: AuditLogger, registry: CollectorRegistry) -> None:
        """A client that asks for the plain format gets it; Prometheus, which accepts both but
        prefers OpenMetrics, gets OpenMetrics."""
        await audit.log_event("STORE")
        prometheus = "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;q=0.5"
        with serve_metrics(0, registry=registry) as server:
            with _get(server.url, Accept="text/plain") as response:
                assert response.headers["Content-Type"].startswith("text/plain")
                plain = {family.name for family in parse_plain_text(response.read().decode())}
            with _get(server.url, Accept=prometheus) as response:
                assert response.read().endswith(b"# EOF\n")
            with _get(server.url, Accept="*/*") as response:
                assert response.read().endswith(b"# EOF\n")
        assert "axon_memory_operations" in {name.removesuffix("_total") for name in plain}

    async def test_values(
        self, make_audit: Make, registry: CollectorRegistry, tmp_path: Any
    ) -> None:
        """The values are what happened."""
        audit = make_audit(max_events=4, auto_export_path=tmp_path)
        for duration in (1, 2, 3):
            await audit.log_event("STORE", entry_ids=["a", "b"], duration_ms=duration)
        await audit.log_event("STORE", status="FAILURE", duration_ms=5000)
        await audit.log_event("RECALL", entry_ids=["a"])
        scrape = Scrape(registry)
        trail = {"trail": audit.name}
        operations = "axon_memory_operations_total"
        assert scrape.value(operations, operation="STORE", status="SUCCESS", **trail) == 3
        assert scrape.value(operations, operation="STORE", status="FAILURE", **trail) == 1
        assert scrape.value(operations, operation="RECALL", status="SUCCESS", **trail) == 1
        duration_name = "axon_memory_operation_duration_seconds"
        store = {"operation": "STORE", **trail}
        assert scrape.value(f"{duration_name}_count", **store) == 4
        assert scrape.value(f"{duration_name}_sum", **store) == pytest.approx(5.006)
        assert scrape.value(f"{duration_name}_bucket", le="0.0025", **store) == 2
        assert scrape.value(f"{duration_name}_bucket", le="5.0", **store) == 4
        assert scrape.value(f"{duration_name}_bucket", le="+Inf", **store) == 4
        assert scrape.samples(f"{duration_name}_count", operation="RECALL") == []
        assert scrape.value("axon_memory_entries_total", **store) == 6
        assert scrape.value("axon_memory_entries_total", operation="RECALL", **trail) == 1
        assert scrape.value("axon_audit_buffer_events", **trail) == 4
        assert scrape.value("axon_audit_buffer_capacity", **trail) == 4
        assert scrape.value("axon_audit_exported_events_total", **trail) == 4
        assert scrape.value("axon_audit_evicted_events_total", **trail) == 0
        assert scrape.value("axon_audit_last_seal_timestamp_seconds", **trail) > 1.7e9
        assert scrape.total("axon_audit_failures_total", **trail) == 0

    async def test_failures(self, make_audit: Make, registry: CollectorRegistry) -> None:
        """A failure of our own is counted by where it was; every place has a series from
        the beginning, so that an alert sees the first one."""
        audit = make_audit(redact=lambda text: text[99])
        before = Scrape(registry)
        assert before.value("axon_audit_failures_total", stage="redact", trail=audit.name) == 0
        await audit.log_event("STORE", metadata={"k": "v"})
        after = Scrape(registry)
        assert (
            after.value("axon_audit_failures_total", stage="redact", trail=audit.name) == 2
        )  # name, value
        assert after.total("axon_audit_failures_total") == 2

    async def test_counters_are_there_before_the_first_event(
        self, make_audit: Make, registry: CollectorRegistry
    ) -> None:
        """Every counter begins at 0: of a series that appears at 1, Prometheus sees no increase."""
        make_audit()
        begin = Scrape(registry)
        counters = {
            family.name: len([s for s in family.samples if s.name.endswith("_total")])
            for family in begin.families.values()
            if family.type == "counter"
        }
        assert all(
            s.value == 0 for f in begin.families.values() for s in f.samples if "_total" in s.name
        )
        assert counters["axon_memory_operations"] == len(OperationType) * 3
        assert all(counters.values())

    async def test_personal_data(self, make_audit: Make, registry: CollectorRegistry) -> None:
        """Personal data is counted by its kind, once, wherever it stood."""
        audit = make_audit()
        text = "alice@example.org and bob@example.org from 10.0.0.1"
        await audit.log_event(
            "STORE", metadata={"note": text, "api_key": "x", "n": 4111111111111111}
        )
        scrape = Scrape(registry)
        found = {
            sample.labels["kind"]: sample.value
            for sample in scrape.samples("axon_audit_pii_detections_total", trail=audit.name)
        }
        expected = dict.fromkeys(PII_KINDS, 0) | {"email": 2, "ip": 1, "secret": 1, "card": 1}
        assert found == expected

    @pytest.mark.slow
    async def test_journal(
        self, make_audit: Make, registry: CollectorRegistry, tmp_path: Path
    ) -> None:
        """Since when events are in no sealed file, and how many are in no file at all."""
        before = time.time()
        audit = make_audit(auto_export_path=tmp_path / "archive")
        lag, start = "axon_audit_journal_lag_events", "axon_audit_journal_start_timestamp_seconds"
        await audit.log_event("STORE")
        await audit.log_event("STORE")
        scrape = Scrape(registry)
        assert scrape.value(lag) == 0
        assert before <= scrape.value(start) <= time.time()
        audit.seal()
        assert Scrape(registry).value(start) == 0
        shutil.rmtree(tmp_path / "archive")
        (tmp_path / "archive").touch()  # no directory any more
        await audit.log_event("STORE")
        assert Scrape(registry).value(lag) == 1
        (tmp_path / "archive").unlink()
        (tmp_path / "archive").mkdir()
        await until(lambda: Scrape(registry).value(lag) == 0)

    async def test_no_archive_no_journal(
        self, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """A trail in memory only has no journal that could look healthy."""
        await audit.log_event("STORE")
        assert Scrape(registry).samples("axon_audit_journal_lag_events") == []

    async def test_in_progress(
        self, audit: AuditLogger, registry: CollectorRegistry, make_system: Any
    ) -> None:
        """An operation that runs is counted while it runs, also when it fails or is
        cancelled."""
        started, go_on = asyncio.Event(), asyncio.Event()

        class Slow(ListingAdapter):
            async def save(self, entry: Any) -> str:
                started.set()
                await go_on.wait()
                raise RuntimeError("in vain")

        memory = make_system(audit_logger=audit, persistent=Slow())
        running = {"operation": "STORE", "trail": audit.name}
        name = "axon_memory_operations_in_progress"
        for ending in ("cancel", "fail"):
            started.clear()
            task = asyncio.create_task(memory.store("tea"))
            await started.wait()
            assert Scrape(registry).value(name, **running) == 1
            if ending == "cancel":
                task.cancel()
            else:
                go_on.set()
            with pytest.raises((asyncio.CancelledError, RuntimeError)):
                await task
            assert Scrape(registry).value(name, **running) == 0

    async def test_operations_of_a_system(
        self, audit: AuditLogger, registry: CollectorRegistry, make_system: Any
    ) -> None:
        """Operations of a real system are counted with the entries that they handled."""
        memory = make_system(audit_logger=audit)
        ids = [await memory.store(f"tea {number}") for number in range(3)]
        await memory.recall("tea")
        await memory.export()
        await memory.forget(ids[0])
        scrape = Scrape(registry)
        entries = {
            sample.labels["operation"]: sample.value
            for sample in scrape.samples("axon_memory_entries_total", trail=audit.name)
            if sample.value
        }
        assert entries == {"STORE": 3, "RECALL": 3, "EXPORT": 3, "FORGET": 1}
        name = "axon_memory_operation_duration_seconds_count"
        assert scrape.value(name, operation="STORE", trail=audit.name) == 3


class TestFindings:
    """Entries that are altered, resurrected or left are counted, whoever records that."""

    @staticmethod
    def counted(audit: AuditLogger, registry: CollectorRegistry) -> dict[str, float]:
        """What a scrape has of each kind, where it agrees with the statistics."""
        samples = Scrape(registry).samples("axon_memory_findings_total", trail=audit.name)
        found = {sample.labels["kind"]: sample.value for sample in samples}
        assert found.keys() == set(FINDINGS)  # also those at 0
        above = {kind: value for kind, value in found.items() if value}
        assert audit.get_statistics()["findings"] == above
        return above

    async def test_each_entry(self, audit: AuditLogger, registry: CollectorRegistry) -> None:
        """Entries count, not events; each kind apart."""
        assert self.counted(audit, registry) == {}
        await audit.log_event("RECALL", metadata={"altered": ["e1", "e2"], "k": 5})
        await audit.log_event("EXPORT", metadata={"altered": ["e1"], "resurrected": ["e3"]})
        left = {"derived_remaining": ["s1", "s2", "s3"]}
        await audit.log_event("FORGET", status="PARTIAL", metadata=left)
        expected = {"altered": 3, "resurrected": 1, "derived_remaining": 3}
        assert self.counted(audit, registry) == expected

    def test_of_another_source(
        self, audit: AuditLogger, registry: CollectorRegistry, logger_provider: LoggerProvider
    ) -> None:
        """A record of anybody counts, also of an operation that nobody has heard of."""
        body = {"operation": "GLANCE", "metadata": {"resurrected": ("e1", "e2"), "altered": "no"}}
        record = LogRecord(event_name="axon.memory.audit", body=body)
        logger_provider.get_logger("another").emit(record)
        assert self.counted(audit, registry) == {"resurrected": 2}

    async def test_of_an_application(
        self, audit: AuditLogger, registry: CollectorRegistry, make_system: Any
    ) -> None:
        """Its own facts of these names neither count nor break anything."""
        memory = make_system(audit_logger=audit)
        await memory.store("tea", metadata={"altered": "yes", "resurrected": [1, 2]})
        for odd in ("yes", 3, None, {"a": ["e"]}, [], [["e"]], object()):
            event = await audit.log_event("STORE", metadata={"altered": odd, "altered_total": 9})
            assert "altered" in event.metadata
        assert self.counted(audit, registry) == {}
        assert audit.get_statistics()["failures"] == {}

    async def test_encrypted_and_shortened(
        self, make_audit: Make, registry: CollectorRegistry, tmp_path: Path
    ) -> None:
        """They count before they are encrypted, and all of them where a few are recorded."""
        audit = make_audit(erasable=tmp_path / "keys", max_event_bytes=16384)
        many = [f"entry-{number:05}" for number in range(3_000)]
        await audit.log_event("RECALL", user_id="bob", metadata={"altered": many})
        assert self.counted(audit, registry) == {"altered": 3_000}
        assert "altered" not in audit.trail.reader.lines().__next__().decode()

    async def test_of_a_system(
        self, audit: AuditLogger, registry: CollectorRegistry, make_system: Any
    ) -> None:
        """An entry whose text is changed in the store is counted when it is recalled."""
        adapter = ListingAdapter()
        memory = make_system(audit_logger=audit, persistent=adapter)
        key = await memory.store("tea at five")
        await memory.recall("tea")
        assert self.counted(audit, registry) == {}
        entry = await adapter.get(key)
        adapter._storage[key] = entry.model_copy(update={"text": "tea never"})
        await memory.recall("tea")
        assert self.counted(audit, registry) == {"altered": 1}


class TestExemplars:
    async def test_of_sampled_spans(
        self,
        audit: AuditLogger,
        registry: CollectorRegistry,
        tracer_provider: TracerProvider,
        make_system: Any,
    ) -> None:
        """The duration's bucket names the trace of an operation."""
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
        await make_system().store("tea")
        (event,) = audit.query_events()
        name = "axon_memory_operation_duration_seconds_bucket"
        exemplars = [s.exemplar for s in Scrape(registry).samples(name) if s.exemplar]
        assert [exemplar.labels for exemplar in exemplars] == [{"trace_id": event.trace_id}]
        assert event.duration_ms is not None
        assert exemplars[0].value == pytest.approx(event.duration_ms / 1000)

    @pytest.mark.parametrize("sampled", [True, False])
    async def test_of_log_event(
        self, audit: AuditLogger, registry: CollectorRegistry, sampled: bool
    ) -> None:
        """An exemplar leads to a trace that exists: unsampled spans give none."""
        sampler = None if sampled else ALWAYS_OFF
        tracer = TracerProvider(sampler=sampler, shutdown_on_exit=False).get_tracer("test")
        with tracer.start_as_current_span("work"):
            event = await audit.log_event("STORE", duration_ms=5)
        await audit.log_event("RECALL", duration_ms=5)  # no span at all
        name = "axon_memory_operation_duration_seconds_bucket"
        found = [s.exemplar.labels for s in Scrape(registry).samples(name) if s.exemplar]
        assert found == ([{"trace_id": event.trace_id}] if sampled else [])

    @pytest.mark.parametrize("instrumented", [True, False])
    async def test_each_is_marked_for_tail_sampling(
        self,
        audit: AuditLogger,
        registry: CollectorRegistry,
        tracer_provider: TracerProvider,
        span_exporter: InMemorySpanExporter,
        make_system: MakeSystem,
        instrumented: bool,
    ) -> None:
        """The span of each exemplar says so, and no other; of an event by hand the one around.
        Of a hundred operations in a bucket one is: tail sampling keeps its trace for that."""
        if instrumented:
            AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
        memory, tracer = make_system(), tracer_provider.get_tracer("test")
        for _ in range(100):
            if instrumented:
                await memory.store("tea")
            else:
                with tracer.start_as_current_span("work"):
                    await audit.log_event("STORE", duration_ms=5)
        name = "axon_memory_operation_duration_seconds_bucket"
        found = [s for s in Scrape(registry).samples(name) if s.exemplar]
        spans = span_exporter.get_finished_spans()
        assert len(spans) == 100
        marked = [s for s in spans if (s.attributes or {}).get("axon.exemplar") is True]
        named = {s.exemplar.labels["trace_id"] for s in found if s.exemplar}
        assert named == {f"{span.context.trace_id:032x}" for span in marked if span.context}
        assert len(marked) == len(found)
        assert instrumented or len(marked) == 1

    def test_one_in_a_while(self, audit: AuditLogger, tracer_provider: TracerProvider) -> None:
        """A bucket gets another exemplar after 15 seconds, or if the clock was set back; any other
        bucket, operation and system its own, but for systems without a label of their own."""
        tracer, metrics = tracer_provider.get_tracer("test"), audit.trail.metrics

        def chosen(seconds: float, name: str = "STORE", ms: float = 5, system: str = "a") -> bool:
            time_ns = int((1_800_000_000 + seconds) * 1e9)
            with tracer.start_as_current_span("work") as span:
                trace = span.get_span_context()
                event = draft(
                    name, "SUCCESS", duration_ms=ms, system=system, time_ns=time_ns, span=trace
                )
                return metrics.choose_exemplar(event, span)

        assert [chosen(at) for at in (0, 0, 14.9, 15, 29.9, 30, 20)] == [
            *(True, False, False, True, False, True, True),
        ]
        assert chosen(20, "RECALL")
        assert chosen(20, ms=6)
        assert not chosen(20, ms=4.9)
        others = [chosen(20, system=f"tenant-{number}") for number in range(1_000)]
        assert others.count(True) == MAX_SYSTEMS

    def test_what_cannot_be_marked_is_none(
        self, audit: AuditLogger, tracer_provider: TracerProvider
    ) -> None:
        """A span that has ended, that another process has, or that raises."""

        class Hostile(NonRecordingSpan):
            def is_recording(self) -> bool:
                raise RuntimeError("foreign")

        ended = tracer_provider.get_tracer("test").start_span("work")
        ended.end()
        context = ended.get_span_context()
        assert context.trace_flags.sampled
        for span in (ended, NonRecordingSpan(context), Hostile(context)):
            event = draft("STORE", "SUCCESS", duration_ms=5, span=context)
            assert not audit.trail.metrics.choose_exemplar(event, span)
            assert not event.exemplar

    def test_a_bare_fact_is_none(
        self,
        make_audit: Make,
        registry: CollectorRegistry,
        tracer_provider: TracerProvider,
        log_exporter: InMemoryLogRecordExporter,
    ) -> None:
        """What is left of an operation with an error that cannot be read names no trace: it is
        counted, shown to observers and exported as any other."""

        class UnreadableError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no text")

        audit = make_audit(capture_content=True)
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
        seen: list[str] = []
        audit.trail.watch(lambda event: seen.append(event["operation"]))
        with pytest.raises(UnreadableError), audit.operation("STORE", owner="alice"):
            raise UnreadableError
        assert audit.get_statistics()["total_events"] == 1
        assert seen == ["STORE"]
        (found,) = log_exporter.get_finished_logs()
        assert (found.log_record.attributes or {})["axon.operation"] == "STORE"

    def test_of_a_record_from_elsewhere(
        self,
        audit: AuditLogger,
        logger_provider: LoggerProvider,
        registry: CollectorRegistry,
        tracer_provider: TracerProvider,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """A record that another source emits is an exemplar by the span that it is emitted in."""
        body = {"operation": "STORE", "duration_ms": 5.0}
        with tracer_provider.get_tracer("test").start_as_current_span("work"):
            record = LogRecord(event_name="axon.memory.audit", body=body)
            logger_provider.get_logger("x").emit(record)
        (span,) = span_exporter.get_finished_spans()
        assert span.attributes == {"axon.exemplar": True}
        name = "axon_memory_operation_duration_seconds_bucket"
        assert [s for s in Scrape(registry).samples(name) if s.exemplar]


class TestCardinality:
    async def test_users_make_no_series(
        self, audit: AuditLogger, registry: CollectorRegistry
    ) -> None:
        """Users, sessions, entries and errors without end make no series beyond the first."""

        async def series(name: str) -> set[tuple[str, frozenset[tuple[str, str]]]]:
            await one_of_each(audit, user_id=name, session_id=name, error_type=name)
            scrape = Scrape(registry)
            return {
                (sample.name, frozenset(sample.labels.items()))
                for family in scrape.families.values()
                for sample in family.samples
                if not sample.name.endswith("_created")
            }

        first = await series("user0")
        for number in range(1, 50):
            await audit.log_event("STORE", f"user{number}", f"s{number}", [f"e{number}"])
        assert await series("another") == first
        text = Scrape(registry).text
        assert not any(word in text for word in ("user0", "another", "user7"))

    def test_labels_of_foreign_records_are_closed(
        self, audit: AuditLogger, registry: CollectorRegistry, logger_provider: LoggerProvider
    ) -> None:
        """A record of another source cannot make a label value of its own."""
        for number in range(20):
            body = {"operation": f"OP{number}", "status": f"ST{number}"}
            record = LogRecord(event_name="axon.memory.audit", body=body)
            logger_provider.get_logger("theirs").emit(record)
        samples = Scrape(registry).samples("axon_memory_operations_total")
        assert {s.labels["operation"] for s in samples if s.value} == {"OTHER"}
        assert sum(sample.value for sample in samples) == 20


class TestStatistics:
    async def test_equal_the_scrape(
        self, make_audit: Make, registry: CollectorRegistry, tmp_path: Any
    ) -> None:
        """`get_statistics` says what the dashboards say."""
        audit = make_audit(max_events=7, auto_export_path=tmp_path, redact=lambda text: text[99])
        await one_of_each(audit)
        await audit.log_event("STORE", metadata={"k": "v"}, duration_ms=700)
        stats, scrape = audit.get_statistics(), Scrape(registry)
        name = "axon_memory_operations_total"
        assert stats["total_events"] == scrape.total(name)
        for operation, count in stats["by_operation"].items():
            assert count == scrape.total(name, operation=operation)
        for status, count in stats["by_status"].items():
            assert count == scrape.total(name, status=status)
        own = scrape.total(name, operation="AUDIT")  # what the trail says of itself
        success = scrape.total(name, status="SUCCESS") - own / 3
        assert stats["success_rate"] == pytest.approx(success / (scrape.total(name) - own))
        duration = "axon_memory_operation_duration_seconds"
        average = scrape.total(f"{duration}_sum") / scrape.total(f"{duration}_count")
        assert stats["avg_duration_ms"] == pytest.approx(1000 * average)
        assert stats["latency_ms"].keys() == {
            sample.labels["operation"] for sample in scrape.samples(f"{duration}_count")
        }
        for operation, latency in stats["latency_ms"].items():
            assert latency["count"] == scrape.value(f"{duration}_count", operation=operation)
        assert stats["evicted_events"] == scrape.total("axon_audit_evicted_events_total")
        assert stats["exported_events"] == scrape.total("axon_audit_exported_events_total")
        assert stats["events_in_memory"] == scrape.total("axon_audit_buffer_events")
        assert stats["max_events"] == scrape.total("axon_audit_buffer_capacity")
        assert stats["failures"] == {"redact": 2}
        assert scrape.total("axon_audit_failures_total") == 2

    async def test_two_trails(self, make_audit: Make, registry: CollectorRegistry) -> None:
        """Two trails on one registry each have their own series and statistics."""
        one, two = make_audit(name="one", max_events=5), make_audit(name="two", max_events=6)
        await one.log_event("STORE", duration_ms=1)
        await two.log_event("STORE", duration_ms=2)
        await two.log_event("STORE", status="FAILURE", duration_ms=2)
        assert one.get_statistics()["total_events"] == 1
        assert two.get_statistics()["by_status"]["FAILURE"] == 1
        assert one.get_statistics()["success_rate"] == 1.0
        scrape = Scrape(registry)
        assert scrape.total("axon_memory_operations_total", trail="one") == 1
        assert scrape.total("axon_memory_operations_total", trail="two") == 2
        assert scrape.value("axon_audit_buffer_capacity", trail="one") == 5

    async def test_created_again(self, make_audit: Make, registry: CollectorRegistry) -> None:
        """A logger created again under the same name begins its statistics at 0; the
        counters go on, as counters must."""
        audit = make_audit(name="again")
        await audit.log_event("STORE", duration_ms=5, status="FAILURE")
        del audit
        gc.collect()
        audit = make_audit(name="again")
        assert audit.name == "again"
        assert audit.get_statistics()["total_events"] == 0
        assert audit.get_statistics()["latency_ms"] == {}
        assert audit.get_statistics()["success_rate"] == 1.0
        await audit.log_event("STORE", duration_ms=7)
        stats = audit.get_statistics()
        assert stats["total_events"] == stats["by_status"]["SUCCESS"] == 1
        assert stats["avg_duration_ms"] == pytest.approx(7)
        assert stats["latency_ms"]["STORE"]["count"] == 1
        scrape = Scrape(registry)
        assert scrape.total("axon_memory_operations_total", trail="again") == 2
        assert scrape.value("axon_audit_buffer_events", trail="again") == 1

    async def test_gauges_go_with_the_trail(
        self, make_audit: Make, registry: CollectorRegistry, tmp_path: Path
    ) -> None:
        """A trail that is gone holds nothing and lacks nothing; what it counted stays."""

        def of_trail(kind: str) -> set[str]:
            return {
                family.name
                for family in registry.collect()
                if family.type == kind and family.samples
            }

        def make() -> AuditLogger:
            return make_audit(name="gone", auto_export_path=tmp_path)

        audit = make()
        audit.trail.metrics.in_progress("STORE").inc()
        await audit.log_event("STORE")
        gauges, counters = of_trail("gauge"), of_trail("counter")
        assert len(gauges) == 7
        trail = weakref.ref(audit.trail)
        del audit
        gc.collect()
        assert trail() is None
        assert (of_trail("gauge"), of_trail("counter")) == (set(), counters)
        audit = make()
        del audit
        gc.collect()
        audit = make()  # before any scrape
        await audit.log_event("STORE")
        assert of_trail("gauge") == gauges - {"axon_memory_operations_in_progress"}
        assert registry.get_sample_value("axon_audit_buffer_events", {"trail": "gone"}) == 1

    def test_registries_are_let_go(self) -> None:
        """A registry, its metrics and its logger are freed when nobody holds them."""
        registry = CollectorRegistry()
        audit = AuditLogger(registry=registry)
        gone = weakref.ref(registry)
        del registry, audit
        gc.collect()
        assert gone() is None


class TestSystems:
    async def test_each_has_its_own(
        self, make_audit: Make, registry: CollectorRegistry, make_system: MakeSystem
    ) -> None:
        """What is counted of operations says of which memory system; by hand it is ``none``."""
        audit = make_audit()
        await make_system(audit_logger=audit).store("tea")
        with audit.operation("FORGET", system="notes") as op:
            op.deleted("a", "b")
            running = {"operation": "FORGET", "system": "notes"}
            gauge = "axon_memory_operations_in_progress"
            assert Scrape(registry).value(gauge, **running) == 1
            assert audit.trail.metrics.running(["FORGET"]) == 1
        await audit.log_event("STORE", duration_ms=5, entry_ids=["c", "d", "e"])
        scrape = Scrape(registry)
        assert scrape.value(gauge, **running) == audit.trail.metrics.running(["FORGET"]) == 0
        names = "axon_memory_operations_total", "axon_memory_operation_duration_seconds_count"
        for name in names:
            assert scrape.total(name, system="axon", operation="STORE") == 1
            assert scrape.total(name, system="notes", operation="FORGET") == 1
            assert scrape.total(name, system="none", operation="STORE") == 1
        entries = "axon_memory_entries_total"
        assert scrape.value(entries, system="axon", operation="STORE") == 1
        assert scrape.value(entries, system="notes", operation="FORGET") == 2
        assert scrape.value(entries, system="none", operation="STORE") == 3
        assert audit.get_statistics()["by_system"] == {"axon": 1, "notes": 1, "none": 1}

    async def test_begin_at_0(
        self, make_audit: Make, registry: CollectorRegistry, make_system: MakeSystem
    ) -> None:
        """A system has its counters before its first operation ends: the first is an increase."""
        audit = make_audit()
        make_system(audit_logger=audit)
        with audit.operation("STORE", system="notes"):
            scrape = Scrape(registry)
        for system in ("none", "axon", "notes"):
            outcomes = scrape.samples("axon_memory_operations_total", system=system)
            entries = scrape.samples("axon_memory_entries_total", system=system)
            assert len(outcomes) == 3 * len(entries) == 3 * len(OperationType)
            assert not any(sample.value for sample in (*outcomes, *entries))
        assert audit.get_statistics()["by_system"] == {"notes": 1}

    async def test_bounded(
        self, make_audit: Make, registry: CollectorRegistry, logger_provider: LoggerProvider
    ) -> None:
        """A thousand names, also ones that no label can have, are few labels; nothing of what
        they did is missing, and the statistics say the same."""
        audit = make_audit(logger_provider=logger_provider)
        strange = [
            "",
            " ",
            "none",
            "other",
            "a\nb",
            "\ud800",
            "\x00",
            "\u202e",
            'q"}',
            "x" * 10_000,
        ]
        names = [*strange, *(f"tenant {number}" for number in range(990))]
        emit = logger_provider.get_logger("elsewhere").emit
        for number, name in enumerate(names):
            with audit.operation("STORE", system=name) as op:
                op.saved(f"e{number}")
            body = {"operation": "RECALL", "status": "SUCCESS", "system": name, "duration_ms": 1}
            emit(LogRecord(event_name="axon.memory.audit", body=body))
        scrape = Scrape(registry)
        operations = scrape.samples("axon_memory_operations_total")
        found = {sample.labels["system"] for sample in operations}
        assert found >= {"none", "other", " ", 'q"}', "tenant 0"}
        assert len(found - {"none", "other"}) == MAX_SYSTEMS
        assert all(name.isprintable() and len(name) <= 64 for name in found)
        assert scrape.total("axon_memory_operations_total", operation="STORE") == 1_000
        assert scrape.total("axon_memory_operations_total", operation="RECALL") == 1_000
        assert scrape.total("axon_memory_entries_total", operation="STORE") == 1_000
        assert scrape.total("axon_memory_operation_duration_seconds_count") == 2_000
        gauges = scrape.samples("axon_memory_operations_in_progress")
        assert len(gauges) == MAX_SYSTEMS + 2
        assert {sample.value for sample in gauges} == {0}
        stats = audit.get_statistics()
        assert sum(stats["by_system"].values()) == stats["total_events"]
        assert stats["by_system"] == {
            name: scrape.total("axon_memory_operations_total", system=name) for name in found
        }
        assert stats["failures"] == {}

    def test_threads(self, make_audit: Make, registry: CollectorRegistry) -> None:
        """Names that come at once are no more labels than others."""
        audit = make_audit()
        together = threading.Barrier(8)

        def work(own: int) -> None:
            together.wait()
            for number in range(50):
                with audit.operation("STORE", system=f"{number % 25} of {own % 2}"):
                    pass

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        scrape = Scrape(registry)
        found = {s.labels["system"] for s in scrape.samples("axon_memory_operations_total")}
        assert len(found - {"none", "other"}) <= MAX_SYSTEMS
        assert scrape.total("axon_memory_operations_total", operation="STORE") == 400
        assert audit.get_statistics()["by_operation"]["STORE"] == 400


class TestServer:
    def test_free_port(self, registry: CollectorRegistry) -> None:
        """Port 0 takes a free one and says which; on this machine only, by default."""
        with serve_metrics(0, registry=registry) as one, serve_metrics(0, registry=registry) as two:
            assert one.port != two.port
            assert one.url == f"http://127.0.0.1:{one.port}/metrics"
            for server in (one, two):
                with _get(server.url) as response:
                    assert response.status == 200

    def test_port_that_is_taken(self, registry: CollectorRegistry) -> None:
        """A port that is taken is an `OSError` at once."""
        with (
            serve_metrics(0, registry=registry) as server,
            pytest.raises(OSError, match="in use"),
        ):
            serve_metrics(server.port, registry=registry)

    def test_idle_connections(self, registry: CollectorRegistry) -> None:
        """Connections that say nothing neither keep a scrape out nor keep their threads."""
        with serve_metrics(0, registry=registry) as server:
            idle = []
            for _ in range(100):
                idle.append(socket.create_connection(("127.0.0.1", server.port)))
                idle[-1].sendall(b"GET /metrics HTTP/1.1\r\nX: ")
            with _get(server.url) as response:
                assert response.status == 200
            for connection in idle[:50]:  # the oldest have ended
                assert connection.recv(1) == b""
            for connection in idle:
                connection.close()

    def test_close(self, registry: CollectorRegistry) -> None:
        """After `close` nobody listens, and the port is free."""
        server = serve_metrics(0, registry=registry)
        server.close()
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        with pytest.raises(ConnectionRefusedError):
            connection.connect()
        serve_metrics(server.port, registry=registry).close()

    def test_quiet(self, registry: CollectorRegistry, capfd: pytest.CaptureFixture[str]) -> None:
        """A scrape writes nothing on the console."""
        with serve_metrics(0, registry=registry) as server, _get(server.url):
            pass
        assert capfd.readouterr() == ("", "")

    def test_default_registry(self, run_script: Run) -> None:
        """Without a registry, prometheus_client's own is served: the application's other
        metrics are there too."""
        printed = run_script(
            """
            import asyncio, urllib.request
            from axon_audit_otel import AuditLogger, serve_metrics
            asyncio.run(AuditLogger().log_event("STORE"))
            with serve_metrics(0) as server:
                text = urllib.request.urlopen(server.url).read().decode()
            print("python_info" in text, 'axon_memory_operations_total{' in text)
            """
        )
        assert printed.split() == ["True", "True"]


_WORKER = """
    import asyncio, os, sys, urllib.request
    from axon_audit_otel import AuditLogger, serve_metrics
    audit = AuditLogger(max_events=5, name="shared")
    async def work():
        for number in range(int(sys.argv[1])):
            await audit.log_event("STORE", entry_ids=["e"], duration_ms=5)
        altered = {"altered": ["e", "f"]}
        await audit.log_event("RECALL", status="FAILURE", duration_ms=3000, metadata=altered)
        with audit.operation("FORGET", system="notes") as op:
            op.deleted("e", "f")
    asyncio.run(work())
    stats = audit.get_statistics()
    latency = stats["latency_ms"]["STORE"]
    print(stats["total_events"], stats["by_operation"]["STORE"], latency["count"])
    if len(sys.argv) > 2:
        with serve_metrics(0) as server:
            print(urllib.request.urlopen(server.url).read().decode())
"""


@pytest.fixture(name="multiprocess")
def _multiprocess(tmp_path: Any) -> Iterator[dict[str, str]]:
    directory = tmp_path / "prometheus"
    directory.mkdir()
    return {"PROMETHEUS_MULTIPROC_DIR": str(directory)}


class TestProcesses:
    @pytest.mark.slow
    def test_summed(self, run_script: Run, multiprocess: dict[str, str]) -> None:
        """With ``PROMETHEUS_MULTIPROC_DIR`` a scrape of one process sums all of them, and
        each one's statistics stay its own."""
        first = run_script(_WORKER, 3, **multiprocess)
        assert first.split() == ["5", "3", "3"]
        second, _, text = run_script(_WORKER, 5, "serve", **multiprocess).partition("\n")
        assert second.split() == ["7", "5", "5"]
        families = text_string_to_metric_families(text.strip() + "\n")
        values: Counter[tuple[str, str | None, str | None]] = Counter()
        systems: Counter[tuple[str, str | None]] = Counter()
        for sample in (s for family in families for s in family.samples):
            if sample.labels.get("trail") == "shared":
                operation, bound = sample.labels.get("operation"), sample.labels.get("le")
                values[sample.name, operation, bound] += sample.value
                systems[sample.name, sample.labels.get("system")] += sample.value
        assert systems["axon_memory_operations_total", "notes"] == 2
        assert systems["axon_memory_operations_total", "none"] == 10
        assert systems["axon_memory_entries_total", "notes"] == 4
        assert values["axon_memory_operations_total", "STORE", None] == 8
        assert values["axon_memory_operations_total", "RECALL", None] == 2
        assert values["axon_memory_entries_total", "STORE", None] == 8
        assert values["axon_memory_findings_total", None, None] == 4
        name = "axon_memory_operation_duration_seconds"
        assert values[f"{name}_count", "STORE", None] == 8
        assert values[f"{name}_bucket", "RECALL", "2.5"] == 0
        assert values[f"{name}_bucket", "RECALL", "+Inf"] == 2
        assert values["axon_audit_evicted_events_total", None, None] == 2
        assert values["axon_audit_buffer_events", None, None] >= 5  # of those that live

    @pytest.mark.slow
    def test_forked_workers(self, run_script: Run, multiprocess: dict[str, str]) -> None:
        """Forked workers (pre-fork servers) each count their own, and the sum is right."""
        printed = run_script(
            """
            import asyncio, os, urllib.request
            from axon_audit_otel import AuditLogger, serve_metrics
            audit = AuditLogger(name="shared")
            asyncio.run(audit.log_event("STORE", duration_ms=5))
            children = []
            for _ in range(2):
                pid = os.fork()
                if not pid:
                    for _ in range(3): asyncio.run(audit.log_event("STORE", duration_ms=5))
                    stats = audit.get_statistics()
                    own = (stats["total_events"], stats["latency_ms"]["STORE"]["count"])
                    os._exit(0 if own == (3, 3) else 1)
                children.append(pid)
            ends = [os.waitpid(pid, 0)[1] for pid in children]
            print(ends, audit.get_statistics()["total_events"])
            with serve_metrics(0) as server:
                for line in urllib.request.urlopen(server.url).read().decode().splitlines():
                    counted = line.startswith("axon_memory_operations_total{")
                    if counted and not line.endswith(" 0.0"): print(line.split()[-1])
            """,
            **multiprocess,
        )
        assert printed.splitlines() == ["[0, 0] 1", "7.0"]
