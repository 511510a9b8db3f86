"""Archives with events at chosen moments, of real trails, for reports of periods."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from axon_audit_otel import AuditLogger
from axon_audit_otel.archive.checkpoints import SigningKey, new_key
from axon_audit_otel.events.draft import draft
from axon_audit_otel.evidence.period import Period
from axon_audit_otel.evidence.report import make_report

KEY = new_key("auditor")
NOVEMBER = Period.of("2025-11", zone="UTC")


def at(text: str) -> datetime:
    """A moment in UTC: ``2025-11-30T23:59:59.999999``."""
    return datetime.fromisoformat(text).replace(tzinfo=timezone.utc)


def record(audit: AuditLogger, moment: str, operation: str = "STORE", **fields: Any) -> None:
    """Record an event as of that moment."""
    status = fields.pop("status", "SUCCESS")
    time_ns = (at(moment) - datetime(1970, 1, 1, tzinfo=timezone.utc)).total_seconds()
    microseconds = round(time_ns * 1_000_000)
    audit.emit(draft(operation, status, time_ns=microseconds * 1000, trail=audit.trail, **fields))


def days(first: int, last: int, month: str = "2025-11") -> list[str]:
    """Noon of some days of a month."""
    return [f"{month}-{day:02}T12:00:00" for day in range(first, last + 1)]


def archive(
    directory: Path, moments: Iterable[str], key: SigningKey | None = KEY, **settings: Any
) -> Path:
    """An archive of one trail, closed, with an event of alice at each of *moments*."""
    given = {"name": "default", "max_events": 10, **settings}
    audit = AuditLogger(auto_export_path=directory, signing_key=key, **given)
    for number, moment in enumerate(moments):
        record(audit, moment, user_id="alice", entry_ids=[f"entry {number}"])
    audit.close()
    return directory


def report(path: Path, output: Path, period: Period = NOVEMBER, **given: Any) -> dict[str, Any]:
    """The facts of a report, as they are in its file; they are those that are returned."""
    facts = make_report(path, period, output, **given)
    if output.suffix == ".zip":
        with zipfile.ZipFile(output) as files:
            said = json.loads(files.read("report.json"))
    else:
        said = json.loads((output / "report.json").read_bytes())
    assert said == facts
    return facts
