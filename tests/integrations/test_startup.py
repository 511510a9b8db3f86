"""The beginning: where events go is said, and a wrong setting leaves nothing unaudited."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import Make, Run
from cosigner import key_line
from opentelemetry.sdk._logs import LoggerProvider

from axon_audit_otel import AuditConfigError, AuditLogger, AxonInstrumentor
from axon_audit_otel.archive.checkpoints import new_key

_APP = """
import asyncio, json
from axon import MemorySystem
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy
from axon_audit_otel import AxonInstrumentor

policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
memory = MemorySystem(MemoryConfig(persistent=policy, default_tier="persistent"))
asyncio.run(memory.store("tea", metadata={"user_id": "alice"}))
events = AxonInstrumentor().audit_logger.query_events()
print(json.dumps([[event.operation.value, event.user_id] for event in events]))
"""


def _started(directory: Path, **environment: object) -> subprocess.CompletedProcess[str]:
    """The application under ``opentelemetry-instrument``, with nowhere to export to."""
    launcher = str(Path(sys.executable).with_name("opentelemetry-instrument"))
    exporters = [f"OTEL_{signal}_EXPORTER" for signal in ("TRACES", "METRICS", "LOGS")]
    return subprocess.run(
        [launcher, sys.executable, "-c", _APP],
        cwd=directory,
        env={**os.environ, **dict.fromkeys(exporters, "none"), **_texts(environment)},
        capture_output=True,
        text=True,
        check=False,
    )


def _texts(values: dict[str, object]) -> dict[str, str]:
    return {f"AXON_AUDIT_{name}": str(value) for name, value in values.items()}


class TestWrongSetting:
    """Nobody reads what `instrument` raises where OpenTelemetry calls it."""

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "value"),
        [("MAX_EVENTS", "10k"), ("RETENTION", "hippa"), ("SIGNING_KEY", "nowhere.key")],
    )
    def test_is_left_out(self, tmp_path: Path, name: str, value: str) -> None:
        """The application is recorded, in its archive, and the error names variable and value."""
        done = _started(tmp_path, AUTO_EXPORT_PATH=tmp_path / "logs", **{name: value})
        assert done.returncode == 0
        assert json.loads(done.stdout) == [["STORE", "alice"]]
        shown = "(a secret)" if name == "SIGNING_KEY" else repr(value)
        assert f"AXON_AUDIT_{name}={shown}" in done.stderr
        assert "Traceback" not in done.stderr
        assert len(list((tmp_path / "logs").glob("audit_*.json"))) == 1

    @pytest.mark.slow
    def test_several(self, tmp_path: Path) -> None:
        """Each is named, and what works is used."""
        done = _started(
            tmp_path, MAX_EVENTS=0, DURABILITY="tape", AUTO_EXPORT_PATH=tmp_path / "logs"
        )
        assert json.loads(done.stdout) == [["STORE", "alice"]]
        assert "AXON_AUDIT_MAX_EVENTS='0'" in done.stderr
        assert "AXON_AUDIT_DURABILITY='tape'" in done.stderr
        assert (tmp_path / "logs").is_dir()

    @pytest.mark.slow
    def test_no_archive(self, tmp_path: Path) -> None:
        """Without a usable directory, the newest events are in memory."""
        (tmp_path / "logs").touch()
        done = _started(tmp_path, AUTO_EXPORT_PATH=tmp_path / "logs", COMPRESS="true")
        assert json.loads(done.stdout) == [["STORE", "alice"]]
        assert "cannot archive to" in done.stderr

    @pytest.mark.slow
    @pytest.mark.parametrize(
        "setting",
        [
            {"PSEUDONYMIZE": "@nowhere"},
            {"ERASABLE": "true"},
            {"PRIVATE_IDS": "true"},  # without a secret
            {"PRIVATE_IDS": "maybe"},
            {"PRIVATE_IDS": "true", "ERASABLE": "true"},
            {"PRIVATE_IDS": "true", "MAX_ARCHIVE_BYTES": "1", "MAX_FILE_BYTES": "2"},
        ],
    )
    def test_what_was_to_be_hidden(self, tmp_path: Path, setting: dict[str, str]) -> None:
        """Ids that were to be hidden are hashed: with a secret that nobody has."""
        done = _started(tmp_path, **setting)
        ((operation, user),) = json.loads(done.stdout)
        assert operation == "STORE"
        assert user.startswith("hmac-sha256:")
        assert "Recording goes on without that" in done.stderr

    @pytest.mark.slow
    def test_settings_that_do_not_go_together(self, tmp_path: Path) -> None:
        """A limit that would delete too early is left out; the archive stays."""
        done = _started(
            tmp_path, AUTO_EXPORT_PATH=tmp_path / "a", RETENTION="hipaa", MAX_ARCHIVE_BYTES="1GB"
        )
        assert json.loads(done.stdout) == [["STORE", "alice"]]
        assert "max_archive_bytes=1000000000" in done.stderr
        assert len(list((tmp_path / "a").glob("audit_*.json"))) == 1

    @pytest.mark.slow
    def test_witnesses_without_a_key(self, tmp_path: Path) -> None:
        """Witnesses of what nobody signs are left out; the archive stays."""
        line = f"https://w.example {key_line('w', bytes(32))}"
        done = _started(tmp_path, AUTO_EXPORT_PATH=tmp_path / "a", WITNESSES=line)
        assert json.loads(done.stdout) == [["STORE", "alice"]]
        assert "give signing_key=" in done.stderr
        assert len(list((tmp_path / "a").glob("audit_*.json"))) == 1

    @pytest.mark.usefixtures("fresh_name")
    def test_in_code(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """An application that calls `instrument` itself gets the error."""
        monkeypatch.setenv("AXON_AUDIT_MAX_EVENTS", "10k")
        with pytest.raises(AuditConfigError, match="AXON_AUDIT_MAX_EVENTS='10k'"):
            AxonInstrumentor().instrument()


class TestAnnouncement:
    def _line(self, caplog: pytest.LogCaptureFixture, **arguments: object) -> str:
        with caplog.at_level(logging.INFO, "axon_audit_otel"):
            AxonInstrumentor().instrument(**arguments)
        (record,) = [r for r in caplog.records if r.name == "axon_audit_otel"]
        assert record.levelno == logging.INFO
        return record.getMessage()

    def test_memory(self, make_audit: Make, caplog: pytest.LogCaptureFixture) -> None:
        """`instrument` logs one line: a trail in memory that nothing leaves."""
        audit = make_audit(logger_provider=None, max_events=5000)
        line = self._line(caplog, audit_logger=audit)
        assert f"'{audit.name}'" in line
        assert "in memory (the newest 5,000)" in line
        assert "no OpenTelemetry logger provider" in line

    def test_what_to_set_next(
        self, make_audit: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Files, then their signature, then a collector; nothing where all is set."""
        key = new_key("k")
        given: dict[str, object] = {"logger_provider": None}
        for more, hint in (
            ({}, "AXON_AUDIT_AUTO_EXPORT_PATH=DIRECTORY"),
            ({"auto_export_path": tmp_path}, "AXON_AUDIT_SIGNING_KEY=FILE"),
            ({"signing_key": key}, "AXON_AUDIT_SHIP_TO=otlp"),
            ({"ship_to": "http://127.0.0.1:9"}, None),
        ):
            given |= more
            caplog.clear()
            line = self._line(caplog, audit_logger=make_audit(**given))
            AxonInstrumentor().uninstrument()
            assert hint in line if hint else "Set " not in line

    def test_once_for_each_logger(
        self, audit: AuditLogger, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Several instrumentors may share one."""
        self._line(caplog, audit_logger=audit)
        AxonInstrumentor().uninstrument()
        self._line(caplog, audit_logger=audit)

    def test_files_and_provider(
        self,
        make_audit: Make,
        logger_provider: LoggerProvider,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """It names the archive, and says that there is a logger provider."""
        audit = make_audit(auto_export_path=tmp_path)
        line = self._line(caplog, audit_logger=audit, logger_provider=logger_provider)
        assert f"in files in {str(tmp_path)!r}, and given to OpenTelemetry's" in line

    def test_collector(self, make_audit: Make, caplog: pytest.LogCaptureFixture) -> None:
        """It names the collector that the trail ships to."""
        audit = make_audit(ship_to="http://127.0.0.1:9", logger_provider=None)
        assert "sent to the collector http://127.0.0.1:9" in self._line(caplog, audit_logger=audit)

    def test_nothing_to_set_without_a_distro(
        self,
        make_audit: Make,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """The warning ends where there is nothing more to say."""
        name = "opentelemetry.instrumentation.auto_instrumentation"
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
        given = {"signing_key": new_key("k"), "ship_to": "http://127.0.0.1:9"}
        audit = make_audit(auto_export_path=tmp_path, logger_provider=None, **given)
        AxonInstrumentor().instrument(audit_logger=audit)
        (record,) = [r for r in caplog.records if r.levelno == logging.WARNING]
        assert record.getMessage().endswith("the collector http://127.0.0.1:9/v1/logs")

    @pytest.mark.slow
    def test_no_distro(self, run_script: Run) -> None:
        """Started by OpenTelemetry and with no SDK set up, a warning says what to install."""
        source = """
            import logging, sys
            logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")
            import opentelemetry.instrumentation.auto_instrumentation
            from axon_audit_otel import AxonInstrumentor
            AxonInstrumentor().instrument()
        """
        assert "WARNING opentelemetry-instrument exports nothing" in run_script(source)
        said = run_script(source, OTEL_SDK_DISABLED="true")
        assert "exports nothing" not in said
        assert said.count("gone when the program ends") == 1


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False], ids=["logger-first", "sdk-first"])
def test_an_sdk_that_is_not_as_expected(run_script: Run, tmp_path: Path, first: bool) -> None:
    """It works unrecorded, with a warning; neither a logger nor the import of the SDK fails. Where
    nothing may go on unrecorded, both do."""
    before, after = ("made(0)", "") if first else ("", "made(0)")
    said = run_script(f"""
        import logging, wrapt
        from axon_audit_otel import AuditLogger, AuditUnavailableError
        said = []
        handler = logging.Handler()
        handler.emit = lambda record: said.append(record.getMessage())
        logging.getLogger("axon_audit_otel").addHandler(handler)
        made = lambda number, **settings: AuditLogger(name=f"a{{number}}", **settings)
        broken = lambda module: setattr(module.Router, "route_forget", property(str))
        wrapt.when_imported("axon.core.router")(broken)
        {before}
        from axon import MemorySystem
        from axon.core.templates import DEVELOPMENT_CONFIG
        {after}
        assert [one for one in said if one.startswith("memory systems of Axon are not recorded")]
        MemorySystem(DEVELOPMENT_CONFIG)
        assert not hasattr(MemorySystem, "forget")
        try:
            made(1, auto_export_path={str(tmp_path)!r}, on_failure="block")
        except AuditUnavailableError as exc:
            print(exc)
        """)
    assert said.startswith("memory systems of Axon are not recorded")
