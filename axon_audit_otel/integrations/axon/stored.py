"""Reads all entries of a memory, through its storage adapters: no entry changes by that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from ...core.errors import AuditConfigError, shown
from ...core.time import aware
from ...events.identifiers import identifier
from .asking import all_queried, count, listed_ids
from .entry import owner_of, sources_of

__all__ = ["StoredEntry", "StoredMemory"]


class StoredEntry(NamedTuple):
    """One entry of one tier, as it lies there.

    Attributes:
        tier: The tier's name.
        key: Its id, as events have it.
        owner: Whose it is; None: nobody's.
        text: Its content.
        sources: The entries that it was made of, as it says itself.
        created: When it was made, as it says itself; None if it does not.
    """

    tier: str
    key: str
    owner: str | None
    text: Any
    sources: tuple[str, ...] = ()
    created: datetime | None = None


class StoredMemory:
    """The entries of a `MemorySystem`.

    Args:
        memory: The system.

    Attributes:
        lifetimes: The seconds after which a tier lets its entries expire, by tier; None: never.
        unlisted: How many entries a tier counts but does not list, by tier, after `entries`.
        unreadable: The entries that cannot be read: the error, by tier and id.

    Raises:
        AuditConfigError: If it is no such system.
    """

    def __init__(self, memory: Any) -> None:
        tiers = getattr(getattr(memory, "config", None), "tiers", None)
        if not isinstance(tiers, Mapping) or not hasattr(memory, "registry"):
            raise AuditConfigError(f"memory={shown(memory)}: must be an axon.MemorySystem")
        self._registry = memory.registry
        self.lifetimes: dict[str, float | None] = {
            name: getattr(policy, "ttl_seconds", None) for name, policy in tiers.items()
        }
        self.unlisted: dict[str, int] = {}
        self.unreadable: dict[tuple[str, str], str] = {}
        self._raw: dict[str, Any] = {}  # ids that events have in another form

    async def entries(self) -> AsyncIterator[StoredEntry]:
        """Every entry of every tier that can be listed.

        Raises:
            Exception: Of an adapter that gives nothing at all.
        """
        for tier in self.lifetimes:
            adapter = await self._registry.get_adapter(tier)
            if not await _can_be_asked(adapter):
                self.unlisted[tier] = 0
                continue
            async for entry in self._of(tier, adapter):
                yield entry

    async def _of(self, tier: str, adapter: Any) -> AsyncIterator[StoredEntry]:
        counted = await count(adapter)
        ids, fault = await _ids_in(adapter)
        seen: set[str] = set()
        for raw in ids:
            entry = await self._get(tier, adapter, raw)
            if entry is not None:
                seen.add(entry.key)
                yield entry
        if not seen or len(seen) < max(counted, len(ids)):
            # No adapter is complete in both: Redis lists ids that are cut at a colon.
            for entry in await self._queried(tier, adapter, bool(seen), fault):
                if entry.key not in seen:
                    seen.add(entry.key)
                    self.unreadable.pop((tier, entry.key), None)
                    yield entry
        counted = min(counted, await count(adapter))  # others may have deleted some meanwhile
        unread = sum(tier == where for where, _ in self.unreadable)
        self.unlisted[tier] = max(0, counted - len(seen) - unread)

    async def _queried(
        self, tier: str, adapter: Any, has_some: bool, fault: Exception | None
    ) -> Iterable[StoredEntry]:
        try:
            found = await all_queried(adapter)
            return [self._entry(tier, entry.id, entry) for entry in found]
        except Exception as exc:  # an adapter may raise anything; the list may be enough
            if not has_some and not any(tier == where for where, _ in self.unreadable):
                raise fault or exc from None
            return []

    async def look(self, key: str) -> list[StoredEntry]:
        """An entry, in each tier that has it now, listed or not."""
        found = []
        for tier in self.lifetimes:
            adapter = await self._registry.get_adapter(tier)
            entry = await self._get(tier, adapter, self._raw.get(key, key))
            if entry is not None:
                found.append(entry)
        return found

    async def _get(self, tier: str, adapter: Any, raw: Any) -> StoredEntry | None:
        key = identifier(raw)
        try:
            entry = await adapter.get(raw)
            found = None if entry is None else self._entry(tier, raw, entry)
        except KeyError:  # there is none
            found = None
        except Exception as exc:  # an adapter may raise anything; one bad entry ends no answer
            self.unreadable[tier, key] = f"{type(exc).__name__}: {exc}"
            return None
        self.unreadable.pop((tier, key), None)
        return found

    def _entry(self, tier: str, raw: Any, entry: Any) -> StoredEntry:
        """*entry*, under the id that the store has it by."""
        key = identifier(raw)
        if key != raw:
            self._raw[key] = raw
        created = getattr(entry.metadata, "created_at", None)
        return StoredEntry(
            *(tier, key, owner_of(entry), entry.text, sources_of(entry)),
            aware(created) if isinstance(created, datetime) else None,
        )

    def tiers_of(self, facts: Mapping[str, Any]) -> list[str]:
        """The tiers in which a store with these *facts* may have put an entry: as `Router` does
        where no tier is named. All, if the facts do not say it."""
        tiers, named = list(self.lifetimes), facts.get("tier", facts.get("target_tier"))
        by_tier, importance = facts.get("by_tier"), facts.get("importance")
        if isinstance(named, str) and named in tiers:
            return [named]
        if isinstance(by_tier, dict):
            return [tier for tier in tiers if tier in by_tier] or tiers
        if isinstance(importance, bool) or not isinstance(importance, (int, float)):
            return tiers
        least = {"persistent": 0.7, "session": 0.3, "ephemeral": 0.0}
        chosen = next((tier for tier, most in least.items() if importance >= most), "")
        return [chosen if chosen in tiers else tiers[0]]


async def _ids_in(adapter: Any) -> tuple[list[Any], Exception | None]:
    """The ids that an adapter lists, or why it does not."""
    try:
        return await listed_ids(adapter), None
    except Exception as exc:  # an adapter may raise anything; a query may give them
        return [], exc


async def _can_be_asked(adapter: Any) -> bool:
    """False if Qdrant has no such collection: a query would make it, for vectors of any length.

    Raises:
        Exception: If its server does not answer, which the adapter itself would not tell.
    """
    collections = getattr(getattr(adapter, "client", None), "get_collections", None)
    if collections is None or not hasattr(adapter, "collection_name"):
        return True
    found = (await collections()).collections
    return any(one.name == adapter.collection_name for one in found)
