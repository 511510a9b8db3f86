"""``python -m benchmarks``: runs rounds of interleaved batches, and prints their ratios."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from time import perf_counter

from . import (
    concurrency,
    disk,
    files,
    imports,
    integrations,
    memory,
    memory_peers,
    monitor,
    peers,
    privacy,
    query,
    report,
    shipping,
    signals,
    trail,
)
from .cases import Group, Scale
from .measure import Line, timed

#: By part, groups of batches that take turns; each group runs in a warm process.
GROUPS: dict[str, list[Callable[[Scale], Awaitable[Group]]]] = {
    "signals": [signals.everything, signals.signals],
    "log_event": [trail.log_event, trail.run, trail.full],
    "append": [trail.append],
    "integrations": [integrations.integrations],
    "concurrency": [concurrency.concurrency],
    "peers": [peers.peers, memory_peers.memory_peers],
    "monitor": [monitor.monitor],
    "privacy": [privacy.privacy],
    "files": [files.files],
    "flat": [trail.flat],
}


#: Parts that measure in processes of their own, or once.
OTHERS: dict[str, Callable[[Scale], list[Line]]] = {
    "disk": disk.disk,
    "pause": files.pause,
    "shipping": shipping.measured,
    "memory": memory.memory,
    "import": imports.imports,
}
PARTS = (*GROUPS, "query", *OTHERS)
#: Parts that the guard measures: the cost of every event. Other ratios differ more between
#: machines and Pythons than by any change that it should find.
GUARDED = ("signals", "log_event", "append")


def measure(part: str, scale: Scale) -> list[Line]:
    """The lines of one part."""
    if part in OTHERS:
        return OTHERS[part](scale)
    groups = GROUPS.get(part) or [partial(query.query, count=count) for count in scale.sizes]
    return [line for group in groups for line in timed(group, scale)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds and events")
    parser.add_argument("--rounds", type=int, help="default 7, with --quick 3")
    parser.add_argument(
        "--only", nargs="+", metavar="PART", choices=PARTS, help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write every round to FILE; its other parts stay"
    )
    parser.add_argument(
        "--guard", type=Path, metavar="FILE", help="fail if a ratio is twice that in FILE"
    )
    return parser.parse_args()


def main() -> int:
    options = _arguments()
    scale = Scale(options.quick, options.rounds or (3 if options.quick else 7))
    parts = options.only or (GUARDED if options.guard else PARTS)
    facts, start = report.facts(scale.rounds), perf_counter()
    found: dict[str, list[Line]] = {}
    for part in parts:
        print(f"{part} ... {perf_counter() - start:.0f} s", file=sys.stderr)
        found[part] = measure(part, scale)
        facts["load"] += report.load()
    rows = [{"part": part, **line.as_json()} for part, lines in found.items() for line in lines]
    print(report.table(rows))
    print(f"\n{report.footer(facts)}")
    print(f"took {perf_counter() - start:.0f} s", file=sys.stderr)
    if options.json is not None:
        report.write(options.json, *report.merged(options.json, facts, rows, list(PARTS)))
    return 0 if options.guard is None else guard(found, scale, options.guard)


def guard(found: dict[str, list[Line]], scale: Scale, reference: Path) -> int:
    """1 if a ratio doubled, twice over: a part where one did is measured again."""
    failed = []
    for part, first in found.items():
        if bad := set(report.worse(first, reference)):
            print(f"measured again: {part}", file=sys.stderr)
            failed += sorted(bad & set(report.worse(measure(part, scale), reference)))
    for key in failed:
        print(f"more than {report.GROSS:g} times as much as in {reference}: {key}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
