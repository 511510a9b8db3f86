"""Limits the list of trace events that the SDK lets grow with every operation."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ..wrappers import InstanceAttribute


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


class TraceBound(InstanceAttribute):
    """A descriptor that replaces the attribute ``_trace_events`` of classes of systems.

    Args:
        limit: The number of events that a system keeps; None: no limit.
        wanted: Returns True for a system whose list is to be limited.
    """

    def __init__(self, limit: int | None, wanted: Callable[[Any], bool]) -> None:
        super().__init__("_trace_events")
        self.limit = limit
        self._wanted = wanted
        self._lock = threading.Lock()

    def detach(self) -> None:
        """Restore the attribute everywhere; existing lists grow again without limit."""
        self.limit = None
        super().detach()

    def read(self, holder: Any, value: Any) -> Any:
        if self._is_ours(value):
            return value
        with self._lock:
            events = holder.__dict__[self._name]
            known_kind = type(events) in (list, TraceEvents) and not self._is_ours(events)
            if self.limit is not None and known_kind and self._wanted(holder):
                events = holder.__dict__[self._name] = TraceEvents(events, self)
            return events

    def _is_ours(self, events: Any) -> bool:
        return type(events) is TraceEvents and events.bound is self
