"""Proofs that one event is in a trail, for people without its files.

The event's line leads by hashes to the Merkle root of its file. The manifest's line with that root
leads to the root of the manifest, which is in a signed checkpoint. ``cli/data/verify_proof.py``
checks a proof, and imports nothing of this package.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import msgspec

from ..archive.checkpoints import Checkpoint, is_signed_note
from ..archive.directory import Directory, EventFile
from ..archive.format import HEAD, ZST, position_of
from ..archive.manifest import MANIFEST, SealRecord
from ..archive.missing import Missing
from ..archive.reader import LineReader
from ..core.errors import ArchiveError, InvalidEventError, archive_errors, shown
from ..core.files import DECODE_ERRORS, listed
from ..core.merkle import leaf_hash, root_hash
from ..core.time import format_time
from .checkpoint_files import notes_beside, notes_in
from .manifest_tree import DAMAGED, ManifestTree, inclusion

__all__ = ["FORMAT", "prove", "prove_numbers"]

FORMAT = "axon-audit proof 1"


class _Found(NamedTuple):
    """A sealed event."""

    manifest: ManifestTree
    seal_index: int  # in the manifest
    seal: SealRecord
    line: bytes
    position: int  # in its file
    leaves: list[bytes]


def prove(path: Path | str, event_id: str, checkpoint: str | None = None) -> dict[str, Any]:
    """An inclusion proof for one sealed event.

    Args:
        path: The archive's directory, or the sealed file.
        event_id: The id of the event.
        checkpoint: The signed note that the proof ends in. Default: the newest one beside the
            archive that covers the event.

    Returns:
        The proof, as JSON types.

    Raises:
        ArchiveError: If there is no such event, it is adopted or not sealed, or no checkpoint
            covers it.
        InvalidEventError: If *event_id* or *checkpoint* is not valid.
    """
    path = Path(path)
    if not path.exists():
        raise ArchiveError(f"no such file or directory: {str(path)!r}")
    with archive_errors(path):
        try:
            return _proof(path, event_id, checkpoint)
        except InvalidEventError:
            raise
        except (ValueError, *DECODE_ERRORS) as exc:  # no UTF-8, no JSON, no hex digits
            raise ArchiveError(DAMAGED) from exc


def prove_numbers(
    directory: Path, writer: str, numbers: Iterable[int], checkpoint: str
) -> Iterator[dict[str, Any]]:
    """Yield inclusion proofs as `prove` makes them, of events of one writer by their numbers.

    Events that are deleted, lost, adopted or damaged, or that *checkpoint* does not cover, are
    left out; and all of them if the manifest cannot be read.

    Args:
        directory: The archive's.
        writer: The name of the writer.
        numbers: Of the events.
        checkpoint: The signed note that each proof ends in.

    Raises:
        ArchiveError: If the directory cannot be read.
    """
    with archive_errors(directory), Directory(directory, Missing()) as here:
        try:
            manifest = ManifestTree(directory / f"{writer}{MANIFEST}")
        except (OSError, *DECODE_ERRORS):
            return
        for number in numbers:
            with suppress(ArchiveError, OSError, InvalidEventError, ValueError, *DECODE_ERRORS):
                found = _numbered(here, manifest, number)
                if found is not None:
                    yield _leading_to(found, directory, checkpoint)


def _numbered(here: Directory, manifest: ManifestTree, number: int) -> _Found | None:
    """The sealed event of that number."""
    for seal in manifest.listing.seals.values():
        if seal.first_sequence <= number <= seal.last_sequence:
            file = EventFile.listed_as(seal, here.path)
            found = _look_in(here, file, lambda line: _has_number(line, number))
            if found is not None and root_hash(found[2]).hex() == seal.root:
                return _Found(manifest, manifest.records.index(seal), seal, *found)
    return None


def _has_number(line: bytes, number: int) -> bool:
    return b'"sequence":%d' % number in line and position_of(line[1:-1]).sequence == number


def _proof(path: Path, event_id: str, checkpoint: str | None) -> dict[str, Any]:
    found = _find(path, event_id)
    directory = path if path.is_dir() else path.parent
    return _leading_to(found, directory, checkpoint)


def _leading_to(found: _Found, directory: Path, checkpoint: str | None) -> dict[str, Any]:
    adopted = found.seal.adopted
    if isinstance(adopted, int) and position_of(found.line).sequence >= adopted:
        event_id = msgspec.json.decode(found.line)["event_id"]
        msg = f"event {shown(event_id)} is adopted: the application found it at a start, and"
        raise ArchiveError(f"{msg} nothing attests that it recorded it")
    note, size = _covering(directory, found, checkpoint)
    return {
        "format": FORMAT,
        "event": found.line.decode(),
        "in_file": inclusion(found.leaves, found.position, bytes.fromhex(found.seal.root)),
        "seal": found.manifest.lines[found.seal_index].decode(),
        "in_manifest": found.manifest.place(found.seal_index, size),
        "checkpoint": note,
    }


# --- the event -------------------------------------------------------------------------------


def _find(path: Path, event_id: str) -> _Found:
    directory, only = (path, None) if path.is_dir() else (path.parent, path.name)
    try:
        needle = b'{"event_id":' + msgspec.json.encode(event_id)  # the beginning of its line
    except (UnicodeEncodeError, TypeError):
        raise InvalidEventError(f"{shown(event_id)} is not an event id") from None
    with Directory(directory, Missing()) as here:
        manifests = [ManifestTree(file) for file in sorted(listed(directory, f"*{MANIFEST}"))]
        sealed = [
            (manifest, seal)
            for manifest in manifests
            for seal in manifest.listing.seals.values()
            if only in (None, seal.file, f"{seal.file}{ZST}")
        ]
        moment = _moment_of(event_id)
        sealed.sort(key=lambda item: not _may_hold(item[1], moment))
        damage: Exception | None = None
        for manifest, seal in sealed:
            file = EventFile.listed_as(seal, directory)
            try:
                found = _look_in(here, file, lambda line: line.startswith(needle, 1))
                if found is not None and root_hash(found[2]).hex() != seal.root:
                    raise ArchiveError(DAMAGED)  # or a copy of another file
            except FileNotFoundError:
                damage = damage or ArchiveError(f"{seal.file} is missing; {DAMAGED}")
            except (ArchiveError, OSError) as exc:
                damage = damage or exc
            else:
                if found is not None:
                    return _Found(manifest, manifest.records.index(seal), seal, *found)
        for journal in here.journals.values():
            if any(line.startswith(needle, 1) for line in LineReader(journal.open()).lines()):
                msg = f"event {shown(event_id)} is in {journal.name}, which is not sealed yet"
                raise ArchiveError(msg)
    msg = f"no event {shown(event_id)} in the sealed files of {str(path)!r}"
    raise damage or ArchiveError(f"{msg}{_deleted(manifests, moment)}")


def _deleted(manifests: list[ManifestTree], moment: datetime | None) -> str:
    """What to add to the news that an event of that time is not there."""
    for manifest in manifests:
        for seal, record in manifest.listing.deleted:
            if _may_hold(seal, moment):
                when = f"on {record.deleted_at[:10]} ({record.reason})"
                return f"; retention deleted {seal.file}, with events of its time, {when}"
    return ""


def _moment_of(event_id: str) -> datetime | None:
    """The time in an event id (RFC 9562); None if the id is not one of ours."""
    if not re.fullmatch(r"evt_[0-9a-f]{32}", event_id):
        return None
    try:
        return datetime.fromtimestamp(int(event_id[4:16], 16) / 1000, timezone.utc)
    except (ValueError, OverflowError, OSError):
        return None


def _may_hold(seal: SealRecord, moment: datetime | None) -> bool:
    """Return True if a file has events of about that time: such files are read first."""
    if moment is None or moment.year in (1, 9999):
        return False
    low, high = moment - timedelta(hours=1), moment + timedelta(hours=1)
    first, last = (format_time(int(m.timestamp() * 1e6)) for m in (low, high))
    return seal.first_time <= last and seal.last_time >= first


def _lines(file: BinaryIO) -> Iterator[bytes]:
    reader = LineReader(file)
    if not reader.start() or reader.head != HEAD:
        raise ArchiveError(DAMAGED)
    return reader.lines()


def _look_in(
    here: Directory, sealed: EventFile, is_it: Callable[[bytes], bool]
) -> tuple[bytes, int, list[bytes]] | None:
    """The event's line, its index, and the hashes of all lines; None if it is not in the file."""
    with here.open(sealed) as file:
        found = ((i, line) for i, line in enumerate(_lines(file)) if is_it(line))
        index, line = next(found, (0, b""))
    if not line:
        return None
    with here.open(sealed) as file:
        return line[1:-1], index, [leaf_hash(other[1:-1]) for other in _lines(file)]


# --- the checkpoint ----------------------------------------------------------------------------


def _covering(directory: Path, found: _Found, given: str | None) -> tuple[str, int]:
    """A signed note that covers the event, and the number of manifest lines in it."""
    manifest = found.manifest
    if given is not None:
        ended = given if given.endswith("\n") else f"{given}\n"
        note = next(notes_in(ended.splitlines(keepends=True)), ended)
        problem = _unfit(note, found)
        if problem is not None:
            raise ArchiveError(f"the checkpoint {problem}")
        return note, Checkpoint.parse(note).size
    best: tuple[str, str, int] | None = None
    for checkpoint, note in notes_beside(directory, manifest.writer):
        if (best is None or checkpoint.time > best[0]) and _unfit(note, found) is None:
            best = checkpoint.time, note, checkpoint.size
    if best is None:
        msg = (
            f"no signed checkpoint of {manifest.writer!r} covers event"
            f" {shown(msgspec.json.decode(found.line)['event_id'])}: the application must run with"
            " signing_key=, or give the checkpoint that covers it"
        )
        raise ArchiveError(msg)
    return best[1], best[2]


def _unfit(note: str, found: _Found) -> str | None:
    """The reason why a note cannot end this proof; None if it can."""
    checkpoint = Checkpoint.parse(note)
    if not is_signed_note(note):
        return "is not signed"
    if not found.seal_index < checkpoint.size <= len(found.manifest.lines):
        return f"of {checkpoint.time} does not cover the event, which was sealed later"
    if not found.manifest.has(checkpoint):
        return f"is not about this trail; or {DAMAGED}"
    return None
