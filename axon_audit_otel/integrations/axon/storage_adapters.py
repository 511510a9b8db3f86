"""The seam of the storage adapters: what an operation really did, and deletes from anywhere.

Every adapter class has its methods wrapped in place. Inside an audited operation a wrapper
only notes what happened; outside of one, a call that changes many entries or deletes any
becomes an operation of its own.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

from ...events.identifiers import identifier
from ...operations.operation import Kind, Operation, current
from ..wrappers import Wrappers
from . import methods
from .added_methods import all_queried, limited, listed_ids, unlisted

#: Starts an operation for a call on an adapter, or None if no trail wants it.
Begin = Callable[[Kind, Any, tuple[Any, ...], dict[str, Any]], "Operation | None"]

#: The call of an adapter that runs in this task. What that calls in turn (its base class,
#: another adapter) is its own business, but for what it changes.
_running: ContextVar[_Call | None] = ContextVar("axon_audit_adapter_call", default=None)


# --- what a call that returned tells an operation -------------------------------------------


def _saved(op: Operation, adapter: Any, entry: Any, result: Any) -> None:
    op.seen.saved[entry.id] = entry


def _bulk_saved(op: Operation, adapter: Any, entries: Any, result: Any) -> None:
    for entry in entries or ():
        op.seen.saved[entry.id] = entry


def _deleted(op: Operation, adapter: Any, key: Any, result: Any) -> None:
    # False: there was nothing to delete.
    if key is not None and (result is None or result):
        op.seen.deleted[key if isinstance(key, str) else identifier(key)] = None


def _got(op: Operation, adapter: Any, key: Any, result: Any) -> None:
    if result is not None:
        op.seen.found[id(adapter), key] = result


def _queried(op: Operation, adapter: Any, vector: Any, result: Any) -> None:
    op.seen.listed.add(id(adapter))
    if op.kind is methods.SYNC:
        op.seen.queried.update((entry.id, entry) for entry in result)


def _listed(op: Operation, adapter: Any, _: Any, result: Any) -> None:
    # The SDK asks for a list where a query failed: nothing was lost then (if its own filter
    # fails again, that is noted again).
    op.seen.listed.add(id(adapter))
    op.seen.failed.pop(("query", str(id(adapter))), None)


def _nothing(op: Operation, adapter: Any, _: Any, result: Any) -> None:
    pass


class _Method(NamedTuple):
    """What is known of every call of one method of the adapters.

    Args:
        name: Its name.
        stage: Where it fails, if it does: one of `metrics.SDK_STAGES`.
        note: Notes what its return tells.
        kind: The operation that it is outside of any.
        always: Whether it changes memory, also where another call makes it.
    """

    name: str
    stage: str
    note: Callable[[Operation, Any, Any, Any], None]
    kind: Kind | None = None
    always: bool = False


_DELETE = _Method("delete", "delete", _deleted, methods.DELETE, always=True)
_METHODS = (
    _Method("save", "save", _saved, always=True),
    _Method("bulk_save", "save", _bulk_saved, methods.BULK_SAVE, always=True),
    _DELETE,
    _Method("get", "get", _got),
    _Method("query", "query", _queried),
    _Method("list_ids", "list", _listed),
    _Method("list_ids_async", "list", _listed),
    _Method("clear", "delete", _nothing, methods.CLEAR),
    _Method("clear_async", "delete", _nothing, methods.CLEAR),
    _Method("reindex", "reindex", _nothing, methods.REINDEX),
)

#: A failure of these is over when the same entry was handled by another adapter.
_OF_ONE_ENTRY = {"save", "get", "delete"}


class _Call:
    """One call of an adapter's method in operation *op*, as a context manager around it."""

    __slots__ = (
        *("active", "op", "recorded", "subject"),
        *("_adapter", "_arguments", "_begin", "_method", "_nested", "_outer", "_own"),
        *("_paused", "_token"),
    )

    def __init__(
        self,
        method: _Method,
        adapter: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        begin: Begin,
        op: Operation | None,
    ) -> None:
        self._method = method
        self._adapter = adapter
        self._arguments: tuple[Any, ...] = (args, kwargs)
        self._begin: Begin | None = begin
        self.subject = args[0] if args else _named(kwargs)
        self.active = self._paused = False
        self.recorded = False  # by a call inside this one
        self._own: Operation | None = None
        outer = _running.get()
        self._outer = outer if outer is not None and outer.active else None
        self.op = op
        self._nested = self._outer is not None and self._outer.op is op
        if op is None:
            self._begin_own()

    def _begin_own(self) -> None:
        """Be an operation: outside of any, or since the one it belonged to has ended."""
        kind = self._method.kind
        if kind is None or self._begin is None or self.recorded:
            self.op = None
            return
        self.op = self._own = self._begin(kind, self._adapter, *self._arguments)
        self._nested = False
        if self._outer is not None:
            self._outer.recorded = True

    def __enter__(self) -> _Call:
        self.active = True
        self._token = _running.set(self)
        return self

    @property
    def waits(self) -> Operation | None:
        """The operation that it is by itself, if that has to wait for stable storage."""
        return self._own if self._own is not None and self._own.waits else None

    def later(self, result: Awaitable[Any]) -> Awaitable[Any]:
        """The same call, of a plain function that returned something to await."""
        if self._own is not None:
            self._own.leave()
        own = self.waits
        if isinstance(result, asyncio.Future):  # a task: it runs by itself, and is its caller's
            result.add_done_callback(self._done)
            return result

        async def finish() -> Any:
            if self._own is not None:
                self._own.enter()
            with self:
                found = self.returned(await result)
            if own is not None:
                await own.wait_durable()
            return found

        return finish()

    def _done(self, future: asyncio.Future[Any]) -> None:
        try:
            with self:
                self.returned(future.result())
        except (Exception, asyncio.CancelledError):
            return  # its caller's to handle; it is recorded

    def returned(self, result: Any) -> Any:
        """Note a result, and pass it on."""
        if self.op is not None and not self.op.active:
            self._begin_own()
        op = self.op
        if op is None:
            return result
        try:
            if not self._nested or self._method.always:
                self._method.note(op, self._adapter, self.subject, result)
            if self._method is _DELETE and not (self._nested or result is None or result):
                op.seen.undeleted[identifier(self.subject)] = None
            if op.seen.failed and not self._nested:  # it failed before, and was tried again
                op.seen.failed.pop(self._failure, None)
        except Exception as exc:
            op.trail.fault("record", exc)
        if self._own is not None:
            self._own.succeed(result)
        return result

    def __exit__(self, kind: Any, exc: BaseException | None, tb: Any) -> None:
        self.active = False
        with suppress(ValueError):  # ended in another context than begun
            _running.reset(self._token)
        if exc is not None:
            self._raised(exc)
        if not self._paused:
            # The context of a task that was begun inside may live long: keep nothing alive.
            self._adapter = self.subject = self._begin = self._outer = None
            self._arguments = ()
        self._paused = False

    def pause(self) -> None:
        """It goes on after the ``with`` block."""
        self._paused = True

    def _raised(self, exc: BaseException) -> None:
        if self.op is not None and not self.op.active:
            self._begin_own()
        if self.op is None:
            return
        try:
            not_there = self._method.name == "get" and isinstance(exc, KeyError)
            if not self._nested and not not_there:
                self.op.seen.failed[self._failure] = exc
        except Exception as fault:
            self.op.trail.fault("record", fault)
        if self._own is not None:
            self._own.fail(exc)

    @property
    def _failure(self) -> tuple[str, str]:
        """What identifies a failed call: its stage, and the entry or else the adapter."""
        method, subject = self._method, self.subject
        if method.name not in _OF_ONE_ENTRY:
            return method.stage, str(id(self._adapter))
        key = subject if isinstance(subject, str) else _id_of(subject)
        return method.stage, identifier(key)

    @property
    def clears(self) -> bool:
        """Whether it is about to delete everything."""
        return self._own is not None and self._own.kind is methods.CLEAR


def _id_of(subject: Any) -> Any:
    try:
        return getattr(subject, "id", subject)
    except Exception:
        return None


def _named(kwargs: dict[str, Any]) -> Any:
    for name in ("id", "entry_id", "entry", "entries"):
        if name in kwargs:
            return kwargs[name]
    return None


class AdapterSeam:
    """Wraps adapter classes, by *wrappers*."""

    def __init__(self, base: type[Any], begin: Begin, wrappers: Wrappers) -> None:
        self._base = base
        self._begin = begin
        self._wrappers = wrappers
        self._known: set[type] = set()
        self._watch_subclasses(base)
        self._watch_future_subclasses()

    def _watch_subclasses(self, base: type[Any]) -> None:
        self.watch(base)
        for child in base.__subclasses__():
            self._watch_subclasses(child)

    def _watch_future_subclasses(self) -> None:
        base = self._base

        def watch_new(cls: type[Any], /, **kwargs: Any) -> None:
            super(base, cls).__init_subclass__(**kwargs)
            if self._wrappers.active:
                self.watch(cls)

        self._own_hook = "__init_subclass__" not in vars(self._base)
        if self._own_hook:
            self._base.__init_subclass__ = classmethod(watch_new)  # type: ignore[assignment]

    def watch(self, adapter_class: type) -> None:
        """Wrap the methods that *adapter_class* and its bases define."""
        for cls in adapter_class.__mro__:
            if cls in self._known or cls is object:
                continue
            self._known.add(cls)
            for method in _METHODS:
                if method.name in cls.__dict__:
                    self._wrappers.wrap(cls, method.name, functools.partial(self._wrapper, method))

    def unwatch(self) -> None:
        """Wrap no class that is made from now on."""
        if self._own_hook:
            del self._base.__init_subclass__
        self._known.clear()

    def _wrapper(self, method: _Method, original: Any) -> Any:
        """What stands for a method of an adapter; None where it is no plain one."""
        if not inspect.isfunction(original) or hasattr(original, "__isabstractmethod__"):
            return None
        coroutine = inspect.iscoroutinefunction(original)
        return (self._coroutine if coroutine else self._function)(method, original)

    def _coroutine(self, method: _Method, original: Callable[..., Any]) -> Callable[..., Any]:
        wrappers, begin = self._wrappers, self._begin

        @functools.wraps(original)
        async def observed(adapter: Any, /, *args: Any, **kwargs: Any) -> Any:
            op = current()
            if op is None and wrappers.unsure:
                wrappers.look(unsure=True)
            if not wrappers.active or (op is None and method.kind is None):
                return await original(adapter, *args, **kwargs)
            call = _Call(method, adapter, args, kwargs, begin, op)
            own = call.waits
            try:
                with call:
                    if own is not None:
                        await own.wait_intent_durable()
                    if call.clears:
                        await _note_all(call.op, adapter)
                    result = call.returned(await original(adapter, *args, **kwargs))
            except BaseException as exc:
                if own is not None and not isinstance(exc, GeneratorExit):
                    await own.wait_durable()
                raise
            if own is not None:
                await own.wait_durable()
            return result

        return observed

    def _function(self, method: _Method, original: Callable[..., Any]) -> Callable[..., Any]:
        wrappers, begin = self._wrappers, self._begin

        @functools.wraps(original)
        def observed(adapter: Any, /, *args: Any, **kwargs: Any) -> Any:
            op = current()
            if op is None and wrappers.unsure:
                wrappers.look(unsure=True)
            if not wrappers.active or (op is None and method.kind is None):
                return original(adapter, *args, **kwargs)
            call = _Call(method, adapter, args, kwargs, begin, op)
            own = call.waits
            try:
                with call:
                    if own is not None:
                        own.wait_intent_durable_now()
                    if call.clears:
                        _note_all_now(call.op, adapter)
                    result = original(adapter, *args, **kwargs)
                    if not inspect.isawaitable(result):
                        return call.returned(result)
                    call.pause()
            finally:
                if own is not None and not own.active:
                    own.wait_durable_now()
            return call.later(result)

        return observed


def _note_all_now(op: Any, adapter: Any) -> None:
    """All entries, as what a `clear` is about to delete; of those without a name the number."""
    try:
        ids = adapter.list_ids(**limited(adapter.list_ids))
        op.entry_ids = list(ids) if isinstance(ids, (list, tuple)) else []
    except Exception:
        op.entry_ids = []
        op.note(entry_ids_unknown=True)
    with suppress(Exception):  # it cannot count
        if not inspect.iscoroutinefunction(adapter.count):
            op.note(unlisted=max(0, adapter.count() - len(op.entry_ids)) or None)


async def _note_all(op: Any, adapter: Any) -> None:
    try:
        try:  # Redis lists ids cut at a colon, and finds them whole
            op.entry_ids = [entry.id for entry in await all_queried(adapter)]
        except Exception:
            op.entry_ids = await listed_ids(adapter)
    except Exception:
        op.entry_ids = []
        op.note(entry_ids_unknown=True)
    op.note(unlisted=await unlisted(adapter, op.entry_ids) or None)
