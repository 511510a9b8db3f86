"""The public names of the package, and the modules that its import loads."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import Run

import axon_audit_otel


def test_names_are_these() -> None:
    """The public names are these, and no more."""
    assert axon_audit_otel.__all__ == [
        "DEFAULT_RULES",
        "Alert",
        "ArchiveError",
        "ArchiveIncompleteWarning",
        "AuditConfigError",
        "AuditEvent",
        "AuditLogRecordProcessor",
        "AuditLogger",
        "AuditUnavailableError",
        "AuditedOperation",
        "AxonAuditError",
        "AxonInstrumentor",
        "EventStatus",
        "ForgetRefusedError",
        "Influence",
        "InvalidEventError",
        "Lineage",
        "MemoryOnlyWarning",
        "OperationType",
        "Rule",
        "SecurityMonitor",
        "VerifyReport",
        "__version__",
        "audit_context",
        "audited",
        "configure",
        "current_operation",
        "instrument_all",
        "serve_metrics",
        "verify",
    ]


def test_every_name_is_there(run_script: Run) -> None:
    """Each public name is there in a new process, also where its module was imported before
    by another way, and none of them is a module."""
    said = run_script(
        """
        import types
        import axon_audit_otel
        import axon_audit_otel.cli.main
        for name in axon_audit_otel.__all__:
            value = getattr(axon_audit_otel, name)
            assert not isinstance(value, types.ModuleType), name
            assert name in dir(axon_audit_otel)
        from axon_audit_otel import *
        print(sorted(name for name in axon_audit_otel.__all__ if name not in globals()))
        """
    )
    assert said.strip() == "[]"


def test_unknown_name() -> None:
    """As any module's."""
    with pytest.raises(AttributeError, match="'axon_audit_otel' has no attribute 'nothing'"):
        axon_audit_otel.nothing  # noqa: B018


@pytest.mark.slow
def test_import_loads_little(run_script: Run) -> None:
    """Importing the package, or its commands, loads neither OpenTelemetry's SDK nor a metrics
    client, nor what few commands need."""
    said = run_script(
        """
        import sys
        import axon_audit_otel.cli.main
        heavy = ("opentelemetry.sdk", "opentelemetry.instrumentation", "prometheus_client")
        heavy += ("jinja2", "flask", "pyarrow", "wrapt")
        print([name for name in sys.modules if name.startswith(heavy)])
        """
    )
    assert said.strip() == "[]"


_HOME = Path(axon_audit_otel.__file__).parent
#: Libraries that modules import at once, which may be missing: FastMCP needs Python 3.11.
_NEEDS = {"integrations.langgraph.store": "langgraph", "integrations.mcp.middleware": "fastmcp"}
MODULES = sorted(
    name
    for path in _HOME.rglob("*.py")
    if "data" not in path.parts and (path.parent == _HOME or path.stem != "__init__")
    for name in [".".join(path.relative_to(_HOME).with_suffix("").parts)]
    if name not in _NEEDS or find_spec(_NEEDS[name]) is not None
)
_FIRST = """
    import asyncio, importlib, os, sys
    import opentelemetry.instrumentation.instrumentor, opentelemetry.sdk._logs, prometheus_client
    import cryptography.hazmat.primitives.serialization, click, rich.console
    from axon import MemorySystem
    from axon.core.config import MemoryConfig
    from axon.core.policies.persistent import PersistentPolicy

    policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
    config = MemoryConfig(persistent=policy, default_tier="persistent")
    assert not [name for name in sys.modules if name.startswith("axon_audit_otel")]
    for name in sys.argv[1:]:
        child = os.fork()
        if child:
            assert os.waitpid(child, 0)[1] == 0, name
            continue
        if name != "__init__":
            importlib.import_module(f"axon_audit_otel.{name}")
        from axon_audit_otel.trail.audit_logger import AuditLogger
        audit = AuditLogger()
        memory = MemorySystem(config, audit_logger=audit)
        asyncio.run(memory.store("tea", user_id="ada"))
        recorded = [(e.operation.value, e.user_id) for e in audit.query_events()]
        assert recorded == [("STORE", "ada")], recorded
        os._exit(0)
    print("the same")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "modules",
    [
        ("trail.audit_logger", "trail.otel_processor", "events.identity", "__init__"),
        pytest.param(MODULES, marks=pytest.mark.slow, id="all"),
    ],
)
def test_import_order(run_script: Run, modules: Sequence[str]) -> None:
    """Whichever module a process imports first, a system that is given an `AuditLogger` is
    recorded: what the logger needs is not a matter of who imported what."""
    assert run_script(_FIRST, *(name for name in modules if name != "__main__")) == "the same\n"


@pytest.mark.slow
def test_import_order_without_the_sdk(run_script: Run) -> None:
    """The logger's own module imports no SDK, and a logger that is there before the SDK is
    recorded to all the same."""
    said = run_script(
        """
        import asyncio, sys
        from axon_audit_otel.trail.audit_logger import AuditLogger
        audit = AuditLogger()
        assert "axon" not in sys.modules
        from axon import MemorySystem
        from axon.core.config import MemoryConfig
        from axon.core.policies.persistent import PersistentPolicy
        policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
        config = MemoryConfig(persistent=policy, default_tier="persistent")
        asyncio.run(MemorySystem(config, audit_logger=audit).forget("nothing", user_id="ada"))
        print([(e.operation.value, e.user_id) for e in audit.query_events()])
        """
    )
    assert said == "[('FORGET', 'ada')]\n"
