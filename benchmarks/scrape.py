"""Measures a scrape of ``/metrics``, after few and after many recorded operations."""

from __future__ import annotations

from itertools import cycle, islice

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from axon_audit_otel import OperationType
from axon_audit_otel.events.draft import draft
from axon_audit_otel.trail.metrics import TrailMetrics

from .cases import Batch, Group, Scale, against, clock

FEW, MANY = 1_000, 10_000_000


async def scrape(scale: Scale) -> Group:
    """Scrapes after few and after many operations, which take some 15 seconds to record."""
    many = 100_000 if scale.quick else MANY
    batches = {"few": _after(FEW), "many": _after(many)}
    comparison = against(
        f"a scrape after {many:,} operations", f"a scrape after {FEW:,}", "many", "few", 1.1
    )
    return Group("scrape", batches, 20, [comparison])


def _after(operations: int) -> Batch:
    """Scrapes of a process that has recorded that many *operations*, of every kind."""
    registry = CollectorRegistry()
    metrics = TrailMetrics("benchmark", registry)
    kinds = [
        draft(kind.value, status, duration_ms=duration)
        for kind in OperationType
        for status in ("SUCCESS", "FAILURE", "PARTIAL")
        for duration in (0.07, 3.0, 450.0)
    ]
    for number, one in enumerate(islice(cycle(kinds), operations)):
        if number < len(kinds):
            one.sampled, one["trace_id"] = True, f"{number:032x}"  # exemplars are scraped too
        metrics.observe(one)

    async def batch(n: int) -> float:
        start = clock()
        for _ in range(n):
            generate_latest(registry)
        return clock() - start

    return batch
