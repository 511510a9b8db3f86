"""One audited call: from its first moment to its span, its observation and its event."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

import msgspec
from opentelemetry import context as otel_context
from opentelemetry import metrics, trace
from opentelemetry.instrumentation.utils import is_instrumentation_enabled
from opentelemetry.trace import Status, StatusCode

from ..core import semconv
from ..core.errors import AuditUnavailableError
from ..events.draft import Acting, Draft, draft, intent
from ..events.identifiers import identifier, identifiers
from ..events.identity import (
    NOBODY,
    active_operation,
    named_or_current,
    or_from_baggage,
    running,
)
from ..events.lineage import DERIVED_REMAIN
from ..events.log_attributes import ATTRIBUTES
from ..events.model import EventStatus, OperationType
from ..events.stores import Store
from ..privacy.private_ids import is_hidden
from ..version import __version__
from .activity import AdapterActivity, OwnerOf, error_type

if TYPE_CHECKING:
    from ..trail.audit_logger import AuditLogger

#: The SDK itself handles at most so many entries in one query.
MAX_ENTRY_IDS = 100_000

Arguments = dict[str, Any]

#: Operations that save what they have read.
COPYING = (OperationType.RECALL, OperationType.SYNC)

_FOR_WHOM = ("on_behalf_of", "agent_id")
_GEN_AI = (semconv.CREATE_MEMORY, semconv.SEARCH_MEMORY, semconv.DELETE_MEMORY)


@dataclass(frozen=True)
class Kind:
    """Describes the calls of one method of a memory library.

    Args:
        operation: Its name in events and metrics.
        span: Its span's name.
        parameters: Its positional parameters after self, in order.
        before: Notes facts from the arguments.
        after: Notes facts from the result.
        verify: Notes facts that must be looked up after the call.
        action: The method, as its library names it.
        system: The library.

    Attributes:
        name: The operation as text.
        gen_ai: Its ``gen_ai.operation.name``: the span's name; None if that is not one of the
            GenAI conventions.
        deletes: True if its purpose is to delete.
    """

    operation: OperationType
    span: str
    parameters: tuple[str, ...] = ()
    before: Callable[[Operation, Arguments], None] = lambda op, args: None
    after: Callable[[Operation, Arguments, Any], None] = lambda op, args, result: None
    verify: Callable[[Operation, Any, Arguments, Any], Awaitable[None]] | None = None
    action: str | None = None
    system: str | None = None
    name: str = field(init=False)
    gen_ai: str | None = field(init=False)
    deletes: bool = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.operation.value)
        object.__setattr__(self, "gen_ai", self.span if self.span in _GEN_AI else None)
        object.__setattr__(self, "deletes", self.operation is OperationType.FORGET)


class Operation:
    """One call, from `__init__` to `fail` or `succeed`. Neither of these ever raises.

    Or from `__init__` to the end of an ``async with`` block, which waits for stable storage as
    well; what the call returns is to be `result` then.
    """

    # What most operations leave as it is.
    active = True
    entry_ids: list[Any] | None = None  # None: those that were saved or deleted
    are_names = False  # True: these are texts as `identifiers` makes them
    entries: int | None = None  # how many the operation handled; None: len(entry_ids)
    attempted: int | None = None  # record count of the span; None: the same
    problems = 0  # failures that the SDK did not raise
    failed = False  # nothing of it worked, although nothing was raised
    error_type: str | None = None
    _given: tuple[str | None, ...] | None = None  # the owners of what the caller got
    persons: tuple[str, ...] = ()  # whose data it is about, though it touched no entry of theirs
    subject_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    text_owners: tuple[tuple[str, ...], ...] = ()  # of each text of an entry in the metadata
    acting: Acting = NOBODY.acting
    store: str | None = None  # which store of its library
    result: Any = None
    own_facts = True  # the names of the facts are ours, no text of anybody
    line: bytes | None = None  # of its event, once that is recorded
    draft: Draft | None = None
    changes = False  # at its end: whether it changed memory
    _records: list[tuple[str, str]] | None = None  # of the span: ids of entries, and texts
    private: dict[str, str] | None = None  # its entry ids name people: what stands for which
    face: Any = None  # gives what reports to it, see `audited`
    place: Any = None  # gives the generator whose block it is; None: it is of no generator
    #: Gives the adapters of any memory in which an entry is known to live.
    holders: Callable[[str, Operation], list[Any]] = staticmethod(lambda key, op: [])
    _event_id: str | None = None  # given by `record_intent`
    _subject: tuple[str | None, str | None] = (None, None)
    _span: trace.Span = trace.INVALID_SPAN
    _context: Any = None
    _attached: Any = None
    _before: Any = None  # the OpenTelemetry context that it began in
    _own_span = _telemetry = False

    def __init__(
        self,
        kind: Kind,
        audit: AuditLogger,
        signals: Signals,
        args: tuple[Any, ...],
        kwargs: Arguments,
        identity: tuple[Any, Any] = (None, None),
        outer: Operation | None = None,
        acting: Mapping[str, Any] | None = None,
        store: str | None = None,
        owner: str | None = None,
    ) -> None:
        self.outer = outer  # records this one, unless it ends before
        self.around = outer  # the next one around, also on another trail
        if store is not None:
            self.store = store
        if owner is not None:
            self._subject, self.persons = (owner, None), (owner,)
        self.kind = kind
        self.audit = audit
        self.trail = audit.trail
        if audit.settings.private_ids or (outer is not None and outer.private is not None):
            self.private = {}
        self.capture = audit.settings.capture_content  # where content may be recorded
        self.activity = AdapterActivity()
        self.metadata: dict[str, Any] = {}
        self.fingerprints: dict[str, str] = {}  # of what the caller got
        self._altered: dict[str, str] = {}  # fingerprints of entries that have another content
        self.span_attributes: dict[str, Any] = {}
        self.gen_ai = kind.gen_ai
        self._signals = signals
        self.arguments: Arguments = {}
        try:
            self.arguments = {**dict(zip(kind.parameters, args)), **kwargs} if args else kwargs
            kind.before(self, self.arguments)
        except Exception as exc:  # the instrumented call: its arguments may raise anything
            self.trail.fault("record", exc)
        self.trail.entries.look()
        self._identify(*identity)
        if acting:
            self.acting = cast("Acting", {**self.acting, **acting})
        self._gauge = self.trail.metrics.in_progress(kind.name, kind.system)
        if outer is None:
            self._gauge.inc()
        self._start_span()
        self._token = running.set(self)
        self._started = perf_counter_ns()

    def record_intent(self) -> None:
        """Journal the intent (``on_failure="block"``), or refuse the operation.

        Raises:
            AuditUnavailableError: If it, or its outcome, could not be recorded.
        """
        facts = intent(
            self.kind.name,
            user_id=self.user_id,
            session_id=self.session_id,
            subject_id=self.subject_id,
            **self._persons(),
        )
        self._event_id = facts["event_id"]
        try:
            self.trail.record_intent(facts)
        except OSError as exc:
            refusal = self._refusal(exc)
            self.fail(refusal)
            raise refusal from exc

    def _refusal(self, exc: OSError) -> AuditUnavailableError:
        return AuditUnavailableError(f"{self.kind.name} refused: it cannot be recorded ({exc})")

    @property
    def waits(self) -> bool:
        """True if callers must wait for stable storage (``durability="disk"``)."""
        return self.trail.storage is not None

    async def wait_intent_durable(self) -> None:
        """Wait until what `record_intent` wrote is on stable storage, where that is promised.

        Raises:
            AuditUnavailableError: If the device refused.
        """
        storage = self.trail.storage
        if self._event_id is not None and storage is not None:
            try:
                await storage.wait_intents()
            except OSError as exc:
                self.trail.fault("commit", exc)
                raise self._refusal(exc) from exc

    def wait_intent_durable_now(self) -> None:
        """Do as `wait_intent_durable`, in a function that is no coroutine.

        Raises:
            AuditUnavailableError: If the device refused.
        """
        storage = self.trail.storage
        if self._event_id is not None and storage is not None:
            try:
                storage.wait_intents_now()
            except OSError as exc:
                self.trail.fault("commit", exc)
                raise self._refusal(exc) from exc

    @property
    def began(self) -> int:
        """When it began, by `time.perf_counter_ns`."""
        return self._started

    # --- as a block --------------------------------------------------------------------------

    def ready_now(self) -> None:
        """Wait as the beginning of a block does, in a function that is no coroutine.

        Raises:
            AuditUnavailableError: If it is refused; it has failed then.
        """
        try:
            self.wait_intent_durable_now()
        except BaseException as exc:
            self.fail(exc)
            raise

    async def __aenter__(self) -> Operation:
        try:
            await self.wait_intent_durable()
        except BaseException as exc:
            self.fail(exc)
            raise
        return self

    async def __aexit__(self, kind: Any, exc: BaseException | None, tb: Any) -> None:
        self.over(exc)
        if self.waits and not isinstance(exc, GeneratorExit):
            await self.wait_durable()

    def over(self, exc: BaseException | None) -> None:
        """End it as the block ends, without waiting for stable storage."""
        result, self.result = self.result, None
        if exc is None:
            self.succeed(result)
        else:
            self.fail(exc)

    # --- facts, noted by the kinds ---------------------------------------------------------

    def concerns(self, user_id: Any, session_id: Any) -> None:
        """Whose data it is, as the call's metadata or filter says."""
        self._subject = (
            None if user_id is None else identifier(user_id),
            None if session_id is None else identifier(session_id),
        )

    def note(self, **facts: Any) -> None:
        """Facts for the event's metadata; None is left out."""
        metadata = self.metadata
        for name, value in facts.items():
            if value is not None:
                metadata[name] = value

    def read(self, texts: Mapping[str, str], owners: OwnerOf | None = None) -> None:
        """The caller gets these entries: the text of each by its id.

        Notes their fingerprints, and which of them have not the newest content on record.
        *owners* are theirs, where stores have entries of one id and of several owners.
        """
        policy, whose = self.trail.policy, self.activity.owners
        if owners is not None:
            whose = {**whose, **owners}
            self._given = (*(self._given or ()), *owners.values())
        if not policy.fingerprints:
            return
        prints, newest, make = self.fingerprints, self.trail.entries.newer, policy.fingerprint
        for key, text in texts.items():
            found = prints[key] = make(text, whose.get(key))
            known = newest.get(key)
            if found and (known is None or known[1] != found):
                self.is_altered(key, found, self.activity.stores_of(key))

    def is_altered(self, key: str, found: str, stores: list[Store]) -> bool:
        """True, and noted, if an entry that was read in *stores* has not the newest content."""
        if not stores or any(one.agrees(key, found, self._started) for one in stores):
            return False
        self._altered[key] = found
        return True

    def _note_altered(self) -> None:
        """Note which entries had not the newest content on record."""
        altered, stores_of = self._altered, self.activity.stores_of
        if self.trail.entries.look(at_once=True):  # another process may know more
            altered = {k: fp for k, fp in altered.items() if self.is_altered(k, fp, stores_of(k))}
        self.note(altered=list(altered) or None)

    def _note_back(self, names: list[str]) -> None:
        """Note which of the entries *names* are there although they are gone."""
        seen, known = self.activity, self.trail.entries
        stored = () if self.kind.operation in COPYING else seen.saved
        back = [key for key in names if key in seen.back and key not in stored]
        if back and known.look(at_once=True):  # another process may have brought them back
            back = [key for key in back if not known.lives(key)]
        self.note(resurrected=back or None)

    @property
    def captures(self) -> bool:
        """True if content may be recorded on events or spans."""
        return self.capture.on_events or self.capture.on_spans

    # --- beginning ---------------------------------------------------------------------------

    def _identify(self, user_id: Any, session_id: Any) -> None:
        actor, session, self.acting = named_or_current(user_id, session_id)
        self._actor = actor, session
        self._settle()

    def _settle(self) -> None:
        """Say who acts: the owner of the data, unless it is somebody else."""
        actor, session = self._actor
        subject, its_session = self._subject
        self.subject_id = None if actor is None else subject
        self.user_id = subject if actor is None else actor
        self.session_id = its_session if session is None else session
        if self.trail.settings.baggage_identity:
            self.user_id, self.session_id = or_from_baggage(self.user_id, self.session_id)

    def owned_by(self, owners: tuple[str, ...]) -> None:
        """Whose data it is, learnt late."""
        self.persons = tuple(dict.fromkeys((*self.persons, *owners)))
        if self._subject[0] is None and len(self.persons) == 1:
            self._subject = self.persons[0], self._subject[1]
            self._settle()
            if self._own_span and self._span.is_recording():
                named = self.trail.policy.span_identity(self.user_id, self.session_id)
                self._span.set_attributes(named)

    def _start_span(self) -> None:
        try:
            self._telemetry = is_instrumentation_enabled()
            if self.outer is not None or not self._telemetry:
                self._span = trace.get_current_span()
                return  # suppressed is telemetry; the audit event is none
            attributes = {semconv.AXON_OPERATION: self.kind.name}
            if self.gen_ai is not None:
                attributes[semconv.GEN_AI_OPERATION_NAME] = self.gen_ai
            if self.store is not None:
                attributes[semconv.GEN_AI_MEMORY_STORE_ID] = self.store
            attributes |= self.trail.policy.span_identity(self.user_id, self.session_id)
            if self.acting:
                for field, real in self._persons().items():
                    attributes[ATTRIBUTES[field]] = self.trail.policy.hidden(field, real)
            name, here = self.gen_ai or self.kind.span, otel_context.get_current()
            left = running.get()
            if left is not None and left._context is here and not left.holds:
                here = left._before  # it ended elsewhere, or waits, and left its context behind
            self._before = here
            self._span = self._signals.tracer.start_span(name, context=here, attributes=attributes)
            self._own_span = True
            self._context = trace.set_span_in_context(self._span, here)
            self._attached = otel_context.attach(self._context)
        except Exception as exc:  # the instrumented call
            self.trail.fault("record", exc)

    def _masked(self, text: str) -> str:
        """A redacted text of a span, without the ids that pseudonyms stand for."""
        users = (self.user_id, self.subject_id, *self._persons().values())
        return self.trail.policy.span_text(text, users, self.session_id, self.private)

    def named(self, entry_ids: list[str], again: bool = False) -> list[str]:
        """Entries as events name them: where their ids name people, by what stands for these.

        *again*: some may be named so already.
        """
        known = self.private
        if known is None:
            return entry_ids
        new = [key for key in entry_ids if not is_hidden(key)] if again else entry_ids
        found = dict(zip(new, map(self.trail.policy.entry_names.hashed, new)))
        known.update(found)
        return [found.get(key, key) for key in entry_ids]

    def _namer(self) -> Callable[[str], str]:
        """What gives the name of a private entry in the event."""
        who = (*self.persons[:1], self.user_id, *map(self._persons().get, _FOR_WHOM))
        return self.trail.entries.namer(*who, owners=self.activity.owners)

    def _persons(self) -> dict[str, str]:
        """The agent and on whose behalf it acts, by the names of the fields."""
        return {name: str(one) for name, one in self.acting.items() if name != "purpose"}

    def leave(self) -> None:
        """Stop being the current operation and span of this task, and go on."""
        attached, self._attached = self._attached, None
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
        if left is not None and not left.active and left._context is otel_context.get_current():
            otel_context.attach(left._before)  # it ended inside of this one: see above
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

    def enter(self) -> None:
        """Be the current operation again (a transaction, at its end)."""
        self._token = running.set(self)

    def merge(self, entry_ids: list[str], metadata: Mapping[str, Any]) -> None:
        """Add facts that the SDK logs about this operation; facts that are known already stay."""
        self.metadata = {**metadata, **self.metadata}
        if not self.entry_ids and not self.activity.saved:
            self.entry_ids = list(entry_ids)

    # --- ending ------------------------------------------------------------------------------

    def succeed(self, result: Any) -> None:
        """The call returned *result*."""
        try:
            self.kind.after(self, self.arguments, result)
        except Exception as exc:  # the instrumented call: its result may raise anything
            self.trail.fault("record", exc)
        status = EventStatus.SUCCESS
        if self.outer is None or not self.outer.active:
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

    def living_descendants(self) -> list[str]:
        """The entries that live, as far as is known, and were made of what it deleted.

        Also one that it deleted in another store: a copy lives here.
        """
        known = self.trail.entries
        return [key for key in known.descendants(self.activity.deleted) if known.lives(key)]

    def derived_remain(self, entry_ids: list[str]) -> None:
        """These entries live, and were made of what it deleted."""
        if entry_ids:
            self.note(derived_remaining=entry_ids)
            self.partly(DERIVED_REMAIN)

    def partly(self, name: str) -> None:
        """A part of it failed, though nothing is raised; *name* is its ``error.type``."""
        self.problems += 1
        self.error_type = self.error_type or name

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
        elapsed_ns = perf_counter_ns() - self._started
        self.active = False
        self.leave()
        if self.outer is not None:
            if self.outer.active:
                self.outer.activity.take(self.activity, failures=exc is None)
                if self.private is not None:
                    self.outer.private = {**(self.outer.private or {}), **self.private}
                if exc is None and self.error_type and (self.problems or self.failed):
                    self.outer.partly(self.error_type)  # which nobody was told by an exception
                self._forget()
                return
            self._gauge.inc()
        if exc is not None:
            self.error_type = error_type(exc)
        elif self.activity.failed and self.error_type is None:
            self.error_type = error_type(next(iter(self.activity.failed.values())))
        try:
            if self.activity.failed or self.activity.aside:
                self._note_swallowed(exc)
            self._gauge.dec()
            event = self._full_draft(status, exc, elapsed_ns)
        except Exception as fault:  # hostile facts: keep what is certain
            self.trail.fault("record", fault)
            facts: dict[str, Any] = {"dropped": "[details that could not be recorded]"}
            if self.kind.deletes:
                facts["deleted"] = self._gone()
            entries, duration_ms = facts.get("deleted"), elapsed_ns / 1e6
            event = self._draft(status, metadata=facts, entries=entries, duration_ms=duration_ms)
        self.trail.policy.event(event, own=self.own_facts)
        try:
            self._end_span(event, exc, elapsed_ns / 1e9)
        except Exception as fault:  # the instrumented call: OpenTelemetry's span processors
            self.trail.fault("record", fault)
        try:
            self.line, self.draft = self.audit.emit(event, self._context), event
        except AuditUnavailableError as fault:
            self.trail.fault("record", fault)
        if self._event_id is not None:
            self.trail.intent_done(self._event_id)
        self.changes = bool(self.activity.saved or self.activity.deleted)
        self._forget()

    def _forget(self) -> None:
        """Keep no memories alive: the context of a task that was begun inside may live long."""
        self.activity, self.arguments = AdapterActivity(), {}
        self.metadata, self.span_attributes, self._records = {}, {}, None

    def _note_swallowed(self, raised: BaseException | None) -> None:
        """Count the failures that were not raised, and note the stage and type of each."""
        swallowed = self.activity.swallowed(raised)
        for stage, _ in swallowed:
            self.trail.metrics.sdk_faults[stage].inc()
        if not swallowed:
            return
        stage, kind = swallowed[0]
        self.note(stage=stage, error_type=kind if kind != self.error_type else None)
        if len(stages := dict(reversed(swallowed))) > 1:
            self.note(swallowed=stages)

    def _gone(self) -> int:
        """The number of entries that this operation deleted, as far as is known."""
        known = self.metadata.get("deleted")
        if isinstance(known, int):
            return known
        more = self.activity.unnamed
        if self.kind.operation is OperationType.SYNC:  # gone from its source
            return len(self.activity.deleted) + more
        return len(self.activity.deleted.keys() - self.activity.saved.keys()) + more

    def _draft(self, status: EventStatus, **facts: Any) -> Draft:
        """The event, with what is certain of every operation and these *facts*."""
        event = draft(
            self.kind.name,
            status.value,
            user_id=self.user_id,
            session_id=self.session_id,
            event_id=self._event_id,
            trail=self.trail,
            error_type=self.error_type,
            action=self.kind.action,
            system=self.kind.system,
            store=self.store,
            **self.acting,
            **facts,
        )
        if self.private is not None:
            event.private, event.namer = self.private, self._namer()
        return event

    def _full_draft(self, status: EventStatus, exc: BaseException | None, elapsed_ns: int) -> Draft:
        seen, ids = self.activity, self.entry_ids
        known = list(seen.saved) if ids is None else ids
        # Nothing is deleted unseen, whatever the operation.
        if seen.deleted:
            listed = set(map(str, known))
            known = [key for key in seen.deleted if key not in listed] + known
        entries = self.entries
        if entries is None:
            entries = len(known) if ids is None else len(ids)
        if seen.deleted or seen.unnamed or self.kind.deletes:
            self.metadata["deleted"] = gone = self._gone()
            entries = gone if self.kind.deletes else entries
        names = known if self.are_names and known is ids else identifiers(known)
        if seen.remaining:
            self.note(remaining=len(seen.remaining), remaining_ids=list(seen.remaining))
        if seen.back:
            self._note_back(names)
        if self._altered:
            self._note_altered()
        if seen.copies:
            told = {k: n for k, (before, n) in seen.copies.items() if n > 1 or (n and before > 1)}
            is_one = len(set(told.values())) == 1 and told.keys() == set(names)
            self.note(copies=next(iter(told.values())) if is_one else told or None)
        subjects = self._distinct(self._subjects(names))
        if seen.derived and subjects:
            self._note_sources_owners(subjects)
        if self.private is not None:  # a part may have named them so before
            namer = self._namer()
            names = list(dict.fromkeys(map(namer, self.named(names, again=True))))
        message = str(exc) if exc is not None and self.capture.on_events else ""
        event = self._draft(
            status,
            entry_ids=names,
            most_ids=MAX_ENTRY_IDS,
            metadata=self.metadata,
            duration_ms=elapsed_ns // 1000 / 1000,
            entries=entries,
            error_message=message or None,
            subject_id=self.subject_id,
            span=self._span.get_span_context(),
            subjects=subjects,
            fingerprints=self._fingerprints(),
            derived_from=self._derived_from(),
        )
        event.text_owners = self.text_owners
        return event

    def _distinct(self, owners: tuple[str, ...]) -> tuple[str, ...]:
        """Each of *owners* once, under whichever of his names."""
        if len(owners) < 2:
            return owners
        owners = tuple(dict.fromkeys(owners))
        if len(owners) == 1:
            return owners
        name = self.trail.policy.recorded_name
        return tuple({name(owner): owner for owner in owners}.values())

    def _subjects(self, names: list[str]) -> tuple[str, ...]:
        """The owners of the entries *names*, and of what these were made of."""
        seen = self.activity
        if self._given is not None:
            owners = tuple(owner for owner in self._given if owner is not None)
        else:
            owners = (*self.persons, *(seen.owners_of(names) if seen.owners else ()))
        if self.kind.operation is OperationType.STORE and not seen.derived:
            return owners
        known = self.trail.entries
        if self.entry_ids is not None and seen.saved:  # besides those that it names: promoted
            owners = (*owners, *seen.owners_of(list(seen.saved)))
        if self.kind.deletes:  # what was asked for, and is gone, was somebody's
            past = (known.owner(key) for key in names if key not in seen.owners)
            owners = (*owners, *(owner for owner in past if owner is not None))
        return (*owners, *known.owners_behind(names))

    def _fingerprints(self) -> dict[str, str]:
        saved, read = self.activity.prints, self.fingerprints
        prints = {**saved, **read} if saved and read else saved or read
        return {k: fp for k, fp in prints.items() if fp} if "" in prints.values() else prints

    def _derived_from(self) -> list[str]:
        """What the new entries were made of; of several, the metadata says which of what."""
        derived = self.activity.derived
        if not derived:
            return []
        made = {key: some for key, some in derived.items() if some != (key,)}
        if len(made) > 1 or (made and len(made) < len(derived)):
            self.metadata["derived"] = {key: list(some) for key, some in derived.items()}
        return [source for some in derived.values() for source in some]

    def _note_sources_owners(self, subjects: tuple[str, ...]) -> None:
        """Note whose the sources of each new entry are, by their places in the *subjects*; unless
        all are everybody's."""
        name = self.trail.policy.recorded_name
        places = {name(owner): at for at, owner in enumerate(subjects)}
        derived = self.trail.entries.derived
        made = {
            key: [places[o] for o in map(name, derived[key].owners) if o in places]
            for key, sources in self.activity.derived.items()
            if sources != (key,) and key in derived
        }
        if any(len(some) < len(subjects) for some in made.values()):
            self.note(derived_subjects=made)

    def _end_span(self, event: Draft, exc: BaseException | None, seconds: float) -> None:
        failed = exc is not None or event["status"] == "FAILURE"
        error = {semconv.ERROR_TYPE: self.error_type} if failed and self.error_type else {}
        if self.gen_ai is not None and self._telemetry:
            name = semconv.GEN_AI_OPERATION_NAME
            self._signals.duration.record(seconds, {name: self.gen_ai, **error})
        if not self._own_span:
            return
        span = self._span
        if span.is_recording():
            span.set_attributes(self._final_attributes(event) | error)
            if failed:
                message = None
                if exc is not None and self.capture.on_spans:
                    message = self._masked(self.trail.policy.text(str(exc)))
                span.set_status(Status(StatusCode.ERROR, message))
        span.end()

    def _final_attributes(self, event: Draft) -> dict[str, Any]:
        attributes: dict[str, Any] = {semconv.AXON_STATUS: event["status"]}
        if self.gen_ai is not None:
            ids, count = event["entry_ids"], self.attempted
            if count is None:
                count = event.entries
            if len(ids) == count == 1 and self.gen_ai != semconv.SEARCH_MEMORY:
                attributes[semconv.GEN_AI_MEMORY_RECORD_ID] = ids[0]
            attributes[semconv.GEN_AI_MEMORY_RECORD_COUNT] = count
        facts = event["metadata"]
        for key, name in semconv.SPAN_ATTRIBUTES.get(self.kind.name, {}).items():
            if key in facts:
                value = facts[key]
                if isinstance(value, (str, bool, int, float)) or (
                    isinstance(value, list) and all(type(item) is str for item in value)
                ):
                    attributes[name] = value
        for key, text in self.span_attributes.items():
            attributes[key] = self._masked(text)
        if self._records is not None:
            names = self.private or {}
            records = [
                {"id": names.get(key) or self._masked(key), "content": self._masked(text)}
                for key, text in self._records
            ]
            attributes[semconv.GEN_AI_MEMORY_RECORDS] = msgspec.json.encode(records).decode()
        return attributes

    async def wait_durable(self) -> None:
        """Wait until the event is on stable storage, where that is promised."""
        with suppress(AuditUnavailableError):  # counted; what was done, was done
            await self.audit.wait_durable()

    def wait_durable_now(self) -> None:
        """Do as `wait_durable`, in a function that is no coroutine."""
        try:
            if self.trail.storage is not None:
                self.trail.storage.wait_now()
        except OSError as exc:
            self.trail.fault("commit", exc)

    def content(
        self,
        *,
        query: str | None = None,
        texts: Mapping[str, str] | None = None,
        owners: OwnerOf | None = None,
    ) -> None:
        """Content of the operation, recorded where that is switched on (`captures`).

        *texts* are those of entries, by id; and so are *owners*, in the same order.
        """
        clean = self.trail.policy.text
        if self.capture.on_events:
            if query is not None:
                self.metadata["query"] = query
            if texts is not None:
                self.metadata["content"] = list(texts.values())
                self.text_owners = self.owners_of_texts(owners or {})
        if self.capture.on_spans:
            if query is not None:
                self.span_attributes[semconv.GEN_AI_MEMORY_QUERY_TEXT] = clean(query)
            if texts is not None:
                names = self.named(list(texts), again=True)
                self._records = [(key, clean(text)) for key, text in zip(names, texts.values())]

    def owners_of_texts(self, owners: OwnerOf) -> tuple[tuple[str, ...], ...]:
        """Of each of these entries everybody whose data is in its text: its owner, and those of
        the entries that it was made of."""
        behind = self.trail.entries.owners_behind
        everybody = ((owner, *behind((key,))) for key, owner in owners.items())
        return tuple(tuple({one: None for one in some if one}) for some in everybody)


@dataclass
class Signals:
    """The OpenTelemetry instruments that operations use."""

    tracer: trace.Tracer
    duration: Any

    @classmethod
    def of(cls, tracer_provider: Any = None, meter_provider: Any = None) -> Signals:
        """Those of these providers; default: the global ones."""
        meter = metrics.get_meter(semconv.SCOPE_NAME, __version__, meter_provider)
        return cls(
            tracer=trace.get_tracer(semconv.SCOPE_NAME, __version__, tracer_provider),
            duration=meter.create_histogram(
                semconv.GEN_AI_CLIENT_OPERATION_DURATION,
                unit="s",
                description="GenAI operation duration.",
                explicit_bucket_boundaries_advisory=semconv.GEN_AI_DURATION_BUCKETS,
            ),
        )


_signals: Signals | None = None


def use_signals(signals: Signals | None) -> None:
    """Let all operations from now on use *signals*; None: those of the global providers."""
    global _signals
    _signals = signals


def drop_signals(signals: Signals | None) -> None:
    """Use those of the global providers again, unless others than *signals* are in use since."""
    if signals is not None and _signals is signals:
        use_signals(None)


def _current_signals() -> Signals:
    if _signals is None:
        use_signals(Signals.of())
    return cast("Signals", _signals)


def begin(
    kind: Kind,
    audit: AuditLogger,
    args: tuple[Any, ...] = (),
    kwargs: Arguments | None = None,
    identity: tuple[Any, Any] = (None, None),
    **more: Any,
) -> Operation:
    """An operation on the trail of *audit*, inside the one that runs there in this task.

    Raises:
        AuditUnavailableError: If it is refused, since it cannot be recorded.
    """
    outer = here = current()
    while outer is not None and (outer.trail is not audit.trail or not outer.active):
        outer = outer.around
    operation = Operation(
        kind,
        audit,
        _current_signals(),
        args,
        {} if kwargs is None else kwargs,
        identity,
        outer,
        **more,
    )
    operation.around = here
    if outer is None and audit.trail.blocks:
        operation.record_intent()
    return operation


def current() -> Operation | None:
    """The operation that runs in this task."""
    operation: Operation | None = active_operation()
    return operation
