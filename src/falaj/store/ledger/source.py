"""One snapshot of a store as verification reads it: the SQL adapter of the `verify.Source` port.

Whatever a changed database holds is passed on, to be named; nothing here stops at it.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from falaj.store.ledger.fold import UNREADABLE, EntryRow
from falaj.store.ledger.merkle import Node
from falaj.store.ledger.verify import DetailRow, StateRow
from falaj.store.metadata import Transaction
from falaj.store.metadata.digests import row_digest
from falaj.store.metadata.queries import queries
from falaj.store.metadata.tables import Table

SQL = queries("ledger")
NO_STATE = ""
"""The digest of a row that cannot be read as what its table holds: no entry can say it."""


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
        return (row[0] for row in self._tx.stream(SQL["pending_bodies"]))

    def nodes(self) -> Iterable[Node]:
        """Every stored node."""
        return self._tx.stream(SQL["nodes"])

    def checkpoints(self) -> Iterable[tuple[int, str]]:
        """Every stored checkpoint."""
        return ((int(row[0]), str(row[1])) for row in self._tx.stream(SQL["checkpoints"]))

    def states(self) -> Iterator[StateRow]:
        """Every governed row's digest."""
        for table in self._tables:
            yield from self._states_of(table)

    def details(self) -> Iterable[DetailRow]:
        """The words beside the entries."""
        return self._tx.stream(SQL["details"])

    def _states_of(self, table: Table[Any]) -> Iterator[StateRow]:
        name, columns = table.name, table.columns
        keys = [columns.index(column) for column in table.key]
        hints = typing.get_type_hints(table.record)
        raw = [at for at, column in enumerate(columns) if hints[column] is bytes]
        for row in self._tx.stream(table.select_sql):
            try:
                digest = row_digest(name, table.parse(row), self._key)
            except UNREADABLE:
                digest = NO_STATE
            # Text that spells out bytes would give the same canonical form as the bytes themselves.
            if any(not isinstance(row[at], bytes) for at in raw):
                digest = NO_STATE
            yield name, "/".join(str(row[at]) for at in keys), digest
