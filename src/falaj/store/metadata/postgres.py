"""PostgreSQL by psycopg 3: one connection a thread, prepared statements, READ COMMITTED.

What must not race takes a row lock (`FOR UPDATE`) or a compare-and-set in the statement itself, so the weaker
isolation needs no retries.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

import psycopg
from psycopg import errors as pg
from psycopg.pq import ExecStatus, TransactionStatus

from falaj.core.errors import FalajError
from falaj.store.errors import Exists, StoreAway, StoreBusy, StoreFull, StoreReadOnly
from falaj.store.metadata.connections import Connections
from falaj.store.metadata.driver import Params, Row

LOCK_TIMEOUT_MS = 20_000
_number = itertools.count()
_PARAM = re.compile(r"(?<!:):([a-z_][a-z0-9_]*)")


@functools.cache
def translate(sql: str) -> tuple[str, tuple[str, ...]]:
    """`:name` parameters as PostgreSQL counts them, `$1`, with their names in that order."""
    names = tuple(dict.fromkeys(_PARAM.findall(sql)))
    return _PARAM.sub(lambda match: f"${names.index(match[1]) + 1}", sql), names


class PostgresTransaction:
    """A transaction on one connection. Its statements share one cursor: a new one each costs as much as its answer."""

    def __init__(self, connection: psycopg.Connection[Row], *, writable: bool) -> None:
        self._connection = connection
        self._cursor = psycopg.RawCursor(connection)
        self.writable = writable

    def run(self, sql: str, params: Params = {}) -> int:  # noqa: B006
        try:
            return self._execute(sql, params).rowcount
        except psycopg.Error as error:
            raise _as_ours(error) from error

    def run_many(self, sql: str, params: Iterable[Params]) -> None:
        text, names = translate(sql)
        self._cursor.executemany(text, ([one[name] for name in names] for one in params))

    def row(self, sql: str, params: Params = {}) -> Row | None:  # noqa: B006
        return self._execute(sql, params).fetchone()

    def rows(self, sql: str, params: Params = {}) -> Sequence[Row]:  # noqa: B006
        return self._execute(sql, params).fetchall()

    def stream(self, sql: str, params: Params = {}) -> Iterator[Row]:  # noqa: B006
        text, names = translate(sql)
        with psycopg.RawServerCursor(self._connection, f"falaj_stream_{next(_number)}") as cursor:
            cursor.itersize = 5000
            cursor.execute(text, [params[name] for name in names])
            yield from cursor

    def _execute(self, sql: str, params: Params) -> psycopg.RawCursor[Row]:
        text, names = translate(sql)
        return self._cursor.execute(text, [params[name] for name in names])


class PostgresDatabase:
    """One PostgreSQL database, 14 or later.

    Args:
        url: `postgresql://…`; never shown in messages, since it can hold a password.
    """

    dialect = "postgresql"

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self._url = url
        self.read_only = read_only
        self._connections: Connections[psycopg.Connection[Row]] = Connections()

    @contextmanager
    def read(self) -> Iterator[PostgresTransaction]:
        with self._transaction(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", nested=True) as connection:
            yield PostgresTransaction(connection, writable=False)

    @contextmanager
    def write(self) -> Iterator[PostgresTransaction]:
        if self.read_only:
            raise StoreReadOnly("the store was opened read-only", next_step="open it without read-only")
        with self._transaction(b"BEGIN") as connection:
            yield PostgresTransaction(connection, writable=True)

    @contextmanager
    def _transaction(self, begin: bytes, *, nested: bool = False) -> Iterator[psycopg.Connection[Row]]:
        try:
            connection = self._connection()
            if nested and connection.info.transaction_status == TransactionStatus.INTRANS:
                yield connection
                return
            _said(connection, begin)
            try:
                yield connection
                _commit(connection)
            except BaseException:
                with suppress(psycopg.Error):
                    _said(connection, b"ROLLBACK")
                raise
        except FalajError:
            raise
        except psycopg.Error as error:
            raise _as_ours(error) from error

    def close(self) -> None:
        self._connections.close()

    def _connection(self) -> psycopg.Connection[Row]:
        held = self._connections.mine
        if held is not None and not held.closed:
            return held
        connection: psycopg.Connection[Row] = psycopg.connect(
            self._url, autocommit=True, prepare_threshold=1, connect_timeout=10, application_name="falaj"
        )
        connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
        return self._connections.keep(connection)


def _said(connection: psycopg.Connection[Row], command: bytes) -> bytes:
    """Begin or end a transaction. Asked of libpq itself: a cursor costs five times as much, and every read begins one.

    Returns: what the server says that it did.
    """
    result = connection.pgconn.exec_(command)
    if result.status != ExecStatus.COMMAND_OK:
        raise pg.error_from_result(result)
    return result.command_status or b""


def _commit(connection: psycopg.Connection[Row]) -> None:
    # PostgreSQL answers COMMIT with ROLLBACK, and no error, where a statement failed and the failure was caught.
    if _said(connection, b"COMMIT") != b"COMMIT":
        raise StoreAway("postgresql: nothing was committed, a statement failed before", next_step="try again")


def _as_ours(error: psycopg.Error) -> FalajError:
    text = f"postgresql: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
    match error:
        case pg.UniqueViolation() | pg.ForeignKeyViolation() | pg.CheckViolation() | pg.NotNullViolation():
            return Exists(text, next_step="look at what is there first")
        case pg.LockNotAvailable() | pg.DeadlockDetected() | pg.SerializationFailure():
            return StoreBusy(text, next_step="another writer holds the row; try again")
        case pg.DiskFull():
            return StoreFull(text, next_step="free space on the database's disk; nothing was committed")
        case pg.ReadOnlySqlTransaction():
            return StoreReadOnly(text, next_step="connect to the primary")
    return StoreAway(text, next_step="check that the database is up and the address and password are right")
