"""Measures `durability="disk"` against the device: wall clock, since calls wait for it."""

from __future__ import annotations

import asyncio
import math
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

from axon_audit_otel import AuditLogger

from .cases import METADATA, Comparison, Scale, audit_logger
from .measure import Line, lines

CALLERS = (1, 16, 256)


def disk(scale: Scale) -> list[Line]:
    """Events a second by number of concurrent callers, against bare syncs a second."""
    return lines(
        [
            Comparison(
                f'events a second, durability="disk", {callers} at once',
                "/s",
                lambda t, callers=callers: t[str(callers)],  # type: ignore[misc]
                lambda t: t["raw"],
                "write and fdatasync alone",
            )
            for callers in CALLERS
        ],
        asyncio.run(_rounds(scale.rounds)),
    )


async def _rounds(rounds: int) -> list[dict[str, float]]:
    times = []
    with TemporaryDirectory(prefix="axon-audit-bench-") as name:
        directory = Path(name)
        audit = audit_logger(auto_export_path=directory / "logs", durability="disk")
        await _recorded(audit, 1, 20)
        for _ in range(rounds):
            took = {"raw": _bare(directory, 100)}
            for callers in CALLERS:
                took[str(callers)] = await _recorded(audit, callers, 100 * math.isqrt(callers))
            times.append(took)
        audit.close()
    return times


def _bare(directory: Path, count: int) -> float:
    """Number of lines a second that this machine writes and forces to the device."""
    line = b"x" * 400
    with (directory / "raw").open("ab", buffering=0) as file:
        start = perf_counter()
        for _ in range(count):
            file.write(line)
            os.fdatasync(file.fileno())
        return count / (perf_counter() - start)


async def _recorded(audit: AuditLogger, callers: int, count: int) -> float:
    """Events a second, each on stable storage when its call returns."""

    async def call() -> None:
        for _ in range(max(1, count // callers)):
            await audit.log_event("STORE", "user_4711", "session_0815", metadata=METADATA)

    start = perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return callers * max(1, count // callers) / (perf_counter() - start)
