"""What lower wings tell of what went wrong, without knowing who counts and logs it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Faults"]


class Faults(Protocol):
    """Takes failures of our own. Never raises, and calls nobody under the caller's lock."""

    def fault(self, stage: str, exc: BaseException) -> None:
        """A failure in *stage*."""

    def note(self, action: Callable[[], object]) -> None:
        """Have *action* done when no lock is held."""
