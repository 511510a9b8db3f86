"""The Prometheus metrics of the trails, and the statistics computed from them.

User, session and entry ids are never labels: the series of a trail are a closed set.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Iterator
from typing import Any
from weakref import WeakKeyDictionary

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric

from . import semconv
from .event import Draft, EventStatus, OperationType
from .privacy import PII_KINDS

__all__ = ["TrailMetrics"]

#: Seconds. From an in-memory store (70 us) to a compaction that asks a language model.
DURATION_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
#: Where something of ours can fail: the values of the label ``stage``.
STAGES = (
    *("record", "emit", "encode", "keys", "redact", "metrics"),
    *("journal", "seal", "commit", "checkpoint", "compress", "retention", "monitor", "ship"),
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
SHIPPING_DROPS = ("queue_full", "deleted", "rejected", "unreadable", "shutdown")


class _Gone:
    """Takes out the gauges of trails that are gone.

    Trails end in finalizers, which may run while this very thread holds one of the locks of a
    metric. So they only say so, and it is done before the next scrape or trail.
    """

    def __init__(self) -> None:
        self._gauges: deque[tuple[Gauge, tuple[str, ...]]] = deque()
        self.lock = threading.Lock()  # held while a trail gets its gauges, too
        self.add = self._gauges.extend

    def collect(self) -> Iterator[Metric]:
        """Nothing of its own."""
        with self.lock:
            self.take_out()
        return iter(())

    def take_out(self) -> None:
        """Do it; under the lock."""
        while self._gauges:
            gauge, labels = self._gauges.popleft()
            gauge.labels(*labels).set(0)
            if not {"PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"} & os.environ.keys():
                gauge.remove(*labels)  # the multi-process mode cannot


class _Metrics:
    """One set of metrics a registry, shared by all its trails."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, (semconv.LABEL_TRAIL, *labels), registry=registry)

        def gauge(name: str, text: str, *labels: str, across: Any = "livesum") -> Gauge:
            names = (semconv.LABEL_TRAIL, *labels)
            return Gauge(name, text, names, registry=registry, multiprocess_mode=across)

        operation, status = semconv.LABEL_OPERATION, semconv.LABEL_STATUS
        self.operations = counter(
            semconv.METRIC_OPERATIONS, "Memory operations recorded, by outcome.", operation, status
        )
        self.duration = Histogram(
            semconv.METRIC_DURATION,
            "Duration of memory operations in seconds.",
            (semconv.LABEL_TRAIL, operation),
            registry=registry,
            buckets=DURATION_BUCKETS,
        )
        self.in_progress = gauge(
            semconv.METRIC_IN_PROGRESS, "Memory operations running now.", operation
        )
        self.entries = counter(
            semconv.METRIC_ENTRIES,
            "Memory entries stored, returned, deleted, exported, ...",
            operation,
        )
        self.buffer_events = gauge(semconv.METRIC_BUFFER_EVENTS, "Audit events held in memory.")
        self.buffer_capacity = gauge(
            semconv.METRIC_BUFFER_CAPACITY, "Audit events that memory can hold."
        )
        self.evicted = counter(
            semconv.METRIC_EVICTED, "Audit events that left memory without being in a file."
        )
        self.exported = counter(semconv.METRIC_EXPORTED, "Audit events written to sealed files.")
        self.failures = counter(
            semconv.METRIC_FAILURES,
            "Failures of the audit trail itself, by stage.",
            semconv.LABEL_STAGE,
        )
        self.sdk_faults = counter(
            semconv.METRIC_SDK_FAULTS,
            "Failures inside the SDK that it did not raise, by stage.",
            semconv.LABEL_STAGE,
        )
        self.last_seal = gauge(
            semconv.METRIC_LAST_SEAL, "Unix time of the last sealed file.", across="max"
        )
        self.journal_lag = gauge(
            semconv.METRIC_JOURNAL_LAG, "Audit events that are in memory and in no file yet."
        )
        # "liveall": no mode knows that 0 is none.
        self.journal_start = gauge(
            semconv.METRIC_JOURNAL_START,
            "Unix time of the oldest event that is not in a sealed file; 0 without one.",
            across="liveall",
        )
        self.pii = counter(
            semconv.METRIC_PII,
            "Personal data found and replaced in what was recorded, by kind.",
            semconv.LABEL_KIND,
        )
        self.shipped = counter(
            semconv.METRIC_SHIPPED, "Audit events that a collector has acknowledged."
        )
        self.shipping_dropped = counter(
            semconv.METRIC_SHIPPING_DROPPED,
            "Audit events that were not shipped, by reason.",
            semconv.LABEL_REASON,
        )
        self.shipping_lag = gauge(
            semconv.METRIC_SHIPPING_LAG, "Audit events that no collector has acknowledged yet."
        )


_by_registry: WeakKeyDictionary[CollectorRegistry, tuple[_Metrics, _Gone]] = WeakKeyDictionary()


def _metrics(registry: CollectorRegistry) -> tuple[_Metrics, _Gone]:
    found = _by_registry.get(registry)
    if found is None:
        gone = _Gone()
        registry.register(gone)  # before the metrics: a scrape collects in this order
        found = _by_registry[registry] = _Metrics(registry), gone
    return found


class TrailMetrics:
    """The series of one trail.

    Args:
        trail: The value of the label ``trail``.
        registry: Where the metrics live; None is prometheus_client's default registry.
    """

    def __init__(self, trail: str, registry: CollectorRegistry | None = None) -> None:
        self.trail = trail
        self._all, self._gone = _metrics(registry or REGISTRY)
        self._gauges: list[tuple[Gauge, tuple[str, ...]]] = []
        with self._gone.lock:
            self._gone.take_out()
            self._begin_series(trail, self._all)
        self.begin()

    def _begin_series(self, trail: str, metrics: _Metrics) -> None:
        # At 0 from the start: the first increase of a series that was not there is unseen.
        operations = [operation.value for operation in OperationType]
        self._operations = {
            (operation, status.value): metrics.operations.labels(trail, operation, status.value)
            for operation in operations
            for status in EventStatus
        }
        self._entries = {
            operation: metrics.entries.labels(trail, operation) for operation in operations
        }
        self._durations: dict[str, Histogram] = {}  # 20 series each: when there is one
        self._in_progress: dict[str, Gauge] = {}
        self.buffer_events = self._gauge(metrics.buffer_events)
        self.buffer_capacity = self._gauge(metrics.buffer_capacity)
        self.evicted = metrics.evicted.labels(trail)
        self.exported = metrics.exported.labels(trail)
        self.last_seal = self._gauge(metrics.last_seal)
        self._failures = {stage: metrics.failures.labels(trail, stage) for stage in STAGES}
        self._sdk_faults = {stage: metrics.sdk_faults.labels(trail, stage) for stage in SDK_STAGES}
        self._pii = {kind: metrics.pii.labels(trail, kind) for kind in PII_KINDS}
        self.shipped = metrics.shipped.labels(trail)
        self.shipping_lag = self._gauge(metrics.shipping_lag)
        self.shipping_dropped = {
            reason: metrics.shipping_dropped.labels(trail, reason) for reason in SHIPPING_DROPS
        }

    def _gauge(self, gauge: Gauge, *labels: str) -> Gauge:
        """One that goes with the trail."""
        self._gauges.append((gauge, (self.trail, *labels)))
        return gauge.labels(self.trail, *labels)

    def end(self) -> None:
        """The trail is gone: it holds nothing now. What it counted stays."""
        self._gone.add(self._gauges)

    def begin(self) -> None:
        """Start the statistics anew; the counters of a name used before go on."""
        self._before = dict(self._samples())

    def observe(self, event: Draft) -> None:
        """Count one event; the exemplar names its trace when that was sampled."""
        operation, status = event["operation"], event["status"]
        self._operations[operation, status].inc()
        milliseconds = event["duration_ms"]
        if milliseconds is not None:
            try:
                histogram = self._durations[operation]
            except KeyError:
                histogram = self._begin_duration(operation)
            exemplar = {"trace_id": event["trace_id"]} if event.sampled else None
            histogram.observe(milliseconds / 1000, exemplar)
        if event.entries:
            self._entries[operation].inc(event.entries)

    def in_progress(self, operation: str) -> Gauge:
        """The gauge of operations that run now."""
        try:
            return self._in_progress[operation]
        except KeyError:
            gauge = self._gauge(self._all.in_progress, operation)
            self._in_progress[operation] = gauge
            return gauge

    def failure(self, stage: str) -> None:
        """Count a failure of our own."""
        self._failures[stage].inc()

    def sdk_fault(self, stage: str) -> None:
        """Count a failure that the SDK did not raise."""
        self._sdk_faults[stage].inc()

    def pii(self, kind: str) -> None:
        """Count a piece of personal data that was found and replaced."""
        self._pii[kind].inc()

    def journal_lag(self) -> Gauge:
        """The gauge of events in no file; only a trail with an archive has it."""
        return self._gauge(self._all.journal_lag)

    def journal_start(self) -> Gauge:
        """The gauge of the journal's oldest event; only a trail with an archive has it."""
        return self._gauge(self._all.journal_start)

    def _begin_duration(self, operation: str) -> Histogram:
        histogram = self._all.duration.labels(self.trail, operation)
        for key, value in _read(histogram, **{semconv.LABEL_OPERATION: operation}):
            self._before.setdefault(key, value)  # of a trail that had this name before
        self._durations[operation] = histogram
        return histogram

    def _samples(self) -> Iterator[_Sample]:
        """Every sample of this trail's counters and histograms that statistics need."""
        for (operation, status), counter in self._operations.items():
            labels = {semconv.LABEL_OPERATION: operation, semconv.LABEL_STATUS: status}
            yield from _read(counter, **labels)
        for operation, histogram in list(self._durations.items()):
            yield from _read(histogram, **{semconv.LABEL_OPERATION: operation})
        for stage, counter in self._failures.items():
            yield from _read(counter, **{semconv.LABEL_STAGE: stage})
        yield from _read(self.evicted)
        yield from _read(self.exported)

    def _since(self) -> Iterator[tuple[tuple[str, dict[str, str]], float]]:
        """The same as growth since this trail began."""
        for (name, labels), value in self._samples():
            grown = value - self._before.get((name, labels), 0.0)
            yield (name, dict(labels)), grown

    def statistics(self) -> dict[str, Any]:
        """What the metrics say of this trail; see `AuditLogger.get_statistics`."""
        operations = dict.fromkeys((op.value for op in OperationType), 0)
        statuses = dict.fromkeys((status.value for status in EventStatus), 0)
        latency: dict[str, _Latency] = {}
        trail = {"evicted_events": 0, "exported_events": 0}
        failures: dict[str, int] = {}
        for (name, labels), value in self._since():
            operation = labels.get(semconv.LABEL_OPERATION, "")
            if name == f"{semconv.METRIC_OPERATIONS}_total":
                operations[operation] += int(value)
                statuses[labels[semconv.LABEL_STATUS]] += int(value)
            elif name.startswith(semconv.METRIC_DURATION):
                latency.setdefault(operation, _Latency()).add(name, labels, value)
            elif name == f"{semconv.METRIC_EVICTED}_total":
                trail["evicted_events"] = int(value)
            elif name == f"{semconv.METRIC_EXPORTED}_total":
                trail["exported_events"] = int(value)
            elif name == f"{semconv.METRIC_FAILURES}_total" and value:
                failures[labels[semconv.LABEL_STAGE]] = int(value)
        total = sum(operations.values())
        timed = sum(one.count for one in latency.values())
        seconds = sum(one.seconds for one in latency.values())
        return {
            "total_events": total,
            "success_rate": statuses["SUCCESS"] / total if total else 1.0,
            "avg_duration_ms": 1000 * seconds / timed if timed else 0.0,
            "by_operation": operations,
            "by_status": statuses,
            "latency_ms": {op: one.summary() for op, one in latency.items() if one.count},
            **trail,
            "failures": failures,
        }


_Sample = tuple[tuple[str, frozenset[tuple[str, str]]], float]  # name and labels, value


def _read(child: Counter | Histogram, **labels: str) -> Iterator[_Sample]:
    """The samples of one labelled child, which does not know its own *labels*."""
    for family in child.collect():
        for sample in family.samples:
            yield (sample.name, frozenset({**labels, **sample.labels}.items())), sample.value


class _Latency:
    """The histogram of one operation."""

    def __init__(self) -> None:
        self.count = 0.0
        self.seconds = 0.0
        self._buckets: list[tuple[float, float]] = []  # upper bound, cumulative count

    def add(self, name: str, labels: dict[str, str], value: float) -> None:
        if name.endswith("_bucket"):
            self._buckets.append((float(labels["le"]), value))
        elif name.endswith("_count"):
            self.count = value
        elif name.endswith("_sum"):
            self.seconds = value

    def summary(self) -> dict[str, float]:
        return {
            "count": int(self.count),
            "avg": 1000 * self.seconds / self.count,
            "p50": 1000 * self.quantile(0.50),
            "p95": 1000 * self.quantile(0.95),
            "p99": 1000 * self.quantile(0.99),
        }

    def quantile(self, q: float) -> float:
        """As PromQL's ``histogram_quantile``: linear within a bucket."""
        rank, below, lower = q * self.count, 0.0, 0.0
        for bound, count in sorted(self._buckets):
            if count >= rank and count > below:
                if bound == float("inf"):
                    return lower
                return lower + (bound - lower) * (rank - below) / (count - below)
            below, lower = count, bound
        return lower
