"""Finds the trail that a call of the SDK belongs to, and what that knows of an adapter."""

from __future__ import annotations

from contextlib import suppress
from typing import Any
from weakref import WeakSet, ref

from ...core.errors import AuditUnavailableError
from ...events.stores import Store
from ...operations.facts import Facts, Kind
from ...operations.operation import Operation, begun
from ...trail.audit_logger import AuditLogger
from ..wrappers import Wrappers

__all__ = ["Recorder"]

_NONE = object()  # in place of an attribute that is not there
_MOST_TRAILS = 7  # besides the newest, of one adapter


class Recorder:
    """Begins the operations, each on the trail of its system.

    Attributes:
        default: Records systems that have no `AuditLogger` of their own; set while instrumented.
        refusal: Why operations are refused: ``block`` is set, but no trail could be made.
        wrappers: Those around the SDK's methods, while there are any.
        loggers: Every living logger.
    """

    def __init__(self) -> None:
        self.default: AuditLogger | None = None
        self.refusal = ""
        self.wrappers: Wrappers | None = None
        self.loggers: WeakSet[AuditLogger] = WeakSet()
        # Keyed by id, since an adapter may not be hashable. An entry is deleted with its part.
        self._systems: dict[int, tuple[ref[Any], ref[Any]]] = {}
        self._entries: dict[int, tuple[ref[Any], list[Store]]] = {}  # of an adapter, by trail

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
            RecursionError: If there is no room to see whose it is.
        """
        audit: AuditLogger | None = None
        try:
            if self.wrappers is not None and self.wrappers.unsure:
                self.wrappers.refresh(unsure=True)
            audit = self.trail_of(target)
            if audit is None and self.refusal:
                msg = f"the {kind.name} was refused, since there is no trail: {self.refusal}"
                raise AuditUnavailableError(msg)
            if audit is None:
                return None
            return begun(kind, audit, args, kwargs, identity, holders=self._holders)
        except AuditUnavailableError:
            raise
        except Exception as exc:  # the instrumented call: a bug of ours must not reach it
            if audit is None and isinstance(exc, (RecursionError, MemoryError)):
                raise  # it has not begun, and may not go on unrecorded
            if audit is not None:
                audit.trail.fault("record", exc)
                if audit.trail.blocks:
                    msg = f"the {kind.name} was refused: it cannot be recorded"
                    raise AuditUnavailableError(msg) from exc
            return None

    def trail_of(self, target: Any) -> AuditLogger | None:
        """The audit logger of the system if it is one of ours, else the default one."""
        system, given = target, getattr(target, "audit_logger", _NONE)
        if given is _NONE:
            system = self.owner(target)
            given = getattr(system, "audit_logger", None)
        if isinstance(given, AuditLogger):
            return given
        if self.default is None and system is None and len(self.loggers) == 1:
            return next(iter(self.loggers))  # an adapter that no system has used yet
        return self.default

    # --- which part belongs to which system --------------------------------------------------

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

    # --- what is known of the entries in an adapter ------------------------------------------

    def entries(self, adapter: Any, op: Facts | None) -> Store | None:
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

    def _new_store(self, adapter: Any, op: Facts | None, stores: list[Store]) -> Store | None:
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

    def _holders(self, key: str, op: Facts) -> list[Any]:
        numbers = op.trail.entries.stores_with(key)
        known = [(gone(), stores) for gone, stores in list(self._entries.values())]
        return [a for a, stores in known if a is not None and numbers & {s.number for s in stores}]
