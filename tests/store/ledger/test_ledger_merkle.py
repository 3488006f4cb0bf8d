"""The tree against a plainly recursive second implementation, at every size up to 64, and known roots."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from falaj.store.ledger.errors import LedgerDamaged, ProofImpossible
from falaj.store.ledger.merkle import (
    EMPTY_ROOT,
    Frontier,
    MemoryNodes,
    append,
    consistency,
    inclusion,
    leaf_hash,
    root,
    verify_consistency,
    verify_inclusion,
)

MOST = 64
LEAVES = [b"leaf %d" % i for i in range(MOST)]
HASHES = [leaf_hash(leaf) for leaf in LEAVES]

KNOWN_LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
KNOWN_ROOTS = [
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


def half(n):
    k = 1
    while 2 * k < n:
        k *= 2
    return k


def slow_root(leaves):
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return sha256(b"\0" + leaves[0]).digest()
    k = half(len(leaves))
    return sha256(b"\1" + slow_root(leaves[:k]) + slow_root(leaves[k:])).digest()


def slow_path(m, leaves):
    if len(leaves) == 1:
        return []
    k = half(len(leaves))
    if m < k:
        return [*slow_path(m, leaves[:k]), slow_root(leaves[k:])]
    return [*slow_path(m - k, leaves[k:]), slow_root(leaves[:k])]


def slow_consistency(m, leaves, whole=True):
    if m == len(leaves):
        return [] if whole else [slow_root(leaves)]
    k = half(len(leaves))
    if m <= k:
        return [*slow_consistency(m, leaves[:k], whole), slow_root(leaves[k:])]
    return [*slow_consistency(m - k, leaves[k:], False), slow_root(leaves[:k])]


@pytest.fixture(scope="module")
def tree():
    nodes = MemoryNodes()
    assert append(nodes, 0, HASHES) == MOST
    return nodes


@pytest.mark.parametrize("size", range(9))
def test_known_roots(size):
    nodes = MemoryNodes()
    append(nodes, 0, [leaf_hash(bytes.fromhex(leaf)) for leaf in KNOWN_LEAVES[:size]])
    assert root(nodes, size).hex() == KNOWN_ROOTS[size]


def test_every_root_agrees_with_the_plain_one(tree):
    frontier = Frontier()
    for size in range(MOST + 1):
        assert root(tree, size) == frontier.root() == slow_root(LEAVES[:size])
        assert Frontier.load(tree, size).peaks == frontier.peaks
        if size < MOST:
            frontier.push(HASHES[size])


def test_every_inclusion_path_agrees_and_verifies_for_its_own_leaf_only(tree):
    for size in range(1, MOST + 1):
        top = slow_root(LEAVES[:size])
        for leaf in range(size):
            path = inclusion(tree, leaf, size)
            assert path == slow_path(leaf, LEAVES[:size])
            assert verify_inclusion(HASHES[leaf], leaf, size, path, top)
            assert not verify_inclusion(HASHES[(leaf + 1) % MOST], leaf, size, path, top)
            assert not verify_inclusion(HASHES[leaf], leaf, size, [*path, top], top)
            assert not verify_inclusion(HASHES[leaf], size, size, path, top)
            assert not path or not verify_inclusion(HASHES[leaf], leaf, size, path[:-1], top)
            assert size == 1 or not verify_inclusion(HASHES[leaf], (leaf + 1) % size, size, path, top)


def test_every_consistency_path_agrees_and_verifies(tree):
    roots = [slow_root(LEAVES[:size]) for size in range(MOST + 1)]
    wrong = sha256(b"wrong").digest()
    for new in range(MOST + 1):
        for old in range(new + 1):
            path = consistency(tree, old, new)
            if old:
                assert path == slow_consistency(old, LEAVES[:new])
            assert verify_consistency(old, new, roots[old], roots[new], path)
            assert not verify_consistency(old, new, wrong, roots[new], path)
            assert not verify_consistency(old, new, roots[old], roots[new], [*path, wrong])
            if old:
                assert not verify_consistency(old, new, roots[old], wrong, path)
            if path:
                assert not verify_consistency(old, new, roots[old], roots[new], path[:-1])
                assert not verify_consistency(old, new, roots[old], roots[new], [wrong, *path[1:]])


def test_two_nodes_a_leaf_on_average_and_each_is_written_once(tree):
    frontier, written = Frontier(), []
    for value in HASHES:
        written += [at[:2] for at in frontier.push(value)]
    assert len(written) == len(set(written)) == 2 * MOST - 1
    assert all(tree.get(*at) is not None for at in written)
    assert tree.get(0, MOST) is None


def test_a_copy_grows_on_its_own():
    first = Frontier()
    first.push(HASHES[0])
    second = first.copy()
    second.push(HASHES[1])
    assert (first.size, second.size) == (1, 2)
    assert first.root() == HASHES[0] != second.root()


@pytest.mark.parametrize(("leaf", "size"), [(0, 0), (5, 5), (-1, 5)])
def test_no_proof_outside_the_tree(tree, leaf, size):
    with pytest.raises(ProofImpossible):
        inclusion(tree, leaf, size)


@pytest.mark.parametrize(("old", "new"), [(6, 5), (-1, 5)])
def test_no_consistency_backwards(tree, old, new):
    with pytest.raises(ProofImpossible):
        consistency(tree, old, new)
    assert not verify_consistency(old, new, EMPTY_ROOT, EMPTY_ROOT, [])


def test_a_missing_node_is_named():
    with pytest.raises(LedgerDamaged, match="node 0 of level 2"):
        root(MemoryNodes(), 5)


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=80), st.data())
def test_editing_any_leaf_changes_the_root(leaves, data):
    at = data.draw(st.integers(0, len(leaves) - 1))
    edited = [*leaves[:at], leaves[at] + b"!", *leaves[at + 1 :]]
    frontiers = []
    for content in (leaves, edited):
        frontier = Frontier()
        for leaf in content:
            frontier.push(leaf_hash(leaf))
        frontiers.append(frontier.root())
    assert frontiers[0] != frontiers[1]
    assert frontiers[0] == slow_root(leaves)


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6))
def test_batches_of_any_width_give_the_same_tree(widths):
    hashes = [leaf_hash(b"%d" % i) for i in range(sum(widths))]
    at_once, in_batches, size = MemoryNodes(), MemoryNodes(), 0
    append(at_once, 0, hashes)
    for width in widths:
        size = append(in_batches, size, hashes[size : size + width])
    assert root(at_once, size) == root(in_batches, size)
    assert inclusion(at_once, size // 2, size) == inclusion(in_batches, size // 2, size)


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=12), st.integers(0, 200), st.integers(0, 200))
def test_made_up_paths_prove_nothing(path, leaf, size):
    top = sha256(b"some root").digest()
    assert not verify_inclusion(HASHES[0], leaf, size, path, top)
    if leaf != size:
        assert not verify_consistency(leaf, size, HASHES[1], top, path)
