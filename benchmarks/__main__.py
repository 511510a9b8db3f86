"""``python -m benchmarks``: rounds of interleaved batches, and the table of their ratios."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import platform
import sys
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import msgspec

from . import archive, cases, monitor, scrape
from .cases import Comparison, Group, Times

PARTS = (
    "signals",
    "run",
    "log_event",
    "append",
    "monitor",
    "query",
    "scrape",
    "archive",
    "memory",
    "import",
)


@dataclass
class Line:
    """One comparison and its rounds."""

    comparison: Comparison
    ours: list[float]
    reference: list[float]

    @property
    def ratios(self) -> list[float]:
        pairs = zip(self.ours, self.reference)
        if self.comparison.faster:
            return [reference / ours for ours, reference in pairs]
        return [ours / reference for ours, reference in pairs]

    @property
    def met(self) -> bool | None:
        comparison = self.comparison
        if comparison.limit is None:
            return None
        if comparison.faster:
            return median(self.ratios) >= comparison.limit
        return median(self.ours if comparison.absolute else self.ratios) <= comparison.limit

    @property
    def target(self) -> str:
        comparison = self.comparison
        if comparison.limit is None:
            return ""
        sign = ">=" if comparison.faster else "<="
        unit = f" {comparison.unit}" if comparison.absolute else ""
        return f"{sign} {comparison.limit:g}{unit}"

    def cells(self) -> tuple[str, ...]:
        """As a row of the table."""
        comparison, ratios = self.comparison, self.ratios
        times = "x faster" if comparison.faster else "x"
        digits = 0 if comparison.faster and median(ratios) >= 10 else 2
        return (
            comparison.name,
            comparison.versus,
            f"{median(ratios):,.{digits}f} {times}",
            f"{min(ratios):,.{digits}f} - {max(ratios):,.{digits}f}",
            f"{median(self.ours):,.1f} / {median(self.reference):,.1f} {comparison.unit}",
            self.target,
            {None: "", True: "met", False: "MISSED"}[self.met],
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.comparison.name,
            "versus": self.comparison.versus,
            "unit": self.comparison.unit,
            "ours": self.ours,
            "reference": self.reference,
            "ratios": self.ratios,
            "median": median(self.ratios),
            "min": min(self.ratios),
            "max": max(self.ratios),
            "target": self.target,
            "met": self.met,
        }


# --- measuring -----------------------------------------------------------------------------------


async def _one_round(group: Group, number: int) -> Times:
    """Microseconds an operation, by batch; each batch takes its turn, in changing order."""
    seen: dict[str, list[float]] = {name: [] for name in group.batches}
    names = list(group.batches)
    for turn in range(group.turns):
        shift = (number + turn) % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            seconds = await group.batches[name](group.size)
            seen[name].append(1e6 * seconds / group.size)
    return {name: median(values) for name, values in seen.items()}


async def _timed(make: Callable[[], Awaitable[Group]], rounds: int) -> list[Line]:
    group = await make()
    gc.collect()
    if group.name == "run":
        gc.unfreeze()  # collections walk the whole program, as they do in an application
    else:
        gc.freeze()  # what is there now is no part of any batch
    for batch in group.batches.values():
        await batch(group.size)
    times = [await _one_round(group, number) for number in range(rounds)]
    return _lines(group.comparisons, times)


def _lines(comparisons: list[Comparison], times: list[Times]) -> list[Line]:
    return [
        Line(one, [one.ours(t) for t in times], [one.reference(t) for t in times])
        for one in comparisons
    ]


def _memory(sizes: list[int], hows: tuple[str, ...]) -> list[Line]:
    """Each measurement in a new process; nothing is timed, so two may run at once."""
    pairs = [(whose, how) for how in hows for whose in ("ours", "SDK")]
    jobs = [(*pair, sizes) for pair in pairs]
    with get_context("spawn").Pool(min(2, os.cpu_count() or 1), maxtasksperchild=1) as pool:
        found = dict(zip(pairs, pool.starmap(cases.footprint, jobs, chunksize=1)))
    return [
        Line(
            Comparison(
                f"memory an event, {size:,} held ({how})",
                "B",
                lambda t: t["ours"],
                lambda t: t["SDK"],
                "the SDK's buffer",
                1000,
                absolute=True,
            ),
            [found["ours", how][position]],
            [found["SDK", how][position]],
        )
        for how in hows
        for position, size in enumerate(sizes)
    ]


def _archive(rounds: int) -> list[Line]:
    with ExitStack() as stack:
        lines = asyncio.run(_timed(lambda: archive.written(stack), rounds))
        return lines + _lines(*asyncio.run(archive.disk(rounds)))


def _imports(rounds: int) -> list[Line]:
    cases.import_times()  # writes the .pyc files
    times = [
        {name: 1e3 * seconds for name, seconds in cases.import_times().items()}
        for _ in range(rounds)
    ]
    package = Comparison(
        "import axon_audit_otel",
        "ms",
        lambda t: t["package"],
        lambda t: t["API"],
        "importing OpenTelemetry's API before it",
        60,
        absolute=True,
    )
    names = Comparison(
        "... and AuditLogger, AxonInstrumentor",
        "ms",
        lambda t: t["names"],
        lambda t: t["API"],
        "importing OpenTelemetry's API before it",
    )
    return _lines([package, names], times)


# --- reporting -----------------------------------------------------------------------------------

HEADS = ("what", "against", "ratio", "min - max", "ours / reference", "target", "")


def _table(lines: list[Line]) -> str:
    """The lines as a Markdown table that reads well as text."""
    rows = [HEADS, *(line.cells() for line in lines)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def _facts() -> dict[str, Any]:
    """What must be known of the machine to compare two tables."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    packages = ("axon-sdk", "opentelemetry-sdk", "prometheus-client", "msgspec", "wrapt")
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "packages": {name: version(name) for name in (*packages, "axon-audit-otel")},
    }


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and events")
    parser.add_argument("--rounds", type=int, help="default 7, with --quick 3")
    parser.add_argument("--million", action="store_true", help="memory at 1,000,000 events too")
    parser.add_argument(
        "--only", nargs="+", metavar="PART", choices=PARTS, default=PARTS, help="some parts only"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every round to FILE")
    return parser.parse_args()


def main() -> None:
    options = _arguments()
    quick = options.quick
    rounds = options.rounds or (3 if quick else 7)
    facts, start = _facts(), perf_counter()
    held = 10_000 if quick else 100_000
    timed: dict[str, Callable[[], Awaitable[Group]]] = {
        "signals": cases.signals,
        "run": cases.log_event_run,
        "log_event": cases.log_event,
        "append": cases.append,
        "monitor": monitor.monitor,
        "query": lambda: cases.query(held),
        "scrape": scrape.scrape(100_000 if quick else scrape.MANY),
    }
    lines: list[Line] = []
    for part in options.only:
        print(f"{part} ... {perf_counter() - start:.0f}", file=sys.stderr)
        if part == "memory":
            sizes = [10_000] if quick else [10_000, 100_000]
            sizes += [1_000_000] if options.million else []
            lines += _memory(sizes, ("tracemalloc",) if quick else ("tracemalloc", "RSS"))
        elif part == "archive":
            lines += _archive(rounds)
        elif part == "import":
            lines += _imports(rounds)
        else:
            lines += asyncio.run(_timed(timed[part], rounds))
    print(_table(lines))
    packages = ", ".join(f"{name} {number}" for name, number in facts["packages"].items())
    print(f"\n{facts['python']} on {facts['cores']} cores of {facts['cpu']}, {facts['system']}")
    print(f"{packages}\n{rounds} rounds, load before {facts['load']}")
    print(f"took {perf_counter() - start:.0f} s", file=sys.stderr)
    if options.json is not None:
        content = {**facts, "rounds": rounds, "lines": [line.as_json() for line in lines]}
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(content)) + b"\n")


if __name__ == "__main__":
    main()
