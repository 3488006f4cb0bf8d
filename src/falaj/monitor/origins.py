"""Where an answer came from: deployment, model, features, data, run, code, environment, and who let the model in."""

from __future__ import annotations

from typing import Final

import msgspec

from falaj.access.rows import names_of
from falaj.core.encoding import decode
from falaj.core.errors import NotFound
from falaj.core.names import Thing
from falaj.core.records import Asset, RefMove, Run, Version
from falaj.gates import records as gates
from falaj.models.kinds import MODEL
from falaj.models.records import Model
from falaj.monitor.tracing import Found, answered
from falaj.store import runs
from falaj.store.catalog import Catalog
from falaj.store.metadata import Transaction
from falaj.store.rollouts import ROLLOUT, ROUTING, Rollout, Routing
from falaj.store.rows import ASSET, PROPOSAL, RUN

HISTORY: Final = 10_000
FEATURES: Final = ("feature_service", "feature_view")


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the answers."""


class Answered(View, frozen=True, kw_only=True):
    """One row of an answer: the probability, or how the model failed."""

    row: int
    output: float | None
    error: str | None = None


class Admitted(View, frozen=True, kw_only=True):
    """By what a version was let in.

    Attributes:
        verdicts: ids; `gates` as `production v3`.
        rollout: id of the rollout in which it came, "" where its ref moved at once.
        waived: approval rules that were waived in writing.
        at: when the rollout began, or the ref moved.
    """

    ref: str
    at: str
    verdicts: tuple[str, ...]
    gates: tuple[str, ...]
    proposed_by: str
    approved_by: tuple[str, ...]
    waived: tuple[str, ...] = ()
    proposal: str = ""
    rollout: str = ""


class Made(View, frozen=True, kw_only=True):
    """By what a version was made.

    Attributes:
        features: the feature services and views in its lineage, `feature_service/delay_v1:2`.
        data: the versions of data that it was trained on, `flights:9`.
        code: a commit, or the digest of a script; `clean` whether the work tree was as committed.
        pipeline_run: of which `run` was a step, "" for none.
    """

    features: tuple[str, ...]
    data: tuple[str, ...]
    run: str
    run_name: str
    pipeline_run: str
    code: str
    clean: bool | None
    environment: str
    by: str
    at: str
    digest: str


class PredictionLineage(View, frozen=True, kw_only=True):
    """Where one answer came from.

    Attributes:
        where: the segment of the log, or the version of the dataset, in which it stands.
        role: whether the stable version or a canary answered.
        failed_first: `canary v8: model_failed`, where a canary failed at it before this version answered.
        problems: what the log says and the store does not.
    """

    prediction: str
    at: str
    ms: float
    rows: tuple[Answered, ...]
    where: str
    deployment: str
    revision: int
    role: str
    model: str
    version: int
    made: Made | None
    admitted: Admitted | None
    failed_first: str = ""
    problems: tuple[str, ...] = ()


def lineage_of(
    tx: Transaction, catalog: Catalog, deployment: Asset, prediction: str, found: list[Found]
) -> PredictionLineage:
    """Everything that the store knows of what gave an answer.

    Args:
        found: its lines, at least one.
    """
    rows, failed = answered(found)
    first, problems = rows[0], []
    model = catalog.find_asset(tx, deployment.project, MODEL.name, first.model)
    version = _version(tx, catalog, model, first.version) if model else None
    if version is None:
        problems.append(f"there is no {first.model} v{first.version}")
    row = ROUTING.get(tx, deployment.id, first.revision)
    if row is None or model is None or row.asset != model.id or first.version not in {r.version for r in row.routes}:
        problems.append(
            f"no routing table {first.revision} of {deployment.name} leads to {first.model} v{first.version}"
        )
    admitted = None
    if row is not None and model is not None:
        admitted = _admitted(tx, catalog, row, model, first)
        if admitted is None:
            problems.append("no verdict is known that let it in")
    return PredictionLineage(
        prediction=prediction,
        at=first.at,
        ms=first.ms,
        rows=tuple(Answered(row=one.row, output=one.output, error=one.error) for one in rows),
        where=first.where,
        deployment=deployment.name,
        revision=first.revision,
        role=first.role,
        model=first.model,
        version=first.version,
        made=_made(tx, catalog, model, version) if model and version else None,
        admitted=admitted,
        failed_first=f"{failed[0].role} v{failed[0].version}: {failed[0].error or 'no answer'}" if failed else "",
        problems=tuple(problems),
    )


def _version(tx: Transaction, catalog: Catalog, model: Asset, number: int) -> Version | None:
    try:
        return catalog.version(tx, model, number)
    except NotFound:
        return None


def _made(tx: Transaction, catalog: Catalog, asset: Asset, version: Version) -> Made:
    model: Model = catalog.payload(asset, version)
    features = []
    for edge in runs.lineage(tx, version, "up"):
        used = ASSET.get(tx, edge.asset)
        if used is not None and used.kind in FEATURES:
            features.append(str(Thing(used.name, used.kind, None, edge.version)))
    run: Run | None = RUN.get(tx, version.run) if version.run else None
    return Made(
        features=tuple(sorted(dict.fromkeys(features))),
        data=tuple(used.thing.removeprefix("dataset/") for used in model.data if used.thing.startswith("dataset/")),
        run=run.id if run else "",
        run_name=run.name if run else "",
        pipeline_run=str(run.params.get("pipeline_run", "")) if run else "",
        code=model.code,
        clean=model.code_clean,
        environment=model.environment,
        by=names_of(tx, [version.by]).get(version.by, version.by),
        at=version.created_at,
        digest=version.digest,
    )


def _admitted(tx: Transaction, catalog: Catalog, row: Routing, asset: Asset, answer: Found) -> Admitted | None:
    """The newest of the ways by which the version was let in before it gave the answer."""
    rollout = _rollout(tx, row.deployment, answer)
    move = None if rollout else _move(tx, catalog, asset, row.ref, answer)
    if rollout is not None:
        wanted, proposed, at, asked = rollout.verdicts, rollout.proposal, rollout.began_at, rollout.by
    elif move is not None:
        verdicts = catalog.verdicts(tx, asset, answer.version, row.ref)
        wanted = tuple(one.id for one in verdicts if one.used_by == move.entry)
        proposed, at, asked = move.proposal, move.at, move.by
    else:
        return None
    proposal = PROPOSAL.get(tx, proposed) if proposed else None
    approvals = catalog.approvals(tx, proposal.id) if proposal else ()
    by = proposal.by if proposal else asked
    names = names_of(tx, [by, *(one.by for one in approvals)])
    found = [one for one in (catalog.verdict(tx, each) for each in wanted) if one is not None]
    judged = [decode(one.body, gates.Verdict, "verdict") for one in found]
    return Admitted(
        ref=f"{asset.name}@{row.ref}",
        at=at,
        verdicts=tuple(one.id for one in found),
        gates=tuple(f"{told.gate} v{told.gate_version}" for told in judged),
        waived=tuple(f.rule for told in judged for f in told.findings if f.state == "waived"),
        proposed_by=names.get(by, by),
        approved_by=tuple(dict.fromkeys(names.get(one.by, one.by) for one in approvals)),
        proposal=proposal.id if proposal else "",
        rollout=rollout.id if rollout else "",
    )


def _rollout(tx: Transaction, deployment: str, answer: Found) -> Rollout | None:
    """The newest rollout of the version that had begun by the routing table at hand: by revisions, since clocks err."""
    clause = "deployment = :deployment AND revision <= :revision AND rollout IS NOT NULL ORDER BY revision DESC"
    params = {"deployment": deployment, "revision": answer.revision}
    ids = dict.fromkeys(row.rollout or "" for row in ROUTING.where(tx, clause, params))
    found = (ROLLOUT.get(tx, each) for each in ids)
    return next((one for one in found if one is not None and one.candidate == answer.version), None)


def _move(tx: Transaction, catalog: Catalog, asset: Asset, ref: str, answer: Found) -> RefMove | None:
    moves = [m for m in catalog.history(tx, asset, ref, HISTORY) if m.version == answer.version and m.sort == "promote"]
    return next((m for m in moves if m.at <= answer.at), moves[-1] if moves else None)
