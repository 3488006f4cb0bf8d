"""What a report reads, found in the store: the deployment, the version that is judged, its data, what came since."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from falaj.core.encoding import decode
from falaj.core.errors import Invalid, NotFound
from falaj.core.names import Thing, printable
from falaj.core.records import Asset, Ref, Version
from falaj.data.contract import from_data
from falaj.data.records import Contract, ContractVersion, DatasetColumn, DatasetVersion
from falaj.data.tables import Format
from falaj.deploy.bundles import BUNDLES, Bundles
from falaj.deploy.following import in_force
from falaj.deploy.records import Deployment
from falaj.door import Context
from falaj.gates import records as gates
from falaj.models.records import Model
from falaj.monitor import rules
from falaj.monitor.errors import DatasetTaken, NothingServed
from falaj.monitor.records import MIN_ROWS, Report
from falaj.pipelines.records import Artifact
from falaj.store import runs
from falaj.store.catalog import Held
from falaj.store.metadata import Transaction
from falaj.store.rows import ASSET

DATASET, DEPLOYMENT, REPORT, MODEL, ARTIFACT = "dataset", "deployment", "report", "model", "artifact"
PAGE = 20
NEWEST = 20  # versions of a model whose inputs may stand in a log
_ANSWERED = [("role", "!=", "shadow")]
NAMED_BY = frozenset({"prediction", "row"})  # the columns that name a prediction in every dataset of the monitor


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A deployment as it is in force."""

    asset: Asset
    version: Version
    deployment: Deployment


class Served(msgspec.Struct, frozen=True, kw_only=True):
    """The version of a model that holds the ref."""

    asset: Asset
    version: Version
    model: Model


class Readable(msgspec.Struct, frozen=True, kw_only=True):
    """A version of a table, and how its files are read. `contract`: None where it has none."""

    asset: Asset
    version: Version
    format: Format
    contract: Contract | None

    @property
    def shown(self) -> str:
        """`flights:9`."""
        return f"{self.asset.name}:{self.version.number}"


def log_of(ctx: Context, tx: Transaction, watched: Watched) -> Path:
    """The folder of a deployment's prediction log on this host; it need not be there."""
    bundles: Bundles = ctx.ground.port(BUNDLES)
    return bundles.log(tx, watched.asset.id)


def watched(ctx: Context, tx: Transaction, text: str) -> Watched:
    """The deployment in force that is meant by `delay` or `delay/production`. Raises: NotFound."""
    catalog = ctx.ground.catalog
    asset = catalog.asset(tx, ctx.project.id, ctx.thing(text))
    found = in_force(tx, catalog, asset)
    follows = text.partition("/")[2] if not text.startswith(f"{DEPLOYMENT}/") else ""
    if found is None or (follows and found.deployment.follows.ref != follows):
        raise NotFound(
            f"deployment {printable(text)}: no such thing, or not for you",
            next_step="falaj deployment list",
        )
    return Watched(asset=asset, version=catalog.version(tx, asset, found.version), deployment=found.deployment)


def served(ctx: Context, tx: Transaction, deployment: Deployment) -> Served:
    """The stable version. Raises: NothingServed."""
    catalog, thing = ctx.ground.catalog, deployment.follows
    asset = catalog.find_asset(tx, ctx.project.id, thing.kind or MODEL, thing.name)
    ref = catalog.ref(tx, asset, thing.ref or "") if asset else None
    if asset is None or ref is None:
        raise NothingServed(
            f"{thing.name}@{thing.ref}: no version holds it yet", next_step=f"falaj promote {thing.name}@{thing.ref} 1"
        )
    version = catalog.version(tx, asset, ref.version)
    return Served(asset=asset, version=version, model=catalog.payload(asset, version))


def held(ctx: Context, tx: Transaction, dataset: str) -> Held | None:
    """What `main` of a dataset of the monitor holds, None where there is nothing yet.

    Raises: DatasetTaken where other rows stand under that name.
    """
    catalog = ctx.ground.catalog
    asset = catalog.find_asset(tx, ctx.project.id, DATASET, dataset)
    ref = catalog.ref(tx, asset, "main") if asset else None
    if asset is None or ref is None:
        return None
    version = catalog.version(tx, asset, ref.version)
    payload: DatasetVersion = catalog.payload(asset, version)
    if not {column.name for column in payload.columns} >= NAMED_BY:
        raise DatasetTaken(
            f"dataset/{dataset} v{version.number} holds other rows than the monitor's",
            next_step="give the deployment another name: its datasets are called after it",
        )
    return Held(asset=asset, version=version, ref=ref)


def readable(ctx: Context, tx: Transaction, thing: Thing) -> Readable:
    """A version of a dataset with the contract that reads it.

    Raises: NotFound; Invalid where it is not live, no table, or nothing says how it is read.
    """
    catalog = ctx.ground.catalog
    found = catalog.resolve(tx, ctx.project.id, thing)
    where = f"{found.asset.name} v{found.version.number}"
    if found.version.state != "live":
        raise Invalid(f"{where} is {found.version.state}", next_step="choose a live version")
    payload: DatasetVersion = catalog.payload(found.asset, found.version)
    if payload.format == "files":
        raise Invalid(f"{where}: plain files, not a table", next_step="add .csv or .parquet files")
    contract = _contract(ctx, tx, payload)
    if contract is None:
        raise Invalid(
            f"{where} has no contract that says how it is read", next_step=f"contracts/{found.asset.name}.yaml"
        )
    return Readable(asset=found.asset, version=found.version, format=payload.format, contract=contract)


def _contract(ctx: Context, tx: Transaction, payload: DatasetVersion) -> Contract | None:
    if payload.contract is None:
        return None
    judging = ctx.ground.catalog.resolve(tx, ctx.project.id, Thing.parse(payload.contract))
    document: ContractVersion = ctx.ground.catalog.payload(judging.asset, judging.version)
    return from_data(document.document, name=judging.asset.name)


def training(ctx: Context, tx: Transaction, served: Served) -> Readable | None:
    """What the version was trained on: the nearest table of its lineage that has most of the columns it reads."""
    wanted = {one.name for one in served.model.inputs}
    best: Readable | None = None
    most = 0
    for edge in runs.lineage(tx, served.version, "up"):
        asset = ASSET.get(tx, edge.asset)
        if asset is None or asset.kind not in {DATASET, ARTIFACT}:
            continue
        version = ctx.ground.catalog.version(tx, asset, edge.version)
        payload: DatasetVersion | Artifact = ctx.ground.catalog.payload(asset, version)
        has = len(wanted & {column.name for column in payload.columns})
        if has <= most or version.state != "live" or version.content is None:
            continue
        if isinstance(payload, Artifact):
            if payload.type == "table":
                best, most = Readable(asset=asset, version=version, format="parquet", contract=None), has
        elif payload.format != "files":
            contract = _contract(ctx, tx, payload)
            if contract is not None or payload.format == "parquet":
                best, most = Readable(asset=asset, version=version, format=payload.format, contract=contract), has
    return best


def classes(ctx: Context, tx: Transaction, deployment: Deployment) -> dict[str, str]:
    """The class of each input by its name, and of the key by "": the highest that the data they come from declare."""
    catalog, follows = ctx.ground.catalog, deployment.follows
    found: dict[str, str] = {}
    asset = catalog.find_asset(tx, ctx.project.id, follows.kind or MODEL, follows.name)
    models: list[Model] = (
        [catalog.payload(asset, one) for one in catalog.versions(tx, asset, limit=NEWEST)] if asset else []
    )
    for used in {one.thing for model in models for one in model.data}:
        thing = Thing.parse(used)
        if thing.kind == DATASET:
            _note_classes(found, _columns(ctx, tx, thing))
    if deployment.labels is not None:
        outcomes = _columns(ctx, tx, Thing.parse(deployment.labels.data, kind=DATASET))
        keyed = [column for column in outcomes if column.name in deployment.labels.key]
        _note_classes(found, [msgspec.structs.replace(column, name="") for column in keyed])
    return found


def _columns(ctx: Context, tx: Transaction, thing: Thing) -> Sequence[DatasetColumn]:
    try:
        held = ctx.ground.catalog.resolve(tx, ctx.project.id, thing)
    except NotFound:
        return ()
    payload: DatasetVersion = ctx.ground.catalog.payload(held.asset, held.version)
    return payload.columns


def _note_classes(found: dict[str, str], columns: Sequence[DatasetColumn]) -> None:
    for column in columns:
        has = rules.higher(found.get(column.name), column.classification)
        if has is not None:
            found[column.name] = has


def reports(ctx: Context, tx: Transaction, deployment: str) -> Iterator[tuple[Version, Report]]:
    """Every report of a deployment, newest first, read a page at a time as far as they are asked for."""
    catalog = ctx.ground.catalog
    asset = catalog.find_asset(tx, ctx.project.id, REPORT, deployment)
    before = None
    while asset is not None and (page := catalog.versions(tx, asset, before, PAGE)):
        yield from ((version, catalog.payload(asset, version)) for version in page)
        before = page[-1].number


def held_report(ctx: Context, tx: Transaction, deployment: str) -> Ref | None:
    """What `main` of a deployment's reports holds."""
    asset = ctx.ground.catalog.find_asset(tx, ctx.project.id, REPORT, deployment)
    return ctx.ground.catalog.ref(tx, asset, "main") if asset else None


def score_before(
    ctx: Context, tx: Transaction, served: Served, ref: str, metric: str, deployment: str
) -> tuple[float, str] | None:
    """The score that a version's live one is compared with, and on what it was measured; None where there is none yet.

    It is what its gate measured when it let the version in; else that of its first report, however many without
    outcomes came after it.
    """
    if (found := _admitting_score(ctx, tx, served, ref, metric)) is not None:
        return found
    for version, report in reports(ctx, tx, deployment):
        scored = report.scored
        if report.version != served.version.number or scored is None or scored.metric != metric:
            continue
        if scored.reference is not None:
            return scored.reference, scored.reference_of
        if scored.live is not None and scored.rows >= MIN_ROWS:
            return scored.live.value, f"report {version.number}, {scored.rows:,} outcomes"
    return None


def _admitting_score(ctx: Context, tx: Transaction, served: Served, ref: str, metric: str) -> tuple[float, str] | None:
    for verdict in ctx.ground.catalog.verdicts(tx, served.asset, served.version.number, ref):
        if not verdict.passed or verdict.used_by is None:
            continue
        told = decode(verdict.body, gates.Verdict, "verdict")
        for finding in told.findings:
            if finding.title == metric and finding.observed is not None:
                return finding.observed, f"its gate, {told.rows:,} rows"
    return None


def since(ctx: Context, now: Version, before: Version | None) -> tuple[list[str], list[str]]:
    """The files of a growing dataset: those of the version before, and those that came since, each oldest first."""
    files = sorted(file.path for file in ctx.ground.contents.files(now))
    old = {file.path for file in ctx.ground.contents.files(before)} if before else set()
    return [path for path in files if path in old], [path for path in files if path not in old]


def first_of(
    ctx: Context, now: Version, paths: Sequence[str], folder: Path, *, model_version: int, rows: int
) -> list[Path]:
    """The files, oldest first, that hold the first so many answers of a version of the model; checked out.

    What it made of copies, as a shadow, answered nobody.
    """
    import pyarrow.parquet as pq  # half a second: not for every command

    found, seen = [], 0
    for path in paths:
        file = folder / path
        if not file.exists():
            ctx.ground.contents.checkout(now, folder, [path])
        mine = pq.read_table(file, columns=["version"], filters=_ANSWERED).column(0).to_pylist().count(model_version)
        if mine:
            found.append(file)
        seen += mine
        if seen >= rows:
            break
    return found
