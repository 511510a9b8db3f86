"""Measures everything on, around an empty method and the SDK's methods; each signal alone."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import NoOpTracerProvider

from axon_audit_otel import OperationType

from .by_hand import ByHand, see
from .cases import (
    FULL,
    WARM,
    Batch,
    Group,
    Scale,
    against,
    audit_logger,
    clock,
    deletes,
    log_events,
    logger_provider,
    store,
    system,
    tracer_provider,
    while_instrumented,
)

EVERYTHING = 1.6  # the most that everything on should cost, in bare calls


async def _full(**arguments: Any) -> Any:
    """An `AuditLogger` whose memory is full."""
    audit = audit_logger(**arguments)
    await log_events(audit, OperationType.STORE, FULL)
    return audit


# --- around the SDK's methods --------------------------------------------------------------------


async def _stores(n: int) -> float:
    memory = system()
    for _ in range(WARM):
        await store(memory)
    start = clock()
    for _ in range(n):
        await store(memory)
    return clock() - start


async def _recalls(n: int) -> float:
    memory = system()
    for _ in range(5):
        await store(memory)
    for _ in range(WARM):
        await memory.recall("seats", k=5)
    start = clock()
    for _ in range(n):
        await memory.recall("seats", k=5)
    return clock() - start


async def _forgets(n: int) -> float:
    memory = system()
    ids = [await store(memory) for _ in range(WARM + n)]
    for entry_id in ids[:WARM]:
        await memory.forget(entry_id)
    start = clock()
    for entry_id in ids[WARM:]:
        await memory.forget(entry_id)
    return clock() - start


async def _deletes_by_hand(n: int) -> float:
    """The work of `forget` without this package: get, delete, get again."""
    memory = system()
    ids = [await store(memory) for _ in range(n)]
    start = clock()
    for entry_id in ids:
        adapter = await memory.registry.get_adapter("persistent")
        await adapter.get(entry_id)
        await adapter.delete(entry_id)
        with suppress(KeyError):
            await adapter.get(entry_id)
    return clock() - start


async def everything(_: Scale) -> Group:
    """Everything on: for a call that does nothing itself, and for real ones."""
    floor, store_floor = ByHand(await see(deletes)), ByHand(await see(_stores))
    audit = await _full(logger_provider=logger_provider())
    tracers = tracer_provider()

    async def store_by_hand(n: int) -> float:
        memory = system()
        await store_floor.run(WARM, lambda: store(memory))
        return await store_floor.run(n, lambda: store(memory))

    def ours(batch: Batch) -> Batch:
        return while_instrumented(batch, audit, tracers)

    return Group(
        "everything",
        {
            "delete": ours(deletes),
            "floor": floor.run,
            "plain": deletes,
            "store": ours(_stores),
            "store by hand": store_by_hand,
            "store plain": _stores,
            "recall": ours(_recalls),
            "recall plain": _recalls,
            "forget": ours(_forgets),
            "forget plain": _deletes_by_hand,
        },
        100,
        [
            against(
                "everything on, added to a store",
                "bare OpenTelemetry calls, added to it",
                "store",
                "store by hand",
                EVERYTHING,
                less="store plain",
                less_reference="store plain",
            ),
            against(
                "everything on, a call that does nothing",
                "bare OpenTelemetry calls",
                "delete",
                "floor",
                less="plain",
            ),
            against(
                "store, whole call", "store with those calls", "store", "store by hand", EVERYTHING
            ),
            against("store, whole call", "uninstrumented", "store", "store plain"),
            against("recall, whole call", "uninstrumented", "recall", "recall plain"),
            against("forget, whole call", "get, delete, get by hand", "forget", "forget plain"),
        ],
    )


# --- each signal, and sampling -------------------------------------------------------------------


async def signals(_: Scale) -> Group:
    """Each signal alone; and all of them with 0 or 1 % of the spans sampled."""
    seen = await see(deletes)
    floor = ByHand(seen)
    batches: dict[str, Batch] = {
        "plain": deletes,
        "a span": floor.spans,
        "a record": floor.records,
        "by hand": floor.trail,
    }

    async def ours(name: str, tracers: Any, **arguments: Any) -> None:
        batches[name] = while_instrumented(deletes, await _full(**arguments), tracers)

    await ours("trail", NoOpTracerProvider())
    await ours("+ span", tracer_provider())
    await ours("+ record", NoOpTracerProvider(), logger_provider=logger_provider())
    comparisons = [
        against(
            "trail and metrics alone, no provider",
            "JSON, SHA-256, deque, counter, histogram",
            "trail",
            "by hand",
            less="plain",
        ),
        against("span, added to these", "bare span", "+ span", "a span", less="trail"),
        against("log record, added to these", "bare emit", "+ record", "a record", less="trail"),
    ]
    for percent, sampler in ((0, ALWAYS_OFF), (1, ParentBased(TraceIdRatioBased(0.01)))):
        sampled = f"{percent} %"
        await ours(sampled, tracer_provider(sampler=sampler), logger_provider=logger_provider())
        batches[f"{sampled} floor"] = ByHand(seen, sampler).run
        comparisons.append(
            against(
                f"everything on, {sampled} sampled",
                "bare calls, sampled alike",
                sampled,
                f"{sampled} floor",
                less="plain",
            )
        )
    return Group("signals", batches, 100, comparisons)
