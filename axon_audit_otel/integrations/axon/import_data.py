"""`import_data`: a method that the specification shows and the SDK lacks."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from ...events.identifiers import identifier

__all__ = ["import_data"]


async def import_data(
    self: Any,
    data: Any,
    overwrite: bool = False,
    tier_mapping: dict[str, str] | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
) -> dict[str, Any]:
    """Import many memories in one operation: `import_from` for plain texts as well.

    Args:
        data: The dict that `export` returned, or a list of texts, of `MemoryEntry` objects or
            of entries as in an export.
        overwrite: Replace entries that exist.
        tier_mapping: New tier for entries of a tier: ``{"cache": "persistent"}``.
        user_id: The user who acts, and who owns the entries made of plain texts.
        session_id: The session of that user.

    Returns:
        The dict of `import_from`: ``imported``, ``skipped``, ``errors``, ``by_tier``.

    Raises:
        ValueError: If *data* is one text, or a dict that `import_from` refuses.
        TypeError: If *data* cannot hold entries.
    """
    if isinstance(data, Mapping):
        imported: dict[str, Any] = await self.import_from(data, overwrite, tier_mapping)
        return imported
    if isinstance(data, (str, bytes, bytearray)):  # a list of its characters, otherwise
        msg = f"data is one {type(data).__name__}, no list: pass one text in a list, [text]"
        raise ValueError(msg)
    items = list(data)
    owner = {"user_id": user_id, "session_id": session_id}
    entries = [await _as_entry(self, item, owner) for item in items]
    # New ids cannot exist yet, and adapters that return None for a missing id make the SDK
    # skip entries.
    overwrite = overwrite or all(isinstance(item, str) for item in items)
    wrapped = {"version": "1.0", "entries": entries}
    imported = await self.import_from(wrapped, overwrite, tier_mapping)
    return dict(imported)


def _dumped(item: Any) -> dict[str, Any]:
    """A `MemoryEntry` in the form that `export` gives it."""
    entry: dict[str, Any] = item.model_dump(mode="json")
    for name in ("created_at", "last_accessed_at"):  # Python 3.10 reads no dates with a Z
        moment = getattr(item.metadata, name)
        entry["metadata"][name] = moment and moment.isoformat()
    return entry


async def _as_entry(system: Any, item: Any, owner: Mapping[str, Any]) -> Any:
    """One item of `import_data` in the form that `export` gives an entry."""
    if hasattr(item, "model_dump"):
        return {"tier": system.config.default_tier, **_dumped(item)}
    if not isinstance(item, str):
        return item
    given = {name: identifier(value) for name, value in owner.items() if value is not None}
    entry: dict[str, Any] = {
        "id": str(uuid.uuid4()),
        "text": item,
        "metadata": {"created_at": datetime.now(timezone.utc).isoformat(), **given},
        "tier": system.config.default_tier,
    }
    if system.embedder is not None:
        entry["embedding"] = await system.embedder.embed(item)
    return entry
