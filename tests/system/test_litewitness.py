"""A real witness, `litewitness`: it cosigns a trail that grows, and refuses another history."""

from __future__ import annotations

import base64
import hashlib
import shutil
import sqlite3
import subprocess
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import go_programs
import pytest
from collector import free_port, program, wait
from conftest import Cli, Make, until
from cosigner import OTHER_TAIL, key_line
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, verify
from axon_audit_otel.archive.checkpoints import Checkpoint, new_key
from axon_audit_otel.archive.cosignatures import Quorum, WitnessKey

pytestmark = pytest.mark.component  # Go, and ssh-agent, which holds the witness's key

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
EMPTY = base64.b64encode(hashlib.sha256().digest()).decode()


class Litewitness:
    """A running witness, with its database and its ssh-agent in a directory of its own.

    Attributes:
        public: Its public key.
        line: Its line for `witnesses=`.
    """

    def __init__(self, directory: Path) -> None:
        self._database = directory / "witness.db"
        key, socket, file = Ed25519PrivateKey.generate(), directory / "agent", directory / "key"
        file.touch(0o600)
        file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        ssh = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1]
        digest = base64.b64encode(hashlib.sha256(base64.b64decode(ssh)).digest())
        name, port = "witness.example/lite", free_port()
        self.public = key_line(name, key.public_key().public_bytes_raw())
        self.url = f"http://127.0.0.1:{port}"
        self.line = f"{self.url} {self.public}"
        agent = [program("ssh-agent", "openssh-client"), "-D", "-a", str(socket)]
        self._processes = [subprocess.Popen(agent, stdout=subprocess.DEVNULL)]
        try:
            wait(socket.exists)
            adding = [program("ssh-add", "openssh-client"), "-q", str(file)]
            subprocess.run(adding, env={"SSH_AUTH_SOCK": str(socket)}, check=True)
            command = [str(go_programs.litewitness()), "-name", name, "-db", str(self._database)]
            command += ["-ssh-agent", str(socket), "-listen", f"127.0.0.1:{port}"]
            command += ["-key", f"SHA256:{digest.decode().rstrip('=')}"]
            with (directory / "log").open("wb") as log:
                self._processes.append(subprocess.Popen(command, stdout=log, stderr=log))
            wait(lambda: self._is_ready(directory / "log"))
        except BaseException:
            self.stop()
            raise

    def _is_ready(self, log: Path) -> bool:
        if self._processes[-1].poll() is not None:
            raise RuntimeError(f"it did not start:\n{log.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(self.url, timeout=5) as answer:
                return self.public in answer.read().decode()
        except (urllib.error.URLError, OSError):
            return False

    def accept(self, origin: str) -> None:
        """Have it know a trail, as its operator does."""
        with closing(sqlite3.connect(self._database, timeout=30)) as database, database:
            database.execute("INSERT INTO log VALUES (?, 0, ?)", (origin, EMPTY))
            database.execute("INSERT INTO key VALUES (?, ?)", (origin, PUBLIC))

    def known(self, origin: str) -> tuple[int, str]:
        """The size and the root (base64) that it has cosigned last."""
        query = "SELECT tree_size, tree_hash FROM log WHERE origin = ?"
        with closing(sqlite3.connect(self._database, timeout=30)) as database:
            size, root = database.execute(query, (origin,)).fetchone()
        return size, root

    def stop(self) -> None:
        """End both processes."""
        for process in reversed(self._processes):
            process.terminate()
            process.wait()


@pytest.fixture(name="witness")
def _witness(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Litewitness]:
    found = Litewitness(tmp_path_factory.mktemp("lw"))
    yield found
    found.stop()


RunScript = Callable[..., str]
Then = Callable[[AuditLogger], Awaitable[None]]
Run = Callable[..., Awaitable[list[dict[str, Any]]]]


@pytest.fixture(name="run")
def _run(make_audit: Make, witness: Litewitness) -> Run:
    """Lets one logger after another write the same trail; returns the events about refusals."""

    async def run(directory: Path, count: int, then: Then | None = None) -> list[dict[str, Any]]:
        registry = CollectorRegistry()
        audit = make_audit(5, directory, signing_key=KEY, witnesses=witness.line, registry=registry)
        for _ in range(count):
            await audit.log_event("STORE", "zoë")
        if then is not None:
            await then(audit)
        audit.trail.seal()
        audit.trail.end()  # waits for the witness
        audit.trail.tick()  # records what it refused
        events = audit.query_events(operation="AUDIT")
        audit.close()
        return [e.metadata for e in events if e.metadata.get("record") == "witness_refused"]

    return run


def newest(directory: Path) -> Checkpoint:
    return Checkpoint.parse((directory / "default.checkpoint").read_text())


def cosigned(directory: Path) -> int:
    """How many notes are in the file of cosignatures."""
    file = directory / "default.cosigned"
    return file.read_text().count("axon-audit/") if file.exists() else 0


async def begun(run: Run, witness: Litewitness, directory: Path) -> None:
    """A trail that the witness accepts, with its first events cosigned."""

    async def introduce(audit: AuditLogger) -> None:
        audit.trail.tick()  # a checkpoint; the witness does not know the trail yet
        witness.accept(newest(directory).origin)

    await run(directory, 7, introduce)
    await run(directory, 1)


async def test_grows(run: Run, witness: Litewitness, tmp_path: Path, cli: Cli) -> None:
    """It cosigns each state with a proof that it continues the one before, over restarts, and
    whoever has its key sees up to where."""
    logs = tmp_path / "logs"
    await begun(run, witness, logs)
    for count in (1, 4, 12):
        assert await run(logs, count) == []
        checkpoint = newest(logs)
        root = base64.b64encode(checkpoint.root).decode()
        assert witness.known(checkpoint.origin) == (checkpoint.size, root)
    report = verify(logs, [PUBLIC], quorum=Quorum((WitnessKey.parse(witness.public),), 1))
    (writer,) = report.writers
    assert report.ok
    assert writer.cosigned_until == writer.last_sequence == checkpoint.events
    said = cli("verify", logs, "--key", PUBLIC, "--witness", witness.public).stdout
    assert f"cosigned up to event {checkpoint.events}, by witness.example/lite" in said


async def test_rolled_back(run: Run, witness: Litewitness, tmp_path: Path) -> None:
    """An archive that was put back to an older state is refused, and so is what goes on there."""
    logs, copy = tmp_path / "logs", tmp_path / "copy"
    await begun(run, witness, logs)
    shutil.copytree(logs, copy)
    assert await run(logs, 12) == []
    known, before = witness.known(newest(logs).origin), cosigned(copy)
    (told,) = await run(copy, 3)
    assert (told["known"], told["witness"]) == (known[0], "witness.example/lite")
    assert told["size"] < known[0]
    (told,) = await run(copy, 40)
    assert newest(copy).size > known[0]
    assert witness.known(newest(copy).origin) == known
    assert cosigned(copy) == before


async def test_two_tails(
    run: Run, run_script: RunScript, witness: Litewitness, tmp_path: Path
) -> None:
    """Two contradictory tails of one archive, as long as each other and in no sealed file: the
    second is refused, since a line of the signed tree states its newest event."""
    logs, copy = tmp_path / "logs", tmp_path / "copy"
    await begun(run, witness, logs)
    shutil.copytree(logs, copy)
    key = tmp_path / "key"
    key.write_text(KEY.line())

    async def tails(audit: AuditLogger) -> None:
        before = cosigned(logs)
        audit.trail.tick()  # a checkpoint of what is in the journal
        await until(lambda: cosigned(logs) > before)
        assert run_script(OTHER_TAIL, copy, key, witness.line) == "1\n"
        first, second = newest(logs), newest(copy)
        assert (first.size, first.events) == (second.size, second.events)
        assert first.head != second.head
        root = base64.b64encode(first.root).decode()
        assert witness.known(first.origin) == (first.size, root)

    assert await run(logs, 2, tails) == []
