"""Asks a storage adapter for its entries, in every way that the SDK's adapters have."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from ...operations.operation import current
from .selection import Selection

__all__ = ["all_queried", "count", "exists", "limited", "listed_ids", "matching"]


async def exists(adapter: Any, entry_id: str) -> bool:
    """Return True if the adapter has the entry; raises as `_get` does."""
    return await _get(adapter, entry_id) is not None


async def _get(adapter: Any, entry_id: str) -> Any:
    """The entry, or None if the adapter has none.

    Raises what the adapter's `get` raised, also an error that `get` swallowed to return None.
    """
    try:
        entry = await adapter.get(entry_id)
    except KeyError:
        return None
    op = current()
    swallowed = None if op is None else op.activity.failed.pop(("get", ""), None)
    if entry is None and isinstance(swallowed, BaseException):
        raise swallowed
    return entry


async def matching(adapter: Any, selection: Selection) -> tuple[list[str], int]:
    """The ids of the selected entries, and the number of entries that could not be checked.

    Combines the two ways that the SDK has to find entries, since no adapter is complete in
    both: a list of ids (Redis cuts ids at a colon), and a query with a zero vector (the
    in-memory adapter refuses it). Raises what the query raised if the list is empty too.
    """
    found: dict[str, Any] = {}
    counted = await count(adapter)
    try:
        ids = await listed_ids(adapter)
    except Exception:  # an adapter may raise anything
        ids = []
        counted = 0  # without a list, the count says nothing about entries that it lacks
    for entry_id in ids:
        if (entry := await _get(adapter, entry_id)) is not None:
            found[entry.id] = entry
    try:
        queried = await _queried(adapter, selection)
    except Exception:  # the list may be enough
        if not found:
            raise
        queried = []
    for entry in queried:
        found[entry.id] = entry
    seen = max(len(ids), len(found))
    if counted > seen:  # others may have deleted entries meanwhile
        counted = min(counted, await count(adapter))
    judged = {key: selection.has(entry) for key, entry in found.items()}
    unknown = sum(chosen is None for chosen in judged.values())
    return [key for key, chosen in judged.items() if chosen], max(0, counted - seen) + unknown


async def _queried(adapter: Any, selection: Selection) -> list[Any]:
    """The entries that a query finds; without the filter's times if they cannot be compared."""
    try:
        return await all_queried(adapter, filter=selection.chosen)
    except TypeError:
        if selection.timeless is None:
            raise
        return await all_queried(adapter, filter=selection.timeless)


async def all_queried(adapter: Any, **chosen: Any) -> list[Any]:
    """The entries that a query with a zero vector finds."""
    many = limited(adapter.query) or {"k": 100_000}
    entries: list[Any] = await adapter.query([0.0] * 384, **many, **chosen)
    return entries


async def listed_ids(adapter: Any) -> list[str]:
    """The ids that an adapter lists; raises if it has no such method."""
    lister = getattr(adapter, "list_ids_async", None) or adapter.list_ids
    ids = lister(**limited(lister))
    if inspect.isawaitable(ids):
        ids = await ids
    return list(ids)


def limited(function: Callable[..., Any]) -> dict[str, int]:
    """The argument ``limit``, as large as adapters allow, if *function* takes one."""
    try:
        names = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return {}
    return {"limit": 10_000} if "limit" in names else {}  # Pinecone refuses more


async def count(adapter: Any) -> int:
    """The number of entries that an adapter counts; 0 if it cannot count."""
    try:
        number = (getattr(adapter, "count_async", None) or adapter.count)()
        if inspect.isawaitable(number):
            number = await number
        return int(number)
    except Exception:  # the count only helps to notice unlisted entries
        return 0
