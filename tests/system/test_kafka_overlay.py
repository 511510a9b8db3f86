"""The Kafka overlay: a real broker of Kafka's default limits, killed like the collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from collector import Collector, wait
from conftest import Cli, Make
from kafka_server import Kafka

pytestmark = [pytest.mark.nightly, pytest.mark.usefixtures("without_start_record")]

Start = Callable[..., Collector]
_EVENTS = 10_000
_READS = """yaml:
receivers:
  kafka:
    brokers: ["{address}"]
    group_id: reader
    initial_offset: earliest
    logs:
      topics: [axon-audit]
      encoding: otlp_proto
exporters:
  file/kafka:
    path: {path}
    rotation:
      max_megabytes: 1000
service:
  pipelines:
    logs/from-kafka:
      receivers: [kafka]
      exporters: [file/kafka]
"""


@pytest.fixture(name="kafka")
def _kafka(tmp_path: Path) -> Iterator[Kafka]:
    server = Kafka(tmp_path / "kafka")
    yield server
    server.kill()


async def test_nothing_is_missing(
    kafka: Kafka, tmp_path: Path, start_collector: Start, make_audit: Make, cli: Cli
) -> None:
    """Broker and collector are killed while events are on their way, some as large as they may be:
    each of them can be read from the topic, unaltered, those of a trail from one partition."""
    audit = make_audit(auto_export_path=tmp_path / "logs")
    for number in range(_EVENTS):
        many = number % 2000 == 7
        ids = [f"{number:08}-{one:027}" for one in range(60_000 if many else 1)]
        await audit.log_event("FORGET", user_id="alice", entry_ids=ids, derived_from=ids[:1000])
    audit.close()
    gateway = start_collector(
        *("gateway.yaml", "overlays/kafka.yaml"),
        "yaml:exporters::kafka/audit::producer::allow_auto_topic_creation: true",
        KAFKA_BROKERS=f"[{kafka.address}]",
        KAFKA_TLS_INSECURE="true",
    )
    kafka.kill()  # before anything arrives
    cli("replay", tmp_path / "logs", "--endpoint", gateway.http)
    gateway.kill()
    gateway.start()
    kafka.start()
    read = tmp_path / "read.jsonl"
    reader = start_collector("gateway.yaml", _READS.format(address=kafka.address, path=read))
    wait(lambda: read.is_file() and read.stat().st_size > 0)
    kafka.kill()
    gateway.kill()
    kafka.start()
    gateway.start()
    found = ["verify", "--otlp-json", read, "--archive", tmp_path / "logs"]

    def _is_there() -> bool:
        return cli(*found, code=None).exit_code == 0

    wait(_is_there, 240)
    said = cli(*found).stdout
    assert f"{_EVENTS:,} events, 1 to {_EVENTS:,}" in said
    assert "message too large" not in gateway.log().lower()
    reader.stop()
