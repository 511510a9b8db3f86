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
