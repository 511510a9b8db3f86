"""Keeps a trail's events in its archive: writes them, tries again, seals, commits, signs."""

from __future__ import annotations

import asyncio
import errno
import math
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any
from weakref import ReferenceType

import msgspec

from ..archive.checkpoints import Checkpoint
from ..archive.clock import WallClock
from ..archive.group_commit import GroupCommit
from ..archive.journal import JournalChangedError
from ..archive.manifest import MANIFEST
from ..archive.retention import Upkeep
from ..archive.writer import Archive, Recovery
from ..core.files import append
from ..core.time import format_time
from ..core.turn import Turn
from .afterwards import Afterwards
from .buffer import Buffer
from .metrics import TrailMetrics
from .settings import Settings

__all__ = ["Keeper"]

Lock = AbstractContextManager[bool]

_RETRY_S = 1.0  # how long a failed archive is left alone
_RESTORES = 10  # of changed files that may follow at once, then one a second
_BATCH = 512  # events that durability="memory" holds back at most


class Keeper:
    """The archive of one trail. Its trail calls it under its lock, but for `tidy` and `send`.

    Args:
        settings: See `Settings`; `auto_export_path` is set.
        name: Name of the trail.
        metrics: The trail's.
        afterwards: Where failures are noted, and that what had failed works again.
        emit: Sends a checkpoint through OpenTelemetry (``checkpoint_to="otlp"``).

    Raises:
        ArchiveError: If the directory cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        metrics: TrailMetrics,
        afterwards: Afterwards,
        emit: Callable[[str], object],
    ) -> None:
        assert settings.auto_export_path is not None
        self._settings = settings
        self._directory: Path = settings.auto_export_path
        self._name = name
        self._metrics = metrics
        self._afterwards = afterwards
        self._fault = afterwards.fault
        self._emit = emit
        self._broken = False  # it failed, and did not work since
        self._lag = metrics.journal_lag()
        self._lagging = 0  # as the gauge says
        self._start = metrics.journal_start()
        self._retry_at = 0.0
        self._restored_at = 0.0
        self._restores: float = _RESTORES  # how many more may follow at once
        self.why = ""  # the newest failure, in words
        self._admitted: dict[str, bytes] = {}  # operations that run, and their intents
        self.unfinished: list[dict[str, Any]] = []  # admitted before a crash, no outcome
        self._checkpoint_at = -math.inf
        self._outbox: list[str] = []  # checkpoints that are not sent yet
        self._sending = Turn()
        self.lost: list[tuple[int, int, str]] = []  # first, last, why: not yet in a gap record
        self.recoveries: list[Recovery] = []
        self.archive: Archive | None = None
        self.archived = 0  # number of the newest event that is in a file
        self.start = 0  # number of the record `start`
        disk = settings.durability == "disk"
        self.commit = GroupCommit(self._written) if disk else None
        blocks = settings.on_failure == "block"
        self.intents = GroupCommit(self._intended) if disk and blocks else None
        self._lock: Lock | None = None
        self._holds_back = settings.durability == "memory"
        self._timed = self._holds_back or any(
            (
                settings.signing_key,
                settings.checkpoint_to,
                settings.max_file_age,
                settings.retention,
                settings.max_archive_bytes,
                settings.compress,
            )
        )
        self._file_age = settings.file_age
        self.clock = WallClock()
        self._upkeep = Upkeep(settings, afterwards, self.clock)

    def open(self, buffer: Buffer, lock: Lock) -> bytes | None:
        """Open the archive and go on where its last writer ended; returns its newest hash.

        Raises:
            ArchiveError: If the directory cannot be used.
        """
        self._lock = lock
        # Numbers that were given without an archive must not be there already.
        disk = self._settings.durability == "disk"
        fresh = len(buffer) > 0
        archive = Archive(self._directory, self._name, fresh, sync=disk, changed=self._put_back())
        if len(buffer):
            self.archive = archive
            return None
        if (last := archive.manifest.last) is not None:
            self.clock.start_after(max(last.last_time, last.sealed_at))
        self.unfinished = archive.unfinished()
        if archive.recoveries:
            self._attest(archive)  # we may be killed before the first that is due
        archive.recover_others(self._attest_other)
        self.recoveries, archive.recoveries = archive.recoveries, []
        self.archive = archive
        self.archived = archive.last_sequence
        buffer.reset(archive.last_sequence + 1)
        return None if archive.head is None else bytes.fromhex(archive.head)

    @property
    def stream(self) -> str:
        """What tells the archived events from those of every other trail; "" before the first."""
        return "" if self.archive is None else self.archive.stream

    @property
    def has_past(self) -> bool:
        """Whether there are events from before in the directory, of any writer."""
        return any(self._directory.glob(f"*{MANIFEST}"))

    @property
    def needs_clock(self) -> bool:
        """Whether there is something to do when nothing happens.

        Otherwise there is no thread: a program that forks is better off without.
        """
        return self._timed or bool(self._retry_at)

    # --- writing ---------------------------------------------------------------------------

    def keeps(self, buffer: Buffer) -> bool:
        """Whether every event is in a file, or held back as durability="memory" may."""
        held_back = self._holds_back and not self._broken
        return held_back or self.archived >= buffer.next - 1

    @property
    def waits(self) -> bool:
        """Whether the archive failed a moment ago and is left alone."""
        return bool(self._retry_at) and time.monotonic() < self._retry_at

    def wrote(self, buffer: Buffer, line: bytes, leaf: bytes, timestamp: str) -> None:
        """An event was appended to *buffer*: bring the journal up to it. Never raises."""
        number = buffer.next - 1
        held_back = min(_BATCH, buffer.capacity)
        if self._holds_back and not self.lost and number - self.archived < held_back:
            return
        if self._retry_at or self.archived != number - 1 or self.archive is None:
            self.catch_up(buffer)
            return
        stage = "journal"
        try:
            self._write(self.archive, line, leaf, number, timestamp)
            stage = "seal"
            self._seal_if_full()
        except OSError as exc:
            self.failed(stage, exc, buffer)

    def catch_up(self, buffer: Buffer) -> None:
        """Write what memory has and no file; leave a failed archive alone for a moment."""
        if self.waits:
            return
        stage = "journal"
        try:
            archive = self._opened(buffer)
            behind = range(max(self.archived + 1, buffer.first), buffer.next)
            lost = (self.archived + 1, behind.start - 1, self.why or "evicted")
            for number, line in zip(behind, buffer.lines(behind)):
                self._write(archive, line, *buffer.proof_of(number))
                if lost[0] <= lost[1] and number == behind.start:  # now that it works
                    self.lost.append(lost)
            if lost[0] <= lost[1] and not behind:
                self.lost.append(lost)
                self.archived = lost[1]
            stage = "seal"
            self._seal_if_full()
        except OSError as exc:
            self.failed(stage, exc, buffer)
            return
        self._retry_at = 0.0
        if self._broken:
            self._broken = False
            self._afterwards.restored()

    def _write(
        self, archive: Archive, line: bytes, leaf: bytes, number: int, timestamp: str
    ) -> None:
        archive.write(line, leaf, number, timestamp)
        self.archived = number
        if archive.count == 1:
            self._start.set_to_current_time()

    def measure(self, buffer: Buffer) -> None:
        """Let the gauge say how many events are in no file."""
        lagging = buffer.next - 1 - self.archived
        if lagging != self._lagging:
            self._lagging = lagging
            self._lag.set(lagging)

    def _opened(self, buffer: Buffer) -> Archive:
        if self.archive is None:
            assert self._lock is not None
            self.open(buffer, self._lock)
        assert self.archive is not None
        return self.archive

    def _seal_if_full(self) -> None:
        archive, settings = self.archive, self._settings
        if archive is None or not settings.enable_rotation or not archive.count or self.lost:
            return  # what is lost is told first: no checkpoint knows better than its gap
        if (
            self._counted(archive) >= settings.max_events
            or (settings.max_file_bytes is not None and archive.size >= settings.max_file_bytes)
            or (self._file_age is not None and archive.age >= self._file_age)
        ):
            self._seal(archive)

    def _counted(self, archive: Archive) -> int:
        """How many events the journal holds, without the record `start`."""
        return archive.count - (archive.first <= self.start < archive.first + archive.count)

    def failed(self, stage: str, exc: OSError, buffer: Buffer) -> None:
        """The archive failed: leave it alone for a moment, then write what is missing."""
        self._retry_at = time.monotonic() + _RETRY_S
        is_known, self._broken = self._broken, True
        self.why = f"{stage}: {exc.strerror or exc}"
        if isinstance(exc, JournalChangedError) and self.archive is not None:
            try:
                self._restore(self.archive, buffer, exc)
            except OSError as failure:
                exc = failure
                self.why = f"{stage}: {exc.strerror or exc}"
            else:
                if not is_known:
                    self._fault(stage, exc)
                self.catch_up(buffer)
                return
        elif self.archive is not None and exc.errno is None:
            self._retry_at = 0.0  # a signal handler raised it, not the kernel
            self.mend(buffer)
        self._fault(stage, exc)

    def _restore(self, archive: Archive, buffer: Buffer, why: JournalChangedError) -> None:
        """Bring back what is left of files that somebody changed.

        Memory writes the rest again, and what has left that as well is lost.

        Raises:
            OSError: If that failed, or is not tried now.
        """
        now = time.monotonic()
        self._restores = min(_RESTORES, self._restores + now - self._restored_at)
        self._restored_at = now
        if self._restores < 1:
            raise why  # changed again and again: not at every event
        self._restores -= 1
        sealed, before, lost = archive.sealed_through, self.archived, 0
        try:
            archive.restore(buffer.first)
        except msgspec.DecodeError as exc:  # of another manifest
            raise OSError(errno.EIO, str(exc)) from exc
        self._retry_at = 0.0
        self.archived = min(archive.newest[0], buffer.next - 1)
        if archive.sealed_through < sealed and archive.first > 1:  # the sealed files are gone
            lost = archive.first - 1
            self.lost.append((1, lost, self.why))
        lost += max(0, min(before + 1, buffer.first) - self.archived - 1)
        self._metrics.evicted.inc(lost)
        if self.commit is not None:
            self.commit.forget(self.archived)

    def _put_back(self) -> Callable[[OSError], object]:
        """What tells that somebody changed a file, and that this is mended."""
        fault, restored = (
            self._fault,
            self._afterwards.restored,
        )  # with `self`, the two would not let go

        def tell(exc: OSError) -> None:
            fault("journal", exc)
            restored()

        return tell

    def look_after(self, buffer: Buffer) -> None:
        """See that the files are as they were left, and write what no file has. Never raises."""
        try:
            if self.archive is not None and not self.waits:
                self.archive.look()
        except OSError as exc:
            self.failed("journal", exc, buffer)
        self.catch_up(buffer)

    def mend(self, buffer: Buffer) -> None:
        """Be as the files say, after an exception in the middle of anything. Never raises."""
        if self.archive is None:
            return
        try:
            self.archive.mend()
            self.archived = min(self.archive.newest[0], buffer.next - 1)
        except (OSError, msgspec.DecodeError) as exc:
            self.failed("journal", OSError(errno.EIO, str(exc)), buffer)

    def resume(self, buffer: Buffer) -> None:
        """Write what no file has, and do not wait after a failure. Never raises."""
        self._retry_at, self._restores = 0.0, _RESTORES
        self.look_after(buffer)

    def seal(self, buffer: Buffer) -> Path | None:
        """Seal what the journal holds; returns the file, None if it held nothing.

        Raises:
            OSError: If that failed; the journal goes on.
        """
        self.measure(buffer)
        if self.archive is None:
            return None
        try:
            return self._seal(self.archive)
        except OSError as exc:
            self.failed("seal", exc, buffer)
            raise

    def _seal(self, archive: Archive) -> Path | None:
        count = self._counted(archive)
        self.clock.look()
        archive.jumped, self.clock.moved = archive.jumped + self.clock.moved, 0.0
        self._timed = self._timed or bool(self.clock.untold)  # somebody has to tell them
        sealed = archive.seal()
        if sealed is not None:
            self._metrics.exported.inc(count)
            self._metrics.last_seal.set_to_current_time()
            self._start.set(0)
            self.make_checkpoint()
        return sealed

    def end(self, buffer: Buffer, program_ends: bool = False) -> None:
        """Seal, and say that all is well.

        Args:
            buffer: The events in memory.
            program_ends: Nobody writes later what is held back from now on.

        Raises:
            OSError: If that failed.
        """
        self._holds_back = self._holds_back and not program_ends
        self.seal(buffer)
        if self.archive is not None and self.archived >= buffer.next - 1:
            self.archive.ended()  # else the next start records an unclean end

    def tidy(self, patience: float = 0.0) -> None:
        """Compress and delete what is due; called without the lock, since it may take long.

        *patience*: how many seconds to wait for another thread that does it.
        """
        archive, lock = self.archive, self._lock
        if archive is not None and lock is not None and self._upkeep.run(archive, lock, patience):
            with lock:
                self.make_checkpoint()

    def after_fork(self, lock: Lock) -> None:
        """A child opens an archive of its own, under another name, when it has an event."""
        self._lock, self._sending = lock, Turn()
        self._upkeep = Upkeep(self._settings, self._afterwards, self.clock)
        self._retry_at, self.archived = 0.0, 0
        self.lost, self._outbox, self.recoveries = [], [], []
        if self.archive is not None:
            self.archive.abandon()
            self.archive = None
        for commit in (self.commit, self.intents):
            if commit is not None:
                commit.reset()

    # --- operations that must not happen unrecorded -----------------------------------------

    def admit(self, buffer: Buffer, event_id: str, intent: bytes) -> None:
        """Journal an intent, if what came before it is recorded and its outcome can be.

        Raises:
            OSError: If not.
        """
        self.require(buffer).intend(intent, self._admitted.values())
        self._admitted[event_id] = intent

    def require(self, buffer: Buffer) -> Archive:
        """Write all that memory has, now.

        Raises:
            OSError: If that failed.
        """
        self._retry_at = 0.0
        self.catch_up(buffer)
        if self.archive is None or self.archived < buffer.next - 1:
            raise OSError(errno.EIO, self.why or "the archive is not open")
        return self.archive

    def told(self, buffer: Buffer) -> None:
        """What was unfinished is on the record: before, we may be killed."""
        if self.unfinished and self.archive is not None and self.archived == buffer.next - 1:
            with suppress(OSError):
                self.archive.intents.remove()
        self.unfinished = []

    def done(self, event_id: str) -> None:
        """An admitted operation has ended; without any left, the intents are of no use."""
        self._admitted.pop(event_id, None)
        if not self._admitted and self.archive is not None:
            self.archive.intents.forget()

    # --- stable storage --------------------------------------------------------------------

    @property
    def durable(self) -> int | None:
        """The newest event that is on stable storage; None where that is not promised.

        What nobody waits for (an event about the trail itself) is forced there from here.
        """
        archive, commit = self.archive, self.commit
        if commit is None:
            return None
        number = max(commit.synced, 0 if archive is None else archive.sealed_through)
        if number < self.archived:
            commit.ask(self.archived)
        return number

    def _written(self, failed: bool) -> tuple[int, int]:
        """For the group commit: the newest event in a file, and that file."""
        assert self._lock is not None
        with self._lock:
            archive = self.archive
            if archive is None:
                raise OSError(5, self.why or "the archive is not open")
            if self.waits:
                raise OSError(5, self.why)
            if failed:
                archive.renew()
            return self.archived, archive.duplicate()

    def _intended(self, failed: bool) -> tuple[int, int]:
        """The same of intents."""
        assert self._lock is not None
        with self._lock:
            if self.archive is None:
                raise OSError(5, self.why or "the archive is not open")
            if failed:
                with suppress(JournalChangedError):  # the next event finds that out
                    self.archive.renew()
            return self.archive.intents.count, self.archive.intents.duplicate()

    # --- checkpoints ---------------------------------------------------------------------------

    def make_checkpoint(self) -> None:
        """State, signed if there is a key, how far the trail is. Never raises."""
        if self.archive is not None and not self.lost and self._attest(self.archive):
            self._checkpoint_at = time.monotonic()

    def _attest(self, archive: Archive) -> bool:
        """The same of any archive: also of a writer that is gone. False if it is still due."""
        settings = self._settings
        if not (settings.signing_key or settings.checkpoint_to):
            return True
        if not archive.newest[0]:
            return False  # of nothing it would be true of any trail
        try:
            note = self._note(archive)
            archive.keep_checkpoint(note)
            if settings.checkpoint_to is not None:
                self._outbox.append(note)
            return True
        except OSError as exc:
            self._fault("checkpoint", exc)
            return False

    def _attest_other(self, archive: Archive) -> bool:
        # Unsigned, it would take the place of one that is signed.
        return self._settings.signing_key is None or self._attest(archive)

    def _note(self, archive: Archive) -> str:
        size, root = archive.tree
        number, head = archive.newest
        text = Checkpoint(
            origin=archive.origin,
            size=size,
            root=root,
            events=number,
            head=head or "",
            time=format_time(time.time_ns() // 1000),
        ).text()
        key = self._settings.signing_key
        return key.sign(text) if key is not None else text + "\n"

    def checkpoint_due(self) -> bool:
        """Whether one should be made although nothing was sealed."""
        interval = self._settings.checkpoint_interval
        if interval is None or not (self._settings.signing_key or self._settings.checkpoint_to):
            return False
        return time.monotonic() - self._checkpoint_at >= interval

    def send(self, patience: float = 0.0) -> None:
        """Send the checkpoints on; called without the lock, since it may take long.

        *patience*: how many seconds to wait for another thread that does it.
        """
        sends = True
        while sends and self._outbox and self._settings.checkpoint_to is not None:
            with self._sending.take(patience) as ours:  # the clock, or whoever closes
                sends = ours and self._send_next()

    def _send_next(self) -> bool:
        """Whether the oldest checkpoint was sent; otherwise it is tried again."""
        if not self._outbox:
            return False
        to: Any = self._settings.checkpoint_to
        note = self._outbox.pop(0)
        try:
            if to == "otlp":
                self._emit(note)
            elif callable(to):
                to(note)
            else:
                append(to, note.encode(), anywhere=True)
        except BaseException as exc:
            self._outbox.insert(0, note)
            self._fault("checkpoint", exc)
            if not isinstance(exc, (Exception, asyncio.CancelledError)):
                raise
            return False
        return True


class Clock:
    """A daemon thread that calls ``tick`` of an object every so often, while that lives."""

    def __init__(self, target: ReferenceType[Any], seconds: float) -> None:
        self._target = target
        self._seconds = seconds
        thread = threading.Thread(target=self._run, name="axon-audit-keeper", daemon=True)
        thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(self._seconds)
            target = self._target()
            if target is None:
                return
            with suppress(BaseException):  # SystemExit of foreign code: it ends no thread of ours
                target.tick()
            del target
