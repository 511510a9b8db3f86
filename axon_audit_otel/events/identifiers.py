"""Ids as they are recorded: exact text, of a bounded length; and those of events."""

from __future__ import annotations

import hashlib
import os
import random
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from contextlib import suppress
from enum import Enum
from typing import Any
from uuid import UUID

from ..core.errors import InvalidEventError, shown

__all__ = [
    "DIGEST_BYTES",
    "ID_TYPES",
    "MAX_ID",
    "checked_id",
    "checked_text",
    "digest_of",
    "each",
    "identifier",
    "identifiers",
    "is_digest",
    "new_event_id",
    "plain_text",
]

MAX_ID = 512  # characters of an identifier
_CUT = r"\[truncated: [1-9]\d{0,18} characters\]"


def plain_text(value: str, limit: int) -> str:
    """*value* as an exact `str` that UTF-8 can carry, cut at *limit* characters."""
    size = str.__len__(value)
    if size > limit and _is_cut(value, limit):  # an id that was recorded
        return str.__str__(value)
    text = str.__getitem__(value, slice(limit))  # exact, whatever a subclass overrides
    if not text.isascii():
        text = text.encode("utf-8", "backslashreplace").decode()
    return text if size <= limit else f"{text}[truncated: {size} characters]"


def _is_cut(value: str, limit: int) -> bool:
    return str.isascii(value) and re.fullmatch(_CUT, value[limit:]) is not None


class Recorded(str):
    """An id that stands as it is in events: a pseudonym that was read there."""

    __slots__ = ()


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


ID_TYPES = (str, int, UUID)


def checked_id(name: str, value: Any) -> str:
    """An id that a caller gives by hand, as text.

    Raises:
        InvalidEventError: If it is no text, number or UUID.
    """
    if type(value) is str:  # most often; a call less than by `identifier`
        return value if len(value) <= MAX_ID and value.isascii() else identifier(value)
    with suppress(Exception):  # its class may raise
        if isinstance(value, ID_TYPES) and not isinstance(value, bool):
            return identifier(value)
    msg = f"{name}: {shown(value)} is not an id: must be text, a number or a UUID"
    raise InvalidEventError(msg)


def checked_text(name: str, value: Any) -> str:
    """A free text that a caller gives by hand.

    Raises:
        InvalidEventError: If it is no text.
    """
    if isinstance(value, str):
        return str.__str__(value)
    msg = f"{name}: {shown(value)} is not text"
    raise InvalidEventError(msg)


def identifiers(values: object) -> list[str]:
    """Ids as a list of text; one id alone is a list of one."""
    if values is None:
        return []
    if type(values) is list:  # most often: checked first, and without a call for each
        return [
            value
            if type(value) is str and len(value) <= MAX_ID and value.isascii()
            else identifier(value)
            for value in values
        ]
    if isinstance(values, (str, bytes, UUID, int)):
        return [identifier(values)]
    if isinstance(values, Iterable):
        return [identifier(value) for value in values]
    return [identifier(values)]


def each(values: tuple[Any, ...]) -> list[Any]:
    """*values*, and what is in those of them that are lists."""
    found: list[Any] = []
    for value in values:
        if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
            found.append(value)
        else:
            found += value
    return found


# --- of many persons ------------------------------------------------------------------------

#: Bytes of a digest in JSON, with its quotes and a comma.
DIGEST_BYTES = 12
_DIGEST = "~"


def digest_of(name: str) -> str:
    """What stands for a person in an event that touched more persons than it can name: ``~``,
    and 48 bits of the SHA-256 of the recorded id, in the base64 of URLs."""
    found = hashlib.sha256(name.encode("utf-8", "backslashreplace")).digest()
    return _DIGEST + urlsafe_b64encode(found[:6]).decode()


def is_digest(name: str) -> bool:
    """True if *name* has the form of a digest."""
    return len(name) == DIGEST_BYTES - 3 and name.startswith(_DIGEST)


# --- of events ------------------------------------------------------------------------------
# A generator of our own: random.seed(0) in an application must not make ids repeat.
_random = random.Random(os.urandom(32))  # noqa: S311 - unique, not secret
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=lambda: _random.seed(os.urandom(32)))


_MAX_NS = (1 << 48) * 1_000_000 - 1  # what 48 bits of milliseconds hold
_VERSION_7 = 7 << 76 | 1 << 63  # version and variant


def new_event_id(time_ns: int) -> str:
    """``evt_`` and a UUIDv7 with a sub-millisecond fraction (RFC 9562, method 3)."""
    if not 0 <= time_ns <= _MAX_NS:
        time_ns = min(max(time_ns, 0), _MAX_NS)
    ms, rest = divmod(time_ns, 1_000_000)
    fraction = rest * 4096 // 1_000_000
    number = ms << 80 | fraction << 64 | _VERSION_7 | _random.getrandbits(62)
    return f"evt_{number.to_bytes(16, 'big').hex()}"
