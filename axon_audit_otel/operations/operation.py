"""The life of one audited call: from its first moment to its span, its observation, its event."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import context as otel_context

from ..core.errors import AuditUnavailableError
from ..events.draft import Draft
from ..events.identity import active_operation, running
from ..events.model import EventStatus
from .activity import ENDED, error_type
from .durability import record_intent, wait_event, wait_intent, wait_intent_now
from .facts import Arguments, Facts, Kind
from .outcome import bare_event, full_event, note_swallowed
from .span import OperationSpan

if TYPE_CHECKING:
    from ..trail.audit_logger import AuditLogger

__all__ = ["Operation", "begin", "current"]


class Operation(Facts):
    """One call, from `begin` to `fail` or `succeed`. Neither of these ever raises.

    Or from `begin` to the end of an ``async with`` block, which waits for stable storage as
    well; what the call returns is to be `result` then.

    Attributes:
        outer: The operation on the same trail that it is inside of, and that records it, unless
            that one ends before.
        around: The next one around, also on another trail.
    """

    outer: Operation | None
    around: Operation | None
    span: OperationSpan
    result: Any = None
    line: bytes | None = None  # of its event, once that is recorded
    draft: Draft | None = None
    changes = False  # at its end: whether it changed memory
    face: Any = None  # gives what reports to it, see `audited`
    place: Any = None  # gives the generator whose block it is; None: it is of no generator
    _gauge: Any
    _token: Any

    @property
    def waits(self) -> bool:
        """True if callers must wait for stable storage (``durability="disk"``)."""
        return self.trail.storage is not None

    # --- as a block --------------------------------------------------------------------------

    def ready_now(self) -> None:
        """Wait as the beginning of a block does, in a function that is no coroutine.

        Raises:
            AuditUnavailableError: If it is refused; it has failed then.
        """
        if self.event_id is not None:
            try:
                wait_intent_now(self)
            except BaseException as exc:
                self.fail(exc)
                raise

    async def __aenter__(self) -> Operation:
        if self.event_id is not None:
            try:
                await wait_intent(self)
            except BaseException as exc:
                self.fail(exc)
                raise
        return self

    async def __aexit__(self, kind: Any, exc: BaseException | None, tb: Any) -> None:
        self.over(exc)
        if self.trail.storage is not None and not isinstance(exc, GeneratorExit):
            await wait_event(self)

    def over(self, exc: BaseException | None) -> None:
        """End it as the block ends, without waiting for stable storage."""
        result, self.result = self.result, None
        if exc is None:
            self.succeed(result)
        else:
            self.fail(exc)

    # --- its place in the task ---------------------------------------------------------------

    def enter(self) -> None:
        """Be the current operation again, after `leave`."""
        self._token = running.set(self)

    def leave(self) -> None:
        """Stop being the current operation and span of this task, and go on."""
        attached, self.span.attached = self.span.attached, None
        now = running.get()
        if now is not None and now.holds and not now.within(self):
            return  # the consumer of a generator began it meanwhile, and goes on
        try:
            running.reset(self._token)
        except ValueError:  # ended in another context than begun: nothing to undo there
            return
        if attached is not None:
            otel_context.detach(attached)
        left = running.get()
        if left is None or left.active:
            return
        if left.span.context is otel_context.get_current():  # it ended inside of this one
            otel_context.attach(left.span.before)
            running.set(left.around)

    @property
    def holds(self) -> bool:
        """True if code that has it in its context is inside of it: not once it has ended, nor
        while the generator whose block it is waits, and its consumer runs."""
        if not self.active or self.place is None:
            return self.active
        place = self.place()
        return place is not None and place.runs

    def within(self, other: Operation) -> bool:
        """True if it began inside of *other*, or is *other*."""
        one: Operation | None = self
        while one is not None and one is not other:
            one = one.around
        return one is not None

    # --- ending ------------------------------------------------------------------------------

    def succeed(self, result: Any) -> None:
        """The call returned *result*."""
        try:
            self.kind.after(self, self.arguments, result)
        except Exception as exc:  # the instrumented call: its result may raise anything
            self.trail.fault("record", exc)
        status = EventStatus.SUCCESS
        if self.activity.attempts and (self.outer is None or not self.outer.active):
            self._count_attempts()
        if self.failed:
            status = EventStatus.FAILURE
        elif self.problems or self.activity.failed:
            status = EventStatus.PARTIAL
        self._end(status, None)

    def _count_attempts(self) -> None:
        """Attempts that failed, and that no other one made good, are failures."""
        seen = self.activity
        for key, name in seen.attempts.items():
            if key not in seen.saved and key not in seen.deleted:
                self.partly(name)

    def fail(self, exc: BaseException) -> None:
        """The call raised *exc*."""
        status = EventStatus.FAILURE
        changed = self.activity.saved or self.activity.deleted or self.activity.unnamed
        if changed and not isinstance(exc, asyncio.CancelledError):
            status = EventStatus.PARTIAL  # memory is not what it was
        self._end(status, exc)

    def _end(self, status: EventStatus, exc: BaseException | None) -> None:
        if not self.active:
            return
        elapsed_ns = perf_counter_ns() - self.began
        self.active = False
        self.leave()
        if self.outer is not None and self.outer.active:
            self._report_to(self.outer, exc)
        else:
            self._record(status, exc, elapsed_ns)
        # Keep no memories alive: the context of a task that was begun inside may live long.
        self.activity, self.arguments = ENDED, {}
        self.metadata, self.span_attributes, self.records = {}, {}, None

    def _report_to(self, outer: Operation, exc: BaseException | None) -> None:
        """Be a part of *outer*, and no event of its own."""
        outer.activity.take(self.activity, failures=exc is None)
        if self.persons:
            outer.persons = tuple(dict.fromkeys((*outer.persons, *self.persons)))
        if self.private is not None:
            outer.private = {**(outer.private or {}), **self.private}
        if exc is None and self.error_type and (self.problems or self.failed):
            outer.partly(self.error_type)  # which nobody was told by an exception

    def _record(self, status: EventStatus, exc: BaseException | None, elapsed_ns: int) -> None:
        """Make the event, and emit it inside of the span, which has ended by then."""
        if self.outer is not None:  # it has ended before
            self._gauge.inc()
        seen, trail = self.activity, self.trail
        if exc is not None:
            self.error_type = error_type(exc)
        elif seen.failed and self.error_type is None:
            self.error_type = error_type(next(iter(seen.failed.values())))
        try:
            if seen.failed or seen.aside:
                note_swallowed(self, exc)
            self._gauge.dec()
            if self.learnt:
                self.span.identify(self)
            context = self.span.span.get_span_context()
            event = full_event(self, status, exc, elapsed_ns, context)
        except Exception as fault:  # hostile facts: keep what is certain
            trail.fault("record", fault)
            event = bare_event(self, status, elapsed_ns)
        trail.policy.event(event, own=self.own_facts)
        try:
            self.span.end(self, event, exc, elapsed_ns / 1e9)
        except Exception as fault:  # the instrumented call: OpenTelemetry's span processors
            trail.fault("record", fault)
        try:
            self.line, self.draft = self.audit.emit(event, self.span.context), event
        except AuditUnavailableError as fault:
            trail.fault("record", fault)
        if self.event_id is not None:
            trail.intent_done(self.event_id)
        self.changes = bool(seen.saved or seen.deleted)


def begin(
    kind: Kind,
    audit: AuditLogger,
    args: tuple[Any, ...] = (),
    kwargs: Arguments | None = None,
    identity: tuple[Any, Any] = (None, None),
    **more: Any,
) -> Operation:
    """An operation on the trail of *audit*, inside the one that runs there in this task.

    *more* is what else `Facts` takes.

    Raises:
        AuditUnavailableError: If it is refused, since it cannot be recorded.
    """
    trail = audit.trail
    outer = here = active_operation()
    while outer is not None and (outer.trail is not trail or not outer.active):
        outer = outer.around
    private = outer is not None and outer.private is not None
    arguments = {} if kwargs is None else kwargs
    op = Operation(kind, audit, args, arguments, identity, private=private, **more)
    trail.entries.look()
    op.outer, op.around = outer, here
    op._gauge = trail.metrics.in_progress(kind.name, kind.system)
    if outer is None:
        op._gauge.inc()
    op.span = OperationSpan(op, outer is not None)
    op._token = running.set(op)
    op.began = perf_counter_ns()
    if outer is None and trail.blocks:
        try:
            record_intent(op)
        except AuditUnavailableError as refusal:
            op.fail(refusal)
            raise
    return op


#: The operation that runs in this task; None without one.
current: Callable[[], Operation | None] = active_operation
