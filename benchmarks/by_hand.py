"""The floor: the cost of the same signals, if OpenTelemetry and Prometheus are called by hand."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Awaitable, Callable
from time import perf_counter, time_ns
from typing import Any

import msgspec
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import ReadWriteLogRecord
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor
from opentelemetry.sdk.trace.sampling import Sampler
from opentelemetry.trace import format_trace_id
from prometheus_client import CollectorRegistry, Counter, Histogram

from .cases import (
    Batch,
    NoLogs,
    audit_logger,
    clock,
    instrumented,
    logger_provider,
    tracer_provider,
)


class Seen(SpanProcessor, NoLogs):
    """Keeps our last span and log record."""

    first: dict[str, Any]
    span: ReadableSpan
    record: LogRecord

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.first = dict(span.attributes)

    def on_end(self, span: ReadableSpan) -> None:
        self.span = span

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        self.record = log_record.log_record


async def see(batch: Batch) -> Seen:
    """The span and log record of one instrumented operation of *batch*."""
    seen = Seen()
    audit = audit_logger(logger_provider=logger_provider(seen))
    with instrumented(audit, tracer_provider(seen)):
        await batch(1)
    return seen


class ByHand:
    """Bare calls for the signals of one operation: a span with its attributes, a log record with
    its attributes and its body, a counter, and a histogram with an exemplar.

    The processors behind them do nothing. Names, attributes and body are those of a span and a
    record that we really made; the children of the metrics are looked up once. The providers are
    its own: on one that an `AuditLogger` uses, its processor would capture these records too.

    Args:
        seen: The span and log record of an instrumented operation, to send the same.
        sampler: Default: every span is sampled.
        watch: Keeps what is sent, for a test.
    """

    def __init__(
        self, seen: Seen, sampler: Sampler | None = None, watch: Seen | None = None
    ) -> None:
        self._name = seen.span.name
        self._first = seen.first  # known when the operation begins
        final = dict(seen.span.attributes or {})
        self._rest = {key: value for key, value in final.items() if key not in seen.first}
        self._record = seen.record
        self._attributes = dict(seen.record.attributes or {})
        self._tracer = tracer_provider(watch, sampler).get_tracer("by_hand")
        self._logger = logger_provider(watch).get_logger("by_hand")
        registry = CollectorRegistry()
        counter = Counter("operations", "-", ("operation", "status"), registry=registry)
        self._counter = counter.labels("STORE", "SUCCESS")
        self._histogram = Histogram("seconds", "-", ("operation",), registry=registry).labels("S")

    async def run(self, n: int, work: Callable[[], Awaitable[Any]] | None = None) -> float:
        """All signals, around *work*."""
        start = clock()
        for _ in range(n):
            begun = perf_counter()
            with self._tracer.start_as_current_span(self._name, attributes=self._first) as span:
                if work is not None:
                    await work()
                span.set_attributes(self._rest)
                self._emit()
            self._counter.inc()
            trace_id = format_trace_id(span.get_span_context().trace_id)
            self._histogram.observe(perf_counter() - begun, {"trace_id": trace_id})
        return clock() - start

    def _emit(self) -> None:
        record = self._record
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

    async def spans(self, n: int) -> float:
        """The span alone."""
        start = clock()
        for _ in range(n):
            with self._tracer.start_as_current_span(self._name, attributes=self._first) as span:
                span.set_attributes(self._rest)
        return clock() - start

    async def records(self, n: int) -> float:
        """The log record alone."""
        start = clock()
        for _ in range(n):
            self._emit()
        return clock() - start

    async def trail(self, n: int) -> float:
        """No OpenTelemetry: the event as JSON, hashed and held; the counter and the histogram."""
        event = msgspec.json.decode(self._record.body)  # type: ignore[arg-type,unused-ignore]
        encode = msgspec.json.Encoder().encode
        held: deque[tuple[bytes, bytes]] = deque(maxlen=n)
        start = clock()
        for _ in range(n):
            begun = perf_counter()
            line = encode(event)
            held.append((line, hashlib.sha256(line).digest()))
            self._counter.inc()
            self._histogram.observe(perf_counter() - begun)
        return clock() - start
