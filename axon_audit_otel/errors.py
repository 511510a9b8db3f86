"""Errors of this package.

::

    AxonAuditError
    ├── AuditConfigError       (ValueError)    a setting that cannot work
    ├── InvalidEventError      (ValueError)    an event or a query that cannot be
    ├── ArchiveError           (OSError)       a file or directory that cannot be used
    └── AuditUnavailableError  (RuntimeError)  recording is impossible and required
"""

__all__ = [
    "ArchiveError",
    "AuditConfigError",
    "AuditUnavailableError",
    "AxonAuditError",
    "InvalidEventError",
]


def shown(value: object, limit: int = 80) -> str:
    """*value* as an error message shows it: short, and whatever its class does."""
    try:
        text = repr(value)
    except Exception:
        text = object.__repr__(value)
    return text if len(text) <= limit else f"{text[:limit]}..."


class AxonAuditError(Exception):
    """Base of every error that this package raises."""


class AuditConfigError(AxonAuditError, ValueError):
    """A setting has a value that cannot work; the message shows it."""


class InvalidEventError(AxonAuditError, ValueError):
    """An event or a query was asked for that cannot be; the message shows why."""


class ArchiveError(AxonAuditError, OSError):
    """A file or directory of the audit archive cannot be used."""


class AuditUnavailableError(AxonAuditError, RuntimeError):
    """The operation was refused because it could not have been recorded."""
