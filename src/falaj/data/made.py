"""Tables that Falaj makes itself (predictions, joined features): judged, stored and added as any other version.

target = target_of(ctx, tx, thing)          as everything stands when the work begins
report = judged(target, file, scratch=…)    the target's contract, if there is one
stored = store(ctx, target, file)           bytes in their place
add(ctx, unit, target, made, …)             the version, its lineage and its ref, in the unit that ends the job
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from falaj.assets.rules import words
from falaj.core.entries import Entry, What
from falaj.core.names import Thing
from falaj.core.records import Version
from falaj.data import checks
from falaj.data.contract import from_data
from falaj.data.records import Contract, ContractRefused, ContractVersion, DatasetColumn, DatasetVersion, Report
from falaj.door import Context
from falaj.store import runs
from falaj.store.content import Stored
from falaj.store.metadata import Transaction
from falaj.store.unit import Unit

DATASET = "dataset"


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a made table goes: the version that its ref holds now, and the contract that judges it."""

    thing: Thing
    previous: int | None
    contract: Contract | None
    contract_version: Version | None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A table that was made.

    Attributes:
        source: what made it, a name.
    """

    columns: tuple[DatasetColumn, ...]
    rows: int
    source: str
    stored: Stored
    report: Report | None


def target_of(ctx: Context, tx: Transaction, thing: Thing) -> Target:
    """The dataset and contract of an address with its ref, as they stand."""
    catalog = ctx.ground.catalog
    asset = catalog.find_asset(tx, ctx.project.id, DATASET, thing.name)
    held = catalog.ref(tx, asset, thing.ref or "main") if asset else None
    judging = catalog.find_asset(tx, ctx.project.id, "contract", thing.name)
    in_force = catalog.ref(tx, judging, "main") if judging else None
    contract = version = None
    if judging is not None and in_force is not None:
        version = catalog.version(tx, judging, in_force.version)
        document: ContractVersion = catalog.payload(judging, version)
        contract = from_data(document.document, name=thing.name)
    previous = held.version if held else None
    return Target(thing=thing, previous=previous, contract=contract, contract_version=version)


def judged(target: Target, file: Path, *, scratch: Path) -> Report | None:
    """What the contract of the target finds; None without one. Raises: ContractRefused; then nothing is kept."""
    if target.contract is None:
        return None
    report = checks.judge_files(target.contract, [file], "parquet", scratch=scratch, now=datetime.now(UTC))
    if not report.passed:
        raise ContractRefused(target.thing.name, report)
    return report


def store(
    ctx: Context, target: Target, file: Path, *, onto: Version | None = None, without: Collection[str] = ()
) -> Stored:
    """Bring a file's bytes to the dataset's place. The caller records them, in `contents.concluding`.

    Args:
        onto: a version of the same dataset whose files stay beside the new one, but those in `without`; no byte of
            them is moved.
    """
    with ctx.begin() as unit:
        asset = ctx.ground.catalog.ensure_asset(unit, ctx.project.id, DATASET, target.thing.name)
        domain = ctx.ground.contents.ensure_domain(unit, ctx.project.id, f"dataset-{asset.id}")
        if unit.has_changes:
            unit.say(What.KEY_CREATED, [asset.id], detail=words(target.thing))
    with ctx.ground.contents.upload(domain.name) as upload, file.open("rb") as stream:
        upload.add_file(file.name, stream)
        if onto is not None:
            files = ctx.ground.contents.files(onto)
            upload.keep(onto, [kept.path for kept in files if kept.path not in without])
        return upload.finish()


def add(
    ctx: Context,
    unit: Unit,
    target: Target,
    made: Made,
    *,
    inputs: Sequence[tuple[Version, str]],
    role: str,
    detail: dict[str, object],
) -> tuple[Version, Entry]:
    """Add the version with its lineage and move the ref to it.

    Args:
        inputs: the versions that it was made from, each with its role.
        role: of the made version in the run.
        detail: more words beside the entry.
    Raises: RefConflict where the ref moved since `target_of`.
    """
    catalog, thing = ctx.ground.catalog, target.thing
    judging = target.contract_version if made.report else None
    payload = DatasetVersion(
        format="parquet",
        columns=made.columns,
        rows=made.rows,
        size_bytes=made.stored.size_bytes,
        contract=f"contract/{thing.name}:{judging.number}" if judging else None,
        contract_digest=target.contract.digest if judging and target.contract else None,
        report=made.report.summary() if made.report else None,
        source=made.source,
    )
    asset = catalog.asset(unit.tx, ctx.project.id, thing)
    catalog.expect(unit.tx, asset, thing.ref or "main", target.previous or 0)
    content = ctx.ground.contents.record(unit, made.stored)
    run_id = ctx.run.id if ctx.run else None
    version = catalog.add_version(unit, asset, payload, content=content, run=run_id)
    if run_id:
        for used, as_role in [*inputs, *([(judging, "contract")] if judging else [])]:
            runs.link(unit, run_id, "in", used, as_role)
        runs.link(unit, run_id, "out", version, role)
    catalog.move(unit, asset, thing.ref or "main", version)
    told = {**words(thing), "version": version.number, **detail}
    return version, unit.say(What.REF_MOVED, [asset.id, *(used.asset for used, _ in inputs[:1])], detail=told)
