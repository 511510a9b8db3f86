"""The journals of writers that are gone, mostly of forked children: another writer seals them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

from ..core.files import is_there, listed
from .attested import Attestor, NotAttestedError
from .format import JOURNAL
from .manifest import MANIFEST
from .writer import ArchiveWriter
from .writer_lock import LOCK, is_paused

__all__ = ["recover_others"]


def recover_others(
    directory: Path,
    current: str,
    attest: Callable[[ArchiveWriter], bool],
    sync: bool = False,
    attestor: Attestor | None = None,
) -> tuple[list[ArchiveWriter], list[NotAttestedError]]:
    """Seal the journals of ended writers in *directory* (mostly of forked children).

    Args:
        directory: The archive.
        current: The name of the calling writer.
        attest: Makes a checkpoint of such a writer; False if that has to be tried again.
        sync: Force it all to stable storage.
        attestor: Says what of their files may be signed.

    Returns:
        The writers that did not end well, released again; and why others are left as they are.
    """
    found, refused = [], []
    with contextlib.suppress(OSError):  # the next start tries again
        journals = {path.stem for path in listed(directory, f"*{JOURNAL}")}
        manifests = {path.stem for path in listed(directory, f"*{MANIFEST}")}
        for name in sorted((journals | manifests) - {current}):
            lock = directory / f".{name}{LOCK}"
            # Not empty: the writer runs, was killed or paused, or its recovery was.
            if is_there(lock) and (name in journals or lock.stat().st_size):
                with contextlib.suppress(OSError):
                    knows = attestor is None or attestor.knows(directory / name)
                    if not knows and is_paused(lock):
                        continue  # of another key: whoever has it goes on
                    try:
                        found.append(_recover_other(directory, name, attest, sync, attestor))
                    except NotAttestedError as exc:
                        refused.append(exc)
    return [other for other in found if other.recovery is not None], refused


def _recover_other(
    directory: Path,
    name: str,
    attest: Callable[[ArchiveWriter], bool],
    sync: bool,
    attestor: Attestor | None,
) -> ArchiveWriter:
    other = ArchiveWriter(directory, name, exact=True, sync=sync, attestor=attestor)
    try:
        if attest(other) or not other.newest[0]:
            with contextlib.suppress(OSError):  # the next start tries again
                other._lock.mark_ended()
    finally:
        other.release()
    return other
