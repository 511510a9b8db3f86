"""The SDK's transaction, recorded from the begin to the end of its block."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from typing import Any

import wrapt

from ...operations.operation import Operation

__all__ = ["AuditedTransaction"]


class AuditedTransaction(wrapt.CallableObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """The SDK's transaction; operations inside its block are recorded as operations of their own.

    Args:
        manager: The SDK's context manager.
        begin: Begins the operation; None if no trail records it.
    """

    def __init__(self, manager: Any, begin: Callable[[], Operation | None]) -> None:
        super().__init__(manager)
        self._self_begin = begin
        self._self_operation: Operation | None = None

    def __copy__(self) -> Any:
        return type(self)(copy.copy(self.__wrapped__), self._self_begin)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return type(self)(copy.deepcopy(self.__wrapped__, memo), self._self_begin)

    def __reduce_ex__(self, protocol: Any) -> Any:
        return self.__wrapped__.__reduce_ex__(protocol)  # as far as Python can

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorate *function*: each call of it becomes a transaction."""

        @functools.wraps(function)
        async def inner(*args: Any, **kwargs: Any) -> Any:
            async with type(self)(self.__wrapped__._recreate_cm(), self._self_begin):
                return await function(*args, **kwargs)

        return inner

    async def __aenter__(self) -> Any:
        operation = self._self_operation = self._self_begin()
        if operation is None:
            return await self.__wrapped__.__aenter__()
        await operation.__aenter__()
        try:
            entered = await self.__wrapped__.__aenter__()
        except BaseException as exc:
            await operation.__aexit__(type(exc), exc, None)
            raise
        operation.leave()
        operation.note(transaction_id=entered if isinstance(entered, str) else None)
        return entered

    async def __aexit__(self, kind: Any, exc: BaseException | None, tb: Any) -> Any:
        operation = self._self_operation
        if operation is None:
            return await self.__wrapped__.__aexit__(kind, exc, tb)
        operation.enter()
        failure = exc  # Python itself passes this one on to the caller
        try:
            return await self.__wrapped__.__aexit__(kind, exc, tb)
        except BaseException as raised:
            failure = raised
            raise
        finally:
            operation.note(outcome="committed" if failure is None else "rolled_back")
            await operation.__aexit__(None, failure, None)
