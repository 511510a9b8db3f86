"""Foreign code (handlers, callbacks, exporters) runs under no lock of ours and may use trails."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import receiver as receivers
from conftest import Make, Run, archived, assert_chained, file_in_place, history, until
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider, LogRecordProcessor
from prometheus_client import CollectorRegistry, Metric, generate_latest
from strikes import PACKAGE, Strike

from axon_audit_otel import ArchiveError, AuditLogger, Rule, SecurityMonitor

pytestmark = pytest.mark.usefixtures("without_start_record")


def record(audit: AuditLogger, **fields: Any) -> None:
    """Record an event in this thread, whether a loop runs here or not."""
    call = audit.log_event("OTHER", **fields)
    with suppress(StopIteration):
        call.send(None)
    call.close()


class Foreign:
    """Foreign code that lets another thread use the trail, and waits for it.

    Attributes:
        audit: The trail.
        calls: How often the code was called.
        stuck: How often the other thread could not use the trail meanwhile.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.audit: AuditLogger | None = None
        self.calls = self.stuck = 0
        self.registry = registry

    def __call__(self, *_: object) -> None:
        if self.audit is None or threading.current_thread().name == "elsewhere" or self.stuck:
            return
        self.calls += 1
        thread = threading.Thread(target=self._use, args=(self.audit,), name="elsewhere")
        thread.daemon = True
        thread.start()
        thread.join(10)  # only so that a failure ends
        self.stuck += thread.is_alive()

    def _use(self, audit: AuditLogger) -> None:
        record(audit, user_id=f"user {self.calls}")
        assert len(audit.query_events(limit=1)) == 1
        assert audit.get_statistics()["total_events"] >= 1
        generate_latest(self.registry)


class Handler(logging.Handler):
    """Calls *what* with every line of ours."""

    def __init__(self, what: Callable[[logging.LogRecord], object]) -> None:
        super().__init__()
        self._what = what

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "axon_audit_otel":
            self._what(record)


@contextmanager
def handled(logger: str, what: Callable[[logging.LogRecord], object]) -> Iterator[None]:
    """While it lasts, *what* is called with every line of ours that reaches *logger*."""
    handler, ours = Handler(what), logging.getLogger("axon_audit_otel")
    logging.getLogger(logger).addHandler(handler)
    before = ours.level
    ours.setLevel(logging.INFO)
    yield
    ours.setLevel(before)
    logging.getLogger(logger).removeHandler(handler)


@pytest.fixture(name="foreign")
def _foreign(registry: CollectorRegistry) -> Foreign:
    return Foreign(registry)


def refused(*_: object) -> None:
    """Raise an error: the call is not possible now."""
    raise PermissionError(1, "not now")


# --- what is logged -------------------------------------------------------------------------

#: Makes a logger with an archive in that directory, and lets something of it fail.
Scene = Callable[[Callable[..., AuditLogger], Path, pytest.MonkeyPatch], None]


def journal(make: Callable[..., AuditLogger], directory: Path, _: pytest.MonkeyPatch) -> None:
    """The journal cannot be written, and then can be."""
    audit = make()
    record(audit)
    audit.seal()
    with file_in_place(directory):
        record(audit)
    audit.seal()


def seal(make: Callable[..., AuditLogger], directory: Path, _: pytest.MonkeyPatch) -> None:
    """The journal cannot be sealed."""
    audit = make()
    record(audit)
    with file_in_place(directory), pytest.raises(ArchiveError):
        audit.seal()


def checkpoint(make: Callable[..., AuditLogger], _: Path, __: pytest.MonkeyPatch) -> None:
    """A checkpoint cannot be sent."""
    audit = make(checkpoint_to=refused)
    record(audit)
    audit.close()


def keep_checkpoint(
    make: Callable[..., AuditLogger], directory: Path, _: pytest.MonkeyPatch
) -> None:
    """A checkpoint cannot be written beside the archive."""
    audit = make(checkpoint_to=lambda note: None)
    record(audit)
    (directory / f"{audit.settings.name}.checkpoints").mkdir()
    audit.close()


def key(make: Callable[..., AuditLogger], directory: Path, _: pytest.MonkeyPatch) -> None:
    """The key of a new user cannot be written."""
    audit = make(erasable=True)
    with file_in_place(directory.with_name(f"{directory.name}.keys")):
        record(audit, user_id="alice")
    record(audit, user_id="bob")


def deletion(make: Callable[..., AuditLogger], _: Path, __: pytest.MonkeyPatch) -> None:
    """A file is too much."""
    audit = make(max_archive_bytes=1)
    for _ in range(2):
        record(audit)
        audit.seal()


def retention(make: Callable[..., AuditLogger], _: Path, patch: pytest.MonkeyPatch) -> None:
    """Files that retention should delete cannot be deleted."""
    audit = make(max_archive_bytes=1)
    record(audit)
    audit.seal()
    record(audit)
    patch.setattr("os.listdir", refused)  # are there holds?
    audit.seal()


def commit(make: Callable[..., AuditLogger], _: Path, patch: pytest.MonkeyPatch) -> None:
    """The device refuses."""
    audit = make(durability="disk")
    patch.setattr(os, "fdatasync", refused)
    record(audit)


def redact(make: Callable[..., AuditLogger], _: Path, __: pytest.MonkeyPatch) -> None:
    """`redact` raises."""
    record(make(redact=refused), metadata={"note": "tea"})


def alert(make: Callable[..., AuditLogger], _: Path, __: pytest.MonkeyPatch) -> None:
    """The callback of an alert raises."""
    audit = make()
    with SecurityMonitor(audit, [Rule("any", over=0, window=60)], on_alert=refused):
        record(audit)


def processor(make: Callable[..., AuditLogger], _: Path, __: pytest.MonkeyPatch) -> None:
    """Another log record processor raises."""

    class Refusing(LogRecordProcessor):
        on_emit = refused  # type: ignore[assignment]
        shutdown = force_flush = lambda self, *_: True  # type: ignore[assignment]

    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(Refusing())
    record(make(logger_provider=provider))


def collector(make: Callable[..., AuditLogger], _: Path, __: pytest.MonkeyPatch) -> None:
    """Nobody is there to be shipped to."""
    audit = make(ship_to="http://127.0.0.1:9/v1/logs")
    record(audit)
    audit.close()


SCENES = [
    *(journal, seal, checkpoint, keep_checkpoint, key, deletion, retention, commit),
    *(redact, alert, processor, collector),
]


@pytest.fixture(name="play")
def _play(
    make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Scene, Callable[[AuditLogger], object]], AuditLogger]:
    """Plays a scene; its logger is given to a function before anything fails."""

    def play(scene: Scene, use: Callable[[AuditLogger], object]) -> AuditLogger:
        directory, made = tmp_path / "archive", []

        def make(*args: Any, **kwargs: Any) -> AuditLogger:
            made.append(make_audit(*args, **{"auto_export_path": directory, **kwargs}))
            use(made[0])
            return made[0]

        with monkeypatch.context() as patch:
            scene(make, directory, patch)
        return made[0]

    return play


@pytest.mark.parametrize("logger", ["axon_audit_otel", ""])
@pytest.mark.parametrize("scene", SCENES)
class TestLogging:
    def test_another_thread(self, play: Any, foreign: Foreign, scene: Scene, logger: str) -> None:
        """While a logging handler runs, wherever it hangs and whatever failed, another thread
        records, queries and is scraped."""
        with handled(logger, foreign):
            audit = play(scene, lambda audit: setattr(foreign, "audit", audit))
        assert foreign.calls >= 1
        assert foreign.stuck == 0
        assert_chained(history(audit))
        audit.close()

    def test_the_same_thread(self, play: Any, scene: Scene, logger: str, tmp_path: Path) -> None:
        """A handler records an event for every line: each is there once, and it comes to an
        end."""
        audits: list[AuditLogger] = []
        lines: list[str] = []

        def handle(line: logging.LogRecord) -> None:
            lines.append(f"line {len(lines)}")
            record(audits[0], session_id=lines[-1])

        with handled(logger, handle):
            audit = play(scene, audits.append)
        assert 1 <= len(lines) < 20
        audit.close()
        events = [*history(audit), *archived(tmp_path / "archive")]
        told = {e.event_id: e.session_id for e in events if str(e.session_id).startswith("line")}
        if scene is not deletion:  # of the file that they were in
            assert sorted(told.values()) == sorted(lines)
        assert audit.get_statistics()["total_events"] == audit.total_events_logged


def test_a_handler_that_raises(play: Any) -> None:
    """An exception of a logging handler does not reach the application, and all goes on."""

    def handle(line: logging.LogRecord) -> None:
        raise ZeroDivisionError

    with handled("axon_audit_otel", handle):
        audit = play(journal, lambda audit: None)
    assert audit.get_statistics()["failures"] == {"journal": 1}


# --- what is called -------------------------------------------------------------------------


def by_checkpoints(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """`checkpoint_to=` is a function."""
    audit = make(checkpoint_to=foreign)
    record(audit)
    audit.close()


def by_alerts(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """`on_alert` and `on_resolved`."""
    audit = make()
    rules = [Rule("once", over=0, window=3600, operations="FORGET")]
    with SecurityMonitor(audit, rules, foreign, on_resolved=foreign):
        asyncio.run(audit.log_event("FORGET", user_id="alice"))


def by_alerts_about_the_trail(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """`on_alert`, of an event that the trail makes about itself under its lock."""
    audit = make(max_events=2)
    rules = [Rule("gaps", over=0, window=3600, operations="AUDIT")]
    with SecurityMonitor(audit, rules, foreign):
        directory = audit.settings.auto_export_path
        assert directory is not None
        with file_in_place(directory):
            for _ in range(5):
                record(audit)
        audit.seal()


def by_redact(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """`redact=`, which warns, and warnings are logged."""

    def redact(text: str) -> str:
        warnings.warn("an odd text", stacklevel=1)
        return text

    handler = Handler(lambda line: None)
    handler.emit = foreign  # type: ignore[method-assign]
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(False)
            logging.captureWarnings(True)
            record(make(redact=redact, erasable=True), user_id="alice", metadata={"note": "tea"})
    finally:
        logging.getLogger("py.warnings").removeHandler(handler)
        logging.captureWarnings(False)


class _Calling(LogRecordProcessor):
    def __init__(self, foreign: Foreign) -> None:
        self.on_emit = foreign  # type: ignore[assignment,method-assign]

    def shutdown(self) -> None:
        """Nothing to do."""

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return True

    def on_emit(self, log_record: Any) -> None:
        """Replaced."""


def by_a_processor(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """Another log record processor, also of what the trail says of itself when it is closed."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(_Calling(foreign))
    audit = make(max_events=2, logger_provider=provider)
    provider.get_logger("app").emit(LogRecord(event_name="axon.memory.audit", body={}))
    directory = audit.settings.auto_export_path
    assert directory is not None
    with file_in_place(directory):
        for _ in range(5):
            record(audit)
    audit.close()
    assert foreign.calls >= 7


def by_a_loop(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """An event loop of one's own, while the device is slow."""

    class Loop(asyncio.SelectorEventLoop):
        def create_future(self) -> asyncio.Future[Any]:
            foreign()
            return super().create_future()

    loop, audit = Loop(), make(durability="disk")
    loop.run_until_complete(audit.log_event("STORE"))
    loop.close()


def by_an_interruption(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """An observer of an event that a finalizer records while the lock is held for another."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(_Calling(foreign))
    audit = make(logger_provider=provider)
    rules = [Rule("many", over=0, window=3600)]
    with SecurityMonitor(audit, rules, foreign):
        struck = 0
        for number in range(1, 120, 7):
            with Strike(number, lambda: record(audit, user_id="finalizer")) as strike:
                record(audit, user_id="interrupted")
            struck += not strike.left
    assert len(audit.query_events(user_id="finalizer")) == struck > 5


def by_an_interruption_that_fails(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """A log line about it while the lock is held, where nobody can wait for the device."""
    for number in range(1, 60, 7):
        audit = make(durability="disk")
        record(audit)
        with (
            handled("axon_audit_otel", foreign),
            Strike(number, lambda audit=audit: record(audit)),  # type: ignore[misc]
        ):
            record(audit)


def by_a_collector(make: Callable[..., AuditLogger], foreign: Foreign) -> None:
    """A collector of metrics of one's own, also when it is registered."""

    class Collector:
        def collect(self) -> Iterator[Metric]:
            foreign()
            return iter(())

    audit = make()
    record(audit)
    foreign.registry.register(Collector())  # type: ignore[arg-type]
    generate_latest(foreign.registry)


CALLS = [
    *(by_checkpoints, by_alerts, by_alerts_about_the_trail, by_redact, by_a_processor),
    *(by_a_loop, by_an_interruption, by_an_interruption_that_fails, by_a_collector),
]


@pytest.mark.parametrize("call", CALLS)
def test_callbacks(
    make_audit: Make, tmp_path: Path, foreign: Foreign, call: Callable[[Any, Foreign], None]
) -> None:
    """While foreign code runs that we call, another thread records, queries and is scraped."""

    def make(*args: Any, **kwargs: Any) -> AuditLogger:
        where = tmp_path / "archive"
        foreign.audit = make_audit(*args, **{"auto_export_path": where, **kwargs})
        return foreign.audit

    call(make, foreign)
    assert foreign.calls >= 1
    assert foreign.stuck == 0
    audit, foreign.audit = foreign.audit, None
    assert audit is not None
    audit.close()


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError])
class TestOurThreads:
    """Errors of foreign code there, also other than `Exception`, end none of them."""

    @pytest.mark.slow
    async def test_checkpoints(
        self, make_audit: Make, tmp_path: Path, error: type[BaseException]
    ) -> None:
        """A function that takes checkpoints is given the same one again, and the next ones."""
        notes: list[str] = []

        def take(note: str) -> None:
            notes.append(note)
            if len(notes) == 1:
                raise error

        audit = make_audit(auto_export_path=tmp_path, checkpoint_to=take, checkpoint_interval=1)
        record(audit)
        await until(lambda: len(notes) > 2)
        assert notes[0] == notes[1] != notes[2]
        assert audit.get_statistics()["failures"] == {"checkpoint": 1}

    @pytest.mark.slow
    async def test_handlers(
        self, make_audit: Make, tmp_path: Path, error: type[BaseException]
    ) -> None:
        """A logging handler that raises in each thread: the archive is looked after, and shipped
        from, all the same."""
        where, struck = tmp_path / "archive", []

        def handle(line: logging.LogRecord) -> None:
            struck.append(threading.current_thread().name)
            raise error

        receiver = receivers.over_http()
        receiver.answer = lambda request: 503 if len(struck) < 2 else None
        audit = make_audit(auto_export_path=where, ship_to=receiver.url, retention="1d")
        record(audit)
        with handled("axon_audit_otel", handle):
            await until(lambda: "axon-audit-ship" in struck)
            with file_in_place(where):
                await until(lambda: "axon-audit-keeper" in struck)
            await until(lambda: receiver.records)
            record(audit)
            await until(lambda: len(archived(where)) == 2)
        receiver.close()


def test_an_event_loop_that_raises(make_audit: Make, tmp_path: Path) -> None:
    """A coroutine waits in vain in a loop that takes no calls from other threads;
    nobody else does."""

    class Loop(asyncio.SelectorEventLoop):
        refuses = True

        def call_soon_threadsafe(self, *args: Any, **kwargs: Any) -> Any:
            if self.refuses:
                refused.set()
                raise ValueError("not from there")
            return super().call_soon_threadsafe(*args, **kwargs)

    audit, loop, refused = make_audit(10, tmp_path, durability="disk"), Loop(), threading.Event()
    waiting = loop.create_task(audit.log_event("STORE"))
    loop.call_soon(loop.stop)
    loop.run_forever()
    refused.wait()
    asyncio.run(asyncio.wait_for(audit.log_event("RECALL"), 60))  # only so that a failure ends
    assert not waiting.done()
    waiting.cancel()
    loop.refuses = False
    with suppress(asyncio.CancelledError):
        loop.run_until_complete(waiting)
    loop.close()


@pytest.mark.parametrize("erase", [False, True])
@pytest.mark.slow
def test_interrupted_keys(make_audit: Make, tmp_path: Path, erase: bool) -> None:
    """A finalizer that records of somebody new, while this thread makes or destroys a key, waits
    for nobody; both events are there, and readable."""
    audit = make_audit(auto_export_path=tmp_path / "archive", erasable=True)
    struck: list[str] = []

    def strike_everywhere() -> None:
        for number in count(1):
            user, other = f"user {number}", f"finalizer {number}"
            record(audit, user_id=user)
            what = partial(record, audit, user_id=other)
            with Strike(
                number, what, [f"{PACKAGE}/privacy/keyring.py", f"{PACKAGE}/privacy/key_files.py"]
            ) as strike:
                if erase:
                    audit.erase_user(user)
                else:
                    record(audit, user_id=f"new {user}")
            if strike.left:
                return
            struck.append(other)

    thread = threading.Thread(target=strike_everywhere, daemon=True)
    thread.start()
    thread.join(60)  # only so that a failure ends
    assert not thread.is_alive()
    assert len(struck) > 50
    for user in struck:
        assert len(audit.query_events(user_id=user)) == 1
    assert audit.trail.is_kept


@pytest.mark.slow
def test_closed_elsewhere(make_audit: Make, tmp_path: Path) -> None:
    """While a checkpoint is sent, or the deletion of a file is logged, another thread closes and
    seals: it waits for that a moment, not for ever."""
    closed: list[bool] = []

    def close() -> None:
        record(audit)
        audit.close()

    def foreign(*_: object) -> None:
        if not threads:
            threads.append(threading.Thread(target=close, daemon=True))
            threads[0].start()
            threads[0].join(20)
            closed.append(not threads[0].is_alive())

    for options in ({"checkpoint_to": foreign}, {"max_archive_bytes": 1}):
        threads: list[threading.Thread] = []
        audit = make_audit(auto_export_path=tmp_path / str(len(closed)), **options)
        with handled("axon_audit_otel", foreign):
            for _ in range(2):
                record(audit)
                audit.close()
    assert closed == [True, True]


# --- forked children ------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize(
    "place", ["journal", "keys", "checkpoint", "compression", "metrics", "configure", "alert"]
)
def test_fork_while_a_lock_is_held(run_script: Run, tmp_path: Path, place: str) -> None:
    """A child that is forked while another thread is in the middle of anything records, queries,
    is scraped and closes all the same."""
    run_script(
        """
        import asyncio, faulthandler, os, sys, threading, warnings
        from prometheus_client import REGISTRY, Gauge, generate_latest
        import axon_audit_otel
        from axon_audit_otel import AuditLogger, Rule, SecurityMonitor, configure
        from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
        from opentelemetry.sdk.resources import Resource

        warnings.simplefilter("ignore")   # newer Pythons warn of threads and fork
        directory, place = sys.argv[1:]
        inside, leave = threading.Event(), threading.Event()

        def stop(*_):
            if threading.current_thread().name == "slow":
                inside.set()
                leave.wait()

        def slow(owner, name):
            fast = getattr(owner, name)
            setattr(owner, name, lambda *args, **more: (stop(), fast(*args, **more))[1])

        def log(user=None):
            asyncio.run(audit.log_event("STORE", user_id=user))

        def act():
            if place == "metrics":
                generate_latest()
            elif place == "configure":
                configure()
            else:
                log("alice")
                audit.close()

        options = {
            "keys": {"erasable": True},
            "checkpoint": {"checkpoint_to": stop},
            "compression": {"max_archive_bytes": 1},
        }
        audit = AuditLogger(auto_export_path=directory, **options.get(place, {}))
        monitor = SecurityMonitor(audit, [Rule("any", over=0, window=60)], on_alert=lambda a: None)
        log()
        if place == "compression":
            audit.close()
        if place == "journal":
            slow(os, "write")
        elif place == "keys":
            slow(os, "pwrite")
        elif place == "compression":
            slow(os, "listdir")
        elif place == "configure":
            slow(Resource, "create")
        elif place == "metrics":
            passing = AuditLogger(name="passing")
            passing = None
            slow(Gauge, "remove")
        elif place == "alert":
            slow(axon_audit_otel.alerts.detector.Detector, "add")
        threading.Thread(target=act, name="slow", daemon=True).start()
        inside.wait()
        child = os.fork()
        if not child:
            faulthandler.dump_traceback_later(20, exit=True)
            log("bob")
            assert audit.query_events(user_id="bob")
            generate_latest()
            configure()
            AuditLogger(name="another", max_events=1)
            audit.close()
            os._exit(0)
        leave.set()  # what it locks are also files
        assert os.waitpid(child, 0)[1] == 0
        os._exit(0)
        """,
        tmp_path / "archive",
        place,
        OTEL_TRACES_EXPORTER="none",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
    )
