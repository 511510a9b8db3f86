"""Measures the time that a `SecurityMonitor` with the default rules adds to every event."""

from __future__ import annotations

from itertools import count
from typing import Any

from axon_audit_otel import SecurityMonitor
from axon_audit_otel.events.draft import draft

from .cases import FULL, Batch, Comparison, Group, Scale, audit_logger, clock

#: Events by how many of the default rules count them.
EVENTS = {0: ("RECALL", "SUCCESS"), 2: ("FORGET", "SUCCESS"), 4: ("FORGET", "FAILURE")}
USERS = 1_000


async def monitor(_: Scale) -> Group:
    """Capturing an event, with and without."""
    batches: dict[str, Batch] = {}
    comparisons = []
    for rules, (operation, status) in EVENTS.items():
        plain, watched = f"{rules}", f"{rules} watched"
        batches[plain] = await _captures(operation, status, watch=False)
        batches[watched] = await _captures(operation, status, watch=True)
        comparisons.append(
            Comparison(
                f"SecurityMonitor, an event that {rules or 'no'} rules count",
                "us",
                lambda t, a=watched, b=plain: t[a] - t[b],  # type: ignore[misc]
                lambda t, b=plain: t[b],  # type: ignore[misc]
                "capturing the event without it",
                2.0,
                absolute=True,
            )
        )
    return Group("monitor", batches, 1000, comparisons)


async def _captures(operation: str, status: str, *, watch: bool) -> Batch:
    audit = audit_logger()
    if watch:
        SecurityMonitor(audit, on_alert=lambda alert: None)
    number = count()

    async def batch(n: int) -> float:
        events: list[Any] = [
            draft(operation, status, user_id=f"user_{next(number) % USERS}", trail=audit.trail)
            for _ in range(n)
        ]
        start = clock()
        for event in events:
            audit.trail.record(event)
        return clock() - start

    await batch(FULL)
    return batch
