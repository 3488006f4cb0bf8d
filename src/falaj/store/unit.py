"""The unit of work: every governed write of one transaction, and the entries that explain them.

A governed row changes only through `Unit.put`, `add` or `drop`; each notes the keyed digest of the row's state
after. `say` turns what was noted into an entry of the ledger. A unit that ends with unexplained changes cannot
commit: state without an entry is not reachable through this door, and `verify` finds it where it came by another.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from falaj.core.encoding import canonical, moment
from falaj.core.entries import Change, Entry, What
from falaj.core.errors import FalajError
from falaj.core.ids import new_id
from falaj.store.ledger.log import Log
from falaj.store.ledger.merkle import Frontier
from falaj.store.metadata import Database, Transaction
from falaj.store.metadata.digests import SALT_BYTES, commitment, row_digest
from falaj.store.metadata.tables import Table

R = TypeVar("R", bound=msgspec.Struct)


class UnexplainedChange(FalajError):
    """A transaction changed governed rows and said nothing: a programming error, rolled back."""

    code = "unexplained_change"


class Actor(msgspec.Struct, frozen=True):
    """Who a unit acts for: the principal, the person behind it, and what carries the words to people."""

    principal: str
    person: str
    name: str = ""


class Unit:
    """One open transaction with its actor. Made by `Units.begin`."""

    def __init__(self, tx: Transaction, log: Log, actor: Actor, op: str, commit_key: bytes, project: str = "") -> None:
        self.tx = tx
        self.actor = actor
        self.op = op
        self.project = project
        self.now = moment(datetime.now(UTC))
        self.entry_id = new_id()
        self.said: list[Entry] = []
        self.after: list[Callable[[], None]] = []
        """What is done once the unit has committed, in this order; nothing of it may fail."""
        self._log = log
        self._key = commit_key
        self._changes: dict[tuple[str, str], str | None] = {}
        self._details: list[tuple[str, bytes, bytes]] = []
        self._locked: set[tuple[str, tuple[Any, ...]]] = set()

    def lock(self, table: Table[R], *key: Any) -> None:
        """Keep others from changing a row until the unit ends. Asked for again, it costs nothing."""
        if self._log.inline or (table.name, key) in self._locked:
            return  # on SQLite writers are alone
        table.get(self.tx, *key, lock=True)
        self._locked.add((table.name, key))

    def add(self, table: Table[R], row: R) -> R:
        """Insert a new governed row. Raises: Exists where its key is taken."""
        self.tx.run(table.insert_sql, table.params(row))
        self._note(table, row)
        return row

    def put(self, table: Table[R], row: R) -> R:
        """Insert or replace a governed row."""
        self.tx.run(table.upsert_sql, table.params(row))
        self._note(table, row)
        return row

    def drop(self, table: Table[R], row: R) -> None:
        """Delete a governed row."""
        self.tx.run(table.delete_sql, {k: getattr(row, k) for k in table.key})
        self._changes[table.name, table.key_of(row)] = None

    def say(
        self,
        what: What,
        on: Sequence[str] = (),
        *,
        detail: dict[str, Any] | None = None,
        project: str | None = None,
        cause: str | None = None,
    ) -> Entry:
        """Write the entry that explains everything changed since the last one.

        Args:
            on: opaque ids of the things concerned, most important first.
            detail: words for people (names, reasons, refused values); kept in the erasable side table, only
                committed to by the entry.
        """
        committed = None
        if detail:
            salt, body = os.urandom(SALT_BYTES), canonical(detail)
            committed = commitment(salt, body)
            self._details.append((self.entry_id, salt, body))
        entry = Entry(
            id=self.entry_id,
            at=self.now,
            what=what,
            op=self.op,
            by=self.actor.principal,
            person=self.actor.person,
            project=self.project if project is None else project,
            on=tuple(on),
            changes=tuple(Change(t, k, d) for (t, k), d in self._changes.items()),
            detail=committed,
            cause=cause,
        )
        self.said.append(entry)
        self._changes.clear()
        self.entry_id = new_id()
        return entry

    @property
    def has_changes(self) -> bool:
        """Whether something changed that no entry explains yet."""
        return bool(self._changes)

    def finish(self) -> Frontier | None:
        """Append the entries. Raises: UnexplainedChange."""
        if self._changes:
            tables = sorted({table for table, _ in self._changes})
            raise UnexplainedChange(f"{self.op} changed {', '.join(tables)} without an entry")
        return self._log.append(self.tx, self.said, self._details) if self.said else None

    def _note(self, table: Table[R], row: R) -> None:
        if not table.governed:
            raise UnexplainedChange(f"{table.name} is not a governed table")
        self._changes[table.name, table.key_of(row)] = row_digest(table.name, row, self._key)


class Units:
    """Opens units of work over one database."""

    def __init__(self, database: Database, log: Log, commit_key: bytes) -> None:
        self.database = database
        self.log = log
        self.commit_key = commit_key

    @contextmanager
    def begin(self, actor: Actor, op: str, project: str = "") -> Iterator[Unit]:
        """A unit that commits when the block ends and leaves nothing when it raises."""
        with self.database.write() as tx:
            unit = Unit(tx, self.log, actor, op, self.commit_key, project)
            yield unit
            grown = unit.finish()
        if unit.said:
            self.log.committed(grown)
        for told in unit.after:
            told()
