"""kill -9 at chosen points: nothing acknowledged is lost, verification is clean, the same command finishes the work.

Every command is first traced; then workers are killed at its calls: at each that syncs, links or unlinks (so between
the pack's bytes and their name, between the name and the commit, between the commit and the answer), and at writes of
the database's log drawn by the seed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.faults.workers import Call, Nursery, kill
from tests.faults.world import World

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.timeout(600)]
KILLS = {"add": 36, "promote": 16, "rollback": 12, "rm": 10, "gc": 18}
OPENING, ANYTIME = 6, 12
assert sum(KILLS.values()) + OPENING + ANYTIME >= 100
BETWEEN = {"write", "fsync", "linkat", "unlinkat", "pwrite64", "fdatasync"}
"""Of `add`: the pack's bytes, their sync and that of their name, the name, the temporary name gone, the commit."""
KILL = "signal=SIGKILL"
STORE = "/.falaj"


def points(calls: list[Call], rng: random.Random) -> Iterator[Call]:
    """Every call that syncs, links, unlinks or cuts, and writes of pages; first each once, then any."""
    stages = [call for call in calls if call.name != "pwrite64" and STORE in call.args]
    pages = [call for call in calls if call.name == "pwrite64"]
    first = [*stages, *rng.sample(pages, min(len(pages), len(stages) // 2))]
    rng.shuffle(first)
    yield from first
    while True:
        yield rng.choice(rng.choice([stages, pages]))


@pytest.mark.parametrize("what", KILLS)
def test_a_kill_at_any_call_loses_nothing_and_the_same_command_finishes(
    world: World, workers: Nursery, rng: random.Random, what: str
) -> None:
    command = world.next(what)
    world.told([command], workers.run(world.place, command, trace=True))
    chosen = points(workers.calls(), rng)
    kills, at = 0, set()
    while kills < KILLS[what]:
        command, point = world.next(what), next(chosen)
        outcome = workers.run(world.place, command, inject=point.inject(KILL))
        assert outcome.failed is None, f"{command} at {point}: {outcome.failed}"
        if outcome.killed:
            kills += 1
            at.add(point.name)
        world.told([command], outcome)
        world.check()
        if not outcome.done:
            world.finish(command)
    world.check(whole=True)
    world.check_clean()
    assert what != "add" or at >= BETWEEN


def test_a_kill_while_the_store_is_opened(world: World, workers: Nursery, rng: random.Random) -> None:
    """Opening writes, too: runs of dead processes are ended."""
    kills = 0
    while kills < OPENING:
        command = world.next("add")
        killed = workers.run(world.place, command, inject="linkat:signal=SIGKILL:when=1")
        assert killed.killed
        world.told([command], killed)
        workers.run(world.place, opening=True, trace=True)
        point = rng.choice([c for c in workers.calls() if STORE in c.args])
        again = workers.run(world.place, command, opening=True, inject=point.inject(KILL))
        kills += again.killed
        world.told([command], again)
        world.check()
        if not again.done:
            world.finish(command)
    world.check(whole=True)
    world.check_clean()


def test_a_kill_at_any_time_of_a_list_of_commands(world: World, workers: Nursery, rng: random.Random) -> None:
    for _ in range(ANYTIME):
        collect, move = world.next("gc"), world.next("promote")
        commands = [world.next("add"), move, collect, world.next("add")]
        last = rng.randrange(len(commands))
        pause = rng.random() * 0.04

        def end(pid: int, said: list[Any], last: int = last, pause: float = pause) -> None:
            if said == ["begin", last]:
                time.sleep(pause)  # the point of the kill
                kill(pid)

        outcome = workers.run(world.place, *commands, at=end)
        world.told(commands, outcome)
        world.check()
        for number in range(len(outcome.done), len(commands)):
            world.finish(commands[number])
    world.check_clean()
