"""Describes the methods of `MemorySystem`: which facts of a call are recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

from ...core import semconv
from ...events.identifiers import identifiers
from ...events.model import OperationType
from ...operations.activity import STILL_PRESENT, error_type
from ...operations.facts import Arguments, Facts, Kind
from .entry import owner_named, owner_of, owners_in
from .selection import unrestricted

__all__ = [
    *("COMPACT", "IMPORT_DATA", "METHODS", "STORE", "SYNC", "SYSTEM", "TRANSACTION"),
    *("name_of", "note_filter"),
]

#: The library, as events name it.
SYSTEM = "axon"
#: ``error.type`` of failures that the SDK only counted, without an exception that we saw.
NOT_IMPORTED = "entry_not_imported"
NOT_SYNCED = "entry_not_synced"
NOT_SUMMARIZED = "group_not_summarized"


def note_filter(op: Facts, args: Arguments) -> None:
    """Note the filter of the call, and the user whose data it selects."""
    chosen = args.get("filter")
    user, session = getattr(chosen, "user_id", None), getattr(chosen, "session_id", None)
    op.concerns(user or None, session or None)
    op.note(
        has_filter=chosen is not None,
        unrestricted_filter=True if unrestricted(chosen) else None,
    )


def _note_undeleted(op: Facts) -> None:
    """Note entries that `delete` did not find: the SDK ignores what `delete` returns."""
    left = op.activity.undeleted.keys() - op.activity.deleted.keys()
    if left:
        op.note(remaining=len(left))
        op.activity.failed.setdefault(("delete", ""), STILL_PRESENT)


def name_of(value: Any) -> str | None:
    """The name of a tier, strategy or level; None if it has none."""
    if isinstance(value, Enum):
        value = value._value_  # as `value`, which takes Python code before Python 3.12
    elif type(value) is not str:
        value = getattr(value, "value", value)
    return value if isinstance(value, str) else None


def _counted_only(op: Facts, stage: str, name: str) -> None:
    """Note failures that the SDK counted if no exception was seen."""
    if op.problems and not op.activity.failed:
        op.activity.failed[stage, ""] = name


# --- store ----------------------------------------------------------------------------


def _before_store(op: Facts, args: Arguments) -> None:
    metadata = args.get("metadata")
    if isinstance(metadata, (dict, Mapping)):  # dict first: the check of Mapping is slow
        op.concerns(metadata.get("user_id"), metadata.get("session_id"))
    op.note(
        importance=args.get("importance"),
        tags=args.get("tags") or None,
        tier=name_of(args.get("tier")),
    )
    op.attempted = 1
    content = args.get("content")
    if op.captures and isinstance(content, str):
        op.content(texts={"": content})


def _after_store(op: Facts, args: Arguments, result: Any) -> None:
    op.entry_ids = [result]
    if "content" in op.metadata:
        op.text_owners = op.owners_of_texts({result: op.activity.owners.get(result)})
    for entry in op.activity.saved.values():
        metadata = entry.metadata
        op.note(
            importance=metadata.importance,
            tags=metadata.tags or None,
            privacy_level=name_of(metadata.privacy_level),
            has_embedding=bool(entry.embedding is not None),
        )
        # An extra field: to ask pydantic by name for a missing one takes 2 us.
        detected = (getattr(metadata, "model_extra", None) or {}).get("pii_detection")
        if isinstance(detected, dict) and detected.get("has_pii"):
            op.note(pii_detected=True, pii_types=sorted(detected.get("detected_types", ())))


# --- recall ---------------------------------------------------------------------------


def _before_recall(op: Facts, args: Arguments) -> None:
    op.entry_ids = []
    op.note(
        k=args.get("k", 5),
        tiers=args.get("tiers") or ["all"],
        min_importance=args.get("min_importance"),
    )
    note_filter(op, args)
    query = args.get("query")
    if op.captures and isinstance(query, str):
        op.content(query=query)


def _after_recall(op: Facts, args: Arguments, result: Any) -> None:
    names = op.entry_ids = identifiers([entry.id for entry in result])
    op.are_names = True
    op.note(result_count=len(result))
    owners = dict(zip(names, map(owner_of, result))) if op.activity.others else None
    op.read(dict(zip(names, [entry.text for entry in result])), owners)
    op.failed = bool(op.activity.failed) and not op.activity.listed  # no tier gave an answer
    if op.captures:
        op.content(texts={entry.id: entry.text for entry in result}, owners=owners_in(result))


# --- export, import -------------------------------------------------------------------


def _before_export(op: Facts, args: Arguments) -> None:
    op.entry_ids = []
    op.note(
        tier=name_of(args.get("tier")) or "all",
        include_embeddings=args.get("include_embeddings", True),
    )
    note_filter(op, args)


def _after_export(op: Facts, args: Arguments, result: Any) -> None:
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


def _before_import(op: Facts, args: Arguments) -> None:
    overwrite = bool(args.get("overwrite", False))
    op.gen_ai = semconv.UPSERT_MEMORY if overwrite else semconv.CREATE_MEMORY
    op.note(overwrite=overwrite, tier_mapping=args.get("tier_mapping"))
    data = args.get("data")
    entries = data.get("entries") if isinstance(data, Mapping) else None
    if isinstance(entries, list):
        op.attempted = len(entries)
        op.note(total_entries=len(entries))


def _after_import(op: Facts, args: Arguments, result: Any) -> None:
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


def _before_sync(op: Facts, args: Arguments) -> None:
    op.note(
        source_tier=name_of(args.get("source_tier")),
        target_tier=name_of(args.get("target_tier")),
        delete_source=bool(args.get("delete_source", False)),
        conflict_resolution=name_of(args.get("conflict_resolution", "newer")),
    )
    note_filter(op, args)


def _after_sync(op: Facts, args: Arguments, result: Any) -> None:
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


def _before_compact(op: Facts, args: Arguments) -> None:
    strategy = args.get("strategy", "count")
    op.note(
        tier=name_of(args.get("tier")) or "all",
        strategy=name_of(strategy) or name_of(getattr(strategy, "name", None)),
        threshold=args.get("threshold"),
        dry_run=bool(args.get("dry_run", False)),
    )


_COMPACTED = ("entries_before", "entries_after", "summaries_created", "groups_compacted", "reason")


def _after_compact(op: Facts, args: Arguments, result: Any) -> None:
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


def _before_transaction(op: Facts, args: Arguments) -> None:
    op.note(isolation_level=name_of(args.get("isolation_level", "read_committed")))


# --- the table ------------------------------------------------------------------------


def _kind(operation: OperationType, name: str, *parameters: str, **notes: Any) -> Kind:
    return Kind(operation, f"MemorySystem.{name}", SYSTEM, parameters, **notes)


STORE = _kind(
    OperationType.STORE,
    "store",
    *("content", "metadata", "importance", "tags", "tier"),
    before=_before_store,
    after=_after_store,
)
COMPACT = _kind(
    OperationType.COMPACT,
    "compact",
    *("tier", "strategy", "threshold", "dry_run", "summarizer", "embedder"),
    before=_before_compact,
    after=_after_compact,
)
SYNC = _kind(
    OperationType.SYNC,
    "sync",
    *("source_tier", "target_tier", "filter", "delete_source", "conflict_resolution"),
    before=_before_sync,
    after=_after_sync,
)
_IMPORT = _kind(
    OperationType.IMPORT,
    "import_from",
    *("data", "overwrite", "tier_mapping"),
    before=_before_import,
    after=_after_import,
)
IMPORT_DATA = replace(_IMPORT, action="MemorySystem.import_data")
TRANSACTION = _kind(
    OperationType.TRANSACTION, "transaction", "isolation_level", before=_before_transaction
)

#: The audited methods that `MemorySystem` has (all are coroutine functions).
METHODS = {
    "store": STORE,
    "recall": _kind(
        OperationType.RECALL,
        "recall",
        *("query", "k", "filter", "tiers", "min_importance"),
        before=_before_recall,
        after=_after_recall,
    ),
    "export": _kind(
        OperationType.EXPORT,
        "export",
        *("tier", "filter", "include_embeddings"),
        before=_before_export,
        after=_after_export,
    ),
    "import_from": _IMPORT,
    "sync": SYNC,
    "compact": COMPACT,
}
