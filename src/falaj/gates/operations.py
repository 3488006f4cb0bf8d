"""Operations on gates: judge a version for a ref, propose it, promote it.

    promote    judge; move the ref where nothing is missing, else propose
    propose    judge; propose, and never move
    judge      judge; leave the verdict and nothing else

Judging is done outside of any transaction. Its verdicts are bound to the candidate, the ref, the gates in force and
the holder as they were then; `store.guards` compares each of these again in the transaction that moves the ref, so of
two promotions at once one wins. A refusal of a gate is an entry of its own, and its verdicts stay.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from falaj.assets.rules import with_ref, words
from falaj.assets.views import proposal_view, rollout_begun
from falaj.core import records
from falaj.core.digests import sha256
from falaj.core.encoding import canonical
from falaj.core.entries import Entry, What
from falaj.core.errors import Damaged, Invalid
from falaj.core.ids import new_id
from falaj.core.names import Thing
from falaj.core.records import Asset, Ref, Version
from falaj.door import Context, job, query
from falaj.gates import records as r
from falaj.gates import rules, stored, views
from falaj.gates.evaluator import Data, Trial, evidence_for, program
from falaj.gates.views import GateRefused, Judgement, Promotion, Proposed, VerdictView
from falaj.store import runs
from falaj.store.catalog import Held, check_live
from falaj.store.guards import missing_approvals
from falaj.store.metadata import Transaction
from falaj.store.rollouts import Rollout
from falaj.store.rows import ASSET, VERDICT
from falaj.store.unit import Unit

MAX_NUMBER = 2**53
Number = Annotated[int, msgspec.Meta(ge=1, le=MAX_NUMBER)]
Expected = Annotated[int, msgspec.Meta(ge=0, le=MAX_NUMBER)]


class InForce(msgspec.Struct, frozen=True, kw_only=True):
    """A gate that guards the ref, at the version in force."""

    asset: Asset
    version: Version
    gate: r.Gate


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """A move that somebody asks for, as everything stood when they asked."""

    thing: Thing
    asset: Asset
    candidate: Version
    holder: Ref | None
    held: Version | None
    gates: tuple[InForce, ...]

    @property
    def ref(self) -> str:
        """The name of the ref."""
        return self.thing.ref or ""

    @property
    def previous(self) -> int | None:
        """The version that holds the ref."""
        return self.holder.version if self.holder else None


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """What one gate found. `id` is that of its verdict."""

    id: str
    by: InForce
    verdict: r.Verdict
    data: Held | None


@job("ref.promote", on="ref:{project}/{thing}", entry=What.REF_MOVED, role="maintainer", cli="promote")
def promote(ctx: Context, thing: str, version: Number, reason: str = "", expect: Expected | None = None) -> Promotion:
    """Judge a version by the gates of a ref, and move the ref to it where nothing is missing.

    Where persons must still say yes, a proposal waits for them. A ref that is deployed moves at the end of a rollout,
    which begins then. `expect`: the version that holds the ref (0: none);
    refused where another one does.
    """
    asked = _asked(ctx, thing, version, expect)
    if asked.previous == asked.candidate.number:
        return _unchanged(ctx, asked)
    judged = _judged(ctx, asked)
    _refuse_failed(ctx, asked, judged, reason)
    catalog = ctx.ground.catalog
    with ctx.conclude() as unit:
        catalog.expect(unit.tx, asked.asset, asked.ref, expect)
        rows = _keep(ctx, unit, asked, judged)
        if roles := _roles(ctx, unit, asked, rows):
            proposal, entry = _propose(ctx, unit, asked, rows, reason)
            return _waiting(ctx, asked, judged, proposal, roles, entry)
        move = catalog.promote(unit, asked.asset, asked.ref, asked.candidate, verdicts=rows)
        if isinstance(move, Rollout):
            on = [move.id, move.deployment, asked.asset.id]
            entry = unit.say(What.ROLLOUT_STARTED, on, detail={**_words(asked, reason), "share": move.share})
            return _promotion(ctx, asked, judged, entry.id, **rollout_begun(unit.tx, move))
        entry = unit.say(What.REF_MOVED, [asked.asset.id], detail=_words(asked, reason))
    return _promotion(ctx, asked, judged, entry.id, sort="promote" if move.sort == "promote" else "move")


@job("ref.propose", on="ref:{project}/{thing}", entry=What.REF_PROPOSED, role="contributor", cli="propose")
def propose(ctx: Context, thing: str, version: Number, reason: str = "") -> Proposed:
    """Judge a version by the gates of a ref, and propose that the ref moves to it; another person approves."""
    asked = _asked(ctx, thing, version, None)
    if asked.previous == asked.candidate.number:
        raise Invalid(f"{asked.thing} is held by v{asked.previous} already", next_step="propose another version")
    judged = _judged(ctx, asked)
    _refuse_failed(ctx, asked, judged, reason)
    with ctx.conclude() as unit:
        rows = _keep(ctx, unit, asked, judged)
        proposal, entry = _propose(ctx, unit, asked, rows, reason)
        view = proposal_view(unit.tx, ctx.ground.catalog, proposal)
    return Proposed(
        **{field: getattr(view, field) for field in view.__struct_fields__},
        gates=_gates(judged),
        findings=views.all_findings([j.verdict for j in judged]),
        run=ctx.run.id if ctx.run else "",
        entry_id=entry.id,
    )


@job("gate.judge", on="ref:{project}/{thing}", entry=What.VERDICT_GIVEN, role="contributor", cli="gate judge")
def judge(ctx: Context, thing: str, version: Number) -> Judgement:
    """Judge a version by the gates of a ref. Nothing moves, and the verdicts move nothing later."""
    asked = _asked(ctx, thing, version, None)
    if not asked.gates:
        raise Invalid(f"no gate guards {asked.thing}", next_step=f"guards: [{asked.thing}] in a gate, then falaj apply")
    judged = _judged(ctx, asked)
    with ctx.conclude() as unit:
        rows = _keep(ctx, unit, asked, judged)
        entry = unit.said[-1]
        found = tuple(stored.verdict_view(unit.tx, ctx.ground.catalog, row) for row in rows)
    return Judgement(
        thing=str(asked.thing),
        version=asked.candidate.number,
        holder=asked.previous,
        passed=all(j.verdict.passed for j in judged),
        verdicts=found,
        run=ctx.run.id if ctx.run else "",
        entry_id=entry.id,
    )


@query("gate.show", on="verdict:{project}/{verdict}", cli="gate show")
def show(ctx: Context, verdict: str) -> VerdictView:
    """A verdict: every rule, what was measured, on what, and what it is bound to."""
    return stored.verdict_view(ctx.tx, ctx.ground.catalog, stored.find(ctx.tx, ctx.project.id, verdict))


# what is asked


def _asked(ctx: Context, text: str, version: int, expect: int | None) -> Asked:
    """The move, and everything it depends on, in one snapshot.

    Raises: NotFound; Refused where the version may hold no ref; RefConflict where `expect` does not hold.
    """
    thing = with_ref(ctx.thing(text))
    catalog = ctx.ground.catalog
    with ctx.reading() as tx:
        asset = catalog.asset(tx, ctx.project.id, thing)
        candidate = catalog.version(tx, asset, version)
        check_live(asset, candidate)
        catalog.expect(tx, asset, thing.ref or "", expect)
        holder = catalog.ref(tx, asset, thing.ref or "")
        guards = catalog.guards_of(tx, asset, thing.ref or "")
        return Asked(
            thing=thing,
            asset=asset,
            candidate=candidate,
            holder=holder,
            held=catalog.version(tx, asset, holder.version) if holder else None,
            gates=tuple(_in_force(ctx, tx, guard) for guard in guards),
        )


def _in_force(ctx: Context, tx: Transaction, guard: records.Guard) -> InForce:
    asset = ASSET.get(tx, guard.gate)
    if asset is None:
        raise Damaged(f"guard of {guard.gate}: there is no such gate", next_step="falaj ledger verify")
    version = ctx.ground.catalog.version(tx, asset, guard.gate_version)
    return InForce(asset=asset, version=version, gate=ctx.ground.catalog.payload(asset, version))


# judging


def _judged(ctx: Context, asked: Asked) -> tuple[Judged, ...]:
    """The verdict of every gate in force, measured now. Raises: ResidencyRefused; Unavailable, MissingPart."""
    if asked.gates:
        ctx.check_residency(f"{asked.thing}: measuring")
    return tuple(_judge(ctx, asked, gate) for gate in asked.gates)


def _judge(ctx: Context, asked: Asked, by: InForce) -> Judged:
    trial = Trial(asset=asked.asset, candidate=asked.candidate, holder=asked.held)
    evidence, data = evidence_for(ctx.ground, by.gate, trial, ctx.progress)
    context = r.Context(
        candidate=asked.candidate.digest,
        ref=str(asked.thing),
        gate_version=by.version.number,
        holder=asked.previous,
        embedded=not ctx.ground.four_eyes,
        data_version=data.held.version.number if data else None,
        basis=_basis(asked, by, data),
    )
    held = data.held if data else None
    return Judged(id=new_id(), by=by, verdict=rules.judge(by.gate, evidence, context), data=held)


def _basis(asked: Asked, by: InForce, data: Data | None) -> r.Basis:
    judging = data.judging if data else None
    return r.Basis(
        gate=by.version.digest,
        holder=asked.held.digest if asked.held else "",
        data=data.held.version.digest if data else "",
        contract=judging.version.digest if judging else "",
        read_by=str(Thing(judging.asset.name, judging.asset.kind, None, judging.version.number)) if judging else "",
        program=program(),
    )


def _refuse_failed(ctx: Context, asked: Asked, judged: tuple[Judged, ...], reason: str) -> None:
    """Raises: GateRefused where a gate says no; its verdicts, and the refusal's own entry, are stored by then."""
    if all(j.verdict.passed for j in judged):
        return
    refusal = GateRefused(str(asked.thing), asked.candidate.number, {j.id: j.verdict for j in judged})
    with ctx.conclude(refusal) as unit:
        _keep(ctx, unit, asked, judged)
        told = {**_words(asked, reason), **refusal.as_dict()}
        entry = unit.say(What.REQUEST_REFUSED, [asked.asset.id, *(j.id for j in judged)], detail=told)
    refusal.facts["entry_id"] = entry.id
    raise refusal


# what is kept


def _keep(ctx: Context, unit: Unit, asked: Asked, judged: tuple[Judged, ...]) -> list[records.Verdict]:
    """The verdicts as rows, an entry each, and what they were measured on as the run's inputs."""
    run_id = ctx.run.id if ctx.run else None
    ctx.result = {
        "ref": str(asked.thing),
        "version": asked.candidate.number,
        "passed": all(j.verdict.passed for j in judged),
        "verdicts": [j.id for j in judged],
    }
    rows = []
    for one in judged:
        row = unit.add(VERDICT, _row(unit, asked, one, run_id))
        rows.append(row)
        if run_id:
            used = {"candidate": asked.candidate, "gate": one.by.version}
            used |= {"holder": asked.held} if asked.held else {}
            used |= {"evidence": one.data.version} if one.data else {}
            for role, version in used.items():
                runs.link(unit, run_id, "in", version, role)
        told = {"version": asked.candidate.number, "gate": one.by.asset.name, "passed": one.verdict.passed}
        told["body"] = sha256(row.body)  # by it a stranger can tell that these are the figures that were found
        unit.say(What.VERDICT_GIVEN, [one.id, asked.asset.id, one.by.asset.id], detail={**words(asked.thing), **told})
    return rows


def _row(unit: Unit, asked: Asked, one: Judged, run_id: str | None) -> records.Verdict:
    return records.Verdict(
        id=one.id,
        project=asked.asset.project,
        asset=asked.asset.id,
        version=asked.candidate.number,
        ref=asked.ref,
        candidate=asked.candidate.digest,
        gate=one.by.asset.id,
        gate_version=one.by.version.number,
        holder=asked.previous,
        passed=one.verdict.passed,
        body=canonical(one.verdict),
        at=unit.now,
        by=unit.actor.principal,
        person=unit.actor.person,
        approvals=one.verdict.approvals,
        run=run_id,
    )


def _roles(ctx: Context, unit: Unit, asked: Asked, rows: list[records.Verdict]) -> tuple[str, ...]:
    """The roles that must approve the move."""
    governing = ctx.ground.catalog.asked_approvals(unit.tx, asked.asset, asked.ref, asked.holder)
    return (*governing, *(role for row in rows for role in row.approvals))


def _propose(
    ctx: Context, unit: Unit, asked: Asked, rows: list[records.Verdict], reason: str
) -> tuple[records.Proposal, Entry]:
    """A proposal that stands at this moment. Raises: GuardRefused where gate or holder changed while it was judged."""
    catalog = ctx.ground.catalog
    verdicts = tuple(row.id for row in rows)
    proposal = catalog.propose(unit, asked.asset, asked.ref, asked.candidate.number, asked.previous, verdicts, reason)
    catalog.check_proposal(unit.tx, asked.asset, proposal)
    catalog.fit(unit.tx, asked.asset, asked.candidate)
    entry = unit.say(What.REF_PROPOSED, [proposal.id, asked.asset.id], detail=_words(asked, reason))
    return proposal, entry


def _words(asked: Asked, reason: str) -> dict[str, Any]:
    return {**words(asked.thing, reason), "version": asked.candidate.number}


# what is answered


def _promotion(ctx: Context, asked: Asked, judged: tuple[Judged, ...], entry_id: str, **more: Any) -> Promotion:
    return Promotion(
        ref=str(asked.thing),
        version=asked.candidate.number,
        previous=asked.previous,
        gates=_gates(judged),
        findings=views.all_findings([j.verdict for j in judged]),
        verdicts=tuple(j.id for j in judged),
        run=ctx.run.id if ctx.run else "",
        entry_id=entry_id,
        **more,
    )


def _waiting(
    ctx: Context,
    asked: Asked,
    judged: tuple[Judged, ...],
    proposal: records.Proposal,
    roles: tuple[str, ...],
    entry: Entry,
) -> Promotion:
    return _promotion(
        ctx,
        asked,
        judged,
        entry.id,
        sort="proposed",
        proposal=proposal.id,
        waits_for=missing_approvals(roles, proposal, ()),
        next_step=f"another person: falaj approve {proposal.id}",
    )


def _unchanged(ctx: Context, asked: Asked) -> Promotion:
    """The ref is where it shall be: the same command given again has nothing to do."""
    with ctx.reading() as tx:
        last = ctx.ground.catalog.history(tx, asked.asset, asked.ref, limit=1)
    return _promotion(ctx, asked, (), last[0].entry if last else "", sort="unchanged")


def _gates(judged: tuple[Judged, ...]) -> tuple[str, ...]:
    return tuple(f"{j.by.asset.name} v{j.by.version.number}" for j in judged)
