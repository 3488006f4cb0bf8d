"""The bounded pool in which the synchronous door is called from the event loop.

Threads are kept, since each holds its database connection, and are daemons: a call that outlives its request's time
keeps its thread until it ends (so the pool stays bounded) but never keeps the process from ending. That is safe as
whatever a call does is one transaction.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

from falaj.server.errors import Busy, TimedOut

T = TypeVar("T")
_Task = tuple[asyncio.AbstractEventLoop, "asyncio.Future[Any]", Callable[[], Any]]


class Workers:
    """A pool of threads.

    Args:
        threads: how many calls run at once.
        waiting: how many more may wait for a thread.
    """

    def __init__(self, threads: int, waiting: int) -> None:
        self._most = threads + waiting
        self._threads = threads
        self._started = 0
        self._taken = 0
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Calls at work or waiting."""
        return self._taken

    async def do(self, work: Callable[[], T], limit_s: float) -> T:
        """Call `work` in a thread and wait for it.

        Raises: Busy where there is no room; TimedOut after `limit_s` (the call goes on); what `work` raises.
        """
        with self._lock:
            if self._taken >= self._most:
                raise Busy("the server is at work on as much as it can", next_step="ask again")
            self._taken += 1
            start = self._started < self._threads and self._taken > self._started
            self._started += start
        if start:
            threading.Thread(target=self._run, name="falaj-worker", daemon=True).start()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._tasks.put((loop, future, work))
        timer = loop.call_later(limit_s, _give_up, future, limit_s)
        try:
            return await future
        finally:
            timer.cancel()

    def close(self) -> None:
        """Let every thread end after what it is doing. Nothing may be asked afterwards."""
        for _ in range(self._started):
            self._tasks.put(None)

    def _run(self) -> None:
        while self._one(self._tasks.get()):
            pass

    def _one(self, task: _Task | None) -> bool:
        # One frame a call: a thread that waits for the next holds nothing of the last, neither body nor token.
        if task is None:
            return False
        loop, future, work = task
        if future.done():  # gave up while it waited for a thread: nothing was begun
            self._free()
            return True
        try:
            result, error = work(), None
        except BaseException as raised:  # noqa: BLE001  told to the one who asked
            result, error = None, raised
        self._free()
        _tell(loop, future, result, error)
        return True

    def _free(self) -> None:
        with self._lock:
            self._taken -= 1


def _give_up(future: asyncio.Future[Any], limit_s: float) -> None:
    if not future.done():
        future.set_exception(
            TimedOut(
                f"no answer within {limit_s:g} s; what was asked may still come to be",
                next_step="ask again; a command with the same Idempotency-Key",
            )
        )


def _tell(loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any], result: Any, error: Any) -> None:
    def tell() -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    try:
        loop.call_soon_threadsafe(tell)
    except RuntimeError:  # the loop has ended: nobody is left to be told
        return
