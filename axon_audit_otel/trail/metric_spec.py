"""What describes a metric."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import Histogram

from .histogram import CountedHistogram
from .prometheus_gate import in_files

__all__ = ["Spec"]


@dataclass(frozen=True)
class Spec:
    """Describes a metric.

    Args:
        kind: prometheus_client's `Counter`, `Gauge` or `Histogram`.
        name: Its name; that of a counter without ``_total``.
        text: What it counts.
        labels: Names of its labels.
        options: Arguments of its kind.
    """

    kind: Any
    name: str
    text: str
    labels: tuple[str, ...]
    options: Mapping[str, Any]

    def make(self) -> Any:
        """A metric that no registry has."""
        made = self.kind(self.name, self.text, self.labels, registry=None, **self.options)
        if self.kind is Histogram and not in_files():
            return CountedHistogram(made, self.labels, self.options["buckets"])
        return made
