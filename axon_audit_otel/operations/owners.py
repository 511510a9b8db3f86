"""Who owns which entry of a memory, as far as that was seen."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from ..events.identifiers import identifier

__all__ = ["OwnerOf", "Owners", "owners_in"]

#: Users by the ids of their entries; None: the entry is nobody's.
OwnerOf = dict[str, "str | None"]

#: So many entries are remembered, the newest: about 200 bytes for each.
MOST_KNOWN = 32_768
_HALF = MOST_KNOWN // 2


class Owners:
    """The owners of the entries of one store that were seen last, by entry id.

    They tell whose an entry is that is deleted unread.
    """

    def __init__(self) -> None:
        self._newer: OwnerOf = {}
        self._older: OwnerOf = {}  # dropped when the newer ones are many

    def see(self, owners: OwnerOf) -> None:
        """Remember these *owners*, by entry id."""
        if len(owners) > _HALF:
            owners = dict(islice(owners.items(), len(owners) - _HALF, None))
        if len(self._newer) + len(owners) > _HALF:
            self._older, self._newer = self._newer, {}
        self._newer.update(owners)

    def some(self, ids: Iterable[str]) -> OwnerOf:
        """The owners of these entries, as far as they are known."""
        newer, older = self._newer, self._older
        return {key: newer[key] if key in newer else older.get(key) for key in ids}


def owners_in(entries: Any) -> OwnerOf:
    """The owners of *entries*, a list or a tuple; of anything else none."""
    found: OwnerOf = {}
    if isinstance(entries, (list, tuple)):  # an iterator is the caller's
        for entry in entries:
            owner = getattr(getattr(entry, "metadata", None), "user_id", None)
            key = identifier(getattr(entry, "id", None))
            found[key] = None if owner is None or owner == "" else identifier(owner)
    return found
