"""A receipt as people read it: text, and a page of HTML."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.evidence.receipt import as_html, as_text, sections

KEY = new_key("auditor")
HOSTILE = '<script>alert("x")</script>\n\x1b[2J\u202e$made & <img src=x onerror=y>'


class Page(HTMLParser):
    """The tags of a page, and the text of its ``pre``."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[str] = []
        self.json = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] == ["pre"]:
            self.json += data


@pytest.fixture(name="hostile")
async def _hostile(tmp_path: Any) -> dict[str, Any]:
    """A receipt for an erasure all of whose ids and words are hostile."""
    audit = AuditLogger(
        auto_export_path=tmp_path, signing_key=KEY, name="page", registry=CollectorRegistry()
    )
    await audit.log_event("EXPORT", HOSTILE, entry_ids=[HOSTILE])
    event = await audit.log_event(
        "FORGET",
        HOSTILE,
        entry_ids=[HOSTILE, "plain"],
        subject_id=HOSTILE,
        metadata={"deleted": 1, "remaining_ids": ["plain"], "request_id": HOSTILE},
        error_type=HOSTILE,
        status="PARTIAL",
    )
    await audit.log_event("RECALL", HOSTILE, entry_ids=[HOSTILE])
    audit.close()
    return audit.receipt(event.event_id, subject_id=HOSTILE)


def test_text_is_harmless(hostile: dict[str, Any]) -> None:
    """No control character, no line that is wider than asked; each section has words."""
    for width in (40, 80, 200):
        text = as_text(hostile, width)
        assert all(line.isprintable() and len(line) <= width for line in text.splitlines())
        assert text.split("\n")[0] == "RECEIPT OF AN ERASURE"
    assert all(section.paragraphs for section in sections(hostile))


def test_text_says_it(hostile: dict[str, Any]) -> None:
    """The facts, in words."""
    text = " ".join(as_text(hostile).split())
    for words in (
        "signed by auditor",
        "1 memory entry was deleted",
        "its outcome is PARTIAL",
        "The trail confirms that it was the data of",
        "It was not checked",
        "1 entry could not be deleted, and may still be in the memory: plain.",
        "no rule deletes them by age",
        "Yes, in 1 event.",
        "Before the erasure 1 export took",
        "Backups of the memory's storage.",
        "python3 verify_proof.py receipt.json KEY",
    ):
        assert words in text


def test_page_is_harmless(hostile: dict[str, Any]) -> None:
    """It has no tag and no attribute but its own, no script, and nothing from a network."""
    found = Page(as_html(hostile))
    plain = Page(as_html(hostile).replace("alert", ""))
    assert set(found.tags) == set(plain.tags)
    assert not {"script", "img", "iframe", "form", "object", "base"} & set(found.tags)
    assert not [
        name for name in found.attributes if name.startswith("on") or name in ("src", "style")
    ]
    page = as_html(hostile)
    assert "script-src 'none'" in page
    assert "default-src 'none'" in page
    assert "http://" not in page
    assert "https://" not in page
    assert "\x1b" not in page


def test_page_has_the_receipt(hostile: dict[str, Any]) -> None:
    """The form that is verified can be copied out of the page."""
    assert json.loads(Page(as_html(hostile)).json) == hostile


def test_page_and_text_say_the_same(hostile: dict[str, Any]) -> None:
    """Each heading of one is in the other."""
    page, text = as_html(hostile), as_text(hostile)
    for section in sections(hostile):
        assert f">{section.heading}</a></h2>" in page
        assert f"\n{section.heading}\n" in text


def test_unsigned(hostile: dict[str, Any]) -> None:
    """It says so where one reads first."""
    text = hostile["statement"].partition("\n\n")[0]
    unsigned = {**hostile, "statement": f"{text}\n\n"}
    assert "NOT SIGNED" in as_text(unsigned).split("\n\n")[0]
    assert "NOT SIGNED" in as_html(unsigned)


def test_points_of_a_later_version(hostile: dict[str, Any]) -> None:
    """A kind that is not known is named, and not left out."""
    text, _, signature = hostile["statement"].partition("\n\n")
    first, facts = text.split("\n")
    said = json.loads(facts)
    said["remains"] = [{"kind": "tape_in_a_vault"}]
    later = {**hostile, "statement": f"{first}\n{json.dumps(said)}\n\n{signature}"}
    assert "tape in a vault." in as_text(later)


@pytest.mark.component
def test_page_in_browser(hostile: dict[str, Any], tmp_path: Path) -> None:
    """It keeps what every page keeps, and is all on paper but for its form for programs."""
    from browser import check_page, chromium, opened, printed

    path = tmp_path / "receipt page.html"
    path.write_text(as_html(hostile), encoding="utf-8")
    with chromium() as browser:
        check_page(browser, path)
        with opened(browser, path) as page:
            assert json.loads(page.locator("pre").text_content()) == hostile
            text = printed(page, tmp_path / "receipt.pdf")
    for section in sections(hostile):
        assert section.heading in text
