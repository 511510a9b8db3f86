"""The fleet: what runs, what it has cost, and how each of its parts is killed."""

from __future__ import annotations

import multiprocessing
import re
import subprocess
import sys
import time
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Protocol

import psutil  # type: ignore[import-untyped,unused-ignore]

from axon_audit_otel.archive.directory import newest_number, writers_in
from axon_audit_otel.shipping.acknowledgements import acknowledged

from .application import PAUSED, RUNNING, STOPPED, Board, run

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT / "tests") not in sys.path:  # the servers are those of the tests
    sys.path.insert(0, str(ROOT / "tests"))

from clickhouse_server import ClickHouse  # noqa: E402
from collector import Collector, binary  # noqa: E402
from victoria_logs_server import VictoriaLogs  # noqa: E402

__all__ = ["ONCE", "Application", "Fleet", "Part", "disk", "newest_of"]


class _Server(Protocol):
    @property
    def pid(self) -> int: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def kill(self) -> None: ...


class Part:
    """A server of the fleet, with the CPU time of all its processes, killed ones too.

    Args:
        name: What it is.
        server: The server, which runs.
        directory: Where its files are.
    """

    def __init__(self, name: str, server: _Server, directory: Path) -> None:
        self.name = name
        self.server: Any = server
        self.directory = directory
        self._spent = 0.0
        self._is_up = True

    @property
    def cpu(self) -> float:
        """CPU seconds until now."""
        return self._spent + self._now()

    @property
    def memory(self) -> int:
        """Bytes of memory that it has now."""
        return int(psutil.Process(self.server.pid).memory_info().rss)

    def _now(self) -> float:
        if not self._is_up:
            return 0.0
        times = psutil.Process(self.server.pid).cpu_times()
        return float(times.user + times.system)

    def kill(self) -> None:
        """Kill it with ``kill -9``."""
        self._spent += self._now()
        self._is_up = False
        self.server.kill()

    def start(self) -> None:
        """Start it again, with its files."""
        self.server.start()
        self._is_up = True


class Application:
    """A process with a memory and an archive.

    Args:
        number: Which one.
        directory: Its own.
        endpoint: Its agent.
        control: The board of all.
    """

    #: Forked from a process that has imported everything and runs nothing: each makes its logger
    #: after that, and only the time of the imports is saved.
    _context = multiprocessing.get_context("forkserver")
    _context.set_forkserver_preload(["benchmarks.fleet.application"])

    def __init__(self, number: int, directory: Path, endpoint: str, control: Path) -> None:
        directory.mkdir(parents=True)
        self.archive = directory / "audit"
        self.log = directory / "log"
        self._board = Board(directory / "board")
        self._arguments = (number, directory, endpoint, control)
        self._process: BaseProcess | None = None
        self.start()

    def start(self) -> None:
        """Start it, with the archive that it has."""
        self._process = self._context.Process(target=run, args=self._arguments, daemon=True)
        self._process.start()

    def kill(self) -> None:
        """Kill it with ``kill -9``."""
        if self._process is not None:
            self._process.kill()
            self._process.join()

    def wait(self) -> None:
        """Wait until it has ended by itself.

        Raises:
            RuntimeError: If it failed.
        """
        assert self._process is not None
        self._process.join(60)
        if self._process.exitcode != 0:
            raise RuntimeError(f"an application ended: {self.log.read_text()[-2000:]}")

    @property
    def calls(self) -> int:
        """How many calls have returned."""
        return int(self._board[0])

    @property
    def cpu(self) -> float:
        """CPU seconds, but for a tenth of a second before a kill."""
        return self._board[1]

    @property
    def shipping(self) -> float:
        """CPU seconds of the thread that ships, which are in `cpu` too."""
        return self._board[2]

    @property
    def starts(self) -> int:
        """How often it was started."""
        return int(self._board[3])


class Fleet:
    """Applications, their agents, a gateway, and two stores.

    Args:
        place: A directory for everything.
        applications: How many.
        agents: How many; applications take turns to choose theirs.
        rate: Events a second of all applications.
    """

    def __init__(self, place: Path, applications: int, agents: int, rate: float) -> None:
        self.place = place
        self._started: list[Part] = []
        self.applications: list[Application] = []
        self._count = applications
        try:
            self._build(agents)
            self.control = Board(place / "control")
            self.rate(rate)
            self.control[0] = PAUSED
            for number in range(applications):
                self.applications.append(
                    Application(
                        number,
                        place / "applications" / str(number),
                        self.agents[number % agents].server.http,
                        place / "control",
                    )
                )
        except BaseException:
            self.close()
            raise

    def _build(self, agents: int) -> None:
        clickhouse = ClickHouse(self.place / "clickhouse")
        self.clickhouse = self._add("ClickHouse", clickhouse)
        clickhouse.prepare()
        victoria = VictoriaLogs(self.place / "victorialogs")
        self.victorialogs = self._add("VictoriaLogs", victoria)
        program = binary()
        files = ["gateway.yaml", "overlays/clickhouse.yaml", "overlays/victorialogs.yaml"]
        stores = {**clickhouse.collector, "VICTORIALOGS_ENDPOINT": victoria.url}
        gateway = Collector(program, self.place / "gateway", *files, environment=stores)
        self.gateway = self._add("gateway", gateway)
        where = {"GATEWAY_HOST": "127.0.0.1", "GATEWAY_PORT": str(gateway.port)}
        self.agents = [
            self._add(
                f"agent{number}",
                Collector(program, self.place / f"agent{number}", "agent.yaml", environment=where),
            )
            for number in range(agents)
        ]

    def _add(self, name: str, server: Any) -> Part:
        part = Part(name, server, self.place / name.lower())
        self._started.append(part)
        return part

    def close(self) -> None:
        """End all of it, at once."""
        for one in (*self.applications, *reversed(self._started)):
            with suppress(OSError, psutil.Error):
                one.kill()

    # --- what it does ----------------------------------------------------------------------

    def rate(self, events: float) -> None:
        """Let all applications together make so many events a second."""
        self.control[1] = events / self._count

    def run(self, seconds: float = 0.0) -> None:
        """Let the applications work; return after so many seconds."""
        self.control[0] = RUNNING
        time.sleep(seconds)

    def pause(self) -> None:
        """Let the applications wait."""
        self.control[0] = PAUSED
        time.sleep(0.3)  # each looks every tenth of a second

    def stop(self) -> None:
        """Let the applications end, as they do in peace.

        Raises:
            RuntimeError: If one of them failed.
        """
        self.control[0] = STOPPED
        for application in self.applications:
            application.wait()

    @property
    def calls(self) -> int:
        """How many calls have returned, in all applications."""
        return sum(one.calls for one in self.applications)

    # --- what it has -----------------------------------------------------------------------

    def recorded(self) -> int:
        """How many events all archives have."""
        return sum(newest_of(one.archive)[0] for one in self.applications)

    def unsent(self) -> int:
        """How many of them no agent has acknowledged."""
        found = 0
        for one in self.applications:
            newest, known = newest_of(one.archive)
            found += max(0, newest - known)
        return found

    def wire(self) -> dict[str, dict[str, int]]:
        """Bytes that arrived at each kind of server until now, by its open connections."""
        ports = {
            "agent": [int(part.server.http.rpartition(":")[2]) for part in self.agents],
            "gateway": [self.gateway.server.port],
            "ClickHouse": [self.clickhouse.server.port],
            "VictoriaLogs": [self.victorialogs.server.port],
        }
        return {
            name: {where: size for port in of for where, size in received(port).items()}
            for name, of in ports.items()
        }

    def queued(self) -> int:
        """Bytes that wait in the collectors' queues; those of one that is down do not count."""
        found = 0
        for part in (*self.agents, self.gateway):
            with suppress(OSError):
                found += queue_size(part.server)
        return found

    def held(self) -> dict[str, dict[str, int]]:
        """By store: ``events``, different ones; ``seen``, rows of a query; ``records``, stored."""
        view, stored = (
            self.clickhouse.server.query(sql)[0]
            for sql in (
                "SELECT uniqExact(event_id) AS events, count() AS seen FROM audit_events",
                "SELECT count() AS records FROM audit_events_stored",
            )
        )
        self.victorialogs.server.flush()
        count = 'count_uniq("log.record.uid") events, count() records'
        (raw,) = self.victorialogs.server.query(f"{_EVENTS} | stats {count}")
        (once,) = self.victorialogs.server.query(f'{ONCE} | stats count("log.record.uid") seen')
        return {
            "ClickHouse": {**view, **stored},
            "VictoriaLogs": {name: int(n) for name, n in {**raw, **once}.items()},
        }

    def stores(self) -> dict[str, str]:
        """By name, the URL for ``--store``."""
        return {
            "ClickHouse": f"clickhouse+{self.clickhouse.server.url}",
            "VictoriaLogs": f"victorialogs+{self.victorialogs.server.url}",
        }


_EVENTS = '"audit.sequence.number":*'
#: VictoriaLogs keeps what comes twice: this is each event once, whole.
ONCE = f'{_EVENTS} | first 1 by (_time) partition by ("log.record.uid")'


def newest_of(archive: Path) -> tuple[int, int]:
    """Number of the newest event in an archive, and of the newest that was acknowledged."""
    newest = known = 0
    for writer in writers_in(archive):
        newest += newest_number(archive, writer)
        known += acknowledged(archive, writer)[0]
    return newest, known


def queue_size(collector: Any) -> int:
    """Bytes in its queues, sent ones that were not answered yet included."""
    sizes = re.findall(
        r"^otelcol_exporter_queue_size\{[^}]*\} (\S+)$", collector.telemetry(), re.MULTILINE
    )
    return int(sum(map(float, sizes)))


def disk(directory: Path, pattern: str = "**/*") -> int:
    """Bytes that files take on the disk."""
    found = 0
    for path in directory.glob(pattern):
        with suppress(OSError):  # merged meanwhile
            if not path.is_dir():
                found += 512 * path.lstat().st_blocks
    return found


def received(port: int) -> dict[str, int]:
    """Bytes that arrived at a port, by connection, of those that are open now (Linux)."""
    command = ["ss", "-tinHO", "state", "established", f"( sport = :{port} )"]
    told = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    found = {}
    for line in told.splitlines():
        size = re.search(r"bytes_received:(\d+)", line)
        if size:
            found[" ".join(line.split()[2:4])] = int(size[1])
    return found
