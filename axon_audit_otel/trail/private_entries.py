"""What a trail knows of entries whose ids are hashed when they are recorded."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ..events.entries import MOST_KNOWN
from ..events.model import AuditEvent
from ..privacy.private_ids import is_hidden, renamed
from ..privacy.readable import as_readable
from .known_entries import KnownEntries

__all__ = ["PrivateEntries"]


class PrivateEntries(KnownEntries):
    """As `KnownEntries`, where the ids of all entries are private (``private_ids=True``).

    A memory is asked by the real ids, and what it has seen is kept by these. What was read in
    files is kept by the hashes.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._reals: dict[str, str] = {}  # of entries that this process has seen

    def _known(self, key: str) -> str:
        """The id or the hash under which something is known of an entry."""
        if is_hidden(key):
            return self._reals.get(key, key)
        hashed = self._policy.entry_names.hashed(key)
        self._reals[hashed] = key
        if len(self._reals) > MOST_KNOWN:
            self._reals.pop(next(iter(self._reals)))
        here = key in self.newer or key in self._older or key in self._derived
        return key if here else hashed

    def find(self, key: str, store: int = 0) -> Any:
        """See `Entries`."""
        name = self._known(key)
        known = super().find(name, store)
        is_nothing = known[0] is False and known[1] is None
        return super().find(key, store) if is_nothing and name != key else known

    def copies(self, key: str) -> int:
        """See `Entries`."""
        return super().copies(self._known(key))

    def is_variant(self, key: str, fingerprint: str) -> bool:
        """See `Entries`."""
        return super().is_variant(self._known(key), fingerprint)

    def owners_behind(self, keys: Iterable[str]) -> list[str]:
        """See `Entries`."""
        keys = list(keys)
        return super().owners_behind(dict.fromkeys([*keys, *map(self._known, keys)]))

    def descendants(self, keys: Iterable[str]) -> list[str]:
        """See `Entries`; by their real ids where these are known."""
        keys = list(keys)
        hashed = map(self._policy.entry_names.hashed, keys)
        found = super().descendants(dict.fromkeys([*keys, *hashed]))
        return list(dict.fromkeys(self._reals.get(key, key) for key in found))

    def apply(self, event: AuditEvent, now: int = 0) -> None:
        """See `Entries`."""
        changes = renamed(event, self._reals)
        super().apply(as_readable(event, changes) if changes else event, now)
