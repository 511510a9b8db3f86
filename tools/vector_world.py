"""A world that stands still, in which tools/vectors.py makes the test vectors: the clock, chance,
the machine and the keys are the same each time."""

from __future__ import annotations

import base64
import hashlib
import os
import threading
import time
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from axon_audit_otel.archive import clock, holds
from axon_audit_otel.archive.checkpoints import SigningKey
from axon_audit_otel.archive.cosignatures import WitnessKey
from axon_audit_otel.cli import admin_events
from axon_audit_otel.core.os_user import OsUser
from axon_audit_otel.core.worker import Worker
from axon_audit_otel.events import identifiers
from axon_audit_otel.trail import trail
from axon_audit_otel.trail.settings import Settings
from axon_audit_otel.verification import receipt

__all__ = ["BEGIN_US", "KEY", "PUBLIC", "SECRET", "SEED", "WITNESS", "WITNESS_KEY", "fixed"]

#: Keys and secrets of the vectors alone: each is the SHA-256 of a text.
SEED = hashlib.sha256(b"axon-audit vectors: signing key").digest()
WITNESS_SEED = hashlib.sha256(b"axon-audit vectors: witness").digest()
SECRET = hashlib.sha256(b"axon-audit vectors: secret").hexdigest()
BEGIN_US = 1_736_935_200_000_000  # 2025-01-15T10:00:00Z, in microseconds
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
        self.us, self._name, self._count, self._off = BEGIN_US, name, 0, 0.0
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


WITNESS_KEY = Ed25519PrivateKey.from_private_bytes(WITNESS_SEED)
_id, _ = _key_id("auditor", 1, Ed25519PrivateKey.from_private_bytes(SEED))
KEY = f"PRIVATE+KEY+auditor+{_id}+{base64.b64encode(bytes([1]) + SEED).decode()}"
PUBLIC = str(SigningKey(KEY).verifying)
_id, _public = _key_id("witness", 4, WITNESS_KEY)
WITNESS = WitnessKey.parse(f"witness+{_id}+{base64.b64encode(_public).decode()}")
