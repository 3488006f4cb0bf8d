"""The bare durable transaction: given rows written by plain `sqlite3` with prepared statements. Nothing else.

The statements and their values are those that the measured change itself wrote, so both write the very same rows.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

Statement = tuple[str, Sequence[Any]]


class Bare:
    """A connection with the same settings as the store's: WAL, FULL."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, cached_statements=512)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("PRAGMA foreign_keys=ON")
        self._connection.execute("PRAGMA temp_store=MEMORY")

    def write(self, statements: Iterable[Statement]) -> None:
        """One transaction."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        for sql, values in statements:
            execute(sql, values)
        execute("COMMIT")

    def close(self) -> None:
        self._connection.close()
