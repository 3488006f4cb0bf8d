"""Operations on models: a file becomes a signed version; a promoted version predicts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import msgspec

from falaj.assets.rules import words
from falaj.core.entries import What
from falaj.core.errors import Conflict, Forbidden, Invalid
from falaj.core.names import Thing, name, printable, tree_path
from falaj.core.records import Ref, Run
from falaj.data import made
from falaj.data.contract import from_data
from falaj.data.records import (
    Contract,
    ContractVersion,
    DatasetColumn,
    DatasetVersion,
    Report,
)
from falaj.data.views import StagedFile
from falaj.door import Context, job, query
from falaj.models import formats, rows, scoring
from falaj.models.errors import ModelNotPromoted
from falaj.models.kinds import MODEL
from falaj.models.records import MAX_FILES, File, Input, Model, UsedVersion, check_model
from falaj.models.rules import code_of, columns_of, environment_of, told_conversion
from falaj.models.verification import (
    Verified,
    admitted,
    check_signed,
    signed,
    verdict_check,
    verified,
)
from falaj.models.views import ModelVerified, Predicted, Registered
from falaj.store import runs
from falaj.store.catalog import Held
from falaj.store.content import Stored
from falaj.store.errors import RefConflict
from falaj.store.keys.errors import KeyMissing
from falaj.store.metadata import Transaction
from falaj.store.rows import ASSET, PROJECT
from falaj.store.unit import Unit

PREDICTIONS = "predictions.parquet"
DATASET = "dataset"


# register


@job(
    "model.register",
    on=("asset:{project}/{model=model}", "asset:{project}/{inputs=dataset}"),
    entry=What.VERSION_ADDED,
    role="contributor",
    cli="model register",
    kind="model",
)
def register(
    ctx: Context,
    model: str,
    files: list[StagedFile],
    label: str,
    inputs: list[str] = [],  # noqa: B006  never mutated
    run: str = "",
    columns: list[Input | str] = [],  # noqa: B006
    convert: Literal["", "onnx"] = "",
) -> Registered:
    """Register a model file (skops or ONNX) as a new version, signed, with the data and the run that it came from.

    `files`: the first is the model, the others go with it. `inputs`: the versions of data that it was trained on; what
    `run` used is taken from the run. `columns`: those it reads, in its order, where the file does not say; a column
    that is only named gets the type that the contract of the data gives it. `convert`: a skops file becomes an ONNX
    file where both agree on 10,000 rows or more of what it was trained on; where they do not, the given file is
    registered, and the version says why.
    """
    thing = ctx.thing(model)
    if thing.ref or thing.version:
        raise Invalid(f"{thing}: a new version gets its own number", next_step=f"name the model alone: {thing.name}")
    if not 1 <= len(files) <= MAX_FILES:
        raise Invalid(f"{len(files)} files: 1 to {MAX_FILES:,} make a model", next_step="name the files")
    staged = {tree_path(file.name): ctx.staged(file.staged) for file in files}
    if len(staged) != len(files):
        raise Invalid("two files of one name", next_step="rename one of them")
    ctx.check_residency(f"{thing}: storing")
    scoring.warm()
    first, *others = staged.items()
    for _, path in others:
        formats.check_beside(path)
    with ctx.reading() as tx:
        maker = _maker(ctx, tx, run)
        used = _used(ctx, tx, inputs, maker)
    ctx.progress("looking into the model", 0, 0)
    with ctx.watching_staged():
        found, about, guards = scoring.describe(first[1], scratch=ctx.ground.scratch)
    known = _known_columns(ctx, used)
    code, clean = code_of(maker.code) if maker else ("", None)
    payload = Model(
        format=found.format,
        files=(File(path=first[0], sha256=found.sha256, size_bytes=found.size_bytes),),
        inputs=columns_of(columns, width=about.width, names=about.names, form=found.format, known=known),
        label=label,
        data=tuple(_named(held) for held in used),
        code=code,
        code_clean=clean,
        environment=environment_of(maker.environment) if maker else "",
        claimed=dict(maker.metrics) if maker else {},
        types=found.types,
    )
    with _folder(ctx) as folder, ctx.watching_staged():
        if convert:
            from falaj.models.conversion import converted_or_not

            payload, path = converted_or_not(ctx, payload, first[1], used, beside=staged, folder=folder)
            staged = {payload.files[0].path: path, **dict(others)}
        stored, payload = _store(ctx, thing, staged, payload)
    with ctx.ground.contents.concluding(stored):
        return _conclude(ctx, thing, payload, stored, used, maker, guards)


def _maker(ctx: Context, tx: Transaction, run_id: str) -> Run | None:
    """The run that made the model: the caller's own. Raises: NotFound, Forbidden, Conflict."""
    if not run_id:
        return None
    run = runs.get(tx, ctx.project.id, run_id)
    if run.person != ctx.caller.principal.person:
        raise Forbidden(f"run {run.id} is another person's", next_step="register from a run of your own")
    if run.state not in {"running", "done"}:
        raise Conflict(f"run {run.id} is {run.state}", next_step="train again, in a run that ends well")
    return run


def _used(ctx: Context, tx: Transaction, inputs: list[str], maker: Run | None) -> list[Held]:
    """The versions that a model was made from: those that its run used, and those named besides.

    A ref names what the run used of its dataset, wherever the ref has moved since. Raises: NotFound, EvidenceSealed.
    """
    catalog = ctx.ground.catalog
    found: dict[tuple[str, int], Held] = {}
    for link in runs.links(tx, maker.id) if maker else ():
        asset = ASSET.get(tx, link.asset)
        if link.direction == "in" and asset is not None and asset.project == ctx.project.id:
            version = catalog.version(tx, asset, link.version)
            found[asset.id, version.number] = Held(asset=asset, version=version, ref=None)
    by_run = {asset for asset, _ in found}
    for text in inputs:
        thing = Thing.parse(text, kind=DATASET)
        if thing.kind != DATASET:
            raise Invalid(f"input {printable(text)}: a dataset is expected", next_step="such as flights@main")
        held = catalog.resolve(tx, ctx.project.id, thing)
        if thing.version is None and held.asset.id in by_run:
            continue
        found[held.asset.id, held.version.number] = held
    for held in found.values():
        catalog.check_unsealed(tx, held.asset, held.version, "a model")
    return list(found.values())


def _known_columns(ctx: Context, used: list[Held]) -> Mapping[str, str]:
    known: dict[str, str] = {}
    for held in used:
        if held.asset.kind == DATASET:
            payload: DatasetVersion = ctx.ground.catalog.payload(held.asset, held.version)
            known |= {column.name: column.type for column in payload.columns if column.name not in known}
    return known


def _named(held: Held) -> UsedVersion:
    return UsedVersion(thing=f"{held.asset.kind}/{held.asset.name}:{held.version.number}", digest=held.version.digest)


def _store(ctx: Context, thing: Thing, staged: Mapping[str, Path], payload: Model) -> tuple[Stored, Model]:
    """The files stored, and the payload that names each by the digest of what was stored."""
    domain = f"artifacts-{ctx.project.id}"
    with ctx.begin() as unit:
        _wait_for_others(ctx, unit)
        ctx.ground.contents.ensure_domain(unit, ctx.project.id, domain)
        _ensure_signing_key(ctx, unit)
        if unit.has_changes:
            unit.say(What.KEY_CREATED, [ctx.project.id], detail=words(thing))
    kept = []
    with ctx.ground.contents.upload(domain) as upload:
        for at, (path, local) in enumerate(staged.items()):
            ctx.progress("storing", at, len(staged))
            with local.open("rb") as stream:
                entry = upload.add_file(path, stream, sha256=True)
            kept.append(File(path=path, sha256=entry.sha256 or "", size_bytes=entry.size))
        if kept[0] != payload.files[0]:
            raise Conflict(f"{kept[0].path} changed while it was read", next_step="register it again")
        stored = upload.finish()
    return stored, check_model(msgspec.structs.replace(payload, files=tuple(kept)))


def _wait_for_others(ctx: Context, unit: Unit) -> None:
    """One registration at a time in a project: the first makes its keys, and a number signed is a number given."""
    PROJECT.get(unit.tx, ctx.project.id, lock=True)


def _ensure_signing_key(ctx: Context, unit: Unit) -> None:
    keys = ctx.ground.keys.begin(unit)
    try:
        keys.signing_key("sign", ctx.project.id)
    except KeyMissing:
        keys.create_signing_key("sign", ctx.project.id)


def _conclude(
    ctx: Context,
    thing: Thing,
    payload: Model,
    stored: Stored,
    used: list[Held],
    maker: Run | None,
    guards: tuple[str, ...],
) -> Registered:
    catalog = ctx.ground.catalog
    ctx.check_staged()
    with ctx.conclude() as unit:
        _wait_for_others(ctx, unit)
        asset = catalog.ensure_asset(unit, ctx.project.id, MODEL.name, thing.name)
        newest = catalog.versions(unit.tx, asset, limit=1)
        number = newest[0].number + 1 if newest else 1
        for held in used:
            catalog.check_unsealed(unit.tx, held.asset, held.version, "a model")
        run = maker or ctx.run
        run_id = run.id if run else None
        key = ctx.ground.keys.begin(unit).signing_key("sign", ctx.project.id)
        content = ctx.ground.contents.record(unit, stored)
        payload = signed(payload, asset, number, run_id, key)
        version = catalog.add_version(unit, asset, payload, content=content, run=run_id)
        _, statement = check_signed(asset, version, ctx.ground.keys.begin(unit).verify_keys("sign", ctx.project.id))
        if run_id:
            linked = {(link.asset, link.version) for link in runs.links(unit.tx, run_id) if link.direction == "in"}
            for held in used:
                if (held.asset.id, held.version.number) not in linked:  # the run said already what it was to it
                    runs.link(unit, run_id, "in", held.version)
            runs.link(unit, run_id, "out", version, "model")
        ctx.result = {"model": asset.name, "version": number}
        entry = unit.say(What.VERSION_ADDED, [asset.id], detail={**words(thing), "version": number})
    first = payload.files[0]
    return Registered(
        model=asset.name,
        version=number,
        format=payload.format,
        size_bytes=stored.size_bytes,
        stored_bytes=stored.stored_bytes,
        sha256=first.sha256,
        label=payload.label,
        inputs=tuple(f"{one.name} {one.type}" for one in payload.inputs),
        data=tuple(one.thing for one in payload.data),
        code=payload.code,
        key=statement.key,
        run=run_id or "",
        sandbox=guards,
        conversion=told_conversion(payload.conversion),
        entry_id=entry.id,
    )


# verify


@query("model.verify", on="asset:{project}/{thing}", cli="model verify", kind="model")
def verify(ctx: Context, thing: str) -> ModelVerified:
    """Check a version of a model, bytes and all: signature, digest, form, lineage, and the verdict that let it in.

    Raises ModelUnsound with every check in its facts where one does not hold.
    """
    catalog = ctx.ground.catalog
    ctx.check_residency(f"{thing}: reading")
    held = _held(ctx, ctx.tx, ctx.thing(thing))
    with _folder(ctx) as folder:
        found = verified(ctx.ground, held.asset, held.version, folder=folder / "model")
    refs = [ref for ref in catalog.refs(ctx.tx, held.asset) if ref.version == held.version.number]
    guarded = [ref for ref in refs if catalog.guards_of(ctx.tx, held.asset, ref.name)]
    verdicts = tuple(verdict_check(ctx.tx, catalog, held.asset, held.version, ref) for ref in guarded)
    found = msgspec.structs.replace(found, checks=(*found.checks, *verdicts))
    found.required("signature", "digest", "format", "verdict")
    return ModelVerified(
        model=held.asset.name,
        version=held.version.number,
        digest=held.version.digest,
        sound=True,
        checks=found.checks,
    )


def _held(ctx: Context, tx: Transaction, thing: Thing) -> Held:
    """A version of a model: by number, by ref, else the newest."""
    catalog = ctx.ground.catalog
    if thing.ref or thing.version:
        return catalog.resolve(tx, ctx.project.id, thing)
    asset = catalog.asset(tx, ctx.project.id, thing)
    newest = catalog.versions(tx, asset, limit=1)
    if not newest:
        raise Invalid(f"{thing} has no version", next_step="register one")
    return Held(asset=asset, version=newest[0], ref=None)


@contextmanager
def _folder(ctx: Context) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as folder:
        yield Path(folder)


# predict


class _Source(msgspec.Struct, frozen=True, kw_only=True):
    """What a prediction reads: the model by its ref, the data and the contract that reads it.

    Attributes:
        contract: None where the data has none: then the model's own types are used.
    """

    model: Held
    ref: Ref
    verdict: str
    data: Held
    payload: DatasetVersion
    contract: Contract | None


@job(
    "model.predict",
    on=("ref:{project}/{model=model}", "asset:{project}/{data=dataset}", "ref:{project}/dataset/{into}@main"),
    entry=What.VERSION_ADDED,
    role="contributor",
    cli="predict",
    kind="model",
    judged=("classification", "residency", "purpose"),
)
def predict(ctx: Context, model: str, data: str, into: str, purpose: str = "") -> Predicted:
    """Score every row of a version of data with a promoted model; the predictions become a version of `into`.

    The model is named by a guarded ref (`delay@production`). Its signature, its bytes and the verdict that let it in
    are checked before it is loaded; whatever fails is a refusal. A row of the result has the key of the data's
    contract (without one, the row's number), `probability` and `model_version`.
    """
    del purpose  # judged at the door, by the conditions of the caller's bindings
    target_thing = Thing(name(into), DATASET, "main")
    thing = ctx.thing(model)
    if thing.ref is None:
        raise ModelNotPromoted(
            f"{thing} names no ref: only a promoted version predicts",
            next_step=f"name its ref: {thing.name}@production",
        )
    ctx.check_residency(f"{data}: reading")
    with ctx.reading() as tx:
        source = _source(ctx, tx, thing, Thing.parse(data, kind=DATASET))
        target = made.target_of(ctx, tx, target_thing)
    scoring.warm()
    with _folder(ctx) as folder:
        found = verified(ctx.ground, source.model.asset, source.model.version, folder=folder / "model")
        done, guards = _scored(ctx, source, found, folder)
        report = made.judged(target, folder / PREDICTIONS, scratch=folder / "spill")
        stored = made.store(ctx, target, folder / PREDICTIONS)
    with ctx.ground.contents.concluding(stored):
        return _conclude_prediction(ctx, source, target, done, stored, report, guards)


def _source(ctx: Context, tx: Transaction, thing: Thing, data: Thing) -> _Source:
    catalog = ctx.ground.catalog
    model = catalog.resolve(tx, ctx.project.id, thing)
    assert model.ref is not None  # noqa: S101  it was asked for by its ref
    verdict = admitted(tx, catalog, model.asset, model.version, model.ref)
    held = catalog.resolve(tx, ctx.project.id, data)
    for one in (model, held):
        if one.version.state != "live":
            raise Invalid(f"{one.asset.name} v{one.version.number} is {one.version.state}", next_step="choose another")
    payload: DatasetVersion = catalog.payload(held.asset, held.version)
    contract = None
    if payload.contract is not None:
        judging = catalog.resolve(tx, ctx.project.id, Thing.parse(payload.contract))
        document: ContractVersion = catalog.payload(judging.asset, judging.version)
        contract = from_data(document.document, name=judging.asset.name)
    return _Source(model=model, ref=model.ref, verdict=verdict.id, data=held, payload=payload, contract=contract)


def _scored(ctx: Context, source: _Source, found: Verified, folder: Path) -> tuple[rows.Predictions, tuple[str, ...]]:
    model, path = found.required("signature", "digest", "format")
    held, payload = source.data, source.payload
    form = rows.format_of(payload.format, f"{held.asset.name} v{held.version.number}")
    ctx.progress("reading", 0, held.version.size_bytes)
    files = ctx.ground.contents.checkout(held.version, folder / "data")
    contract = source.contract or rows.contract_of_inputs(model.inputs)
    key = _key_columns(source.contract)
    wanted = [*(column.name for column in key), *(one.name for one in model.inputs)]
    (folder / "spill").mkdir()
    total = payload.rows or 0
    with (
        scoring.Scorer(model, path, scratch=folder) as scorer,
        rows.opened(files, form, contract, wanted, scratch=folder / "spill") as batches,
    ):
        done = rows.write_predictions(
            batches,
            scorer.score,
            folder / PREDICTIONS,
            key=key,
            model_version=f"{found.asset.name}:{found.version.number}",
            progress=lambda count: ctx.progress("scoring", count, max(total, count)),
        )
        return done, scorer.guards


def _key_columns(contract: Contract | None) -> tuple[DatasetColumn, ...]:
    """The columns that name a row, as the contract declares them; none where it declares no key."""
    if contract is None:
        return ()
    found = (contract.column(column) for column in contract.key)
    return tuple(DatasetColumn(name=c.name, type=c.type, classification=c.classification) for c in found)


def _conclude_prediction(
    ctx: Context,
    source: _Source,
    target: made.Target,
    done: rows.Predictions,
    stored: Stored,
    report: Report | None,
    guards: tuple[str, ...],
) -> Predicted:
    model = f"{source.model.asset.name}:{source.model.version.number}"
    table = made.Made(columns=done.columns, rows=done.rows, source=model, stored=stored, report=report)
    inputs = [(source.model.version, "model"), (source.data.version, "data")]
    detail: dict[str, object] = {"model": model, "verdict": source.verdict}
    with ctx.conclude() as unit:
        _still_held(ctx, unit.tx, source)
        ctx.result = {"dataset": target.thing.name, "model": model, "sandbox": list(guards)}
        version, entry = made.add(ctx, unit, target, table, inputs=inputs, role="predictions", detail=detail)
        ctx.result["version"] = version.number
    return Predicted(
        dataset=target.thing.name,
        version=version.number,
        previous=target.previous,
        ref=str(target.thing),
        rows=done.rows,
        mean_probability=done.total / done.rows if done.rows else None,
        model=model,
        verdict=source.verdict,
        data=f"{source.data.asset.name}:{source.data.version.number}",
        stored_bytes=stored.stored_bytes,
        sandbox=guards,
        run=ctx.run.id if ctx.run else "",
        entry_id=entry.id,
    )


def _still_held(ctx: Context, tx: Transaction, source: _Source) -> None:
    """Raises: RefConflict where the model's ref moved while rows were scored."""
    now = ctx.ground.catalog.ref(tx, source.model.asset, source.ref.name)
    if now is None or now.version != source.ref.version:
        where = f"{source.model.asset.name}@{source.ref.name}"
        raise RefConflict(f"{where} moved while rows were scored", next_step="predict again")
