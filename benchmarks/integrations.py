"""Measures the public operation around nothing, and LangGraph's store through its integration."""

from __future__ import annotations

from axon_audit_otel import OperationType

from .by_hand import ByHand, Seen
from .cases import (
    FULL,
    OWNER,
    WARM,
    Group,
    Scale,
    against,
    audit_logger,
    clock,
    deletes,
    instrumented,
    log_events,
    logger_provider,
    tracer_provider,
    while_instrumented,
)

MOST = 1.6  # that a read should cost through the integration, in bare calls


async def integrations(_: Scale) -> Group:
    """`audit.operation` against an instrumented call; `InMemoryStore.get` against bare calls."""
    from langgraph.store.memory import InMemoryStore

    from axon_audit_otel.integrations.langgraph.store import AuditedStore

    audit, tracers = audit_logger(logger_provider=logger_provider()), tracer_provider()
    await log_events(audit, OperationType.STORE, FULL)
    inner, space = InMemoryStore(), ("memories", OWNER["user_id"])
    inner.put(space, "seat", {"text": "window"})
    audited = AuditedStore(inner, audit, owner=1)

    async def nothing(n: int) -> float:
        start = clock()
        for _ in range(n):
            with audit.operation("FORGET", system="axon", action="-", owner="user_4711"):
                pass
        return clock() - start

    async def gets(n: int) -> float:
        for _ in range(WARM):
            audited.get(space, "seat")
        start = clock()
        for _ in range(n):
            audited.get(space, "seat")
        return clock() - start

    async def plain(n: int) -> float:
        start = clock()
        for _ in range(n):
            inner.get(space, "seat")
        return clock() - start

    seen = Seen()
    watched = audit_logger(logger_provider=logger_provider(seen))
    with instrumented(watched, tracer_provider(seen)):
        AuditedStore(inner, watched, owner=1).get(space, "seat")
    floor = ByHand(seen)

    async def work() -> None:
        inner.get(space, "seat")

    async def by_hand(n: int) -> float:
        return await floor.run(n, work)

    return Group(
        "integrations",
        {
            "operation": while_instrumented(nothing, audit, tracers),
            "delete": while_instrumented(deletes, audit, tracers),
            "get": while_instrumented(gets, audit, tracers),
            "get by hand": by_hand,
            "get plain": plain,
        },
        100,
        [
            against("audit.operation around nothing", "an Axon call", "operation", "delete", 1.0),
            against("LangGraph get", "the same signals by hand", "get", "get by hand", MOST),
            against("LangGraph get", "uninstrumented", "get", "get plain"),
        ],
    )
