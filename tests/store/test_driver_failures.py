"""What a driver says of a statement that failed, at once and at the commit; on both databases where it can be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from falaj.store.errors import Exists, StoreAway
from falaj.store.metadata import Database, open_database
from falaj.store.metadata.open import migrate
from falaj.store.metadata.postgres import translate

ADD = "INSERT INTO meta (key, value) VALUES (:key, :value)"
READ = "SELECT value FROM meta WHERE key = :key"


@pytest.fixture
def database(database_address: str) -> Iterator[Database]:
    opened = open_database(Path(database_address) if "://" not in database_address else database_address)
    migrate(opened)
    with opened.write() as tx:
        tx.run(ADD, {"key": "taken", "value": "first"})
    yield opened
    opened.close()


def test_a_taken_key_is_told_at_the_statement_and_nothing_of_the_transaction_stays(database: Database) -> None:
    def write() -> None:
        with database.write() as tx:
            tx.run(ADD, {"key": "free", "value": "x"})
            with pytest.raises(Exists) as told:
                tx.run(ADD, {"key": "taken", "value": "second"})
            raise told.value

    with pytest.raises(Exists):
        write()
    with database.read() as tx:
        assert tx.row(READ, {"key": "free"}) is None
        assert tx.row(READ, {"key": "taken"}) == ("first",)


def test_a_failure_that_was_swallowed_does_not_look_like_a_commit(postgres_url: str) -> None:
    opened = open_database(postgres_url)
    migrate(opened)

    def swallow() -> None:
        with opened.write() as tx:
            tx.run(ADD, {"key": "one", "value": "x"})
            with pytest.raises(Exists):
                tx.run(ADD, {"key": "one", "value": "y"})

    with pytest.raises(StoreAway, match="nothing was committed"):
        swallow()
    with opened.read() as tx:
        assert tx.row(READ, {"key": "one"}) is None
    opened.close()


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT :a, :b", ("SELECT $1, $2", ("a", "b"))),
        ("SELECT :b WHERE :a = '' OR x = :a", ("SELECT $1 WHERE $2 = '' OR x = $2", ("b", "a"))),
        ("SELECT x::text, '100%'", ("SELECT x::text, '100%'", ())),
    ],
)
def test_parameters_are_counted_as_postgresql_counts_them(sql: str, expected: tuple[str, tuple[str, ...]]) -> None:
    assert translate(sql) == expected


def test_a_stream_that_is_given_up_is_silent_even_after_the_database_is_closed(database_address: str) -> None:
    opened = open_database(Path(database_address) if "://" not in database_address else database_address)
    migrate(opened)
    with opened.write() as tx:
        tx.run_many(ADD, [{"key": str(number), "value": "x"} for number in range(3000)])
    with opened.read() as tx:
        stream = tx.stream("SELECT key FROM meta ORDER BY key")
        assert [next(stream)[0] for _ in range(3)] == ["0", "1", "10"]
        if opened.dialect == "postgresql":
            stream.close()  # type: ignore[attr-defined]  a server's cursor ends with its transaction
    opened.close()
    del stream
