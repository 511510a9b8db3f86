"""Keeps a trail's events in files, while these fail and work again."""

from __future__ import annotations

import errno
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..archive.attested import Attestor
from ..archive.checkpointer import Checkpointer
from ..archive.clock import WallClock
from ..archive.index.behind import Indexer
from ..archive.journal import JournalChangedError
from ..archive.manifest import MANIFEST
from ..archive.retention import Upkeep
from ..archive.writer import ArchiveWriter
from ..core import semconv
from ..shipping.witnesses import Witnesses
from .afterwards import Afterwards
from .archive_opening import Opening
from .buffer import Buffer
from .internal_events import Gap, InternalEvents
from .metrics import TrailMetrics
from .settings import Settings
from .stable_storage import StableStorage
from .trail_lock import Lock

__all__ = ["ArchiveKeeper"]

_RETRY_S = 1.0  # how long a failed archive is left alone
_RESTORES = 10  # of changed files that may follow at once, then one a second
_BATCH = 512  # events that durability="memory" holds back at most
_PAUSED_S = 86_400.0  # how old a journal may get that is left to the next writer


class ArchiveKeeper:
    """Has every event of the buffer in a file. Its trail holds the lock, but for `tidy`.

    Args:
        settings: See `Settings`; `auto_export_path` is set.
        buffer: The events in memory.
        lock: The trail's.
        metrics: The trail's.
        afterwards: Where failures are noted, and that what had failed works again.
        is_guest: It writes few events beside the applications' trails, whose files and holds it
            leaves to them; its journal it leaves to the next guest, for a day at most, or there
            would be a file for each of them.

    Attributes:
        writer: Writes the files; None in a forked child, until it has an event, and after the end
            of a guest.
        archived: The number of the newest event that is in a file, or lost.
        why: The newest failure, in words.
        internal: What is to be recorded about the archive.
        checkpointer: Makes its checkpoints.
        storage: Waits for stable storage; None where that is not promised.
        continues: The journal is one that another process has begun.
    """

    def __init__(
        self,
        settings: Settings,
        buffer: Buffer,
        lock: Lock,
        metrics: TrailMetrics,
        afterwards: Afterwards,
        is_guest: bool = False,
    ) -> None:
        assert settings.auto_export_path is not None
        self._settings = settings
        self._directory = settings.auto_export_path
        self._buffer = buffer
        self._lock = lock
        self._metrics = metrics
        self._afterwards = afterwards
        self._lag = metrics.of_archive(semconv.METRIC_JOURNAL_LAG)
        self._lagging = 0  # as the gauge says
        self._start = metrics.of_archive(semconv.METRIC_JOURNAL_START)
        self._file_age = settings.file_age
        self._holds_back = settings.durability == "memory"
        self._at_once = min(_BATCH, buffer.capacity)
        self._syncs = settings.durability == "disk"
        self._broken = False  # it failed, and did not work since
        self._retry_at = 0.0
        self._restored_at = 0.0
        self._restores: float = _RESTORES  # how many more may follow at once
        self.why = ""
        self.writer: ArchiveWriter | None = None
        self._is_guest, self.continues = is_guest, False
        self.archived = 0
        self.internal = InternalEvents(WallClock())
        key, clock = settings.signing_key, self.internal.clock
        interval = settings.checkpoint_interval
        witnesses: Witnesses | None = None
        if settings.witnesses:
            witnesses = Witnesses(settings.witnesses, afterwards, self.internal.witness_refused)
        to = settings.checkpoint_to
        events = settings.checkpoint_events
        self.checkpointer = Checkpointer(
            key, to, interval, events, afterwards, self._syncs, witnesses
        )
        attestor: Attestor | None = None
        if key is not None:
            attestor = Attestor(key, to if isinstance(to, Path) else None)
        limits = settings.retention, settings.max_archive_bytes
        self._upkeep = Upkeep(settings.compress, *limits, key, afterwards, clock)
        self._indexer = Indexer(key, afterwards) if settings.index and not is_guest else None
        found = self.internal, self.checkpointer, self._upkeep.holds
        self._opening = Opening(settings, attestor, afterwards, *found, is_guest)
        self.storage: StableStorage | None = None
        if self._syncs:
            self.storage = StableStorage(self, lock, settings.on_failure == "block")
        is_wanted = settings.compress or settings.index or self.checkpointer.is_wanted
        # True if there is work to do although nothing is recorded.
        self._timed = self._holds_back or is_wanted or any((*limits, settings.max_file_age))

    def open(self) -> bytes | None:
        """Open the archive and go on where its last writer ended; returns its newest hash.

        Raises:
            ArchiveError: If the directory cannot be used.
        """
        # Numbers that were given without an archive must not be there already.
        fresh = len(self._buffer) > 0
        writer, found = self._opening.writer(fresh), self.internal
        if fresh:
            self.writer = writer
            return None
        self._opening.look_around(writer)
        self.writer, self.continues = writer, writer.count > 0
        newest, head = writer.newest
        self.archived = max(newest, writer.lost)
        if writer.lost > newest:
            gap = Gap(newest + 1, writer.lost, "journal: its newest events are gone")
            found.gaps.append(gap)
        self._buffer.reset(self.archived + 1)
        return None if head is None else bytes.fromhex(head)

    @property
    def has_past(self) -> bool:
        """True if the directory holds events of an earlier run, of any writer."""
        return any(self._directory.glob(f"*{MANIFEST}"))

    @property
    def needs_clock(self) -> bool:
        """True if `tick` must be called regularly, which needs a thread: bad for a later fork."""
        return self._timed or bool(self._retry_at)

    @property
    def newest(self) -> int:
        """The number of the newest event."""
        return self._buffer.next - 1

    @property
    def keeps_all(self) -> bool:
        """True if every event is in a file, or held back as durability="memory" allows."""
        return (self._holds_back and not self._broken) or self._all_archived()

    def _all_archived(self) -> bool:
        return self.archived >= self._buffer.next - 1

    @property
    def waits(self) -> bool:
        """True if the archive failed a moment ago and is not tried again yet."""
        return bool(self._retry_at) and time.monotonic() < self._retry_at

    def pending_events(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """The status and the facts of each event about the archive that is to be recorded."""
        intents = None if self.writer is None else self.writer.intents
        return self.internal.pending(self._all_archived, intents)

    # --- writing ---------------------------------------------------------------------------

    def append(self, line: bytes, leaf: bytes, timestamp: str) -> None:
        """Bring the journal up to the event that the buffer has got. Never raises."""
        number = self._buffer.next - 1
        if self._holds_back and not self.internal.gaps and number - self.archived < self._at_once:
            return
        if self._retry_at or self.archived != number - 1 or self.writer is None:
            self.catch_up()
            return
        stage = "journal"
        try:
            self._write(self.writer, line, leaf, number, timestamp)
            stage = "seal"
            self._seal_if_full(self.writer)
        except OSError as exc:
            self.failed(stage, exc)

    def _write(
        self, writer: ArchiveWriter, line: bytes, leaf: bytes, number: int, timestamp: str
    ) -> None:
        writer.append(line, leaf, number, timestamp)
        self.archived = number
        if writer.count == 1:
            self._start.set(time.time())

    def catch_up(self) -> None:
        """Write what memory has and no file; leave a failed archive alone for a moment."""
        if self.waits or (self.writer is None and self._is_guest and self._all_archived()):
            return
        stage = "journal"
        try:
            if self.writer is None:
                self.open()
            assert self.writer is not None
            writer, buffer = self.writer, self._buffer
            behind = range(max(self.archived + 1, buffer.first), buffer.next)
            gap = Gap(self.archived + 1, behind.start - 1, self.why or "evicted")
            for number, line in zip(behind, buffer.lines(behind)):
                self._write(writer, line, *buffer.proof_of(number))
                if gap.first <= gap.last and number == behind.start:  # now that it works
                    self.internal.gaps.append(gap)
            if gap.first <= gap.last and not behind:
                self.internal.gaps.append(gap)
                self.archived = gap.last
            stage = "seal"
            self._seal_if_full(writer)
        except OSError as exc:
            self.failed(stage, exc)
            return
        self._retry_at = 0.0
        if self._broken:
            self._broken = False
            self._afterwards.restored()

    def resume(self) -> None:
        """Write what no file has, and do not wait after a failure. Never raises."""
        self._retry_at, self._restores = 0.0, _RESTORES
        self.check()

    def check(self) -> None:
        """Check that the files are as they were left, and write what no file has. Never raises."""
        try:
            if self.writer is not None and not self.waits:
                self.writer.check()
        except OSError as exc:
            self.failed("journal", exc)
        self.catch_up()

    def require(self) -> ArchiveWriter:
        """Write all that memory has, now; returns who writes it.

        Raises:
            OSError: If that failed.
        """
        self._retry_at = 0.0
        self.catch_up()
        if self.writer is None or not self._all_archived():
            raise OSError(errno.EIO, self.why or "the archive is not open")
        return self.writer

    def measure(self) -> None:
        """Let the gauge say how many events are in no file."""
        lagging = self._buffer.next - 1 - self.archived
        if lagging != self._lagging:
            self._lagging = lagging
            self._lag.set(lagging)

    # --- failing and working again -----------------------------------------------------------

    def failed(self, stage: str, exc: OSError) -> None:
        """The archive failed: leave it alone for a moment, then write what is missing."""
        self._retry_at = time.monotonic() + _RETRY_S
        is_known, self._broken = self._broken, True
        self.why = f"{stage}: {exc.strerror or exc}"
        if isinstance(exc, JournalChangedError) and self.writer is not None:
            try:
                self._restore(self.writer, exc)
            except OSError as failure:
                exc = failure
                self.why = f"{stage}: {exc.strerror or exc}"
            else:
                if not is_known:
                    self._afterwards.fault(stage, exc)
                self.catch_up()
                return
        elif self.writer is not None and exc.errno is None:
            self._retry_at = 0.0  # a signal handler raised it, not the kernel
            self.recover()
        self._afterwards.fault(stage, exc)

    def _restore(self, writer: ArchiveWriter, why: JournalChangedError) -> None:
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
        sealed, before, lost = writer.sealed.through, self.archived, 0
        try:
            writer.restore(self._buffer.first)
        except msgspec.DecodeError as exc:  # of another manifest
            raise OSError(errno.EIO, str(exc)) from exc
        self._retry_at = 0.0
        self.archived = min(writer.newest[0], self.newest)
        if writer.sealed.through < sealed and writer.first > 1:  # the sealed files are gone
            lost = writer.first - 1
            self.internal.gaps.append(Gap(1, lost, self.why))
        lost += max(0, min(before + 1, self._buffer.first) - self.archived - 1)
        self._metrics.evicted.inc(lost)
        if self.storage is not None:
            self.storage.forget(self.archived)

    def recover(self) -> None:
        """Be as the files say, after an exception in the middle of anything. Never raises."""
        if self.writer is None:
            return
        try:
            self.writer.recover()
            self.archived = min(self.writer.newest[0], self.newest)
        except (OSError, msgspec.DecodeError) as exc:
            self.failed("journal", OSError(errno.EIO, str(exc)))

    # --- sealing ---------------------------------------------------------------------------

    def _seal_if_full(self, writer: ArchiveWriter) -> None:
        settings = self._settings
        # What is lost is recorded first: no checkpoint knows better than its gap.
        if not settings.enable_rotation or self.internal.gaps:
            return
        limits = settings.max_file_bytes, self._file_age
        if writer.is_full(settings.max_events, *limits) and (
            not self._holds_start(writer) or writer.is_full(settings.max_events + 1, *limits)
        ):
            self._seal(writer)
        elif self.checkpointer.is_due_at(self.archived):
            self.make_checkpoint()

    def _holds_start(self, writer: ArchiveWriter) -> bool:
        """Whether the record `start`, which nobody counts, is in the journal."""
        return writer.first <= self._buffer.start < writer.first + writer.count

    def seal(self) -> Path | None:
        """Seal what the journal holds; returns the file, None if it held nothing.

        Raises:
            OSError: If that failed; the journal goes on.
        """
        self.measure()
        if self.writer is None:
            return None
        try:
            return self._seal(self.writer)
        except OSError as exc:
            self.failed("seal", exc)
            raise

    def _seal(self, writer: ArchiveWriter) -> Path | None:
        count, clock = writer.count - self._holds_start(writer), self.internal.clock
        clock.look()
        self._timed = self._timed or bool(clock.unreported)  # somebody has to report them
        path = writer.seal(clock.take_moved())
        if path is not None:
            self._metrics.exported.inc(count)
            self._metrics.last_seal.set(time.time())
            self._start.set(0)
            self.make_checkpoint()
        return path

    def make_checkpoint(self) -> None:
        """State how far the trail is, unless a gap is to be recorded first. Never raises."""
        if self.writer is not None and not self.internal.gaps:
            self.checkpointer.make(self.writer)

    def tidy(self, patience: float = 0.0) -> None:
        """Compress and delete what is due; called without the lock, since it may take long.

        *patience*: how many seconds to wait for another thread that does it.
        """
        writer = self.writer
        if self._is_guest:
            return
        if writer is not None and self._upkeep.run(writer, self._lock, patience):
            with self._lock:
                self.make_checkpoint()
        self.internal.missing_holds += self._upkeep.holds.take_missing()

    def index(self) -> None:
        """Go on with the indexes of sealed files; called without the lock, in the background.

        A file is compressed first. Nobody waits for it: not at a seal, and not at the end.
        """
        writer, indexer = self.writer, self._indexer
        if indexer is not None and writer is not None and not self._upkeep.is_compressing:
            indexer.run(writer, self._lock)

    def end(self, program_ends: bool = False) -> None:
        """Seal, and say that all is well.

        Args:
            program_ends: Nobody writes later what is held back from now on.

        Raises:
            OSError: If that failed.
        """
        self._holds_back = self._holds_back and not program_ends
        if self._is_guest and self._pause():
            return
        self.seal()
        if self.writer is not None and not self.internal.gaps:
            self.checkpointer.conclude(self.writer)
        if self.writer is not None and self._all_archived():
            self.writer.end_well()  # else the next start records an unclean end

    def _pause(self) -> bool:
        """Leave the journal to the next writer; False if it is to be sealed.

        Raises:
            OSError: If that failed.
        """
        writer = self.writer
        if writer is None:  # it did before
            return self._all_archived()
        if not self._all_archived() or self.internal.gaps:
            return False
        if writer.is_full(self._settings.max_events) or not writer.may_pause(_PAUSED_S):
            return False
        if self.checkpointer.is_wanted:
            self.make_checkpoint()
        writer.pause()
        self.writer = None
        return True

    def begin_after_fork(self) -> None:
        """A child opens an archive of its own, under another name, when it has an event."""
        self._upkeep.begin()
        if self._indexer is not None:
            self._indexer.begin()
        self._retry_at, self.archived = 0.0, 0
        self.internal.begin()
        self.checkpointer.begin()
        if self.writer is not None:
            self.writer.release()
            self.writer = None
        if self.storage is not None:
            self.storage.begin()
