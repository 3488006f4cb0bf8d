"""Rollouts with a real inference server: its answers are the evidence, and no request fails for what it serves."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

import pytest
from sklearn.base import clone
from sklearn.preprocessing import OneHotEncoder

from falaj.core.bundle import FULL
from tests.deploy.fleet import Fleet, Ship
from tests.models.files import town_model, towns
from tests.serving.running import Running, one

PLAN = "rollout: {canary: [50%, 100%], bake: 60 requests, judge: [errors]}\n"


@pytest.fixture
def start() -> Iterator:
    started: list[Running] = []

    def begin(ship: Ship) -> Running:
        started.append(Running(ship.folder.root, key=ship.status().key))
        return started[-1]

    yield begin
    for server in started:
        server.process.kill()
        server.process.wait(30)


def ask(server: Running, ship: Ship, count: int, town: str = "", draw: random.Random | None = None) -> set[str]:
    """So many questions, each with a key of its own; the versions that answered. None fails."""
    draw = draw or random.Random(count)
    connection, versions = server.connection(), set()
    try:
        for _ in range(count):
            place = town or draw.choice(["Sur", "Nizwa", "Ibra"])
            body = {"inputs": one(place, draw.gauss(10, 4)), "parameters": {"key": f"{draw.random()}"}}
            connection.request("POST", f"/v2/models/{ship.name}/infer", json.dumps(body))
            told = connection.getresponse()
            told.read()
            assert told.status == 200
            versions.add(told.headers["falaj-model-version"])
    finally:
        connection.close()
    return versions


def test_a_canary_goes_out_by_what_it_answered(fleet: Fleet, start):
    ship = fleet.deploy(PLAN)
    server = start(ship)
    assert ask(server, ship, 20) == {"1"}
    ship.promote(2)
    assert server.serves(2)
    assert ask(server, ship, 170) == {"1", "2"}
    turn = ship.tick()
    assert (turn.action, turn.share) == ("advance", FULL), turn
    assert server.serves(3)
    assert ask(server, ship, 70) == {"2"}
    assert (ship.tick().action, ship.holds) == ("finish", 2)
    assert server.serves(4)
    fleet.owner.call("ref.rollback", thing=f"kite@{ship.name}")
    assert server.serves(5)
    assert ask(server, ship, 10) == {"1"}
    shown = ship.status()
    assert (shown.revision, shown.written) == (5, 5)
    assert shown.routes[0].requests == 10


def test_a_canary_that_data_breaks_is_taken_back_by_itself(fleet: Fleet, start):
    """It passes its gate, and fails at a town that it never saw; the stable version answers in its place."""
    rows, late = towns(seed=4)
    picky = clone(town_model(4)).set_params(columntransformer__town=OneHotEncoder(handle_unknown="error"))
    candidate = fleet.world.register(picky.fit(rows, late))
    ship = fleet.deploy(PLAN)
    server = start(ship)
    ship.promote(candidate)
    assert server.serves(2)
    ask(server, ship, 20)
    assert ship.tick().action == "wait"
    ask(server, ship, 120, town="Muscat")
    turn = ship.tick()
    assert (turn.action, ship.holds, ship.shares()) == ("fail", 1, {1: FULL})
    assert "errors" in turn.text
    assert server.serves(3)
    assert ask(server, ship, 20, town="Muscat") == {"1"}
    assert len(ship.entries("rollout.failed")) == 1
