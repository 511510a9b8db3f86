"""One damaged, foreign, empty or half file ends no answer, and what is missing is said."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, archived, retire, sealed_files
from prometheus_client import CollectorRegistry
from receiver import Receiver

from axon_audit_otel import (
    ArchiveError,
    ArchiveIncompleteWarning,
    AuditLogger,
    Rule,
    SecurityMonitor,
)
from axon_audit_otel.archive import zstd
from axon_audit_otel.archive.follow import Follower
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.replay import replay

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="FIFOs, links and gzip"),
    pytest.mark.usefixtures("without_start_record"),
]

FILES, EACH = 3, 4  # sealed files, and events of each; one more event is in the journal
ALL = list(range(1, FILES * EACH + 2))
SECOND = list(range(EACH + 1, 2 * EACH + 1))


def _log(audit: AuditLogger, **facts: Any) -> None:
    with pytest.raises(StopIteration):
        audit.log_event("EXPORT", **facts).send(None)


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("archive") / "trail"
    registry = CollectorRegistry()
    audit = AuditLogger(auto_export_path=directory, max_events=EACH, registry=registry)
    for number in ALL:
        _log(audit, user_id=f"u{number}", metadata={"number": number})
    copy = tmp_path_factory.mktemp("copy") / "trail"
    shutil.copytree(directory, copy)
    audit.close()
    return copy


@pytest.fixture(name="archive")
def _archive(made: Path, tmp_path: Path) -> Path:
    """Three sealed files, and a journal that was left behind."""
    return Path(shutil.copytree(made, tmp_path / "trail"))


def _second(archive: Path) -> Path:
    return sealed_files(archive)[1]


def _replaced(old: bytes, new: bytes) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        content = path.read_bytes()
        assert old in content
        path.write_bytes(content.replace(old, new, 1))

    return damage


def _half(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:3]) + lines[3][:20])


def _without_its_last_line(path: Path) -> None:
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))


def _instead(make: Callable[[Path], object]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        path.unlink()
        make(path)

    return damage


def _gzipped(path: Path) -> None:
    with gzip.open(f"{path}.gz", "wb") as file:
        file.write(path.read_bytes())
    path.unlink()


def _gzipped_in_place(path: Path) -> None:
    path.write_bytes(gzip.compress(path.read_bytes()))


def _compressed(path: Path) -> Path:
    if not zstd.available():
        pytest.skip("no module for Zstandard")
    target = path.with_name(f"{path.name}.zst")
    with path.open("rb") as source, target.open("wb") as file:
        zstd.compress(source, file)
    path.unlink()
    return target


def _half_compressed(path: Path) -> None:
    target = _compressed(path)
    target.write_bytes(target.read_bytes()[: target.stat().st_size // 2])


def _another(path: Path) -> None:
    shutil.copy(sealed_files(path.parent)[0], path)


DEEP = b'"a":' + b"[" * 100_000

#: What may happen to the second file; the events that are lost by that; what is said.
DAMAGES: dict[str, tuple[Callable[[Path], None], list[int], str]] = {
    "a NUL": (_replaced(b'"u6"', b'"\0006"'), [6], "a line is not an audit event"),
    "no UTF-8": (_replaced(b'"u6"', b'"\xff6"'), [6], "a line is not an audit event"),
    "a flipped quote": (_replaced(b'"u6"', b"#u6#"), [6], "a line is not an audit event"),
    "depth": (_replaced(b'"number":6', DEEP), [6], "a line is not an audit event"),
    "two lines in one": (
        _replaced(b"}\n,{", b"},,{"),
        SECOND[:2],
        "a line is not an audit event",
    ),
    "no first line": (
        _replaced(b'{"events":[', b'{"events":{'),
        [],
        "a line is not an audit event",
    ),
    "half": (_half, SECOND[2:], "its end is missing"),
    "no last line": (_without_its_last_line, [], "its end is missing"),
    "empty": (_instead(Path.touch), SECOND, "it is empty"),
    "a directory": (_instead(Path.mkdir), SECOND, "Is a directory"),
    "a FIFO": (_instead(os.mkfifo), SECOND, "not a regular file"),
    "a loop": (_instead(lambda path: path.symlink_to(path.name)), SECOND, "symbolic links"),
    "NULs": (_instead(lambda path: path.write_bytes(bytes(5000))), SECOND, "no audit events"),
    "gone": (Path.unlink, SECOND, "it is gone, with events 5 to 8"),
    "gzip": (_gzipped, SECOND, "gunzip it"),
    "gzip in place": (_gzipped_in_place, SECOND, "gunzip it"),
    "half of it compressed": (_half_compressed, SECOND, "cannot read"),
    "another's copy": (_another, SECOND, "events of another file"),
}


@pytest.fixture(name="damaged", params=DAMAGES)
def _damaged(archive: Path, request: pytest.FixtureRequest) -> tuple[Path, list[int], str]:
    """The archive, the numbers of the events that it still has, and what is said."""
    damage, lost, said = DAMAGES[request.param]
    damage(_second(archive))
    return archive, [number for number in ALL if number not in lost], said


class TestDamage:
    """Each kind of damage to one sealed file of several."""

    def test_commands(self, cli: Cli, damaged: tuple[Path, list[int], str], tmp_path: Path) -> None:
        """Everything else is printed or written; stderr and the exit code say that it is not
        all, whichever command it is."""
        archive, left, said = damaged
        query = cli("query", archive, "--json", code=1)
        assert sorted(json.loads(line)["sequence"] for line in query.stdout.splitlines()) == left
        stats = cli("stats", archive, "--json", code=1)
        assert json.loads(stats.stdout)["total_operations"] == len(left)
        alerts = cli("alerts", archive, "--json", code=1)
        assert json.loads(alerts.stdout)[0]["count"] == len(left)
        tail = cli("tail", archive, "-n", 99, "--json", code=1)
        assert len(tail.stdout.splitlines()) == len(left)
        out = tmp_path / "out.jsonl"
        export = cli("export", archive, out, code=1)
        assert len(out.read_bytes().splitlines()) == len(left)
        otlp = cli("export", archive, tmp_path / "out.otlp", "--format", "otlp", code=1)
        for result in (query, stats, alerts, tail, export, otlp):
            (line,) = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
            assert line.startswith("Error: cannot read")
            assert said in line

    def test_the_api(self, make_audit: Make, damaged: tuple[Path, list[int], str]) -> None:
        """One warning for an answer; with `strict`, an error instead."""
        archive, left, said = damaged
        audit = make_audit(name="other", auto_export_path=archive)
        with pytest.warns(ArchiveIncompleteWarning, match=said) as told:
            found = audit.query_events(archived=True, operation="EXPORT")
        assert sorted(event.sequence for event in found) == left
        assert [warning.filename for warning in told] == [__file__]
        for answer in (
            audit.query_events,
            partial(audit.get_user_statistics, None),
            partial(audit.export_to_file, archive.with_name("out.json")),
        ):
            with pytest.raises(ArchiveError, match=said):
                answer(archived=True, strict=True)

    def test_a_monitor(
        self,
        make_audit: Make,
        damaged: tuple[Path, list[int], str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """It counts all else before it begins, and says in the log that this is not all."""
        archive, left, said = damaged
        audit = make_audit(name="other", auto_export_path=archive)
        exact = Rule("exact", over=len(left) - 1, window="1h", operations="EXPORT")
        more = Rule("more", over=len(left), window="1h", operations="EXPORT")
        with SecurityMonitor(audit, [exact, more], lambda alert: None) as monitor:
            assert [alert.rule for alert in monitor.active] == [exact]
        assert said in caplog.text

    def test_follower(self, damaged: tuple[Path, list[int], str]) -> None:
        """It reads all that is there, and tells once what it cannot."""
        archive, left, _ = damaged
        follower, missing = Follower(archive), Missing()
        found = {event.sequence for event in follower.poll(missing)}
        assert found == set(left)
        before = missing.lines()
        assert list(follower.poll(missing)) == []
        assert missing.lines() == before
        follower.close()

    def test_replay(self, damaged: tuple[Path, list[int], str], http: Receiver) -> None:
        """Readable events are sent, and the rest is counted."""
        archive, _, _ = damaged
        done = replay(archive, Endpoint.resolve(http.url), {})
        assert set(ALL) - set(SECOND) <= set(http.numbers)
        assert done.missing + done.unreadable > 0 or set(http.numbers) == set(ALL)


#: What may stand beside our files under a name like theirs.
OTHERS: dict[str, Callable[[Path], object]] = {
    "a report": lambda path: path.write_text('{"period": "2025-01", "total_events": 35}'),
    "a schema of its own": lambda path: path.write_text('{"events": [{"what": "else"}]}'),
    "garbage": lambda path: path.write_bytes(b"\0garbage"),
    "a directory": Path.mkdir,
    "a FIFO": os.mkfifo,
    "a loop": lambda path: path.symlink_to(path.name),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "empty": Path.touch,
}


class TestPassedOver:
    """Files of other programs and copies do not make an answer incomplete."""

    @pytest.mark.parametrize("other", OTHERS)
    def test_beside(self, cli: Cli, make_audit: Make, archive: Path, other: str) -> None:
        """Every event is read once, the exit code is 0, and no warning comes."""
        OTHERS[other](archive / "audit_report_2025.json")
        result = cli("query", archive, "--json")
        assert len(result.stdout.splitlines()) == len(ALL)
        assert "Error" not in result.stderr
        cli("stats", archive)
        cli("alerts", archive, code=1)  # many exports
        cli("tail", archive)
        audit = make_audit(name="other", auto_export_path=archive)
        assert len(audit.query_events(archived=True, operation="EXPORT")) == len(ALL)

    def test_it_is_said_which(self, cli: Cli, archive: Path) -> None:
        """On stderr."""
        (archive / "audit_report.json").write_text("{}")
        assert "passed over" in cli("stats", archive).stderr
        assert "audit_report.json" in cli("query", archive).stderr

    def test_a_copy(self, cli: Cli, archive: Path) -> None:
        """A sealed file that is there twice is read once."""
        shutil.copy(_second(archive), archive / "audit_2025_01_01_000000.json")
        assert len(cli("query", archive, "--json").stdout.splitlines()) == len(ALL)

    def test_renamed(self, cli: Cli, archive: Path) -> None:
        """A sealed file under another name is still the one that the manifest lists."""
        _second(archive).rename(archive / "audit_2025_01_01_000000.json")
        assert len(cli("query", archive, "--json").stdout.splitlines()) == len(ALL)

    def test_deleted_by_retention(self, cli: Cli, archive: Path) -> None:
        """A file that the manifest lists as deleted is not missing."""
        retire(_second(archive))
        assert len(cli("query", archive, "--json").stdout.splitlines()) == len(ALL) - EACH

    def test_a_torn_journal(self, cli: Cli, archive: Path) -> None:
        """Its writer may be at work."""
        with (archive / "default.journal").open("ab") as file:
            file.write(b',{"event_id":"evt_')
        assert len(cli("query", archive, "--json").stdout.splitlines()) == len(ALL)

    def test_out_of_the_question(self, cli: Cli, archive: Path) -> None:
        """A file that cannot have answered is not missing."""
        files = sealed_files(archive)
        files[0].unlink()
        assert cli("query", archive, "--limit", 3).exit_code == 0
        since = json.loads(cli("tail", archive, "-n", 1, "--json").stdout)["timestamp"]
        assert cli("query", archive, "--since", since).exit_code == 0
        cli("query", archive, code=1)


class TestWhere:
    """Damage in other files than sealed ones."""

    @pytest.mark.parametrize("old", [b'{"events":[', b'"u13"'], ids=["first line", "event"])
    def test_journal(self, cli: Cli, archive: Path, old: bytes) -> None:
        """The rest of it is read."""
        journal = archive / "default.journal"
        with journal.open("ab") as file:
            line = journal.read_bytes().splitlines()[1]
            file.write(b"," + line[1:].replace(b"u13", b"u14").replace(b"evt_0", b"evt_1") + b"\n")
        _replaced(old, b"\0" * len(old))(journal)
        result = cli("query", archive, "--user", "u14", "--json", code=1)
        assert len(result.stdout.splitlines()) == 1
        assert "default.journal': a line is not an audit event" in result.stderr

    def test_manifest(self, cli: Cli, archive: Path) -> None:
        """The lines after the damaged one count; a file that this listed is found all the same."""
        manifest = archive / "default.manifest"
        _replaced(b'"kind":"seal"', b'"kind":"SEAL"')(manifest)
        sealed_files(archive)[2].unlink()
        result = cli("query", archive, "--json", code=1)
        assert len(result.stdout.splitlines()) == len(ALL) - EACH
        assert "default.manifest': it has a line that is not a record" in result.stderr
        assert "it is gone, with events 9 to 12" in result.stderr

    @pytest.mark.parametrize("suffix", ["journal", "manifest"])
    @pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "FIFO"])
    def test_of_another_writer(
        self, cli: Cli, make_audit: Make, archive: Path, suffix: str, make: Callable[[Path], None]
    ) -> None:
        """It is said, and ends nothing."""
        make(archive / f"other.{suffix}")
        result = cli("query", archive, "--json", code=1)
        assert len(result.stdout.splitlines()) == len(ALL)
        audit = make_audit(name="mine", auto_export_path=archive)
        with pytest.warns(ArchiveIncompleteWarning, match=rf"other\.{suffix}"):
            assert len(audit.query_events(archived=True, operation="EXPORT")) == len(ALL)

    @pytest.mark.parametrize("bad", [b"\0", b"{", b'{"event_id":1}'])
    @pytest.mark.parametrize("place", [0, 1, -1])
    def test_json_lines(
        self, cli: Cli, archive: Path, tmp_path: Path, bad: bytes, place: int
    ) -> None:
        """The other lines are events, wherever the damaged one is."""
        lines = [event.to_json() for event in archived(archive)]
        lines[place] = bad
        path = tmp_path / "events.jsonl"
        path.write_bytes(b"\n".join(lines) + b"\n")
        result = cli("query", path, "--json", code=1)
        assert len(result.stdout.splitlines()) == len(ALL) - 1
        assert result.stderr.count("Error: ") == 1

    def test_json_of_any_layout(self, cli: Cli, archive: Path, tmp_path: Path) -> None:
        """An item that is no event is said; the others are read."""
        path = tmp_path / "events.json"
        items = [event.to_dict() for event in archived(archive)]
        path.write_text(json.dumps([{"what": "else"}, *items], indent=1))
        assert len(cli("query", path, "--json", code=1).stdout.splitlines()) == len(ALL)

    def test_a_filter(self, cli: Cli, archive: Path) -> None:
        """A line with bytes that none of ours has may have been an answer."""
        _replaced(b'"u6"', b'"u\0"')(_second(archive))
        result = cli("query", archive, "--user", "u6", "--json", code=1)
        assert result.stdout == ""
        assert "a line is not an audit event" in result.stderr

    def test_without_zstd(self, cli: Cli, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The message says what to install."""
        _compressed(_second(archive))
        monkeypatch.setattr(zstd, "_zstd", None)
        result = cli("query", archive, "--json", code=1)
        assert len(result.stdout.splitlines()) == len(ALL) - EACH
        assert "pip install" in result.stderr


def test_a_directory_that_cannot_be_read(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer has the events in memory."""
    audit = make_audit(auto_export_path=tmp_path)
    _log(audit)

    def refuse(path: object) -> list[str]:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.warns(ArchiveIncompleteWarning, match="Permission denied"):
        assert len(audit.query_events(archived=True)) == 1


def test_what_is_told_is_bounded(tmp_path: Path) -> None:
    """A warning names few files; no list is without an end."""
    missing = Missing()
    for number in range(5000):
        missing.add(tmp_path / str(number), "no")
        missing.line(tmp_path / "0")
    assert len(missing.lines()) < 1100
    assert len(str(missing)) < 2000
    assert missing.lines()[-1] == "and 4,001 more"
