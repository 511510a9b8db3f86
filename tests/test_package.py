"""What the package offers, and what importing it loads."""

from __future__ import annotations

import pytest
from conftest import Run

import axon_audit_otel


def test_names_are_these() -> None:
    """The public names are these, and no more."""
    assert axon_audit_otel.__all__ == [
        "DEFAULT_RULES",
        "Alert",
        "ArchiveError",
        "AuditConfigError",
        "AuditEvent",
        "AuditLogRecordProcessor",
        "AuditLogger",
        "AuditUnavailableError",
        "AxonAuditError",
        "AxonInstrumentor",
        "EventStatus",
        "ForgetRefusedError",
        "InvalidEventError",
        "OperationType",
        "Rule",
        "SecurityMonitor",
        "VerifyReport",
        "__version__",
        "audit_context",
        "configure",
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
        import axon_audit_otel.cli
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


def test_import_loads_little(run_script: Run) -> None:
    """Importing the package loads neither OpenTelemetry's SDK nor a metrics client."""
    said = run_script(
        """
        import sys
        import axon_audit_otel
        heavy = ("opentelemetry.sdk", "opentelemetry.instrumentation", "prometheus_client")
        print([name for name in sys.modules if name.startswith(heavy)])
        """
    )
    assert said.strip() == "[]"
