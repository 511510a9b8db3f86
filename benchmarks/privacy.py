"""Measures the time that `pseudonymize` and `erasable` add to `log_event` into files."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from axon_audit_otel import AuditLogger, OperationType

from .cases import Batch, Comparison, Group, Scale, audit_logger, clock

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "pseudonymize=": {"pseudonymize": bytes(range(32))},
    "erasable=": {"erasable": True},
}
USERS = 1_000


async def privacy(_: Scale) -> Group:
    """An event of one of 1,000 users, with and without."""
    stack = ExitStack()
    where = Path(stack.enter_context(TemporaryDirectory(prefix="axon-audit-bench-")))
    batches = {}
    for name, settings in SETTINGS.items():
        audit = audit_logger(auto_export_path=where / name, **settings)
        batches[name] = await _logging(stack.enter_context(audit))
    return Group(
        "privacy",
        batches,
        500,
        [
            Comparison(
                f"{name}, an event",
                "us",
                lambda t, a=name: t[a] - t["plain"],  # type: ignore[misc]
                lambda t: t["plain"],
                "log_event into files without it",
                None,
                absolute=True,
            )
            for name in ("pseudonymize=", "erasable=")
        ],
        done=stack.close,
    )


async def _logging(audit: AuditLogger) -> Batch:
    number = count()
    facts = {"k": 5, "tier": "persistent", "importance": 0.5}

    async def batch(n: int) -> float:
        users = [f"user_{next(number) % USERS}" for _ in range(n)]
        start = clock()
        for user in users:
            await audit.log_event(
                OperationType.STORE, user_id=user, session_id=f"visit_{user}", metadata=facts
            )
        return clock() - start

    await batch(USERS)
    return batch
