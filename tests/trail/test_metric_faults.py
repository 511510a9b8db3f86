"""Faults of metrics do not disturb the trail."""

from __future__ import annotations

import asyncio
import gc
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from amounts import slow
from conftest import Make, Run, archived
from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from axon_audit_otel import AuditLogger, verify
from axon_audit_otel.trail.histogram import CountedHistogram
from axon_audit_otel.trail.prometheus_gate import the_gate

OPERATIONS = "axon_memory_operations_total"

#: An application that stores in the SDK's memory and counts what its trail makes of it.
_APPLICATION = """
    import asyncio, logging, os, shutil, signal, sys, time
    multi, archive = sys.argv[1:3]

    def break_it():
        shutil.rmtree(multi, ignore_errors=True)
        if sys.argv[3] == "a file in its place": open(multi, "w").close()

    def mend_it():
        if os.path.isfile(multi): os.remove(multi)
        os.makedirs(multi, exist_ok=True)

    told = []
    class Told(logging.Handler):
        def emit(self, record): told.append(record.getMessage())
    logging.getLogger("axon_audit_otel").addHandler(Told())

    def start():
        global audit, memory
        from axon import MemorySystem
        from axon.core.config import MemoryConfig
        from axon.core.policies.persistent import PersistentPolicy
        from axon_audit_otel import AuditLogger
        policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
        config = MemoryConfig(persistent=policy, default_tier="persistent")
        audit = AuditLogger(auto_export_path=archive)
        memory = MemorySystem(config, audit_logger=audit)

    def store(count):
        for _ in range(count): asyncio.run(memory.store("tea"))

    def say(*more):
        found = audit.get_statistics()
        ours = f"audit trail {audit.name!r}: metrics failed"
        metrics = [line for line in told if line.startswith(ours)]
        print(found["total_events"], found["by_operation"]["STORE"],
              found["latency_ms"]["STORE"]["count"], found["failures"].get("metrics", 0) > 0,
              set(found["failures"]) <= {"metrics"}, len(metrics), *more, flush=True)

    def scraped(name='axon_memory_operations_total{', operation='operation="STORE"'):
        from prometheus_client import CollectorRegistry, generate_latest
        from prometheus_client.multiprocess import MultiProcessCollector
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        lines = generate_latest(registry).decode().splitlines()
        found = [line for line in lines if line.startswith(name) and operation in line]
        return sum(float(line.split()[-1]) for line in found)

    def child(work):
        pid = os.fork()
        if not pid:
            try:
                work()
                audit.close()
                os._exit(0)
            except BaseException as exc:
                print("raised", type(exc).__name__, exc, flush=True)
                os._exit(1)
        assert os.waitpid(pid, 0)[1] == 0
"""

_WHEN = {
    "before the import": """
        break_it()
        start()
        store(3)
    """,
    "before the first use": """
        import axon_audit_otel.trail.trail
        break_it()
        start()
        store(3)
    """,
    "before a fork": """
        start()
        break_it()
        child(lambda: (store(3), say()))
        store(2)
        sys.exit()
    """,
    "before a fork, and again before one in the child": """
        start()
        store(1)
        break_it()
        child(lambda: child(lambda: (store(3), say())))
        store(1)
        sys.exit()
    """,
    "before a fork, by a worker that makes its own": """
        from axon_audit_otel import AuditLogger
        other = AuditLogger(name="other")
        break_it()
        child(lambda: (start(), store(3), say()))
        start()
        store(2)
        sys.exit()
    """,
}


@pytest.fixture(name="places")
def _places(tmp_path: Path) -> tuple[Path, Path]:
    """The metrics' directory, and that of the archive."""
    multi = tmp_path / "multi"
    multi.mkdir()
    return multi, tmp_path / "archive"


@pytest.mark.slow
class TestFiles:
    """The multi-process mode: metrics are in files of a directory."""

    @pytest.mark.parametrize("how", ["removed", "a file in its place"])
    @pytest.mark.parametrize("when", _WHEN)
    def test_a_directory_that_is_gone(
        self, run_script: Run, places: tuple[Path, Path], when: str, how: str
    ) -> None:
        """Every store returns and is in the archive once, the trail counts it, and its log says
        once that metrics fail."""
        multi, archive = places
        source = _APPLICATION + _indented(_WHEN[when]) + "    say()\n"
        printed = run_script(source, multi, archive, how, PROMETHEUS_MULTIPROC_DIR=multi)
        assert printed.split() == ["3", "3", "3", "True", "True", "1"]
        stores = 5 if "fork" in when else 3
        assert len([e for e in archived(archive) if e.operation == "STORE"]) == stores
        assert verify(archive).ok

    def test_it_counts_on(self, run_script: Run, places: tuple[Path, Path]) -> None:
        """After the directory is back, the counters of a child get what they missed."""
        multi, archive = places
        source = """
            start()
            store(1)
            break_it()
            def work():
                store(3)
                mend_it()
                later = time.monotonic() + 100
                time.monotonic = lambda: later
                store(2)
                say(scraped(), scraped('axon_audit_buffer_events', ''),
                    scraped('axon_audit_buffer_capacity', ''), scraped('axon_memory_entries'))
            child(work)
        """
        source = _APPLICATION + _indented(source)
        printed = run_script(source, multi, archive, "removed", PROMETHEUS_MULTIPROC_DIR=multi)
        assert printed.strip() == "5 5 5 True True 1 5.0 5.0 10000.0 5.0"

    def test_healthy(self, run_script: Run, places: tuple[Path, Path]) -> None:
        """Without faults every process has each number in its file at once."""
        multi, archive = places
        source = """
            start()
            store(1)
            child(lambda: (store(3), say(scraped(), scraped('axon_audit_buffer_capacity', ''))))
            store(1)
            print(scraped(), told)
        """
        source = _APPLICATION + _indented(source)
        printed = run_script(source, multi, archive, "-", PROMETHEUS_MULTIPROC_DIR=multi)
        assert printed.splitlines() == ["3 3 3 False True 0 4.0 20000.0", "5.0 []"]

    def test_a_signal_handler_in_the_middle(
        self, run_script: Run, places: tuple[Path, Path]
    ) -> None:
        """It records while this thread holds the lock of prometheus_client, which is not
        reentrant: in the same trail and in another."""
        multi, archive = places
        source = """
            real, armed = os.getpid, []
            def getpid():  # called under that lock
                if armed and sys._getframe(1).f_globals["__name__"] == "prometheus_client.values":
                    armed.pop()
                    signal.raise_signal(signal.SIGUSR1)
                return real()
            os.getpid = getpid
            start()
            from axon_audit_otel import AuditLogger
            other = AuditLogger(name="other")
            async def both():
                for _ in range(5):
                    armed.append(1)
                    await other.log_event("STORE", duration_ms=1)
            handled = []
            def handler(*_):
                for one in audit, other:
                    coroutine = one.log_event("RECALL")
                    try: coroutine.send(None)
                    except StopIteration: handled.append(1)
            signal.signal(signal.SIGUSR1, handler)
            asyncio.run(both())
            print(len(handled), len(armed), scraped(operation='operation="RECALL"'), scraped())
            print(audit.get_statistics()["total_events"], other.get_statistics()["total_events"])
        """
        source = _APPLICATION + _indented(source)
        printed = run_script(source, multi, archive, "-", PROMETHEUS_MULTIPROC_DIR=multi)
        assert printed.splitlines() == ["10 0 10.0 5.0", "5 10"]

    def test_others_do_not_wait(self, run_script: Run, places: tuple[Path, Path]) -> None:
        """A thread that records while another one updates a metric goes on: it may hold
        what that one waits for."""
        multi, archive = places
        source = """
            import threading
            real, armed = os.getpid, []
            def getpid():
                if armed and sys._getframe(1).f_globals["__name__"] == "prometheus_client.values":
                    armed.pop()
                    thread = threading.Thread(target=store, args=(3,))
                    thread.start()
                    thread.join()
                return real()
            os.getpid = getpid
            start()
            armed.append(1)
            store(1)
            say(scraped())
        """
        source = _APPLICATION + _indented(source)
        printed = run_script(source, multi, archive, "-", PROMETHEUS_MULTIPROC_DIR=multi)
        assert printed.strip() == "4 4 4 False True 0 4.0"
        assert verify(archive).ok

    @pytest.mark.parametrize("when", ["at the start", "later", "before a fork"])
    def test_a_full_disk(
        self, run_script: Run, small_disk: Path, tmp_path: Path, when: str
    ) -> None:
        """Files that are mapped into memory and cannot grow would end the process: it goes on,
        the log says why, and the numbers are there when there is space again."""
        source = """
            def fill():
                with open(multi + "/filler", "wb", buffering=0) as file:
                    while True:
                        try: file.write(bytes(4096))
                        except OSError: return
            async def all_of_them(name):
                for operation in "STORE", "RECALL", "FORGET", "EXPORT", "IMPORT", "COMPACT":
                    await AuditLogger(name=name).log_event(operation, duration_ms=3)
            from axon_audit_otel import AuditLogger
            when = sys.argv[3]
            if when == "at the start": fill()
            start()
            store(1)
            if when != "at the start": fill()
            def work():
                store(2)
                asyncio.run(all_of_them("another"))
                os.remove(multi + "/filler")
                later = time.monotonic() + 100
                time.monotonic = lambda: later
                store(1)
            child(work) if when == "before a fork" else work()
            print(scraped(operation='operation="STORE",status="SUCCESS",system="axon",trail="default"'))
            print([line for line in told if "KiB are left for metrics" in line] != [])
        """
        source = _APPLICATION + _indented(source)
        where = tmp_path / "archive"
        printed = run_script(source, small_disk, where, when, PROMETHEUS_MULTIPROC_DIR=small_disk)
        told = when != "before a fork"  # it is told in the child
        assert printed.splitlines() == ["4.0", str(told)]
        assert len([e for e in archived(where) if e.operation == "STORE"]) == 4
        assert verify(where).ok

    def test_serving(self, run_script: Run, places: tuple[Path, Path]) -> None:
        """A scrape fails while the directory is gone, and works when it is back."""
        source = """
            import urllib.error, urllib.request
            from axon_audit_otel import serve_metrics
            break_it()
            with serve_metrics(0) as server:
                try: urllib.request.urlopen(server.url)
                except urllib.error.HTTPError as exc: print(exc.code, exc.read().decode())
                mend_it()
                start()
                store(1)
                text = urllib.request.urlopen(server.url).read().decode()
                print('axon_memory_operations_total{' in text)
        """
        multi, archive = places
        source = _APPLICATION + _indented(source)
        printed = run_script(source, multi, archive, "removed", PROMETHEUS_MULTIPROC_DIR=multi)
        assert printed.splitlines() == [
            "503 PROMETHEUS_MULTIPROC_DIR is not a directory",
            "True",
        ]


def _indented(source: str) -> str:
    """At the indentation of `_APPLICATION`."""
    return "\n" + textwrap.indent(textwrap.dedent(source), "    ")


def empty(registry: CollectorRegistry) -> None:
    """Empty the registry, as a fixture does between tests."""
    for collector in list(registry._collector_to_names):
        registry.unregister(collector)


def count(registry: CollectorRegistry, audit: AuditLogger) -> float | None:
    """The number of stores in a scrape."""
    labels = {"trail": audit.name, "system": "none", "operation": "STORE", "status": "SUCCESS"}
    return registry.get_sample_value(OPERATIONS, labels)


class TestRegistry:
    async def test_emptied(self, make_audit: Make, registry: CollectorRegistry) -> None:
        """A new logger is scraped, with the one that was there before, as often as it happens."""
        first = make_audit(name="first")
        await first.log_event("STORE")
        for number in range(1, 3):
            empty(registry)
            assert count(registry, first) is None
            second = make_audit(name=f"second-{number}")
            await second.log_event("STORE")
            await first.log_event("STORE")
            assert count(registry, second) == 1
            assert count(registry, first) == 1 + number
            assert second.get_statistics()["failures"] == {}

    async def test_emptied_while_one_is_gone(
        self, make_audit: Make, registry: CollectorRegistry
    ) -> None:
        """The gauges of a trail that is gone do not come back, what it counted does."""
        first = make_audit(name="gone")
        await first.log_event("STORE")
        empty(registry)
        del first
        gc.collect()
        second = make_audit(name="stays")
        gauge = "axon_audit_buffer_events"
        assert registry.get_sample_value(gauge, {"trail": "stays"}) == 0
        assert registry.get_sample_value(gauge, {"trail": "gone"}) is None
        labels = {"trail": "gone", "system": "none", "operation": "STORE", "status": "SUCCESS"}
        assert registry.get_sample_value(OPERATIONS, labels) == 1
        assert count(registry, second) == 0

    @pytest.mark.parametrize("taken", ["axon_memory_operations", "axon_audit_failures"])
    async def test_a_name_that_is_taken(
        self,
        make_audit: Make,
        registry: CollectorRegistry,
        caplog: pytest.LogCaptureFixture,
        taken: str,
    ) -> None:
        """All other metrics are scraped; it is told once, and over when the name is free."""
        theirs = Counter(taken, "Somebody else's.", registry=registry)
        audit = make_audit()
        await audit.log_event("STORE", duration_ms=5)
        assert [event.operation for event in audit.query_events()] == ["STORE"]
        assert audit.get_statistics()["total_events"] == 1
        assert audit.get_statistics()["failures"] == {"metrics": 1}
        assert sum("metrics failed" in record.message for record in caplog.records) == 1
        labels = {"trail": audit.name, "system": "none", "operation": "STORE"}
        name = "axon_memory_operation_duration_seconds_count"
        assert registry.get_sample_value(name, labels) == 1
        registry.unregister(theirs)
        another = make_audit(name="another")
        assert count(registry, audit) == 1
        assert count(registry, another) == 0
        assert another.get_statistics()["failures"] == {}

    @pytest.mark.parametrize("method", ["register", "unregister"])
    async def test_one_that_raises(
        self, make_audit: Make, tmp_path: Path, method: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Its fault is counted and logged; everything is recorded and counted."""

        class Refusing(CollectorRegistry):
            def refuse(self, collector: Any) -> None:
                raise RuntimeError("not today")

        setattr(Refusing, method, Refusing.refuse)
        audit = make_audit(registry=Refusing(), auto_export_path=tmp_path)
        await audit.log_event("STORE", duration_ms=5)
        audit.seal()
        found = audit.get_statistics()
        assert (found["total_events"], found["exported_events"]) == (1, 1)
        assert found["failures"] == {"metrics": 1}
        assert sum("metrics failed" in record.message for record in caplog.records) == 1
        assert len(archived(tmp_path)) == 1

    def test_one_that_calls_foreign_code(self, make_audit: Make) -> None:
        """A collector that is asked while it is registered, under the registry's lock, has the
        numbers although another thread makes a logger and waits for that lock."""
        registry = CollectorRegistry(auto_describe=True)
        audit = make_audit(name="asked", registry=registry)
        asyncio.run(audit.log_event("STORE"))
        asked = threading.Event()

        def make() -> None:
            asked.wait()
            made.append(make_audit(name="made", registry=registry))

        made: list[AuditLogger] = []
        making = threading.Thread(target=make, daemon=True)

        class Theirs(Collector):
            def collect(self) -> Iterator[Metric]:
                if not asked.is_set():
                    asked.set()
                    while (  # until that thread waits for the lock, or has done without it
                        making.is_alive() and making.ident not in waiting()
                    ):
                        continue
                yield GaugeMetricFamily("theirs", "", audit.get_statistics()["total_events"])

        def waiting() -> set[int]:
            """The threads that are in `CollectorRegistry.register`, or `unregister`."""
            frames = sys._current_frames().items()
            return {ident for ident, at in frames if at.f_code.co_filename == where}

        where = sys.modules[CollectorRegistry.__module__].__file__
        making.start()
        registering = threading.Thread(target=registry.register, args=(Theirs(),), daemon=True)
        registering.start()
        registering.join(60)  # only so that a failure ends
        assert not registering.is_alive()
        making.join()
        assert registry.get_sample_value("theirs") == 1
        labels = {"trail": "made", "system": "none", "operation": "STORE", "status": "SUCCESS"}
        assert registry.get_sample_value(OPERATIONS, labels) == 0

    def test_many_threads_begin(self, registry: CollectorRegistry, busy_threads: None) -> None:
        """Loggers that are made at the same moment share the metrics of their registry."""
        made: list[AuditLogger] = []
        ready = threading.Barrier(8)

        def make(number: int) -> None:
            ready.wait()
            made.append(AuditLogger(name=f"of-thread-{number}", registry=registry))

        threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [count(registry, audit) for audit in made] == [0] * 8
        assert [audit.get_statistics()["failures"] for audit in made] == [{}] * 8


class TestReimport:
    @pytest.mark.parametrize("how", ["reload", slow("import again")])
    @pytest.mark.slow
    def test_both_are_scraped(self, run_script: Run, how: str) -> None:
        """Modules that are loaded again have the metrics of the default registry as well."""
        printed = run_script(
            """
            import asyncio, importlib, sys
            from prometheus_client import REGISTRY
            import axon_audit_otel, axon_audit_otel.trail.audit_logger
            def logger(name):
                audit = axon_audit_otel.AuditLogger(name=name)
                asyncio.run(audit.log_event("STORE"))
                return audit
            def counted(audit):
                labels = {"trail": audit.name, "system": "none", "operation": "STORE"}
                labels["status"] = "SUCCESS"
                value = REGISTRY.get_sample_value("axon_memory_operations_total", labels)
                return audit.name, value, audit.get_statistics()["failures"]
            first = logger("first")
            if sys.argv[1] == "reload":
                for name in "series metrics trail otel_processor otel_emitter audit_logger".split():
                    importlib.reload(sys.modules["axon_audit_otel.trail." + name])
                importlib.reload(axon_audit_otel)
            else:
                for name in [name for name in sys.modules if name.startswith("axon_audit_otel")]:
                    del sys.modules[name]
                import axon_audit_otel
            second = logger("second")
            asyncio.run(first.log_event("STORE"))
            print(counted(first), counted(second))
            """,
            how,
        )
        assert printed.strip() == "('first', 2.0, {}) ('second', 1.0, {})"


class TestThreads:
    def test_nothing_is_lost(
        self, make_audit: Make, registry: CollectorRegistry, busy_threads: None
    ) -> None:
        """Threads that record while others scrape and ask: every number is exact at the end."""
        audit = make_audit()
        done = threading.Event()

        def record() -> None:
            async def all_of_them() -> None:
                for number in range(200):
                    await audit.log_event("STORE", duration_ms=number, entry_ids=["e"])

            asyncio.run(all_of_them())

        def look() -> None:
            while not done.is_set():
                list(registry.collect())
                audit.get_statistics()

        looking = threading.Thread(target=look)
        looking.start()
        threads = [threading.Thread(target=record) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        done.set()
        looking.join()
        found = audit.get_statistics()
        assert found["total_events"] == found["latency_ms"]["STORE"]["count"] == 1000
        assert found["failures"] == {}
        assert count(registry, audit) == 1000
        labels = {"trail": audit.name, "system": "none", "operation": "STORE"}
        assert registry.get_sample_value("axon_memory_entries_total", labels) == 1000

    async def test_a_thread_that_just_leaves(
        self, make_audit: Make, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whoever asks, or scrapes, has what he counted before, also where nobody has done it:
        the thread that does it for all saw nothing any more, and had not left yet."""
        audit = make_audit()
        monkeypatch.setattr(the_gate, "work", lambda: None)
        await audit.log_event("STORE")
        assert audit.get_statistics()["total_events"] == 1
        await audit.log_event("STORE")
        assert count(registry, audit) == 2

    @pytest.mark.slow
    def test_forks_while_others_ask(self, run_script: Run) -> None:
        """A child of a moment in which another thread holds a lock has its own."""
        printed = run_script(
            """
            import asyncio, os, threading
            from prometheus_client import REGISTRY
            from axon_audit_otel import AuditLogger
            audit, ends = AuditLogger(), threading.Event()
            def ask():
                while not ends.is_set():
                    audit.get_statistics()
                    list(REGISTRY.collect())
            asking = threading.Thread(target=ask)
            asking.start()
            counted = 0
            for _ in range(40):
                pid = os.fork()
                if not pid:
                    asyncio.run(audit.log_event("STORE"))
                    os._exit(audit.get_statistics()["total_events"])
                counted += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            ends.set()
            asking.join()
            print(counted)
            """
        )
        assert printed.strip() == "40"


def test_what_waits_with_it(
    make_audit: Make, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where one event cannot be told to Prometheus, those that are counted with it count."""
    audit = make_audit(registry=registry)
    monkeypatch.setattr(CountedHistogram, "labels", _raises)
    for _ in range(10):
        audit.record("RECALL", duration_ms=1)
    found = audit.get_statistics()
    assert (found["total_events"], found["failures"]) == (10, {"metrics": 1})


def _raises(*_: object) -> None:
    raise RuntimeError("broken on purpose")
