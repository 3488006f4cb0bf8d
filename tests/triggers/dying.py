"""`falaj watch --once` in a process that ends itself by SIGKILL at a chosen transaction.

python -m tests.triggers.dying FOLDER NUMBER before|after     0 for never

Transactions are counted from the first one that a start of a trigger makes: noting its cause.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

from falaj.cli.main import main
from falaj.store.metadata.sqlite import SqliteDatabase, SqliteTransaction


def die_at(number: int, moment: str) -> None:
    """Let the process end around a transaction: before its commit, or right after."""
    write, transactions, lock = SqliteDatabase.write, count(1), threading.Lock()

    @contextmanager
    def dying(self: SqliteDatabase) -> Iterator[SqliteTransaction]:
        with lock:
            is_last = next(transactions) == number
        with write(self) as tx:
            yield tx
            if is_last and moment == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        if is_last:
            os.kill(os.getpid(), signal.SIGKILL)

    SqliteDatabase.write = dying  # type: ignore[assignment, method-assign]


if __name__ == "__main__":
    die_at(int(sys.argv[2]), sys.argv[3])
    sys.exit(main(["-C", sys.argv[1], "watch", "--once"]))
