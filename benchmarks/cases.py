"""What is measured. A batch does something *n* times and returns the seconds that took."""

from __future__ import annotations

import asyncio
import gc
import hashlib
import subprocess
import sys
import tracemalloc
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from time import perf_counter, time_ns
from typing import Any
from uuid import uuid4

import msgspec
import psutil  # type: ignore[import-untyped,unused-ignore]
from axon import MemorySystem
from axon.adapters.base import StorageAdapter
from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy
from axon.models.audit import OperationType as SdkOperationType
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.trace import format_trace_id
from prometheus_client import CollectorRegistry, Counter, Histogram

from axon_audit_otel import AuditLogger, AxonInstrumentor, OperationType, audit_context
from axon_audit_otel.event import draft

Batch = Callable[[int], Awaitable[float]]
Times = dict[str, float]  # what one operation took, by batch

FULL = 10_000  # the default max_events: every append pushes an old event out, as in real life
WARM = 60  # calls before the clock starts: fills caches that instrument() emptied


@dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Args:
        name: What is compared.
        unit: Of *ours* and *reference*.
        ours: Our cost, from the times of one round.
        reference: What it is measured against.
        versus: The reference in words.
        limit: The most that ratio (or, if *absolute*, our cost) should be; None: no target.
        absolute: Whether *limit* is meant for our cost.
        faster: Show reference / ours, and *limit* is the least that should be.
    """

    name: str
    unit: str
    ours: Callable[[Times], float]
    reference: Callable[[Times], float]
    versus: str
    limit: float | None = None
    absolute: bool = False
    faster: bool = False


@dataclass
class Group:
    """Batches that take turns, and what is read from their times."""

    name: str
    batches: dict[str, Batch]
    size: int  # operations in one batch
    comparisons: list[Comparison]
    turns: int = 5  # of every batch in a round; the median counts


# --- everything on: span, log record, trail, metrics -----------------------------------------

TEXT = "The user prefers window seats and vegetarian meals on flights longer than three hours."
OWNER = {"user_id": "user_4711", "session_id": "session_0815"}
TAGS = ["travel", "preference"]


class _NoLogs(LogRecordProcessor):
    """A log pipeline that does nothing."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None: ...

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def _logger_provider(processor: LogRecordProcessor) -> LoggerProvider:
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    return provider


def _tracer_provider(processor: SpanProcessor) -> TracerProvider:
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(processor)  # SpanProcessor itself does nothing
    return provider


class _Capture(SpanProcessor, _NoLogs):
    """Keeps what the last span and log record really carried."""

    first: dict[str, Any]
    span: ReadableSpan
    record: LogRecord

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.first = dict(span.attributes)

    def on_end(self, span: ReadableSpan) -> None:
        self.span = span

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self.record = log_record.log_record


@contextmanager
def _instrumented(audit: AuditLogger, tracers: TracerProvider) -> Iterator[None]:
    AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracers)
    try:
        yield
    finally:
        AxonInstrumentor().uninstrument()


def audit_logger(**arguments: Any) -> AuditLogger:
    """An `AuditLogger`; the SDK, which it patches, is put back as it was."""
    audit = AuditLogger(registry=CollectorRegistry(), **arguments)
    with _instrumented(audit, TracerProvider(shutdown_on_exit=False)):
        return audit


class _ByHand:
    """The floor: bare OpenTelemetry and Prometheus calls for the signals of one operation.

    Args:
        seen: What an instrumented operation carried; the same is sent here.
    """

    def __init__(self, seen: _Capture) -> None:
        self._name = seen.span.name
        self._first = seen.first  # known when the operation begins
        final = dict(seen.span.attributes or {})
        self._rest = {key: value for key, value in final.items() if key not in seen.first}
        self._record = seen.record
        self._attributes = dict(seen.record.attributes or {})
        self._tracer = _tracer_provider(SpanProcessor()).get_tracer("by_hand")
        self._logger = _logger_provider(_NoLogs()).get_logger("by_hand")
        registry = CollectorRegistry()
        counter = Counter("operations", "-", ("operation", "status"), registry=registry)
        self._counter = counter.labels("STORE", "SUCCESS")
        self._histogram = Histogram("seconds", "-", ("operation",), registry=registry).labels("S")

    async def run(self, n: int, work: Callable[[], Awaitable[Any]] | None = None) -> float:
        record = self._record
        start = perf_counter()
        for _ in range(n):
            begun = perf_counter()
            with self._tracer.start_as_current_span(self._name, attributes=self._first) as span:
                if work is not None:
                    await work()
                span.set_attributes(self._rest)
                self._logger.emit(
                    LogRecord(
                        timestamp=time_ns(),
                        severity_number=record.severity_number,
                        severity_text=record.severity_text,
                        body=record.body,
                        attributes=self._attributes,
                        event_name=record.event_name,
                    )
                )
            self._counter.inc()
            trace_id = format_trace_id(span.get_span_context().trace_id)
            self._histogram.observe(perf_counter() - begun, {"trace_id": trace_id})
        return perf_counter() - start


class _Nothing(StorageAdapter):  # type: ignore[misc]
    """A storage adapter that does nothing: what an audited call of it costs is all ours."""

    async def save(self, entry: Any) -> str:
        return str(entry.id)

    async def query(self, vector: Any, k: int = 5, filter: Any = None) -> list[Any]:
        return []

    async def get(self, id: str) -> Any:
        raise KeyError(id)

    async def delete(self, id: str) -> bool:
        return True

    async def bulk_save(self, entries: Any) -> list[str]:
        return []

    async def reindex(self) -> None: ...


def _system() -> MemorySystem:
    """A real system on the SDK's in-memory adapter."""
    policy = PersistentPolicy(
        adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
    )
    return MemorySystem(MemoryConfig(persistent=policy, default_tier="persistent"))


async def _store(memory: MemorySystem) -> None:
    await memory.store(TEXT, metadata=OWNER, importance=0.8, tags=TAGS)


async def _stores(n: int) -> float:
    memory = _system()
    for _ in range(WARM):
        await _store(memory)
    start = perf_counter()
    for _ in range(n):
        await _store(memory)
    return perf_counter() - start


async def _deletes(n: int) -> float:
    adapter = _Nothing()
    ids = [str(uuid4()) for _ in range(n)]
    with audit_context(**OWNER):
        for _ in range(WARM):
            await adapter.delete("-")
        start = perf_counter()
        for entry_id in ids:
            await adapter.delete(entry_id)
        return perf_counter() - start


async def signals() -> Group:
    """Everything on, for a real `store` and for a call that does nothing itself."""
    floors = []
    for batch in (_stores, _deletes):
        seen = _Capture()
        audit = audit_logger(logger_provider=_logger_provider(seen))
        with _instrumented(audit, _tracer_provider(seen)):
            await batch(1)
        floors.append(_ByHand(seen))
    store_floor, delete_floor = floors
    audit = audit_logger(logger_provider=_logger_provider(_NoLogs()))
    tracers = _tracer_provider(SpanProcessor())
    with _instrumented(audit, tracers):
        await _deletes(FULL)

    async def store(n: int) -> float:
        with _instrumented(audit, tracers):
            return await _stores(n)

    async def delete(n: int) -> float:
        with _instrumented(audit, tracers):
            return await _deletes(n)

    async def store_by_hand(n: int) -> float:
        memory = _system()
        await store_floor.run(WARM, lambda: _store(memory))
        return await store_floor.run(n, lambda: _store(memory))

    return Group(
        "signals",
        {
            "store": store,
            "store plain": _stores,
            "store by hand": store_by_hand,
            "delete": delete,
            "delete floor": delete_floor.run,
            "delete plain": _deletes,
        },
        100,
        [
            Comparison(
                "everything on, added to a store",
                "us",
                lambda t: t["store"] - t["store plain"],
                lambda t: t["store by hand"] - t["store plain"],
                "bare OpenTelemetry calls, added to it",
                1.5,
            ),
            Comparison(
                "everything on, a call that does nothing",
                "us",
                lambda t: t["delete"] - t["delete plain"],
                lambda t: t["delete floor"],
                "bare OpenTelemetry calls",
                1.5,
            ),
            Comparison(
                "instrumented store, whole call",
                "us",
                lambda t: t["store"],
                lambda t: t["store by hand"],
                "store with those calls around it",
            ),
            Comparison(
                "instrumented store, whole call",
                "us",
                lambda t: t["store"],
                lambda t: t["store plain"],
                "uninstrumented store",
            ),
        ],
    )


# --- the audit trail alone -----------------------------------------------------------------------

METADATA = {
    "importance": 0.8,
    "tags": TAGS,
    "tier": "persistent",
    "has_embedding": False,
    "privacy_level": "public",
}


async def _log_events(audit: Any, operation: Any, n: int) -> float:
    ids = [[str(uuid4())] for _ in range(n)]
    start = perf_counter()
    for entry_ids in ids:
        await audit.log_event(
            operation=operation,
            user_id="user_4711",
            session_id="session_0815",
            entry_ids=entry_ids,
            metadata=METADATA,
            duration_ms=45.2,
        )
    return perf_counter() - start


async def log_event_run() -> Group:
    """The same from an empty logger to a full one, with the garbage collections that come.

    The SDK keeps a tree of objects for each event, which every full collection walks; ours
    keeps one `bytes`, which none does. Short batches between collections hide that.
    """

    async def our_batch(n: int) -> float:
        return await _log_events(audit_logger(max_events=n + 1), OperationType.STORE, n)

    async def their_batch(n: int) -> float:
        return await _log_events(SdkAuditLogger(max_events=n + 1), SdkOperationType.STORE, n)

    comparison = Comparison(
        "log_event, 20,000 times",
        "us",
        lambda t: t["ours"],
        lambda t: t["SDK"],
        "the SDK's log_event",
        2.5,
    )
    return Group("run", {"ours": our_batch, "SDK": their_batch}, 20_000, [comparison], turns=1)


async def log_event() -> Group:
    """`AuditLogger.log_event` without a tracer and on a private provider, metrics on."""
    ours, theirs = audit_logger(), SdkAuditLogger()

    async def our_batch(n: int) -> float:
        return await _log_events(ours, OperationType.STORE, n)

    async def their_batch(n: int) -> float:
        return await _log_events(theirs, SdkOperationType.STORE, n)

    await our_batch(FULL)
    await their_batch(FULL)
    comparison = Comparison(
        "log_event, between garbage collections",
        "us",
        lambda t: t["ours"],
        lambda t: t["SDK"],
        "the SDK's log_event",
    )
    return Group("log_event", {"ours": our_batch, "SDK": their_batch}, 500, [comparison])


async def append() -> Group:
    """The trail's part: canonical bytes, hash, indexes, buffer."""
    trail = audit_logger().trail

    def drafts(n: int) -> list[Any]:
        return [
            draft(
                "STORE",
                "SUCCESS",
                user_id="user_4711",
                session_id="session_0815",
                entry_ids=[str(uuid4())],
                metadata=METADATA,
                duration_ms=45.2,
            )
            for _ in range(n)
        ]

    async def ours(n: int) -> float:
        events = drafts(n)
        start = perf_counter()
        for event in events:
            trail.append(event)
        return perf_counter() - start

    encode = msgspec.json.Encoder().encode
    kept: deque[tuple[bytes, str]] = deque(maxlen=FULL)

    async def floor(n: int) -> float:
        events = drafts(n)
        start = perf_counter()
        for event in events:
            line = encode(event)
            kept.append((line, hashlib.sha256(line).hexdigest()))
        return perf_counter() - start

    await ours(FULL)
    comparison = Comparison(
        "trail append alone",
        "us",
        lambda t: t["ours"],
        lambda t: t["floor"],
        "JSON, SHA-256 and deque.append alone",
        6.0,
        absolute=True,
    )
    return Group("append", {"ours": ours, "floor": floor}, 500, [comparison])


# --- many events ---------------------------------------------------------------------------------


async def _fill(audit: Any, operations: Any, count: int, first: int = 0) -> None:
    """Log realistic events: 10,000 users; half stores of a new entry, half recalls of five.

    Ids are new text in every call, as when they come with requests; recalls return entries
    that no other event has, which costs an index the most.
    """
    random = Random(first)

    def new_id() -> str:
        text = f"{random.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    for number in range(first, first + count):
        store = number % 2 == 0
        user = random.randrange(10_000)
        await audit.log_event(
            operation=operations.STORE if store else operations.RECALL,
            user_id=f"user_{user:05d}",
            session_id=f"session_{user:05d}_{number // 50_000}",
            entry_ids=[new_id() for _ in range(1 if store else 5)],
            metadata=dict(METADATA)
            if store
            else {"k": 5, "tiers": ["all"], "has_filter": True, "result_count": 5},
            duration_ms=random.randrange(100, 90_000) / 1000,
        )


async def query(count: int) -> Group:
    """One user's 100 events among *count*."""
    ours = audit_logger(max_events=count + 1)
    theirs = SdkAuditLogger(max_events=count + 1)
    part = count // 100
    for number in range(100):
        for audit, operations in ((ours, OperationType), (theirs, SdkOperationType)):
            await _fill(audit, operations, part - 1, number * part)
            await audit.log_event(operation=operations.STORE, user_id="the one", metadata=METADATA)

    async def our_batch(n: int) -> float:
        start = perf_counter()
        for _ in range(n):
            found = ours.query_events(user_id="the one")
        seconds = perf_counter() - start
        assert len(found) == 100
        return seconds

    async def their_batch(n: int) -> float:
        start = perf_counter()
        for _ in range(n):
            found = await theirs.get_events(user_id="the one")
        seconds = perf_counter() - start
        assert len(found) == 100
        return seconds

    comparison = Comparison(
        f"query: a user's 100 among {count:,}",
        "us",
        lambda t: t["ours"],
        lambda t: t["SDK"],
        "the SDK's get_events",
        faster=True,
    )
    return Group("query", {"ours": our_batch, "SDK": their_batch}, 5, [comparison], turns=1)


# --- in a process of its own ---------------------------------------------------------------------


def footprint(whose: str, how: str, sizes: list[int]) -> list[float]:
    """Bytes an event, indexes included, when a buffer holds each of *sizes* events."""
    return asyncio.run(_footprint(whose, how, sizes))


async def _footprint(whose: str, how: str, sizes: list[int]) -> list[float]:
    operations = OperationType if whose == "ours" else SdkOperationType
    audit: Any
    if whose == "ours":
        audit = audit_logger(max_events=max(sizes) + 1000)
    else:
        audit = SdkAuditLogger(max_events=max(sizes) + 1000)
    await _fill(audit, operations, 100)  # whatever is made once

    def used() -> int:
        gc.collect()
        if how == "RSS":
            return int(psutil.Process().memory_info().rss)
        return tracemalloc.get_traced_memory()[0]

    if how == "tracemalloc":
        tracemalloc.start(1)
    before, held, result = used(), 0, []
    for size in sizes:
        await _fill(audit, operations, size - held, 100 + held)
        held = size
        result.append((used() - before) / size)
    return result


_IMPORTS = """
from time import perf_counter
start = perf_counter()
import opentelemetry._logs, opentelemetry.baggage, opentelemetry.metrics, opentelemetry.trace
api = perf_counter()
import axon_audit_otel
package = perf_counter()
from axon_audit_otel import AuditLogger, AxonInstrumentor
names = perf_counter()
print(api - start, package - api, names - api)
"""


def import_times() -> Times:
    """Seconds to import the OpenTelemetry API, and then this package, in a new process."""
    command = [sys.executable, "-c", _IMPORTS]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(zip(("API", "package", "names"), map(float, printed.split())))
