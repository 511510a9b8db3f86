"""`AxonInstrumentor`: records the operations on the memory systems of the Axon SDK.

Usage::

    from axon_audit_otel import AxonInstrumentor

    AxonInstrumentor().instrument()

or no code at all: ``opentelemetry-instrument python app.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import wrapt

from ...core.errors import AuditConfigError, AuditUnavailableError, AxonAuditError
from ...core.log import logger
from ...trail.audit_logger import AuditLogger
from ...trail.settings import Settings
from ..instrumentor import LibraryInstrumentor
from ..startup import blocks
from ..wrappers import Wrappers
from .patch import SYSTEM_MODULE, Patch
from .recorder import Recorder

__all__ = ["AxonInstrumentor", "register"]

_recorder = Recorder()
_patch: Patch | None = None


class AxonInstrumentor(LibraryInstrumentor):
    """Records every memory operation of the Axon SDK.

    `instrument` takes, besides what all instrumentors take, ``max_trace_events``: how many of
    the SDK's own trace events a system keeps, the newest; 0: none; default:
    ``AXON_AUDIT_MAX_TRACE_EVENTS``, else 1,000. Its ``audit_logger`` is for the systems that
    have none of their own.

    A `MemorySystem` that was given an `AuditLogger` is recorded there, with `instrument` or
    without. `uninstrument` restores the SDK; methods that other code still holds only pass
    calls on.
    """

    #: Only pre-releases of the SDK exist: a plain ">= 1.0" would match none of them.
    instruments = ("axon-sdk >= 1.0.0b1, < 2",)
    options = frozenset({"max_trace_events"})

    @property
    def audit_logger(self) -> AuditLogger | None:
        """The logger for systems that have no `AuditLogger` of their own; None before
        `instrument`."""
        return _recorder.default

    def wrap(self, wrappers: Wrappers, audit: AuditLogger, options: Mapping[str, Any]) -> None:
        """Wrap the SDK, which may be wrapped already for systems with a logger of their own."""
        _recorder.default, _recorder.refusal = audit, ""
        _wrap_sdk(options["max_trace_events"])

    def _instrument(self, **kwargs: Any) -> None:
        """With ``AXON_AUDIT_ON_FAILURE=block`` and wrong settings all operations are refused
        from then on, even if nobody sees the error."""
        try:
            most = _most_traces(kwargs.get("max_trace_events"))
            super()._instrument(**{**kwargs, "max_trace_events": most})
        except AxonAuditError as exc:
            if kwargs.get("audit_logger") is None and blocks():
                _recorder.refusal = str(exc)
                with suppress(Exception):  # an SDK that is not as expected: *exc* says so
                    _wrap_sdk()
            raise

    def _uninstrument(self, **kwargs: Any) -> None:
        global _patch
        super()._uninstrument()
        if _patch is not None:
            _patch.undo()
        _patch = _recorder.wrappers = _recorder.default = None
        _recorder.refusal = ""


def register(audit: AuditLogger) -> None:
    """Prepare to record the systems that the new logger *audit* is given to."""
    _recorder.loggers.add(audit)
    if _patch is None:
        blocks = audit.trail.blocks
        wrapt.when_imported(SYSTEM_MODULE)(lambda module: _prepare(blocks))
    else:
        _patch.refresh()


def _prepare(blocks: bool) -> None:
    """Wrap the SDK, when a logger is made or the SDK is imported: neither is to fail.

    Raises:
        AuditUnavailableError: If it is not as expected, and nothing may go on unrecorded.
    """
    global _patch
    try:
        _wrap_sdk()
    except Exception as exc:  # a version that we do not know
        if _patch is not None:
            _patch.undo()
        _patch = _recorder.wrappers = None
        said = (
            "memory systems of Axon are not recorded: this version of the SDK is not as expected"
            f" ({type(exc).__name__}: {exc})"
        )
        if blocks:
            raise AuditUnavailableError(said) from exc
        logger.warning("%s", said)


def _wrap_sdk(most_traces: int | None = None) -> None:
    """Wrap each class of the SDK once; systems keep *most_traces* of its trace events."""
    global _patch
    import_module(SYSTEM_MODULE)  # which may call this, see `register`
    if _patch is None:
        _patch = Patch(_recorder, _most_traces())
        _recorder.wrappers = _patch.wrappers
    if most_traces is not None:
        _patch.traces.limit = most_traces
    _patch.refresh()


def _most_traces(given: Any = None) -> int:
    """The number of trace events that a system keeps.

    Raises:
        AuditConfigError: If *given* is wrong. A wrong variable is reported where all settings
            are read, not here.
    """
    try:
        return int(Settings.one("max_trace_events", given))
    except AuditConfigError:
        if given is not None:
            raise
        return Settings.max_trace_events
