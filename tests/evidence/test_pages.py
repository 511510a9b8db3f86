"""Pages and charts: what is in them, without a browser."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from html.parser import HTMLParser

import pytest
from hostile_names import HOSTILE, visible
from jinja2 import UndefinedError

from axon_audit_otel.core.errors import AuditConfigError
from axon_audit_otel.evidence.charts import stacked
from axon_audit_otel.evidence.pages import environment, render


def _made(content: str, **facts: object) -> str:
    start = "{% extends 'base.html' %}{% import 'macros.html' as m %}"
    page = (
        f"{start}{{% block title %}}T{{% endblock %}}{{% block content %}}{content}{{% endblock %}}"
    )
    return environment().from_string(page).render(facts)


class Text(HTMLParser):
    """The text between tags, and the tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text = ""
        self.tags: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize(
    "place", ["{{ x }}", "{{ x|name }}", "<p title='{{ x }}'>", "{{ x|lines }}"]
)
def test_what_is_printed_is_text(name: str, place: str) -> None:
    """However a template prints a name, it adds no tag and no character that is not seen."""
    harmless, page = _made(place, x="x"), _made(place, x=name)
    assert [tag for tag in Text(page).tags if tag != "small"] == Text(harmless).tags
    assert all(c.isprintable() or c == "\n" for c in page)
    page.encode()
    if "title" not in place and "lines" not in place:
        assert visible(name) in Text(page).text


def test_values() -> None:
    """Nothing stands there as Python writes it."""
    page = _made(
        "{{ n }}|{{ t }}|{{ f }}|{{ m.facts([('a', n), ('b', t)]) }}", n=None, t=True, f=False
    )
    assert "not known|yes|no|" in page
    assert "None" not in page
    assert "True" not in page


def test_what_is_missing_is_an_error() -> None:
    """A fact that a page wants and does not get is no empty place."""
    with pytest.raises(UndefinedError, match="nothing"):
        _made("{{ nothing }}")
    with pytest.raises(UndefinedError, match="made"):
        render("receipt.html")


def test_times_and_numbers() -> None:
    """A time says its offset; both sort by what they are."""
    row = ["2026-11-02T10:00:00.5+01:00", 1_234_567]
    page = _made("{{ m.table('T', [('When', 'time'), ('N', 'number')], [row]) }}", row=row)
    assert ">2026-11-02 10:00:00 +01:00<" in page
    assert 'data-order="1793610000500000"' in page
    assert 'data-order="1234567"' in page
    assert "1,234,567" in page


@pytest.mark.parametrize("kind", ["name", "names", "number", "time", "code", "text"])
@pytest.mark.parametrize("value", ["x" * 30, 7, 1.5, 10**30, True, [], [[1], {}], {"a": {}}, "<b>"])
def test_cells_of_another_kind(kind: str, value: object) -> None:
    """What an archive says may be of any type: it is shown."""
    page = _made("{{ m.table('C', [('A', kind)], [[value]]) }}", kind=kind, value=value)
    assert "<b>" not in page.partition("<tbody")[2]


def test_only_our_own_runs() -> None:
    """The policy has the hash of each style and script of the page, and allows nothing else."""
    for page in (_made("x"), _made("x", still=True), _made("x", served=True)):
        policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)
        assert policy
        rules = dict(rule.strip().split(" ", 1) for rule in policy[1].split(";"))
        assert rules["default-src"] == "'none'"
        for tag, rule in (("style", "style-src"), ("script", "script-src")):
            contents = re.findall(f"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
            hashes = [hashlib.sha256(one.encode()).digest() for one in contents]
            known = [f"'sha256-{base64.b64encode(one).decode()}'" for one in hashes]
            assert rules[rule].split() == (known or ["'none'"])


def test_long_tables_say_what_they_lack() -> None:
    """Of an iterator as of a list the first rows are shown, and how many more there are."""
    columns = [("N", "number")]
    call = "{{ m.table('T', columns, rows, 3, total, 'they are in report.json') }}"
    for rows, total in (([[n] for n in range(9)], None), (([n] for n in range(9)), 9)):
        text = Text(_made(call, columns=columns, rows=rows, total=total)).text
        assert "the first 3 of 9" in text
        assert "6 more rows are not shown here: they are in report.json." in text
    assert "None." in Text(_made(call, columns=columns, rows=[], total=None)).text


def test_without_jinja(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "jinja2", None)
    environment.cache_clear()
    with pytest.raises(AuditConfigError, match=r"pip install 'axon-audit-otel\[report\]'"):
        render("receipt.html")


@pytest.mark.parametrize("days", [0, 1, 2, 31, 366])
def test_chart(days: int) -> None:
    """Each column ends at the height that its sum has on the scale; the table has the numbers."""
    series = {f"OP{n}": [n * day for day in range(days)] for n in range(9)}
    chart = stacked([str(day) for day in range(days)], series)
    top = chart.lines[0][1]
    assert len(chart.names) <= 6
    assert len([one for one in chart.columns if one.tick]) <= 6
    for day, column in enumerate(chart.columns):
        assert sum(part.height for part in column.parts) == pytest.approx(
            3600 * day / top, abs=0.01
        )
        assert column.parts[-1].y >= -0.01
        assert 0 <= column.x < column.x + column.width <= 100
    assert sum(sum(row[1:]) for row in chart.rows()) == 36 * sum(range(days))


@pytest.mark.parametrize(
    ("number", "label"),
    [(0, "erasures"), (1, "erasure"), (2, "erasures"), ("November", "erasures")],
)
def test_label_of_a_figure(number: object, label: str) -> None:
    """One thing has a label of its own."""
    page = _made("{{ m.tiles([(number, ('erasure', 'erasures'))]) }}", number=number)
    assert f"<dt>{label}</dt>" in page
