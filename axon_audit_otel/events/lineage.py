"""What entries were made of, as events say."""

from __future__ import annotations

from .model import AuditEvent

__all__ = ["derivations"]


def derivations(event: AuditEvent) -> dict[str, tuple[str, ...]]:
    """The new entries of *event* that were made of others, with their sources."""
    sources = event.derived_from
    if not sources:
        return {}
    facts = event.metadata.get("derived")
    if isinstance(facts, dict):
        return {
            key: tuple(str(one) for one in some)
            for key, some in facts.items()
            if isinstance(some, list)
        }
    known = set(sources)
    return {key: sources for key in event.entry_ids if key not in known}
