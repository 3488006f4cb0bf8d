"""Outcomes joined to predictions by key. None is dropped, none doubled, and what has no outcome gets none.

The label is an expression that came with a model, so it is evaluated where it can read the rows of the outcomes and
nothing else, predictions least of all. What it gave is then joined by queries of this module alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from falaj.core.errors import Invalid
from falaj.core.names import printable
from falaj.data import tables
from falaj.data.records import Contract, DatasetColumn
from falaj.data.tables import Format
from falaj.gates import table
from falaj.gates.records import EvidenceSource

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


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """What became of every prediction that was collected.

    Attributes:
        predictions: all rows; they are the sum of the other counts.
        before: had an outcome already; `joined` got one now.
        without: their key is there and its label is null: cancelled, so there is no outcome, and none is made up.
        waiting: nothing is known of their key yet.
        ambiguous: their key stands there with outcomes that contradict each other.
        keyless: they came without a key; `failed`: the model gave no probability.
    """

    predictions: int = 0
    before: int = 0
    joined: int = 0
    without: int = 0
    waiting: int = 0
    ambiguous: int = 0
    keyless: int = 0
    failed: int = 0


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


def join(
    predicted: Sequence[Path],
    known: Sequence[Path],
    outcomes: Mapping[str, Path],
    labels: Mapping[int, str],
    key: Sequence[str],
    into: Path,
    *,
    at: str,
    scratch: Path,
) -> Counts:
    """Write the predictions whose outcome is known now and was not before.

    Args:
        predicted: all that was collected; `known` what has an outcome already.
        outcomes: files of `write_outcomes` by label; a label without rows has none.
        labels: the label of each version of the model.
        at: the moment that is written down as that of the join.
        scratch: an existing folder of this call's own.
    Returns: what became of every prediction; no file is written where none was joined.
    """
    import pyarrow.parquet as pq

    numbers = {label: number for number, label in enumerate(outcomes)}
    with tables.connect([*predicted, *known, *outcomes.values()], scratch=scratch) as con:
        con.execute(f"CREATE TEMP VIEW asked AS SELECT * FROM {_files(predicted)}")  # noqa: S608  quoted paths
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
        con.execute(_FRESH)
        counts = dict(con.execute("SELECT state, count(*) FROM fresh GROUP BY state").fetchall())
        ((failed,),) = con.execute("SELECT count(*) FROM asked WHERE output IS NULL").fetchall()
        ((before,),) = con.execute(f"SELECT count(*) FROM asked SEMI JOIN known USING ({_ONE})").fetchall()  # noqa: S608
        if counts.get("joined"):
            found = con.sql(_JOINED, params=[at]).to_arrow_reader(100_000)
            with pq.ParquetWriter(into, found.schema, compression="zstd", use_dictionary=["model", "role"]) as writer:
                for batch in found:
                    writer.write_batch(batch)
    told = Counts(**counts, failed=failed, before=before)
    total = sum(msgspec.structs.astuple(told))
    return msgspec.structs.replace(told, predictions=total)


_ONE: Final = 'prediction, "row", version, role'
"""What names a prediction: a row of an answer may have been answered by several versions, as canary, stable, shadow."""
_FRESH: Final = """
CREATE TEMP TABLE fresh AS
SELECT a.prediction, a."row", a.answered_at, a.model, a.version, a.role, a.key, a.output, o.low AS label,
  CASE WHEN a.key = '' THEN 'keyless'
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
