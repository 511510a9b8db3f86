"""The parts that queries of panels and rules are made of; metric names come from the package."""

from __future__ import annotations

from datetime import timedelta

from axon_audit_otel.core import semconv

OPERATIONS = f"{semconv.METRIC_OPERATIONS}_total"
DURATION = semconv.METRIC_DURATION
BUCKETS = f"{DURATION}_bucket"
DURATIONS = f"{DURATION}_count"
IN_PROGRESS = semconv.METRIC_IN_PROGRESS
ENTRIES = f"{semconv.METRIC_ENTRIES}_total"
FINDINGS = f"{semconv.METRIC_FINDINGS}_total"
BUFFER = semconv.METRIC_BUFFER_EVENTS
CAPACITY = semconv.METRIC_BUFFER_CAPACITY
EVICTED = f"{semconv.METRIC_EVICTED}_total"
EXPORTED = f"{semconv.METRIC_EXPORTED}_total"
FAILURES = f"{semconv.METRIC_FAILURES}_total"
LAST_SEAL = semconv.METRIC_LAST_SEAL
JOURNAL_LAG = semconv.METRIC_JOURNAL_LAG
JOURNAL_START = semconv.METRIC_JOURNAL_START
PII = f"{semconv.METRIC_PII}_total"
SHIPPED = f"{semconv.METRIC_SHIPPED}_total"
SHIPPING_DROPPED = f"{semconv.METRIC_SHIPPING_DROPPED}_total"
SHIPPING_LAG = semconv.METRIC_SHIPPING_LAG

#: An operation that did not do all it should.
FAILED = 'status!="SUCCESS"'
#: What the application did; AUDIT is what a trail says of itself.
OF_MEMORY = 'operation!="AUDIT"'

#: Where a process runs, in as far as scrapes say it: *All* selects what has no such label, too.
PLACE = ('cluster=~"$cluster"', 'namespace=~"$namespace"')
#: What the variables of a dashboard select.
_VARIABLES = (*PLACE, 'job=~"$job"', 'instance=~"$instance"', 'trail=~"$trail"')
#: The same of metrics that tell memory systems apart.
_SYSTEM = 'system=~"$system"'
_OF_SYSTEMS = {OPERATIONS, BUCKETS, DURATIONS, IN_PROGRESS, ENTRIES}


def select(metric: str, *matchers: str, every_system: bool = False) -> str:
    """The series of *metric* that the dashboard's variables select."""
    system = (_SYSTEM,) if metric in _OF_SYSTEMS and not every_system else ()
    return f"{metric}{{{','.join((*_VARIABLES, *system, *matchers))}}}"


def rate(metric: str, *matchers: str, every_system: bool = False) -> str:
    """Its increase a second."""
    return f"rate({select(metric, *matchers, every_system=every_system)}[$__rate_interval])"


def increase(metric: str, *matchers: str, over: str = "$__range") -> str:
    """Its increase, by default over the time that the dashboard shows."""
    return f"increase({select(metric, *matchers)}[{over}])"


def total(by: str, expression: str) -> str:
    """The sum over everything but the labels *by*."""
    return f"sum by ({by}) ({expression})" if by else f"sum({expression})"


def happened(by: str, now: str, ever: str) -> str:
    """`total` of *now* by *by*, of those of which there was something *ever*.

    Where there was nothing of any, a series "nothing" at 0: that is not "no data".
    """
    nothing = f'label_replace({total("", ever)} == 0, "{by}", "nothing", "", "")'
    return f"{total(by, now)} and on ({by}) {total(by, ever)} > 0 or {nothing}"


def share(part: str, whole: str) -> str:
    """*part* of *whole*; nothing where there is no whole."""
    return f"{part} / ({whole} > 0)"


def quantile(q: float, by: str) -> str:
    """The *q*-quantile of durations, in seconds."""
    labels = ", ".join(filter(None, (by, "le")))
    return f"histogram_quantile({q}, {total(labels, rate(BUCKETS))})"


def duration(value: timedelta) -> str:
    """As PromQL writes it: ``15m``, ``24h``, ``3d``."""
    seconds = round(value.total_seconds())
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        if seconds % size == 0 and (unit != "d" or seconds > size):
            return f"{seconds // size}{unit}"
    return f"{seconds}s"
