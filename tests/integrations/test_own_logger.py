"""The application makes a logger of its own after `instrument()`: nothing is lost or in clear."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import archived
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from prometheus_client import CollectorRegistry

from axon_audit_otel import ArchiveError, AuditLogger, AxonInstrumentor
from axon_audit_otel.verification.verify import verify

SECRET = "k" * 32


@pytest.fixture(name="shared")
def _shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logger_provider: LoggerProvider
) -> Iterator[AuditLogger]:
    """The logger that `instrument` makes of the environment."""
    gc.collect()  # a test before may have had a logger of this name
    monkeypatch.setenv("AXON_AUDIT_NAME", "own-logger")
    monkeypatch.setenv("AXON_AUDIT_AUTO_EXPORT_PATH", str(tmp_path / "environment"))
    AxonInstrumentor().instrument(logger_provider=logger_provider)
    shared = AxonInstrumentor().audit_logger
    assert shared is not None
    assert shared.name == "own-logger"
    yield shared
    AxonInstrumentor().uninstrument()


def test_one_that_cannot_be_made(
    shared: AuditLogger, tmp_path: Path, log_exporter: InMemoryLogRecordExporter
) -> None:
    """Its caller has an error; the other one goes on as if nothing had been."""
    (tmp_path / "file").touch()
    seen: list[str] = []
    shared.trail.watch(lambda event: seen.append(event["operation"]))
    with pytest.raises(ArchiveError):
        AuditLogger(auto_export_path=tmp_path / "file")
    with shared.operation("STORE", owner="alice"):
        pass
    assert shared.name == "own-logger"
    assert seen == ["STORE"]
    exported = [dict(one.log_record.attributes or {}) for one in log_exporter.get_finished_logs()]
    assert all("axon.audit.hash" in attributes for attributes in exported)
    assert [one["axon.operation"] for one in exported].count("STORE") == 1
    assert AuditLogger(registry=CollectorRegistry()).name == "own-logger-2"
    shared.close()
    assert [event.user_id for event in archived(tmp_path / "environment")] == ["alice"]
    assert verify(tmp_path / "environment").ok


def test_an_operation_that_runs_meanwhile(shared: AuditLogger, tmp_path: Path) -> None:
    """It is the first one: there are two trails, and it is recorded where it began."""
    with shared.operation("STORE", owner="alice"):
        own = AuditLogger(auto_export_path=tmp_path / "own", registry=CollectorRegistry())
    assert own.name == "own-logger-2"
    assert [event.user_id for event in shared.query_events(archived=False)] == ["alice"]


def test_an_event_that_is_made_meanwhile(
    shared: AuditLogger,
    tmp_path: Path,
    log_exporter: InMemoryLogRecordExporter,
    logger_provider: LoggerProvider,
) -> None:
    """By another thread, for example: it stays with the trail by whose settings it was made. In
    one that hides users, and in what that exports, nobody is in clear."""
    made: list[AuditLogger] = []

    class Message:
        def __str__(self) -> str:
            own = tmp_path / "own"
            made.append(
                AuditLogger(
                    auto_export_path=own, pseudonymize=SECRET, logger_provider=logger_provider
                )
            )
            return "made"

    shared.record("STORE", user_id="alice", error_message=Message())  # type: ignore[arg-type]
    (own,) = made
    assert own.name == shared.name == "own-logger"
    own.record("STORE", user_id="bob")
    own.close()
    for place in ("own", "environment"):
        assert verify(tmp_path / place).ok
    assert len(archived(tmp_path / "own")) == 1
    assert [event.user_id for event in archived(tmp_path / "environment")] == ["alice"]
    exported = log_exporter.get_finished_logs()
    assert "alice" not in str([one.log_record.body for one in exported])


def test_its_trail_ends_with_the_last_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not when instrumentation ends, nor when the application lets go of its own."""
    monkeypatch.setenv("AXON_AUDIT_NAME", "last-logger")
    AxonInstrumentor().instrument()
    own = AuditLogger(auto_export_path=tmp_path / "own", registry=CollectorRegistry())
    assert own.name == "last-logger"
    own.record("STORE", user_id="alice")
    AxonInstrumentor().uninstrument()
    gc.collect()
    assert not list((tmp_path / "own").glob("audit_*.json"))
    AxonInstrumentor().instrument(audit_logger=own)
    own.record("STORE", user_id="bob")
    AxonInstrumentor().uninstrument()
    del own
    gc.collect()
    assert len(list((tmp_path / "own").glob("audit_*.json"))) == 1
    assert [event.user_id for event in archived(tmp_path / "own")] == ["alice", "bob"]


def test_its_counts_begin_at_0(shared: AuditLogger) -> None:
    """Of each system that the other one expected: else the first operation is no increase."""
    shared.trail.metrics.expect("notes")
    registry = CollectorRegistry()
    own = AuditLogger(registry=registry)
    labels = {"trail": own.name, "system": "notes", "operation": "STORE", "status": "SUCCESS"}
    assert registry.get_sample_value("axon_memory_operations_total", labels) == 0


def test_its_records_go_where_those_of_the_other_went(
    shared: AuditLogger, tmp_path: Path, log_exporter: InMemoryLogRecordExporter
) -> None:
    """`instrument` was given a logger provider; the application's logger was given none."""
    own = AuditLogger(auto_export_path=tmp_path / "own", registry=CollectorRegistry())
    log_exporter.clear()
    shared.record("STORE", user_id="alice")
    own.record("STORE", user_id="bob")
    exported = [dict(one.log_record.attributes or {}) for one in log_exporter.get_finished_logs()]
    users = [one["user.id"] for one in exported if one["axon.operation"] == "STORE"]
    assert users == ["alice", "bob"]


@pytest.mark.usefixtures("fresh_name")
def test_made_before(tmp_path: Path) -> None:
    """`instrument` without a logger uses the application's, also for what it does not name."""
    own = AuditLogger(auto_export_path=tmp_path, registry=CollectorRegistry())
    AxonInstrumentor().instrument()
    assert AxonInstrumentor().audit_logger is own
    AxonInstrumentor().uninstrument()


def test_made_before_with_another_name(fresh_name: str) -> None:
    """The environment asks for another trail, which `instrument` makes."""
    own = AuditLogger(name="of-application", registry=CollectorRegistry())
    AxonInstrumentor().instrument()
    shared = AxonInstrumentor().audit_logger
    assert shared is not None
    assert (own.name, shared.name) == ("of-application", fresh_name)
    AxonInstrumentor().uninstrument()


@pytest.mark.usefixtures("fresh_name")
def test_made_before_and_a_provider(
    tmp_path: Path,
    logger_provider: LoggerProvider,
    log_exporter: InMemoryLogRecordExporter,
) -> None:
    """The application's logger sends its records through the provider given to `instrument`."""
    own = AuditLogger(auto_export_path=tmp_path, registry=CollectorRegistry())
    AxonInstrumentor().instrument(logger_provider=logger_provider)
    own.record("STORE", user_id="alice")
    AxonInstrumentor().uninstrument()
    exported = [dict(one.log_record.attributes or {}) for one in log_exporter.get_finished_logs()]
    assert [one["user.id"] for one in exported if one["axon.operation"] == "STORE"] == ["alice"]
