"""What the page of a report says first: its period, and if that is complete."""

from __future__ import annotations

from calendar import monthrange
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, time
from typing import Any, NamedTuple

__all__ = ["MONTHS", "Statement", "amount", "headline", "period_name", "statements"]

Facts = dict[str, Any]

#: The same in every locale, as a report has the same bytes everywhere.
MONTHS = (
    *("January", "February", "March", "April", "May", "June", "July", "August"),
    *("September", "October", "November", "December"),
)
_ORDER = ("bad", "warning", "unknown", "info", "ok")  # what counts most comes first

_MOST = 30  # statements that a page has


class Statement(NamedTuple):
    """A sentence about the period.

    Attributes:
        kind: ``ok``, ``warning``, ``bad``, ``unknown`` or ``info``, as `note` of the macros.
        word: What it is about.
        text: The sentence.
    """

    kind: str
    word: str
    text: str


def amount(number: int, noun: str, nouns: str | None = None) -> str:
    """``1,200 events``."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def period_name(period: Facts) -> str:
    """``November 2026``, or from when to when."""
    first, last = (datetime.fromisoformat(period[f"{end}_local"]) for end in ("first", "last"))
    if (first.time(), last.time()) != (time.min, time.max):
        return f"{first:%Y-%m-%d %H:%M:%S} to {last:%Y-%m-%d %H:%M:%S}"
    is_month = first.day == 1 and last.day == monthrange(last.year, last.month)[1]
    if is_month and (first.year, first.month) == (last.year, last.month):
        return f"{MONTHS[first.month - 1]} {first.year}"
    if first.date() == last.date():
        return f"{first:%Y-%m-%d}"
    return f"{first:%Y-%m-%d} to {last:%Y-%m-%d}"


def headline(facts: Facts) -> Statement:
    """The one that comes before all: if the period is complete."""
    kinds, part = {one.kind for one in statements(facts)}, facts["completeness"]
    if "bad" in kinds:
        return Statement("bad", "Not complete", "Events are missing or altered, or may be.")
    if "warning" in kinds:
        text = "Not everything is here, or not all of it could be proved: see below."
        return Statement("warning", "Complete with exceptions", text)
    if not part["events"]:
        return Statement("info", "No events", "Nothing is on record of this period.")
    if "unknown" in kinds:
        text = "Nothing is known to be missing or altered; not all of that can be proved."
        return Statement("unknown", "Complete as far as is known", text)
    every = "recorded in the period is here and unaltered, and signed checkpoints cover it."
    if any(hole["why"] == "deleted" for trail in part["trails"] for hole in trail["missing"]):
        word = "Complete, but for what retention deleted"
        return Statement("info", word, f"Every other event that was {every}")
    return Statement("ok", "Complete", f"Every event that was {every}")


def statements(facts: Facts) -> list[Statement]:
    """What one must know first of the period's completeness."""
    part = facts["completeness"]
    found = [*_damage(part), *_missing(part), *_proved(part)]
    found.sort(key=lambda one: _ORDER.index(one.kind))
    more = len(found) - _MOST
    if more > 0:
        rest = Statement(found[_MOST].kind, "And more", f"{more:,} more of that kind, or less.")
        return [*found[:_MOST], rest]
    return found


def _damage(part: Facts) -> Iterator[Statement]:
    number = len(part["findings"]) + part["more_findings"]
    if part["verdict"] == "damage":
        text = f"The archive is not as it was written: {amount(number, 'finding')}, listed below."
        yield Statement("bad", "Damage", text)
    elif number:
        text = f"The verification has {amount(number, 'finding')}, listed below."
        yield Statement("warning", "Findings", text)
    elif part["events"]:
        text = "The hash of each event fits the event and the one before it."
        yield Statement("ok", "No damage found", text)
    adopted = [one for trail in part["trails"] for one in trail["adopted"]]
    if number := sum(one["last"] - one["first"] + 1 for one in adopted):
        were = amount(number, "event was", "events were")
        text = f"{were} not recorded by the application, but found in the directory at a start."
        yield Statement("warning", "Not attested", text)


_WHY = {
    "unexplained": ("bad", "Missing", "{} not here, and nothing explains why."),
    "lost": ("warning", "Lost", "{} lost, as the trail tells itself."),
    "deleted": ("info", "Deleted", "{} deleted by a rule of retention."),
}


def _missing(part: Facts) -> Iterator[Statement]:
    numbers: Counter[str] = Counter()
    for trail in part["trails"]:
        for hole in trail["missing"]:
            numbers[hole["why"]] += hole["last"] - hole["first"] + 1
    for why, number in numbers.items():
        kind, word, text = _WHY.get(why, ("bad", "Missing", f"{{}} not here: {why}."))
        are = ("event is", "events are") if kind == "bad" else ("event was", "events were")
        yield Statement(kind, word, text.format(amount(number, *are)))
    if more := sum(trail["more_missing"] for trail in part["trails"]):
        yield Statement("bad", "Missing", f"{amount(more, 'more range')} of events are not here.")
    if other := sum(trail["of_another_time"] for trail in part["trails"]):
        text = f"{amount(other, 'event')} between those of the period, by a clock that was set."
        yield Statement("info", "Another time", text)
    if not numbers and not more and part["events"]:
        text = "From the first to the last event of each trail no number is missing."
        yield Statement("ok", "No gap", text)


def _proved(part: Facts) -> Iterator[Statement]:
    if part["lost_keys"]:
        kind = "warning" if part["events_with_lost_keys"] else "unknown"
        yield Statement(kind, "Keys", _sentence(part["lost_keys"]))
    for words in part["not_proved"]:
        yield Statement("warning", "Not proved", _sentence(words))
    trails = [trail for trail in part["trails"] if trail["events"]]
    uncovered = [trail for trail in trails if trail["covered"]["uncovered"]]
    if not part["keys"]:
        text = "No public key was given (--key), so no signature of a checkpoint was checked."
        yield Statement("unknown", "Signatures", text)
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
