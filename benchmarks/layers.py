"""Measures the time in each layer: ``python -m benchmarks.layers``; needs py-spy.

py-spy samples the stack of a separate process 500 times a second; each sample counts for the
innermost function of a known layer. The shares are scaled to the time of an operation without
py-spy, as a ratio to the bare calls (or to the SDK's `log_event`) that took turns with it.
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
from .cases import Scale

_SECONDS = 10.0
_BATCH = 1_000
_RATE = "500"

#: By title: the batch, its reference, and the function that is its loop.
CASES = {
    "everything on, a call that does nothing": ("delete", "floor", r"deletes \(.*benchmarks/"),
    "log_event": ("ours", "SDK", r"log_events \(.*benchmarks/"),
}

#: The layer of a file is the first one that its path contains. Other code counts for its callers.
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
_OURS = re.compile(r"axon_audit_otel/([\w/]+)\.py")


def _layer(frame: str) -> str | None:
    if ours := _OURS.search(frame):
        return f"ours: {ours[1]}"
    return next((layer for part, layer in _LAYERS if part in frame), None)


def shares(raw: str, within: str) -> dict[str, float]:
    """The share of each layer in the time below *within*, from py-spy's raw output."""
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


async def _run(name: str, reference: str | None) -> None:
    """Run the batch for py-spy; print the microseconds of one operation, and the ratio."""
    group = await (trail.log_event if name == "ours" else signals.everything)(Scale())
    times: list[float] = []
    ratios = []
    while sum(times) < _SECONDS:
        times.append(await group.batches[name](_BATCH))
        if reference is not None:
            ratios.append(times[-1] / await group.batches[reference](_BATCH))
    if reference is not None:
        print(1e6 * median(times) / _BATCH, median(ratios))


def _profile(title: str, name: str, reference: str, within: str) -> str:
    program = [sys.executable, "-m", "benchmarks.layers", name]
    unwatched = [*program, reference]
    plain = subprocess.run(unwatched, check=True, capture_output=True, text=True).stdout
    microseconds, ratio = map(float, plain.split())
    with TemporaryDirectory() as directory:
        raw = Path(directory) / "raw"
        spy = ["py-spy", "record", "--rate", _RATE, "--format", "raw", "--full-filenames"]
        subprocess.run(
            [*spy, "--output", str(raw), "--", *program], check=True, capture_output=True
        )
        found = shares(raw.read_text(), within)
    ours = sum(share for layer, share in found.items() if layer.startswith("ours"))
    lines = [f"{title}: {microseconds:.1f} us, {ratio:.2f} x; {ours * ratio:.2f} x of it ours", ""]
    lines += ["| layer | us | x | share |", "| --- | ---: | ---: | ---: |"]
    lines += [
        f"| {layer} | {share * microseconds:.1f} | {share * ratio:.2f} | {share:.0%} |"
        for layer, share in found.items()
        if share >= 0.01
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:]:
        asyncio.run(_run(sys.argv[1], next(iter(sys.argv[2:]), None)))
    else:
        for title, case in CASES.items():
            print(_profile(title, *case), end="\n\n", flush=True)
