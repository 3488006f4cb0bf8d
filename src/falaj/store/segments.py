"""Segments of prediction logs that were collected: each once, sealed by its digest in the entry that tells so."""

from __future__ import annotations

from falaj.core.records import Record
from falaj.store.metadata import Transaction
from falaj.store.metadata.tables import Table


class Segment(Record, frozen=True, kw_only=True):
    """One collected segment.

    Attributes:
        deployment: id of its asset; `segment` the name of the file, which is unique in its log.
        sha256: of the bytes that were read, every line of them.
        rows: predictions in it.
        dataset, version: where they are kept.
    """

    deployment: str
    segment: str
    project: str
    sha256: str
    rows: int
    dataset: str
    version: int
    at: str


SEGMENT = Table("segment", Segment, ("deployment", "segment"), governed=True)


def collected(tx: Transaction, deployment: str, segment: str) -> Segment | None:
    """What became of a segment, None where it was not collected."""
    return SEGMENT.get(tx, deployment, segment)


def count(tx: Transaction, deployment: str) -> tuple[int, int]:
    """How many segments of a deployment were collected, and the predictions in them."""
    row = tx.row("SELECT count(*), coalesce(sum(rows), 0) FROM segment WHERE deployment = :d", {"d": deployment})
    return (0, 0) if row is None else (int(row[0]), int(row[1]))
