"""Connections: one a thread, closed when their thread has ended, never carried over a fork."""

import os
import threading
from pathlib import Path

import pytest

from falaj.store.metadata import Database, open_database

THREADS = 30


def in_a_thread(database: Database) -> None:
    def look() -> None:
        with database.read() as tx:
            assert tx.row("SELECT 1") == (1,)

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()


def open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_threads_that_ended_leave_no_file_open(tmp_path: Path) -> None:
    database = open_database(tmp_path / "falaj.db")
    before = open_files()
    for _ in range(THREADS):
        in_a_thread(database)
    assert open_files() - before < THREADS / 2
    database.close()


@pytest.mark.postgres
def test_threads_that_ended_leave_no_connection_open(postgres_url: str) -> None:
    database = open_database(postgres_url)
    for _ in range(THREADS):
        in_a_thread(database)
    with database.read() as tx:
        row = tx.row("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
    assert row is not None
    assert row[0] <= 2
    database.close()


def test_a_thread_keeps_its_connection(tmp_path: Path) -> None:
    database = open_database(tmp_path / "falaj.db")
    with database.write() as tx:
        tx.run("CREATE TABLE kept (n INTEGER)")
    in_a_thread(database)
    in_a_thread(database)
    with database.write() as tx:
        tx.run("INSERT INTO kept VALUES (1)")
    with database.read() as tx:
        assert tx.row("SELECT n FROM kept") == (1,)
    database.close()


def test_a_child_process_opens_its_own(tmp_path: Path) -> None:
    database = open_database(tmp_path / "falaj.db")
    with database.write() as tx:
        tx.run("CREATE TABLE kept (n INTEGER)")
    child = os.fork()
    if child == 0:
        with database.write() as tx:
            tx.run("INSERT INTO kept VALUES (1)")
        database.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    with database.read() as tx:
        assert tx.row("SELECT n FROM kept") == (1,)
    database.close()
