"""Events of a trail about itself go the way of all events: counted once everywhere, and sent."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import shutil
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from amounts import slow
from conftest import Cli, Make, Run, assert_chained, file_in_place, history, until
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from prometheus_client import CollectorRegistry
from strikes import Strike

from axon_audit_otel import AuditLogger, Rule, SecurityMonitor, verify
from axon_audit_otel.core import semconv

pytestmark = pytest.mark.usefixtures("without_start_record")


def log(audit: AuditLogger, operation: str = "STORE", **fields: Any) -> None:
    asyncio.run(audit.log_event(operation, **fields))


def exported(exporter: InMemoryLogRecordExporter) -> list[dict[str, Any]]:
    """The events that an exporter got, in its order."""
    return [
        json.loads(str(data.log_record.body))
        for data in exporter.get_finished_logs()
        if data.log_record.event_name == "axon.memory.audit"
    ]


def counted(registry: CollectorRegistry, trail: str) -> int:
    """All events of a trail, as Prometheus has them."""
    return int(
        sum(
            sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == f"{semconv.METRIC_OPERATIONS}_total"
            and sample.labels["trail"] == trail
        )
    )


Agree = Callable[[AuditLogger], list[dict[str, Any]]]
LeaveBehind = Callable[[Path, int], None]


@pytest.fixture(name="agree")
def _agree(registry: CollectorRegistry, log_exporter: InMemoryLogRecordExporter) -> Agree:
    """Holds all counts of a trail against each other; gives what the exporter got."""

    def agree(audit: AuditLogger) -> list[dict[str, Any]]:
        statistics, records = audit.get_statistics(), exported(log_exporter)
        assert {
            statistics["total_events"],
            sum(statistics["by_operation"].values()),
            sum(statistics["by_status"].values()),
            audit.total_events_logged,
            counted(registry, audit.name),
            len(records),
            len({record["event_id"] for record in records}),
        } == {len(records)}
        numbers = [record["sequence"] for record in records]
        assert sorted(numbers) == [*range(min(numbers), min(numbers) + len(records))]
        return records

    return agree


def kinds(records: list[dict[str, Any]]) -> Counter[str]:
    """The kinds of the trail's records about itself."""
    return Counter(record["metadata"].get("record", record["operation"]) for record in records)


@pytest.fixture(name="gone", scope="module")
def _gone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a hundred writers that were killed."""
    directory: Path = tmp_path_factory.mktemp("gone")
    source = """
        import asyncio, os, sys
        from prometheus_client import CollectorRegistry
        from axon_audit_otel import AuditLogger

        audits = []
        for number in range(100):
            options = {"name": f"gone-{number:02}", "registry": CollectorRegistry()}
            audits.append(AuditLogger(auto_export_path=sys.argv[1], **options))
            asyncio.run(audits[-1].log_event("STORE"))
        os._exit(0)
        """
    subprocess.run([sys.executable, "-c", textwrap.dedent(source), directory], check=True)
    return directory


@pytest.fixture(name="leave_behind")
def _leave_behind(gone: Path) -> LeaveBehind:
    """Leaves in a directory what so many of them left."""

    def leave_behind(directory: Path, writers: int) -> None:
        directory.mkdir(exist_ok=True)
        for number in range(writers):
            for path in (*gone.glob(f"gone-{number:02}.*"), *gone.glob(f".gone-{number:02}.*")):
                shutil.copy(path, directory)

    return leave_behind


class TestCounts:
    @pytest.mark.slow
    @pytest.mark.parametrize("max_events", [10, slow(10_000)])
    def test_unclean_ends(
        self,
        leave_behind: LeaveBehind,
        make_audit: Make,
        tmp_path: Path,
        agree: Agree,
        max_events: int,
    ) -> None:
        """A hundred writers were killed: the next start says so a hundred times, to everybody,
        however small its memory is."""
        leave_behind(tmp_path, 100)
        audit = make_audit(max_events, tmp_path)
        assert kinds(agree(audit)) == {"unclean_end": 100}
        log(audit)
        records = agree(audit)
        assert kinds(records) == {"unclean_end": 100, "STORE": 1}
        assert [record["sequence"] for record in records] == [*range(1, 102)]

    @pytest.mark.slow
    def test_unfinished(
        self, make_audit: Make, tmp_path: Path, agree: Agree, run_script: Run
    ) -> None:
        """Operations that a crash ended are named to everybody."""
        run_script(
            """
            import os, sys
            from axon_audit_otel import AuditLogger
            from axon_audit_otel.events.draft import draft
            audit = AuditLogger(auto_export_path=sys.argv[1], on_failure="block")
            for number in range(70):
                facts = {"event_id": f"evt_{number}", "operation": "STORE", "time": "now"}
                audit.trail.record_intent(facts)
            os._exit(0)
            """,
            tmp_path,
        )
        audit = make_audit(auto_export_path=tmp_path, on_failure="block", name="default")
        log(audit)
        found = kinds(agree(audit))
        assert found["unfinished"] == 70
        assert found["STORE"] == 1

    @pytest.mark.slow
    @pytest.mark.parametrize("last", ["an event", "close", "seal", "the clock"])
    async def test_gaps(self, make_audit: Make, tmp_path: Path, agree: Agree, last: str) -> None:
        """Events that no file could take are named to everybody, whenever that is found."""
        audit = make_audit(2, tmp_path / "archive")
        await audit.log_event("STORE")
        for number in range(1, 4):
            audit.seal()
            with file_in_place(tmp_path / "archive"):
                for _ in range(5):
                    await audit.log_event("STORE")
            if last == "seal" or number < 3:
                audit.seal()
            elif last == "close":
                audit.close()
            elif last == "an event":
                await until(lambda: not audit.trail._keeper.waits)  # type: ignore[union-attr]
                await audit.log_event("STORE")
            else:
                await until(lambda: audit.total_events_logged == 19)

        def all_told() -> bool:
            with suppress(AssertionError):  # a record is given out after it is counted
                return kinds(agree(audit))["gap"] == 3
            return False

        await until(all_told)
        assert verify(tmp_path / "archive").ok

    def test_alerts(self, make_audit: Make, tmp_path: Path, agree: Agree) -> None:
        """A monitor sees what the trail says of itself, once, and never what it says itself."""
        audit = make_audit(2, tmp_path / "archive")
        rules = [Rule("trouble", over=0, window=3600, operations="AUDIT")]
        told: list[Any] = []
        with SecurityMonitor(audit, rules, told.append):
            log(audit)
            with file_in_place(tmp_path / "archive"):
                for _ in range(5):
                    log(audit)
            audit.seal()
            assert [alert.count for alert in told] == [1]
            records = agree(audit)
            assert kinds(records) == {"STORE": 6, "gap": 1, "alert": 1}
            assert [record["sequence"] for record in records] == [*range(1, 9)]

    def test_erasure(self, make_audit: Make, tmp_path: Path, agree: Agree) -> None:
        """So is that a user was erased."""
        audit = make_audit(auto_export_path=tmp_path / "archive", erasable=True)
        log(audit, user_id="alice")
        assert audit.erase_user("alice")
        assert kinds(agree(audit)) == {"STORE": 1, "erasure": 1}

    @pytest.mark.slow
    def test_recovered_from_the_command_line(
        self, cli: Cli, leave_behind: LeaveBehind, make_audit: Make, tmp_path: Path, agree: Agree
    ) -> None:
        """A command that records recovers what others left; the application counts its own."""
        leave_behind(tmp_path, 3)
        cli("hold", tmp_path, "--reason", "a dispute")
        audit = make_audit(auto_export_path=tmp_path)
        log(audit)
        assert kinds(agree(audit)) == {"STORE": 1}
        everything = kinds([event.to_dict() for event in audit.query_events(archived=True)])
        assert everything["unclean_end"] == 3
        assert verify(tmp_path).ok

    def test_from_other_sources(
        self,
        make_audit: Make,
        logger_provider: LoggerProvider,
        tmp_path: Path,
        log_exporter: InMemoryLogRecordExporter,
    ) -> None:
        """The trail's own events follow events that come from records of other sources."""
        audit = make_audit(2, tmp_path / "archive")
        emit = logger_provider.get_logger("app").emit
        with file_in_place(tmp_path / "archive"):
            for _ in range(5):
                emit(LogRecord(event_name="axon.memory.audit", body={"operation": "STORE"}))
        audit.seal()
        statistics = audit.get_statistics()
        assert statistics["total_events"] == audit.total_events_logged == 6
        sent = [data.log_record.body for data in log_exporter.get_finished_logs()]
        assert sent[:5] == [{"operation": "STORE"}] * 5
        assert '"record":"gap"' in str(sent[5])
        assert len(sent) == 6

    @pytest.mark.parametrize("archived", [False, True])
    def test_interrupted(
        self, make_audit: Make, tmp_path: Path, agree: Agree, archived: bool
    ) -> None:
        """An event that a finalizer records in the middle of another one is sent after that, with
        its place, and counted once."""
        audit = make_audit(auto_export_path=tmp_path if archived else None)
        struck = 0
        for number in range(1, 100, 3):
            with Strike(number, lambda: log_now(audit)) as strike:
                log_now(audit)
            struck += not strike.left
        assert struck > 5
        assert len(agree(audit)) == 33 + struck
        assert_chained(history(audit))

    @pytest.mark.slow
    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_forked_child(self, leave_behind: LeaveBehind, run_script: Run, tmp_path: Path) -> None:
        """A child counts its own: it sends nothing of its parent's, and says what it recovers."""
        leave_behind(tmp_path / "child", 2)
        said = run_script(
            """
            import asyncio, os, sys
            from pathlib import Path
            from opentelemetry.sdk._logs import LoggerProvider
            from opentelemetry.sdk._logs.export import (
                InMemoryLogRecordExporter, SimpleLogRecordProcessor,
            )
            from axon_audit_otel import AuditLogger

            here = Path(sys.argv[1])
            audit = AuditLogger(auto_export_path=here)
            asyncio.run(audit.log_event("STORE"))
            for file in (here.parent / "child").iterdir():  # killed since we began
                file.rename(here / file.name)
            child = os.fork()
            if not child:
                exporter, provider = InMemoryLogRecordExporter(), LoggerProvider()
                provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
                audit.use(provider)
                asyncio.run(audit.log_event("RECALL"))
                print(
                    audit.get_statistics()["total_events"],
                    audit.total_events_logged,
                    len(exporter.get_finished_logs()),
                    audit.get_statistics()["by_operation"]["AUDIT"],
                    flush=True,
                )
                audit.close()
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            """,
            tmp_path / "parent",
        )
        assert said.split() == ["3", "3", "3", "2"]
        assert verify(tmp_path / "parent").ok


def log_now(audit: AuditLogger) -> None:
    with pytest.raises(StopIteration):
        audit.log_event("STORE").send(None)


class TestProviderThatComesLater:
    @pytest.fixture(name="audit")
    def _audit(self, leave_behind: LeaveBehind, make_audit: Make, tmp_path: Path) -> AuditLogger:
        """A logger without a provider that has said something of itself a hundred times."""
        leave_behind(tmp_path, 100)
        return make_audit(10, tmp_path, logger_provider=None)

    @pytest.mark.parametrize("last", ["an event", "close"])
    def test_nothing_is_missing(
        self, audit: AuditLogger, logger_provider: LoggerProvider, agree: Agree, last: str
    ) -> None:
        """It gets what was said before it was there, also if nothing else happens."""
        audit.use(logger_provider)
        if last == "close":
            audit.close()
        else:
            log(audit)
        records = agree(audit)
        assert kinds(records)["unclean_end"] == 100
        assert [record["sequence"] for record in records] == [*range(1, len(records) + 1)]

    def test_what_is_too_much_is_counted(
        self,
        leave_behind: LeaveBehind,
        make_audit: Make,
        tmp_path: Path,
        logger_provider: LoggerProvider,
        log_exporter: InMemoryLogRecordExporter,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Records waiting for a provider are bounded; those that could not wait are counted."""
        monkeypatch.setattr("axon_audit_otel.trail.outlet._UNSENT", 7)
        leave_behind(tmp_path, 10)
        audit = make_audit(auto_export_path=tmp_path, logger_provider=None)
        assert audit.get_statistics()["failures"] == {}  # nobody wanted them
        audit.use(logger_provider)
        log(audit)
        assert [event["sequence"] for event in exported(log_exporter)] == [4, 5, 6, 7, 8, 9, 10, 11]
        assert audit.get_statistics()["failures"] == {"emit": 3}

    def test_shipped_by_the_trail(
        self, leave_behind: LeaveBehind, make_audit: Make, tmp_path: Path
    ) -> None:
        """Records shipped from the archive do not wait for a provider as well."""
        leave_behind(tmp_path, 2)
        audit = make_audit(
            auto_export_path=tmp_path, logger_provider=None, ship_to="http://127.0.0.1:9"
        )
        assert (audit.total_events_logged, len(audit.trail.outlet.unsent)) == (2, 0)


def test_a_logger_that_is_collected(
    make_audit: Make, tmp_path: Path, log_exporter: InMemoryLogRecordExporter
) -> None:
    """Records of a logger that Python collects, as part of a cycle, are sent too."""
    audit = make_audit(2, tmp_path / "archive")
    cycle: list[Any] = [audit]
    cycle.append(cycle)
    with file_in_place(tmp_path / "archive"):
        for _ in range(5):
            log(audit)
    del audit, cycle
    gc.collect()
    assert kinds(exported(log_exporter)) == {"STORE": 5, "gap": 1}


def test_an_exporter_that_raises(
    leave_behind: LeaveBehind, make_audit: Make, tmp_path: Path
) -> None:
    """A record that a processor's fault kept from being sent is counted, and the rest is sent."""
    leave_behind(tmp_path, 3)
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)

    class Picky(SimpleLogRecordProcessor):
        def on_emit(self, log_record: Any) -> None:
            if '"sequence":2' in str(log_record.log_record.body):
                raise ValueError("not this one")
            super().on_emit(log_record)

    provider.add_log_record_processor(Picky(exporter))
    audit = make_audit(auto_export_path=tmp_path, logger_provider=provider)
    log(audit)
    assert [event["sequence"] for event in exported(exporter)] == [1, 3, 4]
    assert audit.get_statistics()["failures"] == {"emit": 1}
