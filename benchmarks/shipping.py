"""``python -m benchmarks.shipping``: measures cost and speed of shipping to a real collector.

Needs the collector of ``collector-config/builder.yaml`` (``python3 tools/collector.py``). Each
batch is a process of its own; compared batches take turns for several rounds; the results are the
ratios within a round.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median, quantiles
from time import monotonic, perf_counter, process_time, sleep
from typing import Any

from opentelemetry._logs import LogRecord
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor

from axon_audit_otel import AuditLogger

from .by_hand import Seen
from .cases import OWNER, TAGS, Comparison, Scale, logger_provider
from .measure import Line
from .report import facts, footer, table

ROOT = Path(__file__).resolve().parent.parent
MARK = b'"eventName":"axon.memory.audit"'


# --- the applications, each a process of its own --------------------------------------------------


async def _log(audit: AuditLogger, count: int) -> None:
    metadata = {"importance": 0.5, "tags": TAGS, "privacy_level": "public"}
    for number in range(count):
        await audit.log_event(
            "STORE", entry_ids=[f"entry-{number}"], metadata=metadata, duration_ms=1.25, **OWNER
        )


Spent = tuple[float, float]  # seconds of wall clock, and of CPU in the process that sends


def ours(count: int, endpoint: str, written: Path, directory: Path) -> Spent:
    """Log events with `ship_to`, until all are in the collector's file."""
    audit = AuditLogger(auto_export_path=directory, ship_to=endpoint)
    start, cpu = perf_counter(), process_time()
    asyncio.run(_log(audit, count))
    _arrived(written, count)
    return perf_counter() - start, process_time() - cpu


def bare(count: int, endpoint: str, written: Path, directory: Path) -> Spent:
    """Send log records with OpenTelemetry's SDK alone, until all are in the collector's file."""
    capture = Seen()
    audit = AuditLogger(logger_provider=logger_provider(capture), auto_export_path=directory)
    records: list[dict[str, Any]] = []

    async def collect() -> None:
        for _ in range(count):
            await _log(audit, 1)
            made = capture.record
            assert made.attributes is not None
            records.append(
                {
                    "timestamp": made.timestamp,
                    "severity_number": made.severity_number,
                    "severity_text": made.severity_text,
                    "body": made.body,
                    "attributes": dict(made.attributes),
                    "event_name": made.event_name,
                }
            )

    asyncio.run(collect())
    audit.close()
    exporter = OTLPLogExporter(f"{endpoint}/v1/logs")
    # A queue of the default size would drop most of them.
    processor = BatchLogRecordProcessor(exporter, max_queue_size=count)
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(processor)
    logger = provider.get_logger("bare")
    start, cpu = perf_counter(), process_time()
    for record in records:
        logger.emit(LogRecord(**record))
    processor.force_flush()
    _arrived(written, count)
    return perf_counter() - start, process_time() - cpu


def _arrived(file: Path, count: int) -> None:
    """Wait until the file has *count* records more than at the first look."""
    seen, rest = 0, b""
    with file.open("rb") as lines:
        while seen < count:
            block = lines.read(1 << 20)
            if not block:
                sleep(0.005)
                continue
            seen += (rest + block).count(MARK)
            rest = block[-len(MARK) + 1 :]


def replay(count: int, endpoint: str, written: Path, directory: Path) -> Spent:
    """Run ``axon-audit replay`` for an archive of that many events; its start counts too."""
    with AuditLogger(auto_export_path=directory) as audit:
        asyncio.run(_log(audit, count))
    command = [sys.executable, "-m", "axon_audit_otel", "replay", str(directory)]
    start = perf_counter()
    subprocess.run([*command, "--endpoint", endpoint], stdout=subprocess.DEVNULL, check=True)
    seconds, used = perf_counter() - start, os.times()
    _arrived(written, count)
    return seconds, used.children_user + used.children_system


def _command(*arguments: object) -> float:
    """Seconds that the command line takes."""
    start = perf_counter()
    command = [sys.executable, "-m", "axon_audit_otel", *map(str, arguments)]
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return perf_counter() - start


def _archive(count: int, directory: Path) -> Path:
    with AuditLogger(auto_export_path=directory / "logs") as audit:
        asyncio.run(_log(audit, count))
    return directory / "logs"


def replay_memory(count: int, endpoint: str, written: Path, directory: Path) -> float:
    """The peak memory of a replay of that many events, in MiB."""
    _command("replay", _archive(count, directory), "--endpoint", endpoint)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024


def latency(count: int, endpoint: str, written: Path, directory: Path) -> float:
    """The 99th percentile of `log_event` in microseconds, at the pace of a busy agent."""
    where = endpoint or None

    async def work() -> list[float]:
        audit = AuditLogger(auto_export_path=directory, ship_to=where)
        await _log(audit, 200)
        await asyncio.sleep(2)  # the imports for the first request are not measured
        times = []
        for number in range(count):
            start = perf_counter()
            await _log(audit, 1)
            times.append(1e6 * (perf_counter() - start))
            if number % 10 == 9:
                await asyncio.sleep(0.002)
        return times

    return quantiles(asyncio.run(work()), n=100)[98]


# --- collectors -----------------------------------------------------------------------------------


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _program() -> str:
    """The path of the collector.

    Raises:
        FileNotFoundError: If it is not built.
    """
    found = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "collector.py"), "--path"],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    path = found.stdout.strip()
    if found.returncode:
        msg = f"no collector at {path}: python3 tools/collector.py builds it"
        raise FileNotFoundError(msg)
    return path


@contextmanager
def _collector(data: Path) -> Iterator[str]:
    """Run a collector that writes audit records to a file; yield its address for OTLP over HTTP."""
    program = _program()
    ports = [_free_port() for _ in range(5)]
    names = ("HTTP", "GRPC", "HEALTH", "PROMETHEUS")
    variables = {f"COLLECTOR_{n}": f"127.0.0.1:{port}" for n, port in zip(names, ports)}
    variables |= {"COLLECTOR_TELEMETRY_PORT": str(ports[4]), "COLLECTOR_DATA": str(data)}
    command = [program, "--config", ROOT / "collector-config" / "all-in-one.yaml"]
    with (
        (data / "collector.log").open("wb") as log,
        subprocess.Popen(command, env={**os.environ, **variables}, stdout=log, stderr=log) as ran,
    ):
        try:
            deadline = monotonic() + 60
            while monotonic() < deadline and ran.poll() is None:
                with suppress(OSError):
                    urllib.request.urlopen(f"http://127.0.0.1:{ports[2]}").close()
                    break
                sleep(0.02)
            yield f"http://127.0.0.1:{ports[0]}"
        finally:
            ran.terminate()


@contextmanager
def _silence() -> Iterator[str]:
    """Run a collector that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held = []

        def accept() -> None:
            with suppress(OSError):
                while True:
                    held.append(server.accept())

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


# --- measuring ------------------------------------------------------------------------------------


def _child(what: Callable[..., float], count: int, endpoint: str, written: Path) -> float:
    return float(_in_child(what, count, endpoint, written))


def _in_child(what: Callable[..., Any], count: int, endpoint: str, written: Path) -> Any:
    """Call the function in a process of its own, and return its result."""
    with tempfile.TemporaryDirectory() as directory:
        arguments = [what.__name__, str(count), endpoint, str(written), directory]
        done = subprocess.run(
            [sys.executable, "-m", __spec__.name, "--child", *arguments],
            stdout=subprocess.PIPE,
            cwd=ROOT,
            check=True,
        )
    return json.loads(done.stdout)


def throughput(rounds: int, count: int) -> list[Line]:
    """Time to the collector's file: from the application, ours and bare, and from the archive."""
    jobs = (ours, bare, replay)
    clock: dict[str, list[float]] = {job.__name__: [] for job in jobs}
    cpu: dict[str, list[float]] = {job.__name__: [] for job in jobs}
    for number in range(rounds):
        for what in jobs[:: 1 if number % 2 else -1]:
            with tempfile.TemporaryDirectory() as place, _collector(Path(place)) as endpoint:
                written = Path(place, "audit.jsonl")
                written.touch()
                spent = _in_child(what, count, endpoint, written)
            for kept, seconds in zip((clock, cpu), spent):
                kept[what.__name__].append(1e6 * seconds / count)

    def line(name: str, whose: str, times: dict[str, list[float]], **target: Any) -> Line:
        against = "OpenTelemetry's SDK alone"
        one = Comparison(name, "us", lambda t: t[whose], lambda t: t["bare"], against, **target)
        return Line(one, times[whose], times["bare"])

    live, again = "application to collector's file", "axon-audit replay, to collector's file"
    return [
        line(f"{live}, {count:,} events", "ours", clock, limit=0.9, faster=True),
        line(f"{again}, {count:,} events", "replay", clock, limit=50, absolute=True),
        line(f"{live}: CPU of the application", "ours", cpu),
        line(f"{again}: CPU of its process", "replay", cpu),
    ]


def memory(rounds: int, count: int) -> Line:
    """Memory of a replay of many events, and of a tenth of them."""
    found: dict[str, list[float]] = {"many": [], "few": []}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as place, _collector(Path(place)) as endpoint:
            found["many"].append(_child(replay_memory, count, endpoint, Path()))
            found["few"].append(_child(replay_memory, count // 10, endpoint, Path()))
    words = f"memory of replay, {count:,} events"
    versus = f"replay of {count // 10:,}"
    comparison = Comparison(words, "MiB", lambda t: t["many"], lambda t: t["few"], versus, 1.5)
    return Line(comparison, found["many"], found["few"])


def latencies(rounds: int, count: int) -> Line:
    """p99 of `log_event` with a collector that never answers, and without one."""
    found: dict[str, list[float]] = {"with": [], "without": []}
    with _silence() as endpoint:
        for number in range(rounds):
            for what in ("with", "without") if number % 2 else ("without", "with"):
                where = endpoint if what == "with" else ""
                found[what].append(_child(latency, count, where, Path()))
    return Line(
        Comparison(
            "p99 of log_event, a collector that never answers",
            "us",
            lambda t: t["with"],
            lambda t: t["without"],
            "the same, not shipped",
            1.1,
        ),
        found["with"],
        found["without"],
    )


def measured(scale: Scale, events: int | None = None) -> list[Line]:
    """All lines; none without a collector."""
    try:
        _program()
    except FileNotFoundError as exc:
        print(f"shipping: left out, {exc}", file=sys.stderr)
        return []
    if scale.quick:
        return [*throughput(1, 2_000), latencies(1, 500)]
    count = events or 50_000
    return [
        *throughput(scale.rounds, count),
        latencies(scale.rounds, count // 5),
        memory(min(scale.rounds, 3), count),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.shipping", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--events", type=int, default=50_000)
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        what, count, endpoint, written, directory = options.child
        seconds = globals()[what](int(count), endpoint, Path(written), Path(directory))
        print(json.dumps(seconds), flush=True)
        os._exit(0)  # waits for no collector
    known = footer(facts(options.rounds))
    lines = measured(Scale(rounds=options.rounds), options.events)
    if not lines:
        sys.exit(1)
    print(table([line.as_json() for line in lines]))
    rates = [1e6 / median(times) for times in (lines[0].ours, lines[0].reference, lines[1].ours)]
    print("\nevents a second: {:,.0f}, bare {:,.0f}, replay {:,.0f}\n".format(*rates) + known)


if __name__ == "__main__":
    main()
