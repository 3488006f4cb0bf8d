"""One snapshot of a store as verification reads it: the SQL adapter of the `verify.Source` port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from falaj.store.ledger.fold import EntryRow
from falaj.store.ledger.merkle import Node
from falaj.store.ledger.verify import StateRow
from falaj.store.metadata import Transaction
from falaj.store.metadata.digests import row_digest
from falaj.store.metadata.queries import queries
from falaj.store.metadata.tables import Table

SQL = queries("ledger")


class SqlSource:
    """The rows of one transaction.

    Args:
        tables: every governed table.
        key: the commitment key that rows' digests are made with.
    """

    def __init__(self, tx: Transaction, tables: Sequence[Table[Any]], key: bytes) -> None:
        self._tx, self._tables, self._key = tx, tables, key

    def entries(self) -> Iterable[EntryRow]:
        """Every numbered entry, in order."""
        return self._tx.stream(SQL["indexed_leaves"])

    def pending(self) -> Iterable[bytes]:
        """The bodies of entries without a number."""
        return (bytes(row[0]) for row in self._tx.stream(SQL["pending_bodies"]))

    def nodes(self) -> Iterable[Node]:
        """Every stored node."""
        return self._tx.stream(SQL["nodes"])

    def checkpoints(self) -> Iterable[tuple[int, str]]:
        """Every stored checkpoint."""
        return ((int(row[0]), str(row[1])) for row in self._tx.stream(SQL["checkpoints"]))

    def states(self) -> Iterator[StateRow]:
        """Every governed row's digest."""
        for table in self._tables:
            for row in table.scan(self._tx):
                yield table.name, table.key_of(row), row_digest(table.name, row, self._key)
