"""`axon-audit assets`: what a package brings besides its code, for those who have no clone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


def _files(directory: Path) -> set[str]:
    return {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()}


def test_files(cli: Any, tmp_path: Path) -> None:
    """The files are those of the repository, but for the address of the runbook."""
    said = cli("assets", "--output", tmp_path, "--runbook-url", "https://wiki.example/rb").stdout
    assert {Path(line) for line in said.splitlines()} == {tmp_path / f for f in _files(tmp_path)}
    dashboard = (ROOT / "dashboards/memory-overview.json").read_text(encoding="utf-8")
    assert (tmp_path / "grafana/memory-overview.json").read_text(encoding="utf-8") == dashboard
    for config in (ROOT / "collector-config/overlays").glob("*.yaml"):
        written = tmp_path / "collector/overlays" / config.name
        assert written.read_text(encoding="utf-8") == config.read_text(encoding="utf-8")
    rules = (tmp_path / "prometheus/alerts.yaml").read_text(encoding="utf-8")
    assert "https://wiki.example/rb#axonmemoryerrorbudgetburn" in rules
    assert "runbooks.example.com" not in rules


def test_without_an_address(cli: Any, tmp_path: Path) -> None:
    """Then it says that alerts lead nowhere."""
    ended = cli("assets", "--output", tmp_path, "--json")
    assert "give yours with --runbook-url" in ended.stderr
    written = json.loads(ended.stdout)["written"]
    assert {Path(path) for path in written} == {tmp_path / name for name in _files(tmp_path)}


def test_for_kubernetes(cli: Any, tmp_path: Path) -> None:
    """Rules and dashboards are the same as objects of a cluster."""
    cli("assets", "--output", tmp_path, "--kubernetes", "--namespace", "watch")
    objects = [
        yaml.safe_load(path.read_text(encoding="utf-8"))
        for path in sorted((tmp_path / "kubernetes").iterdir())
    ]
    assert {one["metadata"]["namespace"] for one in objects} == {"watch"}
    kinds: dict[str, list[Any]] = {}
    for one in objects:
        kinds.setdefault(one["kind"], []).append(one)
    assert {kind: len(some) for kind, some in kinds.items()} == {
        "PrometheusRule": 2,
        "ConfigMap": 3,
        "ServiceMonitor": 1,
    }
    rules = yaml.safe_load((tmp_path / "prometheus/alerts.yaml").read_text(encoding="utf-8"))
    assert rules in [one["spec"] for one in kinds["PrometheusRule"]]
    for one in kinds["ConfigMap"]:
        assert one["metadata"]["labels"] == {"grafana_dashboard": "1"}
        for name, text in one["data"].items():
            shown = (tmp_path / "grafana" / name).read_text(encoding="utf-8")
            assert json.loads(text) == json.loads(shown)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--runbook-url", "wiki/rb"),
        ("--runbook-url", "https://a b"),
        ("--runbook-url", "https://a/#b"),
        ("--runbook-url", "https://a\n- evil: yes"),
        ("--namespace", "Big_One"),
        ("--namespace", "a\nb"),
    ],
)
def test_what_breaks_yaml(cli: Any, tmp_path: Path, option: str, value: str) -> None:
    """What is no address, or no name, is refused; nothing is written."""
    ended = cli("assets", "--output", tmp_path / "made", option, value, code=2)
    assert option in ended.stderr
    assert not (tmp_path / "made").exists()


def test_where_nothing_can_be_written(cli: Any, tmp_path: Path) -> None:
    """One line says it."""
    (tmp_path / "grafana").write_text("a file")
    assert "cannot write" in cli("assets", "--output", tmp_path, code=1).stderr
