"""A second verifier, in Go, written from the description of the format: it and `verify` agree on
archives of every kind, and on what was done to them."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import forgery
import go_programs
import mutations
import pytest
from by_definition import by_definition
from conftest import Cli, Run, until
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import ArchiveError, AuditLogger, VerifyReport, verify

pytestmark = [pytest.mark.component, pytest.mark.usefixtures("without_start_record")]  # Go

EVENTS, PER_FILE = 33, 5
#: Of a writer, what both say.
NAMES = ("writer", "id", "events", "first", "last", "proved")


class Key(NamedTuple):
    """A key that signs: its private line and its public one."""

    private: str
    public: str


class Verifiers(NamedTuple):
    """Ours, and the program that was built from `SOURCES`."""

    second: Path

    def agree(self, archive: Path, key: Key | None) -> tuple[bool, list[dict[str, Any]]]:
        """What both say: whether nothing is wrong; what the second says of each writer."""
        lines = [] if key is None else [key.public]
        done = subprocess.run([self.second, archive, *lines], capture_output=True, check=False)
        assert done.returncode in (0, 1), done.stderr
        other = json.loads(done.stdout)
        try:
            ours: VerifyReport | None = verify(archive, lines)
        except ArchiveError:
            ours = None  # there is none
        ok = ours is not None and ours.ok
        assert ok == other["ok"], (ours and ours.findings, other["problems"])
        assert ok == (done.returncode == 0)
        writers: list[dict[str, Any]] = other["writers"]
        if ours is not None and ours.ok:
            for of, said in zip(ours.writers, writers, strict=True):
                numbers = (of.events, of.first_sequence, of.last_sequence, of.proved_until)
                told = (of.writer, of.id or "", *(number or 0 for number in numbers))
                assert told == tuple(said[name] for name in NAMES)
        return ok, writers


@pytest.fixture(name="verifiers", scope="session")
def _verifiers() -> Verifiers:
    """Both."""
    return Verifiers(go_programs.second_verifier())


@pytest.fixture(name="key", scope="module")
def _key(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Key:
    file = tmp_path_factory.mktemp("key") / "auditor.key"
    public = cli("keygen", "auditor", "--output", file).stdout.strip()
    return Key(file.read_text().strip(), public)


# --- archives of every kind --------------------------------------------------------------------


class Workshop:
    """Makes archives.

    Args:
        key: Signs their checkpoints.
        run_script: Runs a script in a process of its own.
    """

    def __init__(self, key: Key, run_script: Run) -> None:
        self.key = key
        self.run_script = run_script

    def logger(self, archive: Path, **settings: Any) -> AuditLogger:
        provider = LoggerProvider(shutdown_on_exit=False)
        given = {"name": "default", "registry": CollectorRegistry(), **settings}
        return AuditLogger(PER_FILE, archive, logger_provider=provider, **given)

    async def ended(self, archive: Path, **settings: Any) -> None:
        """One whose writer has closed it."""
        await self._at_rest(archive, EVENTS, settings)

    async def at_work(self, archive: Path, count: int = EVENTS, **settings: Any) -> None:
        """A copy, made while its writer was still at work."""
        original = archive.with_name(f"{archive.name}-at-work")
        await self._at_rest(original, count, settings, archive)

    async def _at_rest(
        self, archive: Path, count: int, settings: dict[str, Any], copy: Path | None = None
    ) -> None:
        """One whose writer has done, too, what is due some time after the newest event."""
        audit = self.logger(archive, **settings)
        await record(audit, count)
        if "max_archive_bytes" in settings:
            manifest = archive / "default.manifest"
            await until(lambda: b'"delete"' in manifest.read_bytes())
        if "checkpoint_interval" in settings:
            note = archive / "default.checkpoint"
            await until(lambda: note.is_file() and f"\nevents {count} " in note.read_text())
        if copy is not None:
            await copy_of_growing(archive, copy)
        audit.close()

    async def gap(self, archive: Path, **settings: Any) -> None:
        """Events 11 to 15 were lost when the journal was cut off, and a later one tells so."""
        audit = self.logger(archive, enable_rotation=False, **settings)
        await record(audit, 10)
        audit.seal()
        await record(audit, 10)
        os.truncate(archive / "default.journal", 0)
        await record(audit, 1)  # finds that out
        audit.seal()
        await record(audit, 10)
        audit.close()

    async def two_writers(self, archive: Path, **settings: Any) -> None:
        for name, count in (("first", 12), ("second", 9)):
            audit = self.logger(archive, name=name, **settings)
            await record(audit, count)
            audit.close()

    async def forked(self, archive: Path, **settings: Any) -> None:
        """Children of a pre-fork server; one of them was killed."""
        self.run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(4, sys.argv[1], name="server", signing_key=sys.argv[2] or None)
            asyncio.run(audit.log_event("STORE"))
            for number in range(3):
                child = os.fork()
                if child == 0:
                    for _ in range(10):
                        asyncio.run(audit.log_event("STORE", user_id=str(number)))
                    if number:
                        audit.close()
                    os._exit(0)
                os.waitpid(child, 0)
            audit.close()
            """,
            archive,
            settings.get("signing_key", ""),
        )

    async def unclean_end(self, archive: Path, **settings: Any) -> None:
        """Its writer was killed in the middle of a line."""
        self.run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(5, sys.argv[1], name="default", signing_key=sys.argv[2] or None)
            for _ in range(33):
                asyncio.run(audit.log_event("STORE"))
            os._exit(0)
            """,
            archive,
            settings.get("signing_key", ""),
        )
        with (archive / "default.journal").open("ab") as journal:
            journal.write(b',{"event_id":"evt_')

    async def recovered(self, archive: Path, **settings: Any) -> None:
        """The same after the next start."""
        await self.unclean_end(archive, **settings)
        self.logger(archive, **settings).close()


async def copy_of_growing(archive: Path, copy: Path) -> None:
    """Copy an archive as it is at one moment, though its writer looks after it meanwhile."""
    readings: list[dict[str, bytes]] = [{}, {}]

    def is_still() -> bool:
        with contextlib.suppress(FileNotFoundError):  # a file went while they were read
            readings[:] = [readings[1], content_of(archive)]
            return readings[0] == readings[1]
        return False

    await until(is_still)
    put(copy, readings[1])


def content_of(archive: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in archive.iterdir() if file.is_file()}


def put(archive: Path, files: dict[str, bytes]) -> None:
    archive.mkdir()
    for name, content in files.items():
        (archive / name).write_bytes(content)


async def record(audit: AuditLogger, count: int = EVENTS) -> None:
    for number in range(count):
        await audit.log_event("STORE", ("alice", "bob")[number % 2], entry_ids=[f"entry-{number}"])


class Kind(NamedTuple):
    """How an archive is made, and whether it is signed."""

    make: Callable[..., Any]
    signed: bool = False
    settings: dict[str, Any] = {}  # noqa: RUF012 - not changed


OFTEN = {"checkpoint_interval": 1e-9}
KINDS = {
    "plain": Kind(Workshop.ended),
    "at-work": Kind(Workshop.at_work),
    "signed": Kind(Workshop.ended, True),
    "signed-at-work": Kind(Workshop.at_work, True),
    "signed-often": Kind(Workshop.at_work, True, OFTEN),
    "compressed": Kind(Workshop.ended, True, {"compress": True}),
    "retention": Kind(Workshop.ended, False, {"max_archive_bytes": 4_000}),
    "signed-retention": Kind(Workshop.ended, True, {"max_archive_bytes": 4_000}),
    "retention-often": Kind(Workshop.at_work, True, {"max_archive_bytes": 4_000, **OFTEN}),
    "erasable": Kind(Workshop.ended, False, {"erasable": True}),
    "pseudonymized": Kind(Workshop.at_work, True, {"pseudonymize": bytes(32)}),
    "two-writers": Kind(Workshop.two_writers, True),
    "forked": Kind(Workshop.forked, True),
    "unclean-end": Kind(Workshop.unclean_end),
    "recovered": Kind(Workshop.recovered, True),
    "gap": Kind(Workshop.gap),
    "signed-gap": Kind(Workshop.gap, True),
    "started": Kind(Workshop.at_work, False, {"count": 3}),
    "started-often": Kind(Workshop.at_work, True, {"count": 3, **OFTEN}),
}


class Shelf:
    """Archives of each kind, made once."""

    def __init__(self, place: Path, workshop: Workshop) -> None:
        self._place = place
        self._workshop = workshop

    async def get(self, name: str) -> Path:
        """The archive of that kind; not to be changed."""
        archive = self._place / name / "archive"
        if not archive.exists():
            archive.parent.mkdir()
            kind = KINDS[name]
            signing = {"signing_key": self._workshop.key.private} if kind.signed else {}
            await kind.make(self._workshop, archive, **signing, **kind.settings)
        return archive


@pytest.fixture(name="shelves", scope="module")
def _shelves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("archives")


@pytest.fixture(name="shelf")
def _shelf(shelves: Path, key: Key, run_script: Run) -> Shelf:
    return Shelf(shelves, Workshop(key, run_script))


class TestKinds:
    @pytest.mark.parametrize("name", KINDS)
    async def test_nothing_changed(
        self, name: str, shelf: Shelf, verifiers: Verifiers, key: Key
    ) -> None:
        """Both find nothing, and say the same of every writer; what the second says of head and
        root is so."""
        archive = await shelf.get(name)
        for asked in (None, key) if KINDS[name].signed else (None,):
            ok, writers = verifiers.agree(archive, asked)
            assert ok
            assert writers
            for writer in writers:
                assert (writer["head"], writer["root"]) == newest(archive, writer["writer"])
        if KINDS[name].signed:
            assert any(writer["proved"] for writer in writers)

    def test_nothing_there(self, tmp_path: Path, verifiers: Verifiers) -> None:
        """An archive that is empty is not one that was verified."""
        assert verifiers.agree(tmp_path, None) == (False, [])

    async def test_unsigned_with_a_key(self, shelf: Shelf, verifiers: Verifiers, key: Key) -> None:
        """Where a key is asked for, something must be signed."""
        archive = await shelf.get("plain")
        ok, _ = verifiers.agree(archive, key)
        assert not ok


def newest(archive: Path, writer: str) -> tuple[str, str]:
    """The hash of a writer's newest event, and the root over its manifest's lines."""
    manifest, journal = archive / f"{writer}.manifest", archive / f"{writer}.journal"
    lines = manifest.read_bytes().splitlines() if manifest.is_file() else []
    seals = [record for line in lines if "head" in (record := json.loads(line))]
    head = seals[-1]["head"] if seals else ""
    whole = journal.read_bytes().rpartition(b"\n")[0] if journal.is_file() else b""
    events = whole.splitlines()[1:]
    if events:
        head = hashlib.sha256(b"\0" + events[-1][1:]).hexdigest()
    return head, by_definition(lines).hex()


# --- damage ------------------------------------------------------------------------------------


class TestMutations:
    @pytest.mark.parametrize(
        ("seed", "count"), [(1, 60), pytest.param(2, 500, marks=pytest.mark.slow)]
    )
    async def test_drawn_by_chance(
        self,
        seed: int,
        count: int,
        shelf: Shelf,
        verifiers: Verifiers,
        key: Key,
        tmp_path: Path,
    ) -> None:
        """Both find something wrong, or neither does; then they say the same of every writer."""
        chance = random.Random(seed)
        found = done = 0
        while done < count:
            name = chance.choice(list(KINDS))
            archive = tmp_path / "archive"
            shutil.copytree(await shelf.get(name), archive)
            mutation = chance.choice(mutations.MUTATIONS)
            with contextlib.suppress(mutations.NotHereError):
                words = mutation(archive, chance)
                asked = key if KINDS[name].signed and chance.random() < 0.8 else None
                try:
                    ok, _ = verifiers.agree(archive, asked)
                except AssertionError as exc:
                    raise AssertionError(f"{name}, {asked and 'with a key'}: {words}") from exc
                done += 1
                found += not ok
            shutil.rmtree(archive)
        assert count / 2 < found < count  # some damage nobody can know


class TestFound:
    """What one of the two once did not find."""

    @pytest.fixture(name="damaged")
    async def _damaged(self, shelf: Shelf, tmp_path: Path) -> Callable[[str], Any]:
        async def copy(name: str) -> Path:
            """A copy of an archive; its manifest."""
            archive = await shelf.get(name)
            return Path(shutil.copytree(archive, tmp_path / name), "default.manifest")

        return copy

    async def test_an_old_event_in_a_new_file(
        self, damaged: Callable[[str], Any], verifiers: Verifiers, key: Key
    ) -> None:
        """A file as of a writer that was killed before it could list it, with events that are
        in other files."""
        manifest = await damaged("signed")
        forgery.plant(manifest, "audit_2030_01_01_000000.json", 3)
        forgery.kill(manifest)
        assert not verifiers.agree(manifest.parent, key)[0]

    async def test_a_file_in_place_of_a_deleted_one(
        self, damaged: Callable[[str], Any], verifiers: Verifiers, key: Key
    ) -> None:
        """Retention deleted a file, and another has its name."""
        manifest = await damaged("signed-retention")
        deleted = [r["file"] for r in records_in(manifest) if r["kind"] == "delete"]
        forgery.plant(manifest, deleted[0], 3)
        assert not verifiers.agree(manifest.parent, key)[0]

    async def test_a_deletion_counted_twice(
        self, damaged: Callable[[str], Any], verifiers: Verifiers, key: Key
    ) -> None:
        """The journal is removed, and a new seal says that its events were in a file that
        retention deleted before, with a signature."""
        manifest = await damaged("retention-often")
        records = records_in(manifest)
        _, before = verifiers.agree(manifest.parent, key)
        deletion = next(record for record in records if record["kind"] == "delete")
        seals = [record for record in records if record["kind"] == "seal"]
        seal = next(record for record in seals if record["file"] == deletion["file"])
        first, last = seals[-1]["last_sequence"] + 1, before[0]["last"]
        assert before[0]["proved"] == last >= first
        numbers = {"first_sequence": first, "last_sequence": last, "events": last - first + 1}
        records.append({**seal, **numbers, "head": before[0]["head"]})
        forgery.write_manifest(manifest, records, reseal=False)
        manifest.with_suffix(".journal").unlink()
        assert not verifiers.agree(manifest.parent, key)[0]

    async def test_the_beginning_removed(
        self, damaged: Callable[[str], Any], verifiers: Verifiers
    ) -> None:
        """The oldest files are gone, with their seals and the manifest's first line, and the
        rest was made to fit."""
        manifest = await damaged("plain")
        forgery.begin_later(manifest, 4)
        assert not verifiers.agree(manifest.parent, None)[0]

    @pytest.mark.parametrize("end", [b"", b"x", b"}", b"\0"])
    async def test_the_last_newline(
        self, end: bytes, damaged: Callable[[str], Any], verifiers: Verifiers
    ) -> None:
        """A line without its newline was never finished, whatever stands in its place: the next
        start cuts it off."""
        manifest = await damaged("at-work")
        journal = manifest.with_suffix(".journal")
        journal.write_bytes(journal.read_bytes()[:-1] + end)
        ok, writers = verifiers.agree(manifest.parent, None)
        assert ok
        assert writers[0]["last"] == EVENTS - 1

    @pytest.mark.parametrize("name", ["default.manifest", "default.checkpoints", "audit_*"])
    async def test_a_link(
        self, name: str, damaged: Callable[[str], Any], verifiers: Verifiers, tmp_path: Path
    ) -> None:
        """A file that is a link is not read, wherever it leads."""
        archive = (await damaged("signed")).parent
        path = next(iter(sorted(archive.glob(name))))
        path.symlink_to(path.rename(tmp_path / "elsewhere"))
        assert not verifiers.agree(archive, None)[0]

    @pytest.mark.parametrize(
        "name", [".journal", ".x.manifest", "x\n.journal", "x" * 201 + ".journal"]
    )
    async def test_a_name_of_no_writer(
        self, name: str, damaged: Callable[[str], Any], verifiers: Verifiers
    ) -> None:
        """Other files are left alone, whatever is in them."""
        archive = (await damaged("plain")).parent
        (archive / name).write_bytes((archive / "default.manifest").read_bytes())
        assert verifiers.agree(archive, None)[0]

    @pytest.mark.parametrize(
        ("content", "sound"),
        [(b"\0" * 4096, True), (b"\n", True), (b"x" * 99 + b"\n", False), (b"x\ny\n", False)],
    )
    async def test_a_journal_that_has_not_begun(
        self, content: bytes, sound: bool, damaged: Callable[[str], Any], verifiers: Verifiers
    ) -> None:
        """Without a first line (after a loss of power, it may be zeros) it has no events."""
        archive = (await damaged("plain")).parent
        (archive / "another.journal").write_bytes(content)
        assert verifiers.agree(archive, None)[0] is sound

    @pytest.mark.parametrize(
        ("name", "value"),
        [("id", ""), ("id", "x"), ("id", "A" * 16), ("created_at", ""), ("sealed_at", "")],
    )
    async def test_a_text_in_a_manifest(
        self, name: str, value: str, damaged: Callable[[str], Any], verifiers: Verifiers
    ) -> None:
        """A trail has an id of 16 digits, and a line of a manifest no empty text."""
        manifest = await damaged("plain")
        records = records_in(manifest)
        next(record for record in records if name in record)[name] = value
        forgery.write_manifest(manifest, records)
        assert not verifiers.agree(manifest.parent, None)[0]

    async def test_a_manifest_that_is_a_directory(
        self, damaged: Callable[[str], Any], verifiers: Verifiers
    ) -> None:
        archive = (await damaged("plain")).parent
        (archive / "another.manifest").mkdir()
        assert not verifiers.agree(archive, None)[0]

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("duration_ms", True),
            ("operation", "store"),
            ("timestamp", "0000-01-01T00:00:00.000000Z"),
            ("metadata", {"digits": 10**4299}),
        ],
    )
    async def test_a_value_of_an_event(
        self, field: str, value: Any, damaged: Callable[[str], Any], verifiers: Verifiers
    ) -> None:
        """It is none of an event, though all hashes fit; but a long integer is one."""
        archive = (await damaged("at-work")).parent

        def change(event: dict[str, Any]) -> None:
            if event["sequence"] == EVENTS:
                event[field] = value

        forgery.rewrite(archive, change)
        assert verifiers.agree(archive, None)[0] is (field == "metadata")

    async def test_a_wrong_number_after_a_gap(
        self, damaged: Callable[[str], Any], verifiers: Verifiers
    ) -> None:
        """The event after those that are lost continues one of them, not the one before."""
        archive = (await damaged("gap")).parent
        assert verifiers.agree(archive, None)[0]
        (archive / "default.journal").write_bytes(forgery.FIRST_LINE)
        forgery.rewrite(archive, lambda event: None)
        assert not verifiers.agree(archive, None)[0]

    async def test_a_file_that_is_being_sealed(self, verifiers: Verifiers, tmp_path: Path) -> None:
        """It has two names for a moment, and counts once, also where a clock was set back."""
        vector = Path(__file__).parents[1] / "vectors" / "started" / "archive"
        archive = Path(shutil.copytree(vector, tmp_path / "archive"))
        os.link(archive / "audit_2025_01_15_090003.json", archive / "default.journal")
        assert verifiers.agree(archive, None)[0]


def records_in(manifest: Path) -> list[dict[str, Any]]:
    """What the lines of a manifest say."""
    return [json.loads(line) for line in manifest.read_bytes().splitlines()]
