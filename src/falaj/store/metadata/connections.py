"""The open connections of one database: one a thread, and none carried over a fork.

Servers begin a thread for each job, so a connection whose thread has ended is closed when the next one is made: what is
open is bounded by the threads that live.
"""

from __future__ import annotations

import os
import threading
from typing import Generic, Protocol, TypeVar


class Closable(Protocol):
    """What can be closed, from any thread."""

    def close(self) -> None:
        """Close it."""
        ...


C = TypeVar("C", bound=Closable)


class Connections(Generic[C]):
    """Safe to use from several threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._kept: list[tuple[int, threading.Thread, C]] = []
        self._lock = threading.Lock()

    @property
    def mine(self) -> C | None:
        """The connection of this thread in this process, None where it has none."""
        held: tuple[int, C] | None = getattr(self._local, "held", None)
        return held[1] if held and held[0] == os.getpid() else None

    def keep(self, connection: C) -> C:
        """Make a connection this thread's own."""
        self._local.held = (os.getpid(), connection)
        with self._lock:
            ended = [one for one in self._kept if one[0] == os.getpid() and not one[1].is_alive()]
            self._kept = [one for one in self._kept if one not in ended]
            self._kept.append((os.getpid(), threading.current_thread(), connection))
        for _, _, old in ended:
            old.close()
        return connection

    def close(self) -> None:
        """Close all that this process opened."""
        with self._lock:
            kept, self._kept = self._kept, []
            self._local = threading.local()
        for pid, _, connection in kept:
            if pid == os.getpid():
                connection.close()
