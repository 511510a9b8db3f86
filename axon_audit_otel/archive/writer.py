"""The files of one writer: its journal, the sealed files it becomes, and their manifest.

Any number of trails and processes share a directory; each writer holds the lock of a name::

    .default.lock                  held by its writer; not empty while it runs
    default.journal                the events since the last seal
    default.manifest               one line per sealed (or deleted) file, chained
    audit_2025_01_15_103045.json   sealed
    default-2.journal ...          of a second process or a forked child
    default.journal.replaced       a foreign file that took the place of the journal

Sealing adds a last line to the journal and renames it. An event is handed to the kernel
before `append` returns. A writer that has few events leaves its journal to the next one of that
name (`pause`).
"""

from __future__ import annotations

import contextlib
import errno
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..core.errors import ArchiveError
from ..core.files import is_there, make_directory, refuse_writable_by_all
from ..core.fsync import duplicated, sync_directory, sync_file
from ..core.time import format_time
from .attested import Attestor
from .format import JOURNAL
from .intents import Intents
from .journal import Journal, JournalChangedError, LeftJournal, begin, salvage, take_up
from .manifest import trail_id
from .takeover import Recovery, claim_again, take_over, unlisted_of

__all__ = ["ArchiveWriter"]

_NO_SYNC = (
    "its file system cannot force files to stable storage, as durability='disk' promises;"
    " take another directory, or durability='process'"
)


class ArchiveWriter:
    """The only writer of one name in a directory. Not thread-safe: the trail holds a lock.

    Args:
        directory: Created, with its parents, if it is missing.
        trail: Name of the trail. It is the writer's name as well, with a number added if another
            writer has it.
        fresh: Take a name that has no files yet.
        exact: Take exactly that name, or fail.
        sync: Force sealed files and the manifest to stable storage.
        changed: Called after changed files were restored.
        attestor: Says what of the files that are there may be signed; None: nothing is signed.
        continues: Go on with a journal that was left by `pause`.

    Attributes:
        recovery: What was recovered of the last writer; None if that ended well.
        refused: Names with files that are left alone, since nothing attests them.
        adopted: Events of the last writer that nothing attests; None without any.
        lost: The number of the newest event that was recorded, as far as that is known.
        sealed: The sealed files.
        intents: The intents.

    Raises:
        ArchiveError: If the directory cannot be used, or its file system lacks something.
        NotAttestedError: If *exact* files are not attested.
    """

    def __init__(
        self,
        directory: Path,
        trail: str,
        fresh: bool = False,
        exact: bool = False,
        sync: bool = False,
        changed: Callable[[OSError], object] = lambda exc: None,
        attestor: Attestor | None = None,
        continues: bool = False,
    ) -> None:
        self.directory = directory
        self._attestor = attestor
        self._trail = trail
        self._continues = continues
        self._sync = sync
        self._journal: Journal | None = None
        self._doubtful = False  # True after a failed sync of the journal
        try:
            make_directory(directory)
            refuse_writable_by_all(directory)
            taken = take_over(directory, trail, fresh, exact, sync, changed, attestor)
            self._lock, self.sealed = taken.lock, taken.sealed
            self.refused, self.adopted, self.lost = taken.refused, taken.adopted, taken.lost
            secret = None if attestor is None else attestor.secret("intents")
            self.intents = Intents(taken.lock.path(""), sync, secret)
            if sync and not sync_file(self._lock.file):
                raise OSError(errno.ENOTSUP, _NO_SYNC)
            self.recovery = self._recover_at_start()
            self.sealed.through = self.sealed.last_sequence
        except (OSError, msgspec.DecodeError) as exc:
            self.__del__()  # now: the traceback may keep us, and with us the lock
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
        """The unique id of its chain; "" before the first event."""
        journal, known = self._journal, self.sealed.manifest.id
        return (
            trail_id(journal.first_hash) if known is None and journal is not None else known or ""
        )

    @property
    def newest(self) -> tuple[int, str | None]:
        """The number and the hash of the newest event, sealed or not; 0 and None without any."""
        journal = self._journal
        if journal is not None and journal.count:
            return journal.last, journal.head
        return self.sealed.last_sequence, self.sealed.head

    @property
    def count(self) -> int:
        """Number of events in the journal."""
        return 0 if self._journal is None else self._journal.count

    @property
    def first(self) -> int:
        """The number of the first event in the journal; 0 without any."""
        return 0 if self._journal is None else self._journal.first

    def is_full(
        self, max_events: int, max_bytes: int | None = None, max_age: float | None = None
    ) -> bool:
        """Return True if the journal has that many events or bytes, or is that many seconds old."""
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
        """Append one event. After the return, it survives a kill of the process.

        Raises:
            JournalChangedError: If earlier events are no longer there: see `restore`.
            OSError: If it could not be written; the journal is as before.
        """
        journal = self._journal
        if journal is None:
            journal = self._open()
        else:
            journal.check()
        data = b"%b%b\n" % (b"," if journal.count else b" ", line)
        if self.sealed.attested is not None:
            self.sealed.attested.event(sequence, leaf)
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
        if is_there(path):  # sealed; this second name could not be removed
            self.recover()
        self._journal = begin(path, self._lock.file if self._sync else None)
        return self._journal

    def record_intent(self, event_id: str, intent: bytes) -> None:
        """Record an intent; see `Intents.record_intent`.

        Raises:
            OSError: If there is no space for it, or for its outcome.
        """
        self._reclaim()
        self.intents.record_intent(event_id, intent)

    def seal(self, clock_moved: float = 0.0) -> Path | None:
        """Make the journal a sealed file; return its path, None without events.

        Args:
            clock_moved: Sum of the clock's jumps since the last call, in seconds: for the manifest.

        Raises:
            JournalChangedError: If its events are no longer in it: see `restore`.
            OSError: If that failed; the journal stays open.
        """
        self.sealed.clock_moved += clock_moved
        self.sealed.list_rest()
        journal = self._journal
        if journal is None or not journal.count:
            return None
        journal.check()
        closing = journal.closing(self.name, self.sealed.manifest.last_hash)
        digest = journal.digest.copy()
        journal.write(closing)
        try:
            return self._finish(journal)
        except OSError as exc:
            # Not renamed: more events can follow. (A signal handler may raise after the rename.)
            if self._journal is journal and exc.errno is not None:
                journal.take_back(len(closing), digest)
            raise

    def _finish(self, journal: Journal) -> Path:
        """Rename a journal that has its closing line, and add it to the manifest."""
        self._sync_journal(journal)
        path = self.sealed.publish(journal)
        self._close_journal()
        self.sealed.list_rest()
        return path

    def state_newest(self) -> None:
        """State the newest event in the manifest, if it is not sealed: for a checkpoint.

        Raises:
            OSError: If that failed.
        """
        if self._journal is not None and self._journal.count:
            self._sync_journal(self._journal)
            self.sealed.state_newest(self._journal)

    # --- stable storage --------------------------------------------------------------------

    def _sync_journal(self, journal: Journal) -> None:
        """Force the journal to stable storage, where that is promised."""
        if self._sync:
            if self._doubtful:
                self.renew()
            self._doubtful = True
            sync_file(journal.file)
            self._doubtful = False

    def renew(self) -> None:
        """Write journal and intents to new files, after a failed sync of the old ones.

        Raises:
            JournalChangedError: If the journal was changed; the intents are written.
            OSError: If that failed; the files are as before.
        """
        try:
            if self._journal is not None:
                self._journal.renew()
        finally:
            self.intents.renew()
            sync_directory(self.directory)
        self._doubtful = False

    def duplicates(self) -> list[int]:
        """New descriptors of the files that hold unsealed events: none if all are sealed."""
        if self._doubtful:
            self.renew()
        if self._journal is None:
            return []
        files = self.sealed.attested, self._journal
        return duplicated(one.file for one in files if one is not None)

    # --- what was there before, and what somebody else did to the files ---------------------

    def _recover_at_start(self) -> Recovery | None:
        """Seal the events that the last writer left in its journal."""
        self._list_unlisted()
        ended_well, paused = self._lock.ended_well, self._lock.is_paused
        found = self._take_up(self.path(JOURNAL))
        if paused and self._continues and self.adopted is None and found and found.is_whole:
            self._lock.mark_running()
            return None  # it goes on with that journal
        if found is not None:
            self.seal()
        self.sealed.adopted = 0
        if found is None:
            return None if ended_well else Recovery(self.name, 0, 0)
        if paused and found.is_whole:
            self._lock.mark_ended()
            return None
        torn = found.torn if found.journal.end else 0
        # The lock keeps the mark of the unclean end until an event reports it.
        return Recovery(self.name, found.journal.count, torn, found.damaged)

    def _list_unlisted(self) -> None:
        unlisted = unlisted_of(self._lock, self.sealed)
        if unlisted is not None:
            self.sealed.list_found(unlisted)

    def recover(self) -> None:
        """Read the state from the files again, after an exception in the middle of a call.

        Raises:
            OSError: If they cannot be read.
            msgspec.DecodeError: If a line of the manifest is not a record.
        """
        self._close_journal()
        self.sealed.read(self._lock)
        self._list_unlisted()
        self._take_up(self.path(JOURNAL))
        self.sealed.through = self.sealed.last_sequence

    def _take_up(self, path: Path) -> LeftJournal | None:
        """Continue the journal at *path*; a closed one is renamed, an empty one removed."""
        if not is_there(path):
            self._close_journal()
            return None
        found = take_up(path)
        journal = found.journal
        if self._journal is not None:
            journal.began = self._journal.began
        self._close_journal()
        self._journal = journal
        if not journal.count:
            self._close_journal()
            path.unlink()
        elif found.closed:  # its writer died before it was renamed
            try:
                self._finish(journal)
            except OSError:
                self._close_journal()  # no event may follow its closing line
                raise
        return found

    def check(self) -> None:
        """Check that lock, journal and manifest were not changed from outside, while it runs.

        Raises:
            JournalChangedError: If events are no longer in their place: see `restore`.
            OSError: If that cannot be found out.
        """
        if not self._lock.is_running:
            return
        if not self._lock.is_held():
            raise _gone(self.directory)
        if self._journal is not None:
            self._journal.check()
        self.sealed.manifest.restore()

    def restore(self, oldest: int) -> None:
        """Restore to the directory what is left of the events, after a `JournalChangedError`.

        The open file of the journal still has events, wherever that is now. `newest` and
        `sealed.through` tell afterwards what was restored.

        Args:
            oldest: The number of the oldest event in memory, which can be written again.

        Raises:
            OSError: If that failed; it can be tried again.
        """
        self._reclaim()
        self._lock.mark_running()
        self.sealed.list_rest()
        self.sealed.manifest.restore()
        journal, path = self._journal, self.path(JOURNAL)
        # Memory has more than the journal.
        if journal is None or (self.sealed.are_gone and oldest <= journal.first):
            self._close_journal()
        else:
            salvage(journal, path)
            self._take_up(path)
        if self._sync:
            sync_directory(self.directory)
        self.sealed.through = self.sealed.last_sequence

    def _reclaim(self) -> None:
        """Create the directory and our lock again, if they are gone or were moved."""
        make_directory(self.directory)
        if self._lock.is_held():
            return
        lock = claim_again(self._lock, self._trail, self.sealed, self._attestor)
        self.intents = self.intents.moved(lock.path(""))
        before, self._lock = self._lock, lock
        before.release()

    # --- the end ---------------------------------------------------------------------------

    def end_well(self) -> None:
        """Mark the end in the lock, if everything is sealed.

        Raises:
            OSError: If that failed.
        """
        if self._lock.is_running and not self.count and self.sealed.all_listed:
            self._lock.mark_ended()
            self.intents.remove()

    def may_pause(self, max_age: float) -> bool:
        """Return True if it can `pause`: it has events, and none older than *max_age* seconds."""
        journal = self._journal
        if journal is None or not journal.count or not self.sealed.all_listed:
            return False
        return journal.first_time >= format_time((time.time_ns() - int(max_age * 1e9)) // 1000)

    def pause(self) -> None:
        """End well, but leave the journal to the next writer of that name, and close all files.

        Raises:
            OSError: If that failed.
        """
        assert self._journal is not None
        self._sync_journal(self._journal)
        self._lock.mark_paused()
        self.intents.remove()
        self.release()

    def _close_journal(self) -> None:
        if self._journal is not None:
            self._journal.close()
        self._journal = None

    def release(self) -> None:
        """Close all files and leave them as they are (a forked child; a failure)."""
        self._close_journal()
        self.intents.close()
        if self.sealed.attested is not None:
            self.sealed.attested.close()
        self._lock.release()

    def __del__(self) -> None:
        if hasattr(self, "intents") and contextlib is not None:  # None: Python is ending
            self.release()


def _gone(directory: Path) -> JournalChangedError:
    words = "the directory was changed: it was removed or moved away"
    return JournalChangedError(errno.ENOENT, words, str(directory))
