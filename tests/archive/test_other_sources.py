"""Events that somebody else wrote: the SDK's own files, times without a zone, other ids."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axon.core.audit import AuditLogger as SdkLogger
from axon.models.audit import OperationType as SdkOperation
from click.testing import Result
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider

from axon_audit_otel import AuditEvent, AuditLogger

pytestmark = pytest.mark.usefixtures("without_start_record")

Cli = Callable[..., Result]
Make = Callable[..., AuditLogger]

UTC = timezone.utc
_FIELDS: dict[str, Any] = {
    "event_id": "6f1d",
    "timestamp": "2025-01-15T10:30:45.123456",
    "operation": "store",
    "user_id": "ada",
    "session_id": None,
    "entry_ids": ["e1"],
    "metadata": {},
    "status": "success",
    "duration_ms": 2.5,
}
LAYOUTS: dict[str, Callable[[list[bytes]], bytes]] = {
    "a list": lambda lines: b"[" + b",".join(lines) + b"]",
    "an object": lambda lines: b'{"events":[' + b",".join(lines) + b"]}",
    "ours": lambda lines: b'{"events":[\n ' + b"\n,".join(lines) + b'\n],"total_events":2}\n',
}


def _line(**fields: Any) -> bytes:
    return json.dumps({**_FIELDS, **fields}).encode()


def _printed(result: Result) -> list[dict[str, Any]]:
    return [json.loads(line) for line in result.stdout.splitlines()]


class TestTimesWithoutAZone:
    """They are UTC, wherever the reader is: the SDK writes such."""

    @pytest.fixture(autouse=True)
    def _tokyo(self, zone: Callable[[str], None]) -> None:
        zone("JST-9")

    async def test_the_files_of_the_sdk(self, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
        """An export of the SDK's own logger is read beside ours, in the order of time."""
        sdk, archive = SdkLogger(), tmp_path / "archive"
        audit = make_audit(auto_export_path=archive)
        first = await audit.log_event("STORE", user_id="ada")
        await sdk.log_event(operation=SdkOperation.RECALL, user_id="ada")
        await sdk.export_to_json(archive / "audit_sdk.json")
        last = await audit.log_event("FORGET", user_id="ada")
        (event,) = await sdk.get_events()

        found = audit.query_events(archived=True)
        assert [e.operation for e in found] == ["FORGET", "RECALL", "STORE"]
        assert found[1].timestamp == event.timestamp.replace(tzinfo=UTC)
        assert found[::2] == [last, first]
        asked = cli("query", archive, "--json", "--since", f"{event.timestamp.isoformat()}Z")
        assert [e["operation"] for e in _printed(asked)] == ["FORGET", "RECALL"]
        assert json.loads(cli("stats", archive, "--json").stdout)["total_operations"] == 3
        cli("tail", archive)
        cli("alerts", archive)
        for form in ("json", "jsonl", "csv", "otlp"):
            out = tmp_path / f"out.{form}"
            cli("export", archive, out, "--format", form)
            assert "RECALL" in out.read_text()

    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_any_layout(self, cli: Cli, tmp_path: Path, layout: str) -> None:
        """One event with a zone and one without, in every way that events are laid out."""
        path = tmp_path / "others.json"
        with_zone = _line(event_id="6f1e", timestamp="2025-01-15T12:30:46+02:00")
        path.write_bytes(LAYOUTS[layout]([_line(), with_zone]))
        times = [e["timestamp"] for e in _printed(cli("query", path, "--json"))]
        assert times == ["2025-01-15T10:30:46.000000Z", "2025-01-15T10:30:45.123456Z"]
        assert "2025-01-15 19:30" in cli("query", path).stdout

    def test_events_made_by_hand(self, audit: AuditLogger, tmp_path: Path) -> None:
        """`AuditLogger.export_events` takes an event's time without a zone as UTC."""
        moment = datetime(2025, 1, 15, 10, 30)
        aware = msgspec.convert({**_FIELDS, "timestamp": moment.replace(tzinfo=UTC)}, AuditEvent)
        naive = msgspec.structs.replace(aware, timestamp=moment)
        assert audit.export_events([naive], tmp_path / "out.json") == 1
        (written,) = json.loads((tmp_path / "out.json").read_bytes())["events"]
        assert written["timestamp"] == "2025-01-15T10:30:00.000000Z"
        assert naive.to_dict() == aware.to_dict()
        assert naive.hash == aware.hash

    @pytest.mark.parametrize("moment", [None, 5, "yesterday", "2025-01-15", ["2025"]])
    @pytest.mark.parametrize("layout", LAYOUTS)
    def test_no_time_at_all(self, cli: Cli, tmp_path: Path, layout: str, moment: object) -> None:
        """A value that is not a time is refused in one line, as before."""
        path = tmp_path / "others.json"
        path.write_bytes(LAYOUTS[layout]([_line(timestamp=moment)]))
        said = cli("query", path, "--json", code=1).stderr
        assert said.startswith(f"Error: cannot read '{path}'")
        assert said.count("\n") == 1


class TestJsonLines:
    """One event a line, as ``axon-audit export --format jsonl`` writes them."""

    READERS = (("query", "--json"), ("stats", "--json"), ("tail", "--json"), ("alerts", "--json"))

    async def test_our_own(self, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
        """Every reader says of them what it says of the archive they are from."""
        archive, lines = tmp_path / "archive", tmp_path / "out.jsonl"
        audit = make_audit(2, archive)
        for number in range(5):
            await audit.log_event("STORE", user_id="ada", entry_ids=[str(number)])
        audit.close()
        cli("export", archive, lines)
        for command, *options in self.READERS:
            said = cli(command, lines, *options).stdout
            assert said == cli(command, archive, *options).stdout
            assert said
        cli("export", lines, tmp_path / "again.jsonl")
        assert (tmp_path / "again.jsonl").read_bytes() == lines.read_bytes()
        entry = cli("query", lines, "--json", "--entry", "3").stdout
        assert [e["entry_ids"] for e in map(json.loads, entry.splitlines())] == [["3"]]

    def test_no_events(self, cli: Cli, tmp_path: Path) -> None:
        """An empty file is one of no events, if its name says that it is one at all."""
        for suffix, code in (("jsonl", 0), ("json", 1)):
            path = tmp_path / f"none.{suffix}"
            path.touch()
            assert cli("query", path, "--json", code=code).stdout == ""

    def test_of_others(self, cli: Cli, tmp_path: Path) -> None:
        """Other spaces, a time without a zone, a blank line, no newline at the end."""
        path = tmp_path / "others.jsonl"
        path.write_bytes(b"\r\n".join([_line(event_id="1"), b"", _line(event_id="2")]))
        found = _printed(cli("query", path, "--json", "--user", "ada"))
        assert {e["event_id"] for e in found} == {"1", "2"}

    @pytest.mark.parametrize("line", [b"{}", b"[1]", b"nonsense", _line()[:50], b"\xff"])
    def test_line_that_is_no_event(self, cli: Cli, tmp_path: Path, line: bytes) -> None:
        """The others are read; stderr and the exit code say that it is not all."""
        path = tmp_path / "others.jsonl"
        path.write_bytes(b"\n".join([_line(event_id="1"), line, _line(event_id="2")]))
        for command, *options in self.READERS:
            said = cli(command, path, *options, code=1)
            assert said.stderr == f"Error: cannot read '{path}': a line is not an audit event\n"
        found = _printed(cli("query", path, "--json", code=1))
        assert {event["event_id"] for event in found} == {"1", "2"}


ZONES = {"the west": "EST5", "Greenwich": "UTC", "the east": "JST-9"}


@pytest.mark.parametrize("place", ZONES)
class TestEndsOfTheCalendar:
    """The first and the last day that a time can be of: local time may lie beyond."""

    @pytest.fixture(autouse=True)
    def _here(self, zone: Callable[[str], None], place: str) -> None:
        zone(ZONES[place])

    def test_an_archive(
        self, cli: Cli, make_audit: Make, logger_provider: LoggerProvider, tmp_path: Path
    ) -> None:
        """Records of other sources, whose clocks say anything."""
        archive = tmp_path / "archive"
        audit = make_audit(auto_export_path=archive)
        for ns in (-(10**30), 10**30):
            logger_provider.get_logger("other").emit(
                LogRecord(timestamp=ns, event_name="axon.memory.audit", body={"operation": "STORE"})
            )
        audit.close()
        for columns in (80, 120):
            for command in ("query", "stats", "tail", "alerts", "verify"):
                cli(command, archive, columns=columns)
        years = cli("query", archive, columns=120).stdout.splitlines()[1:]
        assert {line[:4] for line in years} == {"0001", "9999"}

    @pytest.mark.parametrize("moment", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"])
    def test_a_zone_that_leads_beyond(self, cli: Cli, tmp_path: Path, moment: str) -> None:
        """In UTC such a time is of no year."""
        path = tmp_path / "others.json"
        path.write_bytes(LAYOUTS["a list"]([_line(timestamp=moment)]))
        for command in ("query", "stats", "tail", "alerts"):
            cli(command, path)
        assert moment[:10] in cli("query", path).stdout
        assert _printed(cli("query", path, "--json"))[0]["timestamp"] in {
            "0001-01-01T00:00:00.000000Z",
            "9999-12-31T23:59:59.999999Z",
        }

    def test_asked_for(self, cli: Cli, tmp_path: Path) -> None:
        """``--since`` and ``--until`` such a day."""
        path = tmp_path / "others.json"
        path.write_bytes(LAYOUTS["a list"]([_line()]))
        ever = cli("query", path, "--since", "0001-01-01", "--until", "9999-12-31", "--json")
        assert len(_printed(ever)) == 1
        assert _printed(cli("query", path, "--until", "0001-01-01T00:00", "--json")) == []
        assert _printed(cli("query", path, "--since", "9999-12-31T23:59", "--json")) == []
