"""No two events of a trail have one id, whatever records from elsewhere claim."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from conftest import Make, Run
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider

from axon_audit_otel import AuditEvent, AuditLogger, AuditLogRecordProcessor

IDS = ["theirs-1", "42", 'a "quote", \\ and zoë\n', "evt_1", "evt_" + "0" * 31 + "g", "x" * 512]


def _claim(audit: AuditLogger, given: str) -> AuditEvent:
    """The event of a record that claims an id."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(AuditLogRecordProcessor(audit))
    provider.get_logger("x").emit(
        LogRecord(event_name="axon.memory.audit", body={"event_id": given, "operation": "STORE"})
    )
    (event,) = audit.query_events(limit=1)
    return event


def _is_taken(audit: AuditLogger, given: str) -> bool:
    """Whether the event got an id of its own, and keeps what was claimed as a fact."""
    event = _claim(audit, given)
    if event.metadata.get("given_event_id") is None:
        assert event.event_id == given
        return False
    assert event.metadata["given_event_id"] == given
    assert event.event_id.startswith("evt_")
    assert event.event_id != given
    return True


def test_our_own(make_audit: Make, tmp_path: Path) -> None:
    """An id that the trail made is taken wherever its event is: in memory, in a file, gone."""
    for place in (None, tmp_path):
        audit = make_audit(3, place)
        ours = asyncio.run(audit.log_event("STORE"))
        assert _is_taken(audit, ours.event_id)
        for _ in range(3):
            asyncio.run(audit.log_event("STORE"))
        assert _is_taken(audit, ours.event_id)
        audit.close()
    assert _is_taken(make_audit(3, tmp_path), ours.event_id)


def test_of_another_trail(make_audit: Make) -> None:
    """An id of another trail's event is kept, once."""
    theirs = asyncio.run(make_audit().log_event("STORE"))
    audit = make_audit()
    assert not _is_taken(audit, theirs.event_id)
    assert _is_taken(audit, theirs.event_id)


@pytest.mark.parametrize("given", IDS)
def test_twice(make_audit: Make, given: str) -> None:
    """The second event of an id gets another, also long after the first has left memory."""
    audit = make_audit(3)
    given = _claim(audit, given).event_id
    for number in range(20_000 if given == "42" else 5):
        assert audit.trail.takes_id(f"another {number}")
    assert _is_taken(audit, given)


@pytest.mark.parametrize("compress", [False, True])
def test_after_a_restart(make_audit: Make, tmp_path: Path, compress: bool) -> None:
    """So it does after a restart, and of another writer, whatever file the first one is in."""
    with make_audit(2, tmp_path, compress=compress) as audit:
        known = [_claim(audit, given).event_id for given in IDS]
    with make_audit(2, tmp_path, name="another") as audit:
        assert all(_is_taken(audit, given) for given in known)
        assert not _is_taken(audit, "new")
    with make_audit(2, tmp_path) as audit:
        assert all(_is_taken(audit, given) for given in [*known, "new"])
        assert not _is_taken(audit, "newer")


@pytest.mark.slow
def test_after_a_kill(make_audit: Make, run_script: Run, tmp_path: Path) -> None:
    """And if the first one was in a journal that was left behind."""
    run_script(
        """
        import os, sys
        from axon_audit_otel import AuditLogger, AuditLogRecordProcessor
        from opentelemetry._logs import LogRecord
        from opentelemetry.sdk._logs import LoggerProvider
        provider = LoggerProvider()
        audit = AuditLogger(auto_export_path=sys.argv[1], logger_provider=provider)
        record = LogRecord(event_name="axon.memory.audit", body={"event_id": "theirs-1"})
        provider.get_logger("x").emit(record)
        os._exit(0)
        """,
        tmp_path,
    )
    with make_audit(auto_export_path=tmp_path) as audit:
        assert _is_taken(audit, "theirs-1")
        assert not _is_taken(audit, "theirs-2")


def test_large_archive(make_audit: Make, tmp_path: Path) -> None:
    """While the archive is read, some MiB a record, no id counts as new."""
    with make_audit(auto_export_path=tmp_path, start_record=False) as audit:
        asyncio.run(audit.log_event("STORE"))
    (path,) = tmp_path.glob("audit_*.json")
    head, line, closing = path.read_bytes().splitlines(keepends=True)
    event = json.loads(line)
    event["event_id"] = "theirs-1"
    last = b"," + json.dumps(event, separators=(",", ":")).encode() + b"\n"
    path.write_bytes(b"".join([head, line, (b"," + line[1:]) * 100_000, last, closing]))
    assert path.stat().st_size > 17 << 20
    with make_audit(auto_export_path=tmp_path) as audit:
        assert _is_taken(audit, "new-1")
        assert not _is_taken(audit, "new-2")
        assert _is_taken(audit, "theirs-1")
