"""One queue before each model. What came while the model was busy goes to it together; nobody waits for a clock.

A batch is made of checked requests, so all have the same columns. Where a model fails over a batch, each of its
requests is asked alone, so that one of them never spoils the answer of another. Whatever happens, the queue goes on.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Generic, Protocol, TypeVar

from falaj.core.errors import FalajError
from falaj.serving.engines import QUICK_ROWS, Engine
from falaj.serving.errors import ModelFailed, Overloaded
from falaj.serving.inputs import Columns
from falaj.serving.settings import Limits

Outcome = list[float] | FalajError


class Job(Protocol):
    """Rows that wait for a model."""

    rows: int
    columns: Columns
    started: float

    def is_over(self) -> bool:
        """Whether it was answered, or nobody waits for it any more."""

    def give_up(self, error: FalajError) -> None:
        """Answer it with an error now, unless it is over."""


J = TypeVar("J", bound=Job)


class Batcher(Generic[J]):
    """The queue of one model. Lives on the event loop; a model that is not quick works in a thread.

    Args:
        deliver: is given the jobs of a batch, and the outcome of each.
        aside: the model never works on the event loop, however quick it is: nobody's answer is to wait for it.
    """

    def __init__(
        self,
        engine: Engine,
        pool: Executor,
        limits: Limits,
        deliver: Callable[[Sequence[J], Sequence[Outcome]], None],
        *,
        aside: bool = False,
    ) -> None:
        self.engine = engine
        self._is_quick = engine.quick and not aside
        self.rows = 0
        self.busy = False
        self._pool, self._limits, self._deliver = pool, limits, deliver
        self._waiting: deque[J] = deque()
        self._at_work: Sequence[J] = ()

    def put(self, job: J) -> None:
        """Let a job wait its turn. Raises: Overloaded."""
        if self.rows + job.rows > self._limits.waiting_rows:
            raise Overloaded(f"{self.rows:,} rows wait already", next_step="try again in a moment, or ask for less")
        self._waiting.append(job)
        self.rows += job.rows
        if not self.busy:
            self.busy = True
            asyncio.get_running_loop().call_soon(self._turn)

    def sweep(self, now: float) -> None:
        """Give up jobs that have waited too long, also those that a hanging model has.

        Args:
            now: seconds of the clock that `started` was read from.
        """
        late = now - self._limits.answer_s
        error = Overloaded(f"no answer within {self._limits.answer_s:g} s", next_step="try again in a moment")
        for job in (*self._at_work, *self._waiting):
            if job.started < late:
                job.give_up(error)

    def _turn(self) -> None:
        batch = self._taken()
        if not batch:
            self.busy = False
            return
        self._at_work = batch
        if self._is_quick and sum(job.rows for job in batch) <= QUICK_ROWS:
            self._finish(batch, outcomes(self.engine, batch))
            return
        loop = asyncio.get_running_loop()
        work: Future[list[Outcome]] = self._pool.submit(outcomes, self.engine, batch)
        work.add_done_callback(lambda done: loop.call_soon_threadsafe(self._worked, batch, done))

    def _worked(self, batch: Sequence[J], done: Future[list[Outcome]]) -> None:
        error = done.exception()
        self._finish(batch, done.result() if error is None else [_failed(error)] * len(batch))

    def _finish(self, batch: Sequence[J], found: Sequence[Outcome]) -> None:
        self._at_work = ()
        try:
            self._deliver(batch, found)
        except BaseException as error:
            for job in batch:
                job.give_up(_failed(error))
            raise
        finally:
            asyncio.get_running_loop().call_soon(self._turn)

    def _taken(self) -> Sequence[J]:
        batch: list[J] = []
        rows = 0
        while self._waiting and (not batch or rows + self._waiting[0].rows <= self._limits.batch_rows):
            job = self._waiting.popleft()
            self.rows -= job.rows
            if not job.is_over():
                batch.append(job)
                rows += job.rows
        return batch


def outcomes(engine: Engine, batch: Sequence[J]) -> list[Outcome]:
    """What a model answers to each job of a batch."""
    if len(batch) == 1:
        return [_outcome(engine, batch[0].columns, batch[0].rows)]
    columns = [[value for job in batch for value in job.columns[i]] for i in range(len(engine.inputs))]
    together = _outcome(engine, columns, sum(job.rows for job in batch))
    if isinstance(together, FalajError):
        return [_outcome(engine, job.columns, job.rows) for job in batch]
    found: list[Outcome] = []
    at = 0
    for job in batch:
        found.append(together[at : at + job.rows])
        at += job.rows
    return found


def _outcome(engine: Engine, columns: Columns, rows: int) -> Outcome:
    try:
        return engine.score(columns, rows)
    except FalajError as error:
        return error


def _failed(error: BaseException) -> ModelFailed:
    return ModelFailed(f"the model could not be asked: {type(error).__name__}")
