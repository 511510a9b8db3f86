"""Measures queries of a hundred events among many: by user, by entry, by time and status."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from typing import Any

from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.models.audit import EventStatus as SdkEventStatus
from axon.models.audit import OperationType as SdkOperationType

from axon_audit_otel import AuditLogger, EventStatus, OperationType

from .cases import METADATA, Batch, Comparison, Group, Scale, against, audit_logger, clock, fill

FOUND = 100
RECENT = 10_000  # events in the period of the query
TIMES = 20  # number of our queries in a batch: one is too short to measure


async def query(scale: Scale, count: int) -> Group:
    """`query_events` among *count* against the SDK's `get_events`."""
    ours = audit_logger(max_events=count + 1)
    theirs = SdkAuditLogger(max_events=count + 1)
    since = await _fill(count, ours, theirs)

    async def by_entry() -> list[Any]:
        events = await theirs.get_events()
        return [event for event in events if "the entry" in event.entry_ids]

    failure = SdkEventStatus.FAILURE
    utc = since.replace(tzinfo=timezone.utc)
    cases: dict[str, tuple[Callable[[], list[Any]], Callable[[], Awaitable[list[Any]]]]] = {
        "a user's": (
            lambda: ours.query_events(user_id="the one"),
            lambda: theirs.get_events(user_id="the one"),
        ),
        "an entry's": (lambda: ours.query_events(entry_ids="the entry"), by_entry),
        "the newest failures,": (
            lambda: ours.query_events(status="FAILURE", start_time=utc),
            lambda: theirs.get_events(status=failure, start_time=since),
        ),
    }
    batches: dict[str, Batch] = {}
    comparisons: list[Comparison] = []
    for name, (mine, other) in cases.items():
        batches[name], batches[f"{name} SDK"] = _asking(mine), _asking_them(other)
        limit = 1_000 if name == "a user's" and count == 1_000_000 else None
        comparisons.append(
            against(
                f"query: {name} {FOUND} among {count:,}",
                "the SDK's get_events",
                name,
                f"{name} SDK",
                limit,
                faster=True,
            )
        )
    return Group("query", batches, 3, comparisons, turns=1)


def _asking(ask: Callable[[], list[Any]]) -> Batch:
    async def batch(n: int) -> float:
        start = clock()
        for _ in range(n * TIMES):
            found = ask()
        seconds = clock() - start
        assert len(found) == FOUND
        return seconds / TIMES

    return batch


def _asking_them(ask: Callable[[], Awaitable[list[Any]]]) -> Batch:
    async def batch(n: int) -> float:
        start = clock()
        for _ in range(n):
            found = await ask()
        seconds = clock() - start
        assert len(found) == FOUND
        return seconds

    return batch


async def _fill(count: int, ours: AuditLogger, theirs: SdkAuditLogger) -> datetime:
    """Both alike; returns the time of the newest `RECENT` events."""
    part = count // FOUND
    since = datetime.min
    kinds = ((ours, OperationType, EventStatus), (theirs, SdkOperationType, SdkEventStatus))
    for number in range(FOUND):
        if count - number * part == RECENT:
            since = datetime.now(timezone.utc).replace(tzinfo=None)
        for audit, operations, statuses in kinds:
            await fill(audit, operations, part - 1, number * part, statuses.FAILURE)
            await audit.log_event(  # type: ignore[attr-defined,unused-ignore]
                operation=operations.STORE,
                user_id="the one",
                entry_ids=["the entry"],
                metadata=METADATA,
            )
    return since
