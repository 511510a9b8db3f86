"""The OpenTelemetry instruments that operations use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from opentelemetry import metrics, trace

from ..core import semconv
from ..version import __version__

__all__ = ["Signals", "current_signals", "drop_signals", "use_signals"]


@dataclass
class Signals:
    """The instruments of one pair of providers."""

    tracer: trace.Tracer
    duration: Any

    @classmethod
    def of(cls, tracer_provider: Any = None, meter_provider: Any = None) -> Signals:
        """Those of these providers; default: the global ones."""
        meter = metrics.get_meter(semconv.SCOPE_NAME, __version__, meter_provider)
        return cls(
            tracer=trace.get_tracer(semconv.SCOPE_NAME, __version__, tracer_provider),
            duration=meter.create_histogram(
                semconv.GEN_AI_CLIENT_OPERATION_DURATION,
                unit="s",
                description="GenAI operation duration.",
                explicit_bucket_boundaries_advisory=semconv.GEN_AI_DURATION_BUCKETS,
            ),
        )


_signals: Signals | None = None


def use_signals(signals: Signals | None) -> None:
    """Let all operations from now on use *signals*; None: those of the global providers."""
    global _signals
    _signals = signals


def drop_signals(signals: Signals | None) -> None:
    """Use those of the global providers again, unless others than *signals* are in use since."""
    if signals is not None and _signals is signals:
        use_signals(None)


def current_signals() -> Signals:
    """Those that operations use now."""
    if _signals is None:
        use_signals(Signals.of())
    return cast("Signals", _signals)
