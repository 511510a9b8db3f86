"""Who read the trail is on record: which readings, what the record says, and what it does not."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import click
import msgspec
import pytest
from click.testing import CliRunner
from conftest import Cli, Make

from axon_audit_otel import AuditEvent, AuditLogger, verify
from axon_audit_otel.archive.checkpoints import SigningKey, new_key
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.search import search
from axon_audit_otel.cli.access import Access, recorded_reading
from axon_audit_otel.cli.options import keys_option, path_argument
from axon_audit_otel.core.os_user import os_user
from axon_audit_otel.events.model import OperationType
from axon_audit_otel.events.query import Query
from axon_audit_otel.privacy.erased_tokens import keys_of
from axon_audit_otel.privacy.policy import PrivacyPolicy

ALICE, BOB, SECRET = "alice-7f3e", "bob-51c0", "0123456789abcdef0123456789abcdef"
WHO = os_user().name
NAMED = f':"{WHO}"'
ALL = {"AXON_AUDIT_RECORD_READS": "all"}
REQUIRED = {"AXON_AUDIT_RECORD_READS": "required"}


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture(name="key")
def _key(tmp_path: Path) -> Path:
    path = tmp_path / "auditor.key"
    path.write_text(new_key("auditor").line())
    return path


def day(make_audit: Make, archive: Path, events: int = 6, **settings: Any) -> AuditLogger:
    """An application that recorded some events of two users, and still runs."""
    audit = make_audit(auto_export_path=archive, **settings)

    async def record() -> None:
        for number in range(events):
            facts = {"topic": f"topic {number}"}
            user = (ALICE, BOB)[number % 2]
            await audit.log_event("RECALL", user, entry_ids=["entry-1"], metadata=facts)

    asyncio.run(record())
    return audit


def readings(archive: Path, keys: Path | None = None) -> list[AuditEvent]:
    """The records of readings, oldest first, readable as far as there are keys."""
    keys = keys or keys_of(archive)
    policy = PrivacyPolicy.for_reading(archive, keys) if keys.is_dir() else PrivacyPolicy()
    found = search(archive, Query(with_start=True), oldest_first=True, missing=Missing())
    return [event for event in policy.readable(found) if event.metadata.get("record") == "access"]


def content(archive: Path) -> str:
    files = [path for path in archive.iterdir() if path.is_file()]
    return "".join(path.read_bytes().decode("utf-8", "replace") for path in files)


class TestWhichReadings:
    @pytest.mark.parametrize(
        "arguments",
        [
            ("query",),
            ("query", "--json"),
            ("query", "--user", ALICE),
            ("stats",),
            ("tail",),
            ("alerts",),
            ("influence", "entry-1"),
            ("lineage", "entry-1"),
            ("export", "{out}", "--decrypt"),
            ("export", "{out}.csv", "--decrypt", "--limit", "2"),
        ],
    )
    def test_what_decrypts_is_recorded(
        self, make_audit: Make, cli: Cli, archive: Path, tmp_path: Path, arguments: tuple[str, ...]
    ) -> None:
        """By default a command that decrypted what it showed leaves one record of that."""
        day(make_audit, archive, erasable=True).close()
        command, *rest = (word.format(out=tmp_path / "out") for word in arguments)
        first = rest[:1] if command in ("influence", "lineage") else []
        options = (archive, *rest[len(first) :], "--reason", "ticket 7")
        cli(command, *first, *options, code=1 if command == "influence" else 0)
        (record,) = readings(archive)
        assert (record.operation, record.status, record.user_id) == ("AUDIT", "SUCCESS", WHO)
        assert record.metadata["command"] == command
        assert record.metadata["events"] == record.metadata["revealed"] > 0
        assert record.metadata["state"] == "ended"
        assert record.metadata["uid"] == os.getuid()
        assert record.purpose == "ticket 7"
        assert verify(archive).ok

    @pytest.mark.parametrize("settings", [{}, {"pseudonymize": SECRET}], ids=["plain", "hashed"])
    def test_what_reveals_nothing_is_recorded_on_demand(
        self, make_audit: Make, cli: Cli, archive: Path, settings: dict[str, Any]
    ) -> None:
        """Without encryption, a query is recorded only if all of them are to be."""
        day(make_audit, archive, **settings).close()
        cli("query", archive)
        assert not readings(archive)
        cli("query", archive, **ALL)
        cli("stats", archive, "--since", "2025-01", "--operation", "recall", **ALL)
        first, second = readings(archive)
        assert (first.metadata["events"], first.metadata["revealed"]) == (6, 0)
        assert second.metadata["filters"] == {"operation": "RECALL", "since": LOCAL_JANUARY}

    def test_without_decrypting(
        self, make_audit: Make, cli: Cli, archive: Path, tmp_path: Path
    ) -> None:
        """An export as recorded, and a reading without the keys, reveal nothing."""
        day(make_audit, archive, erasable=True).close()
        cli("export", archive, tmp_path / "out.json", "--user", ALICE)
        keys_of(archive).rename(tmp_path / "elsewhere")
        cli("query", archive)
        assert not readings(archive)
        cli("query", archive, **ALL)
        (record,) = readings(archive)
        assert record.user_id is None
        assert "uid" not in record.metadata
        assert NAMED not in content(archive)

    def test_off(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Switched off, nothing is recorded; another value is an error."""
        day(make_audit, archive, erasable=True).close()
        cli("query", archive, AXON_AUDIT_RECORD_READS="off")
        assert not readings(archive)
        assert (
            "off or revealing" in cli("query", archive, code=1, AXON_AUDIT_RECORD_READS="x").stderr
        )

    def test_receipt(self, make_audit: Make, cli: Cli, archive: Path, key: Path) -> None:
        """A receipt that says who asked for the erasure is a reading."""
        audit = day(make_audit, archive, erasable=True, signing_key=key)
        audit.erase_user(BOB)
        (erasure,) = [e for e in audit.query_events(operation="AUDIT") if "tokens" in e.metadata]
        audit.close()
        options = ("--signing-key", key, "--json")
        cli("receipt", erasure.event_id, archive, *options, code=None)
        assert not readings(archive)
        cli("receipt", erasure.event_id, archive, *options, "--decrypt", code=None)
        (record,) = readings(archive)
        assert (record.metadata["command"], record.status) == ("receipt", "SUCCESS")


LOCAL_JANUARY = "2025-01-01T00:00:00.000000Z"


class TestWhatItSays:
    def test_whose_data(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Who looked at a person's data is found by that person, and not counted as use."""
        day(make_audit, archive, erasable=True).close()
        before = json.loads(cli("stats", archive, "--json").stdout)
        cli("query", archive, "--user", ALICE)
        cli("query", archive, "--user", BOB)
        found = cli("query", archive, "--subject", ALICE, "--operation", "AUDIT", "--json").stdout
        (line,) = found.splitlines()
        assert json.loads(line)["metadata"]["by"] == ["user"]
        assert not cli("query", archive, "--subject", ALICE, "--json").stdout
        assert json.loads(cli("stats", archive, "--json").stdout) == before
        shown = cli("query", archive, "--operation", "AUDIT", columns=150).stdout
        assert f"read with query: 3 events, 3 decrypted of {ALICE}" in shown

    def test_encrypted(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """In an encrypted archive, neither reader nor reason nor person is in clear; nobody gets
        a key because somebody asked for the name; an erasure takes the record too."""
        day(make_audit, archive, erasable=True).close()
        cli("query", archive, "--user", ALICE, "--reason", "the merger")
        cli("query", archive, "--subject", "mallory", **ALL)
        text = content(archive)
        assert not [word for word in (ALICE, "mallory", "merger", NAMED) if word in text]
        policy = PrivacyPolicy.for_reading(archive, keys_of(archive))
        assert not policy.knows("mallory")
        cli("erase", ALICE, archive)
        first, second = readings(archive)
        assert ALICE not in str(first)
        assert (first.user_id, first.purpose) == (WHO, None)
        assert second.metadata["by"] == ["subject"]

    def test_hashed(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """In a hashed archive, no id is in clear, with the secret or without it."""
        day(make_audit, archive, pseudonymize=SECRET).close()
        said = cli("query", archive, "--user", ALICE, "--reason", "of alice", **ALL).stderr
        assert "recorded without a name: ids in this archive are hashed" in said
        cli("query", archive, "--user", ALICE, "--pseudonymize", SECRET, **ALL)
        without, with_secret = readings(archive)
        assert str(with_secret.user_id).startswith("hmac-sha256:")
        of = with_secret.subject_id
        hashed = next(search(archive, Query(operation=OperationType.RECALL, user_id=of)))
        assert hashed.user_id == of
        assert (without.user_id, without.subject_id) == (None, None)
        assert ALICE not in content(archive)
        assert NAMED not in content(archive)
        assert without.metadata["uid"] == os.getuid()

    @pytest.mark.slow
    def test_interrupted(self, make_audit: Make, archive: Path) -> None:
        """`| head`, and an application that still writes."""
        audit = day(make_audit, archive, events=3000, max_events=10_000, erasable=True)
        command = [sys.executable, "-m", "axon_audit_otel", "query", str(archive), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.stdout.close()
        (record,) = readings(archive)
        assert record.status == "PARTIAL"
        assert 0 < record.metadata["revealed"] < 3000
        asyncio.run(audit.log_event("STORE", user_id=ALICE))
        audit.close()
        assert verify(archive).ok

    @pytest.mark.slow
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
    def test_ended_by_a_signal(
        self, make_audit: Make, archive: Path, number: signal.Signals
    ) -> None:
        """By `kill`, `timeout`, or a terminal that is closed."""
        day(make_audit, archive, events=3000, max_events=10_000, erasable=True).close()
        command = [sys.executable, "-m", "axon_audit_otel", "query", str(archive), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(number)
            process.communicate()
        assert process.returncode == (130 if number is signal.SIGINT else -number)
        (record,) = readings(archive)
        assert record.status == "PARTIAL"
        assert 0 < record.metadata["revealed"] < 3000

    def test_interrupted_twice(
        self, make_audit: Make, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An impatient reader, whose second Ctrl-C comes while the first is recorded."""
        day(make_audit, archive, erasable=True).close()
        emit = AuditLogger.emit

        def interrupted(*given: Any) -> bytes:
            signal.raise_signal(signal.SIGINT)
            return emit(*given)

        monkeypatch.setattr(AuditLogger, "emit", interrupted)

        def read() -> None:
            with Access("query", {"path": archive}) as reading:
                reading.events = reading.revealed = 6
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            read()
        (record,) = readings(archive)
        assert record.status == "PARTIAL"

    @pytest.mark.usefixtures("busy_threads")
    def test_shown_by_several_threads(self, make_audit: Make, archive: Path) -> None:
        """Pages are made at the same time."""
        day(make_audit, archive, erasable=True).close()
        policy = PrivacyPolicy.for_reading(archive, keys_of(archive))
        events = list(map(policy.reveal, search(archive, Query(), missing=Missing()))) * 2000
        reading = Access("view", {"path": archive})
        threads = [Thread(target=lambda: deque(reading.shown(events), 0)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert (reading.events, reading.revealed) == (48_000, 48_000)

    @pytest.mark.slow
    def test_follow(self, make_audit: Make, archive: Path) -> None:
        """`tail --follow` is recorded when it begins and when it ends."""
        day(make_audit, archive, erasable=True).close()
        command = [sys.executable, "-m", "axon_audit_otel", "tail", str(archive), "-f", "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            for _ in range(6):
                process.stdout.readline()
            (begun,) = readings(archive)
            process.send_signal(signal.SIGINT)
            process.stdout.read()
        assert process.returncode == 0
        _, ended = readings(archive)
        assert [begun.metadata["state"], ended.metadata["state"]] == ["begun", "ended"]
        assert "events" not in begun.metadata
        assert ended.metadata["revealed"] == 6


class TestWhereItCannotBeRecorded:
    def test_signed(self, make_audit: Make, cli: Cli, archive: Path, key: Path) -> None:
        """Beside signed trails a record must be signed: nothing unsigned appears."""
        day(make_audit, archive, erasable=True, signing_key=key).close()
        verifying = SigningKey(key.read_text()).verifying
        before = sorted(archive.iterdir())
        said = cli("query", archive).stderr
        assert "this reading is not recorded: checkpoints of the archive are signed" in said
        said = cli("query", archive, AXON_AUDIT_SIGNING_KEY=str(archive / "no.key")).stderr
        assert "this reading is not recorded" in said
        refused = cli("query", archive, code=1, **REQUIRED)
        assert (refused.stdout, "nothing is shown" in refused.stderr) == ("", True)
        assert sorted(archive.iterdir()) == before
        for _ in range(3):
            cli("query", archive, "--signing-key", key, **REQUIRED)
        assert len(readings(archive)) == 6
        report = verify(archive, [verifying])
        assert report.ok
        assert report.verdict == "ok"

    def test_keys_of_two_readers(
        self, make_audit: Make, cli: Cli, archive: Path, key: Path, tmp_path: Path
    ) -> None:
        """Each reader's key has a trail of its own, which goes on."""
        audit = day(make_audit, archive, erasable=True, signing_key=key)
        other = tmp_path / "other.key"
        other.write_text(new_key("other").line())
        for one in (key, other, key, other):
            cli("query", archive, "--limit", "1", "--signing-key", one)
        audit.close()
        day(make_audit, archive, erasable=True, signing_key=key).close()
        records = {e.metadata["record"] for e in search(archive, Query(operation="AUDIT"))}
        assert records <= {"access", "start"}
        assert len(readings(archive)) == 4
        keys = [SigningKey(one.read_text()).verifying for one in (key, other)]
        report = verify(archive, keys)
        assert (report.verdict, report.unproved, report.findings) == ("ok", [], [])

    @pytest.mark.slow
    @pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
    def test_another_user(self, make_audit: Make) -> None:
        """Who may read but not write leaves nothing, and is told so."""
        with tempfile.TemporaryDirectory() as place:  # pytest's own are for one user only
            Path(place).chmod(0o755)
            archive = Path(place, "archive")
            day(make_audit, archive, erasable=True).close()
            for path in (archive, keys_of(archive), *Path(place).rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)
            program = (
                "import os, sys; from axon_audit_otel.cli.main import main; os.setuid(65534);"
                " main(sys.argv[1:])"
            )
            command = [sys.executable, "-c", program, "query", str(archive)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert (done.returncode, "cannot be written" in done.stderr) == (0, True), done.stderr
            assert ALICE in done.stdout
            assert not readings(archive)
            environ = {**os.environ, **REQUIRED}
            done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
            assert (done.returncode, done.stdout) == (1, "")

    def test_full_disk(self, make_audit: Make, cli: Cli, small_disk: Path) -> None:
        """Where there is no room, the answer comes with a note, or, required, not at all."""
        archive = small_disk / "logs"
        day(make_audit, archive, erasable=True).close()
        ballast = small_disk / "ballast"
        with ballast.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 1024):
                pass
        shown = cli("query", archive)
        assert "this reading is not recorded" in shown.stderr
        assert ALICE in shown.stdout
        assert cli("query", archive, code=1, **REQUIRED).stdout == ""
        ballast.unlink()
        cli("query", archive, **REQUIRED)
        assert [record.metadata["state"] for record in readings(archive)][-2:] == ["begun", "ended"]
        assert verify(archive).ok

    def test_damaged(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """A reading of what is left of an archive is recorded."""
        day(make_audit, archive, erasable=True).close()
        (file,) = archive.glob("audit_*.json")
        file.write_bytes(file.read_bytes()[:-300])
        cli("query", archive, code=1)
        (record,) = readings(archive)
        assert record.metadata["revealed"] > 0

    def test_exported_file(self, cli: Cli, tmp_path: Path) -> None:
        """Where no application writes, nothing is begun."""
        source = Path(__file__).parents[1] / "data" / "first_edition" / "plain"
        file = next(path for path in source.rglob("audit_*.json"))
        copy = tmp_path / "given" / file.name
        copy.parent.mkdir()
        shutil.copy(file, copy)
        said = cli("query", copy.parent, code=None, **ALL).stderr
        assert "this reading is not recorded" in said
        assert list(copy.parent.iterdir()) == [copy]

    def test_no_archive(self, cli: Cli, tmp_path: Path) -> None:
        """A wrong path is an error, and no archive is made there."""
        assert "no such file" in cli("query", tmp_path / "gone", code=2, **ALL).stderr
        assert not list(tmp_path.iterdir())


@click.command()
@path_argument
@keys_option
@click.option("--fail", is_flag=True)
@recorded_reading(always=True)
def made_for_others(path: Path, keys: Path | None, fail: bool, reading: Access) -> None:
    """A command whose answers are given to others; it asks two questions."""
    policy = PrivacyPolicy.for_reading(path, keys) if keys else PrivacyPolicy()
    for user in (ALICE, BOB):
        with reading.part(user=user) as part:
            query = Query(user_id=user)
            list(reading.shown(part.shown(policy.read(query, lambda asked: search(path, asked)))))
    reading.facts["format"] = "html"
    if fail:
        raise click.ClickException("no")


class TestMadeForOthers:
    def invoke(self, *arguments: object, **environment: str) -> None:
        CliRunner().invoke(made_for_others, list(map(str, arguments)), env=environment)

    def test_always(self, make_audit: Make, archive: Path) -> None:
        """It is recorded though nothing was encrypted, also if it fails after it showed something;
        each of its questions only if all readings are."""
        day(make_audit, archive).close()
        self.invoke(archive)
        self.invoke(archive, "--fail")
        first, second = readings(archive)
        assert first.metadata["events"] == 6
        assert first.metadata["format"] == "html"
        assert (first.status, second.status) == ("SUCCESS", "FAILURE")
        self.invoke(archive, **ALL)
        *_, alice, bob, whole = readings(archive)
        assert [alice.subject_id, bob.subject_id, whole.subject_id] == [ALICE, BOB, None]
        assert [alice.metadata["events"], whole.metadata["events"]] == [3, 6]
        self.invoke(archive, AXON_AUDIT_RECORD_READS="off")
        assert len(readings(archive)) == 5

    def test_a_report_that_is_not_written(
        self, make_audit: Make, cli: Cli, archive: Path, tmp_path: Path
    ) -> None:
        """It was read all the same."""
        day(make_audit, archive).close()
        period = ("--from", "2d", "--to", "today")
        cli("report", archive, *period, "--output", tmp_path / ("x" * 300), code=2)
        (record,) = readings(archive)
        assert (record.status, record.metadata["events"]) == ("FAILURE", 7)

    def test_parts_that_reveal(self, make_audit: Make, archive: Path) -> None:
        """What parts reveal is in the record of the whole."""
        day(make_audit, archive, erasable=True).close()
        self.invoke(archive, "--keys", keys_of(archive))
        (record,) = readings(archive)
        assert record.metadata["revealed"] == 6


class TestFiles:
    def test_many_readings_make_few_files(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """Readings go on in one journal, also while an application starts; the chain is whole."""
        day(make_audit, archive).close()
        for _ in range(20):
            cli("query", archive, "--limit", "1", **ALL)
        assert not list(archive.glob("access*.manifest"))
        assert len(list(archive.glob("audit_*.json"))) == 1
        day(make_audit, archive).close()  # a start seals what others left
        for _ in range(3):
            cli("query", archive, "--limit", "1", **ALL)
        assert len(readings(archive)) == 23
        told = {event.metadata["record"] for event in search(archive, Query(operation="AUDIT"))}
        assert told <= {"access", "start"}
        report = verify(archive)
        assert report.ok
        assert not [writer.unclean_ends for writer in report.writers if writer.unclean_ends]

    @pytest.mark.slow
    def test_two_at_once(self, make_audit: Make, archive: Path) -> None:
        """Readings at the same time are all recorded, in as many trails as there were at once."""
        audit = day(make_audit, archive, erasable=True)
        command = [sys.executable, "-m", "axon_audit_otel", "query", str(archive), "--limit", "1"]
        running = [
            subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for _ in range(3)
        ]
        assert [process.wait() for process in running] == [0, 0, 0]
        assert len(readings(archive)) == 3
        assert len(list(archive.glob("access*.journal"))) <= 3
        audit.close()
        assert verify(archive).ok

    def test_old_journal_is_sealed(
        self, make_audit: Make, cli: Cli, archive: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """After a day the journal becomes a sealed file, which retention can delete."""
        day(make_audit, archive).close()
        cli("query", archive, **ALL)
        now = time.time_ns()
        monkeypatch.setattr(time, "time_ns", lambda: now + 2 * 86_400 * 10**9)
        cli("query", archive, **ALL)
        assert not (archive / "access.journal").exists()
        assert len(list(archive.glob("audit_*.json"))) == 2
        assert len(readings(archive)) == 2

    def test_killed(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """After a reading that was killed while it wrote, the next one tells it, and goes on."""
        day(make_audit, archive).close()
        cli("query", archive, **ALL)
        (archive / ".access.lock").write_text("4711\n")
        with (archive / "access.journal").open("ab") as journal:
            journal.write(b',{"event_id":"evt_')
        cli("query", archive, **ALL)
        cli("query", archive, **ALL)
        assert len(readings(archive)) == 3
        (told,) = [
            event
            for event in search(archive, Query(operation=OperationType.AUDIT))
            if event.metadata["record"] == "unclean_end"
        ]
        assert told.metadata["torn_bytes"] == 18
        assert verify(archive).ok

    def test_invented_events(
        self, make_audit: Make, cli: Cli, archive: Path, key: Path, tmp_path: Path
    ) -> None:
        """What somebody added to the journal of readings is not signed with it: it is adopted."""
        day(make_audit, archive, signing_key=key).close()
        signed = ("query", archive, "--signing-key", key)
        cli(*signed, **ALL)
        (journal,) = archive.glob("access-*.journal")
        (last,) = readings(archive)
        invented = msgspec.structs.replace(
            last, event_id="evt_0", sequence=last.sequence + 1, previous_hash=last.hash
        )
        with journal.open("ab") as file:
            file.write(b"," + invented.to_json() + b"\n")
        cli(*signed, **ALL)
        report = verify(archive, [SigningKey(key.read_text()).verifying])
        assert [finding.kind for finding in report.findings] == ["adopted"]

    def test_environment_of_an_application(self, make_audit: Make, cli: Cli, archive: Path) -> None:
        """What tells an application to delete or ship does not tell a reading to."""
        day(make_audit, archive).close()
        cli(
            *("query", archive),
            AXON_AUDIT_MAX_ARCHIVE_BYTES="1",
            AXON_AUDIT_SHIP_TO="http://127.0.0.1:1",
            AXON_AUDIT_MAX_EVENTS="1",
            AXON_AUDIT_NAME="default",
            **ALL,
        )
        assert len(readings(archive)) == 1
        assert verify(archive).ok
        assert (archive / "access.journal").exists()


PRIVATE = "notes/alice-liddell/k1"


@pytest.mark.parametrize("settings", [{"erasable": True}, {"pseudonymize": SECRET}])
def test_private_entries(
    make_audit: Make, cli: Cli, archive: Path, settings: dict[str, Any]
) -> None:
    """A record names an entry as the events do that it showed, if its id names somebody; also
    the key of the reader does not open that when its owner is erased."""
    audit = make_audit(auto_export_path=archive, **settings)
    with audit.operation("STORE", owner=ALICE, private_ids=True) as op:
        op.saved(PRIVATE)
    audit.record("STORE", entry_ids=["k2"])
    secret = archive.parent / "secret"
    secret.write_text(SECRET)
    more = ("--pseudonymize", f"@{secret}") if "pseudonymize" in settings else ()
    for entry in (PRIVATE, "k2", "notes/alice-liddell/unknown"):
        cli("query", archive, "--entry", entry, *more, **ALL)
        cli("lineage", entry, archive, *more, code=2 if "unknown" in entry else 0, **ALL)
    found = readings(archive)
    if "erasable" in settings:
        audit.erase_user(ALICE)
        facts = [record.metadata for record in readings(archive)]
        assert [one.get("by") for one in facts] == [None] * 4 + [["entry"]] * 2
        assert [one["filters"]["entry"] for one in facts[2:4]] == [["k2"], "k2"]
        assert "liddell" not in str(facts)
    assert len(found) == 6
    assert "liddell" not in content(archive)
    audit.close()
