"""Replaces methods of classes by wrapper functions, keeps them in place, and undoes it.

Wrappers are plain functions, so that methods are bound, copied, pickled, compared and mocked
as without us.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any
from weakref import ref

from ..core.log import logger

__all__ = ["InstanceAttribute", "Wrappers"]

#: Makes the wrapper of a method. Its argument is the method, or None if the class has none;
#: it returns None to leave the class as it is.
Make = Callable[[Any], Any]

#: Where a wrapper has the `Wrappers` that made it, the method that it replaces, and itself: a
#: decorator around it copies its attributes.
_MADE = "_axon_audit_made"


class _Method:
    """A method of a class that is to have a wrapper. It keeps no class alive: a program may make
    one for each call."""

    __slots__ = ("is_warned", "make", "name", "of", "placed")

    def __init__(self, of: ref[type], name: str, make: Make) -> None:
        self.of = of
        self.name = name
        self.make = make
        self.placed: ref[Any] | None = None  # the wrapper, once there was one
        self.is_warned = False


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
        self.unsure: set[_Method] = set()
        self._wanted: dict[tuple[ref[type], str], _Method] = {}

    def wrap(self, cls: type, name: str, make: Make) -> None:
        """Replace the method *name* that *cls* itself defines by the function that *make* makes."""
        of = ref(cls, partial(_forget, ref(self), name))
        method = self._wanted.setdefault((of, name), _Method(of, name, make))
        method.make = make
        self._place(cls, method)

    def refresh(self, unsure: bool = False) -> None:
        """Wrap methods that have lost their wrapper; with *unsure*, check only those."""
        for method in list(self.unsure if unsure else self._wanted.values()):
            if (cls := method.of()) is not None:
                self._place(cls, method)

    def forget(self, of: ref[type], name: str) -> None:
        """Forget a method of a class that is gone."""
        if (method := self._wanted.pop((of, name), None)) is not None:
            self.unsure.discard(method)

    def undo(self) -> None:
        """Restore every method. If other code has wrapped ours, both stay, and ours passes on."""
        self.active = False
        for method in list(self._wanted.values()):
            if (cls := method.of()) is None:
                continue
            name = method.name
            found = before = cls.__dict__.get(name)
            while found is not None and _made_by(found) is self:
                found = _replaced_by(found)
            if found is None and before is not None:
                delattr(cls, name)
            elif found is not before:
                setattr(cls, name, found)
        self._wanted.clear()
        self.unsure.clear()

    def _place(self, cls: type, method: _Method) -> None:
        found, placed = cls.__dict__.get(method.name), method.placed
        if found is not None and placed is not None and found is placed():
            return
        if _is_mock(found):
            self.unsure.add(method)
            return
        while (maker := _made_by(found)) is not None and maker is not self:
            found = _replaced_by(found)  # from before an `undo` that a mock survived
        if maker is self:
            method.placed = ref(found)
            return
        bare = found is None or _is_bare(cls, found)
        if placed is not None and not bare:
            self._warn_if_lost(cls, method, found)
            return
        wrapper = method.make(found)
        if wrapper is None:
            return
        setattr(wrapper, _MADE, (self, found, ref(wrapper)))
        method.placed = ref(wrapper)
        setattr(cls, method.name, wrapper)
        named = getattr(found, "__qualname__", "")
        if bare or named == f"{cls.__qualname__}.{method.name}":  # or decorated in its class
            self.unsure.discard(method)
        else:
            self.unsure.add(method)

    def _warn_if_lost(self, cls: type, method: _Method, found: Any) -> None:
        """Warn once if a method was replaced by one that does not call our wrapper."""
        if method.is_warned:
            return
        method.is_warned, inner = True, found
        while inner is not None and _made_by(inner) is not self:
            inner = getattr(inner, "__wrapped__", None)
        if inner is None:
            logger.warning(
                "%s.%s was replaced after it was instrumented: calls that do not reach the"
                " method that was there before are not recorded",
                cls.__qualname__,
                method.name,
            )


def _made_by(function: Any) -> Wrappers | None:
    """The `Wrappers` that made *function*; None if it is not a wrapper of ours."""
    made = function.__dict__.get(_MADE) if isinstance(function, FunctionType) else None
    return made[0] if made is not None and made[2]() is function else None


def _replaced_by(wrapper: Any) -> Any:
    """The method that a *wrapper* of ours replaces."""
    return wrapper.__dict__[_MADE][1]


def _forget(wrappers: ref[Wrappers], name: str, of: ref[type]) -> None:
    """The class is gone."""
    if (known := wrappers()) is not None:
        known.forget(of, name)


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
