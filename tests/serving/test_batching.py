"""The queue before a model: a batch is one computation, a failure stays with its own, and nothing ends the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from falaj.core.errors import FalajError
from falaj.serving import engines
from falaj.serving.batching import Batcher, Outcome, outcomes
from falaj.serving.engines import Engine
from falaj.serving.errors import ModelFailed, Overloaded
from falaj.serving.settings import Limits
from tests.serving.places import NUMBERS, Place, picky


class Job:
    def __init__(self, towns: Sequence[int], *, over: bool = False) -> None:
        self.columns: list[list[Any]] = [list(towns), [1.0] * len(towns)]
        self.rows = len(towns)
        self.started = time.perf_counter()
        self.over = over
        self.outcome: Outcome | None = None

    def is_over(self) -> bool:
        return self.over

    def give_up(self, error: FalajError) -> None:
        self.outcome, self.over = error, True


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """Knows the towns 0 to 2."""
    place = Place(tmp_path_factory.mktemp("batching"))
    place.add(8, picky(), NUMBERS)
    return engines.load(place.models["8"], picky(), "version 8")


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as pool:
        yield pool


def told(batch: Sequence[Job], found: Sequence[Outcome]) -> None:
    for job, outcome in zip(batch, found, strict=True):
        job.outcome, job.over = outcome, True


def play(script: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(script())


async def answered(jobs: Sequence[Job]) -> None:
    async with asyncio.timeout(20):
        while not all(job.over for job in jobs):  # noqa: ASYNC110  what is tested has no event for it
            await asyncio.sleep(0.001)


@settings(deadline=None, max_examples=40)
@given(jobs=st.lists(st.lists(st.integers(0, 4), min_size=1, max_size=4), min_size=1, max_size=8))
def test_together_or_alone_is_the_same(engine, jobs):
    """A job that the model fails at (towns 3 and 4) fails alone; the others get what they would get alone."""
    batch = [Job(towns) for towns in jobs]
    alone = [outcomes(engine, [job])[0] for job in batch]
    for job, outcome, single in zip(batch, outcomes(engine, batch), alone, strict=True):
        if max(job.columns[0]) > 2:
            assert isinstance(outcome, ModelFailed)
            assert isinstance(single, ModelFailed)
        else:
            assert outcome == pytest.approx(single)


@pytest.mark.parametrize("quick", [True, False], ids=["on the loop", "in a thread"])
def test_every_job_is_answered_once_whoever_leaves(engine, pool, quick):
    async def script() -> None:
        engine.quick = quick
        asked: list[Job] = []

        def deliver(batch: Sequence[Job], found: Sequence[Outcome]) -> None:
            asked.extend(batch)
            told(batch, found)

        batcher: Batcher[Job] = Batcher(engine, pool, Limits(), deliver)
        jobs = [Job([i % 5], over=i % 7 == 0) for i in range(500)]
        for i, job in enumerate(jobs):
            batcher.put(job)
            if i % 50 == 0:
                await asyncio.sleep(0)
        await answered(jobs)
        assert [job for job in jobs if job not in asked] == [job for i, job in enumerate(jobs) if i % 7 == 0]
        assert len(asked) == len(set(asked))
        await asyncio.sleep(0.01)
        assert (batcher.rows, batcher.busy) == (0, False)

    play(script)


def test_a_delivery_that_breaks_ends_neither_the_queue_nor_the_wait(engine, pool):
    async def script() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        broken = [True]

        def deliver(batch: Sequence[Job], found: Sequence[Outcome]) -> None:
            if broken.pop() if broken else False:
                raise RuntimeError("the disk is on fire")
            told(batch, found)

        engine.quick = True
        batcher: Batcher[Job] = Batcher(engine, pool, Limits(), deliver)
        first, second = Job([1]), Job([1])
        batcher.put(first)
        await answered([first])
        assert isinstance(first.outcome, ModelFailed)
        batcher.put(second)
        await answered([second])
        assert isinstance(second.outcome, list)

    play(script)


def test_too_much_is_refused_and_too_old_is_given_up(engine, pool):
    async def script() -> None:
        engine.quick = True
        batcher: Batcher[Job] = Batcher(engine, pool, Limits(waiting_rows=3, answer_s=5), told)
        old = Job([1, 1])
        old.started -= 6
        batcher.put(old)
        with pytest.raises(Overloaded):
            batcher.put(Job([1, 1]))
        batcher.sweep(time.perf_counter())
        assert isinstance(old.outcome, Overloaded)
        fresh = Job([1])
        batcher.put(fresh)
        await answered([fresh])
        assert isinstance(fresh.outcome, list)

    play(script)


def test_batches_have_a_size_and_one_greater_job_goes_alone(engine, pool):
    async def script() -> None:
        sizes: list[int] = []

        def deliver(batch: Sequence[Job], found: Sequence[Outcome]) -> None:
            sizes.append(sum(job.rows for job in batch))
            told(batch, found)

        engine.quick = True
        batcher: Batcher[Job] = Batcher(engine, pool, Limits(batch_rows=4), deliver)
        jobs = [Job([1] * rows) for rows in (2, 2, 1, 9, 3, 1)]
        for job in jobs:
            batcher.put(job)
        await answered(jobs)
        assert sizes == [4, 1, 9, 4]

    play(script)
