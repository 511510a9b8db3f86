"""The colours of all dashboards: one for each operation, one for each outcome, everywhere.

Told apart by people who see no red, no green or no blue, on the dark and on the light theme:
`tests/project/test_dashboard_colors.py` measures it. A name is Grafana's and has a shade for each
theme; a hex value is the same on both.
"""

from __future__ import annotations

GOOD, WARN, BAD = "blue", "semi-dark-yellow", "semi-dark-red"
#: What is neither: a number to be known.
PLAIN = "text"

STATUSES = {"SUCCESS": GOOD, "PARTIAL": WARN, "FAILURE": BAD}
OPERATIONS = {
    "STORE": "#12CBF5",
    "RECALL": "#814EC6",
    "FORGET": "#CF7B26",
    "COMPACT": "#296F16",
    "EXPORT": "#A24988",
    "IMPORT": "#9FC88F",
    "SYNC": "#4B8EFE",
    "TRANSACTION": "#A387A9",
    "BULK_STORE": "#E6AC3D",
    "REINDEX": "#608C74",
    "AUDIT": "text",
    "OTHER": "#909090",
}
#: The rarer, the darker on white, the brighter on black.
QUANTILES = {"p50": "super-light-blue", "p95": "blue", "p99": "semi-dark-orange"}
#: Of series that are not one of many.
ALONE = {
    "recorded": "super-light-blue",
    "shipped": "semi-dark-orange",
    "success": GOOD,
    "fast enough": GOOD,
}
#: Memory systems that we record by ourselves; those of an application are `OTHERS`.
SYSTEMS = {
    "axon": "#12CBF5",
    "mem0": "#E6AC3D",
    "langgraph": "#A24988",
    "mcp": "#814EC6",
    "none": "#296F16",
    "other": "#909090",
}
#: Lines of which there are a few, and none is good or bad: shades of one colour.
TRAILS = {"mode": "shades", "fixedColor": GOOD}
#: Users, stages, reasons: Grafana's own colours, in their order.
OTHERS = {"mode": "palette-classic"}


def of_series(legend: str) -> dict[str, str]:
    """Colours by the name of a series, of those that *legend* stands for: ``{{operation}}``."""
    families = {"{{operation}}": OPERATIONS, "{{status}}": STATUSES, "{{system}}": SYSTEMS}
    alone = {**QUANTILES, **ALONE}
    return families.get(legend) or ({legend: alone[legend]} if legend in alone else {})
