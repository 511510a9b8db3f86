"""Building blocks of the cases. A batch does something *n* times and returns the seconds."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random
from time import process_time
from typing import Any
from uuid import uuid4

from axon import MemorySystem
from axon.adapters.base import StorageAdapter
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import Sampler
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, AxonInstrumentor, audit_context

Batch = Callable[[int], Awaitable[float]]
Times = dict[str, float]  # microseconds of one operation, by batch

FULL = 10_000  # the default max_events: every append pushes an old event out, as in real life
clock = process_time  # other programs disturb it less than a wall clock
WARM = 60  # calls before the clock starts: fills caches that instrument() emptied


@dataclass(frozen=True)
class Scale:
    """Number of rounds, and sizes of what is measured."""

    quick: bool = False
    rounds: int = 7

    @property
    def sizes(self) -> list[int]:
        """Numbers of events in memory, for cases that depend on them."""
        return [10_000] if self.quick else [10_000, 100_000, 1_000_000]


@dataclass(frozen=True)
class Comparison:
    """One line of the table.

    Args:
        name: Name of the comparison.
        unit: Unit of *ours* and *reference*.
        ours: Our cost, from the times of one round.
        reference: The cost to compare with, from the same times.
        versus: The reference in words.
        limit: The most that ratio (or, if *absolute*, our cost) should be; None: no target.
        absolute: True if *limit* is for our cost, not for the ratio.
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


def against(
    name: str,
    versus: str,
    ours: str,
    reference: str,
    limit: float | None = None,
    *,
    less: str | None = None,
    less_reference: str | None = None,
    faster: bool = False,
) -> Comparison:
    """Batch *ours* against batch *reference*, in microseconds.

    Args:
        less: A batch whose time is subtracted from *ours*, so that the added time is left.
        less_reference: A batch whose time is subtracted from *reference*.
    """
    return Comparison(
        name,
        "us",
        lambda t: t[ours] - (t[less] if less else 0.0),
        lambda t: t[reference] - (t[less_reference] if less_reference else 0.0),
        versus,
        limit,
        faster=faster,
    )


@dataclass
class Group:
    """Batches that take turns, and the comparisons of their times."""

    name: str
    batches: dict[str, Batch]
    size: int  # operations in one batch
    comparisons: list[Comparison]
    turns: int = 5  # of every batch in a round, with --quick 3 at most; the median counts
    collects: bool = False  # True: garbage collections run within batches, as in an application
    done: Callable[[], Any] = field(default=lambda: None)  # called in the end


# --- OpenTelemetry -------------------------------------------------------------------------------


class NoLogs(LogRecordProcessor):
    """A log pipeline that does nothing."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None: ...

    def shutdown(self) -> None: ...

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True


def logger_provider(processor: LogRecordProcessor | None = None) -> LoggerProvider:
    """A provider with *processor*, else with one that does nothing."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor or NoLogs())
    return provider


def tracer_provider(
    processor: SpanProcessor | None = None, sampler: Sampler | None = None
) -> TracerProvider:
    """A provider with *processor*, else with one that does nothing."""
    provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
    provider.add_span_processor(processor or SpanProcessor())
    return provider


# --- ours ----------------------------------------------------------------------------------------


@contextmanager
def instrumented(audit: AuditLogger, tracers: Any) -> Iterator[None]:
    """The SDK, instrumented for a while."""
    AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracers)
    try:
        yield
    finally:
        AxonInstrumentor().uninstrument()


def audit_logger(**arguments: Any) -> AuditLogger:
    """An `AuditLogger`; the SDK, which it patches, is restored."""
    audit = AuditLogger(registry=CollectorRegistry(), **arguments)
    with instrumented(audit, TracerProvider(shutdown_on_exit=False)):
        return audit


def while_instrumented(batch: Batch, audit: AuditLogger, tracers: Any) -> Batch:
    """*batch*, with the SDK instrumented as long as it runs."""

    async def run(n: int) -> float:
        with instrumented(audit, tracers):
            return await batch(n)

    return run


# --- the SDK -------------------------------------------------------------------------------------

TEXT = "The user prefers window seats and vegetarian meals on flights longer than three hours."
OWNER = {"user_id": "user_4711", "session_id": "session_0815"}
TAGS = ["travel", "preference"]


class Nothing(StorageAdapter):  # type: ignore[misc,unused-ignore]
    """A storage adapter that does nothing, so that the cost of an audited call is all ours."""

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


def system() -> MemorySystem:
    """A real system on the SDK's in-memory adapter."""
    policy = PersistentPolicy(
        adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
    )
    return MemorySystem(MemoryConfig(persistent=policy, default_tier="persistent"))


async def store(memory: MemorySystem) -> str:
    """A store as an application would."""
    entry_id = await memory.store(TEXT, metadata=OWNER, importance=0.8, tags=TAGS)
    return str(entry_id)


async def deletes(n: int) -> float:
    """Deletes that delete nothing."""
    adapter = Nothing()
    ids = [str(uuid4()) for _ in range(n)]
    with audit_context(**OWNER):
        for _ in range(WARM):
            await adapter.delete("-")
        start = clock()
        for entry_id in ids:
            await adapter.delete(entry_id)
        return clock() - start


# --- events by hand ------------------------------------------------------------------------------

METADATA: dict[str, Any] = {
    "importance": 0.8,
    "tags": TAGS,
    "tier": "persistent",
    "has_embedding": False,
    "privacy_level": "public",
}


async def log_events(audit: Any, operation: Any, n: int) -> float:
    """Log stores with our logger or the SDK's."""
    ids = [[str(uuid4())] for _ in range(n)]
    start = clock()
    for entry_ids in ids:
        await audit.log_event(
            operation=operation,
            user_id="user_4711",
            session_id="session_0815",
            entry_ids=entry_ids,
            metadata=METADATA,
            duration_ms=45.2,
        )
    return clock() - start


async def fill(
    audit: Any, operations: Any, count: int, first: int = 0, failure: Any = None
) -> None:
    """Log realistic events: 10,000 users; half stores of a new entry, half recalls of five; with
    status *failure* every hundredth.

    Ids are new text in every call, as when they come with requests; recalls return entries
    that no other event has, which costs an index the most.
    """
    random = Random(first)

    def new_id() -> str:
        text = f"{random.getrandbits(128):032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    for number in range(first, first + count):
        is_store = number % 2 == 0
        user = random.randrange(10_000)
        status = {"status": failure} if failure is not None and number % 100 == 50 else {}
        await audit.log_event(
            operation=operations.STORE if is_store else operations.RECALL,
            user_id=f"user_{user:05d}",
            session_id=f"session_{user:05d}_{number // 50_000}",
            entry_ids=[new_id() for _ in range(1 if is_store else 5)],
            metadata=dict(METADATA)
            if is_store
            else {"k": 5, "tiers": ["all"], "has_filter": True, "result_count": 5},
            duration_ms=random.randrange(100, 90_000) / 1000,
            **status,
        )
