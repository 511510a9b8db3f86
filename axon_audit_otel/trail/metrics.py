"""The Prometheus metrics of the trails, and the statistics: both count the same.

User, session and entry ids are never labels: the series of a trail are a closed set.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from ..core import semconv
from ..events.draft import Draft
from ..events.findings import FINDINGS, findings, has_findings
from ..events.model import EventStatus, OperationType, deleted_entries, success_rate, totals
from ..privacy.personal_data import PII_KINDS
from .series import Count, Group, Level, Spec, Timing
from .sketch import Sketch

__all__ = ["SPECS", "TrailMetrics"]

#: Seconds. From an in-memory store (70 us) to a compaction that asks a language model.
DURATION_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
#: Where something of ours can fail: the values of the label ``stage``.
STAGES = (
    *("record", "emit", "encode", "keys", "redact", "metrics"),
    *("journal", "seal", "commit", "checkpoint", "witness", "compress", "retention"),
    *("monitor", "ship"),
)
#: Where something of the SDK can fail that it does not raise: the values of ``stage`` there.
#: A tier that does not open; a query, list, read, save or delete of a storage adapter; a filter's
#: comparison; a summary, an embedding; dates that cannot be compared; an entry that it passed
#: over; and its housekeeping: promotion and demotion.
SDK_STAGES = (
    *("open", "query", "list", "get", "save", "delete", "reindex"),
    *("filter", "summary", "embedding", "compare", "entry", "promotion", "demotion"),
)
#: Why an event was not shipped: the values of the label ``reason``.
SHIPPING_DROPS = ("queue_full", "deleted", "missing", "rejected", "unreadable", "shutdown")


def _counter(name: str, text: str, *labels: str) -> Spec:
    return Spec(Counter, name, text, (semconv.LABEL_TRAIL, *labels), {})


def _gauge(name: str, text: str, *labels: str, mode: str = "livesum") -> Spec:
    options = {"multiprocess_mode": mode}
    return Spec(Gauge, name, text, (semconv.LABEL_TRAIL, *labels), options)


_DURATION = Spec(
    Histogram,
    semconv.METRIC_DURATION,
    "Duration of memory operations in seconds.",
    (semconv.LABEL_TRAIL, semconv.LABEL_OPERATION),
    {"buckets": DURATION_BUCKETS},
)
_OPERATION, _STAGE = semconv.LABEL_OPERATION, semconv.LABEL_STAGE
_OUTCOME = semconv.LABEL_OPERATION, semconv.LABEL_STATUS
_UNSEALED = "Unix time of the oldest event that is not in a sealed file; 0 without one."
_PII = "Personal data found and replaced in what was recorded, by kind."
_ENTRIES = "Memory entries stored, returned, deleted, exported, ..."
_FINDINGS = "Memory entries that need attention, by kind: altered, seen after their deletion, ..."
_SDK_FAULTS = "Failures inside the SDK that it did not raise, by stage."
_UNSHIPPED = "Audit events that were not shipped, by reason."
#: Every metric.
SPECS = (
    _counter(semconv.METRIC_OPERATIONS, "Memory operations recorded, by outcome.", *_OUTCOME),
    _DURATION,
    _gauge(semconv.METRIC_IN_PROGRESS, "Memory operations running now.", _OPERATION),
    _counter(semconv.METRIC_ENTRIES, _ENTRIES, _OPERATION),
    _counter(semconv.METRIC_FINDINGS, _FINDINGS, semconv.LABEL_KIND),
    _gauge(semconv.METRIC_BUFFER_EVENTS, "Audit events held in memory."),
    _gauge(semconv.METRIC_BUFFER_CAPACITY, "Audit events that memory can hold."),
    _counter(semconv.METRIC_EVICTED, "Audit events that left memory without being in a file."),
    _counter(semconv.METRIC_EXPORTED, "Audit events written to sealed files."),
    _counter(semconv.METRIC_FAILURES, "Failures of the audit trail itself, by stage.", _STAGE),
    _counter(semconv.METRIC_SDK_FAULTS, _SDK_FAULTS, _STAGE),
    _gauge(semconv.METRIC_LAST_SEAL, "Unix time of the last sealed file.", mode="max"),
    _gauge(semconv.METRIC_JOURNAL_LAG, "Audit events that are in memory and in no file yet."),
    # No mode of adding up processes knows that 0 is none.
    _gauge(semconv.METRIC_JOURNAL_START, _UNSEALED, mode="liveall"),
    _counter(semconv.METRIC_PII, _PII, semconv.LABEL_KIND),
    _counter(semconv.METRIC_SHIPPED, "Audit events that a collector has acknowledged."),
    _counter(semconv.METRIC_SHIPPING_DROPPED, _UNSHIPPED, semconv.LABEL_REASON),
    _gauge(semconv.METRIC_SHIPPING_LAG, "Audit events that no collector has acknowledged yet."),
)


class TrailMetrics:
    """The series of one trail. Nothing here raises; see `report_faults`.

    Args:
        trail: The value of the label ``trail``.
        registry: Where the metrics live; None is prometheus_client's default registry.
    """

    def __init__(self, trail: str, registry: CollectorRegistry | None = None) -> None:
        self.trail = trail
        registry = registry or REGISTRY
        self._group = group = Group(registry, SPECS)
        self.report_faults = group.report_faults
        # At 0 from the start: the first increase of a series that was not there is unseen.
        self._operations = {
            (operation.value, status.value): self._count(
                semconv.METRIC_OPERATIONS, operation.value, status.value
            )
            for operation in OperationType
            for status in EventStatus
        }
        self._entries = self._counts(semconv.METRIC_ENTRIES, [kind.value for kind in OperationType])
        self._findings = self._counts(semconv.METRIC_FINDINGS, FINDINGS)
        self._durations: dict[str, Timing] = {}  # 20 series each: when there is one
        self._sketches: dict[str, Sketch] = {}
        self._in_progress: dict[str, Level] = {}
        self.buffer_events = self._level(semconv.METRIC_BUFFER_EVENTS)
        self.buffer_capacity = self._level(semconv.METRIC_BUFFER_CAPACITY)
        self.evicted = self._count(semconv.METRIC_EVICTED)
        self.exported = self._count(semconv.METRIC_EXPORTED)
        self.last_seal = self._level(semconv.METRIC_LAST_SEAL)
        self.failures = self._counts(semconv.METRIC_FAILURES, STAGES)
        self.sdk_faults = self._counts(semconv.METRIC_SDK_FAULTS, SDK_STAGES)
        self._pii = self._counts(semconv.METRIC_PII, PII_KINDS)
        self.shipped = self._count(semconv.METRIC_SHIPPED)
        self.shipping_lag = self._level(semconv.METRIC_SHIPPING_LAG)
        self.shipping_dropped = self._counts(semconv.METRIC_SHIPPING_DROPPED, SHIPPING_DROPS)
        group.show(registry)

    def _count(self, name: str, *labels: str) -> Count:
        return Count(self._group, name, self.trail, *labels)

    def _counts(self, name: str, values: Iterable[str]) -> dict[str, Count]:
        return {value: self._count(name, value) for value in values}

    def _level(self, name: str, *labels: str) -> Level:
        return Level(self._group, name, self.trail, *labels)

    def end(self) -> None:
        """The trail is gone: it holds nothing now. What it counted stays."""
        self._group.end()

    def begin(self) -> None:
        """Start the statistics anew, in a forked child; counters of Prometheus go on."""
        capacity = self.buffer_capacity.value
        self._sketches = {}
        self._group.begin()
        self.buffer_capacity.set(capacity)

    def observe(self, event: Draft, evicted: int = 0) -> None:
        """Count one event; the exemplar names its trace when that was sampled.

        Args:
            event: The event.
            evicted: How many events left memory for it without being in a file.
        """
        self._group.do(self._observe, (event, evicted))

    def _observe(self, counted: tuple[Draft, int]) -> None:
        event, evicted = counted
        if evicted:
            self.evicted.add(evicted)
        operation = event["operation"]
        if operation not in self._entries:
            operation = OperationType.OTHER.value
        self._operations[operation, event["status"]].add(1)
        milliseconds = event["duration_ms"]
        if milliseconds is not None:
            try:
                self._sketches[operation].add(milliseconds)
            except KeyError:
                self._sketches[operation] = sketch = Sketch()
                sketch.add(milliseconds)
        number = deleted_entries(event) if operation == "FORGET" else event.entries
        if number:
            self._entries[operation].add(number)
        if has_findings(event["metadata"]):
            for kind, found in findings(event["metadata"]).items():
                self._findings[kind].add(found.number)
        if milliseconds is not None and self._group.works:
            self._time(event, operation, milliseconds)

    def _time(self, event: Draft, operation: str, milliseconds: float) -> None:
        timing = self._durations.get(operation)
        if timing is None:
            timing = Timing(self._group, semconv.METRIC_DURATION, self.trail, operation)
            self._durations[operation] = timing
        exemplar = {"trace_id": event["trace_id"]} if event.sampled else None
        timing.observe(milliseconds / 1000, exemplar)

    def in_progress(self, operation: str) -> Level:
        """The gauge of operations that run now."""
        try:
            return self._in_progress[operation]
        except KeyError:
            gauge = self._level(semconv.METRIC_IN_PROGRESS, operation)
            return self._in_progress.setdefault(operation, gauge)

    def running(self, operations: Iterable[str]) -> int:
        """How many of those operations run now."""
        found = (self._in_progress.get(name) for name in operations)
        return int(sum(gauge.value for gauge in found if gauge is not None))

    def pii(self, kind: str) -> None:
        """Count a piece of personal data that was found and replaced."""
        self._pii[kind].inc()

    def of_archive(self, name: str) -> Level:
        """The gauge *name*, at 0; only a trail with an archive has it."""
        level = self._level(name)
        level.set(0)
        return level

    def statistics(self) -> dict[str, Any]:
        """The counts since this trail began; see `AuditLogger.get_statistics`."""
        return self._group.read(self._statistics)

    def _statistics(self) -> dict[str, Any]:
        outcomes = {kind: count.total for kind, count in self._operations.items()}
        operations, statuses = totals(outcomes)  # of every pair, also those at 0
        timed = sum(one.count for one in self._sketches.values())
        milliseconds = sum(one.total for one in self._sketches.values())
        return {
            "total_events": sum(outcomes.values()),
            "success_rate": success_rate(outcomes),
            "avg_duration_ms": milliseconds / timed if timed else 0.0,
            "by_operation": dict(operations),
            "by_status": dict(statuses),
            "latency_ms": {name: _latency(one) for name, one in self._sketches.items()},
            "evicted_events": self.evicted.total,
            "exported_events": self.exported.total,
            "findings": _above_zero(self._findings),
            "failures": _above_zero(self.failures),
        }


def _above_zero(counts: dict[str, Count]) -> dict[str, int]:
    return {value: count.total for value, count in counts.items() if count.total}


def _latency(sketch: Sketch) -> dict[str, float]:
    p50, p95, p99 = sketch.quantiles(0.50, 0.95, 0.99)
    average = sketch.total / sketch.count
    return {"count": sketch.count, "avg": average, "p50": p50, "p95": p95, "p99": p99}
