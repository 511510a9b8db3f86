"""A real Redis of the tests' own."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
import redis
from collector import free_port


class RedisServer:
    """A `redis-server` of the tests' own: free port, own directory, nothing kept."""

    def __init__(self, program: str, directory: Path) -> None:
        self.port = free_port()
        self._log = (directory / "redis.log").open("wb")
        self._process = subprocess.Popen(
            [
                *(program, "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(directory), "--save", "", "--appendonly", "no"),
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        try:
            self._wait()
        except BaseException:
            self.stop()
            raise

    def _wait(self) -> None:
        deadline = time.monotonic() + 60
        with redis.Redis(port=self.port) as client:
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    code = self._process.poll()
                    if code is not None or time.monotonic() > deadline:
                        log = Path(self._log.name).read_text()
                        raise RuntimeError(f"redis-server ({code}) said:\n{log}") from None
                    time.sleep(0.02)

    def flush(self) -> None:
        with redis.Redis(port=self.port) as client:
            client.flushall()

    def stop(self) -> None:
        """End this very process."""
        self._process.terminate()
        self._process.wait()
        self._log.close()


def start(directory: Path) -> RedisServer:
    program = shutil.which("redis-server")
    if program is None:
        reason = "redis-server is not installed (Debian, Ubuntu: apt-get install redis-server)"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}; in CI that is no reason to skip")
        pytest.skip(reason)
    return RedisServer(program, directory)
