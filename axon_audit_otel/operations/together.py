"""Several operations of one call: a batch, of which each part is an event of its own."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType

from .audited import AuditedOperation

__all__ = ["Together"]


class Together:
    """Operations that begin and end at once, each an event of its own.

    A context manager, for ``with`` and ``async with``. If the block raises, all have failed; if
    one is refused (``on_failure="block"``), so are all.
    """

    def __init__(self, operations: Sequence[AuditedOperation]) -> None:
        self._operations = operations
        self._begun: list[AuditedOperation] = []

    def __enter__(self) -> Sequence[AuditedOperation]:
        try:
            for one in self._operations:
                one.__enter__()
                one.pause()
                self._begun.append(one)
        except BaseException as exc:
            self.__exit__(type(exc), exc, exc.__traceback__)
            raise
        return self._operations

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._end(exc)
        for one in self._begun:
            one.wait()

    async def __aenter__(self) -> Sequence[AuditedOperation]:
        try:
            for one in self._operations:
                await one.__aenter__()
                one.pause()
                self._begun.append(one)
        except BaseException as exc:
            await self.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        return self._operations

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self._end(exc)
        for one in self._begun:
            if not isinstance(exc, GeneratorExit):
                await one.wait_async()

    def _end(self, exc: BaseException | None) -> None:
        """End all, before anything is waited for: a wait may be interrupted."""
        for one in self._begun:
            one.resume()
            one.end(exc)
