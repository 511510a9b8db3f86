"""The numbers that the dashboards and rules go by. Change them here and generate anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
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


def _minutes(number: float) -> timedelta:
    return timedelta(minutes=number)


def _hours(number: float) -> timedelta:
    return timedelta(hours=number)


@dataclass(frozen=True)
class Objectives:
    """What is promised, and when somebody is told.

    Attributes:
        success: Share of operations that end in SUCCESS.
        latency_seconds: STORE, RECALL and FORGET are to be faster; a bucket's bound.
        latency_share: Share of them that must be.
        period: What the error budget is of.
        burn_rates: When it is spent too fast.
        calm: An alert about a burn rate ends when it was below for so long: in little
            traffic the short window is now and then empty.
        least_failures: Fewer in a burn rate's long window are no alert: one failed
            operation in a quiet night is no incident.
        unit: The window of the shortest rates.
        interval: How often rules are evaluated.
        seal_overdue: Age of an event in no sealed file that is too old.
        silence: So long without an operation is no traffic.
        busy: Operations a second that count as traffic.
        day: How long a target is remembered, and where silence is compared with.
        runbook: Address of your copy of ``runbook.md``.
        scale: What all windows were multiplied with.
    """

    success: float = 0.995
    latency_seconds: float = 1.0
    latency_share: float = 0.99
    period: timedelta = timedelta(days=30)
    burn_rates: tuple[BurnRate, ...] = (
        BurnRate("critical", 14.4, _minutes(5), _hours(1), _minutes(2)),  # 2 % of 30 d in 1 h
        BurnRate("critical", 6, _minutes(30), _hours(6), _minutes(15)),  # 5 % in 6 h
        BurnRate("warning", 3, _hours(2), _hours(24), _hours(1)),  # 10 % in 1 d
        BurnRate("warning", 1, _hours(6), _hours(72), _hours(3)),  # 10 % in 3 d
    )
    calm: timedelta = _minutes(10)
    least_failures: int = 10
    unit: timedelta = _minutes(5)
    interval: timedelta = timedelta(seconds=30)
    seal_overdue: timedelta = _hours(26)
    silence: timedelta = _minutes(30)
    busy: float = 1 / 60
    day: timedelta = _hours(24)
    runbook: str = "https://runbooks.example.com/axon-audit-otel/dashboards/runbook.md"
    scale: float = 1.0

    def scaled(self, factor: float) -> Objectives:
        """The same with every window *factor* times as long; no shorter than a second."""

        def window(value: timedelta) -> timedelta:
            return timedelta(seconds=max(1, round(value.total_seconds() * factor)))

        burn_rates = tuple(
            replace(b, short=window(b.short), long=window(b.long), hold=window(b.hold))
            for b in self.burn_rates
        )
        return replace(
            self,
            scale=self.scale * factor,
            burn_rates=burn_rates,
            calm=window(self.calm),
            period=window(self.period),
            unit=window(self.unit),
            interval=window(self.interval),
            seal_overdue=window(self.seal_overdue),
            silence=window(self.silence),
            day=window(self.day),
        )


OBJECTIVES = Objectives()
