"""Ids of entries that name people, encrypted: ``entry-erasable:TOKEN:ID``.

The token is that of the person whose key opens the id. The encryption is deterministic (the first
bytes are a keyed hash of the id, and the counter that it is encrypted with): an id has one form for
each person, so that events can be joined by it, also when the key is destroyed. Then neither the id
can be read, nor can anybody try whether it is the one that he has in mind.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Callable
from functools import partial
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR

from ..core.semconv import ERASABLE_ENTRY_PREFIX as PREFIX
from .keyring import User

__all__ = ["decrypted_id", "encrypted_id", "is_encrypted", "opened_in", "token_of"]

_PADDING, _END = 32, b"\x01"
_MAC = 16
_FORM = re.compile(re.escape(PREFIX) + "([0-9a-f]{32}):([a-z2-7]{77,})")


def is_encrypted(entry_id: str) -> bool:
    """True if *entry_id* is one that is encrypted."""
    return entry_id.startswith(PREFIX) and _FORM.fullmatch(entry_id) is not None


def token_of(entry_id: str) -> bytes:
    """The token of whose key opens an id that is encrypted."""
    return bytes.fromhex(entry_id[len(PREFIX) :][:32])


def encrypted_id(user: User, entry_id: str) -> str:
    """What is recorded in place of *entry_id*; the same each time."""
    text = entry_id.encode("utf-8", "backslashreplace") + _END
    padded = text + bytes(-len(text) % _PADDING)  # so that its length tells little
    mac = _mac(user, padded)
    data = mac + _cipher(user, mac).encryptor().update(padded)
    coded = base64.b32encode(data).decode().rstrip("=").lower()
    return f"{PREFIX}{user.token.hex()}:{coded}"


def decrypted_id(user: User, encrypted: str) -> str | None:
    """The id that `encrypted_id` made *encrypted* of with the key of *user*; None if that was
    something else."""
    coded = encrypted[len(PREFIX) + 33 :].upper()
    try:
        data = base64.b32decode(coded + "=" * (-len(coded) % 8))
    except binascii.Error:
        return None
    padded = _cipher(user, data[:_MAC]).decryptor().update(data[_MAC:])
    found = padded.rstrip(b"\0")[: -len(_END)].decode("utf-8", "replace")
    return found if encrypted_id(user, found) == encrypted else None


def opened_in(value: Any, opened: Callable[[str], str]) -> Any:
    """*value*, of JSON types, with the ids that are encrypted in its texts as *opened* gives them;
    itself where there is none."""
    if isinstance(value, str):
        if PREFIX not in value:
            return value
        return _FORM.sub(lambda match: opened(match.group()), value)
    if isinstance(value, (list, tuple)):
        return type(value)(map(partial(opened_in, opened=opened), value))
    if isinstance(value, dict):
        return {opened_in(k, opened): opened_in(one, opened) for k, one in value.items()}
    return value


def _mac(user: User, padded: bytes) -> bytes:
    key = hmac.digest(user.key, b"axon-audit entry ids", "sha256")
    return hmac.digest(key, padded, "sha256")[:_MAC]


def _cipher(user: User, mac: bytes) -> Cipher[CTR]:
    key = hmac.digest(user.key, b"axon-audit entry ids, encrypted", "sha256")
    return Cipher(AES(key), CTR(mac))
