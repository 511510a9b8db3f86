"""Notes exceptions that the SDK swallows, outside of the storage adapters' own methods.

The SDK swallows exceptions of a filter's comparison, of a summary, of an embedding, and of its
own housekeeping. The wrappers here note such an exception and raise it again.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any
from weakref import ref

from ...operations.operation import Operation, current
from ..wrappers import Wrappers

#: Called with the operation, the exception, and True if no subclass can still handle it.
Note = Callable[[Operation, Exception, bool], None]

#: Arguments of the SDK's methods on which the SDK calls a method: argument -> method, stage.
PARTS = {
    "filter": ("matches", "filter"),
    "summarizer": ("summarize", "summary"),
    "embedder": ("embed", "embedding"),
}

#: Clients whose errors an adapter of the SDK swallows, and then answers "not found" or nothing:
#: module of the adapter -> method of the client -> stage.
CLIENTS = {
    "axon.adapters.qdrant": {
        "retrieve": "get",
        "scroll": "list",
        "get_collection": "list",
        "delete": "delete",
        "delete_collection": "delete",
    }
}


class Watch:
    """Notes what methods raise, through *wrappers*."""

    def __init__(self, wrappers: Wrappers) -> None:
        self._wrappers = wrappers
        self._known: set[tuple[ref[type], str]] = set()
        self._lock = threading.Lock()

    def part(self, name: str, cls: type) -> None:
        """Note what the argument *name* (one of `PARTS`) raises, if its class is *cls*."""
        method, stage = PARTS[name]
        self._see(cls, method, stage)

    def client(self, adapter: Any) -> None:
        """Note what the client of one of the SDK's own adapters raises."""
        for cls in type(adapter).__mro__:
            for method, stage in CLIENTS.get(cls.__module__, {}).items():
                self._see(type(adapter.client), method, stage)

    def failures(self, stage: str) -> Callable[[Any], Any]:
        """A maker of wrappers that note exceptions as failures of the operation."""
        return functools.partial(self._wrapper, _noted(stage))

    def housekeeping(self, stage: str) -> Callable[[Any], Any]:
        """A maker of wrappers whose exceptions are not failures of the operation."""
        return functools.partial(self._wrapper, _set_aside(stage))

    def _see(self, cls: type, name: str, stage: str) -> None:
        """Note what the method *name* of *cls*, or of its bases, raises."""
        if (ref(cls), name) in self._known:
            return
        with self._lock:
            for base in cls.__mro__:
                if (ref(base), name) in self._known:
                    continue
                if name in vars(base):
                    self._wrappers.wrap(base, name, self.failures(stage))
                self._known.add((ref(base, functools.partial(_forget, self._known, name)), name))

    def _wrapper(self, note: Note, original: Any) -> Any:
        if not inspect.isfunction(original):
            return None
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def awaited(part: Any, /, *args: Any, **kwargs: Any) -> Any:
                try:
                    return await original(part, *args, **kwargs)
                except Exception as exc:  # raised again
                    self._note(note, exc, _is_outermost(part, awaited))
                    raise

            return awaited

        @functools.wraps(original)
        def called(part: Any, /, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(part, *args, **kwargs)
            except Exception as exc:  # raised again
                self._note(note, exc, _is_outermost(part, called))
                raise

        return called

    def _note(self, note: Note, exc: Exception, outermost: bool) -> None:
        op = current()
        if op is not None and self._wrappers.active:
            note(op, exc, outermost)


def _forget(known: set[tuple[ref[type], str]], name: str, cls: ref[type]) -> None:
    """The class is gone: a program may make one for each call."""
    known.discard((cls, name))


def _is_outermost(part: Any, wrapper: Any) -> bool:
    """Return True if *wrapper* was called directly, not by a subclass through ``super()``."""
    return getattr(type(part), wrapper.__name__, None) is wrapper


def _noted(stage: str) -> Note:
    def note(op: Operation, exc: Exception, outermost: bool) -> None:
        # A subclass may handle it. Only the first is kept: a filter can fail for every entry.
        if outermost and not _is_of_an_empty_store(exc):
            op.activity.failed.setdefault((stage, ""), exc)

    return note


def _is_of_an_empty_store(exc: Exception) -> bool:
    """Return True if a client reports that the collection does not exist yet."""
    if getattr(exc, "status_code", None) == 404:
        return True
    return isinstance(exc, ValueError) and str(exc).startswith("Collection ")


def _set_aside(stage: str) -> Note:
    return lambda op, exc, outermost: op.activity.set_aside(stage, exc)
