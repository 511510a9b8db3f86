"""Imports inside the package go down only, and its public names are the promised ones."""

from __future__ import annotations

import ast
from pathlib import Path

import axon_audit_otel

PACKAGE = Path(axon_audit_otel.__file__).parent

#: From the bottom up. A module may import those of the lines above its own, and no others.
LAYERS = [
    {"semconv", "errors", "version", "merkle", "owned", "reading", "sequence", "units", "verdict"},
    {"generators", "traces", "wrappers"},
    {"missing", "resource", "series", "sketch", "zstd"},
    {"event", "privacy", "pseudonym", "chain", "checkpoint", "otlp_client", "turn"},
    {"clock", "otlp_json", "record"},
    {"config", "localtime", "otlp", "rules", "selection"},
    {"statement"},
    {"witness", "context", "delivery", "detect", "buffer", "query", "metrics"},
    {"files"},
    {"sieve", "keyring", "manifest"},
    {"afterwards", "cursor", "erasure", "intents", "journal", "lock", "origin", "scan"},
    {"receipts"},
    {"feed"},
    {"archive", "export", "hold", "search", "ledger"},
    {"arrival", "follow", "attest", "commit", "segments", "proof", "replay", "retention"},
    {"keeper", "ship", "writer"},
    {"trail", "verification"},
    {"processor", "recall"},
    {"emitter"},
    {"logger"},
    {"monitor", "operation", "startup"},
    {"supplied", "watched"},
    {"sdk"},
    {"adapters"},
    {"instrumentor", "pipeline"},
    {"__init__"},
    {"scenario", "render"},
    {"report", "cli_options", "cli_record", "cli_streams"},
    {"demo", "cli_hold", "cli_privacy", "cli_ship"},
    {"cli_notes"},
    {"cli_alerts", "cli_proof"},
    {"cli"},
    {"__main__"},
]


def _imports(path: Path) -> set[str]:
    """The modules of the package that *path* imports at run time."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            typing_only.update(ast.walk(node))
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level == 1 and node not in typing_only:
            found.update([node.module] if node.module else [name.name for name in node.names])
    return found - {"data"}


def test_imports_go_down_only() -> None:
    """No module imports one of its own layer or of a higher one."""
    level = {name: number for number, names in enumerate(LAYERS) for name in names}
    wrong = [
        f"{path.stem} imports {name}"
        for path in sorted(PACKAGE.glob("*.py"))
        for name in _imports(path)
        if level[name] >= level[path.stem]
    ]
    assert wrong == []


def test_instrumentor_and_processor_do_not_know_each_other() -> None:
    """Between what observes the SDK and what writes the trail lies OpenTelemetry."""
    observing = {"instrumentor", "operation", "sdk", "adapters", "supplied", "watched"}
    for name in observing:
        assert "processor" not in _imports(PACKAGE / f"{name}.py")
        assert "trail" not in _imports(PACKAGE / f"{name}.py")
    assert not observing & _imports(PACKAGE / "processor.py")


def test_one_seam_goes_up() -> None:
    """`logger` alone reaches a module above its own, `instrumentor`, and not by an import
    statement: a new `AuditLogger` tells it of itself, whoever imported what before."""
    lines = [
        (path.stem, line)
        for path in sorted(PACKAGE.glob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if "{__package__}." in line
    ]
    assert lines == [("logger", '_INSTRUMENTOR = f"{__package__}.instrumentor"')]
