"""`AuditedStore`: a LangGraph store whose every operation is recorded."""

from __future__ import annotations

import copy
import functools
import inspect
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any, TypeGuard
from weakref import ref

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.store.base import (
    BaseStore,
    GetOp,
    Item,
    ListNamespacesOp,
    Op,
    PutOp,
    Result,
    SearchOp,
)

from ...core.errors import AuditConfigError, shown
from ...events.identifiers import identifier
from ...events.identity import current_identity, or_from_baggage
from ...events.model import OperationType
from ...operations.audited import AuditedOperation
from ...operations.together import Together
from ...trail.audit_logger import AuditLogger

__all__ = ["AuditedStore", "item_id"]

SYSTEM = "langgraph"

Namespace = tuple[str, ...]
#: Whose data lies in a namespace: the place of the label that names the person, or a function.
Owner = int | Callable[[Namespace], "str | None"] | None


def item_id(namespace: Namespace, key: str) -> str:
    """The entry id of an item: ``memories/alice/k1``. Slashes inside of a label are ``%2F``."""
    labels = [str(label) for label in (*namespace, key)]
    text = "/".join(labels)
    if "%" not in text and text.count("/") == len(namespace):  # most often
        return text
    return "/".join(label.replace("%", "%25").replace("/", "%2F") for label in labels)


class AuditedStore(BaseStore):
    """Records the operations on a LangGraph store, and passes them on to it.

    Each get, put, search, delete and listing is one event, also in a batch. A get or search is a
    RECALL, a put a STORE, a delete a FORGET, which says whether the item was there. What else the
    store has (``sweep_ttl``, ``setup``, ...) works as before; what expires by `sweep_ttl` is a
    FORGET with a number, since LangGraph tells no ids.

    In a graph, the session is its ``thread_id``, and ``langgraph_auth_user``, ``langgraph_user_id``
    or ``user_id`` in ``configurable`` acts, where `audit_context` names nobody.

    Args:
        inner: The store.
        audit: Where it is recorded.
        owner: Whose data lies in a namespace: the place of the label that names the person (1 for
            ``("memories", "alice")``, -1 for the last), or a function of the namespace. Default:
            the acting user, where a label is his id; else the one whom the trail knows.
        name: Which of several stores it is. Default: none.
        private_ids: Namespaces and keys name people: the ids of items are hidden where the trail
            hides ids: by hashes (``pseudonymize=``), or encrypted (``erasable=``). Default True.

    Raises:
        AuditConfigError: If *inner* is no store, or audited already.
    """

    __slots__ = (
        *("_audit", "_name", "_on", "_owner", "_private"),
        *("inner", "supports_ttl", "ttl_config"),
    )

    #: Tells whether to record.
    _on: Callable[[], bool]

    def __init__(
        self,
        inner: BaseStore,
        audit: AuditLogger,
        owner: Owner = None,
        name: str | None = None,
        *,
        private_ids: bool = True,
    ) -> None:
        if not isinstance(inner, BaseStore) or isinstance(inner, AuditedStore):
            msg = f"AuditedStore({shown(inner)}): must be a LangGraph store, not audited yet"
            raise AuditConfigError(msg)
        self.inner = inner
        self._audit = audit
        self._owner = owner
        self._name = name
        self._private = private_ids
        self._on = lambda: True
        # Some that let items expire say that they do not.
        self.supports_ttl = inner.supports_ttl or hasattr(inner, "sweep_ttl")
        self.ttl_config = inner.ttl_config
        _watch_sweeps(inner, self._sweep(audit, name))
        audit.trail.metrics.expect(SYSTEM)

    @classmethod
    def of_graph(
        cls,
        inner: BaseStore,
        audit: AuditLogger,
        owner: Owner,
        private_ids: bool,
        on: Callable[[], bool],
    ) -> AuditedStore:
        """The store of a graph, recorded as long as *on* gives True."""
        store = cls(inner, audit, owner, private_ids=private_ids)
        store._on = on
        _watch_sweeps(inner, cls._sweep(audit, None), on)
        return store

    @staticmethod
    def _sweep(audit: AuditLogger, name: str | None) -> Callable[[], AuditedOperation]:
        return functools.partial(
            audit.operation, "FORGET", system=SYSTEM, action="BaseStore.sweep_ttl", store=name
        )

    def __getattr__(self, name: str) -> Any:
        if name in AuditedStore.__slots__ or name.startswith("__"):  # while it is being copied
            raise AttributeError(name)
        return getattr(self.inner, name)

    def __copy__(self) -> AuditedStore:
        return self._again(self.inner)

    def __deepcopy__(self, memo: dict[int, Any]) -> AuditedStore:
        return self._again(copy.deepcopy(self.inner, memo))

    def __reduce__(self) -> Any:
        return _restored, (self.inner, self._audit, self._owner, self._name, self._private)

    def _again(self, inner: BaseStore) -> AuditedStore:
        store = _restored(inner, self._audit, self._owner, self._name, self._private)
        store._on = self._on
        return store

    # --- the two methods through which all others go -------------------------------------------

    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """See `BaseStore.batch`."""
        if not self._on():
            return self.inner.batch(ops)
        asked = list(ops)
        if len(asked) == 1 and not _deletes(asked[0]):  # most often
            with self._operation(asked[0]) as operation:
                results = self.inner.batch(asked)
                self._report(asked, (operation,), {}, results)
            return results
        with Together([self._operation(op) for op in asked]) as operations:
            there = self._there(asked)
            before = dict(zip(there, self.inner.batch([*there.values()]) if there else ()))
            results = self.inner.batch(asked)
            self._report(asked, operations, before, results, self._vectors_left(asked))
        return results

    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """See `BaseStore.abatch`."""
        if not self._on():
            return await self.inner.abatch(ops)
        asked = list(ops)
        async with Together([self._operation(op) for op in asked]) as operations:
            there = self._there(asked)
            before = dict(zip(there, await self.inner.abatch([*there.values()]) if there else ()))
            results = await self.inner.abatch(asked)
            left = await self._avectors_left(asked)
            self._report(asked, operations, before, results, left)
        return results

    async def __aenter__(self) -> AuditedStore:
        await self.inner.__aenter__()  # type: ignore[attr-defined]
        return self

    async def __aexit__(self, *exc_info: Any) -> Any:
        return await self.inner.__aexit__(*exc_info)  # type: ignore[attr-defined]

    # --- what is recorded ----------------------------------------------------------------------

    def _operation(self, op: Op) -> AuditedOperation:
        try:
            kind, action, keys = _described(op)
            return self.operation(kind, action, tuple(_namespace(op)), keys)
        except Exception:  # no operation that a store knows: the store says so
            return self.operation(OperationType.OTHER, "batch", ())

    def operation(
        self, kind: OperationType, action: str, namespace: Namespace, keys: Sequence[str] = ()
    ) -> AuditedOperation:
        """An operation on the store, of whoever acts in the graph that runs."""
        user, session = _acting()
        return AuditedOperation(
            self._audit,
            kind,
            system=SYSTEM,
            action=f"BaseStore.{action}",
            store=self._name,
            owner=self._owner_of(namespace, self._actor(user)),
            entry_ids=keys,
            user_id=user,
            session_id=session,
            private_ids=self._private,
        )

    def _actor(self, user: str | None) -> str | None:
        """Who acts: *user* of the graph, else whom `audit_context` or the baggage names."""
        user = current_identity().user_id if user is None else user
        if self._audit.settings.baggage_identity:
            user, _ = or_from_baggage(user, None)
        return user

    def _owner_of(self, namespace: Namespace, user: str | None) -> str | None:
        said = self._owner
        try:
            if said is not None:
                owner = namespace[said] if isinstance(said, int) else said(namespace)
                return None if owner is None else identifier(owner)
        except Exception:  # a function of the user's, or a namespace that is too short
            return user if user in namespace else None
        return user if user in namespace else None

    def _there(self, ops: list[Op]) -> dict[int, GetOp]:
        """Reads, by the places of deletions in the batch: is there anything to delete?"""
        return {
            at: GetOp(op.namespace, op.key, refresh_ttl=False)
            for at, op in enumerate(ops)
            if _deletes(op)
        }

    def _vectors_left(self, ops: list[Op]) -> dict[int, int]:
        """How many vectors a store of SQLite still has of what was deleted, by the places in the
        batch: its tables are linked, but SQLite does not heed that by default."""
        found = {}
        with suppress(Exception):  # another version, or one with coroutines: then it is not known
            for at, where in _indexed_deletions(self.inner, ops):
                with self.inner._cursor(transaction=False) as cursor:  # type: ignore[attr-defined]
                    found[at] = cursor.execute(_VECTORS, where).fetchone()[0]
        return found

    async def _avectors_left(self, ops: list[Op]) -> dict[int, int]:
        found = {}
        with suppress(Exception):  # another version
            for at, where in _indexed_deletions(self.inner, ops):
                cursors = self.inner._cursor(transaction=False)  # type: ignore[attr-defined]
                async with cursors as cursor:
                    await cursor.execute(_VECTORS, where)
                    found[at] = (await cursor.fetchone())[0]
        return found

    def _report(
        self,
        ops: list[Op],
        operations: Sequence[AuditedOperation],
        before: dict[int, Result],
        results: list[Result],
        left: Mapping[int, int] = MappingProxyType({}),
    ) -> None:
        there: dict[str, bool] = {}  # what the batch itself has put or deleted so far
        for at, (op, operation, result) in enumerate(zip(ops, operations, results)):
            with operation.noting():
                if isinstance(op, PutOp):
                    key = item_id(op.namespace, op.key)
                    if op.value is not None:
                        operation.saved(key)
                        if operation.takes_texts:
                            operation.content(texts={key: _text(op.value)})
                    elif there.get(key, before.get(at) is not None):
                        operation.deleted(key)
                    there[key] = op.value is not None
                    if left.get(at):
                        operation.note(texts_left={"vectors": left[at]})
                elif isinstance(op, ListNamespacesOp):
                    operation.note(namespaces=len(result))  # type: ignore[arg-type]
                else:
                    self._found(op, operation, result)

    def _found(self, op: Op, operation: AuditedOperation, result: Any) -> None:
        items: list[Item] = [result] if isinstance(result, Item) else result or []
        texts = {}
        # A get finds what it asked for: the owner is that of the operation.
        is_asked = isinstance(op, GetOp) and all(
            tuple(one.namespace) == tuple(op.namespace) for one in items
        )
        user = None if is_asked else self._actor(_acting()[0])
        for item in items:
            key = item_id(item.namespace, item.key)
            owner = None if is_asked else self._owner_of(tuple(item.namespace), user)
            operation.found(key, owner=owner)
            if operation.takes_texts:
                texts[key] = _text(item.value)
        operation.content(query=getattr(op, "query", None), texts=texts)


def _restored(
    inner: BaseStore, audit: AuditLogger, owner: Owner, name: str | None, private_ids: bool
) -> AuditedStore:
    """A store that was copied or unpickled."""
    return AuditedStore(inner, audit, owner, name, private_ids=private_ids)


def _deletes(op: Op) -> TypeGuard[PutOp]:
    return isinstance(op, PutOp) and op.value is None


_VECTORS = "SELECT count(*) FROM store_vectors WHERE prefix = ? AND key = ?"


def _indexed_deletions(inner: BaseStore, ops: list[Op]) -> Iterator[tuple[int, tuple[str, str]]]:
    """The places in a batch of deletions from a store of SQLite with an index, and of what."""
    modules = {kind.__module__.rpartition(".")[0] for kind in type(inner).__mro__}
    if "langgraph.store.sqlite" not in modules or not getattr(inner, "index_config", None):
        return
    puts = [op for op in ops if isinstance(op, PutOp) and op.value is not None]
    stored = {(tuple(op.namespace), op.key) for op in puts}
    for at, op in enumerate(ops):
        if _deletes(op) and (tuple(op.namespace), op.key) not in stored:
            yield at, (".".join(op.namespace), op.key)


def _described(op: Op) -> tuple[OperationType, str, list[str]]:
    """The operation, the method's name, and the ids that it names."""
    if isinstance(op, GetOp):
        return OperationType.RECALL, "get", [item_id(op.namespace, op.key)]
    if isinstance(op, PutOp):
        names = [item_id(op.namespace, op.key)]
        if op.value is None:
            return OperationType.FORGET, "delete", names
        return OperationType.STORE, "put", names
    if isinstance(op, SearchOp):
        return OperationType.RECALL, "search", []
    if isinstance(op, ListNamespacesOp):
        return OperationType.RECALL, "list_namespaces", []
    raise TypeError


def _namespace(op: Op) -> Namespace:
    if isinstance(op, (GetOp, PutOp)):
        return op.namespace
    return op.namespace_prefix if isinstance(op, SearchOp) else ()


#: The text of an item's value.
_text = json.JSONEncoder(sort_keys=True, ensure_ascii=False, default=str).encode


def _acting() -> tuple[str | None, str | None]:
    """Who acts, and in which session, as the graph that runs says; None where `audit_context`
    says it, or nobody does."""
    config = var_child_runnable_config.get()
    said = config.get("configurable") if config else None
    if not said:  # outside of a graph
        return None, None
    here = current_identity()
    user = session = None
    if here.user_id is None:
        known = getattr(said.get("langgraph_auth_user"), "identity", None)
        names = ("langgraph_auth_user_id", "langgraph_user_id", "user_id")
        said_ids = (known, *map(said.get, names))
        user = next((one for one in said_ids if one is not None), None)
    if here.session_id is None:
        session = said.get("thread_id")
    return (user if user is None else str(user)), (session if session is None else str(session))


def _watch_sweeps(
    inner: BaseStore,
    operation: Callable[[], AuditedOperation],
    on: Callable[[], bool] = lambda: True,
) -> None:
    """Record what expires, also by the store's own sweeper, which calls the method directly."""
    sweep = getattr(type(inner), "sweep_ttl", None)
    found = getattr(inner, "__dict__", {}).get("sweep_ttl")
    if sweep is None or (found is not None and not hasattr(found, "_axon_audit")):
        return
    here = ref(inner)  # the store holds the function

    if inspect.iscoroutinefunction(sweep):

        @functools.wraps(sweep)
        async def audited(*args: Any, **kwargs: Any) -> Any:
            if not on():
                return await sweep(here(), *args, **kwargs)
            async with operation() as op:
                number = await sweep(here(), *args, **kwargs)
                op.deleted(number=number)
            return number

    else:

        @functools.wraps(sweep)
        def audited(*args: Any, **kwargs: Any) -> Any:
            if not on():
                return sweep(here(), *args, **kwargs)
            with operation() as op:
                number = sweep(here(), *args, **kwargs)
                op.deleted(number=number)
            return number

    audited._axon_audit = True  # type: ignore[attr-defined]
    with suppress(AttributeError):  # of a class without a dictionary: its sweeps are not seen
        inner.sweep_ttl = audited  # type: ignore[attr-defined]
