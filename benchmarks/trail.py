"""Measures the audit trail alone: `log_event` without a tracer, and its append."""

from __future__ import annotations

import hashlib
from collections import deque
from functools import partial
from typing import Any
from uuid import uuid4

import msgspec
from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.models.audit import OperationType as SdkOperationType

from axon_audit_otel import OperationType
from axon_audit_otel.events.draft import draft

from .cases import (
    FULL,
    METADATA,
    Batch,
    Group,
    Scale,
    against,
    audit_logger,
    clock,
    fill,
    log_events,
    logger_provider,
)

ALONE = 1.9  # the most that it should cost, in log_events of the SDK
SDK = "the SDK's log_event"


def _ours(audit: Any) -> Batch:
    return partial(log_events, audit, OperationType.STORE)


def _theirs(audit: Any) -> Batch:
    return partial(log_events, audit, SdkOperationType.STORE)


async def run(_: Scale) -> Group:
    """From an empty logger to a full one, garbage collections included.

    The SDK keeps a tree of objects for each event, which every full collection visits; ours
    keeps one `bytes`, which none visits. Short batches between collections hide that.
    """

    async def ours(n: int) -> float:
        return await _ours(audit_logger(max_events=n + 1))(n)

    async def theirs(n: int) -> float:
        return await _theirs(SdkAuditLogger(max_events=n + 1))(n)

    comparison = against("log_event, the first 20,000", SDK, "ours", "SDK", ALONE)
    return Group("run", {"ours": ours, "SDK": theirs}, 20_000, [comparison], turns=1, collects=True)


async def full(scale: Scale) -> Group:
    """With default `max_events` and a full memory: ours pushes events out, the SDK's halves."""
    batches = {"ours": _ours(audit_logger()), "SDK": _theirs(SdkAuditLogger())}
    for batch in batches.values():
        await batch(FULL)
    comparison = against("log_event, memory full", SDK, "ours", "SDK", ALONE)
    size = 5_000 if scale.quick else 20_000
    return Group("full", batches, size, [comparison], turns=1, collects=True)


async def log_event(_: Scale) -> Group:
    """`log_event` between garbage collections, without and with a log record on a provider."""
    batches = {
        "ours": _ours(audit_logger()),
        "record": _ours(audit_logger(logger_provider=logger_provider())),
        "SDK": _theirs(SdkAuditLogger()),
    }
    for batch in batches.values():
        await batch(FULL)
    return Group(
        "log_event",
        batches,
        500,
        [
            against("log_event, between garbage collections", SDK, "ours", "SDK", ALONE),
            against("log_event with a log record, likewise", SDK, "record", "SDK"),
        ],
    )


async def append(_: Scale) -> Group:
    """The trail's part: canonical bytes, hash, indexes, buffer."""
    trail = audit_logger().trail

    def drafts(n: int) -> list[Any]:
        return [
            draft(
                "STORE",
                "SUCCESS",
                user_id="user_4711",
                session_id="session_0815",
                entry_ids=[str(uuid4())],
                metadata=METADATA,
                duration_ms=45.2,
            )
            for _ in range(n)
        ]

    async def ours(n: int) -> float:
        events = drafts(n)
        start = clock()
        for event in events:
            trail.record(event)
        return clock() - start

    encode = msgspec.json.Encoder().encode
    kept: deque[tuple[bytes, str]] = deque(maxlen=FULL)

    async def floor(n: int) -> float:
        events = drafts(n)
        start = clock()
        for event in events:
            line = encode(event)
            kept.append((line, hashlib.sha256(line).hexdigest()))
        return clock() - start

    await ours(FULL)
    floor_words = "JSON, SHA-256 and deque.append alone"
    comparison = against("trail append alone", floor_words, "ours", "floor")
    return Group("append", {"ours": ours, "floor": floor}, 500, [comparison])


async def flat(scale: Scale) -> Group:
    """An event with many events in memory, and with few; both memories are full."""
    few, many = 1_000, scale.sizes[-1]
    batches = {}
    for held in (few, many):
        audit = audit_logger(max_events=held)
        await fill(audit, OperationType, held)
        batches[f"{held}"] = _ours(audit)
    comparison = against(
        f"log_event, {many:,} held",
        f"{few:,} held",
        f"{many}",
        f"{few}",
        1.1 if many > FULL else None,
    )
    size = 500 if scale.quick else 2_000
    return Group("flat", batches, size, [comparison], collects=True)
