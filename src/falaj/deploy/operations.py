"""Operations on deployments: how they are, and the rollout's next step, by evidence or by a person.

A rollout begins where a promotion that its gate let pass would move a ref that is served from (`following`). `tick` is
its controller: it reads what was logged since the step began, asks the pure rules, and changes at most one share, in
one transaction with its entry. Whoever kills it loses nothing: the next turn reads the same rows and the same log.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from falaj.access.rows import names_of
from falaj.assets.rules import words
from falaj.core import predictions
from falaj.core.bundle import FULL
from falaj.core.encoding import moment
from falaj.core.entries import Entry, What
from falaj.core.errors import Conflict, Damaged, NotFound, Refused
from falaj.core.names import Thing, printable
from falaj.core.records import Proposal, Ref
from falaj.deploy import rules
from falaj.deploy.bundles import BUNDLES, Bundles
from falaj.deploy.errors import LogBusy, NoRollout, NotGated
from falaj.deploy.following import Deployments, InForce, asset_of, in_force
from falaj.deploy.kinds import DEPLOYMENT
from falaj.deploy.records import Deployment
from falaj.deploy.tally import Tally
from falaj.deploy.views import DeploymentView, RolloutView, RouteView, Turn
from falaj.door import Context, command, query
from falaj.store.metadata import Transaction
from falaj.store.rollouts import ROLLOUT, Rollout, latest, routing, underway
from falaj.store.rows import ASSET, PROPOSAL
from falaj.store.unit import Unit

MODEL: Final = "model"
ON: Final = "asset:{project}/{deployment}"
MAX_EXPIRED: Final = 1_000


@query("deploy.status", on=ON, kind="deployment", cli="deploy status")
def status(ctx: Context, deployment: str) -> DeploymentView:
    """A deployment: which versions answer, by which shares and how well; its rollout; what its server knows."""
    found = found_in_force(ctx, ctx.tx, deployment)
    tx, bundles = ctx.tx, _bundles(ctx)
    known, row = bundles.known(tx, found.asset.id), routing(tx, found.asset.id)
    view = DeploymentView(
        deployment=found.asset.name,
        config=found.version,
        model=str(found.deployment.follows),
        folder=known.folder,
        key=bundles.key(tx, ctx.project.id),
        written=known.revision,
        served=known.served,
        issued_at=known.issued_at,
        lease_until=known.lease_until,
        lease_over=bool(known.lease_until) and known.lease_until < moment(datetime.now(UTC)),
        problem=known.problem,
    )
    if row is None:
        shown = str(found.deployment.follows).removeprefix(f"{MODEL}/")
        return replace(view, problem=unrouted(ctx, tx, found), next_step=f"falaj promote {shown} VERSION")
    with bundles.tally(tx, row) as tally:
        return replace(
            view,
            **_shadow_told(ctx, tx, found, [(route.role, route.version) for route in row.routes]),
            revision=row.revision,
            held=row.held,
            routes=tuple(_route_view(route.role, route.version, route.share, tally) for route in row.routes),
            rollout=_rollout_view(ctx, tx, underway(tx, found.asset.id), tally),
            last=_rollout_view(ctx, tx, _last_ended(tx, found.asset.id), None),
        )


@command("deploy.tick", on=ON, kind="deployment", entry=What.ROLLOUT_ADVANCED, role="maintainer", cli="deploy watch")
def tick(ctx: Context, deployment: str) -> Turn:
    """Do what the evidence says: give the canary its next share, let the ref move at the end, or take it back.

    Nothing changes, and nothing is written, where it says to wait.
    """
    found = found_in_force(ctx, ctx.unit.tx, deployment)
    _expire(ctx, found)
    rollout = _locked(ctx.unit, found)
    if rollout is None:
        return Turn(deployment=found.asset.name, action="none", text="no rollout is underway")
    if (wrong := _fallen(ctx, rollout)) is not None:
        return _taken_back(ctx, found, rollout, "abort", wrong, ())
    try:
        decision = _decided(ctx, rollout)
    except LogBusy:
        decision = rules.Decision(action="wait", step=rollout.step, text="the prediction log is being read")
    match decision.action:
        case "fail":
            return _taken_back(ctx, found, rollout, "fail", decision.text, decision.findings)
        case "finish":
            return _finished(ctx, found, rollout, decision)
        case "advance":
            return _advanced(ctx, found, rollout, decision)
    return _turn(found, rollout, decision.action, decision)


@command(
    "deploy.advance", on=ON, kind="deployment", entry=What.ROLLOUT_ADVANCED, role="maintainer", cli="deploy advance"
)
def advance(ctx: Context, deployment: str, reason: str = "") -> Turn:
    """Go to the next share now, baked or not. Refused where a judge says that the canary fails."""
    found = found_in_force(ctx, ctx.unit.tx, deployment)
    rollout = _needed(ctx.unit, found, "running", "paused")
    if (wrong := _fallen(ctx, rollout)) is not None:
        raise Refused(f"{found.asset.name}: {wrong}", next_step=f"falaj deploy abort {found.asset.name}")
    decision = _decided(ctx, rollout)
    if decision.action == "fail":
        raise Refused(
            f"{found.asset.name}: the canary fails: {decision.text}",
            next_step=f"falaj deploy abort {found.asset.name}",
            facts={"rollout": rollout.id, "findings": msgspec.to_builtins(decision.findings)},
        )
    last = rollout.step + 1 == len(_plan(ctx, ctx.unit.tx, rollout).rollout.canary)
    by_hand = replace(decision, text=f"by hand, {decision.text}", step=rollout.step + (not last))
    return (_finished if last else _advanced)(ctx, found, rollout, by_hand, reason)


@command("deploy.pause", on=ON, kind="deployment", entry=What.ROLLOUT_PAUSED, role="maintainer", cli="deploy pause")
def pause(ctx: Context, deployment: str, reason: str = "") -> Turn:
    """Keep the canary's share as it is. A canary that fails is taken back all the same."""
    return _set_state(ctx, deployment, "running", "paused", What.ROLLOUT_PAUSED, reason)


@command("deploy.resume", on=ON, kind="deployment", entry=What.ROLLOUT_RESUMED, role="maintainer", cli="deploy resume")
def resume(ctx: Context, deployment: str, reason: str = "") -> Turn:
    """Let a paused rollout go on."""
    return _set_state(ctx, deployment, "paused", "running", What.ROLLOUT_RESUMED, reason)


@command("deploy.abort", on=ON, kind="deployment", entry=What.ROLLOUT_ABORTED, role="maintainer", cli="deploy abort")
def abort(ctx: Context, deployment: str, reason: str = "") -> Turn:
    """Give everything back to the stable version. The ref stays where it is, and the verdict is spent."""
    found = found_in_force(ctx, ctx.unit.tx, deployment)
    rollout = _needed(ctx.unit, found, "running", "paused")
    why = f"by hand{': ' + reason[:500] if reason else ''}"
    return _taken_back(ctx, found, rollout, "abort", why, (), reason)


# looking


def _bundles(ctx: Context) -> Bundles:
    port: Bundles = ctx.ground.port(BUNDLES)
    return port


def _deployments(ctx: Context) -> Deployments:
    follow = ctx.ground.catalog.follow
    assert isinstance(follow, Deployments)  # noqa: S101  the platform filled it
    return follow


def found_in_force(ctx: Context, tx: Transaction, text: str) -> InForce:
    """The deployment in force that is meant by `delay` or `delay/production`. Raises: NotFound."""
    thing = ctx.thing(text)
    asset = ctx.ground.catalog.asset(tx, ctx.project.id, thing)
    found = in_force(tx, ctx.ground.catalog, asset)
    follows = text.partition("/")[2] if not text.startswith(f"{DEPLOYMENT.name}/") else ""
    if found is None or (follows and found.deployment.follows.ref != follows):
        raise NotFound(
            f"deployment {printable(text)}: no such thing, or not for you", next_step="falaj deployment list"
        )
    return found


def _locked(unit: Unit, found: InForce) -> Rollout | None:
    """The rollout underway, and everything it rests on, until the unit ends. Moves of its ref take the same order."""
    seen = underway(unit.tx, found.asset.id)
    if seen is None:
        return None
    unit.lock(ASSET, seen.asset)
    return underway(unit.tx, found.asset.id, lock=True)


def _needed(unit: Unit, found: InForce, *states: str) -> Rollout:
    rollout = _locked(unit, found)
    if rollout is None or rollout.state not in states:
        told = f"it is {rollout.state}" if rollout else "no rollout is underway"
        raise NoRollout(f"{found.asset.name}: {told}", next_step=f"falaj deploy status {found.asset.name}")
    return rollout


def _plan(ctx: Context, tx: Transaction, rollout: Rollout) -> Deployment:
    """The deployment as the rollout goes by it, which is as it was when it began."""
    asset, catalog = asset_of(tx, rollout.deployment), ctx.ground.catalog
    plan: Deployment = catalog.payload(asset, catalog.version(tx, asset, rollout.config))
    return plan


def _decided(ctx: Context, rollout: Rollout) -> rules.Decision:
    tx = ctx.tx
    row = routing(tx, rollout.deployment)
    assert row is not None  # noqa: S101  a rollout has routed
    return _decision(_plan(ctx, tx, rollout), rollout, _bundles(ctx).evidence(tx, row))


def _decision(plan: Deployment, rollout: Rollout, evidence: rules.Evidence) -> rules.Decision:
    position = rules.Position(step=rollout.step, state="paused" if rollout.state == "paused" else "running")
    return rules.next_step(position, plan.rollout, plan.rollback, evidence)


def _fallen(ctx: Context, rollout: Rollout) -> str | None:
    """Why the ref could not move to the candidate any more: its gate or holder changed, it was retired, is unsound."""
    try:
        _let_pass(ctx, rollout)
    except (Refused, Conflict, Damaged, NotFound) as error:
        return error.message
    return None


def _let_pass(ctx: Context, rollout: Rollout) -> dict[str, Any]:
    catalog, unit = ctx.ground.catalog, ctx.unit
    asset = asset_of(unit.tx, rollout.asset)
    candidate = catalog.version(unit.tx, asset, rollout.candidate)
    found = [catalog.verdict(unit.tx, one) for one in rollout.verdicts]
    offered: dict[str, Any] = {
        "verdicts": [verdict for verdict in found if verdict is not None],
        "proposal": PROPOSAL.get(unit.tx, rollout.proposal, lock=True) if rollout.proposal else None,
    }
    move = catalog.let_pass(unit, asset, rollout.ref, candidate, **offered)
    if not move.verdicts:
        raise NotGated(
            f"no gate guards {asset.name}@{rollout.ref} any more", next_step="bring the gate back into force"
        )
    return offered


def _last_ended(tx: Transaction, deployment: str) -> Rollout | None:
    return next((one for one in latest(tx, deployment, limit=2) if one.ended_at), None)


def unrouted(ctx: Context, tx: Transaction, found: InForce) -> str:
    """Why nothing is served, where nothing ever was."""
    follows = found.deployment.follows
    model = ctx.ground.catalog.find_asset(tx, ctx.project.id, follows.kind or "", follows.name)
    holder: Ref | None = ctx.ground.catalog.ref(tx, model, follows.ref or "") if model else None
    if holder is None:
        return f"nothing is served: {follows.name}@{follows.ref} holds no version yet"
    return f"nothing is served: no gate let v{holder.version} onto {follows.name}@{follows.ref}"


def _shadow_told(ctx: Context, tx: Transaction, found: InForce, routed: list[tuple[str, int]]) -> dict[str, str]:
    """The ref of a deployment's shadow, and why nothing of it is asked."""
    plan = found.deployment.shadow
    if plan is None:
        return {}
    told = {"shadow": str(plan.follows).removeprefix(f"{MODEL}/")}
    if any(role == "shadow" for role, _ in routed):
        return told
    catalog, follows = ctx.ground.catalog, plan.follows
    model = catalog.find_asset(tx, ctx.project.id, follows.kind or "", follows.name)
    holder = catalog.ref(tx, model, follows.ref or "") if model else None
    if holder is None:
        return {**told, "unshadowed": "it holds no version yet"}
    if any(version == holder.version for _, version in routed):
        return {**told, "unshadowed": f"v{holder.version} answers already"}
    return {**told, "unshadowed": f"no gate let v{holder.version} onto it"}


# changing


def _advanced(ctx: Context, found: InForce, rollout: Rollout, decision: rules.Decision, reason: str = "") -> Turn:
    share = _plan(ctx, ctx.unit.tx, rollout).rollout.canary[decision.step]
    stepped = _deployments(ctx).step(ctx.unit, rollout, decision.step, share)
    entry = _say(ctx, What.ROLLOUT_ADVANCED, stepped, decision.text, decision.findings, reason)
    return _turn(found, stepped, "advance", decision, entry)


def _finished(ctx: Context, found: InForce, rollout: Rollout, decision: rules.Decision, reason: str = "") -> Turn:
    """The end: the ref moves by the verdict and the approvals that were given, and everything goes to the candidate."""
    unit, catalog = ctx.unit, ctx.ground.catalog
    offered = _let_pass(ctx, rollout)
    done = _deployments(ctx).end(unit, rollout, "done", decision.text)
    _say(ctx, What.ROLLOUT_ENDED, done, decision.text, decision.findings, reason)
    asset = asset_of(unit.tx, rollout.asset)
    candidate = catalog.version(unit.tx, asset, rollout.candidate)
    move = catalog.move(unit, asset, rollout.ref, candidate, rolled_out=True, **offered)
    proposal: Proposal | None = offered["proposal"]
    told = words(Thing(asset.name, asset.kind, rollout.ref), proposal.reason if proposal else "")
    on = [asset.id, rollout.id, *([proposal.id] if proposal else [])]
    entry = unit.say(What.REF_MOVED, on, detail={**told, "version": move.version})
    return replace(_turn(found, replace(done, share=FULL), "finish", decision, entry), previous=move.previous)


def _taken_back(
    ctx: Context,
    found: InForce,
    rollout: Rollout,
    action: str,
    why: str,
    findings: tuple[rules.Finding, ...],
    reason: str = "",
) -> Turn:
    state = "failed" if action == "fail" else "aborted"
    back = replace(_deployments(ctx).take_back(ctx.unit, rollout, "failed" if state == "failed" else "aborted", why))
    what = What.ROLLOUT_FAILED if state == "failed" else What.ROLLOUT_ABORTED
    entry = _say(ctx, what, back, why, findings, reason)
    decision = rules.Decision(action="fail", step=back.step, text=why, findings=findings)
    return _turn(found, replace(back, share=0), action, decision, entry)


def _set_state(ctx: Context, deployment: str, now: str, then: str, what: What, reason: str) -> Turn:
    found = found_in_force(ctx, ctx.unit.tx, deployment)
    rollout = _needed(ctx.unit, found, now)
    changed = ctx.unit.put(ROLLOUT, replace(rollout, state="paused" if then == "paused" else "running"))
    entry = _say(ctx, what, changed, "", (), reason)
    decision = rules.Decision(action="wait", step=changed.step, text=reason)
    return _turn(found, changed, "pause" if then == "paused" else "resume", decision, entry)


def _say(
    ctx: Context, what: What, rollout: Rollout, why: str, findings: tuple[rules.Finding, ...], reason: str
) -> Entry:
    asset = asset_of(ctx.unit.tx, rollout.asset)
    told = {
        **words(Thing(asset.name, asset.kind, rollout.ref), reason),
        "candidate": rollout.candidate,
        "stable": rollout.stable,
        "share": rollout.share,
        "why": why,
        "findings": msgspec.to_builtins(findings),
    }
    return ctx.unit.say(what, [rollout.id, rollout.deployment, rollout.asset], detail=told)


def _expire(ctx: Context, found: InForce) -> None:
    """Remove segments of the log that are older than the deployment keeps them; the entry goes before."""
    days = found.deployment.log.keep_days
    if days is None:
        return
    oldest = (datetime.now(UTC) - timedelta(days=days)).timestamp()
    log = _bundles(ctx).log(ctx.unit.tx, found.asset.id)
    if not os.access(log, os.W_OK | os.X_OK):
        return  # nothing could be removed: an entry each second would say that it was
    old = [path for path in predictions.sealed(log)[:MAX_EXPIRED] if _is_older(path, oldest)]
    if old:
        ctx.unit.say(What.PREDICTIONS_EXPIRED, [found.asset.id], detail={"segments": len(old), "kept_days": days})
        ctx.unit.after.extend(partial(_remove, path) for path in old)


def _remove(path: Path) -> None:
    """Remove a file if that can be: the unit has committed, and the next turn finds what is left."""
    with suppress(OSError):
        path.unlink(missing_ok=True)


def _is_older(path: Path, than: float) -> bool:
    try:
        return path.stat().st_mtime < than
    except FileNotFoundError:
        return False


# telling


def _turn(found: InForce, rollout: Rollout, action: str, decision: rules.Decision, entry: Entry | None = None) -> Turn:
    return Turn(
        deployment=found.asset.name,
        action=action,
        text=decision.text,
        rollout=rollout.id,
        candidate=rollout.candidate,
        stable=rollout.stable,
        share=rollout.share,
        baked=decision.baked,
        findings=decision.findings,
        entry_id=entry.id if entry else "",
    )


def _route_view(role: str, version: int, share: int, tally: Tally) -> RouteView:
    """What a version did under its route; of a shadow also how its answers differ from those that were given."""
    counts = tally.everything.get(version)
    if counts is None:
        return RouteView(role=role, version=version, share=share)
    seen = counts.sample()
    compared = tally.compared if role == "shadow" else None
    return RouteView(
        compared=compared.rows if compared else 0,
        difference=compared.mean if compared else None,
        role=role,
        version=version,
        share=share,
        requests=seen.requests,
        predictions=seen.predictions,
        errors=seen.error_share,
        p50_ms=seen.quantile_ms(0.5),
        p99_ms=seen.quantile_ms(0.99),
    )


def _rollout_view(ctx: Context, tx: Transaction, rollout: Rollout | None, tally: Tally | None) -> RolloutView | None:
    if rollout is None:
        return None
    plan = _plan(ctx, tx, rollout)
    view = RolloutView(
        id=rollout.id,
        candidate=rollout.candidate,
        stable=rollout.stable,
        state=rollout.state,
        step=rollout.step,
        steps=plan.rollout.canary,
        bake=plan.rollout.bake.count,
        unit=plan.rollout.bake.unit,
        began_at=rollout.began_at,
        step_at=rollout.step_at,
        ended_at=rollout.ended_at,
        by=names_of(tx, [rollout.by]).get(rollout.by, rollout.by),
        why=rollout.why,
        verdicts=rollout.verdicts,
    )
    if tally is None:
        return view
    decision = _decision(plan, rollout, tally.evidence())
    return replace(view, baked=decision.baked, next=decision.action, text=decision.text, findings=decision.findings)
