"""One application of the fleet: a process with a memory, an archive, and a collector to ship to."""

from __future__ import annotations

import asyncio
import logging
import mmap
import os
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random

from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy

from axon_audit_otel import AuditLogger
from axon_audit_otel.memory_system import MemorySystem

__all__ = ["PAUSED", "RUNNING", "STOPPED", "Board", "run"]

RUNNING, PAUSED, STOPPED = 1.0, 2.0, 3.0
_TURN_S = 0.1  # how often it does what is due
_FORGET = 40  # stores after which the memory begins anew: a recall looks at every entry


class Board:
    """Numbers in a file that two processes share; they outlive ``kill -9``.

    Args:
        path: The file. It is made if it is missing.
        size: How many numbers.
    """

    def __init__(self, path: Path, size: int = 4) -> None:
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if os.fstat(file).st_size < 8 * size:
                os.ftruncate(file, 8 * size)
            self._map = mmap.mmap(file, 8 * size)
        finally:
            os.close(file)

    def __getitem__(self, place: int) -> float:
        return float(struct.unpack_from("d", self._map, 8 * place)[0])

    def __setitem__(self, place: int, value: float) -> None:
        struct.pack_into("d", self._map, 8 * place, value)


def run(number: int, directory: Path, endpoint: str, control: Path) -> None:
    """Be an application, until the control board says ``STOPPED``.

    Args:
        number: Which one.
        directory: Its own; ``audit`` in it is the archive, ``log`` has what it says on stderr.
        endpoint: The collector.
        control: The board of all: what to do, and events a second of each application.
    """
    log = os.open(directory / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(log, 2)
    os.nice(5)  # fifty of them leave the servers their share of a small machine
    logging.getLogger("axon").setLevel(logging.WARNING)  # one JSON line a call, else
    logging.basicConfig(stream=sys.stderr)
    # calls that returned; CPU seconds of the process, of its shipping; starts
    board = Board(directory / "board")
    board[3] += 1
    asyncio.run(_work(number, directory / "audit", endpoint, Board(control), board))


async def _work(number: int, archive: Path, endpoint: str, control: Board, board: Board) -> None:
    random = Random(number * 1000 + int(board[3]))
    spent = board[1], board[2]  # before it was killed
    with AuditLogger(auto_export_path=archive, ship_to=endpoint) as audit:
        users = _calls(audit, random, board)
        await asyncio.sleep(random.random() * _TURN_S)
        begun, due = time.monotonic(), 0.0
        while control[0] != STOPPED:
            now = time.monotonic()
            if control[0] == RUNNING:
                due = min(due + (now - begun) * control[1], 10 * control[1])
            begun = now
            while due >= 1:
                due -= 1
                await users.__anext__()
            board[1], board[2] = spent[0] + time.process_time(), spent[1] + _shipping()
            await asyncio.sleep(_TURN_S)


async def _calls(audit: AuditLogger, random: Random, board: Board):  # type: ignore[no-untyped-def]
    """Each turn is one call of a memory, which makes one event."""
    policy = PersistentPolicy(
        adapter_type="memory", compaction_threshold=100_000, compaction_strategy="count"
    )
    config = MemoryConfig(persistent=policy, default_tier="persistent")
    while True:
        memory = MemorySystem(config, audit_logger=audit)
        for _ in range(_FORGET):
            user, session = f"user-{random.randrange(5000)}", f"session-{random.randrange(10**9)}"
            text = f"{user} prefers {random.choice(_WISHES)} when it is {random.randrange(24)} h"
            await memory.store(text, {"user_id": user}, user_id=user, session_id=session)
            board[0] += 1
            yield
            reader = f"user-{random.randrange(5000)}"
            await memory.recall(text, k=random.randrange(1, 6), user_id=reader, session_id=session)
            board[0] += 1
            yield


_WISHES = ["tea without milk", "a window seat", "short answers", "trains", "the quiet room"]


def _shipping() -> float:
    """CPU seconds of the thread that ships (Linux; elsewhere 0.0)."""
    for thread in threading.enumerate():
        if thread.name == "axon-audit-ship":
            with suppress(OSError):
                told = Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text()
                return int(told.split()[0]) / 1e9
    return 0.0
