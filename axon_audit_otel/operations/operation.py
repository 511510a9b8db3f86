"""The life of one audited call: from its first moment to its span, its observation, its event."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from functools import partial
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

__all__ = ["Operation", "begun", "current"]


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
    is_over = False  # recorded, or a part of another one
    is_late = False  # it could not be recorded when it ended
    ended: int | None = None  # when, if it was ended before it is recorded
    process = 0  # where it began, see `_process`
    face: Any = None  # gives what reports to it, see `audited`
    place: Any = None  # gives the generator whose block it is; None: it is of no generator
    _gauge: Any
    _token: Any = None

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
        try:
            if self.event_id is not None:
                await wait_intent(self)
            return self
        except BaseException as exc:
            self.fail(exc)
            raise

    async def __aexit__(self, kind: Any, exc: BaseException | None, tb: Any) -> None:
        try:
            self.over(exc)
        except BaseException:
            if self.active:  # a signal handler raised before anything was done
                self.over(exc)
            raise
        finally:
            self.active = False
        if self.trail.storage is not None and not isinstance(exc, GeneratorExit):
            await wait_event(self)

    def over(self, exc: BaseException | None) -> None:
        """End it as the block ends, without waiting for stable storage.

        What a signal handler raises meanwhile is raised when it has ended.
        """
        try:
            if self.face is not None and (face := self.face()) is not None:
                face.conclude(self)
            result, self.result = self.result, None
            if exc is None:
                self.succeed(result)
            else:
                self.fail(exc)
        except (RecursionError, MemoryError):  # ours: the caller had room for its own
            self._end_late(exc)
        except BaseException:
            self._end(self._status(exc), exc)
            raise

    def _end_late(self, exc: BaseException | None) -> None:
        """Have it recorded by whoever comes next: here is no room, not even for a call of ours."""
        self.active, self.ended = False, self.ended or perf_counter_ns()
        self.trail.late.append(partial(self._catch_up, exc))

    def _catch_up(self, exc: BaseException | None) -> None:
        self.is_late = True
        try:
            self._end(self._status(exc), exc)
        except (RecursionError, MemoryError):
            self._end_late(exc)

    # --- its place in the task ---------------------------------------------------------------

    def enter(self) -> None:
        """Be the current operation again, after `leave`."""
        self._token = running.set(self)

    def leave(self) -> None:
        """Stop being the current operation and span of this task, and go on."""
        now = running.get()
        if now is not None and now.holds and not now.within(self):
            self.span.attached = None
            return  # the consumer of a generator began it meanwhile, and goes on
        try:
            if self._token is not None:
                running.reset(self._token)
            elif now is self:  # an exception struck when it was about to be noted
                running.set(self.around)
        except RuntimeError:
            pass  # an exception struck just after that
        except ValueError:  # ended in another context than begun: nothing to undo there
            self.span.attached = None
            return
        if self.span.attached is not None:
            otel_context.detach(self.span.attached)
            self.span.attached = None
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
        if not self.is_open or self.place is None:
            return self.is_open
        place = self.place()
        return place is not None and place.runs

    @property
    def is_open(self) -> bool:
        """True until it ends, in the process in which it began: a child that was forked inside
        of it has operations of its own. Not if its block is gone, and never ended it."""
        has_block = self.face is None or self.face() is not None
        return self.active and has_block and self.process == _process

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
        self._end(self._status(None), None)

    def _count_attempts(self) -> None:
        """Attempts that failed, and that no other one made good, are failures."""
        seen = self.activity
        for key, name in seen.attempts.items():
            if key not in seen.saved and key not in seen.deleted:
                self.partly(name)

    def fail(self, exc: BaseException) -> None:
        """The call raised *exc*."""
        self._end(self._status(exc), exc)

    def _status(self, exc: BaseException | None) -> EventStatus:
        seen = self.activity
        if exc is not None:
            changed = seen.saved or seen.deleted or seen.unnamed
            if changed and not isinstance(exc, asyncio.CancelledError):
                return EventStatus.PARTIAL  # memory is not what it was
            return EventStatus.FAILURE
        if seen.attempts and (self.outer is None or not self.outer.active):
            self._count_attempts()
        if self.failed:
            return EventStatus.FAILURE
        return EventStatus.PARTIAL if self.problems or seen.failed else EventStatus.SUCCESS

    def _end(self, status: EventStatus, exc: BaseException | None) -> None:
        """End it; again, if an exception struck in the middle of that."""
        if self.is_over:
            return
        elapsed_ns = (self.ended or perf_counter_ns()) - self.began
        self.active = False
        self.leave()
        if self.outer is not None and self.outer.active:
            self._report_to(self.outer, exc)
        else:
            self._record(status, exc, elapsed_ns)
            if self.line is None and not self.is_late:
                self._end_late(exc)
                return
        self.is_over = True
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
        event, seen, trail = self.draft, self.activity, self.trail
        if event is None:
            event = self._made(status, exc, elapsed_ns)
            trail.policy.event(event, own=self.own_facts)
            self.draft = event
            try:
                self.span.end(self, event, exc, elapsed_ns / 1e9)
            except Exception as fault:  # the instrumented call: OpenTelemetry's span processors
                trail.fault("record", fault)
        try:
            self.line = event.encoded or self.audit.emit(event, self.span.context)
        except AuditUnavailableError as fault:
            trail.fault("record", fault)
        if self.event_id is not None and self.line is not None:
            trail.intent_done(self.event_id)
        self.changes = bool(seen.saved or seen.deleted)

    def _made(self, status: EventStatus, exc: BaseException | None, elapsed_ns: int) -> Draft:
        """The event, not hidden yet."""
        if self.outer is not None:  # it has ended before
            self._gauge.inc()
        if self.process != _process:  # the intent, and the event of that id, are the parent's
            self.event_id = None
        seen = self.activity
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
            return full_event(self, status, exc, elapsed_ns, context)
        except Exception as fault:  # a signal handler's, which comes once, or hostile facts
            self.trail.fault("record", fault)
        try:
            return full_event(self, status, exc, elapsed_ns, self.span.span.get_span_context())
        except Exception:  # keep what is certain
            return bare_event(self, status, elapsed_ns)

    def abandon(self) -> None:
        """Be no operation: it could not begin, and what it was to record has not happened."""
        self.active, self.is_over = False, True
        self.leave()
        if self.outer is None:
            self._gauge.dec()
        if self.event_id is not None:
            self.trail.intent_done(self.event_id)


def begin(
    kind: Kind,
    audit: AuditLogger,
    args: tuple[Any, ...] = (),
    kwargs: Arguments | None = None,
    identity: tuple[Any, Any] = (None, None),
    holders: Any = None,
    **more: Any,
) -> Operation:
    """An operation on the trail of *audit*, inside the one that runs there in this task.

    *holders* is its attribute, if it has others; *more* is what else `Facts` takes.

    Raises:
        AuditUnavailableError: If it is refused, since it cannot be recorded.
    """
    trail = audit.trail
    if trail.late:
        trail.late.do()
    outer = here = active_operation()
    while outer is not None and (outer.trail is not trail or not outer.is_open):
        outer = outer.around
    private = outer is not None and outer.private is not None
    arguments = {} if kwargs is None else kwargs
    op = Operation(kind, audit, args, arguments, identity, private=private, **more)
    trail.entries.look()
    op.outer, op.around = outer, here
    op.process = _process
    op._gauge = trail.metrics.in_progress(kind.name, kind.system)
    op.span = OperationSpan()
    op.began = perf_counter_ns()
    try:
        if holders is not None:
            op.holders = holders
        if outer is None:
            op._gauge.inc()
        op.span.begin(op, outer is not None)
        op._token = running.set(op)
        op.began = perf_counter_ns()
        if outer is None and trail.blocks:
            record_intent(op)
        return op
    except BaseException as exc:
        if isinstance(exc, Exception) and not isinstance(exc, AuditUnavailableError):
            op.abandon()  # our fault, or a signal handler's: who called decides
        else:
            op.fail(exc)
        raise


def begun(*args: Any, **more: Any) -> Operation | None:
    """An operation as `begin` makes it; begun once more after an exception of ours, or of a signal
    handler. None if the call has to go on unrecorded: that is counted.

    Raises:
        AuditUnavailableError: If it is refused, since it cannot be recorded.
    """
    kind, audit = args[:2]
    fault: Exception | None = None
    for _ in range(2):
        try:
            return begin(*args, **more)
        except AuditUnavailableError:
            raise
        except (RecursionError, MemoryError) as exc:
            fault = exc  # told later: here is no room for it
            audit.trail.late.append(partial(audit.trail.fault, "record", exc))
        except Exception as exc:
            fault = exc
            audit.trail.fault("record", exc)
    if audit.trail.blocks:
        msg = f"{kind.name} refused: it cannot be recorded ({error_type(fault or '')})"
        raise AuditUnavailableError(msg) from fault
    return None


#: How many forks lie between this process and the first.
_process = 0


def _count_fork() -> None:
    global _process
    _process += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_fork)


#: The operation that runs in this task; None without one.
current: Callable[[], Operation | None] = active_operation
