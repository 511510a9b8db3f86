"""The examples in docs/format.md: they are the test vectors. `tables` puts them there."""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from pathlib import Path
from typing import Any

from axon_audit_otel.core.merkle import leaf_hash, root_hash
from axon_audit_otel.events.model import FIELD_KINDS, AuditEvent

__all__ = ["IN_FORMAT"]

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"


def _lines(name: str) -> list[str]:
    """The lines of a file of the vectors."""
    return (VECTORS / name).read_text(encoding="utf-8").split("\n")[:-1]


def _events(vector: str) -> list[str]:
    """The lines of all events of a vector, as they are hashed."""
    files = sorted((VECTORS / vector / "archive").glob("audit_*.json"))
    return [line[1:] for file in files for line in _lines(str(file))[1:-1]]


def _expected(vector: str) -> Any:
    return json.loads((VECTORS / vector / "expected.json").read_bytes())


def _block(*lines: str, language: str = "text") -> str:
    return "\n".join([f"```{language}", *lines, "```"]) + "\n"


def _hash(line: str) -> str:
    return leaf_hash(line.encode()).hex()


def _dump(data: bytes, *widths: int) -> str:
    """Bytes in hex, so many a line."""
    lines, at = [], 0
    for width in widths:
        lines.append(f"{at:3}  {data[at : at + width].hex()}")
        at += width
    return _block(*lines)


_JSON_TYPES = {
    **dict.fromkeys(("user_id", "session_id"), "text or `null`"),
    **dict.fromkeys(("entry_ids", "subjects", "derived_from"), "list of texts"),
    "metadata": "object",
    "duration_ms": "float or `null`",
    "fingerprints": "object of texts",
    "sequence": "integer",
}


_MANY = "(see [digests](#digests))"


def event_fields() -> str:
    """Every field of an event, in its order."""
    words = {
        found[1]: " ".join(found[2].split())
        for found in re.finditer(
            r"^    (\w+): (.*?)(?=^    \w+: |\Z)",
            inspect.getdoc(AuditEvent) or "",  # Python 3.13 takes the indentation away
            re.MULTILINE | re.DOTALL,
        )
    }
    always = AuditEvent.__struct_fields__[: -len(AuditEvent.__struct_defaults__)]
    rows = ["| field | type | there | what it is |", "| --- | --- | --- | --- |"]
    for name in FIELD_KINDS:
        there = "always" if name in always else "unless empty"
        what = words[name].replace("``", "`").replace("(see docs/identity.md)", _MANY)
        what = re.sub("; None .*", ".", what)
        rows.append(f"| `{name}` | {_JSON_TYPES.get(name, 'text')} | {there} | {what} |")
    return "\n".join(rows) + "\n"


def journal_example() -> str:
    return _block(*_lines("signed/archive/default.journal"))


def sealed_example() -> str:
    return _block(*_lines("cosigned/archive/audit_2025_01_15_100003.json"))


def spelling_example() -> str:
    """The metadata with what is written in a way of its own."""
    line = next(line for line in _events("plain") if '"texts":' in line)
    facts = line.partition('"metadata":')[2].partition(',"status"')[0]
    return _block(facts, language="json")


def leaf_example() -> str:
    line = _events("signed")[0]
    return _block(line, "", f"SHA-256(00 line) = {_hash(line)}")


def root_example() -> str:
    """The root over three events."""
    leaves = [leaf_hash(line.encode()) for line in _events("signed")]
    left = root_hash(leaves[:2])
    return _block(
        *(f"leaf {number}  {leaf.hex()}" for number, leaf in enumerate(leaves)),
        f"SHA-256(01 leaf0 leaf1) = {left.hex()}",
        f"SHA-256(01 that leaf2)  = {root_hash(leaves).hex()}",
    )


#: Where the line of a manifest with that kind is.
_KINDS = {
    "trail": "signed/archive/default.manifest",
    "seal": "signed/archive/default.manifest",
    "head": "signed/archive/default.manifest",
    "writers": "writers/archive/api.manifest",
    "delete": "deleted/archive/default.manifest",
}


def manifest_example() -> str:
    """A line of each kind, and its hash."""
    told = []
    for kind, file in _KINDS.items():
        line = next(line for line in _lines(file) if line.startswith(f'{{"kind":"{kind}"'))
        told += [line, f"  hash {_hash(line)}"]
    return _block(*told)


def key_example() -> str:
    """The key that signs the vectors."""
    private, public = (_expected("derived")[0][name] for name in ("private", "result"))
    return _block(private, public)


def checkpoint_example() -> str:
    return _block(*_lines("signed/archive/default.checkpoint"))


def cosigned_example() -> str:
    return _block(
        *_lines("cosigned/archive/default.cosigned"), "", _expected("cosigned")["witness"]
    )


def deletion_example() -> str:
    """The text that is signed for a deletion, and its signature."""
    line = next(line for line in _lines(_KINDS["delete"]) if '"kind":"delete"' in line)
    said = json.loads(line)
    facts = [said[name] for name in ("file", "sha256", "reason", "deleted_at", "previous")]
    return _block("axon-audit deletion", *facts, "", said["signature"])


def attested_example() -> str:
    """The bytes of the first slot."""
    slot = (VECTORS / "signed/archive/default.attested").read_bytes()[:96]
    return _dump(slot, 8, 8, 32, 32, 16)


def intent_example() -> str:
    return _block(*_lines("signed/archive/default.intents"))


def records_example() -> str:
    """The metadata of what a trail says of itself."""
    vectors = ("started", "recovered", "gap", "adopted", "held", "erasable")
    lines = [line for vector in vectors for line in _events(vector) if '{"record":' in line]
    return _block(*(line.partition('"metadata":')[2].partition(',"status"')[0] for line in lines))


def keyring_example() -> str:
    """The file of a keyring, and the two records of one person."""
    home = VECTORS / "erasable" / "archive.keys"
    ring = (home / "keyring").read_bytes()
    event = json.loads(_events("erasable")[0])
    token = bytes.fromhex(event["user_id"].split(":")[1])
    name = hashlib.blake2b(b"alice", key=ring[20:52], digest_size=16).digest()
    told = [f"keyring: {ring[:52].hex()}, and {len(ring) - 52} erasure(s)"]
    for record in (name, token):
        content = (home / f"{record[-1]:02x}.keys").read_bytes()
        at = content.index(record)
        told.append(f"{record[-1]:02x}.keys: {content[at : at + 48].hex()}")
    return _block(*told)


def erased_example() -> str:
    return _block(*_lines("erasable/archive/.keyring"))


def erasable_example() -> str:
    """An event of one person, as it is recorded and as it is read."""
    told = []
    for at in (0, 3):
        read = json.dumps(_expected("erasable")["events"][at]["event"], ensure_ascii=False)
        told += [_events("erasable")[at], f"  read as {read}"]
    return _block(*told)


def _derived(what: str, *columns: str) -> str:
    """A table of values that are made of others."""
    rows = [f"| {' | '.join(columns)} | result |", f"|{' --- |' * (len(columns) + 1)}"]
    for one in _expected("derived"):
        if one["what"] == what:
            cells = (json.dumps(one.get(name), ensure_ascii=False) for name in columns)
            shown = "".join(f"`{cell}` | " for cell in cells)
            rows.append(f"| {shown}`{one['result']}` |")
    return "\n".join(rows) + "\n"


def pseudonyms_example() -> str:
    return _derived("pseudonym", "secret", "kind", "id")


def fingerprints_example() -> str:
    return _derived("fingerprint", "key", "owner", "text")


def entries_example() -> str:
    return _derived("entry", "key", "token", "id")


def digests_example() -> str:
    return _derived("digest", "id")


def shipped_example() -> str:
    return _block(_lines("plain/archive/default.shipped")[0].rstrip(" "))


def hold_example() -> str:
    return _block(*_lines("held/archive/tax.hold"))


def _json_block(name: str) -> str:
    value = json.loads((VECTORS / "proofs" / name).read_bytes())
    return _block(json.dumps(value, indent=2, ensure_ascii=False), language="json")


def inclusion_example() -> str:
    return _json_block("inclusion.json")


def consistency_example() -> str:
    return _json_block("consistency.json")


def receipt_example() -> str:
    key = _expected("proofs")["key"]
    return f"With the key `{key}` this one is verified:\n\n{_json_block('receipt.json')}"


def vectors() -> str:
    """The vectors that are archives."""
    rows = ["| folder | what is in it |", "| --- | --- |"]
    for file in sorted(VECTORS.glob("*/expected.json")):
        said = json.loads(file.read_bytes())
        if isinstance(said, dict) and "about" in said:
            rows.append(f"| `{file.parent.name}` | {said['about']} |")
    return "\n".join(rows) + "\n"


IN_FORMAT = {
    "event fields": event_fields,
    "spelling": spelling_example,
    "journal": journal_example,
    "sealed file": sealed_example,
    "leaf": leaf_example,
    "root": root_example,
    "manifest": manifest_example,
    "keys": key_example,
    "checkpoint": checkpoint_example,
    "cosigned": cosigned_example,
    "deletion": deletion_example,
    "slot": attested_example,
    "intent": intent_example,
    "records": records_example,
    "hold": hold_example,
    "shipped": shipped_example,
    "keyring": keyring_example,
    "erased": erased_example,
    "erasable": erasable_example,
    "pseudonyms": pseudonyms_example,
    "entries": entries_example,
    "digests": digests_example,
    "fingerprints": fingerprints_example,
    "inclusion": inclusion_example,
    "consistency": consistency_example,
    "receipt": receipt_example,
    "vectors": vectors,
}
