"""`axon-audit replay`: what a collector missed is sent again from the archive."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import receiver as receivers
from collector import free_port
from conftest import Cli, Run, only, sealed_files
from prometheus_client import CollectorRegistry
from receiver import Receiver

from axon_audit_otel import ArchiveError, AuditConfigError, AuditLogger
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.replay import Replayed, replay

pytestmark = pytest.mark.usefixtures("without_start_record")


@pytest.fixture(name="receiver", params=["http/protobuf", "grpc"])
def _receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    found = receivers.over_grpc() if request.param == "grpc" else receivers.over_http()
    yield found
    found.close()


@pytest.fixture(name="archive")
async def _archive(tmp_path: Path) -> AsyncIterator[Path]:
    """An archive of 25 events: two sealed files, and the journal of a writer that lives."""
    audit = AuditLogger(10, tmp_path / "logs", registry=CollectorRegistry())
    for number in range(25):
        await audit.log_event("STORE", user_id=f"user_{number}")
    yield tmp_path / "logs"
    audit.close()


def _replay(archive: Path, receiver: Receiver, **options: Any) -> Replayed:
    endpoint = Endpoint.resolve(receiver.url, receiver.protocol)
    return replay(archive, endpoint, {"service.name": "shop"}, **options)


def test_everything_is_sent_once(archive: Path, receiver: Receiver) -> None:
    """All events of all files arrive in their order; a second call has nothing to send."""
    done = _replay(archive, receiver)
    assert (done.sent, done.before, done.why) == (25, 0, "")
    assert receiver.numbers == list(range(1, 26))
    assert receiver.resources[0] == {"service.name": "shop"}
    assert {receivers.attributes(r)["axon.audit.trail"] for r in receiver.records} == {"default"}
    again = _replay(archive, receiver)
    assert (again.sent, again.before) == (0, 25)
    everything = _replay(archive, receiver, everything=True)
    assert (everything.sent, everything.before) == (25, 0)
    assert receiver.numbers == [*range(1, 26), *range(1, 26)]


def test_it_goes_on_where_it_ended(
    archive: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver that fails is tried again, then given up; the next call sends the rest."""
    monkeypatch.setattr("axon_audit_otel.shipping.sources.EVENTS", 4)
    failure = "UNAVAILABLE" if receiver.protocol == "grpc" else 503
    missed = set(range(5, 26))

    def judge(request: Any) -> Any:
        return None if missed.isdisjoint(receivers.numbers_in(request)) else failure

    receiver.answer = judge
    done = _replay(archive, receiver, patience=0.0)
    assert (done.sent, bool(done.why)) == (4, True)
    # What is behind a gap is sent, perhaps, but it counts only when the gap is filled.
    missed &= {9, 10, 11, 12}
    done = _replay(archive, receiver, patience=0.0)
    assert (done.sent, done.before, bool(done.why)) == (4, 4, True)
    missed.clear()
    done = _replay(archive, receiver)
    assert (done.sent, done.before, done.why) == (17, 8, "")
    assert set(receiver.numbers) == set(range(1, 26))
    assert _replay(archive, receiver).sent == 0


def test_refused_events(
    archive: Path, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    """Events refused for good are counted and named with the receiver's words, and the rest is
    sent."""
    refusal = "INVALID_ARGUMENT" if receiver.protocol == "grpc" else 400

    def judge(request: Any) -> Any:
        (logs,) = request.resource_logs[0].scope_logs if request.resource_logs else (None,)
        users = [receivers.attributes(r)["user.id"] for r in logs.log_records] if logs else []
        return refusal if "user_7" in users else None

    receiver.answer = judge
    done = _replay(archive, receiver)
    assert (done.sent, done.rejected, done.why) == (24, 1, "")
    assert sorted(receiver.numbers) == [n for n in range(1, 26) if n != 8]
    words = "INVALID_ARGUMENT" if receiver.protocol == "grpc" else "HTTP 400"
    assert words in caplog.text
    assert "larger than" not in caplog.text
    assert words in (archive / "default.unsent").read_text()


def test_progress(archive: Path, http: Receiver) -> None:
    """Progress is told in events, from nothing to everything."""
    told: list[tuple[int, int]] = []
    _replay(archive, http, progress=lambda done, total: told.append((done, total)))
    assert told == [(0, 25), (25, 25)]


@pytest.mark.slow
async def test_several_writers(archive: Path, http: Receiver, run_script: Run) -> None:
    """The events of all writers are sent, each as its own trail."""
    run_script(
        """
        import asyncio, sys
        from axon_audit_otel import AuditLogger
        audit = AuditLogger(auto_export_path=sys.argv[1])
        for _ in range(3):
            asyncio.run(audit.log_event("STORE"))
        """,
        archive,
    )
    assert _replay(archive, http).sent == 28
    trails = [receivers.attributes(record)["axon.audit.trail"] for record in http.records]
    assert sorted(trails) == ["default"] * 25 + ["default-2"] * 3
    streams = {receivers.attributes(r)["audit.sequence.stream_id"] for r in http.records}
    assert len(streams) == 2


async def test_copies_of_sealed_files(archive: Path, http: Receiver, tmp_path: Path) -> None:
    """Sealed files without their manifest are sent as well."""
    copies = tmp_path / "copies"
    copies.mkdir()
    for file in sealed_files(archive):
        (copies / file.name).write_bytes(file.read_bytes())
    assert _replay(copies, http).sent == 20
    assert http.numbers == list(range(1, 21))


async def test_compressed_files(http: Receiver, tmp_path: Path) -> None:
    """Compressed files are sent as well."""
    with AuditLogger(10, tmp_path, compress=True, registry=CollectorRegistry()) as audit:
        for _ in range(25):
            await audit.log_event("STORE")
    only(tmp_path, "*_2.json.zst")
    assert _replay(tmp_path, http).sent == 25
    assert http.numbers == list(range(1, 26))


async def test_damaged_lines(http: Receiver, tmp_path: Path) -> None:
    """A line that is no event is counted, and holds up nothing."""
    with AuditLogger(10, tmp_path, registry=CollectorRegistry()) as audit:
        for _ in range(10):
            await audit.log_event("STORE", user_id="ann")
    (file,) = sealed_files(tmp_path)
    lines = file.read_bytes().splitlines(keepends=True)
    lines[3] = b",\xff\xfe garbage\n"
    lines[5] = lines[5].replace(b'"status":"SUCCESS"', b'"status":"GREAT"')
    file.write_bytes(b"".join(lines))
    done = _replay(tmp_path, http)
    assert (done.sent, done.unreadable, done.why) == (8, 2, "")
    assert http.numbers == [1, 2, 4, 6, 7, 8, 9, 10]


@pytest.mark.slow
async def test_a_trail_that_ships_itself(http: Receiver, tmp_path: Path) -> None:
    """While a process ships its events to somebody else, they can be sent; what is
    acknowledged is then that process's to remember."""
    silent = receivers.SilentServer()
    audit = AuditLogger(auto_export_path=tmp_path, ship_to=silent.url, registry=CollectorRegistry())
    await audit.log_event("STORE")
    silent.connected.wait()
    done = _replay(tmp_path, http)
    assert (done.sent, done.unremembered) == (1, ["default"])
    assert http.numbers == [1]
    silent.close()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root writes everywhere")
def test_an_archive_that_cannot_be_written(archive: Path, http: Receiver) -> None:
    """A read-only archive is sent; nothing is remembered in it."""
    archive.chmod(0o500)
    try:
        done = _replay(archive, http)
    finally:
        archive.chmod(0o700)
    assert (done.sent, done.unremembered) == (25, ["default"])


def test_nothing_there(tmp_path: Path, http: Receiver) -> None:
    """A directory without an archive, or none at all, is an error."""
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(ArchiveError, match=path.name):
            _replay(path, http)


def test_command(archive: Path, http: Receiver, cli: Cli) -> None:
    """The command sends, says what it did, and fails when not everything was sent."""
    url = f"--endpoint={http.url}"
    result = json.loads(cli("replay", archive, url, "--header", "x-tenant = blue", "--json").stdout)
    assert (result["sent"], result["endpoint"]) == (25, f"{http.url}/v1/logs")
    assert http.headers["x-tenant"] == "blue"
    assert "0 events sent" in cli("replay", archive, url).stdout
    assert "25 events sent" in cli("replay", archive, url, "--all").stdout
    nobody = f"--endpoint=http://127.0.0.1:{free_port()}"
    failed = cli("replay", archive, nobody, "--all", "--patience=0", code=1)
    assert "not everything was sent" in failed.stderr
    cli("replay", archive, "--endpoint=collector", code=1)
    cli("replay", archive, url, "--header", "x-tenant", code=2)
    cli("replay", archive / "missing", url, code=1)


@pytest.mark.parametrize(
    ("environ", "arguments", "expected"),
    [
        ({}, (), ("http://localhost:4318/v1/logs", "http/protobuf")),
        ({}, ("http://c:4317",), ("http://c:4317", "grpc")),
        ({}, ("https://c/otlp/",), ("https://c/otlp/v1/logs", "http/protobuf")),
        ({}, ("https://c/v1/logs",), ("https://c/v1/logs", "http/protobuf")),
        ({"ENDPOINT": "http://c:9"}, (), ("http://c:9/v1/logs", "http/protobuf")),
        ({"LOGS_ENDPOINT": "http://c:9/x"}, (), ("http://c:9/x", "http/protobuf")),
        ({"LOGS_ENDPOINT": "http://c:9/x"}, ("http://d",), ("http://d/v1/logs", "http/protobuf")),
        ({"PROTOCOL": "grpc"}, (), ("http://localhost:4317", "grpc")),
        ({"PROTOCOL": "grpc", "ENDPOINT": "c:1"}, (), ("https://c:1", "grpc")),
        (
            {"PROTOCOL": "grpc", "ENDPOINT": "c:1", "INSECURE": "true"},
            (),
            ("http://c:1", "grpc"),
        ),
        (
            {"PROTOCOL": "http/protobuf", "LOGS_PROTOCOL": "grpc"},
            ("https://c",),
            ("https://c", "grpc"),
        ),
    ],
)
def test_endpoints(
    environ: dict[str, str], arguments: tuple[str, ...], expected: tuple[str, str]
) -> None:
    """The URL of requests, as OpenTelemetry's specification of its variables has it."""
    variables = {f"OTEL_EXPORTER_OTLP_{name}": value for name, value in environ.items()}
    endpoint = Endpoint.resolve(*arguments, environ=variables)
    assert (endpoint.url, endpoint.protocol) == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PROTOCOL", "http/json"),
        ("ENDPOINT", "collector"),
        ("TIMEOUT", "soon"),
        ("TIMEOUT", "-1"),
        ("COMPRESSION", "brotli"),
    ],
)
def test_variables_that_cannot_be_meant(name: str, value: str) -> None:
    """A variable that cannot work is an error that shows it."""
    with pytest.raises(AuditConfigError, match=value):
        Endpoint.resolve(environ={f"OTEL_EXPORTER_OTLP_{name}": value})


def test_secrets_are_not_shown() -> None:
    """Headers often hold a token: an endpoint does not show them."""
    assert "s3cret" not in repr(Endpoint.resolve("http://c", headers={"authorization": "s3cret"}))


def test_interrupted(archive: Path, http: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C ends it, though its patience would last: nothing is tried once more."""
    monkeypatch.setattr("axon_audit_otel.shipping.delivery._RETRY_S", (0.01, 0.01))
    attempts = 0

    def judge(request: Any) -> Any:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        return 503 if attempts < 50 else None

    http.answer = judge
    with pytest.raises(KeyboardInterrupt):
        _replay(archive, http, patience=3600)
    assert attempts < 20
    for thread in threading.enumerate():
        if thread.name.startswith("axon-audit-replay"):
            thread.join(60)
            assert not thread.is_alive()
