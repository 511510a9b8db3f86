"""The files of one writer: its journal, the sealed files it becomes, and their manifest.

Any number of trails and processes share a directory; each writer holds the lock of a name::

    .default.lock                  held by its writer; not empty while that runs
    default.journal                the events since the last seal, as they happen
    default.manifest               one line a sealed (or deleted) file, chained
    audit_2025_01_15_103045.json   sealed
    default-2.journal ...          of a second process or a forked child
    default.journal.replaced       what somebody put in a file's place while its writer ran

Sealing adds a last line to the journal and renames it. An event is handed to the kernel
before `append` returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..core.errors import ArchiveError
from ..core.files import (
    is_there,
    listed,
    make_directory,
    open_owned,
    refuse_writable_by_all,
    sync_directory,
    sync_file,
)
from .format import HEAD, JOURNAL, tail
from .intents import Intents
from .journal import Journal, JournalChangedError, load, salvage, set_damage_aside
from .manifest import MANIFEST, trail_id
from .sealed_files import SealedFiles
from .writer_lock import LOCK, MAX_WRITERS, BusyError, claim

__all__ = ["ArchiveWriter", "Recovery", "recover_others"]

_NO_SYNC = (
    "its file system cannot force files to stable storage, as durability='disk' promises;"
    " take another directory, or durability='process'"
)


class Recovery(msgspec.Struct, frozen=True):
    """What a writer left behind that did not end well.

    Attributes:
        writer: Its name.
        events: Events that it had not sealed; they are sealed now.
        torn_bytes: Bytes of a last line that was cut off in the middle, now cut away.
        damaged: Lines that are no events, now in a file of their own (``.damaged``).
    """

    writer: str
    events: int
    torn_bytes: int
    damaged: int = 0


class ArchiveWriter:
    """The one writer of one name in a directory. Not thread-safe: the trail holds a lock.

    Args:
        directory: Created, with its parents, if it is missing.
        trail: Name of the trail. The writer's name is that, or with a number if another
            writer has it.
        fresh: Take a name without a past.
        exact: Take that name or none.
        sync: Force sealed files and the manifest to stable storage.
        changed: Told of files of ours that somebody changed, and that were put back.

    Attributes:
        recovery: What the writer before left, if it did not end well.
        sealed: The sealed files.
        intents: What is about to be done.

    Raises:
        ArchiveError: If the directory cannot be used, or its file system not for that.
    """

    def __init__(
        self,
        directory: Path,
        trail: str,
        fresh: bool = False,
        exact: bool = False,
        sync: bool = False,
        changed: Callable[[OSError], object] = lambda exc: None,
    ) -> None:
        self.directory = directory
        self._trail = trail
        self._sync = sync
        self._journal: Journal | None = None
        self._doubtful = False  # whether the device failed to sync the journal
        try:
            make_directory(directory)
            refuse_writable_by_all(directory)
            self._lock = claim(directory, trail, fresh, 1 if exact else MAX_WRITERS)
            self.intents = Intents(self.path(""), sync)
            if sync and not sync_file(self._lock.file):
                raise OSError(errno.ENOTSUP, _NO_SYNC)
            self.sealed = SealedFiles(self._lock, sync, changed)
            self.recovery = self._recover_at_start()
            self.sealed.through = self.sealed.last_sequence
        except (OSError, msgspec.DecodeError) as exc:
            msg = f"cannot archive to {str(directory)!r}: {getattr(exc, 'strerror', 0) or exc}"
            raise ArchiveError(msg) from exc

    @property
    def name(self) -> str:
        """The writer's name."""
        return self._lock.writer

    def path(self, suffix: str) -> Path:
        """A file of this writer."""
        return self._lock.path(suffix)

    @property
    def stream(self) -> str:
        """What tells its events from those of every other trail; "" before the first."""
        journal, known = self._journal, self.sealed.manifest.id
        return (
            trail_id(journal.first_hash) if known is None and journal is not None else known or ""
        )

    @property
    def newest(self) -> tuple[int, str | None]:
        """The number and the hash of the newest event, sealed or not."""
        journal = self._journal
        if journal is not None and journal.count:
            return journal.last, journal.head
        return self.sealed.last_sequence, self.sealed.head

    @property
    def count(self) -> int:
        """Events in the journal."""
        return 0 if self._journal is None else self._journal.count

    @property
    def first(self) -> int:
        """The number of the first of them; 0 without any."""
        return 0 if self._journal is None else self._journal.first

    def is_full(
        self, max_events: int, max_bytes: int | None = None, max_age: float | None = None
    ) -> bool:
        """Whether the journal has so many events or bytes, or is so many seconds old."""
        journal = self._journal
        return (
            journal is not None
            and journal.count > 0
            and (
                journal.count >= max_events
                or (max_bytes is not None and journal.end >= max_bytes)
                or (max_age is not None and time.monotonic() - journal.began >= max_age)
            )
        )

    # --- writing --------------------------------------------------------------------------

    def append(self, line: bytes, leaf: bytes, sequence: int, timestamp: str) -> None:
        """Append one event. When this returns, it survives a killed process.

        Raises:
            JournalChangedError: If what was written before is no longer there: see `restore`.
            OSError: If it could not be written; the journal is as before.
        """
        journal = self._journal
        if journal is None:
            journal = self._open()
        else:
            journal.check()
        data = b"%b%b\n" % (b"," if journal.count else b" ", line)
        try:
            journal.write(data)
        except OSError:
            if not self.intents.give_reserve():
                raise
            journal.write(data)
        journal.count_event(leaf, sequence, timestamp)

    def _open(self) -> Journal:
        self._reclaim()
        self.sealed.list_rest()
        if self.sealed.are_gone:
            raise _gone(self.directory)
        self.sealed.manifest.restore()
        self._lock.mark_running()
        path = self.path(JOURNAL)
        if is_there(path):  # sealed, under another name; this one could not be removed
            self.recover()
        journal = Journal(path, open_owned(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND))
        try:
            journal.write(HEAD)
            if self._sync:  # else power loss takes the file, whatever was synced of its content
                sync_file(self._lock.file)
                sync_directory(self.directory)
        except OSError:
            journal.close()
            path.unlink(missing_ok=True)
            raise
        self._journal = journal
        return journal

    def record_intent(self, event_id: str, intent: bytes) -> None:
        """Write down what is about to be done; see `Intents.record_intent`.

        Raises:
            OSError: If it, or its outcome, could not be recorded.
        """
        self._reclaim()
        self.intents.record_intent(event_id, intent)

    def seal(self, clock_moved: float = 0.0) -> Path | None:
        """Make the journal a sealed file; returns its path, None if it held nothing.

        Args:
            clock_moved: Seconds that the clock jumped since the call before: the manifest says it.

        Raises:
            JournalChangedError: If its events are no longer in it: see `restore`.
            OSError: If that failed; the journal goes on.
        """
        self.sealed.clock_moved += clock_moved
        self.sealed.list_rest()
        journal = self._journal
        if journal is None or not journal.count:
            return None
        journal.check()
        closing = tail(
            journal.count,
            trail=self.name,
            first_sequence=journal.first,
            last_sequence=journal.last,
            root=journal.tree.root().hex(),
            previous_seal=self.sealed.manifest.last_hash,
        )
        digest = journal.digest.copy()
        journal.write(closing)
        try:
            return self._finish(journal)
        except OSError as exc:
            # Not renamed: events can follow. (But a signal handler's can strike after that.)
            if self._journal is journal and exc.errno is not None:
                journal.take_back(len(closing), digest)
            raise

    def _finish(self, journal: Journal) -> Path:
        """A journal with its last line gets its name, and its line in the manifest."""
        if self._sync:
            if self._doubtful:
                self.renew()
            self._doubtful = True
            sync_file(journal.file)
            self._doubtful = False
        path = self.sealed.publish(journal)
        self._close_journal()
        self.sealed.list_rest()
        return path

    # --- stable storage --------------------------------------------------------------------

    def renew(self) -> None:
        """Write journal and intents to new files: those of before could not be synced.

        Raises:
            JournalChangedError: If the journal is no longer what was written; the intents are.
            OSError: If that failed; they are as before.
        """
        try:
            if self._journal is not None:
                self._journal.renew()
        finally:
            self.intents.renew()
            sync_directory(self.directory)
        self._doubtful = False

    def duplicate(self) -> int:
        """Another descriptor of the journal, -1 where everything is sealed."""
        if self._doubtful:
            self.renew()
        return -1 if self._journal is None else os.dup(self._journal.file)

    # --- what was there before, and what somebody else did to the files ---------------------

    def _recover_at_start(self) -> Recovery | None:
        """Seal what the writer before left in its journal."""
        self.sealed.adopt(self._lock)
        ended_well = self._lock.ended_well
        found = self._take_up(self.path(JOURNAL))
        if found is None:
            return None if ended_well else Recovery(self.name, 0, 0)
        self.seal()
        journal, torn, damaged = found
        # The lock tells of the unclean end until an event does: we may be killed before.
        return Recovery(self.name, journal.count, torn if journal.end else 0, damaged)

    def recover(self) -> None:
        """Be as the files say, after an exception in the middle of a call.

        Raises:
            OSError: If they cannot be read.
            msgspec.DecodeError: Likewise.
        """
        self._close_journal()
        self.sealed.read(self._lock)
        self.sealed.adopt(self._lock)
        self._take_up(self.path(JOURNAL))
        self.sealed.through = self.sealed.last_sequence

    def _take_up(self, path: Path) -> tuple[Journal, int, int] | None:
        """Go on with the journal at *path*, unless it has no events, or is closed and only to be
        renamed; returns it, the bytes that were torn and the lines that were damaged."""
        if not is_there(path):
            self._close_journal()
            return None
        damaged = set_damage_aside(path)
        size = path.stat().st_size
        journal, closed = load(path)
        torn = size - journal.end
        if self._journal is not None:
            journal.began = self._journal.began
        self._close_journal()
        self._journal = journal
        if not journal.count:
            self._close_journal()
            path.unlink()
        elif closed:  # its writer died between the last line and the end of the renaming
            try:
                self._finish(journal)
            except OSError:
                self._close_journal()  # nothing may follow its last line
                raise
        return journal, torn, damaged

    def check(self) -> None:
        """Check that the files are as they were left, while they are at work.

        Raises:
            JournalChangedError: If events are no longer where they were written: see `restore`.
            OSError: If that cannot be told.
        """
        if not self._lock.is_running:
            return
        if not self._lock.is_held():
            raise _gone(self.directory)
        if self._journal is not None:
            self._journal.check()
        self.sealed.manifest.restore()

    def restore(self, oldest: int) -> None:
        """Have in the directory again what is left of the events, after a `JournalChangedError`.

        What is left is in the journal's file, wherever that is now. `newest` and
        `sealed.through` say what there is afterwards.

        Args:
            oldest: The number of the oldest event in memory, which can be written again.

        Raises:
            OSError: If that failed; nothing is given up, and it can be tried again.
        """
        self._reclaim()
        self._lock.mark_running()
        self.sealed.list_rest()
        self.sealed.manifest.restore()
        journal, path = self._journal, self.path(JOURNAL)
        # Memory goes further back than what is left.
        if journal is None or (self.sealed.are_gone and oldest <= journal.first):
            self._close_journal()
        else:
            salvage(journal, path)
            self._take_up(path)
        if self._sync:
            sync_directory(self.directory)
        self.sealed.through = self.sealed.last_sequence

    def _reclaim(self) -> None:
        """Make the directory again, with our name in it, if it is gone or was moved."""
        make_directory(self.directory)
        if self._lock.is_held():
            return
        lock = None
        if self.sealed.manifest.is_at(self.path(MANIFEST)):  # it was the lock alone
            with contextlib.suppress(BusyError):
                lock = claim(self.directory, self.name, most=1)
        if lock is None:
            lock = claim(self.directory, self._trail, fresh=True)
            try:
                self.sealed.read(lock)
            except OSError:
                lock.release()
                raise
            self.intents = self.intents.moved(lock.path(""))
        before, self._lock = self._lock, lock
        before.release()

    # --- the end ---------------------------------------------------------------------------

    def end_well(self) -> None:
        """Write down that what is not sealed now was never written.

        Raises:
            OSError: If that failed.
        """
        if self._lock.is_running and not self.count and self.sealed.all_listed:
            self._lock.mark_ended()
            self.intents.remove()

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
        self._journal = None

    def release(self) -> None:
        """Let go of everything and leave it as it is (a forked child; a failure)."""
        self._close_journal()
        self.intents.close()
        self._lock.release()

    def __del__(self) -> None:
        if hasattr(self, "intents") and contextlib is not None:  # None: Python is ending
            self.release()


def _gone(directory: Path) -> JournalChangedError:
    words = "the directory was changed: it was removed or moved away"
    return JournalChangedError(errno.ENOENT, words, str(directory))


def recover_others(
    directory: Path, own: str, attest: Callable[[ArchiveWriter], bool], sync: bool = False
) -> list[Recovery]:
    """Seal what writers left in *directory* that live no more (forked children, mostly).

    Args:
        directory: The archive.
        own: A writer that lives.
        attest: Signs how far such a writer was; False if it has to be tried again.
        sync: Force that to stable storage.

    Returns:
        What was recovered of each that did not end well.
    """
    found = []
    with contextlib.suppress(OSError):  # the next start tries again
        journals = {path.stem for path in listed(directory, f"*{JOURNAL}")}
        manifests = {path.stem for path in listed(directory, f"*{MANIFEST}")}
        for name in sorted((journals | manifests) - {own}):
            lock = directory / f".{name}{LOCK}"
            # Not empty: it runs, or was killed, or whoever recovered it was.
            if is_there(lock) and (name in journals or lock.stat().st_size):
                with contextlib.suppress(OSError):
                    found.append(_recover_other(directory, name, attest, sync))
    return [recovery for recovery in found if recovery is not None]


def _recover_other(
    directory: Path, name: str, attest: Callable[[ArchiveWriter], bool], sync: bool
) -> Recovery | None:
    other = ArchiveWriter(directory, name, exact=True, sync=sync)
    try:
        if attest(other) or not other.newest[0]:
            with contextlib.suppress(OSError):  # the next start tries again
                other._lock.mark_ended()
    finally:
        other.release()
    return other.recovery
