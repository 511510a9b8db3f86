"""Facts of an event that name entries which need a person's attention."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

__all__ = ["FINDINGS", "Finding", "findings", "has_findings"]

#: Each is a fact of an event's metadata, a list of entry ids, and how one says it of entries.
#: Entries whose content is not the newest recorded; those that were seen after they had been
#: deleted, or without having been stored; living ones that were made of what a FORGET deleted.
FINDINGS: dict[str, str] = {
    "altered": "altered",
    "resurrected": "seen after their deletion",
    "derived_remaining": "left that were made of deleted ones",
}
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
