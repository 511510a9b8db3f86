"""*Audit trail health*: whether everything that happens is recorded, kept and shipped."""

from __future__ import annotations

from typing import Any

from . import grafana as g
from . import promql as q
from .objectives import OBJECTIVES
from .variables import TRAILS

_BAD: tuple[g.Step, ...] = ((None, g.GOOD), (1, g.BAD))
_LOOK: tuple[g.Step, ...] = ((None, g.GOOD), (1, g.WARN))
_OVERDUE = OBJECTIVES.seal_overdue.total_seconds()
_AGE: tuple[g.Step, ...] = ((None, g.GOOD), (_OVERDUE * 0.75, g.WARN), (_OVERDUE, g.BAD))

#: Where a failure may leave an event in no file.
_RECORDING = 'stage=~"record|encode|journal|commit"'
#: Sending is tried again until it works: nothing is lost.
_RETRY = 'stage="ship"'
_OTHER = 'stage!~"record|encode|journal|commit|ship"'

_NO_ARCHIVE = "no archive configured"
_NO_COLLECTOR = "no collector configured"
_NO_PROCESS = "no process"
_FAILURES, _EVICTED = "AxonAuditFailures", "AxonAuditEventsEvicted"
_STALLED, _DROPPED = "AxonAuditShippingStalled", "AxonAuditShippingDropped"
_SEAL = "AxonAuditSealOverdue"


def _unsealed(by: str) -> str:
    """Age in seconds of the oldest event that is in no sealed file; 0 without one."""
    start = q.select(q.JOURNAL_START)
    oldest = f"(time() - {start}) * ({start} > bool 0)"
    return f"max by ({by}) ({oldest})" if by else f"max({oldest})"


def _failures(*stages: str) -> str:
    return f"ceil({q.total('', q.increase(q.FAILURES, *stages))})"


def _state() -> list[Any]:
    lost = (
        f"{q.increase(q.EVICTED)} and on (job, instance, trail)"
        f" last_over_time({q.select(q.JOURNAL_LAG)}[$__range])"
    )
    return [
        g.number(
            "Failures to record",
            "Failures in the shown time at which an event may be in memory only, or in no record:"
            " stages record, encode, journal and commit. Anything but 0 needs somebody now.",
            "short",
            g.query(_failures(_RECORDING)),
            steps=_BAD,
            absent=_NO_PROCESS,
            runbook=_FAILURES,
        ),
        g.number(
            "Evicted, in no file",
            "Events in the shown time that left memory without being in a file, although there is"
            " an archive: lost, unless a collector has them. Trails without one are below.",
            "short",
            g.query(f"ceil({q.total('', lost)})"),
            steps=_BAD,
            absent=_NO_ARCHIVE,
            runbook=_EVICTED,
        ),
        g.number(
            "Events in no file yet",
            "Journal lag: events in memory that the archive could not take yet. 0 is right, but"
            ' for durability="memory", which writes once a second.',
            "short",
            g.query(q.total("", q.select(q.JOURNAL_LAG))),
            steps=((None, g.GOOD), (1, g.WARN), (512, g.BAD)),
            absent=_NO_ARCHIVE,
            runbook=_FAILURES,
        ),
        g.number(
            "Oldest event not sealed",
            "Age of the oldest event that is in a journal but in no sealed file yet.",
            "s",
            g.query(_unsealed("")),
            steps=_AGE,
            absent=_NO_ARCHIVE,
            runbook=_SEAL,
        ),
        g.number(
            "Events not shipped",
            "Events that no collector has acknowledged yet. They wait in the archive.",
            "short",
            g.query(q.total("", q.select(q.SHIPPING_LAG))),
            steps=((None, g.GOOD), (1_000, g.WARN), (10_000, g.BAD)),
            absent=_NO_COLLECTOR,
            runbook=_STALLED,
        ),
        g.number(
            "Trails",
            "Trails of the selected instances.",
            "short",
            g.query(f"count({q.select(q.CAPACITY)})"),
            absent=_NO_PROCESS,
            runbook="AxonAuditAbsent",
        ),
    ]


def _memory() -> list[Any]:
    fill = f"{q.select(q.BUFFER)} / {q.select(q.CAPACITY)}"
    return [
        g.dial(
            "Fullest buffer",
            "Events held in memory, of those it can hold, in the fullest trail. A full buffer is"
            " normal: the newest events stay.",
            "percentunit",
            g.query(f"max({fill})"),
            steps=((None, g.GOOD),),
            absent=_NO_PROCESS,
        ),
        g.graph(
            "Buffer fill by trail",
            "Events held in memory, of those it can hold: the fullest instance of each trail.",
            "percentunit",
            g.query(f"max by (trail) ({fill})", "{{trail}}"),
            span=10,
            maximum=1,
            absent=_NO_PROCESS,
        ),
        g.graph(
            "Evicted, in no file",
            "Evictions a second of events that are in no file. Without an archive, only what was"
            " shipped still exists.",
            "events/s",
            g.query(q.total("trail", q.rate(q.EVICTED)), "{{trail}}"),
            span=10,
            soft_max=1,
            absent=_NO_PROCESS,
            runbook=_EVICTED,
        ),
    ]


def _archive() -> list[Any]:
    sealed = f"{q.select(q.LAST_SEAL)} > 0"
    return [
        g.graph(
            "Events sealed",
            "Events a second that came into sealed files. Files are sealed at intervals: peaks"
            " are normal.",
            "events/s",
            g.query(q.total("trail", q.rate(q.EXPORTED)), "{{trail}}"),
            span=6,
            absent=_NO_ARCHIVE,
        ),
        g.graph(
            "Age of the last seal",
            "Time since the last sealed file, of the instance that waits longest. Old is only"
            " wrong where events wait: see the next panel.",
            "s",
            g.query(f"max by (trail) (time() - ({sealed}))", "{{trail}}"),
            span=6,
            absent="no sealed file yet",
        ),
        g.graph(
            "Oldest event not sealed",
            "Age of the oldest event that is in no sealed file. AxonAuditSealOverdue fires at"
            f" {q.duration(OBJECTIVES.seal_overdue)}.",
            "s",
            g.query(_unsealed("trail"), "{{trail}}"),
            span=6,
            absent=_NO_ARCHIVE,
            runbook=_SEAL,
        ),
        g.graph(
            "Journal lag",
            "Events that are in memory and in no file yet.",
            "events",
            g.query(q.total("trail", q.select(q.JOURNAL_LAG)), "{{trail}}"),
            span=6,
            soft_max=10,
            absent=_NO_ARCHIVE,
            runbook=_FAILURES,
        ),
    ]


def _stages() -> list[Any]:
    failed = q.increase(q.FAILURES, 'stage!="ship"', over="$__rate_interval")
    ever = q.increase(q.FAILURES, 'stage!="ship"')
    retried = q.increase(q.FAILURES, _RETRY, over="$__rate_interval")
    worst = q.total("instance", q.increase(q.FAILURES, 'stage!="ship"'))
    return [
        g.number(
            "Other failures",
            "Failures of the trail in the shown time that lose no event: an index, a compression,"
            " a checkpoint, a callback. To be looked at on the next working day.",
            "short",
            g.query(_failures(_OTHER)),
            height=8,
            steps=_LOOK,
            absent=_NO_PROCESS,
            runbook=_FAILURES,
        ),
        g.graph(
            "Failures by stage",
            "Failures of the audit trail itself, each interval: record and emit (on the way to the"
            " trail), encode, redact, journal, seal, commit, checkpoint, compress, retention, ...",
            "failures",
            g.query(q.happened("stage", failed, ever), "{{stage}}"),
            span=12,
            stack=True,
            soft_max=1,
            absent=_NO_PROCESS,
            runbook=_FAILURES,
        ),
        g.bars(
            "Instances with most failures",
            "Failures of the audit trail itself in the shown time, without attempts to ship: the"
            " ten instances with most.",
            "short",
            g.query(f"topk(10, ceil({worst}))", "{{instance}}"),
            steps=_LOOK,
            absent=_NO_PROCESS,
            runbook=_FAILURES,
        ),
        g.number(
            "Attempts to ship that failed",
            "In the shown time. Each is tried again until the collector takes it: nothing is lost"
            " by it, and what waits is under Shipping lag.",
            "short",
            g.query(_failures(_RETRY)),
            height=8,
            absent=_NO_PROCESS,
            runbook=_STALLED,
        ),
        g.graph(
            "Attempts to ship that failed, by trail",
            "Each interval. They are tried again: nothing is lost by them.",
            "attempts",
            g.query(q.total("trail", retried), "{{trail}}"),
            span=20,
            soft_max=1,
            absent=_NO_PROCESS,
            runbook=_STALLED,
        ),
    ]


def _shipping() -> list[Any]:
    dropped = q.rate(q.SHIPPING_DROPPED), q.increase(q.SHIPPING_DROPPED)
    return [
        g.graph(
            "Recorded and shipped",
            "Events a second that operations made, and that a collector acknowledged.",
            "events/s",
            g.query(q.total("", q.rate(q.OPERATIONS, every_system=True)), "recorded"),
            g.query(q.total("", q.rate(q.SHIPPED)), "shipped"),
            absent=_NO_PROCESS,
            runbook=_STALLED,
        ),
        g.graph(
            "Shipping lag",
            "Events that no collector has acknowledged yet.",
            "events",
            g.query(q.total("trail", q.select(q.SHIPPING_LAG)), "{{trail}}"),
            soft_max=10,
            absent=_NO_COLLECTOR,
            runbook=_STALLED,
        ),
        g.graph(
            "Not shipped, by reason",
            "Events a second that were given up. Which of them the archive still has depends on"
            " the reason: see AxonAuditShippingDropped in the runbook.",
            "events/s",
            g.query(q.happened("reason", *dropped), "{{reason}}"),
            soft_max=1,
            absent=_NO_COLLECTOR,
            runbook=_DROPPED,
        ),
    ]


def build() -> str:
    """The dashboard as JSON."""
    return g.page(
        "axon-audit-health",
        "Axon / Audit trail health",
        "Whether every memory operation is recorded, kept in files and shipped.",
        TRAILS,
        {
            "Now": _state(),
            "Memory": _memory(),
            "Archive": _archive(),
            "Failures": _stages(),
            "Shipping": _shipping(),
        },
    )
