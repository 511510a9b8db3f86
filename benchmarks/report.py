"""The lines of the tables, as text and as JSON, and against a reference."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from math import log10
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from .measure import Line

HEADS = ("what", "against", "ratio", "min - max", "target", "")
PACKAGES = ("axon-sdk", "opentelemetry-sdk", "prometheus-client", "msgspec", "wrapt", "structlog")
_MET = {None: "", True: "met", False: "**missed**"}


def ratio(value: float) -> str:
    """*value* as a number of the table."""
    return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"


def cells(line: dict[str, Any]) -> tuple[str, ...]:
    """A line (as in the JSON) as a row of the table."""
    spread = f"{ratio(line['min'])} - {ratio(line['max'])}" if len(line["ours"]) > 1 else ""
    return (
        line["name"],
        line["versus"],
        f"{ratio(line['median'])} {'x faster' if line['faster'] else 'x'}",
        spread,
        wanted(line),
        _MET[line["met"]],
    )


def wanted(line: dict[str, Any]) -> str:
    """The target of a line; where that is no ratio, after what it is for."""
    target: str = line["target"]
    is_absolute = len(target.split()) > 2
    return f"{ratio(median(line['ours']))} {line['unit']}, {target}" if is_absolute else target


def targets(lines: list[dict[str, Any]], growth: list[dict[str, Any]]) -> str:
    """What was aimed at, and what it is."""
    rows: list[tuple[str, ...]] = []
    for line in lines:
        if line["target"]:
            name, versus, now, _, target, met = cells(line)
            rows.append((f"{name} / {versus}", now, target, met))
    for name, target, now, is_met in growth_targets(growth):
        rows.append((name, now, target, _MET[is_met]))
    return markdown((("what", "now", "target", ""), *rows))


def table(lines: list[dict[str, Any]]) -> str:
    """The lines as a Markdown table."""
    return markdown((HEADS, *map(cells, lines)))


def markdown(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows, the first of which are the heads, as a table that reads well as text."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    texts = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |"
        for row in rows
    ]
    rule = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
    return "\n".join([texts[0], rule, *texts[1:]])


def facts(rounds: int) -> dict[str, Any]:
    """The facts of the machine that are needed to compare two tables."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "system": platform.system(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load": load(),
        "rounds": [rounds],
        "packages": versions,
    }


def load() -> list[float]:
    """The load average; empty on systems without one."""
    return [round(os.getloadavg()[0], 1)] if hasattr(os, "getloadavg") else []


def footer(of: dict[str, Any]) -> str:
    """These facts in words."""
    packages = ", ".join(f"{name} {number}" for name, number in of["packages"].items())
    busy = f", load {min(of['load'])} to {max(of['load'])}" if of["load"] else ""
    return (
        f"{of['python']} on {of['cores']} cores of {of['cpu']}, {of['system']};\n{packages};\n"
        f"{' to '.join(map(str, of['rounds']))} round{'s' * (of['rounds'] != [1])}{busy}."
    )


def merged(
    path: Path, of: dict[str, Any], rows: list[dict[str, Any]], parts: list[str]
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Facts and rows, with those of other *parts* that are in the file."""
    rows, of = list(rows), dict(of)
    if path.exists():
        before = msgspec.json.decode(path.read_bytes())
        measured = {row["part"] for row in rows}
        rows += [r for r in before["lines"] if r["part"] in parts and r["part"] not in measured]
        for name in ("load", "rounds"):
            both = {*of[name], *before[name]}
            of[name] = sorted({min(both), max(both)}) if both else []
    rows.sort(key=lambda row: parts.index(row["part"]))
    return of, rows


def write(path: Path, of: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    """Facts and rows as JSON, a row in a line of the file."""
    head = msgspec.json.encode(of)[:-1]
    lines = b",\n".join(map(msgspec.json.encode, rows))
    path.write_bytes(b'%b,\n"lines":[\n%b\n]}\n' % (head, lines))


# --- the guard -----------------------------------------------------------------------------------

GROSS = 2.0  # a ratio that doubled is not noise


def worse(lines: list[Line], reference: Path) -> list[str]:
    """The keys of lines whose ratio doubled since *reference*, and which meet no target."""
    before = {
        f"{line['name']} | {line['versus']}": line["median"]
        for line in msgspec.json.decode(reference.read_bytes())["lines"]
    }
    found = []
    for line in lines:
        now, then = median(line.ratios), before.get(line.key)
        if then is None or then <= 0 or line.met:
            continue
        if (then / now if line.comparison.faster else now / then) > GROSS:
            found.append(line.key)
    return found


# --- growth --------------------------------------------------------------------------------------

LINEAR, FLAT = 1.1, 0.1  # the most that the exponents of cost and size may be
VERIFY_US, QUERY_MS = 1.3, 100.0
START = "start after kill -9"
USER = "query: a user's 100 events"


def exponents(rows: list[dict[str, Any]]) -> Iterator[tuple[dict[str, Any], float | None]]:
    """Each row, and how its own CPU time (the kernel's depends on what its cache holds) grew since
    the size before: n means as the size to the power n."""
    before: dict[str, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row["events"]):
        old = before.get(row["job"])
        before[row["job"]] = row
        if old is None:
            yield row, None
        else:
            yield row, log10(row["own"] / old["own"]) / log10(row["events"] / old["events"])


def growth_table(rows: list[dict[str, Any]]) -> str:
    """What each job takes, by the number of events."""
    heads = ("job", "events", "CPU s", "kernel s", "us an event", "grows as n^", "MB", "more MB")
    found: list[tuple[str, ...]] = [heads]
    order = list(dict.fromkeys(row["job"] for row in rows))
    for row, power in sorted(exponents(rows), key=lambda one: order.index(one[0]["job"])):
        cpu = row["own"] + row["kernel"]
        each = 1e6 * cpu / row["events"]
        found.append(
            (
                *(row["job"], f"{row['events']:,}", f"{cpu:,.3g}", f"{row['kernel']:,.2g}"),
                f"{each:,.2g}",
                "" if power is None else f"{power:.2f}",
                *(f"{row['mb']:,.0f}", f"{row['grew_mb']:,.1f}"),
            )
        )
    return markdown(found)


def growth_targets(rows: list[dict[str, Any]]) -> Iterator[tuple[str, str, str, bool]]:
    """What was aimed at for large archives: what, target, what it is, and if that is met."""
    if not rows:
        return
    most = max(row["events"] for row in rows)
    last = {row["job"]: row for row in rows if row["events"] == most}
    asked, check = last[USER], last["verify"]
    user = 1e3 * (asked["own"] + asked["kernel"])
    # On two cores the clock shows less than the CPU time, unless others use them.
    checked = 1e6 * min(check["wall"], check["own"] + check["kernel"]) / most
    among = f"among {most:,} events"
    yield (f"{USER} {among}", f"<= {QUERY_MS:.0f} ms", f"{user:,.0f} ms", user <= QUERY_MS)
    text = f"<= {VERIFY_US} us an event"
    yield (f"verify {most:,} events, on two cores", text, f"{checked:.1f} us", checked <= VERIFY_US)
    powers = [(power, row["job"]) for row, power in exponents(rows) if power is not None]
    for name, limit, of in (
        ("steepest growth of a job's CPU time", LINEAR, powers),
        (f"growth of the {START}", FLAT, [one for one in powers if one[1] == START]),
    ):
        if of:
            power, job = max(of)
            now = f"n^{power:.2f}" + (f" ({job})" if of is powers else "")
            yield (name, f"<= n^{limit}", now, power <= limit)
