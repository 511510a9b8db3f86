"""A cursor follows one writer's events through its files, whatever becomes of these meanwhile;
a follower those of a whole directory."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from conftest import Make, only, retire, sealed_files
from prometheus_client import CollectorRegistry

from axon_audit_otel import ArchiveError, AuditEvent, AuditLogger
from axon_audit_otel.archive.cursor import Cursor
from axon_audit_otel.archive.directory import newest_number, writers_in
from axon_audit_otel.archive.follow import Follower
from axon_audit_otel.archive.format import position_of
from axon_audit_otel.archive.missing import Missing

SUFFIXES = [".journal", ".manifest"]

pytestmark = pytest.mark.usefixtures("without_start_record")


def _numbers(cursor: Cursor, events: int = 1000, size: int = 1 << 20) -> list[int]:
    return [position_of(line).sequence for line in cursor.read(events, size)]


@pytest.fixture(name="make")
def _make(tmp_path: Path) -> Make:
    """Makes audit loggers with an archive."""
    return lambda **settings: AuditLogger(
        **{"auto_export_path": tmp_path, "registry": CollectorRegistry(), **settings}
    )


async def _log(audit: AuditLogger, count: int) -> None:
    for _ in range(count):
        await audit.log_event("STORE", user_id="ann")


async def _logged(audit: AuditLogger) -> list[AuditEvent]:
    return [await audit.log_event("STORE", user_id=f"u{number}") for number in range(6)]


async def test_follows_the_journal_and_its_files(make: Make, tmp_path: Path) -> None:
    """It reads what was sealed, what is in the journal, and what comes, each event once."""
    audit = make(max_events=10)
    cursor = Cursor(tmp_path, "default")
    assert _numbers(cursor) == []
    await _log(audit, 25)
    assert _numbers(cursor, 4) == [1, 2, 3, 4]
    assert _numbers(cursor) == list(range(5, 26))
    await _log(audit, 2)
    assert _numbers(cursor) == [26, 27]
    audit.seal()
    assert _numbers(cursor) == []
    await _log(audit, 1)
    assert _numbers(cursor) == [28]
    lines = cursor.read(1, 1)
    assert (lines, cursor.position) == ([], 28)
    cursor.close()
    assert newest_number(tmp_path, "default") == 28
    assert writers_in(tmp_path) == ["default"]


async def test_begins_after_an_event(make: Make, tmp_path: Path) -> None:
    """It begins in the midst of a sealed file, or of the journal."""
    audit = make(max_events=10)
    await _log(audit, 25)
    for after in (0, 3, 9, 10, 20, 24, 25, 99):
        cursor = Cursor(tmp_path, "default", after)
        assert _numbers(cursor) == list(range(after + 1, 26))
        cursor.close()


async def test_lines_are_the_events(make: Make, tmp_path: Path) -> None:
    """It gives the bytes that were recorded, whatever they hold."""
    audit = make()
    tricky = ',"sequence":99,"previous_hash":"' + "ab" * 32 + '"}'
    for text in (tricky, "\u2028\n", '"}\n ,{"'):
        await audit.log_event("STORE", user_id=text, metadata={"sequence": 5, "text": text})
    cursor = Cursor(tmp_path, "default")
    events = [event.to_json() for event in reversed(audit.query_events())]
    assert cursor.read(10, 1 << 20) == events
    cursor.close()


@pytest.mark.slow
def test_while_files_are_sealed_and_compressed(make: Make, tmp_path: Path) -> None:
    """Nothing is left out or read twice while a busy writer seals and compresses."""
    audit = make(max_events=20, compress=True)
    writing = threading.Thread(target=lambda: asyncio.run(_log(audit, 3000)))
    cursor = Cursor(tmp_path, "default")
    found: list[int] = []
    writing.start()
    while writing.is_alive() or found[-1:] != [3000]:
        found += _numbers(cursor, 7)
    writing.join()
    cursor.close()
    assert found == list(range(1, 3001))


async def test_deleted_files(make: Make, tmp_path: Path) -> None:
    """Files that are gone are counted, once, and passed over: those that retention deleted
    apart from others."""
    audit = make(max_events=10)
    await _log(audit, 45)
    files = sealed_files(tmp_path)
    retire(files[0], files[2])
    files[3].unlink()
    cursor = Cursor(tmp_path, "default", after=4)
    assert _numbers(cursor) == [*range(11, 21), *range(41, 46)]
    assert cursor.lost == {"deleted": 6 + 10, "missing": 10}
    cursor.close()


async def test_half_a_file(make: Make, tmp_path: Path) -> None:
    """Events after the last readable line of a sealed file count as missing."""
    audit = make(max_events=10)
    await _log(audit, 25)
    first, second = sealed_files(tmp_path)
    for path, keep in ((first, 4), (second, 0)):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: keep + 1]))
    cursor = Cursor(tmp_path, "default")
    assert _numbers(cursor) == [1, 2, 3, 4, *range(21, 26)]
    assert cursor.lost == {"missing": 6 + 10}
    cursor.close()


@pytest.mark.parametrize("patience", [0, 2])
async def test_a_file_that_cannot_be_read(make: Make, tmp_path: Path, patience: int) -> None:
    """It is tried again as often as wanted, and then passed over."""
    audit = make(max_events=10)
    await _log(audit, 25)
    second = sealed_files(tmp_path)[1]
    second.unlink()
    second.mkdir()
    cursor = Cursor(tmp_path, "default", after=10)
    cursor.patience = patience
    for _ in range(patience):
        with pytest.raises(IsADirectoryError):
            cursor.read(1, 1)
    assert _numbers(cursor) == [*range(21, 26)]
    assert cursor.lost == {"missing": 10}
    cursor.close()


async def test_a_journal_that_is_removed(make: Make, tmp_path: Path) -> None:
    """Events that are written again after the journal was removed are read once."""
    audit = make()
    cursor = Cursor(tmp_path, "default")
    await _log(audit, 3)
    assert _numbers(cursor) == [1, 2, 3]
    (tmp_path / "default.journal").unlink()
    assert _numbers(cursor) == []
    await _log(audit, 1)
    audit.seal()  # which makes it try again at once
    assert _numbers(cursor) == [4]
    cursor.close()


class TestFollower:
    """All events in a directory, each once, whatever comes beside the files of its writers."""

    @pytest.fixture(name="follower")
    def _follower(self, tmp_path: Path) -> Iterator[Follower]:
        with closing(Follower(tmp_path)) as follower:
            yield follower

    @pytest.fixture(name="elsewhere")
    def _elsewhere(self, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return tmp_path_factory.mktemp("elsewhere")

    @staticmethod
    def _new(follower: Follower) -> list[int]:
        return [event.sequence for event in follower.poll(Missing(strict=True))]

    async def test_renamed_between(self, make: Make, tmp_path: Path, follower: Follower) -> None:
        """A file that was sealed and renamed between two looks is found by what is in it."""
        audit = make(max_events=10)
        await _log(audit, 5)
        assert self._new(follower) == [1, 2, 3, 4, 5]
        await _log(audit, 17)
        first, second = sealed_files(tmp_path)
        second.rename(tmp_path / "audit_2025_01_01_000000.json")
        first.rename(tmp_path / "audit_2025_01_01_000001.json")
        assert self._new(follower) == list(range(6, 23))

    @pytest.mark.parametrize("of", ["*.journal", "audit_*"])
    @pytest.mark.parametrize("name", ["another.journal", "audit_2025_01_01_000000.json"])
    async def test_copies(
        self, make: Make, tmp_path: Path, follower: Follower, of: str, name: str
    ) -> None:
        """A copy shows nothing again, also while it is made; nor does an export."""
        audit = make(max_events=10)
        await _log(audit, 9 if of == "*.journal" else 10)
        recorded = self._new(follower)
        content = only(tmp_path, of).read_bytes()
        for part in (len(content) // 2, len(content)):
            (tmp_path / name).write_bytes(content[:part])
            assert [event.sequence for event in follower.poll(Missing())] == []
        audit.export_to_file(tmp_path / "audit_report.json")
        assert self._new(follower) == []
        await _log(audit, 15)
        last = recorded[-1]
        assert self._new(follower) == list(range(last + 1, last + 16))

    async def test_a_new_chain(
        self, make: Make, tmp_path: Path, follower: Follower, elsewhere: Path
    ) -> None:
        """A trail that begins again under the name of one that was removed is shown."""
        here = make(max_events=2)
        await _log(here, 3)
        assert self._new(follower) == [1, 2, 3]
        new = make(auto_export_path=elsewhere)
        await _log(new, 2)
        for path in [*sealed_files(tmp_path), *(tmp_path / f"default{s}" for s in SUFFIXES)]:
            path.unlink()
        (elsewhere / "default.journal").replace(tmp_path / "default.journal")
        assert self._new(follower) == [1, 2]

    async def test_the_file_of_another_directory(
        self, make: Make, tmp_path: Path, follower: Follower, elsewhere: Path
    ) -> None:
        """It is shown, though its writer has the same name, and hides no event."""
        audit = make(max_events=10)
        await _log(audit, 12)
        assert self._new(follower) == list(range(1, 13))
        await _log(make(auto_export_path=elsewhere, max_events=20), 40)
        for number, file in enumerate(sealed_files(elsewhere)):
            file.replace(tmp_path / f"audit_2025_01_01_00000{number}.json")
        await _log(audit, 10)
        assert sorted(self._new(follower)) == sorted([*range(13, 23), *range(1, 41)])

    async def test_damage(self, make: Make, tmp_path: Path, follower: Follower) -> None:
        """It raises if that is wanted, and goes on after it."""
        await _log(make(max_events=3), 4)
        first = sealed_files(tmp_path)[0]
        first.write_bytes(first.read_bytes().replace(b'"sequence":2,', b'"sequence":9,'))
        with pytest.raises(ArchiveError, match="events of another file"):
            self._new(follower)
        assert self._new(follower) == [3, 4]

    async def test_without_a_manifest(self, make: Make, tmp_path: Path, follower: Follower) -> None:
        """The sealed files of a writer are shown in their order, and its journal after them."""
        await _log(make(max_events=10), 35)
        only(tmp_path, "*.manifest").unlink()
        assert self._new(follower) == list(range(1, 36))

    async def test_another_layout(self, make: Make, tmp_path: Path, follower: Follower) -> None:
        """JSON lines that grow show their new events; a file that replaces them, all of its."""
        lines = [event.to_json() + b"\n" for event in await _logged(make(auto_export_path=None))]
        path = tmp_path / "audit_lines.json"
        path.write_bytes(b"".join(lines[:2]))
        assert self._new(follower) == [1, 2]
        path.write_bytes(b"".join(lines[:4]))
        assert self._new(follower) == [3, 4]
        (tmp_path / "new").write_bytes(b"".join(lines[4:]))
        (tmp_path / "new").replace(path)
        assert self._new(follower) == [5, 6]
