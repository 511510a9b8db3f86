"""Remembers which events of an archive a receiver has acknowledged (``default.shipped``).

Who holds the lock of that file ships the events of that writer: one at a time.

Acknowledgements and events reach the disk independently. After a power loss, or from a backup,
an acknowledgement may be of an event that the archive has lost, and whose number another event has
since. So each names its event by number and hash, and older ones are kept: where the archive has
another event, or none, the newest counts that it has.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ..archive.cursor import hash_at
from ..archive.directory import EventFile, unlisted_in
from ..archive.origin import source_of
from ..core.files import DECODE_ERRORS, open_owned, open_regular
from ..core.locks import lock
from ..core.time import format_time

__all__ = ["SHIPPED", "Acknowledgements", "acknowledged", "confirmed", "ships_itself"]

SHIPPED = ".shipped"
_SIZE = 1024  # bytes of the file: it is overwritten in place, which a full disk allows
_DIGITS = 16  # of a hash: enough to distinguish events that have one number

_Files = Sequence[EventFile]


class _State(msgspec.Struct):
    """The content of a ``.shipped`` file.

    Attributes:
        acknowledged: Number of the newest event.
        stream: What tells the archive from another that had its place.
        trail: Name of the trail.
        at: When.
        marks: Events that were the newest, that one last: number and begin of the hash. Older
            versions wrote none.
    """

    acknowledged: int = 0
    stream: str = ""
    trail: str = ""
    at: str = ""
    marks: list[tuple[int, str]] = []

    @classmethod
    def of(cls, content: bytes) -> _State:
        """The state that *content* describes; an empty one where it cannot be read."""
        with suppress(*DECODE_ERRORS):
            return _state_in(content.partition(b"\n")[0])
        return cls()

    def confirmed(self, directory: Path, writer: str, stream: str, files: _Files) -> _State:
        """The part of it that is true of the archive as that is now.

        Raises:
            OSError: If the archive cannot be read.
        """
        if self.stream not in ("", stream):
            return _State()
        marks = self.marks or [(self.acknowledged, "")] * bool(self.acknowledged)
        count = unknown = 0
        for count in range(len(marks), 0, -1):
            number, begin = marks[count - 1]
            found = _hash_at(directory, writer, number, files)
            if found == "":  # gone, or not readable: older ones decide whether it was this one
                unknown = unknown or count
            elif found is not None and found.startswith(begin):
                break
            else:
                unknown = count = 0
        marks = marks[: unknown or count]
        return _State(marks[-1][0] if marks else 0, self.stream, self.trail, self.at, marks)


_state_in = msgspec.json.Decoder(_State).decode


def _hash_at(directory: Path, writer: str, number: int, files: _Files) -> str | None:
    """The hash of event *number*, also if its file is sealed and listed this moment, or never was
    listed; None without that event, "" if it cannot be read."""
    try:
        found = hash_at(directory, writer, number, files)
        if found is None:
            found = hash_at(directory, writer, number, unlisted_in(directory).get(writer, ()))
    except OSError:
        return ""
    return found


def _thinned(marks: list[tuple[int, str]], number: int) -> list[tuple[int, str]]:
    """Few of *marks*, the closer to *number* the more: what is lost is mostly the newest."""
    kept: dict[int, tuple[int, str]] = {}
    for mark in marks:  # oldest first
        if mark[1] and mark[0] < number:
            kept.setdefault((number - mark[0]).bit_length() // 2, mark)
    return list(kept.values())


def _written(directory: Path, writer: str) -> _State:
    with suppress(OSError), open_regular(directory / f"{writer}{SHIPPED}") as file:
        return _State.of(file.read(_SIZE))
    return _State()


def acknowledged(directory: Path, writer: str) -> tuple[int, str]:
    """Up to which event a receiver has those of *writer*, and the name of their trail.

    As it was written down: `confirmed` asks the archive. 0 and "" where nothing is known.
    """
    state = _written(directory, writer)
    return state.acknowledged, state.trail


def confirmed(directory: Path, writer: str, files: _Files = ()) -> tuple[int, str]:
    """Up to which event a receiver has those of *writer* that the archive has, and the name of
    their trail.

    Args:
        directory: The archive.
        writer: Its name.
        files: See `Cursor`.

    Raises:
        OSError: If the archive cannot be read.
    """
    stream = source_of(directory, writer, files[0].path if files else None).stream
    state = _written(directory, writer).confirmed(directory, writer, stream, files)
    return state.acknowledged, state.trail


def ships_itself(directory: Path, writer: str) -> bool:
    """True if a running process ships the events of *writer*."""
    try:
        file = open_owned(directory / f"{writer}{SHIPPED}", os.O_RDWR)
    except OSError:
        return False
    try:
        lock(file)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(file)
    return False


class Acknowledgements:
    """Remembers up to which event those of one writer have been acknowledged.

    Args:
        directory: The archive.
        writer: Its name.
        stream: What tells this archive from another that had its place, whose
            acknowledgements do not count.
        trail: Name of the trail.
        files: See `Cursor`.

    Attributes:
        number: The newest event that has been acknowledged, with all before it.
        trail: Name of the trail, as far as it is known.

    Raises:
        BlockingIOError: If somebody else ships the events of this writer.
        OSError: If the file cannot be opened, or the archive not be read.
    """

    def __init__(
        self, directory: Path, writer: str, stream: str, trail: str = "", files: _Files = ()
    ) -> None:
        self._path = directory / f"{writer}{SHIPPED}"
        self._file = _locked(self._path)
        written = _State()
        try:
            with suppress(OSError):
                written = _State.of(os.pread(self._file, _SIZE, 0))
            state = written.confirmed(directory, writer, stream, files)
        except BaseException:
            self.close()
            raise
        self._stream, self._marks = stream, state.marks
        self.number = state.acknowledged
        self.trail = trail or state.trail
        known = written.stream, written.trail, written.acknowledged
        if known != (stream, self.trail, self.number):
            with suppress(OSError):  # whoever sends the rest one day knows whose it is
                self._write()

    def save(self, number: int, event_hash: str) -> None:
        """Remember that everything up to event *number* has been acknowledged.

        Lost with the power, it costs duplicates: so nobody waits for the disk.

        Args:
            number: Of an event.
            event_hash: Its hash, in hex.

        Raises:
            OSError: If that failed.
        """
        self.number = number
        self._marks = [*_thinned(self._marks, number), (number, event_hash[:_DIGITS])]
        self._write()

    def _write(self) -> None:
        if os.fstat(self._file).st_nlink == 0:  # somebody removed it
            file = _locked(self._path)
            os.close(self._file)
            self._file = file
        now = format_time(time.time_ns() // 1000)
        state = _State(self.number, self._stream, self.trail, now, self._marks)
        while len(content := msgspec.json.encode(state)) >= _SIZE:
            del state.marks[0]
        os.pwrite(self._file, content.ljust(_SIZE - 1) + b"\n", 0)

    def close(self) -> None:
        """Let somebody else ship."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _locked(path: Path) -> int:
    """*path* opened, with the lock on it.

    Raises:
        BlockingIOError: If somebody else has it.
        OSError: If it cannot be opened.
    """
    file = open_owned(path, os.O_RDWR | os.O_CREAT)
    try:
        lock(file)
    except BaseException:
        os.close(file)
        raise
    return file
