"""The test vectors of docs/format.md: ``python tools/vectors.py [DIR]`` makes them anew.

The package itself makes them, with keys, ids and times that are fixed in `vector_world`: each run
gives the same bytes. What a reader must find stands beside each, in ``expected.json``.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from vector_archives import ARCHIVES, logger, record, stores
from vector_world import BEGIN_US, KEY, PUBLIC, SECRET, WITNESS, fixed

from axon_audit_otel import verify
from axon_audit_otel.archive.attested import Attestor
from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey
from axon_audit_otel.archive.cosignatures import Quorum
from axon_audit_otel.archive.directory import Directory
from axon_audit_otel.archive.intents import Intents
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.reader import LineReader
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.events import identifiers
from axon_audit_otel.events.model import decode, decode_recorded, is_canonical
from axon_audit_otel.privacy.entry_ids import encrypted_id
from axon_audit_otel.privacy.erased_tokens import keys_of
from axon_audit_otel.privacy.fingerprints import Fingerprints, _derived
from axon_audit_otel.privacy.keyring import Keyring, User
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms
from axon_audit_otel.trail.setting_values import parse_fingerprints
from axon_audit_otel.verification import receipt
from axon_audit_otel.verification.consistency_proof import prove_consistency
from axon_audit_otel.verification.inclusion_proof import prove

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"


# --- what a reader must find ------------------------------------------------------------------


def expected(archive: Path, is_signed: bool) -> dict[str, Any]:
    """What stands in an archive, and whether it is sound."""
    keys = keys_of(archive)
    policy = PrivacyPolicy()
    if keys.is_dir():
        policy = PrivacyPolicy.for_reading(archive, keys)
    quorum = Quorum((WITNESS,), 1) if any(archive.glob("*.cosigned")) else None
    report = verify(archive, [PUBLIC] if is_signed else [], quorum=quorum)
    told: dict[str, Any] = {
        "key": PUBLIC if is_signed else None,
        "ok": report.ok,
        "writers": [
            {
                "writer": one.writer,
                "id": one.id or "",
                "events": one.events,
                "first": one.first_sequence or 0,
                "last": one.last_sequence or 0,
                "proved": one.proved_until or 0,
            }
            for one in report.writers
        ],
        "events": list(_events(archive, policy)),
    }
    if is_signed:
        told["attested"] = dict(_attested(archive))
        told["intents"] = dict(_intents(archive))
    if quorum is not None:
        told["witness"] = str(WITNESS)
        told["cosigned"] = dict(_cosigned(archive, quorum))
    return told


def _events(archive: Path, policy: PrivacyPolicy) -> Iterator[dict[str, Any]]:
    """Every event, by writer: its hash, and its fields as far as keys make them readable."""
    with Directory(archive, Missing()) as here:
        for writer in sorted(here.writers.keys() | here.journals.keys()):
            files = here.writers[writer].files if writer in here.writers else []
            files = [file for file in files if file.state != "deleted"]
            if writer in here.journals:
                files.append(here.journals[writer])
            for file in files:
                with here.open(file) as opened:
                    for line in LineReader(opened, file.path).lines():
                        (readable,) = policy.readable([decode_recorded(line[1:-1])])
                        fields = json.loads(readable.to_json())
                        hashed = leaf_hash(line[1:-1]).hex()
                        yield {"file": file.name, "hash": hashed, "event": fields}


def _attested(archive: Path) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What the slots of each writer say."""
    for path in sorted(archive.glob("*.attested")):
        states = Attestor(SigningKey(KEY), None)._states(path.with_suffix(""))
        told = [
            {
                "number": state.number,
                "lines": state.lines,
                "head": state.head.hex(),
                "line": state.line.hex(),
            }
            for state in states
        ]
        yield path.stem, told


def _intents(archive: Path) -> Iterator[tuple[str, list[str]]]:
    """The ids of the intents that the key attests."""
    secret = Attestor(SigningKey(KEY), None).secret("intents")
    for path in sorted(archive.glob("*.intents")):
        found = Intents(path.with_suffix(""), False, secret).unfinished([])
        yield path.stem, [one["event_id"] for one in found if "adopted" not in one]


def _cosigned(archive: Path, quorum: Quorum) -> Iterator[tuple[str, dict[str, Any]]]:
    """The checkpoint of each writer that the witness cosigned, and when."""
    for path in sorted(archive.glob("*.cosigned")):
        note = path.read_text(encoding="utf-8")
        said, (time,) = Checkpoint.parse(note), quorum.cosigned(note).values()
        yield path.stem, {"origin": said.origin, "lines": said.size, "time": time}


# --- proofs, and what is derived -----------------------------------------------------------------


def proofs(place: Path) -> None:
    """An inclusion proof, a consistency proof, and receipts of both kinds."""
    archive = place / "made"
    with logger(archive, 2, erasable=True, signing_key=KEY) as audit:
        stores(audit, 3)
        forgotten = record(
            audit, "FORGET", "alice", entry_ids=["e-2"], metadata={"deleted": 1, "remaining": 0}
        )
        audit.seal()
        audit.erase_user("bob")
        (erasure,) = audit.query_events(operation="AUDIT", archived=True)
        stores(audit, 2)
    notes = (archive / "default.checkpoints").read_text(encoding="utf-8")
    older = notes[: notes.index("axon-audit/", 1)]
    fixed.wait(60)
    policy, key = PrivacyPolicy.for_reading(archive, keys_of(archive)), SigningKey(KEY)
    write(place / "inclusion.json", prove(archive, forgotten))
    write(place / "consistency.json", prove_consistency(archive, older))
    for name, event_id in (("receipt", forgotten), ("receipt_of_keys", erasure.event_id)):
        made = receipt.make_receipt(archive, event_id, policy, key)
        write(place / f"{name}.json", made)
    trail = Checkpoint.parse(older).origin
    event = {"origin": trail, "event": forgotten, "number": 4}
    keys = {"origin": trail, "event": erasure.event_id, "number": erasure.sequence}
    proved = {
        "inclusion": event,
        "consistency": {"origin": trail, "from": Checkpoint.parse(older).events, "to": 7},
        "receipt": {**event, "erased": "entries", "verified": "not_verified", "person": None},
        "receipt_of_keys": {**keys, "erased": "keys", "verified": "no_key", "person": None},
    }
    write(place / "expected.json", {"key": PUBLIC, "proved": proved})
    shutil.rmtree(archive)
    shutil.rmtree(keys_of(archive))


def derived(ring: Keyring) -> list[dict[str, Any]]:
    """Values that are made of others: each with what it is made of, and the `result`."""
    key = SigningKey(KEY)
    found: list[dict[str, Any]] = [{"what": "public key", "private": KEY, "result": PUBLIC}]
    for purpose in ("attested default", "intents", "fingerprints"):
        made = {"private": KEY, "purpose": purpose, "result": key.derived(purpose).hex()}
        found.append({"what": "derived key", **made})
    hidden = Pseudonyms(SECRET.encode())
    for kind, make in (("user", hidden.user), ("session", hidden.session)):
        for id_ in ("alice", "zo\u00eb"):
            made = {"secret": SECRET, "kind": kind, "id": id_, "result": make(id_)}
            found.append({"what": "pseudonym", **made})
    person = bytes(range(32))
    sources = {
        "file": ("0123456789abcdef" * 4 + "\n", b"0123456789abcdef" * 4),
        "secret": (SECRET, parse_fingerprints(SECRET)),
        "signing key": (KEY, key.derived("fingerprints")),
        "person": (person.hex(), _derived(person)),
    }
    for source, (value, secret) in sources.items():
        for owner in ("alice", "zo\u00eb", None):
            text = Fingerprints(lambda secret=secret: secret).of("blue shoes", owner)  # type: ignore[misc]
            made = {"key": {"from": source, "value": value}, "owner": owner, "text": "blue shoes"}
            found.append({"what": "fingerprint", **made, "result": text})
    token = bytes(range(16, 32))
    holder = User(token, person, AESGCM(person))
    for id_ in ("memories/alice/k1", "zo\u00eb"):
        made = {"key": {"from": "person", "value": person.hex()}, "token": token.hex(), "id": id_}
        found.append({"what": "entry", **made, "result": encrypted_id(holder, id_)})
    for name in ("alice", "zo\u00eb"):
        found.append({"what": "digest", "id": name, "result": identifiers.digest_of(name)})
        record = {"salt": ring._salt.hex(), "id": name, "result": ring._name(name).hex()}
        found.append({"what": "record name", **record})
    token = ring.of("alice").token
    code = ring.proof_of_erasure(token).hex()
    made = {"salt": ring._salt.hex(), "id": token.hex(), "result": code}
    found.append({"what": "proof of erasure", **made})
    id_ = "evt_01946967d5007000973a3fceb53aaf26"
    found.append({"what": "time of id", "id": id_, "result": BEGIN_US // 1000})
    for line, result in _LINES.items():
        event = decode(line.encode())
        assert is_canonical(line.encode(), event) is result, line
        found.append({"what": "canonical", "line": line, "result": result})
    return found


_BASE = (
    '{"event_id":"evt_1","timestamp":"2025-01-15T10:00:00.000000Z","operation":"STORE",'
    '"user_id":null,"session_id":null,"entry_ids":[],"metadata":{"n":0},"status":"SUCCESS",'
    '"duration_ms":null,"sequence":1}'
)
#: Lines that are, or are not, an event in its one form: what of the first one is another.
_LINES = {
    _BASE.replace(old, new): is_canonical_
    for old, new, is_canonical_ in (
        ("", "", True),
        (".000000Z", "Z", True),
        (".000000Z", ".000Z", False),
        (".000000Z", ".000000+00:00", False),
        ('"STORE"', '"PURGE_CACHE"', True),
        ('"SUCCESS"', '"success"', False),
        (":{", ": {", False),
        ('"n":0', '"n":0,"n":1', False),
        ('"n":0', '"n":-0', False),
        ('"n":0', '"n":-0.0', True),
        ('"n":0', '"n":18446744073709551616', True),
        ('"n":0', '"n":1e16', True),
        ('"n":0', '"n":1e+16', False),
        ('"n":0', '"n":10000000000000000.0', False),
        ('"n":0', '"n":1000000000000000.0', True),
        ('"n":0', '"n":0.00001', True),
        ('"n":0', '"n":1e-5', False),
        ('"n":0', '"n":1e-6', True),
        ('"n":0', '"n":0.10', False),
        ('"n":0', '"n":"\\u0041"', False),
        ('"n":0', '"n":"\\u001f\\b\x7f\u2028/"', True),
        ('"n":0', '"n":"\\/"', False),
        ('"n":0', '"n":"\\u001F"', False),
        ('"duration_ms":null', '"duration_ms":1', False),
        ('"duration_ms":null', '"duration_ms":1.0', True),
        ('"duration_ms":null', '"duration_ms":null,"error_message":""', True),
        ('"duration_ms":null', '"duration_ms":null,"error_message":null', False),
        ('"duration_ms":null', '"duration_ms":null,"subjects":[]', False),
        ('"duration_ms":null', '"duration_ms":null,"unknown":1', False),
        ('"user_id":null,"session_id":null', '"session_id":null,"user_id":null', False),
        (
            '"user_id":null,"session_id":null,"entry_ids":[],"metadata":{"n":0},"status":"SUCCESS",'
            '"duration_ms":null,',
            '"entry_ids":[],"status":"SUCCESS","duration_ms":null,"user_id":null,"session_id":null,'
            '"metadata":{"dropped":"why"},',
            True,
        ),
    )
}


# --- all of them ---------------------------------------------------------------------------------


def make(target: Path) -> None:
    """Make all vectors in *target*."""
    fixed.install()
    for build, is_signed in ARCHIVES.items():
        place = target / build.__name__
        place.mkdir(parents=True)
        fixed.begin(build.__name__)
        archive = place / "archive"
        build(archive)
        for path in place.rglob("*.reserve"):  # 256 KiB of chance
            path.unlink()
        about = (build.__doc__ or "").strip()
        write(place / "expected.json", {"about": about, **expected(archive, is_signed)})
    (target / "README.md").write_text(_README, encoding="utf-8")
    fixed.begin("proofs")
    (target / "proofs").mkdir()
    proofs(target / "proofs")
    (target / "derived").mkdir()
    ring = Keyring(target / "keys")
    write(target / "derived" / "expected.json", derived(ring))
    shutil.rmtree(ring.directory)


_README = """# Test vectors of the format

What they are made of, and how to read them: docs/format.md. `tools/vectors.py` makes them, with
keys, ids and times that are fixed there; never change them by hand. `expected.json` in each folder
is what a reader must find. The secrets in them are for these vectors alone.
"""


def write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    home = Path(sys.argv[1]) if len(sys.argv) > 1 else VECTORS
    with tempfile.TemporaryDirectory() as made:
        make(Path(made, "vectors"))
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(Path(made, "vectors"), home)
