"""The rehearsal: load that is measured, then a kill of each kind, then the reconciliation."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped,unused-ignore]

from axon_audit_otel import verify
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.replay import replay
from axon_audit_otel.shipping.store_report import verify_store
from axon_audit_otel.shipping.stores.address import open_store

from .topology import Fleet, Part, disk, newest_of

__all__ = ["Found", "Kill", "Measured", "Options", "Reconciled", "Rehearsal"]

#: Bytes in the queues, bytes of files that they take, and calls that have returned until then.
Waiting = tuple[int, int, int]

_WARM = 5  # calls of each application before anything is measured
_SOURCE = {"service.name": "replay"}

STAGES = ("application", "its shipping", "agents", "gateway", "ClickHouse", "VictoriaLogs")


@dataclass(frozen=True)
class Options:
    """What a rehearsal is made of.

    Args:
        processes: Applications.
        agents: Agents.
        rate: Events a second, of all.
        tenth: Events a second of the second measurement; 0: there is none.
        seconds: How long each is measured.
        down: Seconds for which a killed server is away.
        around: Seconds of load before each kill, and after each start.
    """

    processes: int = 50
    agents: int = 3
    rate: float = 400
    tenth: float = 1670
    seconds: float = 60
    down: float = 5
    around: float = 5


@dataclass
class Measured:
    """What a time of steady load cost.

    Attributes:
        events: Calls that returned.
        seconds: How long they took.
        drained: Seconds until all of them were in both stores, from then.
        whole: Seconds from the first event until then.
        cpu: CPU seconds by stage, until they were there.
        wire: Bytes that arrived, by who received them.
        memory: Bytes of the largest process, by stage, after it.
        load: The machine's, over the minute before the end.
    """

    events: int
    seconds: float
    drained: float
    whole: float
    cpu: dict[str, float]
    wire: dict[str, int]
    memory: dict[str, int]
    load: float

    @property
    def rate(self) -> float:
        """Events a second."""
        return self.events / self.seconds


@dataclass
class Kill:
    """What a kill cost, before any reconciliation.

    Attributes:
        what: What was killed.
        events: Calls that returned from the load before it until all was drained.
        drained: Seconds until all was drained, from the end of the load.
        missing: Events that are in no answer since, by store.
        doubled: Records that are there once more, by store.
        queued: Bytes in the queues of those before it, when it was started again.
        on_disk: Bytes of files that these queues take then.
        waiting: Calls that returned while it was away.
    """

    what: str
    events: int
    drained: float
    missing: dict[str, int]
    doubled: dict[str, int]
    queued: int = 0
    on_disk: int = 0
    waiting: int = 0


@dataclass
class Reconciled:
    """What the reconciliation of one store found and did.

    Attributes:
        missing: Events that it lacked before, as ``verify --store`` says.
        sent: Events that ``replay --store`` sent.
        missing_after: Events that it lacks.
        seen_twice: Rows of the query that answers questions, more than there are events.
        records: Records that it has, of whatever event.
        seconds: What both took, for all archives.
    """

    missing: int = 0
    sent: int = 0
    missing_after: int = 0
    seen_twice: int = 0
    records: int = 0
    seconds: float = 0.0


@dataclass
class Found:
    """The result of a rehearsal.

    Attributes:
        calls: Calls of applications that returned.
        recorded: Events in their archives: each start of a process is one too.
        starts: Starts of applications.
        unverified: Archives that did not verify, with what was said.
        idle: CPU seconds a second without load, by stage.
        measured: The steady load, at the first rate and at the second.
        kills: One by one.
        reconciled: By store.
        disk: Bytes on disk: ``archives``, ``audit.jsonl``, and the stores.
        said: What applications said on stderr, with how often.
        options: What the rehearsal was made of.
        machine: What it ran on, and the load.
    """

    calls: int = 0
    recorded: int = 0
    starts: int = 0
    unverified: list[str] = field(default_factory=list)
    idle: dict[str, float] = field(default_factory=dict)
    measured: list[Measured] = field(default_factory=list)
    kills: list[Kill] = field(default_factory=list)
    reconciled: dict[str, Reconciled] = field(default_factory=dict)
    disk: dict[str, int] = field(default_factory=dict)
    said: dict[str, int] = field(default_factory=dict)
    options: Options | None = None
    machine: str = ""


class Rehearsal:
    """A fleet, and all that is done with it. Its servers run until the end of ``with``.

    Args:
        place: A directory, which is empty.
        options: What it is made of.
        tell: Takes a line for each thing that is done.

    Attributes:
        fleet: What runs.
    """

    def __init__(
        self, place: Path, options: Options, tell: Callable[[str], None] = lambda words: None
    ) -> None:
        self._options = options
        self._tell = tell
        self.fleet = Fleet(place, options.processes, options.agents, options.rate)

    def __enter__(self) -> Rehearsal:
        return self

    def __exit__(self, *_: object) -> None:
        self.fleet.close()

    def run(self) -> Found:
        """Measure, kill each part, let the applications end, and reconcile."""
        fleet, found = self.fleet, Found(options=self._options)
        self._tell(f"{len(fleet.applications)} applications, {len(fleet.agents)} agents: all run")
        _drain(fleet)  # the start of each process is an event too
        _measure(fleet, self._options, found, self._tell)
        for what, kill in _kills(fleet, self._options).items():
            found.kills.append(_killed(fleet, self._options, what, kill))
            self._tell(f"killed: {found.kills[-1]}")
        fleet.stop()
        _drain(fleet)
        found.calls, found.recorded = fleet.calls, fleet.recorded()
        found.starts = sum(one.starts for one in fleet.applications)
        _disk(fleet, found)
        for name in fleet.stores():
            found.reconciled[name] = _reconcile(fleet, name)
            self._tell(f"{name}: {found.reconciled[name]}")
        _check(fleet, found)
        for one in fleet.applications:
            for line in one.log.read_text().splitlines():
                words = _PORT.sub(":PORT", line.partition("; further failures")[0][:300])
                found.said[words] = found.said.get(words, 0) + 1
        return found


_PORT = re.compile(r":\d{4,5}\b")


# --- the load -------------------------------------------------------------------------------------


def _measure(fleet: Fleet, options: Options, found: Found, tell: Callable[[str], None]) -> None:
    fleet.run(options.around)
    while min(one.calls for one in fleet.applications) < _WARM:
        time.sleep(0.5)
    fleet.pause()
    _drain(fleet)  # what is imported at the first request is imported then
    before = _cpu(fleet)
    time.sleep(max(3.0, options.seconds / 6))
    after = _cpu(fleet)
    found.idle = {name: after[1][name] - before[1][name] for name in STAGES}
    found.idle = {name: spent / (after[0] - before[0]) for name, spent in found.idle.items()}
    for rate in filter(None, (options.rate, options.tenth)):
        fleet.rate(rate)
        fleet.run(options.around)  # connections are open then
        fleet.pause()
        _drain(fleet)
        found.measured.append(_steady(fleet, options.seconds))
        tell(f"load: {found.measured[-1]}")
    fleet.rate(options.rate)


def _steady(fleet: Fleet, seconds: float) -> Measured:
    begun, cpu = _cpu(fleet)
    calls, wire = fleet.calls, fleet.wire()
    fleet.run(seconds)
    fleet.pause()
    events, ended = fleet.calls - calls, time.monotonic()
    drained = _drain(fleet)
    over, spent = _cpu(fleet)
    there = fleet.wire()
    return Measured(
        events=events,
        seconds=ended - begun,
        drained=drained,
        whole=over - begun,
        cpu={name: spent[name] - cpu[name] for name in STAGES},
        wire={
            name: sum(size - wire[name].get(where, 0) for where, size in of.items())
            for name, of in there.items()
        },
        memory={
            "agents": max(part.memory for part in fleet.agents),
            "gateway": fleet.gateway.memory,
            "ClickHouse": fleet.clickhouse.memory,
            "VictoriaLogs": fleet.victorialogs.memory,
        },
        load=psutil.getloadavg()[0],
    )


def _cpu(fleet: Fleet) -> tuple[float, dict[str, float]]:
    """The time, and CPU seconds by stage until then."""
    shipping = sum(one.shipping for one in fleet.applications)
    return time.monotonic(), {
        "application": sum(one.cpu for one in fleet.applications) - shipping,
        "its shipping": shipping,
        "agents": sum(part.cpu for part in fleet.agents),
        "gateway": fleet.gateway.cpu,
        "ClickHouse": fleet.clickhouse.cpu,
        "VictoriaLogs": fleet.victorialogs.cpu,
    }


def _drain(fleet: Fleet, patience: float = 300) -> float:
    """Wait until nothing is under way; returns the seconds.

    Nothing is under way if every agent has acknowledged all, no queue has anything, and the stores
    do not get more: a batch waits for a second before it is sent.

    Raises:
        RuntimeError: If it does not happen.
    """
    begun = seen = time.monotonic()
    last: Any = None
    while time.monotonic() < begun + patience:
        total = fleet.recorded()
        waits = fleet.unsent(), fleet.queued()
        held = fleet.held()
        now = time.monotonic()
        if waits == (0, 0) and all(of["events"] >= total for of in held.values()):
            return now - begun
        if (waits, held) != last:
            last, seen = (waits, held), now
        elif waits == (0, 0) and now > seen + 4:
            return seen - begun
        time.sleep(0.25)
    raise RuntimeError(f"not drained after {patience:.0f} s: unsent, queued {waits}; {held}")


# --- the kills ------------------------------------------------------------------------------------


def _kills(fleet: Fleet, options: Options) -> dict[str, Callable[[], Waiting]]:
    """What is killed in turn; each function returns what waited when it was started again."""

    def waits() -> Waiting:
        directories = [part.directory / "queue" for part in (*fleet.agents, fleet.gateway)]
        return fleet.queued(), sum(map(disk, directories)), fleet.calls

    def server(part: Part) -> Callable[[], Waiting]:
        def kill() -> Waiting:
            part.kill()
            time.sleep(options.down)
            waiting = waits()
            part.start()
            return waiting

        return kill

    def applications() -> Waiting:
        some = fleet.applications[:: max(1, min(5, len(fleet.applications) // 2))]
        for one in some:
            one.kill()
        time.sleep(min(1.0, options.down))
        for one in some:
            one.start()
        return waits()

    return {
        "applications": applications,
        "agent": server(fleet.agents[0]),
        "gateway": server(fleet.gateway),
        "ClickHouse": server(fleet.clickhouse),
        "VictoriaLogs": server(fleet.victorialogs),
    }


def _killed(fleet: Fleet, options: Options, what: str, kill: Callable[[], Waiting]) -> Kill:
    """Kill something under load, start it again, and say what that cost."""
    calls, before = fleet.calls, _lacks(fleet)
    fleet.run(options.around)
    then = fleet.calls
    queued, on_disk, waiting = kill()
    fleet.run(options.around)
    fleet.pause()
    drained = _drain(fleet)
    after = _lacks(fleet)
    return Kill(
        what=what,
        events=fleet.calls - calls,
        drained=drained,
        missing={name: after[name][0] - before[name][0] for name in after},
        doubled={name: after[name][1] - before[name][1] for name in after},
        queued=queued,
        on_disk=on_disk,
        waiting=waiting - then,
    )


def _lacks(fleet: Fleet) -> dict[str, tuple[int, int]]:
    """By store: events that it lacks, and records that it has more than events."""
    recorded = fleet.recorded()
    return {
        name: (recorded - of["events"], of["records"] - of["events"])
        for name, of in fleet.held().items()
    }


# --- the reconciliation ---------------------------------------------------------------------------


def _reconcile(fleet: Fleet, name: str) -> Reconciled:
    """Compare each archive with a store, and send what that lacks."""
    url = fleet.stores()[name]
    done = Reconciled()
    begun = time.monotonic()
    target, headers = fleet.gateway.server.http, {}
    if name == "VictoriaLogs":  # straight to it: the other store has the event
        target = fleet.victorialogs.server.otlp
        headers = {"VL-Stream-Fields": "service.name,axon.audit.trail"}
    endpoint = Endpoint.resolve(target, "http/protobuf", headers)
    for one in fleet.applications:
        lacks = _missing(one.archive, url)
        done.missing += lacks
        if lacks:
            with closing(open_store(url)) as store:
                done.sent += replay(one.archive, endpoint, _SOURCE, store=store).sent
    _drain(fleet)
    done.missing_after = sum(_missing(one.archive, url) for one in fleet.applications)
    held = fleet.held()[name]
    done.seen_twice, done.records = held["seen"] - held["events"], held["records"]
    done.seconds = time.monotonic() - begun
    return done


def _missing(archive: Path, url: str) -> int:
    """How many events of the archive the store lacks."""
    with closing(open_store(url)) as store:
        report = verify_store(archive, store)
    if any(finding.kind != "removed" for finding in report.findings):
        raise RuntimeError(f"{archive}: {report.findings}")
    return newest_of(archive)[0] - report.events


def _check(fleet: Fleet, found: Found) -> None:
    """Verify each archive, and see that no call returned without its event."""
    events = 0
    for one in fleet.applications:
        report = verify(one.archive)
        events += sum(writer.events for writer in report.writers)
        if not report.ok:
            found.unverified.append(f"{one.archive}: {report.findings[:3]}")
    least = found.calls + found.starts
    if not least <= events == found.recorded <= least + found.starts:
        words = f"{found.calls} calls, {found.starts} starts, {found.recorded} and {events} events"
        found.unverified.append(words)


def _disk(fleet: Fleet, found: Found) -> None:
    fleet.clickhouse.server.send("OPTIMIZE TABLE audit_events_stored FINAL")
    (row,) = fleet.clickhouse.server.query(
        "SELECT sum(bytes_on_disk) AS size FROM system.parts"
        " WHERE active AND database = 'otel' AND startsWith(table, 'audit_')"
    )
    found.disk = {
        "archives": disk(fleet.place / "applications", "*/audit/*"),
        "audit.jsonl": disk(fleet.gateway.directory, "audit*.jsonl"),
        "ClickHouse": row["size"],
        "VictoriaLogs": disk(fleet.victorialogs.directory / "data"),
    }
