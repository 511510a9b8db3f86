"""A table of audit events: a row each, newest first, with links to what belongs to it."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models.common import TableCellHeight
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue

from . import colors
from . import grafana as g
from .logstores import COLUMNS, LogStore

__all__ = ["events"]

#: Pixels; the others share what is left.
_WIDTHS = {
    "time": 185,
    "operation": 125,
    "status": 90,
    "who": 140,
    "whose": 170,
    "entries": 75,
    "agent": 140,
    "system": 95,
    "error": 170,
    "trace": 150,
}


def events(
    title: str, description: str, store: LogStore, which: str, only_user: str, absent: str
) -> Any:
    """Rows of *store* that *which* selects; *only_user* is a link to the same of one user."""
    panel = g.described(table.Panel(), title, description, 24, 13, absent, "")
    panel = panel.datasource(store.source).unit("string").thresholds(g.thresholds(g.PLAIN))
    panel = panel.cell_height(TableCellHeight.SM).filterable(True)
    for step in _steps():
        panel = panel.with_transformation(step)
    # What stands there without any row is not for cells.
    panel = panel.override_by_regexp("/.*/", [DynamicConfigValue("noValue", "-")])
    for name, width in _WIDTHS.items():
        panel = panel.override_by_name(name, [DynamicConfigValue("custom.width", width)])
    for name, shown in (("operation", colors.OPERATIONS), ("status", colors.STATUSES)):
        panel = panel.override_by_name(name, _in_color(shown))
    for name, (words, address) in _links(store, only_user).items():
        link = {"title": words, "url": address, "targetBlank": name != "who"}
        panel = panel.override_by_name(name, [DynamicConfigValue("links", [link])])
    return g.with_queries(panel, title, [store.rows(which)])


def _steps() -> list[DataTransformerConfig]:
    """From a record's attributes to columns; all else is left out."""
    names = ["Time", *COLUMNS]
    return [
        DataTransformerConfig(
            "extractFields",
            options={"source": "labels", "format": "json", "keepTime": True, "replace": True},
        ),
        DataTransformerConfig("filterFieldsByName", options={"include": {"names": names}}),
        DataTransformerConfig(
            "organize",
            options={
                "excludeByName": {},
                "indexByName": {name: place for place, name in enumerate(names)},
                "renameByName": {"Time": "time"},
            },
        ),
    ]


def _in_color(of: dict[str, str]) -> list[DynamicConfigValue]:
    shown = {
        name: {"color": color, "index": place} for place, (name, color) in enumerate(of.items())
    }
    return [
        DynamicConfigValue("custom.cellOptions", {"type": "color-text"}),
        DynamicConfigValue("mappings", [{"type": "value", "options": shown}]),
    ]


def _links(store: LogStore, only_user: str) -> dict[str, tuple[str, str]]:
    """Words and address for each column that leads somewhere."""
    trace = {"query": "${__value.raw}"}
    if store.traces == "tempo":
        trace["queryType"] = "traceql"
    return {
        "who": ("Only this user", only_user),
        "trace": ("Open the trace", _explore("${traces}", store.traces, trace)),
        "event": (
            "The whole event",
            _explore(store.source.uid or "", store.kind, store.of_event("${__value.raw}")),
        ),
    }


def _explore(uid: str, kind: str, query: dict[str, Any]) -> str:
    """The address of Explore with that query and the dashboard's time; variables stay."""
    asked = {"refId": "A", "datasource": {"type": kind, "uid": uid}, **query}
    pane = {
        "datasource": uid,
        "queries": [asked],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    text = json.dumps({"axon": pane}, separators=(",", ":"))
    return f"/explore?schemaVersion=1&orgId=${{__org.id}}&panes={_encoded(text)}"


def _encoded(text: str) -> str:
    """Percent-encoded, but for `${name}`: Grafana fills that in, encoded."""
    parts: Sequence[str] = text.split("${")
    rest = (part.partition("}") for part in parts[1:])
    return quote(parts[0], safe="") + "".join(
        f"${{{name}}}{quote(after, safe='')}" for name, _, after in rest
    )
