"""A million events: the pages of `axon-audit view` say what the files say."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from urllib.parse import parse_qsl

import pytest
from viewing import viewing

from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.search import search
from axon_audit_otel.viewer.filters import Filters
from benchmarks.viewer import FILTERS, generate

pytestmark = pytest.mark.slow

_FOLLOWED = 500  # events of an answer whose pages are read


def test_a_million_events(tmp_path: Path) -> None:
    """Every filter has the number of events that a search in the files finds, and the same first
    pages; the first one also without the index."""
    generate(tmp_path, 1_000_000)
    with viewing(tmp_path, has_index=False) as view:
        for given in FILTERS:
            fields = dict(parse_qsl(given))
            found = search(tmp_path, Filters.of(fields).query, missing=Missing(strict=True))
            newest = [event.event_id for event in islice(found, _FOLLOWED)]
            count = len(newest) + sum(1 for _ in found)
            pages = view.pages(**fields)
            assert list(islice(view.ids_on(pages), _FOLLOWED)) == newest, given
            if view.viewer.follow.index is None:
                view.viewer.start()
                assert view.viewer.follow.wait(600)
            assert f"{count:,} event" in view.text(**fields), given
            assert list(islice(view.ids_on(view.pages(**fields)), _FOLLOWED)) == newest, given
