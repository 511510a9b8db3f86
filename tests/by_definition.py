"""Merkle trees by the text of RFC 6962, without our code."""

from __future__ import annotations

import hashlib


def by_definition(entries: list[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, word for word."""
    if not entries:
        return hashlib.sha256().digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    left, right = by_definition(entries[:k]), by_definition(entries[k:])
    return hashlib.sha256(b"\x01" + left + right).digest()


def climb(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes:
    """The root that a path leads to, by the recursion of RFC 6962, section 2.1.1."""
    if size == 1:
        assert path == []
        return leaf
    k = 1
    while k * 2 < size:
        k *= 2
    *below, sibling = path
    if index < k:
        return hashlib.sha256(b"\x01" + climb(leaf, index, k, below) + sibling).digest()
    return hashlib.sha256(b"\x01" + sibling + climb(leaf, index - k, size - k, below)).digest()
