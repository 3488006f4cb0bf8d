"""Shadows: a version that a gate of its own let in is asked beside the one that answers, and answers nobody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from falaj.cli.render.deploy import told_deployment
from falaj.core.bundle import FULL
from falaj.monitor.sources import first_of
from tests.deploy.fleet import GATE, PLAN, Fleet, Ship
from tests.deploy.lines import answer, spread
from tests.deploy.test_rollouts import same


def shadowed(fleet: Fleet) -> tuple[Ship, Ship]:
    """A deployment that serves v1, and the ref that its shadow follows, which holds nothing yet."""
    ship = fleet.deploy("shadow: {model: kite@beside, share: 50%}\n" + PLAN)
    return ship, Ship(fleet, "beside")


def routes(ship: Ship) -> dict[str, tuple[int, int]]:
    same(ship)
    return {route.role: (route.version, route.share) for route in ship.written.routes}


def test_a_shadow_follows_a_ref_of_its_own_and_answers_nobody(fleet: Fleet) -> None:
    ship, beside = shadowed(fleet)
    assert (ship.status().shadow, ship.status().unshadowed) == ("kite@beside", "it holds no version yet")
    assert beside.promote(3).sort == "move"  # no gate guards the ref: nothing of it is asked, and nothing else suffers
    assert (routes(ship), ship.status().unshadowed) == ({"stable": (1, FULL)}, "no gate let v3 onto it")
    fleet.world.apply({"path": "gates/beside.yaml", "text": GATE.format(ref="beside", more="")})
    assert beside.promote(2).sort == "promote"
    assert routes(ship) == {"stable": (1, FULL), "shadow": (2, 5000)}
    assert ship.written.models["2"].verdict
    assert ship.holds == 1
    compares(ship)
    goes_out_beside_it(ship, beside)


def compares(ship: Ship) -> None:
    """What it answered stands beside what was answered to the same rows; copies alone say nothing."""
    now = ship.written.revision
    lines = []
    for at in range(40):
        given = answer("stable", 0.5, version=1, revision=now)
        lines += given
        if at % 2:
            lines += answer("shadow", 0.6, version=2, revision=now, id=given[0].id, ms=7)
        elif at % 4 == 0:
            lines += answer("shadow", None, version=2, revision=now, id=given[0].id)
    ship.folder.log.mkdir(exist_ok=True)
    (ship.folder.log / "0.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(lines))
    view = ship.status()
    stable, shadow = view.routes
    assert (stable.requests, stable.predictions, shadow.requests, shadow.predictions) == (40, 40, 30, 20)
    assert (shadow.compared, round(shadow.difference or 0, 9), round(shadow.errors or 0, 4)) == (20, 0.1, 0.3333)
    told = "\n".join(told_deployment(msgspec.to_builtins(view), {}))
    assert "shadow   p99 7.2 ms   errors 33.33 %   differs by 0.100 on average (n = 20)" in told


def goes_out_beside_it(ship: Ship, beside: Ship) -> None:
    """A rollout's evidence has nothing of the shadow in it; what is about to answer is no shadow any more."""
    assert ship.promote(3).sort == "rollout"
    assert routes(ship) == {"stable": (1, 9000), "canary": (3, 1000), "shadow": (2, 5000)}
    ship.traffic(3000)
    lines = [line for at in range(2000) for line in answer("shadow", None, version=2, revision=ship.row.revision)]
    (ship.folder.log / "1.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(lines))
    assert ship.tick().action == "advance"
    ship.call("deploy.abort")
    assert ship.promote(2).sort == "rollout"
    assert routes(ship) == {"stable": (1, 9000), "canary": (2, 1000)}
    assert ship.status().unshadowed == "v2 answers already"
    ship.traffic(3000, canary=spread)
    before = ship.row.revision
    assert beside.promote(3).sort == "promote"
    assert routes(ship) == {"stable": (1, 9000), "canary": (2, 1000), "shadow": (3, 5000)}
    assert (ship.row.revision, ship.status().rollout.baked) == (before + 1, 0), "it bakes anew"
    ship.call("deploy.abort")
    gone = ship.fleet.owner.call("ref.rollback", thing="kite@beside")
    assert (gone.version, routes(ship)) == (2, {"stable": (1, FULL), "shadow": (2, 5000)})
    told = ship.fleet.owner.call("ledger.verify", project="")
    assert told.ok, told.problems


def test_what_a_version_made_of_copies_is_none_of_its_first_answers(tmp_path: Path) -> None:
    for name, role in (("a", "shadow"), ("b", "stable")):
        pq.write_table(pa.table({"version": [7] * 3, "role": [role] * 3}), tmp_path / name)
    held: Any = None  # both files are there already: nothing is checked out
    found = first_of(held, held, ["a", "b"], tmp_path, model_version=7, rows=3)
    assert [path.name for path in found] == ["b"]


def test_what_no_gate_let_in_is_no_shadow_after_a_rollback_either(fleet: Fleet) -> None:
    ship = fleet.deploy("shadow: {model: kite@later}\n" + PLAN)
    later = Ship(fleet, "later")
    assert later.promote(3).sort == "move"
    fleet.world.apply({"path": "gates/later.yaml", "text": GATE.format(ref="later", more="")})
    assert later.promote(2).sort == "promote"
    assert routes(ship) == {"stable": (1, FULL), "shadow": (2, FULL)}
    fleet.owner.call("ref.rollback", thing="kite@later")
    assert routes(ship) == {"stable": (1, FULL)}
    assert ship.status().problem == ""
