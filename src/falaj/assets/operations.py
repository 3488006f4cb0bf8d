"""Operations on any asset of any kind."""

from __future__ import annotations

from typing import Literal

import msgspec

from falaj.access.rows import names_of
from falaj.assets import records as r
from falaj.assets.rules import MAX_PAGE, kind_of_file, page_size, read_file, with_ref, words
from falaj.assets.views import anew, asset_row, leaf_of, proposal_view, ref_views, version_view, why_stale
from falaj.core.entries import What
from falaj.core.errors import Forbidden, Invalid, NotFound
from falaj.core.names import Thing
from falaj.core.records import Approval, Asset, Proposal, RefMove
from falaj.door import Context, command, query
from falaj.store import proposals, runs
from falaj.store.catalog import missing
from falaj.store.errors import GuardRefused
from falaj.store.rollouts import Rollout, of_proposal, routed_by
from falaj.store.rows import APPROVAL, ASSET, PROPOSAL, RUN

MAX_FILES = 500
FIRST = 2**62  # greater than any leaf number
Listed = Literal["open", "stale", "moved", "withdrawn"]


class ProposalStale(GuardRefused):
    """A proposal is approved after the ref, its gate or the version changed: what was proposed is no more."""

    code = "proposal_stale"


class NotProposer(Forbidden):
    """A proposal is taken back by somebody who did not make it and could not approve it."""

    code = "not_proposer"


@command("project.create", on="store", entry=What.PROJECT_CREATED, role="owner", cli="project new")
def create_project(ctx: Context, name: str) -> r.Done:
    """Create a project: a namespace with its own keys, bindings and residency."""
    project = ctx.ground.catalog.add_project(ctx.unit, name)
    ctx.ground.keys.begin(ctx.unit).create_project(project.id)
    entry = ctx.unit.say(What.PROJECT_CREATED, [project.id], detail={"name": project.name}, project=project.id)
    return r.Done(thing=project.name, entry_id=entry.id)


@query("asset.show", on="asset:{project}/{thing}", cli="show")
def show(ctx: Context, thing: str) -> r.AssetView:
    """An asset, its refs, and one of its versions."""
    parsed = ctx.thing(thing)
    catalog, tx = ctx.ground.catalog, ctx.tx
    asset = catalog.asset(tx, ctx.project.id, parsed)
    newest = catalog.versions(tx, asset, limit=1)
    shown = newest[0] if newest else None
    if parsed.ref or parsed.version:
        shown = catalog.resolve(tx, ctx.project.id, parsed).version
    return r.AssetView(
        kind=asset.kind,
        name=asset.name,
        created_at=asset.created_at,
        versions=newest[0].number if newest else 0,
        refs=ref_views(tx, catalog, asset),
        shown=version_view(tx, catalog, asset, shown) if shown else None,
    )


@query("asset.list", on="project:{project}", cli="asset list", narrows=True)
def list_assets(ctx: Context, kind: str = "", after: str = "", limit: int = 100) -> r.Page:
    """A page of assets, of one kind or of all, in order of kind and name; of those that are for the caller."""
    if kind:
        _ = ctx.ground.kinds[kind]
    limit = page_size(limit)
    found = ctx.ground.catalog.assets(ctx.tx, ctx.project.id, kind, after, limit + 1, ctx.parts_of("asset"))
    items = tuple(asset_row(ctx.tx, ctx.ground.catalog, a) for a in found[:limit])
    more = len(found) > limit
    return r.Page(items=items, next=f"{items[-1].kind}/{items[-1].name}" if more else None)


@query("asset.log", on="asset:{project}/{thing}", cli="log")
def log(ctx: Context, thing: str, limit: int = 50) -> r.LogView:
    """The history of an asset, or of one of its refs: who moved what, when, and the entry that proves it."""
    parsed = ctx.thing(thing)
    catalog, tx, limit = ctx.ground.catalog, ctx.tx, page_size(limit)
    asset = catalog.asset(tx, ctx.project.id, parsed)
    names = [parsed.ref] if parsed.ref else [ref.name for ref in catalog.refs(tx, asset)]
    moves = [m for ref in names for m in catalog.history(tx, asset, ref, limit)]
    if parsed.ref and not moves:
        raise missing(parsed)
    people = names_of(tx, [m.by for m in moves])
    views = [
        r.MoveView(
            ref=m.ref,
            version=m.version,
            previous=m.previous,
            sort=m.sort,
            at=m.at,
            by=people.get(m.by, m.by),
            entry=leaf_of(tx, m.entry),
            reason=str(ctx.ground.detail(tx, m.entry).get("reason", "")),
            verdicts=_let_in_by(ctx, asset, m),
        )
        for m in moves
    ]
    # By the ledger: clocks go back. What has no number yet is newest; its ref's own order stays.
    views = sorted(views, key=lambda view: -FIRST if view.entry is None else -view.entry)[:limit]
    versions = [] if parsed.ref else catalog.versions(tx, asset, limit=limit)
    return r.LogView(
        kind=asset.kind,
        name=asset.name,
        moves=tuple(views),
        versions=tuple(version_view(tx, catalog, asset, v) for v in versions),
    )


def _let_in_by(ctx: Context, asset: Asset, move: RefMove) -> tuple[str, ...]:
    """The verdicts that a move used."""
    if move.sort != "promote":
        return ()
    given = ctx.ground.catalog.verdicts(ctx.tx, asset, move.version, move.ref)
    return tuple(verdict.id for verdict in given if verdict.used_by == move.entry)


@query("asset.lineage", on="asset:{project}/{thing}", cli="lineage")
def lineage(ctx: Context, thing: str, direction: str = "up", depth: int = 12) -> r.Lineage:
    """What a version came from (`up`), or what came from it (`down`): versions, runs, code, people."""
    if direction not in {"up", "down"}:
        raise Invalid(f"direction {direction[:20]!r}: up or down is expected", next_step="use up or down")
    parsed = ctx.thing(thing)
    catalog, tx = ctx.ground.catalog, ctx.tx
    asset = catalog.asset(tx, ctx.project.id, parsed)
    if parsed.version or parsed.ref or catalog.ref(tx, asset, "main"):
        version = catalog.resolve(tx, ctx.project.id, parsed).version
    else:
        newest = catalog.versions(tx, asset, limit=1)
        if not newest:
            raise missing(parsed)
        version = newest[0]
    edges = runs.lineage(tx, version, "up" if direction == "up" else "down", max(0, min(depth, 100)))
    nodes = tuple(_node(ctx, e) for e in edges)
    return r.Lineage(thing=str(parsed), direction=direction, nodes=nodes)


def _node(ctx: Context, edge: runs.Edge) -> r.LineageNode:
    catalog, tx = ctx.ground.catalog, ctx.tx
    asset = ASSET.get(tx, edge.asset)
    assert asset is not None  # noqa: S101  rows of assets are never deleted
    version = catalog.version(tx, asset, edge.version)
    run = RUN.get(tx, edge.run) if edge.run else None
    inputs = []
    for link in runs.links(tx, run.id) if run else ():
        other = ASSET.get(tx, link.asset)
        if link.direction == "in" and other:
            inputs.append(f"{other.kind}/{other.name}:{link.version}")
    moves = [m for ref in catalog.refs(tx, asset) for m in catalog.history(tx, asset, ref.name)]
    mine = [m for m in moves if m.version == version.number and m.proposal]
    approvals = [a for m in mine for a in catalog.approvals(tx, m.proposal or "")]
    proposals = [p for p in (PROPOSAL.get(tx, m.proposal or "") for m in mine) if p]
    people = names_of(tx, [version.by, *(a.by for a in approvals), *(p.by for p in proposals)])
    return r.LineageNode(
        kind=asset.kind,
        name=asset.name,
        version=version.number,
        depth=edge.depth,
        by=people.get(version.by, version.by),
        created_at=version.created_at,
        run=run.id if run else None,
        run_sort=run.sort if run else "",
        code=run.code if run else {},
        inputs=tuple(inputs),
        approved_by=tuple(dict.fromkeys(people.get(a.by, a.by) for a in approvals)),
        proposed_by=people.get(proposals[0].by, "") if proposals else "",
        refs=tuple(ref.name for ref in catalog.refs(tx, asset) if ref.version == version.number),
        digest=version.digest,
    )


@command("ref.rollback", on="ref:{project}/{thing}", entry=What.REF_ROLLED_BACK, role="maintainer", cli="rollback")
def roll_back(
    ctx: Context, thing: str, version: int | None = None, reason: str = "", expect: int | None = None
) -> r.MoveResult:
    """Move a ref back to a version that held it before; scores are not judged again.

    Where a deployment follows the ref, all its traffic goes there at once.
    """
    parsed = with_ref(ctx.thing(thing))
    catalog, unit = ctx.ground.catalog, ctx.unit
    asset = catalog.asset(unit.tx, ctx.project.id, parsed)
    catalog.expect(unit.tx, asset, parsed.ref or "", expect)
    move = catalog.roll_back(unit, asset, parsed.ref or "", version)
    routed = routed_by(unit.tx, move)
    entry = unit.say(What.REF_ROLLED_BACK, [asset.id], detail=words(parsed, reason))
    follower = ASSET.get(unit.tx, routed.deployment) if routed else None
    return r.MoveResult(
        ref=str(parsed),
        version=move.version,
        previous=move.previous,
        sort=move.sort,
        deployment=follower.name if follower else "",
        revision=routed.revision if routed else None,
        entry_id=entry.id,
    )


@command("version.retire", on="asset:{project}/{thing}", entry=What.VERSION_RETIRED, role="maintainer", cli="rm")
def retire(ctx: Context, thing: str, reason: str = "") -> r.Done:
    """Retire a version: no ref may move to it; its bytes go at the next `gc` unless it is restored before."""
    return _set_state(ctx, thing, "retired", What.VERSION_RETIRED, reason)


@command("version.restore", on="asset:{project}/{thing}", entry=What.VERSION_RESTORED, role="maintainer", cli="restore")
def restore(ctx: Context, thing: str, reason: str = "") -> r.Done:
    """Bring a retired version back, as long as its bytes are still there."""
    return _set_state(ctx, thing, "live", What.VERSION_RESTORED, reason)


def _set_state(ctx: Context, thing: str, state: str, what: What, reason: str) -> r.Done:
    parsed = ctx.thing(thing)
    if parsed.version is None:
        raise Invalid(f"{parsed}: name one version", next_step=f"for example {parsed.name}:3")
    catalog, unit = ctx.ground.catalog, ctx.unit
    asset = catalog.asset(unit.tx, ctx.project.id, parsed)
    version = catalog.version(unit.tx, asset, parsed.version)
    allowed = {"retired": ("live", "rejected"), "live": ("retired",)}[state]
    if version.state not in allowed:
        raise Invalid(f"{parsed} is {version.state}", next_step=f"falaj log {parsed.name}")
    catalog.set_state(unit, asset, version, "retired" if state == "retired" else "live")
    entry = unit.say(what, [asset.id], detail=words(parsed, reason))
    return r.Done(thing=str(parsed), entry_id=entry.id, note=state)


@command("config.apply", on="project:{project}", entry=What.REF_MOVED, role="maintainer", cli="apply")
def apply(ctx: Context, files: list[r.ConfigFile], reason: str = "") -> r.Applied:
    """Make assets of project files: contracts, gates, features, deployments, triggers, policies. All of them, or none.

    On a server, a change of one that is in force becomes a proposal that another person approves.
    """
    if not 1 <= len(files) <= MAX_FILES:
        raise Invalid(f"{len(files)} files: 1 to {MAX_FILES} can be applied at once")
    parsed = []
    for file in files:
        kind = kind_of_file(file.path, ctx.ground.kinds)
        parsed += [(file, kind, name, payload) for name, payload in read_file(file.path, file.text, kind)]
    results = tuple(_apply_one(ctx, f.path, kind.name, name, payload, reason) for f, kind, name, payload in parsed)
    said = ctx.unit.said
    return r.Applied(files=results, entry_id=said[-1].id if said else None)


def _apply_one(ctx: Context, path: str, kind: str, name: str, payload: msgspec.Struct, reason: str) -> r.AppliedFile:
    catalog, unit = ctx.ground.catalog, ctx.unit
    asset = catalog.ensure_asset(unit, ctx.project.id, kind, name)
    unit.lock(ASSET, asset.id)
    holder = catalog.ref(unit.tx, asset, "main", lock=True)
    held = catalog.version(unit.tx, asset, holder.version) if holder else None
    if held and held.payload == catalog.kinds[kind].encode(payload):
        return r.AppliedFile(
            path=path, kind=kind, name=asset.name, outcome="unchanged", version=held.number, previous=held.number
        )
    version = catalog.add_version(unit, asset, payload)
    previous = holder.version if holder else None
    thing = Thing(asset.name, kind, "main")
    if catalog.asked_approvals(unit.tx, asset, "main", holder):
        proposal = catalog.propose(unit, asset, "main", version.number, previous, (), reason)
        unit.say(What.REF_PROPOSED, [proposal.id, asset.id], detail=words(thing, reason))
        return r.AppliedFile(
            path=path,
            kind=kind,
            name=asset.name,
            outcome="proposed",
            version=version.number,
            previous=previous,
            proposal=proposal.id,
        )
    catalog.move(unit, asset, "main", version)
    unit.say(What.REF_MOVED, [asset.id], detail=words(thing, reason))
    outcome = "changed" if held else "created"
    return r.AppliedFile(
        path=path, kind=kind, name=asset.name, outcome=outcome, version=version.number, previous=previous
    )


@query("proposal.list", on="project:{project}", cli="proposal list", narrows=True)
def list_proposals(ctx: Context, state: Listed = "open", limit: int = 100) -> tuple[r.ProposalView, ...]:
    """Proposals, newest first, and what each waits for; of those on things that are for the caller.

    `open` are those that can still be approved or are rolling out; `stale` those that nobody can approve any more,
    since the ref, its gate or the version changed.
    """
    limit, catalog = page_size(limit), ctx.ground.catalog
    parts = None if ctx.parts is None else [*(ctx.parts_of("asset") or ()), *(ctx.parts_of("ref") or ())]
    stored, before, views = "open" if state == "stale" else state, proposals.LAST_ID, list[r.ProposalView]()
    while before and len(views) < limit:
        found = proposals.newest(ctx.tx, catalog, ctx.project.id, stored, limit=MAX_PAGE, among=parts, before=before)
        shown = (proposal_view(ctx.tx, catalog, p) for p in found)
        views += [view for view in shown if (view.state == "stale") == (state == "stale")]
        before = found[-1].id if len(found) == MAX_PAGE else ""
    return tuple(views[:limit])


@query("proposal.show", on="proposal:{project}/{proposal}", cli="proposal show")
def show_proposal(ctx: Context, proposal: str) -> r.ProposalView:
    """One proposal, and what it waits for."""
    return proposal_view(ctx.tx, ctx.ground.catalog, find_proposal(ctx, proposal))


@command(
    "ref.approve",
    on="proposal:{project}/{proposal}",
    entry=What.REF_APPROVED,
    role="maintainer",
    cli="approve",
    judged=("four_eyes",),
)
def approve(ctx: Context, proposal: str, reason: str = "") -> r.ProposalView:
    """Say yes to another person's proposal; when nothing is missing any more, the ref moves in the same transaction.

    A ref that is deployed moves at the end of a rollout, which begins then.
    """
    catalog, unit = ctx.ground.catalog, ctx.unit
    found = find_proposal(ctx, proposal, lock=True)
    if found.state != "open":
        raise Invalid(f"proposal {proposal} is {found.state}", next_step="falaj proposal list")
    asset = ASSET.get(unit.tx, found.asset)
    assert asset is not None  # noqa: S101
    thing = Thing(asset.name, asset.kind, found.ref)
    ctx.require_other_person(found.person, thing)
    if why := why_stale(unit.tx, catalog, asset, found):
        facts = {"ref": str(thing), "version": found.version, "reason": why}
        raise ProposalStale(f"proposal {proposal} is stale: {why}", next_step=anew(str(thing), found), facts=facts)
    candidate, verdicts = catalog.check_proposal(unit.tx, asset, found)
    roles = ctx.roles_on(thing)
    unit.put(
        APPROVAL,
        Approval(proposal=found.id, person=unit.actor.person, by=unit.actor.principal, roles=roles, at=unit.now),
    )
    unit.say(What.REF_APPROVED, [found.id, asset.id], detail=words(thing, reason))
    view = proposal_view(unit.tx, catalog, found)
    if not view.waits_for:
        moved = catalog.promote(unit, asset, found.ref, candidate, verdicts=verdicts, proposal=found)
        if isinstance(moved, Rollout):
            on = [moved.id, moved.deployment, asset.id, found.id]
            unit.say(What.ROLLOUT_STARTED, on, detail={**words(thing, found.reason), "share": moved.share})
            return proposal_view(unit.tx, catalog, found)
        unit.say(What.REF_MOVED, [asset.id, found.id], detail=words(thing, found.reason))
        view = msgspec.structs.replace(view, state="moved")
    return view


@command(
    "ref.withdraw",
    on="proposal:{project}/{proposal}",
    entry=What.PROPOSAL_WITHDRAWN,
    role="contributor",
    cli="withdraw",
)
def withdraw(ctx: Context, proposal: str, reason: str = "") -> r.ProposalView:
    """Take a proposal back: the person who made it may, and who could approve it. It can be made anew."""
    catalog, unit = ctx.ground.catalog, ctx.unit
    found = find_proposal(ctx, proposal, lock=True)
    if found.state != "open":
        raise Invalid(f"proposal {proposal} is {found.state}", next_step="falaj proposal list")
    if of_proposal(unit.tx, found.id) is not None:
        raise Invalid(f"proposal {proposal}: its rollout is underway", next_step="falaj deploy abort DEPLOYMENT")
    asset = ASSET.get(unit.tx, found.asset)
    assert asset is not None  # noqa: S101  rows of assets are never deleted
    thing = Thing(asset.name, asset.kind, found.ref)
    if found.person != unit.actor.person and "maintainer" not in ctx.roles_on(thing):
        raise NotProposer(
            f"proposal {proposal} is another person's", next_step=f"ask who proposed it, or a maintainer of {thing}"
        )
    withdrawn = unit.put(PROPOSAL, msgspec.structs.replace(found, state="withdrawn"))
    unit.say(What.PROPOSAL_WITHDRAWN, [found.id, asset.id], detail=words(thing, reason))
    return proposal_view(unit.tx, catalog, withdrawn)


def find_proposal(ctx: Context, proposal: str, *, lock: bool = False) -> Proposal:
    """A proposal of the project at hand. Raises: NotFound."""
    found = PROPOSAL.get(ctx.tx, proposal, lock=lock)
    if found is None or found.project != ctx.project.id:
        raise NotFound(f"proposal {proposal[:40]}: no such thing, or not for you", next_step="falaj proposal list")
    return found
