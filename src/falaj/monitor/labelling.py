"""Outcomes joined to predictions by key. None is dropped, none doubled, and what has no outcome gets none.

A prediction is read when it is new, and again while it has no outcome. So those without stand in one file, which says
how far predictions were read; what has an outcome, and what can never have one, is not looked at again.

The label is an expression that came with a model, so it is evaluated where it can read the rows of the outcomes and
nothing else, predictions least of all. What it gave is then joined by queries of this module alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from falaj.core.encoding import decode
from falaj.core.errors import Invalid
from falaj.core.names import printable
from falaj.data import tables
from falaj.data.records import Contract, DatasetColumn
from falaj.data.tables import Format
from falaj.gates import table
from falaj.gates.records import EvidenceSource

if TYPE_CHECKING:
    import duckdb

COLUMNS: Final = (
    DatasetColumn(name="prediction", type="string"),
    DatasetColumn(name="row", type="integer"),
    DatasetColumn(name="answered_at", type="timestamp"),
    DatasetColumn(name="model", type="string"),
    DatasetColumn(name="version", type="integer"),
    DatasetColumn(name="role", type="string"),
    DatasetColumn(name="key", type="string"),
    DatasetColumn(name="output", type="number"),
    DatasetColumn(name="label", type="boolean"),
    DatasetColumn(name="joined_at", type="timestamp"),
)


WAITING: Final = COLUMNS[:8]
"""The columns of a prediction that has no outcome yet."""
_STATE: Final = b"falaj.read"


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every prediction that was collected.

    Attributes:
        predictions: all rows; they are the sum of the other counts.
        before: had an outcome already; `joined` got one now.
        without: their key is there and its label is null: cancelled, so there is no outcome, and none is made up.
        waiting: nothing is known of their key yet.
        ambiguous: their key stands there with outcomes that contradict each other.
        keyless: they came without a key; `failed`: the model gave no probability.
        expired: they got no outcome for as long as predictions are kept.
    """

    predictions: int = 0
    before: int = 0
    joined: int = 0
    without: int = 0
    waiting: int = 0
    ambiguous: int = 0
    keyless: int = 0
    failed: int = 0
    expired: int = 0


class Read(msgspec.Struct, frozen=True, kw_only=True):
    """How far predictions were read, as the file of those without an outcome says beside its rows.

    Attributes:
        predictions: number of the version up to which they were.
        data: the outcomes that were known: `flights:9`, and the columns of the key.
        outcomes: rows of the dataset of predictions with an outcome.
        counts: what became of all of them.
    """

    predictions: int
    data: str
    outcomes: int
    counts: Counts
    v: int = 1


def gather(paths: Sequence[Path], into: Path) -> None:
    """Write the rows of collected files, without their inputs, as one file, however many they are."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64()}
    schema = pa.schema([(one.name, kinds.get(one.type, pa.timestamp("us", tz="UTC"))) for one in WAITING])
    with pq.ParquetWriter(into, schema, compression="zstd", use_dictionary=["model", "role"]) as writer:
        for path in paths:
            writer.write_table(pq.read_table(path, columns=schema.names).cast(schema))


def read_of(path: Path) -> Read | None:
    """How far predictions were read when a file of `join` was written; None for another file."""
    import pyarrow.parquet as pq

    told = (pq.read_schema(path).metadata or {}).get(_STATE)
    return None if told is None else decode(told, Read, "predictions without an outcome")


def write_outcomes(
    paths: Sequence[Path],
    form: Format,
    contract: Contract,
    label: str,
    key: Sequence[str],
    into: Path,
    *,
    scratch: Path,
) -> None:
    """Write the label of every row of the outcomes, beside the columns of its key.

    Args:
        scratch: an existing folder of this call's own.
    Raises: Invalid where the data have no such column, or the label is no expression over them; as `gates.table`.
    """
    import pyarrow.parquet as pq

    declared = {column.name for column in contract.columns}
    if missing := [column for column in key if column not in declared]:
        raise Invalid(
            f"outcomes have no column {printable(missing[0])}", next_step="correct labels: key in the deployment's file"
        )
    source = EvidenceSource(data=contract.name, label=label)
    writer = None
    try:
        for batch in table.batches(paths, form, contract, source, key, scratch=scratch):
            if missing := [column for column in key if column not in batch.column_names]:
                raise Invalid(f"outcomes: column {printable(missing[0])} is in none of their files")
            if writer is None:
                writer = pq.ParquetWriter(into, batch.schema, compression="zstd")
            writer.write_table(batch)
    finally:
        if writer is not None:
            writer.close()


class Joined(msgspec.Struct, frozen=True, kw_only=True):
    """Where `join` writes: predictions that have an outcome now, and those that have none."""

    outcomes: Path
    waiting: Path


def join(
    asked: Sequence[Path],
    known: Sequence[Path],
    outcomes: Mapping[str, Path],
    labels: Mapping[int, str],
    key: Sequence[str],
    into: Joined,
    read: Read,
    *,
    at: str,
    oldest: str = "",
    scratch: Path,
) -> Counts:
    """Write the predictions whose outcome is known now and was not before, and those that have none yet.

    Args:
        asked: predictions that are new, and those that had no outcome before; `known` what has one already, where
            `asked` may hold it.
        outcomes: files of `write_outcomes` by label; a label without rows has none.
        labels: the label of each version of the model.
        read: what the file of those without an outcome says, as it is before this join; its counts are those of the
            last one, none where everything is asked about.
        at: the moment that is written down as that of the join.
        oldest: what was answered before that moment waits no longer.
        scratch: an existing folder of this call's own.
    Returns: what became of every prediction.
    """
    numbers = {label: number for number, label in enumerate(outcomes)}
    with tables.connect([*asked, *known, *outcomes.values()], scratch=scratch) as con:
        con.execute(f"CREATE TEMP VIEW asked AS SELECT * FROM {_files(asked)}")  # noqa: S608  quoted paths
        con.execute("CREATE TEMP TABLE label_of (version BIGINT, number INTEGER)")
        rows = [(version, numbers.get(label)) for version, label in labels.items()]
        if rows:
            con.executemany("INSERT INTO label_of VALUES (?, ?)", rows)
        con.execute("CREATE TEMP TABLE outcome (number INTEGER, key VARCHAR, low BOOLEAN, high BOOLEAN)")
        for label, path in outcomes.items():
            con.execute(f"INSERT INTO outcome {_by_key(path, key)}", [numbers[label]])
        con.execute('CREATE TEMP TABLE known (prediction VARCHAR, "row" BIGINT, version BIGINT, role VARCHAR)')
        if known:
            con.execute(f"INSERT INTO known SELECT {_ONE} FROM {_files(known)}")  # noqa: S608
        con.execute(_FRESH, [oldest or "-infinity"])
        states = dict(con.execute("SELECT state, count(*) FROM fresh GROUP BY state").fetchall())
        ((failed,),) = con.execute("SELECT count(*) FROM asked WHERE output IS NULL").fetchall()
        ((before,),) = con.execute(f"SELECT count(*) FROM asked SEMI JOIN known USING ({_ONE})").fetchall()  # noqa: S608
        counts = _summed(read.counts, Counts(**states, failed=failed, before=before))
        _write(con.sql(_JOINED, params=[at]), into.outcomes)
        read = msgspec.structs.replace(read, outcomes=read.outcomes + counts.joined, counts=counts)
        _write(con.sql(_WAITING), into.waiting, {_STATE: msgspec.json.encode(read)})
    return counts


def as_before(last: Counts) -> Counts:
    """The counts where nothing is new since they were taken."""
    return msgspec.structs.replace(last, before=last.before + last.joined, joined=0)


def _summed(last: Counts, now: Counts) -> Counts:
    """The counts of all predictions: of those that nothing more can become of, and of those that were asked about."""
    told = msgspec.structs.replace(
        now,
        before=now.before + as_before(last).before,
        keyless=now.keyless + last.keyless,
        failed=now.failed + last.failed,
        expired=now.expired + last.expired,
    )
    return msgspec.structs.replace(told, predictions=sum(msgspec.structs.astuple(told)))


def _write(rows: duckdb.DuckDBPyRelation, into: Path, beside: Mapping[bytes, bytes] | None = None) -> None:
    import pyarrow.parquet as pq

    found = rows.to_arrow_reader(100_000)
    schema = found.schema.with_metadata(dict(beside)) if beside else found.schema
    with pq.ParquetWriter(into, schema, compression="zstd", use_dictionary=["model", "role"]) as writer:
        for batch in found:
            writer.write_batch(batch)


_ONE: Final = 'prediction, "row", version, role'
"""What names a prediction: a row of an answer may have been answered by several versions, as canary, stable, shadow."""
_FRESH: Final = """
CREATE TEMP TABLE fresh AS
SELECT a.prediction, a."row", a.answered_at, a.model, a.version, a.role, a.key, a.output, o.low AS label,
  CASE WHEN a.key = '' THEN 'keyless'
       WHEN a.answered_at < CAST(? AS TIMESTAMPTZ) THEN 'expired'
       WHEN o.key IS NULL THEN 'waiting'
       WHEN o.low IS NULL THEN 'without'
       WHEN o.low <> o.high THEN 'ambiguous'
       ELSE 'joined' END AS state
FROM asked a
ANTI JOIN known k ON a.prediction = k.prediction AND a."row" = k."row" AND a.version = k.version AND a.role = k.role
LEFT JOIN label_of l ON a.version = l.version
LEFT JOIN outcome o ON o.number = l.number AND o.key = a.key
WHERE a.output IS NOT NULL
"""
_JOINED: Final = """
SELECT prediction, "row", answered_at, model, version, role, key, output, label, CAST(? AS TIMESTAMPTZ) AS joined_at
FROM fresh WHERE state = 'joined' ORDER BY prediction, "row", version, role
"""


_WAITING: Final = """
SELECT prediction, "row", answered_at, model, version, role, key, output
FROM fresh WHERE state IN ('waiting', 'without', 'ambiguous') ORDER BY prediction, "row", version, role
"""


def versions_in(paths: Sequence[Path]) -> set[int]:
    """The versions of the model that answered."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    return {number for path in paths for number in pc.unique(pq.read_table(path, columns=["version"])[0]).to_pylist()}


def _by_key(path: Path, key: Sequence[str]) -> str:
    """One row a key; where it stands more than once, `low` and `high` tell whether its labels agree."""
    text = " || '/' || ".join(f"CAST({tables.name(column)} AS VARCHAR)" for column in key)
    label = tables.name(table.LABEL)
    return (
        f"SELECT ?, {text} AS k, bool_and({label}), bool_or({label}) FROM {_files([path])} "  # noqa: S608  quoted names
        "WHERE k IS NOT NULL GROUP BY k"
    )


def _files(paths: Sequence[Path]) -> str:
    shown = ", ".join(tables.text(str(path.resolve())) for path in paths)
    return f"read_parquet([{shown}], union_by_name = true)"
