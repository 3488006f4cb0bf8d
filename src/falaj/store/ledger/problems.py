"""What verification can find, in words a person can act on."""

from __future__ import annotations

from typing import Literal

import msgspec

Sort = Literal[
    "entry_edited",
    "entry_removed",
    "entry_swapped",
    "entry_added",
    "entry_misindexed",
    "entry_unreadable",
    "node_wrong",
    "node_missing",
    "tail_cut",
    "checkpoint_mismatch",
    "checkpoint_invalid",
    "state_changed",
    "state_deleted",
    "state_unexplained",
    "detail_changed",
    "detail_unexplained",
]

NEXT_STEP: dict[Sort, str] = {
    "entry_edited": "restore the entry from a backup or an export; then look for who could write to the database",
    "entry_removed": "restore the entries from a backup or an export of that size or larger",
    "entry_swapped": "restore the two entries from a backup or an export",
    "entry_added": "it came by another way than the door: remove it, and look for who could write to the database",
    "entry_misindexed": "the entry itself stands: set its columns back to what its body says",
    "entry_unreadable": "restore the entry from a backup, or read it with the newer Falaj that wrote it",
    "node_wrong": "the entries stand; rebuild the tree's nodes from them",
    "node_missing": "the entries stand; rebuild the tree's nodes from them",
    "tail_cut": "this database is older or shorter than what was signed: restore the newer one",
    "checkpoint_mismatch": "compare with an export or backup of that size: the entries before it were rewritten",
    "checkpoint_invalid": "check it against a copy kept elsewhere; a forged one says that someone reached the database",
    "state_changed": "set the row back to what its last entry says, through the door or from a backup",
    "state_deleted": "restore the row from a backup; to delete it, use the door",
    "state_unexplained": "remove the row, or do the change again through the door",
    "detail_changed": "the entry stands, the words beside it do not: restore their row from a backup, or remove it",
    "detail_unexplained": "no entry commits to these words: remove their row",
}


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as the ledger says.

    Attributes:
        table, key: the row concerned; the ledger's own tables where it is an entry, node or checkpoint.
        leaf: the number of the entry concerned, or of the last entry that speaks of the row; None where unknown.
    """

    sort: Sort
    table: str
    key: str
    leaf: int | None
    message: str
    next_step: str


def entry_problem(sort: Sort, leaf: int, message: str) -> Problem:
    """A problem of one entry."""
    return Problem(
        sort=sort, table="ledger_entry", key=str(leaf), leaf=leaf, message=message, next_step=NEXT_STEP[sort]
    )


def node_problem(sort: Sort, level: int, index: int, message: str) -> Problem:
    """A problem of one stored node."""
    key = f"{level}/{index}"
    return Problem(
        sort=sort, table="ledger_node", key=key, leaf=index << level, message=message, next_step=NEXT_STEP[sort]
    )


def checkpoint_problem(sort: Sort, key: str, leaf: int | None, message: str) -> Problem:
    """A problem of a checkpoint, or one that a checkpoint brought to light."""
    return Problem(sort=sort, table="ledger_checkpoint", key=key, leaf=leaf, message=message, next_step=NEXT_STEP[sort])


def state_problem(sort: Sort, table: str, key: str, leaf: int | None, message: str) -> Problem:
    """A problem of a governed row; `leaf` is the last entry that speaks of it."""
    return Problem(sort=sort, table=table, key=key, leaf=leaf, message=message, next_step=NEXT_STEP[sort])


def detail_problem(sort: Sort, entry: str, leaf: int | None, message: str) -> Problem:
    """A problem of the words beside an entry."""
    return Problem(sort=sort, table="ledger_detail", key=entry, leaf=leaf, message=message, next_step=NEXT_STEP[sort])
