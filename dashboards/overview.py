"""*Memory overview*: what the memory does, how well and how fast."""

from __future__ import annotations

from typing import Any

from . import grafana as g
from . import promql as q
from .objectives import OBJECTIVES
from .recording import BUDGET_LEFT
from .variables import SYSTEM, TRAILS

_OPERATIONS = q.OPERATIONS, q.OF_MEMORY


def _budget() -> str:
    """The recorded budget of 30 days; without the rules, that of the shown time."""
    allowed = f"{1 - OBJECTIVES.success:.6g}"
    failed = q.total("job, trail", q.increase(*_OPERATIONS, q.FAILED))
    every = q.total("job, trail", q.increase(*_OPERATIONS))
    recorded = f'{BUDGET_LEFT}{{job=~"$job",trail=~"$trail"}}'
    return f"min({recorded} or (1 - {q.share(failed, every)} / {allowed}))"


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
    slow = OBJECTIVES.latency_seconds
    return [
        g.number(
            "Operations",
            "Memory operations a second, of everything selected.",
            "ops",
            g.query(q.total("", q.rate(*_OPERATIONS))),
        ),
        g.number(
            "Success rate",
            "Share of operations in the shown time that ended in SUCCESS. PARTIAL counts as"
            f" not succeeded. The objective is {success:.2%}.",
            "percentunit",
            g.query(_success("$__range")),
            steps=((None, g.RED), (success - 0.01, g.YELLOW), (success, g.GREEN)),
            decimals=2,
            absent="no traffic",
        ),
        g.number(
            "Error budget left",
            f"What is left of the failures that the objective of {success:.2%} allows, in the"
            " trail that has least: over 30 days where the recording rules are loaded (all"
            " instances and systems), else over the shown time. Below 0: the objective is missed.",
            "percentunit",
            g.query(_budget()),
            steps=((None, g.RED), (0, g.YELLOW), (0.25, g.GREEN)),
            decimals=1,
            absent="no traffic",
        ),
        g.number(
            "Latency p95",
            "95 of 100 operations are faster. All operations together, over the last interval.",
            "s",
            g.query(q.quantile(0.95, "") + " >= 0"),  # without traffic it is NaN
            steps=((None, g.GREEN), (slow / 2, g.YELLOW), (slow, g.RED)),
            absent="no traffic",
        ),
        g.number(
            "In progress",
            "Operations that run now. A number that only grows is a backend that hangs.",
            "short",
            g.query(q.total("", q.select(q.IN_PROGRESS))),
        ),
        g.number(
            "Processes",
            "Instances that report a trail, of those selected.",
            "short",
            g.query(f"count(group by (job, instance) ({q.select(q.CAPACITY)}))"),
        ),
    ]


def _traffic() -> list[Any]:
    of_failed = q.rate(*_OPERATIONS, q.FAILED)
    failed = q.nonzero("operation, status", "status", of_failed)
    failed_by_system = q.nonzero("system, status", "status", of_failed)
    return [
        g.graph(
            "Traffic by operation",
            "Memory operations a second, stacked.",
            "ops",
            g.query(q.total("operation", q.rate(*_OPERATIONS)) + " > 0", "{{operation}}"),
            stack=True,
        ),
        g.graph(
            "Failed and partial operations",
            "Operations a second that did not end in SUCCESS. PARTIAL: a part failed, or the SDK"
            " passed over a failure.",
            "ops",
            g.query(failed, "{{operation}} {{status}}"),
            stack=True,
        ),
        g.graph(
            "Success rate",
            "Share of operations that ended in SUCCESS; the dashed line is the objective.",
            "percentunit",
            g.query(_success(""), "success"),
            steps=((None, g.RED), (OBJECTIVES.success, g.GREEN)),
            maximum=1,
        ),
        g.graph(
            "Operations by system",
            "Memory operations a second, by the memory's library; none: recorded by hand.",
            "ops",
            g.query(q.total("system", q.rate(*_OPERATIONS)) + " > 0", "{{system}}"),
            span=12,
            stack=True,
        ),
        g.graph(
            "Failed and partial operations by system",
            "Operations a second that did not end in SUCCESS, by the memory's library.",
            "ops",
            g.query(failed_by_system, "{{system}} {{status}}"),
            span=12,
            stack=True,
        ),
    ]


def _latency() -> list[Any]:
    slow = OBJECTIVES.latency_seconds
    panels: list[Any] = [
        g.density(
            "Latency",
            "How many operations took how long. A dot is one operation: click it for its trace.",
            "s",
            g.query(q.total("le", q.rate(q.BUCKETS)), "{{le}}", exemplars=True),
        ),
        g.graph(
            "Latency p50, p95, p99",
            "All operations together; the dashed line is the objective for"
            f" {OBJECTIVES.latency_share:.0%} of STORE, RECALL and FORGET.",
            "s",
            g.query(q.quantile(0.5, ""), "p50"),
            g.query(q.quantile(0.95, ""), "p95"),
            g.query(q.quantile(0.99, ""), "p99", exemplars=True),
            span=12,
            steps=((None, g.GREEN), (slow, g.RED)),
        ),
    ]
    panels += [
        g.graph(
            f"Latency p{round(100 * quantile)} by operation",
            f"{round(100 * quantile)} of 100 operations of that kind are faster."
            " A dot is one operation: click it to open its trace.",
            "s",
            g.query(q.quantile(quantile, "operation"), "{{operation}}", exemplars=True),
        )
        for quantile in (0.5, 0.95, 0.99)
    ]
    return panels


def _entries() -> list[Any]:
    return [
        g.graph(
            "Entries by operation",
            "Memory entries a second: stored by STORE, returned by RECALL, deleted by FORGET,"
            " and so on.",
            "cps",
            g.query(q.total("operation", q.rate(q.ENTRIES)) + " > 0", "{{operation}}"),
            span=12,
        ),
        g.graph(
            "In progress by operation",
            "Operations that run at the moment of a scrape.",
            "short",
            g.query(q.total("operation", q.select(q.IN_PROGRESS)), "{{operation}}"),
            span=12,
            soft_max=5,
        ),
    ]


def _instances() -> list[Any]:
    failed = q.total("instance", q.increase(*_OPERATIONS, q.FAILED))
    every = q.total("instance", q.increase(*_OPERATIONS))
    buckets = q.total("instance, le", q.increase(q.BUCKETS))
    slow = OBJECTIVES.latency_seconds
    return [
        g.bars(
            "Busiest instances",
            "Operations in the shown time: the ten instances with most.",
            "short",
            g.query(f"topk(10, {every})", "{{instance}}"),
        ),
        g.bars(
            "Instances that fail most",
            "Share of operations in the shown time that did not succeed: the ten worst instances.",
            "percentunit",
            g.query(f"topk(10, {q.share(failed, every)})", "{{instance}}"),
            steps=((None, g.GREEN), (1 - OBJECTIVES.success, g.YELLOW), (0.05, g.RED)),
        ),
        g.bars(
            "Slowest instances",
            "95 of 100 operations in the shown time were faster: the ten slowest instances.",
            "s",
            g.query(f"topk(10, histogram_quantile(0.95, {buckets}) >= 0)", "{{instance}}"),
            steps=((None, g.GREEN), (slow / 2, g.YELLOW), (slow, g.RED)),
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
            "Latency": _latency(),
            "Entries and concurrency": _entries(),
            "Instances": _instances(),
        },
    )
