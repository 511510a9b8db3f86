"""Errors of this package.

::

    AxonAuditError
    ├── AuditConfigError       (ValueError)    a setting that cannot work
    ├── InvalidEventError      (ValueError)    an event or a query that cannot be
    ├── ForgetRefusedError     (ValueError)    a deletion that does not say what is to go
    ├── ArchiveError           (OSError)       a file or directory that cannot be used
    └── AuditUnavailableError  (RuntimeError)  recording is impossible and required

    ArchiveIncompleteWarning   (UserWarning)   an answer lacks what could not be read
    MemoryOnlyWarning          (UserWarning)   the archive has more than an answer from memory
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = [
    "ArchiveError",
    "ArchiveIncompleteWarning",
    "AuditConfigError",
    "AuditUnavailableError",
    "AxonAuditError",
    "ForgetRefusedError",
    "InvalidEventError",
    "MemoryOnlyWarning",
    "archive_errors",
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


class ForgetRefusedError(AxonAuditError, ValueError):
    """`forget` was not told what is to go, or would delete everybody's; nothing was deleted."""


class ArchiveError(AxonAuditError, OSError):
    """A file or directory of the audit archive cannot be used."""


class ArchiveIncompleteWarning(UserWarning):
    """An answer lacks events: a file, or a part of one, could not be read, or is gone."""


class AuditUnavailableError(AxonAuditError, RuntimeError):
    """The operation was refused because it could not have been recorded."""


class MemoryOnlyWarning(UserWarning):
    """An answer is from memory alone, and the archive has events that could be in it."""


@contextmanager
def archive_errors(path: Path, *also: type[Exception]) -> Iterator[None]:
    """An `OSError` (or one of *also*) in the block becomes an `ArchiveError` that names *path*."""
    told: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except ArchiveError:
        raise  # it says more
    except told as exc:
        msg = f"cannot read {str(path)!r}: {getattr(exc, 'strerror', None) or exc}"
        raise ArchiveError(msg) from exc
