"""A real Kafka of the tests' own: one broker, which is its own controller."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
from pathlib import Path

from collector import free_port, program, wait

__all__ = ["Kafka"]

_POM = Path(__file__).resolve().parent / "kafka" / "pom.xml"
_CLUSTER = "AAAAAAAAAAAAAAAAAAAAAA"
_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
num.partitions=3
offsets.topic.replication.factor=1
group.initial.rebalance.delay.ms=0
log.flush.interval.messages=1
"""


def _jars() -> Path:
    """The directory of Kafka's programs, from Maven, kept in the user's cache."""
    digest = hashlib.sha256(_POM.read_bytes()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "axon-audit-otel"
    target = cache / f"kafka-{digest}"
    if not target.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        maven = program("mvn", "maven")
        made = target.with_suffix(".new")
        copy = [
            "dependency:copy-dependencies",
            f"-DoutputDirectory={made}",
            "-DincludeScope=runtime",
        ]
        subprocess.run([maven, "-q", "-B", "-f", str(_POM), *copy], check=True)
        made.replace(target)
    return target


class Kafka:
    """A Kafka with its default limits on a free port, that keeps its data in *directory*.

    Attributes:
        address: Host and port.
    """

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self._java = [program("java", "default-jre-headless"), "-Xmx512m", "-cp", f"{_jars()}/*"]
        self._settings = directory / "server.properties"
        ports = {"port": self._port, "controller": free_port()}
        self._settings.write_text(_PROPERTIES.format(data=directory / "data", **ports))
        format_it = ["kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(self._settings)]
        subprocess.run([*self._java, *format_it], check=True, capture_output=True)
        self.start()

    def start(self) -> None:
        """Start it with the data that it has, and return when it takes connections."""
        with (self._directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._java, "kafka.Kafka", str(self._settings)], stdout=log, stderr=log
            )
        wait(self._ready)

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError((self._directory / "log").read_text()[-4000:])
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self._port)) == 0

    def kill(self) -> None:
        """Kill it, as the system does when memory is short."""
        self._process.kill()
        self._process.wait()
