"""Describes the methods of the Axon SDK: which facts of a call are recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from ...core import semconv
from ...events.identifiers import identifier, identifiers
from ...events.model import OperationType
from ...operations.activity import STILL_PRESENT, error_type
from ...operations.operation import Arguments, Kind, Operation
from .added_methods import (
    conclude_copies,
    conclude_forget,
    derived_from,
    present_in,
)
from .entry import owner_named, owner_of, owners_in
from .selection import Selection, has_matches, selects_everybody, unrestricted

SYSTEM = "axon"
#: ``error.type`` of failures that the SDK only counted, without an exception that we saw.
NOT_IMPORTED = "entry_not_imported"
NOT_SYNCED = "entry_not_synced"
NOT_SUMMARIZED = "group_not_summarized"


def _of_filter(op: Operation, args: Arguments) -> None:
    """Note the filter of the call, and the user whose data it selects."""
    chosen = args.get("filter")
    user, session = getattr(chosen, "user_id", None), getattr(chosen, "session_id", None)
    op.concerns(user or None, session or None)
    op.note(
        has_filter=chosen is not None,
        unrestricted_filter=True if unrestricted(chosen) else None,
    )


def _counted_only(op: Operation, stage: str, name: str) -> None:
    """Note failures that the SDK counted if no exception was seen."""
    if op.problems and not op.activity.failed:
        op.activity.failed[stage, ""] = name


def _note_undeleted(op: Operation) -> None:
    """Note entries that `delete` did not find: the SDK ignores what `delete` returns."""
    left = op.activity.undeleted.keys() - op.activity.deleted.keys()
    if left:
        op.note(remaining=len(left))
        op.activity.failed.setdefault(("delete", ""), STILL_PRESENT)


def _name(value: Any) -> str | None:
    """The name of a tier, strategy or level; None if it has none."""
    value = getattr(value, "value", value)
    return value if isinstance(value, str) else None


# --- store ----------------------------------------------------------------------------


def _before_store(op: Operation, args: Arguments) -> None:
    metadata = args.get("metadata")
    if isinstance(metadata, (dict, Mapping)):  # dict first: the check of Mapping is slow
        op.concerns(metadata.get("user_id"), metadata.get("session_id"))
    op.note(
        importance=args.get("importance"),
        tags=args.get("tags") or None,
        tier=_name(args.get("tier")),
    )
    op.attempted = 1
    content = args.get("content")
    if op.captures and isinstance(content, str):
        op.content(texts={"": content})


def _after_store(op: Operation, args: Arguments, result: Any) -> None:
    op.entry_ids = [result]
    if "content" in op.metadata:
        op.text_owners = op.owners_of_texts({result: op.activity.owners.get(result)})
    for entry in op.activity.saved.values():
        metadata = entry.metadata
        op.note(
            importance=metadata.importance,
            tags=metadata.tags or None,
            privacy_level=_name(metadata.privacy_level),
            has_embedding=bool(entry.embedding is not None),
        )
        # An extra field: to ask pydantic by name for a missing one takes 2 us.
        detected = (getattr(metadata, "model_extra", None) or {}).get("pii_detection")
        if isinstance(detected, dict) and detected.get("has_pii"):
            op.note(pii_detected=True, pii_types=sorted(detected.get("detected_types", ())))


# --- recall ---------------------------------------------------------------------------


def _before_recall(op: Operation, args: Arguments) -> None:
    op.entry_ids = []
    op.note(
        k=args.get("k", 5),
        tiers=args.get("tiers") or ["all"],
        min_importance=args.get("min_importance"),
    )
    _of_filter(op, args)
    query = args.get("query")
    if op.captures and isinstance(query, str):
        op.content(query=query)


def _after_recall(op: Operation, args: Arguments, result: Any) -> None:
    names = op.entry_ids = identifiers([entry.id for entry in result])
    op.are_names = True
    op.note(result_count=len(result))
    owners = dict(zip(names, map(owner_of, result))) if op.activity.others else None
    op.read(dict(zip(names, [entry.text for entry in result])), owners)
    op.failed = bool(op.activity.failed) and not op.activity.listed  # no tier gave an answer
    if op.captures:
        op.content(texts={entry.id: entry.text for entry in result}, owners=owners_in(result))


# --- export, import -------------------------------------------------------------------


def _before_export(op: Operation, args: Arguments) -> None:
    op.entry_ids = []
    op.note(
        tier=_name(args.get("tier")) or "all",
        include_embeddings=args.get("include_embeddings", True),
    )
    _of_filter(op, args)


def _after_export(op: Operation, args: Arguments, result: Any) -> None:
    entries = result["entries"]
    op.entry_ids = identifiers([entry["id"] for entry in entries])
    for some in _by_tier(entries):
        names = identifiers([entry["id"] for entry in some])
        owners = [owner_named(entry["metadata"].get("user_id")) for entry in some]
        told = dict(zip(names, owners)) if op.activity.others else None
        op.read(dict(zip(names, [entry["text"] for entry in some])), told)
    op.note(total_entries=len(op.entry_ids), by_tier=result["statistics"]["by_tier"])
    op.failed = bool(op.activity.failed) and not op.entry_ids  # nothing came out


def _by_tier(entries: list[dict[str, Any]]) -> Iterable[list[dict[str, Any]]]:
    """Exported entries by their tiers: each may have an entry of the same id."""
    tiers: dict[Any, list[dict[str, Any]]] = {}
    for entry in entries:
        tiers.setdefault(entry.get("tier"), []).append(entry)
    return tiers.values()


def _before_import(op: Operation, args: Arguments) -> None:
    overwrite = bool(args.get("overwrite", False))
    op.gen_ai = semconv.UPSERT_MEMORY if overwrite else semconv.CREATE_MEMORY
    op.note(overwrite=overwrite, tier_mapping=args.get("tier_mapping"))
    data = args.get("data")
    entries = data.get("entries") if isinstance(data, Mapping) else None
    if isinstance(entries, list):
        op.attempted = len(entries)
        op.note(total_entries=len(entries))


def _after_import(op: Operation, args: Arguments, result: Any) -> None:
    seen = op.activity
    # "Skipped" should mean that the entry existed. Redis returns None for a missing entry,
    # and the SDK then skips entries that do not exist.
    lost = 0 if args.get("overwrite") else max(0, result["skipped"] - len(seen.found))
    op.problems = result["errors"] + lost
    op.note(
        imported=result["imported"],
        skipped=result["skipped"],
        errors=result["errors"],
        by_tier=result["by_tier"] or None,
        not_imported=lost or None,
    )
    _counted_only(op, "entry", NOT_IMPORTED)


# --- sync -----------------------------------------------------------------------------


def _before_sync(op: Operation, args: Arguments) -> None:
    op.note(
        source_tier=_name(args.get("source_tier")),
        target_tier=_name(args.get("target_tier")),
        delete_source=bool(args.get("delete_source", False)),
        conflict_resolution=_name(args.get("conflict_resolution", "newer")),
    )
    _of_filter(op, args)


def _after_sync(op: Operation, args: Arguments, result: Any) -> None:
    seen = op.activity
    source = {**seen.queried, **{k: e for (a, k), e in seen.found.items() if a in seen.listed}}
    target = {k: e for (a, k), e in seen.found.items() if a not in seen.listed}
    kept = [key for key in target if key not in seen.saved and ("save", key) not in seen.failed]
    newer = args.get("conflict_resolution", "newer") == "newer"
    # The SDK counts an entry whose dates cannot be compared (one naive, one aware) as skipped.
    uncompared = sum(newer and not _comparable(source.get(key), target[key]) for key in kept)
    op.problems = max(0, result["skipped"] - len(kept) + uncompared)
    op.entries = result["synced"]
    op.note(
        synced=result["synced"],
        skipped=result["skipped"],
        conflicts=result["conflicts"],
        deleted=len(seen.deleted),
        errors=op.problems or None,
    )
    if uncompared:
        _counted_only(op, "compare", error_type(TypeError()))
    _counted_only(op, "entry", NOT_SYNCED)
    _note_undeleted(op)


def _comparable(source: Any, target: Any) -> bool:
    if source is None:
        return True
    try:
        one, other = (
            e.metadata.last_accessed_at or e.metadata.created_at for e in (source, target)
        )
        one > other  # noqa: B015
    except TypeError:
        return False
    return True


# --- compact --------------------------------------------------------------------------


def _before_compact(op: Operation, args: Arguments) -> None:
    strategy = args.get("strategy", "count")
    op.note(
        tier=_name(args.get("tier")) or "all",
        strategy=_name(strategy) or _name(getattr(strategy, "name", None)),
        threshold=args.get("threshold"),
        dry_run=bool(args.get("dry_run", False)),
    )


_COMPACTED = ("entries_before", "entries_after", "summaries_created", "groups_compacted", "reason")


def _after_compact(op: Operation, args: Arguments, result: Any) -> None:
    op.note(**{name: result.get(name) for name in _COMPACTED})
    failed = result.get("groups_compacted", 0) - result.get("summaries_created", 0)
    op.problems = 0 if result.get("dry_run") else max(0, failed)
    op.entries = len(op.activity.deleted)
    if op.problems:
        op.note(failed_groups=op.problems)
        _counted_only(op, "summary", NOT_SUMMARIZED)
    else:  # the summarizer or embedder has handled its failures itself
        for stage in ("summary", "embedding"):
            op.activity.failed.pop((stage, ""), None)
    if op.activity.deleted:
        op.note(deleted=len(op.activity.deleted), summary_ids=list(op.activity.saved))
    _note_undeleted(op)


# --- forget ---------------------------------------------------------------------------


def _before_forget(op: Operation, args: Arguments) -> None:
    op.entry_ids = []
    entry_id, chosen = args.get("entry_id"), args.get("filter")
    op.note(tier=_name(args.get("tier")))
    if args.get("request_id") is not None:
        op.note(request_id=identifier(args["request_id"]))
    if args.get("everything") is True and entry_id is None and chosen is None:
        op.note(everything=True)
    _of_filter(op, args)
    if entry_id is not None:
        op.entry_ids = [entry_id]


def _before_route_forget(op: Operation, args: Arguments) -> None:
    _before_forget(op, args)
    chosen = args.get("filter")  # `Router.route_forget` accepts every filter
    if args.get("entry_id") is None and has_matches(chosen) and selects_everybody(chosen):
        op.note(everything=True)


async def _verify_route_forget(op: Operation, router: Any, args: Arguments, result: Any) -> None:
    """Check that the entries are gone: `Router.route_forget` does not report it."""
    tier = args.get("tier")
    tiers = [tier] if tier is not None else list(router.config.tiers)
    try:
        requested, remaining, hidden = await present_in(router.registry, tiers, args)
    except Exception as exc:  # the instrumented call: an adapter may raise anything
        op.failed, op.error_type = not op.activity.deleted, error_type(exc)
        op.problems += 1
        return
    op.activity.failed.clear()  # only the check counts, not failed calls on the way
    gone = [key for key in op.activity.deleted if key not in remaining]
    conclude_forget(op, requested, gone, remaining, hidden)
    if tier is None and args.get("entry_id") is not None:
        conclude_copies(op, gone)
    adapters = [await router.registry.get_adapter(tier) for tier in router.config.tiers]
    selection = Selection(args.get("filter"))
    op.derived_remain(await derived_from(op, adapters, op.entry_ids or (), selection))
    if isinstance(result, int) and result > len(gone):  # deleted by filter, ids unknown
        op.entries = result
        op.note(deleted=result)


# --- transaction ----------------------------------------------------------------------


def _before_transaction(op: Operation, args: Arguments) -> None:
    op.note(isolation_level=_name(args.get("isolation_level", "read_committed")))


# --- adapters, outside of any operation -----------------------------------------------


def _before_delete(op: Operation, args: Arguments) -> None:
    key = args.get("id", args.get("entry_id"))
    op.entry_ids = [] if key is None else [key]
    op.attempted = len(op.entry_ids)


def _after_delete(op: Operation, args: Arguments, result: Any) -> None:
    op.derived_remain(op.living_descendants())
    deleted = op.entries = len(op.activity.deleted)
    op.failed = bool(op.activity.failed) and not deleted  # the adapter has swallowed an error
    op.note(deleted=deleted, found=None if deleted or op.failed else 0, source="adapter")


def _after_clear(op: Operation, args: Arguments, result: Any) -> None:
    op.failed = any(stage == "delete" for stage, _ in op.activity.failed)
    if not op.failed:
        op.activity.deleted.update(dict.fromkeys(op.entry_ids or ()))
    op.entries = 0 if op.failed else len(op.activity.deleted) + op.metadata.get("unlisted", 0)
    nothing = not (op.failed or op.entries or "entry_ids_unknown" in op.metadata)
    op.derived_remain(op.living_descendants())
    op.note(deleted=op.entries, cleared=not op.failed, source="adapter")
    op.note(found=0 if nothing else None)


def _after_bulk_save(op: Operation, args: Arguments, result: Any) -> None:
    op.note(total_entries=len(op.activity.saved), source="adapter")


# --- the table ------------------------------------------------------------------------


def _kind(action: str, *known: Any, **more: Any) -> Kind:
    """Describes the SDK's method *action*."""
    return replace(Kind(*known, **more), action=action, system=SYSTEM)


STORE = _kind(
    "MemorySystem.store",
    OperationType.STORE,
    semconv.CREATE_MEMORY,
    ("content", "metadata", "importance", "tags", "tier"),
    _before_store,
    _after_store,
)
RECALL = _kind(
    "MemorySystem.recall",
    OperationType.RECALL,
    semconv.SEARCH_MEMORY,
    ("query", "k", "filter", "tiers", "min_importance"),
    _before_recall,
    _after_recall,
)
EXPORT = _kind(
    "MemorySystem.export",
    OperationType.EXPORT,
    "axon.export",
    ("tier", "filter", "include_embeddings"),
    _before_export,
    _after_export,
)
IMPORT = _kind(
    "MemorySystem.import_from",
    OperationType.IMPORT,
    semconv.CREATE_MEMORY,
    ("data", "overwrite", "tier_mapping"),
    _before_import,
    _after_import,
)
IMPORT_DATA = replace(IMPORT, action="MemorySystem.import_data")
SYNC = _kind(
    "MemorySystem.sync",
    OperationType.SYNC,
    "axon.sync",
    ("source_tier", "target_tier", "filter", "delete_source", "conflict_resolution"),
    _before_sync,
    _after_sync,
)
COMPACT = _kind(
    "MemorySystem.compact",
    OperationType.COMPACT,
    "axon.compact",
    ("tier", "strategy", "threshold", "dry_run", "summarizer", "embedder"),
    _before_compact,
    _after_compact,
)
FORGET = _kind(
    "MemorySystem.forget",
    OperationType.FORGET,
    semconv.DELETE_MEMORY,
    ("entry_id", "filter", "tier"),
    _before_forget,
)
ROUTE_FORGET = _kind(
    "Router.route_forget",
    OperationType.FORGET,
    semconv.DELETE_MEMORY,
    ("entry_id", "filter", "tier"),
    _before_route_forget,
    verify=_verify_route_forget,
)
TRANSACTION = _kind(
    "MemorySystem.transaction",
    OperationType.TRANSACTION,
    "axon.transaction",
    ("isolation_level",),
    _before_transaction,
)
DELETE = _kind(
    "StorageAdapter.delete",
    OperationType.FORGET,
    semconv.DELETE_MEMORY,
    ("id",),
    _before_delete,
    _after_delete,
)
CLEAR = _kind(
    "StorageAdapter.clear",
    OperationType.FORGET,
    semconv.DELETE_MEMORY,
    (),
    after=_after_clear,
)
BULK_SAVE = _kind(
    "StorageAdapter.bulk_save",
    OperationType.BULK_STORE,
    "axon.bulk_store",
    ("entries",),
    after=_after_bulk_save,
)
REINDEX = _kind("StorageAdapter.reindex", OperationType.REINDEX, "axon.reindex")

#: The audited methods of `MemorySystem` (all are coroutine functions).
METHODS = {
    "store": STORE,
    "recall": RECALL,
    "export": EXPORT,
    "import_from": IMPORT,
    "sync": SYNC,
    "compact": COMPACT,
}
