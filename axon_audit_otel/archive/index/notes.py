"""Which indexes a reader may believe: those that somebody made, or checked, who has its key.

Whoever can write to an archive's directory could put an index there that leaves events out. So an
index counts for nothing by itself. Whoever makes one, from a file whose content is the one that
was sealed, adds a line to ``index.notes``, with a hash under a key of his own::

    {"file":"audit_2025_01_15_103045.json","sha256":...,"root":...,"size":...,...} <hash>

It says: a file of that size, changed at that time, had the content that was sealed, and this is
the root of its index. A reader believes lines under its own key only: an application one that is
derived from its signing key, a user of the command line one in that user's home.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from ...core.content import content_of
from ...core.errors import ArchiveError
from ...core.files import (
    DECODE_ERRORS,
    append,
    listed,
    open_regular,
    write_file,
)
from ...core.os_user import state_directory
from ..checkpoints import SigningKey
from ..manifest import SealRecord

__all__ = [
    "NOTES",
    "Note",
    "Notes",
    "State",
    "begun_files",
    "index_files",
    "index_path",
    "key_of_user",
    "keys_of_application",
    "keys_of_user",
    "state_of",
]

NOTES = "index.notes"
_SUFFIX = ".index"
_INDEXES = f"audit_*{_SUFFIX}"
_BEGUN = (f".audit_*{_SUFFIX}.*.tmp", f".{NOTES}.*.tmp")
_MOST = 64 << 20  # bytes of the notes
_MAC = 16  # bytes
_KEY = 32
#: An application without a signing key: nothing in its archive is proof against who can write it.
_UNSIGNED = b"axon-audit: without a signing key"

#: The size of a file; the times of its last change of content and of state, in nanoseconds; and
#: its number in the file system: two files may have all the rest alike.
State = tuple[int, int, int, int]


class Note(msgspec.Struct, frozen=True):
    """One line.

    Attributes:
        file: The name of the sealed file in its manifest.
        sha256: Digest of its content, as it was sealed, hex.
        root: Root of its index, hex.
        state: The file as it was then.
        by: Names the key of the line's hash.
    """

    file: str
    sha256: str
    root: str
    state: State
    by: str


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Note).decode


class Notes:
    """The notes in an archive that count for who has some keys.

    Args:
        directory: The archive.
        keys: The keys; new notes are made under each of them.
    """

    def __init__(self, directory: Path, keys: Sequence[bytes]) -> None:
        self._path = directory / NOTES
        self._keyed = {
            hashlib.blake2b(b"name", key=key, digest_size=4).hexdigest(): hashlib.blake2b(
                key=key, digest_size=_MAC
            )
            for key in keys
        }
        self._found: dict[tuple[str, str], Note] = {}  # the newest, by file and key
        self._lines: dict[tuple[str, str], bytes] = {}  # also those of other keys
        self._superseded = 0
        self._rest: bytes | None = b""  # after the last newline; None: it cannot be read
        try:
            *lines, self._rest = content_of(self._path, _MOST).split(b"\n")
            for line in lines:
                self._take(line)
        except FileNotFoundError:
            pass
        except OSError:
            self._rest = None

    def _take(self, line: bytes) -> None:
        text, _, mac = line.rpartition(b" ")
        with suppress(*DECODE_ERRORS):
            note = _decode(text)
            if note.by not in self._keyed:
                self._keep(note, line)
            elif hmac.compare_digest(mac, self._mac(note.by, text)):
                self._keep(note, line)
                self._found[note.file, note.by] = note

    def _keep(self, note: Note, line: bytes) -> None:
        key = note.file, note.by
        self._superseded += key in self._lines
        self._lines[key] = line

    def _mac(self, by: str, text: bytes) -> bytes:
        keyed = self._keyed[by].copy()
        keyed.update(text)
        return keyed.hexdigest().encode()

    def root(self, seal: SealRecord, path: Path, state: State | None = None) -> bytes | None:
        """The root of the index of the sealed file that is at *path*; None if none is known.

        Args:
            seal: The file's line in a manifest.
            path: Where it is.
            state: Its state, if that is known.
        """
        for by in self._keyed:
            note = self._found.get((seal.file, by))
            if note is not None and note.sha256 == seal.sha256:
                state = state or state_of(path)
                if note.state == state:
                    return bytes.fromhex(note.root)
        return None

    def add(self, seal: SealRecord, root: bytes, state: State) -> None:
        """Note an index, of a file whose content was checked when it was in that *state*.

        Raises:
            ArchiveError: If that failed.
        """
        for by in self._keyed:
            note = Note(seal.file, seal.sha256, root.hex(), state, by)
            if self._found.get((seal.file, by)) == note:
                continue
            text = _encode(note)
            line = text + b" " + self._mac(by, text)
            self._append(line + b"\n")
            self._keep(note, line)
            self._found[seal.file, by] = note

    def _append(self, line: bytes) -> None:
        try:
            if self._rest is None:  # a link, or far too large
                write_file([], self._path)
            append(self._path, (b"\n" if self._rest else b"") + line)
        except ArchiveError:
            raise
        except OSError as exc:
            msg = f"cannot write {str(self._path)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc
        self._rest = b""

    def tidy(self, files: Iterable[str]) -> None:
        """Remove the lines of other files than *files*, and those that newer ones replace.

        A line that somebody adds meanwhile may be lost: then an index is made again.

        Raises:
            ArchiveError: If that failed.
        """
        names = set(files)
        gone = [key for key in self._lines if key[0] not in names]
        if not gone and self._superseded <= len(self._lines):
            return
        for key in gone:
            self._found.pop(key, None)
            del self._lines[key]
        write_file((line + b"\n" for line in self._lines.values()), self._path)
        self._superseded = 0


def state_of(path: Path | int) -> State | None:
    """The state of the regular file at *path*, or of an open one; None if there is none.

    Nobody but the system's administrator can change a file and leave it in its state.
    """
    with suppress(OSError):
        status = os.fstat(path) if isinstance(path, int) else path.lstat()
        if stat.S_ISREG(status.st_mode):
            return status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino
    return None


def index_path(directory: Path, file: str) -> Path:
    """Where the index of the sealed file of that name is."""
    return Path(f"{directory}/{file.removesuffix('.json')}{_SUFFIX}")


def index_files(directory: Path) -> list[Path]:
    """The indexes in an archive.

    Raises:
        OSError: If it cannot be read.
    """
    return listed(directory, _INDEXES)


def begun_files(directory: Path) -> list[Path]:
    """What processes are writing, or left when they were killed.

    Raises:
        OSError: If the archive cannot be read.
    """
    return [path for pattern in _BEGUN for path in listed(directory, pattern)]


# --- keys ------------------------------------------------------------------------------------


def keys_of_application(signing: SigningKey | None) -> list[bytes]:
    """The keys of an application that signs its archive with *signing*.

    With that of its user, if there is one: what it makes then serves the command line too.
    """
    keys = [] if signing is None else [signing.derived("index")]
    return keys + keys_of_user() or [_UNSIGNED]


def keys_of_user() -> list[bytes]:
    """The key of the user who runs this process, if there is one."""
    key = key_of_user()
    return [] if key is None else [key]


def key_of_user(make: bool = False) -> bytes | None:
    """The key of the user who runs this process, in that user's home; None without one.

    Args:
        make: Make it, if there is none.

    Raises:
        ArchiveError: If it is to be made, and cannot be.
    """
    try:
        path = state_directory() / "index.key"
    except OSError as exc:
        if make:
            raise ArchiveError(f"no place for the key of indexes: {exc.strerror}") from exc
        return None
    for _ in range(2):
        with suppress(OSError), open_regular(path) as file:
            status = os.fstat(file.fileno())
            if hasattr(os, "geteuid") and status.st_uid != os.geteuid():
                return None  # of another user, who keeps it
            content = file.read(_KEY + 1)
            if not status.st_mode & 0o077 and len(content) == _KEY:
                return content
        if not make:
            return None
        write_file([secrets.token_bytes(_KEY)], path)
    return None
