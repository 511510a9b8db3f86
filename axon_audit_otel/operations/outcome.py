"""What an operation says at its end: its event, made of what it has learnt."""

from __future__ import annotations

from typing import Any

from ..events.draft import Draft, add_later, draft
from ..events.identifiers import identifiers
from ..events.model import EventStatus, OperationType
from .facts import COPYING, Facts

__all__ = ["UNSAID", "bare_event", "full_event", "note_swallowed"]

#: In place of the words of a call, where ids name people and the event names nobody: they may have
#: an id that the operation did not report, and there is no key to encrypt them with.
UNSAID = "[left out: it may name an entry, and the event names nobody]"
#: The SDK itself handles at most so many entries in one query.
MAX_ENTRY_IDS = 100_000


def full_event(
    op: Facts, status: EventStatus, exc: BaseException | None, elapsed_ns: int, span: Any
) -> Draft:
    """The event of an operation that ends; *span* is its context."""
    seen = op.activity
    names, entries = _entries(op)
    _note_state(op, names)
    subjects = _subjects(op, names)
    if len(subjects) > 1:
        subjects = _distinct(op, subjects)
    if seen.derived and subjects:
        _note_sources_owners(op, subjects)
    if op.private is not None:  # a part may have named them so before
        names = list(dict.fromkeys(map(op.namer(), op.named(names, again=True))))
    op.subjects = subjects
    if op.private is not None and not subjects:
        _leave_unsaid(op)
    message = ""
    if exc is not None and op.capture.on_events:
        message = UNSAID if op.is_unsaid else str(exc)
    prints, sources = _fingerprints(op), _derived_from(op) if seen.derived else []
    kind = op.kind
    event = draft(
        kind.name,
        status._value_,  # as `value`, which takes Python code before Python 3.12
        user_id=op.user_id,
        session_id=op.session_id,
        entry_ids=names,
        metadata=op.metadata,
        duration_ms=elapsed_ns // 1000 / 1000,
        event_id=op.event_id,
        entries=entries,
        most_ids=MAX_ENTRY_IDS,
        trail=op.trail,
        error_message=message or None,
        error_type=op.error_type,
        subject_id=op.subject_id,
        span=span,
        action=kind.action,
        system=kind.system,
        store=op.store,
        subjects=subjects,
    )
    if op.acting:
        add_later(event, op.acting)
    if prints or sources:
        add_later(event, {"fingerprints": prints, "derived_from": sources})
    if op.private is not None:
        event.private, event.namer = op.private, op.namer()
    event.text_owners = op.text_owners
    return event


def _leave_unsaid(op: Facts) -> None:
    """Leave out the query and what was raised, if the event names nobody."""
    is_somebodys = op.user_id is not None or op.subject_id is not None or op.delegates
    if is_somebodys or not op.trail.policy.entry_names.are_hidden:
        return
    op.is_unsaid = True
    if "query" in op.metadata:
        op.metadata["query"] = UNSAID
    op.span_attributes = dict.fromkeys(op.span_attributes, UNSAID)


def bare_event(op: Facts, status: EventStatus, elapsed_ns: int) -> Draft:
    """The event with only what is certain, where the facts are hostile."""
    facts: dict[str, Any] = {"dropped": "[details that could not be recorded]"}
    if op.kind.deletes:
        facts["deleted"] = _gone(op)
    event = draft(
        op.kind.name,
        status.value,
        user_id=op.user_id,
        session_id=op.session_id,
        metadata=facts,
        duration_ms=elapsed_ns / 1e6,
        event_id=op.event_id,
        entries=facts.get("deleted"),
        trail=op.trail,
        error_type=op.error_type,
        action=op.kind.action,
        system=op.kind.system,
        store=op.store,
        **op.acting,
    )
    if op.private is not None:
        event.private, event.namer = op.private, op.namer()
    return event


def _entries(op: Facts) -> tuple[list[str], int]:
    """The ids of its entries, and how many it handled."""
    seen, ids = op.activity, op.entry_ids
    known = list(seen.saved) if ids is None else ids
    # Nothing is deleted unseen, whatever the operation.
    if seen.deleted:
        listed = set(map(str, known))
        known = [key for key in seen.deleted if key not in listed] + known
    entries = op.entries
    if entries is None:
        entries = len(known) if ids is None else len(ids)
    if seen.deleted or seen.unnamed or op.kind.deletes:
        op.metadata["deleted"] = gone = _gone(op)
        entries = gone if op.kind.deletes else entries
    return known if op.are_names and known is ids else identifiers(known), entries


def _gone(op: Facts) -> int:
    """The number of entries that it deleted, as far as is known."""
    known = op.metadata.get("deleted")
    if isinstance(known, int):
        return known
    more = op.activity.unnamed
    if op.kind.operation is OperationType.SYNC:  # gone from its source
        return len(op.activity.deleted) + more
    return len(op.activity.deleted.keys() - op.activity.saved.keys()) + more


def _note_state(op: Facts, names: list[str]) -> None:
    """Note in which state it left its entries, or found them."""
    seen = op.activity
    if seen.remaining:
        op.note(remaining=len(seen.remaining), remaining_ids=list(seen.remaining))
    if seen.back:
        _note_back(op, names)
    if op.altered:
        _note_altered(op, op.altered)
    if seen.copies:
        told = {k: n for k, (before, n) in seen.copies.items() if n > 1 or (n and before > 1)}
        is_one = len(set(told.values())) == 1 and told.keys() == set(names)
        op.note(copies=next(iter(told.values())) if is_one else told or None)


def _note_back(op: Facts, names: list[str]) -> None:
    """Note which of the entries *names* are there although they are gone."""
    seen, known = op.activity, op.trail.entries
    stored = () if op.kind.operation in COPYING else seen.saved
    back = [key for key in names if key in seen.back and key not in stored]
    if back and known.look(at_once=True):  # another process may have brought them back
        back = [key for key in back if not known.lives(key)]
    op.note(resurrected=back or None)


def _note_altered(op: Facts, altered: dict[str, str]) -> None:
    """Note which entries had not the newest content on record."""
    stores_of = op.activity.stores_of
    if op.trail.entries.look(at_once=True):  # another process may know more
        altered = {k: fp for k, fp in altered.items() if op.is_altered(k, fp, stores_of(k))}
    op.note(altered=list(altered) or None)


def note_swallowed(op: Facts, raised: BaseException | None) -> None:
    """Count the failures that were not raised, and note the stage and type of each."""
    swallowed = op.activity.swallowed(raised)
    for stage, _ in swallowed:
        op.trail.metrics.sdk_faults[stage].inc()
    if not swallowed:
        return
    stage, kind = swallowed[0]
    op.note(stage=stage, error_type=kind if kind != op.error_type else None)
    if len(stages := dict(reversed(swallowed))) > 1:
        op.note(swallowed=stages)


# --- whose data -----------------------------------------------------------------------------


def _subjects(op: Facts, names: list[str]) -> tuple[str, ...]:
    """The owners of the entries *names*, and of what these were made of."""
    seen = op.activity
    if op.given is not None:
        owners = tuple(owner for owner in op.given if owner is not None)
    else:
        owners = (*op.persons, *(seen.owners_of(names) if seen.owners else ()))
    if op.kind.operation is OperationType.STORE and not seen.derived:
        return owners
    known = op.trail.entries
    if op.entry_ids is not None and seen.saved:  # besides those that it names: promoted
        owners = (*owners, *seen.owners_of(list(seen.saved)))
    unseen = [key for key in names if key not in seen.owners]
    if unseen:  # what was asked for, and is gone, or could not be read, was somebody's
        past = map(known.owner, unseen)
        owners = (*owners, *(owner for owner in past if owner is not None))
    return (*owners, *known.owners_behind(names))


def _distinct(op: Facts, owners: tuple[str, ...]) -> tuple[str, ...]:
    """Each of *owners* once, under whichever of his names."""
    owners = tuple(dict.fromkeys(owners))
    if len(owners) == 1:
        return owners
    name = op.trail.policy.recorded_name
    return tuple({name(owner): owner for owner in owners}.values())


def _note_sources_owners(op: Facts, subjects: tuple[str, ...]) -> None:
    """Note whose the sources of each new entry are, by their places in the *subjects*; unless
    all are everybody's."""
    name = op.trail.policy.recorded_name
    places = {name(owner): at for at, owner in enumerate(subjects)}
    derived = op.trail.entries.derived
    made = {
        key: [places[o] for o in map(name, derived[key].owners) if o in places]
        for key, sources in op.activity.derived.items()
        if sources != (key,) and key in derived
    }
    if any(len(some) < len(subjects) for some in made.values()):
        op.note(derived_subjects=made)


# --- what of which content ------------------------------------------------------------------


def _fingerprints(op: Facts) -> dict[str, str]:
    saved, read = op.activity.prints, op.fingerprints
    prints = {**saved, **read} if saved and read else saved or read
    return {k: fp for k, fp in prints.items() if fp} if "" in prints.values() else prints


def _derived_from(op: Facts) -> list[str]:
    """What the new entries were made of; of several, the metadata says which of what."""
    derived = op.activity.derived
    made = {key: some for key, some in derived.items() if some != (key,)}
    if len(made) > 1 or (made and len(made) < len(derived)):
        op.metadata["derived"] = {key: list(some) for key, some in derived.items()}
    return [source for some in derived.values() for source in some]
