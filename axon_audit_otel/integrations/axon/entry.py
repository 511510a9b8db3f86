"""Reads the SDK's `MemoryEntry`: whose it is, and what it was made of."""

from __future__ import annotations

from typing import Any

from ...events.identifiers import MAX_ID, identifier

__all__ = ["owner_named", "owner_of", "owners_in", "passing", "sources_of"]

#: What `compact` notes in the provenance of a summary: the ids of its sources, with commas.
_SUMMARIZED = "summarized_ids"


def owner_of(entry: Any) -> str | None:
    """The owner of *entry*; None if it is nobody's."""
    return owner_named(getattr(getattr(entry, "metadata", None), "user_id", None))


def owner_named(user_id: Any) -> str | None:
    """The owner that the metadata of an entry names; None for none."""
    return None if user_id is None or user_id == "" else identifier(user_id)


def passing(entries: Any) -> tuple[dict[str, str | None], list[Any]]:
    """The owners of *entries*, a list or a tuple, by their ids, and those with a provenance; of
    anything else none."""
    owners: dict[str, str | None] = {}
    made: list[Any] = []
    if not isinstance(entries, (list, tuple)):  # an iterator is the caller's
        return owners, made
    for entry in entries:  # without a call for each: ten pass in a recall
        metadata, key = getattr(entry, "metadata", None), getattr(entry, "id", None)
        owner = getattr(metadata, "user_id", None)
        if type(key) is not str or len(key) > MAX_ID or not key.isascii():
            key = identifier(key)
        if type(owner) is not str or not owner or len(owner) > MAX_ID or not owner.isascii():
            owner = owner_named(owner)
        owners[key] = owner
        if getattr(metadata, "provenance", None):
            made.append(entry)
    return owners, made


def owners_in(entries: Any) -> dict[str, str | None]:
    """The owners of *entries*, a list or a tuple, by their ids; of anything else none."""
    return passing(entries)[0]


def sources_of(entry: Any) -> tuple[str, ...]:
    """The entries that *entry* was made of, as its provenance says; each once."""
    provenance = getattr(getattr(entry, "metadata", None), "provenance", None)
    if not provenance:
        return ()
    named = (getattr(step, "metadata", None) or {} for step in provenance)
    ids = ",".join(str(facts[_SUMMARIZED]) for facts in named if facts.get(_SUMMARIZED))
    return tuple(dict.fromkeys(identifier(key) for key in ids.split(",") if key))
