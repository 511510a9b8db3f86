"""Fixtures that several test files share: real systems, providers and registries, per test."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from amounts import pytest_configure  # noqa: F401 - a hook
from axon import Filter, MemoryEntry, MemorySystem
from axon.adapters.base import StorageAdapter
from axon.adapters.memory import InMemoryAdapter
from axon.core.adapter_registry import AdapterRegistry
from axon.core.config import MemoryConfig
from axon.core.policies.ephemeral import EphemeralPolicy
from axon.core.policies.persistent import PersistentPolicy
from axon.core.policies.session import SessionPolicy
from click.testing import CliRunner, Result
from collector import Collector, binary
from flaky import pytest_collection_modifyitems, pytest_terminal_summary  # noqa: F401 - hooks
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from receiver import Receiver, over_http

from axon_audit_otel import AuditEvent, AuditLogger, AxonInstrumentor
from axon_audit_otel.archive.checkpoints import SigningKey
from axon_audit_otel.archive.manifest import DeleteRecord, Manifest
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query
from axon_audit_otel.operations.signals import use_signals
from axon_audit_otel.trail.audit_logger import loggers

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in a shell's background job
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:  # under `nohup`
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(scope="session", autouse=True)
def _state_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the package keeps for its user is kept elsewhere while tests run."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


def pytest_collection_finish() -> None:
    """Collections of garbage leave out the modules and the tests, which are many."""
    gc.collect()
    gc.freeze()


#: Types of the fixtures with these names.
Cli = Callable[..., Result]
Make = Callable[..., AuditLogger]
MakeSystem = Callable[..., MemorySystem]
Run = Callable[..., str]
Zone = Callable[[str], None]


class ListingAdapter(InMemoryAdapter):
    """Returns all entries for any vector, as a server without vector search does.

    (The SDK's own in-memory adapter raises at the zero vector that `sync` and `compact` use.)
    """

    async def query(
        self, vector: list[float] | str, k: int = 5, filter: Filter | None = None
    ) -> list[MemoryEntry]:
        if isinstance(vector, str):
            return await super().query(vector, k, filter)
        chosen = [e for e in self._storage.values() if filter is None or filter.matches(e)]
        return chosen[:k]


class FaultyAdapter(ListingAdapter):
    """Fails on purpose: `faults` maps a method to its exception, `only` limits the entries."""

    def __init__(self, **faults: BaseException) -> None:
        super().__init__()
        self.faults = faults
        self.only: set[str] | None = None  # ids; None: all

    def _fault(self, method: str, entry_id: str | None = None) -> None:
        if method in self.faults and (self.only is None or entry_id in self.only):
            raise self.faults[method]

    async def save(self, entry: MemoryEntry) -> str:
        self._fault("save", entry.id)
        return await super().save(entry)

    async def query(
        self, vector: list[float] | str, k: int = 5, filter: Filter | None = None
    ) -> list[MemoryEntry]:
        self._fault("query")
        return await super().query(vector, k, filter)

    async def get(self, id: str) -> MemoryEntry:
        self._fault("get", id)
        return await super().get(id)

    async def delete(self, id: str) -> bool:
        self._fault("delete", id)
        return await super().delete(id)

    def list_ids(self) -> list[str]:
        self._fault("list_ids")
        return super().list_ids()

    async def initialize(self) -> None:
        self._fault("initialize")


def history(audit: AuditLogger, **filters: Any) -> list[AuditEvent]:
    """The events in memory, oldest first."""
    return audit.query_events(**filters)[::-1]


def only_event(audit: AuditLogger, **filters: Any) -> AuditEvent:
    """The only event; fails if there are more or none."""
    events = audit.query_events(**filters)
    assert len(events) == 1, events
    return events[0]


def assert_chained(events: list[AuditEvent]) -> None:
    """Check numbers and hashes of all *events* of a trail, in their order, with or without the
    record `start`."""
    first = events[0].sequence if events else 1
    assert first in (1, 2)
    assert [event.sequence for event in events] == list(range(first, first + len(events)))
    assert first == 2 or not events or events[0].previous_hash is None
    hashes = [event.hash for event in events]
    assert [event.previous_hash for event in events[1:]] == hashes[:-1]


def events_in(file: Path) -> list[dict[str, Any]]:
    """The events of one file of the specification's format; its frame is checked too."""
    content = json.loads(file.read_bytes())
    assert list(content)[:3] == ["events", "total_events", "exported_at"]
    assert content["total_events"] == len(content["events"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", content["exported_at"])
    return list(content["events"])


def sealed_files(directory: Path) -> list[Path]:
    """The sealed files, in the order in which they were written."""
    return sorted(directory.glob("audit_*.json"), key=lambda file: events_in(file)[0]["sequence"])


def archived(directory: Path) -> list[AuditEvent]:
    """Every event of an archive, oldest first."""
    return list(search(directory, Query(), oldest_first=True))


_LOAD_ALL = """
import importlib, pkgutil, axon.core.memory_system, axon_audit_otel
for found in pkgutil.walk_packages(axon_audit_otel.__path__, "axon_audit_otel."):
    if not found.name.endswith("__main__"):
        try:
            importlib.import_module(found.name)
        except ModuleNotFoundError as exc:  # an extra that is not installed, or not for this Python
            if exc.name.startswith("axon"):
                raise
from axon_audit_otel.otlp.client import Endpoint, load
load(Endpoint.resolve("http://127.0.0.1:1"))
"""


def retire(*files: Path) -> None:
    """Delete sealed files of the writer ``default`` as retention does, with its manifest."""
    for file in files:
        manifest = Manifest(file.with_name("default.manifest"))
        sha256 = manifest.seals[file.name].sha256
        rule, moment = "retention: 1d", "2025-01-15T11:00:00.000000Z"
        manifest.add(DeleteRecord(file=file.name, sha256=sha256, reason=rule, deleted_at=moment))
        file.unlink()


def only(directory: Path, pattern: str) -> Path:
    """The only file that matches *pattern*; fails if there are more or none."""
    (found,) = directory.glob(pattern)
    return found


@contextmanager
def file_in_place(directory: Path, aside: Path | None = None) -> Iterator[None]:
    """Replace the directory by a file during the block."""
    aside = aside or directory.with_name("aside")
    directory.rename(aside)
    directory.write_text("in the way")
    yield
    directory.unlink()
    aside.rename(directory)


async def until(done: Callable[[], Any]) -> None:
    """Wait until *done* returns something true, while another thread works."""
    deadline = time.monotonic() + 60  # only so that a failure ends
    while not done():
        assert time.monotonic() < deadline, "it did not happen"
        await asyncio.sleep(0.02)


@pytest.fixture(name="config")
def _config() -> MemoryConfig:
    """The smallest configuration that runs in memory."""
    return MemoryConfig(
        persistent=PersistentPolicy(
            adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
        ),
        default_tier="persistent",
    )


@pytest.fixture(name="tiered_config")
def _tiered_config() -> MemoryConfig:
    """Three tiers, all in memory."""
    return MemoryConfig(
        ephemeral=EphemeralPolicy(adapter_type="memory", ttl_seconds=60),
        session=SessionPolicy(adapter_type="memory", ttl_seconds=600),
        persistent=PersistentPolicy(
            adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
        ),
        default_tier="persistent",
    )


_POLICIES = {
    "ephemeral": EphemeralPolicy(adapter_type="memory", ttl_seconds=60),
    "session": SessionPolicy(adapter_type="memory", ttl_seconds=600),
    "persistent": PersistentPolicy(
        adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
    ),
}


@pytest.fixture(name="make_system")
def _make_system() -> MakeSystem:
    """Makes systems on adapter instances given by tier (default: a `ListingAdapter`)."""

    def make(*, audit_logger: Any = None, embedder: Any = None, **tiers: Any) -> MemorySystem:
        adapters: dict[str, StorageAdapter] = {"persistent": ListingAdapter(), **tiers}
        registry = AdapterRegistry()
        for tier, adapter in adapters.items():
            registry.register(tier, "memory", adapter_instance=adapter)
        policies: dict[str, Any] = {tier: _POLICIES[tier] for tier in adapters}
        config = MemoryConfig(**policies, default_tier="persistent")
        return MemorySystem(config, registry=registry, embedder=embedder, audit_logger=audit_logger)

    return make


@pytest.fixture(name="http")
def _http() -> Iterator[Receiver]:
    """A receiver of OTLP over HTTP."""
    found = over_http()
    yield found
    found.close()


@pytest.fixture(name="registry")
def _registry() -> CollectorRegistry:
    """A Prometheus registry of the test's own."""
    return CollectorRegistry()


@pytest.fixture(name="log_exporter")
def _log_exporter() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()


@pytest.fixture(name="logger_provider")
def _logger_provider(log_exporter: InMemoryLogRecordExporter) -> LoggerProvider:
    """An application's own logger provider, with an exporter that keeps what it gets."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(log_exporter))
    return provider


@pytest.fixture(name="span_exporter")
def _span_exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(name="tracer_provider")
def _tracer_provider(span_exporter: InMemorySpanExporter) -> TracerProvider:
    """An application's own tracer provider, with an exporter that keeps what it gets."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(span_exporter))
    return provider


@pytest.fixture(name="make_audit")
def _make_audit(registry: CollectorRegistry, logger_provider: LoggerProvider) -> Make:
    """Makes audit loggers on the test's registry and logger provider."""

    def make(*args: Any, **kwargs: Any) -> AuditLogger:
        if kwargs.get("name", "default") in loggers():  # of a test before, not collected
            gc.collect()
        return AuditLogger(
            *args, **{"registry": registry, "logger_provider": logger_provider, **kwargs}
        )

    return make


@pytest.fixture(name="fresh_name")
def _fresh_name(monkeypatch: pytest.MonkeyPatch) -> str:
    """The environment's name of the trail: no logger of an earlier test has it."""
    name = f"fresh-{uuid4().hex}"
    monkeypatch.setenv("AXON_AUDIT_NAME", name)
    return name


@pytest.fixture(name="audit")
def _audit(make_audit: Make) -> AuditLogger:
    """An audit logger with default settings."""
    return make_audit()


@pytest.fixture(name="instrumented")
def _instrumented(
    audit: AuditLogger, tracer_provider: TracerProvider
) -> Iterator[AxonInstrumentor]:
    """The SDK, instrumented for the test's audit logger and tracer provider."""
    instrumentor = AxonInstrumentor()
    instrumentor.instrument(audit_logger=audit, tracer_provider=tracer_provider)
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


@pytest.fixture(name="no_finalizers")
def _no_finalizers() -> Iterator[None]:
    """Loggers of earlier tests, which seal when they are collected, do so before this test."""
    gc.collect()
    gc.freeze()  # so that later collections are short
    gc.disable()
    yield
    gc.enable()


@pytest.fixture(autouse=True)
def _leave_no_patch() -> Iterator[None]:
    """Undo patches of the SDK after each test (every `AuditLogger` makes them)."""
    yield
    instrumentor = AxonInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor._is_instrumented_by_opentelemetry = True
    instrumentor.uninstrument()
    use_signals(None)


@pytest.fixture(name="memory")
def _memory(config: MemoryConfig, instrumented: AxonInstrumentor) -> MemorySystem:
    """A real system on its in-memory adapter, instrumented from outside."""
    return MemorySystem(config)


@pytest.fixture(name="busy_threads")
def _busy_threads() -> Iterator[None]:
    """Threads take turns much more often than usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture(name="zone")
def _zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Zone]:
    """Sets the local time zone: ``Africa/Cairo``, or as POSIX writes it, ``JST-9``."""

    def use(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield use
    monkeypatch.undo()
    time.tzset()


_FOREIGN = ("AXON_AUDIT_", "OTEL_", "PROMETHEUS_")
_START_RECORD = "AXON_AUDIT_START_RECORD"
os.environ.pop(_START_RECORD, None)


@pytest.fixture(name="without_start_record", scope="module")
def _without_start_record() -> Iterator[None]:
    """Archives of a whole test file, of other processes too, do not begin with the record `start`.

    Only for tests written before there was one, which name the numbers and counts of events.
    """
    os.environ[_START_RECORD] = "false"
    yield
    os.environ.pop(_START_RECORD)


def _foreign() -> list[str]:
    return [name for name in os.environ if name.startswith(_FOREIGN) and name != _START_RECORD]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Remove environment variables of this machine that would change results."""
    for name in _foreign():
        monkeypatch.delenv(name)


def _text(value: object) -> str:
    return value.line() if isinstance(value, SigningKey) else str(value)


@pytest.fixture(name="run_script")
def _run_script() -> Run:
    """Runs source text in a new Python process, for tests of global state.

    Returns its output; keyword arguments are environment variables. The test fails if the
    script ends with another exit code than *code*. A script that gives up root's rights needs
    *loaded*: all modules are imported before, since later it may not be able to read them.
    """

    def run(
        source: str,
        *arguments: object,
        code: int = 0,
        loaded: bool = False,
        **environment: object,
    ) -> str:
        program = (_LOAD_ALL if loaded else "") + textwrap.dedent(source)
        done = subprocess.run(
            [sys.executable, "-c", program, *map(_text, arguments)],
            env={**os.environ, **{name: _text(value) for name, value in environment.items()}},
            capture_output=True,
            text=True,
            timeout=900,  # only so that a hang does not stop the whole run
            check=False,
        )
        assert done.returncode == code, done.stderr or done.stdout
        return done.stdout

    return run


@pytest.fixture(name="start_collector")
def _start_collector(tmp_path: Path) -> Iterator[Callable[..., Collector]]:
    """Starts real collectors; keyword arguments are environment variables."""
    program = binary()
    running: list[Collector] = []

    def start(*configs: str, **environment: str) -> Collector:
        data = tmp_path / f"collector-{len(running)}"
        running.append(Collector(program, data, *configs, environment=environment))
        return running[-1]

    yield start
    for collector in running:
        collector.kill()


@pytest.fixture(name="cli", scope="session")
def _cli() -> Cli:
    """Runs the command ``axon-audit`` in this process; its output is a pipe, 80 columns wide.

    Other keyword arguments are environment variables. The test fails if the command ends with
    another exit code than *code* (None: any), or with a traceback.
    """
    try:
        runner = CliRunner(mix_stderr=False)  # click before 8.2
    except TypeError:
        runner = CliRunner()
    plain = dict.fromkeys(("FORCE_COLOR", "NO_COLOR", "CLICOLOR_FORCE", "TTY_COMPATIBLE"))

    def run(
        *arguments: object,
        code: int | None = 0,
        stdin: str | None = None,
        columns: int | str = 80,
        **environment: str,
    ) -> Result:
        foreign = dict.fromkeys(_foreign())
        result = runner.invoke(
            import_module("axon_audit_otel.cli.main").main,
            [_text(item) for item in arguments],
            stdin,
            {**plain, **foreign, "COLUMNS": str(columns), **environment},
            prog_name="axon-audit",
        )
        if not isinstance(result.exception, SystemExit | None):
            raise result.exception
        assert code in (None, result.exit_code), result.output + result.stderr
        return result

    return run


@pytest.fixture(name="small_disk")
def _small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 700 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=700k", "none", str(disk)]
    mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
    if not mounted:
        reason = "needs to mount a tmpfs"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)
