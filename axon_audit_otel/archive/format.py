"""Audit events in files: the format, the names, reading and exporting.

Journals, sealed files and exports are the specification's export format, one event a line, so
that a sealed file is its journal with one more line, and one reader serves all::

    {"events":[
     {"event_id": ...}
    ,{"event_id": ...}
    ],"total_events":2,"exported_at":"2025-01-15T11:00:00.000000Z"}

A sealed file may be compressed: ``.zst`` is then added to its name, and to nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import itertools
import os
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from ..core.errors import ArchiveError, InvalidEventError
from ..core.files import (
    DECODE_ERRORS,
    UNSUPPORTED,
    is_there,
    listed,
    open_owned,
    open_regular,
    replacement,
    write_file,
)
from ..core.time import format_time
from ..events.model import AuditEvent, decode, of_fields
from . import zstd
from .missing import Missing

__all__ = [
    "compress",
    "digest",
    "files_of",
    "laid_out",
    "last_line",
    "open_events_file",
    "other_events",
    "publish",
    "sealed_in",
    "sealed_name",
    "write_events",
]

GZ = ".gz"
GZIPPED = "it is compressed with gzip, which is not read: gunzip it"
HEAD = b'{"events":[\n'
JOURNAL = ".journal"
ZST = ".zst"
_BLOCK = 1 << 20
_GZIP = b"\x1f\x8b"
_LAST_LINE = 4096  # more than the last line of a sealed file is long
_WHOLE = 256 << 20  # bytes of a file that is not laid out in lines


def tail(count: int, **proof: Any) -> bytes:
    """The last line of a file of *count* events; *proof* goes after the specification's keys."""
    now = format_time(time.time_ns() // 1000)
    fields = {"total_events": count, "exported_at": now, **proof}
    return b"]," + msgspec.json.encode(fields)[1:] + b"\n"


# --- writing ---------------------------------------------------------------------------------


def publish(path: Path, last: str = "") -> Path:
    """Give *path* its final name, ``audit_2025_01_15_103045.json``, overwriting nothing.

    Args:
        path: The file.
        last: A name that was used before, and is not used again though it may be free.

    Raises:
        OSError: If that failed; *path* is then still there.
    """
    for named in listed(path.parent, "audit_*.json") if path.stat().st_nlink > 1 else ():
        with contextlib.suppress(FileNotFoundError):  # another writer's, and gone this moment
            if _is_named_twice(path, named):  # a writer died between the two steps below
                path.unlink()
                return named
    stem = time.strftime("audit_%Y_%m_%d_%H%M%S", time.gmtime())
    used, taken = _parts(last)
    for number in itertools.count(taken + 1 if used == stem else 1):
        name = f"{stem}.json" if number == 1 else f"{stem}_{number}.json"
        target = path.with_name(name)
        if is_there(target.with_name(name + ZST)):
            continue
        try:
            os.link(path, target)  # fails where the name is taken; a rename would not
        except FileExistsError:
            continue
        except OSError as exc:
            if exc.errno not in _NO_LINKS:
                raise
            if not _reserve(target):
                continue
            try:
                os.replace(path, target)
            except OSError:
                target.unlink()
                raise
            return target
        with contextlib.suppress(OSError):  # two names: the next start removes this one
            path.unlink()
        return target
    raise AssertionError("unreachable")


def compress(path: Path, sha256: str) -> Path:
    """Put a compressed file in the place of a sealed one; returns its path.

    The sealed file goes when the other is whole, and reads back as what was sealed.

    Args:
        path: The sealed file.
        sha256: Digest of its content, as the manifest has it.

    Raises:
        OSError: If that failed, or the content is not what was sealed; *path* is still there.
    """
    target = path.with_name(path.name + ZST)
    temporary = path.with_name(f".{path.name}{ZST}.tmp")
    with open_regular(path) as source, replacement(target, temporary) as file:
        zstd.compress(source, file)
        file.flush()
        if digest(temporary)[1] != sha256:
            raise OSError(5, "the content is not what was sealed", str(path))
    path.unlink()
    return target


#: What file systems without hard links answer (exFAT, some network shares).
_NO_LINKS = UNSUPPORTED | {errno.EPERM, errno.EMLINK, errno.EXDEV}


def _is_named_twice(path: Path, named: Path) -> bool:
    one, other = path.stat(), named.stat()
    # Some network shares number all files 0.
    return one.st_ino != 0 and os.path.samestat(one, other) and one.st_size == other.st_size


def _reserve(target: Path) -> bool:
    """Take a name that is free."""
    try:
        os.close(open_owned(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return False
    return True


def laid_out(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Encoded events in the export format."""
    count = 0
    yield HEAD
    for line in lines:
        yield (b"," if count else b" ") + line + b"\n"
        count += 1
    yield tail(count)


def write_events(lines: Iterable[bytes], path: Path) -> int:
    """Write encoded events to *path* in the export format; returns how many.

    Raises:
        ArchiveError: If it cannot be written.
    """
    count = 0

    def counted() -> Iterator[bytes]:
        nonlocal count
        for line in lines:
            count += 1
            yield line

    write_file(laid_out(counted()), path)
    return count


# --- reading ---------------------------------------------------------------------------------


def open_events_file(path: Path) -> BinaryIO:
    """The content of an audit file, uncompressed; *path* may lack the ``.zst`` of its name.

    Raises:
        OSError: If it cannot be read. While reading: if its compression is damaged.
    """
    try:
        file = open_regular(path)
    except FileNotFoundError:
        if path.suffix != ".json":
            raise
        file = open_regular(path.with_name(path.name + ZST))
    try:
        if file.peek(len(zstd.MAGIC)).startswith(zstd.MAGIC):
            return zstd.decompressed(file)
    except BaseException:
        file.close()
        raise
    return file


def last_line(path: Path) -> bytes:
    """The last line of a file's content, uncompressed; nothing if it cannot be read."""
    end = b""
    try:
        with open_events_file(path) as file:
            if file.seekable():
                file.seek(max(0, file.seek(0, os.SEEK_END) - _LAST_LINE))
            while block := file.read(_BLOCK):
                end = (end + block)[-_LAST_LINE:]
    except OSError:
        return b""
    return end[end.rfind(b"\n", 0, -1) + 1 :]


def digest(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file's content, uncompressed.

    Raises:
        OSError: If it cannot be read, or its compression is damaged.
    """
    size, sha256 = 0, hashlib.sha256()
    with open_events_file(path) as file:
        while block := file.read(_BLOCK):
            sha256.update(block)
            size += len(block)
    return size, sha256.hexdigest()


def sealed_name(path: Path) -> str:
    """The name of a sealed file in its manifest: without a ``.zst``."""
    return path.name.removesuffix(ZST)


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
    journals = list(path.glob(f"*{JOURNAL}"))  # first: then what is sealed meanwhile is seen too
    found = sorted([*sealed_in(path).values(), *journals], key=_by_age)
    if not found:
        msg = f"no audit files (audit_*.json) in {str(path)!r}"
        raise ArchiveError(msg)
    return found


def sealed_in(directory: Path) -> dict[str, Path]:
    """The sealed files in a directory by the names that they have in a manifest."""
    found = {path.name: path for path in listed(directory, "audit_*.json")}
    # After the others: while one becomes the other, both are there, and then only this.
    for path in listed(directory, f"audit_*.json{ZST}"):
        found.setdefault(sealed_name(path), path)
    return found


def _by_age(path: Path) -> tuple[bool, str, int]:
    """Journals last; ``..._2.json`` after the file without a number."""
    return path.suffix == JOURNAL, *_parts(sealed_name(path))


def _parts(name: str) -> tuple[str, int]:
    """``audit_2025_01_15_103045``, and which file of that second it is."""
    stem = name.removesuffix(".json")
    head, _, last = stem.rpartition("_")
    return (head, int(last)) if stem.count("_") == 5 and last.isdecimal() else (stem, 1)


def other_events(path: Path, missing: Missing) -> Iterator[AuditEvent]:
    """The events of a file that is not laid out as ours: JSON lines, or JSON of any layout.

    Raises:
        OSError: If it cannot be read.
        InvalidEventError: If it holds no audit event.
    """
    with open_events_file(path) as file:
        first, second = file.readline(), file.readline()
        if first.startswith(_GZIP):
            raise InvalidEventError(GZIPPED)
        if _is_event(first) or _is_event(second) or path.suffix == ".jsonl":
            lines = (line for line in itertools.chain((first, second), file) if line.strip())
            yield from _events_among(lines, decode, path, missing)
            return
    yield from _events_among(_items_in(path), of_fields, path, missing)


def _events_among(
    items: Iterable[Any], read: Callable[[Any], AuditEvent], path: Path, missing: Missing
) -> Iterator[AuditEvent]:
    """What *read* makes of *items*; where it makes nothing of any, they are none of ours."""
    found = False
    early: list[Exception] = []  # why those before the first event are none
    for item in items:
        try:
            event = read(item)
        except (InvalidEventError, *DECODE_ERRORS) as exc:
            if found:
                missing.line(path)
            else:
                early.append(exc)
            continue
        if not found:
            missing.line(path, len(early))
            found = True
        yield event
    if early and not found:
        raise InvalidEventError(f"no audit events: {early[0]}") from early[0]


def _is_event(line: bytes) -> bool:
    try:
        decode(line)
    except InvalidEventError:
        return False
    return True


def _items_in(path: Path) -> list[Any]:
    """What a JSON file of any layout lists, alone or as its events."""
    with open_events_file(path) as file:
        text = file.read(_WHOLE + 1)
    if not text:
        raise InvalidEventError("it is empty")
    if len(text) > _WHOLE:
        raise InvalidEventError(f"more than {_WHOLE >> 20} MiB, and not one event a line")
    try:
        content = msgspec.json.decode(text)
        events = content["events"] if isinstance(content, dict) else content
    except (*DECODE_ERRORS, KeyError) as exc:
        raise InvalidEventError(f"no audit events: {exc}") from exc
    if not isinstance(events, list):
        raise InvalidEventError("no audit events: not a list of them")
    return events
