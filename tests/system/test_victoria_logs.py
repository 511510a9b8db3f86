"""A real VictoriaLogs gets events over OTLP, without a collector, and gives them back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Cli, Make, archived
from victoria_logs_server import VictoriaLogs

pytestmark = [pytest.mark.component, pytest.mark.usefixtures("without_start_record")]  # Go


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VictoriaLogs]:
    server = VictoriaLogs(tmp_path_factory.mktemp("victoria-logs"))
    yield server
    server.stop()


async def test_replay_fills_it(
    store: VictoriaLogs, tmp_path: Path, make_audit: Make, cli: Cli
) -> None:
    """Each event is there, with the very text that the archive has."""
    audit = make_audit(auto_export_path=tmp_path / "logs")
    for number in range(20):
        await audit.log_event("STORE", user_id="alice", metadata={"number": number})
    audit.close()
    archive = str(tmp_path / "logs")
    done = cli("replay", archive, "--endpoint", store.otlp, "--protocol", "http/protobuf")
    assert done.exit_code == 0, done.output
    store.flush()
    found = store.query("axon.audit.trail:*", limit=1000)
    written = {event.to_json() for event in archived(tmp_path / "logs")}
    assert len(written) == 20
    assert {row["_msg"].encode() for row in found} == written
