"""``python -m benchmarks.fleet``: rehearses a fleet, and plans a million events a minute.

Needs what the tests with real servers need: the collector (``python3 tools/collector.py``),
VictoriaLogs (``python3 tests/go_programs.py``), and chdb; and Linux, for the bytes on the wire.
The machine runs everything: CPU times count, and seconds only say what such a machine bears.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import fields
from pathlib import Path

import msgspec

from benchmarks.report import facts, footer, markdown

from .plan import MILLION, Plan, checked, costs, cpu_of, plan
from .rehearsal import STAGES, Found, Options, Rehearsal

QUICK = Options(processes=6, agents=2, rate=120, tenth=0, seconds=8, down=3, around=3)


def tables(found: Found, by: Plan) -> str:
    """What is printed of a rehearsal."""
    one = costs(found)
    parts = [
        f"{found.recorded:,} events of {found.calls:,} calls and {found.starts} starts\n",
        markdown(
            [
                ("stage", *(f"us, {m.rate:,.0f}/s" for m in found.measured), _IDLE, "MB"),
                *_cpu(found),
            ]
        ),
        markdown([("bytes an event", ""), *_bytes(found)]),
        markdown([_KILL, *_kills(found)]),
        markdown([_STORE, *_stores(found)]),
        f"plan for {by.rate:,.0f} events a second:\n\n{markdown(plan(one, by))}",
    ]
    if check := checked(found):
        high = found.measured[-1]
        heads = (f"cores at {high.rate:,.0f}/s", "predicted", "measured")
        rows = [(name, f"{said:.2f}", f"{was:.2f}") for name, said, was in check]
        sums = ("all", *(f"{sum(row[place] for row in check):.2f}" for place in (1, 2)))
        parts.append(markdown([heads, *rows, sums]))
    parts += [f"{count} x {words}" for words, count in found.said.items()]
    parts.append(f"{found.options}\n{found.machine}")
    return "\n\n".join(parts)


def _cpu(found: Found) -> list[tuple[str, ...]]:
    rows = []
    for name in STAGES:
        spent = [f"{cpu_of(one, found)[name]:,.0f}" for one in found.measured]
        memory = found.measured[-1].memory.get(name)
        idle = f"{1000 * found.idle[name]:.0f}"
        rows.append((name, *spent, idle, f"{memory / 1e6:,.0f}" if memory else ""))
    return rows


def _bytes(found: Found) -> list[tuple[str, ...]]:
    one = costs(found)
    names = {"agent": "application to agent", "gateway": "agent to gateway"}
    rows = [(names.get(name, f"gateway to {name}"), size) for name, size in one.wire.items()]
    rows += [(f"in the queue of: {name}", size) for name, size in one.queue.items()]
    rows += [(f"on disk: {name}", size) for name, size in one.disk.items()]
    return [(name, f"{size:,.0f}") for name, size in rows]


_IDLE = "idle, ms/s"
_KILL = ("killed", "events", "waited", "drained, s", "store", "missing", "copies")
_STORE = ("store", "missing", "sent", "missing then", "seen twice", "copies in it", "s")


def _kills(found: Found) -> list[tuple[str, ...]]:
    rows = []
    for kill in found.kills:
        first = (kill.what, f"{kill.events:,}", f"{kill.waiting:,}", f"{kill.drained:.1f}")
        for store, missing in kill.missing.items():
            rows.append((*first, store, f"{missing:,}", f"{kill.doubled[store]:,}"))
            first = ("", "", "", "")
    return rows


def _stores(found: Found) -> list[tuple[str, ...]]:
    return [
        (
            name,
            *(f"{n:,}" for n in (of.missing, of.sent, of.missing_after, of.seen_twice)),
            f"{of.records - found.recorded:,}",
            f"{of.seconds:.0f}",
        )
        for name, of in found.reconciled.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fleet", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="6 processes, about two minutes")
    for of, group in ((Options, "the rehearsal"), (Plan, "the plan")):
        options = parser.add_argument_group(group)
        for field in fields(of):
            default = getattr(QUICK, field.name) if of is Options else field.default
            kind = int if field.type == "int" else float
            name = "--plan-rate" if (of, field.name) == (Plan, "rate") else f"--{field.name}"
            shown = f"{field.default:g}" + (f", quick: {default:g}" if of is Options else "")
            options.add_argument(name, type=kind, metavar="N", help=f"default: {shown}")
    parser.add_argument("--json", type=Path, help="write what was measured")
    words = "do not measure: plan from what --json wrote"
    parser.add_argument("--from", type=Path, dest="measured", metavar="JSON", help=words)
    given = vars(parser.parse_args())
    base = QUICK if given["quick"] else Options()
    options = Options(
        **{f.name: _or(given[f.name], getattr(base, f.name)) for f in fields(Options)}
    )
    given["rate"] = given["plan_rate"] or MILLION
    by = Plan(**{f.name: _or(given[f.name], f.default) for f in fields(Plan)})
    if given["measured"]:
        found = msgspec.json.decode(given["measured"].read_bytes(), type=Found)
    else:
        found = _rehearsed(options)
    if given["json"]:
        given["json"].write_bytes(msgspec.json.format(msgspec.json.encode(found)) + b"\n")
    print(tables(found, by))
    mended = all(not (of.missing_after or of.seen_twice) for of in found.reconciled.values())
    for words in found.unverified:
        print(f"not verified: {words}", file=sys.stderr)
    sys.exit(0 if mended and not found.unverified else 1)


def _rehearsed(options: Options) -> Found:
    known = facts(1)
    with tempfile.TemporaryDirectory(prefix="axon-audit-fleet-") as place:
        tell = lambda words: print(words, file=sys.stderr, flush=True)  # noqa: E731
        with Rehearsal(Path(place), options, tell) as rehearsal:
            found = rehearsal.run()
    found.machine = footer(known)
    return found


def _or(given: object, default: object) -> object:
    return default if given is None else given


if __name__ == "__main__":
    main()
