"""The manifest: one line per sealed or deleted file, with the hash of the line before.

Before a checkpoint it also gets a line about the newest event, if that is not sealed yet, and
one about other writers of the directory, if there is news of them.

Its lines are the leaves of the Merkle tree that checkpoints sign. So a signed root proves the
digest of every file, and the root of a file proves every event in it.
"""

from __future__ import annotations

import errno
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime
from itertools import islice
from pathlib import Path

import msgspec

from ..core.content import content_of
from ..core.files import DECODE_ERRORS, open_owned, open_regular, write_file
from ..core.fsync import sync_file
from ..core.merkle import Tree, leaf_hash
from ..core.time import format_time
from .checkpoints import VerifyingKey, signed_by
from .format import Count, FileName, Number, Text, TrailId, WriterName
from .missing import Missing

__all__ = [
    "DeleteRecord",
    "HeadRecord",
    "Listing",
    "Manifest",
    "OtherWriter",
    "Record",
    "SealRecord",
    "TrailRecord",
    "WritersRecord",
    "deleted_in",
    "manifest_lines",
    "read_listing",
    "read_manifest",
    "states",
    "trail_id",
]

MANIFEST = ".manifest"


class TrailRecord(msgspec.Struct, kw_only=True, tag="trail", tag_field="kind"):
    """The first line: names the trail.

    Attributes:
        writer: The name that its writer had in this directory.
        id: 16 hex digits of the hash of the first event, which contains a random id: so it is
            unique, and known before the first seal.
        created_at: Time of the line.
        previous: None.
    """

    writer: WriterName
    id: TrailId
    created_at: Text
    previous: str | None = None


class SealRecord(msgspec.Struct, kw_only=True, tag="seal", tag_field="kind"):
    """A sealed file.

    Attributes:
        file: Its name, without the ``.zst`` of a compressed one.
        first_sequence: Number of its first event.
        last_sequence: Number of its last event.
        events: Number of its events.
        first_time: The earliest of its events' timestamps.
        last_time: The latest of them.
        head: Hash of its last event, hex.
        root: Merkle root over its events (RFC 6962), hex.
        sealed_at: When it was sealed.
        bytes: Its size, uncompressed.
        sha256: Digest of its content, uncompressed.
        previous: Hash of the manifest's line before, hex; None on the first.
        clock: Sum of the clock's jumps since the seal before, in seconds (negative: back); left
            out without a jump.
        adopted: Number of the first event that was found in the journal of an ended writer, and
            that nothing attests: it and those after it are in the file, and anybody may have
            written them. Left out without one.
    """

    file: FileName
    first_sequence: Number
    last_sequence: Number
    events: Number
    first_time: Text
    last_time: Text
    head: Text
    root: Text
    sealed_at: Text
    bytes: Count
    sha256: Text
    previous: str | None = None
    clock: float | msgspec.UnsetType = msgspec.UNSET
    adopted: Number | msgspec.UnsetType = msgspec.UNSET


class DeleteRecord(
    msgspec.Struct, kw_only=True, omit_defaults=True, tag="delete", tag_field="kind"
):
    """A sealed file that retention deleted; its `SealRecord` stays.

    Attributes:
        file: Its name.
        sha256: Its digest.
        reason: The rule that deleted it.
        deleted_at: Time of the deletion.
        signature: Of `text`, as the last line of a C2SP signed note; None without a key.
        previous: Hash of the manifest's line before, hex. It is signed too, so that the line
            cannot be copied to another manifest.
    """

    file: FileName
    sha256: Text
    reason: Text
    deleted_at: Text
    signature: Text | None = None
    previous: str | None = None

    @property
    def text(self) -> str:
        """The text to sign. Without a signature, any writer of the file could fake a deletion."""
        facts = self.file, self.sha256, self.reason, self.deleted_at, self.previous
        return "\n".join(["axon-audit deletion", *map(str, facts), ""])

    def is_signed_by(self, key: VerifyingKey) -> bool:
        """Return True if *key* signed it."""
        return self.signature is not None and signed_by([key], self.text, self.signature)


class HeadRecord(msgspec.Struct, kw_only=True, tag="head", tag_field="kind"):
    """The newest event when a checkpoint was made, not sealed yet.

    Each event has the hash of the one before it, so a root over this line binds all of them.

    Attributes:
        number: Its number.
        head: Its hash, hex.
        stated_at: Time of the line.
        previous: Hash of the manifest's line before, hex.
    """

    number: Number
    head: Text
    stated_at: Text
    previous: str | None = None


class OtherWriter(msgspec.Struct, kw_only=True, frozen=True):
    """How far another writer of the directory was.

    Attributes:
        writer: Its name.
        id: The id of its trail.
        events: Number of the event that its newest checkpoint names; 1 before it has any.
        head: Hash of that event, hex.
    """

    writer: str
    id: str
    events: Number
    head: str


class WritersRecord(msgspec.Struct, kw_only=True, tag="writers", tag_field="kind"):
    """Other writers of the directory that are new, or have more events than a line before says.

    Attributes:
        writers: These.
        previous: Hash of the manifest's line before, hex.
    """

    writers: list[OtherWriter]
    previous: str | None = None


Record = TrailRecord | SealRecord | DeleteRecord | HeadRecord | WritersRecord

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Record).decode


class Listing:
    """The state of an archive after all lines of a manifest.

    Attributes:
        id: The id of the trail; None if no line has it.
        seals: The sealed files that are not deleted, by name, in order.
        deleted: The files that retention deleted, each with the record of that.
        last: The newest sealed file, deleted or not.
        stated: The newest line about an event that was not sealed yet.
        others: How far other writers of the directory were, by the ids of their trails.
    """

    def __init__(self) -> None:
        self.id: str | None = None
        self.seals: dict[str, SealRecord] = {}
        self.deleted: list[tuple[SealRecord, DeleteRecord]] = []
        self.last: SealRecord | None = None
        self.stated: HeadRecord | None = None
        self.others: dict[str, OtherWriter] = {}

    def take(self, record: Record) -> None:
        """Apply the next line."""
        if isinstance(record, TrailRecord):
            self.id = record.id
        elif isinstance(record, SealRecord):
            self.seals[record.file] = self.last = record
        elif isinstance(record, HeadRecord):
            self.stated = record
        elif isinstance(record, WritersRecord):
            self.others.update((other.id, other) for other in record.writers)
        elif (seal := self.seals.pop(record.file, None)) is not None:
            self.deleted.append((seal, record))


class Manifest(Listing):
    """The manifest of one writer, for that writer.

    Its bytes are in memory as well (half a kB for each sealed file), so that the file can be
    restored if it is truncated, removed or replaced while its writer runs.

    Args:
        path: The file; it need not exist.
        changed: Called after the file was restored.

    Attributes:
        attest: Called with its number of lines, and the hash of the next, before that is written.

    Raises:
        OSError: If it cannot be read.
        msgspec.DecodeError: If a line of it is not a record.
    """

    def __init__(self, path: Path, changed: Callable[[OSError], object] = lambda exc: None) -> None:
        super().__init__()
        self.attest: Callable[[int, bytes], object] = lambda lines, leaf: None
        self._path = path
        self._changed = changed
        self.tree = Tree()
        self.last_hash: str | None = None  # of the newest line
        self._content = bytearray()
        self._torn = False  # True while part of a line may be written
        for line, record in read_manifest(path):
            self._count(line, record)
        with suppress(FileNotFoundError):
            if path.stat().st_size > len(self._content):
                self._cut()  # a line that was cut off in the middle
        self._left = self._look()

    def _count(self, line: bytes, record: Record) -> None:
        leaf = leaf_hash(line)
        self._content += line + b"\n"
        self.tree.add(leaf)
        self.last_hash = leaf.hex()
        self.take(record)

    def add(self, record: Record, sync: bool = False, first: str = "") -> None:
        """Append a line.

        Args:
            record: The content of the line.
            sync: Force it to stable storage.
            first: Hash of the trail's first event; used for the first line.

        Raises:
            OSError: If it could not be written.
        """
        if self.id is None and not isinstance(record, TrailRecord):
            now = format_time(time.time_ns() // 1000)
            new = trail_id(first) if first else secrets.token_hex(8)
            header = TrailRecord(writer=self._path.stem, id=new, created_at=now)
            self.add(header, sync)
        self.restore()
        record.previous = self.last_hash
        line = _encode(record)
        self.attest(self.tree.size + 1, leaf_hash(line))
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        self._torn = True
        try:
            with open(open_owned(self._path, flags), "ab", buffering=0) as file:
                if file.write(line + b"\n") != len(line) + 1:
                    raise OSError(errno.ENOSPC, "no space left for the manifest")
                if sync:
                    sync_file(file.fileno())
        except OSError:
            with suppress(OSError):  # else the next `add` does it
                self._cut()
            raise
        self._count(line, record)
        self._torn = False
        self._left = self._look()

    def lines(self) -> Iterator[tuple[bytes, Record]]:
        """Yield its lines, without newlines, and their records."""
        for line in bytes(self._content).split(b"\n")[:-1]:
            yield line, _decode(line)

    def is_at(self, path: Path) -> bool:
        """Return True if the file at *path* has the content of this manifest.

        Raises:
            OSError: If it cannot be read.
        """
        return _content_of(path) == self._content

    def restore(self) -> None:
        """Restore the file, if it was changed from outside, and call `changed`.

        Raises:
            OSError: If that failed.
        """
        if not self._torn and self._left is not None and self._look() == self._left:
            return
        found = _content_of(self._path)
        if found != self._content:
            if self._torn and found.startswith(self._content):  # part of our own line
                self._cut()
            else:
                self._put_back(found)
        self._torn = False
        self._left = self._look()

    def _put_back(self, found: bytes) -> None:
        if not self._path.parent.is_dir():  # the whole archive is gone
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(self._path))
        if not self._content.startswith(found):
            write_file([found], self._path.with_name(f"{self._path.name}.replaced"))
        write_file([bytes(self._content)], self._path)
        words = "somebody changed it; it was put back"
        self._changed(OSError(errno.EIO, words, str(self._path)))

    def _cut(self) -> None:
        """Truncate the file after the last whole line."""
        with open(open_owned(self._path, os.O_WRONLY), "wb", buffering=0) as file:
            file.truncate(len(self._content))

    def _look(self) -> tuple[int, int, int] | None:
        """Inode, size and time of the file, which show changes; None if they cannot be read."""
        with suppress(OSError):
            status = self._path.stat()
            return status.st_ino, status.st_size, status.st_mtime_ns
        return None


def _content_of(path: Path) -> bytes:
    try:
        return content_of(path, _MOST)
    except FileNotFoundError:
        return b""


_MOST = 1 << 32  # bytes of a manifest

_DAMAGED = "it has a line that is not a record: it may have listed a file"


def states(record: Record) -> tuple[int, str] | None:
    """The number and the hash of the newest event that a line states; None if it states none."""
    if isinstance(record, SealRecord):
        return record.last_sequence, record.head
    if isinstance(record, HeadRecord):
        return record.number, record.head
    return None


def trail_id(first: str) -> str:
    """The id of a trail, from the hash of its first event."""
    return first[:16]


def manifest_lines(path: Path, begin: int = 0) -> Iterator[tuple[bytes, Record | None]]:
    """Yield the lines of a manifest (without newlines) and their records; None for a damaged line.

    An incomplete last line is skipped.

    Args:
        path: The file.
        begin: Number of lines to skip.

    Raises:
        OSError: If it cannot be read.
    """
    with open_regular(path) as file:
        for line in islice(file, begin, None):
            if line.endswith(b"\n"):
                record = None
                with suppress(*DECODE_ERRORS):
                    record = _decode(line)
                yield line[:-1], record


def read_manifest(path: Path, missing: Missing | None = None) -> Iterator[tuple[bytes, Record]]:
    """Yield the lines of a manifest and their records, as `manifest_lines`; none without a file.

    Args:
        path: The file.
        missing: Takes lines that are not records; these are skipped.

    Raises:
        OSError: If it cannot be read.
        msgspec.DecodeError: If a line is not a record, without *missing*.
    """
    with suppress(FileNotFoundError):
        for line, record in manifest_lines(path):
            if record is not None:
                yield line, record
            elif missing is None:
                raise msgspec.DecodeError(_DAMAGED)
            else:
                missing.add(path, _DAMAGED)


def read_listing(path: Path, missing: Missing | None = None) -> Listing:
    """The state after all lines of a manifest; see `read_manifest`."""
    listing = Listing()
    for _, record in read_manifest(path, missing):
        listing.take(record)
    return listing


def deleted_in(directory: Path) -> tuple[int, datetime | None]:
    """The number of events that retention deleted in *directory*, and the newest time of them."""
    events, newest = 0, None
    for path in directory.glob(f"*{MANIFEST}"):
        with suppress(OSError, *DECODE_ERRORS):  # `verify` reports damage
            for seal, _ in read_listing(path, Missing()).deleted:
                time = msgspec.convert(seal.last_time, datetime)
                events, newest = events + seal.events, max(newest or time, time)
    return events, newest
