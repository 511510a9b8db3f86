"""Measures one audited write to a memory: ours around the SDK's store, and other packages that
audit a memory, each used as its documentation shows.

The extra ``bench`` installs them; what is missing is named and left out. inspeximus audits a store
of its own, whose cost is in the figure. memory-blackbox is around a client that keeps a dict.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .cases import (
    TEXT,
    Batch,
    Group,
    Scale,
    against,
    audit_logger,
    clock,
    logger_provider,
    store,
    system,
    tracer_provider,
    while_instrumented,
)

_SLOWER = 20  # how many times fewer writes of the others: they take milliseconds


def _batch(write: Callable[[str], Any]) -> Batch:
    numbers = count()

    async def run(n: int) -> float:
        few = max(1, n // _SLOWER)
        start = clock()
        for _ in range(few):
            write(f"{TEXT} {next(numbers)}")
        return (clock() - start) * n / few

    return run


def _inspeximus(where: Path) -> Batch:
    os.environ.setdefault("INSPEXIMUS_HOME", str(where))
    from inspeximus import Inspeximus

    memory = Inspeximus(str(where / "inspeximus"), receipts=True)
    return _batch(lambda text: memory.remember(text, user_id="user_4711"))


class _Client:
    """A memory with mem0's way to add."""

    def __init__(self) -> None:
        self._held: dict[str, str] = {}

    def add(self, messages: str, **_: Any) -> dict[str, Any]:
        key = str(len(self._held))
        self._held[key] = messages
        return {"results": [{"id": key}]}


def _memory_blackbox(where: Path) -> Batch:
    from memory_blackbox.adapters.mem0_ import mem0_adapter
    from memory_blackbox.capture.engine import MemoryBlackbox
    from memory_blackbox.crypto import keys
    from memory_blackbox.model.records import Source, SourceType, TrustLevel

    source = Source(source_type=SourceType.document_ingest, trust_level=TrustLevel.untrusted)
    blackbox = MemoryBlackbox.open(where / "blackbox.db", keys.generate())
    memory = blackbox.wrap_adapter(
        _Client(), mem0_adapter(), namespace="agent", default_source=source
    )
    return _batch(lambda text: memory.add(text, user_id="user_4711"))


OTHERS = {
    "inspeximus: receipts, its own store": _inspeximus,
    "memory-blackbox: signed chain, SQLite": _memory_blackbox,
}


async def _stores(n: int) -> float:
    memory = system()
    start = clock()
    for _ in range(n):
        await store(memory)
    return clock() - start


async def memory_peers(_: Scale) -> Group:
    """A store with everything on and an archive, and a write in each of the others."""
    directory = TemporaryDirectory(prefix="axon-audit-bench-")
    where = Path(directory.name)
    audit = audit_logger(logger_provider=logger_provider(), auto_export_path=where / "archive")
    ours = "audited store, archived"
    batches: dict[str, Batch] = {ours: while_instrumented(_stores, audit, tracer_provider())}
    comparisons = []
    for name, start in OTHERS.items():
        try:
            batches[name] = start(where)
        except ImportError as exc:
            print(f"peers: {name} is left out, {exc.name} is not installed", file=sys.stderr)
            continue
        comparisons.append(against(ours, name, ours, name))

    def done() -> None:
        audit.close()
        directory.cleanup()

    return Group("memory peers", batches, 100, comparisons, turns=3, done=done)
