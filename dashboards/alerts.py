"""Alerting rules: each with a severity, and words that carry the value and what to do.

``critical`` wakes somebody, ``warning`` is for the next working day, ``info`` is to be known.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from axon_audit_otel.alerts.rules import DEFAULT_RULES, Rule
from axon_audit_otel.events.findings import FINDINGS

from . import promql as q
from .objectives import BurnRate, Objectives
from .recording import Names


def _alert(
    objectives: Objectives,
    name: str,
    expression: str,
    severity: str,
    summary: str,
    description: str,
    *,
    hold: timedelta = timedelta(0),
    keep: timedelta = timedelta(0),
    **labels: str,
) -> dict[str, Any]:
    return {
        "alert": name,
        "expr": expression,
        **({"for": q.duration(hold)} if hold else {}),
        **({"keep_firing_for": q.duration(keep)} if keep else {}),
        "labels": {"severity": severity, **labels},
        "annotations": {
            "summary": summary,
            "description": description,
            "runbook_url": f"{objectives.runbook}#{name.lower()}",
        },
    }


_OF_TRAIL = "of trail {{ $labels.trail }} in job {{ $labels.job }}"
_COUNT = '{{ $value | printf "%.0f" }}'  # increases are extrapolated to fractions

# --- objectives ------------------------------------------------------------------------------


def _burning(objectives: Objectives, what: str, burn: BurnRate) -> str:
    """Both windows spend the budget too fast, and it is more than a handful."""
    names = Names(objectives)
    allowed = 1 - (objectives.success if what == "failed" else objectives.latency_share)
    limit = f"{burn.factor * allowed:.6g}"
    many = f"sum_over_time({names.rate(what)}[{q.duration(burn.long)}])"
    step = f"{objectives.interval.total_seconds():g}"
    return (
        f"{names.ratio(what, burn.long)} > {limit}\n"
        f"and {names.ratio(what, burn.short)} > {limit}\n"
        f"and {many} * {step} >= {objectives.least_failures}\n"
    )


def _slo(objectives: Objectives) -> list[dict[str, Any]]:
    rules = []
    for burn in objectives.burn_rates:
        window = q.duration(burn.long)
        period = q.duration(objectives.period)
        lasts = q.duration(objectives.period / burn.factor)
        spent = f"at this rate the budget of {period} lasts {lasts}"
        rules.append(
            _alert(
                objectives,
                "AxonMemoryErrorBudgetBurn",
                _burning(objectives, "failed", burn),
                burn.severity,
                f"Memory operations fail: {spent}",
                f"{{{{ $value | humanizePercentage }}}} of the operations {_OF_TRAIL} did not"
                f" succeed in the last {window}; {1 - objectives.success:.2%} are allowed.",
                hold=burn.hold,
                keep=objectives.calm,
                window=window,
            )
        )
        rules.append(
            _alert(
                objectives,
                "AxonMemoryLatencyBudgetBurn",
                _burning(objectives, "slow", burn),
                burn.severity,
                f"Memory operations are slow: {spent}",
                f"{{{{ $value | humanizePercentage }}}} of STORE, RECALL and FORGET {_OF_TRAIL}"
                f" took over {objectives.latency_seconds:g} s in the last {window};"
                f" {1 - objectives.latency_share:.2%} may.",
                hold=burn.hold,
                keep=objectives.calm,
                window=window,
            )
        )
    return sorted(rules, key=lambda rule: str(rule["alert"]))


# --- security --------------------------------------------------------------------------------


def counted(rule: Rule) -> tuple[str, ...]:
    """The metric that has what *rule* counts, and matchers for its labels."""
    assert rule.counting == "events" or not rule.statuses  # entries have no status
    assert rule.system is None  # our rules sum over systems
    if rule.counting in FINDINGS:
        assert not rule.operations
        return q.FINDINGS, f'kind="{rule.counting}"'
    matchers = [q.OPERATIONS if rule.counting == "events" else q.ENTRIES]
    for label, members in (("operation", rule.operations), ("status", rule.statuses)):
        if members:
            names = "|".join(sorted(member.value for member in members))
            matchers.append(f'{label}=~"{names}"' if "|" in names else f'{label}="{names}"')
    return tuple(matchers)


_FOUND = {
    "altered": "entries with another content than was recorded",
    "resurrected": "entries that are back after they were deleted",
    "derived_remaining": "living entries made of what a FORGET deleted",
}


def _counted(rule: Rule) -> str:
    """The same in words."""
    operations = " or ".join(sorted(member.value for member in rule.operations))
    if rule.counting == "deleted":
        return f"entries deleted by {operations}"
    if rule.counting in FINDINGS:
        return _FOUND[rule.counting]
    statuses = " or ".join(sorted(member.value for member in rule.statuses))
    ended = f" that ended in {statuses}" if statuses else ""
    return f"{operations} operations{ended}".strip()


def alert_name(rule: Rule) -> str:
    """What Prometheus calls the alert of *rule*: ``AxonExcessiveDeletions``."""
    return "Axon" + "".join(word.capitalize() for word in rule.name.split("_"))


def _too_many(objectives: Objectives, rule: Rule, window: str) -> str:
    """More than the rule allows in its window; where it allows none, also in a process that had
    counted one before it was first scraped."""
    metric, *matchers = counted(rule)
    selected = f"{metric}{{{','.join(matchers)}}}"
    # increase() extrapolates to fractions; what is counted are whole ones. The less
    # it has seen, the more it adds: a process that just began is given a moment.
    many = f"round(sum by (job, trail) (increase({selected}[{window}]))) > {rule.over}"
    if rule.over:
        return many
    known = f"last_over_time({selected}[{q.duration(objectives.day)}] offset {window})"
    return f"{many}\nor\nsum by (job, trail) ({selected} unless {known}) > 0\n"


def _security(objectives: Objectives) -> list[dict[str, Any]]:
    """The rules of `SecurityMonitor`, but for those by user: users are no labels."""
    rules = []
    for rule in DEFAULT_RULES:
        if rule.per_user:
            continue
        window = q.duration(rule.window * objectives.scale)
        usual = f"more than {rule.over} are unusual" if rule.over else "there should be none"
        rules.append(
            _alert(
                objectives,
                alert_name(rule),
                _too_many(objectives, rule, window),
                rule.severity,
                f"{rule.summary.rstrip('.')} in trail {{{{ $labels.trail }}}}",
                f"{{{{ $value }}}} {_counted(rule)} in the last {window} (trail"
                f" {{{{ $labels.trail }}}}, job {{{{ $labels.job }}}}); {usual}.",
                hold=4 * objectives.interval if rule.over else timedelta(0),
                category="security",
            )
        )
    return rules


# --- the trail itself ------------------------------------------------------------------------


def _trail(objectives: Objectives) -> list[dict[str, Any]]:
    recent, unit = q.duration(3 * objectives.unit), q.duration(objectives.unit)
    failed = "sum by (job, trail, stage) (increase({selected}[{over}])) > 0"
    recording = f'{q.FAILURES}{{stage=~"record|journal|commit"}}'
    evicted = f"increase({q.EVICTED}[{recent}])"
    # Only a trail with an archive has this gauge; a process that ended has it no more.
    with_archive = f"on (job, instance, trail) last_over_time({q.JOURNAL_LAG}[{recent}])"
    overdue = objectives.seal_overdue
    return [
        _alert(
            objectives,
            "AxonAuditFailures",
            # A collector that is away has alerts of its own, which wait for it.
            failed.format(selected=f'{q.FAILURES}{{stage!="ship"}}', over=recent),
            "warning",
            "The audit trail had failures: {{ $labels.stage }}",
            f"{_COUNT} failures in stage {{{{ $labels.stage }}}} {_OF_TRAIL} in the last {recent}.",
        ),
        _alert(
            objectives,
            "AxonAuditFailures",
            failed.format(selected=recording, over=unit),
            "critical",
            "The audit trail keeps failing: {{ $labels.stage }}",
            f"{_COUNT} failures in stage {{{{ $labels.stage }}}} {_OF_TRAIL} in"
            f" the last {unit}, and it goes on: events are in memory only, or not recorded.",
            hold=2 * objectives.unit,
        ),
        _alert(
            objectives,
            "AxonAuditEventsEvicted",
            f"sum by (job, trail) ({evicted} and {with_archive}) > 0",
            "critical",
            "Audit events were lost: memory was full before they were in a file",
            f"{_COUNT} events {_OF_TRAIL} left memory in the last {recent}"
            " without being in a file, although there is an archive. The archive does not keep up,"
            " or cannot be written.",
        ),
        _alert(
            objectives,
            "AxonAuditEventsEvicted",
            f"sum by (job, trail) ({evicted} unless {with_archive}) > 0",
            "info",
            "Audit events leave memory, and there is no archive",
            f"{_COUNT} events {_OF_TRAIL} left memory in the last {recent}. This"
            " trail has no archive: what was not shipped is gone.",
        ),
        _alert(
            objectives,
            "AxonAuditSealOverdue",
            f"max by (job, instance, trail) (time() - ({q.JOURNAL_START} > 0))"
            f" > {overdue.total_seconds():g}",
            "warning",
            "Audit events wait too long for a sealed file",
            f"The oldest unsealed event {_OF_TRAIL} on {{{{ $labels.instance }}}} is"
            f" {{{{ $value | humanizeDuration }}}} old; {q.duration(overdue)} are allowed.",
            hold=objectives.unit,
        ),
        _alert(
            objectives,
            "AxonAuditShippingStalled",
            f"sum by (job, trail) (min_over_time({q.SHIPPING_LAG}[{recent}])"
            f" unless increase({q.SHIPPED}[{recent}]) > 0) > 0",
            "warning",
            "Audit events are not acknowledged by any collector",
            f"{{{{ $value }}}} events {_OF_TRAIL} wait to be shipped, and none was acknowledged in"
            f" the last {recent}. They are kept in the archive.",
            hold=objectives.unit,
        ),
        _alert(
            objectives,
            "AxonAuditShippingDropped",
            f"sum by (job, trail, reason) (increase({q.SHIPPING_DROPPED}[{recent}])) > 0",
            "warning",
            "Audit events were not shipped: {{ $labels.reason }}",
            f"{_COUNT} events {_OF_TRAIL} were given up in the last {recent}"
            " ({{ $labels.reason }}). Those in the archive can be sent again.",
        ),
    ]


# --- presence --------------------------------------------------------------------------------


def _presence(objectives: Objectives) -> list[dict[str, Any]]:
    names, busy = Names(objectives), f"{objectives.busy:.6g}"
    day, memory = q.duration(objectives.day), q.duration(objectives.day)
    week, silence = q.duration(7 * objectives.day), q.duration(objectives.silence)
    known = f"group by (job, instance) (last_over_time({q.CAPACITY}[{memory}]))"
    down = f"up == 0 and on (job, instance) {known}"
    # A week ago it was the same weekday: what was quiet then is a night or a weekend, and how
    # yesterday was says nothing. Yesterday, and the last hours, stand in for a week not yet known.
    quiet = (
        f"{names.traffic} == 0\n"
        f"and (\n"
        f"  {names.traffic} offset {week} > {busy}\n"
        f"  or\n"
        f"  ({names.traffic} offset {day} > {busy} unless {names.traffic} offset {week})\n"
        f"  or\n"
        f"  (avg_over_time({names.rate()}[{q.duration(4 * objectives.silence)}]) > {busy}"
        f" unless {names.traffic} offset {day} unless {names.traffic} offset {week})\n"
        f")\n"
    )
    return [
        _alert(
            objectives,
            "AxonTargetDown",
            f"max by (job, instance) ({down}) == 0",
            "warning",
            "{{ $labels.instance }} cannot be scraped",
            "Prometheus gets no metrics from {{ $labels.instance }} of job {{ $labels.job }},"
            f" which reported an audit trail in the last {memory}.",
            hold=objectives.unit,
        ),
        _alert(
            objectives,
            "AxonTargetDown",
            f"count by (job) ({down}) / count by (job) (up and on (job, instance) {known}) >= 0.5",
            "critical",
            "Half of job {{ $labels.job }} or more cannot be scraped",
            "Prometheus gets no metrics from {{ $value | humanizePercentage }} of the instances of"
            f" job {{{{ $labels.job }}}} that reported an audit trail in the last {memory}.",
            hold=objectives.unit,
        ),
        _alert(
            objectives,
            "AxonAuditAbsent",
            f"group by (job) (last_over_time({q.CAPACITY}[{memory}]))\n"
            f"unless group by (job) ({q.CAPACITY})\n",
            "warning",
            "Job {{ $labels.job }} reports no audit trail any more",
            f"In the last {memory} job {{{{ $labels.job }}}} reported an audit trail, now none of"
            " its targets does: the targets are gone, or run without the audit.",
            hold=3 * objectives.unit,
        ),
        _alert(
            objectives,
            "AxonNoTraffic",
            quiet,
            "warning",
            "No memory operation for {{ $labels.trail }}",
            f"There was no operation {_OF_TRAIL} in the last {silence}, but there was at this time"
            " a week ago (yesterday, or until now, if the trail is not that old).",
            hold=objectives.unit,
        ),
    ]


def groups(objectives: Objectives) -> list[dict[str, Any]]:
    """The groups of alerting rules."""
    interval = q.duration(objectives.interval)
    slow = q.duration(2 * objectives.interval)
    return [
        {"name": "axon-memory-objectives", "interval": interval, "rules": _slo(objectives)},
        {"name": "axon-memory-security", "interval": slow, "rules": _security(objectives)},
        {"name": "axon-audit-trail", "interval": interval, "rules": _trail(objectives)},
        {"name": "axon-presence", "interval": slow, "rules": _presence(objectives)},
    ]
