"""The parts of pages in a real Chromium: searched, sorted, narrow, dark, printed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, check_page, chromium, opened, printed
from hostile_names import HOSTILE, visible

from axon_audit_otel.evidence.charts import stacked
from axon_audit_otel.evidence.pages import environment

pytestmark = pytest.mark.component

ROWS = [
    ["bob", 9, "2026-11-02T10:00:00Z", ("ok", "Success")],
    ["alice", 1_000, "2026-10-31T23:59:59.9Z", ("bad", "Failure")],
    ["carol", None, None, ("unknown", "Unknown")],
    ["dave", 80, "2026-11-02T12:30:00+05:00", ("warning", "Partial")],
    *([f"user-{n}", n, f"2026-09-01T00:00:{n:02}Z", ("ok", "Success")] for n in range(10, 16)),
]
PAGE = """{% extends "base.html" %}
{% import "macros.html" as m %}
{% block title %}Specimen of {{ names[0] }}{% endblock %}
{% block content %}
{{ m.contents([("all", "Everything"), ("chart", "A chart")]) }}
{% for kind in ("ok", "warning", "bad", "unknown", "info") %}
{{ m.note(kind, "Word", names[1]) }}
{% endfor %}
{{ m.tiles([(1234567, "events"), ("November", "month")]) }}
{% call m.section("all", "Everything", "GDPR 15(1)") %}
{{ m.facts([("Name", names[1]), ("Nothing", none), ("Long", names[7])]) }}
{{ m.table("People", [("Who", "name"), ("Events", "number"), ("Last", "time"), ("Outcome", "mark")],
           rows) }}
{{ m.table("Names", [("Name", "name"), ("Names", "names"), ("Share", "bar")], hostile) }}
{{ m.table("Long", [("Who", "name"), ("Events", "number")], rows, 2) }}
{{ m.table("Numbers", [("Counted", "number")], many) }}
{{ m.table("Empty", [("Who", "name")], []) }}
{% endcall %}
{% call m.section("chart", "A chart") %}
{{ m.chart("By day", "Between 0 and 9 a day", chart, "Day") }}
{{ m.json("As JSON", "{\\n}") }}
{% endcall %}
{% endblock %}"""


@pytest.fixture(name="browser", scope="module")
def _browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page with every part, and names that are hostile."""
    days = [f"2026-11-{day:02}" for day in range(1, 31)]
    series = {name: [day % 10 for day in range(30)] for name in HOSTILE}
    facts = {
        "names": HOSTILE,
        "rows": ROWS,
        "hostile": [[name, HOSTILE, at] for at, name in enumerate(HOSTILE)],
        "many": [[number] for number in range(100)],
        "chart": stacked(days, series),
    }
    path = tmp_path_factory.mktemp("page") / "specimen.html"
    path.write_text(environment().from_string(PAGE).render(facts), encoding="utf-8")
    return path


def test_what_every_page_keeps(browser: Browser, page: Path) -> None:
    """No error, no request, nothing wider than the screen; contrast, headings, names of fields."""
    check_page(browser, page)


def test_hostile_names_are_text(browser: Browser, page: Path) -> None:
    """Each is read as it is; none runs."""
    with opened(browser, page) as on:
        text = " ".join(on.inner_text("body").split())
        for name in HOSTILE:
            assert " ".join(visible(name).split()) in text
        assert on.locator("img, bdi script, bdi a").count() == 0


def test_search(browser: Browser, page: Path) -> None:
    """Rows that have all words stay; it says how many; with nothing asked all are back."""
    with opened(browser, page) as on:
        box = on.locator(".table", has_text="People")
        field = box.get_by_role("searchbox", name="Search this table")
        field.press_sequentially("SUCCESS bob")
        assert box.get_by_role("row").filter(visible=True).count() == 2  # with the header
        assert box.get_by_role("status").inner_text() == "1 of 10 rows have “SUCCESS bob”"
        field.fill("nobody")
        assert box.get_by_role("rowheader").filter(visible=True).count() == 0
        field.fill("")
        assert box.get_by_role("rowheader").filter(visible=True).count() == len(ROWS)


@pytest.mark.parametrize(
    ("column", "ascending"),
    [
        ("Who", ["alice", "bob", "carol", "dave", *(f"user-{n}" for n in range(10, 16))]),
        ("Events", ["bob", *(f"user-{n}" for n in range(10, 16)), "dave", "alice", "carol"]),
        ("Last", [*(f"user-{n}" for n in range(10, 16)), "alice", "dave", "bob", "carol"]),
    ],
)
def test_sort(browser: Browser, page: Path, column: str, ascending: list[str]) -> None:
    """By key alone: numbers as numbers, times as times; what is not known is last both ways."""
    with opened(browser, page) as on:
        box = on.locator(".table", has_text="People")
        header = box.get_by_role("columnheader", name=column)
        button = header.get_by_role("button", name=column, exact=True)
        names = box.get_by_role("rowheader")
        button.focus()
        on.keyboard.press("Enter")
        assert names.all_inner_texts() == ascending
        assert header.get_attribute("aria-sort") == "ascending"
        on.keyboard.press("Space")
        known = [name for name in reversed(ascending) if name != "carol" or column == "Who"]
        assert names.all_inner_texts() == known + ["carol"] * (column != "Who")
        assert box.locator("[aria-sort=descending]").all_inner_texts() == [column]


def test_print(browser: Browser, page: Path, tmp_path: Path) -> None:
    """All the text is on paper, also the numbers of a chart, with the headers on every page."""
    with opened(browser, page) as on:
        text = printed(on, tmp_path / "page.pdf")
    for words in ("Everything", "user-15", "alice", "not known", "8 more rows", "2026-11-30"):
        assert words in text
    assert text.count("Counted") > 2  # once a page
    assert "Search this table" not in text
    assert "As JSON" not in text  # for programs
