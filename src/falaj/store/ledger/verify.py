"""Proving the ledger and the state under it: every entry, node, checkpoint and governed row against one another.

What each comparison can show:
  - entries against stored nodes: an entry edited, removed, swapped or added by someone who forgot the nodes;
  - both against checkpoints: the same by someone who rewrote the nodes, unless he holds the signing key;
  - against checkpoints kept elsewhere: a cut tail, an older database, a ledger rewritten whole and signed anew;
  - rows against entries: a row changed, deleted or put in behind the door;
  - words against the entries that commit to them: words changed; words that are gone were erased, which is lawful.
Pure: all comes through the `Source` port and is read once, in order; only to name the last entry of a wrong row
are the entries read again.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Generic, Protocol, TypeVar

import msgspec

from falaj.store.ledger.checkpoint import Checkpoint, Verifier, open_note
from falaj.store.ledger.errors import CheckpointInvalid
from falaj.store.ledger.fold import UNREADABLE, EntryRow, Fold, decode_entry
from falaj.store.ledger.merkle import Node
from falaj.store.ledger.problems import Problem, checkpoint_problem, detail_problem, state_problem
from falaj.store.ledger.tree_check import compare_nodes
from falaj.store.metadata.digests import is_committed

T = TypeVar("T")
StateRow = tuple[str, str, str]
# entry, salt, body of the words; leaf and body of the entry, None where there is none
DetailRow = tuple[str, bytes, bytes, int | None, bytes | None]
_MISSING = object()
MOST_PROBLEMS = 10_000


class Source(Protocol):
    """One snapshot of a store, as verification reads it. All must come from the same transaction."""

    def entries(self) -> Iterable[EntryRow]:
        """Leaf number, body, id, project, what, op, at of every entry with a leaf number, in its order."""
        ...

    def pending(self) -> Iterable[bytes]:
        """The bodies of the entries without one."""
        ...

    def nodes(self) -> Iterable[Node]:
        """Every stored node, ordered by level and index."""
        ...

    def checkpoints(self) -> Iterable[tuple[int, str]]:
        """The size and note of every stored checkpoint, by size."""
        ...

    def states(self) -> Iterable[StateRow]:
        """table, key and digest of every governed row, each table's rows together."""
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
    fold = Fold()
    fold.feed(source.entries())
    fold.feed_pending(source.pending())
    problems = list(fold.problems)
    stored, outside = Heads(), Heads()
    problems += check_checkpoints(fold, source.checkpoints(), verifiers, stored)
    problems += check_checkpoints(fold, ((None, note) for note in kept), verifiers, outside)
    signed = max(stored.proven, outside.proven)
    problems += compare_nodes(fold, source.nodes(), signed)
    states, details = _Counted(source.states()), _Counted(source.details())
    wrong, more = _listed(compare_states(fold, states))
    problems += with_leaves(wrong, source.entries()) if wrong else ()
    changed, more_changed = _listed(compare_details(details))
    problems += changed
    return Report(
        entries=fold.entries,
        pending=fold.waiting,
        root=b64encode(fold.root()).decode(),
        checkpoints=stored.holding,
        kept=outside.holding,
        signed=signed,
        states=states.count,
        details=details.count,
        problems=tuple(problems),
        unlisted=fold.unlisted + more + more_changed,
    )


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


def compare_states(fold: Fold, rows: Iterable[StateRow]) -> Iterator[Problem]:
    """Compare governed rows with what their last entries say. Uses the fold's states up.

    A row that a pending entry speaks of may be as any of those entries left it: they have no order yet.
    """
    last: str | None = None
    said: dict[str, str | None] = {}
    pending = fold.pending
    awaited = dict(pending)
    for table, key, digest in rows:
        if table != last:
            last, said = table, fold.states.get(table, {})
        was = said.pop(key, _MISSING)
        if was == digest and not pending:
            continue
        after = awaited.pop((table, key), None)
        if digest in (after if after is not None else (was,)):
            continue
        yield _changed(table, key, was, after is not None)
    for table, left in fold.states.items():
        for key, was in left.items():
            if was is not None and None not in pending.get((table, key), ()):
                awaited.pop((table, key), None)
                yield _gone(table, key)
    for (table, key), after in awaited.items():
        if None not in after:
            yield _gone(table, key)


def compare_details(rows: Iterable[DetailRow]) -> Iterator[Problem]:
    """Compare the words that are kept with what their entries commit to."""
    for entry, salt, words, leaf, body in rows:
        try:
            said = decode_entry(body).detail if body is not None else None
        except UNREADABLE:
            continue  # named already: the entry itself cannot be read
        if said is None:
            yield detail_problem("detail_unexplained", entry, leaf, f"no entry commits to the words kept as {entry}")
        elif not is_committed(said, salt, words):
            message = f"the words beside entry {entry if leaf is None else leaf} are not those that were written"
            yield detail_problem("detail_changed", entry, leaf, message)


def with_leaves(problems: Sequence[Problem], entries: Iterable[EntryRow]) -> list[Problem]:
    """The same problems, each with the number of the last entry that speaks of its row."""
    wanted: dict[tuple[str, str], int | None] = {(p.table, p.key): None for p in problems}
    tables = {p.table for p in problems}
    for leaf, body, *_ in entries:
        try:
            entry = decode_entry(body)
        except UNREADABLE:
            continue
        for change in entry.changes:
            if change.table in tables and (change.table, change.key) in wanted:
                wanted[change.table, change.key] = leaf
    return [msgspec.structs.replace(p, leaf=wanted[p.table, p.key]) for p in problems]


def _listed(problems: Iterator[Problem]) -> tuple[list[Problem], int]:
    """The first of them, and how many there are beyond."""
    return list(islice(problems, MOST_PROBLEMS)), sum(1 for _ in problems)


def _changed(table: str, key: str, was: object, waits: bool) -> Problem:
    if was is _MISSING and not waits:
        return state_problem("state_unexplained", table, key, f"{table} {key} has no entry that put it there")
    if was is None and not waits:
        return state_problem(
            "state_unexplained", table, key, f"{table} {key} is there though its last entry deleted it"
        )
    message = f"{table} {key} is not as its last entry left it: changed behind the door"
    return state_problem("state_changed", table, key, message)


def _gone(table: str, key: str) -> Problem:
    return state_problem("state_deleted", table, key, f"{table} {key} is gone, and no entry deleted it")


class _Counted(Generic[T]):
    """Rows, counted as they are read."""

    def __init__(self, rows: Iterable[T]) -> None:
        self._rows = rows
        self.count = 0

    def __iter__(self) -> Iterator[T]:
        for row in self._rows:
            self.count += 1
            yield row
