"""Every panel of every dashboard, drawn by Grafana's own components in a real Chromium from a
real Prometheus that scrapes the demo's load."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from victoria_logs_server import VictoriaLogs

from axon_audit_otel.events.model import OperationType

if TYPE_CHECKING:
    from dashboards.preview.stage import Stage

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(path.name for path in (ROOT / "dashboards").glob("*.json"))
OF_VICTORIA_LOGS = "victorialogs/security-compliance.json"
PICTURES = ROOT / "dashboards" / "pictures"

real = [pytest.mark.component, pytest.mark.slow]


def _panels(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """All panels but the headings of rows, those of closed rows too."""
    nested = [inner for panel in dashboard["panels"] for inner in panel.get("panels", [])]
    return [panel for panel in [*dashboard["panels"], *nested] if panel["type"] != "row"]


def _broken(dashboard: dict[str, Any]) -> dict[str, Any]:
    """Panels of it that ask for what there is not, one that cannot be asked, one of a kind that
    nobody knows; and two well ones."""
    kinds = {panel["type"]: panel for panel in _panels(dashboard)}
    graph, heatmap, stat = (kinds[kind] for kind in ("timeseries", "heatmap", "stat"))
    panels = [
        {**graph, "targets": [{"refId": "A", "expr": "axon_no_such_metric"}]},
        {**heatmap, "targets": [{"refId": "A", "expr": "axon_no_such", "format": "heatmap"}]},
        {**stat, "targets": [{"refId": "A", "expr": "0 / (up == 2)", "instant": True}]},
        {**graph, "targets": [{"refId": "A", "expr": "sum(up"}]},
        {**stat, "type": "crystal-ball"},
        {**stat, "type": "table", "targets": [{"refId": "A", "expr": "up", "format": "table"}]},
        {**stat, "type": "text", "targets": [], "options": {"content": "Trail `$trail`"}},
    ]
    numbered = [{**panel, "id": number} for number, panel in enumerate(panels, 1)]
    return {**dashboard, "panels": numbered}


def _rows(text: str) -> list[tuple[str, str]]:
    """Operation and status of each row of a table, in which they stand beside each other."""
    operations = "|".join(operation.value for operation in OperationType)
    return re.findall(f"({operations})(SUCCESS|PARTIAL|FAILURE)", text)


@pytest.fixture(name="stage", scope="module")
def _stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Half a minute of load, and everything to look at it."""
    try:
        from dashboards.preview.stage import Stage, missing

        lacking = missing()
    except ModuleNotFoundError as exc:
        lacking = [str(exc)]
    if lacking:
        reason = f"no pictures without {', '.join(lacking)} (see CONTRIBUTING.md)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; in CI that is no reason to skip")
        pytest.skip(reason)
    shown = tmp_path_factory.mktemp("dashboards")
    (shown / "victorialogs").mkdir()
    for name in (*NAMES, OF_VICTORIA_LOGS):
        shutil.copy(ROOT / "dashboards" / name, shown / name)
    overview = json.loads((shown / "memory-overview.json").read_text("utf-8"))
    (shown / "broken.json").write_text(json.dumps(_broken(overview)), "utf-8")
    store = VictoriaLogs(tmp_path_factory.mktemp("victoria-logs"))
    with (
        contextlib.closing(store),
        Stage.run(tmp_path_factory.mktemp("stage"), 1, shown, store.url) as stage,
    ):
        stage.play(30)
        yield stage


class TestDrawn:
    """The text that the browser shows."""

    pytestmark = real

    @pytest.mark.parametrize("name", [*NAMES, OF_VICTORIA_LOGS])
    def test_every_panel_shows_data(self, stage: Stage, name: str) -> None:
        """Each panel is there and shows something that came from the query, under its title,
        and the browser complains about nothing."""
        drawn = stage.open(name)
        wanted = _panels(json.loads((ROOT / "dashboards" / name).read_text("utf-8")))
        shown = {panel.id: panel for panel in drawn.panels()}
        assert {panel["id"]: panel["title"] for panel in wanted} == {
            panel.id: panel.title for panel in shown.values()
        }
        assert [f"{panel.title}: {panel.lack}" for panel in shown.values() if panel.lack] == []
        assert drawn.complaints == []

    def test_exemplars(self, stage: Stage) -> None:
        """Graphs and heatmaps whose queries ask for exemplars show some."""
        drawn = stage.open("memory-overview.json")
        text = (ROOT / "dashboards" / "memory-overview.json").read_text("utf-8")
        asking = {
            panel["id"]
            for panel in _panels(json.loads(text))
            if any(target.get("exemplar") for target in panel["targets"])
        }
        assert len(asking) >= 4
        assert {panel.id for panel in drawn.panels() if panel.exemplars} == asking

    @pytest.mark.parametrize("name", ["security-compliance.json", OF_VICTORIA_LOGS])
    def test_rows_are_those_asked_for(self, stage: Stage, name: str) -> None:
        """Of two tables, one has every event, the other what a security engineer looks at."""
        panels = stage.open(name).panels()
        notable, every = (_rows(panel.text) for panel in panels if panel.type == "table")
        assert notable
        assert all(
            operation in ("FORGET", "EXPORT", "IMPORT") or status != "SUCCESS"
            for operation, status in notable
        )
        assert ("STORE", "SUCCESS") in every
        assert ("RECALL", "SUCCESS") in every

    def test_what_is_not_drawn_is_noticed(self, stage: Stage) -> None:
        """The proof can fail: no data, NaN, a query that is none, a kind of panel that is
        unknown; each is told from a panel that shows something."""
        drawn = stage.open("broken.json")
        lacks = {panel.id: panel.lack for panel in drawn.panels()}
        overview = json.loads((ROOT / "dashboards" / "memory-overview.json").read_text("utf-8"))
        said = [
            panel["fieldConfig"]["defaults"]["noValue"] for panel in _broken(overview)["panels"][:3]
        ]
        assert [lacks[number] for number in (1, 2, 3)] == [f"empty: {text}" for text in said]
        assert lacks[4].startswith("failed: sum(up: ")
        assert "crystal-ball" in lacks[5]
        assert [lacks[6], lacks[7]] == ["", ""]
        assert any("400 (Bad Request)" in complaint for complaint in drawn.complaints)


@pytest.mark.parametrize("name", NAMES)
def test_picture(name: str) -> None:
    """The page of the dashboards shows a picture of each, and it is one."""
    picture = PICTURES / Path(name).with_suffix(".png").name
    page = (ROOT / "dashboards/README.md").read_text("utf-8")
    assert f"](pictures/{picture.name})" in page
    content = picture.read_bytes()
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    assert 20_000 < len(content) < 1_000_000
