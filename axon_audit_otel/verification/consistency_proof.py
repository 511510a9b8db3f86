"""Proofs that a trail has only grown between two checkpoints, for people without its files.

The tree of the newer checkpoint begins with that of the older one (RFC 6962, section 2.1.2), and
a line in the older tree states its newest event: with it, by the chain, all before.
``cli/data/verify_proof.py`` checks a proof, and imports nothing of this package.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..archive.checkpoints import Checkpoint, is_signed_note
from ..archive.manifest import MANIFEST, states
from ..core.errors import ArchiveError, InvalidEventError, archive_errors
from ..core.files import DECODE_ERRORS
from ..core.merkle import consistency_path
from .checkpoint_files import notes_beside, notes_of
from .manifest_tree import DAMAGED, ManifestTree

__all__ = ["FORMAT", "prove_consistency"]

FORMAT = "axon-audit consistency 1"


def prove_consistency(path: Path | str, old: str, new: str | None = None) -> dict[str, Any]:
    """A proof that one trail has only grown from an older checkpoint to a newer one.

    Args:
        path: The archive's directory.
        old: The older checkpoint: signed notes of one trail, of which the newest counts.
        new: The newer one, in the same way. Default: the newest one beside the archive.

    Returns:
        The proof, as JSON types.

    Raises:
        ArchiveError: If the trail is not here, or it does not begin as a checkpoint says.
        InvalidEventError: If *old* or *new* has no signed checkpoint.
    """
    directory = Path(path)
    older, note = _newest(old)
    with archive_errors(directory):
        try:
            tree = ManifestTree(directory / f"{older.writer}{MANIFEST}")
        except DECODE_ERRORS as exc:
            raise ArchiveError(DAMAGED) from exc
    newer, newer_note = _beside(directory, tree, older) if new is None else _newest(new)
    if newer.origin != older.origin:
        raise ArchiveError(f"the checkpoints are of two trails: {older.origin}, {newer.origin}")
    if newer.size < older.size:
        raise ArchiveError(f"the checkpoint of {newer.time} is the older one")
    for checkpoint in (older, newer):
        if not tree.has(checkpoint):
            raise ArchiveError(f"{tree.writer} is not as {checkpoint} signed it; {DAMAGED}")
    index = _stating(tree, older)
    return {
        "format": FORMAT,
        "old": note,
        "new": newer_note,
        "path": [step.hex() for step in consistency_path(tree.leaves[: newer.size], older.size)],
        "line": tree.lines[index].decode(),
        "in_old": tree.place(index, older.size),
    }


def _newest(text: str) -> tuple[Checkpoint, str]:
    """The newest checkpoint in *text*, and its note."""
    found = [(Checkpoint.parse(note), note) for note in notes_of(text) if is_signed_note(note)]
    if not found:
        raise InvalidEventError(f"no signed checkpoint of an audit trail: {text[:60]!r}")
    origins = {checkpoint.origin for checkpoint, _ in found}
    if len(origins) > 1:
        raise InvalidEventError(f"checkpoints of several trails: {', '.join(sorted(origins))}")
    return max(found, key=lambda one: (one[0].size, one[0].time))


def _beside(directory: Path, tree: ManifestTree, older: Checkpoint) -> tuple[Checkpoint, str]:
    """The newest signed checkpoint beside the archive that fits it, and its note."""
    newest: tuple[Checkpoint, str] | None = None
    for checkpoint, note in notes_beside(directory, tree.writer):
        is_newer = newest is None or checkpoint.time > newest[0].time
        if is_newer and checkpoint.origin == older.origin and tree.has(checkpoint):
            newest = checkpoint, note
    if newest is None:
        raise ArchiveError(f"no signed checkpoint of {older.origin} is in {str(directory)!r}")
    return newest


def _stating(tree: ManifestTree, checkpoint: Checkpoint) -> int:
    """The index of the line that states the newest event of *checkpoint*."""
    for index in reversed(range(checkpoint.size)):
        if states(tree.records[index]) == (checkpoint.events, checkpoint.head):
            return index
    msg = (
        f"no line of the manifest states event {checkpoint.events}, the newest of {checkpoint}:"
        " take a checkpoint that was made when a file was sealed"
    )
    raise ArchiveError(msg)
