"""Verification: every damage is found and named; what is no damage is not; what is not proved
is said."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from amounts import slow
from by_definition import by_definition
from conftest import Cli, Make, Run
from every_way import verify
from forgery import rewrite
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import (
    ArchiveError,
    AuditConfigError,
    AuditEvent,
    AuditLogger,
    InvalidEventError,
    VerifyReport,
)
from axon_audit_otel import verify as verify_once
from axon_audit_otel.archive import zstd
from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey, new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
EVENTS, PER_FILE = 200, 30
SEALED = EVENTS // PER_FILE * PER_FILE  # number of the newest sealed event
MANIFEST, JOURNAL = "default.manifest", "default.journal"
NOTES = ("default.checkpoint", "default.checkpoints")


class Archive(NamedTuple):
    """An archive as its writer left it: six sealed files, a journal, checkpoints."""

    path: Path
    outside: str  # the newest checkpoint, kept elsewhere

    @property
    def sealed(self) -> list[Path]:
        """The sealed files, oldest first."""
        return audit_files(self.path)


def build(directory: Path, **settings: Any) -> None:
    """An archive of `EVENTS` events, copied while its writer was still at work."""
    audit = AuditLogger(
        PER_FILE,
        directory.with_name("at-work"),
        registry=CollectorRegistry(),
        logger_provider=LoggerProvider(shutdown_on_exit=False),
        name="default",
        **settings,
    )

    async def work() -> None:
        for number in range(EVENTS):
            user = ("alice", "bob", "carol")[number % 3]
            await audit.log_event("STORE", user, entry_ids=[f"entry-{number}"])

    asyncio.run(work())
    shutil.copytree(directory.with_name("at-work"), directory)
    audit.close()


@pytest.fixture(name="signed", scope="module")
def _signed(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """An archive with signed checkpoints. Not to be changed."""
    directory = tmp_path_factory.mktemp("signed") / "archive"
    notes: list[str] = []
    build(directory, signing_key=KEY, checkpoint_to=notes.append)
    outside = next(note for note in reversed(notes) if f"\nevents {SEALED} " in note)
    return Archive(directory, outside)


@pytest.fixture(name="unsigned", scope="module")
def _unsigned(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """An archive without checkpoints. Not to be changed."""
    directory = tmp_path_factory.mktemp("unsigned") / "archive"
    build(directory)
    return Archive(directory, "")


@pytest.fixture(name="archive")
def _archive(signed: Archive, tmp_path: Path) -> Archive:
    """A copy of `signed`, to be damaged."""
    return copied(signed, tmp_path)


@pytest.fixture(name="bare")
def _bare(unsigned: Archive, tmp_path: Path) -> Archive:
    """A copy of `unsigned`, to be damaged."""
    return copied(unsigned, tmp_path)


def copied(archive: Archive, target: Path) -> Archive:
    shutil.copytree(archive.path, target / "archive")
    return archive._replace(path=target / "archive")


def numbers_in(file: Path) -> list[int]:
    """The numbers of the events on the lines of a file."""
    return [number for line in lines_of(file) if (number := number_on(line)) is not None]


def audit_files(directory: Path) -> list[Path]:
    """The sealed files, compressed or not, oldest first where they are not."""
    found = directory.glob("audit_*")
    return sorted(found, key=lambda file: numbers_in(file)[:1])


def number_on(line: bytes) -> int | None:
    """The number of the event on a line; None on the first and the last."""
    try:
        return int(json.loads(line[1:])["sequence"])
    except (ValueError, KeyError, TypeError):  # bytes of a compressed file may be any JSON
        return None


def lines_of(file: Path) -> list[bytes]:
    return file.read_bytes().splitlines(keepends=True)


def damage(report: VerifyReport) -> list[tuple[str, int | None, str]]:
    """The findings, without their explanations."""
    assert report.ok == (not report.findings)
    return [(found.file, found.sequence, found.kind) for found in report.findings]


def only(report: VerifyReport) -> tuple[str, int | None, str]:
    """The one damage that there is."""
    found = damage(report)
    assert len(found) == 1, report.findings
    return found[0]


def words(report: VerifyReport) -> str:
    return "\n".join(finding.explanation for finding in report.findings)


# --- without damage ---------------------------------------------------------------------------


class TestUntouched:
    """An archive that nobody touched."""

    def test_signed(self, signed: Archive) -> None:
        """No damage; counts, numbers and times of its one writer; proved up to the newest
        checkpoint, and no further."""
        report = verify(signed.path, [PUBLIC])
        assert damage(report) == []
        (writer,) = report.writers
        assert (writer.writer, writer.events, writer.files) == ("default", EVENTS, 6)
        assert (writer.first_sequence, writer.last_sequence) == (1, EVENTS)
        assert writer.unsealed_events == EVENTS - SEALED
        assert (writer.gaps, writer.unclean_ends, writer.torn_bytes) == ([], [], 0)
        assert writer.proved_until == SEALED
        assert report.keys == ["auditor"]
        events = [json.loads(line[1:]) for line in lines_of(signed.sealed[-1])[1:-1]]
        times = {event["sequence"]: event["timestamp"] for event in events}
        assert f"{writer.proved_until_time:%Y-%m-%dT%H:%M:%S.%fZ}" == times[SEALED]
        assert f"after event {SEALED} ({times[SEALED]}) could not be noticed" in writer.uncovered
        assert writer.first_time is not None
        assert writer.last_time is not None
        assert writer.first_time < writer.proved_until_time < writer.last_time  # type: ignore[operator]

    def test_without_a_key(self, signed: Archive) -> None:
        """Checkpoints beside the archive prove nothing where no key says who signed them; one
        that was kept elsewhere does."""
        assert verify(signed.path).writers[0].proved_until is None
        assert "could not be noticed" in verify(signed.path).writers[0].uncovered
        assert (
            verify(signed.path).writers[0].unchecked == verify(signed.path).writers[0].checkpoints
        )
        assert "not checked, as no key was given" in verify(signed.path).writers[0].uncovered
        assert verify(signed.path, [PUBLIC]).writers[0].unchecked == 0
        report = verify(signed.path, checkpoints=[signed.outside])
        assert damage(report) == []
        assert report.writers[0].proved_until == SEALED

    def test_without_checkpoints(self, unsigned: Archive) -> None:
        """Nothing is found, and it is said that nothing is proved."""
        report = verify(unsigned.path)
        assert damage(report) == []
        assert report.writers[0].proved_until is None
        assert report.writers[0].uncovered.startswith("no signed checkpoint")

    def test_one_key_of_several(self, signed: Archive) -> None:
        """After a change of keys all of them are given."""
        report = verify(signed.path, [new_key("older").verifying, KEY.verifying])
        assert damage(report) == []
        assert report.writers[0].proved_until == SEALED

    def test_progress(self, signed: Archive) -> None:
        """The steps of the progress add up to the size of the files."""
        steps: list[int] = []
        verify(signed.path, progress=steps.append)
        files = [*signed.sealed, signed.path / JOURNAL]
        assert sum(steps) == sum(file.stat().st_size for file in files)

    def test_as_json(self, signed: Archive) -> None:
        """The report as JSON types has everything, also what is computed."""
        found = json.loads(json.dumps(verify(signed.path, [PUBLIC]).to_dict()))
        assert found["ok"] is True
        assert found["writers"][0]["proved_until"] == SEALED
        assert "could not be noticed" in found["writers"][0]["uncovered"]

    @pytest.mark.slow
    def test_after_restarts(self, run_script: Run, tmp_path: Path) -> None:
        """A trail that was closed and gone on with is one trail."""
        for _ in range(3):
            run_script(
                """
                import asyncio, sys
                from axon_audit_otel import AuditLogger
                with AuditLogger(4, sys.argv[1], name="again", signing_key=sys.argv[2]) as audit:
                    for _ in range(6):
                        asyncio.run(audit.log_event("STORE"))
                """,
                tmp_path,
                KEY,
            )
        report = verify(tmp_path, [PUBLIC])
        assert damage(report) == []
        assert [writer.events for writer in report.writers] == [18]
        assert report.writers[0].proved_until == 18

    async def test_compressed(self, make_audit: Make, tmp_path: Path) -> None:
        """Compressed files are verified as what they hold."""
        audit = make_audit(5, tmp_path, compress=True, signing_key=KEY)
        for _ in range(23):
            await audit.log_event("STORE")
        audit.trail.tick()
        audit.close()
        assert {file.suffix for file in audit_files(tmp_path)} == {".zst"}
        steps: list[int] = []
        report = verify(tmp_path, [PUBLIC], progress=steps.append)
        assert damage(report) == []
        assert report.events == 23
        assert 0 < sum(steps) <= sum(file.stat().st_size for file in audit_files(tmp_path))


# --- single bytes -----------------------------------------------------------------------------


def flip(archive: Archive, chance: random.Random, left_out: Callable[[Path, int], bool]) -> None:
    """Flip a bit somewhere, verify, and put it right again."""
    files = [*archive.sealed, archive.path / JOURNAL, archive.path / MANIFEST]
    file = chance.choice(files)
    content = file.read_bytes()
    position = chance.randrange(len(content))
    if left_out(file, position):
        return
    changed = bytearray(content)
    changed[position] ^= 1 << chance.randrange(8)
    file.write_bytes(changed)
    try:
        found = damage(verify(archive.path))
    finally:
        file.write_bytes(content)
    number = number_on(lines_of(file)[content.count(b"\n", 0, position)])
    where = f"{file.name}, byte {position} of {len(content)}: {found}"
    assert found, where
    if number is not None:
        assert (file.name, number, "altered") in found, where
    elif file.name != MANIFEST:
        assert found[0][0] == file.name, where


def in_journals_last_line(file: Path, position: int) -> bool:
    """No event follows that one: only a later checkpoint speaks of it."""
    content = file.read_bytes()
    return file.name == JOURNAL and position > content.rindex(b"\n", 0, len(content) - 1)


def in_newest_sealing_time(file: Path, position: int) -> bool:
    """Of the newest line of the manifest, all but this can be compared with the file."""
    if file.name != MANIFEST:
        return False
    content = file.read_bytes()
    start = content.rindex(b'"sealed_at":"')
    return start <= position < content.index(b",", start)


class TestBytes:
    """One bit of one byte, anywhere."""

    @pytest.mark.parametrize(
        ("seed", "count"),
        [(1, 60), slow(2, 2_000)],
    )
    @pytest.mark.slow
    def test_with_checkpoints(self, archive: Archive, seed: int, count: int) -> None:
        """Each is found in sealed files, journal and manifest; a changed event is named by
        its own number."""
        chance = random.Random(seed)
        for _ in range(count):
            flip(archive, chance, in_journals_last_line)

    @pytest.mark.parametrize(
        ("seed", "count"),
        [(3, 60), slow(4, 2_000)],
    )
    @pytest.mark.slow
    def test_without(self, bare: Archive, seed: int, count: int) -> None:
        """Damage is found without checkpoints too; but nothing speaks of when the newest file was
        sealed."""
        chance = random.Random(seed)
        for _ in range(count):
            flip(
                bare,
                chance,
                lambda file, at: (
                    in_journals_last_line(file, at) or in_newest_sealing_time(file, at)
                ),
            )

    @pytest.mark.slow
    def test_every_byte_around_a_joint(self, bare: Archive) -> None:
        """Each byte of two neighbouring lines, one of them the last of the file, and of the
        manifest's newest line."""
        sealed, manifest = bare.sealed[-1], bare.path / MANIFEST
        for file, lines in ((sealed, 2), (manifest, 1)):
            content = file.read_bytes()
            start = len(b"".join(content.splitlines(keepends=True)[:-lines]))
            for position in range(start, len(content)):
                if in_newest_sealing_time(file, position):
                    continue
                changed = bytearray(content)
                changed[position] ^= 0x01
                file.write_bytes(changed)
                assert damage(verify(bare.path)), (file.name, position)
            file.write_bytes(content)

    def test_a_torn_last_line_is_no_damage(self, bare: Archive) -> None:
        """A line that its writer could not finish is counted, and whatever it holds."""
        journal = bare.path / JOURNAL
        content = journal.read_bytes()
        for torn in (b",", b',{"event_id":"evt_0', b"\xff" * 100, b'],"total_ev'):
            journal.write_bytes(content + torn)
            report = verify(bare.path)
            assert damage(report) == []
            assert report.writers[0].torn_bytes == len(torn)
            assert report.events == EVENTS

    def test_a_journal_just_begun(self, bare: Archive) -> None:
        """Killed within its very first line."""
        for begun in (b"", b'{"eve', b'{"events":[\n'):
            (bare.path / JOURNAL).write_bytes(begun)
            assert damage(verify(bare.path)) == []


# --- lines ------------------------------------------------------------------------------------


def removed(lines: list[bytes], index: int) -> None:
    del lines[index]


def swapped(lines: list[bytes], index: int) -> None:
    lines[index], lines[index + 1] = lines[index + 1], lines[index]


def repeated(lines: list[bytes], index: int) -> None:
    lines.insert(index, lines[index])


class TestLines:
    """Damage to whole events."""

    @pytest.mark.parametrize(
        ("change", "kind"),
        [(removed, "removed"), slow(swapped, "reordered"), slow(repeated, "inserted")],
    )
    @pytest.mark.slow
    def test_every_event(
        self, bare: Archive, change: Callable[[list[bytes], int], None], kind: str
    ) -> None:
        """Each event of each sealed file and of the journal removed, changed for the next one
        or repeated: the kind is right, the event is named, and nothing else is."""
        for file in [*bare.sealed, bare.path / JOURNAL]:
            content = file.read_bytes()
            original = lines_of(file)
            last = len(original) - (1 if file.name == JOURNAL else 2)
            for index in range(1, last + 1):
                if index == last and (change is swapped or file.name == JOURNAL):
                    continue  # the last of a journal: see TestTail
                number = number_on(original[index])
                assert number is not None
                lines = list(original)
                change(lines, index)
                file.write_bytes(b"".join(lines))
                name, sequence, found = only(verify(bare.path))
                assert (name, found) == (file.name, kind)
                assert sequence in ((number, number + 1) if change is swapped else (number,))
            file.write_bytes(content)

    def test_several_removed(self, bare: Archive) -> None:
        """One finding for each hole, which says how large it is."""
        file = bare.sealed[1]
        lines = lines_of(file)
        numbers = numbers_in(file)
        file.write_bytes(b"".join([*lines[:5], *lines[8:20], *lines[21:]]))
        report = verify(bare.path)
        assert damage(report) == [
            (file.name, numbers[4], "removed"),
            (file.name, numbers[19], "removed"),
        ]
        assert f"events {numbers[4]} to {numbers[6]} are missing" in words(report)
        assert f"event {numbers[19]} is missing" in words(report)

    def test_an_event_across_files(self, bare: Archive) -> None:
        """Moved from one file into another: one too many there, one missing here."""
        first, second = bare.sealed[:2]
        lines, others = lines_of(first), lines_of(second)
        moved = lines.pop(7)
        others.insert(4, moved)
        first.write_bytes(b"".join(lines))
        second.write_bytes(b"".join(others))
        number = number_on(moved)
        assert (first.name, number, "removed") in damage(verify(bare.path))
        assert (second.name, number, "inserted") in damage(verify(bare.path))

    def test_a_file_in_reverse(self, bare: Archive) -> None:
        """All lines in another order are no inserted or altered lines."""
        file = bare.sealed[2]
        first, *events, closing = lines_of(file)
        file.write_bytes(b"".join([first, *events[::-1], closing]))
        found = damage(verify(bare.path))
        assert {kind for _, _, kind in found} == {"reordered"}
        assert len(found) >= PER_FILE - 1

    @pytest.mark.parametrize("place", [1, 2, 15, PER_FILE])
    def test_a_forged_event(self, bare: Archive, place: int) -> None:
        """An event that continues the one before it, with a number that fits, is found
        whether the real one is still there or not."""
        file = bare.sealed[3]
        lines = lines_of(file)
        number = number_on(lines[place])
        forged = lines[place].replace(b'"STORE"', b'"FORGET"')
        for others in (lines[place:], lines[place + 1 :]):
            file.write_bytes(b"".join([*lines[:place], forged, *others]))
            found = damage(verify(bare.path))
            assert found
            assert all((name, at) == (file.name, number) for name, at, _ in found)
            assert {kind for *_, kind in found} <= {"inserted", "altered"}

    def test_two_events_altered(self, bare: Archive) -> None:
        """Neighbours are each named; so are those far apart."""
        file = bare.sealed[0]
        lines = lines_of(file)
        for index in (3, 4, 20):
            lines[index] = lines[index].replace(b"entry", b"Entry")
        file.write_bytes(b"".join(lines))
        assert damage(verify(bare.path)) == [
            (file.name, number, "altered") for number in (3, 4, 20)
        ]

    def test_many_altered(self, bare: Archive) -> None:
        """A whole file rewritten without its chain: every event of it."""
        file = bare.sealed[4]
        file.write_bytes(file.read_bytes().replace(b'"STORE"', b'"RECALL"'))
        found = damage(verify(bare.path))
        assert found == [(file.name, number, "altered") for number in numbers_in(file)]

    def test_a_previous_hash_altered(self, bare: Archive) -> None:
        """Where only the link was changed, the event before it is not accused."""
        file = bare.sealed[1]
        lines = lines_of(file)
        start = lines[9].rindex(b'"previous_hash":"') + 17
        lines[9] = lines[9][:start] + b"0" * 64 + lines[9][start + 64 :]
        file.write_bytes(b"".join(lines))
        report = verify(bare.path)
        assert only(report) == (file.name, number_on(lines[9]), "altered")
        assert "previous_hash" in words(report)

    def test_findings_are_limited(self, make_audit: Make, tmp_path: Path) -> None:
        """Of endless damage a thousand findings are kept, and the others counted."""
        audit = make_audit(1_500, tmp_path)

        async def work() -> None:
            for _ in range(1_500):
                await audit.log_event("STORE")

        asyncio.run(work())
        (file,) = tmp_path.glob("audit_*.json")
        file.write_bytes(file.read_bytes().replace(b'"STORE"', b'"RECALL"'))
        report = verify(tmp_path)
        assert (len(report.findings), report.left_out) == (1_000, 500)

    def test_damage_beside_bad_signatures(self, tmp_path: Path) -> None:
        """A thousand files with bad signatures, which anybody can make, hide no damage."""
        vector = Path(__file__).parents[1] / "vectors" / "signed"
        archive = Path(shutil.copytree(vector / "archive", tmp_path / "archive"))
        file = archive / "audit_2025_01_15_100003.json"
        file.write_bytes(file.read_bytes().replace(b'"bob"', b'"eve"', 1))
        text = (archive / "default.checkpoint").read_text().partition("\n\n")[0]
        for number in range(1_100):
            (archive / f"a{number}.checkpoint").write_text(f"{text}\n\n")
        report = verify(archive, [json.loads((vector / "expected.json").read_text())["key"]])
        assert report.verdict == "damage"
        assert any(found.kind == "altered" and found.file == file.name for found in report.findings)
        assert len(report.findings) == 1_000


# --- files ------------------------------------------------------------------------------------


class TestFiles:
    """Damage to whole files."""

    def test_renamed(self, archive: Archive) -> None:
        """A file under another name is found, recognised, and its events are still verified."""
        file = archive.sealed[2]
        file.rename(archive.path / "audit_2020_01_01_000000.json")
        report = verify(archive.path, [PUBLIC])
        assert only(report) == ("audit_2020_01_01_000000.json", None, "unlisted")
        assert file.name in words(report)
        assert report.events == EVENTS

    def test_names_exchanged(self, archive: Archive) -> None:
        """Two files under each other's name."""
        first, second = archive.sealed[1:3]
        aside = archive.path / "aside"
        first.rename(aside)
        second.rename(first)
        aside.rename(second)
        assert damage(verify(archive.path)) == [
            (first.name, None, "reordered"),
            (second.name, None, "reordered"),
        ]

    @pytest.mark.parametrize("index", [0, 3, 5])
    def test_removed(self, archive: Archive, index: int) -> None:
        """A missing file is named, with the first of its events; nothing else is blamed."""
        file = archive.sealed[index]
        number = numbers_in(file)[0]
        file.unlink()
        report = verify(archive.path)
        assert only(report) == (file.name, number, "removed")
        assert f"events {number} to {number + PER_FILE - 1}" in words(report)

    def test_copied(self, archive: Archive) -> None:
        """A file that is there twice."""
        shutil.copy(archive.sealed[0], archive.path / "audit_2020_01_01_000000.json")
        report = verify(archive.path)
        assert only(report) == ("audit_2020_01_01_000000.json", None, "unlisted")
        assert "copy" in words(report)

    def test_replaced_by_another(self, archive: Archive) -> None:
        """A copy of another file in the place of one."""
        first, second = archive.sealed[1:3]
        number = numbers_in(second)[0]
        shutil.copy(first, second)
        assert only(verify(archive.path)) == (second.name, number, "removed")

    def test_put_there(self, archive: Archive, make_audit: Make, tmp_path: Path) -> None:
        """An export among the sealed files is none of them."""
        stranger = archive.path / "audit_2020_01_01_000000.json"
        make_audit().export_to_file(stranger)
        assert only(verify(archive.path)) == (stranger.name, None, "unlisted")
        stranger.write_bytes(b"\x00" * 100)
        assert only(verify(archive.path)) == (stranger.name, None, "unlisted")

    def test_truncated(self, archive: Archive) -> None:
        """Cut off anywhere: the first missing event is named if there is one."""
        file = archive.sealed[2]
        content = file.read_bytes()
        numbers = numbers_in(file)
        ends = [0, 1, 11, 12, 13, 400, 5_000, len(content) - 300, len(content) - 1]
        for end in ends:
            file.write_bytes(content[:end])
            whole = content.count(b"\n", 0, end) - 1  # events
            found = damage(verify(archive.path))
            assert (file.name, None, "truncated") in found
            if whole < len(numbers):
                missing = (file.name, numbers[max(0, whole)], "truncated")
                assert found == [found[0], missing]
            else:
                assert len(found) == 1

    def test_appended(self, archive: Archive) -> None:
        """Anything after the last line."""
        file = archive.sealed[2]
        content = file.read_bytes()
        for more in (b"x", b"\n", content):
            file.write_bytes(content + more)
            assert only(verify(archive.path)) == (file.name, None, "inserted")

    def test_emptied_of_events(self, archive: Archive) -> None:
        """First and last line are there, and nothing between them."""
        file = archive.sealed[2]
        number = numbers_in(file)[0]
        lines = lines_of(file)
        file.write_bytes(lines[0] + lines[-1])
        assert only(verify(archive.path)) == (file.name, number, "removed")

    def test_unreadable(self, archive: Archive) -> None:
        """A directory in the place of a file; damaged compression."""
        file = archive.sealed[2]
        content = file.read_bytes()
        file.unlink()
        file.mkdir()
        assert only(verify(archive.path)) == (file.name, None, "unreadable")
        file.rmdir()
        packed = io.BytesIO()
        zstd.compress(io.BytesIO(content), packed)
        damaged = bytearray(packed.getvalue())
        damaged[len(damaged) // 2] ^= 0xFF
        file.with_name(f"{file.name}.zst").write_bytes(damaged)
        assert only(verify(archive.path)) == (f"{file.name}.zst", None, "unreadable")

    def test_nothing_there(self, tmp_path: Path, archive: Archive) -> None:
        """No archive is an error, and no success; unless somebody knows that there was one."""
        with pytest.raises(ArchiveError, match="no such file"):
            verify(tmp_path / "nowhere")
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(ArchiveError, match="no audit files"):
            verify(empty)
        found = only(verify(empty, [PUBLIC], [archive.outside]))
        assert found == (MANIFEST, None, "removed")


# --- the manifest -----------------------------------------------------------------------------


class TestManifest:
    """The lines that list the files."""

    @pytest.mark.parametrize("change", [removed, swapped, repeated])
    def test_every_line(self, bare: Archive, change: Callable[[list[bytes], int], None]) -> None:
        """Removed, swapped, repeated: found, and no event is blamed for it."""
        manifest = bare.path / MANIFEST
        original = lines_of(manifest)
        for index in range(len(original) - (change is swapped)):
            lines = list(original)
            change(lines, index)
            manifest.write_bytes(b"".join(lines))
            report = verify(bare.path)
            found = damage(report)
            assert found, index
            assert all(sequence is None for _, sequence, _ in found)
            kinds = {removed: "removed", swapped: "reordered", repeated: "inserted"}
            last = change is removed and index == len(original) - 1
            assert (MANIFEST, None, kinds[change]) in found or last
            assert report.events == EVENTS
            if change is removed and index:  # the file of that line
                assert (bare.sealed[index - 1].name, None, "unlisted") in found

    @pytest.mark.slow
    def test_every_value_edited(self, bare: Archive) -> None:
        """Another value of any key of any line, written as the writer would."""
        manifest = bare.path / MANIFEST
        original = lines_of(manifest)
        newest = len(original) - 1
        for index, line in enumerate(original):
            record = json.loads(line)
            for key, value in record.items():
                if key == "sealed_at" and index == newest:
                    continue  # see TestBytes
                edited = {**record, key: _another(value)}
                lines = list(original)
                lines[index] = json.dumps(edited, separators=(",", ":")).encode() + b"\n"
                manifest.write_bytes(b"".join(lines))
                found = damage(verify(bare.path))
                assert found, (index, key)
                named = {name for name, *_ in found}
                assert MANIFEST in named or (index == newest and key in ("file", "sha256", "bytes"))

    def test_missing(self, bare: Archive) -> None:
        """Without it, the files are still verified, one after the other."""
        (bare.path / MANIFEST).unlink()
        assert only(verify(bare.path)) == (MANIFEST, None, "removed")
        file = bare.sealed[3]
        file.write_bytes(file.read_bytes().replace(b"entry-100", b"entry-900"))
        assert (file.name, 101, "altered") in damage(verify(bare.path))

    def test_truncated(self, bare: Archive) -> None:
        """Cut off anywhere: the files that it does not list any more are found."""
        manifest = bare.path / MANIFEST
        content = manifest.read_bytes()
        names = [file.name for file in bare.sealed]
        for end in (0, 10, len(content) // 2, len(content) - 1):
            manifest.write_bytes(content[:end])
            listed = content.count(b"\n", 0, end)
            found = damage(verify(bare.path))
            assert found == [(name, None, "unlisted") for name in names[max(0, listed - 1) :]]

    def test_unreadable_line(self, bare: Archive) -> None:
        """A line that is no JSON any more."""
        manifest = bare.path / MANIFEST
        lines = lines_of(manifest)
        manifest.write_bytes(b"".join([*lines[:2], b"\xff\xfe\n", *lines[3:]]))
        assert (MANIFEST, None, "altered") in damage(verify(bare.path))

    def test_of_another_writer(self, bare: Archive) -> None:
        """A manifest and a journal under another writer's name."""
        for name in (MANIFEST, JOURNAL):
            (bare.path / name).rename(bare.path / name.replace("default", "other"))
        assert ("other.manifest", None, "altered") in damage(verify(bare.path))


def _another(value: Any) -> Any:
    if value is None:
        return "0" * 64
    if isinstance(value, int):
        return value + 1
    return value[:-1] + ("0" if value[-1] != "0" else "1") if value else "0"


# --- the end ----------------------------------------------------------------------------------


def cut_tail(archive: Archive, notes_too: bool) -> None:
    """Remove the newest file, its line in the manifest and the journal, all consistently."""
    archive.sealed[-1].unlink()
    (archive.path / JOURNAL).unlink()
    manifest = archive.path / MANIFEST
    lines = lines_of(manifest)
    manifest.write_bytes(b"".join(lines[:-1]))
    if notes_too:
        notes = notes_in(archive.path / NOTES[1])
        kept = [note for note in notes if Checkpoint.parse(note).size < len(lines)]
        (archive.path / NOTES[0]).write_text(kept[-1])
        (archive.path / NOTES[1]).write_text("".join(kept))


def notes_in(file: Path) -> list[str]:
    """The notes of a file of them."""
    return [f"axon-audit/{note}" for note in file.read_text().split("axon-audit/")[1:]]


class TestTail:
    """The end of the trail cut off so that all that is left fits together."""

    def test_without_checkpoints(self, bare: Archive) -> None:
        """Nothing can be noticed, and the report says so."""
        cut_tail(bare, notes_too=False)
        report = verify(bare.path)
        assert damage(report) == []
        assert report.writers[0].proved_until is None
        assert "cut off at its end" in report.writers[0].uncovered
        assert "could not be noticed" in report.writers[0].uncovered

    def test_with_those_beside_it(self, archive: Archive) -> None:
        """An attacker who leaves the newest checkpoint there is noticed, even without a key."""
        cut_tail(archive, notes_too=False)
        first = SEALED - PER_FILE + 1
        for keys in ([], [PUBLIC]):
            found = damage(verify(archive.path, keys))
            assert (archive.sealed[-1].name, first, "truncated") in found
            assert (MANIFEST, None, "truncated") in found

    def test_with_older_ones_beside_it(self, archive: Archive) -> None:
        """With the newest checkpoints gone as well nothing can be noticed; it is said from
        which event on."""
        cut_tail(archive, notes_too=True)
        report = verify(archive.path, [PUBLIC])
        assert damage(report) == []
        until = SEALED - PER_FILE
        assert report.writers[0].proved_until == until
        assert f"events cut off after event {until} (" in report.writers[0].uncovered

    def test_with_one_kept_elsewhere(self, archive: Archive) -> None:
        """Then it is noticed, and said what is missing."""
        cut_tail(archive, notes_too=True)
        report = verify(archive.path, [PUBLIC], [archive.outside])
        first = SEALED - PER_FILE + 1
        assert (archive.sealed[-1].name, first, "truncated") in damage(report)
        assert f"events {first} to {SEALED}" in words(report)

    def test_the_journal(self, archive: Archive) -> None:
        """Events that were not sealed yet: only a checkpoint that knows them tells."""
        journal = archive.path / JOURNAL
        lines = lines_of(journal)
        number = number_on(lines[-1])
        head = hashlib.sha256(b"\x00" + lines[-1][1:-1]).hexdigest()
        known = Checkpoint.parse(archive.outside)
        later = Checkpoint(known.origin, known.size, known.root, number or 0, head, known.time)
        note = KEY.sign(later.text())
        report = verify(archive.path, [PUBLIC], [note])
        assert damage(report) == []
        assert report.writers[0].proved_until == number == EVENTS
        journal.write_bytes(b"".join(lines[:-3]))
        assert damage(verify(archive.path, [PUBLIC])) == []
        report = verify(archive.path, [PUBLIC], [note])
        assert only(report) == (JOURNAL, EVENTS - 2, "truncated")
        journal.unlink()
        assert only(verify(archive.path, [PUBLIC], [note]))[1:] == (SEALED + 1, "truncated")

    def test_the_newest_event(self, archive: Archive) -> None:
        """The one event that no other follows: a checkpoint that names it tells."""
        journal = archive.path / JOURNAL
        lines = lines_of(journal)
        head = hashlib.sha256(b"\x00" + lines[-1][1:-1]).hexdigest()
        known = Checkpoint.parse(archive.outside)
        later = Checkpoint(known.origin, known.size, known.root, EVENTS, head, known.time)
        lines[-1] = lines[-1].replace(b'["entry', b'["Entry')
        journal.write_bytes(b"".join(lines))
        assert damage(verify(archive.path, [PUBLIC])) == []
        report = verify(archive.path, [PUBLIC], [KEY.sign(later.text())])
        assert only(report) == (JOURNAL, EVENTS, "altered")


# --- signatures -------------------------------------------------------------------------------


def each_note(archive: Archive, change: Callable[[str], str]) -> None:
    for name in NOTES:
        notes = notes_in(archive.path / name)
        (archive.path / name).write_text("".join(map(change, notes)))


class TestSignatures:
    """Checkpoints that are not what the key's owner signed."""

    def test_stripped(self, archive: Archive) -> None:
        """Without their signatures they count for nothing, and that is damage."""
        each_note(archive, lambda note: note.split("\u2014")[0])
        report = verify(archive.path, [PUBLIC])
        assert {kind for *_, kind in damage(report)} == {"wrong_key"}
        assert {name for name, *_ in damage(report)} == {*NOTES, MANIFEST}
        assert report.writers[0].proved_until is None

    def test_foreign(self, archive: Archive) -> None:
        """Signed with another key of the same name."""
        foreign = new_key("auditor")
        each_note(archive, lambda note: foreign.sign(note.split("\n\n")[0] + "\n"))
        report = verify(archive.path, [PUBLIC])
        assert {kind for *_, kind in damage(report)} == {"wrong_key"}
        assert report.writers[0].proved_until is None

    def test_one_of_many(self, archive: Archive) -> None:
        """One unsigned note among good ones is named; the good ones still prove."""
        file = archive.path / NOTES[1]
        notes = notes_in(file)
        notes[2] = notes[2].split("\u2014")[0]
        file.write_text("".join(notes))
        report = verify(archive.path, [PUBLIC])
        assert only(report) == (NOTES[1], None, "wrong_key")
        assert report.writers[0].proved_until == SEALED

    def test_removed(self, archive: Archive) -> None:
        """A key was given, and nothing is signed by it: silence is no proof."""
        for name in NOTES:
            (archive.path / name).unlink()
        assert only(verify(archive.path, [PUBLIC])) == (MANIFEST, None, "wrong_key")
        assert damage(verify(archive.path)) == []

    def test_given_but_foreign(self, archive: Archive) -> None:
        """A checkpoint that the caller has is held against the keys as well."""
        note = new_key("auditor").sign(archive.outside.split("\n\n")[0] + "\n")
        assert only(verify(archive.path, [PUBLIC], [note]))[2] == "wrong_key"

    def test_wrong_key(self, archive: Archive) -> None:
        """The archive is whole, but not by the key that the auditor has."""
        report = verify(archive.path, [new_key("somebody").verifying])
        assert {kind for *_, kind in damage(report)} == {"wrong_key"}

    def test_unreadable(self, archive: Archive) -> None:
        """A note that is none; a last one that was cut off in the middle is no damage."""
        file = archive.path / NOTES[1]
        content = file.read_bytes()
        file.write_bytes(content + b"axon-audit/default/abc\nnonsense\n\n")
        assert only(verify(archive.path, [PUBLIC])) == (NOTES[1], None, "unreadable")
        file.write_bytes(content + content[:100])
        assert damage(verify(archive.path, [PUBLIC])) == []

    def test_of_another_trail(self, archive: Archive, tmp_path: Path, make_audit: Make) -> None:
        """A whole archive put in the place of another: the checkpoint of the real one tells."""
        build(tmp_path / "other", signing_key=KEY)
        report = verify(tmp_path / "other", [PUBLIC], [archive.outside])
        assert only(report) == (MANIFEST, None, "altered")
        assert "another" in words(report)

    def test_bad_arguments(self, archive: Archive) -> None:
        """A key or a checkpoint that is none is the caller's mistake."""
        with pytest.raises(AuditConfigError):
            verify(archive.path, ["nonsense"])
        with pytest.raises(InvalidEventError, match="not a checkpoint"):
            verify(archive.path, checkpoints=["nonsense"])


# --- forgery ----------------------------------------------------------------------------------


class TestForgery:
    """All hashes recomputed: only a signature cannot be."""

    @staticmethod
    def _blame_bob(event: dict[str, Any]) -> None:
        if event["sequence"] == 100:
            event["user_id"] = "bob"

    def test_nothing_changed(self, archive: Archive) -> None:
        """The forger's tool is right: rewriting without a change gives the same files."""
        before = {file.name: file.read_bytes() for file in archive.path.iterdir()}
        rewrite(archive.path, lambda event: None)
        assert {file.name: file.read_bytes() for file in archive.path.iterdir()} == before

    def test_without_a_checkpoint(self, bare: Archive) -> None:
        """A history that was rewritten as a whole fits together; the report says that this
        could not be noticed."""
        rewrite(bare.path, self._blame_bob)
        report = verify(bare.path)
        assert damage(report) == []
        assert "history rewritten" in report.writers[0].uncovered

    def test_with_one_kept_elsewhere(self, archive: Archive) -> None:
        """The checkpoint's event is another one, and so is the manifest."""
        rewrite(archive.path, self._blame_bob)
        for name in NOTES:
            (archive.path / name).unlink()
        for keys in ([], [PUBLIC]):
            found = damage(verify(archive.path, keys, [archive.outside]))
            assert (archive.sealed[-1].name, SEALED, "altered") in found
            assert (MANIFEST, None, "altered") in found

    def test_with_those_beside_it(self, archive: Archive) -> None:
        """The oldest checkpoint that does not fit any more is named: what was rewritten is
        before it."""
        rewrite(archive.path, self._blame_bob)
        found = damage(verify(archive.path, [PUBLIC]))
        assert (archive.sealed[3].name, 120, "altered") in found
        assert (MANIFEST, None, "altered") in found

    def test_only_one_file(self, bare: Archive) -> None:
        """One file rewritten so that it fits together, and nothing around it."""
        file = bare.sealed[2]
        others = {other: other.read_bytes() for other in bare.path.iterdir() if other != file}
        rewrite(bare.path, lambda event: event.update(status="FAILURE"))
        for other, content in others.items():
            other.write_bytes(content)
        found = damage(verify(bare.path))
        assert found
        assert {name for name, *_ in found} == {file.name}

    def test_self_made_checkpoints(self, archive: Archive) -> None:
        """Rewritten, and new checkpoints made for it, without the key: they are not signed
        by it."""
        rewrite(archive.path, self._blame_bob)
        entries = (archive.path / MANIFEST).read_bytes().splitlines()
        seal = json.loads(entries[-1])
        known = Checkpoint.parse(archive.outside)
        root = by_definition(entries)
        forged = Checkpoint(known.origin, len(entries), root, SEALED, seal["head"], known.time)
        for name in NOTES:
            (archive.path / name).write_text(new_key("auditor").sign(forged.text()))
        report = verify(archive.path, [PUBLIC])
        assert {kind for *_, kind in damage(report)} == {"wrong_key"}
        assert base64.b64encode(root).decode() in (archive.path / NOTES[0]).read_text()


# --- what is no damage ------------------------------------------------------------------------


class TestExplained:
    """Facts that the trail itself reports."""

    @pytest.fixture(name="gapped")
    async def _gapped(self, make_audit: Make, tmp_path: Path) -> Path:
        """Events 11 to 16 were lost when the journal was cut off; 17 and later were written
        again."""
        audit = make_audit(5, tmp_path, enable_rotation=False, name="gapped")
        for _ in range(10):
            await audit.log_event("STORE")
        audit.seal()
        for _ in range(10):
            await audit.log_event("STORE")
        os.truncate(tmp_path / "gapped.journal", 0)
        await audit.log_event("STORE")  # finds that out
        audit.seal()  # writes what memory still has
        for _ in range(10):
            await audit.log_event("STORE")
        audit.close()
        return tmp_path

    async def test_a_gap(self, gapped: Path) -> None:
        """Lost events of which a later one tells are no damage, and are listed."""
        report = verify(gapped)
        assert damage(report) == []
        (gap,) = report.writers[0].gaps
        assert (gap.first, gap.last) == (11, 16)
        assert gap.told_by > 16
        assert report.events == report.writers[0].last_sequence - 6  # type: ignore[operator]

    async def test_a_file_with_a_gap_by_itself(self, gapped: Path) -> None:
        """The event that tells may be in another file: a file that is as it was sealed is
        not damaged."""
        for file in audit_files(gapped):
            assert damage(verify(file)) == []

    async def test_more_than_the_gap(self, gapped: Path) -> None:
        """An event that was removed at the edge of a gap is damage all the same."""
        for file in audit_files(gapped):
            numbers = numbers_in(file)
            for number in {10, 17} & set(numbers):
                content = file.read_bytes()
                lines = lines_of(file)
                del lines[numbers.index(number) + 1]
                file.write_bytes(b"".join(lines))
                assert only(verify(gapped)) == (file.name, number, "removed")
                file.write_bytes(content)

    async def test_an_event_before_a_gap(self, gapped: Path) -> None:
        """No event continues the one before a gap; its file's seal tells that it changed."""
        for file in audit_files(gapped):
            if 10 in (numbers := numbers_in(file)):
                lines = lines_of(file)
                index = numbers.index(10) + 1
                lines[index] = lines[index].replace(b"STORE", b"FORGE")
                file.write_bytes(b"".join(lines))
                assert only(verify(gapped)) == (file.name, 10, "altered")

    async def test_without_the_event_that_tells(self, gapped: Path) -> None:
        """The gap is damage as soon as nothing explains it."""
        (told_by,) = [gap.told_by for gap in verify(gapped).writers[0].gaps]
        for file in audit_files(gapped):
            if told_by in (numbers := numbers_in(file)):
                lines = lines_of(file)
                del lines[numbers.index(told_by) + 1]
                file.write_bytes(b"".join(lines))
        found = [at for _, at, kind in damage(verify(gapped)) if kind == "removed"]
        assert sorted(at for at in found if at is not None) == [11, told_by]

    @pytest.mark.slow
    def test_killed(self, run_script: Run, make_audit: Make, tmp_path: Path) -> None:
        """A killed writer leaves no damage, before the next start and after it, when an
        unclean end is on the record."""
        run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(10, sys.argv[1], name="killed")
            for _ in range(25):
                asyncio.run(audit.log_event("STORE"))
            os._exit(0)
            """,
            tmp_path,
        )
        report = verify(tmp_path)
        assert damage(report) == []
        assert (report.events, report.writers[0].unsealed_events) == (25, 5)
        make_audit(10, tmp_path, name="killed").close()
        report = verify(tmp_path)
        assert damage(report) == []
        (end,) = report.writers[0].unclean_ends
        assert (end.writer, end.events, end.torn_bytes) == ("killed", 5, 0)

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_killed_before_the_first_checkpoint(self, run_script: Run, tmp_path: Path) -> None:
        """A start signs the events that it recovers, also of a child that never runs again, and
        though it is killed at once as well."""
        for _ in range(3):
            run_script(
                """
                import asyncio, os, sys
                from axon_audit_otel import AuditLogger
                audit = AuditLogger(100, sys.argv[1], name="short", signing_key=sys.argv[2])

                async def work():
                    for _ in range(3):
                        await audit.log_event("STORE")

                asyncio.run(work())
                child = os.fork()
                if child:
                    os.waitpid(child, 0)
                else:
                    asyncio.run(work())
                os._exit(0)
                """,
                tmp_path,
                KEY.line(),
            )
            report = verify(tmp_path, [PUBLIC])
            assert damage(report) == []
        assert {"short", "short-2"} == {writer.writer for writer in report.writers}
        assert all(writer.proved_until for writer in report.writers)

    def test_recovered_by_one_without_a_key(
        self, run_script: Run, make_audit: Make, tmp_path: Path
    ) -> None:
        """It leaves the checkpoints of others as they are: its own are not signed."""
        run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(5, sys.argv[1], name="signed", signing_key=sys.argv[2])
            for _ in range(7):
                asyncio.run(audit.log_event("STORE"))
            os._exit(0)
            """,
            tmp_path,
            KEY.line(),
        )
        make_audit(auto_export_path=tmp_path, name="keyless", checkpoint_to=[].append)
        assert not list(tmp_path.glob("signed.journal"))
        found = damage(verify(tmp_path, [PUBLIC]))
        assert {name.partition(".")[0] for name, *_ in found} == {"keyless"}

    def test_killed_before_a_file_was_listed(self, bare: Archive) -> None:
        """A file that was sealed, whose writer was killed at that moment: the next start lists
        it. It is no damage while the writer has not ended, and has not gone on."""
        manifest = bare.path / MANIFEST
        manifest.write_bytes(b"".join(lines_of(manifest)[:-1]))
        assert only(verify(bare.path))[2] == "unlisted"  # it went on: the journal
        (bare.path / JOURNAL).unlink()
        report = verify(bare.path)
        assert damage(report) == []
        assert report.writers[0].unfinished_seal == bare.sealed[-1].name
        assert report.events == SEALED
        lock = bare.path / ".default.lock"
        lock.write_bytes(b"")  # it ended well
        assert only(verify(bare.path)) == (bare.sealed[-1].name, None, "unlisted")
        lock.unlink()  # nobody can say how it ended
        assert only(verify(bare.path)) == (bare.sealed[-1].name, None, "unlisted")

    def test_killed_while_sealing(self, bare: Archive) -> None:
        """A journal with its last line, with and without its other name."""
        newest = bare.sealed[-1]
        manifest = bare.path / MANIFEST
        manifest.write_bytes(b"".join(lines_of(manifest)[:-1]))
        (bare.path / JOURNAL).unlink()
        os.link(newest, bare.path / JOURNAL)
        assert damage(verify(bare.path)) == []
        newest.unlink()
        report = verify(bare.path)
        assert damage(report) == []
        assert report.events == SEALED
        journal = bare.path / JOURNAL
        journal.write_bytes(journal.read_bytes()[:-40])
        report = verify(bare.path)
        assert damage(report) == []
        assert report.writers[0].torn_bytes > 40

    async def test_deleted_by_retention(self, make_audit: Make, tmp_path: Path) -> None:
        """Files whose deletion the manifest tells of are counted; the chain goes on behind
        them, and checkpoints over them still prove."""
        notes: list[str] = []
        audit = make_audit(
            5, tmp_path, max_archive_bytes=4_000, signing_key=KEY, checkpoint_to=notes.append
        )
        for _ in range(33):
            await audit.log_event("STORE")
        audit.trail.tick()
        audit.close()
        report = verify(tmp_path, [PUBLIC], notes)
        assert damage(report) == []
        (writer,) = report.writers
        assert writer.deleted_files > 1
        assert writer.first_sequence is not None
        assert writer.first_sequence > 5
        assert writer.proved_until == 33

    async def test_deleted_by_hand(self, make_audit: Make, tmp_path: Path) -> None:
        """One file more than the manifest tells of."""
        audit = make_audit(5, tmp_path, max_archive_bytes=4_000)
        for _ in range(33):
            await audit.log_event("STORE")
        audit.trail.tick()
        audit.close()
        oldest = audit_files(tmp_path)[0]
        number = numbers_in(oldest)[0]
        oldest.unlink()
        assert only(verify(tmp_path)) == (oldest.name, number, "removed")

    async def test_told_of_and_still_there(self, make_audit: Make, tmp_path: Path) -> None:
        """Killed between the manifest's line and the deletion: the file is verified."""
        audit = make_audit(5, tmp_path, max_archive_bytes=4_000)
        for _ in range(10):
            await audit.log_event("STORE")
        before = {file: file.read_bytes() for file in audit_files(tmp_path)}
        for _ in range(23):
            await audit.log_event("STORE")
        audit.trail.tick()
        audit.close()
        for file, content in before.items():
            assert not file.exists()
            file.write_bytes(content)
        report = verify(tmp_path)
        assert damage(report) == []
        assert report.writers[0].first_sequence == 1


# --- several writers, and one at work ---------------------------------------------------------


class TestWriters:
    async def test_two_trails(self, make_audit: Make, tmp_path: Path) -> None:
        """Each has its report and its proof; damage of one is not the other's."""
        keys = [new_key("a"), new_key("b")]
        for name, key in zip(("first", "second"), keys):
            audit = make_audit(
                5, tmp_path, name=name, signing_key=key, registry=CollectorRegistry()
            )
            for _ in range(12):
                await audit.log_event("STORE")
            audit.close()
        report = verify(tmp_path, [key.verifying for key in keys])
        assert damage(report) == []
        assert [(w.writer, w.events, w.proved_until) for w in report.writers] == [
            ("first", 12, 12),
            ("second", 12, 12),
        ]
        (tmp_path / "second.manifest").unlink()
        found = damage(verify(tmp_path))
        assert found == [("second.manifest", None, "removed")]

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_forked(self, run_script: Run, tmp_path: Path) -> None:
        """Children of a pre-fork server, some of them killed, are verified together."""
        run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(4, sys.argv[1], name="server")
            asyncio.run(audit.log_event("STORE"))
            children = []
            for number in range(3):
                child = os.fork()
                if child == 0:
                    for _ in range(10):
                        asyncio.run(audit.log_event("STORE", user_id=str(number)))
                    if number == 0:
                        os._exit(0)
                    audit.close()
                    os._exit(0)
                children.append(child)
            for child in children:
                os.waitpid(child, 0)
            audit.close()
            """,
            tmp_path,
        )
        report = verify(tmp_path)
        assert damage(report) == []
        assert report.events >= 31  # and an unclean end, where another child found it
        assert 2 <= len(report.writers) <= 4  # a name is free again when its child has ended

    @pytest.mark.slow
    @pytest.mark.parametrize("compress", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_while_it_is_written(self, tmp_path: Path, compress: bool) -> None:
        """An archive can be verified while its writer is at work: no false alarm, and always
        what was acknowledged before is there."""
        script = """
            import asyncio, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(
                7, sys.argv[1], name="busy", signing_key=sys.argv[2], compress=sys.argv[3] == "True"
            )
            async def work():
                while True:
                    event = await audit.log_event("STORE")
                    print(event.sequence, flush=True)
            asyncio.run(work())
        """
        archive = tmp_path / "archive"
        with subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(script), archive, KEY.line(), str(compress)],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as writer:
            assert writer.stdout is not None
            acknowledged = int(writer.stdout.readline())
            for _ in range(12):
                report = verify_once(archive, [PUBLIC] if acknowledged > 20 else [])
                assert damage(report) == [], report.findings
                assert report.writers[0].last_sequence is not None
                assert report.writers[0].last_sequence >= acknowledged
                for _ in range(50):
                    acknowledged = int(writer.stdout.readline())
            writer.kill()
        assert damage(verify(archive, [PUBLIC])) == []


# --- one file ---------------------------------------------------------------------------------


class TestOneFile:
    """`verify` of a file instead of a directory."""

    def test_of_an_archive(self, archive: Archive) -> None:
        """It is held against the manifest and the file before it; others are not read."""
        file = archive.sealed[2]
        archive.sealed[4].write_bytes(b"damaged")
        report = verify(file, [PUBLIC], [archive.outside])
        assert damage(report) == []
        assert report.events == PER_FILE
        assert report.writers[0].proved_until == SEALED
        file.write_bytes(file.read_bytes().replace(b"entry-70", b"entry-07"))
        assert only(verify(file)) == (file.name, 71, "altered")

    def test_a_journal(self, archive: Archive) -> None:
        """A journal continues what was sealed."""
        journal = archive.path / JOURNAL
        report = verify(journal)
        assert damage(report) == []
        assert report.events == EVENTS - SEALED
        journal.write_bytes(journal.read_bytes().replace(b"entry-190", b"entry-109"))
        assert only(verify(journal)) == (JOURNAL, 191, "altered")

    def test_alone(self, signed: Archive, tmp_path: Path) -> None:
        """A file that somebody was sent: its last line sums it up, and nothing proves it."""
        alone = tmp_path / "sent.json"
        shutil.copy(signed.sealed[3], alone)
        report = verify(alone)
        assert damage(report) == []
        assert report.events == PER_FILE
        assert report.writers[0].proved_until is None
        content = alone.read_bytes()
        for change in (
            content.replace(b"entry-100", b"entry-001"),
            content.replace(b'"total_events":30', b'"total_events":31'),
            content[: len(content) // 2],
        ):
            alone.write_bytes(change)
            assert damage(verify(alone))
        alone.write_bytes(content)
        found = only(verify(alone, [PUBLIC], [signed.outside]))  # which cannot be checked
        assert found == (MANIFEST, None, "removed")

    def test_what_carries_no_proof(self, make_audit: Make, signed: Archive, tmp_path: Path) -> None:
        """An export, or a file that is none of ours, is an error and no success."""
        make_audit().export_to_file(tmp_path / "export.json")
        with pytest.raises(ArchiveError, match="carries no proof"):
            verify(tmp_path / "export.json")
        (tmp_path / "notes.txt").write_text("hello\n")
        with pytest.raises(ArchiveError, match="neither a sealed file nor a journal"):
            verify(tmp_path / "notes.txt")


# --- size -------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_memory_does_not_grow(make_audit: Make, run_script: Run, tmp_path: Path) -> None:
    """Four times as many events need no more memory than a few lines for each file; the ids of
    some ten thousand are kept."""
    peaks = []
    for count in (15_000, 60_000):
        directory = tmp_path / str(count)
        audit = make_audit(1_000, directory, name=f"n{count}", registry=CollectorRegistry())
        for _ in range(count):
            await audit.log_event("STORE", "alice")
        audit.close()
        script = """
            import sys, tracemalloc
            from axon_audit_otel import verify
            tracemalloc.start()
            events = verify(sys.argv[1]).events
            print(events, tracemalloc.get_traced_memory()[1])
        """
        events, peak = map(int, run_script(script, directory).split())
        assert events == count
        peaks.append(peak)
    files = 45
    assert peaks[1] - peaks[0] < files * 10_000


# --- the command ------------------------------------------------------------------------------


class TestCommand:
    """`axon-audit verify` and `axon-audit keygen`."""

    def test_no_damage(self, cli: Cli, signed: Archive, tmp_path: Path) -> None:
        """Exit code 0; counts, and in words what is not proved."""
        key = tmp_path / "auditor.pub"
        key.write_text(f"{PUBLIC}\n")
        said = cli("verify", signed.path, "--key", key).stdout
        assert said == cli("verify", signed.path, "--key", PUBLIC).stdout
        assert "default: 200 events, 1 to 200, in 6 sealed files" in said
        assert "20 events in the journal" in said
        assert "events cut off after event 180 (" in " ".join(said.split())
        assert "No damage was found." in said
        assert max(map(len, said.splitlines())) <= 80

    def test_without_a_key(self, cli: Cli, signed: Archive) -> None:
        """It is said that no signature was checked, and that nothing is proved."""
        said = " ".join(cli("verify", signed.path).stdout.split())
        assert "No key was given" in said
        assert "6 checkpoints not checked, as no key was given" in said
        assert "no signed checkpoint" not in said
        assert "give the public key of the application: --key FILE" in said

    def test_damage(self, cli: Cli, archive: Archive) -> None:
        """Exit code 1; file, event and kind, in 80 columns."""
        file = archive.sealed[1]
        file.write_bytes(file.read_bytes().replace(b"entry-40", b"entry-04"))
        said = cli("verify", archive.path, code=1).stdout
        assert f"altered: {file.name}, event 41" in said
        assert "1 finding:" in said
        assert "No damage" not in said
        assert max(map(len, said.splitlines())) <= 80

    def test_checkpoint_kept_elsewhere(self, cli: Cli, archive: Archive, tmp_path: Path) -> None:
        """A cut tail is noticed by a file of checkpoints."""
        kept = tmp_path / "kept"
        kept.write_text(archive.outside)
        cut_tail(archive, notes_too=True)
        cli("verify", archive.path, "--key", PUBLIC)
        said = cli("verify", archive.path, "--key", PUBLIC, "--checkpoint", kept, code=1).stdout
        assert "truncated" in said
        assert "events 151 to 180" in " ".join(said.split())

    def test_json(self, cli: Cli, archive: Archive) -> None:
        """The whole report as one object, with the same exit codes."""
        assert json.loads(cli("verify", archive.path, "--json").stdout)["ok"] is True
        archive.sealed[0].unlink()
        report = json.loads(cli("verify", archive.path, "--json", code=1).stdout)
        assert report["ok"] is False
        assert report["findings"][0]["kind"] == "removed"

    async def test_gaps_and_ends(self, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
        """Gaps are shown with their reason, and are no damage."""
        audit = make_audit(3, tmp_path, enable_rotation=False, name="gapped")
        for _ in range(9):
            await audit.log_event("STORE")
        os.truncate(tmp_path / "gapped.journal", 0)
        await audit.log_event("STORE")
        audit.seal()
        await audit.log_event("STORE")
        audit.close()
        said = " ".join(cli("verify", tmp_path).stdout.split())
        assert "gap: events 1 to 7 lost (" in said
        assert "No damage was found." in said

    @pytest.mark.parametrize("key", ["nonsense", "no/such/file", "a+00000000+AQID"])
    def test_no_key(self, cli: Cli, signed: Archive, key: str) -> None:
        """A text that is neither a key nor a file of keys is refused."""
        assert "Error: " in cli("verify", signed.path, "--key", key, code=2).stderr

    def test_private_key(self, cli: Cli, signed: Archive) -> None:
        """The private key does not belong on the auditor's machine, nor on the screen."""
        said = cli("verify", signed.path, "--key", KEY.line(), code=2)
        assert "private key" in said.stderr
        assert KEY.line() not in said.stderr

    def test_nothing_there(self, cli: Cli, tmp_path: Path) -> None:
        """One line, and exit code 2: nothing was verified."""
        assert "no audit files" in cli("verify", tmp_path, code=2).stderr
        assert "no such file" in cli("verify", tmp_path / "nowhere", code=2).stderr

    def test_keygen(
        self, cli: Cli, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A private key that its owner alone can read, the public line on stdout; both work,
        and nothing is overwritten."""
        monkeypatch.chdir(tmp_path)
        public = cli("keygen", "example.com/auditor").stdout
        private = tmp_path / "example.com_auditor.key"
        assert private.stat().st_mode & 0o777 == 0o600
        assert public == f"{SigningKey(private.read_text()).verifying}\n"
        content = private.read_bytes()
        assert "never overwritten" in cli("keygen", "example.com/auditor", code=1).stderr
        assert private.read_bytes() == content
        audit = make_audit(5, tmp_path / "logs", signing_key=private)
        for _ in range(5):
            asyncio.run(_log(audit))
        audit.close()
        assert "No damage" in cli("verify", tmp_path / "logs", "--key", public.strip()).stdout

    def test_keygen_elsewhere(self, cli: Cli, tmp_path: Path) -> None:
        """`--output` names the file; `--json` prints what it made, and never the secret."""
        target = tmp_path / "my.key"
        said = cli("keygen", "auditor", "--output", target, "--json").stdout
        made = json.loads(said)
        assert made["path"] == str(target)
        assert made["public_key"].startswith("auditor+")
        assert target.read_text().strip() not in said

    @pytest.mark.parametrize("name", ["", "two words", "a+b"])
    def test_keygen_bad_name(self, cli: Cli, tmp_path: Path, name: str) -> None:
        """A name that cannot be one leaves no file behind."""
        said = cli("keygen", name, "--output", tmp_path / "k", code=1).stderr
        assert "key name" in said
        assert not (tmp_path / "k").exists()

    def test_keygen_unwritable(self, cli: Cli, tmp_path: Path) -> None:
        """A directory that is not there."""
        said = cli("keygen", "k", "--output", tmp_path / "no" / "k", code=1).stderr
        assert "cannot write" in said


async def _log(audit: AuditLogger) -> AuditEvent:
    return await audit.log_event("STORE")
