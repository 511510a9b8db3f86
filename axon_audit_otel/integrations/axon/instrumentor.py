"""`AxonInstrumentor`: wraps the SDK's methods; `methods` describes each of them.

Usage::

    from axon_audit_otel import AxonInstrumentor

    AxonInstrumentor().instrument()

or no code at all: ``opentelemetry-instrument python app.py``.
"""

from __future__ import annotations

import copy
import functools
import inspect
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from importlib import import_module
from typing import Any
from weakref import WeakSet, ref

import wrapt
from opentelemetry.instrumentation.instrumentor import BaseInstrumentor

from ...core.errors import AuditConfigError, AuditUnavailableError, AxonAuditError
from ...core.log import logger
from ...events.identifiers import identifier
from ...events.stores import Store
from ...operations.operation import (
    Kind,
    Operation,
    Signals,
    begin,
    current,
    drop_signals,
    use_signals,
)
from ...trail.audit_logger import AuditLogger
from ...trail.settings import Settings
from ..startup import announce, blocks, logger_of
from ..wrappers import Wrappers
from . import added_methods, methods, watched
from .audit_attribute import AuditAttribute
from .storage_adapters import AdapterWrappers
from .trace_events import TraceBound
from .watched import Watch

__all__ = ["AxonInstrumentor"]


#: Only pre-releases of the SDK exist: a plain ">= 1.0" would match none of them.
INSTRUMENTS = ("axon-sdk >= 1.0.0b1, < 2",)

_MOST_TRAILS = 7  # besides the newest, of one adapter

_IDENTITY = ("user_id", "session_id")

_SYSTEM = "axon.core.memory_system"
_ROUTER = "axon.core.router"
_REGISTRY = "axon.core.adapter_registry"
_SUMMARIZER = "axon.core.summarizer"


class AxonInstrumentor(BaseInstrumentor):  # type: ignore[misc]
    """Records every memory operation of the Axon SDK.

    `instrument` takes, all optional and by name: ``audit_logger`` (an `AuditLogger` for the
    systems that have none of their own; default: one made from the environment),
    ``max_trace_events`` (how many of the SDK's own trace events a system keeps, the newest;
    0: none; default: ``AXON_AUDIT_MAX_TRACE_EVENTS``, else 1,000),
    ``tracer_provider``, ``meter_provider``, ``logger_provider`` (default: the global ones).

    A `MemorySystem` that was given an `AuditLogger` is recorded there, with `instrument` or
    without. `uninstrument` restores the SDK; methods that other code still holds only pass
    calls on.
    """

    _signals: Signals | None = None

    def instrumentation_dependencies(self) -> Collection[str]:
        """The packages without which `instrument` does nothing."""
        return INSTRUMENTS

    @property
    def audit_logger(self) -> AuditLogger | None:
        """The logger for systems that have no `AuditLogger` of their own; None before
        `instrument`."""
        return _recorder.default

    def _instrument(self, **kwargs: Any) -> None:
        known = {"audit_logger", "max_trace_events"}
        known |= {"tracer_provider", "meter_provider", "logger_provider"}
        if unknown := kwargs.keys() - known:
            logger.warning("instrument(): unknown argument %s", ", ".join(sorted(unknown)))
        logger_provider = kwargs.get("logger_provider")
        audit_logger = _logger_of(kwargs.get("audit_logger"), logger_provider)
        most_traces = _most_traces(kwargs.get("max_trace_events"))
        _recorder.default, _recorder.refusal = audit_logger, ""
        self._signals = Signals.of(kwargs.get("tracer_provider"), kwargs.get("meter_provider"))
        use_signals(self._signals)
        _recorder.patch(most_traces)
        announce(audit_logger)

    def _uninstrument(self, **kwargs: Any) -> None:
        _recorder.unpatch()
        _recorder.default, _recorder.refusal = None, ""
        drop_signals(self._signals)


def _most_traces(given: Any = None) -> int:
    """The number of trace events that a system keeps.

    Raises:
        AuditConfigError: If *given* is wrong. A wrong variable is reported where all settings
            are read, not here.
    """
    try:
        return int(Settings.one("max_trace_events", given))
    except AuditConfigError:
        if given is not None:
            raise
        return Settings.max_trace_events


def _logger_of(given: Any, logger_provider: Any) -> AuditLogger:
    """As `logger_of`; with ``AXON_AUDIT_ON_FAILURE=block`` and wrong settings all operations are
    refused from then on, even if nobody sees the error."""
    try:
        return logger_of(given, logger_provider)
    except AxonAuditError as exc:
        if given is None and blocks():
            _recorder.refusal = str(exc)
            _recorder.patch()
        raise


class _Recorder:
    """Finds the trail that a call belongs to, and owns the patches of the SDK."""

    def __init__(self) -> None:
        self.default: AuditLogger | None = None  # set while instrumented
        self.refusal = ""  # reason why operations are refused: `block` is set, but no trail made
        self._patch: _Patch | None = None
        # Keyed by id, since an adapter may not be hashable. An entry is deleted with its part.
        self._systems: dict[int, tuple[ref[Any], ref[Any]]] = {}
        self._entries: dict[int, tuple[ref[Any], list[Store]]] = {}  # of an adapter, by trail
        self._loggers: WeakSet[AuditLogger] = WeakSet()

    def begin(
        self,
        kind: Kind,
        target: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        identity: tuple[Any, Any] = (None, None),
    ) -> Operation | None:
        """An operation for this call; None if no trail records it.

        Raises:
            AuditUnavailableError: If the call is refused, since it cannot be recorded.
        """
        audit: AuditLogger | None = None
        try:
            if self._patch is not None and self._patch.unsure:
                self._patch.refresh(unsure=True)
            audit = self.trail_of(target)
            if audit is None and self.refusal:
                msg = f"the {kind.name} was refused, since there is no trail: {self.refusal}"
                raise AuditUnavailableError(msg)
            if audit is None:
                return None
            operation = begin(kind, audit, args, kwargs, identity)
            operation.holders = self._holders
            return operation
        except AuditUnavailableError:
            raise
        except Exception as exc:  # the instrumented call: a bug of ours must not reach it
            if audit is not None:
                audit.trail.fault("record", exc)
            return None

    def trail_of(self, target: Any) -> AuditLogger | None:
        """The audit logger of the system if it is one of ours, else the default one."""
        system = target
        if not hasattr(target, "audit_logger"):
            system = self.owner(target)
        given = getattr(system, "audit_logger", None)
        if isinstance(given, AuditLogger):
            return given
        if self.default is None and system is None and len(self._loggers) == 1:
            return next(iter(self._loggers))  # an adapter that no system has used yet
        return self.default

    def set_owner(self, part: Any, system: Any) -> None:
        """Remember that *part* (a router, a registry, an adapter) belongs to *system*."""
        with suppress(TypeError):  # no weak references: direct calls go to the default trail
            key = id(part)
            gone = ref(part, lambda _: self._systems.pop(key, None))
            self._systems[key] = gone, ref(system)

    def owner(self, part: Any) -> Any:
        """The system that *part* belongs to; None if it is unknown."""
        entry = self._systems.get(id(part))
        return entry[1]() if entry is not None and entry[0]() is part else None

    def entries(self, adapter: Any, op: Operation | None) -> Store | None:
        """What is known of the entries in *adapter*, as the trail of *op* has it; None if that
        cannot be kept."""
        entry = self._entries.get(id(adapter))
        stores = None if entry is None or entry[0]() is not adapter else entry[1]
        if stores is not None and op is None:
            return stores[-1]
        if stores is not None and op is not None:
            for store in stores:  # most often there is one
                if store.entries is op.trail.entries:
                    return store
        return self._new_store(adapter, op, stores or [])

    def _holders(self, key: str, op: Operation) -> list[Any]:
        numbers = op.trail.entries.stores_with(key)
        known = [(gone(), stores) for gone, stores in list(self._entries.values())]
        return [a for a, stores in known if a is not None and numbers & {s.number for s in stores}]

    def _new_store(self, adapter: Any, op: Operation | None, stores: list[Store]) -> Store | None:
        audit = self.trail_of(adapter) if op is None else op.audit
        if audit is None:
            return None
        key, store = id(adapter), Store(audit.trail.entries)
        try:
            gone = ref(adapter, lambda _: self._entries.pop(key, None))
        except TypeError:  # no weak references
            return None
        self._entries[key] = gone, [*stores[-_MOST_TRAILS:], store]
        return store

    def register(self, audit: AuditLogger) -> None:
        """Prepare to record the systems that the new logger *audit* is given to."""
        self._loggers.add(audit)
        if self._patch is None:
            wrapt.when_imported(_SYSTEM)(lambda module: self.patch())
        else:
            self._patch.refresh()

    def patch(self, most_traces: int | None = None) -> None:
        """Wrap each class of the SDK once; systems keep *most_traces* of its trace events."""
        import_module(_SYSTEM)  # which may call this, see `register`
        if self._patch is None:
            self._patch = _Patch(self, _most_traces())
        if most_traces is not None:
            self._patch.traces.limit = most_traces
        self._patch.refresh()

    def records(self, system: Any) -> bool:
        """Return True if operations on *system* are recorded."""
        return self.trail_of(system) is not None

    def unpatch(self) -> None:
        """Restore the SDK."""
        if self._patch is not None:
            self._patch.undo()
            self._patch = None


class _Patch:
    """The wrappers around the SDK's classes; `undo` removes them."""

    def __init__(self, recorder: _Recorder, most_traces: int) -> None:
        from axon.adapters.base import StorageAdapter

        self._recorder = recorder
        self._wrappers = Wrappers()
        self.unsure = self._wrappers.unsure
        self._adapters = AdapterWrappers(
            StorageAdapter, recorder.begin, recorder.entries, self._wrappers
        )
        self._watch = Watch(self._wrappers)
        self.traces = TraceBound(most_traces, recorder.records)
        self._classes: dict[tuple[str, str], Any] = {}  # classes of the SDK that are wrapped
        self._audit = AuditAttribute(_SYSTEM)

    def refresh(self, unsure: bool = False) -> None:
        """Wrap the methods that are not: first all, later those restored by a mock or a reload."""
        if unsure:
            self._wrappers.refresh(unsure=True)
            return
        self._wrappers.refresh()
        for (module, name), wanted in self._methods().items():
            cls = getattr(sys.modules.get(module), name, None)
            if not isinstance(cls, type) or self._classes.get((module, name)) is cls:
                continue  # a mock of the whole class, or wrapped already
            self._classes[module, name] = cls
            for method, make in wanted.items():
                self._wrappers.wrap(cls, method, make)
            if module == _SYSTEM:
                self.traces.attach(cls)
                self._audit.attach(cls)

    def _methods(self) -> dict[tuple[str, str], dict[str, Callable[[Any], Any]]]:
        """The maker of the wrapper for each method, by module and class."""
        audited, watch = functools.partial, self._watch
        return {
            (_SYSTEM, "MemorySystem"): {
                **{name: audited(self._audited, kind) for name, kind in methods.METHODS.items()},
                "forget": audited(self._audited, methods.FORGET, supplied=added_methods.forget),
                "import_data": audited(
                    self._audited, methods.IMPORT_DATA, supplied=added_methods.import_data
                ),
                "transaction": self._transaction,
                "__init__": self._created,
                "__setstate__": self._restored,
            },
            (_ROUTER, "Router"): {
                "route_forget": audited(self._audited, methods.ROUTE_FORGET),
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
        self._wrappers.undo()
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
        begin, wrappers = self._recorder.begin, self._wrappers
        parts = [name for name in watched.PARTS if name in kind.parameters]

        @functools.wraps(function)
        async def audited(system: Any, /, *args: Any, **kwargs: Any) -> Any:
            if not wrappers.active:
                return await function(system, *args, **kwargs)
            identity = (kwargs.get("user_id"), kwargs.get("session_id"))
            for name in lacking:
                kwargs.pop(name, None)
            operation = begin(kind, system, args, kwargs, identity)
            if adds_owner:
                args, kwargs = _owned_by(identity, args, kwargs)
            if operation is None:
                return await function(system, *args, **kwargs)
            if parts:
                self._see_parts(operation, system, parts)
            async with operation:
                operation.result = result = await function(system, *args, **kwargs)
                if kind.verify is not None:
                    await _verify(operation, system, result)
            return result

        if original is None:  # where pickle finds it
            audited.__module__, audited.__qualname__ = _SYSTEM, f"MemorySystem.{audited.__name__}"
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
            if operation is not None and self._wrappers.active:
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
        recorder, wrappers = self._recorder, self._wrappers

        @functools.wraps(original)
        def transaction(system: Any, /, *args: Any, **kwargs: Any) -> Any:
            identity = (kwargs.pop("user_id", None), kwargs.pop("session_id", None))
            manager = original(system, *args, **kwargs)
            if not wrappers.active:
                return manager

            def begin() -> Operation | None:
                return recorder.begin(methods.TRANSACTION, system, args, kwargs, identity)

            return _AuditedTransaction(manager, begin)

        return transaction

    # --- which adapter belongs to which system ---------------------------------------------------

    def _created(self, original: Any) -> Any:
        @functools.wraps(original)
        def created(system: Any, /, *args: Any, **kwargs: Any) -> None:
            original(system, *args, **kwargs)
            self._register_parts(system)

        return created

    def _restored(self, original: Any) -> Any:
        """Register the parts of a system that was copied or unpickled."""

        @functools.wraps(original or _set_state)
        def restored(system: Any, state: Any, /) -> None:
            (original or _set_state)(system, state)
            with suppress(AttributeError):  # a subclass may not copy its parts
                if self._recorder.owner(system.registry) is None:
                    self._register_parts(system)

        return restored

    def _register_parts(self, system: Any) -> None:
        """Register the router, the registry and the adapters of a new system."""
        if not self._wrappers.active:
            return
        self.refresh()
        for part in (system.router, system.registry):
            self._recorder.set_owner(part, system)
        self._adopt_all(system.registry)
        audit = self._recorder.trail_of(system)
        if audit is not None:
            audit.trail.metrics.expect(methods.SYSTEM)

    def _initialized(self, original: Any) -> Any:
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
        @functools.wraps(original)
        def registered(registry: Any, /, *args: Any, **kwargs: Any) -> Any:
            result = original(registry, *args, **kwargs)
            self._adopt_all(registry)
            return result

        return registered

    def _adopt_all(self, registry: Any) -> None:
        """Wrap the adapters in *registry*, and register their system."""
        if not self._wrappers.active:
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


class _AuditedTransaction(wrapt.CallableObjectProxy):  # type: ignore[misc,type-arg,unused-ignore]
    """The SDK's transaction, recorded from the begin to the end of its ``async with`` block.

    Operations inside the block are recorded as operations of their own.
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
        try:
            if operation.waits:
                await operation.wait_intent_durable()
            entered = await self.__wrapped__.__aenter__()
        except BaseException as exc:
            operation.fail(exc)
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
            if failure is None:
                operation.succeed(None)
            else:
                operation.fail(failure)
            if operation.waits and not isinstance(failure, GeneratorExit):
                await operation.wait_durable()


_recorder = _Recorder()
register = _recorder.register  # called by `AuditLogger`
