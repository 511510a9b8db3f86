"""Describes the methods of storage adapters: what a finished call says of its entries."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

from ...events.identifiers import identifier
from ...events.model import OperationType
from ...operations.activity import OwnerOf
from ...operations.facts import Arguments, Facts, Kind
from .entry import owners_in
from .methods import COMPACT, SYNC, SYSTEM

__all__ = ["CLEAR", "DELETE", "KINDS", "METHODS", "Method"]


# --- facts that a finished call adds to an operation ----------------------------------------


def _saved(op: Facts, adapter: Any, entry: Any, result: Any) -> None:
    op.activity.saved[entry.id] = entry


def _bulk_saved(op: Facts, adapter: Any, entries: Any, result: Any) -> None:
    for entry in entries or ():
        op.activity.saved[entry.id] = entry


def _deleted(op: Facts, adapter: Any, key: Any, result: Any) -> None:
    if key is not None and (result is None or result):  # False: no such entry
        op.activity.deleted[key if isinstance(key, str) else identifier(key)] = None


def _got(op: Facts, adapter: Any, key: Any, result: Any) -> None:
    if result is not None:
        op.activity.found[id(adapter), key] = result


def _queried(op: Facts, adapter: Any, vector: Any, result: Any) -> None:
    op.activity.listed.add(id(adapter))
    if op.kind is SYNC or op.kind is COMPACT:
        op.activity.queried.update((entry.id, entry) for entry in result)


def _listed(op: Facts, adapter: Any, _: Any, result: Any) -> None:
    # The SDK lists entries after a failed query: the failure had no effect then. (If its filter
    # fails again, that is noted again.)
    op.activity.listed.add(id(adapter))
    op.activity.failed.pop(("query", str(id(adapter))), None)


def _nothing(op: Facts, adapter: Any, _: Any, result: Any) -> None:
    pass


# --- facts of a call that is an operation of its own ----------------------------------------


def _before_delete(op: Facts, args: Arguments) -> None:
    key = args.get("id", args.get("entry_id"))
    op.entry_ids = [] if key is None else [key]
    op.attempted = len(op.entry_ids)


def _after_delete(op: Facts, args: Arguments, result: Any) -> None:
    op.derived_remain(op.living_descendants())
    deleted = op.entries = len(op.activity.deleted)
    op.failed = bool(op.activity.failed) and not deleted  # the adapter has swallowed an error
    op.note(deleted=deleted, found=None if deleted or op.failed else 0, source="adapter")


def _after_clear(op: Facts, args: Arguments, result: Any) -> None:
    op.failed = any(stage == "delete" for stage, _ in op.activity.failed)
    if not op.failed:
        op.activity.deleted.update(dict.fromkeys(op.entry_ids or ()))
    op.entries = 0 if op.failed else len(op.activity.deleted) + op.metadata.get("unlisted", 0)
    nothing = not (op.failed or op.entries or "entry_ids_unknown" in op.metadata)
    op.derived_remain(op.living_descendants())
    op.note(deleted=op.entries, cleared=not op.failed, source="adapter")
    op.note(found=0 if nothing else None)


def _after_bulk_save(op: Facts, args: Arguments, result: Any) -> None:
    op.note(total_entries=len(op.activity.saved), source="adapter")


# --- the tables -----------------------------------------------------------------------------


def _kind(operation: OperationType, name: str, *parameters: str, **notes: Any) -> Kind:
    return Kind(operation, f"StorageAdapter.{name}", SYSTEM, parameters, **notes)


CLEAR = _kind(OperationType.FORGET, "clear", after=_after_clear)

#: What a call outside of any operation becomes, by methods.
KINDS = {
    "delete": _kind(
        OperationType.FORGET, "delete", "id", before=_before_delete, after=_after_delete
    ),
    "clear, clear_async": CLEAR,
    "bulk_save": _kind(OperationType.BULK_STORE, "bulk_save", "entries", after=_after_bulk_save),
    "reindex": _kind(OperationType.REINDEX, "reindex"),
}


class Method(NamedTuple):
    """Describes one method of the adapters.

    Args:
        name: Its name.
        stage: The name of its failures: one of `metrics.SDK_STAGES`.
        note: Notes facts from the result.
        kind: The operation that a call outside of any operation becomes; None: no operation.
        always: True if it changes memory, so that it is noted inside another call too.
        passes: Where the entry is that passes in a call: its argument, or its result.
        several: True if that is a list of entries.
    """

    name: str
    stage: str
    note: Callable[[Facts, Any, Any, Any], None]
    kind: Kind | None = None
    always: bool = False
    passes: Literal["", "given", "returned"] = ""
    several: bool = False

    def passed(self, subject: Any, result: Any) -> Any:
        """The entries that passed in a call, by its argument and its result."""
        if not self.passes:
            return ()
        passed = subject if self.passes == "given" else result
        return passed if self.several else (passed,)

    def owners(self, subject: Any, result: Any) -> OwnerOf:
        """The owners of the entries that passed in a call."""
        return owners_in(self.passed(subject, result))


DELETE = Method("delete", "delete", _deleted, KINDS["delete"], always=True)
METHODS = (
    Method("save", "save", _saved, always=True, passes="given"),
    Method("bulk_save", "save", _bulk_saved, KINDS["bulk_save"], True, "given", several=True),
    DELETE,
    Method("get", "get", _got, passes="returned"),
    Method("query", "query", _queried, passes="returned", several=True),
    Method("list_ids", "list", _listed),
    Method("list_ids_async", "list", _listed),
    Method("clear", "delete", _nothing, CLEAR),
    Method("clear_async", "delete", _nothing, CLEAR),
    Method("reindex", "reindex", _nothing, KINDS["reindex"]),
)
