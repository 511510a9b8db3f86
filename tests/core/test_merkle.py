"""Merkle trees: the published vectors of RFC 6962, and a second implementation of its text."""

from __future__ import annotations

import pytest
from by_definition import by_definition, climb

from axon_audit_otel.core.merkle import (
    Tree,
    consistency_path,
    inclusion_path,
    is_extension,
    leaf_hash,
    leaf_hashes,
    root_from_path,
    root_hash,
)

# Inputs, roots and paths of certificate-transparency's merkletree tests.
ENTRIES = [
    bytes.fromhex(text) for text in ("", "00", "10", "2021", "3031", "40414243", "5051525354555657")
] + [bytes.fromhex("606162636465666768696a6b6c6d6e6f")]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
PATHS = [  # index of the leaf, size of the tree, path
    (0, 1, []),
    (
        *(0, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        *(5, 8),
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        *(1, 5),
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
PROOFS = [  # sizes of the older and the newer tree, path
    (1, 1, []),
    (
        *(1, 8),
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        *(6, 8),
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        *(2, 5),
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]


def test_published_roots() -> None:
    """A tree that grows entry by entry has the published root at each size."""
    tree = Tree()
    roots = [tree.root().hex()]
    for leaf in LEAVES:
        tree.add(leaf)
        roots.append(tree.root().hex())
    assert roots == ROOTS
    assert tree.size == 8


@pytest.mark.parametrize(("index", "size", "path"), PATHS)
def test_published_paths(index: int, size: int, path: list[str]) -> None:
    """Inclusion paths are the published ones, and lead to the published root."""
    found = inclusion_path(LEAVES[:size], index)
    assert [step.hex() for step in found] == path
    root = root_from_path(LEAVES[index], index, size, found)
    assert root is not None
    assert root.hex() == ROOTS[size]


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 9, 31, 32, 33, 100, 1000])
def test_roots_by_definition(size: int) -> None:
    """The growing tree has the root of the definition's recursion."""
    entries = [b"%d" % number for number in range(size)]
    assert root_hash(map(leaf_hash, entries)) == by_definition(entries)


@pytest.mark.parametrize("before", [0, 1, 2, 3, 5, 7, 8, 11, 64])
@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 6, 9, 32, 57])
def test_many_at_once(before: int, size: int) -> None:
    """Many entries that are appended at once give the tree that they give one by one."""
    entries = [b"%d" % number for number in range(before + size + 3)]
    leaves = leaf_hashes(entries)
    tree = Tree()
    for leaf in leaves[:before]:
        tree.add(leaf)
    tree.extend(leaves[before : before + size])
    assert tree.size == before + size
    assert tree.root() == by_definition(entries[: before + size])
    for leaf in leaves[-3:]:
        tree.add(leaf)
    assert tree.root() == by_definition(entries)


@pytest.mark.parametrize("size", range(1, 35))
def test_paths_by_definition(size: int) -> None:
    """Every leaf's path leads to the root, by our verification and by the definition's."""
    entries = [b"entry %d" % number for number in range(size)]
    leaves = [leaf_hash(entry) for entry in entries]
    root = by_definition(entries)
    for index, leaf in enumerate(leaves):
        path = inclusion_path(leaves, index)
        assert climb(leaf, index, size, path) == root
        assert root_from_path(leaf, index, size, path) == root


@pytest.mark.parametrize("size", [1, 2, 3, 6, 8, 13])
def test_what_proves_nothing(size: int) -> None:
    """A path that is too short, too long, changed or for another place proves nothing."""
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    root = root_hash(leaves)
    for index, leaf in enumerate(leaves):
        path = inclusion_path(leaves, index)
        assert root_from_path(leaf, index, size, [*path, leaf]) is None
        assert root_from_path(leaf, size, size, path) is None
        assert root_from_path(leaf, -1, size, path) is None
        if path:
            assert root_from_path(leaf, index, size, path[:-1]) is None
            assert root_from_path(leaf, index, size, [b"\0" * 32, *path[1:]]) != root
        for other in range(size):
            if other != index:
                assert root_from_path(leaf, other, size, path) != root


def test_leaves_and_nodes_are_told_apart() -> None:
    """The two halves of a node are no leaf with the same hash (second preimage)."""
    assert leaf_hash(LEAVES[0] + LEAVES[1]) != root_hash(LEAVES[:2])


@pytest.mark.parametrize(("old", "size", "path"), PROOFS)
def test_published_consistency(old: int, size: int, path: list[str]) -> None:
    """Consistency proofs are the published ones, and hold between the published roots."""
    found = consistency_path(LEAVES[:size], old)
    assert [step.hex() for step in found] == path
    roots = bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[size])
    assert is_extension(old, roots[0], size, roots[1], found)


@pytest.mark.parametrize("size", range(18))
def test_consistency_of_all_sizes(size: int) -> None:
    """Each tree is proved to begin with each smaller one, whose roots the definition has."""
    entries = [b"entry %d" % number for number in range(size)]
    leaves = [leaf_hash(entry) for entry in entries]
    for old in range(size + 1):
        path = consistency_path(leaves, old)
        assert is_extension(old, by_definition(entries[:old]), size, by_definition(entries), path)


@pytest.mark.parametrize("size", range(1, 14))
def test_what_proves_no_consistency(size: int) -> None:
    """A path too short, too long or changed, another root or another size proves nothing."""
    leaves = [leaf_hash(b"%d" % number) for number in range(size)]
    root = root_hash(leaves)
    for old in range(1, size + 1):
        before, path = root_hash(leaves[:old]), consistency_path(leaves, old)
        other = root_hash([*leaves[: old - 1], leaf_hash(b"another")])
        assert not is_extension(old, other, size, root, path)
        assert not is_extension(old, before, size, other, path)
        assert not is_extension(old, before, size, root, [*path, before])
        assert not is_extension(size + 1, root, size, root, [])
        assert old == size or not is_extension(old, before, size, root, [])
        for index in range(len(path)):
            assert not is_extension(old, before, size, root, path[:index] + path[index + 1 :])
            changed = [*path[:index], b"\0" * 32, *path[index + 1 :]]
            assert not is_extension(old, before, size, root, changed)
    assert not is_extension(0, before, size, root, [])
    assert not is_extension(0, root_hash([]), size, root, [root])


@pytest.mark.parametrize("old", [-1, 9])
def test_no_consistency_with_a_larger_tree(old: int) -> None:
    """A tree does not begin with one that is larger, or that cannot be."""
    with pytest.raises(ValueError, match="a tree of 8 leaves does not extend"):
        consistency_path(LEAVES, old)
