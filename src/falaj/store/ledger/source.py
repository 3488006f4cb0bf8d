"""One snapshot of a store as verification reads it: the SQL adapter of the `verify.Source` port.

Whatever a changed database holds is passed on, to be named; nothing here stops at it.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from falaj.store.ledger.fold import UNREADABLE, EntryRow
from falaj.store.ledger.merkle import HASH_BYTES, Node
from falaj.store.ledger.states import Row
from falaj.store.ledger.verify import DetailRow
from falaj.store.metadata import Transaction
from falaj.store.metadata.digests import row_digest
from falaj.store.metadata.queries import queries
from falaj.store.metadata.tables import Table

SQL = queries("ledger")
AT_ONCE = 4096
NO_STATE: Any = object()
"""In place of the digest of a row that cannot be read as what its table holds: equal to nothing that an entry says."""


class SqlSource:
    """The rows of one transaction.

    Args:
        tables: every governed table.
        key: the commitment key that rows' digests are made with.
    """

    def __init__(self, tx: Transaction, tables: Sequence[Table[Any]], key: bytes) -> None:
        self._tx, self._tables, self._key = tx, {table.name: table for table in tables}, key

    def entries(self) -> Iterable[EntryRow]:
        """Every numbered entry, in order."""
        return self._tx.stream(SQL["indexed_leaves"])

    def pending(self) -> Iterable[bytes]:
        """The bodies of entries without a number."""
        return (row[0] for row in self._tx.stream(SQL["pending_bodies"]))

    def has_exactly(self, levels: Sequence[bytes | bytearray]) -> bool:
        """Whether the stored nodes are exactly these, compared inside of the database."""
        row = self._tx.row(SQL["count_nodes"])
        if row is None or row[0] != sum(len(level) for level in levels) // HASH_BYTES:
            return False
        return all(self._has_level(number, level) for number, level in enumerate(levels))

    def _has_level(self, level: int, hashes: bytes | bytearray) -> bool:
        for start in range(0, len(hashes) // HASH_BYTES, AT_ONCE):
            block = bytes(hashes[start * HASH_BYTES : (start + AT_ONCE) * HASH_BYTES])
            stop = start + len(block) // HASH_BYTES
            at = {"level": level, "start": start, "stop": stop, "hashes": block}
            row = self._tx.row(SQL["count_equal_nodes"], at)
            if row is None or row[0] != stop - start:
                return False
        return True

    def nodes(self) -> Iterable[Node]:
        """Every stored node."""
        return self._tx.stream(SQL["nodes"])

    def checkpoints(self) -> Iterable[tuple[int, str]]:
        """Every stored checkpoint."""
        return ((int(row[0]), str(row[1])) for row in self._tx.stream(SQL["checkpoints"]))

    def tables(self) -> Sequence[str]:
        """Every governed table."""
        return tuple(self._tables)

    def details(self) -> Iterable[DetailRow]:
        """The words beside the entries."""
        return self._tx.stream(SQL["details"])

    def rows(self, table: str) -> Iterator[Row]:
        """Key and digest of every row of a table."""
        found = self._tables[table]
        columns, hints = found.columns, typing.get_type_hints(found.record)
        keys = [columns.index(column) for column in found.key]
        raw = [at for at, column in enumerate(columns) if hints[column] is bytes]
        for row in self._tx.stream(found.select_sql):
            try:
                digest = row_digest(table, found.parse(row), self._key)
            except UNREADABLE:
                digest = NO_STATE
            # Text that spells out bytes would give the same canonical form as the bytes themselves.
            if any(not isinstance(row[at], bytes) for at in raw):
                digest = NO_STATE
            yield "/".join(str(row[at]) for at in keys), digest
