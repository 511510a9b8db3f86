"""The public operation: how a program, or the integration of a memory library, records one call.

Usage::

    with audit.operation("FORGET", system="notes", action="Notes.delete", owner="alice") as op:
        notes.delete(key)
        op.deleted(key)

`AuditLogger.operation` makes it, for ``with`` and for ``async with``.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable, Mapping
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any
from weakref import ref

from ..core import generators
from ..core.errors import InvalidEventError
from ..events.draft import checked_ids
from ..events.identifiers import MAX_ID, checked_id, checked_text, each, identifier, identifiers
from ..events.model import AuditEvent, OperationType
from ..privacy.private_ids import hidden_facts
from .activity import STILL_PRESENT, error_type
from .durability import wait_event, wait_event_now
from .facts import Kind
from .operation import Operation, begun, current

if TYPE_CHECKING:
    from ..events.draft import Draft
    from ..trail.audit_logger import AuditLogger

__all__ = ["AuditedOperation", "current_operation"]


@functools.lru_cache(maxsize=1024)
def _kind(operation: OperationType, system: str | None, action: str | None) -> Kind:
    return Kind(operation, action, system)


class AuditedOperation:
    """One operation on a memory: one span, one observation, one event.

    It begins with its block and ends with it: SUCCESS, or FAILURE if the block raises (PARTIAL
    if it had changed memory by then). Inside of another operation on the same trail it adds what
    it reports to that one, and is no event of its own. In a generator it is around the
    generator's own code, not around that of who asks for the items.

    The methods say what happened, and never raise: what cannot be recorded is logged once and
    counted. Entries are named by ids: text, numbers or UUIDs; one list of them is as good as
    several arguments. An *owner* is the person whose data an entry is; where none is given, it
    is that of the operation.
    """

    def __init__(
        self,
        audit: AuditLogger,
        operation: OperationType | str,
        *,
        system: str | None = None,
        action: str | None = None,
        store: str | None = None,
        owner: Any = None,
        entry_ids: Iterable[Any] | None = None,
        user_id: Any = None,
        session_id: Any = None,
        agent_id: Any = None,
        on_behalf_of: Any = None,
        purpose: str | None = None,
        private_ids: bool = False,
    ) -> None:
        parsed = OperationType.parse(operation)
        self._kind = _kind(parsed, _name("system", system), _name("action", action))
        self._audit = audit
        self._store = _name("store", store)
        self._owner = None if owner is None else checked_id("owner", owner)
        self._names = dict.fromkeys(checked_ids(entry_ids))
        self._identity = (
            None if user_id is None else checked_id("user_id", user_id),
            None if session_id is None else checked_id("session_id", session_id),
        )
        self._acting: dict[str, Any] = {}
        for name, value in (("agent_id", agent_id), ("on_behalf_of", on_behalf_of)):
            if value is not None:
                self._acting[name] = checked_id(name, value)
        if purpose is not None:
            self._acting["purpose"] = checked_text("purpose", purpose)
        self._private = private_ids
        self._found: dict[str, None] = {}
        self._texts: dict[str, tuple[str, str | None]] = {}  # of entries, and the owner of each
        self._operation: Operation | None = None
        self._noting = _Noting(audit, None)
        self._place: generators.Place | None = None
        self._event: tuple[bytes, Draft] | None = None
        self._given: dict[str, str] = {}  # whose new entries are, if its event names others too
        self._is_block = False

    @classmethod
    def of(cls, operation: Operation) -> AuditedOperation:
        """What reports to an *operation* that runs."""
        made = cls(operation.audit, operation.kind.operation)
        made._operation = operation
        made._noting = _Noting(operation.audit, operation)
        return made

    # --- the block -----------------------------------------------------------------------------

    def __enter__(self) -> AuditedOperation:
        try:
            self._begin(sys._getframe(1))
            if self._operation is not None:
                self._operation.ready_now()
            return self
        except BaseException as exc:
            self._end_if_open(exc)
            raise

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.end(exc)
        except BaseException:
            self._end_if_open(exc)  # a signal handler raised before anything was done
            raise
        self.wait()

    async def __aenter__(self) -> AuditedOperation:
        try:
            self._begin(sys._getframe(1))
            if self._operation is not None:
                await self._operation.__aenter__()
            return self
        except BaseException as exc:
            self._end_if_open(exc)
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        try:
            self.end(exc)
        except BaseException:
            self._end_if_open(exc)  # a signal handler raised before anything was done
            raise
        if not isinstance(exc, GeneratorExit):
            await self.wait_async()

    def _end_if_open(self, exc: BaseException | None) -> None:
        if self._is_block and self._operation is not None and self._operation.active:
            self.end(exc)

    def end(self, exc: BaseException | None) -> None:
        """End as the block does, which raised *exc* or nothing, without waiting for stable
        storage."""
        if self._operation is None:
            self._record_without(exc)
            return
        self._operation.over(exc)
        self._place = None
        self._learn(self._operation)

    def wait(self) -> None:
        """Wait until the event is on stable storage, where that is promised."""
        if self._operation is not None and self._operation.waits:
            wait_event_now(self._operation)

    async def wait_async(self) -> None:
        """Do as `wait`, in a coroutine."""
        if self._operation is not None and self._operation.waits:
            await wait_event(self._operation)

    def _begin(self, frame: FrameType) -> None:
        if self._operation is not None:
            msg = f"the {self._kind.name} has begun already: one operation is one block"
            raise InvalidEventError(msg)
        facts = {"acting": self._acting, "store": self._store, "owner": self._owner}
        self._is_block = True
        self._operation = op = begun(self._kind, self._audit, identity=self._identity, **facts)
        if op is None:  # a fault of ours: the block runs, and `end` records it
            return
        if self._private and op.private is None and op.trail.policy.entry_names.are_hidden:
            op.private = {}
        if op.private is not None:
            self._names = dict.fromkeys(op.named(list(self._names)))
        op.own_facts = False
        op.face = ref(self)
        self._noting = _Noting(self._audit, op)
        if (of := generators.owner(frame)) is not None:
            self._place = generators.entered(of)
            op.place = ref(self._place)

    def conclude(self, op: Operation) -> None:
        """Give the operation what was reported, before it ends."""
        try:
            seen = op.activity
            names = list(self._names)
            if seen.saved:
                if seen.others or seen.derived:  # else the event tells whose they are
                    owners = {key: seen.owners.get(key) for key in seen.saved}
                    self._given = {key: one for key, one in owners.items() if one is not None}
                names = identifiers(list({**self._names, **seen.saved}))
            op.entry_ids, op.are_names = names, True
            around = None if op.outer is None or op.outer.face is None else op.outer.face()
            if around is not None and around._kind.operation is self._kind.operation:
                around._names.update(self._names)
                around._found.update(self._found)
            if self._kind.operation is OperationType.RECALL:
                op.note(result_count=len(self._found))
            op.metadata.pop("deleted", None)  # that is counted, of what was reported
            if seen.deleted:
                left = op.living_descendants()  # what this one deletes is learnt when it is over
                op.derived_remain([key for key in left if key not in seen.deleted])
            if self._kind.operation is OperationType.AUDIT:
                op.metadata.pop("record", None)  # only the trail itself records that
        except Exception as exc:
            op.trail.fault("record", exc)

    def _record_without(self, exc: BaseException | None) -> None:
        """Record the bare fact, where the operation could not begin for a fault of ours."""
        try:
            status = "SUCCESS" if exc is None else "FAILURE"
            facts = {"dropped": "[details that could not be recorded]"}
            self._audit.record(self._kind.name, status=status, metadata=facts)
        except Exception as fault:
            self._audit.trail.fault("record", fault)

    def _learn(self, op: Operation) -> None:
        """What later operations know of these entries."""
        if op.line is not None and op.draft is not None:
            self._event = op.line, op.draft
            op.line = op.draft = None  # contexts that live long have the operation
        try:
            if op.changes and (event := self.event) is not None:
                op.trail.entries.apply(event)
                op.trail.entries.give(self._given)
        except Exception as exc:
            op.trail.fault("record", exc)

    def pause(self) -> None:
        """Stop being the operation of this task, until `resume`: others are not inside it."""
        if self._operation is not None:
            self._operation.leave()

    def resume(self) -> None:
        """Be the operation of this task again."""
        if self._operation is not None:
            self._operation.enter()

    @property
    def event(self) -> AuditEvent | None:
        """The event as recorded, after the block; None before, and of a nested operation."""
        if self._event is None or self._operation is None:
            return None
        return self._operation.trail.reader.event(*self._event)

    # --- what happened -------------------------------------------------------------------------

    def noting(self) -> _Noting:
        """A block in which what fails is a fault of ours: it gives the operation, while that
        runs."""
        return self._noting

    def saved(
        self, *entry_ids: Any, owner: Any = None, derived_from: Iterable[Any] | None = None
    ) -> None:
        """These entries are new, or have a new content.

        Args:
            entry_ids: Their ids.
            owner: Whose data they are.
            derived_from: The entries that they were made of: of a summary, for example.
        """
        with self._noting as op:
            if op is None:
                return
            sources = tuple(op.named(identifiers(each((derived_from or (),)))))
            for key in self._see(op, entry_ids, owner, saves=True):
                op.activity.saved[key] = None
                if sources:
                    op.activity.derived[key] = sources
                    op.trail.entries.learn(key, sources)

    def found(self, *entry_ids: Any, owner: Any = None) -> None:
        """The caller gets these entries."""
        with self._noting as op:
            if op is not None:
                self._found.update(dict.fromkeys(self._see(op, entry_ids, owner)))

    def deleted(self, *entry_ids: Any, owner: Any = None, number: int = 0) -> None:
        """These entries are gone, and *number* further ones whose ids are not known."""
        with self._noting as op:
            if op is None:
                return
            op.activity.deleted.update(dict.fromkeys(self._see(op, entry_ids, owner)))
            op.activity.unnamed += max(0, int(number))

    @property
    def deleted_ids(self) -> tuple[str, ...]:
        """The ids of the entries that were reported as deleted so far, as they were given."""
        op = self._operation
        if op is None:
            return ()
        given = {name: key for key, name in (op.private or {}).items()}
        return tuple(given.get(name, name) for name in op.activity.deleted)

    def remaining(self, *entry_ids: Any, owner: Any = None) -> None:
        """These entries were to be deleted, and are still there: PARTIAL, or FAILURE if none
        is gone."""
        with self._noting as op:
            if op is None:
                return
            op.activity.remaining.update(dict.fromkeys(self._see(op, entry_ids, owner)))
            op.partly(STILL_PRESENT)

    def touched(self, *entry_ids: Any, owner: Any = None) -> None:
        """It was about these entries, whatever became of them: asked for, and not there."""
        with self._noting as op:
            if op is not None:
                self._see(op, entry_ids, owner)

    def owned_by(self, *owners: Any) -> None:
        """Whose data it was about, learnt only now."""
        with self._noting as op:
            if op is not None:
                op.owned_by(tuple(identifiers(each(owners))))

    def partial(self, error: BaseException | str, *entry_ids: Any) -> None:
        """A part of it failed, though nothing is raised: an exception, or an ``error.type``.

        With *entry_ids* it is forgotten where these are saved or deleted by another attempt.
        """
        with self._noting as op:
            if op is None:
                return
            names = op.named(identifiers(each(entry_ids)))
            op.activity.attempts.update(dict.fromkeys(names, error_type(error)))
            if not names:
                op.partly(error_type(error))

    def failed(self, error: BaseException | str) -> None:
        """Nothing of it worked, though nothing is raised: an exception, or an ``error.type``."""
        with self._noting as op:
            if op is not None:
                op.partly(error_type(error))
                op.failed = True

    def note(self, **facts: Any) -> None:
        """Facts for the event's metadata; JSON types. None is left out. No content: that is for
        `content`, which is recorded only where it is switched on."""
        with self._noting as op:
            if op is not None:
                if op.private is not None:  # before they are redacted
                    facts = hidden_facts(facts, lambda key: op.named([key])[0])
                op.note(**facts)

    def content(self, *, query: str | None = None, texts: Mapping[Any, str] | None = None) -> None:
        """What was asked for, and the texts of entries by their ids.

        They are recorded only where content capture is switched on; of the texts keyed hashes
        are, unless ``fingerprints=False``.
        """
        with self._noting as op:
            if op is None:
                return
            names = op.named(identifiers(list(texts))) if texts else ()
            by_id = dict(zip(names, texts.values())) if texts else {}
            make, seen = op.trail.policy.fingerprint, op.activity
            for key, text in by_id.items():
                if key:  # else it is of nothing that has an id
                    into = seen.prints if key in seen.saved else op.fingerprints
                    into[key] = make(text, seen.owners.get(key, op.owner))
            if op.captures:
                owners, other = seen.owners, op.owner
                self._texts.update({key: (by_id[key], owners.get(key, other)) for key in by_id})
                texts = {key: text for key, (text, _) in self._texts.items()}
                whose = {key: one for key, (_, one) in self._texts.items()}
                op.content(query=query, texts=texts or None, owners=whose)

    @property
    def takes_texts(self) -> bool:
        """Whether anything is made of the texts of entries: else nobody has to make these."""
        policy, capture = self._audit.trail.policy, self._audit.settings.capture_content
        return policy.fingerprints or capture.on_events or capture.on_spans

    def _see(
        self, op: Operation, entry_ids: tuple[Any, ...], owner: Any, saves: bool = False
    ) -> list[str]:
        """The names of these entries, from now on among those of the operation."""
        names = op.named(identifiers(each(entry_ids)))
        whose = op.owner if owner is None else identifiers([owner])[0]
        self._names.update(dict.fromkeys(names))
        seen = op.activity
        if whose is not None and saves:
            seen.owns(whose, names)
        elif whose is not None:
            seen.sees(dict.fromkeys(names, whose))
        if whose is None or saves:  # of whom it was before
            seen.sees(op.owners_on_record(names, living=saves))
        return names


class _Noting:
    """See `AuditedOperation.noting`."""

    __slots__ = ("_audit", "_operation")

    def __init__(self, audit: AuditLogger, operation: Operation | None) -> None:
        self._audit = audit
        self._operation = operation

    def __enter__(self) -> Operation | None:
        op = self._operation
        return op if op is not None and op.active else None

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> bool:
        if not isinstance(exc, Exception):
            return False
        self._audit.trail.fault("record", exc)
        return True


def _name(field: str, value: Any) -> str | None:
    """A name of a system, store or method, as it is recorded.

    Raises:
        InvalidEventError: If it is no text.
    """
    if value is None or (type(value) is str and len(value) <= MAX_ID and value.isascii()):
        return value  # most often
    return identifier(checked_text(field, value))


def current_operation() -> AuditedOperation | None:
    """The operation that runs in this task, for whoever sees what happens to entries below it (a
    wrapper of a store, for example); None without one."""
    op = current()
    if op is None:
        return None
    face: AuditedOperation | None = None if op.face is None else op.face()
    return AuditedOperation.of(op) if face is None else face
