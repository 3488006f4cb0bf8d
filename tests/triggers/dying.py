"""`falaj watch --once` in a process that ends itself by SIGKILL at a chosen transaction.

python -m tests.triggers.dying FOLDER NUMBER before|after     0 for never

Transactions that may write are counted from the beginning of the process, on SQLite and on PostgreSQL.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

from falaj.cli.main import main
from falaj.store.metadata.postgres import PostgresDatabase
from falaj.store.metadata.sqlite import SqliteDatabase


def die_at(number: int, moment: str) -> None:
    """Let the process end around a transaction: before its commit, or right after."""
    transactions, lock = count(1), threading.Lock()

    def let_die(database: Any) -> None:
        write = database.write

        @contextmanager
        def dying(self: Any) -> Iterator[Any]:
            with lock:
                is_last = next(transactions) == number
            with write(self) as tx:
                yield tx
                if is_last and moment == "before":
                    os.kill(os.getpid(), signal.SIGKILL)
            if is_last:
                os.kill(os.getpid(), signal.SIGKILL)

        database.write = dying

    for database in (SqliteDatabase, PostgresDatabase):
        let_die(database)


if __name__ == "__main__":
    die_at(int(sys.argv[2]), sys.argv[3])
    sys.exit(main(["-C", sys.argv[1], "watch", "--once"]))
