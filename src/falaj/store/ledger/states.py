"""Governed rows against what the entries say of them.

Rows mostly come from their tables in the order in which the ledger first speaks of them, so entries and rows are
walked along together. Of a row that is as the first entry on it left it nothing is held; what is said of any other is
held and looked up at the end. Where that does not come out even, or entries wait for a number, all of it is gone
through once more, to say what is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from falaj.store.ledger.fold import UNREADABLE, EntryRow, Said, decode_brief
from falaj.store.ledger.problems import Problem, state_problem

Row = tuple[str, str]  # key, digest
Waiting = Mapping[tuple[str, str], set[str | None]]
_MISSING = object()


class Rows(Protocol):
    """The governed rows of one snapshot."""

    def tables(self) -> Sequence[str]:
        """Every governed table."""
        ...

    def rows(self, table: str) -> Iterable[Row]:
        """Key and digest of every row of a table. May be read more than once, and several tables in turn."""
        ...


class Walk:
    """One walk along the rows, while the entries are read in the order of their numbers.

    Attributes:
        count: rows met so far; all of them once `is_even` was asked.
    """

    def __init__(self, source: Rows) -> None:
        self._source = source
        self._rows = {table: iter(source.rows(table)) for table in source.tables()}
        self._next = {table: next(rows, None) for table, rows in self._rows.items()}
        self._said: defaultdict[str, dict[str, str | None]] = defaultdict(dict)
        self._met: defaultdict[str, dict[str, str]] = defaultdict(dict)
        self.count = 0

    def note(self, changes: Iterable[Said]) -> None:
        """Take what entries say, in order."""
        upcoming, count = self._next, 0
        for table, key, digest in changes:
            row = upcoming.get(table)
            if row is None or row[0] != key:
                self._said[table][key] = digest
                continue
            if row[1] != digest:  # only what is said from now on can make it right
                self._met[table][key] = row[1]
                self._said[table].pop(key, None)
            upcoming[table] = next(self._rows[table], None)
            count += 1
        self.count += count

    def is_even(self) -> bool:
        """Whether every row is as its last entry left it, and no row is missing or unexplained."""
        for table in self._rows:
            said = self._said[table]
            for key, digest in self._met[table].items():
                if said.pop(key, _MISSING) != digest:
                    return False
            for key, digest in self._left(table):
                self.count += 1
                if said.pop(key, _MISSING) != digest:
                    return False
        return all(self._fits(table, said) for table, said in self._said.items() if said)

    def _left(self, table: str) -> Iterator[Row]:
        row = self._next[table]
        if row is not None:
            yield row
        yield from self._rows[table]

    def _fits(self, table: str, said: dict[str, str | None]) -> bool:
        """Whether what else is said of a table's rows is so: a row that was deleted, or is as it once was again."""
        if table in self._rows:
            for key, digest in self._source.rows(table):
                if said.pop(key, digest) != digest:
                    return False
        return all(digest is None for digest in said.values())


class Explanation:
    """All that is wrong with rows, told by the last entry that speaks of each.

    A row that a waiting entry speaks of may be as any of those entries left it: they have no order yet.

    Attributes:
        count: rows met so far; all of them once every problem was taken.
    """

    def __init__(self, source: Rows, entries: Iterable[EntryRow], waiting: Waiting) -> None:
        self._source, self._waiting = source, waiting
        self._said = _last_said(entries)
        self.count = 0

    def problems(self) -> Iterator[Problem]:
        """Every problem, once."""
        awaited = dict(self._waiting)
        for table in self._source.tables():
            said = self._said[table]
            for key, digest in self._source.rows(table):
                self.count += 1
                was, leaf = said.pop(key, (_MISSING, None))
                after = awaited.pop((table, key), None)
                if digest not in (after if after is not None else (was,)):
                    yield _changed(table, key, was, leaf, after is not None)
        for table, left in self._said.items():
            for key, (was, leaf) in left.items():
                if was is not None and None not in self._waiting.get((table, key), ()):
                    awaited.pop((table, key), None)
                    yield _gone(table, key, leaf)
        for (table, key), after in awaited.items():
            if None not in after:
                yield _gone(table, key, None)


def _last_said(entries: Iterable[EntryRow]) -> defaultdict[str, dict[str, tuple[object, int | None]]]:
    last: defaultdict[str, dict[str, tuple[object, int | None]]] = defaultdict(dict)
    for leaf, body, *_ in entries:
        try:
            changes = decode_brief(body).changes
        except UNREADABLE:
            continue
        for table, key, digest in changes:
            last[table][key] = digest, leaf
    return last


def _changed(table: str, key: str, was: object, leaf: int | None, waits: bool) -> Problem:
    if was is _MISSING and not waits:
        return state_problem("state_unexplained", table, key, leaf, f"{table} {key} has no entry that put it there")
    if was is None and not waits:
        message = f"{table} {key} is there though its last entry deleted it"
        return state_problem("state_unexplained", table, key, leaf, message)
    message = f"{table} {key} is not as its last entry left it: changed behind the door"
    return state_problem("state_changed", table, key, leaf, message)


def _gone(table: str, key: str, leaf: int | None) -> Problem:
    return state_problem("state_deleted", table, key, leaf, f"{table} {key} is gone, and no entry deleted it")
