"""The wrapping itself: complete, once, transparent to the caller, and undone without a trace."""

from __future__ import annotations

import asyncio
import copy
import gc
import inspect
import json
import logging
import os
import subprocess
import sys
import threading
import traceback
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axon import MemoryEntry, MemorySystem
from axon.adapters.base import StorageAdapter
from axon.adapters.memory import InMemoryAdapter
from axon.core.adapter_registry import AdapterRegistry
from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.core.router import Router
from axon.models.audit import OperationType as SdkOperationType
from conftest import (
    FaultyAdapter,
    ListingAdapter,
    Make,
    MakeSystem,
    Run,
    assert_chained,
    history,
    only_event,
)
from opentelemetry import baggage, context
from opentelemetry._logs import NoOpLoggerProvider
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk._logs import (
    LoggerProvider,
    LogRecordLimits,
    LogRecordProcessor,
    ReadWriteLogRecord,
)
from opentelemetry.sdk._logs._internal import (  # made public after 1.39
    ConcurrentMultiLogRecordProcessor,
    SynchronousMultiLogRecordProcessor,
)
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import TraceFlags
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from axon_audit_otel import (
    AuditConfigError,
    AuditEvent,
    AuditLogger,
    AxonInstrumentor,
    EventStatus,
    OperationType,
)
from axon_audit_otel.events.query import is_start

EMPTY = {"version": "1.0", "entries": []}


async def in_transaction(memory: Any) -> None:
    async with memory.transaction():
        pass


#: One call of every audited method, and the operation it is.
CALLS: dict[str, tuple[str, Callable[[Any], Any]]] = {
    "store": ("STORE", lambda m: m.store("tea")),
    "recall": ("RECALL", lambda m: m.recall("tea")),
    "export": ("EXPORT", lambda m: m.export()),
    "import_from": ("IMPORT", lambda m: m.import_from(EMPTY)),
    "import_data": ("IMPORT", lambda m: m.import_data(["tea"])),
    "sync": ("SYNC", lambda m: m.sync("session", "persistent")),
    "compact": ("COMPACT", lambda m: m.compact()),
    "transaction": ("TRANSACTION", in_transaction),
    "forget": ("FORGET", lambda m: m.forget("nothing")),
    "route_forget": ("FORGET", lambda m: m.router.route_forget("nothing")),
}


class TestOneOfEach:
    """One operation is one event and one observation, however it was set up."""

    @pytest.fixture(name="setup", params=["instrument", "own", "own and other", "twice", "sdk's"])
    def _setup(
        self,
        request: pytest.FixtureRequest,
        make_audit: Make,
        make_system: MakeSystem,
        tracer_provider: TracerProvider,
    ) -> tuple[MemorySystem, AuditLogger, list[AuditLogger]]:
        """A system, the audit logger that must have its events, and those that must not."""
        how: str = request.param
        ours, other = make_audit(name="ours"), make_audit(name="other")
        if how != "own":
            instrumented = other if how == "own and other" else ours
            AxonInstrumentor().instrument(
                audit_logger=instrumented, tracer_provider=tracer_provider
            )
        own: Any = {"instrument": None, "sdk's": SdkAuditLogger()}.get(how, ours)
        return make_system(session=ListingAdapter(), audit_logger=own), ours, [other]

    @pytest.mark.parametrize("method", CALLS)
    async def test_one(
        self,
        setup: tuple[MemorySystem, AuditLogger, list[AuditLogger]],
        span_exporter: InMemorySpanExporter,
        registry: CollectorRegistry,
        method: str,
    ) -> None:
        """Every method, in every combination of `instrument` and `audit_logger=`."""
        memory, ours, others = setup
        operation, call = CALLS[method]
        await call(memory)

        event = only_event(ours)
        assert event.operation.value == operation
        assert event.status is EventStatus.SUCCESS
        labels = {"trail": ours.name, "system": "axon", "operation": operation}
        counted = registry.get_sample_value(
            "axon_memory_operations_total", {**labels, "status": "SUCCESS"}
        )
        timed = registry.get_sample_value("axon_memory_operation_duration_seconds_count", labels)
        assert (counted, timed) == (1, 1)
        assert [other.event_count for other in others] == [0]
        spans = span_exporter.get_finished_spans()
        assert len(spans) == (1 if AxonInstrumentor().is_instrumented_by_opentelemetry else 0)

    async def test_failure(
        self, setup: tuple[MemorySystem, AuditLogger, list[AuditLogger]]
    ) -> None:
        """A failing one as well, where the SDK's own audit code would speak up too."""
        memory, ours, others = setup
        with pytest.raises(ValueError, match="content"):
            await memory.store("")
        assert only_event(ours).status is EventStatus.FAILURE
        assert [other.event_count for other in others] == [0]


class TestAuditLoggerAlone:
    """`MemorySystem(config, audit_logger=AuditLogger())` is all that is needed."""

    async def test_supplies_what_the_sdk_lacks(self, config: Any, make_audit: Make) -> None:
        """`user_id=` and `forget` work without a call of `instrument`."""
        audit = make_audit()
        memory: Any = MemorySystem(config, audit_logger=audit)
        entry_id = await memory.store("tea", user_id="ada", session_id="s1")
        assert await memory.forget(entry_id, user_id="ada") == 1
        assert [(e.operation.value, e.user_id) for e in history(audit)] == [
            ("STORE", "ada"),
            ("FORGET", "ada"),
        ]

    @pytest.mark.parametrize("attached", ["constructor", "attribute"])
    async def test_never_fails_a_store(self, config: Any, make_audit: Make, attached: str) -> None:
        """Cases in which the SDK's own audit code fails work, since it is not called."""
        memory = MemorySystem(config)
        systems = [memory, MemorySystem(config, enable_pii_detection=False)]
        audit = make_audit()
        if attached == "constructor":
            systems = [
                MemorySystem(config, audit_logger=audit),
                MemorySystem(config, audit_logger=audit, enable_pii_detection=False),
            ]
        for system in systems:
            system.audit_logger = audit
            assert await system.store("tea", {"privacy_level": "internal"})
            assert await system.store("tea")
        assert {event.status for event in history(audit)} == {EventStatus.SUCCESS}
        assert audit.event_count == 4

    @pytest.mark.parametrize("detection", [True, False])
    async def test_one_event_each(
        self, config: Any, make_audit: Make, make_system: MakeSystem, detection: bool
    ) -> None:
        """Each of the SDK's methods that log by themselves is one event, with the SDK's facts;
        the logger is one, and true, for whoever asks for it inside as well."""
        audit = make_audit()
        seen: list[Any] = []

        class Asking(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                seen.extend([bool(audit), memory.audit_logger is audit])
                seen.append(len(await memory.export_audit_log()))
                await memory.audit_logger.log_event(SdkOperationType.STORE, metadata={"shard": 3})
                return await super().save(entry)

        memory: Any = make_system(audit_logger=audit, persistent=Asking())
        if not detection:  # then the SDK's own audit code cannot read the privacy level
            memory.pii_detector = None
        await memory.store("tea", tier="persistent")
        await memory.recall("tea")
        await memory.export()
        await memory.compact("persistent", strategy="count", dry_run=True)
        assert seen == [True, True, 0]
        events = history(audit)
        assert [event.operation.value for event in events] == [
            "STORE",
            "RECALL",
            "EXPORT",
            "COMPACT",
        ]
        assert events[0].metadata["shard"] == 3
        assert {event.status for event in events} == {EventStatus.SUCCESS}

    async def test_export_audit_log(self, config: Any, make_audit: Make) -> None:
        """The SDK's `export_audit_log` returns our events, filtered by its own enum."""
        memory: Any = MemorySystem(config, audit_logger=make_audit())
        entry_id = await memory.store("tea", user_id="ada")
        await memory.recall("tea")
        (stored,) = await memory.export_audit_log(operation=SdkOperationType.STORE, user_id="ada")
        assert stored["operation"] == "STORE"
        assert stored["entry_ids"] == [entry_id]
        assert len(await memory.export_audit_log()) == 2

    async def test_others_are_not_recorded(self, config: Any, make_audit: Make) -> None:
        """A system without an audit logger stays unrecorded."""
        audit = make_audit()
        await MemorySystem(config).store("tea")
        assert audit.event_count == 0

    async def test_two_never_mix(
        self, make_system: MakeSystem, make_audit: Make, registry: CollectorRegistry
    ) -> None:
        """Two systems with an audit logger each: events, numbering and metrics stay apart."""
        audits = [make_audit(), make_audit()]
        systems = [make_system(audit_logger=audit) for audit in audits]
        await asyncio.gather(*(systems[number % 2].store(str(number)) for number in range(20)))
        await systems[1].recall("1")
        assert audits[0].name != audits[1].name
        for audit, count in zip(audits, (10, 11)):
            assert audit.event_count == audit.get_statistics()["total_events"] == count
            assert_chained(history(audit))
            stored = {
                "trail": audit.name,
                "system": "axon",
                "operation": "STORE",
                "status": "SUCCESS",
            }
            assert registry.get_sample_value("axon_memory_operations_total", stored) == 10

    async def test_a_system_that_uses_another(
        self, make_system: MakeSystem, make_audit: Make
    ) -> None:
        """An operation inside one of another trail is recorded there, with all its facts."""
        outer_audit, inner_audit = make_audit(), make_audit()
        inner = make_system(audit_logger=inner_audit)

        class Mirroring(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                await inner.store(entry.text, importance=0.8)
                await inner.recall(entry.text)
                return await super().save(entry)

        outer = make_system(audit_logger=outer_audit, persistent=Mirroring())
        await outer.store("tea", {"privacy_level": "internal"})
        assert only_event(outer_audit).metadata["privacy_level"] == "internal"
        stored, recalled = history(inner_audit)
        assert stored.metadata["privacy_level"] == "public"
        assert {stored.status, recalled.status} == {EventStatus.SUCCESS}


def returned_by(code_name: str, results: list[Any]) -> Callable[..., None]:
    """A profiler that keeps what the SDK's function returns (and yields)."""

    def profile(frame: Any, event: str, value: Any) -> None:
        code = frame.f_code
        if (
            event == "return"
            and code.co_name == code_name
            and f"{os.sep}axon{os.sep}" in (code.co_filename)
        ):
            results.append(value)

    return profile


@pytest.mark.usefixtures("instrumented")
class TestTransparency:
    @pytest.mark.parametrize(
        "method", [name for name in CALLS if name not in {"transaction", "forget", "import_data"}]
    )
    async def test_the_very_same_result(self, make_system: MakeSystem, method: str) -> None:
        """The caller gets the object that the SDK's method returned."""
        memory = make_system(session=ListingAdapter())
        results: list[Any] = []
        before = sys.getprofile()
        sys.setprofile(returned_by(method, results))
        try:
            result = await CALLS[method][1](memory)
        finally:
            sys.setprofile(before)
        assert result is results[-1]

    async def test_the_very_same_exception(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """The caller gets the adapter's own exception, with every frame and no new context."""
        error = ConnectionResetError("lost")

        class Embedder:
            async def embed(self, text: str) -> list[float]:
                raise error

        memory: Any = make_system(embedder=Embedder())
        compacting: Any = make_system(persistent=FaultyAdapter(query=error))
        await compacting.import_from(
            {
                "version": "1.0",
                "entries": [
                    {"id": "a", "text": "tea", "metadata": {"created_at": "2025-01-15T10:30:45"}}
                ],
            }
        )
        for call, sdk_function in (
            (lambda: memory.store("tea"), "store"),
            (lambda: memory.recall("tea"), "route_recall"),
            (lambda: compacting.compact("persistent", threshold=1, dry_run=True), "compact"),
        ):
            error.__traceback__ = None
            with pytest.raises(ConnectionResetError) as caught:
                await call()
            assert caught.value is error
            assert error.__context__ is None
            assert error.__cause__ is None
            names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
            assert sdk_function in names
            assert names[-1] in {"embed", "_fault"}
        failed = history(audit, status="FAILURE")
        assert [event.operation.value for event in failed] == ["STORE", "RECALL", "COMPACT"]

    async def test_exceptions_that_are_no_errors(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A `BaseException` passes as well, and is recorded."""

        class StopNow(BaseException):
            pass

        stop = StopNow()
        memory = make_system(persistent=FaultyAdapter(save=stop))
        with pytest.raises(StopNow) as caught:
            await memory.store("tea")
        assert caught.value is stop
        event = only_event(audit)
        assert event.status is EventStatus.FAILURE
        assert event.error_type == f"{__name__}.{StopNow.__qualname__}"

    async def test_exception_without_words(self, make_system: MakeSystem, make_audit: Make) -> None:
        """An exception that cannot be printed is raised and recorded all the same."""

        class MuteError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no words")

        error = MuteError()

        class Embedder:  # the SDK prints what its adapters raise
            async def embed(self, text: str) -> list[float]:
                raise error

        audit = make_audit(capture_content=True)
        memory = make_system(audit_logger=audit, embedder=Embedder())
        memory.enable_tracing(False)
        with pytest.raises((MuteError, RuntimeError)):
            await memory.recall("tea")
        assert only_event(audit).status is EventStatus.FAILURE

    async def test_cancellation(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A cancelled operation is cancelled, and is a FAILURE; what it had saved is named."""
        saved = asyncio.Event()

        class Slow(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                await super().save(entry)
                saved.set()
                await asyncio.Event().wait()
                return entry.id

        adapter = Slow()
        memory: Any = make_system(persistent=adapter)
        task = asyncio.create_task(memory.store("tea", user_id="ada"))
        await saved.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()
        event = only_event(audit)
        assert (event.status, event.error_type) == (EventStatus.FAILURE, "asyncio.CancelledError")
        assert event.user_id == "ada"
        assert event.entry_ids == adapter.list_ids()

    def test_task_destroyed_while_pending(
        self, make_system: MakeSystem, audit: AuditLogger, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A task that its loop forgot is a FAILURE, recorded when Python destroys it."""
        asked = asyncio.Event()

        class Waiting(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                asked.set()
                return await asyncio.get_running_loop().create_future()

        memory: Any = make_system(persistent=Waiting())

        async def abandon() -> None:
            loop = asyncio.get_running_loop()
            loop.create_task(memory.store("tea", user_id="ada"))  # noqa: RUF006 - that is it
            await asked.wait()

        loop = asyncio.new_event_loop()
        loop.set_exception_handler(lambda loop, context: None)  # it would log the loss
        loop.run_until_complete(abandon())
        loop.close()
        del loop
        gc.collect()
        event = only_event(audit)
        assert (event.status, event.error_type) == (EventStatus.FAILURE, "GeneratorExit")
        assert event.user_id == "ada"
        ours = [r for r in caplog.records if not r.name.startswith(("axon.", "asyncio"))]
        assert [record.getMessage() for record in ours] == []

    def test_coroutine_that_is_closed(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A coroutine that was begun and then closed is a FAILURE; one never begun is nothing."""

        class Waiting(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                await asyncio.sleep(0)
                return await super().save(entry)

        memory = make_system(persistent=Waiting())
        memory.store("never begun").close()
        begun = memory.store("tea")
        begun.send(None)
        begun.close()
        assert only_event(audit).error_type == "GeneratorExit"

    def test_methods_look_the_same(self) -> None:
        """Wrapped methods are coroutine functions with the SDK's signature and docstring."""
        for name in ("store", "recall", "export", "import_from", "sync", "compact"):
            method = getattr(MemorySystem, name)
            assert inspect.iscoroutinefunction(method)
            assert next(iter(inspect.signature(method).parameters)) == "self"
            assert method.__name__ == name
            assert method.__doc__
            coroutine = method(MemorySystem.__new__(MemorySystem))
            assert coroutine.__qualname__ == f"MemorySystem.{name}"  # as asyncio shows it
            coroutine.close()

    async def test_subclass(self, config: Any, audit: AuditLogger) -> None:
        """A subclass that overrides a method and calls `super` is recorded once."""

        class Own(MemorySystem):
            async def store(self, content: str, *args: Any, **kwargs: Any) -> str:
                return await super().store(content.upper(), *args, **kwargs)

        await Own(config).store("tea")
        assert only_event(audit).operation is OperationType.STORE


@pytest.mark.usefixtures("instrumented")
class TestNesting:
    async def test_recorded_once_by_the_outer(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """An operation inside another one is part of it; child spans are no events."""

        class Curious(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                await memory.recall(entry.text)
                await asyncio.gather(memory.recall("a"), memory.recall("b"))
                return await super().save(entry)

        memory = make_system(persistent=Curious())
        await memory.store("tea")
        assert only_event(audit).operation is OperationType.STORE

    async def test_task_of_an_inner_one(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A task that an inner operation began, and that outlives it, is part of the outer one."""
        over, tasks = asyncio.Event(), list[asyncio.Task[Any]]()

        class Evicting(ListingAdapter):
            async def query(self, vector: Any, k: int = 5, filter: Any = None) -> Any:
                tasks.append(asyncio.create_task(self.evict()))
                return await super().query(vector, k, filter)

            async def evict(self) -> None:
                await over.wait()
                await self.delete(old)

            async def save(self, entry: MemoryEntry) -> str:
                if entry.text == "new":
                    await memory.recall("tea")
                    over.set()
                    await tasks[0]
                return await super().save(entry)

        memory = make_system(persistent=Evicting())
        old = await memory.store("old")
        new = await memory.store("new")
        assert [(e.operation.value, e.entry_ids) for e in history(audit)] == [
            ("STORE", [old]),
            ("STORE", [old, new]),
        ]

    async def test_and_then_the_next(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """After an operation, also a failed one, the next is recorded on its own."""
        await memory.store("tea")
        with pytest.raises(ValueError, match="content"):
            await memory.store("")
        await memory.store("tea")
        assert [event.status.value for event in history(audit)] == [
            "SUCCESS",
            "FAILURE",
            "SUCCESS",
        ]

    @pytest.mark.parametrize("begins", ["while the store runs", "after the store"])
    async def test_background_task_that_outlives_it(
        self, make_system: MakeSystem, audit: AuditLogger, begins: str
    ) -> None:
        """A task started inside an operation that outlives it is recorded on its own."""
        over = asyncio.Event()
        begun = asyncio.Event()
        tasks: list[asyncio.Task[Any]] = []

        class Refreshing(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                if entry.text == "second":
                    begun.set()
                    await over.wait()
                else:
                    tasks.append(asyncio.create_task(refresh()))
                    if begins == "while the store runs":
                        await begun.wait()
                return await super().save(entry)

        async def refresh() -> str:
            if begins == "after the store":
                await over.wait()
            return await memory.store("second")

        memory = make_system(persistent=Refreshing())
        first = await memory.store("first")
        over.set()
        second = await tasks[0]
        events = history(audit)
        assert [event.entry_ids for event in events] == [[first], [second]]

    async def test_background_task_of_an_adapter(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A task that an adapter started has operations with all their facts later on."""
        over = asyncio.Event()
        tasks: list[asyncio.Task[None]] = []

        class Refreshing(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                if not tasks:
                    tasks.append(asyncio.create_task(refresh()))
                return await super().save(entry)

        async def refresh() -> None:
            await over.wait()
            await memory.store("second")
            await memory.recall("second")
            await memory.import_from(EMPTY)

        memory = make_system(persistent=Refreshing())
        await memory.store("first")
        over.set()
        await tasks[0]
        first, second, *others = history(audit)
        assert first.metadata.keys() == second.metadata.keys()
        assert [event.status.value for event in others] == ["SUCCESS", "SUCCESS"]

    @pytest.mark.parametrize(
        "chained",
        [
            False,
            True,
        ],
    )
    async def test_background_delete_that_outlives_it(
        self, make_system: MakeSystem, audit: AuditLogger, chained: bool
    ) -> None:
        """A delete that an operation began and did not wait for is one event of its own."""
        over, begun = asyncio.Event(), asyncio.Event()
        tasks: list[asyncio.Task[Any]] = []

        class Evicting(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                for key in self.list_ids():
                    tasks.append(asyncio.create_task(self.delete(key)))
                    await begun.wait()
                return await super().save(entry)

            async def delete(self, id: str) -> bool:
                begun.set()
                await over.wait()
                if chained:
                    return await super().delete(id)
                return self._storage.pop(id, None) is not None

        memory = make_system(persistent=Evicting())
        first, second = await memory.store("first"), await memory.store("second")
        over.set()
        assert await tasks[0] is True
        assert [(e.operation.value, e.entry_ids) for e in history(audit)] == [
            ("STORE", [first]),
            ("STORE", [second]),
            ("FORGET", [first]),
        ]

    async def test_context_that_somebody_left_behind(
        self, make_system: MakeSystem, span_exporter: InMemorySpanExporter
    ) -> None:
        """An adapter that attaches an OpenTelemetry context for good does not keep our span."""

        class Leaking(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                context.attach(baggage.set_baggage("tenant", "acme"))
                return await super().save(entry)

        memory = make_system(persistent=Leaking())
        await memory.store("one")
        await memory.store("two")
        assert [span.parent for span in span_exporter.get_finished_spans()] == [None, None]

    @pytest.mark.parametrize(
        "kind",
        [
            "REINDEX",
            "STORE",
        ],
    )
    async def test_logged_by_hand_inside(
        self, make_system: MakeSystem, audit: AuditLogger, kind: str
    ) -> None:
        """An event that an adapter of the user's own logs inside an operation is not lost."""

        class Telling(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                await audit.log_event(kind, user_id="replica", status="FAILURE")
                return await super().save(entry)

        await make_system(persistent=Telling()).store("tea")
        assert [(e.operation.value, e.user_id, e.status.value) for e in history(audit)] == [
            (kind, "replica", "FAILURE"),
            ("STORE", None, "SUCCESS"),
        ]

    async def test_logged_by_the_sdk_inside(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """An event logged with the SDK's own enum is merged into the running operation's."""

        class Telling(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                await audit.log_event(SdkOperationType.STORE, metadata={"shard": 3})
                return await super().save(entry)

        entry_id = await make_system(persistent=Telling()).store("tea", importance=0.8)
        event = only_event(audit)
        assert event.entry_ids == [entry_id]
        assert (event.metadata["shard"], event.metadata["importance"]) == (3, 0.8)

    async def test_background_delete_that_fails_later(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """A delete that failed after the operation that began it is told as well."""
        over, begun = asyncio.Event(), asyncio.Event()
        tasks: list[asyncio.Task[Any]] = []

        class Evicting(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                tasks.append(asyncio.create_task(self.delete("old")))
                await begun.wait()
                return await super().save(entry)

            async def delete(self, id: str) -> bool:
                begun.set()
                await over.wait()
                raise OSError("down")

        await make_system(persistent=Evicting()).store("tea")
        over.set()
        with pytest.raises(OSError, match="down"):
            await tasks[0]
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.entry_ids) == (EventStatus.FAILURE, ["old"])

    async def test_holds_no_memories(self, make_system: MakeSystem) -> None:
        """An operation that is over keeps no entry alive, even while a task that it began runs."""
        tasks: list[asyncio.Task[None]] = []

        class Pooling(InMemoryAdapter):
            async def get(self, id: str) -> MemoryEntry:
                if not tasks:  # as a connection pool would
                    tasks.append(asyncio.create_task(asyncio.sleep(3600)))
                return await super().get(id)

        adapter = Pooling()
        memory = make_system(persistent=adapter)
        for text in ("one", "two"):
            await memory.store(text)
        kept = [weakref.ref(entry) for entry in adapter._storage.values()]
        await memory.export()
        adapter._storage.clear()
        gc.collect()
        assert [reference() for reference in kept] == [None, None]
        tasks[0].cancel()


WRAPPED = (MemorySystem, Router, AdapterRegistry, StorageAdapter, InMemoryAdapter)


class TestInstrumentAndBack:
    def test_cycles_restore_everything(self, make_audit: Make) -> None:
        """After `uninstrument` every class has its own members again, the very same objects."""
        before = [dict(vars(cls)) for cls in WRAPPED]
        assert not hasattr(MemorySystem, "forget")
        for _ in range(3):
            audit = make_audit()
            AxonInstrumentor().instrument(audit_logger=audit)
            assert vars(MemorySystem)["store"] is not before[0]["store"]
            assert hasattr(MemorySystem, "forget")
            AxonInstrumentor().uninstrument()
            for cls, members in zip(WRAPPED, before):
                assert vars(cls).keys() == members.keys()
                assert [name for name in members if vars(cls)[name] is not members[name]] == []

    @pytest.mark.slow
    def test_before_the_sdk_is_imported(self, run_script: Run) -> None:
        """`instrument` imports the SDK, which is wrapped once all the same: outcomes are the
        same, and `uninstrument` restores it."""
        said = run_script("""
            import asyncio, sys
            from axon_audit_otel import AuditLogger, AxonInstrumentor
            audit = AuditLogger()
            assert "axon" not in sys.modules
            AxonInstrumentor().instrument(audit_logger=audit)
            from axon import MemorySystem
            from axon.core.config import MemoryConfig
            from axon.core.policies.persistent import PersistentPolicy
            policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
            memory = MemorySystem(MemoryConfig(persistent=policy, default_tier="persistent"))

            async def main():
                entry = await memory.store("tea")
                adapter = await memory.registry.get_adapter("persistent")

                async def delete(entry_id):
                    return True

                adapter.delete = delete
                await memory.forget(entry)

            asyncio.run(main())
            newest = audit.query_events(limit=1)[0]
            print(newest.status.value, newest.error_type)
            AxonInstrumentor().uninstrument()
            print(type(vars(MemorySystem)["store"]).__name__, hasattr(MemorySystem, "forget"))
            """)
        assert said.splitlines() == ["FAILURE entry_still_present", "function False"]

    async def test_leaves_a_later_wrapper_alone(self, config: Any, make_audit: Make) -> None:
        """A foreign wrapper around ours stays; ours inside it only passes calls on."""
        calls = []
        audit = make_audit()
        AxonInstrumentor().instrument(audit_logger=audit)
        ours = MemorySystem.store

        async def theirs(self: Any, *args: Any, **kwargs: Any) -> str:
            calls.append(args)
            return await ours(self, *args, **kwargs)

        MemorySystem.store = theirs
        try:
            AxonInstrumentor().uninstrument()
            assert MemorySystem.store is theirs
            assert await MemorySystem(config).store("tea")
        finally:
            MemorySystem.store = ours.__wrapped__
        assert (calls, audit.event_count) == ([("tea",)], 0)

    async def test_silences_bound_methods(self, config: Any, make_audit: Make) -> None:
        """Methods taken earlier still work, and record nothing any more."""
        audit = make_audit()
        AxonInstrumentor().instrument(audit_logger=audit)
        memory: Any = MemorySystem(config)
        store, recall, forget = memory.store, memory.recall, memory.forget
        transaction, route_forget = memory.transaction, memory.router.route_forget
        AxonInstrumentor().uninstrument()
        entry_id = await store("tea")
        assert len(await recall("tea")) == 1
        async with transaction():
            pass
        await route_forget("nothing")
        assert await forget(entry_id) == 1
        assert audit.event_count == 0

    async def test_the_sdk_speaks_for_itself(self, config: Any, make_audit: Make) -> None:
        """After `uninstrument` the SDK's own audit code uses the audit logger as its own."""
        audit = make_audit()
        memory = MemorySystem(config, audit_logger=audit)
        AxonInstrumentor().uninstrument()
        entry_id = await memory.store("tea", {"user_id": "ada"})
        await memory.recall("private words")
        stored, recalled = history(audit)
        assert (stored.entry_ids, stored.user_id) == ([entry_id], "ada")
        assert recalled.operation is OperationType.RECALL
        assert b"private" not in recalled.to_json()

    async def test_an_operation_under_way(self, make_system: MakeSystem, make_audit: Make) -> None:
        """An operation that began while instrumented is recorded to its end."""
        audit = make_audit()
        AxonInstrumentor().instrument(audit_logger=audit)

        class Ending(ListingAdapter):
            async def save(self, entry: MemoryEntry) -> str:
                AxonInstrumentor().uninstrument()
                return await super().save(entry)

        entry_id = await make_system(persistent=Ending()).store("tea")
        assert only_event(audit).entry_ids == [entry_id]

    async def test_two_constructions(
        self, config: Any, make_audit: Make, tracer_provider: TracerProvider
    ) -> None:
        """Constructing another one changes nothing; either can undo."""
        audit = make_audit()
        first = AxonInstrumentor()
        first.instrument(audit_logger=audit, tracer_provider=tracer_provider)
        second = AxonInstrumentor()
        memory = MemorySystem(config)
        await memory.store("tea")
        assert first.audit_logger is second.audit_logger is audit
        second.uninstrument()
        assert first.audit_logger is None
        await memory.store("tea")
        assert audit.event_count == 1

    async def test_twice_warns(
        self, config: Any, make_audit: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A second `instrument` warns and changes nothing."""
        first, second = make_audit(), make_audit()
        AxonInstrumentor().instrument(audit_logger=first)
        with caplog.at_level(logging.WARNING):
            AxonInstrumentor().instrument(audit_logger=second)
        assert "already instrumented" in caplog.text
        await MemorySystem(config).store("tea")
        assert (first.event_count, second.event_count) == (1, 0)

    def test_unknown_argument(self, caplog: pytest.LogCaptureFixture) -> None:
        """A misspelt argument is told."""
        with caplog.at_level(logging.WARNING):
            AxonInstrumentor().instrument(trace_provider=None)
        assert "trace_provider" in caplog.text

    @pytest.mark.parametrize("wrong", [SdkAuditLogger(), "audit", object()])
    async def test_no_audit_logger(self, config: Any, wrong: Any) -> None:
        """Something else than our `AuditLogger` is refused, before any call can trip on it."""
        with pytest.raises(AuditConfigError, match="audit_logger"):
            AxonInstrumentor().instrument(audit_logger=wrong)
        await MemorySystem(config).store("tea")

    @pytest.mark.usefixtures("fresh_name")
    async def test_default_audit_logger(self, config: Any) -> None:
        """Without `audit_logger` one is made from the environment, and can be had."""
        instrumentor = AxonInstrumentor()
        assert instrumentor.audit_logger is None
        instrumentor.instrument()
        await MemorySystem(config).store("tea")
        assert instrumentor.audit_logger is not None
        assert only_event(instrumentor.audit_logger).operation is OperationType.STORE

    async def test_systems_made_before(self, config: Any, make_audit: Make) -> None:
        """Systems that exist already are recorded from then on, their adapters too."""
        memory = MemorySystem(config)
        entry_id = await memory.store("tea")
        audit = make_audit()
        AxonInstrumentor().instrument(audit_logger=audit)
        await memory.recall("tea")
        await (await memory.registry.get_adapter("persistent")).delete(entry_id)
        assert [e.operation.value for e in history(audit)] == ["RECALL", "FORGET"]

    def test_dependencies(self) -> None:
        """It asks for the SDK in a way that its pre-releases satisfy."""
        (wanted,) = AxonInstrumentor().instrumentation_dependencies()
        assert wanted.startswith("axon-sdk >= 1.0.0b")


class RaisingProcessor(LogRecordProcessor):
    """Somebody's broken processor."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        raise RuntimeError("broken")

    def shutdown(self) -> None:
        pass

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


class LastFirst(SynchronousMultiLogRecordProcessor):
    """Calls the processors that were added later first."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        for processor in reversed(self._log_record_processors):
            processor.on_emit(log_record)


def _shut_down() -> LoggerProvider:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.shutdown()
    return provider


def _raising(*, before: bool) -> LoggerProvider:
    # Ours goes to the front, so that only this can put another one before it.
    multi = LastFirst() if before else None
    provider = LoggerProvider(shutdown_on_exit=False, multi_log_record_processor=multi)
    provider.add_log_record_processor(RaisingProcessor())
    return provider


def _concurrent() -> LoggerProvider:
    multi = ConcurrentMultiLogRecordProcessor()
    provider = LoggerProvider(shutdown_on_exit=False, multi_log_record_processor=multi)
    provider.add_log_record_processor(RaisingProcessor())
    return provider


def _narrow() -> LoggerProvider:
    """A provider with limits of 1 on everything."""
    if "log_record_limits" not in inspect.signature(LoggerProvider).parameters:
        pytest.skip("OpenTelemetry before 1.44 has limits by environment only")
    return LoggerProvider(shutdown_on_exit=False, log_record_limits=LogRecordLimits(1, 1, 1, 1))


PROVIDERS: dict[str, Callable[[], Any]] = {
    "none": lambda: None,
    "shut down": _shut_down,
    "raises after ours": lambda: _raising(before=False),
    "raises before ours": lambda: _raising(before=True),
    "concurrent and raising": _concurrent,
    "no SDK's": NoOpLoggerProvider,
    "one attribute": _narrow,
}


class TestSurroundings:
    """The event is recorded once and complete in every state of OpenTelemetry."""

    @pytest.mark.parametrize("kind", PROVIDERS)
    async def test_logger_provider(
        self, config: Any, make_audit: Make, registry: CollectorRegistry, kind: str
    ) -> None:
        """A provider that is missing, shut down, broken or narrow loses and changes nothing."""
        audit = make_audit(logger_provider=PROVIDERS[kind]())
        AxonInstrumentor().instrument(audit_logger=audit)
        memory: Any = MemorySystem(config)
        entry_id = await memory.store("tea", tags=["a", "b"], user_id="ada", session_id="s1")
        with pytest.raises(ValueError, match="content"):
            await memory.store("", user_id="ada")

        stored, failed = history(audit)
        assert (stored.entry_ids, stored.metadata["tags"]) == ([entry_id], ["a", "b"])
        assert (stored.user_id, stored.session_id) == ("ada", "s1")
        assert failed.error_type == "ValueError"
        assert_chained([stored, failed])
        labels = {"trail": audit.name, "system": "axon", "operation": "STORE", "status": "SUCCESS"}
        assert registry.get_sample_value("axon_memory_operations_total", labels) == 1

    async def test_limits_of_the_environment(
        self, config: Any, make_audit: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT=1` and the like do not reach the trail."""
        for variable in (
            "OTEL_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT",
            "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT",
            "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT",
        ):
            monkeypatch.setenv(variable, "1")
        audit = make_audit(logger_provider=LoggerProvider(shutdown_on_exit=False))
        AxonInstrumentor().instrument(
            audit_logger=audit, tracer_provider=TracerProvider(shutdown_on_exit=False)
        )
        memory: Any = MemorySystem(config)
        entry_id = await memory.store("tea", tags=["long tag"], user_id="ada")
        event = only_event(audit)
        assert (event.entry_ids, event.user_id) == ([entry_id], "ada")
        assert event.metadata["tags"] == ["long tag"]

    async def test_unsampled(
        self, config: Any, make_audit: Make, registry: CollectorRegistry
    ) -> None:
        """A sampler that drops every span: the event has its trace, metrics no exemplar."""
        audit = make_audit()
        provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=provider)
        await MemorySystem(config).store("tea")
        event = only_event(audit)
        assert event.trace_id is not None
        assert len(event.trace_id) == 32
        assert not int(event.trace_flags or "00", 16) & TraceFlags.SAMPLED
        assert audit.get_statistics()["by_operation"]["STORE"] == 1
        assert "trace_id=" not in generate_latest(registry).decode()

    async def test_no_tracer_provider(self, config: Any, make_audit: Make) -> None:
        """Without any tracer the event has no trace, and everything else."""
        audit = make_audit()
        AxonInstrumentor().instrument(audit_logger=audit)
        entry_id = await MemorySystem(config).store("tea")
        event = only_event(audit)
        assert (event.trace_id, event.span_id) == (None, None)
        assert event.entry_ids == [entry_id]

    async def test_suppressed(
        self,
        memory: MemorySystem,
        audit: AuditLogger,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """`suppress_instrumentation` takes the span; the audit event stays."""
        with suppress_instrumentation():
            await memory.store("tea")
        assert span_exporter.get_finished_spans() == ()
        assert only_event(audit).operation is OperationType.STORE

    async def test_tracer_that_raises(
        self, config: Any, make_audit: Make, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A broken span processor reaches neither the caller nor the event."""
        from opentelemetry.sdk.trace import SpanProcessor

        class Broken(SpanProcessor):
            def on_start(self, span: Any, parent_context: Any = None) -> None:
                raise RuntimeError("broken")

            def on_end(self, span: Any) -> None:
                raise RuntimeError("broken")

        provider = TracerProvider(shutdown_on_exit=False)
        provider.add_span_processor(Broken())
        audit = make_audit()
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=provider)
        memory = MemorySystem(config)
        ids = [await memory.store("tea"), await memory.store("coffee")]
        assert [event.entry_ids for event in history(audit)] == [[key] for key in ids]
        assert audit.get_statistics()["failures"]["record"] >= 2
        told = [r for r in caplog.records if r.name == "axon_audit_otel"]
        assert 1 <= len(told) <= 2

    async def test_given_providers_only(
        self,
        memory: MemorySystem,
        log_exporter: InMemoryLogRecordExporter,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """One record and one span go to the application's own exporters."""
        await memory.store("tea")
        assert len(log_exporter.get_finished_logs()) == 1
        assert len(span_exporter.get_finished_spans()) == 1


@pytest.mark.usefixtures("instrumented")
class TestConcurrency:
    async def test_a_thousand_tasks(self, memory: Any, audit: AuditLogger) -> None:
        """A thousand tasks at once: no event lost, no gap, the chain holds."""

        async def work(number: int) -> str:
            await asyncio.sleep(0)
            entry_id: str = await memory.store(f"tea {number}", user_id=f"u{number}")
            return entry_id

        ids = await asyncio.gather(*(work(number) for number in range(1_000)))
        events = history(audit)
        assert_chained(events)
        assert {event.user_id: event.entry_ids for event in events} == {
            f"u{number}": [entry_id] for number, entry_id in enumerate(ids)
        }

    @pytest.mark.parametrize("shared", [True, False])
    def test_eight_threads(self, make_system: MakeSystem, audit: AuditLogger, shared: bool) -> None:
        """Eight threads with a loop each, on one system or on their own: likewise."""
        one: Any = make_system()
        asyncio.run(one.recall("warm up"))
        problems: list[BaseException] = []
        barrier = threading.Barrier(8)

        async def work(memory: Any, user: str) -> None:
            for number in range(50):
                entry_id = await memory.store(f"tea {number}", user_id=user)
                await memory.forget(entry_id, user_id=user)

        def thread(number: int) -> None:
            try:
                barrier.wait()
                asyncio.run(work(one if shared else make_system(), f"u{number}"))
            except BaseException as exc:
                problems.append(exc)

        threads = [threading.Thread(target=thread, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert problems == []
        events = history(audit)
        assert_chained(events)
        assert len(events) == 1 + 8 * 100
        assert audit.get_statistics()["total_events"] == len(events)
        for number in range(8):
            assert len(audit.query_events(user_id=f"u{number}", operation="FORGET")) == 50


APP = """
import asyncio
from axon import MemorySystem
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy

async def main():
    policy = PersistentPolicy(
        adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
    )
    memory = MemorySystem(MemoryConfig(persistent=policy, default_tier="persistent"))
    entry_id = await memory.store("tea", user_id="ada")
    await memory.recall("tea", user_id="ada")
    await memory.forget(entry_id, user_id="ada")

asyncio.run(main())
"""


def run_app(tmp_path: Path, command: list[str], app: str, **environ: str) -> list[AuditEvent]:
    """Run *app* and read the events of its sealed file, without the record `start`."""
    script = tmp_path / "app.py"
    script.write_text(app)
    done = subprocess.run(
        [*command, str(script)],
        env={
            **{k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "AXON_"))},
            "AXON_AUDIT_AUTO_EXPORT_PATH": str(tmp_path / "audit"),
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            **environ,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert list((tmp_path / "audit").glob("*.journal")) == []
    (sealed,) = (tmp_path / "audit").glob("audit_*.json")
    content = json.loads(sealed.read_bytes())
    assert content["total_events"] == len(content["events"])
    start, *events = msgspec.convert(content["events"], list[AuditEvent])
    assert is_start(start)
    return events


class TestWithoutCode:
    @pytest.mark.slow
    def test_opentelemetry_instrument(self, tmp_path: Path) -> None:
        """`opentelemetry-instrument python app.py`: recorded, and sealed at the exit."""
        launcher = str(Path(sys.executable).with_name("opentelemetry-instrument"))
        events = run_app(tmp_path, [launcher, sys.executable], APP)
        assert [(e.operation.value, e.status.value, e.user_id) for e in events] == [
            ("STORE", "SUCCESS", "ada"),
            ("RECALL", "SUCCESS", "ada"),
            ("FORGET", "SUCCESS", "ada"),
        ]
        assert all(event.trace_id for event in events)
        assert_chained(events)

    @pytest.mark.slow
    def test_made_before_the_sdk_is_imported(self, tmp_path: Path) -> None:
        """An `AuditLogger` may exist before the SDK is imported."""
        first = (
            "import sys\nfrom axon_audit_otel import AuditLogger\naudit = AuditLogger()\n"
            "assert 'axon' not in sys.modules\n"
        )
        app = APP.replace(
            'default_tier="persistent")', 'default_tier="persistent"), audit_logger=audit'
        )
        assert app != APP
        events = run_app(tmp_path, [sys.executable], first + app)
        assert [event.operation.value for event in events] == ["STORE", "RECALL", "FORGET"]

    @pytest.mark.slow
    def test_disabled_sdk(self, tmp_path: Path) -> None:
        """`OTEL_SDK_DISABLED=true` turns OpenTelemetry off, and not the audit."""
        by_hand = "from axon_audit_otel import AxonInstrumentor\nAxonInstrumentor().instrument()\n"
        events = run_app(tmp_path, [sys.executable], by_hand + APP, OTEL_SDK_DISABLED="true")
        assert [event.operation.value for event in events] == ["STORE", "RECALL", "FORGET"]
        assert_chained(events)


class TestElsewhere:
    """Applications use systems in other ways than awaiting them in asyncio."""

    @pytest.mark.parametrize("durability", ["process", "disk"])
    def test_another_event_loop(
        self, make_system: MakeSystem, make_audit: Make, tmp_path: Path, durability: str
    ) -> None:
        """Without asyncio's loop (trio, a coroutine driven by hand) an operation works, and
        its event is as durable as promised."""
        audit = make_audit(auto_export_path=tmp_path, durability=durability)
        call = make_system(audit_logger=audit).store("tea", user_id="alice")
        with pytest.raises(StopIteration) as returned:
            call.send(None)
        assert only_event(audit).entry_ids == [returned.value.value]
        (journal,) = tmp_path.glob("*.journal")
        assert only_event(audit).event_id in journal.read_text()

    @pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
    async def test_copies(
        self, make_system: MakeSystem, audit: AuditLogger, copied: Callable[[Any], Any]
    ) -> None:
        """A copy of a system records in the same trail."""
        await copied(make_system(audit_logger=audit)).store("tea")
        assert only_event(audit).operation == "STORE"
