"""The VictoriaLogs overlay of the collector, and shipping straight to it: no new stream a start."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from collector import Collector, wait
from conftest import Cli, Run
from victoria_logs_server import VictoriaLogs

pytestmark = [pytest.mark.component, pytest.mark.usefixtures("without_start_record")]  # Go

Start = Callable[..., Collector]
_PROGRAM = """
import asyncio, sys
from axon_audit_otel import AuditLogger

async def main():
    audit = AuditLogger(auto_export_path=sys.argv[1], ship_to="otlp")
    for number in range(10):
        await audit.log_event("STORE", user_id="alice")
    audit.close()

asyncio.run(main())
"""


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[VictoriaLogs]:
    server = VictoriaLogs(tmp_path / "victoria-logs")
    yield server
    server.kill()


def _streams(store: VictoriaLogs) -> dict[str, int]:
    """The streams, and how many records each has."""
    store.flush()
    rows = store.query("* | stats by (_stream) count() records")
    return {row["_stream"]: int(row["records"]) for row in rows}


def _started_twice(run: Run, archive: Path, **environment: str) -> None:
    for _ in range(2):
        run(_PROGRAM, archive, OTEL_SERVICE_NAME="shop", **environment)


def test_one_stream_for_a_service_and_trail(
    store: VictoriaLogs, tmp_path: Path, start_collector: Start, run_script: Run, cli: Cli
) -> None:
    """Through the collector: the starts of a process are one stream, and the store has all, also
    after the store and the collector were killed."""
    gateway = start_collector(
        *("gateway.yaml", "overlays/victorialogs.yaml"), VICTORIALOGS_ENDPOINT=store.url
    )
    _started_twice(run_script, tmp_path / "logs", OTEL_EXPORTER_OTLP_ENDPOINT=gateway.http)
    wait(lambda: sum(_streams(store).values()) == 20)
    assert _streams(store) == {'{axon.audit.trail="default",service.name="shop"}': 20}
    instances = store.query('* | stats count_uniq("service.instance.id") instances')
    assert instances == [{"instances": "2"}]  # it is a field
    store.kill()
    _started_twice(run_script, tmp_path / "logs", OTEL_EXPORTER_OTLP_ENDPOINT=gateway.http)
    gateway.kill()
    store.start()
    gateway.start()
    wait(lambda: sum(_streams(store).values()) >= 20)
    address = f"victorialogs+{store.url}"
    cli("replay", tmp_path / "logs", "--store", address, "--endpoint", gateway.http)
    wait(lambda: cli("verify", tmp_path / "logs", "--store", address, code=None).exit_code == 0)


def test_straight(store: VictoriaLogs, tmp_path: Path, run_script: Run) -> None:
    """Without a collector a header does it, as the documentation has it; without it each start
    would be told apart only by a field, in streams of what describes the process."""
    environment: dict[str, Any] = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": store.otlp,
        "OTEL_EXPORTER_OTLP_HEADERS": "VL-Stream-Fields=service.name%2Caxon.audit.trail",
    }
    _started_twice(run_script, tmp_path / "logs", **environment)
    assert _streams(store) == {'{axon.audit.trail="default",service.name="shop"}': 20}
