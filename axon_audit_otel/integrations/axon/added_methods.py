"""`forget` and `import_data`: methods that the specification shows and the SDK lacks."""

from __future__ import annotations

import inspect
import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timezone
from time import perf_counter_ns
from typing import Any

from ...core.errors import ForgetRefusedError, shown
from ...events.identifiers import identifier
from ...events.model import OperationType
from ...operations.activity import STILL_PRESENT
from ...operations.operation import Arguments, Operation, current
from .selection import Selection, blank_member, has_matches, selects_everybody

#: ``error.type`` of a FORGET by filter that may have left entries: not all could be listed.
NOT_LISTED = "entries_not_listed"


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


async def present_in(
    registry: Any, tiers: list[str], args: Arguments
) -> tuple[list[str], list[str], int]:
    """The ids requested, the ids of them that are present, and the number of entries unlisted."""
    present: list[str] = []
    hidden = 0
    entry_id, selection = args.get("entry_id"), Selection(args.get("filter"))
    for tier in tiers:
        adapter = await registry.get_adapter(tier)
        if entry_id is None:
            ids, more = await matching(adapter, selection)
            present += ids
            hidden += more
        elif await exists(adapter, entry_id):
            present.append(entry_id)
    requested = present if entry_id is None else [entry_id]
    return list(dict.fromkeys(requested)), list(dict.fromkeys(present)), hidden


async def derived_from(
    op: Operation, adapters: list[Any], gone: Iterable[str], selection: Selection | None
) -> list[str]:
    """The living entries that were made of the *gone* ones, or of those of a whole person.

    Args:
        op: The deletion.
        adapters: Where they may live; also those of other memories that are known to have them.
        gone: What was deleted, or asked for.
        selection: The filter; one that selects all entries of a person also means what was made
            of those that had gone before.
    """
    known = op.trail.entries
    made = known.descendants(gone)
    person = None if selection is None else selection.person
    if person is not None:
        made = list(dict.fromkeys([*made, *known.derived_of(op.trail.policy.forms(person))]))
    living = []
    for key in made:
        asked = {id(adapter): adapter for adapter in [*adapters, *op.holders(key, op)]}
        for adapter in asked.values():
            if await exists(adapter, key):
                living.append(key)
                break
    op.persons = (person,) if person is not None and living else ()
    return living


def conclude_forget(
    op: Operation,
    requested: list[str],
    gone: list[str],
    remaining: list[str],
    hidden: int,
    errors: bool = False,
) -> None:
    """Record in *op* what a deletion was to delete, what is gone, and what is still there.

    *hidden* is the number of entries that could not be checked. With *errors* there may be
    more of these.
    """
    op.activity.deleted = dict.fromkeys(gone)  # checked, so better than what adapters returned
    op.activity.failed.clear()  # what failed is in `remaining`, or raised
    op.entry_ids = list(dict.fromkeys([*requested, *gone]))
    op.entries, op.attempted = len(gone), len(op.entry_ids)
    op.note(deleted=len(gone), remaining=len(remaining))
    if not (gone or remaining or hidden or errors):
        op.note(found=0)
    op.problems = len(remaining) + hidden
    if hidden:
        op.error_type = NOT_LISTED
        op.note(unlisted=hidden)
    if remaining:
        for store, keys in op.activity.stores.items():
            store.revive(keys.intersection(remaining))
        op.failed = not gone
        op.error_type = STILL_PRESENT
        if gone:
            op.note(remaining_ids=remaining)


def conclude_copies(op: Operation, gone: Iterable[str]) -> None:
    """Every store was asked: of what is *gone* there is no copy, but in other memories."""
    for key in gone:
        if op.holders(key, op):
            continue
        op.activity.copies.pop(key, None)
        op.trail.entries.end(key, perf_counter_ns())


async def forget(
    self: Any,
    entry_id: str | None = None,
    *,
    filter: Any = None,
    tier: str | None = None,
    everything: bool = False,
    derived: str | None = None,
    request_id: str | None = None,
) -> int:
    """Delete an entry, or all entries that *filter* selects, and check that they are gone.

    Args:
        entry_id: The entry to delete.
        filter: An `axon.Filter`, in place of *entry_id*. Times without a zone, of a filter
            or of an entry, are local.
        tier: Look in this tier only. Default: in all.
        everything: True, in place of both: delete all entries of all users.
        derived: ``"delete"``: delete entries that were made of these as well, as summaries are,
            also where they hold data of other users; the audit event names them. Default: they
            stay, and the status is PARTIAL.
        request_id: The number of the request, for the event and for a receipt.
        user_id: The user who acts (every audited method takes it).
        session_id: The session of that user.

    Returns:
        The number of entries that existed and are gone. The audit event names entries that
        could not be deleted; its status is then FAILURE or PARTIAL. It is also PARTIAL if the
        storage may hold more entries that *filter* selects: it counts more than it lists, or
        some cannot be compared with the filter; and if entries live that are known to be made of
        what was deleted. With a *filter* for a user alone, that is also what was made of entries
        of the user that had gone before.

    Raises:
        ForgetRefusedError: (a ValueError) If it is unclear what to delete: none or several of
            *entry_id*, *filter* and *everything*, an empty id, a filter that selects all
            entries or has an empty member; or another *derived*. Nothing is deleted then.
        ValueError: If *tier* is unknown.
        Exception: The first error of a storage adapter, after every tier was tried.
    """
    refusal = _refusal(entry_id, filter, everything) or _refused_derived(derived)
    if refusal:
        raise ForgetRefusedError(f"forget: {refusal}")
    if tier is not None and tier not in self.config.tiers:
        raise ValueError(f"Invalid tier '{tier}'. Valid tiers: {list(self.config.tiers)}")
    erasure = _Erasure(self, entry_id, filter)
    await erasure.erase_tiers(tier)
    await erasure.erase_derived(derived == "delete")
    return erasure.conclude()


_HOW_TO_MEAN_IT = "to delete everybody's, say forget(everything=True)"


def _refusal(entry_id: Any, chosen: Any, everything: Any) -> str | None:
    """The reason to refuse a `forget`; None if its arguments are clear."""
    if not isinstance(everything, bool):
        return f"everything={shown(everything)} must be True or False"
    if (entry_id is not None) + (chosen is not None) + everything != 1:
        return "it needs an entry_id or a filter (one of them), or everything=True"
    if isinstance(entry_id, str) and not entry_id.strip():
        return f"entry_id={entry_id!r} is empty: no entry has it"
    return None if chosen is None else _refused_filter(chosen)


def _refused_derived(derived: Any) -> str | None:
    if derived in (None, "delete"):
        return None
    if derived == "rebuild":
        return (
            "derived='rebuild' is not possible: the sources of a summary are gone once it is"
            " made; say derived='delete', and make it anew from what is left"
        )
    return f"derived={shown(derived)} must be 'delete', or left out"


def _refused_filter(chosen: Any) -> str | None:
    if not has_matches(chosen):
        return f"filter={shown(chosen)} must be an axon.Filter"
    name = blank_member(chosen)
    if name is not None:
        value = shown(getattr(chosen, name))
        return f"the filter's {name}={value} is empty and restricts nothing; {_HOW_TO_MEAN_IT}"
    if selects_everybody(chosen):
        return f"the filter selects everybody; {_HOW_TO_MEAN_IT}"
    return None


class _Erasure:
    """One `forget` over the tiers of a system."""

    def __init__(self, system: Any, entry_id: str | None, chosen: Any) -> None:
        self._system = system
        self._entry_id = entry_id
        self._selection = Selection(chosen)
        self._requested: dict[str, None] = {} if entry_id is None else {entry_id: None}
        self._gone: dict[str, None] = {}
        self._remaining: dict[str, None] = {}
        self._hidden = 0
        self._errors: list[Exception] = []
        self._is_everywhere = False
        self._derived: list[str] = []  # what lives of entries made of these

    async def erase_derived(self, wanted: bool) -> None:
        """Find the living entries that were made of what was asked for; delete them if *wanted*."""
        op = current()
        if op is None or op.kind.operation is not OperationType.FORGET:
            return
        asked = dict(self._requested)
        try:
            tiers = list(self._system.config.tiers)
            adapters = [await self._system.registry.get_adapter(tier) for tier in tiers]
            living = await derived_from(op, adapters, asked, self._selection)
            if wanted and living:
                op.note(
                    derived_deleted=living, derived_of_others=self._of_others(op, asked, living)
                )
                for key in living:
                    for tier, adapter in zip(tiers, adapters):
                        if await exists(adapter, key):
                            await self._erase_one(adapter, tier, key)
            self._derived = [key for key in living if key not in self._gone]
        except Exception as exc:  # raised by `conclude`
            self._errors.append(exc)

    def _of_others(self, op: Operation, asked: Iterable[str], keys: list[str]) -> list[str] | None:
        """Which of the derived entries *keys* hold data of others than the owners of *asked*."""
        person = self._selection.person
        known, name = op.trail.entries, op.trail.policy.recorded_name
        meant = {name(o) for o in (person, *map(known.owner, asked)) if o is not None}
        derived = known.derived
        return [
            key
            for key in keys
            if key in derived and not meant.issuperset(map(name, derived[key].owners))
        ] or None

    async def erase_tiers(self, tier: str | None) -> None:
        """Delete from a tier, or from all."""
        self._is_everywhere = tier is None and self._selection.chosen is None
        for name in [tier] if tier is not None else list(self._system.config.tiers):
            await self._erase(name)

    async def _erase(self, tier: str) -> None:
        """Delete from one tier; an error is kept until every tier was tried."""
        try:
            adapter = await self._system.registry.get_adapter(tier)
            if self._entry_id is None:
                await self._erase_matching(adapter, tier)
            elif await exists(adapter, self._entry_id):
                await self._erase_one(adapter, tier, self._entry_id)
        except Exception as exc:  # raised by `conclude`
            self._errors.append(exc)

    async def _erase_matching(self, adapter: Any, tier: str) -> None:
        """Delete what the filter selects; again while a list was cut off and had new entries."""
        tried: set[str] = set()
        while True:
            ids, hidden = await matching(adapter, self._selection)
            fresh = [key for key in ids if key not in tried]
            for key in fresh:
                await self._erase_one(adapter, tier, key)
            tried.update(fresh)
            if not hidden or not fresh:
                break
        self._hidden += hidden

    async def _erase_one(self, adapter: Any, tier: str, key: str) -> None:
        self._requested[key] = None
        if await self._delete(adapter, key):
            self._gone[key] = None
            self._system.router.get_tier_stats(tier)["forgets"] += 1
        else:
            self._remaining[key] = None

    async def _delete(self, adapter: Any, key: str) -> bool:
        """Delete one entry; return True if it is gone, whatever `delete` returned or raised."""
        try:
            await adapter.delete(key)
        except Exception as exc:  # raised by `conclude`
            self._errors.append(exc)
        try:
            return not await exists(adapter, key)
        except Exception as exc:  # raised by `conclude`
            self._errors.append(exc)
            return False

    def conclude(self) -> int:
        """Record the outcome; raise the first error, or return the number of entries gone."""
        gone = [key for key in self._gone if key not in self._remaining]
        op = current()
        if op is not None and op.kind.operation is OperationType.FORGET:
            conclude_forget(
                op,
                list(self._requested),
                gone,
                list(self._remaining),
                self._hidden,
                errors=bool(self._errors),
            )
            if self._gone.keys() - set(gone):  # deleted in one tier, still in another
                op.activity.deleted = self._gone
            if self._is_everywhere:
                conclude_copies(op, gone)
            op.derived_remain(self._derived)
        if self._errors:
            raise self._errors[0]
        return len(gone)


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
