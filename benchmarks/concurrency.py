"""Measures everything on, in many tasks, and in threads that each have a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

from axon_audit_otel import OperationType, audit_context

from .by_hand import ByHand, see
from .cases import (
    FULL,
    OWNER,
    Batch,
    Group,
    Nothing,
    Scale,
    against,
    audit_logger,
    clock,
    deletes,
    log_events,
    logger_provider,
    tracer_provider,
    while_instrumented,
)

TASKS, THREADS = 64, 4

Work = Callable[[int], Awaitable[Any]]  # does something so many times


class _Waiting(Nothing):
    """Lets the other tasks run, as a call over the network does."""

    async def delete(self, id: str) -> bool:
        await asyncio.sleep(0)
        return True


def _in_tasks(work: Work) -> Batch:
    async def batch(n: int) -> float:
        start = clock()
        await asyncio.gather(*(work(n // TASKS) for _ in range(TASKS)))
        return clock() - start

    return batch


def _in_threads(work: Work) -> Batch:
    async def batch(n: int) -> float:
        ready, go = Barrier(THREADS + 1), Event()

        def thread() -> None:
            async def main() -> None:
                ready.wait()
                go.wait()
                await work(n // THREADS)

            asyncio.run(main())

        with ThreadPoolExecutor(THREADS) as pool:
            futures = [pool.submit(thread) for _ in range(THREADS)]
            ready.wait()
            start = clock()
            go.set()
            for future in futures:
                future.result()
            return clock() - start

    return batch


def _deleting(adapter: Nothing) -> Work:
    async def work(n: int) -> None:
        with audit_context(**OWNER):
            for number in range(n):
                await adapter.delete(f"{number}")

    return work


async def concurrency(_: Scale) -> Group:
    """Tasks that take turns within each operation; threads, and the CPU time of all of them."""
    audit, tracers = audit_logger(logger_provider=logger_provider()), tracer_provider()
    await log_events(audit, OperationType.STORE, FULL)
    floor = ByHand(await see(deletes))
    batches: dict[str, Batch] = {}
    comparisons = []
    cases: tuple[tuple[str, Callable[[Work], Batch], Nothing, Any], ...] = (
        (f"{TASKS} tasks", _in_tasks, _Waiting(), lambda: asyncio.sleep(0)),
        (f"{THREADS} threads", _in_threads, Nothing(), None),
    )
    for name, spread, adapter, wait in cases:
        work = _deleting(adapter)
        ours, plain, by_hand = f"{name} ours", f"{name} plain", f"{name} by hand"
        batches[ours] = while_instrumented(spread(work), audit, tracers)
        batches[plain] = spread(work)
        batches[by_hand] = spread(lambda n, wait=wait: floor.run(n, wait))  # type: ignore[misc]
        comparisons.append(
            against(
                f"everything on, {name}",
                "bare OpenTelemetry calls, likewise",
                ours,
                by_hand,
                less=plain,
                less_reference=plain if wait is not None else None,
            )
        )
    return Group("concurrency", batches, 640, comparisons)
