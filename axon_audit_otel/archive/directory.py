"""The files in an archive's directory: which writer each belongs to, and their order.

The events of a writer are in its sealed files, in the order of its manifest, and then in its
journal. Writers may be running: so journals are opened before manifests are read. A journal that
is sealed in between can still be read; a file sealed earlier is in the manifest.
"""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

from ..core.errors import ArchiveError, InvalidEventError
from ..core.files import DECODE_ERRORS, listed, open_regular
from .foreign_files import GZIPPED
from .format import (
    GZ,
    HEAD,
    JOURNAL,
    SEALED,
    ZST,
    Closing,
    file_order,
    is_writer,
    position_of,
    sealed_name,
)
from .manifest import MANIFEST, Listing, SealRecord, read_listing
from .missing import Missing
from .reader import closing_of, first_number, first_number_at, last_number, open_events_file

__all__ = [
    "Directory",
    "EventFile",
    "OtherWriters",
    "WriterFiles",
    "files_of",
    "newest_number",
    "sealed_in",
    "states_of_others",
    "unlisted_in",
    "writers_in",
]


@dataclass
class EventFile:
    """A sealed file, also a missing one; a journal; or a file that no writer here made.

    Attributes:
        name: Its name, without the ``.zst`` of a compressed one.
        path: Where it is, or would be.
        first: Number of its first event; 0 if that is not known.
        last: Number of its last event; 0 if that is not known.
        seal: Its line in a manifest; None if none lists it.
        writer: The writer of that manifest.
        closing: Its own last line, if no manifest lists it.
        journal: The open file, if it is a journal.
        state: ``there`` under its name, ``renamed``, or ``deleted`` by retention.
    """

    name: str
    path: Path
    first: int = 0
    last: int = 0
    seal: SealRecord | None = None
    writer: WriterFiles | None = field(default=None, repr=False)
    closing: Closing = field(default_factory=Closing)
    journal: BinaryIO | None = None
    state: Literal["there", "renamed", "deleted"] = "there"

    @classmethod
    def listed_as(
        cls, seal: SealRecord, directory: Path, writer: WriterFiles | None = None
    ) -> EventFile:
        """A file that a manifest lists, at the path of that name."""
        numbers = seal.first_sequence, seal.last_sequence
        return cls(seal.file, directory / seal.file, *numbers, seal, writer)

    @property
    def is_ours(self) -> bool:
        """True if a writer made it, by its name or its last line."""
        return self.seal is not None or self.journal is not None or bool(self.closing.trail)

    def may_hold(self, number: int) -> bool:
        """Return True if event *number* can be in this file."""
        return self.seal is None or self.first <= number <= self.last

    def why_absent(self) -> str:
        """The reason why the file is missing; "" if retention has deleted it."""
        if self.writer is None or self.writer.has_deleted(self):
            return ""
        if os.path.lexists(self.path.with_name(f"{self.name}{GZ}")):
            return GZIPPED
        return f"it is gone, with events {self.first} to {self.last}"

    def open(self) -> BinaryIO:
        """Open it for reading, uncompressed.

        Raises:
            FileNotFoundError: If it is missing, or the file of its name begins with another event.
            OSError: If it cannot be read.
        """
        file = self.journal or open_events_file(self.path)
        if self.seal is not None and not _may_begin_with(file, self.first):
            file.close()
            raise FileNotFoundError(errno.ENOENT, "another file has its name", str(self.path))
        return file


class WriterFiles:
    """The sealed files of one writer, by its manifest.

    Attributes:
        files: The files, oldest first; also those that retention deleted.

    Args:
        directory: The archive.
        writer: Its name.
    """

    def __init__(self, directory: Path, writer: str) -> None:
        self.files: list[EventFile] = []
        self._directory = directory
        self._manifest = directory / f"{writer}{MANIFEST}"
        self._listing = Listing()
        self._read_at: tuple[int, int] | None = None  # size and time of the manifest

    def look(self, missing: Missing) -> bool:
        """Read the manifest, if it has changed; return True if it has.

        Args:
            missing: Takes lines that cannot be read.

        Raises:
            OSError: If the manifest cannot be read.
        """
        try:
            status = self._manifest.stat()
            state = status.st_size, status.st_mtime_ns
        except FileNotFoundError:
            state = None
        if state == self._read_at:
            return False
        self._listing = read_listing(self._manifest, missing)
        self._read_at = state
        there = self._listing.seals.values()
        self.files = [EventFile.listed_as(seal, self._directory, self) for seal in there]
        for seal, _ in self._listing.deleted:
            self.files.append(EventFile.listed_as(seal, self._directory, self))
            self.files[-1].state = "deleted"
        self.files.sort(key=_by_number)
        return True

    def has_deleted(self, file: EventFile) -> bool:
        """Return True if the manifest, read again, says that retention deleted *file*."""
        with suppress(OSError):
            self.look(Missing())  # unreadable lines were reported before
        return any(seal == file.seal for seal, _ in self._listing.deleted)


class Directory(ExitStack):
    """The files in a directory; its journals stay open until this is closed.

    Attributes:
        path: The directory.
        journals: The journals, by writer.
        sealed: The paths of the sealed files, by their names in a manifest.

    Args:
        path: The directory.
        missing: Takes files that cannot be read.

    Raises:
        OSError: If the directory cannot be read.
    """

    def __init__(self, path: Path, missing: Missing) -> None:
        super().__init__()
        self.path = path
        self.journals: dict[str, EventFile] = {}
        self._missing = missing
        with ExitStack() as opened:
            opened.enter_context(self)
            for journal in sorted(_of_writers(path, JOURNAL)):
                self.open_journal(journal.stem)
            self.sealed = sealed_in(path)
            opened.pop_all()

    def open_journal(self, writer: str) -> None:
        """Open the journal of *writer*, if there is one."""
        path = self.path / f"{writer}{JOURNAL}"
        with self._missing.caught(path), suppress(FileNotFoundError):
            file = self.enter_context(open_regular(path))
            self.journals[writer] = EventFile(path.name, path, journal=file)

    def is_journal(self, path: Path) -> bool:
        """Return True if a sealed file is one of the journals that were opened here.

        Raises:
            FileNotFoundError: If it is gone: deleted, or compressed.
        """
        status = path.stat()
        files = [file.journal for file in self.journals.values() if file.journal is not None]
        return any(os.path.samestat(status, os.fstat(file.fileno())) for file in files)

    # --- what is listed, and what is not ------------------------------------------------------

    @cached_property
    def writers(self) -> dict[str, WriterFiles]:
        """The writers that have a manifest. A file in several manifests counts for the first."""
        found: dict[str, WriterFiles] = {}
        names: set[str] = set()
        for manifest in sorted(_of_writers(self.path, MANIFEST)):
            writer = found[manifest.stem] = WriterFiles(self.path, manifest.stem)
            with self._missing.caught(manifest):
                writer.look(self._missing)
            writer.files = [f for f in writer.files if f.state == "deleted" or f.name not in names]
            for file in writer.files:
                file.path = self.sealed.get(file.name, file.path)
            names.update(file.name for file in writer.files if file.state != "deleted")
        return found

    @cached_property
    def unlisted(self) -> list[EventFile]:
        """Files that no manifest lists, in the order in which they were made.

        These are exports, files that are being sealed, and archives without manifests. Copies
        and renamed files are left out.
        """
        listed_files = [file for writer in self.writers.values() for file in writer.files]
        names = {file.name for file in listed_files}
        known = {f.seal.root for f in listed_files if f.seal is not None and f.state != "deleted"}
        found = []
        for name, path in self.sealed.items():
            with suppress(OSError):  # compressed meanwhile; a loop of links
                if name in names or not path.stat().st_size or self.is_journal(path):
                    continue
            closing = closing_of(path, exact=False) or Closing()
            numbers = closing.first_sequence, closing.last_sequence
            found.append(EventFile(name, path, *numbers, closing=closing))
        for path in listed(self.path, f"{SEALED}{GZ}"):
            if path.name.removesuffix(GZ) not in names | self.sealed.keys():
                self._missing.add(path, GZIPPED)
        distinct = []
        for file in sorted(found, key=lambda file: file.closing.exported_at):
            if not file.closing.root or file.closing.root not in known:
                distinct.append(file)
                known.add(file.closing.root)
        return distinct

    @property
    def unlisted_by_writer(self) -> dict[str, list[EventFile]]:
        """Those of the unlisted files that name a writer, by writer, in order."""
        found: dict[str, list[EventFile]] = {}
        for file in sorted(self.unlisted, key=_by_number):
            if writer := file.closing.trail:
                found.setdefault(writer, []).append(file)
        return found

    def continuing(self) -> dict[str, list[EventFile]]:
        """The unlisted files that go on where the listed ones of their writer end, by writer.

        They may be listed soon. Others that name a writer may be of another directory.
        """
        found: dict[str, list[EventFile]] = {}
        for name, files in self.unlisted_by_writer.items():
            listed_files = self.writers[name].files if name in self.writers else []
            newest = max((file.last for file in listed_files), default=0)
            begun: int | None = 0
            if journal := self.journals.get(name):
                with self._missing.caught(journal.path):
                    begun = first_number(journal.open())
            for file in files:
                # A journal that was opened before its file was listed does not count.
                if file.first == newest + 1 and not file.first <= (begun or 0) <= file.last:
                    found.setdefault(name, []).append(file)
                    newest = file.last
        return found

    def open(self, file: EventFile) -> BinaryIO:
        """Open a sealed file for reading, also if it was renamed.

        Raises:
            FileNotFoundError: If it is not in the directory.
            OSError: If it cannot be read.
        """
        with suppress(FileNotFoundError):
            return file.open()
        self._find_renamed(file)
        return open_events_file(file.path)

    def find(self, file: EventFile) -> bool:
        """Set the path of a sealed file to where it is now; return False if it is gone."""
        try:
            file.open().close()
        except FileNotFoundError:
            return self._find_renamed(file)
        except OSError:  # it is there, and cannot be read
            return True
        return True

    def _find_renamed(self, file: EventFile) -> bool:
        for path in self._by_first_number.get(file.first, ()):
            closing = closing_of(path, exact=False)
            if closing is not None and file.seal is not None and closing.root == file.seal.root:
                file.path, file.state = path, "renamed"
                return True
        return False

    @cached_property
    def _by_first_number(self) -> dict[int, list[Path]]:
        """The paths of the sealed files, by the number of their first event."""
        found: dict[int, list[Path]] = {}
        for path in self.sealed.values():
            found.setdefault(first_number_at(path) or 0, []).append(path)
        return found


def _may_begin_with(file: BinaryIO, number: int) -> bool:
    """Return False if the file's first event is another one; a damaged or long line is none."""
    with suppress(OSError, *DECODE_ERRORS):
        lines = file.peek(1).split(b"\n", 2)  # type: ignore[attr-defined]
        return len(lines) < 3 or position_of(lines[1][1:]).sequence == number
    return True


def _by_number(file: EventFile) -> tuple[int, int]:
    return file.first, file.last


# --- names -----------------------------------------------------------------------------------


def sealed_in(directory: Path) -> dict[str, Path]:
    """The paths of the sealed files in a directory, by their names in a manifest."""
    found = {path.name: path for path in listed(directory, SEALED)}
    # After the others: while a file is compressed both exist, and afterwards only this one.
    for path in listed(directory, f"{SEALED}{ZST}"):
        found.setdefault(sealed_name(path), path)
    return dict(sorted(found.items()))


def files_of(path: Path) -> list[Path]:
    """The audit files at *path*: the file itself, or those in the directory, ordered by name.

    Raises:
        ArchiveError: If there is nothing at *path*, or no audit file in it.
    """
    if not path.is_dir():
        if not path.exists():
            raise ArchiveError(f"no such file or directory: {str(path)!r}")
        return [path]
    journals = _of_writers(path, JOURNAL)  # first: one may be sealed meanwhile
    found = sorted([*sealed_in(path).values(), *journals], key=file_order)
    if not found:
        raise ArchiveError(f"no audit files (audit_*.json) in {str(path)!r}")
    return found


def _writers_files(directory: Path, *suffixes: str) -> list[Path]:
    return [path for s in (MANIFEST, JOURNAL, *suffixes) for path in _of_writers(directory, s)]


def _of_writers(directory: Path, suffix: str) -> list[Path]:
    """The files in *directory* that end so after what may be the name of a writer."""
    return [path for path in listed(directory, f"*{suffix}") if is_writer(path.stem)]


def writers_in(directory: Path, *suffixes: str) -> list[str]:
    """The names of the writers that have files in *directory*.

    Args:
        directory: The archive.
        suffixes: Endings of further files that a writer leaves.

    Raises:
        OSError: If it cannot be read.
    """
    return sorted({path.stem for path in _writers_files(directory, *suffixes)})


def states_of_others(directory: Path, writer: str) -> dict[str, tuple[int, ...]]:
    """The writers in *directory* other than *writer*, with sizes and times of their files.

    Files that cannot be read are left out.
    """
    found: dict[str, tuple[int, ...]] = {}
    with suppress(OSError):
        for path in _writers_files(directory):
            with suppress(FileNotFoundError):
                status = path.stat()
                found[path.stem] = *found.get(path.stem, ()), status.st_size, status.st_mtime_ns
    found.pop(writer, None)
    return found


def unlisted_in(directory: Path) -> dict[str, list[EventFile]]:
    """Sealed files that no manifest lists, by the writer that they name, in order.

    Raises:
        OSError: If the directory cannot be read.
    """
    with Directory(directory, Missing()) as here:
        return here.unlisted_by_writer


def newest_number(directory: Path, writer: str) -> int:
    """The number of the newest event of *writer* in its files; 0 without any."""
    number = 0
    with suppress(OSError):
        last = read_listing(directory / f"{writer}{MANIFEST}", Missing()).last
        number = 0 if last is None else last.last_sequence
    with suppress(OSError, InvalidEventError):
        number = last_number(directory / f"{writer}{JOURNAL}") or number
    return number


class OtherWriters:
    """Finds other writers of a directory, which is listed only when names in it have changed."""

    def __init__(self) -> None:
        self._listed: tuple[int, list[Path]] = (0, [])  # time of the directory; files

    def have_written(self, directory: Path, writer: str, start_us: int | None) -> bool:
        """Return True if a writer other than *writer* wrote an event since *start_us* (None: ever).

        Files that cannot be read do not count.
        """
        with suppress(OSError):
            changed = directory.stat().st_mtime_ns
            if changed != self._listed[0]:
                self._listed = changed, _writers_files(directory)
            for path in self._listed[1]:
                if path.stem == writer:
                    continue
                with suppress(FileNotFoundError):
                    status = path.stat()
                    late = start_us is None or status.st_mtime_ns // 1000 >= start_us
                    if late and status.st_size > len(HEAD):
                        return True
        return False
