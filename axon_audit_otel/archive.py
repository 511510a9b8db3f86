"""Audit events on disk: the journal, the sealed files it becomes, and reading either.

Both are the specification's export format, one event a line, so that a sealed file is
the journal with its last line added, and one reader serves all::

    {"events":[
     {"event_id": ...}
    ,{"event_id": ...}
    ],"total_events":2,"exported_at":"2025-01-15T11:00:00.000000Z"}

A journal is handed to the kernel event by event (it survives a killed process) and locked
while its writer lives; one without a lock was left behind, and is sealed by whoever opens
the directory next.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from .errors import ArchiveError, InvalidEventError
from .event import AuditEvent, decode, format_time

try:
    import fcntl
except ImportError:  # Windows: no advisory locks
    fcntl = None  # type: ignore[assignment]

__all__ = ["Archive", "read_events", "write_events"]

_HEAD = b'{"events":[\n'
_SUFFIX = ".journal"
_numbers = itertools.count(1)


def _tail(count: int) -> bytes:
    now = format_time(time.time_ns() // 1000)
    return b'],"total_events":%d,"exported_at":"%b"}\n' % (count, now.encode())


class Archive:
    """The directory of one trail's files. Not thread-safe: the trail holds a lock.

    Args:
        directory: Created, with its parents, if it is missing.
        trail: Name of the trail; part of the journal's name.

    Raises:
        ArchiveError: If *directory* cannot be used.
    """

    def __init__(self, directory: Path, trail: str) -> None:
        self.directory = directory
        self._trail = trail
        self._journal: Path | None = None
        self._file = -1
        self._end = 0  # size of the journal without a torn write
        self.count = 0  # events in the journal
        try:
            directory.mkdir(parents=True, exist_ok=True)
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError("not writable")
        except OSError as exc:
            msg = f"cannot archive to {str(directory)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc

    def write(self, line: bytes) -> None:
        """Append one event. When this returns, the event survives a killed process.

        Raises:
            OSError: If it could not be written; the journal is as before.
        """
        if self._file < 0:
            self._open()
        separator = b"," if self.count else b" "
        self._append(b"%b%b\n" % (separator, line))
        self.count += 1

    def _open(self) -> None:
        name = f"{self._trail}-{os.getpid()}-{next(_numbers)}-{time.time_ns():x}{_SUFFIX}"
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        self._file = os.open(path, flags | getattr(os, "O_CLOEXEC", 0), 0o600)
        self._journal, self.count, self._end = path, 0, 0
        try:
            if fcntl is not None:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._append(_HEAD)
        except OSError:
            self.abandon()
            path.unlink(missing_ok=True)
            raise

    def _append(self, data: bytes) -> None:
        try:
            written = os.write(self._file, data)
            if written != len(data):
                raise OSError(28, "short write: no space left")  # ENOSPC
            if os.fstat(self._file).st_nlink == 0:
                raise FileNotFoundError(2, "the journal was removed", str(self._journal))
        except FileNotFoundError:
            self.abandon()
            raise
        except OSError:
            os.ftruncate(self._file, self._end)
            raise
        self._end += len(data)

    def seal(self) -> Path | None:
        """Close the journal as a sealed file and return its path (None when empty).

        Raises:
            OSError: If that failed; the journal is still there.
        """
        if self._file < 0 or self._journal is None:
            return None
        if not self.count:
            self._journal.unlink(missing_ok=True)
            self.abandon()
            return None
        self._append(_tail(self.count))
        os.fsync(self._file)
        sealed = _publish(self._journal)
        self.abandon()
        return sealed

    def abandon(self) -> None:
        """Let go of the journal and leave it as it is (a child process, after fork)."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file, self._journal, self.count, self._end = -1, None, 0, 0

    def recover(self) -> int:
        """Seal the journals that dead writers left here; returns their number of events."""
        recovered = 0
        for path in sorted(self.directory.glob(f"*{_SUFFIX}")):
            with contextlib.suppress(OSError):
                recovered += _recover(path)
        return recovered


def _recover(path: Path) -> int:
    """Cut a torn last line off a journal without a writer, and seal it."""
    file = os.open(path, os.O_RDWR)
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises while its writer lives
        data = path.read_bytes()
        whole = data[: data.rfind(b"\n") + 1]
        lines = whole.splitlines()
        closed = bool(lines) and lines[-1].startswith(b"],")
        count = len(lines) - 1 - closed
        if count < 1:
            path.unlink()
            return 0
        os.ftruncate(file, len(whole))
        if not closed:
            os.lseek(file, 0, os.SEEK_END)
            os.write(file, _tail(count))
        os.fsync(file)
        _publish(path)
        return count
    finally:
        os.close(file)


def _publish(path: Path) -> Path:
    """Give *path* its final name, ``audit_2025_01_15_103045.json``, overwriting nothing."""
    stem = time.strftime("audit_%Y_%m_%d_%H%M%S", time.gmtime())
    for number in itertools.count(1):
        name = f"{stem}.json" if number == 1 else f"{stem}_{number}.json"
        target = path.with_name(name)
        try:
            os.link(path, target)  # fails where the name is taken; a rename would not
        except FileExistsError:
            continue
        path.unlink()
        return target
    raise AssertionError("unreachable")


def write_events(lines: Iterable[bytes], path: Path) -> int:
    """Write encoded events to *path* in the export format; returns how many.

    Raises:
        ArchiveError: If it cannot be written.
    """
    count = 0

    def content() -> Iterator[bytes]:
        nonlocal count
        yield _HEAD
        for line in lines:
            yield (b"," if count else b" ") + line + b"\n"
            count += 1
        yield _tail(count)

    write_file(content(), path)
    return count


def write_file(content: Iterable[bytes], path: Path) -> None:
    """Write *path* so that it appears whole or not at all, readable by its owner only.

    Raises:
        ArchiveError: If it cannot be written.
    """
    temporary = path.with_name(f".{path.name[:64]}.{os.getpid()}.{next(_numbers)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as exc:
        msg = f"cannot write {str(path)!r}: {exc.strerror or exc}"
        raise ArchiveError(msg) from exc
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def files_of(path: Path) -> list[Path]:
    """The audit files at *path*: itself, or those in it, in the order of their names.

    Raises:
        ArchiveError: If there is nothing at *path*, or nothing of ours.
    """
    if not path.is_dir():
        if not path.exists():
            msg = f"no such file or directory: {str(path)!r}"
            raise ArchiveError(msg)
        return [path]
    found = sorted({*path.glob("audit_*.json"), *path.glob(f"*{_SUFFIX}")}, key=_by_age)
    if not found:
        msg = f"no audit files (audit_*.json) in {str(path)!r}"
        raise ArchiveError(msg)
    return found


def _by_age(path: Path) -> tuple[bool, str, int]:
    """Journals last; ``..._2.json`` after the file without a number."""
    stem, number = path.stem, 1
    head, _, last = stem.rpartition("_")
    if stem.count("_") == 5 and last.isdigit():
        stem, number = head, int(last)
    return path.suffix == _SUFFIX, stem, number


def read_events(path: Path) -> Iterator[AuditEvent]:
    """The events of a file or of a directory's files, oldest first, one line at a time.

    A journal's torn last line is passed over. JSON that is not laid out one event a line
    (somebody's pretty-printer) is read whole.

    Raises:
        ArchiveError: If a file cannot be read or holds no audit events.
    """
    for file in files_of(path):
        try:
            yield from _read_file(file)
        except (OSError, InvalidEventError) as exc:
            if isinstance(exc, ArchiveError):
                raise
            msg = f"cannot read {str(file)!r}: {exc}"
            raise ArchiveError(msg) from exc


def _read_file(path: Path) -> Iterator[AuditEvent]:
    with path.open("rb") as file:
        if file.readline() == _HEAD:
            for line in file:
                if line.startswith(b"],"):
                    return
                if not line.endswith(b"\n"):
                    return  # the writer died in the middle of this line
                yield decode(line[1:-1])
            return
    yield from _read_whole(path)


def _read_whole(path: Path) -> Iterator[AuditEvent]:
    try:
        content = msgspec.json.decode(path.read_bytes())
        events = content["events"] if isinstance(content, dict) else content
        yield from msgspec.convert(events, list[AuditEvent])
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError, UnicodeDecodeError) as exc:
        msg = f"no audit events: {exc}"
        raise InvalidEventError(msg) from exc
