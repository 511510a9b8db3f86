"""Where the time goes, by layer: ``python -m benchmarks.layers``.

The shares are cProfile's, which makes calls look dearer than they are, scaled to what the same
batch takes without it. What a library does is counted where it was called from.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
from statistics import median
from typing import Any

from . import cases
from .cases import Batch

_CALLS = 2_000

#: The first that a path contains decides; other code belongs to its callers.
_LAYERS = (
    ("axon_audit_otel/instrumentor", "wrappers of the SDK's methods"),
    ("axon_audit_otel/adapters", "wrappers of the adapter's methods"),
    ("axon_audit_otel/sdk", "facts of the call"),
    ("axon_audit_otel/operation", "operation: identity, span, draft"),
    ("axon_audit_otel/context", "operation: identity, span, draft"),
    ("axon_audit_otel/logger", "arguments checked, event returned"),
    ("axon_audit_otel/event.py:encode", "trail: JSON and hash"),
    ("axon_audit_otel/event.py:place", "trail: JSON and hash"),
    ("axon_audit_otel/event.py:decode", "arguments checked, event returned"),
    ("axon_audit_otel/event", "event: fields, id, time"),
    ("axon_audit_otel/privacy", "privacy of the metadata"),
    ("axon_audit_otel/emitter", "emit and capture"),
    ("axon_audit_otel/processor", "emit and capture"),
    ("axon_audit_otel/merkle", "trail: JSON and hash"),
    ("axon_audit_otel/trail", "trail: lock, chain"),
    ("axon_audit_otel/buffer", "trail: buffer and index"),
    ("axon_audit_otel/metrics", "metrics (ours)"),
    ("prometheus_client/", "metrics (prometheus_client)"),
    ("opentelemetry/sdk/trace", "OpenTelemetry: span"),
    ("opentelemetry/trace/__init__", "OpenTelemetry: span"),
    ("opentelemetry/_logs", "OpenTelemetry: log record"),
    ("opentelemetry/sdk/_logs", "OpenTelemetry: log record"),
    ("opentelemetry/metrics", "OpenTelemetry: no-op histogram"),
    ("axon/", "the SDK itself"),
    ("benchmarks/", "the loop"),
)

Function = tuple[str, int, str]


def _layer(function: Function) -> str | None:
    name = f"{function[0]}:{function[2]}"
    return next((layer for part, layer in _LAYERS if part in name), None)


def _by_layer(stats: dict[Function, Any]) -> dict[str, float]:
    """Own seconds of every function, added to its layer or to those of its callers."""
    result: dict[str, float] = {}

    def add(function: Function, seconds: float, depth: int = 0) -> None:
        layer = _layer(function)
        callers = stats[function][4]
        weights = {caller: figures[2] or figures[1] * 1e-9 for caller, figures in callers.items()}
        total = sum(weights.values())
        if layer is not None or not total or depth == 6:
            layer = layer or "other"
            result[layer] = result.get(layer, 0.0) + seconds
            return
        for caller, weight in weights.items():
            add(caller, seconds * weight / total, depth + 1)

    for function, figures in stats.items():
        add(function, figures[2])
    return result


async def _table(name: str, batch: Batch) -> str:
    times = [await batch(_CALLS) for _ in range(5)]
    microseconds = 1e6 * median(times) / _CALLS
    profile = cProfile.Profile()
    profile.enable()
    await batch(_CALLS)
    profile.disable()
    layers = _by_layer(pstats.Stats(profile).stats)  # type: ignore[attr-defined]
    layers.pop("the loop", None)
    total = sum(layers.values())
    lines = [f"{name}: {microseconds:.1f} us", ""]
    lines += [f"| {'layer':36} |    us | share |", f"|{'-' * 38}|------:|------:|"]
    for layer, seconds in sorted(layers.items(), key=lambda item: -item[1]):
        share = seconds / total
        lines.append(f"| {layer:36} | {share * microseconds:5.1f} | {share:4.0%} |")
    return "\n".join(lines)


async def _main() -> None:
    log_event, signals = await cases.log_event(), await cases.signals()
    print(await _table("log_event", log_event.batches["ours"]))
    print()
    print(await _table("instrumented store", signals.batches["store"]))


if __name__ == "__main__":
    asyncio.run(_main())
