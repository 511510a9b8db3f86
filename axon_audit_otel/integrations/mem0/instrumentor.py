"""`Mem0Instrumentor`: records what is done with mem0's memories."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ...core.log import logger
from ...events.identity import current_identity
from ...operations.audited import AuditedOperation
from ...trail.audit_logger import AuditLogger
from ..instrumentor import LibraryInstrumentor
from ..wrappers import Wrappers
from .methods import METHODS, PERSONS, SYSTEM, Method, note_texts_left, persons_in
from .vector_store import watch

__all__ = ["Mem0Instrumentor"]


class Mem0Instrumentor(LibraryInstrumentor):
    """Records every operation of mem0's `Memory` and `AsyncMemory`, and what happens in their
    vector stores: of memories that were made before, from their first call on.

    `instrument` takes what all instrumentors take. The owner is mem0's ``user_id``, the agent its
    ``agent_id``, the session its ``run_id``, where `audit_context` says no other.
    """

    instruments = ("mem0ai >= 2, < 3",)

    def wrap(self, wrappers: Wrappers, audit: AuditLogger, options: Mapping[str, Any]) -> None:
        """Wrap the methods of both classes."""
        from mem0.memory.main import AsyncMemory, Memory

        for cls in (Memory, AsyncMemory):
            for name in METHODS:
                if not callable(cls.__dict__.get(name)):
                    msg = f"{cls.__name__} has no method {name}"
                    raise AttributeError(msg)
            calls = _Calls(wrappers, audit)
            for name, method in METHODS.items():
                wrappers.wrap(cls, name, functools.partial(calls.make, name, method))
            wrappers.wrap(cls, "__init__", calls.created)


class _Calls:
    """Makes the wrappers."""

    def __init__(self, wrappers: Wrappers, audit: AuditLogger) -> None:
        self._wrappers = wrappers
        self._audit = audit

    def created(self, original: Any) -> Any:
        """The wrapper of `__init__`."""

        @functools.wraps(original)
        def created(memory: Any, /, *args: Any, **kwargs: Any) -> None:
            original(memory, *args, **kwargs)
            if self._wrappers.active:
                self._watch(memory)

        return created

    def _watch(self, memory: Any) -> None:
        """Watch the vector store that a memory has now; it may be given another one."""
        try:
            watch(memory.vector_store, self._audit, lambda: self._wrappers.active)
        except Exception:  # the memory itself must work
            logger.exception("the vector store of a mem0 memory is not watched")

    def make(self, name: str, method: Method, original: Any) -> Any:
        """The wrapper of a method."""
        signature, wrappers = inspect.signature(original), self._wrappers

        if inspect.iscoroutinefunction(original):

            @functools.wraps(original)
            async def called(memory: Any, /, *args: Any, **kwargs: Any) -> Any:
                if not wrappers.active:
                    return await original(memory, *args, **kwargs)
                self._watch(memory)
                call = _Call(self._audit, name, method, memory, signature, args, kwargs)
                async with call.operation() as op:
                    call.began(op)
                    result = await original(memory, *args, **kwargs)
                    call.report(op, result)
                if name == "reset":
                    self._watch(memory)
                return result

        else:

            @functools.wraps(original)
            def called(memory: Any, /, *args: Any, **kwargs: Any) -> Any:
                if not wrappers.active:
                    return original(memory, *args, **kwargs)
                self._watch(memory)
                call = _Call(self._audit, name, method, memory, signature, args, kwargs)
                with call.operation() as op:
                    call.began(op)
                    result = original(memory, *args, **kwargs)
                    call.report(op, result)
                if name == "reset":
                    self._watch(memory)
                return result

        return called


class _Call:
    """One call of a method."""

    def __init__(
        self,
        audit: AuditLogger,
        name: str,
        method: Method,
        memory: Any,
        signature: inspect.Signature,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> None:
        self._audit = audit
        self._name = name
        self._method = method
        self._memory = memory
        self._given: Mapping[str, Any] = {}
        self._owners, self._agents, self._runs = list[str](), list[str](), list[str]()
        with suppress(Exception):  # the call itself raises it
            self._given = signature.bind(memory, *args, **kwargs).arguments
            said = self._given.get("filters") if method.filtered else self._given
            self._owners, self._agents, self._runs = (persons_in(said, one) for one in PERSONS)

    def operation(self) -> AuditedOperation:
        """The operation that the call is."""
        here, said = current_identity(), self._given
        more: dict[str, Any] = {}
        if len(self._agents) == 1 and "agent_id" not in here.acting:
            more["agent_id"] = self._agents[0]
        if len(self._runs) == 1 and here.session_id is None:
            more["session_id"] = self._runs[0]
        named = said.get(self._method.named) if self._method.named else None
        collection = getattr(self._memory, "collection_name", None)
        return self._audit.operation(
            self._method.operation,
            system=SYSTEM,
            action=f"mem0.{self._name}",
            store=collection if isinstance(collection, str) else None,
            owner=self._owners[0] if len(self._owners) == 1 else None,
            entry_ids=[str(named)] if isinstance(named, (str, int)) else None,
            **more,
        )

    def began(self, op: AuditedOperation) -> None:
        """Report whom the call names, whatever becomes of it."""
        if len(self._owners) > 1:
            op.owned_by(self._owners)

    def report(self, op: AuditedOperation, result: Any) -> None:
        """Report what the call gave, and what mem0 keeps of what it deleted."""
        with op.noting() as running:
            query = self._given.get("query")
            op.content(query=query if isinstance(query, str) else None)
            self._method.after(op, result)
            if self._name == "history":
                self._see_owner(op)
            if self._method.operation == "FORGET" and self._name != "reset":
                named = dict(zip(PERSONS, (self._owners, self._agents, self._runs)))
                if self._method.named and running is not None:  # the entry says whose it was
                    named = {PERSONS[0]: [running.owner] if running.owner else []}
                note_texts_left(op, self._memory, op.deleted_ids, named)

    def _see_owner(self, op: AuditedOperation) -> None:
        """Read the entry whose history was asked for, to know whose it is."""
        self._memory.vector_store.get(vector_id=self._given.get("memory_id"))
