"""*Security and compliance*: who deletes, exports and fails, and the events themselves."""

from __future__ import annotations

from typing import Any

from axon_audit_otel.alerts.rules import DEFAULT_RULES, Rule
from axon_audit_otel.core import semconv
from axon_audit_otel.events.findings import FINDINGS

from . import grafana as g
from . import promql as q
from . import tables
from .alerts import alert_name, counted
from .logstores import LOKI, LogStore
from .variables import SYSTEM, TRAILS

_NO_PROCESS = "no process"
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
    near = ((rule.over * 0.75, g.WARN),) if rule.over else ()
    series = q.total("job, trail", q.increase(*counted(rule), over=window))
    return g.number(
        f"{title}, {window}",
        f"{what} in the last {window}, in the trail with most."
        f" {f'More than {rule.over} are' if rule.over else 'Any is'} an alert.",
        "short",
        g.query(f"max(round({series}))"),
        span=span,
        steps=((None, g.GOOD), *near, (rule.over + 1, g.BAD)),
        absent=_NO_PROCESS,
        runbook=alert_name(rule),
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
            steps=((None, g.GOOD), (1, g.WARN)),
            absent=_NO_PROCESS,
            runbook="AxonMemoryErrorBudgetBurn",
        ),
        g.number(
            "Entries deleted",
            "Memory entries that FORGET deleted in the shown time; one can delete many.",
            "short",
            g.query(f"round({q.total('', q.increase(q.ENTRIES, _FORGET))})"),
            absent="nothing deleted",
        ),
        g.number(
            "Personal data replaced",
            "Emails, phone and card numbers, secrets and the like that would have been recorded in"
            " the shown time, and were replaced.",
            "short",
            g.query(f"round({q.total('', q.increase(q.PII))})"),
            absent=_NO_PROCESS,
        ),
    ]


_FORGET, _EXPORT = 'operation="FORGET"', 'operation="EXPORT"'
_PARTIAL = q.OF_MEMORY, 'status="PARTIAL"'


def _each(metric: str, *matchers: str) -> str:
    """What was counted each interval."""
    return q.increase(metric, *matchers, over="$__rate_interval")


def _entries() -> list[Any]:
    """What no entry should be."""
    return [_rule(rule, span=8) for rule in _RULES if rule.counting in FINDINGS]


def _activity() -> list[Any]:
    failed = _each(q.OPERATIONS, q.OF_MEMORY, q.FAILED)
    return [
        g.graph(
            "Deletions",
            "Memory entries that FORGET deleted, each interval, by trail; not calls of it.",
            "entries",
            g.query(q.total("trail", _each(q.ENTRIES, _FORGET)), "{{trail}}"),
            stack=True,
            absent="nothing deleted in this time",
            runbook="AxonExcessiveDeletions",
        ),
        g.graph(
            "Exports",
            "EXPORT operations each interval, by outcome.",
            "operations",
            g.query(q.total("status", _each(q.OPERATIONS, _EXPORT)), "{{status}}"),
            stack=True,
            soft_max=1,
            absent="no exports in this time",
            runbook="AxonUnusualExports",
        ),
        g.graph(
            "Failed and partial outcomes",
            "Operations each interval that did not succeed, by outcome.",
            "operations",
            g.query(q.total("status", failed), "{{status}}"),
            stack=True,
            soft_max=1,
            absent="no traffic in this time",
            runbook="AxonRepeatedFailures",
        ),
    ]


def _data() -> list[Any]:
    moved = _each(q.ENTRIES, 'operation=~"FORGET|EXPORT|IMPORT"')
    return [
        g.graph(
            "Entries deleted, exported, imported",
            "Memory entries each interval: how much data was moved, whatever the number of"
            " operations.",
            "entries",
            g.query(q.total("operation", moved), "{{operation}}"),
            absent="nothing moved in this time",
        ),
        g.graph(
            "Entries that need attention",
            "Altered, resurrected and remaining entries each interval, each time that one is seen.",
            "entries",
            g.query(q.happened("kind", _each(q.FINDINGS), q.increase(q.FINDINGS)), "{{kind}}"),
            stack=True,
            soft_max=1,
            absent=_NO_PROCESS,
            runbook="AxonAlteredEntry",
        ),
        g.graph(
            "Personal data replaced, by kind",
            "What redaction found, each interval, in texts and metadata that were recorded.",
            "findings",
            g.query(q.happened("kind", _each(q.PII), q.increase(q.PII)), "{{kind}}"),
            stack=True,
            soft_max=1,
            absent=_NO_PROCESS,
        ),
    ]


def _people(store: LogStore) -> list[Any]:
    """By user and by agent: from the records, since they are no labels of metrics."""
    who, agent = semconv.AUDIT_ACTOR_ID, semconv.GEN_AI_AGENT_ID

    def of_logs(panel: Any) -> Any:
        return panel.datasource(store.source)

    return [
        of_logs(made)
        for made in (
            g.bars(
                "Busiest users",
                f"Operations in the shown time, by who did them ({who}): the ten with most. A"
                " pseudonym where ids are hashed.",
                "short",
                store.top(who),
                absent="no user is named in this time",
            ),
            g.bars(
                "Busiest agents",
                f"Operations in the shown time, by the agent that did them ({agent}): the ten with"
                " most.",
                "short",
                store.top(agent),
                absent="no agent is named in this time",
            ),
            g.bars(
                "Whose data",
                "Operations in the shown time, by the person whose entries they touched: the ten"
                f" with most. {store.several}",
                "short",
                store.top_subjects(),
                absent="no data subject is named in this time",
            ),
            g.bars(
                "Entries deleted, by who",
                "Memory entries that FORGET deleted in the shown time, by who asked for it: the ten"
                " with most.",
                "short",
                store.top_deleted(who),
                absent="nothing deleted in this time",
                runbook="AxonExcessiveDeletions",
            ),
            g.graph(
                "Deletions, exports, imports, by who",
                "FORGET, EXPORT and IMPORT operations each interval, of the ten users with most.",
                "operations",
                store.over_time(who, store.moving),
                stack=True,
                whole=True,
                absent="no deletion, export or import in this time",
                runbook="AxonUnusualExports",
            ),
            g.graph(
                "Not succeeded, by who",
                "Operations each interval that ended in FAILURE or PARTIAL, of the ten users with"
                " most. One user again and again is a client, or somebody who tries.",
                "operations",
                store.over_time(who, store.failed),
                stack=True,
                whole=True,
                absent="everything succeeded in this time",
                runbook="AxonRepeatedFailures",
            ),
        )
    ]


def _events(store: LogStore, only_user: str) -> list[Any]:
    where = (
        f"From {store.name}, the newest 200. A trace id opens the trace, an event's id the whole"
        " record, a user's name the same table of that user. Events that name no memory system are"
        " shown whichever is selected."
    )
    return [
        tables.events(
            "Deletions, exports, imports and whatever did not succeed",
            f"The audit events that matter most. {where}",
            store,
            store.notable,
            only_user,
            "no such event in this time",
        ),
        tables.events(
            "Every audit event",
            f"What was recorded, a row each. {where}",
            store,
            "",
            only_user,
            f"no event in this time: is the trail shipped to {store.name}?",
        ),
    ]


def build(store: LogStore = LOKI) -> str:
    """The dashboard as JSON, for audit events in *store*."""
    of_loki = store is LOKI
    uid = "axon-audit-security" if of_loki else f"axon-audit-security-{store.variable}"
    variables = [
        *TRAILS,
        SYSTEM,
        g.source(store.variable, "Logs", store.kind),
        g.source("traces", "Traces", store.traces),
        store.service(),
        g.text(
            "user",
            "User",
            "Only events of users that match, in the panels of the log store: a regular expression"
            " over audit.actor.id. Where ids are hashed, the pseudonym: axon-audit pseudonym ID.",
            ".*",
        ),
    ]
    kept = ["datasource", "cluster", "namespace", "job", "instance", "trail", "system"]
    kept += [store.variable, "traces", "service"]
    others = "&".join(f"${{{name}:queryparam}}" for name in kept)
    only_user = f"/d/{uid}?var-user=${{__value.raw}}&${{__url_time_range}}&{others}"
    return g.page(
        uid,
        "Axon / Security and compliance" + ("" if of_loki else f" ({store.name})"),
        "Deletions, exports, failures and personal data; the audit events and their traces.",
        variables,
        {
            "As the alerts see it": _thresholds(),
            "What no entry should be": _entries(),
            "Activity": _activity(),
            "Data": _data(),
            "Who": _people(store),
            "Audit events": _events(store, only_user),
        },
    )
