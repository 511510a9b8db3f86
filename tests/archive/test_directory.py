"""All readers of an archive agree on a sealed file, whatever was done to it."""

from __future__ import annotations

import gzip
import json
import shutil
import sys
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from conftest import Cli, Make, sealed_files
from prometheus_client import CollectorRegistry
from receiver import Receiver

from axon_audit_otel import ArchiveError, AuditLogger, Rule, SecurityMonitor, verify
from axon_audit_otel.archive import zstd
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.archive.directory import newest_number, writers_in
from axon_audit_otel.archive.follow import Follower
from axon_audit_otel.archive.intents import Intents
from axon_audit_otel.archive.manifest import Manifest
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.replay import replay
from axon_audit_otel.verification.inclusion_proof import prove

pytestmark = pytest.mark.usefixtures("without_start_record")

EACH = 4  # events in a sealed file: three of these; one more event is in the journal
ALL = list(range(1, 3 * EACH + 2))
SECOND = frozenset(range(EACH + 1, 2 * EACH + 1))
NONE: frozenset[int] = frozenset()
INSERTED = frozenset({"inserted"})
OTHER = "audit_2025_01_01_000000.json"

Damage = Callable[[Path], object]


class Case(NamedTuple):
    """A change to the second sealed file, and its consequences.

    Attributes:
        damage: Does it.
        lost: Numbers of the events that nobody can read any more.
        kinds: The findings of `verify`.
        proves: Up to which event those that are not lost can be proved.
        more: Lines that are no events of the trail.
    """

    damage: Damage
    lost: frozenset[int] = frozenset()
    kinds: frozenset[str] = frozenset()
    proves: int = 3 * EACH
    more: int = 0


def _compress(path: Path) -> None:
    if not zstd.available():
        pytest.skip("no module for Zstandard")
    with path.open("rb") as source, path.with_name(f"{path.name}.zst").open("wb") as file:
        zstd.compress(source, file)
    path.unlink()


def _gzip(path: Path) -> None:
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(path.read_bytes())
    path.unlink()


def _cut(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:20])


def _swap(path: Path) -> None:
    first = sealed_files(path.parent)[0]
    first.rename(path.with_name("aside"))
    path.rename(first)
    path.with_name("aside").rename(path)


def _swap_compressed(path: Path) -> None:
    first = sealed_files(path.parent)[0]
    _swap(path)
    _compress(first)


def _compress_beside_a_copy(path: Path) -> None:
    shutil.copy(path, path.with_name("audit_2999_01_01_000000.json"))
    _compress(path)


def _add_after_the_end(path: Path) -> None:
    *_, last, _ = path.read_bytes().splitlines(keepends=True)
    with path.open("ab") as file:
        file.write(last.replace(b'"u8"', b'"u9"'))


def _add_with_another_end(path: Path) -> None:
    closing = path.read_bytes().splitlines(keepends=True)[-1]
    _add_after_the_end(path)
    with path.open("ab") as file:
        file.write(closing)


def _add_and_compress(path: Path) -> None:
    _add_after_the_end(path)
    _compress(path)


def _unlist(path: Path) -> None:
    """Take the line of the file out of the manifest."""
    manifest = path.with_name("default.manifest")
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(line for line in lines if path.name.encode() not in line))


CASES = {
    "nothing": Case(lambda path: None),
    "renamed": Case(lambda path: path.rename(path.with_name(OTHER)), NONE, frozenset({"unlisted"})),
    "copied beside": Case(
        lambda path: shutil.copy(path, path.with_name(OTHER)), NONE, frozenset({"unlisted"})
    ),
    "names exchanged": Case(_swap, NONE, frozenset({"reordered"})),
    "names exchanged, one compressed": Case(_swap_compressed, NONE, frozenset({"reordered"})),
    "compressed by hand": Case(_compress),
    "compressed, a copy beside": Case(_compress_beside_a_copy, NONE, frozenset({"unlisted"})),
    "gzip": Case(_gzip, SECOND, frozenset({"removed"})),
    "cut": Case(_cut, SECOND - {EACH + 1, EACH + 2}, frozenset({"truncated"})),
    "gone": Case(Path.unlink, SECOND, frozenset({"removed"})),
    "another's copy": Case(
        lambda path: shutil.copy(sealed_files(path.parent)[2], path), SECOND, frozenset({"removed"})
    ),
    "its line lost": Case(_unlist, NONE, frozenset({"removed", "truncated", "unlisted"}), EACH),
    "a foreign file beside": Case(
        lambda path: path.with_name("audit_report.json").write_text("{}"),
        NONE,
        frozenset({"unlisted"}),
    ),
    "an event after its end": Case(_add_after_the_end, NONE, INSERTED, more=1),
    "an event and an end after its end": Case(_add_with_another_end, NONE, INSERTED, more=2),
    "an event after its end, compressed": Case(_add_and_compress, NONE, INSERTED, more=1),
}


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    """An archive with a journal that was left behind, and the ids of its events."""
    directory = tmp_path_factory.mktemp("archive") / "trail"
    audit = AuditLogger(
        auto_export_path=directory,
        max_events=EACH,
        registry=CollectorRegistry(),
        signing_key=new_key("auditor"),
    )
    for number in ALL:
        with pytest.raises(StopIteration):
            audit.log_event("EXPORT", user_id=f"u{number}").send(None)
    ids = {event.sequence: event.event_id for event in audit.query_events(archived=True)}
    copy = tmp_path_factory.mktemp("copy") / "trail"
    shutil.copytree(directory, copy)
    audit.close()
    return copy, ids


@pytest.fixture(name="case", params=CASES)
def _case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(name="archive")
def _archive(made: tuple[Path, dict[int, str]], case: Case, tmp_path: Path) -> Path:
    archive = Path(shutil.copytree(made[0], tmp_path / "trail"))
    case.damage(sealed_files(archive)[1])
    return archive


@pytest.mark.skipif(sys.platform == "win32", reason="renames open files")
class TestSealedFile:
    """One of several, of which something became."""

    def test_commands(self, cli: Cli, archive: Path, case: Case, tmp_path: Path) -> None:
        """Each event is there once, and the exit code says whether some are not."""
        left = [number for number in ALL if number not in case.lost]
        code = int(bool(case.lost or case.more))
        query = cli("query", archive, "--json", code=code)
        assert [json.loads(line)["sequence"] for line in query.stdout.splitlines()] == left[::-1]
        tail = cli("tail", archive, "-n", 99, "--json", code=code)
        assert [json.loads(line)["sequence"] for line in tail.stdout.splitlines()] == left
        stats = cli("stats", archive, "--json", code=code)
        assert json.loads(stats.stdout)["total_operations"] == len(left)
        cli("export", archive, tmp_path / "out.jsonl", code=code)
        lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
        assert [json.loads(line)["sequence"] for line in lines] == left

    def test_follower(self, archive: Path, case: Case) -> None:
        """Each event comes once, and it is told if some do not."""
        follower, missing = Follower(archive), Missing()
        found = sorted(event.sequence for event in follower.poll(missing))
        assert found == [number for number in ALL if number not in case.lost]
        assert bool(missing) == bool(case.lost or case.more)
        assert list(follower.poll(Missing())) == []
        follower.close()

    def test_replay(self, archive: Path, case: Case, http: Receiver) -> None:
        """Each event is sent once; the others are counted."""
        done = replay(archive, Endpoint.resolve(http.url), {})
        assert sorted(http.numbers) == [number for number in ALL if number not in case.lost]
        assert done.sent == len(http.numbers)
        assert done.missing == len(case.lost)
        assert done.unreadable == case.more

    def test_verify(self, archive: Path, case: Case) -> None:
        """It names what was done, and nothing else."""
        found = {finding.kind for finding in verify(archive).findings}
        assert found == case.kinds

    def test_prove(self, archive: Path, case: Case, made: tuple[Path, dict[int, str]]) -> None:
        """An event in a listed and whole file can be proved."""
        for number, event_id in made[1].items():
            if number > case.proves or (case.lost and number in SECOND):
                with pytest.raises(ArchiveError):
                    prove(archive, event_id)
            else:
                assert event_id in prove(archive, event_id)["event"]

    def test_outcomes(self, archive: Path, case: Case, made: tuple[Path, dict[int, str]]) -> None:
        """An operation is unfinished only where its event cannot be read, or is not listed."""
        intents = Intents(archive / "default", sync=False)
        for number in range(1, 3 * EACH + 1):
            intent = {"event_id": made[1][number], "time": "2025-01-15T10:30:45.000000Z"}
            intents.record_intent(intent["event_id"], json.dumps(intent).encode())
        seals = Manifest(archive / "default.manifest").seals.values()
        left = {intent["event_id"] for intent in intents.unfinished(reversed(seals))}
        lost = case.lost or (SECOND if case.proves == EACH else NONE)
        assert left == {made[1][number] for number in lost}
        intents.close()

    def test_monitor(self, make_audit: Make, archive: Path, case: Case) -> None:
        """It counts what can be read before it begins, each event once."""
        audit = make_audit(name="other", auto_export_path=archive)
        count = len(ALL) - len(case.lost)
        exact = Rule("exact", over=count - 1, window="1h", operations="EXPORT")
        more = Rule("more", over=count, window="1h", operations="EXPORT")
        with SecurityMonitor(audit, [exact, more], lambda alert: None) as monitor:
            assert [alert.rule for alert in monitor.active] == [exact]


class TestNames:
    """The writers of a directory, and their newest events."""

    def test_newest_number(self, made: tuple[Path, dict[int, str]], tmp_path: Path) -> None:
        """The number is that of the journal's last whole line; without a journal, of what is
        listed."""
        archive = Path(shutil.copytree(made[0], tmp_path / "trail"))
        journal = archive / "default.journal"
        with journal.open("ab") as file:
            file.write(b',{"event_id":"evt_')
        assert newest_number(archive, "default") == ALL[-1]
        journal.unlink()
        assert newest_number(archive, "default") == 3 * EACH
        assert newest_number(archive, "nobody") == 0

    def test_writers(self, made: tuple[Path, dict[int, str]], tmp_path: Path) -> None:
        """By their manifests and journals; nowhere, there are none."""
        archive = Path(shutil.copytree(made[0], tmp_path / "trail"))
        (archive / "new.journal").touch()
        (archive / "third.manifest").mkdir()
        assert writers_in(archive) == ["default", "new", "third"]
        assert writers_in(archive / "nowhere") == []

    @pytest.mark.parametrize("name", ["", "..", "a/b", "a\0b", "x" * 300])
    def test_no_name(
        self, made: tuple[Path, dict[int, str]], cli: Cli, http: Receiver, tmp_path: Path, name: str
    ) -> None:
        """A file whose last line names no writer that there can be is read like any other."""
        archive = tmp_path / "trail"
        archive.mkdir()
        lines = sealed_files(made[0])[1].read_bytes().splitlines(keepends=True)
        lines[-1] = lines[-1].replace(b'"default"', json.dumps(name).encode())
        (archive / OTHER).write_bytes(b"".join(lines))
        assert len(cli("query", archive, "--json").stdout.splitlines()) == EACH
        with closing(Follower(archive)) as follower:
            assert len(list(follower.poll(Missing()))) == EACH
        with suppress(ArchiveError):  # or there is nothing to send
            replay(archive, Endpoint.resolve(http.url), {})
