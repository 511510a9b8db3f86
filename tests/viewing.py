"""A viewer over an archive, and a client that knows its token."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

pytest.importorskip("flask", reason="it comes with the extra `view`")

from werkzeug.test import Client, TestResponse

from axon_audit_otel.cli.event_words import details, without_ciphers
from axon_audit_otel.cli.export import export_events
from axon_audit_otel.viewer.app import Words
from axon_audit_otel.viewer.viewer import Viewer

__all__ = ["WORDS", "Viewing", "address_in", "viewing"]

WORDS = Words(details, without_ciphers, export_events)


class Viewing:
    """Asks the pages of a viewer, without a network."""

    def __init__(self, viewer: Viewer) -> None:
        self.viewer = viewer
        self.base = "{0.scheme}://{0.netloc}".format(urlsplit(viewer.url))
        self.client = Client(viewer.app)

    def get(self, page: str = "/", **given: Any) -> TestResponse:
        """The answer for a page; *given* are filters."""
        known: dict[str, Any] = {"query_string": given} if given else {}
        return self.client.get(page, base_url=self.base, buffered=True, **known)

    def text(self, page: str = "/", **given: Any) -> str:
        """The page of an answer that is well."""
        answer = self.get(page, **given)
        assert answer.status_code == 200, answer.text
        return answer.text

    def ids(self, page: str = "/", **given: Any) -> list[str]:
        """The ids of the events in the table of a page, from the top."""
        return _ids_in(self.text(page, **given))

    def pages(self, **given: Any) -> Iterator[str]:
        """Yield the pages of what passes the filters, from the newest on."""
        page = self.text(**given)
        yield page
        while older := address_in(page, 'rel="next" href'):
            page = self.text(older)
            yield page

    def all_ids(self, **given: Any) -> list[str]:
        """The ids of the events on all these pages."""
        return list(self.ids_on(self.pages(**given)))

    @staticmethod
    def ids_on(pages: Iterable[str]) -> Iterator[str]:
        """Yield the ids of the events in the tables of *pages*."""
        return (one for page in pages for one in _ids_in(page))


def address_in(page: str, attribute: str) -> str | None:
    """What an attribute of a page holds, written as ``rel="next" href``; None without it."""
    found = re.search(f'{attribute}="([^"]+)"', page)
    return None if found is None else html.unescape(found[1])


def _ids_in(page: str) -> list[str]:
    table = page.partition("<tbody")[2].partition("</tbody>")[0]
    return re.findall(r'href="/event\?id=(evt_[0-9a-f]{32})', table)


@contextmanager
def viewing(path: Path, *, has_index: bool = True, **given: Any) -> Iterator[Viewing]:
    """A viewer that has its index, unless it should not have one, and whose token was given."""
    viewer = Viewer(path, WORDS, **given)
    try:
        if has_index:
            viewer.start()
            assert viewer.follow.wait(60)
        found = Viewing(viewer)
        token = urlsplit(viewer.url).query.partition("=")[2]
        assert found.get("/", token=token).status_code == 303
        yield found
    finally:
        viewer.close()
