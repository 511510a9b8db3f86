"""The test vectors of docs/format.md: ``python tools/vectors.py [DIR]`` makes them anew.

The package itself makes them, with keys, ids and times that are fixed here: each run gives the
same bytes. What a reader must find stands beside each, in ``expected.json``.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, audit_context, verify
from axon_audit_otel.archive import clock, holds
from axon_audit_otel.archive.attested import Attestor
from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey
from axon_audit_otel.archive.cosignatures import Quorum, WitnessKey
from axon_audit_otel.archive.directory import Directory
from axon_audit_otel.archive.intents import Intents
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.origin import stream_of
from axon_audit_otel.archive.reader import LineReader
from axon_audit_otel.cli import admin_events
from axon_audit_otel.cli.hold import hold
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.core.os_user import OsUser
from axon_audit_otel.core.worker import Worker
from axon_audit_otel.events import identifiers
from axon_audit_otel.events.draft import draft, intent
from axon_audit_otel.events.model import decode, decode_recorded, is_canonical
from axon_audit_otel.privacy.encryption import keys_of
from axon_audit_otel.privacy.fingerprints import Fingerprints, _derived
from axon_audit_otel.privacy.keyring import Keyring
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms
from axon_audit_otel.shipping.acknowledgements import Acknowledgements
from axon_audit_otel.trail import trail
from axon_audit_otel.trail.settings import Settings, parse_fingerprints
from axon_audit_otel.verification import receipt
from axon_audit_otel.verification.consistency_proof import prove_consistency
from axon_audit_otel.verification.inclusion_proof import prove

VECTORS = Path(__file__).resolve().parent.parent / "tests" / "vectors"
#: Keys and secrets of the vectors alone: each is the SHA-256 of a text.
SEED = hashlib.sha256(b"axon-audit vectors: signing key").digest()
WITNESS_SEED = hashlib.sha256(b"axon-audit vectors: witness").digest()
SECRET = hashlib.sha256(b"axon-audit vectors: secret").hexdigest()
_BEGIN = 1_736_935_200_000_000  # 2025-01-15T10:00:00Z, in microseconds
_PID = 4242


# --- time and chance ------------------------------------------------------------------------


class Fixed:
    """A clock that only goes when told to, and bytes that are no chance."""

    def __init__(self) -> None:
        self.begin("")
        self._real = os.urandom
        self._gmtime = time.gmtime
        self._main = threading.get_ident()

    def begin(self, name: str) -> None:
        """Begin a vector: its bytes depend on its name alone."""
        self.us, self._name, self._count, self._off = _BEGIN, name, 0, 0.0
        identifiers._random.seed(name)

    def wait(self, seconds: float) -> None:
        self.us += int(seconds * 1e6)

    def urandom(self, size: int) -> bytes:
        if threading.get_ident() != self._main or size > 64:  # nothing that is recorded
            return self._real(size)
        self._count += 1
        text = f"axon-audit vectors: {self._name} {self._count}"
        return hashlib.sha512(text.encode()).digest()[:size]

    def look(self) -> tuple[int, tuple[float, ...]]:
        passed = self.us / 1e6 + self._off
        return self.us, (passed, passed)

    def jump(self, seconds: float) -> None:
        """Set the system's clock, as an administrator does."""
        self.us += int(seconds * 1e6)
        self._off -= seconds

    def install(self) -> None:
        """Take the place of the system's clock, of chance and of the machine, in this process."""
        time.time_ns = lambda: self.us * 1000
        time.gmtime = lambda *seconds: self._gmtime(*(seconds or (self.us // 1_000_000,)))  # type: ignore[misc]
        os.urandom = self.urandom
        os.getpid = lambda: _PID
        Worker.start = Worker.wake = lambda *_: False  # what threads do, `tick` does here
        clock._read = self.look
        admin_events.os_user = holds.os_user = lambda: OsUser("officer", {"uid": 1000})
        trail.start_facts = start_facts
        receipt.__version__ = "0.1.0"
        os.environ["AXON_AUDIT_START_RECORD"] = "false"


def start_facts(settings: Settings, name: str) -> dict[str, Any]:
    """The facts of the record `start`, as on a machine that is no other."""
    facts = {
        "host": "host",
        "pid": _PID,
        "process": "app.py",
        "user": {"uid": 1000, "name": "app"},
        "python": "3.11.9",
        "axon_audit_otel": "0.1.0",
        "axon_sdk": "1.0.0",
        "opentelemetry": "1.30.0",
    }
    return {name: facts.get(name, fact) for name, fact in _start_facts(settings, name).items()}


_start_facts = trail.start_facts
fixed = Fixed()


def _key_id(name: str, kind: int, key: Ed25519PrivateKey) -> tuple[str, bytes]:
    public = bytes([kind]) + key.public_key().public_bytes_raw()
    return hashlib.sha256(name.encode() + b"\n" + public).hexdigest()[:8], public


_WITNESS = Ed25519PrivateKey.from_private_bytes(WITNESS_SEED)
_id, _ = _key_id("auditor", 1, Ed25519PrivateKey.from_private_bytes(SEED))
KEY = f"PRIVATE+KEY+auditor+{_id}+{base64.b64encode(bytes([1]) + SEED).decode()}"
PUBLIC = str(SigningKey(KEY).verifying)
_id, _public = _key_id("witness", 4, _WITNESS)
WITNESS = WitnessKey.parse(f"witness+{_id}+{base64.b64encode(_public).decode()}")


# --- archives ------------------------------------------------------------------------------------


@contextmanager
def logger(archive: Path, events: int = 100, **settings: Any) -> Iterator[AuditLogger]:
    provider = LoggerProvider(shutdown_on_exit=False)
    given = {"name": "default", "start_record": False, "registry": CollectorRegistry(), **settings}
    audit = AuditLogger(events, archive, logger_provider=provider, **given)
    try:
        yield audit
    finally:
        audit.close()


def record(audit: AuditLogger, operation: str, *args: Any, **fields: Any) -> str:
    """Record an event, and wait a little; returns its id."""
    event = asyncio.run(audit.log_event(operation, *args, **fields))
    fixed.wait(1.5)
    return event.event_id


def emit(audit: AuditLogger, operation: str, owners: Any = (), **fields: Any) -> None:
    """Record what an operation of a memory does; *owners*: of each text in the fact `content`."""
    made = draft(operation, "SUCCESS", trail=audit.trail, **fields)
    made.text_owners = owners
    audit.emit(made)
    fixed.wait(1.5)


def stores(audit: AuditLogger, count: int) -> None:
    for number in range(1, count + 1):
        record(audit, "STORE", ("alice", "bob")[number % 2], entry_ids=[f"e-{number}"])


def at_work(archive: Path, events: int, count: int, **settings: Any) -> None:
    """An archive as it is while its writer is at work, or after that was killed."""
    original = archive.with_name("original")
    with logger(original, events, **settings) as audit:
        stores(audit, count)
        shutil.copytree(original, archive)
    shutil.rmtree(original)


def plain(archive: Path) -> None:
    """Every field of an event, and what is written in a way of its own."""
    with logger(archive, 3) as audit:
        record(audit, "STORE", "alice", "s-1", ["e-1"], duration_ms=0.25)
        record(
            audit,
            *("STORE", "support", "s-2", ["e-2"]),
            duration_ms=12.0,
            status="PARTIAL",
            error_message="the index was not written",
            error_type="builtins.OSError",
            subject_id="alice",
            agent_id="support-bot",
            on_behalf_of="carol",
            purpose="support case 7",
            subjects=["alice", "bob"],
            derived_from=["e-1"],
            fingerprints={"e-2": "x1ZCh5XUGGMIvUQVv0e"},
        )
        record(audit, "FORGET", "alice", entry_ids=["e-1"], metadata={"deleted": 1})
        record(audit, "RECALL", "zo\u00eb\u2028\U0001f600", metadata=_SPELLED)
        made = draft("PURGE_CACHE", "SUCCESS", user_id="alice", trail=audit.trail)
        audit.emit(made)  # as of a version that knows more operations
        emit(
            audit,
            "STORE",
            action="MemorySystem.store",
            system="axon",
            store="default",
            trace_id="0af7651916cd43dd8448eb211c80319c",
            span_id="b7ad6b7169203331",
        )
    shipped = Acknowledgements(archive, "default", stream_of(archive, "default"), "default")
    shipped.save(6, last_hash(archive))
    shipped.close()


def last_hash(archive: Path) -> str:
    """The hash of the newest event that is sealed."""
    last = max(archive.glob("audit_*.json")).read_bytes().splitlines()[-2]
    return leaf_hash(last[1:]).hex()


_SPELLED = {
    "texts": ['quote " backslash \\ slash /', "\b\f\n\r\t\x01\x1f\x7f", "<&>"],
    "numbers": [0, -1, 2**64, 0.0, -0.0, 1.5, 1e15, 1e16, 1.25e22, 1e-5, 1e-6, 5e-324, 0.1 + 0.2],
    "others": [True, False, None, [], {}],
}


def started(archive: Path) -> None:
    """The record `start`, and a jump of the clock."""
    with logger(archive, start_record=True, checkpoint_events=3) as audit:
        stores(audit, 1)
        fixed.jump(-3600)
        stores(audit, 1)


def compressed(archive: Path) -> None:
    """Two files, compressed with zstd."""
    with logger(archive, 2, compress=True) as audit:
        stores(audit, 4)
        audit.trail.tick()


def signed(archive: Path) -> None:
    """Signed at work: sealed files, a journal, checkpoints about both; an intent."""
    original = archive.with_name("original")
    settings = {"signing_key": KEY, "checkpoint_events": 2, "on_failure": "block"}
    with logger(original, 3, **settings) as audit:
        stores(audit, 5)
        audit.trail.record_intent(intent("STORE", user_id="alice"))
        shutil.copytree(original, archive)
    shutil.rmtree(original)


def deleted(archive: Path) -> None:
    """Retention has deleted the oldest files, and signed that."""
    with logger(archive, 2, signing_key=KEY, max_archive_bytes=1800) as audit:
        stores(audit, 6)
        audit.trail.tick()


def held(archive: Path) -> None:
    """A hold was placed and released, and another one placed."""
    with logger(archive, signing_key=KEY) as audit:
        stores(audit, 2)
    for args in (["--reason", "case 7"], ["--release"], ["--reason", "case 8", "--name", "tax"]):
        fixed.wait(60)
        command = [str(archive), *args, "--signing-key", KEY]
        with redirect_stdout(StringIO()):
            hold.main(command, standalone_mode=False)


def unclean(archive: Path) -> None:
    """A writer was killed in the middle of a line."""
    at_work(archive, 2, 3)
    with (archive / "default.journal").open("ab") as journal:
        journal.write(b',{"event_id":"evt_')


def recovered(archive: Path) -> None:
    """The same, after the next start."""
    unclean(archive)
    with logger(archive):
        pass


def adopted(archive: Path) -> None:
    """Somebody added an event to the journal of a killed writer; the next start adopted it."""
    at_work(archive, 2, 3, signing_key=KEY)
    journal = archive / "default.journal"
    last = journal.read_bytes().splitlines()[-1][1:]
    event = json.loads(last)
    event |= {"event_id": f"{event['event_id'][:-4]}ffff", "user_id": "eve"}
    event |= {"sequence": event["sequence"] + 1, "previous_hash": leaf_hash(last).hex()}
    with journal.open("ab") as file:
        file.write(b"," + json.dumps(event, separators=(",", ":")).encode() + b"\n")
    with logger(archive, signing_key=KEY):
        pass


def gap(archive: Path) -> None:
    """Events were lost with a journal that was cut off; the trail tells of it."""
    with logger(archive, 2, enable_rotation=False) as audit:
        stores(audit, 2)
        audit.seal()
        stores(audit, 3)
        os.truncate(archive / "default.journal", 0)
        stores(audit, 1)


def writers(archive: Path) -> None:
    """Two writers, of which the second lists the first."""
    for name, count in (("shop", 3), ("api", 2)):
        with logger(archive, name=name, signing_key=KEY) as audit:
            stores(audit, count)


def erasable(archive: Path) -> None:
    """Encrypted events of one and of several persons; one of these was erased since."""
    with logger(archive, 6, erasable=True, fingerprints=True, signing_key=KEY) as audit:
        of = audit.trail.policy.fingerprint
        prints = {"e-1": of("blue shoes", "alice"), "e-2": of("a text of nobody", None)}
        record(audit, "STORE", "alice", "s-1", ["e-1", "e-2"], fingerprints=prints)
        record(
            audit,
            "RECALL",
            "zo\u00eb",
            "s-2",
            metadata={"query": "shoes"},
            purpose="support",
            subject_id="alice",
            agent_id="bot",
            on_behalf_of="carol",
            error_message="slow",
        )
        texts = ["text of alice", "text of bob", "text of both", "text of nobody"]
        whose = (("alice",), ("bob",), ("alice", "bob"), ())
        both = {"subjects": ("alice", "bob"), "entry_ids": ["e-1", "e-3"]}
        emit(audit, "RECALL", whose, user_id="carol", metadata={"content": texts}, **both)
        emit(audit, "EXPORT", whose, metadata={"content": texts, "format": "json"}, **both)
        emit(audit, "COMPACT", metadata={"summary_ids": ["e-4"], "why": "age"}, **both)
        record(audit, "SYNC", metadata={"of": "nobody"})
        record(audit, "STORE", "bob", entry_ids=["e-5"])
        fixed.wait(60)
        with audit_context(user_id="dpo"):
            audit.erase_user("bob", metadata={"reason": "request 12"})


def many(archive: Path) -> None:
    """An event of more persons than it names: of the others it has digests."""
    with logger(archive, max_event_bytes=16_384) as audit:
        people = tuple(f"person-{number}-{'x' * 400}" for number in range(45))
        emit(audit, "RECALL", user_id="alice", subjects=people, metadata={"found": 12})


def pseudonymized(archive: Path) -> None:
    """Keyed hashes stand for ids."""
    with logger(archive, pseudonymize=SECRET, fingerprints=SECRET) as audit:
        of = audit.trail.policy.fingerprint
        prints = {"e-1": of("blue shoes", "alice"), "e-2": of("a text of nobody", None)}
        record(
            audit,
            "STORE",
            "alice",
            "alice",
            ["e-1", "e-2"],
            fingerprints=prints,
            subject_id="bob",
            subjects=["bob", "zo\u00eb"],
            metadata={"note": "for bob"},
        )


def fingerprinted(archive: Path) -> None:
    """Fingerprints with the key in the archive."""
    with logger(archive, fingerprints=True) as audit:
        of = audit.trail.policy.fingerprint
        prints = {"e-1": of("blue shoes", "alice"), "e-2": of("a text of nobody", None)}
        record(audit, "STORE", "alice", entry_ids=["e-1", "e-2"], fingerprints=prints)


def cosigned(archive: Path) -> None:
    """A witness cosigned the newest checkpoint."""
    with logger(archive, signing_key=KEY) as audit:
        stores(audit, 2)
    note = (archive / "default.checkpoint").read_text(encoding="utf-8")
    text, now = f"{note.partition(chr(10) * 2)[0]}\n", fixed.us // 1_000_000
    signature = _WITNESS.sign(f"cosignature/v1\ntime {now}\n{text}".encode())
    made = base64.b64encode(WITNESS.id + now.to_bytes(8, "big") + signature).decode()
    cosigned = f"{note}\u2014 {WITNESS.name} {made}\n"
    (archive / "default.cosigned").write_text(cosigned, encoding="utf-8")


#: The vectors that are archives, and whether a key signs them.
ARCHIVES: dict[Callable[[Path], None], bool] = {
    plain: False,
    started: False,
    compressed: False,
    signed: True,
    deleted: True,
    held: True,
    unclean: False,
    recovered: False,
    adopted: True,
    gap: False,
    writers: True,
    erasable: True,
    many: False,
    pseudonymized: False,
    fingerprinted: False,
    cosigned: True,
}


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
    for name in ("alice", "zo\u00eb"):
        found.append({"what": "digest", "id": name, "result": identifiers.digest_of(name)})
        record = {"salt": ring._salt.hex(), "id": name, "result": ring._name(name).hex()}
        found.append({"what": "record name", **record})
    token = ring.of("alice").token
    code = ring.proof_of_erasure(token).hex()
    made = {"salt": ring._salt.hex(), "id": token.hex(), "result": code}
    found.append({"what": "proof of erasure", **made})
    id_ = "evt_01946967d5007000973a3fceb53aaf26"
    found.append({"what": "time of id", "id": id_, "result": _BEGIN // 1000})
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
