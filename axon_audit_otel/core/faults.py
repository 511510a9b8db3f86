"""Interface by which lower wings report failures, without knowing who counts and logs them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

__all__ = ["Faults"]


class Faults(Protocol):
    """Receives internal failures. Never raises, and calls no foreign code under a lock."""

    def fault(self, stage: str, exc: BaseException) -> None:
        """Report a failure in *stage*."""

    def note(self, action: Callable[[], object]) -> None:
        """Call *action* later, when no lock is held."""
