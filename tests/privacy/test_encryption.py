"""Erasure: what is recorded of a user becomes unreadable, and no proof is broken."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from axon import Filter
from calls import Calls
from conftest import (
    Cli,
    FaultyAdapter,
    Make,
    MakeSystem,
    Run,
    assert_chained,
    history,
    only,
    only_event,
)
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter

from axon_audit_otel import (
    ArchiveError,
    AuditConfigError,
    AuditLogger,
    AuditUnavailableError,
    AxonInstrumentor,
    Rule,
    SecurityMonitor,
    audit_context,
    verify,
)
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.core.os_user import os_user
from axon_audit_otel.events.draft import draft
from axon_audit_otel.privacy.keyring import Keyring

pytestmark = pytest.mark.usefixtures("without_start_record")

IDS = ["", "a", "用户一", "naïve\u0301", "\ud800", "a\0b\0", "x" * 10**6, "erasable:" + "0" * 32]
ALICE, SESSION, SECRET = "alice-7f3e", "visit-9c41", "canary-5e1f"


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def content(directory: Path) -> bytes:
    """All that is in the files of a directory."""
    return b"".join(path.read_bytes() for path in sorted(directory.iterdir()) if path.is_file())


def files(directory: Path) -> list[Path]:
    """The sealed files."""
    return list(directory.glob("audit_*"))


def keys_of(archive: Path) -> Path:
    """The directory of an archive's keys."""
    return archive.with_name(f"{archive.name}.keys")


def records(keys: Path) -> int:
    """The number of records of 48 bytes that are not overwritten."""
    data = [path.read_bytes() for path in keys.glob("*.keys")]
    return sum(any(text[at : at + 48]) for text in data for at in range(0, len(text), 48))


@contextmanager
def room_for(
    count: int, monkeypatch: pytest.MonkeyPatch, overwrites: bool = True
) -> Iterator[None]:
    """The disk of the keys has room for that many records more, and then for none."""
    real, left = os.pwrite, [None] * count

    def pwrite(file: int, data: bytes, at: int) -> int:
        grows = at >= os.fstat(file).st_size
        if len(data) == 48 and grows and left:
            left.pop()
        elif len(data) == 48 and (grows or not overwrites):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(file, data, at)

    with monkeypatch.context() as patch:
        patch.setattr("os.pwrite", pwrite)
        yield


async def three(audit: AuditLogger) -> None:
    """An event of Alice, one of Bob about Alice, one of Bob."""
    facts: dict[str, Any] = {"session_id": SESSION, "metadata": {"note": SECRET}}
    await audit.log_event("STORE", user_id=ALICE, error_message=SECRET, **facts)
    await audit.log_event("EXPORT", user_id="bob", subject_id=ALICE, **facts)
    await audit.log_event("RECALL", user_id="bob", metadata={"k": 5}, session_id="bobs")


def seen(audit: AuditLogger) -> list[tuple[Any, Any, Any]]:
    """Of each event in files and memory, user, subject and note; "?" where encrypted."""
    names = {None: None, ALICE: ALICE, "bob": "bob"}
    return [
        (names.get(e.user_id, "?"), names.get(e.subject_id, "?"), e.metadata.get("note"))
        for e in audit.query_events(archived=True)[::-1]
    ]


# --- recording -------------------------------------------------------------------------------


class TestRecording:
    async def test_nothing_personal_in_files(
        self,
        make_audit: Make,
        make_system: MakeSystem,
        log_exporter: InMemoryLogRecordExporter,
        archive: Path,
    ) -> None:
        """Journal, intents, sealed files, exports and log records have neither ids nor
        sessions, facts or messages in clear; the keys have no ids."""
        audit = make_audit(
            auto_export_path=archive, erasable=True, capture_content=True, on_failure="block"
        )
        AxonInstrumentor().instrument(audit_logger=audit)
        faulty = FaultyAdapter()
        memory: Any = make_system(persistent=faulty)
        with audit_context(user_id=ALICE, session_id=SESSION):
            entry_id = await memory.store(SECRET)
            await memory.recall(SECRET)
            await memory.export(filter=Filter(user_id=ALICE))
            faulty.faults = {"get": ValueError(f"no {SECRET}")}
            with pytest.raises(ValueError, match="no canary"):
                await memory.forget(entry_id)
        written = content(archive)
        assert archive.joinpath("default.intents").exists()
        await three(audit)
        audit.close()
        audit.export_to_file(archive.parent / "all.json")
        audit.export_events(audit.query_events(), archive.parent / "events.json")
        await audit.export_to_json(archive.parent / "sdk.json")
        written += content(archive) + content(archive.parent)
        written += content(archive.with_name("archive.keys"))
        written += "".join(r.to_json() for r in log_exporter.get_finished_logs()).encode()
        for personal in (ALICE, SESSION, SECRET):
            assert personal.encode() not in written
        assert len(audit.query_events(user_id=ALICE, session_id=SESSION)) == 5

    async def test_whoever_has_the_keys_reads(self, make_audit: Make, archive: Path) -> None:
        """Returned and queried events are as given, in this process and the next."""
        audit = make_audit(auto_export_path=archive, erasable=True, max_events=2)
        given = {"session_id": SESSION, "metadata": {"a": [1, {"b": None}]}, "subject_id": "bob"}
        event = await audit.log_event("STORE", user_id=ALICE, error_message="so", **given)
        await three(audit)
        assert (event.user_id, event.subject_id, event.session_id) == (ALICE, "bob", SESSION)
        assert (event.metadata, event.error_message) == (given["metadata"], "so")
        audit.close()

        again = make_audit(auto_export_path=archive, erasable=True)
        assert again.query_events(archived=True)[-1] == event
        assert [e.sequence for e in again.query_events(user_id=ALICE, archived=True)] == [2, 1]
        assert [e.sequence for e in again.query_events(subject_id=ALICE, archived=True)] == [3]
        found = again.query_events(session_id=SESSION, archived=True)
        assert [e.sequence for e in found] == [3, 2, 1]
        assert again.query_events(session_id=SESSION, archived=True, limit=2) == found[:2]
        assert again.query_events(user_id=ALICE, session_id="bobs", archived=True) == []

    async def test_in_memory(self, make_audit: Make, archive: Path) -> None:
        """The SDK's surface and statistics read as well; hashes are those of what is kept."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        assert [e.user_id for e in await audit.get_events()] == ["bob", "bob", ALICE]
        assert [e.user_id for e in await audit.get_events(user_id=ALICE)] == [ALICE]
        assert audit.get_user_statistics("bob")["total_operations"] == 2
        assert_chained(history(audit))

    async def test_off_by_default(self, make_audit: Make, archive: Path) -> None:
        """Without the setting there are no keys, and nothing is encrypted."""
        audit = make_audit(auto_export_path=archive)
        await three(audit)
        audit.close()
        assert SECRET.encode() in content(archive)
        assert not archive.with_name("archive.keys").exists()
        with pytest.raises(AuditConfigError, match="erasable=True"):
            audit.erase_user(ALICE)

    async def test_modes(self, make_audit: Make, archive: Path) -> None:
        """The keys are their owner's only."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        keys = archive.with_name("archive.keys")
        assert keys.stat().st_mode & 0o777 == 0o700
        assert {path.stat().st_mode & 0o777 for path in keys.iterdir()} == {0o600}

    @pytest.mark.slow
    async def test_more_users_than_memory_keeps(self, make_audit: Make, archive: Path) -> None:
        """Every user is found again, also those whose keys have left memory."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        for number in range(9_000):
            await audit.log_event("STORE", user_id=f"user-{number}")
        await audit.log_event("STORE", user_id="user-0")
        assert len(audit.query_events(user_id="user-0")) == 2
        assert len(audit.query_events(user_id="user-1")) == 1


# --- erasing ---------------------------------------------------------------------------------


class TestErasing:
    @pytest.mark.parametrize("compress", [False, True])
    async def test_unreadable_and_proved(
        self, make_audit: Make, cli: Cli, archive: Path, compress: bool
    ) -> None:
        """After an erasure nobody reads what was recorded of the user, in memory and in
        files; no byte of these has changed, and old proofs and checkpoints hold."""
        key = new_key("auditor")
        notes: list[str] = []
        audit = make_audit(
            auto_export_path=archive,
            erasable=True,
            compress=compress,
            signing_key=key,
            checkpoint_to=notes.append,
        )
        await three(audit)
        event_id = history(audit)[0].event_id
        audit.close()
        sealed = only(archive, "audit_*").read_bytes()
        proof = archive.with_name("proof.json")
        cli("prove", event_id, archive, "--output", proof)
        proved = proof.read_bytes()
        assert seen(audit) == [(ALICE, None, SECRET), ("bob", ALICE, SECRET), ("bob", None, None)]

        assert audit.erase_user(ALICE) is True
        audit.close()

        first, second, third, told = audit.query_events(archived=True)[::-1]
        assert seen(audit)[:3] == [("?", None, None), ("bob", "?", None), ("bob", None, None)]
        assert (first.session_id, first.error_message, second.session_id) == (None, None, None)
        assert (third.session_id, third.metadata) == ("bobs", {"k": 5})
        assert told.operation.value == "AUDIT"
        assert told.metadata["record"] == "erasure"
        for query in ({"user_id": ALICE}, {"subject_id": ALICE}, {"session_id": SESSION}):
            assert audit.query_events(**query) == audit.query_events(**query, archived=True) == []
        assert sealed in [file.read_bytes() for file in files(archive)]
        report = verify(archive, keys=[key.verifying], checkpoints=notes)
        assert report.ok
        assert report.events == 4
        cli("prove", event_id, archive, "--output", archive.with_name("again.json"))
        again = json.loads(archive.with_name("again.json").read_bytes())
        assert again["event"] == json.loads(proved)["event"]

    @pytest.mark.parametrize("size", [256 << 10, 16 << 10])  # 16: names have no room
    async def test_of_many(self, make_audit: Make, archive: Path, size: int) -> None:
        """Who can read an event of many persons cannot try who the erased one among them was."""
        audit = make_audit(auto_export_path=archive, erasable=True, max_event_bytes=size)
        users = ["alice", *(f"user {number}" for number in range(1_100))]
        await audit.log_event("EXPORT", "ops", subjects=users)
        assert audit.erase_user("alice")
        (event,) = audit.query_events(operation="EXPORT", archived=True)
        assert event.metadata["subjects_total"] == len(users)
        tried = hashlib.sha256("\n".join(users).encode()).hexdigest()
        assert event.metadata["subjects_sha256"] != tried

    async def test_the_event_of_it(self, make_audit: Make, archive: Path) -> None:
        """The event names who erased, and when; the erased user only as the other events do."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        name = json.loads(history(audit)[0].to_json())["user_id"]
        with audit_context(user_id="officer", session_id="desk"):
            audit.erase_user(ALICE)
        event = only_event(audit, operation="AUDIT")
        assert event.user_id == "officer"
        assert event.subject_id is not None
        assert name.startswith(event.subject_id)
        assert event.metadata["tokens"] == [event.subject_id.partition(":")[2]]
        assert ALICE.encode() not in event.to_json() + content(archive)

    async def test_of_oneself(self, make_audit: Make, archive: Path) -> None:
        """A user who erases his own data is not named as the one who did it."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        with audit_context(user_id=ALICE):
            assert audit.erase_user(ALICE)
        assert only_event(audit, operation="AUDIT").user_id is None
        assert audit.query_events(user_id=ALICE) == []

    async def test_either_of_two(self, make_audit: Make, archive: Path) -> None:
        """An event about two users is readable while both keys exist; the actor stays readable."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        audit.erase_user("bob")
        assert seen(audit)[:3] == [(ALICE, None, SECRET), ("?", ALICE, None), ("?", None, None)]

    async def test_imitated(self, make_audit: Make, archive: Path) -> None:
        """A fact that imitates an erasure's event, or encrypted text, is encrypted."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        facts = {"record": "erasure", "note": SECRET}
        own = draft(
            "AUDIT", "SUCCESS", user_id="bob", subject_id=ALICE, metadata=facts, trail=audit.trail
        )
        audit.emit(own)
        await audit.log_event(
            "STORE", user_id="erasable:" + "0" * 32, metadata={"erasable": SECRET}
        )
        assert SECRET.encode() not in content(archive)
        assert ALICE.encode() not in content(archive)
        given = only_event(audit, operation="AUDIT")
        assert (given.user_id, given.subject_id, given.metadata) == ("bob", ALICE, facts)
        assert only_event(audit, operation="STORE").metadata == {"erasable": SECRET}

    async def test_twice_and_unknown(self, make_audit: Make, archive: Path) -> None:
        """Nothing to erase is no erasure: False, and no event."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        assert audit.erase_user("nobody") is False
        assert audit.erase_user(ALICE) is True
        assert audit.erase_user(ALICE) is False
        assert len(audit.query_events(operation="AUDIT")) == 1

    async def test_comes_back(self, make_audit: Make, archive: Path) -> None:
        """A user who comes back is a new one: the old events stay unreadable, the new ones
        can be erased in turn."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        for number in range(1, 4):
            await audit.log_event("STORE", user_id=ALICE, metadata={"number": number})
            assert [e.metadata["number"] for e in audit.query_events(user_id=ALICE)] == [number]
            assert audit.erase_user(ALICE)
        tokens = [e.metadata["tokens"][0] for e in audit.query_events(operation="AUDIT")]
        assert len(set(tokens)) == 3

    @pytest.mark.parametrize("user", IDS)
    async def test_any_id(self, make_audit: Make, archive: Path, user: str) -> None:
        """An id of any form and size is found, read and erased."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        event = await audit.log_event("STORE", user_id=user, metadata={"note": SECRET})
        await audit.log_event("STORE", user_id=user + "2", metadata={"note": "other"})
        assert audit.query_events(user_id=user, archived=True) == [event]
        assert audit.erase_user(user) is True
        assert audit.query_events(user_id=user, archived=True) == []
        assert only_event(audit, user_id=user + "2").metadata == {"note": "other"}
        assert SECRET.encode() not in content(archive)

    async def test_with_pseudonyms(self, make_audit: Make, archive: Path) -> None:
        """Both together: a pseudonym is what becomes unreadable; one asks and erases by the
        real id, also what was recorded with a former secret or with none."""
        for settings in ({}, {"pseudonymize": b"o" * 32}, {"pseudonymize": [b"n" * 32, b"o" * 32]}):
            audit = make_audit(auto_export_path=archive, erasable=True, **settings)
            await audit.log_event("STORE", user_id=ALICE)
            audit.close()
        found = audit.query_events(user_id=ALICE, archived=True)
        assert [str(e.user_id)[:4] for e in found] == ["hmac", "hmac", "alic"]
        assert audit.erase_user(ALICE) is True
        assert audit.query_events(user_id=ALICE, archived=True) == []
        assert len(only_event(audit, operation="AUDIT").metadata["tokens"]) == 3

    def test_alerts(
        self,
        make_audit: Make,
        logger_provider: LoggerProvider,
        archive: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """An alert about a user is erased with him, and when it ends later, it does not name
        him again."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        start = datetime(2026, 1, 5, tzinfo=timezone.utc)

        def store(user_id: str, hour: int) -> None:
            logger_provider.get_logger("another").emit(
                LogRecord(
                    event_name="axon.memory.audit",
                    timestamp=int((start + timedelta(hours=hour)).timestamp() * 1e9),
                    body={"operation": "STORE", "user_id": user_id},
                )
            )

        with SecurityMonitor(audit, [Rule("many", over=2, window="1h", per_user=True)]):
            for _ in range(3):
                store(ALICE, 0)
            assert len(audit.query_events(operation="AUDIT", subject_id=ALICE)) == 1
            with monkeypatch.context() as patch:  # while it is still on
                patch.setattr("time.time_ns", lambda: int(start.timestamp() * 1e9))
                assert audit.erase_user(ALICE)
            store("bob", 3)
        told = [e.metadata for e in history(audit, operation="AUDIT")]
        assert [facts.get("state", facts.get("record")) for facts in told[-2:]] == [
            "erasure",
            "resolved",
        ]
        assert ALICE not in str(audit.query_events())
        assert Keyring(archive.with_name("archive.keys")).having(ALICE) == []

    async def test_on_hold(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Nothing is erased while the archive is held."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        cli("hold", archive, "--reason", "Doe v. Acme")
        with pytest.raises(ArchiveError, match=r"on hold \(legal\)"):
            audit.erase_user(ALICE)
        assert len(audit.query_events(user_id=ALICE)) == 1
        cli("erase", ALICE, archive, code=1)
        cli("hold", archive, "--release")
        assert audit.erase_user(ALICE)


# --- processes -------------------------------------------------------------------------------

_WRITER = """
import asyncio, sys
from axon_audit_otel import AuditLogger

audit = AuditLogger(auto_export_path=sys.argv[1], erasable=True)
for line in sys.stdin:
    command, user = line.split()
    if command == "log":
        asyncio.run(audit.log_event("STORE", user_id=user, metadata={"note": "canary-5e1f"}))
    elif command == "erase":
        audit.erase_user(user)
    print(len(audit.query_events(user_id=user)), flush=True)
"""


class Writer:
    """A process of its own that writes to the archive, and counts what it reads."""

    def __init__(self, archive: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(archive)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __call__(self, command: str, user: str) -> int:
        """The events of that user that it can read after the command."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{command} {user}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._process.communicate()


class TestProcesses:
    @pytest.mark.slow
    def test_of_others(self, archive: Path) -> None:
        """An erasure holds at once in every process: what it has in memory is unreadable, and
        who comes back has one new key for all of them."""
        with Writer(archive) as one, Writer(archive) as other:
            assert (one("log", ALICE), other("log", ALICE), other("log", ALICE)) == (1, 1, 2)
            assert one("erase", ALICE) == 0
            assert other("count", ALICE) == 0
            assert (other("log", ALICE), one("log", ALICE)) == (1, 1)
        report = verify(archive)
        assert report.ok
        names = {
            json.loads(line[1:])["user_id"]
            for path in archive.glob("audit_*.json")
            for line in path.read_bytes().splitlines()
            if b'"STORE"' in line
        }
        assert len(names) == 2

    async def test_on_the_command_line(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """`axon-audit erase` erases while an application writes."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        assert json.loads(cli("query", archive, "--user", ALICE, "--json").stdout)["metadata"]
        said = cli("erase", ALICE, archive, "--json").stdout
        assert json.loads(said) == {"erased": True, "also_in_clear": False}
        assert audit.query_events(user_id=ALICE, archived=True) == []
        told = audit.query_events(operation="AUDIT", archived=True)
        assert [event.metadata["record"] for event in told].count("erasure") == 1
        assert cli("query", archive, "--user", ALICE, "--json").stdout == ""
        assert "no key for 'alice-7f3e'" in cli("erase", ALICE, archive, code=1).stderr
        audit.close()
        assert verify(archive).ok

    async def test_signed(self, make_audit: Make, cli: Cli, archive: Path, tmp_path: Path) -> None:
        """With signed checkpoints the record of an erasure must be signed: without a key,
        nothing is erased; with one of its own, `verify` finds nothing."""
        ours, theirs = new_key("application"), new_key("officer")
        audit = make_audit(auto_export_path=archive, erasable=True, signing_key=ours)
        await three(audit)
        audit.close()
        assert "--signing-key" in cli("erase", ALICE, archive, code=2).stderr
        assert audit.query_events(user_id=ALICE, archived=True)
        key = tmp_path / "officer.key"
        key.write_text(theirs.line())
        cli("erase", ALICE, archive, "--signing-key", key)
        assert audit.query_events(user_id=ALICE, archived=True) == []
        assert verify(archive, [ours.verifying, theirs.verifying]).ok

    @pytest.mark.slow
    def test_unfinished(self, run_script: Run, archive: Path) -> None:
        """Of an operation that its process did not survive, the next start names the user to
        whoever has the keys, until the user is erased."""
        run_script(
            """
            import asyncio, os, signal, sys
            from axon import MemorySystem
            from axon.adapters.memory import InMemoryAdapter
            from axon.core.config import MemoryConfig
            from axon.core.policies.persistent import PersistentPolicy
            from axon_audit_otel import AuditLogger

            async def die(self, entry):
                os.kill(os.getpid(), signal.SIGKILL)

            InMemoryAdapter.save = die
            audit = AuditLogger(auto_export_path=sys.argv[1], erasable=True, on_failure="block")
            policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
            config = MemoryConfig(persistent=policy, default_tier="persistent")
            memory = MemorySystem(config, audit_logger=audit)
            asyncio.run(memory.store("x", user_id="alice-7f3e", session_id="visit-9c41"))
            """,
            archive,
            code=-signal.SIGKILL,
        )
        audit = AuditLogger(auto_export_path=archive, erasable=True)
        assert ALICE.encode() not in content(archive)
        assert SESSION.encode() not in content(archive)
        events = audit.query_events(operation="AUDIT")
        (told,) = [e.metadata for e in events if e.metadata["record"] == "unfinished"]
        assert told["user_id"] == ALICE
        assert audit.erase_user(ALICE)
        assert ALICE not in str(audit.query_events())
        audit.close()

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_forked_child(self, run_script: Run, archive: Path) -> None:
        """A child shares the keys: it reads and erases what its parent recorded."""
        said = run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger

            def count():
                return len(audit.query_events(user_id="alice", archived=True))

            audit = AuditLogger(auto_export_path=sys.argv[1], erasable=True)
            asyncio.run(audit.log_event("STORE", user_id="alice"))
            before = count()
            child = os.fork()
            if child == 0:
                asyncio.run(audit.log_event("RECALL", user_id="alice"))
                print("child", count(), audit.erase_user("alice"), count(), flush=True)
                audit.close()
                os._exit(0)
            os.waitpid(child, 0)
            print("parent", before, count())
            """,
            archive,
        )
        assert said.splitlines() == ["child 2 True 0", "parent 1 0"]
        assert verify(archive).ok

    @pytest.mark.slow
    def test_killed_while_erasing(self, archive: Path) -> None:
        """Of a writer that is killed while it erases, every erasure that it acknowledged
        holds, and one that was interrupted is completed when it is repeated."""
        source = """
        import asyncio, sys
        from axon_audit_otel import AuditLogger

        audit = AuditLogger(auto_export_path=sys.argv[1], erasable=True)
        for number in range(400):
            asyncio.run(audit.log_event("STORE", user_id=f"u{number}", metadata={"note": 1}))
        for number in range(400):
            audit.erase_user(f"u{number}")
            print(number, flush=True)
        """
        command = [sys.executable, "-c", textwrap.dedent(source), str(archive)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(57):
                acknowledged = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
            acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
        audit = AuditLogger(auto_export_path=archive, erasable=True)
        for number in range(acknowledged + 1):
            assert audit.query_events(user_id=f"u{number}", archived=True) == []
        audit.erase_user(f"u{acknowledged + 1}")
        for number in range(acknowledged + 2, 400):
            assert len(audit.query_events(user_id=f"u{number}", archived=True)) == 1
        told = audit.query_events(operation="AUDIT", archived=True)
        erased = {token for event in told for token in event.metadata.get("tokens", ())}
        assert len(erased) == acknowledged + 2
        audit.close()
        assert verify(archive).ok

    @pytest.mark.parametrize("steps", [1, 2])
    async def test_between_its_steps(self, make_audit: Make, archive: Path, steps: int) -> None:
        """A user who comes back in the middle of the erasure is a new one, who is found and
        can be erased; an erasure that ended there is completed when it is repeated."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        keys = Keyring(archive.with_name("archive.keys"))
        tokens = keys.tokens_of(ALICE)
        keys.destroy(ALICE, tokens)
        assert audit.query_events(user_id=ALICE) == []
        await audit.log_event("STORE", user_id=ALICE, metadata={"note": "back"})
        if steps == 2:
            keys.forget(ALICE, tokens)
        audit.close()
        audit = make_audit(auto_export_path=archive, erasable=True)
        assert len(audit.query_events(user_id=ALICE, archived=True)) == 1
        await audit.log_event("STORE", user_id=ALICE, metadata={"note": "again"})
        assert audit.query_events(user_id=ALICE)[0].metadata == {"note": "again"}
        assert audit.erase_user(ALICE) is True
        assert audit.query_events(user_id=ALICE, archived=True) == []
        assert audit.erase_user(ALICE) is False
        told = only_event(audit, operation="AUDIT").metadata["tokens"]
        assert (tokens[0].hex() in told) is (steps == 1)

    @pytest.mark.slow
    def test_many_threads(self, run_script: Run, archive: Path) -> None:
        """Threads that record, read and erase the same users do not disturb each other."""
        said = run_script(
            """
            import asyncio, sys, threading
            from axon_audit_otel import AuditLogger

            audit = AuditLogger(auto_export_path=sys.argv[1], erasable=True)
            wrong = []

            def run(number):
                try:
                    for turn in range(150):
                        user = f"u{(number + turn) % 5}"
                        event = asyncio.run(audit.log_event("STORE", user_id=user))
                        if event.user_id != user:
                            wrong.append(event)
                        if {e.user_id for e in audit.query_events(user_id=user)} - {user}:
                            wrong.append(user)
                        if turn % 10 == number:
                            audit.erase_user(user)
                except BaseException as exc:
                    wrong.append(exc)

            threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for number in range(5):
                audit.erase_user(f"u{number}")
            audit.close()
            failures = audit.get_statistics()["failures"]
            left = {e.user_id for e in audit.query_events(archived=True)} - {None}
            print(wrong, [stage for stage in failures if failures[stage]])
            print([user for user in left if not user.startswith("erasable:")])
            """,
            archive,
        )
        assert said.splitlines() == ["[] []", "[]"]
        assert verify(archive).ok


# --- keys ------------------------------------------------------------------------------------


class TestKeys:
    async def test_lost(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Without its keys an archive is not written to as if nothing were amiss; it can be
        read as far as it can, and verified."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        audit.close()
        keys = archive.with_name("archive.keys")
        moved = keys.rename(archive.with_name("elsewhere"))
        with pytest.raises(ArchiveError, match=r"the keys of .* are not in .*archive\.keys'"):
            make_audit(auto_export_path=archive, erasable=True)
        said = cli("query", archive, "--json")
        assert "are not in" in said.stderr
        assert SECRET not in said.stdout
        assert verify(archive).ok
        assert "cannot be erased" in cli("erase", ALICE, archive, code=1).stderr
        read = cli("query", archive, "--user", ALICE, "--keys", moved).stdout
        assert ALICE in read
        assert make_audit(auto_export_path=archive, erasable=moved).query_events(
            user_id=ALICE, archived=True
        )

    @pytest.mark.parametrize(("setting", "variable"), [(None, ""), (False, "true"), (None, "no")])
    async def test_not_given(
        self,
        make_audit: Make,
        archive: Path,
        monkeypatch: pytest.MonkeyPatch,
        setting: bool | None,
        variable: str,
    ) -> None:
        """Nobody writes in clear to an archive that has keys, under whatever name; an archive
        that has none can be given them."""
        await three(make_audit(auto_export_path=archive))
        with make_audit(auto_export_path=archive, erasable=True) as audit:
            await three(audit)
        before = content(archive)
        monkeypatch.setenv("AXON_AUDIT_ERASABLE", variable)
        with pytest.raises(AuditConfigError, match=r"erasable=False: .* give erasable=True or"):
            make_audit(auto_export_path=archive, erasable=setting, name="kept")
        assert content(archive) == before
        monkeypatch.setenv("AXON_AUDIT_ERASABLE", str(keys_of(archive)))
        assert await make_audit(auto_export_path=archive, name="kept").log_event("STORE")

    @pytest.mark.slow
    def test_not_given_to_another_process(self, run_script: Run, archive: Path) -> None:
        """Another process without keys is refused; a forked child goes on as its parent did."""
        said = run_script(
            """
            import asyncio, os, subprocess, sys
            from axon_audit_otel import AuditLogger

            audit = AuditLogger(auto_export_path=sys.argv[1], erasable=True)
            asyncio.run(audit.log_event("STORE", user_id="alice"))
            child = os.fork() if hasattr(os, "fork") else 0
            if child == 0:
                asyncio.run(audit.log_event("RECALL", user_id="alice"))
                audit.close()
                code = "import sys, axon_audit_otel as a; a.AuditLogger(1, sys.argv[1])"
                done = subprocess.run(
                    [sys.executable, "-c", code, sys.argv[1]], capture_output=True, text=True
                )
                print(done.stderr.splitlines()[-1].partition(":")[0], flush=True)
                os._exit(0)
            os.waitpid(child, 0)
            """,
            archive,
        )
        assert said.strip().endswith("AuditConfigError")
        assert b"alice" not in content(archive)

    async def test_of_another_archive(self, make_audit: Make, cli: Cli, tmp_path: Path) -> None:
        """Keys of another archive are told from keys that were destroyed."""
        for name in "ab":
            audit = make_audit(auto_export_path=tmp_path / name, erasable=True)
            await three(audit)
            audit.close()
        with pytest.raises(ArchiveError, match=r"b\.keys' is keyring \w{8}, but the events in"):
            make_audit(auto_export_path=tmp_path / "a", erasable=tmp_path / "b.keys")
        said = cli("query", tmp_path / "a", "--keys", tmp_path / "b.keys", code=1).stderr
        assert "is keyring" in said
        (tmp_path / "b.keys" / "keyring").write_bytes(b"something else")
        with pytest.raises(ArchiveError, match="is not the file of a keyring"):
            make_audit(auto_export_path=tmp_path / "b", erasable=True)

    async def test_shared_by_archives(self, make_audit: Make, tmp_path: Path) -> None:
        """Archives can have their keys in one place: one erasure is for all of them."""
        one, other = (
            make_audit(auto_export_path=tmp_path / name, erasable=tmp_path / "keys")
            for name in "ab"
        )
        await three(one)
        await three(other)
        assert one.erase_user(ALICE)
        assert other.query_events(user_id=ALICE) == []

    async def test_overwritten(self, make_audit: Make, archive: Path) -> None:
        """The key of an erased user is in no file any more, nor is his token."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await audit.log_event("STORE", user_id=ALICE)
        keys = archive.with_name("archive.keys")
        (user,) = Keyring(keys).having(ALICE)
        assert user.key in content(keys)
        sizes = {path.name: path.stat().st_size for path in keys.glob("*.keys")}
        audit.erase_user(ALICE)
        assert user.key not in content(keys)
        assert user.token not in content(keys)
        assert {path.name: path.stat().st_size for path in keys.glob("*.keys")} == sizes

    async def test_brought_back_by_a_copy(
        self, make_audit: Make, cli: Cli, archive: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A copy of the keys from before an erasure brings nobody back: readers pass over
        what was erased, and the next writer destroys it again."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        audit.close()
        keys, copy = archive.with_name("archive.keys"), archive.with_name("copy")
        shutil.copytree(keys, copy)
        audit.erase_user(ALICE)
        audit.close()
        assert cli("query", archive, "--user", ALICE, "--keys", copy, "--json").stdout == ""
        assert SECRET not in cli("query", archive, "--keys", copy, "--json").stdout
        shutil.rmtree(keys)
        copy.rename(keys)

        again = make_audit(auto_export_path=archive, erasable=True)
        assert "destroyed again" in caplog.text
        assert again.query_events(user_id=ALICE, archived=True) == []
        assert seen(again)[:3] == [("?", None, None), ("bob", "?", None), ("bob", None, None)]
        assert again.erase_user(ALICE) is False
        assert Keyring(keys).having(ALICE) == []

    async def test_that_cannot_be_written(
        self, make_audit: Make, make_system: MakeSystem, archive: Path
    ) -> None:
        """While new keys cannot be written, memory has them, and they are written later."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        keys = archive.with_name("archive.keys")
        aside = keys.rename(archive.with_name("aside"))
        await audit.log_event("STORE", user_id=ALICE)
        assert [e.user_id for e in audit.query_events()] == [ALICE]
        assert len(audit.query_events(user_id=ALICE)) == 1
        assert audit.get_statistics()["failures"]["keys"] > 0
        aside.rename(keys)
        reader = make_audit(auto_export_path=archive, erasable=True)
        assert [e.user_id != ALICE for e in reader.query_events(archived=True)] == [True]
        audit.close()
        assert [e.user_id for e in reader.query_events(archived=True)] == [ALICE]
        assert len(reader.query_events(user_id=ALICE, archived=True)) == 1

    async def test_written_by_half(
        self, make_audit: Make, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Of a key that the disk had room for, and not for the name of its user, nothing is
        left in files: what it encrypts is erased with the user, in the running process too."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        with room_for(1, monkeypatch):
            await three(audit)
            assert len(audit.query_events(user_id=ALICE)) == 1
            assert records(keys_of(archive)) == 0
            assert audit.erase_user(ALICE) is True
        assert seen(audit)[:2] == [("?", None, None), ("bob", "?", None)]
        audit.close()
        assert seen(audit)[:2] == [("?", None, None), ("bob", "?", None)]
        assert audit.erase_user("bob") is True
        assert records(keys_of(archive)) == 0

    async def test_written_by_half_and_stuck(
        self, make_audit: Make, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A key that could not be taken back either is destroyed as soon as it can be, for all
        who read with it; until then the erasure fails, and is repeated."""
        audit, other = (make_audit(auto_export_path=archive, erasable=True) for _ in range(2))
        with room_for(1, monkeypatch, overwrites=False):
            await audit.log_event("STORE", user_id=ALICE)
            assert records(keys_of(archive)) == 1
            with pytest.raises(ArchiveError, match="not complete: No space left"):
                audit.erase_user(ALICE)
        assert seen(audit)[0] == seen(other)[0] == (ALICE, None, None)
        assert audit.erase_user(ALICE) is True
        assert seen(audit)[0] == seen(other)[0] == ("?", None, None)
        told = history(audit, operation="AUDIT")
        assert [event.status for event in told] == ["SUCCESS", "FAILURE", "SUCCESS"]
        assert told[1].metadata["error"] == "No space left on device"
        assert records(keys_of(archive)) == 0

    async def test_that_cannot_be_written_and_must(
        self, make_audit: Make, make_system: MakeSystem, archive: Path
    ) -> None:
        """With on_failure="block", who has no key yet is refused until one can be written."""
        audit = make_audit(auto_export_path=archive, erasable=True, on_failure="block")
        AxonInstrumentor().instrument(audit_logger=audit)
        memory: Any = make_system()
        await memory.store("before", user_id="bob")
        keys = archive.with_name("archive.keys")
        shutil.rmtree(keys)
        with pytest.raises(AuditUnavailableError, match="a key cannot be written"):
            await memory.store("new", user_id=ALICE)
        with pytest.raises(AuditUnavailableError):
            await audit.log_event("STORE", user_id="carol")

    def test_lock_after_an_interruption(self, make_audit: Make, archive: Path) -> None:
        """An exception of a signal handler while the lock is taken does not keep it taken."""
        fcntl = pytest.importorskip("fcntl")

        def happens(_: int) -> None:
            if calls.names[-1].startswith("flock "):
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt) as raised, Calls(happens, after=True) as calls:
            make_audit(auto_export_path=archive, erasable=True)
        with (archive.with_name("archive.keys") / "keyring").open() as ring:
            fcntl.flock(ring, fcntl.LOCK_EX | fcntl.LOCK_NB)
        del raised  # it held the frame that has the file open

    def test_settings(
        self, make_audit: Make, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The keys' place: beside the archive, or as given; never in it."""
        with pytest.raises(AuditConfigError, match="there is none; give their place"):
            make_audit(erasable=True)
        for place in (archive, archive / "keys", archive / ".." / "archive" / "x"):
            with pytest.raises(AuditConfigError, match="would be copied with it"):
                make_audit(auto_export_path=archive, erasable=place)
        assert not archive.exists()
        monkeypatch.setenv("AXON_AUDIT_ERASABLE", "true")
        assert make_audit(auto_export_path=archive).settings.erasable is True
        assert archive.with_name("archive.keys").is_dir()
        monkeypatch.setenv("AXON_AUDIT_ERASABLE", str(archive.with_name("k")))
        assert make_audit().settings.erasable == archive.with_name("k")
        monkeypatch.setenv("AXON_AUDIT_ERASABLE", "false")
        assert make_audit().settings.erasable is False


# --- the command line ------------------------------------------------------------------------


class TestCommands:
    async def test_files_stay_encrypted(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Shown events are readable; exported ones are as recorded, unless --decrypt."""
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        audit.close()
        for command in (["query"], ["tail"], ["query", "--session", SESSION]):
            assert ALICE in cli(command[0], archive, *command[1:]).stdout
            assert ALICE in cli(command[0], archive, *command[1:], "--json").stdout
        counted = json.loads(cli("stats", archive, "--json").stdout)
        assert {user["user_id"] for user in counted["users"]} == {ALICE, "bob"}
        for form in ("json", "jsonl", "csv", "otlp"):
            out = archive.with_name(f"out.{form}")
            options = ["--user", ALICE, "--session", SESSION, "--format", form, "--json", "--force"]
            assert json.loads(cli("export", archive, out, *options).stdout)["events"] == 1
            assert b"erasable:" in out.read_bytes()
            assert ALICE.encode() not in out.read_bytes()
            if form != "otlp":
                cli("export", archive, out, *options, "--decrypt")
                assert ALICE.encode() in out.read_bytes()
                assert SECRET.encode() in out.read_bytes()

    async def test_who_held_it(
        self, make_audit: Make, cli: Cli, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The user who placed or released a hold is encrypted like everybody.

        Without the keys it is recorded without a name. Wrong keys are refused before.
        """
        monkeypatch.setenv("SUDO_USER", "mallory")
        with make_audit(auto_export_path=archive, erasable=True) as audit:
            await three(audit)
        cli("hold", archive, "--reason", "Doe v. Acme")
        moved = keys_of(archive).rename(archive.with_name("elsewhere"))
        monkeypatch.setenv("AXON_AUDIT_ERASABLE", "true")
        assert "without a name" in cli("hold", archive, "--release").stderr
        monkeypatch.delenv("AXON_AUDIT_ERASABLE")
        cli("hold", archive, "--reason", "Roe v. Acme", "--keys", moved)
        cli("hold", archive, "--release", "--keys", archive.with_name("typo"), code=1)
        assert (archive / "legal.hold").exists()
        assert b"mallory" not in content(archive)
        reader = make_audit(auto_export_path=archive, erasable=moved)
        found = reader.query_events(operation="AUDIT", archived=True)
        assert [(e.user_id, e.metadata["state"]) for e in found[::-1]] == [
            (os_user().name, "placed"),
            (None, "released"),
            (os_user().name, "placed"),
        ]
        assert verify(archive).ok

    async def test_no_archive(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Without audit files nobody is erased, whatever keys are given; the directory
        is named, and nothing is created there."""
        with make_audit(auto_export_path=archive, erasable=True) as audit:
            await three(audit)
        empty, missing = archive.with_name("empty"), archive.with_name("nope")
        empty.mkdir()
        for options in ([], ["--keys", keys_of(archive)]):
            said = cli("erase", ALICE, missing, *options, code=2).stderr
            assert "no such file or directory" in said
            assert "nope" in said
            assert "no audit files" in cli("erase", ALICE, empty, *options, code=1).stderr
        assert not missing.exists()
        assert list(empty.iterdir()) == []
        assert len(audit.query_events(user_id=ALICE, archived=True)) == 1

    async def test_hold_without_encryption(
        self, make_audit: Make, cli: Cli, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A hold gives no keys to an archive that has none: its application goes on."""
        with make_audit(auto_export_path=archive) as audit:
            await three(audit)
        monkeypatch.setenv("AXON_AUDIT_ERASABLE", "true")
        cli("hold", archive, "--reason", "Doe v. Acme")
        cli("hold", archive, "--release", "--keys", archive.with_name("elsewhere"))
        monkeypatch.delenv("AXON_AUDIT_ERASABLE")
        await three(make_audit(auto_export_path=archive))
        assert [path.name for path in archive.parent.iterdir()] == [archive.name]

    async def test_what_was_never_encrypted(
        self, make_audit: Make, cli: Cli, archive: Path
    ) -> None:
        """`erase` reports events from before the setting was switched on."""
        audit = make_audit(auto_export_path=archive)
        await three(audit)
        audit.close()
        assert "there are no keys" in cli("erase", ALICE, archive, code=1).stderr
        audit = make_audit(auto_export_path=archive, erasable=True)
        await three(audit)
        audit.close()
        said = cli("erase", ALICE, archive)
        assert "can no longer be read" in said.stdout
        assert "stay readable" in said.stderr
        assert len(audit.query_events(user_id=ALICE, archived=True)) == 1
        assert verify(archive).ok
