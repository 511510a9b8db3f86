"""One call of a storage adapter's method: what it says of entries before, during and after it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from time import perf_counter_ns
from typing import Any

from ...events.identifiers import identifier, identifiers
from ...events.model import OperationType
from ...events.stores import Store
from ...operations.durability import wait_event
from ...operations.facts import COPYING, Kind
from ...operations.operation import Operation
from .adapter_methods import CLEAR, DELETE, Method
from .entry import owner_of, owners_in, passing, sources_of
from .erasure import ROUTE_FORGET
from .methods import COMPACT, STORE

__all__ = ["Begin", "Call", "named"]

#: Starts an operation for a call on an adapter; returns None if no trail records it.
Begin = Callable[[Kind, Any, tuple[Any, ...], dict[str, Any]], "Operation | None"]

#: The adapter call that runs in this task. Of the calls that it makes itself (of its base class
#: or another adapter) only changes are noted.
_running: ContextVar[Call | None] = ContextVar("axon_audit_adapter_call", default=None)

#: Operations that may replace entries which they have not read.
_REPLACING = (OperationType.TRANSACTION, OperationType.BULK_STORE, OperationType.RECALL)

#: So many entries are read before they are replaced, to know whose they are.
_MOST_READ = 16

#: Methods whose failure is forgotten when another adapter has handled the same entry.
_OF_ONE_ENTRY = {"save", "get", "delete"}


class Call:
    """Context manager around one call of an adapter's method, in operation *op* or in none."""

    __slots__ = (
        *("active", "op", "recorded", "subject"),
        *("_adapter", "_arguments", "_begin", "_method", "_nested", "_outer", "_own_op"),
        *("_known", "_paused", "_token"),
    )

    def __init__(
        self,
        method: Method,
        adapter: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        begin: Begin,
        op: Operation | None,
        entries: Callable[[Any, Operation | None], Store | None],
    ) -> None:
        self._method = method
        self._adapter = adapter
        self._arguments: tuple[Any, ...] = (args, kwargs)
        self._begin: Begin | None = begin
        self.subject = args[0] if args else named(kwargs)
        self.active = self._paused = False
        self.recorded = False  # True: a call inside this one has become an operation
        self._own_op: Operation | None = None
        outer = _running.get()
        self._outer = outer if outer is not None and outer.active else None
        self.op = op
        self._nested = self._outer is not None and self._outer.op is op
        try:
            if op is None:
                self._begin_own()
            self._known = entries(adapter, self.op)
        except BaseException as exc:
            self.drop(exc)
            raise

    def drop(self, exc: BaseException) -> None:
        """End the operation that this call has become, if it is still open: a signal handler
        raised *exc* where no block ends it."""
        if self._own_op is not None and self._own_op.active:
            self._own_op.over(exc)

    def _begin_own(self) -> None:
        """Become an operation: there is none around the call, or that one has ended."""
        kind = self._method.kind
        if kind is None or self._begin is None or self.recorded:
            self.op = None
            return
        self.op = self._own_op = self._begin(kind, self._adapter, *self._arguments)
        self._nested = False
        if self._outer is not None:
            self._outer.recorded = True

    def __enter__(self) -> Call:
        self.active = True
        self._token = _running.set(self)
        return self

    def announce(self) -> None:
        """Say what is about to be saved: who reads meanwhile may get that, or what was before."""
        op, known = self.op, self._known
        if self._method.passes != "given" or op is None or known is None:
            return
        entries = self._method.passed(self.subject, None)
        if not isinstance(entries, (list, tuple)):
            return
        try:
            for entry in entries:
                if self._nested and (key := identifier(entry.id)) in op.activity.prints:
                    # A method that changes the text calls its base's: either may be read.
                    text = op.trail.policy.fingerprint(entry.text, owner_of(entry))
                    known.entries.also(key, text)
                else:
                    self._announce_one(op, known, entry)
        except Exception as exc:  # the instrumented call: entries may raise anything
            op.trail.fault("record", exc)

    def _announce_one(self, op: Operation, known: Store, entry: Any) -> None:
        operation, seen = op.kind.operation, op.activity
        key, sources, owner = identifier(entry.id), sources_of(entry), owner_of(entry)
        seen.prints[key] = found = op.trail.policy.fingerprint(entry.text, owner)
        if operation is OperationType.STORE:
            seen.sees({key: owner})
        if operation is not OperationType.STORE:
            if known.saw(key) and not isinstance(known.state(key), int):
                seen.sees({key: known.owner(key)})
            source = self._read_with_fault(op, known, key, found)
            knows = known.state(key) is not None
            is_here = known.has(key) or (id(self._adapter), key) in seen.found
            if knows and not is_here and known.entries.lives(key):
                seen.copied(known.entries, key, known.entries.copies(key) + 1)
            if source is not None:
                known.copying(key, owner, source)
                return
            known.entries.vary(key, known.entries.state(key), found)
            if knows and operation is OperationType.IMPORT:
                sources = sources or (key,)  # a copy of itself
        if sources:
            seen.derived[key] = sources
            if sources != (key,):
                _learn_sources(known, key, sources)
        known.saving(key, owner, found, new=operation is OperationType.STORE)

    @staticmethod
    def _read_with_fault(op: Operation, known: Store, key: str, found: str) -> Store | None:
        """Where an entry was read that is now copied, if it should not be there, or not so."""
        if op.kind.operation not in COPYING:
            return None
        stores = [store for store in op.activity.stores_of(key) if store is not known]
        if not stores:
            return None
        if all(isinstance(store.state(key), int) for store in stores):
            return stores[0]
        if not found:  # without fingerprints: it lives there
            stores[0].set_state([key] if stores[0].state(key) is None else (), "")
            return None
        return stores[0] if op.is_altered(key, found, stores) else None

    @property
    def waits(self) -> Operation | None:
        """The operation that this call has become, if it must wait for stable storage."""
        return self._own_op if self._own_op is not None and self._own_op.waits else None

    def later(self, result: Awaitable[Any]) -> Awaitable[Any]:
        """*result* of a plain function, wrapped so that the call ends when it was awaited."""
        if self._own_op is not None:
            self._own_op.leave()
        own_op = self.waits
        if isinstance(result, asyncio.Future):  # a task runs by itself: return it unchanged
            result.add_done_callback(self._done)
            return result

        async def finish() -> Any:
            if self._own_op is not None:
                self._own_op.enter()
            with self:
                found = self.returned(await result)
            if own_op is not None:
                await wait_event(own_op)
            return found

        return finish()

    def _done(self, future: asyncio.Future[Any]) -> None:
        try:
            with self:
                self.returned(future.result())
        except (Exception, asyncio.CancelledError):
            return  # recorded on the way; the caller gets it from the future

    def returned(self, result: Any) -> Any:
        """Note the result of the call, and return it."""
        if self.op is not None and not self.op.active:
            self._begin_own()
        op = self.op
        if op is None:
            return result
        try:
            if not self._nested or self._method.always:
                self._method.note(op, self._adapter, self.subject, result)
                self._see(op, self._method.passed(self.subject, result))
            if self._method is DELETE and not self._nested and self._known is not None:
                self._known.ended(identifier(self.subject))
            if self._method is DELETE and not (self._nested or result is None or result):
                op.activity.undeleted[identifier(self.subject)] = None
            if op.activity.failed and not self._nested:  # a retry has succeeded
                op.activity.failed.pop(self._failure, None)
        except Exception as exc:  # the instrumented call
            op.trail.fault("record", exc)
        if self._own_op is not None:
            self._own_op.succeed(result)
        return result

    def _see(self, op: Operation, entries: Any) -> None:
        """Note whose entries passed, or were deleted, and what that says of them."""
        known, stage = self._known, self._method.stage
        if op.kind is STORE and known is not None and not self._nested:
            return  # as announced
        found, made = passing(entries)
        if known is None:
            if found:
                op.activity.sees(found)
        elif stage == "delete":
            self._see_deleted(op, known)
        elif found:
            seen = op.activity
            seen.sees(found)
            if self._method.passes == "given":
                if not self._nested and op.kind is not STORE:
                    known.saved(found, perf_counter_ns())
                return
            if back := known.see(found, op.began):
                seen.back.update(dict.fromkeys(back))
            seen.stores.setdefault(known, set()).update(found)
            for entry in made:
                if sources := sources_of(entry):
                    _learn_sources(known, identifier(entry.id), sources)

    def _see_deleted(self, op: Operation, known: Store) -> None:
        one, seen = self._method is DELETE, op.activity
        keys = (identifier(self.subject),) if one else tuple(identifiers(op.entry_ids))
        if one and keys[0] not in seen.deleted:
            return
        seen.sees({key: known.owner(key) for key in keys})
        now = perf_counter_ns()
        for key in keys:
            if op.kind is COMPACT and key in seen.queried:
                found = op.trail.policy.fingerprint(seen.queried[key].text, known.owner(key))
                if found:
                    op.is_altered(key, found, seen.stores_of(key))
            before = known.entries.copies(key)
            seen.copied(known.entries, key, known.delete(key, now), before)

    @property
    def unread(self) -> list[str]:
        """The ids of known entries that are about to be replaced, and passed nowhere here."""
        known, op = self._known, self.op
        if self._method.passes != "given" or self._nested or known is None or op is None:
            return []
        if op.kind.operation not in _REPLACING:
            return []
        with suppress(Exception):  # the instrumented call: entries may raise anything
            keys = (identifier(entry.id) for entry in self._method.passed(self.subject, None))
            entries = known.entries
            known_ids = (k for k in keys if entries.knows(k) or entries.state(k) is not None)
            return [key for key in known_ids if not known.has(key)]
        return []

    async def learn_replaced(self) -> None:
        """Read what `unread` names, to know whose it is, and whether it is here."""
        known, op = self._known, self.op
        for key in self.unread[:_MOST_READ]:
            with suppress(Exception):  # an adapter may raise anything: then it is not known
                entry = self._adapter.get(key)
                entry = await entry if inspect.isawaitable(entry) else entry
                if entry is not None and op is not None and known is not None:
                    op.activity.found[id(self._adapter), key] = entry
                    op.activity.sees(owners_in((entry,)))
                    self._learned(op, known, entry)

    async def prepare(self) -> None:
        """Before an entry is deleted: say so, after a look at whose it is."""
        try:
            await self._learn()
            if not self._nested and self._known is not None:
                self._known.deleting(identifier(self.subject))
        except Exception as exc:  # the instrumented call
            if self.op is not None:
                self.op.trail.fault("record", exc)

    async def _learn(self) -> None:
        """Read an entry that is about to be deleted unread, to know whose it is."""
        known, op = self._known, self.op
        if self._nested or known is None or op is None or self.subject is None:
            return  # nested: the adapter may hold a lock of its own
        key = identifier(self.subject)
        if key in op.activity.stores.get(known, ()):
            return
        if known.has(key) and op.kind is not ROUTE_FORGET:
            return
        with suppress(Exception):  # an adapter may raise anything: then it is not known
            entry = self._adapter.get(self.subject)
            self._learned(op, known, await entry if inspect.isawaitable(entry) else entry)

    def learn_all(self) -> None:
        """Read, before a `clear`, the entries that passed nowhere, if that takes no waiting."""
        known, op = self._known, self.op
        if known is None or op is None:
            return
        with suppress(Exception):  # an adapter may raise anything: then they are not known
            for key in op.entry_ids or ():
                if not known.has(identifier(key)):
                    self._learned(op, known, _at_once(self._adapter.get(key)))

    @staticmethod
    def _learned(op: Operation, known: Store, entry: Any) -> None:
        found = {} if entry is None else owners_in((entry,))
        op.activity.back.update(dict.fromkeys(known.see(found, op.began)))
        op.activity.stores.setdefault(known, set()).update(found)

    def __exit__(self, kind: Any, exc: BaseException | None, tb: Any) -> None:
        self.active = False
        with suppress(ValueError):  # ended in another context than begun
            _running.reset(self._token)
        if exc is not None:
            self._raised(exc)
        if not self._paused:
            # The context of a task that was begun inside may live long: keep nothing alive.
            self._adapter = self.subject = self._begin = self._outer = self._known = None
            self._arguments = ()
        self._paused = False

    def pause(self) -> None:
        """Keep the state after the ``with`` block, since `later` goes on."""
        self._paused = True

    def _raised(self, exc: BaseException) -> None:
        if self.op is not None and not self.op.active:
            self._begin_own()
        if self.op is None:
            return
        try:
            if not self._nested and self._known is not None:
                self._end_changes(self._known)
            not_there = self._method.name == "get" and isinstance(exc, KeyError)
            if not self._nested and not not_there:
                self.op.activity.failed[self._failure] = exc
                if self._method.stage == "delete" and self._known is not None:
                    key = identifier(self.subject)
                    self.op.activity.sees({key: self._known.owner(key)})
        except Exception as fault:  # the instrumented call
            self.op.trail.fault("record", fault)
        if self._own_op is not None:
            self._own_op.fail(exc)

    def _end_changes(self, known: Store) -> None:
        """What was announced has failed: nobody knows how far it came."""
        if self._method is DELETE:
            known.ended(identifier(self.subject), failed=True)
        elif self._method.passes == "given":
            for entry in self._method.passed(self.subject, None) or ():
                known.ended(identifier(_id_of(entry)), failed=True)

    @property
    def _failure(self) -> tuple[str, str]:
        """The key of a failed call: its stage, and the id of the entry or else of the adapter."""
        method, subject = self._method, self.subject
        if method.name not in _OF_ONE_ENTRY:
            return method.stage, str(id(self._adapter))
        key = subject if isinstance(subject, str) else _id_of(subject)
        return method.stage, identifier(key)

    @property
    def clears(self) -> Operation | None:
        """The operation that this call has become, if it deletes all entries."""
        return self._own_op if self._own_op is not None and self._own_op.kind is CLEAR else None


def _at_once(result: Any) -> Any:
    """The result of a call; of a coroutine only if it waits for nothing, else None."""
    if not inspect.iscoroutine(result):
        return result
    try:
        result.send(None)
    except StopIteration as done:
        return done.value
    result.close()
    return None


def _learn_sources(known: Store, key: str, sources: tuple[str, ...]) -> None:
    """Remember what an entry was made of, and whose that was."""
    entries = known.entries
    if key not in entries.derived:
        owners = [owner for one in sources if (owner := known.owner(one)) is not None]
        entries.derive(key, sources, [*owners, *entries.owners_behind(sources)])


def _id_of(subject: Any) -> Any:
    try:
        return getattr(subject, "id", subject)
    except Exception:  # a property of foreign code
        return None


def named(kwargs: dict[str, Any]) -> Any:
    for name in ("id", "entry_id", "entry", "entries"):
        if name in kwargs:
            return kwargs[name]
    return None
