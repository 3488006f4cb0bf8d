"""How deployments follow refs, in the transaction of each move: what the catalog asks (`store.rollouts.Following`).

A ref that a deployment in force follows moves at once only where nothing is served yet. Every later move begins a
rollout, and a rollback routes to the earlier version there and then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from falaj.core.bundle import FULL, Route
from falaj.core.errors import Refused
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.records import Asset, Ref, RefMove
from falaj.deploy.errors import NotGated, RefDeployed, RolloutUnderway
from falaj.deploy.kinds import DEPLOYMENT
from falaj.deploy.records import Deployment
from falaj.models.errors import ModelNotPromoted
from falaj.models.kinds import MODEL
from falaj.models.verification import admitted
from falaj.store.catalog import Catalog
from falaj.store.errors import RollbackRefused
from falaj.store.keys.sql import StoreKeys
from falaj.store.metadata import Transaction
from falaj.store.rollouts import ROLLOUT, ROUTING, Move, Rollout, RolloutState, Routing, routing, underway
from falaj.store.rows import ASSET, PROPOSAL
from falaj.store.unit import Unit

MOST = 1_000
HELD = 2
HISTORY = 50


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as its `main` says."""

    asset: Asset
    version: int
    deployment: Deployment


def in_force(tx: Transaction, catalog: Catalog, asset: Asset) -> InForce | None:
    """A deployment in force, None where its `main` holds nothing."""
    held = catalog.ref(tx, asset, "main")
    if held is None:
        return None
    deployment: Deployment = catalog.payload(asset, catalog.version(tx, asset, held.version))
    return InForce(asset=asset, version=held.version, deployment=deployment)


def all_in_force(tx: Transaction, catalog: Catalog, project: str) -> Iterator[InForce]:
    """Every deployment of a project that is in force."""
    for asset in catalog.assets(tx, project, DEPLOYMENT.name, limit=MOST):
        if (found := in_force(tx, catalog, asset)) is not None:
            yield found


def asset_of(tx: Transaction, asset_id: str) -> Asset:
    """An asset that a row names."""
    found = ASSET.get(tx, asset_id)
    assert found is not None  # noqa: S101  rows of assets are never deleted
    return found


class Deployments:
    """The deployments of a store, as its catalog knows them.

    Args:
        published: told, once the transaction has committed, of a deployment whose routing changed.
    """

    def __init__(self, catalog: Catalog, keys: StoreKeys, published: Callable[[str], None]) -> None:
        self._catalog, self._keys, self._published = catalog, keys, published

    # what the catalog asks

    def in_steps(self, tx: Transaction, move: Move) -> bool:
        """Whether the ref is served from by now."""
        if move.holder is None or move.asset.kind != MODEL.name:
            return False
        follower = self._follower(tx, move.asset, move.ref)
        return follower is not None and routing(tx, follower.asset.id) is not None

    def begin(self, unit: Unit, move: Move) -> Rollout:
        """Begin the rollout of a move. Raises: RolloutUnderway, NotGated."""
        follower = self._follower(unit.tx, move.asset, move.ref)
        where = f"{move.asset.name}@{move.ref}"
        assert follower is not None and move.holder is not None  # noqa: S101, PT018  `in_steps` said so
        if (other := underway(unit.tx, follower.asset.id)) is not None:
            raise RolloutUnderway(
                f"{where}: v{other.candidate} is on its way already",
                next_step=f"falaj deploy status {follower.asset.name}, then wait for it or abort it",
                facts={"rollout": other.id, "candidate": other.candidate},
            )
        if not move.verdicts:
            raise NotGated(f"{where} is deployed, and no gate guards it", next_step=f"guards: [{where}] in a gate")
        share = follower.deployment.rollout.canary[0]
        rollout = Rollout(
            id=new_id(),
            project=move.asset.project,
            deployment=follower.asset.id,
            config=follower.version,
            asset=move.asset.id,
            ref=move.ref,
            candidate=move.candidate.number,
            stable=move.holder.version,
            state="running",
            step=0,
            share=share,
            revision=self._next_revision(unit.tx, follower.asset.id),
            verdicts=tuple(v.id for v in move.verdicts),
            proposal=move.proposal.id if move.proposal else None,
            began_at=unit.now,
            step_at=unit.now,
            by=unit.actor.principal,
            person=unit.actor.person,
        )
        unit.add(ROLLOUT, rollout)
        self._route(unit, follower, move.asset, rollout.stable, rollout)
        return rollout

    def moved(self, unit: Unit, asset: Asset, move: RefMove) -> None:
        """Route by where a ref is now; a rollout to it that has not ended is over. Or: a deployment came into force.

        Raises: RollbackRefused, NotGated where the ref is served from, and no gate let in what it would hold.
        """
        if asset.kind == DEPLOYMENT.name and move.ref == "main":
            self._came_into_force(unit, asset)
        if asset.kind != MODEL.name:
            return
        self._shadows_moved(unit, asset, move.ref)
        if (follower := self._follower(unit.tx, asset, move.ref)) is None:
            return
        is_served = routing(unit.tx, follower.asset.id) is not None
        holder = self._catalog.ref(unit.tx, asset, move.ref)
        is_admitted = holder is not None and self._is_admitted(unit.tx, asset, holder, is_served=is_served)
        if is_served and not is_admitted:
            raise _past_the_gate(asset, move, follower.asset.name)
        if (rollout := underway(unit.tx, follower.asset.id, lock=True)) is not None:
            self.end(unit, rollout, "aborted", f"{asset.name}@{move.ref} went to v{move.version}")
        if is_admitted:
            self._route(unit, follower, asset, move.version, None)

    # what the operations do

    def step(self, unit: Unit, rollout: Rollout, step: int, share: int) -> Rollout:
        """Give the canary another share. The caller says the entry."""
        follower, asset = self._parts(unit.tx, rollout)
        revision = self._next_revision(unit.tx, follower.asset.id)
        stepped = replace(rollout, step=step, share=share, revision=revision, step_at=unit.now)
        unit.put(ROLLOUT, stepped)
        self._route(unit, follower, asset, stepped.stable, stepped)
        return stepped

    def take_back(self, unit: Unit, rollout: Rollout, state: RolloutState, why: str) -> Rollout:
        """End a rollout: everything goes to the stable version, and the ref stays. The caller says the entry."""
        ended = self.end(unit, rollout, state, why)
        follower, asset = self._parts(unit.tx, rollout)
        self._route(unit, follower, asset, rollout.stable, None)
        return ended

    def end(self, unit: Unit, rollout: Rollout, state: RolloutState, why: str) -> Rollout:
        """Write down how a rollout ended. Unless it came to its end, what let it in lets nothing in any more."""
        ended = unit.put(ROLLOUT, replace(rollout, state=state, ended_at=unit.now, why=why[:1000]))
        if state != "done":
            found = [self._catalog.verdict(unit.tx, one, lock=True) for one in rollout.verdicts]
            proposal = PROPOSAL.get(unit.tx, rollout.proposal, lock=True) if rollout.proposal else None
            unused = [v for v in found if v is not None and v.used_by is None]
            self._catalog.spend(unit, unused, proposal, "withdrawn")
        return ended

    # inside

    def _follower(self, tx: Transaction, asset: Asset, ref: str) -> InForce | None:
        wanted = Thing(asset.name, asset.kind, ref)
        found = all_in_force(tx, self._catalog, asset.project)
        return next((one for one in found if one.deployment.follows == wanted), None)

    def _shadows_moved(self, unit: Unit, asset: Asset, ref: str) -> None:
        """Have the deployments whose shadow follows this ref ask what it holds now."""
        wanted = Thing(asset.name, asset.kind, ref)
        found = list(all_in_force(unit.tx, self._catalog, asset.project))
        for one in found:
            shadow, last = one.deployment.shadow, routing(unit.tx, one.asset.id)
            if shadow is None or shadow.follows != wanted or last is None:
                continue
            if last.config == one.version and self._shadow(unit.tx, one, asset, _answering(last)) == _shadow_of(last):
                continue  # such as a version that answers already
            self._route_anew(unit, one, asset, _stable_of(last))

    def _route_anew(self, unit: Unit, follower: InForce, asset: Asset, stable: int) -> None:
        """The same routes by the deployment as it is now. What goes out bakes anew: evidence is counted by revision."""
        rollout = underway(unit.tx, follower.asset.id, lock=True)
        if rollout is not None:
            self.step(unit, rollout, rollout.step, rollout.share)
        else:
            self._route(unit, follower, asset, stable, None)

    def _shadow(self, tx: Transaction, follower: InForce, asset: Asset, answering: Sequence[int]) -> Route | None:
        """The shadow's route: what its ref holds, where a gate let that in and it does not answer anyway."""
        shadow = follower.deployment.shadow
        holder = self._catalog.ref(tx, asset, shadow.follows.ref or "") if shadow else None
        if shadow is None or holder is None or holder.version in answering:
            return None
        if not self._is_admitted(tx, asset, holder, is_served=False):
            return None
        return Route(role="shadow", model=asset.name, version=holder.version, share=shadow.share)

    def _parts(self, tx: Transaction, rollout: Rollout) -> tuple[InForce, Asset]:
        follower = in_force(tx, self._catalog, asset_of(tx, rollout.deployment))
        assert follower is not None  # noqa: S101  a `main` never goes away
        return follower, asset_of(tx, rollout.asset)

    def _is_admitted(self, tx: Transaction, asset: Asset, holder: Ref, *, is_served: bool) -> bool:
        version = self._catalog.version(tx, asset, holder.version)
        try:
            admitted(tx, self._catalog, asset, version, holder, guarded=not is_served)
        except ModelNotPromoted:
            return False
        return True

    def _came_into_force(self, unit: Unit, asset: Asset) -> None:
        """Route what the ref holds by the deployment as it is now. Raises: RefDeployed."""
        new = in_force(unit.tx, self._catalog, asset)
        assert new is not None  # noqa: S101  it has just moved
        follows = new.deployment.follows
        model = self._catalog.find_asset(unit.tx, asset.project, MODEL.name, follows.name)
        if model is not None:
            unit.lock(ASSET, model.id)
        last = routing(unit.tx, asset.id)
        self._check_alone(unit.tx, new, model, last)
        if not self._keys.reading(unit.tx).verify_keys("serving", asset.project):
            self._keys.begin(unit).create_signing_key("serving", asset.project)
        holder = self._catalog.ref(unit.tx, model, follows.ref or "") if model else None
        is_served = last is not None
        if model is None or holder is None or not self._is_admitted(unit.tx, model, holder, is_served=is_served):
            return
        self._route_anew(unit, new, model, holder.version)

    def _check_alone(self, tx: Transaction, new: InForce, model: Asset | None, last: Routing | None) -> None:
        follows = new.deployment.follows
        for other in all_in_force(tx, self._catalog, new.asset.project):
            if other.asset.id != new.asset.id and other.deployment.follows == follows:
                raise RefDeployed(
                    f"{follows}: deployment {other.asset.name} follows it already",
                    next_step="follow another ref, such as one for a second region",
                )
        if last is not None and (model is None or (last.asset, last.ref) != (model.id, follows.ref)):
            raise RefDeployed(
                f"deployment {new.asset.name} serves another ref than {follows} already",
                next_step="give the new one a name of its own",
            )

    def _next_revision(self, tx: Transaction, deployment: str) -> int:
        last = routing(tx, deployment)
        return last.revision + 1 if last else 1

    def _route(self, unit: Unit, follower: InForce, asset: Asset, stable: int, rollout: Rollout | None) -> None:
        """The next routing table: everything to the stable version, but the share of a rollout's candidate."""
        ref, last = follower.deployment.follows.ref or "", routing(unit.tx, follower.asset.id)
        share = rollout.share if rollout else 0
        routes = [Route(role="stable", model=asset.name, version=stable, share=FULL - share)]
        if rollout is not None:
            routes.append(Route(role="canary", model=asset.name, version=rollout.candidate, share=share))
        if (shadow := self._shadow(unit.tx, follower, asset, [route.version for route in routes])) is not None:
            routes.append(shadow)
        row = Routing(
            deployment=follower.asset.id,
            revision=last.revision + 1 if last else 1,
            project=asset.project,
            config=follower.version,
            asset=asset.id,
            ref=ref,
            routes=tuple(routes),
            held=self._held(unit.tx, asset, ref, [route.version for route in routes]),
            previous=last.revision if last else None,
            rollout=rollout.id if rollout else None,
            at=unit.now,
            entry=unit.entry_id,
        )
        unit.add(ROUTING, row)
        deployment = follower.asset.id
        unit.after.append(lambda: self._published(deployment))

    def _held(self, tx: Transaction, asset: Asset, ref: str, routed: Sequence[int]) -> tuple[int, ...]:
        """The versions that held the ref last, without those that are routed to."""
        moves = self._catalog.history(tx, asset, ref, HISTORY)
        let_in = {m.version for m in moves if m.sort == "promote"}
        before = dict.fromkeys(m.version for m in moves if m.version in let_in and m.version not in routed)
        return tuple(before)[:HELD]


def _answering(row: Routing) -> list[int]:
    return [route.version for route in row.routes if route.role != "shadow"]


def _shadow_of(row: Routing) -> Route | None:
    return next((route for route in row.routes if route.role == "shadow"), None)


def _stable_of(row: Routing) -> int:
    return next(route.version for route in row.routes if route.role == "stable")


def _past_the_gate(asset: Asset, move: RefMove, deployment: str) -> Refused:
    """A ref that is served from goes nowhere that no gate let it: servers would answer by what it does not hold."""
    where = f"{asset.name}@{move.ref}"
    why = f"{where}: no gate let v{move.version} in, and deployment {deployment} serves what this ref holds"
    next_step = f"falaj promote {where} {move.version}, which its gate judges; or go back to another version"
    return (RollbackRefused if move.sort == "rollback" else NotGated)(why, next_step=next_step)
