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
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, verify
from axon_audit_otel.archive import clock
from axon_audit_otel.archive.checkpoints import SigningKey
from axon_audit_otel.archive.directory import Directory
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.reader import LineReader
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.events import identifiers
from axon_audit_otel.events.model import decode_recorded
from axon_audit_otel.privacy.policy import PrivacyPolicy

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
        self.us, self._name, self._count = _BEGIN, name, 0
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
        return self.us, (self.us / 1e6, self.us / 1e6)

    def install(self) -> None:
        """Take the place of the system's clock and chance, in this process."""
        time.time_ns = lambda: self.us * 1000
        time.gmtime = lambda *seconds: self._gmtime(*(seconds or (self.us // 1_000_000,)))  # type: ignore[misc]
        os.urandom = self.urandom
        os.getpid = lambda: _PID
        clock._read = self.look


fixed = Fixed()


def signing_key(name: str = "auditor") -> str:
    """The line of the key that signs the vectors."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    public = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw()
    number = hashlib.sha256(name.encode() + b"\n\x01" + public).hexdigest()[:8]
    return f"PRIVATE+KEY+{name}+{number}+{base64.b64encode(bytes([1]) + SEED).decode()}"


KEY = signing_key()
PUBLIC = str(SigningKey(KEY).verifying)


# --- archives -------------------------------------------------------------------------------


@contextmanager
def logger(archive: Path, events: int = 100, **settings: Any) -> Iterator[AuditLogger]:
    provider = LoggerProvider(shutdown_on_exit=False)
    given = {"name": "default", "start_record": False, "registry": CollectorRegistry(), **settings}
    audit = AuditLogger(events, archive, logger_provider=provider, **given)
    try:
        yield audit
    finally:
        audit.close()


def record(audit: AuditLogger, operation: str, *args: Any, **fields: Any) -> None:
    asyncio.run(audit.log_event(operation, *args, **fields))
    fixed.wait(1.5)


def plain(archive: Path) -> None:
    """Two files, and a journal whose writer is at work."""
    with logger(archive, 3) as audit:
        record(audit, "STORE", "alice", "s-1", ["e-1"], duration_ms=0.25)
        record(audit, "RECALL", "bob", metadata={"query": 'tea "or" coffee\n', "found": 2})
        fixed.us = _BEGIN + 3_000_000  # a whole second
        record(audit, "FORGET", "alice", entry_ids=["e-1"], status="PARTIAL")
        record(audit, "STORE", "zoë 😀", entry_ids=["e-2", "e-3"], error_type="ValueError")


ARCHIVES: dict[str, Callable[[Path], None]] = {"plain": plain}


# --- what a reader must find ------------------------------------------------------------------


def expected(archive: Path, policy: PrivacyPolicy, keys: list[str]) -> dict[str, Any]:
    """What stands in an archive, as `second_verifier read` prints it."""
    report = verify(archive, keys)
    return {
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


def _events(archive: Path, policy: PrivacyPolicy) -> Iterator[dict[str, Any]]:
    """Every event, by file: its hash, and its fields as far as keys make them readable."""
    with Directory(archive, Missing()) as here:
        files = [file for writer in here.writers.values() for file in writer.files]
        for file in [f for f in files if f.state != "deleted"] + list(here.journals.values()):
            with here.open(file) as opened:
                for line in LineReader(opened, file.path).lines():
                    event = decode_recorded(line[1:-1])
                    (readable,) = policy.readable([event])
                    hashed = leaf_hash(line[1:-1]).hex()
                    fields = json.loads(readable.to_json())
                    yield {"file": file.name, "hash": hashed, "event": fields}


# --- all of them ------------------------------------------------------------------------------


def make(target: Path) -> None:
    """Make all vectors in *target*."""
    fixed.install()
    for name, build in ARCHIVES.items():
        fixed.begin(name)
        place = target / name
        archive = place / "archive"
        place.mkdir(parents=True)
        build(archive)
        for path in place.rglob("*"):
            if path.suffix in (".lock", ".reserve"):
                path.unlink()
        policy = PrivacyPolicy()
        write(place / "expected.json", expected(archive, policy, []))


def write(path: Path, value: Any) -> None:
    text = json.dumps(value, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    home = Path(sys.argv[1]) if len(sys.argv) > 1 else VECTORS
    with tempfile.TemporaryDirectory() as made:
        make(Path(made, "vectors"))
        shutil.rmtree(home, ignore_errors=True)
        shutil.copytree(Path(made, "vectors"), home)
