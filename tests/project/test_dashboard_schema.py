"""The dashboards against Grafana's own types: TypeScript finds fields that there are not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from prometheus import boards

pytestmark = [pytest.mark.component, pytest.mark.slow]

_RAW = "@grafana/schema/dist/esm/raw/composable"
#: Kinds of panels and what Grafana calls them in its types.
_KINDS = {
    "timeseries": "TimeSeries",
    "stat": "Stat",
    "gauge": "Gauge",
    "bargauge": "BarGauge",
    "heatmap": "Heatmap",
    "logs": "Logs",
    "table": "Table",
}
#: JSON has the values of enums, not the enums.
_PLAIN = """\
type Plain<T> = T extends string ? `${T}` : T extends number | boolean | null | undefined ? T
  : T extends (infer U)[] ? Plain<U>[] : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
"""


def packages() -> Path:
    """Grafana's packages, as the preview keeps them."""
    if shutil.which("npm") is None:
        reason = "npm is not installed (Debian, Ubuntu: apt-get install npm)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; in CI that is no reason to skip")
        pytest.skip(reason)
    from dashboards.preview import serving

    return serving.packages()


class _Source:
    """TypeScript that assigns each part of a dashboard to its type."""

    def __init__(self) -> None:
        self.lines = [
            "import type { Dashboard, GraphFieldConfig, Panel, RowPanel } from '@grafana/schema';"
        ]
        for kind, name in _KINDS.items():
            path = f"{_RAW}/{kind}/panelcfg/x/{name}PanelCfg_types.gen"
            self.lines.append(f"import type {{ Options as {name} }} from '{path}';")
        self.lines.append(_PLAIN)

    def assign(self, kind: str, value: Any) -> None:
        self.lines.append(
            f"export const part{len(self.lines)}: Plain<{kind}> = {json.dumps(value)};"
        )

    def board(self, board: dict[str, Any]) -> None:
        for panel in board.pop("panels"):
            if panel["type"] == "row":
                self.assign("RowPanel", panel)
                continue
            self.assign(f"Partial<{_KINDS[panel['type']]}>", panel.pop("options"))
            custom = panel["fieldConfig"]["defaults"].pop("custom", {})
            if panel["type"] == "timeseries":
                self.assign("GraphFieldConfig", custom)
            self.assign("Panel", panel)
        for annotation in board["annotations"]["list"]:  # those of Prometheus have more
            for name in ("target", "titleFormat", "tagKeys", "step"):
                del annotation[name]
        self.assign("Dashboard", board)


def compiled(source: _Source, directory: Path) -> str:
    """The output of the compiler."""
    (directory / "node_modules").symlink_to(packages(), target_is_directory=True)
    (directory / "boards.ts").write_text("\n".join(source.lines))
    options = {
        "strict": True,
        "noEmit": True,
        "skipLibCheck": True,
        "types": [],
        "module": "esnext",
        "moduleResolution": "bundler",
        "target": "es2022",
    }
    config = {"compilerOptions": options, "files": ["boards.ts"]}
    (directory / "tsconfig.json").write_text(json.dumps(config))
    done = subprocess.run(
        ["node_modules/.bin/tsc", "-p", ".", "--pretty", "false"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def test_fields_are_grafanas(tmp_path: Path) -> None:
    """Every field of every dashboard and panel is one that Grafana knows."""
    source = _Source()
    for board in boards().values():
        source.board(board)
    assert compiled(source, tmp_path) == ""


def test_others_are_noticed(tmp_path: Path) -> None:
    """Fields that there are not, and values that are not allowed, in any part."""
    source = _Source()
    board = boards()["axon-memory-overview"]
    panel = next(panel for panel in board["panels"] if panel["type"] == "timeseries")
    panel["colour"] = "red"
    panel["options"]["legend"]["displayMode"] = "poster"
    panel["fieldConfig"]["defaults"]["custom"]["lineThickness"] = 2
    board["titel"] = "x"
    source.board(board)
    said = compiled(source, tmp_path)
    assert said.count("error TS") == 4
    for wrong in ("colour", "poster", "lineThickness", "titel"):
        assert wrong in said
