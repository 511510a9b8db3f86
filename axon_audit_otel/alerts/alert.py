"""An alert: that a rule was broken, by whom, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ..core.errors import shown
from ..core.time import format_time, to_microseconds
from ..core.units import short
from ..events.findings import few
from .rules import Rule

__all__ = ["Alert", "AlertKey"]

AlertKey = tuple[str, str | None]  # the rule's name and the user


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert, firing or resolved.

    Attributes:
        rule: The rule that was broken.
        user_id: The user whose events were counted (rules per user); None: all users.
        count: Number of events, or of entries: ``over + 1`` when it fires, or more if one event
            was about many.
        since: Time of the event that made it fire; UTC.
        event_id: Id of that event, or of the one for whose entries it fires again; None for an
            alert found at the start of the monitor.
        resolved_at: Time when it ended; UTC. None while it fires.
        entry_ids: Altered, resurrected or remaining entries, if the rule counts these: at most
            100, the latest first.
    """

    rule: Rule
    user_id: str | None
    count: int
    since: datetime
    event_id: str | None = None
    resolved_at: datetime | None = None
    entry_ids: tuple[str, ...] = ()

    @property
    def key(self) -> AlertKey:
        """The identity of the alert: the rule's name and the user."""
        return self.rule.name, self.user_id

    @property
    def state(self) -> str:
        """``firing`` or ``resolved``."""
        return "firing" if self.resolved_at is None else "resolved"

    def facts(self) -> dict[str, Any]:
        """The alert as JSON types; times as in events."""
        over = self.resolved_at
        return {
            "rule": self.rule.name,
            "severity": self.rule.severity,
            "summary": self.rule.summary,
            "user_id": self.user_id,
            "count": self.count,
            "over": self.rule.over,
            "window_s": self.rule.window.total_seconds(),
            "since": format_time(to_microseconds(self.since)),
            "resolved_at": None if over is None else format_time(to_microseconds(over)),
            "event_id": self.event_id,
            "entry_ids": list(self.entry_ids),
        }

    def __str__(self) -> str:
        rule = self.rule
        who = f" by user {shown(self.user_id)}" if rule.per_user else ""
        kinds = sorted({*rule.operations, *rule.statuses})
        what = " ".join(["", *kinds]) + f" event{'' if self.count == 1 else 's'}"
        entries = "entry" if self.count == 1 else "entries"
        if rule.counting == "deleted":
            what = f" {entries} deleted"
        elif rule.counting != "events":
            named = f" ({few(self.entry_ids)})" if self.entry_ids else ""
            what = f" {rule.counting.replace('_', ' ')} {entries}{named}"
        if rule.system is not None:
            what += f" in {shown(rule.system)}"
        end = "" if self.resolved_at is None else ", resolved"
        limit = f"more than {rule.over} in {short(rule.window)}"
        return f"{rule.name}: {self.count}{what}{who}, {limit}{end}"
