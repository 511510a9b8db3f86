"""What becomes of sealed files: compressed soon, deleted when their time is over.

Only whole files are deleted, the oldest first, and none while there is a legal hold (see
`hold`). Before a file goes, its writer's manifest says that it goes and by which rule, so that
what was there can still be proved. A file belongs to its writer: those of writers that are gone
are looked after by whoever is there.

By age only as far as the time is certain:

- The time is taken as the clock says it when the clock was settled for a day (see `clock`).
- Before that, in a process that saw no jump, it is as late as the newest seal in the directory
  that is between 1 and 35 days old: what was due then goes. So an archive that only short
  programs write to is looked after as well, a day or a month later; and whoever starts while
  the clock is wrong, also again and again, deletes nothing, for a day at least.
- Else nothing goes.

And a file is taken for no older than it can be; see `_dated`.
"""

from __future__ import annotations

import errno
import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from functools import partial
from itertools import takewhile
from pathlib import Path

import msgspec

from ..core.faults import Faults
from ..core.files import is_there, listed
from ..core.time import format_time
from ..core.turn import Turn
from .checkpoints import SigningKey, is_signed
from .clock import DAY_S, WallClock, to_time
from .directory import sealed_in
from .format import JOURNAL, ZST
from .holds import is_held
from .manifest import MANIFEST, DeleteRecord, Manifest, SealRecord, read_listing
from .publishing import compress
from .reader import digest
from .writer import ArchiveWriter
from .writer_lock import name_of_the_gone

__all__ = ["Upkeep"]

_logger = logging.getLogger("axon_audit_otel")

_EVERY_S = 60.0  # how often is looked for what has become too old
_COMPRESS_S = 0.1  # time for compression at once; the rest waits for the next run
_DAY = int(DAY_S * 1e6)
_IDLE = 35 * _DAY  # a monthly job, and some days
_EVER = 1e12  # seconds: more than a calendar has
_NEVER_SET = "2015"  # what is dated before is of a clock that was never set: 1970, 1980, 2000


@dataclass(frozen=True)
class _Sealed:
    """A sealed file that is there."""

    record: SealRecord
    writer: str
    when: str  # its newest event was, at the earliest
    size: int


@dataclass(frozen=True)
class Retention:
    """How long events are kept, and by which rule."""

    seconds: float
    rule: str


class Upkeep:
    """Compresses and deletes the sealed files of a directory.

    Args:
        compresses: Whether to compress them.
        retention: How long to keep them; None: no limit.
        most: Bytes that they may have together; None: no limit.
        key: Signs what was deleted.
        faults: Where is noted what failed, and what was deleted.
        clock: The trail's.
    """

    def __init__(
        self,
        compresses: bool,
        retention: Retention | None,
        most: int | None,
        key: SigningKey | None,
        faults: Faults,
        clock: WallClock,
    ) -> None:
        self._compresses = compresses
        self._retention = retention
        self._most = most
        self._key = key
        self._faults = faults
        self._fault = faults.fault
        self._clock = clock
        self._every = _EVERY_S if retention is None else min(_EVERY_S, retention.seconds / 10)
        self.begin()

    def begin(self) -> None:
        """With nothing done yet; in a forked child as well."""
        self._turn = Turn()
        self._deleted: list[tuple[str, str]] = []  # files and reasons, not told yet
        self._waiting: list[SealRecord] = []  # for compression, the newest last
        self._through = 0  # newest event in a file that was put there
        self._looked_at = 0.0
        self._lines = -1  # of the manifest, then
        self._unfinished = True  # a file may be there that a manifest says is deleted

    def run(
        self, writer: ArchiveWriter, lock: AbstractContextManager[object], patience: float = 0.0
    ) -> bool:
        """Do what is due, unless another thread does. Never raises.

        Args:
            writer: Of the archive.
            lock: What guards it; must not be held.
            patience: How many seconds to wait for the other one.

        Returns:
            Whether something was deleted.
        """
        limited = self._retention is not None or self._most is not None
        if not self._compresses and not limited:
            return False
        with self._turn.take(patience) as ours:
            try:
                if ours and self._compresses:
                    self._compress(writer, lock)
                return ours and limited and self._delete_what_is_due(writer, lock)
            except FileNotFoundError:  # the whole directory, perhaps: that is noticed elsewhere
                return False
            except (OSError, msgspec.DecodeError) as exc:
                self._fault("retention", exc)
                return False
            finally:
                if self._deleted:
                    self._faults.note(partial(_tell, self._deleted))
                    self._deleted = []

    # --- compression -----------------------------------------------------------------------

    def _compress(self, writer: ArchiveWriter, lock: AbstractContextManager[object]) -> None:
        with lock:
            records = reversed(writer.sealed.manifest.seals.values())
            new = list(takewhile(lambda record: record.last_sequence > self._through, records))
        if new:
            self._through = new[0].last_sequence
            self._waiting += reversed(new)
        until = time.monotonic() + _COMPRESS_S
        while self._waiting and time.monotonic() < until:
            record = self._waiting.pop()
            path = writer.directory / record.file
            # Else it is compressed, or deleted.
            if is_there(path) and not _is_journal(path, writer.name):
                try:
                    compress(path, record.sha256)
                except OSError as exc:
                    self._fault("compress", exc)

    # --- deletion --------------------------------------------------------------------------

    def _delete_what_is_due(
        self, writer: ArchiveWriter, lock: AbstractContextManager[object]
    ) -> bool:
        lines, now = writer.sealed.manifest.tree.size, time.monotonic()
        if lines == self._lines and now - self._looked_at < self._every:
            return False
        self._lines, self._looked_at = lines, now
        if is_held(writer.directory):
            return False
        if self._unfinished:
            _finish_deletions(writer.directory, writer.name)
            self._unfinished = False
        deleted = False
        with ExitStack() as stack:
            manifests: dict[str, Manifest | None] = {writer.name: writer.sealed.manifest}
            for file, reason in self._due(writer, lock):
                if is_held(writer.directory):
                    break
                if _is_journal(writer.directory / file.record.file, file.writer):
                    continue
                if file.writer not in manifests:
                    manifests[file.writer] = stack.enter_context(
                        name_of_the_gone(writer.directory, file.writer)
                    )
                manifest = manifests[file.writer]
                if manifest is None:  # its writer will do it
                    continue
                if not self._may_sign(writer.directory / f"{file.writer}.checkpoints"):
                    manifests[file.writer] = None
                    continue
                with lock if file.writer == writer.name else nullcontext():
                    if file.record.file not in manifest.seals:
                        continue  # another process was faster
                    manifest.add(self._deletion(file.record, reason, manifest.last_hash), sync=True)
                deleted = self._unfinished = True
                _remove(writer.directory, file.record.file)
                self._unfinished = False
                self._deleted.append((file.record.file, reason))
        self._lines = writer.sealed.manifest.tree.size
        return deleted

    def _due(
        self, writer: ArchiveWriter, lock: AbstractContextManager[object]
    ) -> Iterator[tuple[_Sealed, str]]:
        """What is to be deleted, the oldest first, and by which rule."""
        with lock:
            own = list(writer.sealed.manifest.seals.values())
            now = self._clock.look()
        files = _files_in(writer.directory, writer.name, own, format_time(now))
        retention, most = self._retention, self._most
        excess = 0 if most is None else sum(file.size for file in files) - most
        oldest = ""
        if retention is not None:
            certain = self._certain(now, files, retention.seconds)
            oldest = "" if certain is None else format_time(certain - int(retention.seconds * 1e6))
        for file in files:
            if file.when < oldest:
                assert retention is not None
                yield file, f"retention: {retention.rule}"
            elif excess > 0 and file is not files[-1]:  # one is always kept
                yield file, f"max_archive_bytes: {most}"
            else:
                return
            excess -= file.size

    def _certain(self, now: int, files: list[_Sealed], seconds: float) -> int | None:
        """The time that deletion may go by, in microseconds; None: none."""
        if self._clock.settled(seconds):
            return now
        if self._clock.jumped:
            return None
        first, last = format_time(now - _IDLE), format_time(now - _DAY)
        seals = [file.record.sealed_at for file in files]
        return to_time(max((at for at in seals if first <= at <= last), default=""))

    def _may_sign(self, checkpoints: Path) -> bool:
        """Whether what is signed is deleted signed: else `verify` would take it for damage."""
        if self._key is not None or not is_signed(checkpoints):
            return True
        why = "nothing is deleted without signing_key=, since it is signed"
        self._fault("retention", PermissionError(errno.EPERM, why, str(checkpoints)))
        return False

    def _deletion(self, record: SealRecord, reason: str, previous: str | None) -> DeleteRecord:
        now, key = format_time(time.time_ns() // 1000), self._key
        said = DeleteRecord(
            file=record.file,
            sha256=record.sha256,
            reason=reason,
            deleted_at=now,
            previous=previous,
        )
        if key is not None:
            said.signature = key.signature(said.text)
        return said


def _tell(deleted: list[tuple[str, str]]) -> None:
    for file, reason in deleted:
        _logger.info("audit archive: %s is deleted (%s)", file, reason)


def _is_journal(path: Path, writer: str) -> bool:
    """Whether a sealed file has its journal's name, too, until that is taken away: gone under
    the one name, its events would still be there under the other."""
    with suppress(FileNotFoundError):
        return path.with_name(f"{writer}{JOURNAL}").samefile(path)
    return False


def _remove(directory: Path, name: str) -> None:
    """Remove a file of a writer whose name we have: nobody else does, and while it is there
    nobody else's file has its name."""
    paths = (directory / name, directory / f"{name}{ZST}")
    for path in [path for path in paths if is_there(path)]:
        path.unlink(missing_ok=True)


def _files_in(directory: Path, writer: str, own: list[SealRecord], now: str) -> list[_Sealed]:
    """The sealed files that are in a manifest, the oldest first."""
    there = sealed_in(directory)
    records = {writer: own}
    for path in listed(directory, f"*{MANIFEST}"):
        if path.stem != writer:
            # Damaged, or of another user: what it lists is left alone.
            with suppress(msgspec.DecodeError, PermissionError):
                records[path.stem] = list(read_listing(path).seals.values())
    files = []
    for name, seals in records.items():
        for record, when in _dated(seals, now):
            with suppress(KeyError, FileNotFoundError):
                files.append(_Sealed(record, name, when, there[record.file].stat().st_size))
    return sorted(files, key=lambda file: (file.when, file.record.last_sequence))


def _dated(seals: list[SealRecord], now: str) -> list[tuple[SealRecord, str]]:
    """The seals of a writer in their order, and before when none of their events need be.

    That is the time of its newest event, unless the clock stood in the past then: where it
    jumped ahead later, that time is added; a time of a clock that was never set is that of the
    next file; and no file is older than the ones that its writer sealed before it.
    """
    dated = []
    ahead, following = 0, now
    for record in reversed(seals):
        when = record.last_time
        if when < _NEVER_SET:
            when = following
        elif ahead > 0 and (said := to_time(when)) is not None:
            when = format_time(said + ahead)
        dated.append((record, when))
        following = when
        if isinstance(record.clock, float):  # somebody else's may say anything
            ahead += int(max(-_EVER, min(record.clock, _EVER)) * 1e6)
    latest = ""
    for index, (record, when) in reversed(list(enumerate(dated))):
        if when <= now:  # else it is of a clock that stood in the future
            latest = max(latest, when)
            dated[index] = record, latest
    return dated[::-1]


def _finish_deletions(directory: Path, own: str) -> None:
    """Remove what a manifest says is deleted, and its writer could not remove any more."""
    there = sealed_in(directory)
    for manifest in listed(directory, f"*{MANIFEST}"):
        deleted: dict[str, str] = {}
        with suppress(msgspec.DecodeError, PermissionError):
            gone = read_listing(manifest).deleted
            deleted = {seal.file: seal.sha256 for seal, _ in gone if seal.file in there}
        if not deleted:
            continue
        writer = manifest.stem
        with nullcontext(True) if writer == own else name_of_the_gone(directory, writer) as ours:
            for name, sha256 in deleted.items():
                if ours and _is_as_sealed(there[name], sha256):
                    _remove(directory, name)


def _is_as_sealed(path: Path, sha256: str) -> bool:
    """Whether a file is still the one that was sealed under its name."""
    with suppress(FileNotFoundError):
        return digest(path)[1] == sha256
    return False
