"""Proving the ledger and the state under it: every entry, node, checkpoint and governed row against one another.

What each comparison can show:
  - entries against stored nodes: an entry edited, removed, swapped or added by someone who forgot the nodes;
  - both against checkpoints: the same by someone who rewrote the nodes, unless he holds the signing key;
  - against checkpoints kept elsewhere: a cut tail, an older database, a ledger rewritten whole and signed anew;
  - rows against entries: a row changed, deleted or put in behind the door;
  - words against the entries that commit to them: words changed; words that are gone were erased, which is lawful.
Pure: all comes through the `Source` port and is read once, in order; only where rows and entries do not come out even
are both read again, to say which and why.
"""

from __future__ import annotations

import gc
from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Generic, Protocol, TypeVar

import msgspec

from falaj.store.ledger.checkpoint import Checkpoint, Verifier, open_note
from falaj.store.ledger.errors import CheckpointInvalid
from falaj.store.ledger.fold import UNREADABLE, EntryRow, Fold
from falaj.store.ledger.merkle import Node
from falaj.store.ledger.problems import Problem, checkpoint_problem, detail_problem
from falaj.store.ledger.states import Explanation, Rows, Walk
from falaj.store.ledger.tree_check import compare_nodes
from falaj.store.metadata.digests import is_committed

T = TypeVar("T")
# entry, salt, body of the words; leaf and body of the entry, None where there is none
DetailRow = tuple[str, bytes, bytes, int | None, bytes | None]
MOST_PROBLEMS = 10_000


class Source(Rows, Protocol):
    """One snapshot of a store, as verification reads it. All must come from the same transaction."""

    def entries(self) -> Iterable[EntryRow]:
        """Leaf number, body, id, project, what, op, at of every entry with a leaf number, in its order."""
        ...

    def pending(self) -> Iterable[bytes]:
        """The bodies of the entries without one."""
        ...

    def has_exactly(self, levels: Sequence[bytes | bytearray]) -> bool:
        """Whether the stored nodes are exactly these: for each level, the hashes of its nodes, joined.

        May be told more cheaply than by reading every node, and is asked first.
        """
        ...

    def nodes(self) -> Iterable[Node]:
        """Every stored node, ordered by level and index."""
        ...

    def checkpoints(self) -> Iterable[tuple[int, str]]:
        """The size and note of every stored checkpoint, by size."""
        ...

    def details(self) -> Iterable[DetailRow]:
        """The words beside the entries, each with its entry."""
        ...


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What verification found.

    Attributes:
        entries: entries with a leaf number; pending: those still without one, which is no problem.
        root: base64 of the root over them.
        checkpoints: stored checkpoints that hold; kept: those from elsewhere that hold.
        signed: the largest size that a checkpoint which holds covers; entries after it rest on the nodes alone.
        states: governed rows compared.
        details: entries whose words are still kept.
        unlisted: problems beyond those listed.
    """

    entries: int
    pending: int
    root: str
    checkpoints: int
    kept: int
    signed: int
    states: int
    details: int
    problems: tuple[Problem, ...]
    unlisted: int = 0

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong."""
        return not self.problems


class _Committed(msgspec.Struct, frozen=True):
    detail: str | None = None


_decode_commitment = msgspec.json.Decoder(_Committed).decode


class Heads(msgspec.Struct):
    """How many checkpoints hold, and the largest size that one of them covers."""

    holding: int = 0
    proven: int = 0


def verify(source: Source, verifiers: Sequence[Verifier], kept: Iterable[str] = ()) -> Report:
    """Verify all of it.

    Args:
        verifiers: the keys that checkpoints may be signed by, retired ones included.
        kept: checkpoint notes kept outside of this database.
    """
    with _collector_paused():
        return _verify(source, verifiers, kept)


def _verify(source: Source, verifiers: Sequence[Verifier], kept: Iterable[str]) -> Report:
    walk = Walk(source)
    fold = Fold(walk.note)
    fold.feed(source.entries())
    fold.feed_pending(source.pending())
    problems = list(fold.problems)
    stored, outside = Heads(), Heads()
    problems += check_checkpoints(fold, source.checkpoints(), verifiers, stored)
    problems += check_checkpoints(fold, ((None, note) for note in kept), verifiers, outside)
    signed = max(stored.proven, outside.proven)
    if not source.has_exactly(fold.levels):
        problems += compare_nodes(fold, source.nodes(), signed)
    states, wrong, more = _states(fold, walk, source)
    problems += wrong
    details = _Counted(source.details())
    changed, more_changed = _listed(compare_details(details))
    problems += changed
    return Report(
        entries=fold.entries,
        pending=fold.waiting,
        root=b64encode(fold.root()).decode(),
        checkpoints=stored.holding,
        kept=outside.holding,
        signed=signed,
        states=states,
        details=details.count,
        problems=tuple(problems),
        unlisted=fold.unlisted + more + more_changed,
    )


@contextmanager
def _collector_paused() -> Iterator[None]:
    """Without the cyclic collector, a tenth of the time: millions of records are made and none is in a cycle."""
    paused = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if paused:
            gc.enable()


def _states(fold: Fold, walk: Walk, source: Source) -> tuple[int, list[Problem], int]:
    """How many governed rows there are, what is wrong with them, and how much more beyond what is listed."""
    if not fold.pending and walk.is_even():
        return walk.count, [], 0
    explanation = Explanation(source, source.entries(), fold.pending)
    wrong, more = _listed(explanation.problems())
    return explanation.count, wrong, more


def check_checkpoints(
    fold: Fold, notes: Iterable[tuple[int | None, str]], verifiers: Sequence[Verifier], heads: Heads | None = None
) -> Iterator[Problem]:
    """Compare checkpoints with the tree of the entries.

    Args:
        notes: each with the size it is stored under, None for one kept elsewhere.
        heads: counts those that hold.
    """
    heads = heads if heads is not None else Heads()
    differing: list[Checkpoint] = []
    for size, note in notes:
        try:
            checkpoint = open_note(note, verifiers)
        except CheckpointInvalid as error:
            yield checkpoint_problem("checkpoint_invalid", "kept" if size is None else str(size), None, error.message)
            continue
        where = "kept elsewhere" if size is None else "stored here"
        if size is not None and size != checkpoint.size:
            message = f"the checkpoint of {checkpoint.size} entries is stored as one of {size}"
            yield checkpoint_problem("checkpoint_invalid", str(size), None, message)
        elif checkpoint.size > fold.size:
            message = f"a checkpoint {where} covers {checkpoint.size} entries, the ledger has {fold.size}"
            yield checkpoint_problem("tail_cut", str(checkpoint.size), fold.size, message)
        elif checkpoint.root != fold.root(checkpoint.size):
            differing.append(checkpoint)
        else:
            heads.holding += 1
            heads.proven = max(heads.proven, checkpoint.size)
    if differing:
        first = min(differing, key=lambda c: c.size)
        message = f"the first {first.size} entries are not those that were signed"
        if heads.proven < first.size:
            message += f"; the first {heads.proven} are"
        if len(differing) > 1:
            message += f"; {len(differing) - 1} more checkpoints differ"
        yield checkpoint_problem("checkpoint_mismatch", str(first.size), None, message)


def compare_details(rows: Iterable[DetailRow]) -> Iterator[Problem]:
    """Compare the words that are kept with what their entries commit to."""
    for entry, salt, words, leaf, body in rows:
        try:
            said = _decode_commitment(body).detail if body is not None else None
        except UNREADABLE:
            continue  # named already: the entry itself cannot be read
        if said is None:
            yield detail_problem("detail_unexplained", entry, leaf, f"no entry commits to the words kept as {entry}")
        elif not is_committed(said, salt, words):
            message = f"the words beside entry {entry if leaf is None else leaf} are not those that were written"
            yield detail_problem("detail_changed", entry, leaf, message)


def _listed(problems: Iterator[Problem]) -> tuple[list[Problem], int]:
    """The first of them, and how many there are beyond."""
    return list(islice(problems, MOST_PROBLEMS)), sum(1 for _ in problems)


class _Counted(Generic[T]):
    """Rows, counted as they are read."""

    def __init__(self, rows: Iterable[T]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[T]:
        for row in self._rows:
            self.count += 1
            yield row
