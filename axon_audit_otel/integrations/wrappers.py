"""Functions of ours in place of methods of classes: each once, looked after, and the way back.

They are plain functions, so that methods are bound, copied, pickled, compared and mocked as
without us.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

__all__ = ["Wrappers"]

_logger = logging.getLogger("axon_audit_otel")

#: Makes the function that stands for a method. Given None where the class has no such method;
#: returns None where that stays so.
Make = Callable[[Any], Any]

#: Every wrapper that is alive: who made it, and what it stands for.
_made: WeakKeyDictionary[Any, tuple[Wrappers, Any]] = WeakKeyDictionary()


class Wrappers:
    """The methods that were wrapped together.

    Whoever mocks a method puts back what was there before: the bare method, if we came while it
    was mocked. So a mock is left alone, and `look` wraps what is bare again.

    Attributes:
        active: Whether they record. References that somebody took outlive `undo`.
        unsure: Methods that were not the class's own when they were to be wrapped.
    """

    def __init__(self) -> None:
        self.active = True
        self.unsure: set[tuple[type, str]] = set()
        self._wanted: dict[tuple[type, str], Make] = {}
        self._placed: dict[tuple[type, str], Any] = {}
        self._told: set[tuple[type, str]] = set()

    def wrap(self, cls: type, name: str, make: Make) -> None:
        """Have *make*'s function in place of the method *name* of *cls* itself."""
        self._wanted[cls, name] = make
        self._place(cls, name)

    def look(self, unsure: bool = False) -> None:
        """Wrap what is bare again; *unsure*: only where that is to be expected."""
        for cls, name in list(self.unsure if unsure else self._wanted):
            self._place(cls, name)

    def undo(self) -> None:
        """Put every method back. What others have put over ours stays, and ours only passes on."""
        self.active = False
        for cls, name in self._wanted:
            found = before = cls.__dict__.get(name)
            while found is not None and _made_by(found) is self:
                found = _made[found][1]
            if found is None and before is not None:
                delattr(cls, name)
            elif found is not before:
                setattr(cls, name, found)
        self._wanted.clear()
        self._placed.clear()
        self.unsure.clear()

    def _place(self, cls: type, name: str) -> None:
        found, where = cls.__dict__.get(name), (cls, name)
        placed = self._placed.get(where)
        if found is placed is not None:
            return
        if _is_mock(found):
            self.unsure.add(where)
            return
        while (maker := _made_by(found)) is not None and maker is not self:
            found = _made[found][1]  # from before an `undo` that a mock survived
        if maker is self:
            self._placed[where] = found
            return
        bare = found is None or _is_bare(cls, found)
        if placed is not None and not bare:
            self._tell(where, found)
            return
        wrapper = self._wanted[where](found)
        if wrapper is None:
            return
        _made[wrapper] = self, found
        self._placed[where] = wrapper
        setattr(cls, name, wrapper)
        named = getattr(found, "__qualname__", "")
        if bare or named == f"{cls.__qualname__}.{name}":  # or decorated in its class
            self.unsure.discard(where)
        else:
            self.unsure.add(where)

    def _tell(self, where: tuple[type, str], found: Any) -> None:
        """Say once that a method was replaced, unless it is known to lead to ours."""
        if where in self._told:
            return
        self._told.add(where)
        inner, cls = found, where[0]
        while inner is not None and _made_by(inner) is not self:
            inner = getattr(inner, "__wrapped__", None)
        if inner is None:
            _logger.warning(
                "%s.%s was replaced after it was instrumented: what does not come through the"
                " method that was there before is not recorded",
                cls.__qualname__,
                where[1],
            )


def _made_by(function: Any) -> Wrappers | None:
    """Who made a wrapper; None if it is none of ours."""
    if not isinstance(function, FunctionType):
        return None
    known = _made.get(function)
    return None if known is None else known[0]


def _is_mock(value: Any) -> bool:
    """Whether *value* is a mock, or a function that calls one (``autospec=True``)."""
    kinds = type(getattr(value, "mock", value)).__mro__
    return any(kind.__name__ == "NonCallableMock" for kind in kinds)


def _is_bare(cls: type, value: Any) -> bool:
    """Whether *value* is a function of the module that *cls* is of: no fake, no wrapper."""
    own = getattr(sys.modules.get(cls.__module__), "__dict__", None)
    return isinstance(value, FunctionType) and value.__globals__ is own
