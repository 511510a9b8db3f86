"""Measures everything on, in many tasks, and in threads that each have a loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event
from typing import Any

from axon_audit_otel import audit_context

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
    instrumented,
    logger_provider,
    tracer_provider,
    while_instrumented,
)

TASKS = (1, 8, 64)
THREADS = (1, 2, 4)

Work = Callable[[int], Awaitable[Any]]  # does something so many times


class _Waiting(Nothing):
    """Lets the other tasks run, as a call over the network does."""

    async def delete(self, id: str) -> bool:
        await asyncio.sleep(0)
        return True


def _in_tasks(count: int, work: Work) -> Batch:
    async def batch(n: int) -> float:
        start = clock()
        await asyncio.gather(*(work(n // count) for _ in range(count)))
        return clock() - start

    return batch


def _in_threads(count: int, work: Work) -> Batch:
    async def batch(n: int) -> float:
        ready, go = Barrier(count + 1), Event()

        def thread() -> None:
            async def main() -> None:
                ready.wait()
                go.wait()
                await work(n // count)

            asyncio.run(main())

        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(thread) for _ in range(count)]
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


async def tasks(_: Scale) -> Group:
    """1, 8 and 64 tasks that take turns within each operation."""
    return await _group("tasks", TASKS, _in_tasks, _Waiting(), lambda: asyncio.sleep(0))


async def threads(_: Scale) -> Group:
    """1, 2 and 4 threads; CPU time of all of them, an operation."""
    return await _group("threads", THREADS, _in_threads, Nothing(), None)


async def _group(
    what: str,
    counts: tuple[int, ...],
    spread: Callable[[int, Work], Batch],
    adapter: Nothing,
    wait: Callable[[], Awaitable[Any]] | None,
) -> Group:
    audit, tracers = audit_logger(logger_provider=logger_provider()), tracer_provider()
    with instrumented(audit, tracers):
        await deletes(FULL)
    floor = ByHand(await see(deletes))
    work = _deleting(adapter)
    batches: dict[str, Batch] = {}
    comparisons = []
    for count in counts:
        ours, plain, by_hand = f"{count} ours", f"{count} plain", f"{count} by hand"
        batches[ours] = while_instrumented(spread(count, work), audit, tracers)
        batches[plain] = spread(count, work)
        batches[by_hand] = spread(count, lambda n: floor.run(n, wait))
        name = f"everything on, {count} {what if count > 1 else what[:-1]}"
        versus = "bare OpenTelemetry calls, likewise"
        comparisons.append(
            against(
                name,
                versus,
                ours,
                by_hand,
                less=plain,
                less_reference=plain if wait is not None else None,
            )
        )
    return Group(what, batches, 640, comparisons)
