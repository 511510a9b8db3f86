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
from dataclasses import dataclass
from pathlib import Path

from ..core.errors import AuditConfigError, InvalidEventError

__all__ = ["Checkpoint", "SigningKey", "VerifyingKey", "is_signed", "new_key", "signed_by"]

_ED25519 = b"\x01"


def _key_id(name: str, public: bytes) -> bytes:
    """The first four bytes of a hash over name, algorithm and key."""
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + public).digest()[:4]


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _unb64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


@dataclass(frozen=True)
class VerifyingKey:
    """The public half of a key: who it belongs to, and the raw Ed25519 key (32 bytes)."""

    name: str
    public: bytes

    @classmethod
    def parse(cls, text: str) -> VerifyingKey:
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
        if not name or data[:1] != _ED25519 or len(data) != 33:
            raise AuditConfigError("no Ed25519 verification key (name+id+key)")
        if _key_id(name, data[1:]).hex() != identity:
            raise AuditConfigError(f"the key of {name!r} does not belong to its id")
        return cls(name, data[1:])

    def __str__(self) -> str:
        return f"{self.name}+{_key_id(self.name, self.public).hex()}+{_b64(_ED25519 + self.public)}"

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
            msg = (
                "no Ed25519 signing key (PRIVATE+KEY+name+id+seed): make one with axon-audit keygen"
            )
            raise AuditConfigError(msg)
        self._key = Ed25519PrivateKey.from_private_bytes(data[1:])
        del data
        self.verifying = VerifyingKey(name, self._key.public_key().public_bytes_raw())
        if _key_id(name, self.verifying.public).hex() != identity:
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
        identity = _key_id(self.verifying.name, self.verifying.public)
        return f"\u2014 {self.verifying.name} {_b64(identity + signature)}"


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
        text += "\n"
        if keys and not signed_by(keys, text, signatures):
            names = ", ".join(key.name for key in keys)
            raise InvalidEventError(f"the checkpoint is not signed by {names}")
        found = _TEXT.fullmatch(text)
        if found is None:
            raise InvalidEventError(f"not a checkpoint of an audit trail: {text[:60]!r}")
        origin, size, root, events, head, time = found.groups()
        return cls(origin, int(size), _unb64(root), int(events), head or "", time)


_TEXT = re.compile(
    r"(axon-audit/\S+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n"
    r"events (0|[1-9][0-9]{0,18})(?: ([0-9a-f]{64}))?\ntime (\S+)\n"
)


def signed_notes(text: str) -> list[str]:
    """The signed notes in *text* that look like checkpoints; no signature is checked."""
    return [found[0] for found in _NOTE.finditer(text)]


_NOTE = re.compile(_TEXT.pattern + r"\n(?:\u2014 \S+ \S+\n)+")


def is_signed(file: Path) -> bool:
    """Return True if a checkpoint in *file* has a signature, by any key."""
    try:
        return "\n\n\u2014 " in file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False


def signed_by(keys: list[VerifyingKey], text: str, signatures: str) -> bool:
    """Return True if one of *keys* made one of the *signatures* (lines) of *text*."""
    for line in signatures.splitlines():
        dash, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        try:
            data = _unb64(encoded)
        except ValueError:
            continue
        if dash == "\u2014" and len(data) == 68:
            for key in keys:
                is_its_key = (name, data[:4]) == (key.name, _key_id(key.name, key.public))
                if is_its_key and key.signed(text, data[4:]):
                    return True
    return False
