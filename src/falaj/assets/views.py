"""Rows of the catalog turned into the views that people read. Reads only; shared by the rooms above."""

from __future__ import annotations

from typing import Any

import msgspec

from falaj.access.rows import names_of
from falaj.assets.records import AssetRow, ProposalView, RefView, VersionView
from falaj.core.errors import Refused
from falaj.core.names import Thing
from falaj.core.records import Asset, Proposal, Version
from falaj.store.catalog import Catalog, check_live
from falaj.store.guards import missing_approvals
from falaj.store.ledger.log import SQL as LEDGER_SQL
from falaj.store.metadata import Transaction
from falaj.store.rollouts import Rollout, of_proposal
from falaj.store.rows import ASSET


def version_view(tx: Transaction, catalog: Catalog, asset: Asset, version: Version) -> VersionView:
    """A version as people read it."""
    refs = tuple(r.name for r in catalog.refs(tx, asset) if r.version == version.number)
    return VersionView(
        kind=asset.kind,
        name=asset.name,
        version=version.number,
        state=version.state,
        created_at=version.created_at,
        by=names_of(tx, [version.by]).get(version.by, version.by),
        digest=version.digest,
        size_bytes=version.size_bytes,
        stored_bytes=version.stored_bytes,
        run=version.run,
        refs=refs,
        payload=msgspec.to_builtins(catalog.payload(asset, version)),
    )


def ref_views(tx: Transaction, catalog: Catalog, asset: Asset) -> tuple[RefView, ...]:
    """The refs of an asset, with the gates that guard them."""
    out = []
    for ref in catalog.refs(tx, asset):
        gates = [ASSET.get(tx, g.gate) for g in catalog.guards_of(tx, asset, ref.name)]
        names = tuple(g.name for g in gates if g)
        out.append(RefView(name=ref.name, version=ref.version, moved_at=ref.moved_at, guarded_by=names))
    return tuple(out)


def asset_row(tx: Transaction, catalog: Catalog, asset: Asset) -> AssetRow:
    """An asset as a line of a list."""
    newest = catalog.versions(tx, asset, limit=1)
    refs = {r.name: r.version for r in catalog.refs(tx, asset)}
    return AssetRow(kind=asset.kind, name=asset.name, versions=newest[0].number if newest else 0, refs=refs)


def proposal_view(tx: Transaction, catalog: Catalog, proposal: Proposal) -> ProposalView:
    """A proposal, and which approvals it still waits for."""
    asset = ASSET.get(tx, proposal.asset)
    assert asset is not None  # noqa: S101  rows of assets are never deleted
    approvals = catalog.approvals(tx, proposal.id)
    verdicts = [v for v in (catalog.verdict(tx, i) for i in proposal.verdicts) if v]
    holder = catalog.ref(tx, asset, proposal.ref)
    thing = str(Thing(asset.name, asset.kind, proposal.ref))
    asked = [*catalog.asked_approvals(tx, asset, proposal.ref, holder), *(r for v in verdicts for r in v.approvals)]
    names = names_of(tx, [proposal.by, *(a.by for a in approvals)])
    rollout = of_proposal(tx, proposal.id) if proposal.state == "open" else None
    begun = rollout_begun(tx, rollout) if rollout else {}
    if proposal.state == "open" and not rollout and (why := why_stale(tx, catalog, asset, proposal)):
        begun = {"sort": "stale", "stale": why, "next_step": anew(thing, proposal)}
    waiting = begun.get("sort", proposal.state) == "open"
    if waiting:
        begun["next_step"] = _to_move(catalog, thing, proposal)
    return ProposalView(
        id=proposal.id,
        thing=thing,
        version=proposal.version,
        holder=proposal.holder,
        by=names.get(proposal.by, proposal.by),
        at=proposal.at,
        state=begun.pop("sort", proposal.state),
        reason=proposal.reason,
        waits_for=missing_approvals(asked, proposal, approvals) if waiting else (),
        approved_by=tuple(names.get(a.by, a.by) for a in approvals),
        verdicts=proposal.verdicts,
        **begun,
    )


def _to_move(catalog: Catalog, thing: str, proposal: Proposal) -> str:
    if catalog.four_eyes:
        return f"another person: falaj approve {proposal.id}"
    return f"falaj promote {thing} {proposal.version}: embedded there is no other person to approve"


def why_stale(tx: Transaction, catalog: Catalog, asset: Asset, proposal: Proposal) -> str:
    """Why an open proposal can be approved no more: what it rests on has changed since. "" where it still stands."""
    try:
        candidate, _ = catalog.check_proposal(tx, asset, proposal)
        check_live(asset, candidate)
    except Refused as refusal:
        return str(refusal.facts.get("reason") or refusal.message)
    return ""


def anew(thing: str, proposal: Proposal) -> str:
    """What to do instead of approving a stale proposal."""
    return f"falaj promote {thing} {proposal.version} judges it anew; falaj withdraw {proposal.id} closes this one"


def rollout_begun(tx: Transaction, rollout: Rollout) -> dict[str, Any]:
    """A rollout that has just begun, as the answers of what began it say it."""
    deployment = ASSET.get(tx, rollout.deployment)
    assert deployment is not None  # noqa: S101  rows of assets are never deleted
    told = {"rollout": rollout.id, "share": rollout.share}
    return {"sort": "rollout", **told, "next_step": f"falaj deploy status {deployment.name}"}


def leaf_of(tx: Transaction, entry_id: str) -> int | None:
    """The leaf number of an entry, None while it is pending."""
    row = tx.row(LEDGER_SQL["leaf_of"], {"id": entry_id})
    return None if row is None or row[0] is None else int(row[0])
