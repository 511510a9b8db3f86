"""The command ``axon-audit`` over files: query, stats, tail, export."""

from __future__ import annotations

import csv
import json
import os
import pty
import re
import signal
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import Result
from conftest import Cli, Run
from month import archive, days
from rich.cells import cell_len

from axon_audit_otel import AuditEvent, AuditLogger, Rule, SecurityMonitor, __version__
from axon_audit_otel.cli.examples import EXAMPLES

COMMANDS = ["demo", "query", "stats", "tail", "export", "keygen", "verify", "prove", "hold"]
COMMANDS += ["erase", "pseudonym", "alerts", "replay", "influence", "lineage", "receipt"]
COMMANDS += ["assets", "mcp-proxy", "reconcile", "report", "subject", "view", "index"]
_BASE = {
    "event_id": "evt_0",
    "operation": "STORE",
    "user_id": "alice",
    "session_id": None,
    "entry_ids": [],
    "metadata": {},
    "status": "SUCCESS",
    "duration_ms": 1.5,
}


def _event(sequence: int, moment: str = "2025-01-15T10:00:00Z", **fields: Any) -> AuditEvent:
    values = {**_BASE, "event_id": f"evt_{sequence}", "timestamp": moment, **fields}
    return msgspec.convert({**values, "sequence": sequence}, AuditEvent)


#: One event for each filter to find; the first is the oldest.
EVENTS = [
    _event(1, "2025-01-14T23:59:59Z", user_id="bob", session_id="b1"),
    _event(2, "2025-01-15T08:00:00Z", operation="RECALL", entry_ids=["e1", "e2"]),
    _event(3, "2025-01-15T23:59:59.999999Z", status="FAILURE", error_type="TimeoutError"),
    _event(4, "2025-01-16T00:00:00Z", user_id="bob", subject_id="alice", session_id="b2"),
    _event(5, "2025-01-17T12:00:00Z", operation="FORGET", entry_ids=["e1"], status="PARTIAL"),
]


@pytest.fixture(name="trail")
def _trail(tmp_path: Path, audit: AuditLogger, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of `EVENTS`, on a machine whose clock shows UTC."""
    monkeypatch.setenv("TZ", "UTC")
    path = tmp_path / "trail" / "audit_2025_01_17_120000.json"
    audit.export_events(EVENTS, path)
    return path


def _sequences(result: Result) -> list[int]:
    return [json.loads(line)["sequence"] for line in result.stdout.splitlines()]


# --- help, errors ----------------------------------------------------------------------------


class TestHelp:
    """`-h` and the name of the program."""

    @pytest.mark.parametrize("flag", ["-h", "--help"])
    @pytest.mark.parametrize("command", COMMANDS)
    def test_every_command_has_help(self, cli: Cli, command: str, flag: str) -> None:
        """A command explains itself and its options, in 80 columns."""
        said = cli(command, flag).stdout
        assert said.startswith(f"Usage: axon-audit {command} ")
        assert "--json" in said or command == "mcp-proxy"  # what it prints is a server's
        assert max(map(len, said.splitlines())) <= 80

    def test_the_list_of_commands(self, cli: Cli) -> None:
        """The program's own help names every command, each with a whole sentence."""
        said = cli("-h").stdout
        listed = re.findall(
            r"^  ([a-z-]+)  +([A-Z].+)$",
            said.partition("Ask:")[2].partition("Environment")[0],
            re.MULTILINE,
        )
        assert sorted(name for name, _ in listed) == sorted(COMMANDS)
        assert all(words.endswith(".") and not words.endswith("...") for _, words in listed)

    def test_examples(self, cli: Cli) -> None:
        """Each command's help ends with examples, whose options there are."""
        assert sorted(EXAMPLES) == sorted(COMMANDS)
        for command, examples in EXAMPLES.items():
            said = cli(command, "-h").stdout
            options = set(
                re.findall(r"--[a-z-]+", said.partition("Options:")[2].split("Exampl")[0])
            )
            for example in examples:
                assert said.rstrip("\n").find(f"  axon-audit {command} {example}".rstrip()) > 0
                own = example.partition(" -- ")[0].partition(" | ")[0]
                assert set(re.findall(r"(?<!\S)--[a-z-]+", own)) <= options

    def test_every_command_is_documented(self) -> None:
        """The page of the command line shows each command."""
        page = (Path(__file__).parents[2] / "docs/command-line.md").read_text(encoding="utf-8")
        assert all(f"axon-audit {command}" in page for command in COMMANDS)

    def test_the_receiver_has_one_name(self, cli: Cli) -> None:
        """The receiver that reads the export has its documented name, which a collector knows."""
        said = " ".join(cli("export", "-h").stdout.split())
        assert "a collector's otlp_json_file receiver" in said

    def test_version(self, cli: Cli) -> None:
        """`--version` is the package's."""
        assert cli("--version").stdout.split() == ["axon-audit,", "version", __version__]

    @pytest.mark.slow
    def test_runs_as_a_module(self, trail: Path) -> None:
        """`python -m axon_audit_otel` is the same program."""
        command = [sys.executable, "-m", "axon_audit_otel", "query", str(trail), "--json"]
        done = subprocess.run(command, capture_output=True, check=True)
        assert done.stdout.splitlines()[0] == EVENTS[-1].to_json()


class TestColumns:
    """`--columns`: what a table shows of each event."""

    def test_chosen(self, cli: Cli, trail: Path) -> None:
        """These columns, in this order; in a pipe nothing is cut."""
        asked = ("query", trail, "--columns", "event, number,entry,trace,system", "--limit", "1")
        header, line = cli(*asked).stdout.splitlines()
        assert header.split()[2:] == ["event", "number", "entry", "trace", "system", "ms", "what"]
        newest = json.loads(cli("query", trail, "--json", "-n", "1").stdout)
        assert newest["event_id"] in line
        assert f" {newest['sequence']} " in line
        assert ", ".join(newest["entry_ids"]) in line

    @pytest.mark.parametrize("command", ["query", "tail"])
    def test_unknown(self, cli: Cli, trail: Path, command: str) -> None:
        """An unknown column is refused, with those that there are."""
        said = cli(command, trail, "--columns", "user,colour", code=2).stderr
        assert "'colour' must be one of operation, status, user" in said

    def test_on_a_screen(self, cli: Cli, trail: Path) -> None:
        """Where there is no room for them, an event is one line."""
        said = cli("query", trail, "--columns", "event,trace,user", FORCE_COLOR="1", TERM="xterm")
        assert len(said.stdout.splitlines()) == len(EVENTS) + 1


class TestErrors:
    """An error is reported in one line, with exit code 1 or 2."""

    @staticmethod
    def _message(result: Result) -> str:
        assert result.stdout == ""
        lines = result.stderr.strip().splitlines()
        assert "Traceback" not in result.stderr
        errors = [line for line in lines if line.startswith("Error: ")]
        assert len(errors) == 1
        assert errors[0] == lines[-1]
        return errors[0]

    @pytest.mark.parametrize("command", [["query"], ["stats"], ["tail"], ["tail", "--follow"]])
    def test_path_that_is_missing(self, cli: Cli, tmp_path: Path, command: list[str]) -> None:
        """A path where nothing is."""
        message = self._message(cli(*command, tmp_path / "nowhere", code=2))
        assert "no such file or directory" in message
        assert "nowhere" in message

    @pytest.mark.parametrize("command", [["query"], ["stats"], ["tail"]])
    def test_directory_without_audit_files(
        self, cli: Cli, tmp_path: Path, command: list[str]
    ) -> None:
        """A directory that holds nothing of ours."""
        (tmp_path / "notes.txt").write_text("nothing")
        assert "no audit files" in self._message(cli(*command, tmp_path, code=1))

    @pytest.mark.parametrize(
        "content", [b"", b"hello\n", b"{}", b'{"events": 3}', b"\x00\xff\xfe", b'[{"a": 1}]']
    )
    @pytest.mark.parametrize("command", ["query", "stats", "tail"])
    def test_file_that_is_none_of_ours(
        self, cli: Cli, tmp_path: Path, command: str, content: bytes
    ) -> None:
        """A file without audit events is named."""
        path = tmp_path / "other.json"
        path.write_bytes(content)
        assert "other.json" in self._message(cli(command, path, code=1))

    def test_damaged_line(self, cli: Cli, trail: Path) -> None:
        """The other lines are printed; that one is missing is said, and in the exit code."""
        trail.write_bytes(trail.read_bytes().replace(b'"RECALL"', b'"RECALL', 1))
        result = cli("query", trail, "--json", code=1)
        assert len(result.stdout.splitlines()) == 4
        assert result.stderr == f"Error: cannot read {str(trail)!r}: a line is not an audit event\n"

    @pytest.mark.parametrize(
        ("option", "value"),
        [
            ("--since", "lately"),
            ("--since", "2025-13-01"),
            ("--until", "5 parsecs"),
            ("--until", ""),
            ("--since", "99999999999d"),
            ("--operation", "DELETE"),
            ("--status", "BROKEN"),
            ("--limit", "0"),
            ("--limit", "many"),
        ],
    )
    @pytest.mark.parametrize("command", ["query", "export"])
    def test_filter_that_cannot_be_meant(
        self, cli: Cli, trail: Path, tmp_path: Path, command: str, option: str, value: str
    ) -> None:
        """The message names the option; nothing is written."""
        out = [tmp_path / "out.json"] if command == "export" else []
        assert option in self._message(cli(command, trail, *out, option, value, code=2))
        assert not (tmp_path / "out.json").exists()

    @pytest.mark.parametrize("option", ["--operation", "--status"])
    def test_names_as_the_help_has_them(self, cli: Cli, trail: Path, option: str) -> None:
        """The message lists the names as the help does."""
        said = self._message(cli("query", trail, option, "DELETE", code=2))
        (names,) = re.findall(rf"{option} NAME +(\S.*?\.)\n", _unwrapped(cli("query", "-h").stdout))
        assert "'DELETE'" in said
        assert said.endswith(names)

    def test_names_that_are_no_unicode(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """A file may be called anything, a key may not."""
        out = tmp_path / "\udcff.json"
        told = json.loads(cli("export", trail, out, "--json").stdout)
        assert (told["path"], told["events"]) == (str(out), len(EVENTS))
        assert "key name '\\udcff'" in self._message(cli("keygen", "\udcff", code=1))

    def test_what_the_system_refuses(self, cli: Cli, trail: Path) -> None:
        """An error of the operating system that has no better words."""
        message = self._message(cli("query", "x" * 5000, code=1))
        assert "'xxx" in message  # Python 3.12 and older say that it is too long

    def test_start_after_end(self, cli: Cli, trail: Path) -> None:
        """A range that holds no time at all is a mistake, not an empty answer."""
        for since, until in [("2025-02-01", "2025-01-01"), ("2025-02-01", "2025-01-31")]:
            message = self._message(cli("query", trail, "--since", since, "--until", until, code=2))
            assert "--since" in message
            assert "--until" in message


def _unwrapped(text: str) -> str:
    """A help text whose options are on one line each."""
    return re.sub(r"\n {10,}", " ", text)


# --- query -----------------------------------------------------------------------------------


class TestQuery:
    """`axon-audit query`"""

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            ([], [5, 4, 3, 2, 1]),
            (["--user", "bob"], [4, 1]),
            (["--session", "b1"], [1]),
            (["--operation", "RECALL"], [2]),
            (["--operation", "forget"], [5]),
            (["--status", "failure"], [3]),
            (["--entry", "e1"], [5, 2]),
            (["--entry", "e2", "--entry", "e9"], [2]),
            (["--subject", "alice"], [4]),
            (["--limit", "2"], [5, 4]),
            (["--user", "alice", "--limit", "2"], [5, 3]),
            (["--user", "bob", "--since", "2025-01-15"], [4]),
            (["--user", "nobody"], []),
        ],
    )
    def test_filters(self, cli: Cli, trail: Path, filters: list[str], found: list[int]) -> None:
        """Each filter lets its events pass, all given ones together, newest first."""
        assert _sequences(cli("query", trail, *filters, "--json")) == found

    @pytest.mark.parametrize(
        ("filters", "found"),
        [
            (["--since", "2025-01-15"], [5, 4, 3, 2]),
            (["--until", "2025-01-15"], [3, 2, 1]),  # a date as the end is the whole day
            (["--since", "2025-01-15", "--until", "2025-01-15"], [3, 2]),
            (["--since", "2025-01-15T08:00"], [5, 4, 3, 2]),  # ends are included
            (["--until", "2025-01-15T08:00:00"], [2, 1]),
            (["--until", "2025-01-15 07:59:59"], [1]),
            (["--since", "2025-01-17T12:00:00Z"], [5]),
            (["--since", "2025-01-17T13:00:00+01:00"], [5]),
            (["--since", "2025-01-17T13:00:00+00:00"], []),
            (["--since", "24h"], []),
            (["--until", "1s"], [5, 4, 3, 2, 1]),
        ],
    )
    def test_times(self, cli: Cli, trail: Path, filters: list[str], found: list[int]) -> None:
        """Dates, times with and without a zone, and durations before now."""
        assert _sequences(cli("query", trail, *filters, "--json")) == found

    def test_times_without_a_zone_are_local(
        self, cli: Cli, trail: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Values in the table can be used as filters."""
        import time

        monkeypatch.setenv("TZ", "UTC-5")  # POSIX for five hours east of Greenwich
        time.tzset()
        try:
            assert _sequences(cli("query", trail, "--since", "2025-01-17T16:59", "--json")) == [5]
            assert _sequences(cli("query", trail, "--since", "2025-01-17T17:01", "--json")) == []
            assert "2025-01-17 17:00" in cli("query", trail).stdout
        finally:
            monkeypatch.undo()
            time.tzset()

    @pytest.mark.parametrize(("ago", "found"), [("10m", [2]), ("2h", [2, 1]), ("30s", [])])
    def test_durations(
        self, cli: Cli, tmp_path: Path, audit: AuditLogger, ago: str, found: list[int]
    ) -> None:
        """`--since 10m` is what happened in the last ten minutes."""
        now = datetime.now(timezone.utc)
        moments = [now - timedelta(hours=1), now - timedelta(minutes=5)]
        audit.export_events(
            [_event(n, moment.isoformat()) for n, moment in enumerate(moments, 1)],
            tmp_path / "a.json",
        )
        assert _sequences(cli("query", tmp_path / "a.json", "--since", ago, "--json")) == found

    def test_json_is_the_recorded_bytes(self, cli: Cli, trail: Path) -> None:
        """One event a line, exactly as it stands in the file."""
        lines = cli("query", trail, "--json").stdout_bytes.splitlines()
        assert lines == [event.to_json() for event in reversed(EVENTS)]

    def test_files_of_several_trails(self, cli: Cli, tmp_path: Path, audit: AuditLogger) -> None:
        """In a directory the newest event comes first, whichever file it is in."""
        for name, numbers in (("audit_1.json", (1, 4, 5)), ("audit_2.json", (2, 3, 6))):
            events = [_event(n, f"2025-01-15T10:00:0{n}Z") for n in numbers]
            audit.export_events(events, tmp_path / name)
        assert _sequences(cli("query", tmp_path, "--json")) == [6, 5, 4, 3, 2, 1]
        assert _sequences(cli("query", tmp_path, "--limit", "2", "--json")) == [6, 5]

    async def test_journal(self, cli: Cli, make_audit: Any, tmp_path: Path) -> None:
        """Events that are not sealed yet are found, while their writer lives."""
        with make_audit(auto_export_path=tmp_path) as audit:
            event = await audit.log_event("STORE", user_id="alice")
            assert _sequences(cli("query", tmp_path, "--json")) == [event.sequence]

    def test_table(self, cli: Cli, trail: Path) -> None:
        """A line per event with its facts, and how many there are."""
        result = cli("query", trail, "--limit", "3")
        header, newest, _, failed = result.stdout.splitlines()
        columns = ["time", "(UTC)", "operation", "status", "user", "session", "ms", "what"]
        assert header.split() == columns
        values = ["2025-01-17", "12:00:00", "FORGET", "PARTIAL", "alice", "-", "1.50"]
        assert newest.split() == values
        assert failed.endswith("TimeoutError")
        assert result.stderr == "the newest 3 events\n"

    @pytest.mark.slow
    def test_ids_of_any_kind_fit(self, tmp_path: Path, audit: AuditLogger) -> None:
        """On a terminal, long, wide and empty ids leave the columns where they are, within 80
        cells, and are whole; but of what is encrypted, its token is all."""
        ids = ["x" * 500, "日本語の利用者の名前です", "", "a\nb", "é" * 30, "erasable:0f:zzz"]
        events = [_event(n, user_id=name, subject_id=name) for n, name in enumerate(ids, 1)]
        events[-1] = msgspec.structs.replace(events[-1], on_behalf_of="erasable:1f:_y-y=")
        audit.export_events(events, tmp_path / "a.json")
        said = _on_a_terminal("query", tmp_path / "a.json")
        lines = re.sub(r"\x1b\[[0-9;]*m", "", said).splitlines()
        assert max(map(cell_len, lines)) <= 80
        firsts = [line.partition("1.50") for line in lines if "1.50" in line]
        assert len(firsts) == len(ids)
        assert len({cell_len(before) for before, _, _ in firsts}) == 1
        assert "".join(lines).count("x") == 500
        assert "".join(lines).count("é") == 30
        assert "erasable:0f:…" in said
        assert "for erasable:1f:…" in said

    def test_a_pipe_gets_all_of_it(self, cli: Cli, tmp_path: Path, audit: AuditLogger) -> None:
        """Off a terminal nothing is cut off: ids that differ at their end differ."""
        ids = [f"user-of-the-far-too-long-name-{n}" for n in range(3)]
        events = [
            _event(n, user_id=name, session_id=name, error_type="E" * 90)
            for n, name in enumerate([*ids, "bob"], 1)
        ]
        audit.export_events(events, tmp_path / "a.json")
        for columns in (40, 80, 120):
            header, short, *lines = cli("query", tmp_path / "a.json", columns=columns).stdout.split(
                "\n"
            )
            assert header.endswith(" what")
            assert [name for line in lines for name in ids if name in line] == ids[::-1]
            assert all(line.endswith("E" * 90) for line in (short, *lines) if line)
            assert short.index("bob") == header.index("user")
            assert short.index("EEE") == header.index("what")

    def test_ids_cannot_steer_the_terminal(
        self, cli: Cli, tmp_path: Path, audit: AuditLogger
    ) -> None:
        """Escape sequences, line ends and marks of direction in an id are spelled out."""
        evil = "\x1b[31m\r\x9b\u202e"
        events = [_event(1, user_id=evil, session_id=evil, subject_id="[bold]x", error_type=evil)]
        audit.export_events(events, tmp_path / "a.json")
        for said in (cli("query", tmp_path / "a.json"), cli("stats", tmp_path / "a.json")):
            assert "\\x1b[31m" in said.stdout
            assert all(c.isprintable() or c == "\n" for c in said.stdout)

    @pytest.mark.slow
    def test_reader_that_goes_away(self, tmp_path: Path, audit: AuditLogger) -> None:
        """`| head` ends the command without a word."""
        audit.export_events((_event(n) for n in range(1, 3000)), tmp_path / "a.json")
        for options in ([], ["--json"]):
            with subprocess.Popen(
                _command("query", tmp_path / "a.json", *options),
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            ) as process:
                assert process.stdout is not None
                assert process.stderr is not None
                process.stdout.readline()
                process.stdout.close()
                assert process.stderr.read() == b""

    @pytest.mark.slow
    def test_colours_on_a_terminal_only(self, cli: Cli, trail: Path) -> None:
        """A pipe gets plain text, a terminal colours."""
        assert "\x1b" not in cli("query", trail).stdout
        assert "\x1b[31mFAILURE" in _on_a_terminal("query", trail)


def _on_a_terminal(*arguments: object) -> str:
    """The output of the command on a terminal of 80 columns with colours."""
    master, slave = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80"}
    environment.pop("NO_COLOR", None)
    command = _command(*arguments)
    with subprocess.Popen(command, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        said = b""
        with suppress(OSError):  # Linux says so that the other end is closed
            while block := os.read(master, 4096):
                said += block
        process.wait()
    os.close(master)
    return said.decode()


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "axon_audit_otel", *map(str, arguments)]


# --- what a trail says of itself --------------------------------------------------------------

_LOST = {"record": "gap", "first": 41, "last": 50, "events": 10, "reason": "disk full"}
_KILLED = {"record": "unclean_end", "writer": "default", "events": 5, "torn_bytes": 0}
_BEGUN = {"record": "unfinished", "operation": "FORGET", "time": "2025-01-15T09:59:00Z"}
_HELD = {"record": "hold", "hold": "legal", "state": "placed", "reason": "Doe v. Acme"}
_ALERT = {"record": "alert", "state": "firing", "rule": "night", "count": 6, "over": 5}

#: The facts of an AUDIT event, and what `query` says of it.
RECORDS: list[tuple[dict[str, Any], str]] = [
    (_LOST, "gap: events 41 to 50 lost (disk full)"),
    ({**_LOST, "last": 41, "reason": ""}, "gap: event 41 lost"),
    (_KILLED, "unclean end of default: 5 events recovered"),
    (
        {**_KILLED, "torn_bytes": 1, "damaged": 2},
        "unclean end of default: 5 events recovered, 1 byte of a torn line cut away,"
        " 2 damaged lines set aside",
    ),
    (_BEGUN, "unfinished: FORGET, begun 2025-01-15 09:59:00+00:00"),
    (
        {**_BEGUN, "user_id": "ann", "subject_id": "bob"},
        "unfinished: FORGET by ann, data of bob, begun 2025-01-15 09:59:00+00:00",
    ),
    (
        {**_BEGUN, "user_id": "ann", "agent_id": "bot", "on_behalf_of": "dee"},
        "unfinished: FORGET by ann, by bot, for dee, begun 2025-01-15 09:59:00+00:00",
    ),
    (_HELD, "hold 'legal' placed: Doe v. Acme"),
    ({"record": "hold", "hold": "legal", "state": "released"}, "hold 'legal' released"),
    ({"record": "erasure", "tokens": ["ab"]}, "erasure: 1 key destroyed, of mallory"),
    (
        {**_ALERT, "window_s": 86_400.0},
        "alert firing: night, 6 events by mallory, more than 5 in 24h",
    ),
    ({"record": "of_another_version"}, "of another version"),
    ({"record": "gap", "first": [], "last": {}}, "gap"),
    ({**_ALERT, "window_s": 1e300}, "alert"),
    ({**_HELD, "reason": "\x1b[31m\n"}, "hold 'legal' placed: \\x1b[31m\\n"),
    ({"record": {"a": "\x9b"}}, "{'a': '\\x9b'}"),
]


class TestRecords:
    """Operation AUDIT: events of the trail about itself."""

    @pytest.mark.parametrize(("facts", "said"), RECORDS)
    def test_each_says_what_happened(
        self, cli: Cli, tmp_path: Path, audit: AuditLogger, facts: dict[str, Any], said: str
    ) -> None:
        """One short text for each kind, whoever wrote it."""
        subject = "mallory" if facts["record"] in ("alert", "erasure") else None
        event = _event(51, operation="AUDIT", metadata=facts, subject_id=subject)
        audit.export_events([event], tmp_path / "a.json")
        shown = cli("query", tmp_path / "a.json", "--operation", "AUDIT").stdout.splitlines()[1]
        assert shown.endswith(f" 1.50 {said}")

    @pytest.mark.slow
    async def test_of_a_real_trail(
        self, cli: Cli, make_audit: Any, run_script: Run, tmp_path: Path
    ) -> None:
        """A killed process, an erasure, an alert and a hold: each is told in words."""
        run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger
            audit = AuditLogger(auto_export_path=sys.argv[1], name="killed")
            asyncio.run(audit.log_event("STORE"))
            os._exit(9)
            """,
            tmp_path / "logs",
            code=9,
        )
        with make_audit(auto_export_path=tmp_path / "logs", name="killed", erasable=True) as audit:
            rule = Rule("exports", operations="EXPORT", over=1, window="24h")
            monitor = SecurityMonitor(audit, [rule], print)
            await audit.log_event("EXPORT", user_id="alice")
            await audit.log_event("EXPORT", user_id="alice")
            audit.erase_user("alice")
            monitor.close()
        cli("hold", tmp_path / "logs", "--reason", "Doe v. Acme")
        lines = cli("query", tmp_path / "logs", "--operation", "AUDIT").stdout.splitlines()
        told = [re.split(r" {2,}- ", line)[2] for line in lines[1:]]
        held, erased, alert, ended = (text for text in told if not text.startswith("start: "))
        assert len(told) > 4
        assert held == "hold 'legal' placed: Doe v. Acme"
        assert erased.startswith("erasure: 1 key destroyed, of erasable:")
        assert alert == "alert firing: exports, 2 events, more than 1 in 24h"
        assert ended == "unclean end of killed: 2 events recovered"


# --- stats -----------------------------------------------------------------------------------


class TestStats:
    """`axon-audit stats`"""

    def test_counts(self, cli: Cli, trail: Path) -> None:
        """Everything is counted, by operation and by user."""
        counted = json.loads(cli("stats", trail, "--json").stdout)
        assert counted["total_operations"] == 5
        assert counted["by_operation"] == {"STORE": 3, "RECALL": 1, "FORGET": 1}
        assert counted["by_status"] == {"SUCCESS": 3, "FAILURE": 1, "PARTIAL": 1}
        assert counted["success_rate"] == pytest.approx(0.6)
        assert counted["first_activity"].startswith("2025-01-14T23:59:59")
        assert counted["operations"]["STORE"]["success_rate"] == pytest.approx(2 / 3)
        assert [(u["user_id"], u["total_operations"]) for u in counted["users"]] == [
            ("alice", 3),
            ("bob", 2),
        ]

    def test_quantiles(self, cli: Cli, tmp_path: Path, audit: AuditLogger) -> None:
        """p50, p95 and p99 are those of the recorded durations, not of histogram buckets."""
        durations = [float(7 * n % 101) for n in range(101)]
        events = [_event(n, duration_ms=ms) for n, ms in enumerate(durations, 1)]
        audit.export_events([*events, _event(102, duration_ms=None)], tmp_path / "a.json")
        counted = json.loads(cli("stats", tmp_path / "a.json", "--json").stdout)
        cuts = statistics.quantiles(durations, n=100, method="inclusive")
        assert counted["operations"]["STORE"]["count"] == 102
        assert counted["operations"]["STORE"]["latency_ms"] == pytest.approx(
            {"avg": 50.0, "p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}
        )

    def test_one_user(self, cli: Cli, trail: Path) -> None:
        """`--user` counts that user's events only."""
        counted = json.loads(cli("stats", trail, "--user", "bob", "--json").stdout)
        assert counted["user_id"] == "bob"
        assert counted["by_operation"] == {"STORE": 2}
        assert counted["last_activity"].startswith("2025-01-16")

    async def test_same_as_the_logger_says(
        self, cli: Cli, audit: AuditLogger, tmp_path: Path
    ) -> None:
        """For one user, the file and `get_user_statistics` agree."""
        await audit.log_event("STORE", user_id="alice", duration_ms=2.5)
        await audit.log_event("RECALL", user_id="alice", duration_ms=0.5, status="FAILURE")
        await audit.log_event("RECALL", user_id="alice")
        await audit.log_event("RECALL", user_id="bob")
        audit.export_to_file(tmp_path / "a.json")
        counted = json.loads(cli("stats", tmp_path / "a.json", "--user", "alice", "--json").stdout)
        own = audit.get_user_statistics("alice")
        for name in ("first_activity", "last_activity"):
            moment = datetime.fromisoformat(counted.pop(name).replace("Z", "+00:00"))
            assert moment == own.pop(name)
        assert own == {name: counted[name] for name in own}

    def test_tables(self, cli: Cli, trail: Path) -> None:
        """By operation with success rate and failures, by user, within 80 columns."""
        said = cli("stats", trail).stdout
        rows = [line.split() for line in said.splitlines()]
        assert ["STORE", "3", "66.7", "%", "1", "1.50", "1.50", "1.50"] in rows
        assert ["all", "5", "60.0", "%", "1", "1"] in rows
        assert ["alice", "3", "33.3", "%"] in [row[:4] for row in rows]
        assert max(map(len, said.splitlines())) <= 80

    def test_many_users(self, cli: Cli, tmp_path: Path, audit: AuditLogger) -> None:
        """The table names the busiest and says how many more; JSON has all."""
        events = [_event(n, user_id=f"u{n % 50}") for n in range(1, 101)]
        audit.export_events([*events, _event(101, user_id="busy")] * 3, tmp_path / "a.json")
        assert "and 41 more" in cli("stats", tmp_path / "a.json").stdout
        counted = json.loads(cli("stats", tmp_path / "a.json", "--json").stdout)
        assert len(counted["users"]) == 51

    def test_no_events(self, cli: Cli, tmp_path: Path, audit: AuditLogger) -> None:
        """A file of no events is no error."""
        audit.export_to_file(tmp_path / "a.json")
        assert cli("stats", tmp_path / "a.json").stderr == "no events\n"
        counted = json.loads(cli("stats", tmp_path / "a.json", "--json").stdout)
        assert (counted["total_operations"], counted["success_rate"]) == (0, 1.0)


# --- tail ------------------------------------------------------------------------------------


@pytest.fixture(name="following")
def _following(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts `tail --follow --json` and ends it after the test."""
    started, guards = [], []

    def start(*arguments: object) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            _command("tail", "--follow", "--json", *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        guards.append(threading.Timer(60, process.kill))  # a lost event must not hang the run
        guards[-1].start()
        return process

    yield start
    for guard in guards:
        guard.cancel()
    for process in started:
        with process:
            process.kill()


def _next(process: subprocess.Popen[str], count: int) -> list[int]:
    """The numbers of the next *count* events; waits for them."""
    assert process.stdout is not None
    return [json.loads(process.stdout.readline())["sequence"] for _ in range(count)]


class TestTail:
    """`axon-audit tail`"""

    @pytest.mark.parametrize(("count", "found"), [(2, [4, 5]), (0, []), (99, [1, 2, 3, 4, 5])])
    def test_newest_last(self, cli: Cli, trail: Path, count: int, found: list[int]) -> None:
        """`-n` events, in the order in which they happened."""
        assert _sequences(cli("tail", trail, "-n", count, "--json")) == found

    def test_table(self, cli: Cli, trail: Path) -> None:
        """`tail` prints the lines of `query` in reverse order."""
        header, *lines = cli("query", trail).stdout.splitlines()
        assert cli("tail", trail).stdout.splitlines() == [header, *reversed(lines)]

    @pytest.mark.slow
    async def test_follow_over_rotation(
        self, make_audit: Any, tmp_path: Path, following: Any
    ) -> None:
        """From journal to journal, each event once and in order; Ctrl-C ends it quietly."""
        with make_audit(
            auto_export_path=tmp_path / "trail", max_events=5, start_record=False
        ) as audit:
            for _ in range(7):
                await audit.log_event("STORE")
            process = following(tmp_path / "trail", "-n", 3)
            assert _next(process, 3) == [5, 6, 7]
            for number in range(8, 41):
                await audit.log_event("STORE")
                if number % 11 == 0:  # it has caught up, at every place within a journal
                    assert _next(process, 11 if number > 11 else 4)[-1] == number
            assert _next(process, 7) == list(range(34, 41))
            audit.close()
            await audit.log_event("STORE")
            assert _next(process, 1) == [41]
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate()
        assert (process.returncode, rest, errors) == (0, "", "")

    @pytest.mark.slow
    async def test_follow_what_is_not_there_yet(
        self, make_audit: Any, tmp_path: Path, following: Any
    ) -> None:
        """An empty directory is waited for; a second trail in it is followed as well."""
        process = following(tmp_path)
        with make_audit(auto_export_path=tmp_path, name="one", start_record=False) as audit:
            await audit.log_event("STORE")
            assert _next(process, 1) == [1]
            with make_audit(auto_export_path=tmp_path, name="two", start_record=False) as other:
                await other.log_event("STORE")
                assert _next(process, 1) == [1]

    @pytest.mark.slow
    def test_follow_waits_for_the_end_of_a_line(self, tmp_path: Path, following: Any) -> None:
        """An event of which only a part is written is printed when it is whole, once."""
        half, other = tmp_path / "half.journal", tmp_path / "other.journal"
        first, second, third = (event.to_json() for event in EVENTS[:3])
        half.write_bytes(b'{"events":[\n ' + first + b"\n," + second[:40])
        process = following(tmp_path)
        assert _next(process, 1) == [1]
        other.write_bytes(b'{"events":[\n ' + third + b"\n")
        assert _next(process, 1) == [3]
        with half.open("ab") as file:
            file.write(second[40:] + b"\n")
        assert _next(process, 1) == [2]

    @pytest.mark.slow
    def test_follow_says_what_is_wrong(self, trail: Path, tmp_path: Path, following: Any) -> None:
        """A file that is none of ours is passed over, a damaged one is told of in the end, too."""
        process = following(trail.parent)
        assert _next(process, 5) == [1, 2, 3, 4, 5]
        (trail.parent / "audit_x.json").write_text("hello")
        assert process.stderr.readline().startswith("passed over")
        others = trail.read_bytes().replace(b"evt_", b"evt-")  # a copy would show nothing again
        (trail.parent / "audit_y.json").write_bytes(others.replace(b"RECALL", b"\0"))
        assert len(_next(process, 4)) == 4
        assert process.stderr.readline().startswith("Error: cannot read")
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "")
        assert process.returncode == 1


# --- export ----------------------------------------------------------------------------------


def _cells(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class TestExport:
    """`axon-audit export`"""

    def test_json(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """The specification's format, which every command reads, with the same bytes."""
        out = tmp_path / "out.json"
        assert "5 events" in cli("export", trail, out).stdout
        content = json.loads(out.read_bytes())
        assert content["total_events"] == 5
        assert [event["sequence"] for event in content["events"]] == [1, 2, 3, 4, 5]
        assert cli("query", out, "--json").stdout == cli("query", trail, "--json").stdout

    def test_the_archive_stays_as_it_is(self, cli: Cli, tmp_path: Path) -> None:
        """No file of it is replaced, and none is made that would be taken for one of them."""
        archive(tmp_path / "logs", days(1, 3))
        (tmp_path / "link.csv").symlink_to(tmp_path / "logs" / "default.manifest")
        before = {file.name: file.read_bytes() for file in (tmp_path / "logs").iterdir()}
        assert len(before) > 4
        new = ("other.manifest", "default.journal", "audit_x.json", "default.shipped", "x.hold")
        for name in (*(f"logs/{name}" for name in {*before, *new}), "link.csv"):
            out = tmp_path / name
            cli("export", tmp_path / "logs", out, "--format", "csv", "--force", code=1)
        assert before == {file.name: file.read_bytes() for file in (tmp_path / "logs").iterdir()}

    def test_json_lines(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """One event a line, as recorded."""
        cli("export", trail, tmp_path / "out.jsonl")
        lines = (tmp_path / "out.jsonl").read_bytes().splitlines()
        assert lines == [event.to_json() for event in EVENTS]

    def test_csv(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """A row per event; what is no text is JSON, what is not there is empty."""
        cli("export", trail, tmp_path / "out.csv")
        rows = _cells(tmp_path / "out.csv")
        assert len(rows) == 5
        for row, event in zip(rows, EVENTS):
            for name, value in event.to_dict().items():
                given: Any = row[name]
                if isinstance(value, (list, dict, float, int)):
                    given = json.loads(given)
                assert given == ("" if value is None else value)

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r", "\n", "'"])
    def test_csv_is_no_formula(
        self, cli: Cli, tmp_path: Path, audit: AuditLogger, start: str
    ) -> None:
        """No cell begins as a formula does, and nothing is lost by that."""
        value = f'{start}HYPERLINK("http://x")'
        fields = dict.fromkeys(("user_id", "session_id", "error_message", "error_type"), value)
        audit.export_events([_event(1, **fields)], tmp_path / "a.json")
        cli("export", tmp_path / "a.json", tmp_path / "out.csv")
        (row,) = _cells(tmp_path / "out.csv")
        assert [row[name] for name in fields] == ["'" + value] * 4
        assert not [cell for cell in row.values() if cell.startswith(("=", "+", "-", "@"))]

    @pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
    def test_no_events(self, cli: Cli, trail: Path, tmp_path: Path, form: str) -> None:
        """A file of nothing is a whole file."""
        out = tmp_path / "out"
        said = cli("export", trail, out, "--format", form, "--user", "nobody", "--json").stdout
        assert json.loads(said) == {"path": str(out), "format": form, "events": 0}
        written = out.read_text()
        assert written == {"json": written, "jsonl": "", "csv": written}[form]
        assert (form == "json") == ('"total_events":0' in written)
        assert (form == "csv") == written.startswith("event_id,timestamp,operation,")

    def test_filters(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """The filters of `query`; the newest `--limit`, but in the order of the file."""
        out = tmp_path / "out.jsonl"
        cli("export", trail, out, "--user", "alice", "--limit", 2)
        sequences = [json.loads(line)["sequence"] for line in out.read_text().splitlines()]
        assert sequences == [3, 5]

    def test_format_goes_before_the_name(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """`--format` decides, else the name, else it is JSON."""
        for name, options, form in (
            ("a.csv", ["--format", "JSONL"], "jsonl"),
            ("a.CSV", [], "csv"),
            ("a", [], "json"),
        ):
            said = cli("export", trail, tmp_path / name, *options, "--json").stdout
            assert json.loads(said)["format"] == form

    @pytest.mark.parametrize("form", ["json", "jsonl", "csv", "otlp"])
    @pytest.mark.parametrize("summary", [[], ["--json"]])
    def test_to_stdout(
        self,
        cli: Cli,
        trail: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        form: str,
        summary: list[str],
    ) -> None:
        """With `-` the same bytes are printed, and nothing else; the count goes to stderr."""
        monkeypatch.chdir(tmp_path)
        options = ["--format", form, "--user", "alice", "--limit", 2]
        cli("export", trail, "out", *options)
        printed = cli("export", trail, "-", *options, *summary)
        exported = rb'"exported_at":"[^"]*"'
        assert re.sub(exported, b"", printed.stdout_bytes) == re.sub(
            exported, b"", (tmp_path / "out").read_bytes()
        )
        if summary:
            told = json.loads(printed.stderr)
            assert told == {"path": "-", "format": form, "events": 2}
        else:
            assert printed.stderr == "2 events written to -\n"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "trail"]

    def test_file_of_that_name(
        self, cli: Cli, trail: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """`./-` is a file."""
        monkeypatch.chdir(tmp_path)
        cli("export", trail, "./-")
        assert json.loads((tmp_path / "-").read_bytes())["total_events"] == 5

    def test_overwrites_only_when_told(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """A file that exists stays, unless `--force` is given."""
        out = tmp_path / "out.csv"
        out.write_text("mine")
        assert "--force" in cli("export", trail, out, code=1).stderr
        assert out.read_text() == "mine"
        cli("export", trail, out, "--force")
        assert len(_cells(out)) == 5

    def test_never_harms_the_archive(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """No file that is read is replaced, and none is added that would be read next time."""
        before = trail.read_bytes()
        link = tmp_path / "link.json"
        link.symlink_to(trail)
        for out in (trail, link, trail.parent / "audit_all.json"):
            cli("export", trail.parent, out, "--force", code=1)
        assert trail.read_bytes() == before
        assert list(trail.parent.iterdir()) == [trail]

    def test_places_that_cannot_be_written(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """A directory, a device, a file in the way: one line, nothing left behind."""
        (tmp_path / "file").write_text("x")
        for out, code in (
            (tmp_path, 2),
            (Path("/dev/null"), 1),
            (tmp_path / "file" / "out.json", 1),
        ):
            errors = cli("export", trail, out, "--force", code=code).stderr.splitlines()
            assert errors[-1].startswith("Error: ")
        assert not list(tmp_path.glob(".*"))

    def test_source_that_is_damaged(self, cli: Cli, trail: Path, tmp_path: Path) -> None:
        """Readable events are written, and the exit code reports that some are missing; without
        any readable event nothing is written."""
        trail.write_bytes(trail.read_bytes().replace(b'"RECALL"', b'"RECALL', 1))
        errors = cli("export", trail, tmp_path / "out.csv", code=1).stderr
        assert trail.name in errors
        assert len(_cells(tmp_path / "out.csv")) == 4
        trail.write_bytes(b"nothing of ours")
        cli("export", trail, tmp_path / "other.csv", code=1)
        assert {path.name for path in tmp_path.iterdir()} == {"trail", "out.csv"}


@pytest.mark.parametrize("command", [["hold"], ["index"], ["erase", "alice"]])
def test_no_archive(cli: Cli, tmp_path: Path, command: list[str]) -> None:
    """What is no directory is no archive: exit code 2; so is a place where nothing is."""
    assert "is no archive: give the directory" in cli(*command, os.devnull, code=2).stderr
    assert "no such file or directory" in cli(*command, tmp_path / "missing", code=2).stderr


@pytest.mark.parametrize(
    ("command", "name", "known"),
    [
        (["report", "{}", "--month", "this", "-o"], "month.pdf", "use .zip; or name a new dir"),
        (["subject", "alice", "{}", "-o"], "alice.pdf", "use .html, .htm, .json, .csv, or --f"),
        (["export", "{}"], "events.xml", "use .json, .jsonl, .csv"),
    ],
)
def test_unknown_formats(
    cli: Cli, trail: Path, tmp_path: Path, command: list[str], name: str, known: str
) -> None:
    """A name whose ending is that of another format is refused, with those that can be written."""
    said = cli(*(word.format(trail.parent) for word in command), tmp_path / name, code=2).stderr
    assert known in " ".join(said.split())
    assert not (tmp_path / name).exists()
