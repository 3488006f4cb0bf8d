"""What a month brings: its reports, and the flights that are asked about. In the shade of a training it comes early.

Time does not stand still while a model is trained. Once a training has begun its first step, what it reads is pinned:
the next month may come in, and nothing of it can reach that training.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from examples.flights.year.asking import Row

if TYPE_CHECKING:
    from examples.flights.year.play import Play

LOOK_S = 0.2


def feeds(play: Play, month: int) -> None:
    """What was reported during the month. That nothing counts before it was known is the work of the join."""
    operations = play.cast["operations"]
    for feed in ("weather", "departures"):
        operations.add_data(feed, play.data.feed(feed, month))


def questions(play: Play, month: int, count: int, also: str = "") -> list[Row]:
    """Flights of the month with their features as they were known two hours before each; no outcome is among them.

    Args:
        also: a carrier, all of whose flights are among them.
    """
    operations = play.cast["operations"]
    file = play.data.questions(month, count, also=also)
    asked = operations.add_data("schedule", file, ref="asked", mode="replace")
    joined = operations.call(
        "features.join", service="delay_v1", rows=f"schedule:{asked.version}", at="decided_at", into="delay_questions"
    )
    rows: list[Row] = operations.data(f"delay_questions:{joined['version']}").table().to_pylist()
    return rows


def newest_training(play: Play) -> str:
    """The run of a pipeline that began last, "" where there was none."""
    runs = play.cast["science"].call("run.list", sort="pipeline.run", limit=1)["items"]
    return str(runs[0]["id"]) if runs else ""


@contextmanager
def meanwhile(play: Play, month: int, count: int, *, after: str) -> Iterator[None]:
    """Around the wait for a training: the next month comes in, and its questions are made ready.

    Args:
        count: how many questions.
        after: the training that was the newest before this one.
    """
    over = threading.Event()

    def made_ready() -> list[Row]:
        while not over.wait(LOOK_S) and not _has_begun(play, after):
            pass
        feeds(play, month)
        return questions(play, month, count)

    with ThreadPoolExecutor(1) as pool:
        ready = pool.submit(made_ready)
        try:
            yield
        finally:
            over.set()
        play.ready[month] = ready.result()


def _has_begun(play: Play, after: str) -> bool:
    """Whether a new training has begun a step, or is over."""
    run = newest_training(play)
    if run == after:
        return False
    told = play.cast["science"].call("run.steps", run=run)
    return bool(told["steps"]) or told["state"] != "running"
