"""Gives what stands for private ids of entries: hashes, encrypted ids, or encrypted hashes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .encryption import Erasure
from .entry_ids import is_encrypted
from .private_ids import is_hash, is_hidden
from .pseudonyms import Pseudonyms

__all__ = ["EntryNames"]

_WHO = ("subject_id", "user_id", "on_behalf_of", "agent_id")


class EntryNames:
    """The names of private entries in what is recorded.

    Args:
        pseudonyms: Hash ids; None: they are not hashed.
        erasure: Encrypts ids, or their hashes; None: they are not encrypted.
    """

    def __init__(self, pseudonyms: Pseudonyms | None, erasure: Erasure | None) -> None:
        self._pseudonyms = pseudonyms
        self._erasure = erasure

    @property
    def are_hidden(self) -> bool:
        """True if ids can be hidden, where they name people."""
        return self._pseudonyms is not None or self._erasure is not None

    @property
    def erasures(self) -> int:
        """Another number after each erasure, here or elsewhere."""
        return 0 if self._erasure is None else self._erasure.keys.generation

    def hashed(self, entry_id: str) -> str:
        """The hash of an entry whose id names somebody; without a secret the id itself."""
        if not entry_id:
            return entry_id
        if self._pseudonyms is not None:
            return self._pseudonyms.entry(entry_id)
        if self._erasure is not None and is_encrypted(entry_id):  # somebody calls his entry so
            return self._erasure.entry(entry_id, None)
        return entry_id

    def namer(
        self, owner_of: Callable[[str], str | None], *who: str | None
    ) -> Callable[[str], str]:
        """What gives the name of an entry. What is such a name stays.

        Args:
            owner_of: Gives whose an entry is; None: it is not known.
            who: For whom, or by whom, something is done: the first of these counts as the owner
                of an entry of which none is known.
        """
        if self._erasure is None:
            return lambda key: key if is_hidden(key) else self.hashed(key)
        encrypted = self._erasure.entry
        other = next((one for one in who if one is not None), None)

        def name(entry_id: str) -> str:
            if not entry_id or is_encrypted(entry_id):
                return entry_id
            owner = owner_of(entry_id)
            holder = other if owner is None else owner
            if holder is not None and self._pseudonyms is not None:
                holder = self._pseudonyms.named(holder)
            return encrypted(entry_id if is_hash(entry_id) else self.hashed(entry_id), holder)

        return name

    def namer_in(self, event: Mapping[str, Any]) -> Callable[[str], str]:
        """A `namer` for *event*, where nothing is known of the owners of its entries."""
        return self.namer(lambda key: None, *map(event.get, _WHO))

    def opens(self, entry_id: str) -> bool:
        """True if there is a key for an id that is encrypted."""
        return self._erasure is not None and self._erasure.opened_entry(entry_id) != entry_id
