"""What is recorded of a deletion: what was asked for, what is gone, and what is still there."""

from __future__ import annotations

from collections.abc import Iterable
from time import perf_counter_ns
from typing import Any

from ...events.identifiers import identifier
from ...events.model import OperationType
from ...operations.activity import STILL_PRESENT, error_type
from ...operations.facts import Arguments, Facts, Kind
from .asking import exists, matching
from .methods import SYSTEM, name_of, note_filter
from .selection import Selection, has_matches, selects_everybody

__all__ = [
    "FORGET",
    "NOT_LISTED",
    "ROUTE_FORGET",
    "conclude_copies",
    "conclude_forget",
    "derived_from",
]

#: ``error.type`` of a FORGET by filter that may have left entries: not all could be listed.
NOT_LISTED = "entries_not_listed"


def _before_forget(op: Facts, args: Arguments) -> None:
    op.entry_ids = []
    entry_id, chosen = args.get("entry_id"), args.get("filter")
    op.note(tier=name_of(args.get("tier")))
    if args.get("request_id") is not None:
        op.note(request_id=identifier(args["request_id"]))
    if args.get("everything") is True and entry_id is None and chosen is None:
        op.note(everything=True)
    note_filter(op, args)
    if entry_id is not None:
        op.entry_ids = [entry_id]


def _before_route_forget(op: Facts, args: Arguments) -> None:
    _before_forget(op, args)
    chosen = args.get("filter")  # `Router.route_forget` accepts every filter
    if args.get("entry_id") is None and has_matches(chosen) and selects_everybody(chosen):
        op.note(everything=True)


async def _verify_route_forget(op: Facts, router: Any, args: Arguments, result: Any) -> None:
    """Check that the entries are gone: `Router.route_forget` does not report it."""
    tier = args.get("tier")
    tiers = [tier] if tier is not None else list(router.config.tiers)
    try:
        requested, remaining, hidden = await _present_in(router.registry, tiers, args)
    except Exception as exc:  # the instrumented call: an adapter may raise anything
        op.failed, op.error_type = not op.activity.deleted, error_type(exc)
        op.problems += 1
        return
    op.activity.failed.clear()  # only the check counts, not failed calls on the way
    gone = [key for key in op.activity.deleted if key not in remaining]
    conclude_forget(op, requested, gone, remaining, hidden)
    if tier is None and args.get("entry_id") is not None:
        conclude_copies(op, gone)
    adapters = [await router.registry.get_adapter(tier) for tier in router.config.tiers]
    selection = Selection(args.get("filter"))
    op.derived_remain(await derived_from(op, adapters, op.entry_ids or (), selection))
    if isinstance(result, int) and result > len(gone):  # deleted by filter, ids unknown
        op.entries = result
        op.note(deleted=result)


async def _present_in(
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
    op: Facts, adapters: list[Any], gone: Iterable[str], selection: Selection | None
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
    op: Facts,
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


def conclude_copies(op: Facts, gone: Iterable[str]) -> None:
    """Every store was asked: of what is *gone* there is no copy, but in other memories."""
    for key in gone:
        if op.holders(key, op):
            continue
        op.activity.copies.pop(key, None)
        op.trail.entries.end(key, perf_counter_ns())


FORGET = Kind(
    OperationType.FORGET,
    "MemorySystem.forget",
    SYSTEM,
    ("entry_id", "filter", "tier"),
    _before_forget,
)
ROUTE_FORGET = Kind(
    OperationType.FORGET,
    "Router.route_forget",
    SYSTEM,
    ("entry_id", "filter", "tier"),
    _before_route_forget,
    verify=_verify_route_forget,
)
