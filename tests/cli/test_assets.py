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
    example = "https://runbooks.example.com/axon-audit-otel/dashboards/runbook.md"
    for folder, source in (("grafana", "."), ("grafana-victorialogs", "victorialogs")):
        of_repository = sorted((ROOT / "dashboards" / source).glob("*.json"))
        assert of_repository
        for path in of_repository:
            text = path.read_text(encoding="utf-8")
            assert text.count(example) == 1
            written = (tmp_path / folder / path.name).read_text(encoding="utf-8")
            assert written == text.replace(example, "https://wiki.example/rb")
    ours = ROOT / "collector-config"
    for config in [*(ours / "overlays").glob("*.yaml"), *(ours / "clickhouse").glob("*.*")]:
        written = tmp_path / "collector" / config.relative_to(ours)
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
        "ConfigMap": 5,
        "ServiceMonitor": 1,
    }
    rules = yaml.safe_load((tmp_path / "prometheus/alerts.yaml").read_text(encoding="utf-8"))
    assert rules in [one["spec"] for one in kinds["PrometheusRule"]]
    shown = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in [*tmp_path.glob("grafana/*"), *tmp_path.glob("grafana-*/*")]
    ]
    held = [json.loads(text) for one in kinds["ConfigMap"] for text in one["data"].values()]
    by_uid = {board["uid"]: board for board in shown}
    assert {board["uid"]: board for board in held} == by_uid
    assert len(held) == len(by_uid) == 5
    files = [name for one in kinds["ConfigMap"] for name in one["data"]]
    assert len(set(files)) == 5  # the sidecar writes them to one directory
    for one in kinds["ConfigMap"]:
        assert one["metadata"]["labels"] == {"grafana_dashboard": "1"}
        assert one["metadata"]["annotations"] == {
            "grafana_folder": "Axon",
            "k8s-sidecar-target-directory": "Axon",
        }


def test_sizes_for_kubernetes(cli: Any, tmp_path: Path) -> None:
    """A ConfigMap holds 1 MiB; `kubectl apply` keeps a copy in an annotation, of 256 KiB."""
    cli("assets", "--output", tmp_path, "--kubernetes")
    for path in (tmp_path / "kubernetes").iterdir():
        made = json.dumps(yaml.safe_load(path.read_text(encoding="utf-8")))
        assert len(made.encode()) < 256 * 1024, path.name


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
