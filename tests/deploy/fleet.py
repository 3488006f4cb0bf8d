"""Deployments of a test's own in one project, and traffic as their servers would log it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from falaj.core import bundle
from falaj.core.bundle import Bundle, slot
from falaj.core.bundle_folder import BundleFolder
from falaj.core.entries import Entry
from falaj.deploy.views import DeploymentView, Turn
from falaj.gates.views import Promotion
from falaj.store.rollouts import Rollout, Routing, latest, routing
from tests.deploy.lines import answer, failed_over, spread
from tests.gates.kites import World, contract_file, csv
from tests.models.files import town_model
from tests.platform.places import Person, Served

GATE = "gate: {ref}\nguards: [kite@{ref}]\nrules:\n  - check: signature\n{more}"
APPROVAL = "  - approval: {from: maintainer, not: proposer}\n"
PLAN = "rollout: {canary: [10%, 50%, 100%], bake: 100 requests}\n"
LIMITS = 'rollback: {when: ["errors > 1%"]}\n'

_encoder = msgspec.json.Encoder()
_refs = itertools.count(1)
_segments = itertools.count(1)


@dataclass
class Fleet:
    """A project with three versions of a model, and the folder of its store."""

    world: World
    store: Path
    versions: list[int] = field(default_factory=list)

    @property
    def owner(self) -> Person:
        return self.world.owner

    def deploy(self, plan: str = PLAN + LIMITS, gate: str = "", *, held: bool = True) -> Ship:
        """A deployment on a ref of its own, guarded by a gate of its own; v1 goes out at once where it is `held`."""
        ref = f"r{next(_refs)}"
        ship = Ship(self, ref)
        self.world.apply(
            {"path": f"gates/{ref}.yaml", "text": GATE.format(ref=ref, more=gate)},
            {"path": f"deploy/{ref}.yaml", "text": f"deployment: {ref}\nmodel: kite@{ref}\n{plan}"},
        )
        if held:
            assert ship.promote(1).sort == "promote"
        return ship


@dataclass
class Ship:
    """One deployment, called as its ref is."""

    fleet: Fleet
    name: str

    def call(self, operation: str, by: Person | None = None, **args: Any) -> Any:
        return (by or self.fleet.owner).call(operation, deployment=self.name, **args)

    def promote(self, version: int, by: Person | None = None) -> Promotion:
        who = by or self.fleet.owner
        made: Promotion = who.call("ref.promote", thing=f"kite@{self.name}", version=version)
        return made

    def tick(self) -> Turn:
        turn: Turn = self.call("deploy.tick")
        return turn

    def status(self) -> DeploymentView:
        view: DeploymentView = self.call("deploy.status")
        return view

    @property
    def holds(self) -> int | None:
        return self.fleet.world.holds(f"model/kite@{self.name}")

    @property
    def folder(self) -> BundleFolder:
        return BundleFolder(self.fleet.store / "serving" / self.name)

    @property
    def written(self) -> Bundle:
        """The bundle in force, as a server verifies it."""
        key = bundle.parse_key(self.status().key)
        return bundle.verify(self.folder.document(self.folder.revision()), [key])

    @property
    def row(self) -> Routing:
        """The routing in force, as the database has it."""
        platform = self.fleet.world.platform
        with platform.ground.database.read() as tx:
            project = platform.ground.catalog.project(tx, "flights")
            asset = platform.ground.catalog.find_asset(tx, project.id, "deployment", self.name)
            assert asset is not None
            found = routing(tx, asset.id)
        assert found is not None
        return found

    def rollouts(self) -> list[Rollout]:
        """Newest first."""
        with self.fleet.world.platform.ground.database.read() as tx:
            return latest(tx, self.row.deployment, limit=500)

    def shares(self) -> dict[int, int]:
        """Version → share, as the bundle in force says."""
        return {route.version: route.share for route in self.written.routes}

    def entries(self, what: str) -> list[Entry]:
        """The entries of an event that name this deployment or its rollouts."""
        mine = {self.row.deployment, *(r.id for r in self.rollouts())}
        return [e for e in self.fleet.world.entries() if e.what == what and mine & set(e.on)]

    def traffic(
        self, count: int, canary: Callable[[int], float | None] = spread, stable: Callable[[int], float] = spread
    ) -> None:
        """So many answers under the bundle in force, each by the version that its key falls to."""
        now = self.written
        routes = {route.role: route for route in now.routes}
        lines = []
        for at in range(count):
            key = f"{self.name}-{at}"
            small = routes.get("canary")
            if small is None or slot(now.deployment, small.version, key) >= small.share:
                stable_version = routes["stable"].version
                lines += answer("stable", stable(at), version=stable_version, revision=now.revision, key=key)
            elif (output := canary(at)) is None:
                lines += failed_over(stable(at), revision=now.revision)
            else:
                lines += answer("canary", output, version=small.version, revision=now.revision, key=key)
        self.folder.log.mkdir(exist_ok=True)
        segment = self.folder.log / f"{next(_segments):026d}.jsonl"
        segment.write_bytes(_encoder.encode_lines(lines))


def launch(served: Served, folder: Path) -> Fleet:
    """A fleet without deployments yet."""
    world = World(served.platform, folder, served.owner)
    world.apply(contract_file())
    world.add(csv(folder / "2013-01.csv", 1))
    fleet = Fleet(world, served.platform.layout.store)
    fleet.versions = [world.register(town_model(seed)) for seed in (3, 4, 5)]
    return fleet
