"""The ledger of a ground, as the operations of this room prove and read it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from falaj.access.rows import TABLES as ACCESS_TABLES
from falaj.store import rows
from falaj.store.ground import Ground
from falaj.store.keys.sql import KEY
from falaj.store.ledger.checkpoint import Checkpoint, Verifier, open_note, parse_note
from falaj.store.ledger.problems import Problem
from falaj.store.ledger.source import SqlSource
from falaj.store.ledger.verify import Report, verify
from falaj.store.metadata import Transaction
from falaj.store.metadata.tables import Table
from falaj.store.rollouts import ROLLOUT, ROUTING
from falaj.store.segments import SEGMENT
from falaj.store.steps import STEP
from falaj.store.triggers import START
from falaj.trust.records import ProblemView, Verified

GOVERNED: tuple[Table[Any], ...] = (
    rows.FACT,
    rows.PROJECT,
    rows.ASSET,
    rows.VERSION,
    rows.REF,
    rows.REF_MOVE,
    rows.GUARD,
    rows.VERDICT,
    rows.PROPOSAL,
    rows.APPROVAL,
    rows.RUN,
    rows.RUN_LINK,
    STEP,
    ROLLOUT,
    ROUTING,
    START,
    SEGMENT,
    *ACCESS_TABLES,
    KEY,
)
"""Every table whose rows the ledger must explain."""


def verifiers(ground: Ground, tx: Transaction) -> tuple[Verifier, ...]:
    """The keys that checkpoints may be signed by, retired ones included, newest first."""
    known = ground.keys.reading(tx).verify_keys("ledger")
    return tuple(Verifier(ground.signer.name, key.raw) for key in reversed(known))


class SignedHead(NamedTuple):
    """A checkpoint whose signature holds, its note, and the key that signed it."""

    checkpoint: Checkpoint
    note: str
    by: Verifier


def signed_head(note: str, known: Sequence[Verifier]) -> SignedHead:
    """Open a note by one of the known keys. Raises: CheckpointInvalid."""
    checkpoint = open_note(note, known)
    names = {signature.key_id for signature in parse_note(note).signatures}
    return SignedHead(checkpoint, note, next(v for v in known if v.key_id in names))


def verified(ground: Ground, tx: Transaction, kept: Iterable[str] = ()) -> Report:
    """Verify the ledger and every governed row, against stored checkpoints and all those kept outside.

    Args:
        kept: further notes, from elsewhere.
    """
    published = ground.publisher.kept() if ground.publisher else ()
    source = SqlSource(tx, GOVERNED, ground.units.commit_key)
    return verify(source, verifiers(ground, tx), [*published, *kept])


def as_view(
    report: Report,
    *,
    versions: int = 0,
    bytes_read: int = 0,
    unreadable: int = 0,
    further: Iterable[ProblemView] = (),
) -> Verified:
    """A report in words.

    Args:
        versions, bytes_read, unreadable, further: what was looked at and found beside the ledger.
    """
    problems = (*map(problem_view, report.problems), *further)
    return Verified(
        ok=not problems,
        entries=report.entries,
        states=report.states,
        details=report.details,
        pending=report.pending,
        checkpoints=report.checkpoints,
        kept=report.kept,
        signed=report.signed,
        root=report.root,
        versions=versions,
        bytes_read=bytes_read,
        unreadable=unreadable,
        problems=problems,
        unlisted=report.unlisted,
    )


def problem_view(problem: Problem) -> ProblemView:
    """A problem in words: what, where, and what to do."""
    where = f"{problem.table} {problem.key}"
    if problem.leaf is not None and problem.table != "ledger_entry":
        where += f", entry {problem.leaf}"
    return ProblemView(sort=problem.sort, where=where, message=problem.message, next_step=problem.next_step)
