"""What the detectors of personal data ask of a match."""

from __future__ import annotations

import re

__all__ = ["after", "digits_of"]


def after(match: re.Match[str], words: re.Pattern[str]) -> bool:
    """True if *words*, which end with ``\\Z``, stand before the match."""
    start = match.start()
    return words.search(match.string[max(0, start - 48) : start]) is not None


def digits_of(text: str) -> list[int]:
    return [int(c) for c in text if c.isdigit()]
