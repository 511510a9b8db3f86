"""What a larger fleet needs, computed from what a small one cost."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from .rehearsal import STAGES, Found, Kill, Measured

__all__ = ["MILLION", "Costs", "Plan", "checked", "costs", "cpu_of", "plan"]

MILLION = 1_000_000 / 60  # events a second: a million a minute
_DAY = 86_400
_GB = 1e9


@dataclass(frozen=True)
class Costs:
    """What one event costs.

    Attributes:
        cpu: Microseconds of CPU by stage.
        wire: Bytes that arrive, by who receives them.
        queue: Bytes in a queue of an agent and of the gateway, of those that wait there.
        disk: Bytes on disk, by what keeps them.
    """

    cpu: dict[str, float]
    wire: dict[str, float]
    queue: dict[str, float]
    disk: dict[str, float]


@dataclass(frozen=True)
class Plan:
    """The assumptions of a plan, all of which an operator may have otherwise.

    Attributes:
        rate: Events a second.
        busy: Share of a core that is planned for; the rest is for peaks, and the time after an
            outage.
        agent: Cores that an agent may take from its machine.
        gateway: Cores of a gateway.
        clickhouse: Cores of a shard of ClickHouse.
        inserts: Share of a store's cores for what arrives; the rest is for queries and merges.
        victorialogs: Cores of a VictoriaLogs.
        days: How long the stores keep an event.
        core: Price of a core for a month.
        gigabyte: Price of a gigabyte of disk for a month.
    """

    rate: float = MILLION
    busy: float = 0.6
    agent: float = 0.5
    gateway: int = 4
    clickhouse: int = 8
    inserts: float = 0.3
    victorialogs: int = 4
    days: int = 30
    core: float = 25.0
    gigabyte: float = 0.08


def costs(found: Found) -> Costs:
    """What one event cost, at the highest rate that was measured."""
    most = found.measured[-1]
    by_kill = {kill.what: kill for kill in found.kills}
    return Costs(
        cpu=cpu_of(most, found),
        # What came over a connection that has ended is not counted: the most is nearest to it.
        wire={
            name: max(one.wire[name] / one.events for one in found.measured) for name in most.wire
        },
        queue={
            "agent": _waited(by_kill["gateway"]),
            "gateway": _waited(by_kill["VictoriaLogs"]),
        },
        disk={name: size / found.recorded for name, size in found.disk.items()},
    )


def cpu_of(measured: Measured, found: Found) -> dict[str, float]:
    """Microseconds of CPU of an event by stage, above what the stage takes without load."""
    return {
        name: 1e6 * (measured.cpu[name] - found.idle[name] * measured.whole) / measured.events
        for name in STAGES
    }


def _waited(kill: Kill) -> float:
    return kill.queued / max(1, kill.waiting)


def checked(found: Found) -> list[tuple[str, float, float]]:
    """By stage: the cores that the lower rate predicts for the higher, and those that it took.

    Empty, if only one rate was measured.
    """
    if len(found.measured) < 2:
        return []
    low, high = found.measured
    expected, took = cpu_of(low, found), cpu_of(high, found)
    return [
        (
            name,
            *(found.idle[name] + each[name] * high.rate / 1e6 for each in (expected, took)),
        )
        for name in STAGES
    ]


def plan(one: Costs, by: Plan) -> list[tuple[str, str, str, str]]:
    """The rows of the plan: part, how many, cores, and disk; then sums and the price."""

    def cores(stage: str) -> float:
        return by.rate * one.cpu[stage] / 1e6

    def daily(name: str) -> float:
        return by.rate * _DAY * one.disk[name] / _GB

    agents = max(2, ceil(cores("agents") / by.agent))
    gateways = max(2, ceil(cores("gateway") / (by.busy * by.gateway)) + 1)
    shards = max(1, ceil(cores("ClickHouse") / (by.inserts * by.clickhouse)))
    stores = max(1, ceil(cores("VictoriaLogs") / (by.inserts * by.victorialogs)))
    outage = (4 << 30) / (by.rate / agents * max(1.0, one.queue["agent"])) / 60
    bought = gateways * by.gateway + 2 * shards * by.clickhouse + stores * by.victorialogs
    kept = by.days * (2 * daily("ClickHouse") + daily("VictoriaLogs")) + daily("audit.jsonl")
    price = bought * by.core + kept * by.gigabyte
    return [
        ("part", "how many", "busy cores, all", "disk"),
        (
            "application's shipping",
            "in each application",
            f"{cores('its shipping'):.1f}",
            f"archives {daily('archives'):,.0f} GB a day",
        ),
        (
            "agents",
            f"{agents} or more: one on each machine, {by.agent:g} cores each",
            f"{cores('agents'):.1f}",
            f"4 GiB hold an outage of {outage:,.0f} minutes",
        ),
        (
            "gateways",
            f"{gateways} of {by.gateway} cores: one may be away",
            f"{cores('gateway'):.1f}",
            f"audit.jsonl {daily('audit.jsonl'):,.0f} GB a day",
        ),
        (
            "ClickHouse",
            f"{shards} shards of {by.clickhouse} cores, two replicas",
            f"{cores('ClickHouse'):.1f} a replica",
            f"{daily('ClickHouse'):,.0f} GB a day and replica",
        ),
        (
            "VictoriaLogs",
            f"{stores} of {by.victorialogs} cores",
            f"{cores('VictoriaLogs'):.1f}",
            f"{daily('VictoriaLogs'):,.0f} GB a day",
        ),
        (
            f"price a month, events kept for {by.days} days",
            f"{price:,.0f}",
            f"{bought:g} cores at {by.core:g}",
            f"{kept:,.0f} GB at {by.gigabyte:g}",
        ),
    ]
