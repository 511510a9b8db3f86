"""The way of an event through OpenTelemetry to its trail."""

from __future__ import annotations

from collections.abc import Callable
from time import time_ns
from typing import Any
from weakref import finalize

from opentelemetry._logs import LogRecord, SeverityNumber, get_logger_provider
from opentelemetry.context import Context
from opentelemetry.sdk._logs import LoggerProvider

from . import semconv
from .errors import AuditUnavailableError
from .event import Draft
from .processor import AuditLogRecordProcessor
from .trail import Trail
from .version import __version__

__all__ = ["Emitter"]

_SEVERITY = {
    "SUCCESS": (SeverityNumber.INFO, "INFO"),
    "PARTIAL": (SeverityNumber.WARN, "WARN"),
    "FAILURE": (SeverityNumber.ERROR, "ERROR"),
}
# The draft knows success, failure and unknown; PARTIAL is neither of the first two.
_OUTCOME = {"SUCCESS": "success", "FAILURE": "failure", "PARTIAL": "unknown"}


class Emitter:
    """Emits the records of one trail on an OpenTelemetry logger.

    Args:
        trail: Where the records must arrive.
        logger_provider: What they go through. None: the global provider if it is an SDK's,
            as soon as it is set, else a private one.
    """

    def __init__(self, trail: Trail, logger_provider: Any = None) -> None:
        self._trail = trail
        self._processor = AuditLogRecordProcessor(trail)
        self._leave: finalize[..., Any] | None = None
        self._given = logger_provider
        self._bind(logger_provider or get_logger_provider())

    def use(self, logger_provider: Any) -> None:
        """Send the records through *logger_provider* from now on."""
        self._given = logger_provider
        self._bind(logger_provider)

    def emit(self, draft: Draft, context: Context | None = None) -> bytes:
        """Send *draft* through OpenTelemetry to the trail; returns its final bytes.

        Whatever becomes of the record on that way (no SDK, a disabled one, a processor
        that raises), the trail has the event when this returns. Used by the instrumentor.

        Raises:
            AuditUnavailableError: If the trail could not take it; that is counted as well.
        """
        try:
            provider = self._given or get_logger_provider()
            if provider is not self._provider:
                self._bind(provider)
            draft.shared = self._shared
            number, text = _SEVERITY[draft["status"]]
            now = time_ns()
            self._otel_logger.emit(
                LogRecord(
                    timestamp=min(draft.time_us * 1000, now),
                    observed_timestamp=now,
                    context=context,
                    severity_number=number,
                    severity_text=text,
                    body=draft,
                    attributes=self._attributes(draft) if self._shared else None,
                    event_name=semconv.EVENT_NAME,
                )
            )
        except Exception as exc:
            self._trail.fault("emit", exc)
        if draft.encoded is None:
            try:
                self._processor.capture(draft)
            except Exception as exc:
                self._trail.fault("record", exc)
        if draft.encoded is None:
            msg = f"the {draft['operation']} could not be recorded in trail {self._trail.name!r}"
            raise AuditUnavailableError(msg)
        return draft.encoded

    def _attributes(self, draft: Draft) -> dict[str, Any]:
        """What other consumers of the record route and filter by; its body has it all."""
        status, operation = draft["status"], draft["operation"]
        attributes: dict[str, Any] = {
            semconv.LOG_RECORD_UID: draft["event_id"],
            semconv.AXON_AUDIT_TRAIL: self._trail.name,
            semconv.AXON_OPERATION: operation,
            semconv.AXON_STATUS: status,
            semconv.AUDIT_RECORD_ID: draft["event_id"],
            semconv.AUDIT_ACTION: operation,
            semconv.AUDIT_OUTCOME: _OUTCOME[status],
            semconv.AUDIT_ACTOR_TYPE: "user" if draft["user_id"] else "system",
        }
        if draft["user_id"] is not None:
            hashed = self._trail.pseudonyms is not None
            attributes[semconv.USER_HASH if hashed else semconv.USER_ID] = draft["user_id"]
            attributes[semconv.AUDIT_ACTOR_ID] = draft["user_id"]
        if draft["session_id"] is not None:
            attributes[semconv.SESSION_ID] = draft["session_id"]
        if "subject_id" in draft:
            attributes[semconv.AXON_SUBJECT_ID] = draft["subject_id"]
        if "error_type" in draft:
            attributes[semconv.ERROR_TYPE] = draft["error_type"]
        if len(draft["entry_ids"]) == 1:
            attributes[semconv.AUDIT_TARGET_ID] = draft["entry_ids"][0]
        return attributes

    def _bind(self, provider: Any) -> None:
        """Use *provider* if it is an SDK's, else a private one."""
        if self._leave is not None:
            self._leave()
        self._provider = provider
        self._shared = hasattr(provider, "add_log_record_processor")
        used = provider if self._shared else LoggerProvider(shutdown_on_exit=False)
        _join(used, self._processor)
        # The provider outlives this object; its processor must not keep the trail.
        self._leave = finalize(self, _part, used, self._processor)
        self._leave.atexit = False
        self._otel_logger = used.get_logger(semconv.SCOPE_NAME, __version__)


def _join(provider: Any, processor: AuditLogRecordProcessor) -> None:
    """Add *processor*, in front of the others where the SDK lets us: trail first, then copies."""
    provider.add_log_record_processor(processor)
    _reorder(provider, lambda others: (processor, *others), processor)


def _part(provider: Any, processor: AuditLogRecordProcessor) -> None:
    _reorder(provider, lambda others: others, processor)


def _reorder(
    provider: Any,
    order: Callable[[tuple[Any, ...]], tuple[Any, ...]],
    processor: AuditLogRecordProcessor,
) -> None:
    # OpenTelemetry has no way to remove or to insert a processor.
    multi = getattr(provider, "_multi_log_record_processor", None)
    known = getattr(multi, "_log_record_processors", None)
    if multi is not None and isinstance(known, tuple):
        multi._log_record_processors = order(tuple(p for p in known if p is not processor))
