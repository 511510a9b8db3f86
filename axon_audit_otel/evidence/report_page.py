"""The page of a report: its facts in words, tables and charts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from .charts import Chart, stacked
from .pages import render

__all__ = ["Statement", "report_page", "statements"]

Facts = dict[str, Any]

_DAYS = 62  # that have a column each; of more, months have
_ORDER = ("bad", "unknown", "warning", "info", "ok")  # what counts most comes first


class Statement(NamedTuple):
    """A finding of the summary: its kind (as `note` of the macros), a word, a sentence."""

    kind: str
    word: str
    text: str


def report_page(facts: Facts) -> str:
    """The page of a report's *facts*; parts that they lack are left out.

    Raises:
        AuditConfigError: If Jinja2 is not installed.
    """
    activity, trails = facts["activity"], facts["completeness"]["trails"]
    by_operation = _by_operation(facts)
    return render(
        "report.html",
        facts=facts,
        parts=[part for part in _PARTS if part[0] in facts],
        period=period_name(facts["scope"]["period"]),
        headline=headline(facts),
        statements=statements(facts),
        trails=trails,
        of_trails=_of_trails,
        trail_rows=[_trail(trail) for trail in trails],
        bounds=[_bounds(trail) for trail in trails],
        of_completeness=_OF_COMPLETENESS,
        unit="Day" if by_operation is None or len(by_operation.columns[0].label) == 10 else "Month",
        by_operation=by_operation,
        chart_words=_busiest(by_operation),
        failed_by_day=_not_done(facts),
        not_done=sum(n for name, n in activity["by_status"].items() if name != "SUCCESS"),
        actors=[_actor(row) for row in activity["by_actor"]["top"]],
        subjects=[
            [row["subject_id"], row["events"], _operations(row["by_operation"])]
            for row in activity["by_subject"]["top"]
        ],
        exports=[_export(row) for row in activity["exports"]["first"]],
        places=[
            (title, kind, activity[part], key)
            for title, kind, part, key in _PLACES
            if {row[key] for row in activity[part]["top"]} - {None}
        ],
    )


#: The parts, their headings, and the clauses that they are for.
_PARTS = [
    ("scope", "Scope", "AICPA AT-C 205.36 (source and parameters)"),
    (
        "completeness",
        "Completeness",
        "AICPA AT-C 205.36 (gaps in sequence or timing); NIST SP 800-53 AU-7(b)",
    ),
    ("activity", "Activity", "EU AI Act Art. 12(2)(b)(c); ISO/IEC 42001 A.6.2.8; HIPAA 164.312(b)"),
]
_PLACES = [
    ("Agents", "Agent", "by_agent", "agent_id"),
    ("On behalf of whom", "Person", "by_on_behalf_of", "on_behalf_of"),
    ("Purposes", "Purpose", "by_purpose", "purpose"),
    ("Methods", "Method", "by_method", "method"),
]
_RANGE = [("First", "number"), ("Last", "number")]
#: Lists of each trail, the headings of their tables, columns, and the facts in these.
_OF_COMPLETENESS = [
    (
        "deletions",
        "What retention deleted",
        [
            ("Trail", "name"),
            ("File", "name"),
            *_RANGE,
            ("From", "time"),
            ("To", "time"),
            ("Rule", "name"),
            ("Deleted", "time"),
            ("Proved by a checkpoint", "text"),
        ],
        [
            "trail",
            "file",
            "first",
            "last",
            "first_time",
            "last_time",
            "rule",
            "deleted_at",
            "proved",
        ],
    ),
    (
        "gaps",
        "What was lost, as the trail tells",
        [("Trail", "name"), *_RANGE, ("Reason", "name"), ("Told by event", "number")],
        ["trail", "first", "last", "reason", "told_by"],
    ),
    (
        "unclean_ends",
        "Ends without closing the trail (killed, power lost)",
        [
            ("Trail", "name"),
            ("Writer", "name"),
            ("Events recovered", "number"),
            ("Bytes lost", "number"),
            ("Told by event", "number"),
        ],
        ["trail", "writer", "events", "torn_bytes", "told_by"],
    ),
    (
        "adopted",
        "Found in the directory, not attested: anybody may have written it",
        [("Trail", "name"), *_RANGE, ("File", "name")],
        ["trail", "first", "last", "file"],
    ),
    (
        "refusals",
        "Files that the application refused to go on with",
        [("Trail", "name"), ("Writer", "name"), ("Why", "name"), ("Told by event", "number")],
        ["trail", "writer", "why", "told_by"],
    ),
    (
        "steps_back",
        "Where time runs backwards",
        [("Trail", "name"), ("File", "name"), ("Event", "number"), ("Seconds", "number")],
        ["trail", "file", "sequence", "seconds"],
    ),
]


# --- the period -----------------------------------------------------------------------------------


def period_name(period: Facts) -> str:
    """``November 2026``, or from when to when."""
    first, last = (datetime.fromisoformat(period[f"{end}_local"]) for end in ("first", "last"))
    after = last + timedelta(microseconds=1)
    if _midnight(first) and _midnight(after):
        if first.day == after.day == 1 and _months(first, after) == 1:
            return f"{first:%B %Y}"
        return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"
    return f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S}"


def _midnight(moment: datetime) -> bool:
    return moment.time().isoformat() == "00:00:00"


def _months(first: datetime, last: datetime) -> int:
    return (last.year - first.year) * 12 + last.month - first.month


# --- what the summary says ------------------------------------------------------------------------


def statements(facts: Facts) -> list[Statement]:
    """What one must know first: if the period is complete, and what is not proved."""
    found = [*_damage(facts["completeness"]), *_lacking(facts["completeness"])]
    found += _proved(facts["completeness"])
    return sorted(found, key=lambda one: _ORDER.index(one.kind))


def headline(facts: Facts) -> Statement:
    """The one that comes before all: if the period is complete."""
    kinds = {one.kind for one in statements(facts)}
    if not facts["completeness"]["events"]:
        return Statement("info", "No events", "Nothing is on record of this period.")
    if "bad" in kinds:
        return Statement("bad", "Not complete", "Events are missing or altered, or may be.")
    if "warning" in kinds:
        return Statement("warning", "Not complete, or not proved", "See what is said below.")
    if "unknown" in kinds:
        text = "Nothing is known to be missing or altered; not all of that can be proved."
        return Statement("unknown", "Complete as far as is known", text)
    text = "Every event of the period is here and unaltered, and signed checkpoints cover it."
    return Statement("ok", "Complete", text)


def _damage(part: Facts) -> Iterator[Statement]:
    number = len(part["findings"]) + part["more_findings"]
    if part["verdict"] == "damage":
        text = f"The verification has {_amount(number, 'finding')}; they are listed below."
        yield Statement("bad", "Damage", text)
    elif number:
        text = f"The verification has {_amount(number, 'finding')} that may have other causes."
        yield Statement("warning", "Findings", text)
    else:
        yield Statement("ok", "No damage found", "No event that is here was altered or moved.")


_WHY = {
    "unexplained": ("bad", "Missing", "{} not here, and nothing explains why."),
    "lost": ("warning", "Lost", "{} lost, as the trail tells itself."),
    "deleted": ("info", "Deleted", "{} deleted by a rule of retention."),
}


def _lacking(part: Facts) -> Iterator[Statement]:
    numbers: Counter[str] = Counter()
    for trail in part["trails"]:
        for hole in trail["missing"]:
            numbers[hole["why"]] += hole["last"] - hole["first"] + 1
    for why, number in numbers.items():
        kind, word, text = _WHY.get(why, ("bad", "Missing", f"{{}} not here: {why}."))
        yield Statement(kind, word, text.format(_amount(number, "event is", "events are")))
    for trail in part["trails"]:
        if trail["more_missing"]:
            text = f"{trail['trail']} lacks more ranges of numbers than are listed."
            yield Statement("bad", "Missing", text)
    if not numbers and part["events"]:
        text = "Between the first and the last event of each trail no number is missing."
        yield Statement("ok", "No gap", text)
    adopted = sum(len(trail["adopted"]) for trail in part["trails"])
    if adopted:
        text = f"{_amount(adopted, 'range')} of events were found in the directory, not recorded."
        yield Statement("warning", "Not attested", text)


def _proved(part: Facts) -> Iterator[Statement]:
    if part["lost_keys"]:
        yield Statement("warning", "Keys", _sentence(part["lost_keys"]))
    for words in part["not_proved"]:
        yield Statement("warning", "Not proved", _sentence(words))
    trails = [trail for trail in part["trails"] if trail["events"]]
    uncovered = [trail for trail in trails if trail["covered"]["uncovered"]]
    if not part["keys"]:
        text = "No public key was given, so no signature was checked."
        yield Statement("unknown", "Not signed, as far as known", text)
    elif trails and not uncovered:
        text = f"Checkpoints signed by {', '.join(part['keys'])} cover every event of the period."
        yield Statement("ok", "Signed", text)
    for trail in uncovered if part["keys"] else ():
        text = f"{trail['trail']}: {trail['covered']['uncovered']}."
        yield Statement("unknown", "Not covered", text)
    if part["unknown"]:
        yield Statement("unknown", "Cannot be known", _sentence(part["unknown"]))


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _amount(number: int, noun: str, nouns: str | None = None) -> str:
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


# --- activity ---------------------------------------------------------------------------------


def _by_operation(facts: Facts) -> Chart | None:
    """Events by day, or month, and operation; None without any."""
    operations = [row["operation"] for row in facts["activity"]["by_operation"]]
    numbers = {row["operation"]: row["events"] for row in facts["activity"]["by_operation"]}
    operations.sort(key=lambda name: -numbers[name])
    return _chart(facts, operations, lambda day, name: day["by_operation"].get(name, 0))


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
    """The days of the period, or its months, and short forms of them."""
    known = sorted([*days, period["first_local"][:10], period["last_local"][:10]])
    first, last = date.fromisoformat(known[0]), date.fromisoformat(known[-1])
    if (last - first).days < _DAYS:
        every = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return [f"{day}" for day in every], [f"{day.day} {day:%b}" for day in every]
    numbers = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    months = [date(number // 12, number % 12 + 1, 1) for number in numbers]
    return [f"{one:%Y-%m}" for one in months], [f"{one:%b %Y}" for one in months]


def _busiest(chart: Chart | None) -> str:
    """The column with the most, in words, for who does not see the chart."""
    if chart is None:
        return ""
    sums = [sum(part.number for part in column.parts) for column in chart.columns]
    most = max(sums)
    return f"The most are {_amount(most, 'event')} in {chart.columns[sums.index(most)].label}."


def _actor(row: Facts) -> list[Any]:
    counts = [row["events"], row["failure"], row["partial"]]
    return [row["user_id"], *counts, _operations(row["by_operation"])]


def _operations(numbers: dict[str, int]) -> str:
    most_first = sorted(numbers, key=lambda name: -numbers[name])
    return ", ".join(f"{name} {numbers[name]:,}" for name in most_first)


_OUTCOMES = {"SUCCESS": "ok", "PARTIAL": "warning", "FAILURE": "bad"}


def _export(row: Facts) -> list[Any]:
    who = [row[name] for name in ("timestamp", "user_id", "agent_id", "on_behalf_of", "purpose")]
    outcome = (_OUTCOMES.get(row["status"], "unknown"), row["status"].capitalize())
    return [*who, row["entries"], row["subjects"], outcome]


# --- trails ---------------------------------------------------------------------------------------


def _trail(trail: Facts) -> list[Any]:
    first, last = trail["first"] or {}, trail["last"] or {}
    missing = sum(hole["last"] - hole["first"] + 1 for hole in trail["missing"])
    numbers = [first.get("sequence"), last.get("sequence")]
    times = [first.get("timestamp"), last.get("timestamp")]
    return [trail["trail"], trail["events"], *numbers, *times, missing, trail["covered"]["until"]]


def _bounds(trail: Facts) -> list[Any]:
    first, last = trail["first"] or {}, trail["last"] or {}
    ids = [first.get("event_id"), last.get("event_id")]
    return [trail["trail"], trail["origin"], *ids, last.get("hash")]


def _of_trails(trails: list[Facts], name: str) -> list[Facts]:
    """What all trails have under *name*, one after the other, each with its trail."""
    return [{**row, "trail": trail["trail"]} for trail in trails for row in trail[name]]
