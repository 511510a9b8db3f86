"""Merkle trees of RFC 6962 (section 2.1) with SHA-256.

A leaf is hashed after a 0x00 byte, an inner node after a 0x01 byte, so that a node cannot be
presented as a leaf.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

__all__ = [
    "Tree",
    "consistency_path",
    "inclusion_path",
    "is_extension",
    "leaf_hash",
    "leaf_hashes",
    "root_from_path",
    "root_hash",
]

_sha256 = hashlib.sha256
_EMPTY = _sha256(b"").digest()  # the root of a tree without leaves
# What every leaf's and every node's hash begins with: quicker to copy than to make.
_LEAF, _NODE = _sha256(b"\x00"), _sha256(b"\x01")


def leaf_hash(data: bytes) -> bytes:
    """The hash of an entry (32 bytes)."""
    begun = _LEAF.copy()
    begun.update(data)
    return begun.digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """The `leaf_hash` of each entry."""
    return [_sha256(b"\x00" + data).digest() for data in entries]


def _node_hash(left: bytes, right: bytes) -> bytes:
    return _sha256(b"\x01" + left + right).digest()


class Tree:
    """The root of a growing tree, in memory that grows with the logarithm of its size."""

    def __init__(self) -> None:
        self.size = 0
        self._peaks: list[bytes] = []  # roots of the full subtrees, the largest first

    def add(self, leaf: bytes) -> None:
        """Append the hash of an entry."""
        size = self.size
        while size & 1:  # the last full subtree has the same size: join them
            begun = _NODE.copy()
            begun.update(self._peaks.pop() + leaf)
            leaf = begun.digest()
            size >>= 1
        self._peaks.append(leaf)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> None:
        """Append the hashes of many entries, which is faster than `add`."""
        nodes, place = list(leaves), self.size  # of one level, and their number before
        self.size += len(nodes)
        peaks = []
        while nodes:
            if place & 1:
                nodes.insert(0, self._peaks.pop())
            if len(nodes) & 1:
                peaks.append(nodes.pop())
            pairs = iter(nodes)
            nodes = [_sha256(b"\x01" + left + right).digest() for left, right in zip(pairs, pairs)]
            place >>= 1
        self._peaks += reversed(peaks)

    def root(self) -> bytes:
        """The current root (32 bytes)."""
        if not self._peaks:
            return _EMPTY
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = _node_hash(peak, root)
        return root


def root_hash(leaves: Iterable[bytes]) -> bytes:
    """The root over the hashes of entries."""
    tree = Tree()
    tree.extend(leaves)
    return tree.root()


def _split(size: int) -> int:
    """The number of leaves below the left child: the largest power of two below *size*."""
    return 1 << (size - 1).bit_length() - 1


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The hashes that lead from leaf *index* to the root, from the bottom up."""
    size = len(leaves)
    if size <= 1:
        return []
    split = _split(size)
    if index < split:
        return [*inclusion_path(leaves[:split], index), root_hash(leaves[split:])]
    return [*inclusion_path(leaves[split:], index - split), root_hash(leaves[:split])]


def root_from_path(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes | None:
    """The root that *path* claims (RFC 9162, section 2.1.3.2); None if it cannot be one."""
    if not 0 <= index < size:
        return None
    last, node = size - 1, leaf
    for sibling in path:
        if last == 0:
            return None
        if index & 1 or index == last:
            node = _node_hash(sibling, node)
            while index and not index & 1:
                index, last = index >> 1, last >> 1
        else:
            node = _node_hash(node, sibling)
        index, last = index >> 1, last >> 1
    return node if last == 0 else None


def consistency_path(leaves: Sequence[bytes], old: int) -> list[bytes]:
    """The hashes that prove that the tree of the first *old* leaves is the beginning of this one.

    Raises:
        ValueError: If there are not that many leaves.
    """
    if not 0 <= old <= len(leaves):
        raise ValueError(f"a tree of {len(leaves)} leaves does not extend one of {old}")
    return _consistency(leaves, old, True) if old else []


def _consistency(leaves: Sequence[bytes], old: int, is_known: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2; *is_known*: the old tree's root is in no path."""
    size = len(leaves)
    if old == size:
        return [] if is_known else [root_hash(leaves)]
    split = _split(size)
    if old <= split:
        return [*_consistency(leaves[:split], old, is_known), root_hash(leaves[split:])]
    return [*_consistency(leaves[split:], old - split, False), root_hash(leaves[:split])]


def is_extension(old: int, old_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Return True if *path* proves that a tree begins with an older one (RFC 9162, 2.1.4.2).

    Args:
        old: Number of leaves of the older tree.
        old_root: Its root.
        size: Number of leaves of the newer tree.
        root: Its root.
        path: The hashes of `consistency_path`.
    """
    if old >= size:
        return old == size and old_root == root and not path
    if old == 0:
        return old_root == _EMPTY and not path
    place, last = old - 1, size - 1
    while place & 1:
        place, last = place >> 1, last >> 1
    if place and not path:
        return False
    # Of a full subtree the proof leaves out the root, since that is the old one.
    first, rest = (path[0], path[1:]) if place else (old_root, path)
    before = after = first
    for sibling in rest:
        if last == 0:
            return False
        if place & 1 or place == last:
            before, after = _node_hash(sibling, before), _node_hash(sibling, after)
            while place and not place & 1:
                place, last = place >> 1, last >> 1
        else:
            after = _node_hash(after, sibling)
        place, last = place >> 1, last >> 1
    return last == 0 and before == old_root and after == root
