"""The numbers that the dashboards and rules go by. Change them here and generate anew."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta


@dataclass(frozen=True)
class BurnRate:
    """An alert that fires when the error budget is spent *factor* times too fast.

    Both windows must agree: the long one says that it matters, the short one that it still
    goes on (https://sre.google/workbook/alerting-on-slos/).
    """

    severity: str
    factor: float
    short: timedelta
    long: timedelta
    hold: timedelta


def _burn_rates() -> tuple[BurnRate, ...]:
    minutes, hours, days = (
        (lambda n: timedelta(minutes=n)),
        (lambda n: timedelta(hours=n)),
        timedelta,
    )
    return (
        BurnRate("critical", 14.4, minutes(5), hours(1), minutes(2)),  # 2 % of 30 days in 1 h
        BurnRate("critical", 6, minutes(30), hours(6), minutes(15)),  # 5 % in 6 h
        BurnRate("warning", 3, hours(2), days(1), hours(1)),  # 10 % in 1 d
        BurnRate("warning", 1, hours(6), days(3), hours(3)),  # 10 % in 3 d
    )


@dataclass(frozen=True)
class Objectives:
    """What is promised, and when somebody is told.

    Attributes:
        success: Share of operations that end in SUCCESS.
        latency_seconds: STORE, RECALL and FORGET are to be faster; a bucket's bound.
        latency_share: Share of them that must be.
        period: What the error budget is of.
        burn_rates: When it is spent too fast.
        least_failures: Fewer in a burn rate's long window are no alert: one failed
            operation in a quiet night is no incident.
        unit: The shortest rate; 5 minutes. Tests shorten it, and with it all windows.
        interval: How often the rules are evaluated.
        seal_overdue: Age of an event in no sealed file that is too old.
        busy: Operations a second that count as traffic.
    """

    success: float = 0.995
    latency_seconds: float = 1.0
    latency_share: float = 0.99
    period: timedelta = timedelta(days=30)
    burn_rates: tuple[BurnRate, ...] = field(default_factory=_burn_rates)
    least_failures: int = 10
    unit: timedelta = timedelta(minutes=5)
    interval: timedelta = timedelta(seconds=30)
    seal_overdue: timedelta = timedelta(hours=26)
    busy: float = 1 / 60


OBJECTIVES = Objectives()
