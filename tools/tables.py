"""The tables of the documentation, made from the code: ``python tools/tables.py`` rewrites them."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from siem_tables import IN_SIEM

from axon_audit_otel.alerts.rules import DEFAULT_RULES, Rule
from axon_audit_otel.core.units import short
from axon_audit_otel.integrations.axon import methods as sdk
from axon_audit_otel.integrations.axon.coverage import AUDITED, NOT_AUDITED
from axon_audit_otel.integrations.mcp.tools import TOOLS
from axon_audit_otel.integrations.mem0 import methods as mem0
from axon_audit_otel.trail.metrics import SPECS
from axon_audit_otel.trail.setting_values import ContentCapture
from axon_audit_otel.trail.settings import Settings
from examples import IN_FORMAT

ROOT = Path(__file__).resolve().parent.parent
REFERENCE, HOUSE = ROOT / "docs" / "reference.md", ROOT / "docs" / "architecture.md"
SQL, FORMAT = ROOT / "docs" / "sql.md", ROOT / "docs" / "format.md"
SIEM, MEMORIES = ROOT / "docs" / "siem.md", ROOT / "docs" / "integrations.md"
FASTAPI, PROCESSES = ROOT / "docs" / "fastapi.md", ROOT / "docs" / "processes.md"
PACKAGE = ROOT / "axon_audit_otel"

#: Every wing and its job, from the top down.
WINGS = {
    "": "public names; `otel_setup`: sets up OpenTelemetry, or a `/metrics` endpoint;"
    " `memory_system`: types; `testing`, `pytest_plugin`: for tests of users",
    "cli": "the command `axon-audit`: parses and prints; its demo",
    "viewer": "the local pages of `axon-audit view`",
    "evidence": "what people are given who ask: dossiers, receipts, reports; whether a store agrees"
    " with its trail; formats of SIEMs",
    "integrations": "knowledge of each memory library: `axon`, `langgraph`, `mem0`, `mcp`",
    "operations": "one audited call, of any memory library; the public `audit.operation`",
    "alerts": "the monitor in the process: rules, detector, warm-up from files",
    "trail": "the events of one logger: recorded, numbered, kept, counted, queried; settings",
    "shipping": "sends events at least once, checkpoints to witnesses; compares stores",
    "verification": "finds altered, removed and inserted events; proofs for third parties",
    "otlp": "OpenTelemetry's wire format",
    "archive": "files: format, journal, seals, manifest, checkpoints, retention, search",
    "privacy": "redaction, pseudonyms, encryption with keys that can be destroyed",
    "events": "the event, its ids, its identity, queries and statistics",
    "core": "errors, names, files, hashes: independent of auditing",
}


def coverage() -> str:
    """The methods of the SDK: audited ones with their event, others with the reason."""
    rows = ["| SDK method | event | span |", "| --- | --- | --- |"]
    for method, kind, remark in AUDITED:
        said = f" ({remark})" if remark else ""
        rows.append(f"| `{method}`{said} | {kind.operation.value} | `{kind.span}` |")
    for owner, methods in NOT_AUDITED.items():
        for name, why in methods.items():
            named = name if name.startswith("(") else f"`{owner}.{name}`"
            rows.append(f"| {named} | not audited: {why} | |")
    return "\n".join(rows) + "\n"


#: Methods of LangGraph's stores, and what each of them is.
_LANGGRAPH = {
    "get, search, list_namespaces": "RECALL",
    "put": "STORE",
    "delete, sweep_ttl": "FORGET",
}


def integrations() -> str:
    """The methods and tools of each memory that are audited, by operation."""
    rows = ["| system | operation | methods, tools |", "| --- | --- | --- |"]
    known: list[tuple[str, Mapping[str, str]]] = [
        ("axon", {kind.action or "": kind.name for kind in sdk.METHODS.values()}),
        ("langgraph", _LANGGRAPH),
        ("mem0", {name: method.operation for name, method in mem0.METHODS.items()}),
        ("mcp", {name: tool.operation for name, tool in TOOLS.items()}),
    ]
    for system, methods in known:
        for operation in dict.fromkeys(methods.values()):
            names = [name for name, one in methods.items() if one == operation]
            rows.append(f"| `{system}` | {operation} | {', '.join(names)} |")
    return "\n".join(rows) + "\n"


def settings() -> str:
    """Every setting with its variable, default and meaning."""
    rows = ["| argument | environment | default | meaning |", "| --- | --- | --- | --- |"]
    for name, setting in Settings.described().items():
        variable = f"`{Settings.variable(name)}`" if setting.variable else ""
        default = Settings.default(name)
        if isinstance(default, ContentCapture):
            default = default.on_events
        rows.append(f"| `{name}` | {variable} | `{default}` | {setting.doc} |")
    return "\n".join(rows) + "\n"


def metrics() -> str:
    """Every Prometheus metric with its type, labels and meaning."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for spec in SPECS:
        kind = spec.kind.__name__.lower()
        name = spec.name + ("_total" if kind == "counter" else "")
        labels = ", ".join(f"`{label}`" for label in spec.labels)
        rows.append(f"| `{name}` | {kind} | {labels} | {spec.text} |")
    return "\n".join(rows) + "\n"


def _what(rule: Rule) -> str:
    """What a rule counts, in words."""
    if rule.counting == "events":
        return " ".join(sorted({*map(str, rule.operations), *map(str, rule.statuses)})) + " events"
    if rule.counting == "deleted":
        return f"entries deleted by {' '.join(sorted(map(str, rule.operations)))}"
    return f"{rule.counting.replace('_', ' ')} entries"


def rules() -> str:
    """The default rules of `SecurityMonitor`."""
    rows = ["| rule | counts | more than | in | severity |", "| --- | --- | --- | --- | --- |"]
    for rule in DEFAULT_RULES:
        what = f"{_what(rule)}{' of one user' if rule.per_user else ''}"
        cells = (f"`{rule.name}`", what, str(rule.over), short(rule.window), rule.severity)
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def modules_in(wing: str) -> list[str]:
    """The modules of a wing, with their path below it."""
    home = PACKAGE / wing
    found = home.rglob("*.py") if wing else home.glob("*.py")
    names = (path.relative_to(home).with_suffix("").as_posix() for path in found)
    return sorted(n for n in names if not n.endswith(("__init__", "__main__")) and "data/" not in n)


def wings() -> str:
    """Every wing with its job and its modules."""
    rows = ["| wing | what it does | modules |", "| --- | --- | --- |"]
    for wing, job in WINGS.items():
        modules = ", ".join(f"`{name}`" for name in modules_in(wing))
        rows.append(f"| {f'`{wing}`' if wing else ''} | {job} | {modules} |")
    return "\n".join(rows) + "\n"


_TYPES = {
    "string": "text",
    "dictionary<values=string, indices=int32, ordered=0>": "text",
    "timestamp[us, tz=UTC]": "time, UTC, µs",
    "double": "double",
    "int64": "64-bit integer",
    "list<element: string not null>": "list of texts",
    "map<string, string>": "texts by name",
}


def columns() -> str:
    """Every column of a Parquet file with its type and its meaning."""
    from axon_audit_otel.cli.parquet import COLUMNS

    rows = ["| column | type | what it holds |", "| --- | --- | --- |"]
    for name, (kind, meaning) in COLUMNS.items():
        rows.append(f"| `{name}` | {_TYPES[str(kind)]} | {meaning} |")
    return "\n".join(rows) + "\n"


def example(name: str) -> Callable[[], str]:
    """The code of an example, without the words at its top."""

    def shown() -> str:
        text = (ROOT / "examples" / name).read_text(encoding="utf-8")
        return f"```python\n{text.split(chr(34) * 3, 2)[2].strip()}\n```\n"

    return shown


IN_FASTAPI = {"fastapi": example("fastapi_app.py")}
IN_PROCESSES = {"celery": example("celery_app.py")}
IN_REFERENCE = {"coverage": coverage, "metrics": metrics, "rules": rules, "settings": settings}
IN_HOUSE = {"wings": wings}
IN_SQL = {"columns": columns}
IN_MEMORIES = {"integrations": integrations}
PAGES: dict[Path, Mapping[str, Callable[[], str]]] = {
    REFERENCE: IN_REFERENCE,
    HOUSE: IN_HOUSE,
    SQL: IN_SQL,
    FORMAT: IN_FORMAT,
    SIEM: IN_SIEM,
    MEMORIES: IN_MEMORIES,
    FASTAPI: IN_FASTAPI,
    PROCESSES: IN_PROCESSES,
}


def rendered(text: str, tables: Mapping[str, Callable[[], str]] = IN_REFERENCE) -> str:
    """*text* with every generated table made anew."""
    for name, make in tables.items():
        opening = rf"(<!-- {name}: made by tools/tables.py -->\n)"
        marks = re.compile(rf"{opening}.*?(<!-- end -->)", re.DOTALL)
        if not marks.search(text):
            sys.exit(f"there is no place for the table {name!r}")
        table = make()
        text = marks.sub(lambda m, t=table: m[1] + t + m[2], text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    for path, tables in PAGES.items():
        path.write_text(rendered(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
