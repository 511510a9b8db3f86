"""Readers of an archive whose writer is at work: whatever the two do at the same time, in
whichever order their calls into the file system come, nothing is missing, twice, or damage."""

from __future__ import annotations

import asyncio
import gc
import itertools
import random
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, verify
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.archive.cursor import Cursor
from axon_audit_otel.archive.follow import Follower
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.model import decode
from axon_audit_otel.events.query import Query

PER_FILE = 2
TURNS = 10
KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)

#: Calls that show somebody an archive, and those that change what others see of it.
_SEES = {"open", "stat", "lstat", "fstat", "scandir", "listdir"}
_CHANGES = {"open", "write", "link", "unlink", "remove", "rename", "replace", "ftruncate"}


class Steps:
    """Runs *work* in a thread that stops before each of its *calls* into the file system."""

    def __init__(self, work: Callable[[], Any], calls: set[str]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._work, self._calls = work, calls
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self.ended = False  # whether it has returned
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def _run(self) -> None:
        try:
            self._stop()
            sys.setprofile(self._before)
            self.result = self._work()
        except BaseException as exc:
            self.error = exc
        finally:
            sys.setprofile(None)
            self.ended = True
            self._stopped.release()

    def _before(self, _frame: object, kind: str, call: Any) -> None:
        if kind == "c_call" and call.__name__ in self._calls:
            self._stop()

    def _stop(self) -> None:
        self._stopped.release()
        self._go.acquire()

    def step(self, calls: int = 1) -> bool:
        """On by so many calls; whether there are more."""
        for _ in range(calls):
            if not self.ended:
                self._go.release()
                self._stopped.acquire()
        return not self.ended

    def finish(self) -> Any:
        """On to the end; what *work* returned."""
        while self.step():
            pass
        self._thread.join()
        if self.error is not None:
            raise self.error
        return self.result


def record(audit: AuditLogger, count: int) -> None:
    """Log events."""

    async def work() -> None:
        for _ in range(count):
            await audit.log_event("STORE", "alice")

    asyncio.run(work())


class Reader:
    """Reads an archive. Its *known* first events were there before it began."""

    def __init__(self, archive: Path, known: int) -> None:
        self.archive = archive
        self.known = known

    def read(self) -> None:
        """Read what is there, and judge it."""

    def end(self) -> None:
        """The writer has ended: judge everything."""
        self.read()

    def judge(self, numbers: list[int], known: int) -> None:
        """Every event once, in order."""
        assert numbers == list(range(1, max(known, len(numbers)) + 1)), numbers


class Verifying(Reader):
    """`verify`."""

    def read(self) -> None:
        report = verify(self.archive, [PUBLIC])
        findings = report.findings
        if self.known < 2:  # the first checkpoint is made after the first seal
            findings = [finding for finding in findings if finding.kind != "wrong_key"]
        assert not findings, (findings, sorted(p.name for p in self.archive.iterdir()))
        (writer,) = report.writers
        assert writer.last_sequence is not None
        assert writer.last_sequence >= self.known, writer
        assert writer.proved_until is not None or self.known < 2, writer


class Searching(Reader):
    """A query."""

    def read(self) -> None:
        found = search(self.archive, Query(), oldest_first=True)
        self.judge([event.sequence for event in found], self.known)


class Shipping(Reader):
    """A cursor: what it does not see now, it sees later."""

    def __init__(self, archive: Path, known: int) -> None:
        super().__init__(archive, known)
        self._cursor = Cursor(archive, "busy")
        self._found: list[int] = []

    def read(self) -> None:
        while lines := self._cursor.read(1000, 1 << 20):
            self._found += [decode(line).sequence for line in lines]
        self.judge(self._found, 0)

    def end(self) -> None:
        self.read()
        self._cursor.close()
        assert self._cursor.lost["deleted"] == 0
        self.judge(self._found, self.known)


class Following(Reader):
    """``tail -f``: the same."""

    def __init__(self, archive: Path, known: int) -> None:
        super().__init__(archive, known)
        self._follower = Follower(archive)
        self._found: list[int] = []

    def read(self) -> None:
        self._found += [event.sequence for event in self._follower.poll(Missing(strict=True))]
        self.judge(self._found, 0)

    def end(self) -> None:
        self.read()
        self._follower.close()
        self.judge(self._found, self.known)


pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("no_finalizers"),
    pytest.mark.usefixtures("without_start_record"),
]
READERS = [Verifying, Searching, Shipping, Following]


class Scene:
    """A writer whose file is half full, and a reader, each about to begin."""

    def __init__(self, directory: Path, kind: type[Reader], before: int, compress: bool) -> None:
        self.audit = AuditLogger(
            PER_FILE,
            directory,
            name="busy",
            registry=CollectorRegistry(),
            logger_provider=LoggerProvider(shutdown_on_exit=False),
            signing_key=KEY,
            compress=compress,
        )
        record(self.audit, before)
        self._judge = kind(directory, before)
        self.reader = Steps(self._judge.read, _SEES)
        self.writer = Steps(self._write, _CHANGES)

    def _write(self) -> None:
        self.audit.trail.tick()  # compresses what was sealed, while the journal stays
        record(self.audit, PER_FILE + 1)
        self.audit.close()

    def end(self) -> None:
        """First the reader ends, then the writer, then the reader looks once more."""
        try:
            self.reader.finish()
        finally:
            self.writer.finish()
        self._judge.end()
        gc.collect()


@pytest.mark.parametrize(
    ("before", "compress"), [(1, False), (3, True)], ids=["first", "compressed"]
)
@pytest.mark.parametrize("kind", READERS)
class TestInterleaved:
    """A reader beside a writer."""

    def test_any_order(
        self, tmp_path: Path, kind: type[Reader], before: int, compress: bool
    ) -> None:
        """They take turns at random."""
        Scene(tmp_path / "first", kind, before, compress).end()  # what is imported late, is
        for seed in range(TURNS):
            turns = random.Random(seed)
            scene = Scene(tmp_path / str(seed), kind, before, compress)
            for who in [scene.reader, scene.writer] * 2:
                who.step(turns.randrange(40))
            scene.end()

    @pytest.mark.slow
    def test_each_place(
        self, tmp_path: Path, kind: type[Reader], before: int, compress: bool
    ) -> None:
        """Wherever the reader is (or at every third place), whatever the writer does meanwhile."""
        for read in itertools.count(step=3 if compress else 1):
            for written in itertools.count():
                scene = Scene(tmp_path / f"{read}-{written}", kind, before, compress)
                more = scene.reader.step(read), scene.writer.step(written)
                scene.end()
                if not more[1]:
                    break
            if not more[0]:
                break


@pytest.mark.slow
@pytest.mark.parametrize("kind", READERS)
def test_killed(tmp_path: Path, kind: type[Reader]) -> None:
    """Wherever a writer was killed, what it left can be read to an end."""
    for written in itertools.count():
        left = tmp_path / f"{written}-left"
        scene = Scene(tmp_path / str(written), Reader, 1, False)
        more = scene.writer.step(written)
        subprocess.run(["cp", "-a", tmp_path / str(written), left], check=True)  # hard links, too
        scene.reader.finish()
        scene.writer.finish()
        kind(left, 0 if kind is Shipping else 1).end()  # a cursor goes by the manifest
        if not more:
            break
