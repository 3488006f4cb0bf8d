"""Folding the ledger: every entry read once gives the tree again, and what it says of governed rows.

Pure: entries come as an iterable and are never held. A block of entries is worked on at a time, level by level,
since a loop over one column is several times as fast as a loop over entries. What a sound block has is checked
wholesale; only a block that fails is gone through entry by entry, to say which one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256
from itertools import chain, islice
from operator import attrgetter
from typing import Any

import msgspec

from falaj.store.ledger.merkle import EMPTY_ROOT, HASH_BYTES, cover, leaf_hash, parent_hash
from falaj.store.ledger.problems import Problem, entry_problem

# leaf, body, then the columns that index it: id, project, what, op, at
EntryRow = tuple[int, bytes, str, str, str, str, str]

# table, key and digest of a governed row after an entry, None where that deleted it
Said = tuple[str, str, str | None]

BLOCK = 64  # what is read, decoded and noted at once stays in the processor's nearest cache
HASHES = 1024  # the tree grows by so many leaves at once, since each time costs a step on every level
MOST_GAPS = 1_000_000
MOST_PROBLEMS = 1_000
ZERO = bytes(HASH_BYTES)
UNREADABLE = (TypeError, ValueError, RecursionError, msgspec.MsgspecError)


class Brief(msgspec.Struct, frozen=True, gc=False):
    """What of an entry is folded: half the cost of reading all of it. The rest is proved by the leaf's hash."""

    id: str
    at: str
    what: str
    op: str
    project: str = ""
    changes: tuple[Said, ...] = ()


decode_brief = msgspec.json.Decoder(Brief).decode
_CHANGES = attrgetter("changes")
_COLUMNS = attrgetter("id", "project", "what", "op", "at")


class Fold:
    """What the entries add up to.

    Args:
        note: told what the entries say of governed rows, in their order.

    Attributes:
        size: how many leaf numbers there are, gaps included.
        entries: how many entries were read.
        levels: for each level of the tree, the hashes of its complete nodes, joined.
        pending: (table, key) → the states that entries without a leaf number may have left.
        waiting: how many entries have no leaf number yet.
        gaps: leaf numbers that no entry has; their hash is taken as zeros.
        problems: what was wrong with entries by themselves, at most `MOST_PROBLEMS`.
        unlisted: how many problems more there were.
    """

    def __init__(self, note: Callable[[Iterable[Said]], None] = lambda _: None) -> None:
        self._note = note
        self.size = 0
        self.entries = 0
        self.levels: list[bytearray] = [bytearray()]
        self.pending: dict[tuple[str, str], set[str | None]] = {}
        self.waiting = 0
        self.gaps: set[int] = set()
        self.problems: list[Problem] = []
        self.unlisted = 0
        self._lone: list[bytes | None] = [None]
        self._fresh: list[bytes] = []

    def feed(self, rows: Iterable[EntryRow]) -> None:
        """Take entries, in the order of their leaf numbers."""
        rows = iter(rows)
        while block := list(islice(rows, BLOCK)):
            self.entries += len(block)
            if not self._take_sound(block):
                self._take_each(block)
            if len(self._fresh) >= HASHES:
                self._grow_levels()
        self._grow_levels()

    def feed_pending(self, bodies: Iterable[bytes]) -> None:
        """Take the entries that have no leaf number yet, in any order."""
        for body in bodies:
            self.waiting += 1
            try:
                entry = decode_brief(body)
            except UNREADABLE as error:
                self._add(entry_problem("entry_unreadable", self.size, f"a pending entry cannot be read: {error}"))
                continue
            for table, key, digest in entry.changes:
                self.pending.setdefault((table, key), set()).add(digest)

    def node(self, level: int, index: int) -> bytes:
        """A complete node."""
        start = index * HASH_BYTES
        return bytes(self.levels[level][start : start + HASH_BYTES])

    def root(self, size: int | None = None) -> bytes:
        """The root at a size up to `self.size`."""
        peaks = [self.node(*at) for at in cover(0, self.size if size is None else size)]
        if not peaks:
            return EMPTY_ROOT
        node = peaks.pop()
        while peaks:
            node = parent_hash(peaks.pop(), node)
        return node

    def _take_sound(self, block: list[EntryRow]) -> bool:
        leaves, bodies, *columns = zip(*block, strict=True)
        if leaves != tuple(range(self.size, self.size + len(block))):
            return False
        try:
            hashes = [sha256(b"\0" + body).digest() for body in bodies]
            entries = list(map(decode_brief, bodies))
        except UNREADABLE:
            return False
        if list(map(_COLUMNS, entries)) != list(zip(*columns, strict=True)):
            return False
        self._note(chain.from_iterable(map(_CHANGES, entries)))
        self._grow(hashes)
        return True

    def _take_each(self, block: list[EntryRow]) -> None:
        leaf: Any
        body: Any  # whatever a changed database holds
        for leaf, body, *columns in block:
            placed = self._place(leaf)
            try:
                hashed = leaf_hash(body)
                entry = decode_brief(body)
            except UNREADABLE as error:
                self._add(entry_problem("entry_unreadable", leaf, f"entry {leaf} cannot be read: {error}"))
                hashed = leaf_hash(body) if isinstance(body, bytes) else ZERO
            else:
                self._compare_columns(leaf, entry, columns)
                self._note(entry.changes)
            if placed:
                self._grow([hashed])

    def _place(self, leaf: Any) -> bool:
        if leaf == self.size:
            return True
        if not isinstance(leaf, int) or leaf < self.size:
            self._add(entry_problem("entry_added", self.size, f"leaf number {leaf!r} stands twice or is none"))
            return False
        missing = leaf - self.size
        if len(self.gaps) + missing > MOST_GAPS:
            self._add(entry_problem("entry_removed", self.size, f"no entries from {self.size} up to {leaf}"))
            return False
        for number in range(self.size, leaf):
            self._add(entry_problem("entry_removed", number, f"entry {number} is missing"))
        self.gaps.update(range(self.size, leaf))
        self._grow([ZERO] * missing)
        return True

    def _compare_columns(self, leaf: int, entry: Brief, columns: list[Any]) -> None:
        said = {"id": entry.id, "project": entry.project, "what": entry.what, "op": entry.op, "at": entry.at}
        wrong = [name for (name, value), column in zip(said.items(), columns, strict=True) if value != column]
        if wrong:
            message = f"entry {leaf} is indexed under another {', '.join(wrong)} than its body says"
            self._add(entry_problem("entry_misindexed", leaf, message))

    def _grow(self, hashes: list[bytes]) -> None:
        self.size += len(hashes)
        self._fresh += hashes

    def _grow_levels(self) -> None:
        """Put the fresh leaves under the tree, level by level."""
        hashes, self._fresh = self._fresh, []
        level = 0
        while True:
            self.levels[level] += b"".join(hashes)
            lone = self._lone[level]
            if lone is not None:
                hashes.insert(0, lone)
            self._lone[level] = hashes.pop() if len(hashes) & 1 else None
            if not hashes:
                return
            hashes = [
                sha256(b"\1" + left + right).digest() for left, right in zip(hashes[::2], hashes[1::2], strict=True)
            ]
            level += 1
            if level == len(self.levels):
                self.levels.append(bytearray())
                self._lone.append(None)

    def _add(self, problem: Problem) -> None:
        if len(self.problems) < MOST_PROBLEMS:
            self.problems.append(problem)
        else:
            self.unlisted += 1
