"""A clock that goes back: numbers, order and proofs do not hang on it.

The clock is replaced where Falaj's modules read it (`datetime.now`, and the milliseconds of ids): nothing on a common
machine sets back the real one for a single process.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from falaj.core import ids
from tests.faults.world import World

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]


class Clock:
    """What time Falaj believes it is: the real one, and so much later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.later = timedelta(0)
        clock = self

        class Moved(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + clock.later

        for name, module in list(sys.modules.items()):
            if name.startswith("falaj.") and getattr(module, "datetime", None) is datetime:
                monkeypatch.setattr(module, "datetime", Moved)
        nanoseconds = SimpleNamespace(time_ns=lambda: time.time_ns() + int(clock.later.total_seconds() * 1e9))
        monkeypatch.setattr(ids, "time", nanoseconds)
        self._patch = monkeypatch

    def move(self, by: timedelta) -> None:
        """As another process sees it: what this one remembers of earlier ids is forgotten."""
        self.later += by
        self._patch.setattr(ids, "_last", 0)


@pytest.fixture
def clock(world: World, monkeypatch: pytest.MonkeyPatch) -> Clock:
    with world.opened():
        pass  # whatever is imported late is there now
    return Clock(monkeypatch)


@pytest.mark.parametrize("back", [timedelta(milliseconds=5), timedelta(hours=1), timedelta(days=400)], ids=str)
def test_everything_goes_on_when_the_clock_goes_back(world: World, clock: Clock, back: timedelta) -> None:
    for what in ("add", "promote", "rollback", "rm", "gc", "add"):
        clock.move(-back)
        world.finish(world.next(what))
        world.check()
    world.check(whole=True)


def test_entries_stand_in_the_order_of_their_commits(world: World, clock: Clock) -> None:
    for hours in (0, -2, 5, -9):
        clock.move(timedelta(hours=hours))
        world.finish(world.next("promote"))
    with world.opened() as session:
        entries = session.call("ledger.log", {"scope": "project:kites", "what": "ref.moved"})["items"]
        moves = session.call("asset.log", {"thing": "dataset/kites@production"})["moves"]
        times = [entry["at"] for entry in reversed(entries)]
    assert times != sorted(times)  # the clock did go back
    leaves = [move["entry"] for move in moves]
    assert leaves == sorted(leaves, reverse=True)
    assert [move["previous"] for move in moves[:-1]] == [move["version"] for move in moves[1:]]
