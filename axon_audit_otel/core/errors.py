"""Errors of this package.

::

    AxonAuditError
    ├── AuditConfigError       (ValueError)    a setting that cannot work
    ├── InvalidEventError      (ValueError)    an event or a query with wrong values
    ├── ForgetRefusedError     (ValueError)    a `forget` that is unclear, or selects everybody
    ├── ArchiveError           (OSError)       a file or directory that cannot be used
    └── AuditUnavailableError  (RuntimeError)  recording is required but impossible

    ArchiveIncompleteWarning   (UserWarning)   an answer lacks events that could not be read
    MemoryOnlyWarning          (UserWarning)   an answer from memory; the archive has more
"""

from __future__ import annotations

import re
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
    """*value* as text for an error message, at most *limit* characters of it, without private
    keys and without the user and password of a URL."""
    try:
        text = repr(value)
    except Exception:  # the `__repr__` of a foreign class
        text = object.__repr__(value)
    text = _SECRETS.sub("(a secret)", text)
    return text if len(text) <= limit else f"{text[:limit]}..."


def shown_url(url: object) -> str:
    """*url* as `shown`, without user, password and query."""
    return shown(without_login(url) if isinstance(url, str) else url)


def without_login(url: str) -> str:
    """*url*, also a malformed one, without user, password and query."""
    return _LOGIN_OR_QUERY.sub("", url)


_SECRETS = re.compile(r"PRIVATE\+KEY[^\s'\"]*|(?<=://)[^\s'\"]*(?=@)")
_LOGIN_OR_QUERY = re.compile(r"(?<=://).*@|\A(?!\w+://).*@|[?#].*", re.DOTALL)


class AxonAuditError(Exception):
    """Base of every error that this package raises."""


class AuditConfigError(AxonAuditError, ValueError):
    """A setting has a value that cannot work; the message shows it."""


class InvalidEventError(AxonAuditError, ValueError):
    """An event or a query has a wrong value; the message shows it."""


class ForgetRefusedError(AxonAuditError, ValueError):
    """`forget` was unclear, or would have deleted everybody's entries; nothing was deleted."""


class ArchiveError(AxonAuditError, OSError):
    """A file or directory of the audit archive cannot be used."""


class ArchiveIncompleteWarning(UserWarning):
    """An answer lacks events: a file, or part of one, is missing or could not be read."""


class AuditUnavailableError(AxonAuditError, RuntimeError):
    """The operation was refused because it could not have been recorded."""


class MemoryOnlyWarning(UserWarning):
    """An answer comes from memory only, and the archive may have more events for it."""


@contextmanager
def archive_errors(path: Path, *also: type[Exception]) -> Iterator[None]:
    """Turn an `OSError` (or one of *also*) in the block into an `ArchiveError` with *path*."""
    caught: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except ArchiveError:
        raise  # it says more
    except caught as exc:
        msg = f"cannot read {str(path)!r}: {getattr(exc, 'strerror', None) or exc}"
        raise ArchiveError(msg) from exc
