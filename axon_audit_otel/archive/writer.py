"""The archive of a trail: its journal, the sealed files it becomes, and their manifest.

Any number of trails and processes share a directory; each writer holds the lock of a name::

    .default.lock                  held by its writer; not empty while that runs
    default.journal                the events since the last seal, as they happen
    default.manifest               one line a sealed (or deleted) file, chained
    audit_2025_01_15_103045.json   sealed
    default-2.journal ...          of a second process or a forked child
    default.journal.replaced       what somebody put in a file's place while its writer ran

Sealing adds a last line to the journal and renames it. An event is handed to the kernel
before `write` returns.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import ArchiveError
from ..core.files import (
    append,
    is_there,
    listed,
    make_directory,
    open_owned,
    sync_directory,
    sync_file,
    write_file,
)
from ..core.time import format_time
from .format import HEAD, JOURNAL, tail
from .intents import Intents
from .journal import Journal, JournalChangedError, load, salvage, set_damage_aside
from .manifest import MANIFEST, Manifest, SealRecord, trail_id
from .publishing import publish
from .writer_lock import LOCK, MAX_WRITERS, BusyError, claim, is_held

__all__ = ["Archive", "Recovery"]

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


class Archive:
    """The one writer of one name in a directory. Not thread-safe: the trail holds a lock.

    Args:
        directory: Created, with its parents, if it is missing.
        trail: Name of the trail. The writer's name is that, or with a number if another
            writer has it.
        fresh: Take a name without a past.
        exact: Take that name or none.
        sync: Force sealed files and the manifest to stable storage.
        changed: Told of files of ours that somebody changed, and that were put back.

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
        self._changed = changed
        self.sealed_through = 0  # number of the newest event in a sealed file
        self.jumped = 0.0  # seconds that the clock did since the last seal
        self._trail = trail
        self._sync = sync
        self._journal: Journal | None = None
        self._running = False
        self._doubtful = False  # whether the device failed to sync the journal
        self.intents: Intents
        self._unlisted: tuple[Journal, Path] | None = None  # sealed, not in the manifest yet
        try:
            make_directory(directory)
            self.writer, self._lock = claim(directory, trail, fresh, 1 if exact else MAX_WRITERS)
            self.intents = Intents(directory / self.writer, sync)
            if sync and not sync_file(self._lock):
                raise OSError(errno.ENOTSUP, _NO_SYNC)
            self.manifest = self._read_manifest()  # what is sealed
            self.recoveries = [found for found in [self._recover()] if found is not None]
            self.sealed_through = self.last_sequence
        except (OSError, msgspec.DecodeError) as exc:
            msg = f"cannot archive to {str(directory)!r}: {getattr(exc, 'strerror', 0) or exc}"
            raise ArchiveError(msg) from exc

    def _named(self, suffix: str) -> Path:
        return self.directory / f"{self.writer}{suffix}"

    def _read_manifest(self) -> Manifest:
        path = self._named(MANIFEST)
        try:
            return Manifest(path, self._changed)
        except msgspec.DecodeError as exc:
            msg = f"{path.name} has a line that is no record (axon-audit verify): {exc}"
            raise msgspec.DecodeError(msg) from exc

    # --- what was there before -----------------------------------------------------------

    @property
    def last_sequence(self) -> int:
        """The number of the newest sealed event; 0 before the first."""
        last = self.manifest.last
        return 0 if last is None else last.last_sequence

    @property
    def head(self) -> str | None:
        """The hash of that event."""
        last = self.manifest.last
        return None if last is None else last.head

    def _recover(self) -> Recovery | None:
        """Seal what the writer before left in its journal."""
        self._adopt()
        ended_well = os.fstat(self._lock).st_size == 0
        path = self._named(JOURNAL)
        if not is_there(path):
            return None if ended_well else Recovery(self.writer, 0, 0)
        damaged = set_damage_aside(path)
        size = path.stat().st_size
        journal, closed = load(path)
        torn = size - journal.end
        if not journal.count:
            os.close(journal.file)
            path.unlink()
            return Recovery(self.writer, 0, torn if journal.end else 0, damaged)
        self._journal = journal
        if closed:  # it died between the last line and the end of the renaming
            self._finish(journal)
        else:
            self.seal()
        # The lock tells of the unclean end until an event does: we may be killed before.
        return Recovery(self.writer, journal.count, torn, damaged)

    def mend(self) -> None:
        """Be as the files say, after an exception in the middle of a call.

        Raises:
            OSError: If they cannot be read.
        """
        self._close_journal()
        self._unlisted = None  # `_adopt` finds it
        self.manifest = self._read_manifest()
        self._adopt()
        self._take_up(self._named(JOURNAL))
        self.sealed_through = self.last_sequence

    def _take_up(self, path: Path) -> None:
        """Go on with the journal at *path*, if there is one with events."""
        if not is_there(path):
            self._close_journal()
            return
        set_damage_aside(path)
        journal, closed = load(path)
        if not journal.count:
            os.close(journal.file)
            path.unlink()
            self._close_journal()
            return
        if self._journal is not None:
            journal.began = self._journal.began
        self._close_journal()
        self._journal = journal
        if closed:
            try:
                self._finish(journal)
            except OSError:
                self._close_journal()  # nothing may follow its last line
                raise

    # --- what somebody else did to the files -----------------------------------------------

    def look(self) -> None:
        """See that the files are as they were left, while they are at work.

        Raises:
            JournalChangedError: If events are no longer where they were written: see `restore`.
            OSError: If that cannot be told.
        """
        if not self._running:
            return
        if not is_held(self._named_lock(), self._lock):
            raise self._gone()
        if self._journal is not None:
            self._journal.look()
        self.manifest.restore()

    def restore(self, oldest: int) -> None:
        """Have in the directory again what is left of the events, after a `JournalChangedError`.

        What is left is in the journal's file, wherever that is now. `newest` and
        `sealed_through` say what there is afterwards.

        Args:
            oldest: The number of the oldest event in memory, which can be written again.

        Raises:
            OSError: If that failed; nothing is given up, and it can be tried again.
        """
        self._reclaim()
        self._say_it_runs()
        self._list()
        self.manifest.restore()
        journal, path = self._journal, self._named(JOURNAL)
        gone = self.last_sequence < self.sealed_through  # the sealed files
        if journal is None or (gone and oldest <= journal.first):  # memory goes further back
            self._close_journal()
        else:
            salvage(journal, path)
            self._take_up(path)
        if self._sync:
            sync_directory(self.directory)
        self.sealed_through = self.last_sequence

    def _gone(self) -> JournalChangedError:
        words = "the directory was changed: it was removed or moved away"
        return JournalChangedError(errno.ENOENT, words, str(self.directory))

    @property
    def newest(self) -> tuple[int, str | None]:
        """The number and the hash of the newest event, sealed or not."""
        journal = self._journal
        if journal is not None and journal.count:
            return journal.last, journal.head
        return self.last_sequence, self.head

    def intend(self, intent: bytes, running: Collection[bytes] = ()) -> None:
        """Write down what is about to be done; see `Intents.add`.

        Raises:
            OSError: If it, or its outcome, could not be recorded.
        """
        self._reclaim()
        self.intents.add(intent, running)

    def unfinished(self) -> list[dict[str, Any]]:
        """What was about to be done before a crash, and has no outcome; see `Intents`.

        Raises:
            ArchiveError: If that cannot be read.
        """
        try:
            return self.intents.unfinished(reversed(self.manifest.seals.values()))
        except OSError as exc:
            msg = f"cannot archive to {str(self.directory)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc

    # --- checkpoints -----------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """Which trail a checkpoint of this one is about."""
        return f"axon-audit/{self.writer}/{self.manifest.id or 'new'}"

    @property
    def stream(self) -> str:
        """What tells its events from those of every other trail; "" before the first."""
        journal = self._journal
        if self.manifest.id is None and journal is not None:
            return trail_id(journal.first_hash)
        return self.manifest.id or ""

    @property
    def tree(self) -> tuple[int, bytes]:
        """Size and root of the tree over the manifest."""
        return self.manifest.tree.size, self.manifest.tree.root()

    def keep_checkpoint(self, note: str) -> None:
        """Write a signed statement beside the files that it is about.

        Raises:
            OSError: If that failed.
        """
        write_file([note.encode()], self._named(".checkpoint"))
        append(self._named(".checkpoints"), note.encode())

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

    def recover_others(self, attest: Callable[[Archive], bool]) -> None:
        """Seal what other writers left here that live no more (forked children, mostly).

        Args:
            attest: Signs how far such a writer was; False if it has to be tried again.
        """
        with contextlib.suppress(OSError):  # the next start tries again
            journals = {path.stem for path in listed(self.directory, f"*{JOURNAL}")}
            manifests = {path.stem for path in listed(self.directory, f"*{MANIFEST}")}
            for writer in sorted((journals | manifests) - {self.writer}):
                lock = self.directory / f".{writer}{LOCK}"
                # Not empty: it runs, or was killed, or whoever recovered it was.
                if is_there(lock) and (writer in journals or lock.stat().st_size):
                    self._recover_other(writer, attest)

    def _recover_other(self, writer: str, attest: Callable[[Archive], bool]) -> None:
        with contextlib.suppress(OSError):
            other = Archive(self.directory, writer, exact=True, sync=self._sync)
            self.recoveries += other.recoveries
            if attest(other) or not other.newest[0]:
                os.ftruncate(other._lock, 0)
            other.close()

    # --- writing --------------------------------------------------------------------------

    @property
    def count(self) -> int:
        """Events in the journal."""
        return 0 if self._journal is None else self._journal.count

    @property
    def first(self) -> int:
        """The number of the first of them; 0 without any."""
        return 0 if self._journal is None else self._journal.first

    @property
    def size(self) -> int:
        """Bytes in the journal."""
        return 0 if self._journal is None else self._journal.end

    @property
    def age(self) -> float:
        """Seconds since the journal began."""
        return 0.0 if self._journal is None else time.monotonic() - self._journal.began

    def write(self, line: bytes, leaf: bytes, sequence: int, timestamp: str) -> None:
        """Append one event. When this returns, it survives a killed process.

        Raises:
            JournalChangedError: If what was written before is no longer there: see `restore`.
            OSError: If it could not be written; the journal is as before.
        """
        journal = self._journal
        if journal is None:
            journal = self._open()
        else:
            journal.look()
        data = b"%b%b\n" % (b"," if journal.count else b" ", line)
        try:
            journal.put(data)
        except OSError:
            if not self.intents.give_reserve():
                raise
            journal.put(data)
        journal.took(leaf, sequence, timestamp)

    def _open(self) -> Journal:
        self._reclaim()
        self._list()
        if self.last_sequence < self.sealed_through:
            raise self._gone()
        self.manifest.restore()
        self._say_it_runs()
        path = self._named(JOURNAL)
        if is_there(path):  # sealed, under another name; this one could not be removed
            self.mend()
        journal = Journal(path, open_owned(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND))
        try:
            journal.put(HEAD)
            if self._sync:  # else power loss takes the file, whatever was synced of its content
                sync_file(self._lock)
                sync_directory(self.directory)
        except OSError:
            os.close(journal.file)
            path.unlink(missing_ok=True)
            raise
        self._journal = journal
        return journal

    def _say_it_runs(self) -> None:
        os.pwrite(self._lock, b"%d\n" % os.getpid(), 0)
        self._running = True

    def _reclaim(self) -> None:
        """Make the directory again, with our name in it, if it is gone or was moved."""
        make_directory(self.directory)
        if is_held(self._named_lock(), self._lock):
            return
        if self.manifest.is_at(self._named(MANIFEST)):  # it was the lock alone
            with contextlib.suppress(BusyError):
                _, new = claim(self.directory, self.writer, fresh=False, most=1)
                self._go_by(new)
                return
        writer, new = claim(self.directory, self._trail, fresh=True)
        try:
            manifest = Manifest(self.directory / f"{writer}{MANIFEST}", self._changed)
        except OSError:
            os.close(new)
            raise
        self.writer, self.manifest, self._unlisted = writer, manifest, None
        self.intents = self.intents.moved(self.directory / writer)
        self._go_by(new)

    def _go_by(self, lock: int) -> None:
        with contextlib.suppress(OSError):
            os.close(self._lock)
        self._lock, self._running = lock, False

    def _named_lock(self) -> Path:
        return self.directory / f".{self.writer}{LOCK}"

    def seal(self) -> Path | None:
        """Make the journal a sealed file; returns its path, None if it held nothing.

        Raises:
            JournalChangedError: If its events are no longer in it: see `restore`.
            OSError: If that failed; the journal goes on.
        """
        self._list()
        journal = self._journal
        if journal is None or not journal.count:
            return None
        journal.look()
        closing = tail(
            journal.count,
            trail=self.writer,
            first_sequence=journal.first,
            last_sequence=journal.last,
            root=journal.tree.root().hex(),
            previous_seal=self.manifest.last_hash,
        )
        digest = journal.digest.copy()
        journal.put(closing)
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
            self._force(journal)
        last = self.manifest.last
        path = publish(journal.path, "" if last is None else last.file)
        self._close_journal()
        self.sealed_through = journal.last
        known = self.manifest.seals.get(path.name)
        # A writer that died while the file had two names may have listed it.
        if known is None or known.last_sequence != journal.last:
            self._unlisted = journal, path
            self._list()
        return path

    def _force(self, journal: Journal) -> None:
        """Sync *journal*; once that failed, only a new file is believed."""
        if self._doubtful:
            self.renew()
        try:
            sync_file(journal.file)
        except OSError:
            self._doubtful = True
            raise

    def _list(self) -> None:
        """List what is sealed and could not be listed (no space for that line)."""
        if self._unlisted is not None:
            self._register(*self._unlisted)
            self._unlisted = None
            if self._sync:
                sync_directory(self.directory)

    def _register(self, journal: Journal, path: Path) -> None:
        """The line of a sealed file in the manifest."""
        self.manifest.add(
            SealRecord(
                file=path.name,
                first_sequence=journal.first,
                last_sequence=journal.last,
                events=journal.count,
                first_time=journal.first_time,
                last_time=journal.last_time,
                head=journal.head,
                root=journal.tree.root().hex(),
                sealed_at=format_time(time.time_ns() // 1000),
                bytes=journal.end,
                sha256=journal.digest.hexdigest(),
                clock=self.jumped or msgspec.UNSET,
            ),
            self._sync,
            journal.first_hash,
        )
        self.jumped = 0.0

    def _adopt(self) -> None:
        """Register a file of ours that a killed writer sealed, and could not register."""
        manifest = self._named(MANIFEST)
        ended_well = os.fstat(self._lock).st_size == 0  # else the clock may have gone back since
        since = manifest.stat().st_mtime if ended_well and is_there(manifest) else 0.0
        wanted = f'"trail":"{self.writer}","first_sequence":{self.last_sequence + 1},'
        for path in listed(self.directory, "audit_*.json"):
            # Another writer's: gone this moment, or of another user.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                status = path.lstat()
                if path.name in self.manifest.seals or status.st_mtime < since - 2:
                    continue
                if not stat.S_ISREG(status.st_mode):
                    continue
                with path.open("rb") as file:
                    file.seek(max(0, status.st_size - 1024))
                    end = file.read()
                if wanted.encode() not in end[end.rfind(b"\n],") :]:
                    continue
                journal, _ = load(path)
                os.close(journal.file)
                self._register(journal, path)
                return

    def _close_journal(self) -> None:
        if self._journal is not None:
            with contextlib.suppress(OSError):
                os.close(self._journal.file)
        self._journal = None

    def ended(self) -> None:
        """Say that all is well: what is not sealed now was never written.

        Raises:
            OSError: If that could not be said.
        """
        if self._lock >= 0 and self._running and not self.count and self._unlisted is None:
            os.ftruncate(self._lock, 0)
            self._running = False
            self.intents.remove()

    def close(self) -> None:
        """Say that the writer ended well, and let its name go."""
        with contextlib.suppress(OSError):
            self.ended()
        self.abandon()

    def __del__(self) -> None:
        if getattr(self, "_lock", -1) >= 0 and contextlib is not None:  # None: Python is ending
            self.abandon()

    def abandon(self) -> None:
        """Let go of everything and leave it as it is (a forked child; a failure)."""
        self._close_journal()
        self.intents.close()
        if self._lock >= 0:
            with contextlib.suppress(OSError):
                os.close(self._lock)
        self._lock = -1
