"""The command prints to pipes, terminals of any width, and closed or full streams."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from pathlib import Path

import pytest
from amounts import slow, thinned
from conftest import Cli

from axon_audit_otel import AuditLogger

LONG = "customer-with-a-long-identifier-of-more-than-sixty-characters-0815"
HOSTILE = "[red]x[/red]\x1b[31m\r\n\u202ejosé"
SPELT = "[red]x[/red]\\x1b[31m\\r\\n\\u202ejosé"
COMMAND = [sys.executable, "-m", "axon_audit_otel"]

#: What has a say in how rich and click print.
_SAYS = ("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE", "TTY_INTERACTIVE")
_SAYS += ("COLUMNS", "LINES", "TERM", "COLORTERM", "PYTHONIOENCODING")


@pytest.fixture(name="archive", scope="module")
def _archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three events, of users with long and hostile ids."""
    directory = tmp_path_factory.mktemp("archive")

    async def record() -> None:
        with AuditLogger(auto_export_path=directory, name="terminal") as audit:
            await audit.log_event("STORE", user_id=LONG, session_id=LONG[::-1], duration_ms=1.0)
            await audit.log_event("RECALL", user_id=HOSTILE, duration_ms=1.0)
            await audit.log_event("FORGET", user_id="bob", status="FAILURE", duration_ms=1.0)

    asyncio.run(record())
    return directory


def _environment(**given: str) -> dict[str, str]:
    environment = {name: value for name, value in os.environ.items() if name not in _SAYS}
    return {**environment, "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8", **given}


def _on_a_terminal(columns: int, *arguments: object, **given: str) -> str:
    """The output of the command on a terminal with that many columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = _environment(**{"TERM": "xterm", **given})
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=slave, stdout=slave, stderr=slave, env=environment
    ) as process:
        os.close(slave)
        said = b""
        with suppress(OSError):  # Linux says so that the other end is closed
            while block := os.read(master, 4096):
                said += block
        assert process.wait() == 0, said
    os.close(master)
    return said.decode()


def _plain(said: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said)


@pytest.mark.parametrize("command", [["query", "--json"], ["tail", "--json"], ["verify", "--json"]])
def test_json_on_a_terminal(archive: Path, tmp_path: Path, command: list[str], cli: Cli) -> None:
    """What would act on the terminal is escaped there: it is the same JSON as in a pipe."""
    copy = Path(shutil.copytree(archive, tmp_path / "copy"))
    (copy / "x\u202e\x9b31m.journal").write_bytes(b'{"events":[\n')
    said = _on_a_terminal(200, command[0], copy, *command[1:])
    assert not any(char in said for char in "\u202e\x9b")
    assert "\\u202e" in said
    lines = [line for line in said.splitlines() if not line.startswith("Error")]
    in_a_pipe = cli(command[0], copy, *command[1:]).stdout
    assert "\u202e" in in_a_pipe
    if command[0] == "verify":
        said = _plain(said)  # after the bar
        report, _ = json.JSONDecoder().raw_decode(said, said.index("{"))
        assert report == json.loads(in_a_pipe)
    else:
        assert [json.loads(line) for line in lines] == list(map(json.loads, in_a_pipe.splitlines()))


# --- pipes ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "given",
    [
        {"FORCE_COLOR": "1"},
        {"FORCE_COLOR": "0"},
        {"FORCE_COLOR": ""},
        {"FORCE_COLOR": "1", "NO_COLOR": "1"},
        {"FORCE_COLOR": "1", "TERM": "dumb"},
        {"CLICOLOR_FORCE": "1"},
        {"TTY_COMPATIBLE": "1", "TTY_INTERACTIVE": "1"},
        {"TTY_COMPATIBLE": "0", "FORCE_COLOR": "1"},
        {"columns": "0"},
        {"columns": "-5"},
        {"columns": "abc"},
        {"columns": "1", "LINES": "0"},
        {"columns": "20", "FORCE_COLOR": "1"},
        {"columns": "200", "FORCE_COLOR": "1"},
        {"columns": "9" * 5000, "LINES": "9" * 5000},
    ],
    ids=str,
)
def test_a_pipe_gets_all_of_it(cli: Cli, archive: Path, given: dict[str, str]) -> None:
    """Ids are whole, an event is a line, and nothing moves, whatever the environment says."""
    for command in ("query", "tail"):
        said = cli(command, archive, **given).stdout
        lines = _plain(said).splitlines()
        assert len(lines) == 4
        assert sum(LONG in line and LONG[::-1] in line for line in lines) == 1
        assert sum(SPELT in line for line in lines) == 1
        assert "\r" not in said
    lines = _plain(cli("stats", archive, **given).stdout).splitlines()
    assert [line.split()[1] for line in lines if line.startswith((LONG, SPELT))] == ["1", "1"]
    assert [line.split()[-1] for line in lines if line.startswith("STORE")] == ["1.00"]
    assert "No damage was found." in _plain(cli("verify", archive, **given).stdout)


@pytest.mark.parametrize(
    ("given", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"FORCE_COLOR": ""}, False),
        ({"FORCE_COLOR": "3", "NO_COLOR": "1"}, False),
        ({"CLICOLOR_FORCE": "1"}, True),
        ({"CLICOLOR_FORCE": "0"}, False),
        ({"TTY_COMPATIBLE": "1"}, True),
        ({"TTY_COMPATIBLE": "0", "FORCE_COLOR": "1"}, False),
        ({"TTY_INTERACTIVE": "1"}, False),
    ],
    ids=str,
)
def test_colours_in_a_pipe(cli: Cli, archive: Path, given: dict[str, str], coloured: bool) -> None:
    """Only where somebody asks for them, and nobody forbids them; nothing is animated."""
    for command in (["query", archive], ["stats", archive]):
        escapes = re.findall(r"\x1b\[[^A-Za-z]*[A-Za-z]", cli(*command, **given).stdout)
        assert bool(escapes) is coloured
        assert all(escape.endswith("m") for escape in escapes)


@pytest.mark.parametrize("given", [{"FORCE_COLOR": "1"}, {"TTY_INTERACTIVE": "1"}], ids=str)
def test_nothing_moves_in_a_pipe(cli: Cli, tmp_path: Path, given: dict[str, str]) -> None:
    """The demo's progress is printed once, at its end."""
    said = cli("demo", "--output", tmp_path / "demo", **given).stdout
    escapes = re.findall(r"\x1b\[[^A-Za-z]*[A-Za-z]", said)
    assert all(escape.endswith("m") for escape in escapes)
    assert _plain(said).count("Morning") == 1


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-16"])
def test_a_terminal_that_lacks_characters(archive: Path, encoding: str) -> None:
    """Characters that a stream lacks are escaped in text; JSON is UTF-8 everywhere."""
    environment = _environment(PYTHONIOENCODING=encoding, LC_ALL="C")
    for command in ("query", "tail", "stats", "verify"):
        for option in ([], ["--json"]):
            done = subprocess.run(
                [*COMMAND, command, str(archive), *option], env=environment, capture_output=True
            )
            assert (done.returncode, b"Traceback" in done.stderr) == (0, False)
            if option:
                assert [json.loads(text) for text in _documents(done.stdout)]
            else:
                done.stdout.decode(encoding)


def _documents(said: bytes) -> list[bytes]:
    """The lines of JSON, or the one document of many lines."""
    lines = said.splitlines()
    return [said] if lines[0] == b"{" else lines


def test_help_is_whole(cli: Cli) -> None:
    """Absurd sizes leave no command without its help."""
    for columns in ("0", "1", "-5", "abc", "100000"):
        said = " ".join(cli("query", "--help", columns=columns).stdout.split())
        assert "Print events that pass every filter, newest first." in said


# --- terminals --------------------------------------------------------------------------------


def _column(lines: list[str], name: str) -> str:
    """The ids that stand below that name, one after another."""
    start = lines[0].index(name)
    return "".join(line[start:].split(" ")[0] for line in lines[1:])


@pytest.mark.slow
@pytest.mark.parametrize("columns", [slow(1), slow(60), 80, slow(200)])
def test_a_terminal_of_any_width(archive: Path, columns: int) -> None:
    """Names and ids are folded into their columns, and whole: nothing is cut."""
    said = _plain(_on_a_terminal(columns, "stats", archive))
    rows = said[said.index("last activity") :].splitlines()
    assert LONG in "".join(row.split(" ")[0] for row in rows)
    assert {"p50", "p95", "p99", "100.0"} <= set(said.split())
    if columns >= 60:
        assert max(map(len, said.splitlines()[1:])) <= columns
    lines = _plain(_on_a_terminal(columns, "query", archive)).splitlines()
    if columns >= 60:
        assert max(map(len, lines)) <= columns
    assert LONG in _column(lines, "user")
    assert columns < 120 or LONG[::-1] in _column(lines, "session")
    assert "3 events" in lines


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 120])
def test_more_columns_than_fit(archive: Path, columns: int) -> None:
    """Each has a line of its own then; ids are whole, so that one can copy them."""
    wanted = "event,user,subject,entry,trace"
    said = _plain(_on_a_terminal(columns, "query", archive, "--columns", wanted, "-n", "1"))
    lines = said.splitlines()
    assert max(map(len, lines)) <= columns
    labels = wanted.split(",")  # there is nothing to say below "what"
    assert [line.split()[0] for line in lines if re.match(r"  \w", line)] == labels
    assert re.search(r"^  event    evt_[0-9a-f]{32}\r?$", said, re.MULTILINE)


@pytest.mark.parametrize(
    "given",
    thinned([{"COLUMNS": "0"}, {"COLUMNS": "abc"}, {"LINES": "0"}, {"TTY_COMPATIBLE": "0"}], 4),
    ids=str,
)
@pytest.mark.slow
def test_a_terminal_whose_environment_lies(archive: Path, given: dict[str, str]) -> None:
    """Sizes that are none are passed over: the terminal knows its own."""
    said = _plain(_on_a_terminal(120, "query", archive, **given))
    assert max(map(len, said.splitlines())) > 80
    assert "session" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "escape"),
    [
        ({}, "\x1b[31m"),
        ({"NO_COLOR": "1"}, None),
        slow({"FORCE_COLOR": "0"}, None),
        slow({"TERM": "dumb"}, "none"),
        slow({"TTY_COMPATIBLE": "0"}, "none"),
    ],
    ids=str,
)
def test_colours_on_a_terminal(archive: Path, given: dict[str, str], escape: str | None) -> None:
    """They can be switched off."""
    said = _on_a_terminal(80, "query", archive, **given)
    if escape == "none":
        assert "\x1b" not in said
    else:
        assert ("\x1b[31mFAILURE" in said) is (escape is not None)


# --- streams that are closed or full ----------------------------------------------------------

EVERY = ["query {}", "query {} --json", "tail {}", "tail {} --json", "stats {}", "stats {} --json"]
EVERY += [
    "verify {}",
    "verify {} --json",
    "export {} - --format jsonl",
    "hold {}",
    "alerts {} --json",
    "--help",
]
EVERY += ["query --help", "prove --script", "--version"]


def _shell(script: str, archive: Path) -> subprocess.CompletedProcess[str]:
    line = " ".join(COMMAND) + " " + script.format(archive)
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {line}"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=_environment(),
    )


def unwritten(command: str) -> int:
    """The exit code of a command whose output could not be written: of `verify` and `alerts`, 1
    means that something was found."""
    return 2 if command.startswith(("verify", "alerts")) else 1


@pytest.mark.slow
@pytest.mark.parametrize("command", EVERY)
def test_standard_output_that_takes_nothing(archive: Path, command: str) -> None:
    """Closed, or on a full disk: one line says so, and the exit code tells it."""
    for where in (">&-", ">/dev/full"):
        done = _shell(f"{command} {where}", archive)
        assert done.returncode == unwritten(command)
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("command", EVERY)
def test_standard_error_that_takes_nothing(archive: Path, command: str) -> None:
    """The answer is the same; with nothing to speak to, the exit code is still there."""
    whole = _shell(command, archive)
    closed = _shell(f"{command} 2>&-", archive)
    assert (closed.returncode, closed.stdout) == (whole.returncode, whole.stdout)
    for where in ("2>/dev/full", "2>&- <&-"):
        done = _shell(f"{command} {where}", archive)
        assert done.stdout == whole.stdout
    for where in (">&- 2>&- <&-", ">/dev/full 2>/dev/full", ">&- 2>/dev/full"):
        assert _shell(f"{command} {where}", archive).returncode == unwritten(command)


@pytest.mark.slow
@pytest.mark.parametrize("command", EVERY)
def test_a_reader_that_has_enough(archive: Path, command: str) -> None:
    """`| head` is no error of anybody."""
    said = _shell(f"{command} | head -c 1", archive).stderr
    assert said in ("", "3 events\n", "0 alerts\n", "3 events written to -\n")


@pytest.mark.slow
def test_what_is_recorded_does_not_go_where_streams_were(
    cli: Cli, tmp_path: Path, archive: Path
) -> None:
    """A file that is opened while standard error is closed is not written to by what complains."""
    shutil.copytree(archive, tmp_path / "copy")
    script = "import logging, os, sys; os.close(2); sys.stderr = None\n"
    script += "from axon_audit_otel.cli.main import main\n"
    script += "import atexit; atexit.register(os.write, 2, b'complaint')\n"
    script += "main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", script, "hold", str(tmp_path / "copy"), "--reason", "x"],
        env=_environment(),
    )
    assert done.returncode == 0
    assert "No damage was found." in cli("verify", tmp_path / "copy").stdout
    assert not [path for path in (tmp_path / "copy").iterdir() if b"complaint" in path.read_bytes()]


@pytest.mark.parametrize(
    "command",
    [
        slow("demo --input - --output {}/none"),
        "verify {} --checkpoint -",
        slow("prove evt_1 {} --checkpoint -"),
    ],
)
@pytest.mark.slow
def test_standard_input_that_is_closed(archive: Path, command: str) -> None:
    """Nothing can be read from it, which is said in one line."""
    done = _shell(f"{command} <&-", archive)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert "Error: " in done.stderr.splitlines()[-1]
