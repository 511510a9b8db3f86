"""Where the time goes, by layer: ``python -m benchmarks.layers``; needs py-spy.

py-spy looks, 500 times a second, what a process of its own is doing; each look is counted for the
innermost function of a known layer. The shares are scaled to what an operation takes unwatched.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from . import signals, trail
from .cases import Batch, Scale

_SECONDS = 10.0
_BATCH = 1_000
_RATE = "500"

CASES = {
    "everything on, a call that does nothing": ("delete", r"deletes \(.*benchmarks/"),
    "an instrumented store": ("store", r"_stores \(.*benchmarks/"),
    "log_event": ("log_event", r"log_events \(.*benchmarks/"),
}

#: Whose a file is: the first that its path contains. Other code belongs to its callers.
_LAYERS = (
    ("prometheus_client/", "prometheus_client"),
    ("opentelemetry/sdk/_logs", "OpenTelemetry: log record"),
    ("opentelemetry/_logs", "OpenTelemetry: log record"),
    ("opentelemetry/sdk/trace", "OpenTelemetry: span"),
    ("opentelemetry/trace", "OpenTelemetry: span"),
    ("opentelemetry/sdk/util", "OpenTelemetry: span"),
    ("opentelemetry/attributes", "OpenTelemetry: attributes"),
    ("opentelemetry/", "OpenTelemetry: context, baggage, rest"),
    ("/axon/", "the SDK itself"),
)
_OURS = re.compile(r"axon_audit_otel/(\w+)\.py")


def _layer(frame: str) -> str | None:
    if ours := _OURS.search(frame):
        return f"ours: {ours[1]}"
    return next((layer for part, layer in _LAYERS if part in frame), None)


def shares(raw: str, within: str) -> dict[str, float]:
    """Of py-spy's raw output: the part of the time below *within* that each layer has."""
    seen: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        below = next((i for i, frame in enumerate(frames) if re.match(within, frame)), None)
        if below is None:
            continue
        layers = map(_layer, reversed(frames[below + 1 :]))
        seen[next(filter(None, layers), "")] += int(count)
    del seen[""]  # the loop
    total = sum(seen.values())
    return {layer: count / total for layer, count in seen.most_common()}


async def _batch(name: str) -> Batch:
    group = trail.log_event if name == "log_event" else signals.everything
    batches = (await group(Scale())).batches
    return batches["ours" if name == "log_event" else name]


async def _run(name: str) -> None:
    """What py-spy watches; prints what one operation takes, in microseconds."""
    batch = await _batch(name)
    times: list[float] = []
    while sum(times) < _SECONDS:
        times.append(await batch(_BATCH))
    print(1e6 * median(times) / _BATCH)


def _profile(title: str, name: str, within: str) -> str:
    program = [sys.executable, "-m", "benchmarks.layers", name]
    plain = subprocess.run(program, check=True, capture_output=True, text=True).stdout
    microseconds = float(plain)
    with TemporaryDirectory() as directory:
        raw = Path(directory) / "raw"
        spy = ["py-spy", "record", "--rate", _RATE, "--format", "raw", "--full-filenames"]
        subprocess.run(
            [*spy, "--output", str(raw), "--", *program], check=True, capture_output=True
        )
        found = shares(raw.read_text(), within)
    ours = sum(share for layer, share in found.items() if layer.startswith("ours"))
    lines = [f"{title}: {microseconds:.1f} us, {ours:.0%} of it ours", ""]
    lines += ["| layer | us | share |", "| --- | ---: | ---: |"]
    lines += [
        f"| {layer} | {share * microseconds:.1f} | {share:.0%} |"
        for layer, share in found.items()
        if share >= 0.01
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(_run(sys.argv[1]))
    else:
        for title, (name, within) in CASES.items():
            print(_profile(title, name, within), end="\n\n", flush=True)
