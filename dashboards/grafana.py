"""How our panels look: one function a kind of panel, each with everything a panel must have."""

from __future__ import annotations

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
from grafana_foundation_sdk.models.common import (
    BarGaugeDisplayMode,
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphDrawStyle,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    LogsSortOrder,
    ScaleDistribution,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
    VizOrientation,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardRangeMapOptions,
    DynamicConfigValue,
    FieldColorModeId,
    RangeMap,
    Threshold,
    ThresholdsMode,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from . import colors
from .pages import METRICS, choice, log_choice, page, source, text

__all__ = [
    "BAD",
    "GOOD",
    "LOGS",
    "METRICS",
    "PLAIN",
    "WARN",
    "Step",
    "bars",
    "choice",
    "density",
    "described",
    "dial",
    "graph",
    "lines",
    "log_choice",
    "number",
    "page",
    "query",
    "source",
    "stream",
    "text",
    "thresholds",
    "with_queries",
]

LOGS = DataSourceRef(type_val="loki", uid="${loki}")
GOOD, WARN, BAD = colors.GOOD, colors.WARN, colors.BAD

Step = tuple[float | None, str]
PLAIN: tuple[Step, ...] = ((None, colors.PLAIN),)

#: Units that Grafana knows; all others are words: "events", "operations/s".
_UNITS = {"s", "percentunit", "short", "string"}
_NOTHING = "nothing in this time"


# --- queries -------------------------------------------------------------------------------


def query(expression: str, legend: str = "", *, exemplars: bool = False) -> prometheus.Dataquery:
    """A query over the shown time; panels that show one value of it ask at its end.

    Without a *legend* a series has the name of its panel.
    """
    made = prometheus.Dataquery().expr(expression).legend_format(legend)
    return made.datasource(METRICS).exemplar(exemplars).range()


def stream(expression: str) -> loki.Dataquery:
    """A query of log lines."""
    return loki.Dataquery().expr(expression).query_type("range").datasource(LOGS)


def with_queries(panel: Any, title: str, queries: Sequence[Any]) -> Any:
    """*panel* with its queries, none of them nameless."""
    for letter, one in zip(ascii_uppercase, queries):
        built = one.build()
        if built.legend_format == "":
            built.legend_format = title
        panel = panel.with_target(one.ref_id(letter))
    return panel


# --- what all panels have ------------------------------------------------------------------


def thresholds(steps: Sequence[Step]) -> dashboard.ThresholdsConfig:
    """Colours from a value on."""
    made = [Threshold(value=value, color=color) for value, color in steps]
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)


def described(
    panel: Any, title: str, description: str, span: int, height: int, absent: str, runbook: str
) -> Any:
    """*panel* with a title, a description, a place, and a link to what to do.

    Args:
        absent: What stands there where there are no data.
        runbook: The alert whose section of the runbook is of use here.
    """
    panel = panel.title(title).description(description).span(span).height(height).no_value(absent)
    if runbook:
        link = dashboard.DashboardLink(f"Runbook: {runbook}").target_blank(True)
        panel = panel.links([link.url(f"${{runbook}}#{runbook.lower()}")])
    return panel


def _worded(unit: str) -> str:
    """The unit as Grafana writes it behind a value."""
    return unit if unit in _UNITS else f"suffix:{unit}"


def _colored(panel: Any, queries: Sequence[Any]) -> Any:
    """The same colour for the same name on every dashboard."""
    legends = {one.build().legend_format for one in queries}
    others = colors.TRAILS if legends == {"{{trail}}"} else colors.OTHERS
    scheme = dashboard.FieldColor().mode(FieldColorModeId(others["mode"]))
    panel = panel.color_scheme(scheme.fixed_color(others.get("fixedColor", "")))
    for one in queries:
        built = one.build()
        for name, color in colors.of_series(built.legend_format).items():
            panel = panel.override_by_name(name, [_fixed(color)])
        if '"nothing"' in str(getattr(built, "expr", "")):  # a line of its own, on no stack
            alone = DynamicConfigValue("custom.stacking", {"mode": "none", "group": "A"})
            panel = panel.override_by_name("nothing", [_fixed(colors.GOOD), alone])
    return panel


def _fixed(color: str) -> DynamicConfigValue:
    return DynamicConfigValue("color", {"mode": "fixed", "fixedColor": color})


# --- panels --------------------------------------------------------------------------------


def graph(
    title: str,
    description: str,
    unit: str,
    *queries: Any,
    span: int = 8,
    stack: bool = False,
    steps: Sequence[Step] = PLAIN,
    maximum: float | None = None,
    soft_min: float | None = None,
    soft_max: float | None = None,
    log: bool = False,
    whole: bool = False,
    absent: str = _NOTHING,
    runbook: str = "",
) -> timeseries.Panel:
    """Lines over time; *steps* are drawn as dashed lines.

    Args:
        unit: One of Grafana's, or a word, which stands at the axis.
        stack: Areas above each other.
        soft_min: The axis begins there or below, and not at 0.
        log: Each line of the grid is ten times the one below it.
        whole: What is counted has no fractions: bars, one an interval.
    """
    panel = described(timeseries.Panel(), title, description, span, 8, absent, runbook)
    panel = _colored(panel, queries).datasource(METRICS).span_nulls(False)
    panel = panel.line_width(1 if stack else 2).show_points(VisibilityMode.NEVER)
    panel = panel.fill_opacity(80 if whole else 40 if stack else 0)
    panel = panel.legend(_legend(span)).thresholds(thresholds(steps))
    panel = panel.tooltip(
        common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    )
    panel = panel.unit(unit) if unit in _UNITS else panel.unit("short").axis_label(unit)
    if log:
        scale = common.ScaleDistributionConfig().type(ScaleDistribution.LOG).log(10)
        panel = panel.scale_distribution(scale)
    elif soft_min is None:
        panel = panel.min(0)
    else:
        panel = panel.axis_soft_min(soft_min).decimals(2)
    if whole:
        panel = panel.draw_style(GraphDrawStyle.BARS).max_data_points(60)
    if stack:
        panel = panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
    if len(steps) > 1:
        dashed = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED)
        panel = panel.thresholds_style(dashed)
    if maximum is not None:
        panel = panel.max(maximum)
    if soft_max is not None:
        panel = panel.axis_soft_max(soft_max)
    return with_queries(panel, title, queries)


def _legend(span: int) -> common.VizLegendOptions:
    """A table beside a wide graph, the highest first; it would take half of a small one."""
    legend = common.VizLegendOptions().show_legend(True)
    if span < 12:
        legend = legend.calcs([]).display_mode(LegendDisplayMode.LIST)
        return legend.placement(LegendPlacement.BOTTOM)
    legend = legend.calcs(["lastNotNull", "max"]).sort_by("Max").sort_desc(True)
    return legend.display_mode(LegendDisplayMode.TABLE).placement(LegendPlacement.RIGHT)


def number(
    title: str,
    description: str,
    unit: str,
    one: prometheus.Dataquery,
    *,
    span: int = 4,
    height: int = 5,
    steps: Sequence[Step] = PLAIN,
    decimals: int | None = None,
    below: tuple[float, str] | None = None,
    absent: str = _NOTHING,
    runbook: str = "",
) -> stat.Panel:
    """One number, coloured by *steps*; *absent* stands there when there is none.

    It is asked for at the end of the shown time: the last one of that time would still be shown
    when everything has died.

    Args:
        height: With 4, the number would stand on its line.
        below: A bound, and what stands there instead of the bound and what is below it.
    """
    panel = described(stat.Panel(), title, description, span, height, absent, runbook)
    panel = (
        panel.datasource(METRICS)
        .unit(_worded(unit))
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    )
    if decimals is not None:
        panel = panel.decimals(decimals)
    if below is not None:
        shown = ValueMappingResult(text=below[1], color=steps[0][1])
        panel = panel.mappings([RangeMap(DashboardRangeMapOptions(None, below[0], shown))])
    return with_queries(panel, title, [one.instant()])


def dial(
    title: str,
    description: str,
    unit: str,
    one: prometheus.Dataquery,
    *,
    span: int = 4,
    steps: Sequence[Step] = PLAIN,
    absent: str = _NOTHING,
    runbook: str = "",
) -> gauge.Panel:
    """A share from 0 to 1."""
    panel = described(gauge.Panel(), title, description, span, 8, absent, runbook)
    panel = (
        panel.datasource(METRICS)
        .unit(_worded(unit))
        .min(0)
        .max(1)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    )
    return with_queries(panel, title, [one.instant()])


def bars(
    title: str,
    description: str,
    unit: str,
    *queries: Any,
    span: int = 8,
    steps: Sequence[Step] = ((None, colors.GOOD),),
    absent: str = _NOTHING,
    runbook: str = "",
) -> bargauge.Panel:
    """One bar a series, for rankings."""
    panel = described(bargauge.Panel(), title, description, span, 8, absent, runbook)
    panel = (
        panel.datasource(METRICS)
        .unit(_worded(unit))
        .min(0)
        .orientation(VizOrientation.HORIZONTAL)
        .display_mode(BarGaugeDisplayMode.BASIC)
        .text(common.VizTextDisplayOptions().title_size(14).value_size(16))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .thresholds(thresholds(steps))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
    )
    return with_queries(panel, title, [_at_the_end(one) for one in queries])


def _at_the_end(one: Any) -> Any:
    return one.instant() if isinstance(one, prometheus.Dataquery) else one


def density(
    title: str,
    description: str,
    unit: str,
    one: prometheus.Dataquery,
    *,
    span: int = 12,
    absent: str = _NOTHING,
    runbook: str = "",
) -> heatmap.Panel:
    """A heatmap of a histogram's buckets."""
    panel = described(heatmap.Panel(), title, description, span, 8, absent, runbook)
    color = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Blues").steps(64)
    color = color.scale(HeatmapColorScale.EXPONENTIAL).exponent(0.5)  # unset: all in one colour
    panel = (
        panel.datasource(METRICS)
        .unit(unit)
        .calculate(False)
        .color(color)
        .exemplars_color(colors.QUANTILES["p99"])
        .cell_gap(1)
        .y_axis(heatmap.YAxisConfig().unit(unit).decimals(2))
        .tooltip(heatmap.HeatmapTooltip().mode(TooltipDisplayMode.SINGLE).y_histogram(True))
        .show_legend()
        .thresholds(thresholds(PLAIN))
    )
    return with_queries(panel, title, [one.format(PromQueryFormat.HEATMAP)])


def lines(
    title: str, description: str, one: Any, *, span: int = 24, absent: str = _NOTHING
) -> logs.Panel:
    """Log lines, newest first."""
    panel = described(logs.Panel(), title, description, span, 12, absent, "")
    panel = (
        panel.datasource(LOGS)
        .unit("string")
        .show_time(True)
        .wrap_log_message(True)
        .enable_log_details(True)
        .sort_order(LogsSortOrder.DESCENDING)
        .thresholds(thresholds(PLAIN))
    )
    return with_queries(panel, title, [one])
