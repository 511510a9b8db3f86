"""The span of an operation, and its place in the OpenTelemetry context."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Status, StatusCode

from ..core import semconv
from ..events.draft import Draft
from ..events.identity import running
from ..events.log_attributes import ATTRIBUTES
from .facts import Facts
from .outcome import UNSAID
from .signals import Signals, current_signals

__all__ = ["OperationSpan"]

#: No trace. (An empty context would stand for the current one.)
_NOWHERE = trace.set_span_in_context(trace.INVALID_SPAN, otel_context.Context())


class OperationSpan:
    """The span of one operation, from `begin` to `end`.

    Where telemetry is suppressed, and inside of another operation, it is the span around.

    Attributes:
        span: OpenTelemetry's.
        context: The OpenTelemetry context inside of it; None if it has none of its own.
        before: The one that it began in.
        attached: What `otel_context.detach` wants; None if nothing is attached any more.
    """

    __slots__ = ("_is_own", "_signals", "attached", "before", "context", "span")

    attached: Any
    before: Any
    context: Any
    _signals: Signals | None

    def __init__(self) -> None:
        self.span: trace.Span = trace.INVALID_SPAN
        self.context = self.before = self.attached = self._signals = None
        self._is_own = False

    def begin(self, op: Facts, nested: bool) -> None:
        """Begin it, in the context of this task; *nested*: it is the span around."""
        try:
            if is_instrumentation_enabled():
                self._signals = current_signals()
            if nested or self._signals is None:
                self.span = trace.get_current_span()
                return  # suppressed is telemetry; the audit event is none
            self._start(op, self._signals)
        except Exception as exc:  # the instrumented call
            op.trail.fault("record", exc)

    def _start(self, op: Facts, signals: Signals) -> None:
        kind, policy = op.kind, op.trail.policy
        attributes: dict[str, Any] = kind.attributes | policy.span_identity(
            op.user_id, op.session_id
        )
        if op.gen_ai is not None:
            attributes[semconv.GEN_AI_OPERATION_NAME] = op.gen_ai
        if op.store is not None:
            attributes[semconv.GEN_AI_MEMORY_STORE_ID] = op.store
        if op.acting:
            for field, real in op.delegates.items():
                attributes[ATTRIBUTES[field]] = policy.hidden(field, real)
        here, left = otel_context.get_current(), running.get()
        if left is not None and left.span.context is here and not left.holds:
            here = left.span.before  # it ended elsewhere, or waits, and left its context behind
        self.before = here
        name = op.gen_ai or kind.span
        self.span = signals.tracer.start_span(name, context=here, attributes=attributes)
        self._is_own = True
        self.context = trace.set_span_in_context(self.span, here)
        self.attached = otel_context.attach(self.context)

    def identify(self, op: Facts) -> None:
        """Say who acts, learnt late."""
        if self._is_own and self.span.is_recording():
            self.span.set_attributes(op.trail.policy.span_identity(op.user_id, op.session_id))

    def end(self, op: Facts, event: Draft, exc: BaseException | None, seconds: float) -> None:
        """End it with what the *event* says; *exc* is what the call raised."""
        failed = exc is not None or event["status"] == "FAILURE"
        error = {semconv.ERROR_TYPE: op.error_type} if failed and op.error_type else {}
        is_exemplar = op.trail.metrics.choose_exemplar(event, self.span)
        if op.gen_ai is not None and self._signals is not None:
            named = {semconv.GEN_AI_OPERATION_NAME: op.gen_ai, **error}
            around = self.context if is_exemplar else _NOWHERE  # whose trace it may name
            self._signals.duration.record(seconds, named, around)
        if not self._is_own:
            return
        span = self.span
        if span.is_recording():
            span.set_attributes(_final_attributes(op, event) | error)
            if failed:
                message = None
                if exc is not None and op.capture.on_spans:
                    message = UNSAID if op.is_unsaid else _masks(op)(op.trail.policy.text(str(exc)))
                span.set_status(Status(StatusCode.ERROR, message))
        span.end()


def _final_attributes(op: Facts, event: Draft) -> dict[str, Any]:
    attributes: dict[str, Any] = {semconv.AXON_STATUS: event["status"]}
    if op.gen_ai is not None:
        ids, count = event["entry_ids"], op.attempted
        if count is None:
            count = event.entries
        if len(ids) == count == 1 and op.gen_ai != semconv.SEARCH_MEMORY:
            attributes[semconv.GEN_AI_MEMORY_RECORD_ID] = ids[0]
        attributes[semconv.GEN_AI_MEMORY_RECORD_COUNT] = count
    facts = event["metadata"]
    for key, name in semconv.SPAN_ATTRIBUTES.get(op.kind.name, {}).items():
        if key in facts:
            value = facts[key]
            if isinstance(value, (str, bool, int, float)) or (
                isinstance(value, list) and all(type(item) is str for item in value)
            ):
                attributes[name] = value
    if not op.span_attributes and op.records is None:
        return attributes
    masked = _masks(op)
    for key, text in op.span_attributes.items():
        attributes[key] = masked(text)
    if op.records is not None:
        names = op.private or {}
        records = [
            {"id": names.get(key) or masked(key), "content": masked(text)}
            for key, text in op.records
        ]
        attributes[semconv.GEN_AI_MEMORY_RECORDS] = msgspec.json.encode(records).decode()
    return attributes


def _masks(op: Facts) -> Callable[[str], str]:
    """What gives the redacted texts of a span without the ids that pseudonyms stand for: as in
    the event."""
    users = (op.user_id, op.subject_id, *op.delegates.values(), *op.subjects)
    return op.trail.policy.span_texts(users, op.session_id, op.private)
