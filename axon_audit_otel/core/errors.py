"""Errors of this package, and values as text in messages: without secrets, in one short line.

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
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

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
    "hide_source",
]


_SHOWN = 80  # characters
_HARMLESS = 2_000


def shown(value: object) -> str:
    """*value* as text for an error message, without secrets; of a long one, its beginning."""
    try:
        text = repr(value)
    except Exception:  # the `__repr__` of a foreign class
        text = object.__repr__(value)
    text = hidden(text)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def quoted(identifier: str) -> str:
    """An id in a sentence: in quotes if one could not see where it ends."""
    return identifier if re.fullmatch(r"[^\s,'\"]+", identifier) else repr(identifier)


def shown_url(url: object) -> str:
    """*url* as `shown`, without user, password and query."""
    return shown(without_login(url) if isinstance(url, str) else url)


def without_login(url: str) -> str:
    """*url*, also a malformed one, without user, password and query."""
    return _LOGIN_OR_QUERY.sub("", url)


def hidden(text: str) -> str:
    """*text* without private keys, users and passwords of URLs, and headers that log in."""
    return _SECRETS.sub("(a secret)", text)


def escaped(text: str) -> str:
    """*text* without control characters, line breaks and other characters that are not seen."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def harmless(text: str) -> str:
    """*text* of a stranger for the log or a terminal: one line, without secrets; of a long text,
    its beginning."""
    text = hidden(text[: 2 * _HARMLESS])  # a secret that is cut in two is still hidden
    return escaped(text if len(text) <= _HARMLESS else f"{text[:_HARMLESS]}...")


_SECRETS = re.compile(
    # A signing key; the seed of one.
    r"PRIVATE(?:\+|%2B| )KEY(?:\+|%2B| )[^\s'\"]*|A[Q-Za-f][A-Za-z0-9+/]{38,}={0,2}"
    r"|-----BEGIN[^-]{0,40}PRIVATE KEY(?s:.*?)(?:-----END[^-]*-----|\Z)"
    r"|(?<=://)\S{0,999}(?=@)|(?<=:/)[^/\s]\S{0,999}(?=@)|(?i:(?<=basic )|(?<=bearer ))[^\s'\"]{8,}"
)
_LOGIN_OR_QUERY = re.compile(r"(?<=://).*@|\A(?!\w+://).*@|[?#].*", re.DOTALL)


class AxonAuditError(Exception):
    """Base of every error that this package raises. Its text has no secret in it."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(hidden(arg) if isinstance(arg, str) else arg for arg in args))


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
    """Turn an `OSError` (or one of *also*) in the block into an `ArchiveError` with *path*; but for
    a `ConnectionError`, which is of something else."""
    caught: tuple[type[Exception], ...] = (OSError, *also)
    try:
        yield
    except (ArchiveError, ConnectionError):
        raise  # it says more; and who does not answer is no file
    except caught as exc:
        msg = f"cannot read {str(path)!r}: {getattr(exc, 'strerror', None) or exc}"
        raise ArchiveError(msg) from exc


# --- the end of a program ------------------------------------------------------------------------

_HIDDEN = "_axon_audit_hides_source"


def hide_source(exc: BaseException) -> None:
    """If the program ends by *exc*, print no lines of its source: one may hold the secret that was
    refused, as an argument. Another hook for the end of a program is left alone."""
    setattr(exc, _HIDDEN, True)
    if sys.excepthook is sys.__excepthook__:
        sys.excepthook = _print_end


def _print_end(
    kind: type[BaseException], value: BaseException, trace: TracebackType | None
) -> None:
    if not getattr(value, _HIDDEN, False):
        sys.__excepthook__(kind, value, trace)
        return
    frames = traceback.StackSummary.from_list(
        [(of.filename, of.lineno or 0, of.name, "") for of in traceback.extract_tb(trace)]
    )
    lines = ["Traceback (most recent call last):\n", *frames.format()]
    sys.stderr.write("".join([*lines, f"{kind.__module__}.{kind.__qualname__}: {value}\n"]))
