"""What was audited: methods, programs and settings, as far as the archive says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec

from ..core.time import format_time, to_microseconds
from ..events.model import AuditEvent
from ..events.query import is_start
from ..integrations.axon.coverage import AUDITED, NOT_AUDITED
from ..version import __version__
from .period import Period

__all__ = ["FIELD_MAP", "Programs", "coverage"]

_MOST = 1000  # different programs that are listed
_SAID = (
    *("process", "host", "axon_sdk", "axon_audit_otel", "opentelemetry", "python", "trail"),
    "settings",
)

#: Which fields of an event answer what NIST SP 800-53, AU-3 asks of a record.
FIELD_MAP: dict[str, tuple[str, ...]] = {
    "what": ("operation", "action", "metadata", "entry_ids"),
    "when": ("timestamp", "duration_ms", "sequence"),
    "where": ("system", "store", "the trail's record start: host, process"),
    "source": ("agent_id", "session_id", "trace_id", "span_id"),
    "outcome": ("status", "error_type", "error_message"),
    "identity": ("user_id", "on_behalf_of", "subject_id", "subjects"),
    "why": ("purpose",),
}


class Programs:
    """The programs that wrote, and their settings, as their records `start` tell.

    Args:
        period: The period.
    """

    def __init__(self, period: Period) -> None:
        self._period = period
        self._inside: dict[tuple[str, bytes], dict[str, Any]] = {}
        self._before: dict[str, dict[str, Any]] = {}  # by trail: the last one before the period
        self.more = 0
        self.newest: dict[str, dict[str, Any]] = {}  # facts of the last record of each trail

    def take(self, writer: str, events: list[AuditEvent]) -> None:
        """Take events of a trail about itself, up to the end of the period."""
        for event in events:
            if not is_start(event):
                continue
            self.newest[writer] = event.metadata
            said = {name: event.metadata.get(name) for name in _SAID}
            moment = format_time(to_microseconds(event.timestamp))
            facts = {"trail": writer, "starts": 1, "first": moment, "last": moment, "said": said}
            if event.timestamp not in self._period:
                self._before[writer] = {**facts, "starts": 0}
                continue
            key = writer, msgspec.json.encode(said)
            known = self._inside.get(key)
            if known is not None:
                known["starts"] += 1
                known["last"] = moment
            elif len(self._inside) < _MOST:
                self._inside[key] = facts
            else:
                self.more += 1

    def facts(self, trails: set[str]) -> list[dict[str, Any]]:
        """The programs that wrote in the period, by trail, the first one first.

        Args:
            trails: Those with events of the period.
        """
        before = [one for trail, one in self._before.items() if trail in trails]
        return sorted(
            [*before, *self._inside.values()], key=lambda one: (one["trail"], one["first"])
        )


def coverage(
    programs: Programs, trails: set[str], by_method: Counter[str | None]
) -> dict[str, Any]:
    """The part ``coverage``, as JSON types.

    Args:
        programs: The programs that wrote.
        trails: Those with events of the period.
        by_method: How many events of the period each method has.
    """
    said = programs.facts(trails)
    silent = sorted(trails - {one["trail"] for one in said})
    known = {kind.action for _, kind, _ in AUDITED} | {name for name, _, _ in AUDITED}
    return {
        "memory": "axon",
        "table_of": f"axon-audit-otel {__version__}",
        "audited": [
            {
                "method": name,
                "recorded_as": kind.operation.value,
                "remark": remark or None,
                "events": by_method[kind.action],
            }
            for name, kind, remark in AUDITED
        ],
        "not_audited": [
            {"method": name if name.startswith("(") else f"{owner}.{name}", "why": why}
            for owner, methods in NOT_AUDITED.items()
            for name, why in methods.items()
        ],
        "other_methods": [
            {"method": name, "events": by_method[name]}
            for name in sorted(name for name in by_method if name is not None)
            if name not in known
        ],
        "events_without_method": by_method[None],
        "programs": said,
        "more_programs": programs.more,
        "not_known": [f"{trail}: which program wrote it, and its settings" for trail in silent],
        "field_map": {question: list(fields) for question, fields in FIELD_MAP.items()},
    }
