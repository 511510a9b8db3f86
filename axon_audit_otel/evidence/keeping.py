"""How long a trail is kept: rules, deletions, legal holds, and what a register asks for."""

from __future__ import annotations

from typing import Any

from ..archive.holds import HoldPeriod, HoldRecord, holds, parts, periods
from ..archive.retention import rule_seconds
from ..core.time import format_time, parse_time, to_microseconds
from ..events.model import AuditEvent
from ..verification.report import VerifyReport
from .completeness import Archive
from .coverage import Programs

__all__ = ["Holds", "retention"]

_SIX_MONTHS_DAYS = 183
_DAY_US = 86_400_000_000


class Holds:
    """The records of legal holds, up to the end of the period."""

    def __init__(self) -> None:
        self.records: list[HoldRecord] = []

    def take(self, writer: str, events: list[AuditEvent]) -> None:
        """Take events of a trail about itself."""
        for event in events:
            moment = format_time(to_microseconds(event.timestamp))
            record = HoldRecord.of(event.metadata, moment, writer, event.sequence)
            if record is not None:
                self.records.append(record)


def retention(
    archive: Archive, programs: Programs, recorded: Holds, verified: VerifyReport
) -> dict[str, Any]:
    """The part ``retention``, as JSON types."""
    trails = [report.writer for report in verified.writers]
    said = {trail: programs.newest.get(trail) for trail in trails}
    deleted = [deletion for trail in trails for deletion in _deletions(archive, trail)]
    oldest = min((r.first_time for r in verified.writers if r.first_time is not None), default=None)
    end = archive.period.end_us
    days = None if oldest is None else max(0, (end + 1 - to_microseconds(oldest)) // _DAY_US)
    return {
        "rules": [_rule(trail, facts) for trail, facts in said.items()],
        "deletions": deleted[:_LISTED],
        "deletions_number": len(deleted),
        "holds": _holds(archive, recorded),
        "conflicts": [f.explanation for f in verified.findings if f.kind == "on_hold"],
        "oldest_event": None if oldest is None else format_time(to_microseconds(oldest)),
        "days_from_oldest_to_end": days,
        "six_months": {
            "days": _SIX_MONTHS_DAYS,
            "oldest_is_that_old": None if days is None else days >= _SIX_MONTHS_DAYS,
            "deleted_younger": sum(1 for one in deleted if one["age_days"] < _SIX_MONTHS_DAYS),
        },
        "register": _register(said),
    }


_LISTED = 1000


def _rule(trail: str, start: dict[str, Any] | None) -> dict[str, Any]:
    """What a trail says of how long it keeps events."""
    settings = _settings(start)
    rule = settings.get("retention")
    rule = rule if isinstance(rule, str) else None
    length = None if rule is None else rule_seconds(rule)
    return {
        "trail": trail,
        "is_stated": bool(settings),
        "rule": rule,
        "days": None if length is None else round(length / 86_400, 3),
        "shorter_than_six_months": None if length is None else length < _SIX_MONTHS_DAYS * 86_400,
    }


def _settings(start: dict[str, Any] | None) -> dict[str, Any]:
    settings = None if start is None else start.get("settings")
    return settings if isinstance(settings, dict) else {}


def _deletions(archive: Archive, trail: str) -> list[dict[str, Any]]:
    """What was deleted of the period, or in the period."""
    first, last = map(format_time, (archive.period.start_us, archive.period.end_us))
    found = []
    for seal, record in archive.deleted.get(trail, ()):
        is_of_it = seal.first_time <= last and seal.last_time >= first
        if not is_of_it and not first <= record.deleted_at <= last:
            continue
        found.append(
            {
                "trail": trail,
                "file": seal.file,
                "events": seal.events,
                "first": seal.first_sequence,
                "last": seal.last_sequence,
                "first_time": seal.first_time,
                "last_time": seal.last_time,
                "deleted_at": record.deleted_at,
                "rule": record.reason,
                "signed": record.signature is not None,
                "age_days": _days(seal.last_time, record.deleted_at),
            }
        )
    return found


def _days(first: str, last: str) -> float:
    begin, end = parse_time(first), parse_time(last)
    if begin is None or end is None:
        return 0.0
    return round((to_microseconds(end) - to_microseconds(begin)) / _DAY_US, 3)


def _holds(archive: Archive, recorded: Holds) -> list[dict[str, Any]]:
    """The holds that were in force in the period, or a part of it; as is on record, or as files
    say that are there."""
    first, last = map(format_time, (archive.period.start_us, archive.period.end_us))
    found = [_hold(one) for one in periods(recorded.records) if _is_in(one, first)]
    known = {one["name"] for one in found}
    for name, text in holds(archive.directory, missing_ok=True).items():
        placed = parts(text)
        at = placed["placed_at"]
        if name not in known and (at is None or at <= last):
            facts = {"name": name, **placed, "released_at": None, "on_record": False}
            found.append({**facts, "in_force_at_end": True})
    return sorted(found, key=lambda one: (one["name"], one["placed_at"] or ""))


def _is_in(hold: HoldPeriod, first: str) -> bool:
    return hold.released is None or hold.released.time >= first


def _hold(hold: HoldPeriod) -> dict[str, Any]:
    return {
        "name": hold.placed.name,
        "reason": hold.placed.reason or None,
        "placed_at": hold.placed.time,
        "placed_by": None,
        "released_at": None if hold.released is None else hold.released.time,
        "on_record": True,
        "in_force_at_end": hold.released is None,
    }


def _register(said: dict[str, dict[str, Any] | None]) -> dict[str, Any]:
    """Facts for a register of processing (GDPR Art. 30(1)); what only people know is null."""
    security = []
    for trail, start in said.items():
        settings = _settings(start)
        names = (
            "pseudonymize",
            "erasable",
            "redact_pii",
            "capture_content",
            "signed",
            "durability",
        )
        security.append({"trail": trail, **{name: settings.get(name) for name in names}})
    return {
        "purposes": None,
        "categories_of_data": None,
        "recipients": "see activity.exports, and csv/exports.csv: what left through the memory",
        "time_limits": "see rules",
        "security": security,
    }
