"""Replaces methods of classes by wrapper functions, keeps them in place, and undoes it.

Wrappers are plain functions, so that methods are bound, copied, pickled, compared and mocked
as without us.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from ..core.log import logger

__all__ = ["InstanceAttribute", "Wrappers"]

#: Makes the wrapper of a method. Its argument is the method, or None if the class has none;
#: it returns None to leave the class as it is.
Make = Callable[[Any], Any]

#: Every living wrapper: the `Wrappers` that made it, and the method that it replaces.
_made: WeakKeyDictionary[Any, tuple[Wrappers, Any]] = WeakKeyDictionary()


class Wrappers:
    """A group of wrapped methods.

    Code that mocks a method later restores the original. If `wrap` came while the method was
    mocked, the original has no wrapper. So a mock is not wrapped, and `refresh` wraps a restored
    original.

    Attributes:
        active: True until `undo`. Wrappers that other code still holds only pass calls on then.
        unsure: Methods to check again: mocked or replaced when they were to be wrapped.
    """

    def __init__(self) -> None:
        self.active = True
        self.unsure: set[tuple[type, str]] = set()
        self._wanted: dict[tuple[type, str], Make] = {}
        self._placed: dict[tuple[type, str], Any] = {}
        self._warned: set[tuple[type, str]] = set()

    def wrap(self, cls: type, name: str, make: Make) -> None:
        """Replace the method *name* that *cls* itself defines by the function that *make* makes."""
        self._wanted[cls, name] = make
        self._place(cls, name)

    def refresh(self, unsure: bool = False) -> None:
        """Wrap methods that have lost their wrapper; with *unsure*, check only those."""
        for cls, name in list(self.unsure if unsure else self._wanted):
            self._place(cls, name)

    def undo(self) -> None:
        """Restore every method. If other code has wrapped ours, both stay, and ours passes on."""
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
            self._warn_if_lost(where, found)
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

    def _warn_if_lost(self, where: tuple[type, str], found: Any) -> None:
        """Warn once if a method was replaced by one that does not call our wrapper."""
        if where in self._warned:
            return
        self._warned.add(where)
        inner, cls = found, where[0]
        while inner is not None and _made_by(inner) is not self:
            inner = getattr(inner, "__wrapped__", None)
        if inner is None:
            logger.warning(
                "%s.%s was replaced after it was instrumented: calls that do not reach the"
                " method that was there before are not recorded",
                cls.__qualname__,
                where[1],
            )


def _made_by(function: Any) -> Wrappers | None:
    """The `Wrappers` that made *function*; None if it is not a wrapper of ours."""
    made = _made.get(function) if isinstance(function, FunctionType) else None
    return None if made is None else made[0]


def _is_mock(value: Any) -> bool:
    """Return True if *value* is a mock, or a function that calls one (``autospec=True``)."""
    kinds = type(getattr(value, "mock", value)).__mro__
    return any(kind.__name__ == "NonCallableMock" for kind in kinds)


def _is_bare(cls: type, value: Any) -> bool:
    """Return True if *value* is a function from the module of *cls*: no fake, no wrapper."""
    names = getattr(sys.modules.get(cls.__module__), "__dict__", None)
    return isinstance(value, FunctionType) and value.__globals__ is names


class InstanceAttribute:
    """A descriptor in place of an attribute that objects have and their classes have not.

    The value stays in the object's ``__dict__``; `read` says what a reader gets.

    Args:
        name: Name of the attribute.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._classes: list[type] = []

    def attach(self, cls: type) -> None:
        """Replace the attribute in *cls*."""
        setattr(cls, self._name, self)
        self._classes.append(cls)

    def detach(self) -> None:
        """Restore the attribute everywhere."""
        for cls in self._classes:
            if vars(cls).get(self._name) is self:
                delattr(cls, self._name)

    def read(self, holder: Any, value: Any) -> Any:
        """The value that the code calling ``holder.name`` gets; *value* is the stored one."""
        raise NotImplementedError

    def __get__(self, holder: Any, owner: type | None = None) -> Any:
        try:
            value = holder.__dict__[self._name]
        except (AttributeError, KeyError):  # None is read through the class
            raise AttributeError(self._name) from None
        return self.read(holder, value)

    def __set__(self, holder: Any, value: Any) -> None:
        holder.__dict__[self._name] = value

    def __delete__(self, holder: Any) -> None:
        del holder.__dict__[self._name]
