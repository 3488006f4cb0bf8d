"""Operations on data: files become versions; a contract judges each before a ref moves to it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import msgspec

from falaj.assets.rules import words
from falaj.core.entries import What
from falaj.core.errors import Invalid
from falaj.core.names import Thing, name, tree_path
from falaj.core.records import Asset, Version
from falaj.data import checks
from falaj.data.contract import from_data
from falaj.data.reading import check_evidence
from falaj.data.records import (
    Contract,
    ContractRefused,
    ContractVersion,
    DatasetVersion,
    Report,
    dataset_columns,
)
from falaj.data.tables import Format
from falaj.data.views import ContractView, DataAdded, Files, FileView, StagedFile
from falaj.door import Context, job, query, transfer
from falaj.store import runs
from falaj.store.content import Stored

MAX_FILES = 10_000
REJECTED = "rejected"
_FORMATS: dict[str, Format] = {".csv": "csv", ".parquet": "parquet"}


class Judged(msgspec.Struct, frozen=True):
    """A contract in force and what it found."""

    asset: Asset
    version: Version
    report: Report
    contract: Contract

    @property
    def thing(self) -> str:
        """The contract version, as payloads name it."""
        return f"contract/{self.asset.name}:{self.version.number}"


@job(
    "data.add",
    on="ref:{project}/dataset/{dataset}@{ref}",
    entry=What.VERSION_ADDED,
    role="contributor",
    cli="data add",
    kind="dataset",
)
def add(
    ctx: Context,
    dataset: str,
    files: list[StagedFile],
    ref: str = "main",
    mode: Literal["append", "replace"] = "append",
    source: str = "",
) -> DataAdded:
    """Add files as a new version of a dataset. The contract judges the whole version before the ref moves to it.

    `append` keeps the files that the ref's version holds, without copying them; a file of the same name is replaced.
    A version that breaks its contract is kept as `NAME@rejected` and nothing else moves.
    """
    thing = Thing(name(dataset), "dataset", name(ref, "ref"))
    if not 1 <= len(files) <= MAX_FILES:
        raise Invalid(f"{len(files)} files: 1 to {MAX_FILES:,} can be added at once", next_step="name the files")
    if ref == REJECTED:
        raise Invalid(f"{thing}: what was rejected is put there by Falaj alone", next_step="use another ref")
    ctx.check_residency(f"{thing}: storing")
    staged = {tree_path(f.name): ctx.staged(f.staged) for f in files}
    if len(staged) != len(files):
        raise Invalid(f"{thing}: two of the {len(files)} files have one name", next_step="give each a name of its own")
    base, previous = _base(ctx, thing, mode)
    kept = [] if base is None else [f for f in ctx.ground.contents.files(base) if f.path not in staged]
    form = _format([*staged, *(f.path for f in kept)])
    with ctx.watching_staged():
        added = sum(path.stat().st_size for path in staged.values())
        judged = _judge(ctx, thing, staged, base, [f.path for f in kept], form)
        stored = _store(ctx, thing, staged, base, [f.path for f in kept])
    with ctx.ground.contents.concluding(stored):
        passed = judged is None or judged.report.passed
        payload = DatasetVersion(
            format=form,
            columns=dataset_columns(judged.contract) if judged else (),
            rows=judged.report.rows if judged else None,
            size_bytes=stored.size_bytes,
            contract=judged.thing if judged else None,
            contract_digest=judged.contract.digest if judged else None,
            report=judged.report.summary() if judged else None,
            source=name(source, "source") if source else next(iter(staged)).rpartition("/")[2],
        )
        return _conclude(ctx, thing, payload, stored, judged, passed, base, previous, added)


def _base(ctx: Context, thing: Thing, mode: str) -> tuple[Version | None, int | None]:
    with ctx.reading() as tx:
        asset = ctx.ground.catalog.find_asset(tx, ctx.project.id, "dataset", thing.name)
        held = ctx.ground.catalog.ref(tx, asset, thing.ref or "") if asset else None
        if asset is None or held is None:
            return None, None
        ctx.ground.catalog.check_free(tx, asset, held.name, held)
        version = ctx.ground.catalog.version(tx, asset, held.version)
    return (version if mode == "append" else None), held.version


def _format(paths: list[str]) -> Literal["csv", "parquet", "files"]:
    endings = {Path(p).suffix.lower() for p in paths}
    return _FORMATS.get(endings.pop(), "files") if len(endings) == 1 else "files"


def contract_in_force(ctx: Context, dataset: str) -> tuple[Asset, Version, Contract] | None:
    """The contract that judges a dataset: the one of its name, at `main`; None where there is none."""
    with ctx.reading() as tx:
        asset = ctx.ground.catalog.find_asset(tx, ctx.project.id, "contract", dataset)
        held = ctx.ground.catalog.ref(tx, asset, "main") if asset else None
        if asset is None or held is None:
            return None
        version = ctx.ground.catalog.version(tx, asset, held.version)
        payload: ContractVersion = ctx.ground.catalog.payload(asset, version)
    return asset, version, from_data(payload.document, name=dataset)


def _judge(
    ctx: Context, thing: Thing, staged: dict[str, Path], base: Version | None, kept: list[str], form: str
) -> Judged | None:
    found = contract_in_force(ctx, thing.name)
    if found is None:
        return None
    asset, version, contract = found
    if form == "files":
        raise Invalid(
            f"{thing.name} has a contract: its files must be all .csv or all .parquet",
            next_step="name the files by their format",
        )
    ctx.progress("judging", 0, 0)
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as folder:
        scratch = Path(folder)
        older = ctx.ground.contents.checkout(base, scratch / "base", kept) if base and kept else []
        (scratch / "spill").mkdir()
        written: Literal["csv", "parquet"] = "csv" if form == "csv" else "parquet"

        def judged(rules: Contract, paths: list[Path]) -> Report:
            return checks.judge_files(rules, paths, written, scratch=scratch / "spill", now=datetime.now(UTC))

        # What joins much good data must be good by itself: shares of the whole would hide it.
        report = judged(contract.of_part, list(staged.values())) if older else None
        if report is None or report.passed:
            report = judged(contract, [*older, *staged.values()])
    return Judged(asset, version, report, contract)


def _store(ctx: Context, thing: Thing, staged: dict[str, Path], base: Version | None, kept: list[str]) -> Stored:
    with ctx.begin() as unit:
        asset = ctx.ground.catalog.ensure_asset(unit, ctx.project.id, "dataset", thing.name)
        domain = ctx.ground.contents.ensure_domain(unit, ctx.project.id, f"dataset-{asset.id}")
        if domain.created or unit.has_changes:
            unit.say(What.KEY_CREATED, [asset.id], detail=words(thing))
    with ctx.ground.contents.upload(domain.name) as upload:
        total = sum(path.stat().st_size for path in staged.values())
        done = 0
        for path, local in staged.items():
            ctx.progress("storing", done, total)
            with local.open("rb") as stream:
                upload.add_file(path, stream)
            done += local.stat().st_size
        if base is not None:
            upload.keep(base, kept)
        ctx.progress("storing", total, total)
        return upload.finish()


def _conclude(
    ctx: Context,
    thing: Thing,
    payload: DatasetVersion,
    stored: Stored,
    judged: Judged | None,
    passed: bool,
    base: Version | None,
    previous: int | None,
    added: int,
) -> DataAdded:
    catalog = ctx.ground.catalog
    ctx.check_staged()
    refusal = None if passed or judged is None else ContractRefused(thing.name, judged.report)
    with ctx.conclude(refusal) as unit:
        asset = catalog.asset(unit.tx, ctx.project.id, thing)
        if passed:
            catalog.expect(unit.tx, asset, thing.ref or "", previous or 0)
        content = ctx.ground.contents.record(unit, stored)
        run_id = ctx.run.id if ctx.run else None
        version = catalog.add_version(
            unit, asset, payload, content=content, run=run_id, state="live" if passed else "rejected"
        )
        if run_id:
            runs.link(unit, run_id, "out", version)
            if base is not None:
                runs.link(unit, run_id, "in", base, "base")
            if judged is not None:
                runs.link(unit, run_id, "in", judged.version, "contract")
        ctx.result = {"dataset": thing.name, "version": version.number}
        if passed:
            catalog.move(unit, asset, thing.ref or "", version)
            entry = unit.say(What.REF_MOVED, [asset.id], detail={**words(thing), "version": version.number})
        else:
            catalog.mark(unit, asset, REJECTED, version)
            assert refusal is not None  # noqa: S101  nothing else is rejected
            told = {**words(thing), "version": version.number, **refusal.as_dict()}
            entry = unit.say(What.REQUEST_REFUSED, [asset.id], detail=told)
    if refusal is not None:
        refusal.facts.update(
            dataset=thing.name,
            version=version.number,
            ref=str(thing),
            entry_id=entry.id,
            kept_as=f"{thing.name}@{REJECTED}",
        )
        raise refusal
    report = judged.report if judged else None
    return DataAdded(
        dataset=thing.name,
        version=version.number,
        previous=previous,
        ref=str(thing),
        rows=payload.rows,
        files=stored.files,
        added_bytes=added,
        stored_bytes=stored.stored_bytes,
        contract=payload.contract,
        rules=len(report.findings) if report else 0,
        rules_passed=sum(f.passed for f in report.findings) if report else 0,
        warnings=tuple(str(f) for f in report.warnings) if report else (),
        run=run_id or "",
        entry_id=entry.id,
    )


@query("data.files", on="asset:{project}/{thing}", cli="data files", kind="dataset")
def files(ctx: Context, thing: str) -> Files:
    """The files of a version, with sizes and keyed digests."""
    held = ctx.ground.catalog.resolve(ctx.tx, ctx.project.id, ctx.thing(thing))
    found = ctx.ground.contents.files(held.version) if held.version.content else ()
    return Files(
        thing=f"{held.asset.kind}/{held.asset.name}",
        version=held.version.number,
        files=tuple(FileView(path=f.path, size_bytes=f.size, digest=f.digest) for f in found),
    )


@transfer(
    "data.get",
    on="asset:{project}/{thing}",
    cli="data get",
    kind="dataset",
    judged=("classification", "residency", "purpose"),
)
def get(ctx: Context, thing: str, path: str = "", purpose: str = "") -> Iterator[bytes]:
    """The bytes of one file of a version, decrypted and verified; the reading is an entry.

    Evidence of a gate is read by maintainers and auditors only, so that nobody trains on it.
    """
    ctx.check_residency(f"{thing}: reading")
    held = ctx.ground.catalog.resolve(ctx.tx, ctx.project.id, ctx.thing(thing))
    check_evidence(ctx, ctx.tx, ctx.thing(thing), held.asset, held.version)
    found = ctx.ground.contents.files(held.version) if held.version.content else ()
    names = [f.path for f in found]
    if not path and len(names) == 1:
        path = names[0]
    if path not in names:
        raise Invalid(
            f"{held.asset.name}:{held.version.number} has {len(names)} files; none is {path[:80]!r}",
            next_step=f"falaj data files {held.asset.name}:{held.version.number}",
        )
    stream: Iterator[bytes] = ctx.ground.contents.stream(held.version, path)
    return stream


@query("data.contract", on="asset:{project}/{thing}", cli="data contract show", kind="contract")
def show_contract(ctx: Context, thing: str, version: int | None = None) -> ContractView:
    """The contract of a dataset in force, and what it found on one version of the dataset."""
    parsed = Thing.parse(thing)
    catalog = ctx.ground.catalog
    held = catalog.resolve(ctx.tx, ctx.project.id, Thing(parsed.name, "contract", parsed.ref, parsed.version))
    payload: ContractVersion = catalog.payload(held.asset, held.version)
    contract = from_data(payload.document, name=parsed.name)
    judged = None
    if version is not None:
        data = catalog.resolve(ctx.tx, ctx.project.id, Thing(parsed.name, "dataset", None, version))
        body: DatasetVersion = catalog.payload(data.asset, data.version)
        judged = msgspec.to_builtins(body.report) if body.report else None
        run = runs.get(ctx.tx, ctx.project.id, data.version.run) if data.version.run else None
        if run and run.error:
            judged = {**(judged or {}), "findings": run.error.get("facts", {}).get("failed", [])}
    return ContractView(
        name=held.asset.name,
        version=held.version.number,
        document_version=payload.version,
        rules=tuple(rule.title for rule in contract.rules),
        purpose=payload.purpose,
        lawful_basis=payload.lawful_basis,
        judged=judged,
    )
