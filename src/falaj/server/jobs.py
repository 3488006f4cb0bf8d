"""Jobs over HTTP: a thread each, a bounded number at once, their progress as events, their results until forgotten.

Everything but the work itself happens on the event loop's thread, so nothing here is locked.
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import msgspec

from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.errors import FalajError, NotFound
from falaj.core.records import Run
from falaj.door import Caller, KeyReused, Operation
from falaj.server.backend import Calls
from falaj.server.errors import Busy, Stopping
from falaj.server.logs import Log
from falaj.server.problems import unexpected
from falaj.server.settings import Limits


class Event(msgspec.Struct, frozen=True):
    """One event of a job: its number, `progress` or `end`, and its facts."""

    number: int
    name: str
    facts: dict[str, Any]


class Job:
    """One call of a job operation.

    Args:
        key: its idempotency key, "" for none.
        request: digest of what was asked.
        request_id: of the HTTP request that began it.
    """

    def __init__(
        self, operation: Operation, caller: Caller, project: str, key: str, request: str, request_id: str
    ) -> None:
        self.operation = operation
        self.principal = caller.principal.id
        self.project = project
        self.key = key
        self.request = request
        self.request_id = request_id
        self.run = ""
        self.result: bytes | None = None
        self.error: FalajError | None = None
        self.last = Event(0, "progress", {})
        self._changed = asyncio.Event()

    @property
    def ended(self) -> bool:
        """Whether it has a result or an error."""
        return self.result is not None or self.error is not None

    def change(self, event: Event | None = None) -> None:
        """Wake everyone who waits. Only the newest progress is kept: a slow reader skips, it does not pile up."""
        if event is not None:
            self.last = event
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def wait(self, until: Callable[[Job], bool], limit_s: float) -> bool:
        """Wait until something holds; returns whether it does."""
        deadline = asyncio.get_running_loop().time() + limit_s
        while not until(self):
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(self._changed.wait(), left)
            except TimeoutError:
                return until(self)
        return True


class Jobs:
    """The jobs of one server.

    Args:
        limits: how many may be at work at once, and how many ended ones are remembered with their results.
    """

    def __init__(self, door: Calls, log: Log, limits: Limits) -> None:
        self._door = door
        self._log = log
        self._limits = limits
        self._kept_bytes = 0
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._keys: dict[tuple[str, str], Job] = {}
        self._running: set[Job] = set()
        self.stopping = False

    @property
    def running(self) -> int:
        """Jobs at work."""
        return len(self._running)

    def start(
        self, operation: Operation, args: msgspec.Struct, caller: Caller, project: str, key: str, request_id: str
    ) -> Job:
        """Begin a job, or find the one that the same principal began under the same key, unless it failed.

        Raises: Busy, Stopping, KeyReused.
        """
        request = sha256(canonical([operation.name, project, args]))
        owner = (caller.principal.id, key)
        if key and (earlier := self._keys.get(owner)):
            if earlier.request != request:
                raise KeyReused("this idempotency key came with another request before", next_step="use a new key")
            return earlier
        if self.stopping:
            raise Stopping("the server is about to stop", next_step="ask again in a moment")
        if len(self._running) >= self._limits.jobs:
            raise Busy(f"{self._limits.jobs} jobs are at work, which is as many as may be", next_step="ask again")
        job = Job(operation, caller, project, key, request, request_id)
        loop = asyncio.get_running_loop()
        threading.Thread(
            target=self._work, args=(loop, job, args, caller), name=f"falaj-job-{operation.name}", daemon=True
        ).start()
        self._running.add(job)
        if key:
            self._keys[owner] = job
        return job

    def find(self, run: str, caller: Caller) -> Job | None:
        """A job that this principal began, None where it is not here."""
        job = self._jobs.get(run)
        return job if job and job.principal == caller.principal.id else None

    def wake(self) -> None:
        """Let everyone who waits for a job look again."""
        for job in list(self._running):
            job.change()

    async def stop(self, limit_s: float) -> list[str]:
        """Begin nothing new and wait for what is at work; returns the runs that did not end in time."""
        self.stopping = True
        deadline = asyncio.get_running_loop().time() + limit_s
        for job in list(self._running):
            await job.wait(lambda j: j.ended, max(0.0, deadline - asyncio.get_running_loop().time()))
        return [job.run for job in self._running if job.run]

    # in the job's own thread

    def _work(self, loop: asyncio.AbstractEventLoop, job: Job, args: msgspec.Struct, caller: Caller) -> None:
        def on_run(run: Run) -> None:
            _on(loop, self._began, job, run.id)

        progress = _Progress(loop, lambda facts: self._moved(job, facts))
        try:
            result = self._door.call(
                job.operation.name,
                args,
                caller=caller,
                project=job.project,
                idempotency_key=job.key,
                progress=progress.move,
                on_run=on_run,
            )
            _on(loop, self._ended, job, msgspec.json.encode(result), None)
        except FalajError as error:
            _on(loop, self._ended, job, None, error)
        except Exception as error:  # noqa: BLE001  the edge of a thread: told in the log, hidden from the client
            self._log.broke(error, request=job.request_id, operation=job.operation.name, run=job.run)
            _on(loop, self._ended, job, None, unexpected(job.request_id))

    # on the loop's thread

    def _began(self, job: Job, run: str) -> None:
        job.run = run
        self._jobs[run] = job
        job.change()

    def _moved(self, job: Job, facts: dict[str, Any]) -> None:
        if not job.ended:
            job.change(Event(job.last.number + 1, "progress", facts))

    def _ended(self, job: Job, result: bytes | None, error: FalajError | None) -> None:
        job.result, job.error = result, error
        self._running.discard(job)
        facts = {"state": "failed", "code": error.code} if error else {"state": "done"}
        job.change(Event(job.last.number + 1, "end", facts))
        if error is not None or not job.run:
            self._free(job)
        if not job.run:  # refused before it had a run, or answered from what was kept: nothing to come back to
            return
        self._jobs.move_to_end(job.run)
        self._kept_bytes += len(result or b"")
        ended = [j for j in self._jobs.values() if j.ended]
        while len(ended) > self._limits.kept_jobs or (self._kept_bytes > self._limits.kept_bytes and len(ended) > 1):
            self._forget(ended.pop(0))

    def _forget(self, job: Job) -> None:
        del self._jobs[job.run]
        self._kept_bytes -= len(job.result or b"")
        self._free(job)

    def _free(self, job: Job) -> None:
        if self._keys.get((job.principal, job.key)) is job:
            del self._keys[job.principal, job.key]


class _Progress:
    """Carries a job's progress to the loop: the newest only, however often the job tells it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, moved: Callable[[dict[str, Any]], None]) -> None:
        self._loop = loop
        self._moved = moved
        self._newest: dict[str, Any] | None = None
        self._lock = threading.Lock()

    def move(self, what: str, done: int, total: int) -> None:
        """In the job's thread."""
        with self._lock:
            on_its_way = self._newest is not None
            self._newest = {"what": what, "done": done, "total": total}
        if not on_its_way:
            _on(self._loop, self._tell)

    def _tell(self) -> None:
        with self._lock:
            newest, self._newest = self._newest, None
        if newest is not None:
            self._moved(newest)


def not_here(run: str) -> NotFound:
    """The answer for a run that is not there, or not this principal's."""
    return NotFound(f"run {run[:40]}: no such thing, or not for you", next_step="falaj run show RUN tells how it ended")


def _on(loop: asyncio.AbstractEventLoop, function: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(function, *args)
    except RuntimeError:  # the loop has ended, and with it everyone who could listen
        return
