"""The Prometheus metrics of the trails, and the statistics: both count the same.

User, session and entry ids are never labels. The series of a trail are a bounded set: any caller
may name any memory system, so only the first few are values of the label ``system``.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from contextlib import suppress
from itertools import count
from typing import Any

from opentelemetry.trace import Span
from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

from ..core import semconv
from ..events.draft import Draft
from ..events.findings import FINDINGS, Finding, findings, has_findings
from ..events.model import EventStatus, OperationType, deleted_entries, success_rate, totals
from ..privacy.personal_data import PII_KINDS
from .metric_spec import Spec
from .series import Count, Group, Level, Timing
from .sketch import Sketch

__all__ = ["MAX_SYSTEMS", "NO_SYSTEM", "OTHER_SYSTEM", "SPECS", "TrailMetrics"]

#: Seconds. From an in-memory store (70 us) to a compaction that asks a language model.
DURATION_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
    *(0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0),
)
#: A bucket of an operation gets another exemplar after this time, in microseconds: one for each
#: scrape of Prometheus as most are set up. Tail sampling keeps the trace of each.
EXEMPLAR_US = 15_000_000
#: Where something of ours can fail: the values of the label ``stage``.
STAGES = (
    *("record", "emit", "encode", "keys", "redact", "metrics"),
    *("journal", "seal", "commit", "checkpoint", "witness", "compress", "retention"),
    *("index", "monitor", "ship"),
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
SHIPPING_DROPS = (
    *("queue_full", "deleted", "missing", "rejected", "too_large", "unreadable", "shutdown"),
)
#: How many systems a trail tells apart, in each process; the label ``system`` of all further
#: ones is `OTHER_SYSTEM`, as is that of a name too long or not printable.
MAX_SYSTEMS = 20
_MAX_SYSTEM_NAME = 64  # characters
OTHER_SYSTEM = "other"
#: The label ``system`` of what names none: recorded by hand, or about the trail itself.
NO_SYSTEM = "none"


def _counter(name: str, text: str, *labels: str) -> Spec:
    return Spec(Counter, name, text, (semconv.LABEL_TRAIL, *labels), {})


def _gauge(name: str, text: str, *labels: str, mode: str = "livesum") -> Spec:
    options = {"multiprocess_mode": mode}
    return Spec(Gauge, name, text, (semconv.LABEL_TRAIL, *labels), options)


_DURATION = Spec(
    Histogram,
    semconv.METRIC_DURATION,
    "Duration of memory operations in seconds.",
    (semconv.LABEL_TRAIL, semconv.LABEL_SYSTEM, semconv.LABEL_OPERATION),
    {"buckets": DURATION_BUCKETS},
)
_STAGE = semconv.LABEL_STAGE
_OPERATION = semconv.LABEL_SYSTEM, semconv.LABEL_OPERATION
_OUTCOME = *_OPERATION, semconv.LABEL_STATUS
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
    _gauge(semconv.METRIC_IN_PROGRESS, "Memory operations running now.", *_OPERATION),
    _counter(semconv.METRIC_ENTRIES, _ENTRIES, *_OPERATION),
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


class _Counts:
    """The counts of one system's operations: at 0 from when it is known, since the first
    increase of a series that was not there is unseen."""

    __slots__ = ("durations", "entries", "label", "operations")

    def __init__(self, group: Group, trail: str, label: str) -> None:
        self.label = label
        self.operations = {
            (operation.value, status.value): Count(
                group, semconv.METRIC_OPERATIONS, trail, label, operation.value, status.value
            )
            for operation in OperationType
            for status in EventStatus
        }
        self.entries = {
            operation.value: Count(group, semconv.METRIC_ENTRIES, trail, label, operation.value)
            for operation in OperationType
        }
        self.durations: dict[str, Timing] = {}  # 20 series each: when there is one

    @property
    def total(self) -> int:
        """How many events."""
        return sum(one.total for one in self.operations.values())


#: What is counted of an event: without the event itself, which holds its trail. Its system,
#: operation, status and duration in milliseconds; the number of its entries; its findings; its
#: trace, if that is an exemplar; its time in microseconds; how many events left memory for it.
_Counted = tuple[
    "str | None", str, str, "float | None", int, "dict[str, Finding] | None", "str | None", int, int
]


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
        # Of no system, under both names. Others come when they are known: see `_of`.
        none = _Counts(group, trail, NO_SYSTEM)
        self._systems: dict[str | None, _Counts] = {None: none, NO_SYSTEM: none}
        self._labels: dict[str, int] = {}  # systems with a label of their own, and their numbers
        self._numbers = count()
        self._findings = self._counts(semconv.METRIC_FINDINGS, FINDINGS)
        self._sketches: dict[str, Sketch] = {}
        self._in_progress: dict[tuple[str, str], Level] = {}
        self._exemplars: dict[tuple[str, str, int], int] = {}  # when each bucket got its newest
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

    def choose_exemplar(self, event: Draft, span: Span) -> bool:
        """Let *event*, before it is counted, be the exemplar of its bucket if that has no young
        one, and mark *span*, which goes on: tail sampling is to keep the trace of each exemplar.

        Returns:
            Whether it is one: never without a sampled span that can be marked. Never raises.
        """
        milliseconds = event["duration_ms"]
        if milliseconds is None or "trace_id" not in event:  # of a bare fact
            return False
        place = bisect_left(DURATION_BUCKETS, milliseconds / 1000)
        label, now = self._label(event.get("system") or NO_SYSTEM), event.time_us
        before = self._exemplars.get((label, event["operation"], place))
        if before is not None and 0 <= now - before < EXEMPLAR_US:
            return False
        try:
            if not (span.is_recording() and span.get_span_context().trace_flags.sampled):
                return False
            span.set_attribute(semconv.AXON_EXEMPLAR, True)
        except Exception:  # another library's span; without a mark it is no exemplar
            return False
        self._exemplars[label, event["operation"], place] = now
        event.exemplar = True
        return True

    def observe(self, event: Draft, evicted: int = 0) -> None:
        """Count one event, now or before somebody asks.

        Args:
            event: The event.
            evicted: How many events left memory for it without being in a file.
        """
        operation, facts = event["operation"], event["metadata"]
        counted: _Counted = (
            event.get("system"),
            operation,
            event["status"],
            event["duration_ms"],
            deleted_entries(event) if operation == "FORGET" else event.entries,
            findings(facts) if has_findings(facts) else None,
            event["trace_id"] if event.exemplar else None,
            event.time_us,
            evicted,
        )
        self._group.later(self._observe, counted)

    def _observe(self, event: _Counted) -> None:
        name, operation, status, milliseconds, entries, found, trace_id, time_us, evicted = event
        if evicted:
            self.evicted.add(evicted)
        try:
            system = self._systems[name]
        except KeyError:
            system = self._of(name or "")
        if operation not in system.entries:
            operation = OperationType.OTHER.value
        system.operations[operation, status].add(1)
        if milliseconds is not None:
            try:
                self._sketches[operation].add(milliseconds)
            except KeyError:
                self._sketches[operation] = sketch = Sketch()
                sketch.add(milliseconds)
        if entries:
            system.entries[operation].add(entries)
        if found:
            for kind, one in found.items():
                self._findings[kind].add(one.number)
        if milliseconds is not None and self._group.works:
            with suppress(RecursionError, MemoryError):  # no room: all else is counted once
                self._time(system, operation, milliseconds, trace_id, time_us)

    def _time(
        self,
        system: _Counts,
        operation: str,
        milliseconds: float,
        trace_id: str | None,
        time_us: int,
    ) -> None:
        timing = system.durations.get(operation)
        if timing is None:
            labels = self.trail, system.label, operation
            timing = Timing(self._group, semconv.METRIC_DURATION, *labels)
            system.durations[operation] = timing
        timing.observe(milliseconds / 1000, trace_id, time_us / 1e6)

    # --- systems -----------------------------------------------------------------------------

    @property
    def systems(self) -> list[str]:
        """Those that have a label of their own."""
        return list(self._labels)

    def expect(self, system: str) -> None:
        """Begin the counts of *system* at 0, before its first operation: else what it does
        until the next scrape is no increase."""
        self._group.do(self._expect, system)

    def _expect(self, system: str) -> None:
        self._of(system)

    def _of(self, system: str) -> _Counts:
        """The counts of *system*. In `Group.run`."""
        label = self._label(system)
        found = self._systems.get(label)
        if found is None:
            self._systems[label] = found = _Counts(self._group, self.trail, label)
        return found

    def _label(self, system: str) -> str:
        """The label of *system*: bounded, whatever callers call it. In any thread, without a
        lock: a signal handler may begin an operation."""
        number = self._labels.get(system)
        if number is None:
            if system in ("", NO_SYSTEM, OTHER_SYSTEM):
                return system or NO_SYSTEM
            if len(self._labels) >= MAX_SYSTEMS or not _is_plain(system):
                return OTHER_SYSTEM
            number = self._labels.setdefault(system, next(self._numbers))
        return system if number < MAX_SYSTEMS else OTHER_SYSTEM  # threads may come at once

    def in_progress(self, operation: str, system: str | None = None) -> Level:
        """The gauge of operations on *system* that run now."""
        try:
            return self._in_progress[operation, system or NO_SYSTEM]
        except KeyError:
            label = self._label(system or NO_SYSTEM)
        try:
            return self._in_progress[operation, label]
        except KeyError:
            self.expect(label)
            gauge = self._level(semconv.METRIC_IN_PROGRESS, label, operation)
            return self._in_progress.setdefault((operation, label), gauge)

    def running(self, operations: Iterable[str]) -> int:
        """How many of those operations run now, on whatever system."""
        wanted = set(operations)
        gauges = list(self._in_progress.items())
        return self._group.read(
            lambda: int(sum(gauge.value for (name, _), gauge in gauges if name in wanted))
        )

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
        systems = {one.label: one for one in self._systems.values()}  # each once
        outcomes = {
            kind: sum(one.operations[kind].total for one in systems.values())
            for kind in self._systems[None].operations
        }
        operations, statuses = totals(outcomes)  # of every pair, also those at 0
        timed = sum(one.count for one in self._sketches.values())
        milliseconds = sum(one.total for one in self._sketches.values())
        return {
            "total_events": sum(outcomes.values()),
            "success_rate": success_rate(outcomes),
            "avg_duration_ms": milliseconds / timed if timed else 0.0,
            "by_operation": dict(operations),
            "by_status": dict(statuses),
            "by_system": {label: one.total for label, one in systems.items() if one.total},
            "latency_ms": {n: _latency(one) for n, one in self._sketches.items() if one.count},
            "evicted_events": self.evicted.total,
            "exported_events": self.exported.total,
            "findings": _above_zero(self._findings),
            "failures": _above_zero(self.failures),
        }


def _is_plain(system: str) -> bool:
    """True if it can stand in a scrape and on a dashboard."""
    return 0 < len(system) <= _MAX_SYSTEM_NAME and system.isprintable()


def _above_zero(counts: dict[str, Count]) -> dict[str, int]:
    return {value: count.total for value, count in counts.items() if count.total}


def _latency(sketch: Sketch) -> dict[str, float]:
    p50, p95, p99 = sketch.quantiles(0.50, 0.95, 0.99)
    average = sketch.total / sketch.count
    return {"count": sketch.count, "avg": average, "p50": p50, "p95": p95, "p99": p99}
