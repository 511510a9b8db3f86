"""Bounds a list of the SDK's that grows with every operation: its trace events."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

_NAME = "_trace_events"


class TraceEvents(list):  # type: ignore[type-arg]
    """The newest trace events of a system: a list that forgets the oldest.

    It forgets in steps of a quarter, so that an append costs the same however long it is, and
    before it is looked at: what is seen is never longer than the bound. A copy is a plain list.
    """

    def __init__(self, events: Any, bound: TraceBound) -> None:
        super().__init__(events)
        self.bound = bound
        self.most = -1  # before it forgets; -1: nobody knows yet

    def append(self, event: Any) -> None:
        list.append(self, event)
        if list.__len__(self) > self.most:
            self.forget()

    def forget(self) -> None:
        """Leave the newest only."""
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
    """The method *name* of a list, of no more than the newest."""
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
    """Stands for the attribute ``_trace_events`` of a class of systems while it is set there.

    Args:
        limit: The number of events that stay; None: as many as there are.
        wanted: Whether a system's are to be bounded.
    """

    def __init__(self, limit: int | None, wanted: Callable[[Any], bool]) -> None:
        self.limit = limit
        self._wanted = wanted
        self._lock = threading.Lock()
        self._classes: list[type] = []

    def attach(self, cls: type) -> None:
        """Be that attribute of *cls*."""
        setattr(cls, _NAME, self)
        self._classes.append(cls)

    def detach(self) -> None:
        """Be it no longer; the lists that there are grow as others do."""
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
        """The list of a system that was made before, or that somebody has replaced."""
        with self._lock:
            events = system.__dict__[_NAME]
            if type(events) is TraceEvents and events.bound is self:
                return events
            if (
                self.limit is not None
                and type(events) in (list, TraceEvents)
                and self._wanted(system)
            ):
                events = system.__dict__[_NAME] = TraceEvents(events, self)
            return events
