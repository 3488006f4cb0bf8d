"""A second process beside the first: writers queue, both finish, readers always see a sound store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from falaj.platform import Platform
from falaj.store.errors import GuardRefused, RefConflict, StoreBusy
from falaj.store.metadata import sqlite
from tests.faults import plan
from tests.faults.plan import Command
from tests.faults.workers import Nursery, Outcome, nursery
from tests.faults.world import World

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]
EACH = 6


@pytest.fixture(scope="module")
def others(strace: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    with nursery(strace, tmp_path_factory.mktemp("others")) as made:
        yield made


def both(world: World, pairs: list[tuple[Nursery, list[Command]]]) -> list[Outcome]:
    with ThreadPoolExecutor(len(pairs)) as pool:
        return list(pool.map(lambda pair: pair[0].run(world.place, *pair[1]), pairs))


def test_two_writers_and_a_reader_finish(world: World, workers: Nursery, others: Nursery) -> None:
    """Nobody is refused because somebody else writes."""
    mine = [("add", str(seed), "north") for seed in range(10, 10 + EACH)]
    yours = [("add", str(seed), "south") for seed in range(30, 30 + EACH)]
    with world.opened() as session, ThreadPoolExecutor(1) as pool:
        writing = pool.submit(both, world, [(workers, mine), (others, yours)])
        looks = 0
        while not writing.done() or not looks:
            found = plan.read(session)
            assert found["sound"]
            assert found["moves"] == [1]
            looks += 1
        for outcome in writing.result():
            assert (outcome.failed, len(outcome.done)) == (None, EACH)
            assert [done["version"] for done in outcome.done.values()] == list(range(1, EACH + 1))
    world.check(whole=True)


def test_of_two_adding_to_one_ref_each_is_done_or_told_that_it_moved(
    world: World, workers: Nursery, others: Nursery
) -> None:
    commands: dict[int, list[Command]] = {0: [world.next("add")], 1: [world.next("add")]}
    conflicts = 0
    for _ in range(EACH):
        outcomes = both(world, [(workers, commands[0]), (others, commands[1])])
        for who, outcome in enumerate(outcomes):
            if outcome.failed is not None:
                assert outcome.failed["code"] == RefConflict.code
                conflicts += 1
                continue
            world.told(commands[who], outcome)
            commands[who] = [world.next("add")]
        assert sum(outcome.failed is None for outcome in outcomes) >= 1
    for waiting in commands.values():
        world.finish(waiting[0])
    world.check(whole=True)
    world.check_clean()


def test_of_two_promotions_at_once_the_ref_is_where_the_last_put_it(
    world: World, workers: Nursery, others: Nursery
) -> None:
    for _ in range(EACH):
        world.finish(world.next("add"))
        newest = world.newest
        outcomes = both(world, [(workers, [("promote", str(newest))]), (others, [("promote", str(newest - 1))])])
        for outcome in outcomes:
            assert outcome.failed is None or outcome.failed["code"] in {GuardRefused.code, RefConflict.code}
        moved = {outcome.done[0]["version"] for outcome in outcomes if outcome.done}
        assert moved
        world.production = moved
        world.check()


def test_who_waits_too_long_is_told_that_the_store_is_busy(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_MS", 100)
    holder = sqlite3.connect(world.place / ".falaj" / "falaj.db", isolation_level=None)
    platform = Platform.open(world.place)
    session = platform.session(plan.PROJECT)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy) as told:
        plan.do(session, world.place, "promote", "2")
    assert told.value.next_step
    assert plan.read(session)["moves"] == [1]
    holder.execute("ROLLBACK")
    holder.close()
    plan.do(session, world.place, "promote", "2")
    platform.close()
    world.production = {2}
    world.check(whole=True)
