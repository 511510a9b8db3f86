#!/usr/bin/env python3
"""Checks a proof about an audit trail:  python3 verify_proof.py PROOF KEY

It proves that an event is in the trail, or that the trail only grew between two checkpoints; of a
receipt also that its statement is signed, and agrees with the event; of a report that its files are
those that were signed. PROOF is a file from `axon-audit prove` or `axon-audit receipt --json`, or
report.note beside the files of a report; KEY the public key (NAME+ID+KEY, or a file with it). Get
the key from a source that you trust, not with the proof. Needs `pip install cryptography`.
"""

import json
import sys
from base64 import b64decode
from hashlib import sha256
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


def need(holds: object, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def signed_text(note: str, key_line: str, what: str = "checkpoint") -> list[str]:
    """The lines that the key has signed: Ed25519, format https://c2sp.org/signed-note."""
    name, key_id, encoded = key_line.strip().split("+", 2)
    key = b64decode(encoded, validate=True)
    known = key[:1] == b"\x01" and sha256(f"{name}\n".encode() + key).hexdigest()[:8] == key_id
    need(known, "the key is no Ed25519 key in the form NAME+ID+KEY")
    text, signatures = note.split("\n\n")
    lines = [line.split(" ") for line in signatures.splitlines()]
    made = [b64decode(one[2], validate=True) for one in lines if one[:2] == ["\u2014", name]]
    ours = [value[4:] for value in made if value[:4].hex() == key_id]
    need(ours, f"the {what} is not signed by {name}")
    Ed25519PublicKey.from_public_bytes(key[1:]).verify(ours[0], f"{text}\n".encode())
    return text.splitlines()


def merkle_root(entry: str, index: int, size: int, path: list[str]) -> bytes:
    """The root of the tree that contains *entry*: RFC 9162, section 2.1.3.2."""
    need(0 <= index < size, "the place in the tree is outside of it")
    last, root = size - 1, sha256(b"\x00" + entry.encode()).digest()
    for sibling in map(bytes.fromhex, path):
        need(last > 0, "the path through the tree is too long")
        on_the_right = index & 1 or index == last
        root = sha256(b"\x01" + (sibling + root if on_the_right else root + sibling)).digest()
        while on_the_right and index and not index & 1:
            index, last = index >> 1, last >> 1
        index, last = index >> 1, last >> 1
    need(last == 0, "the path through the tree is too short")
    return root


def check_growth(old: int, old_root: bytes, size: int, new_root: bytes, path: list[str]) -> None:
    """Raise unless the larger tree begins with the smaller: RFC 9162, section 2.1.4.2."""
    need(0 < old <= size, "the older tree is the larger one")
    path = [old_root.hex(), *path] if old & (old - 1) == 0 or old == size else path
    place, last, steps = old - 1, size - 1, list(map(bytes.fromhex, path))
    while place & 1:
        place, last = place >> 1, last >> 1
    before = after = steps.pop(0)
    for step in steps:
        need(last > 0, "the path between the trees is too long")
        if place & 1 or place == last:
            before = sha256(b"\x01" + step + before).digest()
            after = sha256(b"\x01" + step + after).digest()
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            after = sha256(b"\x01" + after + step).digest()
        place, last = place >> 1, last >> 1
    need(last == 0 or old == size, "the path between the trees is too short")
    need((before, after) == (old_root, new_root), "the trail does not begin as it was signed")


def check_consistency(proof: dict[str, Any], key_line: str) -> str:
    """The statement that a trail only grew; raises if *proof* does not prove it."""
    old, new = (signed_text(proof[name], key_line)[:5] for name in ("old", "new"))
    need(old[0] == new[0], "the checkpoints are of two trails")
    old_root, new_root = b64decode(old[2]), b64decode(new[2])
    check_growth(int(old[1]), old_root, int(new[1]), new_root, proof["path"])
    need(int(old[1]) == proof["in_old"]["size"], "the older tree is of another size")
    root = merkle_root(proof["line"], **proof["in_old"])
    need(root == old_root, "the line about the newest event is not in the older tree")
    line = json.loads(proof["line"])
    number = line["number"] if line["kind"] == "head" else line["last_sequence"]
    need(f"events {number} {line['head']}" == old[3], "no line states the newest event")
    times = f"signed at {old[4][5:]}, and only grew until {new[4][5:]}"
    return f"the trail {old[0]} had the events up to {number}, {times}"


def check_inclusion(proof: dict[str, Any], key_line: str) -> str:
    """The statement that an event is in a trail; raises if *proof* does not prove it."""
    origin, size, signed, _, time = signed_text(proof["checkpoint"], key_line)[:5]
    need(int(size) == proof["in_manifest"]["size"], "the tree of seals is of another size")
    root = merkle_root(proof["seal"], **proof["in_manifest"])
    need(root == b64decode(signed), "the seal is not in the trail that was signed")
    seal, event = json.loads(proof["seal"]), json.loads(proof["event"])
    about = seal["kind"] == "seal" and seal["events"] == proof["in_file"]["size"]
    need(about, "the seal is not about a file of that many events")
    root = merkle_root(proof["event"], **proof["in_file"])
    need(root.hex() == seal["root"], "the event is not in the file that was sealed")
    adopted = "the event is adopted: the application found it, and did not attest it"
    need(event["sequence"] < seal.get("adopted", event["sequence"] + 1), adopted)
    facts = ", ".join(ascii(event[name]) for name in ("operation", "user_id", "timestamp"))
    return f"event {event['event_id']!a} ({facts}) is in {origin}, signed at {time[5:]}"


def check_receipt(receipt: dict[str, Any], key_line: str) -> str:
    """The statement that an erasure is in a trail, and what its receipt says of it."""
    proof, proved = receipt["proof"], check_inclusion(receipt["proof"], key_line)
    first, *facts = signed_text(receipt["statement"], key_line, "statement")
    need(first == "axon-audit receipt 1" and len(facts) == 1, "the statement is of no receipt")
    said, event = json.loads(facts[0]), json.loads(proof["event"])
    need(proof["checkpoint"].startswith(f"{said['trail']}\n"), "the statement is of another trail")
    quoted = {**said["counted"], **said["event"]}
    need({"event_id", "timestamp", "operation", "status", "entry_ids"} <= {*quoted}, "it says less")
    recorded = {**said["counted"], **event["metadata"], **event}  # what is encrypted is not there
    agrees = all(recorded.get(name) == quoted[name] for name in quoted)
    need(agrees, "the statement does not say what the event says")
    found = ", ".join(f"{one['kind']!a}" for one in said["remains"]) or "nothing"
    erased = f"{said['erased']!a} erased, {said['verified']!a}; remains: {found}"
    seen = f"seen again {said['seen_again']['number']!a} times"
    return f"{proved}; its receipt of {said['made_at']!a} says: {erased}; {seen}"


def check_report(note: str, key_line: str, place: Path) -> str:
    """The statement that the files in *place* are those of a report; raises if one is not."""
    listed = [line.partition("  ") for line in signed_text(note, key_line, "report")[1:]]
    for digest, _, name in listed:
        inside = ".." not in Path(name).parts and not Path(name).is_absolute()
        need(inside, f"{name!a} is outside of the report")
        need((place / name).is_file(), f"{name!a} is missing")
        is_same = sha256((place / name).read_bytes()).hexdigest() == digest
        need(is_same, f"{name!a} is not as it was signed")
    known = {place / name for _, _, name in listed} | {place / "report.note"}
    files = [path for path in place.rglob("*") if path not in known and not path.is_dir()]
    beside = sorted(ascii(str(path.relative_to(place))) for path in files)
    others = f"; NOT signed, and beside them: {', '.join(beside[:9])}" if beside else ""
    return f"the {len(listed)} files of the report are as they were signed{others}"


def check(proof: dict[str, Any], key_line: str) -> str:
    """The statement that *proof* proves; raises if it proves nothing."""
    if "statement" in proof:
        return check_receipt(proof, key_line)
    return (check_consistency if "old" in proof else check_inclusion)(proof, key_line)


def main(proof: str, key: str, *, is_line: bool = False) -> str:
    try:
        key_line = key if is_line or not Path(key).is_file() else Path(key).read_text("utf-8")
        content = Path(proof).read_bytes()
        if content.startswith(b"axon-audit report 1\n"):
            return f"PROVED: {check_report(content.decode(), key_line, Path(proof).parent)}"
        return f"PROVED: {check(json.loads(content), key_line)}"
    except (AssertionError, InvalidSignature) as reason:
        return f"NOT PROVED: {ascii(str(reason) or 'that is not what was signed')[1:-1]}"
    except Exception as error:  # a hostile file may raise anything
        return f"NOT PROVED: the proof or the key cannot be read ({type(error).__name__})"


if __name__ == "__main__":
    answer = main(*sys.argv[1:]) if len(sys.argv) == 3 else __doc__
    print(answer)
    sys.exit(2 if answer == __doc__ else answer.startswith("NOT"))
