"""The flight recorder for an AI application's memory.

Every operation on an Axon `MemorySystem` becomes one OpenTelemetry span, one Prometheus
observation and one audit event. See the README.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .version import __version__

if TYPE_CHECKING:
    from .context import audit_context
    from .detect import Alert
    from .errors import (
        ArchiveError,
        ArchiveIncompleteWarning,
        AuditConfigError,
        AuditUnavailableError,
        AxonAuditError,
        ForgetRefusedError,
        InvalidEventError,
        MemoryOnlyWarning,
    )
    from .event import AuditEvent, EventStatus, OperationType
    from .instrumentor import AxonInstrumentor
    from .logger import AuditLogger
    from .monitor import SecurityMonitor
    from .pipeline import configure, serve_metrics
    from .processor import AuditLogRecordProcessor
    from .rules import DEFAULT_RULES, Rule
    from .verdict import VerifyReport
    from .verification import verify

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
    "AxonAuditError",
    "AxonInstrumentor",
    "EventStatus",
    "ForgetRefusedError",
    "InvalidEventError",
    "MemoryOnlyWarning",
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

#: Where each name comes from. A module is imported when its first name is used (PEP 562):
#: OpenTelemetry's SDK and its instrumentation take a quarter of a second.
_MODULES = {
    "DEFAULT_RULES": "rules",
    "Alert": "detect",
    "ArchiveError": "errors",
    "ArchiveIncompleteWarning": "errors",
    "AuditConfigError": "errors",
    "AuditEvent": "event",
    "AuditLogRecordProcessor": "processor",
    "AuditLogger": "logger",
    "AuditUnavailableError": "errors",
    "AxonAuditError": "errors",
    "AxonInstrumentor": "instrumentor",
    "EventStatus": "event",
    "ForgetRefusedError": "errors",
    "InvalidEventError": "errors",
    "MemoryOnlyWarning": "errors",
    "OperationType": "event",
    "Rule": "rules",
    "SecurityMonitor": "monitor",
    "VerifyReport": "verdict",
    "audit_context": "context",
    "configure": "pipeline",
    "serve_metrics": "pipeline",
    "verify": "verification",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
