"""What entries were made of, as events say."""

from __future__ import annotations

from .model import AuditEvent, OperationType

__all__ = ["DERIVED_REMAIN", "derivations", "tells_of_derived"]

#: ``error.type`` of a FORGET that left entries which were made of what it deleted.
DERIVED_REMAIN = "derived_entries_remain"


def derivations(event: AuditEvent) -> dict[str, tuple[str, ...]]:
    """The new entries of *event* that were made of others, with their sources.

    An entry can be among its own sources, where it was imported again.
    """
    sources = event.derived_from
    if not sources:
        return {}
    told = event.metadata.get("derived")
    if isinstance(told, dict):
        return {key: tuple(map(str, some)) for key, some in told.items() if type(some) is list}
    made: list[str] = event.entry_ids
    summaries = event.metadata.get("summary_ids")
    if event.operation is OperationType.COMPACT and isinstance(summaries, list):
        made = list(map(str, summaries))
    known = set(sources)
    return {key: sources for key in made if key not in known}


def tells_of_derived(event: AuditEvent) -> bool:
    """True if *event* names sources of new entries, or derived entries that a FORGET has left.

    Also where its metadata cannot be read.
    """
    if event.derived_from or event.error_type == DERIVED_REMAIN:
        return True
    return "derived_remaining" in event.metadata
