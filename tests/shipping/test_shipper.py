"""Shipping to a collector: at least once, and never at the application's cost."""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from ipaddress import IPv4Address
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from weakref import ref

import pytest
import receiver as receivers
from collector import free_port
from conftest import Make, Run, retire, sealed_files, until
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from opentelemetry import _logs
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry
from receiver import Receiver

from axon_audit_otel import AuditConfigError, AuditLogger
from axon_audit_otel.archive.directory import newest_number
from axon_audit_otel.shipping.acknowledgements import acknowledged
from axon_audit_otel.shipping.received import verify_arrival

pytestmark = pytest.mark.usefixtures("without_start_record")


@pytest.fixture(name="receiver", params=["http/protobuf", "grpc"])
def _receiver(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Receiver]:
    """A receiver, and an environment that says where and how to reach it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", request.param)
    found = receivers.over_grpc() if request.param == "grpc" else receivers.over_http()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.url)
    yield found
    found.close()


@pytest.fixture(name="value")
def _value(registry: CollectorRegistry) -> Callable[..., float | None]:
    """The value of a metric of the test's trail, whatever its name is; None if there is none."""

    def value(name: str, **labels: str) -> float | None:
        found = [
            sample.value
            for family in registry.collect()
            for sample in family.samples
            if sample.name == f"axon_audit_{name}" and labels.items() <= sample.labels.items()
        ]
        return sum(found) if found else None

    return value


async def _log(audit: AuditLogger, count: int, **fields: Any) -> None:
    for number in range(count):
        await audit.log_event("STORE", user_id=f"user_{number}", **fields)


def _dropped(value: Callable[..., float | None]) -> dict[str, float]:
    reasons = ("queue_full", "deleted", "missing", "rejected", "unreadable", "shutdown")
    counts = {r: value("shipping_dropped_events_total", reason=r) for r in reasons}
    assert None not in counts.values()  # each is 0 from the start
    return {reason: count for reason, count in counts.items() if count}


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.slow
async def test_everything_arrives(
    receiver: Receiver, make_audit: Make, value: Any, tmp_path: Path, archive: bool
) -> None:
    """Every event arrives once and in order, as it was recorded, and `close` waits for it."""
    audit = make_audit(
        max_events=1000, auto_export_path=tmp_path if archive else None, ship_to="otlp"
    )
    await _log(audit, 2500 if archive else 700, metadata={"text": "ü"})
    audit.close()
    events = audit.query_events()
    assert receiver.numbers == list(range(1, audit.total_events_logged + 1))
    newest = receiver.records[-len(events) :]
    assert [record.body.string_value.encode() for record in newest] == [
        event.to_json() for event in reversed(events)
    ]
    assert receivers.attributes(receiver.records[0])["axon.audit.trail"] == audit.name
    assert value("shipped_events_total") == audit.total_events_logged
    assert value("shipping_lag_events") == 0
    assert _dropped(value) == {}


async def test_large_events_are_no_trickle(
    http: Receiver, make_audit: Make, tmp_path: Path
) -> None:
    """Many that wait are sent without pauses, also if few of them fill a request."""
    ids = [f"{number:036}" for number in range(5000)]
    logged = threading.Event()
    http.answer = lambda request: None if logged.wait(60) else 503
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    for _ in range(80):
        await audit.log_event("STORE", entry_ids=ids)
    logged.set()
    audit.close()  # which does not wait for long
    assert http.numbers == list(range(1, 81))


async def test_a_trickle_is_sent_in_few_requests(
    http: Receiver, make_audit: Make, tmp_path: Path
) -> None:
    """With an archive, events that come one by one share a request: two a second at most."""
    came: list[float] = []
    http.answer = lambda request: came.append(time.monotonic())
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    while len(came) < 5:
        await _log(audit, 1)
        await asyncio.sleep(0.02)
    assert min(later - one for one, later in pairwise(came[:5])) > 0.49
    audit.close()
    assert http.numbers == list(range(1, audit.total_events_logged + 1))


async def test_same_record_as_an_exporter_sends(
    http: Receiver, make_audit: Make, tmp_path: Path, log_exporter: InMemoryLogRecordExporter
) -> None:
    """A shipped record has the attributes of the record that an application's exporter gets."""
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    await audit.log_event("RECALL", "ann", "s", ["e"], {"k": 1}, "FAILURE", duration_ms=2)
    audit.close()
    (shipped,), (emitted,) = http.records, log_exporter.get_finished_logs()
    record = emitted.log_record
    assert receivers.attributes(shipped) == dict(record.attributes or {})
    assert shipped.body.string_value == record.body
    assert shipped.time_unix_nano == record.timestamp
    assert (shipped.event_name, shipped.severity_text) == (record.event_name, record.severity_text)


async def test_no_copy_through_the_global_provider(
    http: Receiver, registry: CollectorRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trail that ships does not emit through the global provider as well, whose exporter
    would send the same; it takes what others emit there, and the resource."""
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(Resource({"service.name": "shop"}), shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    monkeypatch.setattr(_logs._internal, "_LOGGER_PROVIDER", provider)
    audit = AuditLogger(registry=registry, ship_to=http.url)
    await audit.log_event("STORE")
    provider.get_logger("other").emit(event_name="axon.memory.audit", body={"operation": "RECALL"})
    audit.close()
    assert [event.operation.value for event in audit.query_events()] == ["RECALL", "STORE"]
    (emitted,) = exporter.get_finished_logs()
    assert emitted.log_record.body == {"operation": "RECALL"}
    assert http.numbers == [1, 2]
    assert http.resources[0]["service.name"] == "shop"


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_an_outage(
    make_audit: Make,
    value: Any,
    tmp_path: Path,
    protocol: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Events recorded during an outage are sent when it ends."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    port = free_port()
    audit = make_audit(auto_export_path=tmp_path, ship_to=f"http://127.0.0.1:{port}")
    await _log(audit, 300)
    await until(lambda: value("failures_total", stage="ship"))
    assert value("shipping_lag_events") == 300
    over = receivers.over_grpc if protocol == "grpc" else receivers.over_http
    found: list[int] = []
    for total in (310, 320):
        receiver = over(port)
        await _log(audit, 10)
        await until(lambda n=total: value("shipped_events_total") == n)
        receiver.close()
        found += receiver.numbers
    assert found == list(range(1, 321))
    assert value("shipping_lag_events") == 0
    assert _dropped(value) == {}


@pytest.mark.slow
async def test_a_connection_that_died_silently(
    receiver: Receiver, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody closed it, and nobody answers any more: there is a new one after the timeout."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.5")
    relay = receivers.Relay(receiver.url)
    audit = make_audit(auto_export_path=tmp_path, ship_to=relay.url)
    await _log(audit, 1)
    await until(lambda: receiver.numbers == [1])
    relay.forget()
    await _log(audit, 1)
    await until(lambda: 2 in receiver.numbers)
    audit.close()
    relay.close()


@pytest.mark.slow
@pytest.mark.parametrize("status", [401, 404, 503])
async def test_answers_that_may_become_better(
    http: Receiver, make_audit: Make, value: Any, tmp_path: Path, status: int
) -> None:
    """Overload, and what somebody has configured wrongly, costs no event."""
    answers = [(status, 0)]
    http.answer = lambda request: answers.pop() if answers else None
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    await _log(audit, 5)
    await until(lambda: value("shipped_events_total") == 5)
    assert http.numbers == [1, 2, 3, 4, 5]
    assert _dropped(value) == {}
    assert value("failures_total", stage="ship") == 1


def _poison(*numbers: int, answer: Any) -> Callable[[ExportLogsServiceRequest], Any]:
    """Refuses every request with one of these events in it."""
    return lambda r: None if set(numbers).isdisjoint(receivers.numbers_in(r)) else answer


@pytest.mark.slow
async def test_events_that_are_refused(
    receiver: Receiver, make_audit: Make, value: Any, tmp_path: Path
) -> None:
    """Some events that a receiver never takes hold up no others, and are counted."""
    refusal = "INVALID_ARGUMENT" if os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc" else 400
    receiver.answer = _poison(1, 2, 17, 60, answer=refusal)
    audit = make_audit(auto_export_path=tmp_path, ship_to="otlp")
    await _log(audit, 60)
    await until(lambda: value("shipped_events_total") == 56)
    assert receiver.numbers == [n for n in range(1, 61) if n not in (1, 2, 17, 60)]
    assert _dropped(value) == {"rejected": 4}
    assert value("shipped_events_total") == 56


@pytest.mark.slow
async def test_an_outage_amid_a_refusal(
    http: Receiver, make_audit: Make, value: Any, tmp_path: Path
) -> None:
    """A batch of which a part is refused, and another part meets an outage: only that part and
    what is behind it is sent again."""
    refuse, fail = _poison(10, answer=400), [503, 503, 503]

    def judge(request: ExportLogsServiceRequest) -> Any:
        refused = refuse(request)
        fails = refused is None and 20 in receivers.numbers_in(request) and fail
        return fail.pop() if fails else refused

    audit = make_audit(auto_export_path=tmp_path)
    await _log(audit, 60)
    audit.close()
    trail = ref(audit.trail)
    del audit
    await until(lambda: trail() is None)
    http.answer = judge
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    await until(lambda: value("shipped_events_total") == 59)
    audit.close()
    assert http.numbers == [n for n in range(1, 61) if n != 10]
    assert _dropped(value) == {"rejected": 1}
    assert fail == []


@pytest.mark.slow
async def test_a_receiver_that_refuses_everything(
    http: Receiver, make_audit: Make, value: Any, tmp_path: Path
) -> None:
    """A receiver that refuses even a request without records is at fault: nothing is given up."""
    http.answer = lambda request: 400
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    await _log(audit, 20)
    await until(lambda: (value("failures_total", stage="ship") or 0) >= 2)
    assert _dropped(value) == {}
    http.answer = lambda request: None
    await until(lambda: value("shipped_events_total") == 20)
    assert http.numbers == list(range(1, 21))


async def test_partial_success(
    receiver: Receiver, make_audit: Make, value: Any, tmp_path: Path
) -> None:
    """Of a request of which a receiver drops some records, those are found out, named and counted;
    what it took may come twice."""

    def judge(request: ExportLogsServiceRequest) -> Any:
        bad = len({3, 8} & set(receivers.numbers_in(request)))
        partial = ExportLogsPartialSuccess(rejected_log_records=bad, error_message="no room")
        return ExportLogsServiceResponse(partial_success=partial)

    receiver.answer = judge
    audit = make_audit(auto_export_path=tmp_path, ship_to="otlp")
    await _log(audit, 10)
    await until(lambda: value("shipped_events_total") == 8)
    audit.close()
    assert _dropped(value) == {"rejected": 2}
    assert set(receiver.numbers) == set(range(1, 11))


@pytest.mark.slow
async def test_silent_collector(make_audit: Make, value: Any, tmp_path: Path) -> None:
    """A collector that accepts and never answers: events are recorded as ever, nothing but one
    batch waits in memory, and `close` comes back."""
    silent = receivers.SilentServer()
    audit = make_audit(max_events=100, auto_export_path=tmp_path, ship_to=silent.url)
    await _log(audit, 1)
    await until(silent.connected.is_set)
    await _log(audit, 999)
    audit.close()
    assert value("shipping_lag_events") == 1000
    assert value("exported_events_total") == 1000
    audit.close()  # not waited for again
    silent.close()


@pytest.mark.slow
async def test_memory_is_the_queue_without_an_archive(make_audit: Make, value: Any) -> None:
    """Without an archive, what leaves memory before it could be sent is counted as dropped."""
    port = free_port()
    audit = make_audit(max_events=50, ship_to=f"http://127.0.0.1:{port}")
    await _log(audit, 10)
    await until(lambda: value("failures_total", stage="ship"))
    await _log(audit, 190)
    receiver = receivers.over_http(port)
    await until(lambda: 200 in receiver.numbers)
    audit.close()
    receiver.close()
    # The batch that was on its way, and what is in memory.
    assert receiver.numbers[-50:] == list(range(151, 201))
    assert _dropped(value) == {"queue_full": 200 - len(receiver.records)}
    assert value("shipped_events_total") == len(receiver.records)


@pytest.mark.slow
@pytest.mark.parametrize("archive", [True, False])
async def test_a_trail_that_ends_before_all_is_sent(
    make_audit: Make, value: Any, tmp_path: Path, archive: bool
) -> None:
    """Events in memory only are counted as dropped; the trail has no lag any more."""
    others = set(threading.enumerate())
    audit = make_audit(
        auto_export_path=tmp_path if archive else None,
        ship_to=f"http://127.0.0.1:{free_port()}",
    )
    await _log(audit, 3)
    await until(lambda: value("failures_total", stage="ship"))
    await _log(audit, 4)
    threads = set(threading.enumerate()) - others
    audit.close()
    assert value("shipping_lag_events") == 7
    del audit

    def is_over() -> bool:
        gc.collect()
        return not any(thread.is_alive() for thread in threads)

    await until(is_over)
    assert _dropped(value) == ({} if archive else {"shutdown": 7})
    assert value("shipping_lag_events") is None


async def test_options_of_the_environment(
    receiver: Receiver, make_audit: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Headers and compression are those of the standard variables."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=blue%20one,authorization=Bearer%20t")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_LOGS_COMPRESSION", "gzip")
    with make_audit(ship_to="otlp") as audit:
        await _log(audit, 3)
    assert receiver.numbers == [1, 2, 3]
    assert receiver.headers["x-tenant"] == "blue one"
    assert receiver.headers["authorization"] == "Bearer t"
    grpc = os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"] == "grpc"
    if not grpc:
        assert receiver.headers["content-encoding"] == "gzip"


@pytest.mark.parametrize(
    "given", ["collector", "ftp://x", "http://", "http://x:99999", 4318, "http://[::1"]
)
def test_wrong_urls(given: Any) -> None:
    """A URL that cannot be one is refused at once, and shown."""
    with pytest.raises(AuditConfigError, match="ship_to="):
        AuditLogger(ship_to=given, registry=CollectorRegistry())


@pytest.mark.slow
def test_disabled_sdk(http: Receiver, registry: CollectorRegistry, run_script: Run) -> None:
    """With OTEL_SDK_DISABLED nothing is shipped."""
    script = """
        import asyncio, sys
        from axon_audit_otel import AuditLogger
        audit = AuditLogger(ship_to=sys.argv[1])
        asyncio.run(audit.log_event("STORE"))
        audit.close()
    """
    run_script(script, http.url, OTEL_SDK_DISABLED="true")
    assert http.records == []
    run_script(script, http.url)
    assert http.numbers == [1]


# --- stable storage ---------------------------------------------------------------------------


@pytest.mark.slow
async def test_nothing_leaves_before_it_is_on_disk(
    http: Receiver, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With durability="disk" an event is shipped when it is on stable storage, and no sooner."""
    monkeypatch.setattr("axon_audit_otel.shipping.shipper._POLL_S", 0.01)
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url, durability="disk")
    await audit.log_event("STORE")
    await until(lambda: http.numbers == [1])
    real, arrived, early = os.fdatasync, threading.Event(), []
    http.answer = lambda request: arrived.set()

    def sync(file: int) -> None:
        early.append(arrived.wait(0.5))
        real(file)

    monkeypatch.setattr(os, "fdatasync", sync)
    await audit.log_event("STORE")
    await until(lambda: http.numbers == [1, 2])
    assert early == [False]


async def test_what_nobody_waits_for(http: Receiver, make_audit: Make, tmp_path: Path) -> None:
    """With durability="disk" events about the trail itself are shipped as well, at once."""
    audit = make_audit(auto_export_path=tmp_path / "logs")
    await _log(audit, 3)
    shutil.copytree(tmp_path / "logs", tmp_path / "after")  # as a crash would leave it
    audit = make_audit(auto_export_path=tmp_path / "after", ship_to=http.url, durability="disk")
    await until(lambda: http.numbers == [1, 2, 3, 4])


# --- ends and beginnings ---------------------------------------------------------------------

_LOGGING = """
    import asyncio, os, signal, sys
    from axon_audit_otel import AuditLogger

    async def main():
        audit = AuditLogger(auto_export_path=sys.argv[1], ship_to=sys.argv[2])
        for _ in range(int(sys.argv[3])):
            await audit.log_event("STORE")
        return audit

    audit = asyncio.run(main())
"""


@pytest.mark.slow
def test_what_a_killed_process_had_not_sent(
    http: Receiver, run_script: Run, tmp_path: Path
) -> None:
    """The next start sends what the one before could not, and nothing twice that was
    acknowledged."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    kill = _LOGGING + "    os.kill(os.getpid(), signal.SIGKILL)\n"
    run_script(kill, tmp_path, nowhere, 40, code=-signal.SIGKILL)
    run_script(_LOGGING, tmp_path, http.url, 3)
    run_script(_LOGGING, tmp_path, http.url, 2)
    # One more for the unclean end.
    assert http.numbers == list(range(1, 47))


@pytest.mark.slow
def test_a_program_that_only_starts(http: Receiver, run_script: Run, tmp_path: Path) -> None:
    """Events of an earlier run are sent although nothing happens."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    run_script(_LOGGING, tmp_path, nowhere, 5)
    run_script(_LOGGING, tmp_path, http.url, 0)
    assert http.numbers == [1, 2, 3, 4, 5]


@pytest.mark.slow
async def test_what_other_writers_left(
    http: Receiver, make_audit: Make, run_script: Run, tmp_path: Path, value: Any
) -> None:
    """Events of a process that is gone are sent by another one of the same archive."""
    nowhere = f"http://127.0.0.1:{free_port()}"
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    run_script(_LOGGING, tmp_path, nowhere, 30)  # as "default-2"
    await _log(audit, 1)
    await until(lambda: value("shipped_events_total") == 31)
    trails = [receivers.attributes(record)["axon.audit.trail"] for record in http.records]
    assert trails == [audit.name] + ["default"] * 30
    assert sorted(http.numbers) == [1, *range(1, 31)]
    run_script(_LOGGING, tmp_path, http.url, 1)  # and then it goes on where that ended
    assert sorted(http.numbers) == [1, *range(1, 32)]


async def test_what_others_left_is_sent_by_a_busy_process(
    http: Receiver, make_audit: Make, tmp_path: Path
) -> None:
    """It does not wait until nothing happens any more: in a server that never comes."""
    left = make_audit(auto_export_path=tmp_path)
    await _log(left, 30)
    left.close()
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    for _ in range(400):  # until it is certain that it does not happen
        await _log(audit, 1)
        await asyncio.sleep(0.01)
        if set(range(1, 31)) <= {n for n, own in _numbers(http, audit.name) if not own}:
            break
    else:
        pytest.fail("the events of the other writer were not sent")
    audit.close()
    own = [number for number, is_own in _numbers(http, audit.name) if is_own]
    assert own == list(range(1, audit.total_events_logged + 1))
    assert len(http.numbers) == len(own) + 30


def _numbers(http: Receiver, trail: str) -> list[tuple[int, bool]]:
    """The numbers of all records, and whether each is of that trail."""
    found = [receivers.attributes(record) for record in [*http.records]]
    return [(one["audit.sequence.number"], one["axon.audit.trail"] == trail) for one in found]


@pytest.mark.slow
def test_forked_children(http: Receiver, run_script: Run, tmp_path: Path) -> None:
    """A parent and its forked children each ship their own."""
    run_script(
        """
        import asyncio, os, sys, warnings
        warnings.simplefilter("ignore", DeprecationWarning)
        from axon_audit_otel import AuditLogger

        audit = AuditLogger(auto_export_path=sys.argv[1], ship_to=sys.argv[2])
        asyncio.run(audit.log_event("STORE", user_id="parent"))
        audit.close()
        for number in range(3):
            if not os.fork():
                asyncio.run(audit.log_event("STORE", user_id=f"child {number}"))
                audit.close()
                os._exit(0)
            os.wait()
        asyncio.run(audit.log_event("STORE", user_id="parent"))
        """,
        tmp_path,
        http.url,
    )
    users = [receivers.attributes(record)["user.id"] for record in http.records]
    assert sorted(users) == ["child 0", "child 1", "child 2", "parent", "parent"]


@pytest.mark.slow
@pytest.mark.parametrize("archive", [True, False])
def test_a_program_ends_with_a_silent_collector(tmp_path: Path, archive: bool) -> None:
    """The end of a program waits for nobody who does not answer: it comes by itself, without a
    word on stderr but ours."""
    silent = receivers.SilentServer()
    script = f"""
        import asyncio
        from axon_audit_otel import AuditLogger
        audit = AuditLogger(auto_export_path={str(tmp_path) if archive else None!r},
                            ship_to={silent.url!r})
        asyncio.run(audit.log_event("STORE"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    silent.close()
    assert "Traceback" not in done.stderr
    assert "Fatal" not in done.stderr


async def test_acknowledgements_of_another_archive(
    http: Receiver, make_audit: Make, tmp_path: Path
) -> None:
    """Acknowledgements count for the archive that they are of; damaged ones for none."""
    for content in (b"\xff garbage", b"", b'{"acknowledged":99,"stream":"0123456789abcdef"}\n'):
        directory = tmp_path / str(len(content))
        directory.mkdir()
        (directory / "default.shipped").write_bytes(content)
        for numbers in ([1, 2, 3], [4]):
            http.records.clear()
            with make_audit(auto_export_path=directory, ship_to=http.url) as audit:
                await _log(audit, len(numbers))
            assert http.numbers == numbers
            trail = ref(audit.trail)
            del audit
            await until(lambda t=trail: t() is None)


async def test_files_that_retention_deleted(
    http: Receiver, make_audit: Make, tmp_path: Path, value: Any
) -> None:
    """Events deleted before they could be sent are counted, and what is missing; the rest is
    sent."""
    with make_audit(max_events=10, auto_export_path=tmp_path) as before:
        await _log(before, 35)
    del before
    files = sealed_files(tmp_path)
    retire(files[1])
    files[2].unlink()  # which nobody said
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    audit.close()
    assert http.numbers == [*range(1, 11), *range(31, 36)]
    assert _dropped(value) == {"deleted": 10, "missing": 10}


@pytest.mark.slow
async def test_acknowledgements_that_somebody_removes(
    http: Receiver, make_audit: Make, tmp_path: Path
) -> None:
    """Acknowledgements that are removed while it ships are written anew; nothing is sent twice."""
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    for total in (1, 2, 3):
        await _log(audit, 1)
        await until(lambda n=total: acknowledged(tmp_path, "default")[0] == n)
        (tmp_path / "default.shipped").unlink()
    await _log(audit, 1)
    audit.close()
    assert http.numbers == [1, 2, 3, 4]
    assert acknowledged(tmp_path, "default") == (4, audit.name)


@pytest.mark.slow
async def test_a_child_that_lives_longer(http: Receiver, run_script: Run, tmp_path: Path) -> None:
    """A forked child does not keep its parent's successor from shipping."""
    script = (
        _LOGGING
        + """
    audit.close()
    child = os.fork()
    if child:
        print(child)
    else:
        for stream in (0, 1, 2):
            os.close(stream)
        signal.pause()
    """
    )
    nowhere = f"http://127.0.0.1:{free_port()}"
    found = run_script(script, tmp_path, nowhere, 3, PYTHONWARNINGS="ignore")
    try:
        run_script(_LOGGING, tmp_path, http.url, 1)
    finally:
        os.kill(int(found), signal.SIGKILL)
    assert http.numbers == [1, 2, 3, 4]


@pytest.mark.slow
async def test_a_web_server_is_no_collector(
    http: Receiver, make_audit: Make, tmp_path: Path, value: Any
) -> None:
    """A page with status 200 acknowledges nothing."""
    http.content_type = "text/html"
    audit = make_audit(auto_export_path=tmp_path, ship_to=http.url)
    await _log(audit, 3)
    await until(lambda: value("failures_total", stage="ship"))
    assert value("shipped_events_total") == 0
    http.content_type = "application/x-protobuf"
    await until(lambda: value("shipped_events_total") == 3)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
async def test_tls(
    protocol: str, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: Any
) -> None:
    """Over TLS with an authority of one's own; not to somebody whom that does not vouch for."""
    files = certificate(tmp_path)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    found = (receivers.over_grpc if protocol == "grpc" else receivers.over_http)(tls=files)
    with make_audit(ship_to=found.url) as stranger:
        await _log(stranger, 1)
        await until(lambda: value("failures_total", stage="ship"))
        assert found.records == []
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_CERTIFICATE", str(files[0]))
    with make_audit(ship_to=found.url, name="trusted") as audit:
        await _log(audit, 3)
    found.close()
    assert found.numbers == [1, 2, 3]


def certificate(directory: Path) -> tuple[Path, Path]:
    """A certificate of one's own for 127.0.0.1, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(timezone.utc)
    address = x509.IPAddress(IPv4Address("127.0.0.1"))
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([address]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    files = directory / "server.pem", directory / "server.key"
    files[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files


@pytest.mark.slow
def test_chaos(run_script: Run, tmp_path: Path) -> None:
    """Applications killed under load, a receiver that goes, comes, refuses and hangs up: in the
    end every event is there, and those that are there twice are named."""
    port, chance = free_port(), Random(4)
    received: list[Any] = []
    script = textwrap.dedent(
        """
        import asyncio, sys
        from axon_audit_otel import AuditLogger

        async def main():
            audit = AuditLogger(200, sys.argv[1], ship_to=sys.argv[2])
            while True:
                await audit.log_event("STORE", user_id="ann")
                await asyncio.sleep(0.0005)
                print(audit.trail.source.newest, flush=True)

        asyncio.run(main())
        """
    )
    url = f"http://127.0.0.1:{port}"
    for turn in range(4):
        command = [sys.executable, "-c", script, str(tmp_path / "logs"), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as app:
            assert app.stdout is not None
            for _ in range(2):
                receiver = receivers.over_http(port)
                receiver.answer = lambda request: 503 if chance.random() < 0.2 else None
                for _ in range(chance.randrange(100, 500)):
                    app.stdout.readline()
                receiver.close()
                received += receiver.records
                for _ in range(chance.randrange(100)):
                    app.stdout.readline()
            app.kill() if turn % 3 else app.terminate()
    receiver = receivers.over_http(port)
    run_script(_LOGGING, tmp_path / "logs", url, 1)
    receiver.close()
    received += receiver.records
    receivers.write_json(received, tmp_path / "far.json")
    report = verify_arrival([tmp_path / "far.json"])
    assert report.ok, report.findings
    (stream,) = report.streams
    assert stream.last_sequence == newest_number(tmp_path / "logs", "default")
    assert stream.events + stream.duplicates == len(received)
