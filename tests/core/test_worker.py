"""One background thread for whatever is done again and again."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import textwrap
import threading
from weakref import ref

import pytest
from conftest import until

from axon_audit_otel.core import worker as workers
from axon_audit_otel.core.worker import Worker


class Job:
    """Counts its steps; *answers* are what they return, or raise, one after another."""

    def __init__(self, *answers: float | BaseException | None) -> None:
        self.answers = list(answers)
        self.steps = 0
        self.thread: threading.Thread | None = None

    def step(self) -> float | None:
        self.thread = threading.current_thread()
        self.steps += 1
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, BaseException):
            raise answer
        return answer


async def test_again_and_again() -> None:
    """It goes on as long as the work says when; then the thread ends, and another begins when
    there is more to do."""
    job = Job(0.0, 0.01, 0.0)
    worker = Worker("axon-audit-test", job.step)
    assert not worker.is_running
    assert worker.start()
    await until(lambda: job.steps == 4 and not worker.is_running)
    assert job.thread is not None
    assert (job.thread.name, job.thread.daemon) == ("axon-audit-test", True)
    worker.wake()
    await until(lambda: job.steps == 5 and not worker.is_running)


async def test_woken() -> None:
    """A wake does not wait for the time that the work returned."""
    job = Job(3600.0, 3600.0)
    worker = Worker("axon-audit-test", job.step)
    worker.start(wait=3600.0)
    assert job.steps == 0
    worker.wake()
    await until(lambda: job.steps == 1)
    worker.wake()
    await until(lambda: job.steps == 2)
    worker.close()


async def test_woken_while_it_works() -> None:
    """Work that is asked for during a step is done by a further one, also by one that was the
    last."""
    begun, go_on = threading.Event(), threading.Event()

    class Slow(Job):
        def step(self) -> float | None:
            answer = super().step()
            begun.set()
            go_on.wait(60)
            return answer

    job = Slow()
    worker = Worker("axon-audit-test", job.step)
    worker.start()
    begun.wait(60)
    worker.wake()
    go_on.set()
    await until(lambda: job.steps == 2 and not worker.is_running)


async def test_no_wake_is_lost() -> None:
    """Of many that come while the thread is about to end, none remains undone."""

    class Keeping:
        wanted = done = 0

        def step(self) -> float | None:
            self.done = self.wanted
            return None

    keeping = Keeping()
    worker = Worker("axon-audit-test", keeping.step)
    for number in range(2000):
        keeping.wanted += 1
        worker.wake()
        if not number % 50:
            await until(lambda: keeping.done == keeping.wanted)
    await until(lambda: keeping.done == keeping.wanted and not worker.is_running)


@pytest.mark.parametrize(
    "error", [ValueError, SystemExit, KeyboardInterrupt, asyncio.CancelledError, MemoryError]
)
async def test_exceptions(error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """None ends the thread; each is reported, and what the report raises is dropped."""
    monkeypatch.setattr(workers, "_RETRY_S", (0.01, 0.02))
    reported: list[BaseException] = []

    def fault(exc: BaseException) -> None:
        reported.append(exc)
        raise error("of a logging handler")

    errors = [error("first"), error("second"), error("third")]
    job = Job(*errors)
    worker = Worker("axon-audit-test", job.step, fault)
    worker.start()
    await until(lambda: job.steps == 4 and not worker.is_running)
    assert reported == errors


async def test_it_keeps_nobody_alive() -> None:
    """The thread ends with the object that it works for, however long it would have waited."""
    ended = threading.Event()
    jobs = [Job(3600.0)]
    worker = Worker("axon-audit-test", jobs[0].step, ended=ended.set)
    worker.start()
    await until(lambda: jobs[0].steps == 1)
    gone = ref(jobs.pop())
    gc.collect()
    assert gone() is None
    await until(ended.is_set)


async def test_closed() -> None:
    """It ends when it is closed, and does not start any more."""
    ended = threading.Event()
    job = Job(3600.0)
    worker = Worker("axon-audit-test", job.step, ended=ended.set)
    worker.start()
    await until(lambda: job.steps == 1)
    worker.close()
    await until(ended.is_set)
    steps = job.steps
    worker.wake()
    await until(lambda: not worker.is_running)
    assert job.steps == steps == 1


def test_no_more_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no thread can be started, that is said and not raised; later there may be one."""

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    job = Job()
    worker = Worker("axon-audit-test", job.step)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert not worker.start()
        assert not worker.wake()
    assert worker.wake()


_SCRIPT = """
    import os, sys, threading
    from axon_audit_otel.core.worker import Worker

    class Job:
        def __init__(self):
            self.done = threading.Event()
        def step(self):
            self.done.set()
            return 3600.0

    job = Job()
    worker = Worker("axon-audit-test", job.step)
"""


def _run(source: str) -> str:
    script = textwrap.dedent(_SCRIPT) + textwrap.dedent(source)
    command = [sys.executable, "-W", "ignore", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    return done.stdout


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_forked() -> None:
    """A child has a thread of its own, whatever its parent's does."""
    printed = _run(
        """
        worker.start()
        job.done.wait()
        child = os.fork()
        if not child:
            job.done = threading.Event()
            assert not worker.is_running
            assert worker.wake()
            job.done.wait()
            print("child", flush=True)
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert worker.is_running
        print("parent")
        """
    )
    assert printed.split() == ["child", "parent"]


@pytest.mark.parametrize(
    "end", ["worker.start(); job.done.wait()", "import atexit; atexit.register(worker.wake)"]
)
def test_the_interpreter_ends(end: str) -> None:
    """A thread that waits, or cannot start any more, does not hold up the end of a program."""
    _run(end)
