"""Makes values recordable: JSON types only, bounded in size, free of personal data.

Nothing here raises. A value that cannot be kept is replaced by a marker in square brackets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from itertools import islice
from pathlib import PurePath
from typing import Any
from uuid import UUID

from ..events.identifiers import MAX_ID, identifier, plain_text
from .personal_data import redact_pii
from .secrets_in_texts import is_secret

__all__ = ["Privacy"]

MAX_TEXT = 8_192  # characters of one string
MAX_DEPTH = 16
MAX_ITEMS = 1_000  # of one collection
MAX_NODES = 10_000  # of one event's metadata
MAX_TOTAL = 262_144  # of the `_cost` of all its texts, so that no event holds its caller up
_AT_ONCE = 2_048  # characters that are redacted before anything is measured

_INT64 = 2**63
_TEXT = frozenset((str,))


class Privacy:
    """The rules of one trail.

    Args:
        redact: A function from text to text, applied to every free text that is recorded,
            and to the names of facts.
        pii: True to apply `redact_pii` after it.
        on_fault: Called with the exception when *redact* fails; the text is then dropped.
        on_found: Called with the kind of each piece of personal data that is replaced.
    """

    def __init__(
        self,
        redact: Callable[[str], str] | None = None,
        pii: bool = True,
        on_fault: Callable[[Exception], None] = lambda exc: None,
        on_found: Callable[[str], None] = lambda kind: None,
    ) -> None:
        self._redact = redact
        self._pii = pii
        self._on_fault = on_fault
        self.on_found = on_found
        self._names: set[str] = set()  # seen before, and free of personal data
        self._values: set[str] = set()  # short ones; none where a hook is to see them

    def text(self, value: str, found: Callable[[str], None] | None = None) -> str:
        """Free text, redacted; *found* instead of `on_found` is told of what it held."""
        plain = type(value) is str and len(value) <= MAX_TEXT and value.isascii()
        # Redacted before it is cut: half an address is no address any more.
        text = value if plain else plain_text(value, MAX_TEXT + 512)
        if self._redact is not None:
            text = self._hooked(self._redact, text, MAX_TEXT + 512)
        if self._pii:
            text = redact_pii(text, found or self.on_found)
        same = plain and len(value) <= 16 and text == value
        if same and self._redact is None and len(self._values) < MAX_ITEMS:
            self._values.add(value)
        if len(text) <= MAX_TEXT:
            return text
        return f"{text[:MAX_TEXT]}[truncated: {str.__len__(value)} characters]"

    def key(self, value: str, own: bool = False) -> str:
        """The name of a fact, redacted; one of our *own* only where it is personal data."""
        name = plain_text(value, MAX_ID)
        if self._redact is not None and not own:
            name = self._hooked(self._redact, name, MAX_ID)
        return redact_pii(name, self.on_found) if self._pii else name

    def _hooked(self, redact: Callable[[str], str], text: str, limit: int) -> str:
        try:
            return plain_text(str(redact(text)), limit)
        except Exception as exc:  # the application's function
            self._on_fault(exc)
            return "[REDACTED:error]"

    def metadata(self, values: object, own: bool = False) -> dict[str, Any]:
        """Metadata as JSON types, its texts redacted.

        *own*: the names of the facts are ours, no text of anybody.
        """
        if type(values) is dict and len(values) <= MAX_ITEMS and (own or self._redact is None):
            simple = self._simple(values)
            if simple is not None:
                return simple
        cleaned = _Cleaner(self, own).clean(values)
        return cleaned if isinstance(cleaned, dict) else {"value": cleaned}

    def _simple(self, values: dict[Any, Any]) -> dict[str, Any] | None:
        """The fast way for a flat mapping, or None where it is not one."""
        names = self._names
        if not names.issuperset(values) and not all(
            key in names or self._is_harmless(key) for key in values
        ):
            return None
        result = values.copy()
        found: list[str] = []
        size = 0
        for key, value in result.items():
            kind = type(value)
            if kind is str:
                if value not in self._values:
                    size += len(value)
                    if size > _AT_ONCE:
                        return None
                    result[key] = self.text(value, found.append)
            elif kind is float:
                if not math.isfinite(value):
                    return None
            elif kind is int:
                if not -_INT64 <= value < 10**12:  # larger ones may be card numbers
                    return None
            elif kind is list and len(value) <= 64:
                if not _TEXT.issuperset(map(type, value)):
                    return None
                if not self._values.issuperset(value):
                    size += sum(map(len, value))
                    if size > _AT_ONCE:
                        return None
                    result[key] = [self.text(item, found.append) for item in value]
            elif value is not None and kind is not bool:
                return None
        for what in found:
            self.on_found(what)
        return result

    def is_secret(self, key: Any, value: object = "") -> bool:
        """True if a fact of this name is a secret, whatever its value looks like."""
        return self._pii and isinstance(key, str) and is_secret(str(key), value)

    def _is_harmless(self, key: Any) -> bool:
        """True if *key* can stay as it is; the answer is kept for the next event."""
        if type(key) is not str or not key.isascii() or len(key) > MAX_ID:
            return False
        if self.is_secret(key) or (self._pii and redact_pii(key) != key):
            return False
        if len(self._names) < MAX_ITEMS:
            self._names.add(key)
        return True


class _Cleaner:
    """One walk over hostile data."""

    def __init__(self, privacy: Privacy, own: bool) -> None:
        self._privacy = privacy
        self._own = own
        self._left = MAX_TOTAL
        self._path: set[int] = set()
        self._nodes = 0

    def clean(self, value: Any, depth: int = 0) -> Any:
        try:
            return self._clean(value, depth)
        except Exception:  # a hostile object: a property, an iterator, a __str__
            return f"[unreadable: {type(value).__name__}]"

    def _text(self, value: str) -> str:
        if not self._affords(value, MAX_TEXT):
            return "[dropped: too much text]"
        return self._privacy.text(value)

    def _affords(self, text: str, limit: int) -> bool:
        """Whether there is still time for *text*, of which *limit* characters are kept. Less
        of it would not be redacted well: half an address is no address."""
        if self._left > 0:
            self._left -= _cost(text[:limit])
        return self._left >= 0

    def _clean(self, value: Any, depth: int) -> Any:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            return "[dropped: too many values]"
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Enum):
            return self._clean(value.value, depth)
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, int):
            if 10**12 <= value < 10**19:
                text = self._text(str(int(value)))
                if not text.isdigit():
                    return text  # a card number
            if -_INT64 <= value < _INT64:
                return int(value)
            self._left -= int(value).bit_length()  # the digits of large ones take their time
            return identifier(int(value)) if self._left >= 0 else "[dropped: too large]"
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else f"[{float(value)}]"
        if isinstance(value, (datetime, date, time)):
            return value.isoformat()
        if isinstance(value, timedelta):
            return value.total_seconds()
        if isinstance(value, (UUID, Decimal, PurePath)):
            return self._text(str(value))
        if isinstance(value, (bytes, bytearray, memoryview)):
            return f"[bytes: {len(value)}]"
        return self._collection(value, depth)

    def _collection(self, value: Any, depth: int) -> Any:
        if depth >= MAX_DEPTH:
            return "[dropped: nested too deeply]"
        if id(value) in self._path:
            return "[dropped: cycle]"
        self._path.add(id(value))
        try:
            if isinstance(value, Mapping):
                return self._mapping(value, depth)
            if isinstance(value, (set, frozenset)):
                items = [self.clean(v, depth + 1) for v in islice(value, MAX_ITEMS)]
                return sorted(items, key=str) + _rest(value)
            if isinstance(value, (list, tuple)):
                return [self.clean(v, depth + 1) for v in islice(value, MAX_ITEMS)] + _rest(value)
            return self._other(value, depth)
        finally:
            self._path.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        numbers: dict[str, int] = {}  # of names that come again
        for key, item in islice(value.items(), MAX_ITEMS):
            text = key if isinstance(key, str) else identifier(key)
            if text not in self._privacy._names and not self._affords(text, MAX_ID):
                result["[dropped]"] = f"{len(value) - len(result)} more: too much text"
                return result
            name = self._privacy.key(text, self._own and depth == 0)
            number, unique = numbers.get(name, 1), name
            while unique in result:  # the same only since it is text, redacted or cut
                number += 1
                unique = f"{name} ({number})"
            numbers[name] = number
            if self._privacy.is_secret(key, item):
                self._privacy.on_found("secret")
                result[unique] = "[REDACTED:secret]"
            else:
                result[unique] = self.clean(item, depth + 1)
        if len(value) > MAX_ITEMS:
            result["[dropped]"] = f"{len(value) - MAX_ITEMS} more"
        return result

    def _other(self, value: Any, depth: int) -> Any:
        kind = type(value)
        if kind.__module__.partition(".")[0] == "numpy":
            if getattr(value, "ndim", 1) == 0:
                return self._clean(value.item(), depth)
            return f"[array: {'x'.join(map(str, value.shape))}]"
        return f"[unserializable: {kind.__module__}.{kind.__qualname__}]"


def _cost(text: str) -> int:
    """How long it takes to redact *text*: a plain character is 1."""
    plain = len(text) if text.isascii() else 4 * len(text)
    return 64 + plain + 24 * sum(map(text.count, _LOOKED_INTO))


#: Characters that most detectors begin at.
_LOOKED_INTO = "0123456789:@"


def _rest(values: Any) -> list[str]:
    more = len(values) - MAX_ITEMS
    return [f"[dropped: {more} more]"] if more > 0 else []
