"""Measures the import of the package, compared to that of OpenTelemetry's API."""

from __future__ import annotations

import subprocess
import sys

from .cases import Comparison, Scale, Times
from .measure import Line, lines

_PROGRAM = """
from time import process_time
start = process_time()
import opentelemetry._logs, opentelemetry.baggage, opentelemetry.metrics, opentelemetry.trace
api = process_time()
import axon_audit_otel
package = process_time()
from axon_audit_otel import AuditLogger, AxonInstrumentor
names = process_time()
print(api - start, package - api, names - api)
"""
_API = "importing OpenTelemetry's API before it"


def imports(scale: Scale) -> list[Line]:
    """Milliseconds, in a new process each time."""
    _times()  # writes the .pyc files
    rounds = 1 if scale.quick else scale.rounds
    times = [{name: 1e3 * seconds for name, seconds in _times().items()} for _ in range(rounds)]
    package = Comparison(
        "import axon_audit_otel",
        "ms",
        lambda t: t["package"],
        lambda t: t["API"],
        _API,
        60,
        absolute=True,
    )
    names = Comparison(
        "... and AuditLogger, AxonInstrumentor",
        "ms",
        lambda t: t["names"],
        lambda t: t["API"],
        _API,
    )
    return lines([package, names], times)


def _times() -> Times:
    """Seconds to import the OpenTelemetry API, and then this package, in a new process."""
    command = [sys.executable, "-c", _PROGRAM]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(zip(("API", "package", "names"), map(float, printed.split())))
