"""*Audit trail health*: whether everything that happens is recorded, kept and shipped."""

from __future__ import annotations

from typing import Any

from . import grafana as g
from . import promql as q
from .objectives import OBJECTIVES
from .variables import TRAILS

_BAD: tuple[g.Step, ...] = ((None, g.GREEN), (1, g.RED))
_OVERDUE = OBJECTIVES.seal_overdue.total_seconds()
_AGE: tuple[g.Step, ...] = ((None, g.GREEN), (_OVERDUE * 0.75, g.YELLOW), (_OVERDUE, g.RED))
_FULL: tuple[g.Step, ...] = ((None, g.GREEN), (1, g.YELLOW))


def _unsealed(by: str) -> str:
    """Age in seconds of the oldest event that is in no sealed file; 0 without one."""
    start = q.select(q.JOURNAL_START)
    oldest = f"(time() - {start}) * ({start} > bool 0)"
    return f"max by ({by}) ({oldest})" if by else f"max({oldest})"


def _state() -> list[Any]:
    lost = (
        f"{q.increase(q.EVICTED)} and on (job, instance, trail)"
        f" last_over_time({q.select(q.JOURNAL_LAG)}[$__range])"
    )
    return [
        g.number(
            "Failures of the trail",
            "Failures of the audit trail itself in the shown time. Anything but 0 needs a look:"
            " by stage below.",
            "short",
            g.query(f"ceil({q.total('', q.increase(q.FAILURES))})"),
            steps=_BAD,
        ),
        g.number(
            "Evicted, in no file",
            "Events in the shown time that left memory without being in a file, although there is"
            " an archive: lost, unless a collector has them. Trails without one are below.",
            "short",
            g.query(f"ceil({q.total('', lost)})"),
            absent="no archive",
            steps=_BAD,
        ),
        g.number(
            "Events in no file yet",
            "Journal lag: events in memory that the archive could not take yet. 0 is right, but"
            ' for durability="memory", which writes once a second.',
            "short",
            g.query(q.total("", q.select(q.JOURNAL_LAG))),
            steps=((None, g.GREEN), (1, g.YELLOW), (512, g.RED)),
            absent="no archive",
        ),
        g.number(
            "Oldest event not sealed",
            "Age of the oldest event that is in a journal but in no sealed file yet.",
            "s",
            g.query(_unsealed("")),
            steps=_AGE,
            absent="no archive",
        ),
        g.number(
            "Events not shipped",
            "Events that no collector has acknowledged yet.",
            "short",
            g.query(q.total("", q.select(q.SHIPPING_LAG))),
            steps=((None, g.GREEN), (1_000, g.YELLOW), (10_000, g.RED)),
        ),
        g.number(
            "Trails",
            "Trails of the selected instances.",
            "short",
            g.query(f"count({q.select(q.CAPACITY)})"),
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
            steps=_FULL,
        ),
        g.graph(
            "Buffer fill by trail",
            "Events held in memory, of those it can hold: the fullest instance of each trail.",
            "percentunit",
            g.query(f"max by (trail) ({fill})", "{{trail}}"),
            span=10,
            maximum=1,
        ),
        g.graph(
            "Evicted, in no file",
            "Evictions a second of events that are in no file. Without an archive, only what was"
            " shipped still exists.",
            "cps",
            g.query(q.total("trail", q.rate(q.EVICTED)), "{{trail}}"),
            span=10,
            soft_max=1,
        ),
    ]


def _archive() -> list[Any]:
    sealed = f"{q.select(q.LAST_SEAL)} > 0"
    return [
        g.graph(
            "Events sealed",
            "Events a second that came into sealed files. Files are sealed at intervals: peaks"
            " are normal.",
            "cps",
            g.query(q.total("trail", q.rate(q.EXPORTED)), "{{trail}}"),
            span=6,
        ),
        g.graph(
            "Age of the last seal",
            "Time since the last sealed file, of the instance that waits longest. Old is only"
            " wrong where events wait: see the next panel.",
            "s",
            g.query(f"max by (trail) (time() - ({sealed}))", "{{trail}}"),
            span=6,
        ),
        g.graph(
            "Oldest event not sealed",
            "Age of the oldest event that is in no sealed file; the dashed line is where"
            " AxonAuditSealOverdue fires.",
            "s",
            g.query(_unsealed("trail"), "{{trail}}"),
            span=6,
            steps=((None, g.GREEN), (_OVERDUE, g.RED)),
        ),
        g.graph(
            "Journal lag",
            "Events that are in memory and in no file yet.",
            "short",
            g.query(q.total("trail", q.select(q.JOURNAL_LAG)), "{{trail}}"),
            span=6,
            soft_max=10,
        ),
    ]


def _failures() -> list[Any]:
    return [
        g.graph(
            "Failures by stage",
            "Failures of the audit trail itself: record and emit (on the way to the trail), encode,"
            " redact, metrics, journal, seal, commit, ship, checkpoint, compress, retention, ...",
            "short",
            g.query(q.total("stage", q.increase(q.FAILURES, over="$__rate_interval")), "{{stage}}"),
            span=16,
            stack=True,
            soft_max=1,
        ),
        g.bars(
            "Instances with most failures",
            "Failures of the audit trail itself in the shown time: the ten instances with most.",
            "short",
            g.query(f"topk(10, {q.total('instance', q.increase(q.FAILURES))})", "{{instance}}"),
            steps=_BAD,
        ),
    ]


def _shipping() -> list[Any]:
    return [
        g.graph(
            "Recorded and shipped",
            "Events a second that operations made, and that a collector acknowledged.",
            "cps",
            g.query(q.total("", q.rate(q.OPERATIONS, every_system=True)), "recorded"),
            g.query(q.total("", q.rate(q.SHIPPED)), "shipped"),
        ),
        g.graph(
            "Shipping lag",
            "Events that no collector has acknowledged yet.",
            "short",
            g.query(q.total("trail", q.select(q.SHIPPING_LAG)), "{{trail}}"),
            soft_max=10,
        ),
        g.graph(
            "Not shipped, by reason",
            "Events a second that were given up. Which of them the archive still has depends on"
            " the reason: see AxonAuditShippingDropped in the runbook.",
            "cps",
            g.query(q.total("reason", q.rate(q.SHIPPING_DROPPED)), "{{reason}}"),
            soft_max=1,
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
            "Failures": _failures(),
            "Shipping": _shipping(),
        },
    )
