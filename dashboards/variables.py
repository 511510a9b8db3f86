"""The variables that the dashboards share."""

from __future__ import annotations

from typing import Any

from . import grafana as g
from . import promql as q

_PLACE = "Not every Prometheus has this label: with All, it is not asked for."

TRAILS: list[Any] = [
    g.source("datasource", "Metrics", "prometheus"),
    g.choice("cluster", "Cluster", f"The label cluster. {_PLACE}", q.CAPACITY),
    g.choice("namespace", "Namespace", f"The label namespace. {_PLACE}", q.CAPACITY, q.PLACE[0]),
    g.choice("job", "Job", "The scrape job.", q.CAPACITY, *q.PLACE),
    g.choice("instance", "Instance", "One process.", q.CAPACITY, *q.PLACE, 'job=~"$job"'),
    g.choice(
        "trail",
        "Trail",
        "The audit trail, as AuditLogger(name=...) calls it.",
        q.CAPACITY,
        *q.PLACE,
        'job=~"$job"',
        'instance=~"$instance"',
    ),
]
#: Where operations are shown. *All* is also what has no such label: a process of an older version.
SYSTEM = g.choice(
    "system",
    "System",
    "The memory's library, as its events name it. none: recorded by hand, or by the trail itself;"
    " other: all beyond the first twenty. Findings, personal data and what is said of the trail"
    " itself are of all systems.",
    q.OPERATIONS,
    *q.PLACE,
    'job=~"$job"',
    'instance=~"$instance"',
    'trail=~"$trail"',
)
