"""Verdicts as they stand in the store, and as people read them: with what became of the approvals they ask for."""

from __future__ import annotations

import msgspec

from falaj.access.rows import names_of
from falaj.core import records
from falaj.core.encoding import decode
from falaj.core.errors import Damaged, NotFound
from falaj.core.names import Thing
from falaj.core.records import Approval, Asset, Proposal, Version
from falaj.gates import records as r
from falaj.gates import rules
from falaj.gates.views import VerdictView
from falaj.store.catalog import Catalog
from falaj.store.metadata import Transaction
from falaj.store.rows import ASSET, PROPOSAL, VERDICT


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """A stored verdict with what it is about. `proposal` is the newest one that rests on it, None for none."""

    row: records.Verdict
    verdict: r.Verdict
    asset: Asset
    by: Asset
    gate_version: Version
    gate: r.Gate
    proposal: Proposal | None
    approvals: tuple[Approval, ...]

    @property
    def thing(self) -> Thing:
        """The ref that the verdict was given for."""
        return Thing(self.asset.name, self.asset.kind, self.row.ref)


def find(tx: Transaction, project: str, verdict: str) -> records.Verdict:
    """A verdict of a project, by its id. Raises: NotFound."""
    row = VERDICT.get(tx, verdict)
    if row is None or row.project != project:
        raise NotFound(f"verdict {verdict[:40]}: no such thing, or not for you", next_step="falaj log NAME@REF")
    return row


def given(tx: Transaction, catalog: Catalog, row: records.Verdict) -> Given:
    """A verdict with what it is about, in one snapshot. Raises: Damaged."""
    asset, by = ASSET.get(tx, row.asset), ASSET.get(tx, row.gate)
    if asset is None or by is None:
        raise Damaged(f"verdict {row.id}: what it is about is not there", next_step="falaj ledger verify")
    gate_version = catalog.version(tx, by, row.gate_version)
    clause = "asset = :asset AND ref = :ref AND version = :version ORDER BY id DESC"
    params = {"asset": row.asset, "ref": row.ref, "version": row.version}
    asked = [p for p in PROPOSAL.where(tx, clause, params) if row.id in p.verdicts]
    return Given(
        row=row,
        verdict=decode(row.body, r.Verdict, "verdict"),
        asset=asset,
        by=by,
        gate_version=gate_version,
        gate=catalog.payload(by, gate_version),
        proposal=asked[0] if asked else None,
        approvals=tuple(catalog.approvals(tx, asked[0].id)) if asked else (),
    )


def verdict_view(tx: Transaction, catalog: Catalog, row: records.Verdict) -> VerdictView:
    """A verdict as people read it; an approval that was given since says by whom."""
    one = given(tx, catalog, row)
    data = Thing.parse(one.gate.evidence.data).name if one.gate.evidence else ""
    findings, waits = _with_approvals(tx, one)
    return VerdictView(
        id=row.id,
        thing=str(one.thing),
        version=row.version,
        candidate=row.candidate,
        gate=one.by.name,
        gate_version=row.gate_version,
        holder=row.holder,
        passed=row.passed,
        findings=findings,
        approvals=waits,
        data=f"{data}:{one.verdict.data_version}" if data and one.verdict.data_version else "",
        rows=one.verdict.rows,
        unlabelled=one.verdict.unlabelled,
        at=row.at,
        by=names_of(tx, [row.by]).get(row.by, row.by),
        run=row.run or "",
        used_by=row.used_by,
    )


def _with_approvals(tx: Transaction, one: Given) -> tuple[tuple[r.Finding, ...], tuple[str, ...]]:
    """The findings with approvals as they stand now, and the roles that must still approve."""
    if not one.approvals:
        return one.verdict.findings, one.row.approvals
    persons = [a.person for a in one.approvals]
    names = names_of(tx, [a.by for a in one.approvals])
    called = dict(zip(persons, (names.get(a.by, a.by) for a in one.approvals), strict=True))
    proposer = one.proposal.person if one.proposal else ""
    told = iter(rules.approved(one.gate, one.approvals, proposer, False, called))
    findings = tuple(next(told) if f.state == "pending" else f for f in one.verdict.findings)
    asked = (now for was, now in zip(one.verdict.findings, findings, strict=True) if was.state == "pending")
    waits = (role for role, now in zip(one.row.approvals, asked, strict=True) if now.state == "pending")
    return findings, tuple(waits)
