"""The page of a report: what it says of a period, and that everything in it is text."""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hostile_names import HOSTILE, visible
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.evidence.period import Period
from axon_audit_otel.evidence.report import make_report
from axon_audit_otel.evidence.report_page import report_page
from axon_audit_otel.evidence.report_words import headline, period_name, statements

KEY = new_key("auditor")
AGES = Period.of("2000-01-01", "2100-01-01", "UTC")
Facts = dict[str, Any]


@pytest.fixture(name="output", scope="module")
def _output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of an archive all of whose ids and words are hostile."""
    made = tmp_path_factory.mktemp("report")
    asyncio.run(_record(made / "logs"))
    make_report(made / "logs", AGES, made / "out", keys=[KEY.verifying], signing_key=KEY)
    return made / "out"


@pytest.fixture(name="facts")
def _facts(output: Path) -> Facts:
    found: Facts = json.loads((output / "report.json").read_text())
    return found


async def _record(directory: Path) -> None:
    audit = AuditLogger(
        auto_export_path=directory,
        signing_key=KEY,
        name="page",
        registry=CollectorRegistry(),
    )
    for name in HOSTILE:
        await audit.log_event("RECALL", name, entry_ids=[name], subjects=[name, "bob"])
    name = HOSTILE[0]
    await audit.log_event("EXPORT", name, entry_ids=[name], subject_id=name, purpose=HOSTILE[1])
    await audit.log_event(
        "FORGET",
        name,
        entry_ids=[name],
        subject_id=HOSTILE[1],
        metadata={"deleted": 1, "request_id": HOSTILE[1], "derived_remaining": [HOSTILE[4]]},
        status="PARTIAL",
    )
    audit.close()


def test_report_has_its_page(facts: Facts, output: Path) -> None:
    """It is among the files, and in the list that is signed."""
    assert (output / "report.html").read_text("utf-8") == report_page(facts)
    assert "report.html" in (output / "SHA256SUMS").read_text()


def test_no_score(facts: Facts) -> None:
    """It says what is, and judges nothing."""
    page = report_page(facts).lower().replace("and no score", "")
    assert "complian" not in page
    assert not re.search(r"\bscore", page)


def test_one_of_a_thing_and_several(facts: Facts) -> None:
    """No figure stands beside a label of another number of things."""
    figures = re.compile(r"<dt>([^<]*)</dt><dd>(\d+)</dd>").findall

    def labels(number: int) -> list[str]:
        made = copy.deepcopy(facts)
        names = [name for name in made["erasures"] if isinstance(made["erasures"][name], int)]
        made["erasures"].update(dict.fromkeys(names, number))
        made["completeness"]["events"] = number
        for part in ("by_actor", "by_subject", "exports"):
            made["activity"][part]["number"] = number
        return [label for label, figure in figures(report_page(made)) if figure == str(number)]

    several = labels(7)
    assert {"actors", "erasures", "exports", "entries deleted"} <= set(several)
    assert not {"of them made of others", *labels(1)} & ({*several} - {"of them made of others"})


@pytest.mark.parametrize(
    ("first", "last", "name"),
    [
        ("2026-11", None, "November 2026"),
        ("2026-11", "2026-12", "2026-11-01 to 2026-12-31"),
        ("2026-11-05", None, "2026-11-05"),
        ("2026-11-05", "2026-11-06", "2026-11-05 to 2026-11-06"),
        ("2026-11-05T10:30", "2026-11-06", "2026-11-05 10:30:00 to 2026-11-06 23:59:59"),
        ("2024-02", None, "February 2024"),
    ],
)
@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Chatham", "America/Santiago"])
def test_name_of_a_period(first: str, last: str | None, name: str, zone: str) -> None:
    """A month has its name, in every time zone; what is none says from when to when."""
    assert period_name(Period.of(first, last, zone).facts()) == name


@pytest.mark.parametrize("month", ["0001-01", "9999-12"])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Chatham", "America/Santiago"])
def test_the_ends_of_the_calendar(month: str, zone: str) -> None:
    """A clock that has no such midnight says the times instead."""
    assert month[:4].lstrip("0") in period_name(Period.of(month, None, zone).facts())


def _hole(why: str) -> Callable[[Facts], None]:
    def change(part: Facts) -> None:
        part["trails"][0]["missing"] = [{"first": 3, "last": 5, "why": why}]

    return change


def _finding(verdict: str) -> Callable[[Facts], None]:
    def change(part: Facts) -> None:
        one = {"file": "a", "sequence": 3, "kind": "altered", "explanation": "x"}
        part["findings"] = [{**one, "trail": "page", "may_be_of_the_period": True}]
        part["verdict"] = verdict

    return change


def _lost_keys(events: int) -> Callable[[Facts], None]:
    return lambda part: part.update(lost_keys="x", events_with_lost_keys=events)


def _from_elsewhere(part: Facts) -> None:
    part["unknown"] = None


def _deleted(part: Facts) -> None:
    _from_elsewhere(part)
    _hole("deleted")(part)


@pytest.mark.parametrize(
    ("change", "kind", "word", "text"),
    [
        (_from_elsewhere, "ok", "Complete", "cover every event"),
        (lambda part: None, "unknown", "Complete as far as is known", "could be missing"),
        (_hole("deleted"), "unknown", "Complete as far as is known", "3 events were deleted"),
        (_deleted, "info", "Complete, but for what retention deleted", "3 events were deleted"),
        (_hole("lost"), "warning", "Complete with exceptions", "3 events were lost"),
        (_hole("unexplained"), "bad", "Not complete", "3 events are not here"),
        (_finding("damage"), "bad", "Not complete", "1 finding"),
        (_finding("not proved"), "warning", "Complete with exceptions", "1 finding"),
        (lambda part: part.update(keys=[]), "unknown", "Complete as far as is known", "No public"),
        (lambda part: part.update(not_proved=["x"]), "warning", "Complete with exceptions", "X."),
        (_lost_keys(1), "warning", "Complete with exceptions", "X."),
        (_lost_keys(0), "unknown", "Complete as far as is known", "X."),
    ],
)
def test_what_it_says_first(
    facts: Facts, change: Callable[[Facts], None], kind: str, word: str, text: str
) -> None:
    """If the period is complete, and what is missing or not proved: all on the page."""
    changed = copy.deepcopy(facts)
    change(changed["completeness"])
    first = headline(changed)
    assert (first.kind, first.word) == (kind, word)
    assert any(text in one.text for one in statements(changed))
    page = report_page(changed)
    assert all(one.word in page for one in [first, *statements(changed)])


def _worst(value: Any) -> Any:
    """*value* with text that is long and has characters that are escaped to many."""
    if isinstance(value, dict):
        return {key: _worst(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_worst(one) for one in value]
    return '"' * 10_000 if value == "x" else value


@pytest.mark.slow
def test_size(facts: Facts) -> None:
    """However long the lists of a report are, and the words in them, it is below 5 MB."""
    big = copy.deepcopy(facts)
    activity, erasures = big["activity"], big["erasures"]
    for part, key in (("by_actor", "user_id"), ("by_subject", "subject_id")):
        row = {**activity[part]["top"][0], key: "x"}
        activity[part] = {"number": 200_000, "top": [row] * 100}
    activity["exports"]["first"] = [{**activity["exports"]["first"][0], "user_id": "x"}] * 100
    who = {"subjects": ["x"] * 20, "user_id": "x", "request_id": "x"}
    erasures["first"] = [{**erasures["first"][0], **who}] * 1000
    whole = big["completeness"]
    finding = {"file": "x", "sequence": 3, "kind": "altered", "explanation": "x"}
    whole["findings"] = [{**finding, "trail": "x", "may_be_of_the_period": True}] * 1000
    whole["trails"][0]["missing"] = [{"first": 3, "last": 5, "why": "lost"}] * 1000
    whole["trails"] += [{**whole["trails"][0], "trail": "x", "missing": []}] * 500
    whole["not_proved"] = ["x"] * 500
    assert len(report_page(_worst(big)).encode()) < 5_000_000


@pytest.mark.component
def test_page_in_browser(output: Path, tmp_path: Path) -> None:
    """It keeps what every page keeps; hostile names are text; it is all on paper."""
    from browser import check_page, chromium, opened, printed

    path = output / "report.html"
    with chromium() as browser:
        check_page(browser, path)
        with opened(browser, path) as page:
            text = " ".join(page.inner_text("body").split())
            for name in HOSTILE:
                assert " ".join(visible(name).split()) in text
            table = page.locator(".table", has_text="Actors: who did it")
            table.get_by_role("searchbox").fill("emoji")
            assert table.get_by_role("rowheader").filter(visible=True).count() == 1
            paper = printed(page, tmp_path / "report.pdf")
    for part in ("Scope", "Completeness", "Coverage", "Activity", "Alerts", "Register", "Proofs"):
        assert part in paper
