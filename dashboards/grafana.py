"""How our panels look: one function a kind of panel, each with everything a panel must have."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

with warnings.catch_warnings():  # of the classic schema, which every Grafana still imports
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import (
        bargauge,
        common,
        dashboard,
        gauge,
        heatmap,
        logs,
        loki,
        prometheus,
        stat,
        timeseries,
    )
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LogsSortOrder,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

METRICS = DataSourceRef(type_val="prometheus", uid="${datasource}")
LOGS = DataSourceRef(type_val="loki", uid="${loki}")
ALL = VariableOption(selected=True, text="All", value="$__all")

GREEN, YELLOW, RED = "green", "yellow", "red"
_STATUS_COLORS = {"SUCCESS": GREEN, "PARTIAL": YELLOW, "FAILURE": RED}

Step = tuple[float | None, str]


# --- queries -------------------------------------------------------------------------------


def query(expression: str, legend: str = "", *, exemplars: bool = False) -> prometheus.Dataquery:
    """A query over the shown time; panels that show one value of it ask at its end."""
    made = prometheus.Dataquery().expr(expression).legend_format(legend or "__auto")
    return made.datasource(METRICS).exemplar(exemplars).range()


def stream(expression: str) -> loki.Dataquery:
    """A query of log lines."""
    return loki.Dataquery().expr(expression).query_type("range").datasource(LOGS)


def _with_queries(panel: Any, queries: Sequence[Any]) -> Any:
    for letter, one in zip(ascii_uppercase, queries):
        panel = panel.with_target(one.ref_id(letter))
    return panel


def _thresholds(steps: Sequence[Step]) -> dashboard.ThresholdsConfig:
    made = [Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def _described(panel: Any, title: str, description: str, unit: str, span: int, height: int) -> Any:
    return panel.title(title).description(description).unit(unit).span(span).height(height)


# --- panels --------------------------------------------------------------------------------

PLAIN: tuple[Step, ...] = ((None, GREEN),)


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: prometheus.Dataquery,
    span: int = 8,
    stack: bool = False,
    steps: Sequence[Step] = PLAIN,
    maximum: float | None = None,
    soft_max: float | None = None,
) -> timeseries.Panel:
    """Lines over time; *steps* are drawn as dashed lines."""
    panel = _described(timeseries.Panel(), title, description, unit, span, 8)
    wide = span >= 12
    legend = common.VizLegendOptions().show_legend(True).calcs(["lastNotNull", "max"] * wide)
    if wide:  # the highest first: not all may be in sight
        legend = legend.sort_by("Max").sort_desc(True)
    panel = (
        panel.datasource(METRICS)
        .min(0)
        .line_width(1)
        .fill_opacity(30 if stack else 8)
        .show_points(VisibilityMode.NEVER)
        .span_nulls(False)
        .legend(
            legend.display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.RIGHT)
            if wide  # below a small graph, a table would take half of it
            else legend.display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
        )
        .tooltip(
            common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
        )
        .thresholds(_thresholds(steps))
    )
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if len(steps) > 1:
        dashed = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds_style(dashed)
    if maximum is not None:
        panel = panel.max(maximum)
    if soft_max is not None:
        panel = panel.axis_soft_max(soft_max)
    for status, color in _STATUS_COLORS.items():
        shades = DynamicConfigValue("color", {"mode": "shades", "fixedColor": color})
        panel = panel.override_by_regexp(f"/{status}$/", [shades])
    return _with_queries(panel, queries)


def number(
    title: str,
    description: str,
    unit: str,
    one: prometheus.Dataquery,
    *,
    span: int = 4,
    steps: Sequence[Step] = PLAIN,
    decimals: int | None = None,
    absent: str = "-",
) -> stat.Panel:
    """One number, coloured by *steps*; *absent* stands there when there is none.

    It is asked for at the end of the shown time: the last one of that time would still be shown
    when everything has died.
    """
    panel = _described(stat.Panel(), title, description, unit, span, 5)  # 4: number on its line
    panel = (
        panel.datasource(METRICS)
        .no_value(absent)
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    return _with_queries(panel, [one.instant()])


def dial(
    title: str,
    description: str,
    unit: str,
    one: prometheus.Dataquery,
    *,
    span: int = 4,
    steps: Sequence[Step] = PLAIN,
) -> gauge.Panel:
    """A share from 0 to 1."""
    panel = _described(gauge.Panel(), title, description, unit, span, 8)
    panel = (
        panel.datasource(METRICS)
        .min(0)
        .max(1)
        .no_value("-")
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    )
    return _with_queries(panel, [one.instant()])


def bars(
    title: str,
    description: str,
    unit: str,
    *queries: prometheus.Dataquery,
    span: int = 8,
    steps: Sequence[Step] = PLAIN,
) -> bargauge.Panel:
    """One bar a series, for rankings."""
    panel = _described(bargauge.Panel(), title, description, unit, span, 8)
    panel = (
        panel.datasource(METRICS)
        .min(0)
        .no_value("-")
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .text(common.VizTextDisplayOptions().title_size(14).value_size(18))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(_thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    )
    return _with_queries(panel, [one.instant() for one in queries])


def density(
    title: str, description: str, unit: str, one: prometheus.Dataquery, *, span: int = 12
) -> heatmap.Panel:
    """A heatmap of a histogram's buckets."""
    panel = _described(heatmap.Panel(), title, description, unit, span, 8)
    color = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Oranges").steps(64)
    color = color.scale(HeatmapColorScale.EXPONENTIAL).exponent(0.5)  # unset: all in one colour
    panel = (
        panel.datasource(METRICS)
        .calculate(False)
        .color(color)
        .cell_gap(1)
        .y_axis(heatmap.YAxisConfig().unit(unit).decimals(2))
        .tooltip(heatmap.HeatmapTooltip().mode(TooltipDisplayMode.SINGLE).y_histogram(True))
        .show_legend()
        .thresholds(_thresholds(PLAIN))
    )
    return _with_queries(panel, [one.format(PromQueryFormat.HEATMAP)])


def lines(title: str, description: str, one: loki.Dataquery, *, span: int = 24) -> logs.Panel:
    """Log lines, newest first."""
    panel = logs.Panel().title(title).description(description).span(span).height(12)
    panel = (
        panel.datasource(LOGS)
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .sort_order(LogsSortOrder.DESCENDING)
        .unit("string")
        .thresholds(_thresholds(PLAIN))
    )
    return _with_queries(panel, [one])


# --- dashboards ----------------------------------------------------------------------------


def choice(
    name: str, label: str, description: str, metric: str, *matchers: str, every: str = ".+"
) -> Any:
    """A variable with the values of a label, several at once, all by default: *every*."""
    series = f"{metric}{{{','.join(matchers)}}}" if matchers else metric
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(METRICS)
        .query({"query": f"label_values({series}, {name})", "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(every)  # not a list of two hundred names
        .current(ALL)
    )


def log_choice(name: str, label: str, description: str, stream_label: str) -> Any:
    """The same for a label of log streams."""
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(LOGS)
        .query({"label": stream_label, "refId": name, "stream": "", "type": 1})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(".+")
        .current(ALL)
    )


def text(name: str, label: str, description: str, default: str) -> Any:
    """A variable that is typed in."""
    option = VariableOption(selected=True, text=default, value=default)
    made = dashboard.TextBoxVariable(name).label(label).description(description)
    return made.default_value(default).current(option).options([option])


def source(name: str, label: str, kind: str) -> dashboard.DatasourceVariable:
    """A variable with the data sources of a kind."""
    return dashboard.DatasourceVariable(name).label(label).type(kind)


def page(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[Any],
    rows: dict[str, list[Any]],
) -> str:
    """A dashboard as JSON."""
    links = dashboard.DashboardLink("Axon").type(DashboardLinkType.DASHBOARDS).tags(["axon-audit"])
    made = (
        dashboard.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags(["axon-audit", "generated"])
        .timezone("browser")
        .refresh("30s")
        .time("now-1h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .variables(list(variables))
        .link(links.as_dropdown(False).include_vars(True).keep_time(True))
        .annotation(_firing())
    )
    number = 0
    for name, panels in rows.items():
        number += 1
        made = made.with_row(dashboard.Row(name).id(number))
        for panel in panels:
            number += 1
            made = made.with_panel(panel.id(number))
    board = made.build()
    annotations = board.annotations and board.annotations.list_val
    for shown in (*(board.links or ()), *(annotations or ())):
        shown.placement = None  # on the page, not in a menu
    choices = board.templating and board.templating.list_val
    for variable in choices or ():
        variable.auto = variable.auto_count = variable.auto_min = None  # of intervals only
    return json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n"


def _firing() -> dashboard.AnnotationQuery:
    expression = 'ALERTS{alertname=~"Axon.+",alertstate="firing",job=~"$job"}'
    return (
        dashboard.AnnotationQuery()
        .name("Alerts that fire")
        .datasource(METRICS)
        .enable(True)
        .icon_color(RED)
        .target(prometheus.Dataquery().expr(expression).ref_id("Alerts"))
        .title_format("{{alertname}}")
        .tag_keys("severity,trail")
        .step("60s")
    )
