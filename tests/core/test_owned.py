"""Files that root makes in a service's archive belong to the service; no link is followed."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli, Make, Run
from receiver import Receiver

from axon_audit_otel.archive import zstd
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.core.content import content_of, read_key
from axon_audit_otel.core.files import open_owned, open_regular
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.replay import replay

SERVICE = 65534
KEY = new_key("acme")
_IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

needs_root = pytest.mark.skipif(not _IS_ROOT, reason="only root can give a file away")
needs_links = pytest.mark.skipif(sys.platform == "win32", reason="needs links")

#: Records, seals, ships and verifies as the service that owns the archive.
SERVE = """
import asyncio, os, sys
from axon_audit_otel import AuditLogger, verify
archive, endpoint, user = sys.argv[1], sys.argv[2], int(sys.argv[3])
os.setgid(user); os.setuid(user)
async def work(audit):
    for _ in range(7):
        await audit.log_event("STORE", user_id="ann")
with AuditLogger(auto_export_path=archive, max_events=3, ship_to=endpoint, erasable=True) as audit:
    asyncio.run(work(audit))
    assert audit.query_events(archived=True, strict=True, user_id="ann")
    assert audit.get_statistics()["failures"] == {}, audit.get_statistics()["failures"]
assert verify(archive).ok, verify(archive).findings
"""


@pytest.fixture(name="place")
def _place() -> Iterator[Path]:
    """An empty directory of the service, where it can go; pytest's own are root's alone."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        place = Path(directory) / "archive"
        place.mkdir()
        for path in (place, place.parent):
            os.chown(path, SERVICE, SERVICE)
        yield place


def _of_root(*directories: Path) -> list[str]:
    paths = [path for directory in directories for path in (directory, *directory.iterdir())]
    return [path.name for path in paths if path.lstat().st_uid == 0]


def _keys(place: Path) -> Path:
    return place.with_name("archive.keys")


@pytest.mark.slow
@needs_root
class TestRoot:
    """A process or a command that runs as root."""

    def test_recording(
        self, make_audit: Make, place: Path, run_script: Run, http: Receiver
    ) -> None:
        """Everything that a logger makes there is the service's, which goes on with it: journal,
        sealed and compressed files, manifest, checkpoints, locks, acknowledged, intents, keys."""
        audit = make_audit(
            signing_key=new_key("acme"),
            auto_export_path=place,
            max_events=3,
            erasable=True,
            compress=zstd.available(),
            on_failure="block",
            ship_to=http.url,
        )
        for number in range(8):
            with pytest.raises(StopIteration):
                audit.log_event("STORE", user_id=f"u{number}").send(None)
        audit.trail.record_intent({"event_id": "evt_1", "time": "", "user_id": "u1"})
        audit.export_to_file(place / "copy.json")
        assert _of_root(place, _keys(place)) == []
        audit.close()
        assert _of_root(place, _keys(place)) == []
        run_script(SERVE, place, http.url, SERVICE, loaded=True)
        assert {stat.S_IMODE(path.stat().st_mode) for path in place.iterdir()} == {0o600}

    def test_commands(self, cli: Cli, place: Path, run_script: Run, http: Receiver) -> None:
        """Neither do commands leave anything to root, and the service goes on after them."""
        run_script(SERVE, place, http.url, SERVICE, loaded=True)
        (place / "default.shipped").unlink()
        cli("replay", place, "--endpoint", http.url)
        cli("hold", place, "--reason", "Doe v. Acme")
        cli("hold", place, "--release")
        cli("erase", "ann", place)
        cli("export", place, place / "copy.csv")
        cli("keygen", "acme", "--output", place / "acme.key")
        assert _of_root(place, _keys(place)) == []
        run_script(SERVE, place, http.url, SERVICE, loaded=True)

    def test_new_directories(
        self, cli: Cli, make_audit: Make, place: Path, run_script: Run, http: Receiver
    ) -> None:
        """Everything that root makes below a directory of the service belongs to the service, at
        every level: an archive, its keys, checkpoints, exports; and the service works with it."""
        archive = place / "a" / "b" / "archive"
        with make_audit(
            auto_export_path=archive,
            erasable=True,
            signing_key=new_key("acme"),
            checkpoint_to=place / "checkpoints.txt",
        ) as audit:
            with pytest.raises(StopIteration):
                audit.log_event("STORE", user_id="root").send(None)
            audit.export_to_file(place / "c" / "d" / "copy.json")
        cli("export", archive, place / "e" / "copy.csv")
        made = list(place.rglob("*"))
        assert [path.name for path in made if path.lstat().st_uid == 0] == []
        names = {"archive.keys", "checkpoints.txt", "copy.json", "copy.csv"}
        assert names <= {path.name for path in made}
        run_script(SERVE, archive, http.url, SERVICE, loaded=True)

    def test_what_is_left_from_before(self, cli: Cli, place: Path, run_script: Run) -> None:
        """A replay gives back what root made there before."""
        (place / "other.shipped").touch()
        run_script(SERVE, place, "http://127.0.0.1:1", SERVICE, loaded=True)
        replay(place, Endpoint.resolve("http://127.0.0.1:1"), {}, patience=0)
        assert _of_root(place) == []

    def test_what_root_keeps_for_itself(
        self, make_audit: Make, place: Path, run_script: Run
    ) -> None:
        """Files of other writers that the service cannot read end nothing of its own: it starts,
        records, queries, ships, and deletes by retention."""
        with make_audit(auto_export_path=place, name="roots", max_events=2) as audit:
            for _ in range(5):
                with pytest.raises(StopIteration):
                    audit.log_event("STORE", user_id="root").send(None)
        for path in place.iterdir():
            os.chown(path, 0, 0)
        said = run_script(
            """
            import asyncio, os, sys, warnings
            from axon_audit_otel import AuditLogger, ArchiveIncompleteWarning
            os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
            async def work(audit):
                for _ in range(7):
                    await audit.log_event("STORE", user_id="ann")
            rules = {"retention": "0.001s", "max_archive_bytes": 1}
            with AuditLogger(auto_export_path=sys.argv[1], max_events=3, **rules) as audit:
                asyncio.run(work(audit))
                with warnings.catch_warnings(record=True) as told:
                    warnings.simplefilter("always")
                    assert len(audit.query_events(archived=True)) >= 1
                assert [w.category for w in told] == [ArchiveIncompleteWarning]
                print(audit.get_statistics()["failures"])
            """,
            place,
            SERVICE,
            loaded=True,
        )
        assert said == "{}\n"


@needs_links
class TestLinks:
    """The owner of the directory puts links into it."""

    @pytest.mark.parametrize(
        "name",
        [
            *(".hold.lock", "hold.manifest", "hold.journal", "hold.checkpoints"),
            *("default.shipped", "legal.hold", ".keyring"),
        ],
    )
    def test_are_not_followed(
        self, cli: Cli, make_audit: Make, tmp_path: Path, http: Receiver, name: str
    ) -> None:
        """No command changes the target of such a link."""
        archive = tmp_path / "archive"
        with make_audit(auto_export_path=archive) as audit, pytest.raises(StopIteration):
            audit.log_event("STORE").send(None)
        precious = tmp_path / "precious"
        precious.write_text("# not a line of ours")
        (archive / name).unlink(missing_ok=True)
        (archive / name).symlink_to(precious)
        cli("hold", archive, "--reason", "Doe v. Acme", code=None)
        cli("replay", archive, "--endpoint", http.url, code=None)
        assert precious.read_text() == "# not a line of ours"

    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "FIFO"])
    def test_nothing_but_files(self, tmp_path: Path, make: object) -> None:
        """A FIFO that nobody reads does not let us wait."""
        assert callable(make)
        make(tmp_path / "x")
        with pytest.raises(OSError, match="x"):
            open_owned(tmp_path / "x", os.O_WRONLY | os.O_CREAT)


@needs_root
def test_second_names_are_left_alone(tmp_path: Path) -> None:
    """A file that has another name as well may be somebody else's."""
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, SERVICE, SERVICE)
    (tmp_path / "roots").touch()
    os.link(tmp_path / "roots", place / "link")
    os.close(open_owned(place / "link", os.O_RDONLY))
    assert (tmp_path / "roots").stat().st_uid == 0


class TestStrangers:
    """Files that belong neither to the directory's owner, nor to root, nor to us."""

    @staticmethod
    def _make(place: Path, owner: int) -> Path:
        path = place / "x"
        path.write_text("text")
        os.chown(path, owner, owner)
        return path

    @needs_root
    @pytest.mark.parametrize("mode", [0o700, 0o770, 0o1777], ids=oct)
    def test_reading(self, place: Path, caplog: pytest.LogCaptureFixture, mode: int) -> None:
        """They are read, and the log says so once a directory."""
        place.chmod(mode)
        path = self._make(place, 4242)
        for _ in range(2):
            open_regular(path).close()
        assert [record.message for record in caplog.records] == [
            f"{str(path)!r}: it belongs to another user (uid 4242) than its directory"
        ]

    @needs_root
    def test_writing(self, place: Path) -> None:
        """They are written to, except where every user can make files."""
        path = self._make(place, 4242)
        os.close(open_owned(path, os.O_RDWR))
        place.chmod(0o1777)
        with pytest.raises(PermissionError, match="belongs to another user"):
            open_owned(path, os.O_RDWR)

    @needs_root
    def test_those_of_the_directory(self, place: Path, caplog: pytest.LogCaptureFixture) -> None:
        """The owner's files, and root's, are no stranger's."""
        place.chmod(0o1777)
        for owner in (SERVICE, 0):
            os.close(open_owned(self._make(place, owner), os.O_RDWR))
        assert caplog.records == []


@needs_links
class TestNamed:
    """Who names a file to a command may name a link to it, or a pipe."""

    @pytest.fixture(name="archive")
    def _archive(self, make_audit: Make, tmp_path: Path) -> Path:
        with (
            make_audit(
                auto_export_path=tmp_path / "archive",
                signing_key=KEY,
                checkpoint_to=tmp_path / "notes",
            ) as audit,
            pytest.raises(StopIteration),
        ):
            audit.log_event("STORE").send(None)
        return tmp_path / "archive"

    def test_events(self, cli: Cli, archive: Path, tmp_path: Path) -> None:
        """A sealed file, its directory."""
        (file,) = archive.glob("audit_*.json")
        for name, target in (("file.json", file), ("directory", archive)):
            link = tmp_path / name
            link.symlink_to(target)
            for command in ("query", "stats", "tail", "verify"):
                cli(command, link)

    def test_keys_and_notes(self, cli: Cli, archive: Path, tmp_path: Path) -> None:
        """A public key, checkpoints."""
        (tmp_path / "public").write_text(f"{KEY.verifying}\n")
        for name in ("public", "notes"):
            (tmp_path / f"{name}.link").symlink_to(name)
        words = ["--key", tmp_path / "public.link", "--checkpoint", tmp_path / "notes.link"]
        assert "proved up to event" in cli("verify", archive, *words).stdout

    def test_key_in_a_pipe(self, archive: Path) -> None:
        """A signing key that comes out of a pipe."""
        reading, writing = os.pipe()
        os.write(writing, f"{KEY.line()}\n".encode())
        os.close(writing)
        assert read_key(Path(f"/dev/fd/{reading}")) == f"{KEY.line()}\n".encode()
        os.close(reading)


def test_large_content(tmp_path: Path) -> None:
    """A file that is larger than it can be is not read."""
    (tmp_path / "x").write_bytes(b"")
    os.truncate(tmp_path / "x", 1 << 40)
    with pytest.raises(OSError, match="too large: more than 1 MiB"):
        content_of(tmp_path / "x", 1 << 20)
    with pytest.raises(OSError, match="too large: more than 1 MiB"):
        read_key(tmp_path / "x")
