"""Reads sealed files ahead, in other processes.

Each is a Python of its own that talks over a socket, and gets nothing else from this process: so it
does not matter what threads, event loops, locks or main module this one has. Where none can be
started, or one dies, files are read in this process, which then finds the same.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from itertools import islice
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

import msgspec

from .file_reading import Job, Reading, read_sealed
from .key_check import KeyCheck

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["FileReader", "cores", "serve"]

_WORTH = 1 << 27  # bytes of sealed files for each process: less is read before it is there
_START_S = 0.0  # how long this process waits for the others before it begins to read
_MOST = 8  # processes, unless more are asked for
_AHEAD = 2  # files that a process has to do
_LONGEST = 1 << 12  # bytes of a job: the process may be busy, and some systems buffer few
_SIZE = 8  # bytes that say the length of a message
_BLOCK = 1 << 18
_READY = b"ready"  # the first message of a process
_PROGRAM = (
    "import sys; sys.path[:] = sys.argv[4:];"
    f"from {__name__} import serve; serve(int(sys.argv[1]), sys.argv[2], sys.argv[3])"
)

_encode = msgspec.msgpack.Encoder().encode
_job_in = msgspec.msgpack.Decoder(Job).decode
_reading_in = msgspec.msgpack.Decoder(Reading | None).decode


def cores() -> int:
    """The number of processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class FileReader:
    """Reads sealed files, in other processes if that is worth it.

    Args:
        directory: The archive.
        erasable: The directory of its keys; None: beside it.
        size: Bytes of the files.
        jobs: How many processes at most; 1: only this one. Default: as many as there are
            processors, and at most 8.
    """

    def __init__(
        self, directory: Path, erasable: Path | None, size: int, jobs: int | None = None
    ) -> None:
        most = min(cores(), _MOST) if jobs is None else jobs
        self._count = min(most, size // _WORTH)
        self._places = directory, erasable
        self._keys: KeyCheck | None = None  # of this process
        self._stack = ExitStack()
        self._processes: list[_Process] = []
        self._selector: selectors.BaseSelector | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._stack.close()

    def read(self, jobs: Iterable[Job | None]) -> Iterator[Reading | None]:
        """Yield what each file has, in order; None: it is to be read where its trail is known.

        Args:
            jobs: The files; None is yielded for None.
        """
        self._start()
        left, waiting = iter(jobs), deque[_Task]()
        while True:
            self._wait(0.0)
            living = [process for process in self._processes if process.is_alive]
            room = 2 * _AHEAD * len(living) + 1 - len(waiting)
            waiting.extend(map(_Task, islice(left, max(0, room))))
            self._hand_out(waiting, living)
            if not waiting:
                return
            task = waiting[0]
            if task.process is not None and not task.is_done:
                self._wait(None)
                continue
            waiting.popleft()
            if task.is_done:
                yield task.reading
            elif task.job is not None and task.job.by_digest:
                yield self._read_here(task.job)
            else:
                yield None  # line by line: that needs no reading before

    # --- the processes -----------------------------------------------------------------------

    def _start(self) -> None:
        if self._selector is not None or self._count < 2:
            return
        self._selector = self._stack.enter_context(selectors.DefaultSelector())
        for _ in range(self._count):
            try:
                process = _Process(*self._places)
            except (OSError, ValueError, subprocess.SubprocessError):
                return  # this machine lets us have no more
            self._stack.callback(process.end)
            self._processes.append(process)
            self._selector.register(process.socket, selectors.EVENT_READ, process)
        until = monotonic() + _START_S
        while (left := until - monotonic()) > 0 and any(p.is_starting for p in self._processes):
            self._wait(left)

    def _hand_out(self, waiting: Iterable[_Task], living: list[_Process]) -> None:
        """Give jobs to the processes that have too little to do."""
        for task in waiting:
            idle = [one for one in living if one.is_ready and len(one.tasks) < _AHEAD]
            if not idle:
                return
            if task.job is not None and task.process is None and not task.is_ours:
                min(idle, key=lambda process: len(process.tasks)).give(task)

    def _read_here(self, job: Job) -> Reading | None:
        if self._keys is None:
            self._keys = KeyCheck(*self._places)
        return read_sealed(job, self._keys)

    def _wait(self, seconds: float | None) -> None:
        """Wait until a process answers, or is dead."""
        if self._selector is None or not self._selector.get_map():
            return
        for key, _ in self._selector.select(seconds):
            process: _Process = key.data
            process.take()
            if not process.is_alive:
                self._selector.unregister(process.socket)


class _Task:
    """A file to read.

    Attributes:
        job: What is to be done; None: nothing.
        process: Who does it; None: nobody yet.
        reading: The answer.
        is_done: True if there is one.
        is_ours: True if this process has to do it, or has the answer.
    """

    def __init__(self, job: Job | None) -> None:
        self.job = job
        self.process: _Process | None = None
        self.reading: Reading | None = None
        self.is_done = self.is_ours = False


class _Process:
    """A process that reads files.

    Args:
        directory: The archive.
        erasable: The directory of its keys; None: beside it.

    Attributes:
        socket: To it.
        tasks: What it has to do, in order.
        is_ready: True when it has said that it is there.
        is_alive: False from when it was seen dead.

    Raises:
        OSError: If it cannot be started.
    """

    def __init__(self, directory: Path, erasable: Path | None) -> None:
        is_python = Path(sys.executable or "").name.startswith(("python", "pypy"))
        if not is_python or getattr(sys, "frozen", False):
            raise OSError("Python is part of another program")
        self.tasks: deque[_Task] = deque()
        self.is_ready, self.is_alive = False, True
        self._received = bytearray()
        self.socket, theirs = socket.socketpair()
        try:
            with theirs:
                if theirs.fileno() < 3:  # standard input and output are closed
                    raise OSError("no standard streams")
                given = [str(theirs.fileno()), _absolute(directory), _absolute(erasable)]
                texts = [path for path in sys.path if isinstance(path, str)]
                paths = [path for path in texts if Path(path).is_absolute()]
                self._process = subprocess.Popen(  # noqa: S603 - this Python, and nothing typed
                    [sys.executable, "-I", "-B", "-c", _PROGRAM, *given, *paths],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=[theirs.fileno()],
                )
        except BaseException:
            self.socket.close()
            raise

    @property
    def is_starting(self) -> bool:
        """True if it may still say that it is there."""
        return self.is_alive and not self.is_ready

    def give(self, task: _Task) -> None:
        """Give it a file to read, if it can take one."""
        try:
            message = _encode(task.job)
            if len(message) > _LONGEST:
                raise ValueError("too long")
            self.socket.sendall(_framed(message))
        except OSError:
            self._die()
        except (ValueError, TypeError, msgspec.MsgspecError):
            task.is_ours = True  # it cannot be said: a file name that is no text
        else:
            task.process = self
            self.tasks.append(task)

    def take(self) -> None:
        """Take what it answers."""
        data = b""
        with suppress(OSError):
            data = self.socket.recv(_BLOCK)
        if not data:
            self._die()
            return
        self._received += data
        while len(self._received) >= _SIZE:
            end = _SIZE + int.from_bytes(self._received[:_SIZE], "big")
            if len(self._received) < end:
                return
            message = bytes(self._received[_SIZE:end])
            del self._received[:end]
            if message == _READY:
                self.is_ready = True
                continue
            try:
                self.tasks[0].reading = _reading_in(message)
            except (IndexError, msgspec.MsgspecError):
                self._die()  # that is no answer
                return
            task = self.tasks.popleft()
            task.is_done = task.is_ours = True

    def _die(self) -> None:
        """Do without it: what it had to do is done elsewhere."""
        self.is_alive = False
        for task in self.tasks:
            task.process = None
        self.tasks.clear()

    def end(self) -> None:
        """End it, whatever it is doing."""
        self.socket.close()
        self._process.kill()
        self._process.wait()


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(_SIZE, "big") + message


def _absolute(path: Path | None) -> str:
    return str(path.absolute()) if path else ""


# --- in the process ----------------------------------------------------------------------------


def serve(descriptor: int, directory: str, erasable: str) -> None:
    """Read the files that come over a socket, until it is closed.

    Args:
        descriptor: Of the socket.
        directory: The archive.
        erasable: The directory of its keys; "": beside it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the other process ends us
    keys = KeyCheck(Path(directory), Path(erasable) if erasable else None)
    with socket.socket(fileno=descriptor) as to, to.makefile("rb") as jobs:
        to.sendall(_framed(_READY))
        while size := jobs.read(_SIZE):
            job = _job_in(jobs.read(int.from_bytes(size, "big")))
            to.sendall(_framed(_encode(read_sealed(job, keys))))
