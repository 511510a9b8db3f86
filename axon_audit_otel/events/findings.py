"""Facts of an event that name entries which need a person's attention."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..core.errors import shown

__all__ = ["FINDINGS", "Finding", "cut_to", "few", "findings", "has_findings", "texts_left"]

#: Each is a fact of an event's metadata, a list of entry ids: of entries whose content is not the
#: newest recorded; of those seen after they were deleted, or without having been stored; of living
#: ones that were made of what a FORGET deleted.
FINDINGS = ("altered", "resurrected", "derived_remaining")
#: The last item of a list that was cut: by redaction, or since the event was too long.
_REST = "[dropped: {} more]"
_CUT = re.compile(r"\[dropped: ([0-9]{1,12}) more\]")


class Finding(NamedTuple):
    """How many entries, and the ids of those that the event names."""

    number: int
    entry_ids: list[str]


def has_findings(facts: Mapping[str, Any]) -> bool:
    """True if `findings` may find something; quicker."""
    return "altered" in facts or "resurrected" in facts or "derived_remaining" in facts


def findings(facts: Mapping[str, Any]) -> dict[str, Finding]:
    """What the *facts* of an event say of entries, by kind: one of `FINDINGS`.

    An application may have facts of its own under these names: only a list of text is a finding.
    """
    if not has_findings(facts):
        return {}
    found = {kind: _finding(facts, kind) for kind in FINDINGS}
    return {kind: one for kind, one in found.items() if one.number}


def _finding(facts: Mapping[str, Any], kind: str) -> Finding:
    ids = facts.get(kind)
    if not isinstance(ids, (list, tuple)) or not all(isinstance(one, str) for one in ids):
        return Finding(0, [])
    named = list(ids)
    cut = _CUT.fullmatch(named[-1]) if named else None
    if cut is None:
        return Finding(len(named), named)
    named.pop()
    return Finding(len(named) + int(cut[1]), named)


def cut_to(finding: Finding, entry_ids: list[str]) -> list[str]:
    """The list that is a *finding* with these *entry_ids* alone, the first of its own."""
    more = finding.number - len(entry_ids)
    return [*entry_ids, _REST.format(more)] if more else entry_ids


def texts_left(facts: Mapping[str, Any]) -> dict[str, int]:
    """How many texts, or vectors of these, a library keeps itself of what it deleted, as *facts* of
    a FORGET say, by the places where they are."""
    said = facts.get("texts_left")
    if not isinstance(said, dict):
        return {}
    return {name: number for name, number in said.items() if type(number) is int and number > 0}


def few(entry_ids: Sequence[str]) -> str:
    """The first of *entry_ids* in a sentence: ``'a', 'b', 'c', ...``."""
    return ", ".join([*map(shown, entry_ids[:_FEW]), *(["..."] if entry_ids[_FEW:] else [])])


_FEW = 3
