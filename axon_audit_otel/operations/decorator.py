"""The decorator that makes each call of a function one operation."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from ..core.errors import AuditConfigError, InvalidEventError, shown
from ..events.identifiers import checked_id, each, identifiers
from ..events.model import OperationType
from .audited import AuditedOperation

if TYPE_CHECKING:
    from ..trail.audit_logger import AuditLogger

__all__ = ["audited"]

_F = TypeVar("_F", bound=Callable[..., Any])


def audited(
    operation: OperationType | str,
    *,
    audit: AuditLogger | None = None,
    owner: str | Callable[..., Any] | None = None,
    ids: str | Callable[[Any], Any] | None = None,
    system: str | None = None,
    action: str | None = None,
    store: str | None = None,
    private_ids: bool = False,
) -> Callable[[_F], _F]:
    """Make each call of a function, or coroutine function, one operation.

    Args:
        operation: What it does: an `OperationType` or its name in any case.
        audit: Where it is recorded. Default: the logger of the name "default", else the only one
            of this process.
        owner: Whose data it is: the name of the parameter that says it, or a function that is
            called with the arguments of the call.
        ids: The entries: the name of the parameter that has their ids, or a function that is
            called with the result of the call. By what the operation is, these are saved (STORE,
            IMPORT), deleted (FORGET, unless the call returns False or 0), or found (unless it
            returns None, where a parameter has the ids). A call that raises names those of a
            parameter.
        system: The memory's library, or the program's own name for it.
        action: The function, as that names it. Default: its qualified name.
        store: Which of several stores.
        private_ids: See `AuditLogger.operation`.

    Raises:
        InvalidEventError: If *operation* is unknown, or *owner* or *ids* name no parameter.
        TypeError: If the function is a generator, or no function.
    """
    parsed = OperationType.parse(operation)

    def decorate(function: _F) -> _F:
        call = _Call(function, parsed, audit, owner, ids)
        call.options = {"system": system, "store": store, "private_ids": private_ids}
        call.options["action"] = _named(function) if action is None else action
        if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(
            getattr(function, "__call__", None)  # noqa: B004 - of an object that is called
        ):

            @functools.wraps(function)
            async def recorded(*args: Any, **kwargs: Any) -> Any:
                async with call.operation(args, kwargs) as op:
                    result = await function(*args, **kwargs)
                    call.report(op, args, kwargs, result)
                return result

        else:

            @functools.wraps(function)
            def recorded(*args: Any, **kwargs: Any) -> Any:
                with call.operation(args, kwargs) as op:
                    result = function(*args, **kwargs)
                    call.report(op, args, kwargs, result)
                return result

        return recorded  # type: ignore[return-value]

    return decorate


def _named(function: Any) -> str:
    """A function's qualified name, or that of the class of an object that is called."""
    function = getattr(function, "func", function)  # of a `functools.partial`
    return str(getattr(function, "__qualname__", type(function).__qualname__))


class _Call:
    """How the calls of one function are recorded."""

    options: dict[str, Any]

    def __init__(
        self,
        function: Callable[..., Any],
        operation: OperationType,
        audit: AuditLogger | None,
        owner: str | Callable[..., Any] | None,
        ids: str | Callable[[Any], Any] | None,
    ) -> None:
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            msg = f"{shown(_named(function))} is a generator: put its work in a `with` block"
            raise TypeError(msg)
        if not callable(function):
            msg = f"@audited({shown(function)}): no function; put it below @classmethod and alike"
            raise TypeError(msg)
        self._signature = inspect.Signature()
        with suppress(ValueError):  # of a function in C that does not tell it
            self._signature = inspect.signature(function)
        for name, given in (("owner", owner), ("ids", ids)):
            if isinstance(given, str) and given not in self._signature.parameters:
                msg = f"{name}={shown(given)}: {_named(function)} has no such parameter"
                raise InvalidEventError(msg)
        self._operation = operation
        self._audit = audit
        self._owner = owner
        self._ids = ids

    def operation(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AuditedOperation:
        """The operation of a call."""
        audit = _the_logger() if self._audit is None else self._audit
        owner, names = None, None
        try:
            owner = self._value(self._owner, args, kwargs)
            owner = None if owner in (None, ()) else checked_id("owner", owner)
            if isinstance(self._ids, str):
                names = identifiers(each((self._value(self._ids, args, kwargs),)))
        except Exception as exc:  # the call itself must go on
            audit.trail.fault("record", exc)
        options = {**self.options, "owner": owner, "entry_ids": names}
        return AuditedOperation(audit, self._operation, **options)

    def _value(self, source: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not isinstance(source, str):
            return None if source is None else source(*args, **kwargs)
        try:
            bound = self._signature.bind(*args, **kwargs)
        except TypeError:  # which the call itself raises
            return ()
        bound.apply_defaults()
        return bound.arguments[source]

    def report(
        self, op: AuditedOperation, args: tuple[Any, ...], kwargs: dict[str, Any], result: Any
    ) -> None:
        """Report the entries of a call."""
        if self._ids is None:
            return
        with op.noting():
            ids = self._ids(result) if callable(self._ids) else self._value(self._ids, args, kwargs)
            ids = [] if ids is None else ids
            if self._operation in (OperationType.STORE, OperationType.IMPORT):
                op.saved(ids)
            elif self._operation is not OperationType.FORGET:
                if result is not None or callable(self._ids):
                    op.found(ids)
            elif result is None or result:
                op.deleted(ids)
            else:
                op.touched(ids)


def _the_logger() -> AuditLogger:
    """The logger that a decorator means which names none.

    Raises:
        AuditConfigError: If there is none, or one cannot be told from others.
    """
    from ..trail.audit_logger import loggers

    found = loggers()
    if "default" in found:
        return found["default"]
    if len(found) == 1:
        return next(iter(found.values()))
    msg = f"@audited: there are {len(found)} audit loggers: say which one, audit=..."
    raise AuditConfigError(msg)
