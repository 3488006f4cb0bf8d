"""The tree over the ledger's leaves: RFC 6962, kept as rows, one per complete subtree.

Node (level, index) covers the leaves from index·2^level up to (index+1)·2^level. It is written once, when its last
leaf comes, and never changes; what hangs over the right edge is computed from the complete nodes when asked for.
So growing by a leaf writes two rows on average, and any root or proof reads at most about 2·log2(size) rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Protocol

from falaj.store.ledger.errors import LedgerDamaged, ProofImpossible

EMPTY_ROOT = sha256(b"").digest()
HASH_BYTES = 32
At = tuple[int, int]
Node = tuple[int, int, bytes]


class Nodes(Protocol):
    """Complete nodes by (level, index); level 0 holds the leaf hashes. Written once, never changed."""

    def get(self, level: int, index: int) -> bytes | None:
        """The hash, None where there is none."""
        ...

    def get_many(self, wanted: Iterable[At]) -> Mapping[At, bytes]:
        """Those of the wanted nodes that exist."""
        ...

    def put_many(self, nodes: Iterable[Node]) -> None:
        """Keep new nodes."""
        ...


class MemoryNodes:
    """Nodes in memory: the twin of the stored ones, for tests and for trees that are only passing through."""

    def __init__(self) -> None:
        self._nodes: dict[At, bytes] = {}

    def get(self, level: int, index: int) -> bytes | None:
        return self._nodes.get((level, index))

    def get_many(self, wanted: Iterable[At]) -> Mapping[At, bytes]:
        return {at: self._nodes[at] for at in wanted if at in self._nodes}

    def put_many(self, nodes: Iterable[Node]) -> None:
        self._nodes.update({(level, index): value for level, index, value in nodes})


def leaf_hash(leaf: bytes) -> bytes:
    """The hash of one leaf's bytes."""
    return sha256(b"\0" + leaf).digest()


def parent_hash(left: bytes, right: bytes) -> bytes:
    """The hash over two subtrees."""
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """The right edge of a tree: enough to grow it and to know its root.

    Args:
        size: how many leaves there are.
        peaks: the hashes of `cover(0, size)`: the complete subtrees, from the widest to the narrowest.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks, not {len(self.peaks)}")

    @classmethod
    def load(cls, nodes: Nodes, size: int) -> Frontier:
        """The frontier at a size. Raises: LedgerDamaged where a node is missing."""
        return cls(size, _fetch(nodes, cover(0, size)))

    def copy(self) -> Frontier:
        """One that grows on its own."""
        return Frontier(self.size, self.peaks)

    def push(self, leaf: bytes) -> list[Node]:
        """Add one leaf by its hash. Returns: the nodes that are now complete, the leaf's own first."""
        index, node, level = self.size, leaf, 0
        complete = [(0, index, leaf)]
        while index & 1:
            node = sha256(b"\1" + self.peaks.pop() + node).digest()
            index >>= 1
            level += 1
            complete.append((level, index, node))
        self.peaks.append(node)
        self.size += 1
        return complete

    def root(self) -> bytes:
        """The root over all leaves so far."""
        return _join(self.peaks) if self.peaks else EMPTY_ROOT


def append(nodes: Nodes, size: int, leaf_hashes: Iterable[bytes]) -> int:
    """Grow a stored tree. Returns: its new size. Raises: LedgerDamaged."""
    frontier = Frontier.load(nodes, size)
    complete: list[Node] = []
    for leaf in leaf_hashes:
        complete += frontier.push(leaf)
    nodes.put_many(complete)
    return frontier.size


def root(nodes: Nodes, size: int) -> bytes:
    """The root at any size up to the present one. Raises: LedgerDamaged."""
    return Frontier.load(nodes, size).root()


def inclusion(nodes: Nodes, leaf: int, size: int) -> list[bytes]:
    """The path that proves leaf number `leaf` (from 0) under the root at `size`; from the leaf upwards.

    Raises: ProofImpossible, LedgerDamaged.
    """
    if not 0 <= leaf < size:
        raise ProofImpossible(f"leaf {leaf} is not in a tree of {size}", next_step=f"leaves are 0 to {size - 1}")
    return _fetch_ranges(nodes, _siblings(leaf, size))


def consistency(nodes: Nodes, old: int, new: int) -> list[bytes]:
    """The path that proves that the tree at `old` is the beginning of the tree at `new`; empty where that is plain.

    Raises: ProofImpossible, LedgerDamaged.
    """
    if not 0 <= old <= new:
        raise ProofImpossible(f"a tree of {new} has no beginning of {old}", next_step="give the smaller size first")
    if old in {0, new}:
        return []
    return _fetch_ranges(nodes, _seams(old, new))


def verify_inclusion(leaf_hash: bytes, leaf: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Whether the path leads from the leaf at that number to that root."""
    if not 0 <= leaf < size:
        return False
    here, last, node = leaf, size - 1, leaf_hash
    for sibling in path:
        if last == 0 or len(sibling) != HASH_BYTES:
            return False
        if here & 1 or here == last:
            node = parent_hash(sibling, node)
            while here and not here & 1:  # a lone right edge climbs without a sibling
                here, last = here >> 1, last >> 1
        else:
            node = parent_hash(node, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and node == root


def verify_consistency(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the path shows that the tree of `old` leaves is the beginning of the tree of `new`."""
    if not 0 <= old <= new or any(len(value) != HASH_BYTES for value in path):
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    # A whole power of two is its own subtree: the proof leaves it out, since the verifier holds its root.
    steps = iter(path) if old & (old - 1) else iter((old_root, *path))
    here, last = old - 1, new - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    first = next(steps, None)
    if first is None:
        return False
    then = now = first
    for sibling in steps:
        if last == 0:
            return False
        if here & 1 or here == last:
            then, now = parent_hash(sibling, then), parent_hash(sibling, now)
            while here and not here & 1:
                here, last = here >> 1, last >> 1
        else:
            now = parent_hash(now, sibling)
        here, last = here >> 1, last >> 1
    return last == 0 and then == old_root and now == new_root


def cover(start: int, stop: int) -> list[At]:
    """The complete nodes that together cover the leaves from `start` to before `stop`, left to right.

    `start` must begin a subtree at least as wide as the range, as every range of a proof does.
    """
    nodes: list[At] = []
    while start < stop:
        level = (stop - start).bit_length() - 1
        nodes.append((level, start >> level))
        start += 1 << level
    return nodes


def _split(width: int) -> int:
    return 1 << ((width - 1).bit_length() - 1)


def _siblings(leaf: int, size: int) -> list[tuple[int, int]]:
    start, stop, ranges = 0, size, []
    while stop - start > 1:
        middle = start + _split(stop - start)
        if leaf < middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def _seams(old: int, new: int) -> list[tuple[int, int]]:
    start, stop, ranges = 0, new, []
    while stop > old:
        middle = start + _split(stop - start)
        if old <= middle:
            ranges.append((middle, stop))
            stop = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start:
        ranges.append((start, stop))
    return ranges[::-1]


def _fetch_ranges(nodes: Nodes, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    covers = [cover(start, stop) for start, stop in ranges]
    values = iter(_fetch(nodes, [at for part in covers for at in part]))
    return [_join([next(values) for _ in part]) for part in covers]


def _fetch(nodes: Nodes, wanted: Sequence[At]) -> list[bytes]:
    found = nodes.get_many(wanted)
    for at in wanted:
        if len(found.get(at, b"")) != HASH_BYTES:
            raise LedgerDamaged(
                f"the ledger's tree lacks node {at[1]} of level {at[0]}",
                next_step="falaj ledger verify names the cause",
            )
    return [found[at] for at in wanted]


def _join(hashes: Sequence[bytes]) -> bytes:
    node = hashes[-1]
    for left in reversed(hashes[:-1]):
        node = parent_hash(left, node)
    return node
