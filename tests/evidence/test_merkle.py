"""Merkle trees: against the definition in RFC 6962, its test vectors, and forged proofs."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worldflux.evidence import merkle

#: The entries and the roots of the reference trees of the Certificate Transparency project.
ENTRIES = [
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
]  # fmt: skip
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [merkle.leaf_hash(bytes.fromhex(entry)) for entry in ENTRIES]
MORE = [merkle.leaf_hash(b"%d" % index) for index in range(40)]


def by_definition(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return hashlib.sha256(b"\x01" + by_definition(leaves[:k]) + by_definition(leaves[k:])).digest()


def subtree(leaves: Sequence[bytes]) -> merkle.Subtree:
    return lambda start, end: by_definition(leaves[start:end])


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_the_published_ones(size: int) -> None:
    """The eight reference trees have the roots that every implementation has."""
    assert merkle.tree_hash(LEAVES[:size]).hex() == ROOTS[size - 1]


def test_a_growing_log_has_the_roots_of_the_definition() -> None:
    """The frontier gives the root at every size, and has as many hashes as the size has ones."""
    frontier: list[bytes] = []
    for size, leaf in enumerate(MORE):
        assert merkle.root(frontier) == by_definition(MORE[:size])
        assert len(frontier) == bin(size).count("1")
        frontier = merkle.append(frontier, size, leaf)


def test_every_leaf_is_proved_and_no_other() -> None:
    """Each leaf of each tree up to 40 has a proof; under another index, leaf, root or size it fails."""
    for size in range(1, 41):
        head = by_definition(MORE[:size])
        for index in range(size):
            path = merkle.inclusion_proof(index, size, subtree(MORE))
            leaf = MORE[index]
            assert merkle.proves_inclusion(index, size, leaf, path, head)
            assert not merkle.proves_inclusion(index, size, merkle.leaf_hash(b"x"), path, head)
            assert not merkle.proves_inclusion(index, size, leaf, path, merkle.EMPTY)
            assert not merkle.proves_inclusion(index, size, leaf, [*path, merkle.EMPTY], head)
            assert not merkle.proves_inclusion(size, size, leaf, path, head)
            assert not merkle.proves_inclusion(-1, size, leaf, path, head)
            if path:
                assert not merkle.proves_inclusion(index, size, leaf, path[:-1], head)
                assert not merkle.proves_inclusion(index ^ 1, size, leaf, path, head)


def test_growth_is_proved_and_a_rewritten_history_is_not() -> None:
    """Every earlier head is consistent with every later one; a changed leaf, a shorter log or a cut proof is not."""
    for size in range(41):
        head = by_definition(MORE[:size])
        for old in range(size + 1):
            path = merkle.consistency_proof(old, size, subtree(MORE))
            before = by_definition(MORE[:old])
            assert merkle.proves_consistency(old, size, before, head, path)
            if old:
                changed = by_definition([merkle.leaf_hash(b"x"), *MORE[1:old]])
                assert not merkle.proves_consistency(old, size, changed, head, path)
                assert not merkle.proves_consistency(old, size, before, merkle.leaf_hash(b"y"), path)
                assert not merkle.proves_consistency(old, size, before, head, [*path, merkle.EMPTY])
            if path:
                assert not merkle.proves_consistency(old, size, before, head, path[:-1])
            assert not merkle.proves_consistency(size + 1, size, before, head, path)


def test_a_node_is_not_a_leaf() -> None:
    """The hash of an inner node, offered as an entry, has another hash than the node."""
    left, right = MORE[:2]
    assert merkle.leaf_hash(left + right) != merkle.node_hash(left, right)


@given(st.lists(st.binary(max_size=8), min_size=1, max_size=200), st.data())
def test_random_logs(bodies: list[bytes], data: st.DataObject) -> None:
    """Inclusion and consistency hold for logs of any size and content, also with equal entries."""
    leaves = [merkle.leaf_hash(body) for body in bodies]
    size = len(leaves)
    index = data.draw(st.integers(0, size - 1))
    old = data.draw(st.integers(0, size))
    head = merkle.tree_hash(leaves)
    path = merkle.inclusion_proof(index, size, subtree(leaves))
    assert merkle.proves_inclusion(index, size, leaves[index], path, head)
    grown = merkle.consistency_proof(old, size, subtree(leaves))
    assert merkle.proves_consistency(old, size, merkle.tree_hash(leaves[:old]), head, grown)


def test_impossible_proofs_are_errors() -> None:
    """There is no proof of a leaf or of a head that is not there."""
    with pytest.raises(ValueError, match="no leaf"):
        merkle.inclusion_proof(3, 3, subtree(MORE))
    with pytest.raises(ValueError, match="grown"):
        merkle.consistency_proof(4, 3, subtree(MORE))
