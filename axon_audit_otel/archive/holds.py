"""Legal holds: while one is in force in an archive, nothing there is deleted or erased.

A hold is a file ``*.hold`` in the archive's directory, whose text is the reason; any program that
can write a file can place one. `axon-audit hold` also records in a trail of its own, ``hold``,
that it was placed or released. Such a hold is in force until its release is on record, even if
somebody removes its file.
"""

from __future__ import annotations

import heapq
import os
import re
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import open_owned, write_file
from ..core.os_user import os_user
from ..core.time import format_time, to_microseconds
from ..events.model import OperationType
from ..events.query import Query
from .directory import Directory
from .format import JOURNAL
from .line_filter import LineFilter
from .manifest import MANIFEST, SealRecord
from .missing import Missing
from .reader import LineReader

__all__ = [
    "HOLD",
    "HoldPeriod",
    "HoldRecord",
    "HoldWatch",
    "holds",
    "in_force",
    "is_hold_trail",
    "parts",
    "periods",
    "place_hold",
    "recorded_holds",
    "release_hold",
]

HOLD = ".hold"
_LONGEST = 1 << 16  # bytes that are read of a reason
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: Files of the trails that the command `hold` writes: their writers are hold, hold-2, ...
_TRAIL = re.compile(rf"(hold(?:-\d+)?)(?:{re.escape(MANIFEST)}|{re.escape(JOURNAL)})")


# --- the files -------------------------------------------------------------------------------


def holds(directory: Path, missing_ok: bool = False) -> dict[str, str]:
    """The holds in *directory* that have a file: their texts, by name.

    Args:
        directory: The archive's.
        missing_ok: Return {} if there is no such directory.

    Raises:
        ArchiveError: If *directory* cannot be read.
    """
    try:
        names = sorted(name for name in os.listdir(directory) if name.endswith(HOLD))  # noqa: PTH208 - raises
    except OSError as exc:
        if missing_ok and isinstance(exc, FileNotFoundError):
            return {}
        raise ArchiveError(f"cannot read {str(directory)!r}: {exc.strerror or exc}") from exc
    return {name.removesuffix(HOLD): _text_of(directory / name) for name in names}


def _text_of(path: Path) -> str:
    """The text of a hold; "" if it has none that can be read: a link is not followed."""
    with suppress(OSError), open(open_owned(path, os.O_RDONLY), "rb") as file:
        return file.read(_LONGEST).decode("utf-8", "replace").strip()
    return ""


def parts(text: str) -> dict[str, str | None]:
    """The parts of a hold's text: ``reason``, ``placed_at``, ``placed_by``; None if missing."""
    reason, _, last = text.rpartition("\n")
    placed = re.fullmatch(r"placed (\S+) by (.+)", last)
    at, by = placed.groups() if placed else (None, None)
    return {"reason": (reason if placed else text) or None, "placed_at": at, "placed_by": by}


def place_hold(directory: Path, reason: str, name: str = "legal") -> Path:
    """Stop every deletion in *directory*; returns the hold's file.

    Args:
        directory: The archive's.
        reason: The reason. The name of the user and the time are added.
        name: Name of the hold; a directory can have several.

    Raises:
        ArchiveError: If that name is taken, or the file cannot be written.
    """
    path = _path(directory, name)
    if name in holds(directory):
        raise ArchiveError(f"there is a hold {name!r} in {str(directory)!r}: use another name")
    placed = f"placed {format_time(time.time_ns() // 1000)} by {os_user().name or 'unknown'}"
    write_file([f"{reason.strip()}\n{placed}\n".encode("utf-8", "replace")], path)
    return path


def release_hold(directory: Path, name: str = "legal") -> None:
    """Remove the file of a hold, which may be gone already if the hold is on record.

    Raises:
        ArchiveError: If there is no hold of that name, or its file cannot be removed.
    """
    path = _path(directory, name)
    try:
        path.unlink()
    except OSError as exc:
        if isinstance(exc, FileNotFoundError) and name in in_force(directory):
            return
        why = "there is none" if isinstance(exc, FileNotFoundError) else exc.strerror
        msg = f"cannot release the hold {name!r} in {str(directory)!r}: {why}"
        raise ArchiveError(msg) from exc


def _path(directory: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise ArchiveError(f"{name!r} names no hold: must be 1 to 64 of A-Z a-z 0-9 . _ -")
    return directory / f"{name}{HOLD}"


# --- the records -----------------------------------------------------------------------------


class HoldRecord(NamedTuple):
    """An event that tells of a hold.

    Attributes:
        name: Of the hold.
        state: ``placed`` or ``released``.
        time: Of the event.
        writer: Of the event.
        number: Of the event.
        reason: Why it was placed; "" if that is encrypted, or not said.
        is_attested: False if an application found the event, and nothing attests it.
    """

    name: str
    state: str
    time: str
    writer: str
    number: int
    reason: str = ""
    is_attested: bool = True

    @classmethod
    def of(cls, facts: Mapping[str, Any], time: str, writer: str, number: int) -> HoldRecord | None:
        """The record that an AUDIT event with these facts is; None if it is another one."""
        name, state = facts.get("hold"), facts.get("state")
        is_one = facts.get("record") == "hold" and state in ("placed", "released")
        if not is_one or not isinstance(name, str) or not _NAME.fullmatch(name):
            return None
        reason = facts.get("reason")
        why = reason if isinstance(reason, str) else ""
        return cls(name, str(state), time, writer, number, why)

    def ends(self, placed: HoldRecord) -> bool:
        """Return True if it releases the hold that *placed* tells of."""
        if self.state != "released" or self.name != placed.name:
            return False
        if self.writer == placed.writer:
            return self.number > placed.number
        return self.time >= placed.time


class HoldPeriod(NamedTuple):
    """The time that a hold was in force.

    Attributes:
        placed: The record of its begin.
        released: The record of its end; None if there is none.
    """

    placed: HoldRecord
    released: HoldRecord | None = None


def periods(records: Iterable[HoldRecord]) -> list[HoldPeriod]:
    """The periods that *records* tell of; those of one writer are in order, of any number."""
    by_writer: dict[str, list[HoldRecord]] = {}
    for record in records:
        by_writer.setdefault(record.writer, []).append(record)
    found: list[HoldPeriod] = []
    begun: dict[str, HoldRecord] = {}
    for record in heapq.merge(*by_writer.values(), key=lambda record: record.time):
        if record.state == "placed":
            begun.setdefault(record.name, record)
        elif record.name in begun:
            found.append(HoldPeriod(begun.pop(record.name), record))
    return found + [HoldPeriod(record) for record in begun.values()]


def recorded_holds(directory: Path) -> list[HoldRecord]:
    """What the command `hold` has recorded in *directory*, as far as it can be read.

    A release that is not sealed, or that nothing attests (`SealRecord.adopted`), is left out:
    anybody who can write to the directory could have put it there.

    Raises:
        OSError: If the directory cannot be read.
    """
    trails = sorted(_trails_in(os.listdir(directory)))  # noqa: PTH208 - raises
    found: list[HoldRecord] = []
    if not trails:
        return found
    wanted, missing = LineFilter(Query(operation=OperationType.AUDIT)), Missing()
    with Directory(directory, missing) as here:
        for name in trails:
            writer = here.writers.get(name)
            files = [] if writer is None else [f for f in writer.files if f.state != "deleted"]
            if name in here.journals:
                files.append(here.journals[name])
            for file in files:
                # What is gone or damaged, `verify` finds.
                with suppress(OSError, InvalidEventError), here.open(file) as opened:
                    reader = LineReader(opened, file.path, missing)
                    if not reader.is_ours():
                        continue
                    for event in reader.decoded(reader.passing(wanted.lines, newest=False)):
                        time = format_time(to_microseconds(event.timestamp))
                        record = HoldRecord.of(event.metadata, time, name, event.sequence)
                        if record is not None and _is_believed(record, file.seal):
                            found.append(record)
    return found


def _is_believed(record: HoldRecord, seal: SealRecord | None) -> bool:
    if record.state == "placed":
        return True
    if seal is None:
        return False
    return not isinstance(seal.adopted, int) or record.number < seal.adopted


def is_hold_trail(writer: str) -> bool:
    """Return True if the command `hold` records under that writer's name."""
    return bool(_trails_in([f"{writer}{MANIFEST}"]))


def _trails_in(names: Iterable[str]) -> set[str]:
    return {match[1] for match in map(_TRAIL.fullmatch, names) if match is not None}


def in_force(directory: Path) -> list[str]:
    """The names of the holds in *directory*: by their files, and by their records.

    Raises:
        ArchiveError: If *directory* cannot be read.
    """
    with_file = holds(directory, missing_ok=True)
    with archive_errors(directory), suppress(FileNotFoundError):
        records = recorded_holds(directory)
        return sorted({*with_file, *(p.placed.name for p in periods(records) if not p.released)})
    return sorted(with_file)


class HoldWatch:
    """The holds of one archive as a running writer knows them.

    A hold that it has seen on record stays in force until a release is on record, also if
    somebody removes the record.
    """

    def __init__(self) -> None:
        self._seen: dict[str, HoldRecord] = {}  # records of holds without a release
        self._state: list[tuple[str, int, int]] = []  # files of the records that were read
        self._missing: list[str] = []
        self._told: set[str] = set()

    def look(self, directory: Path) -> list[str]:
        """The names of the holds that are in force in *directory*.

        Raises:
            OSError: If it cannot be read.
        """
        names = os.listdir(directory)  # noqa: PTH208 - raises
        with_file = {name.removesuffix(HOLD) for name in names if name.endswith(HOLD)}
        state = []
        for name in sorted(filter(_TRAIL.fullmatch, names)):
            with suppress(FileNotFoundError):
                status = (directory / name).stat()
                state.append((name, status.st_size, status.st_mtime_ns))
        if state != self._state:
            self._take(recorded_holds(directory))
            self._state = state
        gone = self._seen.keys() - with_file
        self._missing += sorted(gone - self._told)
        self._told = gone
        return sorted(with_file | gone)

    def _take(self, records: list[HoldRecord]) -> None:
        for record in records:
            placed = self._seen.get(record.name)
            if placed is not None and record.ends(placed):
                del self._seen[record.name]
        for period in periods(records):
            if period.released is None:
                self._seen.setdefault(period.placed.name, period.placed)

    def take_missing(self) -> list[str]:
        """The names of holds whose files were found to be gone since the last call."""
        missing, self._missing = self._missing, []
        return missing
