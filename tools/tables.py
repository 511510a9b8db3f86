"""The tables of README and docs, made from the code: ``python tools/tables.py`` rewrites them."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import fields
from pathlib import Path

from axon_audit_otel import sdk
from axon_audit_otel.config import ContentCapture, Settings
from axon_audit_otel.metrics import SPECS

ROOT = Path(__file__).resolve().parent.parent
README, ROOMS = ROOT / "README.md", ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "axon_audit_otel"

#: Every module, by what it is for.
MODULES = {
    "words": "semconv errors units version config",
    "the event": "event record merkle privacy pseudonym erasure keyring",
    "seeing calls": "generators context operation sdk selection supplied wrappers adapters watched"
    " traces startup instrumentor",
    "recording": "logger emitter processor trail buffer afterwards metrics series sketch",
    "the archive": "keeper archive journal intents lock commit manifest files owned reading zstd"
    " retention turn clock hold checkpoint origin",
    "asking": "localtime query search missing segments sieve follow export report",
    "verifying": "verification writer scan chain ledger attest witness statement verdict proof",
    "shipping": "ship feed cursor receipts delivery resource otlp otlp_client otlp_json replay"
    " arrival sequence",
    "watching": "monitor rules detect recall",
    "for people": "pipeline cli cli_alerts cli_hold cli_notes cli_options cli_privacy cli_proof"
    " cli_record cli_ship cli_streams render demo scenario",
}

#: Public methods of the SDK that are not audited, and why.
NOT_AUDITED = {
    "MemorySystem": {
        "close": "closes connections; touches no entry",
        "get_provenance_chain": "lineage for debugging; reads through the adapters only",
        "find_derived_entries": "likewise",
        "export_audit_log": "reads the audit trail, not the memory",
        "get_statistics": "counters",
        "get_trace_events": "the SDK's own debug list",
        "clear_trace_events": "likewise",
        "enable_tracing": "a switch of that list",
    },
    "Router": {
        "route_store": "called by `store`, which is audited",
        "route_recall": "called by `recall`, which is audited",
        "select_tier": "chooses, touches nothing",
        "get_tier_stats": "counters",
        "reset_stats": "counters",
    },
    "StorageAdapter": {
        "save": "seen inside operations (ids, failures); alone it is below the memory's API",
        "get": "likewise",
        "query": "likewise",
        "save_sync, get_sync, query_sync": "wrappers of these",
        "delete_sync, bulk_save_sync, reindex_sync": "wrappers: recorded by what they wrap",
        "supports_transactions": "a question",
        "prepare_transaction, commit_transaction, abort_transaction": "no adapter has them yet",
        "(expiry in the backend)": "a TTL that runs out in Redis never reaches the SDK",
    },
}
_ADAPTER = {
    "delete": sdk.DELETE,
    "clear, clear_async": sdk.CLEAR,
    "bulk_save": sdk.BULK_SAVE,
    "reindex": sdk.REINDEX,
}


def coverage() -> str:
    """Which methods of the SDK are audited, and which are not, and why."""
    rows = ["| SDK method | event | span |", "| --- | --- | --- |"]
    systems = {**sdk.METHODS, "transaction": sdk.TRANSACTION}
    supplied = {"forget": sdk.FORGET, "import_data": sdk.IMPORT}
    audited = [
        *((f"`MemorySystem.{name}`", kind, "") for name, kind in systems.items()),
        *((f"`MemorySystem.{name}`", kind, " (supplied)") for name, kind in supplied.items()),
        ("`Router.route_forget`", sdk.ROUTE_FORGET, ""),
        *(
            (f"`StorageAdapter.{name}`", kind, " (outside of an operation)")
            for name, kind in _ADAPTER.items()
        ),
    ]
    for method, kind, remark in audited:
        rows.append(f"| {method}{remark} | {kind.operation.value} | `{kind.span}` |")
    for owner, methods in NOT_AUDITED.items():
        for name, why in methods.items():
            named = name if name.startswith("(") else f"`{owner}.{name}`"
            rows.append(f"| {named} | not audited: {why} | |")
    return "\n".join(rows) + "\n"


def settings() -> str:
    """Every setting with its variable, default and meaning."""
    rows = ["| argument | environment | default | meaning |", "| --- | --- | --- | --- |"]
    for setting in fields(Settings):
        variable = f"`{Settings.variable(setting.name)}`" if setting.metadata["env"] else ""
        default = setting.default
        if isinstance(default, ContentCapture):
            default = default.on_events
        rows.append(f"| `{setting.name}` | {variable} | `{default}` | {setting.metadata['doc']} |")
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


def rooms() -> str:
    """Every module with the first sentence of its docstring."""
    rows = ["| room | module | what it is |", "| --- | --- | --- |"]
    for room, modules in MODULES.items():
        for name in modules.split():
            tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
            first = (ast.get_docstring(tree) or "").partition("\n\n")[0].replace("\n", " ")
            rows.append(f"| {room} | `{name}` | {first} |")
            room = ""
    return "\n".join(rows) + "\n"


IN_README = {"coverage": coverage, "metrics": metrics, "settings": settings}
IN_ROOMS = {"rooms": rooms}


def rendered(text: str, tables: Mapping[str, Callable[[], str]] = IN_README) -> str:
    """*text* with every generated table as the code has it now."""
    for name, make in tables.items():
        opening = rf"(<!-- {name}: made by tools/tables.py -->\n)"
        marks = re.compile(rf"{opening}.*?(<!-- end -->)", re.DOTALL)
        if not marks.search(text):
            sys.exit(f"there is no place for the table {name!r}")
        table = make()
        text = marks.sub(lambda m, t=table: m[1] + t + m[2], text)  # type: ignore[misc]
    return text


if __name__ == "__main__":
    for path, tables in ((README, IN_README), (ROOMS, IN_ROOMS)):
        path.write_text(rendered(path.read_text(encoding="utf-8"), tables), encoding="utf-8")
