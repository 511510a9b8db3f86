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
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..core.errors import ArchiveError
from ..core.files import is_there, listed, make_directory, open_owned, refuse_writable_by_all
from ..core.fsync import sync_directory, sync_file
from ..core.time import format_time
from .attested import Attestor, NotAttestedError, State
from .format import HEAD, JOURNAL, tail
from .intents import Intents
from .journal import Journal, JournalChangedError, load, salvage, set_damage_aside
from .manifest import MANIFEST, trail_id
from .sealed_files import SealedFiles
from .writer_lock import LOCK, MAX_WRITERS, BusyError, claim, is_paused

__all__ = ["Adopted", "ArchiveWriter", "Recovery", "recover_others"]

_NO_SYNC = (
    "its file system cannot force files to stable storage, as durability='disk' promises;"
    " take another directory, or durability='process'"
)


class Recovery(msgspec.Struct, frozen=True):
    """The result of recovering a writer that did not end well.

    Attributes:
        writer: Its name.
        events: Number of its unsealed events; they are sealed now.
        torn_bytes: Bytes of an incomplete last line, now removed.
        damaged: Number of unreadable lines, now in a file of their own (``.damaged``).
    """

    writer: str
    events: int
    torn_bytes: int
    damaged: int = 0


class Adopted(msgspec.Struct, frozen=True):
    """Events that were found in a writer's files, and that anybody may have written.

    Attributes:
        writer: Its name.
        first: The number of the first of them.
        last: The number of the last.
        file: Where they were.
        why: The reason.
    """

    writer: str
    first: int
    last: int
    file: str
    why: str


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
        self.refused: list[NotAttestedError] = []
        self.adopted: Adopted | None = None
        self._attestor = attestor
        self._trail = trail
        self._continues = continues
        self._sync = sync
        self._journal: Journal | None = None
        self._doubtful = False  # True after a failed sync of the journal
        try:
            make_directory(directory)
            refuse_writable_by_all(directory)
            self._take_name(fresh, exact, changed)
            secret = None if attestor is None else attestor.secret("intents")
            self.intents = Intents(self.path(""), sync, secret)
            if sync and not sync_file(self._lock.file):
                raise OSError(errno.ENOTSUP, _NO_SYNC)
            self.recovery = self._recover_at_start()
            self.sealed.through = self.sealed.last_sequence
        except (OSError, msgspec.DecodeError) as exc:
            msg = f"cannot archive to {str(directory)!r}: {getattr(exc, 'strerror', 0) or exc}"
            raise ArchiveError(msg) from exc

    def _take_name(self, fresh: bool, exact: bool, changed: Callable[[OSError], object]) -> None:
        """Lock the first free name whose files may be continued."""
        while True:
            names = {refused.writer for refused in self.refused}
            most = 1 if exact else MAX_WRITERS
            self._lock = claim(self.directory, self._trail, fresh, most, names)
            try:
                self.sealed = SealedFiles(self._lock, self._sync, changed)
                self._judge()
            except (NotAttestedError, msgspec.DecodeError) as exc:
                self._lock.release()
                if self._attestor is None:
                    raise
                if not isinstance(exc, NotAttestedError):
                    exc = NotAttestedError(self._lock.writer, str(exc))
                if exact:
                    raise exc from None
                self.refused.append(exc)
            else:
                return

    def _judge(self) -> None:
        """Find out what of the files is attested."""
        self.lost = 0
        if self._attestor is None:
            return
        journal, prefix = self.path(JOURNAL), self.path("")
        unlisted = journal if is_there(journal) else self._unlisted()
        last = self.sealed.manifest.last
        if unlisted is not None and last is not None:
            listed_file = self.directory / last.file
            if is_there(listed_file) and unlisted.samefile(listed_file):
                unlisted = None  # its sealed file, which is listed, has that name as well
        judged = self._attestor.judge(prefix, self.sealed.manifest, unlisted)
        self.lost = judged.lost
        if judged.gone is not None:
            self.refused.append(judged.gone)
        if judged.adopted:
            assert unlisted is not None
            words = "no keyed hash and no checkpoint covers them"
            self.adopted = Adopted(self.name, judged.adopted, judged.last, unlisted.name, words)
            self.sealed.adopted = judged.adopted
        self.sealed.attest_by(self._attestor.file(prefix, judged.state))

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
        journal = Journal(path, open_owned(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND))
        try:
            journal.write(HEAD)
            if self._sync:  # else power loss takes the whole file, even if its content is synced
                sync_file(self._lock.file)
                sync_directory(self.directory)
        except OSError:
            journal.close()
            path.unlink(missing_ok=True)
            raise
        self._journal = journal
        return journal

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
        """New descriptors of the files that hold unsealed events: none if everything is sealed."""
        if self._doubtful:
            self.renew()
        if self._journal is None:
            return []
        attested = self.sealed.attested
        return [os.dup(file.file) for file in (attested, self._journal) if file is not None]

    # --- what was there before, and what somebody else did to the files ---------------------

    def _recover_at_start(self) -> Recovery | None:
        """Seal the events that the last writer left in its journal."""
        self._list_unlisted()
        ended_well, paused = self._lock.ended_well, self._lock.is_paused
        found = self._take_up(self.path(JOURNAL))
        if paused and self._continues and self.adopted is None and _is_whole(found):
            self._lock.mark_running()
            return None  # it goes on with that journal
        if found is not None:
            self.seal()
        self.sealed.adopted = 0
        if found is None:
            return None if ended_well else Recovery(self.name, 0, 0)
        journal, torn, damaged = found
        if paused and _is_whole(found):
            self._lock.mark_ended()
            return None
        # The lock keeps the mark of the unclean end until an event reports it.
        return Recovery(self.name, journal.count, torn if journal.end else 0, damaged)

    def _list_unlisted(self) -> None:
        unlisted = self._unlisted()
        if unlisted is not None:
            self.sealed.list_found(unlisted)

    def _unlisted(self) -> Path | None:
        """The sealed file that is not in the manifest yet; None without one."""
        unlisted, journal = self.sealed.unlisted(self._lock), self.path(JOURNAL)
        if unlisted is not None and is_there(journal) and not unlisted.samefile(journal):
            return None  # no journal begins before all files are listed: it is somebody else's
        return unlisted

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

    def _take_up(self, path: Path) -> tuple[Journal, int, int] | None:
        """Continue the journal at *path*; a closed one is renamed, an empty one removed.

        Returns the journal, its torn bytes and its damaged lines; None without a journal.
        """
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
        elif closed:  # its writer died before it was renamed
            try:
                self._finish(journal)
            except OSError:
                self._close_journal()  # no event may follow its closing line
                raise
        return journal, torn, damaged

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
        lock = None
        if self.sealed.manifest.is_at(self.path(MANIFEST)):  # only the lock is gone
            with contextlib.suppress(BusyError):
                lock = claim(self.directory, self.name, most=1)
        if lock is None:
            lock = claim(self.directory, self._trail, fresh=True)
            try:
                self.sealed.read(lock)
            except OSError:
                lock.release()
                raise
            if self._attestor is not None:
                self.sealed.attest_by(self._attestor.file(lock.path(""), State()))
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


def _is_whole(found: tuple[Journal, int, int] | None) -> bool:
    """True of a journal with events, and with nothing else, as `_take_up` found it."""
    return found is not None and found[0].count > 0 and not found[1] and not found[2]


def _gone(directory: Path) -> JournalChangedError:
    words = "the directory was changed: it was removed or moved away"
    return JournalChangedError(errno.ENOENT, words, str(directory))


def recover_others(
    directory: Path,
    current: str,
    attest: Callable[[ArchiveWriter], bool],
    sync: bool = False,
    attestor: Attestor | None = None,
) -> tuple[list[ArchiveWriter], list[NotAttestedError]]:
    """Seal the journals of ended writers in *directory* (mostly of forked children).

    Args:
        directory: The archive.
        current: The name of the calling writer.
        attest: Makes a checkpoint of such a writer; False if that has to be tried again.
        sync: Force it all to stable storage.
        attestor: Says what of their files may be signed.

    Returns:
        The writers that did not end well, released again; and why others are left as they are.
    """
    found, refused = [], []
    with contextlib.suppress(OSError):  # the next start tries again
        journals = {path.stem for path in listed(directory, f"*{JOURNAL}")}
        manifests = {path.stem for path in listed(directory, f"*{MANIFEST}")}
        for name in sorted((journals | manifests) - {current}):
            lock = directory / f".{name}{LOCK}"
            # Not empty: the writer runs, was killed or paused, or its recovery was.
            if is_there(lock) and (name in journals or lock.stat().st_size):
                with contextlib.suppress(OSError):
                    knows = attestor is None or attestor.knows(directory / name)
                    if not knows and is_paused(lock):
                        continue  # of another key: whoever has it goes on
                    try:
                        found.append(_recover_other(directory, name, attest, sync, attestor))
                    except NotAttestedError as exc:
                        refused.append(exc)
    return [other for other in found if other.recovery is not None], refused


def _recover_other(
    directory: Path,
    name: str,
    attest: Callable[[ArchiveWriter], bool],
    sync: bool,
    attestor: Attestor | None,
) -> ArchiveWriter:
    other = ArchiveWriter(directory, name, exact=True, sync=sync, attestor=attestor)
    try:
        if attest(other) or not other.newest[0]:
            with contextlib.suppress(OSError):  # the next start tries again
                other._lock.mark_ended()
    finally:
        other.release()
    return other
