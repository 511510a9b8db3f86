"""What destroys a key, and what does not; key stores and lists of somebody who means harm."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, Run, history, only_event

from axon_audit_otel import ArchiveError, AuditLogger, audit_context, verify
from axon_audit_otel.core.os_user import os_user
from axon_audit_otel.privacy.keyring import Keyring

pytestmark = pytest.mark.usefixtures("without_start_record")

_IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


def keys_of(archive: Path) -> Path:
    """The directory of an archive's keys."""
    return archive.with_name(f"{archive.name}.keys")


def content(archive: Path) -> bytes:
    """All that is in its files."""
    return b"".join(path.read_bytes() for path in archive.iterdir())


async def recorded(make_audit: Make, archive: Path, **settings: Any) -> AuditLogger:
    """A logger that has recorded one event of Alice."""
    audit = make_audit(auto_export_path=archive, erasable=True, **settings)
    await audit.log_event("STORE", user_id="alice", metadata={"note": "tea"})
    return audit


# --- what destroys a key ---------------------------------------------------------------------


class TestList:
    @pytest.mark.parametrize("form", ["{0}", "{0} {1}", "{0} {0}", "{0}:{1}"])
    async def test_a_line_of_somebody(
        self, make_audit: Make, cli: Cli, archive: Path, form: str
    ) -> None:
        """A token that somebody without the keys adds to the archive's list destroys and hides
        nothing, in a reader, in the next writer, and when another user is erased."""
        audit = await recorded(make_audit, archive)
        await audit.log_event("STORE", user_id="bob")
        audit.close()
        (alice,) = Keyring(keys_of(archive)).having("alice")
        with (archive / ".keyring").open("a") as file:
            file.write(form.format(alice.token.hex(), "0" * 32) + "\n")
        assert "alice" in cli("query", archive, "--user", "alice").stdout
        audit = make_audit(auto_export_path=archive, erasable=True)
        assert len(audit.query_events(user_id="alice", archived=True)) == 1
        await audit.log_event("STORE", user_id="alice")
        assert audit.erase_user("bob")
        assert len(audit.query_events(user_id="alice", archived=True)) == 2
        assert [user.key for user in Keyring(keys_of(archive)).having("alice")] == [alice.key]

    async def test_a_line_of_another_user(self, make_audit: Make, archive: Path) -> None:
        """Nor does the proof of another user's erasure."""
        audit = await recorded(make_audit, archive)
        await audit.log_event("STORE", user_id="bob")
        assert audit.erase_user("bob")
        audit.close()
        (alice,) = Keyring(keys_of(archive)).having("alice")
        proof = (archive / ".keyring").read_text().split()[-1]
        with (archive / ".keyring").open("a") as file:
            file.write(f"{alice.token.hex()} {proof}\n")
        audit = make_audit(auto_export_path=archive, erasable=True)
        assert len(audit.query_events(user_id="alice", archived=True)) == 1

    async def test_lines_beside_a_genuine_one(self, make_audit: Make, archive: Path) -> None:
        """A line of somebody about an erased user does not undo the genuine one."""
        audit = await recorded(make_audit, archive)
        audit.close()
        copy = archive.with_name("copy")
        shutil.copytree(keys_of(archive), copy)
        assert audit.erase_user("alice")
        audit.close()
        token = (archive / ".keyring").read_text().split()[-2]
        with (archive / ".keyring").open("a") as file:
            file.write(f"{token} {'0' * 32}\n{token}")
        reader = make_audit(auto_export_path=archive, erasable=copy)
        assert reader.query_events(user_id="alice", archived=True) == []

    @pytest.mark.parametrize("end", [b"", b"\n"])
    @pytest.mark.parametrize(
        "lines", [b"\n\n\0\0", b"\xff" * 9_999, b"0" * 33 + b"\n", b"-\n" * 100, b"\r\n \t"]
    )
    async def test_garbage(self, make_audit: Make, archive: Path, lines: bytes, end: bytes) -> None:
        """Garbage in the list is passed over; what is erased afterwards is listed all the same."""
        audit = await recorded(make_audit, archive)
        with (archive / ".keyring").open("ab") as file:
            file.write(lines + end)
        audit.close()
        copy = archive.with_name("copy")
        shutil.copytree(keys_of(archive), copy)
        audit = make_audit(auto_export_path=archive, erasable=True)
        assert len(audit.query_events(user_id="alice", archived=True)) == 1
        assert audit.erase_user("alice")
        reader = make_audit(auto_export_path=archive, erasable=copy)
        assert reader.query_events(user_id="alice", archived=True) == []

    @pytest.mark.parametrize("kind", ["garbage", "link", "pipe", "large", "directory"])
    @pytest.mark.slow
    async def test_no_list(self, make_audit: Make, cli: Cli, archive: Path, kind: str) -> None:
        """What is no list, a link, a pipe or a file without end is refused at once; `verify`
        tells that it could not look at the keys."""
        audit = await recorded(make_audit, archive)
        audit.close()
        path = archive / ".keyring"
        kept = path.rename(archive.with_name("kept"))
        if kind == "garbage":
            path.write_bytes(b"\0\xff" * 99)
        elif kind == "link":
            path.symlink_to(kept)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "large":
            path.write_bytes(kept.read_bytes())
            os.truncate(path, 1 << 40)
        else:
            path.mkdir()
        with pytest.raises(ArchiveError, match=r"\.keyring"):
            make_audit(auto_export_path=archive, erasable=True)
        cli("query", archive, code=1)
        report = verify(archive)
        assert report.ok
        assert report.lost_keys is not None
        assert ".keyring" in report.lost_keys.why


class TestOrder:
    @pytest.mark.slow
    def test_recorded_first(self, run_script: Run, archive: Path) -> None:
        """If an erasure cannot be recorded, since no file may grow, nothing is erased."""
        pytest.importorskip("resource")
        said = run_script(
            """
            import asyncio, resource, signal, sys
            from pathlib import Path
            from axon_audit_otel import AuditLogger, AuditUnavailableError

            archive = Path(sys.argv[1])
            audit = AuditLogger(auto_export_path=archive, erasable=True)
            asyncio.run(audit.log_event("STORE", user_id="alice"))
            limits = resource.getrlimit(resource.RLIMIT_FSIZE)
            size = (archive / "default.journal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
            try:
                audit.erase_user("alice")
            except AuditUnavailableError as exc:
                failed = str(exc)
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
            print(failed, len(audit.query_events(user_id="alice")), audit.erase_user("alice"))
            print(len(audit.query_events(user_id="alice")))
            """,
            archive,
        )
        assert said.splitlines() == [
            "the erasure cannot be recorded: journal: File too large 1 True",
            "0",
        ]

    async def test_the_record_is_in_a_file(
        self, make_audit: Make, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """When the first byte of a key is overwritten, the record of it is in the journal."""
        audit = await recorded(make_audit, archive)
        (alice,) = Keyring(keys_of(archive)).having("alice")
        real, seen = os.pwrite, []

        def pwrite(file: int, data: bytes, at: int) -> int:
            if not any(data):
                seen.append(
                    alice.token.hex().encode() in (archive / "default.journal").read_bytes()
                )
            return real(file, data, at)

        monkeypatch.setattr("os.pwrite", pwrite)
        assert audit.erase_user("alice")
        assert seen
        assert b'"record":"erasure"' in (archive / "default.journal").read_bytes()

    async def test_failed(
        self, make_audit: Make, cli: Cli, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An erasure that was recorded and failed is recorded as a failure, too; `verify` does
        not take it for one."""
        audit = await recorded(make_audit, archive)

        def pwrite(*_: object) -> int:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        with monkeypatch.context() as patch:
            patch.setattr("os.pwrite", pwrite)
            with pytest.raises(ArchiveError, match="not complete"):
                audit.erase_user("alice")
        audit.close()
        told = history(audit, operation="AUDIT")
        assert [event.status for event in told] == ["SUCCESS", "FAILURE"]
        assert "could not be destroyed" in cli("query", archive).stdout
        assert len(audit.query_events(user_id="alice")) == 1


class TestRecord:
    async def test_facts(self, make_audit: Make, archive: Path) -> None:
        """Further facts of an erasure are encrypted with the key of who acts; the erased id is
        in none of them; without the keys, who was erased and that it was stays readable."""
        audit = await recorded(make_audit, archive)
        with audit_context(user_id="officer"):
            assert audit.erase_user("alice", metadata={"reason": "request 7 of alice", "desk": 3})
        event = only_event(audit, operation="AUDIT")
        assert event.user_id == "officer"
        assert event.metadata["reason"] == "request 7 of [erased]"
        assert event.metadata["desk"] == 3
        audit.close()
        assert b"request 7" not in content(archive)
        (name,) = {
            e.user_id
            for e in make_audit(auto_export_path=archive, erasable=True).query_events(
                operation="AUDIT", archived=True
            )
        }
        assert name == "officer"

    async def test_command(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """The command records who erased, as the kernel says, and why."""
        (await recorded(make_audit, archive)).close()
        cli("erase", "alice", archive, "--reason", " ", code=2)
        cli("erase", "alice", archive, "--reason", "ticket 7")
        audit = make_audit(auto_export_path=archive, erasable=True)
        (event,) = audit.query_events(operation="AUDIT", archived=True)
        who = os_user()
        assert event.user_id == who.name
        facts = {"record": "erasure", "reason": "ticket 7", **who.ids}
        assert event.metadata.items() >= facts.items()
        assert "destroyed, of" in cli("query", archive).stdout
        assert ": ticket 7" in cli("query", archive).stdout

    async def test_of_oneself(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Who erases himself is not named, by numbers neither."""
        name = str(os_user().name)
        audit = make_audit(auto_export_path=archive, erasable=True)
        await audit.log_event("STORE", user_id=name)
        audit.close()
        cli("erase", name, archive)
        (event,) = audit.query_events(operation="AUDIT", archived=True)
        assert event.user_id is None
        assert event.metadata.keys() == {"record", "tokens"}


# --- hostile key stores ----------------------------------------------------------------------


def _link(path: Path) -> None:
    path.symlink_to(path.rename(path.with_name("elsewhere")))


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _large(path: Path) -> None:
    os.truncate(path, 1 << 40)


def _of_all(path: Path) -> None:
    path.chmod(0o666)


def _of_another(path: Path) -> None:
    if not _IS_ROOT:
        pytest.skip("only root can give a file away")
    os.chown(path, 4321, 4321)


HOSTILE: list[Callable[[Path], None]] = [_link, _pipe, _large, _of_all, _of_another]


class TestStore:
    @pytest.mark.parametrize("change", HOSTILE)
    async def test_files(
        self, make_audit: Make, archive: Path, change: Callable[[Path], None]
    ) -> None:
        """A file of keys that is a link, a pipe, without end, or of anybody, is no file of keys:
        events are not encrypted with what is in it, and nothing hangs."""
        audit = await recorded(make_audit, archive)
        (alice,) = Keyring(keys_of(archive)).having("alice")
        audit.close()
        change(keys_of(archive) / f"{alice.token[-1]:02x}.keys")
        reader = make_audit(auto_export_path=archive, erasable=True)
        (event,) = reader.query_events(archived=True)
        assert str(event.user_id).startswith("erasable:")
        lost = verify(archive).lost_keys
        assert lost is not None
        assert lost.events == 1

    @pytest.mark.parametrize("change", [_link, _pipe, _of_all, _of_another])
    async def test_keyring(
        self, make_audit: Make, archive: Path, change: Callable[[Path], None]
    ) -> None:
        """So is the keyring itself: it is refused, with its place."""
        (await recorded(make_audit, archive)).close()
        change(keys_of(archive) / "keyring")
        with pytest.raises(ArchiveError, match=r"cannot use the keys in .*archive\.keys"):
            make_audit(auto_export_path=archive, erasable=True)

    async def test_directory(self, make_audit: Make, archive: Path, cli: Cli) -> None:
        """A directory that everybody can write to is refused, by readers too."""
        (await recorded(make_audit, archive)).close()
        keys_of(archive).chmod(0o777)
        with pytest.raises(ArchiveError, match="every user can write"):
            make_audit(auto_export_path=archive, erasable=True)
        assert "every user can write" in cli("query", archive, code=1).stderr

    async def test_garbage(self, make_audit: Make, archive: Path) -> None:
        """Files of random bytes are no keys: users get new ones, and nothing fails."""
        audit = await recorded(make_audit, archive)
        audit.close()
        for number in range(256):
            (keys_of(archive) / f"{number:02x}.keys").write_bytes(os.urandom(4_801))
        audit = make_audit(auto_export_path=archive, erasable=True)
        await audit.log_event("STORE", user_id="alice")
        assert len(audit.query_events(user_id="alice", archived=True)) == 1
        assert audit.erase_user("alice")
        assert audit.query_events(user_id="alice", archived=True) == []

    @pytest.mark.slow
    async def test_locked(self, make_audit: Make, archive: Path, cli: Cli) -> None:
        """Somebody who keeps every file locked (a process that was stopped) keeps nobody waiting:
        who is new has a key in memory, which is written once the files are free. An erasure says
        that it is not complete. Readers need no lock."""
        fcntl = pytest.importorskip("fcntl")
        audit = await recorded(make_audit, archive)
        keys = [keys_of(archive) / f"{number:02x}.keys" for number in range(256)]
        with ExitStack() as stack:
            for path in (*keys, keys_of(archive) / "keyring"):
                file = stack.enter_context(path.open("ab"))
                fcntl.flock(file, fcntl.LOCK_EX)
            await audit.log_event("STORE", user_id="bob")
            assert [event.user_id for event in audit.query_events(user_id="bob")] == ["bob"]
            with pytest.raises(ArchiveError, match="kept it locked"):
                audit.erase_user("alice")
            assert "alice" in cli("query", archive).stdout
        audit.close()
        assert len(Keyring(keys_of(archive)).having("bob")) == 1
        assert "bob" in cli("query", archive).stdout
