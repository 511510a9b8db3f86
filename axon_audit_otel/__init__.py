"""The audit trail of what an AI application remembers.

Every operation on a memory becomes one OpenTelemetry span, one Prometheus observation and one
audit event. See the README.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .alerts.alert import Alert
    from .alerts.monitor import SecurityMonitor
    from .alerts.rules import DEFAULT_RULES, Rule
    from .core.errors import (
        ArchiveError,
        ArchiveIncompleteWarning,
        AuditConfigError,
        AuditUnavailableError,
        AxonAuditError,
        ForgetRefusedError,
        InvalidEventError,
        MemoryOnlyWarning,
    )
    from .events.family import Lineage
    from .events.identity import audit_context
    from .events.influence import Influence
    from .events.model import AuditEvent, EventStatus, OperationType
    from .integrations.all import instrument_all
    from .integrations.axon.instrumentor import AxonInstrumentor
    from .operations.audited import AuditedOperation, current_operation
    from .operations.decorator import audited
    from .otel_setup import configure, serve_metrics
    from .trail.audit_logger import AuditLogger
    from .trail.otel_processor import AuditLogRecordProcessor
    from .verification.report import VerifyReport
    from .verification.verify import verify

__all__ = [
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

#: The module of each name. It is imported when the name is first used (PEP 562), since
#: OpenTelemetry's SDK and its instrumentation take a quarter of a second.
_MODULES = {
    "DEFAULT_RULES": "alerts.rules",
    "Alert": "alerts.alert",
    "ArchiveError": "core.errors",
    "ArchiveIncompleteWarning": "core.errors",
    "AuditConfigError": "core.errors",
    "AuditEvent": "events.model",
    "AuditLogRecordProcessor": "trail.otel_processor",
    "AuditLogger": "trail.audit_logger",
    "AuditUnavailableError": "core.errors",
    "AuditedOperation": "operations.audited",
    "AxonAuditError": "core.errors",
    "AxonInstrumentor": "integrations.axon.instrumentor",
    "EventStatus": "events.model",
    "ForgetRefusedError": "core.errors",
    "Influence": "events.influence",
    "InvalidEventError": "core.errors",
    "Lineage": "events.family",
    "MemoryOnlyWarning": "core.errors",
    "OperationType": "events.model",
    "Rule": "alerts.rules",
    "SecurityMonitor": "alerts.monitor",
    "VerifyReport": "verification.report",
    "audit_context": "events.identity",
    "audited": "operations.decorator",
    "configure": "otel_setup",
    "current_operation": "operations.audited",
    "instrument_all": "integrations.all",
    "serve_metrics": "otel_setup",
    "verify": "verification.verify",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
