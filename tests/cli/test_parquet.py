"""`axon-audit export --format parquet`: the events of `jsonl`, with a type for each column."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import hostile_events
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Cli, Make, Run
from sql import ClickHouse, DuckDB

from axon_audit_otel import AuditEvent, AuditLogger, __version__

Row = dict[str, Any]
FIRST = Path(__file__).resolve().parents[1] / "data" / "first_edition"


@pytest.fixture(name="logs")
async def _logs(make_audit: Make, tmp_path: Path) -> Path:
    """An archive of two writers, with whatever a text can be."""
    directory = tmp_path / "logs"
    for name in ("one", "two"):
        with make_audit(auto_export_path=directory, name=name) as audit:
            await hostile_events.record(audit)
    return directory


def _exported(cli: Cli, source: Path, tmp_path: Path, *options: object) -> list[Row]:
    """The rows of the file; they are those of jsonl with the same options."""
    out = tmp_path / "out.parquet"
    cli("export", source, out, "--force", *options, code=None)
    rows: list[Row] = pq.read_table(out).to_pylist()
    lines = tmp_path / "out.jsonl"
    cli("export", source, lines, "--force", *options, code=None)
    recorded = lines.read_bytes().split(b"\n")[:-1]
    assert list(map(_as_json, rows)) == [json.loads(line) for line in recorded]
    if "--decrypt" not in options:
        hashes = [hashlib.sha256(b"\0" + line).hexdigest() for line in recorded]
        assert [row["hash"] or known for row, known in zip(rows, hashes)] == hashes
    return rows


def _as_json(row: Row) -> Row:
    """The row as a line of jsonl, which leaves out fields that are not there."""
    fields = {name: value for name, value in row.items() if value not in (None, [])}
    always = "user_id", "session_id", "entry_ids", "duration_ms"
    fields |= {name: row[name] for name in always}
    fields["timestamp"] = f"{row['timestamp']:%Y-%m-%dT%H:%M:%S.%f}Z"
    fields["metadata"] = json.loads(row["metadata"])
    if row["fingerprints"] is not None:
        fields["fingerprints"] = dict(row["fingerprints"])
    return {name: value for name, value in fields.items() if name not in ("writer", "hash")}


class TestParquet:
    """The file."""

    @pytest.mark.slow
    def test_every_value(self, cli: Cli, logs: Path, tmp_path: Path) -> None:
        """Each value is that of jsonl; also with a filter, and the newest only."""
        assert len(_exported(cli, logs, tmp_path)) > 100
        assert len(_exported(cli, logs, tmp_path, "--user", "carol")) == 8
        assert len(_exported(cli, logs, tmp_path, "--limit", 7)) == 7

    @pytest.mark.parametrize("kind", sorted(path.parent.name for path in FIRST.glob("*/logs")))
    @pytest.mark.slow
    def test_first_edition(self, cli: Cli, tmp_path: Path, kind: str) -> None:
        """Archives of the first edition."""
        assert _exported(cli, FIRST / kind / "logs", tmp_path)

    async def test_decrypted(self, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
        """Only with `--decrypt` is personal data readable; the hash is as recorded."""
        with make_audit(auto_export_path=tmp_path / "logs", erasable=True) as audit:
            await audit.log_event("STORE", "alice", metadata={"fact": 1}, subjects=["bob"])
        (closed,) = _exported(cli, tmp_path / "logs", tmp_path)
        (readable,) = _exported(cli, tmp_path / "logs", tmp_path, "--decrypt")
        assert readable["user_id"] == "alice" != closed["user_id"]
        assert json.loads(readable["metadata"]) == {"fact": 1}
        assert readable["hash"] == closed["hash"]
        assert _exported(cli, tmp_path / "logs", tmp_path, "--user", "alice") == [closed]

    def test_types(self, cli: Cli, logs: Path, tmp_path: Path) -> None:
        """Times are UTC with microseconds, numbers are numbers, lists are lists; and the file says
        what made it, and what each of its columns holds."""
        cli("export", logs, out := tmp_path / "out.parquet")
        schema = pq.read_schema(out)
        types = {field.name: field.type for field in schema}
        assert types["timestamp"] == pa.timestamp("us", "UTC")
        assert (types["duration_ms"], types["sequence"]) == (pa.float64(), pa.int64())
        assert types["fingerprints"].key_type == types["fingerprints"].item_type == pa.string()
        for name in ("entry_ids", "subjects", "derived_from"):
            assert types[name].value_type == pa.string()
        assert list(types) == [*AuditEvent.__struct_fields__, "writer", "hash"]
        assert schema.metadata[b"axon_audit_otel.version"].decode() == __version__
        assert list(json.loads(schema.metadata[b"axon_audit_otel.columns"])) == list(types)

    def test_ties_to_proofs(self, cli: Cli, logs: Path, tmp_path: Path) -> None:
        """`writer` and `hash` name the event in its chain: the next one has the hash."""
        rows = _exported(cli, logs, tmp_path)
        assert {row["writer"] for row in rows} == {"one", "two"}
        by_place = {(row["writer"], row["sequence"]): row for row in rows}
        followed = [
            row["hash"] == by_place[writer, number + 1]["previous_hash"]
            for (writer, number), row in by_place.items()
            if (writer, number + 1) in by_place
        ]
        assert all(followed)
        assert len(followed) == len(rows) - 2

    def test_another_source(self, cli: Cli, audit: AuditLogger, tmp_path: Path) -> None:
        """An event without a number has none, and no hash; any name is an operation."""
        event = {"event_id": "6f1d", "timestamp": "2025-01-15T10:30:45", "operation": "invent"}
        event |= {"user_id": None, "session_id": None, "entry_ids": [], "metadata": {}}
        event |= {"status": "success", "duration_ms": None}
        (tmp_path / "a.jsonl").write_text(json.dumps(event))
        (row,) = _exported(cli, tmp_path / "a.jsonl", tmp_path)
        assert (row["operation"], row["status"]) == ("invent", "SUCCESS")
        assert (row["sequence"], row["hash"], row["writer"]) == (None, None, None)

    def test_no_events(self, cli: Cli, logs: Path, tmp_path: Path) -> None:
        """A file of nothing has all columns."""
        assert _exported(cli, logs, tmp_path, "--user", "nobody") == []
        assert "metadata" in pq.read_schema(tmp_path / "out.parquet").names

    @pytest.mark.slow
    def test_row_groups(self, cli: Cli, audit: AuditLogger, tmp_path: Path) -> None:
        """Many events, and large ones, are written as they come."""
        many = [_event(number) for number in range(1, 70_000)]
        audit.export_events(many, tmp_path / "many.json")
        assert len(_exported(cli, tmp_path / "many.json", tmp_path)) == len(many)
        assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 2
        large = [_event(number, {"text": "x" * (1 << 20)}) for number in range(1, 90)]
        audit.export_events(large, tmp_path / "large.json")
        assert len(_exported(cli, tmp_path / "large.json", tmp_path)) == len(large)
        assert pq.ParquetFile(tmp_path / "out.parquet").num_row_groups == 2


def _event(number: int, facts: Row | None = None) -> AuditEvent:
    fields = {"event_id": f"evt_{number}", "timestamp": "2025-01-15T10:00:00Z", "entry_ids": []}
    fields |= {"operation": "STORE", "user_id": None, "session_id": None, "status": "SUCCESS"}
    fields |= {"metadata": facts or {}, "duration_ms": None, "sequence": number}
    return msgspec.convert(fields, AuditEvent)


class TestWritten:
    """Whole, or not at all."""

    def test_printed(self, logs: Path, cli: Cli, tmp_path: Path) -> None:
        """With `-` the file is printed, and nothing else."""
        cli("export", logs, out := tmp_path / "out.parquet")
        printed = cli("export", logs, "-", "--format", "parquet")
        assert printed.stdout_bytes == out.read_bytes()
        assert "written to -" in printed.stderr

    def test_full_disk(self, cli: Cli, audit: AuditLogger, small_disk: Path) -> None:
        """Nothing is left of a file that has no room."""
        events = [_event(number, {"text": os.urandom(4000).hex()}) for number in range(1, 300)]
        audit.export_events(events, small_disk.with_name("a.json"))
        (small_disk / "out.parquet").write_bytes(b"mine")
        failed = cli(
            "export", small_disk.with_name("a.json"), small_disk / "out.parquet", "--force", code=1
        )
        assert "cannot write" in failed.stderr
        assert [path.name for path in small_disk.iterdir()] == ["out.parquet"]
        assert (small_disk / "out.parquet").read_bytes() == b"mine"

    def test_damaged_archive(self, cli: Cli, logs: Path, tmp_path: Path) -> None:
        """What can be read is written, and what cannot is told."""
        file = next(logs.glob("audit_*.json"))
        file.write_bytes(file.read_bytes().replace(b'"status"', b'"stat', 1))
        assert _exported(cli, logs, tmp_path)
        told = cli("export", logs, tmp_path / "out.parquet", "--force", code=1)
        assert "a line is not an audit event" in told.stderr

    @pytest.mark.slow
    def test_without_pyarrow(self, logs: Path, run_script: Run, tmp_path: Path) -> None:
        """The error has the command that installs it, and no file is made."""
        out = tmp_path / "out.parquet"
        script = """
            import sys
            sys.modules["pyarrow"] = None
            from axon_audit_otel.cli.main import main
            from contextlib import redirect_stderr
            with redirect_stderr(sys.stdout):
                main(["export", *sys.argv[1:]])
        """
        printed = run_script(script, logs, out, code=1)
        assert "pip install 'axon-audit-otel[parquet]'" in printed
        assert not out.exists()


@pytest.mark.component  # duckdb, chdb
@pytest.mark.parametrize("kind", [DuckDB, ClickHouse])
def test_other_readers(cli: Cli, logs: Path, tmp_path: Path, kind: Any) -> None:
    """DuckDB and ClickHouse read the same values and types as pyarrow."""
    rows = _exported(cli, logs, tmp_path)
    engine = kind()
    source = f"'{tmp_path}/out.parquet'"
    found = engine.ask(f"SELECT * FROM {source if kind is DuckDB else f'file({source})'}")
    engine.close()
    for row, expected in zip(found, rows):
        assert f"{row.pop('timestamp')}"[:26] == f"{expected['timestamp']}"[:26]
        prints = dict(expected["fingerprints"] or {})
        assert (row.pop("fingerprints") or {}) == prints
        assert int(row.pop("sequence")) == expected["sequence"]
        assert row == {name: expected[name] for name in row}
    assert len(found) == len(rows)


@pytest.mark.component  # pandas comes with chdb
def test_pandas(cli: Cli, logs: Path, tmp_path: Path) -> None:
    """The line of docs/sql.md."""
    pandas = pytest.importorskip("pandas")
    rows = _exported(cli, logs, tmp_path)
    frame = pandas.read_parquet(tmp_path / "out.parquet")
    assert list(frame["event_id"]) == [row["event_id"] for row in rows]
    assert str(frame["timestamp"].dtype) == "datetime64[us, UTC]"
