"""The Merkle tree over a manifest's lines: paths through it, and the checkpoints that sign it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..archive.checkpoints import Checkpoint
from ..archive.manifest import MANIFEST, Listing, Record, read_manifest
from ..core.errors import ArchiveError
from ..core.merkle import inclusion_path, leaf_hash, root_from_path, root_hash

__all__ = ["DAMAGED", "ManifestTree", "inclusion"]

DAMAGED = "run axon-audit verify: the archive is not as it was written"


class ManifestTree:
    """The manifest of one writer.

    Args:
        path: The file.

    Attributes:
        writer: The writer's name.
        lines: The lines, without newlines.
        leaves: Their hashes, the leaves of the tree.
        records: Their content.
        listing: The state after all of them.

    Raises:
        OSError: If the file cannot be read.
        msgspec.DecodeError: If a line of it is not a record.
    """

    def __init__(self, path: Path) -> None:
        self.writer = path.name.removesuffix(MANIFEST)
        self.lines: list[bytes] = []
        self.leaves: list[bytes] = []
        self.records: list[Record] = []
        self.listing = Listing()
        for line, record in read_manifest(path):
            self.lines.append(line)
            self.leaves.append(leaf_hash(line))
            self.records.append(record)
            self.listing.take(record)

    def has(self, checkpoint: Checkpoint) -> bool:
        """Return True if the first lines are those that *checkpoint* signs."""
        size = checkpoint.size
        return size <= len(self.leaves) and root_hash(self.leaves[:size]) == checkpoint.root

    def place(self, index: int, size: int) -> dict[str, Any]:
        """The path from line *index* to the root over the first *size* lines, as JSON types."""
        leaves = self.leaves[:size]
        return inclusion(leaves, index, root_hash(leaves))


def inclusion(leaves: list[bytes], index: int, root: bytes) -> dict[str, Any]:
    """The path from leaf *index* to *root*, as JSON types.

    Raises:
        ArchiveError: If it does not lead there.
    """
    steps = inclusion_path(leaves, index)
    if root_from_path(leaves[index], index, len(leaves), steps) != root:
        raise ArchiveError(DAMAGED)
    return {"index": index, "size": len(leaves), "path": [step.hex() for step in steps]}
