"""Checkpoints: signed statements of the newest event of a trail, as C2SP signed notes.

Formats: https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint, algorithm Ed25519
(type 0x01). The tree is the one over the lines of the manifest (one a sealed file); two
extension lines say what is not sealed yet, and when::

    axon-audit/default/0f8e...
    12
    2Hb3...=
    events 120034 6b86b273ff34...
    time 2025-01-15T11:00:00.000000Z

    — auditor-2025 Pm8s...==

A key file holds one line: ``PRIVATE+KEY+name+id+seed`` or ``name+id+key`` (as Go's note
package writes them).
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..core.errors import AuditConfigError, InvalidEventError, shown
from ..core.files import open_regular

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = [
    "NOTE_TEXT",
    "SIGNATURE_LINE",
    "Checkpoint",
    "SigningKey",
    "VerifyingKey",
    "is_signed",
    "is_signed_note",
    "new_key",
    "signed_by",
]

_ED25519 = b"\x01"


def _key_id(name: str, public: bytes, algorithm: bytes = _ED25519) -> bytes:
    """The first four bytes of a hash over name, algorithm and key."""
    return hashlib.sha256(name.encode() + b"\n" + algorithm + public).digest()[:4]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


@dataclass(frozen=True)
class VerifyingKey:
    """The public half of a key: who it belongs to, and the raw Ed25519 key (32 bytes)."""

    algorithm: ClassVar[bytes] = _ED25519
    words: ClassVar[str] = "Ed25519 verification key"

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> Self:
        """The key in its line ``name+id+key``.

        Raises:
            AuditConfigError: If *text* is not such a line.
        """
        name, _, rest = text.strip().partition("+")
        identity, _, encoded = rest.partition("+")
        try:
            data = _unb64(encoded)
        except ValueError:
            data = b""
        if not name or data[:1] != cls.algorithm or len(data) != 33:
            raise AuditConfigError(f"no {cls.words} (name+id+key)")
        key = cls(name, data[1:])
        if key.id.hex() != identity:
            raise AuditConfigError(f"the key of {name!r} does not belong to its id")
        return key

    @property
    def id(self) -> bytes:
        """Four bytes, which begin each signature."""
        return _key_id(self.name, self.public, self.algorithm)

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{_b64(self.algorithm + self.public)}"

    def signed(self, text: str, signature: bytes) -> bool:
        """Return True if *signature* (64 bytes) is this key's signature of *text*."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

        try:
            public = Ed25519PublicKey.from_public_bytes(self.public)
            public.verify(signature, text.encode("utf-8", "surrogatepass"))
        except InvalidSignature:
            return False
        return True

    def signatures_in(self, lines: str) -> Iterator[bytes]:
        """Yield the signatures in those *lines* of a note that name this key."""
        for line in lines.splitlines():
            dash, _, rest = line.partition(" ")
            name, _, encoded = rest.partition(" ")
            if dash == "\u2014" and name == self.name:
                with suppress(ValueError):
                    data = _unb64(encoded)
                    if data[:4] == self.id:
                        yield data[4:]


class SigningKey:
    """A private key, from its line ``PRIVATE+KEY+name+id+seed``.

    Raises:
        AuditConfigError: If the line is not such a key.
    """

    def __init__(self, line: str) -> None:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

        found = re.fullmatch(r"PRIVATE\+KEY\+([^+\s]+)\+([0-9a-f]{8})\+(\S+)", line.strip())
        try:
            data = _unb64(found[3]) if found else b""
        except ValueError:
            data = b""
        name, identity = found.groups()[:2] if found else ("", "")
        del line, found  # a traceback that shows variables must not show the key
        if data[:1] != _ED25519 or len(data) != 33:
            del data
            raise AuditConfigError("no Ed25519 signing key: make one with axon-audit keygen")
        self._key = Ed25519PrivateKey.from_private_bytes(data[1:])
        del data
        self.verifying = VerifyingKey(name, self._key.public_key().public_bytes_raw())
        if self.verifying.id.hex() != identity:
            msg = f"the signing key of {name!r} does not belong to its id"
            raise AuditConfigError(msg)

    def line(self) -> str:
        """The secret: its line, for the file that keeps it."""
        name, _, rest = str(self.verifying).partition("+")
        seed = _b64(_ED25519 + self._key.private_bytes_raw())
        return f"PRIVATE+KEY+{name}+{rest.partition('+')[0]}+{seed}"

    def __repr__(self) -> str:
        return f"SigningKey({self.verifying.name!r})"  # never the seed

    def __deepcopy__(self, memo: object) -> SigningKey:
        return self

    def __reduce__(self) -> str:
        raise TypeError("a signing key is never pickled")

    def derived(self, purpose: str) -> bytes:
        """A secret key of 32 bytes for *purpose*, which says nothing about this one."""
        seed = self._key.private_bytes_raw()
        return hashlib.blake2b(f"axon-audit {purpose}".encode(), key=seed, digest_size=32).digest()

    def sign(self, text: str) -> str:
        """*text* (which ends with a newline) as a signed note."""
        return f"{text}\n{self.signature(text)}\n"

    def signature(self, text: str) -> str:
        """The signature line of a signed note for *text*."""
        signature = self._key.sign(text.encode())
        return f"\u2014 {self.verifying.name} {_b64(self.verifying.id + signature)}"


def new_key(name: str) -> SigningKey:
    """A new key with *name* in its signatures (no spaces, no plus signs).

    Raises:
        AuditConfigError: If *name* is not allowed.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    if not re.fullmatch(r"[^+\s\ud800-\udfff]{1,128}", name):
        msg = f"key name {name!r}: must be 1 to 128 characters without spaces and plus signs"
        raise AuditConfigError(msg)
    key = Ed25519PrivateKey.generate()
    identity = _key_id(name, key.public_key().public_bytes_raw()).hex()
    return SigningKey(f"PRIVATE+KEY+{name}+{identity}+{_b64(_ED25519 + key.private_bytes_raw())}")


@dataclass(frozen=True)
class Checkpoint:
    """The state of a trail at one moment.

    Attributes:
        origin: Which trail: ``axon-audit/<name>/<id>``.
        size: Number of lines in the manifest.
        root: Merkle root over the manifest's lines (32 bytes).
        events: The number of the newest event; 0 before the first.
        head: The hash of that event, hex; empty before the first.
        time: When, as ``2025-01-15T11:00:00.000000Z``.
    """

    origin: str
    size: int
    root: bytes
    events: int
    head: str
    time: str

    def __str__(self) -> str:
        return f"the checkpoint of {self.time}"

    @property
    def writer(self) -> str:
        """The name of its writer."""
        return self.origin.split("/")[1]

    def text(self) -> str:
        """The text that is signed."""
        return (
            f"{self.origin}\n{self.size}\n{_b64(self.root)}\n"
            f"events {self.events} {self.head}".rstrip()
            + f"\ntime {self.time}\n"
        )

    @classmethod
    def parse(cls, note: str, keys: list[VerifyingKey] | None = None) -> Checkpoint:
        """The checkpoint in *note*, signed by one of *keys* if any are given.

        Raises:
            InvalidEventError: If it is no checkpoint, or none of *keys* signed it.
        """
        text, _, signatures = note.partition("\n\n")
        if keys and not signed_by(keys, f"{text}\n", signatures):
            names = ", ".join(key.name for key in keys)
            raise InvalidEventError(f"the checkpoint is not signed by {names}")
        found = _NOTE.fullmatch(note if note.endswith("\n") else f"{note}\n")
        if found is None:
            raise InvalidEventError(f"not a checkpoint of an audit trail: {shown(note)}")
        origin, size, root, events, head, time = found.groups()
        return cls(origin, int(size), _unb64(root), int(events), head or "", time)


#: Regular expressions of a note's text, and of a line with a signature of it.
NOTE_TEXT = (
    r"(axon-audit/\S+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n"
    r"events (0|[1-9][0-9]{0,18})(?: ([0-9a-f]{64}))?\ntime (\S+)\n"
)
SIGNATURE_LINE = r"\u2014 \S+ \S+\n"
_NOTE = re.compile(f"{NOTE_TEXT}\n(?:{SIGNATURE_LINE})*")


def is_signed_note(note: str) -> bool:
    """Return True if a checkpoint in *note* has a signature, by any key."""
    return "\n\n\u2014 " in note


def signed_notes(text: str) -> list[str]:
    """The signed notes in *text* that look like checkpoints; no signature is checked."""
    return [found[0] for found in _NOTE.finditer(text) if is_signed_note(found[0])]


def is_signed(file: Path) -> bool:
    """Return True if a checkpoint in *file* has a signature, by any key."""
    with suppress(OSError), open_regular(file) as lines:
        return any(line.startswith("\u2014 ".encode()) for line in lines)
    return False


def signed_by(keys: list[VerifyingKey], text: str, signatures: str) -> bool:
    """Return True if one of *keys* made one of the *signatures* (lines) of *text*."""
    return any(key.signed(text, made) for key in keys for made in key.signatures_in(signatures))
