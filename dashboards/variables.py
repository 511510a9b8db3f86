"""The variables that the dashboards share."""

from __future__ import annotations

from typing import Any

from . import grafana as g
from . import promql as q

TRAILS: list[Any] = [
    g.source("datasource", "Metrics", "prometheus"),
    g.choice("job", "Job", "The scrape job.", q.CAPACITY),
    g.choice("instance", "Instance", "One process.", q.CAPACITY, 'job=~"$job"'),
    g.choice(
        "trail",
        "Trail",
        "The audit trail, as AuditLogger(name=...) calls it.",
        q.CAPACITY,
        'job=~"$job"',
        'instance=~"$instance"',
    ),
]
#: Where operations are shown. `.*` is also what has no such label: a process of an older version.
SYSTEM = g.choice(
    "system",
    "System",
    "The memory's library, as its events name it. none: recorded by hand, or by the trail itself;"
    " other: all beyond the first twenty. Findings, personal data and what is said of the trail"
    " itself are of all systems.",
    q.OPERATIONS,
    'job=~"$job"',
    'instance=~"$instance"',
    'trail=~"$trail"',
    every=".*",
)
