"""Measures events in files: ``log_event`` and other libraries, stable storage, and a large archive
(``python -m benchmarks.archive --help``)."""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import math
import os
import resource
import shutil
import sqlite3
import sys
import tempfile
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter
from typing import Any
from uuid import uuid4

import structlog
from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.models.audit import OperationType as SdkOperationType

from axon_audit_otel import AuditLogger, OperationType, verify
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query
from axon_audit_otel.evidence.period import Period
from axon_audit_otel.evidence.report import make_report

from .cases import METADATA, Comparison, Group, audit_logger, log_events
from .generated import generate

# --- log_event ---------------------------------------------------------------------------------

_TABLE = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY, event_id TEXT, timestamp TEXT, operation TEXT, status TEXT,
        user_id TEXT, session_id TEXT, subject_id TEXT, duration_ms REAL, metadata TEXT);
    CREATE TABLE entries (entry_id TEXT, sequence INTEGER);
    CREATE INDEX by_time ON events (timestamp);
    CREATE INDEX by_operation ON events (operation);
    CREATE INDEX by_status ON events (status);
    CREATE INDEX by_user ON events (user_id);
    CREATE INDEX by_session ON events (session_id);
    CREATE INDEX by_subject ON events (subject_id);
    CREATE INDEX by_entry ON entries (entry_id);
"""


class _Sqlite:
    """One row for an event, one for each of its entries; with the same indexes as ours."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.executescript(_TABLE)

    async def log_event(
        self,
        operation: str,
        user_id: str,
        session_id: str,
        entry_ids: list[str],
        metadata: dict[str, Any],
        duration_ms: float,
    ) -> str:
        event_id = uuid4().hex
        now = datetime.now(timezone.utc).isoformat()
        execute = self._connection.execute
        execute("BEGIN")
        sequence = execute(
            "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(event_id, now, operation, "SUCCESS", user_id, session_id, None, duration_ms),
                json.dumps(metadata),
            ),
        ).lastrowid
        for entry_id in entry_ids:
            execute("INSERT INTO entries VALUES (?, ?)", (entry_id, sequence))
        execute("COMMIT")
        return event_id


class _Structlog:
    """JSON lines in a file, flushed one by one."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._log = structlog.wrap_logger(
            structlog.WriteLogger(stack.enter_context(path.open("w"))),
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.JSONRenderer(),
            ],
        )

    async def log_event(self, operation: str, **fields: Any) -> str:
        event_id = uuid4().hex
        self._log.info(operation, event_id=event_id, status="SUCCESS", **fields)
        return event_id


async def written(stack: ExitStack) -> Group:
    """`log_event` into files that survive a killed process, and others that do that."""
    directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    ours = audit_logger(auto_export_path=directory / "ours")
    loggers: dict[str, tuple[Any, Any]] = {
        "ours": (ours, OperationType.STORE),
        "memory": (audit_logger(), OperationType.STORE),
        "SDK": (SdkAuditLogger(), SdkOperationType.STORE),
        "sqlite3": (_Sqlite(directory / "events.db"), "STORE"),
        "structlog": (_Structlog(directory / "events.log", stack), "STORE"),
    }

    def against(name: str, versus: str, limit: float | None) -> Comparison:
        title = "log_event into files"
        return Comparison(title, "us", lambda t: t["ours"], lambda t: t[name], versus, limit)

    return Group(
        "written",
        {name: partial(log_events, *logger) for name, logger in loggers.items()},
        500,
        [
            against("SDK", "the SDK's log_event (memory only)", 1),
            against("sqlite3", "sqlite3, WAL, synchronous=NORMAL", 1),
            against("structlog", "structlog, JSON to a file", 1),
            against("memory", "ours without files", None),
        ],
    )


# --- stable storage ----------------------------------------------------------------------------


def fdatasyncs(directory: Path, count: int) -> float:
    """Number of lines a second that this machine writes and forces to the device."""
    line = b"x" * 400
    with (directory / "raw").open("ab", buffering=0) as file:
        start = perf_counter()
        for _ in range(count):
            file.write(line)
            os.fdatasync(file.fileno())
        return count / (perf_counter() - start)


async def _on_disk(audit: AuditLogger, callers: int, count: int) -> float:
    """Events a second, each on stable storage when its call returns."""

    async def call() -> None:
        for _ in range(max(1, count // callers)):
            await audit.log_event("STORE", "user_4711", "session_0815", metadata=METADATA)

    start = perf_counter()
    await asyncio.gather(*(call() for _ in range(callers)))
    return callers * max(1, count // callers) / (perf_counter() - start)


CALLERS = (1, 16, 256)


async def disk(rounds: int) -> tuple[list[Comparison], list[dict[str, float]]]:
    """Events a second by number of concurrent callers, and bare syncs a second, by round."""
    times = []
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        audit = audit_logger(auto_export_path=directory / "logs", durability="disk")
        await _on_disk(audit, 1, 20)
        for _ in range(rounds):
            took = {"raw": fdatasyncs(directory, 100)}
            for callers in CALLERS:
                took[str(callers)] = await _on_disk(audit, callers, 100 * math.isqrt(callers))
            times.append(took)
        audit.close()

    def comparison(callers: str) -> Comparison:
        return Comparison(
            f'events a second, durability="disk", {callers} at once',
            "/s",
            lambda t: t[callers],
            lambda t: t["raw"],
            "write and fdatasync alone",
        )

    return [comparison(str(callers)) for callers in CALLERS], times


# --- a large archive ---------------------------------------------------------------------------


def _measured(job: str, directory: Path) -> dict[str, Any]:
    """Run one job in a process of its own: seconds, peak memory in MB, result."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    if job == "verify":
        report = verify(directory)
        assert report.ok, report.findings[:3]
        found = report.events
    elif job == "report":
        with tempfile.TemporaryDirectory() as output:
            period = Period.of("2000-01", "2099-12", "UTC")
            facts = make_report(directory, period, Path(output) / "report")
        found = facts["activity"]["events"]
    elif job == "user":
        found = sum(1 for _ in search(directory, Query.of(user_id="user_000042")))
    else:
        since = datetime.now(timezone.utc) - timedelta(hours=1)
        found = sum(1 for _ in search(directory, Query.of(start_time=since)))
    seconds = perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"seconds": seconds, "peak_mb": peak / 1024, "grew_mb": (peak - before) / 1024} | {
        "found": found
    }


_JOBS = {
    "verify": "verify",
    "report": "report",
    "user": "one user's events",
    "hour": "the last hour",
}


def _reading(directory: Path) -> tuple[float, int]:
    """Seconds to read and hash every byte, the minimum of a verification; number of bytes."""
    start, size = perf_counter(), 0
    for path in directory.glob("audit_*"):
        digest = hashlib.sha256()
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
                size += len(block)
    return perf_counter() - start, size


def large(where: Path, events: int, files: int) -> None:
    """Print the figures of an archive of that size, and of one with a tenth of it."""
    context = get_context("spawn")
    print("| events | files | MB | | seconds | events/s | peak MB | grew MB | found |")
    print("|-------:|------:|---:|---|--------:|---------:|--------:|--------:|------:|")
    for share in (10, 1):
        directory = where / f"archive{share}"
        shutil.rmtree(directory, ignore_errors=True)
        count = events // share
        start = perf_counter()
        generate(directory, count, files)
        print(f"generated in {perf_counter() - start:.0f} s", file=sys.stderr)
        seconds, size = _reading(directory)
        row = f"| {count:,} | {files:,} | {size / 1e6:,.0f} "
        print(f"{row}| read and SHA-256 alone | {seconds:.1f} | {count / seconds:,.0f} | | | |")
        for job, title in _JOBS.items():
            with context.Pool(1) as pool:  # a process of its own
                one = pool.apply(_measured, (job, directory))
            took = one["seconds"]
            print(
                f"{row}| {title} | {took:.1f} | {count / took:,.0f} | {one['peak_mb']:.0f} "
                f"| {one['grew_mb']:.0f} | {one['found']:,} |",
                flush=True,
            )
        shutil.rmtree(directory)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.archive", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="default 1,000,000")
    parser.add_argument("--files", type=int, default=1000, help="default 1,000")
    parser.add_argument("--where", type=Path, default=Path(tempfile.gettempdir()), metavar="DIR")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.where) as directory:
        large(Path(directory), options.events, options.files)


if __name__ == "__main__":
    main()
