"""The flight recorder for an AI application's memory.

Every operation on an Axon `MemorySystem` becomes one OpenTelemetry span, one Prometheus
observation and one audit event. See the README.
"""

from .context import audit_context
from .errors import (
    ArchiveError,
    AuditConfigError,
    AuditUnavailableError,
    AxonAuditError,
    InvalidEventError,
)
from .event import AuditEvent, EventStatus, OperationType
from .instrumentor import AxonInstrumentor
from .logger import AuditLogger
from .pipeline import configure, serve_metrics
from .processor import AuditLogRecordProcessor
from .verdict import VerifyReport
from .verify import verify
from .version import __version__

__all__ = [
    "ArchiveError",
    "AuditConfigError",
    "AuditEvent",
    "AuditLogRecordProcessor",
    "AuditLogger",
    "AuditUnavailableError",
    "AxonAuditError",
    "AxonInstrumentor",
    "EventStatus",
    "InvalidEventError",
    "OperationType",
    "VerifyReport",
    "__version__",
    "audit_context",
    "configure",
    "serve_metrics",
    "verify",
]
