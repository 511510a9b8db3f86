"""Measures bytes an event, each time in a process of its own."""

from __future__ import annotations

import asyncio
import gc
import os
import tracemalloc
from multiprocessing import get_context
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]
from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.models.audit import OperationType as SdkOperationType

from axon_audit_otel import OperationType

from .cases import Comparison, Scale, audit_logger, fill
from .measure import Line

#: Bytes an event with its indexes at a million; with fewer events, fixed costs weigh more.
LIMIT = 600


def memory(scale: Scale) -> list[Line]:
    """Measure in two processes at once, since nothing is timed."""
    hows = ("tracemalloc",) if scale.quick else ("tracemalloc", "RSS")
    sizes = [2_000] if scale.quick else scale.sizes
    pairs = [(whose, how) for how in hows for whose in ("ours", "SDK")]
    jobs = [(*pair, sizes) for pair in pairs]
    with get_context("spawn").Pool(min(2, os.cpu_count() or 1), maxtasksperchild=1) as pool:
        found = dict(zip(pairs, pool.starmap(footprint, jobs, chunksize=1)))
    return [
        Line(
            Comparison(
                f"memory an event, {size:,} held ({how})",
                "B",
                lambda t: t["ours"],
                lambda t: t["SDK"],
                "the SDK's buffer",
                LIMIT if size >= 1_000_000 else None,
                absolute=True,
            ),
            [found["ours", how][position]],
            [found["SDK", how][position]],
        )
        for how in hows
        for position, size in enumerate(sizes)
    ]


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
    await fill(audit, operations, 100)  # so that objects made only once are there before

    def used() -> int:
        gc.collect()
        if how == "RSS":
            return int(psutil.Process().memory_info().rss)
        return tracemalloc.get_traced_memory()[0]

    if how == "tracemalloc":
        tracemalloc.start(1)
    before, held, result = used(), 0, []
    for size in sizes:
        await fill(audit, operations, size - held, 100 + held)
        held = size
        result.append((used() - before) / size)
    return result
