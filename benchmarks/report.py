"""The lines of the table, as text and as JSON, and against those of before."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from .measure import Line

#: Ratios of an old commit, measured with the same benchmarks.
BEFORE = msgspec.json.decode((Path(__file__).parent / "before.json").read_bytes())
HEADS = (
    *("what", "against", "ratio", "min - max", "ours / reference"),
    *(f"at {BEFORE['commit']}", "target", ""),
)
PACKAGES = ("axon-sdk", "opentelemetry-sdk", "prometheus-client", "msgspec", "wrapt", "structlog")


def cells(line: dict[str, Any]) -> tuple[str, ...]:
    """A line (as in the JSON) as a row of the table."""
    times = "x faster" if line["faster"] else "x"

    def ratio(value: float) -> str:
        return f"{value:,.0f}" if value >= 100 else f"{value:,.2f}"

    spread = f"{ratio(line['min'])} - {ratio(line['max'])}"
    ours, reference = median(line["ours"]), median(line["reference"])
    before = BEFORE["medians"].get(f"{line['name']} | {line['versus']}")
    return (
        line["name"],
        line["versus"],
        f"{ratio(line['median'])} {times}",
        spread if len(line["ours"]) > 1 else "",
        f"{ours:,.1f} / {reference:,.1f} {line['unit']}",
        "" if before is None else f"{ratio(before)} x",
        line["target"],
        {None: "", True: "met", False: "MISSED"}[line["met"]],
    )


def table(lines: list[dict[str, Any]]) -> str:
    """The lines as a Markdown table that reads well as text."""
    rows = [HEADS, *map(cells, lines)]
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
        f"{' to '.join(map(str, of['rounds']))} rounds{busy}."
    )


def write(path: Path, of: dict[str, Any], rows: list[dict[str, Any]], parts: list[str]) -> None:
    """Every round as JSON, a line of the table in a line of the file.

    Lines of other *parts* stay in the file.
    """
    rows, of = list(rows), dict(of)
    if path.exists():
        before = msgspec.json.decode(path.read_bytes())
        measured = {row["part"] for row in rows}
        rows += [row for row in before["lines"] if row["part"] not in measured]
        for name in ("load", "rounds"):
            both = {*of[name], *before[name]}
            of[name] = sorted({min(both), max(both)}) if both else []
    rows.sort(key=lambda row: parts.index(row["part"]))
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
