"""*Memory overview*: what the memory does, how well and how fast."""

from __future__ import annotations

from typing import Any

from . import grafana as g
from . import promql as q
from .objectives import OBJECTIVES
from .recording import BUDGET_LEFT
from .variables import SYSTEM, TRAILS

_OPERATIONS = q.OPERATIONS, q.OF_MEMORY
_ALLOWED = f"{1 - OBJECTIVES.success:.6g}"
_SLOW = OBJECTIVES.latency_seconds
_BUDGET, _LATENCY = "AxonMemoryErrorBudgetBurn", "AxonMemoryLatencyBudgetBurn"
_RATE = "operations/s"
_IDLE = "no traffic"


def _budget() -> str:
    """The recorded budget of 30 days; without the rules, that of the shown time."""
    failed = q.total("job, trail", q.increase(*_OPERATIONS, q.FAILED))
    every = q.total("job, trail", q.increase(*_OPERATIONS))
    recorded = f'{BUDGET_LEFT}{{{",".join(q.PLACE)},job=~"$job",trail=~"$trail"}}'
    return f"clamp(min({recorded} or (1 - {q.share(failed, every)} / {_ALLOWED})), -1, 1)"


def _success(over: str) -> str:
    done = (*_OPERATIONS, 'status="SUCCESS"')
    if over:
        return q.share(
            q.total("", q.increase(*done, over=over)),
            q.total("", q.increase(*_OPERATIONS, over=over)),
        )
    return q.share(q.total("", q.rate(*done)), q.total("", q.rate(*_OPERATIONS)))


def _summary() -> list[Any]:
    success = OBJECTIVES.success
    return [
        g.number(
            "Operations a second",
            "Memory operations a second, of everything selected.",
            "short",
            g.query(q.total("", q.rate(*_OPERATIONS))),
            decimals=1,
            absent=_IDLE,
        ),
        g.number(
            "Success rate",
            "Share of operations in the shown time that ended in SUCCESS. PARTIAL counts as"
            f" not succeeded. The objective is {success:.2%}.",
            "percentunit",
            g.query(_success("$__range")),
            steps=((None, g.BAD), (success - 0.01, g.WARN), (success, g.GOOD)),
            decimals=2,
            absent=_IDLE,
            runbook=_BUDGET,
        ),
        g.number(
            "Error budget left",
            f"The objective of {success:.2%} allows {1 - success:.2%} of the operations to fail;"
            " that is the budget. 100 %: none of it is spent. 0 %: it is spent, every further"
            " failure misses the objective. -100 %: twice as many failed as may; more is shown as"
            " that. It is that of the trail that has least, over 30 days where the recording rules"
            " are loaded (all instances and systems), else over the shown time.",
            "percentunit",
            g.query(_budget()),
            steps=((None, g.BAD), (0, g.WARN), (0.25, g.GOOD)),
            decimals=1,
            below=(-1, "-100 % or less"),
            absent=_IDLE,
            runbook=_BUDGET,
        ),
        g.number(
            "Latency p95",
            "95 of 100 operations are faster. All operations together, over the last interval.",
            "s",
            g.query(q.quantile(0.95, "") + " >= 0"),  # without traffic it is NaN
            steps=((None, g.GOOD), (_SLOW / 2, g.WARN), (_SLOW, g.BAD)),
            absent=_IDLE,
            runbook=_LATENCY,
        ),
        g.number(
            "In progress",
            "Operations that run now. A number that only grows is a backend that hangs.",
            "short",
            g.query(q.total("", q.select(q.IN_PROGRESS))),
            absent="no process",
        ),
        g.number(
            "Processes",
            "Instances that report a trail, of those selected.",
            "short",
            g.query(f"count(group by (job, instance) ({q.select(q.CAPACITY)}))"),
            absent="no process",
            runbook="AxonTargetDown",
        ),
    ]


def _failed(by: str) -> str:
    """What did not succeed a second, of those of which anything did not in the shown time."""
    selected = *_OPERATIONS, q.FAILED
    return q.happened(by, q.rate(*selected), q.increase(*selected))


def _traffic() -> list[Any]:
    failed = q.rate(*_OPERATIONS, q.FAILED)
    return [
        g.graph(
            "Traffic by operation",
            "Memory operations a second, stacked.",
            _RATE,
            g.query(q.total("operation", q.rate(*_OPERATIONS)) + " > 0", "{{operation}}"),
            stack=True,
            absent=_IDLE,
            runbook="AxonNoTraffic",
        ),
        g.graph(
            "Not succeeded, by outcome",
            "Operations a second that ended in FAILURE or PARTIAL. PARTIAL: a part failed, or the"
            " SDK passed over a failure.",
            _RATE,
            g.query(q.total("status", failed), "{{status}}"),
            stack=True,
            absent=_IDLE,
            runbook=_BUDGET,
        ),
        g.graph(
            "Not succeeded, by operation",
            "Operations a second that ended in FAILURE or PARTIAL.",
            _RATE,
            g.query(_failed("operation"), "{{operation}}"),
            stack=True,
            absent=_IDLE,
            runbook=_BUDGET,
        ),
    ]


def _objectives() -> list[Any]:
    share = OBJECTIVES.latency_share
    awaited = 'operation=~"STORE|RECALL|FORGET"'
    bound = f"{_SLOW:g}|{float(_SLOW)!r}".replace(".", "\\\\.")
    fast = q.total("", q.rate(q.BUCKETS, awaited, f'le=~"{bound}"'))
    count = q.total("", q.rate(q.DURATIONS, awaited))
    failed = q.total("job, trail", q.increase(*_OPERATIONS, q.FAILED, over="1h"))
    every = q.total("job, trail", q.increase(*_OPERATIONS, over="1h"))
    page, ticket = OBJECTIVES.burn_rates[0].factor, OBJECTIVES.burn_rates[-1].factor
    return [
        g.graph(
            "Success rate",
            "Share of operations that ended in SUCCESS; the dashed line is the objective. The axis"
            " begins at 99 %, or lower where the line does.",
            "percentunit",
            g.query(_success(""), "success"),
            steps=((None, g.BAD), (OBJECTIVES.success, g.GOOD)),
            maximum=1,
            soft_min=0.99,
            absent=_IDLE,
            runbook=_BUDGET,
        ),
        g.graph(
            "Fast enough",
            f"Share of STORE, RECALL and FORGET that took less than {_SLOW:g} s; the dashed line is"
            " the objective.",
            "percentunit",
            g.query(q.share(fast, count), "fast enough"),
            steps=((None, g.BAD), (share, g.GOOD)),
            maximum=1,
            soft_min=share - 0.01,
            absent=_IDLE,
            runbook=_LATENCY,
        ),
        g.graph(
            "How fast the error budget is spent",
            "Failures of the last hour, as a multiple of those allowed, by trail. 1: the budget of"
            f" 30 days lasts 30 days. From {page:g} on somebody is woken, if it lasts; from"
            f" {ticket:g} on, over days, somebody is told.",
            "times the allowed rate",
            g.query(f"{q.share(failed, every)} / {_ALLOWED}", "{{trail}}"),
            steps=((None, g.GOOD), (ticket, g.WARN), (page, g.BAD)),
            absent=_IDLE,
            runbook=_BUDGET,
        ),
    ]


def _latency() -> list[Any]:
    panels: list[Any] = [
        g.density(
            "Latency",
            "How many operations took how long. A dot is one operation: click it for its trace.",
            "s",
            g.query(q.total("le", q.rate(q.BUCKETS)), "{{le}}", exemplars=True),
            absent=_IDLE,
            runbook=_LATENCY,
        ),
        g.graph(
            "Latency p50, p95, p99",
            "All operations together; the dashed line is the objective for"
            f" {OBJECTIVES.latency_share:.0%} of STORE, RECALL and FORGET. From line to line of the"
            " grid it is ten times as long.",
            "s",
            g.query(q.quantile(0.5, "") + " > 0", "p50"),
            g.query(q.quantile(0.95, "") + " > 0", "p95"),
            g.query(q.quantile(0.99, "") + " > 0", "p99", exemplars=True),
            span=12,
            steps=((None, g.GOOD), (_SLOW, g.BAD)),
            log=True,
            absent=_IDLE,
            runbook=_LATENCY,
        ),
    ]
    panels += [
        g.graph(
            f"Latency p{round(100 * quantile)} by operation",
            f"{round(100 * quantile)} of 100 operations of that kind are faster."
            " A dot is one operation: click it to open its trace. From line to line of the grid it"
            " is ten times as long.",
            "s",
            g.query(q.quantile(quantile, "operation") + " > 0", "{{operation}}", exemplars=True),
            span=12,
            log=True,
            absent=_IDLE,
            runbook=_LATENCY,
        )
        for quantile in (0.5, 0.99)
    ]
    return panels


def _systems() -> list[Any]:
    return [
        g.graph(
            "Operations by system",
            "Memory operations a second, by the memory's library; none: recorded by hand.",
            _RATE,
            g.query(q.total("system", q.rate(*_OPERATIONS)) + " > 0", "{{system}}"),
            span=12,
            stack=True,
            absent=_IDLE,
        ),
        g.graph(
            "Not succeeded, by system",
            "Operations a second that ended in FAILURE or PARTIAL, by the memory's library.",
            _RATE,
            g.query(_failed("system"), "{{system}}"),
            span=12,
            stack=True,
            absent=_IDLE,
            runbook=_BUDGET,
        ),
    ]


def _entries() -> list[Any]:
    running = q.happened("operation", q.select(q.IN_PROGRESS), q.increase(*_OPERATIONS))
    return [
        g.graph(
            "Entries by operation",
            "Memory entries a second: stored by STORE, returned by RECALL, deleted by FORGET,"
            " and so on.",
            "entries/s",
            g.query(q.total("operation", q.rate(q.ENTRIES)) + " > 0", "{{operation}}"),
            span=12,
            absent=_IDLE,
        ),
        g.graph(
            "In progress by operation",
            "Operations that run at the moment of a scrape.",
            "operations",
            g.query(running, "{{operation}}"),
            span=12,
            stack=True,
            soft_max=5,
            absent="no process",
        ),
    ]


def _instances() -> list[Any]:
    failed = q.total("instance", q.increase(*_OPERATIONS, q.FAILED))
    every = q.total("instance", q.increase(*_OPERATIONS))
    buckets = q.total("instance, le", q.increase(q.BUCKETS))
    return [
        g.bars(
            "Busiest instances",
            "Operations in the shown time: the ten instances with most.",
            "short",
            g.query(f"topk(10, round({every}))", "{{instance}}"),
            absent=_IDLE,
        ),
        g.bars(
            "Instances that fail most",
            "Share of operations in the shown time that did not succeed: the ten worst instances.",
            "percentunit",
            g.query(f"topk(10, {q.share(failed, every)})", "{{instance}}"),
            steps=((None, g.GOOD), (1 - OBJECTIVES.success, g.WARN), (0.05, g.BAD)),
            absent=_IDLE,
            runbook=_BUDGET,
        ),
        g.bars(
            "Slowest instances",
            "95 of 100 operations in the shown time were faster: the ten slowest instances.",
            "s",
            g.query(f"topk(10, histogram_quantile(0.95, {buckets}) >= 0)", "{{instance}}"),
            steps=((None, g.GOOD), (_SLOW / 2, g.WARN), (_SLOW, g.BAD)),
            absent=_IDLE,
            runbook=_LATENCY,
        ),
    ]


def build() -> str:
    """The dashboard as JSON."""
    return g.page(
        "axon-memory-overview",
        "Axon / Memory overview",
        "Traffic, errors and latency of memory operations.",
        [*TRAILS, SYSTEM],
        {
            "Now": _summary(),
            "Traffic and errors": _traffic(),
            "Objectives": _objectives(),
            "Latency": _latency(),
            "Memory systems": _systems(),
            "Entries and concurrency": _entries(),
            "Instances": _instances(),
        },
    )
