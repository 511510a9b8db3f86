"""What a scrape of ``/metrics`` takes, and whether it depends on what was recorded before."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle, islice
from time import perf_counter
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from axon_audit_otel import OperationType
from axon_audit_otel.event import draft
from axon_audit_otel.metrics import TrailMetrics

from .cases import Batch, Comparison, Group

FEW, MANY = 1_000, 10_000_000


def scrape(many: int = MANY) -> Callable[[], Any]:
    """The group; *many* operations take some 15 seconds to record."""

    async def made() -> Group:
        comparison = Comparison(
            f"a scrape after {many:,} operations",
            "us",
            lambda t: t["many"],
            lambda t: t["few"],
            f"a scrape after {FEW:,}",
            1.1,
        )
        batches = {"few": _after(FEW), "many": _after(many)}
        return Group("scrape", batches, 20, [comparison])

    return made


def _after(operations: int) -> Batch:
    """Scrapes of a process that recorded so many, of every kind."""
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
        start = perf_counter()
        for _ in range(n):
            generate_latest(registry)
        return perf_counter() - start

    return batch
