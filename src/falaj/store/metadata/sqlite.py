"""SQLite: WAL, synchronous FULL, and every transaction that may write begins immediate.

A transaction that begins deferred and writes later can fail half-way with "locked" however long it is willing to
wait; beginning immediate queues instead.
"""

from __future__ import annotations

import functools
import os
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from falaj.core.errors import FalajError
from falaj.store.errors import Exists, StoreAway, StoreBusy, StoreDamaged, StoreFull, StoreReadOnly
from falaj.store.metadata.connections import Connections
from falaj.store.metadata.driver import Params, Row

BUSY_TIMEOUT_MS = 20_000
RESTORE = "falaj verify; restore from a backup and a kept checkpoint"
STREAMED = 1000
LEAST_BYTES = 65_536
_LOCKING = re.compile(r"\s+FOR (UPDATE|SHARE)\b")


@functools.cache
def _plain(sql: str) -> str:
    return _LOCKING.sub("", sql)


class SqliteTransaction:
    """A transaction on one connection."""

    def __init__(self, connection: sqlite3.Connection, path: Path, *, writable: bool) -> None:
        self._connection, self._path = connection, path
        self.writable = writable

    def run(self, sql: str, params: Params = {}) -> int:  # noqa: B006
        try:
            return self._connection.execute(_plain(sql), params).rowcount
        except sqlite3.Error as error:
            raise _as_ours(error, self._path) from error

    def run_many(self, sql: str, params: Iterable[Params]) -> None:
        self._connection.executemany(_plain(sql), params)

    def row(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        found: Row | None = self._connection.execute(_plain(sql), params).fetchone()
        return found

    def rows(self, sql: str, params: Params = {}) -> Sequence[Row]:  # noqa: B006
        return self._connection.execute(_plain(sql), params).fetchall()

    def stream(self, sql: str, params: Params = {}) -> Iterator[Row]:  # noqa: B006
        # Not `yield from` the cursor: whoever gives the stream up would close it, on a database that may be closed.
        cursor = self._connection.execute(_plain(sql), params)
        while rows := cursor.fetchmany(STREAMED):
            yield from rows


class SqliteDatabase:
    """One database file.

    Args:
        path: the file; its folder must exist. Created with mode 0600 unless `read_only`.
        read_only: open without the right to write, also on a read-only disk.
    """

    dialect = "sqlite"

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        self.read_only = read_only
        self._connections: Connections[sqlite3.Connection] = Connections()
        if not read_only and not path.exists():
            with _mapped(path):
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))

    @contextmanager
    def read(self) -> Iterator[SqliteTransaction]:
        with _mapped(self.path):
            connection = self._connection()
            if _is_open(connection):
                yield SqliteTransaction(connection, self.path, writable=False)
                return
            connection.execute("BEGIN")
            try:
                yield SqliteTransaction(connection, self.path, writable=False)
            finally:
                if _is_open(connection):
                    connection.execute("ROLLBACK")

    @contextmanager
    def write(self) -> Iterator[SqliteTransaction]:
        if self.read_only:
            raise StoreReadOnly(f"{self.path.name} was opened read-only", next_step="open it without read-only")
        with _mapped(self.path):
            connection = self._connection()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield SqliteTransaction(connection, self.path, writable=True)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        self._connections.close()

    def _connection(self) -> sqlite3.Connection:
        held = self._connections.mine
        if held is not None:
            return held
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?{self._mode()}",
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            timeout=BUSY_TIMEOUT_MS / 1000,
            cached_statements=512,
        )
        if not self.read_only:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
        connection.execute("PRAGMA temp_store=MEMORY")
        return self._connections.keep(connection)

    def _mode(self) -> str:
        """How to open the file. Where nobody can write beside it, a database without a log is read as it is."""
        if not self.read_only:
            return "mode=rw"
        log = self.path.with_name(f"{self.path.name}-wal")
        if os.access(self.path.parent, os.W_OK) or (log.exists() and log.stat().st_size):
            return "mode=ro"
        return "mode=ro&immutable=1"


def _is_open(connection: sqlite3.Connection) -> bool:
    """Whether a transaction is open; asked anew each time, since statements change it."""
    return connection.in_transaction


@contextmanager
def _mapped(path: Path) -> Iterator[None]:
    try:
        yield
    except FalajError:
        raise
    except sqlite3.Error as error:
        raise _as_ours(error, path) from error
    except UnicodeDecodeError as error:  # text of a damaged schema, quoted in SQLite's own complaint
        raise StoreDamaged(f"{path.name}: {error}", next_step=RESTORE) from error
    except OSError as error:
        raise StoreAway(f"{path.name}: {error.strerror}", next_step="check the folder and its rights") from error


def _as_ours(error: sqlite3.Error, path: Path) -> FalajError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    text = f"{path.name}: {error}"
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return StoreBusy(text, next_step="another process is writing; try again")
    if code == sqlite3.SQLITE_FULL or (code == sqlite3.SQLITE_IOERR and _is_full(path)):
        return StoreFull(text, next_step="free space on the disk; nothing was committed")
    if code == sqlite3.SQLITE_READONLY or (code == sqlite3.SQLITE_CANTOPEN and not os.access(path.parent, os.W_OK)):
        return StoreReadOnly(text, next_step="make the folder writable, or use commands that only read")
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return StoreDamaged(text, next_step=RESTORE)
    if code == sqlite3.SQLITE_CONSTRAINT:
        return Exists(text, next_step="look at what is there first")
    return StoreAway(text, next_step="check the disk and the rights of the store's folder")


def _is_full(path: Path) -> bool:
    """Whether the disk has no page left: SQLite tells some calls that lack space as a plain failure."""
    try:
        found = os.statvfs(path.parent)
    except OSError:
        return False
    return found.f_bavail * found.f_frsize < LEAST_BYTES
