"""A witness by the text of https://c2sp.org/tlog-witness, with answers that a test chooses."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from axon_audit_otel.core.merkle import is_extension

__all__ = ["OTHER_TAIL", "Cosigner", "key_line"]

#: Arguments: an archive, the file of its signing key, a witness's line. Records two events, has a
#: checkpoint of them submitted, prints how often that failed, and ends without sealing them.
OTHER_TAIL = """
import asyncio, os, sys, time
from pathlib import Path
from axon_audit_otel import AuditLogger

def cosigned():
    return Path(sys.argv[1], "default.cosigned").read_text().count("axon-audit/")

before = cosigned()
audit = AuditLogger(100, sys.argv[1], signing_key=sys.argv[2], witnesses=sys.argv[3])
for _ in range(2):
    asyncio.run(audit.log_event("STORE", "eve"))
audit.trail.tick()
failures = audit.trail.metrics.failures["witness"]
while cosigned() == before and not failures.total:
    time.sleep(0.02)
print(int(failures.total), flush=True)
os._exit(0)
"""


def key_line(name: str, public: bytes) -> str:
    """A witness's public key: https://c2sp.org/tlog-cosignature, type 0x04."""
    encoded = base64.b64encode(b"\x04" + public).decode()
    return f"{name}+{_id(name, public).hex()}+{encoded}"


def _id(name: str, public: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\n\x04" + public).digest()[:4]


class Cosigner:
    """Remembers the newest checkpoint of each trail, and cosigns what continues it.

    Attributes:
        name: Its name.
        answer: What it answers in place of the right answer: status and body; None: that one.
        requests: The bodies of all requests.
        known: Size and root of each trail.
    """

    def __init__(self, name: str = "witness.example/w1") -> None:
        self.name = name
        self.answer: Callable[[str], Any] = lambda body: None
        self.requests: list[str] = []
        self.known: dict[str, tuple[int, bytes]] = {}
        self._key = Ed25519PrivateKey.generate()
        witness = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                witness.requests.append(body)
                chosen = witness.answer(body)
                if self.path != "/prefix/add-checkpoint":
                    chosen = 404, ""
                status, text, *more = chosen or witness.judge(body)
                with contextlib.suppress(OSError):  # nobody listens any more
                    self.send_response(status)
                    for header, value in more:
                        self.send_header(header, value)
                    self.send_header("Content-Length", str(len(text.encode())))
                    self.end_headers()
                    self.wfile.write(text.encode())

            def log_message(self, format: str, *args: Any) -> None: ...

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    @property
    def public(self) -> str:
        """Its public key."""
        return key_line(self.name, self._key.public_key().public_bytes_raw())

    @property
    def line(self) -> str:
        """Its line for `witnesses=`."""
        return f"http://127.0.0.1:{self._server.server_port}/prefix {self.public}"

    def judge(self, body: str) -> tuple[int, str]:
        """The answer of the protocol."""
        head, _, note = body.partition("\n\n")
        old, *proof = head.split("\n")
        text, _, _ = note.partition("\n\n")
        origin, size, root = text.split("\n")[:3]
        new = int(size), base64.b64decode(root)
        known = self.known.get(origin, (0, hashlib.sha256().digest()))
        if old != f"old {known[0]}" or (known[0] == new[0] and known != new):
            return 409, f"{known[0]}\n"
        if not is_extension(*known, *new, [base64.b64decode(step) for step in proof]):
            return 422, "the proof does not hold"
        self.known[origin] = new
        return 200, self.cosignature(f"{text}\n")

    def cosignature(self, text: str, moment: int | None = None) -> str:
        """The line of its cosignature of a checkpoint, of now or *moment*."""
        moment = int(time.time()) if moment is None else moment
        made = self._key.sign(f"cosignature/v1\ntime {moment}\n{text}".encode())
        public = self._key.public_key().public_bytes_raw()
        data = _id(self.name, public) + moment.to_bytes(8, "big") + made
        return f"\u2014 {self.name} {base64.b64encode(data).decode()}\n"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
