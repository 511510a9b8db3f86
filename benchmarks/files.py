"""Measures export and verification of events, and the pause when a large journal is sealed."""

from __future__ import annotations

import asyncio
import hashlib
import json
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time_ns
from typing import Any

from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.models.audit import OperationType as SdkOperationType

from axon_audit_otel import OperationType, verify

from .cases import METADATA, Comparison, Group, Scale, against, audit_logger, clock, fill
from .measure import Line


async def files(scale: Scale) -> Group:
    """`export_to_file` of events in memory; `verify` of an archive in ten sealed files."""
    count = 5_000 if scale.quick else 20_000
    directory = TemporaryDirectory(prefix="axon-audit-bench-")
    root = Path(directory.name)
    ours = audit_logger(max_events=count)
    theirs = SdkAuditLogger(max_events=count + 1)
    await fill(ours, OperationType, count)
    await fill(theirs, SdkOperationType, count)
    archive = root / "archive"
    with audit_logger(max_events=count // 10, auto_export_path=archive) as archived:
        await fill(archived, OperationType, count)

    async def export(_: int) -> float:
        start = clock()
        ours.export_to_file(root / "ours.json")
        return clock() - start

    async def their_export(_: int) -> float:
        start = clock()
        await theirs.export_to_json(root / "theirs.json")
        return clock() - start

    async def check(_: int) -> float:
        start = clock()
        assert verify(archive).ok
        return clock() - start

    async def decode(_: int) -> float:
        start = clock()
        for path in archive.glob("audit_*.json"):
            with path.open("rb") as file:
                for line in file:
                    hashlib.sha256(line)
                    if line.startswith((b" {", b",{")):
                        json.loads(line[1:])
        return clock() - start

    return Group(
        "files",
        {
            "export": export,
            "SDK export": their_export,
            "verify": check,
            "decode": decode,
        },
        count,
        [
            against("export_to_file", "the SDK's export_to_json", "export", "SDK export"),
            against("verify", "SHA-256 and json.loads of each line", "verify", "decode"),
        ],
        turns=1,
        done=directory.cleanup,
    )


# --- pauses --------------------------------------------------------------------------------------


def pause(scale: Scale) -> list[Line]:
    """`log_event` around the moment when a journal of so many events is sealed."""
    count = scale.sizes[-1]
    found = []
    for compress in (False, True):
        sealed, usual = asyncio.run(_pause(count, compress))
        sealing = f"{count:,} sealed{', compressed' if compress else ''}"
        for name, of in (("p99.99 of log_event", _p9999), ("the call that seals", _middle)):
            comparison = Comparison(
                f"{name}, {sealing}",
                "ms",
                lambda t: t["sealing"],
                lambda t: t["usual"],
                "p99.99 of as many calls before",
                5.0,
                absolute=True,
            )
            found.append(Line(comparison, [of(sealed) / 1e6], [_p9999(usual) / 1e6]))
    return found


def _middle(values: list[int]) -> int:
    return values[len(values) // 2 - 1]


def _p9999(values: list[int]) -> int:
    return sorted(values)[ceil(0.9999 * len(values)) - 1]


async def _pause(count: int, compress: bool) -> tuple[list[int], list[int]]:
    """Nanoseconds of the calls around the sealing, and of as many before.

    It is CPU time of all threads: a thread that delays a call is part of its pause, another
    program is not. Work on another core counts too, so the real pause may be shorter.
    """
    window = min(100_000, count // 2)
    with TemporaryDirectory(prefix="axon-audit-bench-") as directory:
        audit = audit_logger(max_events=count, auto_export_path=directory, compress=compress)
        await fill(audit, OperationType, count - window - window // 2)
        usual = await _latencies(audit, window)
        sealing = await _latencies(audit, window)  # in the middle of which it is full
        assert audit.get_statistics()["exported_events"] == count
        audit.close()
    return sealing, usual


async def _latencies(audit: Any, count: int) -> list[int]:
    result = []
    for number in range(count):
        entry_ids = [f"entry_{number}"]
        start = process_time_ns()
        await audit.log_event(
            OperationType.STORE,
            user_id="user_4711",
            entry_ids=entry_ids,
            metadata=METADATA,
            duration_ms=45.2,
        )
        result.append(process_time_ns() - start)
    return result
