"""What may be recorded: JSON types only, bounded in size, free of personal data.

Nothing here raises. What cannot be kept is replaced by a marker in square brackets that
says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any
from uuid import UUID

__all__ = ["Privacy", "redact_pii"]

MAX_TEXT = 8_192  # characters of one string
MAX_DEPTH = 16
MAX_ITEMS = 1_000  # of one collection
MAX_NODES = 10_000  # of one event's metadata
MAX_ID = 512  # characters of an identifier

_INT64 = 2**63

# --- personal data -----------------------------------------------------------------------


def _luhn(match: re.Match[str]) -> bool:
    """Payment card numbers carry a check digit (ISO/IEC 7812-1)."""
    digits = [int(c) for c in match.group() if c.isdigit()]
    doubled = [sum(divmod(2 * d, 10)) for d in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _octets(match: re.Match[str]) -> bool:
    return all(int(part) < 256 for part in match.group().split("."))


_Check = Callable[[re.Match[str]], bool]
# Secrets first (they contain the shapes of others), then the longest numbers.
_PATTERNS: tuple[tuple[str, re.Pattern[str], _Check | None], ...] = (
    (
        "secret",
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*-----|\Z)"
            r"|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"  # JSON Web Token
            r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"  # AWS access key id
            r"|\bAIza[\w-]{35}"  # Google API key
            r"|\bgh[pousr]_\w{36,}|\bgithub_pat_\w{22,}|\bglpat-[\w-]{20,}"
            r"|\bxox[abeoprs]-[\w-]{10,}"  # Slack
            r"|\b(?:sk|rk|pk)[-_](?:[a-z]+[-_])*[\w-]{16,}"  # OpenAI, Anthropic, Stripe
            r"|\bhf_[A-Za-z]{20,}|\bnpm_\w{36}|\bpypi-[\w-]{50,}"
            r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"  # user:password in a URL
            r"|(?i:\bbearer\s+)[\w.~+/-]{16,}=*"
            r"|(?i:\b(?:password|passwd|pwd|secret|api[_-]?key|access[_-]?token)"
            r"\b\s*(?:is|=|:)\s*)[\"']?[^\s\"',;]+"
        ),
        None,
    ),
    ("email", re.compile(r"[\w.%+-]+@[\w-]+(?:\.[\w-]+)*\.[^\W\d_]{2,}"), None),
    ("card", re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])"), _luhn),
    ("ssn", re.compile(r"(?<![\w-])(?!000|666|9)\d{3}[- ]\d{2}[- ]\d{4}(?![\w-])"), None),
    ("ip", re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w]|\.\d)"), _octets),
    (
        "ip",
        re.compile(
            r"(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}(?![\w:])"
            r"|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){1,6}(?::[0-9A-Fa-f]{1,4}){1,6}(?![\w:])"
        ),
        None,
    ),
    (
        "phone",
        re.compile(
            r"(?<![\w.+-])(?:\+\d{1,3}[ .-]?(?:\(?\d{1,4}\)?[ .-]?){2,5}\d{2,4}"
            r"|\(\d{2,4}\)[ .-]?\d{3,4}[ .-]?\d{3,4}"
            r"|\d{3}[ .-]\d{3}[ .-]\d{4})(?![\w-])"
        ),
        None,
    ),
)

# Whatever a pattern above matches has one of these; most strings have none.
_SUSPECT = re.compile(
    r"[@:]|\d[\d .()-]{6,}|eyJ|A[KSI][IZ]|_\w{20}|[-_][\w-]{16}"
    r"|(?i:BEGIN|bearer|passw|pwd|secret|api.?key|token)"
)


def redact_pii(text: str) -> str:
    """*text* with emails, phone, card and social security numbers, IP addresses and
    secrets of a known shape replaced by ``[REDACTED:kind]``."""
    if _SUSPECT.search(text) is None:
        return text
    for kind, pattern, check in _PATTERNS:
        marker = f"[REDACTED:{kind}]"
        if check is None:
            text = pattern.sub(marker, text)
        else:
            text = pattern.sub(
                lambda m, c=check, r=marker: r if c(m) else m.group(),  # type: ignore[misc]
                text,
            )
    return text


# --- cleaning ----------------------------------------------------------------------------


def plain_text(value: str, limit: int) -> str:
    """*value* as an exact `str` that UTF-8 can carry, cut at *limit* characters."""
    size = str.__len__(value)
    text = str.__getitem__(value, slice(limit))  # exact, whatever a subclass overrides
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if size <= limit else f"{text}[truncated: {size} characters]"


def identifier(value: object) -> str:
    """An id as text: strings, numbers and UUIDs are taken, other types are marked."""
    if type(value) is str and len(value) <= MAX_ID and value.isascii():
        return value
    with suppress(Exception):  # a hostile subclass; an int of too many digits to print
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, str):
            return plain_text(value, MAX_ID)
        if isinstance(value, (int, UUID)) and not isinstance(value, bool):
            return str(value)[:MAX_ID]
    return f"[{type(value).__name__}]"


def identifiers(values: object) -> list[str]:
    """Ids as a list of text; one id alone is a list of one."""
    if values is None:
        return []
    if isinstance(values, (str, bytes, UUID, int)):
        return [identifier(values)]
    if isinstance(values, Iterable):
        return [identifier(value) for value in values]
    return [identifier(values)]


class Privacy:
    """The rules of one trail.

    Args:
        redact: A function from text to text, applied to every free text that is recorded.
        pii: Whether `redact_pii` is applied after it.
        on_fault: Called with the exception when *redact* fails; the text is then dropped.
    """

    def __init__(
        self,
        redact: Callable[[str], str] | None = None,
        pii: bool = True,
        on_fault: Callable[[Exception], None] = lambda exc: None,
    ) -> None:
        self._redact = redact
        self._pii = pii
        self._on_fault = on_fault

    def text(self, value: str) -> str:
        """Free text, redacted."""
        text = plain_text(value, MAX_TEXT)
        if self._redact is not None:
            try:
                text = plain_text(str(self._redact(text)), MAX_TEXT)
            except Exception as exc:
                self._on_fault(exc)
                return "[REDACTED:error]"
        return redact_pii(text) if self._pii else text

    def metadata(self, values: object) -> dict[str, Any]:
        """Metadata as JSON types, its texts redacted."""
        if type(values) is dict and len(values) <= MAX_ITEMS:
            simple = self._simple(values)
            if simple is not None:
                return simple
        cleaned = _Cleaner(self.text).clean(values)
        return cleaned if isinstance(cleaned, dict) else {"value": cleaned}

    def _simple(self, values: dict[Any, Any]) -> dict[str, Any] | None:
        """The fast way for a flat mapping, or None where it is not one."""
        result: dict[str, Any] = {}
        for key, value in values.items():
            if type(key) is not str or not key.isascii() or len(key) > MAX_ID:
                return None
            kind = type(value)
            if kind is str:
                value = self.text(value)
            elif kind is float:
                if not math.isfinite(value):
                    return None
            elif kind is int:
                if not -_INT64 <= value < _INT64:
                    return None
            elif kind is list and len(value) <= 64:
                if not all(type(item) is str for item in value):
                    return None
                value = [self.text(item) for item in value]
            elif value is not None and kind is not bool:
                return None
            result[key] = value
        return result


class _Cleaner:
    """One walk over hostile data."""

    def __init__(self, text: Callable[[str], str]) -> None:
        self._text = text
        self._path: set[int] = set()
        self._nodes = 0

    def clean(self, value: Any, depth: int = 0) -> Any:
        try:
            return self._clean(value, depth)
        except Exception:  # a hostile object: a property, an iterator, a __str__
            return f"[unreadable: {type(value).__name__}]"

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
            return int(value) if -_INT64 <= value < _INT64 else identifier(int(value))
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
                items = [self.clean(v, depth + 1) for v in _first(value)]
                return sorted(items, key=str) + _rest(value)
            if isinstance(value, (list, tuple)):
                return [self.clean(v, depth + 1) for v in _first(value)] + _rest(value)
            return self._other(value, depth)
        finally:
            self._path.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in _first(value.items()):
            # A key is free text as well.
            name = self._text(key) if isinstance(key, str) else identifier(key)
            result[name[: MAX_ID + 64]] = self.clean(item, depth + 1)
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


def _first(values: Iterable[Any]) -> Iterable[Any]:
    for count, value in enumerate(values):
        if count == MAX_ITEMS:
            return
        yield value


def _rest(values: Any) -> list[str]:
    more = len(values) - MAX_ITEMS
    return [f"[dropped: {more} more]"] if more > 0 else []
