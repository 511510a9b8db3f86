"""The SQL of docs/sql.md, in DuckDB and ClickHouse, answers as `axon-audit` does."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import hostile_events
import pytest
from conftest import Cli, Make, retire, sealed_files, until
from forgery import FIRST_LINE, JOURNAL, rewrite
from sql import ClickHouse, DuckDB, blocks, load, question

from axon_audit_otel.events.model import deleted_entries

pytestmark = pytest.mark.component  # duckdb, chdb

DATA = Path(__file__).resolve().parents[1] / "data"
Row = dict[str, Any]


@pytest.fixture(name="engine", scope="module", params=[DuckDB, ClickHouse], ids=["duckdb", "chdb"])
def _engine(request: pytest.FixtureRequest) -> Iterator[DuckDB | ClickHouse]:
    engine = request.param()
    yield engine
    engine.close()


@pytest.fixture(name="hostile")
async def _hostile(make_audit: Make, tmp_path: Path) -> AsyncIterator[Path]:
    """An archive of two writers, one of them compressed, the other running: not all is sealed."""
    directory = tmp_path / "the archive" / "logs"
    settings: dict[str, Any] = {"auto_export_path": directory, "max_events": 20}
    with make_audit(name="two", compress=True, **settings) as audit:
        await hostile_events.record(audit)
        await until(lambda: any(directory.glob("*.zst")))
    running = make_audit(name="one", **settings)
    await hostile_events.record(running)
    assert {path.suffix for path in directory.iterdir()} >= {".json", ".zst", ".journal"}
    yield directory
    running.close()


def _copied(source: Path, to: Path) -> Path:
    shutil.copytree(source, to)
    return to


def _printed(cli: Cli, directory: Path, *options: object) -> list[Row]:
    printed = cli("query", directory, "--json", *options, code=None).stdout
    return [json.loads(line) for line in printed.split("\n") if line]


def _stats(cli: Cli, directory: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli("stats", directory, "--json", code=None).stdout)
    return found


def _moment(value: Any) -> str:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    return f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z"


def _as_recorded(row: Row) -> Row:
    """A row of `events` as the JSON of an event, in which what is empty is left out."""
    fields = {name: value for name, value in row.items() if value or name in _ALWAYS}
    for name in ("file", "hash", "deleted"):
        fields.pop(name, None)
    fields["timestamp"] = _moment(row["timestamp"])
    fields["metadata"] = json.loads(row["metadata"])
    if row["sequence"] is not None:
        fields["sequence"] = int(row["sequence"])
    return fields


_ALWAYS = {"user_id", "session_id", "entry_ids", "metadata", "status", "duration_ms"}


def _sorted(events: list[Row]) -> list[Row]:
    return sorted(events, key=lambda event: event["event_id"])


ARCHIVES = ["plain", "compressed", "two_writers", "unclean", "erasable", "pseudonymized", "signed"]


class TestTheAnswersOfTheCommand:
    """The view `events` has what `axon-audit query` prints."""

    @pytest.mark.parametrize("kind", [*ARCHIVES, "exported"])
    def test_first_edition(self, cli: Cli, engine: Any, tmp_path: Path, kind: str) -> None:
        """Each archive of the first edition."""
        logs = _copied(DATA / "first_edition" / kind / "logs", tmp_path / "logs")
        load(engine, logs)
        found = [_as_recorded(row) for row in engine.ask("SELECT * FROM events")]
        assert _sorted(found) == _sorted(_printed(cli, logs))
        assert found

    def test_hostile(self, cli: Cli, engine: Any, hostile: Path) -> None:
        """Every operation and status; texts, facts and lengths of any kind; while applications
        write: each value is what it was."""
        load(engine, hostile)
        found = [_as_recorded(row) for row in engine.ask("SELECT * FROM events")]
        printed = _printed(cli, hostile)
        assert _sorted(found) == _sorted(printed)
        assert len(found) > 100
        starts = engine.ask("SELECT count(*) AS number FROM trail WHERE operation = 'AUDIT'")
        audits = [event for event in printed if event["operation"] == "AUDIT"]
        assert int(starts[0]["number"]) == len(audits) + 2

    async def test_unlisted_operations(
        self, cli: Cli, engine: Any, make_audit: Make, tmp_path: Path
    ) -> None:
        """Any name is an operation: of a later version."""
        logs = tmp_path / "logs"
        with make_audit(auto_export_path=logs) as audit:
            await audit.log_event("STORE")
        (logs / JOURNAL).write_bytes(FIRST_LINE)
        names = iter(["AUDIT", 'DREAM "of", ünï\n'])
        rewrite(logs, lambda event: event.update(operation=next(names)))
        load(engine, logs)
        found = [_as_recorded(row) for row in engine.ask("SELECT * FROM events")]
        assert found == _printed(cli, logs)
        assert found[0]["operation"] == 'DREAM "of", ünï\n'

    def test_hashes(self, cli: Cli, engine: Any, hostile: Path) -> None:
        """The hash of a line is the one that the next event names."""
        load(engine, hostile)
        rows = engine.ask("SELECT file, sequence, hash, previous_hash FROM trail")
        hashes = {row["hash"] for row in rows}
        firsts = [row for row in rows if row["previous_hash"] is None]
        assert len(firsts) == 2
        assert hashes >= {row["previous_hash"] for row in rows if row not in firsts}

    def test_copies(self, cli: Cli, engine: Any, tmp_path: Path) -> None:
        """An event that is in two files is one."""
        logs = _copied(DATA / "first_edition" / "plain" / "logs", tmp_path / "logs")
        for file in list(logs.glob("audit_*")):
            shutil.copy(file, logs / f"audit_copy_{file.name}")
        load(engine, logs)
        assert len(engine.ask("SELECT * FROM events")) == len(_printed(cli, logs))


class TestQuestions:
    """Each question of the page has the answer that the command gives."""

    @pytest.fixture(autouse=True)
    def _loaded(self, engine: Any, hostile: Path) -> None:
        load(engine, hostile)

    def test_every_block_runs(self, engine: Any, cli: Cli, hostile: Path, tmp_path: Path) -> None:
        """No question is left out here; a healthy archive has nothing that is not whole."""
        for block in blocks()["Questions"]:
            engine.ask(block)
        for block in blocks()["Is it whole?"]:
            assert engine.ask(block) == []

    def test_whose_data(self, cli: Cli, engine: Any, hostile: Path) -> None:
        """`--subject`"""
        for person in ("alice", "bob"):
            rows = engine.ask(question("Who touched", alice=person))
            printed = _printed(cli, hostile, "--subject", person)
            assert Counter(row["event_id"] for row in rows) == Counter(
                event["event_id"] for event in printed
            )
            assert rows

    def test_deletions(self, cli: Cli, engine: Any, hostile: Path) -> None:
        """As the statistics of a day count them: `deleted_entries` of each event."""
        expected: Counter[tuple[str, str | None]] = Counter()
        for event in _printed(cli, hostile):
            if number := deleted_entries(event):
                expected[event["timestamp"][:10], event["user_id"]] += number
        rows = engine.ask(question("Who deleted"))
        found = {(str(row["day"]), row["user_id"]): int(row["entries"]) for row in rows}
        assert found == expected
        assert len(found) > 5

    def test_exports_and_entries(self, cli: Cli, engine: Any, hostile: Path) -> None:
        """`--operation EXPORT`, and `--entry`."""
        exports = [row["event_id"] for row in engine.ask(question("Who exported"))]
        printed = _printed(cli, hostile, "--operation", "EXPORT")
        assert sorted(exports) == sorted(event["event_id"] for event in printed)
        touched = engine.ask(question("What happened", ENTRY_ID="e1"))
        printed = _printed(cli, hostile, "--entry", "e1")
        assert {row["event_id"] for row in touched} == {event["event_id"] for event in printed}
        assert exports
        assert touched

    def test_failures_and_latency(self, cli: Cli, engine: Any, hostile: Path) -> None:
        """`stats`: counts, failures, average and 99th percentile of each operation."""
        operations = _stats(cli, hostile)["operations"]
        rows = engine.ask(question("How many"))
        assert {row["operation"]: int(row["number"]) for row in rows} == {
            name: one["count"] for name, one in operations.items()
        }
        for row in rows:
            latency = operations[row["operation"]]["latency_ms"]
            assert row["p99"] == pytest.approx(latency["p99"])
            assert row["average"] == pytest.approx(latency["avg"])
        failed: Counter[tuple[str, str]] = Counter()
        for row in engine.ask(question("What failed")):
            failed[row["operation"], row["status"]] += int(row["number"])
        assert failed == {
            (name, status): number
            for name, one in operations.items()
            for status, number in one["by_status"].items()
            if status != "SUCCESS"
        }


def _cut(line: bytes) -> bytes:
    return line[: len(line) // 2] + b"\n"


def _glued(line: bytes) -> bytes:
    return line[:-1]


def _not_utf8(line: bytes) -> bytes:
    return line.replace(b'"status"', b'"st\xff\xfeus"')


def _with_control(line: bytes) -> bytes:
    return line.replace(b'"status"', b'"st\x01\x00us"')


def _two_in_one(line: bytes) -> bytes:
    return line[:-1] + b"\r" + line


def _quoted(line: bytes) -> bytes:
    return b'"' + line


DAMAGES = [_cut, _glued, _not_utf8, _with_control, _two_in_one, _quoted]


class TestDamage:
    """What is damaged ends no answer, and is found."""

    @pytest.mark.parametrize("damage", DAMAGES)
    def test_a_line(
        self, cli: Cli, engine: Any, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        """The rest is answered, as by the command; the break in the chain is found."""
        logs = _copied(DATA / "first_edition" / "plain" / "logs", tmp_path / "logs")
        file = sealed_files(logs)[0]
        lines = file.read_bytes().splitlines(keepends=True)
        lines[3] = damage(lines[3])
        file.write_bytes(b"".join(lines))
        load(engine, logs)
        found = [_as_recorded(row) for row in engine.ask("SELECT * FROM events")]
        if damage is _two_in_one and engine.name == "DuckDB":  # "\\r" ends a line there
            assert 3 in [event["sequence"] for event in found]
            return
        assert _sorted(found) == _sorted(_printed(cli, logs))
        (broken, *_) = engine.ask(blocks()["Is it whole?"][0])
        assert (broken["file"], int(broken["sequence"])) == (
            file.name,
            5 if damage is _glued else 4,
        )

    def test_an_end(self, cli: Cli, engine: Any, hostile: Path) -> None:
        """A file, a compressed file, and a journal that break off; and empty ones."""
        cut = [min(hostile.glob(pattern)) for pattern in ("*.json", "*.zst", "one.journal")]
        for file in cut:
            content = file.read_bytes()
            file.write_bytes(content[: len(content) * 2 // 3])
        (hostile / "audit_2020_01_01_000000.json").write_bytes(b"")
        (hostile / "new.journal").write_bytes(b"")
        load(engine, hostile)
        found = {row["event_id"] for row in engine.ask("SELECT event_id FROM events")}
        assert found >= {event["event_id"] for event in _printed(cli, hostile)}
        ends = [row["file"] for row in engine.ask(blocks()["Is it whole?"][1])]
        assert sorted(ends) == sorted(file.name.removesuffix(".zst") for file in cut[:2])

    def test_a_gap(self, cli: Cli, engine: Any, tmp_path: Path) -> None:
        """The event after a gap, of which `verify` knows too."""
        logs = _copied(DATA / "first_edition" / "unclean" / "logs", tmp_path / "logs")
        load(engine, logs)
        (broken,) = engine.ask(blocks()["Is it whole?"][0])
        writers = json.loads(cli("verify", logs, "--json", code=None).stdout)["writers"]
        (gap,) = [gap for writer in writers for gap in writer["gaps"]]
        assert int(broken["sequence"]) == gap["last"] + 1

    def test_removed(self, engine: Any, tmp_path: Path) -> None:
        """A file in the middle, and the newest one, are missed."""
        for index in (1, -1):
            logs = _copied(DATA / "first_edition" / "plain" / "logs", tmp_path / f"logs{index}")
            file = sealed_files(logs)[index]
            file.unlink()
            load(engine, logs)
            (missing,) = engine.ask(blocks()["Is it whole?"][1])
            assert missing["file"] == file.name

    def test_retention(self, engine: Any, tmp_path: Path) -> None:
        """What retention has deleted is not missed."""
        logs = _copied(DATA / "first_edition" / "plain" / "logs", tmp_path / "logs")
        retire(sealed_files(logs)[0])
        load(engine, logs)
        for block in blocks()["Is it whole?"]:
            assert engine.ask(block) == []

    def test_changed_and_inserted(self, engine: Any, tmp_path: Path) -> None:
        """An event that was altered, one that was put in beside another, one without a number."""
        logs = _copied(DATA / "first_edition" / "plain" / "logs", tmp_path / "logs")
        first, second, *_ = sealed_files(logs)
        content = first.read_bytes()
        first.write_bytes(content.replace(b'"user_id":"alice"', b'"user_id":"mally"', 1))
        lines = second.read_bytes().splitlines(keepends=True)
        twin = lines[2].replace(b'"event_id":"evt_0', b'"event_id":"evt_f')
        strange = twin.replace(b'"sequence":9,', b'"sequence":0,')
        last = lines.pop()
        second.write_bytes(b"".join([*lines, twin, strange, last]))
        load(engine, logs)
        broken, seals, forks, unnumbered, _ = (engine.ask(b) for b in blocks()["Is it whole?"])
        assert [int(row["sequence"]) for row in broken] == [2]
        assert seals == []
        assert [int(row["events"]) for row in forks] == [3]
        assert len(unnumbered) == 0


class TestParquet:
    """The block of the page about Parquet."""

    def test_block(
        self, cli: Cli, engine: Any, hostile: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It counts what `stats` counts."""
        out = tmp_path / "events.parquet"
        cli("export", hostile, out)
        (block,) = blocks()["Parquet"]
        source = f"'{out}'" if engine.name == "DuckDB" else f"file('{out}')"
        rows = engine.ask(block.replace("'events.parquet'", source))
        assert {row["operation"]: int(row["number"]) for row in rows} == _stats(cli, hostile)[
            "by_operation"
        ]
