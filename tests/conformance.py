"""What every integration of a memory library must do: a test class, to be subclassed for each.

A subclass says how its library stores, recalls and forgets one text, by the fixture `make`.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest
from conftest import Make, history, only_event
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from axon_audit_otel import AuditLogger, AuditUnavailableError, audit_context
from axon_audit_otel.operations.signals import Signals, use_signals

#: A text that is nowhere else.
SECRET = "xylophone-4711"


class Memory(Protocol):
    """One memory of the library, recorded by the integration."""

    #: The events' `system`, and `action` of the three calls.
    system: str
    actions: tuple[str, str, str]

    async def store(self, owner: str, text: str) -> str:
        """Store *text*; returns the id of the entry, as events name it."""

    async def recall(self, owner: str, query: str) -> list[str]:
        """The texts that are found for *query*."""

    async def forget(self, owner: str, entry_id: str) -> None:
        """Delete the entry."""

    async def texts(self) -> list[str]:
        """All texts that lie in the store, read behind the integration's back."""

    def breaks(self) -> None:
        """The next call fails in the library."""


MakeMemory = Callable[[AuditLogger], Memory]


class Conformance:
    """The tests. A subclass has the fixture ``make``, which makes a `Memory` that is recorded."""

    #: What the caller gets, and the event's ``error.type``, when the library fails on purpose.
    error: type[Exception] = OSError
    error_type = "OSError"
    #: What the caller gets of a refused operation.
    refusal: type[Exception] = AuditUnavailableError

    @pytest.fixture(autouse=True)
    def _signals(self, tracer_provider: TracerProvider) -> Any:
        use_signals(Signals.of(tracer_provider))
        yield
        use_signals(None)

    async def test_private_ids(
        self,
        make: MakeMemory,
        make_audit: Make,
        span_exporter: InMemorySpanExporter,
        log_exporter: InMemoryLogRecordExporter,
    ) -> None:
        """With ``private_ids=True`` hashes stand for ids, and the ids find them."""
        audit = make_audit(pseudonymize=b"0123456789abcdef" * 2, private_ids=True)
        memory = make(audit)
        key = await memory.store("alice", SECRET)
        assert await memory.recall("alice", SECRET) == [SECRET]
        await memory.forget("alice", key)
        assert await memory.texts() == []
        events = history(audit)
        assert audit.query_events(entry_ids=[key]) == events[::-1]
        (name,) = {one for event in events for one in event.entry_ids}
        assert re.fullmatch("entry-hmac-sha256:[0-9a-f]{32}", name)
        spans = span_exporter.get_finished_spans()
        ids = {(span.attributes or {}).get("gen_ai.memory.record.id") for span in spans}
        assert ids <= {name, None}
        told = {
            record.log_record.attributes["audit.target.id"]  # type: ignore[index]
            for record in log_exporter.get_finished_logs()
        }
        assert told <= {name}

    async def test_erasable_ids(
        self,
        make: MakeMemory,
        make_audit: Make,
        span_exporter: InMemorySpanExporter,
        log_exporter: InMemoryLogRecordExporter,
        tmp_path: Path,
    ) -> None:
        """With ``erasable`` they are read with the keys, until their owner is erased."""
        audit = make_audit(erasable=tmp_path / "conformance.keys", private_ids=True)
        memory = make(audit)
        key = await memory.store("alice", SECRET)
        assert await memory.recall("alice", SECRET) == [SECRET]
        await memory.forget("alice", key)
        events = history(audit)
        assert {one for event in events for one in event.entry_ids} == {key}
        assert audit.query_events(entry_ids=[key]) == events[::-1]
        assert audit.erase_user("alice")
        assert audit.query_events(entry_ids=[key]) == []
        (name,) = {one for event in history(audit) for one in event.entry_ids}
        assert re.fullmatch("entry-erasable:[0-9a-f]{32}:[a-z2-7]{77,}", name)
        outputs = [span.to_json() for span in span_exporter.get_finished_spans()]
        outputs += [record.to_json() for record in log_exporter.get_finished_logs()]
        whole = re.compile(rf"(?<![\w+/=-]){re.escape(key)}(?![\w+/=-])")  # not within Base64
        assert not [output for output in outputs if whole.search(output)]

    async def test_one_event_each(self, make: MakeMemory, audit: AuditLogger) -> None:
        """Each call is one event, with its id, its owner and its method."""
        memory = make(audit)
        key = await memory.store("alice", SECRET)
        assert await memory.recall("alice", SECRET) == [SECRET]
        await memory.forget("alice", key)
        assert await memory.texts() == []
        events = history(audit)
        assert [event.operation.value for event in events] == ["STORE", "RECALL", "FORGET"]
        for event, action in zip(events, memory.actions):
            assert (event.system, event.action, event.status) == (memory.system, action, "SUCCESS")
            assert event.entry_ids == [key]
            assert (event.user_id, event.subject_id, event.subjects) == ("alice", None, ("alice",))
            assert event.duration_ms is not None
        assert events[2].metadata["deleted"] == 1

    async def test_who_acts(self, make: MakeMemory, audit: AuditLogger) -> None:
        """Somebody else who acts is told from the owner; so are agent, purpose and session."""
        memory = make(audit)
        with audit_context(user_id="bob", session_id="s1", agent_id="bot", purpose="support"):
            await memory.store("alice", SECRET)
        event = only_event(audit)
        assert (event.user_id, event.subject_id, event.subjects) == ("bob", "alice", ("alice",))
        assert (event.session_id, event.agent_id, event.purpose) == ("s1", "bot", "support")

    async def test_nothing_there(self, make: MakeMemory, audit: AuditLogger) -> None:
        """A deletion of what is not there deleted nothing, and names what was asked for."""
        memory = make(audit)
        key = await memory.store("alice", SECRET)
        await memory.forget("alice", key)
        try:
            await memory.forget("alice", key)
        except Exception:
            assert history(audit)[-1].status == "FAILURE"
        last = history(audit)[-1]
        assert last.operation == "FORGET"
        assert last.metadata.get("deleted", 0) == 0
        assert last.entry_ids == [key]

    async def test_failure(self, make: MakeMemory, audit: AuditLogger) -> None:
        """What the library raises the caller gets, and the event says it."""
        memory = make(audit)
        await memory.store("alice", SECRET)
        memory.breaks()
        with pytest.raises(self.error, match="broken on purpose"):
            await memory.recall("alice", SECRET)
        last = history(audit)[-1]
        assert (last.operation, last.status) == ("RECALL", "FAILURE")
        assert last.error_type == self.error_type

    async def test_no_content(
        self,
        make: MakeMemory,
        make_audit: Make,
        tmp_path: Path,
        registry: CollectorRegistry,
        logger_provider: LoggerProvider,
        log_exporter: InMemoryLogRecordExporter,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """With content capture off no text is anywhere: files, spans, log records, metrics."""
        audit = make_audit(
            auto_export_path=tmp_path / "audit_logs",
            logger_provider=logger_provider,
            registry=registry,
        )
        memory = make(audit)
        key = await memory.store("alice", SECRET)
        await memory.recall("alice", SECRET)
        await memory.forget("alice", key)
        audit.close()
        files = b"".join(
            file.read_bytes() for file in (tmp_path / "audit_logs").rglob("*") if file.is_file()
        )
        assert key.encode() in files
        spans = [span.to_json() for span in span_exporter.get_finished_spans()]
        assert len(spans) >= 3
        records = [str(one.log_record) for one in log_exporter.get_finished_logs()]
        assert len(records) >= 3
        for seen in (str(files), *spans, *records, generate_latest(registry).decode()):
            assert SECRET not in seen
            assert "xylophone" not in seen

    async def test_content_where_it_is_on(self, make: MakeMemory, make_audit: Make) -> None:
        """With content capture on, texts and queries are recorded."""
        audit = make_audit(capture_content=True)
        memory = make(audit)
        await memory.store("alice", SECRET)
        await memory.recall("alice", SECRET)
        stored, recalled = history(audit)
        assert SECRET in str(stored.metadata["content"])
        assert SECRET in str(recalled.metadata["content"])

    async def test_refused_before_memory_is_touched(
        self, make: MakeMemory, make_audit: Make, tmp_path: Path
    ) -> None:
        """With `on_failure="block"`, what cannot be recorded does not happen."""
        archive = tmp_path / "audit_logs"
        audit = make_audit(auto_export_path=archive, on_failure="block")
        memory = make(audit)
        await memory.store("alice", "kept")
        for file in archive.iterdir():
            file.unlink()
        archive.rmdir()
        archive.write_text("no directory")
        with pytest.raises(self.refusal):
            await memory.store("alice", SECRET)
        assert await memory.texts() == ["kept"]

    async def test_on_disk(self, make: MakeMemory, make_audit: Make, tmp_path: Path) -> None:
        """With `durability="disk"` the event is on stable storage when the call returns."""
        audit = make_audit(auto_export_path=tmp_path / "audit_logs", durability="disk")
        memory = make(audit)
        await memory.store("alice", SECRET)
        assert audit.trail.storage is not None
        assert audit.trail.storage.durable == audit.query_events(limit=1)[0].sequence

    async def test_nested(self, make: MakeMemory, audit: AuditLogger) -> None:
        """Calls inside of an operation of the program are parts of it."""
        memory = make(audit)
        async with audit.operation("SYNC", system="app", user_id="carol"):
            key = await memory.store("alice", SECRET)
        event = only_event(audit)
        assert (event.system, event.operation, event.entry_ids) == ("app", "SYNC", [key])
        assert (event.user_id, event.subjects) == ("carol", ("alice",))

    async def test_tasks_and_threads(self, make: MakeMemory, audit: AuditLogger) -> None:
        """Tasks and threads are told apart."""
        memory = make(audit)

        async def one(user: str) -> None:
            with audit_context(user_id=user):
                await memory.store(f"owner-{user}", f"{SECRET} {user}")

        await asyncio.gather(*(one(f"u{number}") for number in range(5)))
        events = history(audit)
        assert {(e.user_id, e.subjects) for e in events} == {
            (f"u{number}", (f"owner-u{number}",)) for number in range(5)
        }
        assert threading.active_count() < 50

    async def test_attributes(
        self, make: MakeMemory, audit: AuditLogger, span_exporter: InMemorySpanExporter
    ) -> None:
        """Span attributes have these names and types."""
        memory = make(audit)
        key = await memory.store("alice", SECRET)
        await memory.recall("alice", SECRET)
        await memory.forget("alice", key)
        spans = {
            str(span.name): dict(span.attributes or {})
            for span in span_exporter.get_finished_spans()
            if "axon.operation" in (span.attributes or {})
        }
        assert spans.keys() == {"create_memory", "search_memory", "delete_memory"}
        for name, attributes in spans.items():
            assert attributes["gen_ai.operation.name"] == name
            assert attributes["user.id"] == "alice"
            assert attributes["axon.status"] == "SUCCESS"
            assert attributes["gen_ai.memory.record.count"] == 1
            assert type(attributes["gen_ai.memory.record.count"]) is int
        assert spans["create_memory"]["gen_ai.memory.record.id"] == key
        assert spans["delete_memory"]["axon.forget.deleted"] == 1
