"""Keyed hashes of the content of entries: they tell that a text has changed, and not what it is.

A fingerprint is three characters that say with which key it was made, and 96 bits of keyed BLAKE2b
(RFC 7693) over the owner and the text of an entry, in base64. With ``erasable`` the
key of an entry that somebody owns is made of that person's key: once it is destroyed, nobody can
try whether a text is the one that was recorded.
"""

from __future__ import annotations

import hmac
import os
from binascii import b2a_base64
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ..core.content import content_of
from ..core.files import open_owned
from ..core.fsync import sync_directory
from .encryption import Erasure

__all__ = ["Fingerprints", "key_of"]

_FILE = ".fingerprints.key"
_BYTES, _DIGEST = 32, 12
_LINE = 2 * _BYTES + 1  # in hex


def key_of(archive: Path | None, make: bool = True) -> bytes:
    """The key of an archive's fingerprints, made at first use; without one a new key.

    Raises:
        OSError: If its file cannot be read or made, or has another content; or if it is not
            there, and not to be made.
    """
    if archive is None:
        return os.urandom(_BYTES)
    path = archive / _FILE
    if make and not os.path.lexists(path):
        _make(path)
    line = content_of(path, _LINE)
    if len(line) != _LINE:
        raise OSError(22, "is not a key: remove it to begin with a new one", str(path))
    return line.strip()


def _make(path: Path) -> None:
    """Make the file of a key, whole; another process may be the first."""
    part = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    file = open_owned(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        os.write(file, f"{os.urandom(_BYTES).hex()}\n".encode())
        os.fsync(file)
        with suppress(FileExistsError):
            os.link(part, path, follow_symlinks=False)
    finally:
        os.close(file)
        part.unlink()
    sync_directory(path.parent)


class Fingerprints:
    """Makes the fingerprints of one trail.

    Args:
        key: Gives the trail's key; asked once, at the first fingerprint.
        erasure: The keys of persons, where they can be erased.
        mac: The key as `_begun` gives it, if it is known.
    """

    def __init__(
        self,
        key: Callable[[], bytes],
        erasure: Erasure | None = None,
        mac: tuple[str, Any] | None = None,
    ) -> None:
        self._make_key = key
        self._mac = mac
        self._erasure = erasure

    def of(self, text: str, owner: str | None) -> str:
        """The fingerprint of an entry with that *text*; *owner* as events name them.

        Raises:
            OSError: If a key cannot be read or made.
        """
        if self._erasure is not None and owner is not None:
            number, mac = _begun(_derived(self._erasure.keys.of(owner).key))
        else:
            if self._mac is None:
                self._mac = _begun(self._make_key())
            number, begun = self._mac
            mac = begun.copy()
        data = text if owner is None else f"{len(owner)}:{owner}{text}"
        mac.update(data.encode("utf-8", "surrogatepass"))
        return number + b2a_base64(mac.digest(), newline=False).decode()

    def of_owner(self, owner: str | None) -> list[Fingerprints]:
        """What makes the fingerprints that an entry of *owner* can have: one with the trail's
        key, and one with each of that person. No key is made for a person who has none.

        Raises:
            OSError: If a key cannot be read.
        """
        if self._mac is None:
            self._mac = _begun(self._make_key())
        macs = [self._mac]
        if self._erasure is not None and owner is not None:
            persons = self._erasure.keys.having(owner)
            macs += [_begun(_derived(person.key)) for person in persons]
        return [Fingerprints(self._make_key, mac=mac) for mac in macs]


def _derived(key: bytes) -> bytes:
    """A key for fingerprints alone."""
    return hmac.digest(key, b"axon-audit fingerprints", "sha256")


def _begun(key: bytes) -> tuple[str, Any]:
    """The characters that fingerprints made with *key* begin with, and a hash with it."""
    number = hmac.digest(key, b"axon-audit key", "sha256")
    return b2a_base64(number[:3])[:3].decode(), blake2b(key=key, digest_size=_DIGEST)
