"""The archives among the test vectors: how each is made. See tools/vectors.py."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry
from vector_world import KEY, SECRET, WITNESS, WITNESS_KEY, fixed

from axon_audit_otel import AuditLogger, audit_context
from axon_audit_otel.archive.origin import stream_of
from axon_audit_otel.cli.hold import hold
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.events.draft import draft, intent
from axon_audit_otel.shipping.acknowledgements import Acknowledgements

__all__ = ["ARCHIVES", "logger", "record", "stores"]


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
            trace_flags="01",
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
    signature = WITNESS_KEY.sign(f"cosignature/v1\ntime {now}\n{text}".encode())
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
