"""The sealed files of one writer, and the manifest that lists them."""

from __future__ import annotations

import contextlib
import stat
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..core.files import is_there, listed
from ..core.fsync import sync_directory
from ..core.time import format_time
from .attested import AttestedFile
from .journal import Journal, load
from .manifest import MANIFEST, HeadRecord, Manifest, OtherWriter, SealRecord, WritersRecord
from .publishing import publish
from .reader import closing_of
from .writer_lock import WriterLock

__all__ = ["SealedFiles"]


class SealedFiles:
    """The sealed files of a writer. Not thread-safe.

    Args:
        lock: The writer's lock.
        sync: Force the manifest to stable storage.
        changed: Called after a changed manifest was restored.

    Attributes:
        manifest: Lists the files.
        through: The number of the newest sealed event.
        clock_moved: Sum of the clock's jumps since the newest seal, in seconds.
        attested: Keeps the writer's newest state; None without a key.
        adopted: The number of the first event that nothing attests; 0 without one.

    Raises:
        OSError: If the manifest cannot be read.
        msgspec.DecodeError: If a line of it is not a record.
    """

    def __init__(self, lock: WriterLock, sync: bool, changed: Callable[[OSError], object]) -> None:
        self._directory = lock.directory
        self._sync = sync
        self._changed = changed
        self.through = 0
        self.clock_moved = 0.0
        self.attested: AttestedFile | None = None
        self.adopted = 0
        self.read(lock)

    def read(self, lock: WriterLock) -> None:
        """Read the manifest of the writer that holds *lock*.

        Raises:
            OSError: If it cannot be read; nothing has changed then.
            msgspec.DecodeError: If a line of it is not a record.
        """
        path = lock.path(MANIFEST)
        try:
            self.manifest = Manifest(path, self._changed)
        except msgspec.DecodeError as exc:
            msg = f"{path.name} has a line that is not a record (axon-audit verify): {exc}"
            raise msgspec.DecodeError(msg) from exc
        if self.attested is not None:
            self.manifest.attest = self.attested.line
        self._unlisted: tuple[Journal, Path] | None = None  # after a crash, `adopt` finds it

    def attest_by(self, attested: AttestedFile) -> None:
        """Have *attested* keep the writer's newest state."""
        self.attested = attested
        self.manifest.attest = attested.line

    @property
    def last_sequence(self) -> int:
        """The number of the newest event in the manifest; 0 before the first."""
        last = self.manifest.last
        return 0 if last is None else last.last_sequence

    @property
    def head(self) -> str | None:
        """The hash of the newest event in the manifest; None before the first."""
        last = self.manifest.last
        return None if last is None else last.head

    @property
    def are_gone(self) -> bool:
        """True if events were sealed that are not in the manifest any more."""
        return self.last_sequence < self.through

    @property
    def all_listed(self) -> bool:
        """True if each sealed file has its line in the manifest."""
        return self._unlisted is None

    def publish(self, journal: Journal) -> Path:
        """Give a journal with its closing line the name of a sealed file; return its path.

        Raises:
            OSError: If it could not be renamed.
        """
        last = self.manifest.last
        path = publish(journal.path, "" if last is None else last.file)
        self.through = journal.last
        known = self.manifest.seals.get(path.name)
        # It is listed already if its writer died while the file had two names.
        if known is None or known.last_sequence != journal.last:
            self._unlisted = journal, path
        return path

    def list_rest(self) -> None:
        """Add a sealed file to the manifest that could not be added before (no space).

        Raises:
            OSError: If that failed again.
        """
        if self._unlisted is not None:
            self._list(*self._unlisted)
            self._unlisted = None
            if self._sync:
                sync_directory(self._directory)

    def _list(self, journal: Journal, path: Path) -> None:
        has_adopted = 0 < self.adopted <= journal.last
        record = SealRecord(
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
            clock=self.clock_moved or msgspec.UNSET,
            adopted=max(self.adopted, journal.first) if has_adopted else msgspec.UNSET,
        )
        self.manifest.add(record, self._sync, journal.first_hash)
        self.clock_moved = 0.0

    def state_newest(self, journal: Journal) -> None:
        """Add a line about the newest event of *journal* to the manifest, unless it has one.

        Raises:
            OSError: If that failed.
        """
        stated, number, head = self.manifest.stated, journal.last, journal.head
        if stated is None or (stated.number, stated.head) != (number, head):
            now = format_time(time.time_ns() // 1000)
            record = HeadRecord(number=number, head=head, stated_at=now)
            self.manifest.add(record, self._sync, journal.first_hash)

    def state_others(self, others: list[OtherWriter]) -> None:
        """Add a line about other writers to the manifest.

        Raises:
            OSError: If that failed.
        """
        self.list_rest()  # its last line names the newest line of the manifest
        self.manifest.add(WritersRecord(writers=others), self._sync)

    def list_found(self, path: Path) -> None:
        """Add a sealed file to the manifest that `unlisted` found.

        Raises:
            OSError: If that failed.
        """
        journal, _ = load(path)
        journal.close()
        self._list(journal, path)

    def unlisted(self, lock: WriterLock) -> Path | None:
        """The sealed file that a killed writer could not add to the manifest; None without one.

        Raises:
            OSError: If files cannot be read.
        """
        manifest = lock.path(MANIFEST)
        ended_well = lock.ended_well  # else the clock may have gone back since
        since = manifest.stat().st_mtime if ended_well and is_there(manifest) else 0.0
        for path in listed(self._directory, "audit_*.json"):
            if path.name in self.manifest.seals:
                continue
            # A file of another writer may just be removed, or belong to another user.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                status = path.lstat()
                if status.st_mtime < since - 2:
                    continue
                closing = closing_of(path) if stat.S_ISREG(status.st_mode) else None
                wanted = lock.writer, self.last_sequence + 1
                if closing is not None and (closing.trail, closing.first_sequence) == wanted:
                    return path
        return None
