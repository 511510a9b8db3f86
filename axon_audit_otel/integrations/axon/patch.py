"""The wrappers around the SDK's classes; `methods` describes each method."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from ...core.log import logger
from ...events.identifiers import identifier
from ...operations.facts import Kind
from ...operations.operation import Operation, current
from ..wrappers import Wrappers
from . import methods, watched
from .audit_attribute import AuditAttribute
from .erasure import FORGET, ROUTE_FORGET
from .forget import forget
from .import_data import import_data
from .recorder import Recorder
from .storage_adapters import AdapterWrappers
from .trace_events import TraceBound
from .transaction import AuditedTransaction
from .watched import Watch

__all__ = ["SYSTEM_MODULE", "Patch"]

_IDENTITY = ("user_id", "session_id")

#: The SDK's module with `MemorySystem`.
SYSTEM_MODULE = "axon.core.memory_system"
_ROUTER = "axon.core.router"
_REGISTRY = "axon.core.adapter_registry"
_SUMMARIZER = "axon.core.summarizer"


class Patch:
    """The wrappers around the SDK's classes; `undo` removes them."""

    def __init__(self, recorder: Recorder, most_traces: int) -> None:
        from axon.adapters.base import StorageAdapter

        self._recorder = recorder
        self.wrappers = Wrappers()
        self._adapters = AdapterWrappers(
            StorageAdapter, recorder.begin, recorder.entries, self.wrappers
        )
        self._watch = Watch(self.wrappers)
        self.traces = TraceBound(most_traces, lambda system: recorder.trail_of(system) is not None)
        self._classes: dict[tuple[str, str], Any] = {}  # classes of the SDK that are wrapped
        self._audit = AuditAttribute(SYSTEM_MODULE)

    def refresh(self) -> None:
        """Wrap the methods that are not: first all, later those restored by a mock or a reload."""
        self.wrappers.refresh()
        for (module, name), wanted in self._methods().items():
            cls = getattr(sys.modules.get(module), name, None)
            if not isinstance(cls, type) or self._classes.get((module, name)) is cls:
                continue  # a mock of the whole class, or wrapped already
            self._classes[module, name] = cls
            for method, make in wanted.items():
                self.wrappers.wrap(cls, method, make)
            if module == SYSTEM_MODULE:
                self.traces.attach(cls)
                self._audit.attach(cls)

    def _methods(self) -> dict[tuple[str, str], dict[str, Callable[[Any], Any]]]:
        """The maker of the wrapper for each method, by module and class."""
        audited, watch = functools.partial, self._watch
        return {
            (SYSTEM_MODULE, "MemorySystem"): {
                **{name: audited(self._audited, kind) for name, kind in methods.METHODS.items()},
                "forget": audited(self._audited, FORGET, supplied=forget),
                "import_data": audited(self._audited, methods.IMPORT_DATA, supplied=import_data),
                "transaction": self._transaction,
                "__init__": self._created,
                "__setstate__": self._restored,
            },
            (_ROUTER, "Router"): {
                "route_forget": audited(self._audited, ROUTE_FORGET),
                "route_recall": self._recalled,
                "_promote_entry": watch.housekeeping("promotion"),
                "_demote_entry": watch.housekeeping("demotion"),
            },
            (_REGISTRY, "AdapterRegistry"): {
                "_initialize_adapter": self._initialized,
                "register": self._registered,
            },
            # `compact` makes this summarizer itself.
            (_SUMMARIZER, "LLMSummarizer"): {"summarize": watch.failures("summary")},
        }

    def undo(self) -> None:
        """Remove all wrappers."""
        self._adapters.unwatch()
        self.wrappers.undo()
        self.traces.detach()
        self._audit.detach()

    # --- wrapping ------------------------------------------------------------------------------

    def _audited(self, kind: Kind, original: Any, supplied: Any = None) -> Any:
        """A coroutine function that records calls of *original*, and takes the acting user.

        *supplied* is the method to add where the class has no *original*. Returns None
        without both.
        """
        function = original if original is not None else supplied
        if function is None:
            return None
        lacking = [name for name in _IDENTITY if name not in inspect.signature(function).parameters]
        adds_owner = kind is methods.STORE and bool(lacking)
        begin, wrappers = self._recorder.begin, self.wrappers
        parts = [name for name in watched.PARTS if name in kind.parameters]

        @functools.wraps(function)
        async def audited(system: Any, /, *args: Any, **kwargs: Any) -> Any:
            if not wrappers.active:
                return await function(system, *args, **kwargs)
            identity = (kwargs.get("user_id"), kwargs.get("session_id"))
            for name in lacking:
                kwargs.pop(name, None)
            operation = begin(kind, system, args, kwargs, identity)
            try:
                if operation is None:
                    if adds_owner:
                        args, kwargs = _owned_by(identity, args, kwargs)
                    return await function(system, *args, **kwargs)
                async with operation:
                    if adds_owner:
                        args, kwargs = _owned_by(identity, args, kwargs)
                    if parts:
                        self._see_parts(operation, system, parts)
                    operation.result = result = await function(system, *args, **kwargs)
                    if kind.verify is not None:
                        await _verify(operation, system, result)
                return result
            except BaseException as exc:
                if operation is not None and operation.active:  # a signal handler raised
                    operation.over(exc)
                raise

        if original is None:  # where pickle finds it
            audited.__module__ = SYSTEM_MODULE
            audited.__qualname__ = f"MemorySystem.{function.__name__}"
        return audited

    def _see_parts(self, operation: Operation, system: Any, names: list[str]) -> None:
        """Note what the parts that the SDK calls raise, since the SDK may swallow it."""
        try:
            for name in names:
                part = operation.arguments.get(name)
                if part is None:
                    part = getattr(system, name, None)  # the system's embedder
                if part is not None:
                    self._watch.part(name, type(part))
        except Exception as exc:  # the instrumented call: some classes cannot be changed
            operation.trail.fault("record", exc)

    # --- the other wrappers ----------------------------------------------------------------------

    def _recalled(self, original: Any) -> Any:
        """Note tiers without a registered adapter: the router skips them silently."""
        if original is None:
            return None

        @functools.wraps(original)
        async def recalled(router: Any, /, *args: Any, **kwargs: Any) -> Any:
            operation = current()
            if operation is not None and self.wrappers.active:
                with suppress(Exception):  # the instrumented call: routers may be replaced
                    tiers = kwargs.get("tiers", args[3] if len(args) > 3 else None)
                    for tier in router.config.tiers if tiers is None else tiers:
                        if not router.registry.is_registered(tier):
                            operation.activity.failed["open", tier] = "KeyError"
            return await original(router, *args, **kwargs)

        return recalled

    def _transaction(self, original: Any) -> Any:
        if original is None:
            return None
        recorder, wrappers = self._recorder, self.wrappers

        @functools.wraps(original)
        def transaction(system: Any, /, *args: Any, **kwargs: Any) -> Any:
            identity = (kwargs.pop("user_id", None), kwargs.pop("session_id", None))
            manager = original(system, *args, **kwargs)
            if not wrappers.active:
                return manager
            begin = functools.partial(
                recorder.begin, methods.TRANSACTION, system, args, kwargs, identity
            )
            return AuditedTransaction(manager, begin)

        return transaction

    # --- which adapter belongs to which system ---------------------------------------------------

    def _created(self, original: Any) -> Any:
        """The wrapper of a system's ``__init__``."""

        @functools.wraps(original)
        def created(system: Any, /, *args: Any, **kwargs: Any) -> None:
            original(system, *args, **kwargs)
            self._register_parts(system)

        return created

    def _restored(self, original: Any) -> Any:
        """The wrapper of its ``__setstate__``: it was copied or unpickled."""

        @functools.wraps(original or _set_state)
        def restored(system: Any, state: Any, /) -> None:
            (original or _set_state)(system, state)
            with suppress(AttributeError):  # a subclass may not copy its parts
                if self._recorder.owner(system.registry) is None:
                    self._register_parts(system)

        return restored

    def _register_parts(self, system: Any) -> None:
        """Register the router, the registry and the adapters of a new system."""
        if not self.wrappers.active:
            return
        self.refresh()
        for part in (system.router, system.registry):
            self._recorder.set_owner(part, system)
        self._adopt_all(system.registry)
        audit = self._recorder.trail_of(system)
        if audit is not None:
            audit.trail.metrics.expect(methods.SYSTEM)

    def _initialized(self, original: Any) -> Any:
        """The wrapper of the registry's method that makes an adapter."""

        @functools.wraps(original)
        async def initialized(registry: Any, /, *args: Any, **kwargs: Any) -> Any:
            try:
                result = await original(registry, *args, **kwargs)
            except Exception as exc:  # raised again: the router skips such a tier silently
                operation = current()
                if operation is not None:
                    operation.activity.failed["open", str(args[0] if args else "")] = exc
                raise
            self._adopt_all(registry)
            return result

        return initialized

    def _registered(self, original: Any) -> Any:
        """The wrapper of its method that takes one."""

        @functools.wraps(original)
        def registered(registry: Any, /, *args: Any, **kwargs: Any) -> Any:
            result = original(registry, *args, **kwargs)
            self._adopt_all(registry)
            return result

        return registered

    def _adopt_all(self, registry: Any) -> None:
        """Wrap the adapters in *registry*, and register their system."""
        if not self.wrappers.active:
            return
        self.refresh()
        system = self._recorder.owner(registry)
        for adapter in getattr(registry, "_adapters", {}).values():
            self._adopt(adapter, system)

    def _adopt(self, adapter: Any, system: Any) -> None:
        """Wrap *adapter*, and register its system."""
        if adapter is None:
            return
        try:
            self._adapters.watch(type(adapter))
            self._watch.client(adapter)
            if system is not None:
                self._recorder.set_owner(adapter, system)
        except Exception:  # the instrumented call: the adapter itself must go on working
            logger.exception("cannot watch the storage adapter %s", type(adapter).__qualname__)


def _set_state(system: Any, state: Any) -> None:
    """Set the attributes, as Python does for a class without ``__setstate__``."""
    attributes, slots = state if isinstance(state, tuple) else (state, None)
    system.__dict__.update(attributes or {})
    for name, value in (slots or {}).items():
        setattr(system, name, value)


def _owned_by(
    identity: tuple[Any, Any], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of `store`, with its ``user_id=`` in the metadata unless these name a user."""
    if identity[0] is identity[1] is None:  # most often
        return args, kwargs
    owner = {n: identifier(value) for n, value in zip(_IDENTITY, identity) if value is not None}
    metadata = args[1] if len(args) > 1 else kwargs.get("metadata")
    if not owner or not (metadata is None or isinstance(metadata, dict)):
        return args, kwargs
    owned = {**owner, **(metadata or {})}
    if len(args) > 1:
        return (args[0], owned, *args[2:]), kwargs
    return args, {**kwargs, "metadata": owned}


async def _verify(operation: Operation, instance: Any, result: Any) -> None:
    try:
        assert operation.kind.verify is not None
        await operation.kind.verify(operation, instance, operation.arguments, result)
    except Exception as exc:  # the instrumented call
        operation.trail.fault("record", exc)
