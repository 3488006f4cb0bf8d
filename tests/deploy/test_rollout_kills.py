"""Whoever carries a rollout on may be killed at any moment: nothing is done twice or lost, and the files follow."""

from __future__ import annotations

import subprocess
import sys

import pytest

from falaj.platform import Platform
from tests.deploy.fleet import Fleet, Ship, launch
from tests.gates.kites import World
from tests.platform.places import Person, make_place, serve

KILLS = 25
PLAN = "rollout: {canary: [40%, 60%, 100%], bake: 100 requests}\n"


@pytest.mark.faults
def test_a_rollout_survives_the_death_of_those_who_carry_it_on(tmp_path, seed):
    place = make_place(tmp_path / "flights")
    served = serve(place)
    ship = launch(served, tmp_path).deploy(PLAN)
    served.platform.close()
    told = subprocess.run(
        [sys.executable, "-m", "tests.deploy.turns", str(place), ship.name, str(seed), str(KILLS)],
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    print(f"{told.stdout.strip()} kills")
    with Platform.open(place, server=True) as platform:
        owner = Person(platform, served.owner.name, served.owner.token)
        again = Ship(Fleet(World(platform, tmp_path, owner), platform.layout.store), ship.name)
        assert again.holds == 1
        done = len(again.rollouts())
        print(f"{done} rollouts")
        assert [(r.state, r.candidate) for r in again.rollouts()] == [("done", 2)] * done
        moves = owner.call("asset.log", thing=f"kite@{ship.name}", limit=500).moves
        assert [move.version for move in moves] == [1, *[2, 1] * done]
        assert again.row.revision == 1 + 5 * done  # the canary, two more shares, the end, the rollback
        assert (again.written.revision, again.written.routes) == (again.row.revision, again.row.routes)
        assert [len(again.entries(f"rollout.{word}")) for word in ("started", "advanced", "ended")] == [
            done,
            2 * done,
            done,
        ]
        verified = owner.call("ledger.verify", project="")
        assert verified.ok, verified.problems
