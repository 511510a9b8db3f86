"""``opentelemetry-instrument`` in front of real programs: recorded, in one trail, or told."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from collector import free_port, wait
from conftest import archived

from axon_audit_otel.verification.verify import verify

LAUNCHER = str(Path(sys.executable).with_name("opentelemetry-instrument"))
NO_EXPORTERS = {f"OTEL_{signal}_EXPORTER": "none" for signal in ("TRACES", "METRICS", "LOGS")}
#: Without the other libraries a program starts in a third of the time.
ONLY_AXON = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "langgraph-memory,mem0-memory"}
ALL = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ""}
#: As where opentelemetry-distro is not installed: nobody sets up an SDK.
NO_DISTRO = {"OTEL_PYTHON_DISTRO": "none", "OTEL_PYTHON_CONFIGURATOR": "none"}

_MEMORY = """
import asyncio, json, logging, sys
from axon import MemorySystem
from axon.core.templates import DEVELOPMENT_CONFIG
from axon_audit_otel import AuditLogger, AxonInstrumentor

def store(system, user):
    asyncio.run(system.store("tea", user_id=user))

def shown(*loggers):
    users = [sorted(event.user_id for event in one.query_events(archived=False)) for one in loggers]
    print(json.dumps([[one.name, found] for one, found in zip(loggers, users)]))
"""
_PLAIN = """
store(MemorySystem(DEVELOPMENT_CONFIG), "alice")
shown(AxonInstrumentor().audit_logger)
"""
_OWN_LOGGER = """
logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
audit = AuditLogger()
store(MemorySystem(DEVELOPMENT_CONFIG, audit_logger=audit), "alice")
store(MemorySystem(DEVELOPMENT_CONFIG), "bob")
shown(audit, AxonInstrumentor().audit_logger)
"""
_LATE_LOGGER = """
store(MemorySystem(DEVELOPMENT_CONFIG), "bob")
audit = AuditLogger()
store(MemorySystem(DEVELOPMENT_CONFIG, audit_logger=audit), "alice")
shown(audit, AxonInstrumentor().audit_logger)
"""


def run(directory: Path, app: str, **environment: str) -> tuple[list[list[object]], list[str]]:
    """What *app* shows under ``opentelemetry-instrument``, and our lines on standard error."""
    done = subprocess.run(
        [LAUNCHER, sys.executable, "-c", _MEMORY + app],
        cwd=directory,
        env={**os.environ, **NO_EXPORTERS, **ONLY_AXON, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sdk = ('{"timestamp"', "INFO PolicyEngine", "INFO Router", "Configuration of configurator")
    lines = [line for line in done.stderr.splitlines() if not line.startswith(sdk)]
    return json.loads(done.stdout), [line for line in lines if "udit" in line or "emory" in line]


@pytest.mark.slow
class TestWhatIsSaid:
    """Nobody has set up logging yet: INFO is not seen, what is missing is, in one line."""

    def test_nothing_where_all_is_well(self, tmp_path: Path) -> None:
        found, said = run(tmp_path, _PLAIN, AXON_AUDIT_AUTO_EXPORT_PATH=str(tmp_path / "logs"))
        assert found == [["default", ["alice"]]]
        assert said == []

    @pytest.mark.parametrize(
        ("environment", "words"),
        [
            ({}, "OpenTelemetry's logger provider has no exporter: they are gone when the"),
            ({"OTEL_SDK_DISABLED": "true"}, "they are gone when the program ends"),
            ({**NO_DISTRO, "OTEL_SDK_DISABLED": "true"}, "they are gone when the program ends"),
            ({**NO_DISTRO, **ALL}, "pip install opentelemetry-distro"),
        ],
        ids=["memory", "disabled", "disabled-without-distro", "without-distro"],
    )
    def test_what_is_missing(self, tmp_path: Path, environment: dict[str, str], words: str) -> None:
        """Recorded all the same; one line, whatever libraries there are, says what to set."""
        found, said = run(tmp_path, _PLAIN, **environment)
        assert found == [["default", ["alice"]]]
        (line,) = said
        assert words in line
        assert "AXON_AUDIT_AUTO_EXPORT_PATH" in line

    def test_a_switched_off_instrumentation(self, tmp_path: Path) -> None:
        """OpenTelemetry's own variable turns ours off: nothing is recorded, as was asked for."""
        off = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "axon"}
        app = 'store(MemorySystem(DEVELOPMENT_CONFIG), "alice")\nprint("[]")\n'
        app += "assert AxonInstrumentor().audit_logger is None"
        assert run(tmp_path, app, **off)[0] == []

    def test_a_wrong_exporter(self, tmp_path: Path) -> None:
        """OpenTelemetry gives up before it starts any instrumentor, and says so with a traceback:
        no instrumentor can mend that."""
        app = 'print("[]")\nassert AxonInstrumentor().audit_logger is None'
        done = subprocess.run(
            [LAUNCHER, sys.executable, "-c", _MEMORY + app],
            cwd=tmp_path,
            env={**os.environ, **NO_EXPORTERS, **ONLY_AXON, "OTEL_TRACES_EXPORTER": "misspelt"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert "misspelt" in done.stderr


@pytest.mark.slow
class TestOwnLogger:
    """The application makes an `AuditLogger` of the same name."""

    @pytest.mark.parametrize("archive", [True, False])
    def test_is_the_trail(self, tmp_path: Path, archive: bool) -> None:
        """What nobody made a logger for goes there as well: one trail, which one line says."""
        place = {"AXON_AUDIT_AUTO_EXPORT_PATH": str(tmp_path / "logs")} if archive else {}
        found, said = run(tmp_path, _OWN_LOGGER, **place)
        assert found == [["default", ["alice", "bob"]]] * 2
        (line,) = (line for line in said if line.startswith("INFO"))
        assert line == (
            "INFO audit trail 'default': the application's own logger; what it does not cover is"
            " recorded there as well"
        )
        if archive:
            assert [event.user_id for event in archived(tmp_path / "logs")] == ["alice", "bob"]
            assert verify(tmp_path / "logs").ok

    def test_after_a_killed_run(self, tmp_path: Path) -> None:
        """The logger of the environment recovers what that left; the other one goes on with it."""
        place = str(tmp_path / "logs")
        killed = "import os, signal\n" + _PLAIN + "os.kill(os.getpid(), signal.SIGKILL)"
        with pytest.raises(AssertionError):
            run(tmp_path, killed, AXON_AUDIT_AUTO_EXPORT_PATH=place)
        found, _ = run(tmp_path, _OWN_LOGGER, AXON_AUDIT_AUTO_EXPORT_PATH=place)
        assert found[0][0] == "default"
        assert [file.name for file in (tmp_path / "logs").glob("*.manifest")] == [
            "default.manifest"
        ]
        assert verify(tmp_path / "logs").ok

    def test_made_too_late(self, tmp_path: Path) -> None:
        """After the first operation there are two trails, and a warning names both."""
        found, said = run(tmp_path, _LATE_LOGGER, AXON_AUDIT_AUTO_EXPORT_PATH=str(tmp_path / "a"))
        assert found == [["default-2", ["alice"]], ["default", ["bob"]]]
        (line,) = said
        assert "'default'" in line
        assert "'default-2'" in line

    def test_of_another_name(self, tmp_path: Path) -> None:
        """Two trails were asked for, and say nothing."""
        app = _LATE_LOGGER.replace("AuditLogger()", 'AuditLogger(name="shop")')
        found, said = run(tmp_path, app, AXON_AUDIT_AUTO_EXPORT_PATH=str(tmp_path / "a"))
        assert found == [["shop", ["alice"]], ["default", ["bob"]]]
        assert said == []


_WEB = """
import asyncio, os
from axon import MemorySystem
from axon.core.templates import DEVELOPMENT_CONFIG
memory = MemorySystem(DEVELOPMENT_CONFIG)

def wsgi(environ, start_response):
    asyncio.run(memory.store("tea", user_id="alice"))
    start_response("200 OK", [])
    return [str(os.getpid()).encode()]

async def asgi(scope, receive, send):
    if scope["type"] == "http":
        await memory.store("tea", user_id="alice")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": str(os.getpid()).encode()})
"""


@contextmanager
def serving(directory: Path, *command: str, **environment: str) -> Iterator[None]:
    """A server program with its workers, under ``opentelemetry-instrument``, in *directory*."""
    with (directory / "log").open("w") as log:
        process = subprocess.Popen(
            [LAUNCHER, sys.executable, "-m", *command],
            cwd=directory,
            env={**os.environ, **NO_EXPORTERS, **ONLY_AXON, **environment},
            stdout=log,
            stderr=log,
        )
    try:
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def asked(url: str) -> str | None:
    """The process that answered."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return str(answer.read().decode())
    except (urllib.error.URLError, OSError):
        return None


@pytest.mark.component
@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        ("gunicorn", "web:wsgi", "--workers", "2", "--bind", "127.0.0.1:{port}"),
        ("gunicorn", "web:wsgi", "--workers", "2", "--bind", "127.0.0.1:{port}", "--preload"),
        (
            *("uvicorn", "web:asgi", "--workers", "2", "--port", "{port}"),
            *("--timeout-worker-healthcheck", "120"),
        ),
    ],
    ids=["gunicorn", "gunicorn-preload", "uvicorn"],
)
def test_servers_with_workers(tmp_path: Path, command: tuple[str, ...]) -> None:
    """A worker records what it does in a trail of its own, in one archive: every request that
    was answered, forked or spawned, and no other."""
    (tmp_path / "web.py").write_text(_WEB)
    port = str(free_port())
    filled = [part.format(port=port) for part in command]
    answered: Counter[str] = Counter()
    with serving(tmp_path, *filled, AXON_AUDIT_AUTO_EXPORT_PATH=str(tmp_path / "logs")):

        def enough() -> bool:
            pid = asked(f"http://127.0.0.1:{port}")
            if pid is not None:
                answered[pid] += 1
            return answered.total() == 10

        wait(enough)
    events = [event for event in archived(tmp_path / "logs") if event.operation == "STORE"]
    assert len(events) == answered.total()
    found = verify(tmp_path / "logs")
    # A worker of uvicorn ends without exit handlers, and leaves its journal to the next start.
    assert len([writer for writer in found.writers if writer.events]) == len(answered)
    assert found.ok
