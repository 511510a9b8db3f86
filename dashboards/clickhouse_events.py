"""*Audit trail in ClickHouse*: who did what, what was deleted and what failed, and is it whole.

Its queries are SQL over the views of ``collector-config/clickhouse/views.sql``. It is in a folder
of its own: it asks no metrics, and a Grafana without ClickHouse has no use for it.
"""

from __future__ import annotations

import json
import warnings
from typing import Any
from urllib.parse import quote

with warnings.catch_warnings():  # of the classic schema, which every Grafana still imports
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import common, dashboard, stat, table, timeseries
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
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

from . import colors
from .pages import as_json

_TYPE = "grafana-clickhouse-datasource"
_SOURCE = DataSourceRef(type_val=_TYPE, uid="${clickhouse}")
Steps = tuple[tuple[float | None, str], ...]
_PLAIN: Steps = ((None, colors.PLAIN),)
_ALARM: Steps = ((None, colors.GOOD), (1, colors.BAD))
_LOOK: Steps = ((None, colors.GOOD), (1, colors.WARN))

#: What the variables choose, of events with their persons.
_CHOSEN = (
    "trail IN (${trail:singlequote}) AND system IN (${system:singlequote}) AND"
    " (${user:sqlstring} = '' OR user_id = ${user:sqlstring} OR has(subjects, ${user:sqlstring}))"
)
_WHEN = "$__timeFilter(timestamp)"
_EVENTS = f"FROM audit_events WHERE {_WHEN} AND {_CHOSEN}"
_OPERATIONS = f"{_EVENTS} AND operation != 'AUDIT'"
_OF_TRAIL = "trail IN (${trail:singlequote})"


class _Query:
    """A query of the data source, as its plugin saves it; the SDK has none."""

    def __init__(self, sql: str, over_time: bool = False) -> None:
        self._fields = {
            "datasource": _SOURCE,
            "editorType": "sql",
            "format": 0 if over_time else 1,
            "pluginVersion": "4.0.0",
            "queryType": "timeseries" if over_time else "table",
            "rawSql": sql,
        }

    def ref_id(self, letter: str) -> _Query:
        self._fields["refId"] = letter
        return self

    def build(self) -> _Query:
        return self

    def to_json(self) -> dict[str, object]:
        return self._fields


def _look(panel: Any, title: str, description: str, span: int, height: int, steps: Steps) -> Any:
    made = [Threshold(value=value, color=color) for value, color in steps]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(made)
    panel = panel.title(title).description(description).unit("short").thresholds(thresholds)
    return panel.span(span).height(height).datasource(_SOURCE)


def _number(title: str, description: str, sql: str, steps: Steps = _PLAIN, span: int = 4) -> Any:
    panel = _look(stat.Panel(), title, description, span, 5, steps)
    return (
        panel.no_value("-")
        .color_mode(BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .with_target(_Query(sql).ref_id("A"))
    )


def _graph(title: str, description: str, by: str, what: str, where: str = "1") -> Any:
    """*what*, summed up in each interval, by a text."""
    sql = (
        f"SELECT $__timeInterval(timestamp) AS time, {by} AS name, {what} AS value"
        f" {_OPERATIONS} AND {where} GROUP BY time, name ORDER BY time"
    )
    legend = common.VizLegendOptions().show_legend(True).display_mode(LegendDisplayMode.LIST)
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)
    panel = _look(timeseries.Panel(), title, description, 8, 8, _PLAIN)
    for name, color in colors.of_series(f"{{{{{by}}}}}").items():
        fixed = {"mode": "fixed", "fixedColor": color}
        panel = panel.override_by_name(name, [DynamicConfigValue("color", fixed)])
    return (
        panel.no_value("none in this time")
        .min(0)
        .line_width(1)
        .fill_opacity(30)
        .show_points(VisibilityMode.AUTO)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A"))
        .legend(legend.placement(LegendPlacement.BOTTOM))
        .tooltip(tooltip.sort(SortOrder.DESCENDING))
        .with_target(_Query(sql, over_time=True).ref_id("A"))
    )


def _rows(title: str, description: str, sql: str, span: int = 12, height: int = 8) -> Any:
    panel = _look(table.Panel(), title, description, span, height, _PLAIN)
    link = {"title": "The trace", "url": _TRACE, "targetBlank": True}
    return (
        panel.no_value("none")
        .override_by_name("trace_id", [DynamicConfigValue("links", [link])])
        .override_by_name("status", [DynamicConfigValue("mappings", [_STATUS])])
        .with_target(_Query(sql).ref_id("A"))
    )


_STATUS = {
    "type": "value",
    "options": {
        name: {"color": color, "index": index}
        for index, (name, color) in enumerate(colors.STATUSES.items())
    },
}
_PANES = {
    "trace": {
        "datasource": "${tempo}",
        "queries": [{"refId": "A", "queryType": "traceql", "query": "${__value.raw}"}],
        "range": {"from": "now-30d", "to": "now"},
    }
}
_TRACE = f"/explore?schemaVersion=1&panes={quote(json.dumps(_PANES), safe='${}_.:,')}"


def _whole() -> list[Any]:
    until = "$__timeFilter(until)"
    chain = "audit_chain_between(from_ms = ${__from}, to_ms = ${__to})"
    return [
        _number("Events", "Recorded in the shown time, each once.", f"SELECT count() {_EVENTS}"),
        _number(
            "Missing events",
            "Numbers that no event has, though later ones arrived or a checkpoint knows of them."
            " What deletion by age took is not counted while it is before the shown time.",
            f"SELECT sum(events) FROM audit_gaps WHERE NOT told AND {until} AND {_OF_TRAIL}",
            _ALARM,
        ),
        _number(
            "Lost, as the trail tells",
            "Events that a trail itself has recorded as lost: a file was damaged or cut off.",
            f"SELECT sum(events) FROM audit_gaps WHERE told AND {until} AND {_OF_TRAIL}",
            _LOOK,
        ),
        _number(
            "Altered events",
            "Events of the shown time whose body has not its hash, or that do not continue the"
            " event before them.",
            f"SELECT count() FROM {chain} WHERE finding != '' AND {_OF_TRAIL}",
            _ALARM,
        ),
        _number(
            "Checkpoints that do not fit",
            "Checkpoints of the shown time that name another event than the one that is here, or"
            " one that is not here.",
            "SELECT count() FROM audit_checkpoint_check WHERE finding != ''"
            f" AND $__timeFilter(time) AND {_OF_TRAIL}",
            _ALARM,
        ),
        _number(
            "Masked by a collector",
            "Events in which a collector found personal data that the application had let through."
            " Such a body no longer has its hash.",
            f"SELECT count() {_EVENTS} AND masked > 0",
            _LOOK,
        ),
        _rows(
            "What does not fit",
            "Each event of the shown time that was altered, or does not continue the one before.",
            f"SELECT timestamp, trail, sequence, user_id, finding FROM {chain}"
            f" WHERE finding != '' AND {_OF_TRAIL} ORDER BY timestamp DESC LIMIT 100",
        ),
        _rows(
            "What is missing",
            "Ranges of numbers that no event has, and the time of the first event after each.",
            "SELECT until, trail, first, last, events, told FROM audit_gaps"
            f" WHERE {until} AND {_OF_TRAIL} ORDER BY until DESC LIMIT 100",
        ),
    ]


def _activity() -> list[Any]:
    return [
        _graph("Operations", "Audited operations an interval, by name.", "operation", "count()"),
        _graph(
            "Entries deleted",
            "Memory entries that were deleted, by system; one operation can delete many.",
            "system",
            "sum(deleted)",
            "deleted > 0",
        ),
        _graph(
            "Failed and partial operations",
            "Operations that did not succeed, by the type of the error.",
            "if(error_type = '', status, error_type)",
            "count()",
            "status != 'SUCCESS'",
        ),
        _rows(
            "Persons",
            "Who did most in the shown time.",
            "SELECT user_id, count() AS events, sum(deleted) AS entries_deleted,"
            " countIf(operation = 'EXPORT') AS exports, countIf(status = 'FAILURE') AS failures,"
            f" max(timestamp) AS newest {_OPERATIONS} GROUP BY user_id"
            " ORDER BY events DESC LIMIT 50",
        ),
        _rows(
            "Agents and systems",
            "Which agent, in which memory system and store, did most in the shown time.",
            "SELECT system, store, agent_id, count() AS events, sum(deleted) AS entries_deleted,"
            f" countIf(status = 'FAILURE') AS failures {_OPERATIONS}"
            " GROUP BY system, store, agent_id ORDER BY events DESC LIMIT 50",
        ),
    ]


def _events() -> list[Any]:
    columns = (
        "SELECT timestamp, operation, status, user_id, subjects, agent_id, system, action,"
        " deleted, error_type, session_id, trace_id, trail, sequence, event_id"
    )
    return [
        _rows(
            "Exports, deletions and failures",
            "The newest events that matter most; trace_id opens the trace in Tempo.",
            f"{columns} {_OPERATIONS} AND (operation IN ('EXPORT', 'IMPORT') OR deleted > 0 OR"
            " status != 'SUCCESS') ORDER BY timestamp DESC LIMIT 200",
            24,
            10,
        ),
        _rows(
            "Newest events",
            "Every kind, also what a trail records of itself; trace_id opens the trace in Tempo.",
            f"{columns} {_EVENTS} ORDER BY timestamp DESC LIMIT 200",
            24,
            12,
        ),
    ]


def _choice(name: str, label: str, description: str, sql: str) -> Any:
    every = VariableOption(selected=True, text="All", value="$__all")
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(_SOURCE)
        .query(sql)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(True)
        .include_all(True)
        .current(every)
    )


def _variables() -> list[Any]:
    anybody = VariableOption(selected=True, text="", value="")
    person = dashboard.TextBoxVariable("user").label("Person").default_value("")
    return [
        dashboard.DatasourceVariable("clickhouse").label("ClickHouse").type(_TYPE),
        dashboard.DatasourceVariable("tempo").label("Traces").type("tempo"),
        _choice(
            "trail",
            "Trail",
            "The audit trail, as AuditLogger(name=...) calls it.",
            "SELECT DISTINCT trail FROM audit_events_stored",
        ),
        _choice(
            "system",
            "System",
            "The memory's library; the empty one: what names none.",
            "SELECT DISTINCT system FROM audit_events_stored",
        ),
        person.description(
            "Only what this person did, or whose data was touched; empty: everybody."
        )
        .current(anybody)
        .options([anybody]),
    ]


def build() -> str:
    """The dashboard as JSON."""
    links = dashboard.DashboardLink("Axon").type(DashboardLinkType.DASHBOARDS).tags(["axon-audit"])
    made = (
        dashboard.Dashboard("Axon / Audit trail in ClickHouse")
        .uid("axon-audit-clickhouse")
        .description("Who did what, from the events themselves; and whether all of them are there.")
        .tags(["axon-audit", "generated"])
        .timezone("browser")
        .time("now-24h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .readonly()
        .variables(_variables())
        .link(links.as_dropdown(False).include_vars(False).keep_time(True))
    )
    rows = {"Is it whole?": _whole(), "Activity": _activity(), "Events": _events()}
    return as_json(made, rows)
