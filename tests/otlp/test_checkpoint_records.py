"""Checkpoints as OpenTelemetry log records, and back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import receiver as receivers
from collector import Collector
from conftest import Cli, Make, sealed_files, until
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from receiver import Receiver

from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey, new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

AT_SEALS = {"checkpoint_interval": 1e9}  # and at no other time


@pytest.fixture(name="key", scope="module")
def _key() -> SigningKey:
    return new_key("auditor")


def _notes(http: Receiver) -> list[str]:
    name = "axon.memory.audit.checkpoint"
    return [record.body.string_value for record in http.records if record.event_name == name]


async def test_log_records(
    make_audit: Make,
    tmp_path: Path,
    key: SigningKey,
    log_exporter: InMemoryLogRecordExporter,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With "otlp" they are log records of the logger provider, and in no file of that name."""
    monkeypatch.chdir(tmp_path)
    audit = make_audit(2, tmp_path / "logs", signing_key=key, checkpoint_to="otlp", **AT_SEALS)
    for _ in range(3):
        await audit.log_event("STORE")
    audit.close()
    records = [done.log_record for done in log_exporter.get_finished_logs()]
    name = "axon.memory.audit.checkpoint"
    notes = [record.body for record in records if record.event_name == name]
    assert len(records) == 3 + len(notes)
    assert len(notes) == 2
    assert (tmp_path / "logs" / "default.checkpoints").read_text() == "".join(notes)
    assert Checkpoint.parse(notes[-1], [key.verifying]).events == 3
    assert not (tmp_path / "otlp").exists()
    assert audit.total_events_logged == 3
    assert audit.get_statistics()["failures"] == {}


async def test_shipped(
    make_audit: Make, tmp_path: Path, key: SigningKey, http: Receiver, cli: Cli
) -> None:
    """They go where the events go, also after an outage; with what a collector wrote of them
    `verify` notices that the newest file was taken away."""
    archive, far_end = tmp_path / "logs", tmp_path / "audit.jsonl"
    answers = [503]
    http.answer = lambda request: answers.pop() if answers else None
    audit = make_audit(
        2,
        archive,
        signing_key=key,
        checkpoint_to="otlp",
        **AT_SEALS,
        ship_to=http.url,
        name="default",
    )
    for _ in range(4):
        await audit.log_event("STORE")
    audit.close()
    await until(lambda: len(_notes(http)) == 2)
    notes = _notes(http)
    assert "".join(notes) == (archive / "default.checkpoints").read_text()
    receivers.write_json(http.records, far_end)
    given = ("--key", str(key.verifying), "--checkpoint", far_end)
    assert "prove" in cli("verify", archive, *given).stdout
    manifest = archive / "default.manifest"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:-1]))
    sealed_files(archive)[-1].unlink()
    for path in archive.glob("default.checkpoint*"):
        path.unlink()
    cli("verify", archive)
    assert "ends before events 3 to 4" in cli("verify", archive, *given, code=1).stdout
    far_end.write_text('{"resourceLogs":[]}\n')
    assert "no checkpoint" in cli("verify", archive, *given, code=2).stderr


@pytest.mark.slow
async def test_close_waits_for_them(
    make_audit: Make, tmp_path: Path, key: SigningKey, http: Receiver
) -> None:
    """It waits for what is new, also where an outage that is over met only a checkpoint."""
    audit = make_audit(
        10, tmp_path, signing_key=key, checkpoint_to="otlp", **AT_SEALS, ship_to=http.url
    )
    await audit.log_event("STORE")
    await until(lambda: http.records)
    answers = [503]
    http.answer = lambda request: answers.pop() if answers else None
    audit.close()
    await until(lambda: not answers and _events_of_newest(http) == 1)
    await audit.log_event("STORE")
    audit.close()
    assert _events_of_newest(http) == 2
    assert len(http.records) - len(_notes(http)) == 2


def _events_of_newest(http: Receiver) -> int:
    """Of how many events the newest checkpoint speaks."""
    return max((Checkpoint.parse(note).events for note in _notes(http)), default=0)


async def test_nowhere_to_send_them(
    make_audit: Make, tmp_path: Path, logger_provider: LoggerProvider
) -> None:
    """Without a provider that is a failure, which is counted; they follow when there is one."""
    audit = make_audit(1, tmp_path, checkpoint_to="otlp", **AT_SEALS, logger_provider=None)
    await audit.log_event("STORE")
    audit.close()
    assert audit.get_statistics()["failures"]["checkpoint"] >= 1
    exporter = InMemoryLogRecordExporter()
    logger_provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    audit.use(logger_provider)
    audit.close()
    assert [done.log_record.event_name for done in exporter.get_finished_logs()] == [
        "axon.memory.audit.checkpoint"
    ]


@pytest.mark.component
@pytest.mark.parametrize("ships", [True, False])
async def test_through_a_collector(
    start_collector: Callable[..., Collector],
    make_audit: Make,
    cli: Cli,
    tmp_path: Path,
    key: SigningKey,
    ships: bool,
) -> None:
    """A real collector writes them beside the events, as they were signed."""
    there = start_collector("all-in-one.yaml")
    provider = LoggerProvider(shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"{there.http}/v1/logs")
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    archive = tmp_path / "logs"
    audit = make_audit(
        2,
        archive,
        signing_key=key,
        checkpoint_to="otlp",
        **AT_SEALS,
        ship_to=there.http if ships else None,
        logger_provider=None if ships else provider,
    )
    for _ in range(4):
        await audit.log_event("STORE")
    audit.close()
    await until(lambda: len(there.audit()) == 6)
    (far_end,) = there.files("audit")
    given = ("--key", str(key.verifying), "--checkpoint", far_end)
    assert "proved up to event 4" in " ".join(cli("verify", archive, *given).stdout.split())
    assert "4 events, 1 to 4" in cli("verify", "--otlp-json", far_end).stdout
    provider.shutdown()
