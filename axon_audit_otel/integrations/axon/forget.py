"""`forget`: a method that the specification shows and the SDK lacks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ...core.errors import ForgetRefusedError, shown
from ...events.model import OperationType
from ...operations.facts import Facts
from ...operations.operation import current
from .asking import exists, matching
from .erasure import conclude_copies, conclude_forget, derived_from
from .selection import Selection, blank_member, has_matches, selects_everybody

__all__ = ["forget"]


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

    def _of_others(self, op: Facts, asked: Iterable[str], keys: list[str]) -> list[str] | None:
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
