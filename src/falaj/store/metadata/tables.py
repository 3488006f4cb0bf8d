"""Typed rows: one declaration a table, from which insert, update, get and scan are built. The only built SQL.

A governed table is one whose every row must be explained by the ledger: writing to it through `Unit.put` records
the row's digest in the entry of the transaction.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

import msgspec

from falaj.core.encoding import canonical
from falaj.store.metadata.driver import Row, Transaction

R = TypeVar("R", bound=msgspec.Struct)
_PLAIN = (str, int, float, bytes, bool)
AT_ONCE = 200  # keys in one statement


class Table(Generic[R]):
    """One table of typed rows.

    Args:
        name: the table's name.
        record: the frozen struct of a row; its fields are the columns, in order.
        key: the columns of the primary key.
        governed: whether the ledger must explain every row.
    """

    def __init__(self, name: str, record: type[R], key: tuple[str, ...], *, governed: bool = False) -> None:
        self.name, self.record, self.key, self.governed = name, record, key, governed
        self.columns = record.__struct_fields__
        hints = typing.get_type_hints(record)
        self._encoded = tuple(c for c in self.columns if not _is_plain(hints[c]))
        readers = ((c, _reader(hints[c])) for c in self.columns)
        self._decoders = tuple((c, reader) for c, reader in readers if reader)
        columns, values = ", ".join(self.columns), ", ".join(f":{c}" for c in self.columns)
        where = " AND ".join(f"{k} = :{k}" for k in key)
        rest = [c for c in self.columns if c not in key]
        update = ", ".join(f"{c} = excluded.{c}" for c in rest)
        self.insert_sql = f"INSERT INTO {name} ({columns}) VALUES ({values})"  # noqa: S608  names of this module
        replace = f"DO UPDATE SET {update}" if update else "DO NOTHING"
        self.upsert_sql = f"{self.insert_sql} ON CONFLICT ({', '.join(key)}) {replace}"
        self.select_sql = f"SELECT {columns} FROM {name}"  # noqa: S608
        self.get_sql = f"{self.select_sql} WHERE {where}"
        self.delete_sql = f"DELETE FROM {name} WHERE {where}"  # noqa: S608

    def params(self, row: R) -> dict[str, Any]:
        """The row as statement parameters."""
        out = msgspec.structs.asdict(row)
        for column in self._encoded:
            value = out[column]
            out[column] = (
                None if value is None else int(value) if value.__class__ is bool else canonical(value).decode()
            )
        return out

    def parse(self, row: Row) -> R:
        """A row of `select_sql` as its record."""
        values = dict(zip(self.columns, row, strict=True))
        for column, decode in self._decoders:
            values[column] = decode(values[column])
        return self.record(**values)

    def key_of(self, row: R) -> str:
        """The row's key as one text, for the ledger."""
        return "/".join(str(getattr(row, k)) for k in self.key)

    def get(self, tx: Transaction, *key: Any, lock: bool = False) -> R | None:
        """One row by its whole key; `lock` keeps others from changing it until the transaction ends."""
        sql = self.get_sql + (" FOR UPDATE" if lock and tx.writable else "")
        row = tx.row(sql, dict(zip(self.key, key, strict=True)))
        return None if row is None else self.parse(row)

    def where(self, tx: Transaction, clause: str, params: Mapping[str, Any], *, limit: int = 1000) -> list[R]:
        """Rows by a clause written in `store` (never from outside), at most `limit`."""
        sql = f"{self.select_sql} WHERE {clause} LIMIT {int(limit)}"
        return [self.parse(row) for row in tx.rows(sql, params)]

    def among(
        self,
        tx: Transaction,
        expression: str,
        keys: Sequence[str],
        clause: str,
        params: Mapping[str, Any],
        *,
        limit: int = 1000,
    ) -> Iterator[R]:
        """Rows as `where` gives them, of those whose expression is one of the keys: so many keys in one statement."""
        for start in range(0, len(keys), AT_ONCE):
            some = {f"key{i}": key for i, key in enumerate(keys[start : start + AT_ONCE])}
            these = f"{expression} IN ({', '.join(f':{name}' for name in some)}) AND {clause}"
            yield from self.where(tx, these, {**params, **some}, limit=limit)

    def scan(self, tx: Transaction) -> Iterator[R]:
        """All rows, in constant memory."""
        for row in tx.stream(self.select_sql):
            yield self.parse(row)


def _members(hint: Any) -> tuple[Any, ...]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(m for m in typing.get_args(hint) if m is not type(None))
    return (hint,)


def _is_plain(hint: Any) -> bool:
    return all((m in _PLAIN and m is not bool) or typing.get_origin(m) is typing.Literal for m in _members(hint))


def _reader(hint: Any) -> Any:
    if _is_plain(hint):
        return None
    if hint is bool:
        return bool
    decoder = msgspec.json.Decoder(hint)
    return lambda text: None if text is None else decoder.decode(text)
