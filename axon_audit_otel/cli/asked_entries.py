"""The entries that a command asks for, as the record of it names them."""

from __future__ import annotations

from collections.abc import Sequence

from ..events.model import AuditEvent
from ..privacy.policy import PrivacyPolicy
from ..privacy.private_ids import is_hidden
from ..privacy.readable import recorded

__all__ = ["AskedEntries"]

_MOST = 100  # that are named


class AskedEntries:
    """Entries whose ids may name somebody: then they are named as in the events that were shown.

    Args:
        asked: Their ids: one, or several.
    """

    def __init__(self, asked: str | Sequence[str]) -> None:
        self._is_one = isinstance(asked, str)
        ids = (asked,) if isinstance(asked, str) else asked
        self._names = {key: key if is_hidden(key) else "" for key in ids}
        self._unknown = len(self._names)

    def learn(self, event: AuditEvent) -> None:
        """How an event that is shown names them."""
        if not self._unknown:
            return
        before = recorded(event)
        for field in ("entry_ids", "derived_from"):
            for key, name in zip(getattr(event, field), getattr(before, field)):
                if self._names.get(key) == "":
                    self._names[key] = name
        self._unknown = sum(not name for name in self._names.values())

    def named(self, policy: PrivacyPolicy | None) -> tuple[str | list[str], bool]:
        """Their names in a record, and whether that is all of them.

        Args:
            policy: That of the record; None: it lacks a secret or keys.
        """
        names = dict(self._names)
        if policy is not None and not policy.encrypts:
            names = {key: name or policy.entry_names.hashed(key) for key, name in names.items()}
        found = list(filter(None, names.values()))
        is_one = self._is_one and bool(found)
        return found[0] if is_one else found[:_MOST], len(found) == len(names)
