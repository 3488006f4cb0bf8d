"""Rollouts through the door: how a promoted version goes out, and by what it is taken back."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec
import pytest

from falaj.cli.commands.deploy import RolloutEnded, watch
from falaj.core.bundle import FULL
from falaj.core.errors import Conflict, FalajError, NotFound, Refused, Unavailable
from falaj.deploy.bundles import BUNDLES
from falaj.deploy.errors import LogBusy, NoRollout, RolloutUnderway
from falaj.models.errors import ModelNotPromoted
from falaj.store.errors import RollbackRefused
from falaj.store.rows import PROPOSAL, VERDICT
from tests.deploy.fleet import APPROVAL, LIMITS, PLAN, Fleet, Ship
from tests.deploy.lines import spread
from tests.models.files import town_model
from tests.platform.places import Person, Served


def verify(fleet: Fleet) -> None:
    told = fleet.owner.call("ledger.verify", project="")
    assert told.ok, told.problems


def same(ship: Ship) -> None:
    """The bundle in the folder says what the row says."""
    row, found = ship.row, ship.written
    assert (found.revision, found.routes, found.previous) == (row.revision, row.routes, row.previous)
    assert set(map(int, found.models)) == {route.version for route in row.routes} | set(row.held)


# the whole way


def test_a_version_goes_out_another_is_taken_back_and_a_rollback_leads_back(fleet_of):
    ship = fleet_of.deploy()
    assert (ship.holds, ship.shares(), ship.written.revision) == (1, {1: FULL}, 1)
    goes_out(fleet_of, ship)
    is_taken_back(fleet_of, ship)
    leads_back(fleet_of, ship)
    at_once(fleet_of, ship)
    verify(fleet_of)


def goes_out(fleet: Fleet, ship: Ship) -> None:
    begun = ship.promote(2)
    assert (begun.sort, begun.share, begun.previous) == ("rollout", 1000, 1)
    assert (ship.holds, ship.shares()) == (1, {1: 9000, 2: 1000})
    assert (ship.tick().action, ship.shares()) == ("wait", {1: 9000, 2: 1000})
    for wanted in (5000, FULL):
        ship.traffic(3000)
        turn = ship.tick()
        assert (turn.action, turn.share) == ("advance", wanted)
        assert ship.shares() == {1: FULL - wanted, 2: wanted}
        assert ship.holds == 1
        same(ship)
    ship.traffic(200)
    turn = ship.tick()
    assert (turn.action, turn.previous, ship.holds, ship.shares()) == ("finish", 1, 2, {2: FULL})
    assert ship.tick().action == "none"
    same(ship)
    assert ship.row.held == (1,)
    assert [len(ship.entries(f"rollout.{word}")) for word in ("started", "advanced", "ended")] == [1, 2, 1]
    with fleet.world.platform.ground.database.read() as tx:
        assert VERDICT.get(tx, begun.verdicts[0]).used_by == turn.entry_id


def is_taken_back(fleet: Fleet, ship: Ship) -> None:
    """The ref never moves, the numbers are told, and what let the candidate in lets it in no more."""
    begun = ship.promote(3)
    ship.traffic(1500, canary=lambda at: None if at % 3 == 0 else spread(at))
    turn = ship.tick()
    assert (turn.action, ship.holds, ship.shares()) == ("fail", 2, {2: FULL})
    assert turn.text.startswith("errors ")
    entry = ship.entries("rollout.failed")[0]
    told = fleet.world.detail(entry.id)
    assert (told["candidate"], told["stable"]) == (3, 2)
    assert any(finding["state"] == "failed" for finding in told["findings"])
    log = fleet.owner.call("asset.log", thing=f"kite@{ship.name}")
    assert [move.version for move in log.moves] == [2, 1]
    with fleet.world.platform.ground.database.read() as tx:
        assert VERDICT.get(tx, begun.verdicts[0]).used_by == entry.id
    same(ship)


def leads_back(fleet: Fleet, ship: Ship) -> None:
    """At once, and what is underway ends."""
    assert ship.promote(3).sort == "rollout"
    moved = fleet.owner.call("ref.rollback", thing=f"kite@{ship.name}")
    assert (moved.version, ship.holds, ship.shares()) == (1, 1, {1: FULL})
    assert (moved.deployment, moved.revision) == (ship.name, ship.row.revision)
    assert [r.state for r in ship.rollouts()] == ["aborted", "failed", "done"]
    assert "went to v1" in ship.rollouts()[0].why
    assert 2 in ship.row.held
    same(ship)


def at_once(fleet: Fleet, ship: Ship) -> None:
    """Turns, persons and a rollback in several threads: a share changes once, and nobody waits for another for ever."""
    assert ship.promote(3).sort == "rollout"
    ship.traffic(3000)
    before = ship.row.revision
    with ThreadPoolExecutor(4) as pool:
        turns = list(pool.map(lambda _: ship.tick(), range(4)))
    assert sorted(turn.action for turn in turns) == ["advance", "wait", "wait", "wait"]
    assert ship.row.revision == before + 1
    commands = [
        lambda: ship.call("deploy.advance"),
        lambda: ship.call("deploy.pause"),
        lambda: fleet.owner.call("ref.rollback", thing=f"kite@{ship.name}", version=2),
        ship.tick,
    ]
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(command) for command in commands]:
            assert isinstance(done.exception(), Conflict | None)
    assert (ship.holds, ship.shares()) == (2, {2: FULL})
    same(ship)


# what holds, and who


@pytest.mark.parametrize(
    ("traffic", "action"),
    [
        ({"canary": lambda at: min(1.0, spread(at) / 2 + 0.5), "stable": lambda at: spread(at) / 2}, "fail"),
        ({"canary": lambda at: spread(at) / 2, "stable": lambda at: spread(at) / 2}, "advance"),
    ],
)
def test_predictions_that_are_others_are_seen(fleet, traffic, action):
    ship = fleet.deploy("rollout: {canary: [50%, 100%], bake: 100 requests}\n")
    ship.promote(2)
    ship.traffic(1200, **traffic)
    assert ship.tick().action == action


def test_a_second_promotion_waits_for_the_first(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    with pytest.raises(RolloutUnderway) as caught:
        ship.promote(3)
    assert caught.value.facts["candidate"] == 2
    assert ship.shares() == {1: 9000, 2: 1000}
    assert [r.state for r in ship.rollouts()] == ["running"]


def test_persons_pause_resume_advance_and_abort(fleet):
    ship = fleet.deploy()
    for command in ("pause", "resume", "advance", "abort"):
        with pytest.raises(NoRollout):
            ship.call(f"deploy.{command}")
    ship.promote(2)
    assert ship.call("deploy.pause", reason="lunch").action == "pause"
    ship.traffic(3000)
    assert (ship.tick().action, ship.status().rollout.state) == ("wait", "paused")
    with pytest.raises(NoRollout):
        ship.call("deploy.pause")
    assert ship.call("deploy.resume").action == "resume"
    assert ship.call("deploy.advance", reason="seen").share == 5000
    assert ship.call("deploy.advance").share == FULL
    assert ship.call("deploy.advance").action == "finish"
    assert (ship.holds, ship.shares()) == (2, {2: FULL})
    ship.promote(3)
    back = ship.call("deploy.abort", reason="complaints")
    assert (back.action, ship.holds, ship.shares()) == ("abort", 2, {2: FULL})
    assert ship.rollouts()[0].why == "by hand: complaints"
    verify(fleet)


def test_nobody_advances_a_canary_that_fails(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    ship.traffic(1500, canary=lambda _: None)
    with pytest.raises(Refused) as caught:
        ship.call("deploy.advance")
    assert "the canary fails" in caught.value.message
    assert ship.shares() == {1: 9000, 2: 1000}


def test_paused_it_is_still_taken_back(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    ship.call("deploy.pause")
    ship.traffic(1500, canary=lambda _: None)
    assert (ship.tick().action, ship.shares()) == ("fail", {1: FULL})


def test_an_approval_begins_the_rollout_and_its_proposal_is_used_at_the_end(fleet):
    ship = fleet.deploy("rollout: {canary: [50%, 100%], bake: 10 requests, judge: [errors]}\n", APPROVAL, held=False)
    sara = _person(fleet, "sara-" + ship.name)
    badr = _person(fleet, "badr-" + ship.name)
    first = ship.promote(1, by=sara)
    assert badr.call("ref.approve", proposal=first.proposal).state == "moved"
    second = ship.promote(2, by=sara)
    assert second.sort == "proposed"
    begun = badr.call("ref.approve", proposal=second.proposal)
    assert (begun.state, begun.share, ship.holds) == ("rollout", 5000, 1)
    assert badr.call("proposal.show", proposal=second.proposal) == begun
    with pytest.raises(FalajError):
        badr.call("ref.approve", proposal=second.proposal)
    ship.traffic(300)
    assert ship.tick().action == "advance"
    ship.traffic(30)
    assert (ship.tick().action, ship.holds) == ("finish", 2)
    with fleet.world.platform.ground.database.read() as tx:
        assert PROPOSAL.get(tx, second.proposal).state == "moved"
    assert fleet.owner.call("asset.log", thing=f"kite@{ship.name}").moves[0].by == "olga"


def _person(fleet: Fleet, name: str) -> Person:
    return Served(fleet.world.platform, fleet.owner).person(name, ("maintainer", "project:flights"))


class Between:
    """A session beside a server, whose loop does something between two looks of this one."""

    def __init__(self, ship: Ship, *loop: Callable[[], object]) -> None:
        self.ship, self.loop = ship, list(loop)

    def call(self, operation: str, args: dict[str, Any], progress: object = None) -> Any:
        told = msgspec.to_builtins(self.ship.fleet.owner.call(operation, **args))
        if operation == "deploy.tick" and self.loop:
            self.loop.pop(0)()
        return told


def watched(ship: Ship, *loop: Callable[[], object]) -> Any:
    return watch(Between(ship, *loop), {"quiet": True}, {"deployment": ship.name, "every": 0.01}, lambda *_: None)


def test_who_watches_learns_what_a_servers_loop_did_meanwhile(fleet):
    ship = fleet.deploy("rollout: {canary: [50%, 100%], bake: 60 requests}\n")
    ship.promote(2)

    def go_on() -> None:
        for count in (600, 100):
            ship.traffic(count)
            ship.tick()

    told = watched(ship, go_on)
    assert (told["action"], told["candidate"], told["stable"], ship.holds) == ("finish", 2, 1, 2)
    ship.promote(3)

    def fail() -> None:
        ship.traffic(1500, canary=lambda at: None if at % 3 == 0 else spread(at))
        assert ship.tick().action == "fail"

    with pytest.raises(RolloutEnded, match="v3 was taken back: errors"):
        watched(ship, fail)
    assert watched(ship)["action"] == "none"


# what it rests on changes


def test_a_gate_that_changes_ends_the_rollout(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    text = f"gate: {ship.name}\nguards: [kite@{ship.name}]\nrules:\n  - check: signature\n  - check: format\n"
    applied = fleet.world.apply({"path": f"gates/{ship.name}.yaml", "text": text})
    _person(fleet, f"rex-{ship.name}").call("ref.approve", proposal=applied.files[0].proposal)
    turn = ship.tick()
    assert (turn.action, ship.holds, ship.shares()) == ("abort", 1, {1: FULL})
    assert "the gate is at v2 now" in turn.text


def test_a_candidate_that_is_retired_is_taken_back(fleet):
    fourth = fleet.world.register(town_model(6))
    ship = fleet.deploy()
    ship.promote(fourth)
    fleet.owner.call("version.retire", thing=f"model/kite:{fourth}")
    assert (ship.tick().action, ship.shares()) == ("abort", {1: FULL})
    assert any(digest for digest in ship.written.revoked)


def test_a_changed_deployment_is_served_as_it_is_and_a_rollout_bakes_anew(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    ship.traffic(3000)
    text = f"deployment: {ship.name}\nmodel: kite@{ship.name}\n{PLAN}{LIMITS}log: {{features: [wind]}}\n"
    applied = fleet.world.apply({"path": f"deploy/{ship.name}.yaml", "text": text})
    assert applied.files[0].outcome == "proposed"
    assert _person(fleet, f"amal-{ship.name}").call("ref.approve", proposal=applied.files[0].proposal).state == "moved"
    assert (ship.written.log.drop, ship.shares()) == (("town",), {1: 9000, 2: 1000})
    assert ship.tick().action == "wait"
    same(ship)


# what is refused


def test_two_deployments_do_not_follow_one_ref(fleet):
    ship = fleet.deploy()
    with pytest.raises(Refused) as caught:
        fleet.world.apply({"path": "deploy/twin.yaml", "text": f"deployment: twin\nmodel: kite@{ship.name}\n{PLAN}"})
    assert caught.value.code == "ref_deployed"


def test_a_deployment_that_served_one_ref_serves_no_other(fleet):
    ship = fleet.deploy()
    text = f"deployment: {ship.name}\nmodel: kite@elsewhere\n{PLAN}"
    applied = fleet.world.apply({"path": f"deploy/{ship.name}.yaml", "text": text})
    with pytest.raises(Refused) as caught:
        _person(fleet, f"noor-{ship.name}").call("ref.approve", proposal=applied.files[0].proposal)
    assert caught.value.code == "ref_deployed"
    assert ship.shares() == {1: FULL}


def test_what_no_gate_let_in_is_not_served(fleet):
    fleet.world.apply({"path": "deploy/bare.yaml", "text": f"deployment: bare\nmodel: kite@bare\n{PLAN}"})
    ship = Ship(fleet, "bare")
    assert "holds no version yet" in ship.status().problem
    assert ship.promote(1).sort == "move"
    assert "no gate let v1 onto" in ship.status().problem
    assert not ship.folder.root.exists()


def test_a_deployment_is_called_by_its_name_and_by_its_ref(fleet):
    ship = fleet.deploy()
    for text in (ship.name, f"{ship.name}/{ship.name}", f"deployment/{ship.name}"):
        assert fleet.owner.call("deploy.status", deployment=text).deployment == ship.name
    for text in ("nothing", f"{ship.name}/other", "model/kite"):
        with pytest.raises((NotFound, FalajError)):
            fleet.owner.call("deploy.status", deployment=text)


def test_a_served_ref_goes_nowhere_that_no_gate_let_it(fleet):
    """v1 held the ref before a gate guarded it; v2 was let in, and v3 is on its way."""
    plan = "rollout: {canary: [10%, 50%, 100%], bake: 100 requests}\n"
    ref = "earlier"
    ship = Ship(fleet, ref)
    assert ship.promote(1).sort == "move"
    gate = {"path": f"gates/{ref}.yaml", "text": f"gate: {ref}\nguards: [kite@{ref}]\nrules:\n  - check: signature\n"}
    fleet.world.apply(gate, {"path": f"deploy/{ref}.yaml", "text": f"deployment: {ref}\nmodel: kite@{ref}\n{plan}"})
    assert (ship.promote(2).sort, ship.promote(3).sort) == ("promote", "rollout")
    with pytest.raises(RollbackRefused, match=f"kite@{ref}: no gate let v1 in") as caught:
        fleet.owner.call("ref.rollback", thing=f"kite@{ref}")
    assert f"falaj promote kite@{ref} 1" in caught.value.next_step
    assert (ship.holds, ship.shares(), ship.status().rollout.state) == (2, {2: 9000, 3: 1000}, "running")
    database = fleet.world.platform.ground.database
    with database.write() as tx:  # a state that no transaction of ours leaves behind
        tx.run("UPDATE rollout SET state = 'aborted' WHERE id = :id", {"id": ship.rollouts()[0].id})
    bundles = fleet.world.platform.ground.port(BUNDLES)
    with pytest.raises(ModelNotPromoted, match="v3 is not used"):
        bundles.reconcile(ship.row.deployment, deep=True)
    with database.write() as tx:
        tx.run("UPDATE rollout SET state = 'running' WHERE id = :id", {"id": ship.rollouts()[0].id})
    ship.call("deploy.abort")


def test_who_takes_the_gate_away_ends_what_goes_out_and_not_what_was_let_in(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    text = f"gate: {ship.name}\nguards: [kite@nowhere]\nrules:\n  - check: signature\n"
    applied = fleet.world.apply({"path": f"gates/{ship.name}.yaml", "text": text})
    _person(fleet, f"omar-{ship.name}").call("ref.approve", proposal=applied.files[0].proposal)
    turn = ship.tick()
    assert (turn.action, ship.holds, ship.shares()) == ("abort", 1, {1: FULL})
    assert "no gate guards" in turn.text
    same(ship)


def test_only_maintainers_change_a_rollout(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    viewer = Served(fleet.world.platform, fleet.owner).person(f"vera-{ship.name}", ("viewer", "project:flights"))
    assert viewer.call("deploy.status", deployment=ship.name).rollout.candidate == 2
    for command in ("tick", "advance", "pause", "resume", "abort"):
        with pytest.raises(FalajError) as caught:
            viewer.call(f"deploy.{command}", deployment=ship.name)
        assert caught.value.code == "forbidden"


# the bundle


def test_whoever_comes_next_writes_what_was_not_written(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    before = ship.written
    (ship.folder.root / "current").unlink()
    (ship.folder.root / "models" / "2" / "model.skops").write_bytes(b"broken")
    bundles = fleet.world.platform.ground.port(BUNDLES)
    assert bundles.reconcile_all(deep=True) == {}
    assert ship.written.routes == before.routes
    file = ship.written.models["2"].files[0]
    assert ship.folder.file("2", file)
    assert not bundles.reconcile(ship.row.deployment), "what is right is left alone"


def test_an_idle_look_opens_no_key_and_waits_for_nobody(fleet):
    """The signing key is away and another process holds the folder: where nothing is due, neither is asked for."""
    ship = fleet.deploy()
    deployment, bundles = ship.row.deployment, fleet.world.platform.ground.port(BUNDLES)
    database = fleet.world.platform.ground.database
    hide = "UPDATE wrapped_key SET wrapped = :wrapped WHERE purpose = 'serving'"
    with database.write() as tx:
        (kept,) = tx.row("SELECT wrapped FROM wrapped_key WHERE purpose = 'serving'")
        tx.run(hide, {"wrapped": b"away"})
    holder = os.open(ship.folder.root, os.O_RDONLY)
    fcntl.flock(holder, fcntl.LOCK_EX)
    assert not bundles.reconcile(deployment)
    (ship.folder.root / "current").unlink()
    assert not bundles.reconcile(deployment, wait_s=0), "left to whoever writes"
    with pytest.raises(Unavailable, match="another process writes"):
        bundles.reconcile(deployment, wait_s=0.01)
    os.close(holder)
    with pytest.raises(FalajError):
        bundles.reconcile(deployment)
    with database.write() as tx:
        tx.run(hide, {"wrapped": kept})
    assert bundles.reconcile(deployment)
    same(ship)


def test_what_is_retired_is_revoked_without_a_change_of_routes(fleet):
    ship = fleet.deploy()
    fifth = fleet.world.register(town_model(7))
    fleet.owner.call("version.retire", thing=f"model/kite:{fifth}")
    before = len(ship.written.revoked)
    assert fleet.world.platform.ground.port(BUNDLES).reconcile(ship.row.deployment)
    assert len(ship.written.revoked) == before + 1


def test_a_turn_does_not_wait_for_whoever_reads_the_log(fleet):
    """Inside a transaction nobody waits: the log as another thread had read it is good enough, or it is for later."""
    ship, other = fleet.deploy(), fleet.deploy()
    ship.promote(2)
    bundles = fleet.world.platform.ground.port(BUNDLES)
    ship.traffic(3000)
    with bundles._reading_of(ship.row.deployment), ThreadPoolExecutor(1) as pool:
        assert pool.submit(ship.tick).result(20).action == "wait"
        assert pool.submit(other.status).result(20).routes
    assert ship.tick().action == "advance"
    with bundles._reading_of(ship.row.deployment), ThreadPoolExecutor(1) as pool:
        assert pool.submit(ship.tick).result(20).text == "the prediction log is being read"
        with pytest.raises(LogBusy):
            pool.submit(ship.call, "deploy.advance").result(20)


def test_a_state_without_its_entry_is_found(fleet):
    ship = fleet.deploy()
    ship.promote(2)
    database = fleet.world.platform.ground.database
    told = {"deployment": ship.row.deployment, "revision": ship.row.revision}
    where = "WHERE deployment = :deployment AND revision = :revision"
    before = ship.row.at
    with database.write() as tx:
        tx.run(f"UPDATE routing SET at = 'then' {where}", told)
    try:
        found = fleet.owner.call("ledger.verify", project="")
        assert [p.where for p in found.problems if "routing" in p.where]
    finally:
        with database.write() as tx:
            tx.run(f"UPDATE routing SET at = :at {where}", {**told, "at": before})
    verify(fleet)


def test_old_segments_go_when_the_deployment_says_so(fleet):
    ship = fleet.deploy(PLAN + "log: {keep: 30d}\n")
    ship.traffic(10)
    ship.traffic(10)
    old, young = sorted(ship.folder.log.glob("*.jsonl"))
    os.utime(old, (1_000_000_000, 1_000_000_000))
    ship.tick()
    assert sorted(ship.folder.log.glob("*.jsonl")) == [young]
    assert len(ship.entries("predictions.expired")) == 1
    ship.tick()
    assert len(ship.entries("predictions.expired")) == 1
    stuck = ship.folder.log / "0.jsonl"
    stuck.mkdir()  # what cannot be removed fails nothing that was committed
    os.utime(stuck, (1_000_000_000, 1_000_000_000))
    assert ship.tick().action == "none"


def test_conflicts_name_what_is_there(fleet):
    ship = fleet.deploy()
    with pytest.raises(Conflict) as caught:
        ship.call("deploy.abort")
    assert caught.value.code == "no_rollout"
    assert caught.value.next_step == f"falaj deploy status {ship.name}"
