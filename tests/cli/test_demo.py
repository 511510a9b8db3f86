"""``axon-audit demo``: what somebody sees on a fresh machine."""

from __future__ import annotations

import gzip
import http.server
import json
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import Cli
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from rich.cells import cell_len

from axon_audit_otel import EventStatus, OperationType

TEXT = files("axon_audit_otel").joinpath("cli/demo/tea_party.txt").read_text("utf-8")
#: Users that are no speakers of the dialogue.
STAFF = {"night-shift", "import-script", "cleanup-script", "privacy-officer"}


class Run(NamedTuple):
    """One demo: what it printed, as JSON and for people, and its directory."""

    document: dict[str, Any]
    screen: str
    errors: str
    directory: Path


@pytest.fixture(name="demo", scope="module")
def _demo(cli: Cli, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The demo, run twice on its own text: once for people, then with --json."""
    for_people = tmp_path_factory.mktemp("people") / "axon-audit-demo"
    for_programs = tmp_path_factory.mktemp("programs") / "audit"
    seen = cli("demo", "--output", for_people)
    parsed = cli("demo", "--output", for_programs, "--json")
    return Run(json.loads(parsed.stdout), seen.stdout, seen.stderr + parsed.stderr, for_people)


def _events(cli: Cli, path: Path, *filters: str) -> list[dict[str, Any]]:
    """The events at *path*, oldest first."""
    lines = cli("query", path, *filters, "--json").stdout.splitlines()
    return [json.loads(line) for line in reversed(lines)]


# --- what happens ----------------------------------------------------------------------------


class TestDay:
    """The lines, users and operations of the day."""

    def test_every_operation_and_every_outcome(self, demo: Run) -> None:
        """Each operation of a memory is there, succeeds, and each way to end is there."""
        operations = demo.document["operations"]
        of_no_memory = {"OTHER", "AUDIT"}
        assert set(operations) == {op.value for op in OperationType} - of_no_memory
        assert all(operation["by_status"]["SUCCESS"] for operation in operations.values())
        assert set(demo.document["by_status"]) == {status.value for status in EventStatus}
        assert operations["RECALL"]["by_status"]["PARTIAL"] == 1
        assert operations["IMPORT"]["by_status"]["PARTIAL"] == 1

    def test_failures(self, cli: Cli, demo: Run) -> None:
        """Operations fail in several ways; one is cancelled, one transaction rolled back."""
        failures = _events(cli, demo.directory, "--status", "FAILURE")
        kinds = Counter((event["operation"], event["error_type"]) for event in failures)
        assert kinds == {
            ("STORE", "ValueError"): 1,
            ("RECALL", "ValueError"): 1,
            ("EXPORT", "ValueError"): 1,
            ("STORE", "ConnectionError"): 1,
            ("RECALL", "asyncio.CancelledError"): 1,
            ("TRANSACTION", "LookupError"): 1,
        }

    def test_what_the_memory_did(self, cli: Cli, demo: Run) -> None:
        """Housekeeping really changes the memory: the SDK answers with what it did."""
        (compact,) = _events(cli, demo.directory, "--operation", "COMPACT")
        assert compact["metadata"]["summaries_created"] == 1
        assert compact["metadata"]["entries_after"] < compact["metadata"]["entries_before"]
        (sync,) = _events(cli, demo.directory, "--operation", "SYNC")
        assert sync["metadata"]["synced"] > 0
        whole, damaged = _events(cli, demo.directory, "--operation", "IMPORT")
        assert whole["metadata"]["errors"] == 0
        assert damaged["metadata"]["errors"] == 1
        recalls = _events(cli, demo.directory, "--operation", "RECALL", "--until", "0s")
        assert sum(event["metadata"].get("result_count", 0) > 0 for event in recalls) >= 10

    def test_erasure(self, cli: Cli, demo: Run) -> None:
        """The words of a user are found, deleted by another user on request, and gone."""
        touched = _events(cli, demo.directory, "--subject", "dormouse")
        read, erased, repaired, read_again = (
            e for e in touched if e.get("subject_id") == "dormouse"
        )
        assert {"STORE", "COMPACT", "EXPORT"} <= {event["operation"] for event in touched}
        assert read["metadata"]["result_count"] > 0
        assert (erased["operation"], erased["user_id"]) == ("FORGET", "privacy-officer")
        assert set(read["entry_ids"]) <= set(erased["entry_ids"])
        (summary,) = erased["metadata"]["derived_remaining"]
        assert (erased["status"], repaired["status"]) == ("PARTIAL", "SUCCESS")
        assert repaired["entry_ids"] == [summary] == repaired["metadata"]["derived_of_others"]
        assert read_again["metadata"]["result_count"] == 0

    def test_users_and_sessions(self, cli: Cli, demo: Run) -> None:
        """The speakers are the users, each in more than one session; every event has a user."""
        users = {user["user_id"] for user in demo.document["users"]}
        assert users == {"alice", "hatter", "march-hare", "dormouse"} | STAFF
        for user in users - STAFF:
            sessions = {
                event["session_id"] for event in _events(cli, demo.directory, "--user", user)
            }
            assert len(sessions) >= 2

    def test_same_every_time(self, cli: Cli, demo: Run, tmp_path: Path) -> None:
        """Two runs differ in ids and times only."""

        def shape(directory: Path) -> list[tuple[Any, ...]]:
            names = ("sequence", "operation", "status", "user_id", "session_id", "error_type")
            return [
                (*map(event.get, names), len(event["entry_ids"]))
                for event in _events(cli, directory)
            ]

        cli("demo", "--output", tmp_path, "--json")
        assert shape(tmp_path) == shape(demo.directory)

    def test_no_content_is_recorded(self, demo: Run) -> None:
        """Neither what was said nor what was asked for is in the files, nor personal data."""
        files = (path.read_bytes() for path in demo.directory.iterdir())
        recorded = b"".join(files).decode("utf-8", "replace")
        for line in TEXT.splitlines():
            said = line.partition(": ")[2]
            assert len(said) < 8 or said not in recorded
        assert "example.org" not in recorded
        assert "20 7946" not in recorded
        assert '"pii_types":["email","phone"]' in recorded

    def test_personal_data_is_redacted(self, demo: Run) -> None:
        """Captured content holds no email address and no telephone number."""
        (text,) = demo.document["redacted"]
        assert "[REDACTED:email]" in text
        assert "[REDACTED:phone]" in text
        assert text in demo.screen


# --- what is shown ---------------------------------------------------------------------------


class TestScreen:
    """The output on a terminal."""

    def test_order_and_width(self, demo: Run) -> None:
        """Progress, trail, statistics, users, privacy, files, what next; in 80 columns.

        The trail's lines are whole in a pipe, and paths are as long as they are.
        """
        titles = ["A day", "Morning", "The audit trail", "Statistics", "Who did", "Privacy"]
        places = [demo.screen.index(f"\n{title}") for title in titles if title != "Morning"]
        assert places == sorted(places)
        before, _, commands = demo.screen.partition("What to look at next")
        shown = before.partition("\nFiles\n")[0]
        day, _, rest = shown.partition("\nThe audit trail")
        around = day + rest[rest.index("\nStatistics\n") :]
        assert max(map(cell_len, around.splitlines())) <= 80
        assert commands

    def test_progress_is_complete(self, demo: Run) -> None:
        """Every phase of the day comes to its end."""
        counts = re.findall(r" (\d+)/(\d+) *$", demo.screen, re.MULTILINE)
        assert len(counts) == 5
        assert all(done == total for done, total in counts)

    def test_trail(self, cli: Cli, demo: Run) -> None:
        """The newest fifteen events, as `query` shows them but in 80 columns; all outcomes are
        among them."""
        table = cli("query", demo.directory, "--limit", 15).stdout
        assert all(line[:79] in demo.screen for line in table.splitlines())
        assert {"SUCCESS", "PARTIAL", "FAILURE"} <= set(table.split())

    def test_statistics(self, cli: Cli, demo: Run) -> None:
        """The statistics are those that `stats` reads from the files."""
        for line in cli("stats", demo.directory).stdout.splitlines()[1:]:
            assert line.strip() in demo.screen

    def test_nothing_else_is_on_it(self, demo: Run) -> None:
        """No log lines of the SDK, no warnings."""
        assert demo.errors == ""
        assert '"logger"' not in demo.screen

    def test_logging_is_as_before(self, cli: Cli, tmp_path: Path) -> None:
        """Handlers that the user gave the SDK's loggers work again after the demo."""
        logger, mine = logging.getLogger("axon"), logging.NullHandler()
        logger.addHandler(mine)
        before = list(logger.handlers)
        try:
            cli("demo", "--output", tmp_path)
            assert logger.handlers == before
        finally:
            logger.removeHandler(mine)

    def test_commands_work(
        self, cli: Cli, demo: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Each command that is proposed runs, and has something to show."""
        monkeypatch.chdir(demo.directory.parent)
        shown = demo.screen.partition("What to look at next")[2].splitlines()
        commands = [shlex.split(line) for line in shown if line and "#" not in line]
        assert [words for words in commands if words[-1] == "--serve"] == [commands[-1]]
        codes = {"receipt": 1, "influence": 1}  # an export has a copy; it was read
        names = {"query", "stats", "export", "lineage", "verify", *codes}
        found = [next(word for word in words if word in names) for words in commands[:-1]]
        assert sorted(found) == [
            "export",
            "influence",
            "lineage",
            "query",
            "query",
            "receipt",
            "stats",
            "verify",
        ]
        for name, words in zip(found, commands):
            done = cli(*words[words.index(name) :], code=codes.get(name, 0))
            assert len(done.stdout.splitlines()) >= 1
        assert (demo.directory.parent / "audit.csv").exists()

    def test_json_is_all_there_is(self, demo: Run) -> None:
        """With --json, standard output is one object that has what the screen has."""
        assert demo.document["total_operations"] == sum(demo.document["by_status"].values())
        assert demo.document["metrics_url"] is None
        assert [Path(name).suffix for name in demo.document["files"]] == [".json", ".json"]


class TestFiles:
    """The files on disk."""

    def test_sealed_files_only(self, cli: Cli, demo: Run) -> None:
        """Sealed files in the specification's format hold every event once, in one chain."""
        sealed = sorted(demo.directory.glob("audit_*.json"))
        assert len(sealed) == 2
        assert not list(demo.directory.glob("*.journal"))
        for path in sealed:
            content = json.loads(path.read_bytes())
            assert content["total_events"] == len(content["events"]) > 0
            starts = [e for e in content["events"] if e["metadata"].get("record") == "start"]
            assert f"{content['total_events'] - len(starts)} events" in demo.screen
        events = _events(cli, demo.directory)
        assert [event["sequence"] for event in events] == list(range(2, len(events) + 2))
        assert len(events) == demo.document["total_operations"]

    def test_nothing_is_overwritten(self, cli: Cli, tmp_path: Path) -> None:
        """A second run adds files to the first one's, and leaves strangers' alone."""
        (tmp_path / "notes.txt").write_text("mine")
        cli("demo", "--output", tmp_path)
        first = {path: path.read_bytes() for path in tmp_path.glob("audit_*.json")}
        second = json.loads(cli("demo", "--output", tmp_path, "--json").stdout)
        assert (tmp_path / "notes.txt").read_text() == "mine"
        assert {path: path.read_bytes() for path in first} == first
        assert not set(second["files"]) & set(map(str, first))
        total = second["total_operations"]  # of this run, not of what lay there
        assert len(_events(cli, tmp_path)) == 2 * total

    @pytest.mark.parametrize("name", ["file", "file/below"])
    def test_directory_that_cannot_be(self, cli: Cli, tmp_path: Path, name: str) -> None:
        """One line says which directory cannot be used."""
        (tmp_path / "file").write_text("mine")
        errors = cli("demo", "--output", tmp_path / name, code=1).stderr
        assert errors.startswith("Error: cannot archive to")
        assert errors.count("\n") == 1


class TestOwnText:
    """--input and --users"""

    def test_lines_with_speakers(self, cli: Cli, tmp_path: Path) -> None:
        """Every speaker is a user; lines without a speaker are distributed in turns."""
        (tmp_path / "text").write_text("Ann Lee: Hello there\n\nBob: Hi\nNobody says this\n")
        said = cli(
            "demo", "--input", tmp_path / "text", "--users", 3, "--output", tmp_path, "--json"
        ).stdout
        users = {user["user_id"] for user in json.loads(said)["users"]}
        assert users - STAFF == {"ann-lee", "bob", "user-3"}
        stores = _events(cli, tmp_path, "--operation", "STORE", "--session", "bob-morning")
        assert len(stores) == 1

    @pytest.mark.parametrize(
        ("text", "users"),
        [
            ("one", 1),
            ("?!", 1),
            ("=1+1\n\ufeff\n日本語の長い行です\n\x00\x1b[31m", 7),
            ("a: b: c\n" * 500, 2),
            ("x" * 100_000, 4),
        ],
    )
    def test_any_text_will_do(self, cli: Cli, tmp_path: Path, text: str, users: int) -> None:
        """Every operation and outcome is in the recording, for all kinds of lines."""
        said = cli(
            *("demo", "--input", "-", "--users", users, "--output", tmp_path, "--json"), stdin=text
        ).stdout
        document = json.loads(said)
        assert len(document["operations"]) == 10
        assert set(document["by_status"]) == {"SUCCESS", "PARTIAL", "FAILURE"}
        assert len({user["user_id"] for user in document["users"]} - STAFF) == users

    def test_bytes_that_are_no_text(self, cli: Cli, tmp_path: Path) -> None:
        """A file that is no UTF-8 is read as far as it goes."""
        (tmp_path / "text").write_bytes(b"\xff\xfe\x80 caf\xe9\n")
        cli("demo", "--input", tmp_path / "text", "--output", tmp_path)

    @pytest.mark.parametrize("text", ["", "\n \n"])
    def test_no_line(self, cli: Cli, tmp_path: Path, text: str) -> None:
        """Nothing to remember is a mistake."""
        options = ("demo", "--input", "-", "--output", tmp_path / "out")
        assert "no line" in cli(*options, stdin=text, code=2).stderr
        assert not (tmp_path / "out").exists()

    def test_source_is_named(self) -> None:
        """The text that comes with the package says where it is from."""
        head = TEXT.partition("\n\n")[0]
        assert "Lewis Carroll" in head
        assert "1865" in head
        assert "Public domain" in head


# --- surroundings ----------------------------------------------------------------------------


def _environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**kept, "COLUMNS": "80", **extra}


def _command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "axon_audit_otel", "demo", *map(str, arguments)]


@pytest.fixture(name="serving")
def _serving(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A demo that serves metrics on a free port, and the address that it printed."""
    with subprocess.Popen(
        _command("--serve", "--port", 0, "--output", tmp_path / "audit"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=_environment(),
        text=True,
    ) as process:
        guard = threading.Timer(60, process.kill)  # a hang must not stop the whole run
        guard.start()
        try:
            assert process.stdout is not None
            url = next((line.strip() for line in process.stdout if "/metrics" in line), "")
            assert url, process.stderr and process.stderr.read()
            yield process, url
        finally:
            guard.cancel()
            process.kill()


def _scrape(url: str) -> tuple[str, str, float]:
    """The content type and text of a scrape, and how many operations it counts."""
    with urllib.request.urlopen(url) as answer:
        kind, text = answer.headers["Content-Type"], answer.read().decode()
    counted = re.findall(r"^axon_memory_operations_total\{.*?\} ([\d.e+]+)", text, re.MULTILINE)
    return kind, text, sum(map(float, counted))


class TestServe:
    """--serve"""

    @pytest.mark.slow
    def test_load_and_metrics(
        self, cli: Cli, serving: tuple[subprocess.Popen[str], str], tmp_path: Path
    ) -> None:
        """OpenMetrics while a load goes on; Ctrl-C seals what was recorded and ends it."""
        process, url = serving
        kind, text, before = _scrape(url)
        assert kind.startswith("application/openmetrics-text")
        assert text.endswith("# EOF\n")
        assert (
            'axon_memory_operations_total{operation="COMPACT",status="SUCCESS",system="axon",trail="demo"}'
            in text
        )
        assert before >= 94
        while _scrape(url)[2] < before + 3:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        events = _events(cli, tmp_path / "audit")
        assert len(events) >= before + 3
        assert not list((tmp_path / "audit").glob("*.journal"))

    @pytest.mark.slow
    def test_ends_on_sigterm(self, serving: tuple[subprocess.Popen[str], str]) -> None:
        """SIGTERM, which a container runtime sends, ends it."""
        process, _ = serving
        process.send_signal(signal.SIGTERM)
        output, errors = process.communicate()
        assert (process.returncode, errors) == (0, "")
        assert "sealed in" in output

    def test_port_that_is_taken(self, cli: Cli, tmp_path: Path) -> None:
        """One line says so, before anything else happens."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            result = cli("demo", "--serve", "--port", port, "--output", tmp_path / "a", code=1)
        assert str(port) in result.stderr
        assert result.stderr.count("\n") == 1
        assert not (tmp_path / "a").exists()

    def test_address_of_another_machine(self, cli: Cli, tmp_path: Path) -> None:
        """--host is where it listens."""
        options = ["--serve", "--host", "192.0.2.1", "--output", tmp_path / "a"]
        assert "192.0.2.1:9464" in cli("demo", *options, code=1).stderr


class _Collector(http.server.BaseHTTPRequestHandler):
    """Takes OTLP over HTTP and keeps the bodies."""

    def do_POST(self) -> None:
        """Take one request."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.taken.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        """Not on the screen."""


def _ship(directory: Path, endpoint: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        _command("--otlp", "--output", directory),
        env=_environment(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, **environment),
        capture_output=True,
        text=True,
        check=False,
    )


class TestOtlp:
    """--otlp"""

    @pytest.mark.slow
    def test_everything_is_shipped(self, cli: Cli, tmp_path: Path) -> None:
        """A collector gets a log record for every event, spans and metrics."""
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Collector) as server:
            taken = server.taken = []  # type: ignore[attr-defined]
            threading.Thread(target=server.serve_forever, daemon=True).start()
            endpoint = f"http://127.0.0.1:{server.server_port}"
            done = _ship(tmp_path, endpoint)
            server.shutdown()
        assert (done.returncode, done.stderr) == (0, "")
        assert f"shipped to {endpoint}" in done.stdout
        assert {path for path, _ in taken} == {"/v1/logs", "/v1/traces", "/v1/metrics"}
        shipped = []
        for path, body in taken:
            if path == "/v1/logs":
                for resource in ExportLogsServiceRequest.FromString(body).resource_logs:
                    names = {a.key: a.value.string_value for a in resource.resource.attributes}
                    assert names["service.name"] == "axon-audit-demo"
                    for scope in resource.scope_logs:
                        shipped += [
                            attribute.value.string_value
                            for record in scope.log_records
                            for attribute in record.attributes
                            if attribute.key == "log.record.uid"
                        ]
        events = {event["event_id"] for event in _events(cli, tmp_path)}
        assert events <= set(shipped)
        assert len(shipped) == len(set(shipped))

    @pytest.mark.slow
    @pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
    @pytest.mark.parametrize("listening", [True, False])
    def test_collector_that_is_dead(
        self, cli: Cli, tmp_path: Path, protocol: str, listening: bool
    ) -> None:
        """A collector that is not there, or never answers, costs one line and no event."""
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            if listening:
                silent.listen()
            endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
            done = _ship(tmp_path, endpoint, OTEL_EXPORTER_OTLP_PROTOCOL=protocol)
        assert (done.returncode, done.stderr) == (0, "")
        assert "Traceback" not in done.stdout
        assert done.stdout.count(f"not all was shipped to {endpoint}: ") == 1
        assert len(_events(cli, tmp_path)) == 95

    @pytest.mark.slow
    def test_exporter_that_is_not_installed(self, tmp_path: Path) -> None:
        """One line names the variable."""
        done = _ship(tmp_path / "a", "http://127.0.0.1:9", OTEL_LOGS_EXPORTER="pigeon")
        assert done.returncode == 1
        assert done.stderr.startswith("Error: OTEL_LOGS_EXPORTER")
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
def test_without_the_sdk(tmp_path: Path) -> None:
    """Without axon-sdk the demo says how to install it."""
    script = """
        import sys
        sys.modules["axon"] = None
        from axon_audit_otel.cli.main import main
        main(["demo"])
    """
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(map(str.strip, script.splitlines()))],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("Error: the demo needs the Axon SDK: pip install")
    assert done.stderr.count("\n") == 1
