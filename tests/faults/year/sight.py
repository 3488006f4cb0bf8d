"""What can be seen from outside of a store and its processes while they work: rows, files, `/proc`. Changes nothing."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from tests.faults.year.servers import Server

PARENT = b"falaj.engines.parent"


class Going(NamedTuple):
    """The newest rollout: its candidate, its state and the share of 10,000 that it has."""

    id: str
    candidate: int
    state: str
    share: int


class Process(NamedTuple):
    """A process, told from a later one of the same number by when it began."""

    pid: int
    began: str
    command: str = ""

    @property
    def is_running(self) -> bool:
        """It is there, and is not only waited for."""
        found = _stat(self.pid)
        return found is not None and found[1] == self.began and found[0] not in "ZX"


class Sight:
    """One store and its platform server. For several threads."""

    def __init__(self, folder: Path, server: Server) -> None:
        self.store, self.server = folder / ".falaj", server
        self._local = threading.local()

    # rows

    def commits(self) -> int:
        """Entries of the ledger so far, numbered or not."""
        return int(self._rows("SELECT coalesce(max(rowid), 0) FROM ledger_entry")[0][0])

    def entries(self) -> dict[int, str]:
        """The id of each numbered entry."""
        return dict(self._rows("SELECT leaf, id FROM ledger_entry WHERE leaf IS NOT NULL"))

    def rollout(self) -> Going | None:
        found = self._rows("SELECT id, candidate, state, share FROM rollout ORDER BY id DESC LIMIT 1")
        return Going(*found[0]) if found else None

    def revision(self) -> int:
        """Of the routing table in force, 0 for none."""
        return int(self._rows("SELECT coalesce(max(revision), 0) FROM routing")[0][0])

    def written(self) -> int:
        """The revision that the bundle in force has, 0 for none."""
        try:
            return int((self.store / "serving" / "delay" / "current").read_bytes())
        except FileNotFoundError:
            return 0

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        if (connection := getattr(self._local, "connection", None)) is None:
            connection = sqlite3.connect(f"{(self.store / 'falaj.db').as_uri()}?mode=ro", uri=True, timeout=30)
            self._local.connection = connection
        return list(connection.execute(query))

    def close(self) -> None:
        """What this thread has open."""
        if (connection := getattr(self._local, "connection", None)) is not None:
            connection.close()
            del self._local.connection

    # processes

    def parents(self) -> list[int]:
        """The processes that attempts are forked from."""
        return [pid for pid in children(self.server.pid) if PARENT in _command(pid)]

    def attempts(self) -> list[int]:
        """The attempts of steps that run now."""
        return [pid for parent in self.parents() for pid in children(parent)]


def children(pid: int) -> list[int]:
    """The processes that a process began, by whichever of its threads."""
    found: list[int] = []
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            with suppress(OSError):
                found += map(int, (task / "children").read_text().split())
    return found


def descendants(pid: int) -> Iterator[Process]:
    """All that a process began, directly or not, as far as it can be seen."""
    for child in children(pid):
        if (found := _stat(child)) is not None:
            yield Process(child, found[1], _command(child).replace(b"\0", b" ").decode(errors="replace")[:300])
        yield from descendants(child)


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _stat(pid: int) -> tuple[str, str] | None:
    """State and start of a process."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return words[0], words[19]
