"""Measures `axon-audit view`: the time to its first page, each filter, and its memory
(``python -m benchmarks.viewer --help``)."""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from http.cookiejar import CookieJar
from pathlib import Path
from random import Random
from statistics import median
from time import perf_counter, sleep
from typing import Any
from urllib.request import HTTPCookieProcessor, OpenerDirector, build_opener

from axon_audit_otel.core.time import format_time

from .archives import write

_OPERATIONS = ["STORE", "RECALL", "RECALL", "RECALL", "FORGET", "EXPORT", "COMPACT"]
FILTERS = [
    *("", "status=FAILURE", "user=user-17", "user=nobody", "entry=entry-3", "system=axon"),
    "since=2025-01-15T06:00Z&until=2025-01-15T07:00Z",
    *("operation=EXPORT&user=user-17", "operation=RECALL&status=SUCCESS&session=session-77"),
]


def generate(directory: Path, count: int) -> None:
    """Write an archive of that many events, of one day, as a trail does."""
    write(directory, _events(count))


def _events(count: int) -> Iterator[dict[str, Any]]:
    chance = Random(1)
    begin, day = 1_736_899_200_000_000, 86_400_000_000  # 15 January 2025
    for number in range(1, count + 1):
        yield {
            "event_id": f"evt_{number:032x}",
            "timestamp": format_time(begin + day * number // count),
            "operation": chance.choice(_OPERATIONS),
            "user_id": f"user-{int(chance.paretovariate(1)) % 5000}",
            "session_id": f"session-{number // 20}",
            "entry_ids": [f"entry-{chance.randrange(count // 10 or 1)}" for _ in range(2)],
            "metadata": {"k": 5, "tiers": ["all"], "has_filter": False, "result_count": 3},
            "status": chance.choices(["SUCCESS", "FAILURE", "PARTIAL"], [97, 2, 1])[0],
            "duration_ms": chance.random() * 20,
            "trace_id": f"{chance.getrandbits(127) + 1:032x}",
            "system": "axon",
        }


def _megabytes(process: int, name: str) -> float:
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"{name}:\s+(\d+) kB", status)
    return int(found[1]) / 1024 if found else 0.0


def _read(opener: OpenerDirector, url: str) -> bytes:
    with opener.open(url) as answer:
        return bytes(answer.read())


def _timed(ask: Callable[[], object]) -> float:
    start = perf_counter()
    ask()
    return perf_counter() - start


def measure(directory: Path) -> None:
    """Print the figures of a viewer over *directory*."""
    start = perf_counter()
    command = [sys.executable, "-m", "axon_audit_otel", "view", str(directory), "--no-open"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        base, opener = url.partition("?")[0], build_opener(HTTPCookieProcessor(CookieJar()))
        _read(opener, url)
        print(f"| from the command to the first page | {perf_counter() - start:.2f} s |")
        while b'"ready":true' not in _read(opener, f"{base}state").replace(b" ", b""):
            sleep(0.1)
        print(f"| to the index | {perf_counter() - start:.1f} s |")
        for given in FILTERS:
            ask = partial(_read, opener, f"{base}?{given}")
            seconds = median(_timed(ask) for _ in range(5))
            print(f"| page {given or 'without a filter'} | {1000 * seconds:.0f} ms |")
        while b"Verifying" in _read(opener, base):
            sleep(0.1)
        print(f"| to the end of the verification | {perf_counter() - start:.1f} s |")
        print(f"| most memory | {_megabytes(process.pid, 'VmHWM'):.0f} MB |")
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.viewer", description=__doc__)
    parser.add_argument("--events", type=int, default=1_000_000, help="default 1,000,000")
    with tempfile.TemporaryDirectory() as directory:
        count = parser.parse_args().events
        generate(Path(directory), count)
        print(f"| {count:,} events | |\n| --- | ---: |")
        measure(Path(directory))


if __name__ == "__main__":
    main()
