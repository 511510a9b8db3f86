"""Reads sizes and durations as people write them."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

__all__ = ["seconds", "short", "size"]

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_LONGEST = 1e10  # three centuries
_LARGEST = 1 << 62


def seconds(value: Any) -> float:
    """Seconds from a number, a `timedelta`, or text such as ``90``, ``15m``, ``180d``.

    Raises:
        ValueError: If *value* is something else, or not positive.
    """
    number = 0.0
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, str):
        if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw]?)", value.strip().lower(), re.ASCII):
            number = float(found[1]) * _SECONDS[found[2]]
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        number = float(value) if abs(value) < _LONGEST else 0.0
    if not 0 < number < _LONGEST:
        raise ValueError("must be a positive number of seconds, or like 15m, 24h, 7d")
    return number


def short(duration: timedelta) -> str:
    """*duration* as text that `seconds` reads, in the largest unit without a remainder.

    A day is ``24h``.
    """
    left = duration.total_seconds()
    for unit, length in (("d", 86_400), ("h", 3600), ("m", 60)):
        if left % length == 0 and left > (length if unit == "d" else 0):
            return f"{int(left // length)}{unit}"
    return f"{left:g}s"


def size(value: Any) -> int:
    """Bytes from a number, or text such as ``10MB`` (millions) or ``64MiB``.

    Raises:
        ValueError: If *value* is something else, or not positive.
    """
    number = 0
    if isinstance(value, str):
        text = value.strip().lower()
        if found := re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?", text, re.ASCII):
            base = 1024 if found[3] else 1000
            if found[2] or not found[3]:
                number = int(float(found[1]) * base ** _POWERS[found[2]])
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if not 0 < number < _LARGEST:
        raise ValueError("must be a positive number of bytes, or like 10MB, 64MiB")
    return number
