"""What entries were made of, as events say."""

from __future__ import annotations

from .model import AuditEvent, OperationType

__all__ = ["derivations"]


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
