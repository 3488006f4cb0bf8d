"""Operations on features: joined to rows as of each row's own time, kept as a version with its lineage."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from falaj.core.entries import What
from falaj.core.errors import Invalid, NotFound, Unavailable
from falaj.core.names import Thing, name
from falaj.core.records import Version
from falaj.data import made, tables
from falaj.data.contract import from_data
from falaj.data.reading import check_allowed, check_evidence
from falaj.data.records import Contract, ContractVersion, DatasetColumn, DatasetVersion
from falaj.door import Context, job
from falaj.features import join
from falaj.features.errors import FeatureInvalid
from falaj.features.records import Service, View
from falaj.features.views import Joined
from falaj.store.catalog import Held
from falaj.store.metadata import Transaction

if TYPE_CHECKING:
    import duckdb

ROWS = "entity_rows"
JOINED = "features.parquet"


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    """A version of data to be opened, with the contract that reads it."""

    held: Held
    payload: DatasetVersion
    contract: Contract


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """All that a join reads, as it stood when the join was asked for."""

    service: Service
    views: dict[str, View]
    definitions: tuple[Version, ...]
    rows: _Table
    sources: dict[str, _Table]
    target: made.Target


@job(
    "features.join",
    on=(
        "asset:{project}/{service=feature_service}",
        "asset:{project}/{rows=dataset}",
        "ref:{project}/dataset/{into}@main",
    ),
    entry=What.VERSION_ADDED,
    role="contributor",
    cli="features join",
    judged=("classification", "residency", "purpose"),
)
def join_rows(ctx: Context, service: str, rows: str, at: str, into: str, purpose: str = "") -> Joined:
    """Join the features of a service to the rows of a dataset, as they were known at each row's own time.

    Every row comes back once and in its place. `at` names the column with the moment that is asked about; the result
    is a version of `into`: the rows' columns, then the features in the service's order.
    """
    ctx.check_residency(f"{rows}: reading")
    with ctx.reading() as tx:
        read = _read(ctx, tx, service, rows)
    for thing, whose in read:
        with _asked_by(whose):
            check_allowed(ctx, thing, purpose, ctx.caller)
    with ctx.reading() as tx:
        plan = _plan(ctx, tx, service, rows, into)
    with tempfile.TemporaryDirectory(prefix="falaj-", dir=ctx.ground.scratch) as scratch:
        folder = Path(scratch)
        columns, features, count = _joined(ctx, plan, at, folder)
        report = made.judged(plan.target, folder / JOINED, scratch=folder / "spill")
        stored = made.store(ctx, plan.target, folder / JOINED)
    table = made.Made(columns=columns, rows=count, source=plan.service.service, stored=stored, report=report)
    inputs = [(plan.rows.held.version, "rows"), *((t.held.version, name) for name, t in plan.sources.items())]
    inputs += [(version, "definition") for version in plan.definitions]
    with ctx.ground.contents.concluding(stored), ctx.conclude() as unit:
        ctx.result = {"dataset": plan.target.thing.name, "features": list(features)}
        detail: dict[str, object] = {"service": plan.service.service}
        version, entry = made.add(ctx, unit, plan.target, table, inputs=inputs, role="features", detail=detail)
    return Joined(
        dataset=plan.target.thing.name,
        version=version.number,
        previous=plan.target.previous,
        ref=str(plan.target.thing),
        rows=count,
        service=plan.service.service,
        features=features,
        stored_bytes=stored.stored_bytes,
        run=ctx.run.id if ctx.run else "",
        entry_id=entry.id,
    )


def _read(ctx: Context, tx: Transaction, service: str, rows: str) -> list[tuple[Thing, str]]:
    """The datasets that a join reads, the rows and the source of each view, each with who asks for it."""
    catalog, project = ctx.ground.catalog, ctx.project.id
    served = catalog.resolve(tx, project, Thing.parse(service, kind="feature_service"))
    wanted: Service = catalog.payload(served.asset, served.version)
    held = [catalog.resolve(tx, project, Thing(one, "feature_view")) for one in wanted.views]
    views: list[View] = [catalog.payload(one.asset, one.version) for one in held]
    asked = [(rows, "rows"), *((view.source, f"feature view {view.view}") for view in views)]
    return [(Thing.parse(thing, kind="dataset"), whose) for thing, whose in asked]


@contextmanager
def _asked_by(whose: str) -> Iterator[None]:
    """What is not there is told with who asks for it."""
    try:
        yield
    except NotFound as error:
        raise NotFound(f"{whose}: {error.message}", next_step=error.next_step) from error


def _plan(ctx: Context, tx: Transaction, service: str, rows: str, into: str) -> _Plan:
    catalog, project = ctx.ground.catalog, ctx.project.id
    served = catalog.resolve(tx, project, Thing.parse(service, kind="feature_service"))
    wanted: Service = catalog.payload(served.asset, served.version)
    views: dict[str, View] = {}
    definitions, sources = [served.version], {}
    for one in wanted.views:
        held = catalog.resolve(tx, project, Thing(one, "feature_view"))
        view: View = catalog.payload(held.asset, held.version)
        views[one] = view
        definitions.append(held.version)
        with _asked_by(f"feature view {one}"):
            sources[one] = _table(ctx, tx, view.source)
    return _Plan(
        service=wanted,
        views=views,
        definitions=tuple(definitions),
        rows=_table(ctx, tx, rows),
        sources=sources,
        target=made.target_of(ctx, tx, Thing(name(into), "dataset", "main")),
    )


def _table(ctx: Context, tx: Transaction, thing: str) -> _Table:
    catalog = ctx.ground.catalog
    parsed = Thing.parse(thing, kind="dataset")
    held = catalog.resolve(tx, ctx.project.id, parsed)
    if held.version.state != "live":
        raise Invalid(f"{parsed}: v{held.version.number} is {held.version.state}", next_step="choose another version")
    check_evidence(ctx, tx, parsed, held.asset, held.version)
    payload: DatasetVersion = catalog.payload(held.asset, held.version)
    if payload.contract is None:
        raise Invalid(
            f"{parsed}: it has no contract, which tells the types of its columns",
            next_step=f"write contracts/{parsed.name}.yaml, apply it, and add the data again",
        )
    judging = catalog.resolve(tx, ctx.project.id, Thing.parse(payload.contract))
    document: ContractVersion = catalog.payload(judging.asset, judging.version)
    return _Table(held=held, payload=payload, contract=from_data(document.document, name=parsed.name))


def _joined(ctx: Context, plan: _Plan, at: str, folder: Path) -> tuple[tuple[DatasetColumn, ...], tuple[str, ...], int]:
    """Write the joined table; returns its columns, the features' names and the number of rows."""
    (folder / "spill").mkdir()
    every, sources, known = {ROWS: plan.rows}, dict[str, str](), dict[tuple[str, int], str]()
    for view, one in plan.sources.items():  # views of one version read it once
        version = one.held.version
        sources[view] = known.setdefault((version.asset, version.number), f"source_{len(known)}")
        every[sources[view]] = one
    ctx.progress("reading", 0, len(every))
    files = {n: ctx.ground.contents.checkout(t.held.version, folder / n) for n, t in every.items()}
    with _connected([path for paths in files.values() for path in paths], folder / "spill") as con:
        for place, (table, held) in enumerate(every.items()):
            ctx.progress("reading", place, len(every))
            _load(con, held, files[table], table)
        ctx.progress("joining", 0, 0)
        features = join.point_in_time(con, ROWS, plan.service, plan.views, sources, at=at, into="joined")
        count = int((con.execute("SELECT count(*) FROM joined").fetchone() or (0,))[0])
        columns = _columns(con, plan.rows.contract)
        tables.write_parquet(con.table("joined").to_arrow_table(), folder / JOINED)
    return columns, features, count


@contextmanager
def _connected(paths: list[Path], scratch: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    with tables.connect(paths, scratch=scratch) as con:
        import duckdb

        try:
            yield con
        except duckdb.OutOfMemoryException as error:
            raise Unavailable("features: not enough memory to join them", next_step="give it more room") from error
        except duckdb.Error as error:
            # The words are DuckDB's on the view's SQL; a value of the data may stand in them, so only the first line.
            told = str(error).splitlines()[0][:300]
            raise FeatureInvalid(f"features: {told}", next_step="look at the SQL of the views") from error


def _load(con: duckdb.DuckDBPyConnection, table: _Table, paths: list[Path], into: str) -> None:
    """One dataset as a table of its own, typed as its contract reads it."""
    if table.payload.format == "files":
        raise Invalid(f"{table.held.asset.name}: plain files, not a table", next_step="choose .csv or .parquet files")
    opened = tables.open_table(con, paths, table.payload.format, table.contract)
    con.execute(f"CREATE TEMP TABLE {into} AS SELECT * FROM {tables.name(opened.relation)}")
    con.execute(f"DROP VIEW {tables.name(table.contract.table)}")


def _columns(con: duckdb.DuckDBPyConnection, contract: Contract) -> tuple[DatasetColumn, ...]:
    """The columns of the result: with their class where they are the rows' own."""
    known = {column.name: column for column in contract.columns}
    found = con.execute("DESCRIBE joined").fetchall()
    return tuple(
        DatasetColumn(
            name=str(row[0]),
            type=known[row[0]].type if row[0] in known else _LOGICAL.get(str(row[1]).partition("(")[0], "string"),
            classification=known[row[0]].classification if row[0] in known else None,
        )
        for row in found
    )


_LOGICAL = {
    **dict.fromkeys(("BIGINT", "INTEGER", "SMALLINT", "TINYINT", "HUGEINT", "UBIGINT", "UINTEGER"), "integer"),
    **dict.fromkeys(("DOUBLE", "FLOAT", "DECIMAL"), "number"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"), "timestamp"),
    "BOOLEAN": "boolean",
    "DATE": "date",
    "TIME": "time",
}
