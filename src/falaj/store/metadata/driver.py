"""The driver port: two databases, one way to speak to them.

Statements use `:name` parameters and the SQL both databases share. What differs is said once here: `FOR UPDATE`
is dropped for SQLite, whose writing transactions are alone anyway; column types of migrations are translated for
PostgreSQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = tuple[Any, ...]
Params = Mapping[str, Any]


class Transaction(Protocol):
    """An open transaction. It sees its own writes; it ends with the block that opened it."""

    writable: bool

    def run(self, sql: str, params: Params = {}) -> int:  # noqa: B006  never mutated
        """Run one statement; returns the number of rows it touched. Raises: Exists, at once, where a key is taken."""
        ...

    def run_many(self, sql: str, params: Iterable[Params]) -> None:
        """Run one statement for each set of parameters."""
        ...

    def row(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        """The first row, or None."""
        ...

    def rows(self, sql: str, params: Params = {}) -> Sequence[Row]:  # noqa: B006
        """All rows. For what is bounded by a limit; else use `stream`."""
        ...

    def stream(self, sql: str, params: Params = {}) -> Iterator[Row]:  # noqa: B006
        """Rows in batches, in constant memory."""
        ...


class Database(Protocol):
    """A metadata database. Safe to use from several threads: each has a connection of its own."""

    dialect: str
    read_only: bool

    def read(self) -> AbstractContextManager[Transaction]:
        """One consistent snapshot, for reading only.

        Inside an open transaction of the same thread it is that transaction: what it sees is what is read.
        """
        ...

    def write(self) -> AbstractContextManager[Transaction]:
        """One transaction: commits when the block ends, rolls back when it raises.

        Raises: StoreBusy, StoreFull, StoreReadOnly, StoreAway, StoreDamaged, Exists.
        """
        ...

    def close(self) -> None:
        """Close every connection."""
        ...
