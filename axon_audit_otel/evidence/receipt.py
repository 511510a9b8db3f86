"""A receipt for people: as text, and as a page."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from ..core.errors import escaped
from ..verification.receipt import facts_of, signers_of
from .pages import render

__all__ = ["Section", "as_html", "as_text", "sections"]

_SHOWN = 20  # ids of many
_HOW = (
    "Save the JSON form of this receipt as receipt.json. Get the public key of the trail from a"
    " source that you trust. Then: python3 verify_proof.py receipt.json KEY. The program"
    " verify_proof.py is printed by `axon-audit prove --script`; it needs Python and its package"
    " cryptography (pip install cryptography), and nothing of the organisation that made this"
    " receipt."
)


class Section(NamedTuple):
    """A heading, and paragraphs below it."""

    heading: str
    paragraphs: list[str]


def as_text(receipt: dict[str, Any], width: int = 80) -> str:
    """A receipt of `verification.receipt` as text in lines of *width* characters."""
    lines = ["RECEIPT OF AN ERASURE", *textwrap.wrap(_made(receipt), width)]
    for section in sections(receipt):
        lines += ["", section.heading]
        for paragraph in section.paragraphs:
            lines += textwrap.wrap(
                paragraph,
                width,
                initial_indent="  ",
                subsequent_indent="  ",
                break_on_hyphens=False,
            )
    return "\n".join(lines) + "\n"


def as_html(receipt: dict[str, Any]) -> str:
    """A receipt as one HTML file: no script, nothing from a network; the JSON form is in it.

    Raises:
        AuditConfigError: If Jinja2 is not installed.
    """
    return render(
        "receipt.html",
        made=_made(receipt),
        signers=signers_of(receipt),
        sections=sections(receipt),
        json=json.dumps(receipt, indent=2),
    )


# --- the words -------------------------------------------------------------------------------


def sections(receipt: dict[str, Any]) -> list[Section]:
    """What a receipt says, in words; ids without control characters."""
    facts = facts_of(receipt)
    found = [
        Section("What was erased", list(_erased(facts))),
        Section("Who asked for it", list(_requested(facts))),
        Section("How it was checked", [_VERIFIED[facts["verified"]][facts["erased"]]]),
        Section("What remains, and why", _points(facts["remains"]) or ["Nothing is known to."]),
        Section("Seen again since", list(_seen(facts))),
        Section("What this receipt cannot know", _points(facts["unknown"])),
        Section("How to verify this receipt", [_HOW]),
    ]
    return [Section(s.heading, [escaped(text) for text in s.paragraphs]) for s in found]


def _made(receipt: dict[str, Any]) -> str:
    facts, names = facts_of(receipt), signers_of(receipt)
    who = facts.get("person")
    whom = "" if who is None else f" for {who['id']}"
    signed = (
        f"signed by {', '.join(names)}"
        if names
        else "NOT SIGNED: it only repeats what its maker found, and nobody can hold them to it"
    )
    return escaped(f"Made{whom} on {_time(facts['made_at'])} with {facts['made_by']}; {signed}.")


def _time(text: str) -> str:
    """A time in words that need no knowledge of a clock: ``2025-01-15 10:30:45 UTC``."""
    return f"{text[:10]} {text[11:19]} UTC"


def _day(text: str) -> str:
    return text[:10]


def _amount(number: int, noun: str, nouns: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def _ids(ids: Iterable[Any]) -> str:
    known = [str(one) for one in ids]
    more = f", and {len(known) - _SHOWN:,} more" if len(known) > _SHOWN else ""
    return ", ".join(known[:_SHOWN]) + more


def _erased(facts: dict[str, Any]) -> Iterator[str]:
    event, counted = facts["event"], facts["counted"]
    when = _time(event["timestamp"])
    if facts["erased"] == "keys":
        yield (
            f"On {when} the keys that encrypt the person's data in the audit trail were destroyed."
            " Without them nobody can read it, in any copy of the trail."
        )
    elif "deleted" in counted:
        number = _amount(counted["deleted"], "memory entry was", "memory entries were")
        yield f"On {when}, {number} deleted."
    else:
        yield f"On {when} a deletion was recorded; how many entries it deleted is not known."
    if event["entry_ids"]:
        yield f"It was about these entries: {_ids(event['entry_ids'])}."
    made = facts.get("derived_deleted") or ()
    if others := [key for key in made if key not in event["entry_ids"]]:
        yield f"Entries that had been made of these were deleted as well: {_ids(others)}."
    elif made:
        yield f"Of these, {_ids(made)} had been made of entries of this person."
    if event["status"] != "SUCCESS":
        why = f" ({event['error_type']})" if "error_type" in event else ""
        yield f"It did not succeed in full: its outcome is {event['status']}{why}."
    yield from _whose(facts)
    yield f"It is event {event['sequence']:,} ({event['event_id']}) of the trail {facts['trail']}."


def _whose(facts: dict[str, Any]) -> Iterator[str]:
    event, person = facts["event"], facts.get("person")
    if person is not None:
        yield (
            f"The trail confirms that it was the data of {person['id']}."
            if person["confirmed"]
            else f"The maker of this receipt says that it was the data of {person['id']}."
        )
    named = [event["subject_id"]] if "subject_id" in event else []
    named = list(dict.fromkeys([*named, *event.get("subjects", [])]))
    if named and facts["erased"] == "entries":
        yield f"As recorded, it was the data of: {_ids(named)}."


_REQUESTED = {
    "user_id": "It was done by {}.",
    "agent_id": "With the program {}.",
    "on_behalf_of": "On behalf of {}.",
    "purpose": "Purpose: {}.",
    "request_id": "Request: {}.",
    "reason": "Reason: {}.",
}


def _requested(facts: dict[str, Any]) -> Iterator[str]:
    said = facts["requested"]
    for name, words in _REQUESTED.items():
        if name in said:
            yield words.format(said[name])
    if not said:
        yield "The record does not say."


_VERIFIED = {
    "read_again": {
        "entries": "After the deletion each entry was asked for again in the memory's own storage,"
        " and what was still there was counted.",
    },
    "no_key": {
        "keys": "When this receipt was made, the directory of keys had no key of the person.",
    },
    "not_verified": {
        "entries": "It was not checked: this deletion did not read the entries again afterwards, or"
        " its record does not say so.",
        "keys": "It was not checked whether a key is left: the keys were not at hand, or one of"
        " them still opens events.",
    },
}


def _seen(facts: dict[str, Any]) -> Iterator[str]:
    seen = facts["seen_again"]
    read = ", ".join(f"{number:,} of {trail or 'files'}" for trail, number in seen["until"].items())
    until = f"The trail was read up to event {read}."
    if not seen["number"]:
        yield f"No. {until}"
        return
    yield f"Yes, in {_amount(seen['number'], 'event')}. {until}"
    yield from _events(seen)


def _events(listed: dict[str, Any]) -> Iterator[str]:
    for event in listed["events"][:_SHOWN]:
        ids = f": {_ids(event['entry_ids'])}" if "entry_ids" in event else ""
        yield (
            f"{_time(event['timestamp'])}: {event['operation']}, event"
            f" {event['sequence']:,} of {event['trail'] or 'a file'} ({event['event_id']}){ids}"
        )
    if listed["number"] > _SHOWN:
        yield f"And {listed['number'] - _SHOWN:,} more."


# --- points: what remains, what is unknown -----------------------------------------------------


def _points(points: list[dict[str, Any]]) -> list[str]:
    """The words of points; of a kind that a later version adds, its name."""
    words: list[str] = []
    for point in points:
        words += _POINTS.get(point["kind"], _by_name)(point)
    return words


def _by_name(point: dict[str, Any]) -> list[str]:
    return [f"{point['kind'].replace('_', ' ')}."]


def _not_deleted(point: dict[str, Any]) -> list[str]:
    ids = f": {_ids(point['entry_ids'])}" if point["entry_ids"] else ""
    number = _amount(point["number"], "entry", "entries")
    return [f"{number} could not be deleted, and may still be in the memory{ids}."]


def _derived(point: dict[str, Any]) -> list[str]:
    number = _amount(point["number"], "entry", "entries")
    return [
        f"{number} made of the deleted ones (summaries, for example) may still hold what was in"
        f" them: {_ids(point['entry_ids'])}."
    ]


def _texts_left(point: dict[str, Any]) -> list[str]:
    places = " and ".join(point["places"])
    number = _amount(point["number"], "copy", "copies")
    return [f"The memory's library itself keeps {number} of what was deleted, in its {places}."]


def _trail_events(point: dict[str, Any]) -> list[str]:
    number = _amount(point["number"], "event")
    said = [
        f"The audit trail itself keeps {number} about this data or this person: who did what and"
        " when, as the proof of it."
    ]
    if point["opened"] or point["closed"]:
        said[0] += (
            f" Of these {point['opened']:,} are encrypted and can be read with the keys at hand,"
            f" {point['closed']:,} are encrypted and cannot, {point['in_clear']:,} are in clear."
        )
    return [*said, *(_kept(trail, facts) for trail, facts in point["trails"].items())]


def _kept(trail: str, facts: dict[str, Any]) -> str:
    which = f"{_amount(facts['number'], 'event')} of {trail or 'files without a name'}"
    span = f"{which}, {_day(facts['first'])} to {_day(facts['last'])}"
    if facts["until"] is not None:
        return f"{span}: the rule {facts['rule']} deletes them after {_day(facts['until'])}."
    if facts["rule"] is not None:
        return f"{span}: the rule {facts['rule']} deletes them."
    if facts["states_rule"]:
        return f"{span}: no rule deletes them by age."
    return f"{span}: how long they are kept is not said."


def _damaged(point: dict[str, Any]) -> list[str]:
    places = _amount(point["number"], "place")
    return [
        f"The archive is not as it was recorded, in {places}, so what it says of the time after the"
        f" erasure may be false: {'; '.join(point['findings'])}."
    ]


def _incomplete(point: dict[str, Any]) -> list[str]:
    return [f"A part of the archive could not be read: {'; '.join(point['problems'])}."]


def _exports(point: dict[str, Any]) -> list[str]:
    number = _amount(point["number"], "export")
    said = f"Before the erasure {number} took, or may have taken, a copy of this data elsewhere:"
    return [said, *_events(point)]


def _older(point: dict[str, Any]) -> list[str]:
    until = "" if point["newest"] is None else f", up to {_day(point['newest'])}"
    number = _amount(point["number"], "older event")
    return [f"Retention has deleted {number}{until}: exports at that time are not known."]


def _with_number(noun: str, nouns: str, words: str) -> Callable[[dict[str, Any]], list[str]]:
    return lambda point: [words.format(_amount(point["number"], noun, nouns))]


_POINTS: dict[str, Callable[[dict[str, Any]], list[str]]] = {
    "not_deleted": _not_deleted,
    "derived": _derived,
    "texts_left": _texts_left,
    "key_lives": lambda _: [
        "A key that the erasure destroyed is there, perhaps from a copy: who has it can read the"
        " person's data in the audit trail."
    ],
    "in_clear": _with_number(
        "event", "events", "{} that name the person were recorded in clear, and stay readable."
    ),
    "entries": lambda point: [
        "Entries in the memory are not deleted by destroying keys. As far as is on record these"
        f" are still there: {_ids(point['entry_ids'])}."
    ],
    "hold": lambda point: [
        f"A legal hold is in force ({', '.join(point['holds'])}): nothing of the audit trail may be"
        " deleted or erased while it lasts."
    ],
    "trail_events": _trail_events,
    "unlisted": _with_number(
        "entry",
        "entries",
        "The storage counts {} that it could not list or compare: they may belong to this data.",
    ),
    "facts_unreadable": lambda _: [
        "How many entries were deleted, and what remained: these facts are encrypted, and the keys"
        " were not at hand, or are destroyed."
    ],
    "entries_not_named": _with_number(
        "entry", "entries", "{} that the deletion was about are not named: there were too many."
    ),
    "person_not_confirmed": lambda _: [
        "The trail cannot confirm the name of the person: it is hashed or encrypted, and the"
        " secret or the key for it was not at hand."
    ],
    "keys_not_here": _with_number(
        "event", "events", "Whether a key is left for {}: the keys were not at hand."
    ),
    "exports": _exports,
    "archive_damaged": _damaged,
    "archive_incomplete": _incomplete,
    "older_events_deleted": _older,
    "backups": lambda _: ["Backups of the memory's storage."],
    "other_stores": lambda _: ["Data that never went through this memory, or is in other stores."],
    "models_and_caches": lambda _: [
        "What was made of the data elsewhere: weights of models, caches, prompts, logs of others."
    ],
}
