"""The loop beside others: in a server's process, with deployments whose rollouts it drives, with starts that wait."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from falaj.core.bundle import FULL
from falaj.core.entries import What
from falaj.platform.loops import EVERY_S, Loops
from falaj.server.logs import Log
from falaj.server.run import prepare
from falaj.server.settings import Settings
from falaj.store.triggers import START
from tests.deploy.fleet import Fleet, launch
from tests.platform.places import Served, make_place, serve
from tests.triggers import test_trigger_starts as starting
from tests.triggers.test_trigger_loop import Said, until
from tests.triggers.test_trigger_starts import TRIGGER, served

__all__ = ["served"]


def test_a_server_looks_by_itself_and_says_how_it_goes(served: Served, tmp_path: Path) -> None:
    starting.apply(served.owner, TRIGGER.format("latest"))
    lines, up = io.StringIO(), threading.Event()
    loops = Loops(served.platform, (log := Log(lines)).say, every_s=0.05)
    runner = prepare(served.platform, Settings(port=0), log, lambda _: up.set(), loops)
    thread = threading.Thread(target=runner.run)
    thread.start()
    assert up.wait(20)
    starting.add(served, tmp_path, 1)
    until(lambda: starting.starts(served) and starting.starts(served)[0].state == "done")
    text = runner.config.app.metrics.text().decode()
    runner.stop()
    thread.join(30)
    assert not thread.is_alive()
    assert "falaj_loop_failures 0.0" in text
    assert float(text.partition("\nfalaj_loop_age_seconds ")[2].splitlines()[0]) < 20
    told = [msgspec.json.decode(line) for line in lines.getvalue().splitlines()]
    assert {"cause_noted", "start_ended"} <= {one["event"] for one in told}
    assert loops.rounds > 0
    rounds = loops.rounds
    assert threading.Event().wait(0.2) is False
    assert loops.rounds == rounds


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = serve(make_place(tmp_path / "flights"))
    made.owner.call("principal.add", project="", name="robot", service=True)
    other = made.person("sami", ("owner", "store"))
    other.call("access.grant", project="", subject="robot", role="maintainer", scope="project:flights")
    yield launch(made, tmp_path)
    made.platform.close()


def test_rollouts_go_on_bundles_heal_and_a_start_waits_for_the_rollout_underway(fleet: Fleet, tmp_path: Path) -> None:
    ship, platform = fleet.deploy(), fleet.world.platform
    loops = Loops(platform, said := Said())
    ship.promote(2)
    (ship.folder.root / "current").unlink()
    loops.round()
    assert ship.shares() == {1: 9000, 2: 1000}
    assert loops.pause_s < EVERY_S  # a step that has just begun is looked at again soon
    candidate_of_a_drift(fleet, ship.name, tmp_path)
    loops.until_idle()
    (waiting,) = fleet.owner.call("trigger.list")[0].history
    assert (waiting.state, waiting.error["code"]) == ("due", "rollout_underway")
    for wanted in (5000, FULL):
        ship.traffic(3000)
        loops.round()
        assert ship.shares() == {1: FULL - wanted, 2: wanted}
    ship.traffic(200)
    loops.round()
    assert (ship.holds, [facts["action"] for facts in said.of("rollout_went_on")]) == (
        2,
        ["advance", "advance", "finish"],
    )
    until(lambda: not loops.until_idle() and ship.rollouts()[0].candidate == 3)
    (begun,) = fleet.owner.call("trigger.list")[0].history
    assert (begun.state, begun.became, begun.stands, begun.registered) == ("done", "rollout", "running", "model/kite:3")
    assert begun.conditions == (f"drift: {ship.name}",)
    assert ship.rollouts()[0].id == begun.rollout
    told = fleet.owner.call("ledger.verify", project="")
    assert told.ok, told.problems


def candidate_of_a_drift(fleet: Fleet, deployment: str, folder: Path) -> None:
    """Drift was found, a start has begun, and its run has registered v3 before its process died."""
    platform, served = fleet.world.platform, Served(fleet.world.platform, fleet.owner)
    served.owner.call("config.apply", files=[starting.contract()])
    starting.add(served, folder, 1)
    starting.keep(served.owner, folder)
    trigger = f"trigger: t\nwhen: {{any: [drift: {deployment}/{deployment}]}}\nstart: p\nas: robot\n"
    starting.apply(served.owner, f"{trigger}propose: kite@{deployment}\n")
    own: Any = platform.own_caller
    with platform.ground.database.read() as tx:
        project = platform.ground.catalog.project(tx, "flights")
        found = platform.ground.catalog.find_asset(tx, project.id, "deployment", deployment)
    assert found is not None
    with platform.ground.units.begin(own.actor, "monitor.report", project.id) as unit:
        unit.say(What.DRIFT_FOUND, [found.id, "a report"])
    platform.door.call("trigger.tick", {"trigger": "t"}, caller=own, project="flights")
    with platform.ground.units.begin(own.actor, "trigger.start", project.id) as unit:
        (due,) = START.scan(unit.tx)
        went_on = {"pipeline": "p:1", "registered": "model/kite:3", "owner": "elsewhere:1:1", "attempt": 1}
        unit.put(START, msgspec.structs.replace(due, state="running", **went_on))
        unit.say(What.TRIGGER_CONTINUED, [due.trigger], cause=due.entry)
