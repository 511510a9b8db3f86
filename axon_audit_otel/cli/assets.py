"""The command `assets`: writes dashboards, rules and configurations that the package brings."""

from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import click

from .options import json_option
from .render import print_json

__all__ = ["assets"]

_PACKAGE = Path(__file__).resolve().parents[1]

#: Of each folder that is written: where its files are in a clone, and which. The wheel has them in
#: ``axon_audit_otel/assets``, by these names (``pyproject.toml``).
_FOLDERS = (
    ("grafana", "dashboards", "*.json"),
    # In place of the one of that name: of the events in VictoriaLogs, not in Loki.
    ("grafana-victorialogs", "dashboards/victorialogs", "*.json"),
    ("grafana-clickhouse", "dashboards/clickhouse", "*.json"),
    ("prometheus", "dashboards/rules", "*.yaml"),
    ("alertmanager", "dashboards", "alertmanager.yaml"),
    ("runbook", "dashboards", "runbook.md"),
    ("collector", "collector-config", "*.yaml"),
    ("collector/clickhouse", "collector-config/clickhouse", "*.*"),
    ("collector/overlays", "collector-config/overlays", "*.yaml"),
)

#: In place of the address of one's own runbook.
_RUNBOOK = "https://runbooks.example.com/axon-audit-otel/dashboards/runbook.md"


def _found() -> dict[str, str]:
    """The text of each file, by its path below the output directory."""
    installed = _PACKAGE / "assets"
    return {
        f"{folder}/{path.name}": path.read_text(encoding="utf-8")
        for folder, source, pattern in _FOLDERS
        for path in sorted(
            (installed / folder if installed.is_dir() else _PACKAGE.parent / source).glob(pattern)
        )
        if path.name != "compose.yaml"
    }


def _for_kubernetes(files: dict[str, str], namespace: str) -> dict[str, str]:
    """The same as objects of the Prometheus operator and of Grafana's sidecar."""
    made = {"kubernetes/servicemonitor.yaml": _SERVICE_MONITOR.format(namespace=namespace)}
    for name, text in files.items():
        folder, _, file = name.partition("/")
        stem = file.rpartition(".")[0]
        if folder == "prometheus":
            spec = indent(text, "  ")
            made[f"kubernetes/{stem}.rules.yaml"] = _RULE.format(
                name=f"axon-audit-{stem}", namespace=namespace, spec=spec
            )
        elif folder.startswith("grafana"):
            stem += folder.removeprefix("grafana")
            made[f"kubernetes/{stem}.dashboard.yaml"] = _DASHBOARD.format(
                name=f"axon-audit-{stem}",
                namespace=namespace,
                file=f"{stem}.json",
                data=indent(text, "    "),
            )
    return made


_RULE = """\
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: {name}
  namespace: {namespace}
spec:
{spec}"""

_DASHBOARD = """\
# For the sidecar of Grafana's chart (sidecar.dashboards.enabled). The folder is named twice: as the
# sidecar reads it by itself, and as charts usually tell it (folderAnnotation: grafana_folder). Both
# need provider.foldersFromFilesStructure: true.
apiVersion: v1
kind: ConfigMap
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    grafana_dashboard: "1"
  annotations:
    grafana_folder: Axon
    k8s-sidecar-target-directory: Axon
data:
  {file}: |
{data}"""

_SERVICE_MONITOR = """\
# Scrapes every Service with this label, at its port `metrics`.
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  name: axon-audit
  namespace: {namespace}
spec:
  selector:
    matchLabels:
      axon-audit: "true"
  endpoints:
  - port: metrics
    path: /metrics
    interval: 15s
"""


def _url(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"https?://[^\s'\"<>#]+", value):
        raise click.BadParameter(f"{value!r} is not an address: https://... without spaces and '#'")
    return value


def _namespace(context: click.Context, option: click.Parameter, value: str) -> str:
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", value):
        raise click.BadParameter(f"{value!r} is not a namespace: lower-case letters, digits, '-'")
    return value


@click.command()
@click.option(
    "-o", "--output", required=True, metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write them to this directory; files of the same name are replaced.",
)  # fmt: skip
@click.option(
    "--runbook-url", metavar="URL", callback=_url,
    help="Address of your copy of runbook/runbook.md, to which alerts and panels link.",
)  # fmt: skip
@click.option(
    "--kubernetes", is_flag=True,
    help="Also write PrometheusRule, ServiceMonitor and ConfigMap objects.",
)  # fmt: skip
@click.option(
    "--namespace", default="monitoring", show_default=True, metavar="NAME",
    callback=_namespace, help="The namespace of these objects.",
)  # fmt: skip
@json_option
def assets(
    output: Path, runbook_url: str | None, kubernetes: bool, namespace: str, as_json: bool
) -> None:
    """Write dashboards, alert rules and collector configurations.

    They are those of this version: three dashboards for Grafana, one of them also for
    VictoriaLogs in place of Loki, and one more for events in ClickHouse; recording rules and
    alerts for Prometheus with their runbook, an example for Alertmanager, configurations of an
    OpenTelemetry collector, and the tables for ClickHouse.
    """
    files = _found()
    if runbook_url is not None:
        files = {name: text.replace(_RUNBOOK, runbook_url) for name, text in files.items()}
    if kubernetes:
        files |= _for_kubernetes(files, namespace)
    for name, text in files.items():
        path = output / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as exc:
            raise click.ClickException(f"cannot write {str(path)!r}: {exc.strerror}") from exc
        if not as_json:
            click.echo(path)
    if as_json:
        print_json({"written": [str(output / name) for name in files]})
    if runbook_url is None:
        click.echo(
            "alerts and panels lead to an example address: give yours with --runbook-url", err=True
        )
