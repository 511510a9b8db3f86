"""Compresses sealed files soon, and deletes them by age or total size.

Only whole files are deleted, the oldest first, and none during a legal hold (see `holds`), also if
its file was removed. In a signed archive the records of holds stay: `verify` judges by them. Before
a file is deleted, the manifest of its writer records the deletion and its rule, so that its
content can still be proved. Files of writers that have ended are handled by a running writer.

Deletion by age needs a time that is certain:

- If the clock was settled for a day (see `clock`), it is the time of the clock.
- Before that, in a process without a jump, it is the time of the newest seal in the directory
  that is between 1 and 35 days old. So an archive with short-running writers only is also cleaned
  up, a day or a month later; and processes that start while the clock is wrong delete nothing,
  at least for a day.
- Else nothing is deleted by age.

And a file never counts as older than it can be; see `_dated`.
"""

from __future__ import annotations

import errno
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
from ..core.log import logger
from ..core.time import format_time
from ..core.turn import Turn
from .checkpoints import SigningKey, is_signed
from .clock import DAY_S, WallClock, to_time
from .directory import Directory, EventFile, sealed_in
from .format import JOURNAL, ZST, Closing, sealed_name
from .holds import HoldWatch, is_hold_trail
from .index.archive import remove_index
from .manifest import MANIFEST, DeleteRecord, Manifest, SealRecord, read_listing
from .missing import Missing
from .publishing import compress
from .reader import closing_of, digest
from .writer import ArchiveWriter
from .writer_lock import name_of_the_gone

__all__ = ["LAWS", "Retention", "Upkeep", "rule_seconds"]


_EVERY_S = 60.0  # between two searches for files that are too old
_COMPRESS_S = 0.1  # time for compression in one run
_DAY = int(DAY_S * 1e6)
_IDLE = 35 * _DAY  # a monthly job, and some days
_EVER = 1e12  # seconds: more than a calendar has
_NEVER_SET = "2015"  # earlier times are of a clock that was not set: 1970, 1980, 2000


@dataclass(frozen=True)
class _Sealed:
    """A sealed file in the directory."""

    record: SealRecord
    writer: str
    when: str  # the earliest possible time of its newest event
    path: Path  # one of another name, if there is none of its own
    size: int


@dataclass(frozen=True)
class Retention:
    """The time to keep events, and the rule that says it."""

    seconds: float
    rule: str

    @classmethod
    def of(cls, seconds: float) -> Retention:
        """The rule to keep events for so many seconds."""
        return cls(seconds, f"{seconds / DAY_S:g} days")


#: How long the law wants records kept, at least: the longest that the months or years can be.
LAWS = {
    "hipaa": Retention(2192 * DAY_S, "six years, 45 CFR 164.316(b)(2)(i) (HIPAA)"),
    "eu-ai-act": Retention(184 * DAY_S, "six months, Regulation (EU) 2024/1689 Art. 19(1), 26(6)"),
}


def rule_seconds(rule: str) -> float | None:
    """The seconds that the rule of a `Retention` means; None if *rule* is another text."""
    for law in LAWS.values():
        if law.rule == rule:
            return law.seconds
    number, _, unit = rule.partition(" ")
    with suppress(ValueError):
        length = float(number) * DAY_S
        return length if unit == "days" and 0 < length < _EVER else None
    return None


class Upkeep:
    """Compresses and deletes the sealed files of a directory.

    Args:
        compresses: True to compress them.
        retention: The time to keep them; None: no limit.
        most: The limit of their total size in bytes; None: no limit.
        key: Signs deletions.
        faults: Takes failures, and the log messages about deletions.
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
        #: The holds of the directory, which stop every deletion.
        self.holds = HoldWatch()
        self._every = _EVERY_S if retention is None else min(_EVERY_S, retention.seconds / 10)
        self.begin()

    def begin(self) -> None:
        """Start with nothing done yet; also called in a forked child."""
        self._turn = Turn()
        self._deleted: list[tuple[str, str]] = []  # files and reasons, not logged yet
        self._waiting: list[SealRecord] = []  # for compression, the newest last
        self._through = 0  # newest event in a file that was added to it
        self._looked_at = 0.0
        self._lines = -1  # of the manifest at that time
        self._unfinished = True  # a file may be left that a manifest lists as deleted

    @property
    def is_compressing(self) -> bool:
        """True if files are to be compressed."""
        return bool(self._waiting)

    def run(
        self, writer: ArchiveWriter, lock: AbstractContextManager[object], patience: float = 0.0
    ) -> bool:
        """Do what is due, unless another thread is doing it. Never raises.

        Args:
            writer: The writer of the archive.
            lock: Its lock; must not be held.
            patience: Seconds to wait for the other thread.

        Returns:
            True if a file was deleted.
        """
        limited = self._retention is not None or self._most is not None
        if not self._compresses and not limited:
            return False
        with self._turn.take(patience) as ours:
            try:
                if ours and self._compresses:
                    self._compress(writer, lock)
                return ours and limited and self._delete_what_is_due(writer, lock)
            except FileNotFoundError:  # the directory may be gone: that is noticed elsewhere
                return False
            except (OSError, msgspec.DecodeError) as exc:
                self._fault("retention", exc)
                return False
            finally:
                if self._deleted:
                    self._faults.note(partial(_log, self._deleted))
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
        if self.holds.look(writer.directory):
            return False
        if self._unfinished:
            _finish_deletions(writer.directory, writer.name, self._key)
            self._unfinished = False
        deleted = False
        with Directory(writer.directory, Missing()) as here, ExitStack() as stack:
            manifests: dict[str, Manifest | None] = {}
            for file, reason in self._due(writer, lock, here):
                # Before the look, and after the one before: to `verify`, no hold placed meanwhile,
                # or released, was in force at this time.
                moment = format_time(time.time_ns() // 1000)
                if self.holds.look(writer.directory):
                    break
                if file.writer not in manifests:
                    manifests[file.writer] = self._manifest_of(file.writer, writer, stack)
                manifest = manifests[file.writer]
                there = EventFile.listed_as(file.record, writer.directory)
                there.path = file.path
                if manifest is None or _is_journal(there.path, file.writer) or not here.find(there):
                    continue  # or another file has its name
                with lock if file.writer == writer.name else nullcontext():
                    if file.record.file not in manifest.seals:
                        continue  # another process was faster
                    deletion = self._deletion(file.record, reason, moment, manifest.last_hash)
                    manifest.add(deletion, sync=True)
                deleted = self._unfinished = True
                _remove(writer.directory, sealed_name(there.path))
                self._unfinished = False
                self._deleted.append((file.record.file, reason))
        self._lines = writer.sealed.manifest.tree.size
        return deleted

    def _manifest_of(self, name: str, writer: ArchiveWriter, stack: ExitStack) -> Manifest | None:
        """The manifest for deletions of writer *name*; None if we may not write it."""
        if name == writer.name:
            manifest: Manifest | None = writer.sealed.manifest
        else:
            manifest = stack.enter_context(name_of_the_gone(writer.directory, name))
        may = manifest is not None and self._may_sign(writer.directory / f"{name}.checkpoints")
        return manifest if may else None

    def _due(
        self, writer: ArchiveWriter, lock: AbstractContextManager[object], here: Directory
    ) -> Iterator[tuple[_Sealed, str]]:
        """Yield the files to delete, the oldest first, and the rule for each."""
        with lock:
            own_seals = list(writer.sealed.manifest.seals.values())
            now = self._clock.look()
        files = _files_in(here, writer.name, own_seals, format_time(now))
        retention, most = self._retention, self._most
        excess = 0 if most is None else sum(file.size for file in files) - most
        oldest = ""
        if retention is not None:
            certain = self._certain(now, files, retention.seconds)
            oldest = "" if certain is None else format_time(certain - int(retention.seconds * 1e6))
        for file in files:
            if self._key is not None and is_hold_trail(file.writer):
                continue
            if file.when < oldest:
                assert retention is not None
                yield file, f"retention: {retention.rule}"
            elif excess > 0 and file is not files[-1]:  # the newest is always kept
                yield file, f"max_archive_bytes: {most}"
            else:
                return
            excess -= file.size

    def _certain(self, now: int, files: list[_Sealed], seconds: float) -> int | None:
        """The time for deletion by age, in microseconds; None if no time is certain."""
        if self._clock.settled(seconds):
            return now
        if self._clock.jumped:
            return None
        first, last = format_time(now - _IDLE), format_time(now - _DAY)
        seals = [file.record.sealed_at for file in files]
        return to_time(max((at for at in seals if first <= at <= last), default=""))

    def _may_sign(self, checkpoints: Path) -> bool:
        """Return True unless the archive is signed and we have no key.

        To `verify`, an unsigned deletion in a signed archive is damage.
        """
        if self._key is not None or not is_signed(checkpoints):
            return True
        why = "nothing is deleted without signing_key=, since it is signed"
        self._fault("retention", PermissionError(errno.EPERM, why, str(checkpoints)))
        return False

    def _deletion(
        self, record: SealRecord, reason: str, moment: str, previous: str | None
    ) -> DeleteRecord:
        key = self._key
        deletion = DeleteRecord(
            file=record.file,
            sha256=record.sha256,
            reason=reason,
            deleted_at=moment,
            previous=previous,
        )
        if key is not None:
            deletion.signature = key.signature(deletion.text)
        return deletion


def _log(deleted: list[tuple[str, str]]) -> None:
    for file, reason in deleted:
        logger.info("audit archive: %s is deleted (%s)", file, reason)


def _is_journal(path: Path, writer: str) -> bool:
    """Return True if a sealed file still has the name of its journal as well.

    Its events would still be there after a deletion.
    """
    with suppress(FileNotFoundError):
        return path.with_name(f"{writer}{JOURNAL}").samefile(path)
    return False


def _remove(directory: Path, name: str) -> None:
    """Remove a file of a writer whose lock we hold: no other process removes or replaces it."""
    remove_index(directory, name)  # first: if we are killed now, the file is removed later
    paths = (directory / name, directory / f"{name}{ZST}")
    for path in [path for path in paths if is_there(path)]:
        path.unlink(missing_ok=True)
    remove_index(directory, name)  # somebody may just have made it


def _files_in(here: Directory, writer: str, own: list[SealRecord], now: str) -> list[_Sealed]:
    """The sealed files in the manifests, the oldest first."""
    records = {writer: own}
    for path in listed(here.path, f"*{MANIFEST}"):
        if path.stem != writer:
            # Damaged, or of another user: leave its files alone.
            with suppress(msgspec.DecodeError, PermissionError):
                records[path.stem] = list(read_listing(path).seals.values())
    names = {record.file for seals in records.values() for record in seals}
    renamed: dict[str, Path] = {}  # by their Merkle roots
    if names - here.sealed.keys():
        for path in [path for name, path in here.sealed.items() if name not in names]:
            renamed[(closing_of(path, exact=False) or Closing()).root] = path
    files = []
    for name, seals in records.items():
        for record, when in _dated(seals, now):
            with suppress(KeyError, FileNotFoundError):
                path = here.sealed.get(record.file) or renamed[record.root]
                files.append(_Sealed(record, name, when, path, path.stat().st_size))
    return sorted(files, key=lambda file: (file.when, file.record.last_sequence))


def _dated(seals: list[SealRecord], now: str) -> list[tuple[SealRecord, str]]:
    """The seals of a writer in order, and for each the earliest possible time of its newest event.

    That is the event's own time, unless the clock was in the past then: later jumps ahead are
    added; a time before 2015 is replaced by that of the next file; and no file is older than an
    earlier file of its writer.
    """
    dated = []
    ahead, following = 0, now
    for record in reversed(seals):
        when = record.last_time
        if when < _NEVER_SET:
            when = following
        elif ahead > 0 and (moment := to_time(when)) is not None:
            when = format_time(moment + ahead)
        dated.append((record, when))
        following = when
        if isinstance(record.clock, float):  # a foreign manifest may have any value
            ahead += int(max(-_EVER, min(record.clock, _EVER)) * 1e6)
    latest = ""
    for index, (record, when) in reversed(list(enumerate(dated))):
        if when <= now:  # else the clock was in the future
            latest = max(latest, when)
            dated[index] = record, latest
    return dated[::-1]


def _finish_deletions(directory: Path, own: str, key: SigningKey | None) -> None:
    """Remove files that a manifest lists as deleted, and that are still there.

    With a key, only a line that it signed counts: anybody could have written another.
    """
    there = sealed_in(directory)
    for manifest in listed(directory, f"*{MANIFEST}"):
        deleted: dict[str, str] = {}
        with suppress(msgspec.DecodeError, PermissionError):
            deleted = {
                seal.file: seal.sha256
                for seal, record in read_listing(manifest).deleted
                if seal.file in there and (key is None or record.is_signed_by(key.verifying))
            }
        if not deleted:
            continue
        writer = manifest.stem
        with nullcontext(True) if writer == own else name_of_the_gone(directory, writer) as ours:
            for name, sha256 in deleted.items():
                if ours and _is_as_sealed(there[name], sha256):
                    _remove(directory, name)


def _is_as_sealed(path: Path, sha256: str) -> bool:
    """Return True if the content of a file is the one that was sealed."""
    with suppress(FileNotFoundError):
        return digest(path)[1] == sha256
    return False
