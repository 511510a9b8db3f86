"""What stands for entry ids that name people (``private_ids=``).

Where an id is ``memories/alice/k1``, or the name of a person, a keyed hash stands for it
(``entry-hmac-sha256:`` and 128 bits in hex, see `pseudonyms`), or it is encrypted (`entry_ids`), or
its hash is, in everything that is recorded: in ``entry_ids``, ``derived_from``, the keys of
``fingerprints``, the facts that name entries, and in texts. Events can be joined by it, and whoever
has the secret, or the keys, finds them by the id itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

from ..core.semconv import ENTRY_PREFIX
from ..events.draft import Draft
from ..events.model import AuditEvent
from .box import ENTRY_FACTS
from .entry_ids import is_encrypted

__all__ = ["hidden_facts", "hide", "is_hash", "is_hidden", "masks", "renamed"]

Name = Callable[[str], str]

#: Further facts that name entries, or have something of each by its id.
_FACTS = ENTRY_FACTS | {"copies", "derived_subjects", "entry_ids"}
#: What says in a list how many more there were.
_REST = re.compile(r"\[dropped: \d+ more\]")
_HASH = re.compile(re.escape(ENTRY_PREFIX) + "[0-9a-f]{32}")
_MOST_MASKS = 10_000  # ids that are looked for in texts


def is_hash(entry_id: str) -> bool:
    """True if *entry_id* is a hash that stands for one."""
    return entry_id.startswith(ENTRY_PREFIX) and _HASH.fullmatch(entry_id) is not None


def is_hidden(entry_id: str) -> bool:
    """True if *entry_id* stands for one: a hash, or encrypted."""
    return is_hash(entry_id) or is_encrypted(entry_id)


def hide(event: Draft, hidden: Name) -> None:
    """Put what is *hidden* in place of entry ids; in `Draft.private` is what stands for which."""
    known = event.private
    assert known is not None

    def name(entry_id: str) -> str:
        if not entry_id or _REST.fullmatch(entry_id):
            return entry_id
        found = hidden(entry_id)
        if found != entry_id:
            known[entry_id] = found
        return found

    for entry_id, stand_in in list(known.items()):  # noted while the operation ran
        known[entry_id] = name(stand_in)

    event["entry_ids"] = list(map(name, event["entry_ids"]))
    if event.get("derived_from"):
        event["derived_from"] = tuple(map(name, event["derived_from"]))
    if event.get("fingerprints"):
        event["fingerprints"] = {name(key): found for key, found in event["fingerprints"].items()}
    if type(event["metadata"]) is dict:
        event["metadata"] = hidden_facts(event["metadata"], name)


def masks(event: Draft) -> list[tuple[str, str]]:
    """What is to be replaced in the texts of *event*: ids, and by what."""
    pairs = (event.private or {}).items()
    return list(islice((pair for pair in pairs if pair[0] != pair[1]), _MOST_MASKS))


def hidden_facts(facts: Mapping[str, Any], name: Name) -> dict[str, Any]:
    """*facts* with the *name* of each entry in those that name entries."""
    return {
        key: _named(one, name) if key in _FACTS and type(one) in (list, dict) else one
        for key, one in facts.items()
    }


def renamed(event: AuditEvent, names: Mapping[str, str]) -> dict[str, Any]:
    """The fields of *event* that change if the entries in it have these *names*, by what stands
    for them there."""

    def name(entry_id: str) -> str:
        return names.get(entry_id, entry_id)

    changes: dict[str, Any] = {}
    if not names.keys().isdisjoint(event.entry_ids):
        changes["entry_ids"] = list(map(name, event.entry_ids))
    if not names.keys().isdisjoint(event.derived_from):
        changes["derived_from"] = tuple(map(name, event.derived_from))
    if event.fingerprints and not names.keys().isdisjoint(event.fingerprints):
        changes["fingerprints"] = {name(key): one for key, one in event.fingerprints.items()}
    if not _FACTS.isdisjoint(event.metadata):
        facts = hidden_facts(event.metadata, name)
        if facts != event.metadata:
            changes["metadata"] = facts
    return changes


def _named(value: Any, name: Name) -> Any:
    """An id, a list of ids, or a mapping by ids, with other names."""
    if type(value) is str:
        return name(value)
    if type(value) is list:
        return [_named(one, name) for one in value]
    if type(value) is dict:
        return {
            name(key) if type(key) is str else key: _named(one, name) for key, one in value.items()
        }
    return value
