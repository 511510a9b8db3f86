"""Each program in examples/ does what its page says, on what it is for."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from collector import free_port
from conftest import archived
from redis_server import start

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])


def _run(*command: str, directory: Path) -> str:
    done = subprocess.run(
        command,
        cwd=directory,
        env={**os.environ, "PATH": _PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.component
@pytest.mark.parametrize("name", ["langgraph", "mem0", "mcp"])
def test_other_memories(name: str, tmp_path: Path) -> None:
    """The examples of other memories run without a network, and leave an archive that is whole."""
    said = _run("python", f"{EXAMPLES}/{name}_memory.py", directory=tmp_path)
    assert f"now: axon-audit verify {name}_audit" in said
    verified = _run("axon-audit", "verify", f"{name}_audit", directory=tmp_path)
    assert "No damage was found." in verified


@pytest.mark.component
def test_fastapi(tmp_path: Path) -> None:
    """Each request's operations have its user, also when requests are many at once."""
    import httpx

    port = free_port()
    server = subprocess.Popen(
        [
            *(sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "fastapi_app:app"),
            *("--port", str(port), "--log-level", "warning"),
        ],
        cwd=tmp_path,
    )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
            deadline = time.monotonic() + 60
            while True:
                try:
                    client.get("/openapi.json")
                    break
                except httpx.ConnectError:
                    assert server.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            for user in ("alice", "bob"):
                client.post("/memories", params={"text": "tea"}, headers={"x-user": user})
            found = client.get("/memories", params={"query": "tea"}, headers={"x-user": "cyd"})
            assert found.json() == ["tea", "tea"]
    finally:
        server.terminate()
        server.wait()
    events = archived(tmp_path / "audit_logs")
    assert [(event.operation, event.user_id) for event in events] == [
        *(("STORE", "alice"), ("STORE", "bob"), ("RECALL", "cyd")),
    ]
    assert not list((tmp_path / "audit_logs").glob("*.journal"))  # a signal ended it; all is sealed


@pytest.mark.component
def test_celery(tmp_path: Path) -> None:
    """Worker processes that were forked write trails of their own, and none loses an event."""
    server = start(tmp_path)
    url = f"redis://127.0.0.1:{server.port}/0"
    environment = {**os.environ, "BROKER_URL": url, "PYTHONPATH": str(EXAMPLES)}
    worker = subprocess.Popen(
        [
            *(sys.executable, "-m", "celery", "-A", "celery_app", "worker"),
            *("--concurrency", "2", "--loglevel", "warning"),
        ],
        cwd=tmp_path,
        env=environment,
    )
    try:
        ask = (
            "from celery_app import remember\n"
            "asked = [remember.delay('tea', f'user {n}') for n in range(20)]\n"
            "print(len({one.get(timeout=120) for one in asked}))"
        )
        done = subprocess.run(
            [sys.executable, "-c", ask],
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        assert done.stdout == "20\n"
    finally:
        worker.terminate()
        worker.wait()
        server.stop()
    assert not list((tmp_path / "audit_logs").glob("*.journal"))  # each worker has sealed its own
    events = archived(tmp_path / "audit_logs")
    assert sorted(event.user_id for event in events) == sorted(f"user {n}" for n in range(20))
    assert "No damage was found." in _run("axon-audit", "verify", "audit_logs", directory=tmp_path)
