"""The page of a dossier in a real Chromium."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Browser, check_page, chromium, opened, printed
from hostile_names import HOSTILE
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, audit_context
from axon_audit_otel.evidence.dossier import make_dossier
from axon_audit_otel.evidence.dossier_page import as_html

pytestmark = pytest.mark.component


async def _record(path: Path, who: str) -> None:
    audit = AuditLogger(auto_export_path=path, registry=CollectorRegistry())
    for number, name in enumerate(HOSTILE):
        key = f"{name[:40]}-{number}"
        with audit_context(user_id=name, agent_id=name, purpose=name):
            await audit.log_event("STORE", subject_id=who, entry_ids=[key])
            await audit.log_event("RECALL", subject_id=who, entry_ids=[key])
            await audit.log_event("EXPORT", subject_id=who, metadata={"recipient": name})
    await audit.log_event("FORGET", user_id=HOSTILE[1], subject_id=who, entry_ids=[f"{who}-0"])
    audit.close()


@pytest.fixture(name="page", scope="module")
def _page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dossier of somebody with a hostile name, whom others with such names read."""
    place, who = tmp_path_factory.mktemp("dossier"), HOSTILE[0]
    asyncio.run(_record(place / "archive", who))
    page = place / "dossier.html"
    with make_dossier(place / "archive", who, show_actors=True) as made:
        page.write_text(as_html(made, "UTC"), encoding="utf-8")
    return page


@pytest.fixture(name="browser", scope="module")
def _browser(page: Path) -> Iterator[Browser]:  # which needs an event loop of its own before
    with chromium() as browser:
        yield browser


def test_page(browser: Browser, page: Path, tmp_path: Path) -> None:
    """It holds what every page does; it is searched; on paper it has all parts."""
    check_page(browser, page)
    with opened(browser, page) as shown:
        search = shown.get_by_role("searchbox").first
        search.fill("emoji")
        table = shown.locator("table").first
        assert table.locator("tbody tr:visible").count() == 1
        text = printed(shown, tmp_path / "page.pdf")
    for heading in ("Who read your data", "Your rights", "To be filled in by the organisation"):
        assert heading in text
