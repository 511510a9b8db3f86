"""Wraps the methods of all storage adapters, to see what happens to entries.

Inside an audited operation a wrapper only notes what the call did. Outside of one, a call that
changes many entries or deletes any becomes an operation of its own.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any
from weakref import WeakSet

from ...events.stores import Store
from ...operations.durability import wait_event, wait_event_now, wait_intent, wait_intent_now
from ...operations.facts import Facts
from ...operations.operation import Operation, current
from ..wrappers import Wrappers
from .adapter_call import Begin, Call, named
from .adapter_methods import DELETE, METHODS, Method
from .asking import all_queried, count, limited, listed_ids
from .entry import owners_in
from .methods import STORE

__all__ = ["AdapterWrappers"]


class AdapterWrappers:
    """Wraps adapter classes through *wrappers*, also subclasses of *base* made later."""

    def __init__(
        self,
        base: type[Any],
        begin: Begin,
        entries: Callable[[Any, Operation | None], Store | None],
        wrappers: Wrappers,
    ) -> None:
        self._base = base
        self._begin = begin
        self._entries = entries  # what is known of those in an adapter
        self._wrappers = wrappers
        self._known: WeakSet[type] = WeakSet()
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

        self._hooked = "__init_subclass__" not in vars(self._base)
        if self._hooked:
            self._base.__init_subclass__ = classmethod(watch_new)  # type: ignore[assignment]

    def watch(self, adapter_class: type) -> None:
        """Wrap the methods that *adapter_class* and its bases define."""
        for cls in adapter_class.__mro__:
            if cls in self._known or cls is object:
                continue
            self._known.add(cls)
            for method in METHODS:
                if method.name in cls.__dict__:
                    self._wrappers.wrap(cls, method.name, functools.partial(self._wrapper, method))

    def unwatch(self) -> None:
        """Stop wrapping classes that are made from now on."""
        if self._hooked:
            del self._base.__init_subclass__
        self._known.clear()

    def _wrapper(self, method: Method, original: Any) -> Any:
        """The wrapper of an adapter's method; None for other than plain functions."""
        if not inspect.isfunction(original) or hasattr(original, "__isabstractmethod__"):
            return None
        coroutine = inspect.iscoroutinefunction(original)
        return (self._coroutine if coroutine else self._function)(method, original)

    def _learn(self, method: Method, adapter: Any, subject: Any, result: Any) -> Any:
        """Remember the owners of what passed in a call outside of any operation.

        Returns *result*.
        """
        with suppress(Exception):  # the instrumented call: entries may raise anything
            known = self._entries(adapter, None)
            if known is not None:
                known.see(method.owners(subject, result))
        return result

    def _coroutine(self, method: Method, original: Callable[..., Any]) -> Callable[..., Any]:
        wrappers, begin = self._wrappers, self._begin

        @functools.wraps(original)
        async def observed(adapter: Any, /, *args: Any, **kwargs: Any) -> Any:
            op = current()
            if op is None and wrappers.unsure:
                wrappers.refresh(unsure=True)
            if not wrappers.active:
                return await original(adapter, *args, **kwargs)
            if op is None and method.kind is None:
                result = await original(adapter, *args, **kwargs)
                return self._learn(method, adapter, args[0] if args else named(kwargs), result)
            own_op = None
            call = Call(method, adapter, args, kwargs, begin, op, self._entries)
            try:
                own_op = call.waits
                with call:
                    if own_op is not None:
                        await wait_intent(own_op)
                    if (clearing := call.clears) is not None:
                        await _note_all(clearing, adapter)
                        call.learn_all()
                    if method.passes == "given":
                        if not (op and op.kind is STORE):
                            await call.learn_replaced()
                        call.announce()
                    elif method is DELETE:
                        await call.prepare()
                    result = call.returned(await original(adapter, *args, **kwargs))
            except BaseException as exc:
                call.drop(exc)
                if own_op is not None and not isinstance(exc, GeneratorExit):
                    await wait_event(own_op)
                raise
            if own_op is not None:
                await wait_event(own_op)
            return result

        return observed

    def _function(self, method: Method, original: Callable[..., Any]) -> Callable[..., Any]:
        wrappers, begin = self._wrappers, self._begin

        @functools.wraps(original)
        def observed(adapter: Any, /, *args: Any, **kwargs: Any) -> Any:
            op = current()
            if op is None and wrappers.unsure:
                wrappers.refresh(unsure=True)
            if not wrappers.active:
                return original(adapter, *args, **kwargs)
            if op is None and method.kind is None:
                result = original(adapter, *args, **kwargs)
                return self._learn(method, adapter, args[0] if args else named(kwargs), result)
            own_op = None
            call = Call(method, adapter, args, kwargs, begin, op, self._entries)
            try:
                own_op = call.waits
                with call:
                    if own_op is not None:
                        wait_intent_now(own_op)
                    if (clearing := call.clears) is not None:
                        _note_all_now(clearing, adapter)
                        call.learn_all()
                    call.announce()
                    result = original(adapter, *args, **kwargs)
                    if not inspect.isawaitable(result):
                        return call.returned(result)
                    call.pause()
            except BaseException as exc:
                call.drop(exc)
                raise
            finally:
                if own_op is not None and not own_op.active:
                    wait_event_now(own_op)
            return call.later(result)

        return observed


def _note_all_now(op: Facts, adapter: Any) -> None:
    """Note the ids of all entries before a `clear` deletes them, and the number without id."""
    try:
        ids = adapter.list_ids(**limited(adapter.list_ids))
        op.entry_ids = list(ids) if isinstance(ids, (list, tuple)) else []
    except Exception:  # an adapter may raise anything; the `clear` itself must go on
        op.entry_ids = []
        op.note(entry_ids_unknown=True)
    with suppress(Exception):  # an adapter that cannot count
        if not inspect.iscoroutinefunction(adapter.count):
            op.note(unlisted=max(0, adapter.count() - len(op.entry_ids)) or None)


async def _note_all(op: Facts, adapter: Any) -> None:
    try:
        try:  # Redis lists ids cut at a colon, but a query returns them whole
            entries = await all_queried(adapter)
            op.entry_ids = [entry.id for entry in entries]
            op.activity.sees(owners_in(entries))
        except Exception:  # an adapter may raise anything: try its list
            op.entry_ids = await listed_ids(adapter)
    except Exception:  # the `clear` itself must go on
        op.entry_ids = []
        op.note(entry_ids_unknown=True)
    op.note(unlisted=max(0, await count(adapter) - len(op.entry_ids)) or None)
