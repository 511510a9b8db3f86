"""A writer takes over a name: it locks the name and finds out what is attested of its files."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..core.files import is_there
from .attested import Attestor, NotAttestedError, State
from .format import JOURNAL
from .manifest import MANIFEST
from .sealed_files import SealedFiles
from .writer_lock import MAX_WRITERS, BusyError, WriterLock, claim

__all__ = ["Adopted", "Recovery", "Takeover", "claim_again", "take_over", "unlisted_of"]


class Recovery(msgspec.Struct, frozen=True):
    """The result of recovering a writer that did not end well.

    Attributes:
        writer: Its name.
        events: Number of its unsealed events; they are sealed now.
        torn_bytes: Bytes of an incomplete last line, now removed.
        damaged: Number of unreadable lines, now in a file of their own (``.damaged``).
    """

    writer: str
    events: int
    torn_bytes: int
    damaged: int = 0


class Adopted(msgspec.Struct, frozen=True):
    """Events that were found in a writer's files, and that anybody may have written.

    Attributes:
        writer: Its name.
        first: The number of the first of them.
        last: The number of the last.
        file: Where they were.
        why: The reason.
    """

    writer: str
    first: int
    last: int
    file: str
    why: str


class Takeover(NamedTuple):
    """The result of `take_over`.

    Attributes:
        lock: The lock of the name.
        sealed: The sealed files of that name.
        refused: Names with files that are left alone, since nothing attests them.
        adopted: Events of the last writer that nothing attests; None without any.
        lost: The number of the newest event that was recorded, as far as that is known.
    """

    lock: WriterLock
    sealed: SealedFiles
    refused: list[NotAttestedError]
    adopted: Adopted | None
    lost: int


def take_over(
    directory: Path,
    trail: str,
    fresh: bool,
    exact: bool,
    sync: bool,
    changed: Callable[[OSError], object],
    attestor: Attestor | None,
) -> Takeover:
    """Lock the first free name whose files may be continued; see `ArchiveWriter`.

    Raises:
        OSError: If files cannot be read, or no name is free.
        msgspec.DecodeError: Without an *attestor*: if a line of the manifest is not a record.
        NotAttestedError: If *exact* files are not attested.
    """
    refused: list[NotAttestedError] = []
    while True:
        names = {one.writer for one in refused}
        lock = claim(directory, trail, fresh, 1 if exact else MAX_WRITERS, names)
        try:
            sealed = SealedFiles(lock, sync, changed)
            if attestor is None:
                return Takeover(lock, sealed, refused, None, 0)
            return _judged(lock, sealed, refused, attestor)
        except BaseException as exc:
            lock.release()  # in any case: nobody could try again while this process lives
            if attestor is None or not isinstance(exc, (NotAttestedError, msgspec.DecodeError)):
                raise
            if not isinstance(exc, NotAttestedError):
                exc = NotAttestedError(lock.writer, str(exc))
            if exact:
                raise exc from None
            refused.append(exc)


def _judged(
    lock: WriterLock, sealed: SealedFiles, refused: list[NotAttestedError], attestor: Attestor
) -> Takeover:
    """Find out what of the files is attested."""
    journal, prefix = lock.path(JOURNAL), lock.path("")
    unlisted = journal if is_there(journal) else unlisted_of(lock, sealed)
    last = sealed.manifest.last
    if unlisted is not None and last is not None:
        listed_file = lock.directory / last.file
        if is_there(listed_file) and unlisted.samefile(listed_file):
            unlisted = None  # its sealed file, which is listed, has that name as well
    judged = attestor.judge(prefix, sealed.manifest, unlisted)
    if judged.gone is not None:
        refused.append(judged.gone)
    adopted = None
    if judged.adopted:
        assert unlisted is not None
        words = "no keyed hash and no checkpoint covers them"
        adopted = Adopted(lock.writer, judged.adopted, judged.last, unlisted.name, words)
        sealed.adopted = judged.adopted
    sealed.attest_by(attestor.file(prefix, judged.state))
    return Takeover(lock, sealed, refused, adopted, judged.lost)


def claim_again(
    before: WriterLock, trail: str, sealed: SealedFiles, attestor: Attestor | None
) -> WriterLock:
    """Lock the name again whose lock *before* is gone, or another if its files were moved.

    Raises:
        OSError: If that failed; nothing has changed then.
    """
    if sealed.manifest.is_at(before.path(MANIFEST)):  # only the lock is gone
        with contextlib.suppress(BusyError):
            return claim(before.directory, before.writer, most=1)
    lock = claim(before.directory, trail, fresh=True)
    try:
        sealed.read(lock)
    except OSError:
        lock.release()
        raise
    if attestor is not None:
        sealed.attest_by(attestor.file(lock.path(""), State()))
    return lock


def unlisted_of(lock: WriterLock, sealed: SealedFiles) -> Path | None:
    """The sealed file that is not in the manifest yet; None without one."""
    unlisted, journal = sealed.unlisted(lock), lock.path(JOURNAL)
    if unlisted is not None and is_there(journal) and not unlisted.samefile(journal):
        return None  # no journal begins before all files are listed: it is somebody else's
    return unlisted
