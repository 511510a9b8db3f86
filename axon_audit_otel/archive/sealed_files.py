"""The sealed files of one writer, and the manifest that lists them."""

from __future__ import annotations

import contextlib
import stat
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from ..core.files import is_there, listed, open_regular, sync_directory
from ..core.time import format_time
from .journal import Journal, load
from .manifest import MANIFEST, Manifest, SealRecord
from .publishing import publish
from .writer_lock import WriterLock

__all__ = ["SealedFiles"]


class SealedFiles:
    """What a writer has sealed. Not thread-safe.

    Args:
        lock: The writer's.
        sync: Force the manifest to stable storage.
        changed: Told of a manifest that somebody changed, and that was put back.

    Attributes:
        manifest: Lists them.
        through: The number of the newest event in one of them.
        clock_moved: Seconds that the clock jumped since the newest of them was sealed.

    Raises:
        OSError: If the manifest cannot be read.
        msgspec.DecodeError: If a line of it is none of ours.
    """

    def __init__(self, lock: WriterLock, sync: bool, changed: Callable[[OSError], object]) -> None:
        self._directory = lock.directory
        self._sync = sync
        self._changed = changed
        self.through = 0
        self.clock_moved = 0.0
        self.read(lock)

    def read(self, lock: WriterLock) -> None:
        """Go by the manifest as its file is now; *lock* says whose.

        Raises:
            OSError: If it cannot be read; nothing has changed then.
            msgspec.DecodeError: If a line of it is none of ours.
        """
        path = lock.path(MANIFEST)
        try:
            self.manifest = Manifest(path, self._changed)
        except msgspec.DecodeError as exc:
            msg = f"{path.name} has a line that is no record (axon-audit verify): {exc}"
            raise msgspec.DecodeError(msg) from exc
        self._unlisted: tuple[Journal, Path] | None = None  # sealed; `adopt` finds it as well

    @property
    def last_sequence(self) -> int:
        """The number of the newest event that is listed; 0 before the first."""
        last = self.manifest.last
        return 0 if last is None else last.last_sequence

    @property
    def head(self) -> str | None:
        """The hash of that event."""
        last = self.manifest.last
        return None if last is None else last.head

    @property
    def are_gone(self) -> bool:
        """Whether events were sealed that the manifest does not know any more."""
        return self.last_sequence < self.through

    @property
    def all_listed(self) -> bool:
        """Whether each of them has its line."""
        return self._unlisted is None

    def publish(self, journal: Journal) -> Path:
        """Give a journal with its last line its name; returns that.

        Raises:
            OSError: If it could not be renamed.
        """
        last = self.manifest.last
        path = publish(journal.path, "" if last is None else last.file)
        self.through = journal.last
        known = self.manifest.seals.get(path.name)
        # A writer that died while the file had two names may have listed it.
        if known is None or known.last_sequence != journal.last:
            self._unlisted = journal, path
        return path

    def list_rest(self) -> None:
        """List what is sealed and could not be listed yet (no space for that line).

        Raises:
            OSError: If that failed again.
        """
        if self._unlisted is not None:
            self._list(*self._unlisted)
            self._unlisted = None
            if self._sync:
                sync_directory(self._directory)

    def _list(self, journal: Journal, path: Path) -> None:
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
        )
        self.manifest.add(record, self._sync, journal.first_hash)
        self.clock_moved = 0.0

    def adopt(self, lock: WriterLock) -> None:
        """List a file of ours that a killed writer sealed, and could not list.

        Raises:
            OSError: If that failed.
        """
        manifest = lock.path(MANIFEST)
        ended_well = lock.ended_well  # else the clock may have gone back since
        since = manifest.stat().st_mtime if ended_well and is_there(manifest) else 0.0
        wanted = f'"trail":"{lock.writer}","first_sequence":{self.last_sequence + 1},'
        for path in listed(self._directory, "audit_*.json"):
            # Another writer's: gone this moment, or of another user.
            with contextlib.suppress(FileNotFoundError, PermissionError):
                status = path.lstat()
                if path.name in self.manifest.seals or status.st_mtime < since - 2:
                    continue
                if not stat.S_ISREG(status.st_mode):
                    continue
                with open_regular(path) as file:
                    file.seek(max(0, status.st_size - 1024))
                    end = file.read()
                if wanted.encode() in end[end.rfind(b"\n],") :]:
                    journal, _ = load(path)
                    journal.close()
                    self._list(journal, path)
                    return
