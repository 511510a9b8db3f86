"""Statistics of a stream of events, counted in one pass."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from .findings import FINDINGS, findings
from .model import AuditEvent, success_rate, totals
from .query import activity

__all__ = ["summarise"]


def summarise(events: Iterable[AuditEvent]) -> dict[str, Any]:
    """`activity` of all *events*, and of each operation, each user and each agent.

    Returns:
        What `activity` returns, ``findings`` (how many entries need attention, by kind; see
        `findings`), and ``operations`` (by name: ``count``, ``by_status``,
        ``success_rate``, ``latency_ms`` with ``avg``, ``p50``, ``p95``, ``p99``, exact) and
        ``users`` (a list, the busiest first: ``user_id``, ``total_operations``,
        ``by_status``, ``success_rate``, ``most_common_operation``, ``last_activity``) and
        ``agents`` (likewise, with ``agent_id``; operations without an agent are in none) and
        ``systems`` (likewise, with ``system``).
    """
    operations: defaultdict[str, _Operation] = defaultdict(_Operation)
    users: defaultdict[str | None, _Actor] = defaultdict(_Actor)
    agents: defaultdict[str | None, _Actor] = defaultdict(_Actor)
    systems: defaultdict[str | None, _Actor] = defaultdict(_Actor)
    found: Counter[str] = Counter()

    def counted() -> Iterator[AuditEvent]:
        for event in events:
            operations[event.operation.value].add(event)
            users[event.user_id].add(event)
            for kind, finding in findings(event.metadata).items():
                found[kind] += finding.number
            if event.agent_id is not None:
                agents[event.agent_id].add(event)
            if event.system is not None:
                systems[event.system].add(event)
            yield event

    totals = activity(counted())
    return {
        **totals,
        "findings": {kind: found[kind] for kind in FINDINGS if found[kind]},
        "operations": {name: operations[name].summary() for name in totals["by_operation"]},
        "users": [{"user_id": one, **actor.summary()} for one, actor in _busiest(users)],
        "agents": [{"agent_id": one, **actor.summary()} for one, actor in _busiest(agents)],
        "systems": [{"system": one, **actor.summary()} for one, actor in _busiest(systems)],
    }


def _busiest(actors: dict[str | None, _Actor]) -> list[tuple[str | None, _Actor]]:
    return sorted(actors.items(), key=lambda item: (-item[1].total, item[0] or ""))


class _Operation:
    """The events of one operation; 8 bytes an event, for exact quantiles."""

    def __init__(self) -> None:
        self._statuses: Counter[str] = Counter()
        self._durations = array("d")

    def add(self, event: AuditEvent) -> None:
        self._statuses[event.status.value] += 1
        if event.duration_ms is not None:
            self._durations.append(event.duration_ms)

    def summary(self) -> dict[str, Any]:
        durations = sorted(self._durations)
        latency = None
        if durations:
            latency = {
                "avg": sum(durations) / len(durations),
                "p50": _quantile(durations, 0.50),
                "p95": _quantile(durations, 0.95),
                "p99": _quantile(durations, 0.99),
            }
        return {
            "count": self._statuses.total(),
            "by_status": dict(self._statuses.most_common()),
            "success_rate": self._statuses["SUCCESS"] / self._statuses.total(),
            "latency_ms": latency,
        }


class _Actor:
    """The events of one user, agent or system."""

    def __init__(self) -> None:
        self.total = 0
        self._outcomes: Counter[tuple[str, str]] = Counter()
        self._last: datetime | None = None

    def add(self, event: AuditEvent) -> None:
        self.total += 1
        self._outcomes[event.operation.value, event.status.value] += 1
        if self._last is None or event.timestamp > self._last:
            self._last = event.timestamp

    def summary(self) -> dict[str, Any]:
        operations, statuses = totals(self._outcomes)
        return {
            "total_operations": self.total,
            "by_status": dict(statuses.most_common()),
            "success_rate": success_rate(self._outcomes),
            "most_common_operation": operations.most_common(1)[0][0],
            "last_activity": self._last,
        }


def _quantile(ordered: list[float], q: float) -> float:
    """Linear between the two nearest ranks."""
    place = q * (len(ordered) - 1)
    below = int(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)
