"""The seam of the storage adapters: what an operation really did, and deletes from anywhere.

Every adapter class has its methods wrapped in place. Inside an audited operation a wrapper
only notes what happened; outside of one, a call that changes many entries or deletes any
becomes an operation of its own.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import wrapt

from . import sdk
from .operation import Kind, Operation, current

#: Starts an operation for a call on an adapter, or None if no trail wants it.
Begin = Callable[[Kind, Any, tuple[Any, ...], dict[str, Any]], "Operation | None"]


def _argument(args: tuple[Any, ...], kwargs: Mapping[str, Any], *names: str) -> Any:
    if args:
        return args[0]
    return next((kwargs[name] for name in names if name in kwargs), None)


def _note_save(op: Operation, adapter: Any, entry: Any, result: Any) -> None:
    op.seen.saved[entry.id] = entry


def _note_bulk(op: Operation, adapter: Any, entries: Any, result: Any) -> None:
    for entry in entries or ():
        op.seen.saved[entry.id] = entry


def _note_delete(op: Operation, adapter: Any, key: Any, result: Any) -> None:
    if result is None or result:  # False: there was nothing to delete
        op.seen.deleted[key] = None


def _note_get(op: Operation, adapter: Any, key: Any, result: Any) -> None:
    if result is None:
        op.seen.missing[key] = None
    else:
        op.seen.found[id(adapter), key] = result


def _note_query(op: Operation, adapter: Any, vector: Any, result: Any) -> None:
    op.seen.listed.add(id(adapter))
    op.seen.queries += 1
    if op.kind is sdk.SYNC:
        op.seen.queried.update((entry.id, entry) for entry in result)


def _note_list(op: Operation, adapter: Any, _: Any, result: Any) -> None:
    # The SDK asks for a list where a query failed: nothing was lost then.
    op.seen.listed.add(id(adapter))
    op.seen.failed.pop(("query", str(id(adapter))), None)


def _note_nothing(op: Operation, adapter: Any, _: Any, result: Any) -> None:
    pass


_NOTES = {
    "save": (_note_save, None),
    "bulk_save": (_note_bulk, sdk.BULK_SAVE),
    "delete": (_note_delete, sdk.DELETE),
    "get": (_note_get, None),
    "query": (_note_query, None),
    "list_ids": (_note_list, None),
    "list_ids_async": (_note_list, None),
    "clear": (_note_nothing, sdk.CLEAR),
    "clear_async": (_note_nothing, sdk.CLEAR),
    "reindex": (_note_nothing, sdk.REINDEX),
}


class AdapterSeam:
    """Wraps adapter classes, each once, and can take it all back."""

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self._wrapped: list[tuple[type, str, Any]] = []
        self._known: set[type] = set()
        self.active = True

    def watch_subclasses(self, base: type[Any]) -> None:
        """Watch every class that derives from *base*, as far as they exist."""
        self.watch(base)
        for child in base.__subclasses__():
            self.watch_subclasses(child)

    def watch(self, adapter_class: type) -> None:
        """Wrap the methods that *adapter_class* and its bases define."""
        for cls in adapter_class.__mro__:
            if cls in self._known or cls is object:
                continue
            self._known.add(cls)
            for name in _NOTES:
                original = cls.__dict__.get(name)
                if inspect.isfunction(original) and not _is_abstract(original):
                    wrapper = self._wrapper(name, inspect.iscoroutinefunction(original))
                    wrapt.wrap_function_wrapper(cls, name, wrapper)
                    self._wrapped.append((cls, name, original))

    def unwatch(self) -> None:
        """Put every method back; references taken earlier only pass on."""
        self.active = False
        for cls, name, original in self._wrapped:
            if getattr(cls.__dict__.get(name), "__wrapped__", None) is original:
                setattr(cls, name, original)
        self._wrapped.clear()
        self._known.clear()

    def _wrapper(self, name: str, is_async: bool) -> Callable[..., Any]:
        note, own = _NOTES[name]

        def noted(op: Operation, adapter: Any, args: Any, kwargs: Any, result: Any) -> Any:
            try:
                subject = _argument(args, kwargs, "id", "entry_id", "entry", "entries")
                note(op, adapter, subject, result)
                if op.seen.failed:  # it failed before and was tried again
                    op.seen.failed.pop(_failure(name, adapter, subject), None)
            except Exception as exc:
                op.trail.fault("record", exc)
            return result

        def failed(op: Operation, adapter: Any, args: Any, kwargs: Any, exc: BaseException) -> None:
            subject = _argument(args, kwargs, "id", "entry_id", "entry")
            if name == "get" and isinstance(exc, KeyError):
                op.seen.missing[subject] = None
                return
            op.seen.failed[_failure(name, adapter, subject)] = exc

        async def observed(wrapped: Any, adapter: Any, args: Any, kwargs: Any) -> Any:
            op = current()
            if not self.active or (op is None and own is None):
                return await wrapped(*args, **kwargs)
            outermost = None
            if op is None and own is not None:
                op = outermost = self._begin(own, adapter, args, kwargs)
                if op is None:
                    return await wrapped(*args, **kwargs)
                if own is sdk.CLEAR:
                    await _note_all(op, adapter)
            assert op is not None
            try:
                result = noted(op, adapter, args, kwargs, await wrapped(*args, **kwargs))
            except BaseException as exc:
                failed(op, adapter, args, kwargs, exc)
                if outermost is not None:
                    _forget_deletes(op, own)
                    outermost.fail(exc)
                raise
            if outermost is not None:
                outermost.succeed(result)
            return result

        def observed_sync(wrapped: Any, adapter: Any, args: Any, kwargs: Any) -> Any:
            op = current()
            if not self.active or (op is None and own is None):
                return wrapped(*args, **kwargs)
            outermost = None
            if op is None and own is not None:
                op = outermost = self._begin(own, adapter, args, kwargs)
                if op is None:
                    return wrapped(*args, **kwargs)
                if own is sdk.CLEAR:
                    _note_all_now(op, adapter)
            assert op is not None
            try:
                result = noted(op, adapter, args, kwargs, wrapped(*args, **kwargs))
            except BaseException as exc:
                failed(op, adapter, args, kwargs, exc)
                if outermost is not None:
                    _forget_deletes(op, own)
                    outermost.fail(exc)
                raise
            if outermost is not None:
                outermost.succeed(result)
            return result

        return observed if is_async else observed_sync


def _failure(name: str, adapter: Any, subject: Any) -> tuple[str, str]:
    """What identifies a failed call: its method, and the entry or else the adapter."""
    if name == "query":
        return name, str(id(adapter))
    return name, str(getattr(subject, "id", subject))


def _is_abstract(function: Any) -> bool:
    return bool(getattr(function, "__isabstractmethod__", False))


def _forget_deletes(op: Operation, own: Kind | None) -> None:
    """A `clear` that failed deleted nothing that is known."""
    if own is sdk.CLEAR:
        op.entry_ids = list(op.seen.deleted)
        op.seen.deleted.clear()


def _note_all_now(op: Operation, adapter: Any) -> None:
    """All entries, as what a `clear` is about to delete."""
    try:
        ids = adapter.list_ids()
        if isinstance(ids, (list, tuple)):
            op.seen.deleted.update(dict.fromkeys(ids))
    except Exception:
        op.note(entry_ids_unknown=True)


async def _note_all(op: Operation, adapter: Any) -> None:
    try:
        ids = await adapter.list_ids_async()
        op.seen.deleted.update(dict.fromkeys(ids))
    except Exception:
        op.note(entry_ids_unknown=True)
