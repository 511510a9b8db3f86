"""`axon-audit view` in a real Chromium."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import Make, archived
from hostile_names import HOSTILE
from viewing import viewing

browser = pytest.importorskip("browser", reason="it comes with the extra `components`")

pytestmark = pytest.mark.component

_WAIT_MS = 60_000


@contextmanager
def _served(path: Path, **given: Any) -> Iterator[str]:
    """The address of a viewer that serves *path*."""
    with viewing(path, **given) as view:
        assert view.viewer.verification.wait(60)
        thread = threading.Thread(target=view.viewer.serve)
        thread.start()
        try:
            yield view.viewer.url
        finally:
            view.viewer.close()
            thread.join()


async def _filled(make_audit: Make, directory: Path) -> None:
    audit = make_audit(auto_export_path=directory, max_events=40)
    for number in range(120):
        await audit.log_event(
            "RECALL" if number % 3 else "STORE",
            user_id=f"user-{number % 7}",
            entry_ids=[f"entry-{number % 5}"],
            status="FAILURE" if number % 13 == 0 else "SUCCESS",
            metadata={"n": number},
        )
    for name in HOSTILE:
        await audit.log_event("STORE", user_id=name, entry_ids=[name], metadata={"note": name})
    audit.close()


def _in_a_thread(work: Coroutine[Any, Any, Any]) -> None:
    """Playwright has a loop in this one."""
    thread = threading.Thread(target=asyncio.run, args=(work,))
    thread.start()
    thread.join()


def test_a_visit(make_audit: Make, tmp_path: Path) -> None:
    """From the printed address to filters, pages, one event, its neighbour, and an export."""
    asyncio.run(_filled(make_audit, tmp_path))
    with browser.chromium() as chromium, _served(tmp_path) as url:
        with browser.opened(chromium, url) as page:
            assert page.url == url.partition("?")[0]
            assert page.locator(".events caption").inner_text().startswith("132 events")
            page.get_by_label("Operation").select_option("STORE")
            page.get_by_label("User", exact=True).fill("user-3")
            page.get_by_role("button", name="Show", exact=True).click()
            page.wait_for_url("**operation=STORE&user=user-3")
            rows = page.locator(".events tbody tr")
            assert rows.count() == int(page.locator(".events caption").inner_text().split()[0]) > 3
            with page.expect_download() as download:
                page.get_by_role("link", name="CSV").click()
            content = download.value.path().read_text(encoding="utf-8")
            assert download.value.suggested_filename == "audit-events.csv"
            assert content.count("\n") == rows.count() + 1
            page.get_by_role("link", name="remove this filter").first.click()
            page.get_by_role("link", name="Show all").click()
            page.get_by_role("link", name="Older").click()
            page.wait_for_url("**before=**")
            page.locator(".events tbody a").first.click()
            page.wait_for_url("**/event?id=**")
            first = page.url
            assert page.get_by_text("its previous_hash is the hash of that event").count() == 1
            page.locator("#chain + * a, .links a").first.click()
            page.wait_for_url(lambda address: address != first)
            page.get_by_role("link", name="Verified up to").click()
            page.get_by_role("heading", name="default").wait_for()
        with browser.opened(chromium, url) as page:
            page.locator(".timeline a").first.click()
            page.wait_for_url("**since=**until=**")
            assert page.locator(".events tbody tr").count() > 0


def test_what_holds_for_every_page(make_audit: Make, tmp_path: Path) -> None:
    """Wide, narrow, dark, without scripts; hostile names are text, also in one event's page."""
    asyncio.run(_filled(make_audit, tmp_path))
    hostile = [event for event in archived(tmp_path) if event.user_id in HOSTILE]
    with browser.chromium() as chromium, _served(tmp_path) as url:
        browser.check_page(chromium, url)
        with browser.opened(chromium, url) as page:
            for event in hostile:
                page.goto(f"{url.partition('?')[0]}event?id={event.event_id}")
                page.goto(f"{url.partition('?')[0]}?user=" + "x" * 1000)
        for address in ("event?id=" + hostile[0].event_id, "verification", "lineage?entry=entry-1"):
            with _signed_in(chromium, url) as context:
                page = context.new_page()
                page.goto(url.partition("?")[0] + address)
                assert page.locator("h1").count() == 1


@contextmanager
def _signed_in(chromium: Any, url: str) -> Iterator[Any]:
    context = chromium.new_context(viewport={"width": 320, "height": 800})
    with context:
        context.new_page().goto(url)
        yield context


#: Lines that each cell of some columns has, and how much of the table is out of sight.
_TABLE = """() => {
  const box = document.querySelector('.events');
  const lines = ({firstElementChild: cell}) =>
    Math.round(cell.getBoundingClientRect().height / parseFloat(getComputedStyle(cell).lineHeight));
  const cells = [...box.querySelectorAll('tbody tr > :nth-child(-n+3)')];
  return [box.scrollWidth - box.clientWidth, Math.max(...cells.map(lines))];
}"""


@pytest.mark.parametrize(("width", "lines"), [(660, 2), (800, 1), (1100, 1)])
def test_the_table_fits(make_audit: Make, tmp_path: Path, width: int, lines: int) -> None:
    """Also with encrypted ids: nothing is out of sight, and no word is broken."""
    path = tmp_path / "logs"

    async def fill() -> None:
        audit = make_audit(auto_export_path=path, erasable=tmp_path / "keys")
        for operation in ("RECALL", "TRANSACTION", "BULK_STORE"):
            await audit.log_event(operation, user_id="alice", subject_id="bob", entry_ids=["e"])
        audit.close()

    _in_a_thread(fill())
    with (
        _served(path) as address,
        browser.chromium() as chromium,
        browser.opened(chromium, address, width=width) as page,
    ):
        assert page.evaluate(_TABLE) == [0, lines]
        paper = browser.printed(page, tmp_path / "page.pdf")
        assert "event?id=" not in paper  # no addresses
        assert {"TRANSACTION", "BULK_STORE"} <= set(paper.split())


def test_new_events_are_told(make_audit: Make, tmp_path: Path) -> None:
    """The page says that there are new ones, and a click shows them."""
    audit = make_audit(auto_export_path=tmp_path)
    _in_a_thread(audit.log_event("STORE", user_id="first"))
    with (
        browser.chromium() as chromium,
        _served(tmp_path) as url,
        browser.opened(chromium, url) as page,
    ):
        _in_a_thread(audit.log_event("STORE", user_id="second"))
        page.get_by_role("link", name="Show 1 new event").click(timeout=_WAIT_MS)
        page.get_by_role("link", name="second", exact=True).wait_for()
    audit.close()


def test_the_end_is_told(make_audit: Make, tmp_path: Path) -> None:
    """A page whose server has ended says that it is not up to date any more."""
    asyncio.run(_filled(make_audit, tmp_path))
    with browser.chromium() as chromium:
        context = chromium.new_context()
        with context:
            page = context.new_page()
            with _served(tmp_path) as url:
                page.goto(url)
            page.get_by_text("axon-audit view has ended").wait_for(timeout=_WAIT_MS)
