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
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timedelta, timezone
from functools import partial
from itertools import chain
from multiprocessing import get_context
from pathlib import Path
from random import Random
from time import perf_counter, time_ns
from typing import Any
from uuid import uuid4

import structlog
from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.models.audit import OperationType as SdkOperationType

from axon_audit_otel import AuditLogger, OperationType, verify
from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey, new_key
from axon_audit_otel.archive.search import search
from axon_audit_otel.archive.writer import ArchiveWriter
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.core.time import format_time
from axon_audit_otel.events.draft import draft
from axon_audit_otel.events.model import encode_fields, place
from axon_audit_otel.events.query import START, Query
from axon_audit_otel.evidence.period import Period
from axon_audit_otel.evidence.report import make_report

from .cases import METADATA, Comparison, Group, audit_logger, log_events

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


def _drafts(count: int, users: int) -> Iterator[Any]:
    """Realistic events of the last weeks: half stores of an entry, half recalls of five."""
    chance = Random(7)
    first = datetime.now(timezone.utc) - timedelta(seconds=count / 10)
    start_us = int(first.timestamp() * 1e6)
    for number in range(count):
        stored = number % 2 == 0
        entries = [f"{chance.getrandbits(128):032x}" for _ in range(1 if stored else 5)]
        event = draft(
            "STORE" if stored else "RECALL",
            "SUCCESS",
            user_id=f"user_{chance.randrange(users):06}",
            session_id=f"session_{number // 50:07}",
            entry_ids=entries,
            metadata={"importance": 0.5} if stored else {"k": 5, "result_count": 5},
            duration_ms=12.5,
        )
        time_us = start_us + number * 100_000
        event["timestamp"] = format_time(time_us)
        yield event


def _start() -> Any:
    """The record that a trail begins with."""
    event = draft("AUDIT", "SUCCESS", metadata={"record": START})
    event["timestamp"] = format_time(0)
    return event


def generate(directory: Path, events: int, files: int, key: SigningKey | None = None) -> str:
    """Write an archive as a trail does, with the package's own writer of files.

    Returns:
        Its public key.
    """
    key = new_key("benchmark") if key is None else key
    archive = ArchiveWriter(directory, "default")
    head: bytes | None = None
    each = max(1, events // files)
    drafts = chain([_start()], _drafts(events - 1, max(100, events // 100)))
    for number, event in enumerate(drafts, 1):
        previous = None if head is None else head.hex()
        line = place(encode_fields(event)[:-1], number, previous)
        head = leaf_hash(line)
        archive.append(line, head, number, event["timestamp"])
        if archive.count == each:
            archive.seal()
    archive.seal()
    manifest, (number, last) = archive.sealed.manifest, archive.newest
    state = manifest.tree.size, manifest.tree.root(), number, last or ""
    now = format_time(time_ns() // 1000)
    note = key.sign(Checkpoint(f"axon-audit/default/{manifest.id}", *state, now).text())
    archive.path(".checkpoint").write_text(note, "utf-8")
    archive.release()
    return str(key.verifying)


#: Each with the number of processes that read (None: as many as processors), and whether every
#: line is proved though the signed checkpoint covers the digests of all files.
_VERIFY: dict[str, tuple[str, int | None, bool]] = {
    "lines1": ("verify, every line, one process", 1, True),
    "lines": ("verify, every line", None, True),
    "digest1": ("verify --key, by digest, one process", 1, False),
    "digest": ("verify --key, by digest", None, False),
}


def _cpu_s() -> float:
    """CPU seconds of this process and of those that it started and that ended."""
    every = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, every))


def _verified(job: str, directory: Path, key: str) -> int:
    _, jobs, full = _VERIFY[job]
    report = verify(directory, [key], jobs=jobs, full=full)
    assert report.verdict == "ok", report.findings[:3]
    (writer,) = report.writers
    assert writer.by_digest == (0 if full else writer.files)
    return report.events


def _measured(job: str, directory: Path, key: str) -> dict[str, Any]:
    """Run one job in a process of its own: seconds, CPU seconds, peak memory in MB, result."""
    cpu_s = _cpu_s()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = perf_counter()
    if job in _VERIFY:
        found = _verified(job, directory, key)
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
    memory = {"peak_mb": peak / 1024, "grew_mb": (peak - before) / 1024}
    return {"seconds": seconds, "cpu_s": _cpu_s() - cpu_s, **memory, "found": found}


_JOBS = {
    **{job: title for job, (title, *_) in _VERIFY.items()},
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
    print("| events | files | MB | | seconds | us each | CPU us each | peak MB | grew MB | found |")
    print(
        "|-------:|------:|---:|---|--------:|--------:|------------:|--------:|--------:|------:|"
    )
    for share in (10, 1):
        directory = where / f"archive{share}"
        shutil.rmtree(directory, ignore_errors=True)
        count = events // share
        start = perf_counter()
        key = generate(directory, count, files)
        print(f"generated in {perf_counter() - start:.0f} s", file=sys.stderr)
        seconds, size = _reading(directory)
        row = f"| {count:,} | {files:,} | {size / 1e6:,.0f} "
        each = seconds / count * 1e6
        print(f"{row}| read and SHA-256 alone | {seconds:.1f} | {each:.2f} | | | | |")
        for job, title in _JOBS.items():
            with context.Pool(1) as pool:  # a process of its own
                one = pool.apply(_measured, (job, directory, key))
            took, cpu = (one[name] / count * 1e6 for name in ("seconds", "cpu_s"))
            print(
                f"{row}| {title} | {one['seconds']:.1f} | {took:.2f} | {cpu:.2f} "
                f"| {one['peak_mb']:.0f} | {one['grew_mb']:.0f} | {one['found']:,} |",
                flush=True,
            )
        print(f"load: {os.getloadavg()[0]:.1f}", file=sys.stderr)
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
