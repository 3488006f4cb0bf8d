"""Operations on what a verdict rests on: give it to whoever wants to hold it, and measure once more.

`gate.evidence` changes nothing, and leaves an entry since something leaves; `gate.check` is a run, since it computes.
"""

from __future__ import annotations

from collections.abc import Iterator

from falaj.core.encoding import canonical
from falaj.core.entries import What
from falaj.core.names import Thing
from falaj.core.records import Asset, Version
from falaj.door import Context, job, transfer
from falaj.gates import records as r
from falaj.gates import rules, stored
from falaj.gates.backing import backing
from falaj.gates.comparing import compared, programs
from falaj.gates.evaluator import Trial, evidence_for, program
from falaj.gates.stored import Given
from falaj.gates.views import Remeasured
from falaj.store import runs
from falaj.store.metadata import Transaction

BY_EVIDENCE = {"cli": "falaj gate evidence VERDICT --check"}


@transfer("gate.evidence", on="verdict:{project}/{verdict}", role="maintainer", also=("auditor",), cli="gate evidence")
def evidence(ctx: Context, verdict: str) -> Iterator[bytes]:
    """Everything a verdict rests on, as one JSON document that a stranger can verify; each reading is an entry.

    Findings with their figures, the versions concerned by digest, signatures and public keys, who approved, what
    measured, and the entries of the ledger with their inclusion proofs under a signed checkpoint. No rows of data.
    """
    ctx.ground.heads.renew_apart()
    found = backing(ctx.ground, ctx.tx, ctx.project.id, ctx.project.name, verdict)
    return iter((canonical(found),))


@job(
    "gate.check",
    on="verdict:{project}/{verdict}",
    entry=What.VERDICT_CHECKED,
    role="contributor",
    without=BY_EVIDENCE,
)
def check(ctx: Context, verdict: str) -> Remeasured:
    """Measure once more what a verdict was measured on, by the same rules, and compare. Nothing moves.

    The versions are those of then: candidate, holder, evidence, contract and gate. What was erased is told.
    """
    with ctx.reading() as tx:
        row = stored.find(tx, ctx.project.id, verdict)
        one = stored.given(tx, ctx.ground.catalog, row)
        trial, gone = _trial(ctx, tx, one)
    told: tuple[r.Finding, ...] = ()
    if not gone:
        ctx.check_residency(f"{one.thing}: measuring")
        found, data = evidence_for(ctx.ground, one.gate, trial, ctx.progress)
        told = rules.judge(one.gate, found, _context(ctx, one, data.held.version.number if data else None)).findings
    findings = compared(one.verdict.findings, told)
    same = not gone and all(one.outcome != "differs" for one in findings)
    ctx.result = {"verdict": row.id, "measured": not gone, "same": same}
    with ctx.conclude() as unit:
        if ctx.run:
            runs.link(unit, ctx.run.id, "in", trial.candidate, "candidate")
            runs.link(unit, ctx.run.id, "in", one.gate_version, "gate")
        said = {"thing": str(one.thing), "version": row.version, "measured": not gone, "same": same}
        entry = unit.say(What.VERDICT_CHECKED, [row.id, one.asset.id], detail=said)
    return Remeasured(
        verdict=row.id,
        thing=str(one.thing),
        version=row.version,
        measured=not gone,
        same=same,
        rules=findings,
        program=programs(one.verdict.basis, program()),
        missing=gone,
        run=ctx.run.id if ctx.run else "",
        entry_id=entry.id,
    )


def _trial(ctx: Context, tx: Transaction, one: Given) -> tuple[Trial, tuple[str, ...]]:
    """What was measured then, and what of it is gone."""
    catalog, row = ctx.ground.catalog, one.row
    candidate = catalog.version(tx, one.asset, row.version)
    holder = catalog.version(tx, one.asset, row.holder) if row.holder is not None else None
    looked: list[tuple[Asset, Version]] = [(one.asset, v) for v in (candidate, holder) if v is not None]
    data = ""
    if one.gate.evidence is not None and one.verdict.data_version is not None:
        named = Thing.parse(one.gate.evidence.data, kind="dataset")
        held = catalog.resolve(tx, row.project, Thing(named.name, named.kind, None, one.verdict.data_version))
        looked.append((held.asset, held.version))
        data = str(Thing(named.name, named.kind, None, held.version.number))
    gone = tuple(
        f"{Thing(asset.name, asset.kind, None, version.number)}: its bytes were erased; it cannot be measured again"
        for asset, version in looked
        if version.state == "erased"
    )
    basis = one.verdict.basis
    trial = Trial(
        asset=one.asset, candidate=candidate, holder=holder, data=data, contract=basis.read_by if basis else ""
    )
    return trial, gone


def _context(ctx: Context, one: Given, data: int | None) -> r.Context:
    return r.Context(
        candidate=one.row.candidate,
        ref=str(one.thing),
        gate_version=one.row.gate_version,
        holder=one.row.holder,
        embedded=not ctx.ground.four_eyes,
        data_version=data,
    )
