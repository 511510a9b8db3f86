"""*Security and compliance*: who deletes, exports and fails, and the events themselves."""

from __future__ import annotations

from typing import Any

from axon_audit_otel.alerts.rules import DEFAULT_RULES, Rule
from axon_audit_otel.events.findings import FINDINGS

from . import grafana as g
from . import promql as q
from .alerts import counted
from .variables import SYSTEM, TRAILS

_STREAM = (  # lines that name no system are of any: what a trail says of itself
    '{service_name=~"$service"} | axon_audit_trail=~"$trail" | user_id=~"$user"'
    ' | axon_system=~"$system|"'
)
_TITLES = {
    "excessive_deletions": ("Deletions", "Entries deleted by FORGET"),
    "repeated_failures": ("Failed operations", "Operations that ended in FAILURE"),
    "unusual_exports": ("Exports", "EXPORT operations"),
    "altered_entry": ("Altered entries", "Entries whose content was not the newest recorded"),
    "forgotten_entry_seen": (
        "Resurrected entries",
        "Entries seen after they were deleted, or again without having been stored",
    ),
    "incomplete_forget": (
        "Derived entries left",
        "Living entries that were made of what a FORGET deleted",
    ),
}


def _rule(rule: Rule, span: int = 4) -> Any:
    title, what = _TITLES[rule.name]
    window = q.duration(rule.window)
    near = ((rule.over * 0.75, g.YELLOW),) if rule.over else ()
    series = q.total("job, trail", q.increase(*counted(rule), over=window))
    return g.number(
        f"{title}, {window}",
        f"{what} in the last {window}, in the trail with most."
        f" {f'More than {rule.over} are' if rule.over else 'Any is'} an alert.",
        "short",
        g.query(f"max(round({series}))"),
        span=span,
        steps=((None, g.GREEN), *near, (rule.over + 1, g.RED)),
    )


_RULES = [rule for rule in DEFAULT_RULES if not rule.per_user]


def _thresholds() -> list[Any]:
    return [
        *(_rule(rule) for rule in _RULES if rule.counting not in FINDINGS),
        g.number(
            "Partial outcomes, 1h",
            "Operations of the last hour of which a part failed, or that changed memory and then"
            " raised.",
            "short",
            g.query(f"round({q.total('', q.increase(q.OPERATIONS, *_PARTIAL, over='1h'))})"),
            steps=((None, g.GREEN), (1, g.YELLOW)),
        ),
        g.number(
            "Entries deleted",
            "Memory entries that FORGET deleted in the shown time; one can delete many.",
            "short",
            g.query(f"round({q.total('', q.increase(q.ENTRIES, _FORGET))})"),
        ),
        g.number(
            "Personal data replaced",
            "Emails, phone and card numbers, secrets and the like that would have been recorded in"
            " the shown time, and were replaced.",
            "short",
            g.query(f"round({q.total('', q.increase(q.PII))})"),
            steps=((None, g.GREEN), (1, g.YELLOW)),
        ),
    ]


_FORGET, _EXPORT = 'operation="FORGET"', 'operation="EXPORT"'
_PARTIAL = q.OF_MEMORY, 'status="PARTIAL"'


def _by_status(*matchers: str) -> str:
    return q.total("status", q.increase(q.OPERATIONS, *matchers, over="$__rate_interval"))


def _activity() -> list[Any]:
    failed = q.increase(q.OPERATIONS, q.FAILED, over="$__rate_interval")
    deleted = q.total("trail", q.increase(q.ENTRIES, _FORGET, over="$__rate_interval"))
    return [
        g.graph(
            "Deletions",
            "Memory entries that FORGET deleted an interval, by trail; not calls of it.",
            "short",
            g.query(deleted, "{{trail}}"),
            stack=True,
        ),
        g.graph(
            "Exports",
            "EXPORT operations an interval, by outcome.",
            "short",
            g.query(_by_status(_EXPORT), "{{status}}"),
            stack=True,
        ),
        g.graph(
            "Failed and partial outcomes",
            "Operations an interval that did not succeed, by operation.",
            "short",
            g.query(q.nonzero("operation, status", "status", failed), "{{operation}} {{status}}"),
            stack=True,
        ),
    ]


def _entries() -> list[Any]:
    """What no entry should be."""
    return [_rule(rule, span=8) for rule in _RULES if rule.counting in FINDINGS]


def _data() -> list[Any]:
    moved = q.total(
        "operation",
        q.increase(q.ENTRIES, 'operation=~"FORGET|EXPORT|IMPORT"', over="$__rate_interval"),
    )
    found = q.increase(q.FINDINGS, over="$__rate_interval")
    return [
        g.graph(
            "Entries deleted, exported, imported",
            "Memory entries an interval: how much data was moved, whatever the number of"
            " operations.",
            "short",
            g.query(moved, "{{operation}}"),
        ),
        g.graph(
            "Entries that need attention",
            "Altered, resurrected and remaining entries an interval, each time that one is seen.",
            "short",
            g.query(q.total("kind", found), "{{kind}}"),
            stack=True,
            soft_max=1,
        ),
        g.graph(
            "Personal data replaced, by kind",
            "What redaction found in texts and metadata that were recorded.",
            "short",
            g.query(q.total("kind", q.increase(q.PII, over="$__rate_interval")), "{{kind}}"),
            stack=True,
            soft_max=1,
        ),
    ]


def _events() -> list[Any]:
    notable = '| axon_operation=~"FORGET|EXPORT|IMPORT" or axon_status!="SUCCESS"'
    short = (
        "{{.axon_operation}} {{.axon_status}} system={{.axon_system}}"
        " store={{.gen_ai_memory_store_id}} user={{.user_id}} session={{.session_id}}"
        " subject={{.axon_subject_id}} entry={{.audit_target_id}} error={{.error_type}}"
        " event={{.log_record_uid}}"
    )
    return [
        g.lines(
            "Deletions, exports, imports and whatever did not succeed",
            "The audit events that matter most, from Loki, one line each. Open a line for all its"
            " fields; trace_id opens the trace in Tempo. Lines that name no memory system are shown"
            " whichever is selected.",
            g.stream(f"{_STREAM} {notable} | line_format `{short}`"),
        ),
        g.lines(
            "Every audit event",
            "The events as they were recorded: canonical JSON, chained by hash. Those that name no"
            " memory system are shown whichever is selected.",
            g.stream(_STREAM),
        ),
    ]


def build() -> str:
    """The dashboard as JSON."""
    variables = [
        *TRAILS,
        SYSTEM,
        g.source("loki", "Logs", "loki"),
        g.log_choice("service", "Service", "The service.name of the log records.", "service_name"),
        g.text("user", "User", "Only events of users that match (a regular expression).", ".*"),
    ]
    return g.page(
        "axon-audit-security",
        "Axon / Security and compliance",
        "Deletions, exports, failures and personal data; the audit events and their traces.",
        variables,
        {
            "As the alerts see it": _thresholds(),
            "What no entry should be": _entries(),
            "Activity": _activity(),
            "Data": _data(),
            "Audit events": _events(),
        },
    )
