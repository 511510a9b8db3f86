"""The page of a report: the facts of `report.json` as tables and charts, in `templates/report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Any

from .charts import Chart, stacked
from .pages import render
from .report_words import MONTHS, amount, headline, period_name, statements

__all__ = ["report_page"]

Facts = dict[str, Any]

#: The parts: the keys of `report.json`, headings, and the clauses that they are for.
_PARTS = [
    ("scope", "Scope", "AICPA AT-C 205.36 (source and parameters)"),
    (
        "completeness",
        "Completeness",
        "AICPA AT-C 205.36 (gaps in sequence or timing); NIST SP 800-53 AU-7(b)",
    ),
    (
        "coverage",
        "Coverage and fields",
        "OCR protocol for HIPAA 164.312(b); NIST SP 800-53 AU-3; ISO/IEC 27001 A.8.15",
    ),
    ("activity", "Activity", "EU AI Act 12(2)(b)(c); ISO/IEC 42001 A.6.2.8; HIPAA 164.312(b)"),
    ("alerts", "Alerts", "NIST SP 800-53 AU-6"),
    ("erasures", "Register of erasures", "GDPR 17, 5(2), 12(3); SOC 2 C1.2"),
    (
        "retention",
        "Retention, holds, and facts for a register",
        "EU AI Act 19(1), 26(6): six months; GDPR 30(1)(d)(f)(g)",
    ),
    ("proofs", "Proofs", "ISO/IEC 27001 A.8.15"),
    ("limits", "What is not covered, and not claimed", None),
]
_DAYS = 62  # that have a column each; of more, months have


def report_page(facts: Facts) -> str:
    """The page of a report's *facts*, as they are in `report.json`.

    Raises:
        AuditConfigError: If Jinja2 is not installed.
    """
    activity, trails = facts["activity"], facts["completeness"]["trails"]
    by_operation, not_done = _by_operation(facts), _not_done(facts)
    return render(
        "report.html",
        facts=facts,
        parts=[part for part in _PARTS if part[0] in facts],
        period=period_name(facts["scope"]["period"]),
        headline=headline(facts),
        statements=statements(facts),
        trails=[_trail(trail) for trail in trails],
        more=_more(trails),
        told={name: _of_trails(trails, name) for name in _TOLD},
        by_operation=by_operation,
        unit="Day" if by_operation is None or len(by_operation.columns[0].label) == 10 else "Month",
        busiest=_busiest(by_operation),
        not_done=not_done,
        not_done_number=sum(n for name, n in activity["by_status"].items() if name != "SUCCESS"),
        actors=[_with_operations(row) for row in activity["by_actor"]["top"]],
        subjects=[_with_operations(row) for row in activity["by_subject"]["top"]],
        exports=[{**row, "outcome": _outcome(row)} for row in activity["exports"]["first"]],
        **_of_coverage(facts["coverage"]),
        **_of_alerts(facts["alerts"]),
        erased=[_erased(row) for row in facts["erasures"]["first"]],
        rules_of_retention=[_rule(row) for row in facts["retention"]["rules"]],
    )


# --- completeness ---------------------------------------------------------------------------------

#: What is listed of all trails in one table.
_TOLD = ("missing", "deletions", "gaps", "unclean_ends", "adopted", "refusals", "steps_back")


def _trail(trail: Facts) -> Facts:
    """A row of a trail: its first and its last event, and how many numbers are missing."""
    missing = sum(hole["last"] - hole["first"] + 1 for hole in trail["missing"])
    first, last = trail["first"] or {}, trail["last"] or {}
    return {
        **{name: trail[name] for name in ("trail", "origin", "events")},
        "missing": missing,
        "covered": trail["covered"]["until"],
        "cosigned": trail["covered"]["cosigned_until"],
        **{f"first_{name}": first.get(name) for name in _BOUND},
        **{f"last_{name}": last.get(name) for name in (*_BOUND, "hash")},
    }


_BOUND = ("sequence", "event_id", "timestamp")


def _of_trails(trails: list[Facts], name: str) -> list[Facts]:
    """What all trails have under *name*, one after the other, each with its trail."""
    return [{**row, "trail": trail["trail"]} for trail in trails for row in trail[name]]


def _more(trails: list[Facts]) -> Counter[str]:
    """How many of these are not listed."""
    more: Counter[str] = Counter()
    for trail in trails:
        more.update(trail.get("more", {}))
        more["missing"] += trail["more_missing"]
    return more


# --- charts ---------------------------------------------------------------------------------------


def _by_operation(facts: Facts) -> Chart | None:
    """Events by day, or month, and operation; None without any."""
    rows = sorted(facts["activity"]["by_operation"], key=lambda row: -row["events"])
    names = [row["operation"] for row in rows]
    return _chart(facts, names, lambda day, name: day["by_operation"].get(name, 0))


def _not_done(facts: Facts) -> Chart | None:
    """Operations that failed, or did a part, by day; None without any."""
    if not set(facts["activity"]["by_status"]) - {"SUCCESS"}:
        return None
    return _chart(facts, ["failure", "partial"], lambda day, name: day[name])


def _chart(facts: Facts, names: list[str], number: Any) -> Chart | None:
    days = {row["day"]: row for row in facts["activity"]["by_day"]}
    if not days:
        return None
    columns, short = _columns(facts["scope"]["period"], days)
    place = {label: at for at, label in enumerate(columns)}
    series = {name: [0] * len(columns) for name in names}
    for day, row in days.items():
        at = place[day if day in place else day[:7]]
        for name in names:
            series[name][at] += number(row, name)
    return stacked(columns, series, short)


def _columns(period: Facts, days: Iterable[str]) -> tuple[list[str], list[str]]:
    """The days of the period, or the months that have events, and short forms of them."""
    ends = (period["first_local"][:10], period["last_local"][:10])
    known = [date.fromisoformat(day) for day in sorted([*days, *ends])]
    if (known[-1] - known[0]).days < _DAYS:
        every = [known[0] + timedelta(n) for n in range((known[-1] - known[0]).days + 1)]
        return [f"{day}" for day in every], [
            f"{day.day} {MONTHS[day.month - 1][:3]}" for day in every
        ]
    # Without the ends: a report of all times has no column for each month since the year 1.
    first, last = (date.fromisoformat(end) for end in (min(days), max(days)))
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    months = [date(number // 12, number % 12 + 1, 1) for number in numbers]
    return [f"{one.isoformat()[:7]}" for one in months], [
        f"{MONTHS[one.month - 1][:3]} {one.year}" for one in months
    ]


def _busiest(chart: Chart | None) -> str:
    """The column with the most, in words, for who does not see the chart."""
    if chart is None:
        return ""
    sums = [sum(part.number for part in column.parts) for column in chart.columns]
    most = max(sums)
    return f"The most are {amount(most, 'event')} in {chart.columns[sums.index(most)].label}."


# --- rows of tables: what their columns name ------------------------------------------------------

_OUTCOMES = {"SUCCESS": "ok", "PARTIAL": "warning", "FAILURE": "bad"}
_SEVERITIES = {"critical": "bad", "warning": "warning", "info": "info"}


def _outcome(row: Facts) -> tuple[str, str]:
    return _OUTCOMES.get(row["status"], "unknown"), row["status"].capitalize()


def _with_operations(row: Facts) -> Facts:
    """A row with its operations in words, the most first: ``STORE 26, RECALL 6``."""
    numbers = row["by_operation"]
    most_first = sorted(numbers, key=lambda name: -numbers[name])
    return {**row, "operations": ", ".join(f"{name} {numbers[name]:,}" for name in most_first)}


def _of_coverage(part: Facts) -> Facts:
    return {
        "programs": [{**row["said"], **row} for row in part["programs"]],
        "fields": [[what, ", ".join(names)] for what, names in part["field_map"].items()],
    }


def _of_alerts(part: Facts) -> Facts:
    by_rule = part["found"]["by_rule"]
    recorded = [{**row["alert"], **row} for row in part["recorded"]["first"]]
    return {
        "alerts_found": [_with_severity(row) for row in part["found"]["first"]],
        "alerts_recorded": [_with_severity(row) for row in recorded],
        "rules": [
            _with_severity({**row, "found": by_rule[row["name"]], "minutes": row["window_s"] / 60})
            for row in part["rules"]
        ],
    }


def _with_severity(row: Facts) -> Facts:
    severity = str(row["severity"])
    return {**row, "severity": (_SEVERITIES.get(severity, "unknown"), severity)}


_CHECKED = {
    "read_again": "read again",
    "no_key": "no key is left",
    "not_verified": "not checked",
}


def _erased(row: Facts) -> Facts:
    whose = row["subjects"] or ([row["subject_id"]] if row["subject_id"] else None)
    more = row["subjects_number"] - len(row["subjects"])
    left = (row["remaining"] or 0) + row["derived_remaining"]["number"] + row["texts_left"]
    is_known = row["remaining"] is not None or left
    return {
        **row,
        "subjects": whose if whose is None or not more else [*whose, f"{more:,} more"],
        "left": left if is_known else None,
        "request_id": row["request_id"] or ("encrypted" if row["facts_encrypted"] else None),
        "outcome": _outcome(row),
        "checked": _CHECKED.get(row["verified"], row["verified"]),
        "receipt": "possible" if row["receipt_possible"] else "no proof",
    }


def _rule(row: Facts) -> Facts:
    said = "nothing is deleted by age" if row["is_stated"] else "not said"
    return {**row, "rule_said": row["rule"] or said}
