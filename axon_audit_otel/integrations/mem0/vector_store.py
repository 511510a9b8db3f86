"""Watches the vector store of one memory: what really is inserted, updated and deleted there.

mem0 swallows failures of its store, and whoever has the store can delete past mem0's methods.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from weakref import ref

from ...operations.audited import AuditedOperation, current_operation
from ...trail.audit_logger import AuditLogger
from .methods import SYSTEM, payload_of

__all__ = ["all_in", "watch"]

#: So many records are asked for before all are deleted, to know which.
_MOST = 100_000

Report = Callable[[AuditedOperation, Any, tuple[Any, ...], dict[str, Any], Any], None]


def watch(store: Any, audit: AuditLogger, on: Callable[[], bool] = lambda: True) -> None:
    """Watch *store* as long as *on* gives True; this object alone: mem0's store of entities is
    of the same class."""
    known = vars(store).get("_axon_audit_watched")
    if known is not None and known():
        return
    store._axon_audit_watched = on
    audit.trail.metrics.expect(SYSTEM)
    here, name = ref(store), getattr(store, "collection_name", None)

    def begin(operation: str, method: str) -> AuditedOperation:
        action = f"{type(here()).__name__}.{method}"
        named = name if isinstance(name, str) else None
        return audit.operation(operation, system=SYSTEM, action=action, store=named)

    for method, (operation, report) in _METHODS.items():
        original = getattr(type(store), method, None)
        if original is not None:
            one = functools.partial(begin, operation, method)
            wrapped = _wrapped(original, here, one, report, on)
            setattr(store, method, wrapped)
    if getattr(type(store), "get", None) is not None:
        store.get = _reading(type(store).get, here, on)


def _wrapped(
    original: Any,
    store: Any,
    begin: Callable[[], AuditedOperation],
    report: Report,
    on: Callable[[], bool],
) -> Any:
    """The store's method, which reports to the operation that runs, or becomes one."""

    @functools.wraps(original)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if not on():
            return original(store(), *args, **kwargs)
        op = current_operation()
        if op is not None:
            return _call(op, args, kwargs)
        with begin() as op:
            return _call(op, args, kwargs)

    def _call(op: AuditedOperation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        before = None
        if original.__name__ in _CLEARING:
            before = list(all_in(store()))
        try:
            result = original(store(), *args, **kwargs)
        except Exception as exc:
            op.partial(exc, *_ids(args, kwargs))
            raise
        with op.noting() as running:
            if running is not None:
                report(op, before, args, kwargs, result)
        if running is None:  # it was cancelled, and ended, while a thread did this
            with begin() as late, late.noting():
                report(late, before, args, kwargs, result)
        return result

    return watched


def _reading(original: Any, store: Any, on: Callable[[], bool]) -> Any:
    """The store's `get`, which tells whose an entry is that the operation is about."""

    @functools.wraps(original)
    def get(*args: Any, **kwargs: Any) -> Any:
        result = original(store(), *args, **kwargs)
        op = current_operation() if on() else None
        owner = payload_of(result).get("user_id")
        if op is not None and owner is not None:
            op.owned_by(owner)
            op.touched(getattr(result, "id", None) or _ids(args, kwargs), owner=owner)
        return result

    return get


def all_in(store: Any) -> Iterator[Any]:
    """The records in a store, as far as it lists them."""
    with suppress(Exception):  # a store that cannot list
        found = store.list(filters=None, top_k=_MOST)
        yield from found[0] if found and isinstance(found[0], list) else found or ()


# --- what calls report -------------------------------------------------------------------------


def _ids(args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Any]:
    """The ids that a call names: of ``insert(vectors, payloads, ids)``, or of one record."""
    if "vectors" in kwargs or "ids" in kwargs or len(args) > 2:
        return list(kwargs.get("ids", args[2] if len(args) > 2 else None) or ())
    one = kwargs.get("vector_id", args[0] if args and isinstance(args[0], (str, int)) else None)
    return [] if one is None else [one]


def _inserted(op: AuditedOperation, _: Any, args: Any, kwargs: Any, result: Any) -> None:
    payloads = kwargs.get("payloads", args[1] if len(args) > 1 else None) or ()
    ids = _ids(args, kwargs)
    texts = {}
    for at, key in enumerate(ids):
        payload = payloads[at] if at < len(payloads) else {}
        op.saved(key, owner=payload.get("user_id"))
        texts[key] = payload.get("data") or ""
    op.content(texts=texts)


def _updated(op: AuditedOperation, _: Any, args: Any, kwargs: Any, result: Any) -> None:
    payload = kwargs.get("payload", args[2] if len(args) > 2 else None) or {}
    for key in _ids(args[:1], kwargs):
        op.saved(key, owner=payload.get("user_id"))
        op.content(texts={key: payload.get("data") or ""})


def _deleted(op: AuditedOperation, _: Any, args: Any, kwargs: Any, result: Any) -> None:
    op.deleted(_ids(args, kwargs))


def _cleared(op: AuditedOperation, before: Any, args: Any, kwargs: Any, result: Any) -> None:
    for item in before or ():
        op.deleted(item.id, owner=payload_of(item).get("user_id"))


_METHODS: dict[str, tuple[str, Report]] = {
    "insert": ("STORE", _inserted),
    "update": ("STORE", _updated),
    "delete": ("FORGET", _deleted),
    "delete_col": ("FORGET", _cleared),
    "reset": ("FORGET", _cleared),
}
_CLEARING = ("delete_col", "reset")
