"""The way of an event through OpenTelemetry to its trail."""

from __future__ import annotations

from time import time_ns
from typing import Any
from weakref import finalize

from opentelemetry._logs import LogRecord, SeverityNumber, get_logger_provider
from opentelemetry._logs import _internal as _logs
from opentelemetry.context import Context

from ..core import semconv
from ..core.errors import AuditConfigError, AuditUnavailableError, shown
from ..events.draft import Draft
from ..events.log_attributes import SEVERITY, attributes_of
from ..version import __version__
from .otel_processor import AuditLogRecordProcessor
from .trail import Trail

__all__ = ["Emitter", "checked_provider", "exports"]

_SEVERITY = {status: (SeverityNumber(number), text) for status, (number, text) in SEVERITY.items()}


def checked_provider(value: Any) -> Any:
    """*value*, which None or anything with the methods of OpenTelemetry's API may be.

    Raises:
        AuditConfigError: If it is neither.
    """
    is_one = callable(getattr(value, "get_logger", None)) and not isinstance(value, type)
    if value is None or is_one:
        return value
    msg = f"logger_provider={shown(value)}: must be an OpenTelemetry LoggerProvider"
    raise AuditConfigError(msg)


class Emitter:
    """Emits the records of one trail on an OpenTelemetry logger.

    Args:
        trail: Where the records must arrive.
        logger_provider: What they go through. None: the global provider if it is an SDK's,
            as soon as it is set. Without one they go to the trail only; so they do where the
            trail ships them itself, and they would arrive twice.

    Attributes:
        given: That provider; None: the global one.
        provider: The one in use.
    """

    def __init__(self, trail: Trail, logger_provider: Any = None) -> None:
        self._trail = trail
        self._processor = AuditLogRecordProcessor(trail)
        self._leave: finalize[..., Any] | None = None
        self.given = logger_provider
        self.provider: Any = None
        self._otel_logger: Any = None
        self._bind()
        trail.outlet.connect(self)
        self.send_unsent()

    def use(self, logger_provider: Any) -> None:
        """Send the records through *logger_provider* from now on.

        Raises:
            AuditConfigError: If it is none.
        """
        self.given = checked_provider(logger_provider)
        self.provider = None  # also where it is the global one, in use already
        self._bind()
        self.send_unsent()

    def leave(self) -> None:
        """Take no more records from the provider."""
        if self._leave is not None:
            self._leave()

    def emit(self, draft: Draft, context: Context | None = None) -> bytes:
        """Send *draft* through OpenTelemetry to the trail; returns its final bytes.

        Whatever becomes of the record on that way (no SDK, a disabled one, a processor
        that raises), the trail has the event when this returns. Used by the instrumentor.

        Raises:
            AuditUnavailableError: If the trail could not take it; that is counted as well.
        """
        try:
            self._bind()
            # In the middle of another event: it is sent after that, from `Outlet.unsent`.
            is_to_send = self._otel_logger is not None and not self._trail.is_busy()
            if is_to_send and draft.trail is self._trail:
                if self._trail.outlet.unsent:  # older than this one
                    self.send_unsent()
                self._send(self._otel_logger, draft, context)
        except Exception as exc:  # the instrumented call: other processors may raise anything
            self._trail.fault("emit", exc)
        for _ in range(2):  # again after an exception of a signal handler, which comes once
            if draft.encoded is not None:
                break
            try:
                # Of a trail that gave way meanwhile: hidden as that hides.
                trail = draft.trail if isinstance(draft.trail, Trail) else self._trail
                trail.record(draft)
            except (RecursionError, MemoryError):  # no room: who called tries later
                raise
            except Exception as exc:  # the instrumented call
                self._trail.fault("record", exc)
        # Without a provider they wait, and need no look at each event.
        if self._trail.outlet.unsent and (self._otel_logger is not None or self._trail.ships):
            self.send_unsent()
        if draft.encoded is None:
            msg = f"the {draft['operation']} could not be recorded in trail {self._trail.name!r}"
            raise AuditUnavailableError(msg)
        return draft.encoded

    def send_unsent(self) -> None:
        """Send what the trail said of itself: without it, its records have gaps. Never raises.

        What cannot be sent yet, since there is no provider, waits; what does not have to wait,
        since the trail ships it itself, is let go.
        """
        trail = self._trail
        if trail.is_busy():
            return
        outlet = trail.outlet
        if self.given is None and trail.ships:
            outlet.unsent.clear()
        while outlet.unsent:
            try:
                self._bind()
                if self._otel_logger is None:
                    return
                self._send(self._otel_logger, outlet.unsent.popleft(), Context())
            except IndexError:  # another thread was faster
                return
            except Exception as exc:  # as in `emit`
                trail.fault("emit", exc)
        while outlet.unsent_lost:
            outlet.unsent_lost -= 1
            trail.fault("emit", LookupError("it waited too long for a logger provider"))

    def _send(self, otel_logger: Any, draft: Draft, context: Context | None) -> None:
        number, text = _SEVERITY[draft["status"]]
        time = draft.time_us * 1000
        otel_logger.emit(
            LogRecord(
                timestamp=time,
                observed_timestamp=max(time_ns(), time),
                context=context,
                severity_number=number,
                severity_text=text,
                body=draft,
                # Our processor adds them, unless another one sees the record before.
                attributes=None if self._in_front else attributes_of(draft, self._trail.name),
                event_name=semconv.EVENT_NAME,
            )
        )

    def _bind(self) -> None:
        """Use the given provider, else the global one; none if it is not an SDK's."""
        if self.given is None:
            # No global provider, as before: quicker than to ask, which reads the environment.
            proxy = getattr(_logs, "_PROXY_LOGGER_PROVIDER", None)
            is_unset = getattr(_logs, "_LOGGER_PROVIDER", proxy) is None
            if is_unset and self.provider is proxy is not None:
                return
        provider = self.given or get_logger_provider()
        if provider is self.provider:
            return
        if self._leave is not None:
            self._leave()
        self.provider, self._leave, self._otel_logger = provider, None, None
        if not hasattr(provider, "add_log_record_processor"):
            return
        provider.add_log_record_processor(self._processor)
        self._in_front = _reorder(provider, self._processor, keep=True)
        # The provider outlives this object; its processor must not keep the trail.
        self._leave = finalize(self, _reorder, provider, self._processor, keep=False)
        self._leave.atexit = False
        if self.given is not None or not self._trail.ships:
            self._otel_logger = provider.get_logger(semconv.SCOPE_NAME, __version__)


def exports(provider: Any) -> bool:
    """Whether *provider* is an SDK's and has processors besides ours, as far as can be known."""
    multi = getattr(provider, "_multi_log_record_processor", None)
    known = getattr(multi, "_log_record_processors", None)
    if not isinstance(known, tuple):
        return hasattr(provider, "add_log_record_processor")
    return not all(isinstance(one, AuditLogRecordProcessor) for one in known)


def _reorder(provider: Any, processor: AuditLogRecordProcessor, keep: bool) -> bool:
    """Put *processor* in front of the others, so that they see what was recorded, or remove it.

    Returns False if the SDK does not let us: OpenTelemetry has no public way for either.
    """
    multi = getattr(provider, "_multi_log_record_processor", None)
    known = getattr(multi, "_log_record_processors", None)
    if multi is None or not isinstance(known, tuple):
        return False
    others = tuple(other for other in known if other is not processor)
    multi._log_record_processors = (processor, *others) if keep else others
    return True
