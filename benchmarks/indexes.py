"""Measures queries of an archive with and without its index
(``python -m benchmarks.indexes --help``)."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from time import perf_counter, process_time

from axon_audit_otel.archive.index.archive import index_archive
from axon_audit_otel.archive.index.notes import NOTES, index_files
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query

from .generated import generate

_KEY = b"the key of the benchmark".ljust(32)
_TURNS = 5
_LARGE = 10_000_000


def _queries(directory: Path, events: int) -> dict[str, Query]:
    """What is asked: of a user with about a hundred events, all over the archive."""
    user = f"user_{max(100, events // 100) // 2:06}"
    newest = next(search(directory, Query(limit=1))).timestamp
    since = newest - timedelta(seconds=events / 10 / 10)  # a tenth of its time
    return {
        "a user's": Query.of(user_id=user),
        "an absent user's": Query.of(user_id="nobody"),
        "a user's, a tenth of the time": Query.of(user_id=user, start_time=since),
        "a user's newest 10": Query.of(user_id=user, limit=10),
    }


def _measured(ask: Callable[[], int], turns: int) -> tuple[float, float, int]:
    """Seconds of CPU and of the clock of the fastest of some turns; the events that were found."""
    best = cpu = float("inf")
    found = 0
    for _ in range(turns):
        start, wall = process_time(), perf_counter()
        found = ask()
        cpu, best = min(cpu, process_time() - start), min(best, perf_counter() - wall)
    return cpu, best, found


def _asking(directory: Path, query: Query, keys: list[bytes]) -> Callable[[], int]:
    return lambda: sum(1 for _ in search(directory, query, index_keys=keys))


def measure(directory: Path, events: int) -> None:
    """Print the figures of one archive, whose index is made anew."""
    for path in [*index_files(directory), directory / NOTES]:
        path.unlink(missing_ok=True)
    start, wall = process_time(), perf_counter()
    done = index_archive(directory, [_KEY], Missing())
    cpu, took = process_time() - start, perf_counter() - wall
    row = f"| {events:,} | {done.files:,} "
    print(
        f"{row}| to make the index: {cpu / events * 1e6:.1f} us of CPU an event, {took:.1f} s;"
        f" {done.index_bytes / done.bytes:.1%} of {done.bytes / 1e6:,.0f} MB | | | | | |"
    )
    for name, query in _queries(directory, events).items():
        with_it = _measured(_asking(directory, query, [_KEY]), _TURNS)
        without = _measured(_asking(directory, query, []), 1 if events >= _LARGE else 3)
        assert with_it[2] == without[2]
        times = " | ".join(f"{1e3 * one:,.1f}" for one in (*with_it[:2], *without[:2]))
        print(f"{row}| {name} | {with_it[2]} | {times} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.indexes", description=__doc__)
    parser.add_argument("--large", action="store_true", help="also 10,000,000 events: 5 GB")
    parser.add_argument("--archive", type=Path, metavar="DIR", help="one that was generated before")
    parser.add_argument("--where", type=Path, default=Path(tempfile.gettempdir()), metavar="DIR")
    options = parser.parse_args()
    print("| events | files | | found | CPU, ms | wall | CPU without, ms | wall without |")
    print("|-------:|------:|---|------:|--------:|-----:|----------------:|-------------:|")
    if options.archive is not None:
        missing = Missing()
        measure(options.archive, index_archive(options.archive, [_KEY], missing).events)
        return
    for events, files in [(100_000, 10), (1_000_000, 100)] + [(_LARGE, 1000)] * options.large:
        with tempfile.TemporaryDirectory(dir=options.where) as directory:
            start = datetime.now(timezone.utc)
            generate(Path(directory), events, files)
            took = datetime.now(timezone.utc) - start
            print(f"{events:,} events generated in {took.total_seconds():.0f} s", file=sys.stderr)
            measure(Path(directory), events)


if __name__ == "__main__":
    main()
