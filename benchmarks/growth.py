"""``python -m benchmarks.growth``: what grows with the archive, and what does not.

Each job runs in processes of its own on archives of 100,000 and a million events (``--largest``:
and ten million), which are written to a scratch directory and deleted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, gettempdir
from time import perf_counter
from typing import Any

from axon_audit_otel import AuditLogger, verify
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.archive.search import search
from axon_audit_otel.cli.export import export_events
from axon_audit_otel.events.query import Query
from axon_audit_otel.evidence.period import Period
from axon_audit_otel.evidence.report import make_report

from . import report
from .archives import EACH, RARE_ENTRY, RARE_USER, agent_events, key_of, write

ROOT = Path(__file__).resolve().parent.parent
SIZES = (100_000, 1_000_000)
LARGEST = 10_000_000
KILLED = "killed"  # a job that ends with that
UNSEALED = 5_000  # events in the journal of the process that is killed, at every size
_ENTRIES = [f"entry_{number}" for number in range(UNSEALED)]


# --- jobs: each returns the number of events that it had to do with -------------------------------


def _user(archive: Path, _: Path) -> int:
    return sum(1 for _ in search(archive, Query.of(user_id=RARE_USER)))


def _entry(archive: Path, _: Path) -> int:
    return sum(1 for _ in search(archive, Query.of(entry_ids=RARE_ENTRY)))


def _hour(archive: Path, _: Path) -> int:
    since = datetime.now(timezone.utc) - timedelta(hours=1)
    return sum(1 for _ in search(archive, Query.of(start_time=since)))


def _verify(archive: Path, jobs: int | None = None, by_digest: bool = False) -> int:
    """Verify with the key: every line, or by the digests that a checkpoint covers."""
    found = verify(archive, [key_of(archive).read_text("utf-8")], jobs=jobs, full=not by_digest)
    assert found.ok, found.findings[:3]
    (writer,) = found.writers
    assert writer.by_digest == (writer.files if by_digest else 0)
    return found.events


def _export(archive: Path, scratch: Path) -> int:
    events = search(archive, Query.of(), oldest_first=True)
    return export_events(events, scratch / "export.jsonl", "jsonl")


def _report(archive: Path, scratch: Path) -> int:
    made = make_report(archive, Period.of("2000-01", "2099-12", "UTC"), scratch / "report")
    return int(made["activity"]["events"])


def _start(archive: Path, _: Path) -> int:
    """The start on what a killed process left, and its first event."""
    audit = AuditLogger(auto_export_path=archive)
    asyncio.run(audit.log_event("STORE", entry_ids=_ENTRIES[:1]))
    return UNSEALED


def _killed(archive: Path, _: Path) -> int:
    """Log some events, and be killed. Not measured."""
    audit = AuditLogger(auto_export_path=archive, max_events=2 * UNSEALED)

    async def work() -> None:
        for entry_id in _ENTRIES:
            await audit.log_event("STORE", "user_4711", entry_ids=[entry_id])

    asyncio.run(work())
    os.kill(os.getpid(), signal.SIGKILL)
    return 0


#: Jobs that change the archive come last.
JOBS = {
    report.USER: _user,
    "query: an entry's 100 events": _entry,
    "query: the last hour": _hour,
    "verify": lambda archive, _: _verify(archive),
    "verify, in one process": lambda archive, _: _verify(archive, 1),
    "verify by digest": lambda archive, _: _verify(archive, by_digest=True),
    "verify by digest, in one process": lambda archive, _: _verify(archive, 1, by_digest=True),
    "export, JSON lines": _export,
    "report": _report,
    report.START: _start,
}
_OFTEN = 3  # runs of a job that is short enough
_SHORT = 3.0  # CPU seconds


# --- measuring ------------------------------------------------------------------------------------


def _spent() -> tuple[float, float]:
    """CPU seconds of this process and of those that it has waited for: its own, the kernel's."""
    both = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(used.ru_utime for used in both), sum(used.ru_stime for used in both)


def _megabytes() -> float:
    """The largest resident size of this process so far."""
    status = Path("/proc/self/status")
    if status.exists():  # rusage counts what the process that started this one had
        lines = status.read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def run_here(job: str, archive: Path, scratch: Path) -> dict[str, Any]:
    """Run *job* in this process: CPU seconds, its own and the kernel's, wall seconds, the largest
    resident MB, how much that grew, and what the job returns."""
    before, start = _megabytes(), perf_counter()
    own, kernel = _spent()
    found = (_killed if job == KILLED else JOBS[job])(archive, scratch)
    wall, (own_after, kernel_after), most = perf_counter() - start, _spent(), _megabytes()
    return {
        "own": own_after - own,
        "kernel": kernel_after - kernel,
        "wall": wall,
        "mb": most,
        "grew_mb": most - before,
        "found": found,
    }


def run_in_child(job: str, archive: Path, where: Path) -> dict[str, Any] | None:
    """Run *job* in a process of its own; None if that was killed."""
    with TemporaryDirectory(dir=where) as scratch:
        command = [sys.executable, "-m", __spec__.name, "--child", job, str(archive), scratch]
        done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if done.returncode == -signal.SIGKILL:
        return None
    done.check_returncode()
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def _measured(job: str, archive: Path, where: Path) -> dict[str, Any]:
    """The median of some runs; of one if it takes long."""
    runs: list[dict[str, Any]] = []
    while len(runs) < _OFTEN and (not runs or runs[0]["own"] < _SHORT):
        if JOBS[job] is _start:
            run_in_child(KILLED, archive, where)
        run = run_in_child(job, archive, where)
        assert run is not None, job
        runs.append(run)
    return {name: round(median(run[name] for run in runs), 4) for name in runs[0]}


def rows(sizes: tuple[int, ...], where: Path) -> list[dict[str, Any]]:
    """Of every size, what each job took."""
    found = []
    for size in sizes:
        with TemporaryDirectory(prefix="axon-audit-bench-", dir=where) as directory:
            archive, start = Path(directory, "archive"), perf_counter()
            write(archive, agent_events(size), key=new_key("benchmark"))
            size_mb = sum(file.stat().st_size for file in archive.iterdir()) / 1e6
            say = f"{size:,} events, {size_mb:,.0f} MB, written in {perf_counter() - start:.0f} s"
            print(say, file=sys.stderr, flush=True)
            for job in JOBS:
                one = _measured(job, archive, Path(directory))
                load = report.load()
                found.append({"job": job, "events": size, "mb_archive": size_mb, **one})
                print(f"{job}: {one}, load {load}", file=sys.stderr, flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--largest", action="store_true", help=f"{LARGEST:,} events too: 20 GB")
    parser.add_argument("--events", type=int, nargs="+", metavar="N", help="these sizes instead")
    parser.add_argument("--where", type=Path, default=Path(gettempdir()), metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write it all to FILE")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        job, archive, scratch = options.child
        print(json.dumps(run_here(job, Path(archive), Path(scratch))), flush=True)
        os._exit(0)  # without a word to the archive, as a killed process
    sizes = options.events or (*SIZES, *([LARGEST] if options.largest else []))
    facts = report.facts(1)
    found = rows(tuple(sizes), options.where)
    facts["load"] += report.load()
    print(report.growth_table(found))
    print(f"\nFiles of {EACH:,} events. {report.footer(facts)}")
    if options.json is not None:
        report.write(options.json, facts, found)


if __name__ == "__main__":
    main()
