"""What the SDK calls besides storage, and what of it fails without being raised.

The SDK swallows what a filter's comparison, a summary or an embedding raises, and what its own
housekeeping raises. Here it is noted on its way, and goes on.
"""

from __future__ import annotations

import functools
import inspect
import threading
from collections.abc import Callable
from typing import Any

from ...operations.operation import Operation, current
from ..wrappers import Wrappers

#: Called with the operation, what was raised, and whether no subclass can get over it.
Note = Callable[[Operation, Exception, bool], None]

#: Arguments of the SDK's methods whose own methods it calls: argument -> method, stage.
PARTS = {
    "filter": ("matches", "filter"),
    "summarizer": ("summarize", "summary"),
    "embedder": ("embed", "embedding"),
}

#: Clients whose errors an adapter of the SDK swallows, to answer "not there" or nothing at all:
#: the adapter's module -> the client's method -> stage.
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
    """Sees what methods raise, by *wrappers*."""

    def __init__(self, wrappers: Wrappers) -> None:
        self._wrappers = wrappers
        self._known: set[tuple[type, str]] = set()
        self._lock = threading.Lock()

    def part(self, name: str, cls: type) -> None:
        """See what a filter or another of `PARTS` of that class raises."""
        method, stage = PARTS[name]
        self._see(cls, method, stage)

    def client(self, adapter: Any) -> None:
        """See what the client of one of the SDK's own adapters raises."""
        for cls in type(adapter).__mro__:
            for method, stage in CLIENTS.get(cls.__module__, {}).items():
                self._see(type(adapter.client), method, stage)

    def failures(self, stage: str) -> Callable[[Any], Any]:
        """Makes a wrapper: what the method raises is noted as a failure of the operation."""
        return functools.partial(self._wrapper, _noted(stage))

    def housekeeping(self, stage: str) -> Callable[[Any], Any]:
        """Makes a wrapper: what the method raises is none of the operation's failures."""
        return functools.partial(self._wrapper, _set_aside(stage))

    def _see(self, cls: type, name: str, stage: str) -> None:
        """Note what the method *name* of *cls*, or of its bases, raises."""
        if (cls, name) in self._known:
            return
        with self._lock:
            for base in cls.__mro__:
                if (base, name) not in self._known and name in vars(base):
                    self._wrappers.wrap(base, name, self.failures(stage))
                self._known.add((base, name))

    def _wrapper(self, note: Note, original: Any) -> Any:
        if not inspect.isfunction(original):
            return None
        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def awaited(part: Any, /, *args: Any, **kwargs: Any) -> Any:
                try:
                    return await original(part, *args, **kwargs)
                except Exception as exc:
                    self._tell(note, exc, _is_outermost(part, awaited))
                    raise

            return awaited

        @functools.wraps(original)
        def called(part: Any, /, *args: Any, **kwargs: Any) -> Any:
            try:
                return original(part, *args, **kwargs)
            except Exception as exc:
                self._tell(note, exc, _is_outermost(part, called))
                raise

        return called

    def _tell(self, note: Note, exc: Exception, outermost: bool) -> None:
        op = current()
        if op is not None and self._wrappers.active:
            note(op, exc, outermost)


def _is_outermost(part: Any, wrapper: Any) -> bool:
    """Not called by a subclass by ``super()``."""
    return getattr(type(part), wrapper.__name__, None) is wrapper


def _noted(stage: str) -> Note:
    def note(op: Operation, exc: Exception, outermost: bool) -> None:
        # A subclass may get over it. Only the first: a filter can fail for every entry.
        if outermost and not _is_of_an_empty_store(exc):
            op.seen.failed.setdefault((stage, ""), exc)

    return note


def _is_of_an_empty_store(exc: Exception) -> bool:
    """Whether a client says that there is no such collection yet: nothing is there."""
    if getattr(exc, "status_code", None) == 404:
        return True
    return isinstance(exc, ValueError) and str(exc).startswith("Collection ")


def _set_aside(stage: str) -> Note:
    return lambda op, exc, outermost: op.seen.set_aside(stage, exc)
