"""PostgreSQL for tests: one server for each test process of a run, one fresh database for each test.

A test that stops or kills the server starts its own by `own_postgres`.
"""

from __future__ import annotations

import itertools
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from scripts.postgres import PartMissing, PostgresServer

_number = itertools.count(1)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """A started server in a new temporary folder, gone afterwards; without the programs the test fails."""
    # Not below pytest's own temporary folder: that one is closed to the user who runs the server.
    folder = Path(tempfile.mkdtemp(prefix="falaj-pg-"))
    try:
        try:
            server = PostgresServer(folder)
        except PartMissing as missing:
            pytest.fail(str(missing), pytrace=False)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """The server of this test process; never stop or kill this one."""
    with running_server() as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[PostgresServer]:
    """A server for this test alone, to be stopped, killed and started again at will."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> Iterator[str]:
    """The address of an empty database, dropped after the test."""
    name = f"test_{next(_number)}"
    url = postgres_server.create_database(name)
    yield url
    postgres_server.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database: a test that asks for it runs on SQLite and on PostgreSQL."""
    if request.param == "sqlite":
        return str(tmp_path / "falaj.db")
    return str(request.getfixturevalue("postgres_url"))
