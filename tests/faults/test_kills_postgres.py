"""On PostgreSQL the server is killed too, one of its backends, or the worker: the same must hold afterwards."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest

from falaj.store.errors import StoreAway
from scripts.postgres import PostgresServer
from tests.faults import plan
from tests.faults.workers import Nursery, kill
from tests.faults.world import World

pytestmark = [pytest.mark.faults, pytest.mark.slow, pytest.mark.postgres, pytest.mark.timeout(600)]
ROUNDS = 3
DATABASE = "kites"
READY_S = 60.0
Fault = Callable[[PostgresServer, int], None]


def kill_server(server: PostgresServer, _pid: int) -> None:
    server.kill()


def kill_backend(server: PostgresServer, _pid: int) -> None:
    """A backend that dies takes the others down: PostgreSQL recovers as after a crash."""
    for pid in backends(server):
        kill(pid)


def kill_worker(_server: PostgresServer, pid: int) -> None:
    kill(pid)


def backends(server: PostgresServer) -> list[int]:
    """One that serves a worker, if there is one."""
    with psycopg.connect(server.url(), autocommit=True) as connection:
        found = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'falaj' ORDER BY backend_start LIMIT 1"
        ).fetchall()
    return [int(row[0]) for row in found]


def recovered(server: PostgresServer) -> str:
    """The address of the database, once it takes connections again."""
    if not server.pid:
        server.start()
    deadline = time.monotonic() + READY_S
    while True:
        try:
            psycopg.connect(server.url(DATABASE)).close()
            return server.url(DATABASE)
        except psycopg.OperationalError:
            assert time.monotonic() < deadline, "PostgreSQL did not recover"
            time.sleep(0.05)


@pytest.mark.parametrize("fault", [kill_server, kill_backend, kill_worker], ids=["server", "backend", "worker"])
def test_a_kill_while_adding_promoting_and_collecting_loses_nothing(
    own_postgres: PostgresServer, workers: Nursery, tmp_path: Path, rng: random.Random, fault: Fault
) -> None:
    place = tmp_path / "kites"
    plan.make(place, own_postgres.create_database(DATABASE))
    world = World(place, own_postgres.url(DATABASE))
    hit = 0
    while hit < ROUNDS:
        collect, move = world.next("gc"), world.next("promote")
        commands = [world.next("add"), move, collect, world.next("add")]
        last, pause = hit % len(commands), rng.random() * 0.06

        def strike(pid: int, said: list[Any], last: int = last, pause: float = pause) -> None:
            if said == ["begin", last]:
                time.sleep(pause)  # the point of the kill
                fault(own_postgres, pid)

        outcome = workers.run(place, *commands, database=world.database, at=strike)
        assert outcome.failed is None or outcome.failed["code"] == StoreAway.code, outcome.failed
        assert outcome.status in {0, -signal.SIGKILL}
        hit += outcome.failed is not None or outcome.killed
        world.database = recovered(own_postgres)
        world.told(commands, outcome)
        world.check()
        for command in commands[len(outcome.done) :]:
            world.finish(command)
    world.check(whole=True)
    world.check_clean()
