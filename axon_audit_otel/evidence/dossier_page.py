"""A dossier as a page for the person whom it is about."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from datetime import datetime
from heapq import nlargest
from typing import Any

from .dossier import Dossier
from .dossier_words import (
    BLANKS,
    OPERATIONS,
    OUTCOMES,
    RECORDS,
    SOURCES,
    amount,
    limit_words,
    rule_words,
)
from .pages import render

__all__ = ["as_html"]

_ENTRIES, _ROWS, _FEW = 200, 200, 100  # shown of many, the newest
_GROUPS = 100
#: Limits that say of no event or file that something is wrong with it.
_ALWAYS = ("other_stores", "backups", "models_and_caches")


def as_html(dossier: Dossier, clock: str) -> str:
    """A dossier as one HTML file: no network; of long lists, the newest.

    Args:
        dossier: The dossier.
        clock: The name of the clock that its times are shown in.

    Raises:
        AuditConfigError: If Jinja2 is not installed.
    """
    facts = dossier.facts
    numbers, person = facts["numbers"], facts["person"]["id"]
    limits = facts["limits"]
    return render(
        "dossier.html",
        facts=facts,
        person=person,
        clock=clock,
        numbers=numbers,
        trails=list(_trails(dossier)),
        ends=max((dossier.local(one["ends"]) for one in facts["until"].values()), default=None),
        begins=min((dossier.local(one["begins"]) for one in facts["until"].values()), default=None),
        needs=[limit_words(one) for one in limits if one["kind"] in dossier.needs_a_person()],
        limits=[limit_words(one) for one in limits if one["kind"] not in _ALWAYS],
        never=[limit_words(one) for one in limits if one["kind"] in _ALWAYS],
        held=list(_held(dossier)),
        who=list(_who(dossier)),
        months=list(_months(dossier)),
        consultations=[_consultation(dossier, row) for row in _newest(dossier, "consultations")],
        exports=[_export(dossier, row) for row in _newest(dossier, "exports")],
        changes=[_change(dossier, row) for row in _newest(dossier, "changes", _FEW)],
        erasures=[_erasure(dossier, row) for row in _newest(dossier, "erasures", _FEW)],
        acts=[_act(dossier, row) for row in _newest(dossier, "acts", _FEW)],
        notices=[_notice(dossier, row) for row in _newest(dossier, "notices", _FEW)],
        kept=[_kept(dossier, trail, one) for trail, one in facts["retention"]["trails"].items()],
        blanks=[BLANKS[name] for name in facts["blanks"]],
    )


def _newest(dossier: Dossier, part: str, most: int = _ROWS) -> list[dict[str, Any]]:
    """The newest rows of a part, the newest first."""
    return list(deque(dossier.rows(part), maxlen=most))[::-1]


# --- rows ----------------------------------------------------------------------------------------


def _held(dossier: Dossier) -> Iterator[list[Any]]:
    """The newest living entries: id, when and how they came, what they are, how often read."""
    living = (entry for entry in dossier.entries() if entry["state"] == "held")
    for entry in nlargest(_ENTRIES, living, lambda one: one["since"] or one["first_seen"] or ""):
        since = entry["since"]
        words = "only yours"
        if entry["kind"] == "derived" or entry["made_of"]:
            made = amount(len(entry["made_of"]), "entry", "entries")
            others = " and of other people's" if entry["holds_data_of_others"] else ""
            words = f"made of {made} of yours{others}"
        yield [
            entry["entry_id"],
            None if since is None else dossier.local(since),
            "not on record" if since is None else SOURCES.get(entry["source"], entry["source"]),
            words,
            entry["consulted"],
        ]


def _who(dossier: Dossier) -> Iterator[list[Any]]:
    for group in dossier.facts["summary"]["by_actor"][:_GROUPS]:
        yield [
            _actor(dossier, group["actor"]),
            group["agent"] or "-",
            group["purpose"] or "not recorded",
            group["number"],
            dossier.local(group["first"]),
            dossier.local(group["last"]),
        ]


def _months(dossier: Dossier) -> Iterator[list[Any]]:
    for month in dossier.facts["summary"]["by_month"]:
        yield [month["month"], month["consultations"] + month["exports"]]


def _consultation(dossier: Dossier, row: dict[str, Any]) -> list[Any]:
    return [*_by(dossier, row), _purpose(row), _entries(row), OUTCOMES[row["outcome"]]]


def _export(dossier: Dossier, row: dict[str, Any]) -> list[Any]:
    recipient = row.get("recipient") or "not recorded"
    return [*_by(dossier, row), recipient, _purpose(row), _entries(row), OUTCOMES[row["outcome"]]]


def _change(dossier: Dossier, row: dict[str, Any]) -> list[Any]:
    return [*_by(dossier, row), _did(row), _entries(row), OUTCOMES[row["outcome"]]]


def _erasure(dossier: Dossier, row: dict[str, Any]) -> list[Any]:
    words = []
    if row.get("record") == "erasure":
        words.append("the keys of your data in the audit trail were destroyed")
    left = len(row.get("not_deleted", ())) if row["outcome"] != "FAILURE" else 0
    if left or row.get("remaining"):
        words.append(f"{max(left, row.get('remaining', 0)):,} could not be deleted")
    if number := row.get("derived_remaining"):
        words.append(f"{amount(number, 'summary', 'summaries')} made of it remained then")
    if number := row.get("texts_left"):
        words.append(f"{amount(number, 'text', 'texts')} of it remained in tables of the library")
    if request := row.get("request_id"):
        words.append(f"request {request}")
    entries = _entries(row) if "entries" in row else "-"
    return [*_by(dossier, row), entries, "; ".join(words) or "-", OUTCOMES[row["outcome"]]]


def _act(dossier: Dossier, row: dict[str, Any]) -> list[Any]:
    mine = row["actor"] == dossier.facts["person"]["id"]
    role = "you did" if mine else f"{_actor(dossier, row['actor'])} did, with or for you"
    return [dossier.local(row["time"]), _did(row), role, OUTCOMES[row["outcome"]]]


def _notice(dossier: Dossier, row: dict[str, Any]) -> list[Any]:
    return [dossier.local(row["time"]), RECORDS[row["record"]], _actor(dossier, row["actor"])]


def _by(dossier: Dossier, row: dict[str, Any]) -> list[Any]:
    """When, by whom, for whom and with what."""
    who = _actor(dossier, row["actor"])
    if row["on_behalf_of"] is not None:
        who = f"{who}, for {_actor(dossier, row['on_behalf_of'])}"
    if row["agent"] is not None:
        who = f"{who}, with {row['agent']}"
    return [dossier.local(row["time"]), who]


def _actor(dossier: Dossier, name: str | None) -> str:
    if name is None:
        return "not recorded"
    return "you" if name == dossier.facts["person"]["id"] else name


def _did(row: dict[str, Any]) -> str:
    if row["operation"] == "AUDIT":
        return RECORDS[row["record"]]
    return OPERATIONS.get(row["operation"], "used")


def _purpose(row: dict[str, Any]) -> str:
    return row["purpose"] or "not recorded"


def _entries(row: dict[str, Any]) -> str:
    """How many entries of the person."""
    if "entries" not in row:
        return "-"
    number = row["entries"]
    if row["at_least"]:
        return f"{number:,} or more" if number else "some"
    return f"{number:,}" if number else "none"


# --- the trail -----------------------------------------------------------------------------------


def _trails(dossier: Dossier) -> Iterator[list[Any]]:
    proved = dossier.facts["proved"]["trails"]
    for trail, until in dossier.facts["until"].items():
        reach = proved.get(trail, {}).get("proved_until")
        yield [
            trail or "a file without a name",
            until["first"],
            until["last"],
            dossier.local(until["ends"]),
            "not proved" if reach is None else f"proved up to event {reach:,}",
        ]


def _kept(dossier: Dossier, trail: str, kept: dict[str, Any]) -> list[Any]:
    until = kept["until"]
    when = "" if until is None else f", until {_day(dossier.local(until))}"
    return [trail or "a file without a name", kept["number"], rule_words(kept) + when]


def _day(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"
