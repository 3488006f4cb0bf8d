"""The tree of the entries against the stored nodes: what differs, and which entry is the cause.

Stored nodes say what each leaf was when it was written. So an edited entry shows at its own leaf, two swapped ones
at each other's, and a removed or added one shifts what follows. Only against a checkpoint does it show when someone
rewrote the nodes as well.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import Any

import msgspec

from falaj.store.ledger.fold import MOST_GAPS, ZERO, Fold
from falaj.store.ledger.merkle import HASH_BYTES, Node
from falaj.store.ledger.problems import Problem, entry_problem, node_problem

BLOCK = 4096
SHOWN = 20
_STRIDE = 1024 * HASH_BYTES


class _Cause(msgspec.Struct):
    """The leaves that explain differences above them: single ones, and all from a number on."""

    leaves: set[int]
    onwards: int


def compare_nodes(fold: Fold, stored: Iterable[Node], proven: int = 0) -> Iterator[Problem]:
    """Compare the stored nodes with the tree of the entries.

    Args:
        stored: every node, ordered by level and index.
        proven: the largest size at which the tree of the entries has the root of a checkpoint whose signature
            holds: where a node differs below it, the node is wrong and the entry is right.
    """
    found = _collect(stored)
    if all(found.get(level, b"") == computed for level, computed in enumerate(fold.levels)):
        cause = _Cause(set(), sys.maxsize)
    else:
        then, now = found.get(0, bytearray()), fold.levels[0]
        cause = _Cause(set(fold.gaps), max(proven, min(len(then), len(now)) // HASH_BYTES))
        yield from _explain_leaves(fold, then, proven, cause)
        for level in range(1, len(fold.levels)):
            yield from _explain_inner(level, found.get(level, bytearray()), fold.levels[level], cause)
    yield from _beyond(fold, found, cause)


def _collect(stored: Iterable[Node]) -> dict[int, bytearray]:
    # Holes become zeros, which no node is; what cannot be placed at all is kept out and shows as a hole.
    found: dict[int, bytearray] = {}
    rows = iter(stored)
    while block := list(islice(rows, BLOCK)):
        for level, run in ((block[0][0], block),) if block[0][0] == block[-1][0] else _runs(block):
            held = found.setdefault(level, bytearray())
            start = len(held) // HASH_BYTES
            _, indexes, hashes = zip(*run, strict=True)
            try:
                joined = b"".join(hashes)
            except TypeError:
                joined = b""
            if len(joined) == len(run) * HASH_BYTES and indexes == tuple(range(start, start + len(run))):
                held += joined
            else:
                _place_each(held, indexes, hashes)
    return found


def _runs(block: list[Node]) -> list[tuple[int, list[Node]]]:
    return [(level, list(run)) for level, run in groupby(block, key=lambda node: node[0])]


def _place_each(held: bytearray, indexes: tuple[Any, ...], hashes: tuple[Any, ...]) -> None:
    for index, value in zip(indexes, hashes, strict=True):
        hole = index - len(held) // HASH_BYTES if isinstance(index, int) else -1
        if 0 <= hole <= MOST_GAPS:
            held += ZERO * hole + (value if isinstance(value, bytes) and len(value) == HASH_BYTES else ZERO)


def _differences(then: bytearray, now: bytearray) -> list[int]:
    """Indexes at which two rows of hashes differ, as far as both reach."""
    end = min(len(then), len(now))
    different: list[int] = []
    for start in range(0, end, _STRIDE):
        stop = min(start + _STRIDE, end)
        if then[start:stop] != now[start:stop]:
            steps = range(start, stop, HASH_BYTES)
            different += [at // HASH_BYTES for at in steps if then[at : at + HASH_BYTES] != now[at : at + HASH_BYTES]]
    return different


def _explain_leaves(fold: Fold, then: bytearray, proven: int, cause: _Cause) -> Iterator[Problem]:
    now, stored = fold.levels[0], len(then) // HASH_BYTES
    different = [leaf for leaf in _differences(then, now) if leaf not in fold.gaps]
    yield from _wrong_nodes(0, then, [*(leaf for leaf in different if leaf < proven), *range(stored, proven)])
    fresh = [leaf for leaf in different if leaf >= proven]
    shift = _shifted(then, now, fresh[0]) if fresh else None
    if shift:
        cause.onwards = fresh[0]
        yield shift
        return
    if stored > fold.size:
        many = stored - fold.size
        message = f"the last {many} entries are missing: the tree has {stored}, the ledger {fold.size}"
        yield entry_problem("tail_cut", fold.size, message)
    elif max(stored, proven) < fold.size:
        first = max(stored, proven)
        message = f"{fold.size - first} entries from {first} on are not in the tree"
        yield entry_problem("entry_added", first, message)
    cause.leaves.update(fresh)
    yield from _first(_changed_entries(then, now, fresh), "entries")


def _changed_entries(then: bytearray, now: bytearray, fresh: list[int]) -> list[Problem]:
    places = {_at(now, leaf): leaf for leaf in fresh}
    problems = []
    for leaf in fresh:
        was = _at(then, leaf)
        other = places.get(was)
        if was == ZERO:
            problems.append(entry_problem("entry_added", leaf, f"entry {leaf} is not in the tree"))
        elif other is not None and _at(then, other) == _at(now, leaf):
            message = f"entry {leaf} and entry {other} stand in each other's place"
            problems.append(entry_problem("entry_swapped", leaf, message))
        else:
            message = f"entry {leaf} is not what was written: its hash is another"
            problems.append(entry_problem("entry_edited", leaf, message))
    return problems


def _shifted(then: bytearray, now: bytearray, first: int) -> Problem | None:
    at, after = first * HASH_BYTES, (first + 1) * HASH_BYTES
    if len(then) > after and now[at:] == then[after : after + len(now) - at] and len(then) > len(now):
        return entry_problem("entry_removed", first, f"entry {first} was removed, and those after it renumbered")
    if len(now) > after and then[at:] == now[after : after + len(then) - at] and len(now) > len(then):
        return entry_problem("entry_added", first, f"entry {first} was put in, and those after it renumbered")
    return None


def _explain_inner(level: int, then: bytearray, now: bytearray, cause: _Cause) -> Iterator[Problem]:
    explained = {leaf >> level for leaf in cause.leaves}
    lacking = range(len(then) // HASH_BYTES, len(now) // HASH_BYTES)
    wrong = [
        index
        for index in (*_differences(then, now), *lacking)
        if index not in explained and (index + 1) << level <= cause.onwards
    ]
    yield from _wrong_nodes(level, then, wrong)


def _wrong_nodes(level: int, then: bytearray, wrong: list[int]) -> Iterator[Problem]:
    problems: list[Problem] = []
    for index in wrong:
        if _at(then, index) in {b"", ZERO}:
            problems.append(node_problem("node_missing", level, index, f"node {index} of level {level} is missing"))
        else:
            message = f"node {index} of level {level} is not the hash of what is below it"
            problems.append(node_problem("node_wrong", level, index, message))
    yield from _first(problems, "nodes")


def _beyond(fold: Fold, found: dict[int, bytearray], cause: _Cause) -> Iterator[Problem]:
    for level, held in sorted(found.items()):
        known = len(fold.levels[level]) // HASH_BYTES if 0 <= level < len(fold.levels) else 0
        if len(held) // HASH_BYTES > known and (known + 1) << max(level, 0) <= cause.onwards:
            yield node_problem("node_wrong", level, known, f"node {known} of level {level} is over nothing")


def _at(row: bytearray, index: int) -> bytes:
    return bytes(row[index * HASH_BYTES : (index + 1) * HASH_BYTES])


def _first(problems: list[Problem], what: str) -> Iterator[Problem]:
    yield from problems[:SHOWN]
    if len(problems) > SHOWN:
        more = problems[SHOWN]
        yield msgspec.structs.replace(more, message=f"{more.message}; and {len(problems) - SHOWN - 1} more {what}")
