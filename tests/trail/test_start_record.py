"""The record `start`: each writer says who it is, and nobody's counts change for that."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import pwd
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, Run, sealed_files
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditEvent, AuditLogger, MemoryOnlyWarning, verify
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query


def log(audit: AuditLogger, count: int = 1, **fields: Any) -> None:
    for _ in range(count):
        asyncio.run(audit.log_event("STORE", **fields))


def starts(directory: Path) -> list[AuditEvent]:
    """Those in an archive, oldest first."""
    found = search(directory, Query.of("AUDIT"), oldest_first=True)
    return [event for event in found if event.metadata["record"] == "start"]


class TestWhatItSays:
    def test_facts(self, make_audit: Make, tmp_path: Path) -> None:
        """Who writes where, in which versions, and with which settings."""
        with make_audit(7, tmp_path, retention="hipaa", capture_content="EVENT_ONLY") as audit:
            log(audit)
        (event,) = starts(tmp_path)
        facts = event.metadata
        assert (event.sequence, event.status, event.user_id) == (1, "SUCCESS", None)
        assert (facts["host"], facts["pid"]) == (socket.gethostname(), os.getpid())
        assert facts["user"] == {"uid": os.getuid(), "name": pwd.getpwuid(os.getuid()).pw_name}
        assert (facts["python"], facts["trail"]) == (platform.python_version(), audit.name)
        assert all(facts[name] for name in ("axon_audit_otel", "axon_sdk", "opentelemetry"))
        assert facts["settings"] == {
            "durability": "process",
            "on_failure": "degrade",
            "max_events": 7,
            "capture_content": ["events"],
            "redact_pii": True,
            "pseudonymize": False,
            "erasable": False,
            "retention": "six years, 45 CFR 164.316(b)(2)(i) (HIPAA)",
            "signed": None,
            "checkpoint_to": False,
            "witnesses": [],
            "ship_to": None,
        }

    @pytest.mark.slow
    def test_no_secrets(self, run_script: Run, tmp_path: Path) -> None:
        """No arguments, keys, headers, or passwords; no login name where ids are hashed."""
        key = new_key("auditor")
        run_script(
            """
            import asyncio, sys
            from axon_audit_otel import AuditLogger

            audit = AuditLogger(
                auto_export_path=sys.argv[1], signing_key=sys.argv[2], checkpoint_to=sys.argv[3],
                pseudonymize="hash-secret-of-32-characters-long", ship_to="http://u:pw-secret@127.0.0.1:9",
            )
            sys.argv[0] = "/home/alice/" + "serve" * 100 + "\\udcff"
            asyncio.run(audit.log_event("STORE"))
            """,
            tmp_path / "audit",
            key,
            tmp_path / "notes-secret",
            OTEL_EXPORTER_OTLP_HEADERS="authorization=header-secret",
        )
        (event,) = starts(tmp_path / "audit")
        assert b"secret" not in event.to_json()
        assert key.line().encode() not in event.to_json()
        assert event.metadata["process"] == ("serve" * 100)[:256]
        assert event.metadata["user"] == {"uid": os.getuid()}
        told = event.metadata["settings"]
        assert (told["signed"], told["checkpoint_to"], told["ship_to"], told["pseudonymize"]) == (
            *("auditor", True, "127.0.0.1"),
            True,
        )


class TestWhen:
    def test_nothing_recorded(self, make_audit: Make, tmp_path: Path) -> None:
        """A logger that records nothing writes nothing; nor does one that is told not to."""
        make_audit(auto_export_path=tmp_path).close()
        assert sealed_files(tmp_path) == []
        with make_audit(auto_export_path=tmp_path, start_record=False) as audit:
            log(audit)
        assert starts(tmp_path) == []

    def test_memory_only(self, audit: AuditLogger) -> None:
        """Without an archive there is no writer."""
        log(audit)
        assert audit.query_events(operation="AUDIT") == []
        assert audit.query_events()[0].sequence == 1

    @pytest.mark.slow
    def test_each_writer(self, run_script: Run, tmp_path: Path) -> None:
        """Once in each process: the next start, and a forked child; before what is recovered."""
        source = """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger

            audit = AuditLogger(auto_export_path=sys.argv[1])
            asyncio.run(audit.log_event("STORE"))
            if not (child := os.fork()):
                for _ in range(2):
                    asyncio.run(audit.log_event("RECALL"))
                audit.close()
                os._exit(0)
            os.waitpid(child, 0)
            asyncio.run(audit.log_event("STORE"))
            print(os.getpid(), child)
            os._exit(0)
            """
        pids = [run_script(source, tmp_path).split() for _ in range(2)]
        assert Counter(event.metadata["pid"] for event in starts(tmp_path)) == Counter(
            int(pid) for two in pids for pid in two
        )
        told = search(tmp_path, Query.of("AUDIT"), oldest_first=True)
        records = [event.metadata["record"] for event in told]
        assert records == ["start", "start", "start", "unclean_end", "start"]
        assert verify(tmp_path).findings == []


class TestCounts:
    def test_a_logger(self, make_audit: Make, registry: CollectorRegistry, tmp_path: Path) -> None:
        """Memory, statistics, metrics, exports and rotation count what was recorded alone."""
        audit = make_audit(5, tmp_path / "audit", name="counted")
        seen: list[Any] = []
        audit.trail.watch(seen.append)
        for number in range(1, 6):
            log(audit, user_id="alice")
            assert audit.event_count == audit.total_events_logged == len(seen) == number
            assert len(audit.query_events()) == len(asyncio.run(audit.get_events())) == number
            assert audit.export_to_file(tmp_path / "export.json") == number
            assert len(list((tmp_path / "audit").glob("audit_*.json"))) == (number == 5)
        found = audit.query_events(limit=9, archived=True)
        assert [event.sequence for event in found] == [6, 5, 4, 3, 2]
        assert len(audit.query_events(status="SUCCESS", archived=True)) == 5
        (start,) = audit.query_events(operation="AUDIT", archived=True)
        assert start.metadata["record"] == "start"
        assert audit.export_to_file(tmp_path / "export.json", archived=True) == 5
        statistics = audit.get_statistics()
        assert (statistics["total_events"], statistics["exported_events"]) == (5, 5)
        assert statistics["evicted_events"] == statistics["by_operation"]["AUDIT"] == 0
        assert sum(
            sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == "axon_audit_operations_total"
        ) in (0, 5)
        asyncio.run(audit.clear())
        assert (audit.event_count, audit.total_events_logged) == (0, 5)

    @pytest.mark.filterwarnings("error")
    def test_memory_has_all(self, make_audit: Make, tmp_path: Path) -> None:
        """The first to leave memory is the start, and no answer is called short for that; only
        the next one is."""
        audit = make_audit(3, tmp_path, enable_rotation=False)
        log(audit, 3)
        assert len(audit.query_events()) == 3
        log(audit)
        with pytest.warns(MemoryOnlyWarning):
            audit.query_events()

    def test_archive_that_fails(self, make_audit: Make, tmp_path: Path) -> None:
        """What leaves memory unwritten is counted, but for the start."""
        place = tmp_path / "audit"
        audit = make_audit(3, place, enable_rotation=False)
        place.rename(tmp_path / "aside")
        place.write_text("in the way")
        log(audit, 3)
        assert audit.get_statistics()["evicted_events"] == 0
        log(audit)
        assert audit.get_statistics()["evicted_events"] == 1

    def test_commands(self, make_audit: Make, cli: Cli, tmp_path: Path) -> None:
        """They show it where it is asked for; to verify it is an event like any other."""
        place = tmp_path / "audit"
        with make_audit(auto_export_path=place) as audit:
            log(audit, 2)
        for command in (["query"], ["tail"]):
            shown = json.loads(f"[{','.join(cli(*command, place, '--json').stdout.split())}]")
            assert [event["operation"] for event in shown] == ["STORE", "STORE"]
        assert json.loads(cli("stats", place, "--json").stdout)["total_operations"] == 2
        assert cli("export", place, tmp_path / "out.jsonl").stdout.startswith("2 events")
        out = tmp_path / "out.otlp"
        assert cli("export", place, out).stdout.startswith("3 events")  # for `verify`: whole
        assert "Nothing is missing" in cli("verify", "--otlp-json", out).stdout
        assert "default: 3 events, 1 to 3" in cli("verify", place).stdout
        shown = cli("query", place, "--operation", "AUDIT").stdout
        assert f"start: {starts(place)[0].metadata['process']} (pid {os.getpid()}) on" in shown

    def test_on_the_way_to_a_collector(
        self,
        make_audit: Make,
        log_exporter: InMemoryLogRecordExporter,
        logger_provider: LoggerProvider,
        tmp_path: Path,
    ) -> None:
        """It is a record as others are, so that a receiver sees no gap."""
        audit = make_audit(auto_export_path=tmp_path)
        record = LogRecord(
            event_name="axon.memory.audit",
            severity_number=SeverityNumber.INFO,
            body={"operation": "STORE"},
        )
        logger_provider.get_logger("other").emit(record)  # no call of ours placed it
        log(audit)
        ours = [json.loads(str(d.log_record.body)) for d in log_exporter.get_finished_logs()[1:]]
        assert [event["sequence"] for event in ours] == [1, 3]
        assert ours[0]["metadata"]["record"] == "start"


def test_a_time_range_is_still_bisected(make_audit: Make, tmp_path: Path) -> None:
    """The start is dated as the event that it precedes: memory stays in the order of time."""
    audit = make_audit(auto_export_path=tmp_path)
    log(audit, 3)
    first = audit.query_events()[-1]
    (start,) = audit.query_events(operation="AUDIT")
    assert start.timestamp == first.timestamp
    assert len(audit.query_events(start_time=first.timestamp)) == 3
