"""Whole dashboards: their variables, links and rows."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

with warnings.catch_warnings():  # of the classic schema, which every Grafana still imports
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import dashboard, prometheus
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from . import colors
from .objectives import OBJECTIVES

__all__ = ["EVERY", "METRICS", "as_json", "choice", "log_choice", "page", "source", "text"]

METRICS = DataSourceRef(type_val="prometheus", uid="${datasource}")
_ALL = VariableOption(selected=True, text="All", value="$__all")
#: What *All* sends: also what lacks the label, and no list of two hundred names.
EVERY = ".*"
_TAG = "axon-audit"


# --- variables -----------------------------------------------------------------------------


def choice(
    name: str, label: str, description: str, metric: str, *matchers: str, every: str = EVERY
) -> Any:
    """A variable with the values of a label, several at once, all by default: *every*."""
    series = f"{metric}{{{','.join(matchers)}}}" if matchers else metric
    asked = {"query": f"label_values({series}, {name})", "refId": name}
    return _several(name, label, description, METRICS, asked, every)


def log_choice(
    name: str,
    label: str,
    description: str,
    stream_label: str,
    *,
    store: DataSourceRef | None = None,
    asked: dict[str, Any] | None = None,
    every: str = ".+",
) -> Any:
    """The same for a label of log streams; without a *store*, of Loki's."""
    loki = DataSourceRef(type_val="loki", uid="${loki}")
    of_loki = {"label": stream_label, "refId": name, "stream": "", "type": 1}
    return _several(name, label, description, store or loki, asked or of_loki, every)


def _several(
    name: str, label: str, description: str, of: DataSourceRef, asked: dict[str, Any], every: str
) -> Any:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(of)
        .query(asked)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(every)
        .current(_ALL)
    )


def text(name: str, label: str, description: str, default: str) -> Any:
    """A variable that is typed in."""
    option = VariableOption(selected=True, text=default, value=default)
    made = dashboard.TextBoxVariable(name).label(label).description(description)
    return made.default_value(default).current(option).options([option])


def source(name: str, label: str, kind: str) -> dashboard.DatasourceVariable:
    """A variable with the data sources of a kind."""
    return dashboard.DatasourceVariable(name).label(label).type(kind)


def _runbook() -> Any:
    """Where the runbook can be read: the only place of its address."""
    made = dashboard.ConstantVariable("runbook").value(OBJECTIVES.runbook)
    return made.label("Runbook").description("Address of your runbook.")


# --- dashboards ----------------------------------------------------------------------------


def page(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Any],
    rows: dict[str, list[Any]],
) -> str:
    """A dashboard as JSON."""
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([_TAG, "generated"])
        .timezone("browser")
        .refresh("30s")
        .time("now-1h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .variables([*variables, _runbook()])
        .annotation(_firing())
    )
    for link in _links():
        made = made.link(link)
    return as_json(made, rows)


def as_json(made: Any, rows: dict[str, list[Any]]) -> str:
    """The JSON of a dashboard with these panels, by the names of their rows."""
    number = 0
    for name, panels in rows.items():
        number += 1
        made = made.with_row(dashboard.Row(name).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(panel.id(number))
    return json.dumps(_plain(made.build()), cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _links() -> list[Any]:
    """To the other dashboards, with the same time and choices, and to the runbook."""
    others = dashboard.DashboardLink("Axon").type(DashboardLinkType.DASHBOARDS).tags([_TAG])
    runbook = dashboard.DashboardLink("Runbook").type(DashboardLinkType.LINK).icon("doc")
    return [
        others.as_dropdown(False).include_vars(True).keep_time(True),
        runbook.url("${runbook}").target_blank(True),
    ]


def _plain(board: Any) -> Any:
    """*board* without what the builders add and an older Grafana does not know."""
    annotations = board.annotations and board.annotations.list_val
    links = [link for panel in board.panels or () for link in getattr(panel, "links", None) or ()]
    for shown in (*(board.links or ()), *(annotations or ()), *links):
        shown.placement = None  # on the page, not in a menu
    for panel in board.panels or ():
        if hasattr(getattr(panel, "options", None), "footer"):
            panel.options.footer = None  # of a table; new ones have it with each column
    choices = board.templating and board.templating.list_val
    for variable in choices or ():
        variable.auto = variable.auto_count = variable.auto_min = None  # of intervals only
    return board


def _firing() -> dashboard.AnnotationQuery:
    expression = 'ALERTS{alertname=~"Axon.+",alertstate="firing",job=~"$job"}'
    return (
        dashboard.AnnotationQuery()
        .name("Alerts that fire")
        .datasource(METRICS)
        .enable(True)
        .icon_color(colors.BAD)
        .target(prometheus.Dataquery().expr(expression).ref_id("Alerts"))
        .title_format("{{alertname}}")
        .tag_keys("severity,trail")
        .step("60s")
    )
