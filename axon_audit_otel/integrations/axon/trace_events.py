"""Limits the list of trace events that the SDK lets grow with every operation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_NAME = "_trace_events"


class TraceEvents(list):  # type: ignore[type-arg]
    """A list of the newest trace events of a system; it forgets the oldest.

    Appending forgets only when the list is a quarter too long, so its cost does not depend on
    the length. Every other method forgets first: readers never see more than the limit. A copy
    is a plain list.
    """

    def __init__(self, events: Any, bound: TraceBound) -> None:
        super().__init__(events)
        self.bound = bound
        self.most = -1  # length at which `append` forgets; -1: not computed yet

    def append(self, event: Any) -> None:
        list.append(self, event)
        if list.__len__(self) > self.most:
            self.forget()

    def forget(self) -> None:
        """Delete all but the newest events."""
        limit = self.bound.limit
        if limit is None:
            self.most = 1 << 62
            return
        self.most = limit + limit // 4
        surplus = list.__len__(self) - limit
        if surplus > 0:
            list.__delitem__(self, slice(None, surplus))

    def __reduce__(self) -> Any:
        return list, (list(self),)


def _forgetting(name: str) -> Callable[..., Any]:
    """The list method *name*, which forgets old events first."""
    method = getattr(list, name)

    def looked_at(self: TraceEvents, *args: Any, **kwargs: Any) -> Any:
        self.forget()
        return method(self, *args, **kwargs)

    looked_at.__name__ = name
    return looked_at


for _method in (
    *("__len__", "__iter__", "__reversed__", "__getitem__", "__setitem__", "__delitem__"),
    *("__contains__", "__add__", "__mul__", "__rmul__", "__repr__", "copy", "count", "index"),
    *("__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__"),
    *("insert", "pop", "remove", "reverse", "sort"),
):
    setattr(TraceEvents, _method, _forgetting(_method))


class TraceBound:
    """A descriptor that replaces the attribute ``_trace_events`` of classes of systems.

    Args:
        limit: The number of events that a system keeps; None: no limit.
        wanted: Returns True for a system whose list is to be limited.
    """

    def __init__(self, limit: int | None, wanted: Callable[[Any], bool]) -> None:
        self.limit = limit
        self._wanted = wanted
        self._lock = threading.Lock()
        self._classes: list[type] = []

    def attach(self, cls: type) -> None:
        """Replace the attribute in *cls*."""
        setattr(cls, _NAME, self)
        self._classes.append(cls)

    def detach(self) -> None:
        """Restore the attribute everywhere; existing lists grow again without limit."""
        self.limit = None
        for cls in self._classes:
            if vars(cls).get(_NAME) is self:
                delattr(cls, _NAME)

    def __get__(self, system: Any, owner: type | None = None) -> Any:
        if system is None:
            raise AttributeError(_NAME)
        try:
            events = system.__dict__[_NAME]
        except KeyError:
            raise AttributeError(_NAME) from None
        if type(events) is TraceEvents and events.bound is self:
            return events
        return self._bounded(system)

    def __set__(self, system: Any, events: Any) -> None:
        system.__dict__[_NAME] = events

    def __delete__(self, system: Any) -> None:
        del system.__dict__[_NAME]

    def _bounded(self, system: Any) -> Any:
        """The list of a system that has none of ours yet; replaced by a limited one if wanted."""
        with self._lock:
            events = system.__dict__[_NAME]
            if type(events) is TraceEvents and events.bound is self:
                return events
            known_kind = type(events) in (list, TraceEvents)
            if self.limit is not None and known_kind and self._wanted(system):
                events = system.__dict__[_NAME] = TraceEvents(events, self)
            return events
