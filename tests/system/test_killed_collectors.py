"""Nothing that was recorded is missing at the far end, whoever is killed on the way."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest
from collector import Collector, wait
from conftest import Cli, archived

pytestmark = [
    pytest.mark.component,
    pytest.mark.slow,
    pytest.mark.usefixtures("without_start_record"),
]

APPLICATION = """
import asyncio, signal, sys
from axon_audit_otel import AuditLogger

async def work():
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    with AuditLogger(auto_export_path=sys.argv[1], ship_to=sys.argv[2], max_events=500) as audit:
        while not ended.is_set():
            for _ in range(10):
                print((await audit.log_event("STORE", user_id="alice")).event_id, flush=True)
            await asyncio.sleep(0.02)

asyncio.run(work())
"""


class Application:
    """A program under load; it prints the id of each event whose call has returned."""

    def __init__(self, archive: Path, endpoint: str, out: IO[str]) -> None:
        self._command = [sys.executable, "-c", APPLICATION, str(archive), endpoint]
        self._out = out
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=self._out)

    def writes(self) -> bool:
        """True; a failure if it has ended by itself."""
        assert self.process.poll() is None
        return True

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        self.process.terminate()
        assert self.process.wait() == 0


@pytest.mark.parametrize("chain", [["all-in-one.yaml"], ["gateway.yaml", "agent.yaml"]], ids=len)
def test_nothing_is_lost(
    start_collector: Callable[..., Collector],
    cli: Cli,
    tmp_path: Path,
    chain: list[str],
) -> None:
    """Ten times a collector is killed, twice the application, under load; replay does the rest."""
    collectors: list[Collector] = []
    for config in chain:  # each ships to the one before
        port = str(collectors[-1].port) if collectors else ""
        collectors.append(start_collector(config, GATEWAY_HOST="127.0.0.1", GATEWAY_PORT=port))
    store, near = collectors[0], collectors[-1]
    archive, printed = tmp_path / "archive", tmp_path / "printed"
    with printed.open("w") as out:
        application = Application(archive, near.http, out)
        try:
            for number in range(10):
                size = written(store)
                wait(lambda: application.writes() and written(store) > size)  # noqa: B023
                collectors[number % len(collectors)].kill()
                if number in (3, 7):
                    application.kill()
                    application.start()
                size = printed.stat().st_size
                wait(lambda: printed.stat().st_size > size + 1000)  # noqa: B023
                collectors[number % len(collectors)].start()
            application.end()
        finally:
            application.kill()
    cli("replay", archive, "--endpoint", near.http)
    recorded = {event.event_id for event in archived(archive)}
    assert set(printed.read_text().split()) <= recorded
    assert len(recorded) > 1000
    wait(lambda: {record["attributes"]["log.record.uid"] for record in store.audit()} >= recorded)
    arrived = Counter(record["attributes"]["log.record.uid"] for record in store.audit())
    assert set(arrived) == recorded
    report = json.loads(cli("verify", "--otlp-json", "--json", *store.files("audit")).stdout)
    assert (report["ok"], report["events"]) == (True, len(recorded))
    assert set(report["duplicates"]) == {uid for uid, count in arrived.items() if count > 1}


def written(store: Collector) -> int:
    """Bytes in its files."""
    return sum(file.stat().st_size for file in store.files("audit"))
