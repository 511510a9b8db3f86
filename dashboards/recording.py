"""Recording rules: rates by trail, and shares of the error budgets over every window.

All windows but the shortest are sums of the recorded short rates: a trail costs the same with
one instance as with two hundred, and 30 days cost a query over two series.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from .objectives import OBJECTIVES, Objectives
from .promql import BUCKETS, DURATION, FAILED, OF_MEMORY, OPERATIONS, duration

#: What somebody waits for. A COMPACT may ask a language model, an EXPORT may read everything.
_AWAITED = 'operation=~"STORE|RECALL|FORGET"'


@dataclass(frozen=True)
class Names:
    """The recorded series, all by ``job`` and ``trail``."""

    objectives: Objectives

    def rate(self, what: str = "") -> str:
        """Operations a second: all, or those that were ``failed``, ``awaited``, ``slow``."""
        suffix = f"_{what}" if what else ""
        unit = duration(self.objectives.unit)
        return f"job_trail:axon_memory_operations{suffix}:rate{unit}"

    def ratio(self, what: str, window: timedelta) -> str:
        """Share of operations that were ``failed`` or ``slow``."""
        return f"job_trail:axon_memory_operations_{what}:ratio_rate{duration(window)}"

    @property
    def traffic(self) -> str:
        """Operations a second, over the window in which silence is noticed."""
        return f"job_trail:axon_memory_operations:rate{duration(self.objectives.silence)}"

    @property
    def budget_left(self) -> str:
        """What is left of the failures that the objective allows: 1 all, 0 none."""
        return f"job_trail:axon_memory_error_budget_left:ratio{duration(self.objectives.period)}"


BUDGET_LEFT = Names(OBJECTIVES).budget_left


def _record(name: str, expression: str) -> dict[str, Any]:
    return {"record": name, "expr": expression}


def _bound(seconds: float) -> str:
    """A matcher for the bucket up to *seconds*, however its bound is written (1, 1.0)."""
    plain = f"{seconds:g}"
    dotted = f"{float(seconds)!r}".replace(".", "\\\\.")
    return f'le=~"{plain.replace(".", chr(92) * 2 + ".")}|{dotted}"'


def _rates(names: Names) -> list[dict[str, Any]]:
    unit = duration(names.objectives.unit)

    def rate(metric: str, *matchers: str) -> str:
        selected = f"{metric}{{{','.join(matchers)}}}" if matchers else metric
        return f"sum by (job, trail) (rate({selected}[{unit}]))"

    fast = rate(BUCKETS, _AWAITED, _bound(names.objectives.latency_seconds))
    return [
        _record(names.rate(), rate(OPERATIONS, OF_MEMORY)),
        _record(names.rate("failed"), rate(OPERATIONS, OF_MEMORY, FAILED)),
        _record(names.rate("awaited"), rate(f"{DURATION}_count", _AWAITED)),
        _record(names.rate("slow"), f"clamp_min({names.rate('awaited')} - {fast}, 0)"),
        _record(
            names.traffic,
            f"avg_over_time({names.rate()}[{duration(names.objectives.silence)}])",
        ),
    ]


def _ratio(names: Names, what: str, window: timedelta) -> dict[str, Any]:
    part, whole = names.rate(what), names.rate("awaited" if what == "slow" else "")
    if window > names.objectives.unit:
        part, whole = (f"sum_over_time({s}[{duration(window)}])" for s in (part, whole))
    return _record(names.ratio(what, window), f"{part} / ({whole} > 0)")


def groups(objectives: Objectives) -> list[dict[str, Any]]:
    """The groups of recording rules."""
    names = Names(objectives)
    windows = sorted({w for burn in objectives.burn_rates for w in (burn.short, burn.long)})
    ratios = [_ratio(names, what, window) for what in ("failed", "slow") for window in windows]
    left = f"1 - {names.ratio('failed', objectives.period)} / {1 - objectives.success:.6g}"
    return [
        {
            "name": "axon-memory-rates",
            "interval": duration(objectives.interval),
            "rules": [*_rates(names), *ratios],
        },
        {
            "name": "axon-memory-budget",
            "interval": duration(objectives.interval * 4),
            "rules": [
                _ratio(names, "failed", objectives.period),
                _record(names.budget_left, left),
            ],
        },
    ]
