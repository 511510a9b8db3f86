#!/usr/bin/env python3
"""Checks a proof that an event is in an audit trail.

    python3 verify_proof.py PROOF KEY

PROOF is what `axon-audit prove` wrote, KEY the public key (NAME+ID+KEY, or a file with it). Get
the key from whom you trust, not from where the proof comes from. Needs `pip install cryptography`.

What is proved, step by step:
 1. The checkpoint was signed with the key (Ed25519; format: https://c2sp.org/signed-note).
 2. The seal of a file of events was in the trail that was signed (Merkle tree of RFC 6962).
 3. The event was in that file (likewise).
"""

from __future__ import annotations

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class NotProvedError(Exception):
    """Why it is not proved."""


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def check_signature(note: str, key_line: str) -> list[str]:
    """The lines of the signed text."""
    name, key_id, encoded = key_line.strip().split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    if key[:1] != b"\x01" or sha256(name.encode() + b"\n" + key)[:4].hex() != key_id:
        raise NotProvedError("the key is no Ed25519 key in the form NAME+ID+KEY")
    text, signatures = note.split("\n\n")
    for line in signatures.splitlines():
        dash, signer, signature = line.split(" ")
        data = base64.b64decode(signature, validate=True)
        if (dash, signer, data[:4].hex()) == ("\u2014", name, key_id):
            try:
                Ed25519PublicKey.from_public_bytes(key[1:]).verify(data[4:], f"{text}\n".encode())
            except InvalidSignature:
                raise NotProvedError(f"the checkpoint is not what {name} signed") from None
            return text.splitlines()
    raise NotProvedError(f"the checkpoint is not signed by {name}")


def merkle_root(entry: str, proof: dict[str, Any]) -> bytes:
    """The root of the tree that has *entry* in it: RFC 9162, section 2.1.3.2."""
    index, last = int(proof["index"]), int(proof["size"]) - 1
    if not 0 <= index <= last:
        raise NotProvedError("the place in the tree is outside of it")
    root = sha256(b"\x00" + entry.encode())
    for sibling in map(bytes.fromhex, proof["path"]):
        if last == 0:
            raise NotProvedError("the path through the tree is too long")
        if index & 1 or index == last:
            root = sha256(b"\x01" + sibling + root)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            root = sha256(b"\x01" + root + sibling)
        index, last = index >> 1, last >> 1
    if last != 0:
        raise NotProvedError("the path through the tree is too short")
    return root


def check(proof: dict[str, Any], key_line: str) -> str:
    """What is proved, in words."""
    origin, size, root, _, time = check_signature(proof["checkpoint"], key_line)[:5]
    if int(size) != proof["in_manifest"]["size"]:
        raise NotProvedError("the tree of seals has another size than the one that was signed")
    if merkle_root(proof["seal"], proof["in_manifest"]) != base64.b64decode(root, validate=True):
        raise NotProvedError("the seal is not in the trail that was signed")
    seal, event = json.loads(proof["seal"]), json.loads(proof["event"])
    if seal["kind"] != "seal" or seal["events"] != proof["in_file"]["size"]:
        raise NotProvedError("the seal is not about a file of that many events")
    if merkle_root(proof["event"], proof["in_file"]).hex() != seal["root"]:
        raise NotProvedError("the event is not in the file that was sealed")
    facts = ", ".join(ascii(event[name]) for name in ("operation", "user_id", "timestamp"))
    return f"event {event['event_id']!a} ({facts}) is in {origin}, signed at {time[5:]}"


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    try:
        key = Path(sys.argv[2])
        key_line = key.read_text(encoding="utf-8") if key.is_file() else sys.argv[2]
        print("PROVED:", check(json.loads(Path(sys.argv[1]).read_bytes()), key_line))
    except NotProvedError as reason:
        print("NOT PROVED:", ascii(str(reason))[1:-1])
    except Exception as error:
        print(f"NOT PROVED: the proof or the key cannot be read ({type(error).__name__})")
    else:
        return 0
    return 1


if __name__ == "__main__":
    sys.exit(main())
