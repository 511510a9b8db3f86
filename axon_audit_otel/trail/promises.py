"""What a trail promises of its files: intents, and events that must be in them."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from typing import Any

from ..events import model as _event
from ..privacy.policy import PrivacyPolicy
from .archive_keeper import ArchiveKeeper

__all__ = ["Promises"]


class Promises:
    """The methods of a `Trail` for who must know that something is in its files."""

    policy: PrivacyPolicy
    _keeper: ArchiveKeeper | None
    _change: Callable[[], AbstractContextManager[None]]
    _reopen: Callable[[ArchiveKeeper], None]

    @property
    def is_kept(self) -> bool:
        """True if every event, and every key, is in a file, as far as files are asked for."""
        return self.policy.is_saved and (self._keeper is None or self._keeper.keeps_all)

    @property
    def why(self) -> str:
        """The archive's newest failure, in words."""
        return "" if self._keeper is None else self._keeper.why

    def record_intent(self, intent: dict[str, Any]) -> None:
        """Journal what is about to be done (``on_failure="block"``), made by `events.draft.intent`.

        Raises:
            OSError: If that, or what was done before, cannot be recorded.
        """
        intent = self.policy.intent(intent)
        keeper = self._keeper
        if keeper is not None:
            with self._change():
                if keeper.writer is None:
                    self._reopen(keeper)
                payload = _event.encode_fields(intent)
                keeper.require().record_intent(intent["event_id"], payload)

    def intent_done(self, event_id: str) -> None:
        """An operation with an intent has ended."""
        keeper = self._keeper
        if keeper is not None:
            with suppress(OSError), self._change():
                if keeper.writer is not None:
                    keeper.writer.intents.done(event_id)

    def require_files(self) -> None:
        """Write what no file has yet, and do not wait after a failure.

        Raises:
            OSError: If that is not possible.
        """
        keeper = self._keeper
        if keeper is not None and (keeper.waits or not keeper.keeps_all):
            with self._change():
                keeper.require()
