"""Repairing what the entries themselves tell: the tree's nodes, and the columns that index the entries.

Nothing is made to look right that is not proven. Nodes are written anew only where all that signed heads and sound
nodes say of the entries agrees with them; a changed entry is never repaired here, and neither is a governed row.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from falaj.store.ledger.checkpoint import Verifier
from falaj.store.ledger.errors import LedgerDamaged
from falaj.store.ledger.fold import UNREADABLE, EntryRow, Fold, decode_brief
from falaj.store.ledger.log import Log, SqlNodes
from falaj.store.ledger.merkle import HASH_BYTES, Node
from falaj.store.ledger.problems import Problem
from falaj.store.ledger.tree_check import compare_nodes
from falaj.store.ledger.verify import Heads, check_checkpoints
from falaj.store.metadata import Transaction
from falaj.store.metadata.queries import queries

SQL = queries("ledger")
_OF_NODES = frozenset({"node_wrong", "node_missing"})


def repair(tx: Transaction, log: Log, verifiers: Sequence[Verifier], kept: Iterable[str] = ()) -> tuple[int, int]:
    """Write wrong nodes anew and set index columns back, in a writing transaction that has written nothing yet.

    Args:
        verifiers: the keys that checkpoints may be signed by.
        kept: notes kept outside of this database.
    Returns: how many nodes were wrong or missing, and how many entries were indexed wrongly.
    Raises: LedgerDamaged where an entry or a checkpoint is not what was written; the caller rolls back.
    """
    log.number_alone(tx)
    columns = _realign(tx)
    fold = Fold()
    fold.feed(tx.stream(SQL["indexed_leaves"]))
    heads = Heads()
    stored = ((int(row[0]), str(row[1])) for row in tx.rows(SQL["checkpoints"]))
    problems = [
        *fold.problems,
        *check_checkpoints(fold, stored, verifiers, heads),
        *check_checkpoints(fold, ((None, note) for note in kept), verifiers, heads),
        *(p for p in compare_nodes(fold, tx.stream(SQL["nodes"]), heads.proven) if p.sort not in _OF_NODES),
    ]
    if problems:
        raise _beyond_repair(problems)
    wrong = _count_wrong(fold, tx.stream(SQL["nodes"]))
    if wrong:
        tx.run(SQL["clear_nodes"])
        SqlNodes(tx).put_many(_nodes(fold))
    return wrong, columns


def _realign(tx: Transaction) -> int:
    fixes = [fix for row in tx.stream(SQL["indexed_leaves"]) if (fix := _misindexed(row))]
    tx.run_many(SQL["index_entry"], fixes)
    return len(fixes)


def _misindexed(row: EntryRow) -> dict[str, object] | None:
    """The columns of an entry as its body has them, where they differ."""
    leaf, body, *columns = row
    try:
        entry = decode_brief(body)
    except UNREADABLE:
        return None
    said = {"id": entry.id, "project": entry.project, "what": entry.what, "op": entry.op, "at": entry.at}
    return None if list(said.values()) == columns else {**said, "leaf": leaf}


def _nodes(fold: Fold) -> Iterator[Node]:
    for level, held in enumerate(fold.levels):
        for index in range(len(held) // HASH_BYTES):
            yield level, index, fold.node(level, index)


def _count_wrong(fold: Fold, stored: Iterable[Node]) -> int:
    expected = sum(len(held) // HASH_BYTES for held in fold.levels)
    right = wrong = 0
    for level, index, value in stored:
        if 0 <= level < len(fold.levels) and index >= 0 and fold.node(level, index) == value:
            right += 1
        else:
            wrong += 1
    return max(wrong, expected - right)


def _beyond_repair(problems: list[Problem]) -> LedgerDamaged:
    first = problems[0]
    more = f"; {len(problems) - 1} more" if len(problems) > 1 else ""
    return LedgerDamaged(f"beyond repair here: {first.message}{more}", next_step=first.next_step)
