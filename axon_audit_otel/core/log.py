"""The package's logger. What it writes may come from a collector, a file or a record."""

from __future__ import annotations

import logging
from contextlib import suppress

from .errors import harmless, hidden

__all__ = ["logger"]

_formatted = logging.Formatter().formatException


class _Harmless(logging.Filter):
    """Makes each record, and each line of a traceback, `harmless`."""

    def filter(self, record: logging.LogRecord) -> bool:
        with suppress(Exception):  # what cannot be formatted, `logging` reports
            text = record.getMessage()
            safe = harmless(text)
            if safe != text:
                record.msg, record.args = safe, ()
            if record.exc_info and record.exc_info[0] is not None:
                lines = hidden(_formatted(record.exc_info)).splitlines()
                record.exc_text = "\n".join(map(harmless, lines[-_MOST:]))
        return True


_MOST = 200  # lines of a traceback

logger = logging.getLogger("axon_audit_otel")
logger.addFilter(_Harmless())
