"""Opening a database by its address, and bringing its schema up to date."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

from falaj.core.errors import Invalid
from falaj.store.errors import SchemaNewer
from falaj.store.metadata.driver import Database, Transaction
from falaj.store.metadata.sqlite import SqliteDatabase

_NUMBERED = re.compile(r"(\d{4})_[a-z_]+\.sql")


def open_database(address: str | Path, *, read_only: bool = False) -> Database:
    """The database at a path (SQLite) or a `postgresql://` address.

    Raises: Invalid for any other kind of address.
    """
    if isinstance(address, Path):
        return SqliteDatabase(address, read_only=read_only)
    if address.startswith(("postgresql://", "postgres://")):
        # The driver costs 60 ms of import that the SQLite path does not owe.
        from falaj.store.metadata.postgres import PostgresDatabase

        return PostgresDatabase(address, read_only=read_only)
    if "://" in address:
        raise Invalid(
            f"database: {address.split(':')[0]}:// is not known",
            next_step="give a postgresql:// address or the path of a SQLite file",
        )
    return SqliteDatabase(Path(address), read_only=read_only)


def migrations() -> list[tuple[int, str]]:
    """The numbered migrations, in order."""
    folder = files("falaj.store.metadata").joinpath("migrations")
    numbered = [(match, entry) for entry in folder.iterdir() if (match := _NUMBERED.fullmatch(entry.name))]
    return sorted((int(match[1]), entry.read_text(encoding="utf-8")) for match, entry in numbered)


def schema_version(tx: Transaction, dialect: str) -> int:
    """The number of the last migration that this database has seen; 0 for an empty one."""
    there = (
        "SELECT 1 FROM sqlite_master WHERE type='table' AND name='schema_version'"
        if dialect == "sqlite"
        else "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() AND tablename = 'schema_version'"
    )
    if tx.row(there) is None:
        return 0
    row = tx.row("SELECT max(number) FROM schema_version")
    return int(row[0]) if row and row[0] is not None else 0


def migrate(database: Database, upto: int | None = None) -> int:
    """Apply the migrations that are missing, all in one transaction; returns the schema's number.

    Raises: SchemaNewer where a newer Falaj wrote the store.
    """
    steps = migrations()
    newest = steps[-1][0]
    with database.read() as tx:
        at = schema_version(tx, database.dialect)
    if at > newest:
        raise SchemaNewer(f"the store has schema {at}, this Falaj knows {newest}", next_step="upgrade Falaj")
    if at == newest or database.read_only:
        return at
    with database.write() as tx:
        if database.dialect == "postgresql":
            tx.row("SELECT pg_advisory_xact_lock(4625719)")  # two servers starting at once
        at = schema_version(tx, database.dialect)
        for number, text in steps:
            if at < number <= (upto or newest):
                for statement in _statements(text, database.dialect):
                    tx.run(statement)
                tx.run("INSERT INTO schema_version (number) VALUES (:number)", {"number": number})
    return upto or newest


def _statements(text: str, dialect: str) -> list[str]:
    text = re.sub(r"--[^\n]*", "", text)
    if dialect == "postgresql":
        text = re.sub(r"\bBLOB\b", "BYTEA", re.sub(r"\bINTEGER\b", "BIGINT", text)).replace("WITHOUT ROWID", "")
    return [s.strip() for s in text.split(";") if s.strip()]
