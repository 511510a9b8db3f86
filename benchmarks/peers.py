"""Measures one audited operation in other packages, each used as its documentation shows.

The extra ``bench`` installs them; what is missing is named and left out. Packages that keep events
in memory are compared with `log_event`. Packages that write a file are compared with `log_event`
and an archive, where each event is handed to the kernel when the call returns, as in the others.
"""

from __future__ import annotations

import json
import logging
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from datetime import datetime, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from axon.core.audit import AuditLogger as SdkAuditLogger
from axon.models.audit import OperationType as SdkOperationType

from axon_audit_otel import OperationType

from .cases import (
    FULL,
    METADATA,
    Batch,
    Group,
    Scale,
    against,
    audit_logger,
    clock,
    tracer_provider,
)

#: The facts that every package records, besides the id of an entry.
FACTS: dict[str, Any] = {
    "operation": "STORE",
    "user_id": "user_4711",
    "session_id": "session_0815",
    "status": "SUCCESS",
    "duration_ms": 45.2,
}

LINE = 1.4  # the most that an archived event should cost, in log lines

Record = Callable[[str], Any]  # records a store of that entry
Start = Callable[[Path], Record]  # gets a directory


def _batch(record: Record) -> Batch:
    async def run(n: int) -> float:
        ids = [str(uuid4()) for _ in range(n)]
        start = clock()
        for entry_id in ids:
            record(entry_id)
        return clock() - start

    return run


def _awaited(record: Callable[[str], Awaitable[Any]]) -> Batch:
    async def run(n: int) -> float:
        ids = [str(uuid4()) for _ in range(n)]
        start = clock()
        for entry_id in ids:
            await record(entry_id)
        return clock() - start

    return run


def _log_event(audit: Any, operation: Any) -> Batch:
    return _awaited(
        lambda entry_id: audit.log_event(
            operation=operation,
            user_id="user_4711",
            session_id="session_0815",
            entry_ids=[entry_id],
            metadata=METADATA,
            duration_ms=45.2,
        )
    )


# --- logging -------------------------------------------------------------------------------------


def _structlog(where: Path) -> Batch:
    """Standard library JSON."""
    import structlog

    return _structlog_with(
        structlog.processors.JSONRenderer(),
        structlog.WriteLoggerFactory((where / "structlog.json").open("w")),
    )


def _structlog_orjson(where: Path) -> Batch:
    """As the page on performance of its documentation advises."""
    import orjson
    import structlog

    return _structlog_with(
        structlog.processors.JSONRenderer(serializer=orjson.dumps),
        structlog.BytesLoggerFactory((where / "structlog.orjson").open("wb")),
    )


def _structlog_with(renderer: Any, factory: Any) -> Batch:
    import structlog

    logger = structlog.wrap_logger(
        factory(),
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
    ).bind()
    return _batch(
        lambda entry_id: logger.info("audit", entry_ids=[entry_id], metadata=METADATA, **FACTS)
    )


def _json_logger(where: Path) -> Batch:
    from pythonjsonlogger.json import JsonFormatter

    handler = logging.FileHandler(where / "logging.json")
    handler.setFormatter(JsonFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.Logger("audit")
    logger.addHandler(handler)
    return _batch(
        lambda entry_id: logger.info(
            "audit", extra={"entry_ids": [entry_id], "metadata": METADATA, **FACTS}
        )
    )


def _loguru(where: Path) -> Batch:
    from loguru import logger

    logger.remove()
    logger.add(where / "loguru.json", serialize=True)
    return _batch(
        lambda entry_id: logger.bind(entry_ids=[entry_id], metadata=METADATA, **FACTS).info("audit")
    )


# --- in memory -----------------------------------------------------------------------------------


def _sdk(_: Path) -> Batch:
    return _log_event(SdkAuditLogger(), SdkOperationType.STORE)


def _span(_: Path) -> Batch:
    tracer = tracer_provider().get_tracer("by_hand")

    def record(entry_id: str) -> None:
        with tracer.start_as_current_span("store", attributes=FACTS) as span:
            span.set_attribute("entry_ids", [entry_id])
            for name, value in METADATA.items():
                span.set_attribute(name, value)

    return _batch(record)


def _aat(_: Path) -> Batch:
    from aat.core import Recorder, gen_key

    recorder = Recorder(agent_id="user_4711", agent_version="1", private_key=gen_key())
    return _batch(
        lambda entry_id: recorder.record(
            action_type="tool_call",
            action_detail={"entry_ids": [entry_id], "metadata": METADATA, **FACTS},
            outcome="success",
            record_phase="post_execution",
        )
    )


def _ai_audit(_: Path) -> Batch:
    from ai_audit import (
        AuditConfig,
        ReceiptAction,
        ReceiptCollector,
        ReceiptStore,
        init_audit_config,
    )

    init_audit_config(AuditConfig(signing_key_hex="11" * 32))
    receipts = ReceiptStore()

    def record(entry_id: str) -> None:
        collector = ReceiptCollector(trace_id=entry_id, session_id="session_0815", tenant_id="acme")
        collector.add_check("store", detail={**METADATA, **FACTS})
        collector.set_action(ReceiptAction.ALLOW)
        collector.emit(receipts)
        collector.cleanup()

    return _batch(record)


# --- audit packages that write files -------------------------------------------------------------


def _auditchain(where: Path) -> Batch:
    from auditchain import AuditLog, JsonlBackend

    log = AuditLog(JsonlBackend(where / "auditchain.jsonl"), seal_key=b"k" * 32)
    ready: list[bool] = []

    async def record(entry_id: str) -> None:
        if not ready:
            await log.init()
            ready.append(True)
        await log.append("user_4711", "store", entry_id, metadata={**METADATA, **FACTS})

    return _awaited(record)


def _ogentic(where: Path) -> Batch:
    from ogentic_audit import KeyHandle, Writer

    writer = Writer.open(str(where / "ogentic"), key=KeyHandle.from_bytes(b"k" * 32))
    metadata, facts = (
        {**METADATA, "importance": "0.8"},
        {**FACTS, "duration_ms": "45.2"},
    )  # no floats
    return _batch(
        lambda entry_id: writer.append(
            {
                "actor": "user_4711",
                "event": "memory.store",
                "payload": {"entry_ids": [entry_id], "metadata": metadata, **facts},
            }
        )
    )


def _agent_audit_trail(where: Path) -> Batch:
    from agentledger.core import _Ledger as Ledger
    from agentledger.models import ActionType

    ledger = Ledger("user_4711", str(where / "agentledger.db"))
    return _batch(
        lambda entry_id: ledger.log(
            ActionType.TOOL_USE,
            input=[entry_id],
            latency_ms=45.2,
            correlation_id="session_0815",
            metadata={**METADATA, **FACTS},
        )
    )


# --- a table -------------------------------------------------------------------------------------

_TABLE = """
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = NORMAL;
    CREATE TABLE events (
        sequence INTEGER PRIMARY KEY, event_id TEXT, timestamp TEXT, operation TEXT, status TEXT,
        user_id TEXT, session_id TEXT, subject_id TEXT, duration_ms REAL, metadata TEXT);
    CREATE TABLE entries (entry_id TEXT, sequence INTEGER);
    CREATE INDEX by_time ON events (timestamp);
    CREATE INDEX by_operation ON events (operation);
    CREATE INDEX by_status ON events (status);
    CREATE INDEX by_user ON events (user_id);
    CREATE INDEX by_session ON events (session_id);
    CREATE INDEX by_subject ON events (subject_id);
    CREATE INDEX by_entry ON entries (entry_id);
"""


def _sqlite(where: Path) -> Batch:
    """A row for an event, one for its entry; indexes for what ours can be asked for."""
    connection = sqlite3.connect(where / "events.db", isolation_level=None)
    connection.executescript(_TABLE)
    execute = connection.execute

    def record(entry_id: str) -> None:
        now = datetime.now(timezone.utc).isoformat()
        execute("BEGIN")
        sequence = execute(
            "INSERT INTO events VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                *(uuid4().hex, now, "STORE", "SUCCESS", "user_4711", "session_0815", None, 45.2),
                json.dumps(METADATA),
            ),
        ).lastrowid
        execute("INSERT INTO entries VALUES (?, ?)", (entry_id, sequence))
        execute("COMMIT")

    return _batch(record)


IN_MEMORY = {
    "the SDK's AuditLogger": _sdk,
    "a span with these attributes": _span,
    "ai-audit-trail: Ed25519": _ai_audit,
    "aat-mcp: chain, ES256": _aat,
}
IN_FILES = {
    "structlog, orjson, BytesLogger": _structlog_orjson,
    "structlog, JSON to a file": _structlog,
    "logging, python-json-logger": _json_logger,
    "loguru, serialize": _loguru,
    "ogentic-audit (Rust): HMAC chain": _ogentic,
    "sqlite3: WAL, indexes": _sqlite,
    "auditchain: HMAC chain, JSONL": _auditchain,
    "agent-audit-trail: chain, SQLite": _agent_audit_trail,
}


async def peers(_: Scale) -> Group:
    """An event recorded by this package, in memory and in a file, and by each of the others."""
    directory = TemporaryDirectory(prefix="axon-audit-bench-")
    where = Path(directory.name)
    archived = audit_logger(auto_export_path=where / "archive")
    batches: dict[str, Batch] = {
        "log_event": _log_event(audit_logger(), OperationType.STORE),
        "log_event, archived": _log_event(archived, OperationType.STORE),
    }
    comparisons = []
    for ours, others in (("log_event", IN_MEMORY), ("log_event, archived", IN_FILES)):
        await batches[ours](FULL)
        for name, start in others.items():
            try:
                batches[name] = start(where)
            except ImportError as exc:
                print(f"peers: {name} is left out, {exc.name} is not installed", file=sys.stderr)
                continue
            limit = LINE if start is _structlog else None
            comparisons.append(against(ours, name, ours, name, limit))
    comparisons.append(
        against("log_event, archived", "log_event", "log_event, archived", "log_event")
    )

    def done() -> None:
        archived.close()
        directory.cleanup()

    return Group("peers", batches, 100, comparisons, done=done)
