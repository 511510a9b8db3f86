"""What the instrumentors of all memory libraries have in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from ..core.errors import AuditUnavailableError
from ..core.log import logger
from ..operations.signals import Signals, drop_signals, use_signals
from ..trail.audit_logger import AuditLogger
from .startup import announce, logger_of
from .wrappers import Wrappers

__all__ = ["LibraryInstrumentor"]


class LibraryInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Records the operations of one memory library.

    `instrument` takes, all optional and by name: ``audit_logger`` (default: the
    application's own, if it has one of the name that the environment gives, else the one that the
    environment describes; all instrumentors of the process share it), ``tracer_provider``,
    ``meter_provider``, ``logger_provider`` (default: the global ones), and what the library's
    own instrumentor adds. A subclass says which library, and wraps it.

    A library that is not as expected is left alone, with one warning; the application goes on.
    With ``on_failure="block"`` `instrument` raises `AuditUnavailableError` then.
    """

    #: The packages without which `instrument` does nothing, as requirements.
    instruments: ClassVar[tuple[str, ...]] = ()
    #: The names of the arguments that the subclass adds.
    options: ClassVar[frozenset[str]] = frozenset()
    _signals: Signals | None = None  # those that it was given
    _audit: AuditLogger | None = None  # held here: it ends when nobody has it
    _wrappers: Wrappers | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """The packages without which `instrument` does nothing."""
        return self.instruments

    def wrap(self, wrappers: Wrappers, audit: AuditLogger, options: Mapping[str, Any]) -> None:
        """Wrap the library's methods; *options* has those that the subclass adds."""
        raise NotImplementedError

    def _instrument(self, **kwargs: Any) -> None:
        known = {"audit_logger", "tracer_provider", "meter_provider", "logger_provider"}
        if unknown := kwargs.keys() - known - self.options:
            logger.warning("instrument(): unknown argument %s", ", ".join(sorted(unknown)))
        audit = logger_of(kwargs.get("audit_logger"), kwargs.get("logger_provider"))
        providers = kwargs.get("tracer_provider"), kwargs.get("meter_provider")
        self._signals = None if providers == (None, None) else Signals.of(*providers)
        if self._signals is not None:
            use_signals(self._signals)
        self._audit, self._wrappers = audit, Wrappers()
        try:
            self.wrap(self._wrappers, audit, kwargs)
        except Exception as exc:  # a version that we do not know
            self._uninstrument()
            if isinstance(exc, ModuleNotFoundError) and self._is_missing():
                logger.debug("%s is not installed", self.instruments[0])
                return
            said = (
                f"{self.instruments[0]} is not instrumented, and its operations are not recorded:"
                f" this version is not as expected ({type(exc).__name__}: {exc})"
            )
            if audit.trail.blocks:  # nothing may go on unrecorded
                raise AuditUnavailableError(said) from exc
            logger.warning("%s", said)
            return
        announce(audit)

    def _is_missing(self) -> bool:
        """Whether the library is not installed. ``opentelemetry-instrument`` does not ask: it
        starts all instrumentors of a package if it has any of their libraries."""
        conflict = get_dependency_conflicts(self.instruments)
        return conflict is not None and not conflict.found

    def _uninstrument(self, **kwargs: Any) -> None:
        if self._wrappers is not None:
            self._wrappers.undo()
        self._audit = None
        drop_signals(self._signals)
